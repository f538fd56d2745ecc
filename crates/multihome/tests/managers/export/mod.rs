//! The policy kept by managers alone, from files that `multihome export` wrote.
//!
//! A manager configures a host as it does by itself, and answers go astray. Then the files are
//! written below `/`, what the command says is run, and every address answers everybody with no
//! daemon of ours; `multihome verify` says so as well. What the command says to undo it leaves
//! rules and tables as they were.

pub mod ip;
pub mod netplan;
pub mod networkd;
pub mod networkmanager;

use std::thread;
use std::time::{Duration, Instant};

use multihome_lab::Topology;
use serde_json::Value;

use crate::machine::{Machine, PATIENCE};
use crate::state::{PROTOCOL, State};

/// What `multihome export` says.
pub struct Exported {
    next: Vec<String>,
    undo: Vec<String>,
}

/// Writes the files of a format where they belong.
#[track_caller]
pub fn exported(machine: &Machine, format: &str) -> Exported {
    let said = machine.must(&format!("export --format {format} --output / --force --json"));
    let said: Value = serde_json::from_str(&said).unwrap();
    let lines = |key: &str| {
        let lines = said[key].as_array().unwrap().iter();
        lines.map(|line| line.as_str().unwrap().to_owned()).collect()
    };
    for file in said["files"].as_array().unwrap() {
        eprintln!("{}\n{}", file["path"], file["text"].as_str().unwrap());
    }
    Exported { next: lines("next"), undo: lines("undo") }
}

impl Exported {
    /// Runs what is to be run when the files are in place.
    #[track_caller]
    pub fn activate(&self, machine: &Machine) {
        run(machine, &self.next);
    }

    /// Takes it all away.
    #[track_caller]
    pub fn undo(&self, machine: &Machine) {
        run(machine, &self.undo);
    }
}

#[track_caller]
fn run(machine: &Machine, lines: &[String]) {
    for line in lines {
        eprintln!("$ {line}");
        machine.sh(&format!("export SYSTEMD_IGNORE_CHROOT=1\n{line}"));
    }
}

/// The host is configured, wrong; by the files it is right; without them it is as it was.
#[track_caller]
pub fn story(machine: &Machine, format: &str) {
    story_but(machine, format, |_| false);
}

/// As [`story`], where the files may leave some answers wrong: those that `is_known` of what
/// `multihome verify` says.
#[track_caller]
pub fn story_but(machine: &Machine, format: &str, is_known: fn(&str) -> bool) {
    let matrix = machine.lab.matrix(Duration::from_millis(300)).unwrap();
    assert!(!matrix.all_answered(), "all is right before: {matrix}");
    let said = machine.multihome("verify");
    assert_eq!(said.code, Some(2), "{said:#?}");
    let before = settled(machine);

    let exported = exported(machine, format);
    exported.activate(machine);
    machine.assert_all_answer_within(PATIENCE);
    let start = Instant::now();
    loop {
        let said = machine.multihome("verify");
        if said.code == Some(0) || is_known(&said.out) {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{}\n{}", said.out, machine.dump());
        thread::sleep(Duration::from_millis(200));
    }
    // No daemon of ours has made any of it; a link's group has no maker.
    assert_eq!(machine.sh(&format!("ip -N rule | grep 'proto {PROTOCOL}' || true")), "");
    assert_eq!(machine.sh(&format!("ip route show table all proto {PROTOCOL}")), "");

    exported.undo(machine);
    let start = Instant::now();
    let mut now = State::of(machine).without("nexthops");
    while now != before && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(200));
        now = State::of(machine).without("nexthops");
    }
    before.assert_is(&now, "after undo");
}

/// The state once it does not change any more: managers take their time for IPv6.
fn settled(machine: &Machine) -> State {
    let state = || State::of(machine).without("nexthops");
    let mut before = state();
    loop {
        thread::sleep(Duration::from_secs(1));
        let now = state();
        if now == before {
            return now;
        }
        before = now;
    }
}

/// A host with two cards in two subnets, to which nobody gives anything.
pub fn bare() -> Machine {
    Machine::new(Topology::TwoSubnets)
}

/// The same with leases and advertisements.
pub fn leased() -> Machine {
    Machine::served(Topology::TwoSubnets)
}
