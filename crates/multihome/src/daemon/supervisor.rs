//! Telling the supervisor how we are: sd_notify(3).
//!
//! Never by waiting. A supervisor that is busy, frozen or being replaced does not read, and
//! its queue is short (`net.unix.max_dgram_qlen`): a blocking send, as the usual libraries
//! make it, would keep us from routing until it reads again. What does not fit is lost; the
//! next message says as much.

use std::fmt::Write as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Whoever started us, if that wants to be told.
pub struct Supervisor {
    to: Option<(UnixDatagram, SocketAddr)>,
}

/// What there is to tell.
#[derive(Debug, Clone, Copy)]
pub enum State<'a> {
    /// All that should be there is there.
    Ready,
    /// The configuration is being read again.
    Reloading,
    /// On the way out.
    Stopping,
    /// Still alive.
    Watchdog,
    /// In one line.
    Status(&'a str),
}

impl Supervisor {
    /// The one that `NOTIFY_SOCKET` names: a path, or a name in the abstract namespace.
    pub fn from_environment() -> Supervisor {
        let name = std::env::var("NOTIFY_SOCKET").unwrap_or_default();
        let to = || {
            let address = match name.strip_prefix('@') {
                Some(name) => SocketAddr::from_abstract_name(name).ok()?,
                None if name.starts_with('/') => SocketAddr::from_pathname(&name).ok()?,
                None => return None,
            };
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            Some((socket, address))
        };
        Supervisor { to: to() }
    }

    /// How often it wants to hear that we are alive, if it does.
    pub fn watchdog() -> Option<Duration> {
        let micros: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
        let ours = match std::env::var("WATCHDOG_PID") {
            Ok(pid) => pid.parse() == Ok(std::process::id()),
            Err(_) => true,
        };
        (ours && micros > 0).then(|| Duration::from_micros(micros))
    }

    /// Tells it.
    pub fn tell(&self, state: State<'_>) {
        let Some((socket, address)) = &self.to else { return };
        let mut text = String::new();
        match state {
            State::Ready => text.push_str("READY=1\n"),
            State::Reloading => {
                // Type=notify-reload needs to know since when.
                let now = clock_gettime(ClockId::Monotonic);
                let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
                // Writing to a String cannot fail.
                let _ = writeln!(text, "RELOADING=1\nMONOTONIC_USEC={micros}");
            }
            State::Stopping => text.push_str("STOPPING=1\n"),
            State::Watchdog => text.push_str("WATCHDOG=1\n"),
            State::Status(status) => {
                let _ = writeln!(text, "STATUS={status}");
            }
        }
        if let Err(e) = socket.send_to_addr(text.as_bytes(), address) {
            log::debug!("sd_notify {}: {e}", text.trim_end());
        }
    }
}
