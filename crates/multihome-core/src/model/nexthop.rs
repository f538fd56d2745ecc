//! Nexthop objects (`RTM_NEWNEXTHOP`): what a route with `nhid` leads to.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A nexthop object or a group of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nexthop {
    /// `NHA_ID`.
    pub id: u32,
    /// `NHA_OIF`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oif: Option<u32>,
    /// `NHA_GATEWAY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// `NHA_GROUP`: identifiers and weights (1 to 256) of the members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<(u32, u16)>,
    /// `NHA_BLACKHOLE`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blackhole: bool,
    /// `nh_flags`: `RTNH_F_` bits.
    #[serde(default)]
    pub flags: u8,
}
