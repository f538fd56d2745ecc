//! multihome beside a manager, judged by packets and by what comes and goes in the kernel.

use std::thread;
use std::time::{Duration, Instant};

use multihome_lab::probe::Count;
use multihome_lab::{Prober, until_answered};

use crate::common::program::Program;
use crate::machine::{Machine, PATIENCE};
use crate::state::State;
use crate::world::{Daemon, SOON};

/// multihome beside a manager, and what the manager had made before it came.
pub struct Beside {
    pub daemon: Daemon,
    pub before: State,
    /// Rules and routes of each family as they come and go.
    monitors: [Program; 2],
}

/// What an event did to the traffic of an address, and to our rules and routes.
#[derive(Debug)]
pub struct Effect {
    pub count: Count,
    /// Packets that left by the wrong card meanwhile.
    pub strayed: u64,
    /// Ours of IPv4, and of IPv6.
    pub changes: [Changes; 2],
}

/// How many rules and routes of ours were made, and how many went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    pub made: usize,
    pub gone: usize,
}

impl Beside {
    /// Starts multihome. Before it, not every address answers those far away; after it, every
    /// address answers everyone; and nothing of the manager's has changed for it.
    #[track_caller]
    pub fn begin(machine: &Machine) -> Beside {
        let before = State::of(machine).foreign();
        // (By datagrams: connections that are not answered go on trying, and would be counted.)
        let is_silent = |address| {
            let quick = Duration::from_millis(200);
            until_answered(machine.remote(), address, quick).unwrap().is_none()
        };
        let is_needed = machine.lab.addresses().into_iter().any(is_silent);
        assert!(is_needed, "no multihome is needed here\n{}", machine.dump());
        let monitors =
            ["-4", "-6"].map(|f| machine.start(&format!("ip {f} -ts monitor rule route")));
        let daemon = machine.run();
        machine.assert_all_answer();
        machine.assert_in_sync(SOON);
        let beside = Beside { daemon, before, monitors };
        beside.assert_untouched(machine, "when multihome came");
        beside
    }

    /// Lets something happen while the far client asks an address.
    #[track_caller]
    pub fn during(&self, machine: &Machine, address: &str, event: impl FnOnce()) -> Effect {
        let (strayed, [before4, before6]) = (machine.strayed(), self.changes());
        let prober = Prober::start(machine.remote(), address.parse().unwrap()).unwrap();
        event();
        let count = prober.stop();
        let strayed = machine.strayed() - strayed;
        let [now4, now6] = self.changes();
        let changes = [now4.since(before4), now6.since(before6)];
        Effect { count, strayed, changes }
    }

    /// Rules and routes of ours that were made so far and that went, of IPv4 and of IPv6.
    pub fn changes(&self) -> [Changes; 2] {
        self.monitors.each_ref().map(|monitor| {
            let log = monitor.log();
            let ours = || log.lines().filter(|l| l.contains("proto 177"));
            let gone = ours().filter(|l| l.contains("Deleted")).count();
            Changes { made: ours().count() - gone, gone }
        })
    }

    /// What is not ours is as it was.
    #[track_caller]
    pub fn assert_untouched(&self, machine: &Machine, when: &str) {
        let mut now = State::of(machine).foreign();
        let start = Instant::now();
        while now != self.before && start.elapsed() < SOON {
            thread::sleep(Duration::from_millis(50));
            now = State::of(machine).foreign();
        }
        self.before.assert_is(&now, when);
    }

    /// All answer, nothing is left to be done, and nobody fights: what the manager still has to do
    /// ends soon, and then no rule and no route of ours comes or goes.
    #[track_caller]
    pub fn assert_settled(&self, machine: &Machine) {
        machine.assert_all_answer_within(PATIENCE);
        machine.assert_in_sync(SOON);
        let (start, mut before) = (Instant::now(), self.changes());
        loop {
            thread::sleep(QUIET);
            let now = self.changes();
            if now == before {
                break;
            }
            assert!(start.elapsed() < 4 * QUIET, "somebody fights: {before:?}, {now:?}");
            before = now;
        }
        State::of(machine).assert_no_duplicates();
    }
}

impl Effect {
    /// No packet left by the wrong door, and no silence was longer than this.
    #[track_caller]
    pub fn assert_gap(&self, longest: Duration) {
        assert_eq!(self.strayed, 0, "left by the wrong door: {self:?}");
        assert!(self.count.gap < longest, "{self:?}");
    }

    /// Nothing of ours was made or went.
    #[track_caller]
    pub fn assert_no_changes(&self) {
        assert_eq!(self.changes, [Changes::default(); 2], "{self:?}");
    }
}

impl Changes {
    fn since(self, before: Changes) -> Changes {
        Changes { made: self.made - before.made, gone: self.gone - before.gone }
    }
}

/// Nobody notices, on a machine with other work.
pub const UNNOTICED: Duration = Duration::from_millis(500);
/// So long nothing of ours comes or goes.
const QUIET: Duration = Duration::from_millis(1200);

/// An address answers the far client, this soon.
#[track_caller]
pub fn assert_answered_within(machine: &Machine, address: &str, within: Duration) {
    let address = address.parse().unwrap();
    let took = until_answered(machine.remote(), address, PATIENCE).unwrap();
    assert!(took.is_some_and(|t| t < within), "{address}: {took:?}\n{}", machine.dump());
}
