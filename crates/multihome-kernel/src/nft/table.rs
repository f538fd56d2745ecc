//! Our own table: what it is made of, and whether what there is is that.
//!
//! The same lists of expressions are written and compared with. What differs in anything that
//! changes what happens to a packet is [`Held::Altered`]; comments and handles are nobody's
//! business.

use std::collections::BTreeMap;
use std::net::IpAddr;

use multihome_core::Family;
use multihome_core::model::netfilter::{Held, PRIORITY, ReturnPath, chain, map};

use super::expr::{Expr, Register};
use super::read::{Base, Chain, Data, Element, Rule, Set, Table};
use super::uapi::{
    IP_CT_DIR_ORIGINAL, IP_CT_DIR_REPLY, IPS_DST_NAT, NF_ACCEPT, NF_INET_PRE_ROUTING,
    NFT_CHAIN_BASE, NFT_CMP_EQ, NFT_CMP_NEQ, NFT_CT_DIRECTION, NFT_CT_DST_IP, NFT_CT_DST_IP6,
    NFT_CT_STATUS, NFT_DATA_VERDICT, NFT_GOTO, NFT_META_MARK, NFT_SET_MAP,
};

/// The one register that the rules use.
const REGISTER: Register = Some(0);
/// The chain that the kernel calls.
pub(super) const PREROUTING: &str = "prerouting";

/// The objects of the table, as they were read.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    pub table: Option<Table>,
    pub chains: Vec<Chain>,
    pub rules: Vec<Rule>,
    pub sets: Vec<Set>,
    /// By the name of the set.
    pub elements: BTreeMap<String, Vec<Element>>,
}

// ===== what it is made of =====

/// The number and the length of the type of a family's addresses, as `nft` has them.
pub(super) fn key(family: Family) -> (u32, u32) {
    match family {
        Family::V4 => (7, 4),
        Family::V6 => (8, 16),
    }
}

/// The base chain.
pub(super) fn base() -> Base {
    let hook = NF_INET_PRE_ROUTING;
    Base { kind: "filter".into(), hook, priority: PRIORITY, policy: NF_ACCEPT }
}

/// The rule of the chain that sets a mark: `meta mark set meta mark & ~MASK | MARK`.
pub(super) fn marking(mask: u32, mark: u32) -> Vec<Expr> {
    vec![
        Expr::MetaLoad { key: NFT_META_MARK, to: REGISTER },
        bitwise(!mask, mark),
        Expr::MetaSet { key: NFT_META_MARK, from: REGISTER },
    ]
}

/// The rule that asks the map of a family: replies of translated connections that bear none of
/// our bits yet.
///
/// Most packets belong to connections that are not translated, and leave at the first test,
/// which `nft_ct` has a short way for (`nft_ct_get_fast_eval`); no test of the family is needed,
/// since the address of the other one is no match (`nft_ct_get_eval`).
pub(super) fn asking(family: Family, mask: u32) -> Vec<Expr> {
    let load = |key, direction| Expr::CtLoad { key, direction, to: REGISTER };
    let cmp = |op, value: &[u8]| Expr::Cmp { from: REGISTER, op, value: value.to_vec() };
    let original = match family {
        Family::V4 => NFT_CT_DST_IP,
        Family::V6 => NFT_CT_DST_IP6,
    };
    vec![
        load(NFT_CT_STATUS, None),
        bitwise(IPS_DST_NAT, 0),
        cmp(NFT_CMP_NEQ, &[0; 4]),
        load(NFT_CT_DIRECTION, None),
        cmp(NFT_CMP_EQ, &[IP_CT_DIR_REPLY]),
        Expr::MetaLoad { key: NFT_META_MARK, to: REGISTER },
        bitwise(mask, 0),
        cmp(NFT_CMP_EQ, &[0; 4]),
        load(original, Some(IP_CT_DIR_ORIGINAL)),
        Expr::Lookup { set: map(family).0.into(), from: REGISTER, to: Some(None), flags: 0 },
    ]
}

fn bitwise(mask: u32, xor: u32) -> Expr {
    let (mask, xor) = (mask.to_ne_bytes().to_vec(), xor.to_ne_bytes().to_vec());
    Expr::Bitwise { from: REGISTER, to: REGISTER, mask, xor }
}

// ===== what there is =====

/// What the objects come to.
pub(super) fn held(parts: &Parts) -> Held {
    match &parts.table {
        None => Held::Absent,
        Some(table) => whole(table, parts).map_or(Held::Altered, Held::Whole),
    }
}

fn whole(table: &Table, parts: &Parts) -> Option<ReturnPath> {
    // Objects and flowtables are counted with chains and sets, and need no dump of their own.
    let known = parts.chains.len() + parts.sets.len();
    if !table.plain || table.objects as usize != known || parts.sets.len() != 2 {
        return None;
    }
    let of = |chain: &str| -> Vec<&[Expr]> {
        parts.rules.iter().filter(|r| r.chain == chain).map(|r| r.exprs.as_slice()).collect()
    };
    let [first, second] = of(PREROUTING)[..] else { return None };
    let mask = first.iter().rev().find_map(|e| match e {
        Expr::Bitwise { mask, .. } => word(mask),
        _ => None,
    })?;
    if first != asking(Family::V4, mask) || second != asking(Family::V6, mask) {
        return None;
    }
    let mut path = ReturnPath { mask, ..ReturnPath::default() };
    let mut bases = 0;
    for one in &parts.chains {
        if one.name == PREROUTING {
            if one.base.as_ref() != Some(&base()) || one.flags & !NFT_CHAIN_BASE != 0 {
                return None;
            }
            bases += 1;
            continue;
        }
        let [rule] = of(&one.name)[..] else { return None };
        let mark = match rule {
            [_, Expr::Bitwise { xor, .. }, _] => word(xor)?,
            _ => return None,
        };
        let ours = one.base.is_none() && one.flags == 0 && one.name == chain(mark);
        if !ours || rule != marking(mask, mark) {
            return None;
        }
        path.marks.insert(mark, Default::default());
    }
    if bases != 1 {
        return None;
    }
    let chains: BTreeMap<String, u32> = path.marks.keys().map(|m| (chain(*m), *m)).collect();
    for family in Family::BOTH {
        let (name, _) = map(family);
        let set = parts.sets.iter().find(|s| s.name == name)?;
        let kinds = (set.key_type, set.key_len, set.data_type);
        let (key_type, key_len) = key(family);
        if !set.plain || set.flags != NFT_SET_MAP || kinds != (key_type, key_len, NFT_DATA_VERDICT)
        {
            return None;
        }
        for element in parts.elements.get(name).into_iter().flatten() {
            let address = address(family, element)?;
            let Some(Data::Verdict { code: NFT_GOTO, chain: to }) = &element.data else {
                return None;
            };
            path.marks.get_mut(chains.get(to)?)?.insert(address);
        }
    }
    Some(path)
}

fn address(family: Family, element: &Element) -> Option<IpAddr> {
    if !element.plain || element.flags != 0 || element.key_end.is_some() {
        return None;
    }
    match family {
        Family::V4 => <[u8; 4]>::try_from(element.key.as_slice()).ok().map(IpAddr::from),
        Family::V6 => <[u8; 16]>::try_from(element.key.as_slice()).ok().map(IpAddr::from),
    }
}

/// The first 32 bits of a value, which is in the host's order as the registers are.
pub(super) fn word(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|b| u32::from_ne_bytes(*b))
}
