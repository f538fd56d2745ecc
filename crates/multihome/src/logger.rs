//! Messages to stderr: one line each, no time of its own.
//!
//! Under systemd each line carries its priority (sd-daemon(3)), so that the journal
//! keeps time and level; on a terminal the level is a word.

use std::io::Write as _;

use log::{Level, LevelFilter, Log, Metadata, Record};

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

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (priority, word) = match record.level() {
            Level::Error => ("<3>", "error: "),
            Level::Warn => ("<4>", "warning: "),
            Level::Info => ("<6>", ""),
            Level::Debug => ("<7>", "debug: "),
            Level::Trace => ("<7>", "trace: "),
        };
        let prefix = if self.journal { priority } else { word };
        // In one write, so that lines of two processes do not mix.
        let line = format!("{prefix}{}\n", record.args());
        // There is nowhere to say that stderr is gone.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}
