//! Real traffic: sockets of the standard library and of the kernel, no tools.
//!
//! An [`Answerer`](crate::Answerer) on the host echoes what it is sent, from the address that it was sent to; a
//! client [`ask`]s and gets an [`Answer`] within a bounded time. TCP tells whether a
//! connection can be made, UDP whether a single packet comes back, and both tell the token
//! apart from anyone else's. The UDP sockets are bound to one address each: a wildcard socket
//! would leave the choice of the source to the route, which is another question.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};

use crate::Error;
use crate::netns::Netns;

/// The port on which each address is answered for, TCP and UDP.
pub const PORT: u16 = 7777;
/// The port of the one TCP listener that is bound to no address.
pub const WILDCARD_PORT: u16 = 7778;

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proto {
    /// A connection, a token and its echo.
    Tcp,
    /// One datagram and its echo.
    Udp,
}

/// One question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// By which protocol.
    pub proto: Proto,
    /// The source to bind to, if the routes are not to choose.
    pub from: Option<IpAddr>,
    /// Whom to ask.
    pub to: SocketAddr,
    /// For how long to wait.
    pub timeout: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The echo came, after so long.
    Answered(Duration),
    /// Nothing came.
    Silent,
    /// The kernel said no: an errno, as of an ICMP error or a reset.
    Refused(i32),
}

/// The size of a token.
pub(crate) const TOKEN: usize = 16;

// ===== impl Proto =====

impl Proto {
    /// Both.
    pub const BOTH: [Proto; 2] = [Proto::Tcp, Proto::Udp];
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Proto::Tcp => "TCP",
            Proto::Udp => "UDP",
        })
    }
}

// ===== impl Ask =====

impl Ask {
    /// A question to the answerer at an address, with the routes choosing the source.
    #[must_use]
    pub fn new(proto: Proto, to: IpAddr, timeout: Duration) -> Ask {
        Ask { proto, from: None, to: SocketAddr::new(to, PORT), timeout }
    }

    /// Asks from the namespace of the calling thread.
    #[must_use]
    pub fn here(&self) -> Answer {
        let start = Instant::now();
        match self.exchange(start) {
            Ok(true) => Answer::Answered(start.elapsed()),
            Ok(false) => Answer::Silent,
            Err(e) if matches!(e.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {
                Answer::Silent
            }
            Err(e) => Answer::Refused(e.raw_os_error().unwrap_or(0)),
        }
    }

    fn exchange(&self, start: Instant) -> io::Result<bool> {
        let deadline = start + self.timeout;
        let socket = connected(self.proto, self.from, self.to)?;
        // A TCP connection is made, or refused, when the socket can be written to.
        if !wait(&socket, PollFlags::OUT, deadline)? {
            return Ok(false);
        }
        sockopt::socket_error(&socket)??;
        let token = token();
        let mut echo = [0; TOKEN];
        match self.proto {
            Proto::Tcp => {
                let mut stream = TcpStream::from(socket);
                stream.write_all(&token)?; // 16 bytes fit into a new connection's buffer
                let mut have = 0;
                while have < TOKEN {
                    if !wait(&stream, PollFlags::IN, deadline)? {
                        return Ok(false);
                    }
                    match stream.read(&mut echo[have..])? {
                        0 => return Ok(false),
                        n => have += n,
                    }
                }
                Ok(echo == token)
            }
            Proto::Udp => {
                let socket = UdpSocket::from(socket);
                socket.send(&token)?;
                while wait(&socket, PollFlags::IN, deadline)? {
                    if socket.recv(&mut echo)? == TOKEN && echo == token {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }
}

impl Answer {
    /// Whether the echo came.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        matches!(self, Answer::Answered(_))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Answered(after) => write!(f, "answered in {:.1} ms", milliseconds(*after)),
            Answer::Silent => f.write_str("no answer"),
            Answer::Refused(errno) => write!(f, "{}", Errno::from_raw_os_error(*errno)),
        }
    }
}

// ===== asking =====

/// Asks from a namespace.
///
/// # Errors
/// When the namespace cannot be entered; a question that fails is an [`Answer`].
pub fn ask(client: &Netns, question: &Ask) -> Result<Answer, Error> {
    client.run(|| question.here())
}

/// Asks many questions at once, each from its own namespace; the answers come in their order.
///
/// # Errors
/// As [`ask`].
pub fn ask_all(questions: &[(&Netns, Ask)]) -> Result<Vec<Answer>, Error> {
    thread::scope(|scope| {
        let mut threads = Vec::with_capacity(questions.len());
        for (netns, question) in questions {
            let builder = thread::Builder::new().stack_size(128 * 1024);
            let thread = builder.spawn_scoped(scope, move || {
                netns.enter()?;
                Ok(question.here())
            });
            threads.push(thread.map_err(|e| Error::step(netns.name(), "start a thread", e))?);
        }
        let join = |t: thread::ScopedJoinHandle<'_, _>| {
            t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
}

// ===== helpers =====

/// A non-blocking socket that is connected, or about to be.
pub(crate) fn connected(proto: Proto, from: Option<IpAddr>, to: SocketAddr) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = match proto {
        Proto::Tcp => SocketType::STREAM,
        Proto::Udp => SocketType::DGRAM,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if let Some(from) = from {
        bind(&socket, &SocketAddr::new(from, 0))?;
    }
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(e) => Err(e.into()),
    }
}

/// Waits until a socket is ready; false when the deadline passes.
pub(crate) fn wait(
    fd: &impl std::os::fd::AsFd,
    flags: PollFlags,
    deadline: Instant,
) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(fd, flags)];
        match poll(&mut fds, Some(&timespec(left))) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(e) => return Err(e.into()),
        }
    }
}

pub(crate) fn timespec(duration: Duration) -> Timespec {
    // Deadlines in here are seconds away.
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Bytes that no other question of this machine has: process, counter and clock.
fn token() -> [u8; TOKEN] {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos());
    #[allow(clippy::cast_possible_truncation)] // the low half changes fastest
    let salt = (now as u64) ^ (u64::from(std::process::id()) << 32);
    let mut token = [0; TOKEN];
    token[..8].copy_from_slice(&count.to_ne_bytes());
    token[8..].copy_from_slice(&salt.to_ne_bytes());
    token
}
