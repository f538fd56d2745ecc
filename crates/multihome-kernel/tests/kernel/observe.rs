//! What `ip` made is what we read.

use std::collections::BTreeSet;

use multihome_core::model::route::RTNH_F_LINKDOWN;
use multihome_core::model::snapshot::Stale;
use multihome_core::model::{Route, RouteKind};
use multihome_core::{Family, Prefix, Snapshot};
use multihome_kernel::{Kernel, sysctl};

use crate::netns::{accept_dad, drop_privileges, eventually, ip, ip_batch, links, try_ip};
use crate::oracle;

fn snapshot() -> Snapshot {
    let snapshot = Kernel::open().unwrap().snapshot().unwrap();
    assert_eq!(snapshot.incomplete, Vec::<String>::new());
    snapshot
}

/// Our routes as the oracle's are: sorted, without lifetimes and without flags of the kernel's.
pub fn routes(snapshot: &Snapshot) -> Vec<Route> {
    let mut routes: Vec<Route> =
        snapshot.routes().cloned().map(|r| Route { expires: None, ..r }).collect();
    for route in &mut routes {
        // RTAX_LOCK is in no JSON of `ip`.
        route.metrics.values.remove(&1);
    }
    routes.sort();
    routes
}

#[track_caller]
pub fn agree<T: PartialEq + std::fmt::Debug>(ours: &[T], theirs: &[T]) {
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(ours, theirs, "ours is on the left");
    }
    assert_eq!(ours.len(), theirs.len(), "{ours:#?}\nand by ip\n{theirs:#?}");
}

pub fn links_are_read() {
    links();
    ip("link add br0 type bridge");
    ip("link set vb master br0");
    ip("link set vc mtu 1400 group 10000");
    ip("link set v.d down");
    let snapshot = snapshot();
    let ours: Vec<_> = snapshot.links().cloned().collect();
    agree(&ours, &oracle::links(&snapshot));
    let vb = snapshot.link_named("vb").unwrap();
    assert_eq!(vb.kind.as_deref(), Some("veth"));
    assert_eq!(vb.master, Some(snapshot.link_named("br0").unwrap().index));
    assert_eq!(snapshot.link_named("vc").unwrap().group, 10000);
    assert!(!snapshot.link_named("vc").unwrap().has_carrier());
    assert!(!snapshot.link_named("v.d").unwrap().is_up());
    let before = snapshot.link_named("vc").unwrap().carrier_changes;
    ip("link set v.d up");
    let now = || self::snapshot().link_named("vc").unwrap().carrier_changes;
    eventually("the carrier is back", || now() > before);
}

pub fn addresses_are_read() {
    links();
    ip("address add 10.0.0.2/24 dev va");
    ip("address add 10.5.0.1 peer 10.6.0.1/32 dev va");
    ip("address add 10.0.1.1/24 dev va scope link noprefixroute valid_lft 100 preferred_lft 0");
    ip("address add 2001:db8:5::1 peer 2001:db8:6::1/128 dev va nodad");
    ip("address add 2001:db8:7::1/64 dev va nodad noprefixroute valid_lft 100 preferred_lft 0");
    accept_dad("v.d", "1");
    ip("address add 2001:db8:8::1/64 dev v.d"); // tentative, for a second at least
    let mut ours: Vec<_> = snapshot().addresses().cloned().collect();
    ours.sort();
    agree(&ours, &oracle::addresses());
    assert!(ours.iter().any(|a| a.is_secondary()));
}

pub fn rules_are_read() {
    links();
    // Users beyond our own exist only with privileges; a user namespace has one.
    let users = if std::fs::read_to_string("/proc/self/uid_map").unwrap().contains("4294967295") {
        "uidrange 1000-1999"
    } else {
        "uidrange 0-0"
    };
    for family in ["-4", "-6"] {
        let (from, to) = match family {
            "-4" => ("10.0.0.0/24", "10.1.0.0/16"),
            _ => ("2001:db8::/64", "2001:db8:1::/48"),
        };
        let rules = format!(
            "not from {from} to {to} fwmark 0x10/0xff iif va oif nowhere.7 {users} table 100000
            from {from} table 100001 protocol 177
            iif lo ipproto tcp sport 80 dport 1000-2000 table 200
            ipproto udp dport 53 table 5
            tos 0x10 table 5
            fwmark 7 table 5
            fwmark 0/0xf0 table 5
            suppress_prefixlength 1 suppress_ifgroup 10000 table main protocol 177
            suppress_prefixlength 0 table main
            tun_id 77 table 5
            iif lo goto 32766
            iif lo goto 40000
            iif lo nop
            iif lo blackhole
            iif lo prohibit
            iif lo unreachable
            from {from} table 4294967295"
        );
        for (at, rule) in rules.lines().enumerate() {
            ip(&format!("{family} rule add priority {} {rule}", 100 + at));
        }
        ip(&format!("{family} rule add priority 100 from all oif va table 5"));
    }
    ip("rule add priority 300 realms 3/4 table 5");
    // Only kernels with VRF know it.
    let _ = try_ip("rule add priority 301 l3mdev");
    let ours: Vec<_> = snapshot().rules().cloned().collect();
    agree(&ours, &oracle::rules());
    assert!(ours.len() > 40);
}

/// Routes of every shape that `ip` can make here without nexthop objects.
pub fn make_routes() {
    links();
    for route in [
        "10.8.0.0/16 tos 0x10 via 10.0.0.9 dev va protocol 16 metric 7 mtu 1300 advmss 1200 \
         rtt 100ms rttvar 50ms initcwnd 10 congctl reno quickack 1 features ecn hoplimit 44 \
         rto_min 30ms table 100000",
        "10.8.0.0/16 via 10.0.0.9 dev va mtu lock 1300",
        "10.8.0.0/16 via 10.0.0.8 dev va metric 5 src 10.0.0.1",
        "10.9.0.0/16 nexthop via 10.0.0.9 dev va weight 3 nexthop via 10.77.0.1 dev vc onlink \
         nexthop via inet6 fe80::9 dev va weight 256",
        "10.10.0.0/16 via inet6 fe80::9 dev va",
        "default via 192.0.2.1 dev vc onlink table 10003",
        "unreachable default metric 4294967295 table 10003",
        "blackhole 10.11.0.0/16",
        "prohibit 10.12.0.0/16",
        "throw 10.13.0.0/16 table 4294967295",
        "local 10.14.0.0/16 dev lo",
        "broadcast 10.15.0.0/16 dev va",
        "10.16.0.0/16 dev va scope link",
        "10.17.0.0/16 dev va scope host",
    ] {
        ip(&format!("route add {route}"));
    }
    for route in [
        "default via fe80::1 dev va expires 100 pref low",
        "default via fe80::2 dev vc metric 5 pref high",
        "2001:db8:12::/64 nexthop via fe80::9 dev va nexthop via fe80::8 dev vc weight 2",
        "unreachable default metric 4294967295 table 10003",
        "blackhole 2001:db8:13::/64",
        "prohibit 2001:db8:14::/64",
        "throw 2001:db8:15::/64",
        "2001:db8:16::/64 dev va mtu 1280 hoplimit 9 congctl reno",
        "2001:db8:17::/64 via 2001:db8:ffff::1 dev va onlink src 2001:db8::1 table 100000",
        "anycast 2001:db8:18::1 dev va",
    ] {
        ip(&format!("-6 route add {route}"));
    }
    // Needs CONFIG_IPV6_SUBTREES, which distributions have.
    ip("-6 route add default from 2001:db8:77::/64 via fe80::9 dev va");
    ip("-6 route add 2001:db8:78::/64 from 2001:db8:77::1 dev vc table 100000");
}

pub fn routes_are_read() {
    make_routes();
    let snapshot = snapshot();
    agree(&routes(&snapshot), &oracle::routes(&snapshot));
    let expiring: Vec<_> = snapshot.routes().filter(|r| r.expires.is_some()).collect();
    assert_eq!(expiring.len(), 1);
    assert!((90..=100).contains(&expiring[0].expires.unwrap()), "{:?}", expiring[0]);
    let lock = snapshot.routes().find(|r| r.metrics.values.contains_key(&1) && r.table == 254);
    assert_eq!(lock.unwrap().metrics.values[&1], 1 << 2);
    assert!(snapshot.routes_in(10003).any(|r| r.kind == RouteKind::Unreachable
        && r.family() == Family::V6
        && r.hops.is_empty()));
    // A carrier that goes shows in the hops.
    ip("link set v.d down");
    eventually("linkdown", || ip("-6 route show dev vc").contains("linkdown"));
    let snapshot = self::snapshot();
    agree(&routes(&snapshot), &oracle::routes(&snapshot));
    assert!(snapshot.routes().flat_map(|r| &r.hops).any(|h| h.flags & RTNH_F_LINKDOWN != 0));
}

pub fn make_nexthops() {
    for nexthop in [
        "id 7 via 10.0.0.9 dev va",
        "id 8 dev vc",
        "id 9 group 7,5/8,2",
        "id 10 blackhole",
        "id 11 via fe80::9 dev va",
        "id 12 via fe80::8 dev vc onlink",
        "id 13 group 11/12,256",
    ] {
        ip(&format!("nexthop add {nexthop}"));
    }
    for route in [
        "10.31.0.0/16 nhid 7",
        "10.32.0.0/16 nhid 9",
        "10.33.0.0/16 nhid 10",
        "10.34.0.0/16 nhid 11",
        "2001:db8:31::/64 nhid 11",
        "2001:db8:33::/64 nhid 13",
    ] {
        ip(&format!("route add {route}"));
    }
}

pub fn routes_by_nexthop_objects_are_read() {
    links();
    make_nexthops();
    let first = snapshot();
    agree(&routes(&first), &oracle::routes(&first));
    let ids: Vec<_> = first.nexthops().map(|n| (n.id, n.group.clone(), n.blackhole)).collect();
    let expected = vec![
        (7, vec![], false),
        (8, vec![], false),
        (9, vec![(7, 5), (8, 2)], false),
        (10, vec![], true),
        (11, vec![], false),
        (12, vec![], false),
        (13, vec![(11, 1), (12, 256)], false),
    ];
    assert_eq!(ids, expected);
    let twelve = first.nexthop(12).unwrap();
    assert_eq!(twelve.gateway, Some("fe80::8".parse().unwrap()));
    assert_eq!(twelve.oif, Some(first.link_named("vc").unwrap().index));
    // Without the kernel's help the same hops are found.
    sysctl::write("net/ipv4/nexthop_compat_mode", "0").unwrap();
    let bare = snapshot();
    agree(&routes(&bare), &routes(&first));
}

pub fn what_is_stale_is_read_again() {
    make_routes();
    look_again();
}

pub fn what_is_stale_is_read_again_with_nexthop_objects() {
    make_routes();
    make_nexthops();
    look_again();
}

fn look_again() {
    let mut kernel = Kernel::open().unwrap();
    let before = snapshot();
    let (va, vc) = (before.link_named("va").unwrap().index, before.link_named("vc").unwrap().index);
    ip("route del 10.16.0.0/16 dev va");
    ip("route add 10.20.0.0/16 via 10.0.0.9 dev va table 100000");
    ip("route add 10.21.0.0/16 dev vc table 100000");
    ip("-6 route add 2001:db8:99::/64 dev vc table 100000");
    let now = snapshot();
    for stale in [
        Stale { families: BTreeSet::from([Family::V4, Family::V6]), ..Stale::default() },
        Stale {
            tables: BTreeSet::from([
                (Family::V4, 254),
                (Family::V4, 100_000),
                (Family::V6, 100_000),
                (Family::V4, 77),
                (Family::V6, 77),
            ]),
            ..Stale::default()
        },
        Stale {
            links: BTreeSet::from([va, vc, 999]),
            tables: BTreeSet::from([(Family::V6, 100_000)]),
            ..Stale::default()
        },
        Stale {
            links: BTreeSet::from([va, vc, 997, 998, 999]),
            tables: BTreeSet::from([(Family::V6, 100_000)]),
            nexthops: true,
            ..Stale::default()
        },
    ] {
        let mut snapshot = before.clone();
        kernel.refresh(&mut snapshot, stale, &|_| true).unwrap();
        assert_eq!(snapshot.incomplete, Vec::<String>::new());
        agree(&routes(&snapshot), &routes(&now));
    }
    // A multipath route by both links puts the other one in doubt, too.
    let gone: Prefix = "10.16.0.0/16".parse().unwrap();
    let knows = |snapshot: &Snapshot| snapshot.routes().any(|r| r.dst == gone);
    let mut snapshot = before.clone();
    let stale = Stale { links: BTreeSet::from([vc]), ..Stale::default() };
    kernel.refresh(&mut snapshot, stale, &|_| true).unwrap();
    assert!(!knows(&snapshot));
    // What is not stale is left alone.
    let mut snapshot = before.clone();
    let stale = Stale { tables: BTreeSet::from([(Family::V6, 100_000)]), ..Stale::default() };
    kernel.refresh(&mut snapshot, stale, &|_| true).unwrap();
    assert!(knows(&snapshot));

    ip("link set va mtu 1300");
    kernel.refresh_link(&mut snapshot, va).unwrap();
    assert_eq!(snapshot.link(va).unwrap().mtu, 1300);
    ip("link del va");
    kernel.refresh_link(&mut snapshot, va).unwrap();
    assert_eq!(snapshot.link(va), None);
    assert!(snapshot.addresses().all(|a| a.link != va));
}

pub fn large_dumps_are_whole() {
    links();
    let (mut four, mut six) = (String::new(), String::new());
    for n in 0..5000 {
        let (high, low) = (n / 256, n % 256);
        four.push_str(&format!("route add 172.{high}.{low}.0/24 via 10.0.0.9 dev va\n"));
        six.push_str(&format!("route add 2001:db8:{n:x}::/64 dev vc metric {n}\n"));
    }
    for n in (0..1000).rev() {
        four.push_str(&format!("rule add priority {} from 10.{}.0.1 table 9\n", n + 9, n / 4));
        six.push_str(&format!("rule add priority {} from 2001:db8::{n:x} table 9\n", n + 9));
    }
    ip_batch("-4", &four);
    ip_batch("-6", &six);
    let snapshot = snapshot();
    agree(&routes(&snapshot), &oracle::routes(&snapshot));
    let ours: Vec<_> = snapshot.rules().cloned().collect();
    agree(&ours, &oracle::rules());
}

pub fn sysctls_are_read_and_written() {
    links();
    let path = sysctl::conf(Family::V4, "v.d", "rp_filter");
    sysctl::write(&path, "2").unwrap();
    assert_eq!(sysctl::read(&path).unwrap(), "2");
    assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/conf/v.d/rp_filter").unwrap(), "2\n");
    assert!(sysctl::write(&sysctl::conf(Family::V4, "v/d", "x"), "2").unwrap_err().is_absent());
    assert!(sysctl::write(&path, "many").is_err());
}

fn circumstances() -> Snapshot {
    let mut kernel = Kernel::open().unwrap();
    let mut snapshot = kernel.snapshot().unwrap();
    kernel.circumstances(&mut snapshot);
    assert_eq!(snapshot.incomplete, Vec::<String>::new());
    snapshot
}

pub fn neighbours_that_are_gateways_are_read() {
    links();
    for route in [
        "default via 10.0.0.9 dev va",
        "10.8.0.0/16 via inet6 fe80::9 dev vc",
        "10.9.0.0/16 nexthop via 10.0.0.8 dev va nexthop via 10.7.0.9 dev vc",
        "2001:db8:9::/64 via 2001:db8::9 dev va table 10003",
    ] {
        ip(&format!("route add {route}"));
    }
    assert_eq!(circumstances().neighbours, Vec::new());
    for neighbour in [
        "10.0.0.9 lladdr 02:00:00:00:00:09 dev va nud stale",
        "10.0.0.8 dev va nud failed",
        "10.7.0.9 lladdr 02:00:00:00:00:07 dev vc nud permanent",
        "fe80::9 lladdr 02:00:00:00:00:06 dev vc nud stale router",
        "2001:db8::9 lladdr 02:00:00:00:00:05 dev va nud noarp",
        // No gateways: another address, the address on another link, a proxy.
        "10.0.0.7 lladdr 02:00:00:00:00:09 dev va nud stale",
        "10.0.0.9 lladdr 02:00:00:00:00:09 dev vc nud stale",
        "proxy 10.0.0.9 dev va",
    ] {
        ip(&format!("neigh add {neighbour}"));
    }
    let snapshot = circumstances();
    let gateways = ["10.0.0.8", "10.0.0.9", "10.7.0.9", "2001:db8::9", "fe80::9"];
    agree(&snapshot.neighbours, &oracle::neighbours(&snapshot, &gateways));
    assert_eq!(snapshot.neighbours.len(), 5);
    assert!(snapshot.neighbours.iter().any(|n| n.has_failed()));
    assert!(snapshot.neighbours.iter().any(|n| n.router));
}

pub fn labels_are_read_where_they_are_not_the_usual_ones() {
    links();
    assert_eq!(circumstances().labels, None);
    ip("addrlabel add prefix 2001:db8::/32 label 99");
    ip("addrlabel add prefix 2001:db8:1::/48 dev vc label 98");
    let snapshot = circumstances();
    let labels = snapshot.labels.clone().unwrap();
    agree(&labels, &oracle::labels(&snapshot));
    assert_eq!(labels.len(), 12);
    ip("addrlabel del prefix 2001:db8::/32 label 99");
    ip("addrlabel del prefix 2001:db8:1::/48 dev vc label 98");
    assert_eq!(circumstances().labels, None);
    ip("addrlabel flush");
    assert_eq!(circumstances().labels, Some(Vec::new()));
}

pub fn sysctls_of_links_with_addresses_are_read() {
    links();
    for (path, value) in [
        ("net/ipv4/conf/all/arp_ignore", "1"),
        ("net/ipv4/conf/va/rp_filter", "2"),
        ("net/ipv6/conf/va/keep_addr_on_down", "1"),
        ("net/ipv4/ip_nonlocal_bind", "1"),
    ] {
        sysctl::write(path, value).unwrap();
    }
    ip("address flush dev v.d");
    ip("link set v.d down");
    let snapshot = circumstances();
    let directory = |family: &str, link: &str| {
        let path = format!("/proc/sys/net/{family}/conf/{link}");
        let entries = std::fs::read_dir(path).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    for (family, link) in [("ipv4", "va"), ("ipv4", "all"), ("ipv6", "va"), ("ipv6", "default")] {
        let mut known = 0;
        for key in directory(family, link) {
            let path = format!("net/{family}/conf/{link}/{key}");
            let Some(value) = snapshot.sysctls.get(&path) else { continue };
            let file = std::fs::read_to_string(format!("/proc/sys/{path}")).unwrap();
            assert_eq!(value, file.trim_end(), "{path}");
            known += 1;
        }
        assert!(known >= 8, "{family} {link}: {known}");
    }
    assert_eq!(snapshot.sysctls.effective(Family::V4, "va", "rp_filter"), Some(2));
    assert_eq!(snapshot.sysctls.number("net/ipv4/ip_nonlocal_bind"), Some(1));
    assert_eq!(snapshot.sysctls.conf(Family::V4, "v.d", "rp_filter"), None);
    assert_eq!(snapshot.sysctls.number("net/ipv4/no_such_key"), None);
}

/// Whoever may not change anything may read all the same.
pub fn circumstances_are_read_without_privileges() {
    links();
    ip("route add default via 10.0.0.9 dev va");
    ip("neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev va nud stale");
    ip("addrlabel add prefix 2001:db8::/32 label 99");
    let with = circumstances();
    drop_privileges();
    assert!(try_ip("link set va down").is_err(), "there are privileges left");
    let without = circumstances();
    assert_eq!(without.neighbours, with.neighbours);
    assert_eq!(without.labels, with.labels);
    assert_eq!(without.sysctls, with.sysctls);
}
