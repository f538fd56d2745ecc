//! `verify` and `what-if` on the laboratory's networks: what they say is what packets find.

use std::time::Duration;

use multihome_lab::Topology;
use multihome_lab::traffic::PORT;
use serde_json::Value;

use crate::runner::tests;
use crate::state::State;
use crate::world::{Said, World};

tests![
    two_subnets_are_verified + user,
    one_subnet_is_verified,
    a_campus_is_verified,
    containers_are_verified,
    the_reverse_path_filter_is_verified,
    a_link_that_leaks_is_found_before_it_does + user,
    a_rule_for_a_port_is_met,
    an_address_on_two_cards_is_verified,
    what_if_tells_what_then_happens,
];

/// `verify --json`, and how it ended.
fn verify(world: &World) -> (Value, Option<i32>) {
    let said = world.multihome("verify --json");
    let json = serde_json::from_str(&said.out);
    (json.unwrap_or_else(|e| panic!("{e}: {said:#?}")), said.code)
}

#[track_caller]
fn assert_right(world: &World) -> Value {
    let (report, code) = verify(world);
    assert_eq!(code, Some(0), "{report:#}\n{}", world.dump());
    assert_eq!(report["verdict"], "right");
    assert_eq!(report["in_sync"], true);
    assert!(report["questions"].as_u64().unwrap() > 30, "{report:#}");
    report
}

fn flows<'a>(report: &'a Value, fault: &str) -> Vec<&'a str> {
    let all = report["counterexamples"].as_array().unwrap().iter();
    all.filter(|f| f["fault"] == fault).map(|f| f["explain"].as_str().unwrap()).collect()
}

/// Wrong and silent without multihome, right and answered with it.
fn is_verified(topology: Topology) {
    let world = World::new(topology);
    let quick = Duration::from_millis(300);
    let (report, code) = verify(&world);
    let answered = world.lab.matrix(quick).unwrap().all_answered();
    assert!(!answered, "the laboratory answers without multihome");
    assert_eq!((code, &report["verdict"]), (Some(2), &"wrong".into()), "{report:#}");
    assert!(!flows(&report, "door").is_empty(), "{report:#}");
    world.must("apply");
    assert_right(&world);
    world.assert_all_answer_at_once();
    let text = world.must("verify");
    assert!(text.starts_with("all right: "), "{text}");
    world.must("down");
    assert_eq!(verify(&world).1, Some(2));
}

fn two_subnets_are_verified() {
    is_verified(Topology::TwoSubnets);
}

fn one_subnet_is_verified() {
    is_verified(Topology::SameSubnet);
}

fn a_campus_is_verified() {
    is_verified(Topology::Campus);
}

fn containers_are_verified() {
    is_verified(Topology::Containers);
    // The articles' recipe loses the container: its network leaves by the card.
    let world = World::new(Topology::Containers);
    let container = world.lab.client("container").unwrap();
    let inside = container.addresses.iter().find(|a| a.is_ipv4()).unwrap().to_string();
    world.ips(
        "route add default via 10.0.1.1 dev ens6 table 7
         rule add from 10.0.1.204 lookup 7 pref 100",
    );
    let (report, _) = verify(&world);
    let network = inside.rsplit_once('.').unwrap().0.to_owned();
    let prefix = network.split('.').take(2).collect::<Vec<_>>().join(".");
    let lost = format!("multihome explain 10.0.1.204 {prefix}.");
    assert!(flows(&report, "door").iter().any(|f| f.starts_with(&lost)), "{report:#}");
}

fn the_reverse_path_filter_is_verified() {
    let world = World::new(Topology::TwoSubnets);
    world.host().sysctl("ipv4/conf/all/rp_filter", "1").unwrap();
    let (report, _) = verify(&world);
    let dropped = flows(&report, "reverse-path");
    let remote = "multihome explain 198.51.100.7 10.0.1.204 --iif ens6";
    assert!(dropped.contains(&remote), "{report:#}");
    world.must("apply");
    assert_right(&world);
    world.assert_all_answer_at_once();
}

fn a_link_that_leaks_is_found_before_it_does() {
    let world = World::new(Topology::TwoSubnets);
    let _answerer = world.let_remote_answer();
    world.must("apply");
    assert_right(&world);
    // Without the refusal it would leak.
    let table = world.number("ens6");
    world.ip(&format!("-4 route del unreachable default table {table} metric 4294967295"));
    let (report, code) = verify(&world);
    assert_eq!(code, Some(2));
    let found = report["counterexamples"].as_array().unwrap();
    assert!(!found.is_empty(), "{report:#}");
    for finding in found {
        assert_eq!(finding["failed"]["link"], "ens6", "{finding:#}");
        assert_eq!((&finding["fault"], &finding["link"]), (&"door".into(), &"ens6".into()));
    }
    world.ip("link set ens6 down");
    let before = world.strayed();
    let _ = world.host_asks("10.0.1.204");
    assert!(world.strayed() > before, "it did not leak, and was said to");
    world.ip("link set ens6 up");
    world.must("apply");
    assert_right(&world);
    world.ip("link set ens6 down");
    let before = world.strayed();
    world.assert_refused("10.0.1.204", Duration::from_secs(1));
    assert_eq!(world.strayed(), before, "it leaked, and was said not to");
    let report = assert_verdict(&world, "right");
    assert!(report["failures"].as_array().unwrap().iter().all(|f| f["link"] != "ens6"));
}

/// Somebody's rule for what one server sends, which no other packet meets.
fn a_rule_for_a_port_is_met() {
    let world = World::new(Topology::TwoSubnets);
    world.must("apply");
    assert_right(&world);
    world.ip(&format!("rule add pref 50 ipproto 17 sport {PORT} lookup main"));
    let (report, code) = verify(&world);
    assert_eq!((code, &report["verdict"]), (Some(2), &"wrong".into()), "{report:#}");
    let found = flows(&report, "door");
    let kind = format!("--proto udp --sport {PORT}");
    assert!(!found.is_empty() && found.iter().all(|f| f.contains(&kind)), "{report:#}");
    let found = report["counterexamples"].as_array().unwrap().iter();
    for finding in found.filter(|f| f["failed"].is_null()) {
        let command = finding["explain"].as_str().unwrap().strip_prefix("multihome ").unwrap();
        let said = world.multihome(command);
        assert_eq!(said.code, Some(2), "{command}: {said:#?}");
        assert!(said.out.contains("\nkernel   says the same\n"), "{command}: {said:#?}");
    }
    let answered = world.lab.matrix(Duration::from_millis(300)).unwrap().all_answered();
    assert!(!answered, "the port is answered, and was said not to");
    world.ip("rule del pref 50");
    assert_right(&world);
    world.assert_all_answer_at_once();
}

/// A service's address that both cards have: it is answered by either, and asked about once.
fn an_address_on_two_cards_is_verified() {
    let world = World::new(Topology::TwoSubnets);
    for card in ["ens5", "ens6"] {
        world.ip(&format!("address add 192.0.2.1/32 dev {card}"));
    }
    world.must("apply");
    let (report, _) = verify(&world);
    let wrong = report["counterexamples"].as_array().unwrap();
    assert!(wrong.iter().all(|f| !f["failed"].is_null()), "{report:#}");
    let said = world.multihome("explain 192.0.2.1 198.51.100.7");
    assert_eq!(said.code, Some(0), "{said:#?}");
}

#[track_caller]
fn assert_verdict(world: &World, verdict: &str) -> Value {
    let (report, _) = verify(world);
    assert_eq!(report["verdict"], verdict, "{report:#}\n{}", world.dump());
    report
}

fn what_if_tells_what_then_happens() {
    let world = World::new(Topology::TwoSubnets);
    world.must("apply");
    let what_if = |arguments: &[&str]| -> Value {
        let mut command = world.command("what-if --json");
        command.args(arguments);
        let Said { out, err, .. } = world.output(&mut command, "");
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out} {err}"))
    };
    let before = world.dump();
    for (arguments, commands) in [
        (["--add-address", "ens6=10.0.1.77/24"], "address add 10.0.1.77/24 dev ens6"),
        (["--route", "add 203.0.113.0/24 via 10.0.1.1"], "route add 203.0.113.0/24 via 10.0.1.1"),
        (["--del-address", "ens6=10.0.1.77"], "address del 10.0.1.77/24 dev ens6"),
        (["--link-down", "ens6"], "link set ens6 down"),
    ] {
        let told = what_if(&arguments);
        world.ip(commands);
        let plan: Value = serde_json::from_str(&world.must("plan --json")).unwrap();
        assert_eq!(told["changes"], plan["changes"], "{arguments:?}\n{}", world.dump());
        let (report, _) = verify(&world);
        assert_eq!(told["at_once"]["verdict"], report["verdict"], "{arguments:?}: {report:#}");
        world.must("apply");
        assert_right(&world);
        assert_eq!(told["settled"]["verdict"], "right", "{told:#}");
    }
    assert_ne!(before, world.dump());
    // Nothing is touched, whatever is asked.
    let state = State::of(&world);
    let said = world.multihome("what-if --link-down ens5 --carrier-lost ens6");
    assert!(
        said.out.starts_with("supposed: ens5 is down\nsupposed: ens6 has no carrier"),
        "{said:?}"
    );
    state.assert_is(&State::of(&world), "after looking");
    let said = world.multihome("what-if --link-down ens9");
    assert_eq!(said.code, Some(64), "{said:?}");
    assert!(said.err.contains("no link `ens9`") && said.err.contains("ens5"), "{said:?}");
}
