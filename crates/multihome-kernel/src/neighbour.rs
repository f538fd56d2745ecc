//! Neighbours: `RTM_NEWNEIGH` (`neigh_fill_info`).
//!
//! Only those of IPv4 and IPv6 that have an address of their own kind: what a bridge has learnt
//! (`AF_BRIDGE`), and what is answered for somebody else (`NTF_PROXY`), says nothing of a gateway.

use multihome_core::model::Neighbour;

use crate::address::family;
use crate::link::hardware_address;
use crate::uapi::{NDA_DST, NDA_LLADDR, NTF_PROXY, NTF_ROUTER, RTM_GETNEIGH};
use crate::wire::{Attrs, Malformed, Message, addr_of, short, split};

/// `struct ndmsg`.
const HEADER: usize = 12;

// ===== decode =====

/// A neighbour from the payload of `RTM_NEWNEIGH`; `None` for other families and proxies.
///
/// # Errors
/// A sentence that names the link.
pub fn decode(payload: &[u8]) -> Result<Option<Neighbour>, Malformed> {
    let (h, attrs) = split::<HEADER>("ndmsg", payload)?;
    if family(h[0]).is_none() || h[10] & NTF_PROXY != 0 {
        return Ok(None);
    }
    let link = u32::from_ne_bytes([h[4], h[5], h[6], h[7]]);
    fields(h, link, attrs)
        .map(Some)
        .map_err(|e| Malformed(format!("a neighbour on link {link} could not be decoded: {e}")))
}

fn fields(h: [u8; HEADER], link: u32, attrs: Attrs<'_>) -> Result<Neighbour, Malformed> {
    let (mut address, mut lladdr) = (None, None);
    for attr in attrs {
        let (kind, bytes) = attr?;
        match kind {
            NDA_DST => address = Some(addr_of("NDA_DST", h[0], bytes)?),
            NDA_LLADDR => lladdr = hardware_address(bytes),
            _ => {}
        }
    }
    Ok(Neighbour {
        link,
        address: address.ok_or_else(|| short("NDA_DST", &[]))?,
        lladdr,
        state: u16::from_ne_bytes([h[8], h[9]]),
        router: h[10] & NTF_ROUTER != 0,
    })
}

// ===== encode =====

/// Asks for all neighbours of all links.
#[must_use]
pub fn get() -> Message {
    Message::new(RTM_GETNEIGH, 0, &[0; HEADER])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use crate::uapi::{AF_BRIDGE, AF_INET6, RTM_NEWNEIGH};

    fn message(family: u8, flags: u8) -> Message {
        let mut h = [family, 0, 0, 0, 0, 0, 0, 0, 0, 0, flags, 1];
        h[4..8].copy_from_slice(&3u32.to_ne_bytes());
        h[8..10].copy_from_slice(&4u16.to_ne_bytes());
        let mut m = Message::new(RTM_NEWNEIGH, 0, &h);
        m.attr_addr(NDA_DST, "fe80::1".parse().unwrap())
            .attr(NDA_LLADDR, &[0x52, 0x54, 0, 0x12, 0x34, 0xab])
            .attr(3, &[0; 16]); // NDA_CACHEINFO
        m
    }

    #[test]
    fn every_field_is_read() {
        let expected = Neighbour {
            link: 3,
            address: "fe80::1".parse().unwrap(),
            lladdr: Some("52:54:00:12:34:ab".into()),
            state: 4,
            router: true,
        };
        assert_eq!(decode(message(AF_INET6, NTF_ROUTER).payload()), Ok(Some(expected)));
    }

    #[test]
    fn a_bridge_and_a_proxy_have_no_neighbours() {
        assert_eq!(decode(message(AF_BRIDGE, 0).payload()), Ok(None));
        assert_eq!(decode(message(AF_INET6, NTF_PROXY).payload()), Ok(None));
    }

    #[test]
    fn what_cannot_be_decoded_is_named() {
        let mut m = Message::new(RTM_NEWNEIGH, 0, &message(AF_INET6, 0).payload()[..HEADER]);
        assert_eq!(
            decode(m.payload()).unwrap_err().to_string(),
            "a neighbour on link 3 could not be decoded: NDA_DST has 0 bytes"
        );
        m.attr(NDA_DST, &[1, 2]);
        assert_eq!(
            decode(m.payload()).unwrap_err().to_string(),
            "a neighbour on link 3 could not be decoded: NDA_DST has 2 bytes"
        );
    }

    #[test]
    fn noise_never_panics() {
        let mut noise = Noise::new(8);
        let good = message(AF_INET6, 0);
        for _ in 0..20_000 {
            let _ = decode(&noise.bytes());
            let _ = decode(&noise.damage(good.payload()));
        }
    }
}
