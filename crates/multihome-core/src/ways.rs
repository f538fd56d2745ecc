//! The ways out by a link, and where each is learnt.
//!
//! A gateway comes from the first of these that answers: configuration; a default route
//! of any table but ours; a hint on file ([`crate::model::hint`]), as a DHCP lease; the one
//! gateway that the interface's static routes go through; memory ([`crate::memory`]).

use std::collections::HashSet;
use std::net::IpAddr;

use serde::Serialize;

use crate::config::{Config, Origin};
use crate::interest::is_a_daemons;
use crate::memory::Memory;
use crate::model::hint::{Hint, Source};
use crate::model::names::{TABLE_LOCAL, TABLE_MAIN};
use crate::model::route::{RTM_F_CLONED, RTNH_F_ONLINK, RTPROT_BOOT, RTPROT_DHCP};
use crate::model::{Address, Hop, Link, Metrics, Route, RouteKind, Snapshot};
use crate::prefix::{Family, Prefix};

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
    /// A file keeps it, with an address.
    Hint {
        /// Whose file it is.
        source: Source,
        /// The file.
        file: String,
    },
    /// A router advertisement that a file keeps, for as long as the router said.
    Advertised {
        /// Whose file it is.
        source: Source,
        /// The file.
        file: String,
    },
    /// All static routes of the interface go through it.
    StaticRoutes,
    /// It was there before the link went down.
    Remembered,
}

/// `RTPROT_REDIRECT`: an ICMP redirect, gone as it came.
pub(crate) const RTPROT_REDIRECT: u8 = 1;

/// The default routes and static routes of others, sorted out by link once.
pub(crate) struct LiveRoutes<'a> {
    snapshot: &'a Snapshot,
    defaults: Vec<(u32, &'a Route)>,
    statics: Vec<(u32, IpAddr)>,
    /// Networks that are on a link: the link, the network, and the table that says so.
    connected: Vec<(u32, Prefix, u32)>,
}

impl<'a> LiveRoutes<'a> {
    /// Sorts out the routes of a snapshot.
    pub(crate) fn of(snapshot: &'a Snapshot) -> LiveRoutes<'a> {
        let (defaults, statics, connected) = (Vec::new(), Vec::new(), Vec::new());
        let mut live = LiveRoutes { snapshot, defaults, statics, connected };
        // A router that is this host itself leads nowhere: Cilium's cilium_host has routes by its own
        // address, and the kernel would refuse ours (`fib_check_nh_v4_gw`).
        let own: HashSet<(u32, IpAddr)> = snapshot.addresses().map(|a| (a.link, a.local)).collect();
        for route in snapshot.routes() {
            if !is_live(route) || route.table == TABLE_LOCAL {
                continue;
            }
            for hop in &route.hops {
                if hop.gateway.is_some_and(|g| own.contains(&(hop.link, g))) {
                    continue;
                }
                if route.dst.is_default() {
                    live.defaults.push((hop.link, route));
                } else if is_a_daemons(route) {
                    // Those are not always known, see crate::interest.
                } else if let Some(gateway) = hop.gateway {
                    if route.table == TABLE_MAIN {
                        live.statics.push((hop.link, gateway));
                    }
                } else {
                    live.connected.push((hop.link, route.dst, route.table));
                }
            }
        }
        live.connected.sort_unstable();
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

    /// The defaults by `link` that others keep, the best first.
    fn defaults(&self, link: u32, family: Family) -> Vec<Way> {
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
        ways
    }

    /// The way out that the interface's static routes show: two gateways would be a guess, one
    /// is what the operator routes by.
    fn by_static_routes(&self, link: u32, family: Family) -> Option<Way> {
        let mut gateways = self.static_gateways(link, family);
        match (gateways.next(), gateways.next()) {
            (Some(gateway), None) => Some(Way::via(gateway, link, Learnt::StaticRoutes)),
            _ => None,
        }
    }

    /// Whether somebody keeps a default by this link.
    pub(crate) fn leads(&self, link: u32, family: Family) -> bool {
        self.defaults.iter().any(|(of, route)| *of == link && route.family() == family)
    }

    /// The tables in which a network is on a link.
    pub(crate) fn tables_of(&self, link: u32, network: Prefix) -> impl Iterator<Item = u32> {
        // A host with ten thousand addresses has as many of these.
        let first = self.connected.partition_point(|(of, dst, _)| (*of, *dst) < (link, network));
        let held = self.connected[first..].iter();
        held.take_while(move |(of, dst, _)| (*of, *dst) == (link, network))
            .map(|(.., table)| *table)
    }
}

/// The ways out by a link that has `addresses`, all of one family; the best first.
pub(crate) fn find(
    config: &Config,
    memory: &Memory,
    live: &LiveRoutes<'_>,
    link: &Link,
    addresses: &[Address],
) -> Vec<Way> {
    let family = addresses[0].family();
    if let Some((gateway, origin)) = config.gateway(&link.name, family) {
        return vec![Way::via(gateway, link.index, Learnt::Configured(origin.clone()))];
    }
    let told = told(live, link, addresses);
    if !told.is_empty() {
        return told;
    }
    memory.recall(link, family, addresses).into_iter().collect()
}

/// The ways out that the kernel and the files tell now, the best first.
pub(crate) fn told(live: &LiveRoutes<'_>, link: &Link, addresses: &[Address]) -> Vec<Way> {
    let Some(family) = addresses.first().map(Address::family) else { return Vec::new() };
    let hints = live.snapshot.hints.of(link, family, addresses);
    let mut defaults = live.defaults(link.index, family);
    defaults.retain(|way| !hints.iter().any(|hint| is_left_behind(way, hint)));
    if !defaults.is_empty() {
        return defaults;
    }
    // A router that is this host itself leads nowhere.
    let is_own = |g: &IpAddr| live.snapshot.addresses().any(|a| a.local == *g);
    for hint in &hints {
        let gateways = hint.gateways.iter().filter(|g| !is_own(g));
        let ways: Vec<Way> = gateways.map(|g| by_hint(hint, *g, link.index)).collect();
        if !ways.is_empty() {
            return ways;
        }
    }
    let by_static_routes = live.by_static_routes(link.index, family);
    // Networks that nobody has put into the kernel say as much as static routes.
    let by_networks = || {
        live.static_gateways(link.index, family).next().is_none().then_some(())?;
        let hint = hints.first()?;
        hint.only_gateway().filter(|g| !is_own(g)).map(|g| by_hint(hint, g, link.index))
    };
    by_static_routes.or_else(by_networks).into_iter().collect()
}

/// Whether a default is one that an earlier lease has left behind: `dhclient-script` makes it with
/// `RTPROT_BOOT`, as `ip` does, and changes nothing at a renewal. One with another protocol is
/// somebody's who means it.
fn is_left_behind(way: &Way, hint: &Hint) -> bool {
    let is_scripts =
        matches!(way.learnt, Learnt::DefaultRoute { protocol: RTPROT_BOOT | RTPROT_DHCP, .. });
    is_scripts && !hint.gateways.is_empty() && way.gateway().is_some_and(|g| hint.is_former(g))
}

fn by_hint(hint: &Hint, gateway: IpAddr, link: u32) -> Way {
    let (source, file) = (hint.source, hint.file.clone());
    let learnt = match hint.address {
        Some(_) => Learnt::Hint { source, file },
        None => Learnt::Advertised { source, file },
    };
    Way::via(gateway, link, learnt)
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

/// RFC 4191's order: high, medium (and the reserved value), low.
pub(crate) fn preference_rank(preference: u8) -> u8 {
    match preference {
        1 => 0,
        3 => 2,
        _ => 1,
    }
}

// ===== impl Way =====

impl Way {
    /// The way by one gateway of which no more is known.
    fn via(gateway: IpAddr, link: u32, learnt: Learnt) -> Way {
        let hops = vec![Hop::via(gateway, link)];
        Way { hops, metrics: Metrics::default(), preference: 0, learnt }
    }

    /// The gateway, where there is exactly one.
    #[must_use]
    pub fn gateway(&self) -> Option<IpAddr> {
        match self.hops.as_slice() {
            [hop] => hop.gateway,
            _ => None,
        }
    }
}
