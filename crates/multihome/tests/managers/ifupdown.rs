//! ifupdown: static addresses, leases by ISC dhclient, and what ifup and ifdown do.

use std::time::Duration;

use multihome_lab::{Prober, Topology};

use crate::machine::{By, Machine, PATIENCE, stories, write};
use crate::state::{State, rules};
use crate::world::{SOON, eventually};

stories![
    static_addresses_in_two_subnets,
    static_addresses_in_one_subnet,
    leases_in_two_subnets,
    leases_in_one_subnet,
    a_card_is_taken_down_and_up,
    all_are_taken_down,
];

pub const INTERFACES: &str = "/etc/network/interfaces";

/// The addresses of [`Topology::TwoSubnets`]. The second card's defaults have metrics: two of the same
/// are refused.
pub const TWO_SUBNETS: &str = "auto ens5 ens6
iface ens5 inet static
    address 10.0.0.129/24
    gateway 10.0.0.1
iface ens5 inet6 static
    address 2001:db8:a::129/64
    gateway fe80::8f:53ff:fe6f:64ef
iface ens6 inet static
    address 10.0.1.204/24
    gateway 10.0.1.1
    metric 3
iface ens6 inet6 static
    address 2001:db8:b::204/64
    gateway fe80::8f:53ff:fe6f:6501
    metric 2000
";

/// Those of [`Topology::SameSubnet`].
pub const ONE_SUBNET: &str = "auto ens5 ens6
iface ens5 inet static
    address 10.0.0.129/24
    gateway 10.0.0.1
iface ens5 inet6 static
    address 2600:1f14:eeb:2203:454a:fcbd:485d:73ef/64
    gateway fe80::8f:53ff:fe6f:64ef
iface ens6 inet static
    address 10.0.0.204/24
    gateway 10.0.0.1
    metric 3
iface ens6 inet6 static
    address 2600:1f14:eeb:2203:ac24:6708:2ab9:75a3/64
    gateway fe80::8f:53ff:fe6f:64ef
    metric 2000
";

/// Both cards by DHCP in both families.
pub const LEASES: &str = "auto ens5 ens6
iface ens5 inet dhcp
iface ens5 inet6 dhcp
iface ens6 inet dhcp
iface ens6 inet6 dhcp
";

fn static_addresses_in_two_subnets(by: By) {
    let machine = Machine::new(Topology::TwoSubnets);
    write(INTERFACES, TWO_SUBNETS);
    up(&machine, by);
}

fn static_addresses_in_one_subnet(by: By) {
    let machine = Machine::new(Topology::SameSubnet);
    write(INTERFACES, ONE_SUBNET);
    up(&machine, by);
}

fn leases_in_two_subnets(by: By) {
    let machine = Machine::served(Topology::TwoSubnets);
    write(INTERFACES, LEASES);
    up(&machine, by);
    // dhclient leaves one default route, and the other gateway is known all the same.
    let defaults = machine.ip("-4 route show default");
    assert!(defaults.lines().count() == 1, "{defaults}");
}

fn leases_in_one_subnet(by: By) {
    let machine = Machine::served(Topology::SameSubnet);
    write(INTERFACES, LEASES);
    up(&machine, by);
    let defaults = machine.ip("-4 route show default");
    assert!(defaults.lines().count() == 1, "{defaults}");
}

fn a_card_is_taken_down_and_up(by: By) {
    let machine = Machine::served(Topology::TwoSubnets);
    write(INTERFACES, LEASES);
    let _daemon = up(&machine, by);
    let before = State::of(&machine).ours();
    let strayed = machine.strayed();
    let first = Prober::start(machine.remote(), "10.0.0.129".parse().unwrap()).unwrap();
    machine.sh("ifdown ens6");
    // What the kernel takes along with a link that goes down, IPv6 addresses, is expected back: its
    // rules stay. The IPv4 address was given back before.
    eventually("no rule is left of what went", SOON, || {
        !machine.ip("-4 rule").contains("10.0.1.204")
    });
    machine.assert_answers("10.0.0.129");
    assert_eq!(machine.strayed(), strayed);
    machine.sh("ifup ens6");
    machine.assert_all_answer_within(PATIENCE);
    let count = first.stop();
    assert!(count.gap < Duration::from_millis(500), "{count:?}");
    State::of(&machine).ours().assert_is(&before, "after ifdown and ifup");
}

fn all_are_taken_down(by: By) {
    let machine = Machine::served(Topology::TwoSubnets);
    write(INTERFACES, LEASES);
    let _daemon = up(&machine, by);
    machine.sh("ifdown -a");
    eventually("nothing of ours is left for IPv4", SOON, || {
        rules(&machine, "-4").is_empty()
            && machine.ip("-4 route show table all proto 177").is_empty()
    });
    machine.sh("ifup -a");
    machine.assert_all_answer_within(PATIENCE);
}

/// `ifup -a`, and every address answers everybody; without the daemon as soon as it returns.
#[track_caller]
pub fn up(machine: &Machine, by: By) -> Option<crate::world::Daemon> {
    let daemon = machine.kept_right(by);
    machine.sh("ifup -a");
    match by {
        By::Daemon => machine.assert_all_answer_within(PATIENCE),
        By::Hooks => machine.assert_all_answer_at_once(),
    }
    daemon
}
