//! The flows that a host with two cards and a published container must carry, all at once.
//!
//! ```text
//! X L M   clients: remote, in the first card's subnet, in the second one's
//! C H     the container, the host itself
//! e0 e1   the host's address on its first and second card
//! p0 p1   the container's published port there; u1 by UDP
//! b2d     the host asks X by SO_BINDTODEVICE on the second card, without a source
//! ```
//!
//! Each is a connection, with bytes to and fro; `Xu1` and `b2d` are datagrams.

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use multihome_core::Family;
use multihome_lab::traffic::PORT;
use multihome_lab::{Answer, Ask, Netns, Proto, ask};
use nix::sys::socket::{setsockopt, sockopt};

use crate::host::Host;

/// The port under which the container is published.
pub const PUBLISHED: u16 = 8080;
/// Longer than TCP's first retransmission, for a machine with other work.
const TIMEOUT: Duration = Duration::from_millis(1500);

/// Who begins a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// A client, by its place in the laboratory's list.
    Client(usize),
    Container,
    Host,
    /// The host, on a card.
    Device(usize),
}
use Who::{Client, Container, Device, Host as Itself};

/// Whom it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    /// The host, at its address on a card.
    Card(usize),
    /// The container, by the published port on a card.
    Published(usize),
    PublishedUdp(usize),
    Remote,
}
use Whom::{Card, Published, PublishedUdp, Remote};

const FLOWS: &[(&str, Who, Whom)] = &[
    ("X>e0", Client(0), Card(0)),
    ("X>e1", Client(0), Card(1)),
    ("L>e1", Client(1), Card(1)),
    ("M>e0", Client(2), Card(0)),
    ("M>e1", Client(2), Card(1)),
    ("C>e0", Container, Card(0)),
    ("C>e1", Container, Card(1)),
    ("Hp0", Itself, Published(0)),
    ("Hp1", Itself, Published(1)),
    ("Xp0", Client(0), Published(0)),
    ("Xp1", Client(0), Published(1)),
    ("Lp1", Client(1), Published(1)),
    ("Mp0", Client(2), Published(0)),
    ("Xu1", Client(0), PublishedUdp(1)),
    ("b2d", Device(1), Remote),
];

/// What became of each flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flows {
    what: String,
    cells: Vec<(&'static str, Answer)>,
}

/// The container, as flows begin and end there.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its namespace.
    pub netns: Arc<Netns>,
}

// ===== impl Flows =====

impl Flows {
    /// Tries all of a family, without those of a container where there is none.
    pub fn of(host: &Host, container: Option<&Place>, family: Family, what: &str) -> Flows {
        let is_there = |(_, who, whom): &&(&str, Who, Whom)| {
            container.is_some()
                || (*who != Container && !matches!(whom, Published(_) | PublishedUdp(_)))
        };
        let cells = thread::scope(|scope| {
            let flows = FLOWS.iter().filter(is_there);
            let threads: Vec<_> = flows
                .map(|(name, who, whom)| {
                    (*name, scope.spawn(|| flow(host, container, family, *who, *whom)))
                })
                .collect();
            threads.into_iter().map(|(name, t)| (name, t.join().unwrap())).collect()
        });
        Flows { what: format!("{what}, {family}"), cells }
    }

    /// The names of those that failed.
    pub fn failed(&self) -> Vec<&'static str> {
        let failed = self.cells.iter().filter(|(_, answer)| !answer.is_answered());
        failed.map(|(name, _)| *name).collect()
    }
}

/// One line, below the flows' names.
impl fmt::Display for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:48}", "")?;
        for (name, _) in &self.cells {
            write!(f, " {name:5}")?;
        }
        write!(f, "\n{:48}", self.what)?;
        for (_, answer) in &self.cells {
            write!(f, " {:5}", if answer.is_answered() { "ok" } else { "FAIL" })?;
        }
        Ok(())
    }
}

fn flow(host: &Host, place: Option<&Place>, family: Family, who: Who, whom: Whom) -> Answer {
    let card = |n: usize| host.lab.cards()[n].address(family).unwrap();
    let remote = || {
        let mut addresses = host.lab.clients()[0].addresses.iter();
        *addresses.find(|a| Family::of(**a) == family).unwrap()
    };
    let to = match whom {
        Card(n) => SocketAddr::new(card(n), PORT),
        Published(n) | PublishedUdp(n) => SocketAddr::new(card(n), PUBLISHED),
        Remote => SocketAddr::new(remote(), PORT),
    };
    let from = match who {
        Client(n) => &host.lab.clients()[n].netns,
        Container => &place.expect("a container").netns,
        Itself => host.host(),
        Device(n) => return by_device(host.host(), &host.lab.cards()[n].name, to),
    };
    let proto = if matches!(whom, PublishedUdp(_)) { Proto::Udp } else { Proto::Tcp };
    ask(from, &Ask { proto, from: None, to, timeout: TIMEOUT }).unwrap()
}

/// Sends a datagram by a card, and wants an echo.
fn by_device(from: &Netns, device: &str, to: SocketAddr) -> Answer {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let exchange = || {
        let start = Instant::now();
        let socket = UdpSocket::bind((any, 0))?;
        setsockopt(&socket, sockopt::BindToDevice, &OsString::from(device))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.send(b"by this card")?;
        socket.recv(&mut [0; 64])?;
        Ok::<_, std::io::Error>(start.elapsed())
    };
    match from.run(exchange).unwrap() {
        Ok(after) => Answer::Answered(after),
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Answer::Silent,
        Err(e) => Answer::Refused(e.raw_os_error().unwrap_or(0)),
    }
}
