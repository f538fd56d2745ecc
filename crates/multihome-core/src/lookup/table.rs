//! One table of one family: the longest prefix, and among its routes the one that counts.
//!
//! IPv4 (`fib_table_lookup` in net/ipv4/fib_trie.c) takes the first route of the longest prefix whose
//! TOS fits, in the order TOS, metric, age, and goes on to shorter prefixes when a route's hops are
//! dead or leave by another link than asked for.
//!
//! IPv6 (`fib6_table_lookup` in net/ipv6/route.c) looks at the destination first and at the source
//! prefix second, and scores the routes of one place: by link, router preference and whether the
//! gateway answers. Metrics come before the score only as far as the lowest one goes: if no route
//! of that will do, the best score of all the others wins (`find_rr_leaf`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use super::walk::Key;
use super::{Lookup, Refusal};
use crate::model::route::RTNH_F_DEAD;
use crate::model::sysctl;
use crate::model::{Hop, Route, RouteKind};
use crate::prefix::{Family, Prefix, address_bits, mask};

/// The routes of one table and family.
#[derive(Debug, Default)]
pub(super) struct Table<'a> {
    /// By length, the longest first; then by the bits of the prefix.
    by_len: BTreeMap<Reverse<u8>, HashMap<u128, Vec<&'a Route>>>,
    /// How many routes there are to everything (`tb_num_default`).
    pub defaults: usize,
}

/// What a table says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A route, and the hops of it that can be chosen; none for what has none.
    Route(&'a Route, Vec<Option<&'a Hop>>),
    /// A route that refuses.
    Refused(&'a Route, Refusal),
    /// A `throw` route.
    Throw(&'a Route),
    /// Nothing.
    Nothing,
}

impl<'a> Table<'a> {
    /// Puts a route in.
    pub(super) fn insert(&mut self, route: &'a Route) {
        self.defaults += usize::from(route.dst.is_default());
        let same_len = self.by_len.entry(Reverse(route.dst.len())).or_default();
        same_len.entry(route.dst.bits()).or_default().push(route);
    }

    /// Puts the routes of each prefix in the kernel's order (`fib_find_alias`,
    /// `fib6_add_rt2node`); those that are alike stay as they came.
    pub(super) fn sort(&mut self) {
        for routes in self.by_len.values_mut().flat_map(HashMap::values_mut) {
            routes
                .sort_by_key(|r| (Reverse(r.src.map_or(0, |p| p.len())), Reverse(r.tos), r.metric));
        }
    }

    /// What the table says of a key.
    pub(super) fn look_up(&self, lookup: &Lookup<'a>, key: &Key) -> Found<'a> {
        match key.family() {
            Family::V4 => v4(&[self], key),
            Family::V6 => self.v6(lookup, key),
        }
    }

    /// The routes of the prefixes that hold an address, the longest first.
    fn nodes(&self, family: Family, bits: u128) -> impl Iterator<Item = (u8, &[&'a Route])> {
        self.by_len.iter().filter_map(move |(Reverse(len), prefixes)| {
            let routes = prefixes.get(&(bits & mask(family, *len)))?;
            Some((*len, routes.as_slice()))
        })
    }

    /// The routes of one prefix.
    pub(super) fn at(&self, prefix: Prefix) -> &[&'a Route] {
        let same_len = self.by_len.get(&Reverse(prefix.len()));
        same_len.and_then(|p| p.get(&prefix.bits())).map_or(&[], Vec::as_slice)
    }
}

// ===== IPv4 =====

/// What tables say that share a trie: `local` and `main` do until there is a first rule
/// (`fib_trie_unmerge`). At one prefix the tables are asked in this order.
pub(super) fn v4<'a>(tables: &[&Table<'a>], key: &Key) -> Found<'a> {
    let bits = address_bits(key.to);
    let nodes = tables.iter().enumerate();
    let mut nodes: Vec<(u8, usize, &[&Route])> = nodes
        .flat_map(|(n, t)| t.nodes(Family::V4, bits).map(move |(len, routes)| (len, n, routes)))
        .collect();
    if tables.len() > 1 {
        nodes.sort_by_key(|(len, n, _)| (Reverse(*len), *n));
    }
    let mut left_out = None;
    for route in nodes.into_iter().flat_map(|(_, _, routes)| routes) {
        if !fits_tos(route, key) || left_out == Some(route.dst.bits()) {
            continue;
        }
        if let Some(found) = refusing(route) {
            return found;
        }
        let good = route.hops.iter().find(|h| is_good(h) && (key.oif == 0 || h.link == key.oif));
        let Some(first) = good else {
            // Where a nexthop object will not do, the kernel leaves the whole leaf: all prefixes
            // that begin with the same address (`miss` in fib_table_lookup).
            let dead = route.hops.iter().all(|h| h.flags & RTNH_F_DEAD != 0);
            left_out = (route.nhid.is_some() && !dead).then_some(route.dst.bits()).or(left_out);
            continue;
        };
        // fib_select_path: who asked for a link gets the first hop by it, all others any hop that
        // is alive. A group of nexthop objects may choose a dead one too (nexthop_select_path).
        let hops = if key.oif != 0 || route.hops.len() == 1 {
            vec![Some(first)]
        } else {
            let alive = route.hops.iter().filter(|h| route.nhid.is_some() || is_good(h));
            alive.map(Some).collect()
        };
        return Found::Route(route, hops);
    }
    Found::Nothing
}

/// Whether an IPv4 route is for the TOS (`fib_dscp_masked_match`).
pub(super) fn fits_tos(route: &Route, key: &Key) -> bool {
    route.tos == 0 || route.tos & 0xfc == key.kind.tos & 0x1c
}

/// Whether a hop can be used. The kernel calls one dead that has lost its carrier where
/// `ignore_routes_with_linkdown` says so (`fib_nexthop_info`).
pub(super) fn is_good(hop: &Hop) -> bool {
    hop.flags & RTNH_F_DEAD == 0
}

/// What a route says that refuses (`fib_props`, `fib6_prop`).
fn refusing(route: &Route) -> Option<Found<'_>> {
    let refusal = match route.kind {
        RouteKind::Blackhole | RouteKind::Other(_) => Refusal::Invalid,
        RouteKind::Unreachable => Refusal::HostUnreachable,
        RouteKind::Prohibit => Refusal::Prohibited,
        RouteKind::Throw => return Some(Found::Throw(route)),
        _ => return None,
    };
    Some(Found::Refused(route, refusal))
}

// ===== IPv6 =====

/// A route with one of its hops; one that refuses has none, and is on the loopback.
type Candidate<'a> = (&'a Route, Option<&'a Hop>);

impl<'a> Table<'a> {
    fn v6(&self, lookup: &Lookup<'a>, key: &Key) -> Found<'a> {
        // A host that forwards does not ask whether its gateways answer (ip6_pol_route).
        let forwarding =
            lookup.snapshot.sysctls.number(&sysctl::conf(Family::V6, "all", "forwarding"));
        let passes: &[bool] = if forwarding.unwrap_or(0) == 0 { &[true, false] } else { &[false] };
        for &reachable in passes {
            let mut found = false;
            for (len, routes) in self.nodes(Family::V6, address_bits(key.to)) {
                // Of a prefix with source-specific routes, of which none is for the source, the others
                // are not seen, unless it is everything: fib6_node_lookup_1 goes on to shorter ones.
                // Once there was a place to begin at, they are (fib6_backtrack).
                let specific = routes[0].src.is_some();
                let fits = |r: &&&Route| r.src.is_some_and(|src| src.contains(key.from));
                if !found && specific && len != 0 && !routes.iter().any(|r| fits(&r)) {
                    continue;
                }
                found = true;
                // The routes of one source prefix stand together, the longest first.
                for same in routes.chunk_by(|a, b| a.src == b.src) {
                    if same[0].src.is_some_and(|src| !src.contains(key.from)) {
                        continue;
                    }
                    let scores = Scores { lookup, key, reachable };
                    if let Some((route, hop)) = scores.select(same) {
                        return scores.outcome(route, hop);
                    }
                }
            }
        }
        Found::Nothing
    }
}

/// How good a route is for a key (`rt6_score_route`).
struct Scores<'l, 'a> {
    lookup: &'l Lookup<'a>,
    key: &'l Key,
    /// `RT6_LOOKUP_F_REACHABLE`: gateways that do not answer are passed over.
    reachable: bool,
}

impl<'a> Scores<'_, 'a> {
    /// The best of the routes of one place (`find_rr_leaf`).
    fn select(&self, routes: &[&'a Route]) -> Option<Candidate<'a>> {
        let lowest = routes.first()?.metric;
        let split = routes.partition_point(|r| r.metric == lowest);
        let (first, others) = routes.split_at(split);
        self.best(first).or_else(|| self.best(others))
    }

    fn best(&self, routes: &[&'a Route]) -> Option<Candidate<'a>> {
        let mut best: Option<(u32, Candidate<'a>)> = None;
        for &route in routes {
            if route.is_expired() {
                continue;
            }
            // A black hole object ends the search (__find_rr_leaf).
            if route.nhid.is_some() && route.kind == RouteKind::Blackhole {
                return Some((route, None));
            }
            let of_route = if route.hops.is_empty() {
                vec![(route, None)]
            } else {
                route.hops.iter().map(|h| (route, Some(h))).collect()
            };
            for candidate in of_route {
                // The first of those that are equally good.
                if let Some(score) = self.score(candidate)
                    && best.is_none_or(|(s, _)| score > s)
                {
                    best = Some((score, candidate));
                }
            }
        }
        best.map(|(_, candidate)| candidate)
    }

    fn score(&self, (route, hop): Candidate<'_>) -> Option<u32> {
        if hop.is_some_and(|h| !is_good(h)) {
            return None;
        }
        let link = hop.map_or_else(|| self.lookup.loopback, |h| h.link);
        let by_link = self.key.near == 0 || link == self.key.near;
        if !by_link && self.key.iface {
            return None;
        }
        if let Some(gateway) = hop.and_then(|h| h.gateway)
            && self.reachable
            && self.lookup.has_failed(link, gateway)
        {
            return None;
        }
        // IPV6_DECODE_PREF: low 1, medium 2, high 3
        let preference = u32::from(route.preference & 3) ^ 2;
        Some(u32::from(by_link) * 2 + preference * 4)
    }

    /// What comes of the route that was selected, with one of its hops (`fib6_select_path`).
    fn outcome(&self, route: &'a Route, hop: Option<&'a Hop>) -> Found<'a> {
        if let Some(found) = refusing(route) {
            return found;
        }
        if route.hops.len() <= 1 {
            return Found::Route(route, vec![hop]);
        }
        let other = |h: &&Hop| {
            hop == Some(*h) || route.nhid.is_some() || self.score((route, Some(h))).is_some()
        };
        Found::Route(route, route.hops.iter().filter(other).map(Some).collect())
    }
}

impl Lookup<'_> {
    /// Whether a gateway was asked for and did not answer (`rt6_check_neigh`).
    fn has_failed(&self, link: u32, gateway: std::net::IpAddr) -> bool {
        let neighbours = &self.snapshot.neighbours;
        neighbours.iter().any(|n| n.link == link && n.address == gateway && n.has_failed())
    }
}
