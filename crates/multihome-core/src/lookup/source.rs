//! The source address of what has none: `inet_select_addr` (net/ipv4/devinet.c) and
//! `ipv6_dev_get_saddr` (net/ipv6/addrconf.c, RFC 6724 section 5).

use std::net::{IpAddr, Ipv6Addr};

use super::Lookup;
use crate::model::address::{IFA_F_DEPRECATED, IFA_F_OPTIMISTIC, IFA_F_TENTATIVE};
use crate::model::label::{self, AddressLabel};
use crate::model::route::{SCOPE_HOST, SCOPE_LINK};
use crate::model::{Address, Link};
use crate::prefix::{Family, Prefix, address_bits};

// ===== IPv4 =====

impl Lookup<'_> {
    /// The address of a link for a destination on it: the first primary one of the scope whose
    /// network holds the destination (a gateway, or none), or else just the first. A link that has
    /// none borrows one, the loopback's before others.
    pub(super) fn source_v4(
        &self,
        link: u32,
        destination: Option<IpAddr>,
        scope: u8,
    ) -> Option<IpAddr> {
        // With route_localnet, 127.0.0.1 may leave the host.
        let localnet = self.switch(Family::V4, link, "route_localnet");
        let host = if localnet { SCOPE_LINK } else { SCOPE_HOST };
        let own = self.snapshot.addresses_in_order(link);
        let mut usable = own.into_iter().filter(|a| a.local.is_ipv4() && !a.is_secondary());
        let mut fits = |a: &&Address| a.scope.min(host) <= scope;
        let first = usable.find(&mut fits);
        let holder = destination.and_then(|to| {
            first.into_iter().chain(usable.filter(fits)).find(|a| a.network().contains(to))
        });
        if let Some(address) = holder.or(first) {
            return Some(address.local);
        }
        self.snapshot.links().filter(|l| !self.is_in_vrf(l.index)).find_map(|l| {
            let all = self.snapshot.addresses_in_order(l.index).into_iter();
            let mut primary = all.filter(|a| a.local.is_ipv4() && !a.is_secondary());
            primary.find(|a| a.scope != SCOPE_LINK && a.scope <= scope).map(|a| a.local)
        })
    }

    /// A switch of a link that `all` turns on as well (`IN_DEV_ORCONF`).
    pub(super) fn switch(&self, family: Family, link: u32, key: &str) -> bool {
        let Some(link) = self.snapshot.link(link) else { return false };
        self.snapshot.sysctls.effective(family, &link.name, key).is_some_and(|v| v > 0)
    }
}

// ===== IPv6 =====

/// What the rules of RFC 6724 compare, in their order: the greater the better.
type Score = [i64; 9];

impl Lookup<'_> {
    /// The best address for a destination that is left for by a link.
    pub(super) fn source_v6(&self, link: Option<u32>, to: Ipv6Addr) -> Option<IpAddr> {
        let defaults;
        let labels = match &self.snapshot.labels {
            Some(labels) => labels,
            None => {
                defaults = label::kernel_default();
                &defaults
            }
        };
        // The link's own word only: ipv6_dev_get_saddr does not look at `all`.
        let own_only = |l: &Link| {
            self.snapshot.sysctls.conf(Family::V6, &l.name, "use_oif_addrs_only").unwrap_or(0) > 0
        };
        let only_link = to.is_multicast()
            || scope(to) <= SCOPE_V6_LINK
            || link.and_then(|l| self.snapshot.link(l)).is_some_and(own_only);
        let links: Vec<&Link> = match (link, only_link) {
            (Some(index), true) => self.snapshot.link(index).into_iter().collect(),
            (None, true) => Vec::new(),
            _ => self.snapshot.links().filter(|l| !self.is_in_vrf(l.index)).collect(),
        };
        let mut best: Option<(Score, IpAddr)> = None;
        for candidate in links {
            for address in self.snapshot.addresses_in_order(candidate.index) {
                let IpAddr::V6(own) = address.local else { continue };
                let tentative = address.flags & IFA_F_TENTATIVE != 0;
                if tentative && address.flags & IFA_F_OPTIMISTIC == 0 || own.is_multicast() {
                    continue;
                }
                let score = self.score_v6(labels, candidate, address, own, link, to);
                // The first of those that are equally good.
                if best.is_none_or(|(s, _)| score > s) {
                    best = Some((score, address.local));
                }
            }
        }
        best.map(|(_, address)| address)
    }

    fn score_v6(
        &self,
        labels: &[AddressLabel],
        candidate: &Link,
        address: &Address,
        own: Ipv6Addr,
        link: Option<u32>,
        to: Ipv6Addr,
    ) -> Score {
        let conf = |key| self.snapshot.sysctls.conf(Family::V6, &candidate.name, key).unwrap_or(0);
        let distance = match scope(own) {
            // Wide enough: the narrower the better; not wide enough: the wider the better.
            own if own >= scope(to) => -i64::from(own),
            own => i64::from(own) - 128,
        };
        let optimistic = address.flags & IFA_F_OPTIMISTIC != 0;
        let avoid = address.flags & IFA_F_DEPRECATED != 0
            || optimistic && !self.switch(Family::V6, candidate.index, "use_optimistic");
        let destination = link.unwrap_or(0);
        let same_label = label::of(labels, address.local, candidate.index)
            == label::of(labels, IpAddr::V6(to), destination);
        let prefer_temporary = conf("use_tempaddr") >= 2;
        let common = (address_bits(address.local) ^ to.to_bits()).leading_zeros();
        [
            i64::from(own == to),
            distance,
            i64::from(is_always_preferred(own) || !avoid),
            i64::from(link.is_none_or(|l| l == candidate.index)),
            i64::from(same_label),
            i64::from(address.is_temporary() == prefer_temporary),
            i64::from(is_orchid(own) == is_orchid(to)),
            i64::from(common.min(u32::from(address.prefix_len))),
            i64::from(!optimistic),
        ]
    }
}

/// `IPV6_ADDR_SCOPE_LINKLOCAL`.
const SCOPE_V6_LINK: u8 = 2;

/// The scope of an address (`__ipv6_addr_src_scope`).
fn scope(address: Ipv6Addr) -> u8 {
    let [first, second, ..] = address.octets();
    match address {
        a if a.is_unspecified() => 0,
        a if a.is_multicast() => second & 0x0f,
        a if a.is_loopback() || a.is_unicast_link_local() => SCOPE_V6_LINK,
        _ if first == 0xfe && second & 0xc0 == 0xc0 => 5,
        _ => 14,
    }
}

/// `ipv6_saddr_preferred`: mapped, compatible and loopback addresses are never avoided.
fn is_always_preferred(address: Ipv6Addr) -> bool {
    let bits = address.to_bits();
    address.is_loopback() || address.to_ipv4_mapped().is_some() || bits >> 32 == 0 && bits > 1
}

/// `ipv6_addr_orchid`.
fn is_orchid(address: Ipv6Addr) -> bool {
    Prefix::new(Ipv6Addr::new(0x2001, 0x10, 0, 0, 0, 0, 0, 0).into(), 28)
        .contains(IpAddr::V6(address))
}
