//! Settings of the kernel by which answers are lost.
//!
//! A value alone is no fault: a strict filter is right for what the host itself answers, and
//! distributions set it. Each check names what must come together for somebody to be hurt.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Absence, Check, Fact, Judged, Patient, Strict};
use crate::model::address::IFA_F_PERMANENT;
use crate::model::names::TABLE_MAIN;
use crate::model::route::RTPROT_RA;
use crate::prefix::{Family, Prefix, is_global};

pub(super) const CHECKS: &[Check] = &[
    ("rp-filter", rp_filter),
    ("src-valid-mark", src_valid_mark),
    ("linkdown-routes", linkdown_routes),
    ("promote-secondaries", promote_secondaries),
    ("keep-addr-on-down", keep_addr_on_down),
    ("accept-ra-forwarding", accept_ra_forwarding),
];

/// What the kernel counts when its filter drops a packet.
const DROPPED: &str = "TcpExt.IPReversePathFilter";

/// `fib_validate_source` looks up the way back to who asked, with the address that was asked as
/// the source: so with our rule for that address it finds the card, and without one it finds
/// main's default. What comes in for a container has the uplink's address only until it is
/// translated, which is before that look-up; the rules are not for the container's.
///
/// Loose (2) asks for no more than that there is any way back.
fn rp_filter(patient: &Patient<'_>) -> Judged {
    let family = Family::V4;
    let mut found = Vec::new();
    let counters = patient.host().map(|h| &h.counters);
    let dropped = counters.and_then(|c| c.get(DROPPED)).copied();
    for (planned, link, side) in patient.sides(family) {
        let name = &link.name;
        if patient.effective(family, name, "rp_filter")? != 1 || !patient.has_several(family) {
            continue;
        }
        let lost = patient.without_rules(planned, side);
        let by_all = patient.sysctl(family, "all", "rp_filter")? == 1;
        let fact = |strict| Fact::RpFilter { uplink: name.clone(), by_all, strict, dropped };
        let is_default = patient.is_default(family, link.index);
        if !lost.is_empty() && !is_default {
            let absence = match planned.table {
                None => Absence::LeftToMain,
                Some(_) if planned.frozen.contains(&family) => Absence::Frozen,
                Some(_) => Absence::Pending,
            };
            found.push(fact(Strict::WithoutRules { addresses: lost, absence }));
        } else if !is_default && patient.sysctl(family, name, "forwarding")? > 0 {
            found.push(fact(Strict::Forwarding));
        }
    }
    Ok(found)
}

/// A full tunnel whose rule is for everything that bears no mark: the packets of the tunnel come
/// in without one, and the way back to who sent them is then found to be the tunnel itself. With
/// `src_valid_mark` the look-up has the mark (`__fib_validate_source`). wg-quick sets it.
fn src_valid_mark(patient: &Patient<'_>) -> Judged {
    let family = Family::V4;
    let is_tunnels = |r: &&crate::model::Rule| {
        r.family == family
            && r.not
            && r.fwmark.is_some_and(|(mark, _)| mark != 0)
            && r.table().is_some_and(|t| t != TABLE_MAIN)
    };
    let Some(rule) = patient.snapshot.rules().find(is_tunnels) else { return Ok(Vec::new()) };
    let mut uplinks = Vec::new();
    for (_, link, _) in patient.sides(family) {
        let value = |key| patient.effective(family, &link.name, key);
        if value("rp_filter")? == 1 && value("src_valid_mark")? == 0 {
            uplinks.push(link.name.clone());
        }
    }
    let hurts = !uplinks.is_empty();
    Ok(hurts.then_some(Fact::SrcValidMark { uplinks, rule: rule.clone() }).into_iter().collect())
}

/// A carrier that goes takes no route with it: they are used, and what is sent is lost, unless
/// `ignore_routes_with_linkdown` says otherwise, IPv4's of the link or of `all`, IPv6's of the link
/// (`fib_table_lookup`, `rt6_score_route`).
fn linkdown_routes(patient: &Patient<'_>) -> Judged {
    let mut found = Vec::new();
    for family in Family::BOTH {
        for (_, link, _) in patient.sides(family) {
            if !link.is_up() || link.has_carrier() {
                continue;
            }
            if patient.effective(family, &link.name, "ignore_routes_with_linkdown")? != 0 {
                continue;
            }
            let other = |r: &crate::model::Route| {
                !r.refuses() && r.hops.iter().all(|h| h.link != link.index)
            };
            let takes_default = patient.is_default(family, link.index)
                && patient.snapshot.main_defaults(family).into_iter().any(other);
            let uplink = link.name.clone();
            found.push(Fact::LinkdownRoutes { uplink, family, takes_default });
        }
    }
    Ok(found)
}

/// `__inet_del_ifa`: the first address of a network takes the others of it along, and every
/// route that has one of them as its source.
fn promote_secondaries(patient: &Patient<'_>) -> Judged {
    let family = Family::V4;
    let mut found = Vec::new();
    for (_, link, side) in patient.sides(family) {
        let mut secondaries: BTreeMap<Prefix, Vec<IpAddr>> = BTreeMap::new();
        for address in side.addresses.iter().filter(|a| a.is_secondary()) {
            secondaries.entry(address.network()).or_default().push(address.local);
        }
        if secondaries.is_empty()
            || patient.effective(family, &link.name, "promote_secondaries")? != 0
        {
            continue;
        }
        for primary in side.addresses.iter().filter(|a| !a.is_secondary()) {
            let Some(secondaries) = secondaries.remove(&primary.network()) else { continue };
            let (uplink, primary) = (link.name.clone(), primary.local);
            found.push(Fact::PromoteSecondaries { uplink, primary, secondaries });
        }
    }
    Ok(found)
}

/// `addrconf_ifdown` removes the IPv6 addresses of a link that is set down, also those that
/// somebody configured by hand, and nobody brings those back when it comes up. What the link had
/// stands in our rules, until they are taken away too.
fn keep_addr_on_down(patient: &Patient<'_>) -> Judged {
    let family = Family::V6;
    let mut found = Vec::new();
    let ours = || patient.snapshot.rules().filter(|r| r.is_ours() && r.family == family);
    for bound in ours().filter(|r| r.oif.is_some()) {
        let Some(link) = bound.oif.as_deref().and_then(|name| patient.snapshot.link_named(name))
        else {
            continue;
        };
        let mut addresses = patient.snapshot.addresses_of(link.index);
        if !link.is_up() || addresses.any(|a| a.family() == family && is_global(a.local)) {
            continue;
        }
        // A link that has not even a link-local address has none of its files read.
        let own = patient.snapshot.sysctls.conf(family, &link.name, "keep_addr_on_down");
        let all = patient.sysctl(family, "all", "keep_addr_on_down")?;
        let homes = ours().filter(|r| r.oif.is_none() && r.table() == bound.table());
        let prefixes: Vec<_> = homes.filter_map(|r| r.from).collect();
        if !prefixes.is_empty() && own.unwrap_or(0) <= 0 && all <= 0 {
            found.push(Fact::KeepAddrOnDown { uplink: link.name.clone(), prefixes });
        }
    }
    Ok(found)
}

/// A host that forwards is a router, and hears no router (`ipv6_accept_ra`) unless `accept_ra`
/// is 2. Managers that hear them themselves set it to 0.
fn accept_ra_forwarding(patient: &Patient<'_>) -> Judged {
    let family = Family::V6;
    let mut found = Vec::new();
    for (_, link, side) in patient.sides(family) {
        let of_router = |r: &crate::model::Route| {
            r.protocol == RTPROT_RA
                && r.dst.is_default()
                && r.hops.iter().any(|h| h.link == link.index)
        };
        let passing =
            side.addresses.iter().any(|a| a.flags & IFA_F_PERMANENT == 0 && is_global(a.local));
        let lost = side.ways.is_empty();
        if !lost && !passing && !patient.snapshot.routes().any(of_router) {
            continue;
        }
        let value = |key| patient.sysctl(family, &link.name, key);
        if value("forwarding")? != 0 && value("accept_ra")? == 1 {
            found.push(Fact::AcceptRaForwarding { uplink: link.name.clone(), lost });
        }
    }
    Ok(found)
}
