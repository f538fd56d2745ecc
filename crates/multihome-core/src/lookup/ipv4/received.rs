//! What comes in (`ip_route_input_slow` in net/ipv4/route.c).

use std::net::Ipv4Addr;

use super::{Packet, is_zeronet, refused};
use crate::lookup::walk::{End, Key};
use crate::lookup::{Answer, By, Doubt, Outcome, Path, Refusal, Sanity, Step, Unknown};
use crate::model::{Hop, Route, RouteKind, Rule};
use crate::prefix::Family;

impl<'a> Packet<'_, 'a> {
    pub(super) fn comes_in(mut self, iif: u32, steps: &mut Option<Vec<Step<'a>>>) -> Answer<'a> {
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
}
