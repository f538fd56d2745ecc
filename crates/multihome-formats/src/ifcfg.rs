//! Routes and rules in initscripts' `route-IF` and `rule-IF`.
//!
//! Each line is what `ip route add` or `ip rule add` reads; `ifup-routes` hands it over word by word
//! (`handle_ip_file`), without a shell's quotes, and takes comments only as whole lines. One line
//! `ADDRESS0=` and the whole file is a shell script instead (`handle_file`), which knows no tables.
//!
//! The files cannot set a link's group, so what is local is named network by network.

use std::collections::BTreeSet;

use multihome_core::model::{Names, Route, Rule};
use multihome_core::policy::{Entry, Part, Policy, Purpose, Word};
use multihome_core::prefix::Family;

use crate::ip_words::{self, Context, route_words, rule_words};
use crate::sheet::Sheet;
use crate::{At, Export, File, Known, Place, Problem, Statement, Tree, What};
use crate::{bracket, ip_files, rt_tables};

const DIRECTORY: &str = "/etc/sysconfig/network-scripts";
/// How files are called that `ifup` passes over: editors' and packages' copies.
const COPIES: [&str; 6] = ["~", ".bak", ".orig", ".rpmnew", ".rpmorig", ".rpmsave"];

/// What stands in front of the lines that a manual would not have.
const DESIGN: &str = "# What follows is what multihome's design adds.";
const WHOLE_FILE: &str = "one ADDRESS0= makes the whole file a script of shell variables";

pub(crate) fn words() -> BTreeSet<Word> {
    // The kernel of RHEL 7 passes over what it does not know of a rule (3.10; ipproto and ports came
    // with 4.17, users with 4.10), and a rule for some traffic would be one for all.
    let later = [Word::Ipproto, Word::Ports, Word::Uidrange];
    ip_files::IP.into_iter().filter(|w| !later.contains(w)).collect()
}

pub(crate) fn places() -> Vec<Place> {
    let place = |prefix| Place { directory: DIRECTORY, prefix, suffix: "" };
    let ours = ["route-", "route6-", "rule-", "rule6-"].map(place);
    ours.into_iter().chain(rt_tables::places()).collect()
}

// ===== export =====

pub(crate) fn export(policy: &Policy, names: &Names, there: &Tree) -> Export {
    let quoted = names;
    let names = rt_tables::usable(policy, names);
    let mut export = Export::default();
    let mut removals = Vec::new();
    for part in &policy.parts {
        if !ip_files::is_plain(part, &names) {
            let name = ip_words::word(&part.name);
            export.next.push(format!("# {name} is left out: `ifup-routes` knows no quotes"));
            continue;
        }
        let mut has_file = false;
        for family in Family::BOTH {
            let mut sheet = PartOf { policy, part, family, names: &names, there };
            let Some(files) = sheet.files(!has_file) else { continue };
            for file in files {
                removals.push(ip_files::taken_away(&file));
                export.files.push(file);
            }
            has_file = true;
        }
        if has_file {
            export.next.push(format!("{DIRECTORY}/ifup-routes {}", part.name));
            export.undo.extend(ip_files::unmade(part, quoted));
        }
    }
    export.undo.extend(removals);
    if let Some(file) = rt_tables::file(policy, &names, there) {
        export.undo.push(format!("rm {}", file.path));
        export.files.push(file);
    }
    export
}

/// One family of an uplink.
struct PartOf<'a> {
    policy: &'a Policy,
    part: &'a Part,
    family: Family,
    names: &'a Names,
    there: &'a Tree,
}

impl PartOf<'_> {
    /// `route-IF` and `rule-IF`, those that have something to say.
    fn files(&mut self, is_first: bool) -> Option<Vec<File>> {
        let six = if self.family == Family::V6 { "6" } else { "" };
        let path = |kind: &str| format!("{DIRECTORY}/{kind}{six}-{}", self.part.name);
        let (routes, rules) = (path("route"), path("rule"));
        let (in_routes, in_rules) = (self.others(&routes), self.others(&rules));
        if let Some(text) = self.there.get(&routes).filter(|t| has_variables(t)) {
            return Some(vec![refused(routes.clone(), text)]);
        }
        let mut new_routes = self.part.routes.iter().filter(|e| e.what.family() == self.family);
        let mut new_rules = self.part.rules.iter().filter(|e| e.what.family == self.family);
        if new_routes.clone().next().is_none() && new_rules.clone().next().is_none() {
            return None;
        }
        let lost =
            if is_first { ip_files::lost(self.policy, self.part, self.names) } else { Vec::new() };
        let flag = self.family.flag();
        let new_routes: Vec<_> =
            new_routes.by_ref().filter(|e| !in_routes.0.contains(&e.what)).collect();
        let new_rules: Vec<_> =
            new_rules.by_ref().filter(|e| !in_rules.1.contains(&e.what)).collect();
        let mut files = Vec::new();
        if !new_routes.is_empty() {
            let mut lines =
                vec![ip_files::written(&format!("each line is what `ip {flag} route add` reads"))];
            lines.extend(lost.iter().cloned());
            lines.extend(self.lines(
                &new_routes,
                &[Purpose::Main, Purpose::Default],
                |r: &Route| route_words(r, self.names),
            ));
            files.push(self.file(routes, &lines));
        }
        if !new_rules.is_empty() {
            let mut lines = vec![
                ip_files::written(&format!("each line is what `ip {flag} rule add` reads")),
                "# Each has a priority: without one, the kernel would put it in front of the one before."
                    .to_owned(),
            ];
            if files.is_empty() {
                lines.extend(lost);
            }
            lines.extend(
                self.lines(&new_rules, &[Purpose::Home], |r: &Rule| rule_words(r, self.names)),
            );
            files.push(self.file(rules, &lines));
        }
        Some(files)
    }

    /// What a manual would have (the first of `purposes`), then what the design adds.
    fn lines<T>(
        &self,
        entries: &[&Entry<T>],
        purposes: &[Purpose],
        line: impl Fn(&T) -> String,
    ) -> Vec<String> {
        let (manual, design): (Vec<&Entry<T>>, Vec<&Entry<T>>) =
            entries.iter().partition(|e| purposes.contains(&e.purpose));
        let mut lines = ip_files::grouped(manual, |what| vec![line(what)]);
        if !design.is_empty() {
            lines.push(DESIGN.to_owned());
        }
        lines.extend(ip_files::grouped(design, |what| vec![line(what)]));
        lines
    }

    fn file(&self, path: String, lines: &[String]) -> File {
        let (text, extends) = bracket::appended(self.there.get(&path), lines);
        File { path, mode: 0o644, text, extends }
    }

    /// What the lines of others in a file make already.
    fn others(&self, path: &str) -> (BTreeSet<Route>, BTreeSet<Rule>) {
        let known = Known {
            links: self.names.links.iter().map(|(index, name)| (name.clone(), *index)).collect(),
            tables: self.names.tables.iter().map(|(id, name)| (name.clone(), *id)).collect(),
            ..Known::default()
        };
        let context =
            Context { known: &known, family: Some(self.family), dev: Some(&self.part.name) };
        let text = self.there.get(path).map(|t| bracket::without(t)).unwrap_or_default();
        let lines = || text.lines().filter(|l| !is_comment(l));
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let routes = lines().filter_map(|l| ip_words::route(&words(l), &context).ok()).collect();
        let rules = lines().filter_map(|l| ip_words::rule(&words(l), &context).ok());
        (routes, rules.filter(|r| r.has_priority).map(|r| r.rule).collect())
    }
}

/// A file in the other form keeps all it has, and says why there is no more.
fn refused(path: String, there: &str) -> File {
    let there = there.to_owned();
    let lines = [
        ip_files::written("nothing, for this file has lines such as ADDRESS0="),
        format!("# {}, and those know no tables.", WHOLE_FILE),
        "# Write them as `NETWORK/LENGTH via GATEWAY`, and export again.".to_owned(),
    ];
    let (text, extends) = bracket::appended(Some(&there), &lines);
    File { path, mode: 0o644, text, extends }
}

// ===== import =====

pub(crate) fn import(there: &Tree, known: &Known) -> Result<Vec<Statement>, Problem> {
    let (statements, known) = rt_tables::read(there, known)?;
    let mut sheet = Sheet::new(statements);
    for (path, text) in there.iter().filter(|(path, _)| !rt_tables::is_one(path)) {
        let name = path.rsplit('/').next().unwrap_or(path);
        if COPIES.iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        let fail = |line: usize, text: &str, why: String| Problem {
            at: At { path: path.clone(), line },
            text: text.to_owned(),
            why,
        };
        let (is_rule, family, dev) = match name.split_once('-') {
            Some(("route", dev)) => (false, Family::V4, dev),
            Some(("route6", dev)) => (false, Family::V6, dev),
            Some(("rule", dev)) => (true, Family::V4, dev),
            Some(("rule6", dev)) => (true, Family::V6, dev),
            _ => {
                let why = "initscripts reads routes and rules from route-IF and rule-IF".to_owned();
                return Err(fail(1, text.lines().next().unwrap_or(""), why));
            }
        };
        let context = Context { known: &known, family: Some(family), dev: Some(dev) };
        for (number, line) in (1..).zip(text.lines()) {
            if is_comment(line) {
                continue;
            }
            let at = At { path: path.clone(), line: number };
            let say = |sheet: &mut Sheet| -> Result<(), String> {
                let words = split(line)?;
                if is_rule {
                    let read = ip_words::rule(&words, &context)?;
                    return sheet.rule(&at, line, read);
                }
                sheet.say(&at, line, What::Route(ip_words::route(&words, &context)?))
            };
            say(&mut sheet).map_err(|why| fail(number, line, why))?;
        }
    }
    sheet.finish()
}

/// `read line`, then `$line`: blanks part words, and the shell has its way with the rest.
fn split(line: &str) -> Result<Vec<&str>, String> {
    if is_variable(line) {
        return Err(format!("{WHOLE_FILE}; that form is not read here"));
    }
    match line.chars().find(|c| matches!(c, '\\' | '*' | '?' | '[')) {
        Some(c) => Err(format!("`{c}` is the shell's, which reads these lines")),
        None => Ok(line.split_whitespace().collect()),
    }
}

/// `MATCH` of `ifup-routes`.
fn is_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

fn has_variables(text: &str) -> bool {
    text.lines().any(is_variable)
}

/// `^[[:space:]]*ADDRESS[0-9]+=`, by which `ifup-routes` tells the two forms apart; its companions
/// are told as well.
fn is_variable(line: &str) -> bool {
    let line = line.trim_start();
    ["ADDRESS", "NETMASK", "GATEWAY"].iter().any(|word| {
        let Some((number, _)) = line.strip_prefix(word).and_then(|l| l.split_once('=')) else {
            return false;
        };
        !number.is_empty() && number.chars().all(|c| c.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests;
