//! What is read: every command on snapshots, without a kernel.
//!
//! The snapshots are those of docs/examples, and what is made of them here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// What a command said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// A name that the kernel allows (`dev_valid_name`), and that a terminal would obey.
const ODD: &str = "a\u{1b}[31m\u{202e}'\u{7}\n";

// ===== the host of a snapshot =====

/// A snapshot that is changed and asked about.
struct Host(Value);

impl Host {
    fn example(name: &str) -> Host {
        let text = fs::read_to_string(example(name)).expect("an example");
        Host(serde_json::from_str(&text).expect("JSON"))
    }

    fn list(&mut self, what: &str) -> &mut Vec<Value> {
        self.0[what].as_array_mut().expect("a list")
    }

    fn rule(mut self, rule: Value) -> Host {
        self.list("rules").push(rule);
        self
    }

    fn route(mut self, route: Value) -> Host {
        self.list("routes").push(route);
        self
    }

    fn link(&mut self, name: &str) -> &mut Value {
        self.list("links").iter_mut().find(|l| l["name"] == name).expect("a link")
    }

    fn flags(mut self, name: &str, flags: u32) -> Host {
        self.link(name)["flags"] = json!(flags);
        self
    }

    /// With every `old` replaced, in names and addresses alike.
    fn replaced(self, old: &str, new: &str) -> Host {
        let text = self.0.to_string();
        let quoted = |s: &str| json!(s).to_string().trim_matches('"').to_owned();
        Host(serde_json::from_str(&text.replace(old, &quoted(new))).expect("JSON"))
    }

    #[track_caller]
    fn file(&self, name: &str) -> PathBuf {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("words");
        fs::create_dir_all(&directory).expect("a directory");
        let file = directory.join(format!("{name}.json"));
        fs::write(&file, self.0.to_string()).expect("a file");
        file
    }

    #[track_caller]
    fn says(&self, arguments: &[&str]) -> Said {
        let name = std::thread::current().name().unwrap_or("test").replace(':', "_");
        ask(&self.file(&name), arguments)
    }
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples").join(format!("{name}.json"))
}

fn ask(snapshot: &Path, arguments: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_multihome"))
        .args(arguments)
        .arg("--snapshot")
        .arg(snapshot)
        .env_clear()
        .output()
        .expect("multihome");
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// The last sentence of `explain`, on one line.
fn last(said: &Said) -> String {
    let last = said.out.trim_end().rsplit("\n\n").next().unwrap_or_default();
    last.replace("\n  ", " ")
}

/// Questions about all addresses of a host.
fn commands(host: &Value) -> Vec<Vec<String>> {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let mut all: Vec<Vec<String>> =
        ["status", "plan", "verify", "doctor", "diagram"].into_iter().map(words).collect();
    all.extend(["svg", "dot"].map(|format| words(&format!("diagram --format {format}"))));
    let links = host["links"].as_array().expect("links");
    let cards = links.iter().filter_map(|l| l["name"].as_str()).filter(|n| *n != "lo");
    let cards: Vec<&str> = cards.collect();
    for link in &cards {
        for option in ["--link-down", "--carrier-lost"] {
            all.push(vec!["what-if".into(), option.into(), (*link).to_owned()]);
        }
        all.push(vec!["explain".into(), "198.51.100.7".into(), "--oif".into(), (*link).into()]);
    }
    let twice = vec!["what-if".to_owned(), "--link-down".to_owned(), cards[0].to_owned()];
    all.push([twice.as_slice(), &twice[1..]].concat());
    let unknown = format!("{}2", cards[0]);
    all.push(vec!["what-if".into(), "--link-down".into(), unknown.clone()]);
    all.push(vec!["explain".into(), "198.51.100.7".into(), "--iif".into(), unknown]);
    for address in host["addresses"].as_array().expect("addresses") {
        let own = address["local"].as_str().expect("an address");
        for far in ["198.51.100.7", "2001:db8:1111:2222:3333:4444:5555:6666", "192.0.2.1"] {
            all.push(words(&format!("explain {own} {far}")));
            all.push(words(&format!("explain {far} {own}")));
            all.push(words(&format!("explain {far} {own} --iif lo")));
            all.push(words(&format!("diagram --from {far} --to {own}")));
        }
    }
    all
}

fn ask_everything(name: &str, host: &Host, mut check: impl FnMut(&str, &Said)) {
    let file = host.file(name);
    for arguments in commands(&host.0) {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let said = ask(&file, &arguments);
        assert!(matches!(said.code, Some(0 | 2 | 64)), "{name}: {arguments:?}: {said:#?}");
        check(&format!("{name}: {arguments:?}"), &said);
    }
}

/// A host whose addresses are as long as addresses are.
fn long_addresses() -> Host {
    let mut host = Host::example("cloud-managed")
        .replaced("2001:db8:0:3::/64", "2001:db8:1111:2222::/64")
        .replaced("2001:db8:0:3::", "2001:db8:1111:2222:3333:4444:5555:66")
        .replaced("fe80::8f:53ff:fe6f:64ef", "fe80::1111:2222:3333:4444")
        .replaced("ens5", "enp129s0f1np1v5")
        .replaced("ens6", "enp129s0f1np1v6");
    // Somebody's, so that there is something to say.
    host.list("rules").push(json!({"family": "inet6", "priority": 50, "protocol": 4,
        "action": {"lookup": 254}, "from": "2001:db8:1111:2222:3333:4444:5555:66cc"}));
    host
}

// ===== everything =====

#[test]
fn no_line_is_wider_than_a_terminal_but_those_that_are_copied() {
    let mut hosts = vec![("long".to_owned(), long_addresses())];
    let directory = example("x");
    for entry in fs::read_dir(directory.parent().expect("a directory")).expect("examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|e| e == "json") {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            hosts.push((name.clone(), Host::example(&name)));
        }
    }
    let mut wide = String::new();
    for (name, host) in &hosts {
        ask_everything(name, host, |asked, said| {
            if asked.contains("svg") || asked.contains("dot") {
                return;
            }
            for line in said.out.lines().chain(said.err.lines()) {
                if line.chars().count() > 80 && !is_copied(line) {
                    wide += &format!("{asked}:\n{line}\n");
                }
            }
        });
    }
    assert!(wide.is_empty(), "{wide}");
}

/// Whether a break would break what is pasted: a command, a rule as `ip rule` lists it, or a line of
/// the log, where each message is one.
fn is_copied(line: &str) -> bool {
    let text = line.trim_start();
    let is_set_off = text.len() < line.len();
    ["ip ", "nft ", "multihome ", "sysctl ", "sed ", "netplan "].iter().any(|c| text.starts_with(c))
        || is_set_off && text.split(':').next().is_some_and(|n| n.parse::<u32>().is_ok())
        || line.starts_with("warning: ")
}

#[test]
fn no_terminal_obeys_the_name_of_a_link() {
    for (name, card) in [("cloud", "ens6"), ("doors-managed", "ens5"), ("campus", "docker0")] {
        let host = Host::example(name).replaced(card, ODD);
        let mut shown = 0;
        ask_everything(&format!("odd-{name}"), &host, |asked, said| {
            for text in [&said.out, &said.err] {
                let obeyed = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
                // What was typed wrong is said back by the parser of the command line.
                assert!(!text.contains(obeyed), "{asked}: {text:?}");
                shown += text.matches("\\u001b[31m").count();
            }
            assert!(said.out.lines().all(|l| l != "'"), "{asked}: {}", said.out);
        });
        assert!(shown > 10, "{name}: only {shown}");
    }
}

// ===== status =====

#[test]
fn status_does_not_say_well_when_a_rule_of_somebody_else_misroutes() {
    let rule = json!({"family": "inet", "priority": 50, "protocol": 3,
        "action": {"lookup": 254}, "from": "10.0.1.204"});
    let host = Host::example("doors-managed").rule(rule);
    let said = host.says(&["status"]);
    assert_eq!(said.code, Some(2), "{said:#?}");
    assert!(said.out.starts_with("degraded: "), "{}", said.out);
    let wrong = "wrong: ens6 answers by ens5 (rule 50: from 10.0.1.204 lookup main proto boot)\n";
    assert!(said.out.contains(wrong), "{}", said.out);
    assert!(said.out.contains("`multihome verify`"), "{}", said.out);
    let json: Value = serde_json::from_str(&host.says(&["status", "--json"]).out).unwrap();
    assert_eq!(json["verdict"], "degraded");
    assert_eq!(json["answers"]["unproven"], 0);
    assert!(json["answers"]["wrong"].as_u64().unwrap() > 0, "{json:#}");
    assert_eq!(json["answers"]["faults"].as_array().unwrap().len(), 1);
}

#[test]
fn status_does_not_say_well_of_what_it_could_not_ask() {
    // A snapshot of an older version: nothing is known of the reverse path filter.
    let mut host = Host::example("doors-managed");
    host.0.as_object_mut().unwrap().remove("sysctls");
    let said = host.says(&["status"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let first = said.out.lines().next().unwrap();
    assert_eq!(first, "in sync: whether 2 uplinks answer by their own door is not proven");
    assert!(said.out.contains("rp_filter"), "{}", said.out);
    // More routes than a question that is asked often is worth.
    let mut host = Host::example("doors-managed");
    for n in 0..20_000 {
        let dst = format!("100.{}.{}.0/24", 64 + n / 256, n % 256);
        host.list("routes").push(json!({"table": 254, "dst": dst, "kind": "unicast",
            "protocol": 186, "metric": 0, "hops": [{"link": 2, "gateway": "10.0.0.1"}]}));
    }
    let said = host.says(&["status"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.out.starts_with("in sync: whether 2 uplinks"), "{}", said.out);
    assert!(said.out.contains("hint: `multihome verify`"), "{}", said.out);
    let json: Value = serde_json::from_str(&host.says(&["status", "--json"]).out).unwrap();
    assert_eq!((&json["verdict"], &json["answers"]), (&json!("well"), &Value::Null));
}

#[test]
fn status_says_well_where_every_answer_was_asked() {
    let json: Value =
        serde_json::from_str(&Host::example("doors-managed").says(&["status", "--json"]).out)
            .unwrap();
    assert_eq!(json["verdict"], "well");
    assert_eq!(json["answers"], json!({"wrong": 0, "unproven": 0, "faults": []}));
}

#[test]
fn a_card_that_is_down_is_not_said_to_have_no_gateway() {
    for (flags, words) in [
        (0x1002, "ens6     down: whether it has a gateway cannot be told"),
        (0x1003, "ens6     no carrier: whether it has a gateway cannot be told"),
        (0x1_1043, "ens6     no gateway: it stays with main"),
    ] {
        let mut host = Host::example("doors").flags("ens6", flags);
        host.list("routes").retain(|r| r["hops"][0]["link"] != 3);
        let said = host.says(&["status"]);
        assert!(said.out.contains(words), "{}", said.out);
    }
}

// ===== what-if =====

#[test]
fn what_changes_nothing_is_said_to() {
    let host = Host::example("doors-managed");
    for (arguments, words) in [
        ("--link-down ens6 --link-down ens6", "supposed: ens6 is down\nsupposed: ens6 is down, as"),
        ("--link-down ens6 --carrier-lost ens6", "supposed: ens6 has no carrier, as it is already"),
    ] {
        let arguments: Vec<&str> = ["what-if"].into_iter().chain(arguments.split(' ')).collect();
        let said = host.says(&arguments);
        assert!(said.out.contains(words), "{said:#?}");
    }
}

#[test]
fn what_if_does_not_write_among_its_answer() {
    let said = Host::example("doors").says(&["what-if", "--link-down", "ens6", "--write", "-"]);
    assert_eq!((said.code, said.out.as_str()), (Some(64), ""), "{said:#?}");
    assert_eq!(
        said.err,
        "error: --write -: stdout has the answer already\n\
         hint: give a file (./- is a file of that name)\n"
    );
}

#[test]
fn a_gateway_of_the_other_family_is_named_with_the_remedy() {
    let route = "add 2001:db8:5::/48 via 10.0.1.1";
    let said = Host::example("doors").says(&["what-if", "--route", route]);
    assert_eq!((said.code, said.out.as_str()), (Some(64), ""), "{said:#?}");
    let text = said.err.replace("\n  ", " ");
    assert!(text.contains("`via 10.0.1.1` in `2001:db8:5::/48 via 10.0.1.1`"), "{}", said.err);
    assert!(text.contains("2001:db8:5::/48 is IPv6: give an IPv6 address"), "{}", said.err);
}

// ===== explain =====

/// `explain` with its exit code and its last sentence.
#[track_caller]
fn explained(host: &Host, arguments: &str, code: i32, words: &str) -> Said {
    let arguments: Vec<&str> = ["explain"].into_iter().chain(arguments.split(' ')).collect();
    let said = host.says(&arguments);
    assert_eq!(said.code, Some(code), "{said:#?}");
    assert!(last(&said).contains(words), "{}", said.out);
    said
}

#[test]
fn the_cure_is_named_where_nothing_looks_up_local() {
    let mut host = Host::example("doors-managed");
    host.list("rules").retain(|r| r["priority"] != 0 || r["family"] != "inet");
    let cure = "ip -4 rule add pref 0 lookup local";
    explained(&host, "10.0.1.204 10.0.0.129", 2, cure);
    explained(&host, "198.51.100.7 10.0.1.204 --iif ens6", 2, cure);
    explained(&host, "10.0.1.204", 0, cure);
    for command in ["verify", "status"] {
        let said = host.says(&[command]);
        assert_eq!(said.code, Some(2), "{said:#?}");
        let cure = "addresses:\n  ip -4 rule add pref 0 lookup local\n";
        assert!(said.out.contains(cure) && !said.out.contains("ip -6 rule"), "{}", said.out);
    }
    let whole = Host::example("doors-managed");
    assert!(!whole.says(&["explain", "10.0.1.204", "10.0.0.129"]).out.contains("rule add"));
}

#[test]
fn what_main_refuses_is_refused_rightly() {
    let refusal = json!({"table": 254, "dst": "203.0.113.0/24", "kind": "unreachable",
        "protocol": 4, "metric": 0, "hops": []});
    let host = Host::example("doors-managed").route(refusal);
    let words = "is refused, as it should be: main refuses that very network";
    let said = explained(&host, "10.0.1.204 203.0.113.5", 0, words);
    assert!(said.out.contains("refused  EHOSTUNREACH (No route to host)"), "{}", said.out);
    let json = host.says(&["explain", "10.0.1.204", "203.0.113.5", "--json"]).out;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["verdict"], "right");
}

#[test]
fn all_ways_are_told_where_a_hash_chooses() {
    let mut host = Host::example("doors");
    host.list("routes").retain(|r| r["dst"] != "0.0.0.0/0");
    let host = host.route(json!({"table": 254, "dst": "0.0.0.0/0", "kind": "unicast",
        "protocol": 4, "metric": 0, "hops": [{"link": 2, "gateway": "10.0.0.1"},
        {"link": 3, "gateway": "10.0.1.1"}]}));
    let said = explained(&host, "198.51.100.7", 0, "by ens5, from 10.0.0.129, or by ens6, from");
    assert!(said.out.contains("or, by a hash of the packet:"), "{}", said.out);
    for card in ["card     ens5", "card     ens6"] {
        assert!(said.out.contains(card), "{}", said.out);
    }
    explained(&host, "10.0.1.204 198.51.100.7", 2, "wrong: ens6 answers by ens5");
}

#[test]
fn what_leaves_by_a_card_without_a_carrier_is_lost_there() {
    let host = Host::example("doors-managed").flags("ens6", 0x1003);
    let words = "goes home by its own door, ens6";
    let said = explained(&host, "10.0.1.204 198.51.100.7", 0, words);
    assert!(last(&said).ends_with("; but that has no carrier: it is lost there"), "{}", said.out);
}

#[test]
fn a_request_that_was_taken_for_an_answer_is_hinted_at() {
    let words = "for the request as it comes in, add --iif ens6";
    explained(&Host::example("doors"), "198.51.100.7 10.0.1.204", 0, words);
}

#[test]
fn the_address_of_the_loopback_stays_on_this_host() {
    let host = Host::example("cloud-managed");
    explained(&host, "::1", 0, "by lo, from ::1");
    let said = explained(&host, "::1 2001:db8:0:3::cc", 0, "stays on this host, as it should");
    assert!(said.out.contains("kept     it is an address of this host"), "{}", said.out);
    // It belongs to the loopback, wherever it is put.
    let said = host.says(&["what-if", "--add-address", "ens6=::1/128"]);
    assert_eq!((said.code, said.out.as_str()), (Some(64), ""), "{said:#?}");
    assert!(said.err.contains("hint: "), "{}", said.err);
}

// ===== diagram =====

const ASKED: [&str; 5] = ["diagram", "--from", "198.51.100.7", "--to", "10.0.1.204"];

/// All forms of a figure: text, SVG, dot, and JSON.
fn drawn(host: &Host) -> (String, String, String, Value) {
    let form = |more: &[&str]| {
        let said = host.says(&[&ASKED, more].concat());
        assert_eq!(said.code, Some(0), "{said:#?}");
        said.out
    };
    let json = serde_json::from_str(&form(&["--json"])).unwrap();
    (form(&[]), form(&["--format", "svg"]), form(&["--format", "dot"]), json)
}

#[test]
fn a_request_that_the_reverse_path_filter_drops_is_drawn_so() {
    let mut host = Host::example("doors");
    host.0["sysctls"]["net/ipv4/conf/ens6/rp_filter"] = json!("1");
    let (text, svg, dot, json) = drawn(&host);
    assert!(text.starts_with("The request is dropped by ens6: rp_filter, for an answer"), "{text}");
    assert!(text.contains("| 1 the request is dropped: rp_filter"), "{text}");
    assert!(text.contains("<!---1---"), "{text}");
    assert!(svg.contains("<text class=\"mark bad\"") && svg.contains(">1 the request is dropped"));
    assert!(dot.contains("!! 1 the request is dropped: rp_filter"), "{dot}");
    assert_eq!(json["request"]["dropped"], "reverse-path");
    // Beside the rules a strict filter is well.
    let mut host = Host::example("doors-managed");
    host.0["sysctls"]["net/ipv4/conf/ens6/rp_filter"] = json!("1");
    let (text, _, _, json) = drawn(&host);
    assert!(text.starts_with("The reply leaves by ens6, as the request came in\n"), "{text}");
    assert_eq!(json["request"]["dropped"], Value::Null);
}

#[test]
fn what_is_lost_at_a_card_without_a_carrier_is_drawn_so() {
    let host = Host::example("doors-managed").flags("ens6", 0x1003);
    let (text, svg, dot, json) = drawn(&host);
    assert!(text.starts_with("The request cannot come in: ens6 has no carrier\n"), "{text}");
    assert!(text.contains("| 2 the reply is lost here"), "{text}");
    assert!(text.contains("\n   198.51.100.7 > gateway 10.0.1.1 > 10.0.1.0/24\n"), "{text}");
    assert!(text.contains("\n   ens6 > table 10003 > ens6\n"), "{text}");
    assert!(svg.contains(">2 the reply is lost here</text>"), "{svg}");
    assert!(dot.contains("!! 2 the reply is lost here"), "{dot}");
    let reply = &json["request"]["replies"][0];
    assert_eq!((&reply["verdict"], &reply["lost"]), (&json!("right"), &json!(true)));
    assert_eq!(json["request"]["dropped"], "not-up");
    // A reply by another card, which has none.
    let host = Host::example("doors").flags("ens5", 0x1003);
    let (text, _, _, json) = drawn(&host);
    assert!(
        text.contains("The reply is lost at ens5, which has no carrier; it should leave by ens6\n"),
        "{text}"
    );
    assert_eq!(json["request"]["dropped"], Value::Null);
}

#[test]
fn several_replies_stand_in_one_column() {
    for hops in [2, 3] {
        let mut host = Host::example("doors");
        host.list("routes").retain(|r| r["dst"] != "0.0.0.0/0");
        let hop =
            |n: u32| json!({"link": 2 + n % 2, "gateway": format!("10.0.{}.{}", n % 2, 1 + n)});
        let hops: Vec<Value> = (0..hops).map(hop).collect();
        let host = host.route(json!({"table": 254, "dst": "0.0.0.0/0", "kind": "unicast",
            "protocol": 4, "metric": 0, "hops": hops}));
        let (text, ..) = drawn(&host);
        let table = text.split("\ntable main\n").nth(1).expect("the table");
        let lines: Vec<&str> = table.split("\n\n").next().unwrap().lines().collect();
        let column = lines[0].find("32766:").expect("the rule that decides");
        assert!(lines[0].starts_with("2a,2b"), "{text}");
        for line in &lines {
            assert!(line.chars().count() <= 80, "{line}");
            assert_eq!(&line[column - 1..column], " ", "{text}");
            assert!(line[..column].starts_with("2a") || line[..column].trim().is_empty(), "{text}");
        }
    }
}

// ===== files =====

#[test]
fn a_file_that_is_no_snapshot_is_said_to_be_none() {
    for (name, text, words) in [
        ("list", "[]", "a snapshot of multihome"),
        ("text", "\"hello\"", "a snapshot of multihome"),
        ("unknown", "{\"version\": 1, \"colour\": 7}", "colour"),
        ("cut", "{\"version\": 1, \"links\": [", "EOF"),
    ] {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("no-snapshot-{name}.json"));
        fs::write(&file, text).unwrap();
        let said = ask(&file, &["status"]);
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:#?}");
        let err = said.err.replace("\n  ", " ");
        assert!(err.starts_with(&format!("error: {}: ", file.display())), "{}", said.err);
        assert!(err.contains(words) && !err.contains("struct"), "{}", said.err);
        assert!(err.contains("hint: write a new one with `multihome snapshot > FILE`"), "{err}");
    }
}
