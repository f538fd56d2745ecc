//! What decides about packets beside links, addresses, rules and routes: sysctls, the neighbours
//! that are gateways, and address labels.
//!
//! A plan depends on a few of them ([`settings_of`]); the others only commands that explain something
//! ask for, once. None of it needs privileges.

use std::collections::BTreeSet;
use std::net::IpAddr;

use multihome_core::model::sysctl::{CONF_V4, CONF_V6, GLOBAL, PLAN_GLOBAL, PLAN_V4, PLAN_V6};
use multihome_core::model::{AddressLabel, Neighbour, Sysctls, label as labels};
use multihome_core::{Family, Snapshot};

use crate::error::Error;
use crate::observe::Kernel;
use crate::uapi::{RTM_NEWADDRLABEL, RTM_NEWNEIGH};
use crate::{label, neighbour, sysctl};

// ===== impl Kernel =====

impl Kernel {
    /// Puts sysctls, gateways' neighbours and address labels into a snapshot.
    ///
    /// What this process may not read, and what this kernel does not have, is absent. A dump that
    /// fails otherwise or is interrupted goes to [`Snapshot::incomplete`].
    pub fn circumstances(&mut self, snapshot: &mut Snapshot) {
        snapshot.sysctls = sysctls(snapshot);
        let mut incomplete = Vec::new();
        snapshot.neighbours = self.neighbours(&gateways(snapshot), &mut incomplete);
        snapshot.labels = self.labels(&mut incomplete);
        snapshot.incomplete.append(&mut incomplete);
    }

    /// The neighbours of these addresses on these links, ordered.
    fn neighbours(
        &mut self,
        of: &BTreeSet<(u32, IpAddr)>,
        incomplete: &mut Vec<String>,
    ) -> Vec<Neighbour> {
        let what = "neighbours";
        let mut undecodable = Vec::new();
        let found = self.collect(what, &mut neighbour::get(), &mut undecodable, |kind, payload| {
            if kind != RTM_NEWNEIGH {
                return Ok(None);
            }
            let found = neighbour::decode(payload)?;
            Ok(found.filter(|n| of.contains(&(n.link, n.address))))
        });
        incomplete.append(&mut undecodable);
        let mut found = or_nothing(found, what, incomplete);
        found.sort();
        found
    }

    /// The address labels, if they are not those that the kernel begins with.
    fn labels(&mut self, incomplete: &mut Vec<String>) -> Option<Vec<AddressLabel>> {
        let what = "address labels";
        let mut undecodable = Vec::new();
        let found = self.collect(what, &mut label::get(), &mut undecodable, |kind, payload| {
            if kind == RTM_NEWADDRLABEL { label::decode(payload) } else { Ok(None) }
        });
        incomplete.append(&mut undecodable);
        let read = found.is_ok();
        let mut found = or_nothing(found, what, incomplete);
        found.sort();
        let mut usual = labels::kernel_default();
        usual.sort();
        (read && found != usual).then_some(found)
    }
}

// ===== helpers =====

/// Every gateway of every route, with the link that it is on.
fn gateways(snapshot: &Snapshot) -> BTreeSet<(u32, IpAddr)> {
    let hops = snapshot.routes().flat_map(|r| &r.hops);
    hops.filter_map(|h| Some((h.link, h.gateway?))).collect()
}

/// The keys that matter of the whole namespace, of `all` and `default`, and of each link that has
/// an address of the family or is up.
fn sysctls(snapshot: &Snapshot) -> Sysctls {
    let links = |family| {
        let mut links: BTreeSet<u32> =
            snapshot.addresses().filter(|a| a.family() == family).map(|a| a.link).collect();
        links.extend(snapshot.links().filter(|l| l.is_up()).map(|l| l.index));
        let names = links.into_iter().filter_map(|index| snapshot.link(index));
        ["all", "default"].into_iter().chain(names.map(|l| l.name.as_str())).collect()
    };
    read(&GLOBAL, [(Family::V4, &CONF_V4), (Family::V6, &CONF_V6)], links)
}

/// The sysctls that a plan depends on, of the whole namespace, of `all`, and of each link that is up; and
/// those that were raised.
#[must_use]
pub fn settings_of(snapshot: &Snapshot) -> Sysctls {
    let links = |_| {
        let up = snapshot.links().filter(|l| l.is_up()).map(|l| l.name.as_str());
        std::iter::once("all").chain(up).collect()
    };
    let raised: Vec<&str> = snapshot.raised.keys().map(String::as_str).collect();
    let global = [&PLAN_GLOBAL[..], &raised].concat();
    read(&global, [(Family::V4, &PLAN_V4), (Family::V6, &PLAN_V6)], links)
}

/// What these paths say, and these keys of the links of each family.
fn read<'a>(
    paths: &[&str],
    keys: [(Family, &[&str]); 2],
    links: impl Fn(Family) -> Vec<&'a str>,
) -> Sysctls {
    let mut sysctls = Sysctls::default();
    let mut read = |path: String| {
        if let Ok(value) = sysctl::read(&path) {
            sysctls.insert(path, value);
        }
    };
    paths.iter().for_each(|path| read((*path).to_owned()));
    for (family, keys) in keys {
        for link in links(family) {
            keys.iter().for_each(|key| read(sysctl::conf(family, link, key)));
        }
    }
    sysctls
}

fn or_nothing<T>(found: Result<Vec<T>, Error>, what: &str, incomplete: &mut Vec<String>) -> Vec<T> {
    match found {
        Ok(found) => found,
        // A kernel without IPv6 has no labels, and some sandboxes let nobody ask.
        Err(e) if e.is_permission() || e.is_unsupported() => Vec::new(),
        Err(e) => {
            incomplete.push(format!("{what} could not be read: {e}"));
            Vec::new()
        }
    }
}
