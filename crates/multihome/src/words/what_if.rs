//! `multihome what-if`: what would become of a host, and what multihome would do about it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use multihome_core::model::names::word;
use multihome_core::suppose::{Consequence, Supposition};
use serde::Serialize;

use super::verify::{Verified, VerifyJson, write_groups};
use super::{escaped, plural, wrap};
use crate::output::Style;

/// The JSON of `what-if`.
#[derive(Debug, Serialize)]
pub struct WhatIfJson {
    /// What was supposed, in order.
    pub supposed: Vec<String>,
    /// The host as it is.
    pub before: VerifyJson,
    /// The host as it would be, before multihome does anything.
    pub at_once: VerifyJson,
    /// What multihome would do, as `ip` commands.
    pub changes: Vec<String>,
    /// The host after that.
    pub settled: VerifyJson,
    /// Interfaces that would become uplinks.
    pub new_uplinks: Vec<String>,
    /// Interfaces that would be uplinks no more.
    pub lost_uplinks: Vec<String>,
    /// What uplinks have lost: link, carrier, gateway.
    pub lost: Vec<String>,
}

/// What is supposed, in words, and what becomes of other addresses by that; `changes` is whether
/// anything is otherwise then.
pub fn supposed(what: &Supposition, along: &[Consequence], changes: bool) -> String {
    let mut text = match what {
        Supposition::LinkDown(name) => format!("{} is down", word(name)),
        Supposition::CarrierLost(name) => format!("{} has no carrier", word(name)),
        Supposition::AddAddress { link, address, len } => {
            format!("{} has {address}/{len}", word(link))
        }
        Supposition::DelAddress { link, address } => format!("{} has lost {address}", word(link)),
        Supposition::AddRoute(words) => format!("route added: {}", escaped(&words.to_string())),
        Supposition::DelRoute(words) => format!("route deleted: {}", escaped(&words.to_string())),
    };
    let mut gone = Vec::new();
    let mut promoted = String::new();
    for consequence in along {
        match consequence {
            Consequence::Gone(a) => gone.push(a.local.to_string()),
            Consequence::Promoted(a) => promoted = format!("; {} is primary now", a.local),
        }
    }
    let more = gone.len().saturating_sub(NAMED);
    gone.truncate(NAMED);
    if !gone.is_empty() {
        text += &format!(", and with it {}", gone.join(", "));
    }
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text += &promoted;
    if changes { text } else { format!("{text}, as it is already: that changes nothing") }
}

/// Addresses that are named of those that go along.
const NAMED: usize = 3;

/// A host before and after.
pub struct WhatIf<'a> {
    /// What was supposed.
    pub supposed: Vec<String>,
    /// The host as it is.
    pub before: Verified<'a>,
    /// As it would be.
    pub at_once: Verified<'a>,
    /// After multihome's steps.
    pub settled: Verified<'a>,
    /// What uplinks have lost then, as `status` says it.
    pub lost: Vec<String>,
}

impl WhatIf<'_> {
    /// The whole of it.
    pub fn text(&self, style: Style) -> String {
        let mut out = String::new();
        for what in &self.supposed {
            wrap(&mut out, "supposed: ", "  ", &style.bold(what));
        }
        let commands = super::plan::commands(self.at_once.changes, self.at_once.names);
        let mut line = |label: &str, verified: &Verified<'_>| {
            let hang = " ".repeat(10);
            wrap(&mut out, &format!("{label:<9} "), &hang, &painted(verified, style));
        };
        line("now:", &self.before);
        line("then:", &self.at_once);
        if !commands.is_empty() {
            line(&format!("after {}:", plural(commands.len(), "change")), &self.settled);
        }
        for lost in &self.lost {
            let text = format!("{lost}: what its addresses answer is lost, or refused");
            wrap(&mut out, "", "  ", &style.warn(&text));
        }
        for name in self.new_uplinks() {
            let _ = writeln!(out, "{} becomes an uplink", word(&name));
        }
        for name in self.lost_uplinks() {
            let _ = writeln!(out, "{} is no uplink any more", word(&name));
        }
        if commands.is_empty() {
            let _ = writeln!(out, "\nmultihome changes nothing");
        } else {
            let _ = writeln!(out, "\nmultihome would make {}:", plural(commands.len(), "change"));
            for command in commands {
                let _ = writeln!(out, "  {command}");
            }
        }
        let known = Self::headings(&self.before);
        let stays = Self::headings(&self.settled);
        // What stays wrong is said once, at the end.
        let passing = |heading: &String| !known.contains(heading) && !stays.contains(heading);
        let new = |heading: &String| !known.contains(heading);
        write_new(&mut out, "only until multihome has acted:", &self.at_once, passing, style);
        write_new(&mut out, "new, and it stays so:", &self.settled, new, style);
        out
    }

    fn headings(verified: &Verified<'_>) -> BTreeSet<String> {
        let report = verified.report;
        report.wrong.iter().chain(&report.unproven).map(|f| verified.why(f)).collect()
    }

    /// As JSON.
    pub fn json(&self) -> WhatIfJson {
        WhatIfJson {
            supposed: self.supposed.clone(),
            before: self.before.json(),
            at_once: self.at_once.json(),
            changes: super::plan::commands(self.at_once.changes, self.at_once.names),
            settled: self.settled.json(),
            new_uplinks: self.new_uplinks(),
            lost_uplinks: self.lost_uplinks(),
            lost: self.lost.clone(),
        }
    }

    fn new_uplinks(&self) -> Vec<String> {
        difference(&self.settled, &self.before)
    }

    fn lost_uplinks(&self) -> Vec<String> {
        difference(&self.before, &self.settled)
    }
}

fn write_new(
    out: &mut String,
    what: &str,
    verified: &Verified<'_>,
    is_new: impl Fn(&String) -> bool,
    style: Style,
) {
    let report = verified.report;
    let mut groups = verified.groups(&report.wrong);
    groups.extend(verified.groups(&report.unproven));
    groups.retain(|(heading, _)| is_new(heading));
    if !groups.is_empty() {
        let _ = writeln!(out, "\n{}", style.warn(what));
        write_groups(out, &groups, style);
    }
}

fn difference(a: &Verified<'_>, b: &Verified<'_>) -> Vec<String> {
    let names = |v: &Verified<'_>| -> BTreeSet<String> {
        v.plan.uplinks.iter().map(|p| p.uplink.name.clone()).collect()
    };
    names(a).difference(&names(b)).cloned().collect()
}

fn painted(verified: &Verified<'_>, style: Style) -> String {
    let summary = verified.summary();
    match verified.verdict() {
        "wrong" => style.bad(&summary),
        "not-proven" => style.warn(&summary),
        _ => style.good(&summary),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_along_is_named() {
        let address = |last: u8| multihome_core::model::Address {
            link: 2,
            local: [10, 0, 0, last].into(),
            prefix_len: 24,
            peer: None,
            scope: 0,
            flags: 0,
        };
        let what = Supposition::DelAddress { link: "ens5".into(), address: [10, 0, 0, 1].into() };
        let gone = |n: u8| -> Vec<Consequence> {
            (2..2 + n).map(|last| Consequence::Gone(address(last))).collect()
        };
        let said = supposed(&what, &[], true);
        assert_eq!(said, "ens5 has lost 10.0.0.1");
        assert_eq!(
            supposed(&what, &gone(2), true),
            format!("{said}, and with it 10.0.0.2, 10.0.0.3")
        );
        assert!(supposed(&what, &gone(9), true).ends_with("10.0.0.4 and 6 more"));
        let promoted = [Consequence::Promoted(address(7))];
        assert_eq!(supposed(&what, &promoted, true), format!("{said}; 10.0.0.7 is primary now"));
    }
}
