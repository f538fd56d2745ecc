//! netplan, on systemd-networkd and on NetworkManager, in a booted system: its generator writes
//! the manager's files at boot, `netplan apply` gets at the manager as an administrator does.
//!
//! On networkd that is a reload and a new configuration of every card; on NetworkManager every
//! card is disconnected, the service stopped, all addresses flushed, and the service started.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use multihome_lab::Topology;

use crate::common::program::Program;
use crate::machine::{Machine, PATIENCE, write, write_script};
use crate::networkmanager::beside::{Beside, UNNOTICED, assert_answered_within};
use crate::networkmanager::{FIRST, SECOND, SECOND6};
use crate::runner::tests;
use crate::state::{State, table};
use crate::tree::{self, PACKAGING, PROGRAM};
use crate::world::{SOON, eventually};

tests![
    leases_on_networkd,
    leases_on_networkmanager,
    static_addresses_on_networkd,
    static_addresses_on_networkmanager,
    applied_without_changes_on_networkd,
    applied_without_changes_on_networkmanager,
    applied_with_changes_on_networkd,
    applied_with_changes_on_networkmanager,
    the_service_reads_the_managers_state,
];

/// Who does what netplan says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renderer {
    Networkd,
    NetworkManager,
}

use Renderer::{NetworkManager, Networkd};

const FILE: &str = "/etc/netplan/50-cards.yaml";

/// Two cards by the network. What the second learns of routes is not used, and netplan has a
/// policy of its own for its address, with a table: who asked for such a thing before multihome
/// did it like this.
const LEASES: &str = "
    ens5:
      dhcp4: true
      dhcp6: true
    ens6:
      dhcp4: true
      dhcp6: true
      dhcp4-overrides: {use-routes: false}
      dhcp6-overrides: {use-routes: false}
      routes:
        - {to: 0.0.0.0/0, via: 10.0.1.1, table: 200}
        - {to: \"::/0\", via: \"fe80::8f:53ff:fe6f:6501\", table: 200}
      routing-policy:
        - {from: 10.0.1.204, table: 200, priority: 20200}
";

// ===== impl Renderer =====

impl Renderer {
    fn unit(self) -> &'static str {
        match self {
            Networkd => "systemd-networkd",
            NetworkManager => "NetworkManager",
        }
    }

    /// Its name in netplan's files.
    fn name(self) -> &'static str {
        match self {
            Networkd => "networkd",
            NetworkManager => "NetworkManager",
        }
    }

    /// Whether it gets the policies of a file: 0.106 leaves them out for NetworkManager.
    fn gets_policies(self) -> bool {
        self == Networkd || tree::name() != "bookworm"
    }
}

// ===== a host with netplan =====

/// Writes netplan's only file.
fn file(renderer: Renderer, cards: &str) {
    let renderer = renderer.name();
    let head = format!("network:\n  version: 2\n  renderer: {renderer}\n  ethernets:\n");
    write(FILE, &format!("{head}{}", cards.trim_start_matches('\n')));
    tree::set_mode(Path::new(FILE), 0o600);
}

/// A booted system whose cards netplan has described.
#[track_caller]
fn booted(renderer: Renderer, cards: &str) -> (Machine, Program) {
    let mut machine = Machine::served(Topology::TwoSubnets);
    let system = boot(&mut machine, renderer, cards);
    (machine, system)
}

#[track_caller]
pub fn boot(machine: &mut Machine, renderer: Renderer, cards: &str) -> Program {
    file(renderer, cards);
    // There is no udevd, and netplan wants to have it look at the cards again.
    write_script("/usr/local/sbin/udevadm", "#!/bin/sh\n");
    // NetworkManager asks it for the host's name, and waits for half a minute where it cannot be
    // started.
    machine.sh("systemctl mask systemd-hostnamed");
    let system = machine.boot(&[renderer.unit()]);
    machine.until_configured();
    system
}

// ===== what it configures =====

fn leases_on_networkd() {
    leases(Networkd);
}

fn leases_on_networkmanager() {
    leases(NetworkManager);
}

fn leases(renderer: Renderer) {
    let (machine, _system) = booted(renderer, LEASES);
    let main = machine.ip("-4 route");
    assert!(!main.contains("default via 10.0.1.1"), "{main}");
    let policy = machine.ip("-4 rule");
    assert_eq!(policy.contains("from 10.0.1.204 lookup 200"), renderer.gets_policies(), "{policy}");
    let _daemon = machine.run();
    machine.assert_all_answer_within(PATIENCE);
    machine.assert_in_sync(SOON);
}

/// Static addresses, with a gateway for each card.
pub fn fixed(machine: &Machine) -> String {
    let mut text = String::new();
    for card in machine.lab.cards() {
        let [v4, v6] = &card.addresses[..] else { panic!("one of each family") };
        let (name, gateway4, gateway6) = (&card.name, card.gateway4, card.gateway6);
        text += &format!(
            "    {name}:\n      accept-ra: false\n      addresses: [{v4}, \"{v6}\"]\n      routes:\n        \
             - {{to: default, via: {gateway4}}}\n        \
             - {{to: default, via: \"{gateway6}\"}}\n"
        );
    }
    text
}

fn static_addresses_on_networkd() {
    static_addresses(Networkd);
}

fn static_addresses_on_networkmanager() {
    static_addresses(NetworkManager);
}

fn static_addresses(renderer: Renderer) {
    let mut machine = Machine::new(Topology::TwoSubnets);
    let cards = fixed(&machine);
    let _system = boot(&mut machine, renderer, &cards);
    let _daemon = machine.run();
    machine.assert_all_answer_within(PATIENCE);
    machine.assert_in_sync(SOON);
}

// ===== netplan apply =====

fn applied_without_changes_on_networkd() {
    applied_without_changes(Networkd);
}

fn applied_without_changes_on_networkmanager() {
    applied_without_changes(NetworkManager);
}

fn applied_without_changes(renderer: Renderer) {
    let (machine, _system) = booted(renderer, LEASES);
    let beside = Beside::begin(&machine);
    let went_well = [0, 1].map(|_| apply(&machine, &beside, renderer));
    if went_well == [true; 2] {
        assert_untouched(&machine, &beside);
    }
}

fn applied_with_changes_on_networkd() {
    applied_with_changes(Networkd);
}

fn applied_with_changes_on_networkmanager() {
    applied_with_changes(NetworkManager);
}

/// The policy goes, and the second card's default comes to main.
fn applied_with_changes(renderer: Renderer) {
    let (machine, _system) = booted(renderer, LEASES);
    let beside = Beside::begin(&machine);
    file(renderer, "    ens5: {dhcp4: true, dhcp6: true}\n    ens6: {dhcp4: true, dhcp6: true}\n");
    let mut went_well = apply(&machine, &beside, renderer);
    let rules = machine.ip("-4 rule");
    assert!(!rules.contains("lookup 200"), "{rules}");
    assert!(machine.ip("-4 route").contains("default via 10.0.1.1"), "{}", machine.dump());
    file(renderer, LEASES);
    went_well &= apply(&machine, &beside, renderer);
    if went_well {
        assert_untouched(&machine, &beside);
    }
}

/// In which order networkd merges two routers into one multipath route is chance.
#[track_caller]
fn assert_untouched(machine: &Machine, beside: &Beside) {
    let foreign = |state: &State| state.foreign().without("nexthops");
    let before = foreign(&beside.before);
    let (start, mut now) = (Instant::now(), foreign(&State::of(machine)));
    while now != before && start.elapsed() < SOON {
        thread::sleep(Duration::from_millis(50));
        now = foreign(&State::of(machine));
    }
    before.assert_is(&now, "after `netplan apply`");
}

/// `netplan apply`, and whether the manager did what it was to do.
#[track_caller]
fn apply(machine: &Machine, beside: &Beside, renderer: Renderer) -> bool {
    let mut went_well = true;
    let effect = beside.during(machine, SECOND, || {
        machine.sh("netplan apply");
        if renderer == Networkd && tree::name() == "bookworm" {
            went_well = networkd_goes_well(machine);
        }
        machine.until_configured();
        thread::sleep(Duration::from_secs(1));
    });
    eprintln!("{}: netplan apply on {renderer:?}: {effect:?}", tree::name());
    for address in [FIRST, SECOND, SECOND6] {
        assert_answered_within(machine, address, UNNOTICED);
    }
    beside.assert_settled(machine);
    // Each object of ours was made again, and that did not take many times as many.
    let number = machine.number("ens6").to_string();
    let routes = table(machine, "-4", &number);
    let defaults = routes.iter().filter(|r| r.starts_with("default via 10.0.1.1 "));
    assert_eq!(defaults.count(), 1, "{routes:#?}");
    let made: usize = effect.changes.iter().map(|c| c.made).sum();
    assert!(made <= 3 * OURS, "{effect:?}");
    eventually("nobody has failed", SOON, || {
        machine.sh("systemctl --failed --plain --no-legend").trim().is_empty()
    });
    went_well
}

/// networkd 252 is told to configure each card twice in a moment, and now and then leaves one
/// without its address, with multihome and without. Started anew it has it, without the metric.
fn networkd_goes_well(machine: &Machine) -> bool {
    let is_missing = || {
        let all = machine.ip("-4 address");
        machine.lab.addresses().iter().any(|a| a.is_ipv4() && !all.contains(&format!(" {a}/")))
    };
    let start = Instant::now();
    while is_missing() {
        if start.elapsed() > Duration::from_secs(5) {
            machine.sh("systemctl restart systemd-networkd");
            return false;
        }
        thread::sleep(Duration::from_millis(50));
    }
    true
}

/// Rules and routes of two cards in both families.
const OURS: usize = 12 + 14;

// ===== the service =====

/// netplan's generator makes `/run/NetworkManager` before NetworkManager does, and 0.106 makes it
/// for root only. The service is a user of its own.
fn the_service_reads_the_managers_state() {
    let mut machine = Machine::served(Topology::TwoSubnets);
    install_service(&machine);
    let cards = "    ens5: {dhcp4: true, dhcp6: true}\n    \
        ens6: {dhcp4: true, dhcp6: true, dhcp4-overrides: {use-routes: false}}\n";
    let _system = boot(&mut machine, NetworkManager, cards);
    machine.assert_all_answer_within(PATIENCE);
    let main = machine.ip("-4 route");
    assert!(!main.contains("default via 10.0.1.1"), "{main}");
    let status = machine.sh("setpriv --reuid=65534 --regid=65534 --clear-groups multihome status");
    assert!(status.contains("watched by multihome run"), "{status}");
    assert!(status.contains("/run/NetworkManager/devices/3"), "{status}");
}

/// As a package does, for a system that then boots.
#[track_caller]
fn install_service(machine: &Machine) {
    // `PrivateDevices=` wants it.
    let _ = std::os::unix::fs::symlink("pts/ptmx", "/dev/ptmx");
    machine.sh(&format!(
        "mkdir -p /src/target/here-linux-gnu/release
         mv {PROGRAM} /src/target/here-linux-gnu/release/multihome
         cp -r {PACKAGING} /src/packaging
         /src/packaging/install && systemd-sysusers multihome.conf && systemctl enable multihome"
    ));
}
