//! What hooks wrote down: `<run_dir>/hints/*.json`, as [`crate::hook::record`] writes it.
//!
//! One file holds hints of one link and family, each of which may end at a time of its own
//! (routers that advertise themselves do): those that are not over are one hint again.
//!
//! What came without an address names its link by index, and the file by the name that it had.

use std::net::IpAddr;

use multihome_core::Family;
use multihome_core::model::hint::{Hint, HintedLink};
use serde::{Deserialize, Serialize};

use crate::former;
use crate::interface::index_of;
use crate::parse::{File, check_interface};
use crate::routes::{is_gateway, is_gateway6, on_a_line};

/// What stands in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) hints: Vec<Hint>,
}

/// What a file says.
pub(crate) fn hints(file: File<'_>) -> Result<Vec<Hint>, String> {
    let record: Record =
        serde_json::from_str(file.text()?).map_err(|e| on_a_line(&e.to_string(), 44))?;
    let mut hints: Vec<Hint> = Vec::new();
    for mut hint in record.hints {
        check(&hint)?;
        if hint.expires.is_some_and(|end| end <= file.now) {
            continue;
        }
        hint.file = file.shown.to_owned();
        hint.since = hint.since.min(file.now);
        let same = |h: &&mut Hint| {
            (&h.link, h.family, h.source, h.address)
                == (&hint.link, hint.family, hint.source, hint.address)
        };
        match hints.iter_mut().find(same) {
            Some(first) => join(first, hint),
            None => hints.push(hint),
        }
    }
    Ok(hints)
}

/// Whether the link that a hint names by index still has the name that it had for the hook.
pub(crate) fn is_here(file: &str, hint: &Hint) -> bool {
    let HintedLink::Index(index) = hint.link else { return true };
    let name = file.strip_suffix(".json").and_then(|file| file.splitn(3, '.').nth(2));
    let now = name.map(index_of);
    // Where the kernel does not say, it is believed.
    !matches!(now, Some(Ok(now)) if now != Some(index))
}

/// Joins what two hints say of the same link.
fn join(into: &mut Hint, other: Hint) {
    for gateway in other.gateways {
        if !into.gateways.contains(&gateway) {
            into.gateways.push(gateway);
        }
    }
    for route in other.routes {
        if !into.routes.contains(&route) {
            into.routes.push(route);
        }
    }
    let mut seen = std::mem::take(&mut into.former);
    former::add(&mut seen, &other.former);
    into.former = former::without(&seen, &into.gateways);
    into.since = into.since.max(other.since);
    // When the first of them ends, the file is read again, and says what the others say.
    into.expires = match (into.expires, other.expires) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
}

/// What is in such a file can only be what [`crate::hook`] puts there.
fn check(hint: &Hint) -> Result<(), String> {
    if let HintedLink::Name(name) = &hint.link {
        check_interface(name).map_err(|e| format!("its link: {e}"))?;
    }
    let is_of_family = |address: &IpAddr| Family::of(*address) == hint.family;
    let can_be_gateway = |gateway: &IpAddr| match gateway {
        IpAddr::V4(g) => is_gateway(*g, None),
        IpAddr::V6(g) => is_gateway6(*g),
    };
    let gateways =
        || hint.gateways.iter().chain(hint.routes.iter().filter_map(|r| r.gateway.as_ref()));
    let is_sound = hint.address.iter().all(is_of_family)
        && gateways().all(|g| is_of_family(g) && can_be_gateway(g))
        && hint.former.iter().all(is_of_family)
        && hint.routes.iter().all(|r| r.dst.family() == hint.family && !r.dst.is_default());
    if is_sound { Ok(()) } else { Err("it holds what no hook writes".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, now: u64) -> Result<Vec<Hint>, String> {
        hints(File { name: "", shown: "/f", bytes: text.as_bytes(), modified: 0, now })
    }

    const TWO_ROUTERS: &str = r#"{"hints": [
        {"link": "eth1", "family": "inet6", "source": "dhcpcd", "file": "",
         "gateways": ["fe80::1"], "since": 100, "expires": 200},
        {"link": "eth1", "family": "inet6", "source": "dhcpcd", "file": "",
         "gateways": ["fe80::2"], "since": 110, "expires": 300}]}"#;

    #[test]
    fn each_router_ends_in_its_own_time() {
        let at = |now| {
            let hints = parsed(TWO_ROUTERS, now).unwrap();
            hints.iter().map(|h| (h.gateways.len(), h.since, h.expires)).collect::<Vec<_>>()
        };
        assert_eq!(at(150), [(2, 110, Some(200))]);
        assert_eq!(at(200), [(1, 110, Some(300))]);
        assert_eq!(at(300), []);
        assert_eq!(parsed(TWO_ROUTERS, 150).unwrap()[0].file, "/f");
    }

    #[test]
    fn what_no_hook_writes_is_refused() {
        for (from, to) in [
            ("fe80::1", "10.0.0.1"),
            ("fe80::1", "::"),
            ("eth1", "../x"),
            ("\"since\"", "\"sinse\""),
            ("inet6", "inet5"),
            ("}]}", "}]"),
        ] {
            assert!(parsed(&TWO_ROUTERS.replace(from, to), 150).is_err(), "{from} -> {to}");
        }
    }
    #[test]
    fn what_is_told_of_a_record_is_a_line() {
        let key = format!("{{\"\\u001b[2J\\n{}\": 1}}", "x".repeat(500));
        let told = parsed(&key, 150).unwrap_err();
        assert!(told.contains("?[2J?"), "{told}");
        assert!(told.len() < 60 && !told.contains(char::is_control), "{told}");
    }
}
