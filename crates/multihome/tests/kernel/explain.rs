//! Why a packet goes where it goes: `explain` against what the kernel says and what packets do.

use std::net::IpAddr;

use multihome_lab::Topology;
use serde_json::Value;

use crate::runner::tests;
use crate::world::{Said, World};

tests![
    a_wrong_door_is_explained_with_what_would_change_it + user,
    the_kernel_agrees_about_every_packet + user,
    packets_do_what_was_explained,
    what_the_reverse_path_filter_drops_is_explained,
    a_rule_in_front_of_ours_is_named,
    a_card_without_a_gateway_is_named,
    what_cannot_be_asked_is_told_with_a_remedy + user,
];

/// Of the second card.
const SECOND: &str = "10.0.1.204";
/// Somewhere in the Internet.
const FAR: &str = "198.51.100.7";

fn last_line(said: &Said) -> String {
    let lines: Vec<&str> = said.out.trim_end().split("\n\n").collect();
    lines.last().map(|l| l.replace("\n  ", " ")).unwrap_or_default()
}

#[track_caller]
fn assert_says(world: &World, arguments: &str, code: i32, last: &str) -> Said {
    let said = world.multihome(arguments);
    assert_eq!(said.code, Some(code), "{arguments}: {said:#?}\n{}", world.dump());
    assert!(
        last_line(&said).contains(last),
        "{arguments}: no `{last}` in the end of\n{}",
        said.out
    );
    said
}

fn a_wrong_door_is_explained_with_what_would_change_it() {
    let world = World::new(Topology::TwoSubnets);
    let ask = format!("explain {SECOND} {FAR}");
    let said = assert_says(&world, &ask, 2, "wrong: ens6 answers by ens5");
    assert!(last_line(&said).contains("`multihome apply` would change that"), "{}", said.out);
    assert!(said.out.contains("kernel   says the same"), "{}", said.out);
    world.must("apply");
    let said = assert_says(&world, &ask, 0, "goes home by its own door, ens6");
    assert!(said.out.contains("kernel   says the same"), "{}", said.out);
    assert!(said.out.lines().all(|l| l.chars().count() <= 80), "{}", said.out);
}

/// Every flow that can be made of what is there, in each state of the host.
fn the_kernel_agrees_about_every_packet() {
    let world = World::new(Topology::Containers);
    let own = world.lab.addresses();
    let clients = world.lab.clients().iter().flat_map(|c| c.addresses.clone());
    let others: Vec<IpAddr> = clients.chain(own.clone()).collect();
    let ask_all = |state: &str| {
        let mut asked = 0;
        for to in &others {
            let of_family = |a: &&IpAddr| a.is_ipv4() == to.is_ipv4();
            let froms = own.iter().filter(of_family).map(|a| format!("{a} "));
            let mut questions: Vec<String> =
                froms.chain([String::new()]).map(|from| format!("{from}{to}")).collect();
            questions.push(format!("{to} --oif ens6"));
            questions.push(format!("{to} --mark 7 --proto tcp --dport 443 --uid 1000"));
            for from in others.iter().filter(of_family) {
                questions.push(format!("{from} {to} --iif ens5"));
                questions.push(format!("{from} {to} --iif ens6"));
            }
            for question in questions {
                let said = world.multihome(&format!("explain {question} --json"));
                let json: Value = serde_json::from_str(&said.out)
                    .unwrap_or_else(|e| panic!("{state}: {question}: {e}: {said:#?}"));
                assert_eq!(json["kernel"]["agrees"], true, "{state}: {question}: {json:#}");
                assert_eq!(json["lookup"]["doubts"], Value::Array(Vec::new()), "{json:#}");
                asked += 1;
            }
        }
        assert!(asked > 50, "only {asked}");
    };
    ask_all("without multihome");
    world.must("apply");
    ask_all("with multihome");
}

fn packets_do_what_was_explained() {
    let world = World::new(Topology::TwoSubnets);
    let check = || {
        let matrix = world.lab.matrix(std::time::Duration::from_millis(300)).unwrap();
        for client in world.lab.clients() {
            for address in world.lab.addresses() {
                for to in client.addresses.iter().filter(|a| a.is_ipv4() == address.is_ipv4()) {
                    let said = world.multihome(&format!("explain {address} {to}"));
                    let verdict = matrix.verdict(&client.name, address);
                    assert_eq!(
                        (verdict, said.code),
                        if verdict == Some(true) { (verdict, Some(0)) } else { (verdict, Some(2)) },
                        "{} asks {address}: {said:#?}\n{matrix}",
                        client.name
                    );
                }
            }
        }
    };
    check();
    world.must("apply");
    check();
}

fn what_the_reverse_path_filter_drops_is_explained() {
    let world = World::new(Topology::TwoSubnets);
    world.host().sysctl("ipv4/conf/ens6/rp_filter", "1").unwrap();
    let ask = format!("explain {FAR} {SECOND} --iif ens6");
    let said = assert_says(&world, &ask, 2, "rp_filter");
    assert!(said.out.contains("refused  EXDEV"), "{}", said.out);
    assert!(said.out.contains("kernel   says the same"), "{}", said.out);
    // A rule for the address sends the answer, and so the look-up of the filter, the right way.
    world.must("apply");
    assert_says(&world, &ask, 0, "stays on this host, as it should");
}

fn a_rule_in_front_of_ours_is_named() {
    let world = World::new(Topology::TwoSubnets);
    world.must("apply");
    world.ip("rule add pref 5 from all lookup main");
    let ask = format!("explain {SECOND} {FAR}");
    assert_says(&world, &ask, 2, "`multihome apply`");
    world.configure("precedence = \"yield\"\n");
    assert_says(&world, &ask, 2, "ip -4 rule del pref 5 from all lookup main");
    world.configure("");
    world.must("apply");
    let said = assert_says(&world, &ask, 0, "goes home by its own door, ens6");
    assert!(said.out.contains("4: from 10.0.0.0/23 iif lo goto 10000"), "{}", said.out);
}

fn a_card_without_a_gateway_is_named() {
    let world = World::new(Topology::TwoSubnets);
    world.must("apply");
    let table = world.ip("-4 route show table main default dev ens6");
    assert!(!table.is_empty(), "a default by the second card");
    world.ip(&format!("-4 route del {}", table.trim()));
    world.must("apply");
    let said = world.multihome(&format!("explain {SECOND} {FAR}"));
    assert!(said.out.contains("EHOSTUNREACH (No route to host)"), "{}", said.out);
    assert!(last_line(&said).contains("no way out"), "{}", said.out);
}

fn what_cannot_be_asked_is_told_with_a_remedy() {
    let world = World::new(Topology::TwoSubnets);
    for (arguments, words) in [
        ("explain 10.0.0.129 2001:db8::1", "different families"),
        ("explain 10.0.0.129 198.51.100.7 --oif ens9", "ens9"),
        ("explain 198.51.100.7 --dport 80", "--proto"),
        ("explain 198.51.100.7 --mark many", "0x10"),
        ("explain 198.51.100.7 --proto carrier-pigeon", "tcp, udp"),
        ("explain not-an-address", "not-an-address"),
    ] {
        let said = world.multihome(arguments);
        assert_eq!(said.code, Some(64), "{arguments}: {said:#?}");
        assert!(said.err.contains(words), "{arguments}: {said:#?}");
        assert!(said.out.is_empty(), "{arguments}: {said:#?}");
    }
}
