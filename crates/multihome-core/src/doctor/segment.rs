//! Cards that share a network, and gateways.
//!
//! Two cards in one subnet may be in one network, or in two that happen to have the same
//! numbers. Addresses alone cannot tell; the hardware address of the gateway can, where both
//! cards have asked for it.

use std::net::IpAddr;

use super::{Check, Fact, Judged, Lack, Patient};
use crate::model::link::IFF_NOARP;
use crate::model::neighbour::NUD_INCOMPLETE;
use crate::model::{Host, Link, Neighbour};
use crate::plan::Planned;
use crate::prefix::{Family, Prefix};
use crate::settings::shared;
use crate::uplink::Side;

pub(super) const CHECKS: &[Check] =
    &[("gateway-silent", gateway_silent), ("same-prefix", same_prefix), ("arp-flux", arp_flux)];

/// `neigh_timer_handler` gives up after `ucast_solicit` and `mcast_solicit` questions, and
/// remembers (`NUD_FAILED`) until somebody asks again. A neighbour that nobody has asked for is
/// not there, and one that has not been asked for long (`NUD_STALE`) is as good as any.
fn gateway_silent(patient: &Patient<'_>) -> Judged {
    known(patient)?;
    let mut found = Vec::new();
    for family in Family::BOTH {
        // Without a carrier nobody can answer, and that is said elsewhere.
        for (planned, link, side) in patient.sides(family).filter(|(_, l, _)| l.has_carrier()) {
            for (at, way) in side.ways.iter().enumerate() {
                for gateway in way.hops.iter().filter_map(|h| h.gateway) {
                    let neighbour = neighbour(patient, link.index, gateway);
                    found.extend(neighbour.and_then(|n| silent(planned, n, at == 0)));
                }
            }
        }
    }
    Ok(found)
}

fn silent(planned: &Planned, neighbour: &Neighbour, best: bool) -> Option<Fact> {
    let uplink = planned.uplink.name.clone();
    let is_silent = neighbour.has_failed() || neighbour.state & NUD_INCOMPLETE != 0;
    is_silent.then(|| Fact::GatewaySilent { uplink, neighbour: neighbour.clone(), best })
}

/// Only what was read with the sysctls can be missing: a snapshot without any is of a time when
/// nobody asked.
fn known(patient: &Patient<'_>) -> Result<(), Lack> {
    let nothing = patient.snapshot.neighbours.is_empty() && patient.snapshot.sysctls.is_empty();
    if nothing { Err(Lack::Neighbours) } else { Ok(()) }
}

fn neighbour<'a>(patient: &Patient<'a>, link: u32, address: IpAddr) -> Option<&'a Neighbour> {
    patient.snapshot.neighbours.iter().find(|n| n.link == link && n.address == address)
}

/// Two gateways behind one address: what is sent to the prefix itself can reach only one of the
/// two networks (`fib_select_default`, main has one connected route that is asked first).
fn same_prefix(patient: &Patient<'_>) -> Judged {
    known(patient)?;
    let mut found = Vec::new();
    for family in Family::BOTH {
        for (one, other, prefix) in pairs(patient, family) {
            found.extend(gateways_differ(patient, one, other).map(|(gateway, lladdrs)| {
                let uplinks = [one.1.name.clone(), other.1.name.clone()];
                Fact::SamePrefix { uplinks, prefix, gateway, lladdrs }
            }));
        }
    }
    Ok(found)
}

type Seat<'a> = (&'a Planned, &'a Link, &'a Side);

/// Uplinks that are up and have a subnet in common, each pair once, with the narrower subnet.
fn pairs<'a>(patient: &Patient<'a>, family: Family) -> Vec<(Seat<'a>, Seat<'a>, Prefix)> {
    let seats: Vec<Seat<'a>> = patient.sides(family).filter(|(_, l, _)| l.is_up()).collect();
    let mut pairs = Vec::new();
    for (at, one) in seats.iter().enumerate() {
        for other in &seats[at + 1..] {
            let shared = shared(one.2, other.2);
            pairs.extend(shared.map(|prefix| (*one, *other, prefix)));
        }
    }
    pairs
}

/// A gateway that both have, and that is another machine on each.
fn gateways_differ(
    patient: &Patient<'_>,
    one: Seat<'_>,
    other: Seat<'_>,
) -> Option<(IpAddr, [String; 2])> {
    let gateways = |side: &Side| -> Vec<IpAddr> {
        side.ways.iter().flat_map(|w| &w.hops).filter_map(|h| h.gateway).collect()
    };
    let theirs = gateways(other.2);
    let lladdr = |seat: Seat<'_>, gateway| {
        let neighbour = neighbour(patient, seat.1.index, gateway).filter(|n| n.is_valid());
        neighbour.and_then(|n| n.lladdr.clone())
    };
    gateways(one.2).into_iter().filter(|g| theirs.contains(g)).find_map(|gateway| {
        let pair = [lladdr(one, gateway)?, lladdr(other, gateway)?];
        (pair[0] != pair[1]).then_some((gateway, pair))
    })
}

/// An address belongs to the host, not to the card: whichever card hears the question answers it
/// (`arp_process`), unless `arp_ignore` or `arp_filter` keep it from that, or a strict filter
/// finds by our rule that the answer would leave by another card (`fib_validate_source`).
fn arp_flux(patient: &Patient<'_>) -> Judged {
    let mut found = Vec::new();
    let family = Family::V4;
    for (one, other, prefix) in pairs(patient, family) {
        let seats = [one, other];
        if seats.iter().any(|(_, link, _)| link.flags & IFF_NOARP != 0)
            || gateways_differ(patient, one, other).is_some()
        {
            continue;
        }
        let mut answering = Vec::new();
        for (planned, link, side) in seats {
            let value = |key| patient.effective(family, &link.name, key);
            let is_led_home = patient.without_rules(planned, side).is_empty();
            let is_quiet = value("arp_ignore")? > 0
                || value("arp_filter")? > 0
                || value("rp_filter")? == 1 && is_led_home;
            if !is_quiet {
                answering.push(link.name.clone());
            }
        }
        if answering.is_empty() {
            continue;
        }
        let cloud = patient.host().and_then(Host::cloud);
        let links = [one.1.name.clone(), other.1.name.clone()];
        found.push(Fact::ArpFlux { links, prefix, answering, cloud });
    }
    Ok(found)
}
