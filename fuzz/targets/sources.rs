//! Any bytes as a file of a network manager, or as what one tells its hooks: there is no panic,
//! and what comes out names nothing that could not be a gateway. The first byte says whose it is.

#![no_main]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use multihome_core::Family;
use multihome_core::model::hint::{Hint, HintedLink};
use multihome_sources::hook::{self, Hook, Note};
use multihome_sources::parse::{File, Format, parse};

/// When all of it is read.
const NOW: u64 = 1_795_309_000;

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    let (format, name) = match kind % 12 {
        0 => (Format::Networkd, "3"),
        1 => (Format::NetworkManager, "3"),
        2 => (Format::Dhclient, "dhclient.leases"),
        3 => (Format::Dhcpcd, "eth1-x.lease"),
        4 => (Format::Initramfs, "net-eth1.conf"),
        5 => (Format::Record, "dhclient.inet.eth1.json"),
        6 => (Format::NetworkdLink, "3"),
        7 => return told(Hook::Dhclient, bytes),
        8 => return told(Hook::Dhcpcd, bytes),
        9 => return told(Hook::Ifupdown, bytes),
        10 => return told(Hook::NetworkManager, bytes),
        _ => return told(Hook::NetworkdDispatcher, bytes),
    };
    let file = File { name, shown: "/f", bytes, modified: NOW - 10, now: NOW };
    match parse(format, file) {
        Ok(parsed) => parsed.hints.iter().for_each(|hint| {
            assert_eq!(hint.file, "/f");
            sound(hint);
        }),
        Err(reason) => assert!(is_a_line(&reason), "{reason:?}"),
    }
});

fn told(hook: Hook, bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (arguments, variables) = text.split_once('\n').unwrap_or((text, ""));
    let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
    let environment: BTreeMap<String, String> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    let told = match hook::told(hook, &environment, &arguments, now) {
        Ok(told) => told,
        Err(e) => return assert!(is_a_line(&e.to_string()), "{e:?}"),
    };
    for note in told.notes {
        let (Note::Keep(key, _) | Note::Drop(key)) = &note;
        assert!(is_a_name(&key.interface.replacen(':', "", 1)), "{key:?}");
        let Note::Keep(_, hints) = note else { continue };
        hints.iter().for_each(sound);
        // What is written down can be read.
        let text = serde_json::to_vec(&BTreeMap::from([("hints", hints)])).expect("JSON");
        let file = File { name: "x", shown: "/f", bytes: &text, modified: NOW, now: NOW };
        parse(Format::Record, file).expect("what a hook wrote down");
    }
}

fn sound(hint: &Hint) {
    if let HintedLink::Name(name) = &hint.link {
        assert!(is_a_name(name), "{hint:?}");
    }
    assert!(hint.since <= NOW, "{hint:?}");
    let gateways =
        || hint.gateways.iter().chain(hint.routes.iter().filter_map(|r| r.gateway.as_ref()));
    for gateway in gateways() {
        assert_eq!(Family::of(*gateway), hint.family);
        assert!(!gateway.is_unspecified() && !gateway.is_loopback() && !gateway.is_multicast());
        assert_ne!(*gateway, IpAddr::from([255; 4]));
    }
    assert!(hint.routes.iter().all(|r| r.dst.family() == hint.family && !r.dst.is_default()));
    assert!(hint.former.iter().all(|g| !hint.gateways.contains(g)) && hint.former.len() <= 8);
}

fn is_a_name(name: &str) -> bool {
    let is_path = name == "." || name == ".." || name.contains('/');
    !name.is_empty() && name.len() <= 31 && !is_path && !name.contains(char::is_whitespace)
}

/// What is said about it fits into a line of a log, and shows nothing that a terminal obeys.
fn is_a_line(text: &str) -> bool {
    !text.is_empty() && text.len() < 1000 && !text.contains(char::is_control)
}
