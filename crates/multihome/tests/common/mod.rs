//! What the tests in namespaces share: the runner, a laboratory with programs in its host, and
//! what `ip` says there.

// Each of the test programs has no use for some of it.
#![allow(dead_code)]

pub mod program;
pub mod runner;
pub mod shell;
pub mod state;
pub mod world;
