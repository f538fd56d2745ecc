//! `multihome verify`, on hosts that are made in memory: nothing is asked of a kernel.

use std::net::IpAddr;
use std::time::Instant;

use multihome_core::diff::diff;
use multihome_core::model::names::{TABLE_LOCAL, TABLE_MAIN};
use multihome_core::model::{Action, Hop, Link, Route, Rule, sysctl};
use multihome_core::verify::verify;
use multihome_core::{Config, Family, Memory, Prefix, Snapshot, plan, suppose};

use crate::idle::micros;
use crate::measure::{Outcome, Table, median};

/// Runs of each; the middle one counts.
const RUNS: usize = 5;

/// A host that is made: so many uplinks, addresses of each family on each, static routes by them.
struct Shape {
    uplinks: u32,
    addresses: u32,
    routes: u32,
    /// Gateways on each uplink that the routes go by.
    gateways: u32,
    applied: bool,
}

/// Prints the table.
pub fn run() -> Outcome<()> {
    println!("## Verify\n");
    let mut table = Table::new(&[
        "host",
        "routes",
        "rules",
        "intervals",
        "classes",
        "questions",
        "not right",
        "time",
    ]);
    let host = |uplinks, addresses, routes| Shape {
        uplinks,
        addresses,
        routes,
        gateways: 1,
        applied: true,
    };
    for (name, shape) in [
        ("2 uplinks", host(2, 1, 0)),
        ("50 uplinks, 5,000 routes", host(50, 1, 5_000)),
        ("the same, without multihome", Shape { applied: false, ..host(50, 1, 5_000) }),
        ("the same, by 200 gateways", Shape { gateways: 4, ..host(50, 1, 5_000) }),
        ("50 uplinks, 20 addresses each, 5,000 routes", host(50, 20, 5_000)),
        ("2 uplinks, 100,000 routes", host(2, 1, 100_000)),
    ] {
        let snapshot = make(&shape)?;
        let config = Config::default();
        let plan = plan::make(&snapshot, &config, &Memory::default());
        let mut times = Vec::new();
        let mut report = verify(&snapshot, &config, &plan);
        for _ in 0..RUNS {
            let start = Instant::now();
            report = verify(&snapshot, &config, &plan);
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        table.row([
            name.to_owned(),
            snapshot.routes().count().to_string(),
            snapshot.rules().count().to_string(),
            report.intervals.to_string(),
            report.classes.to_string(),
            report.questions.to_string(),
            (report.wrong.len() + report.unproven.len()).to_string(),
            micros(median(&mut times)),
        ]);
    }
    table.print();
    Ok(())
}

fn make(shape: &Shape) -> Outcome<Snapshot> {
    let mut host = Snapshot::default();
    host.insert_link(link(1, "lo"));
    for (family, priority, table) in [
        (Family::V4, 0, TABLE_LOCAL),
        (Family::V4, 32_766, TABLE_MAIN),
        (Family::V4, 32_767, 253),
        (Family::V6, 0, TABLE_LOCAL),
        (Family::V6, 32_766, TABLE_MAIN),
    ] {
        let rule = Rule::new(family, priority, Action::Lookup(table));
        host.insert_rule(Rule { protocol: 2, ..rule });
    }
    host.sysctls.insert(sysctl::conf(Family::V4, "all", "rp_filter"), "1");
    suppose::add_address(&mut host, 1, "127.0.0.1".parse()?, 8)?;
    for n in 0..shape.uplinks {
        let index = n + 2;
        host.insert_link(link(index, &format!("card{n}")));
        for a in 0..shape.addresses {
            let v4: IpAddr = format!("10.0.{n}.{}", 10 + a).parse()?;
            suppose::add_address(&mut host, index, v4, 24)?;
            let v6: IpAddr = format!("2001:db8:{n:x}::{:x}", 10 + a).parse()?;
            suppose::add_address(&mut host, index, v6, 64)?;
        }
        for (gateway, metric) in [(format!("10.0.{n}.1"), n), ("fe80::1".into(), 1024 + n)] {
            let gateway: IpAddr = gateway.parse()?;
            let route = Route::new(TABLE_MAIN, Family::of(gateway).all());
            let hops = vec![Hop::via(gateway, index)];
            host.insert_route(Route { hops, metric, protocol: 16, ..route });
        }
    }
    for n in 0..shape.routes {
        let card = n % shape.uplinks;
        let dst = Prefix::from_bits(Family::V4, u128::from(0x5000_0000 + (n << 8)), 24);
        let via = 2 + n / shape.uplinks % shape.gateways;
        let gateway: IpAddr = format!("10.0.{card}.{via}").parse()?;
        let hops = vec![Hop::via(gateway, card + 2)];
        host.insert_route(Route { hops, metric: 20, protocol: 4, ..Route::new(TABLE_MAIN, dst) });
    }
    if shape.applied {
        let plan = plan::make(&host, &Config::default(), &Memory::default());
        let changes = diff(&host, &plan);
        suppose::take(&mut host, &changes);
    }
    Ok(host)
}

fn link(index: u32, name: &str) -> Link {
    let mac = format!("52:54:00:00:00:{index:02x}");
    Link {
        index,
        name: name.into(),
        kind: None,
        arphrd: if index == 1 { 772 } else { 1 },
        flags: if index == 1 { 0x1_0049 } else { 0x1_1043 },
        master: None,
        group: 0,
        address: Some(mac.clone()),
        permanent_address: (index != 1).then_some(mac),
        carrier_changes: 2,
        mtu: 1500,
    }
}
