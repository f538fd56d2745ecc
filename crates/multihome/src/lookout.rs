//! When to look again although nothing was announced.
//!
//! A router advertisement that renews a route makes no event, an expired route is deleted up to
//! half a minute late (`fib6_run_gc`), nobody says that a link that came up will get no address,
//! and a lease on file ends without a word.

use std::time::{Duration, Instant};

use multihome_core::Snapshot;

/// The moments at which something must be looked at again.
#[derive(Debug)]
pub struct Lookout {
    /// When the IPv6 routes were last dumped: what their lifetimes count from.
    seen_at: Instant,
    route_expires: Option<Instant>,
    /// One look more after an expiry.
    once_more: Option<Instant>,
    routers_answer: Option<Instant>,
    lease_ends: Option<Instant>,
    leavings: Option<Instant>,
    settings: Option<Instant>,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// A route expires: its family's routes are in doubt.
    Routes,
    /// The routers of a link that came up have not answered.
    Routers,
    /// What an address has left behind was kept for long enough.
    Leavings,
    /// A lease has come to its end.
    Leases,
    /// A link or an address is new, and its settings have not been read.
    Settings,
}

/// Settings are read this long after a link or an address came: what leads answers home comes first,
/// and udev's rules have set theirs by then.
const SETTINGS: Duration = Duration::from_millis(50);
/// In this time a link that came up has its IPv6 addresses back: three solicitations at 4 s
/// (RFC 4861), duplicate address detection, and patience for DHCPv6.
const ROUTERS_ANSWER: Duration = Duration::from_secs(30);

// ===== impl Lookout =====

impl Lookout {
    /// With nothing to wait for.
    pub fn new() -> Lookout {
        Lookout {
            seen_at: Instant::now(),
            route_expires: None,
            once_more: None,
            routers_answer: None,
            lease_ends: None,
            leavings: None,
            settings: None,
        }
    }

    /// When there is something to be done, if there is.
    pub fn next(&self) -> Option<Instant> {
        let moments = [
            self.route_expires,
            self.once_more,
            self.routers_answer,
            self.lease_ends,
            self.leavings,
            self.settings,
        ];
        moments.into_iter().flatten().min()
    }

    /// What is to be done by now; each is said once.
    pub fn take(&mut self) -> Option<Due> {
        let now = Instant::now();
        let is_due = |at: &mut Instant| *at <= now;
        if self.routers_answer.take_if(is_due).is_some() {
            return Some(Due::Routers);
        }
        if self.lease_ends.take_if(is_due).is_some() {
            return Some(Due::Leases);
        }
        if self.leavings.take_if(is_due).is_some() {
            return Some(Due::Leavings);
        }
        if self.settings.take_if(is_due).is_some() {
            return Some(Due::Settings);
        }
        if self.once_more.take_if(is_due).is_some() {
            return Some(Due::Routes);
        }
        if self.route_expires.take_if(is_due).is_some() {
            // In the very tick of its expiry a route looks as if it had no lifetime
            // (rtnl_put_cacheinfo writes 0 for both), so there is one look more.
            self.once_more = Some(now + Duration::from_millis(100));
            return Some(Due::Routes);
        }
        None
    }

    /// The IPv6 routes are being dumped.
    pub fn sees_routes(&mut self) {
        self.seen_at = Instant::now();
    }

    /// A link or an address is new.
    pub fn expects_settings(&mut self) {
        self.settings.get_or_insert_with(|| Instant::now() + SETTINGS);
    }

    /// A link came up, and its routers may answer.
    pub fn expects_routers(&mut self) {
        self.routers_answer = Some(Instant::now() + ROUTERS_ANSWER);
    }

    /// Waits for the first default route to expire. Lifetimes count from when they were seen; a
    /// route that an event brought was seen later than the others, so this may be early for it:
    /// then one look more is taken.
    pub fn expects_expiry(&mut self, snapshot: &Snapshot) {
        let seconds = snapshot
            .routes()
            .filter(|r| r.dst.is_default() && !r.is_ours() && !r.is_expired())
            .filter_map(|r| u64::try_from(r.expires?).ok())
            .min();
        let moment = Duration::from_millis(50); // the kernel counts in ticks
        self.route_expires = seconds.map(|s| self.seen_at + Duration::from_secs(s) + moment);
    }

    /// What an address has left behind is kept until then, if it is.
    pub fn expects_leavings(&mut self, until: Option<Instant>) {
        self.leavings = until;
    }

    /// The first lease ends after this time, if one does.
    pub fn expects_end(&mut self, left: Option<Duration>) {
        // Lifetimes come from outside, and may be beyond what a clock can hold.
        self.lease_ends = left.and_then(|left| Instant::now().checked_add(left));
    }
}
