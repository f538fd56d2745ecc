//! ifupdown in a booted system, with udev and what brings up cards that are plugged in: the way of
//! the first seed, without the daemon.

use std::time::Duration;

use multihome_lab::{Ifaddr, Prober, Topology};

use crate::common::program::Program;
use crate::machine::{Machine, PATIENCE, Rules, UDEV, write};
use crate::runner::tests;
use crate::state::{State, rules, table};
use crate::world::eventually;

tests![
    a_card_is_attached_and_detached,
    a_lease_is_renewed,
    an_address_changes,
    the_host_is_rebooted,
    a_card_with_a_stanza_is_left_alone,
];

const SECOND: &str = "10.0.0.204";
const SECOND6: &str = "2600:1f14:eeb:2203:ac24:6708:2ab9:75a3";
/// The first card's stanzas; nobody says anything of the second.
const INTERFACES: &str = "source /etc/network/interfaces.d/*
auto lo ens5
iface lo inet loopback
iface ens5 inet dhcp
iface ens5 inet6 dhcp
";

/// A cloud instance with two cards in one subnet, booted, and all answered.
#[track_caller]
fn booted() -> (Machine, Program) {
    let mut machine = Machine::served(Topology::SameSubnet);
    machine.install_hotplug();
    write("/etc/network/interfaces", INTERFACES);
    for card in ["ens5", "ens6"] {
        machine.server(card).lease4(|l| l.renew = Some(2));
        machine.server(card).lease6(|l| l.renew = Some(2));
    }
    let system = machine.boot(&["networking", UDEV]);
    machine.assert_all_answer_within(PATIENCE);
    (machine, system)
}

fn a_card_is_attached_and_detached() {
    let (mut machine, _system) = booted();
    let main = machine.ip("-4 route show default");
    assert!(main.contains("default via 10.0.0.1 dev ens5 \n"), "{main}");
    assert!(main.contains("default via 10.0.0.1 dev ens6 metric 3 \n"), "{main}");
    let before = rules(&machine, "-4");
    for _ in 0..2 {
        machine.pull("ens6");
        eventually("no rule is left of what was detached", PATIENCE, || {
            !machine.ip("-4 rule").contains(SECOND) && !machine.ip("-6 rule").contains(SECOND6)
        });
        machine.until("! pgrep --exact --list-full dhclient | grep ens6");
        machine.assert_answers("10.0.0.129");
        machine.plug("ens6");
        machine.assert_all_answer_within(PATIENCE);
        let number = machine.number("ens6");
        assert!(!table(&machine, "-4", &number.to_string()).is_empty(), "{}", machine.dump());
    }
    assert_eq!(rules(&machine, "-4").len(), before.len());
}

fn a_lease_is_renewed() {
    let (machine, _system) = booted();
    let before = State::of(&machine).ours();
    let strayed = machine.strayed();
    let rules = Rules::listen(&machine);
    let probers =
        [SECOND, SECOND6].map(|a| Prober::start(machine.remote(), a.parse().unwrap()).unwrap());
    for _ in 0..2 {
        machine.server("ens6").wait_for_next("ack", PATIENCE);
        machine.server("ens6").wait_for_next("reply", PATIENCE);
    }
    for prober in probers {
        let count = prober.stop();
        assert!(count.gap < Duration::from_millis(500), "{count:?}");
    }
    assert_eq!(rules.stop(), [""; 0], "no rule was touched");
    assert_eq!(machine.strayed(), strayed);
    State::of(&machine).ours().assert_is(&before, "after renewals");
}

fn an_address_changes() {
    let (mut machine, _system) = booted();
    let new: Ifaddr = "10.0.0.205/24".parse().unwrap();
    machine.lab.add_address("ens6", new).unwrap();
    machine.server("ens6").lease4(|l| l.address = "10.0.0.205".parse().unwrap());
    eventually("the rules are those of the new address", PATIENCE, || {
        let rules = rules(&machine, "-4").join("\n");
        rules.contains("10003: from 10.0.0.205 ") && !rules.contains(SECOND)
    });
    machine.lab.del_address("ens6", SECOND.parse().unwrap()).unwrap();
    machine.assert_all_answer_within(PATIENCE);
}

fn the_host_is_rebooted() {
    let (mut machine, system) = booted();
    let before = State::of(&machine).ours();
    drop(system);
    machine.reboot();
    assert_eq!(rules(&machine, "-4"), [""; 0]);
    let _system = machine.boot(&["networking", UDEV]);
    machine.assert_all_answer_within(PATIENCE);
    State::of(&machine).ours().assert_is(&before, "after a reboot");
}

fn a_card_with_a_stanza_is_left_alone() {
    let mut machine = Machine::new(Topology::TwoSubnets);
    machine.install_hotplug();
    write(
        "/etc/network/interfaces",
        "source /etc/network/interfaces.d/*\nallow-hotplug ens6\niface ens6 inet static\n \
         address 10.0.1.204/24\n gateway 10.0.1.1\n",
    );
    let _system = machine.boot(&["networking", UDEV]);
    machine.until("ip -4 rule | grep -q 'from 10.0.1.204 lookup 10003'");
    machine.assert_answers("10.0.1.204");
    let stanzas = machine.sh("ls /run/network/interfaces.d");
    assert!(!stanzas.contains("ens6"), "{stanzas}");
    assert!(stanzas.contains("ens5"), "{stanzas}");
}
