//! Addresses that went a moment ago, and may be back in a moment.
//!
//! Managers take an address away and put it back when they apply a profile once more
//! (NetworkManager's reapply), and DHCP clients flush a card before they configure it anew.
//! Rules that went with the address would be missing when it is back, for as long as it takes
//! to make them: answers in between leave by the wrong door. So what an address leaves behind
//! stays for two seconds. Its rules match nothing meanwhile, for nobody has the address; with
//! its table's `unreachable default` behind them, what comes too early is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use multihome_core::config::OnDown;
use multihome_core::mirror;
use multihome_core::model::{Action, Address, Route, Rule, Snapshot};
use multihome_core::rules::OIF_OFFSET;
use multihome_core::{Change, Config, Family, Prefix};

/// The links that have lost an address of late.
#[derive(Debug, Default)]
pub struct Departures(BTreeMap<(u32, Family), Instant>);

/// How long what an address leaves behind is kept.
const KEPT: Duration = Duration::from_secs(2);

// ===== impl Departures =====

impl Departures {
    /// Notes that an address went.
    pub fn note(&mut self, address: &Address) {
        // The first counts: who takes addresses away all the time must not keep them for ever.
        self.0.entry((address.link, address.family())).or_insert_with(Instant::now);
    }

    /// Forgets all: what is to go goes now.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Leaves out of `changes` what would remove the leavings of an address that went a moment
    /// ago; says when to come back for them.
    pub fn hold_back(
        &mut self,
        changes: &mut Vec<Change>,
        snapshot: &Snapshot,
        config: &Config,
    ) -> Option<Instant> {
        let now = Instant::now();
        self.0.retain(|_, at| now < *at + KEPT);
        let mut again = None;
        for (&(link, family), at) in &self.0 {
            let left = Leavings::of(snapshot, config, link, family);
            let new: Vec<Rule> = changes
                .iter()
                .filter_map(|c| match c {
                    Change::AddRule(rule) if rule.family == family => Some(rule.clone()),
                    _ => None,
                })
                .collect();
            let before = changes.len();
            changes.retain(|change| !left.holds(change, &new));
            if changes.len() < before {
                left.refuse(changes, snapshot, config);
                let until = *at + KEPT;
                again = Some(again.map_or(until, |first: Instant| first.min(until)));
            }
        }
        again
    }
}

/// What an uplink has left behind in one family.
struct Leavings {
    link: u32,
    family: Family,
    table: Option<u32>,
    sources: BTreeSet<Prefix>,
}

impl Leavings {
    fn of(snapshot: &Snapshot, config: &Config, link: u32, family: Family) -> Leavings {
        let ours = || snapshot.rules().filter(move |r| r.is_ours() && r.family == family);
        // The uplink may be none any more, or its link be gone; its rule for bound sockets tells.
        let bound = config.number(link) + OIF_OFFSET;
        let table = ours().find(|r| r.priority == bound).and_then(Rule::table);
        let home = ours().filter(|r| table.is_some() && r.table() == table);
        Leavings { link, family, table, sources: home.filter_map(|r| r.from).collect() }
    }

    /// Whether a change would take away what is to stay. A rule goes at once where a `new` one is
    /// for its packets, as when another card has the address by now, or where rules jump: of a tree
    /// no part is kept.
    fn holds(&self, change: &Change, new: &[Rule]) -> bool {
        let in_the_way = |rule: &Rule| {
            new.iter().any(|n| {
                let shares = |a: Option<Prefix>, b: Option<Prefix>| {
                    a.zip(b).is_some_and(|(a, b)| a.overlaps(&b))
                };
                n.action == Action::Nop
                    || matches!(n.action, Action::Goto(_))
                    // Of one uplink's, the narrower and the wider one say the same; those for what is
                    // local come with one that leads to a table, which says whose they are.
                    || n.table() != self.table
                        && n.suppress_ifgroup.is_none()
                        && shares(n.from, rule.from)
                    || n.oif.is_some() && n.oif == rule.oif
            })
        };
        match change {
            Change::DelRule(rule) => {
                let is_its = |from: &Prefix| self.sources.contains(from);
                rule.family == self.family
                    && (self.table.is_some() && rule.table() == self.table
                        || rule.from.as_ref().is_some_and(is_its))
                    && !in_the_way(rule)
            }
            Change::DelRoute(route) => {
                route.family() == self.family && Some(route.table) == self.table
            }
            Change::SetGroup { link, to: 0, .. } => *link == self.link,
            _ => false,
        }
    }

    /// Puts the refusal behind the rules that stay, where somebody took it away: without it they
    /// lead to nothing, and on to main.
    fn refuse(&self, changes: &mut Vec<Change>, snapshot: &Snapshot, config: &Config) {
        let Some(table) = self.table else { return };
        let name = snapshot.link(self.link).map(|l| l.name.as_str());
        let falls = name.is_some_and(|n| config.on_down(n) == OnDown::Fallthrough);
        let refusal = mirror::refusal(table, self.family);
        let is_there = snapshot.routes_at(&refusal.key()).iter().any(Route::is_ours);
        let is_made = changes.iter().any(|c| matches!(c, Change::AddRoute(r) if *r == refusal));
        if !falls && !is_there && !is_made {
            changes.insert(0, Change::AddRoute(refusal));
        }
    }
}

#[cfg(test)]
mod tests {
    use multihome_core::model::names::TABLE_MAIN;

    use super::*;

    fn rule(priority: u32, from: &str, table: u32) -> Rule {
        let from = Some(from.parse().unwrap());
        let suppress_ifgroup = (table == TABLE_MAIN).then_some(10_000);
        let rule = Rule::new(Family::V4, priority, Action::Lookup(table));
        Rule { from, suppress_ifgroup, ..rule }
    }

    /// Rules of an uplink with table 10003 whose two addresses are one prefix.
    fn left() -> Leavings {
        let sources = BTreeSet::from(["10.0.1.204/31".parse().unwrap()]);
        Leavings { link: 3, family: Family::V4, table: Some(10_003), sources }
    }

    /// NetworkManager puts an address in front of another one: for some milliseconds the second is
    /// alone, and its rules are new.
    #[test]
    fn rules_of_an_address_that_went_stay_beside_those_of_one_that_is_left() {
        let new = [rule(10_000, "10.0.1.205", TABLE_MAIN), rule(10_003, "10.0.1.205", 10_003)];
        for (priority, table) in [(10_000, TABLE_MAIN), (10_003, 10_003)] {
            let change = Change::DelRule(rule(priority, "10.0.1.204/31", table));
            assert!(left().holds(&change, &new), "{change:?}");
        }
    }

    #[test]
    fn they_go_at_once_when_another_uplink_has_the_address() {
        let new = [rule(10_000, "10.0.1.204", TABLE_MAIN), rule(10_002, "10.0.1.204", 10_002)];
        for (priority, table) in [(10_000, TABLE_MAIN), (10_003, 10_003)] {
            let change = Change::DelRule(rule(priority, "10.0.1.204/31", table));
            assert!(!left().holds(&change, &new), "{change:?}");
        }
    }
}
