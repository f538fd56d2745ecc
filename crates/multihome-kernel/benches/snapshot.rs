//! How long a snapshot takes, on a host of 50 objects and on one of 20,000.
//!
//! In a network namespace of its own. Prints the best and the median of many runs.

#[path = "../tests/kernel/netns.rs"]
#[allow(dead_code)] // the tests use the rest
mod netns;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use multihome_kernel::Kernel;

fn main() {
    netns::enter();
    netns::links();
    let mut batch = String::new();
    for n in 0..4 {
        // Writing to a String cannot fail.
        let _ = writeln!(batch, "rule add priority {} from 10.0.0.{n} table {n}", 10000 + n);
        let _ = writeln!(batch, "route add default via 10.0.0.9 dev va table {}", 10000 + n);
    }
    netns::ip_batch("-4", &batch);
    measure(1000);
    let (mut four, mut six) = (String::new(), String::new());
    for n in (0..5000).rev() {
        let (high, low) = (n / 256, n % 256);
        let priority = 11000 + n;
        let _ = writeln!(four, "rule add priority {priority} from 10.9.{high}.{low} table 9");
        let _ = writeln!(six, "rule add priority {priority} from 2001:db8::{n:x} table 9");
        let _ = writeln!(four, "route add 172.{high}.{low}.0/24 dev va");
        let _ = writeln!(six, "route add 2001:db8:{n:x}::/64 dev va");
    }
    netns::ip_batch("-4", &four);
    netns::ip_batch("-6", &six);
    measure(50);
}

fn measure(runs: usize) {
    let mut kernel = Kernel::open().expect("a socket");
    let snapshot = kernel.snapshot().expect("a snapshot");
    let objects = snapshot.links().count()
        + snapshot.addresses().count()
        + snapshot.rules().count()
        + snapshot.routes().count();
    drop(snapshot);
    let mut walls = Vec::with_capacity(runs);
    let mut cpus = Vec::with_capacity(runs);
    for _ in 0..runs {
        let (wall, cpu) = (Instant::now(), cpu());
        let snapshot = kernel.snapshot().expect("a snapshot");
        cpus.push(self::cpu() - cpu);
        walls.push(wall.elapsed());
        drop(snapshot);
    }
    for (what, times) in [("wall", &mut walls), ("cpu", &mut cpus)] {
        times.sort();
        println!("{objects} objects, {what}: best {:?}, median {:?}", times[0], times[runs / 2]);
    }
}

/// What this thread has used, which other programs on the machine disturb less.
fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(now).expect("a time after the start")
}
