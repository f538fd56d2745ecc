//! The things that happen to a host's cards, and how long the traffic stands still.
//!
//! Time counts from the kernel's own announcement of what the engine can act on (the new
//! address, the new default route), as a second listener in the host's namespace sees it,
//! to the first answer that a client gets.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use multihome_core::Family;
use multihome_core::model::snapshot::Event;
use multihome_kernel::{Noted, Watch};
use multihome_lab::{Ifaddr, Lab, until_answered};

use super::lab;
use super::report::Report;
use crate::error::Failure;

/// After this long it will not answer any more.
const DEADLINE: Duration = Duration::from_secs(5);

/// Lets everything happen to the second card.
pub fn all(net: &mut Lab, report: &mut Report) -> Result<(), Failure> {
    let Some(card) = net.cards().last().cloned() else {
        return Err(Failure::Demo("the host has no card".into()));
    };
    report.events();

    net.pull_card(&card.name).map_err(lab)?;
    for family in Family::BOTH {
        let Some(address) = card.address(family) else { continue };
        if family == Family::V6 {
            net.pull_card(&card.name).map_err(lab)?;
        }
        let what = format!("{} pulled, put back with a new index", card.name);
        let took =
            measure(net, address, is_way(family), |net| net.plug_card(&card.name).map_err(lab))?;
        report.event(&what, address, took);
    }

    let address = card.address(Family::V4);
    if let Some(address) = address {
        net.link_down(&card.name).map_err(lab)?;
        let what = format!("{} down, up; nobody restores its default", card.name);
        let took = measure(
            net,
            address,
            |e| matches!(e, Event::NewLink(l) if l.is_up()),
            |net| net.link_up(&card.name).map_err(lab),
        )?;
        report.event(&what, address, took);
        net.renew(&card.name).map_err(lab)?;
    }

    for family in Family::BOTH {
        let Some(first) = card.address(family) else { continue };
        let new = neighbour_of(first);
        let len = card.addresses.iter().find(|a| a.address == first).map_or(32, |a| a.len);
        let what = format!("address added to {}", card.name);
        let took = measure(
            net,
            new,
            |e| matches!(e, Event::NewAddress(a) if a.local == new),
            |net| net.add_address(&card.name, Ifaddr::new(new, len)).map_err(lab),
        )?;
        report.event(&what, new, took);
    }

    if let Some(address) = address {
        let gateway = Ipv4Addr::from_bits(card.gateway4.to_bits() + 1);
        let what = format!("gateway of {} changes to {gateway}", card.name);
        let is_new = |e: &Event| {
            matches!(e, Event::NewRoute { route, .. } if !route.is_ours()
                && route.hops.iter().any(|h| h.gateway == Some(IpAddr::V4(gateway))))
        };
        let took = measure(net, address, is_new, |net| {
            net.change_gateway(&card.name, Some(gateway), None).map_err(lab)
        })?;
        report.event(&what, address, took);
    }
    Ok(())
}

/// Whether an event brings a way out of a family: a route of somebody else's with a gateway.
fn is_way(family: Family) -> impl Fn(&Event) -> bool {
    move |e| {
        matches!(e, Event::NewRoute { route, .. } if !route.is_ours()
            && route.family() == family
            && route.hops.iter().any(|h| h.gateway.is_some()))
    }
}

/// Lets something happen and measures the time from the event that is waited for to the first
/// answer from `address`; none when the event or the answer did not come.
fn measure(
    net: &mut Lab,
    address: IpAddr,
    is_cause: impl Fn(&Event) -> bool + Sync,
    happen: impl FnOnce(&mut Lab) -> Result<(), Failure>,
) -> Result<Option<Duration>, Failure> {
    let client = net.clients().first().map(|c| Arc::clone(&c.netns));
    let Some(client) = client else { return Err(Failure::Demo("there is no client".into())) };
    let host = Arc::clone(net.host());
    let watch = host.run(Watch::open).map_err(lab)?;
    let mut watch = watch.map_err(crate::error::kernel("watch the kernel"))?;
    let (happened, took) = thread::scope(|scope| {
        let listener = scope.spawn(|| {
            let Some(cause) = first_event(&mut watch, &is_cause) else { return Ok(None) };
            // Asked only from now on: an answer by the old way would prove nothing.
            let answered = until_answered(&client, address, DEADLINE).map_err(lab)?;
            Ok(answered.map(|_| cause.elapsed()))
        });
        (happen(net), listener.join())
    });
    happened?;
    took.map_err(|_| Failure::Demo("the listener panicked".into()))?
}

/// When the first event came that is a cause; none when it never did.
fn first_event(watch: &mut Watch, is_cause: &dyn Fn(&Event) -> bool) -> Option<Instant> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let tick = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    let start = Instant::now();
    let mut at = None;
    while at.is_none() && start.elapsed() < DEADLINE {
        let _ = poll(&mut [PollFd::new(&*watch, PollFlags::IN)], Some(&tick));
        let now = Instant::now();
        let drained = watch.drain(&mut |noted| {
            if let Noted::Event { event, .. } = noted
                && at.is_none()
                && is_cause(&event)
            {
                at = Some(now);
            }
        });
        if drained.is_err() {
            break;
        }
    }
    at
}

/// An address near another one, in the same subnet.
fn neighbour_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() + 1)),
        IpAddr::V6(a) => IpAddr::V6(std::net::Ipv6Addr::from_bits(a.to_bits() + 1)),
    }
}
