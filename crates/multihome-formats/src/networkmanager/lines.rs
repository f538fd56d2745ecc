//! A route and a rule in a keyfile's words, written and read.

use std::net::IpAddr;

use multihome_core::model::metrics;
use multihome_core::model::route::{METRIC_V6_DEFAULT, RTNH_F_ONLINK, RTPROT_STATIC, SCOPE_LINK};
use multihome_core::model::{Action, Hop, Route, RouteKind, Rule};
use multihome_core::prefix::{Family, Prefix};

use crate::value::{self, number};

/// The attributes that are metrics of a path; their words are iproute2's.
const METRICS: [&str; 7] = ["mtu", "window", "cwnd", "advmss", "initcwnd", "rto_min", "initrwnd"];

// ===== routes =====

/// `DESTINATION,GATEWAY,METRIC`, and the attributes of `routeN_options`.
pub(super) fn route(route: &Route) -> (String, String) {
    let none = match route.family() {
        Family::V4 => "0.0.0.0",
        Family::V6 => "::",
    };
    let hop = route.hops.first();
    let gateway = hop.and_then(|h| h.gateway).map_or(none.to_owned(), |g| g.to_string());
    // A host is said with its length: without one NetworkManager guesses.
    let (address, length) = (route.dst.address(), route.dst.len());
    let value = format!("{address}/{length},{gateway},{}", route.metric);
    let mut options = Vec::new();
    if hop.is_some_and(|h| h.flags & RTNH_F_ONLINK != 0) {
        options.push("onlink=true".to_owned());
    }
    if let Some(src) = route.src {
        options.push(format!("from={}/{}", src.address(), src.len()));
    }
    if let Some(prefsrc) = route.prefsrc {
        options.push(format!("src={prefsrc}"));
    }
    if route.scope != automatic_scope(route) {
        options.push(format!("scope={}", route.scope));
    }
    if route.tos != 0 {
        options.push(format!("tos={}", route.tos));
    }
    if let Some(mtu) = route.metrics.values.get(&2) {
        options.push(format!("mtu={mtu}"));
    }
    options.push(format!("table={}", route.table));
    if route.kind != RouteKind::Unicast {
        options.push(format!("type={}", route.kind.word()));
    }
    (value, options.join(","))
}

/// The scope of a route that names none (`nm_platform_ip4_route_get_effective_scope`).
fn automatic_scope(route: &Route) -> u8 {
    let leads_onto_the_link = route.hops.iter().all(|h| h.gateway.is_none());
    let is_unicast = route.kind == RouteKind::Unicast;
    if route.family() == Family::V4 && is_unicast && leads_onto_the_link { SCOPE_LINK } else { 0 }
}

/// What a profile says of all its routes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defaults {
    /// `route-table`.
    pub(super) table: u32,
    /// `route-metric`.
    pub(super) metric: u32,
}

/// Reads `routeN` and its options.
pub(super) fn read_route(
    family: Family,
    value: &str,
    options: Option<&str>,
    link: u32,
    defaults: Defaults,
) -> Result<Route, String> {
    let mut fields = value.split([',', ';']).map(str::trim);
    let dst = fields.next().unwrap_or_default();
    if !dst.contains('/') {
        return Err("a destination has a length behind it".to_owned());
    }
    let dst = value::network(dst).filter(|p| p.family() == family);
    let dst = dst.ok_or_else(|| format!("no {family} network"))?;
    let mut gateway = None;
    let mut metric = None;
    match fields.next() {
        None | Some("") => {}
        Some(word) => match word.parse::<IpAddr>() {
            Ok(address) => gateway = Some(address).filter(|a| !a.is_unspecified()),
            // `DESTINATION,METRIC`, as older versions wrote it.
            Err(_) => metric = Some(number(word).ok_or("neither gateway nor metric")?),
        },
    }
    if gateway.is_some_and(|g| Family::of(g) != family) {
        return Err("a gateway of the other family".to_owned());
    }
    match fields.next() {
        None | Some("") => {}
        Some(word) => metric = Some(number(word).ok_or("no metric")?),
    }
    if fields.any(|f| !f.is_empty()) {
        return Err("more than destination, gateway and metric".to_owned());
    }
    let mut route = Route { protocol: RTPROT_STATIC, ..Route::new(defaults.table, dst) };
    route.metric = match metric.unwrap_or(defaults.metric) {
        0 if family == Family::V6 => METRIC_V6_DEFAULT,
        metric => metric,
    };
    let mut scope = None;
    let mut flags = 0;
    for option in options.unwrap_or_default().split(',').map(str::trim).filter(|o| !o.is_empty()) {
        let (key, value) =
            option.split_once('=').ok_or_else(|| format!("`{option}` says nothing"))?;
        let wrong = || format!("`{option}` cannot be read");
        let truth = || match value {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(wrong()),
        };
        match key {
            "table" => route.table = number(value).filter(|t| *t > 0).ok_or_else(wrong)?,
            "src" => route.prefsrc = Some(value.parse().map_err(|_| wrong())?),
            "from" => route.src = Some(value::network(value).ok_or_else(wrong)?),
            "type" => route.kind = RouteKind::from_word(value).ok_or_else(wrong)?,
            "scope" => scope = Some(value.parse().map_err(|_| wrong())?),
            "tos" => route.tos = value.parse().map_err(|_| wrong())?,
            "onlink" => flags = if truth()? { RTNH_F_ONLINK } else { 0 },
            "quickack" => drop(route.metrics.values.insert(15, truth()?.into())),
            key => {
                let metric = metrics::number_of(key).filter(|_| METRICS.contains(&key));
                let metric = metric.ok_or_else(|| format!("`{option}` is unknown"))?;
                route.metrics.values.insert(metric, number(value).ok_or_else(wrong)?);
            }
        }
    }
    let leads_somewhere = !route.refuses() && route.kind != RouteKind::Throw;
    if leads_somewhere {
        route.hops = vec![Hop { gateway, flags, ..Hop::dev(link) }];
    }
    route.scope = scope.filter(|_| family == Family::V4).unwrap_or_else(|| automatic_scope(&route));
    Ok(route)
}

// ===== rules =====

/// A rule in the words of `nm_ip_routing_rule_to_string`.
pub(super) fn rule(rule: &Rule) -> String {
    let mut words = vec![format!("priority {}", rule.priority)];
    if rule.not {
        words.push("not".to_owned());
    }
    let slashed = |p: Prefix| format!("{}/{}", p.address(), p.len());
    words.push(format!("from {}", slashed(rule.from.unwrap_or(rule.family.all()))));
    if let Some(to) = rule.to {
        words.push(format!("to {}", slashed(to)));
    }
    if let Some(tos) = rule.tos {
        words.push(format!("tos {tos:#04x}"));
    }
    if let Some(protocol) = rule.ipproto {
        words.push(format!("ipproto {protocol}"));
    }
    for (word, range) in [("sport", rule.sport), ("dport", rule.dport)] {
        match range {
            Some((a, b)) if a == b => words.push(format!("{word} {a}")),
            Some((a, b)) => words.push(format!("{word} {a}-{b}")),
            None => {}
        }
    }
    if let Some((mark, mask)) = rule.fwmark {
        words.push(format!("fwmark {mark:#x}/{mask:#x}"));
    }
    if let Some(name) = &rule.iif {
        words.push(format!("iif {name}"));
    }
    if let Some(name) = &rule.oif {
        words.push(format!("oif {name}"));
    }
    if let Some((a, b)) = rule.uidrange {
        words.push(format!("uidrange {a}-{b}"));
    }
    if let Some(length) = rule.suppress_prefixlength {
        words.push(format!("suppress_prefixlength {length}"));
    }
    match rule.action {
        Action::Lookup(table) => words.push(format!("table {table}")),
        Action::Blackhole => words.push("type blackhole".to_owned()),
        Action::Unreachable => words.push("type unreachable".to_owned()),
        Action::Prohibit => words.push("type prohibit".to_owned()),
        // No word of this format: core leaves such rules out.
        Action::Goto(_) | Action::Nop | Action::Other(_) => {}
    }
    words.join(" ")
}

/// Reads `routing-ruleN`.
pub(super) fn read_rule(family: Family, text: &str) -> Result<Rule, String> {
    let mut rule = Rule { protocol: RTPROT_STATIC, ..Rule::new(family, 0, Action::Lookup(254)) };
    let mut has_priority = false;
    let mut has_table = false;
    let mut words = text.split_ascii_whitespace();
    while let Some(word) = words.next() {
        if word == "not" {
            rule.not = true;
            continue;
        }
        if let Some(action) = refusing(word) {
            rule.action = action;
            continue;
        }
        let value = words.next().ok_or_else(|| format!("nothing behind `{word}`"))?;
        let wrong = || format!("`{word} {value}` cannot be read");
        let network = || match value {
            "all" | "any" | "default" => Ok(None),
            _ => {
                let found = value::network(value).filter(|p| p.family() == family);
                // All of them is what a rule is for that names none.
                found.map(|p| Some(p).filter(|p| !p.is_default())).ok_or_else(wrong)
            }
        };
        match word {
            "priority" | "order" | "pref" | "preference" => {
                rule.priority = number(value).ok_or_else(wrong)?;
                has_priority = true;
            }
            "from" => rule.from = network()?,
            "to" => rule.to = network()?,
            "table" | "lookup" => {
                rule.action = Action::Lookup(table(value).ok_or_else(wrong)?);
                has_table = true;
            }
            "tos" | "dsfield" => {
                let tos = number(value).and_then(|n| u8::try_from(n).ok());
                rule.tos = Some(tos.ok_or_else(wrong)?).filter(|t| *t != 0);
            }
            "ipproto" => rule.ipproto = Some(value.parse().map_err(|_| wrong())?),
            "sport" => rule.sport = Some(value::range(value).ok_or_else(wrong)?),
            "dport" => rule.dport = Some(value::range(value).ok_or_else(wrong)?),
            "uidrange" => rule.uidrange = Some(value::range(value).ok_or_else(wrong)?),
            "fwmark" => rule.fwmark = Some(value::mark(value).ok_or_else(wrong)?),
            "iif" | "dev" => rule.iif = Some(value.to_owned()),
            "oif" => rule.oif = Some(value.to_owned()),
            "suppress_prefixlength" | "sup_pl" => {
                let length = number(value).filter(|n| *n <= 128);
                rule.suppress_prefixlength = Some(length.ok_or_else(wrong)?);
            }
            "type" => rule.action = refusing(value).ok_or_else(wrong)?,
            _ => return Err(format!("`{word}` is unknown")),
        }
    }
    if !has_priority {
        return Err("a rule has a priority".to_owned());
    }
    if rule.table().is_some() && !has_table {
        return Err("a rule has a table".to_owned());
    }
    Ok(rule)
}

fn refusing(word: &str) -> Option<Action> {
    match word {
        "blackhole" => Some(Action::Blackhole),
        "unreachable" => Some(Action::Unreachable),
        "prohibit" => Some(Action::Prohibit),
        _ => None,
    }
}

/// The kernel's tables have names, all others numbers.
fn table(word: &str) -> Option<u32> {
    match word {
        "local" => Some(255),
        "main" => Some(254),
        "default" => Some(253),
        _ => number(word).filter(|n| *n > 0),
    }
}
