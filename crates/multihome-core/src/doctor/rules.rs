//! Rules that are asked before ours, or that are not there at all.
//!
//! The kernel asks rules in the order of their priorities and takes the first table that has an
//! answer (`fib_rules_lookup`). A rule that was added without a priority is put in front of the
//! second one that there is (`fib_default_rule_pref`): in front of ours. `wg-quick` adds two of
//! them.

use super::{Check, Fact, Judged, Lack, Patient};
use crate::catch_all::{self, CatchAll, Takes};
use crate::model::host::version;
use crate::model::names::{TABLE_LOCAL, TABLE_MAIN};
use crate::model::{Action, RouteKind, Rule, Snapshot};
use crate::plan::Plan;
use crate::prefix::Family;

pub(super) const CHECKS: &[Check] = &[
    ("kernel-rules", kernel_rules),
    ("kernel-rule-protocol", kernel_rule_protocol),
    ("local-rule", local_rule),
    ("main-rule", main_rule),
    ("catch-all-rule", catch_all_rule),
];

/// The first kernel whose rules have a protocol (`FRA_PROTOCOL`).
const WITH_PROTOCOL: (u32, u32) = (4, 17);

/// `CONFIG_IP_MULTIPLE_TABLES`, `CONFIG_IPV6_MULTIPLE_TABLES`: without them there is not even the
/// rule for local addresses, which is there from the beginning. But whoever has another table than
/// the two that such a kernel has (`fib_new_table`) has rules, and they were deleted.
fn kernel_rules(patient: &Patient<'_>) -> Judged {
    let lacking = Family::BOTH.into_iter().filter(|family| {
        patient.sides(*family).next().is_some()
            && !patient.snapshot.rules().any(|r| r.family == *family)
            && patient.snapshot.is_complete()
    });
    let release = patient.host().and_then(|h| h.release.clone());
    let only_with_rules = |family| {
        let routes = patient.snapshot.routes().filter(move |r| r.family() == family);
        routes.map(|r| r.table).find(|t| ![TABLE_LOCAL, TABLE_MAIN].contains(t))
    };
    let fact =
        |family| Fact::NoRules { family, release: release.clone(), table: only_with_rules(family) };
    Ok(lacking.map(fact).collect())
}

/// The kernel's own rules bear `RTPROT_KERNEL` where it knows protocols (`fib_default_rule_add`).
/// A number alone says little: distributions carry it back.
fn kernel_rule_protocol(patient: &Patient<'_>) -> Judged {
    let mut rules = patient.snapshot.rules().peekable();
    if rules.peek().is_none() || rules.any(|r| r.protocol != 0) {
        return Ok(Vec::new());
    }
    let release = patient.host().and_then(|h| h.release.clone()).ok_or(Lack::Release)?;
    let version = version(&release).ok_or(Lack::Release)?;
    let is_old = version < WITH_PROTOCOL;
    Ok(is_old.then_some(Fact::NoRuleProtocol { release }).into_iter().collect())
}

/// Cilium and the AWS VPC CNI move it behind rules of their own, and that is well as long as
/// ours come later still: behind ours, what is sent from one own address to another would leave
/// by the uplink's default.
fn local_rule(patient: &Patient<'_>) -> Judged {
    let mut found = Vec::new();
    for family in Family::BOTH {
        // Where it was moved behind jumps of ours, what those lead past is asked in front of them.
        let is_jump = |r: &&Rule| matches!(r.action, Action::Goto(_) | Action::Lookup(TABLE_LOCAL));
        let plan = patient.plan.rules.iter();
        let asked = plan.filter(|r| r.family == family && r.oif.is_none()).filter(|r| !is_jump(r));
        let Some(first) = asked.map(|r| r.priority).min() else { continue };
        let rules = || patient.snapshot.rules().filter(|r| r.family == family);
        let local = rules().find(|r| r.table() == Some(TABLE_LOCAL) && takes_all(r));
        // Without any rule there is more wrong than this.
        if rules().next().is_some() && local.is_none_or(|r| r.priority >= first) {
            found.push(Fact::LocalRule { family, rule: local.cloned(), before: first });
        }
    }
    Ok(found)
}

/// Without the rule that looks up main, what the host sends of its own accord, before it has a
/// source, has no way, and what it gets from behind an uplink neither. Whoever replaces main has a
/// rule for everything that looks up a table with a default.
fn main_rule(patient: &Patient<'_>) -> Judged {
    if !patient.snapshot.is_complete() {
        return Ok(Vec::new());
    }
    Ok(lost_main(patient.snapshot, patient.plan)
        .map(|(family, refusing)| Fact::MainRule { family, refusing })
        .collect())
}

/// The families in which what this host sends of its own accord does not come to main.
pub fn without_main(snapshot: &Snapshot, plan: &Plan) -> Vec<Family> {
    lost_main(snapshot, plan).map(|(family, _)| family).collect()
}

/// The same, with the rule that refuses everything before, if there is one.
fn lost_main<'a>(
    snapshot: &'a Snapshot,
    plan: &'a Plan,
) -> impl Iterator<Item = (Family, Option<Rule>)> + 'a {
    Family::BOTH.into_iter().filter_map(move |family| {
        let rules = || snapshot.rules().filter(move |r| r.family == family);
        let leads_out = |table| {
            let routes = snapshot.routes_in(table);
            routes
                .filter(|r| r.family() == family && r.dst.is_default())
                .any(|r| r.kind == RouteKind::Unicast && !r.is_expired())
        };
        let is_it = |rule: &&Rule| {
            takes_all(rule)
                && rule.suppress_prefixlength.is_none()
                && rule.table().is_some_and(|t| t == TABLE_MAIN || leads_out(t))
        };
        // Without any rule there is more wrong than this.
        let concerned = plan.uplinks.iter().any(|p| p.uplink.side(family).is_some());
        if !concerned || rules().next().is_none() {
            return None;
        }
        let before = rules().take_while(|r| !is_it(r));
        // One in front of ours takes the answers, too: see `catch_all_rule`.
        let behind = own(plan, family).max().unwrap_or(0);
        let refusing =
            before.filter(|r| r.priority > behind).find(|r| takes_all(r) && refuses(r)).cloned();
        let lost = refusing.is_some() || !rules().any(|r| is_it(&r));
        lost.then_some((family, refusing))
    })
}

fn refuses(rule: &Rule) -> bool {
    matches!(rule.action, Action::Unreachable | Action::Prohibit | Action::Blackhole)
}

/// The priorities of ours that are asked before main's rule.
fn own(plan: &Plan, family: Family) -> impl Iterator<Item = u32> {
    let rules = plan.rules.iter();
    rules.filter(move |r| r.family == family && r.oif.is_none()).map(|r| r.priority)
}

/// Whose answers does a rule take that is for everything ([`crate::catch_all`])? Those of uplinks by
/// which its table does not lead out. What a table holds besides a default (a tunnel's own
/// networks, the addresses of containers) is what it is for; and one that answers jump over takes
/// none.
fn catch_all_rule(patient: &Patient<'_>) -> Judged {
    let mut found = Vec::new();
    let is_uplink = |link| patient.plan.uplinks.iter().any(|p| p.uplink.link == link);
    for family in Family::BOTH {
        let Some(last) = own(patient.plan, family).max() else { continue };
        let is_in_front = |c: &CatchAll| {
            c.rule.priority < last && !patient.plan.overtaken.iter().any(|o| o.rule == c.rule)
        };
        let (mut companions, takers): (Vec<CatchAll>, Vec<CatchAll>) =
            catch_all::find(patient.snapshot, family, &is_uplink)
                .into_iter()
                .filter(is_in_front)
                .partition(|c| matches!(c.takes, Takes::Subnets | Takes::Nothing));
        // wg-quick's other rule, `lookup main suppress_prefixlength 0`: wherever one of them goes, the
        // pair goes, and that is said once.
        companions.retain(|c| c.rule.table() == Some(TABLE_MAIN));
        let mut companion = companions.into_iter().next().map(|c| Box::new(c.rule));
        for taker in takers {
            let uplinks: Vec<String> = patient
                .sides(family)
                .filter(|(planned, _, _)| planned.table.is_some())
                .filter(|(planned, _, _)| !planned.frozen.contains(&family))
                .filter(|(planned, _, _)| !taker.leads_by(planned.uplink.link))
                .map(|(planned, _, _)| planned.uplink.name.clone())
                .collect();
            if !uplinks.is_empty() {
                let CatchAll { rule, takes } = taker;
                let route = match takes {
                    Takes::Everything(route) => Some(route),
                    _ => None,
                };
                // What refuses has none.
                let companion = route.as_ref().and_then(|_| companion.take());
                found.push(Fact::CatchAll { rule, route, uplinks, before: last, companion });
            }
        }
    }
    Ok(found)
}

/// Whether a rule matches whatever the host itself sends, and does not pass over cards.
fn takes_all(rule: &Rule) -> bool {
    rule.is_for_all() && rule.suppress_ifgroup.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_a_version() {
        assert_eq!(version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(version("4.18.0-553.el8_10.x86_64"), Some((4, 18)));
        assert_eq!(version("3.10"), Some((3, 10)));
        assert_eq!(version("unknown"), None);
    }
}
