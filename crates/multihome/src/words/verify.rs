//! `multihome verify`: the verdict, and each answer that is not right as a flow for `explain`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use multihome_core::model::Names;
use multihome_core::model::names::ipproto;
use multihome_core::verify::{Accepted, Failure, Fault, Finding, Report};
use multihome_core::{Change, Family, Plan};
use serde::Serialize;

use super::fault::{explain, fault, without_local};
use super::{plural, wrap};
use crate::output::Style;

/// Flows that are shown of one kind.
const SHOWN: usize = 3;
/// Kinds that are shown.
const KINDS: usize = 12;

/// The JSON of `verify`.
#[derive(Debug, Serialize)]
pub struct VerifyJson {
    /// `right`, `wrong`, `not-proven` or `no-uplinks`.
    pub verdict: &'static str,
    /// The same in one sentence.
    pub summary: String,
    /// Whether multihome has nothing to change.
    pub in_sync: bool,
    /// Addresses of the host that were asked for.
    pub addresses: usize,
    /// Classes of destinations.
    pub classes: usize,
    /// Intervals of addresses that the classes were merged from.
    pub intervals: usize,
    /// What was supposed to fail, one at a time.
    pub failures: Vec<FailureJson>,
    /// Questions that were asked.
    pub questions: usize,
    /// Answers that are not right.
    pub counterexamples: Vec<FindingJson>,
    /// Answers that could not be told.
    pub unproven: Vec<FindingJson>,
    /// Answers that go another way because the configuration says so.
    pub accepted: Vec<AcceptedJson>,
}

/// A link that fails.
#[derive(Debug, Serialize)]
pub struct FailureJson {
    /// Its name.
    pub link: String,
    /// `down` or `no-carrier`.
    pub what: &'static str,
}

/// A flow with what is wrong.
#[derive(Debug, Serialize)]
pub struct FindingJson {
    /// The uplink, or the local link, that owns the address.
    pub link: String,
    /// Source address.
    pub from: Option<String>,
    /// Destination address.
    pub to: String,
    /// The link that it came in by; null for what the host sends.
    pub iif: Option<String>,
    /// The link that the socket is bound to.
    pub oif: Option<String>,
    /// Its protocol, where rules ask for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proto: Option<String>,
    /// Its source port, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sport: Option<u16>,
    /// Its destination port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dport: Option<u16>,
    /// The owner of its socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its TOS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tos: Option<u8>,
    /// Whether it is of a published port: the request to a container, or the reply of one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub published: bool,
    /// What had failed; null when nothing had.
    pub failed: Option<FailureJson>,
    /// `door`, `kept`, `not-kept`, `refused`, `reverse-path`, `not-accepted`, `forwarded` or `unproven`.
    pub fault: &'static str,
    /// Why, in one sentence.
    pub why: String,
    /// The command that explains it.
    pub explain: String,
}

/// What the configuration asks for.
#[derive(Debug, Serialize)]
pub struct AcceptedJson {
    /// The uplink.
    pub link: String,
    /// `primary` or `on_down`.
    pub reason: &'static str,
    /// How many answers.
    pub answers: usize,
}

/// A report with what is needed to speak of it.
pub struct Verified<'a> {
    /// What was found.
    pub report: &'a Report,
    /// What should be there.
    pub plan: &'a Plan,
    /// What is still to be done to get there.
    pub changes: &'a [Change],
    /// Families without a rule for what is local.
    pub without_local: &'a [Family],
    /// The names of links and tables.
    pub names: &'a Names,
}

// ===== impl Verified =====

impl Verified<'_> {
    /// `right`, `wrong`, `not-proven` or `no-uplinks`.
    pub fn verdict(&self) -> &'static str {
        match (self.report.wrong.is_empty(), self.report.unproven.is_empty()) {
            (false, _) => "wrong",
            (true, false) => "not-proven",
            (true, true) if self.plan.uplinks.is_empty() => "no-uplinks",
            (true, true) => "right",
        }
    }

    /// The verdict in one sentence.
    pub fn summary(&self) -> String {
        let report = self.report;
        let asked = format!(
            "{} x {} of destinations, both ways",
            count(report.addresses, "address"),
            count(report.classes, "class"),
        );
        let wrong = report.wrong.len();
        let unproven = report.unproven.len();
        match self.verdict() {
            "no-uplinks" => "nothing to verify: no interface has a gateway".into(),
            "right" => format!("all right: {asked}: {} questions", report.questions),
            "wrong" => format!("wrong: {wrong} of {} answers ({asked})", report.questions),
            _ => format!("not proven: {unproven} of {} answers ({asked})", report.questions),
        }
    }

    /// The whole of it.
    pub fn text(&self, style: Style) -> String {
        let mut out = String::new();
        let summary = self.summary();
        let summary = match self.verdict() {
            "wrong" => style.bad(&summary),
            "not-proven" => style.warn(&summary),
            _ => style.good(&summary),
        };
        let mut line = |text: &str| wrap(&mut out, "", "  ", text);
        line(&summary);
        if let Some(failures) = self.failures() {
            line(&failures);
        }
        if let Some(pending) = self.pending() {
            line(&style.warn(&pending));
        }
        self.accepted().iter().for_each(|accepted| line(accepted));
        if !self.report.wrong.is_empty() {
            for (what, cure) in self.without_local.iter().map(|f| without_local(*f)) {
                let _ = writeln!(out, "{}\n  {cure}", style.warn(&format!("{what}:")));
            }
        }
        write_groups(&mut out, &self.groups(&self.report.wrong), style);
        write_groups(&mut out, &self.groups(&self.report.unproven), style);
        if let Some(finding) = self.report.wrong.iter().find(|f| f.failed.is_some()) {
            let option = match finding.failed {
                Some(Failure::NoCarrier(_)) => "--carrier-lost",
                _ => "--link-down",
            };
            let link = self.names.link(finding.failed.map_or(0, Failure::link));
            let _ = writeln!(
                out,
                "\nThe host as it is then, for `explain --snapshot FILE`:\n  \
                 multihome what-if {option} {link} --write FILE"
            );
        }
        out
    }

    /// What was supposed to fail.
    fn failures(&self) -> Option<String> {
        let down = |f: &&Failure| matches!(f, Failure::Down(_));
        let links: Vec<_> =
            self.report.failures.iter().filter(down).map(|f| self.names.link(f.link())).collect();
        match links.as_slice() {
            [] => None,
            [link] => Some(format!("asked again with {link} down and without carrier")),
            [first, .., last] if links.len() > 4 => Some(format!(
                "asked again with each of {} uplinks ({first} to {last}) down and without carrier",
                links.len()
            )),
            links => Some(format!(
                "asked again with each of {} down and without carrier",
                links.join(", ")
            )),
        }
    }

    fn pending(&self) -> Option<String> {
        if !self.plan.conflicts.is_empty() {
            let conflicts = plural(self.plan.conflicts.len(), "conflict");
            return Some(format!(
                "{conflicts} with numbers of somebody else's (`multihome status` has more)"
            ));
        }
        (!self.changes.is_empty()).then(|| {
            format!(
                "not in sync: {} pending (`multihome plan` lists them)",
                plural(self.changes.len(), "change")
            )
        })
    }

    fn accepted(&self) -> Vec<String> {
        let line = |(accepted, count): (&Accepted, &usize)| match accepted {
            Accepted::Primary(link) => format!(
                "accepted: {} of {} by another uplink (`primary` leaves it to main)",
                plural(*count, "answer"),
                self.names.link(*link)
            ),
            Accepted::Fallthrough(link) => format!(
                "accepted: {} of {} by another uplink while it has no way out (`on_down`)",
                plural(*count, "answer"),
                self.names.link(*link)
            ),
        };
        self.report.accepted.iter().map(line).collect()
    }

    /// Findings of one kind together, in the order in which they were found: heading, flows.
    pub fn groups(&self, findings: &[Finding]) -> Vec<(String, Vec<String>)> {
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        for finding in findings {
            let heading = self.why(finding);
            let at = *known.entry(heading.clone()).or_insert(groups.len());
            if at == groups.len() {
                groups.push((heading, Vec::new()));
            }
            groups[at].1.push(explain(&finding.flow, self.names));
        }
        groups
    }

    /// Why it is not right, in one sentence.
    pub fn why(&self, finding: &Finding) -> String {
        let link = |l: u32| self.names.link(l);
        let what = fault(&finding.fault, finding.owner, self.names);
        match finding.failed {
            None => what,
            Some(Failure::Down(l)) => format!("while {} is down: {what}", link(l)),
            Some(Failure::NoCarrier(l)) => format!("while {} has no carrier: {what}", link(l)),
        }
    }

    /// As JSON.
    pub fn json(&self) -> VerifyJson {
        let report = self.report;
        VerifyJson {
            verdict: self.verdict(),
            summary: self.summary(),
            in_sync: self.changes.is_empty() && self.plan.conflicts.is_empty(),
            addresses: report.addresses,
            classes: report.classes,
            intervals: report.intervals,
            failures: report.failures.iter().map(|f| self.failure_json(*f)).collect(),
            questions: report.questions,
            counterexamples: report.wrong.iter().map(|f| self.finding_json(f)).collect(),
            unproven: report.unproven.iter().map(|f| self.finding_json(f)).collect(),
            accepted: report
                .accepted
                .iter()
                .map(|(accepted, answers)| {
                    let (link, reason) = match accepted {
                        Accepted::Primary(link) => (*link, "primary"),
                        Accepted::Fallthrough(link) => (*link, "on_down"),
                    };
                    let link = self.name(link);
                    AcceptedJson { link, reason, answers: *answers }
                })
                .collect(),
        }
    }

    fn name(&self, link: u32) -> String {
        self.names.links.get(&link).cloned().unwrap_or_else(|| format!("if{link}"))
    }

    fn failure_json(&self, failure: Failure) -> FailureJson {
        let what = match failure {
            Failure::Down(_) => "down",
            Failure::NoCarrier(_) => "no-carrier",
        };
        FailureJson { link: self.name(failure.link()), what }
    }

    fn finding_json(&self, finding: &Finding) -> FindingJson {
        let flow = &finding.flow;
        FindingJson {
            link: self.name(finding.owner),
            from: flow.from.map(|a| a.to_string()),
            to: flow.to.to_string(),
            iif: flow.iif.map(|l| self.name(l)),
            oif: flow.oif.map(|l| self.name(l)),
            proto: (flow.proto != 0).then(|| ipproto(flow.proto).into_owned()),
            sport: Some(flow.sport).filter(|p| *p != 0),
            dport: Some(flow.dport).filter(|p| *p != 0),
            uid: Some(flow.uid).filter(|u| *u != 0),
            tos: Some(flow.tos).filter(|t| *t != 0),
            failed: finding.failed.map(|f| self.failure_json(f)),
            published: matches!(finding.fault, Fault::Published(_)),
            fault: fault_id(&finding.fault),
            why: self.why(finding),
            explain: explain(flow, self.names),
        }
    }
}

/// The name of a fault, which stays.
fn fault_id(fault: &Fault) -> &'static str {
    match fault {
        Fault::Door { .. } => "door",
        Fault::Kept => "kept",
        Fault::NotKept { .. } => "not-kept",
        Fault::Refused { .. } => "refused",
        Fault::ReversePath { .. } => "reverse-path",
        Fault::NotAccepted { .. } => "not-accepted",
        Fault::Forwarded { .. } => "forwarded",
        Fault::Published(fault) => fault_id(fault),
        Fault::Unproven(_) => "unproven",
    }
}

/// Groups of findings, the first of each.
pub fn write_groups(out: &mut String, groups: &[(String, Vec<String>)], style: Style) {
    for (heading, flows) in groups.iter().take(KINDS) {
        let mut lines = String::new();
        wrap(&mut lines, "", "  ", heading);
        let _ = writeln!(out, "\n{}", style.bold(lines.trim_end()));
        for flow in flows.iter().take(SHOWN) {
            let _ = writeln!(out, "  {flow}");
        }
        if flows.len() > SHOWN {
            let _ = writeln!(out, "  and {} more", flows.len() - SHOWN);
        }
    }
    if groups.len() > KINDS {
        let more = groups.len() - KINDS;
        let _ = writeln!(out, "\nand {more} more kinds: `--json` has all");
    }
}

/// `1 address`, `2 addresses`.
fn count(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}es") }
}
