//! The host's side of every question: echoes by TCP and UDP on each address, served by one
//! thread.
//!
//! TCP connections stay open for as long as the client keeps them, so a test can watch one
//! live through a change. A socket stays bound when its address is taken away, and works again
//! when the address is back, whatever card that is on.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use crate::Error;
use crate::netns::Netns;
use crate::traffic::{PORT, WILDCARD_PORT, timespec};

/// A thread in a namespace that echoes what it is sent; it ends when this is dropped.
#[derive(Debug)]
pub struct Answerer {
    netns: Arc<Netns>,
    shared: Arc<Shared>,
    waker: UnixStream,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Sockets that the thread has not taken in yet.
    arrivals: Mutex<Vec<Listener>>,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Connections beyond this many are closed at once.
const CONNECTIONS: usize = 1024;

// ===== impl Answerer =====

impl Answerer {
    /// Starts answering on some addresses of a namespace, and by TCP on all of them at
    /// [`WILDCARD_PORT`].
    ///
    /// # Errors
    /// When a socket cannot be bound, or the thread not be started.
    pub fn start(
        netns: &Arc<Netns>,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<Answerer, Error> {
        let step = |what| move |e| Error::step(netns.name(), what, e);
        let shared = Arc::new(Shared::default());
        let (waker, wakened) = UnixStream::pair().map_err(step("make a socket pair"))?;
        wakened.set_nonblocking(true).map_err(step("make a socket pair"))?;
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("answerer".to_owned())
            .spawn(move || serve(&theirs, &wakened))
            .map_err(step("start the answerer"))?;
        let answerer = Answerer { netns: Arc::clone(netns), shared, waker, thread: Some(thread) };
        answerer.bind("on all addresses", || {
            // An IPv6 socket takes IPv4 as well (net.ipv6.bindv6only is 0 in a new namespace).
            let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), WILDCARD_PORT);
            Ok(vec![tcp(any)?])
        })?;
        answerer.listen_all(addresses)?;
        Ok(answerer)
    }

    /// Answers on one more address, which must be there.
    ///
    /// # Errors
    /// When it is not, or is answered on by now.
    pub fn listen(&self, address: IpAddr) -> Result<(), Error> {
        self.listen_all([address])
    }

    fn listen_all(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Result<(), Error> {
        let addresses: Vec<_> = addresses.into_iter().collect();
        let what = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        self.bind(&what, || {
            let mut listeners = Vec::new();
            for address in &addresses {
                let at = SocketAddr::new(*address, PORT);
                let udp = UdpSocket::bind(at)?;
                udp.set_nonblocking(true)?;
                listeners.extend([tcp(at)?, Listener::Udp(udp)]);
            }
            Ok(listeners)
        })
    }

    fn bind(
        &self,
        what: &str,
        make: impl FnOnce() -> io::Result<Vec<Listener>> + Send,
    ) -> Result<(), Error> {
        let listeners = self
            .netns
            .run(make)?
            .map_err(|e| Error::step(self.netns.name(), format!("answer on {what}"), e))?;
        let mut arrivals = self.shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.extend(listeners);
        drop(arrivals);
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        // It fails when the pair is full, which wakes the thread as well, or when it has ended.
        let _ = (&self.waker).write(&[0]);
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it has nothing to say, a panic apart, which was printed
        }
    }
}

// ===== the thread =====

fn serve(shared: &Shared, wakened: &UnixStream) {
    let mut listeners: Vec<Listener> = Vec::new();
    let mut streams: Vec<TcpStream> = Vec::new();
    while !shared.stop.load(Ordering::Acquire) {
        let ready: Vec<bool> = {
            let mut fds = vec![PollFd::new(wakened, PollFlags::IN)];
            fds.extend(listeners.iter().map(|l| match l {
                Listener::Tcp(socket) => PollFd::new(socket, PollFlags::IN),
                Listener::Udp(socket) => PollFd::new(socket, PollFlags::IN),
            }));
            fds.extend(streams.iter().map(|s| PollFd::new(s, PollFlags::IN)));
            // The time-out is a net under a lost wake-up; an interrupted call is tried again.
            if poll(&mut fds, Some(&timespec(Duration::from_millis(500)))).is_err() {
                continue;
            }
            fds.iter().map(|fd| !fd.revents().is_empty()).collect()
        };
        if ready[0] {
            let _ = (&mut &*wakened).read(&mut [0; 64]);
            let mut arrivals = shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
            listeners.append(&mut arrivals);
        }
        // Arrivals stand behind what was polled, so the positions still fit.
        let (polled, streamed) = ready[1..].split_at(ready.len() - 1 - streams.len());
        let mut at = 0;
        streams.retain_mut(|stream| {
            at += 1;
            !streamed[at - 1] || echo(stream)
        });
        for (listener, _) in listeners.iter().zip(polled).filter(|(_, ready)| **ready) {
            match listener {
                Listener::Tcp(socket) => {
                    while let Ok((stream, _)) = socket.accept() {
                        if streams.len() < CONNECTIONS && stream.set_nonblocking(true).is_ok() {
                            let _ = stream.set_nodelay(true);
                            streams.push(stream);
                        }
                    }
                }
                Listener::Udp(socket) => {
                    let mut packet = [0; 2048];
                    while let Ok((size, from)) = socket.recv_from(&mut packet) {
                        // No route back: the silence is the answer.
                        let _ = socket.send_to(&packet[..size], from);
                    }
                }
            }
        }
    }
}

/// Sends back what came in; false when the connection is over.
fn echo(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return false,
            // A client that sends and never reads loses its connection, not our thread.
            Ok(size) if stream.write_all(&bytes[..size]).is_err() => return false,
            Ok(_) => {}
            Err(e) => return e.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

fn tcp(at: SocketAddr) -> io::Result<Listener> {
    let socket = TcpListener::bind(at)?;
    socket.set_nonblocking(true)?;
    Ok(Listener::Tcp(socket))
}
