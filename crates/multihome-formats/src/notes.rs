//! What files say to whoever reads them: what a group of lines is for, and what is lost.

use multihome_core::model::Names;
use multihome_core::policy::{Entry, Gap, Part, Policy, Purpose, Word};

use crate::{gap, purpose};

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

/// The first line of a file.
pub(crate) fn written(what: &str) -> String {
    format!("# Written by `multihome export`: {what}.")
}

/// A comment that says what the entries below it are for.
pub(crate) fn comment(purpose: Purpose) -> String {
    let words = purpose::words(purpose);
    let mut chars = words.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    format!("# {}{}.", first.map(String::from).unwrap_or_default(), chars.as_str())
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
            out.push(comment(entry.purpose));
        }
        out.extend(lines(&entry.what));
    }
    out
}

/// What is lost for an uplink, as comments.
pub(crate) fn lost(policy: &Policy, part: &Part, names: &Names) -> Vec<String> {
    let here = policy.gaps.iter().filter(|g| uplink(g).is_none_or(|name| name == part.name));
    here.map(|g| format!("# {}", one_line(&gap::consequence(g, names)))).collect()
}

/// Which uplink a gap is about; none: all.
fn uplink(gap: &Gap) -> Option<&str> {
    match gap {
        Gap::LaterNetworks { .. } | Gap::PublishedPorts => None,
        Gap::RuleLeftOut { uplink, .. } => uplink.as_deref(),
        Gap::RouteLeftOut { uplink, .. }
        | Gap::RouteShortened { uplink, .. }
        | Gap::Addresses { uplink, .. }
        | Gap::Leased { uplink, .. }
        | Gap::Frozen { uplink, .. } => Some(uplink),
    }
}

/// A comment ends with its line, whatever a name in it holds.
pub(crate) fn one_line(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    // A backslash at the end would go on with the next line.
    text.chars().map(shown).collect::<String>().trim_end_matches('\\').to_owned()
}
