//! Whether every answer leaves by the door that its request came in by: proved, not sampled.
//!
//! For every address of the host, every class of destinations ([`classes`]) and every kind of packets
//! that rules tell apart ([`Lookup::kinds`]) the kernel's decision is re-enacted ([`crate::lookup`]) in both
//! directions and compared with what is right ([`right`]). Then each uplink is taken down, and loses its
//! carrier ([`crate::suppose`]), and all that its routes had a part in is asked again.
//!
//! What makes it quick: addresses that rules treat alike are one source; of the routes only those
//! stay that cover an address which is asked about; and what no route of a link had a part in is not asked
//! again without that link. Removing a route cannot change a look-up that did not come upon it.
//!
//! It judges what the kernel holds, not the plan, and what is in a snapshot: no firewall, of all marks
//! only those of our own table ([`published`]), no neighbour that does not answer. Left out are destinations that no answer goes to: `0.0.0.0/8`, `127.0.0.0/8`,
//! multicast and broadcast, `::`, `::1`, `::ffff:0:0/96`.

pub mod classes;
mod judge;
mod published;
mod right;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use crate::config::Config;
use crate::diff::Change;
use crate::lookup::{Doubt, Flow, Kind, Lookup, Refusal, Strange, Trace, Unknown, Variant};
use crate::model::route::RTNH_F_LINKDOWN;
use crate::model::{Hop, Route, Rule, Snapshot};
use crate::plan::Plan;
use crate::prefix::{Family, address_bits};
use crate::suppose::{carrier_lost, link_down, settled};
use classes::Classes;
pub use judge::{Judgement, NoPromise, judge};
use right::{Expected, Host, State, is_link_local};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Addresses of the host that answer, or might.
    pub addresses: usize,
    /// Classes of destinations that answers go to.
    pub classes: usize,
    /// Intervals of addresses that they were merged from.
    pub intervals: usize,
    /// What was supposed to fail, one at a time.
    pub failures: Vec<Failure>,
    /// Questions that were asked of the re-enacted kernel.
    pub questions: usize,
    /// Answers that are not right.
    pub wrong: Vec<Finding>,
    /// Answers that could not be told.
    pub unproven: Vec<Finding>,
    /// Answers that go another way because the configuration says so.
    pub accepted: BTreeMap<Accepted, usize>,
}

/// What is supposed to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// This link is down.
    Down(u32),
    /// This link has no carrier.
    NoCarrier(u32),
}

/// An answer that is not right or not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The packet; [`Flow::iif`] says whether it is the request or the answer.
    pub flow: Flow,
    /// The link that owns the address.
    pub owner: u32,
    /// What had failed.
    pub failed: Option<Failure>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It leaves by another link than it should.
    Door {
        /// By which.
        by: u32,
        /// By which it should.
        right: Vec<u32>,
        /// Whether it is for a local network, which no uplink leads to.
        local: bool,
        /// The rule that says so.
        rule: Option<Box<Rule>>,
    },
    /// It is kept by the host, and is for somebody else.
    Kept,
    /// It is for the host itself, and leaves.
    NotKept {
        /// By which link.
        by: u32,
    },
    /// It is refused, although there is a way.
    Refused {
        /// With which error.
        error: Refusal,
        /// The rule that led there.
        rule: Option<Box<Rule>>,
        /// The route that refuses.
        route: Option<Box<Route>>,
    },
    /// The request does not come in: the reverse path filter.
    ReversePath {
        /// The route that an answer would take, by another link; none where there is no way.
        route: Option<Box<Route>>,
    },
    /// The request does not come in, for another reason.
    NotAccepted {
        /// With which error.
        error: Refusal,
    },
    /// The request is sent on, and not for the host.
    Forwarded {
        /// By which link.
        by: u32,
    },
    /// It is of a published port: the reply comes in from a container, the request goes to one.
    Published(Box<Fault>),
    /// It cannot be told.
    Unproven(Reason),
}

/// Why something cannot be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A rule asks for something that is not decoded.
    Rule(Box<Rule>),
    /// A route has something that is not modelled.
    Route(Box<Route>, Strange),
    /// The snapshot does not say.
    Unknown(Unknown),
    /// Rules tell more kinds of packets apart than were asked about.
    ManyKinds,
}

/// What the configuration asks for although it is not what multihome is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Accepted {
    /// `primary`: this uplink is left to main.
    Primary(u32),
    /// `on_down = "fallthrough"` of this uplink.
    Fallthrough(u32),
}

/// An address, which stands for all of the same links that are treated alike.
#[derive(Debug)]
struct Source {
    /// The links that have it; several, where a service moves between hosts or cards.
    owners: Vec<u32>,
    address: IpAddr,
}

/// How much is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The host as it is, and after each failure.
    All,
    /// The host as it is.
    Now,
    /// All, without shortcuts: of the whole snapshot, and after each failure anew. For a test.
    #[cfg(test)]
    Slowly,
}

/// Asks everything.
#[must_use]
pub fn verify(snapshot: &Snapshot, config: &Config, plan: &Plan) -> Report {
    ask_all(snapshot, config, plan, Scope::All)
}

/// Asks everything about the host as it is, and supposes no failure.
#[must_use]
pub fn verify_now(snapshot: &Snapshot, config: &Config, plan: &Plan) -> Report {
    ask_all(snapshot, config, plan, Scope::Now)
}

/// How many answers there are to ask about at most, on a host as it is: known in a fraction of the time
/// that asking takes.
#[must_use]
pub fn extent(snapshot: &Snapshot) -> usize {
    let lookup = Lookup::new(snapshot);
    let of = |family| {
        let classes = Classes::of(snapshot, family);
        let sources = sources_of(snapshot, family, &classes, &mut 0).len();
        classes.classes.len() * sources * (1 + lookup.kinds(family).0.len())
    };
    Family::BOTH.map(of).iter().sum()
}

/// Asks everything about the host as it will be when the changes that are pending are made: what is
/// wrong then is no work of ours, and `multihome apply` does not mend it. Answers of an uplink that
/// somebody else's numbers keep from having its rules are left out; that is known, and said.
#[must_use]
pub fn verify_settled(
    snapshot: &Snapshot,
    config: &Config,
    plan: &Plan,
    changes: &[Change],
) -> Report {
    let mut report = verify_now(&settled(snapshot, changes), config, plan);
    let frozen = |f: &Finding| {
        let planned = plan.uplinks.iter().find(|p| p.uplink.link == f.owner);
        planned.is_some_and(|p| p.frozen.contains(&f.flow.family()))
    };
    report.wrong.retain(|f| !frozen(f));
    report.unproven.retain(|f| !frozen(f));
    report
}

fn ask_all(snapshot: &Snapshot, config: &Config, plan: &Plan, scope: Scope) -> Report {
    let shortcuts = matches!(scope, Scope::All | Scope::Now);
    let mut report = Report::default();
    let families = Family::BOTH.map(|f| (f, Classes::of(snapshot, f)));
    let mut sources = Vec::new();
    for (family, classes) in &families {
        let found = sources_of(snapshot, *family, classes, &mut report.addresses);
        if !found.is_empty() {
            report.intervals += classes.intervals();
        }
        sources.push(found);
    }
    let reduced = if shortcuts { reduced(snapshot, &families) } else { snapshot.clone() };
    let host = Host::new(config, plan);
    let lookup = Lookup::new(&reduced);
    let state = State::new(&host, &reduced);
    let kinds = Family::BOTH.map(|family| lookup.kinds(family));
    let mut asker = Asker::new(&mut report);
    // Which questions a link has a part in.
    let mut parts: BTreeMap<u32, Vec<Question<'_>>> = BTreeMap::new();
    for (f, (_, classes)) in families.iter().enumerate() {
        let (variants, all_kinds) = &kinds[f];
        let mut judged = BTreeSet::new();
        for source in &sources[f] {
            for (c, class) in classes.classes.iter().enumerate() {
                let plain = Question { source, to: class.address, variant: None };
                let others = variants.iter().map(|v| Question { variant: Some(v), ..plain });
                for question in std::iter::once(plain).chain(others) {
                    let Some(links) = asker.ask(&lookup, &state, question, None) else { continue };
                    judged.insert(c);
                    let all = if shortcuts { links } else { host.uplinks().collect() };
                    for link in all {
                        parts.entry(link).or_default().push(question);
                    }
                }
            }
        }
        let (family, of_host) = (families[f].0, (snapshot, config));
        published::ask(
            &mut asker,
            &lookup,
            (&host, &state),
            of_host,
            (&sources[f], classes),
            family,
        );
        if let Some(first) = sources[f].first().filter(|_| !all_kinds) {
            asker.leaves_out_kinds(first);
        }
        asker.report.classes += judged.len();
    }
    if scope == Scope::Now {
        return report;
    }
    for link in host.uplinks() {
        if !reduced.link(link).is_some_and(crate::model::Link::is_up) {
            continue;
        }
        let mut failures = vec![Failure::Down(link)];
        if reduced.link(link).is_some_and(crate::model::Link::has_carrier) {
            failures.push(Failure::NoCarrier(link));
        }
        for failure in failures {
            asker.report.failures.push(failure);
            let mut failed = reduced.clone();
            match failure {
                Failure::Down(link) => link_down(&mut failed, link),
                Failure::NoCarrier(link) => carrier_lost(&mut failed, link),
            }
            if shortcuts && !decides_otherwise(&reduced, &failed) {
                continue;
            }
            let lookup = Lookup::new(&failed);
            let state = State::new(&host, &failed);
            for question in parts.get(&link).into_iter().flatten() {
                asker.ask(&lookup, &state, *question, Some(failure));
            }
        }
    }
    report
}

// ===== asking =====

/// An answer that is asked about.
#[derive(Debug, Clone, Copy)]
struct Question<'q> {
    source: &'q Source,
    to: IpAddr,
    /// Its kind, where that is not the plain one.
    variant: Option<&'q Variant<'q>>,
}

struct Asker<'r> {
    report: &'r mut Report,
    /// What is wrong with all links up, or unproven, need not be said again.
    wrong: HashSet<Flow>,
    unproven: HashSet<Flow>,
}

impl<'r> Asker<'r> {
    fn new(report: &'r mut Report) -> Asker<'r> {
        Asker { report, wrong: HashSet::new(), unproven: HashSet::new() }
    }

    /// Asks one question. Returns the uplinks that have a part in it; none where nothing was asked.
    fn ask(
        &mut self,
        lookup: &Lookup<'_>,
        state: &State<'_>,
        question: Question<'_>,
        failed: Option<Failure>,
    ) -> Option<BTreeSet<u32>> {
        let Question { source, to, .. } = question;
        if to == source.address && !state.owns(to) {
            return None; // it went with its link
        }
        // A link-local client is another one on each link.
        let each: Vec<&[u32]> = if is_link_local(to) {
            source.owners.chunks(1).collect()
        } else {
            vec![&source.owners]
        };
        let asked = each.into_iter().filter_map(|owners| {
            let expected = state.expected(owners, to)?;
            self.ask_for(lookup, state, question, &expected, failed)
        });
        asked.reduce(|mut all, links| {
            all.extend(links);
            all
        })
    }

    fn ask_for(
        &mut self,
        lookup: &Lookup<'_>,
        state: &State<'_>,
        question: Question<'_>,
        expected: &Expected<'_>,
        failed: Option<Failure>,
    ) -> Option<BTreeSet<u32>> {
        let Question { source, to, variant } = question;
        let plain = expected.answer(source.address, to);
        let concerned = variant.is_none_or(|v| v.concerns(&plain));
        // Rules that come before the one for `local` tell requests apart, too.
        let early =
            variant.filter(|v| v.early && v.concerns(&Flow::incoming(0, to, source.address)));
        if !concerned && early.is_none() {
            return None;
        }
        let kind = variant.map(|v| v.kind).filter(|_| concerned).unwrap_or_default();
        let out = plain.clone().of_kind(kind);
        self.report.questions += 1;
        let (trace, links) = match failed {
            None => {
                let trace = lookup.trace(&out);
                let mut links = state.part_takers(&source.owners, to, &trace);
                if kind.uid != 0 {
                    // The filter looks an answer of the kernel's up (`__fib_validate_source`).
                    let checked = lookup.trace(&plain.of_kind(Kind { uid: 0, ..kind }));
                    links.extend(state.part_takers(&source.owners, to, &checked));
                }
                (trace, links)
            }
            Some(_) => (Trace { answer: lookup.ask(&out), ..Trace::default() }, BTreeSet::new()),
        };
        let owner = expected.owner();
        let verdict = expected.judge(state, Family::of(to), &trace.answer);
        let mut kinds = Vec::new();
        if concerned {
            self.note(owner, out, failed, &trace.answer.doubts, verdict);
            kinds.push(kind.reversed());
        }
        kinds.extend(early.map(|v| v.kind));
        for request in expected.requests(state, source.address, to, &trace.answer) {
            let iif = request.iif.filter(|iif| source.owners.contains(iif));
            for kind in &kinds {
                // Who will own the socket is not known when it comes in.
                let request = request.clone().of_kind(Kind { uid: 0, ..*kind });
                let answer = lookup.ask(&request);
                self.report.questions += 1;
                let verdict = expected.judge_request(state, Family::of(to), &answer);
                self.note(iif.unwrap_or(owner), request, failed, &answer.doubts, verdict);
            }
        }
        Some(links)
    }

    /// Notes that not all kinds of packets were asked about.
    fn leaves_out_kinds(&mut self, source: &Source) {
        let flow = Flow::reply(source.address, source.address);
        let (owner, fault) = (source.owners[0], Fault::Unproven(Reason::ManyKinds));
        self.report.unproven.push(Finding { flow, owner, failed: None, fault });
    }

    fn note(
        &mut self,
        owner: u32,
        flow: Flow,
        failed: Option<Failure>,
        doubts: &[Doubt<'_>],
        verdict: Result<Option<Accepted>, Fault>,
    ) {
        let (seen, findings, fault) = match (verdict, doubts.first()) {
            (Ok(None), None) => return,
            (Ok(Some(accepted)), None) => {
                *self.report.accepted.entry(accepted).or_default() += 1;
                return;
            }
            (Ok(_), Some(doubt)) => {
                let fault = Fault::Unproven(Reason::of(doubt));
                (&mut self.unproven, &mut self.report.unproven, fault)
            }
            (Err(fault), _) => (&mut self.wrong, &mut self.report.wrong, fault),
        };
        // What cannot be told is no other thing after each failure.
        let is_new = if failed.is_none() || matches!(fault, Fault::Unproven(_)) {
            seen.insert(flow.clone())
        } else {
            !seen.contains(&flow)
        };
        if is_new {
            findings.push(Finding { flow, owner, failed, fault });
        }
    }
}

impl Reason {
    fn of(doubt: &Doubt<'_>) -> Reason {
        match doubt {
            Doubt::Rule(rule) => Reason::Rule(Box::new((*rule).clone())),
            Doubt::Route(route, what) => Reason::Route(Box::new((*route).clone()), *what),
            Doubt::Unknown(what) => Reason::Unknown(*what),
        }
    }
}

// ===== making it small =====

/// The addresses of the host, one for each way in which rules treat them.
fn sources_of(
    snapshot: &Snapshot,
    family: Family,
    classes: &Classes,
    count: &mut usize,
) -> Vec<Source> {
    let asked = Classes::of_sources(snapshot, family);
    let mut owners: BTreeMap<IpAddr, Vec<u32>> = BTreeMap::new();
    let mut addresses = Vec::new();
    for address in snapshot.addresses().filter(|a| a.family() == family) {
        if !crate::prefix::is_global(address.local) || address.is_dadfailed() {
            continue;
        }
        let links = owners.entry(address.local).or_default();
        if links.is_empty() {
            addresses.push(address.local);
        }
        if !links.contains(&address.link) {
            links.push(address.link);
        }
    }
    *count += addresses.len();
    let mut known = HashSet::new();
    let mut sources = Vec::new();
    for address in addresses {
        let owners = owners.remove(&address).unwrap_or_default();
        if known.insert((owners.clone(), asked.class_of(address), classes.class_of(address))) {
            sources.push(Source { owners, address });
        }
    }
    sources
}

/// The snapshot without the routes that cover nothing of what is asked about.
fn reduced(snapshot: &Snapshot, families: &[(Family, Classes); 2]) -> Snapshot {
    let mut points: HashMap<Family, Vec<u128>> = HashMap::new();
    for (family, classes) in families {
        let points = points.entry(*family).or_default();
        points.extend(classes.classes.iter().map(|c| address_bits(c.address)));
        let own = snapshot.addresses().filter(|a| a.family() == *family);
        points.extend(own.map(|a| address_bits(a.local)));
        points.sort_unstable();
        points.dedup();
    }
    let covers_any = |route: &Route| {
        let Some(points) = points.get(&route.family()) else { return false };
        let first = points.partition_point(|p| *p < route.dst.bits());
        let address = |bits: &u128| crate::prefix::bits_address(route.family(), *bits);
        points.get(first).is_some_and(|p| route.dst.contains(address(p)))
    };
    let mut reduced = snapshot.clone();
    reduced.remove_routes(|r| !covers_any(r));
    reduced
}

/// Whether any look-up can come out otherwise after a failure. `RTNH_F_LINKDOWN` alone decides nothing:
/// where it does (`ignore_routes_with_linkdown`), hops are marked dead with it.
fn decides_otherwise(before: &Snapshot, after: &Snapshot) -> bool {
    let same_hop = |a: &Hop, b: &Hop| {
        let flags = (a.flags ^ b.flags) & !RTNH_F_LINKDOWN;
        flags == 0 && (a.link, a.gateway) == (b.link, b.gateway)
    };
    let same = |a: &Route, b: &Route| {
        a.key() == b.key()
            && a.hops.len() == b.hops.len()
            && a.hops.iter().zip(&b.hops).all(|(a, b)| same_hop(a, b))
    };
    let mut after_routes = after.routes();
    let routes = before.routes().all(|a| after_routes.next().is_some_and(|b| same(a, b)));
    !(routes && after_routes.next().is_none() && before.addresses().eq(after.addresses()))
}

// ===== impl Report and Failure =====

impl Report {
    /// Whether all is right, and all of it is known.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.wrong.is_empty() && self.unproven.is_empty()
    }
}

impl Failure {
    /// The link that fails.
    #[must_use]
    pub fn link(self) -> u32 {
        match self {
            Failure::Down(link) | Failure::NoCarrier(link) => link,
        }
    }
}

impl Finding {
    /// The host's own address.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        if self.flow.iif.is_some() { Some(self.flow.to) } else { self.flow.from }
    }
}

#[cfg(test)]
pub(crate) mod tests;
