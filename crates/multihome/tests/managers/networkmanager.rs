//! NetworkManager, with its own DHCP client and its own hearing of router advertisements.
//!
//! It runs as a distribution starts it, with a message bus and its dispatcher, and keeps the
//! cards as profiles say. Its state of the second card is the only place of a gateway that a
//! profile keeps out of the kernel (`never-default`).

pub mod beside;
pub mod events;
pub mod gateways;
pub mod hooks;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use multihome_lab::Topology;
use rustix::process::Signal;

use self::beside::{Beside, UNNOTICED};
use crate::common::program::Program;
use crate::machine::{Machine, write};
use crate::runner::tests;
use crate::state::{State, table};
use crate::tree;

tests![
    static_addresses,
    leases_in_two_subnets,
    leases_in_one_subnet,
    a_second_card_that_is_never_default,
    classless_routes_that_the_profile_ignores,
    a_table_of_its_own,
];

pub const FIRST: &str = "10.0.0.129";
pub const SECOND: &str = "10.0.1.204";
pub const SECOND6: &str = "2001:db8:b::204";

/// All by the network: what the installers of distributions leave.
pub const AUTO: &str = "method=auto\n";
/// A gateway that is known, and in no table of the kernel.
const NEVER: &str = "method=auto\nnever-default=true\n";

/// No resolver, no authorisation (there is no polkit), nothing but the profiles; it logs to stderr.
const CONFIGURATION: &str = "[main]\nplugins=keyfile\ndns=none\nauth-polkit=false\n\
    no-auto-default=*\n[keyfile]\nunmanaged-devices=none\n[logging]\nbackend=debug\n";
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
        let dispatcher = machine.start(&format!("{path} --persist"));
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
        let _ = self.daemon.take().expect("it runs").stop(signal);
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
    }
    machine.until_configured();
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

// ===== addresses from files and from the network =====

/// Profiles with the addresses and gateways of the layout.
#[track_caller]
pub fn fixed(machine: &Machine) {
    for card in machine.lab.cards() {
        let [v4, v6] = &card.addresses[..] else { panic!("one of each family") };
        let ipv4 = format!("method=manual\naddress1={v4},{}\n", card.gateway4);
        let ipv6 = format!("method=manual\naddress1={v6},{}\n", card.gateway6);
        profile(&card.name, &ipv4, &ipv6);
    }
}

fn static_addresses() {
    let machine = Machine::new(Topology::TwoSubnets);
    fixed(&machine);
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
