//! A narrow link on the way: what does not fit is cut smaller, for each card apart; and a packet
//! that has come too far is answered by the card that it came in by.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use multihome_core::{Family, Prefix};
use multihome_lab::{End, Netns};

use crate::engine::{Bed, Engine};
use crate::host::Machine;
use crate::runner::tests;
use crate::world::{SOON, eventually};

tests![
    downloads_by_every_card_come_through,
    what_is_learnt_stays_with_the_card,
    a_packet_that_came_too_far_is_answered_by_its_card,
];

/// Where a download is to be had: on the host, and in the container, published.
const SOURCE: u16 = 9000;
const PUBLISHED_SOURCE: u16 = 8081;
const MEGABYTE: usize = 1 << 20;
const NARROW: &str = "203.0.113.20";
const CLIENT: &str = "203.0.113.200";

/// A client behind a narrow link.
struct Narrow {
    bed: Bed,
    client: Machine,
    _router: Machine,
}

impl Narrow {
    fn new() -> Narrow {
        let mut bed = Bed::new(Engine::Nft);
        let router = bed.host.plug("narrow", [203, 0, 113, 1], &[&format!("{NARROW}/24")]);
        let behind: Prefix = format!("{CLIENT}/32").parse().unwrap();
        bed.host.lab.fabric_mut().allow("narrow", behind).unwrap();
        // What is not the router's own goes through it.
        let fabric = Arc::clone(bed.host.lab.fabric().netns());
        let client = Machine { netns: Arc::new(Netns::new("client", &[]).unwrap()) };
        let near = End { netns: &router.netns, name: "thin", mac: None };
        Netns::veth(near, End { netns: &client.netns, name: "eth0", mac: None }).unwrap();
        (Machine { netns: fabric })
            .sh(&format!("ip route replace {CLIENT} via {NARROW} dev narrow onlink"));
        router.sh(&format!(
            "sysctl -w net.ipv4.ip_forward=1 && ip link set thin mtu 1300 up && \
             ip address add 192.168.7.1/32 dev thin && ip route add {CLIENT} dev thin"
        ));
        client.sh(&format!(
            "ip link set eth0 up && ip address add {CLIENT}/32 dev eth0 && \
             ip route add 192.168.7.1 dev eth0 && ip route add default via 192.168.7.1"
        ));
        for netns in [bed.host.host(), &bed.container.netns] {
            let listener = netns.run(|| TcpListener::bind(("0.0.0.0", SOURCE))).unwrap().unwrap();
            thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    thread::spawn(move || drain(stream));
                }
            });
        }
        Narrow { bed, client, _router: router }
    }

    /// The bytes that come.
    fn download(&self, card: usize, port: u16) -> usize {
        let address = self.bed.host.lab.cards()[card].address(Family::V4).unwrap();
        let to = SocketAddr::new(address, port);
        let get = || {
            let patience = Duration::from_secs(4);
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
            stream.set_read_timeout(Some(patience))?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes)?;
            Ok::<_, std::io::Error>(bytes.len())
        };
        self.client.netns.run(get).unwrap().unwrap_or(0)
    }

    #[track_caller]
    fn assert_downloads(&self, card: usize, port: u16) {
        let size = self.download(card, port);
        assert_eq!(size, MEGABYTE, "card {card}, port {port}\n{}", self.bed.dump());
    }

    /// What the host knows of the way from an address.
    fn way(&self, card: usize) -> String {
        let from: IpAddr = self.bed.host.lab.cards()[card].address(Family::V4).unwrap();
        self.bed.host.ip(&format!("route get {CLIENT} from {from}"))
    }
}

fn downloads_by_every_card_come_through() {
    let narrow = Narrow::new();
    assert_eq!(narrow.download(1, SOURCE), 0, "it works without multihome");
    assert_eq!(narrow.download(1, PUBLISHED_SOURCE), 0, "it works without multihome");
    let _daemon = narrow.bed.run();
    for card in [0, 1] {
        for port in [SOURCE, PUBLISHED_SOURCE] {
            narrow.assert_downloads(card, port);
        }
    }
}

fn what_is_learnt_stays_with_the_card() {
    let narrow = Narrow::new();
    let _daemon = narrow.bed.run();
    for (card, other) in [(1, 0), (0, 1)] {
        narrow.bed.host.sh("ip route flush cache");
        narrow.assert_downloads(card, SOURCE);
        let (way, others) = (narrow.way(card), narrow.way(other));
        assert!(way.contains("mtu 1300"), "{way}");
        assert!(!others.contains("mtu"), "{others}");
    }
}

/// The router counts who says so, by which card.
fn a_packet_that_came_too_far_is_answered_by_its_card() {
    let bed = Bed::new(Engine::Nft);
    let router = Machine { netns: Arc::clone(bed.host.lab.fabric().netns()) };
    router.sh("nft -f - << 'END'
table inet counts {
  set said { type iface_index . ipv4_addr; size 16; flags dynamic; }
  chain prerouting { type filter hook prerouting priority -300;
    icmp type time-exceeded add @said { iif . ip saddr }
  }
}
END");
    let said = || router.sh("nft list set inet counts said");
    let probe = |card: usize| {
        let address = bed.host.lab.cards()[card].address(Family::V4).unwrap();
        let connect = || {
            let socket = rustix::net::socket(
                rustix::net::AddressFamily::INET,
                rustix::net::SocketType::STREAM,
                None,
            )?;
            // The router takes one, and the host would take the other.
            rustix::net::sockopt::set_ip_ttl(&socket, 2)?;
            let stream = TcpStream::from(socket);
            stream.set_nonblocking(true)?;
            let to = SocketAddr::new(address, crate::flows::PUBLISHED);
            let _ = rustix::net::connect(&stream, &to); // in progress
            Ok::<_, std::io::Error>(stream)
        };
        let _stream = bed.host.remote().run(connect).unwrap().unwrap();
        eventually("somebody says so", SOON, || said().contains("elements"));
    };
    let own = |card: usize| {
        let card = &bed.host.lab.cards()[card];
        format!("\"{}\" . {}", card.name, card.address(Family::V4).unwrap())
    };
    probe(1);
    assert!(!said().contains(&own(1)), "it works without multihome: {}", said());
    router.sh("nft flush set inet counts said");
    let _daemon = bed.run();
    for card in [0, 1] {
        probe(card);
        let said = said();
        assert!(said.contains(&own(card)), "{}: {said}", own(card));
        router.sh("nft flush set inet counts said");
    }
}

fn drain(mut stream: TcpStream) {
    let _ = stream.write_all(&vec![0; MEGABYTE]); // the client may give up
}
