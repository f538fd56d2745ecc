//! `multihome run`: one thread, one poll loop.
//!
//! The event socket is open before the first look, so nothing falls in between. Events are
//! followed in the engine's snapshot; what they put in doubt is looked at again, and then
//! one reconcile puts the kernel right. An event that comes alone is acted on at once; a
//! burst is gathered first, for a few milliseconds and no longer. Our own writes come back
//! as events too and find nothing left to do: that is how they are read back.
//!
//! Without events nothing runs, but for a slow look every ten minutes (the net under
//! whatever the kernel or we have missed), the watchdog, and the moments of
//! [`crate::lookout`]. Files that may know a gateway are watched, too.

mod netfilter;
mod repairs;
mod signals;
mod supervisor;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use multihome_core::Change;
use multihome_kernel::{Error, Noted, Watch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::commands::{require_net_admin, rise};
use crate::config_files;
use crate::engine::{Engine, Goal, Outcome};
use crate::error::{self, Failure};
use crate::logger;
use crate::run_dir::{ChangeLock, RunDir};
use crate::words;

use self::netfilter::FollowedNetfilter;
use self::repairs::Repairs;
use self::signals::{Signal, Signals};
use self::supervisor::{State, Supervisor};

/// From this many messages on, a wake-up is the start of a burst.
const BURST: usize = 16;
/// A burst is over when nothing comes for this long.
const QUIET: Duration = Duration::from_millis(2);
/// A burst is acted on after this long, whether it is over or not.
const GATHER: Duration = Duration::from_millis(20);
/// Everything is looked at again after this long.
const SLOW_LOOK: Duration = Duration::from_secs(600);
/// How often the lock is asked for while somebody else has it.
const LOCK_RETRY: Duration = Duration::from_millis(20);
/// After this long it is said who has the lock, and again after ten times as long.
const LOCKED_LONG: Duration = Duration::from_secs(5);
const LOCKED_SAY_AGAIN: Duration = Duration::from_secs(50);
/// Files are read no more often than this.
const FILES_PAUSE: Duration = Duration::from_millis(100);
/// After a failed step: the first and the longest wait.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// Runs until SIGTERM or SIGINT, and leaves everything in place.
pub fn run(named: Option<PathBuf>) -> Result<u8, Failure> {
    let config = config_files::read(named.as_deref())?;
    require_net_admin()?;
    let dir = RunDir::open()?;
    let _daemon = dir.become_daemon()?;
    logger::never_wait();
    rise(&dir);
    let signals = Signals::install()?;
    let watch = Watch::open().map_err(error::kernel("watch the kernel"))?;
    let engine = Engine::open(config, &dir)?;
    let now = Instant::now();
    let watchdog = Supervisor::watchdog().map(|every| (every / 2, now));
    let mut daemon = Daemon {
        lock: dir.change_lock("run")?,
        named,
        files: watch_files(&engine),
        files_at: now,
        netfilter: FollowedNetfilter::default(),
        engine,
        watch,
        signals,
        supervisor: Supervisor::from_environment(),
        watchdog,
        repairs: Repairs::default(),
        due: Some(now),
        look: Look::All,
        slow_look: now + SLOW_LOOK,
        retry: RETRY.0,
        locked_since: None,
        written: Vec::new(),
        foreign_events: 0,
        ready: false,
        status: String::new(),
    };
    daemon.run()?;
    log::info!("stopped; everything stays in place (`multihome down` takes it away)");
    Ok(0)
}

struct Daemon {
    lock: ChangeLock,
    named: Option<PathBuf>,
    engine: Engine,
    watch: Watch,
    /// Says when a file that may know a gateway changes; none when the kernel gives none
    /// (`fs.inotify.max_user_instances`): then they are read at the slow look.
    files: Option<multihome_sources::Watch>,
    /// When files may be read again: whoever writes one in a loop must not keep us busy.
    files_at: Instant,
    /// Says when netfilter changes, on hosts where that decides about the plan.
    netfilter: FollowedNetfilter,
    signals: Signals,
    supervisor: Supervisor,
    watchdog: Option<(Duration, Instant)>,
    repairs: Repairs,
    /// When to reconcile next, if anything asks for it.
    due: Option<Instant>,
    look: Look,
    slow_look: Instant,
    retry: Duration,
    locked_since: Option<Instant>,
    /// What the last reconcile wrote, if only its own events came since: writing the same once
    /// more would go on for ever.
    written: Vec<Change>,
    foreign_events: usize,
    ready: bool,
    status: String,
}

/// What there is to be read.
#[derive(Debug, Clone, Copy, Default)]
struct Woken {
    events: bool,
    signals: bool,
    files: bool,
    netfilter: bool,
}

/// How much must be looked at before the next reconcile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// What events have put in doubt.
    Doubtful,
    /// All of it.
    All,
}

impl Daemon {
    fn run(&mut self) -> Result<(), Failure> {
        loop {
            let now = Instant::now();
            if self.due.is_some_and(|due| due <= now) {
                self.reconcile()?;
            }
            self.feed_watchdog(now);
            let woken = self.wait()?;
            if woken.signals {
                match self.signals.take() {
                    Some(Signal::Stop) => {
                        self.supervisor.tell(State::Stopping);
                        return Ok(());
                    }
                    Some(Signal::Reload) => self.reload(),
                    None => {}
                }
            }
            if woken.events {
                self.gather()?;
            }
            if woken.files {
                self.read_files();
            }
            if woken.netfilter
                && self.netfilter.drain(&self.engine)
                && self.engine.netfilter_changed()
            {
                self.foreign_events += 1;
                let at = self.repairs.allowed_at(Instant::now());
                self.ask_for(at);
            }
            let now = Instant::now();
            if now >= self.slow_look {
                self.look = Look::All;
                self.files = self.files.take().or_else(|| watch_files(&self.engine));
                self.ask_for(now);
            }
            if self.engine.doubt_expired() {
                self.ask_for(now);
            }
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&self) -> Result<Woken, Failure> {
        let now = Instant::now();
        let next = [
            self.due,
            Some(self.slow_look),
            self.watchdog.map(|(_, at)| at),
            self.engine.next_look(),
            // Until then nobody waits for them.
            (self.files_at > now).then_some(self.files_at),
            self.netfilter.pause(now),
        ];
        let timeout = next.into_iter().flatten().min().map(|at| at.saturating_duration_since(now));
        let mut fds = vec![
            PollFd::new(&self.watch, PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
        ];
        let files = self.files.as_ref().filter(|_| self.files_at <= now);
        fds.extend(files.iter().map(|files| PollFd::new(files, PollFlags::IN)));
        let netfilter = self.netfilter.watch(now).map(|watch| {
            fds.push(PollFd::new(watch, PollFlags::IN));
            fds.len() - 1
        });
        match poll(&mut fds, timeout.map(timespec).as_ref()) {
            Ok(_) => {
                let is_ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
                let netfilter_at = netfilter.unwrap_or(usize::MAX);
                Ok(Woken {
                    events: is_ready(0),
                    signals: is_ready(1),
                    files: files.is_some() && is_ready(2),
                    netfilter: is_ready(netfilter_at),
                })
            }
            Err(rustix::io::Errno::INTR) => Ok(Woken { signals: true, ..Woken::default() }),
            Err(e) => Err(error::system("wait for events")(e)),
        }
    }

    /// Reads the files again if one of them changed.
    fn read_files(&mut self) {
        let Some(files) = &mut self.files else { return };
        match files.drain() {
            Ok(true) => {
                self.files_at = Instant::now() + FILES_PAUSE;
                self.engine.read_hints();
                self.ask_for(Instant::now());
            }
            Ok(false) => {}
            Err(e) => {
                log::error!("{}", unwatched(&e));
                self.files = None;
            }
        }
    }

    /// Follows the events that are there; of a burst, those that follow within moments too.
    fn gather(&mut self) -> Result<(), Failure> {
        let start = Instant::now();
        let mut total = 0;
        loop {
            let messages = self.drain()?;
            total += messages;
            if total < BURST || start.elapsed() >= GATHER {
                break;
            }
            let mut fds = [PollFd::new(&self.watch, PollFlags::IN)];
            match poll(&mut fds, Some(&timespec(QUIET))) {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(error::system("wait for events")(e)),
            }
        }
        // Our own writes find nothing to do; where they do, `settle` has said when to come back.
        let stuck = self.retry != RETRY.0 && self.foreign_events == 0;
        if total > 0 && !stuck {
            let at = self.repairs.allowed_at(Instant::now());
            self.ask_for(at);
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<usize, Failure> {
        let Daemon { engine, watch, repairs, look, foreign_events, .. } = self;
        let own = engine.port();
        let drained = watch
            .drain(&mut |noted| match noted {
                Noted::Event { event, port } => {
                    log::trace!("port {port}: {event:?}");
                    if port != own {
                        *foreign_events += 1;
                        if port != 0 {
                            repairs.note(&event, port);
                        }
                    }
                    engine.follow(event);
                }
                Noted::Undecodable(what) => {
                    engine.doubt(what);
                    *look = Look::All;
                }
            })
            .map_err(error::kernel("read the kernel's events"))?;
        if drained.overrun {
            log::debug!("events were lost in a flood: looking at everything again");
            *look = Look::All;
        }
        Ok(drained.messages + usize::from(drained.overrun))
    }

    fn reconcile(&mut self) -> Result<(), Failure> {
        self.due = None;
        match self.put_right() {
            Ok(Some(outcome)) => self.settle(&outcome),
            Ok(None) => self.wait_for_lock(),
            // A daemon that never could look at the kernel is of no use to anybody.
            Err(e @ Failure::Kernel { .. }) if !self.ready => return Err(e),
            Err(e) => {
                log::error!("{e}");
                self.try_again();
            }
        }
        Ok(())
    }

    /// One reconcile; none when somebody else is changing the kernel. The lock is taken only to
    /// change something, or to look at everything: what events say of the time before a dump must
    /// not be another multihome's doing. Whoever had it before may have changed what we know, so
    /// what there is to do is asked once more then, if anything happened meanwhile.
    fn put_right(&mut self) -> Result<Option<Outcome>, Failure> {
        let mut held = None;
        if self.look == Look::All {
            held = self.lock.try_take()?;
            if held.is_none() {
                return Ok(None);
            }
        }
        self.look()?;
        let mut steps = self.engine.prepare(Goal::Plan)?;
        if steps.changes.is_empty() {
            return Ok(Some(self.engine.take(steps)));
        }
        if held.is_none() {
            held = self.lock.try_take()?;
            if held.is_none() {
                return Ok(None);
            }
        }
        if self.drain()? > 0 {
            self.look()?;
            steps = self.engine.prepare(Goal::Plan)?;
        }
        let outcome = self.engine.take(steps);
        drop(held);
        Ok(Some(outcome))
    }

    /// Comes back soon: others hold the lock for milliseconds. Signals, events and the watchdog
    /// are not kept waiting meanwhile.
    fn wait_for_lock(&mut self) {
        let now = Instant::now();
        let since = *self.locked_since.get_or_insert(now);
        if now - since > LOCKED_LONG {
            log::warn!("{} has been changing the kernel for long", self.lock.holder());
            self.locked_since = Some(now + LOCKED_SAY_AGAIN);
        }
        self.due = Some(now + LOCK_RETRY);
    }

    fn look(&mut self) -> Result<(), Failure> {
        if self.look == Look::All {
            self.engine.observe(Goal::Plan)?;
            self.look = Look::Doubtful;
            self.slow_look = Instant::now() + SLOW_LOOK;
        }
        self.engine.refresh()?;
        if self.netfilter.follow(&self.engine) {
            // What happened before anybody listened.
            self.engine.netfilter_changed();
        }
        Ok(())
    }

    /// Draws the consequences of a reconcile.
    fn settle(&mut self, outcome: &Outcome) {
        let names = self.engine.snapshot().names();
        self.locked_since = None;
        let again = !outcome.changes.is_empty()
            && self.foreign_events == 0
            && self.written == outcome.changes;
        self.foreign_events = 0;
        self.netfilter.blame(&outcome.changes);
        self.written.clone_from(&outcome.changes);
        let mut unknown = false;
        for (at, e) in &outcome.failures {
            unknown |= matches!(e, Error::Unknown(_));
            // The first time it may be a race with whoever just took a link down: the next look
            // tells.
            let level = if self.retry == RETRY.0 { log::Level::Debug } else { log::Level::Error };
            log::log!(level, "{}: {e}", outcome.changes[*at].command(&names));
        }
        if again && outcome.failures.is_empty() {
            let first = outcome.changes.first().map(|c| c.command(&names)).unwrap_or_default();
            log::error!("the kernel does not keep what is written, as: {first}");
            self.try_again();
        } else if outcome.failures.is_empty() {
            self.retry = RETRY.0;
        } else {
            self.try_again();
        }
        if unknown {
            self.due = Some(Instant::now());
        }
        let conflicts = if outcome.plan.conflicts.is_empty() { "" } else { ", conflicts" };
        let status = format!("{}{conflicts}", words::plan::made(&outcome.plan));
        if self.status != status {
            self.supervisor.tell(State::Status(&status));
            log::info!("{status}");
            self.status = status;
        }
        if !self.ready {
            self.ready = true;
            self.supervisor.tell(State::Ready);
        }
        let is_rule = |c: &Change| matches!(c, Change::AddRule(_) | Change::DelRule(_));
        self.repairs.spend(Instant::now(), outcome.changes.iter().any(is_rule));
    }

    fn try_again(&mut self) {
        self.look = Look::All;
        self.due = Some(Instant::now() + self.retry);
        self.retry = (self.retry * 2).min(RETRY.1);
    }

    fn reload(&mut self) {
        self.supervisor.tell(State::Reloading);
        match config_files::read(self.named.as_deref()) {
            Ok(config) => {
                log::info!("configuration read again");
                self.engine.set_config(config);
                self.look = Look::All;
                self.ready = false; // until the kernel follows it
                self.ask_for(Instant::now());
            }
            Err(e) => {
                log::error!("{e}\nthe configuration in force stays");
                self.supervisor.tell(State::Ready);
            }
        }
    }

    fn ask_for(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    fn feed_watchdog(&mut self, now: Instant) {
        if let Some((every, at)) = &mut self.watchdog
            && *at <= now
        {
            self.supervisor.tell(State::Watchdog);
            *at = now + *every;
        }
    }
}

/// Begins to watch the files of network managers.
fn watch_files(engine: &Engine) -> Option<multihome_sources::Watch> {
    multihome_sources::Watch::open(engine.places())
        .inspect_err(|e| log::error!("{}", unwatched(e)))
        .ok()
}

fn unwatched(e: &io::Error) -> String {
    let every = SLOW_LOOK.as_secs();
    format!("cannot watch the files of network managers: {e}; they are read every {every} s")
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        // No wait here is longer than minutes.
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
