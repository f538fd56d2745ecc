//! systemd-networkd, by hand: with the message bus, and with udevd, for without it networkd does
//! not take links for new and leaves out what it does to rules and routes at its start.
//!
//! Here is what it configures; what it deletes is in `fights`, what routers say in
//! `advertisements`.

pub mod advertisements;
pub mod fights;
pub mod watch;

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use multihome_lab::Topology;
use rustix::process::Signal;

use crate::common::program::Program;
use crate::machine::{Machine, PATIENCE, write};
use crate::runner::tests;
use crate::server::Conduct;
use crate::state::table;
use crate::world::eventually;

tests![
    static_addresses_in_two_subnets,
    static_addresses_in_one_subnet,
    leases_in_two_subnets,
    leases_in_one_subnet,
    tables_of_its_own,
    tables_of_its_own_in_one_subnet,
    a_gateway_that_only_the_lease_knows,
    a_gateway_that_only_the_lease_knows_is_that_of_option_121,
    routes_that_only_the_lease_knows,
    a_renewed_lease_outlives_its_first_lifetime,
    a_lease_that_ends_lets_nothing_out_by_another_door,
    a_gateway_that_changes_at_a_renewal,
    a_gateway_that_changes_in_the_lease_only,
];

/// networkd, and what it wants beside it, until it is dropped.
pub struct Networkd {
    networkd: Option<Program>,
    _udevd: Program,
    _bus: Program,
}

/// A card that asks for everything.
const LEASES: &str = "[Network]\nDHCP=yes\n";

// ===== impl Networkd =====

impl Networkd {
    /// Starts it on the files that are there.
    #[track_caller]
    pub fn start(machine: &Machine) -> Networkd {
        let bus = machine.dbus();
        let udevd = udevd(machine);
        let mut networkd = Networkd { networkd: None, _udevd: udevd, _bus: bus };
        networkd.start_again(machine);
        networkd
    }

    fn start_again(&mut self, machine: &Machine) {
        machine.sh("mkdir -p /run/systemd/netif/{links,leases,lldp} && \
                    chown -R systemd-network: /run/systemd/netif");
        let variables = [("SYSTEMD_IGNORE_CHROOT", "1"), ("SYSTEMD_LOG_LEVEL", "info")];
        self.networkd = Some(machine.start_with("/usr/lib/systemd/systemd-networkd", &variables));
    }

    /// What it has said.
    pub fn log(&self) -> String {
        self.networkd.as_ref().expect("it runs").log()
    }

    /// As `systemctl stop` does.
    #[track_caller]
    fn stop(&mut self) {
        let (status, log) = self.networkd.take().unwrap().stop(Signal::TERM);
        assert!(status.success(), "{status}: {log}");
    }

    /// As `systemctl restart` does: by its own signal (`RestartKillSignal=`), so that addresses
    /// stay.
    #[track_caller]
    fn restart(&mut self, machine: &Machine) {
        let (status, log) = self.networkd.take().unwrap().stop(Signal::USR2);
        assert!(status.success(), "{status}: {log}");
        self.start_again(machine);
    }
}

/// udevd with the rules that network interfaces need, and no others: uevents of the machine's
/// other devices are heard here, too.
#[track_caller]
fn udevd(machine: &Machine) -> Program {
    for rules in fs::read_dir("/usr/lib/udev/rules.d").unwrap() {
        let rules = rules.unwrap();
        if !rules.file_name().to_string_lossy().contains("-net-") {
            fs::remove_file(rules.path()).unwrap();
        }
    }
    machine.sh("mount -o remount,rw /sys");
    let variables = [("SYSTEMD_IGNORE_CHROOT", "1")];
    let udevd = machine.start_with("/usr/lib/systemd/systemd-udevd", &variables);
    eventually("udevd is there", PATIENCE, || Path::new("/run/udev/control").exists());
    machine.sh("export SYSTEMD_IGNORE_CHROOT=1
                udevadm trigger --subsystem-match=net --action=add && udevadm settle -t 10");
    udevd
}

/// Writes the configuration of a card.
pub fn network(card: &str, lines: &str) {
    write(
        &format!("/etc/systemd/network/10-{card}.network"),
        &format!("[Match]\nName={card}\n{lines}"),
    );
}

/// Runs networkctl, which would do nothing in a changed root.
#[track_caller]
fn networkctl(machine: &Machine, arguments: &str) {
    machine.sh(&format!("SYSTEMD_IGNORE_CHROOT=1 networkctl {arguments}"));
}

/// Both cards get leases, and all addresses answer.
fn leased(topology: Topology, lines: &str) -> (Machine, Networkd, crate::world::Daemon) {
    let machine = Machine::served(topology);
    for card in machine.cards() {
        network(&card, lines);
    }
    let daemon = machine.run();
    let networkd = Networkd::start(&machine);
    machine.assert_all_answer_within(PATIENCE);
    (machine, networkd, daemon)
}

// ===== what it configures =====

fn static_addresses(topology: Topology) {
    let machine = Machine::new(topology);
    for card in machine.lab.cards() {
        let mut lines = "[Network]\nIPv6AcceptRA=no\n".to_owned();
        for address in &card.addresses {
            lines += &format!("Address={address}\n");
        }
        for subnet in &card.subnets {
            // Addresses of 128 bits come without it.
            lines += &format!("[Route]\nDestination={subnet}\nScope=link\n");
        }
        lines +=
            &format!("[Route]\nGateway={}\n[Route]\nGateway={}\n", card.gateway4, card.gateway6);
        network(&card.name, &lines);
    }
    let _daemon = machine.run();
    let _networkd = Networkd::start(&machine);
    machine.assert_all_answer_within(PATIENCE);
    machine.assert_in_sync(PATIENCE);
}

fn static_addresses_in_two_subnets() {
    static_addresses(Topology::TwoSubnets);
}

fn static_addresses_in_one_subnet() {
    static_addresses(Topology::SameSubnet);
}

fn leases_in_two_subnets() {
    let (machine, ..) = leased(Topology::TwoSubnets, LEASES);
    machine.assert_in_sync(PATIENCE);
}

fn leases_in_one_subnet() {
    let (machine, ..) = leased(Topology::SameSubnet, LEASES);
    machine.assert_in_sync(PATIENCE);
}

/// `RouteTable=` keeps all out of main, the subnet too: a plain gateway would be refused there.
fn own_tables(topology: Topology) {
    let machine = Machine::served(topology);
    for (card, table) in machine.cards().iter().zip(["200", "201"]) {
        network(
            card,
            &format!("{LEASES}[DHCPv4]\nRouteTable={table}\n[IPv6AcceptRA]\nRouteTable={table}\n"),
        );
    }
    let _daemon = machine.run();
    let _networkd = Networkd::start(&machine);
    machine.assert_all_answer_within(PATIENCE);
    machine.assert_in_sync(PATIENCE);
    assert!(table(&machine, "-4", "main").is_empty(), "{}", machine.dump());
}

fn tables_of_its_own() {
    own_tables(Topology::TwoSubnets);
}

fn tables_of_its_own_in_one_subnet() {
    own_tables(Topology::SameSubnet);
}

// ===== leases =====

/// The second card's gateway is in the lease and nowhere else.
const NO_GATEWAY: &str = "[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\n[DHCPv4]\nUseGateway=no\n";

/// The second card has no way out in the kernel; the first has all.
fn without_gateway() -> Machine {
    let machine = Machine::served(Topology::TwoSubnets);
    network("ens5", "[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\n");
    network("ens6", NO_GATEWAY);
    machine
}

/// The remote client is answered by IPv4.
#[track_caller]
fn assert_both_answer(machine: &Machine) {
    let start = Instant::now();
    for address in ["10.0.0.129", "10.0.1.204"] {
        let to = address.parse().unwrap();
        let left = PATIENCE.saturating_sub(start.elapsed());
        let took = multihome_lab::until_answered(machine.remote(), to, left).unwrap();
        assert!(took.is_some(), "{address} does not answer\n{}", machine.dump());
    }
}

fn a_gateway_that_only_the_lease_knows() {
    let machine = without_gateway();
    let _daemon = machine.run();
    let mut networkd = Networkd::start(&machine);
    assert_both_answer(&machine);
    let main = table(&machine, "-4", "main");
    assert!(!main.iter().any(|r| r.starts_with("default") && r.contains("ens6")), "{main:#?}");
    let status = machine.must("status");
    assert!(status.contains("/run/systemd/netif/leases/"), "{status}");

    // networkd unlinks its leases when it is restarted, and the addresses stay: so does the way
    // out.
    let strayed = machine.strayed();
    let askers = watch::Askers::start(machine.remote(), &["10.0.1.204".parse().unwrap()]);
    networkd.restart(&machine);
    machine.until("test -e /run/systemd/netif/leases/3");
    thread::sleep(Duration::from_secs(1));
    let [answers] = askers.stop().try_into().unwrap();
    assert!(answers.longest_silence() < Duration::from_millis(500), "{answers:?}");
    eprintln!(
        "restart with UseGateway=no: silent for {:?}, strayed {}",
        answers.longest_silence(),
        machine.strayed() - strayed
    );
}

fn a_gateway_that_only_the_lease_knows_is_that_of_option_121() {
    let machine = without_gateway();
    machine.server("ens6").lease4(|l| {
        l.routers = vec!["10.0.1.99".parse().unwrap()]; // nobody, and to be ignored
        l.classless = vec![("0.0.0.0/0".parse().unwrap(), "10.0.1.1".parse().unwrap())];
    });
    let _daemon = machine.run();
    let _networkd = Networkd::start(&machine);
    assert_both_answer(&machine);
}

/// Networks of option 121 that main does not have are in the table all the same.
fn routes_that_only_the_lease_knows() {
    let machine = without_gateway();
    machine.server("ens6").lease4(|l| {
        l.classless = vec![
            ("10.5.0.0/16".parse().unwrap(), "10.0.1.9".parse().unwrap()),
            ("0.0.0.0/0".parse().unwrap(), "10.0.1.1".parse().unwrap()),
        ];
    });
    network("ens6", &format!("{NO_GATEWAY}RouteTable=200\n"));
    let _daemon = machine.run();
    let _networkd = Networkd::start(&machine);
    assert_both_answer(&machine);
    let number = machine.number("ens6").to_string();
    eventually("the network of the lease is in its table", PATIENCE, || {
        let routes = table(&machine, "-4", &number);
        routes.iter().any(|r| r.starts_with("10.5.0.0/16 via 10.0.1.9"))
    });
}

/// networkd leaves its file as it is when a renewal brings nothing new, so the file's age says
/// nothing.
fn a_renewed_lease_outlives_its_first_lifetime() {
    let machine = without_gateway();
    machine.server("ens6").lease4(|l| (l.seconds, l.renew) = (8, Some(2)));
    let _daemon = machine.run();
    let _networkd = Networkd::start(&machine);
    assert_both_answer(&machine);
    let askers = watch::Askers::start(machine.remote(), &["10.0.1.204".parse().unwrap()]);
    thread::sleep(Duration::from_secs(12));
    let [answers] = askers.stop().try_into().unwrap();
    assert!(machine.server("ens6").count("ack") > 3, "{:?}", machine.server("ens6").said());
    assert_eq!(answers.lost(), 0, "{}", machine.dump());
}

fn a_lease_that_ends_lets_nothing_out_by_another_door() {
    let machine = without_gateway();
    machine.server("ens6").lease4(|l| (l.seconds, l.renew) = (6, Some(2)));
    let daemon = machine.run();
    let _networkd = Networkd::start(&machine);
    assert_both_answer(&machine);
    machine.server("ens6").conduct(Conduct::Silent);
    let strayed = machine.strayed();
    let _askers = watch::Askers::start(machine.remote(), &["10.0.1.204".parse().unwrap()]);
    machine.until("! ip -4 address show dev ens6 | grep -q 10.0.1.204");
    thread::sleep(Duration::from_secs(1));
    machine.assert_in_sync(PATIENCE);
    let status = machine.must("status");
    assert!(!status.contains("10.0.1.1"), "{status}");
    assert_eq!(machine.strayed(), strayed, "{}\n{}", daemon.log(), machine.dump());
}

/// A renewal with another gateway, while the old one is dead: what is sent by it is lost, and
/// nothing leaves by another door.
fn renewal_with_another_gateway(second: &str) {
    let mut machine = Machine::served(Topology::TwoSubnets);
    network("ens5", "[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\n");
    network("ens6", second);
    let daemon = machine.run();
    let _networkd = Networkd::start(&machine);
    assert_both_answer(&machine);
    let strayed = machine.strayed();
    let askers = watch::Askers::start(machine.remote(), &["10.0.1.204".parse().unwrap()]);
    machine.change_gateway("ens6", Some("10.0.1.9".parse().unwrap()), None);
    thread::sleep(Duration::from_millis(300));
    let renewed = watch::now();
    networkctl(&machine, "renew ens6");
    machine.until("grep -q ROUTER=10.0.1.9 /run/systemd/netif/leases/*");
    thread::sleep(Duration::from_secs(1));
    let [answers] = askers.stop().try_into().unwrap();
    let again =
        answers.answered_from().unwrap_or_else(|| panic!("{}\n{}", daemon.log(), machine.dump()));
    let took = watch::since(renewed, again);
    assert!(took < Duration::from_millis(700), "{took:?}\n{}\n{}", daemon.log(), machine.dump());
    assert_eq!(machine.strayed(), strayed, "{}\n{}", daemon.log(), machine.dump());
    let number = machine.number("ens6").to_string();
    let routes = table(&machine, "-4", &number);
    assert!(routes.iter().any(|r| r.starts_with("default via 10.0.1.9")), "{routes:#?}");
    eprintln!("gateway changed by a renewal: answered {took:?} after `networkctl renew`");
}

fn a_gateway_that_changes_at_a_renewal() {
    renewal_with_another_gateway("[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\n");
}

fn a_gateway_that_changes_in_the_lease_only() {
    renewal_with_another_gateway(NO_GATEWAY);
}
