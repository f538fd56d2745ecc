//! A booted systemd: that there is one for the tests that want it.

use multihome_lab::Topology;

use crate::machine::{Machine, PATIENCE, write};
use crate::runner::tests;

tests![a_system_boots];

fn a_system_boots() {
    let mut machine = Machine::served(Topology::TwoSubnets);
    write("/etc/systemd/network/10.network", "[Match]\nName=ens*\n[Network]\nDHCP=yes\n");
    let _system = machine.boot(&["systemd-networkd"]);
    println!("{}", machine.shell("systemctl is-system-running; systemctl --failed; systemctl --version; sysctl kernel.hostname; sysctl -w kernel.panic=0; ls -la /dev; ps -ef").out);
    machine.sh("systemctl is-active systemd-networkd dbus");
    let _daemon = machine.run();
    machine.assert_all_answer_within(PATIENCE);
}
