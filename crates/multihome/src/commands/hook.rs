//! `multihome hook`: what a network manager tells its hooks, on hosts with the daemon or without.
//!
//! What was told is written down, and then the host is put right once, unless the daemon runs:
//! that sees the file and does it itself. Whatever happens, the manager goes on: this never
//! fails, never takes long, and says what went wrong to stderr and to the system log, for the
//! stderr of a hook is often nowhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use multihome_sources::hook::{self, Hook};

use super::change::{self, Reconciled, reconcile, require_net_admin};
use crate::cli::{HookArgs, HookName};
use crate::config_files;
use crate::engine::{Engine, Goal};
use crate::error::{self, Failure};
use crate::logger;
use crate::run_dir::RunDir;
use crate::words::plural;

/// No manager waits longer for us. A reconcile takes milliseconds; another multihome may have the
/// lock for as long.
const LIMIT: Duration = Duration::from_secs(3);
/// So that who has the lock can still be named.
const PATIENCE: Duration = Duration::from_secs(2);

/// Does what there is to do for a hook; the exit code is always 0.
pub fn hook(named: Option<&Path>, args: &HookArgs) -> u8 {
    logger::never_wait();
    logger::also_to_syslog();
    let (done, finished) = mpsc::channel();
    let (named, args) = (named.map(Path::to_owned), args.clone());
    let work = thread::Builder::new().spawn(move || {
        // Nobody listens any more when it took too long.
        let _ = done.send(follow(named, &args));
    });
    let outcome = match work {
        Ok(_) => finished.recv_timeout(LIMIT),
        Err(e) => Ok(Err(error::system("start a thread")(e))),
    };
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => match failure.hint() {
            Some(hint) => log::error!("{failure} (hint: {hint})"),
            None => log::error!("{failure}"),
        },
        // The thread ends with the process; what it has not done yet, the next hook does.
        Err(_) => log::error!("not done after {} s: given up", LIMIT.as_secs()),
    }
    0
}

fn follow(named: Option<PathBuf>, args: &HookArgs) -> Result<(), Failure> {
    let hook = Hook::from(args.hook);
    // Variables that are no text are nobody's that we know.
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let dir = RunDir::open()?;
    let places = dir.places();
    let to_do = match hook::told(hook, &environment, &args.arguments, SystemTime::now()) {
        Ok(told) => {
            // What the kernel shows is put right all the same.
            if let Err(e) = hook::record(&places, &told) {
                log::error!("what {hook} told could not be written down: {e}");
            }
            told.reconcile
        }
        Err(e) => {
            log::error!("{e}");
            true // something happened, and the kernel shows what
        }
    };
    if !to_do || dir.daemon().is_some() || change::is_down(&dir) {
        return Ok(());
    }
    let config = config_files::read(named.as_deref())?;
    require_net_admin()?;
    let mut engine = Engine::open(config, &dir)?;
    let Reconciled { outcome, left } = reconcile(&mut engine, &dir, Goal::Plan, "hook", PATIENCE)?;
    if !left.is_empty() {
        let what = plural(left.len(), "change");
        return Err(Failure::Incomplete(format!("{what} could not be made: see `multihome plan`")));
    }
    log::debug!("{} made", plural(outcome.changes.len(), "change"));
    Ok(())
}

impl From<HookName> for Hook {
    fn from(name: HookName) -> Hook {
        match name {
            HookName::Dhclient => Hook::Dhclient,
            HookName::Dhcpcd => Hook::Dhcpcd,
            HookName::Ifupdown => Hook::Ifupdown,
            HookName::Networkmanager => Hook::NetworkManager,
            HookName::NetworkdDispatcher => Hook::NetworkdDispatcher,
        }
    }
}
