//! Nexthop objects: `RTM_NEWNEXTHOP` and `RTM_DELNEXTHOP` (`nh_fill_node`), since
//! Linux 5.3.

use multihome_core::model::Nexthop;

use crate::address::number;
use crate::uapi::{
    AF_UNSPEC, NHA_BLACKHOLE, NHA_GATEWAY, NHA_GROUP, NHA_ID, NHA_OIF, NLM_F_CREATE, NLM_F_EXCL,
    RTM_DELNEXTHOP, RTM_GETNEXTHOP, RTM_NEWNEXTHOP,
};
use crate::wire::{Attrs, Malformed, Message, addr_of, short, split, u32_of};
use multihome_core::Family;

/// `struct nhmsg`.
const HEADER: usize = 8;

// ===== decode =====

/// A nexthop object from the payload of `RTM_NEWNEXTHOP`.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn decode(payload: &[u8]) -> Result<Nexthop, Malformed> {
    let (h, attrs) = split::<HEADER>("nhmsg", payload)?;
    fields(h, attrs).map_err(|e| Malformed(format!("a nexthop object could not be decoded: {e}")))
}

/// The identifier from the payload of `RTM_DELNEXTHOP`.
///
/// # Errors
/// As for [`decode`].
pub fn decode_deleted(payload: &[u8]) -> Result<u32, Malformed> {
    decode(payload).map(|n| n.id)
}

fn fields(h: [u8; HEADER], attrs: Attrs<'_>) -> Result<Nexthop, Malformed> {
    let mut id = None;
    let mut nexthop = Nexthop {
        id: 0,
        oif: None,
        gateway: None,
        group: Vec::new(),
        blackhole: false,
        flags: h[4..8].first_chunk().map_or(0, |b| u32::from_ne_bytes(*b).to_le_bytes()[0]),
    };
    for attr in attrs {
        let (kind, bytes) = attr?;
        match kind {
            NHA_ID => id = Some(u32_of("NHA_ID", bytes)?),
            NHA_OIF => nexthop.oif = Some(u32_of("NHA_OIF", bytes)?),
            NHA_GATEWAY => nexthop.gateway = Some(addr_of("NHA_GATEWAY", h[0], bytes)?),
            NHA_BLACKHOLE => nexthop.blackhole = true,
            NHA_GROUP => {
                if !bytes.len().is_multiple_of(8) {
                    return Err(short("NHA_GROUP", bytes));
                }
                nexthop.group = bytes.chunks_exact(8).map(member).collect();
            }
            _ => {}
        }
    }
    nexthop.id = id.ok_or_else(|| short("NHA_ID", &[]))?;
    Ok(nexthop)
}

/// `struct nexthop_grp`: identifier, weight less one, and the weight's high byte since 6.12.
fn member(bytes: &[u8]) -> (u32, u16) {
    match *bytes {
        [a, b, c, d, low, high, ..] => {
            (u32::from_ne_bytes([a, b, c, d]), u16::from_le_bytes([low, high]).saturating_add(1))
        }
        _ => (0, 0), // chunks_exact(8) gives 8
    }
}

// ===== encode =====

/// Asks for all nexthop objects.
#[must_use]
pub fn get() -> Message {
    Message::new(RTM_GETNEXTHOP, 0, &[0; HEADER])
}

/// `ip nexthop add`, refused when the identifier is taken.
#[must_use]
pub fn add(nexthop: &Nexthop, protocol: u8) -> Message {
    let family = match nexthop.gateway {
        Some(gateway) => number(Family::of(gateway)),
        // A group has no family; a device alone or a black hole serves IPv4 here.
        None if nexthop.group.is_empty() => number(Family::V4),
        None => AF_UNSPEC,
    };
    let mut h = [family, 0, protocol, 0, 0, 0, 0, 0];
    h[4..8].copy_from_slice(&u32::from(nexthop.flags).to_ne_bytes());
    let mut message = Message::new(RTM_NEWNEXTHOP, NLM_F_CREATE | NLM_F_EXCL, &h);
    message.attr_u32(NHA_ID, nexthop.id);
    if let Some(oif) = nexthop.oif {
        message.attr_u32(NHA_OIF, oif);
    }
    if let Some(gateway) = nexthop.gateway {
        message.attr_addr(NHA_GATEWAY, gateway);
    }
    if nexthop.blackhole {
        message.attr(NHA_BLACKHOLE, &[]);
    }
    if !nexthop.group.is_empty() {
        message.container(NHA_GROUP, |m| {
            for (id, weight) in &nexthop.group {
                let [low, high] = weight.saturating_sub(1).to_le_bytes();
                m.raw(&id.to_ne_bytes()).raw(&[low, high, 0, 0]);
            }
        });
    }
    message
}

/// `ip nexthop del id ID`. The routes that use it go with it.
#[must_use]
pub fn delete(id: u32) -> Message {
    let mut message = Message::new(RTM_DELNEXTHOP, 0, &[0; HEADER]);
    message.attr_u32(NHA_ID, id);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    fn nexthop(id: u32) -> Nexthop {
        Nexthop { id, oif: None, gateway: None, group: Vec::new(), blackhole: false, flags: 0 }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let all = [
            Nexthop { oif: Some(3), gateway: Some("10.0.0.1".parse().unwrap()), ..nexthop(7) },
            Nexthop {
                oif: Some(3),
                gateway: Some("fe80::1".parse().unwrap()),
                flags: 4,
                ..nexthop(8)
            },
            Nexthop { group: vec![(7, 1), (8, 256), (9, 300)], ..nexthop(10) },
            Nexthop { blackhole: true, ..nexthop(11) },
        ];
        for n in all {
            assert_eq!(decode(add(&n, 4).payload()), Ok(n));
        }
        assert_eq!(decode_deleted(delete(7).payload()), Ok(7));
    }

    #[test]
    fn a_group_of_odd_bytes_is_an_error() {
        let mut m = Message::new(RTM_NEWNEXTHOP, 0, &[0; HEADER]);
        m.attr_u32(NHA_ID, 7).attr(NHA_GROUP, &[0; 7]);
        assert_eq!(
            decode(m.payload()).unwrap_err().to_string(),
            "a nexthop object could not be decoded: NHA_GROUP has 7 bytes"
        );
    }

    #[test]
    fn noise_never_panics() {
        let mut noise = Noise::new(5);
        let good = add(&Nexthop { group: vec![(7, 1), (8, 256)], ..nexthop(10) }, 4);
        for _ in 0..20_000 {
            let _ = decode(&noise.bytes());
            let _ = decode(&noise.damage(good.payload()));
        }
    }
}
