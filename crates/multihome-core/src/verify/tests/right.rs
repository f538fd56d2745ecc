//! What is right, and what is not.

use super::*;
use crate::model::RouteKind;

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
    let unknown = |f: &Finding| f.fault == Fault::Unproven(Reason::Unknown(Unknown::RpFilter));
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

/// Somebody's rule for a table that leads out by the first card.
fn by_the_first_card(host: &mut Snapshot, rule: Rule) {
    let table = 7;
    let hops = vec![Hop::via("10.0.0.1".parse().unwrap(), 2)];
    host.insert_route(Route { hops, protocol: 3, ..Route::new(table, Family::V4.all()) });
    host.insert_rule(Rule { protocol: 3, action: Action::Lookup(table), ..rule });
}

fn plain(priority: u32) -> Rule {
    Rule::new(Family::V4, priority, Action::Nop)
}

fn has(report: &Report, line: &str) {
    let lines = lines(report);
    assert!(lines.iter().any(|l| l == line), "no {line} in {lines:#?}");
}

#[test]
fn a_network_of_an_uplink_that_a_vpn_announces_too_is_the_uplinks() {
    // Tailscale with --accept-routes, beside a subnet router for 10.0.1.0/24.
    let vpn = |to: &str| {
        let mut host = managed(host(), &Config::default());
        host.insert_link(Link { arphrd: 65534, ..link(5, "tailscale0") });
        let route = Route::new(52, to.parse().unwrap());
        host.insert_route(Route { hops: vec![Hop::dev(5)], protocol: 3, ..route });
        host.insert_rule(Rule { protocol: 3, action: Action::Lookup(52), ..plain(5270) });
        report(&host, &Config::default())
    };
    has(&vpn("10.0.1.0/24"), "None 10.0.1.5 10.0.1.13 None by 5, not [3]");
    // What is the VPN's alone is reached there.
    assert!(vpn("100.64.0.0/10").is_right());
}

#[test]
fn rules_for_a_port_an_owner_or_a_tos_are_met() {
    let web = Rule { ipproto: Some(6), sport: Some((443, 443)), ..plain(50) };
    let user = Rule { uidrange: Some((1000, 1999)), ..plain(50) };
    let not_udp = Rule { not: true, ipproto: Some(17), ..plain(50) };
    let urgent = Rule { tos: Some(0x10), ..plain(50) };
    let http3 = Rule { dport: Some((1024, 65535)), ..plain(50) };
    for (rule, kind) in [
        (web, Kind { proto: 6, sport: 443, ..Kind::default() }),
        (user, Kind { uid: 1000, ..Kind::default() }),
        (not_udp, Kind::default()),
        (urgent, Kind { tos: 0x10, ..Kind::default() }),
        (http3, Kind { proto: 6, dport: 1024, ..Kind::default() }),
    ] {
        let mut host = managed(host(), &Config::default());
        by_the_first_card(&mut host, rule);
        let report = report(&host, &Config::default());
        let flow = Flow::reply("10.0.1.5".parse().unwrap(), "198.51.100.7".parse().unwrap());
        let flow = flow.of_kind(kind);
        assert!(report.wrong.iter().any(|f| f.flow == flow), "{flow:?}: {:#?}", lines(&report));
        // The plain kind is right, where the rule is not for it.
        let plain_is_wrong = report.wrong.iter().any(|f| f.flow.kind() == Kind::default());
        assert_eq!(plain_is_wrong, kind == Kind::default());
    }
}

#[test]
fn a_rule_for_a_port_of_other_addresses_is_not_asked_about() {
    let mut host = managed(host(), &Config::default());
    let before = report(&host, &Config::default());
    let from = Some("192.0.2.1".parse().unwrap());
    by_the_first_card(&mut host, Rule { from, ipproto: Some(6), ..plain(50) });
    let after = report(&host, &Config::default());
    assert!(after.is_right(), "{:#?}", lines(&after));
    // One more class of destinations: 192.0.2.1.
    assert!(after.questions < before.questions * 2);
}

#[test]
fn what_cannot_be_told_does_not_hide_what_goes_wrong_when_a_link_fails() {
    let mut host = managed(host(), &Config::default());
    host.remove_routes(|r| r.is_ours() && r.kind == RouteKind::Unreachable);
    let unheard_of = vec![(99, vec![1, 2])];
    host.insert_rule(Rule { other: unheard_of, protocol: 3, ..plain(60) });
    let report = report(&host, &Config::default());
    assert!(!report.unproven.is_empty());
    has(&report, "Some(Down(3)) 10.0.1.5 198.51.100.7 None by 2, not [3]");
}

#[test]
fn what_is_refused_for_want_of_a_way_is_right_whatever_the_filter() {
    for filter in ["0", "1", "2"] {
        let mut lost = managed(host(), &Config::default());
        lost.remove_routes(|r| {
            r.dst.is_default() && r.hops.iter().any(|h| h.link == 3) && r.kind == RouteKind::Unicast
        });
        let mut refused = host();
        let private = Route::new(TABLE_MAIN, "10.0.0.0/8".parse().unwrap());
        refused.insert_route(Route { kind: RouteKind::Unreachable, protocol: 3, ..private });
        for host in [lost, managed(refused, &Config::default())] {
            let report = report(&filtering(host, filter), &Config::default());
            assert!(report.is_right(), "rp_filter {filter}: {:#?}", lines(&report));
        }
    }
}

#[test]
fn a_bridge_without_carrier_whose_routes_are_ignored_is_nobodys() {
    let mut host = host();
    for name in ["all", "br0"] {
        let key = sysctl::conf(Family::V4, name, "ignore_routes_with_linkdown");
        host.sysctls.insert(key, "1");
    }
    let mut host = managed(host, &Config::default());
    carrier_lost(&mut host, 4);
    let report = report(&host, &Config::default());
    assert!(report.is_right(), "{:#?}", lines(&report));
}

#[test]
fn an_address_on_two_cards_is_answered_by_either() {
    let mut host = host();
    for link in [2, 3] {
        add_address(&mut host, link, "192.0.2.1".parse().unwrap(), 32).unwrap();
    }
    let host = managed(host, &Config::default());
    let report = report(&host, &Config::default());
    assert!(report.wrong.iter().all(|f| f.failed.is_some()), "{:#?}", lines(&report));
    assert_eq!(report.addresses, 7, "it is one address");
}

#[test]
fn of_equal_ipv6_routes_either_is_right() {
    let mut host = host();
    for (preference, hop) in [(3, Hop::via("fe80::9".parse().unwrap(), 2)), (0, Hop::dev(4))] {
        let route = Route::new(TABLE_MAIN, "2001:db8:a::77/128".parse().unwrap());
        host.insert_route(Route { hops: vec![hop], metric: 3, preference, protocol: 3, ..route });
    }
    let host = managed(host, &Config::default());
    let report = report(&host, &Config::default());
    assert!(report.is_right(), "{:#?}", lines(&report));
}

#[test]
fn as_it_is_means_without_failures() {
    let mut host = managed(host(), &Config::default());
    host.remove_routes(|r| r.is_ours() && r.kind == RouteKind::Unreachable);
    let plan = plan::make(&host, &Config::default(), &Memory::default());
    let report = verify_now(&host, &Config::default(), &plan);
    assert!(report.is_right() && report.failures.is_empty(), "{:#?}", lines(&report));
}

/// Addresses without any order, as clouds hand them out.
#[test]
fn a_thousand_addresses_are_no_thousand_questions() {
    let mut host = host();
    for n in 0..1000u32 {
        let link = 2 + n % 2;
        let last = n.wrapping_mul(2_654_435_761) >> 16;
        let local = format!("10.{}.{}.{}", 8 + link, last >> 8 & 0xff, last & 0xff);
        let _ = add_address(&mut host, link, local.parse().unwrap(), 32);
    }
    let host = managed(host, &Config::default());
    let report = report(&host, &Config::default());
    assert!(report.is_right(), "{:#?}", lines(&report));
    assert!(report.addresses > 900);
    assert!(report.questions < 10_000, "{} questions", report.questions);
}

#[test]
fn an_address_on_two_cards_is_asked_for_at_both() {
    let mut host = host();
    for link in [2, 3] {
        add_address(&mut host, link, "192.0.2.1".parse().unwrap(), 32).unwrap();
    }
    let host = filtering(managed(host, &Config::default()), "1");
    let report = report(&host, &Config::default());
    // Answers leave by one of them, and a strict filter drops what comes in by the other.
    let dropped: Vec<&Finding> = report
        .wrong
        .iter()
        .filter(|f| f.failed.is_none() && matches!(f.fault, Fault::ReversePath { .. }))
        .collect();
    assert!(!dropped.is_empty(), "{:#?}", lines(&report));
    assert!(dropped.iter().all(|f| f.flow.iif == Some(f.owner)), "{dropped:#?}");
}

#[test]
fn a_rule_before_local_tells_requests_apart_too() {
    let mut host = managed(host(), &Config::default());
    let local = host.rules_at(Family::V4, 0)[0].clone();
    host.remove_rule(&local);
    host.insert_rule(Rule { priority: 100, ..local });
    let web = Rule { ipproto: Some(6), dport: Some((80, 80)), ..plain(50) };
    by_the_first_card(&mut host, Rule { iif: Some("ens6".into()), ..web });
    let report = report(&host, &Config::default());
    let found = report.wrong.iter().find(|f| f.flow.iif == Some(3) && f.flow.dport == 80);
    assert!(found.is_some(), "{:#?}", lines(&report));
    assert!(matches!(found.unwrap().fault, Fault::Forwarded { by: 2 }), "{found:?}");
}

#[test]
fn the_extent_is_no_less_than_what_is_asked() {
    let mut host = managed(host(), &Config::default());
    by_the_first_card(&mut host, Rule { ipproto: Some(6), sport: Some((443, 443)), ..plain(50) });
    let plan = plan::make(&host, &Config::default(), &Memory::default());
    let report = verify_now(&host, &Config::default(), &plan);
    // Each answer has its request.
    assert!(report.questions <= 2 * extent(&host), "{} of {}", report.questions, extent(&host));
}
