//! What others have made: never touched, and told where it stands in the way.

use multihome_lab::Topology;
use rustix::process::Signal;

use crate::runner::tests;
use crate::state::{PROTOCOL, State, rules};
use crate::world::{SOON, Said, World, eventually};

tests![
    what_the_operator_made_stays_through_everything + user,
    a_twin_of_our_rule_stays,
    a_rule_that_misroutes_is_said_by_status + user,
    a_route_in_our_table_is_a_conflict + user,
    a_rule_at_our_priority_is_a_conflict,
    a_rule_at_our_base_is_a_conflict_for_all,
    a_conflict_comes_and_goes_under_run,
    a_frozen_uplink_is_left_alone_when_its_carrier_goes,
    another_base_solves_a_conflict,
    a_full_tunnel_takes_no_answers_along,
    wg_quick_down_takes_nothing_of_ours_along,
    a_link_in_a_group_of_the_operators_stays_there,
    a_configured_group_is_the_operators,
];

const OPERATOR: &str = "
    rule add pref 5000 from 10.9.0.0/16 lookup 77 proto static
    rule add pref 9999 to 192.0.2.0/24 lookup 78 proto 99
    rule add pref 20000 iif lo fwmark 7 lookup 77
    rule add pref 25000 from 10.0.1.204 fwmark 8 lookup 77 proto static
    -6 rule add pref 5000 from 2001:db8:77::/64 lookup 77
    route add 192.0.2.0/24 via 10.0.0.1 table 77 proto static
    route add default via 10.0.0.9 dev ens5 table 78 proto 99 metric 5000
    route add unreachable default table 77 metric 500 proto 99
    route add 203.0.113.0/24 via 10.0.0.1 proto bird
    -6 route add 2001:db8:55::/48 via fe80::9 dev ens5 table 78 proto 99
    link add br7 type bridge
    link set br7 group 55
    link add br8 type bridge
    link set br8 group 10
    nexthop add id 5 via 10.0.0.9 dev ens5
";

fn what_the_operator_made_stays_through_everything() {
    let mut world = World::new(Topology::TwoSubnets);
    world.ips(OPERATOR);
    let before = State::of(&world);
    let daemon = world.run();
    world.assert_all_answer();
    before.assert_is(&State::of(&world).foreign(), "under run");
    world.lab.link_down("ens6").unwrap();
    world.lab.link_up("ens6").unwrap();
    world.lab.renew("ens6").unwrap();
    world.lab.add_address("ens6", "10.0.1.210/24".parse().unwrap()).unwrap();
    world.assert_answers("10.0.1.210");
    world.lab.del_address("ens6", "10.0.1.210".parse().unwrap()).unwrap();
    world.configure("base = 21000\n");
    daemon.signal(Signal::HUP);
    eventually("another base", SOON, || {
        rules(&world, "-4").iter().any(|r| r.starts_with("21003:"))
    });
    std::fs::remove_file(crate::world::CONFIG).unwrap();
    daemon.signal(Signal::HUP);
    eventually("and back", SOON, || State::of(&world).foreign() == before);
    world.assert_all_answer();
    daemon.stop(Signal::TERM);
    world.must("down");
    before.assert_is(&State::of(&world), "after down");
}

fn a_rule_that_misroutes_is_said_by_status() {
    let world = World::new(Topology::TwoSubnets);
    world.must("apply");
    assert!(world.must("status").starts_with("all is well: 2 uplinks answer by their own door\n"));
    world.ip("rule add pref 50 from 10.0.1.204 lookup main");
    let said = world.multihome("status");
    assert_eq!(said.code, Some(2), "{said:#?}");
    assert!(said.out.starts_with("degraded: "), "{}", said.out);
    assert!(
        said.out.contains("wrong: ens6 answers by ens5 (rule 50: from 10.0.1.204"),
        "{said:#?}"
    );
    world.ip("rule del pref 50");
    world.must("status");
}

fn a_twin_of_our_rule_stays() {
    let world = World::new(Topology::TwoSubnets);
    world.must("apply");
    let twin = "rule add pref 10003 from 10.0.1.204 lookup 10003 proto static";
    world.ip(twin);
    let count = || {
        let of_table = |r: &serde_json::Value| r["priority"] == 10003;
        let rules = world.json("-4 rule");
        let protocols: Vec<_> =
            rules.iter().filter(|r| of_table(r)).map(|r| r["protocol"].to_string()).collect();
        let is = |p: &str| protocols.iter().filter(|q| q.trim_matches('"') == p).count();
        (is("4"), is(PROTOCOL))
    };
    assert_eq!(count(), (1, 1));
    // Both say the same, so neither is in the way: the uplink is served as before.
    world.must("apply");
    assert_eq!(count(), (1, 1));
    world.assert_all_answer();
    world.ip("rule del pref 10003 from 10.0.1.204 lookup 10003 proto 177");
    world.must("apply");
    assert_eq!(count(), (1, 1));
    world.must("down");
    assert_eq!(count(), (1, 0), "the twin alone");
}

#[track_caller]
fn assert_conflict(said: &Said, words: &[&str]) {
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.err.contains("conflict: "), "{said:#?}");
    assert!(said.err.contains("hint: ") && said.err.contains("000)"), "{said:#?}");
    for word in words {
        assert!(said.err.contains(word), "no {word:?} in {}", said.err);
    }
}

fn a_route_in_our_table_is_a_conflict() {
    let world = World::new(Topology::TwoSubnets);
    world.ip("route add 192.0.2.0/24 via 10.0.1.1 table 10003 proto static");
    let before = State::of(&world);
    for _ in 0..2 {
        let said = world.multihome("apply");
        assert_conflict(&said, &["ens6", "10003", "192.0.2.0/24", "proto static"]);
        before.assert_is(&State::of(&world).foreign(), "with a conflict");
        // What has no conflict is served: the other card, and the other family.
        world.assert_answers("10.0.0.129");
        world.assert_answers("2001:db8:b::204");
        assert!(!rules(&world, "-4").iter().any(|r| r.contains("10.0.1.204")));
    }
    let status = world.multihome("status");
    assert_eq!(status.code, Some(2));
    assert!(status.out.contains("conflict: ") && status.out.contains("10003"), "{}", status.out);
    assert_eq!(world.multihome("plan --detailed-exitcode").code, Some(2));
    world.must("down");
    before.assert_is(&State::of(&world), "after down");
}

fn a_rule_at_our_priority_is_a_conflict() {
    let world = World::new(Topology::TwoSubnets);
    world.ip("rule add pref 10003 from 192.0.2.7 lookup main proto static");
    let before = State::of(&world);
    let said = world.multihome("apply");
    assert_conflict(&said, &["ens6", "192.0.2.7", "proto static"]);
    before.assert_is(&State::of(&world).foreign(), "with a conflict");
    world.assert_answers("10.0.0.129");
    world.assert_answers("2001:db8:b::204");
    world.must("down");
    before.assert_is(&State::of(&world), "after down");
}

fn a_rule_at_our_base_is_a_conflict_for_all() {
    let world = World::new(Topology::TwoSubnets);
    world.ip("-6 rule add pref 10000 from 2001:db8:77::/64 lookup main");
    let before = State::of(&world);
    let said = world.multihome("apply");
    assert_conflict(&said, &["ens5", "ens6", "2001:db8:77::/64"]);
    before.assert_is(&State::of(&world).foreign(), "with a conflict");
    world.assert_answers("10.0.0.129");
    world.assert_answers("10.0.1.204");
    world.must("down");
    before.assert_is(&State::of(&world), "after down");
}

fn a_conflict_comes_and_goes_under_run() {
    let world = World::new(Topology::TwoSubnets);
    let daemon = world.run();
    let with = State::of(&world);
    world.ip("route add 192.0.2.0/24 via 10.0.1.1 table 10003 proto static");
    daemon.says("conflict: ");
    assert!(daemon.sees("STATUS=2 uplinks, ", SOON));
    world.assert_answers("10.0.0.129");
    // What was there before the conflict stays as it is.
    world.assert_answers("10.0.1.204");
    with.assert_is(
        &State::of(&world).without("192.0.2.0/24"),
        "with a conflict, without the foreign route",
    );
    world.ip("route del 192.0.2.0/24 table 10003");
    world.assert_in_sync(SOON);
    with.assert_is(&State::of(&world), "without a conflict");
    world.assert_all_answer();
}

fn a_frozen_uplink_is_left_alone_when_its_carrier_goes() {
    let world = World::new(Topology::TwoSubnets);
    let daemon = world.run();
    world.ip("-6 route add 2001:db8:99::/48 dev ens6 table 10003");
    daemon.says("conflict");
    let before = daemon.log().lines().count();
    world.lab.set_carrier("ens6", false).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let said = daemon.log();
    assert!(said.lines().count() - before < 10, "{said}");
    assert!(!said.contains("-6 route replace"), "{said}");
}

fn another_base_solves_a_conflict() {
    let world = World::new(Topology::TwoSubnets);
    world.ips(
        "route add 192.0.2.0/24 via 10.0.1.1 table 10003 proto static
         rule add pref 10000 from 192.0.2.7 lookup main proto static
         -6 rule add pref 10002 from 2001:db8:77::/64 lookup main",
    );
    let before = State::of(&world);
    assert_conflict(&world.multihome("apply"), &["10003", "192.0.2.7", "2001:db8:77::/64"]);
    world.configure("base = 20000\n");
    let said = world.multihome("apply");
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(world.json("-details link show ens6")[0]["group"], "20000");
    world.assert_all_answer();
    assert!(world.must("apply").starts_with("in sync"));
    assert!(!rules(&world, "-4").iter().any(|r| r.starts_with("1000")), "nothing is left behind");
    world.must("down");
    before.assert_is(&State::of(&world), "after down");
}

fn a_full_tunnel_takes_no_answers_along() {
    let world = World::new(Topology::Containers);
    let _daemon = world.run();
    // As OpenVPN's `redirect-gateway def1 ipv6` does it.
    world.ips(
        "link add tun0 type vxlan id 7 dstport 4789\naddress add 10.66.0.2/24 dev tun0\nlink set tun0 up
         route add 0.0.0.0/1 via 10.66.0.1 dev tun0\nroute add 128.0.0.0/1 via 10.66.0.1 dev tun0
         -6 route add ::/3 dev tun0\n-6 route add 2000::/4 dev tun0\n-6 route add 3000::/4 dev tun0",
    );
    world.assert_in_sync(SOON);
    world.assert_all_answer();
    // What the host itself sends is in the tunnel, as it was meant.
    assert_eq!(world.json("route get 198.51.100.7")[0]["dev"], "tun0");
    assert_eq!(world.json("route get 198.51.100.7 from 10.0.1.204")[0]["dev"], "ens6");
    // And what is behind the tunnel is reached from every address.
    assert_eq!(world.json("route get 10.66.0.9 from 10.0.1.204")[0]["dev"], "tun0");
    world.ip("link del tun0");
    world.assert_in_sync(SOON);
    world.assert_all_answer();
}

fn wg_quick_down_takes_nothing_of_ours_along() {
    let world = World::new(Topology::TwoSubnets);
    world.must("apply");
    let with = State::of(&world);
    for family in ["-4", "-6"] {
        // Until there is none left, as it does.
        for _ in 0..20 {
            world.try_ip(&format!("{family} rule delete table main suppress_prefixlength 0"));
        }
    }
    with.assert_is(&State::of(&world), "after wg-quick down");
    world.assert_all_answer();
}

fn a_link_in_a_group_of_the_operators_stays_there() {
    let world = World::new(Topology::TwoSubnets);
    world.ip("link set ens6 group 7");
    let before = State::of(&world);
    let daemon = world.run();
    daemon.says("stays in link group 7");
    assert_eq!(world.json("-details link show ens6")[0]["group"], "7");
    world.assert_answers("10.0.1.204");
    world.assert_answers("10.0.0.129");
    drop(daemon);
    world.must("down");
    before.assert_is(&State::of(&world), "after down");
}

fn a_configured_group_is_the_operators() {
    let world = World::new(Topology::TwoSubnets);
    world.configure("link_group = 7\n");
    world.ips("link set ens5 group 7\nlink set ens6 group 7");
    let before = State::of(&world);
    let daemon = world.run();
    let local = "lookup main suppress_prefixlength 7 suppress_ifgroup 7";
    assert!(rules(&world, "-4").iter().any(|r| r.ends_with(local)), "{:#?}", rules(&world, "-4"));
    world.assert_all_answer();
    drop(daemon);
    world.must("down");
    before.assert_is(&State::of(&world), "after down");
}
