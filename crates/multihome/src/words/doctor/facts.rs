//! The words for each thing that can be found.

use std::net::{IpAddr, Ipv6Addr};

use multihome_core::Family;
use multihome_core::conflict::Conflict;
use multihome_core::doctor::Fact;
use multihome_core::model::host::UdpSocket;
use multihome_core::model::names::word;
use multihome_core::model::sysctl::display;
use multihome_core::model::{Names, Neighbour, Route, Rule};
use multihome_core::plan::Note;
use multihome_core::verify::Finding;

use super::{Found, sysctls};
use crate::words::fault::{explain, fault};
use crate::words::rival::{RivalStatus, deletion};
use crate::words::{conflict, extras, note, plural};

/// What is said of one fact.
#[derive(Default)]
pub(super) struct Words {
    pub(super) subject: String,
    pub(super) evidence: String,
    pub(super) consequence: String,
    pub(super) remedy: String,
    pub(super) commands: Vec<String>,
}

/// Rules that are moved out of the way go here: behind all of ours, before main's. The second is
/// asked before the first, as wg-quick's are.
const BEHIND_OURS: [u32; 2] = [32_001, 32_000];
/// What mends everything that is pending.
const APPLY: &str = "`multihome run` keeps it right; once, it is";

/// What was found, in words.
pub(super) fn found(fact: &Fact, names: &Names) -> Found {
    let Words { subject, evidence, consequence, remedy, commands } = words(fact, names);
    Found {
        id: fact.id(),
        severity: fact.severity(),
        subject,
        evidence,
        consequence,
        remedy,
        commands,
    }
}

fn words(fact: &Fact, names: &Names) -> Words {
    match fact {
        Fact::Incomplete(why) => Words {
            subject: "this host".into(),
            evidence: why.clone(),
            consequence: "multihome removes nothing, and what is said here may lack something"
                .into(),
            remedy: "try again; if it stays so, report it with what `multihome snapshot` writes"
                .into(),
            ..Words::default()
        },
        Fact::Conflict(c) => in_the_way(c, names),
        Fact::NotInSync { changes, .. } => not_in_sync(fact, *changes),
        Fact::WrongAnswers { first, remedy, owners, wrong, asked, pending } => {
            wrong_answers(first, remedy.as_deref(), owners, (*wrong, *asked, *pending), names)
        }
        Fact::MetricsDrift { held, wanted } => Words {
            subject: leaves_by(held, names),
            evidence: format!(
                "{} is there, and by its original it should be {}",
                held.display(names),
                wanted.display(names)
            ),
            consequence: "answers go out with another MTU or window than what the host sends by \
                          main: large packets may be lost on the way"
                .into(),
            remedy: APPLY.into(),
            commands: vec!["multihome apply".into()],
        },
        Fact::SameJob(rival) => {
            let status = RivalStatus::new(rival, names);
            let mut consequence = vec![status.meaning()];
            consequence.extend(status.cure.mind.clone());
            let mut commands = status.cure.commands.clone();
            commands.extend(status.cure.deletions.clone());
            Words {
                subject: rival.uplinks.join(", "),
                evidence: status.head(),
                consequence: consequence.join(" "),
                // It is a sentence of its own in `status`.
                remedy: status.cure.what.replacen("To ", "to ", 1),
                commands,
            }
        }
        Fact::Plan(n) => noted(n, names),
        Fact::MainRefuses { route, behind, has_room } => {
            main_refuses(route, behind.as_ref(), *has_room, names)
        }
        Fact::Down { uplink, up: true } => Words {
            subject: uplink.clone(),
            evidence: format!("{uplink} has no carrier"),
            consequence: "its addresses answer nobody".into(),
            remedy: "look at the cable, the switch, or the card of the virtual machine".into(),
            ..Words::default()
        },
        Fact::Down { uplink, up: false } => Words {
            subject: uplink.clone(),
            evidence: format!("{uplink} is down"),
            consequence: "its addresses answer nobody".into(),
            remedy: "if nobody meant it to be".into(),
            commands: vec![format!("ip link set dev {} up", word(uplink))],
        },
        Fact::NoRules { .. }
        | Fact::NoRuleProtocol { .. }
        | Fact::LocalRule { .. }
        | Fact::MainRule { .. }
        | Fact::CatchAll { .. } => of_rules(fact, names),
        Fact::GatewaySilent { uplink, neighbour, .. } => gateway_silent(uplink, neighbour),
        Fact::SamePrefix { uplinks: [a, b], prefix, gateway, lladdrs: [x, y] } => Words {
            subject: format!("{a}, {b}"),
            evidence: format!(
                "both are in {prefix}, and the gateway {gateway} is {x} on {a} and {y} on {b}: two \
                 networks with the same numbers"
            ),
            consequence: format!(
                "who asks is answered by the right door, but what this host itself asks of {prefix} \
                 gets to only one of the two"
            ),
            remedy: "renumber one of them, or put one card into a VRF or a network namespace \
                     (ip-vrf(8), ip-netns(8))"
                .into(),
            ..Words::default()
        },
        Fact::NetworkdForeignRules | Fact::NetworkdForeignRoutes => of_networkd(fact),
        Fact::WildcardUdp { sockets } => wildcard_udp(sockets),
        fact => sysctls::words(fact, names),
    }
}

// ===== the plan =====

fn in_the_way(c: &Conflict, names: &Names) -> Words {
    let (evidence, remedy) = conflict(c, names);
    let subject = match c {
        Conflict::Table { uplink, .. } => uplink.clone(),
        Conflict::Priority { uplinks, .. } if uplinks.is_empty() => "all uplinks".into(),
        Conflict::Priority { uplinks, .. } => uplinks.join(", "),
        Conflict::SharedTable { uplink, other, .. } => format!("{uplink}, {other}"),
    };
    let consequence = "the uplink is left as it is: what is missing for it is not made".into();
    Words { subject, evidence, consequence, remedy, ..Words::default() }
}

fn not_in_sync(fact: &Fact, changes: usize) -> Words {
    let consequence = match fact {
        Fact::NotInSync { wrong: Some(0), .. } => "no answer goes wrong as it stands".into(),
        Fact::NotInSync { wrong: Some(n), .. } => {
            let (answers, are) = (plural(*n, "answer"), if *n == 1 { "is" } else { "are" });
            format!("{answers} {are} not right, and `multihome verify` shows which")
        }
        Fact::NotInSync { anything: true, .. } => {
            "some addresses may answer by the wrong door".into()
        }
        Fact::NotInSync { several: true, .. } => {
            "nothing of multihome's is there: requests that come in by another door than main's \
             default are answered by the wrong one"
                .into()
        }
        _ => "with one uplink main answers by the right door, unless a rule is in front of it"
            .to_owned(),
    };
    Words {
        subject: "this host".into(),
        evidence: format!("{} pending (`multihome plan` lists them)", plural(changes, "change")),
        consequence,
        remedy: APPLY.into(),
        commands: vec!["multihome apply".into()],
    }
}

fn wrong_answers(
    first: &Finding,
    rule: Option<&Rule>,
    owners: &[u32],
    (wrong, asked, pending): (usize, usize, usize),
    names: &Names,
) -> Words {
    let owners: Vec<_> = owners.iter().map(|l| names.link(*l)).collect();
    let there = match pending {
        0 => "although all of multihome's is there",
        _ => "and what is pending does not change that",
    };
    let mut commands = vec!["multihome verify".into(), explain(&first.flow, names)];
    commands.splice(..0, rule.map(|r| deletion(r, names)));
    Words {
        subject: owners.join(", "),
        evidence: format!(
            "{wrong} of {asked} answers are not right: {}",
            fault(&first.fault, first.owner, names)
        ),
        consequence: format!("who asks gets no answer, or one by the wrong door, {there}"),
        remedy: match rule {
            Some(_) => {
                "that rule is somebody else's: take it away if nobody needs it; what is not \
                         right is seen by"
            }
            None => "see which, and why",
        }
        .into(),
        commands,
    }
}

fn noted(n: &Note, names: &Names) -> Words {
    let (subject, consequence, remedy): (&str, String, String) = match n {
        Note::KeepsGroup { name, group, .. } => (
            name,
            "a network that checks sources drops those answers".into(),
            format!("if nobody needs group {group}, take it out; multihome puts it into its own"),
        ),
        Note::NoGateway { name, family } => (
            name,
            format!("what its {family} addresses answer is refused, or leaves by main (`on_down`)"),
            format!("look at who should name one, or set `gateway` for interface.{name}"),
        ),
        Note::SeveralGateways { name, family } => (
            name,
            format!("it is no {family} uplink: its addresses answer by main"),
            format!("set `gateway` for interface.{name}"),
        ),
        Note::PrimaryAbsent { .. } => (
            "the configuration",
            "no uplink is left to main".into(),
            "correct `primary` in /etc/multihome/config.toml".into(),
        ),
        Note::FileRefused(refused) => (
            &refused.file,
            "a gateway that only this file knows is not known".into(),
            refused.remedy.clone(),
        ),
        Note::InterfaceAbsent { name } => (
            name,
            "what is said of it there is for nobody".into(),
            "correct the name, unless the card comes later".into(),
        ),
        Note::ReturnPath(trouble) => (
            "published ports",
            "who asks one on another card than main's default gets no answer".into(),
            extras::cure(trouble),
        ),
        Note::Sysctl(setting) => (
            setting_link(&setting.path),
            extras::without(setting.reason).into(),
            "set it, or let multihome do it with sysctl = \"manage\"".into(),
        ),
        Note::SteerAbsent { uplink, by, .. } => (
            uplink,
            format!("what should leave by it {}", extras::goes(by)),
            "correct the name, unless the card comes later".into(),
        ),
        // Facts of their own.
        Note::MainRefuses { .. } | Note::Rival(_) | Note::Overtaken(_) | Note::Captured { .. } => {
            ("", String::new(), String::new())
        }
    };
    let commands = match n {
        Note::KeepsGroup { name, .. } => vec![format!("ip link set dev {} group 0", word(name))],
        Note::Sysctl(s) => vec![format!("sysctl -w {}={}", word(&display(&s.path)), s.wanted)],
        _ => Vec::new(),
    };
    let evidence = match n {
        Note::Sysctl(setting) => extras::value(setting),
        n => note(n, names),
    };
    Words { subject: subject.to_owned(), evidence, consequence, remedy, commands }
}

/// The interface that a path below `/proc/sys` is about.
fn setting_link(path: &str) -> &str {
    let link = path.split_once("/conf/").and_then(|(_, rest)| rest.rsplit_once('/'));
    link.map_or("this host", |(link, _)| link)
}

fn main_refuses(route: &Route, behind: Option<&Route>, has_room: bool, names: &Names) -> Words {
    let remedy = match (behind, has_room) {
        (Some(default), _) => format!("delete it; then {} counts", default.display(names)),
        (None, true) => {
            format!("delete it, or give main a default with a metric below {}", route.metric)
        }
        (None, false) => "delete it: no default can have a smaller metric".into(),
    };
    let (family, arguments) = (route.family().flag(), route.arguments(names));
    Words {
        subject: "main".into(),
        evidence: note(&Note::MainRefuses { route: route.clone() }, names),
        consequence: "whoever has no route of his own in main gets no answer from any uplink"
            .into(),
        remedy,
        commands: vec![format!("ip {family} route del {arguments}")],
    }
}

// ===== rules =====

fn of_rules(fact: &Fact, names: &Names) -> Words {
    match fact {
        Fact::NoRules { family, release, table } => {
            no_rules(*family, release.as_deref(), *table, names)
        }
        Fact::NoRuleProtocol { release } => Words {
            subject: "the kernel".into(),
            evidence: format!("rules have no protocol number in Linux {release}"),
            consequence: "multihome could not tell its rules from those of others".into(),
            remedy: "Linux 4.17 or newer".into(),
            ..Words::default()
        },
        Fact::LocalRule { family, rule, before } => {
            let mut commands = vec![kernel_rule(*family, 0, "local")];
            commands.extend(rule.as_ref().map(|r| deletion(r, names)));
            Words {
                subject: "local".into(),
                evidence: match rule {
                    Some(rule) => format!(
                        "{family} rule {} is asked behind multihome's first, {before}",
                        rule.display(names)
                    ),
                    None => format!("there is no {family} rule that looks up local for everything"),
                },
                consequence: "what is for this host's own addresses leaves by an uplink".into(),
                remedy: "put it back where the kernel has it".into(),
                commands,
            }
        }
        Fact::MainRule { family, refusing: Some(rule) } => Words {
            subject: "main".into(),
            evidence: format!(
                "{family} rule {} refuses everything before main is looked up",
                rule.display(names)
            ),
            consequence: "what this host sends of its own accord, and what it gets for others, \
                          is refused"
                .into(),
            remedy: "take it away, or let it ask for less".into(),
            commands: vec![deletion(rule, names)],
        },
        Fact::MainRule { family, refusing: None } => Words {
            subject: "main".into(),
            evidence: format!("there is no {family} rule that looks up main for everything"),
            consequence: "what this host sends of its own accord, and what it gets for others, \
                          finds no way"
                .into(),
            remedy: "put it back where the kernel has it".into(),
            commands: vec![kernel_rule(*family, 32_766, "main")],
        },
        Fact::CatchAll { rule, route, uplinks, before, companion } => {
            catch_all((rule, companion.as_deref()), route.as_ref(), uplinks, *before, names)
        }
        _ => Words::default(), // the caller gives no others
    }
}

fn no_rules(family: Family, release: Option<&str>, table: Option<u32>, names: &Names) -> Words {
    let option = match family {
        Family::V4 => "CONFIG_IP_MULTIPLE_TABLES",
        Family::V6 => "CONFIG_IPV6_MULTIPLE_TABLES",
    };
    // What the kernel begins with (`fib_default_rules_init`, `fib6_rules_net_init`).
    let mut commands = vec![kernel_rule(family, 0, "local"), kernel_rule(family, 32_766, "main")];
    if family == Family::V4 {
        commands.push(kernel_rule(family, 32_767, "default"));
    }
    let lacking = format!("there are no {family} rules, not even the one for local addresses");
    match table {
        Some(table) => Words {
            subject: "rules".into(),
            evidence: format!(
                "{lacking}; the kernel can have some, for it has table {}",
                names.table(table)
            ),
            consequence: format!("no {family} packet finds a way, neither in nor out"),
            remedy: "put back what the kernel begins with".into(),
            commands,
        },
        None => Words {
            subject: "rules".into(),
            evidence: format!(
                "{lacking}{}",
                release.map_or_else(String::new, |r| format!(" (Linux {r})"))
            ),
            consequence: format!("no {family} answer can be led home by its source"),
            remedy: format!(
                "put back what the kernel begins with; if it refuses that, it lacks {option}, which \
                 every distribution's has"
            ),
            commands,
        },
    }
}

/// The command that puts back a rule that the kernel begins with.
fn kernel_rule(family: Family, priority: u32, table: &str) -> String {
    format!("ip {} rule add pref {priority} lookup {table}", family.flag())
}

fn catch_all(
    (rule, companion): (&Rule, Option<&Rule>),
    route: Option<&Route>,
    uplinks: &[String],
    before: u32,
    names: &Names,
) -> Words {
    let family = rule.family;
    let (ends, door) = match route {
        Some(route) => {
            let door = leaves_by(route, names);
            (format!(", and ends with {}", route.display(names)), format!("leave by {door}"))
        }
        None => (String::new(), "are refused".into()),
    };
    let beside = companion.map_or_else(String::new, |r| {
        format!("; the other one of the pair is in front too ({})", r.display(names))
    });
    // Added before any is deleted, so that nothing is without them.
    let pair: Vec<(&Rule, u32)> =
        [Some(rule), companion].into_iter().flatten().zip(BEHIND_OURS).collect();
    let mut commands: Vec<String> = Vec::new();
    for (rule, priority) in pair.iter().rev() {
        let what = rule.selector_and_action(names);
        commands.push(format!("ip {} rule add pref {priority} {what}", family.flag()));
    }
    commands.extend(pair.iter().map(|(rule, _)| deletion(rule, names)));
    if route.is_none() {
        // Behind ours it would refuse what the host sends of its own accord.
        commands = vec![deletion(rule, names)];
    }
    Words {
        subject: uplinks.join(", "),
        evidence: format!(
            "{family} rule {} is for everything, is asked before multihome's {before}{ends}{beside}",
            rule.display(names)
        ),
        consequence: format!("{family} answers of {} {door}", uplinks.join(", ")),
        remedy: if route.is_none() {
            "take it away, or let it ask for less; who made it may do so again"
        } else if companion.is_some() {
            "give both priorities behind multihome's; who made them may do so again"
        } else {
            "give it a priority behind multihome's; who made it may do so again"
        }
        .into(),
        commands,
    }
}

// ===== networks =====

fn gateway_silent(uplink: &str, neighbour: &Neighbour) -> Words {
    let gateway = neighbour.address;
    let target = match gateway {
        IpAddr::V6(a) if is_link_local(a) => format!("{gateway}%{}", word(uplink)),
        _ => format!("-I {} {gateway}", word(uplink)),
    };
    let has_failed = neighbour.has_failed();
    Words {
        subject: uplink.to_owned(),
        evidence: format!(
            "its gateway {gateway} {} ({})",
            if has_failed { "does not answer" } else { "has not answered yet" },
            neighbour.state_word()
        ),
        consequence: if has_failed {
            format!("nothing that leaves by {uplink} gets any further")
        } else {
            "this says nothing yet: look again in some seconds".into()
        },
        remedy: "see whether it answers now, and whether the address is right".into(),
        commands: vec![
            format!("ping -c 3 {target}"),
            format!("ip neigh show to {gateway} dev {}", word(uplink)),
        ],
    }
}

fn is_link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

// ===== programs =====

fn of_networkd(fact: &Fact) -> Words {
    let restart = "systemctl restart systemd-networkd".to_owned();
    match fact {
        Fact::NetworkdForeignRules => Words {
            subject: "systemd-networkd".into(),
            evidence: "ManageForeignRoutingPolicyRules is yes, as it is by default".into(),
            consequence: "it deletes multihome's rules when it configures a link; `multihome run` \
                          puts them back, and without it they are gone"
                .into(),
            remedy: "install the drop-in that comes with multihome".into(),
            commands: vec![
                "install -D -m 644 /usr/share/doc/multihome/networkd/50-multihome.conf \
                 /etc/systemd/networkd.conf.d/50-multihome.conf"
                    .into(),
                restart,
            ],
        },
        _ => Words {
            subject: "systemd-networkd".into(),
            evidence: "ManageForeignRoutes is no".into(),
            consequence: "systemd 257 was seen to lose the IPv6 defaults of router advertisements \
                          when it is restarted, until the routers advertise themselves again"
                .into(),
            remedy: "take it out of networkd.conf; ManageForeignRoutingPolicyRules=no is all that \
                     multihome wants"
                .into(),
            commands: vec![restart],
        },
    }
}

fn wildcard_udp(sockets: &[UdpSocket]) -> Words {
    let who = |s: &UdpSocket| match &s.program {
        Some(program) => format!("{} ({program})", s.port),
        None => format!("{} (uid {})", s.port, s.uid),
    };
    let list: Vec<String> = sockets.iter().map(who).collect();
    Words {
        subject: "UDP servers".into(),
        evidence: format!("listening on every address: port {}", list.join(", ")),
        consequence:
            "one that does not keep the address that it was asked on (IP_PKTINFO) answers \
                      from main's, and who asked another waits in vain; no rule can mend that"
                .into(),
        remedy: "if it does, let it listen on each address by itself".into(),
        ..Words::default()
    }
}

// ===== helpers =====

/// The links by which a route leaves.
fn leaves_by(route: &Route, names: &Names) -> String {
    let links: Vec<_> = route.hops.iter().map(|h| names.link(h.link).into_owned()).collect();
    links.join(", ")
}
