//! From a plan to a policy.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::words::{self, Word};
use super::{Entry, Gap, Part, Policy, Purpose, local};
use crate::config::{BAND, Config};
use crate::cover;
use crate::model::address::IFA_F_PERMANENT;
use crate::model::names::{TABLE_LOCAL, TABLE_MAIN};
use crate::model::route::{METRIC_V6_DEFAULT, RTPROT_BOOT, RTPROT_DHCP, RTPROT_RA};
use crate::model::{Action, Address, Route, RouteKind, Rule, Snapshot};
use crate::plan::{Note, Plan, Planned, Returning};
use crate::prefix::{Family, Prefix, is_global};
use crate::return_path;
use crate::rules::{self, OIF_OFFSET};
use crate::uplink::Side;
use crate::ways::{Learnt, Way};

/// The plan in the words that a format has.
#[must_use]
pub fn of(snapshot: &Snapshot, config: &Config, plan: &Plan, words: &BTreeSet<Word>) -> Policy {
    let mut uplinks: BTreeSet<u32> = plan.uplinks.iter().map(|p| p.uplink.link).collect();
    // What leads somewhere without an address of its own joins the group, too.
    uplinks.extend(plan.groups.iter().filter(|(_, g)| **g == config.group()).map(|(l, _)| *l));
    let mut builder = Builder { snapshot, config, plan, words, uplinks, policy: Policy::default() };
    builder.build();
    builder.policy
}

struct Builder<'a> {
    snapshot: &'a Snapshot,
    config: &'a Config,
    plan: &'a Plan,
    words: &'a BTreeSet<Word>,
    /// All links that lead somewhere.
    uplinks: BTreeSet<u32>,
    policy: Policy,
}

impl Builder<'_> {
    fn build(&mut self) {
        for planned in &self.plan.uplinks {
            let part = self.part(planned);
            self.policy.parts.push(part);
        }
        self.front();
        self.end_of_jumps();
        self.policy.sysctls = self.plan.sysctls.clone();
        for path in self.plan.sysctls.keys() {
            let raised = self.snapshot.raised.get(path).map(|raised| raised.was.clone());
            let was = raised.or_else(|| self.snapshot.sysctls.get(path).map(str::to_owned));
            self.policy.sysctls_before.extend(was.map(|was| (path.clone(), was)));
        }
        match &self.plan.return_path {
            Returning::Table(table) if self.has(Word::Commands) => {
                self.policy.return_path = Some(table.clone());
            }
            Returning::Table(_) => self.gap(Gap::PublishedPorts),
            Returning::Unknown | Returning::Nothing => {}
        }
        let used = self.plan.uplinks.iter().filter_map(|p| p.table);
        for table in used {
            let names = [&self.snapshot.table_names, &self.plan.new_table_names];
            if let Some(name) = names.iter().find_map(|n| n.get(&table)) {
                self.policy.table_names.insert(table, name.clone());
            }
        }
        for part in &mut self.policy.parts {
            part.rules.sort_by_key(|e| (e.what.family, e.what.priority));
        }
        self.policy.parts.retain(|p| !p.rules.is_empty() || !p.routes.is_empty());
        self.policy.gaps.sort();
        self.policy.gaps.dedup();
    }

    fn has(&self, word: Word) -> bool {
        self.words.contains(&word)
    }

    fn gap(&mut self, gap: Gap) {
        self.policy.gaps.push(gap);
    }

    fn part(&mut self, planned: &Planned) -> Part {
        let uplink = &planned.uplink;
        let link = self.snapshot.link(uplink.link);
        let addresses: Vec<Address> = self
            .snapshot
            .addresses_in_order(uplink.link)
            .into_iter()
            .filter(|a| is_global(a.local))
            .cloned()
            .collect();
        let leased = addresses.iter().filter(|a| a.flags & IFA_F_PERMANENT == 0);
        let mut leased: BTreeSet<Family> = leased.map(Address::family).collect();
        // A client may give its addresses no lifetime (`dhcpcd`, networkd's `KeepConfiguration=`), and its
        // default tells.
        let by_main = uplink.sides.iter().filter(|s| {
            let is_main =
                |w: &&Way| matches!(w.learnt, Learnt::DefaultRoute { table: TABLE_MAIN, .. });
            s.ways.iter().find(is_main).is_some_and(|w| leased_gateway(w).is_some())
        });
        leased.extend(by_main.map(|s| s.family));
        let (gateways, metrics) = self.main_gateways(uplink.link);
        let mut part = Part {
            link: uplink.link,
            name: uplink.name.clone(),
            mac: link.and_then(|l| l.permanent_address.clone().or_else(|| l.address.clone())),
            gateways,
            metrics,
            leased_gateways: uplink
                .sides
                .iter()
                .flat_map(|s| &s.ways)
                .filter_map(leased_gateway)
                .collect(),
            addresses,
            leased,
            group: self.group(planned),
            routes: Vec::new(),
            rules: Vec::new(),
        };
        self.main_routes(&mut part);
        let Some(table) = planned.table else { return part };
        if !uplink.up {
            self.gap(Gap::Down { uplink: uplink.name.clone() });
        }
        for family in &planned.frozen {
            self.gap(Gap::Frozen { uplink: uplink.name.clone(), family: *family });
        }
        for side in uplink.sides.iter().filter(|s| !planned.frozen.contains(&s.family)) {
            self.table(&mut part, side.family, table);
            self.rules(&mut part, planned, side, table);
        }
        part
    }

    /// The link group, where it is ours to set.
    fn group(&self, planned: &Planned) -> Option<u32> {
        let keeps =
            |n: &Note| matches!(n, Note::KeepsGroup { name, .. } if *name == planned.uplink.name);
        let wanted = self.has(Word::SuppressIfgroup)
            && self.config.owns_group()
            && !self.plan.notes.iter().any(keeps);
        wanted.then(|| self.config.group())
    }

    /// The gateways of main's defaults by a link, and their metrics.
    fn main_gateways(&self, link: u32) -> (Vec<IpAddr>, BTreeMap<IpAddr, u32>) {
        let (mut gateways, mut metrics) = (Vec::new(), BTreeMap::new());
        for family in Family::BOTH {
            let implied = if family == Family::V6 { METRIC_V6_DEFAULT } else { 0 };
            let defaults = self.snapshot.main_defaults(family);
            let by_link = |r: &Route| {
                r.hops.iter().find(|h| h.link == link).and_then(|h| Some((h.gateway?, r.metric)))
            };
            if let Some((gateway, metric)) = defaults.iter().find_map(|r| by_link(r)) {
                gateways.push(gateway);
                metrics.extend(Some((gateway, metric)).filter(|_| metric != implied));
            }
        }
        (gateways, metrics)
    }

    /// What somebody typed into main: the files of those who speak `ip`'s words hold it in the same
    /// words, and after a boot nobody else would.
    fn main_routes(&mut self, part: &mut Part) {
        if !self.has(Word::MainRoutes) {
            return;
        }
        let by_hand = self.snapshot.routes_in(TABLE_MAIN).filter(|r| {
            r.protocol == RTPROT_BOOT
                && r.kind == RouteKind::Unicast
                && r.hops.first().is_some_and(|h| h.link == part.link)
        });
        let by_hand: Vec<Route> = by_hand.map(crate::diff::identity).collect();
        for route in by_hand {
            self.route(part, route, Purpose::Main);
        }
    }

    fn table(&mut self, part: &mut Part, family: Family, table: u32) {
        let plan = self.plan;
        let of_table = plan.routes.iter().filter(|r| r.table == table && r.family() == family);
        for route in of_table {
            let purpose = match route {
                r if r.refuses() => Purpose::Refusal,
                r if r.dst.is_default() => Purpose::Default,
                _ => Purpose::Network,
            };
            let mut route = route.clone();
            route.protocol = RTPROT_BOOT;
            if part.leased.contains(&family) {
                // The next lease may bring another address, and a route with a source that the host
                // does not have is refused ("Invalid prefsrc address").
                route.prefsrc = None;
            }
            self.route(part, route, purpose);
        }
    }

    fn route(&mut self, part: &mut Part, route: Route, purpose: Purpose) {
        let lacks: BTreeSet<Word> = &words::of_route(&route) - self.words;
        let uplink = part.name.clone();
        let Some(what) = words::without(&route, &lacks) else {
            self.gap(Gap::RouteLeftOut { uplink, route, lacks });
            return;
        };
        // A scope is the same as its gateway says, but for what nobody uses; and where there is but one
        // source, the kernel chooses that.
        let is_lost = |word: &Word| match word {
            Word::Scope => false,
            Word::Prefsrc => {
                part.addresses.iter().filter(|a| a.family() == what.family()).count() > 1
            }
            _ => true,
        };
        if lacks.iter().any(is_lost) {
            self.gap(Gap::RouteShortened { uplink, route, lacks });
        }
        part.routes.push(Entry { what, purpose });
    }

    fn rules(&mut self, part: &mut Part, planned: &Planned, side: &Side, table: u32) {
        let family = side.family;
        let priority = rules::priority(self.config, planned.number);
        let home = |prefix, iif| Rule {
            from: Some(prefix),
            iif,
            ..made(family, priority, Action::Lookup(table))
        };
        for source in self.sources(part, planned, side) {
            let Source { prefix, iif, held } = source;
            for local in self.locals(family) {
                let local = Rule { from: Some(prefix), iif: iif.clone(), ..local };
                part.rules.extend(self.said(&part.name, local, Purpose::Local));
            }
            for address in &held {
                part.rules.extend(self.said(
                    &part.name,
                    home(Prefix::host(*address), None),
                    Purpose::Home,
                ));
            }
            let purpose = if held.is_empty() { Purpose::Home } else { Purpose::Lease };
            part.rules.extend(self.said(&part.name, home(prefix, iif), purpose));
        }
        let bound = Rule {
            oif: Some(part.name.clone()),
            ..made(family, OIF_OFFSET + planned.number, Action::Lookup(table))
        };
        part.rules.extend(self.said(&part.name, bound, Purpose::Bound));
    }

    /// The sources of an uplink's rules.
    fn sources(&mut self, part: &Part, planned: &Planned, side: &Side) -> Vec<Source> {
        let family = side.family;
        let uplink = || part.name.clone();
        let of_family = planned.prefixes.iter().filter(|p| p.family() == family);
        let mut sources: BTreeMap<Prefix, Vec<IpAddr>> =
            of_family.map(|p| (*p, Vec::new())).collect();
        let leased = side.addresses.iter().filter(|_| part.leased.contains(&family));
        for address in leased {
            let host = Prefix::host(address.local);
            if !sources.contains_key(&host) {
                continue;
            }
            // Whatever address of its network the next lease brings is then led home as well.
            let network = address.network();
            if self.is_alone(part.link, network) && self.tells_own(family) {
                sources.remove(&host);
                sources.entry(network).or_default().push(address.local);
            } else {
                self.gap(Gap::Leased { uplink: uplink(), address: address.local });
            }
        }
        let mut out = Vec::new();
        for (prefix, held) in &sources {
            let inside_another = sources.keys().any(|s| s != prefix && s.covers(prefix));
            let source = |iif| Source { prefix: *prefix, iif, held: held.clone() };
            match rules::only_own_traffic(*prefix) {
                _ if inside_another => {}
                None => out.push(source(None)),
                Some(lo) if self.has(Word::Iif) => out.push(source(Some(lo))),
                // Nothing else could have such a source.
                Some(_) if !return_path::forwards(self.snapshot, family) => out.push(source(None)),
                Some(_) => {
                    let held = side.addresses.iter().map(|a| a.local);
                    let held: Vec<IpAddr> = held.filter(|a| prefix.contains(*a)).collect();
                    let host = |a: &IpAddr| Source {
                        prefix: Prefix::host(*a),
                        iif: None,
                        held: Vec::new(),
                    };
                    out.extend(held.iter().map(host));
                    let gap = Gap::Addresses { uplink: uplink(), prefix: *prefix, addresses: held };
                    self.gap(gap);
                }
            }
        }
        out
    }

    /// Whether a rule for a network is for what this host sends and nothing else.
    fn tells_own(&self, family: Family) -> bool {
        self.has(Word::Iif) || !return_path::forwards(self.snapshot, family)
    }

    /// Whether nothing else on the host has an address in a network, or a network around it.
    fn is_alone(&self, link: u32, network: Prefix) -> bool {
        let reserved = cover::reserved(network.family()).iter().any(|r| r.overlaps(&network));
        !network.is_host()
            && !reserved
            && !self.snapshot.addresses().any(|a| {
                a.link != link
                    && a.family() == network.family()
                    && (network.contains(a.local) || a.network().overlaps(&network))
            })
    }

    /// What is asked of local networks in front of a source's own table: main, and what a split
    /// tunnel has; without a source.
    fn locals(&self, family: Family) -> Vec<Rule> {
        let band = self.config.base.value..self.config.base.value + BAND;
        let planned = self.plan.rules.iter().filter(|r| {
            r.family == family
                && band.contains(&r.priority)
                && r.suppress_ifgroup.is_some()
                && r.from.is_some()
        });
        let asked: BTreeSet<(u32, Option<(u32, u32)>)> =
            planned.filter_map(|r| Some((r.table()?, r.fwmark))).collect();
        // Main first, as the plan has it.
        let mut asked: Vec<_> = asked.into_iter().collect();
        asked.sort_by_key(|(table, _)| *table != TABLE_MAIN);
        let local = |(table, fwmark)| Rule {
            fwmark,
            suppress_prefixlength: Some(rules::suppressed_length(family)),
            suppress_ifgroup: Some(self.config.group()),
            ..made(family, self.config.base.value, Action::Lookup(table))
        };
        asked.into_iter().map(local).collect()
    }

    /// A rule, or what stands in for it.
    fn said(&mut self, uplink: &str, rule: Rule, purpose: Purpose) -> Vec<Entry<Rule>> {
        let spelt = match (rule.suppress_ifgroup, rule.table()) {
            (Some(_), Some(table)) if !self.has(Word::SuppressIfgroup) && !rule.not => {
                let networks = local::networks(self.snapshot, rule.family, table, &self.uplinks);
                let spelt = local::spelt_out(&rule, &networks);
                let mut known = networks;
                if let Some(Gap::LaterNetworks { networks }) =
                    self.policy.gaps.iter_mut().find(|g| matches!(g, Gap::LaterNetworks { .. }))
                {
                    known.retain(|n| !networks.contains(n));
                    networks.extend(known);
                } else {
                    self.gap(Gap::LaterNetworks { networks: known });
                }
                spelt
            }
            _ => vec![rule],
        };
        let mut entries = Vec::new();
        for rule in spelt {
            let lacks: BTreeSet<Word> = &words::of_rule(&rule) - self.words;
            if lacks.is_empty() {
                entries.push(Entry { what: rule, purpose });
            } else {
                let uplink = Some(uplink.to_owned());
                self.gap(Gap::RuleLeftOut { uplink, rule, lacks, purpose });
            }
        }
        entries
    }

    /// What is asked before the block: jumps, marks, steering. Each goes to the uplink whose table or
    /// source it names, what is everybody's to the first.
    fn front(&mut self) {
        let base = self.config.base.value;
        let plan = self.plan;
        let steered: BTreeSet<&Rule> = plan.steered.iter().flat_map(|s| &s.rules).collect();
        let first_steer: BTreeMap<Family, u32> = Family::BOTH
            .into_iter()
            .filter_map(|f| {
                let of = steered.iter().filter(|r| r.family == f);
                Some((f, of.map(|r| r.priority).min()?))
            })
            .collect();
        let marked = self.has(Word::Commands);
        let in_front = plan.rules.iter().filter(|r| r.priority < base && r.oif.is_none());
        for rule in in_front {
            let is_past = matches!(rule.action, Action::Goto(_))
                && first_steer.get(&rule.family).is_some_and(|p| rule.priority + 1 == *p);
            let purpose = match rule {
                r if steered.contains(r) || is_past => Purpose::Steer,
                r if matches!(r.action, Action::Goto(_)) || r.table() == Some(TABLE_LOCAL) => {
                    Purpose::Jump
                }
                _ => Purpose::Mark,
            };
            // A mark that nobody sets is asked for nothing.
            let is_mark = purpose == Purpose::Mark && rule.iif.is_none();
            if is_mark && !marked {
                continue;
            }
            let mut rule = Rule { protocol: 0, ..rule.clone() };
            if purpose == Purpose::Steer && !self.has(Word::Goto) {
                // Behind the block whoever has a source of an uplink's has gone home already, so no
                // jump is needed but for the other addresses.
                let Some(behind) = behind(base, &rule) else { continue };
                rule.priority = behind;
                if is_past {
                    rule.action = Action::Lookup(TABLE_MAIN);
                }
            }
            self.place(rule, purpose);
        }
    }

    fn place(&mut self, rule: Rule, purpose: Purpose) {
        let uplink = self.plan.uplinks.iter().find(|p| Plan::is_of(p, &rule));
        let link = uplink.map(|p| p.uplink.link);
        let at = self.policy.parts.iter().position(|p| Some(p.link) == link).unwrap_or(0);
        let Some(name) = self.policy.parts.get(at).map(|p| p.name.clone()) else { return };
        let entries = self.said(&name, rule, purpose);
        self.policy.parts[at].rules.extend(entries);
    }

    /// A jump to a priority that no rule has leads nowhere (`fib_rules_lookup` passes over it), and
    /// the flat list may begin later than the tree did.
    fn end_of_jumps(&mut self) {
        let ours = || self.policy.parts.iter().flat_map(|p| &p.rules).map(|e| &e.what);
        let others = self.snapshot.rules().filter(|r| !r.is_ours());
        let there: BTreeSet<(Family, u32)> =
            ours().chain(others).map(|r| (r.family, r.priority)).collect();
        let target = |r: &Rule| match r.action {
            Action::Goto(target) => Some((r.family, target)),
            _ => None,
        };
        let targets: BTreeSet<(Family, u32)> = ours().filter_map(target).collect();
        let missing = (&targets - &there).into_iter().map(|(family, target)| Entry {
            what: made(family, target, Action::Nop),
            purpose: Purpose::Jump,
        });
        if let Some(first) = self.policy.parts.first_mut() {
            first.rules.extend(missing);
        }
    }
}

/// The gateway of a way that a lease or an advertisement brought.
fn leased_gateway(way: &Way) -> Option<IpAddr> {
    let is_leased = match &way.learnt {
        Learnt::DefaultRoute { protocol, .. } => matches!(*protocol, RTPROT_RA | RTPROT_DHCP),
        Learnt::Hint { .. } | Learnt::Advertised { .. } => true,
        Learnt::Configured(_) | Learnt::StaticRoutes | Learnt::Remembered => false,
    };
    way.gateway().filter(|_| is_leased)
}

/// Whose packets a rule is for.
struct Source {
    prefix: Prefix,
    /// What tells that they are the host's own.
    iif: Option<String>,
    /// Leased addresses that it stands in for: those have rules of their own beside it.
    held: Vec<IpAddr>,
}

/// A rule of nobody's yet.
fn made(family: Family, priority: u32, action: Action) -> Rule {
    Rule { protocol: 0, ..Rule::new(family, priority, action) }
}

/// Where a rule in front of the block stands that is asked behind it: in the same order at the end of
/// the band.
fn behind(base: u32, rule: &Rule) -> Option<u32> {
    (base + BAND).checked_sub(base.checked_sub(rule.priority)?)
}
