//! Rules of the routing policy database (`RTM_NEWRULE`, ip-rule(8)).
//!
//! The whole of a rule is its identity, protocol included (`rule_exists` in
//! net/core/fib_rules.c), so two rules are the same when every field is. Attributes
//! that this version cannot decode are kept in [`Rule::other`]: such a rule is
//! never one of ours, but it must not be mistaken for a simpler one.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::names::{self, Names, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};
use crate::prefix::{Family, Prefix};

/// A rule: which packets it is for, and where they are looked up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `AF_INET` or `AF_INET6`.
    pub family: Family,
    /// `FRA_PRIORITY`: rules are asked in ascending order.
    pub priority: u32,
    /// `FRA_ACTION` with its argument.
    pub action: Action,
    /// `FRA_PROTOCOL`: who made it.
    #[serde(default)]
    pub protocol: u8,
    /// `FIB_RULE_INVERT`: the rule is for packets that do not match.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not: bool,
    /// `FRA_SRC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Prefix>,
    /// `FRA_DST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Prefix>,
    /// `FRA_IIFNAME`; `lo` means what the host itself sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iif: Option<String>,
    /// `FRA_OIFNAME`: sockets bound to that device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oif: Option<String>,
    /// `FRA_FWMARK` and `FRA_FWMASK`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fwmark: Option<(u32, u32)>,
    /// `tos` of the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tos: Option<u8>,
    /// `FRA_IP_PROTO`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipproto: Option<u8>,
    /// `FRA_SPORT_RANGE`, both ends included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sport: Option<(u16, u16)>,
    /// `FRA_DPORT_RANGE`, both ends included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dport: Option<(u16, u16)>,
    /// `FRA_SPORT_MASK`, where it is not full: `sport` is then compared under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sport_mask: Option<u16>,
    /// `FRA_DPORT_MASK`, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dport_mask: Option<u16>,
    /// `FRA_DSCP` and `FRA_DSCP_MASK`: all six bits of the DSCP, where `tos` sees only three.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dscp: Option<(u8, u8)>,
    /// `FRA_FLOWLABEL` and `FRA_FLOWLABEL_MASK`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flowlabel: Option<(u32, u32)>,
    /// `FRA_UID_RANGE`, both ends included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uidrange: Option<(u32, u32)>,
    /// `FRA_L3MDEV`: the table is the VRF's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub l3mdev: bool,
    /// `FRA_TUN_ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tun_id: Option<u64>,
    /// `FRA_SUPPRESS_PREFIXLEN`: an answer by a prefix of this length or less does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppress_prefixlength: Option<u32>,
    /// `FRA_SUPPRESS_IFGROUP`: an answer that leaves by a link of this group does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppress_ifgroup: Option<u32>,
    /// `FRA_FLOW`: realms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realms: Option<u32>,
    /// Attributes that this version does not decode, by number, as bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other: Vec<(u16, Vec<u8>)>,
}

/// What a matching rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// `FR_ACT_TO_TBL`: look the packet up in this table.
    Lookup(u32),
    /// `FR_ACT_GOTO`: go on with the rule of this priority.
    Goto(u32),
    /// `FR_ACT_NOP`: go on with the next rule.
    Nop,
    /// `FR_ACT_BLACKHOLE`.
    Blackhole,
    /// `FR_ACT_UNREACHABLE`.
    Unreachable,
    /// `FR_ACT_PROHIBIT`.
    Prohibit,
    /// A number that this version does not know.
    Other(u8),
}

/// A DSCP's six bits.
pub const DSCP_FULL: u8 = 0x3f;
/// A flow label's 20 bits.
pub const FLOWLABEL_FULL: u32 = 0xf_ffff;

// ===== impl Rule =====

impl Rule {
    /// A rule of ours that matches everything.
    #[must_use]
    pub fn new(family: Family, priority: u32, action: Action) -> Rule {
        Rule {
            family,
            priority,
            action,
            protocol: super::PROTOCOL,
            not: false,
            from: None,
            to: None,
            iif: None,
            oif: None,
            fwmark: None,
            tos: None,
            ipproto: None,
            sport: None,
            dport: None,
            sport_mask: None,
            dport_mask: None,
            dscp: None,
            flowlabel: None,
            uidrange: None,
            l3mdev: false,
            tun_id: None,
            suppress_prefixlength: None,
            suppress_ifgroup: None,
            realms: None,
            other: Vec::new(),
        }
    }

    /// Whether multihome made it.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.protocol == super::PROTOCOL
    }

    /// The table that it looks up, if it does.
    #[must_use]
    pub fn table(&self) -> Option<u32> {
        match self.action {
            Action::Lookup(table) => Some(table),
            _ => None,
        }
    }

    /// Whether it matches whatever this host sends (`iif lo`, or any): nothing is asked of a packet.
    #[must_use]
    pub fn is_for_all(&self) -> bool {
        !self.not && self.from.is_none_or(|p| p.is_default()) && !self.asks_beside_source()
    }

    /// Whether it is one of the three with which the kernel begins (`fib_default_rules_init`), whoever
    /// made it: distributions carry them back.
    #[must_use]
    pub fn is_kernels(&self) -> bool {
        matches!(self.priority, 0 | 32_766 | 32_767)
            && matches!(self.action, Action::Lookup(TABLE_LOCAL | TABLE_MAIN | TABLE_DEFAULT))
    }

    /// Whether it chooses what this host sends by nothing but the source.
    #[must_use]
    pub fn is_by_source_alone(&self) -> bool {
        !self.not && self.from.is_some_and(|p| !p.is_default()) && !self.asks_beside_source()
    }

    /// Whether what this host sends must have more than a source to be matched.
    fn asks_beside_source(&self) -> bool {
        self.to.is_some_and(|p| !p.is_default())
            || self.iif.as_deref().is_some_and(|name| name != "lo")
            || self.oif.is_some()
            || self.fwmark.is_some()
            || self.tos.is_some()
            || self.ipproto.is_some()
            || self.sport.is_some()
            || self.dport.is_some()
            || self.dscp.is_some()
            || self.flowlabel.is_some()
            || self.uidrange.is_some()
            || self.l3mdev
            || self.tun_id.is_some()
            || !self.other.is_empty()
    }

    /// As `ip rule show` prints it: `10003: from 10.0.0.204 lookup 10003`.
    #[must_use]
    pub fn display(&self, names: &Names) -> String {
        format!("{}: {}", self.priority, self.selector_and_action(names))
    }

    /// What comes behind the priority: selectors and action, in `ip`'s words and order.
    #[must_use]
    pub fn selector_and_action(&self, names: &Names) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        if self.not {
            out.push_str("not ");
        }
        match self.from {
            Some(p) => drop(write!(out, "from {p}")),
            None => out.push_str("from all"),
        }
        if let Some(p) = self.to {
            let _ = write!(out, " to {p}");
        }
        if let Some(tos) = self.tos {
            let _ = write!(out, " tos {tos:#04x}");
        }
        if let Some((mark, mask)) = self.fwmark {
            let _ = write!(out, " fwmark {mark:#x}");
            if mask != u32::MAX {
                let _ = write!(out, "/{mask:#x}");
            }
        }
        if let Some(name) = &self.iif {
            let _ = write!(out, " iif {}", names::word(name));
        }
        if let Some(name) = &self.oif {
            let _ = write!(out, " oif {}", names::word(name));
        }
        if self.l3mdev {
            out.push_str(" lookup [l3mdev-table]");
        }
        if let Some((a, b)) = self.uidrange {
            let _ = write!(out, " uidrange {a}-{b}");
        }
        if let Some(p) = self.ipproto {
            let _ = write!(out, " ipproto {}", names::ipproto(p));
        }
        for (word, range, mask) in
            [("sport", self.sport, self.sport_mask), ("dport", self.dport, self.dport_mask)]
        {
            match (range, mask) {
                (Some((a, _)), Some(mask)) => drop(write!(out, " {word} {a}/{mask:#x}")),
                (Some((a, b)), None) if a == b => drop(write!(out, " {word} {a}")),
                (Some((a, b)), None) => drop(write!(out, " {word} {a}-{b}")),
                (None, _) => {}
            }
        }
        if let Some(id) = self.tun_id {
            let _ = write!(out, " tun_id {id}");
        }
        if let Some((dscp, mask)) = self.dscp {
            let _ = write!(out, " dscp {dscp:#x}");
            if mask != DSCP_FULL {
                let _ = write!(out, "/{mask:#x}");
            }
        }
        if let Some((label, mask)) = self.flowlabel {
            let _ = write!(out, " flowlabel {label:#x}");
            if mask != FLOWLABEL_FULL {
                let _ = write!(out, "/{mask:#x}");
            }
        }
        for (number, _) in &self.other {
            let _ = write!(out, " [attribute {number}]");
        }
        match self.action {
            Action::Lookup(_) if self.l3mdev => {}
            Action::Lookup(table) => drop(write!(out, " lookup {}", names.table(table))),
            Action::Goto(target) => drop(write!(out, " goto {target}")),
            Action::Nop => out.push_str(" nop"),
            Action::Blackhole => out.push_str(" blackhole"),
            Action::Unreachable => out.push_str(" unreachable"),
            Action::Prohibit => out.push_str(" prohibit"),
            Action::Other(n) => drop(write!(out, " [action {n}]")),
        }
        if let Some(n) = self.suppress_prefixlength {
            let _ = write!(out, " suppress_prefixlength {n}");
        }
        if let Some(n) = self.suppress_ifgroup {
            let _ = write!(out, " suppress_ifgroup {n}");
        }
        if !self.is_ours() && !matches!(self.protocol, 0 | 2) {
            let _ = write!(out, " proto {}", names::protocol(self.protocol));
        }
        out
    }
}

// ===== impl Action =====

impl Action {
    /// `FRA_ACTION`.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Action::Lookup(_) => 1,
            Action::Goto(_) => 2,
            Action::Nop => 3,
            Action::Blackhole => 6,
            Action::Unreachable => 7,
            Action::Prohibit => 8,
            Action::Other(n) => n,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(rule: Rule) -> String {
        rule.display(&Names::default())
    }

    #[test]
    fn rules_are_shown_in_the_words_and_the_order_of_ip() {
        let rule = Rule {
            from: Some("10.0.0.204".parse().unwrap()),
            ..Rule::new(Family::V4, 10003, Action::Lookup(10003))
        };
        assert_eq!(words(rule), "10003: from 10.0.0.204 lookup 10003");
        let rule = Rule {
            from: Some("10.0.0.0/26".parse().unwrap()),
            iif: Some("lo".into()),
            suppress_prefixlength: Some(7),
            suppress_ifgroup: Some(10000),
            ..Rule::new(Family::V4, 10000, Action::Lookup(254))
        };
        assert_eq!(
            words(rule),
            "10000: from 10.0.0.0/26 iif lo lookup main suppress_prefixlength 7 \
             suppress_ifgroup 10000"
        );
        let rule = Rule {
            not: true,
            from: Some("10.0.0.0/20".parse().unwrap()),
            ..Rule::new(Family::V4, 10000, Action::Goto(19999))
        };
        assert_eq!(words(rule), "10000: not from 10.0.0.0/20 goto 19999");
        assert_eq!(words(Rule::new(Family::V6, 19999, Action::Nop)), "19999: from all nop");
    }

    #[test]
    fn rules_of_others_say_whose_they_are() {
        let rule = Rule {
            protocol: 4,
            to: Some("192.0.2.0/24".parse().unwrap()),
            fwmark: Some((0x10, 0xff)),
            dport: Some((80, 90)),
            ipproto: Some(6),
            ..Rule::new(Family::V4, 100, Action::Lookup(100))
        };
        assert_eq!(
            words(rule),
            "100: from all to 192.0.2.0/24 fwmark 0x10/0xff ipproto tcp dport 80-90 lookup 100 \
             proto static"
        );
    }
}
