//! Rules of others that are for everything.
//!
//! A full tunnel wants all that the host sends: `wg-quick` adds `not from all fwmark 51820 lookup
//! 51820` and `from all lookup main suppress_prefixlength 0`, both without a priority, and the
//! kernel puts such a rule in front of the second one that there is (`fib_default_rule_pref`): in
//! front of ours. strongSwan's table 220, Tailscale's 52 and NetBird's 7120 have small numbers of
//! their own. What such a rule takes of what we have to lead home is decided here, for the plan
//! and for the doctor alike.

use std::cmp::Reverse;

use serde::Serialize;

use crate::model::names::{TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};
use crate::model::{Action, Route, RouteKind, Rule, Snapshot};
use crate::prefix::Family;
use crate::rules::suppressed_length;

/// A rule of somebody else's that is for what is sent from any address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct CatchAll {
    /// The rule.
    pub rule: Rule,
    /// What it takes.
    pub takes: Takes,
}

/// What a catch-all takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Takes {
    /// Whatever has no narrower route in its table, by this one: a default, or one in disguise.
    Everything(Route),
    /// It refuses what is left.
    Refused,
    /// What goes to networks that main reaches by an uplink, as `lookup main
    /// suppress_prefixlength 0` does: a client on another card's subnet.
    Subnets,
    /// Networks of its own, which is what it is for, or nothing.
    Nothing,
}

/// Another table that has networks of its own, to which every address may answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SplitTunnel {
    /// The table.
    pub(crate) table: u32,
    /// The bits of the mark that a packet must not bear, if there are any: those by which the
    /// tunnel tells its own packets.
    pub(crate) unmarked: Option<u32>,
}

/// The catch-alls of a family among the rules of others, in the order in which they are asked.
/// `is_uplink` says of a link's index whether it is one.
pub(crate) fn find(
    snapshot: &Snapshot,
    family: Family,
    is_uplink: &dyn Fn(u32) -> bool,
) -> Vec<CatchAll> {
    of_others(snapshot, family, is_uplink, |r| !r.is_kernels() && is_for_unmarked(r))
}

/// The rules of others that are for everything which bears a mark, likewise: AWS's VPC CNI leads what
/// came in by the first card home with one (`fwmark 0x80/0x80 lookup main`).
pub(crate) fn for_marks(
    snapshot: &Snapshot,
    family: Family,
    is_uplink: &dyn Fn(u32) -> bool,
) -> Vec<CatchAll> {
    let is_for_mark =
        |r: &Rule| r.fwmark.is_some() && Rule { fwmark: None, ..r.clone() }.is_for_all();
    of_others(snapshot, family, is_uplink, is_for_mark)
}

fn of_others(
    snapshot: &Snapshot,
    family: Family,
    is_uplink: &dyn Fn(u32) -> bool,
    is_for_all: impl Fn(&Rule) -> bool,
) -> Vec<CatchAll> {
    let others = snapshot.rules().filter(|r| r.family == family && !r.is_ours());
    others
        .filter(|r| is_for_all(r))
        .map(|rule| CatchAll { takes: takes(snapshot, rule, is_uplink), rule: rule.clone() })
        .collect()
}

/// What a catch-all takes of what is sent from uplinks' addresses.
fn takes(snapshot: &Snapshot, rule: &Rule, is_uplink: &dyn Fn(u32) -> bool) -> Takes {
    let table = match rule.action {
        Action::Lookup(TABLE_LOCAL) => return Takes::Nothing,
        Action::Lookup(table) => table,
        Action::Unreachable | Action::Prohibit | Action::Blackhole => return Takes::Refused,
        _ => return Takes::Nothing,
    };
    let shortest = suppressed_length(rule.family);
    let mut wide: Vec<&Route> =
        routes(snapshot, rule, table).filter(|r| u32::from(r.dst.len()) <= shortest).collect();
    wide.sort_by_key(|r| (Reverse(r.dst.len()), r.metric));
    match wide.first() {
        Some(first) if first.kind == RouteKind::Unicast => {
            return Takes::Everything((*first).clone());
        }
        Some(first) if first.kind != RouteKind::Throw => return Takes::Refused,
        _ => {}
    }
    // Where the rule passes over links of a group, the uplinks are in it or the rule is not ours
    // to judge.
    let by_uplink = |r: &Route| r.hops.iter().any(|h| is_uplink(h.link));
    let takes_subnets =
        rule.suppress_ifgroup.is_none() && routes(snapshot, rule, table).any(by_uplink);
    if takes_subnets { Takes::Subnets } else { Takes::Nothing }
}

/// The routes that count for a rule.
fn routes<'a>(
    snapshot: &'a Snapshot,
    rule: &'a Rule,
    table: u32,
) -> impl Iterator<Item = &'a Route> {
    snapshot.routes_in(table).filter(move |r| {
        r.family() == rule.family
            && rule.suppress_prefixlength.is_none_or(|max| u32::from(r.dst.len()) > max)
            && r.src.is_none()
            && !r.is_expired()
    })
}

/// Whether a rule matches what an ordinary socket answers from any address: that bears no mark.
fn is_for_unmarked(rule: &Rule) -> bool {
    match rule.fwmark {
        None => rule.is_for_all(),
        // wg-quick's: everything that does not bear the mark of its own packets.
        Some((mark, _)) => {
            rule.not && mark != 0 && Rule { not: false, fwmark: None, ..rule.clone() }.is_for_all()
        }
    }
}

// ===== impl CatchAll =====

impl CatchAll {
    /// Whether answers must jump over it: it leads them out by another door. What refuses
    /// everything is somebody's will, and stays in force.
    #[must_use]
    pub fn captures(&self) -> bool {
        matches!(self.takes, Takes::Everything(_) | Takes::Subnets)
    }

    /// Whether its table leads out by this link.
    #[must_use]
    pub fn leads_by(&self, link: u32) -> bool {
        match &self.takes {
            Takes::Everything(route) => route.hops.iter().any(|h| h.link == link),
            _ => false,
        }
    }

    /// The networks of its own that its table has beside a default, by links that are no uplinks.
    pub(crate) fn split_tunnel(
        &self,
        snapshot: &Snapshot,
        is_uplink: &dyn Fn(u32) -> bool,
    ) -> Option<SplitTunnel> {
        let table = self.rule.table()?;
        if matches!(table, TABLE_MAIN | TABLE_LOCAL | TABLE_DEFAULT) {
            return None;
        }
        let shortest = suppressed_length(self.rule.family);
        let is_its_own = |r: &Route| {
            r.kind == RouteKind::Unicast
                && u32::from(r.dst.len()) > shortest
                && r.hops.iter().all(|h| !is_uplink(h.link))
        };
        routes(snapshot, &self.rule, table)
            .any(is_its_own)
            .then(|| SplitTunnel { table, unmarked: self.rule.fwmark.map(|(_, mask)| mask) })
    }
}
