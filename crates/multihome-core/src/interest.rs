//! Which routes a plan can depend on, so that the others need not be kept.
//!
//! A host that speaks BGP may have a million routes in main, nearly all of which say what
//! its default says anyway. Copying those would put a copy of the Internet into each table,
//! so [`crate::mirror`] leaves them out; and since no plan depends on them, the daemon need
//! not even remember them.
//!
//! A route that repeats the default is needed all the same where a wider one that does not
//! would answer in its place: so what the tables hold besides their defaults belongs to the
//! question.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Route;
use crate::model::names::{TABLE_LOCAL, TABLE_MAIN};
use crate::model::route::RTPROT_DHCP;
use crate::plan::Plan;
use crate::prefix::{Family, Prefix};
use crate::ways::Way;

/// The routes that a plan can depend on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interest {
    /// The best way out by each uplink.
    ways: BTreeMap<(u32, Family), Way>,
    /// What the tables hold besides their defaults, by the link that it leaves by.
    held: BTreeSet<(u32, Prefix)>,
    /// The tables of the uplinks, where a daemon's route would be a conflict, and those besides
    /// main in which a manager keeps an uplink.
    tables: BTreeSet<u32>,
}

/// The first protocol number of routing daemons (`RTPROT_ZEBRA`).
const FIRST_DAEMON: u8 = 11;

impl Interest {
    /// What is of interest while this is the plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Interest {
        let mut interest = Interest::default();
        for planned in &plan.uplinks {
            interest.tables.extend(planned.table);
            interest.tables.extend(planned.uplink.sides.iter().flat_map(|s| &s.tables));
            for side in &planned.uplink.sides {
                if let Some(way) = side.ways.first() {
                    interest.ways.insert((planned.uplink.link, side.family), way.clone());
                }
            }
        }
        for route in plan.routes.iter().filter(|r| !r.dst.is_default()) {
            interest.held.extend(route.hops.first().map(|h| (h.link, route.dst)));
        }
        interest
    }

    /// Whether a plan can depend on a route.
    #[must_use]
    pub fn wants(&self, route: &Route) -> bool {
        if route.table == TABLE_LOCAL {
            return false; // the kernel's own addresses are in the address list
        }
        if !is_a_daemons(route) {
            return true;
        }
        if route.table != TABLE_MAIN {
            return self.tables.contains(&route.table);
        }
        let [hop] = route.hops.as_slice() else { return true };
        let Some(way) = self.ways.get(&(hop.link, route.family())) else {
            // By a link that leads nowhere, as far as is known: nothing copies it.
            return false;
        };
        !repeats(route, hop.link, way) || is_covered(&self.held, hop.link, route.dst)
    }
}

/// Whether a route is one of those of which there may be a million: a routing daemon's, and no
/// default.
#[must_use]
pub fn is_a_daemons(route: &Route) -> bool {
    route.protocol >= FIRST_DAEMON
        && route.protocol != RTPROT_DHCP
        && !route.is_ours()
        && !route.dst.is_default()
        && route.nhid.is_none()
}

/// Whether a daemon's route leads by `link` where the way out by it leads anyway.
pub(crate) fn repeats(route: &Route, link: u32, way: &Way) -> bool {
    // Of a multipath route over several uplinks only this one's hops count.
    let mut hops = route.hops.iter().filter(|h| h.link == link);
    let (Some(hop), None) = (hops.next(), hops.next()) else { return false };
    is_a_daemons(route)
        && hop.gateway.is_some()
        && way.gateway() == hop.gateway
        && route.metrics == way.metrics
}

/// Whether something wider that leaves by `link` is held.
pub(crate) fn is_covered(held: &BTreeSet<(u32, Prefix)>, link: u32, dst: Prefix) -> bool {
    !held.is_empty()
        && (1..dst.len()).any(|len| held.contains(&(link, Prefix::new(dst.address(), len))))
}
