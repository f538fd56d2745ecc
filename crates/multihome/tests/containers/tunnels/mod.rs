//! Tunnels that take everything that the host begins: its answers go by the doors that the
//! questions came in by nevertheless.
//!
//! The tunnel's other end is a machine in the network. Behind it are addresses that nobody else
//! knows: who gets an answer from there was in the tunnel.

pub mod by_hand;
pub mod ipsec;
pub mod openvpn;
pub mod wireguard;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use multihome_core::Family;
use multihome_lab::traffic::PORT;
use multihome_lab::{Answer, Answerer, Ask, Proto, ask};

use crate::common::program::Program;
use crate::connection::Connection;
use crate::engine::{Bed, Engine, FAILING};
use crate::flows::PUBLISHED;
use crate::host::{Host, Machine};
use crate::state::rules;
use crate::world::eventually;

/// Where the tunnel ends.
pub const FAR: &str = "203.0.113.9";
/// The host's and the other end's addresses in the tunnel.
pub const NEAR4: &str = "10.99.0.2";
pub const FAR4: &str = "10.99.0.1";
pub const NEAR6: &str = "fd99::2";
pub const FAR6: &str = "fd99::1";
/// What is somewhere beyond it.
const BEYOND: [&str; 2] = ["192.0.2.80", "2001:db8:80::80"];
/// The other end's device.
pub const FAR_DEVICE: &str = "far0";

/// A tunnel, until it is dropped or taken down.
pub struct Tunnel {
    /// What runs for it.
    pub programs: Vec<Program>,
    /// The lines of shell that take it down.
    pub down: &'static str,
    /// The families that it takes.
    pub families: &'static [Family],
    /// Whether it takes what comes from the host's other addresses.
    pub takes_any_source: bool,
}

/// Starts a tunnel on a host.
pub type Dig = fn(&Host, &Far) -> Tunnel;

/// Its other end.
pub struct Far {
    pub machine: Machine,
    answerer: Answerer,
}

/// How soon a tunnel's first packet has to be through: a handshake comes first.
const SOON: Duration = Duration::from_secs(8);
/// How soon the flows have to work when a tunnel came or went.
const MENDED: Duration = Duration::from_secs(2);

/// The tests of a tunnel that a program digs, and more of its own.
macro_rules! stories {
    ($dig:expr $(, $more:ident)* $(,)?) => {
        crate::runner::tests![
            started_before_multihome,
            started_after_multihome,
            comes_and_goes,
            goes_while_multihome_is_stopped,
            $($more),*
        ];
        fn started_before_multihome() {
            crate::tunnels::before(crate::engine::Engine::Nft, $dig);
        }
        fn started_after_multihome() {
            crate::tunnels::after(crate::engine::Engine::Nft, $dig);
        }
        fn comes_and_goes() {
            crate::tunnels::comes_and_goes($dig);
        }
        fn goes_while_multihome_is_stopped() {
            crate::tunnels::goes_while_stopped($dig);
        }
    };
}
pub(crate) use stories;

// ===== impl Far =====

impl Far {
    /// Plugs the machine in, and what is beyond.
    #[track_caller]
    fn plug(host: &mut Host) -> Far {
        let addresses = [&format!("{FAR}/24"), "2001:db8:113::9/64"];
        let machine = host.plug("far", [203, 0, 113, 1], &addresses);
        for address in BEYOND {
            let flag = if address.contains(':') { "nodad" } else { "" };
            machine.sh(&format!("ip address add {address} dev lo {flag}"));
            machine.netns.settle("lo", address.parse().unwrap()).unwrap();
        }
        let beyond = BEYOND.map(|a| a.parse::<IpAddr>().unwrap());
        let answerer = Answerer::start(&machine.netns, beyond).unwrap();
        Far { machine, answerer }
    }

    /// Once the device is there: whatever it has to answer goes back into the tunnel, whomever
    /// it is for.
    #[track_caller]
    pub fn answers_through(&self, device: &str, families: &[Family]) {
        for family in families {
            let (ip, beyond) = match family {
                Family::V4 => ("ip -4", BEYOND[0]),
                Family::V6 => ("ip -6", BEYOND[1]),
            };
            self.machine.sh(&format!(
                "{ip} route replace default dev {device} table 99 && \
                 {ip} rule add from {beyond} lookup 99 pref 99"
            ));
        }
    }

    /// Has it answer on its addresses in the tunnel, which are there now.
    #[track_caller]
    pub fn answers_inside(&self, addresses: &[&str]) {
        for address in addresses {
            let family = if address.contains(':') { "-6" } else { "-4" };
            self.answerer.listen(address.parse().unwrap()).unwrap();
            self.machine.sh(&format!("ip {family} rule add from {address} lookup 99 pref 99"));
        }
    }
}

// ===== the stories =====

/// The tunnel is up before multihome starts.
#[track_caller]
pub fn before(engine: Engine, dig: Dig) {
    before_on(Bed::new(engine), dig);
}

/// As [`before`], on a host that somebody has changed.
#[track_caller]
pub fn before_on(mut bed: Bed, dig: Dig) {
    let far = Far::plug(&mut bed.host);
    let tunnel = dig(&bed.host, &far);
    assert_in_tunnel(&bed, &tunnel);
    // It has taken all answers to those who are not on a link.
    bed.assert_failing_by(tunnel.families, &["X>e0", "Xp0", "X>e1", "Xp1"]);
    let _daemon = bed.run();
    bed.assert_all_flow_within("a tunnel, then multihome", MENDED);
    assert_in_tunnel(&bed, &tunnel);
    assert_reaches_inside(&bed, &tunnel);
}

/// The tunnel comes when multihome is there, and no session ends for it.
#[track_caller]
pub fn after(engine: Engine, dig: Dig) {
    let mut bed = Bed::new(engine);
    let far = Far::plug(&mut bed.host);
    bed.assert_failing(FAILING);
    let _daemon = bed.run();
    bed.assert_all_flow("without a tunnel");
    let mut sessions = Vec::new();
    for (card, port) in [(0, PORT), (1, PORT), (0, PUBLISHED), (1, PUBLISHED)] {
        sessions.push((card, port, Connection::open(&bed, card, port, Family::V4)));
    }
    let tunnel = dig(&bed.host, &far);
    bed.assert_all_flow_within("multihome, then a tunnel", MENDED);
    for (card, port, session) in &mut sessions {
        assert!(session.goes_on(MENDED), "card {card}, port {port}\n{}", bed.dump());
    }
    assert_in_tunnel(&bed, &tunnel);
    assert_reaches_inside(&bed, &tunnel);
}

/// It goes, and all is as before it came.
#[track_caller]
pub fn comes_and_goes(dig: Dig) {
    let mut bed = Bed::new(Engine::Nft);
    let far = Far::plug(&mut bed.host);
    let _daemon = bed.run();
    let alone = ours(&bed);
    let tunnel = dig(&bed.host, &far);
    assert_in_tunnel(&bed, &tunnel);
    close(&bed, tunnel);
    bed.assert_all_flow_within("the tunnel is gone", MENDED);
    eventually("the rules are those that were there before", MENDED, || ours(&bed) == alone);
}

/// It takes nothing of ours with it, though nobody is there to put it back.
#[track_caller]
pub fn goes_while_stopped(dig: Dig) {
    let mut bed = Bed::new(Engine::Nft);
    let far = Far::plug(&mut bed.host);
    let tunnel = dig(&bed.host, &far);
    bed.apply();
    bed.assert_all_flow_within("with a tunnel", MENDED);
    let with = ours(&bed);
    close(&bed, tunnel);
    assert_eq!(ours(&bed), with, "{}", bed.dump());
    bed.assert_all_flow_within("the tunnel is gone", MENDED);
}

// ===== helpers =====

#[track_caller]
fn close(bed: &Bed, tunnel: Tunnel) {
    if !tunnel.down.is_empty() {
        bed.host.sh(tunnel.down);
    }
    for program in tunnel.programs.into_iter().rev() {
        program.stop(rustix::process::Signal::TERM);
    }
}

/// Our rules, without those that point out what is in front of ours.
fn ours(bed: &Bed) -> Vec<String> {
    ["-4", "-6"].iter().flat_map(|f| rules(&bed.host, f)).collect()
}

/// What the host begins is in the tunnel.
#[track_caller]
fn assert_in_tunnel(bed: &Bed, tunnel: &Tunnel) {
    for family in tunnel.families {
        let to = BEYOND[usize::from(*family == Family::V6)];
        assert_reaches(bed, None, to);
    }
}

/// Who is in the tunnel's own network is reached from every address of the host.
#[track_caller]
fn assert_reaches_inside(bed: &Bed, tunnel: &Tunnel) {
    for family in tunnel.families {
        let inside = match family {
            Family::V4 => FAR4,
            Family::V6 => FAR6,
        };
        assert_reaches(bed, None, inside);
        if tunnel.takes_any_source {
            let own = bed.host.lab.addresses().into_iter();
            own.filter(|a| Family::of(*a) == *family)
                .for_each(|from| assert_reaches(bed, Some(from), inside));
        }
    }
}

#[track_caller]
fn assert_reaches(bed: &Bed, from: Option<IpAddr>, to: &str) {
    let to = SocketAddr::new(to.parse().unwrap(), PORT);
    let timeout = Duration::from_millis(1500);
    let start = Instant::now();
    let mut answer = Answer::Silent;
    while !answer.is_answered() && start.elapsed() < SOON {
        answer = ask(bed.host.host(), &Ask { proto: Proto::Tcp, from, to, timeout }).unwrap();
    }
    assert!(answer.is_answered(), "from {from:?} to {to}: {answer}\n{}", bed.dump());
}
