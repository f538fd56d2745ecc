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

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::config::OnDown;
use crate::interest::{self, is_covered};
use crate::model::names::TABLE_MAIN;
use crate::model::route::{RTNH_F_ONLINK, SCOPE_LINK};
use crate::model::{Hop, PROTOCOL, Route, RouteKind, Snapshot};
use crate::plan::Planned;
use crate::prefix::{Family, Prefix};
use crate::uplink::{Side, Uplink};
use crate::ways::{self, Way};

/// The routes that one can copy, by table, link and family.
pub(crate) struct Leaving<'a>(BTreeMap<(u32, u32, Family), Vec<&'a Route>>);

impl<'a> Leaving<'a> {
    /// Sorts out a snapshot's routes once for all uplinks.
    pub(crate) fn of(snapshot: &'a Snapshot, uplinks: &[Planned]) -> Leaving<'a> {
        let mut tables = BTreeSet::from([TABLE_MAIN]);
        tables.extend(uplinks.iter().flat_map(|p| &p.uplink.sides).flat_map(|s| &s.tables));
        let mut leaving: BTreeMap<_, Vec<&Route>> = BTreeMap::new();
        for table in tables {
            let routes = snapshot.routes_in(table);
            for route in routes.filter(|r| !r.dst.is_default() && ways::is_live(r)) {
                let mut links: Vec<u32> = route.hops.iter().map(|h| h.link).collect();
                links.dedup();
                for link in links {
                    leaving.entry((table, link, route.family())).or_default().push(route);
                }
            }
        }
        Leaving(leaving)
    }
}

/// The routes of one uplink's table, one family, in the order in which they can be added.
#[must_use]
pub(crate) fn table(
    leaving: &Leaving<'_>,
    uplink: &Uplink,
    side: &Side,
    table: u32,
    on_down: OnDown,
) -> Vec<Route> {
    let mut routes = Vec::new();
    // A link that is down takes no route ("Nexthop device is not up").
    if uplink.up {
        mirrored(leaving, uplink, side, table, &mut routes);
        hinted(uplink, side, table, &mut routes);
        // Connected routes have no gateway to be checked, so they go first.
        routes.sort_by_cached_key(|r| (r.hops.iter().any(|h| h.gateway.is_some()), r.key()));
        default_routes(uplink, side, table, &mut routes);
        put_gateways_onlink(side.family, &mut routes);
    }
    if on_down == OnDown::Unreachable {
        routes.push(refusal(table, side.family));
    }
    routes
}

/// What stands behind all routes of an uplink's table: it refuses what no other is for.
#[must_use]
pub fn refusal(table: u32, family: Family) -> Route {
    let (kind, metric) = (RouteKind::Unreachable, u32::MAX);
    Route { kind, metric, ..Route::new(table, family.all()) }
}

/// Copies of the routes that leave by the uplink.
fn mirrored(leaving: &Leaving<'_>, uplink: &Uplink, side: &Side, table: u32, out: &mut Vec<Route>) {
    let own: BTreeSet<IpAddr> = side.addresses.iter().map(|a| a.local).collect();
    let mut seen = BTreeSet::new();
    let mut held = BTreeSet::new();
    for source in [TABLE_MAIN].iter().chain(&side.tables) {
        let Some(routes) = leaving.0.get(&(*source, uplink.link, side.family)) else { continue };
        let wanted = routes.iter().filter(|r| {
            let is_own_address = r.dst.is_host() && own.contains(&r.dst.address());
            // Without a way out nobody can tell which of a daemon's routes say no more than it
            // did: of a million, all would be copied.
            let is_beyond_telling = side.ways.is_empty() && interest::is_a_daemons(r);
            !is_own_address && !is_beyond_telling
        });
        let (repeating, others): (Vec<&Route>, Vec<&Route>) = wanted.partition(|r| {
            side.ways.first().is_some_and(|way| interest::repeats(r, uplink.link, way))
        });
        held.extend(others.iter().map(|r| (uplink.link, r.dst)));
        // What repeats the default counts only where a wider route would answer in its place.
        let needed = repeating.iter().filter(|r| is_covered(&held, uplink.link, r.dst));
        let mut copies: Vec<Route> = others
            .iter()
            .chain(needed)
            .map(|route| copy(route, uplink, &own, table))
            .filter(|copy| !copy.hops.is_empty())
            .collect();
        // Of several with one key the kernel would take one; which comes first in the snapshot
        // must not decide.
        copies.sort_by(|a, b| {
            let rank = |r: &Route| (r.key(), ways::preference_rank(r.preference));
            rank(a).cmp(&rank(b)).then_with(|| a.cmp(b))
        });
        out.extend(copies.into_iter().filter(|copy| seen.insert(copy.key())));
    }
}

/// The networks of a hint that nobody has put into the kernel: `dhclient` itself knows nothing of
/// option 121, and a hook that adds them does it once, on a new lease.
fn hinted(uplink: &Uplink, side: &Side, table: u32, out: &mut Vec<Route>) {
    let mut known: BTreeSet<Prefix> = out.iter().map(|r| r.dst).collect();
    for network in &side.hinted {
        if !known.insert(network.dst) {
            continue;
        }
        let mut route = Route::new(table, network.dst);
        route.hops = vec![Hop { link: uplink.link, gateway: network.gateway, ..Hop::default() }];
        if side.family == Family::V4 && network.gateway.is_none() {
            route.scope = SCOPE_LINK;
        }
        out.push(route);
    }
}

fn copy(route: &Route, uplink: &Uplink, own: &BTreeSet<IpAddr>, table: u32) -> Route {
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
        prefsrc: route.prefsrc.filter(|s| own.contains(s)),
        hops,
        nhid: None,
        expires: None,
        flags: 0,
        metrics: route.path_metrics(),
        ..route.clone()
    }
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
    let known: Vec<(Prefix, bool)> = routes
        .iter()
        .filter(|r| !r.dst.is_default())
        .map(|r| (r.dst, r.hops.iter().all(|h| h.gateway.is_none())))
        .collect();
    let is_on_link = |gateway: IpAddr| match gateway {
        IpAddr::V6(a) if a.is_unicast_link_local() => true,
        _ if Family::of(gateway) != family => false,
        _ => {
            // The kernel asks for the longest prefix, and that must be a connected one.
            let holding = known.iter().filter(|(dst, _)| dst.contains(gateway));
            let longest = holding.clone().map(|(dst, _)| dst.len()).max();
            longest.is_some_and(|len| {
                holding.clone().all(|(dst, connected)| dst.len() < len || *connected)
            })
        }
    };
    // Many routes, few gateways: each is judged once.
    let mut judged: BTreeMap<IpAddr, bool> = BTreeMap::new();
    for hop in routes.iter_mut().flat_map(|r| &mut r.hops) {
        let Some(gateway) = hop.gateway else { continue };
        if !*judged.entry(gateway).or_insert_with(|| is_on_link(gateway)) {
            hop.flags |= RTNH_F_ONLINK;
        }
    }
}
