//! What somebody else deleted of ours, and how often we put it back.
//!
//! The first times at once; then, when somebody keeps at it, every 400 ms, so that two
//! programs that disagree do not eat a processor, and a rule is still back within half a
//! second. Who it was is in the event: the netlink port of the request, which for most
//! programs is their process. systemd-networkd deletes every foreign rule of the system
//! whenever a link that it manages is configured.

use std::time::{Duration, Instant};

use multihome_core::model::snapshot::Event;

/// So many repairs are made at once.
const AT_ONCE: u32 = 5;
/// After those, one in this time.
const EVERY: Duration = Duration::from_millis(400);
/// The same culprit is named again after this long.
const SAY_AGAIN: Duration = Duration::from_secs(600);

/// Keeps count.
#[derive(Debug, Default)]
pub struct Repairs {
    /// Whether something was deleted since the last reconcile.
    pending: bool,
    /// Repairs made of late; one is forgotten every [`EVERY`].
    made: u32,
    last: Option<Instant>,
    named: Option<(String, Instant)>,
}

impl Repairs {
    /// Notes an event that somebody else caused.
    pub fn note(&mut self, event: &Event, port: u32) {
        let what = match event {
            Event::DelRule(rule) if rule.is_ours() => "a rule",
            Event::DelRoute(route) if route.is_ours() => "a route",
            _ => return,
        };
        self.pending = true;
        let who = culprit(port);
        let now = Instant::now();
        let named = |(name, at): &(String, Instant)| *name == who && now < *at + SAY_AGAIN;
        if self.named.as_ref().is_some_and(named) {
            return;
        }
        let cure = if who.starts_with("systemd-network") {
            "; to stop it, set ManageForeignRoutingPolicyRules=no in /etc/systemd/networkd.conf.d/"
        } else {
            ""
        };
        log::warn!("{who} deleted {what} of multihome's; it is put back{cure}");
        self.named = Some((who, now));
    }

    /// When the next reconcile may be made.
    pub fn allowed_at(&mut self, now: Instant) -> Instant {
        let Some(last) = self.last else { return now };
        let forgotten = now.saturating_duration_since(last).as_millis() / EVERY.as_millis();
        let forgotten = u32::try_from(forgotten).unwrap_or(u32::MAX);
        if !self.pending || self.made.saturating_sub(forgotten) < AT_ONCE {
            return now;
        }
        last + EVERY
    }

    /// Notes that a reconcile was made.
    pub fn spend(&mut self, now: Instant) {
        if !std::mem::take(&mut self.pending) {
            return;
        }
        if let Some(last) = self.last {
            let forgotten = now.saturating_duration_since(last).as_millis() / EVERY.as_millis();
            self.made = self.made.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX));
        }
        self.made += 1;
        self.last = Some(now);
    }
}

/// The process behind a netlink port: the kernel gives the first socket of a process its
/// process number (`netlink_autobind`).
fn culprit(port: u32) -> String {
    match std::fs::read_to_string(format!("/proc/{port}/comm")) {
        Ok(name) => format!("{} (pid {port})", name.trim_end()),
        Err(_) => format!("another program (netlink port {port})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_repairs_are_made_at_once_and_the_rest_within_half_a_second() {
        let mut repairs = Repairs::default();
        let mut now = Instant::now();
        for n in 0..50 {
            repairs.pending = true;
            let at = repairs.allowed_at(now);
            assert!(at - now <= EVERY, "repair {n}");
            if n < AT_ONCE {
                assert_eq!(at, now, "repair {n}");
            }
            now = at;
            repairs.spend(now);
        }
        // Fifty repairs in a row took their time.
        let last = repairs.last.unwrap();
        repairs.pending = true;
        assert!(repairs.allowed_at(last) > last);
        // And all is forgotten after a while.
        let later = last + Duration::from_secs(60);
        assert_eq!(repairs.allowed_at(later), later);
    }
}
