//! Two cards on one wire: whoever asks for an address gets the Ethernet address of its own card,
//! every time.
//!
//! The laboratory's ports are apart, so the wire is the test's own: two more cards of the host,
//! and a router, on a bridge.

use std::sync::Arc;

use multihome_lab::{End, Mac, Netns, Topology};

use crate::host::{Host, Machine};
use crate::runner::tests;
use crate::world::{SOON, eventually};

tests![
    a_router_that_asks_learns_the_right_card,
    a_router_that_is_asked_learns_the_right_card,
    what_was_changed_for_it_is_changed_back,
];

/// The cards with their addresses.
const CARDS: [(&str, &str); 2] = [("ens7", "10.0.7.5"), ("ens8", "10.0.7.6")];
const ROUTER: &str = "10.0.7.1";
/// Chance has no chance.
const TIMES: usize = 20;

/// A host with such cards, and their router.
struct Wire {
    host: Host,
    router: Machine,
}

impl Wire {
    fn new() -> Wire {
        let host = Host::new(Topology::TwoSubnets);
        let router = Machine { netns: Arc::new(Netns::new("wire", &[]).unwrap()) };
        router.netns.bridge("wire").unwrap();
        router.sh(&format!("ip address add {ROUTER}/24 dev wire && ip link set wire up"));
        for (n, (card, address)) in CARDS.into_iter().enumerate() {
            let mac = Some(mac(n));
            let end = End { netns: &router.netns, name: card, mac: None };
            Netns::veth(End { netns: host.host(), name: card, mac }, end).unwrap();
            router.netns.set_master(card, Some("wire")).unwrap();
            router.netns.set_up(card).unwrap();
            host.sh(&format!(
                "ip link set {card} up && ip address add {address}/24 dev {card} && \
                 ip route add default via {ROUTER} dev {card} metric {}",
                100 + n
            ));
        }
        let wire = Wire { host, router };
        eventually("the wire carries", SOON, || {
            let ping = format!("ping -c 1 -W 1 {}", CARDS[0].1);
            wire.router.netns.run(|| shell(&ping)).unwrap()
        });
        wire
    }

    /// How often the router knew the wrong card, after something that makes it learn: what runs
    /// in it, or in the host, is given an address of the host's.
    fn wrong(&self, learns: impl Fn(&Wire, &str)) -> usize {
        let mut wrong = 0;
        for _ in 0..TIMES {
            for (n, (_, address)) in CARDS.into_iter().enumerate() {
                self.router.sh("ip neighbour flush dev wire");
                self.host.sh("for d in ens7 ens8; do ip neighbour flush dev $d; done");
                learns(self, address);
                let known = self.router.sh(&format!("ip neighbour show {address} dev wire"));
                wrong += usize::from(!known.contains(&mac(n).to_string()));
            }
        }
        wrong
    }

    #[track_caller]
    fn assert_cured(&self, learns: impl Fn(&Wire, &str)) {
        let wrong = self.wrong(&learns);
        println!("wrong without multihome: {wrong} of {}", TIMES * CARDS.len());
        assert!(wrong > 0, "nothing is wrong without multihome");
        let _daemon = self.host.run();
        let wrong = self.wrong(&learns);
        assert_eq!(wrong, 0, "of {}\n{}", TIMES * CARDS.len(), self.host.dump());
    }
}

fn a_router_that_asks_learns_the_right_card() {
    Wire::new().assert_cured(|wire, address| {
        let ping = format!("ping -c 1 -W 1 {address}");
        wire.router.netns.run(|| shell(&ping)).unwrap();
    });
}

fn a_router_that_is_asked_learns_the_right_card() {
    Wire::new().assert_cured(|wire, address| {
        wire.host.shell(&format!("ping -c 1 -W 1 -I {address} {ROUTER}"));
    });
}

fn what_was_changed_for_it_is_changed_back() {
    let wire = Wire::new();
    let look = "sysctl -a 2> /dev/null | grep -E 'net.ipv4.conf.*arp_(ignore|announce|filter)'";
    let before = wire.host.sh(look);
    let daemon = wire.host.run();
    let with = wire.host.sh(look);
    assert_ne!(with, before);
    // The others are not concerned.
    for line in with.lines().filter(|l| !before.contains(*l)) {
        assert!(line.contains("ens7") || line.contains("ens8"), "{line}");
    }
    drop(daemon);
    wire.host.must("down");
    assert_eq!(wire.host.sh(look), before);
}

/// An Ethernet address of a card.
fn mac(n: usize) -> Mac {
    Mac([0x02, 0, 0, 0, 7, u8::try_from(n).unwrap() + 5])
}

/// Whether a line of shell succeeds.
fn shell(script: &str) -> bool {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script]).stdout(std::process::Stdio::null());
    command.status().is_ok_and(|s| s.success())
}
