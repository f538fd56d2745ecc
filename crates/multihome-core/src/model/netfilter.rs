//! What netfilter holds, as far as the return path concerns it: whether somebody translates
//! destinations, which bits of the packet mark others use, and our own table.
//!
//! The table is `inet multihome`. A reply from behind a translated destination (a container's
//! published port) still has the container's source when it is routed, so no rule from an
//! address sees it; but its conntrack entry remembers which local address the client had asked.
//! The table marks such a packet by that address, and rules look the mark up in the table of the
//! uplink that has it. Nothing is stored in conntrack: connections that are older than the table
//! work, a restart loses nothing, and nobody's connection marks are touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::prefix::Family;

/// What nftables and iptables hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Netfilter {
    /// The families in which somebody translates destinations, so that connections are tracked
    /// anyway: a base chain of the type `nat` other than ours.
    #[serde(default)]
    pub nat: BTreeSet<Family>,
    /// The bits of the packet mark that others write or ask for, ordered, one entry for each
    /// place.
    #[serde(default)]
    pub marks: Vec<MarkUse>,
    /// Our own table.
    #[serde(default)]
    pub table: Held,
    /// What could not be read, each in a sentence; empty when this is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

/// Bits of the packet mark that somebody else uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarkUse {
    /// Where: `nft ip mangle PREROUTING`, `iptables-legacy mangle`.
    pub by: String,
    /// Which bits are written, or asked for under a mask.
    pub bits: u32,
}

/// What there is of our table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Held {
    /// Nothing.
    #[default]
    Absent,
    /// The table as we write it.
    Whole(ReturnPath),
    /// A table of that name that is not as we write it: somebody changed or flushed it, or an
    /// earlier version wrote it.
    Altered,
}

/// What the table says: which mark the replies of connections to an address get.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReturnPath {
    /// The bits of the mark that are ours; all others of a packet stay as they are.
    pub mask: u32,
    /// Local addresses by mark: one mark for each uplink. No address is under two marks.
    pub marks: BTreeMap<u32, BTreeSet<IpAddr>>,
}

/// The name of the table, of the family `inet`.
pub const TABLE: &str = "multihome";

/// The chain's priority: behind conntrack (-200) and in front of the destination translation (-100).
/// Behind iptables' mangle (-150), too: what others write there is not written over, and whoever
/// overwrites the whole mark there does not take ours away, as wg-quick does with every UDP packet
/// (`meta mark set ct mark`). Of one priority the chain that came last is asked first
/// (`nf_hook_entries_grow`).
pub const PRIORITY: i32 = -140;

// ===== impl ReturnPath =====

impl ReturnPath {
    /// The table in the words of `nft -f`, on one line.
    #[must_use]
    pub fn script(&self) -> String {
        let mut text = format!("table inet {TABLE} {{");
        for family in Family::BOTH {
            let (name, kind) = map(family);
            let _ = write!(text, " map {name} {{ type {kind} : verdict;");
            let elements: Vec<String> = self.elements(family).collect();
            if !elements.is_empty() {
                let _ = write!(text, " elements = {{ {} }};", elements.join(", "));
            }
            text.push_str(" };");
        }
        for mark in self.marks.keys() {
            let (chain, keep) = (chain(*mark), !self.mask);
            let _ = write!(
                text,
                " chain {chain} {{ meta mark set meta mark & {keep:#010x} | {mark:#010x}; }};"
            );
        }
        let _ =
            write!(text, " chain prerouting {{ type filter hook prerouting priority {PRIORITY};");
        for family in Family::BOTH {
            let (name, _) = map(family);
            let word = if family == Family::V4 { "ip" } else { "ip6" };
            let _ = write!(
                text,
                " ct status dnat ct direction reply meta mark & {:#010x} == 0 \
                 ct original {word} daddr vmap @{name};",
                self.mask
            );
        }
        text.push_str(" }; }");
        text
    }

    /// The mark of an address.
    #[must_use]
    pub fn mark_of(&self, address: IpAddr) -> Option<u32> {
        self.marks.iter().find(|(_, of)| of.contains(&address)).map(|(mark, _)| *mark)
    }

    fn elements(&self, family: Family) -> impl Iterator<Item = String> {
        self.marks.iter().flat_map(move |(mark, addresses)| {
            let of_family = addresses.iter().filter(move |a| Family::of(**a) == family);
            of_family.map(move |a| format!("{a} : goto {}", chain(*mark)))
        })
    }
}

/// The chain that sets a mark. Its name has the mark, so that a table tells what it was made for.
#[must_use]
pub fn chain(mark: u32) -> String {
    format!("mark_{mark:08x}")
}

/// The name of the map of a family, and the type of its keys.
#[must_use]
pub fn map(family: Family) -> (&'static str, &'static str) {
    match family {
        Family::V4 => ("addresses4", "ipv4_addr"),
        Family::V6 => ("addresses6", "ipv6_addr"),
    }
}
