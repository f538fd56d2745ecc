//! What an operator reads. One fact has the same words everywhere: in `status`, in the
//! log, in errors.

pub mod config;
pub mod diagram;
pub mod doctor;
pub mod doubt;
pub mod explain;
pub mod fault;
pub mod plan;
pub mod rival;
pub mod status;
pub mod verify;
pub mod what_if;

use std::net::IpAddr;

use multihome_core::conflict::Conflict;
use multihome_core::model::hint::{Refused, Source};
use multihome_core::model::{Names, names};
use multihome_core::plan::Note;
use multihome_core::uplink::NotUplink;
use multihome_core::ways::{Learnt, Way};

/// What stands in the way, and what to do about it.
pub fn conflict(conflict: &Conflict, names: &Names) -> (String, String) {
    match conflict {
        Conflict::Table { uplink, table, route, count, owner } => (
            format!(
                "table {} of {uplink} holds {} of somebody else's{}: {}",
                names.table(*table),
                plural(*count, "route"),
                probably(*owner),
                route.display(names)
            ),
            format!(
                "set another `table` for interface.{uplink}, another `base` (as 20000), or stop \
                 the other tool"
            ),
        ),
        Conflict::Priority { uplinks, rule, owner } => (
            format!(
                "a rule of somebody else's{} has a priority that {} needs: {}",
                probably(*owner),
                if uplinks.is_empty() { "multihome".into() } else { uplinks.join(", ") },
                rule.display(names)
            ),
            "set another `base` (as 20000), or stop the other tool".into(),
        ),
        Conflict::SharedTable { uplink, other, table } => (
            format!("{uplink} and {other} are both to have table {}", names.table(*table)),
            format!("give interface.{uplink} a `table` of its own"),
        ),
    }
}

fn probably(owner: Option<&str>) -> String {
    owner.map_or_else(String::new, |o| format!(" (probably {o})"))
}

/// What the operator should know.
pub fn note(note: &Note, names: &Names) -> String {
    match note {
        Note::KeepsGroup { name, group, wanted } => format!(
            "{name} stays in link group {group}, not {wanted}: what other uplinks' addresses \
             answer to clients on its subnet leaves by {name}"
        ),
        Note::NoGateway { name, family } => {
            format!("{name} has no {family} gateway any more")
        }
        Note::SeveralGateways { name, family } => {
            format!("{name} has several {family} gateways and no default: configure its `gateway`")
        }
        Note::MainRefuses { route } => format!(
            "main refuses what it has no route for ({}), and that ends the look-up for uplinks too",
            route.display(names)
        ),
        Note::PrimaryAbsent { primary } => {
            format!("primary = \"{primary}\" names no uplink of this host")
        }
        Note::FileRefused(Refused { file, reason, remedy }) => {
            format!("{file} is not believed: {reason} ({remedy})")
        }
        Note::InterfaceAbsent { name } => {
            format!("interface.{name} is configured, and this host has no such interface")
        }
        Note::Rival(rival) => rival::note(rival),
    }
}

/// Where a gateway was learnt.
pub fn learnt(learnt: &Learnt, names: &Names) -> String {
    match learnt {
        Learnt::Configured(origin) => format!("configured, {origin}"),
        Learnt::DefaultRoute { table, protocol, .. } => format!(
            "default route in {}, proto {}",
            names.table(*table),
            names::protocol(*protocol)
        ),
        Learnt::Advertised { source, file } => {
            format!("router advertisement, by {source} ({file})")
        }
        Learnt::Hint { source: Source::Ifupdown, file } => format!("static, by ifupdown ({file})"),
        Learnt::Hint { source, file } => format!("lease, by {source} ({file})"),
        Learnt::StaticRoutes => "its static routes go through it".into(),
        Learnt::Remembered => "remembered: nobody names it now".into(),
    }
}

/// A way out: the gateway or gateways.
pub fn way(way: &Way) -> String {
    let gateways: Vec<String> = way
        .hops
        .iter()
        .map(|h| {
            h.gateway.map_or_else(|| "none (point-to-point)".into(), |g: IpAddr| g.to_string())
        })
        .collect();
    gateways.join(" and ")
}

/// Why an interface is not an uplink.
pub fn not_uplink(reason: &NotUplink) -> String {
    match reason {
        NotUplink::Loopback => "loopback".into(),
        NotUplink::Enslaved { master } => format!("member of {master}"),
        NotUplink::Tunnel { kind } => {
            format!("tunnel ({kind}): counts only when configuration names it")
        }
        NotUplink::Excluded(why) => why.clone(),
        NotUplink::NoGatewayIn(family) => {
            format!("no {family} gateway: its {family} addresses stay with main")
        }
        NotUplink::NoGateway => "no gateway: it stays with main".into(),
    }
}

/// `1 route`, `2 routes`.
pub fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("{count} {word}") } else { format!("{count} {word}s") }
}
