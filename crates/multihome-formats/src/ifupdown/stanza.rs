//! The stanzas of `interfaces`, as `read_interfaces_defn` of ifupdown (config.c) tells them apart.

use std::net::IpAddr;

use multihome_core::model::Route;
use multihome_core::prefix::Family;

use crate::shell;

/// An `iface` and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stanza {
    /// The name behind `iface`.
    pub(super) name: String,
    /// `inet`, `inet6` or another.
    pub(super) family: String,
    /// Its options, each with its line and the line's text.
    pub(super) options: Vec<Setting>,
    /// The last line that belongs to it, counted from 1.
    pub(super) last: usize,
}

/// An option of a stanza.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) line: usize,
    pub(super) text: String,
    pub(super) key: String,
    pub(super) value: String,
}

/// What a line begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Begins {
    /// An `iface`, with its name, family and method.
    Iface(String, String),
    /// A `mapping`, whose options are its own.
    Mapping,
    /// A line that stands alone.
    Alone,
}

impl Stanza {
    /// Whether it is that of an interface and a family.
    pub(super) fn is(&self, name: &str, family: Family) -> bool {
        self.name == name && self.family == super::inet(family)
    }

    /// Whether it makes such a default itself.
    pub(super) fn has_gateway(&self, route: &Route) -> bool {
        let gateways = self.options.iter().filter(|s| s.key == "gateway");
        let gateways = gateways.filter_map(|s| s.value.split_whitespace().next()?.parse().ok());
        let gateways: Vec<IpAddr> = gateways.collect();
        route.hops.iter().filter_map(|h| h.gateway).any(|g| gateways.contains(&g))
    }
}

/// What a line begins, if it is no option.
pub(super) fn begins(text: &str) -> Option<Begins> {
    let mut words = text.split_whitespace();
    match words.next()? {
        "iface" => {
            let name = words.next().unwrap_or("").to_owned();
            Some(Begins::Iface(name, words.next().unwrap_or("").to_owned()))
        }
        "mapping" => Some(Begins::Mapping),
        "auto" | "source" | "source-directory" | "no-auto-down" | "no-scripts" | "rename"
        | "template" => Some(Begins::Alone),
        word if word.starts_with("allow-") => Some(Begins::Alone),
        _ => None,
    }
}

/// The stanzas of a file.
pub(super) fn of(text: &str) -> Vec<Stanza> {
    let mut stanzas: Vec<Stanza> = Vec::new();
    let mut is_open = false;
    let lines = shell::lines(text);
    let ends = lines.iter().skip(1).map(|(line, _)| line - 1).chain([text.lines().count()]);
    for ((line, text), last) in lines.iter().zip(ends) {
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        match begins(trimmed) {
            Some(Begins::Iface(name, family)) => {
                is_open = true;
                stanzas.push(Stanza { name, family, options: Vec::new(), last });
            }
            Some(_) => is_open = false,
            None => {
                let Some(stanza) = stanzas.last_mut().filter(|_| is_open) else { continue };
                let (key, value) = trimmed.split_once(char::is_whitespace).unwrap_or((trimmed, ""));
                let (key, value) = (key.to_owned(), value.trim().to_owned());
                stanza.options.push(Setting { line: *line, text: text.clone(), key, value });
                stanza.last = last;
            }
        }
    }
    stanzas
}

/// Whether a file includes all files of a directory.
pub(super) fn includes(text: &str, directory: &str) -> bool {
    shell::lines(text).iter().any(|(_, line)| {
        let mut words = line.split_whitespace();
        let keyword = words.next();
        let mut paths = words.map(|path| match path.strip_prefix('/') {
            Some(_) => path.to_owned(),
            // Relative to the file that includes.
            None => format!("/etc/network/{path}"),
        });
        match keyword {
            Some("source") => paths.any(|p| p == format!("{directory}/*")),
            Some("source-directory") => paths.any(|p| p.trim_end_matches('/') == directory),
            _ => false,
        }
    })
}
