//! A host for the tests of formats: ens5 and ens6 in two subnets, and docker0.

pub(crate) mod ip;
pub(crate) mod yaml;

use std::collections::BTreeMap;
use std::net::IpAddr;

use multihome_core::model::{Action, Address, Names, Rule};
use multihome_core::prefix::{Family, Prefix};

use crate::Known;

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// An address that a link has for good: `10.0.1.204/24`.
pub(crate) fn held(link: u32, cidr: &str) -> Address {
    let (local, len) = cidr.split_once('/').unwrap();
    let (local, prefix_len) = (address(local), len.parse().unwrap());
    Address { link, local, prefix_len, peer: None, scope: 0, flags: 0x80 }
}

/// A rule of nobody's.
pub(crate) fn rule(family: Family, priority: u32, action: Action) -> Rule {
    Rule { protocol: 0, ..Rule::new(family, priority, action) }
}

/// The permanent address of a card.
pub(crate) fn mac(link: u32) -> String {
    format!("02:00:00:00:00:{link:02x}")
}

/// The names of its links.
pub(crate) fn names() -> Names {
    let links = [(1, "lo"), (2, "ens5"), (3, "ens6"), (4, "docker0")];
    Names {
        links: links.map(|(link, name)| (link, name.to_owned())).into(),
        tables: BTreeMap::new(),
    }
}

/// What they mean.
pub(crate) fn known() -> Known {
    Known {
        links: names().links.into_iter().map(|(link, name)| (name, link)).collect(),
        macs: [2, 3].map(|link| (mac(link), link)).into(),
        tables: [("main", 254), ("local", 255), ("default", 253)]
            .map(|(name, table)| (name.to_owned(), table))
            .into(),
        gateways: ["10.0.1.1", "fe80::1"]
            .map(address)
            .map(|gateway| ((3, Family::of(gateway)), gateway))
            .into(),
    }
}
