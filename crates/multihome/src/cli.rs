//! What can be typed: the one source of `--help`, the man pages and the completions.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Answers every request by the door it came in by
#[derive(Debug, Parser)]
#[command(
    name = "multihome",
    version,
    about = "Answers every request by the door it came in by",
    long_about = "Answers every request by the door it came in by.\n\n\
        Linux chooses the way out by destination alone, so a host with two networks answers on \
        the wrong one. multihome gives every interface that leads somewhere its own routing \
        table, and every address a rule that sends its replies there; it watches the kernel and \
        keeps them right.",
    after_help = "Exit codes: 0 done, 1 failed, 2 changes pending, not in sync, or warnings of \
        the doctor's, 64 wrong usage, 78 wrong configuration.",
    disable_help_subcommand = true,
    max_term_width = 80
)]
pub struct Cli {
    /// Read this configuration file instead of /etc/multihome/config.toml and config.d
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// What to log to stderr
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show how the host stands: first line the verdict, then each uplink
    Status(Reading),
    /// Show what `apply` would change, as `ip` commands; changes nothing
    Plan(PlanArgs),
    /// Put the host right once, and exit
    Apply(Json),
    /// Keep the host right until told to stop (SIGHUP reads the configuration again)
    Run,
    /// Take away all that multihome made, exactly
    Down(DownArgs),
    /// Look for what breaks hosts with several networks beyond routing; changes nothing
    #[command(after_help = "Exit codes: 0 nothing wrong, notes at most; 1 failed; 2 errors or \
        warnings were found.")]
    Doctor(Reading),
    /// Write what the kernel holds, for `--snapshot` and for bug reports
    Snapshot(Json),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Tell multihome what a network manager's hook was told; always exits 0
    Hook(HookArgs),
    /// See it work: a cloud network in namespaces, real packets, nothing of this host touched
    Demo(DemoArgs),
}

/// Options of commands that read the kernel or a snapshot.
#[derive(Debug, Args)]
pub struct Reading {
    /// Read this file, written by `multihome snapshot`, instead of the kernel
    #[arg(long, value_name = "FILE")]
    pub snapshot: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of commands that only show something.
#[derive(Debug, Args)]
pub struct Json {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Options of reading commands.
    #[command(flatten)]
    pub reading: Reading,
    /// Exit with 2 when changes are pending
    #[arg(long)]
    pub detailed_exitcode: bool,
}

/// Options of `down`.
#[derive(Debug, Args)]
pub struct DownArgs {
    /// Do it although the daemon runs and will put everything back
    #[arg(long)]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `hook`.
#[derive(Debug, Clone, Args)]
pub struct HookArgs {
    /// Whose hook calls; its environment is read as that system sets it
    #[arg(value_enum)]
    pub hook: HookName,
    /// The hook's own arguments (NetworkManager: interface and action)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<String>,
}

/// Systems that call hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HookName {
    /// ISC's DHCP client: exit hooks of dhclient-script
    Dhclient,
    /// dhcpcd: dhcpcd-run-hooks
    Dhcpcd,
    /// ifupdown: if-up.d and if-post-down.d
    Ifupdown,
    /// NetworkManager: dispatcher.d
    Networkmanager,
    /// networkd-dispatcher: routable.d and the like
    NetworkdDispatcher,
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The network to build
    #[arg(long, value_enum, default_value = "two-subnets")]
    pub topology: Topology,
    /// Open a shell inside when the demo is over; the network ends with it
    #[arg(long)]
    pub shell: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What `config` does.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a configuration file, or those in force
    Check {
        /// The file; without it, those that the other commands would read
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Show the values in force and where each comes from
    Show(Json),
}

/// Networks that the demo can build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Topology {
    /// A host with a card in each of two subnets
    TwoSubnets,
    /// Two cards in one subnet
    SameSubnet,
    /// A management and a data network, default by the first only
    Campus,
    /// Two subnets, and a container behind a bridge on the host
    Containers,
}

/// How much to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What failed
    Error,
    /// What is not as it should be
    Warn,
    /// What was changed and why
    Info,
    /// Each look and each step
    Debug,
    /// Each event
    Trace,
}

impl From<LogLevel> for log::LevelFilter {
    fn from(level: LogLevel) -> log::LevelFilter {
        match level {
            LogLevel::Error => log::LevelFilter::Error,
            LogLevel::Warn => log::LevelFilter::Warn,
            LogLevel::Info => log::LevelFilter::Info,
            LogLevel::Debug => log::LevelFilter::Debug,
            LogLevel::Trace => log::LevelFilter::Trace,
        }
    }
}
