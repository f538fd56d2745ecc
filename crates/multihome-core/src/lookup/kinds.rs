//! Which kinds of packets the rules tell apart: protocols, ports, owners, TOS.
//!
//! Most hosts have rules that ask for addresses alone, and one kind of packets. Somebody's
//! `ipproto tcp sport 443 lookup 7` makes two of it: to all addresses that the rule is for, a web
//! server's answers go another way than the rest. So the ends of all ranges that rules ask for
//! make a grid, and of its points those stay that differ in which rules they meet.

use std::collections::{BTreeSet, HashSet};

use super::rule::{Kind, before_local};
use super::{Flow, Lookup};
use crate::model::rule::{DSCP_FULL, Rule};
use crate::model::{Action, Route};
use crate::prefix::Family;

/// Points of the grid that are looked at; a host with more has thousands of rules for ports.
const POINTS: usize = 200_000;

/// A kind of packets that is treated otherwise than the plain one, which asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant<'a> {
    /// A packet of the kind.
    pub kind: Kind,
    /// Whether one of the rules is asked before `lookup local`, about what comes in, too.
    pub early: bool,
    /// The rules that treat it otherwise.
    rules: Vec<&'a Rule>,
    /// The routes that do, by their TOS.
    routes: Vec<&'a Route>,
}

impl<'a> Lookup<'a> {
    /// The kinds of packets that rules and routes tell apart, without the plain one; false when there are
    /// more than were looked at.
    #[must_use]
    pub fn kinds(&self, family: Family) -> (Vec<Variant<'a>>, bool) {
        let asks = |rule: &&&Rule| {
            rule.ipproto.is_some()
                || rule.sport.is_some()
                || rule.dport.is_some()
                || rule.uidrange.is_some()
                || rule.tos.is_some()
                || rule.dscp.is_some()
        };
        let rules: Vec<&Rule> = self
            .rules(family)
            .iter()
            .filter(|r| r.action != Action::Nop)
            .filter(asks)
            .copied()
            .collect();
        let with_tos = |r: &&Route| r.family() == family && r.tos != 0;
        let routes: Vec<&Route> = self.snapshot.routes().filter(with_tos).collect();
        if rules.is_empty() && routes.is_empty() {
            return (Vec::new(), true);
        }
        let early = before_local(self.rules(family).iter().copied());
        let grid = Grid::of(&rules, &routes);
        let what = |kind: &Kind| -> (Vec<bool>, u8) {
            let tos = routes.iter().map(|r| r.tos & 0xfc).find(|t| *t == kind.tos & 0x1c);
            (rules.iter().map(|r| kind.meets(r)).collect(), tos.unwrap_or(0))
        };
        let plain = what(&Kind::default());
        let mut known = HashSet::from([plain.clone()]);
        let mut variants = Vec::new();
        for kind in grid.points().take(POINTS) {
            let met = what(&kind);
            if !known.insert(met.clone()) {
                continue;
            }
            let differ = rules.iter().zip(met.0.iter().zip(&plain.0)).filter(|(_, (a, b))| a != b);
            let fits = |r: &&&Route| met.1 != 0 && r.tos & 0xfc == met.1;
            let rules: Vec<&Rule> = differ.map(|(r, _)| *r).collect();
            variants.push(Variant {
                kind,
                early: rules.iter().any(|r| early.contains(r)),
                rules,
                routes: routes.iter().filter(fits).copied().collect(),
            });
        }
        // Under a mask, ports that meet are no range: beside ranges, not all parts are found.
        let masked = rules.iter().any(|r| r.sport_mask.or(r.dport_mask).is_some());
        let ports = rules.iter().filter(|r| r.sport.or(r.dport).is_some()).count();
        (variants, grid.size() <= POINTS && (!masked || ports < 2))
    }
}

impl Variant<'_> {
    /// Whether such a packet that the host sends may go another way than a plain one.
    #[must_use]
    pub fn concerns(&self, flow: &Flow) -> bool {
        let by_rule = |r: &&Rule| {
            r.to.is_none_or(|p| p.contains(flow.to))
                && r.from.is_none_or(|p| flow.from.is_none_or(|a| p.contains(a)))
        };
        // Without the prefixes: who inverts a rule inverts those, too.
        self.rules.iter().any(|r| r.not || by_rule(r))
            || self.routes.iter().any(|r| r.dst.contains(flow.to))
    }
}

/// Values that stand for all others, of each thing that a rule can ask for.
struct Grid {
    protos: BTreeSet<u8>,
    sports: BTreeSet<u16>,
    dports: BTreeSet<u16>,
    uids: BTreeSet<u32>,
    tos: BTreeSet<u8>,
}

impl Grid {
    fn of(rules: &[&Rule], routes: &[&Route]) -> Grid {
        let ports = |range: fn(&Rule) -> Option<(u16, u16)>| {
            let ranges = rules.iter().filter_map(|r| range(r));
            let ends = ranges.flat_map(|(first, last)| [first, last.saturating_add(1)]);
            ends.chain([0]).collect()
        };
        let uids = rules.iter().filter_map(|r| r.uidrange);
        // All there are: masks make classes of them that have no ends.
        let asks_tos =
            !routes.is_empty() || rules.iter().any(|r| r.tos.or(r.dscp.map(|d| d.0)).is_some());
        let tos =
            if asks_tos { (0..=DSCP_FULL).map(|dscp| dscp << 2).collect() } else { [0].into() };
        Grid {
            protos: rules.iter().filter_map(|r| r.ipproto).chain([0]).collect(),
            sports: ports(|r| r.sport),
            dports: ports(|r| r.dport),
            uids: uids
                .flat_map(|(first, last)| [first, last.saturating_add(1)])
                .chain([0])
                .collect(),
            tos,
        }
    }

    fn size(&self) -> usize {
        [self.protos.len(), self.sports.len(), self.dports.len(), self.uids.len(), self.tos.len()]
            .into_iter()
            .fold(1, usize::saturating_mul)
    }

    /// The plainest first, so that what stands for a kind asks for no more than it must.
    fn points(&self) -> impl Iterator<Item = Kind> {
        // What has ports has a protocol: one that no rule asks for, where that is meant.
        let with_ports = [6, 17, 132, 136].into_iter().find(|p| !self.protos.contains(p));
        self.tos.iter().flat_map(move |tos| {
            self.uids.iter().flat_map(move |uid| {
                self.protos.iter().flat_map(move |proto| {
                    self.sports.iter().flat_map(move |sport| {
                        self.dports.iter().filter_map(move |dport| {
                            let any = *proto == 0 && (*sport, *dport) != (0, 0);
                            let proto = if any { with_ports? } else { *proto };
                            let (sport, dport, uid, tos) = (*sport, *dport, *uid, *tos);
                            Some(Kind { proto, sport, dport, uid, tos })
                        })
                    })
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Snapshot;

    fn kinds(rules: &[Rule]) -> Vec<Kind> {
        let mut snapshot = Snapshot::default();
        rules.iter().for_each(|r| snapshot.insert_rule(r.clone()));
        let (variants, all) = Lookup::new(&snapshot).kinds(Family::V4);
        assert!(all);
        variants.into_iter().map(|v| v.kind).collect()
    }

    fn rule(priority: u32) -> Rule {
        Rule::new(Family::V4, priority, Action::Lookup(7))
    }

    #[test]
    fn rules_for_addresses_make_one_kind_of_all() {
        let from = Some("10.0.0.0/8".parse().unwrap());
        assert_eq!(kinds(&[Rule { from, ..rule(1) }, rule(2)]), []);
    }

    #[test]
    fn a_servers_port_makes_two() {
        let web = Rule { ipproto: Some(6), sport: Some((443, 443)), ..rule(1) };
        assert_eq!(kinds(&[web]), [Kind { proto: 6, sport: 443, ..Kind::default() }]);
    }

    #[test]
    fn a_port_without_a_protocol_is_asked_with_one() {
        let web = Rule { sport: Some((443, 444)), ..rule(1) };
        assert_eq!(kinds(&[web]), [Kind { proto: 6, sport: 443, ..Kind::default() }]);
    }

    #[test]
    fn ranges_that_overlap_make_one_for_each_part() {
        let rules = [
            Rule { sport: Some((80, 100)), ..rule(1) },
            Rule { sport: Some((90, 200)), ..rule(2) },
            Rule { uidrange: Some((1000, 1000)), ..rule(3) },
        ];
        let ports: BTreeSet<(u16, u32)> =
            kinds(&rules).into_iter().map(|k| (k.sport, k.uid)).collect();
        let parts = [(0, 1000), (80, 0), (80, 1000), (90, 0), (90, 1000), (101, 0), (101, 1000)];
        assert_eq!(ports, parts.into());
    }

    #[test]
    fn a_rule_for_all_but_a_protocol_makes_that_a_kind() {
        let rules = [Rule { not: true, ipproto: Some(17), ..rule(1) }];
        assert_eq!(kinds(&rules), [Kind { proto: 17, ..Kind::default() }]);
    }

    #[test]
    fn what_a_rule_is_not_for_is_not_concerned() {
        let mut snapshot = Snapshot::default();
        let to = Some("192.0.2.0/24".parse().unwrap());
        snapshot.insert_rule(Rule { ipproto: Some(6), to, ..rule(1) });
        let lookup = Lookup::new(&snapshot);
        let (variants, _) = lookup.kinds(Family::V4);
        let flow = |to: &str| Flow::reply("10.0.0.5".parse().unwrap(), to.parse().unwrap());
        assert!(variants[0].concerns(&flow("192.0.2.7")));
        assert!(!variants[0].concerns(&flow("198.51.100.7")));
    }
}
