//! The kernel's decision as it is re-enacted, against the kernel's own.
//!
//! Random worlds are built in namespaces, and each is asked random questions twice: the kernel by
//! `RTM_GETROUTE`, and [`Lookup`] by a snapshot. What the kernel says must be among what comes out
//! of the re-enactment, which in nearly all cases must be one thing and not in doubt.
//!
//! `FLOWS=10000000` asks more, `SEED=17` begins with another world, and `WORLD=17` asks that one
//! only and says more about it. A disagreement is made small, and written where `CASES` says or
//! in the directory for temporary files: it becomes a case of `multihome-core/tests/lookup`.

mod build;
mod dice;
mod flows;
mod report;
mod shrink;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use multihome_core::lookup::{Answer, Doubt, Told};
use multihome_core::model::Route;
use multihome_core::model::names::TABLE_LOCAL;
use multihome_core::{Family, Flow, Lookup, Snapshot};

use build::World;
use dice::Dice;
use flows::Pool;
use world::Maker;

/// How many flows are asked about unless `FLOWS` says otherwise.
const FLOWS: u64 = 100_000;
/// How many flows in one world.
const FLOWS_OF_A_WORLD: usize = 1000;
/// How many in a hundred answers must be one thing and not in doubt.
const CERTAIN: u64 = 94;
/// What IPv6 says of what it cannot be asked.
const EMSGSIZE: i32 = 90;
/// After so many disagreements there is no point in more.
const ENOUGH: usize = 5;

/// How the answers were.
#[derive(Debug, Default)]
struct Tally {
    /// By family and what kind of answer.
    counts: BTreeMap<(Family, String), u64>,
    steps: u64,
    taken: u64,
    /// Worlds that changed while they were asked.
    restless: u64,
    /// Flows that the kernel cannot be asked about.
    unasked: u64,
}

/// A question that is answered differently.
pub struct Disagreement {
    pub flow: Flow,
    /// What the kernel says.
    pub told: Told,
    /// The route that it says it is by.
    pub route: Option<Route>,
    /// What is wrong with our answer.
    pub why: &'static str,
}

/// What the kernel said to a flow.
struct Said {
    /// None where it cannot be asked: what comes in to many by IPv6 is answered by the multicast
    /// router, or with EMSGSIZE where there is none (`rt6_fill_node`).
    told: Option<Told>,
    route: Option<Route>,
}

pub fn the_kernel_and_the_reenactment_agree() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let seed = number("WORLD").or(number("SEED")).unwrap_or(1);
    let flows = if number("WORLD").is_some() { 1 } else { number("FLOWS").unwrap_or(FLOWS) };
    let worlds = flows.div_ceil(FLOWS_OF_A_WORLD as u64);
    let users = std::fs::read_to_string("/proc/self/uid_map").unwrap().contains("4294967295");
    let (next, found) = (AtomicU64::new(seed), AtomicUsize::new(0));
    let all = Mutex::new(Tally::default());
    let reports = Mutex::new(Vec::new());
    let start = std::time::Instant::now();
    let work = || {
        let mut tally = Tally::default();
        while found.load(Ordering::Relaxed) < ENOUGH {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed - number("WORLD").or(number("SEED")).unwrap_or(1) >= worlds {
                break;
            }
            if let Some(report) = one(seed, users, &mut tally) {
                found.fetch_add(1, Ordering::Relaxed);
                println!("{report}");
                reports.lock().unwrap().push(seed);
            }
        }
        all.lock().unwrap().merge(tally);
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().for_each(|w| w.join().expect("a worker that does not panic"));
    });
    let tally = all.into_inner().unwrap();
    println!("{}", tally.table(seed, start.elapsed().as_secs_f64()));
    let reports = reports.into_inner().unwrap();
    assert!(reports.is_empty(), "disagreements in worlds {reports:?}");
    assert!(
        flows < FLOWS || tally.certain() * 100 >= tally.total() * CERTAIN,
        "of {} answers only {} are one thing and not in doubt",
        tally.total(),
        tally.certain()
    );
}

/// Asks one world; a report when there is disagreement.
fn one(seed: u64, users: bool, tally: &mut Tally) -> Option<String> {
    let mut dice = Dice::new(seed);
    let steps = Maker::steps(&mut dice, users);
    let mut world = World::build(&steps);
    tally.steps += steps.len() as u64;
    tally.taken += world.taken as u64;
    let pool = Pool::new(&world.snapshot, users);
    let flows: Vec<Flow> = (0..FLOWS_OF_A_WORLD).map(|_| pool.flow(&mut dice)).collect();
    for _ in 0..5 {
        let said = ask(&mut world, &flows);
        if !world.is_unchanged() {
            tally.restless += 1;
            continue;
        }
        let found = compare(&world.snapshot, &flows, said, Some(tally));
        let first = found.into_iter().next()?;
        return Some(report::disagreement(seed, &steps, &world.snapshot, first));
    }
    panic!("world {seed} changes while it is asked");
}

fn ask(world: &mut World, flows: &[Flow]) -> Vec<Said> {
    let told = world.kernel.route_get_all(flows);
    let routes = world.kernel.fib_match_all(flows);
    let said = flows.iter().zip(told).map(|(flow, told)| match told {
        Ok(told) => Some(told),
        Err(e) if e.errno() == Some(EMSGSIZE) && flow.iif.is_some() && flow.to.is_ipv6() => None,
        Err(e) => panic!("no answer to {flow:?}: {e}"),
    });
    said.zip(routes).map(|(told, route)| Said { told, route: route.ok() }).collect()
}

/// Where the two disagree.
fn compare(
    snapshot: &Snapshot,
    flows: &[Flow],
    said: Vec<Said>,
    mut tally: Option<&mut Tally>,
) -> Vec<Disagreement> {
    let lookup = Lookup::new(snapshot);
    // IPv4's `local` and `main` may share a trie, and then the kernel takes one for the other.
    let merged = snapshot.rules().filter(|r| r.family == Family::V4).count() == 3;
    let mut found = Vec::new();
    for (flow, said) in flows.iter().zip(said) {
        let Some(told) = said.told else {
            if let Some(tally) = &mut tally {
                tally.unasked += 1;
            }
            continue;
        };
        let answer = lookup.ask(&flow.as_asked());
        if let Some(tally) = &mut tally {
            tally.count(flow, &answer);
        }
        if let Some(why) = disagree(merged, flow, &told, said.route.as_ref(), &answer) {
            found.push(Disagreement { flow: flow.clone(), told, route: said.route, why });
        }
    }
    found
}

/// What is wrong with an answer, if something is.
fn disagree(
    merged: bool,
    flow: &Flow,
    told: &Told,
    route: Option<&Route>,
    answer: &Answer<'_>,
) -> Option<&'static str> {
    if !answer.is_certain() {
        return None;
    }
    if answer.outcomes.is_empty() {
        return Some("there is no answer");
    }
    let fitting: Vec<_> = answer.outcomes.iter().filter(|o| told.is(&o.told(flow))).collect();
    if fitting.is_empty() {
        return Some("the answer is another");
    }
    // The route too, where both name one.
    let theirs = route?;
    let same = |ours: &Route| {
        let (a, mut b) = (ours.key(), theirs.key());
        if merged && a.table == TABLE_LOCAL {
            b.table = TABLE_LOCAL;
        }
        a == b && ours.protocol == theirs.protocol
    };
    let ours: Vec<&Route> = fitting
        .iter()
        .filter_map(|o| match o {
            multihome_core::lookup::Outcome::Sent(path) => path.route,
            multihome_core::lookup::Outcome::Refused { .. } => None,
        })
        .collect();
    (!ours.is_empty() && !ours.into_iter().any(same)).then_some("the route is another")
}

// ===== impl Tally =====

impl Tally {
    fn count(&mut self, flow: &Flow, answer: &Answer<'_>) {
        let kind = match (answer.doubts.first(), answer.outcomes.len()) {
            (Some(Doubt::Rule(_)), _) => "cannot tell: a rule's selector".to_owned(),
            (Some(Doubt::Route(_, why)), _) => format!("cannot tell: {why:?}"),
            (Some(Doubt::Unknown(why)), _) => format!("cannot tell: {why:?}"),
            (None, 1) => "certain".to_owned(),
            (None, _) => "several outcomes".to_owned(),
        };
        *self.counts.entry((flow.family(), kind)).or_default() += 1;
    }

    fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    fn certain(&self) -> u64 {
        self.counts.iter().filter(|((_, kind), _)| kind == "certain").map(|(_, n)| n).sum()
    }

    fn merge(&mut self, other: Tally) {
        for (key, count) in other.counts {
            *self.counts.entry(key).or_default() += count;
        }
        self.steps += other.steps;
        self.taken += other.taken;
        self.restless += other.restless;
        self.unasked += other.unasked;
    }

    fn table(&self, seed: u64, seconds: f64) -> String {
        let mut out = format!(
            "{} flows from world {seed} on in {seconds:.1} s; the kernel took {} of {} steps; {} worlds asked again, {} flows not to be asked about\n",
            self.total(),
            self.taken,
            self.steps,
            self.restless,
            self.unasked
        );
        for ((family, kind), count) in &self.counts {
            let percent = *count as f64 * 100.0 / self.total() as f64;
            let _ = writeln!(out, "    {family}  {count:>9}  {percent:>6.2} %  {kind}");
        }
        out
    }
}
