//! What each command does.

mod change;
mod config;
mod diagram;
mod doctor;
mod explain;
mod export;
mod hook;
mod import;
mod read;
mod verify;

pub use change::{require_net_admin, rise};
pub use diagram::text as diagram_text;

use crate::cli::{Cli, Command, ConfigCommand};
use crate::daemon;
use crate::demo;
use crate::error::Failure;

/// Runs a command; the value is the exit code.
pub fn run(cli: Cli) -> Result<u8, Failure> {
    let named = cli.config.as_deref();
    match &cli.command {
        Command::Status(args) => read::status(named, args),
        Command::Plan(args) => read::plan(named, args),
        Command::Diagram(args) => diagram::diagram(named, args),
        Command::Doctor(args) => doctor::doctor(named, args),
        Command::Explain(args) => explain::explain(named, args),
        Command::Verify(args) => verify::verify(named, args),
        Command::WhatIf(args) => verify::what_if(named, args),
        Command::Snapshot(args) => read::snapshot(args),
        Command::Apply(args) => change::apply(named, args),
        Command::Down(args) => change::down(named, args),
        Command::Run => daemon::run(cli.config.clone()),
        Command::Export(args) => export::export(named, args),
        Command::Import(args) => import::import(named, args),
        Command::Config(ConfigCommand::Check { file }) => config::check(file.as_deref().or(named)),
        Command::Config(ConfigCommand::Show(args)) => config::show(named, args),
        Command::Hook(args) => Ok(hook::hook(named, args)),
        Command::Demo(args) => demo::run(args),
    }
}
