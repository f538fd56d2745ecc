//! What should be there.
//!
//! One pure function of a snapshot, a configuration and what is remembered. It finds the
//! uplinks, gives each its table ([`crate::mirror`]) and its rules ([`crate::rules`]), and
//! says which links belong into the link group. Numbers that somebody else uses are left
//! alone: the uplink that would need them is frozen as it is, and the plan says so.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::catch_all::CatchAll;
use crate::config::{BAND, Config, Origin, Table};
use crate::conflict::{self, Conflict};
use crate::cover;
use crate::memory::Memory;
use crate::mirror;
use crate::model::hint::Refused;
use crate::model::{Action, ReturnPath, Route, Rule, Snapshot};
use crate::prefix::{Family, Prefix};
use crate::return_path::{Decision, Marks, Trouble};
use crate::rival::{self, Rival};
use crate::rulings::Rulings;
use crate::settings::{self, Setting};
use crate::steer::{By, Steered};
use crate::uplink::{self, NotUplink, Side, Uplink};

/// What should be there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The uplinks and what is made for each.
    pub uplinks: Vec<Planned>,
    /// Interfaces with a global address that are not uplinks: name and reason.
    pub others: Vec<(String, NotUplink)>,
    /// All rules of ours, in the order in which the kernel asks them.
    pub rules: Vec<Rule>,
    /// All routes of ours, in the order in which they can be added.
    pub routes: Vec<Route>,
    /// What becomes of the nft table.
    pub return_path: Returning,
    /// The marks that it sets, as rules look them up.
    pub marks: Marks,
    /// What has become of each `[[steer]]` entry, for each family that it is for.
    pub steered: Vec<Steered>,
    /// Rules of others that answers jump over.
    pub overtaken: Vec<CatchAll>,
    /// What sysctls should be, by path; those that are not named are none of ours.
    pub sysctls: BTreeMap<String, String>,
    /// Link groups that should be other than they are, by index.
    pub groups: BTreeMap<u32, u32>,
    /// Table names that configuration made up and `rt_tables` does not have yet.
    pub new_table_names: BTreeMap<u32, String>,
    /// What stands in the way.
    pub conflicts: Vec<Conflict>,
    /// What the operator should know, although nothing is wrong.
    pub notes: Vec<Note>,
}

/// What becomes of the nft table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Returning {
    /// It stays as it is: nobody may look.
    #[default]
    Unknown,
    /// There is to be none.
    Nothing,
    /// It is to be this.
    Table(ReturnPath),
}

/// An uplink and what is made for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// The uplink.
    pub uplink: Uplink,
    /// `base + ifindex`.
    pub number: u32,
    /// Its table; none for the primary, which is left to main.
    pub table: Option<u32>,
    /// The prefixes that its rules are for.
    pub prefixes: Vec<Prefix>,
    /// Families in which its numbers are taken by somebody else.
    pub frozen: BTreeSet<Family>,
}

/// What the operator should know, although nothing is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Note {
    /// An uplink is in a link group of somebody else's and stays there. Answers from another
    /// uplink's address to clients on its subnet then leave by it, for main's connected route is
    /// not passed over.
    KeepsGroup {
        /// The uplink.
        name: String,
        /// The group that it is in.
        group: u32,
        /// The group of the uplinks.
        wanted: u32,
    },
    /// No gateway is known for the uplink any more: its traffic is refused, or falls through.
    NoGateway {
        /// The uplink.
        name: String,
        /// In which family.
        family: Family,
    },
    /// It has no default, and its static routes go through several gateways.
    SeveralGateways {
        /// The interface.
        name: String,
        /// In which family.
        family: Family,
    },
    /// Main has no default of this family and refuses instead: a look-up that ends in a refusal
    /// is over (`fib_rules_lookup`), so no rule of ours is asked after it.
    MainRefuses {
        /// The route.
        route: Route,
    },
    /// `primary` names no uplink of this host.
    PrimaryAbsent {
        /// What it says.
        primary: String,
    },
    /// A file that may know a gateway was not believed.
    FileRefused(Refused),
    /// Configuration speaks of an interface that this host does not have.
    InterfaceAbsent {
        /// Its name.
        name: String,
    },
    /// Somebody else does the same job.
    Rival(Rival),
    /// Answers jump over a rule of somebody else's.
    Overtaken(CatchAll),
    /// A rule of somebody else's takes answers, and that is not changed.
    Captured {
        /// The rule.
        by: CatchAll,
        /// Whether there is no room in front of it; otherwise configuration wants it so.
        no_room: bool,
    },
    /// Replies of translated connections are not led home, or not all of them.
    ReturnPath(Trouble),
    /// A sysctl is in the way, and configuration wants it only named.
    Sysctl(Setting),
    /// Steering names an uplink that this host does not have, or that has no table of its own.
    SteerAbsent {
        /// Which uplink.
        uplink: String,
        /// Where that is said.
        origin: Origin,
        /// By what its traffic goes.
        by: By,
    },
}

/// Makes the plan.
#[must_use]
pub fn make(snapshot: &Snapshot, config: &Config, memory: &Memory) -> Plan {
    let found = uplink::find(snapshot, config, memory);
    let mut plan = Plan { others: found.others, ..Plan::default() };
    let foreign = ForeignSources::of(snapshot, config, &found.uplinks);
    for uplink in found.uplinks {
        let planned = outline(snapshot, config, &foreign, uplink, &mut plan.new_table_names);
        plan.uplinks.push(planned);
    }
    let made = tables(snapshot, config, &plan.uplinks);
    plan.conflicts = conflict::in_tables(snapshot, &mut plan.uplinks, &made);
    let rulings = Rulings { snapshot, config, foreign: &foreign, leading: &found.leading };
    let mut decision = rulings.make(&mut plan);
    // A rule of somebody else's at one of our priorities: nobody could say which is asked first.
    // Without the uplinks that are frozen for it the block may need other priorities, so it is
    // looked at again; each round freezes at least one more.
    loop {
        let taken = conflict::in_priorities(snapshot, &plan.rules, &mut plan.uplinks);
        if taken.is_empty() {
            break;
        }
        plan.conflicts.extend(taken);
        decision = rulings.make(&mut plan);
    }
    for (planned, routes) in plan.uplinks.iter().zip(made) {
        plan.routes.extend(routes.into_iter().filter(|r| !planned.frozen.contains(&r.family())));
    }
    keep_frozen(snapshot, &mut plan);
    plan.groups = groups(snapshot, config, &plan, &found.leading);
    plan.notes.extend(notes(snapshot, config, &plan));
    let wanted = settings::wanted(snapshot, &plan.uplinks, &rulings.returning(&plan, &decision));
    let (sysctls, only_named) = settings::split(config, wanted);
    plan.sysctls = sysctls;
    plan.notes.extend(only_named.into_iter().map(Note::Sysctl));
    plan.notes.extend(decision.trouble.iter().cloned().map(Note::ReturnPath));
    plan.marks.clone_from(&decision.marks);
    plan.return_path = match decision {
        Decision { is_known: false, .. } => Returning::Unknown,
        Decision { table: Some(table), .. } => Returning::Table(table),
        _ => Returning::Nothing,
    };
    let undecided = found.undecided.into_iter();
    plan.notes.extend(undecided.map(|(name, family)| Note::SeveralGateways { name, family }));
    let rivals = rival::find(snapshot, &plan);
    plan.notes.extend(rivals.into_iter().map(Note::Rival));
    plan
}

/// What each uplink's table is to hold, if it has one and nothing stands in the way.
fn tables(snapshot: &Snapshot, config: &Config, uplinks: &[Planned]) -> Vec<Vec<Route>> {
    let leaving = mirror::Leaving::of(snapshot, uplinks);
    let of = |planned: &Planned| {
        let Some(table) = planned.table else { return Vec::new() };
        let on_down = config.on_down(&planned.uplink.name);
        let sides = planned.uplink.sides.iter();
        sides.flat_map(|s| mirror::table(&leaving, &planned.uplink, s, table, on_down)).collect()
    };
    uplinks.iter().map(of).collect()
}

/// The plan of a host that multihome has left: nothing of ours, and every link that we put in
/// our group back in the default group.
#[must_use]
pub fn nothing(snapshot: &Snapshot, config: &Config) -> Plan {
    let mut plan = Plan { return_path: Returning::Nothing, ..Plan::default() };
    plan.groups = groups(snapshot, config, &plan, &BTreeSet::new());
    plan
}

/// Addresses and networks that are somebody's, with the link that has them.
pub(crate) struct ForeignSources {
    /// Ordered by prefix, so that those inside a prefix stand together.
    hosts: Vec<(Prefix, u32)>,
    /// Few: one for each subnet that a link is in.
    networks: Vec<(Prefix, u32)>,
    /// What uplinks had before their links went down.
    parked: Vec<(Prefix, u32)>,
}

impl ForeignSources {
    fn of(snapshot: &Snapshot, config: &Config, uplinks: &[Uplink]) -> ForeignSources {
        let mut hosts = Vec::new();
        let mut networks = Vec::new();
        for address in snapshot.addresses() {
            hosts.push((Prefix::host(address.local), address.link));
            if address.prefix_len < address.family().bits() {
                networks.push((address.network(), address.link));
            }
        }
        hosts.sort_unstable();
        networks.sort_unstable();
        networks.dedup();
        let mut foreign = ForeignSources { hosts, networks, parked: Vec::new() };
        for uplink in uplinks.iter().filter(|u| !u.primary) {
            let (table, _) = table_of(snapshot, config, uplink);
            for side in uplink.sides.iter().filter(|s| s.addresses.is_empty()) {
                let kept = foreign.not_moved(snapshot, uplink.link, table, side.family);
                let kept: Vec<(Prefix, u32)> = kept.map(|p| (p, uplink.link)).collect();
                foreign.parked.extend(kept);
            }
        }
        foreign
    }

    /// What an uplink had before its link went down and took its addresses along, but for what
    /// has moved to another link meanwhile.
    fn not_moved(
        &self,
        snapshot: &Snapshot,
        link: u32,
        table: u32,
        family: Family,
    ) -> impl Iterator<Item = Prefix> {
        sources_before(snapshot, family, table)
            .filter(move |p| self.hosts_inside(link, *p).next().is_none())
    }

    /// The addresses that other links than `link` have inside `span`.
    fn hosts_inside(&self, link: u32, span: Prefix) -> impl Iterator<Item = Prefix> {
        let first = self.hosts.partition_point(|(p, _)| *p < Prefix::host(span.address()));
        let inside = self.hosts[first..].iter().take_while(move |(p, _)| span.covers(p));
        inside.filter(move |(_, of)| *of != link).map(|(p, _)| *p)
    }

    /// What other links than `link` have inside `span` or around it.
    fn overlapping(&self, link: u32, span: Prefix) -> impl Iterator<Item = Prefix> {
        let wider = self.networks.iter().chain(&self.parked);
        let wider = wider.filter(move |(p, of)| *of != link && p.overlaps(&span));
        self.hosts_inside(link, span).chain(wider.map(|(p, _)| *p))
    }

    /// What links have that are none of `links`.
    pub(crate) fn but(&self, links: &BTreeSet<u32>, family: Family) -> Vec<Prefix> {
        self.hosts
            .iter()
            .chain(&self.networks)
            .chain(&self.parked)
            .filter(|(p, of)| p.family() == family && !links.contains(of))
            .map(|(p, _)| *p)
            .collect()
    }
}

fn outline(
    snapshot: &Snapshot,
    config: &Config,
    foreign: &ForeignSources,
    uplink: Uplink,
    new_names: &mut BTreeMap<u32, String>,
) -> Planned {
    let number = config.number(uplink.link);
    if uplink.primary {
        let (table, prefixes, frozen) = (None, Vec::new(), BTreeSet::new());
        return Planned { uplink, number, table, prefixes, frozen };
    }
    let (table, new_name) = table_of(snapshot, config, &uplink);
    new_names.extend(new_name.map(|name| (table, name)));
    let prefixes = uplink
        .sides
        .iter()
        .flat_map(|side| prefixes(snapshot, &uplink, table, side, foreign))
        .collect();
    Planned { uplink, number, table: Some(table), prefixes, frozen: BTreeSet::new() }
}

/// The table of an uplink, and its name if that is one that nobody knows yet.
fn table_of(snapshot: &Snapshot, config: &Config, uplink: &Uplink) -> (u32, Option<String>) {
    let number = config.number(uplink.link);
    let setting = config.interface(&uplink.name).and_then(|i| i.table.as_ref());
    match setting.map(|s| &s.value) {
        None => (number, None),
        Some(Table::Number(table)) => (*table, None),
        Some(Table::Name(name)) => {
            match snapshot.table_names.iter().find(|(_, known)| *known == name) {
                Some((table, _)) => (*table, None),
                None => (number, Some(name.clone())),
            }
        }
    }
}

/// What our own rules send to a table: what an uplink's addresses were before it lost them.
fn sources_before(snapshot: &Snapshot, family: Family, table: u32) -> impl Iterator<Item = Prefix> {
    let home = move |r: &&Rule| r.is_ours() && r.family == family && r.table() == Some(table);
    snapshot.rules().filter(home).filter_map(|r| r.from)
}

/// The prefixes that the rules of one side are for.
fn prefixes(
    snapshot: &Snapshot,
    uplink: &Uplink,
    table: u32,
    side: &Side,
    foreign: &ForeignSources,
) -> Vec<Prefix> {
    let family = side.family;
    if side.addresses.is_empty() {
        return foreign.not_moved(snapshot, uplink.link, table, family).collect();
    }
    let is_free = |p: &Prefix| foreign.overlapping(uplink.link, *p).next().is_none();
    let mut own: BTreeSet<Prefix> = BTreeSet::new();
    let mut alone: BTreeMap<Prefix, bool> = BTreeMap::new();
    for address in &side.addresses {
        let network = address.network();
        // IPv6: the on-link network, so that temporary addresses need no rule of their own,
        // unless somebody else lives in it too.
        let whole = family == Family::V6
            && !network.is_host()
            && network.contains(address.local)
            && *alone.entry(network).or_insert_with(|| {
                !cover::reserved(family).iter().any(|r| r.overlaps(&network)) && is_free(&network)
            });
        own.insert(if whole { network } else { Prefix::host(address.local) });
    }
    let span = own.first().zip(own.last()).map(|(a, b)| a.common(b));
    let others = span.map(|s| foreign.overlapping(uplink.link, s).collect()).unwrap_or_default();
    cover::cover(family, own.into_iter().collect(), others)
}

/// Takes over into the plan what is already there for sides that are frozen, so that nothing of
/// it is removed.
fn keep_frozen(snapshot: &Snapshot, plan: &mut Plan) {
    let mut frozen: BTreeSet<(Family, u32)> = BTreeSet::new();
    for planned in plan.uplinks.iter().filter(|p| p.table.is_some()) {
        for family in &planned.frozen {
            frozen.extend(planned.table.map(|table| (*family, table)));
            // Configuration may name another table by now: the one in use stays in use.
            let bound = snapshot.rules().filter(|r| {
                r.is_ours() && r.family == *family && r.oif.as_ref() == Some(&planned.uplink.name)
            });
            frozen.extend(bound.filter_map(|r| Some((*family, r.table()?))));
        }
    }
    // A table that another uplink has is kept by that one's plan.
    frozen.retain(|(family, table)| {
        !plan.uplinks.iter().any(|p| p.table == Some(*table) && p.side(*family).is_some())
    });
    if frozen.is_empty() {
        return;
    }
    let is_frozen = |rule: &Rule| rule.table().is_some_and(|t| frozen.contains(&(rule.family, t)));
    let sources: BTreeSet<Prefix> =
        snapshot.rules().filter(|r| r.is_ours() && is_frozen(r)).filter_map(|r| r.from).collect();
    // Marks and steering are made anew for all.
    let is_anew =
        |r: &Rule| r.from.is_none() && r.oif.is_none() && matches!(r.action, Action::Lookup(_));
    for rule in snapshot.rules().filter(|r| r.is_ours() && !is_anew(r)) {
        let kept = is_frozen(rule)
            || rule.from.is_some_and(|p| sources.contains(&p))
            // The skeleton of a tree serves all of its family.
            || !matches!(rule.action, Action::Lookup(_))
                && frozen.iter().any(|(family, _)| *family == rule.family);
        if kept && !plan.rules.contains(rule) {
            plan.rules.push(rule.clone());
        }
    }
    plan.rules.sort_by_key(|r| (r.family, r.priority));
    for (family, table) in frozen {
        plan.routes.extend(
            snapshot
                .routes_in(table)
                .filter(|r| r.is_ours() && r.family() == family)
                .map(crate::diff::identity),
        );
    }
}

/// The links that belong into another group than they are in: all that lead somewhere belong into
/// the uplinks'.
fn groups(
    snapshot: &Snapshot,
    config: &Config,
    plan: &Plan,
    leading: &BTreeSet<u32>,
) -> BTreeMap<u32, u32> {
    let group = config.group();
    // A group that no rule asks for is of no use to anybody.
    let asked_for = plan.rules.iter().any(|r| r.suppress_ifgroup == Some(group));
    let former = former_groups(snapshot, config);
    let mut groups = BTreeMap::new();
    for link in snapshot.links() {
        let is_uplink = leading.contains(&link.index)
            || plan.uplinks.iter().any(|p| p.uplink.link == link.index);
        let is_free = link.group == 0 || former.contains(&link.group);
        let wanted = match link.group {
            g if g == group && !config.owns_group() => g,
            // A link that is down leads nowhere, and the kernel tells nobody when its group changes
            // (netdev_state_change): it joins when it comes up.
            0 if !link.is_up() => 0,
            _ if is_uplink && is_free && asked_for && config.owns_group() => group,
            g if former.contains(&g) => 0,
            g => g,
        };
        if wanted != link.group {
            groups.insert(link.index, wanted);
        }
    }
    groups
}

/// The groups that are ours to empty: the one in force, and those of another base, which the
/// rules that still ask for them give away. A group of the operator's never has the number of
/// its rules' own band.
fn former_groups(snapshot: &Snapshot, config: &Config) -> BTreeSet<u32> {
    let ours = |family, priority| snapshot.rules_at(family, priority).iter().any(Rule::is_ours);
    let mut groups: BTreeSet<u32> = snapshot
        .rules()
        .filter(|r| r.is_ours())
        .filter_map(|r| Some((r.family, r.priority, r.suppress_ifgroup?)))
        // A list has its local rules at the base; a tree has its end at the end of the band.
        .filter(|(family, priority, group)| {
            priority == group || ours(*family, group.saturating_add(BAND - 1))
        })
        .map(|(_, _, group)| group)
        .collect();
    if config.owns_group() {
        groups.insert(config.group());
    }
    groups
}

fn notes(snapshot: &Snapshot, config: &Config, plan: &Plan) -> Vec<Note> {
    let mut notes = Vec::new();
    let uplinks = &plan.uplinks;
    let wanted = config.group();
    for planned in uplinks {
        let name = &planned.uplink.name;
        let index = planned.uplink.link;
        let now = snapshot.link(index).map_or(0, |l| l.group);
        let group = plan.groups.get(&index).copied().unwrap_or(now);
        if group != wanted && (group != 0 || !config.owns_group()) {
            notes.push(Note::KeepsGroup { name: name.clone(), group, wanted });
        }
        for side in planned.uplink.sides.iter().filter(|s| s.ways.is_empty()) {
            notes.push(Note::NoGateway { name: name.clone(), family: side.family });
        }
    }
    notes.extend(Family::BOTH.into_iter().filter_map(|f| refusal(snapshot, plan, f)));
    if let Some(primary) = &config.primary.value
        && !uplinks.iter().any(|p| p.uplink.primary)
    {
        notes.push(Note::PrimaryAbsent { primary: primary.to_string() });
    }
    notes.extend(snapshot.hints.refused.iter().cloned().map(Note::FileRefused));
    for steered in &plan.steered {
        let steer = &config.steers[steered.entry];
        let is_there =
            |p: &Planned| p.uplink.name == steer.uplink && (p.table.is_some() || p.uplink.primary);
        if !uplinks.iter().any(is_there) {
            let (uplink, origin) = (steer.uplink.clone(), steer.origin.clone());
            notes.push(Note::SteerAbsent { uplink, origin, by: steered.by.clone() });
        }
    }
    for name in config.interfaces.keys().filter(|n| snapshot.link_named(n).is_none()) {
        notes.push(Note::InterfaceAbsent { name: name.clone() });
    }
    notes
}

/// The route of main by which everything is refused, if there is one and it counts.
fn refusal(snapshot: &Snapshot, plan: &Plan, family: Family) -> Option<Note> {
    plan.uplinks.iter().find(|p| p.table.is_some() && p.uplink.side(family).is_some())?;
    let first = *snapshot.main_defaults(family).first()?;
    first.refuses().then(|| Note::MainRefuses { route: first.clone() })
}

// ===== impl Plan and Planned =====

impl Plan {
    /// Whether a rule is one that belongs to this uplink alone.
    #[must_use]
    pub fn is_of(planned: &Planned, rule: &Rule) -> bool {
        match rule.action {
            Action::Lookup(table) if Some(table) == planned.table => true,
            _ => rule.from.is_some_and(|p| planned.prefixes.contains(&p)),
        }
    }
}

impl Planned {
    /// The sides for which something is made.
    fn sides(&self) -> impl Iterator<Item = &Side> {
        self.uplink.sides.iter().filter(|s| !self.frozen.contains(&s.family))
    }

    /// The side of one family, if something is made for it.
    pub(crate) fn side(&self, family: Family) -> Option<&Side> {
        self.sides().find(|s| s.family == family)
    }
}
