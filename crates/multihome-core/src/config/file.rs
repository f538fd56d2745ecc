//! What one configuration file may say, and its checks.
//!
//! serde and `toml` refuse unknown keys and wrong types and know the place; what
//! remains to be checked is checked here against the same spans.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use glob::Pattern;
use serde::Deserialize;
use toml::Spanned;

use super::error::{ConfigError, line_of};
use super::steer::{self, SteerKeys};
use super::{
    Config, MAX_BASE, MAX_STEERS, MIN_BASE, Management, OnDown, Origin, Precedence, Primary,
    ReturnPathMode, Setting, Steer, Table,
};
use crate::model::names::{TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};
use crate::prefix::Family;

/// A file that was read and found right.
pub(super) struct File {
    base: Option<Setting<u32>>,
    link_group: Option<Setting<u32>>,
    primary: Option<Setting<Primary>>,
    manage: Option<Setting<Vec<Pattern>>>,
    ignore: Option<Setting<Vec<Pattern>>>,
    return_path: Option<Setting<ReturnPathMode>>,
    mark_mask: Option<Setting<u32>>,
    sysctl: Option<Setting<Management>>,
    precedence: Option<Setting<Precedence>>,
    steers: Vec<Steer>,
    interfaces: BTreeMap<String, super::Interface>,
}

/// The keys as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    base: Option<Spanned<u32>>,
    link_group: Option<Spanned<u32>>,
    primary: Option<Spanned<String>>,
    manage: Option<Spanned<Vec<Spanned<String>>>>,
    ignore: Option<Spanned<Vec<Spanned<String>>>>,
    return_path: Option<Spanned<ReturnPathMode>>,
    mark_mask: Option<Spanned<u32>>,
    sysctl: Option<Spanned<Management>>,
    precedence: Option<Spanned<Precedence>>,
    #[serde(default)]
    steer: Vec<Spanned<SteerKeys>>,
    #[serde(default)]
    interface: BTreeMap<Spanned<String>, InterfaceKeys>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InterfaceKeys {
    gateway: Option<Spanned<OneOrMany>>,
    table: Option<Spanned<NumberOrName>>,
    on_down: Option<Spanned<OnDown>>,
    manage: Option<Spanned<bool>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected an address, or a list of one for each family")]
enum OneOrMany {
    One(IpAddr),
    Many(Vec<IpAddr>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected the number or the name of a routing table")]
enum NumberOrName {
    Number(u32),
    Name(String),
}

/// Reads one file.
///
/// `steers` are as many as there may be in it.
pub(super) fn read(path: &str, text: &str, steers: usize) -> Result<File, ConfigError> {
    let keys: Keys = toml::from_str(text).map_err(|e| {
        // serde names Rust's types, which are nobody's concern here.
        let message = e.message().replace('\n', "; ").replace("expected u32", "expected a number");
        ConfigError::at(path, text, e.span(), message)
    })?;
    Reader { path, text, steers }.file(keys)
}

impl File {
    pub(super) fn merge_into(self, config: &mut Config) {
        if let Some(base) = self.base {
            config.base = base;
        }
        if let Some(group) = self.link_group {
            config.link_group = Setting { value: Some(group.value), origin: group.origin };
        }
        if let Some(primary) = self.primary {
            config.primary = Setting { value: Some(primary.value), origin: primary.origin };
        }
        if let Some(manage) = self.manage {
            config.manage = manage;
        }
        if let Some(ignore) = self.ignore {
            config.ignore = ignore;
        }
        if let Some(mode) = self.return_path {
            config.return_path = mode;
        }
        if let Some(mask) = self.mark_mask {
            config.mark_mask = Setting { value: Some(mask.value), origin: mask.origin };
        }
        if let Some(management) = self.sysctl {
            config.sysctl = management;
        }
        if let Some(precedence) = self.precedence {
            config.precedence = precedence;
        }
        config.steers.extend(self.steers);
        for (name, new) in self.interfaces {
            let interface = config.interfaces.entry(name).or_default();
            interface.gateway = new.gateway.or(interface.gateway.take());
            interface.table = new.table.or(interface.table.take());
            interface.on_down = new.on_down.or(interface.on_down.take());
            interface.manage = new.manage.or(interface.manage.take());
        }
    }
}

// ===== the checks =====

pub(super) struct Reader<'a> {
    path: &'a str,
    text: &'a str,
    /// As many `[[steer]]` entries may still come.
    steers: usize,
}

impl Reader<'_> {
    fn file(&self, keys: Keys) -> Result<File, ConfigError> {
        let mut interfaces = BTreeMap::new();
        for (name, keys) in keys.interface {
            let span = name.span();
            let name = name.into_inner();
            if !is_interface(&name) {
                return Err(self.error(
                    span,
                    format!("`{name}` is not an interface name; patterns belong in `manage` and `ignore`"),
                ));
            }
            interfaces.insert(name, self.interface(keys)?);
        }
        Ok(File {
            base: self.optional(keys.base, |n| match n {
                MIN_BASE..=MAX_BASE => Ok(n),
                _ => Err(format!(
                    "base is {MIN_BASE} to {MAX_BASE}: its tables must lie beyond the kernel's \
                     own, and its rules must come before main's, at 32766"
                )),
            })?,
            link_group: self.optional(keys.link_group, |n| match n {
                0 => Err("link_group 0 holds every link that nobody put in a group".into()),
                n => Ok(n),
            })?,
            primary: self.optional(keys.primary, primary)?,
            manage: self.patterns(keys.manage)?,
            ignore: self.patterns(keys.ignore)?,
            return_path: self.optional(keys.return_path, Ok)?,
            mark_mask: self.optional(keys.mark_mask, mark_mask)?,
            sysctl: self.optional(keys.sysctl, Ok)?,
            precedence: self.optional(keys.precedence, Ok)?,
            steers: self.steers(keys.steer)?,
            interfaces,
        })
    }

    fn interface(&self, keys: InterfaceKeys) -> Result<super::Interface, ConfigError> {
        Ok(super::Interface {
            gateway: self.optional(keys.gateway, gateways)?,
            table: self.optional(keys.table, table)?,
            on_down: self.optional(keys.on_down, Ok)?,
            manage: self.optional(keys.manage, Ok)?,
        })
    }

    fn steers(&self, list: Vec<Spanned<SteerKeys>>) -> Result<Vec<Steer>, ConfigError> {
        if let Some(surplus) = list.get(self.steers) {
            let message =
                format!("more than {MAX_STEERS} entries do not fit in front of the rules");
            return Err(self.error(surplus.span(), message));
        }
        list.into_iter().map(|entry| steer::check(self, entry)).collect()
    }

    fn patterns(
        &self,
        list: Option<Spanned<Vec<Spanned<String>>>>,
    ) -> Result<Option<Setting<Vec<Pattern>>>, ConfigError> {
        let Some(list) = list else { return Ok(None) };
        let origin = self.origin(&list.span());
        let value = list
            .into_inner()
            .into_iter()
            .map(|p| {
                Pattern::new(p.get_ref())
                    .map_err(|e| self.error(p.span(), format!("not a pattern: {}", e.msg)))
            })
            .collect::<Result<_, _>>()?;
        Ok(Some(Setting { value, origin }))
    }

    pub(super) fn optional<T, U>(
        &self,
        value: Option<Spanned<T>>,
        check: impl FnOnce(T) -> Result<U, String>,
    ) -> Result<Option<Setting<U>>, ConfigError> {
        let Some(value) = value else { return Ok(None) };
        let span = value.span();
        let origin = self.origin(&span);
        match check(value.into_inner()) {
            Ok(value) => Ok(Some(Setting { value, origin })),
            Err(message) => Err(self.error(span, message)),
        }
    }

    pub(super) fn origin(&self, span: &Range<usize>) -> Origin {
        Origin::File { path: self.path.into(), line: line_of(self.text, span.start) }
    }

    pub(super) fn error(&self, span: Range<usize>, message: impl Into<String>) -> ConfigError {
        ConfigError::at(self.path, self.text, Some(span), message)
    }
}

/// Whether a link may be called so; patterns are none.
pub(super) fn is_interface(name: &str) -> bool {
    !name.is_empty() && name.len() <= 15 && !name.contains(['/', ' ', '*', '?'])
}

fn mark_mask(mask: u32) -> Result<u32, String> {
    let bits = mask >> mask.trailing_zeros().min(31);
    match mask {
        0 => Err("a mask without bits holds no mark".into()),
        _ if bits & bits.wrapping_add(1) != 0 => {
            Err(format!("{mask:#x}: the bits of mark_mask stand side by side, as in 0x00f00000"))
        }
        _ => Ok(mask),
    }
}

fn primary(text: String) -> Result<Primary, String> {
    match text.strip_prefix("ifindex:") {
        Some(index) => match index.parse() {
            Ok(index) if index > 0 => Ok(Primary::Index(index)),
            _ => Err(format!("`{text}`: an index is a number, as in `ifindex:2`")),
        },
        None if text.is_empty() => Err("primary is an interface name or `ifindex:NUMBER`".into()),
        None => Ok(Primary::Name(text)),
    }
}

fn gateways(value: OneOrMany) -> Result<Vec<IpAddr>, String> {
    let list = match value {
        OneOrMany::One(address) => vec![address],
        OneOrMany::Many(list) => list,
    };
    for family in Family::BOTH {
        if list.iter().filter(|g| Family::of(**g) == family).count() > 1 {
            return Err(format!("two {family} gateways for one interface"));
        }
    }
    match list.iter().find(|g| g.is_unspecified() || g.is_loopback() || g.is_multicast()) {
        Some(bad) => Err(format!("{bad} cannot be a gateway")),
        None => Ok(list),
    }
}

fn table(value: NumberOrName) -> Result<Table, String> {
    match value {
        NumberOrName::Number(0 | TABLE_DEFAULT..=TABLE_LOCAL) => {
            Err("tables 0 and 253 to 255 are the kernel's own".into())
        }
        NumberOrName::Number(number) => Ok(Table::Number(number)),
        NumberOrName::Name(name)
            if matches!(name.as_str(), "main" | "local" | "default" | "unspec") =>
        {
            Err(format!("`{name}` (table {TABLE_MAIN} and its like) is the kernel's own"))
        }
        NumberOrName::Name(name) => match name.parse() {
            Ok(number) => table(NumberOrName::Number(number)),
            Err(_) if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '#') => {
                Err(format!("`{name}` cannot stand in rt_tables: a table name is one word"))
            }
            Err(_) => Ok(Table::Name(name)),
        },
    }
}
