//! NetworkManager's dispatcher calls our hook: alone, and beside the daemon.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use multihome_lab::Topology;

use super::beside::{Beside, UNNOTICED, assert_answered_within};
use super::{
    AUTO, FIRST, NEVER, NetworkManager, SECOND, SECOND6, configured, managed, nmcli, profile,
};
use crate::machine::{By, Machine, PATIENCE, stories};
use crate::runner::tests;
use crate::state::{State, rules, table};
use crate::world::{Daemon, SOON, eventually};

stories![
    cards_come_and_go,
    a_gateway_on_file,
    a_table_of_its_own,
    a_restart,
    // The dispatcher of 1.42 is not told of renewals.
    a_renewal_brings_another_gateway on trixie,
];

tests![the_hook_beside_the_daemon_makes_nothing_twice, the_hook_is_in_time];

/// Both cards by the network, the second with these sections; multihome was there first.
#[track_caller]
fn kept_right(by: By, ipv4: &str, ipv6: &str) -> (Machine, NetworkManager, Option<Daemon>) {
    let machine = Machine::served(Topology::TwoSubnets);
    machine.server("ens6").lease4(|l| l.renew = Some(3));
    let daemon = machine.kept_right(by);
    profile("ens5", AUTO, AUTO);
    profile("ens6", ipv4, ipv6);
    let manager = NetworkManager::start(&machine);
    configured(&machine);
    machine.assert_all_answer_within(PATIENCE);
    (machine, manager, daemon)
}

fn cards_come_and_go(by: By) {
    let (mut machine, _manager, _daemon) = kept_right(by, AUTO, AUTO);
    let before = State::of(&machine);
    nmcli(&machine, "connection down ens6");
    let has_rules = |machine: &Machine| {
        ["-4", "-6"].iter().any(|f| rules(machine, f).iter().any(|r| r.contains("10003")))
    };
    eventually("no rule of the card is left", SOON, || !has_rules(&machine));
    assert_answered_within(&machine, FIRST, UNNOTICED);
    nmcli(&machine, "connection up ens6");
    configured(&machine);
    machine.assert_all_answer_within(PATIENCE);
    before.assert_is(&State::of(&machine), "after down and up");
    machine.pull("ens6");
    eventually("no rule of the card is left", SOON, || !has_rules(&machine));
    machine.plug("ens6");
    configured(&machine);
    machine.assert_all_answer_within(PATIENCE);
}

fn a_gateway_on_file(by: By) {
    let (machine, _manager, _daemon) = kept_right(by, NEVER, AUTO);
    assert!(!machine.ip("-4 route").contains("default via 10.0.1.1"), "{}", machine.dump());
    let status = machine.multihome("status").out;
    assert!(status.contains("NetworkManager"), "{status}");
}

fn a_table_of_its_own(by: By) {
    let own = "method=auto\nroute-table=200\n";
    let (machine, _manager, _daemon) = kept_right(by, own, own);
    nmcli(&machine, "connection down ens6");
    nmcli(&machine, "connection up ens6");
    configured(&machine);
    machine.assert_all_answer_within(PATIENCE);
}

fn a_restart(by: By) {
    let (machine, mut manager, _daemon) = kept_right(by, NEVER, AUTO);
    let (before, strayed) = (State::of(&machine).ours(), machine.strayed());
    manager.stop(rustix::process::Signal::TERM);
    thread::sleep(Duration::from_millis(500));
    manager.start_again(&machine);
    configured(&machine);
    // Until the dispatcher has said all that it has to say.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        assert_answered_within(&machine, SECOND, UNNOTICED);
        assert_answered_within(&machine, SECOND6, UNNOTICED);
    }
    before.assert_is(&State::of(&machine).ours(), "after the restart");
    assert_eq!(machine.strayed(), strayed, "nothing left by ens5");
}

fn a_renewal_brings_another_gateway(by: By) {
    let (mut machine, _manager, _daemon) = kept_right(by, NEVER, AUTO);
    machine.server("ens6").wait_for_next("ack", PATIENCE);
    let strayed = machine.strayed();
    machine.change_gateway("ens6", Some("10.0.1.9".parse().unwrap()), None);
    machine.server("ens6").wait_for_next("ack", PATIENCE);
    assert_answered_within(&machine, SECOND, SOON);
    let routes = table(&machine, "-4", "10003");
    let defaults: Vec<_> = routes.iter().filter(|r| r.starts_with("default via ")).collect();
    let new = "default via 10.0.1.9 ";
    assert!(matches!(defaults[..], [only] if only.starts_with(new)), "{routes:#?}");
    assert_eq!(machine.strayed(), strayed, "nothing left by ens5");
}

/// It writes down what it is told, and leaves the rest to the daemon.
fn the_hook_beside_the_daemon_makes_nothing_twice() {
    let (machine, _manager) = managed(Topology::TwoSubnets, AUTO, AUTO);
    let beside = Beside::begin(&machine);
    machine.install_hooks(); // before the daemon they would make rules
    let effect = beside.during(&machine, SECOND, || {
        nmcli(&machine, "device reapply ens6");
        thread::sleep(Duration::from_secs(1));
    });
    effect.assert_gap(UNNOTICED);
    effect.assert_no_changes();
    nmcli(&machine, "connection down ens6");
    nmcli(&machine, "connection up ens6");
    configured(&machine);
    beside.assert_settled(&machine);
    let hints: Vec<_> = fs::read_dir("/run/multihome/hints").unwrap().collect();
    assert!(!hints.is_empty(), "nothing was written down");
    beside.assert_untouched(&machine, "after down and up");
}

/// Called in `pre-up.d`, it has made the rules when a connection is said to be up. (With both
/// families that is when the first of them is ready.)
fn the_hook_is_in_time() {
    let machine = Machine::served(Topology::TwoSubnets);
    machine.install_hooks();
    profile("ens5", AUTO, AUTO);
    profile("ens6", NEVER, "method=disabled\n");
    let _manager = NetworkManager::start(&machine);
    machine.until("nmcli -t -f DEVICE,STATE device | grep -qx ens6:connected");
    for _ in 0..3 {
        nmcli(&machine, "connection down ens6");
        nmcli(&machine, "connection up ens6");
        let rules = rules(&machine, "-4");
        assert!(rules.iter().any(|r| r.contains(SECOND)), "{rules:#?}");
        assert_answered_within(&machine, SECOND, UNNOTICED);
    }
}
