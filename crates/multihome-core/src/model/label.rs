//! Address labels (`RTM_NEWADDRLABEL`, ip-addrlabel(8)): rule 6 of RFC 6724, by which a source
//! address is preferred whose label is the destination's.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::prefix::Prefix;

/// The label of a prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressLabel {
    /// `IFAL_ADDRESS` and `ifal_prefixlen`.
    pub prefix: Prefix,
    /// `ifal_index`: only on this link, 0 on all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub link: u32,
    /// `IFAL_LABEL`.
    pub label: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature that serde asks for
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// What every namespace begins with (`ip6addrlbl_init_table`).
#[must_use]
pub fn kernel_default() -> Vec<AddressLabel> {
    [
        ("::1", 128, 0),
        ("::ffff:0:0", 96, 4),
        ("::", 96, 3),
        ("2001::", 32, 6),
        ("2001:10::", 28, 7),
        ("3ffe::", 16, 12),
        ("2002::", 16, 2),
        ("fec0::", 10, 11),
        ("fc00::", 7, 5),
        ("::", 0, 1),
    ]
    .into_iter()
    .map(|(address, len, label)| {
        // The addresses stand above, and a test reads them.
        let address: IpAddr = address.parse().unwrap_or(std::net::Ipv6Addr::UNSPECIFIED.into());
        AddressLabel { prefix: Prefix::new(address, len), link: 0, label }
    })
    .collect()
}

/// The label of an address on a link; the list need not be sorted (`__ipv6_addr_label` takes the
/// longest prefix).
#[must_use]
pub fn of(labels: &[AddressLabel], address: IpAddr, link: u32) -> Option<u32> {
    labels
        .iter()
        .filter(|l| (l.link == 0 || l.link == link) && l.prefix.contains(address))
        .max_by_key(|l| (l.prefix.len(), l.link != 0))
        .map(|l| l.label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_has_the_label() {
        let labels = kernel_default();
        for (address, label) in
            [("::1", 0), ("2001:db8::1", 1), ("2002::1", 2), ("fd00::1", 5), ("2001::1", 6)]
        {
            assert_eq!(of(&labels, address.parse().unwrap(), 3), Some(label), "{address}");
        }
    }
}
