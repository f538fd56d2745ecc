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
    /// What they call it (`product_name` of DMI): `Google Compute Engine`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_name: Option<String>,
    /// `product_version` of DMI: `4.11.amazon`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_version: Option<String>,
    /// `chassis_asset_tag` of DMI, by which Azure tells its own from other Hyper-V.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chassis_asset_tag: Option<String>,
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

/// A cloud in whose networks the fabric answers ARP, and hears no card that answers for another's
/// address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    /// Amazon EC2.
    Amazon,
    /// Google Compute Engine.
    Google,
    /// Microsoft Azure.
    Azure,
    /// Alibaba Cloud.
    Alibaba,
}

/// What Azure writes on every machine's chassis (cloud-init's `AZURE_CHASSIS_ASSET_TAG`); the vendor
/// is that of any Hyper-V.
const AZURE_CHASSIS: &str = "7783-7084-3265-9085-8269-3286-77";

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

/// `6.1` out of `6.1.0-18-amd64`.
#[must_use]
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

// ===== impl Host =====

impl Host {
    /// Whose cloud this is, as far as DMI says so; what a snapshot does not have says nothing.
    #[must_use]
    pub fn cloud(&self) -> Option<Cloud> {
        let told = |field: &Option<String>| field.clone().unwrap_or_default();
        let (vendor, product) = (told(&self.vendor), told(&self.product_name));
        match vendor.as_str() {
            v if v.starts_with("Amazon EC2") => Some(Cloud::Amazon),
            // Xen's older instances have Xen's own name.
            "Xen" if told(&self.product_version).contains("amazon") => Some(Cloud::Amazon),
            // Its notebooks have the vendor too.
            _ if product == "Google Compute Engine" || product == "Google" => Some(Cloud::Google),
            "Microsoft Corporation" if told(&self.chassis_asset_tag) == AZURE_CHASSIS => {
                Some(Cloud::Azure)
            }
            v if v.starts_with("Alibaba Cloud") => Some(Cloud::Alibaba),
            _ => None,
        }
    }
}
