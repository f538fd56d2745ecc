//! NetworkManager's dispatcher: NetworkManager-dispatcher(8), 1.42 and 1.52.
//!
//! The interface and the action are the arguments; what is known is in `DHCP4_*`, `IP4_*`, `IP6_*`.
//! Before a device is up, and when it goes down, an action comes without any of these: then
//! it says nothing about gateways. `IP4_GATEWAY` and `IP6_GATEWAY` (0.0.0.0 where there is none, in both)
//! are told only where NetworkManager made a default route by them, and a router
//! advertisement's lifetime is not told at all: the kernel's route knows better. So what is written
//! down is the DHCPv4 lease, which is there also when the profile forbids a default by it.

use multihome_core::Family;
use multihome_core::model::hint::{HintedLink, Source};

use super::environment::Environment;
use super::{Error, Key, Note, Told};
use crate::networkmanager::Dhcp4;

pub(super) fn told(environment: Environment<'_>, arguments: &[String]) -> Result<Told, Error> {
    let action = match arguments.get(1) {
        Some(action) => action.as_str(),
        None => environment.need("NM_DISPATCHER_ACTION")?,
    };
    match action {
        "up" | "dhcp4-change" | "dhcp6-change" | "reapply" => {
            Ok(Told::changed(lease(environment, arguments)?))
        }
        "down" => Ok(Told::changed([Note::Drop(key(environment, arguments)?)])),
        // The addresses are there, but nothing is told.
        "pre-up" | "vpn-up" | "vpn-down" => Ok(Told::reconcile()),
        "pre-down"
        | "vpn-pre-up"
        | "vpn-pre-down"
        | "hostname"
        | "dns-change"
        | "connectivity-change"
        | "device-add"
        | "device-delete" => Ok(Told::nothing()),
        other => {
            log::debug!("NetworkManager's action {other} means nothing here");
            Ok(Told::nothing())
        }
    }
}

/// The interface that has the addresses; a modem's has another name than the modem.
fn key(environment: Environment<'_>, arguments: &[String]) -> Result<Key, Error> {
    const VARIABLE: &str = "DEVICE_IP_IFACE";
    let interface = match (environment.get(VARIABLE), arguments.first()) {
        (Some(interface), _) => interface,
        (None, Some(interface)) => interface,
        (None, None) => environment.need(VARIABLE)?,
    };
    environment.check_interface(VARIABLE, interface)?;
    let interface = interface.to_owned();
    Ok(Key { interface, source: Source::NetworkManager, family: Family::V4 })
}

fn lease(environment: Environment<'_>, arguments: &[String]) -> Result<Option<Note>, Error> {
    let key = key(environment, arguments)?;
    if environment.get("DHCP4_IP_ADDRESS").is_none() {
        let is_told = |prefix| environment.variables.keys().any(|name| name.starts_with(prefix));
        let is_whole = is_told("IP4_") || is_told("IP6_");
        return Ok(is_whole.then_some(Note::Drop(key)));
    }
    let option = |name: &str| environment.get(&format!("DHCP4_{}", name.to_uppercase()));
    let lease =
        Dhcp4::read(option, "", environment.now).map_err(|e| environment.wrong("DHCP4_*", e))?;
    let link = HintedLink::Name(key.interface.clone());
    let hint = lease.hint(link, "");
    Ok(Some(Note::Keep(key, vec![hint])))
}
