//! Network managers that tidy up, and servers that forget where they were asked.

use super::{Check, Fact, Judged, Lack, Patient};
use crate::model::host::{Networkd, UdpSocket};
use crate::prefix::Family;

pub(super) const CHECKS: &[Check] = &[
    ("networkd-foreign-rules", networkd_foreign_rules),
    ("networkd-foreign-routes", networkd_foreign_routes),
    ("wildcard-udp", wildcard_udp),
];

/// Ports whose servers answer by the link that they were asked on, or to a group: DHCP and
/// DHCPv6 at both ends, NetBIOS, mDNS, LLMNR, SSDP and WS-Discovery. Those whose usual servers
/// keep the address: rpcbind, IKE. And those of the kernel's own tunnels, which choose a source
/// for themselves: VXLAN, Geneve, WireGuard.
const HARMLESS_PORTS: [u16; 17] =
    [67, 68, 111, 137, 138, 500, 546, 547, 1900, 3702, 4500, 4789, 5353, 5355, 6081, 8472, 51820];

/// Servers that keep the address that they were asked on (`IP_PKTINFO`), as `comm` has their
/// names: 15 characters.
const CAREFUL: [&str; 14] = [
    "NetworkManager",
    "avahi-daemon",
    "charon",
    "charon-systemd",
    "chronyd",
    "dhclient",
    "dhcpcd",
    "dnsmasq",
    "ntpd",
    "rpcbind",
    "systemd",
    "systemd-network",
    "systemd-resolve",
    "tailscaled",
];

fn networkd<'a>(patient: &Patient<'a>) -> Result<&'a Networkd, Lack> {
    patient.host().and_then(|h| h.networkd.as_ref()).ok_or(Lack::Networkd)
}

/// `manager_drop_foreign_rules` (networkd-routing-policy-rule.c): whatever it did not make itself,
/// whenever a link of its own is configured. The daemon puts ours back, so this is no more than
/// worth knowing.
fn networkd_foreign_rules(patient: &Patient<'_>) -> Judged {
    let networkd = networkd(patient)?;
    let hits = networkd.running && networkd.foreign_rules && !patient.plan.rules.is_empty();
    Ok(hits.then_some(Fact::NetworkdForeignRules).into_iter().collect())
}

/// With `ManageForeignRoutes=no`, networkd of systemd 257 loses the IPv6 defaults of router
/// advertisements when it is restarted.
fn networkd_foreign_routes(patient: &Patient<'_>) -> Judged {
    let networkd = networkd(patient)?;
    let hits = networkd.running && !networkd.foreign_routes;
    Ok(hits.then_some(Fact::NetworkdForeignRoutes).into_iter().collect())
}

/// What a socket on the wildcard address sends has no source until the route is chosen, and then
/// has the one of that route (`ip_route_output_key_hash_rcu`, `ip6_dst_lookup_tail`): whoever
/// asked another address does not know the answer. No rule can mend that, for a rule chooses by
/// the source. Whether a server keeps the address (`IP_PKTINFO`, or a socket for each) nobody can
/// see from outside: so this is a note, and none where there is one address only.
fn wildcard_udp(patient: &Patient<'_>) -> Judged {
    let sockets = patient.host().and_then(|h| h.wildcard_udp.as_ref()).ok_or(Lack::Sockets)?;
    let has_choice = |family| patient.has_several(family);
    let is_server = |socket: &&UdpSocket| {
        let takes = |family| socket.family == family || socket.family == Family::V6;
        Family::BOTH.into_iter().any(|f| takes(f) && has_choice(f))
            && !HARMLESS_PORTS.contains(&socket.port)
            && !socket.program.as_deref().is_some_and(|p| CAREFUL.contains(&p))
    };
    let mut sockets: Vec<UdpSocket> = sockets.iter().filter(is_server).cloned().collect();
    sockets.sort_by(|a, b| (a.port, &a.program, a.family).cmp(&(b.port, &b.program, b.family)));
    sockets.dedup_by(|b, a| (a.port, &a.program) == (b.port, &b.program));
    let any = !sockets.is_empty();
    Ok(any.then_some(Fact::WildcardUdp { sockets }).into_iter().collect())
}
