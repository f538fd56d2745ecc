//! Which packets a rule is for (`fib_rule_match`, `fib4_rule_match`, `fib6_rule_match`).

use super::walk::Key;
use super::{Lookup, Selector};
use crate::model::Action;
use crate::model::names::TABLE_LOCAL;
use crate::model::rule::Rule;
use crate::prefix::Family;

/// Whether a rule is for a key.
pub(super) enum Match {
    /// It is.
    Yes,
    /// It is not: the first selector that does not match.
    No(Selector),
    /// It has an attribute that is not decoded.
    CannotTell,
}

/// What rules can ask for beside addresses, links and marks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// IP protocol; 0 when it does not matter.
    pub proto: u8,
    /// Source port; 0 when it does not matter.
    pub sport: u16,
    /// Destination port; 0 when it does not matter.
    pub dport: u16,
    /// Owner of the socket.
    pub uid: u32,
    /// The whole TOS or traffic class byte.
    pub tos: u8,
}

impl Lookup<'_> {
    /// Whether a rule is for a key (`fib_rule_match`, `fib4_rule_match`, `fib6_rule_match`).
    pub(super) fn matches(&self, rule: &Rule, key: &Key) -> Match {
        match (self.mismatch(rule, key), rule.not) {
            (Some(selector), false) => return Match::No(selector),
            (None, true) if rule.other.is_empty() => return Match::No(Selector::Not),
            _ => {}
        }
        if rule.other.is_empty() { Match::Yes } else { Match::CannotTell }
    }

    /// The first selector of a rule that a key does not meet.
    fn mismatch(&self, rule: &Rule, key: &Key) -> Option<Selector> {
        // Rules name links, and know them by index; a name that no link has matches nothing.
        let is = |name: &Option<String>, index: u32| {
            name.as_ref().is_none_or(|n| self.links.get(n.as_str()) == Some(&index))
        };
        if !is(&rule.iif, key.iif) {
            return Some(Selector::Iif);
        }
        if !is(&rule.oif, key.oif) {
            return Some(Selector::Oif);
        }
        if rule.fwmark.is_some_and(|(mark, mask)| (mark ^ key.mark) & mask != 0) {
            return Some(Selector::Fwmark);
        }
        // Packets out of a tunnel that collects metadata have one; nothing here does.
        if rule.tun_id.is_some_and(|id| id != 0) {
            return Some(Selector::TunId);
        }
        // Only for packets of a VRF, about which nothing is told (see `is_in_vrf`).
        if rule.l3mdev {
            return Some(Selector::L3mdev);
        }
        if let Some(selector) = key.kind.uid_mismatch(rule) {
            return Some(selector);
        }
        if rule.to.is_some_and(|p| !p.contains(key.to)) {
            return Some(Selector::To);
        }
        // While there is no source, IPv4 compares 0.0.0.0, and IPv6 nothing.
        if rule.from.is_some_and(|p| {
            !p.contains(key.from) || rule.family == Family::V6 && !key.has_source()
        }) {
            return Some(Selector::From);
        }
        key.kind.header_mismatch(rule)
    }
}

// ===== impl Kind =====

impl Kind {
    /// Whether it meets what a rule asks for of a kind, `not` aside.
    pub(super) fn meets(&self, rule: &Rule) -> bool {
        self.uid_mismatch(rule).is_none() && self.header_mismatch(rule).is_none()
    }

    /// What answers it.
    #[must_use]
    pub fn reversed(self) -> Kind {
        Kind { sport: self.dport, dport: self.sport, ..self }
    }

    fn uid_mismatch(&self, rule: &Rule) -> Option<Selector> {
        let outside = |(first, last)| !(first..=last).contains(&self.uid);
        rule.uidrange.is_some_and(outside).then_some(Selector::Uidrange)
    }

    fn header_mismatch(&self, rule: &Rule) -> Option<Selector> {
        let dscp = self.tos & 0xfc;
        let tos = match rule.family {
            // fib_dscp_masked_match: of an IPv4 packet's DSCP, `tos` sees three bits
            Family::V4 => dscp & 0x1c,
            Family::V6 => dscp,
        };
        if rule.tos.is_some_and(|t| t & 0xfc != tos) {
            return Some(Selector::Tos);
        }
        if rule.dscp.is_some_and(|(value, mask)| (value ^ dscp >> 2) & mask != 0) {
            return Some(Selector::Dscp);
        }
        if rule.flowlabel.is_some_and(|(label, mask)| label & mask != 0) {
            return Some(Selector::Flowlabel);
        }
        if rule.ipproto.is_some_and(|p| p != 0 && p != self.proto) {
            return Some(Selector::Ipproto);
        }
        let port = |range: Option<(u16, u16)>, mask: Option<u16>, port: u16| match (range, mask) {
            (None, _) | (Some((0, _) | (_, 0)), _) => true,
            (Some((value, _)), Some(mask)) => (value ^ port) & mask == 0,
            (Some((first, last)), None) => (first..=last).contains(&port),
        };
        if !port(rule.sport, rule.sport_mask, self.sport) {
            return Some(Selector::Sport);
        }
        if !port(rule.dport, rule.dport_mask, self.dport) {
            return Some(Selector::Dport);
        }
        None
    }
}

// ===== which are asked about what comes in =====

/// The rules that are asked about what comes in for an address of this host: those before the one that
/// has the table `local` looked up for everything, where it is found.
pub(crate) fn before_local<'a>(rules: impl Iterator<Item = &'a Rule>) -> Vec<&'a Rule> {
    let rules: Vec<&Rule> = rules.collect();
    let to_local = Action::Lookup(TABLE_LOCAL);
    let is_local = |r: &&Rule| {
        let plain = Rule { protocol: r.protocol, ..Rule::new(r.family, r.priority, to_local) };
        **r == plain
    };
    match rules.iter().position(is_local) {
        // A jump may lead past it.
        Some(at) if !rules[..at].iter().any(|r| matches!(r.action, Action::Goto(_))) => {
            rules[..at].to_vec()
        }
        _ => rules,
    }
}
