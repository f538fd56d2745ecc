//! What is kept by hand: shown, taken over, written to files.

use std::fs;

use multihome_lab::{Prober, Topology};

use crate::runner::tests;
use crate::state::{State, rules};
use crate::world::{CONFIG, World};

tests![
    what_is_kept_by_hand_is_shown_with_its_faults + user,
    taking_over_loses_no_answer,
    a_route_that_would_be_lost_is_not_taken_over,
    what_multihome_does_by_itself_needs_no_configuration + user,
    an_unknown_line_stops_the_import_and_is_quoted + user,
    nothing_is_written_over_unless_it_is_wanted + user,
    exported_files_and_the_daemon_get_along,
];

/// Both cards, as the article has them: what is missing is what every recipe misses.
const BY_HAND: &str = "
-4 route add default via 10.0.0.1 dev ens5 table 1
-4 route add 10.0.0.0/24 dev ens5 table 1
-4 route add default via 10.0.1.1 dev ens6 table 2
-4 route add 10.0.1.0/24 dev ens6 table 2
-4 rule add from 10.0.0.129 table 1 pref 201
-4 rule add from 10.0.1.204 table 2 pref 202
";

fn by_hand(topology: Topology) -> World {
    let world = World::new(topology);
    world.ips(BY_HAND.trim());
    world
}

fn what_is_kept_by_hand_is_shown_with_its_faults() {
    let world = by_hand(Topology::Containers);
    world.ip("rule add from 10.9.9.9 table 2 pref 203");
    let before = State::of(&world);
    let said = world.multihome("import");
    assert_eq!(said.code, Some(2), "{said:#?}");
    for words in [
        "3 rules and 4 routes in force",
        "202: from 10.0.1.204 lookup 2",
        "answers to the local network of docker0 leaves by ens6",
        "stale: `203: from 10.9.9.9 lookup 2`",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    before.assert_is(&State::of(&world), "after looking");
    let config = said.out.split_once("# multihome does").unwrap().1;
    assert!(config.contains("[interface.ens5]\ntable = 1\n"), "{config}");
}

fn taking_over_loses_no_answer() {
    let world = by_hand(Topology::TwoSubnets);
    fs::create_dir_all("/etc/iproute2").unwrap();
    fs::write("/etc/iproute2/rt_tables", "1 mgt\n2 data\n").unwrap();
    world.assert_answers("10.0.1.204");
    let strayed = world.strayed();
    let ask = |address: &str| Prober::start(world.remote(), address.parse().unwrap()).unwrap();
    let probers = [ask("10.0.0.129"), ask("10.0.1.204")];
    let said = world.must("import --adopt");
    for prober in probers {
        let count = prober.stop();
        assert_eq!(count.lost(), 0, "{count:?}");
    }
    assert_eq!(world.strayed(), strayed);
    let rules = rules(&world, "-4");
    assert!(!rules.iter().any(|r| r.starts_with("20")), "{rules:?}");
    assert!(world.ip("-4 route show table 2").lines().all(|l| l.contains("177")));
    let config = fs::read_to_string(CONFIG).unwrap();
    assert!(config.contains("[interface.ens6]\ntable = \"data\"\n"), "{config}");
    assert!(said.contains("no file is known that makes them again"), "{said}");
    world.must("verify");
    world.assert_all_answer_at_once();
    assert_eq!(world.multihome("import").code, Some(64), "nothing is kept by hand any more");
}

fn a_route_that_would_be_lost_is_not_taken_over() {
    let world = by_hand(Topology::TwoSubnets);
    world.ip("route add 10.77.0.0/16 via 10.0.1.7 table 2");
    let before = State::of(&world);
    let said = world.multihome("import --adopt");
    assert_eq!(said.code, Some(64), "{said:#?}");
    assert!(said.err.contains("10.77.0.0/16 via 10.0.1.7"), "{}", said.err);
    before.assert_is(&State::of(&world), "after the refusal");
    assert!(!fs::exists(CONFIG).unwrap());
}

fn what_multihome_does_by_itself_needs_no_configuration() {
    let world = World::new(Topology::TwoSubnets);
    world.ips(
        "-4 route add default via 10.0.1.1 dev ens6 table 10003\n\
         -4 rule add from 10.0.1.204 table 10003 pref 10003",
    );
    let said = world.multihome("import");
    assert!(said.out.contains("needs no configuration"), "{}", said.out);
}

fn an_unknown_line_stops_the_import_and_is_quoted() {
    let world = World::new(Topology::TwoSubnets);
    fs::write(
        "/run/rules.sh",
        "ip rule add from 10.0.1.204 table 9 pref 9\nip rule add from 10.0.1.204 tabel 9\n",
    )
    .unwrap();
    let said = world.multihome("import --from iproute2 /run/rules.sh");
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.err.contains("/run/rules.sh:2: ") && said.err.contains("tabel"), "{}", said.err);
}

fn nothing_is_written_over_unless_it_is_wanted() {
    let world = World::new(Topology::TwoSubnets);
    let export = "export --format iproute2 --output /run/out";
    world.must(export);
    let script = "/run/out/usr/local/sbin/multihome-policy";
    let text = fs::read_to_string(script).unwrap();
    world.must(export);
    fs::write(script, "mine\n").unwrap();
    let said = world.multihome(export);
    assert_eq!(said.code, Some(64), "{said:#?}");
    assert_eq!(fs::read_to_string(script).unwrap(), "mine\n");
    world.must(&format!("{export} --force"));
    assert_eq!(fs::read_to_string(script).unwrap(), text);
}

fn exported_files_and_the_daemon_get_along() {
    let world = World::new(Topology::TwoSubnets);
    let before = State::of(&world);
    world.must("export --format iproute2 --output /run/out");
    let script = |verb: &str| {
        let mut command = std::process::Command::new("sh");
        command.args(["/run/out/usr/local/sbin/multihome-policy", verb]);
        let said = world.output(&mut command, "");
        assert_eq!(said.code, Some(0), "{said:#?}");
    };
    script("up");
    world.must("verify");
    world.assert_all_answer_at_once();
    // The same again, although it is in force.
    assert!(world.must("export --format iproute2 --output /run/out").contains("as it was"));
    let daemon = world.run();
    let status = world.must("status");
    assert!(status.starts_with("all is well"), "{status}");
    script("down");
    world.assert_in_sync(crate::world::SOON);
    world.assert_all_answer_at_once();
    drop(daemon);
    world.must("down");
    before.assert_is(&State::of(&world), "after both are gone");
}
