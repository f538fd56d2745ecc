//! What statements come to, all of them together.

use std::net::IpAddr;

use multihome_core::import::Declared;
use multihome_core::model::names::{TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};
use multihome_core::model::{Address, Link};
use multihome_core::{Family, Snapshot};

use crate::{Known, Statement, What};

/// The kernel's own tables, by the names that iproute2 has for them without a file.
const OWN_TABLES: [(&str, u32); 3] =
    [("main", TABLE_MAIN), ("local", TABLE_LOCAL), ("default", TABLE_DEFAULT)];

impl Known {
    /// What names mean on a host.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Known {
        let mut known = Known::default();
        for link in snapshot.links() {
            known.links.insert(link.name.clone(), link.index);
            let macs = [&link.permanent_address, &link.address];
            known.macs.extend(macs.into_iter().flatten().map(|m| (m.clone(), link.index)));
        }
        known.tables.extend(OWN_TABLES.map(|(name, table)| (name.to_owned(), table)));
        let named = snapshot.table_names.iter().map(|(number, name)| (name.clone(), *number));
        known.tables.extend(named);
        for family in Family::BOTH {
            for link in snapshot.links() {
                if let Some(gateway) = gateway(snapshot, link, family) {
                    known.gateways.insert((link.index, family), gateway);
                }
            }
        }
        known
    }
}

/// What a lease or a router gave a link: main has it as a default, or a file of the manager's does.
fn gateway(snapshot: &Snapshot, link: &Link, family: Family) -> Option<IpAddr> {
    let defaults = snapshot.main_defaults(family);
    let mut hops = defaults.iter().flat_map(|r| &r.hops).filter(|h| h.link == link.index);
    let by_main = hops.find_map(|h| h.gateway);
    by_main.or_else(|| {
        let addresses: Vec<Address> = snapshot.addresses_of(link.index).cloned().collect();
        let hints = snapshot.hints.of(link, family, &addresses);
        hints.iter().flat_map(|h| h.gateways.iter().copied()).next()
    })
}

/// All that statements declare, without main's routes: those are not handed over.
#[must_use]
pub fn declared_by(statements: &[Statement]) -> Declared {
    let mut declared = Declared::default();
    for statement in statements {
        match &statement.what {
            What::Route(route) => declared.routes.push(route.clone()),
            What::Rule(rule) => declared.rules.push(rule.clone()),
            What::TableName(table, name) => {
                declared.table_names.insert(*table, name.clone());
            }
            What::Group(link, group) => {
                declared.groups.insert(*link, *group);
            }
        }
    }
    declared.routes.retain(|r| !matches!(r.table, 0 | TABLE_MAIN | TABLE_LOCAL | TABLE_DEFAULT));
    declared.rules.sort_by_key(|r| (r.family, r.priority));
    declared
}
