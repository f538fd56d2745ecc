//! All rules of a plan: the block of each family ([`crate::rules`]) and what stands in front of it
//! ([`crate::front`]).

use std::collections::BTreeSet;

use crate::catch_all::{self, CatchAll, SplitTunnel, Takes};
use crate::config::{Config, Precedence};
use crate::cover;
use crate::front;
use crate::model::{Action, Rule, Snapshot};
use crate::plan::{ForeignSources, Note, Plan, Planned};
use crate::prefix::{Family, Prefix, is_global};
use crate::return_path::{self, Decision, Trouble};
use crate::rules::{self, Member};
use crate::steer::{self, By, Steered};

/// What the rules follow from beside the uplinks.
pub(crate) struct Rulings<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) config: &'a Config,
    pub(crate) foreign: &'a ForeignSources,
    /// Links that lead somewhere and have no global address.
    pub(crate) leading: &'a BTreeSet<u32>,
}

/// What stands in the way of answers, and what they are to reach all the same.
struct Others {
    captors: Vec<CatchAll>,
    tunnels: Vec<SplitTunnel>,
    /// The lowest priority of what takes packets by a mark.
    by_mark: Option<u32>,
}

impl Rulings<'_> {
    /// Makes the rules of a plan anew, and says what was decided for translated connections.
    pub(crate) fn make(&self, plan: &mut Plan) -> Decision {
        let mut decision = return_path::decide(self.snapshot, self.config, &plan.uplinks);
        plan.rules.clear();
        plan.steered.clear();
        plan.overtaken.clear();
        plan.notes.clear();
        for family in Family::BOTH {
            self.family(family, plan, &mut decision);
        }
        decision
    }

    fn family(&self, family: Family, plan: &mut Plan, decision: &mut Decision) {
        let config = self.config;
        let members = members(&plan.uplinks, family);
        let mut steered = steer::plan(self.snapshot, config, &plan.uplinks, family);
        if members.is_empty() && steered.iter().all(|s| s.rules.is_empty()) {
            plan.steered.extend(steered);
            return;
        }
        let yields = config.precedence.value == Precedence::Yield;
        let others = self.others(family, plan, &members, decision, yields);
        let overtaken = if yields { &[][..] } else { &others.captors[..] };
        let links: BTreeSet<u32> = members.iter().map(|m| m.link).collect();
        let strangers = self.foreign.but(&links, family);
        let all: Vec<Prefix> = members.iter().flat_map(|m| m.prefixes.iter().copied()).collect();
        let sources = cover::cover(family, all, strangers.clone());
        // What this host sends itself has no other sources, so what else lies in between is nobody's.
        let own = if steered.is_empty() { Vec::new() } else { own(self.snapshot, family) };
        let block = if members.is_empty() {
            // Where jumps end.
            vec![Rule::new(family, config.base.value, Action::Nop)]
        } else {
            rules::block(family, config, &members, strangers, &others.tunnels)
        };
        let start = block.iter().filter(|r| r.oif.is_none()).map(|r| r.priority).min();
        let start = start.unwrap_or(config.base.value);
        let takes_all = |c: &CatchAll| matches!(c.takes, Takes::Everything(_));
        let arrivals: Vec<String> = if overtaken.iter().any(takes_all) {
            members.iter().map(|m| m.name.clone()).collect()
        } else {
            Vec::new()
        };
        let wanted = |steered: &[Steered]| front::Wanted {
            overtaken,
            before: others.by_mark,
            sources: sources.clone(),
            own: own.clone(),
            marks: return_path::rules(&decision.marks, family, config.group(), &arrivals),
            steers: steered.iter().flat_map(|s| s.rules.iter().cloned()).collect(),
        };
        let mut front = front::rules(self.snapshot, family, start, wanted(&steered));
        if front.is_err() {
            // Answers come first.
            for steered in steered.iter_mut().filter(|s| !s.rules.is_empty()) {
                steered.rules.clear();
                steered.by = By::Main;
            }
            front = front::rules(self.snapshot, family, start, wanted(&steered));
        }
        let no_room = front.is_err();
        if let Ok(front) = front {
            place_steers(&mut steered, &front);
            plan.rules.extend(front);
            plan.notes.extend(overtaken.iter().cloned().map(Note::Overtaken));
            plan.overtaken.extend_from_slice(overtaken);
        } else if decision.marks.families.remove(&family) {
            decision.trouble.push(Trouble::NoRoom(family));
        }
        if yields || no_room {
            let captured = others.captors.into_iter().map(|by| Note::Captured { by, no_room });
            plan.notes.extend(captured);
        }
        plan.rules.extend(block);
        plan.steered.extend(steered);
    }

    fn others(
        &self,
        family: Family,
        plan: &Plan,
        members: &[Member],
        decision: &Decision,
        yields: bool,
    ) -> Others {
        let is_uplink = |link: u32| {
            self.leading.contains(&link) || plan.uplinks.iter().any(|p| p.uplink.link == link)
        };
        let (front, behind): (Vec<CatchAll>, Vec<CatchAll>) =
            catch_all::find(self.snapshot, family, &is_uplink)
                .into_iter()
                .partition(|c| c.rule.priority < self.config.base.value);
        let leads_astray = |c: &CatchAll| members.iter().any(|m| !c.leads_by(m.link));
        let captors: Vec<CatchAll> =
            front.into_iter().filter(|c| c.captures() && leads_astray(c)).collect();
        // Those in front of us that nobody jumps over are asked anyway.
        let overtaken = if yields { &[][..] } else { &captors[..] };
        let mut tunnels: Vec<SplitTunnel> = overtaken
            .iter()
            .chain(&behind)
            .filter_map(|c| c.split_tunnel(self.snapshot, &is_uplink))
            .filter(|t| members.iter().all(|m| m.table != t.table))
            .collect();
        tunnels.sort();
        tunnels.dedup();
        let has_marks = decision.marks.families.contains(&family) && !yields;
        let by_mark = if has_marks {
            let all = catch_all::for_marks(self.snapshot, family, &is_uplink);
            all.iter().filter(|c| c.captures()).map(|c| c.rule.priority).min()
        } else {
            None
        };
        Others { captors, tunnels, by_mark }
    }

    /// The uplinks by which something comes back whose way back a strict filter does not see: replies of
    /// translated connections, and of what is forwarded and steered. The filter asks without the link
    /// that it was forwarded from, without the mark and without the DSCP (`fib_validate_source`).
    pub(crate) fn returning(&self, plan: &Plan, decision: &Decision) -> BTreeSet<u32> {
        let translated = decision.marks.families.contains(&Family::V4);
        let has_mark = |p: &&Planned| {
            translated && p.table.is_some_and(|t| decision.marks.tables.values().any(|of| *of == t))
        };
        let forwards = return_path::forwards(self.snapshot, Family::V4);
        let forwarded = |p: &&Planned| {
            plan.steered.iter().filter(|s| s.family == Family::V4).any(|s| {
                let by = match &s.by {
                    By::Chosen(name) | By::Instead(name) => name,
                    By::Refused | By::Main => return false,
                };
                let steer = &self.config.steers[s.entry];
                let unseen = steer.fwmark.is_some() || steer.dscp.is_some();
                let is_forwarded = steer.iif.is_some() || forwards && unseen && steer.uid.is_none();
                is_forwarded && *by == p.uplink.name
            })
        };
        let returns = |p: &&Planned| has_mark(p) || forwarded(p);
        plan.uplinks.iter().filter(returns).map(|p| p.uplink.link).collect()
    }
}

/// What the uplinks of a family have for the rule block.
fn members(uplinks: &[Planned], family: Family) -> Vec<Member> {
    let member = |p: &Planned| {
        let table = p.table?;
        p.side(family)?;
        Some(Member {
            link: p.uplink.link,
            number: p.number,
            table,
            name: p.uplink.name.clone(),
            prefixes: p.prefixes.iter().filter(|x| x.family() == family).copied().collect(),
        })
    };
    uplinks.iter().filter_map(member).collect()
}

/// The fewest prefixes that hold all addresses of the host.
fn own(snapshot: &Snapshot, family: Family) -> Vec<Prefix> {
    let all = snapshot.addresses().filter(|a| a.family() == family && is_global(a.local));
    cover::cover(family, all.map(|a| Prefix::host(a.local)).collect(), Vec::new())
}

/// Gives the rules of steering the priorities that they have got in front of the block.
fn place_steers(steered: &mut [Steered], front: &[Rule]) {
    let count: usize = steered.iter().map(|s| s.rules.len()).sum();
    let mut placed = front[front.len() - count.min(front.len())..].iter();
    for rule in steered.iter_mut().flat_map(|s| &mut s.rules) {
        if let Some(at) = placed.next() {
            rule.clone_from(at);
        }
    }
}
