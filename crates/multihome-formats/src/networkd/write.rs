//! What is written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use multihome_core::model::route::{METRIC_V6_DEFAULT, RTAX_MTU, RTNH_F_ONLINK, SCOPE_LINK};
use multihome_core::model::{Action, Names, Route, RouteKind, Rule};
use multihome_core::policy::{Part, Policy, Purpose};
use multihome_core::prefix::Family;

use super::files::{self, Unit};
use crate::card::Card;
use crate::comments;
use crate::{Export, File, Tree};

pub(super) fn export(policy: &Policy, names: &Names, there: &Tree) -> Export {
    let units = files::units(there);
    let users = users(policy, names, there, &units);
    let mut export = Export::default();
    let mut groups = Vec::new();
    for part in &policy.parts {
        let unit = users.get(&part.link).copied();
        let mut text = comments::HEAD.to_owned();
        text += &comments::gaps(policy, names, Some(&part.name));
        let is_sayable = comments::is_sayable(part);
        if !is_sayable {
            text += &comments::refusal(part);
        }
        let path = match unit {
            // A drop-in counts for every link that its file is for.
            Some(unit) if users.values().filter(|u| u.name == unit.name).count() > 1 => {
                if is_sayable {
                    text += &copy(part, unit);
                }
                format!("/etc/systemd/network/{COPY}{}.network", part.link)
            }
            Some(unit) => format!("/etc/systemd/network/{}.d/50-multihome.conf", unit.name),
            None => {
                if is_sayable {
                    text += &network(part);
                }
                format!("/etc/systemd/network/{WHOLE}{}.network", part.link)
            }
        };
        if is_sayable {
            text += &drop_in(part, fills_in(part, unit));
            groups.extend(part.group.map(|_| part.name.as_str()));
        }
        export.files.push(File { path, mode: 0o644, text, extends: false });
    }
    export.files.sort_by(|a, b| a.path.cmp(&b.path));
    if !export.files.is_empty() {
        // It configures those links anew whose files have changed, and no others (since 244).
        export.next.push("networkctl reload".to_owned());
        export.undo.extend(export.files.iter().map(|f| format!("rm {}", f.path)));
        export.undo.push("networkctl reload".to_owned());
        // What was a link's before `Group=` networkd does not know.
        let back = |name: &str| format!("ip link set dev {name} group default");
        export.undo.extend(groups.into_iter().map(back));
    }
    export
}

/// How the names of files begin that are a link's alone: before all that begin with a letter or a
/// digit.
const COPY: &str = "0-multihome-";
/// How those begin that are for links that had none.
const WHOLE: &str = "50-multihome-";
/// Says in a copy what it was made from.
const FROM: &str = "# As in ";

/// The file that each link would use without ours.
fn users<'a, 'u>(
    policy: &Policy,
    names: &Names,
    there: &Tree,
    units: &'u [Unit<'a>],
) -> BTreeMap<u32, &'u Unit<'a>> {
    let is_ours = |unit: &Unit<'_>| {
        let begins = unit.name.starts_with(COPY) || unit.name.starts_with(WHOLE);
        begins && unit.files.iter().any(|(_, text)| text.starts_with(comments::HEAD))
    };
    let mut all: BTreeMap<u32, (&str, Option<&str>)> =
        names.links.iter().map(|(link, name)| (*link, (name.as_str(), None))).collect();
    all.extend(policy.parts.iter().map(|p| (p.link, (p.name.as_str(), p.mac.as_deref()))));
    let mut users = BTreeMap::new();
    for (link, (name, mac)) in all {
        // Where files do not tell which is in use, none of them is touched.
        let card = Card { link, name, mac };
        let mut unit = files::active(there, units, card).ok().flatten();
        if let Some(ours) = unit.filter(|u| is_ours(u)) {
            let lines = ours.files.iter().flat_map(|(_, text)| text.lines());
            let from = lines.filter_map(|line| line.strip_prefix(FROM)).next();
            unit = units.iter().find(|u| u.files.first().map(|(path, _)| *path) == from);
        }
        users.extend(unit.map(|unit| (link, unit)));
    }
    users
}

// ===== whole files =====

/// What the file of several links says, for one of them.
fn copy(part: &Part, unit: &Unit<'_>) -> String {
    let path = unit.files.first().map_or("", |(path, _)| *path);
    let mut text = format!("{FROM}{path}\n\n[Match]\nName={}\n", part.name);
    for (_, section) in files::sections(unit).unwrap_or_default() {
        if section.name != "Match" {
            let _ = write!(text, "\n[{}]\n", section.name);
            for entry in &section.entries {
                let _ = writeln!(text, "{}={}", entry.key, entry.value);
            }
        }
    }
    text
}

/// The head of a file for a link that has none: its addresses as they are now.
fn network(part: &Part) -> String {
    let mut routes = String::new();
    let mut text = format!("\n[Match]\nName={}\n\n[Network]\n", part.name);
    if part.leased.contains(&Family::V4) {
        text += "DHCP=ipv4\n";
    }
    let advertised = if part.leased.contains(&Family::V6) { "yes" } else { "no" };
    let _ = writeln!(text, "IPv6AcceptRA={advertised}");
    let is_fixed = |address: IpAddr| !part.leased.contains(&Family::of(address));
    for address in part.addresses.iter().filter(|a| is_fixed(a.local)) {
        let _ = writeln!(text, "Address={}/{}", address.local, address.prefix_len);
    }
    for gateway in part.gateways.iter().filter(|g| is_fixed(**g)) {
        match part.metrics.get(gateway) {
            None => {
                let _ = writeln!(text, "Gateway={gateway}");
            }
            // `[Network]` knows no metric, and which card is main's choice hangs on it.
            Some(metric) => {
                let _ = write!(routes, "\n[Route]\nGateway={gateway}\nMetric={metric}\n");
            }
        }
    }
    text += &routes;
    text
}

// ===== what follows leases =====

/// Whether networkd fills in the gateway of IPv4 itself: it ignores a section with `_dhcp4` where its
/// client is off.
///
/// Not that of IPv6, although there is `_ipv6ra`: since 257 networkd keeps such a route in its table
/// when the file has gone, with a nexthop of its own, and `ip route flush` does not get it out.
fn fills_in(part: &Part, unit: Option<&Unit<'_>>) -> bool {
    let has_client = |unit: &Unit<'_>| {
        let sections = files::sections(unit).unwrap_or_default();
        let networks = sections.iter().filter(|(_, s)| s.name == "Network");
        let mut entries = networks.flat_map(|(_, s)| &s.entries).filter(|e| e.key == "DHCP");
        let last = entries.next_back().map(|e| e.value.as_ref());
        matches!(last, Some("yes" | "true" | "1" | "on" | "ipv4" | "v4"))
    };
    part.leased.contains(&Family::V4) && unit.is_none_or(has_client)
}

// ===== sections =====

fn drop_in(part: &Part, fills_in: bool) -> String {
    let mut text = String::new();
    if let Some(group) = part.group {
        text += "\n# uplinks, told from what is local\n";
        let _ = write!(text, "[Link]\nGroup={group}\n");
    }
    for (words, rules) in comments::groups(&part.rules) {
        let _ = write!(text, "\n# {words}\n");
        for rule in rules {
            // networkd takes a mark of 0 for none (`routing_policy_rule_set_netlink_message`), and
            // the rule would be for all packets.
            if rule.what.fwmark.is_some_and(|(mark, _)| mark == 0) {
                let rule = rule.what.display(&Names::default());
                text += &comments::comment(&format!("Left out, for it asks for no mark: {rule}"));
                continue;
            }
            text += &rule_section(&rule.what);
        }
    }
    for (words, routes) in comments::groups(&part.routes) {
        let _ = write!(text, "\n# {words}\n");
        for route in routes {
            let gateways = || route.what.hops.iter().filter_map(|h| h.gateway);
            let is_filled_in = fills_in
                && route.purpose == Purpose::Default
                && route.what.family() == Family::V4
                // One that the lease does not name would never be filled in.
                && gateways().any(|g| part.leased_gateways.contains(&g));
            let word = is_filled_in.then_some("_dhcp4");
            let is_leased = part.leased.contains(&route.what.family());
            text += &route_section(&route.what, word, is_leased);
        }
    }
    text
}

/// `gateway` is what networkd fills in. The source of a leased address is left out: another lease
/// brings another, and networkd waits with the route until it has it (`route_is_ready_to_configure`).
fn route_section(route: &Route, gateway: Option<&str>, is_leased: bool) -> String {
    let mut out = "[Route]\n".to_owned();
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(out, "{key}={value}");
    };
    line("Destination", &route.dst);
    if let Some(src) = route.src {
        line("Source", &src);
    }
    if route.kind != RouteKind::Unicast {
        line("Type", &route.kind.word());
    }
    let hop = route.hops.first();
    match (gateway, hop.and_then(|h| h.gateway)) {
        (Some(word), _) => line("Gateway", &word),
        (None, Some(gateway)) => line("Gateway", &gateway),
        (None, None) => {}
    }
    if hop.is_some_and(|h| h.flags & RTNH_F_ONLINK != 0) {
        line("GatewayOnLink", &"yes");
    }
    if let Some(prefsrc) = route.prefsrc.filter(|_| !is_leased) {
        line("PreferredSource", &prefsrc);
    }
    if route.scope != automatic_scope(route) {
        line("Scope", &route.scope);
    }
    // A route with a gateway of the network takes the client's metric unless it has one.
    if route.metric != automatic_metric(route) || gateway.is_some() {
        line("Metric", &route.metric);
    }
    if let Some(mtu) = route.metrics.values.get(&RTAX_MTU) {
        line("MTUBytes", mtu);
    }
    match route.preference {
        1 => line("IPv6Preference", &"high"),
        3 => line("IPv6Preference", &"low"),
        _ => {}
    }
    line("Table", &route.table);
    out
}

/// The metric of a section that names none.
pub(super) fn automatic_metric(route: &Route) -> u32 {
    if route.family() == Family::V6 { METRIC_V6_DEFAULT } else { 0 }
}

/// The scope of a section that names none (`route_section_verify`).
pub(super) fn automatic_scope(route: &Route) -> u8 {
    let leads_onto_the_link = route.hops.iter().all(|h| h.gateway.is_none());
    match route.kind {
        _ if route.family() == Family::V6 => 0,
        RouteKind::Local => 254,
        RouteKind::Broadcast | RouteKind::Anycast | RouteKind::Multicast => SCOPE_LINK,
        RouteKind::Unicast if leads_onto_the_link => SCOPE_LINK,
        _ => 0,
    }
}

fn rule_section(rule: &Rule) -> String {
    let mut out = "[RoutingPolicyRule]\n".to_owned();
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(out, "{key}={value}");
    };
    line("Priority", &rule.priority);
    if rule.not {
        line("InvertRule", &"yes");
    }
    if rule.from.is_none() && rule.to.is_none() {
        let family = if rule.family == Family::V4 { "ipv4" } else { "ipv6" };
        line("Family", &family);
    }
    if let Some(from) = rule.from {
        line("From", &from);
    }
    if let Some(to) = rule.to {
        line("To", &to);
    }
    if let Some(name) = &rule.iif {
        line("IncomingInterface", name);
    }
    if let Some(name) = &rule.oif {
        line("OutgoingInterface", name);
    }
    match rule.fwmark {
        Some((mark, u32::MAX)) => line("FirewallMark", &mark),
        Some((mark, mask)) => line("FirewallMark", &format_args!("{mark}/{mask}")),
        None => {}
    }
    if let Some(tos) = rule.tos {
        line("TypeOfService", &tos);
    }
    if let Some(protocol) = rule.ipproto {
        line("IPProtocol", &protocol);
    }
    for (key, range) in [("SourcePort", rule.sport), ("DestinationPort", rule.dport)] {
        match range {
            Some((a, b)) if a == b => line(key, &a),
            Some((a, b)) => line(key, &format_args!("{a}-{b}")),
            None => {}
        }
    }
    match rule.uidrange {
        Some((a, b)) if a == b => line("User", &a),
        Some((a, b)) => line("User", &format_args!("{a}-{b}")),
        None => {}
    }
    match rule.action {
        Action::Lookup(table) => line("Table", &table),
        Action::Blackhole => line("Type", &"blackhole"),
        Action::Unreachable => line("Type", &"unreachable"),
        Action::Prohibit => line("Type", &"prohibit"),
        // No word of this format: core leaves such rules out.
        Action::Goto(_) | Action::Nop | Action::Other(_) => {}
    }
    if let Some(length) = rule.suppress_prefixlength {
        line("SuppressPrefixLength", &length);
    }
    if let Some(group) = rule.suppress_ifgroup {
        line("SuppressInterfaceGroup", &group);
    }
    out
}
