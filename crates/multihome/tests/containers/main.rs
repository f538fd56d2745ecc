//! multihome beside the programs that publish containers and dig tunnels, as distributions ship
//! them.
//!
//! Each test is a process whose root is a Debian tree, copied on write, with namespaces of its
//! own: Docker or Podman, a tunnel's client and multihome run in the host of a laboratory, whose
//! router drops spoofed packets. What came of it is judged by packets: the same list of flows
//! ([`flows`]) before multihome, where some of them must fail, and with it, where none may.
//!
//! The trees are built by `trees` in ../managers, like those there. No image comes from anywhere:
//! a container is the tree's busybox. Daemons want to be root, so these tests are for root only.
//!
//! A new test is a function in one of the modules and its name in the list at the module's
//! head; it runs on every tree, or `on` the one that is named.

#[path = "../common/mod.rs"]
mod common;
mod connection;
mod engine;
mod flows;
mod host;
#[allow(dead_code)] // its name is for tests that differ by release
#[path = "../managers/tree.rs"]
mod tree;
mod tunnels;

mod kubernetes;
mod narrow;
mod one_subnet;
mod published;

use std::process::ExitCode;

use common::{runner, state, world};
use runner::{Suite, Test};

const TESTS: &[&[Test]] = &[
    published::TESTS,
    tunnels::wireguard::TESTS,
    tunnels::openvpn::TESTS,
    tunnels::ipsec::TESTS,
    tunnels::by_hand::TESTS,
    kubernetes::TESTS,
    one_subnet::TESTS,
    narrow::TESTS,
];

/// The trees that there are: a release's name, and that of its tree.
const TREES: &[(&str, &str)] = &[("trixie", "containers-trixie")];
/// With those of the older release, for those who ask by [`ALL`].
const ALL_TREES: &[(&str, &str)] =
    &[("bookworm", "containers-bookworm"), ("trixie", "containers-trixie")];
/// The variable by which `trees` builds, and the tests take, all of them.
const ALL: &str = "MULTIHOME_ALL";

fn main() -> ExitCode {
    runner::main(Suite {
        modules: TESTS,
        places: |test, _| {
            let all = std::env::var_os(ALL).is_some();
            tree::places(test, if all { ALL_TREES } else { TREES })
        },
        enter: tree::enter,
    })
}
