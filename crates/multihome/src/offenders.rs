//! Rules of others that come and go in front of ours: each is named once, not each time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use multihome_core::model::Rule;

/// The same one is named again after this long.
const SAY_AGAIN: Duration = Duration::from_secs(600);

/// When each was named.
#[derive(Debug, Default)]
pub struct Offenders(BTreeMap<Rule, Instant>);

// ===== impl Offenders =====

impl Offenders {
    /// Whether a rule was not named of late; then it is now.
    pub fn is_news(&mut self, rule: &Rule) -> bool {
        let now = Instant::now();
        self.0.retain(|_, named| now.duration_since(*named) < SAY_AGAIN);
        // Each time that it comes without a priority the kernel gives it another one.
        let rule = Rule { priority: 0, ..rule.clone() };
        if self.0.contains_key(&rule) {
            return false;
        }
        self.0.insert(rule, now);
        true
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
