//! The rules of programs that cannot be run here, laid by hand around a real tunnel.

use multihome_core::Family;

use super::wireguard::other_end;
use super::{Dig, FAR, Far, NEAR4, NEAR6, Tunnel};
use crate::engine::Engine;
use crate::host::Host;
use crate::runner::tests;

tests![
    tailscale_with_an_exit_node,
    tailscale_comes_later,
    netbird_with_an_exit_node,
    netbird_comes_later,
    wireguard_by_network_manager,
    wireguard_by_network_manager_comes_later,
];

/// A program's rules and its table, for both families alike.
struct Rules {
    device: &'static str,
    /// What its own packets carry.
    mark: &'static str,
    rules: &'static [&'static str],
    table: &'static str,
}

/// `wgengine/router/osrouter/router_linux.go`.
const TAILSCALE: Rules = Rules {
    device: "tailscale0",
    mark: "0x80000",
    rules: &[
        "pref 5210 fwmark 0x80000/0xff0000 lookup main",
        "pref 5230 fwmark 0x80000/0xff0000 lookup default",
        "pref 5250 fwmark 0x80000/0xff0000 unreachable",
        "pref 5270 lookup 52",
    ],
    table: "52",
};

/// `client/internal/routemanager/systemops/systemops_linux.go`.
const NETBIRD: Rules = Rules {
    device: "wt0",
    mark: "0x1bd00",
    rules: &[
        "pref 105 lookup main suppress_prefixlength 0",
        "pref 110 not fwmark 0x1bd00 lookup 7120",
    ],
    table: "7120",
};

/// `src/core/devices/nm-device-wireguard.c`: the number follows the connection's UUID.
const NETWORK_MANAGER: Rules = Rules {
    device: "wg-nm",
    mark: "0xca6c",
    rules: &[
        "pref 31175 lookup main suppress_prefixlength 0",
        "pref 31176 not fwmark 0xca6c lookup 51820",
    ],
    table: "51820",
};

const DIG_TAILSCALE: Dig = |host, far| dig(host, far, &TAILSCALE);
const DIG_NETBIRD: Dig = |host, far| dig(host, far, &NETBIRD);
const DIG_NETWORK_MANAGER: Dig = |host, far| dig(host, far, &NETWORK_MANAGER);

fn dig(host: &Host, far: &Far, rules: &Rules) -> Tunnel {
    let public = other_end(host, far);
    let Rules { device, mark, rules, table } = rules;
    host.sh(&format!(
        "wireguard-go {device} > /dev/null 2>&1
         wg set {device} private-key /run/keys/near fwmark {mark} \
            peer {} allowed-ips 0.0.0.0/0,::/0 endpoint {FAR}:51820
         ip address add {NEAR4}/24 dev {device}
         ip address add {NEAR6}/64 dev {device} nodad
         ip link set {device} up
         sysctl -w net.ipv4.conf.all.src_valid_mark=1
         for family in -4 -6; do ip $family route add default dev {device} table {table}; done",
        public.trim()
    ));
    for rule in *rules {
        host.sh(&format!("ip -4 rule add {rule} && ip -6 rule add {rule}"));
    }
    Tunnel { programs: Vec::new(), down: "", families: &Family::BOTH, takes_any_source: true }
}

fn tailscale_with_an_exit_node() {
    super::before(Engine::Nft, DIG_TAILSCALE);
}

fn tailscale_comes_later() {
    super::after(Engine::Nft, DIG_TAILSCALE);
}

fn netbird_with_an_exit_node() {
    super::before(Engine::Nft, DIG_NETBIRD);
}

fn netbird_comes_later() {
    super::after(Engine::Nft, DIG_NETBIRD);
}

fn wireguard_by_network_manager() {
    super::before(Engine::Nft, DIG_NETWORK_MANAGER);
}

fn wireguard_by_network_manager_comes_later() {
    super::after(Engine::Nft, DIG_NETWORK_MANAGER);
}
