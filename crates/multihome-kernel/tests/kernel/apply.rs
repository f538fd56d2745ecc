//! What we made is what `ip` shows.

use multihome_core::model::{Action, Address, Hop, Nexthop, Route, RouteKind, Rule};
use multihome_core::{Change, Family, Prefix, Snapshot};
use multihome_kernel::{Error, Kernel, Message, address, link, nexthop, route, rule};

use crate::netns::{eventually, ip, links};

struct World {
    kernel: Kernel,
    va: u32,
    vc: u32,
}

fn world() -> World {
    links();
    let mut kernel = Kernel::open().unwrap();
    let snapshot = kernel.snapshot().unwrap();
    let index = |name| snapshot.link_named(name).unwrap().index;
    World { va: index("va"), vc: index("vc"), kernel }
}

impl World {
    fn all(&mut self, messages: impl IntoIterator<Item = Message>) {
        let mut messages: Vec<Message> = messages.into_iter().collect();
        for (outcome, message) in self.kernel.execute(&mut messages).iter().zip(&messages) {
            assert_eq!(outcome, &Ok(()), "{message:?}");
        }
    }

    fn one(&mut self, message: Message) -> Result<(), Error> {
        self.kernel.execute(&mut [message]).remove(0)
    }

    fn snapshot(&mut self) -> Snapshot {
        self.kernel.snapshot().unwrap()
    }
}

fn net(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn via(gateway: &str, link: u32) -> Hop {
    Hop::via(gateway.parse().unwrap(), link)
}

/// Lines of `ip`, trimmed, multipath routes in one.
fn lines(arguments: &str) -> Vec<String> {
    ip(arguments).replace("\n\t", " ").lines().map(squeeze).collect()
}

fn squeeze(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn every_route(w: &World) -> Vec<(Route, &'static str)> {
    let new = |dst: &str| Route::new(10003, net(dst));
    let mut rich = Route {
        metric: 7,
        tos: 0x10,
        prefsrc: Some("10.0.0.1".parse().unwrap()),
        hops: vec![via("10.0.0.9", w.va)],
        ..new("10.8.0.0/16")
    };
    rich.metrics.values.extend([(1, 1 << 2), (2, 1300), (8, 1200), (11, 10)]);
    rich.metrics.congctl = Some("reno".into());
    let far = Hop { flags: 4, ..via("192.0.2.1", w.vc) };
    let mut six = Route { hops: vec![Hop::dev(w.va)], ..new("2001:db8:16::/64") };
    six.metrics.values.insert(2, 1280);
    vec![
        (
            rich,
            "10.8.0.0/16 tos 0x10 via 10.0.0.9 dev va proto 177 src 10.0.0.1 metric 7 mtu lock \
             1300 advmss 1200 initcwnd 10 congctl reno",
        ),
        (
            Route { hops: vec![far.clone()], ..new("0.0.0.0/0") },
            "default via 192.0.2.1 dev vc proto 177 onlink",
        ),
        (
            Route { hops: vec![Hop::dev(w.va)], scope: 253, ..new("10.0.0.0/24") },
            "10.0.0.0/24 dev va proto 177 scope 253",
        ),
        (
            Route {
                hops: vec![Hop { weight: 2, ..via("10.0.0.9", w.va) }, far, via("fe80::9", w.va)],
                ..new("10.9.0.0/16")
            },
            "10.9.0.0/16 proto 177 nexthop via 10.0.0.9 dev va weight 3 nexthop via 192.0.2.1 \
             dev vc weight 1 onlink nexthop via inet6 fe80::9 dev va weight 1",
        ),
        (
            Route { hops: vec![via("fe80::9", w.va)], ..new("10.10.0.0/16") },
            "10.10.0.0/16 via inet6 fe80::9 dev va proto 177",
        ),
        (
            Route { kind: RouteKind::Unreachable, metric: u32::MAX, ..new("0.0.0.0/0") },
            "7 default proto 177 metric 4294967295",
        ),
        (Route { kind: RouteKind::Throw, ..new("10.13.0.0/16") }, "9 10.13.0.0/16 proto 177"),
        (
            Route { hops: vec![via("fe80::9", w.va)], preference: 1, ..new("::/0") },
            "default via fe80::9 dev va proto 177 metric 1024 pref high",
        ),
        (
            Route {
                src: Some(net("2001:db8:77::/64")),
                hops: vec![via("fe80::9", w.va)],
                ..new("::/0")
            },
            "default from 2001:db8:77::/64 via fe80::9 dev va proto 177 metric 1024 pref medium",
        ),
        (
            Route {
                hops: vec![via("fe80::9", w.va), via("fe80::8", w.vc)],
                ..new("2001:db8:12::/64")
            },
            "2001:db8:12::/64 proto 177 metric 1024 pref medium nexthop via fe80::9 dev va \
             weight 1 nexthop via fe80::8 dev vc weight 1",
        ),
        (six, "2001:db8:16::/64 dev va proto 177 metric 1024 mtu 1280 pref medium"),
        (
            Route { kind: RouteKind::Unreachable, metric: u32::MAX, ..new("::/0") },
            "7 default dev lo proto 177 metric 4294967295 pref medium",
        ),
    ]
}

pub fn routes_are_made_and_unmade() {
    let mut w = world();
    let routes = every_route(&w);
    w.all(routes.iter().map(|(r, _)| route::add(r)));
    let mut shown = lines("-4 -N route show table 10003");
    shown.extend(lines("-6 -N route show table 10003"));
    for (route, line) in &routes {
        let at = shown.iter().position(|s| s == line);
        let at = at.unwrap_or_else(|| panic!("{line}\nis not in\n{shown:#?}\nfor {route:?}"));
        shown.remove(at);
    }
    assert_eq!(shown, Vec::<String>::new());
    // What we read is what we wrote.
    let snapshot = w.snapshot();
    for (route, _) in &routes {
        assert!(
            snapshot.routes_in(10003).any(|r| r == route),
            "{route:?}\n{:#?}",
            snapshot.routes_at(&route.key())
        );
    }
    assert!(w.one(route::add(&routes[0].0)).unwrap_err().is_exists());
    w.all(routes.iter().map(|(r, _)| route::delete(r)));
    assert_eq!(w.snapshot().routes_in(10003).count(), 0);
    // An IPv4 table without routes exists or not; an IPv6 table stays.
    assert!(w.one(route::delete(&routes[0].0)).unwrap_err().is_absent());
}

fn every_rule(family: Family) -> Vec<(Rule, &'static str)> {
    let new = |priority, action| Rule::new(family, priority, action);
    let (from, to) = match family {
        Family::V4 => (net("10.0.0.0/24"), net("10.1.0.0/16")),
        Family::V6 => (net("2001:db8::/64"), net("2001:db8:1::/48")),
    };
    let table = Action::Lookup(10003);
    vec![
        (
            Rule {
                not: true,
                from: Some(from),
                to: Some(to),
                iif: Some("va".into()),
                oif: Some("absent.7".into()),
                fwmark: Some((0x10, 0xff)),
                uidrange: Some((0, 0)),
                ..new(100, Action::Lookup(100_000))
            },
            "100: not from FROM to TO fwmark 0x10/0xff iif va oif absent.7 [detached] uidrange \
             0-0 lookup 100000 proto 177",
        ),
        (
            Rule {
                ipproto: Some(6),
                sport: Some((80, 80)),
                dport: Some((1000, 2000)),
                ..new(101, table)
            },
            "101: from all ipproto ipproto-6 sport 80 dport 1000-2000 lookup 10003 proto 177",
        ),
        (
            Rule { tos: Some(0x10), ..new(102, table) },
            "102: from all tos 0x10 lookup 10003 proto 177",
        ),
        (
            Rule { tun_id: Some(77), ..new(103, table) },
            "103: from all tun_id 77 lookup 10003 proto 177",
        ),
        (
            Rule {
                from: Some(Prefix::host(from.address())),
                suppress_prefixlength: Some(1),
                suppress_ifgroup: Some(10000),
                ..new(104, Action::Lookup(254))
            },
            "104: from HOST lookup 254 suppress_prefixlength 1 suppress_ifgroup 10000 proto 177",
        ),
        (new(105, Action::Goto(32766)), "105: from all goto 32766 proto 177"),
        (
            new(106, Action::Goto(4_000_000_000)),
            "106: from all goto 4000000000 [unresolved] proto 177",
        ),
        (new(107, Action::Nop), "107: from all nop proto 177"),
        (
            Rule { iif: Some("lo".into()), ..new(108, Action::Blackhole) },
            "108: from all iif lo 6 proto 177",
        ),
        (
            Rule { fwmark: Some((7, u32::MAX)), ..new(109, Action::Unreachable) },
            "109: from all fwmark 0x7 7 proto 177",
        ),
        (
            Rule { fwmark: Some((0, 0xf0)), ..new(110, Action::Prohibit) },
            "110: from all fwmark 0/0xf0 8 proto 177",
        ),
    ]
}

pub fn rules_are_made_and_unmade() {
    let mut w = world();
    for family in Family::BOTH {
        let before = lines(&format!("{} -N rule", family.flag()));
        let rules = every_rule(family);
        w.all(rules.iter().rev().map(|(r, _)| rule::add(r, true)));
        let mut shown = lines(&format!("{} -N rule", family.flag()));
        let (from, host, to) = match family {
            Family::V4 => ("10.0.0.0/24", "10.0.0.0", "10.1.0.0/16"),
            Family::V6 => ("2001:db8::/64", "2001:db8::", "2001:db8:1::/48"),
        };
        for (rule, line) in &rules {
            let line = line.replace("FROM", from).replace("HOST", host).replace("TO", to);
            let at = shown.iter().position(|s| *s == line);
            shown.remove(at.unwrap_or_else(|| panic!("{line}\nnot in\n{shown:#?}\n{rule:?}")));
        }
        assert_eq!(shown, before);
        let snapshot = w.snapshot();
        for (rule, _) in &rules {
            assert!(snapshot.rules().any(|r| r == rule), "{rule:?}");
            assert!(w.one(rule::add(rule, true)).unwrap_err().is_exists());
        }
        w.all(rules.iter().map(|(r, _)| rule::delete(r)));
        assert_eq!(lines(&format!("{} -N rule", family.flag())), before);
        for (rule, _) in &rules {
            assert!(w.one(rule::delete(rule)).unwrap_err().is_absent());
        }
    }
}

pub fn replacing_leaves_one_route() {
    let mut w = world();
    for (dst, a, b) in [("0.0.0.0/0", "10.0.0.9", "10.0.0.8"), ("::/0", "fe80::9", "fe80::8")] {
        let mut route = Route { hops: vec![via(a, w.va)], ..Route::new(10003, net(dst)) };
        w.all([route::add(&route)]);
        route.hops = vec![via(b, w.va)];
        route.metrics.values.insert(2, 1300);
        w.all([route::replace(&route)]);
        let family = route.family().flag();
        let shown = lines(&format!("{family} -N route show table 10003"));
        assert_eq!(shown.len(), 1, "{shown:?}");
        assert!(shown[0].contains(b) && shown[0].contains("mtu 1300"), "{shown:?}");
    }
}

pub fn deleting_takes_what_was_named() {
    let mut w = world();
    // Others' objects that differ in one thing each.
    for other in ["protocol 178 metric 5", "protocol 177 metric 6"] {
        ip(&format!("route add 10.9.0.0/16 via 10.0.0.9 dev va table 10003 {other}"));
        ip(&format!("-6 route add 2001:db8:9::/64 via fe80::9 dev va table 10003 {other}"));
    }
    for family in Family::BOTH {
        ip(&format!("{} rule add priority 10003 table 10003 protocol 178", family.flag()));
        let (dst, gateway) = match family {
            Family::V4 => ("10.9.0.0/16", "10.0.0.9"),
            Family::V6 => ("2001:db8:9::/64", "fe80::9"),
        };
        let ours =
            Route { metric: 5, hops: vec![via(gateway, w.va)], ..Route::new(10003, net(dst)) };
        assert!(w.one(route::delete(&ours)).unwrap_err().is_absent());
        let rule = Rule::new(family, 10003, Action::Lookup(10003));
        assert!(w.one(rule::delete(&rule)).unwrap_err().is_absent());
        w.all([rule::add(&rule, true), rule::delete(&rule)]);
        let left = lines(&format!("{} -N rule show priority 10003", family.flag()));
        assert_eq!(left, ["10003: from all lookup 10003 proto 178"]);
        // A route by another gateway is another route.
        let other = Route { metric: 6, hops: vec![via("10.0.0.8", w.va)], ..ours.clone() };
        if family == Family::V4 {
            assert!(w.one(route::delete(&other)).unwrap_err().is_absent());
        }
        w.all([route::delete(&Route { metric: 6, ..ours })]);
        let left = lines(&format!("{} -N route show table 10003", family.flag()));
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(left[0].contains("proto 178"), "{left:?}");
    }
}

pub fn links_change_their_group() {
    let mut w = world();
    w.all([link::set_group(w.va, 10000)]);
    let shown = ip("-o -N link show group 10000");
    assert!(shown.lines().count() == 1 && shown.contains(" va@"), "{shown}");
    assert!(shown.contains("UP"), "the group alone changes: {shown}");
    assert!(w.one(link::set_group(999, 10000)).unwrap_err().is_absent());
    assert!(w.one(link::set_group(0, 5)).is_err());
    assert_eq!(ip("-o link show group 5"), "");
    w.all([link::set_up(w.vc, false)]);
    assert!(!w.snapshot().link_named("vc").unwrap().is_up());
}

pub fn addresses_and_nexthops_are_made() {
    let mut w = world();
    let new = |local: &str, peer: Option<&str>| Address {
        link: w.vc,
        local: local.parse().unwrap(),
        prefix_len: 28,
        peer: peer.map(|p| p.parse().unwrap()),
        scope: 0,
        flags: 0x200,
    };
    let all = [
        new("10.3.0.1", None),
        new("10.4.0.1", Some("10.5.0.1")),
        new("2001:db8:3::1", None),
        new("2001:db8:4::1", Some("2001:db8:5::1")),
    ];
    w.all(all.iter().map(address::add));
    assert!(w.one(address::add(&all[0])).unwrap_err().is_exists());
    eventually("no address is tentative", || ip("-6 address show tentative").is_empty());
    let shown = ip("address show dev vc");
    for expected in [
        "inet 10.3.0.1/28 scope global noprefixroute vc",
        "inet 10.4.0.1 peer 10.5.0.1/28 scope global noprefixroute vc",
        "inet6 2001:db8:3::1/28 scope global noprefixroute",
        "inet6 2001:db8:4::1 peer 2001:db8:5::1/28 scope global noprefixroute",
    ] {
        assert!(shown.contains(expected), "{expected}\n{shown}");
    }
    w.all(all.iter().map(address::delete));
    assert!(w.one(address::delete(&all[0])).unwrap_err().is_absent());

    let plain = Nexthop {
        id: 7,
        oif: Some(w.va),
        gateway: Some("10.0.0.9".parse().unwrap()),
        group: vec![],
        blackhole: false,
        flags: 0,
    };
    let group = Nexthop { id: 8, oif: None, gateway: None, group: vec![(7, 3)], ..plain.clone() };
    w.all([nexthop::add(&plain, 177), nexthop::add(&group, 177)]);
    assert_eq!(
        lines("-N nexthop"),
        ["id 7 via 10.0.0.9 dev va scope 253 proto 177", "id 8 group 7,3 proto 177"]
    );
    let route = Route { nhid: Some(8), ..Route::new(10003, net("10.9.0.0/16")) };
    w.all([route::add(&route), route::delete(&route), nexthop::delete(8), nexthop::delete(7)]);
    assert_eq!(ip("nexthop"), "");
}

pub fn errors_belong_to_their_request() {
    let mut w = world();
    let (va, vc) = (w.va, w.vc);
    // More than fit in one datagram; every third is wrong in its own way.
    let route = |n: u32| {
        let dst = Prefix::from_bits(Family::V4, u128::from(0x0b00_0000 + (n << 8)), 24);
        let hop = match n % 3 {
            0 => via("10.0.0.9", va),
            1 => via("192.0.2.1", va), // no way to that gateway
            _ => Hop::dev(vc),
        };
        Route { hops: vec![hop], ..Route::new(10003, dst) }
    };
    let mut messages: Vec<Message> = (0..1000).map(|n| route::add(&route(n))).collect();
    messages.push({
        let mut broken = route::add(&route(5000));
        broken.attr(99, &[0; 70_000]);
        broken
    });
    let outcomes = w.kernel.execute(&mut messages);
    assert_eq!(outcomes.len(), 1001);
    for (n, outcome) in outcomes[..1000].iter().enumerate() {
        if n % 3 == 1 {
            assert_eq!(
                outcome.as_ref().unwrap_err().to_string(),
                "Nexthop has invalid gateway (ENETUNREACH: Network is unreachable)"
            );
        } else {
            assert_eq!(outcome, &Ok(()), "{n}");
        }
    }
    assert!(matches!(outcomes[1000], Err(Error::Malformed(_))));
    assert_eq!(ip("route show table 10003").lines().count(), 667);
    assert_eq!(w.snapshot().routes_in(10003).count(), 667);
    // All of them refused, the last one included.
    let mut again: Vec<Message> = (0..300).map(|n| route::add(&route(n))).collect();
    let outcomes = w.kernel.execute(&mut again);
    assert!(outcomes.iter().all(Result::is_err));
    assert_eq!(
        outcomes.iter().flat_map(|o| o.as_ref().err()).filter(|e| e.is_exists()).count(),
        200
    );
    assert_eq!(w.kernel.execute(&mut []), vec![]);
}

pub fn changes_are_carried_out() {
    let mut w = world();
    let old = Route { hops: vec![via("10.0.0.9", w.va)], ..Route::new(10003, net("0.0.0.0/0")) };
    let new = Route { hops: vec![via("10.0.0.8", w.va)], ..old.clone() };
    let rule = Rule::new(Family::V4, 10003, Action::Lookup(10003));
    let group = Change::SetGroup { link: w.va, name: "va".into(), from: 0, to: 10000 };
    let changes = [
        Change::AddRoute(old.clone()),
        group,
        Change::ReplaceRoute { from: old, to: new.clone() },
        Change::AddRule(rule.clone()),
        Change::AddRule(rule.clone()),
    ];
    let outcomes = w.kernel.apply(&changes, true);
    assert!(outcomes[..4].iter().all(Result::is_ok), "{outcomes:?}");
    assert!(outcomes[4].as_ref().unwrap_err().is_exists());
    assert_eq!(lines("-N route show table 10003"), ["default via 10.0.0.8 dev va proto 177"]);
    assert_eq!(ip("-o link show group 10000").lines().count(), 1);
    let outcomes = w.kernel.apply(&[Change::DelRule(rule), Change::DelRoute(new)], true);
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(lines("-N rule show priority 10003"), Vec::<String>::new());
}

pub fn a_jump_that_moves_leaves_no_gap() {
    let mut w = world();
    let jump = |target| Rule {
        from: Some(net("10.0.0.0/8")),
        ..Rule::new(Family::V4, 10_001, Action::Goto(target))
    };
    let end = |at| Rule::new(Family::V4, at, Action::Nop);
    let made: Vec<Change> =
        [end(10_020), end(10_010), jump(10_010)].into_iter().map(Change::AddRule).collect();
    assert!(w.kernel.apply(&made, true).iter().all(Result::is_ok));
    // As a tree that is renumbered does it: the new one first, then the old one goes.
    let moved = [Change::AddRule(jump(10_020)), Change::DelRule(jump(10_010))];
    assert_eq!(w.kernel.apply(&moved, true), [Ok(()), Ok(())]);
    let jumps: Vec<String> =
        lines("-4 rule show").into_iter().filter(|l| l.contains("goto")).collect();
    assert_eq!(jumps, ["10001: from 10.0.0.0/8 goto 10020 proto 177"]);
}
