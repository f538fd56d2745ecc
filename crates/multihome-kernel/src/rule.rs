//! Rules: `RTM_NEWRULE` and `RTM_DELRULE` (`fib_nl_fill_rule`, `fib_nl2rule`).
//!
//! A dump states some things that mean nothing: a suppressed prefix length of -1, and
//! since Linux 6.14 a full mask beside a single port. It also states what is condition
//! and not identity: whether a goto's target or a named interface exists at the moment
//! (`FIB_RULE_UNRESOLVED`, `FIB_RULE_IIF_DETACHED`, `FIB_RULE_OIF_DETACHED`). Both are
//! left out. Attributes that the model has no field for are kept as bytes, and sent back
//! as they came.
//!
//! A delete request takes the first rule that has all that the request names
//! (`rule_find`), so every field is named, protocol and priority always.

use multihome_core::Prefix;
use multihome_core::model::rule::{DSCP_FULL, FLOWLABEL_FULL};
use multihome_core::model::{Action, Rule};

use crate::address::{family, number};
use crate::uapi::{
    FIB_RULE_INVERT, FRA_DPORT_MASK, FRA_DPORT_RANGE, FRA_DSCP, FRA_DSCP_MASK, FRA_DST, FRA_FLOW,
    FRA_FLOWLABEL, FRA_FLOWLABEL_MASK, FRA_FWMARK, FRA_FWMASK, FRA_GOTO, FRA_IIFNAME, FRA_IP_PROTO,
    FRA_L3MDEV, FRA_OIFNAME, FRA_PAD, FRA_PRIORITY, FRA_PROTOCOL, FRA_SPORT_MASK, FRA_SPORT_RANGE,
    FRA_SRC, FRA_SUPPRESS_IFGROUP, FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_TUN_ID, FRA_UID_RANGE,
    NLM_F_CREATE, NLM_F_EXCL, RTM_DELRULE, RTM_GETRULE, RTM_NEWRULE,
};
use crate::wire::{
    Attrs, Malformed, Message, addr_of, short, split, str_of, u8_of, u16_pair_of, u32_of,
};

/// `struct fib_rule_hdr`.
const HEADER: usize = 12;

// ===== decode =====

/// A rule from the payload of `RTM_NEWRULE` or `RTM_DELRULE`; `None` for other families (those
/// of multicast routing have rules too).
///
/// # Errors
/// A sentence that names the rule as well as its bytes allow.
pub fn decode(payload: &[u8]) -> Result<Option<Rule>, Malformed> {
    let (h, attrs) = split::<HEADER>("fib_rule_hdr", payload)?;
    let Some(family) = family(h[0]) else { return Ok(None) };
    let mut rule = Rule::new(family, 0, Action::Nop);
    match fields(&mut rule, h, attrs) {
        Ok(()) => Ok(Some(rule)),
        Err(e) => Err(Malformed(format!(
            "an {family} rule of priority {} could not be decoded: {e}",
            rule.priority
        ))),
    }
}

fn fields(rule: &mut Rule, h: [u8; HEADER], attrs: Attrs<'_>) -> Result<(), Malformed> {
    let [family, dst_len, src_len, tos, table, _, _, action, ..] = h;
    let mut table = u32::from(table);
    let (mut mark, mut mask, mut target) = (None, None, 0);
    let (mut dscp, mut flowlabel) = ((None, DSCP_FULL), (None, FLOWLABEL_FULL));
    rule.protocol = 0;
    rule.tos = Some(tos).filter(|&tos| tos != 0);
    rule.not = u32::from_ne_bytes([h[8], h[9], h[10], h[11]]) & FIB_RULE_INVERT != 0;
    for attr in attrs {
        let (kind, bytes) = attr?;
        match kind {
            FRA_PRIORITY => rule.priority = u32_of("FRA_PRIORITY", bytes)?,
            FRA_TABLE => table = u32_of("FRA_TABLE", bytes)?,
            FRA_PROTOCOL => rule.protocol = u8_of("FRA_PROTOCOL", bytes)?,
            FRA_SRC => rule.from = prefix("FRA_SRC", family, bytes, src_len)?,
            FRA_DST => rule.to = prefix("FRA_DST", family, bytes, dst_len)?,
            FRA_IIFNAME => rule.iif = Some(str_of(bytes)),
            FRA_OIFNAME => rule.oif = Some(str_of(bytes)),
            FRA_FWMARK => mark = Some(u32_of("FRA_FWMARK", bytes)?),
            FRA_FWMASK => mask = Some(u32_of("FRA_FWMASK", bytes)?),
            FRA_GOTO => target = u32_of("FRA_GOTO", bytes)?,
            FRA_FLOW => rule.realms = Some(u32_of("FRA_FLOW", bytes)?),
            FRA_TUN_ID => rule.tun_id = tun_id(bytes)?,
            FRA_SUPPRESS_IFGROUP => {
                rule.suppress_ifgroup = unless_all_ones(u32_of("FRA_SUPPRESS_IFGROUP", bytes)?);
            }
            FRA_SUPPRESS_PREFIXLEN => {
                rule.suppress_prefixlength =
                    unless_all_ones(u32_of("FRA_SUPPRESS_PREFIXLEN", bytes)?);
            }
            FRA_L3MDEV => rule.l3mdev = u8_of("FRA_L3MDEV", bytes)? != 0,
            FRA_UID_RANGE => rule.uidrange = Some(uid_range(bytes)?),
            FRA_IP_PROTO => rule.ipproto = Some(u8_of("FRA_IP_PROTO", bytes)?),
            FRA_SPORT_RANGE => rule.sport = Some(u16_pair_of("FRA_SPORT_RANGE", bytes)?),
            FRA_DPORT_RANGE => rule.dport = Some(u16_pair_of("FRA_DPORT_RANGE", bytes)?),
            FRA_SPORT_MASK => rule.sport_mask = port_mask("FRA_SPORT_MASK", bytes)?,
            FRA_DPORT_MASK => rule.dport_mask = port_mask("FRA_DPORT_MASK", bytes)?,
            FRA_DSCP => dscp.0 = Some(u8_of("FRA_DSCP", bytes)?),
            FRA_DSCP_MASK => dscp.1 = u8_of("FRA_DSCP_MASK", bytes)?,
            FRA_FLOWLABEL => flowlabel.0 = Some(u32_be("FRA_FLOWLABEL", bytes)?),
            FRA_FLOWLABEL_MASK => flowlabel.1 = u32_be("FRA_FLOWLABEL_MASK", bytes)?,
            FRA_PAD => {}
            _ => rule.other.push((kind, bytes.to_vec())),
        }
    }
    rule.fwmark = match (mark, mask) {
        (None, None) => None,
        (mark, mask) => Some((mark.unwrap_or(0), mask.unwrap_or(u32::MAX))),
    };
    rule.dscp = dscp.0.map(|value| (value, dscp.1));
    rule.flowlabel = flowlabel.0.map(|value| (value, flowlabel.1));
    rule.action = match action {
        1 => Action::Lookup(table),
        2 => Action::Goto(target),
        3 => Action::Nop,
        6 => Action::Blackhole,
        7 => Action::Unreachable,
        8 => Action::Prohibit,
        n => Action::Other(n),
    };
    Ok(())
}

fn prefix(name: &str, family: u8, bytes: &[u8], len: u8) -> Result<Option<Prefix>, Malformed> {
    let address = addr_of(name, family, bytes)?;
    if usize::from(len) > bytes.len() * 8 {
        return Err(Malformed(format!("{name} has a prefix length of {len}")));
    }
    Ok((len != 0).then(|| Prefix::new(address, len)))
}

/// A mask of ports; a full one is no mask. Both states are one rule to the kernel, which states a
/// mask beside every single port.
fn port_mask(name: &str, bytes: &[u8]) -> Result<Option<u16>, Malformed> {
    let mask = bytes.first_chunk().ok_or_else(|| short(name, bytes))?;
    Ok(Some(u16::from_ne_bytes(*mask)).filter(|&mask| mask != u16::MAX))
}

/// A 32-bit number in network order.
fn u32_be(name: &str, bytes: &[u8]) -> Result<u32, Malformed> {
    u32_of(name, bytes).map(u32::from_be)
}

/// A 64-bit number in network order.
fn tun_id(bytes: &[u8]) -> Result<Option<u64>, Malformed> {
    let id = bytes.first_chunk().ok_or_else(|| short("FRA_TUN_ID", bytes))?;
    Ok(Some(u64::from_be_bytes(*id)))
}

fn uid_range(bytes: &[u8]) -> Result<(u32, u32), Malformed> {
    let start = u32_of("FRA_UID_RANGE", bytes)?;
    let end = u32_of("FRA_UID_RANGE", bytes.get(4..).unwrap_or(&[]))?;
    Ok((start, end))
}

/// -1 is the kernel's word for "none".
fn unless_all_ones(value: u32) -> Option<u32> {
    (value != u32::MAX).then_some(value)
}

// ===== encode =====

/// Asks for all rules of all families.
#[must_use]
pub fn get() -> Message {
    Message::new(RTM_GETRULE, 0, &[0; HEADER])
}

/// `ip rule add`. With `exclusive`, refused when an equal rule is there (`NLM_F_EXCL`), for
/// which the kernel walks its whole list.
///
/// Without it the kernel takes duplicates; there is no replace, and `NLM_F_REPLACE` would be
/// taken for a silent duplicate.
#[must_use]
pub fn add(rule: &Rule, exclusive: bool) -> Message {
    encode(RTM_NEWRULE, NLM_F_CREATE | if exclusive { NLM_F_EXCL } else { 0 }, rule)
}

/// `ip rule del` with all that the rule is known by.
#[must_use]
pub fn delete(rule: &Rule) -> Message {
    encode(RTM_DELRULE, 0, rule)
}

fn encode(kind: u16, flags: u16, rule: &Rule) -> Message {
    let len = |prefix: Option<Prefix>| prefix.map_or(0, |p| p.len());
    let mut h = [0; HEADER];
    h[0] = number(rule.family);
    h[1] = len(rule.to);
    h[2] = len(rule.from);
    h[3] = rule.tos.unwrap_or(0);
    h[7] = rule.action.number();
    h[8..12].copy_from_slice(&(if rule.not { FIB_RULE_INVERT } else { 0 }).to_ne_bytes());
    let mut m = Message::new(kind, flags, &h);
    m.attr_u32(FRA_PRIORITY, rule.priority).attr_u8(FRA_PROTOCOL, rule.protocol);
    match rule.action {
        // An l3mdev rule has no table of its own.
        Action::Lookup(table) if table != 0 => {
            m.attr_u32(FRA_TABLE, table);
        }
        Action::Goto(target) => {
            m.attr_u32(FRA_GOTO, target);
        }
        _ => {}
    }
    if let Some(from) = rule.from {
        m.attr_addr(FRA_SRC, from.address());
    }
    if let Some(to) = rule.to {
        m.attr_addr(FRA_DST, to.address());
    }
    if let Some(name) = &rule.iif {
        m.attr_str(FRA_IIFNAME, name);
    }
    if let Some(name) = &rule.oif {
        m.attr_str(FRA_OIFNAME, name);
    }
    if let Some((mark, mask)) = rule.fwmark {
        m.attr_u32(FRA_FWMARK, mark).attr_u32(FRA_FWMASK, mask);
    }
    if let Some(realms) = rule.realms {
        m.attr_u32(FRA_FLOW, realms);
    }
    if let Some(id) = rule.tun_id {
        m.attr(FRA_TUN_ID, &id.to_be_bytes());
    }
    if let Some(group) = rule.suppress_ifgroup {
        m.attr_u32(FRA_SUPPRESS_IFGROUP, group);
    }
    if let Some(len) = rule.suppress_prefixlength {
        m.attr_u32(FRA_SUPPRESS_PREFIXLEN, len);
    }
    if rule.l3mdev {
        m.attr_u8(FRA_L3MDEV, 1);
    }
    if let Some((start, end)) = rule.uidrange {
        m.container(FRA_UID_RANGE, |m| {
            m.raw(&start.to_ne_bytes()).raw(&end.to_ne_bytes());
        });
    }
    if let Some(protocol) = rule.ipproto {
        m.attr_u8(FRA_IP_PROTO, protocol);
    }
    for (kind, range) in [(FRA_SPORT_RANGE, rule.sport), (FRA_DPORT_RANGE, rule.dport)] {
        if let Some((start, end)) = range {
            let ([a, b], [c, d]) = (start.to_ne_bytes(), end.to_ne_bytes());
            m.attr(kind, &[a, b, c, d]);
        }
    }
    for (kind, mask) in [(FRA_SPORT_MASK, rule.sport_mask), (FRA_DPORT_MASK, rule.dport_mask)] {
        if let Some(mask) = mask {
            m.attr(kind, &mask.to_ne_bytes());
        }
    }
    if let Some((dscp, mask)) = rule.dscp {
        m.attr_u8(FRA_DSCP, dscp);
        // Kernels before 6.15 know no mask.
        if mask != DSCP_FULL {
            m.attr_u8(FRA_DSCP_MASK, mask);
        }
    }
    if let Some((label, mask)) = rule.flowlabel {
        m.attr_u32(FRA_FLOWLABEL, label.to_be()).attr_u32(FRA_FLOWLABEL_MASK, mask.to_be());
    }
    for (kind, bytes) in &rule.other {
        m.attr(*kind, bytes);
    }
    m
}

#[cfg(test)]
mod tests {
    use multihome_core::Family;

    use super::*;
    use crate::noise::Noise;
    use crate::uapi::AF_INET;

    fn full() -> Rule {
        Rule {
            not: true,
            from: Some("10.0.0.0/24".parse().unwrap()),
            to: Some("10.1.0.0/16".parse().unwrap()),
            iif: Some("lo".into()),
            oif: Some("ens6.100".into()),
            fwmark: Some((0x10, 0xff)),
            tos: Some(0x10),
            ipproto: Some(6),
            sport: Some((80, 80)),
            dport: Some((1000, 2000)),
            uidrange: Some((1000, 1999)),
            tun_id: Some(77),
            suppress_prefixlength: Some(1),
            suppress_ifgroup: Some(10000),
            realms: Some(0x0001_0002),
            sport_mask: Some(0xfff0),
            dscp: Some((0x2e, 0x3c)),
            flowlabel: Some((0x12345, 0xfffff)),
            other: vec![(77, vec![0, 0, 0, 7])],
            ..Rule::new(Family::V4, 10003, Action::Lookup(10003))
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let bare = |action| Rule::new(Family::V6, 5, action);
        let mut rules = vec![full()];
        rules.extend([
            bare(Action::Goto(32766)),
            bare(Action::Nop),
            bare(Action::Blackhole),
            bare(Action::Unreachable),
            bare(Action::Prohibit),
            bare(Action::Lookup(254)),
            Rule { l3mdev: true, ..bare(Action::Lookup(0)) },
            Rule { from: Some("2001:db8::/64".parse().unwrap()), ..bare(Action::Lookup(9)) },
        ]);
        for rule in rules {
            for message in [add(&rule, false), add(&rule, true), delete(&rule)] {
                assert_eq!(decode(message.payload()), Ok(Some(rule.clone())));
            }
        }
    }

    #[test]
    fn exclusive_is_a_choice() {
        assert_eq!(add(&full(), true).flags(), 0x601);
        assert_eq!(add(&full(), false).flags(), 0x401);
    }

    #[test]
    fn what_a_dump_says_without_meaning_is_left_out() {
        // `10003: from 10.0.0.204 lookup 10003` as Linux 6.18 dumps it, detached bits set.
        let mut h = [AF_INET, 0, 32, 0, 252, 0, 0, 1, 0, 0, 0, 0];
        h[8..12].copy_from_slice(&0x1c_u32.to_ne_bytes());
        let mut m = Message::new(RTM_NEWRULE, 0, &h);
        m.attr_u32(FRA_TABLE, 10003)
            .attr_u32(FRA_SUPPRESS_PREFIXLEN, u32::MAX)
            .attr_u32(FRA_SUPPRESS_IFGROUP, u32::MAX)
            .attr_u8(FRA_PROTOCOL, 177)
            .attr_u32(FRA_PRIORITY, 10003)
            .attr(FRA_SPORT_MASK, &[0xff, 0xff])
            .attr(FRA_PAD, &[])
            .attr_addr(FRA_SRC, "10.0.0.204".parse().unwrap());
        let expected = Rule {
            from: Some("10.0.0.204".parse().unwrap()),
            ..Rule::new(Family::V4, 10003, Action::Lookup(10003))
        };
        assert_eq!(decode(m.payload()), Ok(Some(expected)));
    }

    #[test]
    fn a_mark_without_a_mask_and_a_mask_without_a_mark_have_their_defaults() {
        for (kind, expected) in [(FRA_FWMARK, (7, u32::MAX)), (FRA_FWMASK, (0, 7))] {
            let mut m = Message::new(RTM_NEWRULE, 0, &[AF_INET, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
            m.attr_u32(kind, 7);
            assert_eq!(decode(m.payload()).unwrap().unwrap().fwmark, Some(expected));
        }
    }

    #[test]
    fn other_families_are_passed_over_and_errors_named() {
        assert_eq!(decode(&[128, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]), Ok(None));
        let mut m = Message::new(RTM_NEWRULE, 0, &[AF_INET, 0, 33, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
        m.attr_u32(FRA_PRIORITY, 5).attr_u32(FRA_SRC, 0);
        assert_eq!(
            decode(m.payload()).unwrap_err().to_string(),
            "an IPv4 rule of priority 5 could not be decoded: FRA_SRC has a prefix length of 33"
        );
    }

    #[test]
    fn noise_never_panics() {
        let mut noise = Noise::new(6);
        let good = add(&full(), false);
        for _ in 0..20_000 {
            let _ = decode(&noise.bytes());
            let _ = decode(&noise.damage(good.payload()));
        }
    }
}
