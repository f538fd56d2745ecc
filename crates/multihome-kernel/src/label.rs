//! Address labels: `RTM_NEWADDRLABEL` (`ip6addrlbl_fill`).

use multihome_core::Prefix;
use multihome_core::model::AddressLabel;

use crate::uapi::{AF_INET6, IFAL_ADDRESS, IFAL_LABEL, RTM_GETADDRLABEL};
use crate::wire::{Attrs, Malformed, Message, addr_of, short, split, u32_of};

/// `struct ifaddrlblmsg`.
const HEADER: usize = 12;

// ===== decode =====

/// A label from the payload of `RTM_NEWADDRLABEL`; `None` for other families, which have none.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn decode(payload: &[u8]) -> Result<Option<AddressLabel>, Malformed> {
    let (h, attrs) = split::<HEADER>("ifaddrlblmsg", payload)?;
    if h[0] != AF_INET6 {
        return Ok(None);
    }
    fields(h, attrs)
        .map(Some)
        .map_err(|e| Malformed(format!("an address label could not be decoded: {e}")))
}

fn fields(h: [u8; HEADER], attrs: Attrs<'_>) -> Result<AddressLabel, Malformed> {
    let (mut address, mut label) = (None, None);
    for attr in attrs {
        let (kind, bytes) = attr?;
        match kind {
            IFAL_ADDRESS => address = Some(addr_of("IFAL_ADDRESS", h[0], bytes)?),
            IFAL_LABEL => label = Some(u32_of("IFAL_LABEL", bytes)?),
            _ => {}
        }
    }
    if h[2] > 128 {
        return Err(Malformed(format!("ifal_prefixlen is {}", h[2])));
    }
    Ok(AddressLabel {
        prefix: Prefix::new(address.ok_or_else(|| short("IFAL_ADDRESS", &[]))?, h[2]),
        link: u32::from_ne_bytes([h[4], h[5], h[6], h[7]]),
        label: label.ok_or_else(|| short("IFAL_LABEL", &[]))?,
    })
}

// ===== encode =====

/// Asks for all labels. Strict checking wants everything but the family empty
/// (`ip6addrlbl_valid_dump_req`).
#[must_use]
pub fn get() -> Message {
    let mut h = [0; HEADER];
    h[0] = AF_INET6;
    Message::new(RTM_GETADDRLABEL, 0, &h)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use crate::uapi::RTM_NEWADDRLABEL;

    fn message(len: u8) -> Message {
        let mut h = [AF_INET6, 0, len, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        h[4..8].copy_from_slice(&3u32.to_ne_bytes());
        let mut m = Message::new(RTM_NEWADDRLABEL, 0, &h);
        m.attr_addr(IFAL_ADDRESS, "2001:db8::".parse().unwrap()).attr_u32(IFAL_LABEL, 99);
        m
    }

    #[test]
    fn every_field_is_read() {
        let expected =
            AddressLabel { prefix: "2001:db8::/32".parse().unwrap(), link: 3, label: 99 };
        assert_eq!(decode(message(32).payload()), Ok(Some(expected)));
    }

    #[test]
    fn what_cannot_be_decoded_is_named() {
        assert_eq!(
            decode(message(129).payload()).unwrap_err().to_string(),
            "an address label could not be decoded: ifal_prefixlen is 129"
        );
        let bare = Message::new(RTM_NEWADDRLABEL, 0, &message(32).payload()[..HEADER]);
        assert_eq!(
            decode(bare.payload()).unwrap_err().to_string(),
            "an address label could not be decoded: IFAL_ADDRESS has 0 bytes"
        );
    }

    #[test]
    fn noise_never_panics() {
        let mut noise = Noise::new(9);
        let good = message(32);
        for _ in 0..20_000 {
            let _ = decode(&noise.bytes());
            let _ = decode(&noise.damage(good.payload()));
        }
    }
}
