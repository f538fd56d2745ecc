//! What is read: the routes and rules of all definitions of links of the host.

use multihome_core::model::route::{METRIC_V6_DEFAULT, RTNH_F_ONLINK, RTPROT_STATIC, SCOPE_LINK};
use multihome_core::model::{Action, Hop, Route, RouteKind, Rule};
use multihome_core::prefix::{Family, Prefix};

use super::definitions::{self, Definition, File, SECTIONS};
use crate::value::{self, number};
use crate::yaml::{Node, Pair};
use crate::{At, Known, Problem, Statement, Tree, What};

/// The keys of a definition that say nothing of routes and rules that a file knows.
const PASSED: &str = "
    accept-ra access-points activation-mode addresses auth bridge_mapping critical delay-virtual-functions-rebind
    dhcp-identifier dhcp4 dhcp4-overrides dhcp6 dhcp6-overrides embedded-switch-mode emit-lldp
    generic-receive-offload generic-segmentation-offload hairpin id ignore-carrier infiniband-mode
    interfaces ipv6-address-generation ipv6-address-token ipv6-mtu ipv6-privacy key keys
    large-receive-offload link link-local local local-mac-addresses macaddress match mode mtu
    nameservers neigh-suppress networkmanager openvswitch optional optional-addresses parameters
    peer peers port ra-overrides receive-checksum-offload regulatory-domain remote renderer
    set-name tcp-segmentation-offload tcp6-segmentation-offload transmit-checksum-offload ttl
    virtual-function-count wakeonlan wakeonwlan";
/// Those of all of it.
const NETWORK: [&str; 3] = ["version", "renderer", "openvswitch"];
/// Metrics of a path by key (`RTAX_` numbers).
const METRICS: [(&str, u16); 4] = [
    ("mtu", 2),
    ("advertised-mss", 8),
    ("congestion-window", 11),
    ("advertised-receive-window", 14),
];

pub(super) fn import(there: &Tree, known: &Known) -> Result<Vec<Statement>, Problem> {
    let files = definitions::files(there)?;
    for file in &files {
        let Some(root) = &file.root else { continue };
        for pair in file.pairs(root)? {
            if pair.key != "network" {
                return Err(file.wrong(pair.line, "unknown"));
            }
            for pair in file.pairs(&pair.node)? {
                let key = pair.key.as_str();
                if !NETWORK.contains(&key) && !SECTIONS.contains(&key) {
                    return Err(file.wrong(pair.line, "unknown in `network`"));
                }
            }
        }
    }
    let mut found = Vec::new();
    for definition in definitions::definitions(&files)? {
        Reader { known, definition: &definition, found: &mut found }.read()?;
    }
    Ok(found)
}

struct Reader<'a, 'f> {
    known: &'a Known,
    definition: &'a Definition<'f>,
    found: &'a mut Vec<Statement>,
}

impl Reader<'_, '_> {
    fn read(&mut self) -> Result<(), Problem> {
        let links = self.links();
        for (file, pair) in &self.definition.pairs {
            match pair.key.as_str() {
                "routes" | "routing-policy" | "gateway4" | "gateway6" if links.is_empty() => {
                    let why = format!("no link of this host is {}", self.definition.id);
                    return Err(file.wrong(pair.line, why));
                }
                "routes" => {
                    for node in file.items(&pair.node)? {
                        for link in &links {
                            let route = route(file, node, *link)?;
                            self.say(file, node.line, What::Route(route));
                        }
                    }
                }
                "routing-policy" => {
                    for node in file.items(&pair.node)? {
                        let rule = rule(file, node)?;
                        self.say(file, node.line, What::Rule(rule));
                    }
                }
                "gateway4" | "gateway6" => {
                    let gateway = Text(file, pair).read(str::parse, "address")?;
                    for link in &links {
                        let mut route = blank(Family::of(gateway).all());
                        route.hops = vec![Hop::via(gateway, *link)];
                        self.say(file, pair.line, What::Route(route));
                    }
                }
                key if PASSED.split_whitespace().any(|k| k == key) => {}
                _ => {
                    let why = format!("unknown in `{}`", self.definition.section);
                    return Err(file.wrong(pair.line, why));
                }
            }
        }
        Ok(())
    }

    /// The links that it is for.
    fn links(&self) -> Vec<u32> {
        let cards = self.known.cards().into_iter();
        cards.filter(|c| self.definition.is_of(c.name, c.mac)).map(|c| c.link).collect()
    }

    fn say(&mut self, file: &File<'_>, line: usize, what: What) {
        let at = At { path: file.path.to_owned(), line };
        let text = crate::yaml::line_of(file.text, line).to_owned();
        self.found.push(Statement { at, text, what });
    }
}

/// A line of a mapping in its file.
struct Text<'a, 'f>(&'a File<'f>, &'a Pair);

impl Text<'_, '_> {
    fn wrong(&self, why: impl Into<String>) -> Problem {
        self.0.wrong(self.1.line, why)
    }

    fn text(&self) -> Result<&str, Problem> {
        self.1.node.text().ok_or_else(|| self.wrong("no single value"))
    }

    fn read<T, E>(&self, parse: impl Fn(&str) -> Result<T, E>, what: &str) -> Result<T, Problem> {
        parse(self.text()?).map_err(|_| self.wrong(format!("no {what}")))
    }

    fn number(&self) -> Result<u32, Problem> {
        number(self.text()?).ok_or_else(|| self.wrong("no number"))
    }

    fn network(&self) -> Result<Prefix, Problem> {
        value::network(self.text()?).ok_or_else(|| self.wrong("no network"))
    }

    fn truth(&self) -> Result<bool, Problem> {
        match self.text()?.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" | "y" => Ok(true),
            "false" | "off" | "no" | "n" => Ok(false),
            _ => Err(self.wrong("neither true nor false")),
        }
    }
}

fn blank(dst: Prefix) -> Route {
    Route { protocol: RTPROT_STATIC, ..Route::new(254, dst) }
}

fn route(file: &File<'_>, node: &Node, link: u32) -> Result<Route, Problem> {
    let (mut to, mut gateway, mut metric, mut scope) = (None, None, None, None);
    let (mut table, mut flags, mut kind) = (254, 0, RouteKind::Unicast);
    let mut prefsrc = None;
    let mut metrics = Vec::new();
    for pair in file.pairs(node)? {
        let line = Text(file, pair);
        match pair.key.as_str() {
            "to" if pair.node.text() == Some("default") => {}
            "to" => to = Some(line.network()?),
            "via" => gateway = Some(line.read(str::parse::<std::net::IpAddr>, "address")?),
            // It may have a length, which does not count.
            "from" => prefsrc = Some(line.read(|t| value::split(t).ok_or(()), "address")?.0),
            "on-link" => flags = if line.truth()? { RTNH_F_ONLINK } else { 0 },
            "metric" => metric = Some(line.number()?),
            "table" => {
                table =
                    Some(line.number()?).filter(|t| *t > 0).ok_or_else(|| line.wrong("no table"))?
            }
            "type" => kind = line.read(|t| RouteKind::from_word(t).ok_or(()), "type of a route")?,
            "scope" => {
                scope = Some(match line.text()? {
                    "global" => 0,
                    "link" => SCOPE_LINK,
                    "host" => 254,
                    _ => return Err(line.wrong("no scope")),
                });
            }
            key => match METRICS.iter().find(|(k, _)| *k == key) {
                Some((_, metric)) => metrics.push((*metric, line.number()?)),
                None => return Err(line.wrong("unknown in a route")),
            },
        }
    }
    let wrong = |why: &str| file.wrong(node.line, why);
    let dst = to.or_else(|| gateway.or(prefsrc).map(|g| Family::of(g).all()));
    let dst = dst.ok_or_else(|| wrong("a route without a family"))?;
    if [gateway, prefsrc].iter().flatten().any(|a| Family::of(*a) != dst.family()) {
        return Err(wrong("two families in one route"));
    }
    let mut route = blank(dst);
    route.table = table;
    route.kind = kind;
    route.prefsrc = prefsrc;
    route.metric = match metric {
        Some(0) if dst.family() == Family::V6 => METRIC_V6_DEFAULT,
        Some(metric) => metric,
        None => route.metric,
    };
    route.metrics.values = metrics.into_iter().collect();
    if !route.refuses() && kind != RouteKind::Throw {
        route.hops = vec![Hop { gateway, flags, ..Hop::dev(link) }];
    }
    let automatic = match kind {
        RouteKind::Local => 254,
        RouteKind::Unicast if gateway.is_none() => SCOPE_LINK,
        _ => 0,
    };
    route.scope = if dst.family() == Family::V4 { scope.unwrap_or(automatic) } else { 0 };
    Ok(route)
}

fn rule(file: &File<'_>, node: &Node) -> Result<Rule, Problem> {
    let mut rule =
        Rule { protocol: RTPROT_STATIC, ..Rule::new(Family::V4, 0, Action::Lookup(254)) };
    let mut has_priority = false;
    for pair in file.pairs(node)? {
        let line = Text(file, pair);
        match pair.key.as_str() {
            "from" => rule.from = Some(line.network()?),
            "to" => rule.to = Some(line.network()?),
            "table" => rule.action = Action::Lookup(line.number()?),
            "priority" => {
                rule.priority = line.number()?;
                has_priority = true;
            }
            "mark" => rule.fwmark = Some((line.number()?, u32::MAX)),
            "type-of-service" => {
                let tos =
                    line.read(|t| number(t).and_then(|n| u8::try_from(n).ok()).ok_or(()), "TOS")?;
                rule.tos = Some(tos).filter(|t| *t != 0);
            }
            _ => return Err(line.wrong("unknown in a rule")),
        }
    }
    let wrong = |why: &str| file.wrong(node.line, why);
    if !has_priority {
        return Err(wrong("without a priority the kernel chooses one, and no file tells which"));
    }
    let mut families: Vec<Family> =
        [rule.from, rule.to].iter().flatten().map(Prefix::family).collect();
    families.dedup();
    let [family] = families.as_slice() else { return Err(wrong("a rule is of one family")) };
    rule.family = *family;
    // All of them is what a rule is for that names none.
    rule.from = rule.from.filter(|p| !p.is_default());
    rule.to = rule.to.filter(|p| !p.is_default());
    Ok(rule)
}
