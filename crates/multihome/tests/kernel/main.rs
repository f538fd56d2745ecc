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

mod runner;
mod state;
mod world;

mod addresses;
mod commands;
mod daemon;
mod foreign;
mod gateways;
mod links;
mod robustness;
mod seeds;
mod topologies;

use std::process::ExitCode;

use runner::Test;

const TESTS: &[&[Test]] = &[
    topologies::TESTS,
    seeds::TESTS,
    addresses::TESTS,
    links::TESTS,
    gateways::TESTS,
    foreign::TESTS,
    robustness::TESTS,
    daemon::TESTS,
    commands::TESTS,
];

fn main() -> ExitCode {
    runner::main(TESTS)
}
