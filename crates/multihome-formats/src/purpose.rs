//! What a route or a rule is for, in a sentence: the comment above it.

use multihome_core::policy::Purpose;

/// What a route or a rule is for.
#[must_use]
pub(crate) fn words(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Main => "made by hand, and in no file",
        Purpose::Default => "the way out of this network",
        Purpose::Network => "networks on this side",
        Purpose::Refusal => "nothing leaves by another door",
        Purpose::Jump => "answers come before the rules of others",
        Purpose::Mark => "replies of published ports go home",
        Purpose::Steer => "what leaves by a chosen uplink",
        Purpose::Local => "what is local stays local",
        Purpose::Home => "replies go home by their own door",
        Purpose::Bound => "sockets bound to the device",
    }
}
