//! The steps from what is there to what should be.
//!
//! The order is safe for traffic and cheap for the kernel: routes before the rules that
//! lead to them, links into or out of their group before the rules that ask for it, new
//! rules before old ones go, and rules before the routes that they led to. Rules are added in descending
//! priority, for the kernel walks the list to the place of each (`fib_nl_newrule`), and
//! deleted in ascending order, for the same reason.
//!
//! Nothing is removed or replaced on the strength of an incomplete snapshot, and nothing
//! but our own objects is ever named in a change.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;

use crate::conflict;
use crate::model::names::word;
use crate::model::netfilter::{Held, TABLE};
use crate::model::route::{RTNH_F_ONLINK, RouteKey};
use crate::model::sysctl::display;
use crate::model::{Names, ReturnPath, Route, RouteKind, Rule, Snapshot};
use crate::plan::{Plan, Returning};
use crate::prefix::Family;
use crate::settings;

/// One step from a snapshot to a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// `RTM_NEWROUTE`, refused where there is one already.
    AddRoute(Route),
    /// `RTM_NEWROUTE` with `NLM_F_REPLACE`: no packet sees the table without it.
    ReplaceRoute {
        /// What is there.
        from: Route,
        /// What takes its place.
        to: Route,
    },
    /// `RTM_DELROUTE`.
    DelRoute(Route),
    /// `RTM_NEWRULE`.
    AddRule(Rule),
    /// `RTM_DELRULE`, by every attribute of it, protocol included.
    DelRule(Rule),
    /// `RTM_SETLINK` with `IFLA_GROUP`.
    SetGroup {
        /// Index.
        link: u32,
        /// Name.
        name: String,
        /// The group that it is in.
        from: u32,
        /// The group that it is put in.
        to: u32,
    },
    /// The nft table, in one transaction.
    SetReturnPath {
        /// What there is of it.
        from: Held,
        /// What it becomes; none for no table.
        to: Option<ReturnPath>,
    },
    /// A value of `/proc/sys`.
    SetSysctl {
        /// Its path below `/proc/sys`.
        path: String,
        /// What it says.
        from: String,
        /// What is written.
        to: String,
    },
}

/// The steps from `snapshot` to `plan`.
#[must_use]
pub fn diff(snapshot: &Snapshot, plan: &Plan) -> Vec<Change> {
    let mut changes = Vec::new();
    let removes = snapshot.is_complete();
    let gone_routes = routes(snapshot, plan, removes, &mut changes);
    let leaving = groups(snapshot, plan, &mut changes);
    if removes {
        // Before the rules go that tell whose group it is: killed in between, the next run could
        // not know that the group was ours.
        changes.extend(leaving);
    }
    let table = return_path(snapshot, plan);
    // Marks that nobody looks up any more go before the rules do, and come after them.
    let (first, last) = match table {
        Some(ref change) if !removes && !only_adds(change) => (None, None),
        Some(Change::SetReturnPath { to: None, .. }) => (table, None),
        _ => (None, table),
    };
    changes.extend(first);
    rules(snapshot, plan, removes, &mut changes);
    changes.extend(last);
    sysctls(snapshot, plan, removes, &mut changes);
    if removes {
        changes.extend(gone_routes.into_iter().map(Change::DelRoute));
    }
    changes
}

/// The steps that undo `changes`, in the order in which they must be taken.
#[must_use]
pub fn revert(changes: &[Change]) -> Vec<Change> {
    // What is replaced leans on connected routes both before and after, so these go first both
    // ways.
    let mut replaced = changes.iter().filter(|c| matches!(c, Change::ReplaceRoute { .. }));
    changes
        .iter()
        .rev()
        .map(|change| match change {
            Change::ReplaceRoute { .. } => replaced.next().unwrap_or(change),
            _ => change,
        })
        .map(|change| match change.clone() {
            Change::AddRoute(route) => Change::DelRoute(route),
            Change::DelRoute(route) => Change::AddRoute(route),
            Change::ReplaceRoute { from, to } => Change::ReplaceRoute { from: to, to: from },
            Change::AddRule(rule) => Change::DelRule(rule),
            Change::DelRule(rule) => Change::AddRule(rule),
            Change::SetGroup { link, name, from, to } => {
                Change::SetGroup { link, name, from: to, to: from }
            }
            Change::SetReturnPath { from, to } => {
                // What somebody else had made of it is not brought back.
                let was = match from {
                    Held::Whole(table) => Some(table),
                    Held::Absent | Held::Altered => None,
                };
                Change::SetReturnPath { from: to.map_or(Held::Absent, Held::Whole), to: was }
            }
            Change::SetSysctl { path, from, to } => Change::SetSysctl { path, from: to, to: from },
        })
        .collect()
}

/// Adds what is missing to `changes`; returns what is to go.
fn routes(
    snapshot: &Snapshot,
    plan: &Plan,
    removes: bool,
    changes: &mut Vec<Change>,
) -> Vec<Route> {
    let mut have: BTreeMap<RouteKey, Vec<Route>> = BTreeMap::new();
    for route in snapshot.routes().filter(|r| r.is_ours()) {
        have.entry(route.key()).or_default().push(identity(route));
    }
    for want in &plan.routes {
        let Some(same) = have.get_mut(&want.key()) else {
            // Somebody else's that is the same answers for us.
            let there = snapshot.routes_at(&want.key());
            if !there.iter().any(|r| conflict::is_twin_route(r, want)) {
                changes.push(Change::AddRoute(want.clone()));
            }
            continue;
        };
        if let Some(at) = same.iter().position(|r| r == want) {
            same.swap_remove(at);
        } else if removes && let Some(old) = same.pop() {
            if old.kind == want.kind {
                changes.push(Change::ReplaceRoute { from: old, to: want.clone() });
            } else {
                // The kernel matches the kind when it replaces: these are two objects.
                changes.push(Change::DelRoute(old));
                changes.push(Change::AddRoute(want.clone()));
            }
        }
    }
    // Routes with a gateway go before the connected ones that they lean on.
    let mut gone: Vec<Route> = have.into_values().flatten().collect();
    gone.sort_by_cached_key(|r| (r.hops.iter().all(|h| h.gateway.is_none()), r.key()));
    gone
}

fn rules(snapshot: &Snapshot, plan: &Plan, removes: bool, changes: &mut Vec<Change>) {
    for family in Family::BOTH {
        let mut have: Vec<&Rule> =
            snapshot.rules().filter(|r| r.is_ours() && r.family == family).collect();
        have.sort_unstable();
        let mut want: Vec<&Rule> = plan.rules.iter().filter(|r| r.family == family).collect();
        want.sort_unstable();
        want.dedup();
        let (mut missing, mut surplus) = (Vec::new(), Vec::new());
        let (mut h, mut w) = (have.into_iter().peekable(), want.into_iter().peekable());
        loop {
            match (h.peek(), w.peek()) {
                (Some(a), Some(b)) if a == b => {
                    h.next();
                    w.next();
                }
                (Some(a), Some(b)) if a < b => surplus.extend(h.next()),
                (Some(_), None) => surplus.extend(h.next()),
                (_, Some(_)) => missing.extend(w.next()),
                (None, None) => break,
            }
        }
        missing.sort_by_key(|r| Reverse(r.priority));
        changes.extend(missing.into_iter().cloned().map(Change::AddRule));
        if removes {
            // Front first; of equal priority the kernel finds the one that was asked for.
            changes.extend(surplus.into_iter().cloned().map(Change::DelRule));
        }
    }
}

/// Adds the links that join to `changes`; returns those that leave.
fn groups(snapshot: &Snapshot, plan: &Plan, changes: &mut Vec<Change>) -> Vec<Change> {
    let mut leaving = Vec::new();
    for (index, to) in &plan.groups {
        let Some(link) = snapshot.link(*index) else { continue };
        if link.group == *to {
            continue;
        }
        let (name, from) = (link.name.clone(), link.group);
        let change = Change::SetGroup { link: *index, name, from, to: *to };
        if *to == 0 { leaving.push(change) } else { changes.push(change) }
    }
    leaving
}

fn return_path(snapshot: &Snapshot, plan: &Plan) -> Option<Change> {
    let held = &snapshot.netfilter.as_ref()?.table;
    let to = match (&plan.return_path, held) {
        (Returning::Unknown, _) | (Returning::Nothing, Held::Absent) => return None,
        (Returning::Table(table), Held::Whole(is)) if is == table => return None,
        (Returning::Nothing, _) => None,
        (Returning::Table(table), _) => Some(table.clone()),
    };
    Some(Change::SetReturnPath { from: held.clone(), to })
}

/// Whether the table says all that it said, and something more.
fn only_adds(change: &Change) -> bool {
    match change {
        Change::SetReturnPath { from: Held::Absent, .. } => true,
        Change::SetReturnPath { from: Held::Whole(from), to: Some(to) } => {
            let kept = |(mark, addresses): (&u32, &BTreeSet<IpAddr>)| {
                to.marks.get(mark).is_some_and(|of| addresses.is_subset(of))
            };
            from.mask == to.mask && from.marks.iter().all(kept)
        }
        _ => false,
    }
}

/// What is to be other than it is, and what was raised and need not be any more.
fn sysctls(snapshot: &Snapshot, plan: &Plan, removes: bool, changes: &mut Vec<Change>) {
    let is = |path: &str| snapshot.sysctls.get(path).map(str::to_owned);
    for (path, to) in &plan.sysctls {
        if let Some(from) = is(path).filter(|from| from != to) {
            changes.push(Change::SetSysctl { path: path.clone(), from, to: to.clone() });
        }
    }
    let given_up = snapshot.raised.iter().filter(|(path, _)| !plan.sysctls.contains_key(*path));
    for (path, raised) in given_up.filter(|_| removes) {
        // Somebody who has changed it since knows better.
        if let Some(from) = is(path).filter(|from| settings::is_kept(snapshot, path, from)) {
            changes.push(Change::SetSysctl { path: path.clone(), from, to: raised.was.clone() });
        }
    }
}

/// A route without what the kernel changes by itself, to be compared with a planned one.
pub(crate) fn identity(route: &Route) -> Route {
    let mut route = route.clone();
    route.flags = 0;
    route.expires = None;
    if route.kind != RouteKind::Unicast {
        // IPv6 shows a refusal as one that leads to the loopback.
        route.hops.clear();
    }
    for hop in &mut route.hops {
        hop.flags &= RTNH_F_ONLINK;
    }
    route
}

// ===== impl Change =====

impl Change {
    /// The `ip` command that does the same.
    #[must_use]
    pub fn command(&self, names: &Names) -> String {
        match self {
            Change::AddRoute(r) => route_command("add", r, names),
            Change::ReplaceRoute { to, .. } => route_command("replace", to, names),
            Change::DelRoute(r) => route_command("del", r, names),
            Change::AddRule(r) => rule_command("add", r, names),
            Change::DelRule(r) => rule_command("del", r, names),
            Change::SetGroup { name, to, .. } => {
                format!("ip link set dev {} group {to}", word(name))
            }
            Change::SetReturnPath { from, to } => table_command(from, to.as_ref()),
            Change::SetSysctl { path, to, .. } => {
                format!("sysctl -w {}={to}", word(&display(path)))
            }
        }
    }

    /// Whether it takes something away.
    #[must_use]
    pub fn is_removal(&self) -> bool {
        matches!(self, Change::DelRoute(_) | Change::DelRule(_))
            || matches!(
                self,
                Change::SetGroup { to: 0, .. } | Change::SetReturnPath { to: None, .. }
            )
    }
}

/// What somebody types who wants the same: `nft` reads several commands from one argument.
fn table_command(from: &Held, to: Option<&ReturnPath>) -> String {
    let delete = format!("delete table inet {TABLE}");
    match (from, to) {
        (_, None) => format!("nft {delete}"),
        (Held::Absent, Some(to)) => format!("nft '{}'", to.script()),
        (_, Some(to)) => format!("nft '{delete}; {}'", to.script()),
    }
}

fn route_command(verb: &str, route: &Route, names: &Names) -> String {
    let family = route.family().flag();
    format!("ip {family} route {verb} {}", route.arguments(names))
}

fn rule_command(verb: &str, rule: &Rule, names: &Names) -> String {
    let family = rule.family.flag();
    let words = rule.selector_and_action(names);
    // `from all` is what `ip` prints for a rule without a source; it also reads it.
    format!("ip {family} rule {verb} pref {} {words} proto {}", rule.priority, rule.protocol)
}
