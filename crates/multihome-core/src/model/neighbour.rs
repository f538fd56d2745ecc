//! Neighbours (`RTM_NEWNEIGH`): whether a gateway answers.
//!
//! A snapshot keeps those of gateways only. The state decides about IPv6 routes of one metric
//! (`rt6_check_neigh` passes over a router that has failed) and about several IPv4 defaults of one
//! metric (`fib_detect_death`).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What the kernel knows of a neighbour.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbour {
    /// `ndm_ifindex`: the link that it is on.
    pub link: u32,
    /// `NDA_DST`.
    pub address: IpAddr,
    /// `NDA_LLADDR`, as `52:54:00:12:34:56`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lladdr: Option<String>,
    /// `ndm_state`: `NUD_` bits.
    pub state: u16,
    /// `NTF_ROUTER`: it has advertised itself as a router.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub router: bool,
}

/// `NUD_INCOMPLETE`: asked for, no answer yet.
pub const NUD_INCOMPLETE: u16 = 0x01;
/// `NUD_REACHABLE`.
pub const NUD_REACHABLE: u16 = 0x02;
/// `NUD_STALE`: was reachable, and nobody has asked since.
pub const NUD_STALE: u16 = 0x04;
/// `NUD_DELAY`.
pub const NUD_DELAY: u16 = 0x08;
/// `NUD_PROBE`.
pub const NUD_PROBE: u16 = 0x10;
/// `NUD_FAILED`: asked, and nobody answered.
pub const NUD_FAILED: u16 = 0x20;
/// `NUD_NOARP`: the link needs no addresses.
pub const NUD_NOARP: u16 = 0x40;
/// `NUD_PERMANENT`: set by the operator.
pub const NUD_PERMANENT: u16 = 0x80;
/// `NUD_VALID`: a frame can be sent.
pub const NUD_VALID: u16 =
    NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY;

// ===== impl Neighbour =====

impl Neighbour {
    /// Whether a frame can be sent to it.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.state & NUD_VALID != 0
    }

    /// Whether it was asked and did not answer.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.state & NUD_FAILED != 0
    }

    /// The word that `ip neighbour` prints for its state.
    #[must_use]
    pub fn state_word(&self) -> &'static str {
        [
            (NUD_INCOMPLETE, "INCOMPLETE"),
            (NUD_REACHABLE, "REACHABLE"),
            (NUD_STALE, "STALE"),
            (NUD_DELAY, "DELAY"),
            (NUD_PROBE, "PROBE"),
            (NUD_FAILED, "FAILED"),
            (NUD_NOARP, "NOARP"),
            (NUD_PERMANENT, "PERMANENT"),
        ]
        .into_iter()
        .find(|(bit, _)| self.state & bit != 0)
        .map_or("NONE", |(_, word)| word)
    }
}
