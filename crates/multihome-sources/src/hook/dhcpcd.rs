//! dhcpcd: dhcpcd-run-hooks(8), 9.4.1 and 10.1.0.
//!
//! `reason`, `interface` and `protocol` are always set; `new_*` is the lease that holds now. A
//! router advertisement comes as all routers of the interface, `nd1_from`, `nd2_from`, ...; their
//! lifetimes are counted from `nd1_acquired`, where `nd1_now` is the present (`ipv6nd_env`).

use std::net::{IpAddr, Ipv6Addr};

use multihome_core::Family;
use multihome_core::model::hint::{Hint, HintedLink, Source};

use super::environment::Environment;
use super::{Error, Key, Note, Told};
use crate::parse::{Lease, end};
use crate::routes::{is_gateway6, not};

/// No link has more routers.
const MAX_ROUTERS: usize = 64;

pub(super) fn told(environment: Environment<'_>) -> Result<Told, Error> {
    let key = |family| {
        let interface = environment.interface("interface")?.to_owned();
        Ok(Key { interface, source: Source::Dhcpcd, family })
    };
    match environment.need("reason")? {
        "BOUND" | "RENEW" | "REBIND" | "REBOOT" | "INFORM" | "STATIC" => {
            Ok(Told::changed([lease(environment, key(Family::V4)?)?]))
        }
        "ROUTERADVERT" => Ok(Told::changed([routers(environment, key(Family::V6)?)?])),
        // IPV4LL: no lease, but an address that was made up.
        "EXPIRE" | "FAIL" | "NAK" | "STOP" | "RELEASE" | "IPV4LL" => {
            Ok(Told::changed([Note::Drop(key(Family::V4)?)]))
        }
        "STOPPED" | "DEPARTED" => {
            Ok(Told::changed([Note::Drop(key(Family::V4)?), Note::Drop(key(Family::V6)?)]))
        }
        // TIMEOUT: the old lease goes on, and its time is told as if it began now. What was
        // written down when it did begin, or the lease file, knows its end. NOCARRIER: EXPIRE
        // follows where it gives up the lease.
        "TIMEOUT" | "NOCARRIER" | "NOCARRIER_ROAMING" | "CARRIER" | "RECONFIGURE" | "BOUND6"
        | "RENEW6" | "REBIND6" | "REBOOT6" | "INFORM6" | "STATIC6" | "TIMEOUT6" | "EXPIRE6"
        | "RELEASE6" | "STOP6" | "DELEGATED6" => Ok(Told::reconcile()),
        "PREINIT" | "3RDPARTY" | "TEST" => Ok(Told::nothing()),
        other => {
            log::debug!("dhcpcd's reason {other} means nothing here");
            Ok(Told::nothing())
        }
    }
}

fn lease(environment: Environment<'_>, key: Key) -> Result<Note, Error> {
    let address = environment.need_ipv4("new_ip_address")?;
    let routers = environment.addresses("new_routers")?;
    let names = ["new_classless_static_routes", "new_ms_classless_static_routes"];
    let classless = environment.classless(&names.map(str::to_owned))?;
    // A static address, one that was only confirmed, and a BOOTP server's have no lease time.
    let seconds = environment.number("new_dhcp_lease_time")?;
    let lease = Lease {
        link: HintedLink::Name(key.interface.clone()),
        source: Source::Dhcpcd,
        address,
        routers: &routers,
        classless: classless.as_deref(),
        since: environment.now,
        expires: seconds.and_then(|seconds| end(environment.now, seconds)),
    };
    Ok(Note::Keep(key, vec![lease.hint("")]))
}

/// The routers that advertise themselves: a hint each, as each ends in its own time.
fn routers(environment: Environment<'_>, key: Key) -> Result<Note, Error> {
    let mut hints = Vec::new();
    for n in 1..=MAX_ROUTERS {
        let variable = |name: &str| format!("nd{n}_{name}");
        let Some(from) = environment.get(&variable("from")) else { break };
        let router: Ipv6Addr = from
            .parse()
            .map_err(|_| environment.wrong(&variable("from"), not(from, "IPv6 address")))?;
        environment.need(&variable("lifetime"))?;
        let lifetime = environment.number(&variable("lifetime"))?.unwrap_or(0);
        let times =
            (environment.number(&variable("now"))?, environment.number(&variable("acquired"))?);
        let age = match times {
            (Some(now), Some(acquired)) => now.saturating_sub(acquired),
            _ => 0,
        };
        // A lifetime of 0 withdraws the router (RFC 4861, 4.2).
        let left = lifetime.saturating_sub(age);
        if left == 0 || !is_gateway6(router) {
            continue;
        }
        hints.push(Hint {
            link: HintedLink::Name(key.interface.clone()),
            family: Family::V6,
            source: Source::Dhcpcd,
            file: String::new(),
            address: None,
            gateways: vec![IpAddr::V6(router)],
            former: Vec::new(),
            routes: Vec::new(),
            since: environment.now.saturating_sub(age),
            expires: Some(environment.now.saturating_add(left)),
        });
    }
    Ok(if hints.is_empty() { Note::Drop(key) } else { Note::Keep(key, hints) })
}
