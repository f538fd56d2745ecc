//! Lines of shell in the host, for what is more than one command.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use multihome_lab::Netns;

use crate::common::program::Program;
use crate::world::{Said, World};

/// How long a program may take for what it has to do, on a machine with other work.
pub const PATIENCE: Duration = Duration::from_secs(20);

impl World {
    /// Runs lines of shell in the host, for at most half a minute; in the booted system, if
    /// there is one. What goes on in the background must have its output elsewhere.
    pub fn shell(&self, script: &str) -> Said {
        let mut command = bounded();
        if let Some(init) = self.init {
            let all = ["--mount", "--pid", "--cgroup", "--root", "--wd"];
            command.args(["nsenter", &format!("--target={init}")]).args(all);
        }
        command.args(["bash", "-c", script]);
        self.output(&mut command, "")
    }

    /// Runs lines of shell in the host, which must succeed, and returns what they printed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let said = self.shell(script);
        assert!(said.code == Some(0), "{script}: {said:#?}\n{}", self.dump());
        said.out
    }

    /// Waits until a line of shell succeeds, and returns what it printed.
    #[track_caller]
    pub fn until(&self, script: &str) -> String {
        let mut last = self.shell(script);
        let start = Instant::now();
        while last.code != Some(0) {
            let so_far = || format!("{script}: {last:#?}\n{}", self.dump());
            assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {}", so_far());
            thread::sleep(Duration::from_millis(20));
            last = self.shell(script);
        }
        last.out
    }
}

/// Runs lines of shell in a namespace, which must succeed, and returns what they printed.
#[track_caller]
pub fn sh(netns: &Netns, script: &str) -> String {
    let mut command = bounded();
    command.args(["bash", "-c", script]);
    let output = netns.run(|| command.output()).unwrap().unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{script}: {output:?}");
    out
}

/// Starts a program in a namespace, by a line of shell, until it is dropped.
#[track_caller]
pub fn start(netns: &Netns, line: &str) -> Program {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec {line}")]);
    Program::start(netns, command)
}

/// What follows is over in half a minute.
fn bounded() -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=1", "30"]);
    command
}
