//! Addresses: `RTM_NEWADDR` and `RTM_DELADDR` (`inet_fill_ifaddr`, `inet6_fill_ifaddr`).
//!
//! `IFA_ADDRESS` is the peer where there is one and the address itself otherwise.
//! IPv4 always sends `IFA_LOCAL` besides; IPv6 only when there is a peer.

use std::net::IpAddr;

use multihome_core::Family;
use multihome_core::model::Address;

use crate::uapi::{
    AF_INET, AF_INET6, IFA_ADDRESS, IFA_FLAGS, IFA_LOCAL, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE,
    RTM_DELADDR, RTM_GETADDR, RTM_NEWADDR,
};
use crate::wire::{Attrs, Malformed, Message, addr_of, short, split, u32_of};

/// `struct ifaddrmsg`.
const HEADER: usize = 8;

// ===== decode =====

/// An address from the payload of `RTM_NEWADDR` or `RTM_DELADDR`; `None` for other families.
///
/// # Errors
/// A sentence that names the address as well as its bytes allow.
pub fn decode(payload: &[u8]) -> Result<Option<Address>, Malformed> {
    let (h, attrs) = split::<HEADER>("ifaddrmsg", payload)?;
    let Some(family) = family(h[0]) else { return Ok(None) };
    let index = u32::from_ne_bytes([h[4], h[5], h[6], h[7]]);
    fields(h, index, attrs).map(Some).map_err(|e| {
        Malformed(format!("an {family} address of link {index} could not be decoded: {e}"))
    })
}

fn fields(h: [u8; HEADER], index: u32, attrs: Attrs<'_>) -> Result<Address, Malformed> {
    let (mut local, mut address): (Option<IpAddr>, Option<IpAddr>) = (None, None);
    let mut flags = u32::from(h[2]);
    for attr in attrs {
        let (kind, bytes) = attr?;
        match kind {
            IFA_LOCAL => local = Some(addr_of("IFA_LOCAL", h[0], bytes)?),
            IFA_ADDRESS => address = Some(addr_of("IFA_ADDRESS", h[0], bytes)?),
            // The header has room for the first eight.
            IFA_FLAGS => flags = u32_of("IFA_FLAGS", bytes)?,
            _ => {}
        }
    }
    let local = local.or(address).ok_or_else(|| short("IFA_ADDRESS", &[]))?;
    if h[1] > Family::of(local).bits() {
        return Err(Malformed(format!("ifa_prefixlen is {}", h[1])));
    }
    let peer = address.filter(|a| *a != local);
    Ok(Address { link: index, local, prefix_len: h[1], peer, scope: h[3], flags })
}

/// The family of an `AF_` number that routing is about.
pub(crate) fn family(number: u8) -> Option<Family> {
    match number {
        AF_INET => Some(Family::V4),
        AF_INET6 => Some(Family::V6),
        _ => None,
    }
}

/// The `AF_` number of a family.
pub(crate) fn number(family: Family) -> u8 {
    match family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    }
}

// ===== encode =====

/// Asks for all addresses of both families.
#[must_use]
pub fn get() -> Message {
    Message::new(RTM_GETADDR, 0, &[0; HEADER])
}

/// `ip address add`, refused when it is there.
#[must_use]
pub fn add(address: &Address) -> Message {
    encode(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, address)
}

/// `ip address replace`: flags and scope change in place.
#[must_use]
pub fn replace(address: &Address) -> Message {
    encode(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, address)
}

/// `ip address del`.
#[must_use]
pub fn delete(address: &Address) -> Message {
    encode(RTM_DELADDR, 0, address)
}

fn encode(kind: u16, flags: u16, a: &Address) -> Message {
    let mut h = [number(a.family()), a.prefix_len, 0, a.scope, 0, 0, 0, 0];
    h[4..8].copy_from_slice(&a.link.to_ne_bytes());
    let mut message = Message::new(kind, flags, &h);
    message.attr_addr(IFA_LOCAL, a.local).attr_addr(IFA_ADDRESS, a.peer.unwrap_or(a.local));
    if a.flags != 0 {
        message.attr_u32(IFA_FLAGS, a.flags);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    fn address(local: &str, peer: Option<&str>) -> Address {
        Address {
            link: 3,
            local: local.parse().unwrap(),
            prefix_len: 24,
            peer: peer.map(|p| p.parse().unwrap()),
            scope: 253,
            flags: 0x280,
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for (local, peer) in [
            ("10.0.0.204", None),
            ("10.0.0.204", Some("10.9.9.9")),
            ("2001:db8::1", None),
            ("2001:db8::1", Some("2001:db8::2")),
        ] {
            let a = address(local, peer);
            assert_eq!(decode(add(&a).payload()), Ok(Some(a)));
        }
    }

    #[test]
    fn ipv6_without_a_peer_has_ifa_address_alone() {
        let mut m = Message::new(RTM_NEWADDR, 0, &[AF_INET6, 64, 0x80, 0, 3, 0, 0, 0]);
        m.attr_addr(IFA_ADDRESS, "2001:db8::1".parse().unwrap());
        let a = decode(m.payload()).unwrap().unwrap();
        assert_eq!((a.local, a.peer, a.flags), ("2001:db8::1".parse().unwrap(), None, 0x80));
    }

    #[test]
    fn other_families_are_passed_over_and_errors_named() {
        assert_eq!(decode(&[45, 0, 0, 0, 1, 0, 0, 0]), Ok(None));
        let mut m = Message::new(RTM_NEWADDR, 0, &[AF_INET, 24, 0, 0, 3, 0, 0, 0]);
        m.attr(IFA_LOCAL, &[1, 2, 3]);
        assert_eq!(
            decode(m.payload()).unwrap_err().to_string(),
            "an IPv4 address of link 3 could not be decoded: IFA_LOCAL has 3 bytes"
        );
    }

    #[test]
    fn noise_never_panics() {
        let mut noise = Noise::new(4);
        let good = add(&address("2001:db8::1", Some("2001:db8::2")));
        for _ in 0..20_000 {
            let _ = decode(&noise.bytes());
            let _ = decode(&noise.damage(good.payload()));
        }
    }
}
