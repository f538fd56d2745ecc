//! What happens to a host in its life, as verbs of [`Lab`]: cards come and go, addresses and
//! gateways change, cables are pulled.
//!
//! Each verb changes the network and then the host, as a cloud, a DHCP client and a router would;
//! when it returns, packets flow (or not) as it says. In a bare laboratory it changes the network
//! alone: what becomes of the host is the test's question.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::time::Duration;

use multihome_core::{Family, Prefix};

use crate::lab::{has_default6, unknown};
use crate::{Answer, Ask, Error, Ifaddr, Lab, Proto, ask};

// ===== impl Lab =====

impl Lab {
    /// Detaches a card: it is gone, with all that the kernel ties to it.
    ///
    /// # Errors
    /// When there is no such card, or it is pulled already.
    pub fn pull_card(&mut self, name: &str) -> Result<(), Error> {
        self.card(name)?;
        self.fabric.unplug(name).map(drop)
    }

    /// Attaches a card that was pulled: the same Ethernet address and name, a new index, and the
    /// same lease.
    ///
    /// # Errors
    /// When there is no such card, or it is plugged in.
    pub fn plug_card(&mut self, name: &str) -> Result<(), Error> {
        let card = self.card(name)?.clone();
        self.attach(&card)?;
        self.configure(&card)?;
        self.meet_routers()
    }

    /// What a DHCP client and the router's advertisement do when a lease is renewed: whatever is
    /// missing is there again.
    ///
    /// # Errors
    /// When there is no such card, or it is pulled.
    pub fn renew(&self, name: &str) -> Result<(), Error> {
        self.configure(self.card(name)?)?;
        self.meet_routers()
    }

    /// Takes a card down (`ip link set NAME down`). The kernel forgets its routes and its global
    /// IPv6 addresses.
    ///
    /// # Errors
    /// When there is no such card, or it is pulled.
    pub fn link_down(&self, name: &str) -> Result<(), Error> {
        self.host.set_down(&self.card(name)?.name)
    }

    /// Takes a card up, and nothing else: what the kernel forgot comes with [`Lab::renew`].
    ///
    /// # Errors
    /// When there is no such card, or it is pulled.
    pub fn link_up(&self, name: &str) -> Result<(), Error> {
        self.host.set_up(&self.card(name)?.name)
    }

    /// Pulls the cable out of a card, or puts it back: the carrier goes, which the kernel may
    /// take a second to say (`linkwatch`), or comes.
    ///
    /// # Errors
    /// When there is no such card, or it is pulled.
    pub fn set_carrier(&self, name: &str, carrier: bool) -> Result<(), Error> {
        let gateway = self.card(name)?.gateway6;
        self.fabric.set_port(name, carrier)?;
        if !carrier {
            return Ok(());
        }
        // Both ends take a moment before they let packets through; a reset of the router's, by
        // that link, shows that they do.
        let to = SocketAddrV6::new(gateway, 9, 0, self.host.index(name)?).into();
        let timeout = Duration::from_millis(20);
        let question = Ask { proto: Proto::Tcp, from: None, to, timeout };
        self.host.wait(&format!("an answer of the router by {name}"), || {
            Ok(matches!(ask(&self.host, &question)?, Answer::Refused(_)))
        })
    }

    /// Adds an address to a card: the network gives it to the port, the host takes it, and it is
    /// answered on.
    ///
    /// # Errors
    /// When there is no such card, or the address is someone's.
    pub fn add_address(&mut self, name: &str, address: Ifaddr) -> Result<(), Error> {
        let card = self.card(name)?.name.clone();
        self.fabric.allow(&card, Prefix::host(address.address))?;
        if !self.bare {
            self.host.add_address(&card, &address)?;
            self.host.settle(&card, address.address)?;
        }
        self.listen(vec![address.address])?;
        self.cards.iter_mut().filter(|c| c.name == card).for_each(|c| c.addresses.push(address));
        Ok(())
    }

    /// Takes an address from a card and from its port.
    ///
    /// # Errors
    /// When there is no such card, or it has no such address.
    pub fn del_address(&mut self, name: &str, address: IpAddr) -> Result<(), Error> {
        let card = self.card(name)?;
        let known = card.addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        let found = card.addresses.iter().find(|a| a.address == address).copied();
        let Some(found) = found else {
            let name = address.to_string();
            return Err(unknown("address", &name, known.iter().map(String::as_str)));
        };
        if !self.bare {
            self.host.del_address(name, &found)?;
        }
        self.fabric.revoke(name, Prefix::host(address))?;
        for card in self.cards.iter_mut().filter(|c| c.name == name) {
            card.addresses.retain(|a| a.address != address);
        }
        Ok(())
    }

    /// Gives the router other addresses at a card. The old ones, and the router's old Ethernet
    /// address, are dead at once; the host is told as a new lease and advertisement tell it.
    ///
    /// # Errors
    /// When there is no such card, or it is pulled.
    pub fn change_gateway(
        &mut self,
        name: &str,
        gateway4: Option<Ipv4Addr>,
        gateway6: Option<Ipv6Addr>,
    ) -> Result<(), Error> {
        let old = self.card(name)?.clone();
        let mut new = old.clone();
        new.gateway4 = gateway4.unwrap_or(old.gateway4);
        new.gateway6 = gateway6.unwrap_or(old.gateway6);
        new.router.0[5] = old.router.0[5].wrapping_add(0x10);
        if gateway6.is_some() {
            self.fabric.advertise(name, 0)?; // the old router's last word
        }
        for route in if self.bare { Vec::new() } else { self.gateway_routes(&old)? } {
            // Its advertisement said enough of IPv6 defaults; static routes are the lease's.
            self.host.del_route(&route)?;
        }
        self.fabric.change_gateway(name, gateway4, gateway6, new.router)?;
        // What the host knew about Ethernet addresses on that link is wrong now. It need not have
        // known any, so a refusal is no failure.
        let of_ports = self.clients.iter().flat_map(|c| c.addresses.iter().copied());
        let gateways = Family::BOTH.map(|f| new.gateway(f));
        for address in of_ports.chain(self.addresses()).chain(gateways) {
            let _ = self.host.del_neighbour(name, address);
        }
        self.cards.iter_mut().filter(|c| c.name == name).for_each(|c| *c = new.clone());
        self.configure(&new)?;
        self.meet_routers()
    }

    /// Takes a card's gateways away while the link stays up: the lease's default and static
    /// routes go, and the router says that it is none any more. [`Lab::renew`] brings them back.
    ///
    /// # Errors
    /// When there is no such card, or it is pulled.
    pub fn withdraw_gateway(&self, name: &str) -> Result<(), Error> {
        let card = self.card(name)?;
        self.fabric.advertise(name, 0)?;
        if self.bare {
            return Ok(());
        }
        self.gateway_routes(card)?.iter().try_for_each(|r| self.host.del_route(r))?;
        self.host.wait(&format!("the end of the IPv6 default by {name}"), || {
            Ok(!has_default6(&self.host, name, card.gateway6)?)
        })
    }
}
