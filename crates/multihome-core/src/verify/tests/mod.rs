//! Small hosts, and what is told of them.

mod published;
mod random;
mod right;

use std::net::IpAddr;

use super::*;
use crate::diff::diff;
use crate::memory::Memory;
use crate::model::names::TABLE_MAIN;
use crate::model::{Action, Link, sysctl};
use crate::plan;
use crate::suppose::{add_address, take};

fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.into(),
        kind: (name == "br0").then(|| "bridge".into()),
        arphrd: if index == 1 { 772 } else { 1 },
        flags: if index == 1 { 0x1_0049 } else { 0x1_1043 },
        master: None,
        group: 0,
        address: Some(format!("52:54:00:00:00:{index:02x}")),
        permanent_address: (index > 1).then(|| format!("52:54:00:00:00:{index:02x}")),
        carrier_changes: 2,
        mtu: 1500,
    }
}

/// Loopback, two cards and a bridge, each with its network in both families, and the kernel's rules.
pub(crate) fn host() -> Snapshot {
    let mut host = Snapshot::default();
    for (index, name) in [(1, "lo"), (2, "ens5"), (3, "ens6"), (4, "br0")] {
        host.insert_link(link(index, name));
    }
    for (family, priority, table) in [
        (Family::V4, 0, 255),
        (Family::V4, 32766, 254),
        (Family::V4, 32767, 253),
        (Family::V6, 0, 255),
        (Family::V6, 32766, 254),
    ] {
        let rule = Rule::new(family, priority, Action::Lookup(table));
        host.insert_rule(Rule { protocol: 2, ..rule });
    }
    for (index, v4, v6) in [
        (1, "127.0.0.1/8", "::1/128"),
        (2, "10.0.0.5/24", "2001:db8:a::5/64"),
        (3, "10.0.1.5/24", "2001:db8:b::5/64"),
        (4, "172.17.0.1/16", "2001:db8:c::1/64"),
    ] {
        for address in [v4, v6] {
            let (address, len) = address.split_once('/').unwrap();
            add_address(&mut host, index, address.parse().unwrap(), len.parse().unwrap()).unwrap();
        }
    }
    for (gateway, link, metric) in
        [("10.0.0.1", 2, 0), ("10.0.1.1", 3, 100), ("fe80::a", 2, 1024), ("fe80::b", 3, 1025)]
    {
        let gateway: IpAddr = gateway.parse().unwrap();
        let hops = vec![Hop::via(gateway, link)];
        let route = Route::new(TABLE_MAIN, Family::of(gateway).all());
        host.insert_route(Route { hops, metric, protocol: 16, ..route });
    }
    for name in ["all", "ens5", "ens6", "br0", "lo"] {
        host.sysctls.insert(sysctl::conf(Family::V4, name, "rp_filter"), "0");
        host.sysctls.insert(sysctl::conf(Family::V4, name, "forwarding"), "1");
    }
    host.sysctls.insert(sysctl::conf(Family::V6, "all", "forwarding"), "1");
    host
}

pub(crate) fn filtering(mut host: Snapshot, value: &str) -> Snapshot {
    host.sysctls.insert(sysctl::conf(Family::V4, "all", "rp_filter"), value);
    host
}

pub(crate) fn managed(mut host: Snapshot, config: &Config) -> Snapshot {
    let changes = diff(&host, &plan::make(&host, config, &Memory::default()));
    take(&mut host, &changes);
    host
}

fn report(host: &Snapshot, config: &Config) -> Report {
    verify(host, config, &plan::make(host, config, &Memory::default()))
}

/// Each finding in one line: failure, source, destination, the link that it came in by, fault.
fn lines(report: &Report) -> Vec<String> {
    let all = report.wrong.iter().chain(&report.unproven);
    let mut lines: Vec<String> = all
        .map(|f| {
            let fault = match &f.fault {
                Fault::Door { by, right, .. } => format!("by {by}, not {right:?}"),
                Fault::Refused { error, .. } => format!("refused {}", error.name()),
                Fault::ReversePath { .. } => "ReversePath".to_owned(),
                other => format!("{other:?}"),
            };
            let from = f.flow.from.map_or_else(String::new, |a| a.to_string());
            format!("{:?} {from} {} {:?} {fault}", f.failed, f.flow.to, f.flow.iif)
        })
        .collect();
    lines.sort();
    lines
}

fn config(text: &str) -> Config {
    Config::parse([("config.toml", text)]).unwrap()
}
