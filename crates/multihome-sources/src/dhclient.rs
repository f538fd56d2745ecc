//! The lease files of ISC's dhclient: `/var/lib/dhcp` and `/var/lib/dhclient`.
//!
//! The grammar of dhclient.leases(5), as `write_client_lease` (client/dhclient.c) writes it and
//! `read_client_leases` (client/clparse.c) reads it back; files of 4.4.3 were read. dhclient
//! appends a `lease` to the file whenever it got one and, now and then, empties the file and
//! writes the last of each anew. So a file may end within a lease: what is complete counts.
//!
//! One file may hold the leases of all cards, and what stands in a lease a server sent: what is
//! wrong with one must not take away another card's. A lease begins at the beginning of a line,
//! whatever was left open before.
//!
//! Of the leases of one interface and address the last counts, over or not: after a release
//! dhclient appends the lease once more with its end in the past. Several addresses of one
//! interface may be there; which of them holds is for the address on the card to tell.
//!
//! `dhclient-script` changes no route when a renewal brings another gateway. So the gateways of
//! the earlier leases of an interface go along, as former ones.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use multihome_core::model::hint::{HintedLink, Source};

use crate::calendar;
use crate::dhclient_words::{Token, Tokens};
use crate::former;
use crate::parse::{File, Lease, Parsed, check_interface};
use crate::routes::{self, Pair, Ways, not};

/// Leases that are in force at a time: the newest count.
const MAX: usize = 256;
/// Interfaces of which is said what is wrong with their leases.
const MAX_FAULTS: usize = 4;

/// Names of the options that can hold classless routes, the best first. What has no name in
/// dhclient.conf is `unknown-121`; the others are what distributions and manuals call them.
const CLASSLESS: [&str; 6] = [
    "rfc3442-classless-static-routes",
    "classless-static-routes",
    "unknown-121",
    "option-121",
    "ms-classless-static-routes",
    "unknown-249",
];

/// What is said of one lease.
#[derive(Debug, Default)]
struct Block {
    interface: Option<String>,
    address: Option<Ipv4Addr>,
    routers: Vec<Ipv4Addr>,
    classless: BTreeMap<usize, Vec<Pair>>,
    seconds: Option<u64>,
    /// Some(None) is `never`.
    expires: Option<Option<u64>>,
    /// The first thing that is wrong with it.
    fault: Option<String>,
}

/// The last lease of each interface and address, numbered as they came.
type Leases = BTreeMap<(String, Ipv4Addr), (usize, Block)>;

/// What a lease file says.
pub(crate) fn leases(file: File<'_>) -> Parsed {
    // What is no text makes nonsense of the word it stands in, and harms no other.
    let text = String::from_utf8_lossy(file.bytes);
    let (blocks, is_cut) = blocks(&text);
    let mut found = Leases::new();
    let mut gateways: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    let mut faults: BTreeMap<Option<String>, String> = BTreeMap::new();
    for (number, block) in blocks.into_iter().enumerate() {
        match &block.fault {
            Some(fault) if !block.is_over(file.now) => {
                faults.insert(block.interface.clone(), fault.clone());
            }
            _ => {
                faults.remove(&block.interface);
            }
        }
        // Without these dhclient has no use for it either.
        let (Some(interface), Some(address)) = (block.interface.clone(), block.address) else {
            continue;
        };
        if block.fault.is_none() {
            let ways = Ways::of(Some(address), &block.routers, block.classless());
            former::add(gateways.entry(interface.clone()).or_default(), &ways.gateways);
        }
        // Also one with a fault: what it replaced is no more.
        found.insert((interface, address), (number, block));
    }
    let mut passed_over = told(faults);
    passed_over.extend(leave_out(&mut found, file.now));
    let mut hints = Vec::new();
    for ((interface, address), (_, block)) in &found {
        let (Some(expires), None) = (block.expires, &block.fault) else { continue };
        let since = match (expires, block.seconds) {
            (Some(end), Some(seconds)) => end.saturating_sub(seconds),
            _ => file.modified,
        };
        let lease = Lease {
            link: HintedLink::Name(interface.clone()),
            source: Source::Dhclient,
            address: *address,
            routers: &block.routers,
            classless: block.classless(),
            since: since.min(file.now),
            expires,
        };
        let mut hint = lease.hint(file.shown);
        let seen = gateways.get(interface).map_or(&[][..], Vec::as_slice);
        hint.former = former::without(seen, &hint.gateways);
        hints.push(hint);
    }
    Parsed { hints, is_cut, passed_over }
}

/// What is said of leases that are passed over: of a card's last one, and not of every card.
fn told(mut faults: BTreeMap<Option<String>, String>) -> Vec<String> {
    let more = faults.len().saturating_sub(MAX_FAULTS);
    let told = std::iter::from_fn(|| faults.pop_first()).take(MAX_FAULTS);
    let mut told: Vec<String> = told
        .map(|(interface, fault)| match interface {
            Some(name) => format!("{name}'s lease: {fault}"),
            None => format!("a lease in it: {fault}"),
        })
        .collect();
    if more > 0 {
        told.push(format!("leases of {more} more interfaces, for the same or the like"));
    }
    told
}

/// Leaves out what is too much: what is over, then the oldest, which is said.
fn leave_out(found: &mut Leases, now: u64) -> Option<String> {
    if found.len() > MAX {
        found.retain(|_, (_, block)| !block.is_over(now));
    }
    if found.len() <= MAX {
        return None;
    }
    let mut numbers: Vec<usize> = found.values().map(|(number, _)| *number).collect();
    numbers.sort_unstable();
    let first = numbers[numbers.len() - MAX];
    found.retain(|_, (number, _)| *number >= first);
    Some(format!("more than {MAX} leases in force, the oldest left out"))
}

impl Block {
    fn is_over(&self, now: u64) -> bool {
        matches!(self.expires, Some(Some(end)) if end <= now)
    }

    fn classless(&self) -> Option<&[Pair]> {
        self.classless.values().next().map(Vec::as_slice)
    }

    /// Takes one statement.
    fn take(&mut self, words: &[Token<'_>]) -> Result<(), String> {
        match words {
            [Token::Word("interface"), Token::Text(name)] => {
                let name = String::from_utf8_lossy(name).into_owned();
                check_interface(&name).map_err(|e| format!("interface: {e}"))?;
                self.interface = Some(name);
            }
            [Token::Word("fixed-address"), Token::Word(address)] => {
                self.address = Some(address.parse().map_err(|_| not(address, "IPv4 address"))?);
            }
            [Token::Word("expire"), when @ ..] => self.expires = Some(moment(when)?),
            [Token::Word("option"), Token::Word(name), value @ ..] => self.option(name, value)?,
            _ => {}
        }
        Ok(())
    }

    fn option(&mut self, name: &str, value: &[Token<'_>]) -> Result<(), String> {
        let text = || {
            let words = value.iter().filter_map(|token| match token {
                Token::Word(word) => Some(*word),
                Token::Text(_) => None,
            });
            words.collect::<Vec<_>>().join(" ")
        };
        let named = |e: String| format!("{name}: {e}");
        match name {
            "routers" => self.routers = routes::addresses(&text()).map_err(named)?,
            "dhcp-lease-time" => self.seconds = text().parse().ok(),
            _ => {
                if let Some(rank) = CLASSLESS.iter().position(|known| *known == name) {
                    let pairs = match value {
                        // Octets all of which can be printed are written as text.
                        [Token::Text(octets)] if is_lossy(octets) => Err("no octets".to_owned()),
                        [Token::Text(octets)] => routes::from_octets(octets),
                        [Token::Word(hex)] if hex.contains(':') => routes::from_hex(hex),
                        _ => routes::from_text(&text()),
                    };
                    self.classless.insert(rank, pairs.map_err(named)?);
                }
            }
        }
        Ok(())
    }
}

/// Whether there is something in the place of what was no text.
fn is_lossy(octets: &[u8]) -> bool {
    matches!(String::from_utf8_lossy(octets), Cow::Borrowed(text) if text.contains('\u{fffd}'))
}

/// The leases of a file, and whether it ends too soon.
fn blocks(text: &str) -> (Vec<Block>, bool) {
    let mut blocks = Vec::new();
    let mut is_cut = text.is_empty();
    let parts = parts(text);
    for (at, part) in parts.iter().enumerate() {
        let is_last = at + 1 == parts.len();
        let mut tokens = Tokens::of(part);
        loop {
            match tokens.next_lease() {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => {
                    is_cut |= is_last;
                    break;
                }
            }
            let (mut block, has_end) = block(&mut tokens);
            if !has_end && is_last {
                is_cut = true;
                break;
            }
            if !has_end {
                block.fault = Some("it has no end".to_owned());
            }
            blocks.push(block);
        }
    }
    (blocks, is_cut)
}

/// A file in parts that begin where a lease does.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, word) in text.match_indices("\nlease") {
        if text[at + word.len()..].trim_start().starts_with('{') {
            parts.push(&text[from..at]);
            from = at + 1;
        }
    }
    parts.push(&text[from..]);
    parts
}

/// The statements up to the end of a lease, and whether that is there.
fn block(tokens: &mut Tokens<'_>) -> (Block, bool) {
    let mut block = Block::default();
    loop {
        match tokens.statement() {
            Ok(Some(words)) => {
                if let Err(fault) = block.take(&words) {
                    block.fault.get_or_insert(fault);
                }
            }
            Ok(None) => return (block, true),
            Err(_) => return (block, false),
        }
    }
}

/// `never`, `epoch SECONDS`, or a weekday, a date and a time in UTC; in seconds since 1970.
fn moment(words: &[Token<'_>]) -> Result<Option<u64>, String> {
    let not_understood = || "its `expire` is not understood".to_owned();
    match words {
        [Token::Word("never")] => Ok(None),
        [Token::Word("epoch"), Token::Word(seconds)] => {
            seconds.parse().map(Some).map_err(|_| not(seconds, "number"))
        }
        [Token::Word(_), Token::Word(date), Token::Word(time)] => {
            calendar::seconds(date, time).map(Some).ok_or_else(not_understood)
        }
        _ => Err(not_understood()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Parsed {
        let bytes = text.as_bytes();
        leases(File {
            name: "dhclient.leases",
            shown: "f",
            bytes,
            modified: 10,
            now: 2_000_000_000,
        })
    }

    /// What is wrong with the only lease.
    fn fault(text: &str) -> String {
        let Parsed { hints, passed_over, .. } = parsed(text);
        assert!(hints.is_empty() && passed_over.len() == 1, "{hints:?} {passed_over:?}");
        passed_over.concat()
    }

    fn lease(more: &str) -> String {
        format!(
            "lease {{\n  interface \"eth1\";\n  fixed-address 10.0.1.5;\n  \
             option routers 10.0.1.1;\n  {more}\n  expire never;\n}}\n"
        )
    }

    fn gateway(text: &str) -> Vec<String> {
        let hints = parsed(text).hints;
        hints.iter().flat_map(|h| h.gateways.iter().map(ToString::to_string)).collect()
    }

    #[test]
    fn ends_in_every_notation() {
        let end = |text: &str| {
            let text = lease("").replace("expire never;", text);
            parsed(&text).hints.first().map(|h| h.expires)
        };
        assert_eq!(end("expire never;"), Some(None));
        assert_eq!(
            end("expire epoch 1795312554; # Sun Nov 22 01:55:54 2026"),
            Some(Some(1_795_312_554))
        );
        assert_eq!(end("expire 0 2026/11/22 01:55:54;"), Some(Some(1_795_312_554)));
        assert_eq!(end(""), None, "without an end it is no lease");
        for text in ["expire 0 2026/13/22 01:55:54;", "expire soon;"] {
            assert!(fault(&lease("").replace("expire never;", text)).contains("expire"), "{text}");
        }
    }

    #[test]
    fn option_121_in_every_notation() {
        for option in [
            "option rfc3442-classless-static-routes 0,10,0,1,9;",
            "option classless-static-routes 0 10.0.1.9;",
            "option classless-static-routes 0,10,0,1,9;",
            "option unknown-121 0:a:0:1:9;",
            "option unknown-121 \"\\000\\012\\000\\001\\t\";",
            "option ms-classless-static-routes 0,10,0,1,9;",
        ] {
            assert_eq!(gateway(&lease(option)), ["10.0.1.9"], "{option}");
        }
        let both = "option unknown-249 0:a:0:1:8; option unknown-121 0:a:0:1:9;";
        assert_eq!(gateway(&lease(both)), ["10.0.1.9"]);
        for option in ["option unknown-121 28:a;", "option unknown-121 \"\\000\u{fffd}..\";"] {
            assert!(fault(&lease(option)).contains("unknown-121"), "{option}");
        }
    }

    #[test]
    fn the_last_lease_of_an_address_counts_even_when_it_is_over() {
        let released = lease("").replace("expire never;", "expire 0 2001/01/01 00:00:00;");
        let hints = parsed(&format!("{}{released}", lease(""))).hints;
        assert_eq!(hints.len(), 1);
        assert!(hints[0].expires.is_some_and(|end| end < 1_000_000_000));
    }

    #[test]
    fn gateways_of_earlier_leases_are_former_ones() {
        let other = |from: &str, to: &str| lease("").replace(from, to);
        let text = [
            other("10.0.1.1;", "10.0.1.3, 10.0.1.2;"),
            other("10.0.1.1;", "10.0.1.2;"),
            other("eth1", "eth2"),
            lease(""),
        ];
        let hints = parsed(&text.concat()).hints;
        assert_eq!(hints.len(), 2);
        let of = |name: &str| {
            let hint = hints.iter().find(|h| h.link == HintedLink::Name(name.into())).unwrap();
            hint.former.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of("eth1"), ["10.0.1.3", "10.0.1.2"]);
        assert!(of("eth2").is_empty());
    }

    #[test]
    fn a_lease_that_is_being_written_is_none_yet() {
        let whole = format!("default-duid \"\\000\\001;{{\";\n{}", lease(""));
        let text = format!("{whole}{}", lease("").replace("10.0.1.1;", "10.0.1.2;"));
        for at in whole.len() + 1..text.trim_end().len() {
            let cut = parsed(&text[..at]);
            assert!(cut.is_cut, "at {at}");
            assert_eq!(cut.hints, parsed(&whole).hints, "at {at}");
        }
        assert!(!parsed(&whole).is_cut);
        assert!(parsed("").is_cut);
    }

    #[test]
    fn what_is_no_lease_of_ours_is_passed_over() {
        let text = format!(
            "# comment {{ \"\nkey x {{ secret \"a}}b\"; }}\n\
             lease6 {{ interface \"eth1\"; ia-na 00:00:00:06 {{ iaaddr 2001:db8::1 {{ x y; }} }} }}\n\
             lease 10.0.0.5 {{ starts 1 2026/01/01 00:00:00; }}\n{}\
             lease {{ fixed-address 10.0.1.6; expire never; }}\n",
            lease("medium \"x;y\"; bootp; vendor option space a; option domain-name \"a\\\"b\";")
        );
        let parsed = parsed(&text);
        assert_eq!(parsed.hints.len(), 1);
        assert!(!parsed.is_cut);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        assert!(fault(&lease("").replace("eth1", "../../etc/x")).contains("interface"));
    }
}
