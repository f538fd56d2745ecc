//! What is said of somebody else who does the same job: who it is, what its rules do, and how
//! to switch it off.

use std::fmt::Write as _;

use multihome_core::config::write::toml_key;
use multihome_core::model::names::word;
use multihome_core::model::route::{RTPROT_BOOT, RTPROT_STATIC};
use multihome_core::model::{Names, Rule};
use multihome_core::rival::{Asked, Detour, Door, OnlyWay, Rival, Tool};
use serde::Serialize;

use super::words;
pub(super) use super::wrap;
use crate::output::Style;

/// Somebody else who does the same job.
#[derive(Debug, Serialize)]
pub struct RivalStatus {
    /// Which tool.
    pub tool: Tool,
    /// Its name.
    pub name: &'static str,
    /// Whether more than its numbers says so.
    pub certain: bool,
    /// The uplinks whose addresses its rules are from.
    pub uplinks: Vec<String>,
    /// Its rules as `ip rule` prints them.
    pub rules: Vec<String>,
    /// When they are asked, seen from ours.
    pub asked: Asked,
    /// What they send elsewhere than ours would.
    pub detours: Vec<DetourStatus>,
    /// How to be rid of it.
    pub cure: Cure,
}

/// Something that it sends elsewhere.
#[derive(Debug, Serialize)]
pub struct DetourStatus {
    /// The source.
    pub from: String,
    /// The network that it is for.
    pub to: String,
    /// An address of it, for `ip route get`.
    pub example: String,
    /// By which door it sends it.
    pub theirs: String,
    /// By which door we would.
    pub ours: String,
}

/// How to be rid of it.
#[derive(Debug, Default, Serialize)]
pub struct Cure {
    /// What there is to mind.
    pub mind: Vec<String>,
    /// What the commands are for.
    pub what: String,
    /// In this order.
    pub commands: Vec<String>,
    /// And these, where its rules stay when it is gone.
    pub deletions: Vec<String>,
}

/// Rules, detours and commands that are shown; `--json` has all.
const SHOWN: usize = 4;
/// `RTPROT_UNSPEC`.
const UNSPEC: u8 = 0;

/// One line for the log, the same for as long as it is the same tool: what else there is to say
/// may change while it works.
pub fn note(rival: &Rival) -> String {
    let name = rival.tool.name();
    format!("{name} does the same job: `multihome status` says what to do about it")
}

// ===== impl RivalStatus =====

impl RivalStatus {
    /// What is said of `rival`.
    pub fn new(rival: &Rival, names: &Names) -> RivalStatus {
        RivalStatus {
            tool: rival.tool,
            name: rival.tool.name(),
            certain: rival.certain,
            uplinks: rival.uplinks.clone(),
            rules: rival.rules.iter().map(|r| r.display(names)).collect(),
            asked: rival.asked,
            detours: rival.detours.iter().map(DetourStatus::new).collect(),
            cure: Cure::new(rival, names),
        }
    }

    /// The line at the head of `status`.
    pub fn headline(&self) -> String {
        format!("{} does the same job: see the end", self.who())
    }

    /// Who it is and for whom its rules are.
    pub fn head(&self) -> String {
        format!("{} has rules for {}", self.who(), words(&self.uplinks))
    }

    /// What its rules do beside ours, with an example.
    pub fn meaning(&self) -> String {
        let asked = asked(self.asked, !self.detours.is_empty());
        match self.detours.first() {
            Some(detour) => format!("{asked} {}", detour.text()),
            None => asked.to_owned(),
        }
    }

    fn who(&self) -> String {
        let probably = if self.certain { "" } else { " (probably)" };
        format!("{}{probably}", self.name)
    }

    /// As text for a terminal.
    pub fn write(&self, out: &mut String, style: Style) {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "\n{} {}", style.warn("the same job:"), self.head());
        list(out, &self.rules, SHOWN, "`ip rule` has them");
        let has_detours = !self.detours.is_empty();
        wrap(out, "  ", "  ", asked(self.asked, has_detours));
        for detour in self.detours.iter().take(SHOWN) {
            wrap(out, "    ", "      ", &detour.text());
        }
        if self.detours.len() > SHOWN {
            let _ = writeln!(out, "    and {} more: `--json` has them", self.detours.len() - SHOWN);
        }
        for text in &self.cure.mind {
            wrap(out, "  ", "  ", text);
        }
        wrap(out, "  ", "  ", &format!("{}:", self.cure.what));
        for command in &self.cure.commands {
            let _ = writeln!(out, "    {command}");
        }
        list(out, &self.cure.deletions, 2 * SHOWN, "`--json` has them");
    }
}

/// What it means that rules are asked when they are.
fn asked(asked: Asked, has_detours: bool) -> &'static str {
    match (asked, has_detours) {
        (Asked::First, true) => "They are asked before multihome's, and differ:",
        (Asked::First, false) => "They are asked before multihome's, with the same answers.",
        (Asked::Between, true) => "They are asked before multihome's tables, and differ:",
        (Asked::Between, false) => {
            "They are asked before multihome's tables, with the same answers."
        }
        (Asked::Alone, _) => "multihome makes no rules for these addresses: they answer alone.",
        (Asked::Never, true) => {
            "They stand behind multihome's and are not asked. Alone they would differ:"
        }
        (Asked::Never, false) => "They stand behind multihome's and are not asked.",
    }
}

/// Lines to be pasted: they are never broken.
fn list(out: &mut String, lines: &[String], shown: usize, more: &str) {
    for line in lines.iter().take(shown) {
        let _ = writeln!(out, "    {line}");
    }
    if lines.len() > shown {
        let _ = writeln!(out, "    and {} more: {more}", lines.len() - shown);
    }
}

// ===== impl DetourStatus =====

impl DetourStatus {
    fn new(detour: &Detour) -> DetourStatus {
        DetourStatus {
            from: detour.from.to_string(),
            to: detour.to.to_string(),
            example: detour.example.to_string(),
            theirs: door(&detour.theirs),
            ours: door(&detour.ours),
        }
    }

    fn text(&self) -> String {
        let to = match self.to.as_str() {
            "0.0.0.0/0" | "::/0" => "anywhere else",
            to => to,
        };
        format!("{} to {to}: {}, not {}", self.from, self.theirs, self.ours)
    }
}

fn door(door: &Door) -> String {
    match door {
        Door::Out { dev, via: Some(gateway) } => format!("by {dev} via {gateway}"),
        Door::Out { dev, via: None } => format!("by {}", word(dev)),
        Door::Refused => "refused".into(),
    }
}

// ===== impl Cure =====

impl Cure {
    fn new(rival: &Rival, names: &Names) -> Cure {
        let mut cure =
            Cure { mind: mind(rival), what: "To switch it off".into(), ..Cure::default() };
        let mut add = |lines: &[&str]| {
            for line in lines {
                if line.contains("IFACE") {
                    let of_each =
                        rival.uplinks.iter().map(|name| line.replace("IFACE", &word(name)));
                    cure.commands.extend(of_each);
                } else {
                    cure.commands.push((*line).to_owned());
                }
            }
        };
        let mut its_rules_stay = false;
        match rival.tool {
            Tool::Ec2NetUtils => add(&[
                "systemctl stop 'refresh-policy-routes@*.timer'",
                "systemctl mask policy-routes@.service refresh-policy-routes@.timer",
                "rm -r /run/systemd/network/70-IFACE.network*",
                "networkctl reload",
            ]),
            Tool::Ec2NetUtils1 => {
                its_rules_stay = true;
                add(&["sed -i s/EC2SYNC=yes/EC2SYNC=no/ \
                       /etc/sysconfig/network-scripts/ifcfg-IFACE"]);
            }
            Tool::NmCloudSetup => add(&[
                "systemctl disable --now nm-cloud-setup.timer nm-cloud-setup.service",
                "nmcli device reapply IFACE",
            ]),
            Tool::CloudNetconfig => {
                its_rules_stay = true;
                add(&[
                    "systemctl disable --now cloud-netconfig.timer",
                    "sed -i '/^CLOUD_NETCONFIG_MANAGE=/s/=.*/=no/' /etc/default/cloud-netconfig",
                ]);
            }
            Tool::CloudInit => add(&[
                "echo 'network: {config: disabled}' > /etc/cloud/cloud.cfg.d/99-no-net.cfg",
                "netplan set ethernets.IFACE.routing-policy=null",
                "netplan set ethernets.IFACE.routes=null",
                // Not `netplan apply`: it takes every card down and up, and systemd-networkd 252 was
                // seen not to bring an address back after it.
                "netplan generate",
                "networkctl reload",
            ]),
            Tool::AwsVpcCni => {
                cure.what = "To leave its cards to it, in /etc/multihome/config.toml".into();
                for name in &rival.uplinks {
                    let section = format!("[interface.{}]", toml_key(name));
                    cure.commands.extend([section, "manage = false".into()]);
                }
            }
            Tool::OciUtils => {
                its_rules_stay = true;
                add(&[
                    "printf '[vnic]\\nenabled = false\\n' > /etc/oci-utils.conf.d/90-no-vnic.conf",
                    "systemctl restart ocid.service",
                ]);
            }
            Tool::IfupdownMulti => add(&[
                "ifdown IFACE",
                "sed -i '/^[[:space:]]*multi_/d' /etc/network/interfaces",
                "ifup IFACE",
            ]),
            Tool::Pbrd => {
                cure.what = "To switch it off for what the host itself sends".into();
                add(&[
                    "vtysh -c 'show pbr interface lo'",
                    "vtysh -c 'configure terminal' -c 'interface lo' -c 'no pbr-policy NAME'",
                ]);
            }
            Tool::Unknown => {
                its_rules_stay = true;
                cure.what = "To take them away".into();
            }
        }
        if its_rules_stay {
            cure.deletions = rival.rules.iter().map(|r| deletion(r, names)).collect();
        }
        cure
    }
}

/// The command that takes a rule away.
pub(super) fn deletion(rule: &Rule, names: &Names) -> String {
    let (family, priority) = (rule.family.flag(), rule.priority);
    format!("ip {family} rule del pref {priority} {}", rule.selector_and_action(names))
}

/// What there is to mind before it is switched off.
fn mind(rival: &Rival) -> Vec<String> {
    let mut mind = Vec::new();
    if !rival.certain {
        mind.push(
            "Only its numbers give it away. If they are from a file of your own, take them out there."
                .to_owned(),
        );
    }
    const ADDRESSES: &str = "It also puts the secondary IPv4 addresses on the cards. Without it \
                             nobody does: first give them to whoever configures the card.";
    let more: &[&str] = match rival.tool {
        Tool::Ec2NetUtils | Tool::NmCloudSetup | Tool::Ec2NetUtils1 => &[ADDRESSES],
        Tool::CloudNetconfig => &[
            "When a card goes down it deletes every rule that is not from one of the host's \
             addresses, multihome's for whole prefixes, too.",
            ADDRESSES,
        ],
        Tool::CloudInit => &[
            "Switched off, cloud-init leaves the network alone at boot and when a card is plugged \
               in. `routes=null` takes all routes of the card out of netplan's files: put your own \
               in again.",
        ],
        Tool::OciUtils => {
            &["When it takes a card's configuration away it deletes every rule with the card's \
               addresses, multihome's too."]
        }
        Tool::IfupdownMulti => &[
            "Its `multi_gateway` goes too: first set `gateway` for each interface in multihome's \
               configuration. `ifdown` takes the card down: not over the connection that you work \
               on.",
        ],
        Tool::AwsVpcCni => &["It needs its rules for the pods of these cards."],
        Tool::Unknown => &[writer(&rival.rules)],
        Tool::Pbrd => &[],
    };
    mind.extend(more.iter().map(|text| (*text).to_owned()));
    if rival.tool == Tool::AwsVpcCni {
        return mind; // it stays
    }
    mind.extend(rival.only_way.iter().map(|OnlyWay { uplink, family, gateway }| {
        format!(
            "Only its table knows the {family} gateway of {}: unless somebody else brings it, \
             set `gateway = \"{gateway}\"` for interface.{} in multihome's configuration.",
            word(uplink),
            toml_key(uplink)
        )
    }));
    mind
}

/// Where to look for whoever makes rules that no known tool makes.
fn writer(rules: &[Rule]) -> &'static str {
    let all = |protocol| rules.iter().all(|r| r.protocol == protocol);
    if all(RTPROT_STATIC) {
        "They are `proto static`: look in /etc/netplan, /etc/systemd/network and \
         /etc/NetworkManager/system-connections, or they come back."
    } else if rules.iter().all(|r| matches!(r.protocol, UNSPEC | RTPROT_BOOT)) {
        "They were made with `ip`: look for a script, a hook of the network manager or a line in \
         /etc/network/interfaces, or they come back."
    } else {
        "Look for who makes them, or they come back."
    }
}

#[cfg(test)]
mod tests {
    use super::super::WIDTH;
    use super::*;

    #[test]
    fn text_fits_a_terminal() {
        let mut out = String::new();
        for text in [asked(Asked::Between, true), asked(Asked::Never, true), &"word ".repeat(40)] {
            wrap(&mut out, "  ", "  ", text);
        }
        assert!(out.lines().all(|l| l.chars().count() <= WIDTH && l.starts_with("  ")), "{out}");
    }
}
