//! What only `multihome doctor` needs to know of a host: no plan depends on any of it.
//!
//! Each part is absent where it could not be read, and then nothing is concluded from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::prefix::Family;

/// Facts about a host beside its network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// The kernel, as `uname -r` prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Who made the machine (`sys_vendor` of DMI): `Amazon EC2`. Absent where there is no DMI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Counters of `/proc/net/netstat`: `TcpExt.IPReversePathFilter`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, u64>,
    /// UDP sockets that listen on the wildcard address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wildcard_udp: Option<Vec<UdpSocket>>,
    /// What systemd-networkd is told to do with what is not its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networkd: Option<Networkd>,
}

/// A UDP socket that listens on `0.0.0.0` or `::`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UdpSocket {
    /// Of `::`; unless `IPV6_V6ONLY` is set, which nobody can see, it takes IPv4 as well.
    pub family: Family,
    /// The port.
    pub port: u16,
    /// Whose it is.
    pub uid: u32,
    /// The program that holds it (`comm`), where that may be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

/// systemd-networkd, and what it is told (networkd.conf(5)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Networkd {
    /// Whether it has run since the host was booted.
    pub running: bool,
    /// `ManageForeignRoutingPolicyRules=`: whether it deletes the rules of others.
    pub foreign_rules: bool,
    /// `ManageForeignRoutes=`: whether it deletes the routes of others.
    pub foreign_routes: bool,
}
