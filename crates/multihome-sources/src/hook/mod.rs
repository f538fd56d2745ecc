//! What network managers tell their hooks.
//!
//! [`told`] turns environment and arguments of a hook into what is to be written down, [`record`]
//! writes it to files that [`crate::read`] finds, and the caller reconciles where
//! [`Told::reconcile`] says so.
//!
//! A DHCPv6 lease knows no gateway, so its reasons are no more than reasons to reconcile.

mod dhclient;
mod dhcpcd;
mod environment;
mod ifupdown;
mod networkmanager;
mod record;

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use multihome_core::Family;
use multihome_core::model::hint::{Hint, Source};

use environment::Environment;
pub use record::record;

/// Whose hook it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// `dhclient-script`'s enter and exit hooks.
    Dhclient,
    /// `dhcpcd-run-hooks`.
    Dhcpcd,
    /// ifupdown's `if-pre-up.d`, `if-up.d`, `if-down.d` and `if-post-down.d`.
    Ifupdown,
    /// NetworkManager's `dispatcher.d`.
    NetworkManager,
    /// networkd-dispatcher's `routable.d` and the like.
    NetworkdDispatcher,
}

/// What a hook was told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// What is to be written down or struck out, in this order. Empty: nothing.
    pub notes: Vec<Note>,
    /// Whether addresses, routes or the ways out may be other ones now. False for what comes
    /// before anything was changed, and for what we do not know.
    pub reconcile: bool,
}

/// One thing to write down or to strike out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// These are the ways out, in place of what was written down under the same key. The hints
    /// have no file yet; each may end at a time of its own.
    Keep(Key, Vec<Hint>),
    /// There is none any more.
    Drop(Key),
}

/// Under what something is written down: one file each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The interface, or a label of it as in `eth0:1`.
    pub interface: String,
    /// Who told it.
    pub source: Source,
    /// In which family.
    pub family: Family,
}

/// Why a hook was not understood. The caller logs it, and reconciles all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Something that is always told was not.
    #[error("{hook} did not set {variable}")]
    Missing {
        /// Whose hook.
        hook: Hook,
        /// Which variable.
        variable: String,
    },
    /// A variable holds nonsense.
    #[error("{hook} set {variable} to what it cannot be: {reason}")]
    Wrong {
        /// Whose hook.
        hook: Hook,
        /// Which variable.
        variable: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a hook was told, by its environment and arguments. Reasons that are not known mean
/// nothing.
pub fn told(
    hook: Hook,
    environment: &BTreeMap<String, String>,
    arguments: &[String],
    now: SystemTime,
) -> Result<Told, Error> {
    let environment = Environment { hook, variables: environment, now: crate::seconds(now) };
    match hook {
        Hook::Dhclient => dhclient::told(environment),
        Hook::Dhcpcd => dhcpcd::told(environment),
        Hook::Ifupdown => ifupdown::told(environment),
        Hook::NetworkManager => networkmanager::told(environment, arguments),
        // It tells states of a link and nothing about gateways: networkd's files do.
        Hook::NetworkdDispatcher => Ok(Told::reconcile()),
    }
}

// ===== impl Told =====

impl Told {
    /// Nothing to do.
    fn nothing() -> Told {
        Told::default()
    }

    /// Something may be different, but nothing was told about gateways.
    fn reconcile() -> Told {
        Told { notes: Vec::new(), reconcile: true }
    }

    /// The ways out have changed.
    fn changed(notes: impl IntoIterator<Item = Note>) -> Told {
        Told { notes: notes.into_iter().collect(), reconcile: true }
    }
}

// ===== impl Key =====

impl Key {
    /// The name of the file. Who told it and the family come first: they are words of our own,
    /// so that no interface can be named like another one's file.
    fn file_name(&self) -> String {
        let family = match self.family {
            Family::V4 => "inet",
            Family::V6 => "inet6",
        };
        let source = match self.source {
            Source::Networkd => "networkd",
            Source::NetworkManager => "networkmanager",
            Source::Dhclient => "dhclient",
            Source::Dhcpcd => "dhcpcd",
            Source::Ifupdown => "ifupdown",
            Source::Initramfs => "initramfs",
        };
        format!("{source}.{family}.{}.json", self.interface)
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hook::Dhclient => "dhclient",
            Hook::Dhcpcd => "dhcpcd",
            Hook::Ifupdown => "ifupdown",
            Hook::NetworkManager => "NetworkManager",
            Hook::NetworkdDispatcher => "networkd-dispatcher",
        })
    }
}
