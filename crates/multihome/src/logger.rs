//! Messages to stderr: one line each, no time of its own.
//!
//! Under systemd each line carries its priority (sd-daemon(3)), so that the journal
//! keeps time and level; on a terminal the level is a word. Hooks of network managers, whose
//! stderr is often nowhere, say it to the system log as well.

use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::words;

struct Logger {
    journal: bool,
}

/// Starts logging; called once, before anything can log.
pub fn install(level: LevelFilter) {
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    // Only a second call can fail, and the first logger is as good.
    let _ = log::set_boxed_logger(Box::new(Logger { journal }));
    log::set_max_level(level);
}

/// `LOG_DAEMON`, the facility of system daemons.
const LOG_DAEMON: u32 = 3 << 3;

/// The system log (syslog(3)), once it was asked for and where there is one.
static SYSLOG: OnceLock<UnixDatagram> = OnceLock::new();

/// Whether a line is rather lost than waited for.
static NEVER_WAITS: AtomicBool = AtomicBool::new(false);
/// Lines that were lost since the last that was not.
static LOST: AtomicU32 = AtomicU32::new(0);

/// How long a line may take to be taken by the system log.
const PATIENCE: Duration = Duration::from_millis(100);

/// From now on a line that nobody reads is lost: whoever routes, or is waited for by a manager,
/// must not be stopped by a pipe that is full.
pub fn never_wait() {
    NEVER_WAITS.store(true, Ordering::Relaxed);
}

/// Whether stderr takes a line at once. `O_NONBLOCK` would hold for all who share it.
fn has_room() -> bool {
    let stderr = std::io::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    // What cannot be polled, a file, takes everything.
    !matches!(poll(&mut fds, Some(&at_once)), Ok(0))
}

/// From now on everything goes to the system log as well.
pub fn also_to_syslog() {
    let connect = || {
        let socket = UnixDatagram::unbound()?;
        // A log that is stuck must not hold up the manager that waits for its hook.
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.connect("/dev/log").map(|()| socket)
    };
    if let Ok(socket) = connect() {
        // A second call finds the first one's.
        let _ = SYSLOG.set(socket);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (severity, word) = match record.level() {
            Level::Error => (3, "error: "),
            Level::Warn => (4, "warning: "),
            Level::Info => (6, ""),
            Level::Debug => (7, "debug: "),
            Level::Trace => (7, "trace: "),
        };
        let prefix = if self.journal { format!("<{severity}>") } else { word.to_owned() };
        // In one write, so that lines of two processes do not mix.
        let message = words::escaped(&record.args().to_string());
        let mut line = format!("{prefix}{message}\n");
        if NEVER_WAITS.load(Ordering::Relaxed) && !has_room() {
            LOST.fetch_add(1, Ordering::Relaxed);
        } else {
            let lost = LOST.swap(0, Ordering::Relaxed);
            if lost > 0 {
                line.insert_str(0, &format!("{lost} messages were lost here: nobody read them\n"));
            }
            // There is nowhere to say that stderr is gone.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
        if let Some(socket) = SYSLOG.get() {
            let (priority, pid) = (LOG_DAEMON + severity, std::process::id());
            let line = format!("<{priority}>multihome[{pid}]: {message}");
            let _ = socket.send(line.as_bytes());
        }
    }

    fn flush(&self) {}
}
