//! What the files of those have in common who write what `ip` reads: its words, and commands that
//! take everything away again.

use multihome_core::model::{Names, Route, names};
use multihome_core::policy::{Entry, Part, Policy, Purpose, Word};

use crate::ip_words::{route_words, rule_words};
use crate::{File, bracket, comments};

/// What `ip` itself can say, Debian 12's (6.1) and later: not the DSCP of a rule (6.12), and not what
/// this program knows of rules by number only.
pub(crate) const IP: [Word; 24] = [
    Word::Iif,
    Word::Oif,
    Word::Not,
    Word::Fwmark,
    Word::Tos,
    Word::Ipproto,
    Word::Ports,
    Word::Uidrange,
    Word::Goto,
    Word::RefusingRule,
    Word::SuppressPrefixlength,
    Word::RefusingRoute,
    Word::OtherKind,
    Word::Prefsrc,
    Word::Scope,
    Word::RouteTos,
    Word::Mtu,
    Word::PathMetrics,
    Word::Onlink,
    Word::Multipath,
    Word::OtherFamily,
    Word::Preference,
    Word::SourceSpecific,
    Word::MainRoutes,
];

/// Why a link is put into a group.
pub(crate) const GROUP: &str = "# Uplinks are in one link group: what leaves by it is not local.";

/// The first line of a file.
pub(crate) fn written(what: &str) -> String {
    format!("# Written by `multihome export`: {what}.")
}

/// Lines for entries, in their order, a comment above those of one purpose.
pub(crate) fn grouped<'a, T: 'a>(
    entries: impl IntoIterator<Item = &'a Entry<T>>,
    lines: impl Fn(&T) -> Vec<String>,
) -> Vec<String> {
    let mut out = Vec::new();
    let mut last = None;
    for entry in entries {
        if last.replace(entry.purpose) != Some(entry.purpose) {
            out.push(comments::purpose(entry.purpose));
        }
        out.extend(lines(&entry.what));
    }
    out
}

/// Whether a route of main is the lease's own, which brings it again, or another one in its place.
pub(crate) fn is_leased(part: &Part, entry: &Entry<Route>) -> bool {
    entry.purpose == Purpose::Main
        && entry.what.dst.is_default()
        && part.leased.contains(&entry.what.family())
}

/// What is lost for an uplink, as comments.
pub(crate) fn lost(policy: &Policy, part: &Part, names: &Names) -> Vec<String> {
    comments::gaps(policy, names, Some(&part.name)).lines().map(str::to_owned).collect()
}

/// Whether an uplink can be spoken of without quotes: its own name, and those in its routes and rules.
pub(crate) fn is_plain(part: &Part, names: &Names) -> bool {
    let is_plain = |words: String| !words.contains(['\'', '"', '\\']);
    is_plain(names::word(&part.name).into_owned())
        && part.routes.iter().all(|e| is_plain(route_words(&e.what, names)))
        && part.rules.iter().all(|e| is_plain(rule_words(&e.what, names)))
}

/// The commands that take an uplink's rules and routes away, the rules first: nothing is looked up
/// in a table that is half gone. Main's routes stay, for somebody made them before us.
pub(crate) fn unmade(part: &Part, names: &Names) -> Vec<String> {
    let rules = part
        .rules
        .iter()
        .map(|e| format!("ip {} rule del {}", e.what.family.flag(), rule_words(&e.what, names)));
    let ours = part.routes.iter().rev().filter(|e| e.purpose != Purpose::Main);
    let routes = ours.map(|e| {
        format!("ip {} route del {}", e.what.family().flag(), route_words(&e.what, names))
    });
    let group = part.group.map(|_| format!("ip link set dev {} group 0", names.link(part.link)));
    rules.chain(routes).chain(group).collect()
}

/// The command that takes a file away, or what is ours in it.
pub(crate) fn taken_away(file: &File) -> String {
    let is_plain = file.path.split('/').all(|n| n.is_empty() || names::word(n) == n);
    let path = if is_plain { file.path.clone() } else { names::word(&file.path).into_owned() };
    if file.extends { bracket::removal(&path) } else { format!("rm {path}") }
}
