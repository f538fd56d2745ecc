//! From the bytes of a file to hints: pure, for every [`Format`].
//!
//! Only the fuzz target uses this module from outside.

use std::net::{IpAddr, Ipv4Addr};

use multihome_core::Family;
use multihome_core::model::hint::{Hint, HintedLink, Source};

pub use crate::places::Format;
use crate::routes::{Pair, Ways};
use crate::{dhclient, dhcpcd, initramfs, networkd, networkmanager, records};

/// A file that was read.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Its name in its directory.
    pub name: &'a str,
    /// The whole path, for people.
    pub shown: &'a str,
    /// What stands in it.
    pub bytes: &'a [u8],
    /// When it was written, in seconds since 1970.
    pub modified: u64,
    /// What time it is, likewise.
    pub now: u64,
}

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The hints, some of which may be over.
    pub hints: Vec<Hint>,
    /// Whether it ends too soon, as one that is being written.
    pub is_cut: bool,
    /// What is wrong with parts of it, which are passed over.
    pub passed_over: Vec<String>,
}

/// What a file says, or why it cannot be believed.
pub fn parse(format: Format, file: File<'_>) -> Result<Parsed, String> {
    // A clock that was set back must not make a lease longer.
    let file = File { modified: file.modified.min(file.now), ..file };
    let whole = |hints: Vec<Hint>| Parsed { hints, ..Parsed::default() };
    match format {
        Format::Networkd => networkd::lease(file).map(whole),
        // It knows no ways out, only whether the lease beside it is in force.
        Format::NetworkdLink => networkd::is_leftover(file).map(|_| Parsed::default()),
        Format::NetworkManager => networkmanager::device(file).map(whole),
        Format::Dhclient => Ok(dhclient::leases(file)),
        Format::Dhcpcd => dhcpcd::lease(file),
        Format::Initramfs => initramfs::config(file).map(whole),
        Format::Record => records::hints(file).map(whole),
    }
}

impl<'a> File<'a> {
    /// What stands in it, as text.
    pub(crate) fn text(&self) -> Result<&'a str, String> {
        std::str::from_utf8(self.bytes)
            .map_err(|e| format!("it is not UTF-8 from byte {} on", e.valid_up_to()))
    }
}

/// A DHCPv4 lease, as every client knows it.
#[derive(Debug)]
pub(crate) struct Lease<'a> {
    pub(crate) link: HintedLink,
    pub(crate) source: Source,
    pub(crate) address: Ipv4Addr,
    pub(crate) routers: &'a [Ipv4Addr],
    pub(crate) classless: Option<&'a [Pair]>,
    pub(crate) since: u64,
    pub(crate) expires: Option<u64>,
}

impl Lease<'_> {
    /// The hint that it gives. One without gateways is one, too: that a lease names none is
    /// something else than that there is no lease.
    pub(crate) fn hint(self, shown: &str) -> Hint {
        let ways = Ways::of(Some(self.address), self.routers, self.classless);
        Hint {
            link: self.link,
            family: Family::V4,
            source: self.source,
            file: shown.to_owned(),
            address: Some(IpAddr::V4(self.address)),
            gateways: ways.gateways,
            former: Vec::new(),
            routes: ways.routes,
            since: self.since,
            expires: self.expires,
        }
    }
}

/// The last second of a lease, or none: the longest time that a message can say means for ever
/// (RFC 2131, 3.3).
pub(crate) fn end(since: u64, seconds: u64) -> Option<u64> {
    (seconds < u64::from(u32::MAX)).then(|| since.saturating_add(seconds))
}

/// Whether a name can be an interface's: `dev_valid_name`, and nothing that does not show.
pub(crate) fn check_interface(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("it is empty"),
        "." | ".." => Err("it is a directory"),
        _ if name.len() > 15 => Err("it is longer than 15 bytes"),
        _ if name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) => {
            Err("no interface has `/`, `:` or blanks in its name")
        }
        _ if name.contains(char::is_control) => Err("it holds control characters"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_interfaces() {
        for name in ["", ".", "..", "a/b", "eth0:1", "a b", "a\nb", "a\u{1}", "0123456789abcdef"] {
            assert!(check_interface(name).is_err(), "{name:?}");
        }
        for name in ["eth0", "eth0.5", "enp0s31f6", "br-lan", "a@b", "wlan0-x", "...", "ü"] {
            assert_eq!(check_interface(name), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn a_lease_for_ever_has_no_end() {
        assert_eq!(end(1000, 60), Some(1060));
        assert_eq!(end(1000, 0xffff_ffff), None);
        assert_eq!(end(u64::MAX, 60), Some(u64::MAX));
    }
}
