//! What each tool is known to write.
//!
//! Numbers alone are weak evidence where they are round (tables from 100 or 10000): there
//! something else must fit too, as the metric of main's default or the name of the link, or the
//! rule stays somebody's. What is known of each tool stands at its test in [`of`]; the versions
//! that really ran are in docs/network-managers.md.

use serde::Serialize;

use crate::model::names::TABLE_MAIN;
use crate::model::route::{RTPROT_BOOT, RTPROT_DHCP, RTPROT_RA, RTPROT_STATIC};
use crate::model::{Action, Route, Rule, Snapshot};
use crate::plan::{Plan, Planned};
use crate::prefix::Family;
use crate::ways::is_live;

/// A tool that does the same job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tool {
    /// amazon-ec2-net-utils 2.x, by systemd-networkd's files.
    Ec2NetUtils,
    /// ec2-net-utils 1.x, by dhclient's hooks.
    #[serde(rename = "ec2-net-utils-1")]
    Ec2NetUtils1,
    /// nm-cloud-setup of NetworkManager.
    NmCloudSetup,
    /// SUSE's cloud-netconfig.
    CloudNetconfig,
    /// cloud-init, by netplan.
    CloudInit,
    /// The AWS VPC CNI of a Kubernetes node.
    AwsVpcCni,
    /// Oracle's oci-utils.
    OciUtils,
    /// Debian's ifupdown-multi.
    IfupdownMulti,
    /// FRR's pbrd.
    Pbrd,
    /// None of those: a script, or somebody's configuration.
    Unknown,
}

/// `RTPROT_UNSPEC`: what `ip rule` and netlink libraries write unless told otherwise.
const UNSPEC: u8 = 0;
/// `RTPROT_ZEBRA`.
const ZEBRA: u8 = 11;

/// What signatures are compared with.
pub(super) struct Facts<'a> {
    snapshot: &'a Snapshot,
    plan: &'a Plan,
    /// The defaults by uplinks that others keep: the link, and the route.
    defaults: Vec<(u32, &'a Route)>,
    /// Whether the AWS VPC CNI keeps marked packets with main.
    has_vpc_cni: bool,
}

impl<'a> Facts<'a> {
    pub(super) fn of(snapshot: &'a Snapshot, plan: &'a Plan) -> Facts<'a> {
        let is_uplink = |link| plan.uplinks.iter().any(|p| p.uplink.link == link);
        let defaults = snapshot.routes().filter(|r| r.dst.is_default() && is_live(r));
        let defaults = defaults.flat_map(|r| r.hops.iter().map(move |h| (h.link, r)));
        Facts {
            snapshot,
            plan,
            defaults: defaults.filter(|(link, _)| is_uplink(*link)).collect(),
            has_vpc_cni: snapshot.rules().any(is_vpc_cni_mark),
        }
    }

    /// Whether a table leads out by an uplink, in either family: a tool has one table for both,
    /// and some have no IPv6 default in it.
    fn leads_out(&self, table: u32) -> bool {
        self.defaults.iter().any(|(_, r)| r.table == table)
            || self.plan.uplinks.iter().any(|p| p.table == Some(table))
    }

    /// The metrics of the defaults in a table by an uplink that were learnt from a server or a
    /// router.
    fn dynamic<'b>(&'b self, table: u32, of: &'b [&Planned]) -> impl Iterator<Item = u32> + 'b {
        let by_one = move |link: u32| of.iter().any(|p| p.uplink.link == link);
        let fits =
            move |r: &Route| r.table == table && matches!(r.protocol, RTPROT_DHCP | RTPROT_RA);
        let found = self.defaults.iter().filter(move |(link, r)| by_one(*link) && fits(r));
        found.map(|(_, r)| r.metric)
    }
}

/// Which tool made a rule from addresses of the uplinks `of`, and whether that is certain; none
/// when the rule leads nowhere.
pub(super) fn of(facts: &Facts<'_>, rule: &Rule, of: &[&Planned]) -> Option<(Tool, bool)> {
    let table = rule.table()?;
    let tool = named(facts, rule, table, of);
    tool.or_else(|| facts.leads_out(table).then_some((Tool::Unknown, true)))
}

fn named(facts: &Facts<'_>, rule: &Rule, table: u32, of: &[&Planned]) -> Option<(Tool, bool)> {
    if let Some(tool) = by_numbers(rule) {
        let certain = match tool {
            // Its defaults are DHCP's and the router's, with the metric 512 + N for the table
            // 10000 + N (2.7), or 512 + 10 * N (2.3, 2.4). An operator's file has another metric, or
            // a gateway of its own.
            Tool::Ec2NetUtils => {
                let number = table - 10_000;
                facts.dynamic(table, of).any(|m| m == 512 + number || m == 512 + 10 * number)
            }
            // Table 30000 + index for networks, 30400 + index for the default.
            Tool::CloudNetconfig => {
                let index = table - if table > 30_400 { 30_400 } else { 30_000 };
                if !of.iter().any(|p| p.uplink.link == index) {
                    return None;
                }
                true
            }
            _ => true,
        };
        return Some((tool, certain));
    }
    let is_named = |name: &str| of.iter().any(|p| p.uplink.name == name);
    let table_name = facts.snapshot.table_names.get(&table);
    match (rule.protocol, table) {
        // Table 10000 + N for ethN, and rules without a priority.
        (UNSPEC | RTPROT_BOOT, 10_000..=10_999) if is_named(&format!("eth{}", table - 10_000)) => {
            Some((Tool::Ec2NetUtils1, true))
        }
        // Table 100 + N for the card N, counted from 0, whose route-metric is 100 * (N + 1).
        (RTPROT_STATIC, 101..=199)
            if facts.dynamic(TABLE_MAIN, of).any(|m| m == (table - 99) * 100) =>
        {
            Some((Tool::CloudInit, true))
        }
        // 32765 for the first address of a card; pods' addresses are none of the host's.
        _ if facts.has_vpc_cni && matches!(rule.priority, 1536 | 32_765) => {
            Some((Tool::AwsVpcCni, true))
        }
        // Tables `ort2`, or `ort0vl1` on bare metal, numbered as they were free.
        _ if table_name.is_some_and(|name| is_oci(name)) => Some((Tool::OciUtils, true)),
        _ => None,
    }
}

/// The tools that their numbers give away.
pub(super) fn by_numbers(rule: &Rule) -> Option<Tool> {
    let table = rule.table()?;
    let same = rule.priority == table;
    let host = rule.from.is_some_and(|p| p.is_host());
    let v4 = rule.family == Family::V4;
    Some(match (rule.protocol, table) {
        // 10000 + device + 100 * card, for secondary cards only: from addresses and delegated
        // prefixes.
        (RTPROT_STATIC, 10_001..=11_999) if same => Tool::Ec2NetUtils,
        // 30200 + N for networks, 30400 + N for the default, N below 100, and main in between.
        (RTPROT_STATIC, 30_200..=30_299 | 30_400..=30_499) if same && host && v4 => {
            Tool::NmCloudSetup
        }
        (UNSPEC | RTPROT_BOOT, 30_001..=30_398 | 30_401..=31_399) if same && host => {
            Tool::CloudNetconfig
        }
        (UNSPEC | RTPROT_BOOT, _) if rule.priority == table.wrapping_add(25_357) => {
            Tool::IfupdownMulti
        }
        (ZEBRA, _) => Tool::Pbrd,
        _ => return None,
    })
}

/// Whether a rule without a source belongs to a tool's way of answering: main without its defaults,
/// between the tool's own tables.
pub(super) fn belongs(tool: Tool, rule: &Rule) -> bool {
    let number = match tool {
        Tool::NmCloudSetup => (30_350, RTPROT_STATIC),
        Tool::CloudNetconfig => (30_399, UNSPEC),
        _ => return false,
    };
    (rule.priority, rule.protocol) == number
        && rule.from.is_none()
        && rule.action == Action::Lookup(TABLE_MAIN)
}

/// `fwmark 0x80/0x80 lookup main`, whatever the mark is set to.
fn is_vpc_cni_mark(rule: &Rule) -> bool {
    rule.priority == 1024
        && rule.fwmark.is_some_and(|(mark, mask)| mark == mask)
        && rule.action == Action::Lookup(TABLE_MAIN)
}

fn is_oci(name: &str) -> bool {
    let digits = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_digit());
    let Some(rest) = name.strip_prefix("ort") else { return false };
    digits(rest) || rest.split_once("vl").is_some_and(|(card, tag)| digits(card) && digits(tag))
}

// ===== impl Tool =====

impl Tool {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Tool::Ec2NetUtils => "amazon-ec2-net-utils",
            Tool::Ec2NetUtils1 => "ec2-net-utils 1.x",
            Tool::NmCloudSetup => "nm-cloud-setup",
            Tool::CloudNetconfig => "cloud-netconfig",
            Tool::CloudInit => "cloud-init",
            Tool::AwsVpcCni => "the AWS VPC CNI",
            Tool::OciUtils => "oci-utils",
            Tool::IfupdownMulti => "ifupdown-multi",
            Tool::Pbrd => "FRR's pbrd",
            Tool::Unknown => "somebody else",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oci_tables_are_known_by_their_names() {
        for name in ["ort2", "ort0vl1", "ort12vl345"] {
            assert!(is_oci(name), "{name}");
        }
        for name in ["ort", "orthanc", "ort2x", "ort1vl", "port2", "main"] {
            assert!(!is_oci(name), "{name}");
        }
    }
}
