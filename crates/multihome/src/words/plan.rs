//! `multihome plan`, `apply` and `down`: changes as `ip` commands.

use std::fmt::Write as _;

use multihome_core::model::Names;
use multihome_core::{Change, Plan};
use serde::Serialize;

use super::plural;
use crate::output::Style;

/// The JSON of `plan`, `apply` and `down`.
#[derive(Debug, Serialize)]
pub struct PlanJson {
    /// Whether nothing is left to be done.
    pub in_sync: bool,
    /// The steps as `ip` commands, in order.
    pub changes: Vec<String>,
    /// The steps that would undo them, in order.
    pub revert: Vec<String>,
    /// Steps that failed: command and the kernel's words.
    pub failed: Vec<FailedJson>,
    /// What stands in the way.
    pub conflicts: Vec<String>,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// Why the snapshot is not complete; then nothing is removed.
    pub incomplete: Vec<String>,
}

/// A step that failed.
#[derive(Debug, Serialize)]
pub struct FailedJson {
    /// The step as an `ip` command.
    pub command: String,
    /// The kernel's words.
    pub error: String,
}

/// The changes as `ip` commands, one a line.
pub fn commands(changes: &[Change], names: &Names) -> Vec<String> {
    changes.iter().map(|c| c.command(names)).collect()
}

/// The text of `plan`.
pub fn text(plan: &Plan, changes: &[Change], names: &Names, style: Style) -> String {
    let mut out = String::new();
    for change in changes {
        let command = change.command(names);
        let line = if change.is_removal() { style.bad(&command) } else { style.good(&command) };
        let _ = writeln!(out, "{line}");
    }
    if changes.is_empty() {
        let _ = writeln!(out, "# in sync: nothing to change ({})", made(plan));
    }
    out
}

/// How much the plan makes.
pub fn made(plan: &Plan) -> String {
    format!(
        "{}, {}, {}",
        plural(plan.uplinks.len(), "uplink"),
        plural(plan.rules.len(), "rule"),
        plural(plan.routes.len(), "route")
    )
}
