//! `[[steer]]`: what the host starts itself, or forwards, by a chosen uplink.
//!
//! Answers are never steered: they leave by the door that their address belongs to. Each
//! selector is one of ip-rule(8)'s, and all of an entry's must meet.

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::Origin;
use super::error::ConfigError;
use super::file::Reader;
use crate::model::names::IP_PROTOCOLS;
use crate::prefix::{Family, Prefix};

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steer {
    /// What it is called where somebody reads of it.
    pub name: Option<String>,
    /// By which uplink, by name.
    pub uplink: String,
    /// To where; empty for anywhere that is not reached by a link that is no uplink.
    pub to: Vec<Prefix>,
    /// IP protocol.
    pub protocol: Option<u8>,
    /// Destination ports, both ends included.
    pub port: Option<(u16, u16)>,
    /// Users whose sockets send it, both ends included.
    pub uid: Option<(u32, u32)>,
    /// The link by which what is forwarded comes in; without it the host's own traffic and what is
    /// forwarded are both meant.
    pub iif: Option<String>,
    /// The packet mark and the bits of it that count.
    pub fwmark: Option<(u32, u32)>,
    /// The DSCP, six bits.
    pub dscp: Option<u8>,
    /// What becomes of it while there is no way out by the uplink.
    pub unless_down: UnlessDown,
    /// Where it stands.
    pub origin: Origin,
}

/// What becomes of steered traffic while there is no way out by its uplink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnlessDown {
    /// It leaves by another uplink: the one of main's default if that can carry it, else the first
    /// that can.
    #[default]
    #[serde(rename = "next uplink")]
    NextUplink,
    /// It is refused.
    #[serde(rename = "fail")]
    Fail,
}

/// The keys as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SteerKeys {
    name: Option<Spanned<String>>,
    uplink: Spanned<String>,
    to: Option<Spanned<OneOrMany>>,
    protocol: Option<Spanned<NumberOrWord>>,
    port: Option<Spanned<NumberOrWord>>,
    uid: Option<Spanned<NumberOrWord>>,
    iif: Option<Spanned<String>>,
    fwmark: Option<Spanned<NumberOrWord>>,
    dscp: Option<Spanned<NumberOrWord>>,
    unless_down: Option<UnlessDown>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a prefix, or a list of prefixes")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number or a word")]
enum NumberOrWord {
    Number(u32),
    Word(String),
}

/// Protocols whose packets have ports where the kernel looks for them (`fib4_rules_early_flow_dissect`).
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];

/// DSCP by the names of iproute2 and iptables.
const CLASSES: [(&str, u8); 22] = [
    ("cs0", 0),
    ("le", 1),
    ("cs1", 8),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("cs2", 16),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("cs3", 24),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("cs4", 32),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("cs5", 40),
    ("ef", 46),
    ("cs6", 48),
    ("cs7", 56),
];

/// Checks one entry.
pub(super) fn check(reader: &Reader<'_>, entry: Spanned<SteerKeys>) -> Result<Steer, ConfigError> {
    let (whole, keys) = (entry.span(), entry.into_inner());
    let origin = reader.origin(&whole);
    let told = |what: &str| reader.error(whole.clone(), what.to_owned());
    let steer = Steer {
        name: value(reader, keys.name, |name| match name.trim() {
            "" => Err("a name is not empty".into()),
            _ if name.contains(char::is_control) => Err("a name is one line".into()),
            _ => Ok(name),
        })?,
        uplink: interface(reader, keys.uplink)?,
        to: value(reader, keys.to, prefixes)?.unwrap_or_default(),
        protocol: value(reader, keys.protocol, protocol)?,
        port: value(reader, keys.port, port)?,
        uid: value(reader, keys.uid, |v| range(v, "uid", u32::MAX - 1))?,
        iif: keys.iif.map(|iif| interface(reader, iif)).transpose()?,
        fwmark: value(reader, keys.fwmark, fwmark)?,
        dscp: value(reader, keys.dscp, dscp)?,
        unless_down: keys.unless_down.unwrap_or_default(),
        origin,
    };
    if steer.port.is_some() && !steer.protocol.is_some_and(|p| WITH_PORTS.contains(&p)) {
        return Err(told("`port` needs `protocol = \"tcp\"` or another that has ports"));
    }
    if steer.uid.is_some() && steer.iif.is_some() {
        return Err(told("`uid` is of what the host sends itself, `iif` of what it forwards"));
    }
    if steer.iif.as_deref() == Some(steer.uplink.as_str()) {
        return Err(told("what comes in by an uplink is not sent back by it"));
    }
    if !steer.selects() {
        return Err(told(
            "an entry says what is steered: `to`, `protocol`, `port`, `uid`, `iif`, `fwmark` or `dscp`",
        ));
    }
    Ok(steer)
}

fn value<T, U>(
    reader: &Reader<'_>,
    value: Option<Spanned<T>>,
    check: impl FnOnce(T) -> Result<U, String>,
) -> Result<Option<U>, ConfigError> {
    Ok(reader.optional(value, check)?.map(|setting| setting.value))
}

fn interface(reader: &Reader<'_>, name: Spanned<String>) -> Result<String, ConfigError> {
    if super::file::is_interface(name.get_ref()) {
        return Ok(name.into_inner());
    }
    Err(reader.error(name.span(), format!("`{}` is not an interface name", name.get_ref())))
}

fn prefixes(value: OneOrMany) -> Result<Vec<Prefix>, String> {
    let list = match value {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(list) if list.is_empty() => {
            return Err("an empty list steers nothing; leave the key out for everything".into());
        }
        OneOrMany::Many(list) => list,
    };
    list.iter()
        .map(|text| {
            text.parse().map_err(|e| format!("`{text}` is no prefix such as 10.9.0.0/16: {e}"))
        })
        .collect()
}

fn protocol(value: NumberOrWord) -> Result<u8, String> {
    let word = match value {
        NumberOrWord::Number(n) => match u8::try_from(n) {
            Ok(n) if n > 0 => return Ok(n),
            _ => return Err(format!("{n}: an IP protocol is 1 to 255")),
        },
        NumberOrWord::Word(word) => word,
    };
    named(&IP_PROTOCOLS, &word)
}

fn dscp(value: NumberOrWord) -> Result<u8, String> {
    match value {
        NumberOrWord::Number(n) if n < 64 => Ok(n as u8),
        NumberOrWord::Number(n) => Err(format!("{n}: a DSCP is 0 to 63")),
        NumberOrWord::Word(word) => named(&CLASSES, &word),
    }
}

fn named(list: &[(&str, u8)], word: &str) -> Result<u8, String> {
    let known = list.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
    known.map(|(_, number)| *number).ok_or_else(|| {
        let names: Vec<&str> = list.iter().map(|(name, _)| *name).collect();
        format!("`{word}` is not one of {}, nor a number", names.join(", "))
    })
}

fn port(value: NumberOrWord) -> Result<(u16, u16), String> {
    let (first, last) = range(value, "port", u32::from(u16::MAX))?;
    let port = |n: u32| u16::try_from(n).ok().filter(|p| *p > 0);
    port(first).zip(port(last)).ok_or_else(|| "a port is 1 to 65535".into())
}

/// `2049`, `"2049"` or `"2049-2050"`.
fn range(value: NumberOrWord, what: &str, most: u32) -> Result<(u32, u32), String> {
    let (first, last) = match value {
        NumberOrWord::Number(n) => (n, n),
        NumberOrWord::Word(word) => {
            let (first, last) = word.split_once('-').unwrap_or((&word, &word));
            let number = |text: &str| {
                text.trim().parse::<u32>().map_err(|_| {
                    format!("`{word}`: a {what} is a number, or a range such as \"1000-1999\"")
                })
            };
            (number(first)?, number(last)?)
        }
    };
    match (first, last) {
        (first, last) if first > last => Err(format!("{first}-{last} is empty")),
        (_, last) if last > most => Err(format!("{last}: a {what} is at most {most}")),
        range => Ok(range),
    }
}

fn fwmark(value: NumberOrWord) -> Result<(u32, u32), String> {
    let word = match value {
        NumberOrWord::Number(mark) => return fwmark_of(mark, u32::MAX),
        NumberOrWord::Word(word) => word,
    };
    let number = |text: &str| {
        let (digits, radix) = match text.strip_prefix("0x") {
            Some(digits) => (digits, 16),
            None => (text, 10),
        };
        u32::from_str_radix(digits, radix)
            .map_err(|_| format!("`{word}`: a mark is written as 0x10 or 0x10/0xff"))
    };
    let (mark, mask) = match word.split_once('/') {
        Some((mark, mask)) => (number(mark)?, number(mask)?),
        None => (number(&word)?, u32::MAX),
    };
    fwmark_of(mark, mask)
}

fn fwmark_of(mark: u32, mask: u32) -> Result<(u32, u32), String> {
    match (mark, mask) {
        (_, 0) => Err("a mask of 0 asks for nothing".into()),
        (mark, mask) if mark & !mask != 0 => {
            Err(format!("{mark:#x} has bits that its mask {mask:#x} does not have"))
        }
        pair => Ok(pair),
    }
}

/// The first kernel whose rules have a DSCP (`FRA_DSCP`). An older one passes over what it does not know
/// (`nlmsg_parse_deprecated`), and a rule for some traffic would be one for all.
pub const WITH_DSCP: (u32, u32) = (6, 14);

// ===== impl Steer =====

impl Steer {
    /// Whether it says anything of what is steered.
    fn selects(&self) -> bool {
        !self.to.is_empty()
            || self.protocol.is_some()
            || self.port.is_some()
            || self.uid.is_some()
            || self.iif.is_some()
            || self.fwmark.is_some()
            || self.dscp.is_some()
    }

    /// The prefixes of a family that it is for: what it says, or everything of a family that its
    /// protocol has.
    #[must_use]
    pub fn prefixes(&self, family: Family) -> Vec<Prefix> {
        let other = match family {
            Family::V4 => Some(58),
            Family::V6 => Some(1),
        };
        match (&self.to[..], self.protocol) {
            ([], protocol) if protocol.is_some() && protocol == other => Vec::new(),
            ([], _) => vec![family.all()],
            (to, _) => to.iter().copied().filter(|p| p.family() == family).collect(),
        }
    }
}

/// A DSCP as it is written in configuration.
#[must_use]
pub fn dscp_name(dscp: u8) -> String {
    let known = CLASSES.iter().find(|(_, number)| *number == dscp);
    known.map_or_else(|| dscp.to_string(), |(name, _)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use crate::Config;
    use crate::config::UnlessDown;

    fn parse(keys: &str) -> Result<Config, String> {
        let text = format!("[[steer]]\nuplink = \"ens7\"\n{keys}\n");
        Config::parse([("config.toml", text.as_str())]).map_err(|e| e.to_string())
    }

    #[test]
    fn nfs_over_the_data_network() {
        let config = parse("to = \"10.9.0.0/16\"\nprotocol = \"tcp\"\nport = 2049").unwrap();
        let steer = &config.steers[0];
        assert_eq!(steer.to, ["10.9.0.0/16".parse().unwrap()]);
        assert_eq!((steer.protocol, steer.port), (Some(6), Some((2049, 2049))));
        assert_eq!(steer.unless_down, UnlessDown::NextUplink);
        assert_eq!(steer.origin.to_string(), "config.toml:1");
    }

    #[test]
    fn every_selector_can_be_written() {
        let config = parse(
            "to = [\"10.9.0.0/16\", \"2001:db8::/32\"]\nprotocol = 17\nport = \"5000-5010\"\n\
             uid = \"1000-1999\"\nfwmark = \"0x10/0xff\"\ndscp = \"af21\"\nunless_down = \"fail\"",
        )
        .unwrap();
        let steer = &config.steers[0];
        assert_eq!(steer.port, Some((5000, 5010)));
        assert_eq!(steer.uid, Some((1000, 1999)));
        assert_eq!(steer.fwmark, Some((0x10, 0xff)));
        assert_eq!(steer.dscp, Some(18));
        assert_eq!(steer.unless_down, UnlessDown::Fail);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_place() {
        for (keys, words) in [
            ("", "says what is steered"),
            ("port = 2049", "needs `protocol"),
            ("protocol = \"icmp\"\nport = 2049", "needs `protocol"),
            ("protocol = \"nfs\"", "not one of"),
            ("protocol = \"tcp\"\nport = 0", "1 to 65535"),
            ("protocol = \"tcp\"\nport = \"9-3\"", "empty"),
            ("to = \"10.9.0.0/33\"", "no prefix"),
            ("to = []", "steers nothing"),
            ("uid = 0\niif = \"docker0\"", "forwards"),
            ("iif = \"ens7\"", "not sent back"),
            ("iif = \"a b\"", "not an interface"),
            ("fwmark = \"0x100/0xff\"", "mask"),
            ("fwmark = \"0x10/0\"", "asks for nothing"),
            ("dscp = 64", "0 to 63"),
            ("dscp = \"af99\"", "not one of"),
            ("unless_down = \"sometimes\"\ndscp = 1", "unless_down"),
            ("dscp = 1\nuplink = \"ens8\"", "duplicate"),
        ] {
            let error = parse(keys).unwrap_err();
            assert!(error.contains(words) && error.contains("config.toml:"), "{keys}: {error}");
        }
    }
}
