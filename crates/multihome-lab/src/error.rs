//! What can go wrong in the laboratory: each error names the step, the object, the
//! namespace, and repeats the kernel's own words.

use std::io;

/// Why a step of the laboratory failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel does not let this user have namespaces.
    #[error("cannot make namespaces ({source}): {why}. Run it as root (sudo) instead")]
    Forbidden {
        /// Which setting forbids it, as far as that can be seen.
        why: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The program has threads already: namespaces are entered by thread.
    #[error("cannot enter namespaces with {0} threads running: enter() must come first in main")]
    Threads(usize),
    /// One step of entering the namespaces failed.
    #[error("cannot {step}: {source}")]
    Enter {
        /// What was tried.
        step: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The calling thread is in a network namespace that is not the laboratory's.
    #[error(
        "this thread is in the network namespace that the program was started in, which the \
         laboratory never touches: call multihome_lab::enter() at the start of main"
    )]
    NotOwnNamespace,
    /// A step inside a namespace failed.
    #[error("cannot {step} in namespace {netns}: {source}")]
    Step {
        /// What was tried, with the object's name.
        step: String,
        /// The namespace.
        netns: String,
        /// The kernel's answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something did not happen in the time that it was given.
    #[error("{what} did not happen in namespace {netns} within {milliseconds} ms")]
    Late {
        /// What was waited for.
        what: String,
        /// The namespace.
        netns: String,
        /// For how long.
        milliseconds: u128,
    },
    /// A name that the laboratory does not have.
    #[error("no {what} `{name}` here; there are: {known}")]
    Unknown {
        /// What kind of thing.
        what: &'static str,
        /// The name that was asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
}

// ===== impl Error =====

impl Error {
    /// Whether the kernel said that the object is there already (EEXIST).
    #[must_use]
    pub fn is_exists(&self) -> bool {
        matches!(self, Error::Step { source, .. }
            if source.downcast_ref::<multihome_kernel::Error>().is_some_and(|e| e.is_exists()))
    }

    /// A failed step inside a namespace.
    pub(crate) fn step(
        netns: &str,
        step: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        Error::Step { step: step.into(), netns: netns.to_owned(), source: source.into() }
    }
}
