//! A link goes down, or loses its carrier.
//!
//! IPv4 (`fib_sync_down_dev`): routes of the link go from all tables, in silence, but for those of scope host,
//! which are the local addresses; a multipath route stays with dead hops while one hop lives. IPv6
//! (`addrconf_ifdown`, `fib6_ifdown`): all routes of the link and its addresses go, unless
//! `keep_addr_on_down` keeps the permanent ones. Nexthop objects go with the link, already when it loses
//! its carrier (`nh_netdev_event`). Routes stay then, and are marked.

use std::collections::BTreeSet;

use crate::model::address::{IFA_F_PERMANENT, IFA_F_TENTATIVE};
use crate::model::link::{IFF_LOWER_UP, IFF_RUNNING, IFF_UP};
use crate::model::route::{RTNH_F_DEAD, RTNH_F_LINKDOWN, SCOPE_HOST};
use crate::model::{Address, Link, Nexthop, Route, RouteKind, Snapshot};
use crate::prefix::{Family, is_global};

/// `IFA_F_NODAD`.
const IFA_F_NODAD: u32 = 0x02;

/// Takes a link down as `ip link set down` does.
pub fn link_down(snapshot: &mut Snapshot, index: u32) {
    let Some(link) = snapshot.link(index).filter(|l| l.is_up()).cloned() else { return };
    let kept = keeps_addresses(snapshot, &link);
    let flags = link.flags & !(IFF_UP | IFF_RUNNING | IFF_LOWER_UP);
    snapshot.insert_link(Link { flags, ..link });
    let mut lost = remove_nexthops(snapshot, index);
    lost.links.extend(snapshot.links().filter(|l| !l.is_up()).map(|l| l.index));
    snapshot.edit_routes(|r| survives_down(r, index, &lost));
    let addresses: Vec<Address> =
        snapshot.addresses_of(index).filter(|a| a.local.is_ipv6()).cloned().collect();
    for address in addresses {
        let permanent = address.flags & IFA_F_PERMANENT != 0;
        if !(kept && permanent && is_global(address.local)) {
            snapshot.remove_address(&address);
        } else if address.flags & IFA_F_NODAD == 0 {
            let flags = address.flags | IFA_F_TENTATIVE;
            snapshot.insert_address(Address { flags, ..address });
        }
    }
    snapshot.neighbours.retain(|n| n.link != index);
}

/// Pulls a link's cable.
pub fn carrier_lost(snapshot: &mut Snapshot, index: u32) {
    let Some(link) = snapshot.link(index).filter(|l| l.has_carrier()).cloned() else { return };
    let key = "ignore_routes_with_linkdown";
    let ignored =
        |family| snapshot.sysctls.effective(family, &link.name, key).is_some_and(|v| v > 0);
    let flag = |family| RTNH_F_LINKDOWN | if ignored(family) { RTNH_F_DEAD } else { 0 };
    let (v4, v6) = (flag(Family::V4), flag(Family::V6));
    let flags = link.flags & !(IFF_RUNNING | IFF_LOWER_UP);
    snapshot.insert_link(Link { flags, ..link });
    let lost = remove_nexthops(snapshot, index);
    snapshot.edit_routes(|route| {
        if !lost.leaves(route, index) {
            return false;
        }
        let unmarked = match route.family() {
            Family::V4 => route.scope == SCOPE_HOST,
            Family::V6 => matches!(route.kind, RouteKind::Local | RouteKind::Anycast),
        };
        let flag = if route.family() == Family::V4 { v4 } else { v6 };
        for hop in route.hops.iter_mut().filter(|h| h.link == index && !unmarked) {
            hop.flags |= flag;
        }
        true
    });
}

/// What went with a link.
struct Lost {
    nexthops: BTreeSet<u32>,
    /// Links that are down.
    links: BTreeSet<u32>,
}

impl Lost {
    /// Takes the hops of lost nexthop objects from a route; false when none is left.
    fn leaves(&self, route: &mut Route, index: u32) -> bool {
        match route.nhid {
            None => true,
            Some(id) if self.nexthops.contains(&id) => false,
            Some(_) => {
                let had_hops = !route.hops.is_empty();
                route.hops.retain(|h| h.link != index);
                !had_hops || !route.hops.is_empty()
            }
        }
    }
}

fn survives_down(route: &mut Route, index: u32, lost: &Lost) -> bool {
    if !lost.leaves(route, index) {
        return false;
    }
    if route.family() == Family::V4 && route.scope == SCOPE_HOST {
        return true;
    }
    if !route.hops.iter().any(|h| h.link == index) {
        return true;
    }
    for hop in route.hops.iter_mut().filter(|h| h.link == index) {
        hop.flags |= RTNH_F_DEAD | RTNH_F_LINKDOWN;
    }
    // A hop that is marked dead may only be without carrier (`fib_nexthop_info`).
    !route.hops.iter().all(|h| lost.links.contains(&h.link))
}

fn remove_nexthops(snapshot: &mut Snapshot, index: u32) -> Lost {
    let mut lost = Lost { nexthops: BTreeSet::new(), links: BTreeSet::new() };
    lost.nexthops
        .extend(snapshot.nexthops().filter(|n| n.oif == Some(index) && !n.blackhole).map(|n| n.id));
    if lost.nexthops.is_empty() {
        return lost;
    }
    let groups: Vec<Nexthop> =
        snapshot.nexthops().filter(|n| !n.group.is_empty()).cloned().collect();
    for mut group in groups {
        group.group.retain(|(member, _)| !lost.nexthops.contains(member));
        if group.group.is_empty() {
            lost.nexthops.insert(group.id);
        } else {
            snapshot.insert_nexthop(group);
        }
    }
    lost.nexthops.iter().for_each(|id| snapshot.remove_nexthop(*id));
    lost
}

/// `addrconf_ifdown`: `all` counts unless it is 0; negative values mean no.
fn keeps_addresses(snapshot: &Snapshot, link: &Link) -> bool {
    let conf = |name: &str| snapshot.sysctls.conf(Family::V6, name, "keep_addr_on_down");
    match conf("all") {
        None | Some(0) => conf(&link.name).is_some_and(|v| v > 0),
        Some(all) => all > 0,
    }
}
