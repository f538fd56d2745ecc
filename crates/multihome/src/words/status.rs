//! `multihome status`: how the host stands, on one screen.
//!
//! The first line is the verdict. Then each uplink: whether it is up, its table, its
//! addresses, its gateway and where that was learnt, and what is missing or too much.

use std::fmt::Write as _;

use multihome_core::config::Config;
use multihome_core::conflict::Conflict;
use multihome_core::doctor::without_main;
use multihome_core::model::names::word;
use multihome_core::model::{Names, Rule};
use multihome_core::plan::{Note, Planned};
use multihome_core::rules::without_local;
use multihome_core::uplink::Side;
use multihome_core::verify::{Finding, Report};
use multihome_core::{Change, Family, Plan, Snapshot};
use serde::Serialize;

use super::extras::Extras;
use super::fault::{fault, without_local as words_without_local};
use super::rival::RivalStatus;
use super::{conflict, learnt, not_uplink, note, plural, state, way, wrap};
use crate::output::Style;

/// How a host stands.
#[derive(Debug, Serialize)]
pub struct Status {
    /// In one word.
    pub verdict: Verdict,
    /// In one sentence.
    pub summary: String,
    /// Who runs as the daemon.
    pub daemon: Option<String>,
    /// What to say of who keeps an eye on it.
    #[serde(skip)]
    watched: Option<String>,
    /// What becomes of answers; none when that was not asked.
    pub answers: Option<Answers>,
    /// Families without a rule for what is local.
    #[serde(skip)]
    without_local: Vec<Family>,
    /// The uplinks.
    pub uplinks: Vec<UplinkStatus>,
    /// Interfaces with a global address that are none.
    pub others: Vec<Other>,
    /// Pending steps that belong to no uplink, as `ip` commands.
    pub pending: Vec<String>,
    /// What stands in the way.
    pub conflicts: Vec<Problem>,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// Who else does the same job.
    pub rivals: Vec<RivalStatus>,
    /// What there is beside the uplinks' own rules and tables.
    #[serde(flatten)]
    pub extras: Extras,
    /// Why the snapshot is not complete.
    pub incomplete: Vec<String>,
}

/// Who keeps an eye on what is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watch {
    /// The daemon, by name and process.
    By(String),
    /// Nobody: no daemon runs.
    Nobody,
    /// Nobody, and `multihome down` was the last word.
    Down,
    /// It is a file, of another time or host.
    File,
}

/// How a host stands, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every uplink answers by its own door.
    Well,
    /// All that can be done is done, but an uplink is down or has lost its gateway.
    Degraded,
    /// There is no uplink: nothing to do.
    NoUplinks,
    /// Steps are pending.
    NotInSync,
    /// Somebody else uses our numbers.
    Conflict,
    /// The kernel could not be read completely.
    Incomplete,
}

/// What becomes of answers now, with all links as they are.
#[derive(Debug, Serialize)]
pub struct Answers {
    /// How many do not leave by their own door, or not at all.
    pub wrong: usize,
    /// Of how many that cannot be told.
    pub unproven: usize,
    /// What is wrong or cannot be told, each kind once.
    pub faults: Vec<String>,
}

/// How an uplink stands.
#[derive(Debug, Serialize)]
pub struct UplinkStatus {
    /// Interface name.
    pub name: String,
    /// Interface index.
    pub index: u32,
    /// `up`, `no carrier` or `down`.
    pub state: &'static str,
    /// Its table; none when it is left to main.
    pub table: Option<u32>,
    /// The table's name, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_name: Option<String>,
    /// Its families.
    pub families: Vec<FamilyStatus>,
    /// Its rules as `ip rule` prints them.
    pub rules: Vec<String>,
    /// What is missing or too much, as the `ip` commands that would mend it.
    pub pending: Vec<String>,
}

/// One family of an uplink.
#[derive(Debug, Serialize)]
pub struct FamilyStatus {
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// Addresses with prefix length and flags.
    pub addresses: Vec<String>,
    /// Gateways, the best first, and where each was learnt.
    pub gateways: Vec<GatewayStatus>,
    /// Whether its numbers are taken by somebody else, so that it is left as it is.
    pub frozen: bool,
}

/// A gateway.
#[derive(Debug, Serialize)]
pub struct GatewayStatus {
    /// Its address.
    pub gateway: String,
    /// Where it was learnt.
    pub learnt: String,
}

/// An interface that is no uplink.
#[derive(Debug, Serialize)]
pub struct Other {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// Something that stands in the way.
#[derive(Debug, Serialize)]
pub struct Problem {
    /// What.
    pub what: String,
    /// The remedy.
    pub remedy: String,
}

/// Kinds of wrong answers that are shown; `multihome verify` has all.
const FAULTS: usize = 3;

// ===== impl Answers =====

impl Answers {
    fn new(report: &Report, names: &Names) -> Answers {
        let now = |f: &&Finding| f.failed.is_none();
        let wrong: Vec<&Finding> = report.wrong.iter().filter(now).collect();
        let unproven: Vec<&Finding> = report.unproven.iter().filter(now).collect();
        let mut faults: Vec<String> = Vec::new();
        for finding in wrong.iter().chain(&unproven) {
            let text = fault(&finding.fault, finding.owner, names);
            if !faults.contains(&text) {
                faults.push(text);
            }
        }
        Answers { wrong: wrong.len(), unproven: unproven.len(), faults }
    }
}

// ===== impl Status =====

impl Status {
    /// How the host of `snapshot` stands; `report` is what was found about its answers, if they were
    /// asked for.
    pub fn new(
        snapshot: &Snapshot,
        config: &Config,
        plan: &Plan,
        changes: &[Change],
        report: Option<&Report>,
        watch: Watch,
    ) -> Status {
        let names = snapshot.names();
        let answers = report.map(|r| Answers::new(r, &names));
        let uplinks: Vec<UplinkStatus> = plan
            .uplinks
            .iter()
            .map(|p| UplinkStatus::new(p, snapshot, plan, changes, &names))
            .collect();
        let pending = changes
            .iter()
            .filter(|c| !plan.uplinks.iter().any(|p| is_of(p, c)))
            .map(|c| c.command(&names))
            .collect();
        let (verdict, summary) = verdict(snapshot, config, plan, changes, answers.as_ref());
        Status {
            verdict,
            summary,
            watched: match &watch {
                Watch::By(holder) => Some(format!("watched by {holder}")),
                Watch::Nobody => Some("nobody watches: start `multihome run` to keep it so".into()),
                Watch::Down => {
                    Some("taken down, until `multihome apply` or `multihome run`".into())
                }
                Watch::File => None,
            },
            daemon: match watch {
                Watch::By(holder) => Some(holder),
                Watch::Nobody | Watch::Down | Watch::File => None,
            },
            answers,
            without_local: without_local(snapshot),
            uplinks,
            others: plan
                .others
                .iter()
                .map(|(name, reason)| {
                    let state = Some(state(snapshot.link_named(name))).filter(|s| *s != "up");
                    Other { name: name.clone(), reason: not_uplink(reason, state) }
                })
                .collect(),
            pending,
            conflicts: plan.conflicts.iter().map(|c| problem(c, &names)).collect(),
            // What the verdict says already is not said again.
            notes: plan
                .notes
                .iter()
                .filter(|n| verdict != Verdict::Degraded || !matches!(n, Note::NoGateway { .. }))
                .filter(|n| !matches!(n, Note::Rival(_)))
                .map(|n| note(n, &names))
                .collect(),
            rivals: plan
                .notes
                .iter()
                .filter_map(|n| match n {
                    Note::Rival(rival) => Some(RivalStatus::new(rival, &names)),
                    _ => None,
                })
                .collect(),
            extras: Extras::new(snapshot, config, plan, &names),
            incomplete: snapshot.incomplete.clone(),
        }
    }

    /// As text for a terminal.
    pub fn text(&self, style: Style) -> String {
        let mut out = String::new();
        let headline = match self.verdict {
            Verdict::Well => style.good(&self.summary),
            Verdict::Degraded | Verdict::NoUplinks => style.warn(&self.summary),
            _ => style.bad(&self.summary),
        };
        let mut lines = String::new();
        wrap(&mut lines, "", "  ", &headline);
        let _ = writeln!(out, "{}", style.bold(lines.trim_end()));
        if let Some(watched) = &self.watched {
            let _ = writeln!(out, "{}", style.dim(watched));
        }
        for why in &self.incomplete {
            remark(&mut out, style.bad("incomplete:"), why);
        }
        for problem in &self.conflicts {
            remark(&mut out, style.bad("conflict:"), &problem.what);
            remark(&mut out, style.dim("hint:"), &problem.remedy);
        }
        if let Some(answers) = &self.answers {
            let label = if answers.wrong > 0 { style.bad("wrong:") } else { style.warn("note:") };
            for text in answers.faults.iter().take(FAULTS) {
                remark(&mut out, label.clone(), text);
            }
            if !answers.faults.is_empty() {
                remark(
                    &mut out,
                    style.dim("hint:"),
                    "`multihome verify` has them all, `explain` says why",
                );
            }
            for family in self.without_local.iter().filter(|_| answers.wrong > 0) {
                let (what, cure) = words_without_local(*family);
                let _ = writeln!(out, "{} {what}:\n  {cure}", style.dim("hint:"));
            }
        } else if self.verdict == Verdict::Well {
            remark(&mut out, style.dim("hint:"), "`multihome verify` asks them all");
        }
        for rival in &self.rivals {
            remark(&mut out, style.warn("note:"), &rival.headline());
        }
        for uplink in &self.uplinks {
            out.push('\n');
            uplink.write(&mut out, style);
        }
        if !self.others.is_empty() {
            let _ = writeln!(out, "\nnot uplinks:");
            let others = self.others.iter().map(|o| (word(&o.name), &o.reason));
            let width = others.clone().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
            for (name, reason) in others {
                let label = format!("  {name:width$}  ");
                let hang = " ".repeat(width + 4);
                wrap(&mut out, &label, &hang, &style.dim(reason));
            }
        }
        self.extras.write(&mut out, style);
        if !self.pending.is_empty() {
            let _ = writeln!(out, "\n{}", style.warn("pending for the host as a whole:"));
            write_pending(&mut out, &self.pending, style);
        }
        for text in &self.notes {
            wrap(&mut out, &format!("{} ", style.warn("note:")), "  ", text);
        }
        for rival in &self.rivals {
            rival.write(&mut out, style);
        }
        out
    }
}

fn verdict(
    snapshot: &Snapshot,
    config: &Config,
    plan: &Plan,
    changes: &[Change],
    answers: Option<&Answers>,
) -> (Verdict, String) {
    let managed = plan.uplinks.iter().filter(|p| p.table.is_some()).count();
    if !snapshot.is_complete() {
        let why = "the kernel could not be read completely: nothing will be removed";
        return (Verdict::Incomplete, why.into());
    }
    if !plan.conflicts.is_empty() {
        let what = plural(plan.conflicts.len(), "conflict");
        return (Verdict::Conflict, format!("{what} with numbers of somebody else's"));
    }
    if !changes.is_empty() {
        let what = plural(changes.len(), "change");
        return (
            Verdict::NotInSync,
            format!("not in sync: {what} pending (`multihome plan` lists them)"),
        );
    }
    if plan.uplinks.is_empty() {
        return (Verdict::NoUplinks, "nothing to do: no interface has a gateway".into());
    }
    let mut lost = lost(snapshot, plan);
    for family in without_main(snapshot, plan) {
        lost.push(format!(
            "what this host sends of its own accord finds no {family} way (`multihome doctor`)"
        ));
    }
    if let Some(Answers { wrong: wrong @ 1.., .. }) = answers {
        let verb = if *wrong == 1 { "is" } else { "are" };
        lost.push(format!("{} {verb} not right", plural(*wrong, "answer")));
    }
    if !lost.is_empty() {
        return (Verdict::Degraded, format!("degraded: {}", lost.join(", ")));
    }
    let uplinks = plural(managed, "uplink");
    let by_door = if managed == 1 { "answers by its own door" } else { "answer by their own door" };
    let mut summary = match answers {
        Some(Answers { unproven: 0, .. }) => format!("all is well: {uplinks} {by_door}"),
        Some(_) => format!("in sync: whether {uplinks} {by_door} is not proven"),
        // More than is worth a command that is typed often.
        None => format!(
            "in sync: whether {uplinks} {by_door} was not asked, for the many routes or rules"
        ),
    };
    if let Some(primary) = &config.primary.value {
        let _ = write!(summary, ", {primary} is left to main");
    }
    (Verdict::Well, summary)
}

/// What the uplinks have lost, so that they cannot answer.
pub fn lost(snapshot: &Snapshot, plan: &Plan) -> Vec<String> {
    let mut lost = Vec::new();
    for planned in &plan.uplinks {
        let uplink = &planned.uplink;
        let name = word(&uplink.name);
        if !uplink.up {
            lost.push(format!("{name} is down"));
        } else if !snapshot.link(uplink.link).is_some_and(|l| l.has_carrier()) {
            lost.push(format!("{name} has no carrier"));
        } else {
            let without = uplink.sides.iter().filter(|s| s.ways.is_empty());
            lost.extend(without.map(|s| format!("{name} has no {} gateway", s.family)));
        }
    }
    lost
}

fn problem(c: &Conflict, names: &Names) -> Problem {
    let (what, remedy) = conflict(c, names);
    Problem { what, remedy }
}

// ===== impl UplinkStatus =====

impl UplinkStatus {
    fn new(
        planned: &Planned,
        snapshot: &Snapshot,
        plan: &Plan,
        changes: &[Change],
        names: &Names,
    ) -> UplinkStatus {
        let uplink = &planned.uplink;
        let rules: Vec<&Rule> = plan.rules.iter().filter(|r| Plan::is_of(planned, r)).collect();
        UplinkStatus {
            name: uplink.name.clone(),
            index: uplink.link,
            state: state(snapshot.link(uplink.link)),
            table: planned.table,
            table_name: planned.table.and_then(|t| snapshot.table_names.get(&t)).cloned(),
            families: uplink
                .sides
                .iter()
                .map(|side| FamilyStatus::new(side, planned, names))
                .collect(),
            rules: rules.iter().map(|r| r.display(names)).collect(),
            pending: changes
                .iter()
                .filter(|c| is_of(planned, c))
                .map(|c| c.command(names))
                .collect(),
        }
    }

    fn write(&self, out: &mut String, style: Style) {
        let state = match self.state {
            "up" => style.good("up"),
            other => style.bad(other),
        };
        let table = match (self.table, &self.table_name) {
            (None, _) => "left to main".to_owned(),
            (Some(table), Some(name)) => format!("table {table} ({})", word(name)),
            (Some(table), None) => format!("table {table}"),
        };
        let _ = writeln!(out, "{}  {state}  {table}", style.bold(&word(&self.name)));
        for family in &self.families {
            let mut word = family.family.as_str();
            for address in &family.addresses {
                let _ = writeln!(out, "  {word:4}  {address}");
                word = "";
            }
            for gateway in &family.gateways {
                wrap(out, "        gateway ", "          ", &gateway.gateway);
                wrap(out, "          ", "            ", &style.dim(&gateway.learnt));
            }
            if family.gateways.is_empty() {
                let _ = writeln!(out, "        {}", style.bad("no gateway"));
            }
            if family.frozen {
                let _ = writeln!(out, "        {}", style.bad("left as it is: see the conflict"));
            }
        }
        match (self.rules.as_slice(), self.pending.as_slice()) {
            ([], []) => {}
            (rules, []) => {
                let _ = writeln!(out, "  rules {}", priorities(rules));
            }
            (_, pending) => {
                let _ = writeln!(out, "  {}", style.warn("pending:"));
                write_pending(out, pending, style);
            }
        }
    }
}

impl FamilyStatus {
    fn new(side: &Side, planned: &Planned, names: &Names) -> FamilyStatus {
        FamilyStatus {
            family: side.family.to_string(),
            addresses: side
                .addresses
                .iter()
                .map(|a| {
                    let mut text = format!("{}/{}", a.local, a.prefix_len);
                    for word in a.flag_words() {
                        let _ = write!(text, " {word}");
                    }
                    text
                })
                .collect(),
            gateways: side
                .ways
                .iter()
                .map(|w| GatewayStatus { gateway: way(w), learnt: learnt(&w.learnt, names) })
                .collect(),
            frozen: planned.frozen.contains(&side.family),
        }
    }
}

/// How many rules there are, and at which priorities; `ip rule` has the rest.
fn priorities(rules: &[String]) -> String {
    const SHOWN: usize = 6;
    let mut list: Vec<u32> =
        rules.iter().filter_map(|r| r.split(':').next()?.parse().ok()).collect();
    list.sort_unstable();
    list.dedup();
    let more = if list.len() > SHOWN { ", ..." } else { "" };
    let list: Vec<String> = list.iter().take(SHOWN).map(ToString::to_string).collect();
    format!("{} in place, at {}{more}", rules.len(), list.join(", "))
}

/// A remark with what it is in front.
fn remark(out: &mut String, label: String, text: &str) {
    wrap(out, &(label + " "), "  ", text);
}

/// The first pending steps; `multihome plan` has the rest.
fn write_pending(out: &mut String, pending: &[String], style: Style) {
    const SHOWN: usize = 4;
    for command in pending.iter().take(SHOWN) {
        // A whole table on one line is for a shell, and `plan` has it.
        let command = match command.split_once('{') {
            Some((head, _)) if head.starts_with("nft ") => format!("{head}{{ ... }}'"),
            _ => command.clone(),
        };
        let _ = writeln!(out, "    {}", style.warn(&command));
    }
    if pending.len() > SHOWN {
        let _ = writeln!(out, "    and {} more: `multihome plan`", pending.len() - SHOWN);
    }
}

/// Whether a change belongs to one uplink.
fn is_of(planned: &Planned, change: &Change) -> bool {
    match change {
        Change::AddRoute(r) | Change::DelRoute(r) | Change::ReplaceRoute { to: r, .. } => {
            Some(r.table) == planned.table
        }
        Change::AddRule(r) | Change::DelRule(r) => Plan::is_of(planned, r),
        Change::SetGroup { link, .. } => *link == planned.uplink.link,
        Change::SetSysctl { path, .. } => {
            path.split('/').any(|part| part == planned.uplink.name) && path.contains("/conf/")
        }
        Change::SetReturnPath { .. } => false,
    }
}
