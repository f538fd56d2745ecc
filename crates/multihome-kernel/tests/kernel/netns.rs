//! A network namespace of one's own, so that no test ever touches the host's.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// Moves the process, which must have one thread only, to a fresh network namespace; without
/// privileges, to a fresh user namespace too. Ends the process when that cannot be done: a test
/// that did not run must not look like one that passed.
pub fn enter() {
    let before = namespace();
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    if unshare(CloneFlags::CLONE_NEWNET).is_err() {
        unshare(CloneFlags::CLONE_NEWUSER).expect("a user namespace");
        std::fs::write("/proc/self/setgroups", "deny").expect("setgroups");
        std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")).expect("uid_map");
        std::fs::write("/proc/self/gid_map", format!("0 {gid} 1")).expect("gid_map");
        // Last: files of its /proc/net belong to who is root by then (xt_proto_init).
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
    }
    assert_ne!(before, namespace(), "this is still the host's network namespace");
    let links = ip("-o link");
    assert_eq!(links.lines().count(), 1, "a fresh namespace has the loopback only: {links}");
    ip("link set lo up");
}

fn namespace() -> std::path::PathBuf {
    std::fs::read_link("/proc/self/ns/net").expect("/proc/self/ns/net")
}

/// Leaves the process without any privilege over its network namespace, as an ordinary user is.
pub fn drop_privileges() {
    // Whoever enters a user namespace has privileges over that, and none outside of it.
    unshare(CloneFlags::CLONE_NEWUSER).expect("a user namespace");
}

/// Runs `ip` with the words of `arguments`, and gives what it printed.
pub fn ip(arguments: &str) -> String {
    match try_ip(arguments) {
        Ok(text) => text,
        Err(text) => panic!("ip {arguments}: {text}"),
    }
}

/// As [`ip`], for what may be refused.
pub fn try_ip(arguments: &str) -> Result<String, String> {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("ip");
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).expect("UTF-8 from ip"))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Runs many commands in one `ip -batch`, of one family (`-4`, `-6`).
pub fn ip_batch(family: &str, commands: &str) {
    use std::io::Write as _;
    let mut child = Command::new("ip")
        .args([family, "-batch", "-"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("ip -batch");
    child.stdin.take().expect("stdin").write_all(commands.as_bytes()).expect("ip -batch");
    assert!(child.wait().expect("ip -batch").success(), "ip -batch failed");
}

/// Whether duplicate address detection delays a link's addresses.
pub fn accept_dad(link: &str, value: &str) {
    let path = format!("/proc/sys/net/ipv6/conf/{link}/accept_dad");
    std::fs::write(path, value).expect("accept_dad");
}

/// Two veth pairs, `va`-`vb` and `vc`-`v.d`, all up, without duplicate address detection.
pub fn links() {
    for (a, b) in [("va", "vb"), ("vc", "v.d")] {
        ip(&format!("link add {a} type veth peer name {b}"));
        for link in [a, b] {
            accept_dad(link, "0");
            ip(&format!("link set {link} up"));
        }
    }
    ip("address add 10.0.0.1/24 dev va");
    ip("address add 10.7.0.1/24 dev vc");
    ip("address add 2001:db8::1/64 dev va nodad");
    eventually("all are up", || ip("-o link").matches(" state UP ").count() == 4);
    eventually("no address is tentative", || ip("-6 address show tentative").is_empty());
}

/// Waits for what the kernel does in a work queue or by a timer.
#[track_caller]
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !done() {
        assert!(start.elapsed().as_secs() < 5, "not in 5 seconds: {what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
