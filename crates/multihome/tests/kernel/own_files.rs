//! Files of our own: root's commands and the service's user share a directory, and neither shuts
//! the other out or leads it elsewhere.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use multihome_lab::Topology;
use rustix::process::Signal;

use crate::common::program::Program;
use crate::runner::{program, tests};
use crate::state::{State, table};
use crate::world::{SOON, Said, World, eventually, words};

tests![
    the_service_starts_after_commands_of_root + user,
    commands_of_root_work_beside_and_after_the_service,
    a_lock_that_root_made_earlier_is_given_to_the_service,
    the_service_says_what_to_do_about_a_lock_that_it_may_not_open,
    no_link_leads_root_elsewhere + user,
    what_is_no_file_holds_nobody_up + user,
    modes_do_not_depend_on_the_umask + user,
    what_is_remembered_outlives_a_command_with_a_narrow_umask,
    a_memory_that_others_may_write_is_not_believed + user,
    a_memory_of_a_stranger_is_not_believed,
    who_is_no_daemon_is_not_called_one + user,
    only_a_runtime_directory_of_ours_counts + user,
    names_of_tables_are_written_through_no_link + user,
];

const RUN: &str = "/run/multihome";
const MEMORY: &str = "/run/multihome/gateways.json";
const SECOND: &str = "10.0.1.204";
/// The service's user, and an ordinary one.
const SERVICE: u32 = 990;
const SOMEBODY: u32 = 1000;

/// In an ordinary user's namespace there is no other user: it plays all of them.
fn there_are_others() -> bool {
    fs::read_to_string("/proc/self/uid_map").unwrap().contains("4294967295")
}

/// A host whose second card has no gateway in the kernel, and a program that all may start.
fn host() -> World {
    let world = World::new(Topology::TwoSubnets);
    world.ip("route del default dev ens6");
    fs::create_dir("/run/bin").unwrap();
    fs::copy(program(), "/run/bin/multihome").unwrap();
    world
}

/// The directory as systemd makes it.
fn make_runtime_directory() {
    fs::create_dir(RUN).unwrap();
    if there_are_others() {
        chown(RUN, Some(SERVICE), Some(SERVICE)).unwrap();
    }
}

/// The program as another user.
fn as_user(uid: u32, arguments: &str) -> Command {
    let mut command = Command::new("/run/bin/multihome");
    if there_are_others() {
        command = Command::new("setpriv");
        command.args([format!("--reuid={uid}"), format!("--regid={uid}")]).arg("--clear-groups");
        if uid == SERVICE {
            command.args(["--inh-caps=+net_admin", "--ambient-caps=+net_admin"]);
        }
        command.arg("/run/bin/multihome");
    }
    command.args(words(arguments));
    command
}

/// `multihome run` as the unit starts it.
fn service(world: &World) -> Program {
    let service = Program::start(world.host(), as_user(SERVICE, "run"));
    let name = format!("multihome run (pid {})", service.pid());
    eventually(&format!("it runs: {}", service.log()), SOON, || {
        world.multihome("status").out.contains(&name)
    });
    service
}

/// A hook of dhclient's, as root.
fn hook(world: &World, reason: &str) -> Said {
    let said = world.output(&mut with_lease(world.command("hook dhclient"), reason), "");
    assert_eq!(said.code, Some(0), "{said:#?}");
    said
}

fn with_lease(mut command: Command, reason: &str) -> Command {
    command.env("interface", "ens6").env("reason", reason).envs([
        ("new_ip_address", SECOND),
        ("new_subnet_mask", "255.255.255.0"),
        ("new_routers", "10.0.1.1"),
        ("new_dhcp_lease_time", "3600"),
    ]);
    command
}

fn mode(path: impl AsRef<Path>) -> u32 {
    path.as_ref().symlink_metadata().unwrap().mode() & 0o7777
}

fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[track_caller]
fn assert_is_the_services(name: &str) {
    let owner = if there_are_others() { SERVICE } else { 0 };
    assert_eq!(fs::metadata(format!("{RUN}/{name}")).unwrap().uid(), owner, "{name}");
}

// ===== who was first =====

fn the_service_starts_after_commands_of_root() {
    for first in ["hook", "apply", "down"] {
        let world = host();
        make_runtime_directory();
        match first {
            "hook" => assert_eq!(hook(&world, "BOUND").err.matches("error").count(), 0),
            verb => drop(world.must(verb)),
        }
        assert_is_the_services("lock");
        assert_eq!(mode(format!("{RUN}/lock")), 0o600, "{first}");
        let service = service(&world);
        hook(&world, "BOUND");
        world.assert_answers(SECOND);
        // It writes down what it has done when that is done.
        let is_there = || Path::new(RUN).join("gateways.json").exists();
        eventually("gateways are remembered", SOON, is_there);
        assert_is_the_services("gateways.json");
        let (status, log) = service.stop(Signal::TERM);
        assert!(status.success() && !log.contains("error"), "after {first}: {log}");
        drop(world);
        for left in [RUN, "/run/bin"] {
            fs::remove_dir_all(left).unwrap();
        }
    }
}

fn commands_of_root_work_beside_and_after_the_service() {
    let world = host();
    make_runtime_directory();
    let first = service(&world);
    hook(&world, "BOUND");
    world.assert_answers(SECOND);
    world.must("apply");
    first.stop(Signal::TERM);
    // Root's daemon for once, as an operator looks at what it says.
    let by_hand = world.run();
    by_hand.stop(Signal::TERM);
    hook(&world, "RENEW");
    for name in ["lock", "daemon.lock", "gateways.json"] {
        assert_is_the_services(name);
    }
    let second = service(&world);
    world.assert_all_answer();
    second.stop(Signal::TERM);
    world.must("down");
    service(&world);
}

fn a_lock_that_root_made_earlier_is_given_to_the_service() {
    let world = host();
    make_runtime_directory();
    fs::write(format!("{RUN}/lock"), "multihome apply (pid 1)\n").unwrap();
    fs::write(format!("{RUN}/daemon.lock"), "").unwrap();
    for lock in ["lock", "daemon.lock"] {
        chmod(format!("{RUN}/{lock}"), 0o600);
    }
    world.must("apply");
    world.run().stop(Signal::TERM);
    service(&world);
}

fn the_service_says_what_to_do_about_a_lock_that_it_may_not_open() {
    if !there_are_others() {
        return; // whom its own namespace refuses nothing
    }
    let world = host();
    make_runtime_directory();
    let lock = format!("{RUN}/lock");
    fs::write(&lock, "").unwrap();
    chmod(&lock, 0o600);
    let said = world.output(&mut as_user(SERVICE, "run"), "");
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.err.contains(&format!("error: {lock}: Permission denied")), "{}", said.err);
    let hint = said.err.lines().find_map(|l| l.strip_prefix("hint: as root: ")).unwrap();
    assert!(Command::new("sh").args(["-c", hint]).status().unwrap().success(), "{hint}");
    service(&world);
}

// ===== what is planted =====

fn no_link_leads_root_elsewhere() {
    let world = host();
    fs::create_dir("/run/secret").unwrap();
    let names = ["lock", "daemon.lock", "daemon", "gateways.json", "gateways.new"];
    for hard in [false, true] {
        make_runtime_directory();
        for name in names {
            let (secret, planted) = (format!("/run/secret/{name}"), format!("{RUN}/{name}"));
            fs::write(&secret, "precious").unwrap();
            chmod(&secret, 0o640);
            let link =
                if hard { fs::hard_link(&secret, &planted) } else { symlink(&secret, &planted) };
            link.unwrap();
        }
        let said = hook(&world, "BOUND");
        let reason = if hard { "names, where a lock" } else { "a symbolic link" };
        assert!(said.err.contains(&format!("{RUN}/lock: ")), "{}", said.err);
        assert!(said.err.contains(reason), "{}", said.err);
        let said = world.multihome("apply");
        assert_eq!(said.code, Some(1), "{said:#?}");
        let hint = said.err.lines().find_map(|l| l.strip_prefix("hint: ")).unwrap();
        assert!(hint.ends_with(&format!("rm {RUN}/lock")), "{}", said.err);
        assert_eq!(world.multihome("run").code, Some(1));
        // Without the locks the rest is reached.
        for lock in ["lock", "daemon.lock"] {
            fs::remove_file(format!("{RUN}/{lock}")).unwrap();
        }
        hook(&world, "BOUND");
        world.must("apply");
        world.run().stop(Signal::TERM);
        world.assert_all_answer();
        for name in names {
            let secret = format!("/run/secret/{name}");
            assert_eq!(fs::read_to_string(&secret).unwrap(), "precious", "{name}");
            assert_eq!((mode(&secret), fs::metadata(&secret).unwrap().uid()), (0o640, 0), "{name}");
        }
        assert!(fs::symlink_metadata(MEMORY).unwrap().is_file());
        world.must("down");
        fs::remove_dir_all(RUN).unwrap();
    }
}

/// Whoever opens a FIFO waits for the other end.
fn what_is_no_file_holds_nobody_up() {
    let world = host();
    make_runtime_directory();
    let fifos = ["daemon", "gateways.json", "lock", "daemon.lock"].map(|n| format!("{RUN}/{n}"));
    assert!(Command::new("mkfifo").args(&fifos).status().unwrap().success());
    let start = Instant::now();
    assert!(hook(&world, "BOUND").err.contains("a FIFO, where a file should be"));
    assert!(world.multihome("status").err.contains(&format!("{MEMORY}: a FIFO")));
    for command in ["apply", "run", "down"] {
        let said = world.multihome(command);
        assert_eq!(said.code, Some(1), "{said:#?}");
        assert!(said.err.contains("a FIFO, where a file should be"), "{}", said.err);
    }
    assert!(start.elapsed() < Duration::from_secs(5));
}

// ===== modes =====

fn modes_do_not_depend_on_the_umask() {
    for umask in ["000", "002", "022", "077"] {
        let world = host();
        let set = |arguments: &str| {
            let mut command = Command::new("sh");
            let run = format!("umask {umask}; exec /run/bin/multihome {arguments}");
            command.args(["-c", &run]);
            command
        };
        assert_eq!(
            world
                .output(&mut with_lease(set("hook dhclient"), "BOUND"), "")
                .err
                .matches("error")
                .count(),
            0
        );
        let daemon = Program::start(world.host(), set("run"));
        let daemon_file = format!("{RUN}/daemon");
        eventually("it runs", SOON, || fs::exists(&daemon_file).unwrap());
        world.assert_answers(SECOND);
        eventually("it remembers", SOON, || fs::exists(MEMORY).unwrap());
        for (name, expected) in [
            ("", 0o755),
            ("/gateways.json", 0o644),
            ("/daemon", 0o644),
            ("/lock", 0o600),
            ("/daemon.lock", 0o600),
        ] {
            assert_eq!(mode(format!("{RUN}{name}")), expected, "umask {umask}: {name:?}");
        }
        // An ordinary user sees the same.
        let said = world.output(&mut as_user(SOMEBODY, "status"), "");
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "umask {umask}: {said:#?}");
        assert!(
            said.out.contains(&format!("multihome run (pid {})", daemon.pid())),
            "{}",
            said.out
        );
        daemon.stop(Signal::TERM);
        let mut deep = set("apply");
        world.output(deep.env("RUNTIME_DIRECTORY", "/run/deep/down/multihome-x"), "");
        for made in ["/run/deep", "/run/deep/down", "/run/deep/down/multihome-x"] {
            assert_eq!(mode(made), 0o755, "umask {umask}: {made}");
        }
        drop(world);
        for left in [RUN, "/run/bin", "/run/deep"] {
            fs::remove_dir_all(left).unwrap();
        }
    }
}

fn what_is_remembered_outlives_a_command_with_a_narrow_umask() {
    let world = host();
    world.ip("route add default via 10.0.1.1 dev ens6 metric 50");
    make_runtime_directory();
    service(&world).stop(Signal::TERM);
    fs::remove_file(MEMORY).unwrap();
    let mut narrow = Command::new("sh");
    narrow.args(["-c", "umask 077; exec /run/bin/multihome apply"]);
    assert_eq!(world.output(&mut narrow, "").code, Some(0));
    // The kernel takes the default away with the link, and nobody puts it back.
    world.ips("link set ens6 down\nlink set ens6 up");
    let service = service(&world);
    world.assert_answers(SECOND);
    assert!(!service.log().contains("learnt anew"), "{}", service.log());
}

// ===== what is believed =====

/// A host that knows a gateway by its memory only.
fn host_that_remembers() -> World {
    let world = host();
    world.ip("route add default via 10.0.1.1 dev ens6 metric 50");
    world.must("apply");
    world.ips("link set ens6 down\nlink set ens6 up");
    world.must("apply");
    world.assert_answers(SECOND);
    world
}

/// Says why it is not believed, and what is to be done.
#[track_caller]
fn assert_is_not_believed(world: &World, reason: &str) {
    let said = world.multihome("status");
    let line = said.err.lines().find(|l| l.contains(MEMORY)).unwrap_or_else(|| panic!("{said:#?}"));
    assert!(line.starts_with(&format!("warning: {MEMORY}: ")), "{line}");
    assert!(line.contains(reason) && line.contains("(hint: "), "{line}");
    assert!(!said.out.contains("10.0.1.66"), "{}", said.out);
    world.multihome("apply");
    assert!(!table(world, "-4", "10003").iter().any(|r| r.contains("10.0.1.66")));
}

fn a_memory_that_others_may_write_is_not_believed() {
    let world = host_that_remembers();
    let wrong = fs::read_to_string(MEMORY).unwrap().replace("10.0.1.1\"", "10.0.1.66\"");
    for (of_file, of_directory, reason) in [
        (0o666, 0o755, "others may write it, by mode 0666"),
        (0o664, 0o755, "others may write it, by mode 0664"),
        (0o644, 0o777, "others may write in its directory, by mode 0777"),
    ] {
        fs::write(MEMORY, &wrong).unwrap();
        chmod(MEMORY, of_file);
        chmod(RUN, of_directory);
        assert_is_not_believed(&world, reason);
        chmod(RUN, 0o755);
    }
    fs::write(MEMORY, vec![b' '; (1 << 20) + 1]).unwrap();
    assert_is_not_believed(&world, "more than 1048576 bytes");
    fs::write("/run/elsewhere", &wrong).unwrap();
    fs::remove_file(MEMORY).unwrap();
    symlink("/run/elsewhere", MEMORY).unwrap();
    assert_is_not_believed(&world, "a symbolic link, where a file should be");
    assert_eq!(fs::read_to_string("/run/elsewhere").unwrap(), wrong);
}

fn a_memory_of_a_stranger_is_not_believed() {
    let world = host_that_remembers();
    let wrong = fs::read_to_string(MEMORY).unwrap().replace("10.0.1.1\"", "10.0.1.66\"");
    fs::write(MEMORY, wrong).unwrap();
    if there_are_others() {
        chown(MEMORY, Some(SOMEBODY), None).unwrap();
        assert_is_not_believed(&world, "it belongs to user 1000");
    }
}

fn who_is_no_daemon_is_not_called_one() {
    let world = host();
    fs::create_dir(RUN).unwrap();
    let (daemon, init) = (format!("{RUN}/daemon"), fs::read_to_string("/proc/1/comm").unwrap());
    for (text, mode) in [
        (format!("multihome run (pid 1)\n{init}"), 0o666),
        (format!("multihome \x1b[2J (pid 1)\n{init}"), 0o644),
        ("x".repeat(5000), 0o644),
        // It ended without a farewell: its lock is nobody's.
        (format!("multihome run (pid 1)\n{init}"), 0o644),
    ] {
        fs::write(&daemon, text).unwrap();
        chmod(&daemon, mode);
        let said = world.multihome("status");
        assert!(!said.out.contains("pid 1") && !said.out.contains('\x1b'), "{said:#?}");
        assert_eq!(said.err.contains(&format!("chmod go-w {daemon}")), mode == 0o666, "{said:#?}");
        world.must("down");
    }
}

fn only_a_runtime_directory_of_ours_counts() {
    let world = host();
    let mut command = with_lease(world.command("hook dhclient"), "BOUND");
    let said = world.output(command.env("RUNTIME_DIRECTORY", "/run/a-manager"), "");
    assert!(!said.err.contains("error"), "{}", said.err);
    assert!(!fs::exists("/run/a-manager").unwrap());
    assert_eq!(fs::read_dir(format!("{RUN}/hints")).unwrap().count(), 1);
    let daemon = world.run_with("run", &[("RUNTIME_DIRECTORY", "/run/a-manager:/run/multihome-b")]);
    assert!(fs::exists("/run/multihome-b/daemon").unwrap(), "{}", daemon.log());
    assert!(!fs::exists("/run/a-manager").unwrap());
}

fn names_of_tables_are_written_through_no_link() {
    let world = World::new(Topology::TwoSubnets);
    let dir = "/etc/iproute2/rt_tables.d";
    fs::create_dir_all(dir).unwrap();
    fs::write("/etc/secret", "77 precious\n").unwrap();
    chmod("/etc/secret", 0o600);
    for name in ["multihome.conf", "multihome.new"] {
        symlink("/etc/secret", format!("{dir}/{name}")).unwrap();
    }
    world.configure("[interface.ens6]\ntable = \"data\"\n");
    let before = State::of(&world);
    world.must("apply");
    assert_eq!(fs::read_to_string("/etc/secret").unwrap(), "77 precious\n");
    let ours = format!("{dir}/multihome.conf");
    assert!(fs::symlink_metadata(&ours).unwrap().is_file() && mode(&ours) == 0o644);
    let text = fs::read_to_string(&ours).unwrap();
    assert!(text.contains("data") && !text.contains("precious"), "{text}");
    world.must("down");
    assert_eq!(fs::symlink_metadata(&ours).unwrap_err().kind(), io::ErrorKind::NotFound);
    before.assert_is(&State::of(&world), "after down");
    // Whoever opens a FIFO waits for the other end.
    assert!(Command::new("mkfifo").arg(&ours).status().unwrap().success());
    world.must("apply");
}
