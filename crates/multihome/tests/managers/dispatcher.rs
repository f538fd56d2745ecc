//! networkd-dispatcher in a booted system: our hook, called by it, without the daemon.

use multihome_lab::Topology;

use crate::common::program::Program;
use crate::machine::{By, Machine, PATIENCE, write};
use crate::runner::tests;
use crate::world::eventually;

tests![leases, another_card_is_reconfigured, a_carrier_is_lost, a_card_is_pulled_and_put_back];

/// Both cards have their leases, and every address answers everybody.
#[track_caller]
fn booted() -> (Machine, Program) {
    let mut machine = Machine::served(Topology::TwoSubnets);
    machine.kept_right(By::Hooks);
    write("/etc/systemd/network/10.network", "[Match]\nName=ens*\n[Network]\nDHCP=yes\n");
    let system = machine.boot(&["systemd-networkd", "networkd-dispatcher"]);
    machine.assert_all_answer_within(PATIENCE);
    (machine, system)
}

/// Waits until no rule is left of the second card.
#[track_caller]
fn is_without_second(machine: &Machine) {
    eventually("no rule is left of what went", PATIENCE, || {
        !machine.ip("-4 rule").contains("10.0.1.204")
    });
    machine.assert_answers("10.0.0.129");
}

fn leases() {
    let (machine, _system) = booted();
    // IPv6 comes later than the state `routable`.
    machine.assert_in_sync(PATIENCE);
}

fn another_card_is_reconfigured() {
    let (machine, _system) = booted();
    // networkd deletes all rules of the host, and says of that card alone that it is configured.
    machine.sh("networkctl reconfigure ens5");
    machine.until("test $(networkctl status ens5 | grep -c 'routable (configured)') = 1");
    machine.assert_all_answer_within(PATIENCE);
    machine.assert_in_sync(PATIENCE);
}

fn a_carrier_is_lost() {
    let (machine, _system) = booted();
    machine.lab.set_carrier("ens6", false).unwrap();
    is_without_second(&machine);
    machine.lab.set_carrier("ens6", true).unwrap();
    machine.assert_all_answer_within(PATIENCE * 2);
}

fn a_card_is_pulled_and_put_back() {
    let (mut machine, _system) = booted();
    machine.pull("ens6");
    is_without_second(&machine);
    machine.plug("ens6");
    machine.assert_all_answer_within(PATIENCE * 2);
}
