//! What others put in front of our rules while the daemon runs, and what they do in netfilter.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use multihome_lab::{Answerer, Ask, Prober, Proto, Topology, ask};
use rustix::process::Signal;
use serde_json::Value;

use crate::runner::tests;
use crate::state::{PROTOCOL, State, rules};
use crate::world::{Daemon, SOON, World, eventually};

tests![
    a_tunnels_rules_are_jumped_over_while_they_are_there + user,
    ipv6_as_well + user,
    a_flapping_tunnel_is_named_once + user,
    who_comes_in_front_again_and_again_does_not_make_it_spin + user,
    who_yields_says_so + user,
    no_priority_of_somebody_elses_is_used + user,
    own_addresses_are_found_when_the_local_rule_has_moved + user,
    bits_that_somebody_begins_to_use_are_left_to_him,
    configured_bits_that_are_somebody_elses_are_refused,
    a_table_that_was_altered_is_made_anew,
    a_port_published_by_ipv6_answers,
    a_host_without_containers_has_nothing_in_netfilter,
];

const FIRST: &str = "10.0.0.129";
const SECOND: &str = "10.0.1.204";
const PUBLISHED: u16 = 8080;

/// A tunnel that takes everything, without its rules. As a tunnel it asks nobody for neighbours: what
/// waits for one fills its socket's buffer.
const TUNNEL: &str = "
    link add wg0 type vxlan id 7 dstport 4790
    link set wg0 arp off multicast off
    address add 10.66.0.2/24 dev wg0
    link set wg0 up
    route add default dev wg0 table 51820
    -6 route add default dev wg0 table 51820
";
/// What `wg-quick up` adds: neither says a priority.
const RULES: [&str; 2] = ["not fwmark 51820 table 51820", "table main suppress_prefixlength 0"];

const NAT: &str = "nft 'table inet nat { chain in { type nat hook prerouting priority -100;
    fib daddr type local meta nfproto ipv4 tcp dport 8080 dnat ip to 172.17.0.2:7777
    fib daddr type local meta nfproto ipv6 tcp dport 8080 dnat ip6 to [fd00:172:17::2]:7777; }; }'";

/// Whether the remote client is answered at a port of an address.
pub fn asks(world: &World, to: &str, port: u16) -> bool {
    let to = SocketAddr::new(to.parse().unwrap(), port);
    let timeout = Duration::from_millis(300);
    let question = Ask { proto: Proto::Tcp, from: None, to, timeout };
    ask(world.remote(), &question).unwrap().is_answered()
}

fn add(world: &World, family: &str) {
    RULES.iter().for_each(|r| drop(world.ip(&format!("{family} rule add {r}"))));
}

fn delete(world: &World, family: &str) {
    RULES.iter().for_each(|r| drop(world.ip(&format!("{family} rule del {r}"))));
}

fn jumps(world: &World, family: &str) -> usize {
    rules(world, family).iter().filter(|r| r.contains("goto")).count()
}

/// Rules come, answers go on; rules go, and what was made for them goes.
#[track_caller]
fn jumped_over(family: &str, first: &str, second: &str) {
    let world = World::new(Topology::TwoSubnets);
    world.ips(TUNNEL);
    add(&world, family);
    assert!(!asks(&world, first, multihome_lab::traffic::PORT), "the tunnel takes answers");
    delete(&world, family);
    let daemon = world.run();
    let with = State::of(&world);
    for _ in 0..3 {
        let probers =
            [first, second].map(|a| Prober::start(world.remote(), a.parse().unwrap()).unwrap());
        std::thread::sleep(Duration::from_millis(50));
        let start = Instant::now();
        add(&world, family);
        eventually("answers jump over both", SOON, || {
            world.multihome("plan --detailed-exitcode").code == Some(0) && jumps(&world, family) > 0
        });
        eprintln!("seen to be in sync {:?} after the first rule was asked for", start.elapsed());
        for prober in probers {
            let count = prober.stop();
            eprintln!("{count:?}");
            assert!(count.gap < Duration::from_secs(1), "{count:?}");
        }
        world.assert_all_answer();
        world.must("verify");
        // The host's own traffic is in the tunnel, as it was meant.
        let to = if family == "-4" { "198.51.100.7" } else { "2001:db8:99::7" };
        assert_eq!(world.json(&format!("{family} route get {to}"))[0]["dev"], "wg0");
        let status = world.must("status");
        assert!(status.contains("jump over"), "{status}");
        delete(&world, family);
        eventually("the jumps go with them", SOON, || State::of(&world) == with);
    }
    drop(daemon);
    world.must("down");
    assert!(!State::of(&world).has_ours());
}

fn a_tunnels_rules_are_jumped_over_while_they_are_there() {
    jumped_over("-4", FIRST, SECOND);
}

fn ipv6_as_well() {
    jumped_over("-6", "2001:db8:a::129", "2001:db8:b::204");
}

fn count(daemon: &Daemon, words: &str) -> usize {
    daemon.log().lines().filter(|l| l.contains(words)).count()
}

fn a_flapping_tunnel_is_named_once() {
    let world = World::new(Topology::TwoSubnets);
    world.ips(TUNNEL);
    let daemon = world.run();
    let with = State::of(&world);
    for _ in 0..20 {
        add(&world, "-4");
        world.assert_answers(FIRST);
        delete(&world, "-4");
    }
    eventually("nothing is left", SOON, || State::of(&world) == with);
    // One line for each of the two rules.
    assert_eq!(count(&daemon, "answers jump over"), 2, "{}", daemon.log());
    assert_eq!(count(&daemon, "error: "), 0, "{}", daemon.log());
}

fn who_comes_in_front_again_and_again_does_not_make_it_spin() {
    let world = World::new(Topology::TwoSubnets);
    world.ips(TUNNEL);
    world.ip(&format!("rule add {}", RULES[0]));
    let daemon = world.run();
    world.assert_all_answer();
    // Puts a new one in front of ours as soon as we are in front, and takes the old one away.
    let start = Instant::now();
    let mut times = 0;
    while start.elapsed() < Duration::from_secs(3) {
        let all = world.json("-4 rule");
        let is_ours = |r: &Value| r["protocol"].to_string().trim_matches('"') == PROTOCOL;
        if all.iter().find(|r| r["priority"] != 0).is_some_and(is_ours) {
            let old = all.iter().find(|r| r["table"] == "51820" && !is_ours(r)).unwrap();
            world.ip(&format!("rule add {}", RULES[0]));
            world.ip(&format!("rule del pref {}", old["priority"]));
            times += 1;
        }
    }
    let moves = count(&daemon, "rule add pref");
    eprintln!("{times} times in front, {moves} rules added");
    // Sixteen at once, and then one in 400 ms; without a limit it is more than a hundred.
    assert!(times <= 16 + 8 + 2, "{times} times in 3 s\n{}", daemon.log());
    assert_eq!(count(&daemon, "answers jump over"), 1, "{}", daemon.log());
    world.assert_in_sync(SOON);
    world.assert_all_answer();
}

fn who_yields_says_so() {
    let world = World::new(Topology::TwoSubnets);
    world.ips(TUNNEL);
    world.configure("precedence = \"yield\"\n");
    let daemon = world.run();
    add(&world, "-4");
    daemon.says("answers are taken by somebody else's rule");
    assert_eq!(jumps(&world, "-4"), 0, "{}", world.dump());
    assert!(!asks(&world, FIRST, multihome_lab::traffic::PORT));
    let status = world.multihome("status");
    let text = status.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("the configuration has precedence = \"yield\""), "{status:#?}");
    world.configure("");
    daemon.signal(Signal::HUP);
    eventually("they are jumped over", SOON, || jumps(&world, "-4") > 0);
    world.assert_all_answer();
}

fn no_priority_of_somebody_elses_is_used() {
    let world = World::new(Topology::TwoSubnets);
    world.ips(TUNNEL);
    let daemon = world.run();
    add(&world, "-4");
    world.assert_in_sync(SOON);
    // Where the jumps are, and where they would go next.
    let taken = |world: &World| {
        let all = world.json("-4 rule");
        let of = |ours: bool| {
            let is_ours = move |r: &&Value| r["protocol"].to_string().trim_matches('"') == PROTOCOL;
            let of = all.iter().filter(move |r| is_ours(r) == ours);
            of.map(|r| r["priority"].as_u64().unwrap()).collect::<std::collections::BTreeSet<_>>()
        };
        (of(true), of(false))
    };
    for _ in 0..5 {
        let (ours, _) = taken(&world);
        let first = ours.first().unwrap();
        for priority in [*first, first - 1, first - 2] {
            world.ip(&format!("rule add pref {priority} to 203.0.113.0/24 lookup 77 proto static"));
        }
        world.assert_in_sync(SOON);
        let (ours, others) = taken(&world);
        assert!(ours.is_disjoint(&others), "{ours:?} {others:?}\n{}", world.dump());
        world.assert_all_answer();
        assert!(world.multihome("status").out.contains("jump over"));
    }
    assert_eq!(count(&daemon, "conflict"), 0, "{}", daemon.log());
}

fn own_addresses_are_found_when_the_local_rule_has_moved() {
    let world = World::new(Topology::TwoSubnets);
    world.ips(TUNNEL);
    // As Cilium does it, and a tunnel that comes in front of it.
    world.ips(
        "rule add pref 100 lookup local\nrule del pref 0
         rule add pref 99 not fwmark 51820 table 51820",
    );
    let daemon = world.run();
    world.assert_all_answer();
    world.assert_in_sync(SOON);
    // From one of its addresses to another.
    for (from, to) in [(FIRST, SECOND), (SECOND, FIRST), (SECOND, SECOND)] {
        let answer = crate::world::ask_from(world.host(), from.parse().ok(), to.parse().unwrap());
        assert!(answer.is_answered(), "{from} {to}: {answer}\n{}", world.dump());
    }
    drop(daemon);
    world.must("down");
    assert!(!State::of(&world).has_ours());
}

// ===== netfilter =====

/// A host whose container is published.
fn published() -> (World, Answerer) {
    let world = World::new(Topology::Containers);
    world.sh("sysctl -w net.ipv6.conf.{all,ens5,ens6}.accept_ra=2 net.ipv6.conf.all.forwarding=1");
    world.sh(NAT);
    let container = world.lab.client("container").unwrap();
    let answerer = Answerer::start(&container.netns, container.addresses.clone()).unwrap();
    (world, answerer)
}

fn open(world: &World, to: &str) -> TcpStream {
    let to = SocketAddr::new(to.parse::<IpAddr>().unwrap(), PUBLISHED);
    world.remote().run(|| TcpStream::connect_timeout(&to, SOON)).unwrap().unwrap()
}

fn echoes(stream: &mut TcpStream, within: Duration) -> bool {
    stream.set_read_timeout(Some(within)).unwrap();
    stream.write_all(b".").is_ok() && stream.read_exact(&mut [0]).is_ok()
}

fn bits_that_somebody_begins_to_use_are_left_to_him() {
    let (world, _container) = published();
    assert!(!asks(&world, SECOND, PUBLISHED), "without multihome");
    let daemon = world.run();
    assert!(asks(&world, SECOND, PUBLISHED), "{}", world.dump());
    let mut stream = open(&world, SECOND);
    assert!(echoes(&mut stream, SOON));
    let table = world.sh("nft list table inet multihome");
    assert!(table.contains("0x01000000"), "{table}");
    world.sh("nft 'table inet other { chain pre { type filter hook prerouting priority -150;
              tcp dport 1 meta mark set 0x01000000; }; }'");
    eventually("other bits are taken", SOON, || {
        !world.sh("nft list table inet multihome").contains("0x01000000")
    });
    world.assert_in_sync(SOON);
    // What was lost in the moment of the change is sent again.
    assert!(echoes(&mut stream, Duration::from_secs(2)), "{}", world.dump());
    assert!(asks(&world, SECOND, PUBLISHED), "{}", world.dump());
    assert!(!rules(&world, "-4").iter().any(|r| r.contains("0x1000000/0xf000000")));
    // They stay where they are when he goes: each move costs somebody a packet.
    let with = State::of(&world);
    world.sh("nft delete table inet other");
    world.assert_in_sync(SOON);
    with.assert_is(&State::of(&world), "after he has gone");
    drop(daemon);
    world.must("down");
    assert!(!world.sh("nft list tables").contains("multihome"));
    assert!(!State::of(&world).has_ours());
}

fn configured_bits_that_are_somebody_elses_are_refused() {
    let (world, _container) = published();
    world.sh("nft 'table inet other { chain pre { type filter hook prerouting priority -150;
              tcp dport 1 meta mark set 0x00010000; }; }'");
    world.configure("mark_mask = 0x000f0000\n");
    let said = world.multihome("apply");
    let text = said.err.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("mark_mask 0x000f0000 and nft inet other pre have bits 0x10000 in common"),
        "{said:#?}"
    );
    assert!(!world.sh("nft list tables").contains("multihome"), "no half of it");
    for family in ["-4", "-6"] {
        assert!(!rules(&world, family).iter().any(|r| r.contains("fwmark")), "{}", world.dump());
    }
    // All that is not published is served.
    world.assert_all_answer();
    world.configure("mark_mask = 0x00f00000\n");
    world.must("apply");
    assert!(asks(&world, SECOND, PUBLISHED), "{}", world.dump());
    assert!(rules(&world, "-4").iter().any(|r| r.contains("fwmark 0x100000/0xf00000")));
}

fn a_table_that_was_altered_is_made_anew() {
    let (world, _container) = published();
    let daemon = world.run();
    assert!(asks(&world, SECOND, PUBLISHED), "{}", world.dump());
    let whole = world.sh("nft list table inet multihome");
    let mut stream = open(&world, SECOND);
    for script in [
        "nft flush table inet multihome",
        "nft add rule inet multihome prerouting counter drop",
        "nft insert rule inet multihome prerouting accept",
        "nft flush map inet multihome \"$(nft list maps inet | sed -n 's/^\\tmap \\([^ ]*\\) .*/\\1/p' | head -1)\"",
        "nft delete table inet multihome",
        "nft flush ruleset",
    ] {
        world.sh(script);
        if script.contains("ruleset") {
            world.sh(NAT);
        }
        let is_whole = || world.shell("nft list table inet multihome").out == whole;
        eventually(&format!("after {script}"), SOON, is_whole);
        if !script.contains("ruleset") {
            assert!(echoes(&mut stream, Duration::from_secs(3)), "{script}\n{}", world.dump());
        }
        assert!(asks(&world, SECOND, PUBLISHED), "{script}\n{}", world.dump());
    }
    drop(daemon);
}

fn a_port_published_by_ipv6_answers() {
    let (world, _container) = published();
    let both = ["2001:db8:a::129", "2001:db8:b::204"];
    assert!(!both.iter().all(|a| asks(&world, a, PUBLISHED)), "without multihome one does not");
    world.must("apply");
    for address in both {
        assert!(asks(&world, address, PUBLISHED), "{address}\n{}", world.dump());
    }
    let status = world.must("status").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        status
            .contains("published ports: IPv4 and IPv6 replies leave by the uplink that was asked"),
        "{status}"
    );
    world.must("down");
    assert!(!both.iter().all(|a| asks(&world, a, PUBLISHED)), "as before");
}

fn a_host_without_containers_has_nothing_in_netfilter() {
    let world = World::new(Topology::TwoSubnets);
    let daemon = world.run();
    world.assert_all_answer();
    assert_eq!(world.sh("nft list ruleset"), "");
    let all = ["-4", "-6"].map(|family| rules(&world, family)).concat();
    assert!(!all.iter().any(|r| r.contains("fwmark") || r.contains("goto")), "{all:#?}");
    // Of each netlink socket its protocol and its port, which is the process's number for the first.
    let sockets = || {
        let inodes: Vec<String> = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid()))
            .unwrap()
            .filter_map(|fd| {
                Some(std::fs::read_link(fd.ok()?.path()).ok()?.to_string_lossy().into_owned())
            })
            .collect();
        let text = world.host().proc_net("netlink").unwrap();
        let protocols = text.lines().skip(1).filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let inode = format!("socket:[{}]", fields.last()?);
            inodes.contains(&inode).then(|| fields[1].to_owned())
        });
        protocols.collect::<Vec<_>>()
    };
    let (route, netfilter) = ("0".to_owned(), "12".to_owned());
    assert!(sockets().contains(&route), "{:?}", sockets());
    assert!(!sockets().contains(&netfilter), "{:?}", sockets());
    // It is opened as soon as the host forwards.
    world.sh("sysctl -w net.ipv4.ip_forward=1");
    eventually("it listens to netfilter", SOON, || sockets().contains(&netfilter));
    assert_eq!(world.sh("nft list ruleset"), "");
}
