//! A world, built: in a namespace of the calling thread's own, and looked at when it has come to
//! rest.

use std::time::{Duration, Instant};

use multihome_core::Snapshot;
use multihome_core::model::address::IFA_F_TENTATIVE;
use multihome_core::model::{Address, Neighbour, Route};
use multihome_kernel::uapi::{
    IFLA_ADDRESS, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MASTER, NDA_DST,
    NDA_LLADDR, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NTF_ROUTER, RTM_NEWLINK, RTM_NEWNEIGH,
    RTM_SETLINK, VETH_INFO_PEER,
};
use multihome_kernel::{Kernel, Message, address, link, nexthop, route, rule, sysctl};
use nix::sched::{CloneFlags, unshare};

use super::world::{Place, Step, name};

/// `IFA_CACHEINFO`, which multihome has no use for.
const IFA_CACHEINFO: u16 = 6;
/// `IFF_RUNNING`, which follows the carrier when the kernel has got round to it.
const IFF_RUNNING: u32 = 0x40;
/// `IFF_LOWER_UP`.
const IFF_LOWER_UP: u32 = 0x1_0000;
/// How long a world may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(5);

/// A world that stands in the namespace that the thread is in.
pub struct World {
    pub kernel: Kernel,
    pub snapshot: Snapshot,
    /// How many steps the kernel took.
    pub taken: usize,
}

impl World {
    /// Moves the thread to a fresh namespace and builds a world there.
    pub fn build(steps: &[Step]) -> World {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        let mut kernel = Kernel::open().expect("a netlink socket");
        let mut taken = 0;
        let mut batch = Vec::new();
        for step in steps {
            if let Step::Sysctl(path, value) = step {
                taken += carry_out(&mut kernel, &mut batch);
                taken += usize::from(sysctl::write(path, value).is_ok());
            } else {
                batch.push(message(step));
            }
        }
        taken += carry_out(&mut kernel, &mut batch);
        let mut world = World { kernel, snapshot: Snapshot::default(), taken };
        world.look();
        world
    }

    /// Takes the snapshot, when nothing moves any more.
    fn look(&mut self) {
        let start = Instant::now();
        let mut before = self.observe();
        loop {
            std::thread::sleep(Duration::from_millis(2));
            let now = self.observe();
            if is_settled(&now) && alike(&before, &now) {
                self.snapshot = now;
                return;
            }
            assert!(start.elapsed() < PATIENCE, "a world does not come to rest");
            before = now;
        }
    }

    /// Whether all is still as it was; looks again if it is not.
    pub fn is_unchanged(&mut self) -> bool {
        let now = self.observe();
        let same = alike(&self.snapshot, &now);
        if !same {
            self.look();
        }
        same
    }

    fn observe(&mut self) -> Snapshot {
        let mut snapshot = self.kernel.snapshot().expect("a snapshot");
        self.kernel.circumstances(&mut snapshot);
        snapshot
    }
}

fn carry_out(kernel: &mut Kernel, batch: &mut Vec<Message>) -> usize {
    let taken = kernel.execute(batch).iter().filter(|outcome| outcome.is_ok()).count();
    batch.clear();
    taken
}

/// No address is being probed, and every carrier that came or went has been noticed.
fn is_settled(snapshot: &Snapshot) -> bool {
    let noticed = |flags: u32| (flags & IFF_RUNNING != 0) == (flags & IFF_LOWER_UP != 0);
    snapshot.is_complete()
        && snapshot.addresses().all(|a| a.flags & IFA_F_TENTATIVE == 0)
        && snapshot.links().filter(|l| l.is_up() && !l.is_loopback()).all(|l| noticed(l.flags))
}

/// Whether two snapshots are the same but for lifetimes, which run on.
fn alike(a: &Snapshot, b: &Snapshot) -> bool {
    let timeless = |r: &Route| Route { expires: r.expires.map(|s| s.signum()), ..r.clone() };
    a.links().eq(b.links())
        && a.addresses().eq(b.addresses())
        && a.rules().eq(b.rules())
        && a.nexthops().eq(b.nexthops())
        && a.neighbours == b.neighbours
        && a.sysctls == b.sysctls
        && a.routes().map(timeless).eq(b.routes().map(timeless))
}

// ===== steps as requests =====

fn message(step: &Step) -> Message {
    match step {
        Step::Sysctl(..) => unreachable!("a file, no request"),
        Step::Veth(index) => veth(*index),
        Step::Bridge(index) => {
            let mut m = Message::new(RTM_NEWLINK, CREATE, &link::header(*index, 0, 0));
            m.attr_str(IFLA_IFNAME, &name(*index)).attr(IFLA_ADDRESS, &mac(*index));
            m.nest(IFLA_LINKINFO, |m| {
                m.attr_str(IFLA_INFO_KIND, "bridge");
            });
            m
        }
        Step::Master(port, bridge) => {
            let mut m = Message::new(RTM_SETLINK, 0, &link::header(*port, 0, 0));
            m.attr_u32(IFLA_MASTER, *bridge);
            m
        }
        Step::Group(index, group) => link::set_group(*index, *group),
        Step::Up(index, up) => link::set_up(*index, *up),
        Step::Address(a, preferred) => with_lifetime(a, *preferred),
        Step::Nexthop(n) => nexthop::add(n, 4),
        Step::Route(r, Place::Alone) => route::add(r),
        Step::Route(r, Place::Behind) => route::append(r),
        Step::Route(r, Place::Before) => route::prepend(r),
        Step::Neighbour(n) => neighbour(n),
        Step::AddRule(r) => rule::add(r, false),
        Step::DelRule(r) => rule::delete(r),
    }
}

const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;

/// An Ethernet address of its own, so that link-local addresses are the same each time.
fn mac(index: u32) -> [u8; 6] {
    [2, 0, 0, 0, 0, index.to_le_bytes()[0]]
}

fn veth(index: u32) -> Message {
    let end = |m: &mut Message, index: u32| {
        m.attr_str(IFLA_IFNAME, &name(index)).attr(IFLA_ADDRESS, &mac(index));
    };
    // The kernel registers the peer first (veth_newlink), so that gets the lower number.
    let mut m = Message::new(RTM_NEWLINK, CREATE, &link::header(index + 1, 0, 0));
    end(&mut m, index + 1);
    m.nest(IFLA_LINKINFO, |m| {
        m.attr_str(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |m| {
            m.nest(VETH_INFO_PEER, |m| {
                m.raw(&link::header(index, 0, 0));
                end(m, index);
            });
        });
    });
    m
}

fn with_lifetime(a: &Address, preferred: Option<u32>) -> Message {
    let mut m = address::add(a);
    if let Some(seconds) = preferred {
        // struct ifa_cacheinfo: preferred, valid, and two stamps of the kernel's
        let mut info = [0; 16];
        info[..4].copy_from_slice(&seconds.to_ne_bytes());
        info[4..8].copy_from_slice(&9000u32.to_ne_bytes());
        m.attr(IFA_CACHEINFO, &info);
    }
    m
}

fn neighbour(n: &Neighbour) -> Message {
    let mut h = [0; 12];
    h[0] = if n.address.is_ipv4() { 2 } else { 10 };
    h[4..8].copy_from_slice(&n.link.to_ne_bytes());
    h[8..10].copy_from_slice(&n.state.to_ne_bytes());
    h[10] = if n.router { NTF_ROUTER } else { 0 };
    let mut m = Message::new(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &h);
    m.attr_addr(NDA_DST, n.address);
    if n.lladdr.is_some() {
        m.attr(NDA_LLADDR, &mac(0x99));
    }
    m
}
