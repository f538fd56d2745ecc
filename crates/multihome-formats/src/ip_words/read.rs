//! Numbers, addresses and names, as iproute2 reads them (lib/utils.c, lib/rt_names.c).

use std::net::{IpAddr, Ipv4Addr};

use multihome_core::model::names;
use multihome_core::prefix::{Family, Prefix};

use crate::Known;

/// What words mean where they stand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// Links and tables.
    pub(crate) known: &'a Known,
    /// `-4` or `-6`, if it was said.
    pub(crate) family: Option<Family>,
    /// The link that a route leaves by if it names none: that of the file it stands in.
    pub(crate) dev: Option<&'a str>,
}

/// The words of a command, one after the other.
pub(super) struct Words<'a, S> {
    rest: &'a [S],
}

/// A destination or a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Network {
    /// `default`, `any`, `all`: of whichever family the rest is.
    All,
    /// An address and a length; host bits may be set.
    Of(IpAddr, u8),
}

// ===== impl Context =====

impl Context<'_> {
    /// A link's index.
    pub(super) fn link(&self, name: &str) -> Result<u32, String> {
        let index = self.known.links.get(name).copied();
        index.ok_or_else(|| format!("there is no interface `{name}`"))
    }

    /// `rtnl_rttable_a2n`: names come first, for a name may look like a number.
    pub(super) fn table(&self, word: &str) -> Result<u32, String> {
        if let Some(id) = self.known.tables.get(word) {
            return Ok(*id);
        }
        match word {
            "local" => Ok(names::TABLE_LOCAL),
            "main" => Ok(names::TABLE_MAIN),
            "default" => Ok(names::TABLE_DEFAULT),
            _ => match number(word) {
                Some(0) => Err("table 0 is none".to_owned()),
                Some(id) => Ok(id),
                None => Err(format!("no table is called `{word}`")),
            },
        }
    }
}

// ===== impl Words =====

impl<'a, S: AsRef<str>> Words<'a, S> {
    pub(super) fn new(words: &'a [S]) -> Words<'a, S> {
        Words { rest: words }
    }

    pub(super) fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first.as_ref())
    }

    pub(super) fn peek(&self) -> Option<&'a str> {
        self.rest.first().map(AsRef::as_ref)
    }

    /// What stands behind a word that asks for a value.
    pub(super) fn value(&mut self, of: &str) -> Result<&'a str, String> {
        self.next().ok_or_else(|| format!("nothing stands behind `{of}`"))
    }

    /// A number behind a word.
    pub(super) fn number(&mut self, of: &str) -> Result<u32, String> {
        let word = self.value(of)?;
        number(word).ok_or_else(|| format!("`{of}`: `{word}` is no number"))
    }
}

// ===== impl Network =====

impl Network {
    /// `get_prefix_1`: `default`, an address, or an address and its length or mask.
    pub(super) fn read(word: &str) -> Result<Network, String> {
        if matches!(word, "default" | "all" | "any") {
            return Ok(Network::All);
        }
        let fail = || format!("`{word}` is neither an address nor a network");
        let (base, len) = match word.split_once('/') {
            Some((base, len)) => (base, Some(len)),
            None => (word, None),
        };
        let base = address(base).map_err(|_| fail())?;
        let bits = Family::of(base).bits();
        let len = match len {
            None => bits,
            Some(len) => length(len).filter(|l| *l <= bits).ok_or_else(fail)?,
        };
        Ok(Network::Of(base, len))
    }

    pub(super) fn family(self) -> Option<Family> {
        match self {
            Network::All => None,
            Network::Of(address, _) => Some(Family::of(address)),
        }
    }

    /// The prefix, without host bits.
    pub(super) fn prefix(self, family: Family) -> Prefix {
        match self {
            Network::All => family.all(),
            Network::Of(address, len) => Prefix::new(address, len),
        }
    }

    /// Whether host bits are set.
    pub(super) fn has_host_bits(self) -> bool {
        match self {
            Network::All => false,
            Network::Of(address, len) => Prefix::new(address, len).address() != address,
        }
    }
}

// ===== numbers and names =====

/// `matches` of lib/utils.c: a keyword, or how it begins.
pub(super) fn short(word: &str, keyword: &str) -> bool {
    !word.is_empty() && keyword.starts_with(word)
}

/// `strtoul` with base 0: decimal, `0x` or octal.
pub(super) fn number64(word: &str) -> Option<u64> {
    let (digits, radix) = match word {
        "0" => ("0", 10),
        _ => match (word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")), word) {
            (Some(hex), _) => (hex, 16),
            (None, octal) if octal.starts_with('0') => (&octal[1..], 8),
            (None, decimal) => (decimal, 10),
        },
    };
    unsigned(digits, radix)
}

/// As [`number64`], of 32 bits.
pub(super) fn number(word: &str) -> Option<u32> {
    number64(word)?.try_into().ok()
}

/// A number under a mask, or alone: `0x10/0xff`.
pub(super) fn masked(word: &str) -> Option<(u32, Option<u32>)> {
    match word.split_once('/') {
        Some((value, mask)) => Some((number(value)?, Some(number(mask)?))),
        None => Some((number(word)?, None)),
    }
}

/// `rtnl_dsfield_a2n`: always hexadecimal. The names of `rt_dsfield` are not known here.
pub(super) fn tos(word: &str) -> Result<u8, String> {
    let hex = word.strip_prefix("0x").unwrap_or(word);
    let value = unsigned(hex, 16).and_then(|n| u8::try_from(n).ok());
    value.ok_or_else(|| format!("`tos`: `{word}` is no number"))
}

/// `rtnl_rtprot_a2n`.
pub(super) fn protocol(word: &str) -> Result<u8, String> {
    small(word, names::protocol_number).ok_or_else(|| format!("there is no protocol `{word}`"))
}

/// `rtnl_rtscope_a2n`.
pub(super) fn scope(word: &str) -> Result<u8, String> {
    small(word, names::scope_number).ok_or_else(|| format!("there is no scope `{word}`"))
}

/// A name of a fixed list, or a number.
fn small(word: &str, named: impl Fn(&str) -> Option<u8>) -> Option<u8> {
    named(word).or_else(|| number(word)?.try_into().ok())
}

/// `strtoul` takes a sign, of which nothing good comes.
fn unsigned(digits: &str, radix: u32) -> Option<u64> {
    let plain = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    if plain { u64::from_str_radix(digits, radix).ok() } else { None }
}

/// `get_netmask`: a length, or a mask with dots.
fn length(word: &str) -> Option<u8> {
    if let Some(len) = number(word) {
        return len.try_into().ok();
    }
    let IpAddr::V4(mask) = address(word).ok()? else { return None };
    let (bits, ones) = (mask.to_bits(), mask.to_bits().leading_ones());
    let is_mask = bits.checked_shl(ones).unwrap_or(0) == 0;
    is_mask.then_some(ones as u8) // 32 at most
}

/// `get_addr_1`. IPv4 may leave out bytes at the end (`get_addr_ipv4`): `10/8`.
pub(super) fn address(word: &str) -> Result<IpAddr, String> {
    let fail = || format!("`{word}` is no address");
    if word.contains(':') {
        return word.parse().map_err(|_| fail());
    }
    let mut bytes = [0; 4];
    let parts: Vec<&str> = word.splitn(5, '.').collect();
    if parts.len() > 4 {
        return Err(fail());
    }
    for (byte, part) in bytes.iter_mut().zip(parts) {
        *byte = number(part).and_then(|n| n.try_into().ok()).ok_or_else(fail)?;
    }
    Ok(IpAddr::V4(Ipv4Addr::from(bytes)))
}

/// Decides the family by the first address that has one, and holds the others to it.
pub(super) fn settle(family: &mut Option<Family>, of: Family, word: &str) -> Result<(), String> {
    match *family {
        Some(settled) if settled != of => Err(format!("`{word}` is {of}, and the rest {settled}")),
        _ => {
            *family = Some(of);
            Ok(())
        }
    }
}
