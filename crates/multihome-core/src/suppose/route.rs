//! A route is added or deleted, in the words of ip-route(8).
//!
//! What is read is what [`Route::display`] writes, for routes with one hop: a type, a prefix or
//! `default`, then `via`, `dev`, `table`, `proto`, `scope`, `src`, `metric`, `onlink` in any order. Every
//! word must be understood: a route that is half read would be another one.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::Impossible;
use crate::model::names::{TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};
use crate::model::route::{RTNH_F_ONLINK, RTPROT_BOOT, SCOPE_HOST, SCOPE_LINK};
use crate::model::{Hop, Route, RouteKind, Snapshot, names};
use crate::prefix::{Family, Prefix};

/// A route as it was typed: what was said, and nothing that was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteWords {
    text: String,
    kind: Option<RouteKind>,
    dst: Prefix,
    via: Option<IpAddr>,
    dev: Option<String>,
    table: Option<String>,
    proto: Option<u8>,
    scope: Option<u8>,
    src: Option<IpAddr>,
    metric: Option<u32>,
    onlink: bool,
}

const KNOWN: &str = "known are via, dev, table, proto, scope, src, metric and onlink";

/// The words of a line, one by one, and where we are.
struct Words<'a> {
    text: &'a str,
    words: Vec<&'a str>,
    at: usize,
}

// ===== reading =====

impl FromStr for RouteWords {
    type Err = Impossible;

    fn from_str(text: &str) -> Result<RouteWords, Impossible> {
        let mut words = Words { text, words: text.split_whitespace().collect(), at: 0 };
        let mut family = match words.peek() {
            Some("-4") => Some(Family::V4),
            Some("-6") => Some(Family::V6),
            _ => None,
        };
        words.at += usize::from(family.is_some());
        let kind = words.peek().and_then(RouteKind::from_word);
        words.at += usize::from(kind.is_some());
        let Some(dst) = words.next() else {
            return Err(words.error("a route needs a prefix", "as `10.0.0.0/8` or `default`"));
        };
        let named = match dst {
            "default" => None,
            prefix => Some(prefix.parse::<Prefix>().map_err(|e| {
                words.error(&e, "write a network as `10.0.0.0/8`, an address, or `default`")
            })?),
        };
        let mut route = RouteWords {
            text: words.words.join(" "),
            kind,
            dst: Family::V4.all(),
            via: None,
            dev: None,
            table: None,
            proto: None,
            scope: None,
            src: None,
            metric: None,
            onlink: false,
        };
        while let Some(word) = words.next() {
            let again = match word {
                "via" => {
                    // Said of a gateway whose family is not the route's: that is IPv4 by IPv6 only.
                    if words.peek() == Some("inet6") {
                        words.at += 1;
                        family = Some(Family::V4);
                    }
                    route.via.replace(words.value(word, "an address, as `10.0.0.1`")?).is_some()
                }
                "dev" => route.dev.replace(words.value(word, "a link, as `ens6`")?).is_some(),
                "table" => route.table.replace(words.value(word, "a table")?).is_some(),
                "proto" => {
                    let told: String = words.value(word, "a protocol, as `static`")?;
                    let known = names::protocol_number(&told);
                    let number = known.or_else(|| told.parse().ok()).ok_or_else(|| {
                        words.error(&format!("`{told}` is no protocol"), "give its number")
                    })?;
                    route.proto.replace(number).is_some()
                }
                "scope" => {
                    let told: String = words.value(word, "a scope, as `link`")?;
                    let known = names::scope_number(&told);
                    let number = known.ok_or_else(|| {
                        words.error(&format!("`{told}` is no scope"), "global, site, link or host")
                    })?;
                    route.scope.replace(number).is_some()
                }
                "src" => route.src.replace(words.value(word, "an address of this host")?).is_some(),
                "metric" => route.metric.replace(words.value(word, "a number")?).is_some(),
                "onlink" => std::mem::replace(&mut route.onlink, true),
                "nexthop" => {
                    return Err(words.error(
                        "routes with several hops cannot be supposed",
                        "write them into a snapshot file",
                    ));
                }
                word => {
                    return Err(words.error(&format!("`{word}` is no word of a route"), KNOWN));
                }
            };
            if again {
                return Err(words.error(&format!("`{word}` stands there twice"), "leave one out"));
            }
        }
        let implied = family.or(route.src.or(route.via).map(Family::of)).unwrap_or(Family::V4);
        route.dst = named.unwrap_or(implied.all());
        let of = route.dst.family();
        let other = |address: Option<IpAddr>| address.is_some_and(|a| Family::of(a) != of);
        // A gateway of IPv6 serves IPv4 (RFC 8950), and never the other way round.
        let gateway = route.via.filter(|_| of == Family::V6);
        for (word, address) in [("via", gateway), ("src", route.src)] {
            if let Some(address) = address.filter(|a| other(Some(*a))) {
                return Err(Impossible::new(
                    format!("`{word} {address}` in `{}`: {dst} is {of}", route.text),
                    format!("give an {of} address behind `{word}`"),
                ));
            }
        }
        if family.is_some_and(|f| f != of) {
            return Err(words.error("the addresses are of two families", "write one of them"));
        }
        Ok(route)
    }
}

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    fn next(&mut self) -> Option<&'a str> {
        let word = self.peek()?;
        self.at += 1;
        Some(word)
    }

    fn value<T: FromStr>(&mut self, of: &str, what: &str) -> Result<T, Impossible> {
        let Some(word) = self.next() else {
            return Err(self.error(&format!("nothing stands behind `{of}`"), what));
        };
        let wrong = |_| self.error(&format!("`{word}` cannot stand behind `{of}`"), what);
        word.parse().map_err(wrong)
    }

    fn error(&self, what: &str, remedy: &str) -> Impossible {
        let place = match self.at {
            0 => String::new(),
            at => format!(" (word {at} of `{}`)", self.text),
        };
        Impossible::new(format!("{what}{place}"), remedy)
    }
}

impl fmt::Display for RouteWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// ===== what the kernel makes of it =====

/// Adds a route as `ip route add` does.
///
/// # Errors
/// When the kernel would refuse it.
pub fn add_route(snapshot: &mut Snapshot, words: &RouteWords) -> Result<(), Impossible> {
    let kind = words.kind.unwrap_or_default();
    let family = words.dst.family();
    let mut route = Route::new(table_of(snapshot, words)?, words.dst);
    route.kind = kind;
    route.protocol = words.proto.unwrap_or(RTPROT_BOOT);
    route.metric = words.metric.filter(|m| *m != 0).unwrap_or(route.metric);
    route.prefsrc = words.src;
    let leads = !matches!(
        kind,
        RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Throw
    );
    if leads {
        let link = link_of(snapshot, words, &route)?;
        let flags = if words.onlink { RTNH_F_ONLINK } else { 0 };
        route.hops = vec![Hop { link, gateway: words.via, flags, ..Hop::default() }];
    } else if words.via.is_some() || words.dev.is_some() {
        return Err(Impossible::new(
            format!("`{words}`: a route of type {} leads nowhere", kind.word()),
            "leave `via` and `dev` out",
        ));
    }
    if family == Family::V4 {
        let usual = match kind {
            RouteKind::Local => SCOPE_HOST,
            RouteKind::Broadcast | RouteKind::Multicast | RouteKind::Anycast => SCOPE_LINK,
            RouteKind::Unicast if words.via.is_none() => SCOPE_LINK,
            _ => 0,
        };
        route.scope = words.scope.unwrap_or(usual);
    }
    if let Some(src) = words.src
        && !snapshot.addresses().any(|a| a.local == src)
    {
        let what = format!("`{words}`: {src} is no address of this host");
        return Err(Impossible::new(what, "`src` takes one that is there"));
    }
    if let Some(there) = snapshot.routes_at(&route.key()).first() {
        let names = snapshot.names();
        return Err(Impossible::new(
            format!("`{words}`: there is one already: {}", there.display(&names)),
            "delete it first, or give another `metric`",
        ));
    }
    snapshot.insert_route(route);
    Ok(())
}

/// Deletes the first route that is as was said, as `ip route del` does.
///
/// # Errors
/// When there is none.
pub fn del_route(snapshot: &mut Snapshot, words: &RouteWords) -> Result<(), Impossible> {
    let table = table_of(snapshot, words)?;
    let dev = words.dev.as_deref().map(|name| super::index(snapshot, name)).transpose()?;
    let said = |r: &&Route| {
        r.dst == words.dst
            && words.kind.is_none_or(|k| k == r.kind)
            && words.proto.is_none_or(|p| p == r.protocol)
            && words.scope.is_none_or(|s| s == r.scope || r.family() == Family::V6)
            && words.metric.is_none_or(|m| m == r.metric)
            && words.src.is_none_or(|s| r.prefsrc == Some(s))
            && words.via.is_none_or(|g| r.hops.iter().any(|h| h.gateway == Some(g)))
            && dev.is_none_or(|d| r.hops.iter().any(|h| h.link == d))
    };
    let Some(route) = snapshot.routes_in(table).find(said).cloned() else {
        let names = snapshot.names();
        return Err(Impossible::new(
            format!("`{words}`: there is no such route in table {}", names.table(table)),
            "`ip route show table all` lists them",
        ));
    };
    snapshot.remove_route(&route);
    Ok(())
}

fn table_of(snapshot: &Snapshot, words: &RouteWords) -> Result<u32, Impossible> {
    let Some(told) = &words.table else { return Ok(TABLE_MAIN) };
    let known = match told.as_str() {
        "main" => Some(TABLE_MAIN),
        "local" => Some(TABLE_LOCAL),
        "default" => Some(TABLE_DEFAULT),
        name => snapshot.table_names.iter().find(|(_, n)| *n == name).map(|(t, _)| *t),
    };
    known.or_else(|| told.parse().ok().filter(|t| *t != 0)).ok_or_else(|| {
        Impossible::new(format!("`{words}`: no table has the name `{told}`"), "give its number")
    })
}

/// The link of a route: the one that was named, or the one that has the gateway
/// (`fib_check_nh_v4_gw`, `ip6_route_check_nh`).
fn link_of(snapshot: &Snapshot, words: &RouteWords, route: &Route) -> Result<u32, Impossible> {
    let named = words.dev.as_deref().map(|name| super::index(snapshot, name)).transpose()?;
    if let Some(link) = named.and_then(|i| snapshot.link(i))
        && !link.is_up()
    {
        return Err(Impossible::new(
            format!("`{words}`: {} is down", link.name),
            "take it up first",
        ));
    }
    let Some(gateway) = words.via else {
        return named.ok_or_else(|| {
            Impossible::new(format!("`{words}` leads nowhere"), "add `via GATEWAY` or `dev LINK`")
        });
    };
    let link_local = matches!(gateway, IpAddr::V6(a) if a.is_unicast_link_local());
    if let Some(link) = named
        && (words.onlink || link_local)
    {
        return Ok(link);
    }
    let tables = [route.table, TABLE_MAIN];
    let holding = snapshot
        .routes()
        .filter(|r| tables.contains(&r.table) && r.dst.contains(gateway) && !r.dst.is_default())
        .filter(|r| r.kind == RouteKind::Unicast && r.hops.len() == 1)
        .filter(|r| named.is_none_or(|n| r.hops[0].link == n))
        .max_by_key(|r| r.dst.len())
        .filter(|r| r.hops[0].gateway.is_none());
    holding.map(|r| r.hops[0].link).ok_or_else(|| {
        Impossible::new(
            format!("`{words}`: no link has the gateway {gateway} in its network"),
            "name the link with `dev`, and say `onlink` if the gateway is there all the same",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> Impossible {
        text.parse::<RouteWords>().unwrap_err()
    }

    #[test]
    fn what_routes_are_shown_as_is_read() {
        for text in [
            "default via 10.0.0.1 dev ens5",
            "10.1.0.0/16 via 10.0.0.1 table 7 metric 20 src 10.0.0.5 onlink",
            "unreachable 10.0.0.0/8 metric 4294967295",
            "default via inet6 fe80::1 dev ens6",
            "2001:db8::/32 dev ens6 proto static scope link",
            "-6 default dev ppp0",
        ] {
            let words: RouteWords = text.parse().unwrap();
            assert_eq!(words.to_string(), text);
        }
        let words: RouteWords = "default via fe80::1 dev ens6".parse().unwrap();
        assert_eq!(words.dst, Family::V6.all());
        let words: RouteWords = "default via inet6 fe80::1 dev ens6".parse().unwrap();
        assert_eq!(words.dst, Family::V4.all());
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_place() {
        let e = error("default vai 10.0.0.1");
        assert_eq!(e.what, "`vai` is no word of a route (word 2 of `default vai 10.0.0.1`)");
        assert!(e.remedy.contains("via"), "{e:?}");
        assert!(error("10.0.0.1/24 dev ens5").what.contains("the network is 10.0.0.0/24"));
        assert!(error("default via").what.contains("nothing stands behind `via`"));
        assert!(error("default via x").what.contains("`x` cannot stand behind `via`"));
        assert!(error("default dev a dev b").what.contains("twice"));
        assert!(error("").what.contains("needs a prefix"));
        assert!(error("2001:db8::/32 via 10.0.0.1").what.contains(": 2001:db8::/32 is IPv6"));
    }
}
