//! Answers as far as the kernel tells them: what `ip route get` can show of a decision.
//!
//! `RTM_GETROUTE` says less than there is to know (`rt_fill_info`, `rt6_fill_node`): no source for
//! what came in, nothing of the route that refuses. [`Outcome::told`] leaves out of an outcome
//! what the kernel leaves out, so that the two can be compared ([`Told::is`]).

use std::fmt::Write as _;
use std::net::IpAddr;

use super::{Flow, Outcome, Refusal};
use crate::model::RouteKind;
use crate::model::names::{self, Names, TABLE_LOCAL, TABLE_MAIN};
use crate::prefix::Family;

/// What the kernel tells of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It goes this way.
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
    /// The link that it leaves by; the loopback for what is kept.
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
        // As long as the two share a trie (fib_trie_unmerge), the kernel says main for both.
        let shared = |way: &Way| match way.table {
            Some(TABLE_LOCAL) if way.metric.is_none() => Some(TABLE_MAIN),
            table => table,
        };
        match (self, other) {
            (Told::Sent(a), Told::Sent(b)) => {
                (a.kind, a.link, a.gateway, a.source) == (b.kind, b.link, b.gateway, b.source)
                    && same(shared(a), shared(b))
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
    /// Without the source of what has come in, which is not told, and without one that says nothing.
    #[must_use]
    pub fn plain(mut self, flow: &Flow) -> Way {
        let told = |a: &IpAddr| flow.iif.is_none() && !a.is_unspecified();
        self.source = self.source.filter(told);
        self
    }
}

// ===== impl Outcome and Flow =====

impl Outcome<'_> {
    /// What the kernel would tell of it.
    #[must_use]
    pub fn told(&self, flow: &Flow) -> Told {
        let path = match self {
            Outcome::Sent(path) => path,
            Outcome::Refused { error, .. } => return Told::Refused(*error),
        };
        let v6 = flow.family() == Family::V6;
        let way = Way {
            table: path.route.map(|r| r.table),
            kind: path.kind,
            link: path.link,
            gateway: path.gateway,
            source: path.source,
            metric: path.route.filter(|_| v6).map(|r| r.metric),
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
