//! `multihome doctor`: it changes nothing and needs no privileges.

use std::path::Path;

use multihome_core::doctor::{self, Severity};

use super::read::{Seen, look_at_all};
use crate::cli::Reading;
use crate::config_files;
use crate::error::{Failure, PENDING};
use crate::output::{self, Style};
use crate::words::doctor::Report;

/// Looks for what breaks a host with several networks, and says what to do about it.
pub fn doctor(named: Option<&Path>, args: &Reading) -> Result<u8, Failure> {
    let config = config_files::read(named)?;
    let (Seen { snapshot, plan, changes }, _) = look_at_all(&config, args)?;
    let diagnosis = doctor::examine(&snapshot, &config, &plan, &changes);
    let report = Report::new(&diagnosis, &snapshot);
    if args.json {
        output::json(&report)?;
    } else {
        output::text(&report.text(Style::stdout()))?;
    }
    Ok(match diagnosis.worst() {
        Some(Severity::Error | Severity::Warning) => PENDING,
        Some(Severity::Note) | None => 0,
    })
}
