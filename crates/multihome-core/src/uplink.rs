//! Which interfaces lead somewhere, and by which gateways.
//!
//! An uplink is an interface with a global address and a gateway that no configuration
//! excludes; the two families are independent of each other. Enslaved links never count
//! (their master has the addresses), loopback never, tunnels only when configuration
//! names them: a VPN's default is meant for what the host sends, not for the answers to
//! what came in elsewhere.
//!
//! Where gateways come from is in [`crate::ways`]. An uplink that has lost its gateway while
//! its addresses stay remains one, as its own rules in the snapshot tell: its traffic gets an
//! error, never another door.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;

use crate::config::Config;
use crate::memory::Memory;
use crate::model::hint::HintedRoute;
use crate::model::link::{IFF_POINTOPOINT, IFF_SLAVE};
use crate::model::names::TABLE_MAIN;
use crate::model::{Address, Link, Snapshot};
use crate::prefix::{Family, is_global};
use crate::ways::{self, Learnt, LiveRoutes, Way};

/// An interface that leads somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Uplink {
    /// Its index.
    pub link: u32,
    /// Its name.
    pub name: String,
    /// Whether it is administratively up; without it no route can be made.
    pub up: bool,
    /// Whether configuration leaves it to main.
    pub primary: bool,
    /// The families in which it is an uplink.
    pub sides: Vec<Side>,
}

/// One family of an uplink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Which.
    pub family: Family,
    /// Its global addresses, primary ones first; empty while the link is down and has lost them.
    pub addresses: Vec<Address>,
    /// The ways out, the best first; empty when the gateway was lost.
    pub ways: Vec<Way>,
    /// Networks that a hint knows a way to, whether or not they are in the kernel.
    pub hinted: Vec<HintedRoute>,
    /// Tables besides main in which a manager keeps this side.
    pub tables: BTreeSet<u32>,
}

/// Why an interface that has a global address is not an uplink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotUplink {
    /// The loopback.
    Loopback,
    /// It is a member of another link.
    Enslaved {
        /// The master's name.
        master: String,
    },
    /// A tunnel that configuration does not name.
    Tunnel {
        /// Its kind.
        kind: String,
    },
    /// Configuration keeps it out.
    Excluded(String),
    /// No gateway was ever seen: main reaches all that there is.
    NoGateway,
    /// It is an uplink in the other family, and no gateway of this one was ever seen.
    NoGatewayIn(Family),
}

/// What was found out about the interfaces of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The uplinks, by index.
    pub uplinks: Vec<Uplink>,
    /// Interfaces that have a global address but are none: name and reason.
    pub others: Vec<(String, NotUplink)>,
    /// Interfaces without a default whose static routes go through several gateways: which of
    /// them leads out would be a guess.
    pub undecided: Vec<(String, Family)>,
    /// Links that lead somewhere and have no global address, as when a lease has expired and the
    /// router still advertises: nothing comes home by them, and what comes in by others must not
    /// leave by them either.
    pub leading: BTreeSet<u32>,
}

/// Kinds of links that are tunnels (`IFLA_INFO_KIND`).
const TUNNEL_KINDS: [&str; 22] = [
    "tun",
    "wireguard",
    "gre",
    "gretap",
    "ip6gre",
    "ip6gretap",
    "erspan",
    "ip6erspan",
    "ipip",
    "sit",
    "ip6tnl",
    "vti",
    "vti6",
    "xfrm",
    "ppp",
    "vxlan",
    "geneve",
    "l2tp",
    "gtp",
    "ovpn",
    "amt",
    "bareudp",
];

/// `ARPHRD_PPP`, `ARPHRD_TUNNEL`, `ARPHRD_TUNNEL6`, `ARPHRD_SIT`, `ARPHRD_IPGRE`,
/// `ARPHRD_IP6GRE`, `ARPHRD_NONE`: tunnels without a kind (old `pppd`, vendor drivers).
const TUNNEL_TYPES: [u16; 7] = [512, 768, 769, 776, 778, 823, 65534];

/// Finds the uplinks of a host.
#[must_use]
pub fn find(snapshot: &Snapshot, config: &Config, memory: &Memory) -> Found {
    let mut found = Found::default();
    let live = LiveRoutes::of(snapshot);
    let marked = marked_by_own_rules(snapshot);
    let mut usable: BTreeMap<u32, Vec<&Address>> = BTreeMap::new();
    for address in snapshot.addresses().filter(|a| is_usable(a)) {
        usable.entry(address.link).or_default().push(address);
    }
    for link in snapshot.links() {
        let global = usable.remove(&link.index).unwrap_or_default();
        // The primary has no rules of its own: what is there is from before it was one.
        let was_one = |family| {
            !config.is_primary(link) && marked.contains(&(family, config.number(link.index)))
        };
        // A link that goes down loses its IPv6 addresses, and nobody took them away: sockets that
        // are bound to them live on, and must not get another door until the addresses are back.
        let is_parked =
            was_one(Family::V6) && (!link.is_up() || memory.is_parked(link, Family::V6));
        if global.is_empty() && !is_parked {
            let leads = Family::BOTH.iter().any(|f| live.leads(link.index, *f));
            if leads && barred(snapshot, config, link).is_none() {
                found.leading.insert(link.index);
            }
            continue;
        }
        if let Some(reason) = barred(snapshot, config, link) {
            found.others.push((link.name.clone(), reason));
            continue;
        }
        let (mut sides, mut unserved) = (Vec::new(), Vec::new());
        for family in Family::BOTH {
            let mut addresses: Vec<Address> =
                global.iter().filter(|a| a.family() == family).map(|a| (*a).clone()).collect();
            if addresses.is_empty() {
                if family == Family::V6 && is_parked {
                    sides.push(Side::without_addresses(family));
                }
                continue;
            }
            addresses.sort_by_key(|a| (a.is_secondary() || a.is_temporary(), a.is_dadfailed()));
            let ways = ways::find(config, memory, &live, link, &addresses);
            if ways.is_empty() && live.static_gateways(link.index, family).nth(1).is_some() {
                found.undecided.push((link.name.clone(), family));
            }
            if ways.is_empty() && !was_one(family) {
                unserved.push(family);
            } else {
                let hints = snapshot.hints.of(link, family, &addresses);
                let hinted = hints.iter().flat_map(|h| h.routes.clone()).collect();
                let tables = tables(&live, link, &addresses, &ways);
                sides.push(Side { family, addresses, ways, hinted, tables });
            }
        }
        if sides.is_empty() {
            found.others.push((link.name.clone(), NotUplink::NoGateway));
        } else {
            let unserved = unserved.into_iter().map(NotUplink::NoGatewayIn);
            found.others.extend(unserved.map(|reason| (link.name.clone(), reason)));
            found.uplinks.push(Uplink {
                link: link.index,
                name: link.name.clone(),
                up: link.is_up(),
                primary: config.is_primary(link),
                sides,
            });
        }
    }
    found
}

/// The tables besides main in which a manager keeps one side of a link (networkd's `RouteTable=`,
/// NetworkManager's `route-table`): that of its default, and those of its networks, which stay
/// there when a default is not wanted (`UseGateway=no`).
fn tables(
    live: &LiveRoutes<'_>,
    link: &Link,
    addresses: &[Address],
    ways: &[Way],
) -> BTreeSet<u32> {
    let mut tables = BTreeSet::new();
    for network in addresses.iter().map(Address::network).collect::<BTreeSet<_>>() {
        let of_network: BTreeSet<u32> = live.tables_of(link.index, network).collect();
        if !of_network.contains(&TABLE_MAIN) {
            tables.extend(of_network);
        }
    }
    if let Some(Way { learnt: Learnt::DefaultRoute { table, .. }, .. }) = ways.first() {
        tables.insert(*table);
    }
    tables.remove(&TABLE_MAIN);
    tables
}

/// Families and numbers for which a rule of ours is there: what was an uplink before.
fn marked_by_own_rules(snapshot: &Snapshot) -> BTreeSet<(Family, u32)> {
    // Only the rule for bound sockets is asked: every uplink has exactly one, and its priority
    // holds the number also when the table has another.
    snapshot
        .rules()
        .filter(|r| r.is_ours() && r.oif.is_some())
        .map(|r| (r.family, r.priority.wrapping_sub(crate::rules::OIF_OFFSET)))
        .collect()
}

/// Whether an address is one that replies can leave from.
fn is_usable(address: &Address) -> bool {
    // RT_SCOPE_LINK and narrower never leave the link.
    address.scope < 253 && is_global(address.local) && !address.is_dadfailed()
}

/// Why a link can never be an uplink.
fn barred(snapshot: &Snapshot, config: &Config, link: &Link) -> Option<NotUplink> {
    if link.is_loopback() {
        return Some(NotUplink::Loopback);
    }
    if let Some(master) = link.master {
        // The master may be in another namespace or not be dumped: then only its index is known.
        let master =
            snapshot.link(master).map_or_else(|| format!("if{master}"), |l| l.name.clone());
        return Some(NotUplink::Enslaved { master });
    }
    if link.flags & IFF_SLAVE != 0 {
        return Some(NotUplink::Enslaved { master: "another link".into() });
    }
    if let Some(reason) = config.excludes(&link.name) {
        return Some(NotUplink::Excluded(reason));
    }
    if is_tunnel(link) && !config.names(&link.name) {
        let kind = link.kind.clone().unwrap_or_else(|| "point-to-point".into());
        return Some(NotUplink::Tunnel { kind });
    }
    None
}

pub(crate) fn is_tunnel(link: &Link) -> bool {
    link.kind.as_deref().is_some_and(|k| TUNNEL_KINDS.contains(&k))
        || TUNNEL_TYPES.contains(&link.arphrd)
        || link.flags & IFF_POINTOPOINT != 0 && link.kind.is_none()
}

// ===== impl Uplink and Side =====

impl Uplink {
    /// Its side of one family.
    #[must_use]
    pub fn side(&self, family: Family) -> Option<&Side> {
        self.sides.iter().find(|s| s.family == family)
    }
}

impl Side {
    /// The side of a link that is down and has lost its addresses with it.
    fn without_addresses(family: Family) -> Side {
        let (addresses, ways, hinted) = (Vec::new(), Vec::new(), Vec::new());
        Side { family, addresses, ways, hinted, tables: BTreeSet::new() }
    }

    /// The address that the default route names as source: the one whose network holds the
    /// gateway, or else the first.
    #[must_use]
    pub fn source_for(&self, gateway: Option<IpAddr>) -> Option<IpAddr> {
        let holder = gateway.and_then(|g| self.addresses.iter().find(|a| a.network().contains(g)));
        holder.or(self.addresses.first()).map(|a| a.local)
    }
}
