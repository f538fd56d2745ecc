//! The form of a snapshot in files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AddressKey, Rank, Snapshot};
use crate::model::address::Address;
use crate::model::hint::Hints;
use crate::model::host::Host;
use crate::model::label::AddressLabel;
use crate::model::link::Link;
use crate::model::neighbour::Neighbour;
use crate::model::netfilter::Netfilter;
use crate::model::nexthop::Nexthop;
use crate::model::route::Route;
use crate::model::rule::Rule;
use crate::model::sysctl::{Raised, Sysctls};

/// Lists, which `jq` can take apart.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "snapshot", expecting = "a snapshot of multihome")]
pub(super) struct Flat {
    version: u32,
    links: Vec<Link>,
    addresses: Vec<Address>,
    routes: Vec<Route>,
    rules: Vec<Rule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    nexthops: Vec<Nexthop>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    table_names: BTreeMap<u32, String>,
    #[serde(default, skip_serializing_if = "Hints::is_empty")]
    hints: Hints,
    #[serde(default, skip_serializing_if = "Sysctls::is_empty")]
    sysctls: Sysctls,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    raised: BTreeMap<String, Raised>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    netfilter: Option<Netfilter>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    neighbours: Vec<Neighbour>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<AddressLabel>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<Host>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<String>,
}

/// The version of the form in files.
const VERSION: u32 = 1;

impl TryFrom<Flat> for Snapshot {
    type Error = String;

    fn try_from(flat: Flat) -> Result<Snapshot, String> {
        if flat.version != VERSION {
            return Err(format!(
                "version {} of the snapshot is not known to this multihome, which reads version \
                 {VERSION}",
                flat.version
            ));
        }
        let mut snapshot = Snapshot {
            incomplete: flat.incomplete,
            table_names: flat.table_names,
            hints: flat.hints,
            sysctls: flat.sysctls,
            raised: flat.raised,
            netfilter: flat.netfilter,
            neighbours: flat.neighbours,
            labels: flat.labels,
            host: flat.host,
            ..Snapshot::default()
        };
        for link in flat.links {
            if link.index == 0 || link.name.is_empty() {
                return Err(format!("link {} `{}` has no index or no name", link.index, link.name));
            }
            snapshot.insert_link(link);
        }
        for address in flat.addresses {
            if address.prefix_len > address.family().bits() {
                return Err(format!("address {}/{}", address.local, address.prefix_len));
            }
            snapshot.insert_address(address);
        }
        flat.routes.into_iter().for_each(|r| snapshot.insert_route(r));
        flat.rules.into_iter().for_each(|r| snapshot.insert_rule(r));
        flat.nexthops.into_iter().for_each(|n| snapshot.insert_nexthop(n));
        Ok(snapshot)
    }
}

impl From<Snapshot> for Flat {
    fn from(snapshot: Snapshot) -> Flat {
        Flat {
            version: VERSION,
            links: snapshot.links.into_values().collect(),
            addresses: in_order(snapshot.addresses),
            routes: snapshot.routes.into_values().flatten().collect(),
            rules: snapshot.rules.into_values().flatten().collect(),
            nexthops: snapshot.nexthops.into_values().collect(),
            table_names: snapshot.table_names,
            hints: snapshot.hints,
            sysctls: snapshot.sysctls,
            raised: snapshot.raised,
            netfilter: snapshot.netfilter,
            neighbours: snapshot.neighbours,
            labels: snapshot.labels,
            host: snapshot.host,
            incomplete: snapshot.incomplete,
        }
    }
}

fn in_order(addresses: BTreeMap<AddressKey, (Address, Rank)>) -> Vec<Address> {
    let mut ordered: Vec<(Address, Rank)> = addresses.into_values().collect();
    ordered.sort_by_key(|(address, rank)| (address.link, address.family(), rank.0));
    ordered.into_iter().map(|(a, _)| a).collect()
}
