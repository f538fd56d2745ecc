//! Files in `ip`'s words: ifupdown's own, a script with its unit, and those of initscripts, which no
//! Debian has. For these a script stands in that does what their `ifup-routes` does.

use multihome_lab::{Prober, Topology};

use super::{bare, exported, leased, story};
use crate::ifupdown::{INTERFACES, LEASES, ONE_SUBNET, TWO_SUBNETS};
use crate::machine::{Machine, PATIENCE, write, write_script};
use crate::runner::tests;
use crate::state::State;

tests![
    ifupdown_with_static_addresses,
    ifupdown_with_leases,
    ifupdown_takes_all_away_with_the_link,
    what_ifupdown_keeps_is_taken_over,
    a_script_that_a_unit_runs,
    a_script_that_is_run_twice,
    initscripts_in_two_subnets,
    initscripts_in_one_subnet,
];

/// As initscripts does it (`handle_ip_file` in their `ifup-routes`): each line that is no comment is
/// split at blanks and handed to `ip`; a route that is there is replaced. Theirs goes on after a
/// failure, this one tells.
const IFUP_ROUTES: &str = r#"#!/bin/bash
for kind in route route6 rule rule6; do
    file=/etc/sysconfig/network-scripts/$kind-$1
    [ -f "$file" ] || continue
    case $kind in *6) family=-6 ;; *) family=-4 ;; esac
    what=${kind%6}
    { cat "$file"; echo; } | while read line; do
        if [[ ! "$line" =~ ^[[:space:]]*(#.*)?$ ]]; then
            ip $family $what add $line && continue
            [ $what = route ] && ip $family route replace $line || exit 1
        fi
    done || exit 1
done
"#;

fn ifupdown_with_static_addresses() {
    let machine = bare();
    write(INTERFACES, TWO_SUBNETS);
    machine.sh("ifup -a");
    story(&machine, "ifupdown");
    assert_eq!(machine.sh(&format!("cat {INTERFACES}")), TWO_SUBNETS);
}

fn ifupdown_with_leases() {
    let machine = leased();
    write(INTERFACES, LEASES);
    machine.sh("ifup -a");
    story(&machine, "ifupdown");
}

fn ifupdown_takes_all_away_with_the_link() {
    let machine = bare();
    write(INTERFACES, TWO_SUBNETS);
    machine.sh("ifup -a");
    let before = State::of(&machine);
    machine.sh("ifdown -a");
    let down = State::of(&machine);
    machine.sh("ifup -a");
    exported(&machine, "ifupdown").activate(&machine);
    machine.assert_all_answer_within(PATIENCE);
    machine.sh("ifdown -a");
    State::of(&machine).assert_is(&down, "after ifdown");
    machine.sh("ifup -a");
    machine.assert_all_answer_within(PATIENCE);
    exported(&machine, "ifupdown").undo(&machine);
    State::of(&machine).assert_is(&before, "after all is undone");
}

fn what_ifupdown_keeps_is_taken_over() {
    let machine = bare();
    write(INTERFACES, TWO_SUBNETS);
    machine.sh("ifup -a");
    exported(&machine, "ifupdown").activate(&machine);
    machine.assert_all_answer_within(PATIENCE);
    // The files say what the kernel holds, and need no line of configuration.
    let said = machine.must("import --from ifupdown");
    assert!(said.contains("every answer leaves by its door"), "{said}");
    assert!(said.contains("needs no configuration"), "{said}");

    let ask = |address: &str| Prober::start(machine.remote(), address.parse().unwrap()).unwrap();
    let probers = [ask("10.0.0.129"), ask("10.0.1.204"), ask("2001:db8:b::204")];
    let said = machine.must("import --adopt");
    for prober in probers {
        let count = prober.stop();
        assert_eq!(count.lost(), 0, "{count:?}");
    }
    let theirs = machine.sh("ip -N rule | grep 'lookup 1000' | grep -v 'proto 177' || true");
    assert_eq!(theirs, "");
    machine.must("verify");
    // What is to go is named line by line, and these lines are all.
    let lines = said.lines().skip_while(|l| !l.contains(INTERFACES));
    let text: String = lines.take_while(|l| l.starts_with(' ')).collect();
    let numbers: Vec<usize> = text.split([',', ' ']).filter_map(|word| word.parse().ok()).collect();
    let file = machine.sh(&format!("cat {INTERFACES}"));
    let named = |n: usize| file.lines().nth(n - 1).unwrap();
    assert!(numbers.iter().all(|n| named(*n).contains("post-up ip ")), "{said}\n{file}");
    let makes = |l: &&str| {
        let made = ["rule add", "route replace", "post-up ip link set"];
        !l.trim().starts_with('#') && made.iter().any(|words| l.contains(words))
    };
    assert_eq!(numbers.len(), file.lines().filter(makes).count(), "{said}\n{file}");
}

fn a_script_that_a_unit_runs() {
    let mut machine = bare();
    write(INTERFACES, TWO_SUBNETS);
    let _systemd = machine.boot(&["networking"]);
    story(&machine, "iproute2");
}

fn a_script_that_is_run_twice() {
    let machine = bare();
    write(INTERFACES, TWO_SUBNETS);
    machine.sh("ifup -a");
    let before = State::of(&machine);
    exported(&machine, "iproute2");
    machine.sh("multihome-policy up");
    let up = State::of(&machine);
    machine.assert_all_answer_within(PATIENCE);
    machine.sh("multihome-policy up");
    State::of(&machine).assert_is(&up, "after it has run twice");
    machine.sh("multihome-policy down && multihome-policy down");
    State::of(&machine).assert_is(&before, "after it has taken all away twice");
}

fn initscripts_in_two_subnets() {
    initscripts(Topology::TwoSubnets, TWO_SUBNETS);
}

fn initscripts_in_one_subnet() {
    initscripts(Topology::SameSubnet, ONE_SUBNET);
}

/// Configured by ifupdown, which stands in for the rest of initscripts.
#[track_caller]
fn initscripts(topology: Topology, interfaces: &str) {
    let machine = Machine::new(topology);
    write(INTERFACES, interfaces);
    machine.sh("ifup -a");
    write_script("/etc/sysconfig/network-scripts/ifup-routes", IFUP_ROUTES);
    story(&machine, "ifcfg");
}
