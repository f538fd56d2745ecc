//! What the older xtables hold (`iptables-legacy`), which nf_tables does not show.
//!
//! Their rules are read by their own programs only; these are asked when the kernel has such
//! tables in this namespace. What they print is parsed with suspicion and bounded in time.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use multihome_core::Family;
use multihome_core::model::netfilter::{MarkUse, Netfilter};

use super::marks::{copied, set, tested};

/// What one program printed, as far as it concerns us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// The bits of the mark that each chain uses, by table and chain.
    pub marks: BTreeMap<(String, String), u32>,
    /// Whether the table `nat` has a rule.
    pub nat: bool,
}

/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// As much as is read of what it prints.
const MOST: u64 = 64 << 20;
/// Where a daemon's PATH may not lead.
const DIRECTORIES: [&str; 2] = ["/usr/sbin", "/sbin"];

// ===== the system =====

/// Adds what there is of both families.
pub(super) fn observe(found: &mut Netfilter) {
    for (family, file, name) in [
        (Family::V4, "ip_tables_names", "iptables-legacy"),
        (Family::V6, "ip6_tables_names", "ip6tables-legacy"),
    ] {
        let path = format!("/proc/thread-self/net/{file}");
        let tables = match fs::read_to_string(&path) {
            Ok(tables) if tables.trim().is_empty() => continue,
            Ok(tables) => tables,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => {
                found.unread.push(format!("open {path}: {e}"));
                continue;
            }
        };
        let nat = match run(&format!("{name}-save")) {
            Ok(text) => {
                let saved = parse(&text);
                found.marks.extend(saved.marks.into_iter().map(|((table, chain), bits)| MarkUse {
                    by: format!("{name} {table} {chain}"),
                    bits,
                }));
                saved.nat
            }
            Err(why) => {
                let listed: Vec<&str> = tables.split_whitespace().collect();
                found.unread.push(format!(
                    "rules of {name} (table {}) could not be read: {why}",
                    listed.join(", ")
                ));
                listed.contains(&"nat")
            }
        };
        if nat {
            found.nat.insert(family);
        }
    }
}

fn run(program: &str) -> Result<String, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(DIRECTORIES.map(PathBuf::from));
    let found = directories.map(|d| d.join(program)).find(|p| p.is_absolute() && p.is_file());
    let found = found.ok_or_else(|| format!("there is no program {program}"))?;
    within(&found, PATIENCE).map_err(|e| format!("{program}: {e}"))
}

/// What a program prints, if it ends in time and well.
fn within(program: &Path, patience: Duration) -> Result<String, String> {
    let mut child = Command::new(program)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| e.to_string())?;
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        // Its end is the program's: killed, it closes the pipe.
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.take(MOST).read_to_end(&mut bytes).map(|_| bytes);
            let _ = sender.send(read);
        });
    }
    let begin = Instant::now();
    let printed = receiver.recv_timeout(patience);
    while child.try_wait().is_ok_and(|status| status.is_none()) && begin.elapsed() < patience {
        thread::sleep(Duration::from_millis(1)); // it has printed all, and is about to end
    }
    let _ = child.kill(); // of one that ended, nothing
    let status = child.wait().map_err(|e| e.to_string())?;
    match printed {
        Err(_) => Err(format!("no end in {} s", patience.as_secs_f32())),
        Ok(Err(e)) => Err(e.to_string()),
        Ok(Ok(_)) if !status.success() => Err(status.to_string()),
        Ok(Ok(bytes)) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

// ===== what it prints =====

/// The format of `iptables-save`.
#[must_use]
pub fn parse(text: &str) -> Saved {
    let mut saved = Saved::default();
    let mut table = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.trim();
            continue;
        }
        // With counters (-c) they come first: [0:0] -A ...
        let line = match line.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map_or("", |(_, rule)| rule.trim_start()),
            None => line,
        };
        let words = words(line);
        let [command, chain, rest @ ..] = words.as_slice() else { continue };
        if command != "-A" {
            continue;
        }
        saved.nat |= table == "nat";
        let bits = used(rest);
        if bits != 0 {
            *saved.marks.entry((table.to_owned(), chain.clone())).or_default() |= bits;
        }
    }
    saved
}

/// The bits that one rule uses, from its words.
fn used(words: &[String]) -> u32 {
    let mut bits = 0;
    let mut masks = Vec::new();
    let (mut target, mut moves) = ("", false);
    for (at, word) in words.iter().enumerate() {
        let next = words.get(at + 1).map_or("", String::as_str);
        match word.as_str() {
            "-j" | "-g" => target = next,
            "--mark" => bits |= masked(next).map_or(0, |(value, mask)| tested(value, mask)),
            "--set-xmark" | "--set-mark" | "--tproxy-mark" => {
                bits |= masked(next).map_or(0, |(value, mask)| set(value, mask));
            }
            "--or-mark" | "--xor-mark" => bits |= number(next).unwrap_or(0),
            "--and-mark" => bits |= number(next).map_or(0, |value| !value),
            "--save-mark" | "--restore-mark" => moves = true,
            "--nfmask" | "--ctmask" | "--mask" => masks.extend(number(next)),
            _ => {}
        }
    }
    if target == "CONNMARK" && moves {
        masks.into_iter().for_each(|mask| bits |= copied(mask));
    }
    if target == "HMARK" {
        bits = u32::MAX;
    }
    bits
}

/// `VALUE` or `VALUE/MASK`.
fn masked(word: &str) -> Option<(u32, u32)> {
    match word.split_once('/') {
        Some((value, mask)) => Some((number(value)?, number(mask)?)),
        None => Some((number(word)?, u32::MAX)),
    }
}

fn number(word: &str) -> Option<u32> {
    match word.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

/// The words of a line; what is quoted (a comment) is one word.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted) = (None::<String>, false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => word.get_or_insert_default().extend(chars.next()),
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rules: &str) -> Vec<(String, u32)> {
        let saved = parse(&format!("*mangle\n:PREROUTING ACCEPT [0:0]\n{rules}\nCOMMIT\n"));
        saved.marks.into_iter().map(|((_, chain), bits)| (chain, bits)).collect()
    }

    fn bits(rule: &str) -> u32 {
        of(&format!("-A PREROUTING {rule}")).first().map_or(0, |(_, bits)| *bits)
    }

    #[test]
    fn marks_are_read_from_what_is_saved() {
        for (rule, expected) in [
            ("-j MARK --set-xmark 0x4000/0x4000", 0x4000),
            ("-j MARK --set-xmark 0x5/0xffffffff", 5),
            ("-j MARK --set-xmark 0x0/0xff", 0xff),
            ("-j MARK --set-mark 7", 7),
            ("-j MARK --and-mark 0xffffff00", 0xff),
            ("-m mark --mark 0x8000/0x8000 -j DROP", 0x8000),
            ("-m mark ! --mark 0x0/0xff0000 -j ACCEPT", 0xff_0000),
            ("-m mark --mark 0xca6c -j ACCEPT", 0xca6c),
            ("-m mark --mark 0x0 -j ACCEPT", 0),
            ("-m connmark --mark 0x80/0x80 -j ACCEPT", 0x80),
            ("-j CONNMARK --set-xmark 0x80/0x80", 0x80),
            ("-j CONNMARK --restore-mark --nfmask 0x3f00 --ctmask 0x3f00", 0x3f00),
            ("-j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff", 0),
            ("-p tcp -j TPROXY --on-port 80 --on-ip 0.0.0.0 --tproxy-mark 0x1/0x1", 1),
            ("-m comment --comment \"-j MARK --set-mark \\\"9\\\" --mark 9\" -j ACCEPT", 0),
            ("-m tcp --dport 80 -j ACCEPT", 0),
            ("-j MARK --set-xmark nonsense", 0),
            ("-j MARK --set-xmark", 0),
        ] {
            assert_eq!(bits(rule), expected, "{rule}");
        }
    }

    #[test]
    fn rules_of_one_chain_are_put_together() {
        let rules = "-A A -j MARK --set-mark 1\n-A B -j MARK --set-mark 2\n\
                     [3:180] -A A -j MARK --set-mark 4";
        assert_eq!(of(rules), [("A".to_owned(), 5), ("B".to_owned(), 2)]);
    }

    #[test]
    fn a_table_that_only_exists_translates_nothing() {
        assert!(!parse("*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n").nat);
        assert!(!parse("*filter\n-A INPUT -j ACCEPT\nCOMMIT\n").nat);
        assert!(parse("*nat\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n").nat);
    }

    #[test]
    fn noise_never_panics() {
        let mut noise = crate::noise::Noise::new(21);
        for _ in 0..20_000 {
            let _ = parse(&String::from_utf8_lossy(&noise.bytes()));
            let line = noise.damage(b"*nat\n[0:0] -A X -m mark --mark 0x1/0x2 -j \"A\\\"\n");
            let _ = parse(&String::from_utf8_lossy(&line));
        }
    }

    #[test]
    fn a_program_that_does_not_end_is_not_waited_for() {
        let begin = std::time::Instant::now();
        let e = within(Path::new("/usr/bin/yes"), Duration::from_millis(100)).unwrap_err();
        assert!(begin.elapsed() < Duration::from_secs(1), "{e}");
        assert!(within(Path::new("/bin/false"), PATIENCE).is_err());
        assert_eq!(within(Path::new("/bin/true"), PATIENCE).as_deref(), Ok(""));
    }
}
