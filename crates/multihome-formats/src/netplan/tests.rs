use multihome_core::policy::{Policy, Word};

use crate::testing::yaml::{LINK, files, found, objects, odd_rules, over, part, policy};
use crate::testing::{address, known, names};
use crate::{Format, Problem, Statement, Tree};

const FILE: &str = "/etc/netplan/50-cloud-init.yaml";
const OWN: &str = "/etc/netplan/90-multihome.yaml";
const CARDS: &str = "network:\n  version: 2\n  ethernets:\n    second:\n      match:\n        \
    macaddress: '02:00:00:00:00:03'\n      set-name: ens6\n      dhcp4: true\n";

fn tree(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn import(there: &Tree) -> Result<Vec<Statement>, Problem> {
    crate::import(Format::Netplan, there, &known())
}

#[test]
fn a_policy_comes_back_as_it_went() {
    let mut policy = policy(Format::Netplan);
    policy.parts[0].rules.extend(odd_rules(&Format::Netplan.words()));
    let there = tree(&[(FILE, CARDS)]);
    let written = files(Format::Netplan, &policy, &there);
    assert_eq!(found(&import(&over(&there, &written)).unwrap()), objects(&policy, 4));
}

#[test]
fn networkd_gets_routes_that_refuse_and_networkmanager_does_not() {
    let there = tree(&[(FILE, CARDS)]);
    let words = Format::Netplan.words_beside(&there);
    assert!(words.contains(&Word::RefusingRoute));
    let policy = Policy { parts: vec![part(&words)], ..Policy::default() };
    let text = files(Format::Netplan, &policy, &there)[OWN].clone();
    let expected = "        - to: 0.0.0.0/0\n          type: unreachable\n          \
        metric: 2147483647\n          table: 10003\n";
    assert!(text.contains(expected), "{text}");
    let other = CARDS.replace("version: 2", "renderer: NetworkManager");
    for there in [tree(&[(FILE, &other)]), Tree::new()] {
        assert_eq!(Format::Netplan.words_beside(&there), Format::Netplan.words());
    }
}

#[test]
fn what_is_written_stands_under_the_id_that_is_there() {
    let written = files(Format::Netplan, &policy(Format::Netplan), &tree(&[(FILE, CARDS)]));
    let text = &written[OWN];
    let expected = "\nnetwork:\n  version: 2\n  ethernets:\n    second:\n      routing-policy:\n        \
        # what is local stays local\n        - priority: 10000\n          from: 10.0.1.204\n          \
        to: 172.17.0.0/16\n          table: 254\n";
    assert!(text.contains(expected), "{text}");
    let expected = "        - to: \"::/0\"\n          via: \"fe80::1\"\n          on-link: true\n          \
        mtu: 1400\n          table: 10003\n";
    assert!(text.contains(expected), "{text}");
    assert!(!text.contains("addresses:"), "{text}");
}

#[test]
fn a_link_that_nobody_has_defined_gets_its_addresses() {
    let written = files(Format::Netplan, &policy(Format::Netplan), &Tree::new());
    let text = &written[OWN];
    let expected = "    ens6:\n      accept-ra: false\n      addresses:\n        - 10.0.1.204/24\n        \
        - \"2001:db8:b::204/64\"\n";
    assert!(text.contains(expected), "{text}");
    let (routes, _) = found(&import(&written).unwrap());
    let main: Vec<_> = routes.iter().filter(|r| r.table == 254).collect();
    assert_eq!(main[0].hops[0].gateway, Some(address("10.0.1.1")));
}

#[test]
fn a_second_export_changes_nothing() {
    let policy = policy(Format::Netplan);
    for there in [tree(&[(FILE, CARDS)]), Tree::new()] {
        let first = files(Format::Netplan, &policy, &there);
        assert_eq!(files(Format::Netplan, &policy, &over(&there, &first)), first);
    }
}

#[test]
fn a_definition_of_several_links_is_not_extended() {
    let all = "network:\n  ethernets:\n    all:\n      match: {name: 'en*'}\n      dhcp4: true\n";
    let written = files(Format::Netplan, &policy(Format::Netplan), &tree(&[(FILE, all)]));
    let text = &written[OWN];
    assert!(text.contains("# ens6 is left out: \"all\" is for other links"), "{text}");
    assert!(!text.contains("routes:"), "{text}");
}

#[test]
fn who_has_networkmanager_is_told_of_old_versions() {
    let there = tree(&[(FILE, &CARDS.replace("version: 2", "renderer: NetworkManager"))]);
    let text = files(Format::Netplan, &policy(Format::Netplan), &there)[OWN].clone();
    assert!(text.contains("# Before 1.1"), "{text}");
}

#[test]
fn the_file_is_for_root_alone() {
    let export = crate::export(Format::Netplan, &policy(Format::Netplan), &names(), &Tree::new());
    assert_eq!(export.files[0].mode, 0o600);
    assert_eq!(export.undo, [format!("rm {OWN}"), "netplan apply".to_owned()]);
}

#[test]
fn networkd_configures_each_card_once() {
    let commands = |cards: &str| {
        let there = tree(&[(FILE, cards)]);
        let export = crate::export(Format::Netplan, &policy(Format::Netplan), &names(), &there);
        (export.next.join("; "), export.undo.join("; "))
    };
    let (next, undo) = commands(CARDS);
    assert_eq!(next, "netplan generate; networkctl reload");
    assert_eq!(undo, format!("rm {OWN}; netplan generate; networkctl reload"));
    let (next, undo) = commands(&CARDS.replace("version: 2", "renderer: NetworkManager"));
    assert_eq!(next, "netplan apply");
    assert_eq!(undo, format!("rm {OWN}; netplan apply"));
}

#[test]
fn names_that_parsers_take_for_more_are_left_out() {
    let mut policy = policy(Format::Netplan);
    policy.parts[0].name = "a\nb: *".into();
    let text = files(Format::Netplan, &policy, &Tree::new())[OWN].clone();
    assert!(text.ends_with("network:\n  version: 2\n"), "{text}");
}

#[test]
fn lists_of_several_files_add_up_and_one_name_counts_once() {
    let routes = |to: &str| {
        format!(
            "network:\n  ethernets:\n    ens6:\n      routes:\n        - {{to: {to}, via: 10.0.1.1}}\n"
        )
    };
    let there = tree(&[
        ("/etc/netplan/1.yaml", &routes("default")),
        ("/run/netplan/1.yaml", &routes("10.1.0.0/16")),
        ("/run/netplan/2.yaml", &routes("10.2.0.0/16")),
    ]);
    let (routes, _) = found(&import(&there).unwrap());
    let all: Vec<_> = routes.iter().map(|r| (r.dst.to_string(), r.hops[0].link)).collect();
    assert_eq!(all, [("0.0.0.0/0".to_owned(), LINK), ("10.2.0.0/16".to_owned(), LINK)]);
}

#[test]
fn lines_that_are_not_understood_stop_the_import() {
    let head = "network:\n  ethernets:\n    ens6:\n";
    for (line, lines) in [
        (4, "      colour: blue\n"),
        (4, "      routes: blue\n"),
        (5, "      routes:\n        - {to: default}\n"),
        (6, "      routes:\n        - to: default\n          via: x\n"),
        (6, "      routes:\n        - to: 10.0.0.0/8\n          colour: blue\n"),
        (5, "      routes:\n        - {to: 10.0.0.0/8, via: 'fe80::1'}\n"),
        (5, "      routing-policy:\n        - {from: 10.0.0.1, table: 5}\n"),
        (5, "      routing-policy:\n        - {priority: 5, table: 5}\n"),
        (5, "      routing-policy:\n        - {priority: 5, table: main, from: 10.0.0.1}\n"),
    ] {
        let problem = import(&tree(&[(FILE, &format!("{head}{lines}"))])).unwrap_err();
        assert_eq!(problem.at.line, line, "{lines}: {problem}");
    }
    let absent =
        "network:\n  ethernets:\n    eth9:\n      routes: [{to: default, via: 10.0.0.1}]\n";
    assert_eq!(import(&tree(&[(FILE, absent)])).unwrap_err().at.line, 4);
}
