//! NetworkManager, with its own DHCP client and its own hearing of router advertisements.
//!
//! It runs as a distribution starts it, with a message bus and its dispatcher, and keeps the
//! cards as profiles say. Its state of the second card is the only place of a gateway that a
//! profile keeps out of the kernel (`never-default`).

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use multihome_core::Family;
use multihome_lab::probe::Count;
use multihome_lab::traffic::PORT;
use multihome_lab::{Answer, Prober, Topology, until_answered};
use rustix::process::Signal;

use crate::common::program::Program;
use crate::machine::{Machine, PATIENCE, write};
use crate::runner::tests;
use crate::state::{State, rules, table};
use crate::tree;
use crate::world::{Daemon, SOON, UNREACHABLE, eventually};

tests![
    static_addresses,
    leases_in_two_subnets,
    leases_in_one_subnet,
    a_second_card_that_is_never_default,
    classless_routes_that_the_profile_ignores,
    a_table_of_its_own,
    reapply,
    a_changed_profile,
    an_address_more,
    down_and_up,
    a_restart,
    a_restart_with_a_gateway_on_file,
    a_crash,
    twins_stay_apart,
    a_twin_that_was_there_first,
    a_carrier_lost_for_three_seconds,
    a_carrier_lost_for_seven_seconds,
    a_connection_whose_address_went,
    a_card_pulled_and_put_back,
    a_renewal_changes_the_gateway,
    a_renewal_changes_the_gateway_on_file,
    a_renewal_changes_the_gateway_in_its_own_table,
    a_lease_that_ends,
    an_advertisement_withdrawn,
    an_advertisement_that_expires,
];

pub const FIRST: &str = "10.0.0.129";
pub const SECOND: &str = "10.0.1.204";
pub const SECOND6: &str = "2001:db8:b::204";

/// All by the network: what the installers of distributions leave.
pub const AUTO: &str = "method=auto\n";
/// A gateway that is known, and in no table of the kernel.
const NEVER: &str = "method=auto\nnever-default=true\n";

/// No renames, no resolver, no authorisation (there is no polkit), and nothing but the profiles.
const CONFIGURATION: &str = "[main]\nplugins=keyfile\ndns=none\nauth-polkit=false\n\
    no-auto-default=*\n[keyfile]\nunmanaged-devices=none\n";
const PROFILES: &str = "/etc/NetworkManager/system-connections";

// ===== NetworkManager in the host =====

/// NetworkManager, until it is dropped.
pub struct NetworkManager {
    daemon: Option<Program>,
    _dispatcher: Program,
    _bus: Program,
}

impl NetworkManager {
    /// Starts it, and waits until it can be asked.
    #[track_caller]
    pub fn start(machine: &Machine) -> NetworkManager {
        write("/etc/NetworkManager/NetworkManager.conf", CONFIGURATION);
        fs::create_dir_all("/var/lib/NetworkManager").unwrap();
        let bus = machine.dbus();
        let paths = ["/usr/libexec/nm-dispatcher", "/usr/lib/NetworkManager/nm-dispatcher"];
        let path = paths.into_iter().find(|p| Path::new(p).exists()).expect("a dispatcher");
        let dispatcher = machine.start(&format!("{path} --persist --debug"));
        let mut manager = NetworkManager { daemon: None, _dispatcher: dispatcher, _bus: bus };
        manager.start_again(machine);
        manager
    }

    /// Starts it once more.
    #[track_caller]
    pub fn start_again(&mut self, machine: &Machine) {
        self.daemon = Some(machine.start("NetworkManager --no-daemon"));
        machine.until("nmcli -t -f STATE general");
    }

    /// Ends it, by the signal that systemd sends or another.
    #[track_caller]
    pub fn stop(&mut self, signal: Signal) {
        let (_, log) = self.daemon.take().expect("it runs").stop(signal);
        drop(log);
    }
}

/// Writes the profile of a card: the lines of its sections `[ipv4]` and `[ipv6]`.
pub fn profile(card: &str, ipv4: &str, ipv6: &str) {
    let path = format!("{PROFILES}/{card}.nmconnection");
    let text = format!(
        "[connection]\nid={card}\ntype=ethernet\ninterface-name={card}\n\
         [ipv4]\n{ipv4}[ipv6]\naddr-gen-mode=eui64\n{ipv6}"
    );
    write(&path, &text);
    tree::set_mode(Path::new(&path), 0o600);
}

/// `nmcli`, which must succeed.
#[track_caller]
pub fn nmcli(machine: &Machine, arguments: &str) -> String {
    machine.sh(&format!("nmcli -w 20 {arguments}"))
}

/// Waits until the cards have all that the network gives them.
#[track_caller]
pub fn configured(machine: &Machine) {
    for card in machine.lab.cards() {
        let name = &card.name;
        machine.until(&format!("nmcli -t -f DEVICE,STATE device | grep -qx {name}:connected"));
        for address in &card.addresses {
            let address = address.address;
            machine.until(&format!("ip address show dev {name} -tentative | grep -q ' {address}/'"));
        }
    }
}

/// Both cards, kept by NetworkManager and leased by the network, with these sections for the
/// second.
#[track_caller]
fn managed(topology: Topology, ipv4: &str, ipv6: &str) -> (Machine, NetworkManager) {
    let machine = Machine::served(topology);
    profile("ens5", AUTO, AUTO);
    profile("ens6", ipv4, ipv6);
    let manager = NetworkManager::start(&machine);
    configured(&machine);
    (machine, manager)
}

// ===== what is judged =====

/// multihome beside a manager, and what the manager had made before it came.
pub struct Beside {
    pub daemon: Daemon,
    pub before: State,
    /// Rules and routes of each family as they come and go.
    monitors: [Program; 2],
}

/// What an event did to the traffic of an address, and to our rules and routes.
#[derive(Debug)]
pub struct Effect {
    pub count: Count,
    /// Packets that left by the wrong card meanwhile.
    pub strayed: u64,
    /// Ours of IPv4, and of IPv6.
    pub changes: [Changes; 2],
}

/// How many rules and routes of ours were made, and how many went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    pub made: usize,
    pub gone: usize,
}

impl Beside {
    /// Starts multihome. Before it, the second card is silent to those far away; after it, every
    /// address answers everyone; and nothing of the manager's has changed for it.
    #[track_caller]
    pub fn begin(machine: &Machine) -> Beside {
        let before = State::of(machine).foreign();
        // (By datagrams: connections that are not answered go on trying, and would be counted.)
        let second = machine.lab.cards()[1].address(Family::V4).unwrap();
        let quick = Duration::from_millis(200);
        let answered = until_answered(machine.remote(), second, quick).unwrap();
        assert!(answered.is_none(), "no multihome is needed here\n{}", machine.dump());
        let monitors =
            ["-4", "-6"].map(|f| machine.start(&format!("ip {f} -ts monitor rule route")));
        let daemon = machine.run();
        machine.assert_all_answer();
        machine.assert_in_sync(SOON);
        let beside = Beside { daemon, before, monitors };
        beside.assert_untouched(machine, "when multihome came");
        beside
    }

    /// Lets something happen while the far client asks an address.
    #[track_caller]
    pub fn during(&self, machine: &Machine, address: &str, event: impl FnOnce()) -> Effect {
        let (strayed, [before4, before6]) = (machine.strayed(), self.changes());
        let prober = Prober::start(machine.remote(), address.parse().unwrap()).unwrap();
        event();
        let count = prober.stop();
        let strayed = machine.strayed() - strayed;
        let [now4, now6] = self.changes();
        Effect { count, strayed, changes: [now4.since(before4), now6.since(before6)] }
    }

    /// Rules and routes of ours that were made so far and that went, of IPv4 and of IPv6.
    pub fn changes(&self) -> [Changes; 2] {
        self.monitors.each_ref().map(|monitor| {
            let log = monitor.log();
            let ours = || log.lines().filter(|l| l.contains("proto 177"));
            let gone = ours().filter(|l| l.contains("Deleted")).count();
            Changes { made: ours().count() - gone, gone }
        })
    }

    /// What is not ours is as it was.
    #[track_caller]
    pub fn assert_untouched(&self, machine: &Machine, when: &str) {
        let mut now = State::of(machine).foreign();
        let start = Instant::now();
        while now != self.before && start.elapsed() < SOON {
            thread::sleep(Duration::from_millis(50));
            now = State::of(machine).foreign();
        }
        self.before.assert_is(&now, when);
    }

    /// All answer, nothing is left to be done, and nobody fights: what the manager still has to do
    /// ends soon, and then no rule and no route of ours comes or goes.
    #[track_caller]
    pub fn assert_settled(&self, machine: &Machine) {
        machine.assert_all_answer_within(PATIENCE);
        machine.assert_in_sync(SOON);
        let (start, mut before) = (Instant::now(), self.changes());
        loop {
            thread::sleep(QUIET);
            let now = self.changes();
            if now == before {
                break;
            }
            assert!(start.elapsed() < 4 * QUIET, "somebody fights: {before:?}, {now:?}");
            before = now;
        }
        State::of(machine).assert_no_duplicates();
    }
}

impl Effect {
    /// No packet left by the wrong door, and no silence was longer than this.
    #[track_caller]
    pub fn assert_gap(&self, longest: Duration) {
        assert_eq!(self.strayed, 0, "left by the wrong door: {self:?}");
        assert!(self.count.gap < longest, "{self:?}");
    }

    /// Nothing of ours was made or went.
    #[track_caller]
    pub fn assert_no_changes(&self) {
        assert_eq!(self.changes, [Changes::default(); 2], "{self:?}");
    }
}

impl Changes {
    fn since(self, before: Changes) -> Changes {
        Changes { made: self.made - before.made, gone: self.gone - before.gone }
    }
}

/// Nobody notices, on a machine with other work.
pub const UNNOTICED: Duration = Duration::from_millis(500);
/// So long nothing of ours comes or goes.
const QUIET: Duration = Duration::from_millis(1200);

/// Waits until the server has renewed a card's lease, and the manager has made of it what it does.
#[track_caller]
fn renewed(machine: &Machine, card: &str) {
    machine.server(card).wait_for_next("ack", PATIENCE);
}

// ===== addresses from files and from the network =====

fn static_addresses() {
    let machine = Machine::new(Topology::TwoSubnets);
    for card in machine.lab.cards() {
        let [v4, v6] = &card.addresses[..] else { panic!("one of each family") };
        let ipv4 = format!("method=manual\naddress1={v4},{}\n", card.gateway4);
        let ipv6 = format!("method=manual\naddress1={v6},{}\n", card.gateway6);
        profile(&card.name, &ipv4, &ipv6);
    }
    let _manager = NetworkManager::start(&machine);
    configured(&machine);
    let beside = Beside::begin(&machine);
    beside.assert_settled(&machine);
    beside.daemon.stop(Signal::TERM);
    machine.must("down");
    assert!(!State::of(&machine).has_ours());
    beside.before.assert_is(&State::of(&machine).foreign(), "after `down`");
}

fn leases_in_two_subnets() {
    let (machine, _manager) = managed(Topology::TwoSubnets, AUTO, AUTO);
    let beside = Beside::begin(&machine);
    beside.assert_settled(&machine);
    beside.assert_untouched(&machine, "beside multihome");
}

fn leases_in_one_subnet() {
    let (machine, _manager) = managed(Topology::SameSubnet, AUTO, AUTO);
    let beside = Beside::begin(&machine);
    beside.assert_settled(&machine);
    beside.assert_untouched(&machine, "beside multihome");
}

fn a_second_card_that_is_never_default() {
    let (machine, _manager) = managed(Topology::TwoSubnets, NEVER, AUTO);
    assert!(!machine.ip("-4 route").contains("default via 10.0.1.1"), "{}", machine.dump());
    let beside = Beside::begin(&machine);
    beside.assert_settled(&machine);
    beside.assert_untouched(&machine, "beside multihome");
    let status = machine.must("status");
    assert!(status.contains("NetworkManager"), "{status}");
    assert!(status.contains("/run/NetworkManager/devices/3"), "{status}");
}

fn classless_routes_that_the_profile_ignores() {
    let machine = Machine::served(Topology::TwoSubnets);
    machine.server("ens6").lease4(|l| {
        // RFC 3442: beside these routes the router does not count.
        l.routers = vec!["10.0.1.66".parse().unwrap()];
        l.classless = vec![
            ("0.0.0.0/0".parse().unwrap(), "10.0.1.1".parse().unwrap()),
            ("10.77.0.0/16".parse().unwrap(), "10.0.1.9".parse().unwrap()),
            ("192.168.5.0/24".parse().unwrap(), "0.0.0.0".parse().unwrap()),
        ];
    });
    profile("ens5", AUTO, AUTO);
    profile("ens6", "method=auto\nignore-auto-routes=true\nnever-default=true\n", AUTO);
    let _manager = NetworkManager::start(&machine);
    configured(&machine);
    assert!(!machine.ip("-4 route").contains("10.77.0.0/16"), "{}", machine.dump());
    let beside = Beside::begin(&machine);
    beside.assert_settled(&machine);
    let routes = table(&machine, "-4", "10003");
    for start in ["default via 10.0.1.1 ", "10.77.0.0/16 via 10.0.1.9 ", "192.168.5.0/24 "] {
        assert!(routes.iter().any(|r| r.starts_with(start)), "no {start}: {routes:#?}");
    }
    assert!(!routes.iter().any(|r| r.contains("10.0.1.66")), "{routes:#?}");
    beside.assert_untouched(&machine, "beside multihome");
}

fn a_table_of_its_own() {
    let own = "method=auto\nroute-table=200\n";
    let (machine, _manager) = managed(Topology::TwoSubnets, own, own);
    // Main has not even the network of the card.
    assert!(!machine.ip("-4 route").contains("ens6"), "{}", machine.dump());
    let beside = Beside::begin(&machine);
    beside.assert_settled(&machine);
    let effect = beside.during(&machine, SECOND, || {
        nmcli(&machine, "device reapply ens6");
        thread::sleep(Duration::from_millis(500));
    });
    effect.assert_gap(UNNOTICED);
    nmcli(&machine, "connection down ens6");
    nmcli(&machine, "connection up ens6");
    configured(&machine);
    beside.assert_settled(&machine);
    beside.assert_untouched(&machine, "after down and up");
}

// ===== what an administrator does =====

fn reapply() {
    let (machine, _manager) = managed(Topology::TwoSubnets, AUTO, AUTO);
    let beside = Beside::begin(&machine);
    for card in ["ens5", "ens6"] {
        let effect = beside.during(&machine, SECOND, || {
            nmcli(&machine, &format!("device reapply {card}"));
            thread::sleep(Duration::from_secs(1));
        });
        effect.assert_gap(UNNOTICED);
        effect.assert_no_changes();
    }
    beside.assert_settled(&machine);
    beside.assert_untouched(&machine, "after reapply");
}

/// The default of the second card goes from main and comes back, by the profile alone; the
/// gateway is the same all the time.
fn a_changed_profile() {
    let (machine, _manager) = managed(Topology::TwoSubnets, AUTO, AUTO);
    let beside = Beside::begin(&machine);
    for never in ["yes", "no"] {
        let effect = beside.during(&machine, SECOND, || {
            nmcli(&machine, &format!("connection modify ens6 ipv4.never-default {never}"));
            nmcli(&machine, "device reapply ens6");
            thread::sleep(Duration::from_secs(1));
        });
        effect.assert_gap(UNNOTICED);
        beside.assert_settled(&machine);
    }
    beside.assert_untouched(&machine, "after it was changed back");
}

fn an_address_more() {
    let (mut machine, _manager) = managed(Topology::TwoSubnets, AUTO, AUTO);
    // As systemd sets it where distributions let it. Without, NetworkManager loses the second
    // address when it puts both into order, multihome or not.
    machine.host().sysctl("ipv4/conf/ens6/promote_secondaries", "1").unwrap();
    let beside = Beside::begin(&machine);
    machine.lab.add_address("ens6", "10.0.1.205/24".parse().unwrap()).unwrap();
    nmcli(&machine, "connection modify ens6 +ipv4.addresses 10.0.1.205/24");
    let effect = beside.during(&machine, SECOND, || {
        nmcli(&machine, "device reapply ens6");
        machine.assert_answers("10.0.1.205");
    });
    effect.assert_gap(UNNOTICED);
    beside.assert_settled(&machine);
    nmcli(&machine, "connection modify ens6 -ipv4.addresses 10.0.1.205/24");
    let effect = beside.during(&machine, SECOND, || {
        nmcli(&machine, "device reapply ens6");
        eventually("its rules are gone", SOON, || {
            !rules(&machine, "-4").iter().any(|r| r.contains("10.0.1.205"))
        });
    });
    effect.assert_gap(UNNOTICED);
    machine.lab.del_address("ens6", "10.0.1.205".parse().unwrap()).unwrap();
    beside.assert_settled(&machine);
    beside.assert_untouched(&machine, "after it was taken away");
}

fn down_and_up() {
    let (machine, _manager) = managed(Topology::TwoSubnets, AUTO, AUTO);
    let beside = Beside::begin(&machine);
    for _ in 0..2 {
        let effect = beside.during(&machine, FIRST, || {
            nmcli(&machine, "connection down ens6");
            eventually("no rule of its address is left", SOON, || {
                !rules(&machine, "-4").iter().any(|r| r.contains(SECOND))
            });
            nmcli(&machine, "connection up ens6");
            configured(&machine);
        });
        effect.assert_gap(UNNOTICED);
        assert_answered_within(&machine, SECOND, UNNOTICED);
        assert_answered_within(&machine, SECOND6, UNNOTICED);
    }
    beside.assert_settled(&machine);
    beside.assert_untouched(&machine, "after down and up");
}

#[track_caller]
fn assert_answered_within(machine: &Machine, address: &str, within: Duration) {
    let address = address.parse().unwrap();
    let took = until_answered(machine.remote(), address, PATIENCE).unwrap();
    assert!(took.is_some_and(|t| t < within), "{address}: {took:?}\n{}", machine.dump());
}

fn a_restart() {
    let (machine, mut manager) = managed(Topology::TwoSubnets, AUTO, AUTO);
    let beside = Beside::begin(&machine);
    let effect = restart(&machine, &mut manager, &beside, Signal::TERM);
    effect.assert_no_changes();
    beside.assert_untouched(&machine, "after the restart");
}

/// The file is without the lease for a moment; the lease is not.
fn a_restart_with_a_gateway_on_file() {
    let (machine, mut manager) = managed(Topology::TwoSubnets, NEVER, AUTO);
    let beside = Beside::begin(&machine);
    let effect = restart(&machine, &mut manager, &beside, Signal::TERM);
    effect.assert_no_changes();
    beside.assert_untouched(&machine, "after the restart");
}

fn a_crash() {
    let (machine, mut manager) = managed(Topology::TwoSubnets, NEVER, AUTO);
    let beside = Beside::begin(&machine);
    let effect = restart(&machine, &mut manager, &beside, Signal::KILL);
    effect.assert_no_changes();
    beside.assert_untouched(&machine, "after the crash");
}

#[track_caller]
fn restart(
    machine: &Machine,
    manager: &mut NetworkManager,
    beside: &Beside,
    signal: Signal,
) -> Effect {
    let effect = beside.during(machine, SECOND, || {
        manager.stop(signal);
        thread::sleep(Duration::from_secs(1));
        assert_answered_within(machine, SECOND6, UNNOTICED);
        manager.start_again(machine);
        configured(machine);
        thread::sleep(Duration::from_secs(1));
    });
    effect.assert_gap(UNNOTICED);
    beside.assert_settled(machine);
    effect
}

// ===== rules of its own =====

/// A rule that is ours but for its protocol number.
const TWIN: &str = "priority 10003 from 10.0.1.204 table 10003";

fn twins(machine: &Machine) -> (usize, usize) {
    let text = machine.ip("-4 rule");
    let twins = || text.lines().filter(|l| l.contains("from 10.0.1.204 lookup 10003"));
    (twins().filter(|l| l.ends_with("proto static")).count(), twins().count())
}

fn twins_stay_apart() {
    let (mut machine, _manager) = managed(Topology::TwoSubnets, AUTO, AUTO);
    machine.server("ens6").lease4(|l| l.renew = Some(2));
    nmcli(&machine, "connection up ens6");
    configured(&machine);
    let beside = Beside::begin(&machine);
    let effect = beside.during(&machine, SECOND, || {
        nmcli(&machine, &format!("connection modify ens6 ipv4.routing-rules '{TWIN}'"));
        nmcli(&machine, "device reapply ens6");
        eventually("both are there", SOON, || twins(&machine) == (1, 2));
        thread::sleep(Duration::from_millis(500));
    });
    effect.assert_gap(UNNOTICED);
    // (It begins IPv6 anew whenever the profile has changed.)
    assert_eq!(effect.changes[0], Changes::default(), "{effect:?}");
    // Ours still follow what happens.
    let old = machine.strayed();
    machine.change_gateway("ens6", Some("10.0.1.9".parse().unwrap()), None);
    machine.assert_all_answer_within(PATIENCE);
    assert_eq!(machine.strayed(), old, "nothing left by ens5");
    // Its own goes without ours.
    let effect = beside.during(&machine, SECOND, || {
        nmcli(&machine, "connection modify ens6 ipv4.routing-rules ''");
        nmcli(&machine, "device reapply ens6");
        eventually("ours is there alone", SOON, || twins(&machine) == (0, 1));
        thread::sleep(Duration::from_millis(500));
    });
    effect.assert_gap(UNNOTICED);
    assert_eq!(effect.changes[0], Changes::default(), "{effect:?}");
    // And ours without its own.
    nmcli(&machine, &format!("connection modify ens6 ipv4.routing-rules '{TWIN}'"));
    nmcli(&machine, "device reapply ens6");
    eventually("both are there", SOON, || twins(&machine) == (1, 2));
    beside.assert_settled(&machine);
    beside.daemon.stop(Signal::TERM);
    machine.must("down");
    assert_eq!(twins(&machine), (1, 1), "{}", machine.dump());
}

fn a_twin_that_was_there_first() {
    let ipv4 = format!("method=auto\nrouting-rule1={TWIN}\n");
    let (machine, _manager) = managed(Topology::TwoSubnets, &ipv4, AUTO);
    assert_eq!(twins(&machine), (1, 1), "{}", machine.dump());
    let beside = Beside::begin(&machine);
    assert_eq!(twins(&machine), (1, 2), "{}", machine.dump());
    beside.assert_settled(&machine);
    nmcli(&machine, "connection down ens6");
    eventually("none is left", SOON, || twins(&machine) == (0, 0));
    nmcli(&machine, "connection up ens6");
    configured(&machine);
    beside.assert_settled(&machine);
    assert_eq!(twins(&machine), (1, 2), "{}", machine.dump());
    beside.assert_untouched(&machine, "after down and up");
}

// ===== what happens to cards =====

/// NetworkManager waits for five seconds before it takes the addresses away.
fn a_carrier_lost_for_three_seconds() {
    let (machine, _manager) = managed(Topology::TwoSubnets, NEVER, AUTO);
    let beside = Beside::begin(&machine);
    lose_carrier(&machine, &beside, Duration::from_secs(3));
    beside.assert_untouched(&machine, "after the carrier came back");
}

fn a_carrier_lost_for_seven_seconds() {
    let (machine, _manager) = managed(Topology::TwoSubnets, NEVER, AUTO);
    let beside = Beside::begin(&machine);
    lose_carrier(&machine, &beside, Duration::from_secs(7));
    beside.assert_untouched(&machine, "after the carrier came back");
}

#[track_caller]
fn lose_carrier(machine: &Machine, beside: &Beside, lasting: Duration) {
    let _answerer = machine.let_remote_answer();
    let strayed = machine.strayed();
    let effect = beside.during(machine, FIRST, || {
        let start = Instant::now();
        machine.lab.fabric().set_port("ens6", false).unwrap();
        while start.elapsed() < lasting {
            // Lost, refused, or the address is away: but never by the other door.
            for from in [SECOND, SECOND6] {
                let answer = machine.host_asks(from);
                assert!(!answer.is_answered(), "{from} without a carrier: {answer}");
            }
        }
        machine.lab.fabric().set_port("ens6", true).unwrap();
        configured(machine);
        for address in [SECOND, SECOND6] {
            assert_answered_within(machine, address, UNNOTICED);
        }
    });
    effect.assert_gap(UNNOTICED);
    assert_eq!(machine.strayed(), strayed, "nothing left by ens5");
    beside.assert_settled(machine);
}

/// What it still has to say is not said by the other door. (IPv6 lets a socket go on with an
/// address that is no longer there.)
fn a_connection_whose_address_went() {
    let (machine, _manager) = managed(Topology::TwoSubnets, AUTO, AUTO);
    let _beside = Beside::begin(&machine);
    let to = SocketAddr::new(SECOND6.parse().unwrap(), PORT + 2);
    let listener = machine.host().run(|| TcpListener::bind(to)).unwrap().unwrap();
    let client = machine.remote().run(|| TcpStream::connect(to)).unwrap().unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(b"heard").unwrap();
    let strayed = machine.strayed();
    nmcli(&machine, "connection down ens6");
    server.write_all(b"unheard, and said again and again").unwrap();
    thread::sleep(Duration::from_secs(3));
    assert_eq!(machine.strayed(), strayed, "nothing left by ens5");
    drop(client);
}

fn a_card_pulled_and_put_back() {
    let (mut machine, _manager) = managed(Topology::TwoSubnets, NEVER, AUTO);
    let mut beside = Beside::begin(&machine);
    for _ in 0..2 {
        machine.pull("ens6");
        eventually("no rule of its address is left", SOON, || {
            !rules(&machine, "-4").iter().any(|r| r.contains(SECOND))
        });
        assert_answered_within(&machine, FIRST, UNNOTICED);
        machine.plug("ens6");
        configured(&machine);
        machine.assert_all_answer_within(PATIENCE);
    }
    // A new index, so another state; it must not move from here on.
    beside.before = State::of(&machine).foreign();
    beside.assert_settled(&machine);
    beside.assert_untouched(&machine, "after it was put back");
}

// ===== gateways that change and go =====

fn a_renewal_changes_the_gateway() {
    renewal_changes_the_gateway(AUTO);
}

fn a_renewal_changes_the_gateway_on_file() {
    renewal_changes_the_gateway(NEVER);
}

fn a_renewal_changes_the_gateway_in_its_own_table() {
    renewal_changes_the_gateway("method=auto\nroute-table=200\n");
}

/// The old gateway is dead from one moment to the next, and the host hears of the new one when
/// its lease is renewed, seconds later. Until then its answers are lost at the right door.
fn renewal_changes_the_gateway(ipv4: &str) {
    let mut machine = Machine::served(Topology::TwoSubnets);
    machine.server("ens6").lease4(|l| l.renew = Some(3));
    profile("ens5", AUTO, AUTO);
    profile("ens6", ipv4, AUTO);
    let _manager = NetworkManager::start(&machine);
    configured(&machine);
    let beside = Beside::begin(&machine);
    let strayed = machine.strayed();
    renewed(&machine, "ens6");
    let prober = Prober::start(machine.remote(), SECOND.parse().unwrap()).unwrap();
    machine.change_gateway("ens6", Some("10.0.1.9".parse().unwrap()), None);
    renewed(&machine, "ens6");
    assert_answered_within(&machine, SECOND, UNNOTICED);
    drop(prober);
    assert_eq!(machine.strayed(), strayed, "nothing left by ens5");
    let routes = table(&machine, "-4", "10003");
    let defaults: Vec<_> = routes.iter().filter(|r| r.starts_with("default via ")).collect();
    let new = "default via 10.0.1.9 ";
    assert!(matches!(defaults[..], [only] if only.starts_with(new)), "{routes:#?}");
    beside.assert_settled(&machine);
}

/// The server is gone, and so is the address when its time is over; its state stays on file.
fn a_lease_that_ends() {
    let machine = Machine::served(Topology::TwoSubnets);
    machine.server("ens6").lease4(|l| (l.seconds, l.renew) = (8, Some(2)));
    profile("ens5", AUTO, AUTO);
    profile("ens6", NEVER, AUTO);
    let _manager = NetworkManager::start(&machine);
    configured(&machine);
    let beside = Beside::begin(&machine);
    let strayed = machine.strayed();
    machine.server("ens6").conduct(crate::server::Conduct::Silent);
    let gone = || !machine.ip("-4 address show dev ens6").contains(SECOND);
    eventually("its address is gone", PATIENCE, gone);
    eventually("its rules are gone", SOON, || {
        !rules(&machine, "-4").iter().any(|r| r.contains(SECOND))
    });
    machine.assert_in_sync(SOON);
    assert_answered_within(&machine, SECOND6, UNNOTICED);
    assert_eq!(machine.strayed(), strayed, "nothing left by ens5");
    machine.server("ens6").conduct(crate::server::Conduct::Answers);
    nmcli(&machine, "connection up ens6");
    configured(&machine);
    beside.assert_settled(&machine);
}

fn an_advertisement_withdrawn() {
    let (machine, _manager) = managed(Topology::TwoSubnets, AUTO, AUTO);
    let beside = Beside::begin(&machine);
    let _answerer = machine.let_remote_answer();
    assert!(machine.host_asks(SECOND6).is_answered());
    let strayed = machine.strayed();
    let effect = beside.during(&machine, SECOND, || {
        machine.server("ens6").router(|r| r.lifetime = 0);
        machine.assert_refused(SECOND6, SOON);
        // Not for a moment only, and not by a door that opens later.
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(1) {
            assert_eq!(machine.host_asks(SECOND6), UNREACHABLE);
        }
    });
    effect.assert_gap(UNNOTICED);
    machine.server("ens6").router(|r| r.lifetime = 1800);
    beside.assert_settled(&machine);
    assert_eq!(machine.strayed(), strayed, "nothing left by ens5");
    beside.assert_untouched(&machine, "after the router came back");
}

/// A router that falls silent: its last word holds for three seconds.
fn an_advertisement_that_expires() {
    let (machine, _manager) = managed(Topology::TwoSubnets, AUTO, AUTO);
    let beside = Beside::begin(&machine);
    let _answerer = machine.let_remote_answer();
    let strayed = machine.strayed();
    machine.server("ens6").router(|r| r.lifetime = 3);
    // Sent at once; one of those that follow at intervals is the last.
    thread::sleep(Duration::from_millis(500));
    machine.server("ens6").no_router();
    let start = Instant::now();
    let mut answer = machine.host_asks(SECOND6);
    assert!(answer.is_answered(), "{answer}\n{}", machine.dump());
    while answer != UNREACHABLE {
        assert!(start.elapsed() < Duration::from_secs(3 + 5), "{answer}\n{}", machine.dump());
        assert!(!matches!(answer, Answer::Refused(_)), "{answer}");
        answer = machine.host_asks(SECOND6);
    }
    assert!(start.elapsed() > Duration::from_secs(1), "not before its time");
    assert_answered_within(&machine, SECOND, UNNOTICED);
    assert_eq!(machine.strayed(), strayed, "nothing left by ens5");
    machine.assert_in_sync(SOON);
    drop(beside);
}
