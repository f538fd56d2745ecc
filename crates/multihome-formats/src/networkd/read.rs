//! What is read.
//!
//! For each link of the host the file in use and its drop-ins; files for others say nothing about
//! it. A section of networkd's is one object however many lines it has.

use std::net::IpAddr;
use std::str::FromStr;

use multihome_core::model;
use multihome_core::model::route::{METRIC_V6_DEFAULT, RTNH_F_ONLINK, RTPROT_DHCP, RTPROT_STATIC};
use multihome_core::model::{Action, Hop, Route, RouteKind, Rule};
use multihome_core::prefix::{Family, Prefix};

use super::files;
use super::keys::{self, Keys};
use super::write::automatic_scope;
use crate::comments::problem;
use crate::ini::{self, Dialect, Entry, Section};
use crate::value::{self, number};
use crate::{At, Known, Problem, Statement, Tree, What};

/// `RTN_` metrics by key (`RTAX_` numbers).
const METRICS: [(&str, u16); 6] = [
    ("MTUBytes", 2),
    ("TCPAdvertisedMaximumSegmentSize", 8),
    ("HopLimit", 10),
    ("InitialCongestionWindow", 11),
    ("InitialAdvertisedReceiveWindow", 14),
    ("QuickAck", 15),
];

pub(super) fn import(there: &Tree, known: &Known) -> Result<Vec<Statement>, Problem> {
    if let Some(path) = files::of_several(there) {
        return Err(problem(path, 1, "", "a drop-in for files of several names is not read"));
    }
    let mut reader = Reader { there, known, tables: Vec::new(), found: Vec::new() };
    reader.configuration()?;
    let units = files::units(there);
    let mut used: Vec<&str> = Vec::new();
    for card in known.cards() {
        let Some(unit) = files::active(there, &units, card)? else { continue };
        // Rules are no link's: what several links ask for is there once.
        let is_first = !used.contains(&unit.name);
        used.push(unit.name);
        for (path, section) in files::sections(unit)? {
            reader.section(path, &section, card.link, is_first)?;
        }
    }
    Ok(reader.found)
}

struct Reader<'a> {
    there: &'a Tree,
    known: &'a Known,
    tables: Vec<(String, u32)>,
    found: Vec<Statement>,
}

/// A line with the file that it is in.
#[derive(Clone, Copy)]
struct Line<'a> {
    path: &'a str,
    entry: &'a Entry<'a>,
}

impl Line<'_> {
    fn wrong(self, why: impl Into<String>) -> Problem {
        problem(self.path, self.entry.line, self.entry.text, why)
    }

    fn value(&self) -> &str {
        &self.entry.value
    }

    /// The value as something that can be read.
    fn read<T: FromStr>(self, what: &str) -> Result<T, Problem> {
        self.value().parse().map_err(|_| self.wrong(format!("no {what}")))
    }

    fn number(self, least: u32, most: u32) -> Result<u32, Problem> {
        let found = number(self.value()).filter(|n| (least..=most).contains(n));
        found.ok_or_else(|| self.wrong(format!("no number from {least} to {most}")))
    }

    fn yes(self) -> Result<bool, Problem> {
        match self.value().to_ascii_lowercase().as_str() {
            "1" | "yes" | "y" | "true" | "t" | "on" => Ok(true),
            "0" | "no" | "n" | "false" | "f" | "off" => Ok(false),
            _ => Err(self.wrong("neither yes nor no")),
        }
    }

    /// A network: systemd clears host bits.
    fn prefix(self) -> Result<Prefix, Problem> {
        value::network(self.value()).ok_or_else(|| self.wrong("no network"))
    }
}

impl Reader<'_> {
    // ===== networkd.conf =====

    fn configuration(&mut self) -> Result<(), Problem> {
        for (path, text) in files::configuration(self.there) {
            for section in ini::read(path, text, Dialect::Systemd)? {
                let entries = section.entries.iter().filter(|e| e.key == "RouteTable");
                for entry in entries {
                    let line = Line { path, entry };
                    for word in line.value().split_whitespace() {
                        let pair = word.split_once(':');
                        let pair = pair.and_then(|(name, n)| Some((name, number(n)?)));
                        let (name, table) = pair.ok_or_else(|| line.wrong("no `NAME:NUMBER`"))?;
                        self.tables.push((name.to_owned(), table));
                        self.say(line, What::TableName(table, name.to_owned()));
                    }
                }
            }
        }
        Ok(())
    }

    fn say(&mut self, line: Line<'_>, what: What) {
        let at = At { path: line.path.to_owned(), line: line.entry.line };
        self.found.push(Statement { at, text: line.entry.text.to_owned(), what });
    }

    fn say_section(&mut self, path: &str, section: &Section<'_>, what: What) {
        let at = At { path: path.to_owned(), line: section.line };
        self.found.push(Statement { at, text: section.text(), what });
    }

    // ===== sections =====

    fn section(
        &mut self,
        path: &str,
        section: &Section<'_>,
        link: u32,
        is_first: bool,
    ) -> Result<(), Problem> {
        match section.name {
            "Route" => {
                let route = self.route(path, section, link)?;
                self.say_section(path, section, What::Route(route));
            }
            "RoutingPolicyRule" => {
                for rule in self.rules(path, section)?.into_iter().filter(|_| is_first) {
                    self.say_section(path, section, What::Rule(rule));
                }
            }
            name => match keys::of(name) {
                Keys::Any => {}
                Keys::Some(known) => {
                    for entry in &section.entries {
                        let line = Line { path, entry };
                        match (name, entry.key) {
                            ("Link", "Group") => {
                                let group = line.number(0, i32::MAX.cast_unsigned())?;
                                self.say(line, What::Group(link, group));
                            }
                            ("Network", "Gateway") => {
                                if let Some(route) = self.gateway(line, link)? {
                                    self.say(line, What::Route(route));
                                }
                            }
                            (_, key) if keys::holds(known, key) => {}
                            _ => return Err(line.wrong(format!("unknown in [{name}]"))),
                        }
                    }
                }
                Keys::Unknown => {
                    let text = format!("[{name}]");
                    return Err(problem(path, section.line, &text, "an unknown section"));
                }
            },
        }
        Ok(())
    }

    /// `Gateway=` of `[Network]`, which is a default route of main.
    fn gateway(&self, line: Line<'_>, link: u32) -> Result<Option<Route>, Problem> {
        let gateway = match line.value() {
            "" => return Ok(None),
            // What DHCP and routers say anyway.
            "_dhcp4" | "_ipv6ra" => return Ok(None),
            _ => line.read::<IpAddr>("address")?,
        };
        let mut route = blank(Family::of(gateway).all());
        route.hops = vec![Hop::via(gateway, link)];
        Ok(Some(route))
    }

    fn table(&self, line: Line<'_>) -> Result<u32, Problem> {
        let name = line.value();
        let own = self.tables.iter().rfind(|(n, _)| n == name).map(|(_, table)| *table);
        let fixed = match name {
            "default" => Some(253),
            "main" => Some(254),
            "local" => Some(255),
            _ => None,
        };
        let table = fixed.or(own).or_else(|| number(name).filter(|n| *n > 0));
        table.ok_or_else(|| line.wrong("no table that networkd knows"))
    }

    // ===== [Route] =====

    fn route(&self, path: &str, section: &Section<'_>, link: u32) -> Result<Route, Problem> {
        let mut form = RouteForm::default();
        for entry in &section.entries {
            let line = Line { path, entry };
            // A line that is empty takes back those before it; none of ours would.
            if line.value().is_empty() {
                return Err(line.wrong("an empty value"));
            }
            match entry.key {
                "Destination" => form.destination = Some((line, line.prefix()?)),
                "Source" => form.source = Some(line.prefix()?),
                "Gateway" => form.gateway = Some(line),
                "PreferredSource" => form.prefsrc = Some((line, line.read("address")?)),
                "Metric" => form.metric = Some(line.number(0, u32::MAX)?),
                "Scope" => form.scope = Some(scope(line)?),
                "Table" => form.table = Some(self.table(line)?),
                "Protocol" => form.protocol = Some(protocol(line)?),
                "Type" => form.kind = kind(line)?,
                "GatewayOnLink" | "GatewayOnlink" => form.onlink = line.yes()?,
                "IPv6Preference" => {
                    form.preference = match line.value() {
                        "medium" => 0,
                        "high" => 1,
                        "low" => 3,
                        _ => return Err(line.wrong("no preference")),
                    }
                }
                "FastOpenNoCookie" => form.metrics.push((17, u32::from(line.yes()?))),
                "QuickAck" => form.metrics.push((15, u32::from(line.yes()?))),
                "TCPCongestionControlAlgorithm" => form.congctl = Some(line.value().to_owned()),
                key => match METRICS.iter().find(|(k, _)| *k == key) {
                    Some((_, metric)) => form.metrics.push((*metric, line.number(1, u32::MAX)?)),
                    None => return Err(line.wrong("unknown in [Route]")),
                },
            }
        }
        let head =
            || problem(path, section.line, &section.text(), "neither destination nor gateway");
        self.resolved(form, link)?.ok_or_else(head)
    }

    /// What a section comes to, unless it says nothing.
    fn resolved(&self, form: RouteForm<'_>, link: u32) -> Result<Option<Route>, Problem> {
        let mut filled = false;
        let gateway = match form.gateway {
            None => None,
            Some(line) => match line.value() {
                "_dhcp4" | "_dhcp" => {
                    filled = true;
                    Some(self.router(line, link, Family::V4)?)
                }
                "_ipv6ra" => {
                    filled = true;
                    Some(self.router(line, link, Family::V6)?)
                }
                _ => Some(line.read::<IpAddr>("address")?),
            },
        };
        let family = gateway.map(Family::of);
        let all = family.map(Family::all);
        let Some(dst) = form.destination.map(|(_, dst)| dst).or(all) else { return Ok(None) };
        if let Some((line, _)) = form.destination
            && family.is_some_and(|f| f != dst.family())
        {
            return Err(line.wrong("the gateway is of the other family"));
        }
        if let Some((line, address)) = form.prefsrc
            && Family::of(address) != dst.family()
        {
            return Err(line.wrong("the destination is of the other family"));
        }
        let mut route = blank(dst);
        route.src = form.source;
        route.kind = form.kind;
        route.table = form.table.unwrap_or(route.table);
        route.metric = match form.metric {
            // The kernel's own, where it is asked for none (`IP6_RT_PRIO_USER`).
            Some(0) if dst.family() == Family::V6 => METRIC_V6_DEFAULT,
            Some(metric) => metric,
            None => route.metric,
        };
        route.protocol = form.protocol.unwrap_or(if filled { RTPROT_DHCP } else { RTPROT_STATIC });
        route.prefsrc = form.prefsrc.map(|(_, address)| address);
        route.preference = form.preference;
        route.metrics.values = form.metrics.into_iter().collect();
        route.metrics.congctl = form.congctl;
        let leads_somewhere = !matches!(
            route.kind,
            RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Throw
        );
        if leads_somewhere {
            let flags = if form.onlink { RTNH_F_ONLINK } else { 0 };
            route.hops = vec![Hop { gateway, flags, ..Hop::dev(link) }];
        }
        // IPv6 has no scopes.
        let scope = form.scope.filter(|_| dst.family() == Family::V4);
        route.scope = scope.unwrap_or_else(|| automatic_scope(&route));
        Ok(Some(route))
    }

    /// The gateway that a lease or a router gave a link.
    fn router(&self, line: Line<'_>, link: u32, family: Family) -> Result<IpAddr, Problem> {
        let gateway = self.known.gateways.get(&(link, family));
        gateway.copied().ok_or_else(|| {
            let why = "no lease and no router of this host says which gateway this is";
            line.wrong(why)
        })
    }

    // ===== [RoutingPolicyRule] =====

    fn rules(&self, path: &str, section: &Section<'_>) -> Result<Vec<Rule>, Problem> {
        // Of no family yet.
        let mut rule = Rule::new(Family::V4, 0, Action::Lookup(254));
        rule.protocol = RTPROT_STATIC;
        let mut families: Option<Vec<Family>> = None;
        let mut has_priority = false;
        for entry in &section.entries {
            let line = Line { path, entry };
            if line.value().is_empty() {
                return Err(line.wrong("an empty value"));
            }
            match entry.key {
                "From" => rule.from = Some(line.prefix()?),
                "To" => rule.to = Some(line.prefix()?),
                "Table" => rule.action = Action::Lookup(self.table(line)?),
                "Priority" => {
                    rule.priority = line.number(0, u32::MAX)?;
                    has_priority = true;
                }
                "IncomingInterface" => rule.iif = Some(line.value().to_owned()),
                "OutgoingInterface" => rule.oif = Some(line.value().to_owned()),
                "InvertRule" => rule.not = line.yes()?,
                "FirewallMark" => rule.fwmark = Some(mark(line)?),
                "TypeOfService" => rule.tos = Some(line.read("number")?),
                "IPProtocol" => rule.ipproto = Some(ipproto(line)?),
                "SourcePort" => rule.sport = Some(range(line)?),
                "DestinationPort" => {
                    rule.dport = Some(range(line)?);
                }
                "User" => rule.uidrange = Some(range(line)?),
                "SuppressPrefixLength" => {
                    rule.suppress_prefixlength = Some(line.number(0, 128)?);
                }
                "SuppressInterfaceGroup" => {
                    let most = i32::MAX.cast_unsigned();
                    rule.suppress_ifgroup = Some(line.number(0, most)?);
                }
                "Family" => {
                    families = Some(match line.value() {
                        "ipv4" => vec![Family::V4],
                        "ipv6" => vec![Family::V6],
                        "both" => Family::BOTH.to_vec(),
                        _ => return Err(line.wrong("no family")),
                    });
                }
                "Type" => match line.value() {
                    "table" => {}
                    "blackhole" => rule.action = Action::Blackhole,
                    "unreachable" => rule.action = Action::Unreachable,
                    "prohibit" => rule.action = Action::Prohibit,
                    _ => return Err(line.wrong("no type of a rule that is known")),
                },
                _ => return Err(line.wrong("unknown in [RoutingPolicyRule]")),
            }
        }
        let wrong = |why: &str| problem(path, section.line, &section.text(), why);
        if !has_priority {
            return Err(wrong(
                "without a priority the kernel chooses one, and no file tells which",
            ));
        }
        let mut of: Vec<Family> =
            [rule.from, rule.to].iter().flatten().map(Prefix::family).collect();
        of.dedup();
        let families = match (families, of.as_slice()) {
            (Some(families), []) => families,
            (None, []) => vec![Family::V4],
            (None, [family]) => vec![*family],
            (Some(families), [family]) if families == [*family] => families,
            _ => return Err(wrong("two families in one rule")),
        };
        Ok(families.into_iter().map(|family| Rule { family, ..rule.clone() }).collect())
    }
}

/// What a `[Route]` says before it is known what comes of it.
#[derive(Default)]
struct RouteForm<'a> {
    destination: Option<(Line<'a>, Prefix)>,
    source: Option<Prefix>,
    gateway: Option<Line<'a>>,
    prefsrc: Option<(Line<'a>, IpAddr)>,
    metric: Option<u32>,
    scope: Option<u8>,
    table: Option<u32>,
    protocol: Option<u8>,
    kind: RouteKind,
    onlink: bool,
    preference: u8,
    metrics: Vec<(u16, u32)>,
    congctl: Option<String>,
}

fn blank(dst: Prefix) -> Route {
    Route { protocol: RTPROT_STATIC, ..Route::new(254, dst) }
}

/// `7` or `7-9`.
fn range<T: FromStr + Copy + PartialOrd>(line: Line<'_>) -> Result<(T, T), Problem> {
    value::range(line.value()).ok_or_else(|| line.wrong("no number and no range"))
}

fn scope(line: Line<'_>) -> Result<u8, Problem> {
    match line.value() {
        "global" => Ok(0),
        "site" => Ok(200),
        "link" => Ok(253),
        "host" => Ok(254),
        "nowhere" => Ok(255),
        _ => line.read("scope"),
    }
}

fn protocol(line: Line<'_>) -> Result<u8, Problem> {
    match line.value() {
        "kernel" => Ok(2),
        "boot" => Ok(3),
        "static" => Ok(4),
        "ra" => Ok(9),
        "dhcp" => Ok(16),
        _ => line.read("protocol"),
    }
}

fn kind(line: Line<'_>) -> Result<RouteKind, Problem> {
    RouteKind::from_word(line.value()).ok_or_else(|| line.wrong("no type of a route that is known"))
}

fn ipproto(line: Line<'_>) -> Result<u8, Problem> {
    model::names::ipproto_number(line.value())
        .ok_or_else(|| line.wrong("no protocol that is known"))
}

/// `7` or `7/255`.
fn mark(line: Line<'_>) -> Result<(u32, u32), Problem> {
    value::mark(line.value()).ok_or_else(|| line.wrong("no mark"))
}
