//! Our netlink code against a real kernel, with `ip` as the judge: never our own code alone.
//!
//! Each test runs in a process and a network namespace of its own. A machine that cannot give
//! one makes the tests fail, not pass.

mod apply;
mod differ;
mod netns;
mod nft;
mod nft_marks;
mod nft_packets;
mod observe;
mod oracle;
mod suppose;
mod watch;

use std::process::{Command, ExitCode};

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("links_are_read", observe::links_are_read),
    ("addresses_are_read", observe::addresses_are_read),
    ("rules_are_read", observe::rules_are_read),
    ("routes_are_read", observe::routes_are_read),
    ("routes_by_nexthop_objects_are_read", observe::routes_by_nexthop_objects_are_read),
    ("what_is_stale_is_read_again", observe::what_is_stale_is_read_again),
    (
        "what_is_stale_is_read_again_with_nexthop_objects",
        observe::what_is_stale_is_read_again_with_nexthop_objects,
    ),
    ("large_dumps_are_whole", observe::large_dumps_are_whole),
    ("sysctls_are_read_and_written", observe::sysctls_are_read_and_written),
    ("neighbours_that_are_gateways_are_read", observe::neighbours_that_are_gateways_are_read),
    (
        "labels_are_read_where_they_are_not_the_usual_ones",
        observe::labels_are_read_where_they_are_not_the_usual_ones,
    ),
    ("sysctls_of_links_with_addresses_are_read", observe::sysctls_of_links_with_addresses_are_read),
    (
        "circumstances_are_read_without_privileges",
        observe::circumstances_are_read_without_privileges,
    ),
    ("routes_are_made_and_unmade", apply::routes_are_made_and_unmade),
    ("rules_are_made_and_unmade", apply::rules_are_made_and_unmade),
    ("replacing_leaves_one_route", apply::replacing_leaves_one_route),
    ("deleting_takes_what_was_named", apply::deleting_takes_what_was_named),
    ("links_change_their_group", apply::links_change_their_group),
    ("addresses_and_nexthops_are_made", apply::addresses_and_nexthops_are_made),
    ("errors_belong_to_their_request", apply::errors_belong_to_their_request),
    ("changes_are_carried_out", apply::changes_are_carried_out),
    ("a_jump_that_moves_leaves_no_gap", apply::a_jump_that_moves_leaves_no_gap),
    ("a_link_that_goes_down_is_supposed_right", suppose::a_link_that_goes_down_is_supposed_right),
    ("kept_addresses_are_supposed_right", suppose::kept_addresses_are_supposed_right),
    ("a_lost_carrier_is_supposed_right", suppose::a_lost_carrier_is_supposed_right),
    (
        "a_lost_carrier_that_counts_is_supposed_right",
        suppose::a_lost_carrier_that_counts_is_supposed_right,
    ),
    ("addresses_that_come_are_supposed_right", suppose::addresses_that_come_are_supposed_right),
    (
        "a_secondary_address_that_goes_is_supposed_right",
        suppose::a_secondary_address_that_goes_is_supposed_right,
    ),
    (
        "an_ipv6_address_that_goes_is_supposed_right",
        suppose::an_ipv6_address_that_goes_is_supposed_right,
    ),
    (
        "the_last_address_that_goes_is_supposed_right",
        suppose::the_last_address_that_goes_is_supposed_right,
    ),
    (
        "a_network_on_the_loopback_is_supposed_right",
        suppose::a_network_on_the_loopback_is_supposed_right,
    ),
    (
        "a_primary_address_that_goes_is_supposed_right",
        suppose::a_primary_address_that_goes_is_supposed_right,
    ),
    (
        "a_primary_address_whose_place_is_taken_is_supposed_right",
        suppose::a_primary_address_whose_place_is_taken_is_supposed_right,
    ),
    (
        "ipv6_prefix_routes_stay_and_go_as_supposed",
        suppose::ipv6_prefix_routes_stay_and_go_as_supposed,
    ),
    (
        "addresses_that_come_and_go_by_chance_are_supposed_right",
        suppose::addresses_that_come_and_go_by_chance_are_supposed_right,
    ),
    ("routes_are_supposed_right", suppose::routes_are_supposed_right),
    ("events_lead_to_what_a_dump_shows", watch::events_lead_to_what_a_dump_shows),
    ("a_bridge_port_is_no_link", watch::a_bridge_port_is_no_link),
    ("an_event_carries_the_port_of_its_request", watch::an_event_carries_the_port_of_its_request),
    ("an_overrun_is_told_and_survived", watch::an_overrun_is_told_and_survived),
    (
        "the_table_is_written_as_nft_writes_its_script",
        nft::the_table_is_written_as_nft_writes_its_script,
    ),
    (
        "nft_prints_the_table_as_an_operator_would_write_it",
        nft::nft_prints_the_table_as_an_operator_would_write_it,
    ),
    ("only_addresses_that_differ_are_written", nft::only_addresses_that_differ_are_written),
    (
        "a_table_changed_by_hand_is_altered_and_made_whole",
        nft::a_table_changed_by_hand_is_altered_and_made_whole,
    ),
    ("tables_of_others_are_not_touched", nft::tables_of_others_are_not_touched),
    ("who_translates_destinations_is_seen", nft::who_translates_destinations_is_seen),
    ("a_change_by_others_is_told_with_their_name", nft::a_change_by_others_is_told_with_their_name),
    ("a_change_that_found_no_room_is_somebodys", nft::a_change_that_found_no_room_is_somebodys),
    (
        "an_ordinary_user_is_told_nothing_of_nf_tables",
        nft::an_ordinary_user_is_told_nothing_of_nf_tables,
    ),
    ("a_ruleset_that_changes_is_looked_at_again", nft::a_ruleset_that_changes_is_looked_at_again),
    ("marks_in_rules_of_nft_are_read", nft_marks::marks_in_rules_of_nft_are_read),
    ("marks_in_rules_of_iptables_are_read", nft_marks::marks_in_rules_of_iptables_are_read),
    ("marks_are_told_by_place", nft_marks::marks_are_told_by_place),
    (
        "replies_of_translated_connections_are_marked",
        nft_packets::replies_of_translated_connections_are_marked,
    ),
    ("the_kernel_and_the_reenactment_agree", differ::the_kernel_and_the_reenactment_agree),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name] = arguments.as_slice()
        && flag == "--in-namespace"
    {
        let (_, test) = TESTS.iter().find(|(n, _)| n == name).expect("a test of that name");
        netns::enter();
        test();
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let chosen: Vec<&Test> = TESTS
        .iter()
        .filter(|(name, _)| filters.is_empty() || filters.iter().any(|f| name.contains(*f)))
        .collect();
    if arguments.iter().any(|a| a == "--list") {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, _) in &chosen {
        let output = Command::new("/proc/self/exe")
            .args(["--in-namespace", name])
            .output()
            .expect("this program once more");
        if output.status.success() {
            println!("test {name} ... ok");
            print!("{}", String::from_utf8_lossy(&output.stdout));
        } else {
            failed += 1;
            println!("test {name} ... FAILED ({})", output.status);
            print!("{}", String::from_utf8_lossy(&output.stdout));
            print!("{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    println!("\n{} passed, {failed} failed", chosen.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
