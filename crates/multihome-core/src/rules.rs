//! The rule block: which packets are looked up where.
//!
//! For each prefix P of an uplink with the number n (see [`crate::cover`]):
//!
//! ```text
//! base:     from P lookup main suppress_prefixlength 7 suppress_ifgroup G
//! n:        from P lookup TABLE
//! 32768+n:  oif NAME lookup TABLE
//! ```
//!
//! The first asks main, but an answer that leaves by an uplink (all of them are in link
//! group G), or by a prefix so short that it is a default in disguise, is passed over. So
//! containers, VPN subnets and storage networks stay reachable from every address, while
//! a client on another uplink's subnet is still answered by the right door.
//!
//! The last is for sockets bound to a device that have no source yet. It stands behind
//! main's rule (32766), which such a socket can use only as far as it leads out by that
//! very device: so the rule fills in the default that main lacks, and no packet of
//! anybody else ever walks over it. In front of main, one such rule for each uplink would
//! be the price of every packet of the host.
//!
//! Where a tunnel keeps networks of its own in another table than main (Tailscale's 52, strongSwan's
//! 220), the first rule has a twin for that table.
//!
//! A prefix wider than an address carries `iif lo`, so that forwarded traffic never
//! matches. With many prefixes the two rules each become a tree ([`crate::tree`]).

use crate::catch_all::SplitTunnel;
use crate::config::{BAND, Config};
use crate::cover;
use crate::model::names::{TABLE_LOCAL, TABLE_MAIN};
use crate::model::{Action, Rule, Snapshot};
use crate::prefix::{Family, Prefix};
use crate::tree;

/// The rules for bound sockets have priority `OIF_OFFSET + number`: right behind main (32766)
/// and default (32767), so that they fill in what is missing there.
pub const OIF_OFFSET: u32 = 32_768;

/// Up to this many prefixes of a family the rules are a plain list.
pub const FLAT_MAX: usize = 8;

/// One uplink's part in the rule block of a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its index.
    pub(crate) link: u32,
    /// `base + ifindex`.
    pub(crate) number: u32,
    /// The table that it is looked up in.
    pub(crate) table: u32,
    /// The interface name.
    pub(crate) name: String,
    /// The fewest prefixes that hold its addresses.
    pub(crate) prefixes: Vec<Prefix>,
}

/// The longest prefix that is a default in disguise.
///
/// IPv4: full tunnels push 0/1 and 128/1 (OpenVPN's `def1`), and those that leave the private
/// networks out push the pieces of the rest, /2 to /7; no network that a host is attached to is
/// shorter than 10.0.0.0/8. IPv6: OpenVPN pushes `::/3`, `2000::/4` and `3000::/4`; an
/// organisation's own may be as short as `fc00::/7`.
///
/// Never 0: `wg-quick down` deletes every rule `lookup main suppress_prefixlength 0` that
/// it finds.
#[must_use]
pub fn suppressed_length(family: Family) -> u32 {
    match family {
        Family::V4 => 7,
        Family::V6 => 4,
    }
}

/// The rules of one family, in the order in which the kernel asks them.
///
/// `foreign` are the addresses and networks of links that are no members, `tunnels` the tables that
/// have networks of their own beside main.
pub(crate) fn block(
    family: Family,
    config: &Config,
    members: &[Member],
    foreign: Vec<Prefix>,
    tunnels: &[SplitTunnel],
) -> Vec<Rule> {
    let base = config.base.value;
    let total: usize = members.iter().map(|m| m.prefixes.len()).sum();
    let mut rules = Vec::new();
    if total <= FLAT_MAX {
        for member in members {
            for prefix in &member.prefixes {
                rules.extend(locals(family, base, *prefix, config.group(), tunnels));
                rules.push(home(family, priority(config, member.number), *prefix, member.table));
            }
        }
    } else {
        let mut leaves: Vec<tree::Leaf> = members
            .iter()
            .flat_map(|m| m.prefixes.iter().map(|p| tree::Leaf { prefix: *p, table: m.table }))
            .collect();
        leaves.sort_unstable_by_key(|l| l.prefix);
        // What stays local does not depend on the uplink: fewer prefixes, asked once in front.
        let all = leaves.iter().map(|l| l.prefix).collect();
        let mut locals = cover::cover(family, all, foreign);
        if locals.len() > FLAT_MAX {
            locals.clear();
        }
        let (group, locals) = (config.group(), &locals[..]);
        rules = tree::block(family, base, tree::Local { group, locals, tunnels }, &leaves);
    }
    for member in members {
        rules.push(Rule {
            oif: Some(member.name.clone()),
            ..Rule::new(family, OIF_OFFSET + member.number, Action::Lookup(member.table))
        });
    }
    rules.sort_by_key(|r| r.priority);
    rules
}

/// The families that have rules and none that looks up `local`: the kernel begins with one at 0, and
/// without it nothing reaches the host's own addresses.
#[must_use]
pub fn without_local(snapshot: &Snapshot) -> Vec<Family> {
    let of = |family| snapshot.rules().filter(move |r| r.family == family);
    let lacks =
        |f: &Family| of(*f).next().is_some() && !of(*f).any(|r| r.table() == Some(TABLE_LOCAL));
    Family::BOTH.into_iter().filter(lacks).collect()
}

/// The rules that keep local what is local: what main reaches by links that are no uplinks, and
/// what the tables of tunnels have.
pub(crate) fn locals(
    family: Family,
    priority: u32,
    prefix: Prefix,
    group: u32,
    tunnels: &[SplitTunnel],
) -> impl Iterator<Item = Rule> {
    let main = SplitTunnel { table: TABLE_MAIN, unmarked: None };
    std::iter::once(main).chain(tunnels.iter().cloned()).map(move |tunnel| Rule {
        from: Some(prefix),
        iif: only_own_traffic(prefix),
        fwmark: tunnel.unmarked.map(|mask| (0, mask)),
        suppress_prefixlength: Some(suppressed_length(family)),
        suppress_ifgroup: Some(group),
        ..Rule::new(family, priority, Action::Lookup(tunnel.table))
    })
}

/// The rule by which replies go home by their own door.
pub(crate) fn home(family: Family, priority: u32, prefix: Prefix, table: u32) -> Rule {
    Rule {
        from: Some(prefix),
        iif: only_own_traffic(prefix),
        ..Rule::new(family, priority, Action::Lookup(table))
    }
}

/// The priority of an uplink's own rules: its number, as long as that lies in the band. On a
/// host that has made ten thousand interfaces they share the band's last but one: the prefixes
/// are disjoint, so their order does not matter.
pub(crate) fn priority(config: &Config, number: u32) -> u32 {
    number.min(config.base.value + BAND - 2)
}

/// `iif lo` for a prefix wider than an address: forwarded traffic never matches.
pub(crate) fn only_own_traffic(prefix: Prefix) -> Option<String> {
    (!prefix.is_host()).then(|| "lo".to_owned())
}
