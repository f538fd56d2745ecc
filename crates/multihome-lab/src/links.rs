//! The verbs of `ip link`, `ip address`, `ip route`, `ip rule` and `ip neighbour` that the
//! laboratory needs, as requests into a given namespace.
//!
//! They are strict on purpose: what exists cannot be added (`NLM_F_EXCL`), what does not exist
//! cannot be deleted, so a layout that does not add up fails where it is built.

use std::net::IpAddr;
use std::os::fd::AsRawFd;

use multihome_core::model::{Names, Route, Rule};
use multihome_kernel::uapi::{
    IFLA_ADDRESS, IFLA_GROUP, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINK,
    IFLA_LINKINFO, IFLA_MASTER, IFLA_MTU, IFLA_NET_NS_FD, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE,
    RTM_DELADDR, RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEIGH, RTM_SETLINK, VETH_INFO_PEER,
};
use multihome_kernel::wire::Message;

use crate::Error;
use crate::ifaddr::{Ifaddr, Mac, af};
use crate::netns::Netns;

/// One end of a veth pair.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// The namespace that it is in.
    pub netns: &'a Netns,
    /// Its name there.
    pub name: &'a str,
    /// Its Ethernet address; a random one without.
    pub mac: Option<Mac>,
}

// Numbers that multihome itself has no use for (linux/if.h, linux/if_link.h,
// linux/neighbour.h, linux/rtnetlink.h).
const IFF_UP: u32 = 1;
const IFF_NOARP: u32 = 0x80;
const IFF_MULTICAST: u32 = 0x1000;
const IFLA_MACVLAN_MODE: u16 = 1;
const MACVLAN_MODE_BRIDGE: u32 = 4;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NTF_PROXY: u8 = 0x08;
const NUD_PERMANENT: u16 = 0x80;
const RTM_DELNEIGH: u16 = 29;

// ===== impl Netns: links =====

impl Netns {
    /// `ip link add .. type veth peer name ..`: a pair whose first end is here or elsewhere.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn veth(near: End<'_>, far: End<'_>) -> Result<(), Error> {
        let mut m = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifinfomsg(0, 0, 0));
        let end = |m: &mut Message, end: End<'_>| {
            m.attr_str(IFLA_IFNAME, end.name);
            if let Some(mac) = end.mac {
                m.attr(IFLA_ADDRESS, &mac.0);
            }
        };
        end(&mut m, near);
        m.nest(IFLA_LINKINFO, |m| {
            m.attr(IFLA_INFO_KIND, b"veth").nest(IFLA_INFO_DATA, |m| {
                m.nest(VETH_INFO_PEER, |m| {
                    m.raw(&ifinfomsg(0, 0, 0));
                    end(m, far);
                    m.attr(IFLA_NET_NS_FD, &far.netns.fd().as_raw_fd().to_ne_bytes());
                });
            });
        });
        let step = format!("add link {} with peer {} in {}", near.name, far.name, far.netns.name());
        near.netns.request(step, &mut m)
    }

    /// `ip link add NAME type bridge`, without spanning tree and forwarding at once.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn bridge(&self, name: &str) -> Result<(), Error> {
        let mut m = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifinfomsg(0, 0, 0));
        m.attr_str(IFLA_IFNAME, name);
        m.nest(IFLA_LINKINFO, |m| {
            m.attr(IFLA_INFO_KIND, b"bridge");
        });
        self.request(format!("add bridge {name}"), &mut m)
    }

    /// `ip link add NAME link LOWER type macvlan mode bridge`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn macvlan(&self, name: &str, lower: &str) -> Result<(), Error> {
        let index = self.index(lower)?;
        let mut m = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifinfomsg(0, 0, 0));
        m.attr_str(IFLA_IFNAME, name).attr_u32(IFLA_LINK, index);
        m.nest(IFLA_LINKINFO, |m| {
            m.attr(IFLA_INFO_KIND, b"macvlan").nest(IFLA_INFO_DATA, |m| {
                m.attr_u32(IFLA_MACVLAN_MODE, MACVLAN_MODE_BRIDGE);
            });
        });
        self.request(format!("add macvlan {name} on {lower}"), &mut m)
    }

    /// `ip link delete NAME`: the other end of a veth pair goes with it.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn delete(&self, name: &str) -> Result<(), Error> {
        let mut m = Message::new(RTM_DELLINK, 0, &ifinfomsg(self.index(name)?, 0, 0));
        self.request(format!("delete link {name}"), &mut m)
    }

    /// `ip link set NAME up`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set_up(&self, name: &str) -> Result<(), Error> {
        self.set(name, "up", IFF_UP, IFF_UP, |m| m)
    }

    /// `ip link set NAME down`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set_down(&self, name: &str) -> Result<(), Error> {
        self.set(name, "down", 0, IFF_UP, |m| m)
    }

    /// `ip link set NAME arp off multicast off`: it says nothing of its own, and what leaves by
    /// it is addressed to itself.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set_mute(&self, name: &str) -> Result<(), Error> {
        let change = IFF_NOARP | IFF_MULTICAST;
        self.set(name, "arp off multicast off", IFF_NOARP, change, |m| m)
    }

    /// `ip link set NAME name NEW`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn rename(&self, name: &str, new: &str) -> Result<(), Error> {
        self.set(name, &format!("name {new}"), 0, 0, |m| m.attr_str(IFLA_IFNAME, new))
    }

    /// `ip link set NAME address MAC`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set_mac(&self, name: &str, mac: Mac) -> Result<(), Error> {
        self.set(name, &format!("address {mac}"), 0, 0, |m| m.attr(IFLA_ADDRESS, &mac.0))
    }

    /// `ip link set NAME mtu MTU`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set_mtu(&self, name: &str, mtu: u32) -> Result<(), Error> {
        self.set(name, &format!("mtu {mtu}"), 0, 0, |m| m.attr_u32(IFLA_MTU, mtu))
    }

    /// `ip link set NAME group GROUP`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set_group(&self, name: &str, group: u32) -> Result<(), Error> {
        self.set(name, &format!("group {group}"), 0, 0, |m| m.attr_u32(IFLA_GROUP, group))
    }

    /// `ip link set NAME master MASTER`, or `nomaster`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set_master(&self, name: &str, master: Option<&str>) -> Result<(), Error> {
        let index = master.map_or(Ok(0), |m| self.index(m))?;
        let step = master.map_or("nomaster".to_owned(), |m| format!("master {m}"));
        self.set(name, &step, 0, 0, |m| m.attr_u32(IFLA_MASTER, index))
    }

    /// `ip link set NAME netns OTHER`: it comes there without addresses, and down.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn move_to(&self, name: &str, other: &Netns) -> Result<(), Error> {
        self.set(name, &format!("netns {}", other.name()), 0, 0, |m| {
            m.attr(IFLA_NET_NS_FD, &other.fd().as_raw_fd().to_ne_bytes())
        })
    }

    fn names(&self, route: &Route) -> Names {
        let name = |index| rustix::net::netdevice::index_to_name(self.inet(), index).ok();
        let links = route.hops.iter().filter_map(|h| Some((h.link, name(h.link)?))).collect();
        Names { links, ..Names::default() }
    }

    fn set(
        &self,
        name: &str,
        what: &str,
        flags: u32,
        change: u32,
        fill: impl FnOnce(&mut Message) -> &mut Message,
    ) -> Result<(), Error> {
        let mut m = Message::new(RTM_SETLINK, 0, &ifinfomsg(self.index(name)?, flags, change));
        fill(&mut m);
        self.request(format!("set link {name} {what}"), &mut m)
    }
}

// ===== impl Netns: addresses, routes, rules, neighbours =====

impl Netns {
    /// `ip address add ADDRESS dev LINK nodad`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn add_address(&self, link: &str, address: &Ifaddr) -> Result<(), Error> {
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        let mut m = Message::new(RTM_NEWADDR, flags, &address.header(self.index(link)?));
        address.fill(&mut m);
        self.request(format!("add address {address} to {link}"), &mut m)
    }

    /// `ip address delete ADDRESS dev LINK`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn del_address(&self, link: &str, address: &Ifaddr) -> Result<(), Error> {
        let mut m = Message::new(RTM_DELADDR, 0, &address.header(self.index(link)?));
        address.fill(&mut m);
        self.request(format!("delete address {address} from {link}"), &mut m)
    }

    /// `ip route add`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn add_route(&self, route: &Route) -> Result<(), Error> {
        let mut m = multihome_kernel::route::add(route);
        self.request(format!("add route {}", route.display(&self.names(route))), &mut m)
    }

    /// `ip route delete`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn del_route(&self, route: &Route) -> Result<(), Error> {
        let mut m = multihome_kernel::route::delete(route);
        self.request(format!("delete route {}", route.display(&self.names(route))), &mut m)
    }

    /// `ip rule add`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn add_rule(&self, rule: &Rule) -> Result<(), Error> {
        let step = format!("add {} rule {}", rule.family, rule.display(&Names::default()));
        self.request(step, &mut multihome_kernel::rule::add(rule, true))
    }

    /// `ip rule delete`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn del_rule(&self, rule: &Rule) -> Result<(), Error> {
        let step = format!("delete {} rule {}", rule.family, rule.display(&Names::default()));
        self.request(step, &mut multihome_kernel::rule::delete(rule))
    }

    /// `ip neighbour replace ADDRESS lladdr MAC dev LINK nud permanent`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn add_neighbour(&self, link: &str, address: IpAddr, mac: Mac) -> Result<(), Error> {
        let header = ndmsg(address, self.index(link)?, NUD_PERMANENT, 0);
        let mut m = Message::new(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &header);
        m.attr_addr(NDA_DST, address).attr(NDA_LLADDR, &mac.0);
        self.request(format!("add neighbour {address} lladdr {mac} on {link}"), &mut m)
    }

    /// `ip neighbour delete ADDRESS dev LINK`: also forgets what was learnt.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn del_neighbour(&self, link: &str, address: IpAddr) -> Result<(), Error> {
        let mut m = Message::new(RTM_DELNEIGH, 0, &ndmsg(address, self.index(link)?, 0, 0));
        m.attr_addr(NDA_DST, address);
        self.request(format!("delete neighbour {address} on {link}"), &mut m)
    }

    /// `ip neighbour add proxy ADDRESS dev LINK`: solicitations for it are answered there.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn add_proxy(&self, link: &str, address: IpAddr) -> Result<(), Error> {
        let header = ndmsg(address, self.index(link)?, NUD_PERMANENT, NTF_PROXY);
        let mut m = Message::new(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &header);
        m.attr_addr(NDA_DST, address);
        self.request(format!("add proxy neighbour {address} on {link}"), &mut m)
    }

    /// `ip neighbour delete proxy ADDRESS dev LINK`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn del_proxy(&self, link: &str, address: IpAddr) -> Result<(), Error> {
        let header = ndmsg(address, self.index(link)?, 0, NTF_PROXY);
        let mut m = Message::new(RTM_DELNEIGH, 0, &header);
        m.attr_addr(NDA_DST, address);
        self.request(format!("delete proxy neighbour {address} on {link}"), &mut m)
    }
}

// ===== helpers =====

/// `ifinfomsg`: family, type, index, flags, mask of flags to change.
fn ifinfomsg(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&change.to_ne_bytes());
    header
}

/// `ndmsg`: family, index, state, flags, type.
fn ndmsg(address: IpAddr, index: u32, state: u16, flags: u8) -> [u8; 12] {
    let mut header = [0; 12];
    header[0] = af(address);
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..10].copy_from_slice(&state.to_ne_bytes());
    header[10] = flags;
    header
}
