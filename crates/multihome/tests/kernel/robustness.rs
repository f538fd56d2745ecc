//! Others that delete what is ours, floods, crashes, and many of us at once.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use multihome_lab::Topology;
use rustix::process::{Pid, Signal, kill_process};

use crate::runner::tests;
use crate::state::{State, rules};
use crate::world::{Daemon, SOON, World, eventually};

tests![
    what_was_deleted_is_back_at_once + user,
    who_deletes_without_pause_is_answered_with_restraint,
    what_does_not_matter_causes_no_write,
    killed_in_a_storm_it_goes_on_where_it_was,
    five_hundred_events_end_in_order + user,
    five_hundred_more_events_end_in_order,
    a_flood_of_addresses_is_survived + user,
    a_flood_beyond_the_queue_is_survived,
    many_at_once_never_leave_anything_twice,
    ten_thousand_addresses_answer_no_later,
];

fn what_was_deleted_is_back_at_once() {
    let world = World::new(Topology::TwoSubnets);
    let _daemon = world.run();
    let with = State::of(&world);
    for (what, mend) in [
        ("rule del pref 10003", ""),
        ("-6 rule del pref 10003", ""),
        ("rule flush", "rule add pref 32766 lookup main\nrule add pref 32767 lookup default"),
        ("-6 rule flush", "-6 rule add pref 32766 lookup main"),
        ("route flush table 10003", ""),
        ("-6 route flush table 10003", ""),
        ("route del default table 10002", ""),
        ("link set ens6 group 0", ""),
        ("link set ens6 group default", ""),
    ] {
        // Between two of them the restraint is forgotten.
        thread::sleep(Duration::from_millis(900));
        world.ip(what);
        let start = Instant::now();
        let ours = |s: &State| s.ours();
        while ours(&State::of(&world)) != ours(&with) {
            assert!(start.elapsed() < Duration::from_millis(500), "{what}\n{}", world.dump());
        }
        world.ips(mend);
        with.assert_is(&State::of(&world), what);
    }
    world.assert_all_answer();
}

fn who_deletes_without_pause_is_answered_with_restraint() {
    let world = World::new(Topology::TwoSubnets);
    let _daemon = world.run();
    let with = State::of(&world);
    let mut command = Command::new("ip");
    command.args(["-4", "-oneline", "monitor", "rule"]).stdout(Stdio::piped());
    let mut monitor = world.host().spawn(&mut command).unwrap();
    let stdout = BufReader::new(monitor.stdout.take().unwrap());
    let reader = thread::spawn(move || {
        let lines = stdout.lines().map_while(Result::ok).filter(|l| l.contains("10003:"));
        lines.map(|l| (Instant::now(), l.starts_with("Deleted"))).collect::<Vec<_>>()
    });
    thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        world.try_ip("rule del pref 10003");
        thread::sleep(Duration::from_millis(50));
    }
    eventually("all is there", SOON, || State::of(&world) == with);
    monitor.kill().unwrap();
    monitor.wait().unwrap();
    let seen = reader.join().unwrap();
    let deleted = seen.iter().filter(|(_, deleted)| *deleted).count();
    let added = seen.len() - deleted;
    let gaps = seen.windows(2).filter(|w| w[0].1).map(|w| w[1].0 - w[0].0);
    let longest = gaps.max().unwrap();
    println!("{deleted} times deleted, {added} put back, {longest:?} without");
    assert!(deleted >= 5 && added == deleted, "{seen:?}");
    // Five at once, and one every 400 ms.
    assert!(added <= 5 + 3000 / 400 + 3, "{added} times");
    assert!(longest < Duration::from_millis(600), "{longest:?}");
    world.assert_all_answer();
}

fn what_does_not_matter_causes_no_write() {
    let world = World::new(Topology::TwoSubnets);
    let _daemon = world.run();
    world.assert_all_answer();
    let mut command = Command::new("ip");
    command.args(["-oneline", "monitor", "rule", "route"]).stdout(Stdio::piped());
    let mut monitor = world.host().spawn(&mut command).unwrap();
    let mut stdout = monitor.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        let _ = stdout.read_to_string(&mut text);
        text
    });
    thread::sleep(Duration::from_millis(100));
    // Each write of ours would make every connected socket look up its route anew.
    world.ip("link add br9 type bridge");
    for n in 0..20 {
        world.lab.fabric().advertise("ens6", 1800).unwrap();
        world.ips(&format!("address add 172.20.{n}.1/24 dev br9\nlink set ens5 mtu {}", 1500 - n));
        world.ips("link set br9 up\nroute add 192.0.2.0/24 dev br9\nlink set br9 down");
        world.ip("route replace default via 10.0.1.1 dev ens6 metric 3");
    }
    world.must("apply");
    thread::sleep(Duration::from_millis(200));
    monitor.kill().unwrap();
    monitor.wait().unwrap();
    let text = reader.join().unwrap();
    assert!(text.lines().count() > 20, "{text}");
    let ours = text.lines().find(|l| l.contains("proto 177"));
    assert!(ours.is_none(), "written: {ours:?}");
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // Knuth's MMIX generator; its high bits are the better ones.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Things that happen to a host, one command a line. Many of them fail: what they want to change
/// is not so.
fn events(dice: &mut Dice, count: usize) -> String {
    let mut text = String::new();
    for _ in 0..count {
        let n = dice.roll(10);
        let card = dice.roll(2);
        let dev = ["ens5", "ens6"][usize::from(card == 1)];
        let verb = ["add", "del"][usize::from(dice.roll(2) == 1)];
        let _ = match dice.roll(16) {
            0..=3 => writeln!(text, "address {verb} 10.0.{card}.{}/24 dev {dev}", 210 + n),
            4 => writeln!(text, "address {verb} 2001:db8:{:x}::{n}/64 dev {dev} nodad", 0xa + card),
            5 => writeln!(text, "link set {dev} down"),
            6 => writeln!(text, "link set {dev} up"),
            7 => writeln!(text, "route {verb} default via 10.0.1.1 dev ens6 metric 3"),
            8 => writeln!(text, "route {verb} default via 10.0.0.1 dev ens5"),
            9 => writeln!(text, "rule del pref 1000{}", 2 + card),
            10 => writeln!(text, "rule {verb} pref {} from 10.9.{n}.0/24 lookup 77", 7000 + n),
            11 => writeln!(text, "route {verb} 192.0.2.{n}/32 via 10.0.{card}.1 dev {dev}"),
            12 => writeln!(text, "route flush table 1000{}", 2 + card),
            13 => writeln!(text, "link set {dev} mtu {}", 1400 + 100 * (n % 2)),
            14 => writeln!(text, "address {verb} 10.0.1.204/24 dev ens6"),
            _ => writeln!(text, "route {verb} default via 10.0.1.1 dev ens6 table 200"),
        };
    }
    text
}

/// Ends all of it, as an operator would and as the leases do.
fn mend(world: &World) {
    // What an event has added without a lifetime goes; the lease brings it with one.
    let mut text = String::from("route flush table 200\naddress del 10.0.1.204/24 dev ens6\n");
    for card in 0..2 {
        let dev = ["ens5", "ens6"][card];
        let _ = writeln!(text, "link set {dev} mtu 1500\nlink set {dev} up");
        for n in 0..10 {
            let _ = writeln!(text, "address del 10.0.{card}.{}/24 dev {dev}", 210 + n);
            let _ = writeln!(text, "address del 2001:db8:{}::{n}/64 dev {dev}", ["a", "b"][card]);
            let _ = writeln!(text, "route del 192.0.2.{n}/32 dev {dev}");
            let _ = writeln!(text, "rule del pref {}", 7000 + n);
        }
    }
    world.batch(&text);
    for dev in ["ens5", "ens6"] {
        world.lab.renew(dev).unwrap();
    }
}

/// Where the dice of [`five_hundred_more_events_end_in_order`] start, for whoever looks for more.
const SEED: &str = "MULTIHOME_SEED";

fn end_in_order(seed: u64) {
    println!("{SEED}={seed}");
    let world = World::new(Topology::TwoSubnets);
    let before = State::of(&world);
    let daemon = world.run();
    let mut dice = Dice(seed);
    world.batch(&events(&mut dice, 500));
    mend(&world);
    world.assert_in_sync(Duration::from_secs(2));
    State::of(&world).assert_no_duplicates();
    world.assert_all_answer();
    before.assert_is(&State::of(&world).foreign(), "after 500 events, without what is ours");
    // Not mended, it is in order as well.
    world.batch(&events(&mut dice, 500));
    world.assert_in_sync(Duration::from_secs(2));
    State::of(&world).assert_no_duplicates();
    mend(&world);
    world.assert_in_sync(Duration::from_secs(2));
    world.assert_all_answer();
    drop(daemon);
    world.must("down");
    before.assert_is(&State::of(&world), "after down");
}

fn five_hundred_events_end_in_order() {
    end_in_order(1);
}

fn five_hundred_more_events_end_in_order() {
    let seed = std::env::var(SEED).ok().and_then(|s| s.parse().ok()).unwrap_or(2);
    (seed..seed + 3).for_each(end_in_order);
}

fn killed_in_a_storm_it_goes_on_where_it_was() {
    let world = World::new(Topology::TwoSubnets);
    let before = State::of(&world);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut dice = Dice(7);
            while !over.load(Ordering::Acquire) {
                world.batch(&events(&mut dice, 40));
            }
        });
        let mut dice = Dice(8);
        for _ in 0..10 {
            let daemon = Daemon::start(&world, "run", &[]);
            thread::sleep(Duration::from_millis(10 + dice.roll(150)));
            daemon.stop(Signal::KILL);
            State::of(&world).assert_no_duplicates();
        }
        over.store(true, Ordering::Release);
    });
    mend(&world);
    let daemon = world.run();
    world.assert_in_sync(SOON);
    State::of(&world).assert_no_duplicates();
    world.assert_all_answer();
    drop(daemon);
    let in_order = State::of(&world);
    world.must("down");
    before.assert_is(&State::of(&world), "after down");
    world.must("apply");
    in_order.assert_is(&State::of(&world), "made from nothing");
}

/// 20,000 addresses that come and go.
fn flood() -> String {
    let mut text = String::new();
    for n in 0..20_000 {
        let address = format!("10.{}.{}.{}/32", 64 + n / 10_000, n / 100 % 100, n % 100);
        let _ = writeln!(text, "address add {address} dev ens6\naddress del {address} dev ens6");
    }
    text
}

fn a_flood_of_addresses_is_survived() {
    let mut world = World::new(Topology::SameSubnet);
    let daemon = world.run();
    let start = Instant::now();
    world.batch(&flood());
    println!("the flood took {:?}", start.elapsed());
    world.lab.add_address("ens6", "10.0.0.230/24".parse().unwrap()).unwrap();
    world.assert_answers("10.0.0.230");
    world.assert_in_sync(SOON);
    world.assert_all_answer();
    drop(daemon);
}

fn a_flood_beyond_the_queue_is_survived() {
    let mut world = World::new(Topology::SameSubnet);
    let daemon = world.run_with("--log-level debug run", &[]);
    daemon.signal(Signal::STOP);
    world.batch(&flood());
    world.lab.add_address("ens6", "10.0.0.230/24".parse().unwrap()).unwrap();
    world.ips("address del 10.0.0.129/24 dev ens5\nrule del pref 10003");
    daemon.signal(Signal::CONT);
    world.assert_answers("10.0.0.230");
    world.assert_in_sync(SOON);
    daemon.says("events were lost");
    assert!(!rules(&world, "-4").iter().any(|r| r.contains("10.0.0.129")));
    world.lab.renew("ens5").unwrap();
    world.assert_all_answer();
}

fn many_at_once_never_leave_anything_twice() {
    let world = World::new(Topology::TwoSubnets);
    let before = State::of(&world);
    let end = Instant::now() + Duration::from_secs(3);
    let (world_ref, until) = (&world, move || Instant::now() < end);
    thread::scope(|scope| {
        for command in ["apply", "apply", "down --force", "plan"] {
            scope.spawn(move || {
                while until() {
                    let said = world_ref.multihome(command);
                    // Somebody else may have undone it, which is told; nothing else goes wrong.
                    let undone =
                        said.err.contains("somebody undid it") || said.err.contains("left");
                    assert!(said.code == Some(0) || undone, "{command}: {said:#?}");
                }
            });
        }
        scope.spawn(move || {
            let mut dice = Dice(9);
            while until() {
                let daemon = Daemon::start(world_ref, "run", &[]);
                thread::sleep(Duration::from_millis(50 + dice.roll(200)));
                let signal = if dice.roll(2) == 0 { Signal::TERM } else { Signal::KILL };
                daemon.stop(signal);
            }
        });
        while until() {
            State::of(world_ref).assert_no_duplicates();
        }
    });
    world.must("apply");
    State::of(&world).assert_no_duplicates();
    world.assert_all_answer();
    world.assert_in_sync(SOON);
    world.must("down");
    before.assert_is(&State::of(&world), "after down");
}

fn ten_thousand_addresses_answer_no_later() {
    let mut world = World::new(Topology::SameSubnet);
    let daemon = world.run();
    let addresses = |verb: &str| -> String {
        // Every other one, so that no prefix joins them.
        let address = |n: u32| format!("10.200.{}.{}/32", n / 125, 2 * (n % 125));
        (0..10_000).map(|n| format!("address {verb} {} dev ens6\n", address(n))).collect()
    };
    world.batch(&addresses("add"));
    world.assert_in_sync(Duration::from_secs(20));
    world.lab.add_address("ens6", "10.0.0.230/24".parse().unwrap()).unwrap();
    let start = Instant::now();
    world.assert_answers("10.0.0.230");
    println!("one more answers after {:?}", start.elapsed());
    world.assert_all_answer();
    // One after the other, as the kernel deletes them slowly that way.
    world.ip("address flush dev ens6 to 10.200.0.0/16");
    world.assert_in_sync(Duration::from_secs(20));
    world.assert_all_answer();
    let pid = i32::try_from(daemon.pid()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
}
