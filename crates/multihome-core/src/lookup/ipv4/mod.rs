//! IPv4: what the host sends ([`sent`]), and what comes in ([`received`]), which is checked backwards,
//! by the look-up of an answer ([`reverse_path`]).

mod received;
mod reverse_path;
mod sent;

use std::net::{IpAddr, Ipv4Addr};

use super::table::{self, Found, Table};
use super::walk::{End, Key, Walk};
use super::{Answer, Doubt, Flow, Lookup, Outcome, Refusal, Sanity, Step, Strange, Unknown};
use crate::model::names::{TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};
use crate::model::route::{RTNH_F_ONLINK, SCOPE_HOST, SCOPE_LINK};
use crate::model::{Action, Hop, Route, RouteKind, Rule};
use crate::prefix::Family;

pub(super) fn answer<'a>(
    lookup: &Lookup<'a>,
    flow: &Flow,
    steps: &mut Option<Vec<Step<'a>>>,
) -> Answer<'a> {
    let key = Key::of(lookup, flow);
    let (IpAddr::V4(from), IpAddr::V4(to)) = (key.from, key.to) else { return Answer::default() };
    let mut answer = Answer::default();
    // As long as there was never a rule besides its own, the kernel looks at none (fib_lookup): then
    // `local` and `main` are one trie. Whether there was one once cannot be seen, so both ways are
    // gone where only the kernel's rules are there.
    let ways: &[bool] = if lookup.custom_rules { &[false] } else { &[false, true] };
    for &merged in ways {
        let packet = Packet { lookup, from, to, key: key.clone(), merged };
        let steps = if merged { &mut None } else { &mut *steps };
        let one = match flow.iif {
            Some(iif) => packet.comes_in(iif, steps),
            None => packet.goes_out(flow.oif, steps),
        };
        one.outcomes.into_iter().for_each(|o| answer.add(o));
        let new = one.doubts.into_iter().filter(|d| !answer.doubts.contains(d)).collect::<Vec<_>>();
        answer.doubts.extend(new);
    }
    if [flow.iif, flow.oif].into_iter().flatten().any(|l| lookup.is_in_vrf(l)) {
        answer.doubts.push(Doubt::Unknown(Unknown::Vrf));
    }
    answer
}

/// An IPv4 packet and where it is looked up.
struct Packet<'l, 'a> {
    lookup: &'l Lookup<'a>,
    from: Ipv4Addr,
    to: Ipv4Addr,
    key: Key,
    /// Whether `local` and `main` are one trie (`fib_trie_unmerge`).
    merged: bool,
}

fn refused<'a>(error: Refusal, why: Sanity<'a>) -> Answer<'a> {
    Answer::certain(Outcome::sanity(error, why))
}

/// `ipv4_is_zeronet`, which since Linux 5.3 is one address.
fn is_zeronet(address: Ipv4Addr) -> bool {
    address.is_unspecified()
}

// ===== impl Lookup: IPv4 =====

impl<'a> Lookup<'a> {
    /// The ends of a walk.
    fn ends(
        &self,
        key: &Key,
        merged: bool,
        steps: &mut Option<Vec<Step<'a>>>,
    ) -> (Vec<End<'a>>, Vec<Doubt<'a>>) {
        if merged {
            return (self.merged(key), Vec::new());
        }
        let mut walk = Walk::new(self, key, steps);
        walk.run();
        (walk.ends, walk.doubts)
    }

    /// The table `local`, and `main` where the two share a trie.
    fn local(&self, merged: bool) -> Vec<&Table<'a>> {
        let tables: &[u32] = if merged { &[TABLE_LOCAL, TABLE_MAIN] } else { &[TABLE_LOCAL] };
        tables.iter().filter_map(|id| self.tables.get(&(Family::V4, *id))).collect()
    }

    /// What comes of tables that share a trie.
    fn merged(&self, key: &Key) -> Vec<End<'a>> {
        let table = |id| self.tables.get(&(Family::V4, id));
        for (tables, priority) in [
            (self.local(true), MAIN_PRIORITY),
            (table(TABLE_DEFAULT).into_iter().collect(), DEFAULT_PRIORITY),
        ] {
            let rule = |route: &Route| {
                let priority = if route.table == TABLE_LOCAL { 0 } else { priority };
                self.rules(Family::V4).iter().copied().find(|r| r.priority == priority)
            };
            match table::v4(&tables, key) {
                Found::Route(route, hops) => {
                    let Some(rule) = rule(route) else { return Vec::new() };
                    return hops.into_iter().map(|h| End::Route(rule, route, h)).collect();
                }
                Found::Refused(route, error) => {
                    let Some(rule) = rule(route) else { return Vec::new() };
                    return vec![End::RouteRefuses(rule, route, error)];
                }
                Found::Throw(_) | Found::Nothing => {}
            }
        }
        vec![End::Nothing]
    }

    /// What a gateway is worth that is an address of this host: nothing, if it was one when the
    /// route was made (`fib_check_nh_v4_gw` notes the scope, and `rt_set_nexthop` uses a gateway only
    /// that is on a link). Nobody tells.
    fn own_gateway(&self, merged: bool, end: &End<'a>) -> Option<Doubt<'a>> {
        let End::Route(_, route, Some(hop)) = *end else { return None };
        let gateway = hop.gateway.filter(|g| g.is_ipv4() && hop.flags & RTNH_F_ONLINK == 0)?;
        // All that leads to the loopback is this host's. An address that is local by another link is a
        // gateway like others: it was looked up by the hop's own link (`flowi4_oif`).
        let ours = hop.link == self.loopback
            || self.made_local.iter().any(|(p, link)| *link == hop.link && p.contains(gateway))
            || self.owners(merged, gateway).contains(&hop.link);
        ours.then_some(Doubt::Route(route, Strange::OwnGateway))
    }

    /// The link that an IPv4 address is local to (`__ip_dev_find`): its owner, of several the one that
    /// got it last, which a snapshot does not tell; or where the table
    /// `local` says (127.0.0.2).
    fn owners(&self, merged: bool, address: IpAddr) -> Vec<u32> {
        if let Some(links) = self.owners.get(&address) {
            return links.clone();
        }
        let mut key = Key::of(self, &Flow::to(address));
        key.iif = 0;
        match table::v4(&self.local(merged), &key) {
            Found::Route(route, _) if route.kind == RouteKind::Local => {
                route.hops.iter().take(1).map(|h| h.link).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The scopes for which the source of a hop may have been chosen. What a nexthop object chose
    /// when it was made (`nh_create_ipv4`), or for the route that asked first after an address came
    /// or went, it keeps for all others (`fib_result_prefsrc`).
    fn scopes(&self, route: &Route, hop: &Hop) -> Vec<u8> {
        let mut scopes = vec![route.scope];
        if route.nhid.is_none() {
            return scopes;
        }
        scopes.push(if hop.gateway.is_some() { SCOPE_LINK - 1 } else { SCOPE_LINK });
        scopes.extend(self.scopes.get(&(hop.link, hop.gateway)).into_iter().flatten());
        scopes.sort_unstable();
        scopes.dedup();
        scopes
    }
}

/// Whether there are other IPv4 rules than the kernel's three (`fib4_has_custom_rules`).
pub(super) fn are_custom(rules: &[&Rule]) -> bool {
    let kernels =
        [(0, TABLE_LOCAL), (MAIN_PRIORITY, TABLE_MAIN), (DEFAULT_PRIORITY, TABLE_DEFAULT)];
    let is_plain = |(rule, (priority, table)): (&&Rule, &(u32, u32))| {
        let plain = Rule {
            protocol: rule.protocol,
            ..Rule::new(Family::V4, *priority, Action::Lookup(*table))
        };
        **rule == plain
    };
    rules.len() != kernels.len() || !rules.iter().zip(&kernels).all(is_plain)
}

/// `main`'s.
const MAIN_PRIORITY: u32 = 32766;
/// `default`'s.
const DEFAULT_PRIORITY: u32 = 32767;
