//! `multihome config check` and `config show`.

use std::path::Path;

use crate::cli::Json;
use crate::config_files;
use crate::error::Failure;
use crate::output::{self, Style};
use crate::words;

/// Reads the configuration and says which files it is in.
pub fn check(named: Option<&Path>) -> Result<u8, Failure> {
    config_files::read(named)?;
    let paths = config_files::paths(named)?;
    if paths.is_empty() {
        output::text("ok: no configuration file, and none is needed\n")?;
    }
    for path in paths {
        output::text(&format!("ok: {}\n", path.display()))?;
    }
    Ok(0)
}

/// Shows the values in force.
pub fn show(named: Option<&Path>, args: &Json) -> Result<u8, Failure> {
    let config = config_files::read(named)?;
    if args.json {
        output::json(&words::config::json(&config))?;
    } else {
        output::text(&words::config::text(&config, Style::stdout()))?;
    }
    Ok(0)
}
