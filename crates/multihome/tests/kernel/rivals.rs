//! Others who do the same job: their rules stay as they are, every answer leaves by the right card
//! all the same, and `status` says who it is and what to do, for as long as they are there.
//!
//! The rules are those that the tools write; the tools themselves are in the tests of the
//! managers, as far as a distribution has them.

use std::time::Duration;

use multihome_lab::{Topology, until_answered};
use rustix::process::Signal;
use serde_json::Value;

use crate::runner::tests;
use crate::state::State;
use crate::world::{Daemon, SOON, World, eventually};

tests![
    amazon_ec2_net_utils + user,
    ec2_net_utils_1,
    nm_cloud_setup + user,
    cloud_netconfig,
    cloud_init,
    cloud_init_that_comes_later,
    the_aws_vpc_cni,
    oci_utils,
    ifupdown_multi,
    pbrd,
    somebody,
    its_cure_for_rules_that_stay_takes_them_away,
    it_is_named_once,
    what_it_sends_elsewhere_is_what_the_kernel_does,
    numbers_that_collide_are_told_with_their_owner,
    tunnels_and_containers_are_none + user,
];

/// Rules and routes of a tool, and what is said of it.
struct Known {
    /// As `ip` adds them; the first word of each line is the family.
    lines: &'static str,
    /// Its name in `status --json`.
    tool: &'static str,
    /// When its rules are asked, if it comes first.
    asked: &'static str,
    /// What `status` must say.
    says: &'static [&'static str],
}

const EC2_NET_UTILS: Known = Known {
    lines: "
        -4 route add default via 10.0.1.1 dev ens6 table 10001 proto dhcp metric 522
        -4 route add 10.0.1.0/24 dev ens6 table 10001 proto static
        -6 route add 2001:db8:b::/64 dev ens6 table 10001 proto static
        -4 rule add pref 10001 from 10.0.1.204 lookup 10001 proto static
        -6 rule add pref 10001 from 2001:db8:b::204 lookup 10001 proto static",
    tool: "ec2-net-utils",
    asked: "between",
    says: &[
        "note: amazon-ec2-net-utils does the same job: see the end",
        "the same job: amazon-ec2-net-utils has rules for ens6",
        "asked before multihome's tables, with the same answers",
        "systemctl mask policy-routes@.service refresh-policy-routes@.timer",
        "rm -r /run/systemd/network/70-ens6.network*",
    ],
};

const NM_CLOUD_SETUP: Known = Known {
    lines: "
        -4 route add 10.0.0.0/24 dev ens5 table 30200 proto static metric 10
        -4 route add 10.0.1.0/24 dev ens6 table 30201 proto static metric 10
        -4 route add default via 10.0.0.1 dev ens5 table 30400 proto static metric 10
        -4 route add default via 10.0.1.1 dev ens6 table 30401 proto static metric 10
        -4 rule add pref 30200 from 10.0.0.129 lookup 30200 proto static
        -4 rule add pref 30201 from 10.0.1.204 lookup 30201 proto static
        -4 rule add pref 30350 lookup main suppress_prefixlength 0 proto static
        -4 rule add pref 30400 from 10.0.0.129 lookup 30400 proto static
        -4 rule add pref 30401 from 10.0.1.204 lookup 30401 proto static",
    tool: "nm-cloud-setup",
    asked: "never",
    says: &[
        "the same job: nm-cloud-setup has rules for ens5, ens6",
        "10.0.1.204 to 10.0.0.0/24: by ens5, not by ens6 via 10.0.1.1",
        "systemctl disable --now nm-cloud-setup.timer nm-cloud-setup.service",
        "nmcli device reapply ens6",
    ],
};

const CLOUD_INIT: Known = Known {
    lines: "
        -4 route add default via 10.0.1.1 dev ens6 table 101 proto static
        -4 route add 10.0.1.0/24 dev ens6 table 101 proto static
        -6 route add 2001:db8:b::/64 dev ens6 table 101 proto static
        -4 rule add from 10.0.1.204 lookup 101 proto static
        -6 rule add from 2001:db8:b::204 lookup 101 proto static",
    tool: "cloud-init",
    asked: "never",
    says: &[
        "the same job: cloud-init has rules for ens6",
        "echo 'network: {config: disabled}' > /etc/cloud/cloud.cfg.d/99-no-net.cfg",
        "netplan set ethernets.ens6.routing-policy=null",
    ],
};

const SOMEBODY: Known = Known {
    lines: "
        -4 route add default via 10.0.1.1 dev ens6 table 77
        -4 rule add pref 500 from 10.0.1.0/24 lookup 77",
    tool: "unknown",
    asked: "first",
    says: &[
        "the same job: somebody else has rules for ens6",
        "They are asked before multihome's",
        "They were made with `ip`",
        "ip -4 rule del pref 500 from 10.0.1.0/24 lookup 77",
    ],
};

// ===== one by one =====

fn amazon_ec2_net_utils() {
    stands_beside(&EC2_NET_UTILS, |_| {});
}

fn ec2_net_utils_1() {
    let known = Known {
        lines: "
            -4 route add default via 10.0.1.1 dev eth1 table 10001
            -4 rule add from 10.0.1.204 lookup 10001
            -6 route add default via fe80::8f:53ff:fe6f:6501 dev eth1 table 10001
            -6 rule add from 2001:db8:b::204 lookup 10001",
        tool: "ec2-net-utils-1",
        asked: "never",
        says: &["EC2SYNC=no", "network-scripts/ifcfg-eth1"],
    };
    stands_beside(&known, |world| rename_second(world, "eth1"));
}

fn nm_cloud_setup() {
    stands_beside(&NM_CLOUD_SETUP, |_| {});
}

fn cloud_netconfig() {
    let known = Known {
        lines: "
            -4 route add 10.0.1.0/24 dev ens6 table 30003
            -4 route add default via 10.0.1.1 dev ens6 table 30403
            -4 rule add pref 30003 from 10.0.1.204 lookup 30003
            -4 rule add pref 30399 lookup main suppress_prefixlength 0
            -4 rule add pref 30403 from 10.0.1.204 lookup 30403",
        tool: "cloud-netconfig",
        asked: "never",
        says: &[
            "systemctl disable --now cloud-netconfig.timer",
            "ip -4 rule del pref 30399 from all lookup main suppress_prefixlength 0",
        ],
    };
    // Its numbers hold the interface's index.
    stands_beside(&known, |world| assert_eq!(world.number("ens6"), 10_003));
}

fn cloud_init() {
    stands_beside(&CLOUD_INIT, metrics_of_cloud_init);
}

fn cloud_init_that_comes_later() {
    let world = World::new(Topology::Containers);
    metrics_of_cloud_init(&world);
    let daemon = world.run();
    // Rules without a priority stand in front of the first that is there.
    world.ips(CLOUD_INIT.lines);
    daemon.says("cloud-init does the same job");
    let rival = the_rival(&world);
    assert_eq!((&rival["tool"], &rival["asked"]), (&"cloud-init".into(), &"first".into()));
    let text = world.multihome("status").out;
    assert!(text.contains("They are asked before multihome's, and differ:"), "{text}");
    assert!(text.contains(": by ens6 via 10.0.1.1, not by docker0"), "{text}");
    // And so it is: clients are answered, but for the container.
    for client in world.lab.clients() {
        for address in ["10.0.1.204", "2001:db8:b::204"] {
            let address = address.parse().unwrap();
            let within = Duration::from_millis(500);
            let is_answered = until_answered(&client.netns, address, within).unwrap().is_some();
            let is_lost = client.name == "container" && address.is_ipv4();
            assert_eq!(is_answered, !is_lost, "{address} and {}", client.name);
        }
    }
    world.ips(&CLOUD_INIT.lines.replace(" add ", " del "));
    eventually("nobody else is left", SOON, || rivals(&world).is_empty());
    world.assert_all_answer();
}

fn the_aws_vpc_cni() {
    let known = Known {
        lines: "
            -4 route add 10.0.1.1 dev ens6 table 2
            -4 route add default via 10.0.1.1 dev ens6 table 2
            -4 rule add pref 512 to 10.0.1.33 lookup main
            -4 rule add pref 1024 fwmark 0x80/0x80 lookup main
            -4 rule add pref 1536 from 10.0.1.33 lookup 2
            -4 rule add pref 32765 from 10.0.1.204 lookup 2",
        tool: "aws-vpc-cni",
        asked: "never",
        says: &["To leave its cards to it", "[interface.ens6]", "manage = false"],
    };
    // A pod is behind a link of its own, and answered there from every address.
    let pod = "
        link add pod0 type veth peer name pod1
        link set dev pod1 up
        link set dev pod0 up
        -4 route add 10.0.1.33 dev pod0 scope link";
    stands_beside(&known, |world| world.ips(pod));
    // And so it is.
    let world = World::new(Topology::TwoSubnets);
    world.ips(known.lines);
    world.configure("[interface.ens6]\nmanage = false\n");
    assert_eq!(rivals(&world), Vec::<Value>::new());
}

fn oci_utils() {
    let known = Known {
        lines: "
            -4 route add default via 10.0.1.1 dev ens6 table 10
            -4 rule add from 10.0.1.204 lookup 10",
        tool: "oci-utils",
        asked: "never",
        says: &[
            "set `gateway = \"10.0.1.1\"` for interface.ens6",
            "/etc/oci-utils.conf.d/90-no-vnic.conf",
            "ip -4 rule del pref 32765 from 10.0.1.204 lookup ort1",
        ],
    };
    let prepare = |world: &World| {
        std::fs::create_dir_all("/etc/iproute2").unwrap();
        std::fs::write("/etc/iproute2/rt_tables", "10\tort1\n").unwrap();
        // Nobody else has a default by that card,
        world.ip("-4 route del default dev ens6");
    };
    // which is why it must be configured, as `status` says.
    let before_it_goes = |world: &World, daemon: &Daemon| {
        world.configure("[interface.ens6]\ngateway = \"10.0.1.1\"\n");
        daemon.signal(Signal::HUP);
        eventually("the gateway is known", SOON, || {
            world.multihome("status").out.contains("configured, /etc/multihome")
        });
        world.assert_in_sync(SOON);
    };
    stands_beside_until(&known, prepare, before_it_goes);
}

fn ifupdown_multi() {
    let known = Known {
        lines: "
            -4 route add default via 10.0.0.1 dev ens5 table 1 proto static
            -4 route add default via 10.0.1.1 dev ens6 table 2 proto static
            -4 rule add pref 25358 from 10.0.0.129 lookup 1
            -4 rule add pref 25358 to 10.0.0.129 lookup 1
            -4 rule add pref 25359 from 10.0.1.204 lookup 2
            -4 rule add pref 25359 to 10.0.1.204 lookup 2",
        tool: "ifupdown-multi",
        asked: "never",
        says: &["has rules for ens5, ens6", "sed -i '/^[[:space:]]*multi_/d'", "ifup ens6"],
    };
    stands_beside(&known, |_| {});
}

fn pbrd() {
    let known = Known {
        lines: "
            -4 route add default via 10.0.1.1 dev ens6 table 10000 proto 195 metric 20
            -4 rule add pref 309 from 10.0.1.204 iif ens5 lookup 10000 proto zebra
            -4 rule add pref 309 from 10.0.1.204 iif lo lookup 10000 proto zebra",
        tool: "pbrd",
        asked: "first",
        says: &["FRR's pbrd has rules for ens6", "'interface lo' -c 'no pbr-policy NAME'"],
    };
    stands_beside(&known, |_| {});
}

fn somebody() {
    stands_beside(&SOMEBODY, |_| {});
}

/// The tool was there before multihome. All is answered, nothing of the tool's is touched, and it
/// is named until it is gone.
#[track_caller]
fn stands_beside(known: &Known, prepare: impl Fn(&World)) {
    stands_beside_until(known, prepare, |_, _| {});
}

#[track_caller]
fn stands_beside_until(
    known: &Known,
    prepare: impl Fn(&World),
    before_it_goes: impl Fn(&World, &Daemon),
) {
    let world = World::new(Topology::TwoSubnets);
    prepare(&world);
    let alone = State::of(&world);
    world.ips(known.lines);
    let before = State::of(&world);
    let daemon = world.run();
    world.assert_all_answer();
    before.assert_is(&State::of(&world).foreign(), "beside it");
    daemon.says("does the same job");

    let said = world.multihome("status");
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.out.starts_with("all is well: 2 uplinks answer by their own door\n"), "{said:#?}");
    for words in known.says {
        assert!(said.out.contains(words), "no {words:?} in {}", said.out);
    }
    for line in said.out.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let rival = the_rival(&world);
    assert_eq!(rival["tool"], known.tool);
    assert_eq!(rival["asked"], known.asked);
    assert_eq!(rival["certain"], true);

    before_it_goes(&world, &daemon);
    world.ips(&known.lines.replace(" add ", " del "));
    eventually("nobody else is left", SOON, || rivals(&world).is_empty());
    world.assert_in_sync(SOON);
    world.assert_all_answer();
    alone.assert_is(&State::of(&world).foreign(), "when it is gone");
    let said = world.must("status");
    assert!(!said.contains("same job"), "{said}");
}

fn metrics_of_cloud_init(world: &World) {
    for (card, gateway, metric) in [("ens5", "10.0.0.1", 100), ("ens6", "10.0.1.1", 200)] {
        world.ips(&format!(
            "-4 route del default dev {card}
             -4 route add default via {gateway} dev {card} proto dhcp metric {metric}"
        ));
    }
}

/// Gives ens6 another name, which takes all of it down.
fn rename_second(world: &World, name: &str) {
    let router = world.lab.card("ens6").unwrap().gateway6;
    world.ips(&format!(
        "link set ens6 down
         link set ens6 name {name}
         link set {name} up
         -6 address add 2001:db8:b::204/64 dev {name} nodad
         -4 route add default via 10.0.1.1 dev {name} metric 10001
         -6 route add default via {router} dev {name} metric 10001"
    ));
    eventually("its link-local address is settled", SOON, || {
        !world.ip(&format!("-6 address show dev {name} tentative")).contains("fe80:")
    });
}

// ===== what is said =====

fn rivals(world: &World) -> Vec<Value> {
    let said = world.multihome("status --json");
    let status: Value = serde_json::from_str(&said.out).unwrap();
    status["rivals"].as_array().unwrap().clone()
}

#[track_caller]
fn the_rival(world: &World) -> Value {
    let mut rivals = rivals(world);
    assert_eq!(rivals.len(), 1, "{rivals:#?}");
    rivals.remove(0)
}

fn its_cure_for_rules_that_stay_takes_them_away() {
    let world = World::new(Topology::TwoSubnets);
    world.must("apply");
    world.ips(SOMEBODY.lines);
    world.ips("-6 rule add pref 501 from 2001:db8:b::204 iif lo lookup 77 proto static");
    let rival = the_rival(&world);
    let deletions = rival["cure"]["deletions"].as_array().unwrap();
    assert_eq!(deletions.len(), 2, "{rival:#?}");
    for command in deletions {
        world.ip(command.as_str().unwrap().strip_prefix("ip ").unwrap());
    }
    assert_eq!(rivals(&world), Vec::<Value>::new());
    world.assert_all_answer();
}

fn it_is_named_once() {
    let world = World::new(Topology::TwoSubnets);
    world.ips(EC2_NET_UTILS.lines);
    let daemon = world.run();
    let words = "amazon-ec2-net-utils does the same job";
    daemon.says(words);
    let count = || daemon.log().matches(words).count();
    // As at each reload of systemd-networkd.
    for _ in 0..5 {
        world.ip("-4 rule del pref 10001 from 10.0.1.204 lookup 10001 proto static");
        world.ip("-6 rule del pref 10001 from 2001:db8:b::204 lookup 10001 proto static");
        world.assert_in_sync(SOON);
        world.ip("-4 rule add pref 10001 from 10.0.1.204 lookup 10001 proto static");
        world.ip("-6 rule add pref 10001 from 2001:db8:b::204 lookup 10001 proto static");
        world.assert_in_sync(SOON);
    }
    assert_eq!(count(), 1, "{}", daemon.log());
    // Another one is another matter.
    world.ips(SOMEBODY.lines);
    daemon.says("somebody else does the same job");
    assert_eq!(count(), 1, "{}", daemon.log());
    // Whoever asks anew is told anew.
    daemon.signal(Signal::HUP);
    eventually("it is said again", SOON, || count() == 2);
    // Once by `apply` as well, which takes no step.
    let said = world.multihome("apply");
    assert_eq!((said.code, said.err.matches(words).count()), (Some(0), 1), "{said:#?}");
}

fn what_it_sends_elsewhere_is_what_the_kernel_does() {
    let world = World::new(Topology::Containers);
    world.must("apply");
    // One in front of ours, and another one in front of nothing: by itself.
    let door = |from: &Value, to: &Value| {
        let (from, to) = (from.as_str().unwrap(), to.as_str().unwrap());
        let family = if to.contains(':') { "-6" } else { "-4" };
        let route = world.json(&format!("{family} route get {to} from {from}")).remove(0);
        let by = format!("by {}", route["dev"].as_str().unwrap());
        match route["gateway"].as_str() {
            Some(gateway) => format!("{by} via {gateway}"),
            None => by,
        }
    };
    let differ = |rival: &Value, side: &str| {
        let detours = rival["detours"].as_array().unwrap();
        assert!(!detours.is_empty(), "{rival:#?}");
        for d in detours {
            assert_eq!(door(&d["from"], &d["example"]), d[side], "{d:#?}\n{}", world.dump());
        }
    };
    world.ips(SOMEBODY.lines);
    let rival = the_rival(&world);
    differ(&rival, "theirs");
    world.ips(&SOMEBODY.lines.replace(" add ", " del "));
    differ(&rival, "ours");

    world.ips(NM_CLOUD_SETUP.lines);
    let rival = the_rival(&world);
    differ(&rival, "ours");
    world.must("down");
    differ(&rival, "theirs");
}

fn numbers_that_collide_are_told_with_their_owner() {
    let world = World::new(Topology::TwoSubnets);
    // The third card of the instance, and the third interface of the host.
    let lines = EC2_NET_UTILS.lines.replace("10001", "10003").replace("522", "542");
    world.ips(&lines);
    let before = State::of(&world);
    let said = world.multihome("apply");
    assert_eq!(said.code, Some(1), "{said:#?}");
    let status = world.multihome("status");
    assert_eq!(status.code, Some(2), "{status:#?}");
    for text in [said.err, status.out.replace("\n  ", " ")] {
        assert!(text.contains("(probably amazon-ec2-net-utils)"), "{text}");
        assert!(text.contains("another `base` (as 20000), or stop the other tool"), "{text}");
    }
    assert!(status.out.contains("multihome makes no rules for these addresses"), "{}", status.out);
    assert_eq!(the_rival(&world)["asked"], "alone");
    before.assert_is(&State::of(&world).foreign(), "with a conflict");
    world.assert_answers("10.0.1.204");
    world.assert_answers("10.0.0.129");

    world.configure("base = 20000\n");
    world.must("apply");
    world.assert_all_answer();
    assert_eq!(the_rival(&world)["asked"], "first");
    assert_eq!(world.multihome("status").code, Some(0));
    world.must("down");
    before.assert_is(&State::of(&world), "after down");
}

fn tunnels_and_containers_are_none() {
    let world = World::new(Topology::Containers);
    let daemon = world.run();
    world.ips(
        "link add wg0 type vxlan id 7 dstport 4789
         address add 10.66.0.2/32 dev wg0
         link set wg0 up
         route add default dev wg0 table 51820
         rule add not fwmark 0xca6c lookup 51820 pref 31999
         rule add lookup main suppress_prefixlength 0 pref 31998
         rule add pref 32010 fwmark 0x80000/0xff0000 lookup main
         rule add pref 32030 fwmark 0x80000/0xff0000 lookup default
         rule add pref 32050 fwmark 0x80000/0xff0000 unreachable
         rule add pref 32070 lookup 52
         route add default via 10.0.1.1 dev ens6 table 220 proto static
         route add throw 10.0.0.0/8 table 220
         rule add pref 220 to 10.99.0.0/16 lookup 220
         rule add pref 111 from 10.42.0.7 to 10.0.0.0/16 lookup 220 proto kernel
         rule add pref 9 fwmark 0x200/0xf00 lookup 2004 proto kernel
         rule add pref 1536 from 10.0.1.33 lookup 220
         rule add pref 700 from 10.0.1.204 to 192.0.2.0/24 lookup 220
         rule add pref 701 from 10.0.1.204 fwmark 7 lookup 220
         rule add pref 702 from 10.0.1.204 ipproto 6 dport 25 lookup 220
         rule add pref 703 iif docker0 lookup 220",
    );
    world.assert_in_sync(SOON);
    assert_eq!(rivals(&world), Vec::<Value>::new());
    // One of these does misroute, and that is said; but nobody does the same job.
    assert!(!world.multihome("status").out.contains("same job"));
    assert!(!daemon.log().contains("same job"), "{}", daemon.log());
}
