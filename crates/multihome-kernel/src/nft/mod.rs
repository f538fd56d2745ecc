//! nf_tables: what others do there, as far as it concerns us, and our own table.
//!
//! The kernel is spoken to in its own words (`nf_tables_api.c`); the programs `nft` and
//! `iptables` are not needed. What the older xtables hold is not visible to nf_tables, and is
//! asked from their own program ([`legacy`]).
//!
//! [`Nft::observe`] looks until nothing changed while it looked, [`Nft::write`] is one
//! transaction, and [`NftWatch`] says who changed something.

mod expr;
pub mod fuzz;
pub mod legacy;
mod marks;
mod observe;
mod read;
mod table;
#[cfg(test)]
mod tests;
mod uapi;
mod watch;
mod write;

use multihome_core::model::netfilter::{Held, ReturnPath};

use self::uapi::NFNL_SUBSYS_NFTABLES;
pub use self::watch::{NftWatch, Who};
use self::write::Transaction;
use crate::error::Error;
use crate::socket::{Protocol, Socket};
use crate::wire::Message;

/// nf_tables of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Nft {
    socket: Socket,
}

impl Nft {
    /// Opens the namespace of the calling thread.
    ///
    /// # Errors
    /// When no netlink socket can be had: EPROTONOSUPPORT of a kernel without netfilter.
    pub fn open() -> Result<Nft, Error> {
        Ok(Nft { socket: Socket::open_for(Protocol::Netfilter)? })
    }

    /// The netlink port of its requests: what the changes that they make are announced with.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.socket.port()
    }

    /// Makes our table what it should be, or takes it away; all of it or nothing, in one
    /// transaction. `from` is what is there as [`Nft::observe`] saw it.
    ///
    /// Where only addresses differ, only elements are written. That they are not as `from` says
    /// is an error (ENOENT): then somebody changed the table meanwhile, and nothing was done.
    ///
    /// # Errors
    /// The first refusal, with the object that it is about; nothing was changed then.
    /// [`Error::Unknown`] when the answer was lost.
    pub fn write(&mut self, from: &Held, to: Option<&ReturnPath>) -> Result<(), Error> {
        let Some(transaction) = Transaction::between(from, to) else { return Ok(()) };
        self.socket
            .transaction(transaction.messages())
            .map_err(|(at, offset, e)| transaction.blame(at, offset, e))
    }
}

/// A message of nf_tables: `struct nfgenmsg` is its family, a version of 0 and no resource.
fn message(kind: u16, flags: u16, family: u8) -> Message {
    Message::new(NFNL_SUBSYS_NFTABLES << 8 | kind, flags, &[family, 0, 0, 0])
}
