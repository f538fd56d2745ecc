//! A host with two cards in a laboratory, programs of the tree in it, and machines elsewhere in
//! the network.

use std::fs;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use multihome_core::model::{Hop, Route, names::TABLE_MAIN};
use multihome_core::{Family, Prefix};
use multihome_lab::{Answerer, End, Ifaddr, Lab, Mac, Netns, Port, Topology};
use nix::mount::{MsFlags, mount};
use rustix::fs::{CWD, FileType, makedev, mknodat};

use crate::common::program::Program;
use crate::common::shell;
use crate::world::World;

/// The card of a machine that is plugged in.
const LINK: &str = "eth0";
/// The router's Ethernet address at the ports of such machines.
const ROUTER: Mac = Mac([0x02, 0x8f, 0x53, 0x6f, 0x00, 0x02]);

/// The host and its network. It is a [`World`] as well: `ip`, `multihome`, `run` and the
/// assertions are there.
pub struct Host {
    /// The remote client answers, too, for flows that the host begins.
    _remote: Answerer,
    world: World,
}

/// A machine somewhere in the network, which runs programs.
pub struct Machine {
    /// Its namespace.
    pub netns: Arc<Netns>,
}

// ===== impl Host =====

impl Host {
    /// A host as its leases leave it, with what daemons of containers and tunnels want.
    pub fn new(topology: Topology) -> Host {
        let lab = Lab::build(topology).unwrap();
        let world = World { lab, init: None };
        let none: Option<&str> = None;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let mounts = || {
            // `/sys` shows the interfaces of the namespace in which it was mounted.
            mount(Some("sysfs"), "/sys", Some("sysfs"), flags | MsFlags::MS_RDONLY, none)?;
            // That of this test, as its namespace of groups shows no other.
            mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), flags, none)
        };
        world.host().run(mounts).unwrap().expect("/sys and its control groups");
        // `/dev` is this test's own.
        let (kind, mode) = (FileType::CharacterDevice, 0o666.into());
        mknodat(CWD, "/dev/net/tun", kind, mode, makedev(10, 200)).expect("a device for tunnels");
        // `wg-quick` gives a file by its descriptor.
        symlink("/proc/self/fd", "/dev/fd").expect("a link");
        let remote = world.let_remote_answer();
        Host { _remote: remote, world }
    }

    /// Starts a program in the host, by a line of shell, until it is dropped.
    #[track_caller]
    pub fn start(&self, line: &str) -> Program {
        shell::start(self.host(), line)
    }

    /// Plugs a machine into a port of its own, with addresses there and others behind it, that
    /// the network does not know: on them it answers as well.
    pub fn plug(&mut self, name: &str, gateway: [u8; 4], addresses: &[&str]) -> Machine {
        let netns = Arc::new(Netns::new(name, &[]).unwrap());
        let addresses: Vec<Ifaddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let port = Port {
            name: name.to_owned(),
            mac: ROUTER,
            gateway4: gateway.into(),
            gateway6: ROUTER.link_local(),
            subnets: addresses.iter().map(Ifaddr::network).collect(),
            owns: addresses.iter().map(|a| Prefix::host(a.address)).collect(),
        };
        let end = End { netns: &netns, name: LINK, mac: None };
        self.world.lab.fabric_mut().plug(port, end).unwrap();
        netns.set_up(LINK).unwrap();
        for address in &addresses {
            netns.add_address(LINK, address).unwrap();
            netns.settle(LINK, address.address).unwrap();
        }
        let link = netns.index(LINK).unwrap();
        for (family, gateway) in
            [(Family::V4, IpAddr::from(gateway)), (Family::V6, ROUTER.link_local().into())]
        {
            let hops = vec![Hop { link, gateway: Some(gateway), ..Hop::default() }];
            let route = Route { hops, protocol: 4, ..Route::new(TABLE_MAIN, family.all()) };
            netns.add_route(&route).unwrap();
        }
        Machine { netns }
    }
}

impl Deref for Host {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl DerefMut for Host {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

// ===== impl Machine =====

impl Machine {
    /// Runs lines of shell, which must succeed, and returns what they printed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        shell::sh(&self.netns, script)
    }

    /// Starts a program, by a line of shell, until it is dropped.
    #[track_caller]
    pub fn start(&self, line: &str) -> Program {
        shell::start(&self.netns, line)
    }
}

// ===== helpers =====

/// Writes a file of the tree, and the directories that it is in.
#[track_caller]
pub fn write(path: &str, text: &str) {
    fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}
