//! What the host sends (`ip_route_output_key_hash_rcu` in net/ipv4/route.c).
//!
//! What is sent with a source must have one of this host's. What is sent by a link for which there
//! is no route is taken to be on that link: `SO_BINDTODEVICE` without a route asks for every
//! address of the Internet by ARP.

use std::net::{IpAddr, Ipv4Addr};

use super::{Packet, SCOPE_HOST, SCOPE_LINK, is_zeronet, refused};
use crate::lookup::table;
use crate::lookup::walk::{End, Key};
use crate::lookup::{Answer, By, Outcome, Path, Refusal, Sanity, Step};
use crate::model::{Hop, Route, RouteKind, Rule};
use crate::prefix::Family;

impl<'a> Packet<'_, 'a> {
    pub(super) fn goes_out(
        mut self,
        oif: Option<u32>,
        steps: &mut Option<Vec<Step<'a>>>,
    ) -> Answer<'a> {
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
