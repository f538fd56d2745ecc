//! Which bits of the mark others use: their rules as they lay them, by `nft` and by `iptables`.

use std::process::Command;

use multihome_core::model::Netfilter;
use multihome_kernel::Nft;

use crate::nft::{look, nft};

#[track_caller]
fn iptables(program: &str, arguments: &str) {
    // The lock of the machine is not an ordinary user's to take.
    let lock = std::env::temp_dir().join(format!("multihome-xtables-{}", std::process::id()));
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace()).env("XTABLES_LOCKFILE", &lock);
    let output = command.output().expect(program);
    let _ = std::fs::remove_file(&lock);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {error}");
}

fn bits(found: &Netfilter, by: &str) -> u32 {
    let mut of = found.marks.iter().filter(|m| m.by == by);
    let bits = of.next().map_or(0, |m| m.bits);
    assert_eq!(of.next(), None, "one entry for each place");
    bits
}

pub fn marks_in_rules_of_nft_are_read() {
    let mut nf = Nft::open().unwrap();
    nft("add table ip a");
    nft("add map ip a named { type ipv4_addr : mark; }");
    nft("add element ip a named { 192.0.2.1 : 0x100, 192.0.2.2 : 0x400 }");
    nft("add set ip a marks { type mark; flags interval; }");
    nft("add element ip a marks { 0x10-0x1f, 0x300 }");
    nft("add map ip a empty { type ipv4_addr : mark; flags dynamic; size 10; }");
    for (rule, expected) in [
        ("meta mark set 0x4000", 0x4000),
        ("meta mark set meta mark or 0x4000", 0x4000), // kube-proxy
        ("meta mark set meta mark xor 0x8000", 0x8000),
        ("meta mark set meta mark and 0xff00ffff", 0x00ff_0000), // Tailscale
        ("meta mark set meta mark and 0xff00ffff or 0x40000", 0x00ff_0000),
        ("meta mark and 0xff0000 == 0x80000", 0x00ff_0000),
        ("meta mark and 0xff0000 != 0", 0x00ff_0000),
        ("meta mark 0xca6c", 0xca6c), // wg-quick
        ("meta mark != 0xca6c accept", 0xca6c),
        ("meta mark 0", 0),
        ("meta mark set ct mark", 0),
        ("ct mark set meta mark", 0),
        ("meta mark set ct mark and 0x3f00", 0x3f00),
        ("ct mark set ct mark or 0x80", 0x80), // AWS VPC CNI
        ("ct mark and 0x80 == 0x80", 0x80),
        ("ct mark set 0x80", 0x80),
        ("ct mark 0x80 meta mark set ct mark", 0x80),
        ("meta mark set ip saddr map @named", 0x500),
        ("meta mark set ip saddr map @empty", 0),
        ("meta mark set ip saddr map { 192.0.2.1 : 1, 192.0.2.2 : 2 }", 3),
        ("meta mark set ip saddr map { 192.0.2.0/25 : 0x10, 192.0.2.128/25 : 0x20 }", 0x30),
        ("meta mark set numgen inc mod 2 map { 0 : 0x100, 1 : 0x200 }", 0x300),
        ("meta mark set numgen inc mod 4 offset 0x10", 0x13),
        ("meta mark set jhash ip saddr mod 2 offset 0x100", 0x101),
        ("meta mark { 5, 6, 8 }", 15),
        ("meta mark @marks", 0x31f),
        ("meta mark and 0xff00 { 0x100, 0x200 }", 0xff00),
        ("meta mark and 0xff00 vmap { 0x100 : accept }", 0xff00),
        ("meta mark vmap { 0x100 : accept, 0x20 : drop }", 0x120),
        ("meta mark . ip saddr { 0x40 . 192.0.2.1 }", 0x40),
        ("ip saddr . meta mark { 192.0.2.1 . 0x41 }", 0x41),
        ("ip saddr . tcp dport { 192.0.2.1 . 80 }", 0),
        ("meta mark 0x10-0x1f", 0x1f),
        ("counter tcp dport 80 limit rate 1/second accept", 0),
        ("meta mark and 0x1 == 0x1 counter meta mark set meta mark or 0x2", 3),
        ("iifname \"eth0\" meta mark set 7 ct mark set meta mark", 7),
    ] {
        nft("add chain ip a c");
        nft(&format!("add rule ip a c {rule}"));
        let found = look(&mut nf);
        let used = bits(&found, "nft ip a c");
        assert_eq!(used, expected, "{rule}: {used:#x}, not {expected:#x}");
        nft("delete chain ip a c");
    }
}

pub fn marks_in_rules_of_iptables_are_read() {
    let mut nf = Nft::open().unwrap();
    for (program, by) in [
        ("iptables-nft", "nft ip mangle PREROUTING"),
        ("ip6tables-nft", "nft ip6 mangle PREROUTING"),
        ("iptables-legacy", "iptables-legacy mangle PREROUTING"),
        ("ip6tables-legacy", "ip6tables-legacy mangle PREROUTING"),
    ] {
        for (rule, expected) in [
            ("-j MARK --set-xmark 0x4000/0x4000", 0x4000), // kube-proxy
            ("-j MARK --or-mark 0x8000", 0x8000),
            ("-m mark --mark 0x4000/0x4000 -j ACCEPT", 0x4000),
            ("-m mark ! --mark 0x4000/0x4000 -j RETURN", 0x4000),
            ("-j MARK --xor-mark 0x4000", 0x4000),
            ("-j MARK --set-xmark 0x40000/0xff0000", 0x00ff_0000), // Tailscale
            ("-m mark --mark 0x80000/0xff0000 -j ACCEPT", 0x00ff_0000),
            ("-j MARK --set-xmark 0x10000/0xffff0000", 0xffff_0000), // Calico
            ("-m mark --mark 0x0/0x10000 -j ACCEPT", 0x1_0000),
            ("-j MARK --set-mark 0xca6c", 0xca6c), // wg-quick
            ("-m mark --mark 0xca6c -j CONNMARK --save-mark", 0xca6c),
            ("-j CONNMARK --restore-mark", 0),
            ("-j CONNMARK --restore-mark --nfmask 0x3f00 --ctmask 0x3f00", 0x3f00), // mwan3
            ("-m mark --mark 0x0/0x3f00 -j MARK --set-xmark 0x100/0x3f00", 0x3f00),
            ("-m connmark --mark 0x80/0x80 -j ACCEPT", 0x80), // AWS VPC CNI
            ("-j CONNMARK --set-xmark 0x80/0x80", 0x80),
            ("-j CONNMARK --set-mark 0x80", 0x80),
            ("-p tcp -j TPROXY --on-port 80 --tproxy-mark 0x200/0xf00", 0xf00),
            ("-p tcp --dport 80 -j ACCEPT", 0),
        ] {
            iptables(program, &format!("-t mangle -A PREROUTING {rule}"));
            let found = look(&mut nf);
            let used = bits(&found, by);
            assert_eq!(used, expected, "{program} {rule}: {used:#x}, not {expected:#x}");
            iptables(program, "-t mangle -F PREROUTING");
        }
        assert_eq!(look(&mut nf).marks, []);
    }
    // Who translates, of either kind.
    for (program, to) in [("iptables-legacy", "10.0.0.1"), ("ip6tables-nft", "2001:db8::1")] {
        let before = look(&mut nf).nat.len();
        iptables(program, "-t nat -L");
        assert_eq!(look(&mut nf).nat.len(), before);
        let rule = format!("-t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination {to}");
        iptables(program, &rule);
        assert_eq!(look(&mut nf).nat.len(), before + 1);
    }
}

pub fn marks_are_told_by_place() {
    let mut nf = Nft::open().unwrap();
    for table in ["ip a", "inet a", "bridge b", "netdev n"] {
        nft(&format!("add table {table}"));
        nft(&format!("add chain {table} c"));
        nft(&format!("add rule {table} c meta mark set 0x1"));
        nft(&format!("add rule {table} c meta mark and 0x10 == 0"));
        nft(&format!("add chain {table} d"));
    }
    nft("add rule inet a d meta mark set 0x100");
    let marks = look(&mut nf).marks;
    let told: Vec<(&str, u32)> = marks.iter().map(|m| (m.by.as_str(), m.bits)).collect();
    let expected = [
        ("nft bridge b c", 0x11),
        ("nft inet a c", 0x11),
        ("nft inet a d", 0x100),
        ("nft ip a c", 0x11),
        ("nft netdev n c", 0x11),
    ];
    assert_eq!(told, expected);
}
