//! The host itself: what is drawn whatever is asked.
//!
//! A host can have thousands of addresses, rules and routes, and a figure a few lines for each
//! box: the first are drawn and the others counted. What a way leads over is always drawn.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{
    Asked, Card, CardAddress, Gateway, Network, Role, Scene, State, Table, TableRoute, TableRule,
};
use crate::lookup::{Step, Verdict};
use crate::model::names::{TABLE_LOCAL, TABLE_MAIN};
use crate::model::route::{METRIC_V6_DEFAULT, RTM_F_CLONED, RTPROT_BOOT};
use crate::model::{Action, Address, Link, Metrics, Names, Route, RouteKind, Rule, Snapshot};
use crate::plan::Plan;
use crate::prefix::{Family, Prefix, is_global};

const CARDS: usize = 24;
const ADDRESSES: usize = 4;
const PREFIXES: usize = 4;
const GATEWAYS: usize = 3;
const TABLES: usize = 24;
const RULES: usize = 4;
const ROUTES: usize = 4;

/// What must be drawn, because a way leads over it.
#[derive(Debug, Default)]
pub(super) struct Needed<'a> {
    pub family: Option<Family>,
    pub address: Option<IpAddr>,
    pub client: Option<IpAddr>,
    pub links: BTreeSet<u32>,
    /// Links and the gateways on them; none where the link itself is the way.
    pub gateways: BTreeSet<(u32, Option<IpAddr>)>,
    /// The rules that were asked and what became of them.
    pub steps: Vec<Step<'a>>,
    pub routes: Vec<&'a Route>,
}

/// A snapshot and its plan, looked at for a figure.
pub(super) struct Host<'a> {
    pub snapshot: &'a Snapshot,
    plan: &'a Plan,
    names: Names,
}

impl<'a> Host<'a> {
    pub(super) fn of(snapshot: &'a Snapshot, plan: &'a Plan) -> Host<'a> {
        Host { snapshot, plan, names: snapshot.names() }
    }

    /// All but the request.
    pub(super) fn scene(&self, needed: &Needed<'_>) -> Scene {
        let mut scene = Scene {
            family: needed.family,
            incomplete: self.snapshot.incomplete.clone(),
            ..Scene::default()
        };
        let mut links: Vec<&Link> =
            self.snapshot.links().filter(|l| self.is_drawn(l, needed)).collect();
        // Those that lead somewhere first, and the loopback last.
        links.sort_by_key(|l| (l.is_loopback(), !self.is_uplink(l.index, None), l.index));
        scene.more_cards = links.len();
        let mut at = 0;
        links.retain(|l| {
            at += 1;
            // What is needed may stand far behind.
            at <= CARDS || needed.links.contains(&l.index)
        });
        scene.more_cards -= links.len();
        self.plug_in(&mut scene, &links, needed);
        self.gateways(&mut scene, needed);
        self.tables(&mut scene, needed);
        scene
    }

    fn is_uplink(&self, link: u32, family: Option<Family>) -> bool {
        let found = self.plan.uplinks.iter().find(|p| p.uplink.link == link);
        found.is_some_and(|p| family.is_none_or(|f| p.uplink.side(f).is_some()))
    }

    fn is_drawn(&self, link: &Link, needed: &Needed<'_>) -> bool {
        needed.links.contains(&link.index)
            || self.is_uplink(link.index, needed.family)
            || self.addresses(link.index, needed.family).next().is_some()
    }

    /// The addresses of a link that can be asked from elsewhere.
    fn addresses(&self, link: u32, family: Option<Family>) -> impl Iterator<Item = &'a Address> {
        self.snapshot
            .addresses_of(link)
            .filter(move |a| family.is_none_or(|f| a.family() == f) && is_global(a.local))
    }

    /// What the host knows to be on a link without a gateway.
    pub(super) fn on_link(&self, link: u32, family: Option<Family>) -> BTreeSet<Prefix> {
        let of_family = |p: &Prefix| family.is_none_or(|f| p.family() == f);
        let own: BTreeSet<IpAddr> = self.snapshot.addresses_of(link).map(|a| a.local).collect();
        let networks = self.addresses(link, family).map(Address::network);
        let mut found: BTreeSet<Prefix> = networks.collect();
        found.extend(
            self.snapshot
                .routes()
                .filter(|r| r.kind == RouteKind::Unicast && r.table != TABLE_LOCAL)
                .filter(|r| r.flags & RTM_F_CLONED == 0 && r.src.is_none() && !r.dst.is_default())
                .filter(|r| r.hops.iter().any(|h| h.link == link && h.gateway.is_none()))
                .map(|r| r.dst),
        );
        found.retain(|p| {
            of_family(p) && is_global(p.address()) && !(p.is_host() && own.contains(&p.address()))
        });
        found
    }

    // ===== cards and networks =====

    /// Cards in the order of their networks: those that share a prefix share a network.
    fn plug_in(&self, scene: &mut Scene, links: &[&Link], needed: &Needed<'_>) {
        let mut networks: Vec<(BTreeSet<Prefix>, Vec<&Link>)> = Vec::new();
        for link in links.iter().filter(|l| !l.is_loopback()) {
            let mut prefixes = self.on_link(link.index, needed.family);
            let mut members = vec![*link];
            let mut place = networks.len();
            // A card with several prefixes can join networks that were thought to be two.
            while let Some(at) = networks.iter().rposition(|(p, _)| !p.is_disjoint(&prefixes)) {
                let (others, mut plugged) = networks.remove(at);
                prefixes.extend(others);
                plugged.append(&mut members);
                members = plugged;
                place = at;
            }
            networks.insert(place, (prefixes, members));
        }
        for (prefixes, members) in networks {
            let at = scene.networks.len();
            let first = scene.cards.len();
            let cards = (first..first + members.len()).collect();
            scene.cards.extend(members.iter().map(|l| self.card(l, Some(at), needed)));
            let more_prefixes = prefixes.len().saturating_sub(PREFIXES);
            let prefixes = self.prefixes(prefixes, needed);
            scene.networks.push(Network { prefixes, more_prefixes, cards, more_gateways: 0 });
        }
        let inside = links.iter().filter(|l| l.is_loopback());
        scene.cards.extend(inside.map(|l| self.card(l, None, needed)));
    }

    /// Wide ones say more than single hosts.
    fn prefixes(&self, all: BTreeSet<Prefix>, needed: &Needed<'_>) -> Vec<Prefix> {
        let mut all: Vec<Prefix> = all.into_iter().collect();
        let holds = |p: &Prefix| needed.client.is_some_and(|a| p.contains(a));
        all.sort_by_key(|p| (!holds(p), p.is_host(), *p));
        all.truncate(PREFIXES);
        all.sort();
        all
    }

    fn card(&self, link: &Link, network: Option<usize>, needed: &Needed<'_>) -> Card {
        let mut addresses: Vec<CardAddress> = Vec::new();
        let mut count = 0;
        let both = Family::BOTH.iter().all(|f| self.addresses(link.index, Some(*f)).count() > 0);
        for family in Family::BOTH {
            // Neither family takes all the room.
            let room = if both { ADDRESSES / 2 } else { ADDRESSES };
            let mut of_family: Vec<&Address> = Vec::new();
            for address in self.snapshot.addresses_in_order(link.index) {
                let drawn = needed.family.is_none_or(|f| f == family);
                if drawn && address.family() == family && is_global(address.local) {
                    of_family.push(address);
                }
            }
            count += of_family.len();
            of_family.sort_by_key(|a| Some(a.local) != needed.address);
            addresses.extend(
                of_family
                    .iter()
                    .take(room)
                    .map(|a| CardAddress { address: a.local, prefix_len: a.prefix_len }),
            );
        }
        Card {
            link: link.index,
            name: link.name.clone(),
            kind: link.kind.clone(),
            state: match (link.is_up(), link.has_carrier()) {
                (false, _) => State::Down,
                (true, false) => State::NoCarrier,
                (true, true) => State::Up,
            },
            role: self.role(link, needed.family),
            more_addresses: count - addresses.len(),
            addresses,
            network,
        }
    }

    fn role(&self, link: &Link, family: Option<Family>) -> Role {
        if self.is_uplink(link.index, family) {
            return Role::Uplink;
        }
        let other = self.plan.others.iter().find(|(name, _)| *name == link.name);
        other.map_or(Role::Unknown, |(_, reason)| Role::Other(reason.clone()))
    }

    // ===== gateways =====

    fn gateways(&self, scene: &mut Scene, needed: &Needed<'_>) {
        // Whether a default leads by it, by link and address.
        let mut known: BTreeMap<(u32, Option<IpAddr>), bool> = BTreeMap::new();
        let drawn = |f: Family| needed.family.is_none_or(|d| d == f);
        for planned in &self.plan.uplinks {
            for side in planned.uplink.sides.iter().filter(|s| drawn(s.family)) {
                let hops = side.ways.iter().flat_map(|w| &w.hops);
                known.extend(hops.map(|h| ((planned.uplink.link, h.gateway), true)));
            }
        }
        let routes = self.snapshot.routes().filter(|r| r.kind == RouteKind::Unicast);
        for route in routes.filter(|r| drawn(r.family()) && r.flags & RTM_F_CLONED == 0) {
            for hop in route.hops.iter().filter(|h| h.gateway.is_some() || route.dst.is_default()) {
                *known.entry((hop.link, hop.gateway)).or_default() |= route.dst.is_default();
            }
        }
        for key in &needed.gateways {
            known.entry(*key).or_default();
        }
        for (at, network) in scene.networks.iter_mut().enumerate() {
            let links: Vec<u32> = network.cards.iter().map(|c| scene.cards[*c].link).collect();
            // One gateway, by whichever of the cards.
            let mut of_network: BTreeMap<Option<IpAddr>, (bool, bool)> = BTreeMap::new();
            for ((_, address), default) in known.iter().filter(|((l, _), _)| links.contains(l)) {
                let is_needed = links.iter().any(|l| needed.gateways.contains(&(*l, *address)));
                let entry = of_network.entry(*address).or_default();
                *entry = (entry.0 || *default, entry.1 || is_needed);
            }
            let mut all: Vec<(Option<IpAddr>, (bool, bool))> = of_network.into_iter().collect();
            all.sort_by_key(|(address, (default, needed))| (!needed, !default, *address));
            network.more_gateways = all.len().saturating_sub(GATEWAYS);
            all.truncate(GATEWAYS);
            all.sort();
            scene.gateways.extend(all.into_iter().map(|(address, (default, _))| Gateway {
                address,
                network: at,
                default,
            }));
        }
    }

    // ===== tables =====

    fn tables(&self, scene: &mut Scene, needed: &Needed<'_>) {
        let mut rules: BTreeMap<u32, Vec<TableRule>> = BTreeMap::new();
        let drawn = |f: Family| needed.family.is_none_or(|d| d == f);
        for rule in self.snapshot.rules().filter(|r| drawn(r.family)) {
            let Action::Lookup(table) = rule.action else {
                scene.other_rules += 1;
                continue;
            };
            let of_table = rules.entry(table).or_default();
            let (text, asked) = (rule.display(&self.names), asked(rule, needed));
            match of_table.iter_mut().find(|r| r.text == text) {
                // Both families have it.
                Some(same) if same.family != Some(rule.family) => same.family = None,
                _ => of_table.push(TableRule { text, family: Some(rule.family), asked }),
            }
        }
        let mut tables: Vec<(usize, u32, Table)> = Vec::new();
        for (id, mut rules) in rules {
            let routes: Vec<&Route> = self
                .snapshot
                .routes_in(id)
                .filter(|r| drawn(r.family()) && r.flags & RTM_F_CLONED == 0)
                // Every link has the same.
                .filter(|r| r.dst.is_default() || is_global(r.dst.address()))
                .collect();
            let is_asked = rules.iter().any(|r| r.asked == Asked::Decides);
            // The kernel's own: the addresses, and what nobody uses.
            if !is_asked && (id == TABLE_LOCAL || routes.is_empty() && id != TABLE_MAIN) {
                continue;
            }
            let leads = leads(scene, &routes);
            rules.sort_by_key(|r| (r.asked == Asked::No, priority(&r.text)));
            let more_rules = rules.len().saturating_sub(RULES);
            rules.truncate(RULES);
            rules.sort_by_key(|r| priority(&r.text));
            let more_routes = routes.len().saturating_sub(ROUTES);
            let routes = self.routes(routes, needed);
            let name = self.names.table(id).into_owned();
            let at = if id == TABLE_MAIN { 0 } else { 1 + leads.first().copied().unwrap_or(CARDS) };
            let table = Table { id, name, rules, more_rules, routes, more_routes, leads };
            tables.push((at, id, table));
        }
        tables.sort_by_key(|(at, id, t)| {
            let is_asked = t.rules.iter().any(|r| r.asked == Asked::Decides);
            (!is_asked && *at != 0, *at, *id)
        });
        scene.more_tables = tables.len().saturating_sub(TABLES);
        tables.truncate(TABLES);
        tables.sort_by_key(|(at, id, _)| (*at, *id));
        scene.tables = tables.into_iter().map(|(_, _, table)| table).collect();
    }

    fn routes(&self, mut routes: Vec<&Route>, needed: &Needed<'_>) -> Vec<TableRoute> {
        let decides = |r: &Route| needed.routes.iter().any(|n| std::ptr::eq(*n, r));
        let via = |r: &Route| r.hops.iter().any(|h| h.gateway.is_some());
        let rank = |r: &Route| (r.family(), !r.dst.is_default(), !via(r), r.dst, r.metric);
        routes.sort_by_key(|r| (!decides(r), rank(r)));
        // Both families have their say.
        let mut shown: Vec<&Route> = Vec::new();
        for family in Family::BOTH {
            let others = routes.iter().filter(|r| r.family() != family).count();
            let room = ROUTES - others.min(ROUTES / 2);
            shown.extend(routes.iter().filter(|r| r.family() == family).take(room));
        }
        shown.truncate(ROUTES);
        shown.sort_by_key(|r| rank(r));
        let text = |r: &Route| self.route(r);
        let mut lines: Vec<TableRoute> =
            shown.iter().map(|r| TableRoute { text: text(r), decides: decides(r) }).collect();
        // Both families have it.
        lines.dedup();
        lines
    }

    /// A route without what matters less.
    pub(super) fn route(&self, route: &Route) -> String {
        let usual = route.family() == Family::V6 && route.metric == METRIC_V6_DEFAULT;
        let shown = Route {
            table: TABLE_MAIN,
            protocol: RTPROT_BOOT,
            scope: 0,
            prefsrc: None,
            // That of what stands behind everything is a large number and says no more.
            metric: if usual || route.metric == u32::MAX { 0 } else { route.metric },
            metrics: Metrics::default(),
            preference: 0,
            ..route.clone()
        };
        shown.display(&self.names)
    }

    pub(super) fn rule(&self, rule: &Rule) -> String {
        rule.display(&self.names)
    }
}

// ===== helpers =====

/// The cards by which a table's best defaults leave.
fn leads(scene: &Scene, routes: &[&Route]) -> Vec<usize> {
    let mut leads = BTreeSet::new();
    for family in Family::BOTH {
        let defaults = routes.iter().filter(|r| r.family() == family && r.dst.is_default());
        let best = defaults.min_by_key(|r| r.metric);
        for hop in best.iter().flat_map(|r| &r.hops) {
            leads.extend(scene.cards.iter().position(|c| c.link == hop.link));
        }
    }
    leads.into_iter().collect()
}

fn priority(text: &str) -> u32 {
    text.split(':').next().and_then(|n| n.parse().ok()).unwrap_or(u32::MAX)
}

fn asked(rule: &Rule, needed: &Needed<'_>) -> Asked {
    let step = needed.steps.iter().find(|s| std::ptr::eq(s.rule, rule));
    match step.map(|s| &s.verdict) {
        Some(Verdict::Decides(_) | Verdict::DecidesForSome(_)) => Asked::Decides,
        Some(Verdict::NoRoute(_) | Verdict::Throws(..) | Verdict::Suppressed { .. }) => {
            Asked::PassedOver
        }
        _ => Asked::No,
    }
}
