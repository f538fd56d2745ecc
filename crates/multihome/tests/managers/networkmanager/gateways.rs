//! Gateways that change and go while NetworkManager keeps the cards.

use std::thread;
use std::time::{Duration, Instant};

use multihome_lab::{Answer, Prober, Topology};

use super::beside::{Beside, UNNOTICED, assert_answered_within};
use super::{AUTO, NEVER, NetworkManager, SECOND, SECOND6, configured, managed, nmcli, profile};
use crate::machine::{Machine, PATIENCE};
use crate::runner::tests;
use crate::server::Conduct;
use crate::state::{rules, table};
use crate::world::{SOON, UNREACHABLE, eventually};

tests![
    a_renewal_changes_the_gateway,
    a_renewal_changes_the_gateway_on_file,
    a_renewal_changes_the_gateway_in_its_own_table,
    a_lease_that_ends,
    an_advertisement_withdrawn,
    an_advertisement_that_expires,
    an_advertised_gateway_that_the_profile_does_not_use,
];

/// Waits until the server has renewed a card's lease, and the manager has made of it what it does.
#[track_caller]
fn renewed(machine: &Machine, card: &str) {
    machine.server(card).wait_for_next("ack", PATIENCE);
}

fn a_renewal_changes_the_gateway() {
    renewal_changes_the_gateway(AUTO);
}

fn a_renewal_changes_the_gateway_on_file() {
    renewal_changes_the_gateway(NEVER);
}

fn a_renewal_changes_the_gateway_in_its_own_table() {
    renewal_changes_the_gateway("method=auto\nroute-table=200\n");
}

/// The old gateway is dead from one moment to the next, and the host hears of the new one when
/// its lease is renewed, seconds later. Until then its answers are lost at the right door.
fn renewal_changes_the_gateway(ipv4: &str) {
    let mut machine = Machine::served(Topology::TwoSubnets);
    machine.server("ens6").lease4(|l| l.renew = Some(3));
    profile("ens5", AUTO, AUTO);
    profile("ens6", ipv4, AUTO);
    let _manager = NetworkManager::start(&machine);
    configured(&machine);
    let beside = Beside::begin(&machine);
    let strayed = machine.strayed();
    renewed(&machine, "ens6");
    let prober = Prober::start(machine.remote(), SECOND.parse().unwrap()).unwrap();
    machine.change_gateway("ens6", Some("10.0.1.9".parse().unwrap()), None);
    renewed(&machine, "ens6");
    assert_answered_within(&machine, SECOND, UNNOTICED);
    drop(prober);
    assert_eq!(machine.strayed(), strayed, "nothing left by ens5");
    let routes = table(&machine, "-4", "10003");
    let defaults: Vec<_> = routes.iter().filter(|r| r.starts_with("default via ")).collect();
    let new = "default via 10.0.1.9 ";
    assert!(matches!(defaults[..], [only] if only.starts_with(new)), "{routes:#?}");
    beside.assert_settled(&machine);
}

/// The server is gone, and so is the address when its time is over; its state stays on file.
fn a_lease_that_ends() {
    let machine = Machine::served(Topology::TwoSubnets);
    machine.server("ens6").lease4(|l| (l.seconds, l.renew) = (8, Some(2)));
    profile("ens5", AUTO, AUTO);
    profile("ens6", NEVER, AUTO);
    let _manager = NetworkManager::start(&machine);
    configured(&machine);
    let beside = Beside::begin(&machine);
    let strayed = machine.strayed();
    machine.server("ens6").conduct(Conduct::Silent);
    let gone = || !machine.ip("-4 address show dev ens6").contains(SECOND);
    eventually("its address is gone", PATIENCE, gone);
    eventually("its rules are gone", SOON, || {
        !rules(&machine, "-4").iter().any(|r| r.contains(SECOND))
    });
    machine.assert_in_sync(SOON);
    assert_answered_within(&machine, SECOND6, UNNOTICED);
    assert_eq!(machine.strayed(), strayed, "nothing left by ens5");
    machine.server("ens6").conduct(Conduct::Answers);
    nmcli(&machine, "connection up ens6");
    configured(&machine);
    beside.assert_settled(&machine);
}

fn an_advertisement_withdrawn() {
    let (machine, _manager) = managed(Topology::TwoSubnets, AUTO, AUTO);
    let beside = Beside::begin(&machine);
    let _answerer = machine.let_remote_answer();
    assert!(machine.host_asks(SECOND6).is_answered());
    let strayed = machine.strayed();
    let effect = beside.during(&machine, SECOND, || {
        machine.server("ens6").router(|r| r.lifetime = 0);
        machine.assert_refused(SECOND6, SOON);
        // Not for a moment only, and not by a door that opens later.
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(1) {
            assert_eq!(machine.host_asks(SECOND6), UNREACHABLE);
        }
    });
    effect.assert_gap(UNNOTICED);
    machine.server("ens6").router(|r| r.lifetime = 1800);
    beside.assert_settled(&machine);
    assert_eq!(machine.strayed(), strayed, "nothing left by ens5");
    beside.assert_untouched(&machine, "after the router came back");
}

/// A router that falls silent: its last word holds for three seconds.
fn an_advertisement_that_expires() {
    let (machine, _manager) = managed(Topology::TwoSubnets, AUTO, AUTO);
    let beside = Beside::begin(&machine);
    let _answerer = machine.let_remote_answer();
    let strayed = machine.strayed();
    machine.server("ens6").router(|r| r.lifetime = 3);
    // Sent at once; one of those that follow at intervals is the last.
    thread::sleep(Duration::from_millis(500));
    machine.server("ens6").no_router();
    let start = Instant::now();
    let mut answer = machine.host_asks(SECOND6);
    assert!(answer.is_answered(), "{answer}\n{}", machine.dump());
    while answer != UNREACHABLE {
        assert!(start.elapsed() < Duration::from_secs(3 + 5), "{answer}\n{}", machine.dump());
        assert!(!matches!(answer, Answer::Refused(_)), "{answer}");
        answer = machine.host_asks(SECOND6);
    }
    assert!(start.elapsed() > Duration::from_secs(1), "not before its time");
    assert_answered_within(&machine, SECOND, UNNOTICED);
    assert_eq!(machine.strayed(), strayed, "nothing left by ens5");
    machine.assert_in_sync(SOON);
    drop(beside);
}

/// With `ipv6.never-default` an advertised gateway stands nowhere: it has to be configured.
fn an_advertised_gateway_that_the_profile_does_not_use() {
    let (machine, _manager) = managed(Topology::TwoSubnets, NEVER, NEVER);
    let gateway = machine.lab.card("ens6").unwrap().gateway6;
    assert!(!machine.ip("-6 route").contains(&format!("default via {gateway}")));
    machine.configure(&format!("[interface.ens6]\ngateway = [\"{gateway}\"]\n"));
    let beside = Beside::begin(&machine);
    beside.assert_settled(&machine);
    beside.assert_untouched(&machine, "beside multihome");
}
