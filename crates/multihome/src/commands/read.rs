//! `multihome status`, `plan` and `snapshot`: they change nothing and need no privileges.

use std::cell::Cell;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::SystemTime;

use multihome_core::diff::{diff, revert};
use multihome_core::model::Route;
use multihome_core::plan::Note;
use multihome_core::verify::{Report, extent, verify_settled};
use multihome_core::{Change, Config, Memory, Plan, Snapshot, plan};
use multihome_kernel::Kernel;

use super::change::is_down;
use crate::cli::{Json, PlanArgs, Reading};
use crate::config_files;
use crate::engine::{Engine, Goal, Steps};
use crate::error::{self, Failure, PENDING};
use crate::host;
use crate::kept::{GATEWAYS, Kept};
use crate::output::{self, Style};
use crate::rt_tables;
use crate::run_dir::RunDir;
use crate::surroundings::{Surroundings, as_possible};
use crate::words;
use crate::words::plan::PlanJson;
use crate::words::status::{Status, Verdict, Watch};

/// The state of a host with a million routes fits.
const MAX_SNAPSHOT: u64 = 1 << 30;
/// With more routes than that `status` asks no answers: it is to be quick, and small, where a million are.
const MAX_ASKED: usize = 20_000;
/// Nor with more questions: with hundreds of rules for ports there are millions.
const MAX_EXTENT: usize = 100_000;

/// Shows how the host stands.
pub fn status(named: Option<&Path>, args: &Reading) -> Result<u8, Failure> {
    let config = config_files::read(named)?;
    let watch = match (&args.snapshot, RunDir::path().daemon()) {
        (Some(_), _) => Watch::File,
        (None, Some(holder)) => Watch::By(holder),
        (None, None) if is_down(&RunDir::path()) => Watch::Down,
        (None, None) => Watch::Nobody,
    };
    let seen = look(&config, args)?;
    let answers = answers(&config, args, &seen)?;
    let Seen { snapshot, plan, changes } = seen;
    let status = Status::new(&snapshot, &config, &plan, &changes, answers.as_ref(), watch);
    if args.json {
        output::json(&status)?;
    } else {
        output::text(&status.text(Style::stdout()))?;
    }
    Ok(match status.verdict {
        Verdict::Well | Verdict::NoUplinks => 0,
        Verdict::Degraded | Verdict::NotInSync | Verdict::Conflict | Verdict::Incomplete => PENDING,
    })
}

/// What becomes of answers when all of ours is there: rules of others may send them elsewhere all the
/// same. None when that need not or cannot be asked.
fn answers(config: &Config, args: &Reading, seen: &Seen) -> Result<Option<Report>, Failure> {
    let Seen { snapshot, plan, changes } = seen;
    if !snapshot.is_complete() || plan.uplinks.is_empty() {
        return Ok(None);
    }
    if args.snapshot.is_some() {
        let few = snapshot.routes().take(MAX_ASKED + 1).count() <= MAX_ASKED
            && extent(snapshot) <= MAX_EXTENT;
        return Ok(few.then(|| verify_settled(snapshot, config, plan, changes)));
    }
    // The plan does not depend on all routes; where a packet goes does.
    let routes = Cell::new(0);
    let is_wanted = |_: &Route| {
        routes.set(routes.get() + 1);
        routes.get() <= MAX_ASKED
    };
    let mut kernel = Kernel::open().map_err(error::kernel("open a netlink socket"))?;
    let mut all =
        kernel.snapshot_of(&is_wanted).map_err(error::kernel("read the kernel's state"))?;
    if routes.get() > MAX_ASKED {
        return Ok(None);
    }
    kernel.circumstances(&mut all);
    all.table_names.clone_from(&snapshot.table_names);
    let asked = all.is_complete() && extent(&all) <= MAX_EXTENT;
    Ok(asked.then(|| verify_settled(&all, config, plan, changes)))
}

/// Shows what `apply` would change.
pub fn plan(named: Option<&Path>, args: &PlanArgs) -> Result<u8, Failure> {
    let config = config_files::read(named)?;
    let Seen { snapshot, plan, changes } = look(&config, &args.reading)?;
    let names = snapshot.names();
    let conflicts: Vec<_> = plan.conflicts.iter().map(|c| words::conflict(c, &names)).collect();
    if args.reading.json {
        output::json(&PlanJson {
            in_sync: changes.is_empty() && conflicts.is_empty() && snapshot.is_complete(),
            changes: words::plan::commands(&changes, &names),
            revert: words::plan::commands(&revert(&changes), &names),
            failed: Vec::new(),
            conflicts: conflicts.iter().map(|(what, _)| what.clone()).collect(),
            notes: plan.notes.iter().map(|n| words::note(n, &names)).collect(),
            incomplete: snapshot.incomplete.clone(),
        })?;
    } else {
        output::text(&words::plan::text(&plan, &changes, &names, Style::stdout()))?;
        for why in &snapshot.incomplete {
            log::warn!("incomplete: {why}");
        }
        for (what, remedy) in &conflicts {
            log::warn!("conflict: {what} (hint: {remedy})");
        }
        for note in plan.notes.iter().filter(|n| !matches!(n, Note::Overtaken(_))) {
            log::warn!("{}", words::note(note, &names));
        }
    }
    let pending = !changes.is_empty() || !conflicts.is_empty() || !snapshot.is_complete();
    Ok(if pending && args.detailed_exitcode { PENDING } else { 0 })
}

/// Writes what the kernel holds.
pub fn snapshot(args: &Json) -> Result<u8, Failure> {
    let snapshot = live(&Config::default())?;
    if args.json {
        let mut text = serde_json::to_string(&snapshot).map_err(std::io::Error::other)?;
        text.push('\n');
        output::text(&text)?;
    } else {
        output::json(&snapshot)?;
    }
    for why in &snapshot.incomplete {
        log::warn!("incomplete: {why}");
    }
    Ok(0)
}

/// What is there, what should be, and the steps in between.
pub struct Seen {
    pub snapshot: Snapshot,
    pub plan: Plan,
    pub changes: Vec<Change>,
}

/// Looks at the kernel as far as the plan depends on it, or at a file. A snapshot in a file is of
/// another time or host, so what this host remembers does not apply to it.
pub fn look(config: &Config, args: &Reading) -> Result<Seen, Failure> {
    if let Some(path) = &args.snapshot {
        let snapshot = from_file(path)?;
        let plan = plan::make(&snapshot, config, &Memory::default());
        let changes = diff(&snapshot, &plan);
        return Ok(Seen { snapshot, plan, changes });
    }
    let mut engine = Engine::open(config.clone(), &RunDir::path())?;
    engine.observe(Goal::Plan)?;
    let Steps { plan, changes, .. } = engine.prepare(Goal::Plan)?;
    Ok(Seen { snapshot: engine.into_snapshot(), plan, changes })
}

/// Looks at all that the kernel holds and decides by, or at a file, and makes the plan of it. What no
/// plan depends on is of interest to whoever asks where a packet goes. Beside it, what is remembered.
pub fn look_at_all(config: &Config, args: &Reading) -> Result<(Seen, Memory), Failure> {
    let here = args.snapshot.is_none().then(|| as_possible(config.clone()));
    let config = here.as_ref().unwrap_or(config);
    let (snapshot, mut memory) = match &args.snapshot {
        Some(path) => (from_file(path)?, Memory::default()),
        None => (live(config)?, Kept::<Memory>::read(&RunDir::path(), GATEWAYS).stored().clone()),
    };
    memory.update(&snapshot, config);
    let plan = plan::make(&snapshot, config, &memory);
    let changes = diff(&snapshot, &plan);
    Ok((Seen { snapshot, plan, changes }, memory))
}

fn live(config: &Config) -> Result<Snapshot, Failure> {
    let mut kernel = Kernel::open().map_err(error::kernel("open a netlink socket"))?;
    let mut snapshot = kernel.snapshot().map_err(error::kernel("read the kernel's state"))?;
    kernel.circumstances(&mut snapshot);
    Surroundings::new(&RunDir::path()).look_beside_sysctls(&mut kernel, &mut snapshot, config);
    snapshot.host = Some(host::read());
    snapshot.table_names = rt_tables::read();
    snapshot.hints = multihome_sources::read(&RunDir::path().places(), SystemTime::now());
    Ok(snapshot)
}

pub(super) fn from_file(path: &Path) -> Result<Snapshot, Failure> {
    let mut text = Vec::new();
    fs::File::open(path)
        .and_then(|f| f.take(MAX_SNAPSHOT).read_to_end(&mut text))
        .map_err(error::file(path))?;
    serde_json::from_slice(&text)
        .map_err(|e| Failure::Snapshot { path: path.into(), reason: e.to_string() })
}
