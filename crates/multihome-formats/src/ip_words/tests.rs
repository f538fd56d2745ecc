use multihome_core::model::route::{RTPROT_BOOT, SCOPE_LINK};
use multihome_core::model::{Action, Hop, Metrics, Route, RouteKind, Rule};
use multihome_core::prefix::{Family, Prefix};
use proptest::prelude::*;

use super::*;
use crate::testing::{address, known, names};
use crate::{Known, shell};

fn words(line: &str) -> Vec<String> {
    shell::commands(line, None).unwrap().into_iter().next().unwrap_or_default()
}

fn read_route(line: &str, family: Option<Family>) -> Result<Route, String> {
    let known = Known { tables: [("mgt".to_owned(), 1)].into(), ..known() };
    route(&words(line), &Context { known: &known, family, dev: None })
}

fn read_rule(line: &str, family: Option<Family>) -> Result<Rule, String> {
    let known = Known { tables: [("mgt".to_owned(), 1)].into(), ..known() };
    let read = rule(&words(line), &Context { known: &known, family, dev: None })?;
    Priorities::default().place(read)
}

#[test]
fn a_route_is_what_the_kernel_has_afterwards() {
    let v4 = |dst: &str| Route { protocol: RTPROT_BOOT, ..Route::new(254, dst.parse().unwrap()) };
    let by = |gateway: &str| vec![Hop::via(address(gateway), 3)];
    for (line, expected) in [
        ("default via 10.0.1.1 dev ens6", Route { hops: by("10.0.1.1"), ..v4("0.0.0.0/0") }),
        (
            "10/8 dev ens6 tab mgt",
            Route { table: 1, scope: SCOPE_LINK, hops: vec![Hop::dev(3)], ..v4("10.0.0.0/8") },
        ),
        (
            "to 10.1.0.0/255.255.0.0 via 10.0.1.1 oif ens6 m 5 pro static",
            Route { metric: 5, protocol: 4, hops: by("10.0.1.1"), ..v4("10.1.0.0/16") },
        ),
        (
            "10.3.0.0/16 via inet6 fe80::1 dev ens6 mtu lock 1400 rtt 10ms rto_min 2s",
            Route {
                hops: by("fe80::1"),
                metrics: Metrics {
                    values: [(1, 1 << 2 | 1 << 13), (2, 1400), (4, 80), (13, 2000)].into(),
                    congctl: None,
                },
                ..v4("10.3.0.0/16")
            },
        ),
        ("default via fe80::1 dev ens6", Route { hops: by("fe80::1"), ..v4("::/0") }),
        ("blackhole 10.0.0.0/8", Route { kind: RouteKind::Blackhole, ..v4("10.0.0.0/8") }),
        (
            "local 10.0.0.7 dev ens6",
            Route {
                kind: RouteKind::Local,
                scope: 254,
                table: 255,
                hops: vec![Hop::dev(3)],
                ..v4("10.0.0.7")
            },
        ),
        (
            "default nexthop via 10.0.1.1 dev ens6 weight 2 nexthop dev ens5",
            Route {
                hops: vec![Hop { weight: 1, ..by("10.0.1.1")[0].clone() }, Hop::dev(2)],
                ..v4("0.0.0.0/0")
            },
        ),
    ] {
        assert_eq!(read_route(line, None).unwrap(), expected, "{line}");
    }
}

#[test]
fn a_rule_is_what_the_kernel_has_afterwards() {
    let rule = |priority, action| Rule { protocol: 0, ..Rule::new(Family::V4, priority, action) };
    let from = |prefix: &str| Some(prefix.parse::<Prefix>().unwrap());
    for (line, expected) in [
        // One less than main's.
        (
            "from 10.0.0.7 table mgt",
            Rule { from: from("10.0.0.7"), ..rule(32_765, Action::Lookup(1)) },
        ),
        (
            "not from 10.0.0.7/24 iif lo pri 0x10 goto 20",
            Rule {
                not: true,
                from: from("10.0.0.0/24"),
                iif: Some("lo".into()),
                ..rule(16, Action::Goto(20))
            },
        ),
        (
            "from all fwmark 0x1 lookup main pref 9 sup_pl 0 suppress_ifgroup default",
            Rule {
                fwmark: Some((1, u32::MAX)),
                suppress_prefixlength: Some(0),
                suppress_ifgroup: Some(0),
                ..rule(9, Action::Lookup(254))
            },
        ),
        (
            "ipproto tcp dport 80-90 sport 7 uidrange 0-5 tos 10 order 1 prohibit",
            Rule {
                ipproto: Some(6),
                dport: Some((80, 90)),
                sport: Some((7, 7)),
                uidrange: Some((0, 5)),
                tos: Some(16),
                ..rule(1, Action::Prohibit)
            },
        ),
    ] {
        assert_eq!(read_rule(line, None).unwrap(), expected, "{line}");
    }
}

#[test]
fn what_is_not_understood_is_named() {
    for (line, why) in [
        ("", "there is no destination"),
        ("default", "neither `via` nor `dev`"),
        ("default via 10.0.1.1", "a gateway without `dev`"),
        ("default via", "nothing stands behind `via`"),
        ("default via 10.0.1.1 dev ens9", "no interface `ens9`"),
        ("default via fe80::1 src 10.0.0.1 dev ens6", "is IPv4, and the rest IPv6"),
        ("10.0.0.1/24 dev ens6", "host bits"),
        ("10.0.0.0/33 dev ens6", "`10.0.0.0/33` is not understood"),
        ("default 10.0.0.0/8 dev ens6", "a second destination"),
        ("default dev ens6 frob 1", "`frob` is not understood"),
        ("default dev ens6 table nosuch", "no table is called `nosuch`"),
        ("default dev ens6 metric x", "`metric`: `x` is no number"),
        ("default dev ens6 metric 99999999999", "is no number"),
        ("unreachable default dev ens6", "leads nowhere"),
        ("default nhid 7", "`nhid` is not read here"),
        ("default dev ens6 nexthop dev ens5", "`nexthop` beside"),
        ("default nexthop weight 300 dev ens5", "1 to 256"),
        ("default nexthop", "a `nexthop` without"),
        ("default dev ens6 rto_min lock 5ms", "`lock` is not understood"),
    ] {
        let said = read_route(line, None).unwrap_err();
        assert!(said.contains(why), "{line}: {said}");
    }
    for (line, why) in [
        ("", "there is no rule"),
        ("from 10.0.0.1 table", "nothing stands behind `table`"),
        ("from 10.0.0.1 frob", "`frob` is not understood"),
        ("from 2001:db8::1 table 5", "needs `ip -6`"),
        ("from 10.0.0.1 table 5 prohibit", "a table and another action"),
        ("pref 10 goto 5", "backwards"),
        ("from 10.0.0.1 table 0", "table 0"),
        ("iif a/b table 5", "no name of an interface"),
        ("dport 80:90 table 5", "`80:90` is not understood"),
        ("dscp 64 table 5", "six bits"),
    ] {
        let said = read_rule(line, None).unwrap_err();
        assert!(said.contains(why), "{line}: {said}");
    }
}

#[test]
fn rules_without_a_priority_go_in_front_of_the_one_before() {
    let known = known();
    let context = Context { known: &known, family: Some(Family::V4), dev: None };
    let mut priorities = Priorities::default();
    let mut place =
        |line: &str| priorities.place(rule(&words(line), &context).unwrap()).map(|r| r.priority);
    assert_eq!(place("from 10.0.0.1 table 5"), Ok(32_765));
    assert_eq!(place("from 10.0.0.2 table 5"), Ok(32_764));
    assert_eq!(place("from 10.0.0.3 table 5 priority 2"), Ok(2));
    assert_eq!(place("from 10.0.0.4 table 5"), Ok(1));
}

// ===== what is written is read as it was =====

fn prefix(family: Family) -> impl Strategy<Value = Prefix> {
    (any::<u128>(), 0..=family.bits()).prop_map(move |(bits, len)| {
        let bits = if family == Family::V4 { bits & 0xffff_ffff } else { bits };
        Prefix::from_bits(family, bits, len)
    })
}

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

fn host(family: Family) -> impl Strategy<Value = std::net::IpAddr> {
    prefix(family).prop_map(|p| p.address())
}

fn hop(family: Family) -> impl Strategy<Value = Hop> {
    let gateway =
        prop_oneof![Just(None), host(family).prop_map(Some), host(Family::V6).prop_map(Some)];
    (1u32..=4, gateway, any::<u8>(), any::<bool>()).prop_map(|(link, gateway, weight, onlink)| {
        Hop { link, gateway, weight, flags: if onlink { 4 } else { 0 }, encap: false }
    })
}

fn metrics() -> impl Strategy<Value = Metrics> {
    let value = prop_oneof![
        (Just(2u16), any::<u32>()),
        (Just(3), any::<u32>()),
        (Just(4), (0u32..1000).prop_map(|n| n * 8)),
        (Just(5), (0u32..1000).prop_map(|n| n * 4)),
        (Just(6), any::<u32>()),
        (Just(7), any::<u32>()),
        (Just(8), any::<u32>()),
        (Just(9), any::<u32>()),
        (Just(10), 0u32..256),
        (Just(11), any::<u32>()),
        (Just(12), Just(1)),
        (Just(13), 0u32..5000),
        (Just(14), any::<u32>()),
        (Just(15), 0u32..2),
        (Just(17), 0u32..2),
    ];
    let some = prop::collection::vec(value, 0..4);
    (some, any::<u32>(), prop::option::of("[a-z]{1,8}")).prop_map(|(some, lock, congctl)| {
        let mut values: std::collections::BTreeMap<u16, u32> = some.into_iter().collect();
        // `ip` reads `lock` behind those, and locks the timer itself.
        let lockable = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14];
        let there = lockable.iter().filter(|n| values.contains_key(n));
        let mut lock = there.fold(0, |all, n| all | (lock & 1 << n));
        if values.contains_key(&13) {
            lock |= 1 << 13;
        }
        if lock != 0 {
            values.insert(1, lock);
        }
        Metrics { values, congctl }
    })
}

fn any_route() -> impl Strategy<Value = Route> {
    family().prop_flat_map(|family| {
        let kind = prop_oneof![
            4 => Just(RouteKind::Unicast),
            1 => prop::sample::select(vec![
                RouteKind::Local,
                RouteKind::Broadcast,
                RouteKind::Anycast,
                RouteKind::Multicast,
                RouteKind::Blackhole,
                RouteKind::Unreachable,
                RouteKind::Prohibit,
                RouteKind::Throw,
            ]),
        ];
        let source = prop::option::of(prefix(family));
        let hops = prop::collection::vec(hop(family), 1..4);
        (
            (1..=u32::MAX, prefix(family), source, any::<u8>(), any::<u32>(), kind),
            (any::<u8>(), any::<u8>(), prop::option::of(host(family)), hops, metrics()),
            prop::sample::select(vec![0u8, 1, 3]),
        )
            .prop_map(move |(key, rest, preference)| {
                let (table, dst, src, tos, metric, kind) = key;
                let (protocol, scope, prefsrc, mut hops, metrics) = rest;
                let v4 = family == Family::V4;
                if let [hop] = hops.as_mut_slice() {
                    hop.weight = 0;
                }
                if matches!(kind.number(), 6..=9) {
                    hops.clear();
                }
                Route {
                    src: src.filter(|s| !s.is_default()),
                    tos: if v4 { tos } else { 0 },
                    metric: if v4 { metric } else { metric.max(1) },
                    kind,
                    // Ours and `boot` are not printed.
                    protocol: if protocol == 177 { 3 } else { protocol },
                    scope: if v4 { scope } else { 0 },
                    prefsrc,
                    hops,
                    metrics,
                    preference,
                    ..Route::new(table, dst)
                }
            })
    })
}

fn any_rule() -> impl Strategy<Value = Rule> {
    family().prop_flat_map(|family| {
        let prefix = || prop::option::of(prefix(family).prop_filter("all", |p| !p.is_default()));
        let name =
            || prop::option::of("[a-z][a-z0-9.@:_'$ -]{0,10}".prop_map(|n| n.replace(' ', "-")));
        let ports = || {
            prop::option::of((any::<u16>(), any::<u16>()).prop_map(|(a, b)| (a.min(b), a.max(b))))
        };
        let action = prop_oneof![
            (1..=u32::MAX).prop_map(Action::Lookup),
            Just(Action::Goto(u32::MAX)),
            Just(Action::Nop),
            Just(Action::Blackhole),
            Just(Action::Unreachable),
            Just(Action::Prohibit),
        ];
        (
            (0..u32::MAX, action, any::<u8>(), any::<bool>(), prefix(), prefix(), name(), name()),
            (
                prop::option::of((1..=u32::MAX, any::<u32>())),
                prop::option::of(1u8..),
                prop::option::of(any::<u8>()),
                ports(),
                ports(),
                prop::option::of((0u8..64, 0u8..64)),
            ),
            (
                prop::option::of((any::<u32>(), any::<u32>())),
                prop::option::of(0u32..129),
                prop::option::of(0u32..1 << 31),
            ),
        )
            .prop_map(move |(a, b, c)| {
                let (priority, action, protocol, not, from, to, iif, oif) = a;
                let (fwmark, tos, ipproto, sport, dport, dscp) = b;
                let (uidrange, suppress_prefixlength, suppress_ifgroup) = c;
                Rule {
                    // The kernel's 2 and ours are not printed.
                    protocol: if matches!(protocol, 2 | 177) { 0 } else { protocol },
                    not,
                    from,
                    to,
                    iif,
                    oif,
                    fwmark,
                    tos,
                    ipproto,
                    sport,
                    dport,
                    dscp,
                    uidrange,
                    suppress_prefixlength,
                    suppress_ifgroup,
                    ..Rule::new(family, priority, action)
                }
            })
    })
}

proptest! {
    #[test]
    fn a_route_that_is_written_is_read_as_it_was(route in any_route()) {
        let line = route_words(&route, &names());
        let read = read_route(&line, Some(route.family()));
        prop_assert_eq!(read, Ok(route), "{}", line);
    }

    #[test]
    fn a_rule_that_is_written_is_read_as_it_was(rule in any_rule()) {
        let line = rule_words(&rule, &names());
        let read = read_rule(&line, Some(rule.family));
        prop_assert_eq!(read, Ok(rule), "{}", line);
    }

    #[test]
    fn no_line_is_too_much(line in "(default|via|dev|nexthop|from|table|[0-9./:]{1,12}|lock|mtu|ens6| ){0,20}.{0,40}") {
        let split: Vec<&str> = line.split_whitespace().collect();
        let known = known();
        let context = Context { known: &known, family: None, dev: Some("ens6") };
        let _ = route(&split, &context);
        let _ = rule(&split, &context);
        let _ = shell::commands(&line, None);
    }
}
