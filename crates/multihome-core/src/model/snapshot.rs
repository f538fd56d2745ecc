//! What the kernel holds at one moment, and how it follows the kernel's events.
//!
//! A snapshot is complete or says why it is not ([`Snapshot::incomplete`]); nothing
//! is ever removed on the strength of an incomplete one. It can be dumped afresh, or
//! kept up to date by [`Snapshot::apply`] with what the kernel announces. The kernel
//! does not announce everything (IPv4 routes flushed with a link or an address go in
//! silence, `fib_sync_down_dev`), so `apply` answers with what must be looked at
//! again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::address::Address;
use super::hint::Hints;
use super::host::Host;
use super::label::AddressLabel;
use super::link::Link;
use super::names::{Names, TABLE_MAIN};
use super::neighbour::Neighbour;
use super::nexthop::Nexthop;
use super::route::{Route, RouteKey, RouteKind};
use super::rule::Rule;
use super::sysctl::Sysctls;
use crate::prefix::Family;

/// What the kernel holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Flat", into = "Flat")]
pub struct Snapshot {
    links: BTreeMap<u32, Link>,
    addresses: BTreeMap<AddressKey, (Address, Rank)>,
    /// Of the address that came last.
    last: Rank,
    routes: BTreeMap<RouteKey, Vec<Route>>,
    rules: BTreeMap<(Family, u32), Vec<Rule>>,
    nexthops: BTreeMap<u32, Nexthop>,
    /// Why this is not all that the kernel holds; empty when it is.
    pub incomplete: Vec<String>,
    /// Table names by number, from `rt_tables` and `rt_tables.d`.
    pub table_names: BTreeMap<u32, String>,
    /// What files say of the ways out.
    pub hints: Hints,
    /// What `/proc/sys/net` says; empty where nobody has read it.
    pub sysctls: Sysctls,
    /// The neighbours that are gateways, ordered.
    pub neighbours: Vec<Neighbour>,
    /// The address labels, where they are not those that the kernel begins with.
    pub labels: Option<Vec<AddressLabel>>,
    /// What the doctor wants to know besides; none where nobody has asked.
    pub host: Option<Host>,
}

type AddressKey = (u32, IpAddr, u8, Option<IpAddr>);

/// The place of an address in its link's list, where the kernel finds a source for what has none.
/// No part of what is there: it makes no two snapshots differ.
#[derive(Debug, Clone, Copy, Default)]
struct Rank(i64);

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

/// The form in files: lists, which `jq` can take apart.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "snapshot", expecting = "a snapshot of multihome")]
struct Flat {
    version: u32,
    links: Vec<Link>,
    addresses: Vec<Address>,
    routes: Vec<Route>,
    rules: Vec<Rule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    nexthops: Vec<Nexthop>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    table_names: BTreeMap<u32, String>,
    #[serde(default, skip_serializing_if = "Hints::is_empty")]
    hints: Hints,
    #[serde(default, skip_serializing_if = "Sysctls::is_empty")]
    sysctls: Sysctls,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    neighbours: Vec<Neighbour>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<AddressLabel>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<Host>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<String>,
}

/// The version of the form in files.
const VERSION: u32 = 1;

// ===== impl Snapshot: what is there =====

impl Snapshot {
    /// Whether this is all that the kernel holds.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.incomplete.is_empty()
    }

    /// Links by index.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// The link of an index.
    #[must_use]
    pub fn link(&self, index: u32) -> Option<&Link> {
        self.links.get(&index)
    }

    /// The link of a name.
    #[must_use]
    pub fn link_named(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|l| l.name == name)
    }

    /// All addresses, ordered by link.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.addresses.values().map(|(a, _)| a)
    }

    /// The addresses of one link.
    pub fn addresses_of(&self, link: u32) -> impl Iterator<Item = &Address> {
        let first = (link, IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0, None);
        let of_link = self.addresses.range(first..).take_while(move |(k, _)| k.0 == link);
        of_link.map(|(_, (a, _))| a)
    }

    /// The addresses of one link in the order of the kernel's own list (`in_dev->ifa_list`,
    /// `idev->addr_list`): the first that will do becomes the source of what has none.
    #[must_use]
    pub fn addresses_in_order(&self, link: u32) -> Vec<&Address> {
        let first = (link, IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0, None);
        let of_link = self.addresses.range(first..).take_while(move |(k, _)| k.0 == link);
        let mut ordered: Vec<&(Address, Rank)> = of_link.map(|(_, a)| a).collect();
        ordered.sort_by_key(|(_, rank)| rank.0);
        ordered.into_iter().map(|(a, _)| a).collect()
    }

    /// All routes, ordered by table and prefix.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.values().flatten()
    }

    /// The routes of one table, both families.
    pub fn routes_in(&self, table: u32) -> impl Iterator<Item = &Route> {
        let low = RouteKey { table, dst: Family::V4.all(), src: None, tos: 0, metric: 0 };
        self.routes.range(low..).take_while(move |(k, _)| k.table == table).flat_map(|(_, r)| r)
    }

    /// Main's default routes in the order in which the kernel takes them: those that lead out, and those
    /// that refuse. `throw` is none.
    #[must_use]
    pub fn main_defaults(&self, family: Family) -> Vec<&Route> {
        let mut defaults: Vec<&Route> = self
            .routes_in(TABLE_MAIN)
            .filter(|r| r.family() == family && r.dst.is_default() && r.src.is_none())
            .filter(|r| (r.kind == RouteKind::Unicast || r.refuses()) && !r.is_expired())
            .collect();
        defaults.sort_by_key(|r| r.metric);
        defaults
    }

    /// The routes of one key (table, prefix, source, TOS, metric).
    #[must_use]
    pub fn routes_at(&self, key: &RouteKey) -> &[Route] {
        self.routes.get(key).map_or(&[], Vec::as_slice)
    }

    /// All rules in the order in which the kernel asks them, IPv4 first.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.values().flatten()
    }

    /// The rules of one priority.
    #[must_use]
    pub fn rules_at(&self, family: Family, priority: u32) -> &[Rule] {
        self.rules.get(&(family, priority)).map_or(&[], Vec::as_slice)
    }

    /// Nexthop objects by identifier.
    pub fn nexthops(&self) -> impl Iterator<Item = &Nexthop> {
        self.nexthops.values()
    }

    /// The nexthop object of an identifier.
    #[must_use]
    pub fn nexthop(&self, id: u32) -> Option<&Nexthop> {
        self.nexthops.get(&id)
    }

    /// The names of this snapshot's links and tables.
    #[must_use]
    pub fn names(&self) -> Names {
        Names {
            links: self.links.values().map(|l| (l.index, l.name.clone())).collect(),
            tables: self.table_names.clone(),
        }
    }
}

// ===== impl Snapshot: how it changes =====

impl Snapshot {
    /// Puts a link in, in place of the one with its index.
    pub fn insert_link(&mut self, link: Link) {
        self.links.insert(link.index, link);
    }

    /// Puts an address in behind the others of its link, in place of the same one with other flags.
    /// A dump has them in the kernel's order.
    pub fn insert_address(&mut self, address: Address) {
        self.last.0 += 1;
        self.rank_address(address, self.last);
    }

    /// Puts an address in where the kernel puts a new one: IPv4 behind the others of its scope
    /// (`__inet_insert_ifa`), IPv6 in front of them (`ipv6_link_dev_addr`).
    fn add_address(&mut self, address: Address) {
        self.last.0 += 1;
        let rank = if address.local.is_ipv6() { Rank(-self.last.0) } else { self.last };
        self.rank_address(address, rank);
    }

    fn rank_address(&mut self, address: Address, rank: Rank) {
        let entry = self.addresses.entry(address_key(&address));
        entry.and_modify(|(known, _)| *known = address.clone()).or_insert((address, rank));
    }

    /// Puts a route in beside others of its key; an equal one stays alone.
    pub fn insert_route(&mut self, route: Route) {
        // Nearly every key has one route.
        let same = self.routes.entry(route.key()).or_insert_with(|| Vec::with_capacity(1));
        match same.iter_mut().find(|r| is_same_route(r, &route)) {
            Some(r) => *r = route,
            None => same.push(route),
        }
    }

    /// Puts a rule in behind those of its priority, where the kernel puts it
    /// (`fib_newrule`).
    pub fn insert_rule(&mut self, rule: Rule) {
        let same = self.rules.entry((rule.family, rule.priority));
        same.or_insert_with(|| Vec::with_capacity(1)).push(rule);
    }

    /// Puts a nexthop object in.
    pub fn insert_nexthop(&mut self, nexthop: Nexthop) {
        self.nexthops.insert(nexthop.id, nexthop);
    }

    /// Takes out an address; what hangs on it is the caller's.
    pub fn remove_address(&mut self, address: &Address) {
        self.addresses.remove(&address_key(address));
    }

    /// Puts an address in as a new one, where the kernel puts it.
    pub fn append_address(&mut self, address: Address) {
        self.add_address(address);
    }

    /// Takes a link out with its addresses.
    pub fn remove_link(&mut self, index: u32) {
        self.links.remove(&index);
        self.addresses.retain(|key, _| key.0 != index);
    }

    /// Takes out the routes for which `gone` is true, before they are dumped again.
    pub fn remove_routes(&mut self, mut gone: impl FnMut(&Route) -> bool) {
        self.routes.retain(|_, routes| {
            routes.retain(|r| !gone(r));
            !routes.is_empty()
        });
    }

    /// Goes through all routes, which may change in everything but their keys; those for which `stays`
    /// is false are taken out.
    pub fn edit_routes(&mut self, mut stays: impl FnMut(&mut Route) -> bool) {
        self.routes.retain(|_, routes| {
            routes.retain_mut(&mut stays);
            !routes.is_empty()
        });
    }

    /// Takes out one route, found as the kernel finds it; false when it is not there.
    pub fn remove_route(&mut self, route: &Route) -> bool {
        let Some(same) = self.routes.get_mut(&route.key()) else { return false };
        let Some(at) = same.iter().position(|r| is_same_route(r, route)) else { return false };
        same.remove(at);
        if same.is_empty() {
            self.routes.remove(&route.key());
        }
        true
    }

    /// Takes out the route whose place a route took that is not to be kept itself. Says what must
    /// be looked at again when it is not known which of several that was.
    pub fn remove_replaced(&mut self, by: &Route) -> Stale {
        let mut stale = Stale::default();
        if self.routes.remove(&by.key()).is_some_and(|same| same.len() > 1) {
            stale.tables.insert((by.family(), by.table));
        }
        stale
    }

    /// Takes out the first rule that is equal; false when there is none.
    pub fn remove_rule(&mut self, rule: &Rule) -> bool {
        let key = (rule.family, rule.priority);
        let Some(same) = self.rules.get_mut(&key) else { return false };
        let Some(at) = same.iter().position(|r| r == rule) else { return false };
        same.remove(at);
        if same.is_empty() {
            self.rules.remove(&key);
        }
        true
    }

    fn equal_rules(&self, rule: &Rule) -> usize {
        self.rules_at(rule.family, rule.priority).iter().filter(|r| *r == rule).count()
    }

    /// Takes out all rules, before they are dumped again.
    pub fn clear_rules(&mut self) {
        self.rules.clear();
    }

    /// Takes out one nexthop object.
    pub fn remove_nexthop(&mut self, id: u32) {
        self.nexthops.remove(&id);
    }

    /// Takes out all nexthop objects, before they are dumped again.
    pub fn clear_nexthops(&mut self) {
        self.nexthops.clear();
    }

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

// ===== the form in files =====

impl TryFrom<Flat> for Snapshot {
    type Error = String;

    fn try_from(flat: Flat) -> Result<Snapshot, String> {
        if flat.version != VERSION {
            return Err(format!(
                "version {} of the snapshot is not known to this multihome, which reads version \
                 {VERSION}",
                flat.version
            ));
        }
        let mut snapshot = Snapshot {
            incomplete: flat.incomplete,
            table_names: flat.table_names,
            hints: flat.hints,
            sysctls: flat.sysctls,
            neighbours: flat.neighbours,
            labels: flat.labels,
            host: flat.host,
            ..Snapshot::default()
        };
        for link in flat.links {
            if link.index == 0 || link.name.is_empty() {
                return Err(format!("link {} `{}` has no index or no name", link.index, link.name));
            }
            snapshot.insert_link(link);
        }
        for address in flat.addresses {
            if address.prefix_len > address.family().bits() {
                return Err(format!("address {}/{}", address.local, address.prefix_len));
            }
            snapshot.insert_address(address);
        }
        flat.routes.into_iter().for_each(|r| snapshot.insert_route(r));
        flat.rules.into_iter().for_each(|r| snapshot.insert_rule(r));
        flat.nexthops.into_iter().for_each(|n| snapshot.insert_nexthop(n));
        Ok(snapshot)
    }
}

impl From<Snapshot> for Flat {
    fn from(snapshot: Snapshot) -> Flat {
        Flat {
            version: VERSION,
            links: snapshot.links.into_values().collect(),
            addresses: in_order(snapshot.addresses),
            routes: snapshot.routes.into_values().flatten().collect(),
            rules: snapshot.rules.into_values().flatten().collect(),
            nexthops: snapshot.nexthops.into_values().collect(),
            table_names: snapshot.table_names,
            hints: snapshot.hints,
            sysctls: snapshot.sysctls,
            neighbours: snapshot.neighbours,
            labels: snapshot.labels,
            host: snapshot.host,
            incomplete: snapshot.incomplete,
        }
    }
}

impl PartialEq for Rank {
    fn eq(&self, _: &Rank) -> bool {
        true
    }
}

impl Eq for Rank {}

// ===== helpers =====

fn in_order(addresses: BTreeMap<AddressKey, (Address, Rank)>) -> Vec<Address> {
    let mut ordered: Vec<(Address, Rank)> = addresses.into_values().collect();
    ordered.sort_by_key(|(address, rank)| (address.link, address.family(), rank.0));
    ordered.into_iter().map(|(a, _)| a).collect()
}

fn address_key(address: &Address) -> AddressKey {
    (address.link, address.local, address.prefix_len, address.peer)
}

/// Whether two routes of one key are one object: the same protocol, kind and hops; in IPv4 the same
/// source and scope, too (`fib_find_info`). Flags and lifetimes change in place.
fn is_same_route(a: &Route, b: &Route) -> bool {
    let v4 = a.family() == Family::V4;
    (!v4 || a.prefsrc == b.prefsrc && a.scope == b.scope)
        && a.protocol == b.protocol
        && a.kind == b.kind
        && a.nhid == b.nhid
        && a.hops.len() == b.hops.len()
        && a.hops.iter().zip(&b.hops).all(|(x, y)| x.link == y.link && x.gateway == y.gateway)
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
