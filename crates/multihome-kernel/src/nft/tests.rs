//! Expressions from bytes, marks from expressions, transactions as bytes; without a kernel.

use std::collections::BTreeSet;

use multihome_core::Family;
use multihome_core::model::netfilter::{Held, ReturnPath};

use super::expr::{self, Expr, Operand};
use super::read;
use super::table::{asking, marking};
use super::uapi::{
    NFNL_SUBSYS_NFTABLES, NFT_BITWISE_AND, NFT_BITWISE_OR, NFT_BITWISE_RSHIFT, NFT_CT_MARK,
    NFT_META_MARK, NFT_MSG_DELSETELEM, NFT_MSG_NEWSETELEM, NFTA_LIST_ELEM, NFTA_RULE_EXPRESSIONS,
};
use super::write::Transaction;
use super::{fuzz, marks, message};
use crate::error::Error;
use crate::wire::{Attrs, Message};

const ONE: expr::Register = Some(0);
const TWO: expr::Register = Some(1);

fn rule(exprs: &[Expr]) -> Message {
    let mut m = message(6, 0, 1);
    m.nest(NFTA_RULE_EXPRESSIONS, |m| exprs.iter().for_each(|e| e.encode(m)));
    m
}

fn bits(exprs: &[Expr]) -> u32 {
    let used = marks::used(exprs);
    assert_eq!(used.asked, []);
    used.bits
}

fn mark(key_to: expr::Register) -> Expr {
    Expr::MetaLoad { key: NFT_META_MARK, to: key_to }
}

fn set_mark(from: expr::Register) -> Expr {
    Expr::MetaSet { key: NFT_META_MARK, from }
}

fn op(op: u32, from: expr::Register, with: Operand, to: expr::Register) -> Expr {
    Expr::BitwiseOp { op, from, with: Some(with), to, len: 4 }
}

fn value(v: u32) -> Operand {
    Operand::Value(v.to_ne_bytes().to_vec())
}

#[test]
fn expressions_are_what_they_were_before_they_were_bytes() {
    for exprs in
        [marking(0xf_0000, 0x1_0000), asking(Family::V4, 0xf_0000), asking(Family::V6, 0x8000_0000)]
    {
        let m = rule(&exprs);
        assert!(!m.is_broken());
        assert_eq!(read::rule(m.payload()).unwrap().exprs, exprs);
    }
    assert!(rule(&[Expr::Other("counter".into())]).is_broken());
}

#[test]
fn a_register_has_two_numbers() {
    // `meta load mark => reg 2`, as libnftnl writes it, and the same by its 32-bit number.
    for (number, slot) in [(2u32, 4), (12, 4), (8, 0), (1, 0), (23, 15)] {
        let mut m = Message::new(0, 0, &[]);
        m.nest(NFTA_LIST_ELEM, |m| {
            m.attr_str(1, "meta").nest(2, |m| {
                m.attr_be32(2, NFT_META_MARK).attr_be32(1, number);
            });
        });
        assert_eq!(expr::decode_all(m.payload()).unwrap(), [mark(Some(slot))]);
    }
}

#[test]
fn our_own_rules_use_the_bits_of_the_mask() {
    assert_eq!(bits(&marking(0xf_0000, 0x1_0000)), 0xf_0000);
    let used = marks::used(&asking(Family::V4, 0xf_0000));
    assert_eq!(used.bits, 0xf_0000);
}

#[test]
fn operations_of_newer_kernels_are_followed() {
    // meta mark set meta mark | 0x100, as an operation of its own (since 6.13)
    let or = op(NFT_BITWISE_OR, ONE, value(0x100), ONE);
    assert_eq!(bits(&[mark(ONE), or, set_mark(ONE)]), 0x100);
    let and = op(NFT_BITWISE_AND, ONE, value(!0xf0), ONE);
    assert_eq!(bits(&[mark(ONE), and, set_mark(ONE)]), 0xf0);
    // meta mark set meta mark | (ct mark & 0xff00)
    let connection = Expr::CtLoad { key: NFT_CT_MARK, direction: None, to: TWO };
    let of_connection = op(NFT_BITWISE_AND, TWO, value(0xff00), TWO);
    let both = op(NFT_BITWISE_OR, ONE, Operand::Register(TWO), ONE);
    assert_eq!(bits(&[mark(ONE), connection, of_connection, both, set_mark(ONE)]), 0xff00);
    // (meta mark & 0xff0000) >> 16 == 5
    let part = op(NFT_BITWISE_AND, ONE, value(0xff_0000), ONE);
    let shift = op(NFT_BITWISE_RSHIFT, ONE, value(16), ONE);
    let cmp = Expr::Cmp { from: ONE, op: 0, value: 5u32.to_ne_bytes().to_vec() };
    assert_eq!(bits(&[mark(ONE), part, shift, cmp]), 0xff_0000);
}

#[test]
fn what_is_not_known_uses_all_bits() {
    let something = Expr::Other("something".into());
    assert_eq!(bits(&[mark(ONE), something, set_mark(ONE)]), u32::MAX);
    assert_eq!(bits(&[mark(ONE), Expr::Other("counter".into()), set_mark(ONE)]), 0);
    assert_eq!(bits(&[mark(ONE), Expr::Load { to: Some(ONE) }, set_mark(ONE)]), u32::MAX);
    assert_eq!(bits(&[mark(ONE), Expr::Load { to: Some(TWO) }, set_mark(ONE)]), 0);
    assert_eq!(bits(&[set_mark(None)]), u32::MAX);
}

fn path(addresses: u32) -> ReturnPath {
    let all: BTreeSet<_> = (0..addresses).map(|n| std::net::Ipv4Addr::from(n).into()).collect();
    ReturnPath { mask: 0xf_0000, marks: [(0x1_0000, all)].into() }
}

fn kinds(t: &Transaction) -> Vec<u16> {
    let subsystem = NFNL_SUBSYS_NFTABLES << 8;
    t.messages().iter().map(|m| m.kind()).filter(|k| k & subsystem == subsystem).collect()
}

#[test]
fn elements_are_split_where_an_attribute_ends() {
    let t = Transaction::between(&Held::Absent, Some(&path(10_000))).unwrap();
    assert!(t.messages().iter().all(|m| !m.is_broken() && m.size() < 65536));
    let of = |kind| kinds(&t).into_iter().filter(|k| k & 0xff == kind).count();
    assert_eq!(of(NFT_MSG_NEWSETELEM), 13);
    // A batch begins and ends with the number of its subsystem.
    for m in [t.messages().first().unwrap(), t.messages().last().unwrap()] {
        assert_eq!(m.payload(), [0, 0, 0, 10]);
    }
}

#[test]
fn a_difference_is_as_long_as_it_is() {
    assert!(Transaction::between(&Held::Absent, None).is_none());
    assert!(Transaction::between(&Held::Whole(path(9)), Some(&path(9))).is_none());
    let t = Transaction::between(&Held::Whole(path(9)), Some(&path(8))).unwrap();
    assert_eq!(kinds(&t), [NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELSETELEM]);
    let t = Transaction::between(&Held::Whole(path(8)), Some(&path(9))).unwrap();
    assert_eq!(kinds(&t), [NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM]);
}

#[test]
fn a_refusal_names_its_object() {
    let t = Transaction::between(&Held::Whole(path(0)), Some(&path(3))).unwrap();
    let error =
        |message: Option<&str>| Error::Kernel { errno: 17, message: message.map(Into::into) };
    // Where the second element is.
    let list = t.messages()[1].payload();
    let elements = Attrs::new(&list[4..]).map_while(Result::ok).last().unwrap().1;
    let second = t.messages()[1].size() - elements.len() + elements.len() / 3;
    let words = |at, offset, message| t.blame(at, offset, error(message)).to_string();
    assert_eq!(
        words(1, Some(second + 4), None),
        "element 0.0.0.1 of map addresses4 (EEXIST: File exists)"
    );
    assert_eq!(words(1, None, None), "elements of map addresses4 (EEXIST: File exists)");
    assert_eq!(words(0, None, Some("No")), "the transaction: No (EEXIST: File exists)");
    assert_eq!(words(99, None, None), "EEXIST: File exists");
}

#[test]
fn noise_never_panics() {
    let mut noise = crate::noise::Noise::new(20);
    let rules = [marking(0xf_0000, 0x1_0000), asking(Family::V4, 0xf_0000)].map(|r| rule(&r));
    let t = Transaction::between(&Held::Absent, Some(&path(2))).unwrap();
    let whole: Vec<&Message> = rules.iter().chain(t.messages()).collect();
    for round in 0..40_000 {
        fuzz::decode(&noise.bytes());
        fuzz::decode(&noise.damage(whole[round % whole.len()].payload()));
    }
}
