//! An address comes or goes, with the routes that the kernel makes of it (`fib_add_ifaddr`,
//! `fib_del_ifaddr`, `addrconf_prefix_route`).
//!
//! Not modelled: a link in a VRF, whose connected routes are in the VRF's table.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Consequence, Impossible};
use crate::model::address::{IFA_F_NOPREFIXROUTE, IFA_F_PERMANENT, IFA_F_SECONDARY};
use crate::model::names::{TABLE_LOCAL, TABLE_MAIN};
use crate::model::route::{RTNH_F_DEAD, RTNH_F_LINKDOWN, SCOPE_HOST, SCOPE_LINK};
use crate::model::{Address, Hop, Link, Route, RouteKind, Snapshot};
use crate::prefix::{Family, Prefix, bits_address, is_global, mask};

/// `RTPROT_KERNEL`.
const KERNEL: u8 = 2;
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
    let on_loopback = snapshot.link(link).is_some_and(Link::is_loopback);
    if local.is_loopback() && local.is_ipv6() && !on_loopback {
        return Err(Impossible::new(
            format!("{local} can only be on the loopback (inet6_addr_add)"),
            "give another address, or `lo`",
        ));
    }
    let network = Prefix::new(local, len);
    // IPv6 has an address once (`ipv6_chk_same_addr`), IPv4 once in each network
    // (`__inet_insert_ifa`).
    let has = |a: &Address| a.local == local && (local.is_ipv6() || a.network() == network);
    if snapshot.addresses_of(link).any(has) {
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
    let mut primary = local;
    if family == Family::V4
        && let Some(first) = primaries(snapshot, link).get(&network)
    {
        if first.scope != scope {
            let name = snapshot.names().link(link).into_owned();
            return Err(Impossible::new(
                format!("{name} has {network} with another scope, by {}", first.local),
                "give an address of another network",
            ));
        }
        address.flags |= IFA_F_SECONDARY;
        primary = first.local;
    }
    let routes = routes_of(snapshot.link(link), &address, primary);
    snapshot.append_address(address);
    routes.into_iter().for_each(|r| snapshot.insert_route(r));
    if family == Family::V4 {
        revive(snapshot, link);
    }
    Ok(())
}

/// Takes an address away as `ip address del` does; says what becomes of others by that.
///
/// # Errors
/// When the link does not have it.
pub fn del_address(
    snapshot: &mut Snapshot,
    link: u32,
    local: IpAddr,
) -> Result<Vec<Consequence>, Impossible> {
    let all = snapshot.addresses_in_order(link);
    let Some(address) = all.iter().find(|a| a.local == local).copied().cloned() else {
        let name = snapshot.names().link(link).into_owned();
        let has: Vec<String> = all.iter().map(|a| a.local.to_string()).collect();
        return Err(Impossible::new(
            format!("{name} does not have {local}"),
            format!("it has: {}", if has.is_empty() { "none".into() } else { has.join(", ") }),
        ));
    };
    match address.family() {
        Family::V4 => Ok(del_v4(snapshot, &address)),
        Family::V6 => {
            del_v6(snapshot, &address);
            Ok(Vec::new())
        }
    }
}

/// The first address of each IPv4 network of a link (`inet_ifa_byprefix`): the others of the network
/// are secondary to it.
fn primaries(snapshot: &Snapshot, link: u32) -> BTreeMap<Prefix, Address> {
    let mut primaries = BTreeMap::new();
    let all = snapshot.addresses_in_order(link).into_iter();
    for address in all.filter(|a| a.local.is_ipv4() && !a.is_secondary()) {
        primaries.entry(address.network()).or_insert_with(|| address.clone());
    }
    primaries
}

/// The routes that the kernel makes of an address of a link; `primary` is the first one of its
/// network.
fn routes_of(link: Option<&Link>, address: &Address, primary: IpAddr) -> Vec<Route> {
    let up = link.is_some_and(Link::is_up);
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
            let prefsrc = Some(primary);
            let local = |dst| Route {
                kind: RouteKind::Local,
                scope: SCOPE_HOST,
                prefsrc,
                ..made(TABLE_LOCAL, dst)
            };
            routes.push(local(host));
            let connected = !address.is_secondary() && (network != host || address.peer.is_some());
            if up && connected {
                if makes_network && link.is_some_and(Link::is_loopback) {
                    // The whole network is local there.
                    routes.push(local(network));
                } else if makes_network {
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

/// `__inet_del_ifa`: secondary addresses go with their primary, or the first of them takes its place.
fn del_v4(snapshot: &mut Snapshot, address: &Address) -> Vec<Consequence> {
    let link = snapshot.link(address.link).cloned();
    let name = link.as_ref().map_or("", |l| l.name.as_str());
    let promotes =
        snapshot.sysctls.effective(Family::V4, name, "promote_secondaries").is_some_and(|v| v > 0);
    let network = address.network();
    let follows = |a: &&Address| {
        !address.is_secondary() && a.is_secondary() && a.local.is_ipv4() && a.network() == network
    };
    let following: Vec<Address> = {
        let all = snapshot.addresses_in_order(address.link);
        all.into_iter().filter(follows).cloned().collect()
    };
    let before = primaries(snapshot, address.link);
    let primary = before.get(&network).map_or(address.local, |p| p.local);
    let mut consequences = Vec::new();
    // All routes of all of them go first, and come again with what stays.
    let mut routes = routes_of(link.as_ref(), address, primary);
    snapshot.remove_address(address);
    for follower in &following {
        routes.extend(routes_of(link.as_ref(), follower, primary));
        snapshot.remove_address(follower);
    }
    let kept = routes_of_link(snapshot, address.link);
    for route in routes.iter().filter(|r| !kept.contains(r)) {
        snapshot.remove_route(route);
    }
    let mut gone = vec![address.local];
    if promotes {
        let successor = following.first().map(|a| a.local);
        for mut follower in following {
            if Some(follower.local) == successor {
                follower.flags &= !IFA_F_SECONDARY;
                consequences.push(Consequence::Promoted(follower.clone()));
            }
            let first = successor.unwrap_or(follower.local);
            let routes = routes_of(link.as_ref(), &follower, first);
            snapshot.append_address(follower);
            routes.into_iter().for_each(|r| snapshot.insert_route(r));
        }
    } else {
        gone.extend(following.iter().map(|a| a.local));
        consequences.extend(following.into_iter().map(Consequence::Gone));
    }
    forget_sources(snapshot, gone);
    if !snapshot.addresses_of(address.link).any(|a| a.local.is_ipv4()) {
        disable_ip(snapshot, address.link);
    }
    consequences
}

/// `fib_disable_ip`: a link without IPv4 addresses takes its routes along, the local ones too, but for
/// those by a nexthop object; a hop of several is dead (`fib_sync_down_dev`).
fn disable_ip(snapshot: &mut Snapshot, index: u32) {
    // A hop may be marked dead only because its link has no carrier (`fib_nexthop_info`).
    let without_carrier: BTreeSet<u32> =
        snapshot.links().filter(|l| l.is_up() && !l.has_carrier()).map(|l| l.index).collect();
    snapshot.edit_routes(|route| {
        let is_of_link = route.hops.iter().any(|h| h.link == index);
        if route.family() != Family::V4 || route.nhid.is_some() || !is_of_link {
            return true;
        }
        for hop in route.hops.iter_mut().filter(|h| h.link == index) {
            hop.flags |= RTNH_F_DEAD | RTNH_F_LINKDOWN;
        }
        let is_dead = |h: &Hop| {
            h.link == index || h.flags & RTNH_F_DEAD != 0 && !without_carrier.contains(&h.link)
        };
        !route.hops.iter().all(is_dead)
    });
}

/// `fib_sync_up`: with an address the dead hops of a link live again.
fn revive(snapshot: &mut Snapshot, index: u32) {
    if snapshot.link(index).is_some_and(Link::has_carrier) {
        snapshot.edit_routes(|route| {
            let is_v4 = route.family() == Family::V4 && route.nhid.is_none();
            for hop in route.hops.iter_mut().filter(|h| is_v4 && h.link == index) {
                hop.flags &= !(RTNH_F_DEAD | RTNH_F_LINKDOWN);
            }
            true
        });
    }
}

/// What the addresses of a link make: `fib_del_ifaddr` leaves alone what another address makes too.
fn routes_of_link(snapshot: &Snapshot, index: u32) -> BTreeSet<Route> {
    let link = snapshot.link(index);
    let primaries = primaries(snapshot, index);
    let addresses = snapshot.addresses_of(index).filter(|a| a.local.is_ipv4());
    let routes = |a: &Address| {
        let primary = primaries.get(&a.network()).map_or(a.local, |p| p.local);
        routes_of(link, a, primary)
    };
    addresses.flat_map(routes).collect()
}

/// `fib_sync_down_addr`: main's routes that name as their source what is local no more.
fn forget_sources(snapshot: &mut Snapshot, gone: Vec<IpAddr>) {
    let mut hosts: BTreeMap<IpAddr, RouteKind> = BTreeMap::new();
    let mut wider: Vec<(Prefix, RouteKind)> = Vec::new();
    for route in snapshot.routes_in(TABLE_LOCAL).filter(|r| r.family() == Family::V4) {
        if route.dst.is_host() {
            hosts.entry(route.dst.address()).or_insert(route.kind);
        } else {
            wider.push((route.dst, route.kind));
        }
    }
    // `inet_addr_type`: what table local says of it, by its longest prefix.
    let is_local = |address: IpAddr| {
        let host = hosts.get(&address).copied();
        let wide =
            || wider.iter().filter(|(p, _)| p.contains(address)).max_by_key(|(p, _)| p.len());
        host.or_else(|| wide().map(|(_, kind)| *kind)) == Some(RouteKind::Local)
    };
    let gone: BTreeSet<IpAddr> = gone.into_iter().filter(|a| !is_local(*a)).collect();
    snapshot
        .remove_routes(|r| r.table == TABLE_MAIN && r.prefsrc.is_some_and(|s| gone.contains(&s)));
}

/// `ipv6_del_addr`.
fn del_v6(snapshot: &mut Snapshot, address: &Address) {
    let index = address.link;
    let own = Prefix::new(address.local, address.prefix_len);
    snapshot.remove_address(address);
    let local = Prefix::host(address.local);
    snapshot.remove_routes(|r| {
        let leads = r.hops.iter().any(|h| h.link == index);
        r.table == TABLE_LOCAL && r.dst == local && r.kind == RouteKind::Local && leads
    });
    // `check_cleanup_prefix_route`: only what was set for good takes the prefix's route with it, and
    // any other address of the same prefix keeps it, if only for its own lifetime.
    let makes_network = address.flags & (IFA_F_PERMANENT | IFA_F_NOPREFIXROUTE) == IFA_F_PERMANENT;
    let is_of_prefix = |a: &Address| a.local.is_ipv6() && Prefix::new(a.local, a.prefix_len) == own;
    if makes_network && !snapshot.addresses_of(index).any(is_of_prefix) {
        remove_prefix_route(snapshot, index, own);
    }
    if let Some(peer) = address.peer {
        remove_prefix_route(snapshot, index, Prefix::host(peer));
    }
    if !snapshot.addresses().any(|a| a.local == address.local) {
        // `rt6_remove_prefsrc`: the routes stay, without it.
        snapshot.edit_routes(|route| {
            if route.prefsrc == Some(address.local) && route.nhid.is_none() {
                route.prefsrc = None;
            }
            true
        });
    }
}

/// `addrconf_get_prefix_route`: the first route of the prefix on the link that has no gateway.
fn remove_prefix_route(snapshot: &mut Snapshot, link: u32, prefix: Prefix) {
    let is_it = |r: &&Route| {
        r.dst == prefix
            && r.src.is_none()
            && r.nhid.is_none()
            && matches!(r.hops.as_slice(), [hop] if hop.link == link && hop.gateway.is_none())
    };
    let route = snapshot.routes_in(TABLE_MAIN).find(is_it).cloned();
    route.map(|r| snapshot.remove_route(&r));
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: u16 = 30_000;

    fn address(n: u16) -> IpAddr {
        let [high, low] = n.to_be_bytes();
        IpAddr::from([10, 1, high, low])
    }

    /// A link with one primary address and thousands that are secondary to it.
    fn crowded(promotes: bool) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.insert_link(Link {
            name: "ens5".into(),
            flags: crate::model::link::IFF_UP | crate::model::link::IFF_LOWER_UP,
            ..serde_json::from_str(r#"{"index": 2, "name": "", "flags": 0, "arphrd": 1}"#).unwrap()
        });
        let value = if promotes { "1" } else { "0" };
        snapshot.sysctls.insert("net/ipv4/conf/ens5/promote_secondaries", value);
        for n in 1..=LAST {
            let flags = IFA_F_PERMANENT | if n == 1 { 0 } else { IFA_F_SECONDARY };
            let (local, link, scope) = (address(n), 2, 0);
            let one = Address { link, local, prefix_len: 16, peer: None, scope, flags };
            let routes = routes_of(snapshot.link(2), &one, address(1));
            snapshot.insert_address(one);
            routes.into_iter().for_each(|r| snapshot.insert_route(r));
        }
        snapshot
    }

    #[test]
    fn thousands_that_go_with_their_primary_are_a_matter_of_a_moment() {
        let start = std::time::Instant::now();
        let mut snapshot = crowded(false);
        let along = del_address(&mut snapshot, 2, address(1)).unwrap();
        assert_eq!(along.len(), usize::from(LAST) - 1);
        assert!(along.iter().all(|c| matches!(c, Consequence::Gone(_))));
        assert_eq!(snapshot.addresses().count(), 0);
        assert_eq!(snapshot.routes().count(), 0);
        let mut snapshot = crowded(true);
        let along = del_address(&mut snapshot, 2, address(1)).unwrap();
        assert!(matches!(&along[..], [Consequence::Promoted(a)] if a.local == address(2)));
        assert_eq!(snapshot.addresses().count(), usize::from(LAST) - 1);
        // A local route of each, the network and its broadcast, all with the new primary as source.
        assert_eq!(snapshot.routes().count(), usize::from(LAST) + 1);
        assert!(snapshot.routes().all(|r| r.prefsrc == Some(address(2))));
        assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    }
}
