//! Gateways that only a file knows: leases as managers keep them, and what hooks are told.
//!
//! The files are written as the programs write them; the programs themselves are in the tests of
//! the managers.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use multihome_lab::{Mac, Topology};
use rustix::fs::{FlockOperation, OFlags, fcntl_getfl, fcntl_setfl, flock};
use rustix::process::Signal;

use crate::runner::tests;
use crate::state::{rules, table};
use crate::world::{SOON, Said, World, eventually};

tests![
    a_lease_on_file_has_the_gateway + user,
    a_lease_is_seen_also_where_its_directory_comes_later,
    a_renewed_lease_changes_the_gateway,
    a_lease_that_is_gone_for_a_moment_changes_nothing,
    a_lease_that_is_not_on_file_lives_with_its_address,
    a_lease_without_a_router_withdraws_the_gateway,
    a_lease_of_another_address_is_a_leftover,
    the_networks_of_a_lease_are_in_the_table,
    a_file_that_is_not_believed_is_named,
    a_snapshot_holds_what_files_said + user,
    a_hook_puts_the_host_right + user,
    a_hook_leaves_the_work_to_the_daemon,
    what_a_hook_was_told_ends_with_its_lease,
    a_hook_never_fails_and_never_waits_long,
    a_hook_whose_words_nobody_reads_ends_all_the_same,
    a_daemon_whose_words_nobody_reads_goes_on,
    what_was_taken_down_stays_down_at_the_next_renewal,
];

const SECOND: &str = "10.0.1.204";
const LEASES: &str = "/run/systemd/netif/leases";

/// A host whose second card has no gateway in the kernel, as `UseGateway=no` leaves it.
fn host() -> World {
    let world = World::new(Topology::TwoSubnets);
    world.ip("route del default dev ens6");
    world
}

/// Writes the lease of ens6 as systemd-networkd does: under another name, then renamed.
fn lease(text: &str) {
    let (path, new) = (format!("{LEASES}/3"), format!("{LEASES}/.#3abc"));
    fs::create_dir_all(LEASES).unwrap();
    fs::create_dir_all("/run/systemd/netif/links").unwrap();
    fs::write("/run/systemd/netif/links/3", "ADMIN_STATE=configured\n").unwrap();
    fs::write(&new, format!("# This is private data. Do not parse.\n{text}")).unwrap();
    fs::rename(new, path).unwrap();
}

const LEASE: &str = "ADDRESS=10.0.1.204\nNETMASK=255.255.255.0\nROUTER=10.0.1.1\nLIFETIME=120\n";

fn a_lease_on_file_has_the_gateway() {
    let world = host();
    lease(LEASE);
    let status = world.multihome("status").out;
    assert!(
        status.contains("lease, by systemd-networkd (/run/systemd/netif/leases/3)"),
        "{status}"
    );
    world.must("apply");
    world.assert_all_answer();
}

fn a_lease_is_seen_also_where_its_directory_comes_later() {
    let world = host();
    let _daemon = world.run();
    lease(LEASE);
    world.assert_answers(SECOND);
    world.assert_all_answer();
    // systemd-networkd's restart may replace the whole directory.
    fs::remove_dir_all("/run/systemd").unwrap();
    lease(&LEASE.replace("120", "240"));
    thread::sleep(Duration::from_millis(1500));
    world.assert_all_answer_at_once();
    assert_eq!(rules(&world, "-4").iter().filter(|r| r.contains(SECOND)).count(), 2);
}

fn a_renewed_lease_changes_the_gateway() {
    let mut world = host();
    lease(LEASE);
    let _daemon = world.run();
    world.assert_answers(SECOND);
    let strayed = world.strayed();
    let mac = Mac([2, 0, 0, 0, 9, 9]);
    let gateway = Some("10.0.1.9".parse().unwrap());
    world.lab.fabric_mut().change_gateway("ens6", gateway, None, mac).unwrap();
    lease(&LEASE.replace("10.0.1.1\n", "10.0.1.9\n"));
    world.ip("neighbour flush dev ens6");
    world.assert_answers(SECOND);
    assert_eq!(world.strayed(), strayed);
    let routes = table(&world, "-4", "10003");
    assert!(routes.iter().any(|r| r.starts_with("default via 10.0.1.9 ")), "{routes:#?}");
}

fn a_lease_that_is_gone_for_a_moment_changes_nothing() {
    let world = host();
    lease(LEASE);
    let daemon = world.run();
    world.assert_answers(SECOND);
    for _ in 0..5 {
        fs::remove_file(format!("{LEASES}/3")).unwrap();
        thread::sleep(Duration::from_millis(40));
        lease(LEASE);
        thread::sleep(Duration::from_millis(40));
    }
    thread::sleep(Duration::from_millis(1500));
    world.assert_all_answer_at_once();
    let log = daemon.log();
    assert!(!log.contains("route del"), "{log}");
}

/// systemd-networkd's restart takes the files away and leaves addresses and routes.
fn a_lease_that_is_not_on_file_lives_with_its_address() {
    let world = host();
    lease(LEASE);
    let daemon = world.run();
    world.assert_answers(SECOND);
    fs::remove_file(format!("{LEASES}/3")).unwrap();
    thread::sleep(Duration::from_millis(1500));
    world.assert_all_answer_at_once();
    // All see it the same way, also who comes new.
    world.assert_in_sync(SOON);
    daemon.stop(Signal::TERM);
    let _daemon = world.run();
    world.assert_all_answer_at_once();
    world.ip("address del 10.0.1.204/24 dev ens6");
    world.assert_in_sync(SOON);
    world.ip("address add 10.0.1.204/24 dev ens6");
    world.assert_in_sync(SOON);
    assert!(!table(&world, "-4", "10003").iter().any(|r| r.starts_with("default via")));
}

fn a_lease_without_a_router_withdraws_the_gateway() {
    let world = host();
    lease(LEASE);
    let _daemon = world.run();
    world.assert_answers(SECOND);
    lease(&LEASE.replace("ROUTER=10.0.1.1\n", ""));
    world.assert_refused(SECOND, SOON);
    lease(LEASE);
    world.assert_answers(SECOND);
}

fn a_lease_of_another_address_is_a_leftover() {
    let world = host();
    lease(&LEASE.replace(SECOND, "10.0.1.77"));
    let status = world.multihome("status").out;
    assert!(!status.contains("lease, by"), "{status}");
}

fn the_networks_of_a_lease_are_in_the_table() {
    let world = host();
    let routes = "CLASSLESS_ROUTES=10.5.0.0/16,10.0.1.9 10.6.7.0/24,0.0.0.0 0.0.0.0/0,10.0.1.1\n";
    // The router beside option 121 is not to be used (RFC 3442).
    lease(&(LEASE.replace("ROUTER=10.0.1.1", "ROUTER=10.0.1.66") + routes));
    let _daemon = world.run();
    world.assert_answers(SECOND);
    let routes = table(&world, "-4", "10003");
    for wanted in ["10.5.0.0/16 via 10.0.1.9 ", "10.6.7.0/24 dev ens6", "default via 10.0.1.1 "] {
        assert!(routes.iter().any(|r| r.starts_with(wanted)), "{wanted}: {routes:#?}");
    }
    // One that main has too is main's word.
    world.ip("route add 10.5.0.0/16 via 10.0.1.1 dev ens6");
    eventually("main's route is copied", SOON, || {
        let routes = table(&world, "-4", "10003");
        let mut of_it = routes.iter().filter(|r| r.starts_with("10.5.0.0/16"));
        of_it.next().is_some_and(|r| r.contains("via 10.0.1.1 ")) && of_it.next().is_none()
    });
}

fn a_file_that_is_not_believed_is_named() {
    let world = host();
    let path = format!("{LEASES}/3");
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    let expect = |what: &str| {
        let said = world.multihome("status");
        let notes: Vec<&str> = said.out.lines().filter(|l| l.starts_with("note:")).collect();
        assert!(
            notes.iter().any(|n| n.contains(&path) && n.contains("is not believed")),
            "{what}: {said:#?}"
        );
        assert!(!said.out.contains("lease, by"), "{what}: {said:#?}");
    };
    lease(LEASE);
    mode(0o666);
    expect("everybody may write it");
    mode(0o644);
    let status = world.multihome("status").out;
    assert!(status.contains("lease, by systemd-networkd"), "{status}");
    fs::write(&path, vec![b'#'; 3 << 20]).unwrap();
    expect("huge");
    fs::write(&path, b"ADDRESS=10.0.1.204\nROUTER=\xff\xfe\n").unwrap();
    expect("not text");
    fs::write(&path, "ADDRESS=10.0.1.204\nROUTER=ten\n").unwrap();
    expect("no address");
    fs::remove_file(&path).unwrap();
    fs::write("/run/elsewhere", LEASE).unwrap();
    symlink("/run/elsewhere", &path).unwrap();
    expect("a symbolic link");
    fs::remove_file(&path).unwrap();
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    expect("a pipe");
}

fn a_snapshot_holds_what_files_said() {
    let world = host();
    lease(LEASE);
    let plan = world.must("plan");
    fs::write("/run/host.json", world.must("snapshot")).unwrap();
    fs::remove_dir_all(LEASES).unwrap();
    assert_eq!(world.must("plan --snapshot /run/host.json"), plan);
    assert_ne!(world.must("plan"), plan);
}

/// Runs a hook as `dhclient-script` does.
fn dhclient(world: &World, reason: &str, variables: &[(&str, &str)]) -> Said {
    let mut command: Command = world.command("hook dhclient");
    command.env("interface", "ens6").env("reason", reason).envs(variables.iter().copied());
    let start = Instant::now();
    let said = world.output(&mut command, "");
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(start.elapsed() < Duration::from_secs(5), "{said:#?}");
    said
}

const BOUND: [(&str, &str); 4] = [
    ("new_ip_address", "10.0.1.204"),
    ("new_subnet_mask", "255.255.255.0"),
    ("new_routers", "10.0.1.1"),
    ("new_dhcp_lease_time", "3600"),
];

fn a_hook_puts_the_host_right() {
    let world = host();
    dhclient(&world, "PREINIT", &[]);
    let said = dhclient(&world, "BOUND", &BOUND);
    assert_eq!(said.out, "", "{said:#?}");
    world.assert_all_answer();
    let status = world.must("status");
    assert!(status.contains("lease, by dhclient (/run/multihome/hints/"), "{status}");
    let before = rules(&world, "-4");
    dhclient(&world, "RENEW", &BOUND);
    assert_eq!(rules(&world, "-4"), before);
    // The script takes the address away first.
    world.ip("address del 10.0.1.204/24 dev ens6");
    dhclient(&world, "EXPIRE", &[("old_ip_address", "10.0.1.204"), ("old_routers", "10.0.1.1")]);
    assert!(!rules(&world, "-4").iter().any(|r| r.contains(SECOND)), "{}", world.dump());
    assert_eq!(fs::read_dir("/run/multihome/hints").unwrap().count(), 0);
}

fn a_hook_leaves_the_work_to_the_daemon() {
    let world = host();
    let daemon = world.run();
    let said = dhclient(&world, "BOUND", &BOUND);
    assert_eq!(said.err, "", "{said:#?}");
    world.assert_answers(SECOND);
    daemon.says("default via 10.0.1.1 dev ens6 table 10003");
    // A lease without a router.
    let bound: Vec<_> = BOUND.into_iter().filter(|(name, _)| *name != "new_routers").collect();
    dhclient(&world, "RENEW", &bound);
    world.assert_refused(SECOND, SOON);
}

fn what_a_hook_was_told_ends_with_its_lease() {
    let world = host();
    let _daemon = world.run();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let expiry = (now + 3).to_string();
    let mut bound = BOUND.to_vec();
    bound[3].1 = "3";
    bound.push(("new_expiry", &expiry));
    dhclient(&world, "BOUND", &bound);
    world.assert_answers(SECOND);
    world.assert_refused(SECOND, Duration::from_secs(8));
}

/// A pipe that is full, and that nobody reads.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    while (&writer).write(&[b'.'; 4096]).is_ok() {}
    while (&writer).write(b".").is_ok() {}
    fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

fn a_hook_whose_words_nobody_reads_ends_all_the_same() {
    let world = host();
    let (_reader, writer) = full_pipe();
    let mut command = world.command("hook dhclient");
    command.env("interface", "ens6").env("reason", "BOUND").envs(BOUND).stderr(writer);
    let mut child = world.host().spawn(&mut command).unwrap();
    eventually("it ends", Duration::from_secs(5), || child.try_wait().unwrap().is_some());
    world.assert_all_answer();
}

fn a_daemon_whose_words_nobody_reads_goes_on() {
    let world = host();
    let (_reader, writer) = full_pipe();
    let mut command = world.command("run");
    command.stderr(writer);
    let mut child = world.host().spawn(&mut command).unwrap();
    lease(LEASE);
    world.assert_answers(SECOND);
    world.ip("address add 10.0.1.77/24 dev ens6");
    world.assert_in_sync(SOON);
    child.kill().unwrap();
    child.wait().unwrap();
}

fn what_was_taken_down_stays_down_at_the_next_renewal() {
    let world = host();
    dhclient(&world, "BOUND", &BOUND);
    assert_ne!(rules(&world, "-4"), [""; 0]);
    world.must("down");
    dhclient(&world, "RENEW", &BOUND);
    assert_eq!(rules(&world, "-4"), [""; 0], "{}", world.dump());
    let status = world.multihome("status").out;
    assert!(status.contains("taken down"), "{status}");
    world.must("apply");
    world.assert_all_answer();
    world.ip("rule del pref 10003");
    dhclient(&world, "RENEW", &BOUND);
    world.assert_all_answer();
}

fn a_hook_never_fails_and_never_waits_long() {
    let world = host();
    // Somebody holds the lock on changes and does not let go.
    fs::create_dir_all("/run/multihome").unwrap();
    let lock = fs::File::create("/run/multihome/lock").unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let said = dhclient(&world, "BOUND", &BOUND);
    assert!(said.err.contains("error: "), "{said:#?}");
    drop(lock);
    // A configuration that is wrong.
    world.configure("base = 7\n");
    let said = dhclient(&world, "BOUND", &BOUND);
    assert!(said.err.contains("config.toml:1:8"), "{said:#?}");
    fs::remove_dir_all("/etc/multihome").unwrap();
    // Variables that are missing or nonsense; what is understood is done all the same.
    for (name, value) in
        [("new_ip_address", "ten"), ("new_routers", "10.0.1.1 x"), ("interface", "../x")]
    {
        let mut bound = BOUND.to_vec();
        bound.push((name, value));
        let said = dhclient(&world, "BOUND", &bound);
        assert!(said.err.contains("error: "), "{name}={value}: {said:#?}");
    }
    dhclient(&world, "SOMETHING", &[]);
    world.ip("link set ens6 down");
    dhclient(&world, "FAIL", &[]);
}
