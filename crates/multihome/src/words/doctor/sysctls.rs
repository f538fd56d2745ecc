//! The words for settings of the kernel by which answers are lost.

use multihome_core::doctor::{Absence, Fact, Strict};
use multihome_core::model::Names;
use multihome_core::model::host::Cloud;
use multihome_core::model::names::word;
use multihome_core::model::sysctl::{conf, display};
use multihome_core::{Family, Prefix};

use super::facts::Words;

/// What is done by a command lasts until the next boot.
const SYSCTL: &str = "set it, and write the same into a file of /etc/sysctl.d, so that it stays";

/// The command that sets a link's value.
fn set(family: Family, link: &str, key: &str, value: u8) -> String {
    format!("sysctl -w {}={value}", word(&display(&conf(family, link, key))))
}

pub(super) fn words(fact: &Fact, names: &Names) -> Words {
    match fact {
        Fact::RpFilter { uplink, by_all, strict, dropped } => {
            rp_filter(uplink, *by_all, strict, *dropped)
        }
        Fact::ArpFlux { links, prefix, answering, cloud } => {
            arp_flux(links, prefix, answering, *cloud)
        }
        Fact::SrcValidMark { uplinks, rule } => Words {
            subject: uplinks.join(", "),
            evidence: format!(
                "rp_filter is 1 (strict) and src_valid_mark 0, beside the rule {}",
                rule.display(names)
            ),
            consequence: "what comes in for the tunnel is dropped: its way back seems to be the \
                          tunnel itself"
                .into(),
            remedy: SYSCTL.into(),
            commands: vec![set(Family::V4, "all", "src_valid_mark", 1)],
        },
        Fact::LinkdownRoutes { uplink, family, takes_default } => Words {
            subject: uplink.clone(),
            evidence: format!(
                "{uplink} has no carrier, and its {family} routes are used all the same \
                 (ignore_routes_with_linkdown=0)"
            ),
            consequence: if *takes_default {
                format!(
                    "what this host sends is lost at {uplink}, although main has another default"
                )
            } else {
                "what its addresses answer is lost, and nobody is told".into()
            },
            remedy: SYSCTL.into(),
            commands: vec![set(*family, uplink, "ignore_routes_with_linkdown", 1)],
        },
        Fact::PromoteSecondaries { uplink, primary, secondaries } => Words {
            subject: uplink.clone(),
            evidence: format!(
                "{} are secondary to {primary} (promote_secondaries=0)",
                secondaries.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            ),
            consequence: format!("whoever removes {primary} removes all of them"),
            remedy: SYSCTL.into(),
            commands: vec![set(Family::V4, uplink, "promote_secondaries", 1)],
        },
        Fact::KeepAddrOnDown { uplink, prefixes } => Words {
            subject: uplink.clone(),
            evidence: format!(
                "{uplink} is up without the IPv6 addresses that its rules are for ({}; \
                 keep_addr_on_down=0)",
                prefixes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            ),
            consequence: "the kernel took them when the link was set down, and nobody has brought \
                          them back"
                .into(),
            remedy: "let their manager configure the link again; so that addresses set by hand \
                     stay the next time"
                .into(),
            commands: vec![set(Family::V6, uplink, "keep_addr_on_down", 1)],
        },
        Fact::AcceptRaForwarding { uplink, lost } => Words {
            subject: uplink.clone(),
            evidence: "it forwards IPv6, and accept_ra is 1".into(),
            consequence: format!(
                "the kernel hears no router on it: its addresses and its gateway {}",
                if *lost { "are gone" } else { "end with their lifetimes" }
            ),
            remedy: SYSCTL.into(),
            commands: vec![set(Family::V6, uplink, "accept_ra", 2)],
        },
        _ => Words::default(), // the caller gives no others
    }
}

fn arp_flux(
    [a, b]: &[String; 2],
    prefix: &Prefix,
    answering: &[String],
    cloud: Option<Cloud>,
) -> Words {
    let who = match answering {
        [one] => format!("{one} answers ARP"),
        _ => "both answer ARP".into(),
    };
    let cure = [("arp_ignore", 1), ("arp_announce", 2)];
    let commands = answering
        .iter()
        .flat_map(|link| cure.map(|(key, value)| set(Family::V4, link, key, value)))
        .collect();
    let evidence = format!(
        "both are in {prefix}, and {who} for every address of this host (arp_ignore=0, \
         arp_filter=0)"
    );
    let subject = format!("{a}, {b}");
    match cloud {
        Some(cloud) => Words {
            subject,
            evidence,
            consequence: format!(
                "no harm in a network of {}, which answers for the cards itself",
                name(cloud)
            ),
            remedy: "none is needed there".into(),
            ..Words::default()
        },
        None => Words {
            subject,
            evidence,
            consequence: "neighbours learn the wrong card for an address: it is cut off when that \
                          card goes, and where a switch ties addresses to ports"
                .into(),
            remedy: SYSCTL.into(),
            commands,
        },
    }
}

fn name(cloud: Cloud) -> &'static str {
    match cloud {
        Cloud::Amazon => "Amazon EC2",
        Cloud::Google => "Google Compute Engine",
        Cloud::Azure => "Microsoft Azure",
        Cloud::Alibaba => "Alibaba Cloud",
    }
}

fn rp_filter(uplink: &str, by_all: bool, strict: &Strict, dropped: Option<u64>) -> Words {
    let path = conf(Family::V4, if by_all { "all" } else { uplink }, "rp_filter");
    let dropped = match dropped {
        None | Some(0) => String::new(),
        Some(n) => {
            let packets = if n == 1 { "1 packet".to_owned() } else { format!("{n} packets") };
            format!("; the kernel has dropped {packets} for it (IPReversePathFilter)")
        }
    };
    let loose = set(Family::V4, uplink, "rp_filter", 2);
    let (why, consequence, remedy, commands) = match strict {
        Strict::WithoutRules { addresses, absence } => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            let addresses = addresses.join(", ");
            let (remedy, commands) = match absence {
                Absence::Pending => (
                    "with the rules a strict filter does no harm".to_owned(),
                    vec!["multihome apply".to_owned()],
                ),
                Absence::LeftToMain => (
                    format!("as the `primary` it has no rules, so make the filter loose: {SYSCTL}"),
                    vec![loose],
                ),
                Absence::Frozen => (
                    "settle the conflict for its numbers (see `conflict`): with the rules a strict \
                     filter does no harm"
                        .to_owned(),
                    Vec::new(),
                ),
            };
            (
                format!("no rule of multihome's leads answers of {addresses} home"),
                format!(
                    "requests to {addresses} are dropped unless they come from the same subnet"
                ),
                remedy,
                commands,
            )
        }
        Strict::Forwarding => (
            format!("{uplink} forwards"),
            "what comes in by it for a container (a published port) is dropped; what the host \
             itself answers is not touched"
                .to_owned(),
            SYSCTL.to_owned(),
            vec![loose],
        ),
    };
    Words {
        subject: uplink.to_owned(),
        evidence: format!("{} is 1 (strict), and {why}{dropped}", display(&path)),
        consequence,
        remedy,
        commands,
    }
}
