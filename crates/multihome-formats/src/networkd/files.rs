//! Which file is in use for a link.
//!
//! systemd looks a name up in several directories, the first that has it wins (`conf_files_list`),
//! and an empty file hides all others of its name.

use std::collections::BTreeMap;

use crate::card::Card;
use crate::comments::problem;
use crate::glob;
use crate::ini::{self, Dialect, Section};
use crate::{Problem, Tree};

/// Where `.network` files are, the strongest first.
pub(super) const NETWORKS: [&str; 5] = [
    "/etc/systemd/network",
    "/run/systemd/network",
    "/usr/local/lib/systemd/network",
    "/usr/lib/systemd/network",
    "/lib/systemd/network",
];
/// Where their drop-ins are.
pub(super) const DROP_INS: [&str; 5] = [
    "/etc/systemd/network/*.network.d",
    "/run/systemd/network/*.network.d",
    "/usr/local/lib/systemd/network/*.network.d",
    "/usr/lib/systemd/network/*.network.d",
    "/lib/systemd/network/*.network.d",
];
/// Where `networkd.conf` is.
pub(super) const CONFIGURATION: [&str; 5] =
    ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd", "/lib/systemd"];
/// Where its drop-ins are.
pub(super) const CONFIGURATION_DROP_INS: [&str; 5] = [
    "/etc/systemd/networkd.conf.d",
    "/run/systemd/networkd.conf.d",
    "/usr/local/lib/systemd/networkd.conf.d",
    "/usr/lib/systemd/networkd.conf.d",
    "/lib/systemd/networkd.conf.d",
];
/// What networkd says of each link, by index.
pub(super) const LINKS: &str = "/run/systemd/netif/links";

/// A file of a manager, with what stands beside it.
#[derive(Debug)]
pub(super) struct Unit<'a> {
    /// Its name without the directory.
    pub(super) name: &'a str,
    /// Itself and its drop-ins, in the order in which they are read.
    pub(super) files: Vec<(&'a str, &'a str)>,
}

/// Whether a `[Match]` is a link's.
enum Fit<'a> {
    Yes,
    No,
    /// It asks for something that files do not tell: the section.
    Unknown(&'a str, usize, String),
}

/// All `.network` files that count, in the order in which networkd tries them.
pub(super) fn units(there: &Tree) -> Vec<Unit<'_>> {
    let mut by_name: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for directory in NETWORKS {
        for (name, path, text) in files_of(there, directory, ".network") {
            by_name.entry(name).or_insert((path, text));
        }
    }
    by_name.retain(|_, (_, text)| !text.trim().is_empty());
    let with_drop_ins = |(name, file)| {
        let mut files = vec![file];
        files.extend(drop_ins(there, NETWORKS, &format!("{name}.d")));
        Unit { name, files }
    };
    by_name.into_iter().map(with_drop_ins).collect()
}

/// The drop-ins of a name, in the order of their own names.
fn drop_ins<'a>(there: &'a Tree, roots: [&str; 5], name: &str) -> Vec<(&'a str, &'a str)> {
    let mut by_name: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for directory in roots {
        for (name, path, text) in files_of(there, &format!("{directory}/{name}"), ".conf") {
            by_name.entry(name).or_insert((path, text));
        }
    }
    by_name.into_values().collect()
}

/// `networkd.conf` and its drop-ins.
pub(super) fn configuration(there: &Tree) -> Vec<(&str, &str)> {
    let mains = CONFIGURATION.iter().flat_map(|d| files_of(there, d, "networkd.conf"));
    let mut files: Vec<_> = mains.map(|(_, path, text)| (path, text)).take(1).collect();
    files.extend(drop_ins(there, CONFIGURATION, "networkd.conf.d"));
    files
}

/// The files right in a directory: name, path, text.
fn files_of<'a>(
    there: &'a Tree,
    directory: &str,
    suffix: &str,
) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
    there.iter().filter_map(move |(path, text)| {
        let name = path.strip_prefix(directory)?.strip_prefix('/')?;
        let is_one = name.ends_with(suffix) && !name.contains('/');
        is_one.then_some((name, path.as_str(), text.as_str()))
    })
}

/// A drop-in for several files at once (`foo-.network.d`), which is not read here.
pub(super) fn of_several(there: &Tree) -> Option<&str> {
    let is_of_several = |path: &&String| {
        NETWORKS.iter().any(|root| {
            let below = path.strip_prefix(root).and_then(|p| p.strip_prefix('/'));
            let directory = below.and_then(|p| p.split_once('/')).map(|(d, _)| d);
            directory.is_some_and(|d| d.ends_with("-.network.d") || d == "network.d")
        })
    };
    there.keys().find(is_of_several).map(String::as_str)
}

/// The file in use for a link: what networkd says itself, or else the first that fits.
pub(super) fn active<'a, 'u>(
    there: &Tree,
    units: &'u [Unit<'a>],
    card: Card<'_>,
) -> Result<Option<&'u Unit<'a>>, Problem> {
    if let Some(state) = there.get(&format!("{LINKS}/{}", card.link)) {
        let named = state.lines().find_map(|line| line.strip_prefix("NETWORK_FILE="));
        let name = named.and_then(|path| path.rsplit('/').next());
        if let Some(unit) = units.iter().find(|u| Some(u.name) == name) {
            return Ok(Some(unit));
        }
    }
    for unit in units {
        match fit(unit, card)? {
            Fit::Yes => return Ok(Some(unit)),
            Fit::No => {}
            Fit::Unknown(path, line, text) => {
                let why = format!("whether this is {}'s cannot be told from files", card.name);
                return Err(problem(path, line, &text, why));
            }
        }
    }
    Ok(None)
}

fn fit<'a>(unit: &Unit<'a>, card: Card<'_>) -> Result<Fit<'a>, Problem> {
    let mut is_asked = false;
    let mut unknown = None;
    for (path, text) in &unit.files {
        for section in ini::read(path, text, Dialect::Systemd)? {
            if section.name != "Match" {
                continue;
            }
            for entry in &section.entries {
                is_asked = true;
                let fits = match entry.key {
                    "Name" => is_named(&entry.value, card.name),
                    "MACAddress" | "PermanentMACAddress" => {
                        let same = |word: &str| card.mac.is_some_and(|mac| is_mac(word, mac));
                        entry.value.split_whitespace().any(same)
                    }
                    _ => {
                        unknown.get_or_insert((*path, entry.line, entry.text.to_owned()));
                        true
                    }
                };
                if !fits {
                    return Ok(Fit::No);
                }
            }
        }
    }
    Ok(match unknown {
        Some((path, line, text)) => Fit::Unknown(path, line, text),
        // A file that asks for nothing is passed over with a warning (`network_load_one`).
        None if is_asked => Fit::Yes,
        None => Fit::No,
    })
}

/// Patterns that a name fits, or with `!` in front that it does not (`net_match_config`).
fn is_named(patterns: &str, name: &str) -> bool {
    let (patterns, wanted) = match patterns.strip_prefix('!') {
        Some(rest) => (rest, false),
        None => (patterns, true),
    };
    patterns.split_whitespace().any(|p| glob::fits(p.trim_matches('"'), name)) == wanted
}

/// `02:00:00:00:00:01`, with hyphens, or in groups of four (`parse_hw_addr`).
fn is_mac(word: &str, mac: &str) -> bool {
    let digits = |text: &str| -> String {
        text.chars().filter(char::is_ascii_hexdigit).collect::<String>().to_ascii_lowercase()
    };
    digits(word) == digits(mac)
}

/// All sections of a unit, with the file that each is in.
pub(super) fn sections<'a>(unit: &Unit<'a>) -> Result<Vec<(&'a str, Section<'a>)>, Problem> {
    let mut all = Vec::new();
    for (path, text) in &unit.files {
        let sections = ini::read(path, text, Dialect::Systemd)?;
        all.extend(sections.into_iter().map(|section| (*path, section)));
    }
    Ok(all)
}
