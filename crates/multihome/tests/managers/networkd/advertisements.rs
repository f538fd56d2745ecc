//! What routers say of themselves, heard by networkd, or by the kernel where nobody manages.

use std::thread;
use std::time::Duration;

use multihome_lab::Topology;

use super::watch::Askers;
use super::{LEASES, Networkd, leased, network};
use crate::machine::{Machine, PATIENCE};
use crate::runner::tests;
use crate::world::{Daemon, UNREACHABLE};

tests![
    two_routers_heard_by_networkd,
    two_routers_heard_by_the_kernel,
    a_static_gateway_and_a_router_in_one_route,
    a_router_that_withdraws_heard_by_networkd,
    a_router_that_withdraws_heard_by_the_kernel,
    a_router_that_expires_heard_by_networkd,
    a_router_that_expires_heard_by_the_kernel,
    a_router_with_another_address,
];

/// From an address without a gateway nothing leaves: that long after its end at the latest.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);

const FIRST: &str = "2001:db8:a::129";
const SECOND: &str = "2001:db8:b::204";

/// The cards are configured by hand, and the kernel itself hears what routers say.
fn by_the_kernel() -> (Machine, Daemon) {
    let machine = Machine::served(Topology::TwoSubnets);
    let daemon = machine.run();
    for (card, address) in [("ens5", FIRST), ("ens6", SECOND)] {
        machine.ip(&format!("address add {address}/64 dev {card}"));
        machine.ip(&format!("link set {card} up"));
    }
    assert_both_answer(&machine);
    (machine, daemon)
}

#[track_caller]
fn assert_both_answer(machine: &Machine) {
    for address in [FIRST, SECOND] {
        let to = address.parse().unwrap();
        let took = multihome_lab::until_answered(machine.remote(), to, PATIENCE).unwrap();
        assert!(took.is_some(), "{address} does not answer\n{}", machine.dump());
    }
}

fn two_routers_heard_by_networkd() {
    let (machine, networkd, _daemon) = leased(Topology::TwoSubnets, LEASES);
    let defaults = machine.ip("-6 route show default");
    // 252 leaves merging to the kernel, 257 has a nexthop object for each.
    let one = if crate::tree::name() == "bookworm" { "nexthop via" } else { "nhid" };
    assert_eq!(defaults.matches(one).count(), 2, "{defaults}");
    machine.assert_in_sync(PATIENCE);
    drop(networkd);
}

fn two_routers_heard_by_the_kernel() {
    let (machine, _daemon) = by_the_kernel();
    let defaults = machine.ip("-6 route show default");
    assert_eq!(defaults.matches("via fe80").count(), 2, "{defaults}");
    machine.assert_in_sync(PATIENCE);
}

/// One card's gateway is configured, the other's advertised: the kernel puts both into one route.
fn a_static_gateway_and_a_router_in_one_route() {
    let machine = Machine::served(Topology::TwoSubnets);
    let gateway = machine.lab.card("ens5").unwrap().gateway6;
    network(
        "ens5",
        &format!("[Network]\nAddress={FIRST}/64\nIPv6AcceptRA=no\nGateway={gateway}\n"),
    );
    network("ens6", LEASES);
    let _daemon = machine.run();
    let _networkd = Networkd::start(&machine);
    assert_both_answer(&machine);
    let strayed = machine.strayed();
    machine.server("ens6").router(|r| r.lifetime = 0);
    machine.assert_refused(SECOND, REFUSED_WITHIN);
    machine.server("ens6").router(|r| r.lifetime = 1800);
    assert_both_answer(&machine);
    assert_eq!(machine.strayed(), strayed, "{}", machine.dump());
}

// ===== a router that is no more =====

/// The second card's router ends: what is sent from there is refused, nothing of it leaves by the
/// first card, and when the router is back, so are the answers.
#[track_caller]
fn ends(machine: &Machine, daemon: &Daemon, lifetime: Duration, end: impl FnOnce()) {
    let strayed = machine.strayed();
    let askers = Askers::start(machine.remote(), &[FIRST, SECOND].map(|a| a.parse().unwrap()));
    end();
    machine.assert_refused(SECOND, lifetime + REFUSED_WITHIN);
    for _ in 0..20 {
        assert_eq!(machine.host_asks(SECOND), UNREACHABLE, "{}", machine.dump());
        thread::sleep(Duration::from_millis(50));
    }
    let [first, second] = askers.stop().try_into().unwrap();
    assert_eq!(first.lost(), 0, "the other card is disturbed: {first:?}");
    assert!(second.lost() > 0, "it was answered without a way out");
    assert_eq!(machine.strayed(), strayed, "{}\n{}", daemon.log(), machine.dump());
    machine.server("ens6").router(|r| r.lifetime = 1800);
    assert_both_answer(machine);
    assert_eq!(machine.strayed(), strayed, "{}\n{}", daemon.log(), machine.dump());
}

fn withdraws(machine: &Machine, daemon: &Daemon) {
    ends(machine, daemon, Duration::ZERO, || machine.server("ens6").router(|r| r.lifetime = 0));
}

/// It is said once that it is for a moment, and then nothing: the lifetime ends.
fn expires(machine: &Machine, daemon: &Daemon) {
    const LIFETIME: Duration = Duration::from_secs(3);
    machine.server("ens6").advertise_every(Duration::from_secs(600));
    ends(machine, daemon, LIFETIME, || machine.server("ens6").router(|r| r.lifetime = 3));
}

fn a_router_that_withdraws_heard_by_networkd() {
    let (machine, _networkd, daemon) = leased(Topology::TwoSubnets, LEASES);
    withdraws(&machine, &daemon);
}

fn a_router_that_withdraws_heard_by_the_kernel() {
    let (machine, daemon) = by_the_kernel();
    withdraws(&machine, &daemon);
}

fn a_router_that_expires_heard_by_networkd() {
    let (machine, _networkd, daemon) = leased(Topology::TwoSubnets, LEASES);
    expires(&machine, &daemon);
}

fn a_router_that_expires_heard_by_the_kernel() {
    let (machine, daemon) = by_the_kernel();
    expires(&machine, &daemon);
}

/// The router comes back with another address, and says of the old one that it is no more.
fn a_router_with_another_address() {
    let (mut machine, _networkd, daemon) = leased(Topology::TwoSubnets, LEASES);
    let strayed = machine.strayed();
    machine.server("ens6").router(|r| r.lifetime = 0);
    machine.assert_refused(SECOND, REFUSED_WITHIN);
    machine.change_gateway("ens6", None, Some("fe80::9:9".parse().unwrap()));
    machine.server("ens6").router(|r| r.lifetime = 1800);
    assert_both_answer(&machine);
    assert_eq!(machine.strayed(), strayed, "{}\n{}", daemon.log(), machine.dump());
}
