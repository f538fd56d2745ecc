//! What files say of the ways out, besides the kernel.
//!
//! A DHCP client leaves the gateway of a second card nowhere in the kernel (`dhclient`'s second
//! default fails with "File exists"), or is told not to make a default of it (`UseGateway=no`,
//! `never-default`). It still keeps it on file, with the lease. What such files said is part of a
//! snapshot, so that a plan can be made again from it; files are read in `multihome-sources`,
//! which leaves out what has expired.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::address::Address;
use super::link::Link;
use crate::prefix::{Family, Prefix};

/// What the files of a host said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hints {
    /// What they say of the ways out, ordered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<Hint>,
    /// Files that were not believed, ordered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refused>,
}

/// What one file says of one link's ways out, in one family.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hint {
    /// The link that it speaks of.
    pub link: HintedLink,
    /// In which family.
    pub family: Family,
    /// Whose file it is.
    pub source: Source,
    /// The file.
    pub file: String,
    /// The address that came with it: on a link without it the file is a leftover. None for a
    /// router advertisement, which comes without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The default gateways, the best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
    /// Gateways of earlier leases, which are no more: `dhclient-script` changes no route when a
    /// renewal brings another gateway, so a default in the kernel may still go by one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<IpAddr>,
    /// Other networks (RFC 3442: DHCP option 121).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<HintedRoute>,
    /// When it was obtained, in seconds since 1970: of several the newest counts.
    pub since: u64,
    /// When it ends, in seconds since 1970; none when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

/// How a file names a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum HintedLink {
    /// By index.
    Index(u32),
    /// By name.
    Name(String),
}

/// A network that a hint knows a way to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HintedRoute {
    /// The network.
    pub dst: Prefix,
    /// The gateway; none when the network is on the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

/// Whose file a hint is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// systemd-networkd's leases.
    Networkd,
    /// NetworkManager's state of its devices.
    NetworkManager,
    /// The leases of ISC's dhclient.
    Dhclient,
    /// dhcpcd's leases and router advertisements.
    Dhcpcd,
    /// ifupdown's `/etc/network/interfaces`.
    Ifupdown,
    /// What the initramfs learnt to boot over the network.
    Initramfs,
}

/// A file that was not believed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// The file.
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

// ===== impl Hints =====

impl Hints {
    /// Whether no file said anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty() && self.refused.is_empty()
    }

    /// When the first of them ends, in seconds since 1970.
    #[must_use]
    pub fn first_end(&self) -> Option<u64> {
        self.found.iter().filter_map(|h| h.expires).min()
    }

    /// What holds of a link that has `addresses`, all of one family: for each address the newest,
    /// and those first that name a gateway. An address without a router beside one with a router
    /// takes nothing away from it.
    #[must_use]
    pub fn of(&self, link: &Link, family: Family, addresses: &[Address]) -> Vec<&Hint> {
        let holds = |h: &&Hint| {
            h.family == family
                && h.is_of(link)
                && h.address.is_none_or(|a| addresses.iter().any(|known| known.local == a))
        };
        let mut hints: Vec<&Hint> = self.found.iter().filter(holds).collect();
        hints.sort_by_key(|h| Reverse(h.since));
        let mut seen = BTreeSet::new();
        hints.retain(|h| seen.insert(h.address));
        hints.sort_by_key(|h| h.gateways.is_empty());
        hints
    }
}

// ===== impl Hint and Source =====

impl Hint {
    /// Whether it speaks of this link.
    #[must_use]
    pub fn is_of(&self, link: &Link) -> bool {
        match &self.link {
            HintedLink::Index(index) => *index == link.index,
            HintedLink::Name(name) => *name == link.name,
        }
    }

    /// Whether a gateway is one that an earlier lease had, and this one has not.
    #[must_use]
    pub fn is_former(&self, gateway: IpAddr) -> bool {
        self.former.contains(&gateway) && !self.gateways.contains(&gateway)
    }

    /// The one gateway that all its networks besides the default go through.
    #[must_use]
    pub fn only_gateway(&self) -> Option<IpAddr> {
        let mut gateways = self.routes.iter().filter_map(|r| r.gateway);
        let first = gateways.next()?;
        gateways.all(|g| g == first).then_some(first)
    }
}

impl fmt::Display for Source {
    /// The program's own name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Networkd => "systemd-networkd",
            Source::NetworkManager => "NetworkManager",
            Source::Dhclient => "dhclient",
            Source::Dhcpcd => "dhcpcd",
            Source::Ifupdown => "ifupdown",
            Source::Initramfs => "the initramfs",
        })
    }
}
