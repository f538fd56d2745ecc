//! Why something cannot be told.

use multihome_core::diagram::Doubtful;
use multihome_core::lookup::{Doubt, Strange, Unknown};
use multihome_core::model::{Names, Route, Rule};
use multihome_core::verify::Reason;

/// Of one look-up.
pub fn doubt(doubt: &Doubt<'_>, names: &Names) -> String {
    match doubt {
        Doubt::Rule(rule) => of_rule(rule, names),
        Doubt::Route(route, what) => of_route(route, *what, names),
        Doubt::Unknown(what) => unknown(*what).into(),
    }
}

/// Of an answer.
pub fn reason(reason: &Reason, names: &Names) -> String {
    match reason {
        Reason::Rule(rule) => of_rule(rule, names),
        Reason::Route(route, what) => of_route(route, *what, names),
        Reason::Unknown(what) => unknown(*what).into(),
        Reason::ManyKinds => {
            "rules tell more kinds of packets apart than are asked about".to_owned()
        }
    }
}

/// What a rule has that is not decoded.
pub const SELECTOR: &str = "it has a selector that is not known here";

/// In a figure.
pub fn doubtful(doubt: &Doubtful) -> String {
    match doubt {
        Doubtful::Rule(rule) => format!("{SELECTOR}: rule {rule}"),
        Doubtful::Route(route, what) => format!("{}: {route}", strange(*what)),
        Doubtful::Unknown(what) => unknown(*what).into(),
    }
}

fn of_rule(rule: &Rule, names: &Names) -> String {
    format!("{SELECTOR}: rule {}", rule.display(names))
}

fn of_route(route: &Route, what: Strange, names: &Names) -> String {
    format!("{}: {}", strange(what), route.display(names))
}

fn strange(what: Strange) -> &'static str {
    match what {
        Strange::Tunnel => "it goes through a lightweight tunnel",
        Strange::OwnGateway => "its gateway was this host, perhaps, when it was made",
    }
}

fn unknown(what: Unknown) -> &'static str {
    match what {
        Unknown::Incomplete => "the snapshot is incomplete",
        Unknown::Vrf => "the table of a VRF",
        Unknown::MulticastGroups => "which multicast groups the host has joined",
        Unknown::Forwarding => "whether the host forwards, which the snapshot does not have",
        Unknown::RpFilter => "rp_filter, which the snapshot does not have",
        Unknown::EverRules => "whether IPv6 ever had rules of somebody's",
    }
}
