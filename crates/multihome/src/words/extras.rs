//! What the plan makes beside the uplinks' own rules and tables: jumps over the rules of others, the
//! return path of published ports, raised sysctls, steering.

use std::fmt::Write as _;

use multihome_core::catch_all::{CatchAll, Takes};
use multihome_core::config::steer::dscp_name;
use multihome_core::config::{Config, Steer};
use multihome_core::model::names::ipproto;
use multihome_core::model::names::word;
use multihome_core::model::sysctl::display;
use multihome_core::model::{Names, Snapshot};
use multihome_core::plan::Planned;
use multihome_core::return_path::{Marks, Trouble};
use multihome_core::settings::{Reason, Setting};
use multihome_core::steer::By;
use multihome_core::{Family, Plan};
use serde::Serialize;

use super::{plural, wrap};
use crate::output::Style;

/// What a host has of it.
#[derive(Debug, Serialize)]
pub struct Extras {
    /// Whose replies are led home, where any are.
    pub return_path: Option<ReturnPathStatus>,
    /// Sysctls that multihome has raised.
    pub raised: Vec<RaisedStatus>,
    /// Steering, by entry and family.
    pub steered: Vec<SteerStatus>,
}

/// The return path.
#[derive(Debug, Serialize)]
pub struct ReturnPathStatus {
    /// The bits of the packet mark.
    pub mask: String,
    /// The families.
    pub families: Vec<String>,
    /// The uplinks, each with its mark.
    pub marks: Vec<(String, String)>,
}

/// One sysctl.
#[derive(Debug, Serialize)]
pub struct RaisedStatus {
    /// Its key, as sysctl(8) writes it.
    pub key: String,
    /// What it was.
    pub was: String,
    /// What it is now.
    pub is: String,
}

/// One entry of `[[steer]]` in one family.
#[derive(Debug, Serialize)]
pub struct SteerStatus {
    /// What is steered.
    pub what: String,
    /// Its family.
    pub family: String,
    /// Where it stands.
    pub origin: String,
    /// The uplink that it names.
    pub uplink: String,
    /// By what it goes now.
    pub by: By,
    /// Its rules, as `ip rule` shows them.
    pub rules: Vec<String>,
    /// Whether that uplink has no way out now.
    #[serde(skip)]
    is_stuck: bool,
}

// ===== impl Extras =====

impl Extras {
    /// Takes it together.
    pub fn new(snapshot: &Snapshot, config: &Config, plan: &Plan, names: &Names) -> Extras {
        let raised = plan.sysctls.iter().filter_map(|(path, is)| {
            let raised = snapshot.raised.get(path)?;
            Some(RaisedStatus { key: display(path), was: raised.was.clone(), is: is.clone() })
        });
        let steered = plan.steered.iter().map(|s| {
            let steer = &config.steers[s.entry];
            SteerStatus {
                what: what(steer, s.family),
                family: s.family.to_string(),
                origin: steer.origin.to_string(),
                uplink: steer.uplink.clone(),
                by: s.by.clone(),
                rules: s.rules.iter().map(|r| r.display(names)).collect(),
                is_stuck: s.is_stuck,
            }
        });
        Extras {
            return_path: return_path(plan),
            raised: raised.collect(),
            steered: steered.collect(),
        }
    }

    /// As lines of `status`.
    pub fn write(&self, out: &mut String, style: Style) {
        if let Some(path) = &self.return_path {
            let marks: Vec<String> =
                path.marks.iter().map(|(name, mark)| format!("{} {mark}", word(name))).collect();
            let text = format!(
                "{} replies leave by the uplink that was asked, told by mark ({}, mask {})",
                path.families.join(" and "),
                marks.join(", "),
                path.mask
            );
            out.push('\n');
            wrap(out, "published ports: ", "  ", &text);
        }
        if !self.steered.is_empty() {
            out.push_str("\nsteered:\n");
        }
        for steer in &self.steered {
            let is_chosen = matches!(&steer.by, By::Chosen(name) if *name == steer.uplink);
            let mut by = by(&steer.by);
            if steer.is_stuck {
                by.push_str(", which has no way out now");
            }
            let by = if is_chosen && !steer.is_stuck { by } else { style.warn(&by) };
            wrap(out, "  ", "    ", &format!("{} ({}): {by}", steer.what, steer.family));
        }
        if !self.raised.is_empty() {
            out.push_str("\nsysctls raised, put back by `multihome down`:\n");
        }
        for raised in &self.raised {
            let _ = writeln!(out, "  {} {} -> {}", raised.key, raised.was, raised.is);
        }
    }
}

fn return_path(plan: &Plan) -> Option<ReturnPathStatus> {
    let Marks { mask, tables, families } = &plan.marks;
    let mark = |p: &Planned| {
        let (mark, _) = tables.iter().find(|(_, table)| Some(**table) == p.table)?;
        Some((p.uplink.name.clone(), format!("{mark:#x}")))
    };
    let marks: Vec<(String, String)> = plan.uplinks.iter().filter_map(mark).collect();
    let families: Vec<String> = families.iter().map(ToString::to_string).collect();
    let is_there = !marks.is_empty() && !families.is_empty();
    is_there.then(|| ReturnPathStatus { mask: format!("{mask:#x}"), families, marks })
}

/// What an entry steers.
fn what(steer: &Steer, family: Family) -> String {
    let mut parts: Vec<String> = Vec::new();
    if let Some(name) = &steer.name {
        parts.push(format!("{name}:"));
    }
    if let Some(iif) = &steer.iif {
        parts.push(format!("from {}", word(iif)));
    }
    let to: Vec<String> = steer
        .prefixes(family)
        .iter()
        .filter(|p| !p.is_default())
        .map(ToString::to_string)
        .collect();
    if !to.is_empty() {
        parts.push(format!("to {}", to.join(", ")));
    }
    parts.extend(steer.protocol.map(|p| ipproto(p).into_owned()));
    let range = |what: &str, first: u32, last: u32| {
        if first == last { format!("{what} {first}") } else { format!("{what} {first}-{last}") }
    };
    parts.extend(steer.port.map(|(a, b)| range("port", a.into(), b.into())));
    parts.extend(steer.uid.map(|(a, b)| range("uid", a, b)));
    parts.extend(steer.fwmark.map(|(mark, mask)| match mask {
        u32::MAX => format!("fwmark {mark:#x}"),
        mask => format!("fwmark {mark:#x}/{mask:#x}"),
    }));
    parts.extend(steer.dscp.map(|d| format!("dscp {}", dscp_name(d))));
    parts.join(" ")
}

/// By what steered traffic goes.
pub fn by(by: &By) -> String {
    match by {
        By::Chosen(name) => format!("by {}", word(name)),
        By::Instead(name) => format!("by {} instead", word(name)),
        By::Refused => "refused".into(),
        By::Main => "as main sends it".into(),
    }
}

/// What becomes of steered traffic, in a sentence.
pub fn goes(by: &By) -> String {
    match by {
        By::Chosen(name) => format!("leaves by {}", word(name)),
        By::Instead(name) => format!("leaves by {} instead", word(name)),
        By::Refused => "is refused".into(),
        By::Main => "goes as main sends it".into(),
    }
}

/// A rule of somebody else's, and what it would do with answers.
pub fn catch_all(catch_all: &CatchAll, names: &Names) -> String {
    let rule = catch_all.rule.display(names);
    match &catch_all.takes {
        Takes::Everything(route) => {
            format!("rule {rule} (it ends with {})", route.display(names))
        }
        Takes::Subnets => {
            format!("rule {rule} (it sends to another card's subnet by that card)")
        }
        Takes::Refused => format!("rule {rule} (it refuses)"),
        Takes::Nothing => format!("rule {rule}"),
    }
}

/// Why published ports, or some of them, are not led home.
pub fn trouble(trouble: &Trouble) -> String {
    match trouble {
        Trouble::MarksTaken { mask, by } => format!(
            "replies of published ports are not led home: mark_mask {mask:#010x} and {} have bits \
             {:#x} in common",
            by.by,
            by.bits & mask
        ),
        Trouble::NoBitsFree { needed, used } => format!(
            "replies of published ports are not led home: no {} of the packet mark side by side \
             are free (in use: {used:#010x})",
            plural(*needed as usize, "bit")
        ),
        Trouble::TooFewBits { mask, uplinks } => format!(
            "mark_mask {mask:#010x} has no mark left for {}: replies of ports published there are \
             not led home",
            super::words(uplinks)
        ),
        Trouble::Unread(what) => format!(
            "who translates destinations and which mark bits are in use is not known for all: {what}"
        ),
        Trouble::NoRoom(family) => format!(
            "{family} replies of published ports are not led home: no priority is free in front of \
             the rules that would take them"
        ),
    }
}

/// What to do about it.
pub fn cure(trouble: &Trouble) -> String {
    match trouble {
        Trouble::MarksTaken { .. } => {
            "set another `mark_mask`, or take it out: then free bits are chosen".into()
        }
        Trouble::NoBitsFree { .. } => {
            "see who uses them with `nft list ruleset`, and set `mark_mask`".into()
        }
        Trouble::TooFewBits { .. } => "set a wider `mark_mask`, or take it out".into(),
        Trouble::NoRoom(_) => "give those rules larger priorities".into(),
        Trouble::Unread(_) => {
            "look there yourself, and set `mark_mask` to bits that are free".into()
        }
    }
}

/// A sysctl that is in the way, and what comes of it.
pub fn setting(setting: &Setting) -> String {
    format!("{}: {}", value(setting), without(setting.reason))
}

/// A sysctl that is in the way.
pub fn value(Setting { path, is, wanted, .. }: &Setting) -> String {
    format!("{} is {is} and should be {wanted}", display(path))
}

/// What happens while it is.
pub fn without(reason: Reason) -> &'static str {
    match reason {
        Reason::ReturnPath => {
            "a strict filter drops what comes in by that card for a container of this host"
        }
        Reason::SharedNetwork => "neighbours learn one card's address for the other's",
        Reason::IcmpErrors => {
            "ICMP errors about what is forwarded have another card's address as their source"
        }
    }
}
