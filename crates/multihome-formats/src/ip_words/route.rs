//! `ip route add`.

use std::net::IpAddr;

use multihome_core::model::metrics;
use multihome_core::model::names::{TABLE_LOCAL, TABLE_MAIN};
use multihome_core::model::route::{
    METRIC_V6_DEFAULT, RTAX_LOCK, RTAX_RTO_MIN, RTNH_F_ONLINK, RTPROT_BOOT, SCOPE_HOST, SCOPE_LINK,
};
use multihome_core::model::{Hop, Metrics, Route, RouteKind};
use multihome_core::prefix::Family;

use super::read::{Context, Network, Words, address, number, protocol, scope, settle, short, tos};

/// Nobody writes more, and a line may be as long as a file.
const MAX_HOPS: usize = 256;

/// What is known of a route so far.
struct Draft<'a> {
    context: &'a Context<'a>,
    family: Option<Family>,
    to: Option<Network>,
    from: Option<Network>,
    kind: RouteKind,
    table: Option<u32>,
    protocol: u8,
    scope: Option<u8>,
    metric: u32,
    tos: u8,
    prefsrc: Option<IpAddr>,
    gateway: Option<IpAddr>,
    dev: Option<u32>,
    flags: u8,
    hops: Vec<Hop>,
    metrics: Metrics,
    preference: u8,
    expires: Option<i64>,
}

/// Reads what stands behind `ip route add`.
pub(crate) fn route<S: AsRef<str>>(words: &[S], context: &Context<'_>) -> Result<Route, String> {
    let mut draft = Draft {
        context,
        family: context.family,
        to: None,
        from: None,
        kind: RouteKind::Unicast,
        table: None,
        protocol: RTPROT_BOOT,
        scope: None,
        metric: 0,
        tos: 0,
        prefsrc: None,
        gateway: None,
        dev: None,
        flags: 0,
        hops: Vec::new(),
        metrics: Metrics::default(),
        preference: 0,
        expires: None,
    };
    let mut words = Words::new(words);
    while let Some(word) = words.next() {
        if word == "nexthop" {
            draft.nexthops(&mut words)?;
        } else if !draft.metric(word, &mut words)? {
            draft.word(word, &mut words)?;
        }
    }
    draft.finish()
}

impl Draft<'_> {
    /// The words that say where it leads, and who made it.
    fn word<S: AsRef<str>>(&mut self, word: &str, words: &mut Words<'_, S>) -> Result<(), String> {
        match word {
            "src" => {
                let value = words.value(word)?;
                let source = address(value)?;
                settle(&mut self.family, Family::of(source), value)?;
                self.prefsrc = Some(source);
            }
            "via" => {
                if self.gateway.is_some() {
                    return Err("a second `via`: several ways need `nexthop`".to_owned());
                }
                self.gateway = Some(self.via(words)?);
            }
            "from" => self.from = Some(self.network(words.value(word)?)?),
            "expires" => self.expires = Some(words.number(word)?.into()),
            "scope" => self.scope = Some(scope(words.value(word)?)?),
            "onlink" => self.flags |= RTNH_F_ONLINK,
            "dev" | "oif" => self.dev = Some(self.context.link(words.value(word)?)?),
            "tos" => self.tos = tos(words.value(word)?)?,
            "preference" => self.metric = words.number(word)?,
            "as" | "nhid" | "encap" => return Err(format!("`{word}` is not read here")),
            w if short(w, "dsfield") => self.tos = tos(words.value(word)?)?,
            w if short(w, "metric") || short(w, "priority") => self.metric = words.number(word)?,
            w if short(w, "realms") => return Err("`realms` is not read here".to_owned()),
            w if short(w, "protocol") => self.protocol = protocol(words.value(word)?)?,
            w if short(w, "table") => self.table = Some(self.context.table(words.value(word)?)?),
            w if short(w, "vrf") || short(w, "ttl-propagate") => {
                return Err(format!("`{word}` is not read here"));
            }
            w if short(w, "pref") => self.preference = preference(words.value(word)?)?,
            _ => self.destination(word, words)?,
        }
        Ok(())
    }

    /// A destination: `to`, the kind of route, and the network, of which only the last must be.
    fn destination<S: AsRef<str>>(
        &mut self,
        word: &str,
        words: &mut Words<'_, S>,
    ) -> Result<(), String> {
        let mut word = word;
        if word == "to" {
            word = words.value("to")?;
        }
        if let Some(kind) = kind(word) {
            self.kind = kind;
            word = words.value(word)?;
        }
        let network = Network::read(word).map_err(|_| format!("`{word}` is not understood"))?;
        if self.to.is_some() {
            return Err(format!("`{word}` is a second destination"));
        }
        self.to = Some(self.network_of(network, word)?);
        Ok(())
    }

    fn network(&mut self, word: &str) -> Result<Network, String> {
        let network = Network::read(word)?;
        self.network_of(network, word)
    }

    fn network_of(&mut self, network: Network, word: &str) -> Result<Network, String> {
        if let Some(family) = network.family() {
            settle(&mut self.family, family, word)?;
        }
        Ok(network)
    }

    /// The gateway behind `via`; one of the other family says so.
    fn via<S: AsRef<str>>(&mut self, words: &mut Words<'_, S>) -> Result<IpAddr, String> {
        let mut word = words.value("via")?;
        let said = match word {
            "inet" => Some(Family::V4),
            "inet6" => Some(Family::V6),
            _ => None,
        };
        if said.is_some() {
            word = words.value(word)?;
        }
        let gateway = address(word)?;
        match (said, self.family) {
            (Some(said), _) if said != Family::of(gateway) => {
                return Err(format!("`{word}` is not {said}"));
            }
            (Some(_), Some(_)) => {}
            _ => settle(&mut self.family, Family::of(gateway), word)?,
        }
        Ok(gateway)
    }

    /// `parse_nexthops`: they take all that is left.
    fn nexthops<S: AsRef<str>>(&mut self, words: &mut Words<'_, S>) -> Result<(), String> {
        if self.gateway.is_some() || self.dev.is_some() {
            return Err("`nexthop` beside `via` or `dev`".to_owned());
        }
        loop {
            if self.hops.len() == MAX_HOPS {
                return Err(format!("more than {MAX_HOPS} times `nexthop`"));
            }
            let mut hop = Hop::default();
            while let Some(word) = words.peek().filter(|w| *w != "nexthop") {
                words.next();
                match word {
                    "via" => hop.gateway = Some(self.via(words)?),
                    "dev" => hop.link = self.context.link(words.value(word)?)?,
                    "onlink" => hop.flags |= RTNH_F_ONLINK,
                    "weight" => {
                        let weight = words.number(word)?;
                        let less = weight.checked_sub(1).and_then(|w| u8::try_from(w).ok());
                        hop.weight = less.ok_or("`weight` is 1 to 256")?;
                    }
                    _ => return Err(format!("`{word}` is not understood behind `nexthop`")),
                }
            }
            if hop.link == 0 && hop.gateway.is_none() {
                return Err("a `nexthop` without `via` and `dev`".to_owned());
            }
            hop.link = self.link_of(hop.link)?;
            self.hops.push(hop);
            if words.next().is_none() {
                return Ok(());
            }
        }
    }

    /// The link that was named, or that of the file.
    fn link_of(&self, named: u32) -> Result<u32, String> {
        match (named, self.context.dev) {
            (0, Some(name)) => self.context.link(name),
            (0, None) => Err("a gateway without `dev`: which link it is on is not said".to_owned()),
            (link, _) => Ok(link),
        }
    }

    /// The metrics of the path (`RTA_METRICS`); whether the word was one.
    fn metric<S: AsRef<str>>(
        &mut self,
        word: &str,
        words: &mut Words<'_, S>,
    ) -> Result<bool, String> {
        // Those that may be cut short, in the order in which they are tried, and the others.
        const SHORT: [&str; 10] = [
            "reordering",
            "window",
            "cwnd",
            "initcwnd",
            "initrwnd",
            "features",
            "quickack",
            "rttvar",
            "ssthresh",
            "fastopen_no_cookie",
        ];
        const WHOLE: [&str; 5] = ["mtu", "hoplimit", "advmss", "rtt", "rto_min"];
        if short(word, "congctl") && word.len() > 1 {
            // `c` alone is `cwnd`, which is tried first.
            self.metrics.congctl = Some(words.value(word)?.to_owned());
            return Ok(true);
        }
        // `m` is `metric`, `p` is `priority`: both are tried before these.
        let whole = WHOLE.into_iter().find(|w| *w == word);
        let known = whole.or_else(|| SHORT.into_iter().find(|w| short(word, w)));
        let Some((name, id)) = known.and_then(|w| Some((w, metrics::number_of(w)?))) else {
            return Ok(false);
        };
        let mut value = words.value(word)?;
        // `iproute_modify` reads no `lock` behind these; the timer is locked anyway.
        let takes_lock =
            !matches!(name, "features" | "quickack" | "fastopen_no_cookie" | "rto_min");
        if takes_lock && value == "lock" {
            self.lock(id);
            value = words.value(word)?;
        }
        if id == RTAX_RTO_MIN {
            self.lock(id);
        }
        let read = match name {
            "rtt" => time(value, 8),
            "rttvar" => time(value, 4),
            "rto_min" => time(value, 1),
            "features" => (value == "ecn").then_some(1),
            "hoplimit" => number(value).filter(|n| *n <= 255),
            "quickack" | "fastopen_no_cookie" => number(value).filter(|n| *n <= 1),
            _ => number(value),
        };
        let read = read.ok_or_else(|| format!("`{word}`: `{value}` is not understood"))?;
        self.metrics.values.insert(id, read);
        Ok(true)
    }

    fn lock(&mut self, id: u16) {
        *self.metrics.values.entry(RTAX_LOCK).or_default() |= 1 << id;
    }

    fn finish(self) -> Result<Route, String> {
        let to = self.to.ok_or("there is no destination")?;
        let family = self.family.unwrap_or(Family::V4);
        if family == Family::V4 && to.has_host_bits() {
            return Err("the destination has host bits set, and the kernel refuses it".to_owned());
        }
        if family == Family::V6 && self.tos != 0 {
            return Err("IPv6 has no routes by `tos`".to_owned());
        }
        let hops = self.way(family)?;
        let has_gateway = self.gateway.is_some() || !self.hops.is_empty();
        let default_table = match self.kind {
            RouteKind::Local | RouteKind::Broadcast | RouteKind::Anycast => TABLE_LOCAL,
            _ => TABLE_MAIN,
        };
        let scope = match self.scope {
            _ if family == Family::V6 => 0,
            Some(scope) => scope,
            None => default_scope(self.kind, has_gateway),
        };
        Ok(Route {
            src: self.from.map(|n| n.prefix(family)).filter(|p| !p.is_default()),
            tos: self.tos,
            // `ip6_route_info_create`: 0 is no metric.
            metric: match (family, self.metric) {
                (Family::V6, 0) => METRIC_V6_DEFAULT,
                (_, metric) => metric,
            },
            kind: self.kind,
            protocol: self.protocol,
            scope,
            prefsrc: self.prefsrc,
            hops,
            metrics: self.metrics,
            preference: self.preference,
            expires: self.expires,
            ..Route::new(self.table.unwrap_or(default_table), to.prefix(family))
        })
    }

    /// Where it leads; a route that refuses leads nowhere.
    fn way(&self, family: Family) -> Result<Vec<Hop>, String> {
        let leads = !matches!(
            self.kind,
            RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Throw
        );
        let lo = self.context.known.links.get("lo").copied().unwrap_or(1);
        let is_named = self.gateway.is_some() || self.dev.is_some() || !self.hops.is_empty();
        match leads {
            // IPv6 puts them onto the loopback device itself (`fib6_nh_init`).
            false if family == Family::V6 && self.dev.is_none_or(|d| d == lo) => Ok(Vec::new()),
            false if is_named => {
                Err(format!("a route that is `{}` leads nowhere", self.kind.word()))
            }
            false => Ok(Vec::new()),
            true if !self.hops.is_empty() => Ok(self.hops.clone()),
            true if !is_named => Err("neither `via` nor `dev`".to_owned()),
            true => {
                let link = self.link_of(self.dev.unwrap_or(0))?;
                let gateway = self.gateway;
                Ok(vec![Hop { link, gateway, flags: self.flags, ..Hop::default() }])
            }
        }
    }
}

/// The scope that `iproute_modify` gives to an IPv4 route that says none.
pub(super) fn default_scope(kind: RouteKind, has_gateway: bool) -> u8 {
    match kind {
        RouteKind::Local => SCOPE_HOST,
        RouteKind::Broadcast | RouteKind::Multicast | RouteKind::Anycast => SCOPE_LINK,
        RouteKind::Unicast if !has_gateway => SCOPE_LINK,
        _ => 0,
    }
}

/// `rtnl_rtntype_a2n`.
fn kind(word: &str) -> Option<RouteKind> {
    Some(match word {
        "local" => RouteKind::Local,
        "throw" => RouteKind::Throw,
        "brd" => RouteKind::Broadcast,
        w if short(w, "broadcast") => RouteKind::Broadcast,
        w if short(w, "anycast") && w != "any" => RouteKind::Anycast,
        w if short(w, "multicast") => RouteKind::Multicast,
        w if short(w, "prohibit") => RouteKind::Prohibit,
        w if short(w, "unreachable") => RouteKind::Unreachable,
        w if short(w, "blackhole") => RouteKind::Blackhole,
        w if short(w, "unicast") => RouteKind::Unicast,
        _ => return None,
    })
}

/// `pref` of RFC 4191.
fn preference(word: &str) -> Result<u8, String> {
    match word {
        "medium" => Ok(0),
        "high" => Ok(1),
        "low" => Ok(3),
        _ => Err(format!("`pref`: `{word}` is none of low, medium, high")),
    }
}

/// `get_time_rtt`: with a unit it is a time, of which the kernel keeps `parts` for each millisecond;
/// a number alone goes to the kernel as it is.
fn time(word: &str, parts: u32) -> Option<u32> {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let value = number(digits)?;
    match &word[digits.len()..] {
        "" => Some(value),
        "ms" | "msec" | "msecs" => value.checked_mul(parts),
        "s" | "sec" | "secs" => value.checked_mul(1000)?.checked_mul(parts),
        _ => None,
    }
}
