//! Observing: dumps of what the kernel holds, as a [`Snapshot`].
//!
//! Five dumps make a snapshot: links, addresses, nexthop objects, rules and routes,
//! each for both families at once (`rtnl_dump_all`). The kernel marks a dump during
//! which its objects changed (`NLM_F_DUMP_INTR`); then all is dumped again, and a
//! snapshot that never came out whole says so in [`Snapshot::incomplete`]. So does one
//! from which a message could not be decoded.
//!
//! [`Kernel::refresh`] looks again at what an event made doubtful, with the kernel's own
//! filters (strict checking, since 4.20). What comes back is filtered once more here,
//! because older kernels send everything.

use multihome_core::model::snapshot::Stale;
use multihome_core::model::{Nexthop, Route};
use multihome_core::{Family, Snapshot};

use crate::error::Error;
use crate::nft::Nft;
use crate::socket::{Dump, Socket};
use crate::uapi::{RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEXTHOP, RTM_NEWROUTE, RTM_NEWRULE};
use crate::wire::{Malformed, Message};
use crate::{address, link, nexthop, route, rule};

/// The kernel of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Kernel {
    pub(crate) socket: Socket,
    /// What asks netfilter; not opened before it is needed.
    pub(crate) nft: Option<Nft>,
}

/// The kinds of object, each with a dump of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Links,
    Addresses,
    Nexthops,
    Rules,
    Routes,
}

/// In this order: routes may be resolved by nexthop objects.
const EVERYTHING: [What; 5] =
    [What::Links, What::Addresses, What::Nexthops, What::Rules, What::Routes];
/// How often a dump is tried before the snapshot is called incomplete.
const ATTEMPTS: usize = 5;
/// Beyond how many links it is cheaper to dump all routes once: the kernel walks all of its
/// tables for each link.
const LINKS_ONE_BY_ONE: usize = 4;

// ===== impl Kernel =====

impl Kernel {
    /// Opens the namespace of the calling thread.
    ///
    /// # Errors
    /// When no netlink socket can be had.
    pub fn open() -> Result<Kernel, Error> {
        Ok(Kernel { socket: Socket::open()?, nft: None })
    }

    /// All links, addresses, nexthop objects, rules and routes of both families.
    ///
    /// Names of tables are files' business and stay empty.
    ///
    /// # Errors
    /// When the kernel refuses a dump. What could not be read in full is no error: see
    /// [`Snapshot::incomplete`].
    pub fn snapshot(&mut self) -> Result<Snapshot, Error> {
        self.snapshot_of(&|_| true)
    }

    /// As [`Kernel::snapshot`], with only the routes that are wanted: of a million, most matter
    /// to nobody and need not be kept.
    ///
    /// # Errors
    /// As for [`Kernel::snapshot`].
    pub fn snapshot_of(&mut self, wants: &dyn Fn(&Route) -> bool) -> Result<Snapshot, Error> {
        let mut attempt = 1;
        loop {
            let mut snapshot = Snapshot::default();
            let mut trouble = None;
            for what in EVERYTHING {
                let outcome = self.dump_into(&mut snapshot, what, wants);
                trouble = trouble.or(unsettled(outcome)?.map(|why| (what, why)));
                if trouble.is_some() && attempt < ATTEMPTS {
                    break;
                }
            }
            let Some((what, why)) = trouble else { return Ok(snapshot) };
            if attempt == ATTEMPTS {
                snapshot.incomplete.push(not_whole(what.name(), &why));
                return Ok(snapshot);
            }
            log::debug!("dump of {}: {why}; once more", what.name());
            attempt += 1;
        }
    }

    /// One dump straight into a snapshot that has nothing of the kind yet.
    fn dump_into(
        &mut self,
        snapshot: &mut Snapshot,
        what: What,
        wants: &dyn Fn(&Route) -> bool,
    ) -> Result<Dump, Error> {
        let mut request = match what {
            What::Links => link::get(0),
            What::Addresses => address::get(),
            What::Nexthops => nexthop::get(),
            What::Rules => rule::get(),
            What::Routes => route::get(),
        };
        let outcome = self.socket.dump(&mut request, &mut |kind, payload| {
            if let Err(e) = insert(snapshot, kind, payload, wants) {
                snapshot.incomplete.push(e.0);
            }
        });
        match outcome {
            // Kernels before 5.3 do not know them.
            Err(e) if e.is_unsupported() && what == What::Nexthops => Ok(Dump::default()),
            other => other,
        }
    }

    /// Looks again at what an event made stale, and puts it in place of what was there.
    ///
    /// Stale links mean IPv6 routes too: a link that loses its carrier changes their flags
    /// (`RTNH_F_LINKDOWN`) without a word. When a dump fails, what it would have replaced stays as
    /// it was. What cannot be read in full goes to [`Snapshot::incomplete`], and only a new
    /// snapshot takes it out again.
    ///
    /// Of the routes only those that are wanted are kept.
    ///
    /// # Errors
    /// When the kernel refuses a dump.
    pub fn refresh(
        &mut self,
        snapshot: &mut Snapshot,
        mut stale: Stale,
        wants: &dyn Fn(&Route) -> bool,
    ) -> Result<(), Error> {
        let mut incomplete = Vec::new();
        stale.narrow(snapshot);
        let result = self.refresh_into(snapshot, &stale, wants, &mut incomplete);
        snapshot.incomplete.append(&mut incomplete);
        result
    }

    fn refresh_into(
        &mut self,
        snapshot: &mut Snapshot,
        stale: &Stale,
        wants: &dyn Fn(&Route) -> bool,
        incomplete: &mut Vec<String>,
    ) -> Result<(), Error> {
        // A link that goes down takes nexthop objects with it in silence (nexthop_flush_dev), and
        // leaves groups, with the routes that use them, by another link than before.
        let objects = !stale.links.is_empty() && snapshot.nexthops().next().is_some();
        // First, since routes may be resolved by them.
        if stale.nexthops || objects {
            let nexthops = self.nexthops(incomplete)?;
            snapshot.clear_nexthops();
            nexthops.into_iter().for_each(|n| snapshot.insert_nexthop(n));
        }
        if stale.rules {
            let rules =
                self.collect(What::Rules.name(), &mut rule::get(), incomplete, |kind, payload| {
                    if kind == RTM_NEWRULE { rule::decode(payload) } else { Ok(None) }
                })?;
            snapshot.clear_rules();
            rules.into_iter().for_each(|r| snapshot.insert_rule(r));
        }
        let mut families = stale.families.clone();
        if objects || stale.links.len() > LINKS_ONE_BY_ONE {
            families.extend(Family::BOTH);
        }
        for &family in &families {
            let request = &mut route::get_family(family);
            let routes = self.routes(request, wants, incomplete)?;
            replace_routes(snapshot, routes, |r| r.family() == family);
        }
        for &(family, table) in stale.tables.iter().filter(|(f, _)| !families.contains(f)) {
            let request = &mut route::get_table(family, table);
            // ENOENT: the table is gone, or never was.
            let routes = self.routes(request, wants, incomplete).or_else(nothing_if_absent)?;
            replace_routes(snapshot, routes, |r| r.family() == family && r.table == table);
        }
        if Family::BOTH.iter().all(|f| families.contains(f)) {
            return Ok(());
        }
        for &index in &stale.links {
            let request = &mut route::get_link(index);
            // ENODEV: the link is gone, and its routes with it.
            let routes = self.routes(request, wants, incomplete).or_else(nothing_if_absent)?;
            replace_routes(snapshot, routes, |r| r.hops.iter().any(|h| h.link == index));
        }
        Ok(())
    }

    /// Looks again at one link; one that is gone is taken out with its addresses.
    ///
    /// # Errors
    /// When the kernel refuses for another reason, or its answer cannot be read.
    pub fn refresh_link(&mut self, snapshot: &mut Snapshot, index: u32) -> Result<(), Error> {
        let mut found = Ok(None);
        let outcome = self.socket.query(&mut link::get(index), &mut |kind, payload| {
            if kind == RTM_NEWLINK {
                found = link::decode(payload);
            }
        });
        match outcome {
            Ok(()) => {
                if let Some(link) = found? {
                    snapshot.insert_link(link);
                }
                Ok(())
            }
            Err(e) if e.is_absent() => {
                snapshot.remove_link(index);
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    fn nexthops(&mut self, incomplete: &mut Vec<String>) -> Result<Vec<Nexthop>, Error> {
        self.collect(What::Nexthops.name(), &mut nexthop::get(), incomplete, |kind, payload| {
            if kind == RTM_NEWNEXTHOP { nexthop::decode(payload).map(Some) } else { Ok(None) }
        })
        // Kernels before 5.3 do not know them.
        .or_else(|e| if e.is_unsupported() { Ok(Vec::new()) } else { Err(e) })
    }

    fn routes(
        &mut self,
        request: &mut Message,
        wants: &dyn Fn(&Route) -> bool,
        incomplete: &mut Vec<String>,
    ) -> Result<Vec<Route>, Error> {
        self.collect(What::Routes.name(), request, incomplete, |kind, payload| {
            // One that uses an object unresolved is judged when it is resolved.
            let route = if kind == RTM_NEWROUTE { route::decode(payload)? } else { None };
            Ok(route.filter(|r| r.nhid.is_some() || wants(r)))
        })
    }

    /// One dump, repeated while it is interrupted.
    pub(crate) fn collect<T>(
        &mut self,
        what: &str,
        request: &mut Message,
        incomplete: &mut Vec<String>,
        decode: impl Fn(u16, &[u8]) -> Result<Option<T>, Malformed>,
    ) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        let mut undecodable = Vec::new();
        let mut trouble = None;
        for _ in 0..ATTEMPTS {
            found.clear();
            undecodable.clear();
            let outcome =
                self.socket.dump(request, &mut |kind, payload| match decode(kind, payload) {
                    Ok(Some(object)) => found.push(object),
                    Ok(None) => {}
                    Err(e) => undecodable.push(e.0),
                });
            trouble = unsettled(outcome)?;
            match &trouble {
                Some(why) => log::debug!("dump of {what}: {why}; once more"),
                None => break,
            }
        }
        incomplete.append(&mut undecodable);
        incomplete.extend(trouble.map(|why| not_whole(what, &why)));
        Ok(found)
    }
}

// ===== impl What =====

impl What {
    fn name(self) -> &'static str {
        match self {
            What::Links => "links",
            What::Addresses => "addresses",
            What::Nexthops => "nexthop objects",
            What::Rules => "rules",
            What::Routes => "routes",
        }
    }
}

// ===== helpers =====

fn replace_routes(
    snapshot: &mut Snapshot,
    mut routes: Vec<Route>,
    mut concerned: impl FnMut(&Route) -> bool,
) {
    for route in &mut routes {
        resolve(snapshot, route);
    }
    snapshot.remove_routes(&mut concerned);
    // A kernel without strict checking sends everything.
    routes.into_iter().filter(|r| concerned(r)).for_each(|r| snapshot.insert_route(r));
}

/// Why a dump must be made again, if it must.
fn unsettled(outcome: Result<Dump, Error>) -> Result<Option<String>, Error> {
    match outcome {
        Ok(dump) if dump.interrupted => Ok(Some("they changed while they were read".into())),
        Ok(_) => Ok(None),
        // The buffer has been enlarged, or the queue emptied.
        Err(e) if e.is_unknown() => Ok(Some(e.to_string())),
        Err(e) => Err(e),
    }
}

fn not_whole(what: &str, why: &str) -> String {
    format!("{what} could not be read whole in {ATTEMPTS} tries: {why}")
}

/// What one message of a dump says, into a snapshot.
fn insert(
    snapshot: &mut Snapshot,
    kind: u16,
    payload: &[u8],
    wants: &dyn Fn(&Route) -> bool,
) -> Result<(), Malformed> {
    match kind {
        RTM_NEWLINK => link::decode(payload)?.into_iter().for_each(|l| snapshot.insert_link(l)),
        RTM_NEWADDR => {
            address::decode(payload)?.into_iter().for_each(|a| snapshot.insert_address(a));
        }
        RTM_NEWRULE => rule::decode(payload)?.into_iter().for_each(|r| snapshot.insert_rule(r)),
        RTM_NEWNEXTHOP => snapshot.insert_nexthop(nexthop::decode(payload)?),
        RTM_NEWROUTE => {
            if let Some(mut route) = route::decode(payload)? {
                resolve(snapshot, &mut route);
                if wants(&route) {
                    snapshot.insert_route(route);
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Hops of a route with `nhid`, where the kernel does not send them.
fn resolve(snapshot: &mut Snapshot, route: &mut Route) {
    if !route::resolve(route, |id| snapshot.nexthop(id)) {
        // Deleted between the two dumps, or the nexthop objects are stale themselves.
        snapshot.incomplete.push(format!(
            "the route to {} of table {} uses nexthop object {}, which is not known",
            route.dst,
            route.table,
            route.nhid.unwrap_or(0)
        ));
    }
}

fn nothing_if_absent(e: Error) -> Result<Vec<Route>, Error> {
    if e.is_absent() { Ok(Vec::new()) } else { Err(e) }
}
