//! wg-quick with all addresses allowed. The kernel may have no WireGuard, so it is wireguard-go.
//!
//! Its rules have no priorities, so the kernel puts them right in front of the first rule that is
//! not `lookup local`; `wg-quick down` deletes every rule `lookup main suppress_prefixlength 0`.

use multihome_core::Family;

use super::{Dig, FAR, FAR_DEVICE, FAR4, FAR6, Far, NEAR4, NEAR6, Tunnel, stories};
use crate::engine::{Bed, DOCKER, Engine};
use crate::host::{Host, write};

stories!(QUICK, beside_docker, comes_beside_docker, with_strict_reverse_path_filters,);

fn beside_docker() {
    super::before(DOCKER, QUICK);
}

fn comes_beside_docker() {
    super::after(DOCKER, QUICK);
}

fn with_strict_reverse_path_filters() {
    super::before_on(Bed::new(Engine::Nft).strict(), QUICK);
}

const QUICK: Dig = |host, far| {
    let public = other_end(host, far);
    let private = host.sh("cat /run/keys/near");
    write(
        "/etc/wireguard/wg0.conf",
        &format!(
            "[Interface]\nPrivateKey = {private}Address = {NEAR4}/24, {NEAR6}/64\n\
             [Peer]\nPublicKey = {public}Endpoint = {FAR}:51820\nAllowedIPs = 0.0.0.0/0, ::/0\n"
        ),
    );
    host.sh("export WG_QUICK_USERSPACE_IMPLEMENTATION=wireguard-go
             wg-quick up wg0 > /run/wg-quick.log 2>&1 || { cat /run/wg-quick.log >&2; exit 1; }");
    println!("{}", host.sh("ip rule; ip route show table all | grep wg0; nft list tables"));
    let down = "wg-quick down wg0 2>&1";
    Tunnel { programs: Vec::new(), down, families: &Family::BOTH, takes_any_source: true }
};

/// Makes the keys and the other end, and returns its public key.
#[track_caller]
pub fn other_end(host: &Host, far: &Far) -> String {
    host.sh("umask 077; mkdir /run/keys; cd /run/keys; wg genkey > near; wg genkey > far");
    // It takes whatever comes from the host.
    far.machine.sh(&format!(
        "wireguard-go {FAR_DEVICE} > /dev/null 2>&1
         wg set {FAR_DEVICE} listen-port 51820 private-key /run/keys/far \
            peer $(wg pubkey < /run/keys/near) allowed-ips 0.0.0.0/0,::/0
         ip address add {FAR4}/24 dev {FAR_DEVICE}
         ip address add {FAR6}/64 dev {FAR_DEVICE} nodad
         ip link set {FAR_DEVICE} up"
    ));
    far.answers_through(FAR_DEVICE, &Family::BOTH);
    far.machine.netns.settle(FAR_DEVICE, FAR6.parse().unwrap()).unwrap();
    far.answers_inside(&[FAR4, FAR6]);
    host.sh("wg pubkey < /run/keys/far")
}
