//! What netfilter announces, on hosts where it decides about the plan.
//!
//! Container engines change it in bursts, and each look at it reads all of it: so after one change
//! the next is waited for a moment, the longer the dearer a look is. On a host that forwards nothing
//! no socket is opened.

use std::time::{Duration, Instant};

use multihome_core::Change;
use multihome_core::model::netfilter::Held;
use multihome_kernel::{NftWatch, Who};

use crate::engine::Engine;

/// It is looked at no more often than this.
const PAUSE: Duration = Duration::from_millis(200);

/// The event socket, if one is needed.
#[derive(Debug, Default)]
pub struct FollowedNetfilter {
    watch: Option<NftWatch>,
    /// Until then nobody listens.
    until: Option<Instant>,
    /// Who changed something last.
    who: Option<Who>,
    /// Said once.
    failed: bool,
}

impl FollowedNetfilter {
    /// Begins to listen where that is needed, or ends it; true when what happened before is not
    /// known.
    pub fn follow(&mut self, engine: &Engine) -> bool {
        if !engine.follows_netfilter() {
            self.watch = None;
            return false;
        }
        if self.watch.is_some() || self.failed {
            return false;
        }
        match NftWatch::open() {
            Ok(watch) => {
                self.watch = Some(watch);
                true
            }
            Err(e) => {
                log::warn!("{e}: a change of nftables is seen only at the slow look");
                self.failed = true;
                false
            }
        }
    }

    /// What to wait for, if anybody listens now.
    pub fn watch(&self, now: Instant) -> Option<&NftWatch> {
        self.watch.as_ref().filter(|_| self.until.is_none_or(|until| until <= now))
    }

    /// When to listen again, if nobody does.
    pub fn pause(&self, now: Instant) -> Option<Instant> {
        self.watch.as_ref().and(self.until).filter(|until| *until > now)
    }

    /// Reads what there is; says whether somebody else changed something.
    pub fn drain(&mut self, engine: &Engine) -> bool {
        let Some(watch) = &mut self.watch else { return false };
        match watch.drain(engine.netfilter_port()) {
            Ok(None) => false,
            Ok(Some(who)) => {
                self.until = Some(Instant::now() + PAUSE.max(engine.cost_of_netfilter() * 20));
                self.who = Some(who);
                true
            }
            Err(e) => {
                log::warn!("{e}: listening to nftables anew");
                self.watch = None;
                true
            }
        }
    }

    /// Says who undid what is made again.
    pub fn blame(&mut self, changes: &[Change]) {
        let who = self.who.take();
        let is_repair = |c: &Change| {
            matches!(c, Change::SetReturnPath { from: Held::Absent | Held::Altered, to: Some(_) })
        };
        if let Some(who) = who
            && changes.iter().any(is_repair)
        {
            log::info!(
                "the table inet multihome is made anew after {} changed nftables",
                name(&who)
            );
        }
    }
}

/// A program and its process, as far as the kernel told.
fn name(who: &Who) -> String {
    match (&who.program, who.pid) {
        (Some(program), Some(pid)) => format!("{program} (pid {pid})"),
        (Some(program), None) => program.clone(),
        (None, Some(pid)) => format!("process {pid}"),
        (None, None) => "somebody".into(),
    }
}
