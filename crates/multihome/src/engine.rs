//! One reconcile: observe, plan, diff, apply, and look at what came of it.
//!
//! The engine holds what it last knew of the kernel. Commands fill it by a dump, the
//! daemon keeps it up to date by events; both then call [`Engine::reconcile`], so there is
//! one way in which the kernel is ever changed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use multihome_core::diff::{diff, revert};
use multihome_core::model::names::TABLE_LOCAL;
use multihome_core::model::snapshot::{Event, Stale};
use multihome_core::{Change, Config, Family, Memory, Plan, Snapshot, plan};
use multihome_kernel::Kernel;

use crate::error::{self, Failure};
use crate::memory_file::MemoryFile;
use crate::rt_tables;
use crate::run_dir::RunDir;
use crate::words;

/// What knows the kernel and changes it.
pub struct Engine {
    kernel: Kernel,
    snapshot: Snapshot,
    config: Config,
    memory: Memory,
    memory_file: MemoryFile,
    stale: Stale,
    said: BTreeSet<String>,
    /// When the IPv6 routes were last dumped: what their lifetimes count from.
    seen_at: Instant,
    expires_at: Option<Instant>,
}

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
        let memory_file = MemoryFile::read(dir);
        Ok(Engine {
            kernel,
            snapshot: Snapshot::default(),
            config,
            memory: memory_file.memory(),
            memory_file,
            stale: Stale::default(),
            said: BTreeSet::new(),
            seen_at: Instant::now(),
            expires_at: None,
        })
    }

    /// What it knows.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Follows another configuration from now on.
    pub fn set_config(&mut self, config: Config) {
        self.config = config;
        self.said.clear();
    }

    /// Looks at all that the kernel holds.
    pub fn observe(&mut self) -> Result<(), Failure> {
        self.snapshot = self.kernel.snapshot().map_err(error::kernel("read the kernel's state"))?;
        // The kernel's own addresses are in the address list already.
        self.snapshot.remove_routes(|r| r.table == TABLE_LOCAL);
        self.snapshot.table_names = rt_tables::read();
        self.stale = Stale::default();
        self.seen_at = Instant::now();
        Ok(())
    }

    /// Follows one event of the kernel's.
    pub fn follow(&mut self, event: Event) {
        match &event {
            Event::NewRoute { route, .. } | Event::DelRoute(route)
                if route.table == TABLE_LOCAL => {}
            _ => self.stale.merge(self.snapshot.apply(event)),
        }
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

    /// When the first default route that it knows of expires, if one does.
    pub fn expires_at(&self) -> Option<Instant> {
        self.expires_at
    }

    /// Puts the routes that expire in doubt. A router advertisement that renews one makes no
    /// event, and an expired route is deleted up to half a minute late (`fib6_run_gc`).
    pub fn doubt_expired(&mut self) {
        self.expires_at = None;
        self.stale.families.insert(Family::V6);
    }

    /// Our own objects that are still there, as the steps that would take them away.
    pub fn left_of_ours(&self) -> Vec<Change> {
        diff(&self.snapshot, &plan::nothing(&self.snapshot, &self.config))
    }

    /// Looks again at what events have put in doubt.
    pub fn refresh(&mut self) -> Result<(), Failure> {
        if self.stale.is_empty() {
            return Ok(());
        }
        let stale = std::mem::take(&mut self.stale);
        if stale.families.contains(&Family::V6) {
            self.seen_at = Instant::now();
        }
        self.kernel
            .refresh(&mut self.snapshot, &stale)
            .map_err(error::kernel("read the kernel's routes again"))
    }

    /// What should be there, and the steps to it.
    pub fn plan(&mut self) -> (Plan, Vec<Change>) {
        let plan = plan::make(&self.snapshot, &self.config, &self.memory);
        let changes = diff(&self.snapshot, &plan);
        (plan, changes)
    }

    /// Learns gateways from what it knows, and forgets those that were withdrawn.
    pub fn learn(&mut self) -> Result<(), Failure> {
        for link in self.memory.would_forget(&self.snapshot) {
            self.kernel
                .refresh_link(&mut self.snapshot, link)
                .map_err(error::kernel("read a link's state"))?;
        }
        for gone in self.memory.update(&self.snapshot, &self.config) {
            if let Some(gateway) = gone.gateway {
                log::info!("gateway {gateway} of {} was withdrawn", gone.link);
            }
        }
        self.memory_file.store(&self.memory);
        Ok(())
    }

    /// Takes the steps from what is there to the goal. The caller holds the lock on changes and
    /// has observed since.
    pub fn reconcile(&mut self, goal: Goal) -> Result<Outcome, Failure> {
        let (plan, changes) = match goal {
            Goal::Plan => {
                self.learn()?;
                self.plan()
            }
            Goal::Nothing => {
                let plan = plan::nothing(&self.snapshot, &self.config);
                let changes = diff(&self.snapshot, &plan);
                (plan, changes)
            }
        };
        self.expires_at = self.first_expiry();
        self.say(&plan);
        self.name_tables(goal, &plan);
        let failures = self.execute(&changes);
        Ok(Outcome { plan, changes, failures })
    }

    /// Lifetimes count from when they were seen. A route that an event brought was seen later
    /// than the others, so this may be early for it; then one look more is taken.
    fn first_expiry(&self) -> Option<Instant> {
        let seconds = self
            .snapshot
            .routes()
            .filter(|r| r.dst.is_default() && !r.is_ours() && !r.is_expired())
            .filter_map(|r| u64::try_from(r.expires?).ok())
            .min()?;
        let moment = Duration::from_millis(50); // the kernel counts in ticks
        Some(self.seen_at + Duration::from_secs(seconds) + moment)
    }

    fn execute(&mut self, changes: &[Change]) -> Vec<(usize, multihome_kernel::Error)> {
        if changes.is_empty() {
            return Vec::new();
        }
        let names = self.snapshot.names();
        for change in changes {
            log::info!("{}", change.command(&names));
        }
        let complete = self.snapshot.is_complete();
        let outcomes = self.kernel.apply(changes, complete);
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

    /// Says once what stands in the way and what the operator should know.
    fn say(&mut self, plan: &Plan) {
        let names = self.snapshot.names();
        let mut now = BTreeSet::new();
        for conflict in &plan.conflicts {
            let (what, remedy) = words::conflict(conflict, &names);
            now.insert(format!("conflict: {what} (hint: {remedy})"));
        }
        now.extend(plan.notes.iter().map(words::note));
        now.extend(self.snapshot.incomplete.iter().map(|w| format!("incomplete: {w}")));
        for text in now.difference(&self.said) {
            log::warn!("{text}");
        }
        self.said = now;
    }

    fn name_tables(&mut self, goal: Goal, plan: &Plan) {
        let result = match goal {
            Goal::Plan if plan.new_table_names.is_empty() => return,
            Goal::Plan => rt_tables::add(&plan.new_table_names),
            Goal::Nothing => rt_tables::remove(),
        };
        match result {
            Ok(()) => self.snapshot.table_names = rt_tables::read(),
            Err(e) => {
                log::warn!("{}: {e}: table names stay unknown to `ip`", rt_tables::own_file())
            }
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
