//! Published ports, on the hosts of the golden cases.

use std::path::Path;

use crate::model::netfilter::Held;
use crate::model::{Hop, Route, RouteKind, Snapshot};
use crate::suppose::settled;
use crate::verify::{Fault, Report, verify_now};
use crate::{Config, Memory, Prefix, diff, plan};

fn host(case: &str) -> Snapshot {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let text = std::fs::read_to_string(root.join(case).join("snapshot.json")).expect("a case");
    let mut host: Snapshot = serde_json::from_str(&text).expect("a snapshot");
    // What the kernel makes of each address.
    let addresses: Vec<_> = host.addresses().cloned().collect();
    for address in addresses {
        let hops = vec![Hop { link: address.link, ..Hop::default() }];
        let kind = RouteKind::Local;
        host.insert_route(Route { kind, hops, ..Route::new(255, Prefix::host(address.local)) });
    }
    host
}

/// What is found once all that was planned is there, but for what `spoil` does to it.
fn found(case: &str, config: &str, spoil: impl Fn(&mut Snapshot)) -> Report {
    let snapshot = host(case);
    let config = Config::parse([("config.toml", config)]).expect("a configuration");
    let plan = plan::make(&snapshot, &config, &Memory::default());
    let mut settled = settled(&snapshot, &diff::diff(&snapshot, &plan)).into_owned();
    spoil(&mut settled);
    verify_now(&settled, &config, &plan)
}

fn published(report: &Report) -> Vec<String> {
    let inner = |fault: &Fault| match fault {
        Fault::Published(fault) => Some(format!("{fault:?}")),
        _ => None,
    };
    let found = report.wrong.iter().chain(&report.unproven);
    found.filter_map(|f| inner(&f.fault)).collect()
}

#[test]
fn with_the_table_all_replies_go_home() {
    for case in [
        "published-ports",
        "published-ports-strict-filter",
        "published-ports-beside-calico",
        "published-ports-beside-tailscale-exit-node",
        "wg-quick-in-front-of-published-ports",
    ] {
        let report = found(case, "", |_| ());
        assert_eq!(published(&report), [] as [&str; 0], "{case}");
        assert!(!published(&found(case, "", lose)).is_empty(), "{case}: they are asked for");
    }
}

/// Takes the table away.
fn lose(snapshot: &mut Snapshot) {
    if let Some(netfilter) = &mut snapshot.netfilter {
        netfilter.table = Held::Absent;
    }
}

#[test]
fn without_it_they_leave_by_mains_default() {
    let wrong = published(&found("published-ports", "", lose));
    assert!(!wrong.is_empty() && wrong.iter().all(|f| f.starts_with("Door")), "{wrong:?}");
    // Nobody wants them there.
    assert!(published(&found("published-ports", "return_path = \"off\"\n", lose)).is_empty());
    assert!(published(&found("router-without-translation", "", lose)).is_empty());
}

#[test]
fn a_strict_filter_drops_the_requests() {
    let wrong = published(&found("published-ports-strict-filter", "sysctl = \"report\"\n", |_| ()));
    assert!(wrong.iter().any(|f| f.starts_with("ReversePath")), "{wrong:?}");
}

/// What was seen beside a real strongSwan: the tunnel's table takes what is for the container.
#[test]
fn a_tunnel_that_takes_everything_takes_the_requests() {
    let lose = |snapshot: &mut Snapshot| {
        let arrivals: Vec<_> =
            snapshot.rules().filter(|r| r.is_ours() && r.iif.is_some()).cloned().collect();
        let arrivals = arrivals.iter().filter(|r| r.from.is_none());
        assert!(arrivals.clone().count() > 0);
        arrivals.for_each(|r| assert!(snapshot.remove_rule(r)));
    };
    let wrong = published(&found("published-ports-beside-tailscale-exit-node", "", lose));
    assert!(wrong.iter().any(|f| f.starts_with("Forwarded")), "{wrong:?}");
}
