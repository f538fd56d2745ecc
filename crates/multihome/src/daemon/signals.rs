//! Signals, as something that can be polled.

use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

use crate::error::Failure;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// The signals that the daemon listens to.
pub struct Signals {
    wake: UnixStream,
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    /// Listens from now on.
    pub fn install() -> Result<Signals, Failure> {
        let (wake, write) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let signals = Signals { wake, stop: Arc::default(), reload: Arc::default() };
        for (signal, raised) in
            [(SIGTERM, &signals.stop), (SIGINT, &signals.stop), (SIGHUP, &signals.reload)]
        {
            // The flag first: whoever is woken by the pipe finds it set.
            flag::register(signal, Arc::clone(raised))?;
            pipe::register(signal, write.try_clone()?)?;
        }
        Ok(signals)
    }

    /// What was asked for since; stopping comes first.
    pub fn take(&mut self) -> Option<Signal> {
        let mut drain = [0; 64];
        while self.wake.read(&mut drain).is_ok_and(|n| n > 0) {}
        if self.stop.swap(false, Ordering::SeqCst) {
            return Some(Signal::Stop);
        }
        self.reload.swap(false, Ordering::SeqCst).then_some(Signal::Reload)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
