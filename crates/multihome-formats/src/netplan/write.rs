//! What is written.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::iter;
use std::net::IpAddr;

use multihome_core::model::route::RTNH_F_ONLINK;
use multihome_core::model::{Names, Route, RouteKind, Rule};
use multihome_core::policy::{Entry, Part, Policy};
use multihome_core::prefix::Family;

use super::definitions;
use crate::comments;
use crate::yaml::{Node, scalar};
use crate::{Export, File, Tree};

/// Ours, read after those of installers.
const FILE: &str = "/etc/netplan/90-multihome.yaml";

pub(super) fn export(policy: &Policy, names: &Names, there: &Tree) -> Export {
    if policy.parts.is_empty() {
        return Export::default();
    }
    let others: Tree =
        there.iter().filter(|(p, _)| *p != FILE).map(|(p, t)| (p.clone(), t.clone())).collect();
    // netplan itself does nothing where a file cannot be read.
    let files = definitions::files(&others).unwrap_or_default();
    let definitions = definitions::definitions(&files).unwrap_or_default();
    let mut text = comments::HEAD.to_owned();
    if files.iter().any(|f| f.root.as_ref().is_some_and(names_networkmanager)) {
        text += "# Before 1.1 netplan leaves rules (routing-policy) out where NetworkManager is to \
                 keep them.\n";
    }
    text += &comments::gaps(policy, names, None);
    let mut sections: BTreeMap<&str, String> = BTreeMap::new();
    for part in &policy.parts {
        if !comments::is_sayable(part) {
            text += &comments::refusal(part);
            continue;
        }
        let definition = definitions.iter().find(|d| d.is_of(&part.name, part.mac.as_deref()));
        if let Some(definition) = definition
            // Another link's, too.
            && names.links.iter().any(|(link, n)| *link != part.link && definition.is_of(n, None))
        {
            let (name, id) = (&part.name, definition.id);
            let why = format!(
                "{name} is left out: {id:?} is for other links as well. Define it by itself."
            );
            text += &comments::comment(&why);
            continue;
        }
        let section = definition.map_or("ethernets", |d| d.section);
        let id = definition.map_or(part.name.as_str(), |d| d.id);
        let out = sections.entry(section).or_default();
        let _ = writeln!(out, "    {}:", scalar(id));
        if definition.is_none() {
            *out += &addresses(part);
        }
        *out += &body(part, definition.is_none());
    }
    text += "network:\n  version: 2\n";
    for (section, body) in sections {
        let _ = write!(text, "  {section}:\n{body}");
    }
    let next = activation(there);
    let undo = iter::once(format!("rm {FILE}")).chain(next.iter().cloned()).collect();
    let files = vec![File { path: FILE.to_owned(), mode: 0o600, text, extends: false }];
    Export { files, next, undo }
}

/// What has the renderer take the files.
///
/// `netplan apply` has networkd reload and then configure each card once more, a moment later.
/// systemd 252 then asks for a lease's address while it removes the same one, and never sets it.
/// A reload configures the cards whose files changed, once.
fn activation(there: &Tree) -> Vec<String> {
    let commands: &[&str] = if is_for_networkd(there) {
        &["netplan generate", "networkctl reload"]
    } else {
        &["netplan apply"]
    };
    commands.iter().map(|&c| c.to_owned()).collect()
}

/// Whether all that is there goes to networkd: netplan's default, unless a file says otherwise.
pub(super) fn is_for_networkd(there: &Tree) -> bool {
    let files = definitions::files(there).unwrap_or_default();
    let is_other = |f: &definitions::File<'_>| f.root.as_ref().is_some_and(names_networkmanager);
    files.iter().any(|f| f.path != FILE) && !files.iter().any(is_other)
}

fn names_networkmanager(node: &Node) -> bool {
    // Two levels down at most: for all, for a section, for an id.
    let mut level = vec![node];
    for _ in 0..4 {
        let pairs = level.iter().filter_map(|n| n.pairs()).flatten();
        let mut next = Vec::new();
        for pair in pairs {
            if pair.key == "renderer" && pair.node.text() == Some("NetworkManager") {
                return true;
            }
            next.push(&pair.node);
        }
        level = next;
    }
    false
}

/// The addresses of a link that nobody has defined, as they are now.
fn addresses(part: &Part) -> String {
    let is_leased = |family| part.leased.contains(&family);
    let mut text = String::new();
    if is_leased(Family::V4) {
        text += "      dhcp4: true\n";
    }
    let _ = writeln!(text, "      accept-ra: {}", is_leased(Family::V6));
    let mut fixed = part.addresses.iter().filter(|a| !is_leased(a.family())).peekable();
    if fixed.peek().is_some() {
        text += "      addresses:\n";
    }
    for address in fixed {
        let address = format!("{}/{}", address.local, address.prefix_len);
        let _ = writeln!(text, "        - {}", scalar(&address));
    }
    text
}

/// Rules and routes; with main's defaults for a link that nobody has defined.
fn body(part: &Part, is_new: bool) -> String {
    let mut text = String::new();
    if !part.rules.is_empty() {
        text += "      routing-policy:\n";
        text += &rules(&part.rules, "        ");
    }
    let is_fixed = |address: &&IpAddr| !part.leased.contains(&Family::of(**address));
    let gateways: Vec<&IpAddr> = part.gateways.iter().filter(is_fixed).filter(|_| is_new).collect();
    if !part.routes.is_empty() || !gateways.is_empty() {
        text += "      routes:\n";
        for gateway in gateways {
            let all = Family::of(*gateway).all();
            let mut pairs =
                vec![("to", scalar(&all.to_string())), ("via", scalar(&gateway.to_string()))];
            pairs.extend(part.metrics.get(gateway).map(|m| ("metric", m.to_string())));
            text += &item("        ", &pairs);
        }
        text += &routes(&part.routes, "        ");
    }
    text
}

// ===== items, for cloud-init as well =====

/// The items of `routes`.
pub(crate) fn routes(entries: &[Entry<Route>], indent: &str) -> String {
    let mut text = String::new();
    for (words, routes) in comments::groups(entries) {
        let _ = writeln!(text, "{indent}# {words}");
        text.extend(routes.iter().map(|r| item(indent, &route(&r.what))));
    }
    text
}

/// The items of `routing-policy`.
pub(crate) fn rules(entries: &[Entry<Rule>], indent: &str) -> String {
    let mut text = String::new();
    for (words, rules) in comments::groups(entries) {
        let _ = writeln!(text, "{indent}# {words}");
        text.extend(rules.iter().map(|r| item(indent, &rule(&r.what))));
    }
    text
}

fn item(indent: &str, pairs: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (at, (key, value)) in pairs.iter().enumerate() {
        let _ = writeln!(text, "{indent}{} {key}: {value}", if at == 0 { "-" } else { " " });
    }
    text
}

/// 0.106 writes a metric as a number with a sign, which networkd then does not read.
const LARGEST_METRIC: u32 = i32::MAX.cast_unsigned();

fn route(route: &Route) -> Vec<(&'static str, String)> {
    let hop = route.hops.first();
    let gateway = hop.and_then(|h| h.gateway);
    // Not `default`: without a gateway netplan cannot tell the family of it, and dies
    // (`get_global_network`).
    let mut pairs = vec![("to", text(&route.dst))];
    if route.kind != RouteKind::Unicast {
        pairs.push(("type", route.kind.word().to_owned()));
    }
    match gateway {
        None if route.refuses() => {}
        Some(gateway) => pairs.push(("via", text(&gateway))),
        // Old versions want a gateway of every route that is global.
        None => pairs.push(("scope", "link".to_owned())),
    }
    if let Some(prefsrc) = route.prefsrc {
        pairs.push(("from", text(&prefsrc)));
    }
    if hop.is_some_and(|h| h.flags & RTNH_F_ONLINK != 0) {
        pairs.push(("on-link", "true".to_owned()));
    }
    if route.metric != Route::new(route.table, route.dst).metric {
        pairs.push(("metric", route.metric.min(LARGEST_METRIC).to_string()));
    }
    if let Some(mtu) = route.metrics.values.get(&2) {
        pairs.push(("mtu", mtu.to_string()));
    }
    pairs.push(("table", route.table.to_string()));
    pairs
}

fn rule(rule: &Rule) -> Vec<(&'static str, String)> {
    let mut pairs = vec![("priority", rule.priority.to_string())];
    if rule.from.is_none() && rule.to.is_none() {
        pairs.push(("from", text(&rule.family.all())));
    }
    if let Some(from) = rule.from {
        pairs.push(("from", text(&from)));
    }
    if let Some(to) = rule.to {
        pairs.push(("to", text(&to)));
    }
    if let Some(tos) = rule.tos {
        pairs.push(("type-of-service", tos.to_string()));
    }
    if let Some(table) = rule.table() {
        pairs.push(("table", table.to_string()));
    }
    pairs
}

fn text(value: &impl Display) -> String {
    scalar(&value.to_string())
}
