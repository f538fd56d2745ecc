//! One reconcile: observe, plan, diff, apply, and look at what came of it.
//!
//! The engine holds what it last knew of the kernel. Commands fill it by a dump, the
//! daemon keeps it up to date by events; both then call [`Engine::prepare`] and
//! [`Engine::take`], so there is one way in which the kernel is ever changed.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use multihome_core::diff::{diff, revert};
use multihome_core::import::{self, Declared};
use multihome_core::interest::is_a_daemons;
use multihome_core::memory::Remembered;
use multihome_core::model::Route;
use multihome_core::model::netfilter::Held;
use multihome_core::model::snapshot::{Event, Stale};
use multihome_core::plan::Note;
use multihome_core::rival::Tool;
use multihome_core::{Change, Config, Family, Interest, Memory, Plan, Snapshot, plan, return_path};
use multihome_kernel::Kernel;
use multihome_sources::Places;

use crate::departures::Departures;
use crate::error::{self, Failure};
use crate::kept::{GATEWAYS, Kept};
use crate::lookout::{Due, Lookout};
use crate::offenders::Offenders;
use crate::rt_tables;
use crate::run_dir::RunDir;
use crate::surroundings::{Surroundings, as_possible};
use crate::words;

/// What knows the kernel and changes it.
pub struct Engine {
    kernel: Kernel,
    snapshot: Snapshot,
    config: Config,
    memory: Memory,
    /// The memory on file.
    kept: Kept<Memory>,
    stale: Stale,
    interest: Interest,
    /// Daemons' routes that were passed over as of no interest.
    passed_over: usize,
    said: BTreeSet<String>,
    /// Others who do the same job, as far as they were named.
    rivals: BTreeSet<Tool>,
    /// Rules of others in front of ours, as far as they were named.
    offenders: Offenders,
    names_failed: bool,
    lookout: Lookout,
    departures: Departures,
    places: Places,
    surroundings: Surroundings,
    stale_settings: bool,
    stale_netfilter: bool,
    /// Sysctls that may not be written, by path.
    refused: BTreeSet<String>,
}

/// How often a plan may show that more routes are of interest: those that one look brings may
/// in turn hold others.
const WIDENINGS: usize = 3;

/// What a reconcile did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The plan that it followed.
    pub plan: Plan,
    /// The steps that it took, also those that failed.
    pub changes: Vec<Change>,
    /// The steps that failed: which, and the kernel's words.
    pub failures: Vec<(usize, multihome_kernel::Error)>,
}

/// What is to be done to reach a goal.
#[derive(Debug)]
pub struct Steps {
    goal: Goal,
    withdrawn: Vec<Remembered>,
    /// What should be there.
    pub plan: Plan,
    /// In order; empty when nothing is to be done.
    pub changes: Vec<Change>,
}

/// What is to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// What the plan says.
    Plan,
    /// Nothing of ours.
    Nothing,
}

impl Engine {
    /// An engine that knows nothing yet.
    pub fn open(config: Config, dir: &RunDir) -> Result<Engine, Failure> {
        let kernel = Kernel::open().map_err(error::kernel("open a netlink socket"))?;
        let kept = Kept::<Memory>::read(dir, GATEWAYS);
        Ok(Engine {
            kernel,
            snapshot: Snapshot::default(),
            config: as_possible(config),
            memory: kept.stored().clone(),
            kept,
            stale: Stale::default(),
            interest: Interest::default(),
            passed_over: 0,
            said: BTreeSet::new(),
            rivals: BTreeSet::new(),
            offenders: Offenders::default(),
            names_failed: false,
            lookout: Lookout::new(),
            departures: Departures::default(),
            places: dir.places(),
            surroundings: Surroundings::new(dir),
            stale_settings: false,
            stale_netfilter: false,
            refused: BTreeSet::new(),
        })
    }

    /// What it knows.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// What it knew in the end.
    pub fn into_snapshot(self) -> Snapshot {
        self.snapshot
    }

    /// Follows another configuration from now on.
    pub fn set_config(&mut self, config: Config) {
        self.config = as_possible(config);
        self.said.clear();
        self.departures.clear();
        self.rivals.clear();
        self.offenders.clear();
    }

    /// Looks at all that the kernel holds, as far as it has to do with the goal.
    pub fn observe(&mut self, goal: Goal) -> Result<(), Failure> {
        let interest = &self.interest;
        let passed_over = Cell::new(0_usize);
        self.snapshot = self
            .kernel
            .snapshot_of(&|r| wanted(interest, r, &passed_over))
            .map_err(error::kernel("read the kernel's state"))?;
        self.passed_over = passed_over.get();
        self.snapshot.table_names = rt_tables::read();
        self.read_hints();
        self.stale = Stale::default();
        self.lookout.sees_routes();
        let Engine { surroundings, kernel, snapshot, config, .. } = self;
        surroundings.look(kernel, snapshot, config, goal == Goal::Nothing);
        (self.stale_settings, self.stale_netfilter) = (false, false);
        Ok(())
    }

    /// Reads what is on file of the ways out.
    pub fn read_hints(&mut self) {
        let now = SystemTime::now();
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.snapshot.hints = multihome_sources::read(&self.places, now);
        for ended in self.memory.end_leases(seconds) {
            let link = self.snapshot.links().find(|l| l.identity() == ended.link);
            if let (Some(gateway), Some(link)) = (ended.gateway, link) {
                log::info!("the lease that told gateway {gateway} of {} has ended", link.name);
            }
        }
        let ends = [self.snapshot.hints.first_end(), self.memory.first_end()];
        let left = ends.into_iter().flatten().min().map(|end| end.saturating_sub(seconds));
        self.lookout.expects_end(left.map(Duration::from_secs));
    }

    /// Where that is.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Follows one event of the kernel's.
    pub fn follow(&mut self, event: Event) {
        match &event {
            Event::SettingsChanged => self.stale_settings = true,
            Event::NewLink(_) | Event::NewAddress(_) => self.lookout.expects_settings(),
            _ => {}
        }
        match &event {
            Event::DelAddress(address) => self.departures.note(address),
            Event::NewLink(link) if !link.is_up() => self.memory.park(link),
            Event::NewLink(link) if self.snapshot.link(link.index).is_some_and(|l| !l.is_up()) => {
                self.lookout.expects_routers();
            }
            Event::DelLink(index) => {
                if let Some(link) = self.snapshot.link(*index) {
                    self.memory.park(link);
                }
            }
            _ => {}
        }
        if let Event::NewRoute { route, replace, .. } = &event
            && !self.interest.wants(route)
        {
            self.passed_over += usize::from(is_a_daemons(route));
            if *replace {
                self.stale.merge(self.snapshot.remove_replaced(route));
            }
            return;
        }
        self.stale.merge(self.snapshot.apply(event));
    }

    /// The netlink port of our own requests: events that carry it are our own doing.
    pub fn port(&self) -> u32 {
        self.kernel.port()
    }

    /// Notes that something was announced that could not be understood: nothing is removed
    /// until all was looked at again.
    pub fn doubt(&mut self, what: String) {
        self.snapshot.incomplete.push(what);
    }

    /// When to look again although nothing was announced, if there is something to wait for.
    pub fn next_look(&self) -> Option<Instant> {
        self.lookout.next()
    }

    /// Puts in doubt what has come to its end by now; says whether anything did.
    pub fn doubt_expired(&mut self) -> bool {
        let mut any = false;
        while let Some(due) = self.lookout.take() {
            let before = any;
            any = true;
            match due {
                Due::Routers => self.memory.give_up(&self.snapshot),
                Due::Leases => self.read_hints(),
                Due::Settings => {
                    any = before | self.settings_changed();
                }
                Due::Leavings => {} // the next reconcile takes them
                Due::Routes => {
                    self.stale.families.insert(Family::V6);
                }
            }
        }
        any
    }

    /// Our own objects that are still there, as the steps that would take them away.
    pub fn left_of_ours(&self) -> Vec<Change> {
        diff(&self.snapshot, &plan::nothing(&self.snapshot, &self.config))
    }

    /// Looks again at what events have put in doubt.
    pub fn refresh(&mut self) -> Result<(), Failure> {
        self.refresh_surroundings();
        if self.stale.is_empty() {
            return Ok(());
        }
        let stale = std::mem::take(&mut self.stale);
        if stale.families.contains(&Family::V6) {
            self.lookout.sees_routes();
        }
        let interest = &self.interest;
        let passed_over = Cell::new(self.passed_over);
        let result =
            self.kernel.refresh(&mut self.snapshot, stale, &|r| wanted(interest, r, &passed_over));
        self.passed_over = passed_over.get();
        result.map_err(error::kernel("read the kernel's routes again"))
    }

    fn refresh_surroundings(&mut self) {
        let Engine { surroundings, kernel, snapshot, config, .. } = self;
        let concerned = return_path::concerns(snapshot, config);
        if std::mem::take(&mut self.stale_settings) {
            surroundings.look_at_sysctls(snapshot);
            // A host that begins to forward has something to ask, and one that ends it no more.
            self.stale_netfilter |= concerned != return_path::concerns(snapshot, config);
        }
        if std::mem::take(&mut self.stale_netfilter) {
            surroundings.look_at_netfilter(kernel, snapshot, config, false);
        }
    }

    /// Reads the settings again; says whether any is other than it was.
    fn settings_changed(&mut self) -> bool {
        let before = (self.snapshot.sysctls.clone(), self.snapshot.raised.clone());
        self.stale_settings = true;
        self.refresh_surroundings();
        before != (self.snapshot.sysctls.clone(), self.snapshot.raised.clone())
    }

    /// Looks again at what netfilter holds; says whether that is other than it was.
    pub fn netfilter_changed(&mut self) -> bool {
        let before = self.snapshot.netfilter.clone();
        self.stale_netfilter = true;
        self.refresh_surroundings();
        before != self.snapshot.netfilter
    }

    /// The netlink port of our own requests to netfilter; 0 while there were none.
    pub fn netfilter_port(&self) -> u32 {
        self.kernel.netfilter_port().unwrap_or(0)
    }

    /// How long the last look at netfilter took.
    pub fn cost_of_netfilter(&self) -> Duration {
        self.surroundings.cost()
    }

    /// Whether what netfilter holds decides about the plan, so that its announcements are wanted.
    pub fn follows_netfilter(&self) -> bool {
        return_path::concerns(&self.snapshot, &self.config)
    }

    /// What should be there, and the steps to it.
    pub fn plan(&mut self) -> Result<(Plan, Vec<Change>), Failure> {
        let mut plan = plan::make(&self.snapshot, &self.config, &self.memory);
        for _ in 0..WIDENINGS {
            if !self.widen(&plan)? {
                break;
            }
            plan = plan::make(&self.snapshot, &self.config, &self.memory);
        }
        let changes = self.without_refused(diff(&self.snapshot, &plan));
        Ok((plan, changes))
    }

    /// Makes sure that what was passed over is still of no interest to this plan; looks again at
    /// the routes if not, and says that it did.
    fn widen(&mut self, plan: &Plan) -> Result<bool, Failure> {
        let interest = Interest::of(plan);
        if interest == self.interest {
            return Ok(false);
        }
        self.interest = interest;
        if self.passed_over == 0 {
            return Ok(false);
        }
        self.passed_over = 0;
        self.stale.families.extend(Family::BOTH);
        self.refresh()?;
        Ok(true)
    }

    /// Learns gateways from what it knows, and forgets those that were withdrawn; those are the
    /// answer.
    fn learn(&mut self) -> Result<Vec<Remembered>, Failure> {
        for link in self.memory.would_forget(&self.snapshot) {
            self.kernel
                .refresh_link(&mut self.snapshot, link)
                .map_err(error::kernel("read a link's state"))?;
        }
        Ok(self.memory.update(&self.snapshot, &self.config))
    }

    /// What is to be done to reach the goal, from what is known. Changes nothing in the kernel.
    pub fn prepare(&mut self, goal: Goal) -> Result<Steps, Failure> {
        let mut withdrawn = Vec::new();
        let (plan, changes) = match goal {
            Goal::Plan => {
                withdrawn = self.learn()?;
                let (plan, mut changes) = self.plan()?;
                let until = self.departures.hold_back(&mut changes, &self.snapshot, &self.config);
                self.lookout.expects_leavings(until);
                (plan, changes)
            }
            Goal::Nothing => {
                let plan = plan::nothing(&self.snapshot, &self.config);
                let changes = diff(&self.snapshot, &plan);
                (plan, changes)
            }
        };
        self.lookout.expects_expiry(&self.snapshot);
        Ok(Steps { goal, withdrawn, plan, changes })
    }

    /// What is to be done to take over what is declared: ours in its place, then theirs away.
    pub fn prepare_takeover(&mut self, declared: &Declared) -> Result<Steps, Failure> {
        let withdrawn = self.learn()?;
        let bare = import::bare(&self.snapshot, declared);
        let plan = plan::make(&bare, &self.config, &self.memory);
        let changes = import::takeover(&self.snapshot, &bare, &plan);
        Ok(Steps { goal: Goal::Plan, withdrawn, plan, changes: self.without_refused(changes) })
    }

    /// Takes the steps, remembers what was learnt, and says what there is to say. The caller
    /// holds the lock on changes, if there are any, and has prepared them since.
    pub fn take(&mut self, steps: Steps) -> Outcome {
        let Steps { goal, withdrawn, plan, mut changes } = steps;
        self.surroundings.note(&mut self.snapshot, &mut changes);
        let failures = self.execute(&changes);
        for gone in withdrawn {
            let link = self.snapshot.links().find(|l| l.identity() == gone.link);
            if let (Some(gateway), Some(link)) = (gone.gateway, link) {
                log::info!("gateway {gateway} of {} was withdrawn", link.name);
            }
        }
        if goal == Goal::Plan {
            self.kept.store(&self.memory);
        }
        self.say(&plan);
        self.name_tables(goal, &plan, &changes);
        Outcome { plan, changes, failures }
    }

    /// Forgets all gateways, on file too.
    pub fn forget(&mut self) {
        self.memory = Memory::default();
        self.kept.remove();
    }

    fn execute(&mut self, changes: &[Change]) -> Vec<(usize, multihome_kernel::Error)> {
        if changes.is_empty() {
            return Vec::new();
        }
        let complete = self.snapshot.is_complete();
        let outcomes = self.kernel.apply(changes, complete);
        // Only now: whoever waits for an answer does not wait for the log.
        let names = self.snapshot.names();
        for change in changes {
            log::info!("{}", change.command(&names));
            if let Change::SetGroup { link, .. } = change
                && self.snapshot.link(*link).is_some_and(|l| !l.is_up())
                && let Err(e) = self.kernel.refresh_link(&mut self.snapshot, *link)
            {
                // netdev_state_change announces nothing of a link that is down.
                log::debug!("read a link's state: {e}");
            }
        }
        self.follow_own(changes, &outcomes);
        let failed = |(at, outcome): (usize, Result<(), multihome_kernel::Error>)| {
            let e = outcome.err()?;
            // What was to go is gone: the kernel flushes routes with their link or address.
            if changes[at].is_removal() && e.is_absent() {
                return None;
            }
            Some((at, e))
        };
        outcomes.into_iter().enumerate().filter_map(failed).collect()
    }

    /// Notes what became of steps that nobody announces to us.
    fn follow_own(&mut self, changes: &[Change], outcomes: &[Result<(), multihome_kernel::Error>]) {
        let (mut made, mut failed) = (Vec::new(), Vec::new());
        for (change, outcome) in changes.iter().zip(outcomes) {
            match (change, outcome) {
                (Change::SetReturnPath { to, .. }, Ok(())) => {
                    if let Some(netfilter) = &mut self.snapshot.netfilter {
                        netfilter.table = to.clone().map_or(Held::Absent, Held::Whole);
                    }
                }
                (Change::SetReturnPath { .. }, Err(_)) => self.stale_netfilter = true,
                (Change::SetSysctl { .. }, Ok(())) => made.push(change),
                (Change::SetSysctl { path, .. }, Err(e)) => {
                    self.stale_settings = true;
                    failed.push(change);
                    // What may not be written is not tried again.
                    if e.is_permission() || e.is_read_only() {
                        self.refused.insert(path.clone());
                    }
                }
                _ => {}
            }
        }
        self.surroundings.confirm(&mut self.snapshot, &made, &failed);
    }

    /// Leaves out sysctls that this process may not write, as in many containers: once is enough.
    fn without_refused(&self, mut changes: Vec<Change>) -> Vec<Change> {
        changes.retain(
            |c| !matches!(c, Change::SetSysctl { path, .. } if self.refused.contains(path)),
        );
        changes
    }

    /// Says once what stands in the way and what the operator should know.
    fn say(&mut self, plan: &Plan) {
        let names = self.snapshot.names();
        // Those that have had their own say stand apart.
        let (mut now, mut told) = (BTreeSet::new(), BTreeSet::new());
        for conflict in &plan.conflicts {
            let (what, remedy) = words::conflict(conflict, &names);
            now.insert(format!("conflict: {what} (hint: {remedy})"));
        }
        for note in &plan.notes {
            let text = words::note(note, &names);
            match note {
                // Its rules come and go with each reload of its manager: it is named once.
                Note::Rival(rival) if !self.rivals.insert(rival.tool) => {}
                Note::Rival(_) => log::warn!("{text}"),
                Note::Overtaken(by) | Note::Captured { by, .. } => {
                    let is_news = !self.said.contains(&text) && self.offenders.is_news(&by.rule);
                    // Nothing is wrong when it is jumped over.
                    match note {
                        _ if !is_news => {}
                        Note::Overtaken(_) => log::info!("{text}"),
                        _ => log::warn!("{text}"),
                    }
                    told.insert(text);
                }
                _ => drop(now.insert(text)),
            }
        }
        now.extend(self.snapshot.incomplete.iter().map(|w| format!("incomplete: {w}")));
        for text in now.difference(&self.said) {
            log::warn!("{text}");
        }
        now.append(&mut told);
        self.said = now;
    }

    fn name_tables(&mut self, goal: Goal, plan: &Plan, changes: &[Change]) {
        let result = match goal {
            Goal::Plan if plan.new_table_names.is_empty() => return,
            Goal::Plan => rt_tables::add(&plan.new_table_names),
            Goal::Nothing => {
                let left = changes.iter().filter_map(|c| match c {
                    Change::DelRoute(route) => Some(route.table),
                    _ => None,
                });
                rt_tables::remove(&left.collect())
            }
        };
        match result {
            Ok(()) => self.snapshot.table_names = rt_tables::read(),
            // Once is enough: the names are for reading only.
            Err(e) if !self.names_failed => {
                log::warn!("{}: {e}: table names stay unknown to `ip`", rt_tables::own_file());
                self.names_failed = true;
            }
            Err(_) => {}
        }
    }
}

/// The steps of an outcome as `ip` commands, and those that would undo them.
pub fn commands(outcome: &Outcome, snapshot: &Snapshot) -> (Vec<String>, Vec<String>) {
    let names = snapshot.names();
    (
        words::plan::commands(&outcome.changes, &names),
        words::plan::commands(&revert(&outcome.changes), &names),
    )
}

/// Whether a route is of interest; counts the daemons' routes that are not.
fn wanted(interest: &Interest, route: &Route, passed_over: &Cell<usize>) -> bool {
    let wanted = interest.wants(route);
    if !wanted && is_a_daemons(route) {
        passed_over.set(passed_over.get() + 1);
    }
    wanted
}
