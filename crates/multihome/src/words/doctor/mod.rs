//! `multihome doctor`: what was found, the worst first; for each what was seen, what comes of it
//! and what to do.

mod facts;
mod sysctls;

use std::fmt::Write as _;

use multihome_core::Snapshot;
use multihome_core::doctor::{Diagnosis, Lack, Severity};
use serde::Serialize;

use super::{escaped, plural, wrap};
use crate::output::Style;

/// What the doctor says.
#[derive(Debug, Serialize)]
pub struct Report {
    /// How much the worst of it matters; none when nothing was found.
    pub worst: Option<Severity>,
    /// In one line.
    pub summary: String,
    /// What was found, the worst first.
    pub findings: Vec<Found>,
    /// The checks that had all that they need.
    pub looked_at: Vec<&'static str>,
    /// The checks that had not.
    pub unknown: Vec<Unknown>,
}

/// Something that was found.
#[derive(Debug, Serialize)]
pub struct Found {
    /// What it is called; this stays.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// Whom it is about: links, mostly.
    pub subject: String,
    /// What was seen.
    pub evidence: String,
    /// What comes of it.
    pub consequence: String,
    /// What to do.
    pub remedy: String,
    /// And the lines for it: commands, or what to write into a file.
    pub commands: Vec<String>,
}

/// A check that had no answer.
#[derive(Debug, Serialize)]
pub struct Unknown {
    /// Its name.
    pub id: &'static str,
    /// What it lacked.
    pub lacks: &'static str,
}

// ===== impl Report =====

impl Report {
    /// What there is to say of a host.
    pub fn new(diagnosis: &Diagnosis, snapshot: &Snapshot) -> Report {
        let names = snapshot.names();
        Report {
            worst: diagnosis.worst(),
            summary: summary(diagnosis),
            findings: diagnosis.findings.iter().map(|f| facts::found(f, &names)).collect(),
            looked_at: diagnosis.looked_at.clone(),
            unknown: diagnosis
                .unknown
                .iter()
                .map(|&(id, lack)| Unknown { id, lacks: lacking(lack) })
                .collect(),
        }
    }

    /// As text for a terminal.
    pub fn text(&self, style: Style) -> String {
        let headline = match self.worst {
            Some(Severity::Error) => style.bad(&self.summary),
            Some(Severity::Warning) => style.warn(&self.summary),
            Some(Severity::Note) | None => style.good(&self.summary),
        };
        let mut out = format!("{}\n", style.bold(&headline));
        for found in &self.findings {
            out.push('\n');
            found.write(&mut out, style);
        }
        if !self.unknown.is_empty() {
            out.push('\n');
            write_unknown(&mut out, &self.unknown);
        }
        out
    }
}

fn summary(diagnosis: &Diagnosis) -> String {
    let count = |severity, word| {
        let count = diagnosis.count(severity);
        (count > 0).then(|| plural(count, word))
    };
    let (errors, warnings) = (count(Severity::Error, "error"), count(Severity::Warning, "warning"));
    let healthy = errors.is_none() && warnings.is_none();
    let counted: Vec<String> = healthy
        .then(|| "nothing wrong".to_owned())
        .into_iter()
        .chain(errors)
        .chain(warnings)
        .chain(count(Severity::Note, "note"))
        .collect();
    let mut text =
        format!("{}: {} looked at", counted.join(", "), plural(diagnosis.looked_at.len(), "thing"));
    if !diagnosis.unknown.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(text, ", {} not known", diagnosis.unknown.len());
    }
    text
}

/// By what they lacked, so that one line says it for all.
fn write_unknown(out: &mut String, unknown: &[Unknown]) {
    let mut kinds: Vec<&str> = Vec::new();
    for of in unknown {
        if !kinds.contains(&of.lacks) {
            kinds.push(of.lacks);
        }
    }
    for lacks in kinds {
        let ids = unknown.iter().filter(|u| u.lacks == lacks).map(|u| u.id);
        let ids: Vec<&str> = ids.collect();
        wrap(out, "", "  ", &format!("not known, without {lacks}: {}", ids.join(", ")));
    }
}

fn lacking(lack: Lack) -> &'static str {
    match lack {
        Lack::Sysctls => "the sysctls",
        Lack::Neighbours => "the neighbours",
        Lack::Release => "the kernel's version",
        Lack::Sockets => "the UDP sockets",
        Lack::Networkd => "the configuration of systemd-networkd",
    }
}

// ===== impl Found =====

impl Found {
    fn write(&self, out: &mut String, style: Style) {
        let severity = match self.severity {
            Severity::Error => style.bad("error:"),
            Severity::Warning => style.warn("warning:"),
            Severity::Note => style.dim("note:"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{severity} {}: {}", style.bold(self.id), shown(&self.subject));
        wrap(out, "  ", "  ", &shown(&self.evidence));
        wrap(out, "  ", "  ", &format!("So: {}", shown(&self.consequence)));
        let colon = if self.commands.is_empty() { "" } else { ":" };
        wrap(out, "  ", "  ", &format!("Cure: {}{colon}", shown(&self.remedy)));
        // Lines to be pasted are never broken.
        for command in &self.commands {
            let _ = writeln!(out, "    {}", shown(command));
        }
    }
}

/// Links can be named as they like: no terminal obeys them, and no line ends in them.
fn shown(text: &str) -> String {
    escaped(text).replace('\n', "\\n")
}
