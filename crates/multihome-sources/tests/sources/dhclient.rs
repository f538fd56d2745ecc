//! dhclient keeps the leases of all cards in one file: what is wrong with one is no other's.

use multihome_core::model::Hints;

use crate::root::Root;

const NOW: u64 = 1_795_309_000;
const FILE: &str = "var/lib/dhcp/dhclient.leases";
/// What a server may send, and no client can use.
const BAD: &str = "option rfc3442-classless-static-routes 33,10,0,0,1;";

fn lease(interface: &str, address: &str, router: &str, more: &str) -> String {
    format!(
        "lease {{\n  interface \"{interface}\";\n  fixed-address {address};\n  \
         option routers {router};\n  {more}\n  expire never;\n}}\n"
    )
}

fn read(leases: &[impl AsRef<[u8]>]) -> Hints {
    let root = Root::new();
    let leases: Vec<&[u8]> = leases.iter().map(AsRef::as_ref).collect();
    root.write(FILE, leases.concat());
    root.read(NOW)
}

fn gateways(hints: &Hints) -> Vec<String> {
    hints.found.iter().flat_map(|h| h.gateways.iter().map(ToString::to_string)).collect()
}

fn reasons(hints: &Hints) -> Vec<&str> {
    hints.refused.iter().map(|r| r.reason.as_str()).collect()
}

fn ens6(router: &str) -> String {
    lease("ens6", "10.0.1.204", router, "")
}

fn ens5(more: &str) -> String {
    lease("ens5", "10.0.0.129", "10.0.0.1", more)
}

#[test]
fn a_malformed_lease_takes_no_other_away() {
    let hints = read(&[ens6("10.0.1.1"), ens5(BAD), ens6("10.0.1.2")]);
    assert_eq!(gateways(&hints), ["10.0.1.2"]);
    let reason = "ens5's lease: rfc3442-classless-static-routes: a network of 33 bits";
    assert_eq!(reasons(&hints), [reason]);
    assert_eq!(hints.refused[0].file, format!("/{FILE}"));
}

#[test]
fn a_malformed_lease_shadows_the_one_before_it() {
    assert_eq!(gateways(&read(&[ens5(""), ens5(BAD)])), [""; 0], "that is over");
    let hints = read(&[ens5(""), ens5(BAD), ens5("")]);
    assert_eq!((hints.found.len(), hints.refused.len()), (1, 0), "so is the malformed one");
    let other = lease("ens5", "10.0.0.130", "10.0.0.2", "");
    assert_eq!(gateways(&read(&[other, ens5(BAD)])), ["10.0.0.2"], "another address' it does not");
}

#[test]
fn a_malformed_lease_that_is_over_is_not_spoken_of() {
    let over = ens5(BAD).replace("expire never", "expire epoch 1795308999");
    let hints = read(&[ens5(""), over, ens6("10.0.1.1")]);
    assert_eq!((gateways(&hints), reasons(&hints)), (vec!["10.0.1.1".into()], vec![]));
}

#[test]
fn a_lease_without_an_end_ends_where_the_next_one_begins() {
    for torn in [
        "lease {\n  interface \"ens5\";\n  fixed-address 10.0.0.129;\n",
        "lease {\n  interface \"ens5\";\n  option domain-name \"exam\n",
        "lease {\n  interface \"ens5\";\n  fixed-address 10.0.0.129;\n  x {\n",
    ] {
        let hints = read(&[torn, &ens6("10.0.1.1")]);
        assert_eq!(gateways(&hints), ["10.0.1.1"], "{torn}");
        assert_eq!(reasons(&hints), ["ens5's lease: it has no end"], "{torn}");
    }
}

#[test]
fn what_is_no_text_harms_nothing_but_where_it_stands() {
    let mut bad = ens5("option domain-name \"?\"; option host-name \"x\";").into_bytes();
    for byte in &mut bad {
        if *byte == b'?' {
            *byte = 0xff;
        }
    }
    let hints = read(&[bad, ens6("10.0.1.1").into_bytes()]);
    assert_eq!((hints.found.len(), hints.refused.len()), (2, 0), "{hints:?}");
    let mut bad = ens5("").into_bytes();
    for byte in &mut bad {
        if *byte == b'9' {
            *byte = 0xff;
        }
    }
    let hints = read(&[bad, ens6("10.0.1.1").into_bytes()]);
    assert_eq!(gateways(&hints), ["10.0.1.1"]);
    assert_eq!(hints.refused.len(), 1, "{hints:?}");
}

#[test]
fn of_too_many_leases_those_that_are_over_and_the_oldest_are_left_out() {
    let many = |range: std::ops::Range<u32>, end: &str| -> String {
        let address = |n| std::net::Ipv4Addr::from(0x0a00_0000 + n);
        let leases = range.map(|n| lease("ens5", &address(n).to_string(), "10.9.0.1", ""));
        leases.map(|lease| lease.replace("never", end)).collect()
    };
    let hints = read(&[ens6("10.0.1.1"), many(0..256, "epoch 1795308999")]);
    assert_eq!((gateways(&hints), reasons(&hints)), (vec!["10.0.1.1".into()], vec![]));
    let hints = read(&[many(0..300, "never"), ens6("10.0.1.1")]);
    assert_eq!(hints.found.len(), 256);
    assert!(gateways(&hints).contains(&"10.0.1.1".into()), "the newest");
    assert!(reasons(&hints)[0].contains("256"), "{:?}", hints.refused);
    assert_eq!(hints.refused.len(), 1);
}

#[test]
fn however_much_is_wrong_little_is_said() {
    let all: Vec<String> =
        (0..200).map(|n| lease(&format!("eth{n}"), "10.0.0.1", "10.0.0.1", BAD)).collect();
    let hints = read(&all);
    assert_eq!(hints.refused.len(), 4 + 1, "{:?}", hints.refused);
    assert!(reasons(&hints).iter().any(|r| r.contains("196 more")), "{:?}", hints.refused);
}
