//! The walk over the rules (`fib_rules_lookup` in net/core/fib_rules.c).
//!
//! Rules are asked in order. One that does not match is passed over; one that matches jumps, refuses,
//! or has its table looked up, and when the table has no route, or one that the rule suppresses, the
//! walk goes on. An error ends it: what a table refuses no later rule can mend.
//!
//! A route with several hops can be suppressed for some of them only (IPv6 chooses the hop before
//! `fib6_rule_suppress` looks at it), so that a walk can come to several ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::rule::{Kind, Match};
use super::table::Found;
use super::{Doubt, Flow, Lookup, Refusal, Step, Strange, Suppression, Verdict};
use crate::model::rule::Rule;
use crate::model::{Action, Hop, Route};
use crate::prefix::Family;

/// What the kernel looks up by (`struct flowi`): a flow, or what a reverse look-up makes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// Destination.
    pub to: IpAddr,
    /// Source; unspecified while there is none.
    pub from: IpAddr,
    /// `flowi_iif`: the loopback for what the host sends.
    pub iif: u32,
    /// `flowi_oif`; 0 is any.
    pub oif: u32,
    /// The link by which IPv6 routes score better: `oif`, or the one that a packet came in by
    /// (`ip6_pol_route_input`). 0 is any.
    pub near: u32,
    /// `flowi_mark`.
    pub mark: u32,
    /// Protocol, ports, owner and TOS.
    pub kind: Kind,
    /// `RT6_LOOKUP_F_IFACE`: only routes by the link (IPv6).
    pub iface: bool,
}

/// One end of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End<'a> {
    /// A route that is not suppressed, and the hop of it that was chosen.
    Route(&'a Rule, &'a Route, Option<&'a Hop>),
    /// A route that refuses.
    RouteRefuses(&'a Rule, &'a Route, Refusal),
    /// A rule that refuses.
    RuleRefuses(&'a Rule, Refusal),
    /// No rule led to anything.
    Nothing,
}

/// A walk over the rules of one family.
pub(super) struct Walk<'l, 'a> {
    /// What is walked over.
    pub lookup: &'l Lookup<'a>,
    /// What is looked for.
    pub key: &'l Key,
    /// Each rule that was considered, when somebody wants to know.
    pub steps: &'l mut Option<Vec<Step<'a>>>,
    /// What cannot be told.
    pub doubts: Vec<Doubt<'a>>,
    /// How it ended.
    pub ends: Vec<End<'a>>,
}

// ===== impl Key =====

impl Key {
    /// What `flow` is looked up by.
    pub(super) fn of(lookup: &Lookup<'_>, flow: &Flow) -> Key {
        Key {
            to: flow.to,
            from: flow.from.unwrap_or(unspecified(flow.family())),
            iif: flow.iif.unwrap_or(lookup.loopback),
            oif: flow.oif.unwrap_or(0),
            near: flow.iif.or(flow.oif).unwrap_or(0),
            mark: flow.mark,
            kind: flow.kind(),
            iface: false,
        }
    }

    /// Address family.
    pub(super) fn family(&self) -> Family {
        Family::of(self.to)
    }

    /// Whether there is a source.
    pub(super) fn has_source(&self) -> bool {
        !self.from.is_unspecified()
    }
}

/// `0.0.0.0` or `::`.
pub(super) fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

// ===== impl Walk =====

impl<'l, 'a> Walk<'l, 'a> {
    /// A walk that has not begun.
    pub(super) fn new(
        lookup: &'l Lookup<'a>,
        key: &'l Key,
        steps: &'l mut Option<Vec<Step<'a>>>,
    ) -> Walk<'l, 'a> {
        Walk { lookup, key, steps, doubts: Vec::new(), ends: Vec::new() }
    }

    /// Walks over all rules.
    pub(super) fn run(&mut self) {
        let lookup = self.lookup;
        let rules = lookup.rules(self.key.family());
        let mut at = 0;
        while let Some(&rule) = rules.get(at) {
            at += 1;
            match self.lookup.matches(rule, self.key) {
                Match::Yes => {}
                Match::No(selector) => {
                    self.note(rule, Verdict::NotFor(selector));
                    continue;
                }
                Match::CannotTell => {
                    self.note(rule, Verdict::CannotTell);
                    self.doubts.push(Doubt::Rule(rule));
                    continue;
                }
            }
            let refusal = match rule.action {
                Action::Lookup(table) => {
                    if self.look_up(rule, table) {
                        return;
                    }
                    continue;
                }
                Action::Goto(target) => {
                    // The kernel keeps the first rule of the priority as the target (fib_nl_newrule);
                    // jumps only lead forward.
                    let first = rules.partition_point(|r| r.priority < target);
                    if first >= at && rules.get(first).is_some_and(|r| r.priority == target) {
                        self.note(rule, Verdict::Jumps(target));
                        at = first;
                    } else {
                        self.note(rule, Verdict::JumpsNowhere(target));
                    }
                    continue;
                }
                Action::Nop => {
                    self.note(rule, Verdict::Nothing);
                    continue;
                }
                Action::Unreachable => Refusal::NetworkUnreachable,
                Action::Prohibit => Refusal::Prohibited,
                Action::Blackhole | Action::Other(_) => Refusal::Invalid,
            };
            self.note(rule, Verdict::Decides(None));
            self.ends.push(End::RuleRefuses(rule, refusal));
            return;
        }
        self.ends.push(End::Nothing);
    }

    /// Looks a table up for a rule; true when the walk is over.
    fn look_up(&mut self, rule: &'a Rule, table: u32) -> bool {
        let found = match self.lookup.tables.get(&(self.key.family(), table)) {
            Some(routes) => routes.look_up(self.lookup, self.key),
            None => Found::Nothing,
        };
        let (route, hops) = match found {
            Found::Nothing => {
                self.note(rule, Verdict::NoRoute(table));
                return false;
            }
            Found::Throw(route) => {
                self.note(rule, Verdict::Throws(table, route));
                return false;
            }
            Found::Refused(route, refusal) => {
                self.note(rule, Verdict::Decides(Some(route)));
                self.ends.push(End::RouteRefuses(rule, route, refusal));
                return true;
            }
            Found::Route(route, hops) => (route, hops),
        };
        if route.hops.iter().any(|h| h.encap) {
            self.doubts.push(Doubt::Route(route, Strange::Tunnel));
        }
        let mut suppression = None;
        let mut accepted = Vec::new();
        for hop in &hops {
            match self.suppression(rule, route, *hop) {
                Some(why) => suppression = Some(why),
                None => accepted.push(*hop),
            }
        }
        if hops.is_empty() {
            accepted.push(None);
        }
        let verdict = match suppression {
            None => Verdict::Decides(Some(route)),
            Some(why) if accepted.is_empty() => Verdict::Suppressed { table, route, why },
            Some(_) => Verdict::DecidesForSome(route),
        };
        let over = suppression.is_none();
        self.note(rule, verdict);
        self.ends.extend(accepted.into_iter().map(|hop| End::Route(rule, route, hop)));
        over
    }

    /// Why a rule does not accept a route, if so.
    fn suppression(&self, rule: &Rule, route: &Route, hop: Option<&'a Hop>) -> Option<Suppression> {
        if let Some(len) = rule.suppress_prefixlength
            && u32::from(route.dst.len()) <= len
        {
            return Some(Suppression::Prefixlength(len));
        }
        let group = rule.suppress_ifgroup?;
        // IPv4 looks at the first hop of a route, whichever is taken (fib4_rule_suppress); IPv6 at
        // the one that is (fib6_rule_suppress).
        let link = match self.key.family() {
            Family::V4 => route.hops.first(),
            Family::V6 => hop,
        }?;
        let link = self.lookup.snapshot.link(link.link)?;
        (link.group == group).then_some(Suppression::Ifgroup(group))
    }

    fn note(&mut self, rule: &'a Rule, verdict: Verdict<'a>) {
        if let Some(steps) = self.steps {
            steps.push(Step { rule, verdict });
        }
    }
}

// ===== impl Lookup: rules =====

impl<'a> Lookup<'a> {
    /// The rules of a family, in order.
    pub(super) fn rules(&self, family: Family) -> &[&'a Rule] {
        self.rules.get(&family).map_or(&[], Vec::as_slice)
    }

    /// Whether a link is a VRF or a member of one: its packets are looked up in the VRF's table
    /// (`l3mdev_update_flow`), which a snapshot does not have.
    pub(super) fn is_in_vrf(&self, link: u32) -> bool {
        let is_vrf =
            |index| self.snapshot.link(index).is_some_and(|l| l.kind.as_deref() == Some("vrf"));
        is_vrf(link) || self.snapshot.link(link).and_then(|l| l.master).is_some_and(is_vrf)
    }
}
