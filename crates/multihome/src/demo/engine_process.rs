//! The engine as a process of its own: this program's `run` and `down`, in the host's
//! namespace.

use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use multihome_lab::Lab;
use rustix::process::{Pid, Signal, kill_process};

use super::lab;
use crate::error::Failure;
use crate::run_dir::RunDir;

/// How long it may take to start and to stop.
const PATIENCE: Duration = Duration::from_secs(5);

/// `multihome run`.
pub struct EngineProcess {
    child: Child,
    log: Option<JoinHandle<Vec<String>>>,
}

impl EngineProcess {
    /// Starts it and waits until it has put the host right.
    pub fn start(net: &Lab) -> Result<EngineProcess, Failure> {
        let mut command = this_program("run");
        let mut child = net.host().spawn(command.stderr(Stdio::piped())).map_err(lab)?;
        let stderr = child.stderr.take();
        let log = std::thread::spawn(move || stderr.map(super::lines).unwrap_or_default());
        let mut engine = EngineProcess { child, log: Some(log) };
        let start = Instant::now();
        loop {
            // Everything of ours is written in one go; the last thing that it says is how much.
            let done = super::snapshot(net)?.rules().any(|r| r.is_ours() && r.oif.is_none());
            if done && RunDir::path().daemon().is_some() {
                return Ok(engine);
            }
            if start.elapsed() > PATIENCE || !matches!(engine.child.try_wait(), Ok(None)) {
                let log = engine.stop()?;
                return Err(Failure::Demo(format!("`multihome run` did not start:\n{log}")));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Stops it with SIGTERM, which leaves everything in place, and returns what it said.
    pub fn stop(mut self) -> Result<String, Failure> {
        self.terminate();
        let _ = self.child.wait();
        let lines = self.log.take().and_then(|l| l.join().ok()).unwrap_or_default();
        Ok(lines.join("\n"))
    }

    fn terminate(&mut self) {
        if let Ok(None) = self.child.try_wait()
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for EngineProcess {
    fn drop(&mut self) {
        self.terminate();
        let _ = self.child.wait();
    }
}

/// Runs `multihome down` in the host.
pub fn down(net: &Lab) -> Result<(), Failure> {
    let mut command = this_program("down");
    let mut child =
        net.host().spawn(command.stdout(Stdio::null()).stderr(Stdio::piped())).map_err(lab)?;
    let said = child.stderr.take().map(super::lines).unwrap_or_default();
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            Err(Failure::Demo(format!("`multihome down`: {status}:\n{}", said.join("\n"))))
        }
        Err(e) => Err(Failure::Demo(format!("`multihome down`: {e}"))),
    }
}

/// This program with no configuration: the demo is the same on every machine.
fn this_program(verb: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(["--config", "/dev/null", verb]);
    command.stdin(Stdio::null()).env_remove("RUNTIME_DIRECTORY").env_remove("NOTIFY_SOCKET");
    command
}
