//! What breaks hosts with several networks although every rule and route stands.
//!
//! A strict `rp_filter`, cards that answer for each other's addresses, a tunnel's rule in front
//! of ours, a gateway that is gone: each is a check, a pure function of a snapshot and the plan
//! for it, and what it found ([`Fact`]) knows how much it matters
//! ([`Severity`]). What it means and what to do about it are words, and stand with the others.
//!
//! A check has three answers, never two: what it found, nothing, or that the snapshot lacks what
//! it would have to know ([`Lack`]), for a snapshot may be old, cut, or from a place where
//! something could not be read. Nothing known is neither healthy nor an alarm.
//!
//! ```text
//! fact.rs       what can be found
//! plan.rs       what the plan says itself: conflicts, notes, pending changes
//! rules.rs      rules that are asked before ours, or instead of them
//! sysctls.rs    settings of the kernel that take answers away
//! segment.rs    cards that share a network, and gateways
//! programs.rs   network managers and servers
//! ```
//!
//! A default host must come out healthy. What only may do harm is a note; a warning needs
//! evidence that it does here.

mod fact;
mod plan;
mod programs;
mod rules;
mod segment;
mod sysctls;

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Serialize;

use crate::config::Config;
use crate::diff::Change;
use crate::model::sysctl::asks_all;
use crate::model::{Host, Link, Snapshot};
use crate::plan::{Plan, Planned};
use crate::prefix::{Family, Prefix};
use crate::uplink::Side;

pub use fact::{Absence, Fact, Severity, Strict};
pub use rules::without_main;

/// What was found on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// What is wrong or worth knowing, the worst first.
    pub findings: Vec<Fact>,
    /// The checks that had all that they need.
    pub looked_at: Vec<&'static str>,
    /// The checks that had not, and what they lacked.
    pub unknown: Vec<(&'static str, Lack)>,
}

/// What a snapshot does not say, so that a check has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    /// `/proc/sys/net`.
    Sysctls,
    /// Whether gateways answer (`ip neighbour`).
    Neighbours,
    /// The version of the kernel.
    Release,
    /// The UDP sockets.
    Sockets,
    /// What systemd-networkd is told.
    Networkd,
}

/// Looks at a host for which `plan` was made by `config` and `changes` are to be done.
#[must_use]
pub fn examine(snapshot: &Snapshot, config: &Config, plan: &Plan, changes: &[Change]) -> Diagnosis {
    let patient = Patient { snapshot, config, plan, changes };
    let mut diagnosis = Diagnosis::default();
    let checks = [plan::CHECKS, rules::CHECKS, segment::CHECKS, sysctls::CHECKS, programs::CHECKS];
    for (id, check) in checks.into_iter().flatten() {
        match check(&patient) {
            Ok(found) => {
                debug_assert!(found.iter().all(|f| f.id() == *id), "{id}: {found:?}");
                diagnosis.findings.extend(found);
                diagnosis.looked_at.push(id);
            }
            Err(lack) => diagnosis.unknown.push((id, lack)),
        }
    }
    // Among equals the order of the checks stays.
    diagnosis.findings.sort_by_key(Fact::severity);
    diagnosis
}

/// A check and what it is called; the name is the finding's, and stays.
type Check = (&'static str, fn(&Patient<'_>) -> Judged);

/// What a check has to say.
type Judged = Result<Vec<Fact>, Lack>;

/// What is looked at.
struct Patient<'a> {
    snapshot: &'a Snapshot,
    config: &'a Config,
    plan: &'a Plan,
    changes: &'a [Change],
}

// ===== impl Diagnosis =====

impl Diagnosis {
    /// The worst that was found.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(Fact::severity).min()
    }

    /// How many findings there are of one severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|f| f.severity() == severity).count()
    }
}

// ===== impl Patient =====

impl<'a> Patient<'a> {
    /// The uplinks with their links; one whose link is gone is nobody's.
    fn uplinks(&self) -> impl Iterator<Item = (&'a Planned, &'a Link)> {
        let (plan, snapshot) = (self.plan, self.snapshot);
        plan.uplinks.iter().filter_map(move |p| Some((p, snapshot.link(p.uplink.link)?)))
    }

    /// The uplinks that have a family, with that side.
    fn sides(&self, family: Family) -> impl Iterator<Item = (&'a Planned, &'a Link, &'a Side)> {
        self.uplinks().filter_map(move |(planned, link)| {
            let side = planned.uplink.sides.iter().find(|s| s.family == family)?;
            Some((planned, link, side))
        })
    }

    /// Whether answers have several doors to choose from in a family.
    fn has_several(&self, family: Family) -> bool {
        self.sides(family).nth(1).is_some()
    }

    /// A value of one link alone.
    fn sysctl(&self, family: Family, link: &str, key: &str) -> Result<i64, Lack> {
        self.snapshot.sysctls.conf(family, link, key).ok_or(Lack::Sysctls)
    }

    /// What counts of a link's own value and `all`'s ([`crate::model::Sysctls::effective`]).
    fn effective(&self, family: Family, link: &str, key: &str) -> Result<i64, Lack> {
        // Of a link that has lost its addresses nothing was read but `all`: half is not enough.
        self.sysctl(family, link, key)?;
        if asks_all(family, key) {
            self.sysctl(family, "all", key)?;
        }
        self.snapshot.sysctls.effective(family, link, key).ok_or(Lack::Sysctls)
    }

    fn host(&self) -> Option<&'a Host> {
        self.snapshot.host.as_ref()
    }

    /// Whether main's best default leaves by a link.
    fn is_default(&self, family: Family, link: u32) -> bool {
        let defaults = self.snapshot.main_defaults(family);
        defaults.first().is_some_and(|r| r.hops.iter().any(|h| h.link == link))
    }

    /// The addresses of an uplink's side whose answers no rule of ours leads home in the kernel
    /// as it stands.
    fn without_rules(&self, planned: &Planned, side: &Side) -> Vec<IpAddr> {
        let served: BTreeSet<Prefix> = self
            .snapshot
            .rules()
            .filter(|r| r.is_ours() && planned.table.is_some() && r.table() == planned.table)
            .filter_map(|r| r.from)
            .collect();
        // Thousands of addresses have thousands of prefixes, and few lengths.
        let lens: BTreeSet<u8> = served.iter().map(Prefix::len).collect();
        let is_served = |a: &IpAddr| {
            lens.iter()
                .any(|len| *len <= Family::of(*a).bits() && served.contains(&Prefix::new(*a, *len)))
        };
        let addresses: BTreeSet<IpAddr> = side.addresses.iter().map(|a| a.local).collect();
        addresses.into_iter().filter(|a| !is_served(a)).collect()
    }
}
