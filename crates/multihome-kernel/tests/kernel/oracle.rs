//! What `ip -j` says, as values of the model: a second way from the kernel to the model that
//! has no code in common with the first.

use multihome_core::model::{
    Action, Address, AddressLabel, Hop, Link, Neighbour, Route, RouteKind, Rule,
};
use multihome_core::{Family, Prefix, Snapshot};
use serde_json::Value;

use crate::netns::ip;

fn json(arguments: &str) -> Vec<Value> {
    let text = ip(arguments);
    if text.trim().is_empty() {
        return Vec::new();
    }
    let values: Vec<Value> = serde_json::from_str(&text).expect("JSON from ip");
    // `ip` leaves an empty object for each thing that it filtered out itself.
    values.into_iter().filter(|v| v.as_object().is_none_or(|o| !o.is_empty())).collect()
}

fn text<'a>(v: &'a Value, key: &str) -> Option<&'a str> {
    v.get(key)?.as_str()
}

fn number(v: &Value, key: &str) -> Option<u64> {
    let v = v.get(key)?;
    v.as_u64().or_else(|| {
        let s = v.as_str()?;
        match s.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => s.parse().ok(),
        }
    })
}

fn small<T: TryFrom<u64>>(v: &Value, key: &str) -> Option<T> {
    T::try_from(number(v, key)?).ok()
}

fn index(snapshot: &Snapshot, name: &str) -> u32 {
    snapshot.link_named(name).unwrap_or_else(|| panic!("link {name}")).index
}

fn prefix(text: &str, family: Family) -> Prefix {
    if text == "default" { family.all() } else { text.parse().expect("prefix") }
}

/// Links; counters of the carrier and low flag bits, which `ip` does not print, from `known`.
pub fn links(known: &Snapshot) -> Vec<Link> {
    let all = json("-j -d -N link");
    let by_name = |name: &str| {
        let v = all.iter().find(|v| text(v, "ifname") == Some(name)).expect("master");
        small(v, "ifindex").expect("ifindex")
    };
    let mut links: Vec<Link> = all
        .iter()
        .map(|v| {
            let index = small(v, "ifindex").expect("ifindex");
            let ours = known.link(index).expect("known link");
            let words: Vec<&str> =
                v["flags"].as_array().expect("flags").iter().filter_map(Value::as_str).collect();
            let bits = [
                ("UP", 0x1),
                ("BROADCAST", 0x2),
                ("LOOPBACK", 0x8),
                ("POINTOPOINT", 0x10),
                ("NOARP", 0x80),
                ("SLAVE", 0x800),
                ("MULTICAST", 0x1000),
                ("LOWER_UP", 0x1_0000),
            ];
            let named: u32 = bits.iter().map(|(_, b)| b).sum();
            let flags: u32 = bits.iter().filter(|(w, _)| words.contains(w)).map(|(_, b)| b).sum();
            Link {
                index,
                name: text(v, "ifname").expect("ifname").into(),
                kind: v.get("linkinfo").and_then(|i| text(i, "info_kind")).map(Into::into),
                arphrd: match text(v, "link_type") {
                    Some("[1]" | "ether") => 1,
                    Some("[772]" | "loopback") => 772,
                    other => panic!("link_type {other:?}"),
                },
                flags: flags | ours.flags & !named,
                master: text(v, "master").map(by_name),
                group: if text(v, "group") == Some("default") {
                    0
                } else {
                    small(v, "group").expect("group")
                },
                address: text(v, "address").map(Into::into),
                permanent_address: text(v, "permaddr").map(Into::into),
                carrier_changes: ours.carrier_changes,
                mtu: small(v, "mtu").expect("mtu"),
            }
        })
        .collect();
    links.sort();
    links
}

/// Addresses.
pub fn addresses() -> Vec<Address> {
    let mut addresses = Vec::new();
    for link in json("-j -d -N address") {
        for v in link["addr_info"].as_array().expect("addr_info") {
            let has = |key| v.get(key).is_some();
            let v6 = text(v, "family") == Some("inet6");
            let bits = [
                (has("secondary") || has("temporary"), 0x1),
                (has("nodad"), 0x2),
                (has("deprecated"), 0x20),
                (has("tentative"), 0x40),
                (!has("dynamic"), 0x80),
                (has("noprefixroute"), 0x200),
                // IFA_F_STABLE_PRIVACY
                (v6 && has("stable-privacy"), 0x800),
            ];
            addresses.push(Address {
                link: small(&link, "ifindex").expect("ifindex"),
                local: text(v, "local").expect("local").parse().expect("address"),
                prefix_len: small(v, "prefixlen").expect("prefixlen"),
                peer: text(v, "address").map(|a| a.parse().expect("address")),
                scope: match text(v, "scope") {
                    Some("global") => 0,
                    Some("link") => 253,
                    Some("host") => 254,
                    _ => small(v, "scope").expect("scope"),
                },
                flags: bits.iter().filter(|(on, _)| *on).map(|(_, b)| b).sum(),
            });
        }
    }
    addresses.sort();
    addresses
}

/// Rules, in the kernel's order, IPv4 first.
pub fn rules() -> Vec<Rule> {
    let mut rules = Vec::new();
    for family in Family::BOTH {
        for v in json(&format!("{} -j -d -N rule", family.flag())) {
            rules.push(rule(family, &v));
        }
    }
    rules
}

fn rule(family: Family, v: &Value) -> Rule {
    let has = |key| v.get(key).is_some();
    let net = |address: &str, len: &str| {
        let address = text(v, address).filter(|a| *a != "all")?.parse().expect("address");
        Some(match small(v, len) {
            Some(len) => Prefix::new(address, len),
            None => Prefix::host(address),
        })
    };
    let range = |one: &str| {
        let ends = (format!("{one}_start"), format!("{one}_end"));
        match (small(v, one), small(v, &ends.0), small(v, &ends.1)) {
            (Some(port), _, _) => Some((port, port)),
            (None, Some(start), Some(end)) => Some((start, end)),
            _ => None,
        }
    };
    let action = if has("goto") {
        Action::Goto(small(v, "goto").expect("goto"))
    } else if has("nop") {
        Action::Nop
    } else if has("l3mdev") {
        Action::Lookup(0)
    } else {
        match text(v, "action") {
            Some("6") => Action::Blackhole,
            Some("7") => Action::Unreachable,
            Some("8") => Action::Prohibit,
            Some(other) => panic!("action {other}"),
            None => Action::Lookup(small(v, "table").expect("table")),
        }
    };
    let realm = |key| small::<u32>(v, key);
    Rule {
        protocol: small(v, "protocol").expect("protocol"),
        not: has("not"),
        from: net("src", "srclen"),
        to: net("dst", "dstlen"),
        iif: text(v, "iif").map(Into::into),
        oif: text(v, "oif").map(Into::into),
        fwmark: small(v, "fwmark").map(|mark| (mark, small(v, "fwmask").unwrap_or(u32::MAX))),
        tos: small(v, "tos"),
        ipproto: text(v, "ipproto")
            .map(|p| p.trim_start_matches("ipproto-").parse().expect("ipproto")),
        sport: range("sport"),
        dport: range("dport"),
        uidrange: Option::zip(small(v, "uid_start"), small(v, "uid_end")),
        l3mdev: has("l3mdev"),
        tun_id: number(v, "tun_id"),
        suppress_prefixlength: small(v, "suppress_prefixlen"),
        suppress_ifgroup: small(v, "suppress_ifgroup"),
        realms: realm("flow_to").map(|to| realm("flow_from").unwrap_or(0) << 16 | to),
        other: Vec::new(),
        ..Rule::new(family, small(v, "priority").expect("priority"), action)
    }
}

/// The neighbours that have one of the addresses, and a route by it on their link, sorted.
pub fn neighbours(known: &Snapshot, gateways: &[&str]) -> Vec<Neighbour> {
    let states = [
        ("INCOMPLETE", 0x01),
        ("REACHABLE", 0x02),
        ("STALE", 0x04),
        ("DELAY", 0x08),
        ("PROBE", 0x10),
        ("FAILED", 0x20),
        ("NOARP", 0x40),
        ("PERMANENT", 0x80),
    ];
    let routes = ip("route show table all") + &ip("-6 route show table all");
    let is_gateway = |address: &str, link: &str| {
        let hop =
            [format!("via {address} dev {link} "), format!("via inet6 {address} dev {link} ")];
        hop.iter().any(|h| routes.contains(h))
    };
    let mut found: Vec<Neighbour> = json("-j -N neigh show nud all")
        .iter()
        .filter(|v| {
            let (address, link) = (text(v, "dst").expect("dst"), text(v, "dev").expect("dev"));
            gateways.contains(&address) && is_gateway(address, link)
        })
        .map(|v| Neighbour {
            link: index(known, text(v, "dev").expect("dev")),
            address: text(v, "dst").expect("dst").parse().expect("address"),
            lladdr: text(v, "lladdr").map(Into::into),
            state: v["state"]
                .as_array()
                .expect("state")
                .iter()
                .filter_map(Value::as_str)
                .map(|word| states.iter().find(|(w, _)| *w == word).expect("a known state").1)
                .sum(),
            router: v.get("router").is_some(),
        })
        .collect();
    found.sort();
    found
}

/// Address labels, sorted.
pub fn labels(known: &Snapshot) -> Vec<AddressLabel> {
    let mut labels: Vec<AddressLabel> = json("-j addrlabel")
        .iter()
        .map(|v| AddressLabel {
            prefix: Prefix::new(
                text(v, "address").expect("address").parse().expect("address"),
                small(v, "prefixlen").expect("prefixlen"),
            ),
            link: text(v, "ifname").map_or(0, |name| index(known, name)),
            label: small(v, "label").expect("label"),
        })
        .collect();
    labels.sort();
    labels
}

/// Routes of all tables, sorted. Lifetimes are cleared: they run on between two looks.
pub fn routes(known: &Snapshot) -> Vec<Route> {
    let mut routes = Vec::new();
    for family in Family::BOTH {
        for v in json(&format!("{} -j -d -N route show table all", family.flag())) {
            routes.push(route(family, &v, known));
        }
    }
    routes.sort();
    routes
}

fn route(family: Family, v: &Value, known: &Snapshot) -> Route {
    let mut route = Route {
        src: text(v, "from").map(|p| prefix(p, family)),
        tos: small(v, "tos").unwrap_or(0),
        metric: small(v, "metric").unwrap_or(0),
        kind: RouteKind::from(small::<u8>(v, "type").expect("type")),
        protocol: small(v, "protocol").expect("protocol"),
        scope: small(v, "scope").expect("scope"),
        prefsrc: text(v, "prefsrc").map(|a| a.parse().expect("prefsrc")),
        nhid: small(v, "nhid"),
        preference: match text(v, "pref") {
            Some("high") => 1,
            Some("low") => 3,
            _ => 0,
        },
        ..Route::new(small(v, "table").unwrap_or(254), prefix(text(v, "dst").expect("dst"), family))
    };
    let nowhere = matches!(
        route.kind,
        RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Throw
    );
    if let Some(hops) = v.get("nexthops").and_then(Value::as_array) {
        route.hops = hops.iter().map(|v| hop(v, known)).collect();
    } else if v.get("dev").is_some() && !nowhere {
        route.hops = vec![hop(v, known)];
    }
    for v in v.get("metrics").and_then(Value::as_array).into_iter().flatten() {
        for (key, value) in v.as_object().expect("metrics") {
            let value = value.as_u64().and_then(|v| u32::try_from(v).ok());
            let (number, value) = match key.as_str() {
                "congestion" => {
                    route.metrics.congctl = text(v, key).map(Into::into);
                    continue;
                }
                "mtu" => (2, value),
                "rtt" => (4, value.map(|v| v * 8)),
                "rttvar" => (5, value.map(|v| v * 4)),
                "advmss" => (8, value),
                "hoplimit" => (10, value),
                "initcwnd" => (11, value),
                "ecn" => (12, Some(1)),
                "rto_min" => (13, value),
                "quickack" => (15, value),
                other => panic!("metric {other}"),
            };
            route.metrics.values.insert(number, value.expect("metric"));
        }
    }
    route
}

fn hop(v: &Value, known: &Snapshot) -> Hop {
    let gateway = text(v, "gateway").or_else(|| v.get("via").and_then(|v| text(v, "host")));
    let words: Vec<&str> =
        v["flags"].as_array().expect("flags").iter().filter_map(Value::as_str).collect();
    let bits = [("dead", 1), ("onlink", 4), ("linkdown", 16)];
    Hop {
        link: text(v, "dev").map_or(0, |name| index(known, name)),
        gateway: gateway.map(|a| a.parse().expect("gateway")),
        weight: small::<u16>(v, "weight").map_or(0, |w| u8::try_from(w - 1).expect("weight")),
        flags: bits.iter().filter(|(w, _)| words.contains(w)).map(|(_, b)| b).sum(),
        encap: false,
    }
}
