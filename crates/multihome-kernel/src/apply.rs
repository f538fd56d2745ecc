//! Carrying out requests, many in one datagram. Which ones, and in which order, is
//! [`crate::change`]'s business.

use crate::error::Error;
use crate::observe::Kernel;
use crate::wire::Message;

// ===== impl Kernel =====

impl Kernel {
    /// Carries out requests in the order given, and gives one outcome for each.
    ///
    /// A refused one does not keep those behind it from being carried out.
    /// [`Error::Unknown`] means that an answer was lost, so that one must observe again.
    pub fn execute(&mut self, messages: &mut [Message]) -> Vec<Result<(), Error>> {
        self.socket.batch(messages)
    }
}
