//! A container that is published on every address of the host, as different programs do it: with
//! nothing from a registry, for its image is the tree's busybox.

use std::fmt;
use std::fs::File;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use multihome_core::Family;
use multihome_lab::traffic::PORT;
use multihome_lab::{Answerer, Netns, Topology};
use nix::sched::{CloneFlags, setns};

use crate::common::program::Program;
use crate::flows::{Flows, PUBLISHED, Place};
use crate::host::{Host, write};
use crate::state::State;
use crate::world::{Daemon, eventually};

/// Who publishes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Destination NAT in an nftables table, in both families.
    Nft,
    /// Docker.
    Docker {
        /// Whether a program of its own forwards what its rules do not.
        userland_proxy: bool,
        iptables: Iptables,
    },
    /// Podman with netavark, as root.
    Podman,
}

/// Which `iptables` there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Iptables {
    Nft,
    Legacy,
}

/// Docker as it comes.
pub const DOCKER: Engine = Engine::Docker { userland_proxy: true, iptables: Iptables::Nft };

/// A host with a published container.
pub struct Bed {
    /// Of the container, before its namespace goes.
    answerer: Answerer,
    pub container: Place,
    pub engine: Engine,
    _programs: Vec<Program>,
    pub host: Host,
}

/// All of the kernel's state that multihome writes, or that others write beside it.
#[derive(Debug, PartialEq, Eq)]
pub struct Everything {
    state: State,
    netfilter: String,
    sysctls: String,
}

/// What fails on every such host without multihome.
pub const FAILING: &[&str] = &["X>e1", "L>e1", "M>e0", "Xp1", "Lp1", "Mp0", "Xu1"];
/// How soon all flows have to work when multihome says that it is ready, or was disturbed.
pub const AT_ONCE: Duration = Duration::from_secs(1);

/// What Docker would do, in both families.
const DNAT: &str = "
table inet published {
  chain prerouting { type nat hook prerouting priority -100;
    fib daddr type local meta nfproto ipv4 meta l4proto { tcp, udp } th dport 8080 dnat ip to 172.17.0.2:7777
    fib daddr type local meta nfproto ipv4 tcp dport 8081 dnat ip to 172.17.0.2:9000
    fib daddr type local meta nfproto ipv6 meta l4proto { tcp, udp } th dport 8080 dnat ip6 to [fd00:172:17::2]:7777
  }
  chain output { type nat hook output priority -100;
    fib daddr type local meta nfproto ipv4 meta l4proto { tcp, udp } th dport 8080 dnat ip to 172.17.0.2:7777
    fib daddr type local meta nfproto ipv6 meta l4proto { tcp, udp } th dport 8080 dnat ip6 to [fd00:172:17::2]:7777
  }
  chain postrouting { type nat hook postrouting priority 100;
    ip saddr 172.17.0.0/16 oifname != docker0 masquerade
    ip6 saddr fd00:172:17::/64 oifname != docker0 masquerade
  }
}";

/// The root of a container.
const ROOT: &str = "
    mkdir -p /run/container/bin /run/container/proc /run/container/dev /run/container/sys \
             /run/container/etc /run/container/run /run/container/tmp
    cp /bin/busybox /run/container/bin/
    ln -sf busybox /run/container/bin/sleep
    ln -sf busybox /run/container/bin/sh
";

/// Long after the end of any test.
const SLEEP: &str = "/bin/sleep 3600";

// ===== impl Engine =====

impl Engine {
    fn topology(self) -> Topology {
        match self {
            // Its bridge and container are the laboratory's.
            Engine::Nft => Topology::Containers,
            Engine::Docker { .. } | Engine::Podman => Topology::TwoSubnets,
        }
    }

    /// The families in which the container is reached.
    pub fn families(self) -> &'static [Family] {
        match self {
            Engine::Nft => &Family::BOTH,
            Engine::Docker { .. } | Engine::Podman => &[Family::V4],
        }
    }

    /// Starts what there is to start.
    #[track_caller]
    fn start(self, host: &Host) -> Vec<Program> {
        let Engine::Docker { userland_proxy, iptables } = self else { return Vec::new() };
        if iptables == Iptables::Legacy {
            for name in ["iptables", "ip6tables"] {
                host.sh(&format!("update-alternatives --set {name} /usr/sbin/{name}-legacy"));
            }
        }
        let dockerd = host.start(&format!(
            "dockerd --data-root /var/lib/docker --exec-root /run/docker --storage-driver vfs \
             --userland-proxy={userland_proxy}"
        ));
        host.until("docker info");
        vec![dockerd]
    }

    /// Runs the container, and returns its namespace.
    #[track_caller]
    fn run(self, host: &Host) -> Arc<Netns> {
        let ports = format!("--publish {PUBLISHED}:{PORT} --publish {PUBLISHED}:{PORT}/udp");
        let pid = match self {
            Engine::Nft => {
                // A router, which takes what routers say nevertheless.
                host.sh("sysctl -w net.ipv6.conf.{all,ens5,ens6}.accept_ra=2 && \
                         sysctl -w net.ipv6.conf.all.forwarding=1");
                host.sh(&format!("nft -f - << 'END'\n{DNAT}\nEND"));
                return Arc::clone(&host.lab.client("container").unwrap().netns);
            }
            Engine::Docker { .. } => {
                host.sh(ROOT);
                host.sh("tar -C /run/container -c . | docker import - busybox");
                host.sh(&format!("docker run --detach --name container {ports} busybox {SLEEP}"));
                host.sh("docker inspect --format '{{.State.Pid}}' container")
            }
            Engine::Podman => {
                podman_files();
                host.sh(ROOT);
                host.sh(&format!(
                    "podman run --detach --name container {ports} --cgroups=disabled \
                     --security-opt seccomp=unconfined --network podman \
                     --rootfs /run/container {SLEEP} > /run/podman.log 2>&1 < /dev/null \
                     || {{ cat /run/podman.log >&2; exit 1; }}"
                ));
                host.sh("podman inspect --format '{{.State.Pid}}' container")
            }
        };
        Arc::new(netns_of(pid.trim().parse().unwrap()))
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Engine::Nft => f.write_str("nft"),
            Engine::Podman => f.write_str("podman"),
            Engine::Docker { userland_proxy, iptables } => {
                let proxy = if *userland_proxy { "" } else { ", no proxy" };
                let iptables = if *iptables == Iptables::Legacy { ", legacy" } else { "" };
                write!(f, "docker{proxy}{iptables}")
            }
        }
    }
}

// ===== impl Bed =====

impl Bed {
    /// A host whose container is published.
    #[track_caller]
    pub fn new(engine: Engine) -> Bed {
        let host = Host::new(engine.topology());
        let programs = engine.start(&host);
        let netns = engine.run(&host);
        // Its own address, which whoever made it has given it.
        let addresses = addresses(&netns);
        let answerer = Answerer::start(&netns, addresses).unwrap();
        let container = Place { netns };
        Bed { answerer, container, engine, _programs: programs, host }
    }

    /// With strict reverse path filters, as distributions set them.
    #[track_caller]
    pub fn strict(self) -> Bed {
        for link in ["all", "ens5", "ens6"] {
            self.host.sh(&format!("sysctl -w net.ipv4.conf.{link}.rp_filter=1"));
        }
        self
    }

    /// Has the container answer on an address that it was given since.
    #[track_caller]
    pub fn answers_on(&self, address: &str) {
        self.answerer.listen(address.parse().unwrap()).unwrap();
    }

    /// Without multihome some flows fail, those that are named among them: it has something to do.
    #[track_caller]
    pub fn assert_failing(&self, names: &[&str]) {
        self.assert_failing_by(self.engine.families(), names);
    }

    /// As [`Bed::assert_failing`], in these families, if the container is reached by them.
    #[track_caller]
    pub fn assert_failing_by(&self, families: &[Family], names: &[&str]) {
        for family in self.engine.families().iter().filter(|f| families.contains(f)) {
            let flows = self.flows(*family, "without multihome");
            println!("{flows}");
            let failed = flows.failed();
            let works = names.iter().find(|n| !failed.contains(n));
            assert!(works.is_none(), "{} works without multihome:\n{flows}", works.unwrap());
        }
    }

    /// All flows work, at once or in a moment.
    #[track_caller]
    pub fn assert_all_flow(&self, when: &str) {
        self.assert_all_flow_within(when, AT_ONCE);
    }

    /// As [`Bed::assert_all_flow`], for who takes longer.
    #[track_caller]
    pub fn assert_all_flow_within(&self, when: &str, within: Duration) {
        // The last attempt may begin at the end of that time.
        for family in self.engine.families() {
            let start = std::time::Instant::now();
            loop {
                let last = start.elapsed() >= within;
                let flows = self.flows(*family, when);
                if flows.failed().is_empty() {
                    println!("{flows}");
                    break;
                }
                assert!(!last, "{flows}\n{}", self.dump());
            }
        }
    }

    /// Starts multihome and waits until it is ready.
    #[track_caller]
    pub fn run(&self) -> Daemon {
        self.host.run()
    }

    /// Has multihome do it once.
    #[track_caller]
    pub fn apply(&self) {
        self.host.must("apply");
    }

    /// Has multihome take away what it has made.
    #[track_caller]
    pub fn down(&self) {
        self.host.must("down");
    }

    fn flows(&self, family: Family, when: &str) -> Flows {
        let what = format!("{}: {when}", self.engine);
        Flows::of(&self.host, Some(&self.container), family, &what)
    }

    /// All that there is to see, for a failure's message.
    pub fn dump(&self) -> String {
        let netfilter = self.host.shell(
            "nft list ruleset; conntrack -L 2> /dev/null | head -40; \
             sysctl -a 2> /dev/null | grep -E 'rp_filter|src_valid_mark|arp_(ignore|announce)'",
        );
        format!("{}\n{}", self.host.dump(), netfilter.out)
    }
}

// ===== impl Everything =====

impl Everything {
    /// As it is now.
    pub fn of(host: &Host) -> Everything {
        let sysctls = "sysctl -a 2> /dev/null | grep -E '^net.ipv[46].conf' | \
                       grep -E 'rp_filter|src_valid_mark|arp_(ignore|announce)'";
        Everything {
            state: State::of(host),
            // Without counters.
            netfilter: host.sh("nft --stateless list ruleset"),
            sysctls: host.sh(sysctls),
        }
    }

    /// Both are the same.
    #[track_caller]
    pub fn assert_is(&self, other: &Everything, when: &str) {
        self.state.assert_is(&other.state, when);
        assert_eq!(self.netfilter, other.netfilter, "{when}, netfilter");
        assert_eq!(self.sysctls, other.sysctls, "{when}, sysctls");
    }
}

// ===== helpers =====

/// The network namespace of a process.
#[track_caller]
fn netns_of(pid: u32) -> Netns {
    let file = File::open(format!("/proc/{pid}/ns/net")).expect("a container's namespace");
    let there = || {
        setns(&file, CloneFlags::CLONE_NEWNET).expect("setns");
        Netns::current("container").unwrap()
    };
    thread::scope(|scope| scope.spawn(there).join().unwrap())
}

/// The addresses of a container, once it has them.
#[track_caller]
fn addresses(netns: &Netns) -> Vec<IpAddr> {
    let mut found = Vec::new();
    eventually("the container has an address", AT_ONCE, || {
        let mut ip = std::process::Command::new("ip");
        ip.args(["-oneline", "address", "show", "scope", "global"]);
        let output = netns.run(|| ip.output()).unwrap().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let address = |line: &str| line.split_whitespace().nth(3)?.split('/').next()?.parse().ok();
        found = text.lines().filter_map(address).collect();
        !found.is_empty()
    });
    found
}

/// What Podman has to be told without a registry, systemd, and a file system for its layers.
fn podman_files() {
    write("/etc/containers/policy.json", r#"{"default": [{"type": "insecureAcceptAnything"}]}"#);
    write(
        "/etc/containers/containers.conf",
        "[network]\nnetwork_backend = \"netavark\"\n\
         [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n",
    );
    write(
        "/etc/containers/storage.conf",
        "[storage]\ndriver = \"vfs\"\nrunroot = \"/run/podman-run\"\ngraphroot = \"/run/podman\"\n",
    );
}
