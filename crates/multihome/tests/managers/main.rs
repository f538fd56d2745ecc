//! multihome beside the programs that manage networks, as distributions ship them.
//!
//! Each test is a process whose root is a Debian tree, copied on write, with namespaces of its
//! own for network, processes and mounts: the manager and multihome run in the host of a bare
//! laboratory ([`multihome_lab::Lab::build_bare`]), whose cards it is the manager's to configure,
//! and servers in the router's namespace give leases and advertise gateways. What came of it is
//! judged by packets through a fabric that drops spoofed ones, and by `ip`.
//!
//! The trees are built once by `trees`, beside this file. Nothing is installed on the machine
//! itself. Daemons want to be root, so these tests are for root only.
//!
//! A new test is a function in one of the modules and its name in the list at the module's
//! head; it runs on every tree, or `on` the one that is named.

#[path = "../common/mod.rs"]
mod common;
mod dhcp4;
mod dhcp6;
mod machine;
mod server;
mod tree;

mod booted;
mod dhclient;
mod dhcpcd;
mod dispatcher;
mod export;
mod hotplug;
mod ifupdown;
mod netplan;
mod networkd;
mod networkmanager;
mod rivals;
mod systemd;

use std::process::ExitCode;

use common::{runner, state, world};
use runner::{Suite, Test};

const TESTS: &[&[Test]] = &[
    //
    booted::TESTS,
    dhclient::TESTS,
    dhclient::with_the_daemon::TESTS,
    dhclient::by_hooks::TESTS,
    dhcpcd::with_the_daemon::TESTS,
    dhcpcd::by_hooks::TESTS,
    dispatcher::TESTS,
    export::ip::TESTS,
    export::networkd::TESTS,
    export::networkmanager::TESTS,
    export::netplan::TESTS,
    hotplug::TESTS,
    ifupdown::with_the_daemon::TESTS,
    ifupdown::by_hooks::TESTS,
    netplan::TESTS,
    networkd::TESTS,
    networkd::fights::TESTS,
    networkd::advertisements::TESTS,
    networkmanager::TESTS,
    networkmanager::events::TESTS,
    networkmanager::gateways::TESTS,
    networkmanager::hooks::TESTS,
    networkmanager::hooks::with_the_daemon::TESTS,
    networkmanager::hooks::by_hooks::TESTS,
    rivals::TESTS,
    systemd::TESTS,
];

/// The trees that there are: a release's name, and that of its tree.
const TREES: &[(&str, &str)] = &[("bookworm", "bookworm"), ("trixie", "trixie")];

fn main() -> ExitCode {
    runner::main(Suite {
        modules: TESTS,
        places: |test, _| tree::places(test, TREES),
        enter: tree::enter,
    })
}
