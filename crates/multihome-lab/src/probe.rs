//! Measuring when an address answers: UDP probes many times a millisecond.
//!
//! Each probe carries its number, so an echo tells which probe it belongs to, and what was
//! lost is counted rather than guessed. The socket is connected before the first probe, and
//! errors that come back (ICMP) count as lost probes, no more.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use crate::Error;
use crate::netns::Netns;
use crate::traffic::{PORT, Proto, connected, timespec};

/// A client that asks without pause, until it is stopped.
#[derive(Debug)]
pub struct Prober {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Count>>,
}

/// What became of a prober's probes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Probes that were sent, or refused on the spot.
    pub sent: u64,
    /// Probes that were answered.
    pub answered: u64,
    /// The longest time without an answer, between two answers or at the end.
    pub gap: Duration,
}

/// The time between two probes.
pub const INTERVAL: Duration = Duration::from_micros(200);
/// How long echoes of the last probes are waited for.
const LINGER: Duration = Duration::from_millis(20);

// ===== impl Count =====

impl Count {
    /// Probes that nobody answered.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.answered)
    }
}

// ===== impl Prober =====

impl Prober {
    /// Starts asking an address from a namespace.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or has no route to the address.
    pub fn start(client: &Arc<Netns>, to: IpAddr) -> Result<Prober, Error> {
        let socket = open(client, to)?;
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("prober".to_owned())
            .spawn(move || probe(&socket, |_, _| theirs.load(Ordering::Acquire), LINGER))
            .map_err(|e| Error::step(client.name(), "start a prober", e))?;
        Ok(Prober { stop, thread: Some(thread) })
    }

    /// Stops, waits for the last echoes, and counts.
    #[must_use]
    pub fn stop(mut self) -> Count {
        self.stop.store(true, Ordering::Release);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(count)) => count,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Count::default(), // only a dropped prober has no thread
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Asks an address from a namespace without pause until it answers, and says how long that took
/// since the call; none when the deadline passed.
///
/// # Errors
/// When the namespace cannot be entered, or has no route to the address.
pub fn until_answered(
    client: &Netns,
    to: IpAddr,
    deadline: Duration,
) -> Result<Option<Duration>, Error> {
    let start = Instant::now();
    let socket = open(client, to)?;
    let mut answered = None;
    probe(
        &socket,
        |count, now| {
            if count.answered > 0 {
                answered = Some(now - start);
            }
            count.answered > 0 || now - start > deadline
        },
        Duration::ZERO,
    );
    Ok(answered)
}

// ===== helpers =====

fn open(client: &Netns, to: IpAddr) -> Result<UdpSocket, Error> {
    client
        .run(|| connected(Proto::Udp, None, SocketAddr::new(to, PORT)))?
        .map(UdpSocket::from)
        .map_err(|e| Error::step(client.name(), format!("ask {to}"), e))
}

/// Sends a probe at every interval and reads echoes in between, until `stop` says so of the
/// count at a time.
fn probe(
    socket: &UdpSocket,
    mut stop: impl FnMut(&Count, Instant) -> bool,
    linger: Duration,
) -> Count {
    let mut count = Count::default();
    let mut last = Instant::now();
    let mut next = last;
    // Anything that is not this prober's own numbers is not counted.
    let mut highest: Option<u64> = None;
    let mut end: Option<Instant> = None;
    loop {
        let now = Instant::now();
        if end.is_none() && stop(&count, now) {
            end = Some(now + linger);
        }
        if end.is_some_and(|end| now >= end || count.lost() == 0) {
            count.gap = count.gap.max(now - last);
            return count;
        }
        if end.is_none() && now >= next {
            let _ = socket.send(&count.sent.to_ne_bytes());
            count.sent += 1;
            // After a pause (a loaded machine) there is no burst to catch up.
            next = (next + INTERVAL).max(now);
        }
        let until = if end.is_some() { now + Duration::from_millis(1) } else { next };
        let left = until.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(socket, PollFlags::IN)];
        let _ = poll(&mut fds, Some(&timespec(left)));
        let mut echo = [0; 16];
        // An error stands for an ICMP message and is cleared by reading it.
        for _ in 0..64 {
            match socket.recv(&mut echo) {
                Ok(8) => {
                    let number = u64::from_ne_bytes(echo[..8].try_into().unwrap_or_default());
                    if number < count.sent && highest.is_none_or(|h| number > h) {
                        highest = Some(number);
                        let now = Instant::now();
                        count.answered += 1;
                        count.gap = count.gap.max(now - last);
                        last = now;
                    }
                }
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => {}
            }
        }
    }
}
