//! Values that several formats write alike.

use std::net::IpAddr;
use std::str::FromStr;

use multihome_core::prefix::{Family, Prefix};

/// A number, decimal or hexadecimal (`safe_atou32` and `strtoul` read both).
pub(crate) fn number(text: &str) -> Option<u32> {
    // `parse` would take a sign.
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok().filter(|_| digits(hex)),
        None => text.parse().ok().filter(|_| digits(text)),
    }
}

/// `ADDRESS` or `ADDRESS/LENGTH`; host bits do not count.
pub(crate) fn network(text: &str) -> Option<Prefix> {
    let (address, length) = split(text)?;
    Some(Prefix::new(address, length))
}

/// An address and the length of its network, all of its bits if there is none.
pub(crate) fn split(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let bits = Family::of(address).bits();
    let length = match length {
        Some(length) => u8::try_from(number(length)?).ok().filter(|l| *l <= bits)?,
        None => bits,
    };
    Some((address, length))
}

/// `7` or `7/0xff`.
pub(crate) fn mark(text: &str) -> Option<(u32, u32)> {
    match text.split_once('/') {
        Some((mark, mask)) => Some((number(mark)?, number(mask)?)),
        None => Some((number(text)?, u32::MAX)),
    }
}

/// `7` or `7-9`.
pub(crate) fn range<T: FromStr + Copy + PartialOrd>(text: &str) -> Option<(T, T)> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    (from <= to).then_some((from, to))
}
