//! Hand-made answers, so that what is drawn does not depend on how the kernel is re-enacted.

use super::*;
use crate::lookup::{Answer, Refusal};
use crate::model::{Action, Address, Hop, Link, Route, Rule};
use crate::{Config, Memory, plan};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Two cards in two subnets, and a bridge.
fn host() -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (index, name, local) in
        [(2, "ens5", "10.0.0.5"), (3, "ens6", "10.0.1.5"), (4, "docker0", "172.17.0.1")]
    {
        snapshot.insert_link(Link {
            index,
            name: name.to_owned(),
            kind: (index == 4).then(|| "bridge".to_owned()),
            arphrd: 1,
            flags: 0x1_1043,
            master: None,
            group: 0,
            address: None,
            permanent_address: None,
            carrier_changes: 2,
            mtu: 1500,
        });
        let (local, prefix_len) = (address(local), 24);
        let of = Address { link: index, local, prefix_len, peer: None, scope: 0, flags: 0 };
        snapshot.insert_address(of);
        let on_link = Route::new(254, crate::Prefix::new(local, prefix_len));
        snapshot.insert_route(Route { hops: vec![Hop::dev(index)], protocol: 2, ..on_link });
    }
    for (gateway, link, metric) in [("10.0.0.1", 2, 0), ("10.0.1.1", 3, 3)] {
        let hops = vec![Hop::via(address(gateway), link)];
        let route = Route { hops, metric, protocol: 16, ..Route::new(254, Family::V4.all()) };
        snapshot.insert_route(route);
    }
    let refusal = Route::new(10_003, Family::V4.all());
    snapshot.insert_route(Route { kind: RouteKind::Unreachable, ..refusal });
    snapshot.insert_rule(Rule::new(Family::V4, 10_003, Action::Lookup(10_003)));
    snapshot.insert_rule(Rule::new(Family::V4, 32_766, Action::Lookup(254)));
    snapshot
}

fn sent<'a>(snapshot: &'a Snapshot, link: u32, gateway: Option<&str>) -> Outcome<'a> {
    let rule = snapshot.rules().find(|r| r.priority == 32_766);
    let (kind, gateway) = (RouteKind::Unicast, gateway.map(address));
    Outcome::Sent(Path { rule, route: None, kind, link, gateway, source: None })
}

fn scene<'a>(
    snapshot: &'a Snapshot,
    from: &str,
    to: &str,
    outcomes: Vec<Outcome<'a>>,
    doubts: Vec<Doubt<'a>>,
) -> Scene {
    let plan = plan::make(snapshot, &Config::default(), &Memory::default());
    let answer = Answer { outcomes, doubts };
    let trace = Trace { answer, ..Trace::default() };
    traced(snapshot, &Config::default(), &plan, address(from), address(to), &trace)
}

/// `client > gateway 10.0.1.1 > 10.0.1.0/24 > ens6`.
fn words(scene: &Scene, way: &[Place]) -> String {
    let words: Vec<String> = way
        .iter()
        .map(|place| match *place {
            Place::Client => "client".to_owned(),
            Place::World => "world".to_owned(),
            Place::Gateway(at) => match scene.gateways[at].address {
                Some(address) => address.to_string(),
                None => "no gateway".to_owned(),
            },
            Place::Network(at) => scene.networks[at].prefixes[0].to_string(),
            Place::Card(at) => scene.cards[at].name.clone(),
            Place::Table(at) => format!("table {}", scene.tables[at].name),
        })
        .collect();
    words.join(" > ")
}

fn check(
    from: &str,
    to: &str,
    outcome: Outcome<'_>,
    snapshot: &Snapshot,
    expected: [&str; 2],
) -> Verdict {
    let scene = scene(snapshot, from, to, vec![outcome], Vec::new());
    let request = scene.request.as_ref().unwrap();
    let reply = &request.replies[0];
    assert_eq!([words(&scene, &request.way), words(&scene, &reply.way)], expected);
    reply.verdict.clone()
}

#[test]
fn a_reply_by_another_card_is_wrong_and_one_by_its_own_is_right() {
    let snapshot = host();
    let way_in = "client > 10.0.1.1 > 10.0.1.0/24 > ens6";
    let wrong = sent(&snapshot, 2, Some("10.0.0.1"));
    let out = "ens6 > table main > ens5 > 10.0.0.0/24 > 10.0.0.1 > client";
    let verdict = check("198.51.100.7", "10.0.1.5", wrong, &snapshot, [way_in, out]);
    assert_eq!(verdict, Verdict::Wrong);
    let right = sent(&snapshot, 3, Some("10.0.1.1"));
    let out = "ens6 > table main > ens6 > 10.0.1.0/24 > 10.0.1.1 > client";
    let verdict = check("198.51.100.7", "10.0.1.5", right, &snapshot, [way_in, out]);
    assert_eq!(verdict, Verdict::Right);
}

#[test]
fn a_client_on_the_other_cards_subnet_comes_in_through_the_gateways() {
    let snapshot = host();
    let way_in = "client > 10.0.0.0/24 > 10.0.0.1 > world > 10.0.1.1 > 10.0.1.0/24 > ens6";
    let out = "ens6 > table main > ens5 > 10.0.0.0/24 > client";
    let reply = sent(&snapshot, 2, None);
    let verdict = check("10.0.0.9", "10.0.1.5", reply, &snapshot, [way_in, out]);
    assert_eq!(verdict, Verdict::Wrong);
}

#[test]
fn a_client_on_the_cards_own_subnet_needs_no_gateway() {
    let snapshot = host();
    let reply = sent(&snapshot, 3, None);
    let ways = ["client > 10.0.1.0/24 > ens6", "ens6 > table main > ens6 > 10.0.1.0/24 > client"];
    assert_eq!(check("10.0.1.9", "10.0.1.5", reply, &snapshot, ways), Verdict::Right);
}

#[test]
fn a_container_comes_in_by_its_bridge_whatever_it_asks() {
    let snapshot = host();
    let reply = sent(&snapshot, 4, None);
    let ways = [
        "client > 172.17.0.0/24 > docker0",
        "ens6 > table main > docker0 > 172.17.0.0/24 > client",
    ];
    assert_eq!(check("172.17.0.2", "10.0.1.5", reply, &snapshot, ways), Verdict::Right);
}

#[test]
fn a_way_over_a_link_without_a_gateway_is_drawn_as_that() {
    let snapshot = host();
    let reply = sent(&snapshot, 3, None);
    let way_in = "client > 10.0.1.1 > 10.0.1.0/24 > ens6";
    let out = "ens6 > table main > ens6 > 10.0.1.0/24 > no gateway > client";
    assert_eq!(check("198.51.100.7", "10.0.1.5", reply, &snapshot, [way_in, out]), Verdict::Right);
}

#[test]
fn a_refused_reply_ends_at_the_table_that_refuses_it() {
    let snapshot = host();
    let rule = snapshot.rules().find(|r| r.priority == 10_003).unwrap();
    let route = snapshot.routes_in(10_003).next().unwrap();
    let by = By::Route(rule, route);
    let refused = Outcome::Refused { error: Refusal::HostUnreachable, by };
    let scene = scene(&snapshot, "198.51.100.7", "10.0.1.5", vec![refused], Vec::new());
    let reply = &scene.request.as_ref().unwrap().replies[0];
    assert_eq!(reply.verdict, Verdict::Refused("EHOSTUNREACH".into()));
    assert_eq!(words(&scene, &reply.way), "ens6 > table 10003");
    assert_eq!(reply.route.as_deref(), Some("unreachable default"));
    let table = scene.tables.iter().find(|t| t.id == 10_003).unwrap();
    assert!(table.routes[0].decides);
}

#[test]
fn several_outcomes_are_all_drawn_and_doubts_are_kept() {
    let snapshot = host();
    let outcomes = vec![sent(&snapshot, 2, Some("10.0.0.1")), sent(&snapshot, 3, Some("10.0.1.1"))];
    let doubts = vec![Doubt::Unknown(crate::lookup::Unknown::Incomplete)];
    let scene = scene(&snapshot, "198.51.100.7", "10.0.1.5", outcomes, doubts);
    let request = scene.request.unwrap();
    let verdicts: Vec<_> = request.replies.iter().map(|r| r.verdict.clone()).collect();
    assert_eq!(verdicts, [Verdict::Wrong, Verdict::Right]);
    assert_eq!(request.doubts, [Doubtful::Unknown(crate::lookup::Unknown::Incomplete)]);
}

#[test]
fn where_a_request_to_a_bridge_comes_in_from_afar_cannot_be_told() {
    let snapshot = host();
    let outcomes = vec![sent(&snapshot, 2, Some("10.0.0.1"))];
    let scene = scene(&snapshot, "198.51.100.7", "172.17.0.1", outcomes, Vec::new());
    let request = scene.request.unwrap();
    assert_eq!((request.door, request.way.len()), (None, 0));
    assert_eq!(request.replies[0].verdict, Verdict::Unknown);
}

#[test]
fn what_the_configuration_wants_is_told_from_what_is_right() {
    use crate::verify::tests::{host, managed};
    let primary = Config::parse([("config.toml", "primary = \"ens5\"")]).unwrap();
    for (config, wanted) in [(Config::default(), Verdict::Right), (primary, Verdict::Accepted)] {
        let host = managed(host(), &config);
        let plan = plan::make(&host, &config, &Memory::default());
        let scene =
            Scene::of_request(&host, &config, &plan, address("10.0.1.13"), address("10.0.0.5"));
        let replies = scene.unwrap().request.unwrap().replies;
        let verdicts: Vec<_> = replies.into_iter().map(|r| r.verdict).collect();
        assert_eq!(verdicts, [wanted]);
    }
}
