//! The whole program against a real kernel, in namespaces, judged by packets and by `ip`.
//!
//! Nothing of ours judges us: an address answers when a client of the laboratory gets an
//! echo, and the kernel's state is what iproute2 prints. Every test is a process of its own that
//! enters fresh namespaces first, with an `/etc` and a `/run` of its own; a machine that
//! cannot give them makes the tests fail, not pass. Started by root, all tests run as root, and
//! those that are marked so once more as an ordinary user.
//!
//! A new test is a function in one of the modules and its name in the list at the module's
//! head.

#[path = "../common/mod.rs"]
mod common;

mod addresses;
mod commands;
mod daemon;
mod doctor;
mod explain;
mod foreign;
mod front;
mod gateways;
mod hints;
mod import;
mod links;
mod own_files;
mod rivals;
mod robustness;
mod seeds;
mod settings;
mod steer;
mod topologies;
mod verify;

use std::process::ExitCode;

use common::{runner, state, world};
use multihome_sources::Places;
use nix::mount::{MsFlags, mount};
use runner::{Place, Suite, Test};

const TESTS: &[&[Test]] = &[
    topologies::TESTS,
    seeds::TESTS,
    addresses::TESTS,
    links::TESTS,
    gateways::TESTS,
    hints::TESTS,
    foreign::TESTS,
    rivals::TESTS,
    robustness::TESTS,
    daemon::TESTS,
    own_files::TESTS,
    commands::TESTS,
    explain::TESTS,
    doctor::TESTS,
    verify::TESTS,
    steer::TESTS,
    settings::TESTS,
    front::TESTS,
    import::TESTS,
];

fn main() -> ExitCode {
    runner::main(Suite { modules: TESTS, places, enter })
}

fn places(test: &Test, as_root: bool) -> Vec<Place> {
    let user = (as_root && test.also_as_user).then_some(Place::User);
    [Place::Here].into_iter().chain(user).collect()
}

/// Leaves the machine behind: its network, its leases, its `/run`, and its `/etc`, where
/// configuration and the names of tables are.
fn enter(_: Place) {
    multihome_lab::enter().expect("namespaces");
    multihome_lab::assert_own_namespace().expect("a network namespace of its own");
    for leases in Places::new("/run/multihome".into()).directories() {
        multihome_lab::hide(&leases).expect("no leases of the machine's");
    }
    let none: Option<&str> = None;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), "/etc", Some("tmpfs"), flags, none).expect("an /etc of its own");
}
