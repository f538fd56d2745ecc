//! The network configuration that cloud-init is given in its own files (version 2). It is written and
//! not read.
//!
//! It replaces what the platform says of the network, all of it, so it has the addresses of each link
//! as well (`Init._find_networking_config`).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use multihome_core::model::Names;
use multihome_core::policy::{Part, Policy, Word};
use multihome_core::prefix::Family;

use crate::comments;
use crate::yaml::scalar;
use crate::{Export, File, Place, netplan};

const FILE: &str = "/etc/cloud/cloud.cfg.d/99-multihome-network.cfg";

/// What stands above it.
const CONSEQUENCE: &str = "\
# While this file is here, cloud-init does not ask the platform about the network: what is not below
# is not configured, and a card that is attached later is none of its business.
# Only for hosts where cloud-init writes for netplan. What it writes for others has no rules and no
# tables: networkd and NetworkManager would get these routes in main, and with eni (ifupdown) it
# stops at a route without a gateway and configures nothing.
";

/// What it hands to netplan as it stands.
pub(crate) fn words() -> BTreeSet<Word> {
    netplan::words()
}

pub(crate) fn places() -> Vec<Place> {
    Vec::new()
}

pub(crate) fn export(policy: &Policy, names: &Names) -> Export {
    if policy.parts.is_empty() {
        return Export::default();
    }
    let mut text = comments::HEAD.to_owned();
    text += CONSEQUENCE;
    text += &comments::gaps(policy, names, None);
    let left_out = policy.parts.iter().filter(|p| !comments::is_sayable(p));
    text.extend(left_out.map(comments::refusal));
    text += "network:\n  version: 2\n  ethernets:\n";
    let parts = policy.parts.iter().filter(|p| comments::is_sayable(p));
    text.extend(parts.map(ethernet));
    let again = ["cloud-init clean --logs", "reboot"].map(str::to_owned);
    Export {
        files: vec![File { path: FILE.to_owned(), mode: 0o600, text, extends: false }],
        next: again.to_vec(),
        undo: [vec![format!("rm {FILE}")], again.to_vec()].concat(),
    }
}

fn ethernet(part: &Part) -> String {
    let name = scalar(&part.name);
    let mut text = format!("    {name}:\n");
    if let Some(mac) = &part.mac {
        let mac = scalar(mac);
        let _ = write!(text, "      match:\n        macaddress: {mac}\n      set-name: {name}\n");
    }
    let is_leased = |family| part.leased.contains(&family);
    if is_leased(Family::V4) {
        text += "      dhcp4: true\n";
    }
    if is_leased(Family::V6) {
        text += "      dhcp6: true\n";
    } else {
        text += "      accept-ra: false\n";
    }
    let mut fixed = part.addresses.iter().filter(|a| !is_leased(a.family())).peekable();
    if fixed.peek().is_some() {
        text += "      addresses:\n";
    }
    for address in fixed {
        let address = format!("{}/{}", address.local, address.prefix_len);
        let _ = writeln!(text, "        - {}", scalar(&address));
    }
    if !part.rules.is_empty() {
        text += "      routing-policy:\n";
        text += &netplan::rules(&part.rules, "        ");
    }
    text += "      routes:\n";
    let is_fixed = |gateway: &&IpAddr| !is_leased(Family::of(**gateway));
    for gateway in part.gateways.iter().filter(is_fixed) {
        let all = scalar(&Family::of(*gateway).all().to_string());
        let _ =
            write!(text, "        - to: {all}\n          via: {}\n", scalar(&gateway.to_string()));
        if let Some(metric) = part.metrics.get(gateway) {
            let _ = writeln!(text, "          metric: {metric}");
        }
    }
    text += &netplan::routes(&part.routes, "        ");
    text
}

#[cfg(test)]
mod tests {
    use multihome_core::prefix::Family;

    use crate::testing::known;
    use crate::testing::yaml::{files, found, objects, policy};
    use crate::{Format, Tree, yaml};

    use super::FILE;

    #[test]
    fn it_holds_the_addresses_as_well() {
        let mut policy = policy(Format::CloudInit);
        let text = files(Format::CloudInit, &policy, &Tree::new())[FILE].clone();
        let expected = "    ens6:\n      match:\n        macaddress: \"02:00:00:00:00:03\"\n      \
            set-name: ens6\n      accept-ra: false\n      addresses:\n        - 10.0.1.204/24\n";
        assert!(text.contains(expected), "{text}");
        policy.parts[0].leased.extend(Family::BOTH);
        let text = files(Format::CloudInit, &policy, &Tree::new())[FILE].clone();
        assert!(
            text.contains("      dhcp4: true\n      dhcp6: true\n      routing-policy:\n"),
            "{text}"
        );
        assert!(yaml::read(FILE, &text).unwrap().is_some());
    }

    #[test]
    fn what_netplan_gets_is_the_policy() {
        let mut policy = policy(Format::CloudInit);
        policy.parts[0].gateways.clear();
        let text = files(Format::CloudInit, &policy, &Tree::new())[FILE].clone();
        let there = Tree::from([("/etc/netplan/50-cloud-init.yaml".to_owned(), text)]);
        let statements = crate::import(Format::Netplan, &there, &known()).unwrap();
        assert_eq!(found(&statements), objects(&policy, 4));
    }
}
