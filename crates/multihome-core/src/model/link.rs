//! Links (`RTM_NEWLINK`).

use serde::{Deserialize, Serialize};

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// `ifi_index`: what routes refer to.
    pub index: u32,
    /// `IFLA_IFNAME`: what rules refer to.
    pub name: String,
    /// `IFLA_INFO_KIND` (`veth`, `bridge`, `wireguard`, ...); none for hardware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// `ifi_type`, an `ARPHRD_` number: 1 is Ethernet, 772 the loopback, 65534 none (tun).
    pub arphrd: u16,
    /// `IFF_` flags as the kernel gives them.
    pub flags: u32,
    /// `IFLA_MASTER`: the bond, bridge, VRF or failover device that this link is enslaved to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<u32>,
    /// `IFLA_GROUP`; 0 is the default group.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub group: u32,
    /// `IFLA_ADDRESS`, as `52:54:00:12:34:56`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// `IFLA_PERM_ADDRESS`: the burnt-in address; absent for most virtual links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permanent_address: Option<String>,
    /// `IFLA_CARRIER_CHANGES`: how often the carrier came or went. Tells a link that went down
    /// and up from one that stayed up.
    #[serde(default)]
    pub carrier_changes: u32,
    /// `IFLA_MTU`.
    #[serde(default)]
    pub mtu: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature that serde asks for
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// `IFF_UP`: administratively up.
pub const IFF_UP: u32 = 0x1;
/// `IFF_LOOPBACK`.
pub const IFF_LOOPBACK: u32 = 0x8;
/// `IFF_POINTOPOINT`.
pub const IFF_POINTOPOINT: u32 = 0x10;
/// `IFF_RUNNING`: it can send (RFC 2863).
pub const IFF_RUNNING: u32 = 0x40;
/// `IFF_NOARP`: nobody asks for neighbours on it.
pub const IFF_NOARP: u32 = 0x80;
/// `IFF_SLAVE`: set on the members of a bond, and on the virtual functions that `hv_netvsc`
/// and `net_failover` take.
pub const IFF_SLAVE: u32 = 0x800;
/// `IFF_LOWER_UP`: the carrier is there.
pub const IFF_LOWER_UP: u32 = 0x1_0000;

// ===== impl Link =====

impl Link {
    /// Whether the link is administratively up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.flags & IFF_UP != 0
    }

    /// Whether the link has a carrier.
    #[must_use]
    pub fn has_carrier(&self) -> bool {
        self.flags & IFF_LOWER_UP != 0
    }

    /// Whether this is the loopback.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.flags & IFF_LOOPBACK != 0
    }

    /// What stays with the card whatever it is called: its permanent address. Virtual links (those
    /// with a kind) have none of their own, or report the one of the link below (ipvlan), so there
    /// the index belongs to it; one that is made anew is configured anew as well.
    #[must_use]
    pub fn identity(&self) -> String {
        match (&self.permanent_address, &self.address) {
            (Some(permanent), _) if self.kind.is_none() => permanent.clone(),
            (_, Some(address)) => format!("{address} {}", self.index),
            (_, None) => self.index.to_string(),
        }
    }
}
