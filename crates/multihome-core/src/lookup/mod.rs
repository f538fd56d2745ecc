//! The kernel's decision, re-enacted: which way a packet goes, and which rule and route say so.
//!
//! A [`Lookup`] is made of a snapshot and answers questions ([`Flow`]) without asking the kernel,
//! so that a host in a file can be asked like the one that we are on, and a host that is not
//! there yet like one that is. It walks the rules as `fib_rules_lookup` does ([`walk`]), looks
//! tables up as `fib_table_lookup` and `fib6_table_lookup` do ([`table`]), and does before and after
//! what `ip_route_output_key_hash_rcu`, `ip_route_input_slow` and `ip6_route_output` do
//! ([`ipv4`], [`ipv6`], [`source`]).
//!
//! Where the kernel throws dice (multipath), all that can come out is in the answer. Where a
//! snapshot does not hold what the kernel looks at, the answer is a [`Doubt`], never a guess. A
//! test asks a real kernel the same questions (`RTM_GETROUTE`).

mod ipv4;
mod ipv6;
mod kinds;
mod rule;
mod source;
mod table;
mod told;
mod walk;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use crate::model::rule::Rule;
use crate::model::{Route, RouteKind, Snapshot};
use crate::prefix::{Family, Prefix};
pub use kinds::Variant;
pub use rule::Kind;
pub(crate) use rule::before_local;
use table::Table;
pub use told::{Told, Way};

/// What is asked: a packet, as far as routing looks at it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Source address; none while the kernel is still to choose one.
    pub from: Option<IpAddr>,
    /// Destination address.
    pub to: IpAddr,
    /// The link that it came in by, by index; none for what the host itself sends.
    pub iif: Option<u32>,
    /// The link that it must leave by (`SO_BINDTODEVICE`, `IP_UNICAST_IF`, a scope in `sin6_scope_id`).
    pub oif: Option<u32>,
    /// Whether `oif` is of a socket that is bound to the link. IPv6 then takes no route by another
    /// link (`RT6_LOOKUP_F_IFACE`), also when there is a source; for all other questions it makes no
    /// difference. `RTM_GETROUTE` cannot ask so.
    pub bound: bool,
    /// `SO_MARK`, or what the firewall put on.
    pub mark: u32,
    /// IP protocol; 0 when it does not matter.
    pub proto: u8,
    /// Source port; 0 when it does not matter.
    pub sport: u16,
    /// Destination port; 0 when it does not matter.
    pub dport: u16,
    /// Owner of the socket; the kernel's own answers and what is forwarded are root's (`sock_net_uid`).
    pub uid: u32,
    /// The whole TOS or traffic class byte.
    pub tos: u8,
}

/// What the kernel does with a flow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer<'a> {
    /// What can come out: one, or several where the kernel chooses by a hash of the packet. Ordered
    /// as they were found, without doubles. Empty only with a doubt.
    pub outcomes: Vec<Outcome<'a>>,
    /// Why this is not to be relied upon; empty when it is.
    pub doubts: Vec<Doubt<'a>>,
}

/// One thing that can come out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It goes this way.
    Sent(Path<'a>),
    /// It is refused.
    Refused {
        /// With which error.
        error: Refusal,
        /// Because of what.
        by: By<'a>,
    },
}

/// The way that a packet goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path<'a> {
    /// The rule that led to the table; none when the kernel looked at no rule.
    pub rule: Option<&'a Rule>,
    /// The route; none when the kernel took the destination to be on the link, for want of a route
    /// (IPv4 with `oif`), and for broadcasts and multicasts that need none.
    pub route: Option<&'a Route>,
    /// What becomes of it: sent to one host (unicast), kept (local), sent to all (broadcast), ...
    pub kind: RouteKind,
    /// The link that it leaves by; the loopback for what is kept.
    pub link: u32,
    /// The gateway; none when the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The source address: the flow's own, or the one that the kernel chooses.
    pub source: Option<IpAddr>,
}

/// What refused a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By<'a> {
    /// A rule: `unreachable`, `blackhole`, `prohibit`.
    Rule(&'a Rule),
    /// A route of the table that this rule led to.
    Route(&'a Rule, &'a Route),
    /// No rule led to a route.
    NoRoute,
    /// The packet itself, or the host's settings.
    Sanity(Sanity<'a>),
}

/// Why a packet is refused whatever the routes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sanity<'a> {
    /// The source is no address of this host (`__ip_dev_find`).
    SourceNotOurs,
    /// Nothing can have such a source (`ip_route_input_slow`: martian source).
    SourceImpossible,
    /// Nothing can go to such a destination, or not from here.
    DestinationImpossible,
    /// The link of `oif` or `iif` does not exist.
    NoLink,
    /// The link of `oif` is down or has no addresses of the family.
    LinkUnusable,
    /// What came in is not for this host, and it does not forward (`IN_DEV_FORWARD`).
    NotForwarding,
    /// The source is an address of this host (`__fib_validate_source`).
    SourceIsOurs,
    /// The reverse path filter: the answer would leave by another link. With what the reverse
    /// look-up found, when it found a route.
    ReversePath(Option<&'a Route>),
}

/// The error that a program gets, or that is sent to the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// `ENETUNREACH`.
    NetworkUnreachable,
    /// `EHOSTUNREACH`.
    HostUnreachable,
    /// `EACCES`.
    Prohibited,
    /// `EINVAL`: black holes, and what makes no sense.
    Invalid,
    /// `ENODEV`.
    NoDevice,
    /// `EXDEV` or, since Linux 6.15, `EINVAL`: the reverse path filter.
    CrossDevice,
}

/// Why the kernel's decision cannot be re-enacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt<'a> {
    /// A rule has a selector that is not decoded, and it may match.
    Rule(&'a Rule),
    /// A route has something that is not modelled.
    Route(&'a Route, Strange),
    /// The snapshot does not say.
    Unknown(Unknown),
}

/// What of a route is not modelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strange {
    /// It goes through a lightweight tunnel (`RTA_ENCAP`).
    Tunnel,
    /// Its gateway was an address of this host, perhaps, when it was made.
    OwnGateway,
}

/// What a snapshot does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unknown {
    /// Not all of the host could be read.
    Incomplete,
    /// The table of a VRF.
    Vrf,
    /// Which multicast groups the host has joined.
    MulticastGroups,
    /// Whether the host forwards.
    Forwarding,
    /// `rp_filter`.
    RpFilter,
    /// Whether IPv6 ever had rules besides the kernel's own.
    EverRules,
}

/// What happened at one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// What became of it.
    pub verdict: Verdict<'a>,
}

/// What became of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It is not for this flow: the first selector that does not match.
    NotFor(Selector),
    /// Whether it is for this flow cannot be told: it has a selector that is not decoded.
    CannotTell,
    /// It jumps to the first rule of this priority.
    Jumps(u32),
    /// It would jump to a priority at which there is no rule.
    JumpsNowhere(u32),
    /// `nop`.
    Nothing,
    /// The table has no route for the destination, or there is no such table.
    NoRoute(u32),
    /// A `throw` route of the table sends the look-up on.
    Throws(u32, &'a Route),
    /// The table has a route, which the rule does not accept.
    Suppressed {
        /// The table.
        table: u32,
        /// The route.
        route: &'a Route,
        /// Why.
        why: Suppression,
    },
    /// It decides: with this route, or by itself.
    Decides(Option<&'a Route>),
    /// It decides for some packets, and for others the look-up goes on: multipath with hops of
    /// which the rule accepts only some.
    DecidesForSome(&'a Route),
}

/// A selector of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // ip-rule(8) has them
pub enum Selector {
    From,
    To,
    Iif,
    Oif,
    Fwmark,
    Tos,
    Dscp,
    Ipproto,
    Sport,
    Dport,
    Uidrange,
    L3mdev,
    TunId,
    Flowlabel,
    /// All match, and the rule is for those that do not.
    Not,
}

/// Why a rule does not accept a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suppression {
    /// `suppress_prefixlength`: its prefix is as short or shorter.
    Prefixlength(u32),
    /// `suppress_ifgroup`: it leaves by a link of the group.
    Ifgroup(u32),
}

/// A decision with all that led to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace<'a> {
    /// Each rule that was considered, in order.
    pub steps: Vec<Step<'a>>,
    /// What came of it.
    pub answer: Answer<'a>,
}

/// A snapshot, arranged for questions.
#[derive(Debug)]
pub struct Lookup<'a> {
    snapshot: &'a Snapshot,
    rules: BTreeMap<Family, Vec<&'a Rule>>,
    tables: HashMap<(Family, u32), Table<'a>>,
    links: HashMap<&'a str, u32>,
    loopback: u32,
    /// The link of each address.
    owners: HashMap<IpAddr, Vec<u32>>,
    /// Networks that somebody made local to the host, IPv4, and the links of those routes.
    made_local: Vec<(Prefix, u32)>,
    /// The scopes of the IPv4 routes by nexthop objects, by link and gateway.
    scopes: HashMap<(u32, Option<IpAddr>), BTreeSet<u8>>,
    /// Whether there are IPv4 rules besides the kernel's own.
    custom_rules: bool,
}

/// `RTPROT_KERNEL`.
const RTPROT_KERNEL: u8 = 2;

// ===== impl Flow =====

impl Flow {
    /// What the host itself sends to an address, with nothing else said.
    #[must_use]
    pub fn to(to: IpAddr) -> Flow {
        Flow {
            from: None,
            to,
            iif: None,
            oif: None,
            bound: false,
            mark: 0,
            proto: 0,
            sport: 0,
            dport: 0,
            uid: 0,
            tos: 0,
        }
    }

    /// What the host itself sends from one of its addresses: the answer to a request that came in.
    #[must_use]
    pub fn reply(from: IpAddr, to: IpAddr) -> Flow {
        Flow { from: Some(from), ..Flow::to(to) }
    }

    /// What comes in by a link.
    #[must_use]
    pub fn incoming(iif: u32, from: IpAddr, to: IpAddr) -> Flow {
        Flow { from: Some(from), iif: Some(iif), ..Flow::to(to) }
    }

    /// Address family.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.to)
    }

    /// What rules can ask for beside addresses, links and the mark.
    #[must_use]
    pub fn kind(&self) -> Kind {
        let Flow { proto, sport, dport, uid, tos, .. } = *self;
        Kind { proto, sport, dport, uid, tos }
    }

    /// The same of another kind.
    #[must_use]
    pub fn of_kind(self, kind: Kind) -> Flow {
        let Kind { proto, sport, dport, uid, tos } = kind;
        Flow { proto, sport, dport, uid, tos, ..self }
    }
}

// ===== impl Lookup =====

impl<'a> Lookup<'a> {
    /// Arranges a snapshot: one walk over its routes.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot) -> Lookup<'a> {
        let mut rules: BTreeMap<Family, Vec<&Rule>> = BTreeMap::new();
        for rule in snapshot.rules() {
            rules.entry(rule.family).or_default().push(rule);
        }
        let mut tables: HashMap<(Family, u32), Table<'a>> = HashMap::new();
        let (mut made_local, mut scopes) = (Vec::new(), HashMap::<_, BTreeSet<u8>>::new());
        for route in snapshot.routes() {
            tables.entry((route.family(), route.table)).or_default().insert(route);
            if route.family() == Family::V6 {
                continue;
            }
            if route.kind == RouteKind::Local && route.protocol != RTPROT_KERNEL {
                let links = route.hops.iter().map(|h| h.link);
                made_local.extend(links.map(|link| (route.dst, link)));
            }
            for hop in route.hops.iter().filter(|_| route.nhid.is_some()) {
                scopes.entry((hop.link, hop.gateway)).or_default().insert(route.scope);
            }
        }
        tables.values_mut().for_each(Table::sort);
        let links = snapshot.links().map(|l| (l.name.as_str(), l.index)).collect();
        let loopback = snapshot.links().find(|l| l.is_loopback()).map_or(1, |l| l.index);
        let mut owners: HashMap<IpAddr, Vec<u32>> = HashMap::new();
        for a in snapshot.addresses() {
            let links = owners.entry(a.local).or_default();
            if !links.contains(&a.link) {
                links.push(a.link);
            }
        }
        let custom_rules = ipv4::are_custom(rules.get(&Family::V4).map_or(&[], Vec::as_slice));
        Lookup {
            snapshot,
            rules,
            tables,
            links,
            loopback,
            owners,
            made_local,
            scopes,
            custom_rules,
        }
    }

    /// The snapshot that it was made of.
    #[must_use]
    pub fn snapshot(&self) -> &'a Snapshot {
        self.snapshot
    }

    /// What the kernel does with a flow.
    #[must_use]
    pub fn ask(&self, flow: &Flow) -> Answer<'a> {
        self.answer(flow, &mut None)
    }

    /// What the kernel does with a flow, and what it looks at before.
    #[must_use]
    pub fn trace(&self, flow: &Flow) -> Trace<'a> {
        let mut steps = Some(Vec::new());
        let answer = self.answer(flow, &mut steps);
        Trace { steps: steps.unwrap_or_default(), answer }
    }

    fn answer(&self, flow: &Flow, steps: &mut Option<Vec<Step<'a>>>) -> Answer<'a> {
        let mut answer = match flow.family() {
            Family::V4 => ipv4::answer(self, flow, steps),
            Family::V6 => ipv6::answer(self, flow, steps),
        };
        if !self.snapshot.is_complete() {
            answer.doubts.push(Doubt::Unknown(Unknown::Incomplete));
        }
        answer
    }
}

// ===== impl Answer and Outcome =====

impl<'a> Answer<'a> {
    /// An answer of which nothing is in doubt.
    fn certain(outcome: Outcome<'a>) -> Answer<'a> {
        Answer { outcomes: vec![outcome], doubts: Vec::new() }
    }

    /// Whether it is to be relied upon.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.doubts.is_empty()
    }

    /// The ways that the packet can go.
    pub fn paths(&self) -> impl Iterator<Item = &Path<'a>> {
        self.outcomes.iter().filter_map(|o| match o {
            Outcome::Sent(path) => Some(path),
            Outcome::Refused { .. } => None,
        })
    }

    /// The one way that the packet goes, if there is no other and it is not in doubt.
    #[must_use]
    pub fn only_path(&self) -> Option<&Path<'a>> {
        match (self.outcomes.as_slice(), self.doubts.as_slice()) {
            ([Outcome::Sent(path)], []) => Some(path),
            _ => None,
        }
    }

    fn add(&mut self, outcome: Outcome<'a>) {
        if !self.outcomes.contains(&outcome) {
            self.outcomes.push(outcome);
        }
    }
}

impl Outcome<'_> {
    fn sanity(error: Refusal, why: Sanity<'_>) -> Outcome<'_> {
        Outcome::Refused { error, by: By::Sanity(why) }
    }
}

// ===== impl Sanity, Refusal and Selector =====

impl Sanity<'_> {
    /// The same without what it leans on.
    #[must_use]
    pub fn without_route(self) -> Sanity<'static> {
        match self {
            Sanity::SourceNotOurs => Sanity::SourceNotOurs,
            Sanity::SourceImpossible => Sanity::SourceImpossible,
            Sanity::DestinationImpossible => Sanity::DestinationImpossible,
            Sanity::NoLink => Sanity::NoLink,
            Sanity::LinkUnusable => Sanity::LinkUnusable,
            Sanity::NotForwarding => Sanity::NotForwarding,
            Sanity::SourceIsOurs => Sanity::SourceIsOurs,
            Sanity::ReversePath(_) => Sanity::ReversePath(None),
        }
    }
}

impl Refusal {
    /// The kernel's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Refusal::NetworkUnreachable => "ENETUNREACH",
            Refusal::HostUnreachable => "EHOSTUNREACH",
            Refusal::Prohibited => "EACCES",
            Refusal::Invalid => "EINVAL",
            Refusal::NoDevice => "ENODEV",
            Refusal::CrossDevice => "EXDEV",
        }
    }
}

impl fmt::Display for Selector {
    /// ip-rule(8)'s word.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Selector::From => "from",
            Selector::To => "to",
            Selector::Iif => "iif",
            Selector::Oif => "oif",
            Selector::Fwmark => "fwmark",
            Selector::Tos => "tos",
            Selector::Dscp => "dscp",
            Selector::Ipproto => "ipproto",
            Selector::Sport => "sport",
            Selector::Dport => "dport",
            Selector::Uidrange => "uidrange",
            Selector::L3mdev => "l3mdev",
            Selector::TunId => "tun_id",
            Selector::Flowlabel => "flowlabel",
            Selector::Not => "not",
        })
    }
}
