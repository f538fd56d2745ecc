//! `[[steer]]`, judged by the far end: from which address it sees what the host sends. The fabric
//! drops what leaves by a card that it does not belong to, so the address tells the card.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use multihome_lab::{Proto, Topology};
use nix::sys::socket::{setsockopt, sockopt::Mark};
use rustix::io::Errno;
use rustix::net::sockopt::{set_ip_tos, socket_error};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, send, socket_with};
use rustix::process::Signal;
use rustix::thread::{Uid, set_thread_uid};

use crate::common::shell;
use crate::runner::tests;
use crate::state::{State, rules};
use crate::world::{SOON, World, eventually};

tests![
    what_goes_to_a_prefix_goes_by_the_chosen_card + user,
    by_ipv6_too + user,
    a_protocol_and_a_port_are_steered_and_no_other + user,
    what_a_user_sends_is_steered + user,
    users_are_told_apart,
    what_bears_a_mark_is_steered,
    what_has_a_dscp_is_steered,
    what_a_container_sends_goes_by_the_chosen_card_and_its_replies_come_back,
    answers_are_never_steered + user,
    a_bridge_inside_what_is_steered_stays_reachable,
    without_its_carrier_the_next_uplink_takes_over_until_it_is_back,
    without_its_carrier_it_fails_if_that_is_wanted,
    without_its_gateway_the_next_uplink_takes_over,
    a_connection_stays_where_it_began,
    status_explain_and_verify_know_it_and_down_takes_it_away + user,
];

/// Of the first card, by which main sends everything.
const FIRST: &str = "10.0.0.129";
/// Of the second card.
const SECOND: &str = "10.0.1.204";
/// Somewhere in the Internet, and the network that it is in.
const FAR: &str = "198.51.100.7";
const FAR6: &str = "2001:db8:99::7";
const TO_FAR: &str = "[[steer]]\nuplink = \"ens6\"\nto = \"198.51.100.0/24\"\n";
/// NFS.
const PORT: u16 = 2049;
/// How long the far end waits for a datagram.
const WAIT: Duration = Duration::from_millis(500);

/// What a socket is made to be before it sends.
type Prepare<'a> = &'a (dyn Fn(&OwnedFd) + Sync);

const PLAIN: Prepare<'static> = &|_| {};

/// From which address the far end sees what the host sends there; an errno where it is refused.
#[track_caller]
fn seen(
    world: &World,
    proto: Proto,
    to: &str,
    port: u16,
    prepare: Prepare<'_>,
) -> Result<IpAddr, Errno> {
    let to = SocketAddr::new(to.parse().unwrap(), port);
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let open = |kind| {
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
        prepare(&socket);
        connect(&socket, &to).map(|()| socket)
    };
    match proto {
        Proto::Udp => {
            let far = world.remote().run(|| UdpSocket::bind(to)).unwrap().unwrap();
            far.set_read_timeout(Some(WAIT)).unwrap();
            let start = Instant::now();
            // More than one, for a neighbour that must be asked for first may lose some.
            while start.elapsed() < SOON {
                world
                    .host()
                    .run(|| {
                        let socket = open(SocketType::DGRAM)?;
                        let sent = send(&socket, b"?", rustix::net::SendFlags::empty()).map(drop);
                        socket_error(&socket).unwrap().and(sent)
                    })
                    .unwrap()?;
                if let Ok((_, from)) = far.recv_from(&mut [0]) {
                    return Ok(from.ip());
                }
            }
            panic!("nothing of what is sent to {to} is seen\n{}", world.dump());
        }
        Proto::Tcp => {
            let far = world.remote().run(|| TcpListener::bind(to)).unwrap().unwrap();
            let _socket = world.host().run(|| open(SocketType::STREAM)).unwrap()?;
            Ok(far.accept().unwrap().1.ip())
        }
    }
}

/// From which address the far end sees a datagram of the host's.
#[track_caller]
fn source(world: &World, to: &str, prepare: Prepare<'_>) -> IpAddr {
    seen(world, Proto::Udp, to, PORT, prepare).unwrap()
}

#[track_caller]
fn assert_leaves(world: &World, from: &str, to: &str, prepare: Prepare<'_>) {
    let source = source(world, to, prepare);
    assert_eq!(source.to_string(), from, "\n{}", world.dump());
}

fn what_goes_to_a_prefix_goes_by_the_chosen_card() {
    let world = World::new(Topology::TwoSubnets);
    world.must("apply");
    assert_leaves(&world, FIRST, FAR, PLAIN);
    world.configure("[[steer]]\nuplink = \"ens6\"\nto = \"198.51.0.0/16\"\n");
    world.must("apply");
    assert_leaves(&world, SECOND, FAR, PLAIN);
    assert_eq!(seen(&world, Proto::Tcp, FAR, PORT, PLAIN), Ok(SECOND.parse().unwrap()));
    // What is elsewhere is not steered.
    world.configure("[[steer]]\nuplink = \"ens6\"\nto = \"203.0.113.0/24\"\n");
    world.must("apply");
    assert_leaves(&world, FIRST, FAR, PLAIN);
}

fn by_ipv6_too() {
    let world = World::new(Topology::TwoSubnets);
    world.must("apply");
    // Routers of the same preference: which of them is asked is the kernel's choice.
    let before = source(&world, FAR6, PLAIN);
    let cards = [("ens5", "2001:db8:a::129"), ("ens6", "2001:db8:b::204")];
    let (other, address) = cards.into_iter().find(|(_, a)| *a != before.to_string()).unwrap();
    world.configure(&format!("[[steer]]\nuplink = \"{other}\"\nto = \"2001:db8:99::/48\"\n"));
    world.must("apply");
    assert_leaves(&world, address, FAR6, PLAIN);
    world.configure(&format!(
        "[[steer]]\nuplink = \"{other}\"\nto = \"::/0\"\nprotocol = \"tcp\"\nport = 2049\n"
    ));
    world.must("apply");
    let from = |proto, port| seen(&world, proto, FAR6, port, PLAIN).unwrap();
    assert_eq!(from(Proto::Tcp, 2049).to_string(), address);
    assert_eq!(from(Proto::Tcp, 2050), before);
    assert_eq!(from(Proto::Udp, 2049), before);
}

fn a_protocol_and_a_port_are_steered_and_no_other() {
    let world = World::new(Topology::TwoSubnets);
    world.configure(&format!("{TO_FAR}protocol = \"tcp\"\nport = \"2049-2050\"\n"));
    world.must("apply");
    let from = |proto, port| seen(&world, proto, FAR, port, PLAIN).unwrap().to_string();
    assert_eq!(from(Proto::Tcp, 2049), SECOND);
    assert_eq!(from(Proto::Tcp, 2050), SECOND);
    assert_eq!(from(Proto::Tcp, 2051), FIRST);
    assert_eq!(from(Proto::Tcp, 2048), FIRST);
    assert_eq!(from(Proto::Udp, 2049), FIRST);
}

fn what_a_user_sends_is_steered() {
    let world = World::new(Topology::TwoSubnets);
    assert_eq!(seen_from(&world, 0), FIRST);
    world.configure("[[steer]]\nuplink = \"ens6\"\nuid = 0\n");
    world.must("apply");
    assert_eq!(seen_from(&world, 0), SECOND);
}

fn users_are_told_apart() {
    let world = World::new(Topology::TwoSubnets);
    assert_eq!(seen_from(&world, 1000), FIRST);
    world.configure("[[steer]]\nuplink = \"ens6\"\nuid = \"1000-1001\"\n");
    world.must("apply");
    let seen = [0, 1000, 1001, 1002].map(|uid| seen_from(&world, uid));
    assert_eq!(seen, [FIRST, SECOND, SECOND, FIRST]);
    // What root has made and a user goes on with is root's.
    let becomes = |_: &OwnedFd| set_thread_uid(Uid::from_raw(1000)).unwrap();
    assert_leaves(&world, FIRST, FAR, &becomes);
}

/// From which address the far end sees what a user sends. A socket is its maker's.
fn seen_from(world: &World, uid: u32) -> String {
    let (far, to) = (world.remote(), SocketAddr::new(FAR.parse().unwrap(), PORT));
    let far = far.run(|| UdpSocket::bind(to)).unwrap().unwrap();
    far.set_read_timeout(Some(SOON)).unwrap();
    let send = || {
        set_thread_uid(Uid::from_raw(uid)).unwrap();
        UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"?", to).unwrap();
    };
    world.host().run(send).unwrap();
    far.recv_from(&mut [0]).unwrap().1.ip().to_string()
}

fn what_bears_a_mark_is_steered() {
    let world = World::new(Topology::TwoSubnets);
    world.configure("[[steer]]\nuplink = \"ens6\"\nfwmark = \"0x10/0xf0\"\n");
    world.must("apply");
    let marked = |mark: u32| move |s: &OwnedFd| setsockopt(s, Mark, &mark).unwrap();
    assert_leaves(&world, FIRST, FAR, PLAIN);
    assert_leaves(&world, SECOND, FAR, &marked(0x10));
    assert_leaves(&world, SECOND, FAR, &marked(0x715));
    assert_leaves(&world, FIRST, FAR, &marked(0x20));
}

fn what_has_a_dscp_is_steered() {
    let world = World::new(Topology::TwoSubnets);
    world.configure("[[steer]]\nuplink = \"ens6\"\ndscp = \"af21\"\n");
    world.must("apply");
    let tos = |tos: u8| move |s: &OwnedFd| set_ip_tos(s.as_fd(), tos).unwrap();
    assert_leaves(&world, FIRST, FAR, PLAIN);
    assert_leaves(&world, SECOND, FAR, &tos(18 << 2));
    assert_leaves(&world, FIRST, FAR, &tos(20 << 2));
}

fn what_a_container_sends_goes_by_the_chosen_card_and_its_replies_come_back() {
    let world = World::new(Topology::Containers);
    world.sh("nft 'table ip nat { chain out { type nat hook postrouting priority 100;
           ip saddr 172.17.0.0/16 oifname != docker0 masquerade; }; }'
         sysctl -w net.ipv4.conf.ens5.rp_filter=1 net.ipv4.conf.ens6.rp_filter=1");
    let container = &world.lab.client("container").unwrap().netns;
    // Asks, and is answered; the far end says whom it saw.
    let from = || {
        let to = SocketAddr::new(FAR.parse().unwrap(), PORT);
        let far = world.remote().run(|| UdpSocket::bind(to)).unwrap().unwrap();
        let near = container.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
        for socket in [&far, &near] {
            socket.set_read_timeout(Some(SOON)).unwrap();
        }
        near.send_to(b"?", to).unwrap();
        let (_, seen) = far.recv_from(&mut [0]).unwrap();
        far.send_to(b"!", seen).unwrap();
        near.recv_from(&mut [0]).unwrap_or_else(|e| panic!("no reply: {e}\n{}", world.dump()));
        seen.ip().to_string()
    };
    assert_eq!(from(), FIRST);
    world.configure("[[steer]]\nuplink = \"ens6\"\niif = \"docker0\"\n");
    world.must("apply");
    assert_eq!(from(), SECOND);
    // What the host sends itself is not meant.
    assert_leaves(&world, FIRST, FAR, PLAIN);
    world.must("down");
    assert_eq!(from(), FIRST);
}

fn answers_are_never_steered() {
    let world = World::new(Topology::TwoSubnets);
    world.configure(
        "[[steer]]\nuplink = \"ens6\"\nto = [\"198.51.100.0/24\", \"2001:db8:99::/48\"]\n
         [[steer]]\nuplink = \"ens6\"\nprotocol = \"tcp\"\n
         [[steer]]\nuplink = \"ens6\"\nuid = 0\n",
    );
    let _daemon = world.run();
    let strayed = world.strayed();
    world.assert_all_answer_at_once();
    assert_eq!(world.strayed(), strayed, "answers by the wrong card\n{}", world.dump());
}

fn a_bridge_inside_what_is_steered_stays_reachable() {
    let world = World::new(Topology::Containers);
    world.configure("[[steer]]\nuplink = \"ens6\"\nto = [\"172.16.0.0/12\", \"fd00::/8\"]\n");
    world.must("apply");
    for (to, dev) in [
        ("172.17.0.2", "docker0"),
        ("172.18.0.2", "ens6"),
        ("fd00:172:17::2", "docker0"),
        ("fd00:18::2", "ens6"),
    ] {
        assert_eq!(world.json(&format!("route get {to}"))[0]["dev"], dev, "{to}");
    }
    let container = world.lab.client("container").unwrap();
    let _answerer =
        multihome_lab::Answerer::start(&container.netns, container.addresses.clone()).unwrap();
    for to in &container.addresses {
        let answer = crate::world::ask_from(world.host(), None, *to);
        assert!(answer.is_answered(), "{to}: {answer}\n{}", world.dump());
    }
    world.assert_all_answer();
}

fn without_its_carrier_the_next_uplink_takes_over_until_it_is_back() {
    let world = World::new(Topology::TwoSubnets);
    world.configure(TO_FAR);
    let daemon = world.run();
    assert_leaves(&world, SECOND, FAR, PLAIN);
    for _ in 0..3 {
        world.lab.set_carrier("ens6", false).unwrap();
        lost(&world);
        let start = Instant::now();
        eventually("the next uplink takes over", SOON, || goes_by(&world, "ens5"));
        eprintln!(
            "taken over {:?} after the kernel said that the carrier is lost",
            start.elapsed()
        );
        assert_leaves(&world, FIRST, FAR, PLAIN);
        assert!(world.multihome("status").out.contains("by ens5 instead"));
        world.lab.set_carrier("ens6", true).unwrap();
        eventually("and back", SOON, || goes_by(&world, "ens6"));
        assert_leaves(&world, SECOND, FAR, PLAIN);
    }
    let (_, log) = daemon.stop(Signal::TERM);
    assert!(!log.contains("error"), "{log}");
}

fn without_its_carrier_it_fails_if_that_is_wanted() {
    let world = World::new(Topology::TwoSubnets);
    world.configure(&format!("{TO_FAR}unless_down = \"fail\"\n"));
    let _daemon = world.run();
    assert_leaves(&world, SECOND, FAR, PLAIN);
    let refused = |world: &World| {
        let result = seen(world, Proto::Tcp, FAR, PORT, PLAIN);
        matches!(result, Err(Errno::HOSTUNREACH | Errno::NETUNREACH))
    };
    let strayed = world.strayed();
    world.lab.set_carrier("ens6", false).unwrap();
    lost(&world);
    eventually("it is refused without a carrier", SOON, || refused(&world));
    world.lab.set_carrier("ens6", true).unwrap();
    eventually("it is back with the carrier", SOON, || !refused(&world));
    assert_leaves(&world, SECOND, FAR, PLAIN);
    world.lab.link_down("ens6").unwrap();
    eventually("it is refused while the card is down", SOON, || refused(&world));
    world.lab.link_up("ens6").unwrap();
    eventually("it is back", SOON, || !refused(&world));
    assert_leaves(&world, SECOND, FAR, PLAIN);
    assert_eq!(world.strayed(), strayed);
}

fn without_its_gateway_the_next_uplink_takes_over() {
    let world = World::new(Topology::TwoSubnets);
    world.configure(TO_FAR);
    let _daemon = world.run();
    assert_leaves(&world, SECOND, FAR, PLAIN);
    world.lab.withdraw_gateway("ens6").unwrap();
    eventually("the next uplink takes over", SOON, || goes_by(&world, "ens5"));
    assert_leaves(&world, FIRST, FAR, PLAIN);
    world.lab.renew("ens6").unwrap();
    eventually("and back", SOON, || goes_by(&world, "ens6"));
    assert_leaves(&world, SECOND, FAR, PLAIN);
}

fn a_connection_stays_where_it_began() {
    let world = World::new(Topology::TwoSubnets);
    world.configure(TO_FAR);
    let daemon = world.run();
    let _answerer = world.let_remote_answer();
    let to = SocketAddr::new(FAR.parse().unwrap(), multihome_lab::traffic::PORT);
    let mut stream = world.host().run(|| TcpStream::connect(to)).unwrap().unwrap();
    assert_eq!(stream.local_addr().unwrap().ip().to_string(), SECOND);
    let mut echoes = |within| {
        stream.set_read_timeout(Some(within)).unwrap();
        stream.write_all(b".").is_ok() && stream.read_exact(&mut [0]).is_ok()
    };
    assert!(echoes(SOON));
    let strayed = world.strayed();
    // New ones go by the next uplink; this one has an address that only its own card may send from,
    // so it waits, and goes on when the carrier is back.
    world.lab.set_carrier("ens6", false).unwrap();
    lost(&world);
    eventually("the next uplink takes over", SOON, || goes_by(&world, "ens5"));
    assert!(!echoes(Duration::from_millis(500)), "nothing can come back");
    world.lab.set_carrier("ens6", true).unwrap();
    // The kernel sends again after twice the time each time.
    assert!(echoes(Duration::from_secs(5)), "{}", world.dump());
    assert_eq!(world.strayed(), strayed, "nothing has left by the other card");
    // Without the entry new ones go elsewhere, and this one goes on.
    world.configure("");
    daemon.signal(Signal::HUP);
    eventually("it is not steered any more", SOON, || goes_by(&world, "ens5"));
    assert!(echoes(SOON), "{}", world.dump());
    assert_eq!(world.strayed(), strayed, "nothing has left by the other card");
}

fn status_explain_and_verify_know_it_and_down_takes_it_away() {
    let world = World::new(Topology::TwoSubnets);
    let before = State::of(&world);
    world.configure(&format!("{TO_FAR}name = \"archive\"\nprotocol = \"tcp\"\nport = 2049\n"));
    world.must("apply");
    let status = world.must("status").split_whitespace().collect::<Vec<_>>().join(" ");
    let wanted = "steered: archive: to 198.51.100.0/24 tcp port 2049 (IPv4): by ens6";
    assert!(status.contains(wanted), "{status}");
    let rule = rules(&world, "-4")
        .into_iter()
        .find(|r| r.contains("dport 2049") && r.contains("lookup 10003"))
        .unwrap();
    let (priority, _) = rule.split_once(':').unwrap();
    let explained = world.multihome(&format!("explain {FAR} --proto tcp --dport 2049"));
    assert!(
        explained.out.contains(priority) && explained.out.contains("ens6"),
        "{explained:#?}\n{rule}"
    );
    assert!(explained.out.contains("kernel   says the same"), "{}", explained.out);
    assert_eq!(explained.code, Some(0), "{}", explained.out);
    world.must("verify");
    world.assert_in_sync(SOON);
    world.must("down");
    before.assert_is(&State::of(&world), "after down");
}

// ===== helpers =====

/// Waits until the kernel says that the second card has lost its carrier, for which it may take a
/// second (`linkwatch`).
#[track_caller]
fn lost(world: &World) {
    eventually("the carrier is lost", SOON, || world.ip("link show ens6").contains("NO-CARRIER"));
}

/// By which card the host would send to the far end.
fn goes_by(world: &World, card: &str) -> bool {
    shell::sh(world.host(), &format!("ip route get {FAR} || true"))
        .contains(&format!("dev {card} "))
}
