//! Which bits of the packet mark a rule uses.
//!
//! The registers are followed in a small symbolic way. The mark of the connection counts as the
//! packet's, because it is commonly copied there; the copy itself uses no bits of its own.
//!
//! Bits are used when they are written (those that may come out different), asked for under a
//! mask, or set in a value that the whole mark is compared with. Where a value cannot be known,
//! all bits are.

use super::expr::{Expr, Operand, Register};
use super::read::{Data, Element};
use super::table::word;
use super::uapi::{
    NFT_BITWISE_AND, NFT_BITWISE_LSHIFT, NFT_BITWISE_OR, NFT_BITWISE_RSHIFT, NFT_BITWISE_XOR,
    NFT_CMP_EQ, NFT_CMP_NEQ, NFT_CT_MARK, NFT_META_MARK, NFT_SET_ELEM_CATCHALL,
    NFT_SET_ELEM_INTERVAL_END, XT_CONNMARK_SET,
};

const ALL: u32 = u32::MAX;
/// Registers of 32 bits.
const SLOTS: usize = 16;

/// What a rule uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Used {
    pub bits: u32,
    /// What depends on the elements of sets.
    pub asked: Vec<Asked>,
}

/// Bits that the elements of a set decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub set: String,
    part: Part,
    /// `(value & keep) ^ xor` is used.
    keep: u32,
    xor: u32,
}

/// A part of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// What it gives.
    Data,
    /// The 32 bits of the key from this byte on, with which a mark is compared.
    Key { at: usize, swapped: bool },
}

/// What is in a register.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    /// `(mark & keep) ^ xor`, of the packet or of its connection; in the network's order where
    /// it is swapped.
    Mark { connection: bool, keep: u32, xor: u32, swapped: bool },
    /// `(data & keep) ^ xor` of what a map gave.
    Given { map: String, keep: u32, xor: u32 },
    /// Any value with at most these bits.
    Within(u32),
}

// ===== rules =====

/// What a rule uses.
pub(super) fn used(exprs: &[Expr]) -> Used {
    let mut rule = Rule { slots: [const { Value::Within(ALL) }; SLOTS], used: Used::default() };
    exprs.iter().for_each(|e| rule.step(e));
    rule.used
}

struct Rule {
    slots: [Value; SLOTS],
    used: Used,
}

impl Rule {
    fn step(&mut self, expr: &Expr) {
        match expr {
            Expr::MetaLoad { key: NFT_META_MARK, to } => self.put(*to, Value::mark(false)),
            Expr::CtLoad { key: NFT_CT_MARK, to, .. } => self.put(*to, Value::mark(true)),
            Expr::MetaLoad { to, .. } | Expr::CtLoad { to, .. } => self.forget(*to),
            Expr::MetaSet { key: NFT_META_MARK, from } => self.write(*from, false),
            Expr::CtSet { key: NFT_CT_MARK, from } => self.write(*from, true),
            Expr::MetaSet { .. } | Expr::CtSet { .. } => {}
            Expr::Immediate { to, value } => {
                for (at, chunk) in value.chunks(4).enumerate() {
                    self.put(to.map(|slot| slot + at), Value::Within(padded(chunk)));
                }
            }
            Expr::Cmp { from, op, value } => {
                for (at, chunk) in value.chunks(4).enumerate() {
                    let exact = matches!(*op, NFT_CMP_EQ | NFT_CMP_NEQ);
                    let slot = from.map(|slot| slot + at);
                    self.compare(slot, chunk, |v| if exact { v } else { smear(v) });
                }
            }
            Expr::Range { from, first, last } => {
                for (at, (first, last)) in first.chunks(4).zip(last.chunks(4)).enumerate() {
                    let slot = from.map(|slot| slot + at);
                    self.compare(slot, first, |v| v);
                    self.compare(slot, last, smear);
                }
            }
            Expr::Bitwise { from, to, mask, xor } => {
                for (at, (mask, xor)) in mask.chunks(4).zip(xor.chunks(4)).enumerate() {
                    let value = self.get(from.map(|slot| slot + at));
                    let value = value.masked(padded(mask), padded(xor));
                    self.put(to.map(|slot| slot + at), value);
                }
            }
            Expr::BitwiseOp { op, from, with, to, len } => {
                self.operate(*op, *from, with, *to, *len)
            }
            Expr::Byteorder { from, to, size: 4, len } => {
                for at in 0..(*len as usize / 4).min(SLOTS) {
                    let value = self.get(from.map(|slot| slot + at)).swapped();
                    self.put(to.map(|slot| slot + at), value);
                }
            }
            Expr::Byteorder { to, .. } => self.forget(*to),
            Expr::Lookup { set, from, to, .. } => self.look_up(set, *from, *to),
            Expr::Number { to, modulus, offset } => {
                // Up to, not including, their sum; a number of a hash may have no modulus.
                let last = offset.saturating_add(modulus.saturating_sub(1));
                let bits = if *modulus == 0 { ALL } else { between(*offset, last) };
                self.put(*to, Value::Within(bits));
            }
            Expr::Load { to } => self.forget(to.unwrap_or_default()),
            Expr::Xt { target, name, revision, info } => {
                self.used.bits |= xt(*target, name, *revision, info);
            }
            Expr::Other(name) if WITHOUT_REGISTER.contains(&name.as_str()) => {}
            Expr::Other(_) => self.slots.fill(Value::Within(ALL)),
        }
    }

    fn get(&self, from: Register) -> Value {
        from.and_then(|slot| self.slots.get(slot)).cloned().unwrap_or(Value::Within(ALL))
    }

    fn put(&mut self, to: Register, value: Value) {
        if let Some(slot) = to.and_then(|slot| self.slots.get_mut(slot)) {
            *slot = value;
        }
    }

    /// Something that is no mark, of up to 16 bytes.
    fn forget(&mut self, to: Register) {
        for at in 0..4 {
            self.put(to.map(|slot| slot + at), Value::Within(ALL));
        }
    }

    fn write(&mut self, from: Register, to_connection: bool) {
        match self.get(from) {
            Value::Mark { connection, keep, xor, .. } if connection == to_connection => {
                self.used.bits |= !keep | xor;
            }
            Value::Mark { keep, xor, .. } => self.used.bits |= copied(keep) | xor,
            Value::Within(bits) => self.used.bits |= bits,
            Value::Given { map, keep, xor } => {
                self.used.asked.push(Asked { set: map, part: Part::Data, keep, xor });
            }
        }
    }

    fn compare(&mut self, from: Register, with: &[u8], bits: impl Fn(u32) -> u32) {
        if let Value::Mark { keep, xor, swapped, .. } = self.get(from) {
            let with = ordered(padded(with), swapped);
            self.used.bits |= tested(bits(with ^ xor), keep);
        }
    }

    fn operate(&mut self, op: u32, from: Register, with: &Option<Operand>, to: Register, len: u32) {
        let slots = (len as usize / 4).clamp(1, SLOTS);
        for at in 0..slots {
            let value = self.get(from.map(|slot| slot + at));
            let result = match (op, with) {
                (NFT_BITWISE_LSHIFT | NFT_BITWISE_RSHIFT, Some(Operand::Value(by))) => {
                    // From here on its bits are elsewhere, so they are counted where they are.
                    if let Value::Mark { keep, .. } = value {
                        self.used.bits |= copied(keep);
                    }
                    let (bits, by) = (value.possible(), padded(by));
                    let shifted = if slots > 1 {
                        None
                    } else if op == NFT_BITWISE_LSHIFT {
                        bits.checked_shl(by)
                    } else {
                        bits.checked_shr(by)
                    };
                    Value::Within(shifted.unwrap_or(ALL))
                }
                (_, Some(Operand::Value(v))) => {
                    let v = padded(v.chunks(4).nth(at).unwrap_or_default());
                    match op {
                        NFT_BITWISE_AND => value.masked(v, 0),
                        NFT_BITWISE_OR => value.masked(!v, v),
                        NFT_BITWISE_XOR => value.masked(ALL, v),
                        _ => Value::Within(ALL),
                    }
                }
                (_, Some(Operand::Register(register))) => {
                    value.joined(op, self.get(register.map(|slot| slot + at)))
                }
                (_, None) => Value::Within(ALL),
            };
            self.put(to.map(|slot| slot + at), result);
        }
    }

    fn look_up(&mut self, set: &str, from: Register, to: Option<Register>) {
        // How long the key is, its elements will tell.
        let first = from.unwrap_or(SLOTS);
        for (at, slot) in self.slots.iter().skip(first).enumerate() {
            if let Value::Mark { keep, xor, swapped, .. } = *slot {
                let part = Part::Key { at: at * 4, swapped };
                self.used.asked.push(Asked { set: set.to_owned(), part, keep, xor });
            }
        }
        if let Some(to @ Some(_)) = to {
            self.forget(to);
            self.put(to, Value::Given { map: set.to_owned(), keep: ALL, xor: 0 });
        }
    }
}

// ===== values =====

impl Value {
    fn mark(connection: bool) -> Value {
        Value::Mark { connection, keep: ALL, xor: 0, swapped: false }
    }

    /// `(self & mask) ^ xor`.
    fn masked(self, mask: u32, xor: u32) -> Value {
        match self {
            Value::Mark { connection, keep, xor: before, swapped } => {
                let (mask, xor) = (ordered(mask, swapped), ordered(xor, swapped));
                let (keep, xor) = (keep & mask, (before & mask) ^ xor);
                Value::Mark { connection, keep, xor, swapped }
            }
            Value::Given { map, keep, xor: before } => {
                Value::Given { map, keep: keep & mask, xor: (before & mask) ^ xor }
            }
            Value::Within(bits) => Value::Within((bits & mask) | xor),
        }
    }

    fn swapped(self) -> Value {
        match self {
            Value::Mark { connection, keep, xor, swapped } => {
                Value::Mark { connection, keep, xor, swapped: !swapped }
            }
            Value::Given { .. } => Value::Within(ALL),
            Value::Within(bits) => Value::Within(bits.swap_bytes()),
        }
    }

    /// The result of a bitwise operation of two registers.
    fn joined(self, op: u32, other: Value) -> Value {
        let width = |v: &Value| match v {
            Value::Mark { keep, .. } => Some(keep.count_ones()),
            _ => None,
        };
        // The mark of which more is kept is the one that is changed by the other.
        let (base, with) =
            if width(&self) >= width(&other) { (self, other) } else { (other, self) };
        let changed = match (op, &with) {
            (NFT_BITWISE_OR | NFT_BITWISE_XOR, Value::Mark { keep, xor, .. }) => {
                copied(*keep) | xor
            }
            (NFT_BITWISE_OR | NFT_BITWISE_XOR, with) => with.possible(),
            _ => ALL,
        };
        match base {
            Value::Mark { connection, keep, xor, swapped: false } => {
                Value::Mark { connection, keep: keep & !changed, xor, swapped: false }
            }
            base => match op {
                NFT_BITWISE_AND => Value::Within(base.possible() & with.possible()),
                _ => Value::Within(base.possible() | with.possible()),
            },
        }
    }

    /// Which bits it may have.
    fn possible(&self) -> u32 {
        match self {
            Value::Mark { keep, xor, swapped, .. } => ordered(keep | xor, *swapped),
            Value::Given { keep, xor, .. } => keep | xor,
            Value::Within(bits) => *bits,
        }
    }
}

// ===== elements of sets =====

impl Asked {
    /// The bits that these elements use; `None` are those of a set that could not be read.
    pub(super) fn bits(&self, elements: Option<&[Element]>) -> u32 {
        let Some(elements) = elements else { return ALL };
        match self.part {
            Part::Data => self.xor | (self.keep & elements.iter().fold(0, |b, e| b | given(e))),
            Part::Key { at, swapped } => self.asked_for(elements, at, swapped),
        }
    }

    fn asked_for(&self, elements: &[Element], at: usize, swapped: bool) -> u32 {
        let part = |key: &[u8]| Some(ordered(word(key.get(at..)?)?, swapped) ^ self.xor);
        if self.keep != ALL {
            // An empty set does not tell how long its keys are; the first part is always there.
            let there = at == 0 || elements.iter().any(|e| part(&e.key).is_some());
            return if there { self.keep } else { 0 };
        }
        let intervals = elements.iter().any(|e| e.flags & NFT_SET_ELEM_INTERVAL_END != 0);
        let mut edges: Vec<(u32, bool)> = Vec::new();
        let mut bits = 0;
        for e in elements.iter().filter(|e| e.flags & NFT_SET_ELEM_CATCHALL == 0) {
            let Some(key) = part(&e.key) else { continue };
            match e.key_end.as_deref().and_then(part) {
                Some(last) => bits |= between(key, last),
                None if intervals => edges.push((key, e.flags & NFT_SET_ELEM_INTERVAL_END == 0)),
                None => bits |= key,
            }
        }
        // Where one interval ends and the next begins, the end comes first.
        edges.sort_unstable();
        let mut open = None;
        for (value, begins) in edges {
            match (begins, open.take()) {
                (true, _) => open = Some(value),
                (false, Some(first)) => bits |= between(first, value.saturating_sub(1)),
                (false, None) => {}
            }
        }
        bits | open.map_or(0, |first| between(first, ALL))
    }
}

/// What a map gives: all bits, unless it is a mark.
fn given(element: &Element) -> u32 {
    match &element.data {
        Some(Data::Value(bytes)) if bytes.len() == 4 => padded(bytes),
        Some(_) => ALL,
        None => 0, // the end of an interval
    }
}

// ===== xtables =====

/// What a match or a target of xtables uses.
fn xt(target: bool, name: &str, revision: u32, info: &[u8]) -> u32 {
    let field = |at: usize| info.get(at * 4..).and_then(word).unwrap_or_default();
    match (target, name, revision) {
        // xt_mark_mtinfo1 and xt_connmark_mtinfo1: mark, mask.
        (false, "mark" | "connmark", 1) => tested(field(0), field(1)),
        // xt_mark_tginfo2: mark, mask.
        (true, "MARK", 2) => set(field(0), field(1)),
        // xt_connmark_tginfo1: ctmark, ctmask, nfmask, mode; revision 2 has a shift before the mode.
        (true, "CONNMARK", 1 | 2) => {
            let mode = info.get(if revision == 1 { 12 } else { 14 });
            match mode {
                Some(&XT_CONNMARK_SET) => set(field(0), field(1)),
                _ => copied(field(1)) | copied(field(2)),
            }
        }
        // xt_tproxy_target_info: mark_mask, mark_value.
        (true, "TPROXY", _) => set(field(1), field(0)),
        (true, "HMARK", _) => ALL,
        _ => 0,
    }
}

/// `mark = (mark & ~mask) ^ value`.
pub(super) fn set(value: u32, mask: u32) -> u32 {
    if mask == ALL { value } else { mask | value }
}

/// `mark & mask == value`.
pub(super) fn tested(value: u32, mask: u32) -> u32 {
    if mask == ALL { value } else { mask }
}

/// Some bits of one mark to the other.
pub(super) fn copied(mask: u32) -> u32 {
    if mask == ALL { 0 } else { mask }
}

// ===== bits =====

/// Expressions that write no register.
const WITHOUT_REGISTER: [&str; 19] = [
    "connlimit",
    "counter",
    "dup",
    "dynset",
    "flow_offload",
    "fwd",
    "last",
    "limit",
    "log",
    "masq",
    "nat",
    "notrack",
    "objref",
    "queue",
    "quota",
    "redir",
    "reject",
    "synproxy",
    "tproxy",
];

/// A value in the host's order, which may be in the network's.
fn ordered(value: u32, swapped: bool) -> u32 {
    if swapped { value.swap_bytes() } else { value }
}

/// As much as there is of 32 bits.
fn padded(bytes: &[u8]) -> u32 {
    let mut word = [0; 4];
    word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    u32::from_ne_bytes(word)
}

/// All bits up to the highest.
fn smear(value: u32) -> u32 {
    ALL.checked_shr(value.leading_zeros()).unwrap_or(0)
}

/// The bits that a number of a range may have.
fn between(first: u32, last: u32) -> u32 {
    first | last | smear(first ^ last)
}
