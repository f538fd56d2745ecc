//! The host that is measured, with as many cards and addresses as asked for.
//!
//! ```text
//! client --lan-- host --first, card0..n-- far      twin --k0-- far
//! ```
//!
//! `first` is an uplink with one address of each family, by which main's best default leads:
//! an unbound IPv6 send weighs all addresses of the card that it leaves by
//! (`ipv6_dev_get_saddr`), with and without rules, and that is not what is measured.
//!
//! Every gateway is a permanent neighbour whose MAC is nobody's, so what is sent is dropped
//! by the other end of the veth pair before its IP layer looks at it (`PACKET_OTHERHOST`):
//! what is timed is the sender's path. `twin` never gets a rule; a connected socket in it is
//! the unit in which everything is given.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use multihome_core::Family;
use multihome_core::model::{Hop, Route};
use multihome_kernel::uapi::{
    AF_INET, AF_INET6, IFA_ADDRESS, IFA_FLAGS, IFA_LOCAL, NLM_F_CREATE, NLM_F_EXCL, RTM_DELADDR,
    RTM_NEWADDR,
};
use multihome_kernel::{Message, Socket};
use multihome_lab::{End, Mac, Netns};

use crate::measure::Outcome;

/// How many cards, and what is on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How many cards.
    pub cards: u32,
    /// How many addresses of each family on each.
    pub addresses: u32,
    /// All in one subnet, their addresses interleaved, instead of a subnet each.
    pub shared: bool,
}

/// The namespaces.
pub struct World {
    /// What it is like.
    pub shape: Shape,
    /// The host that multihome works on.
    pub host: Netns,
    /// Beside it, without rules.
    pub twin: Netns,
    /// On the host's `lan`, for what is forwarded and received.
    pub client: Netns,
    /// The other end of all cards.
    far: Netns,
    run_dir: PathBuf,
}

/// Nobody's.
const NOBODY: Mac = Mac([2, 0, 0, 0, 0xff, 0xff]);
const IFA_F_NODAD: u32 = 2;
const RTPROT_STATIC: u8 = 4;

/// Where everything is sent to.
pub fn destination(family: Family) -> SocketAddr {
    match family {
        Family::V4 => SocketAddr::from((Ipv4Addr::new(203, 0, 113, 1), 9999)),
        Family::V6 => SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9999)),
    }
}

/// The host's address on `lan`, which has no gateway: a source that is not multihome's.
pub fn lan(family: Family, host: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(192, 168, 77, host).into(),
        Family::V6 => Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, host.into()).into(),
    }
}

fn twin_address(family: Family, host: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(192, 168, 78, host).into(),
        Family::V6 => Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, host.into()).into(),
    }
}

fn first_address(family: Family, host: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(192, 168, 79, host).into(),
        Family::V6 => Ipv6Addr::new(0xfd79, 0, 0, 0, 0, 0, 0, host.into()).into(),
    }
}

// ===== impl Shape =====

impl Shape {
    /// The `n`th address of a card.
    pub fn address(self, family: Family, card: u32, n: u32) -> IpAddr {
        let (net, n) = if self.shared { (0, n * self.cards + card) } else { (card, n) };
        let n = n + 1;
        match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(10 << 24 | net << 16 | n)),
            Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(
                0xfd00 << 112 | u128::from(net) << 80 | u128::from(n),
            )),
        }
    }

    /// The gateway of a card.
    pub fn gateway(self, family: Family, card: u32) -> IpAddr {
        let net = if self.shared { 0 } else { card };
        match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(10 << 24 | net << 16 | 0xfffe)),
            Family::V6 => {
                IpAddr::V6(Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(net) << 80 | 0xffff_fffe))
            }
        }
    }

    /// All addresses of one family with their cards.
    pub fn all(self, family: Family) -> impl Iterator<Item = (u32, IpAddr)> {
        (0..self.cards).flat_map(move |card| {
            (0..self.addresses).map(move |n| (card, self.address(family, card, n)))
        })
    }
}

// ===== impl World =====

impl World {
    /// Builds it.
    pub fn new(shape: Shape, families: &[Family]) -> Outcome<World> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let forwarding = [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")];
        let world = World {
            shape,
            host: Netns::new("host", &forwarding)?,
            twin: Netns::new("twin", &[])?,
            client: Netns::new("client", &[])?,
            far: Netns::new("far", &[])?,
            run_dir: PathBuf::from(format!("/run/multihome-{count}")),
        };
        std::fs::create_dir_all(&world.run_dir)?;
        world.attach(&world.twin, "k0")?;
        world.attach_lan()?;
        world.attach(&world.host, "first")?;
        // Otherwise the addresses of all the other cards would be weighed too.
        world.host.sysctl("ipv6/conf/first/use_oif_addrs_only", "1")?;
        for card in 0..shape.cards {
            world.attach(&world.host, &format!("card{card}"))?;
        }
        for &family in families {
            world.put(&world.twin, "k0", &[twin_address(family, 1)], family)?;
            world.lead(&world.twin, "k0", twin_address(family, 2), 0)?;
            world.put(&world.host, "first", &[first_address(family, 1)], family)?;
            world.lead(&world.host, "first", first_address(family, 2), 50)?;
            world.put(&world.client, "lan", &[lan(family, 2)], family)?;
            world.lead(&world.client, "lan", lan(family, 1), 0)?;
            for card in 0..shape.cards {
                let name = format!("card{card}");
                let addresses: Vec<IpAddr> =
                    (0..shape.addresses).map(|n| shape.address(family, card, n)).collect();
                world.put(&world.host, &name, &addresses, family)?;
                world.lead(&world.host, &name, shape.gateway(family, card), 100 + card)?;
            }
            // Last, so that it stands in front in the kernel's hash of own addresses: that has 256
            // chains (inet_addr_lst), and each bound IPv4 send looks its source up there.
            world.put(&world.host, "lan", &[lan(family, 1)], family)?;
        }
        Ok(world)
    }

    /// Runs the command that is measured, inside, and waits for it.
    pub fn multihome(&self, verb: &[&str]) -> Outcome<()> {
        let mut child = self.start(verb, Stdio::null())?;
        let status = child.wait()?;
        if status.success() {
            return Ok(());
        }
        Err(format!("multihome {}: {status}", verb.join(" ")).into())
    }

    /// Starts the command that is measured, inside.
    pub fn start(&self, verb: &[&str], stderr: Stdio) -> Outcome<Child> {
        let mut command = Command::new(binary()?);
        // Logging a line for each of 10,000 steps is the terminal's cost, not ours.
        command.args(["--log-level", "warn"]).args(verb);
        command.env("RUNTIME_DIRECTORY", &self.run_dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        Ok(self.host.spawn(&mut command)?)
    }

    /// A socket in a namespace, bound to an address or to none.
    pub fn socket(netns: &Netns, family: Family, source: Option<IpAddr>) -> Outcome<UdpSocket> {
        let any = match family {
            Family::V4 => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let address = SocketAddr::new(source.unwrap_or(any), 0);
        Ok(netns.run(|| UdpSocket::bind(address))??)
    }

    /// The unit: a connected socket in the clean namespace.
    pub fn unit(&self, family: Family) -> Outcome<UdpSocket> {
        let socket = World::socket(&self.twin, family, Some(twin_address(family, 1)))?;
        socket.connect(destination(family))?;
        Ok(socket)
    }

    /// A netlink socket on the host.
    pub fn netlink(&self) -> Outcome<Socket> {
        Ok(self.host.run(Socket::open)??)
    }

    /// Puts addresses on a link.
    pub fn put(
        &self,
        netns: &Netns,
        link: &str,
        addresses: &[IpAddr],
        family: Family,
    ) -> Outcome<()> {
        let index = netns.index(link)?;
        let len = match family {
            Family::V4 if link.starts_with("card") => 16,
            Family::V4 => 24,
            Family::V6 => 64,
        };
        let mut messages: Vec<Message> =
            addresses.iter().map(|a| address(RTM_NEWADDR, index, *a, len, IFA_F_NODAD)).collect();
        let outcomes = netns.run(Socket::open)??.batch(&mut messages);
        outcomes.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(())
    }

    fn lead(&self, netns: &Netns, link: &str, gateway: IpAddr, metric: u32) -> Outcome<()> {
        // The client's gateway is the host, which is to get what it sends.
        if link != "lan" {
            netns.add_neighbour(link, gateway, NOBODY)?;
        }
        let hops = vec![Hop::via(gateway, netns.index(link)?)];
        let route = Route::new(254, Family::of(gateway).all());
        netns.add_route(&Route { protocol: RTPROT_STATIC, metric, hops, ..route })?;
        Ok(())
    }

    fn attach(&self, netns: &Netns, name: &str) -> Outcome<()> {
        let far = format!("far-{name}");
        Netns::veth(
            End { netns, name, mac: None },
            End { netns: &self.far, name: &far, mac: None },
        )?;
        netns.set_up(name)?;
        self.far.set_up(&far)?;
        Ok(())
    }

    fn attach_lan(&self) -> Outcome<()> {
        Netns::veth(
            End { netns: &self.host, name: "lan", mac: None },
            End { netns: &self.client, name: "lan", mac: None },
        )?;
        self.host.set_up("lan")?;
        self.client.set_up("lan")?;
        Ok(())
    }
}

/// `RTM_NEWADDR` or `RTM_DELADDR`.
pub fn address(request: u16, index: u32, address: IpAddr, len: u8, flags: u32) -> Message {
    let af = if address.is_ipv4() { AF_INET } else { AF_INET6 };
    let mut header = [af, len, 0, 0, 0, 0, 0, 0];
    header[4..].copy_from_slice(&index.to_ne_bytes());
    let create = if request == RTM_DELADDR { 0 } else { NLM_F_CREATE | NLM_F_EXCL };
    let mut m = Message::new(request, create, &header);
    m.attr_addr(IFA_LOCAL, address).attr_addr(IFA_ADDRESS, address);
    if address.is_ipv6() {
        m.attr_u32(IFA_FLAGS, flags);
    }
    m
}

/// The command that is measured: what `cargo build --release` put beside this program.
pub fn binary() -> Outcome<PathBuf> {
    let here = std::env::current_exe()?;
    let path = here.parent().unwrap_or(Path::new(".")).join("multihome");
    if path.is_file() {
        return Ok(path);
    }
    Err(format!("{} is not there: cargo build --release -p multihome", path.display()).into())
}
