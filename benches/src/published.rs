//! What a packet of a published port pays: requests to a container behind a translated destination,
//! and its replies.
//!
//! ```text
//! client --ens5-- host --br0-- container      the same three times, side by side
//! ```
//!
//! One host is as it is, one has multihome's rules without the return path, and one has both. The
//! port is published on the card that main's default leaves by, so that all of them answer. Each
//! send is the whole path as far as the other end's queue: that end does not read, and once its queue
//! is full what comes is dropped there. The three take turns.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use multihome_core::Family;
use multihome_core::model::{Hop, Route};
use multihome_lab::{End, Ifaddr, Netns};

use crate::measure::{Outcome, Table, median};
use crate::world::binary;

const PUBLISHED: u16 = 8080;
const PORT: u16 = 7777;
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const BRIDGE: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
const CONTAINER: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);
const PAYLOAD: [u8; 18] = [0; 18];
/// So many turns, of so many packets each.
const TURNS: usize = 400;
const PACKETS: u32 = 200;
const MAIN: u32 = 254;

/// One host, its client and its container.
struct Site {
    name: &'static str,
    host: Netns,
    _others: [Netns; 3],
    /// Connected: the client's to the published port, the container's to the client.
    request: UdpSocket,
    reply: UdpSocket,
    table: bool,
}

/// Prints the table.
pub fn run() -> Outcome<()> {
    println!("## Published ports\n");
    let sites = [
        Site::new("without multihome", None)?,
        Site::new("multihome, `return_path = \"off\"`", Some("return_path = \"off\"\n"))?,
        Site::new("multihome", Some(""))?,
    ];
    let mut table = Table::new(&["host", "rules", "nft table", "request", "reply"]);
    let request: [Vec<f64>; 3] = alternate(&sites, |s| &s.request)?;
    let reply: [Vec<f64>; 3] = alternate(&sites, |s| &s.reply)?;
    let nanoseconds = [&request, &reply].map(|all| median(&mut all[0].clone()));
    for (at, site) in sites.iter().enumerate() {
        let cell = |all: &[Vec<f64>; 3]| {
            let mut ratios: Vec<f64> = all[at].iter().zip(&all[0]).map(|(a, b)| a / b).collect();
            format!("{:.2}", median(&mut ratios))
        };
        let has = if site.table { "yes" } else { "no" };
        table.row([
            site.name.into(),
            site.rules()?.to_string(),
            has.into(),
            cell(&request),
            cell(&reply),
        ]);
    }
    table.print();
    println!(
        "In units of the first row of each turn, which is {:.0} ns a request and {:.0} ns a reply; \
         medians of {TURNS} turns of {PACKETS} packets.\n",
        nanoseconds[0], nanoseconds[1]
    );
    Ok(())
}

/// Nanoseconds a packet of each site, turn by turn.
fn alternate(sites: &[Site; 3], socket: impl Fn(&Site) -> &UdpSocket) -> Outcome<[Vec<f64>; 3]> {
    let mut found = [const { Vec::new() }; 3];
    for turn in 0..TURNS {
        // Nobody is always behind the same neighbour.
        for step in 0..sites.len() {
            let at = (turn + step) % sites.len();
            let socket = socket(&sites[at]);
            socket.send(&PAYLOAD)?;
            let start = Instant::now();
            for _ in 0..PACKETS {
                socket.send(&PAYLOAD)?;
            }
            found[at].push(start.elapsed().as_secs_f64() * 1e9 / f64::from(PACKETS));
        }
    }
    Ok(found)
}

// ===== impl Site =====

impl Site {
    fn new(name: &'static str, config: Option<&str>) -> Outcome<Site> {
        let host = Netns::new("host", &[("ipv4/ip_forward", "1")])?;
        let (client, container) = (Netns::new("client", &[])?, Netns::new("container", &[])?);
        let other = Netns::new("other", &[])?;
        plug(&host, "ens5", &client, HOST, 24)?;
        plug(&host, "ens6", &other, Ipv4Addr::new(10, 0, 1, 2), 24)?;
        plug(&host, "br0", &container, BRIDGE, 16)?;
        address(&client, "eth0", GATEWAY, 24)?;
        address(&client, "eth0", CLIENT, 32)?;
        address(&container, "eth0", CONTAINER, 16)?;
        address(&other, "eth0", Ipv4Addr::new(10, 0, 1, 1), 24)?;
        default(&host, "ens5", GATEWAY, 0)?;
        default(&host, "ens6", Ipv4Addr::new(10, 0, 1, 1), 100)?;
        default(&container, "eth0", BRIDGE, 0)?;
        let nat = format!(
            "table ip nat {{ chain in {{ type nat hook prerouting priority -100; \
             fib daddr type local udp dport {PUBLISHED} dnat to {CONTAINER}:{PORT}; }}; }}"
        );
        status(&host, Command::new("nft").arg(nat))?;
        if let Some(config) = config {
            multihome(&host, name, config)?;
        }
        let request = bind(&client, SocketAddr::from((CLIENT, 0)))?;
        request.connect((HOST, PUBLISHED))?;
        let reply = bind(&container, SocketAddr::from((CONTAINER, PORT)))?;
        // Both directions once, by which the connection is known.
        request.send(&PAYLOAD)?;
        reply.set_read_timeout(Some(Duration::from_secs(2)))?;
        let (_, from) = reply.recv_from(&mut [0; 64])?;
        reply.connect(from)?;
        reply.send(&PAYLOAD)?;
        request.set_read_timeout(Some(Duration::from_secs(2)))?;
        request.recv(&mut [0; 64])?;
        let mut list = Command::new("nft");
        let output = host.run(|| list.args(["list", "tables"]).output())??;
        let table = String::from_utf8_lossy(&output.stdout).contains("multihome");
        if table != (config == Some("")) {
            return Err(format!("{name}: the table is not as it should be").into());
        }
        Ok(Site { name, host, _others: [client, container, other], request, reply, table })
    }

    fn rules(&self) -> Outcome<usize> {
        let snapshot = self.host.run(multihome_kernel::Kernel::open)??.snapshot()?;
        Ok(snapshot.rules().filter(|r| r.family == Family::V4).count())
    }
}

fn plug(host: &Netns, name: &str, other: &Netns, own: Ipv4Addr, len: u8) -> Outcome<()> {
    Netns::veth(
        End { netns: host, name, mac: None },
        End { netns: other, name: "eth0", mac: None },
    )?;
    host.set_up(name)?;
    other.set_up("eth0")?;
    address(host, name, own, len)
}

fn address(netns: &Netns, link: &str, address: Ipv4Addr, len: u8) -> Outcome<()> {
    Ok(netns.add_address(link, &Ifaddr::new(address.into(), len))?)
}

fn default(netns: &Netns, link: &str, gateway: Ipv4Addr, metric: u32) -> Outcome<()> {
    let hops = vec![Hop::via(gateway.into(), netns.index(link)?)];
    let route = Route::new(MAIN, Family::V4.all());
    Ok(netns.add_route(&Route { metric, hops, protocol: 3, ..route })?)
}

fn bind(netns: &Netns, to: SocketAddr) -> Outcome<UdpSocket> {
    Ok(netns.run(|| UdpSocket::bind(to))??)
}

fn multihome(host: &Netns, name: &str, config: &str) -> Outcome<()> {
    let directory = PathBuf::from(format!("/run/published-{}", name.len()));
    std::fs::create_dir_all(&directory)?;
    let file = directory.join("config.toml");
    std::fs::write(&file, config)?;
    let mut command = Command::new(binary()?);
    command.args(["--log-level", "warn", "--config"]).arg(&file).arg("apply");
    status(host, command.env("RUNTIME_DIRECTORY", &directory))
}

fn status(netns: &Netns, command: &mut Command) -> Outcome<()> {
    let status = netns.spawn(command.stdin(Stdio::null()).stdout(Stdio::null()))?.wait()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}
