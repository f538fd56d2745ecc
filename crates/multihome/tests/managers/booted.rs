//! The service as it is installed, in a booted systemd, beside systemd-networkd: started by
//! `systemctl`, as its own user, with its whole sandbox.
//!
//! There is no udevd, as in every container.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use multihome_lab::Topology;

use crate::common::program::Program;
use crate::machine::{Machine, PATIENCE, write};
use crate::networkd::watch::Askers;
use crate::runner::tests;
use crate::tree::{PROGRAM, set_mode};

tests![
    installed_and_started,
    enabled_at_boot,
    the_sandbox_is_in_force,
    what_systemd_lowers_the_service_raises,
    networkd_is_restarted,
    networkd_is_restarted_with_the_drop_in,
];

/// The repository, for a process whose root is a tree: the first process has another.
const SOURCE: &str = concat!("/proc/1/root", env!("CARGO_MANIFEST_DIR"), "/../..");
/// How soon a system has to be off.
const OFF: Duration = Duration::from_secs(20);

/// A host with two leases, the second of which has the only word of its gateway.
fn host() -> Machine {
    let machine = Machine::served(Topology::TwoSubnets);
    write("/etc/systemd/network/10-ens5.network", "[Match]\nName=ens5\n[Network]\nDHCP=yes\n");
    write(
        "/etc/systemd/network/10-ens6.network",
        "[Match]\nName=ens6\n[Network]\nDHCP=yes\n[DHCPv4]\nUseGateway=no\n",
    );
    // `PrivateDevices=` wants it.
    let _ = std::os::unix::fs::symlink("pts/ptmx", "/dev/ptmx");
    // What `packaging/build` leaves, so that `packaging/install` finds it.
    let built = Path::new("/src/target/here-linux-gnu/release");
    fs::create_dir_all(built).unwrap();
    fs::copy(PROGRAM, built.join("multihome")).unwrap();
    fs::remove_file(PROGRAM).unwrap();
    let copied = Command::new("cp").args(["-r", &format!("{SOURCE}/packaging"), "/src/"]).status();
    assert!(copied.unwrap().success());
    set_mode(&built.join("multihome"), 0o755);
    machine
}

/// Boots, and then installs and starts the service as the README says.
fn installed() -> (Machine, Program) {
    let mut machine = host();
    let system = machine.boot(&["systemd-networkd"]);
    install(&machine);
    machine.assert_all_answer_within(PATIENCE);
    (machine, system)
}

#[track_caller]
fn install(machine: &Machine) {
    machine.sh("/src/packaging/install");
    let said = machine.shell("systemctl enable --now multihome");
    assert!(said.code == Some(0), "{}\n{}", said.err, journal(machine));
}

/// What the system has to say of the service.
fn journal(machine: &Machine) -> String {
    machine.shell("systemctl status multihome; journalctl --no-pager --lines 60").out
}

/// `systemctl poweroff`, which stops the service in time.
#[track_caller]
fn power_off(machine: &Machine, mut system: Program) {
    machine.shell("systemctl poweroff"); // the connection may go before the answer
    let start = Instant::now();
    while system.is_alive() {
        assert!(start.elapsed() < OFF, "not off within {OFF:?}");
        thread::sleep(Duration::from_millis(10));
    }
    eprintln!("off after {:?}", start.elapsed());
}

/// The service has failed at nothing, and says so to anyone.
#[track_caller]
fn assert_all_is_well(machine: &Machine) {
    let ordinary = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    for who in ["", ordinary] {
        let status = machine.sh(&format!("{who} multihome status"));
        assert!(status.starts_with("all is well: 2 uplinks"), "{who}: {status}");
        assert!(status.contains("watched by multihome run"), "{who}: {status}");
        assert!(status.contains("/run/systemd/netif/leases/"), "{who}: {status}");
    }
    let log = machine.sh("journalctl --unit multihome --no-pager --output cat --priority warning");
    let is_expected = |l: &&str| l.contains("deleted a") || l.contains("gateway any more");
    let unexpected: Vec<&str> =
        log.lines().filter(|l| !is_expected(l) && !l.starts_with("-- ")).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    let failed = machine.sh("systemctl --failed --plain --no-legend");
    assert!(!failed.contains("multihome"), "{failed}");
}

fn installed_and_started() {
    let (machine, system) = installed();
    assert_all_is_well(&machine);
    let unit = machine.sh("systemctl show multihome --property Type,User,ActiveState,StatusText");
    for line in
        ["Type=notify", "User=multihome", "ActiveState=active", "StatusText=2 uplinks, 12 rules, "]
    {
        assert!(unit.contains(line), "{line}: {unit}");
    }
    machine.sh("systemctl reload multihome && systemctl restart multihome");
    machine.assert_all_answer_at_once();
    assert_all_is_well(&machine);
    power_off(&machine, system);
}

/// As a package leaves it, in a system that then boots.
fn enabled_at_boot() {
    let mut machine = host();
    machine.sh(
        "/src/packaging/install && systemd-sysusers multihome.conf && systemctl enable multihome",
    );
    let system = machine.boot(&["systemd-networkd"]);
    machine.assert_all_answer_within(PATIENCE);
    assert_all_is_well(&machine);
    // It was there before networkd had configured anything.
    let times = machine.sh(
        "systemctl show --value --property ActiveEnterTimestampMonotonic multihome network.target",
    );
    let times: Vec<u64> = times.split_whitespace().map(|t| t.parse().unwrap()).collect();
    let [multihome, network] = times[..] else { panic!("{times:?}") };
    assert!(multihome < network, "{times:?}");
    power_off(&machine, system);
}

/// In a mount namespace of its own it sees what it needs, and can write where it has to.
fn the_sandbox_is_in_force() {
    let (machine, system) = installed();
    let process =
        machine.sh("cat /proc/$(systemctl show --value --property MainPID multihome)/status");
    let value = |name: &str| {
        let line = process.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(":\t"));
        line.unwrap_or_else(|| panic!("no {name}: {process}")).to_owned()
    };
    // CAP_NET_ADMIN, and nothing that could bring more.
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(value(set), "0000000000001000", "{set}");
    }
    assert_eq!(value("NoNewPrivs"), "1");
    assert_eq!(value("Seccomp"), "2");
    let user = machine.sh("id --user multihome");
    assert!(value("Uid").split_whitespace().all(|u| u == user.trim()), "{process}");
    // What is mounted for it cannot be written to, or is not there.
    let inside = |script: &str| {
        machine.shell(&format!(
            "nsenter --mount --root --wd --target $(systemctl show --value --property MainPID multihome) sh -c '{script}'"
        ))
    };
    for refused in ["touch /usr/probe", "touch /etc/probe", "ls -A /home | grep ."] {
        assert_ne!(inside(refused).code, Some(0), "{refused}");
    }
    assert_eq!(inside("touch /run/multihome/probe && rm /run/multihome/probe").code, Some(0));
    power_off(&machine, system);
}

/// systemd-sysctl knows nothing of what the service has raised, and the service may tell it nothing;
/// but the kernel announces what was changed.
fn what_systemd_lowers_the_service_raises() {
    let (machine, system) = installed();
    let filter = "/proc/sys/net/ipv4/conf/ens6/rp_filter";
    write("/etc/sysctl.d/50-strict.conf", "net.ipv4.conf.ens6.rp_filter = 1\n");
    let lower = "/usr/lib/systemd/systemd-sysctl";
    machine.sh(lower);
    assert_eq!(machine.sh(&format!("cat {filter}")).trim(), "1", "nothing is behind it yet");
    write(
        "/etc/multihome/config.toml",
        "[[steer]]\nname = \"containers\"\nuplink = \"ens6\"\niif = \"docker0\"\n",
    );
    machine.sh("systemctl reload multihome");
    let is_loose = format!("grep -qx 2 {filter}");
    machine.until(&is_loose);
    machine.sh(lower);
    machine.until(&is_loose);
    assert_all_is_well(&machine);
    machine.sh("systemctl stop multihome && multihome down");
    assert_eq!(machine.sh(&format!("cat {filter}")).trim(), "1");
    power_off(&machine, system);
}

fn restarted(drop_in: bool) {
    let mut machine = host();
    if drop_in {
        let file = "/etc/systemd/networkd.conf.d/50-multihome.conf";
        fs::create_dir_all(Path::new(file).parent().unwrap()).unwrap();
        fs::copy("/src/packaging/networkd/50-multihome.conf", file).unwrap();
    }
    let system = machine.boot(&["systemd-networkd"]);
    install(&machine);
    machine.assert_all_answer_within(PATIENCE);
    let strayed = machine.strayed();
    let askers = Askers::start(machine.remote(), &machine.lab.addresses());
    machine.sh("systemctl restart systemd-networkd");
    machine.assert_all_answer_within(PATIENCE);
    thread::sleep(Duration::from_secs(3));
    let tree = crate::tree::name();
    for answers in askers.stop() {
        let silent = answers.longest_silence();
        eprintln!(
            "booted, restart, {tree}, drop-in {drop_in}: {} lost {}, silent at most {silent:?}",
            answers.address,
            answers.lost()
        );
        // IPv6 waits for the next advertisement and lease.
        let bound = if answers.address.is_ipv4() { 500 } else { 5000 };
        assert!(silent < Duration::from_millis(bound), "{answers:?}\n{}", machine.dump());
    }
    eprintln!(
        "booted, restart, {tree}, drop-in {drop_in}: strayed {}",
        machine.strayed() - strayed
    );
    assert_all_is_well(&machine);
    power_off(&machine, system);
}

fn networkd_is_restarted() {
    restarted(false);
}

fn networkd_is_restarted_with_the_drop_in() {
    restarted(true);
}
