//! Routes: `RTM_NEWROUTE` and `RTM_DELROUTE` (`fib_dump_info`, `rt6_fill_node`).
//!
//! What differs between the families and is levelled here: IPv6 gives a route that
//! leads nowhere the loopback as its link, IPv4 none (no hop for either); the low byte
//! of `rtm_flags` is the single hop's `RTNH_F_` bits; lifetimes are in clock ticks,
//! 100 to the second on every architecture that we run on (`USER_HZ`).
//!
//! A delete request takes the first route that has all that the request names
//! (`fib_table_delete`, `ip6_route_del`): table, prefix, metric, protocol, type and hops
//! are always named. Metric 0 cannot be named, since 0 means any; such a route is the
//! first of its prefix, which is what the kernel takes.

use std::net::IpAddr;

use multihome_core::model::route::{RTM_F_CLONED, RTNH_F_ONLINK};
use multihome_core::model::{Hop, Nexthop, Route, RouteKind};
use multihome_core::{Family, Prefix};

use crate::address::{family, number};
use crate::uapi::{
    NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, RTA_CACHEINFO, RTA_DST, RTA_ENCAP,
    RTA_EXPIRES, RTA_GATEWAY, RTA_METRICS, RTA_MULTIPATH, RTA_NH_ID, RTA_OIF, RTA_PREF,
    RTA_PREFSRC, RTA_PRIORITY, RTA_SRC, RTA_TABLE, RTA_VIA, RTAX_CC_ALGO, RTM_DELROUTE,
    RTM_GETROUTE, RTM_NEWROUTE,
};
use crate::wire::{Attrs, Malformed, Message, addr_of, short, split, str_of, u8_of, u32_of};

#[cfg(test)]
mod tests;

/// `struct rtmsg`.
const HEADER: usize = 12;
/// `struct rtnexthop`.
const RTNEXTHOP: usize = 8;
/// `USER_HZ`.
const TICKS: i64 = 100;

// ===== decode =====

/// A route from the payload of `RTM_NEWROUTE` or `RTM_DELROUTE`; `None` for other families and
/// for cached copies (`RTM_F_CLONED`), which are in no table.
///
/// # Errors
/// A sentence that names the route as well as its bytes allow.
pub fn decode(payload: &[u8]) -> Result<Option<Route>, Malformed> {
    let (h, attrs) = split::<HEADER>("rtmsg", payload)?;
    let Some(family) = family(h[0]) else { return Ok(None) };
    let flags = u32::from_ne_bytes([h[8], h[9], h[10], h[11]]);
    if flags & RTM_F_CLONED != 0 {
        return Ok(None);
    }
    let mut route = Route::new(u32::from(h[4]), family.all());
    match fields(&mut route, h, flags, attrs) {
        Ok(()) => Ok(Some(route)),
        Err(e) => Err(Malformed(format!(
            "an {family} route to {}/{} of table {} could not be decoded: {e}",
            route.dst.address(),
            h[1],
            route.table
        ))),
    }
}

fn fields(
    route: &mut Route,
    h: [u8; HEADER],
    flags: u32,
    attrs: Attrs<'_>,
) -> Result<(), Malformed> {
    let [family, dst_len, src_len, tos, _, protocol, scope, kind, ..] = h;
    route.tos = tos;
    route.protocol = protocol;
    route.scope = scope;
    route.kind = RouteKind::from(kind);
    route.metric = 0; // IPv6 always states it
    route.flags = flags & !0xff;
    let bits = route.family().bits();
    for (name, len) in [("rtm_dst_len", dst_len), ("rtm_src_len", src_len)] {
        if len > bits {
            return Err(Malformed(format!("{name} is {len}")));
        }
    }
    let mut hop = Hop { flags: flags.to_le_bytes()[0], ..Hop::default() };
    for attr in attrs {
        let (kind, bytes) = attr?;
        match kind {
            RTA_TABLE => route.table = u32_of("RTA_TABLE", bytes)?,
            RTA_DST => route.dst = Prefix::new(addr_of("RTA_DST", family, bytes)?, dst_len),
            RTA_SRC => {
                let src = addr_of("RTA_SRC", family, bytes)?;
                route.src = (src_len != 0).then(|| Prefix::new(src, src_len));
            }
            RTA_OIF => hop.link = u32_of("RTA_OIF", bytes)?,
            RTA_PRIORITY => route.metric = u32_of("RTA_PRIORITY", bytes)?,
            RTA_PREFSRC => route.prefsrc = Some(addr_of("RTA_PREFSRC", family, bytes)?),
            RTA_METRICS => metrics(route, bytes)?,
            RTA_MULTIPATH => multipath(&mut route.hops, family, bytes)?,
            RTA_CACHEINFO => route.expires = expires(bytes)?,
            RTA_PREF => route.preference = u8_of("RTA_PREF", bytes)?,
            RTA_NH_ID => route.nhid = Some(u32_of("RTA_NH_ID", bytes)?),
            _ => hop_attr(&mut hop, family, kind, bytes)?,
        }
    }
    if leads_nowhere(route.kind) {
        route.hops.clear();
    } else if route.hops.is_empty() && (hop.link != 0 || hop.gateway.is_some()) {
        route.hops = vec![hop]; // room for one, where push would make room for four
    }
    Ok(())
}

/// What a hop says, in a message of its own or inside `RTA_MULTIPATH`.
fn hop_attr(hop: &mut Hop, family: u8, kind: u16, bytes: &[u8]) -> Result<(), Malformed> {
    match kind {
        RTA_GATEWAY => hop.gateway = Some(addr_of("RTA_GATEWAY", family, bytes)?),
        RTA_VIA => hop.gateway = Some(via(bytes)?),
        RTA_ENCAP => hop.encap = true,
        _ => {}
    }
    Ok(())
}

/// `struct rtvia`: the family, then the address.
pub(crate) fn via(bytes: &[u8]) -> Result<IpAddr, Malformed> {
    let (h, address) = bytes.split_first_chunk().ok_or_else(|| short("RTA_VIA", bytes))?;
    let family = u8::try_from(u16::from_ne_bytes(*h)).unwrap_or(0);
    addr_of("RTA_VIA", family, address)
}

fn multipath(hops: &mut Vec<Hop>, family: u8, mut bytes: &[u8]) -> Result<(), Malformed> {
    while let Some((h, _)) = bytes.split_first_chunk::<RTNEXTHOP>() {
        let len = usize::from(u16::from_ne_bytes([h[0], h[1]]));
        let Some(attrs) = bytes.get(RTNEXTHOP..len) else {
            return Err(Malformed(format!(
                "a hop of RTA_MULTIPATH says {len} bytes where {} are left",
                bytes.len()
            )));
        };
        let mut hop = Hop {
            link: u32::from_ne_bytes([h[4], h[5], h[6], h[7]]),
            weight: h[3],
            flags: h[2],
            ..Hop::default()
        };
        for attr in Attrs::new(attrs) {
            let (kind, bytes) = attr?;
            hop_attr(&mut hop, family, kind, bytes)?;
        }
        hops.push(hop);
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    }
    if bytes.is_empty() { Ok(()) } else { Err(short("the last hop of RTA_MULTIPATH", bytes)) }
}

fn metrics(route: &mut Route, bytes: &[u8]) -> Result<(), Malformed> {
    for attr in Attrs::new(bytes) {
        match attr? {
            (RTAX_CC_ALGO, text) => route.metrics.congctl = Some(str_of(text)),
            (number, value) => {
                route.metrics.values.insert(number, u32_of("a metric of RTA_METRICS", value)?);
            }
        }
    }
    Ok(())
}

/// `rta_expires` of `struct rta_cacheinfo`, in seconds; 0 ticks mean no lifetime.
fn expires(bytes: &[u8]) -> Result<Option<i64>, Malformed> {
    let ticks = u32_of("RTA_CACHEINFO", bytes.get(8..).unwrap_or(&[]))?;
    let ticks = i64::from(i32::from_ne_bytes(ticks.to_ne_bytes()));
    Ok(match ticks {
        0 => None,
        // Rounded up: a route that lives for half a second more has not expired.
        1.. => Some((ticks + TICKS - 1) / TICKS),
        _ => Some(ticks / TICKS),
    })
}

fn leads_nowhere(kind: RouteKind) -> bool {
    matches!(
        kind,
        RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Throw
    )
}

/// Gives a route with `nhid` the hops of its nexthop object, when the kernel left them out
/// (`net.ipv4.nexthop_compat_mode` = 0). False when the object is not there or too deep.
pub fn resolve<'a>(route: &mut Route, find: impl Fn(u32) -> Option<&'a Nexthop>) -> bool {
    let Some(id) = route.nhid else { return true };
    if !route.hops.is_empty() || leads_nowhere(route.kind) {
        return true;
    }
    let Some(nexthop) = find(id) else { return false };
    if nexthop.blackhole {
        route.kind = RouteKind::Blackhole;
        return true;
    }
    if nexthop.group.is_empty() {
        route.hops.push(hop_of(nexthop, 0));
        return true;
    }
    for (member, weight) in &nexthop.group {
        // Groups of groups do not exist (valid_group_nh), but for resilient ones, which have
        // plain members too.
        let Some(nexthop) = find(*member) else {
            route.hops.clear();
            return false;
        };
        let weight = u8::try_from(weight.saturating_sub(1)).unwrap_or(u8::MAX);
        route.hops.push(hop_of(nexthop, weight));
    }
    true
}

fn hop_of(nexthop: &Nexthop, weight: u8) -> Hop {
    Hop {
        link: nexthop.oif.unwrap_or(0),
        gateway: nexthop.gateway,
        weight,
        flags: nexthop.flags,
        encap: false,
    }
}

// ===== encode =====

/// Asks for the routes of all tables of both families.
#[must_use]
pub fn get() -> Message {
    Message::new(RTM_GETROUTE, 0, &[0; HEADER])
}

/// Asks for the routes of all tables of one family.
#[must_use]
pub fn get_family(family: Family) -> Message {
    let mut h = [0; HEADER];
    h[0] = number(family);
    Message::new(RTM_GETROUTE, 0, &h)
}

/// Asks for the routes of one table.
#[must_use]
pub fn get_table(family: Family, table: u32) -> Message {
    let mut message = get_family(family);
    message.attr_u32(RTA_TABLE, table);
    message
}

/// Asks for the routes of all tables of both families that leave by one link.
#[must_use]
pub fn get_link(index: u32) -> Message {
    let mut message = get();
    message.attr_u32(RTA_OIF, index);
    message
}

/// `ip route add`: refused when there is one of its key.
#[must_use]
pub fn add(route: &Route) -> Message {
    encode(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, route)
}

/// `ip route append`: comes behind those of its key; IPv6 makes one multipath route of them.
#[must_use]
pub fn append(route: &Route) -> Message {
    encode(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_APPEND, route)
}

/// `ip route prepend`: comes before those of its key, in IPv4.
#[must_use]
pub fn prepend(route: &Route) -> Message {
    encode(RTM_NEWROUTE, NLM_F_CREATE, route)
}

/// `ip route replace`: takes the place of the first of its key, in one step.
#[must_use]
pub fn replace(route: &Route) -> Message {
    encode(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route)
}

/// `ip route del` with all that the route is known by.
#[must_use]
pub fn delete(route: &Route) -> Message {
    encode(RTM_DELROUTE, 0, route)
}

fn encode(request: u16, flags: u16, route: &Route) -> Message {
    let deleting = request == RTM_DELROUTE;
    let mut h = [0; HEADER];
    h[0] = number(route.family());
    h[1] = route.dst.len();
    h[2] = route.src.map_or(0, |p| p.len());
    h[3] = route.tos;
    // Not every table fits in rtm_table; RTA_TABLE says it for all.
    h[5] = route.protocol;
    h[6] = route.scope;
    h[7] = match route.nhid {
        // A dump says `blackhole` of a unicast route by a black hole object.
        Some(_) if deleting => 0,
        Some(_) if leads_nowhere(route.kind) => RouteKind::Unicast.number(),
        _ => route.kind.number(),
    };
    if let (None, [hop]) = (route.nhid, route.hops.as_slice()) {
        h[8..12].copy_from_slice(&u32::from(hop.flags & RTNH_F_ONLINK).to_ne_bytes());
    }
    let mut m = Message::new(request, flags, &h);
    m.attr_u32(RTA_TABLE, route.table);
    if !route.dst.is_default() {
        m.attr_addr(RTA_DST, route.dst.address());
    }
    if let Some(src) = route.src {
        m.attr_addr(RTA_SRC, src.address());
    }
    if route.metric != 0 {
        m.attr_u32(RTA_PRIORITY, route.metric);
    }
    if let Some(prefsrc) = route.prefsrc {
        m.attr_addr(RTA_PREFSRC, prefsrc);
    }
    match (route.nhid, route.hops.as_slice()) {
        (Some(id), _) => {
            m.attr_u32(RTA_NH_ID, id);
        }
        (None, []) => {}
        (None, [hop]) => {
            if hop.link != 0 {
                m.attr_u32(RTA_OIF, hop.link);
            }
            gateway(&mut m, route.family(), hop);
        }
        (None, hops) => {
            m.container(RTA_MULTIPATH, |m| {
                for hop in hops {
                    m.rtnexthop(hop.flags & RTNH_F_ONLINK, hop.weight, hop.link, |m| {
                        gateway(m, route.family(), hop);
                    });
                }
            });
        }
    }
    if deleting {
        return m; // what follows is no identity
    }
    if !route.metrics.is_empty() {
        m.nest(RTA_METRICS, |m| {
            for (number, value) in &route.metrics.values {
                m.attr_u32(*number, *value);
            }
            if let Some(name) = &route.metrics.congctl {
                m.attr_str(RTAX_CC_ALGO, name);
            }
        });
    }
    if route.preference != 0 {
        m.attr_u8(RTA_PREF, route.preference);
    }
    if let Some(seconds) = route.expires.and_then(|s| u32::try_from(s).ok()).filter(|&s| s > 0) {
        m.attr_u32(RTA_EXPIRES, seconds);
    }
    m
}

fn gateway(m: &mut Message, family: Family, hop: &Hop) {
    match (family, hop.gateway) {
        (_, None) => {}
        (Family::V4, Some(IpAddr::V6(address))) => {
            let mut via = [0; 18];
            via[..2].copy_from_slice(&u16::from(number(Family::V6)).to_ne_bytes());
            via[2..].copy_from_slice(&address.octets());
            m.attr(RTA_VIA, &via);
        }
        (_, Some(address)) => {
            m.attr_addr(RTA_GATEWAY, address);
        }
    }
}
