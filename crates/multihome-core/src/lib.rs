//! What multihome decides, without touching anything.
//!
//! Everything here is a pure function of values: no clock, no I/O, no hidden
//! state. A [`Snapshot`] (what the kernel holds), a [`Config`] (what the operator
//! wants) and [`Hints`] (gateways learnt elsewhere) give a [`Plan`]; a snapshot
//! and a plan give the [`Change`]s that lead from one to the other. The same
//! input gives the same output, so a user's `multihome snapshot` reproduces a
//! user's problem.
//!
//! ```text
//! Snapshot --uplink::find--> [Uplink] --plan::make--> Plan --diff::diff--> [Change]
//! ```

pub mod model;
pub mod prefix;

pub use model::{Snapshot, snapshot};
pub use prefix::{Family, Prefix};
