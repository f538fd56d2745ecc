//! What somebody keeps by hand or by another system's files, taken over into configuration.
//!
//! [`Declared`] is what is kept: routes and rules, from files or from a live host. [`of`] says which
//! configuration gives at least the same, in the fewest lines: where multihome would do the same by
//! itself there are none. What cannot be said in a configuration is named, not dropped ([`Left`]):
//! multihome does not touch it, and whoever hands over decides.
//!
//! It is found by looking, not by rules of thumb alone: the plan for the host without what is
//! declared is compared with it.

mod takeover;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::config::{
    Config, Interface, MAX_BASE, MIN_BASE, OnDown, Pattern, Primary, Setting, Steer, Table,
    UnlessDown,
};
use crate::memory::Memory;
use crate::model::names::{TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};
use crate::model::{Action, Link, Route, RouteKind, Rule, Snapshot};
use crate::plan::{self, Plan};
use crate::policy::without_ours;
use crate::prefix::{Family, Prefix};
use crate::rules::OIF_OFFSET;
use crate::uplink::NotUplink;

pub use takeover::takeover;

/// What is kept by hand, or by another system's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// Rules, in the order in which they are asked.
    pub rules: Vec<Rule>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Routes of main: those are not handed over, and stay whoever's they are.
    pub of_main: Vec<Route>,
    /// Names of tables.
    pub table_names: BTreeMap<u32, String>,
    /// Links that join a group, by index.
    pub groups: BTreeMap<u32, u32>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The configuration that gives at least the same.
    pub config: Config,
    /// What it does not say.
    pub left: Vec<Left>,
}

/// What a configuration does not say, or need not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// A rule from an address that this host does not have.
    Stale(Rule),
    /// A rule that is none of a kind that multihome makes: it stays whoever's it is.
    Rule(Rule),
    /// A route that only one of the tables has: multihome's tables hold what main reaches.
    Route(Route),
    /// A table that leads nowhere by an uplink of this host.
    Table(u32),
}

/// What is kept by hand on a live host: rules of others that choose a table by which an uplink leads
/// out, what goes with them, and those tables' routes.
#[must_use]
pub fn live(snapshot: &Snapshot) -> Declared {
    let mut declared = Declared::default();
    let is_home = |link: u32| {
        snapshot.link(link).is_some_and(|l| !l.is_loopback())
            && snapshot.addresses_of(link).next().is_some()
    };
    let leads_out = |table: u32| {
        snapshot
            .routes_in(table)
            .any(|r| !r.is_ours() && is_way_out(r) && r.hops.iter().all(|h| is_home(h.link)))
    };
    let others = || snapshot.rules().filter(|r| !r.is_ours() && !r.is_kernels());
    let tables: BTreeSet<u32> = others()
        .filter(|r| r.from.is_some() || r.oif.is_some() || is_steering(r))
        // What a tunnel tells its own packets by is the tunnel's.
        .filter(|r| !r.not)
        .filter_map(Rule::table)
        .filter(|t| is_own_table(*t) && leads_out(*t))
        .collect();
    let sources: BTreeSet<Prefix> = others()
        .filter(|r| r.table().is_some_and(|t| tables.contains(&t)))
        .filter_map(|r| r.from)
        .collect();
    let goes_along = |r: &&Rule| match r.table() {
        Some(table) if tables.contains(&table) => true,
        Some(TABLE_MAIN) => r.from.is_some_and(|f| sources.contains(&f)),
        _ => false,
    };
    declared.rules.extend(others().filter(goes_along).cloned());
    for table in &tables {
        declared.routes.extend(snapshot.routes_in(*table).filter(|r| !r.is_ours()).cloned());
        if let Some(name) = snapshot.table_names.get(table) {
            declared.table_names.insert(*table, name.clone());
        }
    }
    let asked: BTreeSet<u32> = declared.rules.iter().filter_map(|r| r.suppress_ifgroup).collect();
    let in_group = snapshot.links().filter(|l| asked.contains(&l.group));
    declared.groups = in_group.map(|l| (l.index, l.group)).collect();
    declared
}

impl Declared {
    /// Without what configuration does not say: that stays whoever's it is. A stale rule goes.
    #[must_use]
    pub fn without(&self, left: &[Left]) -> Declared {
        let mut declared = self.clone();
        for left in left {
            match left {
                Left::Rule(rule) => declared.rules.retain(|r| r != rule),
                Left::Route(route) => declared.routes.retain(|r| r != route),
                Left::Table(table) => {
                    declared.rules.retain(|r| r.table() != Some(*table));
                    declared.routes.retain(|r| r.table != *table);
                }
                Left::Stale(_) => {}
            }
        }
        declared
    }
}

/// The host without what is declared, and without what is ours.
#[must_use]
pub fn bare(snapshot: &Snapshot, declared: &Declared) -> Snapshot {
    let mut bare = without_ours(snapshot);
    let mut routes: BTreeMap<(u32, Prefix), Vec<&Route>> = BTreeMap::new();
    for route in &declared.routes {
        routes.entry((route.table, route.dst)).or_default().push(route);
    }
    bare.remove_routes(|r| {
        let same = routes.get(&(r.table, r.dst));
        same.is_some_and(|same| same.iter().any(|d| is_made_by(r, d)))
    });
    let rules: BTreeSet<Rule> = declared.rules.iter().map(anybodys_rule).collect();
    let gone: Vec<Rule> =
        bare.rules().filter(|r| rules.contains(&anybodys_rule(r))).cloned().collect();
    for rule in &gone {
        bare.remove_rule(rule);
    }
    bare.table_names.extend(declared.table_names.clone());
    for (index, group) in &declared.groups {
        if let Some(link) = bare.link(*index).cloned().filter(|l| l.group == *group) {
            bare.insert_link(Link { group: 0, ..link });
        }
    }
    bare
}

/// The host as what is declared makes it, and nothing of ours.
#[must_use]
pub fn as_declared(snapshot: &Snapshot, declared: &Declared) -> Snapshot {
    let mut host = bare(snapshot, declared);
    declared.routes.iter().for_each(|r| host.insert_route(r.clone()));
    declared.rules.iter().for_each(|r| host.insert_rule(r.clone()));
    for (index, group) in &declared.groups {
        if let Some(link) = host.link(*index).cloned() {
            host.insert_link(Link { group: *group, ..link });
        }
    }
    host
}

/// The host and the configuration for which a plan is made that takes the place of what somebody keeps
/// by hand: without that, and with the gateways that only it knows.
#[must_use]
pub fn handed_over(snapshot: &Snapshot, config: &Config) -> (Snapshot, Config) {
    let declared = live(snapshot);
    let imported = of(snapshot, &declared);
    let bare = bare(snapshot, &declared.without(&imported.left));
    let mut config = config.clone();
    for (name, interface) in imported.config.interfaces {
        let known = config.interfaces.entry(name).or_default();
        known.gateway = known.gateway.take().or(interface.gateway);
    }
    (bare, config)
}

/// The configuration that gives at least what is declared.
#[must_use]
pub fn of(snapshot: &Snapshot, declared: &Declared) -> Imported {
    let bare = bare(snapshot, declared);
    let mut import = Import {
        declared,
        plan: plan::make(&bare, &Config::default(), &Memory::default()),
        bare,
        config: Config::default(),
        left: Vec::new(),
        tables: BTreeMap::new(),
    };
    import.tables();
    import.base();
    import.others();
    import.interfaces();
    import.steers();
    import.rules_left();
    import.routes_left();
    import.left.sort();
    import.left.dedup();
    Imported { config: import.config, left: import.left }
}

struct Import<'a> {
    declared: &'a Declared,
    /// What multihome would do by itself on the host without what is declared.
    plan: Plan,
    bare: Snapshot,
    config: Config,
    left: Vec<Left>,
    /// The table of each link that has one.
    tables: BTreeMap<u32, u32>,
}

impl Import<'_> {
    /// Which table belongs to which link: the one by which its default leads, or whose sockets are
    /// sent there.
    fn tables(&mut self) {
        let asked: BTreeSet<u32> = self
            .declared
            .rules
            .iter()
            .filter_map(Rule::table)
            .filter(|t| is_own_table(*t))
            .collect();
        for table in asked {
            let of_table = || self.declared.routes.iter().filter(move |r| r.table == table);
            let mut ways: Vec<&Route> = of_table().filter(|r| is_way_out(r)).collect();
            ways.sort_by_key(|r| (r.family(), r.metric));
            let by_route = ways.first().and_then(|r| r.hops.first()).map(|h| h.link);
            let bound = self.declared.rules.iter().filter(|r| r.table() == Some(table));
            let by_rule = bound
                .filter_map(|r| r.oif.as_ref())
                .find_map(|name| self.bare.link_named(name).map(|l| l.index));
            let by_network = of_table().find_map(|r| r.hops.first()).map(|h| h.link);
            match by_route.or(by_rule).or(by_network) {
                Some(link) if self.bare.link(link).is_some() => {
                    self.tables.entry(link).or_insert(table);
                }
                _ => self.left.push(Left::Table(table)),
            }
        }
    }

    fn homes(&self) -> impl Iterator<Item = (u32, &Rule)> {
        self.declared.rules.iter().filter_map(|r| {
            let link = self.link_of(r.table()?)?;
            (r.from.is_some() && r.to.is_none()).then_some((link, r))
        })
    }

    /// Where the numbers start, if they are numbered as ours are.
    fn base(&mut self) {
        let locals: BTreeSet<u32> =
            self.declared.rules.iter().filter(|r| is_local(r)).map(|r| r.priority).collect();
        let starts: BTreeSet<u32> =
            self.homes().filter_map(|(link, r)| r.priority.checked_sub(link)).collect();
        let fits = |base: u32| (MIN_BASE..=MAX_BASE).contains(&base);
        let base = starts.iter().copied().find(|b| locals.contains(b) && fits(*b)).or_else(|| {
            let [base] = starts.iter().copied().collect::<Vec<_>>()[..] else { return None };
            let numbered = |(link, table): (&u32, &u32)| {
                *table == base + link
                    || self
                        .declared
                        .rules
                        .iter()
                        .any(|r| r.oif.is_some() && r.priority == OIF_OFFSET + base + link)
            };
            (fits(base) && self.tables.iter().any(numbered)).then_some(base)
        });
        if let Some(base) = base {
            self.config.base = Setting::default_of(base);
        }
        let groups: BTreeSet<u32> =
            self.declared.rules.iter().filter_map(|r| r.suppress_ifgroup).collect();
        if let [group] = groups.into_iter().collect::<Vec<_>>()[..]
            && group != self.config.base.value
        {
            self.config.link_group = Setting::default_of(Some(group));
        }
    }

    /// Uplinks that nothing is declared for.
    fn others(&mut self) {
        if self.tables.is_empty() {
            return;
        }
        let without: Vec<(u32, String)> = self
            .plan
            .uplinks
            .iter()
            .filter(|p| !self.tables.contains_key(&p.uplink.link))
            .map(|p| (p.uplink.link, p.uplink.name.clone()))
            .collect();
        // A recipe that leaves the first card to main does so for want of better, and clients on the
        // second's subnet cannot reach it: only a layout like ours means it.
        if !self.fails_closed() && !self.declared.rules.iter().any(is_local) {
            return;
        }
        let groups = &self.declared.groups;
        let joins = |link: u32| groups.is_empty() || groups.contains_key(&link);
        match &without[..] {
            [(link, name)] if joins(*link) => {
                self.config.primary = Setting::default_of(Some(Primary::Name(name.clone())));
            }
            // Two that are left to main: the one of its default is the first, and the other is none
            // of ours.
            _ => {
                let apart = without.iter().filter(|(link, _)| !groups.is_empty() && !joins(*link));
                let apart = apart.filter_map(|(_, name)| Pattern::new(&Pattern::escape(name)).ok());
                let apart: Vec<Pattern> = apart.collect();
                self.config.ignore = Setting::default_of(apart);
            }
        }
    }

    fn interfaces(&mut self) {
        let fails_closed = self.fails_closed();
        for (link, table) in self.tables.clone() {
            let Some(name) = self.bare.link(link).map(|l| l.name.clone()) else { continue };
            let mut interface = Interface::default();
            if table != self.config.number(link) {
                let known = self.bare.table_names.get(&table).cloned();
                let table = known.map_or(Table::Number(table), Table::Name);
                interface.table = Some(Setting::default_of(table));
            }
            let gateways: Vec<IpAddr> =
                Family::BOTH.into_iter().filter_map(|f| self.gateway(link, table, f)).collect();
            if !gateways.is_empty() {
                interface.gateway = Some(Setting::default_of(gateways));
            }
            let is_tunnel = |(n, why): &(String, NotUplink)| {
                *n == name && matches!(why, NotUplink::Tunnel { .. })
            };
            if self.plan.others.iter().any(is_tunnel) {
                interface.manage = Some(Setting::default_of(true));
            }
            if fails_closed && !self.refuses(table) {
                interface.on_down = Some(Setting::default_of(OnDown::Fallthrough));
            }
            if interface != Interface::default() {
                self.config.interfaces.insert(name, interface);
            }
        }
    }

    /// The gateway of a table that multihome would not find by itself.
    fn gateway(&self, link: u32, table: u32, family: Family) -> Option<IpAddr> {
        let mut ways: Vec<&Route> = self
            .declared
            .routes
            .iter()
            .filter(|r| r.table == table && r.family() == family && is_way_out(r))
            .collect();
        ways.sort_by_key(|r| r.metric);
        let gateway = ways.first()?.hops.first()?.gateway?;
        let planned = self.plan.uplinks.iter().find(|p| p.uplink.link == link);
        let side = planned.and_then(|p| p.uplink.side(family));
        let found = side.and_then(|s| s.ways.first()).and_then(|w| w.gateway());
        (found != Some(gateway)).then_some(gateway)
    }

    /// Whether refusing is part of what is declared: a recipe without it was never asked.
    fn fails_closed(&self) -> bool {
        self.tables.values().any(|t| self.refuses(*t))
    }

    fn refuses(&self, table: u32) -> bool {
        self.declared.routes.iter().any(|r| r.table == table && r.dst.is_default() && r.refuses())
    }

    /// Rules that choose an uplink by something else than a source.
    fn steers(&mut self) {
        let mut entries: Vec<Steer> = Vec::new();
        for rule in &self.declared.rules {
            let link = rule.table().and_then(|table| self.link_of(table));
            let Some(link) = link.and_then(|link| self.bare.link(link)) else { continue };
            let is_ours = is_mark_of_ours(rule, &self.declared.rules);
            if !is_steering(rule) || is_ours || self.is_to_own(rule) {
                continue;
            }
            let steer = Steer {
                name: None,
                uplink: link.name.clone(),
                to: Vec::new(),
                protocol: rule.ipproto,
                port: rule.dport,
                uid: rule.uidrange,
                iif: rule.iif.clone().filter(|name| name != "lo"),
                fwmark: rule.fwmark,
                dscp: rule.dscp.map(|(dscp, _)| dscp),
                unless_down: UnlessDown::default(),
                origin: crate::config::Origin::Default,
            };
            let to = rule.to.filter(|p| !p.is_default());
            let same = entries.iter_mut().find(|e| {
                e.to.is_empty() == to.is_none() && Steer { to: Vec::new(), ..(*e).clone() } == steer
            });
            match same {
                Some(entry) => {
                    entry.to.extend(to.filter(|p| !entry.to.contains(p)));
                }
                None => entries.push(Steer { to: to.into_iter().collect(), ..steer }),
            }
        }
        self.config.steers = entries;
    }

    fn rules_left(&mut self) {
        let mut left = Vec::new();
        for rule in &self.declared.rules {
            let link = rule.table().and_then(|t| self.link_of(t));
            let is_mark = is_mark_of_ours(rule, &self.declared.rules);
            let is_kept = match rule.from.filter(|p| !p.is_default()) {
                Some(from) if self.is_stale(from) => {
                    left.push(Left::Stale(rule.clone()));
                    continue;
                }
                // What the link's own addresses send, and nobody else: what is forwarded from a network
                // behind this host is not led by its source.
                Some(from) => {
                    is_local(rule)
                        || rule.table() == Some(TABLE_MAIN)
                        || is_plain(rule) && link.is_some_and(|link| self.is_of(link, from))
                }
                None if rule.oif.is_some() => link.is_some() && is_plain(rule),
                None if is_steering(rule) => {
                    rule.suppress_ifgroup.is_some() || link.is_some() && !self.is_to_own(rule)
                }
                None => is_mark,
            };
            let is_jump = matches!(rule.action, Action::Goto(_) | Action::Nop);
            if !is_kept && !is_mark && !is_jump {
                left.push(Left::Rule(rule.clone()));
            }
        }
        self.left.extend(left);
    }

    /// The link whose table this is.
    fn link_of(&self, table: u32) -> Option<u32> {
        self.tables.iter().find(|(_, t)| **t == table).map(|(link, _)| *link)
    }

    /// Whether a prefix holds an address of this link, and none of another one.
    fn is_of(&self, link: u32, from: Prefix) -> bool {
        let held = || self.bare.addresses().filter(|a| from.contains(a.local));
        held().any(|a| a.link == link) && held().all(|a| a.link == link)
    }

    /// Whether a source is an address that nobody has: neither this host, nor a network behind it.
    fn is_stale(&self, from: Prefix) -> bool {
        let is_behind =
            |network: Prefix, link: u32| !self.tables.contains_key(&link) && network.covers(&from);
        from.is_host()
            && !self.bare.addresses().any(|a| from.contains(a.local))
            && !self.bare.addresses().any(|a| is_behind(a.network(), a.link))
            && !self
                .bare
                .routes_in(TABLE_MAIN)
                .filter(|r| !r.dst.is_default())
                .any(|r| r.hops.iter().any(|h| is_behind(r.dst, h.link)))
    }

    /// Whether a rule is for what is sent to the host's own addresses: `local` is asked before it.
    fn is_to_own(&self, rule: &Rule) -> bool {
        let is_own =
            |to: Prefix| to.is_host() && self.bare.addresses().any(|a| to.contains(a.local));
        rule.to.is_some_and(is_own)
    }

    /// Routes that no table of the plan has.
    fn routes_left(&mut self) {
        let plan = plan::make(&self.bare, &self.config, &Memory::default());
        let mut left = Vec::new();
        for route in &self.declared.routes {
            let of_plan = |r: &&Route| {
                let hop = |r: &Route| r.hops.first().map(|h| (h.link, h.gateway));
                r.dst == route.dst && hop(r) == hop(route)
            };
            let is_ours = !is_own_table(route.table)
                || route.refuses() && route.dst.is_default()
                || route.dst.is_default() && is_way_out(route)
                || plan.routes.iter().any(|r| of_plan(&r));
            // The connected ones of another link are what keeps its networks local.
            let elsewhere = route.hops.first().is_some_and(|h| !self.tables.contains_key(&h.link))
                && self.bare.routes_in(TABLE_MAIN).any(|r| r.dst == route.dst);
            if !is_ours && !elsewhere {
                left.push(Left::Route(route.clone()));
            }
        }
        self.left.extend(left);
    }
}

/// Whether a table is one that somebody gives an uplink.
fn is_own_table(table: u32) -> bool {
    !matches!(table, 0 | TABLE_MAIN | TABLE_LOCAL | TABLE_DEFAULT)
}

/// Whether a route is a way out: a default that leads somewhere.
fn is_way_out(route: &Route) -> bool {
    route.dst.is_default() && route.kind == RouteKind::Unicast && route.src.is_none()
}

/// Whether a rule keeps local what is local: it asks main about an address's answers first.
fn is_local(rule: &Rule) -> bool {
    rule.from.is_some()
        && (rule.suppress_ifgroup.is_some()
            || rule.table() == Some(TABLE_MAIN)
                && (rule.suppress_prefixlength.is_some() || rule.to.is_some()))
}

/// Whether a rule says nothing beside whose packets it is for.
fn is_plain(rule: &Rule) -> bool {
    let bare = Rule {
        from: None,
        oif: None,
        iif: rule.iif.clone().filter(|name| name != "lo"),
        ..rule.clone()
    };
    bare.is_for_all() && rule.to.is_none() && rule.fwmark.is_none()
}

/// Whether a rule chooses by something else than a source or a device, which configuration can say.
fn is_steering(rule: &Rule) -> bool {
    let says = rule.to.is_some_and(|p| !p.is_default())
        || rule.ipproto.is_some()
        || rule.dport.is_some()
        || rule.uidrange.is_some()
        || rule.fwmark.is_some()
        || rule.dscp.is_some()
        || rule.iif.as_deref().is_some_and(|name| name != "lo");
    says && !rule.not
        && rule.from.is_none()
        && rule.oif.is_none()
        && rule.sport.is_none()
        && rule.tos.is_none()
        && rule.other.is_empty()
        && !rule.l3mdev
}

/// Whether a rule looks up a mark of our nft table: one with a mask, beside the rule that asks main
/// of all that bears any.
fn is_mark_of_ours(rule: &Rule, all: &[Rule]) -> bool {
    let Some((_, mask)) = rule.fwmark else { return false };
    all.iter().any(|r| r.family == rule.family && r.not && r.fwmark == Some((0, mask)))
}

/// Whether a route is what a declared one of its table and destination comes to. Managers put in
/// metrics, sources and scopes of their own, so those do not count.
fn is_made_by(route: &Route, declared: &Route) -> bool {
    let leads = |r: &Route| -> Vec<(u32, Option<IpAddr>)> {
        if r.kind == RouteKind::Unicast {
            r.hops.iter().map(|h| (h.link, h.gateway)).collect()
        } else {
            Vec::new() // IPv6 shows a refusal as one that leads to the loopback
        }
    };
    route.kind == declared.kind && route.tos == declared.tos && leads(route) == leads(declared)
}

/// A rule likewise.
fn anybodys_rule(rule: &Rule) -> Rule {
    Rule { protocol: 0, ..rule.clone() }
}
