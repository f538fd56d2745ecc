//! What wakes the daemon, and what does not.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::time::Duration;

use multihome_sources::Watch;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::root::Root;

const LEASES: &str = "run/systemd/netif/leases";

struct Watched {
    root: Root,
    watch: Watch,
}

impl Watched {
    fn new(directories: &[&str]) -> Watched {
        let root = Root::new();
        directories.iter().for_each(|d| root.mkdir(d));
        let watch = Watch::open(&root.places()).expect("inotify");
        let mut watched = Watched { root, watch };
        assert!(!watched.is_woken(), "by nothing");
        watched
    }

    /// Whether there is anything to read, whatever it is.
    fn is_woken(&mut self) -> bool {
        let mut fds = [PollFd::new(&self.watch, PollFlags::IN)];
        let moment = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        poll(&mut fds, Some(&moment)).expect("poll") > 0
    }

    /// Whether the files are to be read again.
    fn changed(&mut self) -> bool {
        self.watch.drain().expect("drain")
    }

    /// The same of a file in a directory that is there by now.
    fn sees(&mut self, directory: &str, name: &str) -> bool {
        self.changed();
        self.root.write(&format!("{directory}/{name}"), "x");
        self.changed()
    }
}

#[test]
fn a_file_that_comes_changes_and_goes() {
    let mut w = Watched::new(&[LEASES]);
    let path = |name: &str| w.root.path(&format!("{LEASES}/{name}"));
    let (file, other, temporary) = (path("2"), path("3"), path(".#2abc"));
    fs::write(&file, "").unwrap();
    assert!(w.changed(), "created");
    let mut open = OpenOptions::new().append(true).open(&file).unwrap();
    open.write_all(b"x").unwrap();
    assert!(w.changed(), "written in place, and kept open");
    open.set_len(0).unwrap();
    assert!(w.changed(), "truncated");
    fs::write(&temporary, "y").unwrap();
    assert!(!w.changed(), "a name that nobody reads");
    fs::rename(&temporary, &file).unwrap();
    assert!(w.changed(), "renamed over it");
    fs::rename(&file, &other).unwrap();
    assert!(w.changed(), "renamed away");
    w.root.chmod(&format!("{LEASES}/3"), 0o600);
    assert!(w.changed(), "whom it belongs to decides");
    fs::remove_file(&other).unwrap();
    assert!(w.changed(), "removed");
    assert!(!w.is_woken());
}

#[test]
fn reading_wakes_nobody() {
    let mut w = Watched::new(&[LEASES, "var/lib/dhcp", "run/multihome/hints"]);
    w.root.write("var/lib/dhcp/dhclient.leases", "lease {");
    assert!(w.changed());
    let _ = w.root.read(1 << 40);
    assert!(!w.is_woken());
}

#[test]
fn directories_are_waited_for_one_after_the_other() {
    let mut w = Watched::new(&[]);
    for directory in ["run", "run/systemd", "run/systemd/netif"] {
        w.root.mkdir(directory);
        assert!(w.changed(), "{directory}");
    }
    assert!(w.sees(LEASES, "2"));
}

#[test]
fn a_whole_path_that_comes_at_once_is_not_missed() {
    let mut w = Watched::new(&["run"]);
    w.root.write(&format!("{LEASES}/2"), "x");
    assert!(w.changed());
    assert!(w.sees(LEASES, "2"), "and is watched down to its end");
}

#[test]
fn a_directory_that_is_replaced() {
    let mut w = Watched::new(&[LEASES, "var/lib/dhcp"]);
    fs::remove_dir_all(w.root.path("run/systemd/netif")).unwrap();
    assert!(w.changed(), "it goes");
    w.root.mkdir(LEASES);
    assert!(w.changed(), "it comes again");
    assert!(w.sees(LEASES, "2"));
    // Not removed, but moved away together with what it is in.
    fs::rename(w.root.path("run/systemd"), w.root.path("run/old")).unwrap();
    assert!(w.changed());
    w.root.write("run/old/netif/leases/2", "y");
    assert!(!w.changed(), "what is there now is nobody's");
    assert!(w.sees(LEASES, "2"));
    assert!(w.sees("var/lib/dhcp", "dhclient.leases"), "the others are watched as before");
}

#[test]
fn what_others_do_in_busy_directories_wakes_nobody() {
    let mut w = Watched::new(&[
        LEASES,
        "run/systemd/netif/links",
        "run/NetworkManager/devices",
        "run/dhcpcd",
        "run/multihome/hints",
    ]);
    w.root.write("run/utmp", "x");
    w.root.write("run/systemd/netif/state", "x");
    w.root.write("run/user/1000/bus", "x");
    assert!(!w.is_woken(), "all that is wanted of /run is there");
    w.root.mkdir("var/lib");
    assert!(w.changed());
    w.root.mkdir("var/lib/apt");
    w.root.write("var/lib/other", "x");
    assert!(!w.changed(), "not what is waited for");
    fs::write(w.root.path("var/lib/other"), "y").unwrap();
    assert!(!w.is_woken(), "that it is written to is not even told");
}

#[test]
fn two_names_of_one_directory() {
    let root = Root::new();
    root.mkdir("var/lib/dhcp");
    std::os::unix::fs::symlink("dhcp", root.path("var/lib/dhclient")).unwrap();
    let mut w = Watched { watch: Watch::open(&root.places()).unwrap(), root };
    assert!(w.sees("var/lib/dhcp", "dhclient.leases"));
    fs::remove_file(w.root.path("var/lib/dhclient")).unwrap();
    w.changed();
    assert!(w.sees("var/lib/dhcp", "dhclient.leases"));
}

#[test]
fn a_queue_that_overflows_is_a_change() {
    let mut w = Watched::new(&[LEASES]);
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    // Names that matter to nobody, until there is no room for more.
    for n in 0..=limit {
        let path = w.root.path(&format!("{LEASES}/x{}", n % 2));
        if n < 2 {
            fs::write(&path, "").unwrap();
        } else {
            OpenOptions::new().append(true).open(&path).unwrap().write_all(b"x").unwrap();
        }
    }
    let start = std::time::Instant::now();
    let mut any = false;
    while w.is_woken() && start.elapsed() < Duration::from_secs(20) {
        any |= w.changed();
    }
    assert!(any);
}
