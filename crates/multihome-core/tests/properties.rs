//! What holds for every host, tried on small random ones.
//!
//! A host is made by random events on the fake kernel, so that only states come up that a
//! kernel can be in; addresses, numbers and names are from small pools, so that collisions
//! come up as well. A twin lives through the same events without multihome: at the end
//! the two must be the same.

mod common;

use std::collections::BTreeSet;
use std::net::IpAddr;

use multihome_core::conflict::Conflict;
use multihome_core::diff::{Change, diff, revert};
use multihome_core::model::names::TABLE_MAIN;
use multihome_core::model::route::SCOPE_LINK;
use multihome_core::model::snapshot::Event;
use multihome_core::model::{Action, Address, Hop, Link, Route, RouteKind, Rule, Snapshot};
use multihome_core::plan::Note;
use multihome_core::plan::Planned;
use multihome_core::prefix::{Family, Prefix, is_global};
use multihome_core::rival::{Asked, Door};
use multihome_core::rules::suppressed_length;
use multihome_core::uplink::Side;
use multihome_core::{Config, Memory, Plan, plan};
use proptest::prelude::*;

use common::kernel::{BOOT, DHCP, Kernel, RA, address, ethernet};
use common::lookup::{Answer, Packet};

// ===== what may happen to a host =====

/// One event. Links are 2 to 8; most things name them by index.
#[derive(Debug, Clone)]
enum Op {
    Plug {
        index: u32,
        kind: Kind,
    },
    Unplug(u32),
    Rename {
        index: u32,
        name: usize,
    },
    Down(u32),
    Up(u32),
    Enslave {
        index: u32,
        master: Option<u32>,
    },
    SetGroup {
        index: u32,
        group: u32,
    },
    AddAddress {
        index: u32,
        subnet: u8,
        host: u8,
        family: Family,
        len: Len,
    },
    /// The nth of all addresses.
    RemoveAddress(prop::sample::Index),
    AddRoute(Route),
    /// A multipath default over two links.
    Multipath {
        first: u32,
        second: u32,
        subnet: u8,
    },
    /// The nth of all routes that are not ours.
    RemoveRoute(prop::sample::Index),
    AddRule(Rule),
    RemoveRule(prop::sample::Index),
    /// multihome looks and acts, with one of the configurations.
    Settle(usize),
    /// It is killed after so many of its steps.
    Killed(usize, prop::sample::Index),
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Card,
    Bridge,
    Tunnel,
}

#[derive(Debug, Clone, Copy)]
enum Len {
    Subnet,
    Host,
    Wide,
}

const NAMES: [&str; 4] = ["eth0", "eth1", "data0", "tun0"];

const CONFIGS: [&str; 10] = [
    "",
    "base = 20000",
    "primary = \"ifindex:2\"",
    "primary = \"eth3\"",
    "ignore = [\"br*\"]",
    "link_group = 42",
    "[interface.eth2]\non_down = \"fallthrough\"\n[interface.eth3]\ntable = 77",
    "[interface.eth3]\ngateway = [\"10.0.1.9\", \"fe80::9\"]\n[interface.tun4]\nmanage = true",
    "[interface.eth2]\ntable = 10003",
    "base = 300\nmanage = [\"eth*\", \"br*\"]",
];

impl Op {
    /// False when the kernel does not let it happen.
    fn happen(&self, k: &mut Kernel) -> bool {
        match self {
            Op::Plug { index, kind } => {
                if k.link(*index).is_some() {
                    return false;
                }
                k.add_link(link(*index, *kind));
                true
            }
            Op::Unplug(index) => {
                k.remove_link(*index);
                true
            }
            Op::Rename { index, name } => {
                let name = NAMES[*name];
                let taken = k.snapshot().link_named(name).is_some();
                if !taken {
                    k.rename(*index, name);
                }
                !taken
            }
            Op::Down(index) => {
                k.link_down(*index);
                true
            }
            Op::Up(index) => {
                k.link_up(*index);
                true
            }
            Op::Enslave { index, master } => {
                let Some(mut link) = k.link(*index).cloned() else { return false };
                link.master = *master;
                k.add_link(link);
                true
            }
            Op::SetGroup { index, group } => {
                let Some(mut link) = k.link(*index).cloned() else { return false };
                link.group = *group;
                k.add_link(link);
                true
            }
            Op::AddAddress { index, subnet, host, family, len } => {
                let (words, full, wide) = match family {
                    Family::V4 => (format!("10.0.{subnet}.{host}"), 32, 16),
                    Family::V6 => (format!("2001:db8:0:{subnet}::{host:x}"), 128, 48),
                };
                let usual = if *family == Family::V4 { 24 } else { 64 };
                let len = match len {
                    Len::Subnet => usual,
                    Len::Host => full,
                    Len::Wide => wide,
                };
                k.add_address(address(*index, &format!("{words}/{len}"))).is_ok()
            }
            Op::RemoveAddress(nth) => {
                let all: Vec<Address> =
                    k.addresses().iter().filter(|a| a.link > 1).cloned().collect();
                if all.is_empty() {
                    return false;
                }
                let Address { link, local, .. } = *nth.get(&all);
                k.remove_address(link, local);
                true
            }
            Op::AddRoute(route) => match route.family() {
                Family::V4 => k.add_route(route).is_ok(),
                Family::V6 => k.append_route(route).is_ok(),
            },
            Op::Multipath { first, second, subnet } => {
                let hop = |link: u32| Hop::via(v4(*subnet, 9), link);
                let mut route = Route::new(TABLE_MAIN, Family::V4.all());
                (route.protocol, route.metric) = (BOOT, 50);
                route.hops = vec![hop(*first), Hop { weight: 2, ..hop(*second) }];
                first != second && k.add_route(&route).is_ok()
            }
            Op::RemoveRoute(nth) => {
                let all: Vec<Route> = k.routes().iter().filter(|r| !r.is_ours()).cloned().collect();
                !all.is_empty() && k.del_route(nth.get(&all)).is_ok()
            }
            Op::AddRule(rule) => k.add_rule(rule).is_ok(),
            Op::RemoveRule(nth) => {
                let all: Vec<Rule> =
                    k.rules().iter().filter(|r| !r.is_ours() && r.protocol != 2).cloned().collect();
                !all.is_empty() && k.del_rule(nth.get(&all)).is_ok()
            }
            Op::Settle(_) | Op::Killed(..) => unreachable!("not an event of the host"),
        }
    }
}

fn link(index: u32, kind: Kind) -> Link {
    let mac = format!("52:54:00:12:34:{index:02x}");
    match kind {
        Kind::Card => ethernet(index, &format!("eth{index}"), &mac),
        Kind::Bridge => Link {
            kind: Some("bridge".into()),
            permanent_address: None,
            ..ethernet(index, &format!("br{index}"), &mac)
        },
        Kind::Tunnel => Link {
            kind: Some("tun".into()),
            arphrd: 65534,
            flags: 0x1_10d1,
            permanent_address: None,
            address: None,
            ..ethernet(index, &format!("tun{index}"), &mac)
        },
    }
}

fn v4(subnet: u8, host: u8) -> IpAddr {
    IpAddr::from([10, 0, subnet, host])
}

// ===== strategies =====

fn a_link() -> impl Strategy<Value = u32> {
    2..=8_u32
}

fn a_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![4 => Just(Kind::Card), 1 => Just(Kind::Bridge), 1 => Just(Kind::Tunnel)]
}

fn a_family() -> impl Strategy<Value = Family> {
    prop_oneof![2 => Just(Family::V4), 1 => Just(Family::V6)]
}

fn a_gateway(family: Family) -> impl Strategy<Value = IpAddr> {
    match family {
        Family::V4 => (0..4_u8, 8..10_u8).prop_map(|(s, h)| v4(s, h)).boxed(),
        Family::V6 => prop_oneof![
            (1..4_u16).prop_map(|h| IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, h])),
            (0..3_u16).prop_map(|s| IpAddr::from([0x2001, 0xdb8, 0, s, 0, 0, 0, 9])),
        ]
        .boxed(),
    }
}

fn a_destination(family: Family) -> impl Strategy<Value = Prefix> {
    let words: &[&str] = match family {
        Family::V4 => &[
            "0.0.0.0/1",
            "192.168.0.0/16",
            "192.168.7.0/24",
            "10.0.2.0/24",
            "10.0.0.0/8",
            "198.51.100.0/24",
        ],
        Family::V6 => &["2000::/4", "2001:db8:77::/48", "2001:db8:0:2::/64", "fd00::/8"],
    };
    prop_oneof![
        3 => Just(family.all()),
        2 => prop::sample::select(words).prop_map(|w| w.parse().expect("a prefix")),
    ]
}

fn a_table() -> impl Strategy<Value = u32> {
    prop_oneof![12 => Just(TABLE_MAIN), 1 => Just(100), 1 => 10_002..=10_004_u32, 1 => Just(77)]
}

fn a_route() -> impl Strategy<Value = Route> {
    a_family().prop_flat_map(|family| {
        let hop = (a_link(), prop::option::weighted(0.85, a_gateway(family)), any::<bool>());
        let who = prop::sample::select(&[BOOT, DHCP, 4, RA, 186, 1][..]);
        let kind = prop_oneof![
            12 => Just(RouteKind::Unicast),
            1 => Just(RouteKind::Blackhole),
            1 => Just(RouteKind::Unreachable),
            1 => Just(RouteKind::Throw),
        ];
        let extras = (0..4_u8, prop::option::weighted(0.2, -1..2_i64), 0..3_u8, any::<bool>());
        (a_table(), a_destination(family), 0..4_u32, hop, who, kind, extras).prop_map(
            move |(table, dst, metric, (link, gateway, onlink), protocol, kind, extras)| {
                let (preference, expires, mtu, with_source) = extras;
                let mut route = Route::new(table, dst);
                route.metric += metric;
                (route.protocol, route.kind) = (protocol, kind);
                if kind != RouteKind::Unicast {
                    return route;
                }
                route.hops = vec![Hop { link, gateway, ..Hop::default() }];
                if gateway.is_some() && onlink {
                    route.hops[0].flags = 4;
                }
                if family == Family::V4 && gateway.is_none() {
                    route.scope = SCOPE_LINK;
                }
                if family == Family::V6 && protocol == RA {
                    route.preference = [0, 1, 3, 0][usize::from(preference)];
                    route.expires = expires;
                }
                if family == Family::V6 && protocol == 4 && with_source && preference == 0 {
                    route.src = Some("2001:db8:0:1::/64".parse().expect("a prefix"));
                }
                if mtu == 1 {
                    route.metrics.values.insert(2, 1400);
                }
                route
            },
        )
    })
}

fn a_rule() -> impl Strategy<Value = Rule> {
    let priority = prop_oneof![
        3 => Just(100_u32),
        1 => Just(10_000),
        1 => 10_001..=10_010_u32,
        1 => Just(19_999),
        1 => Just(20_000),
        1 => 42_770..=42_773_u32,
        2 => Just(32_000),
    ];
    (a_family(), priority, 0..4_u8, prop::sample::select(&[100, 77, 10_003, TABLE_MAIN][..]))
        .prop_map(|(family, priority, subnet, table)| {
            let from = match family {
                Family::V4 => Prefix::new(v4(subnet, 0), 24),
                Family::V6 => format!("2001:db8:0:{subnet}::/64").parse().expect("a prefix"),
            };
            let rule = Rule::new(family, priority, Action::Lookup(table));
            Rule { protocol: 4, from: Some(from), ..rule }
        })
}

fn an_event() -> impl Strategy<Value = Op> {
    let len = prop_oneof![6 => Just(Len::Subnet), 2 => Just(Len::Host), 1 => Just(Len::Wide)];
    let new_address = (a_link(), 0..4_u8, 1..8_u8, a_family(), len).prop_map(
        |(index, subnet, host, family, len)| Op::AddAddress { index, subnet, host, family, len },
    );
    let group = prop::sample::select(&[0, 0, 7, 42][..]);
    prop_oneof![
        5 => (a_link(), a_kind()).prop_map(|(index, kind)| Op::Plug { index, kind }),
        1 => a_link().prop_map(Op::Unplug),
        1 => (a_link(), 0..NAMES.len()).prop_map(|(index, name)| Op::Rename { index, name }),
        1 => a_link().prop_map(Op::Down),
        2 => a_link().prop_map(Op::Up),
        1 => (a_link(), prop::option::of(Just(99)))
            .prop_map(|(index, master)| Op::Enslave { index, master }),
        10 => new_address,
        1 => any::<prop::sample::Index>().prop_map(Op::RemoveAddress),
        10 => a_route().prop_map(Op::AddRoute),
        1 => (a_link(), a_link(), 0..3_u8)
            .prop_map(|(first, second, subnet)| Op::Multipath { first, second, subnet }),
        2 => any::<prop::sample::Index>().prop_map(Op::RemoveRoute),
        1 => a_rule().prop_map(Op::AddRule),
        1 => any::<prop::sample::Index>().prop_map(Op::RemoveRule),
        1 => (a_link(), group).prop_map(|(index, group)| Op::SetGroup { index, group }),
    ]
}

/// Cards with their addresses and defaults, so that most hosts have uplinks.
fn a_start() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec((a_kind(), 0..4_u8, 1..8_u8, any::<bool>(), any::<bool>()), 1..6)
        .prop_map(|links| {
            let mut ops = Vec::new();
            for ((kind, subnet, host, v6, leads), index) in links.into_iter().zip(2_u32..) {
                ops.push(Op::Plug { index, kind });
                let family = Family::V4;
                ops.push(Op::AddAddress { index, subnet, host, family, len: Len::Subnet });
                if v6 {
                    let family = Family::V6;
                    ops.push(Op::AddAddress { index, subnet, host, family, len: Len::Subnet });
                }
                if leads {
                    for family in Family::BOTH {
                        let gateway = match family {
                            Family::V4 => v4(subnet, 9),
                            Family::V6 => IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1]),
                        };
                        let mut route = Route::new(TABLE_MAIN, family.all());
                        route.protocol = DHCP;
                        route.metric += index;
                        route.hops = vec![Hop::via(gateway, index)];
                        ops.push(Op::AddRoute(route));
                    }
                }
            }
            ops
        })
}

/// A host as it is when multihome first sees it.
fn a_host() -> impl Strategy<Value = Kernel> {
    (a_start(), prop::collection::vec(an_event(), 0..24), prop::collection::vec(0..14_u8, 0..20))
        .prop_map(|(start, events, more)| {
            let mut kernel = Kernel::new();
            for op in start.iter().chain(&events) {
                op.happen(&mut kernel);
            }
            // Some hosts have enough scattered addresses for a tree.
            for (n, host) in more.iter().enumerate() {
                let index = 2 + u32::try_from(n % 3).unwrap_or(0);
                let words = format!("10.0.{}.{}/24", n % 4, 16 + host * 16);
                let _ = kernel.add_address(address(index, &words));
            }
            kernel
        })
}

fn a_life() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => an_event(),
        2 => (0..CONFIGS.len()).prop_map(Op::Settle),
        1 => (0..CONFIGS.len(), any::<prop::sample::Index>())
            .prop_map(|(config, steps)| Op::Killed(config, steps)),
    ];
    (a_start(), prop::collection::vec(op, 1..40)).prop_map(|(mut start, life)| {
        start.extend(life);
        start
    })
}

fn a_config() -> impl Strategy<Value = Config> {
    prop_oneof![2 => Just(0), 1 => 0..CONFIGS.len()].prop_map(config)
}

fn config(n: usize) -> Config {
    Config::parse([("config.toml", CONFIGS[n])]).expect("a configuration")
}

// ===== what is checked =====

/// Reaches the plan of `snapshot`, and checks the way there and back.
fn settle(kernel: &mut Kernel, config: &Config, memory: &mut Memory) -> Plan {
    let start = kernel.clone();
    let snapshot = kernel.snapshot();
    memory.update(&snapshot, config);
    let plan = plan::make(&snapshot, config, memory);
    let changes = diff(&snapshot, &plan);
    kernel.apply_all(&changes);
    let now = kernel.snapshot();
    assert_eq!(diff(&now, &plan), [], "the plan is not reached");
    // An uplink that lost its gateway is known by its rules, and two that are to share a table
    // cost one of them its rules: then the second run is the last.
    if !plan.conflicts.iter().any(|c| matches!(c, Conflict::SharedTable { .. })) {
        let again = plan::make(&now, config, memory);
        assert_eq!(diff(&now, &again), [], "a second run finds more to do");
    }
    // A host may have lost since what our routes leaned on when they were made.
    if start.could_make_ours_again() {
        let mut back = kernel.clone();
        back.apply_all(&revert(&changes));
        assert_eq!(back.inventory(), start.inventory(), "the way back ends elsewhere");
    }
    plan
}

fn leave(kernel: &mut Kernel, config: &Config) {
    let snapshot = kernel.snapshot();
    kernel.apply_all(&diff(&snapshot, &plan::nothing(&snapshot, config)));
}

/// Without the host's own rules, which may send packets anywhere, also into our tables.
fn without_foreign_rules(mut kernel: Kernel) -> Kernel {
    let foreign: Vec<Rule> = kernel.rules().iter().filter(|r| r.protocol == 4).cloned().collect();
    foreign.iter().for_each(|r| kernel.del_rule(r).expect("it is there"));
    kernel
}

fn served(plan: &Plan) -> impl Iterator<Item = (&Planned, &Side)> {
    plan.uplinks.iter().filter(|p| p.table.is_some()).flat_map(|p| {
        p.uplink.sides.iter().filter(|s| !p.frozen.contains(&s.family)).map(move |s| (p, s))
    })
}

fn destinations(family: Family) -> Vec<IpAddr> {
    let words: &[&str] = match family {
        Family::V4 => &[
            "198.51.100.7",
            "8.8.8.8",
            "203.0.113.9",
            "192.168.7.7",
            "192.168.8.8",
            "10.0.0.200",
            "10.0.1.200",
            "10.0.2.200",
            "10.0.3.200",
            "10.9.9.9",
            "1.1.1.1",
        ],
        Family::V6 => &[
            "2001:db8:ffff::7",
            "2001:db8:77::7",
            "2001:db8:0:1::ff",
            "2001:db8:0:2::ff",
            "fd00::7",
            "2620::7",
        ],
    };
    words.iter().map(|w| w.parse().expect("an address")).collect()
}

/// `PROPTEST_CASES=30000` looks closer.
fn setting() -> ProptestConfig {
    let mut setting = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        setting.cases = 1024;
    }
    setting
}

proptest! {
    #![proptest_config(setting())]

    #[test]
    fn any_life_ends_as_if_multihome_had_never_been_there(life in a_life()) {
        let (mut kernel, mut twin) = (Kernel::new(), Kernel::new());
        let mut memory = Memory::default();
        let mut last = Config::default();
        for op in &life {
            match op {
                Op::Settle(n) => {
                    last = config(*n);
                    settle(&mut kernel, &last, &mut memory);
                }
                Op::Killed(n, steps) => {
                    let snapshot = kernel.snapshot();
                    let plan = plan::make(&snapshot, &config(*n), &memory);
                    let changes = diff(&snapshot, &plan);
                    let steps = steps.index(changes.len() + 1);
                    kernel.apply_all(&changes[..steps]);
                    last = config(*n);
                    settle(&mut kernel, &last, &mut memory);
                }
                // An operator who sets a group while we run means it: not to be undone.
                Op::SetGroup { index, .. } if kernel.link(*index).map(|l| l.group)
                    != twin.link(*index).map(|l| l.group) => {}
                event => {
                    let mut tried = kernel.clone();
                    let mut lonely = twin.clone();
                    // Our routes may make possible what was not, and take the place of others'.
                    if event.happen(&mut tried) && event.happen(&mut lonely) {
                        (kernel, twin) = (tried, lonely);
                    }
                }
            }
        }
        leave(&mut kernel, &last);
        prop_assert!(
            kernel.inventory() == twin.inventory(),
            "with us:{kernel:?}\nwithout:{twin:?}"
        );
    }

    #[test]
    fn every_plan_is_reached_and_taken_back(mut kernel in a_host(), config in a_config()) {
        let start = kernel.clone();
        settle(&mut kernel, &config, &mut Memory::default());
        leave(&mut kernel, &config);
        prop_assert_eq!(kernel.inventory(), start.inventory());
    }

    #[test]
    fn nothing_but_our_own_is_ever_named(kernel in a_host(), config in a_config()) {
        let snapshot = kernel.snapshot();
        let plan = plan::make(&snapshot, &config, &Memory::default());
        prop_assert!(plan.rules.iter().all(Rule::is_ours));
        prop_assert!(plan.routes.iter().all(Route::is_ours));
        let keys: BTreeSet<_> = plan.routes.iter().map(Route::key).collect();
        prop_assert_eq!(keys.len(), plan.routes.len(), "two routes with one key");
        for rule in &plan.rules {
            prop_assert!(rule.suppress_prefixlength != Some(0), "wg-quick would delete it");
            let others = kernel.rules().iter().filter(|r| !r.is_ours());
            let mut same = others.filter(|r| (r.family, r.priority) == (rule.family, rule.priority));
            prop_assert!(same.next().is_none(), "{rule:?} stands beside somebody else's");
        }
        for route in &plan.routes {
            let beside = |r: &&Route| r.table == route.table && r.family() == route.family();
            let others: Vec<&Route> =
                kernel.routes().iter().filter(|r| !r.is_ours()).filter(beside).collect();
            // A table that others keep as we would is theirs and ours: all of it is there.
            let ways = plan.routes.iter().filter(beside).filter(|r| !r.refuses());
            let is_kept = |r: &Route| {
                let lead = |o: &Route| o.hops.iter().map(|h| (h.link, h.gateway)).collect::<Vec<_>>();
                others.iter().any(|o| o.key() == r.key() && lead(o) == lead(r))
            };
            prop_assert!(
                others.is_empty() || ways.clone().all(is_kept) && others.len() <= ways.count() + 1,
                "{route:?} is in somebody else's table"
            );
        }
    }

    #[test]
    fn the_order_of_a_dump_does_not_matter(
        (kernel, shuffled) in a_host().prop_flat_map(|k| {
            let events = k.dump();
            (Just(k), Just(events).prop_shuffle())
        }),
        config in a_config(),
    ) {
        // Links first, as every dump has them: a link that appears makes routes stale.
        let (links, others): (Vec<_>, Vec<_>) =
            shuffled.into_iter().partition(|e| matches!(e, Event::NewLink(_)));
        let mut inserted = Snapshot::default();
        let mut applied = Snapshot::default();
        for event in links.into_iter().chain(others) {
            applied.apply(event.clone());
            match event {
                Event::NewLink(link) => inserted.insert_link(link),
                Event::NewAddress(address) => inserted.insert_address(address),
                Event::NewRoute { route, .. } => inserted.insert_route(route),
                Event::NewRule(rule) => inserted.insert_rule(rule),
                other => unreachable!("{other:?}"),
            }
        }
        let plan = plan::make(&kernel.snapshot(), &config, &Memory::default());
        for snapshot in [inserted, applied] {
            let other = plan::make(&snapshot, &config, &Memory::default());
            prop_assert_eq!(&other.rules, &plan.rules);
            prop_assert_eq!(&other.routes, &plan.routes);
            prop_assert_eq!(&other.groups, &plan.groups);
        }
    }

    #[test]
    fn the_same_input_gives_the_same_plan(kernel in a_host(), config in a_config()) {
        let snapshot = kernel.snapshot();
        let text = serde_json::to_string(&snapshot).expect("JSON");
        let read: Snapshot = serde_json::from_str(&text).expect("what was written can be read");
        prop_assert_eq!(&read, &snapshot);
        let plan = plan::make(&snapshot, &config, &Memory::default());
        prop_assert_eq!(plan::make(&read, &config, &Memory::default()), plan);
    }

    #[test]
    fn an_incomplete_snapshot_removes_nothing(
        mut kernel in a_host(),
        first in a_config(),
        second in a_config(),
    ) {
        settle(&mut kernel, &first, &mut Memory::default());
        let mut snapshot = kernel.snapshot();
        snapshot.remove_routes(|r| r.table == TABLE_MAIN && r.dst.is_default());
        snapshot.incomplete.push("a dump was interrupted".into());
        for plan in [
            plan::make(&snapshot, &second, &Memory::default()),
            plan::nothing(&snapshot, &second),
        ] {
            for change in diff(&snapshot, &plan) {
                let removes = change.is_removal() || matches!(change, Change::ReplaceRoute { .. });
                prop_assert!(!removes, "{change:?}");
            }
        }
    }

    #[test]
    fn prefixes_hold_all_own_addresses_and_no_others(kernel in a_host(), config in a_config()) {
        let snapshot = kernel.snapshot();
        let plan = plan::make(&snapshot, &config, &Memory::default());
        for (planned, side) in served(&plan) {
            for a in &side.addresses {
                let holding = planned.prefixes.iter().filter(|p| p.contains(a.local)).count();
                // One address may be on two links; then it is anybody's.
                prop_assert_eq!(holding, 1, "{} of {:?}", a.local, &planned.prefixes);
            }
            let elsewhere = |a: &&Address| {
                a.link != planned.uplink.link && a.family() == side.family
            };
            for a in kernel.addresses().iter().filter(elsewhere) {
                let shared = side.addresses.iter().any(|own| own.local == a.local);
                let holder = planned.prefixes.iter().find(|p| p.contains(a.local));
                prop_assert!(holder.is_none() || shared, "{holder:?} holds {} too", a.local);
            }
        }
    }

    #[test]
    fn every_answer_leaves_by_the_card_of_its_address(
        kernel in a_host().prop_map(without_foreign_rules),
        config in a_config(),
    ) {
        let before = kernel.clone();
        let mut kernel = kernel;
        let plan = settle(&mut kernel, &config, &mut Memory::default());
        // Only what somebody put in a group of his own stays out of ours.
        let grouped = |link: u32| {
            // A link that leads somewhere without an address is passed over like an uplink.
            let is_bare = !before.addresses().iter().any(|a| a.link == link);
            let is_uplink = plan.uplinks.iter().any(|p| p.uplink.link == link)
                || is_bare && kernel.link(link).is_some_and(|l| l.group == config.group());
            let was = before.link(link).map_or(0, |l| l.group);
            was == config.group() || is_uplink && was == 0 && config.owns_group()
        };
        for (planned, side) in served(&plan) {
            let link = planned.uplink.link;
            if !planned.uplink.up || side.ways.is_empty() || !grouped(link) {
                continue;
            }
            for from in side.addresses.iter().map(|a| a.local) {
                if kernel.addresses().iter().any(|a| a.local == from && a.link != link) {
                    continue;
                }
                for to in destinations(side.family) {
                    let packet = Packet::sent(from, to);
                    let answer = kernel.lookup(&packet);
                    // What main says of it, when that is more than a default.
                    let main = before.lookup_in(TABLE_MAIN, &packet);
                    let by_main = main.is_some_and(|(route, hop)| match hop {
                        None => route.kind != RouteKind::Throw,
                        Some(hop) => {
                            u32::from(route.dst.len()) > suppressed_length(side.family)
                                && !grouped(hop.link)
                        }
                    });
                    if by_main {
                        prop_assert_eq!(answer, before.lookup(&packet), "{:?}", packet);
                    } else if answer != Answer::Local {
                        prop_assert_eq!(answer.link(), Some(link), "{:?}: {:?}", packet, answer);
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_said_of_a_rival_is_so(kernel in a_host(), config in a_config()) {
        let before = kernel.clone();
        let mut with = kernel;
        let plan = settle(&mut with, &config, &mut Memory::default());
        for note in &plan.notes {
            let Note::Rival(rival) = note else { continue };
            let without = without_foreign_rules(with.clone());
            let theirs = if rival.asked == Asked::Never { &before } else { &with };
            let door = |kernel: &Kernel, from, to| match kernel.lookup(&Packet::sent(from, to)) {
                Answer::Out { link, gateway, .. } => {
                    let dev = kernel.link(link).map(|l| l.name.clone()).unwrap_or_default();
                    Some(Door::Out { dev, via: gateway })
                }
                Answer::Refused(_) => Some(Door::Refused),
                Answer::Local | Answer::Nowhere => None,
            };
            for d in &rival.detours {
                // One address may be on two links; then it is anybody's.
                if with.addresses().iter().filter(|a| a.local == d.from).count() > 1 {
                    continue;
                }
                let now = door(theirs, d.from, d.example);
                prop_assert_eq!(now.as_ref(), Some(&d.theirs), "{:?} of {:?}", d, rival);
                let ours = door(&without, d.from, d.example);
                prop_assert_eq!(ours.as_ref(), Some(&d.ours), "{:?} of {:?}", d, rival);
            }
        }
    }

    #[test]
    fn nobody_elses_packets_are_touched(
        kernel in a_host().prop_map(without_foreign_rules),
        config in a_config(),
        any_source in (0..4_u8, 1..255_u8),
    ) {
        let before = kernel.clone();
        let mut kernel = kernel;
        let plan = settle(&mut kernel, &config, &mut Memory::default());
        let ours = |a: IpAddr| {
            plan.uplinks.iter().any(|p| p.table.is_some()
                && p.uplink.sides.iter().any(|s| s.addresses.iter().any(|o| o.local == a)))
        };
        let mut packets = Vec::new();
        for family in Family::BOTH {
            for to in destinations(family) {
                packets.push(Packet::unbound(to));
                let own = kernel.addresses().iter().map(|a| a.local);
                for from in own.filter(|a| Family::of(*a) == family && is_global(*a)) {
                    if !ours(from) {
                        packets.push(Packet::sent(from, to));
                    }
                }
                // What is forwarded, also from inside our prefixes.
                let (subnet, host) = any_source;
                let from = match family {
                    Family::V4 => v4(subnet, host),
                    Family::V6 => {
                        IpAddr::from([0x2001, 0xdb8, 0, u16::from(subnet), 0, 0, 1, host.into()])
                    }
                };
                if !kernel.is_local(from) {
                    packets.push(Packet::forwarded(from, to, "eth3"));
                }
            }
        }
        for packet in packets {
            prop_assert_eq!(kernel.lookup(&packet), before.lookup(&packet), "{:?}", packet);
        }
    }
}
