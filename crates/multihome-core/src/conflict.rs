//! Numbers that somebody else uses already.
//!
//! What is ours carries our protocol number; what does not is never touched. Somebody
//! else's route in one of our tables would answer for us, and somebody else's rule at one
//! of our priorities would be asked before or behind ours by chance: so the uplink that
//! needs the number is left as it is, and the conflict names the object and, where it can
//! be told, its owner.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::diff;
use crate::model::names::TABLE_MAIN;
use crate::model::{Route, Rule, Snapshot};
use crate::plan::Planned;
use crate::prefix::Family;
use crate::rival::{self, Tool};

/// Something that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conflict {
    /// Somebody else's routes are in the table of an uplink.
    Table {
        /// The uplink.
        uplink: String,
        /// Its table.
        table: u32,
        /// One of the routes.
        route: Route,
        /// How many there are.
        count: usize,
        /// Whose they probably are, where the number tells.
        owner: Option<&'static str>,
    },
    /// Somebody else's rule has a priority that an uplink needs, or all of them.
    Priority {
        /// The uplinks that cannot be served.
        uplinks: Vec<String>,
        /// The rule.
        rule: Rule,
        /// Whose it probably is, where the number tells.
        owner: Option<&'static str>,
    },
    /// Two uplinks are to have the same table.
    SharedTable {
        /// The uplink that cannot be served.
        uplink: String,
        /// The one that has the table.
        other: String,
        /// The table.
        table: u32,
    },
}

/// Looks for conflicts in the tables of `uplinks` and freezes those that have one; `made` are the routes
/// that each table is to hold.
pub(crate) fn in_tables(
    snapshot: &Snapshot,
    uplinks: &mut [Planned],
    made: &[Vec<Route>],
) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    let mut holders: BTreeMap<u32, String> = BTreeMap::new();
    for (planned, made) in uplinks.iter_mut().zip(made) {
        let Some(table) = planned.table else { continue };
        let name = planned.uplink.name.clone();
        if let Some(other) = holders.get(&table) {
            planned.frozen.extend(Family::BOTH);
            let other = other.clone();
            conflicts.push(Conflict::SharedTable { uplink: name, other, table });
            continue;
        }
        holders.insert(table, name.clone());
        let there: Vec<&Route> = snapshot.routes_in(table).collect();
        let (served, shared) = sharing(&there, made);
        let is_served = |r: &&Route| shared.contains(&r.family()) && served.contains(r);
        let in_the_way = |r: &&Route| !r.is_ours() && !is_served(r);
        let foreign: Vec<&Route> = there.iter().copied().filter(in_the_way).collect();
        let Some(first) = foreign.first() else { continue };
        planned.frozen.extend(foreign.iter().map(|r| r.family()));
        conflicts.push(Conflict::Table {
            uplink: name,
            table,
            route: (*first).clone(),
            count: foreign.len(),
            owner: rival::owner_of_table(snapshot, table)
                .map(Tool::name)
                .or_else(|| owner(first.protocol, table)),
        });
    }
    conflicts
}

/// The routes of others in a table that are what ours would be, and the families in which the table is
/// kept by them as we would keep it: all that leads somewhere is there. A table that only looks like
/// ours in part is somebody's own.
fn sharing<'a>(there: &[&'a Route], made: &[Route]) -> (BTreeSet<&'a Route>, BTreeSet<Family>) {
    let is_twin = |r: &Route| made.iter().any(|m| is_twin_route(r, m));
    let twins: BTreeSet<&Route> = there.iter().copied().filter(|r| is_twin(r)).collect();
    let is_kept = |m: &Route| m.refuses() || twins.iter().any(|r| is_twin_route(r, m));
    let is_shared = |family: &Family| {
        let of_family = |r: &&Route| r.family() == *family;
        there.iter().copied().filter(of_family).any(Route::is_ours)
            || made.iter().filter(of_family).all(is_kept)
    };
    let shared = Family::BOTH.into_iter().filter(is_shared).collect();
    (twins, shared)
}

/// Looks for rules of others at the priorities of `rules` and freezes the uplinks that need
/// those.
pub(crate) fn in_priorities(
    snapshot: &Snapshot,
    rules: &[Rule],
    uplinks: &mut [Planned],
) -> Vec<Conflict> {
    let used: BTreeSet<(Family, u32)> = rules.iter().map(|r| (r.family, r.priority)).collect();
    let mut conflicts = Vec::new();
    let in_the_way = |r: &&Rule| !r.is_ours() && !is_twin(r, rules);
    for rule in
        used.iter().filter_map(|(family, p)| snapshot.rules_at(*family, *p).iter().find(in_the_way))
    {
        let ours =
            || rules.iter().filter(|r| (r.family, r.priority) == (rule.family, rule.priority));
        let needs = |p: &Planned| p.table.is_some() && ours().any(|r| r.table() == p.table);
        // Main, jumps and their targets are for all of the family.
        let shared =
            ours().any(|r| !uplinks.iter().any(|p| p.table.is_some() && r.table() == p.table));
        let mut names = Vec::new();
        for planned in uplinks.iter_mut().filter(|p| shared || needs(p)) {
            let served = !planned.frozen.contains(&rule.family);
            if planned.table.is_some() && served && planned.uplink.side(rule.family).is_some() {
                planned.frozen.insert(rule.family);
                names.push(planned.uplink.name.clone());
            }
        }
        // All that need it may have been frozen for another rule already.
        if names.is_empty() {
            continue;
        }
        conflicts.push(Conflict::Priority {
            uplinks: names,
            rule: rule.clone(),
            owner: rival::owner(rule)
                .map(Tool::name)
                .or_else(|| owner(rule.protocol, rule.priority)),
        });
    }
    conflicts
}

/// Whether a route of somebody else's is one of ours but for the protocol, as `multihome export` has
/// others make it: it answers for us, and is left to whoever made it. A source it need not name, for
/// an answer has one.
#[must_use]
pub(crate) fn is_twin_route(theirs: &Route, ours: &Route) -> bool {
    if theirs.is_ours() || theirs.key() != ours.key() {
        return false;
    }
    let theirs = diff::identity(theirs);
    let (protocol, prefsrc) = (ours.protocol, theirs.prefsrc.or(ours.prefsrc));
    Route { protocol, prefsrc, ..theirs } == *ours
}

/// Whether a rule of somebody else's is one of ours but for the protocol, as an operator has it in
/// a profile who did by hand what we do: whichever is asked first, the answer is the same. It may be
/// for the whole network of an address that is leased, as `multihome export` has it.
fn is_twin(rule: &Rule, ours: &[Rule]) -> bool {
    let same =
        |r: &Rule, from, iif| Rule { protocol: rule.protocol, from, iif, ..r.clone() } == *rule;
    if ours.iter().any(|r| same(r, r.from, r.iif.clone())) {
        return true;
    }
    let Some(network) = rule.from.filter(|_| rule.iif.as_deref() == Some("lo")) else {
        return false;
    };
    let inside = || {
        let of_family = ours.iter().filter(|r| r.family == rule.family);
        of_family.filter(|r| r.from.is_some_and(|f| network.covers(&f)))
    };
    let leads_elsewhere =
        |r: &Rule| r.table().is_none_or(|t| t != TABLE_MAIN && Some(t) != rule.table());
    inside().any(|r| same(r, rule.from, rule.iif.clone()))
        && (rule.table() == Some(TABLE_MAIN) || !inside().any(leads_elsewhere))
}

/// Who probably made an object of this protocol with this number, where no rule from an address
/// tells it ([`crate::rival`]): those who use numbers like ours.
fn owner(protocol: u8, number: u32) -> Option<&'static str> {
    Some(match (protocol, number) {
        (11, 10_000..=11_000) => "FRR's pbrd",
        // networkd keeps what DHCP and router advertisements bring under their own protocols.
        (4 | 9 | 16, 10_000..=11_999) => "amazon-ec2-net-utils or a systemd-networkd file",
        (_, 30_768..=31_767) => "NetworkManager's WireGuard",
        _ => return None,
    })
}
