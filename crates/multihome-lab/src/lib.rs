//! Network namespaces with a cloud's anti-spoofing: where multihome's demo, tests and benches
//! run.
//!
//! [`enter`] leaves the machine's network behind, as root or as an ordinary user.
//! [`Lab::build`] then makes a host with two cards, a router that drops what does not belong to
//! the port it came in by, and clients, all in namespaces; [`Lab::matrix`] asks every
//! address from every client with real packets. The verbs of [`Lab`] are what happens to a
//! host in its life: a card is attached or pulled, an address added, a gateway changed.
//!
//! Nothing in here knows multihome's engine, so it can be its judge. No program is needed but
//! the one that this is linked into; all that is made disappears with the process.

pub mod answerer;
mod enter;
pub mod error;
pub mod fabric;
pub mod ifaddr;
pub mod lab;
pub mod life;
pub mod links;
pub mod matrix;
pub mod netns;
pub mod probe;
pub mod ra;
pub mod topology;
pub mod traffic;

pub use answerer::Answerer;
pub use enter::{Privilege, assert_own_namespace, enter, hide};
pub use error::Error;
pub use fabric::{Fabric, Port};
pub use ifaddr::{Ifaddr, Mac};
pub use lab::{Client, Lab};
pub use links::End;
pub use matrix::{Cell, Matrix};
pub use netns::Netns;
pub use probe::{Prober, until_answered};
pub use topology::{Card, Layout, Topology};
pub use traffic::{Answer, Ask, Proto, ask, ask_all};
