//! Who changed something in nf_tables.
//!
//! A socket of its own, joined to the group of nf_tables. What changed is not followed: each
//! transaction ends with the announcement of a new generation (`nf_tables_gen_notify`), which
//! carries the process that made it. That is enough to look again.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::read::{self, Generation};
use super::uapi::{NFNL_SUBSYS_NFTABLES, NFNLGRP_NFTABLES, NFT_MSG_NEWGEN};
use crate::error::Error;
use crate::socket::{Protocol, bound, enlarge, receive};
use crate::wire::{Messages, Received};

/// The event socket of the network namespace in which it was opened.
#[derive(Debug)]
pub struct NftWatch {
    inner: netlink_sys::Socket,
    incoming: Vec<u8>,
}

/// Who changed something, as far as the kernel told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Who {
    /// The thread that did it, as the first PID namespace counts.
    pub pid: Option<u32>,
    /// Its name: `nft`, `iptables`, `dockerd`.
    pub program: Option<String>,
}

/// Bytes asked for as the queue: a transaction of ten thousand elements is announced with each of
/// them (2.5 MiB). When it overflows, somebody changed something.
const QUEUE: usize = 8 * 1024 * 1024;
/// Where one draining stops although there is more. The socket stays readable then.
const ENOUGH: usize = 100_000;

// ===== impl NftWatch =====

impl NftWatch {
    /// Watches the namespace of the calling thread. Open it before the first look.
    ///
    /// # Errors
    /// When no netlink socket can be had, or the group cannot be joined: EPERM without
    /// `CAP_NET_ADMIN`.
    pub fn open() -> Result<NftWatch, Error> {
        let inner = bound(Protocol::Netfilter)?;
        enlarge(&inner, QUEUE);
        inner.set_non_blocking(true).map_err(|e| Error::io("fcntl O_NONBLOCK", &e))?;
        let joined = inner.add_membership(NFNLGRP_NFTABLES);
        joined.map_err(|e| Error::io("joining the group of nf_tables", &e))?;
        Ok(NftWatch { inner, incoming: vec![0; 64 * 1024] })
    }

    /// Reads what there is without waiting: who of others changed something last, if anybody
    /// did. `own_port` is [`super::Nft::port`]; what came from there is passed over, as is what
    /// any thread of this process did that has its number.
    ///
    /// # Errors
    /// When the socket fails for a reason other than an overflow, which is somebody unknown.
    pub fn drain(&mut self, own_port: u32) -> Result<Option<Who>, Error> {
        let (mut who, mut overrun, mut messages) = (None, false, 0);
        while messages < ENOUGH {
            let len = match receive(
                &self.inner,
                Protocol::Netfilter,
                &mut self.incoming,
                RecvFlags::empty(),
            ) {
                Ok(len) => len,
                Err(Error::Truncated(size)) => {
                    self.incoming.resize(size.next_multiple_of(4096), 0);
                    overrun = true;
                    continue;
                }
                Err(Error::System { errno, .. }) if errno == Errno::NOBUFS.raw_os_error() => {
                    overrun = true;
                    continue;
                }
                Err(Error::System { errno, .. }) if errno == Errno::AGAIN.raw_os_error() => break,
                Err(e) => return Err(e),
            };
            for message in Messages::new(&self.incoming[..len]) {
                messages += 1;
                match message {
                    Ok(m) => who = foreign(&m, own_port).or(who),
                    Err(_) => overrun = true,
                }
            }
        }
        Ok(who.or(overrun.then(Who::default)))
    }
}

impl AsFd for NftWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// Who made a change, from one announcement; `None` when it was us, or when the announcement is
/// one of those before the last of a transaction.
fn foreign(m: &Received<'_>, own_port: u32) -> Option<Who> {
    if m.kind != NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN {
        // What the kernel does by itself, a device that takes its chain with it, is no
        // transaction.
        return (m.port == 0).then(Who::default);
    }
    let generation = read::generation(m.payload).unwrap_or_default();
    let Generation { pid, program, .. } = generation;
    let ours = m.port == own_port || pid == Some(std::process::id());
    (!ours).then_some(Who { pid, program })
}
