//! What can be typed: the one source of `--help`, the man pages and the completions.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use multihome_formats::Format;

pub use crate::supposed::Supposed;

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
    after_help = "Exit codes: 0 done, 1 failed, 2 changes pending, not in sync, not right, or \
        warnings of the doctor's, 64 wrong usage, 78 wrong configuration.",
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
    /// Say why one packet goes where it goes: each rule, the route, and whether that is right
    Explain(ExplainArgs),
    /// Prove that every answer leaves by its door, also when any one uplink fails
    Verify(Reading),
    /// Suppose that something happens: what multihome would do, and whether all is right then
    WhatIf(WhatIfArgs),
    /// Draw the host; with a request, its way in and the reply's way out
    Diagram(DiagramArgs),
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
    /// Write the plan as another system's files, for hosts that are to keep it without multihome
    Export(ExportArgs),
    /// Read what keeps this host by hand or by another system's files: what it does, what is wrong
    /// with it, and the configuration that does at least the same
    #[command(after_help = "Exit codes: 0 nothing wrong with it; 1 failed, or a file was not \
        understood; 2 something is wrong with it.")]
    Import(ImportArgs),
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

/// Options of `explain`.
#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub struct ExplainArgs {
    /// Source: an address of this host for an answer; without it the kernel chooses one
    #[arg(value_name = "FROM")]
    pub from: Option<IpAddr>,
    /// Destination
    #[arg(value_name = "TO")]
    pub to: IpAddr,
    /// The packet comes in by this interface, instead of being sent by this host
    #[arg(long, value_name = "IF")]
    pub iif: Option<String>,
    /// It is sent by a socket that is bound to this interface (SO_BINDTODEVICE)
    #[arg(long, value_name = "IF", conflicts_with = "iif")]
    pub oif: Option<String>,
    /// Its mark (SO_MARK, or the firewall's), as 16 or 0x10
    #[arg(long, value_name = "MARK", default_value = "0", value_parser = number)]
    pub mark: u32,
    /// Its protocol: tcp, udp, icmp, ipv6-icmp, sctp or a number
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol)]
    pub proto: Option<u8>,
    /// Its source port
    #[arg(long, value_name = "PORT", requires = "proto")]
    pub sport: Option<u16>,
    /// Its destination port
    #[arg(long, value_name = "PORT", requires = "proto")]
    pub dport: Option<u16>,
    /// The user who sends it; what the kernel sends itself is root's
    #[arg(long, value_name = "UID", default_value_t = 0)]
    pub uid: u32,
    /// Its TOS or traffic class byte, as 16 or 0x10
    #[arg(long, value_name = "TOS", default_value = "0", value_parser = byte)]
    pub tos: u8,
    /// Options of reading commands.
    #[command(flatten)]
    pub reading: Reading,
}

/// Options of `what-if`.
#[derive(Debug, Args)]
pub struct WhatIfArgs {
    /// What is supposed.
    #[command(flatten)]
    pub supposed: Supposed,
    /// Write the host as it would be, before multihome acts, for `--snapshot`
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// Options of reading commands.
    #[command(flatten)]
    pub reading: Reading,
}

/// A number, decimal or with `0x` in front.
fn number(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "a number up to 0xffffffff is wanted, as 16 or 0x10".to_owned())
}

fn byte(text: &str) -> Result<u8, String> {
    let parsed = number(text).ok().and_then(|n| u8::try_from(n).ok());
    parsed.ok_or_else(|| "a number up to 0xff is wanted, as 16 or 0x10".to_owned())
}

/// An IP protocol.
fn protocol(text: &str) -> Result<u8, String> {
    let number = multihome_core::model::names::ipproto_number(text);
    number.ok_or_else(|| "tcp, udp, icmp, ipv6-icmp, sctp or a number is wanted".to_owned())
}

/// Options of `diagram`.
#[derive(Debug, Args)]
pub struct DiagramArgs {
    /// Options of reading commands.
    #[command(flatten)]
    pub reading: Reading,
    /// The form of the drawing
    #[arg(long, value_enum, default_value = "text")]
    pub format: DiagramFormat,
    /// The client of a request to draw
    #[arg(long, value_name = "ADDRESS", requires = "to")]
    pub from: Option<IpAddr>,
    /// The address of this host that the client asks
    #[arg(long, value_name = "ADDRESS", requires = "from")]
    pub to: Option<IpAddr>,
}

/// Forms of a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DiagramFormat {
    /// Plain characters, 80 columns
    Text,
    /// A picture for browsers and documents, light and dark
    Svg,
    /// Graphviz's language
    Dot,
}

/// Options of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Whose files to write
    #[arg(long, value_enum)]
    pub format: FileFormat,
    /// Write them below this directory, as if it were /; without it they are only shown
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Write also over files that are there and say something else
    #[arg(long, requires = "output")]
    pub force: bool,
    /// Where the files that are there are read, to extend them and not to stand in their way: /, or
    /// nowhere with --snapshot
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Options of reading commands.
    #[command(flatten)]
    pub reading: Reading,
}

/// Systems that keep routes and rules in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    /// initscripts: route-IF and rule-IF (RHEL's network-scripts)
    Ifcfg,
    /// Debian's /etc/network/interfaces
    Ifupdown,
    /// systemd-networkd: a drop-in beside each active .network file
    Networkd,
    /// NetworkManager's keyfiles
    Networkmanager,
    /// netplan's YAML
    Netplan,
    /// nmstate's YAML
    Nmstate,
    /// SUSE's wicked: ifroute-IF and ifrule-IF
    Wicked,
    /// A script of ip commands, and a unit that runs it
    Iproute2,
    /// cloud-init's network configuration
    CloudInit,
}

/// Options of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Whose files to read; without it, the rules and routes that are in force
    #[arg(long, value_enum)]
    pub from: Option<ImportFormat>,
    /// These files, instead of those that the system reads
    #[arg(value_name = "FILE", requires = "from")]
    pub files: Vec<PathBuf>,
    /// Where the files are read: the copy of another host's, with --snapshot
    #[arg(long, value_name = "DIR", requires = "from")]
    pub root: Option<PathBuf>,
    /// Write the configuration to this file
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write it even over a file that says something else
    #[arg(long)]
    pub force: bool,
    /// Take over: write /etc/multihome/config.toml, put ours in the place of what is in force, and
    /// say which files are to go
    #[arg(long, conflicts_with_all = ["root", "snapshot", "output"])]
    pub adopt: bool,
    /// Options of reading commands.
    #[command(flatten)]
    pub reading: Reading,
}

/// Systems whose files can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImportFormat {
    /// initscripts: route-IF and rule-IF
    Ifcfg,
    /// Debian's /etc/network/interfaces
    Ifupdown,
    /// systemd-networkd's .network files
    Networkd,
    /// NetworkManager's keyfiles
    Networkmanager,
    /// netplan's YAML
    Netplan,
    /// Scripts of ip commands
    Iproute2,
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

impl From<FileFormat> for Format {
    fn from(format: FileFormat) -> Format {
        match format {
            FileFormat::Ifcfg => Format::Ifcfg,
            FileFormat::Ifupdown => Format::Ifupdown,
            FileFormat::Networkd => Format::Networkd,
            FileFormat::Networkmanager => Format::Networkmanager,
            FileFormat::Netplan => Format::Netplan,
            FileFormat::Nmstate => Format::Nmstate,
            FileFormat::Wicked => Format::Wicked,
            FileFormat::Iproute2 => Format::Iproute2,
            FileFormat::CloudInit => Format::CloudInit,
        }
    }
}

impl From<ImportFormat> for Format {
    fn from(format: ImportFormat) -> Format {
        match format {
            ImportFormat::Ifcfg => Format::Ifcfg,
            ImportFormat::Ifupdown => Format::Ifupdown,
            ImportFormat::Networkd => Format::Networkd,
            ImportFormat::Networkmanager => Format::Networkmanager,
            ImportFormat::Netplan => Format::Netplan,
            ImportFormat::Iproute2 => Format::Iproute2,
        }
    }
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
