//! ISC's dhclient: dhclient-script(8), 4.4.3.
//!
//! `reason` and `interface` are always set; `new_*` is the lease that holds now, `old_*` the one
//! before. `new_expiry` is in seconds since 1970.

use std::net::{IpAddr, Ipv4Addr};

use multihome_core::Family;
use multihome_core::model::hint::{HintedLink, Source};

use super::environment::Environment;
use super::{Error, Key, Note, Told};
use crate::former;
use crate::parse::{Lease, end};
use crate::routes::{Pair, Ways};

pub(super) fn told(environment: Environment<'_>) -> Result<Told, Error> {
    match environment.need("reason")? {
        "BOUND" | "RENEW" | "REBIND" | "REBOOT" | "TIMEOUT" => {
            Ok(Told::changed([lease(environment)?]))
        }
        "EXPIRE" | "FAIL" | "STOP" | "RELEASE" => {
            Ok(Told::changed([Note::Drop(key(environment)?)]))
        }
        "BOUND6" | "RENEW6" | "REBIND6" | "DEPREF6" | "EXPIRE6" | "RELEASE6" | "STOP6" => {
            Ok(Told::reconcile())
        }
        "PREINIT" | "PREINIT6" | "MEDIUM" | "ARPCHECK" | "ARPSEND" | "NBI" | "V6ONLY" => {
            Ok(Told::nothing())
        }
        other => {
            log::debug!("dhclient's reason {other} means nothing here");
            Ok(Told::nothing())
        }
    }
}

fn key(environment: Environment<'_>) -> Result<Key, Error> {
    let interface = environment.interface("interface")?.to_owned();
    Ok(Key { interface, source: Source::Dhclient, family: Family::V4 })
}

fn lease(environment: Environment<'_>) -> Result<Note, Error> {
    let key = key(environment)?;
    let address = environment.need_ipv4("new_ip_address")?;
    let (routers, classless) = ways(environment, "new")?;
    let now = environment.now;
    let expires = match environment.number("new_expiry")? {
        Some(expiry) => Some(expiry),
        // It is counted from when the server answered, a moment ago.
        None => match environment.number("new_dhcp_lease_time")? {
            Some(seconds) => end(now, seconds),
            None => return environment.need("new_expiry").map(|_| Note::Drop(key)),
        },
    };
    let lease = Lease {
        link: HintedLink::Name(key.interface.clone()),
        source: Source::Dhclient,
        address,
        routers: &routers,
        classless: classless.as_deref(),
        since: now,
        expires,
    };
    let mut hint = lease.hint("");
    hint.former = former::without(&gateways_before(environment), &hint.gateways);
    Ok(Note::Keep(key, vec![hint]))
}

/// The gateways of the lease before. What is wrong with that one is over.
fn gateways_before(environment: Environment<'_>) -> Vec<IpAddr> {
    let Ok((routers, classless)) = ways(environment, "old") else { return Vec::new() };
    Ways::of(None, &routers, classless.as_deref()).gateways
}

type RoutersAndRoutes = (Vec<Ipv4Addr>, Option<Vec<Pair>>);

fn ways(environment: Environment<'_>, which: &str) -> Result<RoutersAndRoutes, Error> {
    // As in crate::dhclient, with the hyphens that no variable can have.
    let names = [
        "rfc3442_classless_static_routes",
        "classless_static_routes",
        "unknown_121",
        "option_121",
        "ms_classless_static_routes",
        "unknown_249",
    ];
    let names = names.map(|name| format!("{which}_{name}"));
    let routers = environment.addresses(&format!("{which}_routers"))?;
    Ok((routers, environment.classless(&names)?))
}
