//! An address comes or goes, with the routes that the kernel makes of it (`fib_add_ifaddr`,
//! `fib_del_ifaddr`, `addrconf_prefix_route`).

use std::net::IpAddr;

use super::Impossible;
use crate::model::address::{IFA_F_NOPREFIXROUTE, IFA_F_PERMANENT, IFA_F_SECONDARY};
use crate::model::names::{TABLE_LOCAL, TABLE_MAIN};
use crate::model::route::SCOPE_LINK;
use crate::model::{Address, Hop, Route, RouteKind, Snapshot};
use crate::prefix::{Family, Prefix, bits_address, is_global, mask};

/// `RTPROT_KERNEL`.
const KERNEL: u8 = 2;
/// `RT_SCOPE_HOST`.
const SCOPE_HOST: u8 = 254;
/// `IP6_RT_PRIO_ADDRCONF`.
const METRIC_ADDRCONF: u32 = 256;

/// Adds an address as `ip address add ADDRESS/LEN dev LINK` does.
///
/// # Errors
/// When the link has it already, or nothing can have it.
pub fn add_address(
    snapshot: &mut Snapshot,
    link: u32,
    local: IpAddr,
    len: u8,
) -> Result<(), Impossible> {
    let family = Family::of(local);
    if len == 0 || len > family.bits() {
        return Err(Impossible::new(
            format!("`{local}/{len}`: no {family} network has a prefix of {len} bits"),
            format!("write 1 to {}", family.bits()),
        ));
    }
    if local.is_unspecified() || local.is_multicast() {
        return Err(Impossible::new(format!("no link can have {local}"), "give a unicast address"));
    }
    let on_loopback = snapshot.link(link).is_some_and(crate::model::Link::is_loopback);
    if local.is_loopback() && local.is_ipv6() && !on_loopback {
        return Err(Impossible::new(
            format!("{local} can only be on the loopback (inet6_addr_add)"),
            "give another address, or `lo`",
        ));
    }
    if snapshot.addresses_of(link).any(|a| a.local == local) {
        let name = snapshot.names().link(link).into_owned();
        return Err(Impossible::new(format!("{name} has {local} already"), "leave it out"));
    }
    let scope = match () {
        () if is_global(local) => 0,
        () if local.is_loopback() => SCOPE_HOST,
        () if local.is_ipv6() => SCOPE_LINK,
        () => 0,
    };
    let mut address =
        Address { link, local, prefix_len: len, peer: None, scope, flags: IFA_F_PERMANENT };
    if family == Family::V4 && primary_of(snapshot, &address).is_some() {
        address.flags |= IFA_F_SECONDARY;
    }
    let routes = routes_of(snapshot, &address);
    snapshot.append_address(address);
    routes.into_iter().for_each(|r| snapshot.insert_route(r));
    Ok(())
}

/// Takes an address away as `ip address del` does.
///
/// # Errors
/// When the link does not have it.
pub fn del_address(snapshot: &mut Snapshot, link: u32, local: IpAddr) -> Result<(), Impossible> {
    let Some(address) = snapshot.addresses_of(link).find(|a| a.local == local).cloned() else {
        let name = snapshot.names().link(link).into_owned();
        let has: Vec<String> = snapshot.addresses_of(link).map(|a| a.local.to_string()).collect();
        return Err(Impossible::new(
            format!("{name} does not have {local}"),
            format!("it has: {}", if has.is_empty() { "none".into() } else { has.join(", ") }),
        ));
    };
    match address.family() {
        Family::V4 => del_v4(snapshot, &address),
        Family::V6 => del_v6(snapshot, &address),
    }
    Ok(())
}

/// The address of the same link and network that was there first (`__inet_insert_ifa`).
fn primary_of<'a>(snapshot: &'a Snapshot, address: &Address) -> Option<&'a Address> {
    let same = |a: &&Address| {
        a.local.is_ipv4()
            && !a.is_secondary()
            && a.local != address.local
            && a.prefix_len == address.prefix_len
            && a.network() == address.network()
    };
    snapshot.addresses_of(address.link).find(same)
}

/// The routes that the kernel makes of an address.
fn routes_of(snapshot: &Snapshot, address: &Address) -> Vec<Route> {
    let up = snapshot.link(address.link).is_some_and(crate::model::Link::is_up);
    let made = |table, dst| Route {
        protocol: KERNEL,
        metric: 0,
        hops: vec![Hop::dev(address.link)],
        ..Route::new(table, dst)
    };
    let host = Prefix::host(address.local);
    let network = address.network();
    let makes_network = address.flags & IFA_F_NOPREFIXROUTE == 0;
    let mut routes = Vec::new();
    match address.family() {
        Family::V4 => {
            let primary = primary_of(snapshot, address).map_or(address.local, |p| p.local);
            let prefsrc = Some(primary);
            let local = made(TABLE_LOCAL, host);
            routes.push(Route { kind: RouteKind::Local, scope: SCOPE_HOST, prefsrc, ..local });
            let connected = !address.is_secondary() && (network != host || address.peer.is_some());
            if up && connected {
                if makes_network {
                    routes.push(Route { scope: SCOPE_LINK, prefsrc, ..made(TABLE_MAIN, network) });
                }
                if network.len() < 31 {
                    let last = made(TABLE_LOCAL, Prefix::host(broadcast_of(&network)));
                    let kind = RouteKind::Broadcast;
                    routes.push(Route { kind, scope: SCOPE_LINK, prefsrc, ..last });
                }
            }
        }
        Family::V6 if up => {
            routes.push(Route { kind: RouteKind::Local, ..made(TABLE_LOCAL, host) });
            if makes_network {
                routes.push(Route { metric: METRIC_ADDRCONF, ..made(TABLE_MAIN, network) });
            }
        }
        Family::V6 => {}
    }
    routes
}

fn broadcast_of(network: &Prefix) -> IpAddr {
    let family = network.family();
    let all = mask(family, family.bits());
    bits_address(family, network.bits() | (all & !mask(family, network.len())))
}

fn del_v4(snapshot: &mut Snapshot, address: &Address) {
    let of_network = |a: &Address| {
        a.is_secondary() && a.prefix_len == address.prefix_len && a.network() == address.network()
    };
    let secondaries: Vec<Address> = match address.is_secondary() {
        true => Vec::new(),
        false => {
            let all = snapshot.addresses_in_order(address.link);
            all.into_iter().filter(|a| of_network(a)).cloned().collect()
        }
    };
    let name = snapshot.link(address.link).map_or_else(String::new, |l| l.name.clone());
    let promotes =
        snapshot.sysctls.effective(Family::V4, &name, "promote_secondaries").is_some_and(|v| v > 0);
    remove_v4(snapshot, address);
    secondaries.iter().for_each(|a| remove_v4(snapshot, a));
    if promotes {
        for (n, mut kept) in secondaries.into_iter().enumerate() {
            if n == 0 {
                kept.flags &= !IFA_F_SECONDARY;
            }
            let routes = routes_of(snapshot, &kept);
            snapshot.append_address(kept);
            routes.into_iter().for_each(|r| snapshot.insert_route(r));
        }
    }
    if !snapshot.addresses_of(address.link).any(|a| a.local.is_ipv4()) {
        // `fib_disable_ip` with force: the local routes too.
        let of_link = |r: &Route| r.hops.iter().any(|h| h.link == address.link);
        snapshot.remove_routes(|r| r.family() == Family::V4 && r.hops.len() == 1 && of_link(r));
    }
}

fn remove_v4(snapshot: &mut Snapshot, address: &Address) {
    let elsewhere =
        snapshot.addresses().any(|a| a.local == address.local && a.link != address.link);
    let routes = routes_of(snapshot, address);
    snapshot.remove_address(address);
    let still = primary_of(snapshot, address).is_some();
    for route in routes {
        let shared = route.kind != RouteKind::Local && still;
        if !shared {
            snapshot.remove_route(&route);
        }
    }
    if !elsewhere {
        // `fib_sync_down_addr`: main's routes that name it as their source.
        let named = Some(address.local);
        snapshot.remove_routes(|r| r.table == TABLE_MAIN && r.prefsrc == named);
    }
}

fn del_v6(snapshot: &mut Snapshot, address: &Address) {
    let routes = routes_of(snapshot, address);
    snapshot.remove_address(address);
    let shared = snapshot
        .addresses_of(address.link)
        .any(|a| a.local.is_ipv6() && a.network() == address.network());
    for route in routes {
        if route.kind == RouteKind::Local || !shared {
            // The kernel knows it by its prefix and metric; the flags are its own.
            snapshot.remove_routes(|r| {
                r.key() == route.key()
                    && r.kind == route.kind
                    && r.hops.iter().any(|h| h.link == address.link)
            });
        }
    }
}
