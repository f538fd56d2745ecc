//! What is wrong with an answer, what cannot be told of it, and what configuration accepts: the
//! words that `verify`, `what-if` and `explain` share.

use std::borrow::Cow;
use std::fmt::Write as _;

use multihome_core::Family;
use multihome_core::lookup::{Flow, Refusal, Sanity};
use multihome_core::model::names::ipproto;
use multihome_core::model::{Names, Rule};
use multihome_core::verify::{Accepted, Fault};

use super::doubt::reason;

/// What is wrong, in one sentence; `index` is the link that has the address.
pub fn fault(fault: &Fault, index: u32, names: &Names) -> String {
    let owner = names.link(index);
    let link = |l: u32| names.link(l);
    let by_rule = |rule: &Option<Box<Rule>>| {
        rule.as_ref().map_or_else(String::new, |r| format!(" (rule {})", r.display(names)))
    };
    match fault {
        Fault::Door { by, right, local: true, rule } => {
            let right: Vec<Cow<'_, str>> = right.iter().map(|l| link(*l)).collect();
            format!(
                "what {owner} answers to the local network of {} leaves by {}{}",
                right.join(", "),
                link(*by),
                by_rule(rule)
            )
        }
        Fault::Door { by, rule, .. } => {
            format!("{owner} answers by {}{}", link(*by), by_rule(rule))
        }
        Fault::Kept => format!("{owner} answers itself: the host keeps what is for others"),
        Fault::NotKept { by } => {
            format!("what {owner} answers to the host itself leaves by {}", link(*by))
        }
        Fault::Refused { error, rule, route } => {
            let by = match (route, rule) {
                (Some(route), _) => format!(" by `{}`", route.display(names)),
                (None, Some(rule)) => format!(" by rule {}", rule.display(names)),
                (None, None) => String::new(),
            };
            format!("{owner} cannot answer, though it has a way: {}{by}", error.name())
        }
        Fault::ReversePath { route: Some(route) } => {
            let by: Vec<_> = route.hops.iter().map(|h| link(h.link)).collect();
            format!(
                "requests to {owner}'s address are dropped: rp_filter, for an answer would leave by {}",
                by.join(", ")
            )
        }
        Fault::ReversePath { route: None } => format!(
            "requests to {owner}'s address are dropped: rp_filter, for an answer would find no way"
        ),
        Fault::NotAccepted { error } => {
            format!("requests to {owner}'s address are dropped ({})", error.name())
        }
        Fault::Forwarded { by } => {
            format!("requests to {owner}'s address are sent on by {}", link(*by))
        }
        Fault::Published(fault) => format!("published ports: {}", self::fault(fault, index, names)),
        Fault::Unproven(why) => format!("not known: {}", reason(why, names)),
    }
}

/// What configuration asks for.
pub fn accepted(accepted: Accepted, names: &Names) -> String {
    match accepted {
        Accepted::Primary(link) => format!("`primary` leaves {} to main", names.link(link)),
        Accepted::Fallthrough(link) => {
            format!(
                "`on_down` lets {} use another uplink while it has no way out",
                names.link(link)
            )
        }
    }
}

/// That the rule is gone by which the host's own addresses are its own, and the cure.
pub fn without_local(family: Family) -> (String, String) {
    (
        format!("no {family} rule looks up local: the host does not know its own addresses"),
        format!("ip {} rule add pref 0 lookup local", family.flag()),
    )
}

/// The command that explains a flow.
pub fn explain(flow: &Flow, names: &Names) -> String {
    let mut out = "multihome explain".to_owned();
    // Writing to a String cannot fail.
    if let Some(from) = flow.from {
        let _ = write!(out, " {from}");
    }
    let _ = write!(out, " {}", flow.to);
    for (option, link) in [("--iif", flow.iif), ("--oif", flow.oif)] {
        if let Some(link) = link {
            let _ = write!(out, " {option} {}", names.link(link));
        }
    }
    if flow.proto != 0 {
        let _ = write!(out, " --proto {}", ipproto(flow.proto));
    }
    for (option, value) in [
        ("--sport", u32::from(flow.sport)),
        ("--dport", u32::from(flow.dport)),
        ("--uid", flow.uid),
        ("--tos", u32::from(flow.tos)),
        ("--mark", flow.mark),
    ] {
        if value != 0 {
            let _ = write!(out, " {option} {value}");
        }
    }
    out
}

/// An error with the words that a program shows for it.
pub fn refusal(error: Refusal) -> &'static str {
    match error {
        Refusal::NetworkUnreachable => "ENETUNREACH (Network is unreachable)",
        Refusal::HostUnreachable => "EHOSTUNREACH (No route to host)",
        Refusal::Prohibited => "EACCES (Permission denied)",
        Refusal::Invalid => "EINVAL (dropped, or Invalid argument)",
        Refusal::NoDevice => "ENODEV (No such device)",
        Refusal::CrossDevice => "EXDEV (dropped)",
    }
}

/// What no rule found.
pub const NO_ROUTE: &str = "no rule leads to a route";

/// Why a packet is refused whatever the routes say.
pub fn sanity(why: Sanity<'_>, names: &Names) -> String {
    match why {
        Sanity::SourceNotOurs => "the source is no address of this host".to_owned(),
        Sanity::SourceImpossible => "nothing has such a source".to_owned(),
        Sanity::DestinationImpossible => "nothing goes to such a destination".to_owned(),
        Sanity::NoLink => "there is no such link".to_owned(),
        Sanity::LinkUnusable => "the link is down".to_owned(),
        Sanity::NotForwarding => {
            "it is not for this host, which does not forward what comes in there".to_owned()
        }
        Sanity::SourceIsOurs => "the source is this host's own, or nobody's".to_owned(),
        Sanity::ReversePath(None) => "rp_filter: no answer would find a way".to_owned(),
        Sanity::ReversePath(Some(route)) => {
            format!("rp_filter: an answer would leave by {}", route.display(names))
        }
    }
}
