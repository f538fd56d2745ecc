//! ISC dhclient, started by ifup: what becomes of a lease in its life.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use multihome_core::Prefix;
use multihome_lab::{Ifaddr, Prober, Topology};

use crate::ifupdown::{LEASES, up};
use crate::machine::{By, Machine, PATIENCE, Rules, stories, write};
use crate::runner::tests;
use crate::server::Conduct;
use crate::state::{State, rules, table};
use crate::world::{Daemon, SOON, eventually};

stories![
    a_renewal,
    a_renewal_brings_another_gateway,
    a_renewal_brings_another_gateway_to_the_first_card,
    a_refusal_brings_another_address,
    a_lease_expires,
    a_lease_is_given_back,
    option_121_outranks_the_routers,
    a_card_is_pulled_and_put_back,
    a_reboot,
    // dhclient is the same on both.
    a_reboot_while_no_server_answers on bookworm,
    a_reboot_with_expired_leases_only on bookworm,
];

tests![
    another_gateway_is_heard_at_once_by_a_hook_beside_the_daemon,
    a_lease_of_another_address_is_not_believed,
    a_hung_lock_delays_nobody,
    without_the_program,
];

const SECOND: &str = "10.0.1.204";
/// The longest silence that is taken for a loaded machine's.
const PAUSE: Duration = Duration::from_millis(500);

/// dhclient does not write leases more often than that (15 s), and leaves out what comes in
/// between; a hook is told of each.
const UNTIL_WRITTEN: Duration = Duration::from_secs(16);

/// Both cards by leases that are renewed every other second.
#[track_caller]
fn renewed(by: By) -> (Machine, Option<Daemon>) {
    let machine = Machine::served(Topology::TwoSubnets);
    write("/etc/network/interfaces", LEASES);
    for card in ["ens5", "ens6"] {
        machine.server(card).lease4(|l| l.renew = Some(2));
        machine.server(card).lease6(|l| l.renew = Some(2));
    }
    let daemon = up(&machine, by);
    (machine, daemon)
}

fn a_renewal(by: By) {
    let (machine, _daemon) = renewed(by);
    let before = State::of(&machine);
    let strayed = machine.strayed();
    let rules = Rules::listen(&machine);
    let probers = ["10.0.1.204", "2001:db8:b::204"]
        .map(|a| Prober::start(machine.remote(), a.parse().unwrap()).unwrap());
    for _ in 0..2 {
        machine.server("ens6").wait_for_next("ack", PATIENCE);
        machine.server("ens6").wait_for_next("reply", PATIENCE);
    }
    for prober in probers {
        let count = prober.stop();
        assert!(count.gap < PAUSE, "{count:?}");
    }
    assert_eq!(rules.stop(), [""; 0], "no rule was touched");
    assert_eq!(machine.strayed(), strayed);
    State::of(&machine).ours().assert_is(&before.ours(), "after renewals");
}

fn a_renewal_brings_another_gateway(by: By) {
    let (mut machine, _daemon) = renewed(by);
    let strayed = machine.strayed();
    // Both are there for a while, as when one router takes over from another.
    let new = "10.0.1.9".parse().unwrap();
    machine.lab.fabric().netns().add_address("ens6", &Ifaddr::new(new, 32)).unwrap();
    let prober = Prober::start(machine.remote(), SECOND.parse().unwrap()).unwrap();
    machine.server("ens6").lease4(|l| l.routers = vec!["10.0.1.9".parse().unwrap()]);
    has_gateway(&machine, "10003", "10.0.1.9 dev ens6", PATIENCE);
    let count = prober.stop();
    assert!(count.gap < PAUSE, "{count:?}");
    machine.lab.fabric().netns().del_address("ens6", &Ifaddr::new(new, 32)).unwrap();
    machine.change_gateway("ens6", Some("10.0.1.9".parse().unwrap()), None);
    machine.assert_all_answer_within(PATIENCE);
    assert_eq!(machine.strayed(), strayed);
}

fn a_renewal_brings_another_gateway_to_the_first_card(by: By) {
    let (mut machine, _daemon) = renewed(by);
    let strayed = machine.strayed();
    machine.change_gateway("ens5", Some("10.0.0.9".parse().unwrap()), None);
    has_gateway(&machine, "10002", "10.0.0.9 dev ens5", PATIENCE);
    machine.assert_all_answer_within(PATIENCE);
    assert_eq!(machine.strayed(), strayed);
    // dhclient-script leaves main as it was made first, and so does multihome.
    let main = machine.ip("-4 route show default");
    assert!(main.contains("via 10.0.0.1 dev ens5"), "{main}");
}

fn a_refusal_brings_another_address(by: By) {
    let (mut machine, _daemon) = renewed(by);
    let new: Ifaddr = "10.0.1.205/24".parse().unwrap();
    machine.lab.add_address("ens6", new).unwrap();
    machine.server("ens6").lease4(|l| l.address = "10.0.1.205".parse().unwrap());
    machine.server("ens6").wait_for_next("nak", PATIENCE);
    eventually("the rules are those of the new address", PATIENCE, || {
        let rules = rules(&machine, "-4").join("\n");
        rules.contains("10003: from 10.0.1.205 ") && !rules.contains(SECOND)
    });
    machine.lab.del_address("ens6", SECOND.parse().unwrap()).unwrap();
    machine.assert_all_answer_within(PATIENCE);
}

fn a_lease_expires(by: By) {
    let machine = Machine::served(Topology::TwoSubnets);
    write("/etc/network/interfaces", LEASES);
    write_short_timeouts();
    machine.server("ens6").lease4(|l| (l.seconds, l.renew, l.rebind) = (8, Some(3), Some(5)));
    machine.server("ens6").lease6(|l| (l.seconds, l.renew) = (8, Some(3)));
    let start = Instant::now();
    let _daemon = up(&machine, by);
    let strayed = machine.strayed();
    let first = Prober::start(machine.remote(), "10.0.0.129".parse().unwrap()).unwrap();
    let second = Prober::start(machine.remote(), SECOND.parse().unwrap()).unwrap();
    machine.server("ens6").conduct(Conduct::Silent);
    eventually("no rule is left of what expired", PATIENCE, || {
        !machine.ip("-4 rule").contains(SECOND) && !machine.ip("-6 rule").contains(":b::204")
    });
    let count = first.stop();
    assert!(count.gap < PAUSE, "{count:?}");
    drop(second);
    assert_eq!(machine.strayed(), strayed);
    thread::sleep(UNTIL_WRITTEN.saturating_sub(start.elapsed()));
    machine.server("ens6").conduct(Conduct::Answers);
    machine.assert_all_answer_within(PATIENCE);
}

fn a_lease_is_given_back(by: By) {
    let (machine, _daemon) = renewed(by);
    let files = |version: &str| {
        let (pid, leases) = ("/run/dhclient", "/var/lib/dhcp/dhclient");
        format!("-pf {pid}{version}.ens6.pid -lf {leases}{version}.ens6.leases ens6")
    };
    machine.sh(&format!("dhclient -4 -r {}; dhclient -6 -r {}", files(""), files("6")));
    eventually("no rule is left of what was given back", SOON, || {
        !machine.ip("-4 rule").contains(SECOND) && !machine.ip("-6 rule").contains(":b::204")
    });
    // The files still have the leases. Started again and stopped (STOP) it is the same.
    for end in ["-x", "-r"] {
        machine.sh(&format!("dhclient -4 {}; dhclient -6 {}", files(""), files("6")));
        machine.assert_all_answer_within(PATIENCE);
        machine.sh(&format!("dhclient -4 {end} {}; dhclient -6 {end} {}", files(""), files("6")));
        eventually("no rule is left of what was stopped", SOON, || {
            !machine.ip("-4 rule").contains(SECOND) && !machine.ip("-6 rule").contains(":b::204")
        });
    }
}

fn option_121_outranks_the_routers(by: By) {
    let mut machine = Machine::served(Topology::TwoSubnets);
    write("/etc/network/interfaces", LEASES);
    machine.change_gateway("ens6", Some("10.0.1.9".parse().unwrap()), None);
    let route = |dst: &str, gateway: &str| -> (Prefix, _) {
        (dst.parse().unwrap(), gateway.parse().unwrap())
    };
    machine.server("ens6").lease4(|l| {
        l.routers = vec!["10.0.1.1".parse().unwrap()]; // dead
        l.classless = vec![
            route("0.0.0.0/0", "10.0.1.9"),
            route("203.0.113.0/24", "10.0.1.10"),
            route("192.168.77.128/25", "0.0.0.0"),
        ];
    });
    let _daemon = up(&machine, by);
    let routes = table(&machine, "-4", "10003");
    for wanted in ["default via 10.0.1.9 ", "203.0.113.0/24 via 10.0.1.10 ", "192.168.77.128/25 "] {
        assert!(routes.iter().any(|r| r.starts_with(wanted)), "{wanted}: {routes:#?}");
    }
}

fn a_card_is_pulled_and_put_back(by: By) {
    let mut machine = Machine::served(Topology::TwoSubnets);
    write("/etc/network/interfaces", LEASES);
    let _daemon = up(&machine, by);
    let strayed = machine.strayed();
    machine.pull("ens6");
    machine.assert_answers("10.0.0.129");
    // The daemon keeps the rules for a moment, for connections that are still there.
    if by == By::Daemon {
        assert_eq!(machine.strayed(), strayed);
    }
    // As ifupdown's own rule of udev does it.
    machine.sh("ifdown ens6");
    eventually("no rule is left of what was pulled", PATIENCE, || {
        !machine.ip("-4 rule").contains(SECOND) && !machine.ip("-6 rule").contains(":b::204")
    });
    machine.plug("ens6");
    machine.sh("ifup ens6");
    machine.assert_all_answer_within(PATIENCE);
}

fn a_reboot(by: By) {
    let mut machine = Machine::served(Topology::TwoSubnets);
    write("/etc/network/interfaces", LEASES);
    drop(up(&machine, by));
    machine.reboot();
    // While it was off the gateway changed, so that the lease on file is wrong.
    machine.change_gateway("ens6", Some("10.0.1.9".parse().unwrap()), None);
    let daemon = (by == By::Daemon).then(|| machine.run());
    assert_eq!(rules(&machine, "-4"), [""; 0], "of old leases nothing is made");
    machine.sh("ifup -a");
    machine.assert_all_answer_within(PATIENCE);
    has_gateway(&machine, "10003", "10.0.1.9 dev ens6", SOON);
    drop(daemon);
}

fn a_reboot_while_no_server_answers(by: By) {
    let mut machine = Machine::served(Topology::TwoSubnets);
    write_short_timeouts();
    drop(up4(&machine, by));
    machine.reboot();
    machine.servers_are(Conduct::Silent);
    let daemon = (by == By::Daemon).then(|| machine.run());
    // Leases that have not expired are used again (TIMEOUT).
    machine.shell("ifup -a");
    for address in ["10.0.0.129", SECOND] {
        machine.assert_answers(address);
    }
    drop(daemon);
}

fn a_reboot_with_expired_leases_only(by: By) {
    let mut machine = Machine::served(Topology::TwoSubnets);
    write_short_timeouts();
    for card in ["ens5", "ens6"] {
        machine.server(card).lease4(|l| l.seconds = 6);
    }
    drop(up4(&machine, by));
    machine.reboot();
    machine.servers_are(Conduct::Silent);
    thread::sleep(Duration::from_secs(7));
    let daemon = (by == By::Daemon).then(|| machine.run());
    machine.shell("ifup -a");
    assert_eq!(rules(&machine, "-4"), [""; 0], "of expired leases nothing is made");
    // The gateway is in a lease that is over, whoever has the address now.
    machine.ips("link set ens6 up\naddress add 10.0.1.204/24 dev ens6");
    if by == By::Hooks {
        machine.must("apply");
    }
    let status = machine.multihome("status").out;
    assert!(!status.contains("10.0.1.1\n"), "{status}");
    drop(daemon);
}

fn another_gateway_is_heard_at_once_by_a_hook_beside_the_daemon() {
    let (machine, daemon) = renewed(By::Daemon);
    machine.install_hooks();
    machine.server("ens6").lease4(|l| l.routers = vec!["10.0.1.9".parse().unwrap()]);
    machine.server("ens6").wait_for_next("ack", PATIENCE);
    has_gateway(&machine, "10003", "10.0.1.9 dev ens6", SOON);
    assert!(daemon.unwrap().log().contains("via 10.0.1.9"), "it is the daemon that does it");
}

fn a_lease_of_another_address_is_not_believed() {
    let machine = Machine::new(Topology::TwoSubnets);
    write(
        "/etc/network/interfaces",
        "auto ens5 ens6\niface ens5 inet static\n address 10.0.0.129/24\n gateway 10.0.0.1\n\
         iface ens6 inet static\n address 10.0.1.204/24\n",
    );
    write(
        "/var/lib/dhcp/dhclient.ens6.leases",
        "lease {\n  interface \"ens6\";\n  fixed-address 10.0.1.250;\n  \
         option subnet-mask 255.255.255.0;\n  option routers 10.0.1.77;\n  \
         renew never;\n  rebind never;\n  expire never;\n}\n",
    );
    let daemon = machine.run();
    machine.sh("ifup -a");
    daemon.says("1 uplink");
    let status = machine.must("status");
    assert!(!status.contains("10.0.1.77"), "{status}");
    assert!(status.contains("no gateway"), "{status}");
}

fn a_hung_lock_delays_nobody() {
    let machine = Machine::served(Topology::TwoSubnets);
    machine.install_hooks();
    write("/etc/network/interfaces", LEASES);
    fs::create_dir_all("/run/multihome").unwrap();
    let holder = machine.start("flock /run/multihome/lock sleep 60");
    machine.until("! flock --nonblock /run/multihome/lock true");
    let start = Instant::now();
    machine.sh("ifup ens6");
    // IPv4 and IPv6, each by dhclient's hooks and ifupdown's, of three seconds at most.
    let took = start.elapsed();
    assert!(took < Duration::from_secs(25), "{took:?}");
    assert!(machine.ip("address show dev ens6").contains(SECOND), "{}", machine.dump());
    drop(holder);
    machine.until("flock --nonblock /run/multihome/lock true || pkill -x sleep");
    machine.sh("ifup ens5");
    machine.assert_all_answer_at_once();
}

fn without_the_program() {
    let machine = Machine::served(Topology::TwoSubnets);
    machine.install_hooks();
    write("/etc/network/interfaces", LEASES);
    fs::remove_file("/usr/sbin/multihome").unwrap();
    let said = machine.shell("ifup -a");
    assert!(said.code == Some(0), "{said:#?}");
    assert!(!(said.err + &said.out).contains("multihome"), "nobody complains");
    for address in machine.lab.addresses() {
        let is_there = |a: IpAddr| machine.ip("address").contains(&a.to_string());
        assert!(is_there(address), "{address}\n{}", machine.dump());
    }
    assert!(!Path::new("/run/multihome").exists());
}

// ===== helpers =====

/// A table has one IPv4 default, by that gateway; in a while.
#[track_caller]
fn has_gateway(machine: &Machine, number: &str, gateway: &str, within: Duration) {
    let wanted = format!("default via {gateway}");
    eventually(&format!("table {number} has {wanted}"), within, || {
        let routes = table(machine, "-4", number);
        let gateways = routes.iter().filter(|r| r.starts_with("default "));
        gateways.map(|r| r.starts_with(&wanted)).eq([true])
    });
}

/// As [`up`], with IPv4 alone: ifup waits long for a DHCPv6 server that does not answer.
#[track_caller]
fn up4(machine: &Machine, by: By) -> Option<Daemon> {
    let stanzas = "auto ens5 ens6\niface ens5 inet dhcp\niface ens6 inet dhcp\n";
    write("/etc/network/interfaces", stanzas);
    let daemon = machine.kept_right(by);
    machine.sh("ifup -a");
    for address in ["10.0.0.129", SECOND] {
        machine.assert_answers(address);
    }
    daemon
}

/// dhclient gives up soon when nobody answers, and tries again soon.
fn write_short_timeouts() {
    let path = "/etc/dhcp/dhclient.conf";
    let text = fs::read_to_string(path).unwrap();
    write(path, &format!("{text}\ntimeout 4;\nretry 2;\nbackoff-cutoff 2;\ninitial-interval 1;\n"));
}
