//! A plan as other systems' files can hold it.
//!
//! A network manager's files know less than the kernel: few can say `suppress_ifgroup`, hardly any a
//! jump, and none of them follows an address that a lease brings. So the plan is said again in the
//! words that a format has ([`Word`]): flat, link by link, each entry with its purpose. What cannot
//! be said is replaced by the nearest right thing or left out, and then there is a [`Gap`] that
//! names what is lost.
//!
//! Nothing in a policy bears our protocol number: what another system makes is that system's.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::config::Config;
use crate::model::{Address, ReturnPath, Route, Rule, Snapshot};
use crate::plan::Plan;
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
    pub gateways: Vec<std::net::IpAddr>,
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
    /// Sockets that are bound to the device.
    Bound,
}

/// Something that a rule, a route or a system says, and that not every format can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// `iif` of a rule.
    Iif,
    /// `oif` of a rule.
    Oif,
    /// `not` of a rule.
    Not,
    /// `fwmark` of a rule, with a mask.
    Fwmark,
    /// `tos` of a rule.
    Tos,
    /// `dscp` of a rule.
    Dscp,
    /// `ipproto` of a rule.
    Ipproto,
    /// `sport` and `dport` of a rule.
    Ports,
    /// `uidrange` of a rule.
    Uidrange,
    /// `goto` and `nop` of a rule.
    Goto,
    /// A rule that refuses.
    RefusingRule,
    /// `suppress_prefixlength` of a rule.
    SuppressPrefixlength,
    /// `suppress_ifgroup` of a rule, and the group of a link.
    SuppressIfgroup,
    /// Anything else that a rule says.
    OtherRule,
    /// A route that refuses.
    RefusingRoute,
    /// A route of another kind than unicast that does not refuse.
    OtherKind,
    /// `src` of a route.
    Prefsrc,
    /// `scope` of a route.
    Scope,
    /// `tos` of a route.
    RouteTos,
    /// `mtu` of a route.
    Mtu,
    /// Another of the metrics of a path.
    PathMetrics,
    /// `onlink`.
    Onlink,
    /// Several nexthops.
    Multipath,
    /// A gateway of the other family.
    OtherFamily,
    /// `pref` of RFC 4191.
    Preference,
    /// `from` of an IPv6 route.
    SourceSpecific,
    /// Commands beside the routes: the nft table can be made.
    Commands,
    /// Main's own routes, which this system's files hold in the same words.
    MainRoutes,
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
    /// A rule for a network stands in for those of single addresses or the other way round, for the
    /// format cannot say `iif lo`.
    Addresses {
        /// The uplink.
        uplink: String,
        /// The network that the plan has a rule for.
        prefix: Prefix,
        /// The addresses that have rules instead.
        addresses: Vec<std::net::IpAddr>,
    },
    /// A rule is for an address that a lease brought: another address has none.
    Leased {
        /// The uplink.
        uplink: String,
        /// The address.
        address: std::net::IpAddr,
    },
    /// Replies of published ports are not led home.
    PublishedPorts,
    /// A side of an uplink is left out, for the plan leaves it as it is.
    Frozen {
        /// The uplink.
        uplink: String,
        /// Which.
        family: Family,
    },
}

/// The plan in the words that a format has.
#[must_use]
pub fn of(snapshot: &Snapshot, config: &Config, plan: &Plan, words: &BTreeSet<Word>) -> Policy {
    let _ = (snapshot, config, plan, words);
    Policy::default()
}
