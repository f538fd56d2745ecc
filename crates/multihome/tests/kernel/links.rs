//! Cards that go down, come back, lose their carrier, their name, their index or their
//! namespace, and those that configuration keeps out.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use multihome_lab::{Netns, Topology};
use rustix::process::Signal;

use crate::runner::tests;
use crate::state::{State, rules};
use crate::world::{SOON, UNREACHABLE, World, eventually};

tests![
    a_link_that_was_down_answers_again_without_help + user,
    a_link_that_was_down_while_nobody_watched_answers_again,
    a_link_that_is_down_refuses_and_nothing_leaves_by_the_other,
    an_ipv6_socket_of_a_link_that_is_down_never_leaves_by_the_other,
    a_link_that_is_down_may_fall_through,
    a_kept_ipv6_address_answers_again_without_help,
    a_lost_carrier_comes_back,
    a_card_comes_back_with_a_new_index + user,
    a_card_that_went_while_nobody_watched_leaves_nothing,
    a_card_that_is_pulled_takes_only_its_own_hop,
    a_card_is_renamed_while_up,
    a_card_is_renamed_while_down,
    two_cards_swap_their_names,
    a_card_moves_to_another_namespace_and_back,
    an_ignored_card_is_left_alone,
    only_managed_cards_are_touched,
];

const SECOND: &str = "10.0.1.204";
const SECOND6: &str = "2001:db8:b::204";

fn a_link_that_was_down_answers_again_without_help() {
    let world = World::new(Topology::TwoSubnets);
    let _daemon = world.run();
    world.assert_answers(SECOND);
    for _ in 0..3 {
        world.lab.link_down("ens6").unwrap();
        world.assert_refused(SECOND, SOON);
        world.lab.link_up("ens6").unwrap();
        world.assert_answers(SECOND);
        assert_eq!(world.json("-4 route show default dev ens6").len(), 0, "main has none");
    }
    world.assert_in_sync(SOON);
    world.lab.renew("ens6").unwrap();
    world.assert_all_answer();
    world.assert_in_sync(SOON);
}

fn a_link_that_was_down_while_nobody_watched_answers_again() {
    let world = World::new(Topology::TwoSubnets);
    world.must("apply");
    world.lab.link_down("ens6").unwrap();
    world.lab.link_up("ens6").unwrap();
    let daemon = world.run();
    world.assert_answers(SECOND);
    daemon.stop(Signal::TERM);
    world.lab.link_down("ens6").unwrap();
    world.must("apply");
    world.assert_refused(SECOND, SOON);
    world.lab.link_up("ens6").unwrap();
    world.must("apply");
    world.assert_answers(SECOND);
}

/// Sends from an address without pause, whatever becomes of it, while something happens.
fn send_while(world: &World, from: &str, happens: impl FnOnce()) {
    let to = world.lab.clients()[0].addresses[0];
    // Each packet by a new socket, so that none has a route from before.
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let send = || {
                while !stop.load(Ordering::Acquire) {
                    if let Ok(socket) = UdpSocket::bind((from, 0)) {
                        let _ = socket.send_to(b"astray?", (to, 7777));
                    }
                    thread::sleep(Duration::from_micros(200));
                }
            };
            world.host().run(send).unwrap();
        });
        happens();
        stop.store(true, Ordering::Release);
    });
}

fn a_link_that_is_down_refuses_and_nothing_leaves_by_the_other() {
    let world = World::new(Topology::TwoSubnets);
    let _daemon = world.run();
    world.assert_all_answer();
    let strayed = world.strayed();
    send_while(&world, SECOND, || {
        for _ in 0..5 {
            world.lab.link_down("ens6").unwrap();
            thread::sleep(Duration::from_millis(60));
            assert_eq!(world.host_asks(SECOND), UNREACHABLE);
            world.lab.link_up("ens6").unwrap();
            thread::sleep(Duration::from_millis(60));
        }
    });
    assert_eq!(world.strayed(), strayed, "packets left by ens5");
    world.lab.renew("ens6").unwrap();
    world.assert_all_answer();
}

fn an_ipv6_socket_of_a_link_that_is_down_never_leaves_by_the_other() {
    let mut world = World::new(Topology::TwoSubnets);
    // In a network that both cards are in.
    let shared = "2001:db8:77::6";
    world.lab.add_address("ens5", "2001:db8:77::5/64".parse().unwrap()).unwrap();
    world.lab.add_address("ens6", format!("{shared}/64").parse().unwrap()).unwrap();
    let _daemon = world.run();
    world.assert_all_answer();
    let strayed = world.strayed();
    // As an established connection: bound while the address was there, which goes with the link.
    let bind = |from| world.host().run(|| UdpSocket::bind((from, 0))).unwrap().unwrap();
    let sockets = [SECOND6, shared].map(|from| (from, bind(from)));
    let to = world.lab.clients()[0].addresses[1];
    world.lab.link_down("ens6").unwrap();
    for _ in 0..100 {
        for (from, socket) in &sockets {
            let sent = socket.send_to(b"astray?", (to, 7777));
            assert!(sent.is_err(), "sent with {from} while ens6 is down\n{}", world.dump());
        }
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(world.strayed(), strayed, "packets left by ens5");
    world.lab.link_up("ens6").unwrap();
    world.lab.renew("ens6").unwrap();
    world.assert_answers(SECOND6);
    world.assert_in_sync(SOON);
}

fn a_link_that_is_down_may_fall_through() {
    let world = World::new(Topology::TwoSubnets);
    world.configure("[interface.ens6]\non_down = \"fallthrough\"\n");
    let _daemon = world.run();
    world.assert_all_answer();
    let strayed = world.strayed();
    world.lab.link_down("ens6").unwrap();
    eventually("a packet leaves by ens5", SOON, || {
        world.host_asks(SECOND);
        world.strayed() > strayed
    });
    world.assert_in_sync(SOON);
    world.lab.link_up("ens6").unwrap();
    world.assert_answers(SECOND);
}

fn a_kept_ipv6_address_answers_again_without_help() {
    let mut world = World::new(Topology::TwoSubnets);
    world.host().sysctl("ipv6/conf/ens6/keep_addr_on_down", "1").unwrap();
    // The kernel keeps only what has no lifetime.
    world.lab.add_address("ens6", "2001:db8:b::205/64".parse().unwrap()).unwrap();
    let _daemon = world.run();
    world.assert_answers("2001:db8:b::205");
    world.lab.link_down("ens6").unwrap();
    world.lab.link_up("ens6").unwrap();
    world.assert_answers("2001:db8:b::205");
    assert_eq!(world.json("-6 route show default dev ens6").len(), 0, "main has none");
}

fn a_lost_carrier_comes_back() {
    let world = World::new(Topology::TwoSubnets);
    let _daemon = world.run();
    let strayed = world.strayed();
    world.lab.set_carrier("ens6", false).unwrap();
    eventually("the carrier is lost", SOON, || world.ip("link show ens6").contains("NO-CARRIER"));
    for from in [SECOND, SECOND6] {
        assert!(!world.host_asks(from).is_answered());
    }
    assert_eq!(world.strayed(), strayed, "nothing leaves by ens5");
    world.assert_in_sync(SOON);
    world.lab.set_carrier("ens6", true).unwrap();
    world.assert_answers(SECOND);
    world.assert_answers(SECOND6);
    world.assert_all_answer();
}

fn a_card_comes_back_with_a_new_index() {
    let mut world = World::new(Topology::TwoSubnets);
    let _daemon = world.run();
    let old = world.number("ens6");
    world.lab.pull_card("ens6").unwrap();
    world.lab.plug_card("ens6").unwrap();
    let new = world.number("ens6");
    assert!(new > old);
    world.assert_answers(SECOND);
    world.assert_all_answer();
    world.assert_in_sync(SOON);
    for family in ["-4", "-6"] {
        let rules = rules(&world, family);
        assert!(!rules.iter().any(|r| r.contains(&old.to_string())), "{rules:#?}");
        assert_eq!(world.json(&format!("{family} route show table {old}")).len(), 0);
    }
}

fn a_card_that_went_while_nobody_watched_leaves_nothing() {
    let mut world = World::new(Topology::SameSubnet);
    world.lab.pull_card("ens6").unwrap();
    world.must("apply");
    let alone = State::of(&world);
    world.lab.plug_card("ens6").unwrap();
    world.must("apply");
    world.assert_all_answer();
    world.lab.pull_card("ens6").unwrap();
    world.must("apply");
    alone.assert_is(&State::of(&world), "without ens6 again");
}

#[track_caller]
fn assert_bound_rule_names(world: &World, name: &str, not: &str) {
    eventually(&format!("the rules follow the name {name}"), SOON, || {
        ["-4", "-6"].iter().all(|family| {
            let rules = rules(world, family);
            let has = |name: &str| rules.iter().any(|r| r.contains(&format!("oif {name} ")));
            has(name) && !has(not) && !rules.iter().any(|r| r.contains("[detached]"))
        })
    });
}

/// The kernel merges what two routers advertise into one route (`fib6_add_rt2node`).
fn a_card_that_is_pulled_takes_only_its_own_hop() {
    let mut world = World::new(Topology::TwoSubnets);
    let gateways: Vec<_> = world.lab.cards().iter().map(|c| c.gateway6).collect();
    let (first, second) = (gateways[0], gateways[1]);
    world.ips(&format!(
        "-6 route flush default
         -6 route add default proto static nexthop via {first} dev ens5 nexthop via {second} dev ens6"
    ));
    let daemon = world.run();
    world.assert_answers(SECOND6);
    world.lab.pull_card("ens5").unwrap();
    eventually("the card's rules are gone", SOON, || {
        !rules(&world, "-6").iter().any(|r| r.contains("lookup 10002"))
    });
    world.assert_in_sync(SOON);
    world.assert_answers(SECOND6);
    assert!(!daemon.log().contains("ens6 was withdrawn"), "{}", daemon.log());
}

fn a_card_is_renamed_while_up() {
    let world = World::new(Topology::TwoSubnets);
    let _daemon = world.run();
    // Kernels before 6.2 rename only what is down; nothing else differs then.
    let live = world.host().rename("ens6", "data0");
    if live.is_err() {
        world.ips("link set ens6 down\nlink set ens6 name data0\nlink set data0 up");
    }
    assert_bound_rule_names(&world, "data0", "ens6");
    world.assert_answers(SECOND);
    world.assert_in_sync(SOON);
    world.host().rename("data0", "ens6").or(live).unwrap();
    assert_bound_rule_names(&world, "ens6", "data0");
    world.lab.renew("ens6").unwrap();
    world.assert_all_answer();
}

fn a_card_is_renamed_while_down() {
    let world = World::new(Topology::TwoSubnets);
    let _daemon = world.run();
    world.ips("link set ens6 down\nlink set ens6 name data0\nlink set data0 up");
    world.assert_answers(SECOND);
    eventually("the rules follow the name", SOON, || {
        let rules = rules(&world, "-4");
        rules.iter().any(|r| r.contains("oif data0 ")) && !rules.iter().any(|r| r.contains("ens6"))
    });
    world.assert_in_sync(SOON);
}

fn two_cards_swap_their_names() {
    let world = World::new(Topology::TwoSubnets);
    let _daemon = world.run();
    world.ips(
        "link set ens5 down\nlink set ens6 down\nlink set ens5 name x\nlink set ens6 name ens5
         link set x name ens6\nlink set ens5 up\nlink set ens6 up",
    );
    world.assert_in_sync(SOON);
    let rules = rules(&world, "-4");
    assert!(rules.iter().any(|r| r.ends_with("oif ens6 lookup 10002")), "{rules:#?}");
    assert!(rules.iter().any(|r| r.ends_with("oif ens5 lookup 10003")), "{rules:#?}");
    world.assert_answers("10.0.0.129");
    world.assert_answers(SECOND);
}

fn a_card_moves_to_another_namespace_and_back() {
    let world = World::new(Topology::TwoSubnets);
    let _daemon = world.run();
    let other = Netns::new("other", &[]).unwrap();
    world.host().move_to("ens6", &other).unwrap();
    eventually("nothing of ens6 is left", SOON, || {
        ["-4", "-6"].iter().all(|family| {
            let rules = rules(&world, family);
            !rules.iter().any(|r| r.contains("10003") || r.contains("ens6"))
                && world.json(&format!("{family} route show table 10003")).is_empty()
        })
    });
    world.assert_answers("10.0.0.129");
    other.move_to("ens6", world.host()).unwrap();
    world.lab.renew("ens6").unwrap();
    world.assert_answers(SECOND);
    world.assert_all_answer();
    world.assert_in_sync(SOON);
}

fn an_ignored_card_is_left_alone() {
    let world = World::new(Topology::TwoSubnets);
    world.configure("ignore = [\"ens6*\"]\n");
    let _daemon = world.run();
    only_the_first_card(&world);
}

fn only_managed_cards_are_touched() {
    let world = World::new(Topology::TwoSubnets);
    world.configure("manage = [\"ens5\"]\n");
    let _daemon = world.run();
    only_the_first_card(&world);
}

fn only_the_first_card(world: &World) {
    for family in ["-4", "-6"] {
        let rules = rules(world, family);
        assert!(rules.iter().any(|r| r.contains("10002")), "{rules:#?}");
        assert!(!rules.iter().any(|r| r.contains("10003") || r.contains("ens6")), "{rules:#?}");
        assert_eq!(world.json(&format!("{family} route show table 10003")).len(), 0);
    }
    assert_eq!(world.json("-details link show ens6")[0]["group"], "0");
    world.assert_answers("10.0.0.129");
    let status = world.must("status");
    assert!(status.contains("not uplinks:") && status.contains("ens6"), "{status}");
}
