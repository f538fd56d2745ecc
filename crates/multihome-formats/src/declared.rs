//! What statements come to, all of them together.

use multihome_core::import::Declared;
use multihome_core::model::Route;
use multihome_core::model::names::{TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};
use multihome_core::{Config, Memory, Snapshot, plan};

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
        // Whoever fills them in has them from where multihome has them.
        let plan = plan::make(snapshot, &Config::default(), &Memory::default());
        for planned in &plan.uplinks {
            for side in &planned.uplink.sides {
                let first = side.ways.first().and_then(|w| w.gateway());
                let gateway = first.map(|g| ((planned.uplink.link, side.family), g));
                known.gateways.extend(gateway);
            }
        }
        known
    }
}

/// All that statements declare.
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
    let is_mains = |r: &mut Route| matches!(r.table, 0 | TABLE_MAIN | TABLE_LOCAL | TABLE_DEFAULT);
    declared.of_main = declared.routes.extract_if(.., is_mains).collect();
    declared.rules.sort_by_key(|r| (r.family, r.priority));
    declared
}
