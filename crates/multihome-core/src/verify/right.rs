//! What is right: where an answer has to go.
//!
//! - What is for an address of this host is kept.
//! - What is for a local network, one that main reaches by a link which is no uplink, goes there; so does
//!   what main refuses for a network of its own. A network that somebody's own table has behind such
//!   a link (a VPN's) may be reached there, too, unless main has it by an uplink.
//! - All else goes by the uplink that owns the address, also to a client that sits in another uplink's
//!   subnet. Where that has no way out it is refused. An address that several links have is answered
//!   by any of them.
//! - An address of a link that is no uplink answers the networks of that link; nothing else is promised.
//!
//! What configuration takes out of this is accepted: an uplink that is left to main (`primary`)
//! answers as main says, as long as main's default is its own; one with `on_down = "fallthrough"` that has
//! no way out may use another's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::{Accepted, Fault};
use crate::config::{Config, OnDown};
use crate::lookup::{Answer, By, Flow, Outcome, Sanity, Trace, Verdict};
use crate::model::names::{TABLE_LOCAL, TABLE_MAIN};
use crate::model::route::RTNH_F_DEAD;
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
    /// Source-specific routes: where each leads to, and by which link. They decide by being there, for
    /// the plain routes of their prefix are passed over where no source fits
    /// (`fib6_node_lookup_1`, which goes up from a subtree without an answer).
    by_source: Vec<(Prefix, u32)>,
}

/// A table's routes by prefix: the best of each.
#[derive(Default)]
struct Held<'a> {
    routes: HashMap<Prefix, Best<'a>>,
    lengths: BTreeMap<Family, BTreeSet<u8>>,
}

/// What leads to a prefix.
struct Best<'a> {
    route: &'a Route,
    /// The links that it leads by, and for IPv6 its equals: which of those is taken their preference
    /// and their gateways' state decide (`find_rr_leaf`).
    links: BTreeSet<u32>,
}

/// Where an answer has to go.
#[derive(Debug)]
pub(super) struct Expected<'o> {
    /// The links that have its source.
    owners: &'o [u32],
    pub(super) place: Place,
}

/// A place where an answer belongs.
#[derive(Debug)]
pub(super) enum Place {
    /// The host itself.
    Here,
    /// Behind one of these links.
    Behind {
        links: BTreeSet<u32>,
        /// What main says of the network, if anything.
        main: Main,
        /// It takes a socket that is bound to this link (link-local addresses).
        oif: Option<u32>,
    },
}

/// What main says of a network, besides its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Main {
    /// Nothing.
    Silent,
    /// It is behind an uplink, or one among others.
    Uplink,
    /// It is behind links that are no uplinks.
    Local,
    /// It refuses the network: so may the answer be.
    Refuses,
}

impl Host {
    pub(super) fn new(config: &Config, plan: &Plan) -> Host {
        let doors = plan.uplinks.iter().map(|p| {
            let sides = p.uplink.sides.iter().map(|s| (s.family, !s.ways.is_empty())).collect();
            let falls_through = config.on_down(&p.uplink.name) == OnDown::Fallthrough;
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
                // Nor is what leads nowhere (`RTNH_F_DEAD`): fib_table_lookup passes it over.
                let dead =
                    !route.hops.is_empty() && route.hops.iter().all(|h| h.flags & RTNH_F_DEAD != 0);
                if route.src.is_some() || route.tos != 0 || route.is_expired() || dead {
                    continue;
                }
                let links = route.hops.iter().map(|h| h.link);
                match held.routes.get_mut(&route.dst) {
                    None => {
                        let best = Best { route, links: links.collect() };
                        held.routes.insert(route.dst, best);
                        held.lengths.entry(route.family()).or_default().insert(route.dst.len());
                    }
                    Some(best) => {
                        let is_equal = route.family() == Family::V6
                            && (route.kind, route.metric) == (best.route.kind, best.route.metric);
                        if is_equal {
                            best.links.extend(links);
                        }
                    }
                }
            }
        }
        let mut links: HashMap<(u32, Prefix), Vec<u32>> = HashMap::new();
        let mut by_source = Vec::new();
        for route in snapshot.routes() {
            let by = links.entry((route.table, route.dst)).or_default();
            by.extend(route.hops.iter().map(|h| h.link));
            if route.src.is_some() {
                by_source.extend(route.hops.iter().map(|h| (route.dst, h.link)));
            }
        }
        State { host, snapshot, tables, links, by_source }
    }

    /// Whether the host has an address.
    pub(super) fn owns(&self, address: IpAddr) -> bool {
        self.longest(TABLE_LOCAL, address).is_some_and(|b| b.route.kind == RouteKind::Local)
    }

    fn longest(&self, table: u32, to: IpAddr) -> Option<&Best<'a>> {
        let held = self.tables.get(&table)?;
        let lengths = held.lengths.get(&Family::of(to))?;
        lengths.iter().rev().find_map(|len| held.routes.get(&Prefix::new(to, *len)))
    }

    /// Where an answer from an address of these links has to go; none where nobody is promised anything.
    pub(super) fn expected<'o>(&self, owners: &'o [u32], to: IpAddr) -> Option<Expected<'o>> {
        self.place(owners, to).map(|place| Expected { owners, place })
    }

    fn place(&self, owners: &[u32], to: IpAddr) -> Option<Place> {
        if is_no_clients(to) {
            return None;
        }
        let family = Family::of(to);
        match self.longest(TABLE_LOCAL, to).map(|b| b.route.kind) {
            Some(RouteKind::Local) if is_link_local(to) => return None,
            Some(RouteKind::Local) => return Some(Place::Here),
            Some(RouteKind::Broadcast | RouteKind::Multicast | RouteKind::Anycast) => return None,
            _ => {}
        }
        let doors: BTreeSet<u32> =
            owners.iter().copied().filter(|o| self.host.door(*o, family).is_some()).collect();
        if is_link_local(to) {
            let oif = Some(*doors.first()?);
            return Some(Place::Behind { links: doors, main: Main::Silent, oif });
        }
        let best = self
            .longest(TABLE_MAIN, to)
            .filter(|b| u32::from(b.route.dst.len()) > suppressed_length(family));
        let specific = best.map(|b| b.route);
        let by_main: BTreeSet<u32> = best
            .filter(|b| b.route.kind == RouteKind::Unicast)
            .map(|b| b.links.clone())
            .unwrap_or_default();
        if doors.is_empty() {
            // The networks of the link itself.
            let own = !by_main.is_empty()
                && by_main.iter().all(|l| owners.contains(l))
                && specific.is_some_and(|r| r.hops.iter().all(|h| h.gateway.is_none()));
            let (main, oif) = (Main::Local, None);
            return own.then_some(Place::Behind { links: by_main, main, oif });
        }
        let is_uplink = |link: &u32| self.host.uplinks.contains_key(link);
        let main = match specific.map(|r| r.kind) {
            Some(RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Blackhole) => {
                Main::Refuses
            }
            Some(RouteKind::Unicast) if by_main.iter().any(is_uplink) => Main::Uplink,
            Some(RouteKind::Unicast) if !by_main.is_empty() => Main::Local,
            _ => Main::Silent,
        };
        let mut links: BTreeSet<u32> =
            by_main.into_iter().filter(|l| self.host.door(*l, family).is_none()).collect();
        if main != Main::Local {
            // Also where an uplink of the other family alone has the network: both will do.
            links.extend(doors);
        }
        Some(Place::Behind { links, main, oif: None })
    }

    /// Whether a link has no way out: down, without carrier, or without a gateway.
    fn is_cut_off(&self, link: u32, family: Family) -> bool {
        let link_works = self.snapshot.link(link).is_some_and(|l| l.is_up() && l.has_carrier());
        let has_way =
            self.host.door(link, family).is_none_or(|d| d.sides.get(&family) == Some(&true));
        !(link_works && has_way)
    }

    /// The uplinks without which an answer may be another: the owners, and those by which a route leads
    /// that the look-up came upon, or one of the same prefix, which a table weighs together, or a
    /// source-specific one.
    pub(super) fn part_takers(
        &self,
        owners: &[u32],
        to: IpAddr,
        trace: &Trace<'_>,
    ) -> BTreeSet<u32> {
        let steps = trace.steps.iter().filter_map(|s| match &s.verdict {
            Verdict::Throws(_, route)
            | Verdict::Suppressed { route, .. }
            | Verdict::DecidesForSome(route)
            | Verdict::Decides(Some(route)) => Some(*route),
            _ => None,
        });
        let main = [TABLE_LOCAL, TABLE_MAIN]
            .into_iter()
            .filter_map(|t| self.longest(t, to))
            .map(|b| b.route);
        let routes = steps.chain(trace.answer.paths().filter_map(|p| p.route)).chain(main);
        let doubted = trace.answer.doubts.iter().filter_map(|d| match d {
            crate::lookup::Doubt::Route(route, _) => Some(*route),
            _ => None,
        });
        let beside = |r: &Route| self.links.get(&(r.table, r.dst)).into_iter().flatten().copied();
        let mut links: BTreeSet<u32> = routes.chain(doubted).flat_map(beside).collect();
        links.extend(trace.answer.paths().map(|p| p.link));
        links.extend(owners);
        links.extend(self.by_source.iter().filter(|(dst, _)| dst.contains(to)).map(|(_, l)| *l));
        links.retain(|l| self.host.uplinks.contains_key(l));
        links
    }
}

impl Expected<'_> {
    /// The link that a finding is about.
    pub(super) fn owner(&self) -> u32 {
        self.owners[0]
    }

    /// The answer to a client.
    pub(super) fn answer(&self, from: IpAddr, to: IpAddr) -> Flow {
        let oif = match self.place {
            Place::Behind { oif, .. } => oif,
            Place::Here => None,
        };
        Flow { oif, bound: oif.is_some(), ..Flow::reply(from, to) }
    }

    /// The requests of the client: by the link that the answer leaves by, and by each other one that has
    /// the address; none where none can come, or none is answered.
    pub(super) fn requests(
        &self,
        state: &State<'_>,
        address: IpAddr,
        client: IpAddr,
        answer: &Answer<'_>,
    ) -> Vec<Flow> {
        let Place::Behind { links, .. } = &self.place else { return Vec::new() };
        if answer.paths().next().is_none() || !state.owns(address) {
            return Vec::new();
        }
        let mut doors: BTreeSet<u32> =
            links.iter().copied().filter(|l| self.owners.contains(l)).collect();
        if doors.len() < 2 {
            let by = answer.paths().map(|p| p.link).find(|l| links.contains(l));
            doors = by.or(doors.first().copied()).or(links.first().copied()).into_iter().collect();
        }
        let works = |iif: &u32| {
            state.snapshot.link(*iif).is_some_and(|link| link.is_up() && link.has_carrier())
        };
        let flow = |iif| Flow::incoming(iif, client, address);
        doors.into_iter().filter(works).map(flow).collect()
    }

    pub(super) fn judge(
        &self,
        state: &State<'_>,
        family: Family,
        answer: &Answer<'_>,
    ) -> Result<Option<Accepted>, Fault> {
        let mut accepted = None;
        for outcome in &answer.outcomes {
            accepted = accepted.or(self.judge_one(state, family, outcome)?);
        }
        Ok(accepted)
    }

    fn judge_one(
        &self,
        state: &State<'_>,
        family: Family,
        outcome: &Outcome<'_>,
    ) -> Result<Option<Accepted>, Fault> {
        match (&self.place, outcome) {
            (Place::Here, Outcome::Sent(path)) => match path.kind {
                RouteKind::Local => Ok(None),
                _ => Err(Fault::NotKept { by: path.link }),
            },
            (Place::Behind { .. }, Outcome::Sent(path)) if path.kind == RouteKind::Local => {
                Err(Fault::Kept)
            }
            (Place::Behind { links, main, .. }, Outcome::Sent(path)) => {
                let local = *main == Main::Local;
                if links.contains(&path.link) {
                    return Ok(None);
                }
                // Somebody's own table knows a network behind a link that is no uplink (Tailscale's
                // 52): what it holds besides a default is what it is for. A network that main has by
                // an uplink is that uplink's, though (a subnet router that announces it).
                let is_network = |r: &Route| u32::from(r.dst.len()) > suppressed_length(family);
                let leads_out = state.host.uplinks.contains_key(&path.link);
                let is_free = matches!(main, Main::Silent | Main::Refuses);
                if is_free && !leads_out && path.route.is_some_and(is_network) {
                    return Ok(None);
                }
                let accepted = self.allowed(state, family, path.route, path.link, local);
                accepted.map(Some).ok_or_else(|| Fault::Door {
                    by: path.link,
                    right: links.iter().copied().collect(),
                    local,
                    rule: path.rule.cloned().map(Box::new),
                })
            }
            (place, Outcome::Refused { error, by }) => {
                let may = match place {
                    Place::Here => false,
                    Place::Behind { main: Main::Refuses, .. } => true,
                    Place::Behind { links, .. } => {
                        let mut own = links.iter().filter(|l| self.owners.contains(l)).peekable();
                        own.peek().is_some() && own.all(|l| state.is_cut_off(*l, family))
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
                    let local = matches!(self.place, Place::Behind { main: Main::Local, .. });
                    if let Some(accepted) = self.allowed(state, family, *back, by, local) {
                        return Ok(Some(accepted));
                    }
                    Fault::ReversePath { route: back.cloned().map(Box::new) }
                }
                Outcome::Refused { error, .. } => Fault::NotAccepted { error: *error },
            };
            return Err(fault);
        }
        Ok(None)
    }

    /// Why an answer may leave by a link that does not have its source.
    fn allowed(
        &self,
        state: &State<'_>,
        family: Family,
        route: Option<&Route>,
        by: u32,
        local: bool,
    ) -> Option<Accepted> {
        self.owners.iter().find_map(|owner| {
            let door = state.host.uplinks.get(owner)?;
            if local || by == *owner {
                return None;
            }
            let cut = state.is_cut_off(*owner, family);
            if door.primary {
                // Its own default must be main's best, or its answers to the world are lost.
                let is_default =
                    route.is_none_or(|r| u32::from(r.dst.len()) <= suppressed_length(family));
                return (!is_default || cut).then_some(Accepted::Primary(*owner));
            }
            (door.falls_through && cut).then_some(Accepted::Fallthrough(*owner))
        })
    }
}

/// Whether an address is of one link alone: `fe80::/10`.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if a.is_unicast_link_local())
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
