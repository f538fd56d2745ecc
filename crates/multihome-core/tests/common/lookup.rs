//! The kernel's decision, re-enacted from its sources and not from ours.
//!
//! `fib_rules_lookup` walks the rules; `fib_table_lookup` and `fib6_table_lookup` find the
//! longest prefix of a table, then the smallest metric. A route that refuses ends the walk,
//! for suppression only looks at answers that lead somewhere.

use std::net::IpAddr;

use multihome_core::model::names::TABLE_LOCAL;
use multihome_core::model::{Action, Hop, Route, RouteKind, Rule};
use multihome_core::prefix::Family;

use super::kernel::Kernel;

/// What a look-up is for.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    /// None: a socket that has no source yet.
    pub(crate) from: Option<IpAddr>,
    pub(crate) to: IpAddr,
    /// `lo` for what the host itself sends.
    pub(crate) iif: String,
    /// The link that the socket is bound to.
    pub(crate) oif: Option<u32>,
}

/// What the kernel says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is the host's own address.
    Local,
    Out {
        link: u32,
        gateway: Option<IpAddr>,
        route: Route,
    },
    Refused(RouteKind),
    /// No rule had an answer: ENETUNREACH.
    Nowhere,
}

impl Packet {
    pub(crate) fn sent(from: IpAddr, to: IpAddr) -> Packet {
        Packet { from: Some(from), to, iif: "lo".into(), oif: None }
    }

    pub(crate) fn unbound(to: IpAddr) -> Packet {
        Packet { from: None, to, iif: "lo".into(), oif: None }
    }

    pub(crate) fn bound(to: IpAddr, oif: u32) -> Packet {
        Packet { oif: Some(oif), ..Packet::unbound(to) }
    }

    pub(crate) fn forwarded(from: IpAddr, to: IpAddr, iif: &str) -> Packet {
        Packet { from: Some(from), to, iif: iif.into(), oif: None }
    }
}

impl Answer {
    pub(crate) fn link(&self) -> Option<u32> {
        match self {
            Answer::Out { link, .. } => Some(*link),
            _ => None,
        }
    }
}

impl Kernel {
    /// `ip route get`.
    pub(crate) fn lookup(&self, packet: &Packet) -> Answer {
        let family = Family::of(packet.to);
        let rules: Vec<&Rule> = self.rules().iter().filter(|r| r.family == family).collect();
        let mut next = 0;
        while let Some(rule) = rules.get(next) {
            next += 1;
            if self.matches(rule, packet) == rule.not {
                continue;
            }
            match rule.action {
                Action::Goto(target) => {
                    // An unresolved jump is passed over.
                    if let Some(at) = rules.iter().position(|r| r.priority == target) {
                        assert!(at >= next, "a jump backwards: {rule:?}");
                        next = at;
                    }
                }
                Action::Nop => {}
                Action::Lookup(TABLE_LOCAL) => {
                    if self.is_local(packet.to) {
                        return Answer::Local;
                    }
                }
                Action::Lookup(table) => match self.lookup_in(table, packet) {
                    Some((route, None)) if route.kind != RouteKind::Throw => {
                        return Answer::Refused(route.kind);
                    }
                    Some((route, Some(hop))) if !self.is_suppressed(rule, route, hop) => {
                        return Answer::Out {
                            link: hop.link,
                            gateway: hop.gateway,
                            route: route.clone(),
                        };
                    }
                    _ => {}
                },
                _ => return Answer::Refused(RouteKind::Unreachable),
            }
        }
        Answer::Nowhere
    }

    /// The best route of one table, and the hop taken; none for a route that refuses.
    pub(crate) fn lookup_in(&self, table: u32, packet: &Packet) -> Option<(&Route, Option<&Hop>)> {
        let mut fitting: Vec<&Route> = self
            .routes()
            .iter()
            .filter(|r| {
                r.table == table
                    && r.dst.contains(packet.to)
                    && r.tos == 0
                    && !r.is_expired()
                    && r.src.is_none_or(|s| packet.from.is_some_and(|a| s.contains(a)))
            })
            .collect();
        fitting.sort_by_key(|r| {
            let source_len = r.src.map_or(0, |s| s.len());
            (u8::MAX - r.dst.len(), u8::MAX - source_len, r.metric)
        });
        fitting.into_iter().find_map(|route| {
            if route.kind != RouteKind::Unicast {
                return Some((route, None));
            }
            let hop = route.hops.iter().find(|h| {
                packet.oif.is_none_or(|oif| oif == h.link)
                    && self.link(h.link).is_some_and(|l| l.is_up())
            })?;
            Some((route, Some(hop)))
        })
    }

    fn matches(&self, rule: &Rule, packet: &Packet) -> bool {
        rule.from.is_none_or(|p| {
            // A socket without a source is looked up with the unspecified address.
            packet.from.map_or(p.is_default() || p.bits() == 0, |a| p.contains(a))
        }) && rule.to.is_none_or(|p| p.contains(packet.to))
            && rule.iif.as_ref().is_none_or(|name| *name == packet.iif)
            && rule.oif.as_ref().is_none_or(|name| {
                packet.oif.is_some_and(|i| self.link(i).is_some_and(|l| l.name == *name))
            })
            && rule.fwmark.is_none_or(|(mark, mask)| mark & mask == 0)
    }

    fn is_suppressed(&self, rule: &Rule, route: &Route, hop: &Hop) -> bool {
        rule.suppress_prefixlength.is_some_and(|len| u32::from(route.dst.len()) <= len)
            || rule
                .suppress_ifgroup
                .is_some_and(|group| self.link(hop.link).is_some_and(|l| l.group == group))
    }
}
