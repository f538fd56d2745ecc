//! A host that a manager configures: a bare laboratory, servers at its ports, and programs of
//! the tree in it.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::Command;

use multihome_lab::{Lab, Netns, Topology};
use nix::mount::{MsFlags, mount};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::program::Program;
pub use crate::common::shell::PATIENCE;
use crate::server::{Conduct, Network, Server};
use crate::state::PROTOCOL;
use crate::tree;
use crate::world::{Daemon, World, eventually};

/// The host, its network, and what runs in it. It is a [`World`] as well: `ip`, `multihome`,
/// `run` and the assertions are there.
pub struct Machine {
    world: World,
    servers: BTreeMap<String, Server>,
    network: Network,
}

/// Who keeps a host right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// `multihome run`.
    Daemon,
    /// The hooks alone.
    Hooks,
}

/// Tells each story twice: with the daemon, and by hooks alone.
macro_rules! stories {
    ($($story:ident $(on $tree:ident)?),* $(,)?) => {
        pub mod with_the_daemon {
            crate::runner::tests![$($story $(on $tree)?),*];
            $(fn $story() {
                super::$story(crate::machine::By::Daemon);
            })*
        }
        pub mod by_hooks {
            crate::runner::tests![$($story $(on $tree)?),*];
            $(fn $story() {
                super::$story(crate::machine::By::Hooks);
            })*
        }
    };
}
pub(crate) use stories;

/// The units that may configure networks.
const MANAGERS: &[&str] =
    &["NetworkManager", "systemd-networkd", "networking", "networkd-dispatcher"];
/// The unit of udev.
pub const UDEV: &str = "systemd-udevd";
/// Units that have nothing to do here, wait for what may not be, or would start over all devices of
/// the machine.
const NEVER: &[&str] = &["systemd-udev-trigger", "console-getty", "getty.target"];
/// The rules of udev that are about interfaces of networks, and that systemd needs.
const UDEV_RULES: &[&str] = &[
    "75-multihome-ifupdown.rules",
    "80-ifupdown.rules",
    "80-net-setup-link.rules",
    "99-systemd.rules",
];

/// Becomes a system's first process, in namespaces and a control group of its own. `/proc/sys` is
/// read-only but for `net`, again, since its `/proc` is another one.
const BOOT: &str = r#"
set -e
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /sys/fs/cgroup/box
echo $$ > /sys/fs/cgroup/box/cgroup.procs
exec unshare --pid --mount --cgroup --fork --kill-child --mount-proc sh -ec '
    umount /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mount --bind /proc/sys/net /mnt
    mount --bind /proc/sys /proc/sys
    mount -o remount,bind,ro /proc/sys
    mount --bind /mnt /proc/sys/net
    umount /mnt
    exec env -i container=box PATH=$PATH /lib/systemd/systemd --log-target=console
'
"#;

// ===== impl Machine: making =====

impl Machine {
    /// A host with bare cards, to which nobody says anything.
    pub fn new(topology: Topology) -> Machine {
        let lab = Lab::build_bare(topology).unwrap();
        mount_sys(lab.host());
        let world = World { lab, init: None };
        Machine { world, servers: BTreeMap::new(), network: Network::default() }
    }

    /// A host with bare cards, to each of which its port gives leases and advertises a router.
    pub fn served(topology: Topology) -> Machine {
        let mut machine = Machine::new(topology);
        for card in machine.cards() {
            machine.serve(&card);
        }
        machine
    }

    /// Starts the server at a card's port.
    pub fn serve(&mut self, card: &str) -> &Server {
        let server = Server::start(&self.world.lab, card, &self.network);
        self.servers.insert(card.to_owned(), server);
        self.server(card)
    }

    /// The server at a card's port.
    #[track_caller]
    pub fn server(&self, card: &str) -> &Server {
        self.servers.get(card).expect("a server at that port")
    }

    /// Decides how all servers meet requests for leases.
    pub fn servers_are(&self, conduct: Conduct) {
        self.servers.values().for_each(|s| s.conduct(conduct));
    }

    /// The names of the cards.
    pub fn cards(&self) -> Vec<String> {
        self.lab.cards().iter().map(|c| c.name.clone()).collect()
    }
}

impl Deref for Machine {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl DerefMut for Machine {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

// ===== impl Machine: programs =====

impl Machine {
    /// Starts a program in the host, by the words of a command line, until it is dropped.
    #[track_caller]
    pub fn start(&self, line: &str) -> Program {
        self.start_with(line, &[])
    }

    /// As [`Machine::start`], with variables.
    #[track_caller]
    pub fn start_with(&self, line: &str, variables: &[(&str, &str)]) -> Program {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).envs(variables.iter().copied());
        Program::start(self.host(), command)
    }

    /// Starts the system's message bus, and waits until it is there.
    #[track_caller]
    pub fn dbus(&self) -> Program {
        fs::create_dir_all("/run/dbus").unwrap();
        let dbus = self.start("dbus-daemon --system --nofork --nopidfile");
        eventually("the message bus is there", PATIENCE, || {
            Path::new("/run/dbus/system_bus_socket").exists()
        });
        dbus
    }

    /// Has the host kept right from now on: by the daemon, which this returns, or by hooks.
    #[track_caller]
    pub fn kept_right(&self, by: By) -> Option<Daemon> {
        match by {
            By::Daemon => Some(self.run()),
            By::Hooks => {
                self.install_hooks();
                None
            }
        }
    }

    /// Installs the hooks, as a package does.
    #[track_caller]
    pub fn install_hooks(&self) {
        self.sh(&format!("{}/hooks/install", tree::PACKAGING));
    }

    /// Installs the hooks, and what brings up cards that are plugged in.
    #[track_caller]
    pub fn install_hotplug(&self) {
        self.sh(&format!("{}/hooks/install --ifupdown-hotplug", tree::PACKAGING));
    }

    /// Boots the tree's systemd in the host and waits until it is up: the units that are named are
    /// enabled, other managers of networks are masked. From now on [`World::shell`] runs there.
    /// The file system and `/run` are the same as before. It ends when what this returns is
    /// dropped.
    ///
    /// udev is there if [`UDEV`] is among them, and knows interfaces of networks only.
    #[track_caller]
    pub fn boot(&mut self, units: &[&str]) -> Program {
        let (udev, units): (Vec<&str>, Vec<&str>) = units.iter().partition(|u| **u == UDEV);
        let unwanted = MANAGERS.iter().filter(|m| !units.contains(m)).chain(NEVER);
        let unwanted: Vec<&str> = unwanted.copied().collect();
        self.sh(&format!("systemctl mask {}", unwanted.join(" ")));
        if !units.is_empty() {
            self.sh(&format!("systemctl enable {}", units.join(" ")));
        }
        self.sh("systemctl mask systemd-networkd-wait-online NetworkManager-wait-online");
        if udev.is_empty() {
            self.sh(&format!("systemctl mask {UDEV}"));
        } else {
            // It hears of the machine's devices as well, with which it has nothing to do.
            let kept: Vec<String> = UDEV_RULES.iter().map(|r| format!("! -name {r}")).collect();
            let kept = kept.join(" ");
            self.sh(&format!("find /usr/lib/udev/rules.d -type f {kept} -delete"));
            // systemd listens to udev if either is there when it starts: a `devtmpfs`, or this.
            self.sh("mount -o remount,rw /sys; mkdir -p /run/udev; touch /run/udev/control");
        }
        write("/boot.sh", BOOT);
        let systemd = self.start("sh /boot.sh");
        let children = format!("/proc/{0}/task/{0}/children", systemd.pid());
        eventually("systemd is there", PATIENCE, || {
            let child = fs::read_to_string(&children).ok().and_then(|c| c.trim().parse().ok());
            self.world.init = child;
            let Some(child) = child else { return false };
            fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|c| c == "systemd\n")
        });
        self.until("systemctl is-system-running | grep -qE 'running|degraded'");
        if !udev.is_empty() {
            self.sh("udevadm trigger --action=add --subsystem-match=net");
        }
        systemd
    }
}

// ===== impl Machine: a reboot =====

impl Machine {
    /// What a reboot does: all programs are gone and `/run` is empty, the cards are down and bare,
    /// and the kernel has no route or rule but its own. The disk is as it was.
    pub fn reboot(&mut self) {
        self.world.init = None;
        kill_all();
        for family in ["-4", "-6"] {
            self.try_ip(&format!("{family} route flush table all proto {PROTOCOL}"));
            self.ip(&format!("{family} rule flush"));
            self.ip(&format!("{family} rule add pref 32766 lookup main"));
        }
        self.ip("-4 rule add pref 32767 lookup default");
        for card in self.cards() {
            self.ip(&format!("link set {card} down group 0"));
            self.ip(&format!("address flush dev {card}"));
            self.ip(&format!("neighbour flush dev {card}"));
        }
        self.sh("find /run /tmp -mindepth 1 -delete; mkdir /run/lock /run/network");
    }
}

/// Kills every process of this test's namespace but its own.
fn kill_all() {
    let own = fs::read_link("/proc/self/exe").unwrap();
    // The namespace is this test's: otherwise these were the machine's processes.
    assert_eq!(fs::read_link("/proc/1/exe").unwrap(), own);
    for entry in fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse().ok()) else { continue };
        if pid > 1 && u32::try_from(pid) != Ok(std::process::id()) {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL); // it may have ended
        }
    }
}

// ===== what happens to rules =====

/// Listens to what becomes of the kernel's rules.
pub struct Rules<'a> {
    machine: &'a Machine,
    monitor: Program,
}

impl Rules<'_> {
    /// From now on.
    #[track_caller]
    pub fn listen(machine: &Machine) -> Rules<'_> {
        let rules = Rules { machine, monitor: machine.start("ip monitor rule") };
        eventually("ip listens", PATIENCE, || {
            rules.mark(4);
            rules.monitor.log().contains("192.0.2.4")
        });
        rules
    }

    /// What was deleted and added since, as `ip monitor` says it.
    #[track_caller]
    pub fn stop(self) -> Vec<String> {
        self.mark(5);
        self.monitor.says("192.0.2.5", PATIENCE);
        let log = self.monitor.log();
        log.lines().filter(|l| !l.contains("192.0.2.")).map(str::to_owned).collect()
    }

    /// A rule of nobody's comes and goes.
    fn mark(&self, number: u8) {
        let rule = format!("from 192.0.2.{number} lookup main pref 9");
        self.machine.ips(&format!("rule add {rule}\nrule delete {rule}"));
    }
}

// ===== impl Machine: the network =====

impl Machine {
    /// Puts a card back that was pulled. It is as bare as a new one.
    pub fn plug(&mut self, card: &str) {
        self.world.lab.plug_card(card).unwrap();
    }

    /// Waits until the cards have the addresses of the layout.
    #[track_caller]
    pub fn until_configured(&self) {
        for card in self.lab.cards() {
            for address in &card.addresses {
                let (name, address) = (&card.name, address.address);
                let there =
                    format!("ip address show dev {name} -tentative | grep -q ' {address}/'");
                self.until(&there);
            }
        }
    }

    /// Pulls a card.
    pub fn pull(&mut self, card: &str) {
        self.world.lab.pull_card(card).unwrap();
    }

    /// Gives the router other addresses at a card: the old ones are dead, and the next lease and
    /// advertisement name the new ones.
    pub fn change_gateway(
        &mut self,
        card: &str,
        gateway4: Option<Ipv4Addr>,
        gateway6: Option<Ipv6Addr>,
    ) {
        self.world.lab.change_gateway(card, gateway4, gateway6).unwrap();
        self.ip(&format!("neighbour flush dev {card}"));
        let port = self.world.lab.fabric().port(card).unwrap().clone();
        if let Some(server) = self.servers.get(card) {
            server.lease4(|l| l.routers = vec![port.gateway4]);
            server.router(|r| (r.router, r.mac) = (port.gateway6, port.mac));
        }
    }
}

// ===== helpers =====

/// Writes a file of the tree, and the directories that it is in.
#[track_caller]
pub fn write(path: &str, text: &str) {
    fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Writes a program of the tree.
#[track_caller]
pub fn write_script(path: &str, text: &str) {
    write(path, text);
    tree::set_mode(Path::new(path), 0o755);
}

/// `/sys` shows the interfaces of the namespace in which it was mounted. Read-only it also says,
/// as in every container, that there is no udev to wait for.
fn mount_sys(host: &Netns) {
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID;
    let none: Option<&str> = None;
    host.run(|| mount(Some("sysfs"), "/sys", Some("sysfs"), flags, none)).unwrap().expect("sysfs");
}
