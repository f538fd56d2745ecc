//! What is supposed to become of a host, beside what the kernel makes of it when it happens.
//!
//! A host with all sorts of routes is read, something is supposed to happen to the snapshot, then it
//! happens, the host is read again, and the two must be the same.

use std::net::IpAddr;

use multihome_core::Snapshot;
use multihome_core::model::{Address, Nexthop, Route};
use multihome_core::suppose::{Supposition, suppose};
use multihome_kernel::Kernel;

use crate::netns::{accept_dad, ip, links, try_ip};

fn snapshot() -> Snapshot {
    let mut kernel = Kernel::open().unwrap();
    let mut snapshot = kernel.snapshot().unwrap();
    kernel.circumstances(&mut snapshot);
    assert_eq!(snapshot.incomplete, Vec::<String>::new());
    snapshot
}

/// What of a snapshot a supposition answers for: lifetimes and link-local addresses, which come of
/// themselves, are the kernel's own.
fn inventory(snapshot: &Snapshot) -> Vec<String> {
    let names = snapshot.names();
    let is_own = |a: &IpAddr| matches!(a, IpAddr::V6(a) if a.is_unicast_link_local());
    let mut lines = Vec::new();
    lines.extend(snapshot.links().map(|l| format!("link {} {:#x}", l.name, l.flags & 0x1_0041)));
    let addresses = snapshot.addresses().filter(|a| !is_own(&a.local));
    lines.extend(addresses.map(|a: &Address| format!("address {a:?}")));
    let routes = snapshot.routes().filter(|r| !is_own(&r.dst.address()));
    lines.extend(routes.map(|r: &Route| {
        let hops: Vec<String> = r
            .hops
            .iter()
            .map(|h| format!("{} {:?} flags {}", names.link(h.link), h.gateway, h.flags))
            .collect();
        format!("{} proto {} {hops:?}", r.display(&names), r.protocol)
    }));
    // The far ends are of another host.
    lines.retain(|l| !["vb", "v.d"].iter().any(|far| l.split_whitespace().any(|w| w == *far)));
    lines.extend(snapshot.nexthops().map(|n: &Nexthop| format!("{n:?}")));
    lines.sort();
    lines
}

/// Two veth pairs whose near ends, `va` and `vc`, have addresses and routes of all sorts.
fn host() {
    links();
    for name in ["all", "va", "vc"] {
        let path = format!("/proc/sys/net/ipv6/conf/{name}/router_solicitations");
        let _ = std::fs::write(path, "0");
    }
    for line in [
        "address add 10.0.0.2/24 dev va",
        "address add 10.0.0.3/24 dev va",
        "address add 10.0.9.2/32 dev va",
        "address add 10.0.1.2/24 dev vc",
        "address add 2001:db8:a::2/64 dev va nodad",
        "address add 2001:db8:b::2/64 dev vc nodad",
        "route add default via 10.0.0.1 dev va",
        "route add default via 10.0.1.1 dev vc metric 100",
        "route add default via 10.0.0.1 dev va table 10003 proto 177 src 10.0.0.2",
        "route add 10.0.0.0/24 dev va table 10003 proto 177 scope link src 10.0.0.3",
        "route add unreachable default table 10003 proto 177 metric 4294967295",
        "route add 10.1.0.0/16 via 10.0.1.1 dev vc",
        "route add 10.2.0.0/16 nexthop via 10.0.0.1 dev va nexthop via 10.0.1.1 dev vc",
        "route add 10.3.0.0/16 nexthop via 10.0.0.1 dev va nexthop via 10.0.0.9 dev va",
        "route add 10.4.0.0/16 via 10.0.1.1 dev vc src 10.0.0.3",
        "route add blackhole 10.9.0.0/16",
        "route add local 10.8.0.0/16 dev va table local",
        "nexthop add id 1 via 10.0.0.1 dev va",
        "nexthop add id 2 via 10.0.1.1 dev vc",
        "nexthop add id 3 group 1/2",
        "nexthop add id 4 group 1",
        "nexthop add id 5 via 2001:db8:a::1 dev va",
        "nexthop add id 6 blackhole",
        "route add 10.5.0.0/16 nhid 1",
        "route add 10.6.0.0/16 nhid 3",
        "route add 10.7.0.0/16 nhid 4",
        "route add 2001:db8:5::/48 nhid 5",
        "route add default via 2001:db8:a::1 dev va metric 100",
        "route add default via 2001:db8:b::1 dev vc metric 200",
        "route add 2001:db8:2::/48 nexthop via 2001:db8:a::1 dev va nexthop via 2001:db8:b::1 dev vc",
        "route add 2001:db8:3::/48 nexthop via 2001:db8:a::1 dev va nexthop via 2001:db8:a::9 dev va",
        "-6 route add unreachable default table 10003 proto 177 metric 4294967295",
        "-6 route add default via 2001:db8:a::1 dev va table 10003 proto 177",
    ] {
        ip(line);
    }
}

#[track_caller]
fn agrees(what: Supposition, happens: impl FnOnce()) {
    let mut supposed = snapshot();
    suppose(&mut supposed, &what).unwrap();
    happens();
    let (ours, kernels) = (inventory(&supposed), inventory(&snapshot()));
    let only = |a: &[String], b: &[String]| -> Vec<String> {
        a.iter().filter(|l| !b.contains(l)).cloned().collect()
    };
    assert!(
        ours == kernels,
        "{what:?}:\nsupposed only: {:#?}\nin the kernel only: {:#?}",
        only(&ours, &kernels),
        only(&kernels, &ours)
    );
}

fn down(link: &str) -> Supposition {
    Supposition::LinkDown(link.into())
}

pub fn a_link_that_goes_down_is_supposed_right() {
    host();
    agrees(down("va"), || drop(ip("link set va down")));
    // The other one then: what has two hops has none now.
    agrees(down("vc"), || drop(ip("link set vc down")));
}

pub fn kept_addresses_are_supposed_right() {
    host();
    std::fs::write("/proc/sys/net/ipv6/conf/va/keep_addr_on_down", "1").unwrap();
    agrees(down("va"), || drop(ip("link set va down")));
}

pub fn a_lost_carrier_is_supposed_right() {
    host();
    let lost = || Supposition::CarrierLost("va".into());
    agrees(lost(), pull);
}

pub fn a_lost_carrier_that_counts_is_supposed_right() {
    host();
    for family in ["ipv4", "ipv6"] {
        let path = format!("/proc/sys/net/{family}/conf/va/ignore_routes_with_linkdown");
        std::fs::write(path, "1").unwrap();
    }
    agrees(Supposition::CarrierLost("va".into()), pull);
}

/// Takes `va` its carrier, and waits until all of the kernel has heard of it (linkwatch).
fn pull() {
    ip("link set vb down");
    let is_lost = || snapshot().link_named("va").unwrap().flags & 0x1_0040 == 0;
    crate::netns::eventually("the carrier is lost", is_lost);
}

pub fn addresses_that_come_are_supposed_right() {
    links();
    accept_dad("va", "0");
    for (address, len) in [
        ("10.0.0.2", 24),
        ("10.0.0.3", 24),
        ("10.0.0.4", 25),
        ("10.0.9.1", 32),
        ("10.0.8.0", 31),
        ("10.0.0.5", 16),
        ("10.0.0.5", 24),
        ("2001:db8::2", 64),
        ("2001:db8::3", 128),
    ] {
        let added =
            Supposition::AddAddress { link: "va".into(), address: address.parse().unwrap(), len };
        let nodad = if address.contains(':') { " nodad" } else { "" };
        agrees_but_for_nodad(added, &format!("address add {address}/{len} dev va{nodad}"));
    }
}

/// `nodad` is what a test asks for so that an address is there at once.
#[track_caller]
fn agrees_but_for_nodad(what: Supposition, command: &str) {
    let mut supposed = snapshot();
    suppose(&mut supposed, &what).unwrap();
    ip(command);
    let plain = |snapshot: &Snapshot| -> Vec<String> {
        let mut plain = snapshot.clone();
        let all: Vec<Address> = plain.addresses().cloned().collect();
        for address in all {
            plain.insert_address(Address { flags: address.flags & !0x02, ..address });
        }
        inventory(&plain)
    };
    let (ours, kernels) = (plain(&supposed), plain(&snapshot()));
    assert_eq!(ours, kernels, "{what:?}: ours is on the left");
}

pub fn a_network_on_the_loopback_is_supposed_right() {
    host();
    ip("link set lo up");
    let address = "10.9.0.1".parse().unwrap();
    let lo = || "lo".to_owned();
    let added = Supposition::AddAddress { link: lo(), address, len: 24 };
    agrees(added, || drop(ip("address add 10.9.0.1/24 dev lo")));
    assert!(ip("route show table local").contains("local 10.9.0.0/24 dev lo"));
    agrees(Supposition::DelAddress { link: lo(), address }, || {
        drop(ip("address del 10.9.0.1/24 dev lo"));
    });
}

pub fn a_primary_address_that_goes_is_supposed_right() {
    goes("va", "10.0.0.2", 24);
}

pub fn a_primary_address_whose_place_is_taken_is_supposed_right() {
    host();
    std::fs::write("/proc/sys/net/ipv4/conf/va/promote_secondaries", "1").unwrap();
    ip("route add 10.70.0.0/16 via 10.0.0.1 dev va src 10.0.0.3");
    let gone = Supposition::DelAddress { link: "va".into(), address: "10.0.0.2".parse().unwrap() };
    agrees(gone, || drop(ip("address del 10.0.0.2/24 dev va")));
}

pub fn a_secondary_address_that_goes_is_supposed_right() {
    goes("va", "10.0.0.3", 24);
}

pub fn an_ipv6_address_that_goes_is_supposed_right() {
    goes("va", "2001:db8:a::2", 64);
}

pub fn the_last_address_that_goes_is_supposed_right() {
    goes("vc", "10.0.1.2", 24);
}

#[track_caller]
fn goes(link: &str, address: &str, len: u8) {
    host();
    let gone = Supposition::DelAddress { link: link.into(), address: address.parse().unwrap() };
    agrees(gone, || drop(ip(&format!("address del {address}/{len} dev {link}"))));
}

/// Whoever is not there for good leaves the prefix's route, and so does one of another length.
pub fn ipv6_prefix_routes_stay_and_go_as_supposed() {
    host();
    for line in [
        "address add 2001:db8:a::3/64 dev va nodad valid_lft 1000 preferred_lft 1000",
        "address add 2001:db8:c::3/64 dev va nodad noprefixroute",
        "address add 2001:db8:d::2/48 dev va nodad",
        "address add 2001:db8:d::3/64 dev va nodad",
        "address add 2001:db8:e::2/64 dev va nodad valid_lft 1000 preferred_lft 1000",
        "address add 2001:db8:f::2 peer 2001:db8:f::9/128 dev va nodad",
        "route add 2001:db8:c::/64 dev va metric 7",
        "route add 2001:db8:77::/64 via 2001:db8:a::1 dev va src 2001:db8:a::3",
        "route add 2001:db8:78::/64 via 2001:db8:b::1 dev vc src 2001:db8:a::2",
    ] {
        ip(line);
    }
    for (address, len) in [
        ("2001:db8:a::2", 64),
        ("2001:db8:a::3", 64),
        ("2001:db8:c::3", 64),
        ("2001:db8:d::3", 64),
        ("2001:db8:d::2", 48),
        ("2001:db8:e::2", 64),
        ("2001:db8:f::2", 128),
    ] {
        let gone = Supposition::DelAddress { link: "va".into(), address: address.parse().unwrap() };
        agrees(gone, || drop(ip(&format!("address del {address}/{len} dev va"))));
    }
}

/// Addresses come and go by chance, on a card and on the loopback, with and without promotion: after
/// each step, and when the kernel refuses one, the supposition is the same.
pub fn addresses_that_come_and_go_by_chance_are_supposed_right() {
    host();
    ip("link set lo up");
    ip("route add 10.70.0.0/16 via 10.0.0.1 dev va src 10.0.0.3");
    ip("route add 10.71.0.0/16 via 10.0.1.1 dev vc src 10.0.1.2");
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut chance = |below: usize| -> usize {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    for step in 0..300 {
        let link = ["va", "vc", "lo"][chance(3)];
        if step % 10 == 0 {
            let path = format!("/proc/sys/net/ipv4/conf/{link}/promote_secondaries");
            std::fs::write(path, ["0", "1"][chance(2)]).unwrap();
        }
        let now = snapshot();
        let index = now.link_named(link).unwrap().index;
        let mut there = now.addresses_in_order(index);
        there.retain(|a| a.local.is_ipv4() && !a.local.is_loopback());
        let (what, command) = if there.len() > 8 || (chance(2) == 0 && !there.is_empty()) {
            let local = there[chance(there.len())].local;
            let first = there.iter().find(|a| a.local == local).unwrap();
            (
                Supposition::DelAddress { link: link.into(), address: local },
                format!("address del {local}/{} dev {link}", first.prefix_len),
            )
        } else {
            let (net, host) = (chance(2), 2 + chance(6));
            let len = [16, 24, 24, 24, 25, 32][chance(6)];
            let address = format!("10.0.{net}.{host}");
            (
                Supposition::AddAddress {
                    link: link.into(),
                    address: address.parse().unwrap(),
                    len,
                },
                format!("address add {address}/{len} dev {link}"),
            )
        };
        match suppose(&mut now.clone(), &what) {
            Ok(_) => agrees(what, || drop(ip(&command))),
            Err(why) => assert!(try_ip(&command).is_err(), "{command}: {why}"),
        }
    }
}

pub fn routes_are_supposed_right() {
    host();
    let add = |words: &str| Supposition::AddRoute(words.parse().unwrap());
    for words in [
        "10.20.0.0/16 via 10.0.0.1",
        "10.21.0.0/16 dev vc",
        "unreachable 10.22.0.0/16 metric 7",
        "default via 10.0.1.1 dev vc table 7 src 10.0.1.2 proto static",
        "10.23.0.0/16 via 192.0.2.1 dev va onlink",
        "2001:db8:20::/48 via 2001:db8:b::1",
        "2001:db8:21::/48 dev va metric 5",
        "blackhole 2001:db8:22::/48",
        "10.24.0.0/16 via inet6 fe80::1 dev va",
    ] {
        let family = if words.contains("2001:") { "-6" } else { "-4" };
        agrees(add(words), || drop(ip(&format!("{family} route add {words}"))));
    }
    for words in ["10.20.0.0/16", "default dev vc", "2001:db8:20::/48 via 2001:db8:b::1"] {
        let family = if words.contains("2001:") { "-6" } else { "-4" };
        let del = Supposition::DelRoute(words.parse().unwrap());
        agrees(del, || drop(ip(&format!("{family} route del {words}"))));
    }
    // What the kernel refuses cannot be supposed.
    for words in [
        "10.0.0.0/24 dev va scope link src 10.0.0.2 proto kernel",
        "10.30.0.0/16 via 192.0.2.1",
        "10.31.0.0/16 dev va src 192.0.2.7",
    ] {
        assert!(try_ip(&format!("route add {words}")).is_err(), "{words}");
        suppose(&mut snapshot(), &add(words)).unwrap_err();
    }
}
