//! From an address that comes to the rules that send its replies home.
//!
//! An observer listens to the kernel's announcements and stamps them: the address, then the
//! rules that `multihome run` makes for it. Beside it, seen by the same observer, the floor: a
//! thread that waits for the address and answers with one datagram of a rule and two routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use multihome_core::model::snapshot::Event;
use multihome_core::model::{Action, Hop, PROTOCOL, Route, Rule};
use multihome_core::{Family, Prefix};
use multihome_kernel::uapi::{RTM_DELADDR, RTM_NEWADDR};
use multihome_kernel::{Message, Noted, Watch, route, rule};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::idle::micros;
use crate::measure::{Outcome, Table, percentile};
use crate::size::Daemon;
use crate::world::{Shape, World, address};

const RUNS: u32 = 1_000;

/// Times of many runs, in microseconds.
#[derive(Default)]
pub struct Times {
    /// From the address seen to the first rule seen.
    pub first: Vec<f64>,
    /// To the last.
    pub last: Vec<f64>,
    /// From before the request that adds the address to the last.
    pub whole: Vec<f64>,
}

/// Prints the table.
pub fn run() -> Outcome<()> {
    println!("## Reaction\n");
    let mut table = Table::new(&[
        "host",
        "family",
        "what",
        "address to first rule",
        "p99",
        "to last rule",
        "p99",
        "request to last rule",
        "p99",
    ]);
    let plain = Shape { cards: 2, addresses: 2, shared: false };
    for family in Family::BOTH {
        let world = World::new(plain, &Family::BOTH)?;
        let floor = Floor::start(&world, family)?;
        let mut times = observe(&world, family, RUNS)?;
        drop(floor);
        table.row(times.row("2 cards", family, "floor: 1 rule, 2 routes"));
        let _daemon = Daemon::start(&world)?;
        let mut times = observe(&world, family, RUNS)?;
        table.row(times.row("2 cards", family, "`multihome run`"));
    }
    for (name, shape, runs) in [
        ("15 cards, 50 addresses each", Shape { cards: 15, addresses: 50, shared: false }, 200),
        (
            "2 cards in one subnet, 1,000 each",
            Shape { cards: 2, addresses: 1_000, shared: true },
            50,
        ),
        (
            "2 cards in one subnet, 10,000 each",
            Shape { cards: 2, addresses: 10_000, shared: true },
            10,
        ),
    ] {
        let world = World::new(shape, &[Family::V4])?;
        let _daemon = Daemon::start(&world)?;
        let mut times = observe(&world, Family::V4, runs)?;
        table.row(times.row(name, Family::V4, "`multihome run`"));
    }
    table.print();
    Ok(())
}

/// An address that lies in nobody's network.
fn fresh(family: Family, n: u32) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(0xac10_0001 + n)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(n + 1))),
    }
}

fn host_len(family: Family) -> u8 {
    family.bits()
}

/// Adds and deletes addresses while `multihome run` runs, and stamps what is announced.
pub fn observe(world: &World, family: Family, runs: u32) -> Outcome<Times> {
    let name = "card1";
    let index = world.host.index(name)?;
    if family == Family::V6 {
        // The kernel announces the address while it is tentative, and that counts.
        world.host.sysctls(&[
            ("ipv6/conf/card1/accept_dad", "1"),
            ("ipv6/conf/card1/dad_transmits", "1"),
        ])?;
    }
    let mut watch = world.host.run(Watch::open)??;
    let mut netlink = world.netlink()?;
    let mut times = Times::default();
    for n in 0..runs {
        let new = fresh(family, n);
        quiet(&mut watch)?;
        let start = Instant::now();
        netlink.request(&mut address(RTM_NEWADDR, index, new, host_len(family), 0))?;
        let (mut seen, mut first, mut last) = (None, None, None);
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            // Nothing for so long behind the rules means that they were all.
            let patience = if last.is_some() { 3 } else { 500 };
            if !ready(&watch, Duration::from_millis(patience))? {
                if last.is_some() {
                    break;
                }
                continue;
            }
            let now = Instant::now();
            watch.drain(&mut |noted| match noted {
                Noted::Event { event: Event::NewAddress(a), .. } if a.local == new => {
                    seen.get_or_insert(now);
                }
                Noted::Event { event: Event::NewRule(r), .. } if r.protocol == PROTOCOL => {
                    first.get_or_insert(now);
                    last = Some(now);
                }
                _ => {}
            })?;
        }
        let (Some(seen), Some(first), Some(last)) = (seen, first, last) else {
            return Err(format!("no rule came for {new}").into());
        };
        times.first.push((first - seen).as_secs_f64() * 1e6);
        times.last.push((last - seen).as_secs_f64() * 1e6);
        times.whole.push((last - start).as_secs_f64() * 1e6);
        netlink.request(&mut address(RTM_DELADDR, index, new, host_len(family), 0))?;
    }
    Ok(times)
}

/// What answers an address with one rule and two routes, knowing beforehand which: a thread that
/// waits for the announcement and sends one datagram.
struct Floor {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Outcome<()>>>,
}

impl Floor {
    fn start(world: &World, family: Family) -> Outcome<Floor> {
        let index = world.host.index("card1")?;
        let gateway = world.shape.gateway(family, 1);
        let mut watch = world.host.run(Watch::open)??;
        let mut requests = world.netlink()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                ready(&watch, Duration::from_millis(100))?;
                let mut answer = None;
                watch.drain(&mut |noted| {
                    let Noted::Event { event, .. } = noted else { return };
                    match event {
                        Event::NewAddress(a) => answer = Some((true, a.local)),
                        Event::DelAddress(a) => answer = Some((false, a.local)),
                        _ => {}
                    }
                })?;
                if let Some((add, address)) = answer {
                    let mut messages = floor_messages(add, address, gateway, index);
                    // IPv4 routes go with the last address, and an address may be announced twice.
                    let _ = requests.batch(&mut messages);
                }
            }
            Ok(())
        });
        Ok(Floor { stop, thread: Some(thread) })
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn floor_messages(add: bool, address: IpAddr, gateway: IpAddr, index: u32) -> Vec<Message> {
    let family = Family::of(address);
    let table = 31_000;
    let hop = Hop::via(gateway, index);
    let connected = Route {
        dst: Prefix::new(gateway, if family == Family::V4 { 16 } else { 64 }),
        scope: if family == Family::V4 { 253 } else { 0 },
        hops: vec![Hop { gateway: None, ..hop.clone() }],
        ..Route::new(table, family.all())
    };
    let default = Route { hops: vec![hop], ..Route::new(table, family.all()) };
    let from = Some(Prefix::host(address));
    let own = Rule { from, ..Rule::new(family, 31_000, Action::Lookup(table)) };
    if add {
        vec![route::add(&connected), route::add(&default), rule::add(&own, false)]
    } else {
        vec![rule::delete(&own), route::delete(&default), route::delete(&connected)]
    }
}

/// Waits until nothing is announced for a moment.
fn quiet(watch: &mut Watch) -> Outcome<()> {
    while ready(watch, Duration::from_millis(2))? {
        watch.drain(&mut |_| {})?;
    }
    Ok(())
}

fn ready(watch: &Watch, patience: Duration) -> Outcome<bool> {
    let timeout = Timespec {
        tv_sec: i64::try_from(patience.as_secs())?,
        tv_nsec: patience.subsec_nanos().into(),
    };
    Ok(poll(&mut [PollFd::new(watch, PollFlags::IN)], Some(&timeout))? > 0)
}

// ===== impl Times =====

impl Times {
    /// A row of the table.
    pub fn row(&mut self, host: &str, family: Family, what: &str) -> Vec<String> {
        let mut row = vec![host.to_owned(), family.to_string(), what.to_owned()];
        for values in [&mut self.first, &mut self.last, &mut self.whole] {
            row.push(micros(percentile(values, 50)));
            row.push(micros(percentile(values, 99)));
        }
        row
    }
}
