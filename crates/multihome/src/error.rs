//! Why a command failed, with the remedy and the exit code.

use std::io;
use std::path::PathBuf;

use multihome_core::config::ConfigError;
use multihome_core::suppose::Impossible;

use crate::own_files::Refused;

/// Exit code: it failed.
pub const FAILED: u8 = 1;
/// Exit code: changes are pending, or the host is not as it should be.
pub const PENDING: u8 = 2;
/// Exit code: wrong usage (`EX_USAGE`).
pub const USAGE: u8 = 64;
/// Exit code: wrong configuration (`EX_CONFIG`).
pub const CONFIG: u8 = 78;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A configuration file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A configuration file could not be read.
    #[error("{path}: {source}")]
    ConfigFile {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A lock or another file of ours cannot be used.
    #[error(transparent)]
    OwnFile(#[from] Refused),
    /// A snapshot file does not say what it should.
    #[error("{path}: {reason}")]
    Snapshot {
        /// Which.
        path: PathBuf,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// The kernel could not be asked.
    #[error("cannot {what}: {source}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// The kernel's words.
        source: multihome_kernel::Error,
    },
    /// The process may not change the network.
    #[error("this needs CAP_NET_ADMIN, which this process does not have")]
    NotPermitted,
    /// A line of another system's file was not understood.
    #[error("{0}")]
    Line(#[from] multihome_formats::Problem),
    /// What was asked cannot be.
    #[error("{what}")]
    Question {
        /// What is wrong with it.
        what: String,
        /// What to ask instead.
        remedy: String,
    },
    /// Another multihome is changing the kernel.
    #[error("{holder} is changing the kernel right now")]
    Locked {
        /// Who.
        holder: String,
    },
    /// The daemon runs.
    #[error("{holder} is running and would put everything back at once")]
    DaemonRuns {
        /// Who.
        holder: String,
    },
    /// Another daemon runs.
    #[error("{holder} is running already")]
    RunsAlready {
        /// Who.
        holder: String,
    },
    /// Some steps failed, or something stands in the way; all of it was said already.
    #[error("{0}")]
    Incomplete(String),
    /// What is supposed cannot happen.
    #[error("{0}")]
    Impossible(Impossible),
    /// The demo could not be built or did not go as it must.
    #[error("{0}")]
    Demo(String),
    /// The system refused what no program works without.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Standard output is gone.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// The exit code that stands for it.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Config(_) | Failure::ConfigFile { .. } => CONFIG,
            Failure::Question { .. } => USAGE,
            Failure::Impossible(_) => USAGE,
            _ => FAILED,
        }
    }

    /// What to do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Failure::Config(_) => "multihome.toml(5) has every key and what it takes".into(),
            Failure::NotPermitted => {
                "run it as root, or give the service AmbientCapabilities=CAP_NET_ADMIN".into()
            }
            Failure::RunsAlready { .. } => {
                "in another network namespace, give it a RUNTIME_DIRECTORY=/run/multihome-NAME"
                    .into()
            }
            Failure::Line(_) => "nothing was imported, for what was passed over could be what \
                                 matters: mend the line, or give the files that count"
                .into(),
            Failure::Question { remedy, .. } => remedy.clone(),
            Failure::OwnFile(refused) => refused.remedy.clone(),
            Failure::Impossible(e) => e.remedy.clone(),
            Failure::Locked { .. } => "try again in a moment".into(),
            Failure::DaemonRuns { .. } => {
                "stop it first (systemctl stop multihome), or use --force to see it happen".into()
            }
            Failure::Snapshot { .. } => "write a new one with `multihome snapshot > FILE`".into(),
            Failure::Kernel { source, .. } if source.is_permission() => {
                "run it as root, or with CAP_NET_ADMIN".into()
            }
            _ => return None,
        })
    }
}

/// A file error with its path.
pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Failure {
    let path = path.into();
    move |source| Failure::File { path, source }
}

/// A configuration file's error with its path.
pub fn config_file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Failure {
    let path = path.into();
    move |source| Failure::ConfigFile { path, source }
}

/// An error of the system with what was tried.
pub fn system<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Failure {
    move |source| Failure::System { what, source: source.into() }
}

/// A kernel error with what was tried.
pub fn kernel(what: &'static str) -> impl FnOnce(multihome_kernel::Error) -> Failure {
    move |source| Failure::Kernel { what, source }
}
