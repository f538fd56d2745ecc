//! ifupdown: interfaces(5), 0.8.41 and 0.8.44.
//!
//! `IFACE`, `MODE` (start, stop), `PHASE`, `ADDRFAM`, `METHOD` and `IF_<OPTION>` for each option
//! of the stanza. With `dhcp` it is the client that knows the gateway, and has hooks of its own.
//!
//! What counts is post-up, when the address is there, and post-down, when it is gone. A stanza
//! without a gateway takes nothing away: an interface may have several, and one of them the
//! gateway.

use std::net::IpAddr;

use multihome_core::Family;
use multihome_core::model::hint::{Hint, HintedLink, Source};

use super::environment::Environment;
use super::{Error, Key, Note, Told};
use crate::routes::{is_gateway, is_gateway6, not};

pub(super) fn told(environment: Environment<'_>) -> Result<Told, Error> {
    let (mode, phase) = (environment.need("MODE")?, environment.need("PHASE")?);
    let family = match environment.need("ADDRFAM")? {
        "inet" => Family::V4,
        "inet6" => Family::V6,
        // `meta` is `ifup --all` before and after everything; others have no gateways.
        _ => return Ok(Told::nothing()),
    };
    // A label, `eth0:1`, is an address of eth0.
    let name = environment.need("IFACE")?;
    let link = match name.split_once(':') {
        Some((link, label)) => {
            environment.check_interface("IFACE", label)?;
            link
        }
        None => name,
    };
    environment.check_interface("IFACE", link)?;
    if link == "lo" {
        return Ok(Told::nothing());
    }
    let key = Key { interface: name.to_owned(), source: Source::Ifupdown, family };
    match (mode, phase) {
        ("start", "post-up") => Ok(Told::changed(gateway(environment, key, link)?)),
        ("stop", "post-down") => Ok(Told::changed([Note::Drop(key)])),
        _ => Ok(Told::nothing()),
    }
}

fn gateway(environment: Environment<'_>, key: Key, link: &str) -> Result<Option<Note>, Error> {
    if environment.get("METHOD") != Some("static") {
        return Ok(None);
    }
    let Some(gateway) = environment.address("IF_GATEWAY")? else { return Ok(None) };
    let address = environment.need("IF_ADDRESS")?;
    // 10.0.0.5/24, or with IF_NETMASK beside it.
    let host = address.split('/').next().unwrap_or(address);
    let own: IpAddr =
        host.parse().map_err(|_| environment.wrong("IF_ADDRESS", not(address, "IP address")))?;
    let is_sound = match (gateway, own) {
        (IpAddr::V4(gateway), IpAddr::V4(own)) => is_gateway(gateway, Some(own)),
        (IpAddr::V6(gateway), IpAddr::V6(_)) => is_gateway6(gateway),
        _ => false,
    };
    if !is_sound || Family::of(gateway) != key.family {
        let reason = format!("`{gateway}` is not a gateway for {own}");
        return Err(environment.wrong("IF_GATEWAY", reason));
    }
    let hint = Hint {
        link: HintedLink::Name(link.to_owned()),
        family: key.family,
        source: Source::Ifupdown,
        file: String::new(),
        address: Some(own),
        gateways: vec![gateway],
        former: Vec::new(),
        routes: Vec::new(),
        since: environment.now,
        expires: None,
    };
    Ok(Some(Note::Keep(key, vec![hint])))
}
