//! How much room `multihome run` takes, and how often it wakes while nothing happens.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use multihome_core::Family;
use rustix::process::{Pid, Signal, kill_process};

use crate::idle::wait_until;
use crate::measure::{Outcome, Table};
use crate::world::{Shape, World, binary};

const WATCHED: Duration = Duration::from_secs(20);

/// `multihome run`, stopped when it is dropped.
pub struct Daemon(Child);

/// Prints the table.
pub fn run() -> Outcome<()> {
    println!("## Size\n");
    let mut table =
        Table::new(&["host", "binary", "RSS", "of it private", "its peak", "wake-ups in 20 s"]);
    let shapes = [
        ("2 cards, 2 addresses each", Shape { cards: 2, addresses: 2, shared: false }),
        ("15 cards, 50 addresses each", Shape { cards: 15, addresses: 50, shared: false }),
    ];
    let size = fs::metadata(binary()?)?.len();
    for (name, shape) in shapes {
        let world = World::new(shape, &Family::BOTH)?;
        let daemon = Daemon::start(&world)?;
        std::thread::sleep(Duration::from_secs(1));
        let before = daemon.switches()?;
        std::thread::sleep(WATCHED);
        let wakeups = daemon.switches()? - before;
        table.row([
            name.into(),
            format!("{:.2} MB", size as f64 / 1e6),
            format!("{} kB", daemon.status("VmRSS")?),
            format!("{} kB", daemon.status("RssAnon")?),
            format!("{} kB", daemon.status("VmHWM")?),
            wakeups.to_string(),
        ]);
    }
    table.print();
    Ok(())
}

// ===== impl Daemon =====

impl Daemon {
    /// Starts it.
    pub fn spawn(world: &World) -> Outcome<Daemon> {
        Ok(Daemon(world.start(&["run"], Stdio::inherit())?))
    }

    /// Starts it and waits until all is in order.
    pub fn start(world: &World) -> Outcome<Daemon> {
        let daemon = Daemon::spawn(world)?;
        if wait_until(|| in_sync(world), Duration::from_secs(60))? {
            return Ok(daemon);
        }
        Err("`multihome run` did not put the host in order".into())
    }

    /// A number of `/proc/PID/status`.
    pub fn status(&self, name: &str) -> Outcome<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        let number = line.and_then(|l| l.split_whitespace().next()?.parse().ok());
        number.ok_or_else(|| format!("no {name} in /proc/PID/status").into())
    }

    /// Seconds of processor time that it has used.
    pub fn cpu(&self) -> Outcome<f64> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // utime and stime, in ticks of a hundredth; the name in parentheses may hold anything.
        let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
        Ok(ticks as f64 / 100.0)
    }

    fn switches(&self) -> Outcome<u64> {
        self.status("voluntary_ctxt_switches")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // SIGTERM: it leaves everything in place.
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        let _ = pid.map(|p| kill_process(p, Signal::TERM));
        let _ = self.0.wait();
    }
}

/// Whether `multihome plan` finds nothing to change.
pub fn in_sync(world: &World) -> Outcome<bool> {
    let mut plan = world.start(&["plan", "--detailed-exitcode"], Stdio::null())?;
    Ok(plan.wait()?.success())
}
