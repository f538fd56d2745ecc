use std::collections::BTreeMap;

use multihome_core::model::Action;
use multihome_core::model::route::RTPROT_STATIC;
use multihome_core::prefix::Family;

use crate::testing::yaml::{LINK, files, found, objects, odd_rules, over, policy};
use crate::testing::{address, known, names, prefix, rule};
use crate::{Export, Format, Known, Problem, Statement, Tree, What};

const FILE: &str = "/etc/systemd/network/10-ens6.network";
const DROP_IN: &str = "/etc/systemd/network/10-ens6.network.d/50-multihome.conf";
const STATE: &str = "/run/systemd/netif/links/3";

fn tree(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn import(there: &Tree) -> Result<Vec<Statement>, Problem> {
    crate::import(Format::Networkd, there, &known())
}

fn export(policy: &multihome_core::policy::Policy, there: &Tree) -> Export {
    crate::export(Format::Networkd, policy, &names(), there)
}

/// One card with a file of its own.
fn own_file() -> Tree {
    tree(&[(FILE, "[Match]\nName=ens6\n[Network]\nAddress=10.0.1.204/24\n")])
}

#[test]
fn a_policy_comes_back_as_it_went() {
    let mut policy = policy(Format::Networkd);
    policy.parts[0].rules.extend(odd_rules(&Format::Networkd.words()));
    let there = own_file();
    let written = files(Format::Networkd, &policy, &there);
    assert_eq!(written.keys().collect::<Vec<_>>(), [DROP_IN]);
    let statements = import(&over(&there, &written)).unwrap();
    assert_eq!(found(&statements), objects(&policy, RTPROT_STATIC));
    assert!(statements.iter().any(|s| s.what == What::Group(LINK, 10_000)));
}

#[test]
fn what_is_written_has_a_purpose_above_it() {
    let text = files(Format::Networkd, &policy(Format::Networkd), &own_file())[DROP_IN].clone();
    let expected = "\n# replies go home by their own door\n[RoutingPolicyRule]\nPriority=10003\n\
        From=10.0.1.204\nTable=10003\n";
    assert!(text.contains(expected), "{text}");
    let expected = "[RoutingPolicyRule]\nPriority=42771\nFamily=ipv4\nOutgoingInterface=ens6\n\
        Table=10003\n";
    assert!(text.contains(expected), "{text}");
    let expected = "[Route]\nDestination=0.0.0.0/0\nType=unreachable\nMetric=4294967295\n\
        Table=10003\n";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_second_export_changes_nothing() {
    let all = "[Match]\nName=ens*\n[Network]\nDHCP=yes\n";
    for there in [own_file(), Tree::new(), tree(&[("/etc/systemd/network/20-a.network", all)])] {
        let policy = policy(Format::Networkd);
        let first = files(Format::Networkd, &policy, &there);
        let mut there = over(&there, &first);
        let own = first.keys().find(|p| p.ends_with(".network"));
        there.extend(own.map(|own| (STATE.to_owned(), format!("NETWORK_FILE={own}\n"))));
        assert_eq!(files(Format::Networkd, &policy, &there), first);
    }
}

#[test]
fn the_file_in_use_is_extended_and_no_other() {
    let mut there = own_file();
    let other = "/run/systemd/network/10-netplan-ens6.network";
    there.insert(other.into(), "[Match]\nName=ens6\n".into());
    there.insert(STATE.into(), format!("ADMIN_STATE=configured\nNETWORK_FILE={other}\n"));
    let written = files(Format::Networkd, &policy(Format::Networkd), &there);
    let paths: Vec<_> = written.keys().collect();
    assert_eq!(paths, ["/etc/systemd/network/10-netplan-ens6.network.d/50-multihome.conf"]);
}

#[test]
fn a_link_without_a_file_gets_a_whole_one() {
    let policy = policy(Format::Networkd);
    let written = files(Format::Networkd, &policy, &Tree::new());
    let (path, text) = written.first_key_value().unwrap();
    assert_eq!(path, "/etc/systemd/network/50-multihome-3.network");
    assert!(text.contains("[Match]\nName=ens6\n"), "{text}");
    assert!(text.contains("Address=10.0.1.204/24\n"), "{text}");
    assert!(text.contains("Gateway=10.0.1.1\n"), "{text}");
    let (routes, _) = found(&import(&written).unwrap());
    assert!(
        routes.iter().any(|r| r.table == 254 && r.hops[0].gateway == Some(address("10.0.1.1")))
    );
}

#[test]
fn links_with_one_file_get_one_each() {
    let path = "/etc/systemd/network/20-all.network";
    let there =
        tree(&[(path, "[Match]\nName=en*\n[Network]\nDHCP=yes\n[DHCPv4]\nRouteMetric=5\n")]);
    let written = files(Format::Networkd, &policy(Format::Networkd), &there);
    let (own, text) = written.first_key_value().unwrap();
    assert_eq!(own, "/etc/systemd/network/0-multihome-3.network");
    assert!(text.contains("[Match]\nName=ens6\n"), "{text}");
    assert!(text.contains("[Network]\nDHCP=yes\n\n[DHCPv4]\nRouteMetric=5\n"), "{text}");
}

#[test]
fn leases_fill_in_their_gateways() {
    let mut policy = policy(Format::Networkd);
    policy.parts[0].leased.extend(Family::BOTH);
    let there = tree(&[(FILE, "[Match]\nName=ens6\n[Network]\nDHCP=yes\n")]);
    let text = files(Format::Networkd, &policy, &there)[DROP_IN].clone();
    assert!(text.contains("Gateway=_dhcp4\n") && text.contains("Gateway=fe80::1\n"), "{text}");
    assert!(!text.contains("PreferredSource"), "{text}");
    // A section of that kind is ignored where nobody asks for leases.
    let there = tree(&[(FILE, "[Match]\nName=ens6\n[Network]\nIPv6AcceptRA=no\n")]);
    let text = files(Format::Networkd, &policy, &there)[DROP_IN].clone();
    assert!(text.contains("Gateway=10.0.1.1\n") && text.contains("Gateway=fe80::1\n"), "{text}");
}

#[test]
fn the_gateway_of_a_lease_is_the_one_that_the_host_has() {
    let lines = "[Match]\nName=ens6\n[Route]\nGateway=_dhcp4\nTable=7\n";
    let there = tree(&[(FILE, lines)]);
    let without = Known { gateways: BTreeMap::new(), ..known() };
    assert_eq!(crate::import(Format::Networkd, &there, &without).unwrap_err().at.line, 4);
    let (routes, _) = found(&import(&there).unwrap());
    assert_eq!(routes[0].hops[0].gateway, Some(address("10.0.1.1")));
    assert_eq!((routes[0].table, routes[0].dst), (7, prefix("0.0.0.0/0")));
}

#[test]
fn names_that_parsers_take_for_more_are_left_out() {
    for name in ["a b", "en*", "x\\", "$(x)", "a\n[Route]"] {
        let mut policy = policy(Format::Networkd);
        policy.parts[0].name = name.into();
        let export = export(&policy, &Tree::new());
        let text = &export.files[0].text;
        assert!(text.lines().all(|l| l.starts_with('#')), "{text}");
        assert!(!export.undo.join("\n").contains(name));
    }
}

#[test]
fn the_strongest_directory_and_an_empty_file_hide_others() {
    let there = tree(&[
        (
            "/usr/lib/systemd/network/10-a.network",
            "[Match]\nName=ens6\n[Route]\nGateway=10.0.1.1\n",
        ),
        ("/etc/systemd/network/10-a.network", ""),
        ("/run/systemd/network/10-b.network", "[Match]\nName=ens6\n[Route]\nGateway=10.0.1.2\n"),
        (
            "/usr/lib/systemd/network/10-b.network",
            "[Match]\nName=ens6\n[Route]\nGateway=10.0.1.3\n",
        ),
    ]);
    let (routes, _) = found(&import(&there).unwrap());
    assert_eq!(routes.len(), 1);
    assert_eq!(routes[0].hops[0].gateway, Some(address("10.0.1.2")));
}

#[test]
fn tables_have_the_names_that_networkd_gives_them() {
    let there = tree(&[
        ("/etc/systemd/networkd.conf", "[Network]\nRouteTable=blue:77 red:78\n"),
        (
            FILE,
            "[Match]\nName=ens6\n[RoutingPolicyRule]\nTable=blue\nFrom=10.0.1.204\nPriority=5\n",
        ),
    ]);
    let statements = import(&there).unwrap();
    let mut expected = rule(Family::V4, 5, Action::Lookup(77));
    expected.from = Some(prefix("10.0.1.204"));
    expected.protocol = RTPROT_STATIC;
    assert_eq!(found(&statements).1, [expected]);
    assert!(statements.iter().any(|s| s.what == What::TableName(78, "red".into())));
}

#[test]
fn lines_that_are_not_understood_stop_the_import() {
    for (line, lines) in [
        (3, "[Rout]\nGateway=10.0.1.1\n"),
        (4, "[Route]\nNextHop=3\n"),
        (4, "[Route]\nGateway=10.0.1\n"),
        (4, "[Network]\nGatway=10.0.1.1\n"),
        (5, "[Route]\nTable=5\nGateway=\n"),
        (5, "[Route]\nGateway=10.0.1.1\nTable=blue\n"),
        (5, "[Route]\nGateway=10.0.1.1\nMetric=-2\n"),
        (3, "[RoutingPolicyRule]\nFrom=10.0.1.204\nTable=5\n"),
        (3, "[RoutingPolicyRule]\nFrom=10.0.1.204\nTo=::1\nPriority=5\nTable=5\n"),
    ] {
        let there = tree(&[(FILE, &format!("[Match]\nName=ens6\n{lines}"))]);
        assert_eq!(import(&there).unwrap_err().at.line, line, "{lines}");
    }
    let there = tree(&[(FILE, "[Match]\nDriver=virtio_net\n[Route]\nGateway=10.0.1.1\n")]);
    assert_eq!(import(&there).unwrap_err().at.line, 2);
    let there = tree(&[("/etc/systemd/network/10-.network.d/a.conf", "")]);
    assert!(import(&there).is_err());
}

#[test]
fn what_is_about_other_things_is_passed_over() {
    let there = tree(&[(
        FILE,
        "[Match]\nName=ens6\n[Link]\nMTUBytes=1400\n[Network]\nDHCP=yes\nDNS=1.1.1.1\n\
         [Address]\nAddress=10.0.1.204/24\n[DHCPv4]\nRouteMetric=100\n[QDisc]\nParent=root\n",
    )]);
    assert_eq!(import(&there).unwrap(), []);
}
