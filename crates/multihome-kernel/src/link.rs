//! Links: `RTM_NEWLINK` and `RTM_DELLINK` (`rtnl_fill_ifinfo`).
//!
//! Two kinds of message look like links and are none: a bridge port's, of family
//! `AF_BRIDGE` (an `RTM_DELLINK` of it means that the link left its bridge, not the
//! host), and a wireless card's event, which has a name and nothing else
//! (`IFLA_WIRELESS`, `wireless_nlevent_process`).

use std::fmt::Write as _;

use multihome_core::model::Link;
use multihome_core::model::link::IFF_UP;

use crate::uapi::{
    AF_UNSPEC, IFLA_ADDRESS, IFLA_CARRIER_CHANGES, IFLA_EXT_MASK, IFLA_GROUP, IFLA_IFNAME,
    IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MASTER, IFLA_MTU, IFLA_PERM_ADDRESS, IFLA_WIRELESS,
    RTEXT_FILTER_SKIP_STATS, RTM_GETLINK, RTM_SETLINK,
};
use crate::wire::{Attrs, Malformed, Message, short, split, str_of, u32_of};

/// `struct ifinfomsg`.
const HEADER: usize = 16;

// ===== decode =====

/// A link from the payload of `RTM_NEWLINK`; `None` when the message is not about a link.
///
/// # Errors
/// A sentence that names the link as well as its bytes allow.
pub fn decode(payload: &[u8]) -> Result<Option<Link>, Malformed> {
    let (h, attrs) = split::<HEADER>("ifinfomsg", payload)?;
    if h[0] != AF_UNSPEC {
        return Ok(None);
    }
    let index = u32::from_ne_bytes([h[4], h[5], h[6], h[7]]);
    fields(h, index, attrs)
        .map_err(|e| Malformed(format!("link {index} could not be decoded: {e}")))
}

/// The index from the payload of `RTM_DELLINK`; `None` when no link is gone.
///
/// # Errors
/// When the payload is shorter than its header.
pub fn decode_deleted(payload: &[u8]) -> Result<Option<u32>, Malformed> {
    let (h, _) = split::<HEADER>("ifinfomsg", payload)?;
    Ok((h[0] == AF_UNSPEC).then(|| u32::from_ne_bytes([h[4], h[5], h[6], h[7]])))
}

fn fields(h: [u8; HEADER], index: u32, attrs: Attrs<'_>) -> Result<Option<Link>, Malformed> {
    let mut link = Link {
        index,
        name: String::new(),
        kind: None,
        arphrd: u16::from_ne_bytes([h[2], h[3]]),
        flags: u32::from_ne_bytes([h[8], h[9], h[10], h[11]]),
        master: None,
        group: 0,
        address: None,
        permanent_address: None,
        carrier_changes: 0,
        mtu: 0,
    };
    for attr in attrs {
        let (kind, bytes) = attr?;
        match kind {
            IFLA_IFNAME => link.name = str_of(bytes),
            IFLA_ADDRESS => link.address = hardware_address(bytes),
            IFLA_PERM_ADDRESS => link.permanent_address = hardware_address(bytes),
            IFLA_MTU => link.mtu = u32_of("IFLA_MTU", bytes)?,
            IFLA_GROUP => link.group = u32_of("IFLA_GROUP", bytes)?,
            IFLA_CARRIER_CHANGES => {
                link.carrier_changes = u32_of("IFLA_CARRIER_CHANGES", bytes)?;
            }
            IFLA_MASTER => {
                link.master = Some(u32_of("IFLA_MASTER", bytes)?).filter(|&master| master != 0);
            }
            IFLA_LINKINFO => {
                for inner in Attrs::new(bytes) {
                    if let (IFLA_INFO_KIND, text) = inner? {
                        link.kind = Some(str_of(text));
                    }
                }
            }
            IFLA_WIRELESS => return Ok(None),
            _ => {}
        }
    }
    if link.name.is_empty() {
        return Err(short("IFLA_IFNAME", &[]));
    }
    Ok(Some(link))
}

/// As `ip link` prints it: `52:54:00:12:34:56`.
pub(crate) fn hardware_address(bytes: &[u8]) -> Option<String> {
    let (first, rest) = bytes.split_first()?;
    let mut text = String::with_capacity(bytes.len() * 3);
    // Writing to a String cannot fail.
    let _ = write!(text, "{first:02x}");
    for byte in rest {
        let _ = write!(text, ":{byte:02x}");
    }
    Some(text)
}

// ===== encode =====

/// `struct ifinfomsg` with an index, and flags of which those in `change` are to be set.
#[must_use]
pub fn header(index: u32, flags: u32, change: u32) -> [u8; HEADER] {
    let mut h = [0; HEADER];
    h[4..8].copy_from_slice(&index.to_ne_bytes());
    h[8..12].copy_from_slice(&flags.to_ne_bytes());
    h[12..16].copy_from_slice(&change.to_ne_bytes());
    h
}

/// Asks for all links, or for the one of an index. Without statistics, which are most of the
/// message.
#[must_use]
pub fn get(index: u32) -> Message {
    let mut message = Message::new(RTM_GETLINK, 0, &header(index, 0, 0));
    message.attr_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    message
}

/// `ip link set dev INDEX group GROUP`.
///
/// As `RTM_SETLINK`, which needs an index: an `RTM_NEWLINK` with `IFLA_GROUP` and index 0 would
/// change every link of the group (`rtnl_group_changelink`).
#[must_use]
pub fn set_group(index: u32, group: u32) -> Message {
    let mut message = Message::new(RTM_SETLINK, 0, &header(index, 0, 0));
    message.attr_u32(IFLA_GROUP, group);
    message
}

/// `ip link set dev INDEX up` or `down`.
#[must_use]
pub fn set_up(index: u32, up: bool) -> Message {
    Message::new(RTM_SETLINK, 0, &header(index, if up { IFF_UP } else { 0 }, IFF_UP))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use crate::uapi::{AF_BRIDGE, RTM_NEWLINK};

    fn message() -> Message {
        let mut m = Message::new(RTM_NEWLINK, 0, &{
            let mut h = header(7, 0x11043, 0);
            h[2..4].copy_from_slice(&1u16.to_ne_bytes());
            h
        });
        m.attr_str(IFLA_IFNAME, "ens6")
            .attr_u32(IFLA_MTU, 9001)
            .attr_u32(IFLA_GROUP, 10000)
            .attr_u32(IFLA_MASTER, 3)
            .attr_u32(IFLA_CARRIER_CHANGES, 2)
            .attr(IFLA_ADDRESS, &[0x52, 0x54, 0, 0x12, 0x34, 0xab])
            .attr(IFLA_PERM_ADDRESS, &[2, 0, 0, 0, 0, 1])
            .attr(7, &[0; 96]);
        m.nest(IFLA_LINKINFO, |m| {
            m.attr_str(IFLA_INFO_KIND, "veth");
        });
        m
    }

    #[test]
    fn every_field_is_read() {
        let link = decode(message().payload()).unwrap().unwrap();
        let expected = Link {
            index: 7,
            name: "ens6".into(),
            kind: Some("veth".into()),
            arphrd: 1,
            flags: 0x11043,
            master: Some(3),
            group: 10000,
            address: Some("52:54:00:12:34:ab".into()),
            permanent_address: Some("02:00:00:00:00:01".into()),
            carrier_changes: 2,
            mtu: 9001,
        };
        assert_eq!(link, expected);
    }

    #[test]
    fn a_bridge_port_and_a_wireless_event_are_no_links() {
        let mut bridge = message().payload().to_vec();
        bridge[0] = AF_BRIDGE;
        assert_eq!(decode(&bridge), Ok(None));
        assert_eq!(decode_deleted(&bridge), Ok(None));
        assert_eq!(decode_deleted(message().payload()), Ok(Some(7)));
        let mut wireless = Message::new(RTM_NEWLINK, 0, &header(7, 0, 0));
        wireless.attr_str(IFLA_IFNAME, "wlan0").attr(IFLA_WIRELESS, &[0; 16]);
        assert_eq!(decode(wireless.payload()), Ok(None));
    }

    #[test]
    fn what_cannot_be_decoded_is_named() {
        let mut m = Message::new(RTM_NEWLINK, 0, &header(7, 0, 0));
        m.attr_str(IFLA_IFNAME, "ens6").attr(IFLA_GROUP, &[1, 2]);
        assert_eq!(
            decode(m.payload()).unwrap_err().to_string(),
            "link 7 could not be decoded: IFLA_GROUP has 2 bytes"
        );
    }

    #[test]
    fn noise_never_panics() {
        let mut noise = Noise::new(3);
        let good = message();
        for _ in 0..20_000 {
            let _ = decode(&noise.bytes());
            let _ = decode(&noise.damage(good.payload()));
        }
    }
}
