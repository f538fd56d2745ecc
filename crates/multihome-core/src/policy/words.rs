//! What rules and routes say, word by word, and so what a format must be able to say.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::model::route::{RTAX_LOCK, RTAX_MTU, RTNH_F_ONLINK, SCOPE_LINK};
use crate::model::{Action, Route, RouteKind, Rule};
use crate::prefix::Family;

/// Something that a rule, a route or a system says, and that not every format can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// `iif` of a rule.
    Iif,
    /// `oif` of a rule.
    Oif,
    /// `not` of a rule.
    Not,
    /// `fwmark` of a rule, with a mask.
    Fwmark,
    /// `tos` of a rule.
    Tos,
    /// `dscp` of a rule.
    Dscp,
    /// `ipproto` of a rule.
    Ipproto,
    /// `sport` and `dport` of a rule.
    Ports,
    /// `uidrange` of a rule.
    Uidrange,
    /// `goto` and `nop` of a rule.
    Goto,
    /// A rule that refuses.
    RefusingRule,
    /// `suppress_prefixlength` of a rule.
    SuppressPrefixlength,
    /// `suppress_ifgroup` of a rule, and the group of a link.
    SuppressIfgroup,
    /// Anything else that a rule says.
    OtherRule,
    /// A route that refuses.
    RefusingRoute,
    /// A route of another kind than unicast that does not refuse.
    OtherKind,
    /// `src` of a route.
    Prefsrc,
    /// `scope` of a route.
    Scope,
    /// `tos` of a route.
    RouteTos,
    /// `mtu` of a route.
    Mtu,
    /// Another of the metrics of a path.
    PathMetrics,
    /// `onlink`.
    Onlink,
    /// Several nexthops.
    Multipath,
    /// A gateway of the other family.
    OtherFamily,
    /// `pref` of RFC 4191.
    Preference,
    /// `from` of an IPv6 route.
    SourceSpecific,
    /// Commands beside the routes: the nft table can be made.
    Commands,
    /// Main's own routes, which this system's files hold in the same words.
    MainRoutes,
}

/// What a rule says beside sources, destinations, a table and a priority.
#[must_use]
pub fn of_rule(rule: &Rule) -> BTreeSet<Word> {
    let says = [
        (Word::Iif, rule.iif.is_some()),
        (Word::Oif, rule.oif.is_some()),
        (Word::Not, rule.not),
        (Word::Fwmark, rule.fwmark.is_some()),
        (Word::Tos, rule.tos.is_some()),
        (Word::Dscp, rule.dscp.is_some()),
        (Word::Ipproto, rule.ipproto.is_some()),
        (Word::Ports, rule.sport.is_some() || rule.dport.is_some()),
        (Word::Uidrange, rule.uidrange.is_some()),
        (Word::Goto, matches!(rule.action, Action::Goto(_) | Action::Nop)),
        (
            Word::RefusingRule,
            matches!(rule.action, Action::Blackhole | Action::Unreachable | Action::Prohibit),
        ),
        (Word::SuppressPrefixlength, rule.suppress_prefixlength.is_some()),
        (Word::SuppressIfgroup, rule.suppress_ifgroup.is_some()),
        (
            Word::OtherRule,
            rule.l3mdev
                || rule.flowlabel.is_some()
                || rule.tun_id.is_some()
                || rule.realms.is_some()
                || rule.sport_mask.is_some()
                || rule.dport_mask.is_some()
                || !rule.other.is_empty()
                || matches!(rule.action, Action::Other(_)),
        ),
    ];
    said(says)
}

/// What a route says beside a destination, one gateway or device, a table and a metric.
#[must_use]
pub fn of_route(route: &Route) -> BTreeSet<Word> {
    let family = route.family();
    let gateways = || route.hops.iter().filter_map(|h| h.gateway);
    // What everybody puts in who is told nothing (inet_table_default_scope, iproute.c).
    let implied = match (family, gateways().next()) {
        (Family::V4, None) if route.kind == RouteKind::Unicast => SCOPE_LINK,
        _ => 0,
    };
    let of_path = |number: &u16| !matches!(*number, RTAX_MTU | RTAX_LOCK);
    let is_locked = route.metrics.values.contains_key(&RTAX_LOCK);
    let says = [
        (Word::RefusingRoute, route.refuses()),
        (Word::OtherKind, !route.refuses() && route.kind != RouteKind::Unicast),
        (Word::Prefsrc, route.prefsrc.is_some()),
        (Word::Scope, route.scope != implied),
        (Word::RouteTos, route.tos != 0),
        (Word::Mtu, route.metrics.values.contains_key(&RTAX_MTU)),
        (
            Word::PathMetrics,
            is_locked
                || route.metrics.congctl.is_some()
                || route.metrics.values.keys().any(of_path),
        ),
        (Word::Onlink, route.hops.iter().any(|h| h.flags & RTNH_F_ONLINK != 0)),
        (Word::Multipath, route.hops.len() > 1),
        (Word::OtherFamily, gateways().any(|g| Family::of(g) != family)),
        (Word::Preference, route.preference != 0),
        (Word::SourceSpecific, route.src.is_some()),
    ];
    said(says)
}

fn said<const N: usize>(says: [(Word, bool); N]) -> BTreeSet<Word> {
    says.into_iter().filter(|(_, said)| *said).map(|(word, _)| word).collect()
}

/// A route without words of it, if it is still one that leads the right way then.
pub(crate) fn without(route: &Route, lacks: &BTreeSet<Word>) -> Option<Route> {
    let mut route = route.clone();
    for word in lacks {
        match word {
            Word::Prefsrc => route.prefsrc = None,
            Word::Scope => route.scope = 0,
            Word::Mtu => {
                route.metrics.values.remove(&RTAX_MTU);
                route.metrics.values.remove(&RTAX_LOCK);
            }
            Word::PathMetrics => {
                route.metrics.values.retain(|number, _| *number == RTAX_MTU);
                route.metrics.congctl = None;
            }
            Word::Preference => route.preference = 0,
            Word::Multipath => {
                route.hops.truncate(1);
                route.hops.iter_mut().for_each(|h| h.weight = 0);
            }
            _ => return None,
        }
    }
    Some(route)
}
