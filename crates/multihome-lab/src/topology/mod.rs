//! Layouts: which machines there are, with which cards and addresses. Plain data; [`crate::Lab`]
//! builds it.

mod campus;
mod containers;
mod same_subnet;
mod two_subnets;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use multihome_core::{Family, Prefix};

use crate::ifaddr::{Ifaddr, Mac};

/// The layouts that there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topology {
    /// Two cards in two subnets, each with a default route.
    #[default]
    TwoSubnets,
    /// Two cards in one subnet: a cloud instance with a second interface.
    SameSubnet,
    /// A management and a data network, the default by management only, and a static route.
    Campus,
    /// Two subnets, and a container behind a bridge on the host.
    Containers,
}

/// What there is in a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The host's cards, in the order of their indexes.
    pub cards: Vec<Card>,
    /// Machines that ask the host something.
    pub clients: Vec<Client>,
    /// A container on the host.
    pub container: Option<Container>,
}

/// A card of the host, with what its lease and its router's advertisements say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Its name.
    pub name: String,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its addresses.
    pub addresses: Vec<Ifaddr>,
    /// The subnets that it is in, also where the addresses do not say so.
    pub subnets: Vec<Prefix>,
    /// The router's Ethernet address.
    pub router: Mac,
    /// The router's IPv4 address.
    pub gateway4: Ipv4Addr,
    /// The router's link-local address.
    pub gateway6: Ipv6Addr,
    /// The metric of the IPv4 default that the lease leaves in main, if it leaves one.
    pub default4: Option<u32>,
    /// Whether the router advertises itself as an IPv6 default.
    pub default6: bool,
    /// Networks that main reaches by this card's gateway.
    pub statics: Vec<Prefix>,
}

/// A machine with one card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// Where it is, in a few words.
    pub about: String,
    /// Its addresses.
    pub addresses: Vec<Ifaddr>,
    /// The router's IPv4 address there.
    pub gateway4: Ipv4Addr,
}

/// A container behind a bridge on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// The bridge's name.
    pub bridge: String,
    /// The host's addresses on the bridge: the container's gateways.
    pub gateways: Vec<Ifaddr>,
    /// The container's addresses.
    pub addresses: Vec<Ifaddr>,
}

// ===== impl Topology =====

impl Topology {
    /// All of them.
    pub const ALL: [Topology; 4] =
        [Topology::TwoSubnets, Topology::SameSubnet, Topology::Campus, Topology::Containers];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Topology::TwoSubnets => "two-subnets",
            Topology::SameSubnet => "same-subnet",
            Topology::Campus => "campus",
            Topology::Containers => "containers",
        }
    }

    /// What it is, in one line.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Topology::TwoSubnets => "two cards in two subnets of a cloud network",
            Topology::SameSubnet => "two cards in one subnet of a cloud network",
            Topology::Campus => "a management network with the default route, and a data network",
            Topology::Containers => "two subnets, and a container behind a bridge",
        }
    }

    /// What there is in it.
    #[must_use]
    pub fn layout(self) -> Layout {
        match self {
            Topology::TwoSubnets => two_subnets::layout(),
            Topology::SameSubnet => same_subnet::layout(),
            Topology::Campus => campus::layout(),
            Topology::Containers => containers::layout(),
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Topology {
    type Err = String;

    fn from_str(s: &str) -> Result<Topology, String> {
        Topology::ALL.into_iter().find(|t| t.name() == s).ok_or_else(|| {
            let names = Topology::ALL.map(Topology::name).join(", ");
            format!("`{s}` is not a topology; there are: {names}")
        })
    }
}

// ===== impl Layout =====

impl Layout {
    /// The host's addresses on its cards, in order.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.cards.iter().flat_map(|c| &c.addresses).map(|a| a.address)
    }
}

// ===== impl Card =====

impl Card {
    /// The first address of a family.
    #[must_use]
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses.iter().map(|a| a.address).find(|a| Family::of(*a) == family)
    }

    /// The router's address of a family.
    #[must_use]
    pub fn gateway(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.gateway4.into(),
            Family::V6 => self.gateway6.into(),
        }
    }
}

// ===== helpers for the layouts =====

/// Seconds that leases are for, unless a layout says otherwise.
const LEASE: u32 = 3600;
/// The router's Ethernet address, from which its link-local address follows.
const ROUTER: Mac = Mac([0x02, 0x8f, 0x53, 0x6f, 0x64, 0xef]);

/// A card with a default of each family and no static routes. Addresses and gateway are literals
/// of the layouts, so that a spelling mistake is a panic in every test.
fn card(name: &str, mac: [u8; 6], router: Mac, gateway4: &str, addresses: &[&str]) -> Card {
    let addresses: Vec<_> = addresses.iter().map(|a| ifaddr(a).leased(LEASE)).collect();
    Card {
        name: name.to_owned(),
        mac: Mac(mac),
        subnets: addresses.iter().map(Ifaddr::network).collect(),
        addresses,
        router,
        gateway4: gateway4.parse().expect("a literal"),
        gateway6: router.link_local(),
        default4: Some(0),
        default6: true,
        statics: Vec::new(),
    }
}

fn client(name: &str, about: &str, gateway4: &str, addresses: &[&str]) -> Client {
    Client {
        name: name.to_owned(),
        about: about.to_owned(),
        addresses: addresses.iter().map(|a| ifaddr(a)).collect(),
        gateway4: gateway4.parse().expect("a literal"),
    }
}

/// The client far away, the same in all layouts.
fn remote(name: &str) -> Client {
    client(
        name,
        "somewhere in the internet",
        "198.51.100.1",
        &["198.51.100.7/24", "2001:db8:99::7/64"],
    )
}

fn ifaddr(s: &str) -> Ifaddr {
    s.parse().expect("a literal")
}

fn prefix(s: &str) -> Prefix {
    s.parse().expect("a literal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_is_spelt_right_and_has_two_cards_of_both_families() {
        for topology in Topology::ALL {
            let layout = topology.layout();
            assert_eq!(layout.cards.len(), 2, "{topology}");
            for card in &layout.cards {
                for family in Family::BOTH {
                    let address = card.address(family).unwrap();
                    assert!(card.subnets.iter().any(|s| s.contains(address)), "{address}");
                }
            }
            assert_eq!(topology.name().parse(), Ok(topology));
        }
    }

    #[test]
    fn the_routers_link_local_address_is_the_seeds() {
        assert_eq!(ROUTER.link_local().to_string(), "fe80::8f:53ff:fe6f:64ef");
    }
}
