//! A program that runs in the background until it is dropped, and what it says.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use multihome_lab::Netns;
use rustix::process::{Pid, Signal, kill_process};

use crate::world::{eventually, tail};

/// A program in a namespace.
pub struct Program {
    name: String,
    child: Child,
    log: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

/// How long the last words of a program are waited for.
const LINGER: Duration = Duration::from_secs(1);

// ===== impl Program =====

impl Program {
    /// Starts it; what it prints to stdout and stderr is its log.
    #[track_caller]
    pub fn start(netns: &Netns, mut command: Command) -> Program {
        let name = command.get_program().to_string_lossy().into_owned();
        let (out, into) = std::io::pipe().unwrap();
        let err = into.try_clone().unwrap();
        command.stdin(Stdio::null()).stdout(into).stderr(err);
        let child = netns.spawn(&mut command).unwrap();
        drop(command); // and the pipe's end with it
        let log = Arc::new(Mutex::new(String::new()));
        let theirs = Arc::clone(&log);
        let reader = thread::spawn(move || {
            let mut out = BufReader::new(out);
            let mut line = Vec::new();
            while matches!(out.read_until(b'\n', &mut line), Ok(1..)) {
                let mut log = theirs.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Program { name, child, log, reader }
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has said something.
    #[track_caller]
    pub fn says(&self, words: &str, within: Duration) {
        eventually(&format!("{} says {words:?}", self.name), within, || self.log().contains(words));
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Whether it runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal, waits for its end, and returns how it ended and what it said.
    #[track_caller]
    pub fn stop(mut self, signal: Signal) -> (ExitStatus, String) {
        self.signal(signal);
        let status = self.child.wait().unwrap();
        // The end of what it has said; somebody whom it has started may have the pipe for longer.
        let start = Instant::now();
        while !self.reader.is_finished() && start.elapsed() < LINGER {
            thread::sleep(Duration::from_millis(2));
        }
        (status, self.log())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{} said:\n{}", self.name, tail(&self.log(), 60));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
