//! What the files under `/proc/sys/net` say, as far as it decides about packets.
//!
//! A link's name may hold a dot (`ens6.100`), which sysctl(8) would take for a separator; so keys
//! are paths here, with `/` between their parts: `net/ipv4/conf/ens6.100/rp_filter`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::prefix::Family;

/// Values by path below `/proc/sys`. A key that could not be read is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sysctls {
    values: BTreeMap<String, String>,
}

/// What a sysctl was before multihome changed it, and what it was changed to: while it still is
/// that, it is ours to put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raised {
    /// Before.
    pub was: String,
    /// After.
    pub set: String,
    /// The index of the link that it is of; 0 for one of the whole namespace.
    #[serde(default)]
    pub link: u32,
}

/// Keys of `net/ipv4/conf/LINK` that decide about packets; read for `all`, `default` and every link
/// with an address.
pub const CONF_V4: [&str; 13] = [
    "accept_local",
    "arp_announce",
    "arp_filter",
    "arp_ignore",
    "bc_forwarding",
    "forwarding",
    "ignore_routes_with_linkdown",
    "promote_secondaries",
    "proxy_arp",
    "route_localnet",
    "rp_filter",
    "send_redirects",
    "src_valid_mark",
];

/// Keys of `net/ipv6/conf/LINK`, likewise.
pub const CONF_V6: [&str; 10] = [
    "accept_ra",
    "accept_ra_defrtr",
    "disable_ipv6",
    "forwarding",
    "ignore_routes_with_linkdown",
    "keep_addr_on_down",
    "optimistic_dad",
    "use_oif_addrs_only",
    "use_optimistic",
    "use_tempaddr",
];

/// Keys of [`CONF_V4`] that the kernel asks of the link alone (`IN_DEV_CONF_GET`).
const LINK_ALONE_V4: [&str; 1] = ["forwarding"];

/// Keys of [`CONF_V6`] likewise (`idev->cnf`): there `all` counts for few, and not for
/// `ignore_routes_with_linkdown` (`ip6_ignore_linkdown`).
const LINK_ALONE_V6: [&str; 6] = [
    "accept_ra",
    "accept_ra_defrtr",
    "disable_ipv6",
    "forwarding",
    "ignore_routes_with_linkdown",
    "use_tempaddr",
];

/// Keys of the whole namespace.
pub const GLOBAL: [&str; 10] = [
    "net/ipv4/fib_multipath_hash_policy",
    "net/ipv4/fib_multipath_use_neigh",
    "net/ipv4/fwmark_reflect",
    "net/ipv4/icmp_errors_use_inbound_ifaddr",
    "net/ipv4/ip_forward",
    "net/ipv4/ip_nonlocal_bind",
    "net/ipv4/nexthop_compat_mode",
    "net/ipv4/tcp_l3mdev_accept",
    "net/ipv6/fib_multipath_hash_policy",
    "net/ipv6/ip_nonlocal_bind",
];

/// Those of [`CONF_V4`] that a plan depends on.
pub const PLAN_V4: [&str; 4] = ["arp_announce", "arp_ignore", "forwarding", "rp_filter"];

/// Those of [`CONF_V6`], likewise.
pub const PLAN_V6: [&str; 1] = ["forwarding"];

/// Those of [`GLOBAL`], likewise.
pub const PLAN_GLOBAL: [&str; 1] = ["net/ipv4/icmp_errors_use_inbound_ifaddr"];

/// `net/ipv4/conf/LINK/KEY`, or `ipv6`. `all` and `default` are links here.
#[must_use]
pub fn conf(family: Family, link: &str, key: &str) -> String {
    let family = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    format!("net/{family}/conf/{link}/{key}")
}

/// Whether what `all` says counts for each link beside the link's own value.
#[must_use]
pub fn asks_all(family: Family, key: &str) -> bool {
    let alone = match family {
        Family::V4 => &LINK_ALONE_V4[..],
        Family::V6 => &LINK_ALONE_V6[..],
    };
    !alone.contains(&key)
}

/// A path as sysctl(8) writes it: `net.ipv4.conf.ens6/100.rp_filter`.
#[must_use]
pub fn display(path: &str) -> String {
    path.chars()
        .map(|c| match c {
            '/' => '.',
            '.' => '/',
            c => c,
        })
        .collect()
}

// ===== impl Sysctls =====

impl Sysctls {
    /// Whether nothing was read: the snapshot is of a time or a place without them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Notes a value.
    pub fn insert(&mut self, path: impl Into<String>, value: impl Into<String>) {
        self.values.insert(path.into(), value.into());
    }

    /// The value at a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&str> {
        self.values.get(path).map(String::as_str)
    }

    /// The value at a path as a number.
    #[must_use]
    pub fn number(&self, path: &str) -> Option<i64> {
        self.get(path)?.parse().ok()
    }

    /// What `conf/LINK/KEY` says.
    #[must_use]
    pub fn conf(&self, family: Family, link: &str, key: &str) -> Option<i64> {
        self.number(&conf(family, link, key))
    }

    /// The greater of what `all` and the link say, which is what counts for `rp_filter`,
    /// `arp_ignore` and `arp_announce` (`IN_DEV_MAXCONF`), and for the switches that are on when
    /// either is (`IN_DEV_ORCONF`); or the link's own where that is all that counts
    /// ([`asks_all`]). None when neither is known.
    #[must_use]
    pub fn effective(&self, family: Family, link: &str, key: &str) -> Option<i64> {
        let all = asks_all(family, key).then(|| self.conf(family, "all", key)).flatten();
        all.max(self.conf(family, link, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_in_a_link_name_is_no_separator() {
        let path = conf(Family::V4, "ens6.100", "rp_filter");
        assert_eq!(path, "net/ipv4/conf/ens6.100/rp_filter");
        assert_eq!(display(&path), "net.ipv4.conf.ens6/100.rp_filter");
    }

    #[test]
    fn the_greater_of_all_and_link_counts() {
        let mut sysctls = Sysctls::default();
        assert_eq!(sysctls.effective(Family::V4, "ens6", "rp_filter"), None);
        sysctls.insert("net/ipv4/conf/all/rp_filter", "2");
        sysctls.insert("net/ipv4/conf/ens6/rp_filter", "1");
        assert_eq!(sysctls.effective(Family::V4, "ens6", "rp_filter"), Some(2));
    }

    #[test]
    fn ipv6_asks_the_link_alone_whether_routes_without_carrier_count() {
        let key = "ignore_routes_with_linkdown";
        let mut sysctls = Sysctls::default();
        for family in Family::BOTH {
            sysctls.insert(conf(family, "all", key), "1");
            sysctls.insert(conf(family, "ens6", key), "0");
        }
        assert_eq!(sysctls.effective(Family::V4, "ens6", key), Some(1));
        assert_eq!(sysctls.effective(Family::V6, "ens6", key), Some(0));
    }
}
