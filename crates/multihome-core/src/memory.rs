//! The gateway last learnt on a link, for when the link goes down and comes back.
//!
//! `ip link set down; up` takes every route of the link from every table, in silence
//! for IPv4, and nobody may put main's default back. So the gateway is remembered, tied
//! to the link's permanent address and to the network that held it. Memory must not
//! outlive what it remembers: a gateway that goes away while the link stays up was
//! withdrawn (a deleted default, a router advertisement with lifetime 0, an expired
//! lease) and is forgotten. The link's count of carrier changes tells the two apart,
//! also across a restart of ours; a link seen down is noted as well, for drivers that
//! keep their carrier while down.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::model::{Address, Hop, Link, Metrics, Snapshot};
use crate::prefix::{Family, Prefix};
use crate::uplink::{Learnt, LiveRoutes, Way};

/// All that is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// The gateways, in the order in which they were first learnt.
    #[serde(default)]
    pub gateways: Vec<Remembered>,
}

/// One gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    /// The link's permanent address, or what stands for it ([`Link::identity`]).
    pub link: String,
    /// Which family's default it was.
    pub family: Family,
    /// The gateway; none on a point-to-point link.
    pub gateway: Option<IpAddr>,
    /// Whether the route said that the gateway is on the link although no prefix says so.
    #[serde(default)]
    pub onlink: bool,
    /// Path metrics of the default route.
    #[serde(default)]
    pub metrics: Metrics,
    /// The network of the address that held the gateway: without an address in it, the card is
    /// somewhere else now.
    pub network: Prefix,
    /// The link's carrier changes when the gateway was last seen.
    pub carrier_changes: u32,
    /// Whether the link was seen down since.
    #[serde(default)]
    pub parked: bool,
}

// ===== impl Memory =====

impl Memory {
    /// Learns what the snapshot shows and forgets what was withdrawn. Returns the gateways
    /// that were forgotten.
    ///
    /// A link that is going down loses its IPv6 routes before its own event says so
    /// (`addrconf_ifdown`): make sure of the links' state before a snapshot that would make
    /// this forget is believed, see [`Memory::would_forget`].
    pub fn update(&mut self, snapshot: &Snapshot, config: &Config) -> Vec<Remembered> {
        if !snapshot.is_complete() {
            return Vec::new();
        }
        let live = LiveRoutes::of(snapshot);
        for link in snapshot.links() {
            for family in Family::BOTH {
                if let Some(new) = learn(snapshot, config, &live, link, family) {
                    let same = |g: &&mut Remembered| g.link == new.link && g.family == new.family;
                    match self.gateways.iter_mut().find(same) {
                        Some(old) => *old = new,
                        None => self.gateways.push(new),
                    }
                }
            }
        }
        let mut forgotten = Vec::new();
        self.gateways.retain_mut(|g| {
            let Some(link) = link_of(snapshot, g) else { return true };
            if !live.ways(link.index, g.family).is_empty() {
                return true;
            }
            if is_withdrawn(link, g) {
                forgotten.push(g.clone());
                return false;
            }
            g.parked = true;
            true
        });
        forgotten
    }

    /// The links whose gateway [`Memory::update`] would forget: ask the kernel for their state
    /// once more first.
    #[must_use]
    pub fn would_forget(&self, snapshot: &Snapshot) -> Vec<u32> {
        if self.gateways.is_empty() {
            return Vec::new();
        }
        let live = LiveRoutes::of(snapshot);
        self.gateways
            .iter()
            .filter_map(|g| {
                let link = link_of(snapshot, g)?;
                (live.ways(link.index, g.family).is_empty() && is_withdrawn(link, g))
                    .then_some(link.index)
            })
            .collect()
    }

    /// The way out that is remembered for a link, when its card is still where it was.
    #[must_use]
    pub fn recall(&self, link: &Link, family: Family, addresses: &[Address]) -> Option<Way> {
        let known = self.gateways.iter().find(|g| {
            g.family == family
                && g.link == link.identity()
                && addresses.iter().any(|a| g.network.contains(a.local))
        })?;
        let mut hop = Hop { link: link.index, gateway: known.gateway, ..Hop::default() };
        if known.onlink {
            hop.flags |= crate::model::route::RTNH_F_ONLINK;
        }
        Some(Way {
            hops: vec![hop],
            metrics: known.metrics.clone(),
            preference: 0,
            learnt: Learnt::Remembered,
        })
    }
}

fn learn(
    snapshot: &Snapshot,
    config: &Config,
    live: &LiveRoutes<'_>,
    link: &Link,
    family: Family,
) -> Option<Remembered> {
    if !link.is_up() || link.is_loopback() || config.excludes(&link.name).is_some() {
        return None;
    }
    let way = live.ways(link.index, family).into_iter().next()?;
    let hop = way.hops.into_iter().next()?;
    let mut addresses = snapshot.addresses().filter(|a| {
        a.link == link.index && a.family() == family && crate::prefix::is_global(a.local)
    });
    let first = addresses.next()?;
    let holder = hop
        .gateway
        .and_then(|g| std::iter::once(first).chain(addresses).find(|a| a.network().contains(g)))
        .unwrap_or(first);
    Some(Remembered {
        link: link.identity(),
        family,
        gateway: hop.gateway,
        onlink: hop.flags & crate::model::route::RTNH_F_ONLINK != 0,
        metrics: way.metrics,
        network: Prefix::new(holder.local, holder.prefix_len),
        carrier_changes: link.carrier_changes,
        parked: false,
    })
}

fn link_of<'a>(snapshot: &'a Snapshot, gateway: &Remembered) -> Option<&'a Link> {
    snapshot.links().find(|l| l.identity() == gateway.link && l.master.is_none())
}

/// Whether the gateway went away by itself: its link has been up all the time.
fn is_withdrawn(link: &Link, gateway: &Remembered) -> bool {
    link.is_up() && !gateway.parked && link.carrier_changes == gateway.carrier_changes
}
