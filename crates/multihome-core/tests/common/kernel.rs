//! A kernel that refuses what the kernel refuses.
//!
//! It keeps its books in plain lists, so that nothing of [`Snapshot`] is tested against
//! itself. Changes of ours go through [`Kernel::apply`], which panics when a change names
//! anything that is not ours; what the rest of the host does has methods of its own, and
//! they emulate what the kernel then does by itself, silently or not.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use multihome_core::diff::Change;
use multihome_core::model::link::{IFF_LOWER_UP, IFF_UP};
use multihome_core::model::names::{TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};
use multihome_core::model::netfilter::Held;
use multihome_core::model::route::{RTNH_F_ONLINK, SCOPE_LINK};
use multihome_core::model::snapshot::Event;
use multihome_core::model::sysctl::Raised;
use multihome_core::model::{
    Action, Address, Hints, Hop, Link, Netfilter, PROTOCOL, Route, RouteKind, Rule, Snapshot,
    Sysctls,
};
use multihome_core::prefix::{Family, Prefix};
use multihome_core::settings;

use super::lookup::Packet;

/// `RTPROT_KERNEL`.
pub(crate) const KERNEL: u8 = 2;
/// `RTPROT_BOOT`: what `ip` and old scripts write.
pub(crate) const BOOT: u8 = 3;
/// `RTPROT_RA`.
pub(crate) const RA: u8 = 9;
/// `RTPROT_DHCP`.
pub(crate) const DHCP: u8 = 16;
/// `IFA_F_NOPREFIXROUTE`.
const NOPREFIXROUTE: u32 = 0x200;

/// Why the kernel says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errno {
    Exists,
    NoSuchProcess,
    NoEntry,
    NoDevice,
    NetDown,
    Invalid(&'static str),
}

/// What it holds.
#[derive(Clone, PartialEq)]
pub(crate) struct Kernel {
    links: BTreeMap<u32, Link>,
    addresses: Vec<Address>,
    routes: Vec<Route>,
    /// In the order in which they are asked.
    rules: Vec<Rule>,
    pub(crate) table_names: BTreeMap<u32, String>,
    pub(crate) hints: Hints,
    pub(crate) sysctls: Sysctls,
    pub(crate) raised: BTreeMap<String, Raised>,
    pub(crate) netfilter: Option<Netfilter>,
}

// ===== what is there =====

impl Kernel {
    /// A namespace with its loopback and the kernel's own rules.
    pub(crate) fn new() -> Kernel {
        let mut kernel = Kernel {
            links: BTreeMap::new(),
            addresses: Vec::new(),
            routes: Vec::new(),
            rules: Vec::new(),
            table_names: BTreeMap::new(),
            hints: Hints::default(),
            sysctls: Sysctls::default(),
            raised: BTreeMap::new(),
            netfilter: None,
        };
        let lo = Link {
            arphrd: 772,
            flags: 0x1_0049,
            mtu: 65536,
            ..ethernet(1, "lo", "00:00:00:00:00:00")
        };
        kernel.links.insert(1, Link { permanent_address: None, ..lo });
        for family in Family::BOTH {
            let mut tables = vec![(0, TABLE_LOCAL), (32766, TABLE_MAIN)];
            if family == Family::V4 {
                tables.push((32767, TABLE_DEFAULT));
            }
            for (priority, table) in tables {
                let rule = Rule::new(family, priority, Action::Lookup(table));
                kernel.rules.push(Rule { protocol: KERNEL, ..rule });
            }
        }
        kernel.rules.sort_by_key(|r| r.priority);
        kernel
    }

    /// A kernel that holds what a snapshot says.
    pub(crate) fn of(snapshot: &Snapshot) -> Kernel {
        let mut rules: Vec<Rule> = snapshot.rules().cloned().collect();
        rules.sort_by_key(|r| r.priority);
        Kernel {
            links: snapshot.links().map(|l| (l.index, l.clone())).collect(),
            addresses: snapshot.addresses().cloned().collect(),
            routes: snapshot.routes().cloned().collect(),
            rules,
            table_names: snapshot.table_names.clone(),
            hints: snapshot.hints.clone(),
            sysctls: snapshot.sysctls.clone(),
            raised: snapshot.raised.clone(),
            netfilter: snapshot.netfilter.clone(),
        }
    }

    pub(crate) fn link(&self, index: u32) -> Option<&Link> {
        self.links.get(&index)
    }

    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    pub(crate) fn routes(&self) -> &[Route] {
        &self.routes
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub(crate) fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.addresses.iter().any(|a| a.local == address)
    }

    /// Whether our routes could all be added now, if they were not there.
    pub(crate) fn could_make_ours_again(&self) -> bool {
        let mut bare = self.clone();
        bare.routes.retain(|r| !r.is_ours());
        let mut ours: Vec<&Route> = self.routes.iter().filter(|r| r.is_ours()).collect();
        ours.sort_by_key(|r| r.hops.iter().any(|h| h.gateway.is_some()));
        ours.into_iter().all(|r| bare.add_route(r).is_ok())
    }

    /// All that it holds, as events, in the order of a dump.
    pub(crate) fn dump(&self) -> Vec<Event> {
        let mut events: Vec<Event> = self.links.values().cloned().map(Event::NewLink).collect();
        events.extend(self.addresses.iter().cloned().map(Event::NewAddress));
        events.extend(self.routes.iter().cloned().map(|route| Event::NewRoute {
            route,
            replace: false,
            append: false,
        }));
        events.extend(self.rules.iter().cloned().map(Event::NewRule));
        events
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.table_names = self.table_names.clone();
        snapshot.hints = self.hints.clone();
        snapshot.sysctls = self.sysctls.clone();
        snapshot.raised = self.raised.clone();
        snapshot.netfilter = self.netfilter.clone();
        self.links.values().for_each(|l| snapshot.insert_link(l.clone()));
        self.addresses.iter().for_each(|a| snapshot.insert_address(a.clone()));
        self.routes.iter().for_each(|r| snapshot.insert_route(r.clone()));
        self.rules.iter().for_each(|r| snapshot.insert_rule(r.clone()));
        snapshot
    }

    /// All that it holds, each list in one fixed order: two kernels are alike when these are.
    pub(crate) fn inventory(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        lines.extend(self.links.values().map(|l| format!("{l:?}")));
        lines.extend(self.addresses.iter().map(|a| format!("{a:?}")));
        lines.extend(self.routes.iter().map(|r| format!("{r:?}")));
        lines.extend(self.rules.iter().map(|r| format!("{r:?}")));
        lines.push(format!("{:?} {:?} {:?}", self.sysctls, self.raised, self.netfilter));
        lines.sort();
        lines
    }
}

/// In `ip`'s words, for a host that fails a test.
impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.snapshot().names();
        for l in self.links.values() {
            let state = if l.is_up() { "up" } else { "down" };
            write!(f, "\n{}: {} {state}", l.index, l.name)?;
            write!(f, " kind {:?} master {:?} group {}", l.kind, l.master, l.group)?;
            for a in self.addresses.iter().filter(|a| a.link == l.index) {
                write!(f, "\n    {}/{}", a.local, a.prefix_len)?;
            }
        }
        for r in &self.routes {
            write!(f, "\n{} proto {}", r.display(&names), r.protocol)?;
        }
        for r in &self.rules {
            write!(f, "\n{} {}", r.family.flag(), r.display(&names))?;
        }
        writeln!(f)
    }
}

// ===== what multihome does =====

impl Kernel {
    /// Takes one step of ours.
    pub(crate) fn apply(&mut self, change: &Change) -> Result<(), Errno> {
        match change {
            Change::AddRoute(route) => {
                assert_ours(route.protocol, change);
                self.add_route(route)
            }
            Change::ReplaceRoute { from, to } => {
                assert_ours(from.protocol, change);
                assert_ours(to.protocol, change);
                let at =
                    self.routes.iter().position(|r| r.key() == to.key()).ok_or(Errno::NoEntry)?;
                // The kernel replaces whatever stands there first.
                assert_ours(self.routes[at].protocol, change);
                let old = self.routes.remove(at);
                self.check_route(to).inspect_err(|_| self.routes.insert(at, old))?;
                self.routes.insert(at, kept(to));
                Ok(())
            }
            Change::DelRoute(route) => {
                assert_ours(route.protocol, change);
                self.del_route(route)
            }
            Change::AddRule(rule) => {
                assert_ours(rule.protocol, change);
                self.add_rule(rule)
            }
            Change::DelRule(rule) => {
                assert_ours(rule.protocol, change);
                self.del_rule(rule)
            }
            Change::SetGroup { link, name, from, to } => {
                let link = self.links.get_mut(link).ok_or(Errno::NoDevice)?;
                assert_eq!((&link.name, link.group), (name, *from), "{change:?}");
                link.group = *to;
                Ok(())
            }
            Change::SetReturnPath { from, to } => {
                let netfilter = self.netfilter.as_mut().expect("nobody could look");
                assert_eq!(netfilter.table, *from, "{change:?}");
                netfilter.table = to.clone().map_or(Held::Absent, Held::Whole);
                Ok(())
            }
            Change::SetSysctl { path, from, to } => {
                assert_eq!(self.sysctls.get(path), Some(from.as_str()), "{change:?}");
                let mut snapshot = self.snapshot();
                settings::note(&mut snapshot, path, from, to);
                (self.sysctls, self.raised) = (snapshot.sysctls, snapshot.raised);
                Ok(())
            }
        }
    }

    /// Takes steps that all must succeed.
    pub(crate) fn apply_all(&mut self, changes: &[Change]) {
        let names = self.snapshot().names();
        for change in changes {
            if let Err(errno) = self.apply(change) {
                let all: Vec<String> = changes.iter().map(|c| c.command(&names)).collect();
                panic!(
                    "{errno:?}: {}\n{change:?}\nof\n{}\nroutes there:\n{}",
                    change.command(&names),
                    all.join("\n"),
                    self.routes.iter().map(|r| r.display(&names)).collect::<Vec<_>>().join("\n"),
                );
            }
        }
    }

    /// `RTM_NEWROUTE` with `NLM_F_CREATE | NLM_F_EXCL`.
    pub(crate) fn add_route(&mut self, route: &Route) -> Result<(), Errno> {
        self.check_route(route)?;
        // IPv4 does not look at the kind or the protocol, nor does IPv6 at the hops.
        if self.routes.iter().any(|r| r.key() == route.key()) {
            return Err(Errno::Exists);
        }
        self.routes.push(kept(route));
        Ok(())
    }

    /// `RTM_NEWROUTE` with `NLM_F_CREATE | NLM_F_APPEND`: beside others of its key, unless one
    /// leads the same way (`rt6_duplicate_nexthop`).
    pub(crate) fn append_route(&mut self, route: &Route) -> Result<(), Errno> {
        self.check_route(route)?;
        let ways = |r: &Route| -> Vec<_> { r.hops.iter().map(|h| (h.link, h.gateway)).collect() };
        let same = |r: &Route| r.key() == route.key() && ways(r) == ways(route);
        if self.routes.iter().any(same) {
            return Err(Errno::Exists);
        }
        self.routes.push(kept(route));
        Ok(())
    }

    /// `RTM_DELROUTE`.
    pub(crate) fn del_route(&mut self, route: &Route) -> Result<(), Errno> {
        let at = self
            .routes
            .iter()
            .position(|r| {
                r.key() == route.key()
                    && r.kind == route.kind
                    && r.protocol == route.protocol
                    && (r.scope == route.scope || route.family() == Family::V6)
                    && (route.prefsrc.is_none() || r.prefsrc == route.prefsrc)
                    && r.hops.len() == route.hops.len()
                    && r.hops
                        .iter()
                        .zip(&route.hops)
                        .all(|(a, b)| (a.link, a.gateway) == (b.link, b.gateway))
            })
            .ok_or(Errno::NoSuchProcess)?;
        self.routes.remove(at);
        Ok(())
    }

    /// `RTM_NEWRULE` with `NLM_F_EXCL`.
    pub(crate) fn add_rule(&mut self, rule: &Rule) -> Result<(), Errno> {
        if self.rules.contains(rule) {
            return Err(Errno::Exists);
        }
        if let Action::Goto(target) = rule.action
            && target <= rule.priority
        {
            return Err(Errno::Invalid("Backward goto not supported"));
        }
        if let Action::Lookup(0) = rule.action {
            return Err(Errno::Invalid("No table"));
        }
        let at = self.rules.partition_point(|r| r.priority <= rule.priority);
        self.rules.insert(at, rule.clone());
        Ok(())
    }

    /// `RTM_DELRULE`.
    pub(crate) fn del_rule(&mut self, rule: &Rule) -> Result<(), Errno> {
        let at = self.rules.iter().position(|r| r == rule).ok_or(Errno::NoEntry)?;
        self.rules.remove(at);
        Ok(())
    }

    fn check_route(&self, route: &Route) -> Result<(), Errno> {
        if route.table == 0 {
            return Err(Errno::Invalid("No table"));
        }
        if route.family() == Family::V6 && route.metric == 0 {
            return Err(Errno::Invalid("IPv6 has no metric 0: it would become 1024"));
        }
        if route.kind != RouteKind::Unicast {
            let bare = route.hops.is_empty() && route.prefsrc.is_none();
            return if bare { Ok(()) } else { Err(Errno::Invalid("a refusal leads nowhere")) };
        }
        if route.hops.is_empty() {
            return Err(Errno::NoDevice);
        }
        if route.prefsrc.is_some_and(|s| !self.is_local(s)) {
            return Err(Errno::Invalid("Invalid prefsrc address"));
        }
        route.hops.iter().try_for_each(|hop| self.check_hop(route, hop))
    }

    fn check_hop(&self, route: &Route, hop: &Hop) -> Result<(), Errno> {
        let link = self.links.get(&hop.link).ok_or(Errno::NoDevice)?;
        if !link.is_up() {
            return Err(Errno::NetDown);
        }
        let Some(gateway) = hop.gateway else { return Ok(()) };
        if route.family() == Family::V4 && route.scope >= SCOPE_LINK {
            return Err(Errno::Invalid("Nexthop has invalid scope"));
        }
        if self.is_local(gateway) {
            return Err(Errno::Invalid("Nexthop has invalid gateway"));
        }
        let link_local = matches!(gateway, IpAddr::V6(a) if a.is_unicast_link_local());
        if hop.flags & RTNH_F_ONLINK != 0 || link_local {
            return Ok(());
        }
        // fib_check_nh, ip6_route_check_nh: the route's own table first, then all rules.
        let packet = Packet::bound(gateway, hop.link);
        let is_on_link = |hop: Option<&Hop>| hop.is_some_and(|h| h.gateway.is_none());
        let here = self.lookup_in(route.table, &packet).map(|(_, hop)| hop);
        let on_link = match here {
            Some(Some(hop)) => is_on_link(Some(hop)),
            _ => matches!(self.lookup(&packet), super::lookup::Answer::Out { gateway: None, .. }),
        };
        if on_link { Ok(()) } else { Err(Errno::Invalid("Nexthop has invalid gateway")) }
    }
}

// ===== what happens to the host =====

impl Kernel {
    pub(crate) fn add_link(&mut self, link: Link) {
        self.links.insert(link.index, link);
    }

    /// The card is pulled: its addresses and routes go with it, rules stay.
    pub(crate) fn remove_link(&mut self, index: u32) {
        self.links.remove(&index);
        self.addresses.retain(|a| a.link != index);
        self.drop_sources();
        self.flush(index);
    }

    pub(crate) fn rename(&mut self, index: u32, name: &str) {
        if let Some(link) = self.links.get_mut(&index) {
            link.name = name.into();
        }
    }

    /// `ip link set down`: IPv4 loses its routes in silence, IPv6 also its addresses.
    pub(crate) fn link_down(&mut self, index: u32) {
        let Some(link) = self.links.get_mut(&index) else { return };
        if !link.is_up() {
            return;
        }
        link.flags &= !(IFF_UP | IFF_LOWER_UP);
        link.carrier_changes += 1;
        self.addresses.retain(|a| a.link != index || a.family() == Family::V4);
        self.drop_sources();
        self.flush(index);
    }

    /// `ip link set up`: the connected routes of IPv4 come back, and nothing else.
    pub(crate) fn link_up(&mut self, index: u32) {
        let Some(link) = self.links.get_mut(&index) else { return };
        if link.is_up() {
            return;
        }
        link.flags |= IFF_UP | IFF_LOWER_UP;
        link.carrier_changes += 1;
        let own: Vec<Address> =
            self.addresses.iter().filter(|a| a.link == index).cloned().collect();
        own.iter().for_each(|a| self.connect(a));
    }

    pub(crate) fn add_address(&mut self, address: Address) -> Result<(), Errno> {
        let link = self.links.get(&address.link).ok_or(Errno::NoDevice)?;
        if address.family() == Family::V6 && !link.is_up() {
            return Err(Errno::NetDown);
        }
        let same = |a: &Address| {
            (a.local, a.prefix_len, a.peer) == (address.local, address.prefix_len, address.peer)
                && (a.link == address.link)
        };
        if self.addresses.iter().any(same) {
            return Err(Errno::Exists);
        }
        if link.is_up() {
            self.connect(&address);
        }
        self.addresses.push(address);
        Ok(())
    }

    /// An address goes: IPv4 routes with it as their source go with it, from every table, and
    /// with the last address of a link all its routes (`fib_disable_ip`).
    pub(crate) fn remove_address(&mut self, link: u32, local: IpAddr) {
        let Some(at) = self.addresses.iter().position(|a| a.link == link && a.local == local)
        else {
            return;
        };
        let address = self.addresses.remove(at);
        let still = |p: Prefix| {
            self.addresses
                .iter()
                .any(|a| a.link == link && a.network() == p && a.flags & NOPREFIXROUTE == 0)
        };
        let network = address.network();
        if !still(network) {
            self.routes.retain(|r| {
                !(r.table == TABLE_MAIN
                    && r.protocol == KERNEL
                    && r.dst == network
                    && r.hops.iter().all(|h| h.link == link))
            });
        }
        self.drop_sources();
        if address.family() == Family::V4 {
            // promote_secondaries: the next address of the network gets its connected route.
            let next = self.addresses.iter().find(|a| a.link == link && a.network() == network);
            if let Some(next) = next.cloned()
                && self.links[&link].is_up()
            {
                self.connect(&next);
            }
            if !self.addresses.iter().any(|a| a.link == link && a.family() == Family::V4) {
                self.flush_family(Family::V4, link);
            }
        }
    }

    /// Routes whose source is no address any more: IPv4 drops them from every table
    /// (`fib_sync_down_addr`), IPv6 only their source (`rt6_remove_prefsrc`).
    fn drop_sources(&mut self) {
        let addresses = &self.addresses;
        let is_gone = |s: IpAddr| !addresses.iter().any(|a| a.local == s);
        self.routes.retain_mut(|r| {
            let gone = r.prefsrc.is_some_and(is_gone);
            if gone && r.family() == Family::V6 {
                r.prefsrc = None;
                return true;
            }
            !gone
        });
    }

    fn connect(&mut self, address: &Address) {
        if address.flags & NOPREFIXROUTE != 0 {
            return;
        }
        let dst = address.network();
        let (metric, prefsrc, scope) = match address.family() {
            Family::V4 => (0, Some(address.local), SCOPE_LINK),
            Family::V6 => (256, None, 0),
        };
        if address.family() == Family::V4 && address.prefix_len == 32 && address.peer.is_none() {
            return;
        }
        let route = Route {
            protocol: KERNEL,
            metric,
            prefsrc,
            scope,
            hops: vec![Hop::dev(address.link)],
            ..Route::new(TABLE_MAIN, dst)
        };
        let same = |r: &Route| r.key() == route.key() && r.hops == route.hops;
        if !self.routes.iter().any(same) {
            self.routes.push(route);
        }
    }

    fn flush(&mut self, link: u32) {
        Family::BOTH.into_iter().for_each(|f| self.flush_family(f, link));
    }

    fn flush_family(&mut self, family: Family, link: u32) {
        self.routes.retain_mut(|r| {
            if r.family() != family || r.hops.is_empty() {
                return true;
            }
            if family == Family::V6 {
                r.hops.retain(|h| h.link != link);
                return !r.hops.is_empty();
            }
            // A multipath route of IPv4 stays, with dead members, while one of them lives.
            let lives =
                |h: &Hop| h.link != link && self.links.get(&h.link).is_some_and(Link::is_up);
            r.hops.iter().any(lives)
        });
    }
}

// ===== helpers =====

fn assert_ours(protocol: u8, change: &Change) {
    assert_eq!(protocol, PROTOCOL, "a change names what is not ours: {change:?}");
}

/// A route as the kernel keeps it.
fn kept(route: &Route) -> Route {
    let mut route = route.clone();
    if let [hop] = route.hops.as_mut_slice() {
        hop.weight = 0;
    }
    route
}

/// A card that is up.
pub(crate) fn ethernet(index: u32, name: &str, mac: &str) -> Link {
    Link {
        index,
        name: name.into(),
        kind: None,
        arphrd: 1,
        flags: 0x1_1043,
        master: None,
        group: 0,
        address: Some(mac.into()),
        permanent_address: Some(mac.into()),
        carrier_changes: 2,
        mtu: 1500,
    }
}

/// `ip address add WORDS dev LINK`: `10.0.0.1/24`.
pub(crate) fn address(link: u32, words: &str) -> Address {
    let (local, len) = words.split_once('/').expect("ADDRESS/LEN");
    let local = local.parse().expect("an address");
    let prefix_len = len.parse().expect("a length");
    Address { link, local, prefix_len, peer: None, scope: 0, flags: 0x80 }
}

/// `ip route add DST via GATEWAY dev LINK` in main.
pub(crate) fn route(dst: &str, gateway: &str, link: u32, protocol: u8) -> Route {
    let gateway: IpAddr = gateway.parse().expect("an address");
    let dst = match dst {
        "default" => Family::of(gateway).all(),
        dst => dst.parse().expect("a prefix"),
    };
    Route { protocol, hops: vec![Hop::via(gateway, link)], ..Route::new(TABLE_MAIN, dst) }
}
