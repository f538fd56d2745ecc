//! What is not believed, and what is said about it.

use std::fs;
use std::os::unix::fs::{chown, symlink};

use multihome_core::model::hint::Refused;

use crate::root::Root;

const NOW: u64 = 1_795_309_000;
const FILE: &str = "var/lib/dhcp/dhclient.leases";
const LEASE: &str = "lease {\n  interface \"eth1\";\n  fixed-address 10.0.1.5;\n  \
                     option routers 10.0.1.1;\n  expire never;\n}\n";

/// The only thing that is refused, with nothing believed beside it.
fn refused(root: &Root) -> Refused {
    let mut hints = root.read(NOW);
    assert!(hints.found.is_empty(), "{hints:?}");
    assert_eq!(hints.refused.len(), 1, "{hints:?}");
    let refused = hints.refused.remove(0);
    for text in [&refused.file, &refused.reason, &refused.remedy] {
        assert!(!text.is_empty() && !text.contains('\n'), "one clear line: {refused:?}");
    }
    refused
}

#[test]
fn a_sound_file_is_believed() {
    let root = Root::new();
    root.write(FILE, LEASE);
    let hints = root.read(NOW);
    assert_eq!((hints.found.len(), hints.refused.len()), (1, 0), "{hints:?}");
    assert_eq!(hints.found[0].file, format!("/{FILE}"), "named as the host names it");
    root.chmod(FILE, 0o600);
    assert_eq!(root.read(NOW), hints, "also one that only its owner can read");
}

#[test]
fn nothing_there_is_nothing() {
    assert!(Root::new().read(NOW).is_empty());
    let root = Root::new();
    root.write("run/systemd", "a file where a directory should be");
    root.mkdir("var/lib/dhcp");
    assert!(root.read(NOW).is_empty());
}

#[test]
fn a_symbolic_link_is_never_followed() {
    let root = Root::new();
    root.write("elsewhere/leases", LEASE);
    root.mkdir("var/lib/dhcp");
    symlink(root.path("elsewhere/leases"), root.path(FILE)).expect("a link");
    let refused = refused(&root);
    assert_eq!(refused.file, format!("/{FILE}"));
    assert!(refused.reason.contains("symbolic link"), "{refused:?}");
}

#[test]
fn a_directory_that_is_a_link_of_ours_is_followed() {
    let root = Root::new();
    root.write("data/dhcp/dhclient.leases", LEASE);
    root.mkdir("var/lib");
    symlink("../../data/dhcp", root.path("var/lib/dhcp")).expect("a link");
    assert_eq!(root.read(NOW).found.len(), 1);
    root.chmod("data/dhcp", 0o777);
    assert!(refused(&root).reason.contains("writable for others"));
    assert_eq!(refused(&root).file, "/data/dhcp", "where it is, not where it was looked for");
}

#[test]
fn where_a_link_leads_through_is_judged_too() {
    let linked = |targets: [(&str, &str); 2]| {
        let root = Root::new();
        root.write("data/dhcp/dhclient.leases", LEASE);
        root.mkdir("var/lib");
        for (link, target) in targets {
            symlink(target, root.path(link)).expect("a link");
        }
        root
    };
    for targets in [
        [("var/lib/dhcp", "../../data/dhcp"), ("x", "y")],
        [("var/lib/dhcp", "/data/dhcp"), ("x", "y")], // as the host sees it
        [("var/lib/dhcp", "../../d/dhcp"), ("d", "data")],
        [("var/lib/dhcp", "/d"), ("d", "/../data/./dhcp/")],
    ] {
        let root = linked(targets);
        let hints = root.read(NOW);
        assert_eq!(hints.found.len(), 1, "{targets:?}: {hints:?}");
        assert_eq!(hints.found[0].file, format!("/{FILE}"), "named as it was looked for");
        root.chmod("data", 0o777);
        assert_eq!(refused(&root).file, "/data", "{targets:?}");
        root.chmod("data", 0o1777);
        assert_eq!(root.read(NOW).found.len(), 1, "what is ours is safe in one like /tmp");
    }
    let root = linked([("var/lib/dhcp", "dhcp2"), ("var/lib/dhcp2", "dhcp")]);
    assert!(root.read(NOW).is_empty(), "in a circle");
    let root = linked([("var/lib/dhcp", "nowhere"), ("x", "y")]);
    assert!(root.read(NOW).is_empty());
}

/// Neither root nor us.
fn somebody() -> u32 {
    rustix::process::geteuid().as_raw() + 1000
}

/// A directory that a link of root's leads to, and what `whose` of its directories another
/// user's are. None where we may not give any away.
fn given_away(whose: &[&str]) -> Option<Root> {
    let root = Root::new();
    root.write("data/dhcp/dhclient.leases", LEASE);
    root.mkdir("var/lib");
    symlink("../../data/dhcp", root.path("var/lib/dhcp")).expect("a link");
    whose.iter().try_for_each(|path| chown(root.path(path), Some(somebody()), None)).ok()?;
    Some(root)
}

#[test]
fn what_an_ordinary_user_puts_where_a_link_leads_is_not_believed() {
    let all = ["data/dhcp", "data/dhcp/dhclient.leases"];
    let Some(root) = given_away(&all) else { return };
    assert_eq!(
        root.read(NOW).found.len(),
        1,
        "root's own directory holds it, so root put it there"
    );
    root.chmod("data", 0o1777);
    let refused_there = refused(&root);
    assert_eq!(refused_there.file, "/data");
    assert!(refused_there.reason.contains("writable for others"), "{refused_there:?}");
    // Whose the directory above is, he can have made the last one at any time.
    let Some(root) = given_away(&["data"]) else { return };
    let refused_there = refused(&root);
    assert_eq!(refused_there.file, "/data");
    assert!(refused_there.reason.contains(&format!("user {}", somebody())), "{refused_there:?}");
}

#[test]
fn what_is_said_fits_into_a_line() {
    let root = Root::new();
    root.write(FILE, LEASE.replace("10.0.1.1;", "10.0.1.1; option unknown-121 28:a;"));
    root.write("run/systemd/netif/leases/2", "ADDRESS=10.0.1.5\nROUTER=gateway.example\n");
    root.write("run/systemd/netif/links/2", "ADMIN_STATE=configured\n");
    root.write("run/systemd/netif/leases/3", "ADDRESS=10.0.1.5\n");
    root.write("run/systemd/netif/links/3", "");
    root.write("run/systemd/netif/leases/4", "ADDRESS=10.0.1.5\nCLASSLESS_ROUTES=x\n");
    root.write("run/systemd/netif/links/4", "ADMIN_STATE=configured\n");
    root.write("run/NetworkManager/devices/2", "[device]\nmanaged=true\n[dhcp4]\nx=y\n");
    root.write("var/lib/dhcpcd/eth1.lease", [1; 300]);
    root.write("run/net-eth1.conf", "DEVICE=eth1\nIPV4ADDR=x\n");
    root.write("run/multihome/hints/x.json", "{\"hints\": [{\"\\u001b\": 3}]}");
    root.mkdir("var/lib/dhcpcd/eth2.lease");
    root.write("var/lib/dhcpcd/eth3.lease", "");
    root.chmod("var/lib/dhcpcd/eth3.lease", 0o666);
    root.mkdir("var/lib/dhclient");
    root.write("var/lib/dhclient/dhclient.leases", "");
    root.chmod("var/lib/dhclient", 0o777);
    let refused = root.read(NOW).refused;
    assert_eq!(refused.len(), 11, "{refused:#?}");
    for Refused { file, reason, remedy } in refused {
        let line = format!(" is not believed: {reason} ({remedy})");
        assert!(line.len() <= 115, "{} columns: {file}{line}", line.len());
        assert!(!line.contains(char::is_control) && !line.contains(&file), "{file}{line}");
        assert!(!reason.contains(['(', ')']) && !remedy.contains(['(', ')']), "{file}{line}");
    }
}

#[test]
fn a_name_that_a_terminal_obeys_is_nobodys() {
    let root = Root::new();
    root.write("var/lib/dhcp/dhclient.\u{1b}[2J.leases", "lease {");
    assert!(root.read(NOW).is_empty());
}

#[test]
fn what_others_can_write_is_not_believed() {
    for mode in [0o664, 0o646, 0o666] {
        let root = Root::new();
        root.write(FILE, LEASE);
        root.chmod(FILE, mode);
        let refused = refused(&root);
        assert!(refused.reason.contains(&format!("{mode:o}")), "{refused:?}");
        assert_eq!(refused.remedy, "`chmod go-w` mends it");
    }
    for directory in ["var/lib/dhcp", "var/lib", "var"] {
        let root = Root::new();
        root.write(FILE, LEASE);
        root.chmod(directory, 0o775);
        assert_eq!(refused(&root).file, format!("/{directory}"));
        // In one like /tmp what is ours is safe, but not everything that is in it.
        root.chmod(directory, 0o1777);
        assert_eq!(root.read(NOW).found.len(), usize::from(directory != "var/lib/dhcp"));
        // A directory without anything for us is not our business.
        fs::remove_file(root.path(FILE)).expect("removed");
        assert!(root.read(NOW).is_empty());
    }
}

#[test]
fn what_is_no_file_is_not_even_opened() {
    let root = Root::new();
    root.mkdir(FILE);
    assert!(refused(&root).reason.contains("a directory"));
    let root = Root::new();
    root.mkdir("var/lib/dhcp");
    let _socket = std::os::unix::net::UnixListener::bind(root.path(FILE)).expect("a socket");
    assert!(refused(&root).reason.contains("a socket"));
    let root = Root::new();
    root.mkdir("var/lib/dhcp");
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, root.path(FILE), fifo, mode, 0).expect("a FIFO");
    assert!(refused(&root).reason.contains("a FIFO"), "and nobody waits for a writer");
}

#[test]
fn a_huge_file_is_refused() {
    let root = Root::new();
    root.write(FILE, LEASE);
    let file = fs::File::options().write(true).open(root.path(FILE)).expect("the file");
    file.set_len(1 << 40).expect("a hole");
    assert!(refused(&root).reason.contains("mebibyte"));
    file.set_len(LEASE.len() as u64).expect("as it was");
    assert_eq!(root.read(NOW).found.len(), 1);
}

#[test]
fn absurdly_many_files_are_bounded() {
    let root = Root::new();
    for n in 0..600 {
        root.write(&format!("var/lib/dhcp/dhclient.{n:03}.leases"), LEASE);
    }
    let hints = root.read(NOW);
    assert_eq!(hints.found.len(), 512);
    assert_eq!(hints.refused.len(), 1);
    assert!(hints.refused[0].reason.contains("512"), "{hints:?}");
}

#[test]
fn a_lease_that_is_being_written_is_not_refused_yet() {
    let root = Root::new();
    let file = "var/lib/dhcpcd/eth1.lease";
    root.write(file, [2, 1, 6]);
    root.touch(file, NOW);
    assert!(root.read(NOW).is_empty());
    assert!(root.read(NOW + 1).is_empty());
    assert_eq!(root.read(NOW + 2).refused.len(), 1, "nobody writes for so long");
}

#[test]
fn a_lease_ends_to_the_second() {
    let root = Root::new();
    root.write(FILE, LEASE.replace("never", "epoch 1795309060"));
    assert_eq!(root.read(1_795_309_059).found.len(), 1);
    let hints = root.read(1_795_309_060);
    assert!(hints.is_empty(), "{hints:?}");
}
