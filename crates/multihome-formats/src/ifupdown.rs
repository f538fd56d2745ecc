//! Routes and rules in Debian's `interfaces` (interfaces(5), ifupdown 0.8).
//!
//! ifupdown knows no tables: what it is told are commands, run by `/bin/sh` when a stanza comes up
//! (`post-up`) and before it goes down (`pre-down`). A command that fails makes `ifup` fail, so each
//! may be run twice; what the kernel does not take along with the link (rules, routes that refuse,
//! the link's group) is removed by hand.

mod read;
mod stanza;

use std::collections::{BTreeMap, BTreeSet};

use multihome_core::model::{Names, netfilter};
use multihome_core::policy::{Part, Policy, Purpose, Word};
use multihome_core::prefix::Family;

use crate::ip_command;
use crate::ip_words::{route_words, rule_words, word};
use crate::{Export, File, Place, Tree};
use crate::{bracket, ip_files, rt_tables};

pub(crate) use read::import;
use stanza::Stanza;

/// The file that `ifup` reads.
const INTERFACES: &str = "/etc/network/interfaces";
/// What that file includes in every installation.
const DIRECTORY: &str = "/etc/network/interfaces.d";
/// How our own files there begin.
const OWN: &str = "/etc/network/interfaces.d/multihome-";
/// Behind what a stanza says.
const INDENT: &str = "    ";
/// The metric of the first default beside another one, and so on.
const METRIC: u32 = 100;

pub(crate) fn words() -> BTreeSet<Word> {
    let more = [Word::SuppressIfgroup, Word::Commands];
    ip_files::IP.into_iter().chain(more).collect()
}

pub(crate) fn places() -> Vec<Place> {
    let main = Place { directory: "/etc/network", prefix: "interfaces", suffix: "interfaces" };
    let others = Place { directory: DIRECTORY, prefix: "", suffix: "" };
    [main, others].into_iter().chain(rt_tables::places()).collect()
}

pub(crate) fn export(policy: &Policy, names: &Names, there: &Tree) -> Export {
    let usable = rt_tables::usable(policy, names);
    let mut builder = Builder { policy, names: &usable, there, files: BTreeMap::new() };
    let mut export = Export::default();
    for (number, part) in policy.parts.iter().enumerate() {
        if !ip_files::is_plain(part, &usable) {
            let name = word(&part.name);
            export.next.push(format!("# {name} is left out: interfaces(5) knows no quotes"));
            continue;
        }
        builder.part(number, part);
        // An interface that is up already is left alone by `ifup`.
        export.next.push(format!("ifdown {0}; ifup {0}", part.name));
        export.undo.extend(ip_files::unmade(part, names));
    }
    if policy.return_path.is_some() {
        export.undo.push(format!("nft delete table inet {}", netfilter::TABLE));
    }
    for (path, text) in builder.files {
        let file = File { mode: 0o644, extends: !path.starts_with(OWN), path, text };
        export.undo.push(ip_files::taken_away(&file));
        export.files.push(file);
    }
    if let Some(file) = rt_tables::file(policy, &usable, there) {
        export.undo.push(format!("rm {}", file.path));
        export.files.push(file);
    }
    export
}

struct Builder<'a> {
    policy: &'a Policy,
    names: &'a Names,
    there: &'a Tree,
    /// What is written so far.
    files: BTreeMap<String, String>,
}

impl Builder<'_> {
    /// Writes what one uplink needs.
    fn part(&mut self, number: usize, part: &Part) {
        let mut is_first = true;
        let mut own = Vec::new();
        let is_known = Family::BOTH.iter().any(|f| self.find(&part.name, *f).is_some());
        for family in Family::BOTH {
            let has_routes = part.routes.iter().any(|e| e.what.family() == family);
            if !has_routes && !part.rules.iter().any(|e| e.what.family == family) {
                continue;
            }
            let found = self.find(&part.name, family);
            let lines = self.commands(part, family, found.as_ref().map(|(_, s)| s), is_first);
            match found {
                Some((path, _)) => self.extend(&path, &part.name, family, &lines),
                None if is_known => own.extend(without_addresses(part, family, &lines)),
                None => own.extend(stanzas(number, part, family, &lines)),
            }
            is_first = false;
        }
        if !own.is_empty() {
            if !is_known {
                own.insert(0, format!("auto {}", part.name));
            }
            self.add(part, own);
        }
    }

    /// A file's text as it is to be: without what was ours, and with what is by now.
    fn text(&self, path: &str) -> Option<String> {
        let written = self.files.get(path).cloned();
        written.or_else(|| self.there.get(path).map(|t| bracket::without(t)))
    }

    /// The first stanza of a name and a family, and its file: the administrator's, not ours.
    fn find(&self, name: &str, family: Family) -> Option<(String, Stanza)> {
        let paths = self.there.keys().filter(|p| !rt_tables::is_one(p) && !p.starts_with(OWN));
        paths.into_iter().find_map(|path| {
            // Without what was written for another part: that may hold a stanza of this name.
            let text = bracket::without(self.there.get(path)?);
            let found = stanza::of(&text).into_iter().find(|s| s.is(name, family));
            found.map(|stanza| (path.clone(), stanza))
        })
    }

    /// Puts lines at a stanza's end.
    fn extend(&mut self, path: &str, name: &str, family: Family, lines: &[String]) {
        let Some(text) = self.text(path) else { return };
        let Some(stanza) = stanza::of(&text).into_iter().find(|s| s.is(name, family)) else {
            return;
        };
        let mut out = String::with_capacity(text.len());
        for (number, line) in (1..).zip(text.split_inclusive('\n')) {
            out.push_str(line);
            if number == stanza.last {
                if !line.ends_with('\n') {
                    out.push('\n');
                }
                out.push_str(&bracket::around(lines, INDENT));
            }
        }
        self.files.insert(path.to_owned(), out);
    }

    /// Adds stanzas of our own: in a file of their own, if it is read.
    fn add(&mut self, part: &Part, lines: Vec<String>) {
        let main = self.text(INTERFACES);
        // `source-directory` reads no other names (interfaces(5)).
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
        let own = format!("{OWN}{}", part.name.chars().map(plain).collect::<String>());
        match main {
            Some(text) if !stanza::includes(&text, DIRECTORY) => {
                let (text, _) = if self.files.contains_key(INTERFACES) {
                    (text + &bracket::around(&lines, ""), true)
                } else {
                    bracket::appended(Some(&text), &lines)
                };
                self.files.insert(INTERFACES.to_owned(), text);
            }
            _ => drop(self.files.insert(own, lines.join("\n") + "\n")),
        }
    }

    /// The commands of one family, with what is said once for each uplink in the first.
    fn commands(
        &self,
        part: &Part,
        family: Family,
        stanza: Option<&Stanza>,
        is_first: bool,
    ) -> Vec<String> {
        let (policy, names, flag) = (self.policy, self.names, family.flag());
        let mut lines = vec![ip_files::written("routes and rules of the tables by uplink")];
        if is_first {
            lines.extend(ip_files::lost(policy, part, names));
            if let Some(group) = part.group {
                lines.push(ip_files::GROUP.to_owned());
                lines.push(format!("post-up ip link set dev {} group {group}", part.name));
                lines.push(format!("pre-down ip link set dev {} group 0 || true", part.name));
            }
        }
        let routes = part.routes.iter().filter(|e| e.what.family() == family);
        let routes = routes.filter(|e| {
            // What the stanza has by itself: its gateway, or a lease's.
            let is_gateways = stanza.is_none_or(|s| s.has_gateway(&e.what));
            let is_default_of_main = e.purpose == Purpose::Main && e.what.dst.is_default();
            !is_default_of_main || !(is_gateways || ip_files::is_leased(part, e))
        });
        lines.extend(ip_files::grouped(routes, |route| {
            let words = route_words(route, names);
            let mut lines = vec![format!("post-up ip {flag} route replace {words}")];
            if route.hops.is_empty() {
                lines.push(format!("pre-down ip {flag} route del {words} || true"));
            }
            lines
        }));
        let rules: Vec<_> = part.rules.iter().filter(|e| e.what.family == family).collect();
        if !rules.is_empty() {
            lines.push(
                "# A rule that is there is an error to `ip rule add`: it goes first.".to_owned(),
            );
        }
        lines.extend(ip_files::grouped(rules.iter().copied(), |rule| {
            let words = rule_words(rule, names);
            vec![
                format!("post-up ip {flag} rule del {words} 2>/dev/null || true"),
                format!("post-up ip {flag} rule add {words}"),
                format!("pre-down ip {flag} rule del {words} || true"),
            ]
        }));
        let is_marked = rules.iter().any(|e| e.purpose == Purpose::Mark);
        if let Some(table) = policy.return_path.as_ref().filter(|_| is_marked) {
            lines.push(format!("post-up {}", ip_command::nft(&table.script())));
        }
        lines
    }
}

/// A stanza for a family that somebody else configures: the router's advertisements, most likely.
fn without_addresses(part: &Part, family: Family, lines: &[String]) -> Vec<String> {
    let mut out = vec![format!("iface {} {} manual", part.name, inet(family))];
    out.extend(indented(lines));
    out
}

/// Whole stanzas for an interface that no file has: each address, the first with the gateway and
/// the commands.
fn stanzas(number: usize, part: &Part, family: Family, lines: &[String]) -> Vec<String> {
    let (name, inet) = (&part.name, inet(family));
    let mut out = Vec::new();
    let addresses: Vec<_> = part.addresses.iter().filter(|a| a.family() == family).collect();
    if part.leased.contains(&family) {
        // An address from DHCPv6 is alone in its prefix; one from an advertisement is not.
        let is_dhcp = family == Family::V4 || addresses.iter().any(|a| a.prefix_len == 128);
        out.push(format!("iface {name} {inet} {}", if is_dhcp { "dhcp" } else { "auto" }));
        out.extend(indented(lines));
        return out;
    }
    let gateway = part.gateways.iter().find(|g| Family::of(**g) == family);
    for (first, address) in [true].into_iter().chain(std::iter::repeat(false)).zip(&addresses) {
        out.push(format!("iface {name} {inet} static"));
        out.push(format!("{INDENT}address {}/{}", address.local, address.prefix_len));
        if let Some(peer) = address.peer {
            out.push(format!("{INDENT}pointopoint {peer}"));
        }
        if let Some(gateway) = gateway.filter(|_| first) {
            out.push(format!("{INDENT}gateway {gateway}"));
            let metric =
                part.metrics.get(gateway).copied().or_else(|| metric(number, part, family));
            if let Some(metric) = metric {
                // A second default of the same metric is refused.
                out.push(format!("{INDENT}metric {metric}"));
            }
        }
        if first {
            out.extend(indented(lines));
        }
    }
    if addresses.is_empty() {
        return without_addresses(part, family, lines);
    }
    out
}

/// The metric of a default of main: what it has, or one that no other uplink gets.
fn metric(number: usize, part: &Part, family: Family) -> Option<u32> {
    let mut of_main = part.routes.iter().filter(|e| {
        e.purpose == Purpose::Main && e.what.dst.is_default() && e.what.family() == family
    });
    let least = if family == Family::V6 { 1024 } else { 0 };
    let by_number = u32::try_from(number).ok().map(|n| least + METRIC + n).filter(|_| number > 0);
    of_main.next().map(|e| e.what.metric).filter(|m| *m > 0).or(by_number)
}

fn indented(lines: &[String]) -> impl Iterator<Item = String> {
    lines.iter().map(|line| format!("{INDENT}{line}"))
}

fn inet(family: Family) -> &'static str {
    match family {
        Family::V4 => "inet",
        Family::V6 => "inet6",
    }
}

#[cfg(test)]
mod tests;
