//! Where the files are, and which of the files there are meant.
//!
//! What is not here, and why. netplan keeps nothing of its own: it writes configuration for
//! networkd or NetworkManager, and their state is read. cloud-init's leases are of the moment
//! before the manager starts and nobody renews them. `/var/lib/NetworkManager` is for
//! root alone, and its state has all of it: `internal-*.lease` holds the address and no more, and
//! what its dhclient was told stands in `/run/NetworkManager/devices`. A gateway out of a router
//! advertisement that the manager was told not to use stands in no file of networkd's or
//! NetworkManager's.

use std::path::{Path, PathBuf};

/// Where the files are.
#[derive(Debug, Clone)]
pub struct Places {
    root: PathBuf,
    run_dir: PathBuf,
}

/// What a file is, and so who reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `/run/systemd/netif/leases/<ifindex>`.
    Networkd,
    /// `/run/systemd/netif/links/<ifindex>`: no ways out, but whether the lease of the same name
    /// is in force.
    NetworkdLink,
    /// `/run/NetworkManager/devices/<ifindex>`.
    NetworkManager,
    /// The lease files of ISC's dhclient.
    Dhclient,
    /// The lease files of dhcpcd.
    Dhcpcd,
    /// `/run/net-<interface>.conf`.
    Initramfs,
    /// What hooks wrote down: [`crate::hook::record`].
    Record,
}

/// One directory.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The directory, below the root.
    pub(crate) dir: PathBuf,
    /// What is in it.
    pub(crate) format: Format,
}

/// Where networkd says what is its.
pub(crate) const NETWORKD_LINKS: &str = "run/systemd/netif/links";

/// The directories that are the same everywhere.
const DIRECTORIES: [(&str, Format); 9] = [
    ("run/systemd/netif/leases", Format::Networkd),
    (NETWORKD_LINKS, Format::NetworkdLink),
    ("run/NetworkManager/devices", Format::NetworkManager),
    ("var/lib/dhcp", Format::Dhclient),     // Debian
    ("var/lib/dhclient", Format::Dhclient), // RHEL
    ("var/lib/dhcpcd", Format::Dhcpcd),
    ("var/lib/dhcpcd5", Format::Dhcpcd), // Debian up to 11
    ("run/dhcpcd", Format::Dhcpcd),
    ("run", Format::Initramfs),
];

// ===== impl Places =====

impl Places {
    /// The places of this host; `run_dir` is where our own files are, `/run/multihome`.
    #[must_use]
    pub fn new(run_dir: PathBuf) -> Places {
        Places::under(Path::new("/"), run_dir)
    }

    /// The same below another root, for tests: a file below `root` is named without it.
    /// `run_dir` is as it is seen from there.
    #[must_use]
    pub fn under(root: &Path, run_dir: PathBuf) -> Places {
        Places { root: root.to_owned(), run_dir }
    }

    /// The directories outside of `/run` where leases are looked for. Whoever wants a host
    /// without leases, a demo or a test, puts an empty one in place of each.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        let all = DIRECTORIES.iter().map(|(dir, _)| Path::new(dir));
        all.filter(|dir| !dir.starts_with("run")).map(|dir| self.root.join(dir)).collect()
    }

    /// All directories that are read.
    pub(crate) fn all(&self) -> Vec<Place> {
        let mut all: Vec<Place> = DIRECTORIES
            .iter()
            .map(|(dir, format)| Place { dir: PathBuf::from(dir), format: *format })
            .collect();
        all.push(Place { dir: self.records(), format: Format::Record });
        all
    }

    /// Where hooks write, below the root.
    pub(crate) fn records(&self) -> PathBuf {
        relative(&self.run_dir).join("hints")
    }

    /// What all paths are below.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

/// A path as it is below the root.
fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

// ===== impl Format =====

impl Format {
    /// Whether a file of this name in its directory is meant.
    pub(crate) fn wants(self, name: &str) -> bool {
        match self {
            Format::Networkd | Format::NetworkdLink | Format::NetworkManager => {
                index(name).is_some()
            }
            // dhclient6's hold no gateway; dhcpd, the server, keeps its own in the same directory.
            Format::Dhclient => {
                name.starts_with("dhclient")
                    && !name.starts_with("dhclient6")
                    && (name.ends_with(".lease") || name.ends_with(".leases"))
            }
            Format::Dhcpcd => name.ends_with(".lease"),
            Format::Initramfs => name.starts_with("net-") && name.ends_with(".conf"),
            Format::Record => !name.starts_with('.') && name.ends_with(".json"),
        }
    }

    /// Whether the files change while the system runs.
    pub(crate) fn changes(self) -> bool {
        // `/run` itself is written to by everybody, and the initramfs never again.
        self != Format::Initramfs
    }

    /// Whether whoever writes it writes into the file that is there, so that half of it may be
    /// seen. The others rename a complete one over it.
    pub(crate) fn is_written_in_place(self) -> bool {
        matches!(self, Format::Dhclient | Format::Dhcpcd)
    }

    /// What to do about a file that cannot be understood.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Format::Networkd | Format::NetworkdLink => {
                "`networkctl reconfigure INTERFACE` mends it"
            }
            Format::NetworkManager => "`nmcli device reapply INTERFACE` mends it",
            // It is kept open: what is written into one that was removed nobody sees.
            Format::Dhclient => "remove it while dhclient is stopped",
            Format::Dhcpcd => "remove it: dhcpcd's next lease writes it anew",
            Format::Initramfs => "remove it, and configure the `gateway`",
            Format::Record => "remove it: the next hook writes it anew",
        }
    }
}

/// What to do about a part of a file: what a server sent it sends again.
pub(crate) const REMEDY_FOR_A_PART: &str = "configure the `gateway`";

/// The interface index that a file is named after.
pub(crate) fn index(name: &str) -> Option<u32> {
    let is_plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
    name.parse().ok().filter(|index| is_plain && *index > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_outlive_a_boot() {
        let of = |root: &str| Places::under(Path::new(root), "/run/multihome".into()).directories();
        assert!(of("/").contains(&PathBuf::from("/var/lib/dhcp")));
        assert!(of("/x").iter().all(|dir| dir.starts_with("/x/var/lib")));
    }

    #[test]
    fn names_of_others_are_passed_over() {
        for name in ["dhclient.leases", "dhclient.ens5.leases", "dhclient-u-u-i-d-eth0.lease"] {
            assert!(Format::Dhclient.wants(name), "{name}");
        }
        for name in ["dhcpd.leases", "dhclient6.ens5.leases", "dhclient.conf", "internal-x.lease"] {
            assert!(!Format::Dhclient.wants(name), "{name}");
        }
        assert!(Format::Networkd.wants("12"));
        for name in ["", "0", "+1", "1a", ".#1x", "99999999999"] {
            assert!(!Format::Networkd.wants(name), "{name}");
        }
        assert!(Format::Dhcpcd.wants("eth0.lease"));
        assert!(!Format::Dhcpcd.wants("eth0.lease6"));
        assert!(!Format::Record.wants(".dhclient.inet.eth0.json"));
    }
}
