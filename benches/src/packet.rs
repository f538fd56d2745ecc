//! What every packet pays: unconnected sends, and packets forwarded and received.
//!
//! The layouts are the host as it is without any rule, what `multihome apply` makes of it,
//! and one rule for each address.

use std::time::Duration;

use multihome_core::model::route::RTNH_F_ONLINK;
use multihome_core::model::{Action, Hop, Route, Rule};
use multihome_core::{Family, Prefix};
use multihome_kernel::{Kernel, rule};

use crate::measure::{Outcome, Sending, Table, median, ratio};
use crate::world::{Shape, World, destination, lan};

const SHAPES: [(&str, Shape); 5] = [
    ("(a) 1 card, 10,000 addresses", Shape { cards: 1, addresses: 10_000, shared: false }),
    ("(b) 15 cards, 50 addresses each", Shape { cards: 15, addresses: 50, shared: false }),
    ("(b) with ten times as many", Shape { cards: 15, addresses: 500, shared: false }),
    ("(c) 2 cards in one subnet, 1,000 each", Shape { cards: 2, addresses: 1_000, shared: true }),
    ("(c) with ten times as many", Shape { cards: 2, addresses: 10_000, shared: true }),
];

/// So often each is measured, taking turns.
const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_millis(100);
const COLUMNS: [&str; 6] = ["managed", "worst", "unmanaged", "unbound", "forwarded", "received"];

/// Prints the table.
pub fn run(only: Option<&str>) -> Outcome<()> {
    println!("## Per packet\n");
    println!(
        "Time of one UDP send, unconnected, in units of a connected send in a clean namespace \
         beside it; medians of {ROUNDS}.\n"
    );
    let mut heading = vec!["host", "family", "layout", "rules"];
    heading.extend(COLUMNS);
    let mut table = Table::new(&heading);
    for (name, shape) in SHAPES {
        for family in Family::BOTH {
            if only.is_some_and(|o| !format!("{name} {family}").contains(o)) {
                continue;
            }
            measure_shape(name, shape, family, &mut table)?;
        }
    }
    table.print();
    Ok(())
}

fn measure_shape(name: &str, shape: Shape, family: Family, table: &mut Table) -> Outcome<()> {
    let world = World::new(shape, &[family])?;
    eprintln!("{name} {family}");
    let mut line = |layout: &str, cells: Vec<String>| {
        let rules = count_rules(&world, family)?;
        let mut row = vec![name.into(), family.to_string(), layout.into(), rules.to_string()];
        row.extend(cells);
        eprintln!("  {}", row.join(" | "));
        table.row(row);
        Outcome::Ok(())
    };
    line("no rules", measure(&world, family)?)?;
    world.multihome(&["apply"])?;
    line("multihome", measure(&world, family)?)?;
    world.multihome(&["down"])?;
    one_rule_each(&world, family)?;
    line("a rule for each address", measure(&world, family)?)?;
    Ok(())
}

/// One row's values.
pub fn measure(world: &World, family: Family) -> Outcome<Vec<String>> {
    let shape = world.shape;
    let to = destination(family);
    let unit = world.unit(family)?;
    let middle = shape.address(family, shape.cards / 2, shape.addresses / 2);
    let last = shape.address(family, shape.cards - 1, shape.addresses - 1);
    let managed = World::socket(&world.host, family, Some(middle))?;
    let worst = World::socket(&world.host, family, Some(last))?;
    let unmanaged = World::socket(&world.host, family, Some(lan(family, 1)))?;
    let unbound = World::socket(&world.host, family, None)?;
    let forwarded = World::socket(&world.client, family, Some(lan(family, 2)))?;
    forwarded.connect(to)?;
    // Nobody reads it: once its queue is full, what comes is dropped by it.
    let sink = World::socket(&world.host, family, Some(lan(family, 1)))?;
    let received = World::socket(&world.client, family, Some(lan(family, 2)))?;
    received.connect(sink.local_addr()?)?;
    let sends = [
        Sending::To(&managed, to),
        Sending::To(&worst, to),
        Sending::To(&unmanaged, to),
        Sending::To(&unbound, to),
        Sending::Connected(&forwarded),
        Sending::Connected(&received),
    ];
    let mut found = vec![Vec::new(); sends.len()];
    for _ in 0..ROUNDS {
        for (send, values) in sends.iter().zip(&mut found) {
            values.push(ratio(send, &unit, TIME)?.0);
        }
    }
    Ok(found.iter_mut().map(|v| format!("{:.2}", median(v))).collect())
}

fn one_rule_each(world: &World, family: Family) -> Outcome<()> {
    let mut messages: Vec<_> = world
        .shape
        .all(family)
        .zip(10_000..)
        .map(|((card, address), priority)| {
            let action = Action::Lookup(10_000 + card);
            let from = Some(Prefix::host(address));
            // Descending priorities are the cheap order, and the first address asked last.
            rule::add(&Rule { from, ..Rule::new(family, 40_000 - priority, action) }, false)
        })
        .collect();
    let mut netlink = world.netlink()?;
    let outcomes = netlink.batch(&mut messages);
    outcomes.into_iter().collect::<Result<Vec<()>, _>>()?;
    // The tables that they lead to.
    for card in 0..world.shape.cards {
        let index = world.host.index(&format!("card{card}"))?;
        let mut hop = Hop::via(world.shape.gateway(family, card), index);
        hop.flags = RTNH_F_ONLINK;
        let route = Route::new(10_000 + card, family.all());
        world.host.add_route(&Route { hops: vec![hop], ..route })?;
    }
    Ok(())
}

fn count_rules(world: &World, family: Family) -> Outcome<usize> {
    let snapshot = world.host.run(Kernel::open)??.snapshot()?;
    Ok(snapshot.rules().filter(|r| r.family == family).count())
}
