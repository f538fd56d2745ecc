//! How a snapshot follows the kernel's events.
//!
//! The kernel does not announce everything (IPv4 routes flushed with a link or an address go in
//! silence, `fib_sync_down_dev`), so [`Snapshot::apply`] answers with what must be looked at again.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Snapshot, address_key};
use crate::model::address::Address;
use crate::model::link::Link;
use crate::model::names::TABLE_MAIN;
use crate::model::nexthop::Nexthop;
use crate::model::route::Route;
use crate::model::rule::Rule;
use crate::prefix::Family;

/// One thing that the kernel announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// `RTM_NEWLINK`.
    NewLink(Link),
    /// `RTM_DELLINK`: the index.
    DelLink(u32),
    /// `RTM_NEWADDR`.
    NewAddress(Address),
    /// `RTM_DELADDR`.
    DelAddress(Address),
    /// `RTM_NEWROUTE`; `replace` and `append` are the flags of the request that caused it.
    NewRoute {
        /// The route as it is now.
        route: Route,
        /// `NLM_F_REPLACE`: another route of the same key went without an event of its own.
        replace: bool,
        /// `NLM_F_APPEND`.
        append: bool,
    },
    /// `RTM_DELROUTE`.
    DelRoute(Route),
    /// `RTM_NEWRULE`.
    NewRule(Rule),
    /// `RTM_DELRULE`.
    DelRule(Rule),
    /// `RTM_NEWNEXTHOP`.
    NewNexthop(Nexthop),
    /// `RTM_DELNEXTHOP`: the identifier.
    DelNexthop(u32),
    /// `RTM_NEWPREFIX`: a router advertisement came in by this link.
    RouterAdvertised(u32),
    /// `RTM_NEWNETCONF`: `forwarding`, `rp_filter` or another setting of a link changed. Which, and
    /// to what, is in `/proc/sys`.
    SettingsChanged,
}

/// What a snapshot can no longer vouch for after an event, so that it must be dumped again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stale {
    /// All routes of these families.
    pub families: BTreeSet<Family>,
    /// Routes of these tables.
    pub tables: BTreeSet<(Family, u32)>,
    /// Routes of any table that leave by these links.
    pub links: BTreeSet<u32>,
    /// The nexthop objects.
    pub nexthops: bool,
    /// The rules.
    pub rules: bool,
    /// IPv4 addresses that went, with their links: see [`Stale::narrow`].
    pub gone: BTreeSet<(u32, IpAddr)>,
}

impl Snapshot {
    /// Follows one event and says what must be looked at again because of it.
    pub fn apply(&mut self, event: Event) -> Stale {
        let mut stale = Stale::default();
        match event {
            Event::NewLink(link) => {
                // A link that goes down or loses its carrier takes IPv4 routes with it, one that
                // comes up gets connected routes back, and even a change of group has been seen to
                // clear RTNH_F_LINKDOWN: all of it in silence.
                if self.links.get(&link.index) != Some(&link) {
                    stale.links.insert(link.index);
                }
                self.insert_link(link);
            }
            Event::DelLink(index) => {
                self.remove_link(index);
                self.remove_routes(|r| r.hops.len() == 1 && r.hops[0].link == index);
                stale.links.insert(index);
                stale.nexthops = !self.nexthops.is_empty();
            }
            Event::NewAddress(address) => self.add_address(address),
            Event::DelAddress(address) => {
                self.addresses.remove(&address_key(&address));
                if address.local.is_ipv4() {
                    stale.gone.insert((address.link, address.local));
                }
            }
            Event::NewRoute { route, replace, append } => {
                let known = self.routes.get(&route.key()).map_or(0, Vec::len);
                match route.family() {
                    // A replaced IPv4 route is the only one of its key, or else it is not known
                    // which of them went.
                    Family::V4 if replace && known == 1 => {
                        self.routes.insert(route.key(), vec![route]);
                    }
                    // IPv6 grows and shrinks multipath routes in several kinds of message.
                    Family::V6 if known > 0 && (replace || append || route.hops.len() > 1) => {
                        stale.tables.insert((Family::V6, route.table));
                    }
                    _ => {
                        if replace && known > 1 {
                            stale.tables.insert((route.family(), route.table));
                        }
                        self.insert_route(route);
                    }
                }
            }
            Event::DelRoute(route) => {
                if !self.remove_route(&route)
                    || route.family() == Family::V6 && route.hops.len() > 1
                {
                    // Unknown here, or one member of a multipath route: ask what is left.
                    if !self.routes_at(&route.key()).is_empty() {
                        stale.tables.insert((route.family(), route.table));
                    }
                }
            }
            // Two equal rules can be there, but far more likely the event is older than the dump: it
            // waited in the queue while that was made.
            Event::NewRule(rule) => match self.equal_rules(&rule) {
                0 => self.insert_rule(rule),
                _ => stale.rules = true,
            },
            Event::DelRule(rule) => match self.equal_rules(&rule) {
                1 => drop(self.remove_rule(&rule)),
                _ => stale.rules = true,
            },
            Event::NewNexthop(nexthop) => {
                // Routes that use a replaced object change without an event of their own.
                if self.nexthops.insert(nexthop.id, nexthop).is_some() {
                    stale.families.extend(Family::BOTH);
                }
            }
            Event::DelNexthop(id) => {
                self.nexthops.remove(&id);
                // nexthop_flush_routes tells of IPv6 routes only.
                stale.families.insert(Family::V4);
            }
            // What is in /proc/sys is not read here.
            Event::SettingsChanged => {}
            Event::RouterAdvertised(_) => {
                // A changed lifetime or metric of a route that is there already is not announced
                // (fib6_set_expires, fib6_metric_set).
                stale.tables.insert((Family::V6, TABLE_MAIN));
            }
        }
        stale
    }
}

// ===== impl Stale =====

impl Stale {
    /// Whether nothing needs another look.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Stale::default()
    }

    /// Turns what went into the links whose routes must be looked at again.
    ///
    /// A multipath route that loses a hop with its link is found by the links of the others: of
    /// the one that went, the kernel knows no route any more.
    ///
    /// As to addresses, `fib_sync_down_addr` drops the routes with such a source from every table, and the last
    /// IPv4 address of a link takes all of the link's with it (`fib_disable_ip`), both in silence.
    /// Other addresses take nothing that is not announced; with a full table in main, each look
    /// saved is a walk over all of it.
    pub fn narrow(&mut self, snapshot: &Snapshot) {
        self.narrow_addresses(snapshot);
        if self.links.is_empty() {
            return;
        }
        let shared = snapshot.routes().filter(|r| r.hops.len() > 1);
        let touched = shared.filter(|r| r.hops.iter().any(|h| self.links.contains(&h.link)));
        let others: Vec<u32> = touched.flat_map(|r| &r.hops).map(|h| h.link).collect();
        self.links.extend(others);
    }

    fn narrow_addresses(&mut self, snapshot: &Snapshot) {
        if self.gone.is_empty() {
            return;
        }
        let gone = std::mem::take(&mut self.gone);
        let sources: BTreeSet<IpAddr> = gone.iter().map(|(_, address)| *address).collect();
        let mut touched: BTreeSet<IpAddr> = snapshot.routes().filter_map(|r| r.prefsrc).collect();
        touched.retain(|s| sources.contains(s));
        let has_address: BTreeSet<u32> =
            snapshot.addresses().filter(|a| a.local.is_ipv4()).map(|a| a.link).collect();
        let lost = |(link, address): &(u32, IpAddr)| {
            touched.contains(address) || !has_address.contains(link)
        };
        self.links.extend(gone.iter().filter(|g| lost(g)).map(|(link, _)| *link));
    }

    /// Takes in what another event made stale.
    pub fn merge(&mut self, other: Stale) {
        self.families.extend(other.families);
        self.tables.extend(other.tables);
        self.links.extend(other.links);
        self.nexthops |= other.nexthops;
        self.rules |= other.rules;
        self.gone.extend(other.gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, Hop};

    #[test]
    fn an_event_that_is_older_than_the_dump_doubles_no_rule() {
        let rule = Rule::new(Family::V4, 10_003, Action::Lookup(10_003));
        let mut snapshot = Snapshot::default();
        snapshot.insert_rule(rule.clone());
        assert!(snapshot.apply(Event::NewRule(rule.clone())).rules);
        assert_eq!(snapshot.rules().count(), 1);
        assert!(snapshot.apply(Event::DelRule(rule.clone())).is_empty());
        assert!(snapshot.apply(Event::DelRule(rule)).rules);
        assert_eq!(snapshot.rules().count(), 0);
    }

    #[test]
    fn ipv4_routes_that_differ_in_source_or_scope_are_two() {
        let mut snapshot = Snapshot::default();
        let route = Route::new(255, "10.0.3.0/32".parse().unwrap());
        for source in ["10.0.3.0", "10.0.2.254", "10.0.3.0"] {
            let prefsrc = Some(source.parse().unwrap());
            snapshot.insert_route(Route { prefsrc, ..route.clone() });
        }
        assert_eq!(snapshot.routes().count(), 2);
    }

    #[test]
    fn a_hop_that_goes_puts_the_other_hops_in_doubt() {
        let mut snapshot = Snapshot::default();
        let hop = |link| Hop { link, ..Hop::default() };
        let hops = vec![hop(2), hop(3)];
        snapshot.insert_route(Route { hops, ..Route::new(254, Family::V6.all()) });
        snapshot.insert_route(Route { hops: vec![hop(4)], ..Route::new(7, Family::V6.all()) });
        let mut stale = Stale { links: BTreeSet::from([2, 4]), ..Stale::default() };
        stale.narrow(&snapshot);
        assert_eq!(stale.links, BTreeSet::from([2, 3, 4]));
    }

    #[test]
    fn an_address_that_goes_puts_only_what_leaned_on_it_in_doubt() {
        let address = |text: &str| Address {
            link: 3,
            local: text.parse().unwrap(),
            prefix_len: 24,
            peer: None,
            scope: 0,
            flags: 0,
        };
        let mut snapshot = Snapshot::default();
        for text in ["10.0.0.5", "10.0.0.6", "10.0.0.7"] {
            snapshot.insert_address(address(text));
        }
        let prefsrc = Some("10.0.0.6".parse().unwrap());
        let route = Route::new(7, "10.9.0.0/16".parse().unwrap());
        snapshot.insert_route(Route { prefsrc, ..route });
        for (text, in_doubt) in [("10.0.0.5", false), ("10.0.0.6", true), ("10.0.0.7", true)] {
            let mut stale = snapshot.apply(Event::DelAddress(address(text)));
            stale.narrow(&snapshot);
            assert_eq!(stale.links.contains(&3), in_doubt, "{text}");
        }
    }
}
