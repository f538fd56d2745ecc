//! Files of `/proc/net` and what else a process may read of the host without privileges.
//!
//! `/proc/net` is the network namespace of the process, `/proc/thread-self/net` that of the
//! calling thread, as netlink's is. What cannot be read is absent.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;

use multihome_core::Family;
use multihome_core::model::host::UdpSocket;

/// The counters that somebody wants, out of hundreds.
const COUNTERS: [(&str, &str); 1] = [("TcpExt", "IPReversePathFilter")];
/// As much as is read of one file: a host may have a hundred thousand sockets.
const MOST: u64 = 64 << 20;

// ===== reading =====

/// The counters that are wanted, by `TcpExt.IPReversePathFilter`.
#[must_use]
pub fn counters() -> BTreeMap<String, u64> {
    counters_in(&read("/proc/thread-self/net/netstat").unwrap_or_default())
}

/// UDP sockets that listen on the wildcard address at a port that somebody chose. None where
/// they cannot be read.
///
/// Left out are those at a port that the kernel chose (`ip_local_port_range`): they ask and are
/// not asked. Those of the kernel itself (tunnels) look like any other that no program holds.
#[must_use]
pub fn wildcard_udp() -> Option<Vec<UdpSocket>> {
    let range = read("/proc/sys/net/ipv4/ip_local_port_range");
    let chosen = range.as_deref().and_then(port_range).unwrap_or((u16::MAX, u16::MAX));
    let mut listening = Vec::new();
    for (family, file) in [(Family::V4, "udp"), (Family::V6, "udp6")] {
        match read(&format!("/proc/thread-self/net/{file}")) {
            Some(text) => listening.extend(text.lines().filter_map(|l| socket(family, l))),
            // A kernel without IPv6 has no such file.
            None if family == Family::V4 => return None,
            None => {}
        }
    }
    listening.retain(|(socket, _)| !(chosen.0..=chosen.1).contains(&socket.port));
    let programs = programs(listening.iter().map(|(_, inode)| *inode));
    let named = listening
        .into_iter()
        .map(|(socket, inode)| UdpSocket { program: programs.get(&inode).cloned(), ..socket });
    let mut sockets: Vec<UdpSocket> = named.collect();
    sockets.sort();
    sockets.dedup();
    Some(sockets)
}

/// The kernel's version, as `uname -r` prints it.
#[must_use]
pub fn release() -> Option<String> {
    one_line("/proc/sys/kernel/osrelease")
}

/// What DMI says of the machine (`sys_vendor`, `product_name`), where it has such a table; only what
/// everybody may read.
#[must_use]
pub fn dmi(field: &str) -> Option<String> {
    one_line(&format!("/sys/class/dmi/id/{field}"))
}

fn read(path: &str) -> Option<String> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn one_line(path: &str) -> Option<String> {
    let text = read(path)?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// The programs that hold these sockets, as far as this user may see.
fn programs(inodes: impl Iterator<Item = u64>) -> BTreeMap<u64, String> {
    let wanted: BTreeMap<String, u64> = inodes.map(|n| (format!("socket:[{n}]"), n)).collect();
    let mut found = BTreeMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        if found.len() == wanted.len() {
            break;
        }
        let name = process.file_name();
        if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        let path = process.path();
        for fd in fs::read_dir(path.join("fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(fd.path()) else { continue };
            let Some(inode) = target.to_str().and_then(|t| wanted.get(t)) else { continue };
            let comm = one_line(&path.join("comm").to_string_lossy());
            found.extend(comm.map(|comm| (*inode, comm)));
        }
    }
    found
}

// ===== formats =====

/// `netstat_seq_show`: for each group a line of names and a line of numbers.
fn counters_in(text: &str) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let Some((group, names)) = names.split_once(':') else { continue };
        let Some((_, values)) = values.split_once(':') else { continue };
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            if COUNTERS.contains(&(group, name))
                && let Ok(value) = value.parse()
            {
                found.insert(format!("{group}.{name}"), value);
            }
        }
    }
    found
}

fn port_range(text: &str) -> Option<(u16, u16)> {
    let mut ports = text.split_whitespace();
    Some((ports.next()?.parse().ok()?, ports.next()?.parse().ok()?))
}

/// A line of `udp4_seq_show` or `udp6_seq_show`, if its socket is on the wildcard address and
/// connected to nobody: its inode beside it.
fn socket(family: Family, line: &str) -> Option<(UdpSocket, u64)> {
    let mut words = line.split_whitespace();
    let (local, port) = words.nth(1)?.split_once(':')?;
    let (_, remote_port) = words.next()?.split_once(':')?;
    let is_wildcard = !local.is_empty() && local.bytes().all(|b| b == b'0');
    if !is_wildcard || u16::from_str_radix(remote_port, 16).ok()? != 0 {
        return None;
    }
    let port = u16::from_str_radix(port, 16).ok()?;
    let uid = words.nth(4)?.parse().ok()?;
    let inode = words.nth(1)?.parse().ok()?;
    Some((UdpSocket { family, port, uid, program: None }, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name() {
        let text = "TcpExt: SyncookiesSent IPReversePathFilter X\nTcpExt: 1 17 3\n\
                    IpExt: InNoRoutes\nIpExt: 9\n";
        assert_eq!(counters_in(text), [("TcpExt.IPReversePathFilter".to_owned(), 17)].into());
        for text in ["", "TcpExt", "TcpExt: IPReversePathFilter", "TcpExt: A\nx", "a: b\nTcpExt: 1"]
        {
            assert!(counters_in(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn who_listens_everywhere_is_told_from_who_does_not() {
        let line = |local: &str, remote: &str| {
            format!(
                " 1185: {local} {remote} 07 00000000:00000000 00:00000000 00000000   101        0 \
                 7722 2 0000000000000000 0"
            )
        };
        let four = |local: &str, remote: &str| socket(Family::V4, &line(local, remote));
        let expected = UdpSocket { family: Family::V4, port: 53, uid: 101, program: None };
        assert_eq!(four("00000000:0035", "00000000:0000"), Some((expected, 7722)));
        assert_eq!(four("0100007F:0035", "00000000:0000"), None);
        assert_eq!(four("00000000:0035", "0100007F:0035"), None);
        let six = line(&format!("{:032}:0035", 0), &format!("{:032}:0000", 0));
        assert_eq!(socket(Family::V6, &six).unwrap().0.port, 53);
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt";
        for text in [head, "", " 1: 00000000:0035", " 1: x y", " 1: :0035 00000000:0000 07"] {
            assert_eq!(socket(Family::V4, text), None, "{text}");
        }
    }

    #[test]
    fn noise_never_panics() {
        let mut noise = crate::noise::Noise::new(10);
        for _ in 0..5_000 {
            let text = String::from_utf8_lossy(&noise.bytes()).into_owned();
            let _ = (counters_in(&text), port_range(&text), socket(Family::V6, &text));
        }
    }

    #[test]
    fn this_host_has_a_release() {
        assert!(release().is_some_and(|r| r.contains('.')));
        assert!(wildcard_udp().is_some());
    }
}
