//! A plan as other systems' files can hold it.
//!
//! A network manager's files know less than the kernel: few can say `suppress_ifgroup`, hardly any a
//! jump, and none of them follows an address that a lease brings. So the plan is said again in the
//! words that a format has ([`Word`]): flat, link by link, each entry with its purpose. What cannot
//! be said is replaced by the nearest right thing or left out, and then there is a [`Gap`] that
//! names what is lost.
//!
//! Nothing in a policy bears our protocol number: what another system makes is that system's.

mod build;
mod local;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;

pub use build::of;
pub use words::Word;

use crate::model::netfilter::Held;
use crate::model::{Address, Link, ReturnPath, Route, Rule, Snapshot};
use crate::prefix::{Family, Prefix};

/// What others are to keep: a plan in the words of one format.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// One for each uplink that has a table of its own or routes to keep, ordered by index.
    pub parts: Vec<Part>,
    /// The names of the tables that are used, where they have any.
    pub table_names: BTreeMap<u32, String>,
    /// What sysctls should be, by path below `/proc/sys`.
    pub sysctls: BTreeMap<String, String>,
    /// What they are without multihome, as far as that is known.
    pub sysctls_before: BTreeMap<String, String>,
    /// The nft table that leads replies of published ports home.
    pub return_path: Option<ReturnPath>,
    /// What could not be said as the plan has it.
    pub gaps: Vec<Gap>,
}

/// What is kept for one uplink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Its index.
    pub link: u32,
    /// Its name.
    pub name: String,
    /// Its permanent address, by which some files know it: `02:00:00:00:00:05`.
    pub mac: Option<String>,
    /// Its global addresses, as they are now.
    pub addresses: Vec<Address>,
    /// The families in which a lease or an advertisement brought its addresses.
    pub leased: BTreeSet<Family>,
    /// The gateways of main's defaults by this link.
    pub gateways: Vec<IpAddr>,
    /// The metrics of those defaults, where they have one: which card is main's choice.
    pub metrics: BTreeMap<IpAddr, u32>,
    /// Those of its gateways that a lease or an advertisement brought: the next one may bring others.
    pub leased_gateways: Vec<IpAddr>,
    /// The link group that it joins.
    pub group: Option<u32>,
    /// Routes, in the order in which they can be added: tables, then purposes.
    pub routes: Vec<Entry<Route>>,
    /// Rules, in the order in which the kernel asks them.
    pub rules: Vec<Entry<Rule>>,
}

/// A route or a rule, and what for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry<T> {
    /// The object. A route's protocol is `boot`, a rule's 0, which `ip` does not print: whoever makes
    /// it puts in its own.
    pub what: T,
    /// What it is for.
    pub purpose: Purpose,
}

/// What a route or a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// A route of main that somebody made by hand, and that no file may have.
    Main,
    /// The way out of an uplink's table.
    Default,
    /// A network that main reaches by the uplink.
    Network,
    /// What is left is refused: nothing leaves by another door.
    Refusal,
    /// Asked before the others: answers jump over somebody else's rule.
    Jump,
    /// Replies of published ports, by their mark.
    Mark,
    /// What the host starts itself, by a chosen uplink.
    Steer,
    /// What is local stays local.
    Local,
    /// Replies go home by their own door.
    Home,
    /// The same for whatever address of the network the next lease brings.
    Lease,
    /// Sockets that are bound to the device.
    Bound,
}

/// What could not be said as the plan has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gap {
    /// What is local now is named network by network; networks that come later are not known.
    LaterNetworks {
        /// Those that are named.
        networks: Vec<Prefix>,
    },
    /// A route is left out.
    RouteLeftOut {
        /// The uplink.
        uplink: String,
        /// As the plan has it.
        route: Route,
        /// What the format cannot say of it.
        lacks: BTreeSet<Word>,
    },
    /// A route is kept without something that it says.
    RouteShortened {
        /// The uplink.
        uplink: String,
        /// As the plan has it.
        route: Route,
        /// What the format cannot say of it.
        lacks: BTreeSet<Word>,
    },
    /// A rule is left out.
    RuleLeftOut {
        /// The uplink, if it is one's.
        uplink: Option<String>,
        /// As the plan has it.
        rule: Rule,
        /// What the format cannot say of it.
        lacks: BTreeSet<Word>,
        /// What it is for.
        purpose: Purpose,
    },
    /// Rules for single addresses stand in for one for their network: this host forwards, and the
    /// format cannot say `iif lo`.
    Addresses {
        /// The uplink.
        uplink: String,
        /// The network that the plan has a rule for.
        prefix: Prefix,
        /// The addresses that have rules instead.
        addresses: Vec<IpAddr>,
    },
    /// A rule is for an address that a lease brought: another address has none.
    Leased {
        /// The uplink.
        uplink: String,
        /// The address.
        address: IpAddr,
    },
    /// Replies of published ports are not led home.
    PublishedPorts,
    /// An uplink is down: what its table had is not known.
    Down {
        /// The uplink.
        uplink: String,
    },
    /// A side of an uplink is left out, for the plan leaves it as it is.
    Frozen {
        /// The uplink.
        uplink: String,
        /// Which.
        family: Family,
    },
}

impl Gap {
    /// The uplink that it is about; none: all of them.
    #[must_use]
    pub fn uplink(&self) -> Option<&str> {
        match self {
            Gap::LaterNetworks { .. } | Gap::PublishedPorts => None,
            Gap::RuleLeftOut { uplink, .. } => uplink.as_deref(),
            Gap::RouteLeftOut { uplink, .. }
            | Gap::RouteShortened { uplink, .. }
            | Gap::Addresses { uplink, .. }
            | Gap::Leased { uplink, .. }
            | Gap::Down { uplink }
            | Gap::Frozen { uplink, .. } => Some(uplink),
        }
    }
}

/// The host as it is when a policy is all that keeps it: nothing of ours, and what the policy has.
#[must_use]
pub fn alone(snapshot: &Snapshot, policy: &Policy) -> Snapshot {
    let mut alone = without_ours(snapshot);
    for part in &policy.parts {
        for entry in &part.routes {
            alone.insert_route(entry.what.clone());
        }
        for entry in &part.rules {
            alone.insert_rule(entry.what.clone());
        }
        if let (Some(group), Some(link)) = (part.group, alone.link(part.link).cloned()) {
            alone.insert_link(Link { group, ..link });
        }
    }
    if let Some(netfilter) = &mut alone.netfilter {
        netfilter.table = policy.return_path.clone().map_or(Held::Absent, Held::Whole);
    }
    for (path, value) in &policy.sysctls {
        alone.sysctls.insert(path.clone(), value.clone());
    }
    alone
}

/// The host without what is ours.
pub(crate) fn without_ours(snapshot: &Snapshot) -> Snapshot {
    let mut without = snapshot.clone();
    without.remove_routes(Route::is_ours);
    let ours: Vec<Rule> = snapshot.rules().filter(|r| r.is_ours()).cloned().collect();
    for rule in &ours {
        without.remove_rule(rule);
    }
    without
}
