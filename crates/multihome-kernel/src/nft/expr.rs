//! The expressions of a rule, from bytes and to bytes: those that a mark can pass through, and
//! those that our own table is made of. All others are kept by their names.
//!
//! Registers are counted by their 32-bit slots: `NFT_REG_1` and `NFT_REG32_00` begin at slot 0,
//! and the kernel shows either for the other (`nft_dump_register`).

use super::uapi::{
    NFT_BITWISE_MASK_XOR, NFT_REG_1, NFT_REG_4, NFT_REG_VERDICT, NFT_REG32_00, NFT_REG32_15,
    NFTA_BITWISE_DATA, NFTA_BITWISE_DREG, NFTA_BITWISE_LEN, NFTA_BITWISE_MASK, NFTA_BITWISE_OP,
    NFTA_BITWISE_SREG, NFTA_BITWISE_SREG2, NFTA_BITWISE_XOR, NFTA_BYTEORDER_DREG,
    NFTA_BYTEORDER_LEN, NFTA_BYTEORDER_SIZE, NFTA_BYTEORDER_SREG, NFTA_CMP_DATA, NFTA_CMP_OP,
    NFTA_CMP_SREG, NFTA_CT_DIRECTION, NFTA_CT_DREG, NFTA_CT_KEY, NFTA_CT_SREG, NFTA_DATA_VALUE,
    NFTA_EXPR_DATA, NFTA_EXPR_NAME, NFTA_HASH_DREG, NFTA_HASH_MODULUS, NFTA_HASH_OFFSET,
    NFTA_IMMEDIATE_DATA, NFTA_IMMEDIATE_DREG, NFTA_LIST_ELEM, NFTA_LOOKUP_DREG, NFTA_LOOKUP_FLAGS,
    NFTA_LOOKUP_SET, NFTA_LOOKUP_SREG, NFTA_MATCH_INFO, NFTA_MATCH_NAME, NFTA_MATCH_REV,
    NFTA_META_DREG, NFTA_META_KEY, NFTA_META_SREG, NFTA_NG_DREG, NFTA_NG_MODULUS, NFTA_NG_OFFSET,
    NFTA_PAYLOAD_DREG, NFTA_RANGE_FROM_DATA, NFTA_RANGE_SREG, NFTA_RANGE_TO_DATA, NFTA_SOCKET_DREG,
};
use crate::wire::{Attrs, Malformed, Message, str_of, u8_of};

/// A register: where its first 32 bits are. `None` is the verdict register.
pub(super) type Register = Option<usize>;

/// One expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expr {
    /// `meta load KEY`.
    MetaLoad { key: u32, to: Register },
    /// `meta set KEY`.
    MetaSet { key: u32, from: Register },
    /// `ct load KEY`, where it matters of one direction.
    CtLoad { key: u32, direction: Option<u8>, to: Register },
    /// `ct set KEY`.
    CtSet { key: u32, from: Register },
    /// A value; empty for a verdict.
    Immediate { to: Register, value: Vec<u8> },
    /// A comparison.
    Cmp { from: Register, op: u32, value: Vec<u8> },
    /// A comparison with both ends of a range.
    Range { from: Register, first: Vec<u8>, last: Vec<u8> },
    /// `(from & mask) ^ xor`.
    Bitwise { from: Register, to: Register, mask: Vec<u8>, xor: Vec<u8> },
    /// A shift, or what takes two registers.
    BitwiseOp { op: u32, from: Register, with: Option<Operand>, to: Register, len: u32 },
    /// Between the host's and the network's order.
    Byteorder { from: Register, to: Register, size: u32, len: u32 },
    /// A set is asked; a map gives something to a register.
    Lookup { set: String, from: Register, to: Option<Register>, flags: u32 },
    /// A number from `offset` up to, not including, `offset + modulus`.
    Number { to: Register, modulus: u32, offset: u32 },
    /// A match or a target of xtables (`nft_compat`).
    Xt { target: bool, name: String, revision: u32, info: Vec<u8> },
    /// Something of the packet that is no mark, into a register; `None` where it is written back.
    Load { to: Option<Register> },
    /// Any other.
    Other(String),
}

/// What a bitwise operation takes beside its source register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operand {
    /// A register.
    Register(Register),
    /// A value.
    Value(Vec<u8>),
}

// ===== from bytes =====

/// The expressions in `NFTA_RULE_EXPRESSIONS`.
pub(super) fn decode_all(bytes: &[u8]) -> Result<Vec<Expr>, Malformed> {
    let mut all = Vec::new();
    for attr in Attrs::new(bytes) {
        if let (NFTA_LIST_ELEM, bytes) = attr? {
            all.push(decode(bytes)?);
        }
    }
    Ok(all)
}

fn decode(bytes: &[u8]) -> Result<Expr, Malformed> {
    let (mut name, mut data) = (String::new(), &[][..]);
    for attr in Attrs::new(bytes) {
        match attr? {
            (NFTA_EXPR_NAME, bytes) => name = str_of(bytes),
            (NFTA_EXPR_DATA, bytes) => data = bytes,
            _ => {}
        }
    }
    let fields = Fields::of(data)?;
    let expr = match name.as_str() {
        "meta" => match fields.register(NFTA_META_SREG)? {
            Some(from) => Expr::MetaSet { key: fields.number(NFTA_META_KEY)?, from },
            None => Expr::MetaLoad {
                key: fields.number(NFTA_META_KEY)?,
                to: fields.needed(NFTA_META_DREG)?,
            },
        },
        "ct" => match fields.register(NFTA_CT_SREG)? {
            Some(from) => Expr::CtSet { key: fields.number(NFTA_CT_KEY)?, from },
            None => Expr::CtLoad {
                key: fields.number(NFTA_CT_KEY)?,
                direction: match fields.get(NFTA_CT_DIRECTION) {
                    Some(bytes) => Some(u8_of("NFTA_CT_DIRECTION", bytes)?),
                    None => None,
                },
                to: fields.needed(NFTA_CT_DREG)?,
            },
        },
        "immediate" => Expr::Immediate {
            to: fields.needed(NFTA_IMMEDIATE_DREG)?,
            value: fields.value(NFTA_IMMEDIATE_DATA)?,
        },
        "cmp" => Expr::Cmp {
            from: fields.needed(NFTA_CMP_SREG)?,
            op: fields.number(NFTA_CMP_OP)?,
            value: fields.value(NFTA_CMP_DATA)?,
        },
        "range" => Expr::Range {
            from: fields.needed(NFTA_RANGE_SREG)?,
            first: fields.value(NFTA_RANGE_FROM_DATA)?,
            last: fields.value(NFTA_RANGE_TO_DATA)?,
        },
        "bitwise" => bitwise(&fields)?,
        "byteorder" => Expr::Byteorder {
            from: fields.needed(NFTA_BYTEORDER_SREG)?,
            to: fields.needed(NFTA_BYTEORDER_DREG)?,
            size: fields.number(NFTA_BYTEORDER_SIZE)?,
            len: fields.number(NFTA_BYTEORDER_LEN)?,
        },
        "lookup" => Expr::Lookup {
            set: fields.text(NFTA_LOOKUP_SET),
            from: fields.needed(NFTA_LOOKUP_SREG)?,
            to: fields.register(NFTA_LOOKUP_DREG)?,
            flags: fields.number(NFTA_LOOKUP_FLAGS)?,
        },
        "numgen" => Expr::Number {
            to: fields.needed(NFTA_NG_DREG)?,
            modulus: fields.number(NFTA_NG_MODULUS)?,
            offset: fields.number(NFTA_NG_OFFSET)?,
        },
        "hash" => Expr::Number {
            to: fields.needed(NFTA_HASH_DREG)?,
            modulus: fields.number(NFTA_HASH_MODULUS)?,
            offset: fields.number(NFTA_HASH_OFFSET)?,
        },
        // The attributes of a target have the same numbers.
        "match" | "target" => Expr::Xt {
            target: name == "target",
            name: fields.text(NFTA_MATCH_NAME),
            revision: fields.number(NFTA_MATCH_REV)?,
            info: fields.get(NFTA_MATCH_INFO).unwrap_or_default().to_vec(),
        },
        "payload" | "exthdr" | "rt" | "fib" | "osf" | "xfrm" => {
            Expr::Load { to: fields.register(NFTA_PAYLOAD_DREG)? }
        }
        "socket" | "tunnel" => Expr::Load { to: fields.register(NFTA_SOCKET_DREG)? },
        _ => Expr::Other(name),
    };
    Ok(expr)
}

fn bitwise(fields: &Fields<'_>) -> Result<Expr, Malformed> {
    let from = fields.needed(NFTA_BITWISE_SREG)?;
    let to = fields.needed(NFTA_BITWISE_DREG)?;
    let op = fields.number(NFTA_BITWISE_OP)?;
    if op == NFT_BITWISE_MASK_XOR {
        let (mask, xor) = (fields.value(NFTA_BITWISE_MASK)?, fields.value(NFTA_BITWISE_XOR)?);
        return Ok(Expr::Bitwise { from, to, mask, xor });
    }
    let with = match fields.register(NFTA_BITWISE_SREG2)? {
        Some(register) => Some(Operand::Register(register)),
        None => match fields.value(NFTA_BITWISE_DATA)? {
            value if value.is_empty() => None,
            value => Some(Operand::Value(value)),
        },
    };
    Ok(Expr::BitwiseOp { op, from, with, to, len: fields.number(NFTA_BITWISE_LEN)? })
}

/// The attributes of one expression, by number.
struct Fields<'a>(Vec<(u16, &'a [u8])>);

impl<'a> Fields<'a> {
    fn of(bytes: &'a [u8]) -> Result<Fields<'a>, Malformed> {
        Ok(Fields(Attrs::new(bytes).collect::<Result<_, _>>()?))
    }

    fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.0.iter().find(|(k, _)| *k == kind).map(|(_, bytes)| *bytes)
    }

    /// A number; one that is left out is 0.
    fn number(&self, kind: u16) -> Result<u32, Malformed> {
        self.get(kind).map_or(Ok(0), |bytes| be32("a number of an expression", bytes))
    }

    fn text(&self, kind: u16) -> String {
        self.get(kind).map(str_of).unwrap_or_default()
    }

    fn register(&self, kind: u16) -> Result<Option<Register>, Malformed> {
        let Some(bytes) = self.get(kind) else { return Ok(None) };
        Ok(Some(match be32("a register", bytes)? {
            NFT_REG_VERDICT => None,
            r @ NFT_REG_1..=NFT_REG_4 => Some((r - NFT_REG_1) as usize * 4),
            r @ NFT_REG32_00..=NFT_REG32_15 => Some((r - NFT_REG32_00) as usize),
            r => return Err(Malformed(format!("an expression uses register {r}"))),
        }))
    }

    fn needed(&self, kind: u16) -> Result<Register, Malformed> {
        self.register(kind)?.ok_or_else(|| Malformed("an expression lacks its register".into()))
    }

    /// The bytes of a value; none for a verdict, or where there is nothing.
    fn value(&self, kind: u16) -> Result<Vec<u8>, Malformed> {
        self.get(kind).map_or(Ok(Vec::new()), value)
    }
}

/// The bytes in a `nft_data_attributes`; none for a verdict.
pub(super) fn value(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    for attr in Attrs::new(bytes) {
        if let (NFTA_DATA_VALUE, bytes) = attr? {
            return Ok(bytes.to_vec());
        }
    }
    Ok(Vec::new())
}

/// A number in the network's order, as all of nf_tables' are.
pub(super) fn be32(name: &str, bytes: &[u8]) -> Result<u32, Malformed> {
    crate::wire::u32_of(name, bytes).map(u32::from_be)
}

// ===== to bytes =====

impl Expr {
    /// Appends it to `NFTA_RULE_EXPRESSIONS`. What our table is not made of breaks the message.
    pub(super) fn encode(&self, list: &mut Message) {
        let expr = |list: &mut Message, name: &str, fill: &dyn Fn(&mut Message)| {
            list.nest(NFTA_LIST_ELEM, |m| {
                m.attr_str(NFTA_EXPR_NAME, name).nest(NFTA_EXPR_DATA, fill);
            });
        };
        match self {
            Expr::MetaLoad { key, to } => expr(list, "meta", &|m| {
                m.attr_be32(NFTA_META_KEY, *key).attr_be32(NFTA_META_DREG, number(*to));
            }),
            Expr::MetaSet { key, from } => expr(list, "meta", &|m| {
                m.attr_be32(NFTA_META_KEY, *key).attr_be32(NFTA_META_SREG, number(*from));
            }),
            Expr::CtLoad { key, direction, to } => expr(list, "ct", &|m| {
                m.attr_be32(NFTA_CT_KEY, *key).attr_be32(NFTA_CT_DREG, number(*to));
                if let Some(direction) = direction {
                    m.attr_u8(NFTA_CT_DIRECTION, *direction);
                }
            }),
            Expr::Cmp { from, op, value } => expr(list, "cmp", &|m| {
                m.attr_be32(NFTA_CMP_SREG, number(*from)).attr_be32(NFTA_CMP_OP, *op);
                data(m, NFTA_CMP_DATA, value);
            }),
            Expr::Bitwise { from, to, mask, xor } => expr(list, "bitwise", &|m| {
                m.attr_be32(NFTA_BITWISE_SREG, number(*from));
                m.attr_be32(NFTA_BITWISE_DREG, number(*to));
                m.attr_be32(NFTA_BITWISE_LEN, mask.len() as u32);
                data(m, NFTA_BITWISE_MASK, mask);
                data(m, NFTA_BITWISE_XOR, xor);
            }),
            Expr::Lookup { set, from, to, .. } => expr(list, "lookup", &|m| {
                m.attr_str(NFTA_LOOKUP_SET, set).attr_be32(NFTA_LOOKUP_SREG, number(*from));
                if let Some(to) = to {
                    m.attr_be32(NFTA_LOOKUP_DREG, number(*to));
                }
            }),
            _ => list.spoil(),
        }
    }
}

fn data(m: &mut Message, kind: u16, value: &[u8]) {
    m.nest(kind, |m| {
        m.attr(NFTA_DATA_VALUE, value);
    });
}

/// The number of a register as the kernel takes it.
fn number(register: Register) -> u32 {
    match register {
        None => NFT_REG_VERDICT,
        Some(slot) => NFT_REG32_00 + slot as u32,
    }
}
