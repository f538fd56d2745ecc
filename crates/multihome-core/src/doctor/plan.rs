//! What the plan says itself: what stands in its way, what it notes, what is still to be done.

use super::fact::WrongAnswer;
use super::{Check, Fact, Finding, Judged, Lack, Patient, Severity, error, note, warning};
use crate::diff::Change;
use crate::plan::Note;
use crate::prefix::Family;
use crate::rival::Asked;
use crate::verify::verify;

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
    ("main-refuses", |p| noted(p, |n| matches!(n, Note::MainRefuses { .. }))),
    ("link-group", |p| noted(p, |n| matches!(n, Note::KeepsGroup { .. }))),
    ("primary-absent", |p| noted(p, |n| matches!(n, Note::PrimaryAbsent { .. }))),
    ("interface-absent", |p| noted(p, |n| matches!(n, Note::InterfaceAbsent { .. }))),
    ("file-refused", |p| noted(p, |n| matches!(n, Note::FileRefused(_)))),
];

fn incomplete(patient: &Patient<'_>) -> Judged {
    let why = patient.snapshot.incomplete.iter();
    Ok(why.map(|why| warning(Fact::Incomplete(why.clone()))).collect())
}

/// [`crate::conflict`].
fn conflict(patient: &Patient<'_>) -> Judged {
    Ok(patient.plan.conflicts.iter().map(|c| error(Fact::Conflict(c.clone()))).collect())
}

fn uplink_down(patient: &Patient<'_>) -> Judged {
    let down = patient.uplinks().filter(|(_, link)| !link.is_up() || !link.has_carrier());
    let down = down.map(|(planned, link)| {
        warning(Fact::Down { uplink: planned.uplink.name.clone(), up: link.is_up() })
    });
    Ok(down.collect())
}

/// With one uplink main answers by the right door as well, and nothing is wrong until there are
/// two.
fn not_in_sync(patient: &Patient<'_>) -> Judged {
    let changes = patient.changes.iter().filter(|c| drift(c).is_none()).count();
    if changes == 0 {
        return Ok(Vec::new());
    }
    let ours = patient.snapshot.rules().any(|r| r.is_ours());
    let fact = Fact::NotInSync { changes, anything: ours };
    let several = Family::BOTH.into_iter().any(|f| patient.has_several(f));
    Ok(vec![if several || ours { warning(fact) } else { note(fact) }])
}

/// [`crate::verify`]: what no other check knows the cause of, such as a rule of somebody's that is
/// asked before ours. While changes are pending it is known that answers are wrong, and what to do.
fn wrong_answers(patient: &Patient<'_>) -> Judged {
    if patient.snapshot.sysctls.is_empty() {
        return Err(Lack::Sysctls);
    }
    if !patient.changes.is_empty() || !patient.plan.conflicts.is_empty() {
        return Ok(Vec::new());
    }
    let report = verify(patient.snapshot, patient.config, patient.plan);
    let mut now = report.wrong.into_iter().filter(|f| f.failed.is_none());
    let Some(first) = now.next() else { return Ok(Vec::new()) };
    let (first, wrong) = (WrongAnswer(Box::new(first)), 1 + now.count());
    Ok(vec![error(Fact::WrongAnswers { first, wrong, asked: report.questions })])
}

/// Copies keep the metrics of their originals: a path with a smaller MTU has it on each way out.
fn metrics_drift(patient: &Patient<'_>) -> Judged {
    Ok(patient.changes.iter().filter_map(drift).map(warning).collect())
}

fn drift(change: &Change) -> Option<Fact> {
    match change {
        Change::ReplaceRoute { from, to } if from.metrics != to.metrics => {
            Some(Fact::MetricsDrift { held: from.clone(), wanted: to.clone() })
        }
        _ => None,
    }
}

/// [`crate::rival`]: two who do the same job are one too many, but it does harm only where the
/// other one's rules are asked, and have another answer.
fn same_job(patient: &Patient<'_>) -> Judged {
    let rivals = patient.plan.notes.iter().filter_map(|n| match n {
        Note::Rival(rival) => Some(rival),
        _ => None,
    });
    let judged = rivals.map(|rival| {
        let differs = rival.asked != Asked::Never && !rival.detours.is_empty();
        let fact = Fact::SameJob(rival.clone());
        if differs { warning(fact) } else { note(fact) }
    });
    Ok(judged.collect())
}

fn noted(patient: &Patient<'_>, is_meant: fn(&Note) -> bool) -> Judged {
    let notes = patient.plan.notes.iter().filter(|n| is_meant(n));
    Ok(notes.map(|n| Finding { severity: severity(n), fact: Fact::Plan(n.clone()) }).collect())
}

fn severity(note: &Note) -> Severity {
    match note {
        // Addresses that do not answer.
        Note::NoGateway { .. } | Note::SeveralGateways { .. } | Note::MainRefuses { .. } => {
            Severity::Warning
        }
        // What the operator asked for is not done.
        Note::PrimaryAbsent { .. } => Severity::Warning,
        Note::KeepsGroup { .. }
        | Note::FileRefused(_)
        | Note::InterfaceAbsent { .. }
        | Note::Rival(_) => Severity::Note,
    }
}
