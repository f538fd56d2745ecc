//! Routes and rules in netplan's YAML (netplan(5)).
//!
//! netplan reads all files of its directories in the order of their names and merges what they say
//! of an id: lists grow. So what is exported is a file of our own, with ours under the id that a link
//! has already.

mod definitions;
mod read;
mod write;

use std::collections::BTreeSet;

use multihome_core::model::Names;
use multihome_core::policy::{Policy, Word};

use crate::{Export, Known, Place, Problem, Statement, Tree};

pub(crate) use write::{routes, rules};

/// What 0.106 says by either of its renderers. It has no interface in a rule and no mask of a mark;
/// with a route that refuses, its generator fails altogether where NetworkManager is to get it
/// ("only supports unicast routes").
pub(crate) fn words() -> BTreeSet<Word> {
    BTreeSet::from([Word::Tos, Word::Prefsrc, Word::Scope, Word::Mtu, Word::Onlink])
}

/// What networkd gets as well, where all files leave everything to it.
pub(crate) fn words_beside(there: &Tree) -> BTreeSet<Word> {
    let mut words = words();
    if write::is_for_networkd(there) {
        words.insert(Word::RefusingRoute);
    }
    words
}

pub(crate) fn places() -> Vec<Place> {
    let place = |directory| Place { directory, prefix: "", suffix: ".yaml" };
    definitions::DIRECTORIES.into_iter().map(place).collect()
}

pub(crate) fn export(policy: &Policy, names: &Names, there: &Tree) -> Export {
    write::export(policy, names, there)
}

pub(crate) fn import(there: &Tree, known: &Known) -> Result<Vec<Statement>, Problem> {
    read::import(there, known)
}

#[cfg(test)]
mod tests;
