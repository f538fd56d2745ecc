//! What the plan says itself: what stands in its way, what it notes, what is still to be done.

use std::collections::BTreeSet;

use super::{Check, Fact, Judged, Lack, Patient};
use crate::diff::Change;
use crate::explain::{Remedy, explain};
use crate::lookup::Lookup;
use crate::model::{Route, Rule};
use crate::plan::Note;
use crate::prefix::Family;
use crate::suppose::settled;
use crate::verify::{Finding, verify_now, verify_settled};

pub(super) const CHECKS: &[Check] = &[
    ("incomplete", incomplete),
    ("conflict", conflict),
    ("uplink-down", uplink_down),
    ("not-in-sync", not_in_sync),
    ("wrong-answers", wrong_answers),
    ("metrics-drift", metrics_drift),
    ("same-job", same_job),
    ("no-gateway", |p| noted(p, |n| matches!(n, Note::NoGateway { .. }))),
    ("several-gateways", |p| noted(p, |n| matches!(n, Note::SeveralGateways { .. }))),
    ("main-refuses", main_refuses),
    ("link-group", |p| noted(p, |n| matches!(n, Note::KeepsGroup { .. }))),
    ("primary-absent", |p| noted(p, |n| matches!(n, Note::PrimaryAbsent { .. }))),
    ("interface-absent", |p| noted(p, |n| matches!(n, Note::InterfaceAbsent { .. }))),
    ("return-path", |p| noted(p, |n| matches!(n, Note::ReturnPath(_)))),
    ("sysctl", |p| noted(p, |n| matches!(n, Note::Sysctl(_)))),
    ("steer-absent", |p| noted(p, |n| matches!(n, Note::SteerAbsent { .. }))),
    ("file-refused", |p| noted(p, |n| matches!(n, Note::FileRefused(_)))),
];

fn incomplete(patient: &Patient<'_>) -> Judged {
    let why = patient.snapshot.incomplete.iter();
    Ok(why.map(|why| Fact::Incomplete(why.clone())).collect())
}

/// [`crate::conflict`].
fn conflict(patient: &Patient<'_>) -> Judged {
    Ok(patient.plan.conflicts.iter().map(|c| Fact::Conflict(c.clone())).collect())
}

fn uplink_down(patient: &Patient<'_>) -> Judged {
    let down = patient.uplinks().filter(|(_, link)| !link.is_up() || !link.has_carrier());
    let fact = |(planned, link): (&crate::plan::Planned, &crate::model::Link)| Fact::Down {
        uplink: planned.uplink.name.clone(),
        up: link.is_up(),
    };
    Ok(down.map(fact).collect())
}

/// With one uplink main answers by the right door as well, and nothing is wrong until there are
/// two, or until somebody's rule is in front of main's; and what is pending may take a way away
/// that still works. So it is asked.
fn not_in_sync(patient: &Patient<'_>) -> Judged {
    let changes = patient.changes.iter().filter(|c| drift(c).is_none()).count();
    if changes == 0 {
        return Ok(Vec::new());
    }
    let anything = patient.snapshot.rules().any(|r| r.is_ours());
    let several = Family::BOTH.into_iter().any(|f| patient.has_several(f));
    let wrong = (!patient.snapshot.sysctls.is_empty())
        .then(|| verify_now(patient.snapshot, patient.config, patient.plan).wrong.len());
    Ok(vec![Fact::NotInSync { changes, anything, several, wrong }])
}

/// [`crate::verify`]: what no other check knows the cause of, such as a rule of somebody's that is
/// asked before ours. What `multihome apply` mends is told as pending.
fn wrong_answers(patient: &Patient<'_>) -> Judged {
    if patient.snapshot.sysctls.is_empty() {
        return Err(Lack::Sysctls);
    }
    let Patient { snapshot, config, plan, changes, .. } = *patient;
    let report = verify_settled(snapshot, config, plan, changes);
    let Some(first) = report.wrong.first() else { return Ok(Vec::new()) };
    let owners: BTreeSet<u32> = report.wrong.iter().map(|f| f.owner).collect();
    Ok(vec![Fact::WrongAnswers {
        first: Box::new(first.clone()),
        remedy: remedy(patient, first),
        owners: owners.into_iter().collect(),
        wrong: report.wrong.len(),
        asked: report.questions,
        pending: changes.len(),
    }])
}

/// The rule of somebody else's without which the answer would be right.
fn remedy(patient: &Patient<'_>, finding: &Finding) -> Option<Box<Rule>> {
    let Patient { snapshot, config, plan, changes, .. } = *patient;
    let settled = settled(snapshot, changes);
    let lookup = Lookup::new(&settled);
    match explain(&lookup, config, plan, &[], &finding.flow).remedy {
        Some(Remedy::Without(rule)) => Some(rule),
        _ => None,
    }
}

/// Copies keep the metrics of their originals: a path with a smaller MTU has it on each way out.
fn metrics_drift(patient: &Patient<'_>) -> Judged {
    Ok(patient.changes.iter().filter_map(drift).collect())
}

fn drift(change: &Change) -> Option<Fact> {
    match change {
        Change::ReplaceRoute { from, to } if from.metrics != to.metrics => {
            Some(Fact::MetricsDrift { held: from.clone(), wanted: to.clone() })
        }
        _ => None,
    }
}

/// [`crate::rival`].
fn same_job(patient: &Patient<'_>) -> Judged {
    let rivals = patient.plan.notes.iter().filter_map(|n| match n {
        Note::Rival(rival) => Some(Fact::SameJob(rival.clone())),
        _ => None,
    });
    Ok(rivals.collect())
}

/// What comes to a refusal in main is refused (`fib_table_lookup` says so to `fib_rules_lookup`, and
/// `suppress_prefixlength` is asked of routes that lead somewhere only). A default is taken before it
/// only with a smaller metric.
fn main_refuses(patient: &Patient<'_>) -> Judged {
    let refusals = patient.plan.notes.iter().filter_map(|n| match n {
        Note::MainRefuses { route } => Some(route),
        _ => None,
    });
    let fact = |route: &Route| {
        let defaults = patient.snapshot.main_defaults(route.family());
        let behind = defaults.into_iter().find(|r| !r.refuses()).cloned();
        let least = match route.family() {
            Family::V4 => 0,
            // A metric of 0 becomes `IP6_RT_PRIO_USER`, 1024.
            Family::V6 => 1,
        };
        Fact::MainRefuses { route: route.clone(), behind, has_room: route.metric > least }
    };
    Ok(refusals.map(fact).collect())
}

fn noted(patient: &Patient<'_>, is_meant: fn(&Note) -> bool) -> Judged {
    let notes = patient.plan.notes.iter().filter(|n| is_meant(n));
    Ok(notes.map(|n| Fact::Plan(n.clone())).collect())
}
