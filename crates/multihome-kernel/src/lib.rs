//! The only place in multihome that sees netlink bytes and sysctl files.
//!
//! [`observe`] dumps what the kernel holds into a [`multihome_core::Snapshot`],
//! [`circumstances`] adds what decides about packets beside it, [`watch`] turns its
//! announcements into events, [`apply`] sends requests, and [`ask`] asks where a packet would
//! go. [`nft`] is the same for nf_tables. Below them are one module for each kind of object (decode and encode), and at the bottom
//! [`wire`] (bytes) and [`socket`] (requests and answers).
//!
//! Whatever cannot be decoded is said, never skipped: a snapshot from which something
//! is missing is marked incomplete, and nothing is removed on the strength of it.

pub mod address;
pub mod apply;
pub mod ask;
pub mod circumstances;
pub mod error;
pub mod label;
pub mod link;
pub mod neighbour;
pub mod nexthop;
pub mod nft;
#[cfg(test)]
mod noise;
pub mod observe;
pub mod proc_net;
pub mod route;
pub mod rule;
pub mod socket;
pub mod sysctl;
pub mod uapi;
pub mod watch;
pub mod wire;

pub use error::Error;
pub use nft::{Nft, NftWatch, Who};
pub use observe::Kernel;
pub use socket::Socket;
pub use watch::{Drained, Noted, Watch};
pub use wire::Message;
