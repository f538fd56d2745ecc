//! Watching: what the kernel announces, as events.
//!
//! A socket of its own, joined to the groups of links, addresses, routes, rules and
//! nexthop objects, that never carries a request: an answer must not wait behind
//! announcements. Its queue is large (8 MiB hold 10,000 address events; the default
//! holds 256), and the reader drains it before it acts. When the queue overflows all the
//! same, the kernel says so once (ENOBUFS) in front of what is queued: then nothing
//! helps but a new snapshot.

use std::os::fd::{AsFd, BorrowedFd};

use multihome_core::model::snapshot::Event;
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::error::Error;
use crate::socket::{Protocol, bound, enlarge, receive};
use crate::uapi::{
    NLM_F_APPEND, NLM_F_REPLACE, RTM_DELADDR, RTM_DELLINK, RTM_DELNEXTHOP, RTM_DELROUTE,
    RTM_DELRULE, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNETCONF, RTM_NEWNEXTHOP, RTM_NEWPREFIX,
    RTM_NEWROUTE, RTM_NEWRULE, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_NETCONF, RTNLGRP_IPV6_PREFIX,
    RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV6_RULE, RTNLGRP_LINK, RTNLGRP_NEXTHOP,
};
use crate::wire::{Malformed, Messages, Received};
use crate::{address, link, nexthop, route, rule};

/// The event socket of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Watch {
    inner: netlink_sys::Socket,
    incoming: Vec<u8>,
}

/// One announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // handed on one by one, never kept in numbers
pub enum Noted {
    /// What happened.
    Event {
        /// What.
        event: Event,
        /// The netlink port of the request that caused it, for most programs their process
        /// number; 0 when the kernel acted by itself.
        port: u32,
    },
    /// Something happened that could not be decoded: a sentence that names it. The snapshot
    /// can no longer be vouched for.
    Undecodable(String),
}

/// What one draining found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// How many messages were read, those that are of no interest included.
    pub messages: usize,
    /// Announcements were lost: only a new snapshot tells what there is now.
    pub overrun: bool,
}

/// Bytes asked for as the queue.
const QUEUE: usize = 8 * 1024 * 1024;
/// Where one draining stops although there is more, so that a flood cannot keep its reader from
/// ever acting. The socket stays readable then.
const ENOUGH: usize = 100_000;

const GROUPS: [(u32, &str); 11] = [
    (RTNLGRP_LINK, "links"),
    (RTNLGRP_IPV4_IFADDR, "IPv4 addresses"),
    (RTNLGRP_IPV6_IFADDR, "IPv6 addresses"),
    (RTNLGRP_IPV4_ROUTE, "IPv4 routes"),
    (RTNLGRP_IPV6_ROUTE, "IPv6 routes"),
    (RTNLGRP_IPV6_PREFIX, "IPv6 prefixes"),
    (RTNLGRP_IPV4_RULE, "IPv4 rules"),
    (RTNLGRP_IPV6_RULE, "IPv6 rules"),
    (RTNLGRP_NEXTHOP, "nexthop objects"),
    (RTNLGRP_IPV4_NETCONF, "IPv4 settings"),
    (RTNLGRP_IPV6_NETCONF, "IPv6 settings"),
];

// ===== impl Watch =====

impl Watch {
    /// Watches the namespace of the calling thread. What happens from now on is noted, so open
    /// it before the first snapshot is taken.
    ///
    /// # Errors
    /// When no netlink socket can be had, or a group cannot be joined.
    pub fn open() -> Result<Watch, Error> {
        Watch::with_buffer(QUEUE)
    }

    /// As [`Watch::open`] with a queue of `size` bytes, for tests of what happens when it
    /// overflows.
    ///
    /// # Errors
    /// As for [`Watch::open`].
    pub fn with_buffer(size: usize) -> Result<Watch, Error> {
        let inner = bound(Protocol::Route)?;
        enlarge(&inner, size);
        inner.set_non_blocking(true).map_err(|e| Error::io("fcntl O_NONBLOCK", &e))?;
        for (group, name) in GROUPS {
            match inner.add_membership(group) {
                Ok(()) => {}
                // Kernels before 5.3 have no such objects, and none to announce.
                Err(e) if group == RTNLGRP_NEXTHOP => log::debug!("announcements of {name}: {e}"),
                Err(e) => return Err(Error::io(format!("joining the group of {name}"), &e)),
            }
        }
        Ok(Watch { inner, incoming: vec![0; 64 * 1024] })
    }

    /// Reads what there is without waiting, and gives each announcement to `each`.
    ///
    /// # Errors
    /// When the socket fails for a reason other than an overflow, which is in the answer.
    pub fn drain(&mut self, each: &mut dyn FnMut(Noted)) -> Result<Drained, Error> {
        let mut drained = Drained::default();
        while drained.messages < ENOUGH {
            let len =
                match receive(&self.inner, Protocol::Route, &mut self.incoming, RecvFlags::empty())
                {
                    Ok(len) => len,
                    // What was cut off is as lost as what found no room.
                    Err(Error::Truncated(size)) => {
                        self.incoming.resize(size.next_multiple_of(4096), 0);
                        drained.overrun = true;
                        continue;
                    }
                    Err(Error::System { errno, .. }) if errno == Errno::NOBUFS.raw_os_error() => {
                        drained.overrun = true;
                        continue;
                    }
                    Err(Error::System { errno, .. }) if errno == Errno::AGAIN.raw_os_error() => {
                        break;
                    }
                    Err(e) => return Err(e),
                };
            for message in Messages::new(&self.incoming[..len]) {
                drained.messages += 1;
                match message.and_then(|m| Ok((decode(&m)?, m.port))) {
                    Ok((Some(event), port)) => each(Noted::Event { event, port }),
                    Ok((None, _)) => {}
                    Err(e) => each(Noted::Undecodable(e.0)),
                }
            }
        }
        Ok(drained)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// An announcement from its message; `None` for what is of no interest.
fn decode(m: &Received<'_>) -> Result<Option<Event>, Malformed> {
    Ok(match m.kind {
        RTM_NEWLINK => link::decode(m.payload)?.map(Event::NewLink),
        RTM_DELLINK => link::decode_deleted(m.payload)?.map(Event::DelLink),
        RTM_NEWADDR => address::decode(m.payload)?.map(Event::NewAddress),
        RTM_DELADDR => address::decode(m.payload)?.map(Event::DelAddress),
        RTM_NEWROUTE => route::decode(m.payload)?.map(|route| Event::NewRoute {
            route,
            replace: m.flags & NLM_F_REPLACE != 0,
            append: m.flags & NLM_F_APPEND != 0,
        }),
        RTM_DELROUTE => route::decode(m.payload)?.map(Event::DelRoute),
        RTM_NEWRULE => rule::decode(m.payload)?.map(Event::NewRule),
        RTM_DELRULE => rule::decode(m.payload)?.map(Event::DelRule),
        RTM_NEWPREFIX => advertised(m.payload).map(Event::RouterAdvertised),
        RTM_NEWNETCONF => Some(Event::SettingsChanged),
        RTM_NEWNEXTHOP => Some(Event::NewNexthop(nexthop::decode(m.payload)?)),
        RTM_DELNEXTHOP => Some(Event::DelNexthop(nexthop::decode_deleted(m.payload)?)),
        _ => None,
    })
}

/// The link by which a router advertised a prefix (`struct prefixmsg`).
fn advertised(payload: &[u8]) -> Option<u32> {
    let index = payload.get(4..8)?;
    Some(u32::from_ne_bytes(index.try_into().ok()?))
}
