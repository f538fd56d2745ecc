//! The request socket: one request, many in one datagram, or a dump.
//!
//! rtnetlink carries out a datagram's messages one after the other while `sendto`
//! runs (`netlink_rcv_skb`), and answers to our own receive queue: an
//! acknowledgement where one was asked for, and an error always. So a batch asks for
//! one acknowledgement, on its last message, and tells errors apart by sequence
//! number. At most 128 messages go in one datagram: the answers to 256 fill the
//! default queue, and what overflows it is lost although the requests were carried
//! out.
//!
//! Nothing here waits for ever: a receive that times out is an unknown outcome
//! ([`Error::Unknown`]), and late answers to it are passed over by their sequence
//! number.

mod transaction;

use std::time::Duration;

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{RecvFlags, SendFlags, sockopt};

use crate::error::{self, Error};
use crate::uapi::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN,
};
use crate::wire::{Malformed, Message, Messages};

/// A socket for requests. Events come in by [`crate::watch::Watch`].
#[derive(Debug)]
pub struct Socket {
    inner: netlink_sys::Socket,
    protocol: Protocol,
    seq: u32,
    port: u32,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// An earlier answer was not read to its end: a dump may still be under way.
    unsettled: bool,
}

/// To whom a socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// rtnetlink: links, addresses, routes, rules.
    Route,
    /// nfnetlink: nf_tables.
    Netfilter,
}

/// How a dump went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dump {
    /// How many messages were handed on.
    pub messages: usize,
    /// `NLM_F_DUMP_INTR`: what was dumped changed meanwhile, so there may be gaps and doubles.
    pub interrupted: bool,
}

/// How many messages go in one datagram.
const BATCH_MESSAGES: usize = 128;
/// How many questions, whose answers take some 5 KiB each of the queue (`NLMSG_GOODSIZE`): well
/// under the 416 KiB that a process without privileges gets.
const BATCH_QUESTIONS: usize = 32;
/// How many bytes, well under the send buffer's default of 212,992.
const BATCH_BYTES: usize = 32 * 1024;
/// The kernel fills at most 32 KiB at a time (`netlink_dump`), but for a link's many virtual
/// functions.
const INCOMING: usize = 64 * 1024;
/// The queue for answers.
const QUEUE: usize = 1024 * 1024;
/// Answers are in the queue when `sendto` returns; this is for what should not happen.
const PATIENCE: Duration = Duration::from_secs(2);

// ===== impl Socket =====

impl Socket {
    /// A socket for rtnetlink in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the system has no sockets left or no netlink.
    pub fn open() -> Result<Socket, Error> {
        Socket::open_for(Protocol::Route)
    }

    /// As [`Socket::open`], for the protocol named.
    ///
    /// # Errors
    /// As for [`Socket::open`]; EPROTONOSUPPORT when the kernel does not speak it.
    pub fn open_for(protocol: Protocol) -> Result<Socket, Error> {
        let inner = bound(protocol)?;
        // Nicety, not need: without the options errors have no sentence and are longer, and
        // without strict checking (before 4.20) the kernel ignores filters, which the callers
        // therefore apply once more.
        for (option, result) in [
            ("NETLINK_EXT_ACK", inner.set_ext_ack(true)),
            ("NETLINK_CAP_ACK", inner.set_cap_ack(true)),
            ("NETLINK_GET_STRICT_CHK", inner.set_netlink_get_strict_chk(true)),
        ] {
            if let Err(e) = result {
                log::debug!("{option}: {e}");
            }
        }
        sockopt::set_socket_timeout(&inner, sockopt::Timeout::Recv, Some(PATIENCE))
            .map_err(|e| Error::system("setsockopt SO_RCVTIMEO", e))?;
        enlarge(&inner, QUEUE);
        let address = rustix::net::getsockname(&inner).ok();
        let port = address.and_then(|a| SocketAddrNetlink::try_from(a).ok()).map_or(0, |a| a.pid());
        Ok(Socket {
            inner,
            protocol,
            seq: 0,
            port,
            incoming: vec![0; INCOMING],
            outgoing: Vec::new(),
            unsettled: false,
        })
    }

    /// Its netlink port: what events that our requests cause carry as their originator.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.port
    }

    /// One request, acknowledged.
    ///
    /// # Errors
    /// The kernel's refusal, or [`Error::Unknown`] when its answer was lost.
    pub fn request(&mut self, message: &mut Message) -> Result<(), Error> {
        self.query(message, &mut |_, _| {})
    }

    /// One request that is answered with messages (`RTM_GETLINK` of one link), acknowledged.
    ///
    /// # Errors
    /// As for [`Socket::request`].
    pub fn query(
        &mut self,
        message: &mut Message,
        each: &mut dyn FnMut(u16, &[u8]),
    ) -> Result<(), Error> {
        self.settle();
        let seq = self.send(message, NLM_F_ACK)?;
        loop {
            let len = self.receive(RecvFlags::empty())?;
            for received in Messages::new(&self.incoming[..len]) {
                let m = received?;
                if m.seq != seq {
                    continue;
                }
                match m.kind {
                    NLMSG_ERROR => {
                        return error::of_nlmsgerr(m.flags, m.payload)?.map_or(Ok(()), Err);
                    }
                    NLMSG_NOOP | NLMSG_OVERRUN => {}
                    kind => each(kind, m.payload),
                }
            }
        }
    }

    /// Many requests in few datagrams, in the order given; one outcome for each.
    ///
    /// A refused request does not keep those behind it from being carried out.
    pub fn batch(&mut self, messages: &mut [Message]) -> Vec<Result<(), Error>> {
        self.datagrams(messages, BATCH_MESSAGES, &mut |_, _, _| {})
    }

    /// Many questions in few datagrams: `each` gets the place of a question, and the type and
    /// payload of what answered it; one outcome for each question.
    pub fn ask(
        &mut self,
        messages: &[Message],
        each: &mut dyn FnMut(usize, u16, &[u8]),
    ) -> Vec<Result<(), Error>> {
        self.datagrams(messages, BATCH_QUESTIONS, each)
    }

    fn datagrams(
        &mut self,
        messages: &[Message],
        at_most: usize,
        each: &mut dyn FnMut(usize, u16, &[u8]),
    ) -> Vec<Result<(), Error>> {
        self.settle();
        let mut outcomes = Vec::with_capacity(messages.len());
        let mut rest = messages;
        while !rest.is_empty() {
            let mut bytes = 0;
            let count = rest
                .iter()
                .take(at_most)
                .take_while(|m| {
                    bytes += m.size();
                    bytes <= BATCH_BYTES
                })
                .count()
                .max(1); // a larger one goes alone
            let (now, later) = rest.split_at(count);
            self.datagram(now, &mut outcomes, each);
            rest = later;
        }
        outcomes
    }

    fn datagram(
        &mut self,
        messages: &[Message],
        outcomes: &mut Vec<Result<(), Error>>,
        each: &mut dyn FnMut(usize, u16, &[u8]),
    ) {
        let start = outcomes.len();
        let first = self.seq.wrapping_add(1);
        let last = messages.iter().rposition(|m| !m.is_broken());
        self.outgoing.clear();
        for (at, message) in messages.iter().enumerate() {
            self.seq = self.seq.wrapping_add(1);
            if message.is_broken() {
                outcomes.push(Err(too_long()));
                continue;
            }
            let flags = if Some(at) == last { NLM_F_ACK } else { 0 };
            message.finish(flags, self.seq, &mut self.outgoing);
            outcomes.push(Ok(()));
        }
        let Some(last) = last else { return };
        let outcomes = &mut outcomes[start..];
        if let Err(e) = self.transmit() {
            outcomes.iter_mut().filter(|o| o.is_ok()).for_each(|o| *o = Err(e.clone()));
            return;
        }
        // Those before the last are silent when they succeed, so all are known once the last is
        // answered, unless the queue overflowed.
        let (mut answered, mut lost) = (false, None);
        while !answered {
            let flags = if lost.is_some() { RecvFlags::DONTWAIT } else { RecvFlags::empty() };
            let len = match self.receive(flags) {
                Ok(len) => len,
                Err(Error::Unknown(why)) if lost.is_none() => {
                    lost = Some(why); // what was queued before the overflow is still there
                    continue;
                }
                Err(_) => {
                    lost.get_or_insert("its answer could not be read");
                    break;
                }
            };
            for m in Messages::new(&self.incoming[..len]) {
                let Ok(m) = m else {
                    lost = Some("its answer was malformed");
                    break;
                };
                let at = m.seq.wrapping_sub(first) as usize;
                if at >= outcomes.len() {
                    continue;
                }
                match m.kind {
                    NLMSG_ERROR => {}
                    NLMSG_DONE | NLMSG_NOOP | NLMSG_OVERRUN => continue,
                    kind => {
                        each(start + at, kind, m.payload);
                        continue;
                    }
                }
                outcomes[at] = match error::of_nlmsgerr(m.flags, m.payload) {
                    Ok(None) => Ok(()),
                    Ok(Some(e)) => Err(e),
                    Err(e) => Err(e.into()),
                };
                answered |= at == last;
            }
        }
        if let Some(why) = lost {
            self.unsettled = true;
            for (at, outcome) in outcomes.iter_mut().enumerate() {
                if outcome.is_ok() && !(answered && at == last) {
                    *outcome = Err(Error::Unknown(why));
                }
            }
        }
    }

    /// A dump: `each` gets the type and payload of every message.
    ///
    /// An interrupted dump is no error; the caller decides whether to ask again.
    ///
    /// # Errors
    /// The kernel's refusal, also one that comes with the end of the dump: ENOENT for a table
    /// that does not exist, ENODEV for a link, EOPNOTSUPP for a kind that it does not know.
    pub fn dump(
        &mut self,
        message: &mut Message,
        each: &mut dyn FnMut(u16, &[u8]),
    ) -> Result<Dump, Error> {
        self.settle();
        let seq = self.send(message, NLM_F_DUMP)?;
        let mut dump = Dump::default();
        let mut truncated = None;
        self.unsettled = true;
        loop {
            let len = match self.receive(RecvFlags::empty()) {
                Ok(len) => len,
                // The rest must be read all the same, or the next dump is refused with EBUSY.
                Err(Error::Truncated(size)) => {
                    truncated = Some(Error::Truncated(size));
                    continue;
                }
                Err(e) => return Err(e),
            };
            for received in Messages::new(&self.incoming[..len]) {
                let m = received?;
                if m.seq != seq {
                    continue;
                }
                dump.interrupted |= m.flags & NLM_F_DUMP_INTR != 0;
                let end = match m.kind {
                    NLMSG_DONE => error::of_done(m.flags, m.payload)?,
                    NLMSG_ERROR => error::of_nlmsgerr(m.flags, m.payload)?,
                    NLMSG_NOOP | NLMSG_OVERRUN => continue,
                    kind => {
                        dump.messages += 1;
                        each(kind, m.payload);
                        continue;
                    }
                };
                self.unsettled = false;
                return end.or(truncated).map_or(Ok(dump), Err);
            }
        }
    }

    fn send(&mut self, message: &Message, flags: u16) -> Result<u32, Error> {
        if message.is_broken() {
            return Err(too_long());
        }
        self.seq = self.seq.wrapping_add(1);
        self.outgoing.clear();
        message.finish(flags, self.seq, &mut self.outgoing);
        self.transmit()?;
        Ok(self.seq)
    }

    fn transmit(&self) -> Result<(), Error> {
        let kernel = SocketAddrNetlink::new(0, 0);
        loop {
            match rustix::net::sendto(&self.inner, &self.outgoing, SendFlags::empty(), &kernel) {
                // A datagram is taken whole or not at all.
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(Error::system(self.protocol.call("sendto"), e)),
            }
        }
    }

    /// Reads one datagram of the kernel's into `incoming`.
    fn receive(&mut self, flags: RecvFlags) -> Result<usize, Error> {
        let result = receive(&self.inner, self.protocol, &mut self.incoming, flags);
        if let Err(Error::Truncated(size)) = &result {
            self.incoming.resize(size.next_multiple_of(4096), 0);
        }
        if result.is_err() {
            self.unsettled = true;
        }
        match result {
            Err(Error::System { errno, .. }) if errno == Errno::NOBUFS.raw_os_error() => {
                Err(Error::Unknown("the queue for answers overflowed (ENOBUFS)"))
            }
            Err(Error::System { errno, .. }) if errno == Errno::AGAIN.raw_os_error() => {
                Err(Error::Unknown("no answer came in time"))
            }
            other => other,
        }
    }

    /// Throws away what was left of an earlier answer. Reading also brings a dump that was given
    /// up to its end; until then the kernel refuses the next one with EBUSY.
    fn settle(&mut self) {
        while self.unsettled {
            match receive(&self.inner, self.protocol, &mut self.incoming, RecvFlags::DONTWAIT) {
                Ok(_) | Err(Error::Truncated(_)) => {}
                Err(Error::System { errno, .. }) if errno == Errno::NOBUFS.raw_os_error() => {}
                Err(_) => self.unsettled = false,
            }
        }
    }
}

// ===== impl Protocol =====

impl Protocol {
    /// A system call and the protocol that it was for, as an error names it.
    fn call(self, call: &str) -> String {
        match self {
            Protocol::Route => format!("{call} NETLINK_ROUTE"),
            Protocol::Netfilter => format!("{call} NETLINK_NETFILTER"),
        }
    }
}

// ===== helpers shared with the event sockets =====

/// A bound socket of one protocol.
pub(crate) fn bound(protocol: Protocol) -> Result<netlink_sys::Socket, Error> {
    let number = match protocol {
        Protocol::Route => NETLINK_ROUTE,
        Protocol::Netfilter => NETLINK_NETFILTER,
    };
    let mut socket =
        netlink_sys::Socket::new(number).map_err(|e| Error::io(protocol.call("socket"), &e))?;
    socket.bind_auto().map_err(|e| Error::io(protocol.call("bind"), &e))?;
    Ok(socket)
}

/// Asks for a queue of `size` bytes: beyond `net.core.rmem_max` where the process may
/// (`CAP_NET_ADMIN` in the first user namespace), up to it elsewhere.
pub(crate) fn enlarge(socket: &netlink_sys::Socket, size: usize) {
    // The kernel doubles what is asked for.
    if sockopt::set_socket_recv_buffer_size_force(socket, size / 2).is_err()
        && let Err(e) = sockopt::set_socket_recv_buffer_size(socket, size / 2)
    {
        log::debug!("SO_RCVBUF: {e}");
    }
}

/// Reads one datagram that the kernel sent; what other processes send is passed over.
pub(crate) fn receive(
    socket: &netlink_sys::Socket,
    protocol: Protocol,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> Result<usize, Error> {
    loop {
        match rustix::net::recvfrom(socket, &mut *buffer, flags | RecvFlags::TRUNC) {
            Ok((_, len, sender)) => {
                let sender = sender.and_then(|a| SocketAddrNetlink::try_from(a).ok());
                if sender.is_none_or(|a| a.pid() != 0) {
                    continue;
                }
                if len > buffer.len() {
                    return Err(Error::Truncated(len));
                }
                return Ok(len);
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(Error::system(protocol.call("recvfrom"), e)),
        }
    }
}

fn too_long() -> Error {
    Malformed("a request has an attribute that is too long".into()).into()
}
