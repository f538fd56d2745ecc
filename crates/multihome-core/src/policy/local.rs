//! What is local, network by network, for formats that cannot pass over the uplinks' group.
//!
//! `lookup main suppress_prefixlength 7 suppress_ifgroup G` asks main and passes over answers that
//! leave by an uplink. Without the group each network that main reaches otherwise gets a rule of its
//! own, less what uplinks reach inside it: a route of main's that is narrower would be found there.

use std::collections::BTreeSet;

use crate::model::{RouteKind, Rule, Snapshot};
use crate::prefix::{Family, Prefix};
use crate::rules::suppressed_length;

/// The networks of a table that do not leave by `uplinks`, without what does.
pub(super) fn networks(
    snapshot: &Snapshot,
    family: Family,
    table: u32,
    uplinks: &BTreeSet<u32>,
) -> Vec<Prefix> {
    let shortest = suppressed_length(family);
    let routes = || {
        let of_family = snapshot.routes_in(table).filter(move |r| r.family() == family);
        of_family.filter(move |r| {
            r.kind == RouteKind::Unicast
                && u32::from(r.dst.len()) > shortest
                && r.src.is_none()
                && !r.is_expired()
        })
    };
    let leaves = |hop: u32| uplinks.contains(&hop);
    let mut own = BTreeSet::new();
    let mut holes = BTreeSet::new();
    for route in routes() {
        if route.hops.iter().any(|h| leaves(h.link)) {
            holes.insert(route.dst);
        } else {
            own.insert(route.dst);
        }
    }
    // Every card has it, and no answer to it is chosen by a table.
    own.retain(|p| !is_link_local(p));
    // A network beside another route of the same prefix is no hole in itself: which of the two counts
    // is the metric's to say, and main says it.
    let mut out: Vec<Prefix> = Vec::new();
    for prefix in &own {
        if out.iter().any(|wider| wider.covers(prefix)) {
            continue;
        }
        let inside: Vec<Prefix> =
            holes.iter().filter(|h| prefix.covers(h) && !own.contains(h)).copied().collect();
        subtract(*prefix, &inside, &mut out);
    }
    out
}

fn is_link_local(prefix: &Prefix) -> bool {
    match prefix.address() {
        std::net::IpAddr::V6(a) => a.is_unicast_link_local() || a.is_multicast(),
        std::net::IpAddr::V4(_) => false,
    }
}

/// The fewest prefixes that hold what is in `prefix` and in none of `holes`.
fn subtract(prefix: Prefix, holes: &[Prefix], out: &mut Vec<Prefix>) {
    if holes.iter().any(|h| h.covers(&prefix)) {
        return;
    }
    let inside: Vec<Prefix> = holes.iter().filter(|h| prefix.covers(h)).copied().collect();
    if inside.is_empty() {
        out.push(prefix);
        return;
    }
    let family = prefix.family();
    let len = prefix.len() + 1;
    let half = 1 << (family.bits() - len);
    for bits in [prefix.bits(), prefix.bits() | half] {
        subtract(Prefix::from_bits(family, bits, len), &inside, out);
    }
}

/// A rule that passes over the group, said network by network.
pub(super) fn spelt_out(rule: &Rule, networks: &[Prefix]) -> Vec<Rule> {
    let within = |network: &Prefix| match rule.to {
        None => Some(*network),
        Some(to) if to.covers(network) => Some(*network),
        Some(to) if network.covers(&to) => Some(to),
        Some(_) => None,
    };
    let spelt = |to: Prefix| Rule {
        to: Some(to),
        suppress_ifgroup: None,
        suppress_prefixlength: None,
        ..rule.clone()
    };
    networks.iter().filter_map(within).map(spelt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_out_of_a_network_leaves_the_fewest_pieces() {
        let prefix = |text: &str| -> Prefix { text.parse().unwrap() };
        let mut out = Vec::new();
        subtract(prefix("10.0.0.0/8"), &[prefix("10.128.0.0/10"), prefix("10.0.0.0/9")], &mut out);
        assert_eq!(out, [prefix("10.192.0.0/10")]);
        out.clear();
        subtract(prefix("10.0.0.0/30"), &[prefix("10.0.0.1")], &mut out);
        assert_eq!(out, [prefix("10.0.0.0"), prefix("10.0.0.2/31")]);
    }
}
