//! What the kernel once answered: one directory each under `lookup`.
//!
//! `snapshot.json` is a host, and each line of `flows.txt` a question in `ip route get`'s words, an
//! arrow, and what the kernel said. The differential test of `multihome-kernel` writes such cases
//! when it finds that the re-enactment says something else; nothing here needs to be touched for one.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use multihome_core::{Flow, Lookup, Snapshot};

#[test]
fn every_answer_of_the_kernel_is_among_ours() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lookup");
    let mut cases: Vec<_> = fs::read_dir(&root)
        .expect("the directory of the cases")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {}", root.display());
    let mut wrong = String::new();
    for case in cases {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let json = fs::read_to_string(case.join("snapshot.json")).expect("snapshot.json");
        let snapshot: Snapshot = serde_json::from_str(&json).expect("a snapshot");
        let lookup = Lookup::new(&snapshot);
        let names = snapshot.names();
        let flows = fs::read_to_string(case.join("flows.txt")).expect("flows.txt");
        for line in flows.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let (question, said) = line.split_once(" => ").expect("a question => an answer");
            let flow = flow(question, &snapshot);
            assert_eq!(flow.arguments(&names), question, "{name}");
            let answer = lookup.ask(&flow.as_asked());
            let ours: Vec<String> = answer
                .outcomes
                .iter()
                .map(|o| o.told(&flow).display(&names))
                .chain(answer.doubts.iter().map(|_| "cannot tell".to_owned()))
                .collect();
            // Where IPv4's two tables share a trie, the kernel says main for both (see Told::is).
            let shared =
                |o: &str| flow.to.is_ipv4() && o.replace("table local", "table main") == said;
            if !ours.iter().any(|o| o == said || o == "cannot tell" || shared(o)) {
                wrong += &format!("{name}: {question}\n    kernel: {said}\n    ours:   {ours:?}\n");
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// The flow that `ip route get` would ask about.
fn flow(words: &str, snapshot: &Snapshot) -> Flow {
    let mut words = words.split(' ');
    let to: IpAddr = words.next().expect("a destination").parse().expect("an address");
    let mut flow = Flow::to(to);
    let link = |name: &str| match snapshot.link_named(name) {
        Some(link) => link.index,
        None => name.trim_start_matches("if").parse().expect("a link"),
    };
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_else(|| panic!("{word} of what"));
        let number = || match value.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).expect("a number"),
            None => value.parse::<u32>().expect("a number"),
        };
        let port = || u16::try_from(number()).expect("a port");
        match word {
            "from" => flow.from = Some(value.parse().expect("an address")),
            "iif" => flow.iif = Some(link(value)),
            "oif" => flow.oif = Some(link(value)),
            "mark" => flow.mark = number(),
            "tos" => flow.tos = u8::try_from(number()).expect("a byte"),
            "ipproto" => {
                flow.proto = match value {
                    "icmp" => 1,
                    "tcp" => 6,
                    "udp" => 17,
                    "ipv6-icmp" => 58,
                    _ => u8::try_from(number()).expect("a protocol"),
                };
            }
            "sport" => flow.sport = port(),
            "dport" => flow.dport = port(),
            "uid" => flow.uid = number(),
            other => panic!("{other}?"),
        }
    }
    flow
}
