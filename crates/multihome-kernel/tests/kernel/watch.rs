//! What the kernel announces.

use multihome_core::model::route::{RTNH_F_DEAD, RTNH_F_LINKDOWN};
use multihome_core::model::snapshot::{Event, Stale};
use multihome_core::model::{Action, Route, Rule};
use multihome_core::{Change, Family, Snapshot};
use multihome_kernel::{Drained, Kernel, Noted, Watch};

use crate::netns::{ip, ip_batch, links};
use crate::observe::{agree, make_nexthops, routes};
use crate::oracle;

fn follow(watch: &mut Watch, kernel: &mut Kernel, snapshot: &mut Snapshot) -> Drained {
    let mut stale = Stale::default();
    let drained = watch
        .drain(&mut |noted| match noted {
            Noted::Event { event, .. } => stale.merge(snapshot.apply(event)),
            Noted::Undecodable(what) => panic!("{what}"),
        })
        .unwrap();
    kernel.refresh(snapshot, stale, &|_| true).unwrap();
    drained
}

pub fn events_lead_to_what_a_dump_shows() {
    links();
    let mut watch = Watch::open().unwrap();
    let mut kernel = Kernel::open().unwrap();
    let mut snapshot = kernel.snapshot().unwrap();
    let steps: Vec<Vec<String>> = [
        "route add default via 10.0.0.9 dev va",
        "route replace default via 10.0.0.8 dev va mtu 1300",
        "route append default via 10.7.0.9 dev vc",
        "route replace default via 10.0.0.7 dev va",
        "-6 route add default via fe80::9 dev va",
        "-6 route append default via fe80::8 dev vc",
        "-6 route replace default via fe80::7 dev vc",
        "-6 route del default via fe80::7 dev vc",
        "-6 route add default via fe80::1 dev va expires 100",
        "route add 10.9.0.0/16 nexthop via 10.0.0.9 dev va nexthop via 10.7.0.9 dev vc",
        "-6 route add 2001:db8:12::/64 nexthop via fe80::9 dev va nexthop via fe80::8 dev vc",
        "-6 route del 2001:db8:12::/64 via fe80::9 dev va",
        "unreachable",
        "rule add priority 100 from 10.0.0.1 table 10003 protocol 177",
        "rule add priority 100 from 10.0.0.2 table 10003 protocol 177",
        "rule del priority 100 from 10.0.0.1 table 10003 protocol 177",
        "-6 rule add priority 100 from 2001:db8::1 table 10003 suppress_prefixlength 4",
        "address add 10.0.0.2/24 dev va",
        "address add 10.0.0.3/24 dev va",
        "address del 10.0.0.1/24 dev va",
        "address add 2001:db8:5::1/64 dev vc nodad",
        "address del 2001:db8:5::1/64 dev vc",
        "link set va mtu 1400",
        "link set va group 10000",
        "link set vc down",
        "link set vc up",
        "link set vb down",
        "link set vb up",
        "address add 10.0.0.1/24 dev va",
        "nexthops",
        "nexthop replace id 7 via 10.0.0.6 dev va",
        "nexthop del id 8",
        "nexthop del id 11",
        "link set v.d down",
        "link set v.d name vx",
        "link set vx up",
        "link set va down",
        "link set va up",
        "link del vb",
    ]
    .iter()
    .map(|step| match *step {
        "unreachable" => ["-4", "-6"]
            .map(|f| format!("{f} route add unreachable default metric 4294967295 table 10003"))
            .to_vec(),
        step => vec![step.to_owned()],
    })
    .collect();
    for step in steps {
        match step.as_slice() {
            [one] if one == "nexthops" => make_nexthops(),
            commands => commands.iter().for_each(|c| drop(ip(c))),
        }
        // Addresses and routes of IPv6 come from a work queue and from timers.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        loop {
            std::thread::sleep(std::time::Duration::from_millis(10));
            let drained = follow(&mut watch, &mut kernel, &mut snapshot);
            assert!(!drained.overrun);
            let fresh = kernel.snapshot().unwrap();
            if settled(&snapshot) == settled(&fresh) || std::time::Instant::now() > deadline {
                println!("after {step:?}"); // shown when the test fails
                agree(&settled(&snapshot).0, &settled(&fresh).0);
                assert_eq!(settled(&snapshot).1, settled(&fresh).1);
                break;
            }
        }
        agree(&settled(&snapshot).0, &without_linkdown(oracle::routes(&snapshot)));
    }
}

/// A hop that is dead keeps or loses RTNH_F_LINKDOWN in silence: any change of its link clears it
/// (`fib_netdev_event`, `fib_sync_up`). Nothing leaves by a dead hop either way.
fn without_linkdown(mut routes: Vec<Route>) -> Vec<Route> {
    for hop in routes.iter_mut().flat_map(|r| &mut r.hops).filter(|h| h.flags & RTNH_F_DEAD != 0) {
        hop.flags &= !RTNH_F_LINKDOWN;
    }
    routes
}

/// All that should be equal: routes without lifetimes, and the rest in a text.
fn settled(snapshot: &Snapshot) -> (Vec<Route>, String) {
    let links: Vec<_> = snapshot.links().collect();
    let mut addresses: Vec<_> = snapshot.addresses().collect();
    addresses.sort();
    let rules: Vec<_> = snapshot.rules().collect();
    let nexthops: Vec<_> = snapshot.nexthops().collect();
    (
        without_linkdown(routes(snapshot)),
        format!("{links:#?}\n{addresses:#?}\n{rules:#?}\n{nexthops:#?}"),
    )
}

pub fn a_bridge_port_is_no_link() {
    links();
    ip("link add br0 type bridge");
    ip("link set vb master br0");
    let mut watch = Watch::open().unwrap();
    let vb = Kernel::open().unwrap().snapshot().unwrap().link_named("vb").unwrap().index;
    // The kernel says RTM_DELLINK of family AF_BRIDGE here.
    ip("link set vb nomaster");
    let mut gone = Vec::new();
    let mut changed = false;
    watch
        .drain(&mut |noted| match noted {
            Noted::Event { event: Event::DelLink(index), .. } => gone.push(index),
            Noted::Event { event: Event::NewLink(link), .. } if link.index == vb => changed = true,
            _ => {}
        })
        .unwrap();
    assert_eq!(gone, Vec::<u32>::new());
    assert!(changed);
    ip("link del br0");
    watch
        .drain(&mut |noted| {
            if let Noted::Event { event: Event::DelLink(index), .. } = noted {
                gone.push(index);
            }
        })
        .unwrap();
    assert_eq!(gone.len(), 1);
}

pub fn an_overrun_is_told_and_survived() {
    links();
    let mut watch = Watch::with_buffer(16 * 1024).unwrap();
    let mut kernel = Kernel::open().unwrap();
    let quiet = watch.drain(&mut |_| {}).unwrap();
    assert!(!quiet.overrun, "{quiet:?}");
    let mut batch = String::new();
    for n in 0..500 {
        batch.push_str(&format!("route add 172.16.{}.{}/32 dev va\n", n / 256, n % 256));
    }
    ip_batch("-4", &batch);
    let mut seen = 0;
    let drained = watch.drain(&mut |_| seen += 1).unwrap();
    assert!(drained.overrun);
    assert!((1..500).contains(&seen), "{seen}: what is queued is still given");
    // From here on it works as before.
    let mut snapshot = kernel.snapshot().unwrap();
    ip("route add 172.17.0.1/32 dev va");
    let drained = follow(&mut watch, &mut kernel, &mut snapshot);
    assert!(drained.messages > 0 && !drained.overrun, "{drained:?}");
    agree(&routes(&snapshot), &oracle::routes(&snapshot));
}

pub fn an_event_carries_the_port_of_its_request() {
    links();
    let mut watch = Watch::open().unwrap();
    let mut kernel = Kernel::open().unwrap();
    let rule = Rule::new(Family::V4, 10003, Action::Lookup(10003));
    assert_eq!(kernel.apply(&[Change::AddRule(rule.clone())], true), [Ok(())]);
    ip("rule del priority 10003");
    let mut seen = Vec::new();
    watch
        .drain(&mut |noted| {
            if let Noted::Event { event: Event::NewRule(_) | Event::DelRule(_), .. } = &noted {
                seen.push(noted);
            }
        })
        .unwrap();
    let ours = Noted::Event { event: Event::NewRule(rule.clone()), port: kernel.port() };
    assert_eq!(seen[0], ours);
    match &seen[1] {
        Noted::Event { event: Event::DelRule(gone), port } => {
            assert_eq!(gone, &rule);
            assert_ne!(*port, kernel.port());
        }
        other => panic!("{other:?}"),
    }
}
