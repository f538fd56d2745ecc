//! What the table does with packets: a client, a host that publishes a container's port, and the
//! container, each in a namespace of its own.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use multihome_core::model::netfilter::{Held, ReturnPath};
use multihome_kernel::Nft;
use nix::sched::{CloneFlags, unshare};

use crate::netns::{accept_dad, eventually, ip};
use crate::nft::nft;

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a namespace of its own, which has one end of a pair of links.
struct Elsewhere(Sender<Job>);

impl Elsewhere {
    /// `link` is the end that stays here; `of_host` and `own` are addresses of both families.
    fn new(link: &str, of_host: [&str; 2], own: [&str; 2]) -> Elsewhere {
        let (jobs, work) = channel::<Job>();
        let (said, tid) = channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            said.send(nix::unistd::gettid()).expect("main");
            work.into_iter().for_each(|job| job());
        });
        let there = Elsewhere(jobs);
        ip(&format!("link add {link} type veth peer name there"));
        ip(&format!("link set there netns {}", tid.recv().expect("the thread")));
        accept_dad(link, "0");
        ip(&format!("link set {link} up"));
        of_host.iter().for_each(|a| drop(ip(&format!("address add {a} dev {link}"))));
        let own = own.map(str::to_owned);
        let hosts = of_host.map(|a| a.split('/').next().unwrap_or_default().to_owned());
        there.run(move || {
            ip("link set there up");
            own.iter().for_each(|a| drop(ip(&format!("address add {a} dev there nodad"))));
            hosts.iter().for_each(|h| drop(ip(&format!("route add default via {h}"))));
        });
        there
    }

    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        let job = Box::new(move || done.send(job()).expect("main"));
        self.0.send(job).expect("the thread");
        result.recv().expect("an end of the job")
    }

    /// Answers at a port with what it was told.
    fn serve(&self, address: &'static str) {
        self.run(move || {
            let listener = TcpListener::bind(address).expect("a listener");
            // A thread's namespace is that of who starts it.
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.expect("a client");
                    thread::spawn(move || {
                        let mut byte = [0];
                        while stream.read_exact(&mut byte).is_ok() {
                            stream.write_all(&byte).expect("the client");
                        }
                    });
                }
            });
        });
    }

    fn connect(&self, to: &'static str) -> TcpStream {
        self.run(move || {
            let to: SocketAddr = to.parse().expect("an address");
            let stream = TcpStream::connect_timeout(&to, Duration::from_secs(5)).expect("a server");
            stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
            stream
        })
    }
}

fn echo(stream: &mut TcpStream) {
    stream.write_all(b"x").expect("the server");
    let mut byte = [0];
    stream.read_exact(&mut byte).expect("an answer");
    assert_eq!(&byte, b"x");
}

/// How many packets a counter saw.
fn counted(name: &str) -> u32 {
    let text = nft(&format!("list counter inet judge {name}"));
    let packets = text.split("packets ").nth(1).and_then(|t| t.split_whitespace().next());
    packets.expect("packets").parse().expect("a number")
}

pub fn replies_of_translated_connections_are_marked() {
    let client = Elsewhere::new(
        "vc",
        ["198.51.100.1/24", "2001:db8:1::1/64"],
        ["198.51.100.2/24", "2001:db8:1::2/64"],
    );
    let container = Elsewhere::new(
        "vk",
        ["172.17.0.1/24", "2001:db8:7::1/64"],
        ["172.17.0.2/24", "2001:db8:7::2/64"],
    );
    for forwarding in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        std::fs::write(format!("/proc/sys/net/{forwarding}"), "1").expect(forwarding);
    }
    for (family, host, to) in
        [("ip", "198.51.100.1", "172.17.0.2:80"), ("ip6", "2001:db8:1::1", "[2001:db8:7::2]:80")]
    {
        nft(&format!("add table {family} nat"));
        nft(&format!("add chain {family} nat c {{ type nat hook prerouting priority -100; }}"));
        nft(&format!("add rule {family} nat c {family} daddr {host} tcp dport 80 dnat to {to}"));
    }
    nft("add table inet judge");
    for counter in ["marked4", "marked6", "kept", "others"] {
        nft(&format!("add counter inet judge {counter}"));
    }
    nft("add chain inet judge before { type filter hook prerouting priority -160; }");
    nft("add rule inet judge before meta mark set 0x7");
    nft("add chain inet judge after { type filter hook prerouting priority -140; }");
    for rule in [
        "iifname vk meta mark 0x00010007 counter name marked4 accept",
        "iifname vk meta mark 0x00020007 counter name marked6 accept",
        "meta mark 0x7 counter name kept accept",
        "counter name others",
    ] {
        nft(&format!("add rule inet judge after {rule}"));
    }
    container.serve("[::]:80");
    client.serve("[::]:81");
    let mut old = client.connect("198.51.100.1:80");
    echo(&mut old);
    assert_eq!((counted("marked4"), counted("marked6"), counted("others")), (0, 0, 0));

    let of = |a: &str| [a.parse().expect("an address")].into();
    let marks = [(0x1_0000, of("198.51.100.1")), (0x2_0000, of("2001:db8:1::1"))].into();
    let path = ReturnPath { mask: 0xf_0000, marks };
    Nft::open().unwrap().write(&Held::Absent, Some(&path)).unwrap();

    // Connections that are not translated are left alone, in both directions.
    echo(&mut container.connect("198.51.100.2:81"));
    echo(&mut container.connect("[2001:db8:1::2]:81"));
    assert_eq!((counted("marked4"), counted("marked6"), counted("others")), (0, 0, 0));
    // One that is older than the table.
    echo(&mut old);
    eventually("an old connection is marked", || counted("marked4") > 0);
    let before = counted("marked4");
    echo(&mut client.connect("198.51.100.1:80"));
    assert!(counted("marked4") > before);
    assert_eq!(counted("marked6"), 0);
    echo(&mut client.connect("[2001:db8:1::1]:80"));
    assert!(counted("marked6") > 0);
    assert!(counted("kept") > 0);
    assert_eq!(counted("others"), 0);
}
