use multihome_core::model::ReturnPath;

use super::*;
use crate::testing::ip::{assert_comes_back, odd, text, two_subnets};
use crate::testing::{address, known, names};
use crate::{Format, What};

const STATIC: &str = "source /etc/network/interfaces.d/*

auto ens5 ens6
iface ens5 inet static
    address 10.0.0.129/24
    gateway 10.0.0.1
iface ens5 inet6 static
    address 2001:db8:a::129/64

iface ens6 inet static
    address 10.0.1.204/24
    # a comment
    gateway 10.0.1.1
    up echo \\
        hello
# the end
iface ens6 inet6 manual";

fn there(interfaces: &str) -> Tree {
    Tree::from([(INTERFACES.to_owned(), interfaces.to_owned())])
}

#[test]
fn what_is_written_is_read_as_it_was() {
    for there in [Tree::new(), there(STATIC), there("auto lo\niface lo inet loopback\n")] {
        assert_comes_back(Format::Ifupdown, &two_subnets(), &there);
        let mut policy = odd();
        let marks = [(0x10000, [address("10.0.1.204")].into())].into();
        policy.return_path = Some(ReturnPath { mask: 0xff0000, marks });
        assert_comes_back(Format::Ifupdown, &policy, &there);
    }
}

#[test]
fn stanzas_get_the_commands_of_their_family_and_keep_their_lines() {
    let export = assert_comes_back(Format::Ifupdown, &two_subnets(), &there(STATIC));
    assert_eq!(export.files.len(), 1);
    assert!(export.files[0].extends);
    let text = text(&export, INTERFACES);
    assert_eq!(bracket::without(text), format!("{STATIC}\n"));
    let stanzas = stanza::of(text);
    assert_eq!(stanzas.len(), 4);
    for stanza in &stanzas {
        let ours = stanza.options.iter().filter(|s| s.value.starts_with("ip -"));
        let flag = if stanza.family == "inet" { "ip -4 " } else { "ip -6 " };
        assert!(ours.clone().count() > 5);
        assert!(ours.into_iter().all(|s| s.value.starts_with(flag)), "{stanza:?}");
    }
    assert!(
        text.contains(
            "    up echo \\
        hello
    # multihome: begin
    # Written by `multihome export`: routes and rules of the tables by uplink.
    # Uplinks are in one link group: what leaves by it is not local.
    post-up ip link set dev ens6 group 10000
    pre-down ip link set dev ens6 group 0 || true
    # networks on this side
    post-up ip -4 route replace 10.0.1.0/24 dev ens6 table 10003 scope link src 10.0.1.204
"
        ),
        "{text}"
    );
}

#[test]
fn an_interface_that_no_file_has_gets_stanzas_of_its_own() {
    let export = assert_comes_back(Format::Ifupdown, &two_subnets(), &Tree::new());
    let text = text(&export, "/etc/network/interfaces.d/multihome-ens6");
    let heads: Vec<&str> = text.lines().filter(|l| !l.starts_with("    ")).collect();
    assert_eq!(heads, ["auto ens6", "iface ens6 inet static", "iface ens6 inet6 static"]);
    assert!(
        text.contains("    address 10.0.1.204/24\n    gateway 10.0.1.1\n    metric 101\n"),
        "{text}"
    );
    let mut policy = two_subnets();
    policy.parts[1].leased = Family::BOTH.into();
    let export = assert_comes_back(Format::Ifupdown, &policy, &Tree::new());
    let text = crate::testing::ip::text(&export, "/etc/network/interfaces.d/multihome-ens6");
    assert!(text.contains("iface ens6 inet dhcp\n") && text.contains("iface ens6 inet6 auto\n"));
}

#[test]
fn stanzas_of_our_own_stand_where_they_are_read() {
    let export = assert_comes_back(Format::Ifupdown, &two_subnets(), &there("auto lo\n"));
    let text = text(&export, INTERFACES);
    assert!(text.starts_with("auto lo\n# multihome: begin\n"), "{text}");
    assert!(text.contains("iface ens6 inet6 static\n"));
}

#[test]
fn a_command_knows_its_interface() {
    let tree = there(
        "iface ens6 inet dhcp
    hostname x
    up ip route add default via 10.0.1.1 dev $IFACE table 200
    post-up ip rule add from 10.0.1.5 table 200 priority 5 || true
    down ip rule del from 10.0.1.5 table 200
",
    );
    let statements = import(&tree, &known()).unwrap();
    let lines: Vec<usize> = statements.iter().map(|s| s.at.line).collect();
    assert_eq!(lines, [3, 4]);
    assert!(matches!(&statements[0].what, What::Route(r) if r.hops[0].link == 3));
}

#[test]
fn a_line_that_is_not_understood_stops_the_reading() {
    for (text, line, why) in [
        ("iface ens6 inet dhcp\n  frob 1\n", 2, "the option `frob`"),
        ("iface ens6 inet dhcp\n  up /usr/local/bin/x\n", 2, "what `/usr/local/bin/x` does"),
        ("iface ens6 inet dhcp\n  up ip route add default via $GW dev ens6\n", 2, "`$GW`"),
        ("address 10.0.0.1\n", 1, "belongs to no stanza"),
        ("iface ens9 inet dhcp\n  up ip route add default via 10.0.0.1 table 5\n", 2, "`ens9`"),
    ] {
        let problem = import(&there(text), &known()).unwrap_err();
        assert_eq!(problem.at.line, line, "{problem}");
        assert!(problem.why.contains(why), "{problem}");
    }
}

#[test]
fn names_that_need_quotes_are_left_out() {
    let mut policy = two_subnets();
    policy.parts[0].name = "a b".to_owned();
    let export = crate::export(Format::Ifupdown, &policy, &names(), &there(STATIC));
    assert!(!text(&export, INTERFACES).contains("10002"));
    assert!(export.next[0].starts_with("# "));
}
