//! What a rival's rules send elsewhere than ours would.
//!
//! The kernel's decision is re-enacted (`fib_rules_lookup`, longest prefix first) for what the
//! host itself sends from the addresses in question, once by the rules as they stand and once by
//! ours alone. Where the two answers differ, and a rule of the rival's gave the first, it is a
//! detour: a container that is no longer reached, a client on another card's subnet that is
//! answered by the wrong card, a static route that is lost.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;

use super::{Asked, Own};
use crate::model::names::{TABLE_LOCAL, TABLE_MAIN};
use crate::model::route::SCOPE_LINK;
use crate::model::{Action, Hop, Route, RouteKind, Rule, Snapshot};
use crate::plan::Plan;
use crate::prefix::{Family, Prefix, bits_address, is_global};
use crate::rules::suppressed_length;

/// Something that a rival sends elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Detour {
    /// What the host sends from this address
    pub from: IpAddr,
    /// to this network
    pub to: Prefix,
    /// (an address of it, to try)
    pub example: IpAddr,
    /// leaves by this door, as the rival has it,
    pub theirs: Door,
    /// and would leave by this one.
    pub ours: Door,
}

/// Where a packet leaves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// By a link.
    Out {
        /// Its name.
        dev: String,
        /// The gateway; none when the destination is on the link.
        #[serde(skip_serializing_if = "Option::is_none")]
        via: Option<IpAddr>,
    },
    /// Nowhere: it is refused.
    Refused,
}

/// As many sources and destinations are tried as show what is wrong.
const SOURCES: usize = 8;
const DESTINATIONS: usize = 32;

/// What `rules`, all of one rival, send elsewhere.
pub(super) fn find(
    snapshot: &Snapshot,
    plan: &Plan,
    own: &Own<'_>,
    rules: &[&Rule],
    asked: Asked,
) -> Vec<Detour> {
    let world = World::of(snapshot, plan);
    let theirs: BTreeSet<&Rule> = rules.iter().copied().collect();
    let mut from: BTreeSet<(Family, IpAddr)> = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for rule in rules {
        let served = own
            .sources(rule)
            .into_iter()
            .filter(|(p, _)| p.table.is_some() && !p.frozen.contains(&rule.family));
        for (planned, address) in served {
            // One address for each table tells enough.
            if seen.insert((planned.uplink.link, rule.family, rule.table())) {
                from.insert((rule.family, address));
            }
        }
    }
    let mut found = Vec::new();
    for family in Family::BOTH {
        let from: Vec<IpAddr> =
            from.iter().filter(|(of, _)| *of == family).map(|(_, a)| *a).take(SOURCES).collect();
        if from.is_empty() {
            continue;
        }
        let ours = world.rules(family, |r| r.is_ours() || r.is_kernels());
        // Rules that are not asked are shown by themselves, without anything of ours.
        let beside_ours = asked != Asked::Never;
        let all = world.rules(family, |r| !r.is_ours() || beside_ours);
        let destinations = world.destinations(family);
        for from in from {
            for (to, sample) in destinations.iter().copied() {
                let now = world.walk(&all, beside_ours, from, sample);
                let Some((rule, by_theirs)) = now else { continue };
                let Some((_, by_ours)) = world.walk(&ours, true, from, sample) else { continue };
                if theirs.contains(rule) && by_theirs != by_ours {
                    let example = sample;
                    found.push(Detour { from, to, example, theirs: by_theirs, ours: by_ours });
                }
            }
        }
    }
    found
}

/// What the kernel would hold with the plan in force.
struct World<'a> {
    snapshot: &'a Snapshot,
    plan: &'a Plan,
    /// Of each table the longest prefix first, of one prefix the smallest metric.
    tables: BTreeMap<(u32, Family), Vec<&'a Route>>,
    /// In the order in which they are asked.
    rules: Vec<&'a Rule>,
}

impl<'a> World<'a> {
    fn of(snapshot: &'a Snapshot, plan: &'a Plan) -> World<'a> {
        let mut tables: BTreeMap<_, Vec<&Route>> = BTreeMap::new();
        let foreign = snapshot.routes().filter(|r| !r.is_ours() && r.table != TABLE_LOCAL);
        for route in foreign.chain(&plan.routes) {
            if !route.is_expired() && route.src.is_none() && route.tos == 0 {
                tables.entry((route.table, route.family())).or_default().push(route);
            }
        }
        for routes in tables.values_mut() {
            // Stable: of those of one key the first counts.
            routes.sort_by_key(|r| (Reverse(r.dst.len()), r.metric));
        }
        let mut rules: Vec<&Rule> =
            snapshot.rules().filter(|r| !r.is_ours()).chain(&plan.rules).collect();
        rules.sort_by_key(|r| r.priority);
        World { snapshot, plan, tables, rules }
    }

    fn rules(&self, family: Family, wanted: impl Fn(&Rule) -> bool) -> Vec<&'a Rule> {
        let of = |r: &&Rule| r.family == family && wanted(r);
        self.rules.iter().copied().filter(of).collect()
    }

    /// What main leads to besides its defaults, what is not an uplink's first, and everything
    /// else; each with an address in it that no longer prefix has.
    fn destinations(&self, family: Family) -> Vec<(Prefix, IpAddr)> {
        let Some(main) = self.tables.get(&(TABLE_MAIN, family)) else { return Vec::new() };
        let is_uplink = |link: u32| self.plan.uplinks.iter().any(|p| p.uplink.link == link);
        let mut networks: BTreeMap<Prefix, (bool, bool)> = BTreeMap::new();
        for route in main.iter().filter(|r| r.kind == RouteKind::Unicast) {
            let Some(hop) = route.hops.first() else { continue };
            let len = u32::from(route.dst.len());
            if len > suppressed_length(family) && is_global(route.dst.address()) {
                let on_link = hop.gateway.is_none() && route.scope == SCOPE_LINK;
                networks.entry(route.dst).or_insert((is_uplink(hop.link), !on_link));
            }
        }
        let known: Vec<Prefix> = networks.keys().copied().collect();
        let wider = |p: &Prefix| known.iter().any(|k| k != p && k.covers(p));
        // A gateway's own route adds nothing to its network's.
        networks.retain(|p, _| !p.is_host() || !wider(p));
        let mut ordered: Vec<_> = networks.into_iter().map(|(p, rank)| (rank, p)).collect();
        ordered.sort_unstable();
        ordered.truncate(DESTINATIONS);
        let networks = ordered.into_iter().map(|(_, p)| p).chain([family.all()]);
        networks.filter_map(|p| Some((p, self.sample(p, &known)?))).collect()
    }

    /// An address of a network that neither a longer known prefix nor the host itself has.
    fn sample(&self, network: Prefix, known: &[Prefix]) -> Option<IpAddr> {
        let family = network.family();
        let is_free = |a: &IpAddr| {
            !known.iter().any(|k| k != &network && network.covers(k) && k.contains(*a))
                && !self.snapshot.addresses().any(|own| own.local == *a)
        };
        if network.is_default() {
            // RFC 5737, RFC 3849 and RFC 9637: in nobody's tables but by mistake.
            let outside = ["198.51.100.77", "203.0.113.77", "2001:db8:77::77", "3fff:77::77"];
            let outside = outside.iter().filter_map(|a| a.parse().ok());
            return outside.filter(|a| Family::of(*a) == family).find(is_free);
        }
        let free_bits = u32::from(family.bits() - network.len());
        if free_bits == 0 {
            return Some(network.address()).filter(is_free);
        }
        let size = 1_u128.checked_shl(free_bits).unwrap_or(u128::MAX);
        // From the far end, where hardly anybody has its gateway or its first hosts.
        let offsets = [size.saturating_sub(2), size / 2 + 1, size / 4 + 1, 1, 0];
        offsets.iter().map(|o| bits_address(family, network.bits() | o)).find(is_free)
    }

    /// Which rule decides, and by which door; none when no rule has an answer.
    fn walk(
        &self,
        rules: &[&'a Rule],
        with_our_routes: bool,
        from: IpAddr,
        to: IpAddr,
    ) -> Option<(&'a Rule, Door)> {
        let family = Family::of(to);
        let mut next = 0;
        while let Some(rule) = rules.get(next).copied() {
            next += 1;
            if !matches(rule, from, to) {
                continue;
            }
            match rule.action {
                Action::Goto(target) => {
                    let at = rules.iter().position(|r| r.priority == target);
                    next = at.map_or(next, |at| at.max(next));
                }
                Action::Lookup(table) => {
                    let routes = self.tables.get(&(table, family)).map_or(&[][..], Vec::as_slice);
                    let fits =
                        |r: &&&Route| r.dst.contains(to) && (with_our_routes || !r.is_ours());
                    let Some(route) = routes.iter().find(fits) else { continue };
                    match (route.kind, route.hops.first()) {
                        (RouteKind::Throw, _) => {}
                        (RouteKind::Unicast, Some(hop)) => {
                            if !self.is_suppressed(rule, route, hop) {
                                return Some((rule, self.door(hop)));
                            }
                        }
                        _ => return Some((rule, Door::Refused)),
                    }
                }
                Action::Nop => {}
                _ => return Some((rule, Door::Refused)),
            }
        }
        None
    }

    fn is_suppressed(&self, rule: &Rule, route: &Route, hop: &Hop) -> bool {
        let now = self.snapshot.link(hop.link).map_or(0, |l| l.group);
        let group = self.plan.groups.get(&hop.link).copied().unwrap_or(now);
        rule.suppress_prefixlength.is_some_and(|n| u32::from(route.dst.len()) <= n)
            || rule.suppress_ifgroup == Some(group)
    }

    fn door(&self, hop: &Hop) -> Door {
        let name = self.snapshot.link(hop.link).map(|l| l.name.clone());
        Door::Out { dev: name.unwrap_or_else(|| format!("if{}", hop.link)), via: hop.gateway }
    }
}

/// Whether a rule is for what the host itself sends, without a mark; false also where that
/// depends on more than addresses.
fn matches(rule: &Rule, from: IpAddr, to: IpAddr) -> bool {
    let depends = rule.ipproto.is_some()
        || rule.sport.is_some()
        || rule.dport.is_some()
        || rule.uidrange.is_some()
        || rule.tun_id.is_some()
        || rule.tos.is_some_and(|t| t != 0)
        || rule.l3mdev
        || !rule.other.is_empty();
    let fits = rule.from.is_none_or(|p| p.contains(from))
        && rule.to.is_none_or(|p| p.contains(to))
        && rule.iif.as_deref().is_none_or(|name| name == "lo")
        && rule.oif.is_none()
        && rule.fwmark.is_none_or(|(mark, mask)| mark & mask == 0);
    !depends && fits != rule.not
}
