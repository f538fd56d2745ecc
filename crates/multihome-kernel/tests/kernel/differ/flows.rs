//! Random flows in a world: to and from what is there, what is not, and what is odd.

use std::net::IpAddr;

use multihome_core::{Family, Flow, Snapshot};

use super::dice::Dice;
use super::world::{MARKS, PORTS, TOS, USERS, address, odd};

/// What flows are about.
pub struct Pool {
    own: Vec<IpAddr>,
    near: Vec<IpAddr>,
    links: Vec<u32>,
    /// Links that something can come in by.
    open: Vec<u32>,
    users: bool,
}

impl Pool {
    pub fn new(snapshot: &Snapshot, users: bool) -> Pool {
        let own = snapshot.addresses().map(|a| a.local).collect();
        // Networks and their ends, gateways, the first host of each route.
        let mut near = Vec::new();
        for a in snapshot.addresses() {
            let (network, family) = (a.network(), a.family());
            let host = u128::MAX.checked_shr(128 - u32::from(family.bits() - network.len()));
            near.extend([
                network.address(),
                multihome_core::Prefix::from_bits(
                    family,
                    network.bits() | host.unwrap_or(0),
                    family.bits(),
                )
                .address(),
            ]);
            near.extend(a.peer);
        }
        for r in snapshot.routes() {
            near.push(r.dst.address());
            near.push(
                multihome_core::Prefix::from_bits(r.family(), r.dst.bits() | 1, r.family().bits())
                    .address(),
            );
            near.extend(r.hops.iter().filter_map(|h| h.gateway));
        }
        let links = snapshot.links().map(|l| l.index).collect();
        let open = snapshot.links().filter(|l| l.is_up() && l.master.is_none());
        let open = open.map(|l| l.index).collect();
        Pool { own, near, links, open, users }
    }

    fn address(&self, dice: &mut Dice, family: Family) -> IpAddr {
        let from = |dice: &mut Dice, pool: &[IpAddr]| {
            let of_family: Vec<IpAddr> =
                pool.iter().filter(|a| Family::of(**a) == family).copied().collect();
            if of_family.is_empty() { address(dice, family) } else { *dice.pick(&of_family) }
        };
        match dice.below(20) {
            0..=3 => from(dice, &self.own),
            4..=9 => from(dice, &self.near),
            10 => odd(dice, family),
            _ => address(dice, family),
        }
    }

    fn own(&self, dice: &mut Dice, family: Family) -> IpAddr {
        let own: Vec<IpAddr> =
            self.own.iter().filter(|a| Family::of(**a) == family).copied().collect();
        if own.is_empty() { address(dice, family) } else { *dice.pick(&own) }
    }

    /// A flow.
    pub fn flow(&self, dice: &mut Dice) -> Flow {
        let family = *dice.pick(&Family::BOTH);
        let mut flow = Flow::to(self.address(dice, family));
        if !self.open.is_empty() && dice.chance(40) {
            // It comes in.
            flow.iif = Some(*dice.pick(&self.open));
            flow.from = dice.chance(92).then(|| self.address(dice, family));
            if dice.chance(30) {
                flow.to = self.own(dice, family);
            }
        } else {
            if dice.chance(50) {
                let foreign = dice.chance(12);
                flow.from =
                    Some(if foreign { self.address(dice, family) } else { self.own(dice, family) });
            }
            flow.oif = dice.maybe(25, &self.links);
            if dice.chance(1) {
                flow.oif = Some(99);
            }
        }
        flow.mark = dice.maybe(20, &MARKS).unwrap_or(0);
        flow.tos = dice.maybe(20, &TOS).unwrap_or(0);
        if dice.chance(40) {
            let icmp = if family == Family::V4 { 1 } else { 58 };
            flow.proto = *dice.pick(&[6, 6, 17, 17, icmp]);
            if flow.proto != icmp {
                flow.sport = dice.maybe(50, &PORTS).unwrap_or(0);
                flow.dport = dice.maybe(70, &PORTS).unwrap_or(0);
            }
        }
        if self.users {
            flow.uid = *dice.pick(&USERS);
        }
        flow
    }
}
