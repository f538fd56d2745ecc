//! A host with two cards, its network, and its clients, built from a [`Layout`]. What happens
//! to it then is in [`crate::life`].
//!
//! The host is configured as a DHCP client and the kernel's handling of router advertisements
//! leave it: addresses, connected routes, defaults and static routes in main, and nothing of
//! multihome's. In a bare laboratory ([`Lab::build_bare`]) that is left to whom the test is about.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use multihome_core::model::Route;
use multihome_core::model::names::TABLE_MAIN;
use multihome_core::{Family, Prefix};

use crate::fabric::{Port, via_gateway};
use crate::ifaddr::{Ifaddr, Mac};
use crate::links::End;
use crate::netns::Netns;
use crate::topology::{self, Card, Layout, Topology};
use crate::traffic::{Ask, Proto, ask_all};
use crate::{Answerer, Cell, Error, Fabric, Matrix};

/// The laboratory. Dropping it takes everything down.
#[derive(Debug)]
pub struct Lab {
    // First, so that its thread ends while the host's namespace is there.
    pub(crate) answerer: Answerer,
    topology: Topology,
    /// Whether somebody else configures the host.
    pub(crate) bare: bool,
    pub(crate) cards: Vec<Card>,
    pub(crate) clients: Vec<Client>,
    pub(crate) host: Arc<Netns>,
    pub(crate) fabric: Fabric,
}

/// A machine that asks.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// Where it is, in a few words.
    pub about: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its namespace.
    pub netns: Arc<Netns>,
}

/// The card of a client or a container.
const CLIENT_LINK: &str = "eth0";
/// The router's Ethernet address on the clients' ports.
const CLIENT_ROUTER: Mac = Mac([0x02, 0x8f, 0x53, 0x6f, 0x00, 0x01]);
/// `RTPROT_BOOT`: what `dhclient-script` leaves, which calls `ip route add` without a protocol.
const PROTOCOL_BOOT: u8 = 3;
/// Seconds for which routers advertise themselves; RFC 4861 allows 9000.
const ROUTER_LIFETIME: u16 = 9000;

/// A host or client takes what its router advertises, and makes no addresses from it.
const LISTENS: &[(&str, &str)] = &[
    ("ipv6/conf/all/accept_ra", "1"),
    ("ipv6/conf/default/accept_ra", "1"),
    ("ipv6/conf/default/accept_ra_defrtr", "1"),
    ("ipv6/conf/default/accept_ra_pinfo", "1"),
    ("ipv6/conf/default/autoconf", "0"),
];

/// The host of a bare laboratory asks for routers when a card comes up, as the kernel does unless
/// it is told otherwise.
const ASKS: &[(&str, &str)] = &[("ipv6/conf/default/router_solicitations", "-1")];

// ===== impl Lab: building and looking =====

impl Lab {
    /// Builds a topology; [`crate::enter`] must have been called.
    ///
    /// # Errors
    /// The step that the kernel refused, with its object and namespace.
    pub fn build(topology: Topology) -> Result<Lab, Error> {
        Lab::new(topology, false)
    }

    /// Builds a topology whose host nobody has configured: the cards are there, down and without
    /// addresses, and nothing is advertised to them. The network expects the layout's addresses,
    /// and they are answered on as soon as they are there.
    ///
    /// The verbs that change the network ([`Lab::plug_card`], [`Lab::add_address`],
    /// [`Lab::change_gateway`] and their like) leave such a host alone.
    ///
    /// # Errors
    /// As [`Lab::build`].
    pub fn build_bare(topology: Topology) -> Result<Lab, Error> {
        Lab::new(topology, true)
    }

    fn new(topology: Topology, bare: bool) -> Result<Lab, Error> {
        let Layout { cards, clients: machines, container } = topology.layout();
        // Namespaces take the kernel longest, so they are made at the same time.
        let (fabric, host, netns) = thread::scope(|scope| {
            let fabric = scope.spawn(Fabric::new);
            let host = scope.spawn(|| {
                let netns = Netns::new("host", LISTENS)?;
                if bare {
                    netns.sysctls(ASKS)?;
                }
                if container.is_some() {
                    netns.sysctl("ipv4/ip_forward", "1")?;
                }
                Ok::<_, Error>(netns)
            });
            let of = |c: &topology::Client| Netns::new(&c.name, LISTENS).map(Arc::new);
            let threads: Vec<_> = machines.iter().map(|c| scope.spawn(move || of(c))).collect();
            let netns: Result<Vec<_>, Error> = threads.into_iter().map(join).collect();
            Ok::<_, Error>((join(fabric)?, Arc::new(join(host)?), netns?))
        })?;
        let answerer = Answerer::start(&host, [])?;
        let clients = Vec::new();
        let mut lab = Lab { answerer, topology, bare, cards, clients, host, fabric };
        // All cards first, in their order: that gives them the indexes 2 and 3.
        for card in lab.cards.clone() {
            lab.attach(&card)?;
        }
        for card in &lab.cards {
            lab.configure(card)?;
        }
        for (client, netns) in machines.into_iter().zip(netns) {
            lab.add_client(client, netns)?;
        }
        lab.meet_routers()?;
        if let Some(container) = container {
            lab.add_container(container)?;
        }
        lab.listen(lab.addresses())?;
        Ok(lab)
    }

    /// Which topology this is.
    #[must_use]
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// The host's namespace.
    #[must_use]
    pub fn host(&self) -> &Arc<Netns> {
        &self.host
    }

    /// The router.
    #[must_use]
    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// The router, to change what belongs to its ports, which bear the names of the host's cards
    /// and of the clients.
    pub fn fabric_mut(&mut self) -> &mut Fabric {
        &mut self.fabric
    }

    /// The host's cards, also those that are pulled.
    #[must_use]
    pub fn cards(&self) -> &[Card] {
        &self.cards
    }

    /// The card of a name.
    ///
    /// # Errors
    /// When there is none.
    pub fn card(&self, name: &str) -> Result<&Card, Error> {
        self.cards
            .iter()
            .find(|c| c.name == name)
            .ok_or_else(|| unknown("card", name, self.cards.iter().map(|c| c.name.as_str())))
    }

    /// The clients; a container is the last.
    #[must_use]
    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// The client of a name.
    ///
    /// # Errors
    /// When there is none.
    pub fn client(&self, name: &str) -> Result<&Client, Error> {
        self.clients
            .iter()
            .find(|c| c.name == name)
            .ok_or_else(|| unknown("client", name, self.clients.iter().map(|c| c.name.as_str())))
    }

    /// The host's addresses on its cards, in order.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.cards.iter().flat_map(|c| &c.addresses).map(|a| a.address).collect()
    }

    /// The host's answerer.
    #[must_use]
    pub fn answerer(&self) -> &Answerer {
        &self.answerer
    }

    /// Asks every address from every client by both protocols, all at once.
    ///
    /// # Errors
    /// When a namespace cannot be entered; a question without an answer is a cell.
    pub fn matrix(&self, timeout: Duration) -> Result<Matrix, Error> {
        let mut cells = Vec::new();
        let mut questions = Vec::new();
        for client in &self.clients {
            for address in self.addresses() {
                for proto in Proto::BOTH {
                    questions.push((client.netns.as_ref(), Ask::new(proto, address, timeout)));
                    cells.push((client.name.clone(), address, proto));
                }
            }
        }
        let cells = cells.into_iter().zip(ask_all(&questions)?);
        let cell = |((client, address, proto), answer)| Cell { client, address, proto, answer };
        Ok(Matrix { cells: cells.map(cell).collect() })
    }
}

// ===== impl Lab: the steps =====

impl Lab {
    pub(crate) fn attach(&mut self, card: &Card) -> Result<(), Error> {
        let port = Port {
            name: card.name.clone(),
            mac: card.router,
            gateway4: card.gateway4,
            gateway6: card.gateway6,
            subnets: card.subnets.clone(),
            owns: card.addresses.iter().map(|a| Prefix::host(a.address)).collect(),
        };
        let end = End { netns: &self.host, name: &card.name, mac: Some(card.mac) };
        self.fabric.plug(port, end)
    }

    /// Answers on addresses of the host, which in a bare laboratory may not be there yet.
    pub(crate) fn listen(&self, addresses: Vec<IpAddr>) -> Result<(), Error> {
        let ahead = |value| {
            let families = ["ipv4/ip_nonlocal_bind", "ipv6/ip_nonlocal_bind"];
            families.iter().try_for_each(|f| self.host.sysctl(f, value))
        };
        if self.bare {
            ahead("1")?;
        }
        addresses.into_iter().try_for_each(|a| self.answerer.listen(a))?;
        if self.bare { ahead("0") } else { Ok(()) }
    }

    /// What the lease of a card says, but for what is there already.
    pub(crate) fn configure(&self, card: &Card) -> Result<(), Error> {
        if self.bare {
            return Ok(());
        }
        let missing = |result: Result<(), Error>| match result {
            Err(e) if e.is_exists() => Ok(()),
            other => other,
        };
        self.host.set_up(&card.name)?;
        for address in &card.addresses {
            missing(self.host.add_address(&card.name, address))?;
        }
        for address in &card.addresses {
            self.host.settle(&card.name, address.address)?;
        }
        for route in self.gateway_routes(card)? {
            missing(self.host.add_route(&route))?;
        }
        Ok(())
    }

    /// The routes of a lease: the IPv4 default and the static ones.
    pub(crate) fn gateway_routes(&self, card: &Card) -> Result<Vec<Route>, Error> {
        let index = self.host.index(&card.name)?;
        let mut routes = Vec::new();
        if let Some(metric) = card.default4 {
            let dst = Family::V4.all();
            let route = via_gateway(TABLE_MAIN, dst, index, card.gateway4.into());
            routes.push(Route { metric, protocol: PROTOCOL_BOOT, ..route });
        }
        for dst in &card.statics {
            routes.push(via_gateway(TABLE_MAIN, *dst, index, card.gateway(dst.family())));
        }
        Ok(routes)
    }

    fn add_client(&mut self, client: topology::Client, netns: Arc<Netns>) -> Result<(), Error> {
        let port = Port {
            name: client.name.clone(),
            mac: CLIENT_ROUTER,
            gateway4: client.gateway4,
            gateway6: CLIENT_ROUTER.link_local(),
            subnets: client.addresses.iter().map(Ifaddr::network).collect(),
            owns: client.addresses.iter().map(|a| Prefix::host(a.address)).collect(),
        };
        self.fabric.plug(port, End { netns: &netns, name: CLIENT_LINK, mac: None })?;
        netns.set_up(CLIENT_LINK)?;
        for address in &client.addresses {
            netns.add_address(CLIENT_LINK, address)?;
        }
        for address in &client.addresses {
            netns.settle(CLIENT_LINK, address.address)?;
        }
        let (dst, index) = (Family::V4.all(), netns.index(CLIENT_LINK)?);
        netns.add_route(&via_gateway(TABLE_MAIN, dst, index, client.gateway4.into()))?;
        let addresses = client.addresses.iter().map(|a| a.address).collect();
        let topology::Client { name, about, .. } = client;
        self.clients.push(Client { name, about, addresses, netns });
        Ok(())
    }

    fn add_container(&mut self, container: topology::Container) -> Result<(), Error> {
        let netns = Netns::new(&container.name, &[])?;
        let (host, bridge) = (&self.host, container.bridge.as_str());
        host.bridge(bridge)?;
        let near = End { netns: host, name: "veth0", mac: None };
        Netns::veth(near, End { netns: &netns, name: CLIENT_LINK, mac: None })?;
        host.set_master("veth0", Some(bridge))?;
        netns.set_up(CLIENT_LINK)?;
        host.set_up("veth0")?;
        host.set_up(bridge)?;
        for address in &container.gateways {
            host.add_address(bridge, address)?;
        }
        for address in &container.addresses {
            netns.add_address(CLIENT_LINK, address)?;
        }
        for address in &container.gateways {
            host.settle(bridge, address.address)?;
        }
        for address in &container.addresses {
            netns.settle(CLIENT_LINK, address.address)?;
        }
        let index = netns.index(CLIENT_LINK)?;
        for gateway in &container.gateways {
            let dst = Family::of(gateway.address).all();
            netns.add_route(&via_gateway(TABLE_MAIN, dst, index, gateway.address))?;
        }
        self.clients.push(Client {
            name: container.name,
            about: format!("behind {bridge} on the host"),
            addresses: container.addresses.iter().map(|a| a.address).collect(),
            netns: Arc::new(netns),
        });
        Ok(())
    }

    /// Lets every router be heard: a link that has just come up takes a moment (`linkwatch`)
    /// before the kernel lets packets through, so it is told again until it has heard.
    pub(crate) fn meet_routers(&self) -> Result<(), Error> {
        let cards = self.cards.iter().filter(|c| !self.bare && self.fabric.has_port(&c.name));
        let cards = cards.map(|c| (&self.host, c.name.as_str(), c.name.as_str(), c.default6));
        let clients = self.clients.iter().filter(|c| self.fabric.has_port(&c.name));
        let clients = clients.map(|c| (&c.netns, CLIENT_LINK, c.name.as_str(), true));
        for (netns, link, port, default) in cards.chain(clients) {
            let lifetime = if default { ROUTER_LIFETIME } else { 0 };
            let what = format!("a router advertisement by {link}");
            let gateway = self.fabric.port(port)?.gateway6;
            netns.wait(&what, || {
                self.fabric.advertise(port, lifetime)?;
                if default { has_default6(netns, link, gateway) } else { has_received(netns, link) }
            })?;
        }
        Ok(())
    }
}

// ===== helpers =====

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

pub(crate) fn unknown<'a>(
    what: &'static str,
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> Error {
    let known = known.collect::<Vec<_>>().join(", ");
    Error::Unknown { what, name: name.to_owned(), known }
}

/// Whether a namespace has an IPv6 default by a gateway, in the kernel's own list: destination,
/// length, source, length, next hop, metric, two counters, flags, link, in hexadecimal.
pub(crate) fn has_default6(netns: &Netns, link: &str, gateway: Ipv6Addr) -> Result<bool, Error> {
    let gateway = format!("{:032x}", gateway.to_bits());
    Ok(netns.proc_net("ipv6_route")?.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        matches!(fields[..], [_, "00", _, _, hop, .., dev] if hop == gateway && dev == link)
    }))
}

/// Whether a link has received anything.
fn has_received(netns: &Netns, link: &str) -> Result<bool, Error> {
    Ok(netns.link_counters(link)?.received > 0)
}
