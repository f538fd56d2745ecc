//! What recipes of the kind that everybody has come to as configuration.
//!
//! Each is a script of `ip` commands on a host with two cards, eth0 10.0.0.5 and eth1 10.0.1.5, and
//! docker0 172.17.0.1/16; then the configuration, and what it leaves out.

use multihome_core::import::{self, Left};
use multihome_core::{Config, Snapshot};
use multihome_formats::{Format, Known, Tree, declared_by};

const HOST: &str = include_str!("../../../docs/examples/layout-none.json");
const SECOND: &str = "ip route add default via 10.0.1.1 dev eth1 table 102\n\
                      ip rule add from 10.0.1.5 table 102 prio 102\n";
const TABLE: &str = "[interface.eth1]\ntable = 102\n";

#[track_caller]
fn read(more: &str) -> (String, Vec<String>) {
    let snapshot: Snapshot = serde_json::from_str(HOST).unwrap();
    let tree = Tree::from([("/x.sh".to_owned(), format!("{SECOND}{more}\n"))]);
    let statements =
        multihome_formats::import(Format::Iproute2, &tree, &Known::of(&snapshot)).unwrap();
    let imported = import::of(&snapshot, &declared_by(&statements));
    let config = imported.config.to_toml();
    assert!(Config::parse([("config.toml", config.as_str())]).is_ok(), "{config}");
    let names = snapshot.names();
    let left = imported.left.iter().map(|left| match left {
        Left::Stale(rule) => format!("stale {}", rule.display(&names)),
        Left::Rule(rule) => rule.display(&names),
        Left::Route(route) => route.display(&names),
        Left::Table(table) => format!("table {table}"),
    });
    (config, left.collect())
}

#[test]
fn the_second_cards_recipe_needs_its_table_and_no_more() {
    assert_eq!(read(""), (TABLE.to_owned(), Vec::new()));
}

#[test]
fn what_containers_send_is_not_the_hosts_own_and_is_named() {
    for from in ["172.17.0.0/16", "172.17.0.9", "192.168.44.0/24"] {
        let (config, left) = read(&format!("ip rule add from {from} table 102 prio 103"));
        assert_eq!(config, TABLE, "{from}");
        assert_eq!(left, [format!("103: from {from} lookup 102")]);
    }
}

#[test]
fn a_destination_beside_a_source_is_named() {
    let (config, left) = read("ip rule add from 10.0.0.5 to 8.8.8.8 table 102 prio 90");
    assert_eq!((config.as_str(), left.len()), (TABLE, 1), "{left:?}");
}

#[test]
fn an_address_that_nobody_has_is_stale() {
    let (config, left) = read("ip rule add from 10.9.9.9 table 102 prio 103");
    assert_eq!(config, TABLE);
    assert_eq!(left, ["stale 103: from 10.9.9.9 lookup 102"]);
}

#[test]
fn a_rule_to_an_own_address_steers_nothing() {
    let (config, left) = read("ip rule add to 10.0.1.5 table 102 prio 103");
    assert_eq!(config, TABLE);
    assert_eq!(left, ["103: from all to 10.0.1.5 lookup 102"]);
}

#[test]
fn what_chooses_by_other_things_than_a_source_is_steering() {
    let (config, left) = read(
        "ip rule add to 10.9.0.0/16 ipproto tcp dport 2049 table 102 prio 80\n\
         ip rule add to 10.8.0.0/16 ipproto tcp dport 2049 table 102 prio 81\n\
         ip rule add uidrange 33-33 table 102 prio 82",
    );
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(
        config,
        format!(
            "[[steer]]\nuplink = \"eth1\"\nto = [\"10.9.0.0/16\", \"10.8.0.0/16\"]\n\
             protocol = \"tcp\"\nport = 2049\n\n[[steer]]\nuplink = \"eth1\"\nuid = 33\n\n{TABLE}"
        )
    );
}

#[test]
fn a_route_of_the_table_alone_is_named() {
    let (_, left) = read("ip route add 10.77.0.0/16 via 10.0.1.7 dev eth1 table 102");
    assert_eq!(left, ["10.77.0.0/16 via 10.0.1.7 dev eth1 table 102"]);
}
