//! Others that do the same job: found by their rules, named, and left alone.
//!
//! A rule from an uplink's address that looks up a table which leads out by an uplink does what
//! ours do. Where such a rule is not ours, another tool (or somebody's script) answers for the
//! same addresses, by its own idea of the right door and at its own pace. Nothing of it is ever
//! touched: the plan stands beside it as far as the numbers allow ([`crate::conflict`]). The
//! operator is told who it is ([`signature`]), whether its rules are asked before ours, and what
//! they do that ours would not ([`detour`]).
//!
//! Tunnels and container tools make rules as well; theirs are for marks, for everything, for
//! their own addresses, or lead into the tunnel, and are none of this.

mod detour;
mod signature;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;

use crate::conflict::is_twin_route;
use crate::model::names::{TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};
use crate::model::{Route, Rule, Snapshot};
use crate::plan::{Plan, Planned};
use crate::prefix::Family;
use crate::uplink::Side;
use crate::ways::Learnt;

pub use detour::{Detour, Door};
pub use signature::Tool;

use signature::Facts;

/// Somebody else who does the same job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Rival {
    /// Which tool.
    pub tool: Tool,
    /// Whether more than its numbers says so.
    pub certain: bool,
    /// The uplinks whose addresses its rules are from.
    pub uplinks: Vec<String>,
    /// Its rules, of each family in the order in which they are asked.
    pub rules: Vec<Rule>,
    /// When they are asked: the first of them, if it differs.
    pub asked: Asked,
    /// What they send elsewhere than ours would; for rules that are not asked, what they would
    /// send elsewhere by themselves.
    pub detours: Vec<Detour>,
    /// Uplinks whose gateway is known from its tables alone.
    pub only_way: Vec<OnlyWay>,
}

/// When a rival's rules are asked, seen from ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// Before any of ours.
    First,
    /// Behind our rules for what is local, before those that lead home.
    Between,
    /// There are none of ours for these addresses: the uplink is frozen, or left to main.
    Alone,
    /// Behind ours: never, for ours always have an answer.
    Never,
}

/// A gateway that nobody but a rival knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct OnlyWay {
    /// The uplink.
    pub uplink: String,
    /// In which family.
    pub family: Family,
    /// The gateway.
    pub gateway: IpAddr,
}

/// Finds the rivals on a host for which `plan` was made.
#[must_use]
pub fn find(snapshot: &Snapshot, plan: &Plan) -> Vec<Rival> {
    let rules: Vec<&Rule> = snapshot.rules().filter(|r| is_by_source(r)).collect();
    if rules.is_empty() {
        return Vec::new();
    }
    let facts = Facts::of(snapshot, plan);
    let own = Own::of(plan);
    let mut found: BTreeMap<Tool, Found> = BTreeMap::new();
    for rule in rules {
        let of: Vec<&Planned> = own.sources(rule).into_iter().map(|(planned, _)| planned).collect();
        if of.is_empty() || is_of_ours(snapshot, plan, rule, &of) {
            continue;
        }
        let Some((tool, certain)) = signature::of(&facts, rule, &of) else { continue };
        let found = found.entry(tool).or_default();
        found.certain |= certain;
        found.uplinks.extend(of.iter().map(|p| (p.uplink.link, p.uplink.name.clone())));
        found.rules.push(rule);
    }
    let rivals = found.into_iter();
    rivals.map(|(tool, found)| found.into_rival(snapshot, plan, &own, tool)).collect()
}

/// Whose a table probably is, by the rules that look it up.
pub(crate) fn owner_of_table(snapshot: &Snapshot, table: u32) -> Option<Tool> {
    let mut rules = snapshot.rules().filter(|r| r.table() == Some(table));
    rules.find_map(owner)
}

/// Whose a rule probably is, by its numbers.
pub(crate) fn owner(rule: &Rule) -> Option<Tool> {
    is_by_source(rule).then(|| signature::by_numbers(rule)).flatten()
}

/// What is ours, in a form in which it is found for each of many rules.
struct Own<'a> {
    /// The uplinks' addresses.
    addresses: BTreeMap<IpAddr, Vec<&'a Planned>>,
    /// The first priority of our rules in front of main.
    first: BTreeMap<Family, u32>,
    /// The last priority of those that lead to a table.
    home: BTreeMap<(Family, u32), u32>,
}

impl<'a> Own<'a> {
    fn of(plan: &'a Plan) -> Own<'a> {
        let mut addresses: BTreeMap<IpAddr, Vec<&Planned>> = BTreeMap::new();
        for planned in &plan.uplinks {
            for address in planned.uplink.sides.iter().flat_map(|s| &s.addresses) {
                addresses.entry(address.local).or_default().push(planned);
            }
        }
        let mut own = Own { addresses, first: BTreeMap::new(), home: BTreeMap::new() };
        for rule in plan.rules.iter().filter(|r| r.oif.is_none()) {
            let first = own.first.entry(rule.family).or_insert(rule.priority);
            *first = rule.priority.min(*first);
            if let Some(table) = rule.table() {
                let last = own.home.entry((rule.family, table)).or_insert(rule.priority);
                *last = rule.priority.max(*last);
            }
        }
        own
    }

    /// The uplinks that have addresses which a rule is for, each with the first of those.
    fn sources(&self, rule: &Rule) -> Vec<(&'a Planned, IpAddr)> {
        let Some(from) = rule.from else { return Vec::new() };
        let behind = self.addresses.range(from.address()..);
        let inside = behind.take_while(|(address, _)| from.contains(**address));
        let mut found: Vec<(&Planned, IpAddr)> = Vec::new();
        for (address, uplinks) in inside {
            for planned in uplinks {
                if !found.iter().any(|(p, _)| p.uplink.link == planned.uplink.link) {
                    found.push((*planned, *address));
                }
            }
        }
        found
    }

    /// When a rule is asked for the addresses of an uplink.
    fn asked(&self, planned: &Planned, rule: &Rule) -> Asked {
        if planned.frozen.contains(&rule.family) {
            return Asked::Alone;
        }
        let home = planned.table.and_then(|t| self.home.get(&(rule.family, t)));
        match (self.first.get(&rule.family), home) {
            (Some(first), Some(_)) if rule.priority < *first => Asked::First,
            (Some(_), Some(home)) if rule.priority < *home => Asked::Between,
            (Some(_), Some(_)) => Asked::Never,
            _ => Asked::Alone,
        }
    }
}

#[derive(Default)]
struct Found<'a> {
    certain: bool,
    uplinks: BTreeSet<(u32, String)>,
    rules: Vec<&'a Rule>,
}

impl<'a> Found<'a> {
    fn into_rival(
        mut self,
        snapshot: &'a Snapshot,
        plan: &Plan,
        own: &Own<'_>,
        tool: Tool,
    ) -> Rival {
        let tables: BTreeSet<u32> = self.rules.iter().filter_map(|r| r.table()).collect();
        let families: BTreeSet<Family> = self.rules.iter().map(|r| r.family).collect();
        let belongs = |r: &&Rule| families.contains(&r.family) && signature::belongs(tool, r);
        self.rules.extend(snapshot.rules().filter(belongs));
        self.rules.sort_by_key(|r| (r.family, r.priority));
        let when = |r: &&Rule| own.sources(r).into_iter().map(|(p, _)| own.asked(p, r)).min();
        let asked = self.rules.iter().filter_map(when).min().unwrap_or(Asked::Alone);
        Rival {
            tool,
            certain: self.certain,
            asked,
            detours: detour::find(snapshot, plan, own, &self.rules, asked),
            only_way: only_ways(snapshot, plan, &tables),
            uplinks: self.uplinks.into_iter().map(|(_, name)| name).collect(),
            rules: self.rules.into_iter().cloned().collect(),
        }
    }
}

/// Whether a rule of somebody else's chooses a table by nothing but the source.
fn is_by_source(rule: &Rule) -> bool {
    let table = rule.table().unwrap_or_default();
    !rule.is_ours()
        && !matches!(table, 0 | TABLE_MAIN | TABLE_LOCAL | TABLE_DEFAULT)
        && rule.is_by_source_alone()
}

/// Whether a rule sends to a table of ours what ours send there: a twin of one of ours.
fn is_of_ours(snapshot: &Snapshot, plan: &Plan, rule: &Rule, of: &[&Planned]) -> bool {
    let Some(table) = rule.table() else { return false };
    let is_twin = |r: &Route| plan.routes.iter().any(|ours| is_twin_route(r, ours));
    of.iter().all(|p| p.table == Some(table))
        && snapshot.routes_in(table).all(|r| r.is_ours() || is_twin(r))
}

/// Which uplinks would not be known to have a gateway but for these tables.
fn only_ways(snapshot: &Snapshot, plan: &Plan, tables: &BTreeSet<u32>) -> Vec<OnlyWay> {
    let of = |planned: &Planned, side: &Side| {
        // Main's and then a file's come before other tables' and behind them, see crate::ways.
        let way = side.ways.first()?;
        let Learnt::DefaultRoute { table, .. } = way.learnt else { return None };
        let link = snapshot.link(planned.uplink.link)?;
        let hints = snapshot.hints.of(link, side.family, &side.addresses);
        let elsewhere = hints.iter().any(|h| !h.gateways.is_empty());
        (tables.contains(&table) && !elsewhere).then_some(OnlyWay {
            uplink: planned.uplink.name.clone(),
            family: side.family,
            gateway: way.gateway()?,
        })
    };
    let sides = plan.uplinks.iter().flat_map(|p| p.uplink.sides.iter().map(move |s| (p, s)));
    sides.filter_map(|(planned, side)| of(planned, side)).collect()
}
