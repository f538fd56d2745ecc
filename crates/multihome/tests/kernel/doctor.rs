//! `multihome doctor` on a real kernel: what it finds is made to happen first, and its cures are
//! carried out as they are printed.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use multihome_lab::{Answer, Topology};
use serde_json::Value;

use crate::runner::tests;
use crate::state::State;
use crate::world::{SOON, World, eventually};

tests![
    a_healthy_host_has_nothing + user,
    a_strict_filter_is_told_with_what_it_dropped + user,
    a_strict_filter_for_all_is_mended_by_the_link,
    a_gateway_that_is_gone_is_told + user,
    cards_that_answer_for_each_other_are_told + user,
    a_server_on_every_address_is_told + user,
    a_rule_without_a_priority_is_told_and_moved + user,
    a_tunnel_in_front_of_one_uplink_is_no_good_news + user,
    a_local_rule_that_was_moved_is_put_back + user,
    a_main_rule_that_was_deleted_is_put_back + user,
    rules_that_were_deleted_are_put_back + user,
    a_refusal_in_main_is_taken_away + user,
    a_strict_filter_on_the_primary_is_made_loose,
    a_strict_filter_behind_a_conflict_names_it + user,
    an_ipv6_address_that_went_with_its_link_is_told,
    a_mtu_that_main_has_and_we_have_not_is_told,
    a_carrier_that_went_is_told,
    a_router_that_a_forwarding_host_does_not_hear_is_told,
    secondary_addresses_are_told,
    networkd_is_asked_what_it_may_delete,
    a_file_is_judged_as_the_host_was + user,
    whoever_looks_changes_nothing + user,
];

fn doctor(world: &World) -> Value {
    let said = world.multihome("doctor --json");
    assert_eq!(said.err, "");
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let alarm = ["error", "warning"].iter().any(|s| report["worst"] == *s);
    assert_eq!(said.code, Some(if alarm { 2 } else { 0 }), "{report:#}");
    report
}

/// What was found of one kind.
fn found(world: &World, id: &str) -> Vec<Value> {
    let report = doctor(world);
    let known = report["looked_at"].as_array().unwrap().iter().any(|v| v == id);
    assert!(known, "{id} is not known: {report:#}");
    let findings = report["findings"].as_array().unwrap().iter();
    findings.filter(|f| f["id"] == id).cloned().collect()
}

#[track_caller]
fn the(world: &World, id: &str, severity: &str) -> Value {
    let mut all = found(world, id);
    assert_eq!(all.len(), 1, "{id}: {all:#?}\n{}", world.dump());
    let one = all.remove(0);
    assert_eq!(one["severity"], severity, "{one:#}");
    one
}

#[track_caller]
fn assert_silent(world: &World, id: &str) {
    assert_eq!(found(world, id), Vec::<Value>::new(), "{}", world.dump());
}

/// Carries out the cure of a finding, as an operator would who pastes it.
#[track_caller]
fn cure(world: &World, finding: &Value) {
    let commands = finding["commands"].as_array().unwrap();
    assert!(!commands.is_empty(), "{finding:#}");
    let path = std::env::join_paths(
        [crate::runner::program().parent().unwrap().to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    for command in commands {
        let mut shell = Command::new("sh");
        shell.args(["-c", command.as_str().unwrap()]).env("PATH", path.as_ref().unwrap());
        let said = world.output(&mut shell, "");
        assert_eq!(said.code, Some(0), "{command}: {said:#?}");
    }
}

#[track_caller]
fn says(finding: &Value, words: &str) {
    let evidence = finding["evidence"].as_str().unwrap();
    assert!(evidence.contains(words), "no {words:?} in {evidence}");
}

fn sysctl(world: &World, path: &str, value: &str) {
    world.host().sysctl(path, value).unwrap();
}

fn applied(topology: Topology) -> World {
    let world = World::new(topology);
    world.must("apply");
    world
}

fn a_healthy_host_has_nothing() {
    for topology in [Topology::TwoSubnets, Topology::Campus, Topology::Containers] {
        let world = applied(topology);
        world.assert_all_answer();
        let said = world.multihome("doctor");
        assert_eq!(said.code, Some(0), "{topology}: {said:#?}");
        let first = said.out.lines().next().unwrap();
        assert!(first.starts_with("nothing wrong"), "{topology}: {}", said.out);
        assert!(first.ends_with("things looked at"), "all is known: {}", said.out);
    }
}

fn a_strict_filter_is_told_with_what_it_dropped() {
    let world = World::new(Topology::TwoSubnets);
    for card in ["ens5", "ens6"] {
        sysctl(&world, &format!("ipv4/conf/{card}/rp_filter"), "1");
    }
    let ask = || crate::world::ask_from(world.remote(), None, "10.0.1.204".parse().unwrap());
    assert_eq!(ask(), Answer::Silent);
    let finding = the(&world, "rp-filter", "warning");
    assert_eq!(finding["subject"], "ens6");
    says(&finding, "net.ipv4.conf.ens6.rp_filter is 1 (strict)");
    let dropped = |finding: &Value| -> u64 {
        let evidence = finding["evidence"].as_str().unwrap();
        let (_, count) = evidence.split_once("has dropped ").expect(evidence);
        count.split(' ').next().unwrap().parse().unwrap()
    };
    let before = dropped(&finding);
    assert_eq!(ask(), Answer::Silent);
    let after = dropped(&the(&world, "rp-filter", "warning"));
    assert!(before > 0 && after > before, "{before} {after}");
    cure(&world, &finding);
    assert_silent(&world, "rp-filter");
    world.assert_all_answer();
    // What it does for containers it cannot do any more.
    sysctl(&world, "ipv4/conf/ens6/forwarding", "1");
    let finding = the(&world, "rp-filter", "note");
    cure(&world, &finding);
    assert_silent(&world, "rp-filter");
}

fn a_strict_filter_for_all_is_mended_by_the_link() {
    let world = applied(Topology::TwoSubnets);
    sysctl(&world, "ipv4/conf/all/rp_filter", "1");
    sysctl(&world, "ipv4/conf/ens6/forwarding", "1");
    let finding = the(&world, "rp-filter", "note");
    says(&finding, "net.ipv4.conf.all.rp_filter");
    cure(&world, &finding);
    assert_silent(&world, "rp-filter");
}

/// A third card, at whose far end nobody is.
fn with_a_lonely_card(topology: Topology) -> World {
    let world = World::new(topology);
    world.ips(
        "link add far type veth peer name near
         address add 10.7.0.5/24 dev near
         link set near up
         link set far up
         route del default dev ens5
         route add default via 10.0.0.1 dev ens5 metric 50
         route add default via 10.7.0.1 dev near metric 1",
    );
    world.must("apply");
    world
}

fn a_gateway_that_is_gone_is_told() {
    let world = with_a_lonely_card(Topology::TwoSubnets);
    // Nobody has asked for it yet.
    assert_silent(&world, "gateway-silent");
    world.host_asks("10.7.0.5");
    says(&the(&world, "gateway-silent", "note"), "10.7.0.1 has not answered yet (INCOMPLETE)");
    eventually("it is given up", Duration::from_secs(10), || {
        found(&world, "gateway-silent").iter().any(|f| f["severity"] == "error")
    });
    let finding = the(&world, "gateway-silent", "error");
    assert_eq!(finding["subject"], "near");
    says(&finding, "10.7.0.1 does not answer (FAILED)");
    world.ip("neigh replace 10.7.0.1 dev near lladdr 02:00:00:00:00:01 nud stale");
    assert_silent(&world, "gateway-silent");
}

fn cards_that_answer_for_each_other_are_told() {
    let world = World::new(Topology::SameSubnet);
    world.configure("sysctl = \"report\"\n");
    world.must("apply");
    let finding = the(&world, "arp-flux", "warning");
    says(&finding, "both are in 10.0.0.0/24");
    cure(&world, &finding);
    assert_silent(&world, "arp-flux");
    world.assert_all_answer();
    // Each of the other ways does as well, and half of one does not.
    for card in ["ens5", "ens6"] {
        sysctl(&world, &format!("ipv4/conf/{card}/arp_ignore"), "0");
    }
    sysctl(&world, "ipv4/conf/ens5/arp_filter", "1");
    says(&the(&world, "arp-flux", "warning"), "ens6 answers ARP");
    sysctl(&world, "ipv4/conf/ens5/arp_filter", "0");
    sysctl(&world, "ipv4/conf/all/rp_filter", "1");
    assert_silent(&world, "arp-flux");
    world.assert_all_answer();
}

fn a_server_on_every_address_is_told() {
    let world = applied(Topology::TwoSubnets);
    assert_silent(&world, "wildcard-udp");
    let bind = |address: &'static str| world.host().run(|| UdpSocket::bind(address)).unwrap();
    let careful = [bind("10.0.0.129:53").unwrap(), bind("127.0.0.1:323").unwrap()];
    let by_the_kernel = bind("0.0.0.0:0").unwrap();
    let connected = bind("0.0.0.0:700").unwrap();
    world.host().run(|| connected.connect("10.0.0.1:700")).unwrap().unwrap();
    assert_silent(&world, "wildcard-udp");
    let server = bind("0.0.0.0:800").unwrap();
    let finding = the(&world, "wildcard-udp", "note");
    says(&finding, "port 800 (");
    let text = world.must("doctor");
    assert!(text.contains("nothing wrong, 1 note"), "{text}");
    drop((server, careful, by_the_kernel, connected));
    assert_silent(&world, "wildcard-udp");
}

/// What wg-quick makes of `AllowedIPs = 0.0.0.0/0, ::/0`, but for the tunnel itself.
fn full_tunnel(world: &World) {
    world.ips(
        "link add tunnel0 type vxlan id 7 dstport 4789
         address add 10.66.0.2/32 dev tunnel0
         address add 2001:db8:66::2/128 dev tunnel0 nodad
         link set tunnel0 up
         -4 route add default dev tunnel0 table 51820
         -4 rule add not fwmark 51820 table 51820
         -4 rule add table main suppress_prefixlength 0
         -6 route add default dev tunnel0 table 51820
         -6 rule add not fwmark 51820 table 51820
         -6 rule add table main suppress_prefixlength 0",
    );
}

fn a_rule_without_a_priority_is_told_and_moved() {
    let world = World::new(Topology::TwoSubnets);
    world.configure("precedence = \"yield\"\n");
    world.must("apply");
    full_tunnel(&world);
    let findings = found(&world, "catch-all-rule");
    assert_eq!(findings.len(), 2, "{findings:#?}");
    for (finding, family) in findings.iter().zip(["IPv4", "IPv6"]) {
        assert_eq!(finding["severity"], "error");
        assert_eq!(finding["subject"], "ens5, ens6");
        says(finding, &format!("{family} rule 9999: not from all fwmark 0xca6c lookup 51820"));
        says(finding, "9998: from all lookup main suppress_prefixlength 0");
    }
    let answers = |address: &str| {
        let ask = crate::world::ask_from(world.remote(), None, address.parse().unwrap());
        matches!(ask, Answer::Answered(_))
    };
    assert!(!answers("10.0.0.129") && !answers("10.0.1.204"), "it is as bad as is said");
    findings.iter().for_each(|finding| cure(&world, finding));
    assert_silent(&world, "catch-all-rule");
    // With one of the two left in front, a client on the other card's network would be answered by that.
    assert_silent(&world, "wrong-answers");
    assert!(answers("10.0.0.129") && answers("10.0.1.204"));
    for family in ["-4", "-6"] {
        let rules = world.ip(&format!("{family} rule"));
        assert!(rules.contains("32000:\tfrom all lookup main suppress_prefixlength 0"), "{rules}");
        assert!(rules.contains("32001:\tnot from all fwmark 0xca6c lookup 51820"), "{rules}");
        assert!(!rules.contains("\n999"), "{rules}");
        // What this host sends itself goes into the tunnel as before.
        let to = if family == "-4" { "198.51.100.7" } else { "2001:db8:ffff::7" };
        let own = world.ip(&format!("{family} route get {to}"));
        assert!(own.contains("dev tunnel0"), "{own}");
        // And so wg-quick takes them away.
        world.ips(&format!(
            "{family} rule del table 51820
             {family} rule del table main suppress_prefixlength 0"
        ));
    }
}

fn a_tunnel_in_front_of_one_uplink_is_no_good_news() {
    let world = World::new(Topology::TwoSubnets);
    world.ips("link set ens6 down\naddress flush dev ens6");
    let quiet =
        |finding: &Value| finding["consequence"].as_str().unwrap().contains("no answer goes wrong");
    assert!(quiet(&the(&world, "not-in-sync", "note")));
    full_tunnel(&world);
    let finding = the(&world, "not-in-sync", "warning");
    assert!(!quiet(&finding), "{finding:#}");
}

fn a_local_rule_that_was_moved_is_put_back() {
    let world = applied(Topology::TwoSubnets);
    for (family, from) in [("-4", "10.0.0.129"), ("-6", "2001:db8:a::129")] {
        world.ips(&format!(
            "{family} rule add pref 20000 lookup local
             {family} rule del pref 0"
        ));
        let finding = the(&world, "local-rule", "error");
        says(&finding, "20000: from all lookup local");
        let to = if family == "-4" { "10.0.1.204" } else { "2001:db8:b::204" };
        let leaves = || world.ip(&format!("{family} route get {to} from {from}"));
        assert!(!leaves().contains("local"), "{}", leaves());
        cure(&world, &finding);
        assert_silent(&world, "local-rule");
        assert!(leaves().contains("local"), "{}", leaves());
    }
    // As Cilium has it: well, as long as ours come later.
    world.ips("rule add pref 100 lookup local\nrule del pref 0");
    assert_silent(&world, "local-rule");
}

fn a_main_rule_that_was_deleted_is_put_back() {
    let world = applied(Topology::TwoSubnets);
    for family in ["-4", "-6"] {
        let before = world.ip(&format!("{family} rule"));
        world.ip(&format!("{family} rule del pref 32766"));
        let to = if family == "-4" { "198.51.100.7" } else { "2001:db8:ffff::7" };
        let leaves = || {
            let mut ip = Command::new("ip");
            world.output(ip.args([family, "route", "get", to]), "").code == Some(0)
        };
        assert!(!leaves(), "it is as bad as is said");
        let finding = the(&world, "main-rule", "error");
        cure(&world, &finding);
        assert_silent(&world, "main-rule");
        assert!(leaves());
        assert_eq!(world.ip(&format!("{family} rule")).replace(" proto boot", ""), before);
    }
}

fn rules_that_were_deleted_are_put_back() {
    let world = applied(Topology::TwoSubnets);
    for family in ["-4", "-6"] {
        world.ip(&format!("{family} rule flush"));
        world.ip(&format!("{family} rule del pref 0"));
        assert_eq!(world.ip(&format!("{family} rule")), "");
        let finding = the(&world, "kernel-rules", "error");
        says(&finding, "the kernel can have some, for it has table 10002");
        assert_silent(&world, "main-rule");
        cure(&world, &finding);
        assert_silent(&world, "kernel-rules");
        assert_silent(&world, "main-rule");
        world.must("apply");
        assert_silent(&world, "local-rule");
    }
    world.assert_all_answer();
}

fn a_refusal_in_main_is_taken_away() {
    let world = applied(Topology::TwoSubnets);
    let answers = |address: &str| {
        let ask = crate::world::ask_from(world.remote(), None, address.parse().unwrap());
        matches!(ask, Answer::Answered(_))
    };
    let remedy = |finding: &Value| finding["remedy"].as_str().unwrap().to_owned();
    // The defaults of main are asked behind it.
    world.ips(
        "route del default dev ens5
         route add default via 10.0.0.1 dev ens5 metric 50
         route add unreachable default",
    );
    let finding = the(&world, "main-refuses", "warning");
    assert!(
        remedy(&finding).contains("then default via 10.0.1.1 dev ens6 metric 3"),
        "{finding:#}"
    );
    assert!(!answers("10.0.0.129"), "it is as bad as is said");
    cure(&world, &finding);
    assert_silent(&world, "main-refuses");
    assert!(answers("10.0.0.129"));
    // Without any, one with a smaller metric helps too, where there is one.
    world.ips("route del default dev ens5\nroute del default dev ens6");
    world.ip("route add unreachable default");
    let finding = the(&world, "main-refuses", "warning");
    assert!(remedy(&finding).contains("no default can have a smaller metric"), "{finding:#}");
    cure(&world, &finding);
    world.ip("route add unreachable default metric 5");
    let finding = the(&world, "main-refuses", "warning");
    assert!(remedy(&finding).contains("metric below 5"), "{finding:#}");
    world.ip("route add default via 10.0.0.1 dev ens5 metric 4");
    assert_silent(&world, "main-refuses");
    assert!(answers("10.0.0.129"));
}

fn a_strict_filter_on_the_primary_is_made_loose() {
    let world = World::new(Topology::TwoSubnets);
    world.configure("primary = \"ens6\"\n");
    world.must("apply");
    sysctl(&world, "ipv4/conf/all/rp_filter", "1");
    let finding = the(&world, "rp-filter", "warning");
    assert_eq!(finding["subject"], "ens6");
    let ask = || crate::world::ask_from(world.remote(), None, "10.0.1.204".parse().unwrap());
    assert_eq!(ask(), Answer::Silent, "it is as bad as is said");
    cure(&world, &finding);
    assert_silent(&world, "rp-filter");
}

fn a_strict_filter_behind_a_conflict_names_it() {
    let world = World::new(Topology::TwoSubnets);
    let number = world.number("ens6");
    world.ip(&format!("route add 10.9.0.0/16 via 10.0.1.1 dev ens6 table {number} proto static"));
    world.multihome("apply");
    sysctl(&world, "ipv4/conf/ens6/rp_filter", "1");
    the(&world, "conflict", "error");
    let finding = the(&world, "rp-filter", "warning");
    assert!(finding["remedy"].as_str().unwrap().contains("conflict"), "{finding:#}");
    assert_eq!(finding["commands"], Value::Array(Vec::new()));
}

fn an_ipv6_address_that_went_with_its_link_is_told() {
    let world = applied(Topology::TwoSubnets);
    world.ips("link set ens6 down\nlink set ens6 up");
    let finding = the(&world, "keep-addr-on-down", "warning");
    says(&finding, "2001:db8:b::");
    cure(&world, &finding);
    assert_silent(&world, "keep-addr-on-down");
    world.ip("address add 2001:db8:b::204/64 dev ens6 nodad");
    world.ips("link set ens6 down\nlink set ens6 up");
    assert!(world.ip("-6 address show dev ens6").contains("2001:db8:b::204"), "it is a cure");
}

fn a_mtu_that_main_has_and_we_have_not_is_told() {
    let world = applied(Topology::TwoSubnets);
    assert_silent(&world, "metrics-drift");
    world.ip("route change default via 10.0.1.1 dev ens6 metric 3 mtu 1400");
    let finding = the(&world, "metrics-drift", "warning");
    says(&finding, "mtu 1400");
    cure(&world, &finding);
    assert_silent(&world, "metrics-drift");
}

fn a_carrier_that_went_is_told() {
    let world = with_a_lonely_card(Topology::TwoSubnets);
    assert_silent(&world, "uplink-down");
    assert_silent(&world, "linkdown-routes");
    world.ip("link set far down");
    eventually("the carrier is gone", SOON, || !found(&world, "uplink-down").is_empty());
    says(&the(&world, "uplink-down", "warning"), "near has no carrier");
    let finding = the(&world, "linkdown-routes", "warning");
    cure(&world, &finding);
    assert_silent(&world, "linkdown-routes");
    let route = world.ip("route get 198.51.100.7");
    assert!(!route.contains("near"), "it is a cure: {route}");
}

fn a_router_that_a_forwarding_host_does_not_hear_is_told() {
    let world = applied(Topology::TwoSubnets);
    assert_silent(&world, "accept-ra-forwarding");
    // That very moment the kernel forgets its routers (rt6_purge_dflt_routers).
    sysctl(&world, "ipv6/conf/ens6/forwarding", "1");
    let finding = the(&world, "accept-ra-forwarding", "warning");
    assert_eq!(finding["subject"], "ens6");
    cure(&world, &finding);
    assert_silent(&world, "accept-ra-forwarding");
    // Whoever hears routers himself keeps the kernel from it.
    sysctl(&world, "ipv6/conf/ens6/accept_ra", "0");
    assert_silent(&world, "accept-ra-forwarding");
}

fn secondary_addresses_are_told() {
    let world = applied(Topology::TwoSubnets);
    assert_silent(&world, "promote-secondaries");
    world.ip("address add 10.0.1.205/24 dev ens6");
    let finding = the(&world, "promote-secondaries", "note");
    says(&finding, "10.0.1.205 are secondary to 10.0.1.204");
    let supposed = || {
        let said = world.multihome("what-if --del-address ens6=10.0.1.204").out;
        said.lines().next().unwrap().to_owned()
    };
    assert_eq!(supposed(), "supposed: ens6 has lost 10.0.1.204, and with it 10.0.1.205");
    cure(&world, &finding);
    assert_eq!(supposed(), "supposed: ens6 has lost 10.0.1.204; 10.0.1.205 is primary now");
    assert_silent(&world, "promote-secondaries");
    world.ip("address del 10.0.1.204/24 dev ens6");
    assert!(world.ip("address show dev ens6").contains("10.0.1.205"), "it is a cure");
}

fn networkd_is_asked_what_it_may_delete() {
    let world = applied(Topology::TwoSubnets);
    assert_silent(&world, "networkd-foreign-rules");
    fs::create_dir_all("/run/systemd/netif").unwrap();
    fs::write("/run/systemd/netif/state", "OPER_STATE=routable\n").unwrap();
    the(&world, "networkd-foreign-rules", "note");
    let drop_in = "/etc/systemd/networkd.conf.d/50-multihome.conf";
    fs::create_dir_all("/etc/systemd/networkd.conf.d").unwrap();
    fs::write(drop_in, "[Network]\nManageForeignRoutingPolicyRules=no\n").unwrap();
    assert_silent(&world, "networkd-foreign-rules");
    assert_silent(&world, "networkd-foreign-routes");
    fs::write("/etc/systemd/networkd.conf", "[Network]\nManageForeignRoutes=no\n").unwrap();
    the(&world, "networkd-foreign-routes", "note");
}

fn a_file_is_judged_as_the_host_was() {
    let world = World::new(Topology::SameSubnet);
    sysctl(&world, "ipv4/conf/ens6/rp_filter", "1");
    for _ in 0..2 {
        let live = world.multihome("doctor");
        fs::write("/run/snapshot", world.must("snapshot")).unwrap();
        let filed = world.multihome("doctor --snapshot /run/snapshot");
        assert_eq!((live.code, &live.out), (filed.code, &filed.out));
        assert!(live.out.lines().all(|l| l.chars().count() <= 80), "{}", live.out);
        world.must("apply");
    }
    // One of a time when nobody asked: nothing is invented.
    let text = fs::read_to_string("/run/snapshot").unwrap();
    let mut snapshot: Value = serde_json::from_str(&text).unwrap();
    for key in ["sysctls", "neighbours", "host"] {
        snapshot.as_object_mut().unwrap().remove(key);
    }
    fs::write("/run/old", snapshot.to_string()).unwrap();
    let said = world.multihome("doctor --snapshot /run/old");
    assert!(
        said.out.contains("not known, without the sysctls: wrong-answers, arp-flux, rp-filter"),
        "{said:#?}"
    );
}

fn whoever_looks_changes_nothing() {
    let world = World::new(Topology::Containers);
    let before = State::of(&world);
    let start = Instant::now();
    world.multihome("doctor");
    assert!(start.elapsed() < SOON);
    before.assert_is(&State::of(&world), "doctor");
    assert!(!fs::exists("/run/multihome").unwrap(), "nothing is written either");
}
