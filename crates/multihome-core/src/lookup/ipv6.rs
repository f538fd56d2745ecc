//! IPv6: what the host sends (`ip6_route_output_flags`), and what comes in (`ip6_route_input_lookup`).
//!
//! There is no check of where a packet came from (no reverse path filter but netfilter's), and whether
//! a packet that came in for somebody else is forwarded is decided behind the look-up
//! (`ip6_forward`): see [`Lookup::forwards_v6`].

use std::net::{IpAddr, Ipv6Addr};

use super::walk::{End, Key, Walk};
use super::{
    Answer, By, Doubt, Flow, Lookup, Outcome, Path, RTPROT_KERNEL, Refusal, Sanity, Step, Unknown,
};
use crate::model::names::{TABLE_LOCAL, TABLE_MAIN};
use crate::model::sysctl;
use crate::model::{Action, Hop, Route, RouteKind, Rule};
use crate::prefix::Family;

pub(super) fn answer<'a>(
    lookup: &Lookup<'a>,
    flow: &Flow,
    steps: &mut Option<Vec<Step<'a>>>,
) -> Answer<'a> {
    let mut key = Key::of(lookup, flow);
    let IpAddr::V6(to) = key.to else { return Answer::default() };
    let mut answer = Answer::default();
    if [flow.iif, flow.oif].into_iter().flatten().any(|l| lookup.is_in_vrf(l)) {
        answer.doubts.push(Doubt::Unknown(Unknown::Vrf));
    }
    if let Some(iif) = flow.iif {
        if lookup.snapshot.link(iif).is_none() {
            return Answer::certain(Outcome::sanity(Refusal::NoDevice, Sanity::NoLink));
        }
        key.oif = 0;
        key.iface = needs_link(to);
    } else {
        key.iface = needs_link(to) || flow.oif.is_some() && (flow.bound || !key.has_source());
    }
    if lookup.lacks_a_rule_v6() {
        answer.doubts.push(Doubt::Unknown(Unknown::EverRules));
    }
    let mut walk = Walk::new(lookup, &key, steps);
    walk.run();
    let (ends, doubts) = (walk.ends, walk.doubts);
    answer.doubts.extend(doubts);
    for end in ends {
        answer.add(match end {
            End::Route(rule, route, hop) => sent(lookup, flow, to, rule, route, hop),
            End::RouteRefuses(rule, route, error) => {
                Outcome::Refused { error, by: By::Route(rule, route) }
            }
            End::RuleRefuses(rule, error) => Outcome::Refused { error, by: By::Rule(rule) },
            End::Nothing => {
                Outcome::Refused { error: Refusal::NetworkUnreachable, by: By::NoRoute }
            }
        });
    }
    answer
}

fn sent<'a>(
    lookup: &Lookup<'a>,
    flow: &Flow,
    to: Ipv6Addr,
    rule: &'a Rule,
    route: &'a Route,
    hop: Option<&'a Hop>,
) -> Outcome<'a> {
    let by = hop.map(|h| h.link);
    // ip6_rt_get_dev_rcu
    let kept = match route.kind {
        RouteKind::Local => true,
        // The kernel's own only (addrconf_f6i_alloc): others have no RTF_ANYCAST.
        RouteKind::Anycast => route.protocol == RTPROT_KERNEL,
        _ => false,
    };
    let source = flow.from.filter(|a| !a.is_unspecified());
    let source = source.or(route.prefsrc).or_else(|| lookup.source_v6(by, to));
    Outcome::Sent(Path {
        rule: Some(rule),
        route: Some(route),
        kind: route.kind,
        link: if kept { lookup.loopback } else { by.unwrap_or(0) },
        gateway: hop.and_then(|h| h.gateway).filter(|_| !kept),
        source,
    })
}

impl Lookup<'_> {
    /// Whether a rule of the kernel's own is gone and no other is there. Until a rule is added the
    /// kernel looks at none but at `local` and `main` (`fib6_rule_lookup`), also when their rules
    /// are deleted.
    fn lacks_a_rule_v6(&self) -> bool {
        let rules = self.rules(Family::V6);
        let own = |r: &&Rule| {
            let kernels = [(0, TABLE_LOCAL), (32766, TABLE_MAIN)];
            let plain = |(priority, table)| Rule {
                protocol: r.protocol,
                ..Rule::new(Family::V6, priority, Action::Lookup(table))
            };
            kernels.into_iter().any(|k| **r == plain(k))
        };
        rules.len() < 2 && rules.iter().all(own)
    }

    /// Whether the host forwards IPv6 that comes in by a link; none when the snapshot does not say.
    #[must_use]
    pub fn forwards_v6(&self, link: u32) -> Option<bool> {
        let link = self.snapshot.link(link)?;
        let sysctls = &self.snapshot.sysctls;
        // ip6_forward: `all`, or the link's own force_forwarding
        let all = sysctls.number(&sysctl::conf(Family::V6, "all", "forwarding"))?;
        let forced = sysctls.conf(Family::V6, &link.name, "force_forwarding").unwrap_or(0);
        Some(all != 0 || forced != 0)
    }
}

/// `rt6_need_strict`: such an address says nothing without its link.
fn needs_link(to: Ipv6Addr) -> bool {
    to.is_multicast() || to.is_unicast_link_local() || to.is_loopback()
}
