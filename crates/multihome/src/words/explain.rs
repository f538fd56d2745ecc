//! `multihome explain`: each rule with what became of it, the way, and in the last line whether
//! that is right.

use std::fmt::Write as _;

use multihome_core::explain::{Explanation, Remedy};
use multihome_core::lookup::{
    By, Outcome, Path, Refusal, Selector, Step, Suppression, Trace, Verdict,
};
use multihome_core::model::names::word;
use multihome_core::model::{Link, Names, RouteKind, Snapshot};
use multihome_core::rules::without_local;
use multihome_core::verify::{Judgement, NoPromise};
use serde::Serialize;

use super::doubt::{SELECTOR, doubt, reason};
use super::fault::{
    NO_ROUTE, accepted, fault, refusal, sanity, without_local as words_without_local,
};
use super::rival::deletion;
use super::{plural, wrap};
use crate::output::Style;

/// What is said of one packet.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The packet, as `ip route get` reads it.
    pub flow: String,
    /// The look-up of it.
    pub lookup: LookUp,
    /// The second look-up of a socket that connects, where it comes to something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected: Option<LookUp>,
    /// What the kernel said to the same question; none when it was not asked.
    pub kernel: Option<Asked>,
    /// Whether it is right, in one word.
    pub verdict: Word,
    /// The same in one sentence, with what would change it.
    pub summary: String,
    /// The command for that, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// One look-up.
#[derive(Debug, Serialize)]
pub struct LookUp {
    /// Each rule that was considered, in order.
    pub rules: Vec<RuleSaid>,
    /// What can come out: several where the kernel chooses by a hash of the packet.
    pub outcomes: Vec<OutcomeSaid>,
    /// Why it is not to be relied upon; empty when it is.
    pub doubts: Vec<String>,
}

/// A rule and what became of it.
#[derive(Debug, Serialize)]
pub struct RuleSaid {
    /// As `ip rule` prints it.
    pub rule: String,
    /// `passed-over`, `jumps`, `decides`, `decides-for-some` or `cannot-tell`.
    pub verdict: &'static str,
    /// Why, or what it decided.
    pub why: String,
}

/// What can come out.
#[derive(Debug, Serialize)]
pub struct OutcomeSaid {
    /// `sent`, `kept` or `refused`.
    pub what: &'static str,
    /// The link that it leaves by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// The source address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The route, as `ip route` prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The error's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
    /// Who refuses it and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    #[serde(skip)]
    refusal: Option<Refusal>,
}

/// What the kernel said.
#[derive(Debug, Serialize)]
pub struct Asked {
    /// Whether it is one of the outcomes.
    pub agrees: bool,
    /// In `ip`'s words.
    pub says: String,
}

/// Whether it is right, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// It goes where it should.
    Right,
    /// It goes where the configuration wants it.
    Accepted,
    /// It does not go where it should.
    Wrong,
    /// It cannot be told.
    CannotTell,
    /// Nothing is promised about it.
    NoPromise,
}

/// Rules that were passed over for one reason are shown one by one up to this many.
const RUN: usize = 6;

// ===== making it =====

impl Report {
    /// What there is to say; `kernel` is what the kernel answered, where it was asked.
    pub fn new(said: &Explanation<'_>, snapshot: &Snapshot, kernel: Option<Asked>) -> Report {
        let names = snapshot.names();
        let (summary, command) = summary(said, snapshot, &names);
        Report {
            flow: said.flow.arguments(&names),
            lookup: LookUp::new(&said.trace, &names),
            connected: said.again.as_ref().map(|(_, trace)| LookUp::new(trace, &names)),
            kernel,
            verdict: Word::of(&said.judgement),
            summary,
            command,
        }
    }

    /// As text for a terminal.
    pub fn text(&self, style: Style) -> String {
        let mut out = String::new();
        self.lookup.write(&mut out, style);
        if let Some(kernel) = &self.kernel {
            if kernel.agrees {
                let _ = writeln!(out, "kernel   says the same");
            } else {
                let line = format!("says otherwise: {}", kernel.says);
                wrap(&mut out, "kernel   ", "         ", &style.bad(&line));
            }
        }
        if let Some(connected) = &self.connected {
            let _ = writeln!(out, "\n{}", style.bold("a socket that connects asks again:"));
            connected.write(&mut out, style);
        }
        out.push('\n');
        let mut last = String::new();
        wrap(&mut last, "", "  ", &self.summary);
        out.push_str(&match self.verdict {
            Word::Right => style.good(last.trim_end()),
            Word::Wrong => style.bad(last.trim_end()),
            Word::CannotTell | Word::Accepted => style.warn(last.trim_end()),
            Word::NoPromise => last.trim_end().to_owned(),
        });
        out.push('\n');
        if let Some(command) = &self.command {
            let _ = writeln!(out, "  {command}");
        }
        out
    }
}

impl LookUp {
    fn new(trace: &Trace<'_>, names: &Names) -> LookUp {
        LookUp {
            rules: trace.steps.iter().map(|s| RuleSaid::new(s, names)).collect(),
            outcomes: trace.answer.outcomes.iter().map(|o| OutcomeSaid::new(o, names)).collect(),
            doubts: trace.answer.doubts.iter().map(|d| doubt(d, names)).collect(),
        }
    }

    fn write(&self, out: &mut String, style: Style) {
        // Rules that were passed over for the same reason, one after the other, say little.
        for run in self.rules.chunk_by(|a, b| a.is_like(b)) {
            let shown = if run.len() > RUN { RUN / 2 } else { run.len() };
            run.iter().take(shown).for_each(|rule| rule.write(out, style));
            if let Some(rule) = run.get(shown) {
                let more = run.len() - shown;
                wrap(out, "  ", "      ", &format!("... and {more} more {}", rule.why));
            }
        }
        if !self.rules.is_empty() {
            out.push('\n');
        }
        for (n, outcome) in self.outcomes.iter().enumerate() {
            if n > 0 {
                let _ = writeln!(out, "or, by a hash of the packet:");
            }
            outcome.write(out);
        }
        for doubt in &self.doubts {
            wrap(out, "cannot tell: ", "  ", doubt);
        }
    }
}

impl RuleSaid {
    fn new(step: &Step<'_>, names: &Names) -> RuleSaid {
        let (verdict, why) = match &step.verdict {
            Verdict::NotFor(Selector::Not) => {
                ("passed-over", "not for it: it is for what does not match".to_owned())
            }
            Verdict::NotFor(selector) => ("passed-over", format!("not for it: `{selector}`")),
            Verdict::CannotTell => ("cannot-tell", SELECTOR.to_owned()),
            Verdict::Jumps(to) => ("jumps", format!("on to rule {to}")),
            Verdict::JumpsNowhere(to) => ("passed-over", format!("there is no rule {to}")),
            Verdict::Nothing => ("passed-over", "does nothing".to_owned()),
            Verdict::NoRoute(table) => {
                ("passed-over", format!("no route in {}", table_words(*table, names)))
            }
            Verdict::Throws(_, route) => {
                ("passed-over", format!("sent on by {}", route.display(names)))
            }
            Verdict::Suppressed { route, why, .. } => {
                let why = match why {
                    Suppression::Prefixlength(len) => {
                        format!("its prefix is no longer than /{len}")
                    }
                    Suppression::Ifgroup(group) => {
                        format!("it leaves by a link of group {group}")
                    }
                };
                ("passed-over", format!("does not take {}: {why}", route.display(names)))
            }
            Verdict::Decides(Some(route)) => ("decides", route.display(names)),
            Verdict::Decides(None) => ("decides", "refuses".to_owned()),
            Verdict::DecidesForSome(route) => {
                ("decides-for-some", format!("by some hops only: {}", route.display(names)))
            }
        };
        RuleSaid { rule: step.rule.display(names), verdict, why }
    }

    fn is_like(&self, other: &RuleSaid) -> bool {
        self.verdict == "passed-over" && other.verdict == "passed-over" && self.why == other.why
    }

    fn write(&self, out: &mut String, style: Style) {
        let (mark, why) = match self.verdict {
            "decides" | "decides-for-some" => ("> ", style.bold(&self.why)),
            "cannot-tell" => ("? ", style.warn(&self.why)),
            _ => ("  ", style.dim(&self.why)),
        };
        wrap(out, mark, "      ", &self.rule);
        wrap(out, "    ", "      ", &why);
    }
}

impl OutcomeSaid {
    fn new(outcome: &Outcome<'_>, names: &Names) -> OutcomeSaid {
        match outcome {
            Outcome::Sent(path) => {
                let kept = path.kind == RouteKind::Local;
                OutcomeSaid {
                    what: if kept { "kept" } else { "sent" },
                    link: (!kept).then(|| names.link(path.link).into_owned()),
                    gateway: path.gateway.map(|g| g.to_string()),
                    source: path.source.map(|s| s.to_string()),
                    route: path.route.map(|r| r.display(names)),
                    error: None,
                    because: None,
                    refusal: None,
                }
            }
            Outcome::Refused { error, by } => OutcomeSaid {
                what: "refused",
                refusal: Some(*error),
                link: None,
                gateway: None,
                source: None,
                route: match by {
                    By::Route(_, route) => Some(route.display(names)),
                    _ => None,
                },
                error: Some(error.name()),
                because: Some(because(by, names)),
            },
        }
    }

    fn write(&self, out: &mut String) {
        match self.what {
            "kept" => {
                let _ = writeln!(out, "kept     it is an address of this host");
            }
            "sent" => {
                let gateway = self.gateway.as_deref().unwrap_or("none: it is on the link");
                let _ = writeln!(out, "gateway  {gateway}");
                let _ = writeln!(out, "card     {}", self.link.as_deref().unwrap_or("none"));
            }
            _ => {
                let error = self.refusal.map(refusal).unwrap_or_default();
                let because = self.because.as_deref().unwrap_or_default();
                wrap(out, "refused  ", "         ", &format!("{error}, {because}"));
            }
        }
        if let Some(source) = &self.source {
            let _ = writeln!(out, "source   {source}");
        }
        if self.what == "sent" && self.route.is_none() {
            let _ = writeln!(out, "route    none: it is taken to be on the link");
        }
    }
}

fn table_words(table: u32, names: &Names) -> String {
    let name = names.table(table);
    if name.parse::<u32>().is_ok() { format!("table {name}") } else { name.into_owned() }
}

fn because(by: &By<'_>, names: &Names) -> String {
    match by {
        By::Rule(rule) => format!("by rule {}", rule.display(names)),
        By::Route(rule, route) => {
            format!("by {} (rule {})", route.display(names), rule.priority)
        }
        By::NoRoute => NO_ROUTE.to_owned(),
        By::Sanity(why) => sanity(*why, names),
    }
}

// ===== the last line =====

impl Word {
    fn of(judgement: &Judgement) -> Word {
        match judgement {
            Judgement::Home(_)
            | Judgement::Kept
            | Judgement::Local(_)
            | Judgement::NoWay
            | Judgement::MainRefuses => Word::Right,
            Judgement::Accepted(_) => Word::Accepted,
            Judgement::Wrong(_) => Word::Wrong,
            Judgement::Unproven(_) => Word::CannotTell,
            Judgement::NoPromise(_) => Word::NoPromise,
        }
    }
}

/// The last sentence, and the command that would make it another.
fn summary(said: &Explanation<'_>, snapshot: &Snapshot, names: &Names) -> (String, Option<String>) {
    let link = |index: u32| names.link(index);
    let trace = said.again.as_ref().map_or(&said.trace, |(_, trace)| trace);
    let mut text = match &said.judgement {
        Judgement::Home(owner) => {
            let mut text = format!("goes home by its own door, {}", link(*owner));
            if let Some(rule) = trace.answer.paths().find_map(|p| p.rule) {
                let _ = write!(text, ", as long as rule {} is there", rule.display(names));
            }
            if !snapshot.link(*owner).is_some_and(Link::has_carrier) {
                text.push_str("; but that has no carrier: it is lost there");
            }
            text
        }
        Judgement::Kept => "stays on this host, as it should".to_owned(),
        Judgement::Local(by) => {
            format!("goes to a local network, by {}, as it should", link(*by))
        }
        Judgement::MainRefuses => {
            "is refused, as it should be: main refuses that very network".to_owned()
        }
        Judgement::NoWay => {
            "is refused, as it should be: the card that owns the source has no way out, and no \
             other is right"
                .to_owned()
        }
        Judgement::Accepted(why) => {
            format!("goes as the configuration wants it: {}", accepted(*why, names))
        }
        Judgement::Wrong(what) => format!("wrong: {}", fault(what, owner(said, snapshot), names)),
        Judgement::Unproven(why) => format!("cannot tell: {}", reason(why, names)),
        Judgement::NoPromise(why) => {
            no_promise(*why, &trace.answer.paths().collect::<Vec<_>>(), names)
        }
    };
    let mut command = None;
    match &said.remedy {
        Some(Remedy::Apply(count)) => {
            let _ = write!(
                text,
                "; `multihome apply` would change that ({})",
                plural(*count, "change")
            );
        }
        Some(Remedy::Without(rule)) => {
            let _ = write!(
                text,
                "; without that rule, which is somebody else's and asked before multihome's, it \
                 would be right"
            );
            command = Some(deletion(rule, names));
        }
        Some(Remedy::LooseFilter(iif)) => {
            let name = snapshot.link(*iif).map_or("", |l| l.name.as_str());
            let key =
                multihome_core::model::sysctl::conf(multihome_core::Family::V4, name, "rp_filter");
            let _ = write!(
                text,
                "; `sysctl {}=2` would change that",
                word(&multihome_core::model::sysctl::display(&key))
            );
        }
        Some(Remedy::Gateway(owner)) => {
            let _ = write!(
                text,
                "; no gateway is known for {}: `gateway` of interface.{} would change that",
                link(*owner),
                link(*owner)
            );
        }
        None => {}
    }
    let flow = said.again.as_ref().map_or(&said.flow, |(flow, _)| flow);
    let is_own = snapshot.addresses().any(|a| a.local == flow.to);
    if is_own && without_local(snapshot).contains(&flow.family()) {
        let (what, cure) = words_without_local(flow.family());
        let _ = write!(text, "; {what}, and needs it");
        command = Some(cure);
    }
    (text, command)
}

/// The link that has the host's own address.
fn owner(said: &Explanation<'_>, snapshot: &Snapshot) -> u32 {
    let flow = said.again.as_ref().map_or(&said.flow, |(flow, _)| flow);
    let own = if flow.iif.is_some() { Some(flow.to) } else { flow.from };
    let owners: Vec<u32> = own.map(|a| snapshot.owners(a).collect()).unwrap_or_default();
    // Of several the one that is asked.
    let asked = flow.iif.filter(|iif| owners.contains(iif));
    asked.or(owners.first().copied()).unwrap_or(0)
}

fn no_promise(why: NoPromise, paths: &[&Path<'_>], names: &Names) -> String {
    match why {
        NoPromise::NoSource => {
            let ways: Vec<String> = paths
                .iter()
                .filter_map(|p| Some(format!("by {}, from {}", names.link(p.link), p.source?)))
                .collect();
            match ways.as_slice() {
                [] => "it has no source, and finds none".to_owned(),
                ways => format!(
                    "the way decides about the source, not the source about the way: {}",
                    ways.join(", or ")
                ),
            }
        }
        NoPromise::Request(owner) => format!(
            "its source is no address of this host, and its destination is: for the request as it \
             comes in, add --iif {}",
            names.link(owner)
        ),
        NoPromise::NotOurs => "its source is no address of this host".to_owned(),
        NoPromise::NoUplink(owner) => format!(
            "its source belongs to {}; beyond the networks of that nothing is promised",
            names.link(owner)
        ),
        NoPromise::Bound(oif) => format!(
            "its socket is bound to {}, which does not own the source: nothing is promised",
            names.link(oif)
        ),
        NoPromise::OtherDoor(iif) => format!(
            "it comes in by {}, by which no request for that address need come: nothing is \
             promised",
            names.link(iif)
        ),
        NoPromise::Forwarded => {
            "it is forwarded, and no answer of this host's: nothing is promised of it".to_owned()
        }
    }
}
