//! What a network tells a card: DHCPv4, DHCPv6 and router advertisements.
//!
//! One thread for each port, in the router's namespace. It gives the card the addresses that the
//! fabric expects there, whoever asks, and what it says can be changed at any time: a shorter
//! lease, another gateway, a refusal, silence. It is heard again when the card was pulled and put
//! back.
//!
//! As in a cloud the servers know all cards: who renews a lease may ask by another card than the
//! one that it is for (dhclient's socket is bound to none), and is answered by the right one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use multihome_core::{Family, Prefix};
use multihome_lab::ra::Advert;
use multihome_lab::{Ifaddr, Lab, Mac, Netns};
use nix::sys::socket::{setsockopt, sockopt};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with};

use crate::world::eventually;
use crate::{dhcp4, dhcp6};

/// The server at a card's port, until it is dropped.
pub struct Server {
    shared: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The servers of a network, by the cards' Ethernet addresses.
pub type Network = Arc<Mutex<BTreeMap<Mac, Desk>>>;

/// Where the answers to a card's client come from.
pub struct Desk {
    shared: Arc<Mutex<State>>,
    /// Its socket, while the card is plugged in.
    out: Option<UdpSocket>,
}

/// A DHCPv4 lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease4 {
    /// The address.
    pub address: Ipv4Addr,
    /// The length of its network.
    pub len: u8,
    /// Option 3.
    pub routers: Vec<Ipv4Addr>,
    /// Option 121; the gateway 0.0.0.0 says that it is on the link.
    pub classless: Vec<(Prefix, Ipv4Addr)>,
    /// Seconds that it is for.
    pub seconds: u32,
    /// Seconds until it is renewed (T1): half of them, unless said.
    pub renew: Option<u32>,
    /// Seconds until it is asked for of anyone (T2): seven eighths of them, unless said.
    pub rebind: Option<u32>,
}

/// A DHCPv6 lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease6 {
    /// The address.
    pub address: Ipv6Addr,
    /// Seconds that it is valid and preferred.
    pub seconds: u32,
    /// Seconds until it is renewed (T1): half of them, unless said.
    pub renew: Option<u32>,
}

/// How requests for leases are met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Conduct {
    /// They are answered.
    #[default]
    Answers,
    /// They are refused (DHCPNAK; by DHCPv6: not on this link).
    Refuses,
    /// They are not answered.
    Silent,
}

/// What is said, and what was heard.
pub struct State {
    /// By DHCPv4.
    pub lease4: Lease4,
    /// By DHCPv6.
    pub lease6: Lease6,
    /// How both are met.
    pub conduct: Conduct,
    /// By advertisements; none while the router keeps silent.
    pub advert: Option<Advert>,
    /// The time between two advertisements that nobody asked for.
    pub interval: Duration,
    /// What DHCPv4 clients were answered, and DHCPv6 clients.
    pub said: Vec<String>,
    /// Who the server is.
    pub server: Ipv4Addr,
    due: Instant,
}

/// How often the thread looks whether its port is still the same.
const TICK: Duration = Duration::from_millis(20);
/// `ND_ROUTER_SOLICIT`.
const SOLICITATION: u8 = 133;
const ALL_DHCP_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

// ===== impl Server =====

impl Server {
    /// Starts the server at a card's port.
    #[track_caller]
    pub fn start(lab: &Lab, card: &str, network: &Network) -> Server {
        let (netns, port) = (Arc::clone(lab.fabric().netns()), card.to_owned());
        let card = lab.card(card).unwrap();
        let v4 = card.addresses.iter().find(|a| a.address.is_ipv4()).unwrap();
        let (Some(IpAddr::V4(address4)), Some(IpAddr::V6(address6))) =
            (card.address(Family::V4), card.address(Family::V6))
        else {
            panic!("{port} has no address of a family");
        };
        let IpAddr::V4(subnet) = v4.network().address() else { unreachable!() };
        let advert = Advert { managed: true, ..lab.fabric().advert(&port, 1800).unwrap() };
        let state = State {
            lease4: Lease4 {
                address: address4,
                len: v4.len,
                routers: vec![card.gateway4],
                classless: Vec::new(),
                seconds: 3600,
                renew: None,
                rebind: None,
            },
            lease6: Lease6 { address: address6, seconds: 3600, renew: None },
            conduct: Conduct::default(),
            advert: Some(advert),
            interval: Duration::from_secs(3),
            said: Vec::new(),
            // Not the gateway's, which may change.
            server: Ipv4Addr::from_bits(subnet.to_bits() + 3),
            due: Instant::now(),
        };
        let shared = Arc::new(Mutex::new(state));
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, until) = (Arc::clone(&shared), Arc::clone(&stop));
        let (mac, network) = (card.mac, Arc::clone(network));
        lock(&network).insert(mac, Desk { shared: Arc::clone(&shared), out: None });
        let thread = thread::spawn(move || {
            netns.enter().unwrap();
            while !until.load(Ordering::Acquire) {
                // No port: the card is pulled.
                match netns.index(&port) {
                    Ok(index) => serve(&netns, &port, index, &theirs, (&network, mac), &until),
                    Err(_) => thread::sleep(TICK),
                }
            }
        });
        Server { shared, stop, thread: Some(thread) }
    }

    /// Changes the DHCPv4 lease that the next request is answered with.
    pub fn lease4(&self, change: impl FnOnce(&mut Lease4)) {
        change(&mut lock(&self.shared).lease4);
    }

    /// Changes the DHCPv6 lease that the next request is answered with.
    pub fn lease6(&self, change: impl FnOnce(&mut Lease6)) {
        change(&mut lock(&self.shared).lease6);
    }

    /// Changes what the router advertises, and advertises it. A lifetime of 0 withdraws it.
    pub fn router(&self, change: impl FnOnce(&mut Advert)) {
        let mut state = lock(&self.shared);
        state.advert.as_mut().map(change);
        state.due = Instant::now();
    }

    /// Lets the router be silent from now on: it advertises nothing, asked or not.
    pub fn no_router(&self) {
        lock(&self.shared).advert = None;
    }

    /// Sets the time between two advertisements that nobody asked for.
    pub fn advertise_every(&self, interval: Duration) {
        lock(&self.shared).interval = interval;
    }

    /// Decides how requests for leases are met.
    pub fn conduct(&self, conduct: Conduct) {
        lock(&self.shared).conduct = conduct;
    }

    /// What clients were answered so far: `ack 10.0.0.129`, `nak`, `release`, `reply
    /// 2001:db8:a::129`.
    pub fn said(&self) -> Vec<String> {
        lock(&self.shared).said.clone()
    }

    /// How often a client was answered with those words at their beginning.
    pub fn count(&self, words: &str) -> usize {
        lock(&self.shared).said.iter().filter(|s| s.starts_with(words)).count()
    }

    /// Waits until a client is answered once more with those words at their beginning.
    #[track_caller]
    pub fn wait_for_next(&self, words: &str, within: Duration) {
        let before = self.count(words);
        eventually(&format!("the server says {words:?}"), within, || self.count(words) > before);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

// ===== the thread =====

struct Sockets {
    /// Where those ask who do not know the server.
    any4: UdpSocket,
    /// Where those ask who do, and where answers come from.
    own4: UdpSocket,
    v6: UdpSocket,
    /// Solicitations of routers.
    icmp: OwnedFd,
}

/// Serves a port for as long as it is there.
fn serve(
    netns: &Netns,
    port: &str,
    index: u32,
    shared: &Mutex<State>,
    (network, mac): (&Network, Mac),
    stop: &AtomicBool,
) {
    let server = lock(shared).server;
    let Ok(sockets) = Sockets::open(netns, port, index, server) else {
        return thread::sleep(TICK); // it went, or is not ready yet
    };
    if let Some(desk) = lock(network).get_mut(&mac) {
        desk.out = sockets.own4.try_clone().ok();
    }
    lock(shared).due = Instant::now();
    while !stop.load(Ordering::Acquire) && netns.index(port).ok() == Some(index) {
        let mut state = lock(shared);
        if state.due <= Instant::now() {
            state.due = Instant::now() + state.interval;
            if let Some(advert) = &state.advert {
                let _ = advert.send(netns, port); // nobody may hear it, while a cable is out
            }
        }
        drop(state);
        let Sockets { any4, own4, v6, icmp } = &sockets;
        let mut fds = [any4.as_fd(), own4.as_fd(), v6.as_fd(), icmp.as_fd()]
            .map(|f| PollFd::from_borrowed_fd(f, PollFlags::IN));
        let tick =
            rustix::time::Timespec { tv_sec: 0, tv_nsec: i64::try_from(TICK.as_nanos()).unwrap() };
        if !matches!(poll(&mut fds, Some(&tick)), Ok(1..)) {
            continue;
        }
        let mut packet = [0; 2048];
        for socket in [any4, own4] {
            while let Ok((len, _)) = socket.recv_from(&mut packet) {
                let network = lock(network);
                let client = dhcp4::client(&packet[..len]).unwrap_or(mac);
                let Some(desk) = network.get(&client) else { continue };
                if let Some((answer, to)) = dhcp4::answer(&mut lock(&desk.shared), &packet[..len])
                    && let Some(out) = &desk.out
                {
                    let _ = out.send_to(&answer, SocketAddr::new(to.into(), 68));
                }
            }
        }
        while let Ok((len, from)) = v6.recv_from(&mut packet) {
            let mut state = lock(shared);
            if let Some(answer) = dhcp6::answer(&mut state, &packet[..len]) {
                let _ = v6.send_to(&answer, from);
            }
        }
        while let Ok(len) = rustix::io::read(icmp, &mut packet) {
            if packet[..len].first() == Some(&SOLICITATION) {
                lock(shared).due = Instant::now();
            }
        }
    }
}

impl Sockets {
    fn open(netns: &Netns, port: &str, index: u32, server: Ipv4Addr) -> io::Result<Sockets> {
        if let Err(e) = netns.add_address(port, &Ifaddr::new(server.into(), 32))
            && !e.is_exists()
        {
            return Err(io::Error::other(e));
        }
        let v6 = udp(port, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 547))?;
        v6.join_multicast_v6(&ALL_DHCP_SERVERS, index)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let icmp =
            socket_with(AddressFamily::INET6, SocketType::RAW, flags, Some(ipproto::ICMPV6))?;
        setsockopt(&icmp, sockopt::BindToDevice, &OsString::from(port))?;
        Ok(Sockets {
            any4: udp(port, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 67))?,
            own4: udp(port, SocketAddr::new(server.into(), 67))?,
            v6,
            icmp,
        })
    }
}

/// A socket of one port: those of others are bound to the same address.
fn udp(port: &str, at: SocketAddr) -> io::Result<UdpSocket> {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
    setsockopt(&socket, sockopt::BindToDevice, &OsString::from(port))?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    match at {
        SocketAddr::V4(at) => bind(&socket, &at)?,
        SocketAddr::V6(at) => bind(&socket, &SocketAddrV6::new(*at.ip(), at.port(), 0, 0))?,
    }
    let socket = UdpSocket::from(socket);
    if at.is_ipv4() {
        socket.set_broadcast(true)?;
    }
    Ok(socket)
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
