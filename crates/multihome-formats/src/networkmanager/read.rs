//! What is read: for each link of the host, the profile in use.

use std::collections::BTreeMap;

use multihome_core::model::Route;
use multihome_core::prefix::Family;

use super::lines::{self, Defaults};
use super::profiles::{self, Profile};
use super::write::SECTIONS;
use crate::comments::problem;
use crate::ini::Entry;
use crate::value::number;
use crate::{At, Known, Problem, Statement, Tree, What};

/// The keys of `[ipv4]` and `[ipv6]` that say nothing of routes and rules that a file knows.
const PASSED: &str = "
    addr-gen-mode auto-route-ext-gw dad-timeout dhcp-client-id dhcp-dscp dhcp-duid dhcp-fqdn
    dhcp-hostname dhcp-hostname-flags dhcp-iaid dhcp-ipv6-only-preferred dhcp-pd-hint
    dhcp-reject-servers dhcp-send-hostname dhcp-send-release dhcp-timeout
    dhcp-vendor-class-identifier dns dns-options dns-priority dns-search forwarding
    ignore-auto-dns ignore-auto-routes ip6-privacy link-local may-fail method mtu ra-timeout
    replace-local-rule required-timeout routed-dns shared-dhcp-lease-time shared-dhcp-range
    temp-preferred-lifetime temp-valid-lifetime token";

pub(super) fn import(there: &Tree, known: &Known) -> Result<Vec<Statement>, Problem> {
    let profiles = profiles::all(there)?;
    let mut found = Vec::new();
    let mut used = Vec::new();
    for card in known.cards() {
        let link = card.link;
        let Some(profile) = profiles::active(there, &profiles, card) else { continue };
        used.push(profile.path);
        for (family, section) in SECTIONS {
            Reader { profile, family, section, link, found: &mut found }.read()?;
        }
    }
    for profile in profiles.iter().filter(|p| !used.contains(&p.path)) {
        is_of_no_link(profile, known)?;
    }
    Ok(found)
}

/// A profile that is not in use says nothing, unless it is for a link that is not there.
fn is_of_no_link(profile: &Profile<'_>, known: &Known) -> Result<(), Problem> {
    let has_routes = |e: &&Entry<'_>| e.key.starts_with("rout") && e.key != "route-metric";
    let of_ip = profile.sections.iter().filter(|s| matches!(s.name, "ipv4" | "ipv6"));
    let Some(entry) = of_ip.flat_map(|s| &s.entries).find(has_routes) else { return Ok(()) };
    match profile.get("connection", "interface-name") {
        Some(name) if known.links.contains_key(name) => Ok(()),
        _ => {
            let why = "no link of this host uses this profile";
            Err(problem(profile.path, entry.line, entry.text, why))
        }
    }
}

struct Reader<'a> {
    profile: &'a Profile<'a>,
    family: Family,
    section: &'static str,
    link: u32,
    found: &'a mut Vec<Statement>,
}

impl Reader<'_> {
    fn read(&mut self) -> Result<(), Problem> {
        let profile = self.profile;
        let of_name = profile.sections.iter().filter(|s| s.name == self.section);
        // Of a key that comes twice, `GKeyFile` takes the last.
        let mut entries: BTreeMap<&str, &Entry<'_>> = BTreeMap::new();
        for entry in of_name.flat_map(|s| &s.entries) {
            if let Some(before) = entries.insert(entry.key, entry)
                && before.value != entry.value
            {
                return Err(self.wrong(entry, "said twice, and not the same"));
            }
        }
        let defaults = self.defaults(&entries)?;
        let never = entries.get("never-default").is_some_and(|e| is_true(&e.value));
        let mut in_order: Vec<&Entry<'_>> = entries.values().copied().collect();
        in_order.sort_by_key(|e| e.line);
        for entry in in_order {
            match kind(entry.key) {
                Kind::Route(number) => {
                    let options = entries.get(format!("route{number}_options").as_str());
                    let options = options.map(|e| e.value.as_ref());
                    let route =
                        lines::read_route(self.family, &entry.value, options, self.link, defaults);
                    let route = route.map_err(|why| self.wrong(entry, why))?;
                    let text = match options {
                        Some(options) => format!("{} {options}", entry.text),
                        None => entry.text.to_owned(),
                    };
                    self.say(entry, text, What::Route(route));
                }
                Kind::Options(number) => {
                    let names = ["route", "routes"].map(|n| format!("{n}{number}"));
                    if !names.iter().any(|n| entries.contains_key(n.as_str())) {
                        return Err(self.wrong(entry, "options of a route that is not there"));
                    }
                }
                Kind::Rule => {
                    let rule = lines::read_rule(self.family, &entry.value);
                    let rule = rule.map_err(|why| self.wrong(entry, why))?;
                    self.say(entry, entry.text.to_owned(), What::Rule(rule));
                }
                Kind::Gateway(gateway) if !never => {
                    let gateway = gateway.unwrap_or(&entry.value).trim();
                    if let Some(route) = self.gateway(entry, gateway, defaults)? {
                        self.say(entry, entry.text.to_owned(), What::Route(route));
                    }
                }
                Kind::Address if !never => {
                    if let Some(gateway) = entry.value.split([',', ';']).nth(1)
                        && let Some(route) = self.gateway(entry, gateway.trim(), defaults)?
                    {
                        self.say(entry, entry.text.to_owned(), What::Route(route));
                    }
                }
                Kind::Address | Kind::Gateway(_) | Kind::Passed => {}
                Kind::Unknown => {
                    return Err(self.wrong(entry, format!("unknown in [{}]", self.section)));
                }
            }
        }
        Ok(())
    }

    fn wrong(&self, entry: &Entry<'_>, why: impl Into<String>) -> Problem {
        problem(self.profile.path, entry.line, entry.text, why)
    }

    fn say(&mut self, entry: &Entry<'_>, text: String, what: What) {
        let at = At { path: self.profile.path.to_owned(), line: entry.line };
        self.found.push(Statement { at, text, what });
    }

    fn defaults(&self, entries: &BTreeMap<&str, &Entry<'_>>) -> Result<Defaults, Problem> {
        let of = |key: &str| -> Result<Option<u32>, Problem> {
            match entries.get(key) {
                None => Ok(None),
                Some(entry) if entry.value.trim() == "-1" => Ok(None),
                Some(entry) => {
                    let n = number(&entry.value).ok_or_else(|| self.wrong(entry, "no number"))?;
                    Ok(Some(n))
                }
            }
        };
        let table = of("route-table")?.filter(|t| *t != 0).unwrap_or(254);
        let kind = self.profile.get("connection", "type").unwrap_or_default();
        let metric = of("route-metric")?.unwrap_or_else(|| metric(kind));
        Ok(Defaults { table, metric })
    }

    /// A default route by a gateway that stands beside an address, or alone.
    fn gateway(
        &self,
        entry: &Entry<'_>,
        gateway: &str,
        defaults: Defaults,
    ) -> Result<Option<Route>, Problem> {
        if gateway.is_empty() || matches!(gateway, "0.0.0.0" | "::") {
            return Ok(None);
        }
        let all = self.family.all();
        let value = format!("{}/{},{gateway}", all.address(), all.len());
        let route = lines::read_route(self.family, &value, None, self.link, defaults);
        route.map(Some).map_err(|why| self.wrong(entry, why))
    }
}

/// What a key is about.
enum Kind<'a> {
    Route(&'a str),
    Options(&'a str),
    Rule,
    Gateway(Option<&'a str>),
    Address,
    Passed,
    Unknown,
}

fn kind(key: &str) -> Kind<'_> {
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let behind = |prefix: &str| key.strip_prefix(prefix);
    if let Some(number) = behind("route").and_then(|k| k.strip_suffix("_options")) {
        return if is_number(number) { Kind::Options(number) } else { Kind::Unknown };
    }
    // Both forms are read (`nm_keyfile`'s `route_parser`).
    for prefix in ["routes", "route"] {
        if let Some(number) = behind(prefix).filter(|n| is_number(n)) {
            return Kind::Route(number);
        }
    }
    if behind("routing-rule").is_some_and(is_number) {
        return Kind::Rule;
    }
    if ["addresses", "address"].iter().any(|p| behind(p).is_some_and(is_number)) {
        return Kind::Address;
    }
    match key {
        "gateway" => Kind::Gateway(None),
        "route-table" | "route-metric" | "never-default" => Kind::Passed,
        _ if PASSED.split_whitespace().any(|k| k == key) => Kind::Passed,
        _ => Kind::Unknown,
    }
}

fn is_true(value: &str) -> bool {
    matches!(value.trim(), "true" | "1" | "yes" | "on")
}

/// What a device's routes have where nothing is said (`nm_device_get_route_metric_default`).
fn metric(kind: &str) -> u32 {
    match kind {
        "infiniband" => 150,
        "bond" => 300,
        "team" => 350,
        "vlan" => 400,
        "macvlan" => 410,
        "bridge" => 425,
        "wifi" | "802-11-wireless" => 600,
        "wireguard" | "tun" => 50,
        _ => 100,
    }
}
