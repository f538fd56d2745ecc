//! What stands in an uplink's table.
//!
//! A table answers for one uplink alone, so it holds every route of main that leaves by
//! it (connected, static, DHCP option 121, RA, OSPF), then its default routes, then, unless
//! configuration says otherwise, an `unreachable default` behind them all: when the routes
//! are gone the traffic is refused at once instead of leaving by another door.
//!
//! A gateway must be on the link for `fib_check_nh`, which looks in the same table first:
//! connected routes therefore come first, and a gateway that none of them holds gets
//! `onlink` (a network that its manager keeps in another table, or nowhere).

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::config::OnDown;
use crate::model::names::TABLE_MAIN;
use crate::model::route::{RTNH_F_ONLINK, SCOPE_LINK};
use crate::model::{Hop, PROTOCOL, Route, RouteKind, Snapshot};
use crate::prefix::{Family, Prefix};
use crate::uplink::{self, Learnt, Side, Uplink, Way};

/// The first protocol number of routing daemons (`RTPROT_ZEBRA`): what they learn can be the
/// whole Internet.
const FIRST_DAEMON: u8 = 11;

/// The routes of one uplink's table, one family, in the order in which they can be added.
#[must_use]
pub(crate) fn table(
    snapshot: &Snapshot,
    uplink: &Uplink,
    side: &Side,
    table: u32,
    on_down: OnDown,
) -> Vec<Route> {
    let mut routes = Vec::new();
    // A link that is down takes no route ("Nexthop device is not up").
    if uplink.up {
        mirrored(snapshot, uplink, side, table, &mut routes);
        // Connected routes have no gateway to be checked, so they go first.
        routes.sort_by_cached_key(|r| (r.hops.iter().any(|h| h.gateway.is_some()), r.key()));
        default_routes(uplink, side, table, &mut routes);
        put_gateways_onlink(side.family, &mut routes);
    }
    if on_down == OnDown::Unreachable {
        routes.push(Route {
            kind: RouteKind::Unreachable,
            metric: u32::MAX,
            ..Route::new(table, side.family.all())
        });
    }
    routes
}

/// Copies of the routes that leave by the uplink.
fn mirrored(snapshot: &Snapshot, uplink: &Uplink, side: &Side, table: u32, out: &mut Vec<Route>) {
    // A manager that keeps an uplink's default outside main keeps its network there as well.
    let mut sources = vec![TABLE_MAIN];
    if let Some(Learnt::DefaultRoute { table, .. }) = side.ways.first().map(|w| &w.learnt)
        && *table != TABLE_MAIN
    {
        sources.push(*table);
    }
    let mut seen = BTreeSet::new();
    for source in sources {
        let mut copies: Vec<Route> = snapshot
            .routes_in(source)
            .filter(|route| {
                route.family() == side.family
                    && !route.dst.is_default()
                    && uplink::is_live(route)
                    && route.hops.iter().any(|h| h.link == uplink.link)
                    && !side.addresses.iter().any(|a| Prefix::host(a.local) == route.dst)
                    && !says_the_same_as_the_default(route, uplink, side)
            })
            .map(|route| copy(route, uplink, side, table))
            .filter(|copy| !copy.hops.is_empty())
            .collect();
        // Of several with one key the kernel would take one; which comes first in the snapshot
        // must not decide.
        copies.sort_by(|a, b| {
            let rank = |r: &Route| (r.key(), uplink::preference_rank(r.preference));
            rank(a).cmp(&rank(b)).then_with(|| a.cmp(b))
        });
        out.extend(copies.into_iter().filter(|copy| seen.insert(copy.key())));
    }
}

fn copy(route: &Route, uplink: &Uplink, side: &Side, table: u32) -> Route {
    let hops: Vec<Hop> = route
        .hops
        .iter()
        // A tunnel's head-end is more than a hop; without it the route would be another one.
        .filter(|h| h.link == uplink.link && !h.encap)
        .map(|h| Hop { flags: h.flags & RTNH_F_ONLINK, ..h.clone() })
        .collect();
    let hops = match hops.as_slice() {
        // The weight of a hop that is alone says nothing, and the kernel does not keep it.
        [hop] => vec![Hop { weight: 0, ..hop.clone() }],
        _ => hops,
    };
    Route {
        table,
        protocol: PROTOCOL,
        // A source that is not this uplink's would be refused ("Invalid prefsrc address") as
        // soon as its own link loses it.
        prefsrc: route.prefsrc.filter(|s| side.addresses.iter().any(|a| a.local == *s)),
        hops,
        nhid: None,
        expires: None,
        flags: 0,
        ..route.clone()
    }
}

/// Whether a routing daemon's route leads where the table's default leads anyway. Copying
/// those would put a copy of the Internet into each table.
fn says_the_same_as_the_default(route: &Route, uplink: &Uplink, side: &Side) -> bool {
    let Some(way) = side.ways.first() else { return false };
    // Of a multipath route over several uplinks only this one's hops count.
    let mut hops = route.hops.iter().filter(|h| h.link == uplink.link);
    let (Some(hop), None) = (hops.next(), hops.next()) else { return false };
    route.protocol >= FIRST_DAEMON
        && route.protocol != 16 // RTPROT_DHCP: option 121, a handful and wanted
        && hop.gateway.is_some()
        && way.gateway() == hop.gateway
        && route.metrics == way.metrics
}

fn default_routes(uplink: &Uplink, side: &Side, table: u32, out: &mut Vec<Route>) {
    let family = side.family;
    for (rank, way) in (0u32..).zip(&side.ways) {
        // IPv4 has no use for a second default: nothing would ever choose it. IPv6 passes over a
        // router that does not answer (rt6_score_route), so the others stand behind the first.
        if family == Family::V4 && rank > 0 {
            break;
        }
        let mut route = default_route(uplink, side, way, table);
        route.metric += rank;
        out.push(route);
    }
}

fn default_route(uplink: &Uplink, side: &Side, way: &Way, table: u32) -> Route {
    let mut route = Route::new(table, side.family.all());
    route.hops.clone_from(&way.hops);
    if let [hop] = route.hops.as_mut_slice() {
        hop.weight = 0;
    }
    for hop in &mut route.hops {
        hop.link = uplink.link;
    }
    route.metrics.clone_from(&way.metrics);
    route.preference = way.preference;
    if side.family == Family::V4 {
        if way.hops.iter().all(|h| h.gateway.is_none()) {
            // As `ip route add default dev ppp0` has it.
            route.scope = SCOPE_LINK;
        }
        // IPv6 chooses the source by RFC 6724 among the link's own addresses, and does it well;
        // IPv4 would take the first address of the link that fits the gateway.
        route.prefsrc = side.source_for(way.gateway());
    }
    route
}

/// Marks the gateways that no route of the table has on the link.
fn put_gateways_onlink(family: Family, routes: &mut [Route]) {
    let connected: Vec<Prefix> = routes
        .iter()
        .filter(|r| !r.dst.is_default() && r.hops.iter().all(|h| h.gateway.is_none()))
        .map(|r| r.dst)
        .collect();
    let is_on_link = |gateway: IpAddr| match gateway {
        IpAddr::V6(a) if a.is_unicast_link_local() => true,
        _ => Family::of(gateway) == family && connected.iter().any(|c| c.contains(gateway)),
    };
    for hop in routes.iter_mut().flat_map(|r| &mut r.hops) {
        if hop.gateway.is_some_and(|g| !is_on_link(g)) {
            hop.flags |= RTNH_F_ONLINK;
        }
    }
}
