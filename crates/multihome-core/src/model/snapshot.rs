//! What the kernel holds at one moment, and how it follows the kernel's events.
//!
//! A snapshot is complete or says why it is not ([`Snapshot::incomplete`]); nothing
//! is ever removed on the strength of an incomplete one. It can be dumped afresh, kept up to
//! date with what the kernel announces ([`event`]), and written to a file ([`file`]).

mod event;
mod file;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::address::Address;
use super::hint::Hints;
use super::host::Host;
use super::label::AddressLabel;
use super::link::Link;
use super::names::{Names, TABLE_MAIN};
use super::neighbour::Neighbour;
use super::netfilter::Netfilter;
use super::nexthop::Nexthop;
use super::route::{Route, RouteKey, RouteKind};
use super::rule::Rule;
use super::sysctl::{Raised, Sysctls};
use crate::prefix::Family;
pub use event::{Event, Stale};

/// What the kernel holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "file::Flat", into = "file::Flat")]
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
    /// The sysctls that multihome has changed, by path.
    pub raised: BTreeMap<String, Raised>,
    /// What nftables and iptables hold; none where nobody has asked or may ask.
    pub netfilter: Option<Netfilter>,
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

    /// The links that have an address: one, or several where a service's address is on two cards.
    pub fn owners(&self, address: IpAddr) -> impl Iterator<Item = u32> {
        let mut links: Vec<u32> =
            self.addresses().filter(|a| a.local == address).map(|a| a.link).collect();
        links.dedup();
        links.into_iter()
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
}

impl PartialEq for Rank {
    fn eq(&self, _: &Rank) -> bool {
        true
    }
}

impl Eq for Rank {}

// ===== helpers =====

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
