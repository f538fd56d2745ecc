//! The `multihome` command: command line, daemon loop and words.
//!
//! Decisions are made in `multihome-core`, bytes in `multihome-kernel`. What stands here is
//! how the two are put to work ([`engine`]), when ([`daemon`]), what an operator types
//! ([`cli`]) and reads ([`words`]).

pub mod cli;
mod commands;
mod config_files;
mod daemon;
mod demo;
mod departures;
mod engine;
mod error;
mod files;
mod host;
mod kept;
mod logger;
mod lookout;
mod offenders;
mod output;
mod own_files;
mod raised_file;
mod rt_tables;
mod run_dir;
mod supposed;
mod surroundings;
mod words;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::error::Failure;

/// Runs the command and says how it went.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            // --help and --version come this way too, and are no errors.
            return if e.use_stderr() { ExitCode::from(error::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    logger::install(cli.log_level.into());
    match commands::run(cli) {
        Ok(code) => ExitCode::from(code),
        // Whoever reads us has read enough: `multihome status | head -1`.
        Err(Failure::Output(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            output::error(&failure);
            ExitCode::from(failure.code())
        }
    }
}

/// What `multihome diagram` prints for these arguments as SVG: for the figures of documents.
///
/// # Errors
/// Why there is no such figure, in words.
pub fn diagram(arguments: &[&str]) -> Result<String, String> {
    let words = ["multihome", "diagram", "--format", "svg"].iter().chain(arguments);
    let cli = Cli::try_parse_from(words).map_err(|e| e.to_string())?;
    match &cli.command {
        cli::Command::Diagram(args) if args.reading.snapshot.is_some() => {
            commands::diagram_text(cli.config.as_deref(), args).map_err(|e| e.to_string())
        }
        _ => Err("a figure of a document needs a --snapshot".into()),
    }
}
