//! Routes and rules as arguments of `ip`.

use std::fmt::Write as _;

use multihome_core::model::names::TABLE_MAIN;
use multihome_core::model::{Action, Names, Route, RouteKind, Rule};
use multihome_core::prefix::Family;

use super::route::default_scope;

/// What `ip route add` reads to make this route.
///
/// `ip` prints less than it has to be told: it leaves out a scope of 0 and the table main, where it
/// puts in others itself.
pub(crate) fn route_words(route: &Route, names: &Names) -> String {
    let mut words = route.typed(names);
    let mut said = String::new();
    let is_locals =
        matches!(route.kind, RouteKind::Local | RouteKind::Broadcast | RouteKind::Anycast);
    if is_locals && route.table == TABLE_MAIN {
        said.push_str(" table main");
    }
    let has_gateway = route.hops.len() > 1 || route.hops.iter().any(|h| h.gateway.is_some());
    if route.family() == Family::V4
        && route.scope == 0
        && default_scope(route.kind, has_gateway) != 0
    {
        said.push_str(" scope global");
    }
    if let Some(expires) = route.expires.filter(|s| *s > 0) {
        let _ = write!(said, " expires {expires}");
    }
    // Nothing may stand behind `nexthop`.
    let end = if route.hops.len() > 1 { words.find(" nexthop ") } else { None };
    words.insert_str(end.unwrap_or(words.len()), &said);
    words
}

/// What `ip rule add` reads to make this rule: the priority stands last, since people look for who
/// goes where first.
pub(crate) fn rule_words(rule: &Rule, names: &Names) -> String {
    let words = rule.selector_and_action(names);
    let words = words.strip_prefix("from all ").unwrap_or(&words);
    // Both are words for it; `table` is that of most manuals, and of routes.
    let words = match rule.action {
        Action::Lookup(_) if words.starts_with("lookup ") => words.replacen("lookup", "table", 1),
        Action::Lookup(_) => words.replacen(" lookup ", " table ", 1),
        _ => words.to_owned(),
    };
    format!("{words} priority {}", rule.priority)
}
