//! What is right: where an answer has to go.
//!
//! - What is for an address of this host is kept.
//! - What is for a local network, one that main reaches by a link which is no uplink, goes there; so does
//!   what main refuses for a network of its own. A network that somebody's own table has behind such
//!   a link (a VPN's) may be reached there, too.
//! - All else goes by the uplink that owns the address, also to a client that sits in another uplink's
//!   subnet. Where that has no way out it is refused.
//! - An address of a link that is no uplink answers the networks of that link; nothing else is promised.
//!
//! What configuration takes out of this is accepted: an uplink that is left to main (`primary`)
//! answers as main says, as long as main's default is its own; one with `on_down = "fallthrough"` that has
//! no way out may use another's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::{Accepted, Fault, falls_through};
use crate::config::Config;
use crate::lookup::{Answer, By, Flow, Outcome, Sanity, Trace, Verdict};
use crate::model::names::{TABLE_LOCAL, TABLE_MAIN};
use crate::model::{Route, RouteKind, Snapshot};
use crate::plan::Plan;
use crate::prefix::{Family, Prefix};
use crate::rules::suppressed_length;

/// What is known of the host whatever fails.
pub(super) struct Host {
    uplinks: BTreeMap<u32, Door>,
}

/// An uplink, as far as it matters here.
struct Door {
    primary: bool,
    falls_through: bool,
    /// Families in which it is an uplink, and whether it has a gateway there.
    sides: BTreeMap<Family, bool>,
}

/// A snapshot, arranged for the question where something belongs.
pub(super) struct State<'a> {
    host: &'a Host,
    snapshot: &'a Snapshot,
    tables: HashMap<u32, Held<'a>>,
    /// The links that routes of one table and prefix lead by.
    links: HashMap<(u32, Prefix), Vec<u32>>,
}

/// A table's routes by prefix: the best of each.
#[derive(Default)]
struct Held<'a> {
    routes: HashMap<Prefix, &'a Route>,
    lengths: BTreeMap<Family, BTreeSet<u8>>,
}

/// Where an answer has to go.
#[derive(Debug)]
pub(super) enum Expected {
    /// It is for the host itself.
    Kept,
    /// By one of these links.
    Out {
        links: BTreeSet<u32>,
        /// To a local network.
        local: bool,
        /// Main refuses this network: so may the answer be.
        refused: bool,
        /// It takes a socket that is bound to this link (link-local addresses).
        oif: Option<u32>,
    },
}

impl Host {
    pub(super) fn new(config: &Config, plan: &Plan) -> Host {
        let doors = plan.uplinks.iter().map(|p| {
            let sides = p.uplink.sides.iter().map(|s| (s.family, !s.ways.is_empty())).collect();
            let falls_through = falls_through(config, &p.uplink.name);
            (p.uplink.link, Door { primary: p.table.is_none(), falls_through, sides })
        });
        Host { uplinks: doors.collect() }
    }

    pub(super) fn uplinks(&self) -> impl Iterator<Item = u32> {
        self.uplinks.keys().copied()
    }

    fn door(&self, link: u32, family: Family) -> Option<&Door> {
        self.uplinks.get(&link).filter(|d| d.sides.contains_key(&family))
    }
}

impl<'a> State<'a> {
    pub(super) fn new(host: &'a Host, snapshot: &'a Snapshot) -> State<'a> {
        let mut tables: HashMap<u32, Held<'a>> = HashMap::new();
        for table in [TABLE_LOCAL, TABLE_MAIN] {
            let held = tables.entry(table).or_default();
            for route in snapshot.routes_in(table) {
                // Ordered by metric; what asks for more than a destination is not for everybody.
                if route.src.is_none() && route.tos == 0 && !route.is_expired() {
                    held.routes.entry(route.dst).or_insert(route);
                    held.lengths.entry(route.family()).or_default().insert(route.dst.len());
                }
            }
        }
        let mut links: HashMap<(u32, Prefix), Vec<u32>> = HashMap::new();
        for route in snapshot.routes() {
            let by = links.entry((route.table, route.dst)).or_default();
            by.extend(route.hops.iter().map(|h| h.link));
        }
        State { host, snapshot, tables, links }
    }

    /// Whether the host has an address.
    pub(super) fn owns(&self, address: IpAddr) -> bool {
        self.longest(TABLE_LOCAL, address).is_some_and(|r| r.kind == RouteKind::Local)
    }

    pub(super) fn snapshot(&self) -> &'a Snapshot {
        self.snapshot
    }

    fn longest(&self, table: u32, to: IpAddr) -> Option<&'a Route> {
        let held = self.tables.get(&table)?;
        let lengths = held.lengths.get(&Family::of(to))?;
        lengths.iter().rev().find_map(|len| held.routes.get(&Prefix::new(to, *len)).copied())
    }

    /// Where an answer from an address of a link has to go; none where nobody is promised anything.
    pub(super) fn expected(&self, owner: u32, to: IpAddr) -> Option<Expected> {
        if is_no_clients(to) {
            return None;
        }
        let family = Family::of(to);
        let local = self.longest(TABLE_LOCAL, to).map(|r| r.kind);
        let is_link_local = matches!(to, IpAddr::V6(a) if a.is_unicast_link_local());
        match local {
            Some(RouteKind::Local) if is_link_local => return None,
            Some(RouteKind::Local) => return Some(Expected::Kept),
            Some(RouteKind::Broadcast | RouteKind::Multicast | RouteKind::Anycast) => return None,
            _ => {}
        }
        let door = self.host.door(owner, family);
        if is_link_local {
            door?;
            let (links, oif) = (BTreeSet::from([owner]), Some(owner));
            return Some(Expected::Out { links, local: false, refused: false, oif });
        }
        let main = self.longest(TABLE_MAIN, to);
        let specific = main.filter(|r| u32::from(r.dst.len()) > suppressed_length(family));
        let by_main: BTreeSet<u32> = specific
            .filter(|r| r.kind == RouteKind::Unicast)
            .map(|r| r.hops.iter().map(|h| h.link).collect())
            .unwrap_or_default();
        if door.is_none() {
            // The networks of the link itself.
            let own = by_main == BTreeSet::from([owner])
                && specific.is_some_and(|r| r.hops.iter().all(|h| h.gateway.is_none()));
            return own.then_some(Expected::Out {
                links: by_main,
                local: true,
                refused: false,
                oif: None,
            });
        }
        let is_uplink = |link: &u32| self.host.uplinks.contains_key(link);
        let mut links: BTreeSet<u32> =
            by_main.iter().copied().filter(|l| self.host.door(*l, family).is_none()).collect();
        let local = !links.is_empty() && !by_main.iter().any(is_uplink);
        if !local {
            // Also where an uplink of the other family alone has the network: both will do.
            links.insert(owner);
        }
        let refused = specific.is_some_and(|r| {
            matches!(r.kind, RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Blackhole)
        });
        Some(Expected::Out { links, local, refused, oif: None })
    }

    /// Whether a link has no way out: down, without carrier, or without a gateway.
    fn is_cut_off(&self, link: u32, family: Family) -> bool {
        let link_works = self.snapshot.link(link).is_some_and(|l| l.is_up() && l.has_carrier());
        let has_way =
            self.host.door(link, family).is_none_or(|d| d.sides.get(&family) == Some(&true));
        !(link_works && has_way)
    }

    /// The uplinks without which an answer may be another: the owner, and those by which a route leads
    /// that the look-up came upon, or one of the same prefix, which a table weighs together.
    pub(super) fn part_takers(&self, owner: u32, to: IpAddr, trace: &Trace<'_>) -> BTreeSet<u32> {
        let steps = trace.steps.iter().filter_map(|s| match &s.verdict {
            Verdict::Throws(_, route)
            | Verdict::Suppressed { route, .. }
            | Verdict::DecidesForSome(route)
            | Verdict::Decides(Some(route)) => Some(*route),
            _ => None,
        });
        let main = [TABLE_LOCAL, TABLE_MAIN].into_iter().filter_map(|t| self.longest(t, to));
        let routes = steps.chain(trace.answer.paths().filter_map(|p| p.route)).chain(main);
        let doubted = trace.answer.doubts.iter().filter_map(|d| match d {
            crate::lookup::Doubt::Route(route, _) => Some(*route),
            _ => None,
        });
        let beside = |r: &Route| self.links.get(&(r.table, r.dst)).into_iter().flatten().copied();
        let mut links: BTreeSet<u32> = routes.chain(doubted).flat_map(beside).collect();
        links.extend(trace.answer.paths().map(|p| p.link));
        links.insert(owner);
        links.retain(|l| self.host.uplinks.contains_key(l));
        links
    }
}

impl Expected {
    /// The answer to a client.
    pub(super) fn answer(&self, from: IpAddr, to: IpAddr) -> Flow {
        let oif = match self {
            Expected::Out { oif, .. } => *oif,
            Expected::Kept => None,
        };
        Flow { oif, bound: oif.is_some(), ..Flow::reply(from, to) }
    }

    /// The request of the client, by the link that the answer leaves by; none where none can come.
    pub(super) fn request(
        &self,
        state: &State<'_>,
        address: IpAddr,
        client: IpAddr,
        answer: &Answer<'_>,
    ) -> Option<Flow> {
        let Expected::Out { links, .. } = self else { return None };
        let by = answer.paths().map(|p| p.link).find(|l| links.contains(l));
        let iif = by.or_else(|| links.first().copied())?;
        let link = state.snapshot.link(iif)?;
        (link.is_up() && link.has_carrier() && state.owns(address))
            .then(|| Flow::incoming(iif, client, address))
    }

    pub(super) fn judge(
        &self,
        state: &State<'_>,
        owner: u32,
        family: Family,
        answer: &Answer<'_>,
    ) -> Result<Option<Accepted>, Fault> {
        let mut accepted = None;
        for outcome in &answer.outcomes {
            accepted = accepted.or(self.judge_one(state, owner, family, outcome)?);
        }
        Ok(accepted)
    }

    fn judge_one(
        &self,
        state: &State<'_>,
        owner: u32,
        family: Family,
        outcome: &Outcome<'_>,
    ) -> Result<Option<Accepted>, Fault> {
        match (self, outcome) {
            (Expected::Kept, Outcome::Sent(path)) => match path.kind {
                RouteKind::Local => Ok(None),
                _ => Err(Fault::NotKept { by: path.link }),
            },
            (Expected::Out { .. }, Outcome::Sent(path)) if path.kind == RouteKind::Local => {
                Err(Fault::Kept)
            }
            (Expected::Out { links, local, .. }, Outcome::Sent(path)) => {
                if links.contains(&path.link) {
                    return Ok(None);
                }
                // Somebody's own table knows a network behind a link that is no uplink (Tailscale's
                // 52): what it holds besides a default is what it is for.
                let is_network = |r: &Route| u32::from(r.dst.len()) > suppressed_length(family);
                let leads_out = state.host.uplinks.contains_key(&path.link);
                if !*local && !leads_out && path.route.is_some_and(is_network) {
                    return Ok(None);
                }
                let accepted = state.allows(owner, family, path.route, path.link, *local);
                accepted.map(Some).ok_or_else(|| Fault::Door {
                    by: path.link,
                    right: links.iter().copied().collect(),
                    local: *local,
                    rule: path.rule.cloned().map(Box::new),
                })
            }
            (expected, Outcome::Refused { error, by }) => {
                let may = match expected {
                    Expected::Kept => false,
                    Expected::Out { refused: true, .. } => true,
                    Expected::Out { links, .. } => {
                        links.contains(&owner) && state.is_cut_off(owner, family)
                            || links.iter().all(|l| state.is_cut_off(*l, family))
                    }
                };
                if may {
                    return Ok(None);
                }
                let (rule, route) = match by {
                    By::Rule(rule) => (Some(Box::new((*rule).clone())), None),
                    By::Route(rule, route) => {
                        (Some(Box::new((*rule).clone())), Some(Box::new((*route).clone())))
                    }
                    By::NoRoute | By::Sanity(_) => (None, None),
                };
                Err(Fault::Refused { error: *error, rule, route })
            }
        }
    }

    pub(super) fn judge_request(
        &self,
        state: &State<'_>,
        owner: u32,
        family: Family,
        answer: &Answer<'_>,
    ) -> Result<Option<Accepted>, Fault> {
        for outcome in &answer.outcomes {
            let fault = match outcome {
                Outcome::Sent(path) if path.kind == RouteKind::Local => continue,
                Outcome::Sent(path) => Fault::Forwarded { by: path.link },
                Outcome::Refused { by: By::Sanity(Sanity::ReversePath(back)), .. } => {
                    // By where the answer goes, which the configuration may want so.
                    let by = back.and_then(|r| r.hops.first()).map_or(0, |h| h.link);
                    let local = matches!(self, Expected::Out { local: true, .. });
                    if let Some(accepted) = state.allows(owner, family, *back, by, local) {
                        return Ok(Some(accepted));
                    }
                    Fault::ReversePath
                }
                Outcome::Refused { error, .. } => Fault::NotAccepted { error: *error },
            };
            return Err(fault);
        }
        Ok(None)
    }
}

impl State<'_> {
    /// Why an answer from an address of a link may leave by another one.
    fn allows(
        &self,
        owner: u32,
        family: Family,
        route: Option<&Route>,
        by: u32,
        local: bool,
    ) -> Option<Accepted> {
        let door = self.host.uplinks.get(&owner)?;
        if local || by == owner {
            return None;
        }
        let cut = self.is_cut_off(owner, family);
        if door.primary {
            // Its own default must be main's best, or its answers to the world are lost.
            let is_default =
                route.is_none_or(|r| u32::from(r.dst.len()) <= suppressed_length(family));
            return (!is_default || cut).then_some(Accepted::Primary(owner));
        }
        (door.falls_through && cut).then_some(Accepted::Fallthrough(owner))
    }
}

/// Whether no client has this address: what is left out.
fn is_no_clients(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => {
            a.octets()[0] == 0 || a.is_loopback() || a.is_multicast() || a.is_broadcast()
        }
        IpAddr::V6(a) => {
            a.is_unspecified()
                || a.is_loopback()
                || a.is_multicast()
                || a.to_ipv4_mapped().is_some()
        }
    }
}
