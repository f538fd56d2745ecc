//! What is asked before the rule block: jumps over the rules of others, marks, steering.
//!
//! Most hosts have none of it. With n priorities that end below `base`, and below every rule that
//! is jumped over:
//!
//! ```text
//! f:     from P goto base                                        # answers jump over what is in between
//! f+1:   not fwmark 0/MASK lookup main suppress_prefixlength 7 suppress_ifgroup G
//!        iif NAME lookup main suppress_prefixlength 7 suppress_ifgroup G    # beside a tunnel
//! f+2:   fwmark MARK/MASK lookup TABLE                           # replies of translated connections
//! f+3:   from OWN goto ...                                       # who has a source is not steered
//! f+4:   to D ... lookup main suppress_prefixlength L suppress_ifgroup G
//! f+5:   to D ... lookup TABLE                                   # one pair for each [[steer]]
//! ```
//!
//! The jumps are there where something would come in between: a tunnel's catch-all
//! ([`crate::catch_all`]), or our own steering, which must never take an answer. A rule is added
//! in front of all others where somebody gives none of its own priorities (`fib_default_rule_pref`),
//! so nothing that we could reserve would keep us in front; but nobody needs to be in front who
//! can be reached from there.
//!
//! Where it lies follows from the rules that are there and from nothing else: when a tunnel goes,
//! what was made for it goes.

use std::collections::BTreeSet;

use crate::catch_all::CatchAll;
use crate::model::names::TABLE_LOCAL;
use crate::model::{Action, Rule, Snapshot};
use crate::prefix::{Family, Prefix};
use crate::rules;

/// What is wanted in front of the block of one family.
#[derive(Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// What others have that answers must jump over.
    pub(crate) overtaken: &'a [CatchAll],
    /// The lowest priority of what takes packets by a mark: ours bear one, and must not be taken.
    pub(crate) before: Option<u32>,
    /// The fewest prefixes that hold all managed sources.
    pub(crate) sources: Vec<Prefix>,
    /// Marks, in the order in which they are asked; their priorities count from 0.
    pub(crate) marks: Vec<Rule>,
    /// The fewest prefixes that hold all of the host's own addresses: who has a source is not steered.
    pub(crate) own: Vec<Prefix>,
    /// Steering, as marks.
    pub(crate) steers: Vec<Rule>,
}

/// There is no room left in front of the rules that are to be jumped over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// The rules in front of a block that begins with the rule of priority `block`.
///
/// # Errors
/// When the rules that are to be jumped over leave no priorities.
pub(crate) fn rules(
    snapshot: &Snapshot,
    family: Family,
    block: u32,
    wanted: Wanted<'_>,
) -> Result<Vec<Rule>, NoRoom> {
    let Wanted { overtaken, before, sources, marks, own, steers } = wanted;
    let captors = overtaken.iter().map(|c| c.rule.priority);
    let limit = captors.chain(before).chain([block]).min().unwrap_or(block);
    let jump = |from: &[Prefix], action| -> Vec<Rule> {
        let rule = |p: &Prefix| Rule {
            from: Some(*p),
            iif: rules::only_own_traffic(*p),
            ..Rule::new(family, 0, action)
        };
        from.iter().map(rule).collect()
    };
    let target = landing(snapshot, family, overtaken, block, &sources);
    let over = if overtaken.is_empty() { &[][..] } else { &sources[..] };
    let past = if steers.is_empty() { &[][..] } else { &own[..] };
    let mut parts = vec![
        jump(over, Action::Goto(target)),
        marks,
        // What is asked next when nothing of ours is steered.
        jump(past, Action::Goto(limit)),
        steers,
    ];
    let at = place(snapshot, family, limit, room(&parts)).ok_or(NoRoom)?;
    // Cilium moves it to 100, and wg-quick's rules, which give no priority, come in front of it: what
    // the jumps lead past, and what the tunnel takes, must not be what finds the host's own addresses.
    // A request is to arrive before it can be answered.
    if !over.is_empty() && local_rule(snapshot, family).is_some_and(|priority| priority >= at) {
        parts.insert(0, vec![Rule::new(family, 0, Action::Lookup(TABLE_LOCAL))]);
    }
    let mut at = place(snapshot, family, limit, room(&parts)).ok_or(NoRoom)?;
    let mut placed = Vec::new();
    for part in parts {
        let room = room_of(&part);
        placed.extend(part.into_iter().map(|r| Rule { priority: at + r.priority, ..r }));
        at += room;
    }
    Ok(placed)
}

/// Where a jump ends: at the first rule behind the last one that is jumped over. What somebody has put
/// in between for other reasons is asked as before, but never somebody who leads the same sources by
/// tables of his own: what was jumped over kept local networks from him.
fn landing(
    snapshot: &Snapshot,
    family: Family,
    overtaken: &[CatchAll],
    block: u32,
    sources: &[Prefix],
) -> u32 {
    let Some(last) = overtaken.iter().map(|c| c.rule.priority).max() else { return block };
    let others = || snapshot.rules().filter(|r| r.family == family && !r.is_ours());
    let behind = || others().filter(|r| (last + 1..block).contains(&r.priority));
    let takes_ours = |r: &&Rule| {
        r.is_by_source_alone() && r.from.is_some_and(|f| sources.iter().any(|s| s.overlaps(&f)))
    };
    let last_rival = behind().filter(takes_ours).map(|r| r.priority).max().unwrap_or(last);
    behind().map(|r| r.priority).filter(|p| *p > last_rival).min().unwrap_or(block)
}

/// How many priorities rules take that count theirs from 0.
fn room_of(part: &[Rule]) -> u32 {
    part.iter().map(|r| r.priority + 1).max().unwrap_or(0)
}

fn room(parts: &[Vec<Rule>]) -> u32 {
    parts.iter().map(|part| room_of(part)).sum()
}

/// The priority of the rule that finds the host's own addresses.
fn local_rule(snapshot: &Snapshot, family: Family) -> Option<u32> {
    let mut rules = snapshot.rules().filter(|r| r.family == family && !r.is_ours());
    rules.find(|r| r.table() == Some(TABLE_LOCAL) && r.is_for_all()).map(|r| r.priority)
}

/// The highest priority from which `room` of them end below `limit`, none of them somebody
/// else's.
fn place(snapshot: &Snapshot, family: Family, limit: u32, room: u32) -> Option<u32> {
    let taken: BTreeSet<u32> = snapshot
        .rules()
        .filter(|r| r.family == family && !r.is_ours() && r.priority < limit)
        .map(|r| r.priority)
        .collect();
    let mut end = limit;
    if room == 0 {
        return Some(end);
    }
    loop {
        // Priority 0 is the kernel's own.
        let start = end.checked_sub(room).filter(|s| *s > 0)?;
        match taken.range(start..end).next() {
            Some(other) => end = *other,
            None => return Some(start),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(priorities: &[u32]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for priority in priorities {
            let rule = Rule::new(Family::V4, *priority, Action::Lookup(100));
            snapshot.insert_rule(Rule { protocol: 4, ..rule });
        }
        snapshot
    }

    #[test]
    fn a_place_ends_below_the_limit_and_holds_nobody_else() {
        let place = |taken: &[u32], limit, room| place(&with(taken), Family::V4, limit, room);
        assert_eq!(place(&[], 10_000, 3), Some(9_997));
        assert_eq!(place(&[9_999], 10_000, 3), Some(9_996));
        assert_eq!(place(&[9_998, 9_995], 9_998, 3), Some(9_992));
        assert_eq!(place(&[4], 5, 3), Some(1));
        assert_eq!(place(&[4], 4, 4), None);
        assert_eq!(place(&[1], 1, 1), None);
    }
}
