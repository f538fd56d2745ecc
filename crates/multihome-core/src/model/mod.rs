//! What the kernel holds, in the kernel's own terms (netlink(7), rtnetlink(7)).
//!
//! Types only, and what follows from a single value: decisions are made in
//! [`crate::uplink`] and [`crate::plan`]. Every type is plain data with a total
//! order, so that sets of them can be compared.

pub mod address;
pub mod hint;
pub mod host;
pub mod label;
pub mod link;
pub mod metrics;
pub mod names;
pub mod neighbour;
pub mod netfilter;
pub mod nexthop;
pub mod route;
pub mod rule;
pub mod snapshot;
pub mod sysctl;

pub use address::Address;
pub use hint::{Hint, Hints};
pub use host::Host;
pub use label::AddressLabel;
pub use link::Link;
pub use metrics::Metrics;
pub use names::Names;
pub use neighbour::Neighbour;
pub use netfilter::{Netfilter, ReturnPath};
pub use nexthop::Nexthop;
pub use route::{Hop, Route, RouteKind};
pub use rule::{Action, Rule};
pub use snapshot::Snapshot;
pub use sysctl::Sysctls;

/// The protocol number on every rule and route that multihome makes. Whatever
/// carries it is ours and nothing else is; free in iproute2's `rt_protos` and in
/// FRR's list.
pub const PROTOCOL: u8 = 177;
