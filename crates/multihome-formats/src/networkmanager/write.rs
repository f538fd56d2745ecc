//! What is written.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use multihome_core::model::{Names, Rule, names};
use multihome_core::policy::{Part, Policy};
use multihome_core::prefix::Family;

use super::lines;
use super::profiles::{self, DIRECTORIES, Profile};
use crate::bracket::{BEGIN, END};
use crate::card::Card;
use crate::comments;
use crate::{Export, File, Tree};

/// `RT_TABLE_MAIN`.
const MAIN: u32 = 254;

pub(super) fn export(policy: &Policy, names: &Names, there: &Tree) -> Export {
    // Of profiles that cannot be read none is touched.
    let profiles = profiles::all(there).unwrap_or_default();
    let mut export = Export::default();
    for part in &policy.parts {
        if !comments::is_sayable(part) {
            export.next.push(comments::refusal(part).trim_end().to_owned());
            continue;
        }
        let card = Card::of(part);
        let gaps = comments::gaps(policy, names, Some(&part.name));
        let own = format!("{}/multihome-{}.nmconnection", DIRECTORIES[0], part.name);
        let profile = profiles::active(there, &profiles, card);
        match profile.filter(|p| p.path != own && can_stay(p)) {
            Some(profile) => extended(&mut export, part, profile, &gaps),
            None => whole(&mut export, part, &own, &gaps),
        }
    }
    export.files.sort_by(|a, b| a.path.cmp(&b.path));
    export
}

/// What stands in `/run` is somebody's who writes it anew.
fn can_stay(profile: &Profile<'_>) -> bool {
    !profile.path.starts_with(DIRECTORIES[1])
}

/// A profile with ours in it.
fn extended(export: &mut Export, part: &Part, profile: &Profile<'_>, gaps: &str) {
    let name = profile.path.rsplit('/').next().unwrap_or_default();
    let path = format!("{}/{name}", DIRECTORIES[0]);
    let mut text = profile.text.to_owned();
    for (family, section) in SECTIONS {
        text = with_ours(&text, part, family, section, gaps);
    }
    let device = &part.name;
    export.next.push(format!("nmcli connection load {}", names::word(&path)));
    export.next.push(format!("nmcli device reapply {device}"));
    match profile.id() {
        // A profile of a package stays below ours.
        _ if path != profile.path => {
            export.undo.extend([format!("rm {path}"), "nmcli connection reload".to_owned()]);
        }
        Some((word, id)) => {
            let id = multihome_core::model::names::word(id);
            let taken = taken_out(part);
            if !taken.is_empty() {
                export.undo.push(format!("nmcli connection modify {word} {id}{taken}"));
            }
        }
        None => {}
    }
    export.undo.push(format!("nmcli device reapply {device}"));
    export.files.push(File { path, mode: 0o600, text, extends: true });
}

/// A profile of ours, for a link that has none in a file that can be extended.
fn whole(export: &mut Export, part: &Part, path: &str, gaps: &str) {
    let name = &part.name;
    let mut text = comments::HEAD.to_owned();
    // NetworkManager makes a uuid of the path, so it is the same each time.
    let _ = write!(
        text,
        "\n[connection]\nid=multihome-{name}\ntype=ethernet\ninterface-name={name}\n\
         autoconnect-priority=100\n"
    );
    for (family, section) in SECTIONS {
        let _ = write!(text, "\n[{section}]\n{}", addresses(part, family));
    }
    for (family, section) in SECTIONS {
        text = with_ours(&text, part, family, section, gaps);
    }
    export.next.push(format!("nmcli connection load {}", names::word(path)));
    export.next.push(format!("nmcli connection up multihome-{name} ifname {name}"));
    export.undo.extend([format!("rm {path}"), "nmcli connection reload".to_owned()]);
    export.undo.push(format!("nmcli device connect {name}"));
    export.files.push(File { path: path.to_owned(), mode: 0o600, text, extends: false });
}

/// The sections that have routes and rules.
pub(super) const SECTIONS: [(Family, &str); 2] = [(Family::V4, "ipv4"), (Family::V6, "ipv6")];

/// The addresses of a family, as they are now.
fn addresses(part: &Part, family: Family) -> String {
    let of_family = |address: &IpAddr| Family::of(*address) == family;
    let mut text = String::new();
    let mut held = part.addresses.iter().filter(|a| of_family(&a.local)).peekable();
    if held.peek().is_none() && family == Family::V4 {
        return "method=disabled\n".to_owned();
    }
    if held.peek().is_none() || part.leased.contains(&family) {
        return "method=auto\n".to_owned();
    }
    text += "method=manual\n";
    for (number, address) in (1..).zip(held) {
        let _ = writeln!(text, "address{number}={}/{}", address.local, address.prefix_len);
    }
    if let Some(gateway) = part.gateways.iter().find(|g| of_family(g)) {
        let _ = writeln!(text, "gateway={gateway}");
        if let Some(metric) = part.metrics.get(gateway) {
            let _ = writeln!(text, "route-metric={metric}");
        }
    }
    text
}

// ===== ours among others =====

/// A profile with the routes and rules of a family in its section.
fn with_ours(text: &str, part: &Part, family: Family, section: &str, gaps: &str) -> String {
    let mut kept = without_ours(text, part, family, section);
    let ours = |kept: &[&str]| bracketed(part, family, kept, gaps);
    let head = format!("[{section}]");
    let Some(begin) = kept.iter().position(|line| line.trim() == head) else {
        let ours = ours(&[]);
        let mut text = joined(&kept);
        if !ours.is_empty() {
            let _ = write!(text, "\n{head}\nmethod=auto\n{ours}");
        }
        return text;
    };
    let end = kept.iter().skip(begin + 1).position(|line| line.trim_start().starts_with('['));
    let end = end.map_or(kept.len(), |end| begin + 1 + end);
    let last = kept[..end].iter().rposition(|line| !line.trim().is_empty()).unwrap_or(begin);
    let ours = ours(&kept[begin..end]);
    let behind = kept.split_off(last + 1);
    let mut text = joined(&kept);
    text += &ours;
    text + &joined(&behind)
}

fn joined(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The lines of a file but those of an export before.
fn without_ours<'a>(text: &'a str, part: &Part, family: Family, section: &str) -> Vec<&'a str> {
    let tables: BTreeSet<u32> =
        part.routes.iter().map(|r| r.what.table).filter(|t| *t != MAIN).collect();
    let ours = part.rules.iter().map(|r| &r.what).filter(|r| r.family == family);
    let priorities: BTreeSet<u32> = ours.map(|r| r.priority).collect();
    let is_ours = |rule: &Rule| {
        rule.table().is_some_and(|t| tables.contains(&t)) || priorities.contains(&rule.priority)
    };
    // Routes are known by their options, which stand in another line.
    let mut gone: BTreeSet<&str> = BTreeSet::new();
    let mut here = "";
    for line in text.lines() {
        here = section_of(line).unwrap_or(here);
        let Some((key, value)) = line.split_once('=').filter(|_| here == section) else { continue };
        let key = key.trim();
        if let Some(number) = key.strip_prefix("route").and_then(|k| k.strip_suffix("_options")) {
            let mut options = value.split(',').filter_map(|o| o.trim().strip_prefix("table="));
            if options.any(|t| t.parse().is_ok_and(|t| tables.contains(&t))) {
                gone.insert(number);
            }
        }
    }
    let (mut here, mut between) = ("", false);
    let mut kept = Vec::new();
    for line in text.lines() {
        here = section_of(line).unwrap_or(here);
        if here == section {
            if line.trim() == BEGIN {
                between = true;
            }
            if between {
                between = line.trim() != END;
                continue;
            }
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            let number = key.trim().strip_prefix("route");
            let number = number.map(|n| n.strip_suffix("_options").unwrap_or(n));
            let is_rule = key.trim().starts_with("routing-rule");
            let rule = is_rule.then(|| lines::read_rule(family, value)).and_then(Result::ok);
            if number.is_some_and(|n| gone.contains(n)) || rule.as_ref().is_some_and(is_ours) {
                continue;
            }
        }
        kept.push(line);
    }
    kept
}

fn section_of(line: &str) -> Option<&str> {
    line.trim().strip_prefix('[')?.strip_suffix(']')
}

/// The lines of a family, numbered behind those that are there.
fn bracketed(part: &Part, family: Family, kept: &[&str], gaps: &str) -> String {
    let taken = |prefix: &str| -> BTreeSet<u32> {
        let keys = kept.iter().filter_map(|l| l.split_once('=')).map(|(key, _)| key.trim());
        keys.filter_map(|k| k.strip_prefix(prefix)?.parse().ok()).collect()
    };
    let mut text = String::new();
    let (routes, rules) = (taken("route"), taken("routing-rule"));
    let mut numbers = (1..).filter(|n| !rules.contains(n));
    let of_family: Vec<_> =
        part.rules.iter().filter(|r| r.what.family == family).cloned().collect();
    for (words, rules) in comments::groups(&of_family) {
        let _ = writeln!(text, "# {words}");
        for (rule, number) in rules.iter().zip(numbers.by_ref()) {
            let _ = writeln!(text, "routing-rule{number}={}", lines::rule(&rule.what));
        }
    }
    let mut numbers = (1..).filter(|n| !routes.contains(n));
    let of_family: Vec<_> =
        part.routes.iter().filter(|r| r.what.family() == family).cloned().collect();
    for (words, routes) in comments::groups(&of_family) {
        let _ = writeln!(text, "# {words}");
        for route in routes {
            let Some(number) = numbers.next() else { break };
            let (value, options) = lines::route(&route.what);
            let _ = write!(text, "route{number}={value}\nroute{number}_options={options}\n");
        }
    }
    if text.is_empty() { text } else { format!("{BEGIN}\n{gaps}{text}{END}\n") }
}

/// What `nmcli connection modify` is to take out of a profile again.
fn taken_out(part: &Part) -> String {
    let mut text = String::new();
    for (family, section) in SECTIONS {
        for rule in part.rules.iter().map(|r| &r.what).filter(|r| r.family == family) {
            let _ = write!(text, " -{section}.routing-rules '{}'", lines::rule(rule));
        }
        for route in part.routes.iter().map(|r| &r.what).filter(|r| r.family() == family) {
            let (value, options) = lines::route(route);
            let value = format!("{value},{options}").replace(',', " ");
            let _ = write!(text, " -{section}.routes '{value}'");
        }
    }
    text
}
