//! IPv4: what the host sends (`ip_route_output_key_hash_rcu`), and what comes in
//! (`ip_route_input_slow`), both in net/ipv4/route.c.
//!
//! What is sent with a source must have one of this host's. What is sent by a link for which there
//! is no route is taken to be on that link: `SO_BINDTODEVICE` without a route asks for every
//! address of the Internet by ARP. What comes in is checked backwards, by the look-up of an answer
//! (`__fib_validate_source`): that is the reverse path filter.

use std::net::{IpAddr, Ipv4Addr};

use super::rule::Kind;
use super::table::{self, Found, Table};
use super::walk::{End, Key, Walk};
use super::{
    Answer, By, Doubt, Flow, Lookup, Outcome, Path, Refusal, Sanity, Step, Strange, Unknown,
};
use crate::model::names::{TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};
use crate::model::route::RTNH_F_ONLINK;
use crate::model::{Action, Hop, Route, RouteKind, Rule};
use crate::prefix::Family;

/// `RT_SCOPE_LINK`.
const SCOPE_LINK: u8 = 253;
/// `RT_SCOPE_HOST`.
const SCOPE_HOST: u8 = 254;

pub(super) fn answer<'a>(
    lookup: &Lookup<'a>,
    flow: &Flow,
    steps: &mut Option<Vec<Step<'a>>>,
) -> Answer<'a> {
    let key = Key::of(lookup, flow);
    let (IpAddr::V4(from), IpAddr::V4(to)) = (key.from, key.to) else { return Answer::default() };
    let mut answer = Answer::default();
    // As long as there was never a rule besides its own, the kernel looks at none (fib_lookup): then
    // `local` and `main` are one trie. Whether there was one once cannot be seen, so both ways are
    // gone where only the kernel's rules are there.
    let ways: &[bool] = if lookup.custom_rules { &[false] } else { &[false, true] };
    for &merged in ways {
        let packet = Packet { lookup, from, to, key: key.clone(), merged };
        let steps = if merged { &mut None } else { &mut *steps };
        let one = match flow.iif {
            Some(iif) => packet.comes_in(iif, steps),
            None => packet.goes_out(flow.oif, steps),
        };
        one.outcomes.into_iter().for_each(|o| answer.add(o));
        let new = one.doubts.into_iter().filter(|d| !answer.doubts.contains(d)).collect::<Vec<_>>();
        answer.doubts.extend(new);
    }
    if [flow.iif, flow.oif].into_iter().flatten().any(|l| lookup.is_in_vrf(l)) {
        answer.doubts.push(Doubt::Unknown(Unknown::Vrf));
    }
    answer
}

/// An IPv4 packet and where it is looked up.
struct Packet<'l, 'a> {
    lookup: &'l Lookup<'a>,
    from: Ipv4Addr,
    to: Ipv4Addr,
    key: Key,
    /// Whether `local` and `main` are one trie (`fib_trie_unmerge`).
    merged: bool,
}

fn refused<'a>(error: Refusal, why: Sanity<'a>) -> Answer<'a> {
    Answer::certain(Outcome::sanity(error, why))
}

/// `ipv4_is_zeronet`, which since Linux 5.3 is one address.
fn is_zeronet(address: Ipv4Addr) -> bool {
    address.is_unspecified()
}

// ===== what is sent =====

impl<'a> Packet<'_, 'a> {
    fn goes_out(mut self, oif: Option<u32>, steps: &mut Option<Vec<Step<'a>>>) -> Answer<'a> {
        let to_many = self.to.is_multicast() || self.to.is_broadcast();
        if !self.from.is_unspecified() {
            if self.from.is_multicast() || self.from.is_broadcast() || is_zeronet(self.from) {
                return refused(Refusal::Invalid, Sanity::SourceImpossible);
            }
            let owners = self.lookup.owners(self.merged, self.from.into());
            if oif.is_none() && to_many {
                // By the card of the source, without a look-up.
                let mut answer = Answer::default();
                for link in &owners {
                    let by_link = self.by_link(*link, Some(self.from.into()));
                    by_link.outcomes.into_iter().for_each(|o| answer.add(o));
                }
                if owners.is_empty() {
                    return refused(Refusal::NetworkUnreachable, Sanity::SourceNotOurs);
                }
                return answer;
            }
            if owners.is_empty() {
                return refused(Refusal::NetworkUnreachable, Sanity::SourceNotOurs);
            }
        }
        let mut source = Some(self.key.from).filter(|a| !a.is_unspecified());
        if let Some(index) = oif {
            let Some(link) = self.lookup.snapshot.link(index) else {
                return refused(Refusal::NoDevice, Sanity::NoLink);
            };
            if !link.is_up() {
                return refused(Refusal::NetworkUnreachable, Sanity::LinkUnusable);
            }
            let local_multicast = self.to.octets()[..3] == [224, 0, 0];
            if local_multicast || self.to.is_broadcast() || self.key.kind.proto == IPPROTO_IGMP {
                let source = source.or_else(|| self.lookup.source_v4(index, None, SCOPE_LINK));
                return self.by_link(index, source);
            }
            if source.is_none() && self.to.is_multicast() {
                source = self.lookup.source_v4(index, None, 0);
            } else if source.is_none() && self.to.is_unspecified() {
                source = self.lookup.source_v4(index, None, SCOPE_HOST);
            }
            self.key.from = source.unwrap_or(self.key.from);
        }
        if self.to.is_unspecified() {
            let to = source.unwrap_or(Ipv4Addr::LOCALHOST.into());
            return Answer::certain(Outcome::Sent(Path {
                rule: None,
                route: None,
                kind: RouteKind::Local,
                link: self.lookup.loopback,
                gateway: None,
                source: Some(to),
            }));
        }
        let (ends, doubts) = self.lookup.ends(&self.key, self.merged, steps);
        let mut answer = Answer { outcomes: Vec::new(), doubts };
        for end in ends {
            answer.doubts.extend(self.lookup.own_gateway(self.merged, &end));
            for outcome in self.sent(&end, source) {
                answer.add(outcome);
            }
        }
        answer
    }

    /// What becomes of it at one end of the walk.
    fn sent(&self, end: &End<'a>, source: Option<IpAddr>) -> Vec<Outcome<'a>> {
        let (rule, route, hop) = match *end {
            End::Route(rule, route, hop) => (rule, route, hop),
            _ if self.key.oif != 0 => {
                let source =
                    source.or_else(|| self.lookup.source_v4(self.key.oif, None, SCOPE_LINK));
                return self.by_link(self.key.oif, source).outcomes;
            }
            End::RouteRefuses(rule, route, error) => {
                return vec![Outcome::Refused { error, by: By::Route(rule, route) }];
            }
            End::RuleRefuses(rule, error) => {
                return vec![Outcome::Refused { error, by: By::Rule(rule) }];
            }
            End::Nothing => {
                let error = Refusal::NetworkUnreachable;
                return vec![Outcome::Refused { error, by: By::NoRoute }];
            }
        };
        let mut ways = vec![(route, hop)];
        if let Some(table) = self.lookup.tables.get(&(Family::V4, route.table))
            && table.defaults > 1
            && route.dst.is_default()
            && route.kind == RouteKind::Unicast
            && route.hops.len() == 1
            && self.key.oif == 0
        {
            let others = rivals(table.at(route.dst), route, &self.key);
            ways.extend(others.into_iter().map(|r| (r, r.hops.first())));
        }
        let mut outcomes = Vec::new();
        for (route, hop) in ways {
            for source in self.sources(route, hop, source) {
                outcomes.push(self.checked(self.path(rule, route, hop, source)));
            }
        }
        outcomes
    }

    /// The sources that the kernel may choose for what has none (`fib_result_prefsrc`).
    fn sources(
        &self,
        route: &'a Route,
        hop: Option<&'a Hop>,
        source: Option<IpAddr>,
    ) -> Vec<Option<IpAddr>> {
        if source.or(route.prefsrc).is_some() {
            return vec![source.or(route.prefsrc)];
        }
        match hop {
            _ if route.kind == RouteKind::Local => vec![Some(self.to.into())],
            None => vec![None],
            Some(h) => {
                let gateway = h.gateway.filter(IpAddr::is_ipv4);
                let scopes = self.lookup.scopes(route, h).into_iter();
                scopes.map(|s| self.lookup.source_v4(h.link, gateway, s)).collect()
            }
        }
    }

    fn path(
        &self,
        rule: &'a Rule,
        route: &'a Route,
        hop: Option<&'a Hop>,
        source: Option<IpAddr>,
    ) -> Path<'a> {
        let kept = route.kind == RouteKind::Local;
        let kind = self.kind(route.kind);
        // __mkroute_output: broadcasts have no gateway, nor have multicasts by a default
        let direct = kept
            || kind == RouteKind::Broadcast
            || kind == RouteKind::Multicast && route.dst.len() < 4;
        Path {
            rule: Some(rule),
            route: Some(route),
            kind,
            link: match hop {
                Some(h) if !kept => h.link,
                _ => self.lookup.loopback,
            },
            gateway: hop.and_then(|h| h.gateway).filter(|_| !direct),
            source,
        }
    }

    /// By a link and without a route.
    fn by_link(&self, link: u32, source: Option<IpAddr>) -> Answer<'a> {
        Answer::certain(self.checked(Path {
            rule: None,
            route: None,
            kind: self.kind(RouteKind::Unicast),
            link,
            gateway: None,
            source,
        }))
    }

    /// What the destination makes of a kind (`__mkroute_output`).
    fn kind(&self, kind: RouteKind) -> RouteKind {
        if self.to.is_broadcast() {
            RouteKind::Broadcast
        } else if self.to.is_multicast() {
            RouteKind::Multicast
        } else {
            kind
        }
    }

    /// What `__mkroute_output` refuses.
    fn checked(&self, path: Path<'a>) -> Outcome<'a> {
        let loopback = self.lookup.snapshot.link(path.link).is_some_and(|l| l.is_loopback());
        let from_loopback = path.source.is_some_and(|s| s.is_loopback());
        if from_loopback
            && !loopback
            && !self.lookup.switch(Family::V4, path.link, "route_localnet")
        {
            return Outcome::sanity(Refusal::Invalid, Sanity::SourceImpossible);
        }
        if is_zeronet(self.to) {
            return Outcome::sanity(Refusal::Invalid, Sanity::DestinationImpossible);
        }
        Outcome::Sent(path)
    }
}

/// `IPPROTO_IGMP`.
const IPPROTO_IGMP: u8 = 2;

/// Other defaults that may be taken for one that was found, while its gateway does not answer
/// (`fib_select_default`): those of its metric, TOS and scope that have a gateway.
fn rivals<'a>(defaults: &[&'a Route], found: &Route, key: &Key) -> Vec<&'a Route> {
    let mut equal = Vec::new();
    let (mut metric, mut tos) = (found.metric, 0);
    for &route in defaults {
        if !table::fits_tos(route, key) {
            continue;
        }
        if route.metric > metric && route.tos == tos {
            if tos != 0 {
                continue;
            }
            break;
        }
        if !route.hops.is_empty() && !route.hops.iter().any(table::is_good) {
            continue;
        }
        (metric, tos) = (route.metric, route.tos);
        let has_gateway = route.hops.first().is_some_and(|h| h.gateway.is_some());
        if route.scope != found.scope || route.kind != RouteKind::Unicast || !has_gateway {
            continue;
        }
        if equal.is_empty() && route != found {
            break;
        }
        equal.push(route);
    }
    equal
}

// ===== what comes in =====

impl<'a> Packet<'_, 'a> {
    fn comes_in(mut self, iif: u32, steps: &mut Option<Vec<Step<'a>>>) -> Answer<'a> {
        let Some(link) = self.lookup.snapshot.link(iif) else {
            return refused(Refusal::NoDevice, Sanity::NoLink);
        };
        // The owner of a packet that came in is nobody's socket (ip_route_input_slow).
        self.key.kind.uid = 0;
        self.key.oif = 0;
        if self.to.is_multicast() {
            return Answer {
                outcomes: Vec::new(),
                doubts: vec![Doubt::Unknown(Unknown::MulticastGroups)],
            };
        }
        if self.from.is_multicast() || self.from.is_broadcast() {
            return refused(Refusal::Invalid, Sanity::SourceImpossible);
        }
        if self.to.is_broadcast() || self.from.is_unspecified() && self.to.is_unspecified() {
            return self.broadcast(iif, None);
        }
        if is_zeronet(self.from) {
            return refused(Refusal::Invalid, Sanity::SourceImpossible);
        }
        if is_zeronet(self.to) {
            return refused(Refusal::Invalid, Sanity::DestinationImpossible);
        }
        let localnet = self.lookup.switch(Family::V4, iif, "route_localnet");
        if self.to.is_loopback() && !localnet {
            return refused(Refusal::Invalid, Sanity::DestinationImpossible);
        }
        if self.from.is_loopback() && !self.to.is_loopback() && !localnet {
            return refused(Refusal::Invalid, Sanity::SourceImpossible);
        }
        let forwards = self.lookup.snapshot.sysctls.conf(Family::V4, &link.name, "forwarding");
        let (ends, doubts) = self.lookup.ends(&self.key, self.merged, steps);
        let mut answer = Answer { outcomes: Vec::new(), doubts };
        for end in ends {
            answer.doubts.extend(self.lookup.own_gateway(self.merged, &end));
            let came = match end {
                End::Route(rule, route, hop) => self.received(iif, forwards, rule, route, hop),
                _ if forwards == Some(0) => {
                    refused(Refusal::HostUnreachable, Sanity::NotForwarding)
                }
                _ if forwards.is_none() => Answer {
                    outcomes: Vec::new(),
                    doubts: vec![Doubt::Unknown(Unknown::Forwarding)],
                },
                End::RouteRefuses(rule, route, error) => {
                    Answer::certain(Outcome::Refused { error, by: By::Route(rule, route) })
                }
                End::RuleRefuses(rule, error) => {
                    Answer::certain(Outcome::Refused { error, by: By::Rule(rule) })
                }
                End::Nothing => {
                    let error = Refusal::NetworkUnreachable;
                    Answer::certain(Outcome::Refused { error, by: By::NoRoute })
                }
            };
            came.outcomes.into_iter().for_each(|o| answer.add(o));
            answer.doubts.extend(came.doubts);
        }
        answer
    }

    fn received(
        &self,
        iif: u32,
        forwards: Option<i64>,
        rule: &'a Rule,
        route: &'a Route,
        hop: Option<&'a Hop>,
    ) -> Answer<'a> {
        let source = Some(self.key.from);
        let kept = Path {
            rule: Some(rule),
            route: Some(route),
            kind: route.kind,
            link: self.lookup.loopback,
            gateway: None,
            source,
        };
        match route.kind {
            // IN_DEV_BFORWARD wants both switches, and asks for no other (ip_route_input_slow).
            RouteKind::Broadcast if !self.forwards_broadcasts(iif) => {
                return self.broadcast(iif, Some(kept));
            }
            RouteKind::Local => return self.validated(iif, None, kept),
            _ => {}
        }
        let broadcast = route.kind == RouteKind::Broadcast;
        if forwards == Some(0) && !broadcast {
            return refused(Refusal::HostUnreachable, Sanity::NotForwarding);
        }
        if route.kind != RouteKind::Unicast && !broadcast {
            return refused(Refusal::Invalid, Sanity::DestinationImpossible);
        }
        let out = hop.map_or(0, |h| h.link);
        let path = Path { link: out, gateway: hop.and_then(|h| h.gateway), ..kept };
        let mut answer = self.validated(iif, Some(out), path);
        if forwards.is_none() && !broadcast {
            answer.doubts.push(Doubt::Unknown(Unknown::Forwarding));
        }
        answer
    }

    fn forwards_broadcasts(&self, iif: u32) -> bool {
        let name = self.lookup.snapshot.link(iif).map_or("", |l| l.name.as_str());
        let on = |link| self.lookup.snapshot.sysctls.conf(Family::V4, link, "bc_forwarding");
        on("all").unwrap_or(0) != 0 && on(name).unwrap_or(0) != 0
    }

    /// What is for everybody on the link.
    fn broadcast(&self, iif: u32, path: Option<Path<'a>>) -> Answer<'a> {
        let path = path.unwrap_or(Path {
            rule: None,
            route: None,
            kind: RouteKind::Broadcast,
            link: self.lookup.loopback,
            gateway: None,
            source: Some(self.key.from),
        });
        if is_zeronet(self.from) {
            return Answer::certain(Outcome::Sent(path));
        }
        // fib_validate_source with a destination of 0.0.0.0
        let key = Key { to: Ipv4Addr::UNSPECIFIED.into(), ..self.key.clone() };
        Packet { to: Ipv4Addr::UNSPECIFIED, key, ..*self }.validated(iif, None, path)
    }

    /// The answer if the source is one that can come in by the link (`fib_validate_source`); `out`
    /// is the link that the packet is to leave by, if it is.
    fn validated(&self, iif: u32, out: Option<u32>, path: Path<'a>) -> Answer<'a> {
        let lookup = self.lookup;
        let name = lookup.snapshot.link(iif).map_or("", |l| l.name.as_str());
        let effective = |key| lookup.snapshot.sysctls.effective(Family::V4, name, key);
        let Some(filter) = effective("rp_filter") else {
            return Answer {
                outcomes: vec![Outcome::Sent(path)],
                doubts: vec![Doubt::Unknown(Unknown::RpFilter)],
            };
        };
        let accept_local = effective("accept_local").unwrap_or(0) > 0;
        let redirects = effective("send_redirects").unwrap_or(0) > 0;
        let mut quick = None;
        if filter == 0 && (out != Some(iif) || !redirects) {
            if accept_local {
                return Answer::certain(Outcome::Sent(path));
            }
            // Without rules or local routes of somebody's (fib_has_custom_local_routes), only the host's own addresses are not
            // believed. That there was such a route once, the kernel does not forget.
            if self.merged && lookup.made_local.is_empty() {
                quick = Some(if lookup.owners.contains_key(&self.key.from) {
                    Outcome::sanity(Refusal::Invalid, Sanity::SourceIsOurs)
                } else {
                    Outcome::Sent(path.clone())
                });
            }
        }
        let marked = effective("src_valid_mark").unwrap_or(0) > 0;
        let key = Key {
            to: self.key.from,
            from: self.key.to,
            iif: out.unwrap_or(lookup.loopback),
            oif: 0,
            near: 0,
            mark: if marked { self.key.mark } else { 0 },
            kind: Kind { uid: 0, ..self.key.kind.reversed() },
            ..self.key.clone()
        };
        let (ends, doubts) = lookup.ends(&key, self.merged, &mut None);
        let mut answer = Answer { outcomes: quick.into_iter().collect(), doubts };
        for end in ends {
            answer.add(match self.distrust(iif, filter, accept_local, &end) {
                None => Outcome::Sent(path.clone()),
                Some(outcome) => outcome,
            });
        }
        answer
    }

    /// Why a packet is dropped whose answer would go that way, if so (`__fib_validate_source`).
    fn distrust(
        &self,
        iif: u32,
        filter: i64,
        accept_local: bool,
        end: &End<'a>,
    ) -> Option<Outcome<'a>> {
        let reverse = |route| Outcome::sanity(Refusal::CrossDevice, Sanity::ReversePath(route));
        let End::Route(_, route, _) = *end else {
            return (filter != 0).then(|| reverse(None));
        };
        let ours = route.kind == RouteKind::Local;
        if route.kind != RouteKind::Unicast && !(ours && accept_local) {
            return Some(Outcome::sanity(Refusal::Invalid, Sanity::SourceIsOurs));
        }
        let loopback = self.lookup.snapshot.link(iif).is_some_and(|l| l.is_loopback());
        if route.hops.iter().any(|h| h.link == iif) || ours && loopback {
            return None;
        }
        let has_address = self.lookup.snapshot.addresses_of(iif).any(|a| a.local.is_ipv4());
        let strict = filter == 1 || filter != 0 && !has_address;
        strict.then(|| reverse(Some(route)))
    }
}

// ===== impl Lookup: IPv4 =====

impl<'a> Lookup<'a> {
    /// The ends of a walk.
    fn ends(
        &self,
        key: &Key,
        merged: bool,
        steps: &mut Option<Vec<Step<'a>>>,
    ) -> (Vec<End<'a>>, Vec<Doubt<'a>>) {
        if merged {
            return (self.merged(key), Vec::new());
        }
        let mut walk = Walk::new(self, key, steps);
        walk.run();
        (walk.ends, walk.doubts)
    }

    /// The table `local`, and `main` where the two share a trie.
    fn local(&self, merged: bool) -> Vec<&Table<'a>> {
        let tables: &[u32] = if merged { &[TABLE_LOCAL, TABLE_MAIN] } else { &[TABLE_LOCAL] };
        tables.iter().filter_map(|id| self.tables.get(&(Family::V4, *id))).collect()
    }

    /// What comes of tables that share a trie.
    fn merged(&self, key: &Key) -> Vec<End<'a>> {
        let table = |id| self.tables.get(&(Family::V4, id));
        for (tables, priority) in [
            (self.local(true), MAIN_PRIORITY),
            (table(TABLE_DEFAULT).into_iter().collect(), DEFAULT_PRIORITY),
        ] {
            let rule = |route: &Route| {
                let priority = if route.table == TABLE_LOCAL { 0 } else { priority };
                self.rules(Family::V4).iter().copied().find(|r| r.priority == priority)
            };
            match table::v4(&tables, key) {
                Found::Route(route, hops) => {
                    let Some(rule) = rule(route) else { return Vec::new() };
                    return hops.into_iter().map(|h| End::Route(rule, route, h)).collect();
                }
                Found::Refused(route, error) => {
                    let Some(rule) = rule(route) else { return Vec::new() };
                    return vec![End::RouteRefuses(rule, route, error)];
                }
                Found::Throw(_) | Found::Nothing => {}
            }
        }
        vec![End::Nothing]
    }

    /// What a gateway is worth that is an address of this host: nothing, if it was one when the
    /// route was made (`fib_check_nh_v4_gw` notes the scope, and `rt_set_nexthop` uses a gateway only
    /// that is on a link). Nobody tells.
    fn own_gateway(&self, merged: bool, end: &End<'a>) -> Option<Doubt<'a>> {
        let End::Route(_, route, Some(hop)) = *end else { return None };
        let gateway = hop.gateway.filter(|g| g.is_ipv4() && hop.flags & RTNH_F_ONLINK == 0)?;
        // All that leads to the loopback is this host's.
        let ours = hop.link == self.loopback
            || self.made_local.iter().any(|p| p.contains(gateway))
            || !self.owners(merged, gateway).is_empty();
        ours.then_some(Doubt::Route(route, Strange::OwnGateway))
    }

    /// The link that an IPv4 address is local to (`__ip_dev_find`): its owner, of several the one that
    /// got it last, which a snapshot does not tell; or where the table
    /// `local` says (127.0.0.2).
    fn owners(&self, merged: bool, address: IpAddr) -> Vec<u32> {
        if let Some(links) = self.owners.get(&address) {
            return links.clone();
        }
        let mut key = Key::of(self, &Flow::to(address));
        key.iif = 0;
        match table::v4(&self.local(merged), &key) {
            Found::Route(route, _) if route.kind == RouteKind::Local => {
                route.hops.iter().take(1).map(|h| h.link).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The scopes for which the source of a hop may have been chosen. What a nexthop object chose
    /// when it was made (`nh_create_ipv4`), or for the route that asked first after an address came
    /// or went, it keeps for all others (`fib_result_prefsrc`).
    fn scopes(&self, route: &Route, hop: &Hop) -> Vec<u8> {
        let mut scopes = vec![route.scope];
        if route.nhid.is_none() {
            return scopes;
        }
        scopes.push(if hop.gateway.is_some() { SCOPE_LINK - 1 } else { SCOPE_LINK });
        scopes.extend(self.scopes.get(&(hop.link, hop.gateway)).into_iter().flatten());
        scopes.sort_unstable();
        scopes.dedup();
        scopes
    }
}

/// Whether there are other IPv4 rules than the kernel's three (`fib4_has_custom_rules`).
pub(super) fn are_custom(rules: &[&Rule]) -> bool {
    let kernels =
        [(0, TABLE_LOCAL), (MAIN_PRIORITY, TABLE_MAIN), (DEFAULT_PRIORITY, TABLE_DEFAULT)];
    let is_plain = |(rule, (priority, table)): (&&Rule, &(u32, u32))| {
        let plain = Rule {
            protocol: rule.protocol,
            ..Rule::new(Family::V4, *priority, Action::Lookup(*table))
        };
        **rule == plain
    };
    rules.len() != kernels.len() || !rules.iter().zip(&kernels).all(is_plain)
}

/// `main`'s.
const MAIN_PRIORITY: u32 = 32766;
/// `default`'s.
const DEFAULT_PRIORITY: u32 = 32767;
