//! Addresses that come and go while the daemon runs.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use multihome_lab::{Ifaddr, Prober, Topology};

use crate::runner::tests;
use crate::state::{State, rules, table};
use crate::world::{SOON, World, ask_from, eventually};

tests![
    an_address_is_added_and_removed + user,
    many_addresses_are_added_and_removed,
    a_tentative_address_has_its_rule_already,
    a_temporary_address_answers,
    the_last_address_goes_and_comes_back,
    an_address_that_is_gone_for_a_moment_never_answers_by_the_other_door,
    the_primary_address_goes_and_takes_the_others_along,
    the_primary_address_goes_and_another_is_promoted,
    two_subnets_on_one_card,
    an_address_moves_to_the_other_card,
];

fn ifaddr(text: &str) -> Ifaddr {
    text.parse().unwrap()
}

fn an_address_is_added_and_removed() {
    let mut world = World::new(Topology::SameSubnet);
    let _daemon = world.run();
    let before = State::of(&world);
    for added in ["10.0.0.50/24", "2600:1f14:eeb:2203::50/128"] {
        let address = ifaddr(added);
        world.lab.add_address("ens6", address).unwrap();
        world.assert_answers(&address.address.to_string());
        world.assert_all_answer();
        world.lab.del_address("ens6", address.address).unwrap();
        eventually("all is as before", SOON, || State::of(&world) == before);
        world.assert_all_answer();
    }
}

fn many_addresses_are_added_and_removed() {
    let mut world = World::new(Topology::SameSubnet);
    let _daemon = world.run();
    let before = State::of(&world);
    // Alternating cards: no prefix holds two of one card.
    let added: Vec<(&str, Ifaddr)> = (0..40)
        .map(|n| (["ens5", "ens6"][n % 2], ifaddr(&format!("10.0.0.{}/24", 130 + n))))
        .collect();
    for (card, address) in &added {
        world.lab.add_address(card, *address).unwrap();
    }
    world.assert_in_sync(SOON);
    world.assert_all_answer();
    for (card, address) in &added {
        world.lab.del_address(card, address.address).unwrap();
    }
    eventually("all is as before", SOON, || State::of(&world) == before);
    world.assert_all_answer();
}

fn a_tentative_address_has_its_rule_already() {
    let mut world = World::new(Topology::SameSubnet);
    let _daemon = world.run();
    world
        .host()
        .sysctls(&[("ipv6/conf/ens6/accept_dad", "1"), ("ipv6/conf/ens6/dad_transmits", "3")])
        .unwrap();
    let address: IpAddr = "2600:1f14:eeb:2203::77:1".parse().unwrap();
    world.lab.fabric_mut().allow("ens6", multihome_core::Prefix::host(address)).unwrap();
    world.ip(&format!("-6 address add {address}/128 dev ens6"));
    let is_tentative = || world.ip("-6 address show dev ens6 tentative").contains("77:1");
    assert!(is_tentative(), "detection is on");
    let from = format!("from {address} ");
    eventually("a rule for the address", Duration::from_secs(1), || {
        rules(&world, "-6").iter().any(|r| r.contains(&from))
    });
    assert!(is_tentative(), "still");
    eventually("detection has ended", Duration::from_secs(20), || !is_tentative());
    world.lab.answerer().listen(address).unwrap();
    world.assert_answers(&address.to_string());
}

fn a_temporary_address_answers() {
    let mut world = World::new(Topology::TwoSubnets);
    let _daemon = world.run();
    world.host().sysctl("ipv6/conf/ens6/use_tempaddr", "2").unwrap();
    world.ip(
        "-6 address add 2001:db8:b::a11/64 dev ens6 nodad mngtmpaddr valid_lft 3600 preferred_lft 1800",
    );
    let temporary = || {
        let links = world.json("-6 address show dev ens6 temporary");
        let info = links.iter().flat_map(|l| l["addr_info"].as_array().unwrap());
        info.filter_map(|a| a["local"].as_str()).map(str::to_owned).next()
    };
    eventually("the kernel has made a temporary address", SOON, || temporary().is_some());
    let address: IpAddr = temporary().unwrap().parse().unwrap();
    world.lab.fabric_mut().allow("ens6", multihome_core::Prefix::host(address)).unwrap();
    // The kernel looks for duplicates in a work queue, if only to find that it need not.
    eventually("it is no longer tentative", SOON, || world.lab.answerer().listen(address).is_ok());
    world.assert_answers(&address.to_string());
    let rules = rules(&world, "-6");
    let home = |r: &&String| r.starts_with("10003:");
    assert_eq!(rules.iter().filter(home).count(), 1, "one rule for the network: {rules:#?}");
}

fn the_last_address_goes_and_comes_back() {
    let world = World::new(Topology::TwoSubnets);
    let _daemon = world.run();
    world.assert_all_answer();
    world.ip("address del 10.0.1.204/24 dev ens6");
    eventually("no IPv4 rule for ens6", SOON, || {
        !rules(&world, "-4").iter().any(|r| r.contains("10.0.1.204") || r.contains("ens6"))
    });
    assert_eq!(world.json("-4 route show table 10003").len(), 0);
    world.assert_answers("2001:db8:b::204");
    // The lease brings the address and the default.
    world.lab.renew("ens6").unwrap();
    world.assert_answers("10.0.1.204");
    world.ip("-6 address del 2001:db8:b::204/64 dev ens6");
    eventually("no IPv6 rule for ens6", SOON, || {
        !rules(&world, "-6").iter().any(|r| r.contains("2001:db8:b:") || r.contains("ens6"))
    });
    world.lab.renew("ens6").unwrap();
    world.assert_all_answer();
    world.assert_in_sync(SOON);
}

fn with_secondary(promote: &str) -> World {
    let mut world = World::new(Topology::TwoSubnets);
    world.host().sysctl("ipv4/conf/ens6/promote_secondaries", promote).unwrap();
    world.lab.add_address("ens6", ifaddr("10.0.1.205/24")).unwrap();
    world
}

/// NetworkManager applies a profile anew: the address goes and is back at once.
fn an_address_that_is_gone_for_a_moment_never_answers_by_the_other_door() {
    let world = World::new(Topology::TwoSubnets);
    let daemon = world.run();
    world.assert_all_answer_at_once();
    let strayed = world.strayed();
    for address in ["10.0.1.204", "2001:db8:b::204"] {
        let prober = Prober::start(world.remote(), address.parse().unwrap()).unwrap();
        let (len, more) = match address.contains(':') {
            true => ("64", "nodad"),
            // The last IPv4 address takes the routes along.
            false => ("24", "\nroute add default via 10.0.1.1 dev ens6 metric 3"),
        };
        for _ in 0..10 {
            let address = format!("{address}/{len} dev ens6");
            world.batch(&format!("address del {address}\naddress add {address} {more}"));
            thread::sleep(Duration::from_millis(50));
        }
        let _ = prober.stop();
    }
    assert_eq!(world.strayed(), strayed, "{}", world.dump());
    assert!(!daemon.log().contains("rule del"), "{}", daemon.log());
    world.assert_all_answer();
    // One that stays away takes its rules along, a moment later.
    world.ip("address del 10.0.1.204/24 dev ens6");
    eventually("its rules are gone", Duration::from_secs(5), || {
        !rules(&world, "-4").iter().any(|r| r.contains("10.0.1.204"))
    });
    world.assert_in_sync(SOON);
}

fn the_primary_address_goes_and_takes_the_others_along() {
    let world = with_secondary("0");
    let _daemon = world.run();
    world.assert_all_answer();
    world.ip("address del 10.0.1.204/24 dev ens6");
    assert!(!world.ip("-4 address show dev ens6").contains("10.0.1.205"));
    eventually("no IPv4 rule for ens6", SOON, || {
        !rules(&world, "-4").iter().any(|r| r.contains("10.0.1.20") || r.contains("ens6"))
    });
    world.lab.renew("ens6").unwrap();
    world.assert_all_answer();
}

fn the_primary_address_goes_and_another_is_promoted() {
    let world = with_secondary("1");
    let _daemon = world.run();
    world.assert_all_answer();
    world.ip("address del 10.0.1.204/24 dev ens6");
    assert!(world.ip("-4 address show dev ens6").contains("10.0.1.205"));
    world.assert_answers("10.0.1.205");
    eventually("the default names the address that is left", SOON, || {
        let routes = table(&world, "-4", "10003");
        routes.contains(&"default via 10.0.1.1 dev ens6 src 10.0.1.205".to_owned())
    });
    eventually("no rule for the old address", SOON, || {
        !rules(&world, "-4").iter().any(|r| r.contains("10.0.1.204"))
    });
    world.assert_in_sync(SOON);
}

fn two_subnets_on_one_card() {
    let mut world = World::new(Topology::TwoSubnets);
    let _daemon = world.run();
    for added in ["10.0.9.9/24", "2001:db8:9::9/64"] {
        world.lab.add_address("ens6", ifaddr(added)).unwrap();
    }
    world.assert_answers("10.0.9.9");
    world.assert_answers("2001:db8:9::9");
    world.assert_all_answer();
    // The host's own packets to the new subnet's neighbours go by that card.
    let route = &world.json("route get 10.0.9.77 from 10.0.1.204")[0];
    assert_eq!((&route["dev"], &route["gateway"]), (&"ens6".into(), &serde_json::Value::Null));
}

fn an_address_moves_to_the_other_card() {
    let mut world = World::new(Topology::SameSubnet);
    let _daemon = world.run();
    let address = ifaddr("10.0.0.60/24");
    world.lab.add_address("ens5", address).unwrap();
    world.assert_answers("10.0.0.60");
    world.lab.del_address("ens5", address.address).unwrap();
    let moved = Instant::now();
    // The answerer has the address still.
    world.lab.fabric_mut().allow("ens6", multihome_core::Prefix::host(address.address)).unwrap();
    world.ip("address add 10.0.0.60/24 dev ens6");
    eventually("the rule has followed", SOON, || {
        let rules = rules(&world, "-4");
        rules.contains(&"10003: from 10.0.0.60 lookup 10003".to_owned())
            && !rules.contains(&"10002: from 10.0.0.60 lookup 10002".to_owned())
    });
    println!("followed in {:?}", moved.elapsed());
    let neighbour = &world.lab.client("neighbour").unwrap().netns;
    let answer = ask_from(neighbour, None, address.address);
    assert!(answer.is_answered(), "{answer}\n{}", world.dump());
}
