//! Our table: written by us, judged by `nft`; written by `nft`, read by us.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};

use multihome_core::Family;
use multihome_core::model::Netfilter;
use multihome_core::model::netfilter::{Held, ReturnPath};
use multihome_kernel::nft::Who;
use multihome_kernel::{Nft, NftWatch};

use crate::netns::{drop_privileges, eventually, ip};

const MASK: u32 = 0x000f_0000;

/// Runs `nft` with one argument, and gives what it printed.
#[track_caller]
pub fn nft(command: &str) -> String {
    let output = Command::new("nft").arg(command).output().expect("nft");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nft {command}: {error}");
    String::from_utf8(output.stdout).expect("UTF-8 from nft")
}

#[track_caller]
fn nft_file(script: &str) {
    let mut child =
        Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft -f");
    child.stdin.take().expect("stdin").write_all(script.as_bytes()).expect("nft -f");
    assert!(child.wait().expect("nft -f").success(), "nft refused {script}");
}

pub fn look(nft: &mut Nft) -> Netfilter {
    let found = nft.observe().unwrap().expect("nf_tables");
    assert_eq!(found.unread, Vec::<String>::new());
    found
}

fn held(nft: &mut Nft) -> Held {
    look(nft).table
}

fn path(marks: &[(u32, &[&str])]) -> ReturnPath {
    let of = |all: &[&str]| all.iter().map(|a| a.parse().expect("an address")).collect();
    ReturnPath { mask: MASK, marks: marks.iter().map(|(mark, all)| (*mark, of(all))).collect() }
}

/// Ten thousand addresses, of both families, under two marks. In a user namespace fewer, since a
/// send buffer has a limit there (`net.core.wmem_max`).
fn many() -> ReturnPath {
    let user = std::fs::read_to_string("/proc/self/uid_map").expect("uid_map");
    let all = user.split_whitespace().eq(["0", "0", "4294967295"]);
    let mut marks: BTreeMap<u32, BTreeSet<IpAddr>> = BTreeMap::new();
    for n in 0..if all { 5000u32 } else { 1500 } {
        let mark = (1 + n % 2) << 16;
        let v6 = Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(n));
        let both = [Ipv4Addr::from(0x0a00_0000 | n).into(), v6.into()];
        marks.entry(mark).or_default().extend::<[IpAddr; 2]>(both);
    }
    ReturnPath { mask: MASK, marks }
}

fn some() -> Vec<ReturnPath> {
    vec![
        path(&[]),
        path(&[(0x1_0000, &[])]),
        path(&[(0x1_0000, &["192.0.2.1"])]),
        path(&[(0x1_0000, &["2001:db8::1"])]),
        path(&[(0x1_0000, &["192.0.2.1", "2001:db8::1"]), (0xf_0000, &["192.0.2.2"])]),
        ReturnPath { mask: 0x8000_0001, marks: [(0x8000_0001, BTreeSet::new())].into() },
        ReturnPath { mask: 0x80, marks: [(0x80, ["192.0.2.1".parse().unwrap()].into())].into() },
        many(),
    ]
}

/// What `nft` lists, without what is in the way of comparing: spaces and the order of elements.
fn listed() -> String {
    let text = nft("list table inet multihome");
    let mut words: Vec<String> = Vec::new();
    let mut elements: Vec<String> = Vec::new();
    let mut inside = false;
    for word in text.split_whitespace() {
        match word {
            "elements" => inside = true,
            "}" if inside => {
                let mut all: Vec<String> = elements.join(" ").split(", ").map(Into::into).collect();
                all.sort();
                words.append(&mut all);
                (elements, inside) = (Vec::new(), false);
            }
            _ if inside => elements.push(word.to_owned()),
            _ => words.push(word.to_owned()),
        }
    }
    words.join(" ")
}

pub fn the_table_is_written_as_nft_writes_its_script() {
    let mut nf = Nft::open().unwrap();
    assert_eq!(held(&mut nf), Held::Absent);
    for path in some() {
        nf.write(&Held::Absent, Some(&path)).unwrap();
        assert_eq!(held(&mut nf), Held::Whole(path.clone()));
        let ours = listed();
        nft("delete table inet multihome");
        nft_file(&path.script());
        assert_eq!(held(&mut nf), Held::Whole(path.clone()), "{}", path.script());
        assert_eq!(ours, listed());
        // What nft prints is taken by nft, and is still the same.
        let printed = nft("list table inet multihome");
        nft("delete table inet multihome");
        nft_file(&printed);
        assert_eq!(held(&mut nf), Held::Whole(path));
        nf.write(&Held::Altered, None).unwrap();
        assert_eq!(held(&mut nf), Held::Absent);
        assert_eq!(nft("list tables"), "");
    }
}

pub fn nft_prints_the_table_as_an_operator_would_write_it() {
    let mut nf = Nft::open().unwrap();
    let path = path(&[(0x1_0000, &["192.0.2.1"]), (0x2_0000, &["2001:db8::1"])]);
    nf.write(&Held::Absent, Some(&path)).unwrap();
    let text = nft("list table inet multihome");
    for expected in [
        "map addresses4 {\n\t\ttype ipv4_addr : verdict\n\t\telements = { 192.0.2.1 : goto mark_00010000 }",
        "map addresses6 {\n\t\ttype ipv6_addr : verdict\n\t\telements = { 2001:db8::1 : goto mark_00020000 }",
        "chain mark_00010000 {\n\t\tmeta mark set ",
        "type filter hook prerouting priority mangle + 10; policy accept;",
        "ct status dnat ct direction reply meta mark & 0x000f0000 == 0x00000000 \
         ct original ip daddr vmap @addresses4",
        "ct original ip6 daddr vmap @addresses6",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
}

pub fn only_addresses_that_differ_are_written() {
    let mut nf = Nft::open().unwrap();
    let mut from = path(&[(0x1_0000, &["192.0.2.1", "192.0.2.2"]), (0x2_0000, &["2001:db8::1"])]);
    nf.write(&Held::Absent, Some(&from)).unwrap();
    let handles = || -> Vec<String> {
        let output =
            Command::new("nft").args(["-a", "list", "table", "inet", "multihome"]).output();
        let text = String::from_utf8(output.expect("nft").stdout).expect("UTF-8 from nft");
        text.lines().filter(|l| l.contains("# handle")).map(str::to_owned).collect()
    };
    let before = handles();
    assert_eq!(before.len(), 10, "a table, two maps, three chains, four rules: {before:?}");
    for to in [
        path(&[(0x1_0000, &["192.0.2.1"]), (0x2_0000, &["192.0.2.2", "2001:db8::1"])]),
        path(&[(0x1_0000, &["2001:db8::1"]), (0x2_0000, &[])]),
        many(),
        path(&[(0x1_0000, &[]), (0x2_0000, &["192.0.2.9"])]),
    ] {
        nf.write(&Held::Whole(from), Some(&to)).unwrap();
        assert_eq!(held(&mut nf), Held::Whole(to.clone()));
        assert_eq!(handles(), before);
        from = to;
    }
    // Nothing to do is nothing done.
    let mut watch = NftWatch::open().unwrap();
    nf.write(&Held::Whole(from.clone()), Some(&from)).unwrap();
    assert_eq!(watch.drain(0).unwrap(), None);
    // Another mark is another table.
    let to = path(&[(0x1_0000, &[]), (0x3_0000, &["192.0.2.9"])]);
    nf.write(&Held::Whole(from), Some(&to)).unwrap();
    assert_eq!(held(&mut nf), Held::Whole(to));
    assert_ne!(handles()[0], before[0]);
}

pub fn a_table_changed_by_hand_is_altered_and_made_whole() {
    let mut nf = Nft::open().unwrap();
    let whole = path(&[(0x1_0000, &["192.0.2.1"]), (0x2_0000, &["2001:db8::1"])]);
    for commands in [
        &["add rule inet multihome prerouting counter"][..],
        &["insert rule inet multihome prerouting accept"],
        &["add rule inet multihome mark_00010000 accept"],
        &["flush chain inet multihome prerouting"],
        &["flush chain inet multihome mark_00010000"],
        &["flush table inet multihome"],
        &["add chain inet multihome other"],
        &["add chain inet multihome other { type filter hook input priority 0; }"],
        &["add set inet multihome other { type ipv4_addr; }"],
        &["add counter inet multihome other"],
        &["add element inet multihome addresses4 { 192.0.2.7 : accept }"],
        &["add element inet multihome addresses4 { 192.0.2.7 : jump mark_00010000 }"],
        &["add element inet multihome addresses6 { 2001:db8::7 : drop }"],
        &["add table inet multihome { flags dormant; }"],
        &["add chain inet multihome prerouting { policy drop; }"],
        &["delete table inet multihome", "add table inet multihome"],
        // Others of their names.
        &[
            "delete table inet multihome",
            "add table inet multihome",
            "add set inet multihome addresses4 { type ipv4_addr; }",
            "add set inet multihome addresses6 { type ipv6_addr; }",
            "add chain inet multihome prerouting { type filter hook prerouting priority -140; }",
        ],
        &[
            "delete table inet multihome",
            "add table inet multihome",
            "add chain inet multihome prerouting { type nat hook prerouting priority -140; }",
        ],
    ] {
        nf.write(&Held::Absent, Some(&whole)).unwrap();
        assert_eq!(held(&mut nf), Held::Whole(whole.clone()));
        commands.iter().for_each(|c| drop(nft(c)));
        assert_eq!(held(&mut nf), Held::Altered, "{commands:?}");
        nf.write(&Held::Altered, Some(&whole)).unwrap();
        assert_eq!(held(&mut nf), Held::Whole(whole.clone()), "{commands:?}");
    }
    // One address less is a whole table, but another one.
    nft("delete element inet multihome addresses4 { 192.0.2.1 }");
    let less = path(&[(0x1_0000, &[]), (0x2_0000, &["2001:db8::1"])]);
    assert_eq!(held(&mut nf), Held::Whole(less));
    // What was changed meanwhile is told, and nothing is done.
    let to = path(&[(0x1_0000, &["192.0.2.5"]), (0x2_0000, &["2001:db8::1"])]);
    let e = nf.write(&Held::Whole(whole), Some(&to)).unwrap_err();
    let expected = "element 192.0.2.1 of map addresses4 (ENOENT: No such file or directory)";
    assert_eq!(e.to_string(), expected);
    assert!(!nft("list ruleset").contains("192.0.2.5"));
    // An error does not disturb what comes behind it.
    nf.write(&Held::Altered, Some(&to)).unwrap();
    assert_eq!(held(&mut nf), Held::Whole(to));
}

pub fn tables_of_others_are_not_touched() {
    let mut nf = Nft::open().unwrap();
    nft("add table ip multihome");
    nft("add table inet multihome2");
    assert_eq!(held(&mut nf), Held::Absent);
    let path = path(&[(0x1_0000, &["192.0.2.1"])]);
    nf.write(&Held::Absent, Some(&path)).unwrap();
    nf.write(&Held::Whole(path), None).unwrap();
    nf.write(&Held::Altered, None).unwrap(); // already gone
    assert_eq!(nft("list tables"), "table ip multihome\ntable inet multihome2\n");
}

pub fn who_translates_destinations_is_seen() {
    let mut nf = Nft::open().unwrap();
    let nat = |nf: &mut Nft| look(nf).nat.into_iter().collect::<Vec<_>>();
    let path = path(&[(0x1_0000, &["192.0.2.1"])]);
    nf.write(&Held::Absent, Some(&path)).unwrap();
    assert_eq!(nat(&mut nf), []);
    nft("add table ip a");
    nft("add chain ip a c { type nat hook prerouting priority -100; }");
    assert_eq!(nat(&mut nf), []); // no rule, no translation
    nft("add rule ip a c tcp dport 80 dnat to 10.0.0.1");
    assert_eq!(nat(&mut nf), [Family::V4]);
    nft("add table ip6 a");
    nft("add chain ip6 a c { type nat hook output priority -100; }");
    nft("add rule ip6 a c tcp dport 80 dnat to 2001:db8::1");
    assert_eq!(nat(&mut nf), [Family::V4, Family::V6]);
    nft("delete table ip a");
    nft("delete table ip6 a");
    nft("add table inet a");
    nft("add chain inet a c { type nat hook postrouting priority 100; }");
    nft("add rule inet a c masquerade");
    assert_eq!(nat(&mut nf), []);
    nft("add chain inet a d { type nat hook prerouting priority -100; }");
    assert_eq!(nat(&mut nf), [Family::V4, Family::V6]);
    nft("delete table inet a");
    assert_eq!(nat(&mut nf), []);
}

pub fn a_change_by_others_is_told_with_their_name() {
    let mut nf = Nft::open().unwrap();
    let mut watch = NftWatch::open().unwrap();
    assert_eq!(watch.drain(nf.port()).unwrap(), None);
    nf.write(&Held::Absent, Some(&many())).unwrap();
    assert_eq!(watch.drain(nf.port()).unwrap(), None);
    nft("add table ip a");
    let who = watch.drain(nf.port()).unwrap().expect("a change");
    assert_eq!(who.program.as_deref(), Some("nft"));
    assert!(who.pid.is_some());
    assert_eq!(watch.drain(nf.port()).unwrap(), None);
    nft("list ruleset");
    assert_eq!(watch.drain(nf.port()).unwrap(), None);
    let status = Command::new("iptables-nft").args(["-A", "INPUT", "-j", "ACCEPT"]).status();
    assert!(status.unwrap().success());
    let who = watch.drain(nf.port()).unwrap().expect("a change");
    assert!(who.program.as_deref().is_some_and(|p| p.starts_with("iptables")), "{who:?}");
    // Ours and another's at once.
    nft("delete table ip a");
    nf.write(&Held::Altered, None).unwrap();
    let who = watch.drain(nf.port()).unwrap().expect("a change");
    assert_eq!(who.program.as_deref(), Some("nft"));
    assert_eq!(watch.drain(nf.port()).unwrap(), None);
}

pub fn a_change_that_found_no_room_is_somebodys() {
    let mut nf = Nft::open().unwrap();
    let mut watch = NftWatch::open().unwrap();
    // All ours, but what is lost could have been another's.
    for _ in 0..8 {
        nf.write(&Held::Absent, Some(&many())).unwrap();
    }
    assert_eq!(watch.drain(nf.port()).unwrap(), Some(Who::default()));
    assert_eq!(watch.drain(nf.port()).unwrap(), None);
    nf.write(&Held::Altered, Some(&path(&[]))).unwrap();
    assert_eq!(watch.drain(nf.port()).unwrap(), None);
}

pub fn an_ordinary_user_is_told_nothing_of_nf_tables() {
    ip("link set lo up");
    drop_privileges();
    let mut nf = Nft::open().unwrap();
    assert_eq!(nf.observe().unwrap(), None);
    let e = nf.write(&Held::Absent, Some(&path(&[]))).unwrap_err();
    assert!(e.is_permission(), "{e}");
    let e = NftWatch::open().unwrap_err();
    assert!(e.is_permission() && e.to_string().contains("nf_tables"), "{e}");
}

pub fn a_ruleset_that_changes_is_looked_at_again() {
    nft("add table ip a");
    nft("add chain ip a c");
    for n in 0..300 {
        nft(&format!("add rule ip a c meta mark set {:#x}", 1 << (n % 16)));
    }
    let mut churn = Command::new("sh")
        .args([
            "-c",
            "while :; do nft add set ip a s '{ type mark; }'; nft delete set ip a s; done",
        ])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut nf = Nft::open().unwrap();
    for _ in 0..50 {
        let found = nf.observe().unwrap().unwrap();
        let bits = found.marks.iter().find(|m| m.by == "nft ip a c").map(|m| m.bits);
        assert!(bits == Some(0xffff) || !found.unread.is_empty(), "{found:?}");
    }
    churn.kill().unwrap();
    churn.wait().unwrap();
    eventually("it is read whole", || nf.observe().unwrap().unwrap().unread.is_empty());
}
