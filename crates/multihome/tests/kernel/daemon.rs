//! `multihome run` as a service: signals, what it tells systemd, what it says, how much it
//! wakes up.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::Duration;

use multihome_lab::Topology;
use rustix::process::Signal;

use crate::runner::tests;
use crate::state::{State, rules};
use crate::world::{CONFIG, Daemon, SOON, World, eventually};

tests![
    it_is_stopped_and_leaves_everything_in_place + user,
    it_reads_its_configuration_again,
    a_wrong_configuration_changes_nothing,
    it_tells_systemd_how_it_stands,
    it_feeds_the_watchdog,
    a_supervisor_that_does_not_listen_stops_nothing,
    it_sleeps_when_nothing_happens + user,
    a_second_one_does_not_start,
    while_others_hold_the_lock_it_still_listens,
    down_beside_it_does_nothing_and_says_who,
    it_says_what_it_does_and_who_interferes,
];

fn it_is_stopped_and_leaves_everything_in_place() {
    let world = World::new(Topology::TwoSubnets);
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = world.run();
        let with = State::of(&world);
        assert!(with.has_ours() && daemon.is_alive());
        let (code, log) = daemon.stop(signal);
        assert_eq!(code, Some(0), "{log}");
        with.assert_is(&State::of(&world), "after a signal");
        world.assert_all_answer();
    }
}

fn it_reads_its_configuration_again() {
    let world = World::new(Topology::TwoSubnets);
    let before = State::of(&world);
    let daemon = world.run();
    let with = State::of(&world);
    world.configure("base = 20000\n");
    daemon.signal(Signal::HUP);
    eventually("the rules have moved", SOON, || {
        rules(&world, "-4").contains(&"20003: from 10.0.1.204 lookup 20003".to_owned())
    });
    world.assert_in_sync(SOON);
    for (family, number) in [("-4", "10003"), ("-6", "10003"), ("-4", "10000"), ("-6", "10000")] {
        let left = rules(&world, family);
        assert!(!left.iter().any(|r| r.contains(number)), "{left:#?}");
        assert_eq!(world.json(&format!("{family} route show table {number}")).len(), 0);
    }
    assert_eq!(world.json("-details link show ens6")[0]["group"], "20000");
    world.assert_all_answer();
    fs::remove_file(CONFIG).unwrap();
    daemon.signal(Signal::HUP);
    eventually("and back", SOON, || State::of(&world) == with);
    drop(daemon);
    world.must("down");
    before.assert_is(&State::of(&world), "after down");
}

fn a_wrong_configuration_changes_nothing() {
    let world = World::new(Topology::TwoSubnets);
    world.configure("base = 20000\n");
    let mut daemon = world.run();
    let with = State::of(&world);
    world.configure("base = 20000\nprimary = \"ens5\"\nbass = 3\n");
    daemon.signal(Signal::HUP);
    daemon.says(&format!("{CONFIG}:3"));
    daemon.says("stays");
    thread::sleep(Duration::from_millis(200));
    assert!(daemon.is_alive());
    with.assert_is(&State::of(&world), "with a wrong configuration");
    // And what it follows is still the old one.
    world.ip("rule flush");
    world.ips("rule add pref 32766 lookup main\nrule add pref 32767 lookup default");
    eventually("the rules are back", SOON, || State::of(&world) == with);
    world.assert_all_answer();
}

fn it_tells_systemd_how_it_stands() {
    let world = World::new(Topology::TwoSubnets);
    let daemon = Daemon::start(&world, "run", &[]);
    assert!(daemon.sees("STATUS=2 uplinks", SOON), "{}", daemon.log());
    assert!(daemon.sees("READY=1", SOON));
    let has_rules = rules(&world, "-4").iter().any(|r| r.contains("10.0.1.204"));
    assert!(has_rules, "ready means done");
    daemon.signal(Signal::HUP);
    assert!(daemon.sees("RELOADING=1", SOON));
    assert!(daemon.sees("MONOTONIC_USEC=", SOON));
    assert!(daemon.sees("READY=1", SOON));
    world.ip("address flush dev ens6 scope global");
    assert!(daemon.sees("STATUS=1 uplink", SOON));
    daemon.signal(Signal::TERM);
    assert!(daemon.sees("STOPPING=1", SOON));
}

fn it_feeds_the_watchdog() {
    let world = World::new(Topology::TwoSubnets);
    let daemon = world.run_with("run", &[("WATCHDOG_USEC", "200000")]);
    for n in 0..5 {
        assert!(daemon.sees("WATCHDOG=1", Duration::from_millis(400)), "number {n}");
    }
}

fn a_supervisor_that_does_not_listen_stops_nothing() {
    let world = World::new(Topology::TwoSubnets);
    let _deaf = UnixDatagram::bind("/run/deaf").unwrap();
    let _daemon = Daemon::start(&world, "run", &[("NOTIFY_SOCKET", "/run/deaf")]);
    world.assert_answers("10.0.1.204");
    // Each change of the number of addresses is a STATUS for it, and its queue is short.
    let queue = fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap();
    let queue: usize = queue.trim().parse().unwrap();
    for n in 0..=queue.min(600) {
        let verb = if n % 2 == 0 { "del" } else { "add" };
        world.ip(&format!("address {verb} 10.0.0.129/24 dev ens5"));
        thread::sleep(Duration::from_millis(5));
    }
    world.lab.renew("ens5").unwrap();
    world.assert_in_sync(SOON);
    world.assert_all_answer();
}

fn while_others_hold_the_lock_it_still_listens() {
    let world = World::new(Topology::TwoSubnets);
    let daemon = world.run_with("run", &[("WATCHDOG_USEC", "200000")]);
    let lock = fs::File::open("/run/multihome/lock").unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    world.ip("address add 10.0.1.209/24 dev ens6");
    for n in 0..5 {
        assert!(daemon.sees("WATCHDOG=1", Duration::from_millis(400)), "number {n}");
    }
    let alone = "10003: from 10.0.1.204 lookup 10003".to_owned();
    let covered = || !rules(&world, "-4").contains(&alone);
    assert!(!covered(), "it waits for the lock");
    drop(lock);
    eventually("the address has its rule", SOON, covered);
    let lock = fs::File::open("/run/multihome/lock").unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    world.ip("address add 10.0.1.211/24 dev ens6");
    let (code, log) = daemon.stop(Signal::TERM);
    assert_eq!(code, Some(0), "{log}");
}

fn it_sleeps_when_nothing_happens() {
    let world = World::new(Topology::TwoSubnets);
    let daemon = world.run();
    world.assert_all_answer();
    thread::sleep(Duration::from_secs(1));
    let switches = || {
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("voluntary_ctxt_switches")).unwrap();
        line.to_owned()
    };
    let before = switches();
    thread::sleep(Duration::from_secs(5));
    assert_eq!(before, switches(), "it woke up: {}", daemon.log());
}

fn a_second_one_does_not_start() {
    let world = World::new(Topology::TwoSubnets);
    let daemon = world.run();
    let said = world.multihome("run");
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.err.contains(&format!("multihome run (pid {})", daemon.pid())), "{}", said.err);
    drop(daemon);
    let _next = world.run();
}

fn down_beside_it_does_nothing_and_says_who() {
    let world = World::new(Topology::TwoSubnets);
    let daemon = world.run();
    let with = State::of(&world);
    let said = world.multihome("down");
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.err.contains(&format!("multihome run (pid {})", daemon.pid())), "{}", said.err);
    assert!(said.err.contains("--force"), "{}", said.err);
    with.assert_is(&State::of(&world), "after a down that did nothing");
    let status = world.must("status");
    assert!(status.contains(&format!("multihome run (pid {})", daemon.pid())), "{status}");
    // With force it does, and the daemon puts everything back.
    let said = world.multihome("down --force");
    assert!(said.err.contains("will put everything back"), "{said:#?}");
    eventually("everything is back", SOON, || State::of(&world) == with);
    world.assert_all_answer();
}

fn it_says_what_it_does_and_who_interferes() {
    let world = World::new(Topology::TwoSubnets);
    let daemon = world.run();
    daemon.says("ip -4 rule add pref 10003 from 10.0.1.204 lookup 10003 proto 177");
    world.ip("rule del pref 10003");
    daemon.says("deleted a rule of multihome's; it is put back");
    let log = daemon.log();
    let line = log.lines().find(|l| l.contains("it is put back")).unwrap();
    assert!(line.starts_with("warning: "), "{line}");
}
