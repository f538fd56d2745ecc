use std::collections::BTreeMap;

use multihome_core::model::{Action, Hop, Route, Rule};
use multihome_core::policy::{Entry, Policy, Purpose};
use multihome_core::prefix::{Family, Prefix};

use super::*;
use crate::testing::ip::{assert_comes_back, odd, text, two_subnets, without_groups};
use crate::testing::{address, known, names};
use crate::{Format, import};

/// The lines of the article, by file.
const ARTICLE: [(&str, &[&str]); 4] = [
    (
        "route-ens192",
        &["default via 10.225.160.1 dev ens192", "default via 10.225.160.1 dev ens192 table mgt"],
    ),
    (
        "route-ens224",
        &[
            "10.225.144.0/24 via 10.225.176.1 dev ens224",
            "default via 10.225.176.1 dev ens224 table data",
        ],
    ),
    ("rule-ens192", &["from 10.225.160.38 table mgt"]),
    ("rule-ens224", &["from 10.225.176.38 table data"]),
];

/// The article's server: main's default by one card, a network of clients by the other, and a name
/// for each table.
fn server() -> (Policy, Names) {
    let mut policy = without_groups(two_subnets());
    policy.table_names = BTreeMap::from([(1, "mgt".into()), (2, "data".into())]);
    let cards = [
        ("ens192", "10.225.160.38", "10.225.160.1", "0.0.0.0/0"),
        ("ens224", "10.225.176.38", "10.225.176.1", "10.225.144.0/24"),
    ];
    for ((part, table), (name, own, gateway, main)) in policy.parts.iter_mut().zip(1..).zip(cards) {
        part.name = name.to_owned();
        part.routes.retain(|e| e.what.family() == Family::V4);
        part.rules.retain(|e| e.what.family == Family::V4);
        for route in part.routes.iter_mut().map(|e| &mut e.what) {
            route.table = table;
            route.prefsrc = route.prefsrc.map(|_| address(own));
            route.hops.iter_mut().for_each(|h| h.gateway = h.gateway.map(|_| address(gateway)));
        }
        for rule in part.rules.iter_mut().map(|e| &mut e.what) {
            rule.from = rule.from.map(|_| Prefix::host(address(own)));
            rule.oif = rule.oif.take().map(|_| name.to_owned());
            if rule.table() != Some(254) {
                rule.action = Action::Lookup(table);
            }
        }
        let hops = vec![Hop::via(address(gateway), part.link)];
        let what = Route { hops, protocol: 3, ..Route::new(254, main.parse().unwrap()) };
        part.routes.insert(0, Entry { what, purpose: Purpose::Main });
    }
    let links = BTreeMap::from([(2, "ens192".to_owned()), (3, "ens224".to_owned())]);
    (policy, Names { links, ..Names::default() })
}

fn path(name: &str) -> String {
    format!("/etc/sysconfig/network-scripts/{name}")
}

#[test]
fn the_lines_of_the_article_begin_lines_of_ours_and_what_is_more_stands_under_its_mark() {
    let (policy, names) = server();
    let export = crate::export(Format::Ifcfg, &policy, &names, &Tree::new());
    for (name, lines) in ARTICLE {
        let text = text(&export, &path(name));
        let (article, design) = text.split_once(DESIGN).expect("a mark");
        let ours: Vec<&str> = article.lines().filter(|l| !is_comment(l)).collect();
        assert_eq!(ours.len(), lines.len(), "{text}");
        for (our, line) in ours.iter().zip(lines) {
            assert!(our.starts_with(line), "{our}: {line}");
        }
        assert!(design.lines().any(|l| !is_comment(l)), "{text}");
    }
    let names = text(&export, "/etc/iproute2/rt_tables.d/multihome-export.conf");
    let names: Vec<&str> = names.lines().filter(|l| !is_comment(l)).collect();
    assert_eq!(names, ["1\tmgt", "2\tdata"]);
}

#[test]
fn a_file_looks_so() {
    let (policy, names) = server();
    let export = crate::export(Format::Ifcfg, &policy, &names, &Tree::new());
    assert_eq!(
        text(&export, &path("route-ens192")),
        "# multihome: begin
# Written by `multihome export`: each line is what `ip -4 route add` reads.
# routes of main that were made by hand
default via 10.225.160.1 dev ens192
# the way out of this network
default via 10.225.160.1 dev ens192 table mgt src 10.225.160.38
# What follows is what multihome's design adds.
# networks on this side
10.0.0.0/24 dev ens192 table mgt scope link src 10.225.160.38
# nothing leaves by another door
unreachable default table mgt metric 4294967295
# multihome: end
"
    );
    assert_eq!(
        text(&export, &path("rule-ens192")),
        "# multihome: begin
# Written by `multihome export`: each line is what `ip -4 rule add` reads.
# Each has a priority: without one, the kernel would put it in front of the one before.
# replies go home by their own door
from 10.225.160.38 table mgt priority 10002
# What follows is what multihome's design adds.
# what is local stays local
from 10.225.160.38 to 172.17.0.0/16 table main priority 10000
# sockets bound to the device
oif ens192 table mgt priority 42770
# multihome: end
"
    );
}

#[test]
fn what_is_written_is_read_as_it_was() {
    assert_comes_back(Format::Ifcfg, &without_groups(two_subnets()), &Tree::new());
    assert_comes_back(Format::Ifcfg, &without_groups(odd()), &Tree::new());
}

#[test]
fn lines_of_others_stay_and_are_not_said_twice() {
    let (policy, names) = server();
    let others = "# mine\ndefault via 10.225.160.1 dev ens192\n".to_owned();
    let there = Tree::from([(path("route-ens192"), others.clone())]);
    let export = crate::export(Format::Ifcfg, &policy, &names, &there);
    let text = text(&export, &path("route-ens192"));
    assert!(text.starts_with(&others), "{text}");
    assert_eq!(text.matches("default via 10.225.160.1 dev ens192\n").count(), 1, "{text}");
    assert!(export.files.iter().any(|f| f.extends));
    assert!(export.undo.iter().any(|c| c.starts_with("sed -i ") && c.ends_with("route-ens192")));
}

#[test]
fn a_file_of_shell_variables_is_left_as_it_is() {
    let there = "ADDRESS0=10.9.0.0\nNETMASK0=255.255.0.0\nGATEWAY0=10.0.1.7\n".to_owned();
    let tree = Tree::from([(path("route-ens6"), there.clone())]);
    let export = crate::export(Format::Ifcfg, &without_groups(two_subnets()), &names(), &tree);
    let text = text(&export, &path("route-ens6"));
    assert!(text.starts_with(&there));
    assert!(text[there.len()..].lines().all(is_comment), "{text}");
    assert!(!export.files.iter().any(|f| f.path == path("rule-ens6")));
    let problem = import(Format::Ifcfg, &tree, &known()).unwrap_err();
    assert_eq!((problem.at.line, problem.text.as_str()), (1, "ADDRESS0=10.9.0.0"));
}

#[test]
fn names_that_need_quotes_are_left_out() {
    let mut policy = without_groups(two_subnets());
    policy.parts[0].name = "a*'$(x)".to_owned();
    let links = BTreeMap::from([(2, "a*'$(x)".to_owned()), (3, "ens6".to_owned())]);
    let names = Names { links, ..Names::default() };
    let export = crate::export(Format::Ifcfg, &policy, &names, &Tree::new());
    assert!(export.files.iter().all(|f| f.path.ends_with("-ens6")));
    assert!(export.next[0].starts_with("# "), "{:?}", export.next);
}

#[test]
fn a_gateway_is_on_the_link_of_its_file() {
    let tree = Tree::from([(path("route-ens6"), "10.9.0.0/16 via 10.0.1.7".to_owned())]);
    let statements = import(Format::Ifcfg, &tree, &known()).unwrap();
    let What::Route(route) = &statements[0].what else { panic!("a route") };
    assert_eq!(route.hops, [Hop::via(address("10.0.1.7"), 3)]);
}

#[test]
fn rules_without_a_priority_stand_in_front_of_each_other() {
    let tree = Tree::from([
        (path("rule-ens5"), "from 10.0.0.1 table 5\n".to_owned()),
        (path("rule-ens6"), "from 10.0.0.2 table 6\n".to_owned()),
        (path("rule-ens6.rpmsave"), "nonsense\n".to_owned()),
    ]);
    let statements = import(Format::Ifcfg, &tree, &known()).unwrap();
    let priorities: Vec<u32> = statements
        .iter()
        .filter_map(|s| match &s.what {
            What::Rule(Rule { priority, .. }) => Some(*priority),
            _ => None,
        })
        .collect();
    assert_eq!(priorities, [32_765, 32_764]);
}

#[test]
fn a_line_that_is_not_understood_stops_the_reading() {
    for (name, lines, line, why) in [
        ("route-ens6", "\n# c\ndefault via 10.0.1.1 frob\n", 3, "`frob` is not understood"),
        ("route-ens9", "default via 10.0.1.1", 1, "no interface `ens9`"),
        ("rule-ens6", "from 10.0.1.1 table $X", 1, "no table is called `$X`"),
        ("rule-ens6", "from 10.0.1.* table 5", 1, "`*` is the shell's"),
        ("ifcfg-ens6", "DEVICE=ens6", 1, "route-IF and rule-IF"),
        (
            "route-ens6",
            "default via 10.0.1.1 table 5\ndefault via 10.0.1.2 table 5\n",
            2,
            "route-ens6:1 says something else",
        ),
    ] {
        let tree = Tree::from([(path(name), lines.to_owned())]);
        let problem = import(Format::Ifcfg, &tree, &known()).unwrap_err();
        assert_eq!(problem.at.line, line, "{problem}");
        assert!(problem.why.contains(why), "{problem}");
    }
}
