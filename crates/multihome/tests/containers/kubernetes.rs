//! The rules and marks of networks for Kubernetes, laid by hand beside ours: neither is in the
//! other's way.

use crate::engine::{Bed, Engine, FAILING};
use crate::runner::tests;
use crate::state::State;

tests![aws_vpc_cni, aws_vpc_cni_comes_later, cilium, cilium_comes_later, calico];

/// What a program lays, as lines of shell. Its own netfilter table is `inet theirs`.
struct Theirs(&'static str);

/// `pkg/networkutils/network.go`: what comes in by the first card keeps to main.
const AWS: Theirs = Theirs(
    "ip rule add pref 512 to 172.17.0.2 lookup main
     ip rule add pref 1024 fwmark 0x80/0x80 lookup main
     nft -f - << 'END'
table inet theirs {
  chain prerouting { type filter hook prerouting priority mangle;
    iifname ens5 fib daddr type local ct mark set ct mark | 0x80
    iifname docker0 ct mark & 0x80 == 0x80 meta mark set meta mark | 0x80
  }
}
END",
);

/// `pkg/datapath/linux/linux_defaults`: the local table after its own rules, and a mark for its
/// proxy.
const CILIUM: Theirs = Theirs(
    "ip rule add pref 9 fwmark 0x200/0xf00 lookup 2004
     ip route add local default dev lo table 2004
     for family in -4 -6; do
       ip $family rule add pref 100 lookup local && ip $family rule del pref 0
     done
     nft -f - << 'END'
table inet theirs {
  chain prerouting { type filter hook prerouting priority mangle;
    iifname docker0 meta mark set meta mark & 0xfffff0ff | 0x00000f00
  }
}
END",
);

/// `felix`: all upper bits are its, the last rule for WireGuard between hosts.
const CALICO: Theirs = Theirs(
    "ip rule add pref 99 not fwmark 0x100000/0x100000 lookup 1
     ip route add 192.0.2.0/24 dev lo table 1
     nft -f - << 'END'
table inet theirs {
  chain prerouting { type filter hook prerouting priority mangle;
    meta mark set meta mark & 0xfff0ffff
    iifname docker0 meta mark set meta mark | 0x00040000
  }
  chain forward { type filter hook forward priority filter;
    meta mark set meta mark & 0xfff1ffff | 0x00010000
  }
}
END",
);

const LOOK: &str = "nft --stateless list table inet theirs";

fn beside(theirs: &Theirs, is_later: bool) {
    let bed = Bed::new(Engine::Nft);
    bed.assert_failing(FAILING);
    let early = is_later.then(|| bed.run());
    bed.host.sh(theirs.0);
    let foreign = State::of(&bed.host).foreign();
    let table = bed.host.sh(LOOK);
    let daemon = early.unwrap_or_else(|| bed.run());
    bed.assert_all_flow("with both");
    foreign.assert_is(&State::of(&bed.host).foreign(), "without what is ours");
    assert_eq!(bed.host.sh(LOOK), table);
    drop(daemon);
    bed.down();
    foreign.assert_is(&State::of(&bed.host), "after down");
    assert_eq!(bed.host.sh(LOOK), table);
}

fn aws_vpc_cni() {
    beside(&AWS, false);
}

fn aws_vpc_cni_comes_later() {
    beside(&AWS, true);
}

fn cilium() {
    beside(&CILIUM, false);
}

fn cilium_comes_later() {
    beside(&CILIUM, true);
}

fn calico() {
    beside(&CALICO, false);
}
