//! Classes of destinations: addresses that no rule and no table can tell apart.
//!
//! The ends of all prefixes that a look-up compares an address with (destinations and sources of
//! routes, `from` and `to` of rules, and what the kernel treats in its own way) cut the address space into
//! intervals; inside one, every look-up finds the same. A client's address is compared with `from` only
//! by what it sends, and so only by rules that are asked before `lookup local`. Then intervals for
//! which each table holds routes
//! that differ in nothing but their prefixes are one class: a table of 5,000 routes by 50 gateways
//! comes down to hundreds of classes. So one address stands for a class, and the classes together are
//! all addresses.
//!
//! What is compared is the whole chain of routes above an address, and not the longest alone: what the
//! next one is matters as soon as a link goes down.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use crate::lookup::before_local;
use crate::model::{Hop, Route, RouteKind, Rule, Snapshot};
use crate::prefix::{Family, Prefix, address_bits, bits_address, mask};

/// A class of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// The address that stands for it.
    pub address: IpAddr,
    /// First and last address of each interval, ordered.
    pub intervals: Vec<(IpAddr, IpAddr)>,
}

/// The addresses of one family in classes.
#[derive(Debug)]
pub struct Classes {
    family: Family,
    /// The classes, ordered by their first address.
    pub classes: Vec<Class>,
    /// First address of each interval, and the class that it belongs to.
    starts: Vec<(u128, usize)>,
}

/// What the kernel does not look up like other addresses, or not everywhere.
fn special(family: Family) -> Vec<Prefix> {
    let words: &[&str] = match family {
        Family::V4 => &[
            "0.0.0.0/8",
            "0.0.0.0",
            "127.0.0.0/8",
            "224.0.0.0/4",
            "224.0.0.0/24",
            "255.255.255.255",
        ],
        Family::V6 => &["::", "::1", "::ffff:0:0/96", "fe80::/10", "ff00::/8"],
    };
    // They are prefixes as they stand there.
    words.iter().filter_map(|w| w.parse().ok()).collect()
}

/// Well-known addresses for documents, which say at once that they stand for anything.
fn welcome(family: Family) -> Vec<IpAddr> {
    let words: &[&str] = match family {
        Family::V4 => &["198.51.100.7", "203.0.113.7", "192.0.2.7"],
        Family::V6 => &["2001:db8:ffff:ffff::7", "2001:db8::7"],
    };
    words.iter().filter_map(|w| w.parse().ok()).collect()
}

/// What of a route decides, beside its prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Behaviour<'a> {
    /// Its place among those of its prefix; equals share one.
    rank: usize,
    kind: RouteKind,
    src: Option<Prefix>,
    tos: u8,
    protocol: u8,
    scope: u8,
    /// None where it is the destination itself.
    prefsrc: Option<IpAddr>,
    hops: &'a [Hop],
    nhid: Option<u32>,
    preference: u8,
    expired: bool,
    flags: u32,
    /// How many of the lengths that rules suppress are shorter.
    length: usize,
}

type Chain = usize;

/// Chains of labels, each known by a number; 0 is the empty one.
#[derive(Debug)]
struct Chains<L> {
    labels: HashMap<L, usize>,
    chains: HashMap<(Chain, usize), Chain>,
}

// ===== impl Classes =====

impl Classes {
    /// Cuts the addresses of a family.
    #[must_use]
    pub fn of(snapshot: &Snapshot, family: Family) -> Classes {
        let mut cuts = Vec::new();
        let mut layers = 0;
        let mut tables: BTreeMap<u32, BTreeMap<Prefix, Vec<&Route>>> = BTreeMap::new();
        let mut sources: BTreeSet<Prefix> = BTreeSet::new();
        for route in snapshot.routes().filter(|r| r.family() == family) {
            let table = tables.entry(route.table).or_default();
            table.entry(route.dst).or_default().push(route);
            sources.extend(route.src);
        }
        let reached = reached(snapshot, family);
        let suppressed: BTreeSet<u32> =
            snapshot.rules().filter_map(|r| r.suppress_prefixlength).collect();
        for (table, prefixes) in &tables {
            if reached.as_ref().is_some_and(|r| !r.contains(table)) {
                continue;
            }
            let labelled = prefixes.iter().map(|(prefix, routes)| {
                let length = suppressed.range(..u32::from(prefix.len())).count();
                (*prefix, behaviours(routes, length))
            });
            cut(layers, labelled, &mut cuts);
            layers += 1;
        }
        let rules = || snapshot.rules().filter(|r| r.family == family);
        sources.extend(before_local(rules()).into_iter().filter_map(|r| r.from));
        let to = rules().filter_map(|r| r.to).collect::<BTreeSet<Prefix>>();
        let special = special(family).into_iter().collect();
        for prefixes in [sources, to, special] {
            cut(layers, prefixes.into_iter().map(|p| (p, p)), &mut cuts);
            layers += 1;
        }
        Classes::merge(family, layers, cuts)
    }

    /// Cuts the addresses of a family by what tells them apart as sources of what the host sends: the
    /// `from` of rules. Rules in a row that differ in nothing else are one, as those are which lead
    /// each address of a card to the card's table.
    #[must_use]
    pub fn of_sources(snapshot: &Snapshot, family: Family) -> Classes {
        // Which rows ask for a prefix.
        let mut asked: BTreeMap<Prefix, BTreeSet<usize>> = BTreeMap::new();
        let mut before: Option<Rule> = None;
        let mut row = 0;
        for rule in snapshot.rules().filter(|r| r.family == family) {
            let rest = Rule { from: None, ..rule.clone() };
            if before.as_ref() != Some(&rest) {
                row += 1;
                before = Some(rest);
            }
            if let Some(from) = rule.from {
                asked.entry(from).or_default().insert(row);
            }
        }
        let routes: BTreeSet<Prefix> =
            snapshot.routes().filter(|r| r.family() == family).filter_map(|r| r.src).collect();
        let mut cuts = Vec::new();
        cut(0, asked.into_iter(), &mut cuts);
        cut(1, routes.into_iter().map(|p| (p, p)), &mut cuts);
        Classes::merge(family, 2, cuts)
    }

    fn merge(family: Family, layers: usize, mut cuts: Vec<(u128, usize, Chain)>) -> Classes {
        // Stable: of several for one place the last counts.
        cuts.sort_by_key(|(start, _, _)| *start);
        let mut now: Vec<Chain> = vec![0; layers];
        let mut known: HashMap<Vec<Chain>, usize> = HashMap::new();
        let mut classes: Vec<Class> = Vec::new();
        let mut starts: Vec<(u128, usize)> = Vec::new();
        let last = mask(family, family.bits());
        let mut at = 0;
        let mut start = 0;
        while start <= last {
            while let Some((_, layer, chain)) = cuts.get(at).filter(|(s, _, _)| *s <= start) {
                now[*layer] = *chain;
                at += 1;
            }
            let next = cuts.get(at).map(|(s, _, _)| *s);
            let end = next.map_or(last, |n| n - 1);
            let class = match known.get(&now) {
                Some(class) => *class,
                None => {
                    let address = bits_address(family, start);
                    classes.push(Class { address, intervals: Vec::new() });
                    known.insert(now.clone(), classes.len() - 1);
                    classes.len() - 1
                }
            };
            if starts.last().is_none_or(|(_, before)| *before != class) {
                starts.push((start, class));
                let interval = (bits_address(family, start), bits_address(family, end));
                classes[class].intervals.push(interval);
            } else if let Some(interval) = classes[class].intervals.last_mut() {
                interval.1 = bits_address(family, end);
            }
            let Some(next) = next else { break };
            start = next;
        }
        let welcome = welcome(family);
        for class in &mut classes {
            class.address = spokesman(family, class, &welcome);
        }
        Classes { family, classes, starts }
    }

    /// The class of an address of the family.
    #[must_use]
    pub fn class_of(&self, address: IpAddr) -> usize {
        debug_assert_eq!(Family::of(address), self.family);
        let bits = address_bits(address);
        let behind = self.starts.partition_point(|(start, _)| *start <= bits);
        // The first interval begins at 0.
        self.starts[behind.saturating_sub(1)].1
    }

    /// How many intervals there are.
    #[must_use]
    pub fn intervals(&self) -> usize {
        self.starts.len()
    }
}

impl Class {
    /// Whether it holds an address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.intervals.iter().any(|(first, last)| (*first..=*last).contains(&address))
    }
}

/// The tables that a rule can lead to; none when a rule may lead to any (VRFs).
fn reached(snapshot: &Snapshot, family: Family) -> Option<BTreeSet<u32>> {
    let mut tables = BTreeSet::from([
        crate::model::names::TABLE_LOCAL,
        // What belongs where is read from main, whether rules lead there or not.
        crate::model::names::TABLE_MAIN,
    ]);
    for rule in snapshot.rules().filter(|r| r.family == family) {
        if rule.l3mdev {
            return None;
        }
        tables.extend(rule.table());
    }
    Some(tables)
}

fn behaviours<'a>(routes: &[&'a Route], length: usize) -> Vec<Behaviour<'a>> {
    let metrics: BTreeSet<u32> = routes.iter().map(|r| r.metric).collect();
    let rank = |r: &Route| metrics.range(..r.metric).count();
    routes
        .iter()
        .map(|r| Behaviour {
            rank: rank(r),
            kind: r.kind,
            src: r.src,
            tos: r.tos,
            protocol: r.protocol,
            scope: r.scope,
            prefsrc: r.prefsrc.filter(|s| !(r.dst.is_host() && r.dst.address() == *s)),
            hops: &r.hops,
            nhid: r.nhid,
            preference: r.preference,
            expired: r.is_expired(),
            flags: r.flags,
            length,
        })
        .collect()
}

/// Cuts the address space by one layer of prefixes, each with its label: where which chain begins.
fn cut<L: Eq + std::hash::Hash>(
    layer: usize,
    prefixes: impl Iterator<Item = (Prefix, L)>,
    cuts: &mut Vec<(u128, usize, Chain)>,
) {
    let mut labelled: Vec<(Prefix, L)> = prefixes.collect();
    labelled.sort_by_key(|(p, _)| (p.bits(), p.len()));
    let mut chains = Chains { labels: HashMap::new(), chains: HashMap::new() };
    // The prefixes around the one at hand: last address and chain.
    let mut around: Vec<(u128, Chain)> = Vec::new();
    let end = |around: &mut Vec<(u128, Chain)>, cuts: &mut Vec<_>| {
        let Some((last, _)) = around.pop() else { return };
        if let Some(next) = last.checked_add(1) {
            cuts.push((next, layer, around.last().map_or(0, |(_, c)| *c)));
        }
    };
    for (prefix, label) in labelled {
        while around.last().is_some_and(|(last, _)| *last < prefix.bits()) {
            end(&mut around, cuts);
        }
        let chain = chains.longer(around.last().map_or(0, |(_, c)| *c), label);
        cuts.push((prefix.bits(), layer, chain));
        around.push((last_of(&prefix), chain));
    }
    while !around.is_empty() {
        end(&mut around, cuts);
    }
}

impl<L: Eq + std::hash::Hash> Chains<L> {
    fn longer(&mut self, chain: Chain, label: L) -> Chain {
        let count = self.labels.len();
        let label = *self.labels.entry(label).or_insert(count);
        let count = self.chains.len() + 1;
        *self.chains.entry((chain, label)).or_insert(count)
    }
}

fn last_of(prefix: &Prefix) -> u128 {
    let family = prefix.family();
    let all = mask(family, family.bits());
    prefix.bits() | (all & !mask(family, prefix.len()))
}

/// The address that stands for a class: one that looks like a host's.
fn spokesman(family: Family, class: &Class, welcome: &[IpAddr]) -> IpAddr {
    if let Some(known) = welcome.iter().find(|a| class.contains(**a)) {
        return *known;
    }
    let intervals = class.intervals.iter().map(|(a, b)| (address_bits(*a), address_bits(*b)));
    // Of equals the first.
    let widest = intervals.rev().max_by_key(|(first, last)| last - first);
    let Some((first, last)) = widest else { return class.address };
    let host = [7, 1].into_iter().filter_map(|n| first.checked_add(n)).find(|a| *a < last);
    bits_address(family, host.unwrap_or(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::names::TABLE_MAIN;

    fn snapshot(routes: &[(&str, u32)]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (dst, link) in routes {
            let route = Route::new(TABLE_MAIN, dst.parse().unwrap());
            snapshot.insert_route(Route { hops: vec![Hop::dev(*link)], ..route });
        }
        snapshot
    }

    fn class(classes: &Classes, address: &str) -> usize {
        classes.class_of(address.parse().unwrap())
    }

    #[test]
    fn what_leads_the_same_way_is_one_class() {
        let snapshot = snapshot(&[
            ("10.0.0.0/24", 2),
            ("10.0.1.0/24", 2),
            ("10.0.2.0/24", 3),
            ("10.0.0.0/8", 3),
        ]);
        let classes = Classes::of(&snapshot, Family::V4);
        assert_eq!(class(&classes, "10.0.0.0"), class(&classes, "10.0.1.255"));
        assert_ne!(class(&classes, "10.0.1.1"), class(&classes, "10.0.2.1"));
        // What is above differs, should the longest go.
        assert_ne!(class(&classes, "10.0.2.1"), class(&classes, "10.0.3.1"));
        assert_ne!(class(&classes, "10.0.3.1"), class(&classes, "11.0.0.1"));
        assert_eq!(class(&classes, "11.0.0.1"), class(&classes, "9.0.0.1"));
    }

    #[test]
    fn the_intervals_are_all_addresses() {
        for family in Family::BOTH {
            let snapshot = snapshot(&[("0.0.0.0/0", 2), ("255.0.0.0/8", 3), ("ff00::/8", 2)]);
            let classes = Classes::of(&snapshot, family);
            let mut all: Vec<_> = classes.classes.iter().flat_map(|c| &c.intervals).collect();
            all.sort();
            assert_eq!(address_bits(all[0].0), 0);
            assert_eq!(address_bits(all[all.len() - 1].1), mask(family, family.bits()));
            for pair in all.windows(2) {
                assert_eq!(address_bits(pair[0].1) + 1, address_bits(pair[1].0));
            }
            for c in &classes.classes {
                assert!(c.contains(c.address));
            }
        }
    }

    #[test]
    fn a_class_that_holds_it_is_spoken_for_by_an_address_of_documents() {
        let classes = Classes::of(&snapshot(&[("10.0.0.0/24", 2)]), Family::V4);
        let address = classes.classes[class(&classes, "8.8.8.8")].address;
        assert_eq!(address.to_string(), "198.51.100.7");
        assert_eq!(classes.classes[class(&classes, "10.0.0.9")].address.to_string(), "10.0.0.7");
    }
}
