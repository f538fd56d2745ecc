//! Why one packet goes where it goes, whether that is right, and what would change it.

use std::net::IpAddr;

use crate::config::Config;
use crate::diff::Change;
use crate::lookup::{By, Outcome};
use crate::lookup::{Flow, Lookup, Sanity, Trace};
use crate::model::{RouteKind, Rule, Snapshot, sysctl};
use crate::plan::Plan;
use crate::prefix::Family;
use crate::suppose;
use crate::verify::{Fault, Judgement, judge};

/// All there is to say about one packet.
#[derive(Debug)]
pub struct Explanation<'a> {
    /// What was asked.
    pub flow: Flow,
    /// The look-up.
    pub trace: Trace<'a>,
    /// What was asked without a source is looked up once more by a socket that connects, now with
    /// the source that the first look-up gave it (`ip_route_connect`, and IPv6 whenever the way is
    /// looked up anew); none where that changes nothing.
    pub again: Option<(Flow, Trace<'a>)>,
    /// Whether it is right: of the last look-up.
    pub judgement: Judgement,
    /// What would change it, where it is not.
    pub remedy: Option<Remedy>,
}

/// What would make it right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// `multihome apply`: so many changes are pending.
    Apply(usize),
    /// Without this rule of somebody else's, which is asked before any of ours.
    Without(Box<Rule>),
    /// `rp_filter = 2` on this link.
    LooseFilter(u32),
    /// A gateway for this link.
    Gateway(u32),
}

/// Explains what becomes of a flow; `changes` are those that lead to the plan.
#[must_use]
pub fn explain<'a>(
    lookup: &Lookup<'a>,
    config: &Config,
    plan: &Plan,
    changes: &[Change],
    flow: &Flow,
) -> Explanation<'a> {
    let snapshot = lookup.snapshot();
    let trace = lookup.trace(flow);
    let again = connected(flow, &trace).map(|flow| {
        let trace = lookup.trace(&flow);
        (flow, trace)
    });
    let again = again.filter(|(_, second)| way(second) != way(&trace));
    let (last, answer) = match &again {
        Some((flow, trace)) => (flow, &trace.answer),
        None => (flow, &trace.answer),
    };
    let judgement = judge(snapshot, config, plan, last, answer);
    let remedy = match &judgement {
        Judgement::Wrong(fault) => remedy(snapshot, config, plan, changes, last, fault),
        _ => None,
    };
    Explanation { flow: flow.clone(), trace, again, judgement, remedy }
}

/// The flow of a socket that connects, as it is looked up for the second time.
fn connected(flow: &Flow, trace: &Trace<'_>) -> Option<Flow> {
    let has_source = flow.from.is_some_and(|a| !a.is_unspecified());
    if has_source || flow.iif.is_some() {
        return None;
    }
    let path = trace.answer.only_path().filter(|p| p.kind == RouteKind::Unicast)?;
    path.source.map(|source| Flow { from: Some(source), ..flow.clone() })
}

/// The way out, as far as it makes a difference.
fn way(trace: &Trace<'_>) -> Vec<(u32, Option<IpAddr>)> {
    trace.answer.paths().map(|p| (p.link, p.gateway)).collect()
}

fn remedy(
    snapshot: &Snapshot,
    config: &Config,
    plan: &Plan,
    changes: &[Change],
    flow: &Flow,
    fault: &Fault,
) -> Option<Remedy> {
    let helps = |changed: &Snapshot| {
        let answer = Lookup::new(changed).ask(flow);
        !matches!(
            judge(changed, config, plan, flow, &answer),
            Judgement::Wrong(_) | Judgement::Unproven(_)
        )
    };
    if !changes.is_empty() {
        let mut changed = snapshot.clone();
        suppose::take(&mut changed, changes);
        if helps(&changed) {
            return Some(Remedy::Apply(changes.len()));
        }
    }
    let owner = match fault {
        Fault::ReversePath { .. } => {
            let iif = flow.iif?;
            let name = &snapshot.link(iif)?.name;
            let mut changed = snapshot.clone();
            changed.sysctls.insert(sysctl::conf(Family::V4, name, "rp_filter"), "2");
            if helps(&changed) {
                return Some(Remedy::LooseFilter(iif));
            }
            iif
        }
        Fault::Door { rule, .. } | Fault::Refused { rule, .. } => {
            if let Some(rule) = rule.as_ref().filter(|r| !r.is_ours()) {
                let mut changed = snapshot.clone();
                if changed.remove_rule(rule) && helps(&changed) {
                    return Some(Remedy::Without(rule.clone()));
                }
            }
            snapshot.owners(flow.from?).next()?
        }
        _ => return None,
    };
    let uplink = plan.uplinks.iter().find(|p| p.uplink.link == owner);
    let side = uplink.and_then(|p| p.uplink.side(flow.family()));
    side.is_none_or(|s| s.ways.is_empty()).then_some(Remedy::Gateway(owner))
}

impl Explanation<'_> {
    /// Whether the reverse path filter of a link dropped it.
    #[must_use]
    pub fn is_filtered(&self) -> bool {
        let filtered = |o: &Outcome<'_>| {
            matches!(o, Outcome::Refused { by: By::Sanity(Sanity::ReversePath(_)), .. })
        };
        self.trace.answer.outcomes.iter().any(filtered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;
    use crate::plan;
    use crate::verify::tests::{filtering, host, managed};

    /// What is advised about a request from the world to the second card.
    fn advised(host: &Snapshot) -> (Judgement, Option<Remedy>) {
        let config = Config::default();
        let plan = plan::make(host, &config, &Memory::default());
        let (from, to) = ("198.51.100.7".parse().unwrap(), "10.0.1.5".parse().unwrap());
        let lookup = Lookup::new(host);
        let explained = explain(&lookup, &config, &plan, &[], &Flow::incoming(3, from, to));
        (explained.judgement, explained.remedy)
    }

    #[test]
    fn a_looser_filter_is_advised_where_it_lets_the_request_in() {
        let (judgement, remedy) = advised(&filtering(host(), "1"));
        assert!(matches!(judgement, Judgement::Wrong(Fault::ReversePath { route: Some(_) })));
        assert_eq!(remedy, Some(Remedy::LooseFilter(3)));
    }

    #[test]
    fn no_looser_filter_is_advised_where_no_answer_finds_a_way() {
        for filter in ["1", "2"] {
            let mut host = filtering(managed(host(), &Config::default()), filter);
            let by_ens6 = |r: &crate::model::Route| r.hops.iter().any(|h| h.link == 3);
            host.remove_routes(|r| r.dst.is_default() && by_ens6(r));
            let (judgement, remedy) = advised(&host);
            assert_eq!(judgement, Judgement::Wrong(Fault::ReversePath { route: None }));
            assert_eq!(remedy, Some(Remedy::Gateway(3)), "rp_filter {filter}");
        }
    }
}
