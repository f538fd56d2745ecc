//! OpenVPN with `redirect-gateway def1`: two halves of the default in main, and a route to the
//! other end past it. In IPv6 they are more than two.

use multihome_core::Family;

use super::{Dig, FAR, FAR_DEVICE, FAR4, FAR6, NEAR4, NEAR6, Tunnel, stories};

stories!(REDIRECTED);

/// A static key, which is all that two ends need to agree on. Each is there when it has heard the
/// other one.
const COMMON: &str =
    "--dev-type tun --secret /run/openvpn.key --cipher AES-256-CBC --ping 1 --verb 3";

const REDIRECTED: Dig = |host, far| {
    host.sh("openvpn --genkey secret /run/openvpn.key");
    // It would drop what goes through the tunnel to the address where the tunnel begins.
    let end = far.machine.start(&format!(
        "openvpn --dev {FAR_DEVICE} --ifconfig {FAR4} {NEAR4} \
         --ifconfig-ipv6 {FAR6}/64 {NEAR6} {COMMON} --allow-recursive-routing"
    ));
    end.says("UDPv4 link remote", super::SOON);
    far.answers_through(FAR_DEVICE, &Family::BOTH);
    far.machine.netns.settle(FAR_DEVICE, FAR6.parse().unwrap()).unwrap();
    far.answers_inside(&[FAR4, FAR6]);
    let near = host.start(&format!(
        "openvpn --dev tun0 --remote {FAR} --ifconfig {NEAR4} {FAR4} \
         --ifconfig-ipv6 {NEAR6}/64 {FAR6} --redirect-gateway def1 ipv6 {COMMON}"
    ));
    near.says("Initialization Sequence Completed", super::SOON);
    println!("{}", host.sh("ip rule; ip route; ip -6 route"));
    let programs = vec![end, near];
    Tunnel { programs, down: "", families: &Family::BOTH, takes_any_source: true }
};
