//! Routes and rules in systemd-networkd's `.network` files (systemd.network(5)).
//!
//! networkd takes one `.network` file for each link, the first that fits, and with it all drop-ins
//! that stand beside a file of that name. So what is exported is a drop-in of the file that is in
//! use: a drop-in of another one would never be read.

mod files;
mod keys;
mod read;
mod write;

use std::collections::BTreeSet;

use multihome_core::model::Names;
use multihome_core::policy::{Policy, Word};

use crate::{Export, Known, Place, Problem, Statement, Tree};

/// What systemd 252 reads. `GoTo=` came with 257; a route's TOS, the DSCP and a multipath route's
/// flags it does not have, nor all metrics of a path.
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
        Word::SuppressIfgroup,
        Word::RefusingRoute,
        Word::Prefsrc,
        Word::Scope,
        Word::Mtu,
        Word::Onlink,
        Word::Preference,
        Word::SourceSpecific,
    ])
}

pub(crate) fn places() -> Vec<Place> {
    let mut places = Vec::new();
    for directory in files::NETWORKS {
        places.push(Place { directory, prefix: "", suffix: ".network" });
    }
    for directory in files::DROP_INS {
        places.push(Place { directory, prefix: "", suffix: ".conf" });
    }
    for directory in files::CONFIGURATION {
        places.push(Place { directory, prefix: "networkd", suffix: ".conf" });
    }
    for directory in files::CONFIGURATION_DROP_INS {
        places.push(Place { directory, prefix: "", suffix: ".conf" });
    }
    places.push(Place { directory: files::LINKS, prefix: "", suffix: "" });
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
