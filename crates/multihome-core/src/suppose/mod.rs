//! What a host would be if something happened to it.
//!
//! Each supposition changes a snapshot as the kernel would change what it holds: a link goes down
//! ([`link`]), an address comes or goes ([`address`]), a route is added or deleted ([`route`]). Nothing
//! here decides what multihome does about it: that is [`crate::plan`]'s, asked with the snapshot that
//! comes out.
//!
//! Not modelled: what stands on a link that goes down (VLANs and the like go down with it), and what
//! a network manager then does.

mod address;
mod link;
mod route;

use std::borrow::Cow;
use std::net::IpAddr;

pub use address::{add_address, del_address};
pub use link::{carrier_lost, link_down};
pub use route::{RouteWords, add_route, del_route};

use crate::diff::Change;
use crate::model::netfilter::Held;
use crate::model::{Address, Snapshot};
use crate::settings;

/// Something that could happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Supposition {
    /// `ip link set NAME down`.
    LinkDown(String),
    /// The cable of a link is pulled.
    CarrierLost(String),
    /// `ip address add ADDRESS/LEN dev NAME`.
    AddAddress {
        /// The link.
        link: String,
        /// The address.
        address: IpAddr,
        /// The length of its network's prefix.
        len: u8,
    },
    /// `ip address del ADDRESS dev NAME`.
    DelAddress {
        /// The link.
        link: String,
        /// The address.
        address: IpAddr,
    },
    /// `ip route add ...`.
    AddRoute(RouteWords),
    /// `ip route del ...`.
    DelRoute(RouteWords),
}

/// What becomes of another address than the one that was supposed to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consequence {
    /// It goes along: it was secondary to that one.
    Gone(Address),
    /// It is primary now, in place of that one (`promote_secondaries`).
    Promoted(Address),
}

/// Why something cannot be supposed: what the kernel would refuse, or what is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Impossible {
    /// What is wrong, with its place.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Impossible {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Impossible {
        Impossible { what: what.into(), remedy: remedy.into() }
    }
}

/// Makes it happen to a snapshot, and says what becomes of other addresses by that.
///
/// # Errors
/// When the kernel would refuse it; the snapshot is as it was then.
pub fn suppose(
    snapshot: &mut Snapshot,
    what: &Supposition,
) -> Result<Vec<Consequence>, Impossible> {
    match what {
        Supposition::LinkDown(name) => link_down(snapshot, index(snapshot, name)?),
        Supposition::CarrierLost(name) => carrier_lost(snapshot, index(snapshot, name)?),
        Supposition::AddAddress { link, address, len } => {
            add_address(snapshot, index(snapshot, link)?, *address, *len)?;
        }
        Supposition::DelAddress { link, address } => {
            return del_address(snapshot, index(snapshot, link)?, *address);
        }
        Supposition::AddRoute(words) => add_route(snapshot, words)?,
        Supposition::DelRoute(words) => del_route(snapshot, words)?,
    }
    Ok(Vec::new())
}

/// The host after changes that are pending; the same one where there are none.
#[must_use]
pub fn settled<'a>(snapshot: &'a Snapshot, changes: &[Change]) -> Cow<'a, Snapshot> {
    let mut settled = Cow::Borrowed(snapshot);
    if !changes.is_empty() {
        take(settled.to_mut(), changes);
    }
    settled
}

/// Makes steps of ours happen to a snapshot, all of which succeed.
pub fn take(snapshot: &mut Snapshot, changes: &[Change]) {
    for change in changes {
        match change {
            Change::AddRoute(route) => snapshot.insert_route(route.clone()),
            Change::ReplaceRoute { from, to } => {
                snapshot.remove_route(from);
                snapshot.insert_route(to.clone());
            }
            Change::DelRoute(route) => drop(snapshot.remove_route(route)),
            Change::AddRule(rule) => snapshot.insert_rule(rule.clone()),
            Change::DelRule(rule) => drop(snapshot.remove_rule(rule)),
            Change::SetGroup { link, to, .. } => {
                if let Some(link) = snapshot.link(*link).cloned() {
                    snapshot.insert_link(crate::model::Link { group: *to, ..link });
                }
            }
            Change::SetReturnPath { to, .. } => {
                if let Some(netfilter) = &mut snapshot.netfilter {
                    netfilter.table = to.clone().map_or(Held::Absent, Held::Whole);
                }
            }
            Change::SetSysctl { path, from, to } => settings::note(snapshot, path, from, to),
        }
    }
}

fn index(snapshot: &Snapshot, name: &str) -> Result<u32, Impossible> {
    snapshot.link_named(name).map(|l| l.index).ok_or_else(|| {
        let names: Vec<&str> =
            snapshot.links().filter(|l| !l.is_loopback()).map(|l| l.name.as_str()).collect();
        Impossible::new(
            format!("this host has no link `{name}`"),
            format!("its links: {}", names.join(", ")),
        )
    })
}
