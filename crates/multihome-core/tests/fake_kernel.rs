//! Walks from one state of a host to the next, on one kernel that refuses what cannot be.
//!
//! After each step the host settles: what multihome wants is done, every change must be
//! possible, a second look finds nothing to do. At the end `plan::nothing` must leave the
//! host as if multihome had never run.

mod common;

use std::net::IpAddr;

use multihome_core::diff::{Change, diff, revert};
use multihome_core::model::names::TABLE_MAIN;
use multihome_core::model::{Action, Route, RouteKind, Rule};
use multihome_core::plan::Note;
use multihome_core::prefix::Family;
use multihome_core::{Config, Memory, Plan, plan};

use common::kernel::{BOOT, DHCP, Kernel, RA, address, ethernet, route};
use common::lookup::{Answer, Packet};

/// A host and what multihome keeps of it.
struct Host {
    kernel: Kernel,
    /// The same host without us.
    twin: Kernel,
    config: Config,
    memory: Memory,
    changes: Vec<Change>,
}

const REMOTE: &str = "198.51.100.7";
const REMOTE6: &str = "2001:db8:ffff::7";

impl Host {
    /// A host with nothing but its loopback.
    fn new() -> Host {
        Host {
            kernel: Kernel::new(),
            twin: Kernel::new(),
            config: Config::default(),
            memory: Memory::default(),
            changes: Vec::new(),
        }
    }

    /// Two cards in two networks: eth0 (index 2) and eth1 (index 3), a default route each.
    fn with_two_cards() -> Host {
        let mut host = Host::new();
        host.happens(|k| {
            for (index, subnet) in [(2, 0), (3, 1)] {
                plug(k, index, &format!("eth{subnet}"), subnet);
            }
        });
        host.settle();
        host
    }

    /// Something happens to the host, with and without us.
    fn happens(&mut self, event: impl Fn(&mut Kernel)) {
        event(&mut self.kernel);
        event(&mut self.twin);
    }

    fn configure(&mut self, text: &str) {
        self.config = Config::parse([("config.toml", text)]).expect("a configuration");
    }

    /// What the daemon does after an event.
    fn settle(&mut self) -> Plan {
        let snapshot = self.kernel.snapshot();
        self.memory.update(&snapshot, &self.config);
        let plan = plan::make(&snapshot, &self.config, &self.memory);
        self.reach(&plan);
        let now = self.kernel.snapshot();
        let again = plan::make(&now, &self.config, &self.memory);
        assert_eq!(diff(&now, &again), [], "a second look finds more to do");
        plan
    }

    fn reach(&mut self, plan: &Plan) {
        let start = self.kernel.clone();
        self.changes = diff(&self.kernel.snapshot(), plan);
        self.kernel.apply_all(&self.changes);
        assert_eq!(diff(&self.kernel.snapshot(), plan), [], "the plan is not reached");
        let mut back = self.kernel.clone();
        back.apply_all(&revert(&self.changes));
        assert_eq!(back.inventory(), start.inventory(), "the way back ends elsewhere");
    }

    /// multihome leaves; nothing of it may be left.
    fn leave(mut self) {
        let plan = plan::nothing(&self.kernel.snapshot(), &self.config);
        self.reach(&plan);
        assert_eq!(self.kernel.inventory(), self.twin.inventory());
    }

    /// The link by which an answer from `from` leaves, by name.
    #[track_caller]
    fn way(&self, from: &str, to: &str) -> String {
        self.said(&Packet::sent(ip(from), ip(to)))
    }

    fn said(&self, packet: &Packet) -> String {
        match self.kernel.lookup(packet) {
            Answer::Out { link, gateway, .. } => {
                let name = self.kernel.link(link).map_or("?", |l| l.name.as_str());
                gateway.map_or(name.to_owned(), |g| format!("{name} via {g}"))
            }
            Answer::Refused(kind) => kind.word().to_owned(),
            Answer::Local => "local".to_owned(),
            Answer::Nowhere => "nowhere".to_owned(),
        }
    }

    fn rules(&self) -> usize {
        self.kernel.rules().iter().filter(|r| r.is_ours()).count()
    }
}

fn ip(words: &str) -> IpAddr {
    words.parse().expect("an address")
}

/// A card with 10.0.SUBNET.5/24 and a default by 10.0.SUBNET.1.
fn plug(k: &mut Kernel, index: u32, name: &str, subnet: u8) {
    k.add_link(ethernet(index, name, &format!("52:54:00:12:34:{subnet:02x}")));
    k.add_address(address(index, &format!("10.0.{subnet}.5/24"))).expect("an address");
    add_default(k, index, subnet);
}

fn add_default(k: &mut Kernel, index: u32, subnet: u8) {
    let metric = 100 + u32::from(subnet);
    let gateway = format!("10.0.{subnet}.1");
    let route = Route { metric, ..route("default", &gateway, index, DHCP) };
    k.add_route(&route).expect("a default route");
}

fn remove_default(k: &mut Kernel, index: u32) {
    let found = k
        .routes()
        .iter()
        .find(|r| {
            r.table == TABLE_MAIN
                && r.family() == Family::V4
                && r.dst.is_default()
                && r.hops[0].link == index
        })
        .cloned();
    k.del_route(&found.expect("a default route")).expect("it is there");
}

// ===== the walks =====

#[test]
fn each_address_answers_by_its_own_card() {
    let host = Host::with_two_cards();
    assert_eq!(host.way("10.0.0.5", REMOTE), "eth0 via 10.0.0.1");
    assert_eq!(host.way("10.0.1.5", REMOTE), "eth1 via 10.0.1.1");
    // A client on the other card's subnet, and one on the own.
    assert_eq!(host.way("10.0.1.5", "10.0.0.9"), "eth1 via 10.0.1.1");
    assert_eq!(host.way("10.0.0.5", "10.0.1.9"), "eth0 via 10.0.0.1");
    assert_eq!(host.way("10.0.1.5", "10.0.1.9"), "eth1");
    assert_eq!(host.said(&Packet::bound(ip(REMOTE), 3)), "eth1 via 10.0.1.1");
    assert_eq!(host.said(&Packet::unbound(ip(REMOTE))), "eth0 via 10.0.0.1");
    host.leave();
}

#[test]
fn addresses_come_and_go() {
    let mut host = Host::with_two_cards();
    host.happens(|k| k.add_address(address(3, "10.0.9.5/24")).expect("an address"));
    host.settle();
    assert_eq!(host.way("10.0.9.5", REMOTE), "eth1 via 10.0.1.1");
    // The address that is the source of most routes: the kernel drops those, from our table too.
    host.happens(|k| k.remove_address(3, ip("10.0.1.5")));
    host.settle();
    assert_eq!(host.way("10.0.9.5", REMOTE), "eth1 via 10.0.1.1");
    // The last one takes all of the link's routes, in silence.
    host.happens(|k| k.remove_address(3, ip("10.0.9.5")));
    let plan = host.settle();
    assert_eq!(plan.uplinks.len(), 1);
    assert!(!host.kernel.routes().iter().any(|r| r.table == 10_003));
    host.leave();
}

#[test]
fn a_card_goes_and_comes_back_with_another_index() {
    let mut host = Host::with_two_cards();
    host.happens(|k| k.remove_link(3));
    host.settle();
    assert_eq!(host.rules(), 3);
    host.happens(|k| plug(k, 7, "eth1", 1));
    host.settle();
    assert_eq!(host.way("10.0.1.5", REMOTE), "eth1 via 10.0.1.1");
    assert!(host.kernel.rules().iter().any(|r| r.priority == 10_007));
    host.leave();
}

#[test]
fn a_card_that_comes_back_keeps_a_configured_table() {
    let mut host = Host::with_two_cards();
    host.configure("[interface.eth1]\ntable = 77\n");
    host.settle();
    host.happens(|k| {
        k.remove_link(3);
        plug(k, 7, "eth1", 1);
    });
    host.settle();
    assert_eq!(host.way("10.0.1.5", REMOTE), "eth1 via 10.0.1.1");
    host.leave();
}

#[test]
fn a_rename_moves_the_rule_for_bound_sockets() {
    let mut host = Host::with_two_cards();
    host.happens(|k| k.rename(3, "data0"));
    host.settle();
    assert_eq!(host.changes.len(), 2, "{:?}", host.changes);
    assert_eq!(host.said(&Packet::bound(ip(REMOTE), 3)), "data0 via 10.0.1.1");
    // Two swap their names.
    host.happens(|k| {
        k.rename(3, "eth0");
        k.rename(2, "data0");
    });
    host.settle();
    assert_eq!(host.said(&Packet::bound(ip(REMOTE), 3)), "eth0 via 10.0.1.1");
    host.leave();
}

#[test]
fn another_gateway_takes_the_place_of_the_old_in_one_step() {
    let mut host = Host::with_two_cards();
    host.happens(|k| {
        remove_default(k, 3);
        k.add_route(&route("default", "10.0.1.254", 3, BOOT)).expect("a route");
    });
    host.settle();
    assert!(matches!(host.changes.as_slice(), [Change::ReplaceRoute { .. }]));
    assert_eq!(host.way("10.0.1.5", REMOTE), "eth1 via 10.0.1.254");
    host.leave();
}

#[test]
fn a_link_that_was_down_gets_its_way_back_from_memory() {
    let mut host = Host::with_two_cards();
    host.happens(|k| k.link_down(3));
    host.settle();
    assert_eq!(host.way("10.0.1.5", REMOTE), "unreachable");
    // Nobody puts main's default back.
    host.happens(|k| k.link_up(3));
    host.settle();
    assert_eq!(host.way("10.0.1.5", REMOTE), "eth1 via 10.0.1.1");
    host.leave();
}

#[test]
fn a_link_that_flapped_unseen_gets_its_way_back_too() {
    let mut host = Host::with_two_cards();
    host.happens(|k| {
        k.link_down(3);
        k.link_up(3);
    });
    host.settle();
    assert_eq!(host.way("10.0.1.5", REMOTE), "eth1 via 10.0.1.1");
    host.leave();
}

#[test]
fn a_gateway_that_was_withdrawn_is_not_used_again() {
    let mut host = Host::with_two_cards();
    host.happens(|k| remove_default(k, 3));
    let plan = host.settle();
    assert!(plan.notes.contains(&Note::NoGateway { name: "eth1".into(), family: Family::V4 }));
    assert_eq!(host.way("10.0.1.5", REMOTE), "unreachable");
    assert_eq!(host.way("10.0.1.5", "10.0.1.9"), "eth1");
    host.happens(|k| {
        k.link_down(3);
        k.link_up(3);
    });
    host.settle();
    assert_eq!(host.way("10.0.1.5", REMOTE), "unreachable");
    host.leave();
}

#[test]
fn a_card_that_comes_up_in_another_network_forgets_the_old_gateway() {
    let mut host = Host::with_two_cards();
    host.happens(|k| {
        k.link_down(3);
        k.remove_address(3, ip("10.0.1.5"));
    });
    // It ends with its addresses.
    assert_eq!(host.settle().uplinks.len(), 1);
    host.happens(|k| {
        k.link_up(3);
        k.add_address(address(3, "172.16.4.5/24")).expect("an address");
    });
    host.settle();
    assert_eq!(host.way("172.16.4.5", "10.0.1.1"), "eth0 via 10.0.0.1");
    host.leave();
}

#[test]
fn a_link_that_falls_through_uses_main_while_it_is_down() {
    let mut host = Host::with_two_cards();
    host.configure("[interface.eth1]\non_down = \"fallthrough\"\n");
    host.settle();
    assert_eq!(host.way("10.0.1.5", REMOTE), "eth1 via 10.0.1.1");
    host.happens(|k| k.link_down(3));
    host.settle();
    assert_eq!(host.way("10.0.1.5", REMOTE), "eth0 via 10.0.0.1");
    host.leave();
}

#[test]
fn the_primary_is_switched_on_and_off() {
    let mut host = Host::with_two_cards();
    let before = host.kernel.inventory();
    host.configure("primary = \"ifindex:2\"");
    host.settle();
    assert!(!host.kernel.routes().iter().any(|r| r.table == 10_002));
    assert_eq!(host.way("10.0.1.5", "10.0.0.9"), "eth1 via 10.0.1.1");
    host.configure("");
    host.settle();
    assert_eq!(host.kernel.inventory(), before);
    host.leave();
}

#[test]
fn another_base_moves_rules_tables_and_group() {
    let mut host = Host::with_two_cards();
    host.configure("base = 20000");
    host.settle();
    assert_eq!(host.kernel.link(3).map(|l| l.group), Some(20_000));
    assert_eq!(host.way("10.0.1.5", "10.0.0.9"), "eth1 via 10.0.1.1");
    assert!(!host.kernel.routes().iter().any(|r| r.table == 10_003));
    host.configure("");
    host.settle();
    assert_eq!(host.kernel.link(3).map(|l| l.group), Some(10_000));
    host.leave();
}

#[test]
fn a_tree_that_leaves_after_its_base_was_changed_takes_its_group_along() {
    let mut host = Host::new();
    host.happens(|k| (0..12_u8).for_each(|n| plug(k, 2 + u32::from(n), &format!("eth{n}"), n)));
    host.settle();
    // The file changed while nobody ran; `down` reads the new one.
    host.configure("base = 20000");
    host.leave();
}

#[test]
fn a_group_of_the_operators_own_is_only_read() {
    let mut host = Host::with_two_cards();
    host.happens(|k| {
        let mut link = k.link(3).cloned().expect("eth1");
        if link.group == 0 || link.group == 10_000 {
            link.group = 42;
        }
        k.add_link(link);
    });
    host.configure("link_group = 42");
    let plan = host.settle();
    assert_eq!(host.kernel.link(3).map(|l| l.group), Some(42));
    // What multihome put eth0 in is nobody's any more.
    assert_eq!(host.kernel.link(2).map(|l| l.group), Some(0));
    assert_eq!(plan.notes, [Note::KeepsGroup { name: "eth0".into(), group: 0, wanted: 42 }]);
    host.leave();
}

#[test]
fn a_list_becomes_a_tree_and_a_list_again() {
    let mut host = Host::with_two_cards();
    let flat = host.kernel.inventory();
    let many: Vec<u8> = (2..14).collect();
    for n in &many {
        host.happens(|k| plug(k, 2 + u32::from(*n), &format!("eth{n}"), *n));
        host.settle();
        for m in 0..=*n {
            let from = format!("10.0.{m}.5");
            assert_eq!(host.way(&from, REMOTE), format!("eth{m} via 10.0.{m}.1"));
            assert_eq!(host.way(&from, "10.0.1.9").split(' ').next(), Some(&*format!("eth{m}")));
        }
    }
    assert!(host.kernel.rules().iter().any(|r| matches!(r.action, Action::Goto(_))));
    for n in many.iter().rev() {
        host.happens(|k| k.remove_link(2 + u32::from(*n)));
        host.settle();
        assert_eq!(host.way("10.0.1.5", REMOTE), "eth1 via 10.0.1.1");
    }
    assert_eq!(host.kernel.inventory(), flat);
    host.leave();
}

#[test]
fn router_advertisements_come_expire_and_come_again() {
    let mut host = Host::with_two_cards();
    let from = "2001:db8:0:1::5";
    let by_router = Route { expires: Some(1800), ..route("default", "fe80::1", 3, RA) };
    host.happens(|k| {
        k.add_address(address(3, "2001:db8:0:1::5/64")).expect("an address");
        k.add_route(&by_router).expect("a route");
    });
    host.settle();
    assert_eq!(host.way(from, REMOTE6), "eth1 via fe80::1");
    // A temporary address needs no new rule.
    host.happens(|k| k.add_address(address(3, "2001:db8:0:1::aaaa/64")).expect("an address"));
    host.settle();
    assert_eq!(host.changes, []);
    host.happens(|k| k.del_route(&by_router).expect("it is there"));
    host.settle();
    assert_eq!(host.way(from, REMOTE6), "unreachable");
    let by_another = Route { expires: Some(1800), ..route("default", "fe80::2", 3, RA) };
    host.happens(|k| k.add_route(&by_another).expect("a route"));
    host.settle();
    assert_eq!(host.way(from, REMOTE6), "eth1 via fe80::2");
    host.leave();
}

#[test]
fn ipv6_loses_its_addresses_with_the_link_and_gets_them_back() {
    let mut host = Host::with_two_cards();
    let up = |k: &mut Kernel| {
        k.add_address(address(3, "2001:db8:0:1::5/64")).expect("an address");
        k.add_route(&route("default", "fe80::1", 3, RA)).expect("a route");
    };
    host.happens(up);
    host.settle();
    host.happens(|k| k.link_down(3));
    host.settle();
    // A socket that is bound to the address is still there.
    assert_eq!(host.way("2001:db8:0:1::5", REMOTE6), "unreachable");
    host.happens(|k| {
        k.link_up(3);
        up(k);
    });
    host.settle();
    assert_eq!(host.way("2001:db8:0:1::5", REMOTE6), "eth1 via fe80::1");
    host.leave();
}

#[test]
fn what_others_put_in_our_way_is_left_alone_and_served_again_when_it_goes() {
    let mut host = Host::with_two_cards();
    let foreign = Rule { protocol: 4, ..Rule::new(Family::V4, 10_003, Action::Lookup(77)) };
    host.happens(|k| k.add_rule(&foreign).expect("a rule"));
    let before = host.kernel.inventory();
    let plan = host.settle();
    assert_eq!(plan.conflicts.len(), 1);
    assert_eq!(host.kernel.inventory(), before, "frozen as it is");
    host.happens(|k| k.del_rule(&foreign).expect("it is there"));
    assert_eq!(host.settle().conflicts, []);
    let refusal = Route {
        kind: RouteKind::Blackhole,
        protocol: 4,
        ..Route::new(10_003, "192.168.0.0/16".parse().expect("a prefix"))
    };
    host.happens(|k| k.add_route(&refusal).expect("a route"));
    assert_eq!(host.settle().conflicts.len(), 1);
    host.leave();
}

#[test]
fn a_rival_that_flushes_all_foreign_rules_finds_them_put_back() {
    let mut host = Host::with_two_cards();
    let before = host.kernel.inventory();
    let ours: Vec<Rule> = host.kernel.rules().iter().filter(|r| r.is_ours()).cloned().collect();
    for rule in &ours {
        host.kernel.del_rule(rule).expect("it is there");
    }
    host.settle();
    assert_eq!(host.kernel.inventory(), before);
    host.leave();
}

#[test]
fn a_step_back_in_the_middle_of_the_way_is_no_loss() {
    // Killed after any number of steps, the next run goes on.
    let mut host = Host::new();
    host.happens(|k| (0..10_u8).for_each(|n| plug(k, 2 + u32::from(n), &format!("eth{n}"), n)));
    let start = host.kernel.clone();
    host.settle();
    let (end, changes) = (host.kernel.inventory(), host.changes.clone());
    for steps in 0..changes.len() {
        host.kernel = start.clone();
        host.kernel.apply_all(&changes[..steps]);
        host.settle();
        assert_eq!(host.kernel.inventory(), end);
    }
    host.leave();
}
