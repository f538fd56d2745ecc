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
mod engine;
mod flows;
mod host;
#[path = "../managers/tree.rs"]
mod tree;

mod published;

use std::process::ExitCode;

use common::{runner, state, world};
use runner::{Place, Suite, Test};

const TESTS: &[&[Test]] = &[published::TESTS];

/// The trees that there are: a release's name, and that of its tree.
const TREES: [(&str, &str); 2] =
    [("bookworm", "containers-bookworm"), ("trixie", "containers-trixie")];

fn main() -> ExitCode {
    runner::main(Suite { modules: TESTS, places, enter: tree::enter })
}

/// Every tree, unless a test is for one release only.
fn places(test: &Test, _as_root: bool) -> Vec<Place> {
    let is_wanted = |release: &str| test.only_on.is_none_or(|only| only == release);
    TREES.iter().filter(|(release, _)| is_wanted(release)).map(|(_, t)| Place::Tree(t)).collect()
}
