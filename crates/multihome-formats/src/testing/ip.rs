//! Policies for tests, and what the writers and readers of `ip`'s words have in common.

use std::collections::{BTreeMap, BTreeSet};

use multihome_core::model::route::{RTNH_F_ONLINK, RTPROT_BOOT, SCOPE_LINK};
use multihome_core::model::{Action, Hop, Route, RouteKind, Rule};
use multihome_core::policy::{Entry, Part, Policy, Purpose};
use multihome_core::prefix::{Family, Prefix};

use super::{address, held, known, mac, names, rule};
use crate::{Export, Format, Tree, What, export, import};

/// Two uplinks in two subnets, both families, as a format has them that can say everything.
pub(crate) fn two_subnets() -> Policy {
    Policy {
        parts: vec![
            part(2, "ens5", "10.0.0.129/24", "10.0.0.1", "2001:db8:a::129/64", "fe80::1"),
            part(3, "ens6", "10.0.1.204/24", "10.0.1.1", "2001:db8:b::204/64", "fe80::2"),
        ],
        ..Policy::default()
    }
}

/// The same with names of tables, and all that is odd: metrics of a path, a gateway that no network
/// holds, a second default, several ways, refusals, jumps, marks, and a choice by port and user.
pub(crate) fn odd() -> Policy {
    let mut policy = two_subnets();
    policy.table_names = BTreeMap::from([(10_002, "mgt".into()), (10_003, "data".into())]);
    let [first, second] = policy.parts.as_mut_slice() else { panic!("two parts") };
    let first_default = &mut first.routes[1].what;
    first_default.metrics.values =
        BTreeMap::from([(1, 1 << 2 | 1 << 13), (2, 1400), (4, 80), (13, 5)]);
    first_default.metrics.congctl = Some("bbr".into());
    first_default.hops[0].flags = RTNH_F_ONLINK;
    let network = |route: Route| Entry { what: route, purpose: Purpose::Network };
    second.routes.insert(
        1,
        network(Route {
            protocol: RTPROT_BOOT,
            metric: 50,
            hops: vec![
                Hop { weight: 9, ..Hop::via(address("10.0.1.7"), 3) },
                Hop { flags: RTNH_F_ONLINK, ..Hop::via(address("10.9.9.9"), 3) },
            ],
            tos: 0x10,
            ..Route::new(10_003, "192.168.0.0/16".parse().unwrap())
        }),
    );
    second.routes.insert(
        2,
        network(Route {
            protocol: RTPROT_BOOT,
            kind: RouteKind::Throw,
            ..Route::new(10_003, "192.168.9.0/24".parse().unwrap())
        }),
    );
    second.routes.push(Entry {
        what: Route {
            protocol: RTPROT_BOOT,
            metric: 1025,
            preference: 3,
            hops: vec![Hop::via(address("fe80::3"), 3)],
            ..Route::new(10_003, Family::V6.all())
        },
        purpose: Purpose::Default,
    });
    let entry = |purpose, rule| Entry { what: rule, purpose };
    second.rules.splice(
        0..0,
        [
            entry(
                Purpose::Jump,
                Rule {
                    from: Some("10.0.0.0/23".parse().unwrap()),
                    not: true,
                    ..rule(Family::V4, 5000, Action::Goto(9999))
                },
            ),
            entry(
                Purpose::Mark,
                Rule {
                    fwmark: Some((0x10000, 0xff0000)),
                    iif: Some("docker0".into()),
                    ..rule(Family::V4, 5001, Action::Lookup(10_003))
                },
            ),
            entry(
                Purpose::Steer,
                Rule {
                    ipproto: Some(6),
                    dport: Some((25, 25)),
                    sport: Some((1024, 2000)),
                    uidrange: Some((1000, 1001)),
                    ..rule(Family::V4, 5002, Action::Lookup(10_003))
                },
            ),
            entry(Purpose::Jump, rule(Family::V4, 9999, Action::Nop)),
        ],
    );
    policy
}

/// What is there when a format has no word for link groups: a rule for each local network.
pub(crate) fn without_groups(mut policy: Policy) -> Policy {
    for part in &mut policy.parts {
        part.group = None;
        for rule in part.rules.iter_mut().map(|e| &mut e.what) {
            if rule.suppress_ifgroup.take().is_some() {
                rule.suppress_prefixlength = None;
                let local =
                    if rule.family == Family::V4 { "172.17.0.0/16" } else { "fd00:17::/64" };
                rule.to = Some(local.parse().unwrap());
            }
        }
    }
    policy
}

/// What is written, and what is written over it, are read back as they were.
#[track_caller]
pub(crate) fn assert_comes_back(format: Format, policy: &Policy, there: &Tree) -> Export {
    let exported = export(format, policy, &names(), there);
    let mut tree = there.clone();
    tree.extend(exported.files.iter().map(|f| (f.path.clone(), f.text.clone())));
    let again = export(format, policy, &names(), &tree);
    assert_eq!(again.files, exported.files, "a second export changes nothing");
    assert_eq!(again.next, exported.next);
    let statements = import(format, &tree, &known()).unwrap_or_else(|p| panic!("{p}"));
    let mut routes = BTreeSet::new();
    let mut rules = BTreeSet::new();
    let mut tables = BTreeMap::new();
    for statement in statements {
        match statement.what {
            What::Route(route) => drop(routes.insert(route)),
            What::Rule(rule) => drop(rules.insert(rule)),
            What::TableName(id, name) => drop(tables.insert(id, name)),
            What::Group(link, group) => {
                let part = policy.parts.iter().find(|p| p.link == link).unwrap();
                assert_eq!(part.group, Some(group));
            }
        }
    }
    let parts = || policy.parts.iter();
    let expected: BTreeSet<Route> =
        parts().flat_map(|p| &p.routes).map(|e| e.what.clone()).collect();
    assert_eq!(routes, expected);
    let expected: BTreeSet<Rule> = parts().flat_map(|p| &p.rules).map(|e| e.what.clone()).collect();
    assert_eq!(rules, expected);
    assert_eq!(tables, policy.table_names);
    exported
}

/// The text of a file that was written.
#[track_caller]
pub(crate) fn text<'a>(export: &'a Export, path: &str) -> &'a str {
    let file = export.files.iter().find(|f| f.path == path);
    let paths: Vec<&str> = export.files.iter().map(|f| f.path.as_str()).collect();
    &file.unwrap_or_else(|| panic!("{path} is none of {paths:?}")).text
}

fn part(link: u32, name: &str, v4: &str, gateway4: &str, v6: &str, gateway6: &str) -> Part {
    let mut part = Part {
        link,
        name: name.to_owned(),
        mac: Some(mac(link)),
        addresses: vec![held(link, v4), held(link, v6)],
        leased: BTreeSet::new(),
        gateways: vec![address(gateway4), address(gateway6)],
        metrics: BTreeMap::new(),
        leased_gateways: vec![address(gateway4), address(gateway6)],
        group: Some(10_000),
        routes: Vec::new(),
        rules: Vec::new(),
    };
    let table = 10_000 + link;
    for (cidr, gateway) in [(v4, gateway4), (v6, gateway6)] {
        let own = held(link, cidr);
        let (family, network) = (own.family(), own.network());
        let v4 = family == Family::V4;
        let prefsrc = v4.then_some(own.local);
        let base = |dst| Route { protocol: RTPROT_BOOT, ..Route::new(table, dst) };
        let connected = Route {
            prefsrc,
            scope: if v4 { SCOPE_LINK } else { 0 },
            hops: vec![Hop::dev(link)],
            ..base(network)
        };
        let default =
            Route { prefsrc, hops: vec![Hop::via(address(gateway), link)], ..base(family.all()) };
        let refusal =
            Route { kind: RouteKind::Unreachable, metric: u32::MAX, ..base(family.all()) };
        let purposes = [Purpose::Network, Purpose::Default, Purpose::Refusal];
        let routes = [connected, default, refusal].into_iter().zip(purposes);
        part.routes.extend(routes.map(|(what, purpose)| Entry { what, purpose }));

        let source = if v4 { Prefix::host(own.local) } else { network };
        let iif = (!v4).then(|| "lo".to_owned());
        let base = |priority, table| rule(family, priority, Action::Lookup(table));
        let local = Rule {
            from: Some(source),
            iif: iif.clone(),
            suppress_prefixlength: Some(if v4 { 7 } else { 4 }),
            suppress_ifgroup: Some(10_000),
            ..base(10_000, 254)
        };
        let home = Rule { from: Some(source), iif, ..base(10_000 + link, table) };
        let bound = Rule { oif: Some(name.to_owned()), ..base(42_768 + link, table) };
        let purposes = [Purpose::Local, Purpose::Home, Purpose::Bound];
        let rules = [local, home, bound].into_iter().zip(purposes);
        part.rules.extend(rules.map(|(what, purpose)| Entry { what, purpose }));
    }
    part
}
