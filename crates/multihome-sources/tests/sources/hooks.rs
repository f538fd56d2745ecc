//! What hooks are told: one directory for each manager below `tests/hooks`.
//!
//! `<name>.env` is an environment, as `env` prints it; a line `# arguments: ...` in front holds
//! the arguments. Expected is `<name>.told`; `UPDATE_GOLDEN=1` writes what came out instead.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use multihome_core::Family;
use multihome_core::model::hint::{HintedLink, Source};
use multihome_sources::hook::{self, Hook, Key, Note, Told};

use crate::root::{Root, at};

/// When all of them were called.
const NOW: u64 = 1_795_308_960;

#[test]
fn every_reason_comes_out_as_it_is_written_down() {
    let all = [
        ("dhclient", Hook::Dhclient),
        ("dhcpcd", Hook::Dhcpcd),
        ("ifupdown", Hook::Ifupdown),
        ("networkmanager", Hook::NetworkManager),
    ];
    let mut wrong = String::new();
    for (name, hook) in all {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hooks").join(name);
        let entries = fs::read_dir(directory).expect("a directory");
        let mut paths: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
        paths.retain(|path| path.extension().is_some_and(|e| e == "env"));
        paths.sort();
        assert!(!paths.is_empty(), "no calls of {name}");
        for path in paths {
            let got = shown(hook, &fs::read_to_string(&path).expect("an environment"));
            let path = path.with_extension("told");
            let want = fs::read_to_string(&path).unwrap_or_default();
            if got != want && std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::write(&path, got).expect("writing what came out");
            } else if got != want {
                let _ = write!(wrong, "\n{}: is now\n{got}", path.display());
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}\n(UPDATE_GOLDEN=1 writes the new ones)");
}

fn shown(hook: Hook, text: &str) -> String {
    let (environment, arguments) = parse(text);
    let told = match hook::told(hook, &environment, &arguments, at(NOW)) {
        Ok(told) => told,
        Err(e) => return format!("error: {e}\n"),
    };
    let mut shown = String::from(if told.reconcile { "reconcile\n" } else { "nothing to do\n" });
    let named = |key: &Key| format!("{} {} {}", key.interface, key.family, key.source);
    for note in &told.notes {
        let _ = match note {
            Note::Drop(key) => writeln!(shown, "drop {}", named(key)),
            Note::Keep(key, hints) => {
                let hints = serde_json::to_string_pretty(hints).expect("JSON");
                writeln!(shown, "keep {}\n{hints}", named(key))
            }
        };
    }
    shown
}

fn parse(text: &str) -> (BTreeMap<String, String>, Vec<String>) {
    let mut environment = BTreeMap::new();
    let mut arguments = Vec::new();
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("# arguments:") {
            arguments = words.split_whitespace().map(str::to_owned).collect();
        } else if let Some((name, value)) = line.split_once('=') {
            environment.insert(name.to_owned(), value.to_owned());
        }
    }
    (environment, arguments)
}

// ===== reasons that are rare =====

fn told(hook: Hook, text: &str) -> Result<Told, String> {
    let (environment, arguments) = parse(text);
    hook::told(hook, &environment, &arguments, at(NOW)).map_err(|e| e.to_string())
}

const BOUND: &str = "reason=BOUND\ninterface=eth1\nnew_ip_address=10.0.1.5\nnew_expiry=1795309060\n\
                     new_routers=10.0.1.1\n";

fn dhclient(from: &str, to: &str) -> Result<Told, String> {
    told(Hook::Dhclient, &BOUND.replace(from, to))
}

#[test]
fn every_reason_of_dhclient() {
    for reason in ["RENEW", "REBIND", "REBOOT", "TIMEOUT"] {
        assert_eq!(dhclient("BOUND", reason), dhclient("", ""), "{reason}");
    }
    for reason in ["EXPIRE", "FAIL", "STOP", "RELEASE"] {
        let told = told(Hook::Dhclient, &format!("reason={reason}\ninterface=eth1\n")).unwrap();
        assert!(told.reconcile && matches!(told.notes[..], [Note::Drop(_)]), "{reason}");
    }
    for reason in ["BOUND6", "RENEW6", "REBIND6", "DEPREF6", "EXPIRE6", "RELEASE6", "STOP6"] {
        assert_eq!(dhclient("BOUND", reason), Ok(Told { notes: vec![], reconcile: true }));
    }
    for reason in ["PREINIT", "PREINIT6", "MEDIUM", "ARPCHECK", "ARPSEND", "NBI", "V6ONLY", "NEW"] {
        assert_eq!(dhclient("BOUND", reason), Ok(Told::default()), "{reason}");
    }
}

#[test]
fn every_reason_of_dhcpcd() {
    let of = |reason: &str| told(Hook::Dhcpcd, &BOUND.replace("BOUND", reason)).unwrap();
    for reason in ["RENEW", "REBIND", "REBOOT", "INFORM", "STATIC"] {
        assert_eq!(of(reason), of("BOUND"), "{reason}");
    }
    for reason in ["EXPIRE", "FAIL", "NAK", "STOP", "RELEASE", "IPV4LL"] {
        assert!(matches!(of(reason).notes[..], [Note::Drop(_)]), "{reason}");
    }
    for reason in ["STOPPED", "DEPARTED"] {
        let Told { notes, reconcile } = of(reason);
        let families: Vec<_> = notes.iter().map(|n| matches!(n, Note::Drop(_))).collect();
        assert_eq!((families, reconcile), (vec![true, true], true), "{reason}");
    }
    for reason in ["TIMEOUT", "NOCARRIER", "CARRIER", "BOUND6", "EXPIRE6", "STOP6", "DELEGATED6"] {
        assert_eq!(of(reason), Told { notes: vec![], reconcile: true }, "{reason}");
    }
    for reason in ["PREINIT", "TEST", "3RDPARTY", "NEW"] {
        assert_eq!(of(reason), Told::default(), "{reason}");
    }
}

#[test]
fn routers_advertise_themselves_each_with_a_lifetime() {
    let text = "reason=ROUTERADVERT\ninterface=eth1\nnd1_from=fe80::1\nnd1_lifetime=1800\n\
                nd1_now=130\nnd1_acquired=100\nnd2_from=fe80::2\nnd2_lifetime=0\n\
                nd3_from=fe80::3\nnd3_lifetime=60\n";
    let told = told(Hook::Dhcpcd, text).unwrap();
    let [Note::Keep(_, hints)] = &told.notes[..] else { panic!("{told:?}") };
    let ends: Vec<_> = hints.iter().map(|h| h.expires.unwrap() - NOW).collect();
    assert_eq!(ends, [1770, 60], "from when it was heard; one that is withdrawn is none");
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    for (from, to, named) in [
        ("reason=BOUND", "", "reason"),
        ("interface=eth1", "", "interface"),
        ("interface=eth1", "interface=../../etc/passwd", "interface"),
        ("interface=eth1", "interface=..", "interface"),
        ("interface=eth1", "interface=a-name-that-is-too-long", "interface"),
        ("new_ip_address=10.0.1.5", "", "new_ip_address"),
        ("10.0.1.5", "10.0.1", "new_ip_address"),
        ("new_expiry=1795309060", "", "new_expiry"),
        ("1795309060", "soon", "new_expiry"),
        ("new_routers=10.0.1.1", "new_routers=gw", "new_routers"),
        ("new_routers=", "new_rfc3442_classless_static_routes=40 ", "new_rfc3442"),
    ] {
        let e = dhclient(from, to).unwrap_err();
        assert!(e.starts_with("dhclient ") && e.contains(named), "{from} -> {to}: {e}");
    }
    let e = told(Hook::NetworkManager, "").unwrap_err();
    assert!(e.contains("NM_DISPATCHER_ACTION"), "{e}");
    let e = told(Hook::Ifupdown, "MODE=start\nPHASE=post-up\nADDRFAM=inet\n").unwrap_err();
    assert!(e.contains("IFACE"), "{e}");
}

#[test]
fn a_label_is_an_address_of_its_interface() {
    let text = "IFACE=eth0:1\nMODE=start\nPHASE=post-up\nADDRFAM=inet\nMETHOD=static\n\
                IF_ADDRESS=10.0.1.5/24\nIF_GATEWAY=10.0.1.1\n";
    let of = |from: &str, to: &str| told(Hook::Ifupdown, &text.replace(from, to));
    let Ok(Told { notes, .. }) = of("", "") else { panic!() };
    let [Note::Keep(key, hints)] = &notes[..] else { panic!("{notes:?}") };
    assert_eq!(key.interface, "eth0:1");
    assert_eq!(serde_json::to_value(&hints[0].link).unwrap(), "eth0");
    for (from, to) in [
        ("eth0:1", "eth0:/../x"),
        ("eth0:1", "eth0:1:2"),
        ("=10.0.1.1", "=fe80::1"),
        ("=10.0.1.1", "=10.0.1.5"),
    ] {
        assert!(of(from, to).is_err(), "{from} -> {to}");
    }
    // One stanza without a gateway takes nothing from another.
    assert_eq!(of("IF_GATEWAY=10.0.1.1\n", ""), Ok(Told { notes: vec![], reconcile: true }));
}

// ===== what is written down =====

fn is_kept(root: &Root) -> bool {
    !root.read(NOW).found.is_empty()
}

#[test]
fn what_is_written_down_is_read_until_it_ends() {
    let root = Root::new();
    let told = dhclient("", "").unwrap();
    hook::record(&root.places(), &told).unwrap();
    let hints = root.read(NOW);
    assert_eq!(hints.refused, []);
    let [hint] = &hints.found[..] else { panic!("{hints:?}") };
    assert_eq!(hint.file, "/run/multihome/hints/dhclient.inet.eth1.json");
    assert_eq!(hint.source, Source::Dhclient);
    assert!(root.read(1_795_309_060).is_empty(), "never longer than its lease");
    let mode = |path: &str| fs::metadata(root.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("run/multihome/hints"), 0o755);
    assert_eq!(mode("run/multihome/hints/dhclient.inet.eth1.json"), 0o644);
    let names = fs::read_dir(root.path("run/multihome/hints")).unwrap().count();
    assert_eq!(names, 1, "nothing else is left");
}

#[test]
fn a_drop_takes_away_what_it_names_and_nothing_else() {
    let root = Root::new();
    let places = root.places();
    let drop = |interface: &str, source, family| {
        let key = Key { interface: interface.into(), source, family };
        hook::record(&places, &Told { notes: vec![Note::Drop(key)], reconcile: true }).unwrap();
    };
    drop("eth1", Source::Dhclient, Family::V4); // nothing is there, not even a directory
    assert!(!root.path("run/multihome/hints").exists());
    hook::record(&places, &dhclient("", "").unwrap()).unwrap();
    drop("eth", Source::Dhclient, Family::V4);
    drop("eth1", Source::Dhcpcd, Family::V4);
    drop("eth1", Source::Dhclient, Family::V6);
    assert!(is_kept(&root));
    drop("eth1", Source::Dhclient, Family::V4);
    assert!(!is_kept(&root));
}

#[test]
fn gateways_that_a_renewal_replaces_are_former_ones() {
    let root = Root::new();
    let places = root.places();
    let former = || {
        let hint = root.read(NOW).found.remove(0);
        hint.former.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    hook::record(&places, &dhclient("", "").unwrap()).unwrap();
    assert!(former().is_empty());
    hook::record(&places, &dhclient("10.0.1.1", "10.0.1.2").unwrap()).unwrap();
    assert_eq!(former(), ["10.0.1.1"]);
    let with_old = "10.0.1.1\nold_routers=10.0.1.7";
    hook::record(&places, &dhclient("10.0.1.1", with_old).unwrap()).unwrap();
    assert_eq!(former(), ["10.0.1.2", "10.0.1.7"]);
}

#[test]
fn a_router_advertisement_is_of_one_interface_and_not_of_a_name() {
    const RECORD: &str = "run/multihome/hints/dhcpcd.inet6.lo.json";
    let root = Root::new();
    let text = "reason=ROUTERADVERT\ninterface=lo\nnd1_from=fe80::1\nnd1_lifetime=1800\n";
    hook::record(&root.places(), &told(Hook::Dhcpcd, text).unwrap()).unwrap();
    let written = fs::read_to_string(root.path(RECORD)).unwrap();
    assert!(written.contains("\"link\": 1,"), "the only index that every host has: {written}");
    assert_eq!(root.read(NOW).found[0].link, HintedLink::Index(1));
    root.write(RECORD, written.replace("\"link\": 1,", "\"link\": 77,"));
    assert!(root.read(NOW).is_empty(), "another interface had the name, or in another namespace");
    root.write(RECORD, written.replace("\"link\": 1,", "\"link\": \"lo\","));
    assert!(is_kept(&root), "one of which no index was known");
    // What came with an address holds beside that.
    let root = Root::new();
    hook::record(&root.places(), &dhclient("=eth1", "=lo").unwrap()).unwrap();
    assert_eq!(root.read(NOW).found[0].link, HintedLink::Name("lo".into()));
}

#[test]
fn a_directory_that_others_can_write_to_is_not_written_to() {
    let root = Root::new();
    root.mkdir("run/multihome/hints");
    root.chmod("run/multihome", 0o777);
    let e = hook::record(&root.places(), &dhclient("", "").unwrap()).unwrap_err();
    assert!(
        e.to_string().starts_with("/run/multihome: the directory is writable for others"),
        "{e}"
    );
    root.chmod("run/multihome", 0o755);
    root.chmod("run/multihome/hints", 0o777);
    // Whoever calls this names the directory.
    let e = hook::record(&root.places(), &dhclient("", "").unwrap()).unwrap_err();
    assert!(e.to_string().starts_with("the directory is writable for others"), "{e}");
}

#[test]
fn networkd_dispatcher_is_only_a_reason_to_reconcile() {
    let told = told(Hook::NetworkdDispatcher, "IFACE=eth1\nSTATE=routable\n");
    assert_eq!(told, Ok(Told { notes: vec![], reconcile: true }));
}
