//! `multihome import`: what is kept, what is wrong with it, and the configuration for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use multihome_core::Plan;
use multihome_core::import::{Declared, Imported, Left};
use multihome_core::model::Names;
use multihome_core::verify::Report;
use multihome_formats::{Statement, What};
use serde::Serialize;

use super::plural;
use super::verify::{Verified, write_groups};
use super::wrap;
use crate::engine::Outcome;
use crate::output::Style;

/// Where it was found.
pub enum Source {
    /// In force on this host.
    Live,
    /// In files.
    Files(Vec<Statement>),
}

/// What was read, with what is needed to speak of it.
pub struct Reading<'a> {
    /// Where it was found.
    pub source: &'a Source,
    /// What is kept.
    pub declared: &'a Declared,
    /// The configuration for it.
    pub imported: &'a Imported,
    /// The same as TOML.
    pub config: &'a str,
    /// What becomes of answers by what is kept.
    pub now: &'a Report,
    /// What multihome would make of that host.
    pub now_plan: &'a Plan,
    /// What becomes of answers by the configuration, less what is wrong now.
    pub then: &'a Report,
    /// What multihome makes of the configuration.
    pub plan: &'a Plan,
    /// The names of links and tables.
    pub names: &'a Names,
}

/// The JSON of `import`.
#[derive(Debug, Serialize)]
pub struct ImportJson {
    /// Rules as `ip` prints them.
    pub rules: Vec<KeptJson>,
    /// Routes, likewise.
    pub routes: Vec<KeptJson>,
    /// What is wrong with it.
    pub faults: Vec<String>,
    /// What the configuration does not say.
    pub left: Vec<String>,
    /// Answers that are right now and would not be.
    pub worse: usize,
    /// The configuration.
    pub config: String,
}

/// A rule or route that is kept.
#[derive(Debug, Serialize)]
pub struct KeptJson {
    /// As `ip` prints it.
    pub what: String,
    /// The file, where it is in one.
    pub file: Option<String>,
    /// The line in it.
    pub line: Option<usize>,
}

impl Reading<'_> {
    /// All of it for a person.
    pub fn text(&self, style: Style, output: Option<&Path>) -> String {
        let mut out = String::new();
        let from = match self.source {
            Source::Live => "in force".to_owned(),
            Source::Files(statements) => format!("in {}", plural(files(statements).len(), "file")),
        };
        let rules = plural(self.declared.rules.len(), "rule");
        let routes = plural(self.declared.routes.len(), "route");
        let _ = writeln!(out, "{}", style.bold(&format!("{rules} and {routes} {from}")));
        for rule in &self.declared.rules {
            let _ = writeln!(out, "  {}", rule.display(self.names));
        }
        for route in &self.declared.routes {
            let _ = writeln!(out, "  {}", route.display(self.names));
        }
        if !self.declared.of_main.is_empty() {
            let routes = plural(self.declared.of_main.len(), "route");
            let _ = writeln!(out, "  and {routes} of main, which multihome leaves where they are");
        }
        out.push('\n');
        let stale = self.stale();
        if self.now.is_right() && stale == 0 {
            let _ = writeln!(out, "{}", style.good("every answer leaves by its door"));
        } else {
            let mut count = Vec::new();
            if !self.now.wrong.is_empty() {
                count.push(format!("{} not right", plural(self.now.wrong.len(), "answer")));
            }
            if !self.now.unproven.is_empty() {
                count.push(format!("{} not proven", self.now.unproven.len()));
            }
            if stale > 0 {
                count.push(plural(stale, "stale rule"));
            }
            let _ = writeln!(out, "{}", style.bad(&format!("faults: {}", count.join(", "))));
            let verified = self.verified();
            write_groups(&mut out, &verified.groups(&self.now.wrong), style);
            write_groups(&mut out, &verified.groups(&self.now.unproven), style);
        }
        for left in &self.imported.left {
            wrap(&mut out, "- ", "  ", &self.left(left));
        }
        out.push('\n');
        match output {
            Some(path) => {
                let _ = writeln!(out, "wrote {}", path.display());
            }
            None if self.config.is_empty() => {
                out.push_str("# multihome needs no configuration to do the same\n");
            }
            None => {
                let _ = writeln!(out, "{}", style.bold("# multihome does at least the same with"));
                out.push_str(self.config);
            }
        }
        if !self.then.wrong.is_empty() {
            let verified = Verified { report: self.then, plan: self.plan, ..self.verified() };
            let count = plural(self.then.wrong.len(), "answer");
            let _ = writeln!(
                out,
                "\n{}",
                style.bad(&format!("but {count} right now would not be then"))
            );
            write_groups(&mut out, &verified.groups(&self.then.wrong), style);
        }
        out
    }

    fn verified(&self) -> Verified<'_> {
        Verified {
            report: self.now,
            plan: self.now_plan,
            changes: &[],
            without_local: &[],
            names: self.names,
        }
    }

    /// How many rules are for addresses that nobody has.
    pub fn stale(&self) -> usize {
        self.imported.left.iter().filter(|l| matches!(l, Left::Stale(_))).count()
    }

    fn left(&self, left: &Left) -> String {
        match left {
            Left::Stale(rule) => format!(
                "stale: `{}`: this host has no such address{}",
                rule.display(self.names),
                self.place(&rule.display(self.names))
            ),
            Left::Rule(rule) => format!(
                "not in the configuration: `{}`: multihome makes no such rule; `[[steer]]` may say \
                 what it is for",
                rule.display(self.names)
            ),
            Left::Route(route) => format!(
                "not in the configuration: `{}`: put it into main, which multihome mirrors",
                route.display(self.names)
            ),
            Left::Table(table) => format!(
                "not in the configuration: table {} leads nowhere by an uplink of this host",
                self.names.table(*table)
            ),
        }
    }

    /// Where a rule stands, if it stands in a file.
    fn place(&self, rule: &str) -> String {
        let place = self.kept(rule);
        place.map_or_else(String::new, |s| format!(" ({}:{})", s.at.path, s.at.line))
    }

    fn kept(&self, shown: &str) -> Option<&Statement> {
        let Source::Files(statements) = self.source else { return None };
        statements.iter().find(|s| match &s.what {
            What::Rule(rule) => rule.display(self.names) == shown,
            What::Route(route) => route.display(self.names) == shown,
            _ => false,
        })
    }

    /// The configuration as a file, which says where it is from.
    pub fn file(&self) -> String {
        let from = match self.source {
            Source::Live => "the rules and routes in force".to_owned(),
            Source::Files(statements) => {
                files(statements).into_iter().collect::<Vec<_>>().join(", ")
            }
        };
        let head = format!("# Written by `multihome import` from {from}.\n");
        if self.config.is_empty() { head } else { format!("{head}\n{}", self.config) }
    }

    /// What was taken over, and what is still to be done by hand.
    pub fn adopted(
        &self,
        outcome: &Outcome,
        config: Option<&str>,
        files: &BTreeMap<String, Vec<usize>>,
    ) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "{} made", plural(outcome.changes.len(), "change"));
        if let Some(path) = config {
            let _ = writeln!(out, "wrote {path}");
        }
        if files.is_empty() {
            wrap(
                &mut out,
                "",
                "",
                "no file is known that makes them again at the next boot: look for `ip rule` in \
                 what this host runs then",
            );
        } else {
            out.push_str("these lines make them again at the next boot, and are to go:\n");
            for (path, lines) in files {
                let mut lines: Vec<usize> = lines.clone();
                lines.sort_unstable();
                lines.dedup();
                let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
                let word = if lines.len() == 1 { "line" } else { "lines" };
                wrap(&mut out, "  ", "    ", &format!("{path}, {word} {}", lines.join(", ")));
            }
        }
        out.push_str("to keep the host right from now on: systemctl enable --now multihome\n");
        out
    }

    /// As JSON.
    pub fn json(&self) -> ImportJson {
        let kept = |what: String| {
            let place = self.kept(&what).map(|s| s.at.clone());
            KeptJson {
                what,
                file: place.as_ref().map(|at| at.path.clone()),
                line: place.map(|at| at.line),
            }
        };
        let verified = self.verified();
        let groups = verified.groups(&self.now.wrong);
        ImportJson {
            rules: self.declared.rules.iter().map(|r| kept(r.display(self.names))).collect(),
            routes: self.declared.routes.iter().map(|r| kept(r.display(self.names))).collect(),
            faults: groups.into_iter().map(|(heading, _)| heading).collect(),
            left: self.imported.left.iter().map(|l| self.left(l)).collect(),
            worse: self.then.wrong.len(),
            config: self.config.to_owned(),
        }
    }
}

/// The files that statements stand in.
fn files(statements: &[Statement]) -> BTreeSet<&str> {
    statements.iter().map(|s| s.at.path.as_str()).collect()
}
