//! The return path: replies of connections whose destination was translated go home by the door
//! that the request came in by.
//!
//! See [`crate::model::netfilter`] for what the table does. Here it is decided whether there is
//! one, which bits of the packet mark it takes, and which mark each uplink has.
//!
//! No bit is free everywhere, and two programs that share one without knowing of each other
//! break both: so the bits are chosen among those that nobody on this host uses, as far as can
//! be seen in rules, nftables and iptables. A mask that is in use by our own rules stays as long
//! as nobody else takes its bits; marks stay with their tables.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::config::{Config, ReturnPathMode};
use crate::model::names::TABLE_MAIN;
use crate::model::netfilter::{Held, MarkUse, Netfilter, ReturnPath};
use crate::model::sysctl::conf;
use crate::model::{Action, Names, Rule, Snapshot};
use crate::plan::Planned;
use crate::prefix::Family;
use crate::rules::suppressed_length;

/// What is to be done for translated connections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Decision {
    /// The table, if there is to be one. None also where nobody may look: see `is_known`.
    pub(crate) table: Option<ReturnPath>,
    /// Whether what netfilter holds is known: otherwise the table is left as it is.
    pub(crate) is_known: bool,
    /// The marks that rules look up.
    pub(crate) marks: Marks,
    /// What the operator should know.
    pub(crate) trouble: Vec<Trouble>,
}

/// The marks by which replies of translated connections go home.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Marks {
    /// The bits of the packet mark that are ours.
    pub mask: u32,
    /// The table that each mark is looked up in.
    pub tables: BTreeMap<u32, u32>,
    /// The families that have rules for them; none where nothing is translated.
    pub families: BTreeSet<Family>,
}

/// Why translated connections, or some of them, are not led home.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// The configured bits are somebody else's.
    MarksTaken {
        /// The bits.
        mask: u32,
        /// Who uses some of them.
        by: MarkUse,
    },
    /// Nowhere are enough bits side by side free.
    NoBitsFree {
        /// How many are needed.
        needed: u32,
        /// All that are in use.
        used: u32,
    },
    /// The configured bits hold fewer marks than there are uplinks.
    TooFewBits {
        /// The bits.
        mask: u32,
        /// The uplinks that have no mark.
        uplinks: Vec<String>,
    },
    /// Something could not be read that may translate and use bits.
    Unread(String),
    /// There is no priority left in front of what would take the replies.
    NoRoom(Family),
}

/// Where free bits are looked for first, by their lowest: what the programs that are known use
/// (0x80, 0xf00, 0x3f00, 0x3000, 0xc000, 0xff0000) is asked last.
const SHIFTS: [u32; 8] = [24, 28, 4, 20, 16, 8, 12, 0];

/// Decides.
pub(crate) fn decide(snapshot: &Snapshot, config: &Config, uplinks: &[Planned]) -> Decision {
    let held = held(snapshot);
    let Some(netfilter) = &snapshot.netfilter else {
        // Nobody may look: what is there stays.
        let families = held.families;
        let known = |table: &u32| uplinks.iter().any(|p| p.table == Some(*table));
        let tables = held.tables.into_iter().filter(|(_, table)| known(table)).collect();
        let marks = Marks { mask: held.mask, tables, families };
        return Decision { marks, ..Decision::default() };
    };
    let mut decision = Decision { is_known: true, ..Decision::default() };
    if config.return_path.value == ReturnPathMode::Off {
        return decision;
    }
    // What could not be read may translate as well: what is there for it stays.
    let is_half_known = !netfilter.unread.is_empty();
    let translates =
        |f: &Family| netfilter.nat.contains(f) || is_half_known && held.families.contains(f);
    let forwarding: Vec<Family> =
        Family::BOTH.into_iter().filter(|f| forwards(snapshot, *f)).collect();
    if !forwarding.is_empty() {
        decision.trouble.extend(netfilter.unread.iter().cloned().map(Trouble::Unread));
    }
    // A frozen uplink is left as it is, its mark included.
    let table_of = |p: &Planned, f: Family| {
        let table = table_of(config, p)?;
        let is_kept = p.uplink.side(f).is_some() && held.tables.values().any(|t| *t == table);
        (p.side(f).is_some() || is_kept).then_some(table)
    };
    let mut tables: BTreeMap<u32, &str> = BTreeMap::new();
    for family in forwarding.into_iter().filter(translates) {
        for planned in uplinks {
            if let Some(table) = table_of(planned, family) {
                decision.marks.families.insert(family);
                tables.insert(table, &planned.uplink.name);
            }
        }
    }
    if tables.keys().all(|t| *t == TABLE_MAIN) {
        decision.marks.families.clear();
        return decision;
    }
    let taken = taken(snapshot, config, netfilter);
    let mask = match mask(config, held.mask, tables.len(), &taken) {
        Ok(mask) => mask,
        Err(trouble) => {
            decision.trouble.push(trouble);
            decision.marks.families.clear();
            return decision;
        }
    };
    let (marks, unmarked) = marks(&tables, &held, mask);
    (decision.marks.mask, decision.marks.tables) = (mask, marks);
    if !unmarked.is_empty() {
        let uplinks = unmarked.iter().map(|t| tables[t].to_owned()).collect();
        decision.trouble.push(Trouble::TooFewBits { mask, uplinks });
    }
    let mut table = ReturnPath { mask, marks: BTreeMap::new() };
    let mut seen = BTreeSet::new();
    for (mark, number) in &decision.marks.tables {
        let sides = uplinks.iter().flat_map(|p| p.uplink.sides.iter().map(move |s| (p, s)));
        let sides = sides.filter(|(p, s)| {
            decision.marks.families.contains(&s.family) && table_of(p, s.family) == Some(*number)
        });
        // An address on two uplinks is the first's.
        let addresses = sides.flat_map(|(_, s)| &s.addresses).map(|a| a.local);
        table.marks.insert(*mark, addresses.filter(|a| seen.insert(*a)).collect());
    }
    decision.table = Some(table);
    decision
}

/// The table by which an uplink's replies go home: its own, or main for the one that is left to it,
/// whose replies steering would take otherwise.
fn table_of(config: &Config, planned: &Planned) -> Option<u32> {
    planned.table.or((planned.uplink.primary && !config.steers.is_empty()).then_some(TABLE_MAIN))
}

/// The rules of a family, in the order in which they are asked; their priorities count from 0.
///
/// `arrivals` are the uplinks by which requests come in while a tunnel takes everything: those to a
/// container must find it before they find the tunnel.
pub(crate) fn rules(marks: &Marks, family: Family, group: u32, arrivals: &[String]) -> Vec<Rule> {
    if !marks.families.contains(&family) || marks.tables.is_empty() {
        return Vec::new();
    }
    let local = Rule {
        suppress_prefixlength: Some(suppressed_length(family)),
        suppress_ifgroup: Some(group),
        ..Rule::new(family, 0, Action::Lookup(TABLE_MAIN))
    };
    let mut rules = vec![Rule { not: true, fwmark: Some((0, marks.mask)), ..local.clone() }];
    rules.extend(arrivals.iter().map(|name| Rule { iif: Some(name.clone()), ..local.clone() }));
    rules.extend(marks.tables.iter().map(|(mark, table)| Rule {
        fwmark: Some((*mark, marks.mask)),
        ..Rule::new(family, 1, Action::Lookup(*table))
    }));
    rules
}

/// Whether netfilter has anything to do with this host's plan: it forwards, or has rules of ours for
/// marks. Elsewhere nobody need look.
#[must_use]
pub fn concerns(snapshot: &Snapshot, config: &Config) -> bool {
    config.return_path.value == ReturnPathMode::Auto
        && Family::BOTH.into_iter().any(|f| forwards(snapshot, f))
        || held(snapshot).mask != 0
        || snapshot.netfilter.as_ref().is_some_and(|n| n.table != Held::Absent)
}

/// Whether the host forwards what comes in by any of its links.
pub(crate) fn forwards(snapshot: &Snapshot, family: Family) -> bool {
    snapshot.sysctls.number(&conf(family, "all", "forwarding")).is_some_and(|n| n > 0)
        || snapshot.links().any(|l| {
            snapshot.sysctls.number(&conf(family, &l.name, "forwarding")).is_some_and(|n| n > 0)
        })
}

/// What our own rules in the snapshot say.
fn held(snapshot: &Snapshot) -> Marks {
    let mut held = Marks::default();
    let ours = || snapshot.rules().filter(|r| r.is_ours());
    for local in ours().filter(|r| r.not && r.table() == Some(TABLE_MAIN)) {
        let Some((0, mask)) = local.fwmark else { continue };
        held.mask = mask;
        held.families.insert(local.family);
        // Steering may ask for marks too, behind these.
        for rule in snapshot.rules_at(local.family, local.priority + 1) {
            if let (Some((mark, of)), Some(table), true) =
                (rule.fwmark, rule.table(), rule.is_ours())
                && of == mask
            {
                held.tables.insert(mark, table);
            }
        }
    }
    held
}

/// What others use.
fn taken(snapshot: &Snapshot, config: &Config, netfilter: &Netfilter) -> Vec<MarkUse> {
    let bits = |(mark, mask): (u32, u32)| if mask == u32::MAX { mark } else { mask };
    let mut taken = netfilter.marks.clone();
    let names = Names::default();
    for rule in snapshot.rules().filter(|r| !r.is_ours()) {
        if let Some(mark) = rule.fwmark {
            taken.push(MarkUse { by: format!("rule {}", rule.display(&names)), bits: bits(mark) });
        }
    }
    for steer in &config.steers {
        if let Some(mark) = steer.fwmark {
            taken.push(MarkUse { by: format!("[[steer]] ({})", steer.origin), bits: bits(mark) });
        }
    }
    taken
}

/// The bits that are ours.
fn mask(config: &Config, held: u32, tables: usize, taken: &[MarkUse]) -> Result<u32, Trouble> {
    let collides = |mask: u32| taken.iter().find(|u| u.bits & mask != 0);
    if let Some(mask) = config.mark_mask.value {
        return match collides(mask) {
            Some(by) => Err(Trouble::MarksTaken { mask, by: by.clone() }),
            None => Ok(mask),
        };
    }
    // 15 uplinks fit into four bits; few hosts have more.
    let needed = (usize::BITS - tables.leading_zeros()).max(4);
    if held != 0 && held.count_ones() >= needed && collides(held).is_none() {
        return Ok(held);
    }
    let ones = u32::MAX >> (u32::BITS - needed.min(u32::BITS));
    let shifts = SHIFTS.into_iter().chain(0..u32::BITS).filter(|s| s + needed <= u32::BITS);
    shifts
        .map(|shift| ones << shift)
        .find(|mask| collides(*mask).is_none())
        .ok_or(Trouble::NoBitsFree { needed, used: taken.iter().fold(0, |all, u| all | u.bits) })
}

/// A mark for each table: the one that it had, else the lowest that is free. Those that are left
/// without one come second.
fn marks(tables: &BTreeMap<u32, &str>, held: &Marks, mask: u32) -> (BTreeMap<u32, u32>, Vec<u32>) {
    let mut marks: BTreeMap<u32, u32> = BTreeMap::new();
    if held.mask == mask {
        let mut kept = BTreeSet::new();
        for (mark, table) in &held.tables {
            if tables.contains_key(table) && mark & !mask == 0 && kept.insert(*table) {
                marks.insert(*mark, *table);
            }
        }
    }
    let one = mask & mask.wrapping_neg();
    let most = mask >> mask.trailing_zeros();
    let mut unmarked = Vec::new();
    for table in tables.keys() {
        if marks.values().any(|t| t == table) {
            continue;
        }
        match (1..=most).map(|n| n * one).find(|mark| !marks.contains_key(mark)) {
            Some(mark) => drop(marks.insert(mark, *table)),
            None => unmarked.push(*table),
        }
    }
    (marks, unmarked)
}
