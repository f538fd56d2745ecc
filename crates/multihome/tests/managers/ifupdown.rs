//! ifupdown, with ISC dhclient.

use multihome_lab::Topology;

use crate::machine::{Machine, PATIENCE, write};
use crate::runner::tests;

tests![two_leases_beside_the_daemon, two_leases_by_hooks];

/// Both cards by DHCP in both families.
pub const LEASES: &str = "auto ens5 ens6
iface ens5 inet dhcp
iface ens5 inet6 dhcp
iface ens6 inet dhcp
iface ens6 inet6 dhcp
";

fn two_leases_beside_the_daemon() {
    let machine = Machine::served(Topology::TwoSubnets);
    write("/etc/network/interfaces", LEASES);
    let _daemon = machine.run();
    machine.sh("ifup -a");
    machine.assert_all_answer_within(PATIENCE);
}

fn two_leases_by_hooks() {
    let machine = Machine::served(Topology::TwoSubnets);
    machine.install_hooks();
    write("/etc/network/interfaces", LEASES);
    machine.sh("ifup -a");
    machine.assert_all_answer_at_once();
}
