//! What it costs to find that nothing has to be done.
//!
//! Plan and difference alone, with a fresh look at the kernel in front, what a listener hears
//! meanwhile, and what a connected socket notices of it.

use std::net::UdpSocket;
use std::process::Stdio;
use std::time::{Duration, Instant};

use multihome_core::diff::diff;
use multihome_core::model::snapshot::Event;
use multihome_core::model::{Action, Rule};
use multihome_core::{Config, Family, Memory, plan};
use multihome_kernel::{Kernel, Noted, Watch, rule};

use crate::measure::{Outcome, Table, median, percentile};
use crate::world::{Shape, World, destination};

/// Connected sockets whose cached routes are watched.
const SOCKETS: usize = 128;

/// Prints the tables.
pub fn run() -> Outcome<()> {
    println!("## No change\n");
    let mut table = Table::new(&[
        "host",
        "objects",
        "plan and diff",
        "p99",
        "with a look",
        "p99",
        "events of rules and routes",
    ]);
    let shapes = [
        ("2 cards, 2 addresses each", Shape { cards: 2, addresses: 2, shared: false }, 1000),
        ("15 cards, 50 addresses each", Shape { cards: 15, addresses: 50, shared: false }, 200),
        ("1 card, 10,000 addresses", Shape { cards: 1, addresses: 10_000, shared: false }, 20),
        (
            "2 cards in one subnet, 1,000 each",
            Shape { cards: 2, addresses: 1_000, shared: true },
            20,
        ),
    ];
    for (name, shape, runs) in shapes {
        // IPv6 takes the kernel minutes to put thousands of addresses on one card.
        let families = if shape.addresses > 1_000 { &[Family::V4][..] } else { &Family::BOTH };
        let world = World::new(shape, families)?;
        world.multihome(&["apply"])?;
        table.row(in_order(&world, name, runs)?);
    }
    table.print();
    connected()
}

fn in_order(world: &World, name: &str, runs: usize) -> Outcome<Vec<String>> {
    let mut kernel = world.host.run(Kernel::open)??;
    let mut watch = world.host.run(Watch::open)??;
    let (config, memory) = (Config::default(), Memory::default());
    let (mut pure, mut whole) = (Vec::new(), Vec::new());
    let mut objects = 0;
    for _ in 0..runs {
        let start = Instant::now();
        let snapshot = kernel.snapshot()?;
        let looked = Instant::now();
        let plan = plan::make(&snapshot, &config, &memory);
        let changes = diff(&snapshot, &plan);
        whole.push(start.elapsed().as_secs_f64() * 1e6);
        pure.push(looked.elapsed().as_secs_f64() * 1e6);
        if !changes.is_empty() {
            return Err(format!("{} changes where all should be in order", changes.len()).into());
        }
        objects = snapshot.links().count()
            + snapshot.addresses().count()
            + snapshot.routes().count()
            + snapshot.rules().count();
    }
    watch.drain(&mut |_| {})?;
    world.multihome(&["apply"])?;
    let mut events = 0;
    watch.drain(&mut |noted| {
        let Noted::Event { event, .. } = noted else { return };
        events += usize::from(matches!(
            event,
            Event::NewRule(_) | Event::DelRule(_) | Event::NewRoute { .. } | Event::DelRoute(_)
        ));
    })?;
    Ok(vec![
        name.into(),
        objects.to_string(),
        micros(median(&mut pure)),
        micros(percentile(&mut pure, 99)),
        micros(median(&mut whole)),
        micros(percentile(&mut whole, 99)),
        events.to_string(),
    ])
}

/// The first send of connected sockets after nothing, after an `apply` that changed nothing, and
/// after one rule was added and deleted.
fn connected() -> Outcome<()> {
    let world = World::new(Shape { cards: 2, addresses: 50, shared: false }, &Family::BOTH)?;
    world.multihome(&["apply"])?;
    println!("First send of {SOCKETS} connected sockets after each, against after nothing:\n");
    let mut table =
        Table::new(&["family", "nothing", "`apply` in order", "a rule added and deleted"]);
    for family in Family::BOTH {
        let source = world.shape.address(family, 1, 7);
        let sockets: Vec<UdpSocket> = (0..SOCKETS)
            .map(|_| {
                let socket = World::socket(&world.host, family, Some(source))?;
                socket.connect(destination(family))?;
                Ok(socket)
            })
            .collect::<Outcome<_>>()?;
        let mut netlink = world.netlink()?;
        let extra = Rule::new(family, 31_000, Action::Lookup(31_000));
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..60 {
            for (what, times) in times.iter_mut().enumerate() {
                match what {
                    // A process all the same, so that the caches are as cold.
                    0 => world.start(&["--version"], Stdio::null())?.wait().map(drop)?,
                    1 => world.multihome(&["apply"])?,
                    _ => {
                        world.start(&["--version"], Stdio::null())?.wait()?;
                        netlink.request(&mut rule::add(&extra, true))?;
                        netlink.request(&mut rule::delete(&extra))?;
                    }
                }
                let start = Instant::now();
                for socket in &sockets {
                    socket.send(&[0; 18])?;
                }
                times.push(start.elapsed().as_secs_f64());
            }
        }
        let [nothing, apply, real] = &mut times;
        let base = median(nothing);
        table.row([
            family.to_string(),
            "1.00".into(),
            format!("{:.2}", median(apply) / base),
            format!("{:.2}", median(real) / base),
        ]);
    }
    table.print();
    Ok(())
}

/// Microseconds or milliseconds, three digits of them.
pub fn micros(value: f64) -> String {
    match value {
        v if v < 100.0 => format!("{v:.1} us"),
        v if v < 1_000.0 => format!("{v:.0} us"),
        v if v < 1e6 => format!("{:.2} ms", v / 1e3),
        v => format!("{:.2} s", v / 1e6),
    }
}

/// Asks again and again until it is so; false when the time is over.
pub fn wait_until(mut done: impl FnMut() -> Outcome<bool>, limit: Duration) -> Outcome<bool> {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if done()? {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(false)
}
