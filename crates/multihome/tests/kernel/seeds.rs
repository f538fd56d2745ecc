//! The two documents that multihome grew from, on real namespaces: their addresses, and their
//! rules and tables in `ip`'s own words.

use std::fs;

use multihome_lab::Topology;

use crate::runner::tests;
use crate::state::{State, rules, table};
use crate::world::{SOON, World, eventually};

tests![
    an_instance_has_the_rules_and_tables_of_the_proposal + user,
    an_instance_after_attach_and_detach,
    an_instance_after_a_reboot,
    the_primary_is_left_to_main + user,
    a_campus_has_the_tables_mgt_and_data + user,
    a_campus_without_a_name_for_its_table,
];

const FIRST6: &str = "2600:1f14:eeb:2203:454a:fcbd:485d:73ef";
const SECOND6: &str = "2600:1f14:eeb:2203:ac24:6708:2ab9:75a3";
const ROUTER6: &str = "fe80::8f:53ff:fe6f:64ef";

#[track_caller]
fn assert_has(lines: &[String], wanted: &str) {
    assert!(lines.iter().any(|l| l == wanted), "no {wanted:?} in {lines:#?}");
}

/// What the proposal shows of ens6, whose index gives the number.
#[track_caller]
fn assert_second_card(world: &World, number: u32) {
    let n = number.to_string();
    assert_has(&rules(world, "-4"), &format!("{n}: from 10.0.0.204 lookup {n}"));
    let routes = table(world, "-4", &n);
    assert_has(&routes, "default via 10.0.0.1 dev ens6 src 10.0.0.204");
    assert_has(&routes, "10.0.0.0/24 dev ens6 scope link src 10.0.0.204");
    assert_has(&rules(world, "-6"), &format!("{n}: from {SECOND6} lookup {n}"));
    let routes = table(world, "-6", &n);
    assert_has(&routes, &format!("default via {ROUTER6} dev ens6 metric 1024 pref medium"));
}

fn an_instance_has_the_rules_and_tables_of_the_proposal() {
    let world = World::new(Topology::SameSubnet);
    world.must("apply");
    assert_second_card(&world, 10003);
    assert_has(&rules(&world, "-4"), "10002: from 10.0.0.129 lookup 10002");
    assert_has(&rules(&world, "-6"), &format!("10002: from {FIRST6} lookup 10002"));
    let routes = table(&world, "-6", "10002");
    assert_has(&routes, &format!("default via {ROUTER6} dev ens5 metric 1024 pref medium"));
    // Fail closed, behind the default of each table.
    for number in ["10002", "10003"] {
        assert_has(&table(&world, "-4", number), "unreachable default metric 4294967295");
    }
    // The rules that bound sockets need stand behind main's own.
    let text = world.ip("-4 rule");
    let position = |word: &str| text.lines().position(|l| l.contains(word)).unwrap();
    assert!(position("lookup 10003") < position("32766:"), "{text}");
    assert!(position("32766:") < position("oif ens6"), "{text}");
    world.assert_all_answer_at_once();
}

fn an_instance_after_attach_and_detach() {
    let mut world = World::new(Topology::SameSubnet);
    world.lab.pull_card("ens6").unwrap();
    let daemon = world.run();
    let alone = State::of(&world);
    for _ in 0..2 {
        world.lab.plug_card("ens6").unwrap();
        world.assert_answers("10.0.0.204");
        world.assert_answers(SECOND6);
        let number = world.number("ens6");
        world.assert_in_sync(SOON);
        assert_second_card(&world, number);
        world.lab.pull_card("ens6").unwrap();
        eventually("nothing of ens6 is left", SOON, || State::of(&world) == alone);
    }
    drop(daemon);
}

fn an_instance_after_a_reboot() {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let world = World::new(Topology::SameSubnet);
        let daemon = world.run();
        world.assert_all_answer_at_once();
        assert_second_card(&world, 10003);
        seen.push((
            [rules(&world, "-4"), rules(&world, "-6")],
            [table(&world, "-4", "10003"), table(&world, "-6", "10003")],
        ));
        drop(daemon);
        // What a reboot leaves: nothing in the kernel, nothing under /run.
        drop(world);
        fs::remove_dir_all("/run/multihome").unwrap();
    }
    assert_eq!(seen[0], seen[1]);
}

fn the_primary_is_left_to_main() {
    let world = World::new(Topology::SameSubnet);
    let before = State::of(&world);
    world.configure("primary = \"ifindex:2\"\n");
    let daemon = world.run();
    assert_second_card(&world, 10003);
    for family in ["-4", "-6"] {
        let rules = rules(&world, family);
        assert!(!rules.iter().any(|r| r.contains("10002") || r.contains("ens5")), "{rules:#?}");
        assert_eq!(table(&world, family, "10002"), Vec::<String>::new());
    }
    let group = |name: &str| world.json(&format!("-details link show {name}"))[0]["group"].clone();
    assert_eq!((group("ens5"), group("ens6")), ("10000".into(), "10000".into()));
    world.assert_answers("10.0.0.129");
    world.assert_answers("10.0.0.204");
    world.assert_answers(SECOND6);
    drop(daemon);
    world.must("down");
    before.assert_is(&State::of(&world), "after down");
}

const CAMPUS: &str =
    "[interface.ens192]\ntable = \"mgt\"\n\n[interface.ens224]\ntable = \"data\"\n";

fn a_campus_has_the_tables_mgt_and_data() {
    let world = World::new(Topology::Campus);
    let before = State::of(&world);
    fs::create_dir_all("/etc/iproute2").unwrap();
    fs::write("/etc/iproute2/rt_tables", "1 mgt\n2 data\n").unwrap();
    world.configure(CAMPUS);
    let daemon = world.run();
    let rules = rules(&world, "-4");
    assert_has(&rules, "10002: from 10.225.160.38 lookup mgt");
    assert_has(&rules, "10003: from 10.225.176.38 lookup data");
    let mgt = table(&world, "-4", "mgt");
    assert_has(&mgt, "default via 10.225.160.1 dev ens192 src 10.225.160.38");
    let data = table(&world, "-4", "2");
    assert_has(&data, "default via 10.225.176.1 dev ens224 src 10.225.176.38");
    assert_has(&data, "10.225.144.0/24 via 10.225.176.1 dev ens224");
    // The clients are those of the figures: far away, with a card in one network or the other,
    // in the same zone and in another one.
    world.assert_all_answer_at_once();
    assert!(!fs::exists("/etc/iproute2/rt_tables.d").unwrap(), "all names were known");
    drop(daemon);
    world.must("down");
    before.assert_is(&State::of(&world), "after down");
    assert_eq!(fs::read_to_string("/etc/iproute2/rt_tables").unwrap(), "1 mgt\n2 data\n");
}

fn a_campus_without_a_name_for_its_table() {
    let world = World::new(Topology::Campus);
    fs::create_dir_all("/etc/iproute2").unwrap();
    fs::write("/etc/iproute2/rt_tables", "1 mgt\n").unwrap();
    world.configure(CAMPUS);
    world.must("apply");
    let ours = "/etc/iproute2/rt_tables.d/multihome.conf";
    let text = fs::read_to_string(ours).unwrap();
    assert!(text.lines().any(|l| l == "10003\tdata"), "{text}");
    assert_has(&rules(&world, "-4"), "10003: from 10.225.176.38 lookup data");
    let data = table(&world, "-4", "data");
    assert_has(&data, "default via 10.225.176.1 dev ens224 src 10.225.176.38");
    assert_has(&rules(&world, "-4"), "10002: from 10.225.160.38 lookup mgt");
    world.assert_all_answer_at_once();
    assert!(world.must("apply").starts_with("in sync"), "the new name is known");
    world.must("down");
    assert!(!fs::exists(ours).unwrap());
}
