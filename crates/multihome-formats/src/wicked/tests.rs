use super::*;
use crate::Format;
use crate::testing::ip::{odd, text, two_subnets, without_groups};
use crate::testing::names;

#[test]
fn files_have_the_columns_and_words_of_the_parser() {
    let export =
        crate::export(Format::Wicked, &without_groups(two_subnets()), &names(), &Tree::new());
    assert_eq!(
        text(&export, "/etc/sysconfig/network/ifroute-ens6"),
        "# multihome: begin
# Written by `multihome export`: each line is destination, gateway, mask, interface, and what \
         `ip route add` reads.
# networks on this side
10.0.1.0/24 - - ens6 table 10003 src 10.0.1.204 scope link
# the way out of this network
default 10.0.1.1 - ens6 table 10003 src 10.0.1.204
# nothing leaves by another door
0.0.0.0/0 - - ens6 type unreachable table 10003 metric 4294967295
# networks on this side
2001:db8:b::/64 - - ens6 table 10003 metric 1024
# the way out of this network
default fe80::2 - ens6 table 10003 metric 1024
# nothing leaves by another door
::/0 - - ens6 type unreachable table 10003 metric 4294967295
# multihome: end
"
    );
    let rules = text(&export, "/etc/sysconfig/network/ifrule-ens6");
    assert!(rules.contains("\nipv4 from 10.0.1.204/32 table 10003 pref 10003\n"), "{rules}");
    assert!(
        rules.contains("\nipv6 from 2001:db8:b::/64 iif lo table 10003 pref 10003\n"),
        "{rules}"
    );
    assert!(rules.contains("\nipv4 oif ens6 table 10003 pref 42771\n"), "{rules}");
}

#[test]
fn what_columns_cannot_say_stands_behind_nexthop() {
    let export = crate::export(Format::Wicked, &without_groups(odd()), &names(), &Tree::new());
    let routes = text(&export, "/etc/sysconfig/network/ifroute-ens5");
    let onlink = "default - - ens5 table mgt src 10.0.0.129 mtu lock 1400 \
                  nexthop via 10.0.0.1 dev ens5 onlink\n";
    assert!(routes.contains(onlink), "{routes}");
    let routes = text(&export, "/etc/sysconfig/network/ifroute-ens6");
    let several = "192.168.0.0/16 - - ens6 table data metric 50 tos 10 \
                   nexthop via 10.0.1.7 dev ens6 weight 10 \
                   nexthop via 10.9.9.9 dev ens6 weight 1 onlink\n";
    assert!(routes.contains(several), "{routes}");
    let rules = text(&export, "/etc/sysconfig/network/ifrule-ens6");
    assert!(
        rules.contains("fwmark 0x10000/0xff0000 iif docker0 table data pref 5001\n"),
        "{rules}"
    );
}
