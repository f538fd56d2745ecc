//! Routes and rules in wicked's `ifroute-IF` and `ifrule-IF` (SUSE; ifroute(5), ifrule(5)).
//!
//! `__ni_suse_route_parse` (client/suse/compat-suse.c) wants four columns, destination, gateway, mask
//! and interface, with `-` for what is not said, and then `ip`'s words, fewer than `ip` has:
//!
//! * a `via` beside the columns only behind `nexthop`, which takes all that is left, so that `onlink`
//!   must be said there;
//! * `default` has no family without a gateway or a source: then it is `0.0.0.0/0`;
//! * `tos` in both is hexadecimal whether it looks so or not;
//! * a `fwmark` without a mask has the mark itself for its mask.
//!
//! A `#` ends a line anywhere, and a backslash goes on with the next one. There is no way to set a
//! link's group. The rule file is read since wicked 0.6.33.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use multihome_core::model::route::{RTAX_LOCK, RTAX_MTU, RTNH_F_ONLINK};
use multihome_core::model::{Action, Names, Route, RouteKind, Rule};
use multihome_core::policy::{Part, Policy, Word};
use multihome_core::prefix::Family;

use crate::{Export, File, Place, Tree};
use crate::{bracket, ip_files, ip_words, rt_tables};

const DIRECTORY: &str = "/etc/sysconfig/network";

pub(crate) fn words() -> BTreeSet<Word> {
    BTreeSet::from([
        Word::Iif,
        Word::Oif,
        Word::Not,
        Word::Fwmark,
        Word::Tos,
        Word::Goto,
        Word::RefusingRule,
        Word::SuppressPrefixlength,
        Word::RefusingRoute,
        Word::Prefsrc,
        Word::Scope,
        Word::RouteTos,
        Word::Mtu,
        Word::Onlink,
        Word::Multipath,
        Word::MainRoutes,
    ])
}

pub(crate) fn places() -> Vec<Place> {
    let place = |prefix| Place { directory: DIRECTORY, prefix, suffix: "" };
    ["ifroute-", "ifrule-"].map(place).into_iter().chain(rt_tables::places()).collect()
}

pub(crate) fn export(policy: &Policy, names: &Names, there: &Tree) -> Export {
    let quoted = names;
    let names = rt_tables::usable(policy, names);
    let mut export = Export::default();
    for part in &policy.parts {
        if !ip_files::is_plain(part, &names) {
            let name = ip_words::word(&part.name);
            export.next.push(format!("# {name} is left out: wicked knows no quotes"));
            continue;
        }
        let files = files(policy, part, &names, there);
        if files.is_empty() {
            continue;
        }
        export.next.push(format!("wicked ifreload {}", part.name));
        export.undo.extend(files.iter().map(ip_files::taken_away));
        export.undo.extend(ip_files::unmade(part, quoted));
        export.files.extend(files);
    }
    if let Some(file) = rt_tables::file(policy, &names, there) {
        export.undo.push(format!("rm {}", file.path));
        export.files.push(file);
    }
    export
}

fn files(policy: &Policy, part: &Part, names: &Names, there: &Tree) -> Vec<File> {
    let lost = ip_files::lost(policy, part, names);
    let kept = part.routes.iter().filter(|e| !ip_files::is_leased(part, e));
    let routes = ip_files::grouped(kept, |r| vec![route_line(r, part, names)]);
    let rules = ip_files::grouped(&part.rules, |r| vec![rule_line(r, names)]);
    let kinds = [
        ("ifroute", "destination, gateway, mask, interface, and what `ip route add` reads", routes),
        ("ifrule", "a family, and what `ip rule add` reads", rules),
    ];
    let mut files = Vec::new();
    for (kind, what, body) in kinds.into_iter().filter(|(.., body)| !body.is_empty()) {
        let mut lines = vec![ip_files::written(&format!("each line is {what}"))];
        if files.is_empty() {
            lines.extend(lost.iter().cloned());
        }
        lines.extend(body);
        let path = format!("{DIRECTORY}/{kind}-{}", part.name);
        let (text, extends) = bracket::appended(there.get(&path), &lines);
        files.push(File { path, mode: 0o644, text, extends });
    }
    files
}

/// A line of `ifroute-IF`.
fn route_line(route: &Route, part: &Part, names: &Names) -> String {
    let hop = match route.hops.as_slice() {
        [hop] if hop.flags & RTNH_F_ONLINK == 0 => Some(hop),
        _ => None,
    };
    let gateway = hop.and_then(|h| h.gateway);
    let destination = match route.dst {
        d if d.is_default() && (gateway.is_some() || !route.hops.is_empty()) => {
            "default".to_owned()
        }
        // A length must be said: `Display` leaves it out for a host.
        d => format!("{}/{}", d.address(), d.len()),
    };
    let gateway = gateway.map_or_else(|| "-".to_owned(), |g| g.to_string());
    let mut line = format!("{destination} {gateway} - {}", part.name);
    // Writing to a String cannot fail.
    if route.kind != RouteKind::Unicast {
        let _ = write!(line, " type {}", route.kind.word());
    }
    let _ = write!(line, " table {}", names.table(route.table));
    if let Some(src) = route.prefsrc {
        let _ = write!(line, " src {src}");
    }
    if route.scope != 0 {
        let _ = write!(line, " scope {}", multihome_core::model::names::scope(route.scope));
    }
    if route.metric != 0 {
        let _ = write!(line, " metric {}", route.metric);
    }
    if route.tos != 0 {
        let _ = write!(line, " tos {:x}", route.tos);
    }
    if let Some(mtu) = route.metrics.values.get(&RTAX_MTU) {
        let lock = route.metrics.values.get(&RTAX_LOCK).copied().unwrap_or(0);
        let lock = if lock & (1 << RTAX_MTU) == 0 { "" } else { "lock " };
        let _ = write!(line, " mtu {lock}{mtu}");
    }
    if hop.is_none() {
        for hop in &route.hops {
            line.push_str(" nexthop");
            if let Some(gateway) = hop.gateway {
                let _ = write!(line, " via {gateway}");
            }
            let _ = write!(line, " dev {}", names.link(hop.link));
            if route.hops.len() > 1 {
                let _ = write!(line, " weight {}", u16::from(hop.weight) + 1);
            }
            if hop.flags & RTNH_F_ONLINK != 0 {
                line.push_str(" onlink");
            }
        }
    }
    line
}

/// A line of `ifrule-IF`.
fn rule_line(rule: &Rule, names: &Names) -> String {
    let mut line = String::from(if rule.family == Family::V4 { "ipv4" } else { "ipv6" });
    // Writing to a String cannot fail.
    if rule.not {
        line.push_str(" not");
    }
    for (word, prefix) in [("from", rule.from), ("to", rule.to)] {
        if let Some(p) = prefix {
            let _ = write!(line, " {word} {}/{}", p.address(), p.len());
        }
    }
    if let Some((mark, mask)) = rule.fwmark {
        let _ = write!(line, " fwmark {mark:#x}/{mask:#x}");
    }
    if let Some(tos) = rule.tos {
        let _ = write!(line, " tos {tos:x}");
    }
    for (word, name) in [("iif", &rule.iif), ("oif", &rule.oif)] {
        if let Some(name) = name {
            let _ = write!(line, " {word} {name}");
        }
    }
    match rule.action {
        Action::Lookup(table) => drop(write!(line, " table {}", names.table(table))),
        Action::Goto(target) => drop(write!(line, " goto {target}")),
        Action::Nop => line.push_str(" nop"),
        Action::Unreachable => line.push_str(" unreachable"),
        Action::Prohibit => line.push_str(" prohibit"),
        Action::Blackhole | Action::Other(_) => line.push_str(" blackhole"),
    }
    if let Some(length) = rule.suppress_prefixlength {
        let _ = write!(line, " suppress_prefixlength {length}");
    }
    let _ = write!(line, " pref {}", rule.priority);
    line
}

#[cfg(test)]
mod tests;
