//! What an operator reads. One fact has the same words everywhere: in `status`, in the
//! log, in errors.

pub mod config;
pub mod diagram;
pub mod doctor;
pub mod doubt;
pub mod explain;
pub mod export;
pub mod extras;
pub mod fault;
pub mod import;
pub mod plan;
pub mod rival;
pub mod status;
pub mod verify;
pub mod what_if;

use std::fmt::Write as _;
use std::net::IpAddr;

use multihome_core::config::write::{toml_key, toml_string};
use multihome_core::conflict::Conflict;
use multihome_core::model::hint::{Refused, Source};
use multihome_core::model::names::{is_shown, word};
use multihome_core::model::{Link, Names, names};
use multihome_core::plan::Note;
use multihome_core::uplink::NotUplink;
use multihome_core::ways::{Learnt, Way};

/// What stands in the way, and what to do about it.
pub fn conflict(conflict: &Conflict, names: &Names) -> (String, String) {
    match conflict {
        Conflict::Table { uplink, table, route, count, owner } => (
            format!(
                "table {} of {} holds {} of somebody else's{}: {}",
                names.table(*table),
                word(uplink),
                plural(*count, "route"),
                probably(*owner),
                route.display(names)
            ),
            format!(
                "set another `table` for interface.{}, another `base` (as 20000), or stop the \
                 other tool",
                toml_key(uplink)
            ),
        ),
        Conflict::Priority { uplinks, rule, owner } => (
            format!(
                "a rule of somebody else's{} has a priority that {} needs: {}",
                probably(*owner),
                if uplinks.is_empty() { "multihome".into() } else { words(uplinks) },
                rule.display(names)
            ),
            // In front of ours it would be asked first: with a higher base it is.
            format!(
                "take that rule away if nobody needs it, set a lower `base`{}, or stop the other \
                 tool",
                if rule.priority > 2_000 {
                    format!(" (as {})", rule.priority / 2_000 * 1_000)
                } else {
                    String::new()
                }
            ),
        ),
        Conflict::SharedTable { uplink, other, table } => (
            format!(
                "{} and {} are both to have table {}",
                word(uplink),
                word(other),
                names.table(*table)
            ),
            format!("give interface.{} a `table` of its own", toml_key(uplink)),
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
             answer to clients on its subnet leaves by {name}",
            name = word(name)
        ),
        Note::NoGateway { name, family } => {
            format!("{} has no {family} gateway any more", word(name))
        }
        Note::SeveralGateways { name, family } => {
            format!(
                "{} has several {family} gateways and no default: configure its `gateway`",
                word(name)
            )
        }
        Note::MainRefuses { route } => format!(
            "main refuses what it has no route for ({}), and that ends the look-up for uplinks too",
            route.display(names)
        ),
        Note::PrimaryAbsent { primary } => {
            format!("primary = {} names no uplink of this host", toml_string(&primary.to_string()))
        }
        Note::FileRefused(Refused { file, reason, remedy }) => {
            format!("{file} is not believed: {reason} ({remedy})")
        }
        Note::InterfaceAbsent { name } => {
            format!(
                "interface.{} is configured, and this host has no such interface",
                toml_key(name)
            )
        }
        Note::Rival(rival) => rival::note(rival),
        Note::Overtaken(catch_all) => {
            format!("answers jump over somebody else's {}", extras::catch_all(catch_all, names))
        }
        Note::Captured { by, no_room } => {
            let why = if *no_room {
                "no priority is free in front of it"
            } else {
                "the configuration has precedence = \"yield\""
            };
            format!("answers are taken by somebody else's {}: {why}", extras::catch_all(by, names))
        }
        Note::ReturnPath(trouble) => extras::trouble(trouble),
        Note::Sysctl(setting) => extras::setting(setting),
        Note::SteerAbsent { uplink, origin, by } => format!(
            "[[steer]] ({origin}) names {}, which is no uplink with a table here: what it steers {}",
            word(uplink),
            extras::goes(by)
        ),
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

/// Names of links, as words of a command.
pub fn words(names: &[String]) -> String {
    let words: Vec<_> = names.iter().map(|n| word(n)).collect();
    words.join(", ")
}

/// Why an interface is not an uplink; `state` is what it is instead of up, if anything.
pub fn not_uplink(reason: &NotUplink, state: Option<&str>) -> String {
    match reason {
        NotUplink::Loopback => "loopback".into(),
        NotUplink::Enslaved { master } => format!("member of {}", word(master)),
        NotUplink::Tunnel { kind } => {
            format!("tunnel ({}): counts only when configuration names it", word(kind))
        }
        NotUplink::Excluded(why) => why.clone(),
        NotUplink::NoGatewayIn(family) => {
            format!("no {family} gateway: its {family} addresses stay with main")
        }
        NotUplink::NoGateway => match state {
            // The kernel keeps no route of a link that is down, and without a carrier comes no lease.
            Some(state) => format!("{state}: whether it has a gateway cannot be told"),
            None => "no gateway: it stays with main".into(),
        },
    }
}

/// `up`, `no carrier` or `down`.
pub fn state(link: Option<&Link>) -> &'static str {
    match link {
        Some(link) if link.has_carrier() => "up",
        Some(link) if link.is_up() => "no carrier",
        _ => "down",
    }
}

/// `1 route`, `2 routes`.
pub fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("{count} {word}") } else { format!("{count} {word}s") }
}

/// The width of a terminal over a bad link.
const WIDTH: usize = 80;

/// Text in lines that fit; those behind the first begin with `hang`.
fn wrap(out: &mut String, indent: &str, hang: &str, text: &str) {
    let mut line = indent.to_owned();
    let mut is_empty = true;
    for word in text.split_whitespace() {
        if !is_empty && width(&line) + 1 + width(word) > WIDTH {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{line}");
            line = hang.to_owned();
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    let _ = writeln!(out, "{line}");
}

/// Text with what a terminal would obey in a form that can be read; lines stay lines.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if is_shown(c) => out.push(c),
            c => out.extend(c.escape_unicode()),
        }
    }
    out
}

/// A message in lines that fit. Those that are set off, commands and places in files, stay whole.
pub fn message(label: &str, text: &str) -> String {
    let mut out = String::new();
    for (n, line) in escaped(text).lines().enumerate() {
        match n {
            0 => wrap(&mut out, label, "  ", line),
            _ if line.starts_with(' ') || line.contains('|') => out.extend([line, "\n"]),
            _ => wrap(&mut out, "", "  ", line),
        }
    }
    out
}

/// How many columns it takes; colours take none.
fn width(text: &str) -> usize {
    let mut columns = 0;
    let mut in_colour = false;
    for c in text.chars() {
        match c {
            '\x1b' => in_colour = true,
            'm' if in_colour => in_colour = false,
            _ => columns += usize::from(!in_colour),
        }
    }
    columns
}
