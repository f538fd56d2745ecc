//! Shortcuts that must not change what comes out, tried on small random hosts; and what is right.

use std::net::IpAddr;

use proptest::prelude::*;

use super::classes::Classes;
use super::*;
use crate::diff::diff;
use crate::lookup::{Answer, Outcome};
use crate::memory::Memory;
use crate::model::names::TABLE_MAIN;
use crate::model::{Action, Hop, Link, RouteKind, sysctl};
use crate::plan;
use crate::prefix::{Prefix, bits_address};
use crate::suppose::{add_address, take};

// ===== hosts =====

fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.into(),
        kind: (name == "br0").then(|| "bridge".into()),
        arphrd: if index == 1 { 772 } else { 1 },
        flags: if index == 1 { 0x1_0049 } else { 0x1_1043 },
        master: None,
        group: 0,
        address: Some(format!("52:54:00:00:00:{index:02x}")),
        permanent_address: (index > 1).then(|| format!("52:54:00:00:00:{index:02x}")),
        carrier_changes: 2,
        mtu: 1500,
    }
}

/// Loopback, two cards and a bridge, each with its network in both families, and the kernel's rules.
fn host() -> Snapshot {
    let mut host = Snapshot::default();
    for (index, name) in [(1, "lo"), (2, "ens5"), (3, "ens6"), (4, "br0")] {
        host.insert_link(link(index, name));
    }
    for (family, priority, table) in [
        (Family::V4, 0, 255),
        (Family::V4, 32766, 254),
        (Family::V4, 32767, 253),
        (Family::V6, 0, 255),
        (Family::V6, 32766, 254),
    ] {
        let rule = Rule::new(family, priority, Action::Lookup(table));
        host.insert_rule(Rule { protocol: 2, ..rule });
    }
    for (index, v4, v6) in [
        (1, "127.0.0.1/8", "::1/128"),
        (2, "10.0.0.5/24", "2001:db8:a::5/64"),
        (3, "10.0.1.5/24", "2001:db8:b::5/64"),
        (4, "172.17.0.1/16", "2001:db8:c::1/64"),
    ] {
        for address in [v4, v6] {
            let (address, len) = address.split_once('/').unwrap();
            add_address(&mut host, index, address.parse().unwrap(), len.parse().unwrap()).unwrap();
        }
    }
    for (gateway, link, metric) in
        [("10.0.0.1", 2, 0), ("10.0.1.1", 3, 100), ("fe80::a", 2, 1024), ("fe80::b", 3, 1025)]
    {
        let gateway: IpAddr = gateway.parse().unwrap();
        let hops = vec![Hop::via(gateway, link)];
        let route = Route::new(TABLE_MAIN, Family::of(gateway).all());
        host.insert_route(Route { hops, metric, protocol: 16, ..route });
    }
    for name in ["all", "ens5", "ens6", "br0", "lo"] {
        host.sysctls.insert(sysctl::conf(Family::V4, name, "rp_filter"), "0");
        host.sysctls.insert(sysctl::conf(Family::V4, name, "forwarding"), "1");
    }
    host.sysctls.insert(sysctl::conf(Family::V6, "all", "forwarding"), "1");
    host
}

fn filtering(mut host: Snapshot, value: &str) -> Snapshot {
    host.sysctls.insert(sysctl::conf(Family::V4, "all", "rp_filter"), value);
    host
}

fn managed(mut host: Snapshot, config: &Config) -> Snapshot {
    let changes = diff(&host, &plan::make(&host, config, &Memory::default()));
    take(&mut host, &changes);
    host
}

fn report(host: &Snapshot, config: &Config) -> Report {
    verify(host, config, &plan::make(host, config, &Memory::default()))
}

/// Each finding in one line: failure, source, destination, the link that it came in by, fault.
fn lines(report: &Report) -> Vec<String> {
    let all = report.wrong.iter().chain(&report.unproven);
    let mut lines: Vec<String> = all
        .map(|f| {
            let fault = match &f.fault {
                Fault::Door { by, right, .. } => format!("by {by}, not {right:?}"),
                Fault::Refused { error, .. } => format!("refused {}", error.name()),
                other => format!("{other:?}"),
            };
            let from = f.flow.from.map_or_else(String::new, |a| a.to_string());
            format!("{:?} {from} {} {:?} {fault}", f.failed, f.flow.to, f.flow.iif)
        })
        .collect();
    lines.sort();
    lines
}

fn config(text: &str) -> Config {
    Config::parse([("config.toml", text)]).unwrap()
}

// ===== what is right =====

#[test]
fn without_multihome_the_second_card_answers_by_the_first() {
    let report = report(&host(), &Config::default());
    let lines = lines(&report);
    assert!(!report.is_right() && report.unproven.is_empty(), "{lines:#?}");
    let has = |line: &str| assert!(lines.iter().any(|l| l == line), "no {line} in {lines:#?}");
    has("None 10.0.1.5 198.51.100.7 None by 2, not [3]");
    has("None 2001:db8:b::5 2001:db8:ffff:ffff::7 None by 2, not [3]");
    // A client on the other card's subnet.
    has("None 10.0.0.5 10.0.1.13 None by 3, not [2]");
    // Down, it answers by the other one.
    has("Some(Down(2)) 10.0.0.5 198.51.100.7 None by 3, not [2]");
}

#[test]
fn with_multihome_all_is_right() {
    for filter in ["0", "1", "2"] {
        let host = filtering(managed(host(), &Config::default()), filter);
        let report = report(&host, &Config::default());
        assert!(report.is_right(), "rp_filter {filter}: {:#?}", lines(&report));
        assert_eq!(report.addresses, 6);
        assert_eq!(report.failures.len(), 4);
        assert!(report.accepted.is_empty());
        assert!(report.questions > 100 && report.classes > 10, "{report:?}");
    }
}

#[test]
fn without_sysctls_the_way_in_is_not_proven() {
    let mut host = managed(host(), &Config::default());
    host.sysctls = sysctl::Sysctls::default();
    let report = report(&host, &Config::default());
    assert!(report.wrong.is_empty() && !report.is_right());
    let unknown = |f: &Finding| f.fault == Fault::Unproven(Reason::Unknown("rp_filter"));
    assert!(report.unproven.iter().all(|f| unknown(f) && f.flow.iif.is_some()));
}

#[test]
fn the_reverse_path_filter_drops_what_comes_in_by_the_second_door() {
    let report = report(&filtering(host(), "1"), &Config::default());
    let line = "None 198.51.100.7 10.0.1.5 Some(3) ReversePath";
    assert!(lines(&report).iter().any(|l| l == line), "{:#?}", lines(&report));
}

#[test]
fn a_bridge_that_is_not_reached_is_a_counterexample() {
    let mut host = managed(host(), &Config::default());
    let local = |r: &&Rule| r.suppress_ifgroup.is_some() && r.family == Family::V4;
    for rule in host.rules().filter(local).cloned().collect::<Vec<_>>() {
        host.remove_rule(&rule);
    }
    let report = report(&host, &Config::default());
    let line = "None 10.0.1.5 172.17.0.9 None by 3, not [4]";
    assert!(lines(&report).iter().any(|l| l == line), "{:#?}", lines(&report));
}

#[test]
fn without_the_refusal_a_link_that_goes_down_leaks() {
    let mut host = managed(host(), &Config::default());
    host.remove_routes(|r| r.is_ours() && r.kind == RouteKind::Unreachable);
    let report = report(&host, &Config::default());
    assert!(report.wrong.iter().all(|f| f.failed.is_some()), "{:#?}", lines(&report));
    let line = "Some(Down(3)) 10.0.1.5 198.51.100.7 None by 2, not [3]";
    assert!(lines(&report).iter().any(|l| l == line), "{:#?}", lines(&report));
}

#[test]
fn what_the_configuration_asks_for_is_accepted() {
    let primary = config("primary = \"ens5\"");
    let left = report(&managed(filtering(host(), "1"), &primary), &primary);
    assert!(left.is_right(), "{:#?}", lines(&left));
    assert!(left.accepted.contains_key(&Accepted::Primary(2)));
    // Main's default leads elsewhere: that is not what `primary` is for.
    let wrong = config("primary = \"ens6\"");
    let left = report(&managed(host(), &wrong), &wrong);
    let line = "None 10.0.1.5 198.51.100.7 None by 2, not [3]";
    assert!(lines(&left).iter().any(|l| l == line), "{:#?}", lines(&left));

    let falling = config("[interface.ens6]\non_down = \"fallthrough\"");
    let left = report(&managed(host(), &falling), &falling);
    assert!(left.is_right(), "{:#?}", lines(&left));
    assert!(left.accepted.contains_key(&Accepted::Fallthrough(3)));
}

#[test]
fn what_main_refuses_of_a_network_is_refused() {
    let mut host = host();
    let private = Route::new(TABLE_MAIN, "10.0.0.0/8".parse().unwrap());
    host.insert_route(Route { kind: RouteKind::Unreachable, protocol: 3, ..private });
    let host = managed(host, &Config::default());
    let report = report(&host, &Config::default());
    assert!(report.is_right(), "{:#?}", lines(&report));
}

// ===== random hosts =====

fn prefix(family: Family) -> BoxedStrategy<Prefix> {
    let base: Vec<&'static str> = match family {
        Family::V4 => vec!["10.0.0.0", "10.0.1.0", "10.0.0.64", "172.17.0.0", "198.51.100.0"],
        Family::V6 => {
            vec!["2001:db8:a::", "2001:db8:b::", "2001:db8::", "fe80::", "2001:db8:c::40"]
        }
    };
    let lens: Vec<u8> = match family {
        Family::V4 => vec![0, 1, 8, 16, 23, 24, 26, 32],
        Family::V6 => vec![0, 3, 10, 32, 48, 64, 127, 128],
    };
    (prop::sample::select(base), prop::sample::select(lens))
        .prop_map(|(base, len)| Prefix::new(base.parse().unwrap(), len))
        .boxed()
}

fn route() -> impl Strategy<Value = Route> {
    let family = prop::sample::select(vec![Family::V4, Family::V6]);
    family.prop_flat_map(|family| {
        let src = prop::option::weighted(0.2, prefix(Family::V6));
        let kind = prop::sample::select(vec![
            RouteKind::Unicast,
            RouteKind::Unicast,
            RouteKind::Unicast,
            RouteKind::Unreachable,
            RouteKind::Throw,
        ]);
        let table = prop::sample::select(vec![254u32, 254, 10_002, 10_003, 7]);
        let hops = prop::collection::vec((2u32..=4, any::<bool>()), 1..=2);
        let shape = (any::<bool>(), 1u32..4, 0u8..4);
        (prefix(family), table, kind, hops, src, shape).prop_map(
            move |(dst, table, kind, hops, src, (ours, metric, preference))| {
                let mut route = Route::new(table, dst);
                route.kind = kind;
                route.metric = metric;
                if kind == RouteKind::Unicast {
                    let gateway: IpAddr = match family {
                        Family::V4 => "10.0.0.9".parse().unwrap(),
                        Family::V6 => "fe80::9".parse().unwrap(),
                    };
                    route.hops = hops
                        .into_iter()
                        .map(|(link, direct)| Hop {
                            link,
                            gateway: (!direct).then_some(gateway),
                            ..Hop::default()
                        })
                        .collect();
                    route.hops.dedup_by_key(|h| h.link);
                }
                if family == Family::V6 {
                    route.src = src;
                    route.preference = preference;
                }
                route.protocol = if ours { 177 } else { 3 };
                route
            },
        )
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let family = prop::sample::select(vec![Family::V4, Family::V6]);
    family.prop_flat_map(|family| {
        let action = prop::sample::select(vec![
            Action::Lookup(254),
            Action::Lookup(254),
            Action::Lookup(10_002),
            Action::Lookup(10_003),
            Action::Lookup(7),
            Action::Unreachable,
            Action::Goto(32_000),
        ]);
        let names = prop::sample::select(vec!["lo", "ens5", "ens6"]);
        let iif = prop::option::weighted(0.2, names);
        let optional = || prop::option::weighted(0.4, prefix(family));
        let suppress = (
            prop::option::weighted(0.4, prop::sample::select(vec![0u32, 7, 23])),
            prop::option::weighted(0.4, prop::sample::select(vec![0u32, 10_000])),
        );
        (optional(), optional(), action, 1u32..31_000, iif, suppress, prop::bool::weighted(0.1))
            .prop_map(move |(from, to, action, priority, iif, suppress, not)| Rule {
                from,
                to,
                iif: iif.map(str::to_owned),
                suppress_prefixlength: suppress.0,
                suppress_ifgroup: suppress.1,
                not,
                protocol: 3,
                ..Rule::new(family, priority, action)
            })
    })
}

fn random_host() -> impl Strategy<Value = Snapshot> {
    let routes = prop::collection::vec(route(), 0..12);
    let rules = prop::collection::vec(rule(), 0..5);
    let more = prop::collection::vec((2u32..=4, 0u8..4, 6u8..9), 0..3);
    (routes, rules, more, any::<bool>(), prop::sample::select(vec!["0", "1", "2"])).prop_map(
        |(routes, rules, more, apply, filter)| {
            let mut host = host();
            for (link, subnet, last) in more {
                let local: IpAddr = format!("10.0.{subnet}.{last}").parse().unwrap();
                let _ = add_address(&mut host, link, local, 24);
            }
            if apply {
                host = managed(host, &Config::default());
            }
            routes.into_iter().for_each(|r| host.insert_route(r));
            rules.into_iter().for_each(|r| host.insert_rule(r));
            filtering(host, filter)
        },
    )
}

/// An answer, as far as it is not about which of several like routes said so.
fn shape(answer: &Answer<'_>) -> Vec<String> {
    let mut shapes: Vec<String> = answer
        .outcomes
        .iter()
        .map(|o| match o {
            Outcome::Sent(p) => {
                let rule = p.rule.map(|r| r.priority);
                let table = p.route.map(|r| r.table);
                format!("{:?} {} {:?} {rule:?} {table:?}", p.kind, p.link, p.gateway)
            }
            Outcome::Refused { error, by } => {
                format!("{error:?} {}", format!("{by:?}").split(['(', ' ']).next().unwrap())
            }
        })
        .collect();
    shapes.extend(answer.doubts.iter().map(|d| format!("{d:?}")));
    shapes.sort();
    shapes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn all_addresses_of_a_class_are_treated_alike(
        host in random_host(),
        at in prop::collection::vec((any::<prop::sample::Index>(), any::<u128>()), 24),
        failed in 1u32..=4,
    ) {
        let families = Family::BOTH.map(|f| (f, Classes::of(&host, f)));
        let mut down = host.clone();
        link_down(&mut down, failed.max(2));
        for host in [&host, &down] {
            let lookup = Lookup::new(host);
            for (family, classes) in &families {
                let own: Vec<IpAddr> = host
                    .addresses()
                    .filter(|a| a.family() == *family && crate::prefix::is_global(a.local))
                    .map(|a| a.local)
                    .collect();
                for (which, offset) in &at {
                    let class = which.get(&classes.classes);
                    let (first, last) = *which.get(&class.intervals);
                    let (first, last) = (address_bits(first), address_bits(last));
                    let span = last - first;
                    let within = if span == u128::MAX { *offset } else { offset % (span + 1) };
                    let other = bits_address(*family, first + within);
                    prop_assert!(class.contains(other));
                    prop_assert_eq!(
                        classes.class_of(other),
                        classes.class_of(class.address)
                    );
                    let is_own = own.contains(&other) || own.contains(&class.address);
                    for from in &own {
                        let ask = |to| shape(&lookup.ask(&Flow::reply(*from, to)));
                        prop_assert_eq!(ask(class.address), ask(other), "{} to {}", from, other);
                        for iif in 2..=4 {
                            let ask = |to| shape(&lookup.ask(&Flow::incoming(iif, to, *from)));
                            if !is_own {
                                prop_assert_eq!(ask(class.address), ask(other));
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn shortcuts_change_nothing(host in random_host(), text in prop::sample::select(vec![
        "", "primary = \"ens5\"", "[interface.ens6]\non_down = \"fallthrough\"",
    ])) {
        let config = config(text);
        let plan = plan::make(&host, &config, &Memory::default());
        let quick = ask_all(&host, &config, &plan, true);
        let slow = ask_all(&host, &config, &plan, false);
        prop_assert_eq!(lines(&quick), lines(&slow));
        prop_assert!(quick.questions <= slow.questions);
        prop_assert_eq!(quick.classes, slow.classes);
    }

    #[test]
    fn a_host_of_two_cards_is_right_with_multihome_whatever_else_is_in_main(
        routes in prop::collection::vec(route(), 0..8),
    ) {
        let mut host = host();
        for route in routes {
            // What other tools may do to main, but for routes by which no answer could be right.
            let is_default = u32::from(route.dst.len()) <= crate::rules::suppressed_length(route.family());
            if route.kind == RouteKind::Unicast && route.hops.len() == 1 && !is_default {
                host.insert_route(Route { table: TABLE_MAIN, src: None, protocol: 3, ..route });
            }
        }
        let host = managed(host, &Config::default());
        let report = report(&host, &Config::default());
        prop_assert!(report.is_right(), "{:#?}", lines(&report));
    }
}
