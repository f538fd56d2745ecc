//! Where gateways come from, how they change, and how they are lost.

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use multihome_lab::{Answerer, End, Ifaddr, Mac, Netns, Topology, until_answered};
use nix::sys::socket::{setsockopt, sockopt};

use crate::runner::tests;
use crate::state::{rules, table};
use crate::world::{SOON, World, ask_from, eventually};

tests![
    a_lease_changes_the_gateway + user,
    an_advertisement_changes_the_gateway,
    metrics_of_the_default_follow,
    a_withdrawn_gateway_is_forgotten_and_its_traffic_refused + user,
    an_expired_advertisement_is_no_way_out,
    a_shortened_lifetime_is_heard,
    a_configured_gateway_where_the_kernel_has_none,
    a_gateway_that_only_static_routes_tell,
    a_second_gateway_of_static_routes_takes_nothing_away,
    a_default_in_another_table,
    a_default_and_its_network_in_another_table,
    a_multipath_default_over_both_cards,
    a_default_by_a_nexthop_object,
    a_gateway_outside_of_the_address,
    an_address_without_connected_route,
    two_cards_with_one_link_local_gateway,
    a_point_to_point_link,
    a_tunnel_counts_only_when_it_is_named,
    a_socket_bound_to_a_device_leaves_by_its_gateway + user,
];

const SECOND: &str = "10.0.1.204";
const SECOND6: &str = "2001:db8:b::204";

fn a_lease_changes_the_gateway() {
    let mut world = World::new(Topology::TwoSubnets);
    let _daemon = world.run();
    world.assert_answers(SECOND);
    // The old gateway is dead; the lease is renewed as `ip route replace` does it.
    let mac = Mac([2, 0, 0, 0, 9, 9]);
    let gateway = Some("10.0.1.9".parse().unwrap());
    world.lab.fabric_mut().change_gateway("ens6", gateway, None, mac).unwrap();
    world.ip("route replace default via 10.0.1.9 dev ens6 metric 3");
    world.ip("neighbour flush dev ens6");
    world.assert_answers(SECOND);
    let routes = table(&world, "-4", "10003");
    assert!(routes.iter().any(|r| r.starts_with("default via 10.0.1.9 ")), "{routes:#?}");
    assert!(!routes.iter().any(|r| r.contains("10.0.1.1 ")), "{routes:#?}");
}

fn an_advertisement_changes_the_gateway() {
    let mut world = World::new(Topology::TwoSubnets);
    let _daemon = world.run();
    world.assert_answers(SECOND6);
    let new = "fe80::9:9".parse().unwrap();
    world.lab.change_gateway("ens6", Some("10.0.1.10".parse().unwrap()), Some(new)).unwrap();
    world.assert_answers(SECOND);
    world.assert_answers(SECOND6);
    eventually("the table has the new gateway only", SOON, || {
        let routes = table(&world, "-6", "10003");
        let defaults: Vec<_> = routes.iter().filter(|r| r.starts_with("default")).collect();
        matches!(defaults[..], [only] if only.contains("via fe80::9:9 "))
    });
    world.assert_all_answer();
}

fn metrics_of_the_default_follow() {
    let world = World::new(Topology::TwoSubnets);
    let _daemon = world.run();
    world.ip("route change default via 10.0.1.1 dev ens6 metric 3 initcwnd 20 mtu 1400");
    eventually("the table's default has them too", SOON, || {
        let routes = table(&world, "-4", "10003");
        routes.iter().any(|r| r.contains("mtu 1400") && r.contains("initcwnd 20"))
    });
    world.assert_all_answer();
    world.assert_in_sync(SOON);
}

fn a_withdrawn_gateway_is_forgotten_and_its_traffic_refused() {
    let world = World::new(Topology::TwoSubnets);
    let daemon = world.run();
    world.assert_all_answer();
    let _answerer = world.let_remote_answer();
    assert!(world.host_asks(SECOND).is_answered());
    let strayed = world.strayed();
    world.lab.withdraw_gateway("ens6").unwrap();
    for from in [SECOND, SECOND6] {
        world.assert_refused(from, SOON);
    }
    daemon.says("gateway 10.0.1.1 of");
    // Forgotten for good: a flap does not bring it back.
    world.lab.link_down("ens6").unwrap();
    world.lab.link_up("ens6").unwrap();
    world.assert_in_sync(SOON);
    world.assert_refused(SECOND, SOON);
    assert_eq!(world.strayed(), strayed, "nothing left by ens5");
    // What is on the link is still delivered.
    let near = &world.lab.client("near-ens6").unwrap();
    let _near = Answerer::start(&near.netns, near.addresses.clone()).unwrap();
    let answer = ask_from(world.host(), Some(SECOND.parse().unwrap()), near.addresses[0]);
    assert!(answer.is_answered(), "{answer}");
    world.lab.renew("ens6").unwrap();
    world.assert_answers(SECOND);
    world.assert_answers(SECOND6);
}

fn an_expired_advertisement_is_no_way_out() {
    let world = World::new(Topology::TwoSubnets);
    let _daemon = world.run();
    world.assert_all_answer();
    let _answerer = world.let_remote_answer();
    let strayed = world.strayed();
    // A router that has just come, speaks once, and is never heard again.
    world.lab.fabric().advertise("ens6", 0).unwrap();
    world.assert_refused(SECOND6, SOON);
    world.lab.fabric().advertise("ens6", 2).unwrap();
    let start = Instant::now();
    let soon = Duration::from_millis(1500);
    let answered = until_answered(world.remote(), SECOND6.parse().unwrap(), soon).unwrap();
    assert!(answered.is_some(), "{}", world.dump());
    world.assert_refused(SECOND6, Duration::from_secs(5));
    assert!(start.elapsed() > Duration::from_millis(1500), "not before its time");
    assert_eq!(world.strayed(), strayed, "nothing left by ens5");
    world.assert_answers(SECOND);
    world.lab.fabric().advertise("ens6", 1800).unwrap();
    world.assert_answers(SECOND6);
}

fn a_shortened_lifetime_is_heard() {
    let world = World::new(Topology::TwoSubnets);
    let _daemon = world.run();
    world.assert_all_answer();
    let _answerer = world.let_remote_answer();
    let strayed = world.strayed();
    // From 9000 seconds to 2: the kernel announces no change of the route.
    world.lab.fabric().advertise("ens6", 2).unwrap();
    thread::sleep(Duration::from_millis(1000));
    assert!(world.host_asks(SECOND6).is_answered());
    world.assert_refused(SECOND6, Duration::from_secs(5));
    assert_eq!(world.strayed(), strayed, "nothing left by ens5");
    world.assert_in_sync(SOON);
}

fn a_configured_gateway_where_the_kernel_has_none() {
    let world = World::new(Topology::Campus);
    world.ips("route del 10.225.144.0/24\n-6 route del 2001:db8:144::/64");
    let router = world.lab.card("ens224").unwrap().gateway6;
    let daemon = world.run();
    assert!(!rules(&world, "-4").iter().any(|r| r.contains("10.225.176.38")), "no way out");
    drop(daemon);
    world.configure(&format!("[interface.ens224]\ngateway = [\"10.225.176.1\", \"{router}\"]\n"));
    let _daemon = world.run();
    world.assert_all_answer();
    world.lab.link_down("ens224").unwrap();
    world.assert_refused("10.225.176.38", SOON);
    world.lab.link_up("ens224").unwrap();
    world.assert_answers("10.225.176.38");
}

fn a_gateway_that_only_static_routes_tell() {
    let world = World::new(Topology::Campus);
    let _daemon = world.run();
    world.assert_all_answer();
    let strayed = world.strayed();
    world.ips("route del 10.225.144.0/24");
    world.assert_refused("10.225.176.38", SOON);
    assert_eq!(world.strayed(), strayed);
    world.ip("route add 10.225.144.0/24 via 10.225.176.1");
    world.assert_answers("10.225.176.38");
    world.assert_all_answer();
}

fn a_second_gateway_of_static_routes_takes_nothing_away() {
    let world = World::new(Topology::Campus);
    let daemon = world.run();
    world.assert_all_answer();
    world.ip("route add 10.225.99.0/24 via 10.225.176.9");
    world.assert_in_sync(SOON);
    world.assert_all_answer();
    assert!(!daemon.log().contains("withdrawn"), "{}", daemon.log());
    // With no memory of it, which of the two leads out would be a guess, and is said.
    drop(daemon);
    world.must("down");
    let status = world.multihome("status").out;
    assert!(status.contains("has several IPv4 gateways and no default"), "{status}");
}

fn a_default_in_another_table() {
    let world = World::new(Topology::TwoSubnets);
    let _daemon = world.run();
    world.assert_answers(SECOND);
    world.ips("route add default via 10.0.1.1 dev ens6 table 200\nroute del default dev ens6");
    world.assert_answers(SECOND);
    world.assert_in_sync(SOON);
    world.assert_all_answer();
    world.ip("route del default table 200");
    world.assert_refused(SECOND, SOON);
}

fn a_default_and_its_network_in_another_table() {
    let world = World::new(Topology::TwoSubnets);
    world.ips(
        "address del 10.0.1.204/24 dev ens6
         address add 10.0.1.204/24 dev ens6 noprefixroute
         route add 10.0.1.0/24 dev ens6 scope link src 10.0.1.204 table 200
         route add default via 10.0.1.1 dev ens6 table 200",
    );
    let _daemon = world.run();
    world.assert_all_answer();
    let routes = table(&world, "-4", "10003");
    assert!(
        routes.contains(&"10.0.1.0/24 dev ens6 scope link src 10.0.1.204".to_owned()),
        "{routes:#?}"
    );
    world.lab.link_down("ens6").unwrap();
    world.lab.link_up("ens6").unwrap();
    world.assert_answers(SECOND);
}

fn a_multipath_default_over_both_cards() {
    let world = World::new(Topology::TwoSubnets);
    world.ips(
        "route del default dev ens5\nroute del default dev ens6
         route add default nexthop via 10.0.0.1 dev ens5 nexthop via 10.0.1.1 dev ens6 weight 3",
    );
    let _daemon = world.run();
    world.assert_all_answer();
    let routes = table(&world, "-4", "10003");
    assert!(routes[0].starts_with("default via 10.0.1.1 dev ens6"), "{routes:#?}");
    for _ in 0..2 {
        world.lab.link_down("ens6").unwrap();
        world.assert_refused(SECOND, SOON);
        world.lab.link_up("ens6").unwrap();
        world.assert_answers(SECOND);
        world.assert_answers("10.0.0.129");
    }
    world.assert_in_sync(SOON);
}

fn a_default_by_a_nexthop_object() {
    let world = World::new(Topology::TwoSubnets);
    world.ips(
        "route del default dev ens6\nnexthop add id 7 via 10.0.1.1 dev ens6
         route add default nhid 7 metric 3",
    );
    let _daemon = world.run();
    world.assert_all_answer();
    // The route follows the object without an event of its own.
    let mut world = world;
    let mac = Mac([2, 0, 0, 0, 9, 9]);
    let gateway = Some("10.0.1.9".parse().unwrap());
    world.lab.fabric_mut().change_gateway("ens6", gateway, None, mac).unwrap();
    world.ip("nexthop replace id 7 via 10.0.1.9 dev ens6");
    world.ip("neighbour flush dev ens6");
    world.assert_answers(SECOND);
    // The object goes, and the route with it, in silence.
    let strayed = world.strayed();
    world.ip("nexthop del id 7");
    world.assert_refused(SECOND, SOON);
    assert_eq!(world.strayed(), strayed);
}

fn a_gateway_outside_of_the_address() {
    let world = World::new(Topology::TwoSubnets);
    world.ips(
        "address del 10.0.1.204/24 dev ens6\naddress add 10.0.1.204/32 dev ens6
         route add 10.0.1.1 dev ens6 scope link\nroute add default via 10.0.1.1 dev ens6 metric 3",
    );
    let _daemon = world.run();
    world.assert_all_answer();
    world.lab.link_down("ens6").unwrap();
    world.lab.link_up("ens6").unwrap();
    world.assert_answers(SECOND);
    world.assert_in_sync(SOON);
}

fn an_address_without_connected_route() {
    let world = World::new(Topology::TwoSubnets);
    world.ips(
        "address del 10.0.1.204/24 dev ens6\naddress add 10.0.1.204/24 dev ens6 noprefixroute
         route add 10.0.1.0/24 dev ens6 proto dhcp scope link src 10.0.1.204 metric 1003
         route add default via 10.0.1.1 dev ens6 proto dhcp src 10.0.1.204 metric 1003",
    );
    let _daemon = world.run();
    world.assert_all_answer();
    let routes = table(&world, "-4", "10003");
    assert!(routes[0].starts_with("default via 10.0.1.1 dev ens6 src 10.0.1.204"), "{routes:#?}");
}

fn two_cards_with_one_link_local_gateway() {
    let world = World::new(Topology::SameSubnet);
    let _daemon = world.run();
    for (card, number) in [("ens5", "10002"), ("ens6", "10003")] {
        let routes = table(&world, "-6", number);
        let wanted = format!("default via fe80::8f:53ff:fe6f:64ef dev {card} ");
        assert!(routes.iter().any(|r| r.starts_with(&wanted)), "{routes:#?}");
        assert!(routes.iter().all(|r| r.contains(card) || r.contains("dev lo")), "{routes:#?}");
    }
    world.assert_all_answer();
}

fn a_point_to_point_link() {
    let world = World::new(Topology::TwoSubnets);
    let peer = Netns::new("peer", &[]).unwrap();
    let end = |netns, name| End { netns, name, mac: None };
    Netns::veth(end(world.host(), "ptp0"), end(&peer, "ptp0")).unwrap();
    for (netns, local, remote) in
        [(&**world.host(), "192.0.2.1", "192.0.2.2"), (&peer, "192.0.2.2", "192.0.2.1")]
    {
        netns.set_up("ptp0").unwrap();
        let address = Ifaddr::new(local.parse().unwrap(), 32);
        let address = Ifaddr { peer: Some(remote.parse().unwrap()), ..address };
        netns.add_address("ptp0", &address).unwrap();
    }
    // Far behind the peer.
    peer.set_up("lo").unwrap();
    let far: IpAddr = "203.0.113.9".parse().unwrap();
    peer.add_address("lo", &Ifaddr::new(far, 32)).unwrap();
    world.ip("route add default dev ptp0 metric 500");
    world.lab.answerer().listen("192.0.2.1".parse().unwrap()).unwrap();
    let _daemon = world.run();
    let answer = ask_from(&peer, Some(far), "192.0.2.1".parse().unwrap());
    assert!(answer.is_answered(), "{answer}\n{}", world.dump());
    world.assert_all_answer();
    world.ip("link set ptp0 down");
    world.assert_refused("192.0.2.1", SOON);
    world.ip("link set ptp0 up");
    let ask = || ask_from(&peer, Some(far), "192.0.2.1".parse().unwrap()).is_answered();
    eventually("it answers again", SOON, ask);
}

fn a_tunnel_counts_only_when_it_is_named() {
    let world = World::new(Topology::TwoSubnets);
    world.ips(
        "link add tun0 type vxlan id 7 dstport 4789\naddress add 192.0.2.1/24 dev tun0\nlink set tun0 up
         route add default via 192.0.2.2 dev tun0 metric 900",
    );
    let daemon = world.run();
    let has_rule = || rules(&world, "-4").iter().any(|r| r.contains("from 192.0.2.1 "));
    assert!(!has_rule());
    assert_eq!(world.json("-details link show tun0")[0]["group"], "0");
    world.assert_all_answer();
    let status = world.must("status");
    assert!(status.contains("tunnel (vxlan)"), "{status}");
    world.configure("[interface.tun0]\non_down = \"unreachable\"\n");
    daemon.signal(rustix::process::Signal::HUP);
    eventually("the tunnel counts", SOON, has_rule);
    let route = &world.json("route get 198.51.100.7 from 192.0.2.1")[0];
    assert_eq!(route["dev"], "tun0", "{route}");
    world.assert_all_answer();
    world.assert_in_sync(SOON);
    fs::remove_file(crate::world::CONFIG).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    eventually("and no more", SOON, || !has_rule());
}

fn a_socket_bound_to_a_device_leaves_by_its_gateway() {
    let world = World::new(Topology::Campus);
    let _answerer = world.let_remote_answer();
    // Without a source of its own, by the device whose default main does not have.
    let asks = |to: IpAddr| {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        setsockopt(&socket, sockopt::BindToDevice, &"ens224".into())?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        socket.connect((to, 7777))?;
        socket.send(b"anyone?")?;
        socket.recv(&mut [0; 16])?;
        Ok::<_, std::io::Error>(socket.local_addr()?.ip())
    };
    let internet = world.lab.clients()[0].addresses.clone();
    // As on a real network: nobody but the gateway answers for what is not on the link.
    world.lab.fabric().netns().sysctl("ipv4/conf/ens224/proxy_arp", "0").unwrap();
    let before = world.host().run(|| asks(internet[0])).unwrap();
    assert!(before.is_err(), "without us it takes everything to be on the link: {before:?}");
    let _daemon = world.run();
    for (to, source) in internet.iter().zip(["10.225.176.38", "2001:db8:176::38"]) {
        let from = world.host().run(|| asks(*to)).unwrap();
        let from = from.unwrap_or_else(|e| panic!("{to}: {e}\n{}", world.dump()));
        assert_eq!(from.to_string(), source);
    }
}
