//! A host that carries a million routes, and floods of events.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use multihome_core::model::snapshot::Event;
use multihome_core::model::{Hop, Route};
use multihome_core::{Family, Prefix};
use multihome_kernel::uapi::RTM_NEWADDR;
use multihome_kernel::{Message, Noted, Watch, route};

use crate::idle::{micros, wait_until};
use crate::measure::{Outcome, Table};
use crate::reaction;
use crate::size::{Daemon, in_sync};
use crate::world::{Shape, World, address};

/// A routing daemon's (`RTPROT_BGP`).
const PROTOCOL: u8 = 186;
/// So many go to the kernel in one call.
const CHUNK: u32 = 20_000;

/// Prints the table.
pub fn run() -> Outcome<()> {
    println!("## Big hosts\n");
    let mut table = Table::new(&[
        "moment",
        "time",
        "RSS",
        "its peak",
        "CPU of the daemon",
        "events lost",
        "in sync",
    ]);
    let shape = Shape { cards: 2, addresses: 2, shared: false };
    let world = World::new(shape, &[Family::V4])?;
    let start = Instant::now();
    add_routes(&world, 0x1000_0000, 1_000_000)?;
    table.row(row("1,000,000 routes added to main", start.elapsed()));
    let mut watch = world.host.run(Watch::open)??;
    let start = Instant::now();
    let daemon = Daemon::spawn(&world)?;
    let mut first = false;
    wait_until(
        || {
            watch.drain(&mut |noted| {
                first |= matches!(noted, Noted::Event { event: Event::NewRule(_), .. });
            })?;
            Ok(first)
        },
        Duration::from_secs(120),
    )?;
    let took = start.elapsed();
    drop(watch);
    let mut state = |what: &str, took: Duration, world: &World| -> Outcome<()> {
        let mut cells = row(what, took);
        cells.truncate(2);
        cells.push(format!("{:.1} MB", daemon.status("VmRSS")? as f64 / 1024.0));
        cells.push(format!("{:.1} MB", daemon.status("VmHWM")? as f64 / 1024.0));
        cells.push(micros(daemon.cpu()? * 1e6));
        cells.push(lost(world)?.to_string());
        cells.push(if in_sync(world)? { "yes" } else { "NO" }.into());
        table.row(cells);
        Ok(())
    };
    state("daemon started, to its first rule", took, &world)?;
    let start = Instant::now();
    let mut times = reaction::observe(&world, Family::V4, 100)?;
    settled(&world)?;
    state("100 addresses one by one", start.elapsed(), &world)?;
    let reaction = times.row("a million routes", Family::V4, "`multihome run`");
    let start = Instant::now();
    add_addresses(&world, 10_000)?;
    settled(&world)?;
    state("10,000 addresses at once, to in sync", start.elapsed(), &world)?;
    let start = Instant::now();
    add_routes(&world, 0x3000_0000, 100_000)?;
    settled(&world)?;
    state("100,000 routes at once, to in sync", start.elapsed(), &world)?;
    drop(daemon);
    table.print();
    println!(
        "Reaction with them: address to first rule {} (p99 {}), to last rule {} (p99 {}).\n",
        reaction[3], reaction[4], reaction[5], reaction[6]
    );
    Ok(())
}

fn row(what: &str, took: Duration) -> Vec<String> {
    let mut row = vec![what.to_owned(), micros(took.as_secs_f64() * 1e6)];
    row.resize(7, String::new());
    row
}

/// What found no room in a queue: the `Drops` of all netlink sockets of the host. Each overrun is
/// one full look more.
fn lost(world: &World) -> Outcome<u64> {
    let text = world.host.proc_net("netlink")?;
    let at = text.lines().next().and_then(|l| l.split_whitespace().position(|w| w == "Drops"));
    let at = at.ok_or("no Drops in /proc/net/netlink")?;
    Ok(text.lines().skip(1).filter_map(|l| l.split_whitespace().nth(at)?.parse::<u64>().ok()).sum())
}

fn settled(world: &World) -> Outcome<()> {
    wait_until(|| in_sync(world), Duration::from_secs(120)).map(drop)
}

fn add_routes(world: &World, base: u32, count: u32) -> Outcome<()> {
    let hops = vec![Hop::via(world.shape.gateway(Family::V4, 0), world.host.index("card0")?)];
    for start in (0..count).step_by(CHUNK as usize) {
        let mut messages: Vec<Message> = (start..count.min(start + CHUNK))
            .map(|n| {
                let dst = Prefix::new(IpAddr::V4(Ipv4Addr::from_bits(base + (n << 8))), 24);
                let hops = hops.clone();
                let metric = 20;
                route::add(&Route { dst, hops, metric, protocol: PROTOCOL, ..main() })
            })
            .collect();
        let outcomes = world.netlink()?.batch(&mut messages);
        outcomes.into_iter().collect::<Result<Vec<()>, _>>()?;
    }
    Ok(())
}

fn main() -> Route {
    Route::new(254, Family::V4.all())
}

fn add_addresses(world: &World, count: u32) -> Outcome<()> {
    let index = world.host.index("card1")?;
    let mut messages: Vec<Message> = (0..count)
        .map(|n| {
            let new = IpAddr::V4(Ipv4Addr::from_bits(0xac20_0001 + n));
            address(RTM_NEWADDR, index, new, 32, 0)
        })
        .collect();
    let outcomes = world.netlink()?.batch(&mut messages);
    outcomes.into_iter().collect::<Result<Vec<()>, _>>()?;
    Ok(())
}
