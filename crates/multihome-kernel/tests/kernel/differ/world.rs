//! Random worlds: links, addresses, routes, rules and sysctls that get in each other's way.
//!
//! A world is a list of steps, of which the kernel may refuse any; what it took is what its dump
//! shows. Links have their index given, so that a world from which steps are taken keeps the
//! numbers of what is left ([`super::shrink`]).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use multihome_core::model::route::RTNH_F_ONLINK;
use multihome_core::model::rule::DSCP_FULL;
use multihome_core::model::sysctl::conf;
use multihome_core::model::{Action, Address, Hop, Neighbour, Nexthop, Route, RouteKind, Rule};
use multihome_core::{Family, Prefix};

use super::dice::Dice;

/// One thing that is done to a fresh namespace.
#[derive(Debug, Clone)]
pub enum Step {
    Sysctl(String, &'static str),
    /// A veth pair: the index of the first, and the second's is the next.
    Veth(u32),
    Bridge(u32),
    Master(u32, u32),
    Group(u32, u32),
    Up(u32, bool),
    /// With preferred lifetime in seconds, when it has one.
    Address(Address, Option<u32>),
    Nexthop(Nexthop),
    Route(Route, Place),
    Neighbour(Neighbour),
    AddRule(Rule),
    DelRule(Rule),
}

/// Where a route goes among those of its key.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    Alone,
    Behind,
    Before,
}

/// The loopback.
pub const LOOPBACK: u32 = 1;
/// The bridge, in worlds that have one.
const BRIDGE: u32 = 20;
/// Tables that have routes.
const TABLES: [u32; 9] = [254, 254, 254, 255, 253, 100, 100, 101, 5000];
/// Priorities, few enough to meet.
const PRIORITIES: [u32; 12] = [0, 1, 5, 10, 10, 20, 20, 100, 1000, 32765, 32766, 40000];
/// Values of the TOS byte: with all bits that somebody looks at, and ECN.
pub const TOS: [u8; 8] = [0x10, 0x08, 0x04, 0x1c, 0xb8, 0x28, 0x02, 0x20];
/// Marks.
pub const MARKS: [u32; 4] = [1, 2, 0x100, 0xff];
/// Users.
pub const USERS: [u32; 4] = [0, 1000, 1001, 65534];
/// Ports.
pub const PORTS: [u16; 4] = [53, 80, 443, 40000];

/// How a link is called.
pub fn name(index: u32) -> String {
    match index {
        LOOPBACK => "lo".to_owned(),
        BRIDGE => "br0".to_owned(),
        n => format!("v{n}"),
    }
}

/// Makes a world.
pub struct Maker<'d> {
    dice: &'d mut Dice,
    steps: Vec<Step>,
    links: Vec<u32>,
    /// Networks on links, from which gateways are taken.
    networks: Vec<(u32, Prefix)>,
    owned: Vec<IpAddr>,
    nexthops: Vec<(u32, Family)>,
    /// Whether users other than root can be named.
    users: bool,
}

/// A random address, from few.
pub fn address(dice: &mut Dice, family: Family) -> IpAddr {
    match family {
        Family::V4 => {
            let last = *dice.pick(&[0, 1, 2, 3, 5, 9, 127, 128, 129, 254, 255]);
            Ipv4Addr::new(10, 0, dice.below(4) as u8, last).into()
        }
        Family::V6 => {
            let last = *dice.pick(&[0, 1, 2, 3, 5, 9, 0x7f, 0x80, 0xffff]);
            let (first, second) = *dice.pick(&[
                (0x2001, 0xdb8),
                (0x2001, 0xdb8),
                (0x2001, 0xdb8),
                (0xfd00, 0),
                (0x2002, 1),
                (0x2001, 0),
            ]);
            Ipv6Addr::new(first, second, 0, dice.below(4) as u16, 0, 0, 0, last).into()
        }
    }
}

/// A random network, from few.
fn prefix(dice: &mut Dice, family: Family) -> Prefix {
    let lens: &[u8] = match family {
        Family::V4 => &[0, 0, 0, 1, 4, 8, 16, 20, 22, 23, 24, 24, 25, 26, 30, 31, 32, 32],
        Family::V6 => &[0, 0, 0, 1, 3, 16, 32, 48, 60, 62, 63, 64, 64, 80, 112, 120, 127, 128, 128],
    };
    let len = *dice.pick(lens);
    let address = if dice.chance(4) { odd(dice, family) } else { address(dice, family) };
    Prefix::new(address, len)
}

/// An address that is special.
pub fn odd(dice: &mut Dice, family: Family) -> IpAddr {
    let words: &[&str] = match family {
        Family::V4 => &[
            "127.0.0.1",
            "127.1.2.3",
            "0.0.0.0",
            "0.1.2.3",
            "255.255.255.255",
            "224.0.0.1",
            "224.0.0.5",
            "239.1.2.3",
            "169.254.1.1",
            "240.0.0.1",
            "8.8.8.8",
            "192.0.2.1",
        ],
        Family::V6 => &[
            "::1",
            "::",
            "fe80::1",
            "fe80::2",
            "fe80::9",
            "ff02::1",
            "ff02::5",
            "ff05::2",
            "ff0e::1",
            "fec0::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2606:4700::1",
        ],
    };
    dice.pick(words).parse().expect("an address")
}

impl Maker<'_> {
    /// The steps of a world.
    pub fn steps(dice: &mut Dice, users: bool) -> Vec<Step> {
        let mut maker = Maker {
            dice,
            steps: Vec::new(),
            links: Vec::new(),
            networks: Vec::new(),
            owned: Vec::new(),
            nexthops: Vec::new(),
            users,
        };
        maker.links();
        maker.sysctls();
        let addresses = 2 + maker.dice.below(8);
        (0..addresses).for_each(|_| maker.address());
        let (objects, multipath) = (maker.dice.chance(30), maker.dice.chance(30));
        if objects {
            (1..=6).for_each(|id| maker.nexthop(id));
        }
        let routes = 4 + maker.dice.below(40);
        (0..routes).for_each(|_| maker.route(objects, multipath));
        if maker.dice.chance(50) {
            maker.neighbours();
        }
        if maker.dice.chance(75) {
            maker.rules();
        }
        maker.faults();
        maker.steps
    }

    fn links(&mut self) {
        // Before there is a link: what it begins with.
        for (key, value) in [("accept_dad", "0"), ("accept_ra", "0"), ("router_solicitations", "0")]
        {
            self.steps.push(Step::Sysctl(conf(Family::V6, "default", key), value));
        }
        self.links.push(LOOPBACK);
        let pairs = 2 + self.dice.below(2);
        for n in 0..pairs {
            let index = 2 + 2 * n;
            self.steps.push(Step::Veth(index));
            self.links.extend([index, index + 1]);
        }
        if self.dice.chance(20) {
            self.steps.extend([Step::Bridge(BRIDGE), Step::Master(2, BRIDGE)]);
            self.links.push(BRIDGE);
        }
        for link in self.links.clone() {
            if self.dice.chance(25) {
                self.steps.push(Step::Group(link, *self.dice.pick(&[7, 10_000])));
            }
            if link == LOOPBACK || self.dice.chance(92) {
                self.steps.push(Step::Up(link, true));
            }
        }
    }

    fn sysctls(&mut self) {
        let v4: &[(&str, &[&str])] = &[
            ("ignore_routes_with_linkdown", &["0", "1"]),
            ("rp_filter", &["0", "1", "2"]),
            ("forwarding", &["0", "1", "1"]),
            ("accept_local", &["0", "1"]),
            ("src_valid_mark", &["0", "1"]),
            ("route_localnet", &["0", "1"]),
            ("bc_forwarding", &["0", "1"]),
        ];
        let v6: &[(&str, &[&str])] = &[
            ("ignore_routes_with_linkdown", &["0", "1"]),
            ("forwarding", &["0", "1"]),
            ("use_oif_addrs_only", &["0", "1"]),
            ("use_tempaddr", &["0", "2"]),
        ];
        for (family, keys) in [(Family::V4, v4), (Family::V6, v6)] {
            for (key, values) in keys {
                // `all` first: writing its forwarding writes every link's.
                for link in
                    std::iter::once("all".to_owned()).chain(self.links.iter().map(|&l| name(l)))
                {
                    let percent = if link == "all" { 25 } else { 15 };
                    if let Some(value) = self.dice.maybe(percent, values) {
                        self.steps.push(Step::Sysctl(conf(family, &link, key), value));
                    }
                }
            }
        }
        if let Some(value) = self.dice.maybe(20, &["0", "1", "2"]) {
            let path = "net/ipv4/fib_multipath_hash_policy".to_owned();
            self.steps.push(Step::Sysctl(path, value));
        }
    }

    fn address(&mut self) {
        let family = *self.dice.pick(&Family::BOTH);
        let link = if self.dice.chance(8) { LOOPBACK } else { *self.dice.pick(&self.links) };
        let local = match self.dice.maybe(20, &self.owned) {
            // The same on another link, or with another length.
            Some(owned) if Family::of(owned) == family => owned,
            _ => address(self.dice, family),
        };
        let lens: &[u8] = match family {
            Family::V4 => &[16, 20, 22, 24, 24, 24, 24, 25, 26, 30, 31, 32],
            Family::V6 => &[48, 62, 64, 64, 64, 64, 80, 112, 120, 127, 128],
        };
        let prefix_len = *self.dice.pick(lens);
        let peer = self.dice.chance(10).then(|| address(self.dice, family)).filter(|p| *p != local);
        let scope = match family {
            Family::V4 => self.dice.maybe(15, &[253, 254, 200]).unwrap_or(0),
            Family::V6 => 0,
        };
        // IFA_F_NOPREFIXROUTE, IFA_F_NODAD
        let flags = if self.dice.chance(12) { 0x200 } else { 0 };
        let flags = flags | if family == Family::V6 { 0x02 } else { 0 };
        let preferred =
            if family == Family::V6 { self.dice.maybe(20, &[0, 0, 5000]) } else { None };
        let address = Address { link, local, prefix_len, peer, scope, flags };
        self.networks.push((link, address.network()));
        self.owned.push(local);
        self.steps.push(Step::Address(address, preferred));
    }

    /// A hop for a route of a family.
    fn hop(&mut self, family: Family) -> Hop {
        let link = *self.dice.pick(&self.links);
        match self.dice.below(10) {
            0..=4 => {
                // A host on a network that is there, if there is one.
                let here: Vec<(u32, Prefix)> =
                    self.networks.iter().filter(|(_, p)| p.family() == family).copied().collect();
                if here.is_empty() {
                    return Hop::dev(link);
                }
                let (link, network) = *self.dice.pick(&here);
                let host = u128::from(*self.dice.pick(&[1u8, 2, 3, 9, 77]));
                let bits = network.bits()
                    | host & !(u128::MAX << (family.bits() - network.len()).min(127));
                let gateway = Prefix::from_bits(family, bits, family.bits()).address();
                Hop::via(gateway, if self.dice.chance(75) { link } else { 0 })
            }
            5 => {
                let gateway = address(self.dice, family);
                Hop { flags: RTNH_F_ONLINK, ..Hop::via(gateway, link) }
            }
            6 if family == Family::V6 || self.dice.chance(40) => {
                let gateway = *self.dice.pick(&["fe80::1", "fe80::2", "fe80::9"]);
                Hop::via(gateway.parse().expect("an address"), link)
            }
            _ => Hop::dev(link),
        }
    }

    fn nexthop(&mut self, id: u32) {
        let mut nexthop =
            Nexthop { id, oif: None, gateway: None, group: Vec::new(), blackhole: false, flags: 0 };
        let family = *self.dice.pick(&Family::BOTH);
        match self.dice.below(10) {
            0 => nexthop.blackhole = true,
            1..=2 if self.nexthops.len() > 1 => {
                let (first, second) =
                    (*self.dice.pick(&self.nexthops), *self.dice.pick(&self.nexthops));
                nexthop.group = vec![(first.0, 1), (second.0, 1 + self.dice.below(3) as u16)];
            }
            _ => {
                let hop = self.hop(family);
                nexthop.oif = Some(hop.link).filter(|&l| l != 0);
                nexthop.gateway = hop.gateway;
                nexthop.flags = hop.flags;
            }
        }
        if nexthop.group.is_empty() {
            self.nexthops.push((id, family));
        }
        self.steps.push(Step::Nexthop(nexthop));
    }

    fn route(&mut self, objects: bool, multipath: bool) {
        let family = *self.dice.pick(&Family::BOTH);
        let v4 = family == Family::V4;
        let table = *self.dice.pick(&TABLES);
        let mut route = Route {
            protocol: *self.dice.pick(&[3, 4, 4, 9, 16]),
            ..Route::new(table, prefix(self.dice, family))
        };
        route.metric = *self.dice.pick(&[0, 0, 0, 1, 100, 1024, 1024]);
        route.kind = match self.dice.below(30) {
            0 => RouteKind::Unreachable,
            1 => RouteKind::Blackhole,
            2 => RouteKind::Prohibit,
            3 => RouteKind::Throw,
            4..=5 => RouteKind::Local,
            6 if v4 => RouteKind::Broadcast,
            6 => RouteKind::Anycast,
            7 => RouteKind::Multicast,
            _ => RouteKind::Unicast,
        };
        let leads = matches!(
            route.kind,
            RouteKind::Unicast
                | RouteKind::Local
                | RouteKind::Broadcast
                | RouteKind::Anycast
                | RouteKind::Multicast
        );
        if leads {
            let hops = if multipath && self.dice.chance(12) { 2 + self.dice.below(2) } else { 1 };
            route.hops = (0..hops).map(|_| self.hop(family)).collect();
            if route.kind != RouteKind::Unicast {
                route.hops.truncate(1);
                route.hops[0].gateway = None;
            }
            if objects && route.kind == RouteKind::Unicast && self.dice.chance(25) {
                route.hops.clear();
                route.nhid = Some(1 + self.dice.below(6));
            }
        }
        if v4 {
            route.tos = self.dice.maybe(12, &TOS[..4]).unwrap_or(0);
            let direct = route.hops.first().is_some_and(|h| h.gateway.is_none());
            route.scope = match route.kind {
                RouteKind::Local => 254,
                RouteKind::Unicast if direct && self.dice.chance(85) => 253,
                RouteKind::Broadcast => 253,
                _ => 0,
            };
        } else {
            if self.dice.chance(15) {
                route.src = Some(prefix(self.dice, family)).filter(|p| !p.is_default());
            }
            route.preference = self.dice.maybe(15, &[1, 3]).unwrap_or(0);
            route.expires = self.dice.maybe(5, &[5000]);
        }
        if !self.owned.is_empty() && self.dice.chance(25) {
            let owned = *self.dice.pick(&self.owned);
            route.prefsrc = Some(owned).filter(|a| Family::of(*a) == family);
        }
        // Twins of a default put it to the hash, or to the gateways' health.
        let place = match self.dice.below(10) {
            0 if !route.dst.is_default() || self.dice.chance(30) => Place::Before,
            1..=2 if !route.dst.is_default() || self.dice.chance(30) => Place::Behind,
            _ => Place::Alone,
        };
        self.steps.push(Step::Route(route, place));
    }

    fn neighbours(&mut self) {
        let mut gateways: Vec<(u32, IpAddr)> = Vec::new();
        for step in &self.steps {
            if let Step::Route(route, _) = step {
                gateways.extend(
                    route
                        .hops
                        .iter()
                        .filter_map(|h| Some((h.link, h.gateway?)))
                        .filter(|g| g.0 != 0),
                );
            }
        }
        for (link, address) in gateways {
            // FAILED, STALE, PERMANENT, NOARP
            if let Some(state) = self.dice.maybe(50, &[0x20, 0x20, 0x04, 0x80, 0x40]) {
                let lladdr = (state != 0x20).then(|| "02:00:00:00:00:99".to_owned());
                let router = self.dice.chance(50);
                let neighbour = Neighbour { link, address, lladdr, state, router };
                self.steps.push(Step::Neighbour(neighbour));
            }
        }
    }

    fn rules(&mut self) {
        for family in Family::BOTH {
            let count = self.dice.below(9);
            (0..count).for_each(|_| self.rule(family));
            let plain = |priority, table| Rule {
                protocol: 2,
                ..Rule::new(family, priority, Action::Lookup(table))
            };
            if self.dice.chance(15) {
                // The local rule moved, the right way round.
                let priority = *self.dice.pick(&[5, 15, 40000]);
                self.steps.push(Step::AddRule(plain(priority, 255)));
                self.steps.push(Step::DelRule(plain(0, 255)));
            }
            if self.dice.chance(10) {
                self.steps.push(Step::DelRule(plain(32766, 254)));
            }
            if self.dice.chance(10) {
                self.steps.push(Step::DelRule(plain(32767, 253)));
            }
        }
    }

    fn rule(&mut self, family: Family) {
        let priority = *self.dice.pick(&PRIORITIES);
        let action = match self.dice.below(20) {
            0..=2 => Action::Goto(*self.dice.pick(&[11, 20, 100, 32766, 40000, 50000])),
            3 => Action::Nop,
            4 => Action::Unreachable,
            5 => Action::Blackhole,
            6 => Action::Prohibit,
            7 => Action::Lookup(999),
            _ => Action::Lookup(*self.dice.pick(&TABLES)),
        };
        let mut rule = Rule { protocol: 3, ..Rule::new(family, priority, action) };
        // Those that refuse or jump had better say whom.
        let selective = !matches!(action, Action::Lookup(_));
        loop {
            rule.not = self.dice.chance(8);
            rule.from = self.dice.chance(30).then(|| prefix(self.dice, family));
            rule.to = self.dice.chance(20).then(|| prefix(self.dice, family));
            rule.from = rule.from.filter(|p| !p.is_default());
            rule.to = rule.to.filter(|p| !p.is_default());
            let link = |dice: &mut Dice| match dice.below(8) {
                0 => "gone0".to_owned(),
                1..=2 => "lo".to_owned(),
                _ => name(*dice.pick(&self.links)),
            };
            rule.iif = self.dice.chance(12).then(|| link(self.dice));
            rule.oif = self.dice.chance(12).then(|| link(self.dice));
            rule.fwmark = self.dice.chance(15).then(|| {
                (*self.dice.pick(&MARKS), *self.dice.pick(&[u32::MAX, u32::MAX, 0xff, 0x101]))
            });
            rule.ipproto = self.dice.maybe(12, &[6, 17, 1, 58]);
            rule.sport = self.dice.maybe(6, &[(53, 53), (1, 1000), (40000, 40000)]);
            rule.dport = self.dice.maybe(6, &[(80, 80), (80, 443), (1, 100)]);
            if self.users {
                rule.uidrange = self.dice.maybe(10, &[(0, 0), (1000, 1000), (1000, 70000)]);
            }
            if self.dice.chance(10) {
                let tos: &[u8] = if family == Family::V4 { &TOS[..4] } else { &TOS[..6] };
                rule.tos = Some(*self.dice.pick(tos));
            } else {
                rule.dscp =
                    self.dice.maybe(8, &[(0x2e, DSCP_FULL), (4, DSCP_FULL), (2, 0x0a), (0, 8)]);
            }
            if rule != (Rule { protocol: 3, ..Rule::new(family, priority, action) }) || !selective {
                break;
            }
        }
        if matches!(action, Action::Lookup(_)) {
            rule.suppress_prefixlength = self.dice.maybe(15, &[0, 1, 8, 23, 24, 64]);
            rule.suppress_ifgroup = self.dice.maybe(15, &[0, 7, 10_000]);
        }
        self.steps.push(Step::AddRule(rule));
    }

    /// Links that go down when everything stands, and such as come back.
    fn faults(&mut self) {
        for link in self.links.clone() {
            if link != LOOPBACK && self.dice.chance(12) {
                self.steps.push(Step::Up(link, false));
                if self.dice.chance(25) {
                    self.steps.push(Step::Up(link, true));
                }
            }
        }
    }
}
