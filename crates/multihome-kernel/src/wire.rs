//! Messages and attributes as bytes: building them and taking them apart.
//!
//! netlink(7) is native-endian, and everything is aligned to 4 bytes. What comes in
//! is checked as `nla_ok` checks it: a length that does not fit is an error of that
//! message, never a panic and never a shorter list. Building cannot fail on the way;
//! an attribute that is too long for its 16-bit length marks the message as broken,
//! and sending it is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::uapi::{NLA_F_NESTED, NLA_TYPE_MASK, NLM_F_REQUEST, NLMSG_HDRLEN};

/// One request under construction: a header, the family's own header, and attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
    broken: bool,
}

/// The attributes in a payload, one after the other: number without flag bits, and bytes.
///
/// A length that does not fit ends the iteration with an error.
#[derive(Debug, Clone)]
pub struct Attrs<'a> {
    rest: &'a [u8],
}

/// The messages in one datagram. What does not fit ends the iteration with an error.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

/// A message as it came in.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`: of the request that this answers; 0 for events.
    pub seq: u32,
    /// `nlmsg_pid`: of an event, the port of the request that caused it.
    pub port: u32,
    /// What comes behind the header.
    pub payload: &'a [u8],
}

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

// ===== impl Message =====

impl Message {
    /// A request of `nlmsg_type` `kind` with the family's own header (`ifinfomsg`, `rtmsg`, ...).
    /// `NLM_F_REQUEST` is added to the flags.
    #[must_use]
    pub fn new(kind: u16, flags: u16, header: &[u8]) -> Message {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&[0; 4]); // nlmsg_len, written when it is sent
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]); // nlmsg_seq and nlmsg_pid
        let mut message = Message { bytes, broken: false };
        message.raw(header);
        message
    }

    /// Appends an attribute.
    pub fn attr(&mut self, kind: u16, payload: &[u8]) -> &mut Self {
        match u16::try_from(payload.len() + 4) {
            Ok(len) => {
                self.bytes.extend_from_slice(&len.to_ne_bytes());
                self.bytes.extend_from_slice(&kind.to_ne_bytes());
                self.raw(payload);
            }
            Err(_) => self.broken = true,
        }
        self
    }

    /// Appends an attribute of one byte.
    pub fn attr_u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.attr(kind, &[value])
    }

    /// Appends an attribute of 16 bits.
    pub fn attr_u16(&mut self, kind: u16, value: u16) -> &mut Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Appends an attribute of 32 bits.
    pub fn attr_u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Appends an attribute of 32 bits in the network's order, as nf_tables has them.
    pub fn attr_be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Appends a string with its terminating NUL.
    pub fn attr_str(&mut self, kind: u16, value: &str) -> &mut Self {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.close(at, kind)
    }

    /// Appends an address: 4 bytes or 16.
    pub fn attr_addr(&mut self, kind: u16, address: IpAddr) -> &mut Self {
        match address {
            IpAddr::V4(a) => self.attr(kind, &a.octets()),
            IpAddr::V6(a) => self.attr(kind, &a.octets()),
        }
    }

    /// Appends an attribute that holds others, with `NLA_F_NESTED`.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Message)) -> &mut Self {
        self.container(kind | NLA_F_NESTED, fill)
    }

    /// Appends an attribute that holds structures rather than attributes (`RTA_MULTIPATH`).
    pub fn container(&mut self, kind: u16, fill: impl FnOnce(&mut Message)) -> &mut Self {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        fill(self);
        self.close(at, kind)
    }

    /// Appends one `rtnexthop` with its attributes, inside `RTA_MULTIPATH`.
    pub fn rtnexthop(
        &mut self,
        flags: u8,
        hops: u8,
        ifindex: u32,
        fill: impl FnOnce(&mut Message),
    ) -> &mut Self {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0, flags, hops]);
        self.bytes.extend_from_slice(&ifindex.to_ne_bytes());
        fill(self);
        match u16::try_from(self.bytes.len() - at) {
            Ok(len) => self.put(at, &len.to_ne_bytes()),
            Err(_) => self.broken = true,
        }
        self
    }

    /// Appends bytes as they are, padded: the `ifinfomsg` inside `VETH_INFO_PEER`, for one.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// `nlmsg_type`.
    #[must_use]
    pub fn kind(&self) -> u16 {
        u16::from_ne_bytes([self.bytes[4], self.bytes[5]]) // new() wrote 16 bytes
    }

    /// `nlmsg_flags`.
    #[must_use]
    pub fn flags(&self) -> u16 {
        u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) // new() wrote 16 bytes
    }

    /// What comes behind the netlink header, as the kernel will see it.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[NLMSG_HDRLEN..]
    }

    /// Whether an attribute did not fit, so that the message must not be sent.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken || self.bytes.len() > i32::MAX as usize
    }

    /// Breaks the message: there are no bytes for what it should say.
    pub(crate) fn spoil(&mut self) {
        self.broken = true;
    }

    /// Length in bytes, header included.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the finished message to a datagram; `flags` are added to its own.
    pub(crate) fn finish(&self, flags: u16, seq: u32, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&self.bytes);
        // new() wrote 16 bytes, and is_broken() bounds the length.
        let len = u32::try_from(self.bytes.len()).unwrap_or(0);
        out[at..at + 4].copy_from_slice(&len.to_ne_bytes());
        out[at + 6..at + 8].copy_from_slice(&(self.flags() | flags).to_ne_bytes());
        out[at + 8..at + 12].copy_from_slice(&seq.to_ne_bytes());
    }

    fn close(&mut self, at: usize, kind: u16) -> &mut Self {
        match u16::try_from(self.bytes.len() - at) {
            Ok(len) => {
                self.put(at, &len.to_ne_bytes());
                self.put(at + 2, &kind.to_ne_bytes());
            }
            Err(_) => self.broken = true,
        }
        self.pad();
        self
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

// ===== impl Attrs =====

impl<'a> Attrs<'a> {
    /// The attributes in `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Attrs<'a> {
        Attrs { rest: bytes }
    }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = Result<(u16, &'a [u8]), Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let header = self.rest.first_chunk::<4>();
        let len = header.map_or(0, |h| usize::from(u16::from_ne_bytes([h[0], h[1]])));
        let (Some(header), Some(payload)) = (header, self.rest.get(4..len)) else {
            let left = self.rest.len();
            self.rest = &[];
            return Some(Err(Malformed(format!(
                "an attribute says {len} bytes where {left} are left"
            ))));
        };
        let kind = u16::from_ne_bytes([header[2], header[3]]) & NLA_TYPE_MASK;
        self.rest = self.rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some(Ok((kind, payload)))
    }
}

// ===== impl Messages =====

impl<'a> Messages<'a> {
    /// The messages in `datagram`.
    #[must_use]
    pub fn new(datagram: &'a [u8]) -> Messages<'a> {
        Messages { rest: datagram }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Received<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let header = self.rest.first_chunk::<NLMSG_HDRLEN>();
        let len = header.map_or(0, |h| u32::from_ne_bytes([h[0], h[1], h[2], h[3]]) as usize);
        let (Some(h), Some(payload)) = (header, self.rest.get(NLMSG_HDRLEN..len)) else {
            let left = self.rest.len();
            self.rest = &[];
            return Some(Err(Malformed(format!(
                "a message says {len} bytes where {left} are left"
            ))));
        };
        self.rest = self.rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some(Ok(Received {
            kind: u16::from_ne_bytes([h[4], h[5]]),
            flags: u16::from_ne_bytes([h[6], h[7]]),
            seq: u32::from_ne_bytes([h[8], h[9], h[10], h[11]]),
            port: u32::from_ne_bytes([h[12], h[13], h[14], h[15]]),
            payload,
        }))
    }
}

// ===== single values =====

/// A value of one byte; `name` is the attribute's, for the error.
pub(crate) fn u8_of(name: &str, bytes: &[u8]) -> Result<u8, Malformed> {
    match bytes {
        [b, ..] => Ok(*b),
        [] => Err(short(name, bytes)),
    }
}

/// A value of 32 bits.
pub(crate) fn u32_of(name: &str, bytes: &[u8]) -> Result<u32, Malformed> {
    bytes.first_chunk().map(|b| u32::from_ne_bytes(*b)).ok_or_else(|| short(name, bytes))
}

/// Two values of 16 bits.
pub(crate) fn u16_pair_of(name: &str, bytes: &[u8]) -> Result<(u16, u16), Malformed> {
    match bytes.first_chunk::<4>() {
        Some([a, b, c, d]) => Ok((u16::from_ne_bytes([*a, *b]), u16::from_ne_bytes([*c, *d]))),
        None => Err(short(name, bytes)),
    }
}

/// A string up to its NUL. The kernel bounds names but not their encoding.
pub(crate) fn str_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// An address of a known family.
pub(crate) fn addr_of(name: &str, family: u8, bytes: &[u8]) -> Result<IpAddr, Malformed> {
    let address = match family {
        crate::uapi::AF_INET => {
            <[u8; 4]>::try_from(bytes).ok().map(|b| IpAddr::V4(Ipv4Addr::from(b)))
        }
        crate::uapi::AF_INET6 => {
            <[u8; 16]>::try_from(bytes).ok().map(|b| IpAddr::V6(Ipv6Addr::from(b)))
        }
        _ => return Err(Malformed(format!("{name} is of address family {family}"))),
    };
    address.ok_or_else(|| short(name, bytes))
}

/// A fixed header in front of the attributes, and the attributes.
pub(crate) fn split<'a, const N: usize>(
    name: &str,
    payload: &'a [u8],
) -> Result<([u8; N], Attrs<'a>), Malformed> {
    match payload.split_first_chunk::<N>() {
        Some((header, rest)) => Ok((*header, Attrs::new(rest))),
        None => Err(short(name, payload)),
    }
}

/// The error for a value of a wrong length.
pub(crate) fn short(name: &str, bytes: &[u8]) -> Malformed {
    Malformed(format!("{name} has {} bytes", bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_laid_out_as_netlink_wants_it() {
        let mut m = Message::new(16, 0x400, &[1, 2, 3]);
        m.attr_u32(27, 7).attr_str(3, "ab");
        m.nest(18, |m| {
            m.attr(1, b"veth");
        });
        let mut out = Vec::new();
        m.finish(4, 9, &mut out);
        let mut expected = Vec::new();
        expected.extend_from_slice(&48u32.to_ne_bytes());
        expected.extend_from_slice(&16u16.to_ne_bytes());
        expected.extend_from_slice(&0x405u16.to_ne_bytes());
        expected.extend_from_slice(&9u32.to_ne_bytes());
        expected.extend_from_slice(&[0; 4]);
        expected.extend_from_slice(&[1, 2, 3, 0]);
        for (len, kind, payload) in [
            (8u16, 27u16, &7u32.to_ne_bytes()[..]),
            (7, 3, b"ab\0\0"),
            (12, 18 | 0x8000, b""),
            (8, 1, b"veth"),
        ] {
            expected.extend_from_slice(&len.to_ne_bytes());
            expected.extend_from_slice(&kind.to_ne_bytes());
            expected.extend_from_slice(payload);
        }
        assert_eq!(out, expected);
    }

    #[test]
    fn what_was_built_is_taken_apart_again() {
        let mut m = Message::new(24, 0, &[0; 12]);
        m.attr(1, &[1, 2, 3]).attr(2, &[]);
        m.nest(3, |m| {
            m.attr_u8(4, 5);
        });
        let attrs: Vec<_> = Attrs::new(&m.payload()[12..]).collect::<Result<_, _>>().unwrap();
        assert_eq!(attrs[0], (1, &[1, 2, 3][..]));
        assert_eq!(attrs[1], (2, &[][..]));
        let inner: Vec<_> = Attrs::new(attrs[2].1).collect::<Result<_, _>>().unwrap();
        assert_eq!((attrs[2].0, inner), (3, vec![(4, &[5][..])]));
    }

    #[test]
    fn a_length_that_does_not_fit_is_an_error() {
        for bytes in [&[9, 0, 1, 0, 0][..], &[3, 0, 1, 0], &[0, 0, 0, 0], &[4, 0], &[8, 0, 1, 0]] {
            let all: Vec<_> = Attrs::new(bytes).collect();
            assert_eq!(all.len(), 1, "{bytes:?}");
            assert!(all[0].is_err(), "{bytes:?}");
        }
        assert!(Messages::new(&[16, 0, 0]).next().unwrap().is_err());
        assert!(Messages::new(&[15; 16]).next().unwrap().is_err());
    }

    #[test]
    fn a_last_attribute_without_padding_is_taken() {
        let all: Vec<_> = Attrs::new(&[5, 0, 1, 0, 42]).collect();
        assert_eq!(all, [Ok((1, &[42][..]))]);
    }

    #[test]
    fn an_attribute_that_is_too_long_breaks_the_message() {
        let mut m = Message::new(24, 0, &[]);
        assert!(!m.attr(1, &[0; 65531]).is_broken());
        assert!(m.attr(1, &[0; 65532]).is_broken());
        let mut m = Message::new(24, 0, &[]);
        m.nest(1, |m| {
            m.attr(1, &[0; 40000]).attr(1, &[0; 40000]);
        });
        assert!(m.is_broken());
    }

    #[test]
    fn noise_never_panics() {
        let mut noise = crate::noise::Noise::new(1);
        for _ in 0..20_000 {
            let bytes = noise.bytes();
            Attrs::new(&bytes).for_each(drop);
            Messages::new(&bytes).for_each(drop);
        }
    }
}
