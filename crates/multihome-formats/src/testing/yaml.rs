//! Policies as core makes them, for the tests of formats.

use std::collections::{BTreeMap, BTreeSet};

use multihome_core::model::route::{RTNH_F_ONLINK, RTPROT_BOOT, SCOPE_LINK};
use multihome_core::model::{Action, Hop, Route, RouteKind, Rule};
use multihome_core::policy::{Entry, Part, Policy, Purpose, Word};
use multihome_core::prefix::Family;

use super::{address, held, mac, names, prefix, rule};
use crate::{Format, Statement, Tree, What};

/// The second card of the examples.
pub(crate) const LINK: u32 = 3;
/// Its name.
pub(crate) const NAME: &str = "ens6";
/// Its table.
pub(crate) const TABLE: u32 = 10_003;
/// The group of uplinks.
const GROUP: u32 = 10_000;

/// One uplink with both families in the words of a format.
pub(crate) fn policy(format: Format) -> Policy {
    Policy { parts: vec![part(&format.words())], ..Policy::default() }
}

fn entry<T>(purpose: Purpose, what: T) -> Entry<T> {
    Entry { what, purpose }
}

fn route(dst: &str) -> Route {
    Route { protocol: RTPROT_BOOT, ..Route::new(TABLE, prefix(dst)) }
}

/// Its part, in some words.
pub(crate) fn part(words: &BTreeSet<Word>) -> Part {
    Part {
        link: LINK,
        name: NAME.into(),
        mac: Some(mac(LINK)),
        addresses: vec![held(LINK, "10.0.1.204/24"), held(LINK, "2001:db8:b::204/64")],
        leased: BTreeSet::new(),
        gateways: vec![address("10.0.1.1"), address("fe80::1")],
        metrics: BTreeMap::new(),
        leased_gateways: vec![address("10.0.1.1"), address("fe80::1")],
        group: words.contains(&Word::SuppressIfgroup).then_some(GROUP),
        routes: routes(words),
        rules: rules(words),
    }
}

fn routes(words: &BTreeSet<Word>) -> Vec<Entry<Route>> {
    let has = |word| words.contains(&word);
    let source = has(Word::Prefsrc).then(|| address("10.0.1.204"));
    let mut routes = vec![
        entry(
            Purpose::Network,
            Route {
                scope: SCOPE_LINK,
                prefsrc: source,
                hops: vec![Hop::dev(LINK)],
                ..route("10.0.1.0/24")
            },
        ),
        entry(
            Purpose::Network,
            Route {
                metric: 50,
                hops: vec![Hop::via(address("10.0.1.9"), LINK)],
                ..route("10.99.0.0/16")
            },
        ),
        entry(
            Purpose::Default,
            Route {
                prefsrc: source,
                hops: vec![Hop::via(address("10.0.1.1"), LINK)],
                ..route("0.0.0.0/0")
            },
        ),
        entry(Purpose::Network, Route { hops: vec![Hop::dev(LINK)], ..route("2001:db8:b::/64") }),
    ];
    let mut default = Route { hops: vec![Hop::via(address("fe80::1"), LINK)], ..route("::/0") };
    if has(Word::Onlink) {
        default.hops[0].flags = RTNH_F_ONLINK;
    }
    if has(Word::Mtu) {
        default.metrics.values.insert(2, 1400);
    }
    routes.push(entry(Purpose::Default, default));
    if has(Word::RefusingRoute) {
        for dst in ["0.0.0.0/0", "::/0"] {
            let refusal = Route { kind: RouteKind::Unreachable, metric: u32::MAX, ..route(dst) };
            routes.push(entry(Purpose::Refusal, refusal));
        }
    }
    routes
}

fn rules(words: &BTreeSet<Word>) -> Vec<Entry<Rule>> {
    let has = |word| words.contains(&word);
    let v4 = Some(prefix("10.0.1.204"));
    let v6 = Some(prefix(if has(Word::Iif) { "2001:db8:b::/64" } else { "2001:db8:b::204" }));
    let iif = has(Word::Iif).then(|| "lo".to_owned());
    let mut rules = Vec::new();
    let local = |family, from| {
        if has(Word::SuppressIfgroup) {
            let length = if family == Family::V4 { 7 } else { 4 };
            Rule {
                from,
                suppress_prefixlength: Some(length),
                suppress_ifgroup: Some(GROUP),
                ..rule(family, 10_000, Action::Lookup(254))
            }
        } else {
            let to = if family == Family::V4 { "172.17.0.0/16" } else { "fd00:17::/64" };
            Rule { from, to: Some(prefix(to)), ..rule(family, 10_000, Action::Lookup(254)) }
        }
    };
    for (family, from, iif) in [(Family::V4, v4, None), (Family::V6, v6, iif)] {
        rules.push(entry(Purpose::Local, Rule { iif: iif.clone(), ..local(family, from) }));
        let home = Rule { from, iif, ..rule(family, TABLE, Action::Lookup(TABLE)) };
        rules.push(entry(Purpose::Home, home));
        if has(Word::Oif) {
            let bound =
                Rule { oif: Some(NAME.into()), ..rule(family, 42_771, Action::Lookup(TABLE)) };
            rules.push(entry(Purpose::Bound, bound));
        }
    }
    rules
}

/// Everything that one rule can say, as far as a format has words for it.
pub(crate) fn odd_rules(words: &BTreeSet<Word>) -> Vec<Entry<Rule>> {
    let has = |word| words.contains(&word);
    let mut odd = rule(Family::V4, 5_000, Action::Lookup(77));
    odd.to = Some(prefix("192.0.2.0/24"));
    odd.from = Some(prefix("198.51.100.0/25"));
    odd.not = has(Word::Not);
    odd.fwmark = has(Word::Fwmark).then_some((0x10, 0xff));
    odd.tos = has(Word::Tos).then_some(16);
    if has(Word::Ports) && has(Word::Ipproto) {
        odd.ipproto = Some(6);
        odd.sport = Some((5, 5));
        odd.dport = Some((80, 90));
    }
    odd.uidrange = has(Word::Uidrange).then_some((1000, 2000));
    let mut rules = vec![entry(Purpose::Steer, odd)];
    if has(Word::RefusingRule) {
        let from = Some(prefix("203.0.113.7"));
        let refusing = Rule { from, ..rule(Family::V4, 5_001, Action::Prohibit) };
        rules.push(entry(Purpose::Steer, refusing));
    }
    rules
}

/// The files of an export.
pub(crate) fn files(format: Format, policy: &Policy, there: &Tree) -> Tree {
    let export = crate::export(format, policy, &names(), there);
    export.files.into_iter().map(|file| (file.path, file.text)).collect()
}

/// Files of both, where the second has newer ones.
pub(crate) fn over(there: &Tree, new: &Tree) -> Tree {
    let mut all = there.clone();
    all.extend(new.clone());
    all
}

/// What a policy's routes and rules are once a manager has made them.
pub(crate) fn objects(policy: &Policy, protocol: u8) -> (Vec<Route>, Vec<Rule>) {
    let entries = |part: &Part| part.routes.clone();
    let mut routes: Vec<Route> = policy.parts.iter().flat_map(entries).map(|e| e.what).collect();
    let mut rules: Vec<Rule> =
        policy.parts.iter().flat_map(|p| p.rules.clone()).map(|e| e.what).collect();
    routes.iter_mut().for_each(|r| r.protocol = protocol);
    rules.iter_mut().for_each(|r| r.protocol = protocol);
    routes.sort();
    rules.sort();
    (routes, rules)
}

/// The routes and rules among statements, in order.
pub(crate) fn found(statements: &[Statement]) -> (Vec<Route>, Vec<Rule>) {
    let (mut routes, mut rules) = (Vec::new(), Vec::new());
    for statement in statements {
        match &statement.what {
            What::Route(route) => routes.push(route.clone()),
            What::Rule(rule) => rules.push(rule.clone()),
            What::TableName(..) | What::Group(..) => {}
        }
    }
    routes.sort();
    rules.sort();
    (routes, rules)
}
