//! What multihome decides, without touching anything.
//!
//! Everything here is a pure function of values: no clock, no I/O, no hidden
//! state. A [`Snapshot`] (what the kernel holds), a [`Config`] (what the operator
//! wants) and [`Memory`] (gateways learnt before) give a [`Plan`]; a snapshot
//! and a plan give the [`Change`]s that lead from one to the other. The same
//! input gives the same output, so a user's `multihome snapshot` reproduces a
//! user's problem.
//!
//! ```text
//! Snapshot --uplink::find--> [Uplink] --plan::make--> Plan --diff::diff--> [Change]
//! ```

pub mod catch_all;
pub mod config;
pub mod conflict;
pub mod cover;
pub mod diagram;
pub mod diff;
pub mod doctor;
pub mod explain;
mod front;
pub mod import;
pub mod interest;
pub mod lookup;
pub mod memory;
pub mod mirror;
pub mod model;
pub mod plan;
pub mod policy;
pub mod prefix;
pub mod return_path;
pub mod rival;
pub mod rules;
mod rulings;
pub mod settings;
pub mod steer;
pub mod suppose;
mod tree;
pub mod uplink;
pub mod verify;
pub mod ways;

pub use config::Config;
pub use diagram::Scene;
pub use diff::Change;
pub use interest::Interest;
pub use lookup::{Flow, Lookup};
pub use memory::Memory;
pub use model::Snapshot;
pub use plan::Plan;
pub use prefix::{Family, Prefix};
