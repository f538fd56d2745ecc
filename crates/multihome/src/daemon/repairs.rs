//! What somebody else deleted of ours or put in front of it, and how often we put that right.
//!
//! The first times at once; then, when somebody keeps at it, every 400 ms, so that two
//! programs that disagree do not eat a processor, and a rule is still back within half a
//! second. Who it was is in the event: the netlink port of the request, which for most
//! programs is their process. systemd-networkd deletes every foreign rule of the system
//! whenever a link that it manages is configured. A rule without a priority comes in front of ours
//! (`fib_default_rule_pref`), and ours in front of it: whoever wants to be first as well would keep
//! us at that for ever.

use std::time::{Duration, Instant};

use multihome_core::model::snapshot::Event;

/// So many repairs are made at once.
const REPAIRS: u32 = 5;
/// So many times rules are moved at once: wg-quick adds two in each family, one by one, and takes them
/// away one by one, so this is a tunnel that is restarted.
const MOVES: u32 = 16;
/// After those, one in this time.
const EVERY: Duration = Duration::from_millis(400);
/// The same culprit is named again after this long.
const SAY_AGAIN: Duration = Duration::from_secs(600);

/// Keeps count.
#[derive(Debug)]
pub struct Repairs {
    /// Whether something was deleted since the last reconcile.
    pending: bool,
    /// Whether rules of others came or went since then, so that ours may have to move.
    shuffled: bool,
    repairs: Budget,
    moves: Budget,
    named: Option<(String, Instant)>,
}

/// How often something may be done.
#[derive(Debug)]
struct Budget {
    at_once: u32,
    /// Done of late; one is forgotten every [`EVERY`].
    made: u32,
    last: Option<Instant>,
}

// ===== impl Repairs =====

impl Default for Repairs {
    fn default() -> Repairs {
        let budget = |at_once| Budget { at_once, made: 0, last: None };
        let (repairs, moves) = (budget(REPAIRS), budget(MOVES));
        Repairs { pending: false, shuffled: false, repairs, moves, named: None }
    }
}

impl Repairs {
    /// Notes an event that somebody else caused.
    pub fn note(&mut self, event: &Event, port: u32) {
        let what = match event {
            Event::DelRule(rule) if rule.is_ours() => "a rule",
            Event::DelRoute(route) if route.is_ours() => "a route",
            Event::NewRule(_) | Event::DelRule(_) => {
                self.shuffled = true;
                return;
            }
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
    pub fn allowed_at(&self, now: Instant) -> Instant {
        let repair = self.pending.then(|| self.repairs.allowed_at(now));
        let moved = self.shuffled.then(|| self.moves.allowed_at(now));
        repair.max(moved).unwrap_or(now)
    }

    /// Notes that a reconcile was made, and whether rules of ours moved. Most rules of others are
    /// nowhere near ours, and cost nothing.
    pub fn spend(&mut self, now: Instant, moved: bool) {
        if std::mem::take(&mut self.pending) {
            self.repairs.spend(now);
        }
        if std::mem::take(&mut self.shuffled) && moved {
            self.moves.spend(now);
        }
    }
}

// ===== impl Budget =====

impl Budget {
    fn allowed_at(&self, now: Instant) -> Instant {
        match self.last {
            Some(last) if self.left(last, now) >= self.at_once => last + EVERY,
            _ => now,
        }
    }

    fn spend(&mut self, now: Instant) {
        let left = self.last.map_or(0, |last| self.left(last, now));
        (self.made, self.last) = (left + 1, Some(now));
    }

    /// How many are not forgotten.
    fn left(&self, last: Instant, now: Instant) -> u32 {
        let forgotten = now.saturating_duration_since(last).as_millis() / EVERY.as_millis();
        self.made.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX))
    }
}

// ===== helpers =====

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
    use multihome_core::Family;
    use multihome_core::model::{Action, Rule};

    use super::*;

    /// Something is asked for fifty times in a row, each time as soon as it is allowed.
    fn asked_for_all_the_time(at_once: u32, ask: impl Fn(&mut Repairs)) {
        let mut repairs = Repairs::default();
        let mut now = Instant::now();
        for n in 0..50 {
            ask(&mut repairs);
            let at = repairs.allowed_at(now);
            assert!(at - now <= EVERY, "number {n}");
            assert_eq!(at > now, n >= at_once, "number {n}");
            now = at;
            repairs.spend(now, true);
        }
        // And all is forgotten after a while.
        ask(&mut repairs);
        assert!(repairs.allowed_at(now) > now);
        let later = now + Duration::from_secs(60);
        assert_eq!(repairs.allowed_at(later), later);
    }

    #[test]
    fn the_first_repairs_are_made_at_once_and_the_rest_within_half_a_second() {
        asked_for_all_the_time(REPAIRS, |repairs| repairs.pending = true);
    }

    #[test]
    fn who_keeps_coming_in_front_is_followed_every_400_ms() {
        let came = Event::NewRule(Rule::new(Family::V4, 9000, Action::Lookup(52)));
        asked_for_all_the_time(MOVES, |repairs| repairs.note(&came, 7));
    }

    #[test]
    fn rules_of_others_that_move_nothing_of_ours_cost_nothing() {
        let mut repairs = Repairs::default();
        let now = Instant::now();
        let came = Event::NewRule(Rule::new(Family::V4, 40_000, Action::Lookup(52)));
        for _ in 0..50 {
            repairs.note(&came, 7);
            assert_eq!(repairs.allowed_at(now), now);
            repairs.spend(now, false);
        }
    }
}
