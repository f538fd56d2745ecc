//! Which interfaces lead somewhere, and by which gateways.
//!
//! An uplink is an interface with a global address and a gateway that no configuration
//! excludes; the two families are independent of each other. Enslaved links never count
//! (their master has the addresses), loopback never, tunnels only when configuration
//! names them: a VPN's default is meant for what the host sends, not for the answers to
//! what came in elsewhere.
//!
//! A gateway comes from the first of these that answers: configuration; a default route
//! of any table but ours; the one gateway that the interface's static routes go through;
//! memory ([`crate::memory`]). An uplink that has lost its gateway while its addresses
//! stay remains one, as its own rules in the snapshot tell: its traffic gets an error,
//! never another door.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;

use crate::config::{Config, Origin};
use crate::interest::is_a_daemons;
use crate::memory::Memory;
use crate::model::link::{IFF_POINTOPOINT, IFF_SLAVE};
use crate::model::names::{TABLE_LOCAL, TABLE_MAIN};
use crate::model::route::{RTM_F_CLONED, RTNH_F_ONLINK};
use crate::model::{Address, Hop, Link, Metrics, Route, RouteKind, Snapshot};
use crate::prefix::{Family, is_global};

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
}

/// One way out by an uplink: what becomes a default route of its table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Way {
    /// The gateway or gateways; a hop without one is a point-to-point link's.
    pub hops: Vec<Hop>,
    /// Path metrics of the route that it was learnt from.
    pub metrics: Metrics,
    /// Router preference (RFC 4191).
    pub preference: u8,
    /// Where it was learnt.
    pub learnt: Learnt,
}

/// Where a gateway was learnt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Learnt {
    /// Configuration.
    Configured(Origin),
    /// A default route that somebody else keeps.
    DefaultRoute {
        /// Its table.
        table: u32,
        /// Who made it.
        protocol: u8,
        /// Its metric.
        metric: u32,
    },
    /// All static routes of the interface go through it.
    StaticRoutes,
    /// It was there before the link went down.
    Remembered,
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
}

/// `RTPROT_REDIRECT`: an ICMP redirect, gone as it came.
pub(crate) const RTPROT_REDIRECT: u8 = 1;

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
            continue;
        }
        if let Some(reason) = barred(snapshot, config, link) {
            found.others.push((link.name.clone(), reason));
            continue;
        }
        let mut sides = Vec::new();
        for family in Family::BOTH {
            let mut addresses: Vec<Address> =
                global.iter().filter(|a| a.family() == family).map(|a| (*a).clone()).collect();
            if addresses.is_empty() {
                if family == Family::V6 && is_parked {
                    sides.push(Side { family, addresses, ways: Vec::new() });
                }
                continue;
            }
            addresses.sort_by_key(|a| (a.is_secondary() || a.is_temporary(), a.is_dadfailed()));
            let ways = ways(config, memory, &live, link, &addresses);
            if ways.is_empty() && live.static_gateways(link.index, family).nth(1).is_some() {
                found.undecided.push((link.name.clone(), family));
            }
            if !ways.is_empty() || was_one(family) {
                sides.push(Side { family, addresses, ways });
            }
        }
        if sides.is_empty() {
            found.others.push((link.name.clone(), NotUplink::NoGateway));
        } else {
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

/// The default routes and static routes of others, sorted out by link once.
pub(crate) struct LiveRoutes<'a> {
    defaults: Vec<(u32, &'a Route)>,
    statics: Vec<(u32, IpAddr)>,
}

impl<'a> LiveRoutes<'a> {
    /// Sorts out the routes of a snapshot.
    pub(crate) fn of(snapshot: &'a Snapshot) -> LiveRoutes<'a> {
        let mut live = LiveRoutes { defaults: Vec::new(), statics: Vec::new() };
        for route in snapshot.routes() {
            if !is_live(route) || route.table == TABLE_LOCAL {
                continue;
            }
            for hop in &route.hops {
                if route.dst.is_default() {
                    live.defaults.push((hop.link, route));
                } else if route.table == TABLE_MAIN
                    && !is_a_daemons(route) // those are not always known, see crate::interest
                    && let Some(gateway) = hop.gateway
                {
                    live.statics.push((hop.link, gateway));
                }
            }
        }
        // One entry for each link and gateway.
        live.statics.sort_unstable();
        live.statics.dedup();
        live.defaults.dedup_by(|a, b| a.0 == b.0 && std::ptr::eq(a.1, b.1));
        live
    }

    /// The gateways that an interface's static routes go through.
    pub(crate) fn static_gateways(
        &self,
        link: u32,
        family: Family,
    ) -> impl Iterator<Item = IpAddr> {
        let of_link = self.statics.iter().filter(move |(of, _)| *of == link);
        of_link.map(|(_, gateway)| *gateway).filter(move |g| Family::of(*g) == family)
    }

    /// The ways out by `link` that others keep in the kernel, the best first.
    pub(crate) fn ways(&self, link: u32, family: Family) -> Vec<Way> {
        let mut routes: Vec<&Route> = self
            .defaults
            .iter()
            .filter(|(of, r)| *of == link && r.family() == family)
            .map(|(_, r)| *r)
            .collect();
        // Main before other tables; then as the kernel chooses: metric, and among RAs of one
        // metric the router's preference (rt6_score_route).
        routes.sort_by_key(|r| {
            (r.table != TABLE_MAIN, r.table, r.metric, preference_rank(r.preference), &r.hops, *r)
        });
        let mut ways: Vec<Way> = Vec::new();
        for route in routes {
            let hops: Vec<Hop> = route
                .hops
                .iter()
                .filter(|h| h.link == link)
                .map(|h| Hop { flags: h.flags & RTNH_F_ONLINK, ..h.clone() })
                .collect();
            let known =
                |h: &Hop| ways.iter().any(|w| w.hops.iter().any(|k| k.gateway == h.gateway));
            if hops.iter().any(|h| h.encap) || hops.iter().all(known) {
                continue;
            }
            ways.push(Way {
                hops,
                metrics: route.path_metrics(),
                preference: route.preference,
                learnt: Learnt::DefaultRoute {
                    table: route.table,
                    protocol: route.protocol,
                    metric: route.metric,
                },
            });
        }
        if !ways.is_empty() {
            return ways;
        }
        let mut gateways = self.static_gateways(link, family);
        // Two gateways would be a guess; one is what the operator routes by.
        if let (Some(gateway), None) = (gateways.next(), gateways.next()) {
            ways.push(Way {
                hops: vec![Hop::via(gateway, link)],
                metrics: Metrics::default(),
                preference: 0,
                learnt: Learnt::StaticRoutes,
            });
        }
        ways
    }
}

fn ways(
    config: &Config,
    memory: &Memory,
    live: &LiveRoutes<'_>,
    link: &Link,
    addresses: &[Address],
) -> Vec<Way> {
    let family = addresses[0].family();
    if let Some((gateway, origin)) = config.gateway(&link.name, family) {
        return vec![Way {
            hops: vec![Hop::via(gateway, link.index)],
            metrics: Metrics::default(),
            preference: 0,
            learnt: Learnt::Configured(origin.clone()),
        }];
    }
    let live = live.ways(link.index, family);
    if !live.is_empty() {
        return live;
    }
    memory.recall(link, family, addresses).into_iter().collect()
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

/// Whether a route is one to learn from: not ours, a way somewhere, and in force.
pub(crate) fn is_live(route: &Route) -> bool {
    !route.is_ours()
        && route.kind == RouteKind::Unicast
        && !route.is_expired()
        && route.src.is_none()
        && route.protocol != RTPROT_REDIRECT
        && route.flags & RTM_F_CLONED == 0
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

fn is_tunnel(link: &Link) -> bool {
    link.kind.as_deref().is_some_and(|k| TUNNEL_KINDS.contains(&k))
        || TUNNEL_TYPES.contains(&link.arphrd)
        || link.flags & IFF_POINTOPOINT != 0 && link.kind.is_none()
}

/// RFC 4191's order: high, medium (and the reserved value), low.
pub(crate) fn preference_rank(preference: u8) -> u8 {
    match preference {
        1 => 0,
        3 => 2,
        _ => 1,
    }
}

// ===== impl Uplink, Side and Way =====

impl Uplink {
    /// Its side of one family.
    #[must_use]
    pub fn side(&self, family: Family) -> Option<&Side> {
        self.sides.iter().find(|s| s.family == family)
    }
}

impl Side {
    /// The address that the default route names as source: the one whose network holds the
    /// gateway, or else the first.
    #[must_use]
    pub fn source_for(&self, gateway: Option<IpAddr>) -> Option<IpAddr> {
        let holder = gateway.and_then(|g| self.addresses.iter().find(|a| a.network().contains(g)));
        holder.or(self.addresses.first()).map(|a| a.local)
    }
}

impl Way {
    /// The gateway, where there is exactly one.
    #[must_use]
    pub fn gateway(&self) -> Option<IpAddr> {
        match self.hops.as_slice() {
            [hop] => hop.gateway,
            _ => None,
        }
    }
}
