//! What can go wrong between us and the kernel, in the kernel's own words.
//!
//! A refused request carries an errno and often a sentence (extended ack,
//! `NLMSGERR_ATTR_MSG`); both are shown, since the sentence says what was wrong and
//! the errno what to search for. "Unknown outcome" is an error of its own: the request
//! may have been carried out, so the only right answer to it is to observe again.

use std::io;

use rustix::io::Errno;

use crate::uapi::{
    NLM_F_ACK_TLVS, NLM_F_CAPPED, NLMSG_HDRLEN, NLMSGERR_ATTR_MSG, NLMSGERR_ATTR_OFFS,
};
use crate::wire::{Attrs, Malformed, str_of};

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The kernel refused a request.
    #[error("{}", kernel_words(*errno, message.as_deref()))]
    Kernel {
        /// The errno, as a positive number.
        errno: i32,
        /// The extended ack's sentence, when there is one; of a transaction, with the object that
        /// it is about in front.
        message: Option<String>,
    },
    /// A system call failed.
    #[error("{call}: {}", errno_words(*errno))]
    System {
        /// What was tried: `socket`, `sendto`, `open /proc/sys/net/...`.
        call: String,
        /// The errno.
        errno: i32,
    },
    /// The answer was lost: the request may or may not have been carried out.
    #[error("outcome unknown: {0}")]
    Unknown(&'static str),
    /// What the kernel sent was larger than the buffer, and the buffer has been enlarged.
    #[error("a message of {0} bytes was cut off")]
    Truncated(usize),
    /// What the kernel sent, or what it was about to be sent, is not well-formed.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

// ===== impl Error =====

impl Error {
    /// The errno, where there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Kernel { errno, .. } | Error::System { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// Whether the object to be made is there already (EEXIST).
    #[must_use]
    pub fn is_exists(&self) -> bool {
        self.is_one_of(&[Errno::EXIST])
    }

    /// Whether what the request names is not there: the rule, route, link, table or address.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.is_one_of(&[Errno::NOENT, Errno::SRCH, Errno::NODEV, Errno::NXIO, Errno::ADDRNOTAVAIL])
    }

    /// Whether the process may not do this.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        self.is_one_of(&[Errno::PERM, Errno::ACCESS])
    }

    /// Whether the file system is read-only, as `/proc/sys` is in many containers.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.is_one_of(&[Errno::ROFS])
    }

    /// Whether this kernel does not know the kind of request.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        self.is_one_of(&[Errno::OPNOTSUPP, Errno::PROTONOSUPPORT, Errno::AFNOSUPPORT])
    }

    /// Whether it is not known if the request was carried out, so that one must observe again.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Error::Unknown(_) | Error::Truncated(_))
    }

    /// A failed system call.
    pub(crate) fn system(call: impl Into<String>, errno: Errno) -> Error {
        Error::System { call: call.into(), errno: errno.raw_os_error() }
    }

    /// A failed call of the standard library or of netlink-sys.
    pub(crate) fn io(call: impl Into<String>, error: &io::Error) -> Error {
        // All of these calls are system calls, which fail with an errno.
        Error::System { call: call.into(), errno: error.raw_os_error().unwrap_or(0) }
    }

    fn is_one_of(&self, these: &[Errno]) -> bool {
        self.errno().is_some_and(|errno| these.iter().any(|e| e.raw_os_error() == errno))
    }
}

/// What `NLMSG_ERROR` says: `None` is an acknowledgement.
pub(crate) fn of_nlmsgerr(flags: u16, payload: &[u8]) -> Result<Option<Error>, Malformed> {
    let errno = errno_of("NLMSG_ERROR", payload)?;
    if errno == 0 {
        return Ok(None);
    }
    let message = sentence(flags, behind_request(flags, payload));
    Ok(Some(Error::Kernel { errno, message }))
}

/// Where in the request the fault is, counted from its header, when `NLMSG_ERROR` says so.
pub(crate) fn offset(flags: u16, payload: &[u8]) -> Option<usize> {
    let bytes = attribute(flags, behind_request(flags, payload)?, NLMSGERR_ATTR_OFFS)?;
    Some(u32::from_ne_bytes(*bytes.first_chunk()?) as usize)
}

/// The attributes of `NLMSG_ERROR`.
fn behind_request(flags: u16, payload: &[u8]) -> Option<&[u8]> {
    let mut at = 4 + NLMSG_HDRLEN;
    if flags & NLM_F_CAPPED == 0 {
        // The whole request is repeated in front of the attributes.
        let len = payload
            .get(4..8)
            .and_then(|b| b.first_chunk())
            .map_or(0, |b| u32::from_ne_bytes(*b) as usize);
        at = 4 + len.max(NLMSG_HDRLEN).next_multiple_of(4);
    }
    payload.get(at..)
}

/// What `NLMSG_DONE` says: `None` is success. Kernels before 4.13 send no error code.
pub(crate) fn of_done(flags: u16, payload: &[u8]) -> Result<Option<Error>, Malformed> {
    if payload.is_empty() {
        return Ok(None);
    }
    match errno_of("NLMSG_DONE", payload)? {
        0 => Ok(None),
        errno => Ok(Some(Error::Kernel { errno, message: sentence(flags, payload.get(4..)) })),
    }
}

fn errno_of(name: &str, payload: &[u8]) -> Result<i32, Malformed> {
    let code = i32::from_ne_bytes(crate::wire::u32_of(name, payload)?.to_ne_bytes());
    // A dump's end may carry a length instead of an error: a positive number is no errno.
    Ok(if code < 0 { code.saturating_neg() } else { 0 })
}

fn sentence(flags: u16, attributes: Option<&[u8]>) -> Option<String> {
    attribute(flags, attributes?, NLMSGERR_ATTR_MSG).map(str_of).filter(|text| !text.is_empty())
}

fn attribute(flags: u16, attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    Attrs::new(attributes)
        .map_while(Result::ok)
        .find(|(kind, _)| *kind == wanted)
        .map(|(_, bytes)| bytes)
}

fn kernel_words(errno: i32, message: Option<&str>) -> String {
    match message {
        Some(message) => format!("{message} ({})", errno_words(errno)),
        None => errno_words(errno),
    }
}

/// `ENETUNREACH: Network is unreachable`.
fn errno_words(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    match ERRNO_NAMES.iter().find(|(e, _)| e.raw_os_error() == errno) {
        Some((_, name)) => format!("{name}: {text}"),
        None => format!("errno {errno}: {text}"),
    }
}

/// The names of those that rtnetlink, sockets and `/proc/sys` answer with.
const ERRNO_NAMES: [(Errno, &str); 34] = [
    (Errno::PERM, "EPERM"),
    (Errno::NOENT, "ENOENT"),
    (Errno::SRCH, "ESRCH"),
    (Errno::INTR, "EINTR"),
    (Errno::IO, "EIO"),
    (Errno::NXIO, "ENXIO"),
    (Errno::BADF, "EBADF"),
    (Errno::AGAIN, "EAGAIN"),
    (Errno::NOMEM, "ENOMEM"),
    (Errno::ACCESS, "EACCES"),
    (Errno::BUSY, "EBUSY"),
    (Errno::EXIST, "EEXIST"),
    (Errno::NODEV, "ENODEV"),
    (Errno::INVAL, "EINVAL"),
    (Errno::NFILE, "ENFILE"),
    (Errno::MFILE, "EMFILE"),
    (Errno::NOSPC, "ENOSPC"),
    (Errno::ROFS, "EROFS"),
    (Errno::RANGE, "ERANGE"),
    (Errno::NAMETOOLONG, "ENAMETOOLONG"),
    (Errno::NOSYS, "ENOSYS"),
    (Errno::MSGSIZE, "EMSGSIZE"),
    (Errno::PROTONOSUPPORT, "EPROTONOSUPPORT"),
    (Errno::OPNOTSUPP, "EOPNOTSUPP"),
    (Errno::AFNOSUPPORT, "EAFNOSUPPORT"),
    (Errno::ADDRINUSE, "EADDRINUSE"),
    (Errno::ADDRNOTAVAIL, "EADDRNOTAVAIL"),
    (Errno::NETDOWN, "ENETDOWN"),
    (Errno::NETUNREACH, "ENETUNREACH"),
    (Errno::CONNREFUSED, "ECONNREFUSED"),
    (Errno::NOBUFS, "ENOBUFS"),
    (Errno::TIMEDOUT, "ETIMEDOUT"),
    (Errno::HOSTUNREACH, "EHOSTUNREACH"),
    (Errno::OVERFLOW, "EOVERFLOW"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn nlmsgerr(code: i32, request: &[u8], text: Option<&str>) -> Vec<u8> {
        let mut out = code.to_ne_bytes().to_vec();
        let len = u32::try_from(NLMSG_HDRLEN + request.len()).unwrap();
        out.extend_from_slice(&len.to_ne_bytes());
        out.extend_from_slice(&[0; 12]);
        out.extend_from_slice(request);
        if let Some(text) = text {
            let len = u16::try_from(text.len() + 5).unwrap();
            out.extend_from_slice(&len.to_ne_bytes());
            out.extend_from_slice(&NLMSGERR_ATTR_MSG.to_ne_bytes());
            out.extend_from_slice(text.as_bytes());
            out.push(0);
        }
        out
    }

    #[test]
    fn the_sentence_of_the_kernel_comes_first() {
        let capped = nlmsgerr(-101, &[], Some("Nexthop has invalid gateway"));
        let e = of_nlmsgerr(NLM_F_CAPPED | NLM_F_ACK_TLVS, &{
            let mut b = capped;
            // A capped error keeps the length of the request that it leaves out.
            b[4..8].copy_from_slice(&200u32.to_ne_bytes());
            b
        });
        let expected = "Nexthop has invalid gateway (ENETUNREACH: Network is unreachable)";
        assert_eq!(e.unwrap().unwrap().to_string(), expected);

        let whole = nlmsgerr(-101, &[7; 8], Some("Nexthop has invalid gateway"));
        let e = of_nlmsgerr(NLM_F_ACK_TLVS, &whole).unwrap().unwrap();
        assert_eq!(e.to_string(), expected);
    }

    #[test]
    fn the_place_of_the_fault_is_read() {
        for (flags, request) in [(NLM_F_CAPPED, &[][..]), (0, &[7; 8])] {
            let mut bytes = nlmsgerr(-22, request, Some("no"));
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            assert_eq!(offset(flags | NLM_F_ACK_TLVS, &bytes), None);
            bytes.extend_from_slice(&8u16.to_ne_bytes());
            bytes.extend_from_slice(&NLMSGERR_ATTR_OFFS.to_ne_bytes());
            bytes.extend_from_slice(&52u32.to_ne_bytes());
            assert_eq!(offset(flags | NLM_F_ACK_TLVS, &bytes), Some(52));
            assert_eq!(offset(flags, &bytes), None);
        }
    }

    #[test]
    fn an_errno_alone_has_its_name_and_meaning() {
        let e = of_nlmsgerr(0, &nlmsgerr(-3, &[], None)).unwrap().unwrap();
        assert_eq!(e.to_string(), "ESRCH: No such process");
        assert!(e.is_absent() && !e.is_exists() && e.errno() == Some(3));
        assert_eq!(of_nlmsgerr(0, &nlmsgerr(0, &[], None)), Ok(None));
    }

    #[test]
    fn the_end_of_a_dump_may_be_an_error() {
        let mut payload = (-2i32).to_ne_bytes().to_vec();
        assert!(of_done(0, &payload).unwrap().unwrap().is_absent());
        payload.extend_from_slice(&nlmsgerr(0, &[], Some("no such table"))[20..]);
        let e = of_done(NLM_F_ACK_TLVS, &payload).unwrap().unwrap();
        assert_eq!(e.to_string(), "no such table (ENOENT: No such file or directory)");
        assert_eq!(of_done(0, &[]), Ok(None));
        assert_eq!(of_done(0, &[0; 4]), Ok(None));
    }

    #[test]
    fn noise_never_panics() {
        let mut noise = crate::noise::Noise::new(2);
        for _ in 0..20_000 {
            let bytes = noise.bytes();
            let flags = noise.next() as u16;
            let _ = (of_nlmsgerr(flags, &bytes), of_done(flags, &bytes), offset(flags, &bytes));
        }
    }
}
