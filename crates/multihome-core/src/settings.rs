//! Sysctls that stand in the way of what the plan makes work.
//!
//! They are raised, never lowered, on the uplinks that need it and nowhere else, and what they
//! were is kept, to be put back. Where configuration says `sysctl = "report"` they are only named.
//!
//! - `rp_filter`: a strict filter looks the way back up with the translated destination as the
//!   source and without the mark (`fib_validate_source`), and so drops what comes in for a
//!   container by any card but the default's. Loose (2) lets it in.
//! - `arp_ignore`, `arp_announce`: with two cards in one network the kernel answers ARP for any
//!   address on any card (`arp_process`) and asks with any address as its own (`arp_solicit`), so
//!   that a router learns one card's address for another's.
//! - `icmp_errors_use_inbound_ifaddr`: an error about a forwarded packet has an address of the card
//!   that main's default leaves by (`icmp_send`), not of the one that the packet came in by.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::config::{Config, Management};
use crate::model::link::IFF_NOARP;
use crate::model::sysctl::{Raised, conf};
use crate::model::{Link, Snapshot};
use crate::plan::Planned;
use crate::prefix::{Family, Prefix, is_global};
use crate::uplink::Side;

/// A sysctl that is other than it has to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Setting {
    /// Its path below `/proc/sys`.
    pub path: String,
    /// What it says.
    pub is: String,
    /// What it has to be.
    pub wanted: String,
    /// For what.
    pub reason: Reason,
}

/// What a sysctl is raised for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Replies of translated connections, or steered ones of what is forwarded, come back by it.
    ReturnPath,
    /// Another card is in the same network.
    SharedNetwork,
    /// Errors about what is forwarded are to have the address of the card that it came in by.
    IcmpErrors,
}

/// The key by which errors about forwarded packets have the address of the card that those came in by.
const ICMP_ERRORS: &str = "net/ipv4/icmp_errors_use_inbound_ifaddr";

/// What has to be other than the kernel begins with, by path: those that are wrong, and those that
/// are right because we raised them.
pub(crate) fn wanted(
    snapshot: &Snapshot,
    uplinks: &[Planned],
    returning: &BTreeSet<u32>,
) -> Vec<Setting> {
    let mut wanted = BTreeMap::new();
    let mut hold = |path: String, needs: Option<i64>, reason: Reason| {
        let Some(is) = snapshot.sysctls.get(&path).map(str::to_owned) else { return };
        let value = match needs {
            _ if is_kept(snapshot, &path, &is) => is.clone(),
            Some(value) => value.to_string(),
            None => return,
        };
        let setting = Setting { path: path.clone(), is, wanted: value, reason };
        wanted.entry(path).or_insert(setting);
    };
    let family = Family::V4;
    let effective = |link: &str, key| snapshot.sysctls.effective(family, link, key);
    for link in returning.iter().filter_map(|index| snapshot.link(*index)) {
        // Off (0) stays off.
        let strict = effective(&link.name, "rp_filter") == Some(1);
        hold(conf(family, &link.name, "rp_filter"), strict.then_some(2), Reason::ReturnPath);
    }
    if !returning.is_empty() && uplinks.len() > 1 {
        let off = snapshot.sysctls.number(ICMP_ERRORS) == Some(0);
        hold(ICMP_ERRORS.into(), off.then_some(1), Reason::IcmpErrors);
    }
    for link in sharing(snapshot, uplinks) {
        for (key, least) in [("arp_ignore", 1), ("arp_announce", 2)] {
            let less = effective(&link.name, key).is_some_and(|is| is < least);
            let path = conf(family, &link.name, key);
            hold(path, less.then_some(least), Reason::SharedNetwork);
        }
    }
    wanted.into_values().collect()
}

/// Whether what a sysctl says is what we made of it.
pub(crate) fn is_kept(snapshot: &Snapshot, path: &str, is: &str) -> bool {
    snapshot.raised.get(path).is_some_and(|r| r.set == is && is_of_its_link(snapshot, path, r.link))
}

/// Whether the link of a path is the one that it was when the sysctl was raised: a new one of the
/// same name begins with the defaults.
fn is_of_its_link(snapshot: &Snapshot, path: &str, index: u32) -> bool {
    link_of(snapshot, path).map_or(0, |l| l.index) == index
}

/// The link that a path is about; none for those of the whole namespace.
pub(crate) fn link_of<'a>(snapshot: &'a Snapshot, path: &str) -> Option<&'a Link> {
    snapshot.link_named(parts(path)?.1)
}

/// `net/ipv4/conf`, the link and the key.
fn parts(path: &str) -> Option<(&str, &str, &str)> {
    let (rest, key) = path.rsplit_once('/')?;
    let (head, name) = rest.rsplit_once('/')?;
    matches!(head, "net/ipv4/conf" | "net/ipv6/conf").then_some((head, name, key))
}

/// Notes that a sysctl is changed from one value to another. What it was before we ever touched it is
/// kept until it is that again. When it is raised that is noted before, and when it is put back
/// after: whatever becomes of us in between, the value can be put back.
pub fn note(snapshot: &mut Snapshot, path: &str, from: &str, to: &str) {
    match noted(snapshot, path, from, to) {
        Some(raised) => drop(snapshot.raised.insert(path.to_owned(), raised)),
        None => drop(snapshot.raised.remove(path)),
    }
    snapshot.sysctls.insert(path, to);
}

/// What is to be noted of such a change; none when it puts back what there was.
#[must_use]
pub fn noted(snapshot: &Snapshot, path: &str, from: &str, to: &str) -> Option<Raised> {
    let link = link_of(snapshot, path).map_or(0, |l| l.index);
    let was = match snapshot.raised.get(path) {
        Some(raised) if raised.set == from && raised.link == link => raised.was.clone(),
        _ => from.to_owned(),
    };
    (was != to).then(|| Raised { was, set: to.to_owned(), link })
}

/// Gives what was raised of a link the name that the link has now: the value went along.
pub fn follow_names(snapshot: &mut Snapshot) {
    let renamed = |(path, raised): (&String, &Raised)| {
        let (head, name, key) = parts(path)?;
        let link = snapshot.link(raised.link)?;
        (raised.link != 0 && link.name != name)
            .then(|| (path.clone(), format!("{head}/{}/{key}", link.name)))
    };
    let renamed: Vec<(String, String)> = snapshot.raised.iter().filter_map(renamed).collect();
    for (old, new) in renamed {
        if let Some(raised) = snapshot.raised.remove(&old) {
            snapshot.raised.insert(new, raised);
        }
    }
}

/// Forgets what is not as we left it, or was of a link that is gone: it is nobody's business any more.
pub fn forget_changed(snapshot: &mut Snapshot) {
    let kept = |path: &String| {
        let is = snapshot.sysctls.get(path);
        // What could not be read may still be ours.
        is.is_none_or(|is| is_kept(snapshot, path, is))
            && (snapshot.raised[path].link == 0 || link_of(snapshot, path).is_some())
    };
    let paths: Vec<String> = snapshot.raised.keys().filter(|p| !kept(p)).cloned().collect();
    for path in paths {
        snapshot.raised.remove(&path);
    }
}

/// What the plan changes, and what it only names.
pub(crate) fn split(
    config: &Config,
    wanted: Vec<Setting>,
) -> (BTreeMap<String, String>, Vec<Setting>) {
    match config.sysctl.value {
        Management::Manage => {
            (wanted.into_iter().map(|s| (s.path, s.wanted)).collect(), Vec::new())
        }
        Management::Report => {
            (BTreeMap::new(), wanted.into_iter().filter(|s| s.is != s.wanted).collect())
        }
    }
}

/// The uplinks that have an IPv4 subnet in common with another one, unless a link that is none of them
/// has an address in it: nobody but a card that answers for others makes that one heard.
fn sharing<'a>(snapshot: &'a Snapshot, uplinks: &[Planned]) -> Vec<&'a Link> {
    let family = Family::V4;
    let seats: Vec<(&Link, BTreeSet<Prefix>)> = uplinks
        .iter()
        .filter_map(|p| Some((snapshot.link(p.uplink.link)?, p.uplink.side(family)?)))
        .filter(|(link, _)| link.flags & IFF_NOARP == 0)
        .map(|(link, side)| (link, networks(side)))
        .collect();
    let mut sharing: BTreeMap<u32, &Link> = BTreeMap::new();
    for (at, (one, theirs)) in seats.iter().enumerate() {
        for (other, ours) in &seats[at + 1..] {
            let Some(network) = overlap(theirs, ours) else { continue };
            let is_in_it = |link: u32| link != one.index && link != other.index;
            let is_uplink = |link: u32| seats.iter().any(|(l, _)| l.index == link);
            let mut others = snapshot.addresses().filter(|a| is_in_it(a.link));
            if !others.any(|a| network.contains(a.local) && !is_uplink(a.link)) {
                sharing.extend([(one.index, *one), (other.index, *other)]);
            }
        }
    }
    sharing.into_values().collect()
}

/// The narrower of two subnets that overlap, one of each side.
pub(crate) fn shared(one: &Side, other: &Side) -> Option<Prefix> {
    overlap(&networks(one), &networks(other))
}

fn overlap(one: &BTreeSet<Prefix>, other: &BTreeSet<Prefix>) -> Option<Prefix> {
    one.iter().find_map(|a| {
        let b = other.iter().find(|b| a.overlaps(b))?;
        Some(if a.len() >= b.len() { *a } else { *b })
    })
}

/// The subnets of a side, of which thousands of addresses have few.
fn networks(side: &Side) -> BTreeSet<Prefix> {
    let all = side.addresses.iter().map(|a| a.network());
    all.filter(|n| !n.is_host() && is_global(n.address())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "net/ipv4/conf/ens6.7/rp_filter";

    /// The card of index 3, by this name, with this value.
    fn host(name: &str, value: &str) -> Snapshot {
        let mut host = crate::verify::tests::host();
        let card = host.link(3).cloned().expect("a card");
        host.insert_link(Link { name: name.into(), ..card });
        host.sysctls.insert(conf(Family::V4, name, "rp_filter"), value);
        host
    }

    #[test]
    fn what_it_was_at_first_is_kept_until_it_is_that_again() {
        let mut host = host("ens6.7", "1");
        note(&mut host, PATH, "1", "2");
        note(&mut host, PATH, "2", "3");
        let raised = Raised { was: "1".into(), set: "3".into(), link: 3 };
        assert_eq!(host.raised.get(PATH), Some(&raised));
        note(&mut host, PATH, "3", "1");
        assert!(host.raised.is_empty());
        assert_eq!(host.sysctls.get(PATH), Some("1"));
    }

    #[test]
    fn a_value_goes_along_with_its_link() {
        let raised = Raised { was: "1".into(), set: "2".into(), link: 3 };
        let mut host = host("wan0", "2");
        host.raised.insert(PATH.into(), raised.clone());
        follow_names(&mut host);
        forget_changed(&mut host);
        assert_eq!(host.raised.get("net/ipv4/conf/wan0/rp_filter"), Some(&raised));
    }

    #[test]
    fn what_somebody_else_has_set_since_is_forgotten() {
        let raised = Raised { was: "1".into(), set: "2".into(), link: 3 };
        for (index, value) in [(3, "0"), (4, "2")] {
            let mut host = host("ens6.7", value);
            host.raised.insert(PATH.into(), Raised { link: index, ..raised.clone() });
            forget_changed(&mut host);
            assert!(host.raised.is_empty(), "{index} {value}");
        }
    }
}
