use std::collections::BTreeMap;

use multihome_core::model::ReturnPath;

use super::*;
use crate::testing::ip::{assert_comes_back, odd, text, two_subnets};
use crate::testing::{known, names};
use crate::{Format, What, import};

fn read(text: &str) -> Result<Vec<What>, Problem> {
    let tree = Tree::from([("/usr/local/sbin/policy".to_owned(), text.to_owned())]);
    Ok(import(Format::Iproute2, &tree, &known())?.into_iter().map(|s| s.what).collect())
}

#[test]
fn what_is_written_is_read_as_it_was() {
    assert_comes_back(Format::Iproute2, &two_subnets(), &Tree::new());
    let mut policy = odd();
    policy.return_path = Some(ReturnPath {
        mask: 0xff0000,
        marks: BTreeMap::from([(0x10000, ["10.0.1.204".parse().unwrap()].into())]),
    });
    assert_comes_back(Format::Iproute2, &policy, &Tree::new());
}

#[test]
fn a_script_looks_so() {
    let mut policy = two_subnets();
    policy.parts.remove(0);
    let part = &mut policy.parts[0];
    part.routes.truncate(3);
    part.rules.truncate(3);
    let export = crate::export(Format::Iproute2, &policy, &names(), &Tree::new());
    let text = text(&export, "/usr/local/sbin/multihome-policy");
    let (up, down) = text.split_once("down() {").unwrap();
    assert_eq!(
        up,
        "#!/bin/sh
# Written by `multihome export`: what answers every request by the door it came in by.
# `multihome-policy up` makes the routes and rules, `down` removes them; both may be run twice.
set -eu

up() {
    # ens6
    # Uplinks are in one link group: what leaves by it is not local.
    ip link set dev ens6 group 10000
    # networks on this side
    ip -4 route replace 10.0.1.0/24 dev ens6 table 10003 scope link src 10.0.1.204
    # the way out of this network
    ip -4 route replace default via 10.0.1.1 dev ens6 table 10003 src 10.0.1.204
    # nothing leaves by another door
    ip -4 route replace unreachable default table 10003 metric 4294967295

    # A rule that is there is an error to `ip rule add`: it goes first.
    # what is local stays local
    ip -4 rule del from 10.0.1.204 table main suppress_prefixlength 7 suppress_ifgroup 10000 priority 10000 2>/dev/null || true
    ip -4 rule add from 10.0.1.204 table main suppress_prefixlength 7 suppress_ifgroup 10000 priority 10000
    # replies go home by their own door
    ip -4 rule del from 10.0.1.204 table 10003 priority 10003 2>/dev/null || true
    ip -4 rule add from 10.0.1.204 table 10003 priority 10003
    # sockets bound to the device
    ip -4 rule del oif ens6 table 10003 priority 42771 2>/dev/null || true
    ip -4 rule add oif ens6 table 10003 priority 42771
}

"
    );
    assert!(down.contains("ip link set dev ens6 group 0"), "{down}");
    let modes: Vec<u32> = export.files.iter().map(|f| f.mode).collect();
    assert_eq!(modes, [0o644, 0o755]);
}

#[test]
fn names_that_only_bash_can_say_are_left_out() {
    let policy = two_subnets();
    let links = BTreeMap::from([(2, "a'b$(x)".to_owned()), (3, "a\x1b[31m".to_owned())]);
    let names = Names { links, ..Names::default() };
    let export = crate::export(Format::Iproute2, &policy, &names, &Tree::new());
    let text = text(&export, "/usr/local/sbin/multihome-policy");
    assert!(text.contains("dev 'a'\\''b$(x)' table 10002"), "{text}");
    assert!(!text.contains("10003"), "{text}");
    assert!(text.contains("is left out"), "{text}");
}

#[test]
fn scripts_of_others_are_read() {
    let script = "#!/bin/bash
set -e
# doors
ip route flush table 200
/sbin/ip route add default via 10.0.1.1 \\
    dev ens6 table 200
ip -6 rule del from 2001:db8::1 table 200 || true; ip -6 rule add from 2001:db8::1 table 200
ip link set ens6 group 7 && ip link set ens6 up
ip address add 10.0.1.5/24 dev ens6
sysctl -w net.ipv4.conf.all.rp_filter=2
";
    let read = read(script).unwrap();
    assert_eq!(read.len(), 3, "{read:?}");
    assert_eq!(read[2], What::Group(3, 7));
}

#[test]
fn a_line_that_is_not_understood_stops_the_reading() {
    for (script, line, why) in [
        ("\nfoo bar\n", 2, "what `foo` does"),
        ("ip route add default dev $X\n", 1, "what `$X` stands for"),
        ("for i in a b; do\n", 1, "what `for` does"),
        ("ip rule flush\n", 1, "what others may have made"),
        ("ip rule del from 10.0.0.1 table 5\n", 1, "no line behind it adds"),
        ("ip route add default via 10.0.1.1 table 5\n", 1, "a gateway without `dev`"),
        ("ip route add default dev ens6 table 5\nip route flush table 5\n", 2, "lines before it"),
        ("ip link set dev ens6 group 1\nip link set dev ens6 group 2\n", 2, "says something else"),
        ("ip netns exec x ip route add default dev ens6\n", 1, "`ip netns` is not read"),
        ("ip route add default dev ens6 \\\n  frob 1\n", 1, "`frob` is not understood"),
        ("down() {\n rm -rf x\n}\n", 2, "what `rm` does"),
    ] {
        let problem = read(script).unwrap_err();
        assert_eq!(problem.at.line, line, "{problem}");
        assert!(problem.why.contains(why), "{problem}");
    }
}
