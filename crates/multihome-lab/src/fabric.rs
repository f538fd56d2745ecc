//! The network between the machines: a router as a cloud builds it, with anti-spoofing on
//! every port.
//!
//! Each machine's card is plugged into a port of its own; there is no shared wire. The router
//! has a host route for every address towards the port that owns it, answers ARP and neighbour
//! solicitations for the other addresses of the subnet (`arp_process` with `proxy_arp`,
//! `ndisc_recv_ns` with proxy entries), and forwards. So all traffic between machines passes
//! a routing decision, and that is where spoofed packets are caught, in both families alike
//! and without a packet filter:
//!
//! ```text
//! 0:    from all lookup local                      what is for the router itself, and multicast
//! 100:  from 10.0.0.129 iif ens5 lookup main       what a port owns is forwarded
//! 200:  from all iif ens5 lookup 66                everything else goes down the sink
//! table 66: default dev sink
//! ```
//!
//! The sink is a link with nobody behind it. Unlike a blackhole it has a packet counter, which
//! is the proof that a silent flow died of anti-spoofing ([`Fabric::dropped`]). Link-local
//! sources need no rule: a router does not forward them, and what it does with them itself is
//! for the table `local`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use multihome_core::model::names::TABLE_MAIN;
use multihome_core::model::route::SCOPE_LINK;
use multihome_core::model::{Action, Hop, Route, Rule};
use multihome_core::{Family, Prefix};

use crate::Error;
use crate::ifaddr::{Ifaddr, Mac};
use crate::links::End;
use crate::netns::{Netns, Sysctl};
use crate::ra::Advert;

/// The router with all its ports.
#[derive(Debug)]
pub struct Fabric {
    netns: Arc<Netns>,
    ports: BTreeMap<String, Port>,
}

/// One port, as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name on the router, in messages and in rules.
    pub name: String,
    /// The router's Ethernet address there.
    pub mac: Mac,
    /// The router's IPv4 address there.
    pub gateway4: Ipv4Addr,
    /// The router's link-local address there.
    pub gateway6: Ipv6Addr,
    /// The subnets that the port is in: for their other addresses the router answers ARP and
    /// solicitations.
    pub subnets: Vec<Prefix>,
    /// What belongs to the port: routed to it, and taken from it.
    pub owns: Vec<Prefix>,
}

/// Where what no port owns is looked up.
const TABLE_SINK: u32 = 66;
const SINK: &str = "sink";
const PRIORITY_OWNED: u32 = 100;
const PRIORITY_SINK: u32 = 200;
/// `RTPROT_STATIC`: what the laboratory configures is not multihome's.
pub(crate) const PROTOCOL_STATIC: u8 = 4;

/// What makes a namespace a router like a cloud's.
const ROUTES: &[Sysctl<'static>] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/default/proxy_arp", "1"),
    // The router's own addresses are answered for where they are, and nowhere else: the same
    // gateway stands on many ports.
    ("ipv4/conf/default/arp_ignore", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/forwarding", "1"),
    ("ipv6/conf/default/proxy_ndp", "1"),
];

// ===== impl Fabric =====

impl Fabric {
    /// A router without ports.
    ///
    /// # Errors
    /// When a namespace, link or route cannot be made.
    pub fn new() -> Result<Fabric, Error> {
        // No link-local addresses but those that are added.
        let netns = Netns::new("router", &[("ipv6/conf/default/addr_gen_mode", "1")])?;
        let end = |name| End { netns: &netns, name, mac: None };
        Netns::veth(end(SINK), end("drain"))?;
        // Before the namespace forwards: a router's link would join the routers' multicast
        // groups and report that (`dev_forward_change`), and the sink's counter would count it.
        netns.set_mute(SINK)?;
        netns.set_up("drain")?;
        netns.set_up(SINK)?;
        netns.sysctls(ROUTES)?;
        for family in Family::BOTH {
            netns.add_route(&via_link(TABLE_SINK, family.all(), netns.index(SINK)?))?;
        }
        Ok(Fabric { netns: Arc::new(netns), ports: BTreeMap::new() })
    }

    /// The router's namespace.
    #[must_use]
    pub fn netns(&self) -> &Arc<Netns> {
        &self.netns
    }

    /// The port of a name.
    ///
    /// # Errors
    /// When nothing is plugged in under that name.
    pub fn port(&self, name: &str) -> Result<&Port, Error> {
        self.ports.get(name).ok_or_else(|| Error::Unknown {
            what: "port",
            name: name.to_owned(),
            known: self.ports.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// Whether something is plugged in under that name.
    #[must_use]
    pub fn has_port(&self, name: &str) -> bool {
        self.ports.contains_key(name)
    }

    /// Makes a port and the card at its other end, which is left down.
    ///
    /// # Errors
    /// When a link, address, route or rule cannot be made.
    pub fn plug(&mut self, port: Port, card: End<'_>) -> Result<(), Error> {
        let name = port.name.clone();
        let near = End { netns: &self.netns, name: &name, mac: Some(port.mac) };
        Netns::veth(near, card)?;
        // Up before the card is: the card then never sees itself without a carrier.
        self.netns.set_up(&name)?;
        self.netns.sysctls(&[
            // Answers for others are sent at once, not after a random delay of up to 0.8 s.
            (&format!("ipv4/neigh/{name}/proxy_delay"), "0"),
            (&format!("ipv6/neigh/{name}/proxy_delay"), "0"),
        ])?;
        self.netns.add_address(&name, &Ifaddr::new(port.gateway4.into(), 32))?;
        self.netns.add_address(&name, &Ifaddr::new(port.gateway6.into(), 64))?;
        self.netns.settle(&name, port.gateway6.into())?;
        for family in Family::BOTH {
            self.netns.add_rule(&guard(family, &name, None))?;
        }
        let owns = port.owns.clone();
        self.ports.insert(name.clone(), Port { owns: Vec::new(), ..port });
        for prefix in owns {
            self.allow(&name, prefix)?;
        }
        self.proxy_others(&name)
    }

    /// Takes a port away, and the card at its other end with it.
    ///
    /// # Errors
    /// When there is no such port, or the kernel refuses.
    pub fn unplug(&mut self, name: &str) -> Result<Port, Error> {
        let port = self.port(name)?.clone();
        for prefix in &port.owns {
            self.revoke(name, *prefix)?;
        }
        for family in Family::BOTH {
            self.netns.del_rule(&guard(family, name, None))?;
        }
        self.netns.delete(name)?;
        self.ports.remove(name);
        Ok(port)
    }

    /// Gives a port a prefix: it is routed there and taken from there.
    ///
    /// # Errors
    /// When there is no such port, or another one owns the prefix.
    pub fn allow(&mut self, name: &str, prefix: Prefix) -> Result<(), Error> {
        self.port(name)?;
        let route = via_link(TABLE_MAIN, prefix, self.netns.index(name)?);
        self.netns.add_route(&route)?;
        self.netns.add_rule(&guard(prefix.family(), name, Some(prefix)))?;
        for other in self.others(name) {
            self.proxy(&other, prefix, true)?;
        }
        self.own(name, |owns| owns.push(prefix));
        Ok(())
    }

    /// Takes a prefix from a port: it leads nowhere, and packets from it are dropped.
    ///
    /// # Errors
    /// When there is no such port, or it does not own the prefix.
    pub fn revoke(&mut self, name: &str, prefix: Prefix) -> Result<(), Error> {
        self.port(name)?;
        for other in self.others(name) {
            self.proxy(&other, prefix, false)?;
        }
        self.netns.del_rule(&guard(prefix.family(), name, Some(prefix)))?;
        let route = via_link(TABLE_MAIN, prefix, self.netns.index(name)?);
        self.netns.del_route(&route)?;
        self.own(name, |owns| owns.retain(|p| *p != prefix));
        Ok(())
    }

    /// Gives the router another address on a port, and another Ethernet address with it, so that
    /// nobody who remembers the old one gets through. Without `gateway4` or `gateway6` that
    /// one stays.
    ///
    /// # Errors
    /// When there is no such port, or the kernel refuses.
    pub fn change_gateway(
        &mut self,
        name: &str,
        gateway4: Option<Ipv4Addr>,
        gateway6: Option<Ipv6Addr>,
        mac: Mac,
    ) -> Result<(), Error> {
        let old = self.port(name)?.clone();
        let new = Port {
            gateway4: gateway4.unwrap_or(old.gateway4),
            gateway6: gateway6.unwrap_or(old.gateway6),
            mac,
            ..old.clone()
        };
        let swap = |from: Ifaddr, to: Ifaddr| {
            if from == to {
                return Ok(());
            }
            self.netns.add_address(name, &to)?;
            self.netns.settle(name, to.address)?;
            self.netns.del_address(name, &from)
        };
        swap(Ifaddr::new(old.gateway4.into(), 32), Ifaddr::new(new.gateway4.into(), 32))?;
        swap(Ifaddr::new(old.gateway6.into(), 64), Ifaddr::new(new.gateway6.into(), 64))?;
        self.netns.set_mac(name, mac)?;
        self.ports.insert(name.to_owned(), new);
        Ok(())
    }

    /// Sends a router advertisement out of a port: `lifetime` seconds as a default router (0:
    /// not, or no longer), and its prefixes of 64 bits on the link.
    ///
    /// # Errors
    /// When there is no such port, or the kernel refuses.
    pub fn advertise(&self, name: &str, lifetime: u16) -> Result<(), Error> {
        self.advert(name, lifetime)?.send(&self.netns, name)
    }

    /// What [`Fabric::advertise`] sends, for those who send it themselves.
    ///
    /// # Errors
    /// When there is no such port.
    pub fn advert(&self, name: &str, lifetime: u16) -> Result<Advert, Error> {
        let port = self.port(name)?;
        let onlink = port.subnets.iter().filter(|p| p.family() == Family::V6).copied().collect();
        let (router, mac) = (port.gateway6, port.mac);
        Ok(Advert { router, mac, lifetime, managed: false, onlink })
    }

    /// How many packets anti-spoofing has dropped.
    ///
    /// # Errors
    /// When the kernel's counters cannot be read.
    pub fn dropped(&self) -> Result<u64, Error> {
        Ok(self.netns.link_counters(SINK)?.sent)
    }

    /// Takes a port down or up, as if its cable were pulled or put back: the machine sees its
    /// carrier go or come.
    ///
    /// # Errors
    /// When there is no such port, or the kernel refuses.
    pub fn set_port(&self, name: &str, up: bool) -> Result<(), Error> {
        let port = self.port(name)?;
        if !up {
            return self.netns.set_down(name);
        }
        self.netns.set_up(name)?;
        // The kernel took the port's routes, its IPv6 address and its proxy entries.
        let missing = |result: Result<(), Error>| match result {
            Err(e) if e.is_exists() => Ok(()),
            other => other,
        };
        let index = self.netns.index(name)?;
        for prefix in &port.owns {
            missing(self.netns.add_route(&via_link(TABLE_MAIN, *prefix, index)))?;
        }
        missing(self.netns.add_address(name, &Ifaddr::new(port.gateway6.into(), 64)))?;
        self.netns.settle(name, port.gateway6.into())?;
        self.proxy_others(name)
    }

    /// Answers on a port for what the others own in its subnets.
    fn proxy_others(&self, name: &str) -> Result<(), Error> {
        let others = self.ports.iter().filter(|(n, _)| *n != name);
        for prefix in others.flat_map(|(_, p)| &p.owns) {
            self.proxy(name, *prefix, true)?;
        }
        Ok(())
    }

    fn own(&mut self, name: &str, change: impl FnOnce(&mut Vec<Prefix>)) {
        if let Some(port) = self.ports.get_mut(name) {
            change(&mut port.owns);
        }
    }

    fn others(&self, name: &str) -> Vec<String> {
        self.ports.keys().filter(|n| *n != name).cloned().collect()
    }

    /// Answers solicitations for another port's address on this one, if that is where someone
    /// would ask. (ARP needs no entry: `proxy_arp` follows the routes.)
    fn proxy(&self, name: &str, prefix: Prefix, add: bool) -> Result<(), Error> {
        let asked = prefix.family() == Family::V6
            && prefix.is_host()
            && self.port(name)?.subnets.iter().any(|s| s.covers(&prefix));
        match (asked, add) {
            (false, _) => Ok(()),
            (true, true) => self.netns.add_proxy(name, prefix.address()),
            (true, false) => self.netns.del_proxy(name, prefix.address()),
        }
    }
}

// ===== helpers =====

/// A route that leads onto a link, without a gateway.
pub(crate) fn via_link(table: u32, dst: Prefix, link: u32) -> Route {
    let scope = if dst.family() == Family::V4 { SCOPE_LINK } else { 0 };
    let hops = vec![Hop { link, ..Hop::default() }];
    Route { protocol: PROTOCOL_STATIC, scope, hops, ..Route::new(table, dst) }
}

/// A route through a gateway.
pub(crate) fn via_gateway(table: u32, dst: Prefix, link: u32, gateway: IpAddr) -> Route {
    let hops = vec![Hop { link, gateway: Some(gateway), ..Hop::default() }];
    Route { protocol: PROTOCOL_STATIC, hops, ..Route::new(table, dst) }
}

/// The rule for what a port owns, or without `from` for everything else that comes in there.
fn guard(family: Family, port: &str, from: Option<Prefix>) -> Rule {
    let (priority, table) = match from {
        Some(_) => (PRIORITY_OWNED, TABLE_MAIN),
        None => (PRIORITY_SINK, TABLE_SINK),
    };
    let rule = Rule::new(family, priority, Action::Lookup(table));
    Rule { protocol: PROTOCOL_STATIC, iif: Some(port.to_owned()), from, ..rule }
}
