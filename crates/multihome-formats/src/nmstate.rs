//! Routes and rules in nmstate's YAML (`nmstate::NetworkState`), which `nmstatectl service` applies
//! from `/etc/nmstate` (nmstatectl(8)). It is written and not read.
//!
//! nmstate puts a state through to NetworkManager, whose routes it knows by destination, gateway,
//! table and metric; other keys are refused (`deny_unknown_fields`).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use multihome_core::model::{Action, Names, Route, Rule};
use multihome_core::policy::{Part, Policy, Word};
use multihome_core::prefix::Family;

use crate::comments;
use crate::yaml::scalar;
use crate::{Export, File, Place};

/// What `nmstatectl service` applies, once: it then renames it to `.applied`.
const FILE: &str = "/etc/nmstate/multihome.yml";
/// What takes it away again.
const ABSENT: &str = "/etc/nmstate/multihome.absent";

/// What 2.2 has of NetworkManager's words (`RouteRuleEntry`, `RouteEntry`). A route that refuses has
/// no interface there and goes to the profile of `lo`, which older ones do not have.
pub(crate) fn words() -> BTreeSet<Word> {
    BTreeSet::from([Word::Iif, Word::Fwmark, Word::RefusingRule, Word::SuppressPrefixlength])
}

pub(crate) fn places() -> Vec<Place> {
    Vec::new()
}

pub(crate) fn export(policy: &Policy, names: &Names) -> Export {
    if policy.parts.is_empty() {
        return Export::default();
    }
    let mut export = Export::default();
    for (path, absent) in [(FILE, false), (ABSENT, true)] {
        let mut text = comments::HEAD.to_owned();
        if absent {
            text += "# Applied by hand, this takes away what the other file has made.\n";
        }
        text += &comments::gaps(policy, names, None);
        text += &state(policy, absent);
        export.files.push(File { path: path.to_owned(), mode: 0o600, text, extends: false });
    }
    export.next.push(format!("nmstatectl apply {FILE}"));
    export.undo.push(format!("nmstatectl apply {ABSENT}"));
    export.undo.extend([FILE, ABSENT].map(|path| format!("rm -f {path}")));
    export
}

/// A state that has our routes and rules, or has them no more.
fn state(policy: &Policy, absent: bool) -> String {
    let parts: Vec<&Part> = policy.parts.iter().filter(|p| comments::is_sayable(p)).collect();
    let left_out = policy.parts.iter().filter(|p| !comments::is_sayable(p));
    let mut text: String = left_out.map(comments::refusal).collect();
    if !absent {
        text += "interfaces:\n";
        text.extend(parts.iter().map(|p| interface(p)));
    }
    text += "routes:\n  config:\n";
    for part in &parts {
        for (words, routes) in comments::groups(&part.routes) {
            let _ = writeln!(text, "    # {words}");
            text.extend(routes.iter().map(|r| item(&route(&r.what, &part.name), absent)));
        }
    }
    text += "route-rules:\n  config:\n";
    for part in &parts {
        for (words, rules) in comments::groups(&part.rules) {
            let _ = writeln!(text, "    # {words}");
            text.extend(rules.iter().map(|r| item(&rule(&r.what), absent)));
        }
    }
    text
}

fn item(pairs: &[(&str, String)], absent: bool) -> String {
    let mut text = String::new();
    let state = absent.then(|| ("state", "absent".to_owned()));
    for (at, (key, value)) in pairs.iter().chain(&state).enumerate() {
        let _ = writeln!(text, "    {} {key}: {value}", if at == 0 { "-" } else { " " });
    }
    text
}

/// A link as it is: routes are refused for one that the state does not have.
/// Only that it is there: what a state does not say of an interface stays as it is, its addresses and
/// main's default among it.
fn interface(part: &Part) -> String {
    format!("  - name: {}\n    type: ethernet\n    state: up\n", scalar(&part.name))
}

fn route(route: &Route, name: &str) -> Vec<(&'static str, String)> {
    let mut pairs = vec![
        ("destination", scalar(&slashed(route.dst.address(), route.dst.len()))),
        ("next-hop-interface", scalar(name)),
    ];
    if let Some(gateway) = route.hops.first().and_then(|h| h.gateway) {
        pairs.push(("next-hop-address", scalar(&gateway.to_string())));
    }
    // It takes 0 for none as well as -1.
    if route.metric != 0 {
        pairs.push(("metric", route.metric.to_string()));
    }
    pairs.push(("table-id", route.table.to_string()));
    pairs
}

fn rule(rule: &Rule) -> Vec<(&'static str, String)> {
    let mut pairs = vec![("priority", rule.priority.to_string())];
    if rule.from.is_none() && rule.to.is_none() {
        let family = if rule.family == Family::V4 { "ipv4" } else { "ipv6" };
        pairs.push(("family", family.to_owned()));
    }
    if let Some(from) = rule.from {
        pairs.push(("ip-from", scalar(&slashed(from.address(), from.len()))));
    }
    if let Some(to) = rule.to {
        pairs.push(("ip-to", scalar(&slashed(to.address(), to.len()))));
    }
    if let Some(name) = &rule.iif {
        pairs.push(("iif", scalar(name)));
    }
    if let Some((mark, mask)) = rule.fwmark {
        pairs.extend([("fwmark", mark.to_string()), ("fwmask", mask.to_string())]);
    }
    if let Some(length) = rule.suppress_prefixlength {
        pairs.push(("suppress-prefix-length", length.to_string()));
    }
    match rule.action {
        Action::Lookup(table) => pairs.push(("route-table", table.to_string())),
        Action::Blackhole => pairs.push(("action", "blackhole".to_owned())),
        Action::Unreachable => pairs.push(("action", "unreachable".to_owned())),
        Action::Prohibit => pairs.push(("action", "prohibit".to_owned())),
        // No word of this format: core leaves such rules out.
        Action::Goto(_) | Action::Nop | Action::Other(_) => {}
    }
    pairs
}

fn slashed(address: IpAddr, length: u8) -> String {
    format!("{address}/{length}")
}

#[cfg(test)]
mod tests {
    use crate::testing::yaml::{files, policy};
    use crate::yaml;
    use crate::{Format, Tree};

    use super::{ABSENT, FILE};

    #[test]
    fn a_state_has_the_interface_its_routes_and_its_rules() {
        let written = files(Format::Nmstate, &policy(Format::Nmstate), &Tree::new());
        let root = yaml::read(FILE, &written[FILE]).unwrap().unwrap();
        let interfaces = root.get("interfaces").unwrap().items().unwrap();
        assert_eq!(interfaces[0].get("name").unwrap().text(), Some("ens6"));
        let routes = root.get("routes").unwrap().get("config").unwrap().items().unwrap();
        let default = routes
            .iter()
            .find(|r| r.get("next-hop-address").is_some_and(|g| g.text() == Some("fe80::1")));
        assert_eq!(default.unwrap().get("destination").unwrap().text(), Some("::/0"));
        let rules = root.get("route-rules").unwrap().get("config").unwrap().items().unwrap();
        assert_eq!(rules[1].get("ip-from").unwrap().text(), Some("10.0.1.204/32"));
        assert_eq!(rules[1].get("route-table").unwrap().text(), Some("10003"));
    }

    #[test]
    fn the_other_file_takes_all_of_it_away() {
        let written = files(Format::Nmstate, &policy(Format::Nmstate), &Tree::new());
        let root = yaml::read(ABSENT, &written[ABSENT]).unwrap().unwrap();
        assert!(root.get("interfaces").is_none());
        for key in ["routes", "route-rules"] {
            let items = root.get(key).unwrap().get("config").unwrap().items().unwrap();
            assert!(items.iter().all(|i| i.get("state").unwrap().text() == Some("absent")));
        }
    }
}
