//! Routes and rules in the words of other systems' files, written and read.
//!
//! Whoever does not want one more daemon has the policy kept by what manages the network anyway, and
//! whoever has kept one by hand hands it over. Both go through here: [`export`] writes a
//! [`Policy`] as a system's files, [`import`] reads such files into [`Statement`]s. All of it is
//! text in and text out; what is read and written where is the caller's.
//!
//! A module for each format, with the manual page or the parser that it follows at its head; what
//! several share stands beside them: [`ip_words`] for those who write what `ip` reads, `ini` and
//! `yaml` for the others.

mod bracket;
mod card;
mod cloud_init;
mod comments;
mod declared;
mod gap;
mod glob;
mod ifcfg;
mod ifupdown;
mod ini;
mod ip_command;
mod ip_files;
mod ip_words;
mod iproute2;
mod netplan;
mod networkd;
mod networkmanager;
mod nmstate;
mod purpose;
mod rt_tables;
mod sheet;
mod shell;
#[cfg(test)]
mod testing;
mod value;
mod wicked;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use multihome_core::Family;
use multihome_core::model::{Names, Route, Rule, names, sysctl};
use multihome_core::policy::{Policy, Word};

pub use declared::declared_by;
pub use gap::consequences;

/// A system that keeps routes and rules in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// initscripts' `route-IF` and `rule-IF` (RHEL, `network-scripts`).
    Ifcfg,
    /// Debian's `interfaces`.
    Ifupdown,
    /// systemd-networkd's `.network` files.
    Networkd,
    /// NetworkManager's keyfiles.
    Networkmanager,
    /// netplan's YAML.
    Netplan,
    /// nmstate's YAML.
    Nmstate,
    /// SUSE's wicked: `ifroute-IF` and `ifrule-IF`.
    Wicked,
    /// A shell script of `ip` commands.
    Iproute2,
    /// cloud-init's network configuration.
    CloudInit,
}

/// Files that are there, by absolute path.
pub type Tree = BTreeMap<String, String>;

/// Files of a system: those of a directory that end so, or one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The directory, absolute. Where its last part begins with `*`: all that end like the rest.
    pub directory: &'static str,
    /// How the names begin.
    pub prefix: &'static str,
    /// How the names end.
    pub suffix: &'static str,
}

/// What comes of an export.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Export {
    /// The files, ordered by path.
    pub files: Vec<File>,
    /// What to run when they are in place, in order.
    pub next: Vec<String>,
    /// What to run when they are to go again, in order; the files are removed in between where `rm`
    /// stands.
    pub undo: Vec<String>,
}

/// A file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it belongs, absolute.
    pub path: String,
    /// Its mode: 0600 where a system wants it.
    pub mode: u32,
    /// All of it, what was there before included.
    pub text: String,
    /// Whether it holds what was there before, and ours in between.
    pub extends: bool,
}

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The file.
    pub path: String,
    /// Line, counted from 1.
    pub line: usize,
}

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Where.
    pub at: At,
    /// The line, as it stands there.
    pub text: String,
    /// What it comes to in the kernel.
    pub what: What,
}

/// What a statement comes to in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A route, with the protocol that this system puts in.
    Route(Route),
    /// A rule, likewise.
    Rule(Rule),
    /// A table's name.
    TableName(u32, String),
    /// A link joins a group: index and group.
    Group(u32, u32),
}

/// What names in files mean.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Links of the host: index by name.
    pub links: BTreeMap<String, u32>,
    /// Their permanent addresses, lower case with colons.
    pub macs: BTreeMap<String, u32>,
    /// Tables by name, the kernel's own included.
    pub tables: BTreeMap<String, u32>,
    /// The gateways that leases and routers gave: some files say no more than that.
    pub gateways: BTreeMap<(u32, Family), IpAddr>,
}

/// Why files cannot be read: nothing of them is taken then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub at: At,
    /// The line, as it stands there.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}\n  {}", self.at.path, self.at.line, self.why, self.text)
    }
}

impl std::error::Error for Problem {}

impl Place {
    /// Whether a file is one of this place's.
    #[must_use]
    pub fn holds(&self, path: &str) -> bool {
        let Some((directory, name)) = path.rsplit_once('/') else { return false };
        let is_here = match self.directory.split_once("/*") {
            None => directory == self.directory,
            Some((above, ending)) => {
                let inner = directory.strip_prefix(above).and_then(|d| d.strip_prefix('/'));
                inner.is_some_and(|d| !d.contains('/') && d.ends_with(ending))
            }
        };
        is_here && name.starts_with(self.prefix) && name.ends_with(self.suffix)
    }
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 9] = [
        Format::Ifcfg,
        Format::Ifupdown,
        Format::Networkd,
        Format::Networkmanager,
        Format::Netplan,
        Format::Nmstate,
        Format::Wicked,
        Format::Iproute2,
        Format::CloudInit,
    ];

    /// Those whose files can be read.
    pub const READABLE: [Format; 6] = [
        Format::Ifcfg,
        Format::Ifupdown,
        Format::Networkd,
        Format::Networkmanager,
        Format::Netplan,
        Format::Iproute2,
    ];

    /// Its name, as it is typed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::Ifcfg => "ifcfg",
            Format::Ifupdown => "ifupdown",
            Format::Networkd => "networkd",
            Format::Networkmanager => "networkmanager",
            Format::Netplan => "netplan",
            Format::Nmstate => "nmstate",
            Format::Wicked => "wicked",
            Format::Iproute2 => "iproute2",
            Format::CloudInit => "cloud-init",
        }
    }

    /// What it can say.
    #[must_use]
    pub fn words(self) -> BTreeSet<Word> {
        match self {
            Format::Ifcfg => ifcfg::words(),
            Format::Ifupdown => ifupdown::words(),
            Format::Networkd => networkd::words(),
            Format::Networkmanager => networkmanager::words(),
            Format::Netplan => netplan::words(),
            Format::Nmstate => nmstate::words(),
            Format::Wicked => wicked::words(),
            Format::Iproute2 => iproute2::words(),
            Format::CloudInit => cloud_init::words(),
        }
    }

    /// What it can say beside the files that are there: they tell which of netplan's renderers it is.
    #[must_use]
    pub fn words_beside(self, there: &Tree) -> BTreeSet<Word> {
        match self {
            Format::Netplan => netplan::words_beside(there),
            _ => self.words(),
        }
    }

    /// Where its files are.
    #[must_use]
    pub fn places(self) -> Vec<Place> {
        match self {
            Format::Ifcfg => ifcfg::places(),
            Format::Ifupdown => ifupdown::places(),
            Format::Networkd => networkd::places(),
            Format::Networkmanager => networkmanager::places(),
            Format::Netplan => netplan::places(),
            Format::Nmstate => nmstate::places(),
            Format::Wicked => wicked::places(),
            Format::Iproute2 => iproute2::places(),
            Format::CloudInit => cloud_init::places(),
        }
    }
}

/// Writes a policy as a system's files, beside or into those that are there.
#[must_use]
pub fn export(format: Format, policy: &Policy, names: &Names, there: &Tree) -> Export {
    let mut export = match format {
        Format::Ifcfg => ifcfg::export(policy, names, there),
        Format::Ifupdown => ifupdown::export(policy, names, there),
        Format::Networkd => networkd::export(policy, names, there),
        Format::Networkmanager => networkmanager::export(policy, names, there),
        Format::Netplan => netplan::export(policy, names, there),
        Format::Nmstate => nmstate::export(policy, names),
        Format::Wicked => wicked::export(policy, names, there),
        Format::Iproute2 => iproute2::export(policy, names, there),
        Format::CloudInit => cloud_init::export(policy, names),
    };
    sysctls(policy, &mut export);
    export.files.sort_by(|a, b| a.path.cmp(&b.path));
    export
}

/// Sysctls are the same to all systems: files that systemd-sysctl and procps read.
fn sysctls(policy: &Policy, export: &mut Export) {
    if policy.sysctls.is_empty() {
        return;
    }
    let mut text = String::from(
        "# Written by `multihome export`.\n# Answers of the same subnet's cards, and strict filters \
         that would drop requests.\n",
    );
    for (path, value) in &policy.sysctls {
        // Names of links may have dots; `/` parts as well (sysctl.d(5)).
        text.push_str(&format!("{path} = {value}\n"));
    }
    let path = "/etc/sysctl.d/90-multihome.conf";
    export.next.insert(0, format!("sysctl -p {path}"));
    export.undo.push(format!("rm {path}"));
    for (path, was) in &policy.sysctls_before {
        export.undo.push(format!("sysctl -w {}={was}", names::word(&sysctl::display(path))));
    }
    export.files.push(File { path: path.into(), mode: 0o644, text, extends: false });
}

/// Reads what a system's files say of routes and rules.
///
/// # Errors
/// The first line that is unknown, or contradicts another one.
pub fn import(format: Format, there: &Tree, known: &Known) -> Result<Vec<Statement>, Problem> {
    match format {
        Format::Ifcfg => ifcfg::import(there, known),
        Format::Ifupdown => ifupdown::import(there, known),
        Format::Networkd => networkd::import(there, known),
        Format::Networkmanager => networkmanager::import(there, known),
        Format::Netplan => netplan::import(there, known),
        Format::Iproute2 => iproute2::import(there, known),
        Format::Nmstate | Format::Wicked | Format::CloudInit => match there.first_key_value() {
            Some((path, _)) => Err(comments::problem(
                path,
                1,
                "",
                format!("{}'s files are not read", format.name()),
            )),
            None => Ok(Vec::new()),
        },
    }
}
