//! Answers as far as the kernel tells them: what `ip route get` can show of a decision.
//!
//! `RTM_GETROUTE` says less than there is to know (`rt_fill_info`, `rt6_fill_node`): no source for
//! what came in, of IPv6 not which error a rule gave. [`Outcome::told`] leaves out of an outcome
//! what the kernel leaves out, so that the two can be compared ([`Told::is`]).

use std::fmt::Write as _;
use std::net::IpAddr;

use super::{By, Flow, Outcome, Refusal};
use crate::model::names::{self, Names};
use crate::model::{Route, RouteKind};
use crate::prefix::Family;

/// What the kernel tells of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It goes this way. IPv6 answers so with routes that refuse, too: [`Way::kind`] tells.
    Sent(Way),
    /// It is refused.
    Refused(Refusal),
}

/// The way that a packet goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The table of the route; none when the kernel needed none.
    pub table: Option<u32>,
    /// What becomes of it.
    pub kind: RouteKind,
    /// The link that it leaves by; the loopback for what is kept, 0 for what is refused.
    pub link: u32,
    /// The gateway, where it goes through one.
    pub gateway: Option<IpAddr>,
    /// The source address that it has or gets; none for what came in.
    pub source: Option<IpAddr>,
    /// The metric of the route, which only IPv6 tells.
    pub metric: Option<u32>,
}

// ===== impl Told =====

impl Told {
    /// Whether the two are one answer, as far as both tell.
    #[must_use]
    pub fn is(&self, other: &Told) -> bool {
        let same = |a: Option<u32>, b: Option<u32>| a.zip(b).is_none_or(|(a, b)| a == b);
        match (self, other) {
            (Told::Sent(a), Told::Sent(b)) => {
                (a.kind, a.link, a.gateway, a.source) == (b.kind, b.link, b.gateway, b.source)
                    && same(a.table, b.table)
                    && same(a.metric, b.metric)
            }
            // Since Linux 6.15 the reverse path filter says EINVAL.
            (
                Told::Refused(Refusal::CrossDevice | Refusal::Invalid),
                Told::Refused(Refusal::CrossDevice | Refusal::Invalid),
            ) => true,
            (Told::Refused(a), Told::Refused(b)) => a == b,
            _ => false,
        }
    }

    /// In `ip`'s words: `unicast table main via 10.0.0.1 dev ens5 src 10.0.0.204`, or an error's
    /// name.
    #[must_use]
    pub fn display(&self, names: &Names) -> String {
        let way = match self {
            Told::Refused(refusal) => return refusal.name().to_owned(),
            Told::Sent(way) => way,
        };
        let mut out = way.kind.word().to_owned();
        // Writing to a String cannot fail.
        if let Some(table) = way.table {
            let _ = write!(out, " table {}", names.table(table));
        }
        if let Some(gateway) = way.gateway {
            let _ = write!(out, " via {gateway}");
        }
        if way.link != 0 {
            let _ = write!(out, " dev {}", names.link(way.link));
        }
        if let Some(source) = way.source {
            let _ = write!(out, " src {source}");
        }
        if let Some(metric) = way.metric {
            let _ = write!(out, " metric {metric}");
        }
        out
    }
}

// ===== impl Way =====

impl Way {
    /// Without what means nothing: where a refused packet would have gone, and the source of one
    /// that has come in.
    #[must_use]
    pub fn plain(mut self, flow: &Flow) -> Way {
        if flow.iif.is_some() || refuses(self.kind) {
            self.source = None;
        }
        if refuses(self.kind) {
            self.link = 0;
            self.gateway = None;
        }
        self
    }
}

// ===== impl Outcome and Flow =====

impl Outcome<'_> {
    /// What the kernel would tell of it.
    #[must_use]
    pub fn told(&self, flow: &Flow) -> Told {
        let v6 = flow.family() == Family::V6;
        let of = |route: &Route| (Some(route.table), v6.then_some(route.metric));
        let way = match self {
            Outcome::Sent(path) => {
                let (table, metric) = path.route.map_or((None, None), of);
                let (kind, link) = (path.kind, path.link);
                Way { table, kind, link, gateway: path.gateway, source: path.source, metric }
            }
            Outcome::Refused { by: By::Route(_, route), .. } if v6 => {
                let (table, metric) = of(route);
                Way { table, kind: route.kind, link: 0, gateway: None, source: None, metric }
            }
            // The kernel's own routes for these are in no table, and inet6_rtm_getroute says
            // ENETUNREACH where a route is in none.
            Outcome::Refused { by: By::Rule(_) | By::NoRoute, .. } if v6 => {
                return Told::Refused(Refusal::NetworkUnreachable);
            }
            Outcome::Refused { error, .. } => return Told::Refused(*error),
        };
        Told::Sent(way.plain(flow))
    }
}

impl Flow {
    /// The flow as `RTM_GETROUTE` understands it: IPv4 without a protocol is UDP, and what comes
    /// in by IPv4 is root's.
    #[must_use]
    pub fn as_asked(&self) -> Flow {
        let mut flow = self.clone();
        if flow.family() == Family::V4 {
            if flow.proto == 0 {
                flow.proto = 17;
            }
            if flow.iif.is_some() {
                flow.uid = 0;
            }
        }
        flow.bound = false;
        flow
    }

    /// As `ip route get` reads it: `10.0.0.9 from 10.0.0.204 oif ens6`.
    #[must_use]
    pub fn arguments(&self, names: &Names) -> String {
        let mut out = self.to.to_string();
        // Writing to a String cannot fail.
        if let Some(from) = self.from {
            let _ = write!(out, " from {from}");
        }
        for (word, link) in [("iif", self.iif), ("oif", self.oif)] {
            if let Some(link) = link {
                let _ = write!(out, " {word} {}", names.link(link));
            }
        }
        if self.mark != 0 {
            let _ = write!(out, " mark {:#x}", self.mark);
        }
        if self.tos != 0 {
            let _ = write!(out, " tos {:#04x}", self.tos);
        }
        if self.proto != 0 {
            let _ = write!(out, " ipproto {}", names::ipproto(self.proto));
        }
        for (word, port) in [("sport", self.sport), ("dport", self.dport)] {
            if port != 0 {
                let _ = write!(out, " {word} {port}");
            }
        }
        if self.uid != 0 {
            let _ = write!(out, " uid {}", self.uid);
        }
        out
    }
}

// ===== helpers =====

fn refuses(kind: RouteKind) -> bool {
    matches!(kind, RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_written_as_ip_reads_it() {
        let names = Names { links: [(3, "ens6".to_owned())].into(), ..Names::default() };
        let flow = Flow {
            oif: Some(3),
            mark: 0x10,
            tos: 8,
            proto: 6,
            dport: 443,
            uid: 1000,
            ..Flow::reply("10.0.0.204".parse().unwrap(), "10.0.0.9".parse().unwrap())
        };
        assert_eq!(
            flow.arguments(&names),
            "10.0.0.9 from 10.0.0.204 oif ens6 mark 0x10 tos 0x08 ipproto tcp dport 443 uid 1000"
        );
    }

    #[test]
    fn one_that_tells_less_is_the_same_answer() {
        let way = Way {
            table: Some(254),
            kind: RouteKind::Unicast,
            link: 3,
            gateway: None,
            source: None,
            metric: Some(1024),
        };
        let less = Told::Sent(Way { table: None, metric: None, ..way.clone() });
        let other = Told::Sent(Way { table: Some(255), ..way.clone() });
        let told = Told::Sent(way);
        assert!(told.is(&less) && less.is(&told) && !told.is(&other));
        assert_eq!(told.display(&Names::default()), "unicast table main dev if3 metric 1024");
    }
}
