//! Routes and rules in NetworkManager's keyfiles (nm-settings-keyfile(5)).
//!
//! A profile is a file, and the one that a link uses has it all: addresses, routes, rules. So what is
//! exported is that profile with lines of ours. NetworkManager drops comments when it writes a
//! profile itself, so ours are known again by their tables and priorities as well.

mod lines;
mod profiles;
mod read;
mod write;

use std::collections::BTreeSet;

use multihome_core::model::Names;
use multihome_core::policy::{Policy, Word};

use crate::{Export, Known, Place, Problem, Statement, Tree};

/// What 1.42 reads (`nm_ip_route_get_variant_attribute_spec`, `nm_ip_routing_rule_from_string`).
pub(crate) fn words() -> BTreeSet<Word> {
    BTreeSet::from([
        Word::Iif,
        Word::Oif,
        Word::Not,
        Word::Fwmark,
        Word::Tos,
        Word::Ipproto,
        Word::Ports,
        Word::Uidrange,
        Word::RefusingRule,
        Word::SuppressPrefixlength,
        Word::RefusingRoute,
        Word::Prefsrc,
        Word::Scope,
        Word::RouteTos,
        Word::Mtu,
        Word::Onlink,
        Word::SourceSpecific,
    ])
}

pub(crate) fn places() -> Vec<Place> {
    let profile = |directory| Place { directory, prefix: "", suffix: ".nmconnection" };
    let mut places: Vec<Place> = profiles::DIRECTORIES.into_iter().map(profile).collect();
    places.push(Place { directory: profiles::DEVICES, prefix: "", suffix: "" });
    places
}

pub(crate) fn export(policy: &Policy, names: &Names, there: &Tree) -> Export {
    write::export(policy, names, there)
}

pub(crate) fn import(there: &Tree, known: &Known) -> Result<Vec<Statement>, Problem> {
    read::import(there, known)
}

#[cfg(test)]
mod tests;
