//! Addresses of links: [`Ifaddr`] (IP) and [`Mac`] (Ethernet).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use multihome_core::{Family, Prefix};
use multihome_kernel::uapi::{AF_INET, AF_INET6, IFA_ADDRESS, IFA_FLAGS, IFA_LOCAL};
use multihome_kernel::wire::Message;

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// An address to be put on a link: `10.0.0.129/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ifaddr {
    /// The address (`IFA_LOCAL`).
    pub address: IpAddr,
    /// The length of its network.
    pub len: u8,
    /// The other end, on a point-to-point link.
    pub peer: Option<IpAddr>,
    /// Without the connected route (`IFA_F_NOPREFIXROUTE`).
    pub noprefixroute: bool,
    /// Seconds that it is valid, as from a lease; none for ever.
    pub lifetime: Option<u32>,
}

// Numbers that multihome itself has no use for (linux/if_addr.h).
const IFA_BROADCAST: u16 = 4;
const IFA_CACHEINFO: u16 = 6;
const IFA_F_NODAD: u32 = 0x02;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;

// ===== impl Ifaddr =====

impl Ifaddr {
    /// An address with its connected route, for ever.
    #[must_use]
    pub fn new(address: IpAddr, len: u8) -> Ifaddr {
        Ifaddr { address, len, peer: None, noprefixroute: false, lifetime: None }
    }

    /// Valid for so many seconds, as from a lease.
    #[must_use]
    pub fn leased(mut self, seconds: u32) -> Ifaddr {
        self.lifetime = Some(seconds);
        self
    }

    /// The network that it is in.
    #[must_use]
    pub fn network(&self) -> Prefix {
        Prefix::new(self.peer.unwrap_or(self.address), self.len)
    }

    /// `ifaddrmsg`.
    pub(crate) fn header(&self, index: u32) -> [u8; 8] {
        let mut header = [af(self.address), self.len, 0, 0, 0, 0, 0, 0];
        header[4..].copy_from_slice(&index.to_ne_bytes());
        header
    }

    /// The attributes of `RTM_NEWADDR` and `RTM_DELADDR`.
    pub(crate) fn fill(&self, m: &mut Message) {
        let mut flags = 0;
        m.attr_addr(IFA_LOCAL, self.address);
        m.attr_addr(IFA_ADDRESS, self.peer.unwrap_or(self.address));
        match self.address {
            IpAddr::V4(a) if self.peer.is_none() && self.len < 31 => {
                let host = u32::MAX >> self.len;
                m.attr(IFA_BROADCAST, &(a.to_bits() | host).to_be_bytes());
            }
            IpAddr::V4(_) => {}
            IpAddr::V6(_) => flags |= IFA_F_NODAD,
        }
        if self.noprefixroute {
            flags |= IFA_F_NOPREFIXROUTE;
        }
        m.attr_u32(IFA_FLAGS, flags);
        if let Some(seconds) = self.lifetime {
            // ifa_cacheinfo: preferred, valid, and two time stamps that the kernel fills in.
            let mut info = [0; 16];
            info[..4].copy_from_slice(&seconds.to_ne_bytes());
            info[4..8].copy_from_slice(&seconds.to_ne_bytes());
            m.attr(IFA_CACHEINFO, &info);
        }
    }
}

impl fmt::Display for Ifaddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peer {
            Some(peer) => write!(f, "{} peer {peer}/{}", self.address, self.len),
            None => write!(f, "{}/{}", self.address, self.len),
        }
    }
}

impl FromStr for Ifaddr {
    type Err = String;

    /// `ADDRESS/LEN`, or `ADDRESS` for a host address.
    fn from_str(s: &str) -> Result<Ifaddr, String> {
        let bad = || format!("`{s}` is not an address with the length of its network");
        let (address, len) = s.split_once('/').map_or((s, None), |(a, l)| (a, Some(l)));
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let bits = Family::of(address).bits();
        let len = len.map_or(Ok(bits), |l| l.parse().map_err(|_| bad()))?;
        if len > bits { Err(bad()) } else { Ok(Ifaddr::new(address, len)) }
    }
}

// ===== impl Mac =====

impl Mac {
    /// The link-local address that follows from it (RFC 4291, appendix A).
    #[must_use]
    pub fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        let half = |a, b| u16::from_be_bytes([a, b]);
        Ipv6Addr::new(0xfe80, 0, 0, 0, half(a ^ 2, b), half(c, 0xff), half(0xfe, d), half(e, f))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

// ===== helpers =====

/// `AF_INET` or `AF_INET6`.
pub(crate) fn af(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}
