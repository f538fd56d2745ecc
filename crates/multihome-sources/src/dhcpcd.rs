//! dhcpcd's leases: `/var/lib/dhcpcd/<interface>.lease`.
//!
//! The DHCP message that the server sent (RFC 2131), as it came (`dhcp_writefile`, dhcp.c);
//! files of 9.4.1 and 10.1.0 were read. Each renewal writes it anew, so the lease
//! began when the file was written: dhcpcd itself counts from there (`dhcp_start1`). It is
//! written in place (`writefile`, common.c): for a moment it is empty.
//!
//! The options are few, and to take a crate for them would not make this shorter: what
//! matters are the fields that options may go on in (option 52), options that come in pieces
//! (RFC 3396), and that nothing is believed of a message without its end mark.
//!
//! A wireless network's name may follow the interface's (`wlan0-home.lease`). As either may hold
//! a `-`, such a file speaks of all the interfaces that it can be of; that the lease's address is
//! there tells which it is.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use multihome_core::model::hint::{HintedLink, Source};

use crate::parse::{File, Lease, Parsed, check_interface, end};
use crate::routes;

/// Where the fields of a message are: `ciaddr`, `yiaddr`, `sname`, `file`, the magic cookie.
const CIADDR: usize = 12;
const YIADDR: usize = 16;
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;
const MAGIC: std::ops::Range<usize> = 236..240;

/// Option numbers (RFC 2132, RFC 3442).
const PAD: u8 = 0;
const ROUTERS: u8 = 3;
const LEASE_TIME: u8 = 51;
const OVERLOAD: u8 = 52;
const MESSAGE_TYPE: u8 = 53;
const CLASSLESS_ROUTES: u8 = 121;
const MS_CLASSLESS_ROUTES: u8 = 249;
const END: u8 = 255;

type Options = BTreeMap<u8, Vec<u8>>;

/// What a lease file says.
pub(crate) fn lease(file: File<'_>) -> Result<Parsed, String> {
    let message = file.bytes;
    let cut = Parsed { is_cut: true, ..Parsed::default() };
    let (Some(yiaddr), Some(magic)) = (address(message, YIADDR), message.get(MAGIC)) else {
        return Ok(cut);
    };
    if message[0] != 2 || magic != [99, 130, 83, 99] {
        return Err("it is no answer of a DHCP server".to_owned());
    }
    let mut options = Options::new();
    if !collect(&message[MAGIC.end..], &mut options) {
        return Ok(cut);
    }
    // Fields that are not needed for what they are named after hold more options; the end mark
    // may be missing where the field is full.
    let overload = options.get(&OVERLOAD).and_then(|v| v.first()).copied().unwrap_or(0);
    for (bit, field) in [(1, FILE), (2, SNAME)] {
        if overload & bit != 0 {
            collect(&message[field], &mut options);
        }
    }
    if options.get(&MESSAGE_TYPE).is_some_and(|kind| kind != &[5]) {
        return Err("it is a DHCP message, but not one that grants a lease".to_owned());
    }
    // After an INFORM the server has no address to give.
    let own = [Some(yiaddr), address(message, CIADDR)];
    let Some(own) = own.into_iter().flatten().find(|a| !a.is_unspecified()) else {
        return Err("it holds no address".to_owned());
    };
    let value = |code: u8| options.get(&code).filter(|value| !value.is_empty());
    let routers: Vec<Ipv4Addr> = match value(ROUTERS) {
        Some(octets) if !octets.len().is_multiple_of(4) => {
            return Err("its list of routers ends within one".to_owned());
        }
        Some(octets) => {
            octets.chunks_exact(4).map(|o| Ipv4Addr::new(o[0], o[1], o[2], o[3])).collect()
        }
        None => Vec::new(),
    };
    let classless = value(CLASSLESS_ROUTES).or_else(|| value(MS_CLASSLESS_ROUTES));
    let classless = classless.map(|octets| routes::from_octets(octets)).transpose();
    let classless = classless.map_err(|e| format!("classless routes: {e}"))?;
    let expires = match value(LEASE_TIME).map(Vec::as_slice) {
        Some([a, b, c, d]) => end(file.modified, u64::from(u32::from_be_bytes([*a, *b, *c, *d]))),
        Some(_) => return Err("its lease time is not four octets long".to_owned()),
        // A BOOTP server's answer holds for ever.
        None => None,
    };
    let hints = interfaces(file.name).map(|name| {
        let lease = Lease {
            link: HintedLink::Name(name),
            source: Source::Dhcpcd,
            address: own,
            routers: &routers,
            classless: classless.as_deref(),
            since: file.modified,
            expires,
        };
        lease.hint(file.shown)
    });
    Ok(Parsed { hints: hints.collect(), ..Parsed::default() })
}

/// Adds options to those that are there, pieces to the pieces before them; false when there is
/// no end mark.
fn collect(mut rest: &[u8], options: &mut Options) -> bool {
    loop {
        rest = match rest {
            [PAD, rest @ ..] => rest,
            [END, ..] => return true,
            [code, len, rest @ ..] if usize::from(*len) <= rest.len() => {
                let (value, rest) = rest.split_at(usize::from(*len));
                options.entry(*code).or_default().extend(value);
                rest
            }
            _ => return false,
        };
    }
}

fn address(message: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = message.get(at..at + 4)?.try_into().ok()?;
    Some(octets.into())
}

/// The interfaces that a file can be of. Old versions put `dhcpcd-` in front.
fn interfaces(name: &str) -> impl Iterator<Item = String> {
    let stem = name.strip_suffix(".lease").unwrap_or(name);
    let stem = stem.strip_prefix("dhcpcd-").unwrap_or(stem).to_owned();
    let ends: Vec<usize> = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]).collect();
    ends.into_iter()
        .map(move |end| stem[..end].to_owned())
        .filter(|name| check_interface(name).is_ok())
        .take(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(options: &[u8]) -> Vec<u8> {
        let mut message = vec![0; MAGIC.end];
        message[0] = 2;
        message[YIADDR..YIADDR + 4].copy_from_slice(&[10, 0, 1, 5]);
        message[MAGIC].copy_from_slice(&[99, 130, 83, 99]);
        message.extend([MESSAGE_TYPE, 1, 5, LEASE_TIME, 4, 0, 0, 14, 16]);
        message.extend(options);
        message
    }

    fn parsed(bytes: &[u8]) -> Result<Parsed, String> {
        lease(File { name: "eth1.lease", shown: "f", bytes, modified: 1000, now: 2000 })
    }

    fn gateways(bytes: &[u8]) -> Vec<String> {
        let hints = parsed(bytes).unwrap().hints;
        hints.iter().flat_map(|h| h.gateways.iter().map(ToString::to_string)).collect()
    }

    #[test]
    fn routers_and_option_121_and_249() {
        assert_eq!(
            gateways(&message(&[3, 8, 10, 0, 1, 1, 10, 0, 1, 2, 255])),
            ["10.0.1.1", "10.0.1.2"]
        );
        let both = [3, 4, 10, 0, 1, 1, 121, 5, 0, 10, 0, 1, 9, 249, 5, 0, 10, 0, 1, 8, 255];
        assert_eq!(gateways(&message(&both)), ["10.0.1.9"]);
        assert_eq!(
            gateways(&message(&[3, 4, 10, 0, 1, 1, 249, 5, 0, 10, 0, 1, 8, 255])),
            ["10.0.1.8"]
        );
        assert_eq!(gateways(&message(&[3, 4, 10, 0, 1, 1, 121, 0, 255])), ["10.0.1.1"]);
        let hint = parsed(&message(&[3, 4, 10, 0, 1, 1, 255])).unwrap().hints.remove(0);
        assert_eq!((hint.since, hint.expires), (1000, Some(4600)));
    }

    #[test]
    fn options_in_pieces_and_in_other_fields() {
        // RFC 3396: one option in three places, in the order options, file, sname.
        let mut bytes = message(&[121, 2, 0, 10, 52, 1, 3, 0, 255, 1, 2, 3]);
        bytes[FILE.start..FILE.start + 4].copy_from_slice(&[121, 1, 0, 255]);
        bytes[SNAME.start..SNAME.start + 5].copy_from_slice(&[121, 2, 1, 9, 255]);
        assert_eq!(gateways(&bytes), ["10.0.1.9"]);
        // Without option 52 they are what they are named after.
        let mut bytes = message(&[3, 4, 10, 0, 1, 1, 255]);
        bytes[FILE.start..FILE.start + 6].copy_from_slice(&[3, 4, 10, 0, 1, 2]);
        assert_eq!(gateways(&bytes), ["10.0.1.1"]);
    }

    #[test]
    fn a_message_that_ends_too_soon_is_none() {
        let whole = message(&[3, 4, 10, 0, 1, 1, 0, 0, 255]);
        for at in 0..whole.len() {
            let cut = Parsed { is_cut: true, ..Parsed::default() };
            assert_eq!(parsed(&whole[..at]), Ok(cut), "at {at}");
        }
        assert!(!parsed(&whole).unwrap().is_cut);
    }

    #[test]
    fn what_is_no_lease_is_refused() {
        let of = |at: usize, byte: u8| {
            let mut bytes = message(&[3, 4, 10, 0, 1, 1, 255]);
            bytes[at] = byte;
            parsed(&bytes).unwrap_err()
        };
        assert!(of(0, 1).contains("no answer"));
        assert!(of(236, 0).contains("no answer"));
        assert!(of(MAGIC.end + 2, 2).contains("not one that grants"));
        assert!(parsed(&message(&[3, 5, 10, 0, 1, 1, 1, 255])).unwrap_err().contains("routers"));
        assert!(parsed(&message(&[121, 1, 40, 255])).is_err());
        assert!(parsed(&message(&[51, 1, 0, 255])).unwrap_err().contains("lease time"));
        let mut bytes = message(&[3, 4, 10, 0, 1, 1, 255]);
        bytes[YIADDR..YIADDR + 4].fill(0);
        assert!(parsed(&bytes).unwrap_err().contains("no address"));
        bytes[CIADDR..CIADDR + 4].copy_from_slice(&[10, 0, 1, 6]);
        assert_eq!(gateways(&bytes), ["10.0.1.1"]);
    }

    #[test]
    fn every_interface_that_a_file_can_be_of() {
        let of = |name: &str| interfaces(name).collect::<Vec<_>>();
        assert_eq!(of("eth0.lease"), ["eth0"]);
        assert_eq!(of("dhcpcd-eth0.lease"), ["eth0"]);
        assert_eq!(of("wlan0-my-home-with-a-name.lease"), ["wlan0", "wlan0-my", "wlan0-my-home"]);
        assert!(of(".lease").is_empty());
    }
}
