//! The whole way from a host without a rule to one in order.
//!
//! `multihome` in this process (look, plan, difference, apply) and as a command; the floor,
//! which sends the same objects, prepared, in the cheapest order; the floor with a look in front,
//! since nobody knows what to send without one; and `ip -batch` with what `multihome plan`
//! prints. Then the same final effect as everybody else reaches it, with one rule for each
//! address: sent in the cheapest order, and by `ip -batch`.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use multihome_core::diff::diff;
use multihome_core::model::{Action, Rule};
use multihome_core::{Change, Config, Family, Memory, Prefix, plan};
use multihome_kernel::{Kernel, Message, link, route, rule};

use crate::idle::micros;
use crate::measure::{Outcome, Table, median};
use crate::world::{Shape, World};

const ROUNDS: usize = 5;

/// Prints the table.
pub fn run() -> Outcome<()> {
    println!("## Whole sync\n");
    let mut table = Table::new(&[
        "host",
        "changes",
        "floor",
        "floor with a look",
        "multihome, in process",
        "to it",
        "`multihome apply`",
        "`ip -batch`",
        "to the floor with a look",
    ]);
    let mut peers = Table::new(&[
        "host",
        "rules",
        "multihome, in process",
        "floor: a rule for each address",
        "to it",
        "`ip -batch` of them",
        "to it",
    ]);
    for (name, shape) in [
        ("1 card, 1,000 addresses", Shape { cards: 1, addresses: 1_000, shared: false }),
        ("1 card, 10,000 addresses", Shape { cards: 1, addresses: 10_000, shared: false }),
        ("100 cards, 50 addresses each", Shape { cards: 100, addresses: 50, shared: false }),
        ("2 cards in one subnet, 1,000 each", Shape { cards: 2, addresses: 1_000, shared: true }),
    ] {
        let world = World::new(shape, &[Family::V4])?;
        let (own, row) = measure(&world, name)?;
        table.row(row);
        peers.row(one_by_one(&world, name, own)?);
    }
    table.print();
    println!();
    peers.print();
    Ok(())
}

fn measure(world: &World, name: &str) -> Outcome<(f64, Vec<String>)> {
    let mut kernel = world.host.run(Kernel::open)??;
    let (config, memory) = (Config::default(), Memory::default());
    let mut times: [Vec<f64>; 5] = Default::default();
    let mut count = 0;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let snapshot = kernel.snapshot()?;
        let changes = diff(&snapshot, &plan::make(&snapshot, &config, &memory));
        settle(kernel.apply(&changes, snapshot.is_complete()))?;
        times[2].push(micros_since(start));
        count = changes.len();
        clean(&mut kernel)?;

        let mut messages: Vec<Message> = changes.iter().map(message).collect();
        let start = Instant::now();
        settle(kernel.execute(&mut messages))?;
        times[0].push(micros_since(start));
        clean(&mut kernel)?;

        let start = Instant::now();
        kernel.snapshot()?;
        settle(kernel.execute(&mut messages))?;
        times[1].push(micros_since(start));
        clean(&mut kernel)?;

        let start = Instant::now();
        world.multihome(&["apply"])?;
        times[3].push(micros_since(start));
        clean(&mut kernel)?;

        let names = snapshot.names();
        let lines: Vec<String> = changes.iter().map(|c| c.command(&names)).collect();
        let start = Instant::now();
        ip_batch(world, &lines)?;
        times[4].push(micros_since(start));
        clean(&mut kernel)?;
    }
    let [floor, looked, own, command, ip] = times.each_mut().map(|t| median(t));
    let row = vec![
        name.into(),
        count.to_string(),
        micros(floor),
        micros(looked),
        micros(own),
        format!("{:.2}", own / looked),
        micros(command),
        micros(ip),
        format!("{:.2}", ip / looked),
    ];
    Ok((own, row))
}

/// The same final effect with a rule for each address, prepared: what it costs at the least, and
/// by `ip -batch`. `own` is what multihome took, look included.
fn one_by_one(world: &World, name: &str, own: f64) -> Outcome<Vec<String>> {
    let mut kernel = world.host.run(Kernel::open)??;
    let snapshot = kernel.snapshot()?;
    let plan = plan::make(&snapshot, &Config::default(), &Memory::default());
    let mut changes: Vec<Change> = plan.routes.iter().cloned().map(Change::AddRoute).collect();
    let mut priority = 10_000;
    let mut rules = Vec::new();
    for planned in &plan.uplinks {
        let Some(table) = planned.table else { continue };
        for address in planned.uplink.sides.iter().flat_map(|s| &s.addresses) {
            priority += 1;
            let rule = Rule::new(Family::V4, priority, Action::Lookup(table));
            rules.push(Rule { from: Some(Prefix::host(address.local)), ..rule });
        }
    }
    let count = rules.len();
    changes.extend(rules.into_iter().rev().map(Change::AddRule));
    let (mut floor, mut ip) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut messages: Vec<Message> = changes.iter().map(message).collect();
        let start = Instant::now();
        settle(kernel.execute(&mut messages))?;
        floor.push(micros_since(start));
        clean(&mut kernel)?;

        let names = snapshot.names();
        let lines: Vec<String> = changes.iter().map(|c| c.command(&names)).collect();
        let start = Instant::now();
        ip_batch(world, &lines)?;
        ip.push(micros_since(start));
        clean(&mut kernel)?;
    }
    let (floor, ip) = (median(&mut floor), median(&mut ip));
    Ok(vec![
        name.into(),
        count.to_string(),
        micros(own),
        micros(floor),
        format!("{:.2}", own / floor),
        micros(ip),
        format!("{:.2}", own / ip),
    ])
}

fn message(change: &Change) -> Message {
    match change {
        Change::AddRoute(r) => route::add(r),
        Change::ReplaceRoute { to, .. } => route::replace(to),
        Change::DelRoute(r) => route::delete(r),
        Change::AddRule(r) => rule::add(r, false),
        Change::DelRule(r) => rule::delete(r),
        Change::SetGroup { link, to, .. } => link::set_group(*link, *to),
        Change::SetReturnPath { .. } | Change::SetSysctl { .. } => {
            unreachable!("these hosts forward nothing, and share no network")
        }
    }
}

/// Takes everything away again.
fn clean(kernel: &mut Kernel) -> Outcome<()> {
    let snapshot = kernel.snapshot()?;
    let changes = diff(&snapshot, &plan::nothing(&snapshot, &Config::default()));
    settle(kernel.apply(&changes, true))
}

fn settle(outcomes: Vec<Result<(), multihome_kernel::Error>>) -> Outcome<()> {
    outcomes.into_iter().collect::<Result<Vec<()>, _>>()?;
    Ok(())
}

/// `ip` takes the family as an option of the whole batch; these hosts have IPv4 only.
fn ip_batch(world: &World, lines: &[String]) -> Outcome<()> {
    let mut command = Command::new("ip");
    command.args(["-4", "-batch", "-"]).stdin(Stdio::piped());
    let mut child = world.host.spawn(&mut command)?;
    let mut text = String::new();
    for line in lines {
        let words = line.trim_start_matches("ip ").trim_start_matches("-4 ");
        text.push_str(words);
        text.push('\n');
    }
    child.stdin.take().ok_or("no stdin")?.write_all(text.as_bytes())?;
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("ip -batch: {status}").into()) }
}

fn micros_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6
}
