//! What an administrator does to NetworkManager, and what happens to cards.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use multihome_lab::Topology;
use multihome_lab::traffic::PORT;
use rustix::process::Signal;

use super::beside::{Beside, Changes, Effect, UNNOTICED, assert_answered_within};
use super::{AUTO, FIRST, NEVER, NetworkManager, SECOND, SECOND6, configured, managed, nmcli};
use crate::machine::{Machine, PATIENCE};
use crate::runner::tests;
use crate::state::{State, rules};
use crate::world::{SOON, eventually};

tests![
    reapply,
    a_changed_profile,
    an_address_more,
    down_and_up,
    all_of_it_in_one_subnet,
    a_restart,
    a_restart_with_a_gateway_on_file,
    a_crash,
    twins_stay_apart,
    a_twin_that_was_there_first,
    a_carrier_lost_for_three_seconds,
    a_carrier_lost_for_seven_seconds,
    a_connection_whose_address_went,
    a_card_pulled_and_put_back,
];

// ===== what an administrator does =====

fn reapply() {
    let (machine, _manager) = managed(Topology::TwoSubnets, AUTO, AUTO);
    let beside = Beside::begin(&machine);
    for card in ["ens5", "ens6"] {
        let effect = beside.during(&machine, SECOND, || {
            nmcli(&machine, &format!("device reapply {card}"));
            thread::sleep(Duration::from_secs(1));
        });
        effect.assert_gap(UNNOTICED);
        effect.assert_no_changes();
    }
    beside.assert_settled(&machine);
    beside.assert_untouched(&machine, "after reapply");
}

/// The default of the second card goes from main and comes back, by the profile alone; the
/// gateway is the same all the time.
fn a_changed_profile() {
    let (machine, _manager) = managed(Topology::TwoSubnets, AUTO, AUTO);
    let beside = Beside::begin(&machine);
    for never in ["yes", "no"] {
        let effect = beside.during(&machine, SECOND, || {
            nmcli(&machine, &format!("connection modify ens6 ipv4.never-default {never}"));
            nmcli(&machine, "device reapply ens6");
            thread::sleep(Duration::from_secs(1));
        });
        effect.assert_gap(UNNOTICED);
        beside.assert_settled(&machine);
    }
    beside.assert_untouched(&machine, "after it was changed back");
}

fn an_address_more() {
    let (mut machine, _manager) = managed(Topology::TwoSubnets, AUTO, AUTO);
    // As systemd sets it where distributions let it. Without, NetworkManager loses the second
    // address when it puts both into order, multihome or not.
    machine.host().sysctl("ipv4/conf/ens6/promote_secondaries", "1").unwrap();
    let beside = Beside::begin(&machine);
    machine.lab.add_address("ens6", "10.0.1.205/24".parse().unwrap()).unwrap();
    nmcli(&machine, "connection modify ens6 +ipv4.addresses 10.0.1.205/24");
    let effect = beside.during(&machine, SECOND, || {
        nmcli(&machine, "device reapply ens6");
        eventually("it has its rules", SOON, || {
            let sources = ["from 10.0.1.205 ", "from 10.0.1.204/31 "];
            rules(&machine, "-4").iter().any(|r| sources.iter().any(|s| r.contains(s)))
        });
        machine.assert_answers("10.0.1.205");
    });
    effect.assert_gap(UNNOTICED);
    beside.assert_settled(&machine);
    nmcli(&machine, "connection modify ens6 -ipv4.addresses 10.0.1.205/24");
    let effect = beside.during(&machine, SECOND, || {
        nmcli(&machine, "device reapply ens6");
        eventually("the first address has its rules alone", SOON * 2, || {
            rules(&machine, "-4").iter().any(|r| r.contains("from 10.0.1.204 lookup 10003"))
        });
    });
    effect.assert_gap(UNNOTICED);
    machine.lab.del_address("ens6", "10.0.1.205".parse().unwrap()).unwrap();
    beside.assert_settled(&machine);
    beside.assert_untouched(&machine, "after it was taken away");
}

fn down_and_up() {
    let (machine, _manager) = managed(Topology::TwoSubnets, AUTO, AUTO);
    let beside = Beside::begin(&machine);
    for _ in 0..2 {
        let effect = beside.during(&machine, FIRST, || {
            nmcli(&machine, "connection down ens6");
            eventually("no rule of its address is left", SOON, || {
                !rules(&machine, "-4").iter().any(|r| r.contains(SECOND))
            });
            nmcli(&machine, "connection up ens6");
            configured(&machine);
        });
        effect.assert_gap(UNNOTICED);
        assert_answered_within(&machine, SECOND, UNNOTICED);
        assert_answered_within(&machine, SECOND6, UNNOTICED);
    }
    beside.assert_settled(&machine);
    beside.assert_untouched(&machine, "after down and up");
}

/// The same life where both cards are in one network, and one router is behind both.
fn all_of_it_in_one_subnet() {
    let (machine, mut manager) = managed(Topology::SameSubnet, NEVER, AUTO);
    let beside = Beside::begin(&machine);
    let second = "10.0.0.204";
    let effect = beside.during(&machine, second, || {
        nmcli(&machine, "device reapply ens6");
        thread::sleep(Duration::from_secs(1));
    });
    effect.assert_gap(UNNOTICED);
    effect.assert_no_changes();
    let effect = beside.during(&machine, FIRST, || {
        nmcli(&machine, "connection down ens6");
        nmcli(&machine, "connection up ens6");
        configured(&machine);
    });
    effect.assert_gap(UNNOTICED);
    assert_answered_within(&machine, second, UNNOTICED);
    beside.assert_settled(&machine);
    let effect = beside.during(&machine, second, || {
        manager.stop(Signal::TERM);
        thread::sleep(Duration::from_millis(500));
        manager.start_again(&machine);
        configured(&machine);
        thread::sleep(Duration::from_secs(1));
    });
    effect.assert_gap(UNNOTICED);
    beside.assert_settled(&machine);
    beside.assert_untouched(&machine, "after the restart");
}

fn a_restart() {
    let (machine, mut manager) = managed(Topology::TwoSubnets, AUTO, AUTO);
    let beside = Beside::begin(&machine);
    let effect = restart(&machine, &mut manager, &beside, Signal::TERM);
    effect.assert_no_changes();
    beside.assert_untouched(&machine, "after the restart");
}

/// The file is without the lease for a moment; the lease is not.
fn a_restart_with_a_gateway_on_file() {
    let (machine, mut manager) = managed(Topology::TwoSubnets, NEVER, AUTO);
    let beside = Beside::begin(&machine);
    let effect = restart(&machine, &mut manager, &beside, Signal::TERM);
    effect.assert_no_changes();
    beside.assert_untouched(&machine, "after the restart");
}

fn a_crash() {
    let (machine, mut manager) = managed(Topology::TwoSubnets, NEVER, AUTO);
    let beside = Beside::begin(&machine);
    let effect = restart(&machine, &mut manager, &beside, Signal::KILL);
    effect.assert_no_changes();
    beside.assert_untouched(&machine, "after the crash");
}

#[track_caller]
fn restart(
    machine: &Machine,
    manager: &mut NetworkManager,
    beside: &Beside,
    signal: Signal,
) -> Effect {
    let effect = beside.during(machine, SECOND, || {
        manager.stop(signal);
        thread::sleep(Duration::from_secs(1));
        assert_answered_within(machine, SECOND6, UNNOTICED);
        manager.start_again(machine);
        configured(machine);
        thread::sleep(Duration::from_secs(1));
    });
    effect.assert_gap(UNNOTICED);
    beside.assert_settled(machine);
    effect
}

// ===== rules of its own =====

/// A rule that is ours but for its protocol number.
const TWIN: &str = "priority 10003 from 10.0.1.204 table 10003";

fn twins(machine: &Machine) -> (usize, usize) {
    let text = machine.ip("-4 rule");
    let twins = || text.lines().filter(|l| l.contains("from 10.0.1.204 lookup 10003"));
    (twins().filter(|l| l.ends_with("proto static")).count(), twins().count())
}

fn twins_stay_apart() {
    let (mut machine, _manager) = managed(Topology::TwoSubnets, AUTO, AUTO);
    machine.server("ens6").lease4(|l| l.renew = Some(2));
    nmcli(&machine, "connection up ens6");
    configured(&machine);
    let beside = Beside::begin(&machine);
    let effect = beside.during(&machine, SECOND, || {
        nmcli(&machine, &format!("connection modify ens6 ipv4.routing-rules '{TWIN}'"));
        nmcli(&machine, "device reapply ens6");
        eventually("both are there", SOON, || twins(&machine) == (1, 2));
        thread::sleep(Duration::from_millis(500));
    });
    effect.assert_gap(UNNOTICED);
    // (It begins IPv6 anew whenever the profile has changed.)
    assert_eq!(effect.changes[0], Changes::default(), "{effect:?}");
    // Ours still follow what happens.
    let old = machine.strayed();
    machine.change_gateway("ens6", Some("10.0.1.9".parse().unwrap()), None);
    machine.assert_all_answer_within(PATIENCE);
    assert_eq!(machine.strayed(), old, "nothing left by ens5");
    // Its own goes without ours.
    let effect = beside.during(&machine, SECOND, || {
        nmcli(&machine, "connection modify ens6 ipv4.routing-rules ''");
        nmcli(&machine, "device reapply ens6");
        eventually("ours is there alone", SOON, || twins(&machine) == (0, 1));
        thread::sleep(Duration::from_millis(500));
    });
    effect.assert_gap(UNNOTICED);
    assert_eq!(effect.changes[0], Changes::default(), "{effect:?}");
    // And ours without its own.
    nmcli(&machine, &format!("connection modify ens6 ipv4.routing-rules '{TWIN}'"));
    nmcli(&machine, "device reapply ens6");
    eventually("both are there", SOON, || twins(&machine) == (1, 2));
    beside.assert_settled(&machine);
    beside.daemon.stop(Signal::TERM);
    machine.must("down");
    assert_eq!(twins(&machine), (1, 1), "{}", machine.dump());
}

fn a_twin_that_was_there_first() {
    let ipv4 = format!("method=auto\nrouting-rule1={TWIN}\n");
    let (machine, _manager) = managed(Topology::TwoSubnets, &ipv4, AUTO);
    assert_eq!(twins(&machine), (1, 1), "{}", machine.dump());
    let beside = Beside::begin(&machine);
    assert_eq!(twins(&machine), (1, 2), "{}", machine.dump());
    beside.assert_settled(&machine);
    nmcli(&machine, "connection down ens6");
    eventually("none is left", SOON, || twins(&machine) == (0, 0));
    nmcli(&machine, "connection up ens6");
    configured(&machine);
    beside.assert_settled(&machine);
    assert_eq!(twins(&machine), (1, 2), "{}", machine.dump());
    beside.assert_untouched(&machine, "after down and up");
}

// ===== what happens to cards =====

/// NetworkManager waits for five seconds before it takes the addresses away.
fn a_carrier_lost_for_three_seconds() {
    let (machine, _manager) = managed(Topology::TwoSubnets, NEVER, AUTO);
    let beside = Beside::begin(&machine);
    lose_carrier(&machine, &beside, Duration::from_secs(3));
    beside.assert_untouched(&machine, "after the carrier came back");
}

fn a_carrier_lost_for_seven_seconds() {
    let (machine, _manager) = managed(Topology::TwoSubnets, NEVER, AUTO);
    let beside = Beside::begin(&machine);
    lose_carrier(&machine, &beside, Duration::from_secs(7));
    beside.assert_untouched(&machine, "after the carrier came back");
}

#[track_caller]
fn lose_carrier(machine: &Machine, beside: &Beside, lasting: Duration) {
    let _answerer = machine.let_remote_answer();
    let strayed = machine.strayed();
    let effect = beside.during(machine, FIRST, || {
        let start = Instant::now();
        machine.lab.fabric().set_port("ens6", false).unwrap();
        while start.elapsed() < lasting {
            // Lost, refused, or the address is away: but never by the other door.
            for from in [SECOND, SECOND6] {
                let answer = machine.host_asks(from);
                assert!(!answer.is_answered(), "{from} without a carrier: {answer}");
            }
        }
        machine.lab.fabric().set_port("ens6", true).unwrap();
        configured(machine);
        for address in [SECOND, SECOND6] {
            assert_answered_within(machine, address, UNNOTICED);
        }
    });
    effect.assert_gap(UNNOTICED);
    assert_eq!(machine.strayed(), strayed, "nothing left by ens5");
    beside.assert_settled(machine);
}

/// What it still has to say is not said by the other door, for as long as what an address leaves
/// behind is kept. (IPv6 lets a socket go on with an address that is no longer there.)
fn a_connection_whose_address_went() {
    let (machine, _manager) = managed(Topology::TwoSubnets, AUTO, AUTO);
    let _beside = Beside::begin(&machine);
    let to = SocketAddr::new(SECOND6.parse().unwrap(), PORT + 2);
    let listener = machine.host().run(|| TcpListener::bind(to)).unwrap().unwrap();
    let client = machine.remote().run(|| TcpStream::connect(to)).unwrap().unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(b"heard").unwrap();
    let strayed = machine.strayed();
    nmcli(&machine, "connection down ens6");
    server.write_all(b"unheard, and said again and again").unwrap();
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(machine.strayed(), strayed, "nothing left by ens5");
    drop(client);
}

fn a_card_pulled_and_put_back() {
    let (mut machine, _manager) = managed(Topology::TwoSubnets, NEVER, AUTO);
    let mut beside = Beside::begin(&machine);
    for _ in 0..2 {
        machine.pull("ens6");
        eventually("no rule of its address is left", SOON, || {
            !rules(&machine, "-4").iter().any(|r| r.contains(SECOND))
        });
        assert_answered_within(&machine, FIRST, UNNOTICED);
        machine.plug("ens6");
        configured(&machine);
        machine.assert_all_answer_within(PATIENCE);
    }
    // A new index, so another state; it must not move from here on.
    beside.before = State::of(&machine).foreign();
    beside.assert_settled(&machine);
    beside.assert_untouched(&machine, "after it was put back");
}
