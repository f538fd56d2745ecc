//! What a route or a rule is for, in the words of a comment above it.

use multihome_core::policy::Purpose;

/// What entries of a purpose are for.
#[must_use]
pub(crate) fn words(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Main => "routes of main that were made by hand",
        Purpose::Default => "the way out of this network",
        Purpose::Network => "networks on this side",
        Purpose::Refusal => "nothing leaves by another door",
        Purpose::Jump => "answers jump over somebody else's rule",
        Purpose::Mark => "replies of published ports, by their mark",
        Purpose::Steer => "what the host starts itself, by a chosen uplink",
        Purpose::Local => "what is local stays local",
        Purpose::Home => "replies go home by their own door",
        Purpose::Lease => "and so do those of the next lease's address",
        Purpose::Bound => "sockets bound to the device",
    }
}
