//! Writing the table: one transaction, in which everything happens or nothing.
//!
//! Where only addresses came or went, only elements are written: rules keep their handles and
//! counters, and packets meet either the elements before or those after. Everything else is a
//! new table in the place of the old one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use multihome_core::Family;
use multihome_core::model::netfilter::{Held, ReturnPath, TABLE, chain, map};

use super::expr::Expr;
use super::message;
use super::table::{PREROUTING, asking, base, key, marking};
use super::uapi::{
    NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES, NFPROTO_INET, NFT_DATA_VERDICT,
    NFT_GOTO, NFT_MSG_DELSETELEM, NFT_MSG_DELTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE,
    NFT_MSG_NEWSET, NFT_MSG_NEWSETELEM, NFT_MSG_NEWTABLE, NFT_SET_MAP, NFTA_CHAIN_HOOK,
    NFTA_CHAIN_NAME, NFTA_CHAIN_POLICY, NFTA_CHAIN_TABLE, NFTA_CHAIN_TYPE, NFTA_DATA_VALUE,
    NFTA_DATA_VERDICT, NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY, NFTA_LIST_ELEM, NFTA_RULE_CHAIN,
    NFTA_RULE_EXPRESSIONS, NFTA_RULE_TABLE, NFTA_SET_DATA_TYPE, NFTA_SET_ELEM_DATA,
    NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_SET_ELEM_LIST_SET,
    NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_FLAGS, NFTA_SET_ID, NFTA_SET_KEY_LEN, NFTA_SET_KEY_TYPE,
    NFTA_SET_NAME, NFTA_SET_TABLE, NFTA_TABLE_NAME, NFTA_VERDICT_CHAIN, NFTA_VERDICT_CODE,
};
use crate::error::Error;
use crate::uapi::{NLM_F_APPEND, NLM_F_CREATE};
use crate::wire::Message;

/// How many elements go in one message: their list is one attribute, which ends at 64 KiB, and
/// the largest element has 80 bytes.
const ELEMENTS: usize = 800;

/// A transaction under construction.
#[derive(Debug)]
pub(super) struct Transaction {
    /// With the batch's begin and, once it is finished, its end.
    messages: Vec<Message>,
    about: Vec<About>,
}

/// What a message is about, for its refusal.
#[derive(Debug, Clone)]
enum About {
    /// An object in words.
    Object(String),
    /// Elements of a map, each with the offset in the message at which it begins.
    Elements { map: &'static str, of: Vec<(usize, IpAddr)> },
}

// ===== impl Transaction =====

impl Transaction {
    /// What leads from one table to another; `None` where nothing is to be done.
    pub(super) fn between(from: &Held, to: Option<&ReturnPath>) -> Option<Transaction> {
        let mut t = Transaction { messages: Vec::new(), about: Vec::new() };
        t.push(batch(NFNL_MSG_BATCH_BEGIN), "the transaction");
        match (from, to) {
            (Held::Absent, None) => return None,
            (Held::Whole(from), Some(to)) if from == to => return None,
            (_, None) => {
                // Made if it is not there: a deletion of nothing would be an error.
                t.make_table();
                t.delete_table();
            }
            (Held::Whole(from), Some(to)) if same_rules(from, to) => t.differences(from, to),
            (_, Some(to)) => {
                t.make_table();
                t.delete_table();
                t.make_table();
                t.everything(to);
            }
        }
        t.push(batch(NFNL_MSG_BATCH_END), "the transaction");
        Some(t)
    }

    pub(super) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// A refusal, with the object that it is about in front of the kernel's words.
    pub(super) fn blame(&self, at: usize, offset: Option<usize>, error: Error) -> Error {
        let Error::Kernel { errno, message } = error else { return error };
        let object = match self.about.get(at) {
            Some(About::Elements { map, of }) => {
                // The fault is in the last element that begins at or before it.
                let of = offset.and_then(|o| of.iter().rev().find(|(begins, _)| *begins <= o));
                match of {
                    Some((_, address)) => format!("element {address} of map {map}"),
                    None => format!("elements of map {map}"),
                }
            }
            Some(About::Object(words)) => words.clone(),
            None => return Error::Kernel { errno, message },
        };
        let message = message.map_or(object.clone(), |m| format!("{object}: {m}"));
        Error::Kernel { errno, message: Some(message) }
    }

    fn push(&mut self, message: Message, about: impl Into<String>) {
        self.messages.push(message);
        self.about.push(About::Object(about.into()));
    }

    fn make_table(&mut self) {
        let mut m = request(NFT_MSG_NEWTABLE, NLM_F_CREATE);
        m.attr_str(NFTA_TABLE_NAME, TABLE);
        self.push(m, format!("table inet {TABLE}"));
    }

    fn delete_table(&mut self) {
        let mut m = request(NFT_MSG_DELTABLE, 0);
        m.attr_str(NFTA_TABLE_NAME, TABLE);
        self.push(m, format!("table inet {TABLE}"));
    }

    fn everything(&mut self, to: &ReturnPath) {
        for (at, family) in Family::BOTH.into_iter().enumerate() {
            let (name, _) = map(family);
            let (key_type, key_len) = key(family);
            let mut m = request(NFT_MSG_NEWSET, NLM_F_CREATE);
            m.attr_str(NFTA_SET_TABLE, TABLE).attr_str(NFTA_SET_NAME, name);
            m.attr_be32(NFTA_SET_FLAGS, NFT_SET_MAP);
            m.attr_be32(NFTA_SET_KEY_TYPE, key_type).attr_be32(NFTA_SET_KEY_LEN, key_len);
            m.attr_be32(NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT);
            m.attr_be32(NFTA_SET_ID, at as u32 + 1); // the kernel wants one, and we have no use for it
            self.push(m, format!("map {name}"));
        }
        for &mark in to.marks.keys() {
            let name = chain(mark);
            self.push(named_chain(&name), format!("chain {name}"));
            self.rule(&name, &marking(to.mask, mark));
        }
        self.elements(NFT_MSG_NEWSETELEM, &by_address(to));
        let base = base();
        let mut m = named_chain(PREROUTING);
        m.nest(NFTA_CHAIN_HOOK, |m| {
            m.attr_be32(NFTA_HOOK_HOOKNUM, base.hook);
            m.attr_be32(NFTA_HOOK_PRIORITY, base.priority.cast_unsigned());
        });
        m.attr_str(NFTA_CHAIN_TYPE, &base.kind).attr_be32(NFTA_CHAIN_POLICY, base.policy);
        self.push(m, format!("chain {PREROUTING}"));
        for family in Family::BOTH {
            self.rule(PREROUTING, &asking(family, to.mask));
        }
    }

    fn rule(&mut self, chain: &str, exprs: &[Expr]) {
        let mut m = request(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
        m.attr_str(NFTA_RULE_TABLE, TABLE).attr_str(NFTA_RULE_CHAIN, chain);
        m.nest(NFTA_RULE_EXPRESSIONS, |m| exprs.iter().for_each(|e| e.encode(m)));
        self.push(m, format!("a rule of chain {chain}"));
    }

    /// Elements that only one of the two has, or that lead elsewhere.
    fn differences(&mut self, from: &ReturnPath, to: &ReturnPath) {
        let (mut old, mut new) = (by_address(from), by_address(to));
        old.retain(|address, mark| match new.get(address) {
            Some(same) if same == mark => {
                new.remove(address);
                false
            }
            _ => true,
        });
        self.elements(NFT_MSG_DELSETELEM, &old);
        self.elements(NFT_MSG_NEWSETELEM, &new);
    }

    fn elements(&mut self, kind: u16, all: &BTreeMap<IpAddr, u32>) {
        for family in Family::BOTH {
            let (name, _) = map(family);
            let of_family: Vec<(IpAddr, u32)> = all
                .iter()
                .filter(|(a, _)| Family::of(**a) == family)
                .map(|(a, m)| (*a, *m))
                .collect();
            for some in of_family.chunks(ELEMENTS) {
                let flags = if kind == NFT_MSG_NEWSETELEM { NLM_F_CREATE } else { 0 };
                let mut m = request(kind, flags);
                let mut begins = Vec::with_capacity(some.len());
                m.attr_str(NFTA_SET_ELEM_LIST_TABLE, TABLE);
                m.attr_str(NFTA_SET_ELEM_LIST_SET, name);
                m.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |m| {
                    for &(address, mark) in some {
                        begins.push((m.size(), address));
                        element(m, address, (kind == NFT_MSG_NEWSETELEM).then_some(mark));
                    }
                });
                self.messages.push(m);
                self.about.push(About::Elements { map: name, of: begins });
            }
        }
    }
}

// ===== messages =====

/// Whether both have the same rules, so that at most elements differ.
fn same_rules(from: &ReturnPath, to: &ReturnPath) -> bool {
    from.mask == to.mask && from.marks.keys().eq(to.marks.keys())
}

fn by_address(path: &ReturnPath) -> BTreeMap<IpAddr, u32> {
    path.marks.iter().flat_map(|(mark, of)| of.iter().map(|a| (*a, *mark))).collect()
}

fn request(kind: u16, flags: u16) -> Message {
    message(kind, flags, NFPROTO_INET)
}

/// The begin or the end of a batch: its `res_id` names the subsystem.
fn batch(kind: u16) -> Message {
    let [high, low] = NFNL_SUBSYS_NFTABLES.to_be_bytes();
    Message::new(kind, 0, &[0, 0, high, low])
}

fn named_chain(name: &str) -> Message {
    let mut m = request(NFT_MSG_NEWCHAIN, NLM_F_CREATE);
    m.attr_str(NFTA_CHAIN_TABLE, TABLE).attr_str(NFTA_CHAIN_NAME, name);
    m
}

fn element(list: &mut Message, address: IpAddr, mark: Option<u32>) {
    list.nest(NFTA_LIST_ELEM, |m| {
        m.nest(NFTA_SET_ELEM_KEY, |m| {
            m.attr_addr(NFTA_DATA_VALUE, address);
        });
        let Some(mark) = mark else { return };
        m.nest(NFTA_SET_ELEM_DATA, |m| {
            m.nest(NFTA_DATA_VERDICT, |m| {
                m.attr_be32(NFTA_VERDICT_CODE, NFT_GOTO.cast_unsigned());
                m.attr_str(NFTA_VERDICT_CHAIN, &chain(mark));
            });
        });
    });
}
