//! What `ip route add` and `ip rule add` read, and what they print.
//!
//! The words are those of `iproute_modify` and `iprule_modify` (ip/iproute.c and ip/iprule.c of
//! iproute2), tried in the same order, since many may be cut short there (`matches`): `t` is `table`
//! only because `to` and `tos` are not. What comes out is what the kernel has afterwards, the
//! defaults that `ip` and the kernel put in included.

mod read;
mod route;
mod rule;
mod write;

pub(crate) use multihome_core::model::names::word;
pub(crate) use read::Context;
pub(crate) use route::route;
pub(crate) use rule::{Priorities, ReadRule, rule};
pub(crate) use write::{route_words, rule_words};

#[cfg(test)]
mod tests;
