//! What is lost where a format cannot say what the plan has, in a sentence: the same in the file and
//! on the terminal.

use std::collections::BTreeSet;

use multihome_core::Prefix;
use multihome_core::model::Names;
use multihome_core::policy::{Gap, Purpose, Word};

/// More networks than that are counted, not named.
const NAMED: usize = 4;

/// What a gap means for whoever uses the host.
fn consequence(gap: &Gap, names: &Names) -> String {
    match gap {
        Gap::LaterNetworks { networks } if networks.is_empty() => {
            "no network is local now; of containers and tunnels that come later, answers leave by \
             the uplink: export again then"
                .to_owned()
        }
        Gap::LaterNetworks { networks } => format!(
            "local networks are named one by one ({}); answers to those of containers and tunnels \
             that come later leave by the uplink: export again then",
            list(networks)
        ),
        Gap::RouteLeftOut { uplink, route, lacks } => format!(
            "{uplink}: `{}` is left out ({}): {}",
            route.display(names),
            cannot(lacks),
            if route.refuses() {
                "when the gateway is gone, what should leave by this uplink leaves by another door"
            } else {
                "what goes there follows the default of this uplink"
            }
        ),
        Gap::RouteShortened { uplink, route, lacks } => {
            let words: Vec<&str> = lacks.iter().map(|w| word(*w)).collect();
            format!("{uplink}: `{}` is kept without {}", route.display(names), words.join(", "))
        }
        Gap::RuleLeftOut { uplink, rule, lacks, purpose } => {
            let whose = uplink.as_ref().map_or_else(String::new, |u| format!("{u}: "));
            let rule = rule.display(names);
            let lost = lost(*purpose);
            format!("{whose}`{rule}` is left out ({}): {lost}", cannot(lacks))
        }
        Gap::Addresses { uplink, prefix, addresses } => format!(
            "{uplink}: rules for {} stand in for one for {prefix} (a source of this host's own \
             cannot be said): temporary and later addresses answer by main",
            match addresses.len() {
                1 => "one address".to_owned(),
                n => format!("{n} addresses"),
            }
        ),
        Gap::Leased { uplink, address } => format!(
            "{uplink}: {address} is leased, and no rule for its network can stand in: another \
             address answers by main until the next export"
        ),
        Gap::PublishedPorts => {
            "the nft table is left out: replies of published ports may leave by \
                                another door"
                .to_owned()
        }
        Gap::Down { uplink } => format!(
            "{uplink} is down: its routes are not known and are left out; export again when it is up"
        ),
        Gap::Frozen { uplink, family } => format!(
            "{uplink}: {family} is left out, for somebody else has its numbers: see `multihome \
             status`"
        ),
    }
}

/// What gaps mean, each once: what is lost in both families is lost in the same words.
#[must_use]
pub fn consequences<'a>(gaps: impl IntoIterator<Item = &'a Gap>, names: &Names) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for gap in gaps {
        let sentence = consequence(gap, names);
        if !said.contains(&sentence) {
            said.push(sentence);
        }
    }
    said
}

/// What goes wrong without a rule.
fn lost(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Home => "its answers leave by main's choice",
        Purpose::Lease => "another leased address answers by main's choice",
        Purpose::Bound => "sockets bound to the device find what main has by it, and nothing else",
        Purpose::Local => "answers to local networks leave by the uplink",
        Purpose::Jump => "the rule of somebody else's that it jumps over takes the answers",
        Purpose::Mark => "replies of published ports leave by main's choice",
        Purpose::Steer => "what it steers leaves by main's choice",
        Purpose::Main | Purpose::Default | Purpose::Network | Purpose::Refusal => "it is not asked",
    }
}

fn cannot(lacks: &BTreeSet<Word>) -> String {
    let words: Vec<&str> = lacks.iter().map(|w| word(*w)).collect();
    format!("this format cannot say {}", words.join(", "))
}

fn list(networks: &[Prefix]) -> String {
    let named: Vec<String> = networks.iter().take(NAMED).map(ToString::to_string).collect();
    match networks.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// `ip`'s word for it.
#[must_use]
pub fn word(word: Word) -> &'static str {
    match word {
        Word::Iif => "`iif`",
        Word::Oif => "`oif`",
        Word::Not => "`not`",
        Word::Fwmark => "`fwmark`",
        Word::Tos => "`tos`",
        Word::Dscp => "`dscp`",
        Word::Ipproto => "`ipproto`",
        Word::Ports => "ports",
        Word::Uidrange => "`uidrange`",
        Word::Goto => "`goto`",
        Word::RefusingRule => "a rule that refuses",
        Word::SuppressPrefixlength => "`suppress_prefixlength`",
        Word::SuppressIfgroup => "`suppress_ifgroup`",
        Word::OtherRule => "all that the rule says",
        Word::RefusingRoute => "`unreachable`",
        Word::OtherKind => "the route's type",
        Word::Prefsrc => "`src`",
        Word::Scope => "`scope`",
        Word::RouteTos => "a route's `tos`",
        Word::Mtu => "`mtu`",
        Word::PathMetrics => "the metrics of a path",
        Word::Onlink => "`onlink`",
        Word::Multipath => "several nexthops",
        Word::OtherFamily => "a gateway of the other family",
        Word::Preference => "`pref`",
        Word::SourceSpecific => "`from` of a route",
        Word::Commands => "commands",
        Word::MainRoutes => "main's own routes",
    }
}
