//! `[[steer]]`: what the host starts itself, or forwards, by a chosen uplink.
//!
//! Each entry is a rule that looks its traffic up in the table of the uplink. In front of it the
//! same selectors ask main, and there an answer counts that leaves by a link which is no uplink
//! and is narrower than what is steered: what a container or a storage network has stays theirs.
//!
//! The first look-up of a socket without a source ends in the uplink's table, which gives it an
//! address of the uplink; from then on the rules for that address lead the same way. So a
//! connection stays where it began, also when its rule changes.

use serde::Serialize;

use crate::config::{Config, OnDown, Steer, UnlessDown};
use crate::model::names::TABLE_MAIN;
use crate::model::{Action, Rule, Snapshot};
use crate::plan::Planned;
use crate::prefix::{Family, Prefix};
use crate::rules::suppressed_length;

/// What has become of an entry in one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Steered {
    /// Which entry, counted from 0.
    pub entry: usize,
    /// Its family.
    pub family: Family,
    /// By what it goes.
    pub by: By,
    /// Whether that uplink cannot carry it: nobody can.
    pub is_stuck: bool,
    /// Its rules, in the order in which they are asked.
    pub rules: Vec<Rule>,
}

/// By what steered traffic goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// By the uplink that was chosen.
    Chosen(String),
    /// By this one, while the chosen one cannot carry it.
    Instead(String),
    /// It is refused: the chosen one cannot carry it, and nothing else may.
    Refused,
    /// As main sends it: the chosen uplink cannot carry it, and there is no other.
    Main,
}

/// What the entries come to in a family; the priorities of the rules count from 0.
pub(crate) fn plan(
    snapshot: &Snapshot,
    config: &Config,
    uplinks: &[Planned],
    family: Family,
) -> Vec<Steered> {
    let mut steered = Vec::new();
    let mut next = 0;
    for (entry, steer) in config.steers.iter().enumerate() {
        let prefixes = steer.prefixes(family);
        if prefixes.is_empty() {
            continue;
        }
        let (by, action, is_stuck) = choose(snapshot, uplinks, family, steer);
        let mut rules = Vec::new();
        if let Some(action) = action {
            // A table without a refusal of its own lets it go on to main.
            let falls = config.on_down(&steer.uplink) == OnDown::Fallthrough;
            let refuses = steer.unless_down == UnlessDown::Fail && falls;
            for prefix in prefixes {
                rules.extend(local(family, next, steer, prefix, config.group()));
                rules.push(rule(family, next + 1, steer, prefix, action));
                if refuses && matches!(action, Action::Lookup(_)) {
                    rules.push(rule(family, next + 2, steer, prefix, Action::Unreachable));
                }
            }
            next += 2 + u32::from(refuses);
        }
        steered.push(Steered { entry, family, by, is_stuck, rules });
    }
    steered
}

/// By what an entry's traffic goes, where it is looked up, and whether that leads nowhere.
fn choose(
    snapshot: &Snapshot,
    uplinks: &[Planned],
    family: Family,
    steer: &Steer,
) -> (By, Option<Action>, bool) {
    let served = || uplinks.iter().filter(|p| to(p, family).is_some());
    let carries = |p: &&Planned| {
        let has_way = p.side(family).is_some_and(|s| !s.ways.is_empty());
        has_way && snapshot.link(p.uplink.link).is_some_and(|l| l.is_up() && l.has_carrier())
    };
    let chosen = served().find(|p| p.uplink.name == steer.uplink);
    if let Some(chosen) = chosen.filter(carries) {
        return (By::Chosen(chosen.uplink.name.clone()), to(chosen, family), false);
    }
    if steer.unless_down == UnlessDown::Fail {
        // At once: routes of a link without carrier are used all the same.
        return (By::Refused, Some(Action::Unreachable), false);
    }
    let defaults = snapshot.main_defaults(family);
    let mains = defaults.first().and_then(|r| r.hops.first()).map(|h| h.link);
    let others = || served().filter(|p| p.uplink.name != steer.uplink).filter(carries);
    let next = others().find(|p| Some(p.uplink.link) == mains).or_else(|| others().next());
    match (next, chosen) {
        (Some(next), _) => (By::Instead(next.uplink.name.clone()), to(next, family), false),
        (None, Some(chosen)) => (By::Chosen(chosen.uplink.name.clone()), to(chosen, family), true),
        (None, None) => (By::Main, None, false),
    }
}

/// Where an uplink's traffic is looked up: in its table, or in main when it is left to that. None when
/// it has no part in the family, or is left as it is.
fn to(planned: &Planned, family: Family) -> Option<Action> {
    planned.side(family)?;
    planned.table.or(planned.uplink.primary.then_some(TABLE_MAIN)).map(Action::Lookup)
}

/// The rule that leaves to main what others have inside `prefix`; none where nothing can be
/// narrower.
fn local(family: Family, priority: u32, steer: &Steer, prefix: Prefix, group: u32) -> Option<Rule> {
    let rule = rule(family, priority, steer, prefix, Action::Lookup(TABLE_MAIN));
    let least = u32::from(prefix.len()).max(suppressed_length(family));
    (!prefix.is_host()).then_some(Rule {
        suppress_prefixlength: Some(least),
        suppress_ifgroup: Some(group),
        ..rule
    })
}

fn rule(family: Family, priority: u32, steer: &Steer, prefix: Prefix, action: Action) -> Rule {
    Rule {
        to: (!prefix.is_default()).then_some(prefix),
        iif: steer.iif.clone(),
        fwmark: steer.fwmark,
        ipproto: steer.protocol,
        dport: steer.port,
        uidrange: steer.uid,
        dscp: steer.dscp.map(|d| (d, crate::model::rule::DSCP_FULL)),
        ..Rule::new(family, priority, action)
    }
}
