//! Many messages of which the kernel carries out all or none (`nfnetlink_rcv_batch`).

use rustix::net::{RecvFlags, sockopt};

use super::{Socket, too_long};
use crate::error::{self, Error};
use crate::uapi::{NLM_F_ACK, NLMSG_ERROR};
use crate::wire::{Message, Messages};

impl Socket {
    /// All messages in one datagram, for a subsystem that carries them out together or not at
    /// all (`nfnetlink_rcv_batch`): the first and the last are the batch's begin and end. `Err`
    /// has the place of the message that was refused first, and where in it the kernel says that
    /// the fault is.
    pub(crate) fn transaction(
        &mut self,
        messages: &[Message],
    ) -> Result<(), (usize, Option<usize>, Error)> {
        self.settle();
        let nowhere = |e| (0, None, e);
        if messages.iter().any(Message::is_broken) {
            return Err(nowhere(too_long()));
        }
        let first = self.seq.wrapping_add(1);
        // The end of a batch is acknowledged by recent kernels only (6.10).
        let last = messages.len().saturating_sub(2);
        self.outgoing.clear();
        for (at, message) in messages.iter().enumerate() {
            self.seq = self.seq.wrapping_add(1);
            let flags = if at == last { NLM_F_ACK } else { 0 };
            message.finish(flags, self.seq, &mut self.outgoing);
        }
        self.make_room(self.outgoing.len());
        self.transmit().map_err(nowhere)?;
        let mut refused = None;
        loop {
            let len = self.receive(RecvFlags::empty()).map_err(nowhere)?;
            for m in Messages::new(&self.incoming[..len]) {
                let m = m.map_err(|e| nowhere(e.into()))?;
                let at = m.seq.wrapping_sub(first) as usize;
                if m.kind != NLMSG_ERROR || at >= messages.len() {
                    continue;
                }
                let outcome = error::of_nlmsgerr(m.flags, m.payload);
                if let Some(e) = outcome.map_err(|e| nowhere(e.into()))?
                    && refused.is_none()
                {
                    refused = Some((at, error::offset(m.flags, m.payload), e));
                }
                // What stops a batch as a whole is said of its first message, and the last may
                // be acknowledged behind that.
                if at == 0 || at == last {
                    self.unsettled |= at == 0;
                    return refused.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// A datagram must fit in the send buffer (EMSGSIZE, `netlink_sendmsg`).
    fn make_room(&self, bytes: usize) {
        let wanted = bytes + 4096; // what the kernel sets aside, and then some
        if sockopt::socket_send_buffer_size(&self.inner).is_ok_and(|size| size >= wanted) {
            return;
        }
        // Beyond net.core.wmem_max where the process may; up to it elsewhere.
        if sockopt::set_socket_send_buffer_size_force(&self.inner, wanted).is_err()
            && let Err(e) = sockopt::set_socket_send_buffer_size(&self.inner, wanted)
        {
            log::debug!("SO_SNDBUF: {e}");
        }
    }
}
