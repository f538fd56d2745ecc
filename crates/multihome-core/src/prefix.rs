//! Address families and prefixes.
//!
//! [`Prefix`] is an [`IpNet`] that has no host bits: the kernel compares routes
//! and rules by their masked address (`fib_table_insert` refuses host bits,
//! `fib4_rule_configure` masks them), so two spellings of one network must be one
//! value here too.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// IPv4 or IPv6. The two never share a table entry or a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// `AF_INET`.
    #[serde(rename = "inet")]
    V4,
    /// `AF_INET6`.
    #[serde(rename = "inet6")]
    V6,
}

/// A network: an address without host bits, and a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(IpNet);

// ===== impl Family =====

impl Family {
    /// Both, in the order in which `ip` lists them.
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// Length in bits of an address: 32 or 128.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    /// `0.0.0.0/0` or `::/0`.
    #[must_use]
    pub fn all(self) -> Prefix {
        match self {
            Family::V4 => Prefix::from_bits(Family::V4, 0, 0),
            Family::V6 => Prefix::from_bits(Family::V6, 0, 0),
        }
    }

    /// The option that selects this family in `ip`: `-4` or `-6`.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Family::V4 => "-4",
            Family::V6 => "-6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

// ===== impl Prefix =====

impl Prefix {
    /// The network of `len` bits that holds `address`.
    ///
    /// # Panics
    /// Never: a `len` beyond the family's bits means a host prefix.
    #[must_use]
    pub fn new(address: IpAddr, len: u8) -> Prefix {
        let family = Family::of(address);
        let len = len.min(family.bits());
        Prefix::from_bits(family, address_bits(address), len)
    }

    /// The prefix of one address: `/32` or `/128`.
    #[must_use]
    pub fn host(address: IpAddr) -> Prefix {
        Prefix::new(address, Family::of(address).bits())
    }

    /// From bits in the low end of `bits` (IPv4 uses the low 32); host bits are cleared.
    #[must_use]
    pub fn from_bits(family: Family, bits: u128, len: u8) -> Prefix {
        let len = len.min(family.bits());
        let bits = bits & mask(family, len);
        let address = bits_address(family, bits);
        // The length was bounded above, which is all that IpNet can refuse.
        Prefix(IpNet::new_assert(address, len))
    }

    /// Address family.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.0.addr())
    }

    /// Network address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.0.addr()
    }

    /// Length in bits.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u8 {
        self.0.prefix_len()
    }

    /// The network address as a number; IPv4 uses the low 32 bits.
    #[must_use]
    pub fn bits(&self) -> u128 {
        address_bits(self.address())
    }

    /// Whether this is `0.0.0.0/0` or `::/0`.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.len() == 0
    }

    /// Whether this is a single address.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.len() == self.family().bits()
    }

    /// Whether `address` is inside; false across families.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family()
            && address_bits(address) & mask(self.family(), self.len()) == self.bits()
    }

    /// Whether all of `other` is inside (a prefix covers itself).
    #[must_use]
    pub fn covers(&self, other: &Prefix) -> bool {
        self.len() <= other.len() && self.contains(other.address())
    }

    /// The longest prefix that covers both; both are of one family.
    #[must_use]
    pub fn common(&self, other: &Prefix) -> Prefix {
        let family = self.family();
        // Leading zeros of a u128, of which IPv4 uses the low 32 bits.
        let equal = (self.bits() ^ other.bits()).leading_zeros() as u8 - (128 - family.bits());
        Prefix::from_bits(family, self.bits(), equal.min(self.len()).min(other.len()))
    }

    /// Whether the two have any address in common.
    #[must_use]
    pub fn overlaps(&self, other: &Prefix) -> bool {
        self.covers(other) || other.covers(self)
    }
}

/// As `ip` writes it: a host without its length, everything else with it.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() { write!(f, "{}", self.address()) } else { write!(f, "{}", self.0) }
    }
}

impl FromStr for Prefix {
    type Err = String;

    /// `ADDRESS` or `ADDRESS/LEN`; host bits are an error, not a silent correction.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = s.parse::<IpAddr>() {
            return Ok(Prefix::host(address));
        }
        let net: IpNet = s.parse().map_err(|_| format!("`{s}` is not a prefix"))?;
        let prefix = Prefix::new(net.addr(), net.prefix_len());
        if prefix.address() != net.addr() {
            return Err(format!("`{s}` has host bits set: the network is {prefix}"));
        }
        Ok(prefix)
    }
}

impl TryFrom<String> for Prefix {
    type Error = String;
    fn try_from(s: String) -> Result<Self, Self::Error> {
        s.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> String {
        prefix.to_string()
    }
}

// ===== helpers =====

/// An address as a number; IPv4 uses the low 32 bits.
#[must_use]
pub fn address_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(a.to_bits()),
        IpAddr::V6(a) => a.to_bits(),
    }
}

/// The inverse of [`address_bits`]; bits beyond the family's are dropped.
#[must_use]
pub fn bits_address(family: Family, bits: u128) -> IpAddr {
    match family {
        #[allow(clippy::cast_possible_truncation)]
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    }
}

/// The mask of a prefix of `len` bits, in the representation of [`address_bits`].
#[must_use]
pub fn mask(family: Family, len: u8) -> u128 {
    let bits = family.bits();
    let ones = if bits == 128 { u128::MAX } else { (1 << bits) - 1 };
    if len == 0 { 0 } else { (ones << (bits - len)) & ones }
}

/// Whether an address is one that a reply can be routed by: not unspecified,
/// loopback, link-local or multicast.
#[must_use]
pub fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => {
            !(a.is_unspecified() || a.is_loopback() || a.is_link_local() || a.is_multicast())
        }
        IpAddr::V6(a) => {
            !(a.is_unspecified()
                || a.is_loopback()
                || a.is_unicast_link_local()
                || a.is_multicast())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_refused_when_parsed() {
        assert!("10.0.0.1/24".parse::<Prefix>().unwrap_err().contains("10.0.0.0/24"));
        assert_eq!("10.0.0.0/24".parse::<Prefix>().unwrap().to_string(), "10.0.0.0/24");
        assert_eq!("10.0.0.204".parse::<Prefix>().unwrap().len(), 32);
    }

    #[test]
    fn covers_is_reflexive_and_stays_in_the_family() {
        let p: Prefix = "2001:db8::/32".parse().unwrap();
        assert!(p.covers(&p));
        assert!(!Family::V6.all().contains("10.0.0.1".parse().unwrap()));
        assert!(Family::V4.all().covers(&"10.0.0.0/8".parse().unwrap()));
    }
}
