//! What can be found: the evidence, without a word about it.

use std::net::IpAddr;

use serde::Serialize;

use crate::conflict::Conflict;
use crate::model::host::{Cloud, UdpSocket};
use crate::model::{Neighbour, Route, Rule};
use crate::plan::Note;
use crate::prefix::{Family, Prefix};
use crate::rival::Asked;
use crate::rival::Rival;
use crate::verify::Finding;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Something does not work.
    Error,
    /// Something does not work for some, or will not when something happens that does happen.
    Warning,
    /// Worth knowing.
    Note,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The kernel could not be read completely: why.
    Incomplete(String),
    /// Somebody else uses our numbers.
    Conflict(Conflict),
    /// Changes are pending.
    NotInSync {
        /// How many.
        changes: usize,
        /// Whether anything of ours is there at all.
        anything: bool,
        /// Whether answers have several doors to choose from.
        several: bool,
        /// How many answers are wrong as it stands; none where that cannot be told.
        wrong: Option<usize>,
    },
    /// Answers are wrong, and stay wrong when all of multihome's is there.
    WrongAnswers {
        /// The first of them.
        first: Box<Finding>,
        /// The rule of somebody else's without which that would be right.
        remedy: Option<Box<Rule>>,
        /// The links whose addresses they are from.
        owners: Vec<u32>,
        /// How many.
        wrong: usize,
        /// Of how many.
        asked: usize,
        /// How many changes are pending, none of which would mend it.
        pending: usize,
    },
    /// A copy in an uplink's table has other metrics than its original.
    MetricsDrift {
        /// What is there.
        held: Route,
        /// What should be.
        wanted: Route,
    },
    /// Somebody else does the same job.
    SameJob(Rival),
    /// What the plan notes.
    Plan(Note),
    /// Main refuses what it has no route for, which ends the look-up before our rules.
    MainRefuses {
        /// The route.
        route: Route,
        /// Main's default that is not asked because of it.
        behind: Option<Route>,
        /// Whether a default could be asked before it: one with a smaller metric.
        has_room: bool,
    },
    /// An uplink that is down, or has no carrier.
    Down {
        /// The uplink.
        uplink: String,
        /// Whether it is up, and has no carrier.
        up: bool,
    },
    /// The kernel has no rules of a family.
    NoRules {
        /// Which.
        family: Family,
        /// `uname -r`, if known.
        release: Option<String>,
        /// A table that only a kernel with rules can have: then they were deleted.
        table: Option<u32>,
    },
    /// No rule looks up main for everything, or none that is reached.
    MainRule {
        /// In which family.
        family: Family,
        /// The rule that refuses everything before.
        refusing: Option<Rule>,
    },
    /// Rules have no protocol number in this kernel.
    NoRuleProtocol {
        /// `uname -r`.
        release: String,
    },
    /// What is sent to the host's own addresses is not looked up first.
    LocalRule {
        /// In which family.
        family: Family,
        /// The rule for it, if there is one.
        rule: Option<Rule>,
        /// The first of ours, which is asked before it.
        before: u32,
    },
    /// A rule for everything is asked before ours, and leads out by another door.
    CatchAll {
        /// The rule.
        rule: Rule,
        /// The route that it ends with; none for a refusal.
        route: Option<Route>,
        /// The uplinks whose answers it takes.
        uplinks: Vec<String>,
        /// Our last rule that would lead home.
        before: u32,
        /// The other one of such a pair (wg-quick): what main has besides a default goes by main.
        companion: Option<Box<Rule>>,
    },
    /// A gateway does not answer.
    GatewaySilent {
        /// The uplink.
        uplink: String,
        /// What the kernel knows of it.
        neighbour: Neighbour,
        /// Whether it is of the uplink's best way.
        best: bool,
    },
    /// One prefix on two cards, and two gateways behind one address.
    SamePrefix {
        /// The two uplinks.
        uplinks: [String; 2],
        /// The prefix that both are in.
        prefix: Prefix,
        /// The gateway of both.
        gateway: IpAddr,
        /// Its hardware address on each.
        lladdrs: [String; 2],
    },
    /// Cards in one subnet answer for each other's addresses.
    ArpFlux {
        /// The two links.
        links: [String; 2],
        /// The subnet.
        prefix: Prefix,
        /// Those of them that answer for all addresses of the host.
        answering: Vec<String>,
        /// Whose cloud this is, where a fabric answers in place of the cards.
        cloud: Option<Cloud>,
    },
    /// Strict reverse path filtering.
    RpFilter {
        /// The uplink.
        uplink: String,
        /// Whether `all` says so, not the link.
        by_all: bool,
        /// Whom it hits.
        strict: Strict,
        /// `IPReversePathFilter`: what it has dropped since boot, if known.
        dropped: Option<u64>,
    },
    /// A tunnel's rule for what bears no mark, a strict filter, and no mark in its look-up.
    SrcValidMark {
        /// The uplinks whose filter is strict.
        uplinks: Vec<String>,
        /// The rule.
        rule: Rule,
    },
    /// A link without a carrier whose routes are used all the same.
    LinkdownRoutes {
        /// The link.
        uplink: String,
        /// In which family.
        family: Family,
        /// Main's best default leaves by it, although there is another.
        takes_default: bool,
    },
    /// Secondary addresses that go with their primary.
    PromoteSecondaries {
        /// The link.
        uplink: String,
        /// The primary address.
        primary: IpAddr,
        /// What goes with it.
        secondaries: Vec<IpAddr>,
    },
    /// IPv6 addresses that went when the link did.
    KeepAddrOnDown {
        /// The uplink.
        uplink: String,
        /// What its rules are still for.
        prefixes: Vec<Prefix>,
    },
    /// Router advertisements that a forwarding host does not hear.
    AcceptRaForwarding {
        /// The link.
        uplink: String,
        /// Whether its gateway is gone already.
        lost: bool,
    },
    /// systemd-networkd deletes rules that are not its own.
    NetworkdForeignRules,
    /// systemd-networkd keeps its hands off routes, also off those that are its own.
    NetworkdForeignRoutes,
    /// Servers on the wildcard address.
    WildcardUdp {
        /// The sockets.
        sockets: Vec<UdpSocket>,
    },
}

/// Whom a strict filter hits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strict {
    /// Who asks these addresses from afar: no rule leads their answers home.
    WithoutRules {
        /// The addresses.
        addresses: Vec<IpAddr>,
        /// Why there is none.
        absence: Absence,
    },
    /// What the host forwards, and what it does for containers behind it.
    Forwarding,
}

/// Why no rule of ours is there for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Absence {
    /// It will be made: a change is pending.
    Pending,
    /// The uplink is the `primary`, which has none.
    LeftToMain,
    /// Somebody else has the uplink's numbers ([`Conflict`]).
    Frozen,
}

// ===== impl Fact =====

impl Fact {
    /// The name of what was found; it stays.
    #[must_use]
    pub fn id(&self) -> &'static str {
        match self {
            Fact::Incomplete(_) => "incomplete",
            Fact::Conflict(_) => "conflict",
            Fact::NotInSync { .. } => "not-in-sync",
            Fact::WrongAnswers { .. } => "wrong-answers",
            Fact::MetricsDrift { .. } => "metrics-drift",
            Fact::SameJob(_) => "same-job",
            Fact::Plan(note) => match note {
                Note::KeepsGroup { .. } => "link-group",
                Note::NoGateway { .. } => "no-gateway",
                Note::SeveralGateways { .. } => "several-gateways",
                Note::MainRefuses { .. } => "main-refuses",
                Note::PrimaryAbsent { .. } => "primary-absent",
                Note::FileRefused(_) => "file-refused",
                Note::InterfaceAbsent { .. } => "interface-absent",
                Note::Rival(_) => "same-job",
                Note::Overtaken(_) | Note::Captured { .. } => "catch-all-rule",
                Note::ReturnPath(_) => "return-path",
                Note::Sysctl(_) => "sysctl",
                Note::SteerAbsent { .. } => "steer-absent",
            },
            Fact::MainRefuses { .. } => "main-refuses",
            Fact::Down { .. } => "uplink-down",
            Fact::NoRules { .. } => "kernel-rules",
            Fact::NoRuleProtocol { .. } => "kernel-rule-protocol",
            Fact::LocalRule { .. } => "local-rule",
            Fact::MainRule { .. } => "main-rule",
            Fact::CatchAll { .. } => "catch-all-rule",
            Fact::GatewaySilent { .. } => "gateway-silent",
            Fact::SamePrefix { .. } => "same-prefix",
            Fact::ArpFlux { .. } => "arp-flux",
            Fact::RpFilter { .. } => "rp-filter",
            Fact::SrcValidMark { .. } => "src-valid-mark",
            Fact::LinkdownRoutes { .. } => "linkdown-routes",
            Fact::PromoteSecondaries { .. } => "promote-secondaries",
            Fact::KeepAddrOnDown { .. } => "keep-addr-on-down",
            Fact::AcceptRaForwarding { .. } => "accept-ra-forwarding",
            Fact::NetworkdForeignRules => "networkd-foreign-rules",
            Fact::NetworkdForeignRoutes => "networkd-foreign-routes",
            Fact::WildcardUdp { .. } => "wildcard-udp",
        }
    }

    /// How much it matters.
    #[must_use]
    pub fn severity(&self) -> Severity {
        use Severity::{Error, Note as Worth, Warning};
        let warn_if = |harms: bool| if harms { Warning } else { Worth };
        match self {
            Fact::Conflict(_)
            | Fact::WrongAnswers { .. }
            | Fact::NoRules { .. }
            | Fact::NoRuleProtocol { .. }
            | Fact::LocalRule { .. }
            | Fact::MainRule { .. }
            | Fact::CatchAll { .. } => Error,
            // The answer may still come, or another way is taken.
            Fact::GatewaySilent { neighbour, best, .. } => match neighbour.has_failed() {
                true if *best => Error,
                failed => warn_if(failed),
            },
            // With one uplink main answers by the right door as well, unless something is in front.
            Fact::NotInSync { anything, several, wrong, .. } => {
                warn_if(*anything || *several || wrong.is_some_and(|n| n > 0))
            }
            // Two who do the same job are one too many; it does harm only where the other one's rules
            // are asked, and have another answer.
            Fact::SameJob(rival) => {
                warn_if(rival.asked != Asked::Never && !rival.detours.is_empty())
            }
            Fact::Plan(note) => match note {
                // Addresses that do not answer, and what the operator asked for and is not done.
                Note::NoGateway { .. }
                | Note::SeveralGateways { .. }
                | Note::MainRefuses { .. }
                | Note::PrimaryAbsent { .. }
                | Note::ReturnPath(_)
                | Note::Sysctl(_)
                | Note::SteerAbsent { .. }
                | Note::Captured { .. } => Warning,
                Note::KeepsGroup { .. }
                | Note::FileRefused(_)
                | Note::InterfaceAbsent { .. }
                | Note::Overtaken(_)
                | Note::Rival(_) => Worth,
            },
            Fact::ArpFlux { cloud, .. } => warn_if(cloud.is_none()),
            Fact::RpFilter { strict, .. } => warn_if(*strict != Strict::Forwarding),
            Fact::LinkdownRoutes { takes_default, .. } => warn_if(*takes_default),
            Fact::Incomplete(_)
            | Fact::MetricsDrift { .. }
            | Fact::MainRefuses { .. }
            | Fact::Down { .. }
            | Fact::SamePrefix { .. }
            | Fact::SrcValidMark { .. }
            | Fact::KeepAddrOnDown { .. }
            | Fact::AcceptRaForwarding { .. } => Warning,
            Fact::PromoteSecondaries { .. }
            | Fact::NetworkdForeignRules
            | Fact::NetworkdForeignRoutes
            | Fact::WildcardUdp { .. } => Worth,
        }
    }
}
