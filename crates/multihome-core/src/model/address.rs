//! Addresses (`RTM_NEWADDR`).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::prefix::{Family, Prefix};

/// An address on a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// `ifa_index`: the link that owns it.
    pub link: u32,
    /// `IFA_LOCAL`, or `IFA_ADDRESS` for IPv6 addresses without a peer.
    pub local: IpAddr,
    /// `ifa_prefixlen`.
    pub prefix_len: u8,
    /// `IFA_ADDRESS` where it differs from the local address: the other end of a point-to-point
    /// link. The connected route then leads to the peer's network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// `ifa_scope`: 0 global, 200 site, 253 link, 254 host.
    #[serde(default)]
    pub scope: u8,
    /// `IFA_FLAGS`.
    #[serde(default)]
    pub flags: u32,
}

/// `IFA_F_SECONDARY` for IPv4; the same bit is `IFA_F_TEMPORARY` for IPv6.
pub const IFA_F_SECONDARY: u32 = 0x01;
/// `IFA_F_DADFAILED`: a duplicate was seen; the kernel does not use the address.
pub const IFA_F_DADFAILED: u32 = 0x08;
/// `IFA_F_OPTIMISTIC`: may be used although duplicate address detection is under way.
pub const IFA_F_OPTIMISTIC: u32 = 0x04;
/// `IFA_F_DEPRECATED`.
pub const IFA_F_DEPRECATED: u32 = 0x20;
/// `IFA_F_TENTATIVE`: duplicate address detection is under way.
pub const IFA_F_TENTATIVE: u32 = 0x40;
/// `IFA_F_PERMANENT`: no lifetime.
pub const IFA_F_PERMANENT: u32 = 0x80;
/// `IFA_F_NOPREFIXROUTE`: the kernel made no connected route for it.
pub const IFA_F_NOPREFIXROUTE: u32 = 0x200;

// ===== impl Address =====

impl Address {
    /// Address family.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.local)
    }

    /// The network that the kernel's connected route leads to: the peer's where there is one.
    #[must_use]
    pub fn network(&self) -> Prefix {
        Prefix::new(self.peer.unwrap_or(self.local), self.prefix_len)
    }

    /// Whether duplicate address detection found another owner.
    #[must_use]
    pub fn is_dadfailed(&self) -> bool {
        self.flags & IFA_F_DADFAILED != 0
    }

    /// Whether this is an IPv4 secondary address: one whose network a primary already holds.
    #[must_use]
    pub fn is_secondary(&self) -> bool {
        self.local.is_ipv4() && self.flags & IFA_F_SECONDARY != 0
    }

    /// Whether this is an IPv6 temporary (privacy) address.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.local.is_ipv6() && self.flags & IFA_F_SECONDARY != 0
    }

    /// The words of its flags, as `ip address` prints them.
    #[must_use]
    pub fn flag_words(&self) -> Vec<&'static str> {
        let mut words = Vec::new();
        if self.is_secondary() {
            words.push("secondary");
        }
        if self.is_temporary() {
            words.push("temporary");
        }
        for (bit, word) in [
            (IFA_F_TENTATIVE, "tentative"),
            (IFA_F_DEPRECATED, "deprecated"),
            (IFA_F_DADFAILED, "dadfailed"),
            (IFA_F_NOPREFIXROUTE, "noprefixroute"),
        ] {
            if self.flags & bit != 0 {
                words.push(word);
            }
        }
        words
    }
}
