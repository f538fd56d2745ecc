use multihome_core::policy::Policy;

use crate::testing::yaml::{LINK, NAME, files, found, objects, odd_rules, over, policy};
use crate::testing::{address, known, names};
use crate::{Format, Problem, Statement, Tree};

use multihome_core::model::route::RTPROT_STATIC;

const FILE: &str = "/etc/NetworkManager/system-connections/ens6.nmconnection";
const OWN: &str = "/etc/NetworkManager/system-connections/multihome-ens6.nmconnection";
const PROFILE: &str = "[connection]\nid=cards\nuuid=1-2\ntype=ethernet\ninterface-name=ens6\n\n\
    [ipv4]\nmethod=auto\nroute1=192.0.2.0/24,10.0.1.7\n\n[ipv6]\nmethod=auto\n\n[proxy]\n";

fn tree(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn import(there: &Tree) -> Result<Vec<Statement>, Problem> {
    crate::import(Format::Networkmanager, there, &known())
}

fn export(policy: &Policy, there: &Tree) -> Tree {
    files(Format::Networkmanager, policy, there)
}

#[test]
fn a_policy_comes_back_as_it_went() {
    let mut policy = policy(Format::Networkmanager);
    policy.parts[0].rules.extend(odd_rules(&Format::Networkmanager.words()));
    let profile = PROFILE.replace("route1=192.0.2.0/24,10.0.1.7\n", "");
    let written = export(&policy, &tree(&[(FILE, &profile)]));
    assert_eq!(written.keys().collect::<Vec<_>>(), [FILE]);
    assert_eq!(found(&import(&written).unwrap()), objects(&policy, RTPROT_STATIC));
}

#[test]
fn what_is_there_stays_and_numbers_go_on() {
    let text = export(&policy(Format::Networkmanager), &tree(&[(FILE, PROFILE)]))[FILE].clone();
    assert!(text.contains("\nroute1=192.0.2.0/24,10.0.1.7\n# multihome: begin\n"), "{text}");
    let expected = "# replies go home by their own door\n\
        routing-rule2=priority 10003 from 10.0.1.204/32 table 10003\n";
    assert!(text.contains(expected), "{text}");
    let expected = "route2=10.0.1.0/24,0.0.0.0,0\nroute2_options=src=10.0.1.204,table=10003\n";
    assert!(text.contains(expected), "{text}");
    let expected = "=0.0.0.0/0,0.0.0.0,4294967295\nroute5_options=table=10003,type=unreachable\n";
    assert!(text.contains(expected), "{text}");
    assert!(
        text.contains("# multihome: end\n\n[ipv6]\nmethod=auto\n# multihome: begin\n"),
        "{text}"
    );
    assert!(text.ends_with("# multihome: end\n\n[proxy]\n"), "{text}");
}

#[test]
fn a_second_export_changes_nothing() {
    let policy = policy(Format::Networkmanager);
    for there in [tree(&[(FILE, PROFILE)]), Tree::new()] {
        let first = export(&policy, &there);
        assert_eq!(export(&policy, &over(&there, &first)), first);
        // NetworkManager has written it itself, without comments.
        let bare = |text: &String| -> String {
            text.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{l}\n")).collect()
        };
        let rewritten: Tree = first.iter().map(|(p, t)| (p.clone(), bare(t))).collect();
        assert_eq!(export(&policy, &over(&there, &rewritten)), first);
    }
}

#[test]
fn the_profile_in_use_is_extended_and_no_other() {
    let other = "/etc/NetworkManager/system-connections/other.nmconnection";
    let there = tree(&[
        (FILE, PROFILE),
        (other, "[connection]\nid=other\nuuid=3-4\ntype=ethernet\n[ipv4]\nmethod=auto\n"),
        ("/run/NetworkManager/devices/3", "[device]\nmanaged=true\nconnection-uuid=3-4\n"),
    ]);
    let written = export(&policy(Format::Networkmanager), &there);
    assert_eq!(written.keys().collect::<Vec<_>>(), [other]);
    assert!(written[other].contains("\n[ipv6]\nmethod=auto\n# multihome: begin\n"));
}

#[test]
fn a_link_without_a_profile_gets_one() {
    let written = export(&policy(Format::Networkmanager), &Tree::new());
    let text = &written[OWN];
    assert!(text.contains("id=multihome-ens6\ntype=ethernet\ninterface-name=ens6\n"), "{text}");
    let expected = "[ipv4]\nmethod=manual\naddress1=10.0.1.204/24\ngateway=10.0.1.1\n";
    assert!(text.contains(expected), "{text}");
    let (routes, _) = found(&import(&written).unwrap());
    let main = routes.iter().find(|r| r.table == 254 && r.dst.is_default()).unwrap();
    assert_eq!((main.hops[0].gateway, main.metric), (Some(address("10.0.1.1")), 100));
}

#[test]
fn what_is_written_can_be_taken_out_again() {
    let policy = policy(Format::Networkmanager);
    let there = tree(&[(FILE, PROFILE)]);
    let export = crate::export(Format::Networkmanager, &policy, &names(), &there);
    assert_eq!(export.files[0].mode, 0o600);
    assert!(export.files[0].extends);
    let expected = "nmcli connection modify uuid 1-2 -ipv4.routing-rules 'priority 10000 ";
    assert!(export.undo[0].starts_with(expected), "{:?}", export.undo);
    assert!(export.undo[0].contains(" -ipv4.routes '10.0.1.0/24 0.0.0.0 0 src=10.0.1.204 table="));
}

#[test]
fn names_that_parsers_take_for_more_are_left_out() {
    let mut policy = policy(Format::Networkmanager);
    policy.parts[0].name = "a b\n[ipv4]".into();
    let export = crate::export(Format::Networkmanager, &policy, &names(), &Tree::new());
    assert_eq!(export.files, []);
    assert!(export.next.iter().all(|l| l.starts_with('#') && !l.contains('\n')));
}

#[test]
fn routes_have_several_forms() {
    let lines = "route1=192.0.2.0/24\nroute2=192.0.3.0/24,10.0.1.7,5\nroutes3=192.0.4.0/24;10.0.1.7\n\
        route4=192.0.5.0/24,7\nroute-metric=9\nroute-table=77\nrouting-rule1=pref 5 lookup 77\n";
    let text = format!("[connection]\ntype=ethernet\ninterface-name={NAME}\n[ipv4]\n{lines}");
    let (routes, rules) = found(&import(&tree(&[(FILE, &text)])).unwrap());
    let all: Vec<_> = routes.iter().map(|r| (r.table, r.metric, r.hops[0].gateway)).collect();
    let gateway = Some(address("10.0.1.7"));
    assert_eq!(all, [(77, 9, None), (77, 5, gateway), (77, 9, gateway), (77, 7, None)]);
    assert!(routes.iter().all(|r| r.hops[0].link == LINK));
    assert_eq!(rules[0].table(), Some(77));
}

#[test]
fn lines_that_are_not_understood_stop_the_import() {
    for line in [
        "route1=10.0.0.0",
        "route1=10.0.0.0/8,x",
        "route1=10.0.0.0/8,fe80::1",
        "route1=2001:db8::/64",
        "route1=10.0.0.0/8,10.0.1.1,5,6",
        "route1_options=table=5",
        "routing-rule1=from 10.0.0.1 table 5",
        "routing-rule1=priority 5 from 10.0.0.1",
        "routing-rule1=priority 5 colour blue table 5",
        "routing-rule1=priority 5 table",
        "route-table=blue",
        "colour=blue",
    ] {
        let text = format!("[connection]\ninterface-name={NAME}\n[ipv4]\n{line}\n");
        let problem = import(&tree(&[(FILE, &text)])).unwrap_err();
        assert_eq!((problem.at.line, problem.text.as_str()), (4, line), "{problem}");
    }
    let twice = format!(
        "[connection]\ninterface-name={NAME}\n[ipv4]\nroute1=1.0.0.0/8\nroute1=2.0.0.0/8\n"
    );
    assert_eq!(import(&tree(&[(FILE, &twice)])).unwrap_err().at.line, 5);
    let absent = "[connection]\ninterface-name=eth9\n[ipv4]\nroute1=1.0.0.0/8\n";
    assert_eq!(import(&tree(&[(FILE, absent)])).unwrap_err().at.line, 4);
}
