//! `multihome apply` and `down`: one reconcile, then the result is read back.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

use multihome_core::Change;
use rustix::thread::{CapabilitySet, capabilities};

use crate::cli::{DownArgs, Json};
use crate::config_files;
use crate::engine::{self, Engine, Goal, Outcome};
use crate::error::Failure;
use crate::output;
use crate::run_dir::RunDir;
use crate::words::plan::{FailedJson, PlanJson};
use crate::words::{self, plural};

/// How long a command waits for another one's changes; those take milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Puts the host right once.
pub fn apply(named: Option<&Path>, args: &Json) -> Result<u8, Failure> {
    let config = config_files::read(named)?;
    require_net_admin()?;
    let dir = RunDir::open()?;
    let engine = Engine::open(config, &dir)?;
    rise(&dir);
    change(engine, &dir, Goal::Plan, "apply", args.json)
}

/// Takes away all that multihome made.
pub fn down(named: Option<&Path>, args: &DownArgs) -> Result<u8, Failure> {
    let config = config_files::read(named)?;
    require_net_admin()?;
    let dir = RunDir::open()?;
    let daemon = dir.daemon();
    if let Some(holder) = &daemon {
        if !args.force {
            return Err(Failure::DaemonRuns { holder: holder.clone() });
        }
        log::warn!("{holder} is running and will put everything back");
    }
    let mut engine = Engine::open(config, &dir)?;
    if daemon.is_none() {
        engine.forget(); // the daemon's memory is its own
        lie_down(&dir);
    }
    change(engine, &dir, Goal::Nothing, "down", args.json)
}

/// The mark that `down` leaves: hooks change nothing while it is there.
const MARK: &str = "down";

/// Whether multihome was taken down, and nobody has asked for it since.
pub fn is_down(dir: &RunDir) -> bool {
    dir.join(MARK).exists()
}

/// Makes hooks change nothing: the next renewal of a lease must not put everything back.
fn lie_down(dir: &RunDir) {
    match OpenOptions::new().write(true).create_new(true).open(dir.join(MARK)) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            log::warn!("{}: {e}: hooks may put everything back", dir.join(MARK).display());
        }
        _ => {}
    }
}

/// Lets hooks work again.
pub fn rise(dir: &RunDir) {
    match fs::remove_file(dir.join(MARK)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            log::warn!("{}: {e}: hooks will change nothing", dir.join(MARK).display());
        }
        _ => {}
    }
}

/// What a reconcile did, and what is still to be done after it.
pub struct Reconciled {
    /// What it did.
    pub outcome: Outcome,
    /// What could not be made, or was undone at once.
    pub left: Vec<Change>,
}

fn change(
    mut engine: Engine,
    dir: &RunDir,
    goal: Goal,
    verb: &'static str,
    json: bool,
) -> Result<u8, Failure> {
    let Reconciled { outcome, left } = reconcile(&mut engine, dir, goal, verb, PATIENCE)?;
    report(&engine, &outcome, &left, verb, json)
}

/// One reconcile under the lock, and what the kernel holds afterwards.
pub fn reconcile(
    engine: &mut Engine,
    dir: &RunDir,
    goal: Goal,
    verb: &'static str,
    patience: Duration,
) -> Result<Reconciled, Failure> {
    let lock = dir.change_lock(verb)?;
    let _held = lock.take(patience)?;
    engine.observe(goal)?;
    let steps = engine.prepare(goal)?;
    let outcome = engine.take(steps);
    finish(engine, outcome, goal)
}

/// What the kernel holds after an outcome: that counts, not what it acknowledged. The caller holds
/// the lock.
pub fn finish(engine: &mut Engine, outcome: Outcome, goal: Goal) -> Result<Reconciled, Failure> {
    let mut left = Vec::new();
    if !outcome.changes.is_empty() {
        let names = engine.snapshot().names();
        engine.observe(goal)?;
        left = match goal {
            Goal::Plan => engine.plan()?.1,
            Goal::Nothing => engine.left_of_ours(),
        };
        for (at, e) in &outcome.failures {
            log::error!("{}: {e}", outcome.changes[*at].command(&names));
        }
    }
    Ok(Reconciled { outcome, left })
}

fn report(
    engine: &Engine,
    outcome: &Outcome,
    left: &[Change],
    verb: &str,
    json: bool,
) -> Result<u8, Failure> {
    let snapshot = engine.snapshot();
    let names = snapshot.names();
    let (commands, revert) = engine::commands(outcome, snapshot);
    let conflicts: Vec<String> =
        outcome.plan.conflicts.iter().map(|c| words::conflict(c, &names).0).collect();
    if json {
        output::json(&PlanJson {
            in_sync: left.is_empty() && conflicts.is_empty(),
            failed: outcome
                .failures
                .iter()
                .map(|(at, e)| FailedJson { command: commands[*at].clone(), error: e.to_string() })
                .collect(),
            changes: commands.clone(),
            revert,
            conflicts: conflicts.clone(),
            notes: outcome.plan.notes.iter().map(|n| words::note(n, &names)).collect(),
            incomplete: snapshot.incomplete.clone(),
        })?;
    }
    if !snapshot.is_complete() {
        return Err(Failure::Incomplete(
            "the kernel could not be read completely: nothing was removed".into(),
        ));
    }
    if !conflicts.is_empty() {
        return Err(Failure::Incomplete(format!(
            "{} in the way: the uplinks named above were left as they are",
            plural(conflicts.len(), "conflict")
        )));
    }
    if !left.is_empty() {
        let what: Vec<String> = left.iter().map(|c| c.command(&names)).collect();
        return Err(Failure::Incomplete(format!(
            "{} could not be made, or somebody undid it at once:\n  {}",
            plural(left.len(), "change"),
            what.join("\n  ")
        )));
    }
    if let Some((at, e)) = outcome.failures.first() {
        return Err(Failure::Incomplete(format!("{}: {e}", commands[*at])));
    }
    if !json {
        let text = match (verb, outcome.changes.len()) {
            ("down", 0) => "nothing of multihome's was there\n".to_owned(),
            ("down", n) => {
                format!("{} made; nothing of multihome's is left\n", plural(n, "change"))
            }
            (_, 0) => {
                format!("in sync: nothing to change ({})\n", words::plan::made(&outcome.plan))
            }
            (_, n) => {
                format!("{} made ({})\n", plural(n, "change"), words::plan::made(&outcome.plan))
            }
        };
        output::text(&text)?;
    }
    Ok(0)
}

/// Everything else would fail step by step; better to say it once.
pub fn require_net_admin() -> Result<(), Failure> {
    match capabilities(None) {
        Ok(sets) if !sets.effective.contains(CapabilitySet::NET_ADMIN) => {
            Err(Failure::NotPermitted)
        }
        // Unknown is not forbidden: the kernel will say.
        _ => Ok(()),
    }
}
