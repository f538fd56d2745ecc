//! What a dump of nf_tables says, message by message: tables, chains, rules, sets and elements.
//!
//! `plain` on an object means that it has nothing which we never write and which would change
//! what it does: a timeout, an expression for each element.

use super::expr::{self, Expr, be32};
use super::uapi::{
    NFPROTO_ARP, NFPROTO_BRIDGE, NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6, NFPROTO_NETDEV,
    NFTA_CHAIN_FLAGS, NFTA_CHAIN_HOOK, NFTA_CHAIN_NAME, NFTA_CHAIN_POLICY, NFTA_CHAIN_TABLE,
    NFTA_CHAIN_TYPE, NFTA_DATA_VALUE, NFTA_DATA_VERDICT, NFTA_GEN_ID, NFTA_GEN_PROC_NAME,
    NFTA_GEN_PROC_PID, NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY, NFTA_LIST_ELEM, NFTA_RULE_CHAIN,
    NFTA_RULE_EXPRESSIONS, NFTA_RULE_TABLE, NFTA_SET_DATA_TYPE, NFTA_SET_ELEM_DATA,
    NFTA_SET_ELEM_EXPR, NFTA_SET_ELEM_EXPRESSIONS, NFTA_SET_ELEM_FLAGS, NFTA_SET_ELEM_KEY,
    NFTA_SET_ELEM_KEY_END, NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_SET_ELEM_TIMEOUT, NFTA_SET_EXPR,
    NFTA_SET_EXPRESSIONS, NFTA_SET_FLAGS, NFTA_SET_KEY_LEN, NFTA_SET_KEY_TYPE, NFTA_SET_NAME,
    NFTA_SET_TABLE, NFTA_SET_TIMEOUT, NFTA_TABLE_FLAGS, NFTA_TABLE_OWNER, NFTA_TABLE_USE,
    NFTA_VERDICT_CHAIN, NFTA_VERDICT_CODE,
};
use crate::wire::{Attrs, Malformed, split, str_of};

/// A table by its family and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TableName {
    pub family: u8,
    pub name: String,
}

/// A table.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// How many chains, sets, objects and flowtables it has.
    pub objects: u32,
    /// Neither dormant nor owned by a program.
    pub plain: bool,
}

/// A chain.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub table: TableName,
    pub name: String,
    pub flags: u32,
    pub base: Option<Base>,
}

/// What makes a chain a base chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    pub kind: String,
    pub hook: u32,
    pub priority: i32,
    pub policy: u32,
}

/// A rule.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub table: TableName,
    pub chain: String,
    pub exprs: Vec<Expr>,
}

/// A set or a map.
#[derive(Debug, Clone)]
pub(super) struct Set {
    pub table: TableName,
    pub name: String,
    pub flags: u32,
    pub key_type: u32,
    pub key_len: u32,
    pub data_type: u32,
    pub plain: bool,
}

/// An element of a set.
#[derive(Debug, Clone)]
pub(super) struct Element {
    pub key: Vec<u8>,
    pub key_end: Option<Vec<u8>>,
    pub flags: u32,
    pub data: Option<Data>,
    pub plain: bool,
}

/// What a map gives for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    Value(Vec<u8>),
    Verdict { code: i32, chain: String },
}

/// A generation of the ruleset, and who made it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Generation {
    pub id: u32,
    pub pid: Option<u32>,
    pub program: Option<String>,
}

// ===== impl TableName =====

impl TableName {
    pub(super) fn new(family: u8, name: &str) -> TableName {
        TableName { family, name: name.to_owned() }
    }

    /// `ip mangle`, as `nft` has it.
    pub(super) fn words(&self) -> String {
        let family = match self.family {
            NFPROTO_INET => "inet",
            NFPROTO_IPV4 => "ip",
            NFPROTO_ARP => "arp",
            NFPROTO_NETDEV => "netdev",
            NFPROTO_BRIDGE => "bridge",
            NFPROTO_IPV6 => "ip6",
            other => return format!("family {other} {}", self.name),
        };
        format!("{family} {}", self.name)
    }
}

// ===== decoding =====

pub(super) fn table(payload: &[u8]) -> Result<Table, Malformed> {
    let (_, attrs) = header("a table", payload)?;
    let (mut objects, mut plain) = (0, true);
    for attr in attrs {
        match attr? {
            (NFTA_TABLE_FLAGS, bytes) => plain &= be32("NFTA_TABLE_FLAGS", bytes)? == 0,
            (NFTA_TABLE_OWNER, _) => plain = false,
            (NFTA_TABLE_USE, bytes) => objects = be32("NFTA_TABLE_USE", bytes)?,
            _ => {}
        }
    }
    Ok(Table { objects, plain })
}

pub(super) fn chain(payload: &[u8]) -> Result<Chain, Malformed> {
    let (family, attrs) = header("a chain", payload)?;
    let (mut table, mut name, mut flags) = (String::new(), String::new(), 0);
    let (mut kind, mut hook, mut policy) = (String::new(), None, 0);
    for attr in attrs {
        match attr? {
            (NFTA_CHAIN_TABLE, bytes) => table = str_of(bytes),
            (NFTA_CHAIN_NAME, bytes) => name = str_of(bytes),
            (NFTA_CHAIN_FLAGS, bytes) => flags = be32("NFTA_CHAIN_FLAGS", bytes)?,
            (NFTA_CHAIN_TYPE, bytes) => kind = str_of(bytes),
            (NFTA_CHAIN_POLICY, bytes) => policy = be32("NFTA_CHAIN_POLICY", bytes)?,
            (NFTA_CHAIN_HOOK, bytes) => hook = Some(hook_of(bytes)?),
            _ => {}
        }
    }
    let base = hook.map(|(hook, priority)| Base { kind, hook, priority, policy });
    Ok(Chain { table: TableName { family, name: table }, name, flags, base })
}

fn hook_of(bytes: &[u8]) -> Result<(u32, i32), Malformed> {
    let (mut hook, mut priority) = (0, 0);
    for attr in Attrs::new(bytes) {
        match attr? {
            (NFTA_HOOK_HOOKNUM, bytes) => hook = be32("NFTA_HOOK_HOOKNUM", bytes)?,
            (NFTA_HOOK_PRIORITY, bytes) => {
                priority = be32("NFTA_HOOK_PRIORITY", bytes)?.cast_signed();
            }
            _ => {}
        }
    }
    Ok((hook, priority))
}

pub(super) fn rule(payload: &[u8]) -> Result<Rule, Malformed> {
    let (family, attrs) = header("a rule", payload)?;
    let (mut table, mut chain, mut exprs) = (String::new(), String::new(), Vec::new());
    for attr in attrs {
        match attr? {
            (NFTA_RULE_TABLE, bytes) => table = str_of(bytes),
            (NFTA_RULE_CHAIN, bytes) => chain = str_of(bytes),
            (NFTA_RULE_EXPRESSIONS, bytes) => exprs = expr::decode_all(bytes)?,
            _ => {}
        }
    }
    Ok(Rule { table: TableName { family, name: table }, chain, exprs })
}

pub(super) fn set(payload: &[u8]) -> Result<Set, Malformed> {
    let (family, attrs) = header("a set", payload)?;
    let (mut table, mut name, mut flags) = (String::new(), String::new(), 0);
    let (mut key_type, mut key_len, mut data_type, mut plain) = (0, 0, 0, true);
    for attr in attrs {
        match attr? {
            (NFTA_SET_TABLE, bytes) => table = str_of(bytes),
            (NFTA_SET_NAME, bytes) => name = str_of(bytes),
            (NFTA_SET_FLAGS, bytes) => flags = be32("NFTA_SET_FLAGS", bytes)?,
            (NFTA_SET_KEY_TYPE, bytes) => key_type = be32("NFTA_SET_KEY_TYPE", bytes)?,
            (NFTA_SET_KEY_LEN, bytes) => key_len = be32("NFTA_SET_KEY_LEN", bytes)?,
            (NFTA_SET_DATA_TYPE, bytes) => data_type = be32("NFTA_SET_DATA_TYPE", bytes)?,
            (NFTA_SET_TIMEOUT | NFTA_SET_EXPR | NFTA_SET_EXPRESSIONS, _) => plain = false,
            _ => {}
        }
    }
    let table = TableName { family, name: table };
    Ok(Set { table, name, flags, key_type, key_len, data_type, plain })
}

/// The elements in one message of a dump.
pub(super) fn elements(payload: &[u8], into: &mut Vec<Element>) -> Result<(), Malformed> {
    let (_, attrs) = header("elements", payload)?;
    for attr in attrs {
        let (NFTA_SET_ELEM_LIST_ELEMENTS, list) = attr? else { continue };
        for one in Attrs::new(list) {
            if let (NFTA_LIST_ELEM, bytes) = one? {
                into.push(element(bytes)?);
            }
        }
    }
    Ok(())
}

fn element(bytes: &[u8]) -> Result<Element, Malformed> {
    let mut e = Element { key: Vec::new(), key_end: None, flags: 0, data: None, plain: true };
    for attr in Attrs::new(bytes) {
        match attr? {
            (NFTA_SET_ELEM_KEY, bytes) => e.key = expr::value(bytes)?,
            (NFTA_SET_ELEM_KEY_END, bytes) => e.key_end = Some(expr::value(bytes)?),
            (NFTA_SET_ELEM_FLAGS, bytes) => e.flags = be32("NFTA_SET_ELEM_FLAGS", bytes)?,
            (NFTA_SET_ELEM_DATA, bytes) => e.data = data(bytes)?,
            (NFTA_SET_ELEM_TIMEOUT | NFTA_SET_ELEM_EXPR | NFTA_SET_ELEM_EXPRESSIONS, _) => {
                e.plain = false;
            }
            _ => {}
        }
    }
    Ok(e)
}

fn data(bytes: &[u8]) -> Result<Option<Data>, Malformed> {
    for attr in Attrs::new(bytes) {
        match attr? {
            (NFTA_DATA_VALUE, bytes) => return Ok(Some(Data::Value(bytes.to_vec()))),
            (NFTA_DATA_VERDICT, bytes) => {
                let (mut code, mut chain) = (0, String::new());
                for attr in Attrs::new(bytes) {
                    match attr? {
                        (NFTA_VERDICT_CODE, bytes) => {
                            code = be32("NFTA_VERDICT_CODE", bytes)?.cast_signed();
                        }
                        (NFTA_VERDICT_CHAIN, bytes) => chain = str_of(bytes),
                        _ => {}
                    }
                }
                return Ok(Some(Data::Verdict { code, chain }));
            }
            _ => {}
        }
    }
    Ok(None)
}

pub(super) fn generation(payload: &[u8]) -> Result<Generation, Malformed> {
    let (_, attrs) = header("a generation", payload)?;
    let mut generation = Generation::default();
    for attr in attrs {
        match attr? {
            (NFTA_GEN_ID, bytes) => generation.id = be32("NFTA_GEN_ID", bytes)?,
            (NFTA_GEN_PROC_PID, bytes) => {
                generation.pid = Some(be32("NFTA_GEN_PROC_PID", bytes)?);
            }
            (NFTA_GEN_PROC_NAME, bytes) => generation.program = Some(str_of(bytes)),
            _ => {}
        }
    }
    Ok(generation)
}

/// `struct nfgenmsg`: the family, and what follows.
fn header<'a>(name: &str, payload: &'a [u8]) -> Result<(u8, Attrs<'a>), Malformed> {
    let ([family, ..], attrs) = split::<4>(name, payload)?;
    Ok((family, attrs))
}
