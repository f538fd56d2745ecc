//! What the operator wants, read from TOML.
//!
//! A host needs no configuration; every value has a default. Files are read in
//! order and each value is the last one given, so that a drop-in changes one thing
//! without repeating the rest. Every value knows where it came from: `multihome config
//! show` prints it and errors point to it.
//!
//! [`file`] holds what a file may say; this module holds what it comes to.

mod error;
mod file;
pub mod steer;
pub mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

pub use glob::Pattern;
use serde::{Deserialize, Serialize};

pub use error::ConfigError;
pub use steer::{Steer, UnlessDown};

use crate::model::Link;
use crate::model::host::version;
use crate::model::names::word;
use crate::prefix::Family;

/// The configuration in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where all numbers start: the local rules have this priority, and an uplink has the
    /// table and the priority `base + ifindex`.
    pub base: Setting<u32>,
    /// The link group that all uplinks are in; none means `base`. A configured group is the
    /// operator's own: multihome reads its membership and never changes it.
    pub link_group: Setting<Option<u32>>,
    /// The uplink that is left to main, as the first recipe for clouds has it.
    pub primary: Setting<Option<Primary>>,
    /// Only interfaces that match one of these may be uplinks; empty means all.
    pub manage: Setting<Vec<Pattern>>,
    /// Interfaces that match one of these are never uplinks.
    pub ignore: Setting<Vec<Pattern>>,
    /// Whether replies of connections whose destination was translated are led home.
    pub return_path: Setting<ReturnPathMode>,
    /// The bits of the packet mark that this takes; none means bits that nobody else uses.
    pub mark_mask: Setting<Option<u32>>,
    /// Whether sysctls that stand in the way are changed.
    pub sysctl: Setting<Management>,
    /// What is done about rules of others that catch everything in front of ours.
    pub precedence: Setting<Precedence>,
    /// What is sent by a chosen uplink, in order: the first that meets decides.
    pub steers: Vec<Steer>,
    /// What is said of single interfaces, by name.
    pub interfaces: BTreeMap<String, Interface>,
}

/// What is said of one interface.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Interface {
    /// Gateways, at most one for each family.
    pub gateway: Option<Setting<Vec<IpAddr>>>,
    /// Its routing table.
    pub table: Option<Setting<Table>>,
    /// What becomes of its traffic when there is no way out by it.
    pub on_down: Option<Setting<OnDown>>,
    /// Whether it may be an uplink, whatever `manage` and `ignore` say.
    pub manage: Option<Setting<bool>>,
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting<T> {
    /// The value in force.
    pub value: T,
    /// Who said so.
    pub origin: Origin,
}

/// Where a value came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Origin {
    /// Nobody said anything.
    #[default]
    Default,
    /// A line of a file.
    File {
        /// The file as it was named.
        path: String,
        /// Line, counted from 1.
        line: usize,
    },
}

/// Which uplink is left to main.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Primary {
    /// By name.
    Name(String),
    /// By index: `ifindex:2`.
    Index(u32),
}

/// A routing table, by number or by its name in `rt_tables`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Table {
    /// By number.
    Number(u32),
    /// By name.
    Name(String),
}

/// What becomes of an uplink's traffic when there is no way out by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDown {
    /// It is refused at once ("No route to host"): it never leaves by another door.
    #[default]
    Unreachable,
    /// It goes on to main.
    Fallthrough,
}

/// Whether replies of connections whose destination was translated are led home.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReturnPathMode {
    /// When the host forwards and somebody translates destinations.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// Whether sysctls that stand in the way are changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Management {
    /// They are, and put back by `down`.
    #[default]
    Manage,
    /// They are only named.
    Report,
}

/// What is done about rules of others that catch everything in front of ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precedence {
    /// Answers jump over them.
    #[default]
    Keep,
    /// They have their way.
    Yield,
}

/// The most `[[steer]]` entries of all files: each may need three priorities between 1 and the least
/// base.
pub const MAX_STEERS: usize = 80;
/// The default of `base`.
pub const DEFAULT_BASE: u32 = 10_000;
/// The numbers that one base takes up.
pub const BAND: u32 = 10_000;
/// The least `base`: no uplink's table may be one of the kernel's own, 253 to 255.
pub const MIN_BASE: u32 = 256;
/// The greatest `base`: the band must end before main's own rule, at priority 32766.
pub const MAX_BASE: u32 = 22_000;

// ===== impl Config =====

impl Default for Config {
    fn default() -> Config {
        Config {
            base: Setting::default_of(DEFAULT_BASE),
            link_group: Setting::default_of(None),
            primary: Setting::default_of(None),
            manage: Setting::default_of(Vec::new()),
            ignore: Setting::default_of(Vec::new()),
            return_path: Setting::default_of(ReturnPathMode::default()),
            mark_mask: Setting::default_of(None),
            sysctl: Setting::default_of(Management::default()),
            precedence: Setting::default_of(Precedence::default()),
            steers: Vec::new(),
            interfaces: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Reads files in order; `files` holds each one's name and text.
    ///
    /// # Errors
    /// The first file that is not TOML, has a key that does not exist or a value that cannot
    /// be, with the place in it. Nothing is taken from any file then.
    pub fn parse<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        for (path, text) in files {
            file::read(path, text, MAX_STEERS - config.steers.len())?.merge_into(&mut config);
        }
        Ok(config)
    }

    /// Leaves out what cannot be done here, and gives back the steering that was left out: a kernel
    /// of that release may know no DSCP in rules ([`steer::WITH_DSCP`]), and where sysctls cannot be
    /// written, as in many containers, they are only named.
    pub fn confine(&mut self, release: Option<&str>, writes_sysctls: bool) -> Vec<Steer> {
        if !writes_sysctls {
            self.sysctl.value = Management::Report;
        }
        if release.and_then(version).is_some_and(|v| v >= steer::WITH_DSCP) {
            return Vec::new();
        }
        self.steers.extract_if(.., |s| s.dscp.is_some()).collect()
    }

    /// The link group of the uplinks.
    #[must_use]
    pub fn group(&self) -> u32 {
        self.link_group.value.unwrap_or(self.base.value)
    }

    /// Whether the membership of the link group is ours to change.
    #[must_use]
    pub fn owns_group(&self) -> bool {
        self.link_group.value.is_none()
    }

    /// The number of an uplink: its table's, unless one is configured.
    #[must_use]
    pub fn number(&self, index: u32) -> u32 {
        self.base.value.saturating_add(index)
    }

    /// What is said of an interface of this name.
    #[must_use]
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.get(name)
    }

    /// The gateway configured for an interface and family.
    #[must_use]
    pub fn gateway(&self, name: &str, family: Family) -> Option<(IpAddr, &Origin)> {
        let setting = self.interface(name)?.gateway.as_ref()?;
        let gateway = setting.value.iter().copied().find(|g| Family::of(*g) == family)?;
        Some((gateway, &setting.origin))
    }

    /// What becomes of an interface's traffic when there is no way out by it.
    #[must_use]
    pub fn on_down(&self, name: &str) -> OnDown {
        self.interface(name)
            .and_then(|i| i.on_down.as_ref())
            .map_or_else(OnDown::default, |s| s.value)
    }

    /// Whether this link is the one that is left to main.
    #[must_use]
    pub fn is_primary(&self, link: &Link) -> bool {
        match &self.primary.value {
            Some(Primary::Name(name)) => *name == link.name,
            Some(Primary::Index(index)) => *index == link.index,
            None => false,
        }
    }

    /// Whether the configuration names the interface itself, not by a pattern: what tunnels
    /// need to count at all.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        self.interface(name).is_some_and(|i| i.manage.as_ref().is_none_or(|m| m.value))
            || self.manage.value.iter().any(|p| p.as_str() == name)
    }

    /// Why the configuration keeps an interface out, if it does.
    #[must_use]
    pub fn excludes(&self, name: &str) -> Option<String> {
        if let Some(manage) = self.interface(name).and_then(|i| i.manage.as_ref()) {
            return (!manage.value)
                .then(|| format!("interface.{}.manage is false ({})", word(name), manage.origin));
        }
        if let Some(p) = self.ignore.value.iter().find(|p| p.matches(name)) {
            return Some(format!("ignore has `{}` ({})", p.as_str(), self.ignore.origin));
        }
        if !self.manage.value.is_empty() && !self.manage.value.iter().any(|p| p.matches(name)) {
            return Some(format!("manage does not match it ({})", self.manage.origin));
        }
        None
    }
}

// ===== impl Setting, Origin and the values =====

impl<T> Setting<T> {
    /// A value that nobody configured.
    pub fn default_of(value: T) -> Setting<T> {
        Setting { value, origin: Origin::Default }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{path}:{line}"),
        }
    }
}

impl fmt::Display for Primary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Primary::Name(name) => f.write_str(name),
            Primary::Index(index) => write!(f, "ifindex:{index}"),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Table::Number(number) => write!(f, "{number}"),
            Table::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for OnDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OnDown::Unreachable => "unreachable",
            OnDown::Fallthrough => "fallthrough",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse([("config.toml", text)])
    }

    #[test]
    fn nothing_configured_is_the_default() {
        assert_eq!(parse("").unwrap(), Config::default());
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place() {
        let error = parse("base = 20000\nbass = 3\n").unwrap_err().to_string();
        assert!(error.contains("config.toml:2"), "{error}");
        assert!(error.contains("bass") && error.contains('^'), "{error}");
    }

    #[test]
    fn a_base_beyond_mains_rule_is_refused() {
        let error = parse("base = 30000").unwrap_err().to_string();
        assert!(error.contains("config.toml:1") && error.contains("22000"), "{error}");
        assert!(parse("base = 0").is_err());
    }

    #[test]
    fn a_later_file_wins_value_by_value() {
        let config = Config::parse([
            (
                "a.toml",
                "base = 11000\n[interface.ens6]\ngateway = \"10.0.0.1\"\ntable = \"data\"\n",
            ),
            ("b.toml", "[interface.ens6]\ntable = 7\n"),
        ])
        .unwrap();
        let ens6 = config.interface("ens6").unwrap();
        assert_eq!(ens6.table.as_ref().unwrap().value, Table::Number(7));
        assert_eq!(ens6.table.as_ref().unwrap().origin.to_string(), "b.toml:2");
        assert_eq!(config.gateway("ens6", Family::V4).unwrap().0.to_string(), "10.0.0.1");
        assert_eq!(config.base.value, 11000);
    }

    #[test]
    fn one_gateway_for_each_family_and_no_more() {
        assert!(parse("[interface.a]\ngateway = [\"10.0.0.1\", \"fe80::1\"]").is_ok());
        let error = parse("[interface.a]\ngateway = [\"10.0.0.1\", \"10.0.0.2\"]").unwrap_err();
        assert!(error.to_string().contains("two IPv4 gateways"), "{error}");
        assert!(parse("[interface.a]\ngateway = \"224.0.0.1\"").is_err());
        assert!(parse("[interface.a]\ngateway = \"10.0.0.256\"").is_err());
    }

    #[test]
    fn the_kernels_own_tables_are_refused() {
        for table in ["0", "254", "\"main\"", "\"\"", "-3", "\"a b\""] {
            let error = parse(&format!("[interface.a]\ntable = {table}")).unwrap_err().to_string();
            assert!(error.contains("config.toml:2"), "{table}: {error}");
        }
    }

    #[test]
    fn patterns_decide_and_names_outrank_them() {
        let config = parse(
            "manage = [\"en*\", \"wg0\"]\nignore = [\"ens9\"]\n[interface.ens9]\nmanage = true\n\
             [interface.ens5]\nmanage = false\n",
        )
        .unwrap();
        assert!(config.excludes("ens6").is_none());
        assert!(config.excludes("eth0").unwrap().contains("config.toml:1"));
        assert!(config.excludes("ens9").is_none());
        assert!(config.excludes("ens5").unwrap().contains("config.toml:6"));
        assert!(config.names("wg0") && config.names("ens9") && !config.names("ens6"));
        assert!(parse("manage = [\"en[\"]").is_err());
    }

    #[test]
    fn a_kernel_without_dscp_gets_no_rule_for_everything_instead() {
        let text =
            "[[steer]]\nuplink = \"ens7\"\ndscp = 10\n[[steer]]\nuplink = \"ens7\"\nuid = 1\n";
        for (release, left) in
            [(Some("6.14.0-1"), 2), (Some("6.13.9"), 1), (Some("x"), 1), (None, 1)]
        {
            let mut config = parse(text).unwrap();
            let out = config.confine(release, true);
            assert_eq!((config.steers.len(), out.len()), (left, 2 - left), "{release:?}");
            assert_eq!(config.sysctl.value, Management::Manage);
            config.confine(release, false);
            assert_eq!(config.sysctl.value, Management::Report);
        }
    }

    #[test]
    fn primary_is_a_name_or_an_index() {
        assert_eq!(
            parse("primary = \"ifindex:2\"").unwrap().primary.value,
            Some(Primary::Index(2))
        );
        assert_eq!(
            parse("primary = \"ens5\"").unwrap().primary.value,
            Some(Primary::Name("ens5".into()))
        );
        assert!(parse("primary = \"ifindex:two\"").is_err());
    }
}
