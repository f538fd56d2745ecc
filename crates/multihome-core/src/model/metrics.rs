//! `RTA_METRICS`: what a route says of the path beyond it, by number and in `ip`'s words.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// `RTA_METRICS`: what a route says of the path beyond it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Values by `RTAX_` number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<u16, u32>,
    /// `RTAX_CC_ALGO`, the one that is a string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub congctl: Option<String>,
}

/// Whether `ip` says it or is told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// `ip route show`.
    Shown,
    /// `ip route add`.
    Typed,
}

/// `RTAX_LOCK`: a mask of the metrics that path MTU discovery and its like leave alone.
pub const RTAX_LOCK: u16 = 1;
/// `RTAX_MTU`.
pub const RTAX_MTU: u16 = 2;
/// `RTAX_RTO_MIN`.
pub const RTAX_RTO_MIN: u16 = 13;
/// `RTAX_HOPLIMIT`.
pub(super) const RTAX_HOPLIMIT: u16 = 10;

// ===== impl Metrics =====

/// `RTAX_` numbers and iproute2's words for them, in the order in which `ip` prints them.
const RTAX_WORDS: [(u16, &str); 15] = [
    (2, "mtu"),
    (3, "window"),
    (4, "rtt"),
    (5, "rttvar"),
    (6, "ssthresh"),
    (7, "cwnd"),
    (8, "advmss"),
    (9, "reordering"),
    (10, "hoplimit"),
    (11, "initcwnd"),
    (12, "features"),
    (13, "rto_min"),
    (14, "initrwnd"),
    (15, "quickack"),
    (17, "fastopen_no_cookie"),
];

/// The `RTAX_` number that iproute2 has this word for, as far as it is a number's.
#[must_use]
pub fn number_of(word: &str) -> Option<u16> {
    RTAX_WORDS.iter().find(|(_, known)| *known == word).map(|(number, _)| *number)
}

impl Metrics {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.congctl.is_none()
    }

    /// Appends it in `ip`'s words, each with a space in front.
    pub(super) fn write(&self, out: &mut String, spelling: Spelling) {
        // A bit mask over the others.
        let lock = self.values.get(&RTAX_LOCK).copied().unwrap_or(0);
        for (number, word) in RTAX_WORDS {
            let Some(value) = self.values.get(&number) else { continue };
            let _ = write!(out, " {word}");
            // `ip` locks it unasked, says so, and does not read what it says (iproute.c).
            let goes_unsaid = number == RTAX_RTO_MIN && spelling == Spelling::Typed;
            if lock & (1 << number) != 0 && !goes_unsaid {
                out.push_str(" lock");
            }
            match number {
                // The kernel keeps these in units of 1/8 and 1/4 ms.
                4 => drop(write!(out, " {}ms", value / 8)),
                5 => drop(write!(out, " {}ms", value / 4)),
                12 if *value == 1 => out.push_str(" ecn"),
                13 => drop(write!(out, " {value}ms")),
                _ => drop(write!(out, " {value}")),
            }
        }
        if let Some(name) = &self.congctl {
            let _ = write!(out, " congctl {name}");
        }
    }
}
