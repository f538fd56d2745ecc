//! Router advertisements (RFC 4861, section 4.2), made by hand.
//!
//! The host's IPv6 defaults come from the kernel's own handling of a real advertisement
//! (`ndisc_router_discovery`), not from routes that were written as if: such routes expire,
//! carry `proto ra`, never join into a multipath route, and a lifetime of 0 takes them away.
//! The kernel fills in the checksum of a raw ICMPv6 socket (`rawv6_push_pending_frames`).

use std::net::{Ipv6Addr, SocketAddrV6};

use multihome_core::Prefix;
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, bind, ipproto, sendto, socket_with, sockopt,
};

use crate::Error;
use crate::ifaddr::Mac;
use crate::netns::Netns;

/// What a router says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advert {
    /// The router's link-local address: the gateway.
    pub router: Ipv6Addr,
    /// Its Ethernet address, so that nobody needs to ask for it.
    pub mac: Mac,
    /// Seconds for which it is a default router; 0: no longer, or never.
    pub lifetime: u16,
    /// Whether addresses and the rest are to be had by DHCPv6 (the flags M and O).
    pub managed: bool,
    /// Prefixes that are on the link; no addresses are made from them.
    pub onlink: Vec<Prefix>,
}

/// Everyone on the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Seconds that a prefix is on the link.
const PREFIX_LIFETIME: u32 = 86_400;

// ===== impl Advert =====

impl Advert {
    /// The packet, without its checksum.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        // Type 134, code 0, checksum, hop limit 64, flags, router lifetime, and two timers that
        // are left to the host.
        let flags = if self.managed { 0xc0 } else { 0 };
        let mut packet = vec![134, 0, 0, 0, 64, flags];
        packet.extend_from_slice(&self.lifetime.to_be_bytes());
        packet.extend_from_slice(&[0; 8]);
        // Source link-layer address: the router counts as reachable from the start, and of two
        // routers that are, the kernel keeps to the one that it learnt first (rt6_select).
        packet.extend_from_slice(&[1, 1]);
        packet.extend_from_slice(&self.mac.0);
        for prefix in &self.onlink {
            let std::net::IpAddr::V6(network) = prefix.address() else { continue };
            packet.extend_from_slice(&[3, 4, prefix.len(), 0x80]); // on-link, not autonomous
            packet.extend_from_slice(&PREFIX_LIFETIME.to_be_bytes());
            packet.extend_from_slice(&PREFIX_LIFETIME.to_be_bytes());
            packet.extend_from_slice(&[0; 4]);
            packet.extend_from_slice(&network.octets());
        }
        packet
    }

    /// Sends it out of a link.
    ///
    /// # Errors
    /// When the kernel refuses, because the link has no such address for one.
    pub fn send(&self, netns: &Netns, link: &str) -> Result<(), Error> {
        let index = netns.index(link)?;
        netns
            .run(|| {
                let icmp = Some(ipproto::ICMPV6);
                let flags = SocketFlags::CLOEXEC;
                let socket = socket_with(AddressFamily::INET6, SocketType::RAW, flags, icmp)?;
                // Receivers take it only with the hop limit that no router can have lowered.
                sockopt::set_ipv6_multicast_hops(&socket, 255)?;
                bind(&socket, &SocketAddrV6::new(self.router, 0, 0, index))?;
                let to = SocketAddrV6::new(ALL_NODES, 0, 0, index);
                sendto(&socket, &self.bytes(), SendFlags::empty(), &to)
            })?
            .map_err(|e| {
                Error::step(netns.name(), format!("send an advertisement by {link}"), e)
            })?;
        Ok(())
    }
}
