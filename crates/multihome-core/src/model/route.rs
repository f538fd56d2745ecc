//! Routes (`RTM_NEWROUTE`).
//!
//! The two families keep different books. IPv4 knows a route by prefix, TOS and
//! metric, and its multipath routes are one object; IPv6 knows it by prefix, source
//! prefix, metric and nexthop, gives metric 0 the value 1024, and grows siblings into
//! a multipath route one by one. [`Route::key`] is what both have in common.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use super::metrics::{Metrics, RTAX_LOCK, RTAX_MTU, RTAX_RTO_MIN};
use super::metrics::{RTAX_HOPLIMIT, Spelling};
use super::names::{self, Names, TABLE_MAIN};
use crate::prefix::{Family, Prefix};

/// A route of any table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// `RTA_TABLE`.
    pub table: u32,
    /// `RTA_DST` and `rtm_dst_len`.
    pub dst: Prefix,
    /// `RTA_SRC` of an IPv6 source-specific route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src: Option<Prefix>,
    /// `rtm_tos`; always 0 for IPv6.
    #[serde(default, skip_serializing_if = "is_zero8")]
    pub tos: u8,
    /// `RTA_PRIORITY`: the smaller the better.
    #[serde(default)]
    pub metric: u32,
    /// `rtm_type`.
    #[serde(default)]
    pub kind: RouteKind,
    /// `rtm_protocol`: who made it.
    pub protocol: u8,
    /// `rtm_scope`; always global for IPv6.
    #[serde(default, skip_serializing_if = "is_zero8")]
    pub scope: u8,
    /// `RTA_PREFSRC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefsrc: Option<IpAddr>,
    /// Where it leads: one, or several for multipath; none for `unreachable` and its like. A
    /// route with `nhid` carries the hops that the kernel resolved for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hops: Vec<Hop>,
    /// `RTA_NH_ID`: the nexthop object that it uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nhid: Option<u32>,
    /// `RTA_METRICS`.
    #[serde(default, skip_serializing_if = "Metrics::is_empty")]
    pub metrics: Metrics,
    /// `RTA_PREF`: the router preference of RFC 4191 (0 medium, 1 high, 3 low).
    #[serde(default, skip_serializing_if = "is_zero8")]
    pub preference: u8,
    /// Seconds until it expires, from `RTA_CACHEINFO`; 0 or less: expired, and skipped by the
    /// kernel although the garbage collection has not come round yet (`rt6_check_expired`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// `rtm_flags`: `RTM_F_` bits such as `RTM_F_CLONED`; hop flags are in the hops.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub flags: u32,
}

/// One way that a route leads.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hop {
    /// `RTA_OIF` or `rtnh_ifindex`.
    pub link: u32,
    /// `RTA_GATEWAY`, or `RTA_VIA` when the gateway is of the other family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Weight less one (`rtnh_hops`).
    #[serde(default, skip_serializing_if = "is_zero8")]
    pub weight: u8,
    /// `RTNH_F_` bits.
    #[serde(default, skip_serializing_if = "is_zero8")]
    pub flags: u8,
    /// Whether the hop has a lightweight tunnel (`RTA_ENCAP`), which multihome does not copy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub encap: bool,
}

/// `rtm_type`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// `RTN_UNICAST`.
    #[default]
    Unicast,
    /// `RTN_LOCAL`.
    Local,
    /// `RTN_BROADCAST`.
    Broadcast,
    /// `RTN_ANYCAST`.
    Anycast,
    /// `RTN_MULTICAST`.
    Multicast,
    /// `RTN_BLACKHOLE`: dropped in silence.
    Blackhole,
    /// `RTN_UNREACHABLE`: refused with "No route to host".
    Unreachable,
    /// `RTN_PROHIBIT`.
    Prohibit,
    /// `RTN_THROW`: the look-up goes on with the next rule.
    Throw,
    /// `RTN_NAT` or a number that this version does not know.
    Other(u8),
}

/// What a route is looked up by when it is replaced or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// Table.
    pub table: u32,
    /// Destination.
    pub dst: Prefix,
    /// Source prefix.
    pub src: Option<Prefix>,
    /// TOS.
    pub tos: u8,
    /// Metric.
    pub metric: u32,
}

/// `RTPROT_BOOT`: what `ip` writes unless told otherwise.
pub const RTPROT_BOOT: u8 = 3;
/// `RTPROT_STATIC`: what managers write that somebody configured.
pub const RTPROT_STATIC: u8 = 4;
/// `RTPROT_DHCP`.
pub const RTPROT_DHCP: u8 = 16;
/// `RTNH_F_DEAD`: the link is down.
pub const RTNH_F_DEAD: u8 = 1;
/// `RTNH_F_ONLINK`: the gateway is on the link although no route says so.
pub const RTNH_F_ONLINK: u8 = 4;
/// `RTNH_F_LINKDOWN`: no carrier.
pub const RTNH_F_LINKDOWN: u8 = 16;
/// `RTM_F_CLONED`: a cached copy, not a route of the table.
pub const RTM_F_CLONED: u32 = 0x200;
/// `RTPROT_RA`.
pub const RTPROT_RA: u8 = 9;
/// `RT_SCOPE_LINK`.
pub const SCOPE_LINK: u8 = 253;
/// `RT_SCOPE_HOST`.
pub const SCOPE_HOST: u8 = 254;
/// The metric that IPv6 gives to a route without one (`IP6_RT_PRIO_USER`).
pub const METRIC_V6_DEFAULT: u32 = 1024;

// ===== impl Route =====

impl Route {
    /// A unicast route of ours with nothing but its key.
    #[must_use]
    pub fn new(table: u32, dst: Prefix) -> Route {
        Route {
            table,
            dst,
            src: None,
            tos: 0,
            metric: if dst.family() == Family::V6 { METRIC_V6_DEFAULT } else { 0 },
            kind: RouteKind::Unicast,
            protocol: super::PROTOCOL,
            scope: 0,
            prefsrc: None,
            hops: Vec::new(),
            nhid: None,
            metrics: Metrics::default(),
            preference: 0,
            expires: None,
            flags: 0,
        }
    }

    /// Address family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.dst.family()
    }

    /// What the kernel finds it by.
    #[must_use]
    pub fn key(&self) -> RouteKey {
        RouteKey {
            table: self.table,
            dst: self.dst,
            src: self.src,
            tos: self.tos,
            metric: self.metric,
        }
    }

    /// Whether multihome made it.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.protocol == super::PROTOCOL
    }

    /// Its path metrics as far as they are its own.
    ///
    /// On a router advertisement's route the kernel sets hop limit and MTU after it has announced
    /// the route, and announces nothing more (`ndisc_router_discovery`). Both are the link's
    /// anyway (`ip6_dst_hoplimit`, `ip6_mtu`), so a copy does without.
    #[must_use]
    pub fn path_metrics(&self) -> Metrics {
        let mut metrics = self.metrics.clone();
        if self.protocol == RTPROT_RA {
            metrics.values.retain(|number, _| !matches!(*number, RTAX_MTU | RTAX_HOPLIMIT));
        }
        metrics
    }

    /// Whether whoever comes to it is refused, and no other rule is asked (`fib_props`).
    #[must_use]
    pub fn refuses(&self) -> bool {
        matches!(self.kind, RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit)
    }

    /// Whether its lifetime is over, so that look-ups pass it by.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.expires.is_some_and(|s| s <= 0)
    }

    /// As `ip route show` prints it, table included when it is not main.
    #[must_use]
    pub fn display(&self, names: &Names) -> String {
        // Our own protocol goes without saying, and `ip` does not print `proto boot`.
        let shown = !self.is_ours() && self.protocol != RTPROT_BOOT;
        let protocol = shown.then(|| names::protocol(self.protocol));
        self.written(names, protocol, Spelling::Shown)
    }

    /// As `ip route add` reads it: the protocol by its number, for `rt_protos` may lack its name.
    #[must_use]
    pub fn arguments(&self, names: &Names) -> String {
        self.written(names, Some(self.protocol.to_string().into()), Spelling::Typed)
    }

    /// The same as people type it: without the protocol that `ip` puts in itself.
    #[must_use]
    pub fn typed(&self, names: &Names) -> String {
        let said = (self.protocol != RTPROT_BOOT).then(|| self.protocol.to_string().into());
        self.written(names, said, Spelling::Typed)
    }

    fn written(&self, names: &Names, protocol: Option<Cow<'_, str>>, spelling: Spelling) -> String {
        let mut out = String::new();
        self.write(&mut out, names, protocol, spelling);
        out
    }

    fn write(
        &self,
        out: &mut String,
        names: &Names,
        protocol: Option<Cow<'_, str>>,
        spelling: Spelling,
    ) {
        // Writing to a String cannot fail.
        if self.kind != RouteKind::Unicast {
            let _ = write!(out, "{} ", self.kind.word());
        }
        match self.dst {
            d if d.is_default() => out.push_str("default"),
            d => {
                let _ = write!(out, "{d}");
            }
        }
        if let Some(src) = self.src {
            let _ = write!(out, " from {src}");
        }
        if self.tos != 0 {
            let _ = write!(out, " tos {:#04x}", self.tos);
        }
        if let [hop] = self.hops.as_slice() {
            hop.write(out, names, self.family());
        }
        if self.table != TABLE_MAIN {
            let _ = write!(out, " table {}", names.table(self.table));
        }
        if let Some(protocol) = protocol {
            let _ = write!(out, " proto {protocol}");
        }
        if self.scope != 0 {
            let _ = write!(out, " scope {}", names::scope(self.scope));
        }
        if let Some(src) = self.prefsrc {
            let _ = write!(out, " src {src}");
        }
        if self.metric != 0 {
            let _ = write!(out, " metric {}", self.metric);
        }
        if let [hop] = self.hops.as_slice()
            && hop.flags & RTNH_F_ONLINK != 0
        {
            out.push_str(" onlink");
        }
        self.metrics.write(out, spelling);
        match self.preference {
            1 => out.push_str(" pref high"),
            3 => out.push_str(" pref low"),
            _ => {}
        }
        if self.hops.len() > 1 {
            for hop in &self.hops {
                out.push_str(" nexthop");
                hop.write(out, names, self.family());
                let _ = write!(out, " weight {}", u16::from(hop.weight) + 1);
                if hop.flags & RTNH_F_ONLINK != 0 {
                    out.push_str(" onlink");
                }
            }
        }
    }
}

// ===== impl Hop =====

impl Hop {
    /// A hop by `gateway` on `link`.
    #[must_use]
    pub fn via(gateway: IpAddr, link: u32) -> Hop {
        Hop { link, gateway: Some(gateway), ..Hop::default() }
    }

    /// A hop straight onto `link`.
    #[must_use]
    pub fn dev(link: u32) -> Hop {
        Hop { link, ..Hop::default() }
    }

    fn write(&self, out: &mut String, names: &Names, family: Family) {
        if let Some(gateway) = self.gateway {
            let other = match (family, gateway) {
                (Family::V4, IpAddr::V6(_)) => "inet6 ",
                (Family::V6, IpAddr::V4(_)) => "inet ",
                _ => "",
            };
            let _ = write!(out, " via {other}{gateway}");
        }
        if self.link != 0 {
            let _ = write!(out, " dev {}", names.link(self.link));
        }
    }
}

// ===== impl RouteKind =====

impl RouteKind {
    /// iproute2's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            RouteKind::Unicast => "unicast",
            RouteKind::Local => "local",
            RouteKind::Broadcast => "broadcast",
            RouteKind::Anycast => "anycast",
            RouteKind::Multicast => "multicast",
            RouteKind::Blackhole => "blackhole",
            RouteKind::Unreachable => "unreachable",
            RouteKind::Prohibit => "prohibit",
            RouteKind::Throw => "throw",
            RouteKind::Other(_) => "unknown",
        }
    }

    /// The kind that iproute2 has this word for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<RouteKind> {
        // RTN_UNICAST to RTN_THROW.
        (1..=9).map(RouteKind::from).find(|kind| kind.word() == word)
    }

    /// `rtm_type`.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            RouteKind::Unicast => 1,
            RouteKind::Local => 2,
            RouteKind::Broadcast => 3,
            RouteKind::Anycast => 4,
            RouteKind::Multicast => 5,
            RouteKind::Blackhole => 6,
            RouteKind::Unreachable => 7,
            RouteKind::Prohibit => 8,
            RouteKind::Throw => 9,
            RouteKind::Other(n) => n,
        }
    }
}

impl From<u8> for RouteKind {
    fn from(number: u8) -> RouteKind {
        match number {
            1 => RouteKind::Unicast,
            2 => RouteKind::Local,
            3 => RouteKind::Broadcast,
            4 => RouteKind::Anycast,
            5 => RouteKind::Multicast,
            6 => RouteKind::Blackhole,
            7 => RouteKind::Unreachable,
            8 => RouteKind::Prohibit,
            9 => RouteKind::Throw,
            n => RouteKind::Other(n),
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature that serde asks for
fn is_zero8(n: &u8) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature that serde asks for
fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            links: [(2, "eth0".to_owned()), (3, "eth1".to_owned())].into(),
            tables: [(7, "data".to_owned())].into(),
        }
    }

    fn default_by(gateway: &str) -> Route {
        let gateway: IpAddr = gateway.parse().unwrap();
        let dst = Family::of(gateway).all();
        Route { hops: vec![Hop::via(gateway, 2)], ..Route::new(7, dst) }
    }

    fn metrics(values: &[(u16, u32)]) -> Metrics {
        Metrics { values: values.iter().copied().collect(), congctl: None }
    }

    #[test]
    fn routes_are_shown_in_the_words_and_the_order_of_ip() {
        let mut route = default_by("10.0.0.1");
        assert_eq!(route.display(&names()), "default via 10.0.0.1 dev eth0 table data");
        route.prefsrc = Some("10.0.0.5".parse().unwrap());
        route.metric = 5;
        route.hops[0].flags = RTNH_F_ONLINK;
        route.metrics = metrics(&[(1, 1 << 2), (2, 1400), (11, 20), (17, 1)]);
        assert_eq!(
            route.display(&names()),
            "default via 10.0.0.1 dev eth0 table data src 10.0.0.5 metric 5 onlink mtu lock 1400 \
             initcwnd 20 fastopen_no_cookie 1"
        );
        let route = Route { preference: 1, ..default_by("fe80::1") };
        assert_eq!(
            route.display(&names()),
            "default via fe80::1 dev eth0 table data metric 1024 pref high"
        );
    }

    #[test]
    fn the_protocol_is_shown_as_ip_shows_it() {
        let words = |protocol| {
            Route { protocol, table: TABLE_MAIN, ..default_by("10.0.0.1") }.display(&names())
        };
        assert_eq!(words(RTPROT_BOOT), "default via 10.0.0.1 dev eth0");
        assert_eq!(words(16), "default via 10.0.0.1 dev eth0 proto dhcp");
        assert_eq!(words(99), "default via 10.0.0.1 dev eth0 proto 99");
    }

    #[test]
    fn nothing_stands_behind_the_nexthops() {
        // `ip` reads all that follows `nexthop` as part of it.
        let mut route = default_by("10.0.0.1");
        route.metric = 20;
        route.hops.push(Hop { weight: 2, ..Hop::via("10.0.1.1".parse().unwrap(), 3) });
        assert_eq!(
            route.arguments(&names()),
            "default table data proto 177 metric 20 nexthop via 10.0.0.1 dev eth0 weight 1 \
             nexthop via 10.0.1.1 dev eth1 weight 3"
        );
    }

    #[test]
    fn a_gateway_of_the_other_family_is_named_with_it() {
        let route = Route {
            hops: vec![Hop::via("fe80::1".parse().unwrap(), 9)],
            ..Route::new(TABLE_MAIN, Family::V4.all())
        };
        assert_eq!(route.display(&names()), "default via inet6 fe80::1 dev if9");
    }

    #[test]
    fn what_ip_locks_unasked_is_not_typed() {
        let mut route = default_by("10.0.0.1");
        route.protocol = RTPROT_BOOT;
        route.metrics =
            metrics(&[(RTAX_LOCK, 1 << 2 | 1 << 13), (RTAX_MTU, 1400), (RTAX_RTO_MIN, 5)]);
        let shown = "default via 10.0.0.1 dev eth0 table data mtu lock 1400 rto_min lock 5ms";
        assert_eq!(route.display(&names()), shown);
        assert_eq!(route.typed(&names()), shown.replace("rto_min lock", "rto_min"));
    }

    #[test]
    fn a_refusal_leads_nowhere() {
        let route = Route {
            kind: RouteKind::Unreachable,
            metric: u32::MAX,
            ..Route::new(7, Family::V6.all())
        };
        assert_eq!(route.display(&names()), "unreachable default table data metric 4294967295");
    }
}
