//! Applying changes: each becomes a request, and all go together.
//!
//! The order is the plan's ([`multihome_core::diff`]) and it matters: routes before the
//! rules that lead to them, rules in descending priority (the kernel walks its list to the
//! place of each, `fib_nl_newrule`). A real write of a rule or an IPv4 route makes every
//! connected socket look its route up anew, so only differences come here.

use multihome_core::Change;
use multihome_core::model::{Action, Netfilter};

use crate::error::Error;
use crate::nft::Nft;
use crate::observe::Kernel;
use crate::wire::Message;
use crate::{link, route, rule, sysctl};

/// Up to this many new rules are added with `NLM_F_EXCL`, so that a rule that came meanwhile is
/// not doubled. With the flag the kernel compares each with all others (`rule_exists`): for
/// thousands that would cost more than the insertion itself.
const EXCLUSIVE_UP_TO: usize = 64;

impl Kernel {
    /// The netlink port of its requests: what the events that they cause carry.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.socket.port()
    }

    /// Takes steps in the order given and gives one outcome for each; a refused one does not
    /// keep those behind it from being taken. `complete` says whether the snapshot that they
    /// were made from was: if not, a rule may be there already, and is not doubled.
    pub fn apply(&mut self, changes: &[Change], complete: bool) -> Vec<Result<(), Error>> {
        let rules = changes.iter().filter(|c| matches!(c, Change::AddRule(_))).count();
        let exclusive = !complete || rules <= EXCLUSIVE_UP_TO;
        let is_rtnetlinks =
            |c: &Change| !matches!(c, Change::SetSysctl { .. } | Change::SetReturnPath { .. });
        let mut outcomes = Vec::with_capacity(changes.len());
        for part in changes.chunk_by(|a, b| is_rtnetlinks(a) && is_rtnetlinks(b)) {
            match part {
                [Change::SetSysctl { path, to, .. }] => outcomes.push(sysctl::write(path, to)),
                [Change::SetReturnPath { from, to }] => {
                    outcomes.push(self.nft().and_then(|nft| nft.write(from, to.as_ref())));
                }
                part => {
                    let messages = part.iter().filter_map(|c| message(c, exclusive, complete));
                    let mut messages: Vec<Message> = messages.collect();
                    outcomes.extend(self.execute(&mut messages));
                }
            }
        }
        outcomes
    }

    /// What netfilter holds; none where this process may not ask, or the kernel has none.
    ///
    /// # Errors
    /// When no socket can be had, or the kernel refuses for another reason.
    pub fn netfilter(&mut self) -> Result<Option<Netfilter>, Error> {
        self.nft()?.observe()
    }

    /// The netlink port of our own requests to netfilter; none while there were none.
    #[must_use]
    pub fn netfilter_port(&self) -> Option<u32> {
        self.nft.as_ref().map(Nft::port)
    }

    /// Opened when it is first needed: on a host without containers nothing of it is loaded.
    fn nft(&mut self) -> Result<&mut Nft, Error> {
        match &mut self.nft {
            Some(nft) => Ok(nft),
            none => Ok(none.insert(Nft::open()?)),
        }
    }

    /// Carries out requests in the order given, and gives one outcome for each.
    ///
    /// A refused one does not keep those behind it from being carried out.
    /// [`Error::Unknown`] means that an answer was lost, so that one must observe again.
    pub fn execute(&mut self, messages: &mut [Message]) -> Vec<Result<(), Error>> {
        self.socket.batch(messages)
    }
}

/// The request of rtnetlink's that takes a step.
fn message(change: &Change, exclusive: bool, complete: bool) -> Option<Message> {
    Some(match change {
        Change::AddRoute(r) => route::add(r),
        Change::ReplaceRoute { to, .. } => route::replace(to),
        Change::DelRoute(r) => route::delete(r),
        // For the kernel two jumps are the same wherever they lead (`rule_exists`): one that
        // gets another target would be refused as a double. It is put behind the old one,
        // which is what a deletion finds first.
        Change::AddRule(r) if complete && matches!(r.action, Action::Goto(_)) => {
            rule::add(r, false)
        }
        Change::AddRule(r) => rule::add(r, exclusive),
        Change::DelRule(r) => rule::delete(r),
        Change::SetGroup { link, to, .. } => link::set_group(*link, *to),
        Change::SetSysctl { .. } | Change::SetReturnPath { .. } => return None,
    })
}
