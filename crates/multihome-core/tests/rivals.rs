//! Others who do the same job: who is one, and whether what is said of them is so.
//!
//! The snapshots are those of the golden cases. What a rival is said to send elsewhere is asked of
//! the fake kernel, whose look-up is another one than that of `rival`.

mod common;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use multihome_core::diff::diff;
use multihome_core::model::route::SCOPE_LINK;
use multihome_core::model::{Action, Hop, Route, Rule};
use multihome_core::plan::Note;
use multihome_core::rival::{Asked, Door, Rival, Tool};
use multihome_core::{Config, Family, Memory, Plan, Snapshot, plan};

use common::kernel::Kernel;
use common::lookup::{Answer, Packet};

fn cases() -> impl Iterator<Item = PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let entries = fs::read_dir(root).expect("the directory of the cases");
    entries.map(|e| e.expect("an entry").path()).filter(|p| p.join("snapshot.json").exists())
}

fn read(case: &Path) -> (Snapshot, Plan) {
    let snapshot = fs::read_to_string(case.join("snapshot.json")).expect("a snapshot");
    let snapshot: Snapshot = serde_json::from_str(&snapshot).expect("a snapshot");
    let config = fs::read_to_string(case.join("config.toml")).unwrap_or_default();
    let config = Config::parse([("config.toml", config.as_str())]).expect("a configuration");
    let plan = plan::make(&snapshot, &config, &Memory::default());
    (snapshot, plan)
}

fn rivals(plan: &Plan) -> Vec<Rival> {
    let rivals = plan.notes.iter().filter_map(|n| match n {
        Note::Rival(rival) => Some(rival.clone()),
        _ => None,
    });
    rivals.collect()
}

fn door(kernel: &Kernel, from: IpAddr, to: IpAddr) -> Option<Door> {
    match kernel.lookup(&Packet::sent(from, to)) {
        Answer::Out { link, gateway, .. } => {
            Some(Door::Out { dev: kernel.link(link)?.name.clone(), via: gateway })
        }
        Answer::Refused(_) => Some(Door::Refused),
        Answer::Local | Answer::Nowhere => None,
    }
}

/// The kernel with the plan in force, with a rival's rules and without them.
fn with_and_without(snapshot: &Snapshot, plan: &Plan, rival: &Rival) -> (Kernel, Kernel) {
    let mut without = snapshot.clone();
    for rule in &rival.rules {
        assert!(without.remove_rule(rule), "{rule:?} is none of the snapshot's");
    }
    let made = |snapshot: &Snapshot| {
        let mut kernel = Kernel::of(snapshot);
        kernel.apply_all(&diff(snapshot, plan));
        kernel
    };
    (made(snapshot), made(&without))
}

#[test]
fn a_detour_is_what_the_kernel_does() {
    let mut detours = 0;
    for case in cases() {
        let (snapshot, plan) = read(&case);
        for rival in rivals(&plan) {
            let (with, without) = with_and_without(&snapshot, &plan, &rival);
            // Rules that are not asked are shown by themselves.
            let theirs = if rival.asked == Asked::Never { Kernel::of(&snapshot) } else { with };
            for detour in &rival.detours {
                let what = format!("{}: {detour:?}", case.display());
                let (from, to) = (detour.from, detour.example);
                assert!(detour.to.contains(to), "{what}");
                assert_eq!(door(&theirs, from, to).as_ref(), Some(&detour.theirs), "{what}");
                assert_eq!(door(&without, from, to).as_ref(), Some(&detour.ours), "{what}");
                detours += 1;
            }
        }
    }
    assert!(detours > 10, "only {detours}");
}

#[test]
fn what_is_no_detour_changes_nothing() {
    let mut tried = 0;
    for case in cases() {
        let (snapshot, plan) = read(&case);
        let samples: Vec<IpAddr> = snapshot
            .routes()
            .filter(|r| r.dst.len() > 7 && !r.dst.address().to_string().starts_with("fe80"))
            .map(|r| multihome_core::prefix::bits_address(r.family(), r.dst.bits() | 77))
            .chain(["198.51.100.9", "2001:db8:9::9"].iter().filter_map(|a| a.parse().ok()))
            .collect();
        for rival in rivals(&plan) {
            let (with, without) = with_and_without(&snapshot, &plan, &rival);
            let frozen = |p: &plan::Planned, f| p.frozen.contains(&f);
            for planned in &plan.uplinks {
                let addresses = planned.uplink.sides.iter().flat_map(|s| &s.addresses);
                for from in addresses.map(|a| a.local) {
                    let is_alone = frozen(planned, Family::of(from)) || planned.table.is_none();
                    let same_family = samples.iter().filter(|to| to.is_ipv4() == from.is_ipv4());
                    for to in same_family.filter(|_| !is_alone) {
                        let said = rival.detours.iter().any(|d| {
                            // One address of an uplink stands for all.
                            let of_it = planned.uplink.sides.iter().flat_map(|s| &s.addresses);
                            let mut of_it = of_it.map(|a| a.local);
                            of_it.any(|a| a == d.from) && d.to.contains(*to)
                        });
                        let differ = door(&with, from, *to) != door(&without, from, *to);
                        assert!(!differ || said, "{}: {from} to {to}", case.display());
                        tried += 1;
                    }
                }
            }
        }
    }
    assert!(tried > 100, "only {tried}");
}

/// A host with two cards, one of whose addresses somebody has a rule for.
fn host(rule: Rule) -> Snapshot {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/default-in-another-table");
    let (mut snapshot, _) = read(&case);
    let theirs: Vec<Rule> = snapshot.rules().filter(|r| r.priority == 5000).cloned().collect();
    assert_eq!(theirs.len(), 1);
    assert!(snapshot.remove_rule(&theirs[0]));
    snapshot.insert_rule(rule);
    snapshot
}

fn theirs(from: &str, table: u32) -> Rule {
    let from = Some(from.parse().expect("a prefix"));
    Rule { from, protocol: 4, ..Rule::new(Family::V4, 5000, Action::Lookup(table)) }
}

fn found(snapshot: &Snapshot) -> Vec<Tool> {
    let plan = plan::make(snapshot, &Config::default(), &Memory::default());
    rivals(&plan).into_iter().map(|r| r.tool).collect()
}

#[test]
fn a_rule_from_an_address_or_its_network_is_a_rivals() {
    for from in ["10.0.1.5", "10.0.1.0/24", "10.0.0.0/8"] {
        assert_eq!(found(&host(theirs(from, 100))), [Tool::Unknown], "{from}");
    }
    let own_traffic = Rule { iif: Some("lo".into()), ..theirs("10.0.1.5", 100) };
    assert_eq!(found(&host(own_traffic)), [Tool::Unknown]);
}

#[test]
fn a_rule_that_leads_into_another_uplinks_table_of_ours_is_a_rivals() {
    assert_eq!(found(&host(theirs("10.0.1.5", 10_002))), [Tool::Unknown]);
}

#[test]
fn a_rule_for_anything_else_is_no_rivals() {
    let rule = || theirs("10.0.1.5", 100);
    let to: Option<multihome_core::Prefix> = "192.0.2.0/24".parse().ok();
    let others = [
        Rule { from: None, ..rule() },
        theirs("0.0.0.0/0", 100),
        theirs("10.0.1.6", 100),
        theirs("10.9.0.0/16", 100),
        Rule { not: true, ..rule() },
        Rule { to, ..rule() },
        Rule { iif: Some("docker0".into()), ..rule() },
        Rule { oif: Some("eth1".into()), ..rule() },
        Rule { fwmark: Some((8, u32::MAX)), ..rule() },
        Rule { tos: Some(16), ..rule() },
        Rule { ipproto: Some(6), ..rule() },
        Rule { sport: Some((22, 22)), ..rule() },
        Rule { dport: Some((25, 25)), ..rule() },
        Rule { uidrange: Some((1000, 1000)), ..rule() },
        Rule { tun_id: Some(7), ..rule() },
        Rule { l3mdev: true, ..rule() },
        Rule { other: vec![(200, vec![1])], ..rule() },
        Rule { action: Action::Unreachable, ..rule() },
        Rule { action: Action::Goto(32_766), ..rule() },
        theirs("10.0.1.5", 254),
        theirs("10.0.1.5", 253),
        // Tables that are empty, or lead nowhere out.
        theirs("10.0.1.5", 101),
        // Ours, and a twin of ours.
        Rule { protocol: multihome_core::model::PROTOCOL, ..rule() },
        Rule { priority: 10_003, ..theirs("10.0.1.5", 10_003) },
    ];
    for rule in others {
        assert_eq!(found(&host(rule.clone())), [], "{rule:?}");
    }
}

#[test]
fn a_table_that_leads_into_a_tunnel_is_no_rivals() {
    let mut snapshot = host(theirs("10.0.1.5", 99));
    let tunnel = multihome_core::model::Link {
        index: 9,
        name: "tun0".into(),
        kind: Some("tun".into()),
        arphrd: 65_534,
        flags: 0x110d1,
        master: None,
        group: 0,
        address: None,
        permanent_address: None,
        carrier_changes: 0,
        mtu: 1500,
    };
    snapshot.insert_link(tunnel);
    let hops = vec![Hop::dev(9)];
    let route = Route::new(99, Family::V4.all());
    snapshot.insert_route(Route { hops, protocol: 3, scope: SCOPE_LINK, ..route });
    assert_eq!(found(&snapshot), []);
}
