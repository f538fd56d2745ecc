//! Asking: where would the kernel send a packet? `RTM_GETROUTE`, which is `ip route get`
//! (`inet_rtm_getroute`, `inet6_rtm_getroute`), and which every user may ask.
//!
//! What it does not tell or cannot be asked:
//!
//! * whether a socket is bound to the link ([`Flow::bound`]), and of IPv4 what needs no protocol:
//!   without one the kernel takes the packet for UDP. TCP, UDP and ICMP are all that it knows
//!   (`rtm_getroute_parse_ip_proto`); other protocols are refused with EOPNOTSUPP, which is an
//!   error here.
//! * the user of what comes in by IPv4: that is root, as it is for packets.
//! * what comes in by IPv6 to many: EMSGSIZE, where there is no multicast router (`rt6_fill_node`).
//! * why something is refused: the errno is all there is.

use multihome_core::lookup::{Flow, Refusal, Told, Way};
use multihome_core::model::{Route, RouteKind};
use rustix::io::Errno;

use crate::address::number;
use crate::error::Error;
use crate::observe::Kernel;
use crate::route;
use crate::uapi::{
    RTA_DPORT, RTA_DST, RTA_GATEWAY, RTA_IIF, RTA_IP_PROTO, RTA_MARK, RTA_OIF, RTA_PREFSRC,
    RTA_PRIORITY, RTA_SPORT, RTA_SRC, RTA_TABLE, RTA_UID, RTA_VIA, RTM_F_FIB_MATCH,
    RTM_F_LOOKUP_TABLE, RTM_GETROUTE, RTM_NEWROUTE,
};
use crate::wire::{Malformed, Message, addr_of, split, u32_of};

/// `struct rtmsg`.
const HEADER: usize = 12;

// ===== impl Kernel =====

impl Kernel {
    /// What the kernel does with a flow: `ip route get`.
    ///
    /// # Errors
    /// When it cannot be asked so, or the answer cannot be had. A refusal is an answer.
    pub fn route_get(&mut self, flow: &Flow) -> Result<Told, Error> {
        let unknown = Err(Error::Unknown("the question got no answer"));
        self.route_get_all(std::slice::from_ref(flow)).pop().unwrap_or(unknown)
    }

    /// As [`Kernel::route_get`], for many: some 100,000 in a second.
    pub fn route_get_all(&mut self, flows: &[Flow]) -> Vec<Result<Told, Error>> {
        let ways = self.ask(flows, 0, |payload, flow| decode(payload, flow).map(Some));
        ways.into_iter()
            .map(|way| match way {
                Ok(way) => Ok(Told::Sent(way)),
                Err(e) => refusal(&e).map(Told::Refused).ok_or(e),
            })
            .collect()
    }

    /// The route of the table that decides about each flow: `ip route get fibmatch`.
    ///
    /// The kernel's refusal is an error of that flow. What it decides without a route has none
    /// either.
    pub fn fib_match_all(&mut self, flows: &[Flow]) -> Vec<Result<Route, Error>> {
        self.ask(flows, RTM_F_FIB_MATCH, |payload, _| route::decode(payload))
    }

    fn ask<T>(
        &mut self,
        flows: &[Flow],
        flags: u32,
        decode: impl Fn(&[u8], &Flow) -> Result<Option<T>, Malformed>,
    ) -> Vec<Result<T, Error>> {
        let messages: Vec<Message> = flows.iter().map(|f| encode(f, flags)).collect();
        let mut answers: Vec<Option<Result<T, Error>>> = flows.iter().map(|_| None).collect();
        let outcomes = self.socket.ask(&messages, &mut |at, kind, payload| {
            if let (RTM_NEWROUTE, Some(flow), Some(answer)) =
                (kind, flows.get(at), answers.get_mut(at))
            {
                *answer = decode(payload, flow).map_err(Error::from).transpose();
            }
        });
        let silent = || Err(Error::Unknown("the question got no answer"));
        let settled = |(outcome, answer): (Result<(), Error>, Option<_>)| match outcome {
            Ok(()) => answer.unwrap_or_else(silent),
            Err(e) => Err(e),
        };
        outcomes.into_iter().zip(answers).map(settled).collect()
    }
}

// ===== encode =====

fn encode(flow: &Flow, flags: u32) -> Message {
    let bits = flow.family().bits();
    let mut h = [0; HEADER];
    h[0] = number(flow.family());
    h[1] = bits;
    h[2] = if flow.from.is_some() { bits } else { 0 };
    h[3] = flow.tos;
    // IPv6 always tells the table, and refuses to be asked for it (inet6_rtm_valid_getroute_req).
    let table = if flow.to.is_ipv4() { RTM_F_LOOKUP_TABLE } else { 0 };
    h[8..12].copy_from_slice(&(table | flags).to_ne_bytes());
    let mut m = Message::new(RTM_GETROUTE, 0, &h);
    m.attr_addr(RTA_DST, flow.to);
    if let Some(from) = flow.from {
        m.attr_addr(RTA_SRC, from);
    }
    for (kind, link) in [(RTA_IIF, flow.iif), (RTA_OIF, flow.oif)] {
        if let Some(link) = link {
            m.attr_u32(kind, link);
        }
    }
    if flow.mark != 0 {
        m.attr_u32(RTA_MARK, flow.mark);
    }
    // Without it the kernel takes the user who asks.
    m.attr_u32(RTA_UID, flow.uid);
    if flow.proto != 0 {
        m.attr_u8(RTA_IP_PROTO, flow.proto);
    }
    for (kind, port) in [(RTA_SPORT, flow.sport), (RTA_DPORT, flow.dport)] {
        if port != 0 {
            m.attr(kind, &port.to_be_bytes());
        }
    }
    m
}

// ===== decode =====

fn decode(payload: &[u8], flow: &Flow) -> Result<Way, Malformed> {
    let (h, attrs) = split::<HEADER>("rtmsg", payload)?;
    let mut way = Way {
        table: Some(u32::from(h[4])),
        kind: RouteKind::from(h[7]),
        link: 0,
        gateway: None,
        source: flow.from.filter(|a| !a.is_unspecified()),
        metric: None,
    };
    for attr in attrs {
        let (kind, bytes) = attr?;
        match kind {
            RTA_TABLE => way.table = Some(u32_of("RTA_TABLE", bytes)?),
            RTA_OIF => way.link = u32_of("RTA_OIF", bytes)?,
            RTA_GATEWAY => way.gateway = Some(addr_of("RTA_GATEWAY", h[0], bytes)?),
            RTA_VIA => way.gateway = Some(route::via(bytes)?),
            // IPv6 repeats the one of the route behind it.
            RTA_PREFSRC if way.source.is_none() => {
                way.source = Some(addr_of("RTA_PREFSRC", h[0], bytes)?);
            }
            RTA_PRIORITY => way.metric = Some(u32_of("RTA_PRIORITY", bytes)?),
            _ => {}
        }
    }
    way.table = way.table.filter(|&table| table != 0);
    Ok(way.plain(flow))
}

/// The errors that a decision can be; others are of the question.
fn refusal(e: &Error) -> Option<Refusal> {
    let Error::Kernel { errno, .. } = e else { return None };
    Some(match Errno::from_raw_os_error(*errno) {
        Errno::NETUNREACH => Refusal::NetworkUnreachable,
        Errno::HOSTUNREACH => Refusal::HostUnreachable,
        Errno::ACCESS => Refusal::Prohibited,
        Errno::INVAL => Refusal::Invalid,
        Errno::NODEV => Refusal::NoDevice,
        Errno::XDEV => Refusal::CrossDevice,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    fn flow() -> Flow {
        Flow {
            from: Some("10.0.0.5".parse().unwrap()),
            iif: Some(3),
            oif: Some(4),
            mark: 5,
            proto: 6,
            sport: 0x102,
            dport: 0x304,
            uid: 1000,
            tos: 0x10,
            ..Flow::to("10.0.0.9".parse().unwrap())
        }
    }

    fn answer() -> Message {
        let h = [2, 32, 0, 0, 254, 0, 0, 1, 0, 2, 0, 0];
        let mut m = Message::new(RTM_NEWROUTE, 0, &h);
        m.attr_u32(RTA_TABLE, 10_003)
            .attr_addr(RTA_DST, "10.0.0.9".parse().unwrap())
            .attr_u32(RTA_OIF, 3)
            .attr_addr(RTA_PREFSRC, "10.0.0.204".parse().unwrap())
            .attr_addr(RTA_GATEWAY, "10.0.0.1".parse().unwrap());
        m
    }

    #[test]
    fn every_field_of_a_flow_is_asked() {
        let m = encode(&flow(), RTM_F_FIB_MATCH);
        let (h, attrs) = split::<HEADER>("rtmsg", m.payload()).unwrap();
        assert_eq!(h, [2, 32, 32, 0x10, 0, 0, 0, 0, 0, 0x30, 0, 0]);
        let attrs: Vec<_> = attrs.map(Result::unwrap).map(|(k, b)| (k, b.to_vec())).collect();
        let u32 = |n: u32| n.to_ne_bytes().to_vec();
        assert_eq!(
            attrs,
            [
                (RTA_DST, vec![10, 0, 0, 9]),
                (RTA_SRC, vec![10, 0, 0, 5]),
                (RTA_IIF, u32(3)),
                (RTA_OIF, u32(4)),
                (RTA_MARK, u32(5)),
                (RTA_UID, u32(1000)),
                (RTA_IP_PROTO, vec![6]),
                (RTA_SPORT, vec![1, 2]),
                (RTA_DPORT, vec![3, 4]),
            ]
        );
    }

    #[test]
    fn what_was_not_said_is_not_asked_but_for_the_user() {
        let m = encode(&Flow::to("2001:db8::1".parse().unwrap()), 0);
        let (h, attrs) = split::<HEADER>("rtmsg", m.payload()).unwrap();
        assert_eq!(h[..4], [10, 128, 0, 0]);
        let kinds: Vec<u16> = attrs.map(|a| a.unwrap().0).collect();
        assert_eq!(kinds, [RTA_DST, RTA_UID]);
    }

    #[test]
    fn an_answer_is_read() {
        let way = Way {
            table: Some(10_003),
            kind: RouteKind::Unicast,
            link: 3,
            gateway: Some("10.0.0.1".parse().unwrap()),
            source: Some("10.0.0.204".parse().unwrap()),
            metric: None,
        };
        let asked = Flow::to("10.0.0.9".parse().unwrap());
        assert_eq!(decode(answer().payload(), &asked), Ok(way.clone()));
        // What the kernel would choose for another does not matter, and what came in needs none.
        let sent = Flow { iif: None, ..flow() };
        let own = Way { source: sent.from, ..way.clone() };
        assert_eq!(decode(answer().payload(), &sent), Ok(own));
        assert_eq!(decode(answer().payload(), &flow()), Ok(Way { source: None, ..way }));
    }

    #[test]
    fn a_gateway_of_the_other_family_is_read() {
        let mut m = Message::new(RTM_NEWROUTE, 0, &[2, 32, 0, 0, 254, 0, 0, 1, 0, 2, 0, 0]);
        let mut via = vec![10, 0];
        via.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        m.attr(RTA_VIA, &via).attr_u32(RTA_PRIORITY, 1024);
        let way = decode(m.payload(), &Flow::to("10.0.0.9".parse().unwrap())).unwrap();
        assert_eq!((way.kind, way.table, way.metric), (RouteKind::Unicast, Some(254), Some(1024)));
        assert_eq!(way.gateway, Some("fe80::1".parse().unwrap()));
    }

    #[test]
    fn errors_of_a_question_are_no_decisions() {
        let error = |e: Errno| Error::Kernel { errno: e.raw_os_error(), message: None };
        assert_eq!(refusal(&error(Errno::NETUNREACH)), Some(Refusal::NetworkUnreachable));
        assert_eq!(refusal(&error(Errno::OPNOTSUPP)), None);
    }

    #[test]
    fn noise_never_panics() {
        let mut noise = Noise::new(7);
        let good = answer();
        for _ in 0..20_000 {
            let _ = decode(&noise.bytes(), &flow());
            let _ = decode(&noise.damage(good.payload()), &flow());
        }
    }
}
