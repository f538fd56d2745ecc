//! The gateway last learnt on a link, for when the link goes down and comes back.
//!
//! `ip link set down; up` takes every route of the link from every table, in silence
//! for IPv4, and nobody may put main's default back. So the gateway is remembered, tied
//! to the link's permanent address and to the network that held it. Memory must not
//! outlive what it remembers: a gateway that goes away while the link stays up was
//! withdrawn (a deleted default, a router advertisement with lifetime 0, an expired
//! lease) and is forgotten. A lease whose file is gone is not withdrawn by that: systemd-networkd's
//! restart takes the files away and leaves the addresses, until the DHCP server has answered again.
//! It is over when its address goes, when its time is up, or when a lease says that there is no
//! gateway. The link's count of carrier changes tells the two apart,
//! also across a restart of ours; a link seen down is noted as well, for drivers that
//! keep their carrier while down.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::model::hint::Source;
use crate::model::{Address, Hop, Link, Metrics, Snapshot};
use crate::prefix::{Family, Prefix};
use crate::ways::{self, Learnt, LiveRoutes, Way};

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
    /// The lease that told it, if a file did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
}

/// A lease that told a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// The address that came with it.
    pub address: IpAddr,
    /// When it ends, in seconds since 1970; none when nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Whose file told it.
    pub source: Source,
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
                let same = |g: &&mut Remembered| g.family == family && g.link == link.identity();
                match learn(snapshot, config, &live, link, family) {
                    Lesson::None => {}
                    Lesson::Gateway(new) => match self.gateways.iter_mut().find(same) {
                        Some(old) => *old = *new,
                        None => self.gateways.push(*new),
                    },
                    Lesson::Advertised => self.gateways.retain_mut(|g| !same(&&mut *g)),
                }
            }
        }
        let mut forgotten = Vec::new();
        self.gateways.retain_mut(|g| match state(snapshot, &live, g) {
            State::Live | State::OffFile => true,
            State::Away => {
                g.parked = true;
                true
            }
            State::Withdrawn(_) => {
                forgotten.push(g.clone());
                false
            }
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
        let link = |g| match state(snapshot, &live, g) {
            State::Withdrawn(link) => Some(link),
            State::Live | State::OffFile | State::Away => None,
        };
        self.gateways.iter().filter_map(link).collect()
    }

    /// Notes that a link was seen down, or is gone: what its gateway lost meanwhile was not
    /// withdrawn.
    pub fn park(&mut self, link: &Link) {
        let identity = link.identity();
        self.gateways.iter_mut().filter(|g| g.link == identity).for_each(|g| g.parked = true);
    }

    /// Whether a gateway of the link was there before it went down, and has not been seen since.
    #[must_use]
    pub fn is_parked(&self, link: &Link, family: Family) -> bool {
        let identity = link.identity();
        self.gateways.iter().any(|g| g.parked && g.family == family && g.link == identity)
    }

    /// Gives up waiting for IPv6 on links that have come up long enough ago: no router has
    /// given them an address again. (What is remembered for IPv4 needs nobody's answer.)
    pub fn give_up(&mut self, snapshot: &Snapshot) {
        let waits = |g: &Remembered| {
            let link = snapshot.links().find(|l| l.is_up() && l.identity() == g.link);
            link.is_some_and(|l| !snapshot.addresses_of(l.index).any(is_ipv6))
        };
        self.gateways.retain(|g| !(g.parked && g.family == Family::V6 && waits(g)));
    }

    /// Forgets what leases told that have ended by now, in seconds since 1970. Returns it.
    pub fn end_leases(&mut self, now: u64) -> Vec<Remembered> {
        let has_ended = |g: &mut Remembered| g.first_end().is_some_and(|end| end <= now);
        self.gateways.extract_if(.., has_ended).collect()
    }

    /// When the first lease that told something ends, in seconds since 1970.
    #[must_use]
    pub fn first_end(&self) -> Option<u64> {
        self.gateways.iter().filter_map(Remembered::first_end).min()
    }

    /// The way out that is remembered for a link, when its card is still where it was.
    #[must_use]
    pub fn recall(&self, link: &Link, family: Family, addresses: &[Address]) -> Option<Way> {
        let known = self.gateways.iter().find(|g| {
            g.family == family
                && g.link == link.identity()
                && addresses.iter().any(|a| g.network.contains(a.local))
                && g.lease.as_ref().is_none_or(|l| l.is_held(addresses))
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

impl Lease {
    /// Whether the link still has its address.
    fn is_held(&self, addresses: &[Address]) -> bool {
        addresses.iter().any(|a| a.local == self.address)
    }

    /// Whether the file may be away while the lease is in force: managers take theirs away at a
    /// restart, and leave the addresses.
    fn outlives_its_file(&self) -> bool {
        matches!(self.source, Source::Networkd | Source::NetworkManager)
    }
}

impl Remembered {
    fn first_end(&self) -> Option<u64> {
        self.lease.as_ref()?.expires
    }
}

/// What there is to learn of one link, in one family.
enum Lesson {
    /// Nothing: no way out is told now.
    None,
    /// A gateway to remember.
    Gateway(Box<Remembered>),
    /// A router whose word on file has an end of its own: neither it nor the one before it is
    /// remembered.
    Advertised,
}

fn learn(
    snapshot: &Snapshot,
    config: &Config,
    live: &LiveRoutes<'_>,
    link: &Link,
    family: Family,
) -> Lesson {
    if !link.is_up() || link.is_loopback() || config.excludes(&link.name).is_some() {
        return Lesson::None;
    }
    let addresses = addresses(snapshot, link, family);
    let Some(way) = ways::told(live, link, &addresses).into_iter().next() else {
        return Lesson::None;
    };
    let lease = match &way.learnt {
        Learnt::Advertised { .. } => return Lesson::Advertised,
        Learnt::Hint { source, file } => {
            let hints = snapshot.hints.of(link, family, &addresses);
            let hint = hints.into_iter().find(|h| (h.source, &h.file) == (*source, file));
            hint.and_then(|h| {
                Some(Lease { address: h.address?, expires: h.expires, source: *source })
            })
        }
        _ => None,
    };
    let (Some(hop), Some(first)) = (way.hops.into_iter().next(), addresses.first()) else {
        return Lesson::None;
    };
    let holder = hop.gateway.and_then(|g| addresses.iter().find(|a| a.network().contains(g)));
    let holder = holder.unwrap_or(first);
    Lesson::Gateway(Box::new(Remembered {
        link: link.identity(),
        family,
        gateway: hop.gateway,
        onlink: hop.flags & crate::model::route::RTNH_F_ONLINK != 0,
        metrics: way.metrics,
        network: Prefix::new(holder.local, holder.prefix_len),
        carrier_changes: link.carrier_changes,
        parked: false,
        lease,
    }))
}

fn addresses(snapshot: &Snapshot, link: &Link, family: Family) -> Vec<Address> {
    let counts = |a: &&Address| a.family() == family && crate::prefix::is_global(a.local);
    snapshot.addresses_of(link.index).filter(counts).cloned().collect()
}

fn is_ipv6(address: &Address) -> bool {
    address.family() == Family::V6 && crate::prefix::is_global(address.local)
}

/// What became of a remembered gateway.
enum State {
    /// Somebody keeps a route by it in the kernel or a lease on file, or others by the same link.
    Live,
    /// The lease that told it is not on file, and its address is still there.
    OffFile,
    /// Its link is down, was down, or is not there.
    Away,
    /// It went away while its link, of this index, has been up all the time.
    Withdrawn(u32),
}

fn state(snapshot: &Snapshot, live: &LiveRoutes<'_>, gateway: &Remembered) -> State {
    let same = |l: &&Link| l.identity() == gateway.link && l.master.is_none();
    let Some(link) = snapshot.links().find(same) else { return State::Away };
    let by_it = |g: IpAddr| Some(g) == gateway.gateway;
    let addresses = addresses(snapshot, link, gateway.family);
    if !ways::told(live, link, &addresses).is_empty()
        // One of several gateways of static routes is no way by itself, and not gone either.
        || live.static_gateways(link.index, gateway.family).any(by_it)
    {
        return State::Live;
    }
    if let Some(lease) = &gateway.lease
        && lease.is_held(&addresses)
    {
        // A lease that is in force and names no gateway has taken it back, whatever the link did.
        if !snapshot.hints.of(link, gateway.family, &addresses).is_empty() {
            return State::Withdrawn(link.index);
        }
        if lease.outlives_its_file() {
            return State::OffFile;
        }
    }
    let stayed_up =
        link.is_up() && !gateway.parked && link.carrier_changes == gateway.carrier_changes;
    if stayed_up { State::Withdrawn(link.index) } else { State::Away }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Route;
    use crate::model::hint::{Hint, HintedLink};
    use crate::model::link::{IFF_LOWER_UP, IFF_UP};
    use crate::model::names::TABLE_MAIN;
    use crate::model::snapshot::Event;

    fn address(words: &str) -> Address {
        let local = words.parse().unwrap();
        Address { link: 3, local, prefix_len: 24, peer: None, scope: 0, flags: 0 }
    }

    /// eth1 with 10.0.1.5/24 and, while `leads`, a default route.
    fn host(flags: u32, carrier_changes: u32, leads: bool) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.insert_link(Link {
            index: 3,
            name: "eth1".into(),
            kind: None,
            arphrd: 1,
            flags,
            master: None,
            group: 0,
            address: None,
            permanent_address: Some("52:54:00:12:34:03".into()),
            carrier_changes,
            mtu: 1500,
        });
        snapshot.insert_address(address("10.0.1.5"));
        if leads {
            let mut route = Route::new(TABLE_MAIN, Family::V4.all());
            route.protocol = 16;
            route.hops = vec![Hop::via("10.0.1.1".parse().unwrap(), 3)];
            snapshot.insert_route(route);
        }
        snapshot
    }

    const UP: u32 = IFF_UP | IFF_LOWER_UP;

    fn learnt() -> Memory {
        let mut memory = Memory::default();
        memory.update(&host(UP, 2, true), &Config::default());
        memory
    }

    fn recalls(memory: &Memory, at: &str) -> bool {
        let snapshot = host(UP, 2, false);
        let link = snapshot.link(3).unwrap();
        memory.recall(link, Family::V4, &[address(at)]).is_some()
    }

    #[test]
    fn a_gateway_that_goes_while_the_link_stays_up_is_forgotten() {
        let mut memory = learnt();
        assert!(recalls(&memory, "10.0.1.5"));
        let gone = host(UP, 2, false);
        assert_eq!(memory.would_forget(&gone), [3]);
        assert_eq!(memory.update(&gone, &Config::default()).len(), 1);
        assert!(!recalls(&memory, "10.0.1.5"));
    }

    #[test]
    fn a_gateway_that_goes_with_its_link_is_kept_also_when_it_is_up_again() {
        let mut memory = learnt();
        for (flags, changes) in [(0, 2), (UP, 2), (UP, 2)] {
            let snapshot = host(flags, changes, false);
            assert_eq!(memory.would_forget(&snapshot), [] as [u32; 0]);
            memory.update(&snapshot, &Config::default());
            assert!(recalls(&memory, "10.0.1.5"));
        }
    }

    #[test]
    fn a_flap_that_nobody_saw_is_told_by_the_carrier() {
        let mut memory = learnt();
        memory.update(&host(UP, 4, false), &Config::default());
        assert!(recalls(&memory, "10.0.1.5"));
    }

    #[test]
    fn a_gateway_that_came_back_is_withdrawn_like_any_other() {
        let mut memory = learnt();
        memory.update(&host(0, 3, false), &Config::default());
        memory.update(&host(UP, 4, true), &Config::default());
        memory.update(&host(UP, 4, false), &Config::default());
        assert!(!recalls(&memory, "10.0.1.5"));
    }

    /// eth1 without a default, and a lease on file that names `gateways`, or none on file.
    fn leased(gateways: Option<&[&str]>) -> Snapshot {
        let mut snapshot = host(UP, 2, false);
        snapshot.hints.found.extend(gateways.map(|gateways| Hint {
            link: HintedLink::Name("eth1".into()),
            family: Family::V4,
            source: Source::Networkd,
            file: "/run/systemd/netif/leases/3".into(),
            address: Some("10.0.1.5".parse().unwrap()),
            gateways: gateways.iter().map(|g| g.parse().unwrap()).collect(),
            former: Vec::new(),
            routes: Vec::new(),
            since: 1000,
            expires: Some(2000),
        }));
        snapshot
    }

    #[test]
    fn a_lease_that_is_not_on_file_is_kept_while_its_address_stays() {
        let mut memory = Memory::default();
        let config = Config::default();
        memory.update(&leased(Some(&["10.0.1.1"])), &config);
        assert_eq!(memory.update(&leased(None), &config), []);
        assert!(recalls(&memory, "10.0.1.5"));
        assert!(!memory.gateways[0].parked);
        let mut without = leased(None);
        without.apply(Event::DelAddress(address("10.0.1.5")));
        without.insert_address(address("10.0.1.6"));
        assert_eq!(memory.update(&without, &config).len(), 1);
        assert!(!recalls(&memory, "10.0.1.6"));
    }

    #[test]
    fn a_lease_that_names_no_gateway_withdraws_it() {
        let mut memory = Memory::default();
        let config = Config::default();
        memory.update(&leased(Some(&["10.0.1.1"])), &config);
        assert_eq!(memory.update(&leased(Some(&[])), &config).len(), 1);
        assert!(!recalls(&memory, "10.0.1.5"));
    }

    #[test]
    fn a_lease_that_names_no_gateway_withdraws_it_also_when_the_link_was_down() {
        let mut memory = Memory::default();
        let config = Config::default();
        memory.update(&leased(Some(&["10.0.1.1"])), &config);
        memory.update(&host(0, 3, false), &config);
        assert_eq!(memory.update(&leased(Some(&[])), &config).len(), 1);
        assert!(!recalls(&memory, "10.0.1.5"));
    }

    #[test]
    fn what_a_lease_told_holds_for_its_address_only() {
        let mut memory = Memory::default();
        memory.update(&leased(Some(&["10.0.1.1"])), &Config::default());
        assert!(recalls(&memory, "10.0.1.5"));
        assert!(!recalls(&memory, "10.0.1.99"));
    }

    #[test]
    fn a_router_on_file_takes_the_place_of_the_one_before_it() {
        let mut memory = learnt();
        let mut snapshot = leased(Some(&["10.0.1.2"]));
        snapshot.hints.found[0].address = None;
        memory.update(&snapshot, &Config::default());
        assert!(!recalls(&memory, "10.0.1.5"), "neither the old one nor the new one");
    }

    #[test]
    fn what_a_lease_told_ends_with_it() {
        let mut memory = Memory::default();
        memory.update(&leased(Some(&["10.0.1.1"])), &Config::default());
        assert_eq!(memory.first_end(), Some(2000));
        memory.end_leases(1999);
        assert!(recalls(&memory, "10.0.1.5"));
        memory.end_leases(2000);
        assert!(!recalls(&memory, "10.0.1.5"));
    }

    #[test]
    fn another_network_recalls_nothing() {
        assert!(!recalls(&learnt(), "172.16.4.5"));
    }

    #[test]
    fn an_incomplete_snapshot_makes_nobody_forget() {
        let mut memory = learnt();
        let mut snapshot = host(UP, 2, false);
        snapshot.incomplete.push("a dump was interrupted".into());
        assert_eq!(memory.update(&snapshot, &Config::default()), []);
        assert!(recalls(&memory, "10.0.1.5"));
    }

    #[test]
    fn what_is_remembered_survives_a_restart() {
        let memory = learnt();
        let text = serde_json::to_string(&memory).unwrap();
        assert_eq!(serde_json::from_str::<Memory>(&text).unwrap(), memory);
    }
}
