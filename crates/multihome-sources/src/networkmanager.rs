//! NetworkManager's state of its devices: `/run/NetworkManager/devices/<ifindex>`.
//!
//! A keyfile that `nm_config_device_state_write` writes whole, and renames into place; read in
//! 1.42 and 1.52. `[dhcp4]` holds what the DHCP client was told, also where the profile
//! forbids a default route by it (`never-default`, `route-table`). `dhcp4.expiry` is in seconds
//! since 1970 and written anew at each renewal; with `dhcp=dhclient` the routes are in dhclient's
//! notation. Static gateways and router advertisements are not in the file.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use multihome_core::model::hint::{Hint, HintedLink, Source};

use crate::parse::{File, Lease, end};
use crate::places::index;
use crate::routes::{self, Pair, not};

/// A year that no lease ends in: how a client without an end in mind writes it.
const NEVER: u64 = 253_402_300_800;

/// What a device's file says.
pub(crate) fn device(file: File<'_>) -> Result<Vec<Hint>, String> {
    let text = file.text()?;
    let link = index(file.name).ok_or_else(|| not(file.name, "interface index"))?;
    let mut section = "";
    let mut is_managed = true;
    let mut options = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name;
        } else if let Some((key, value)) = line.split_once('=') {
            match section {
                "device" if key.trim() == "managed" => is_managed = value.trim() == "true",
                "dhcp4" => {
                    let option = key.trim().strip_prefix("dhcp4.").unwrap_or(key.trim());
                    options.insert(option, value.trim());
                }
                _ => {}
            }
        }
    }
    if !is_managed || options.is_empty() {
        return Ok(Vec::new());
    }
    let lease = Dhcp4::read(|option| options.get(option).copied(), "dhcp4.", file.modified)?;
    Ok(vec![lease.hint(HintedLink::Index(link), file.shown)])
}

/// A DHCPv4 lease in the words of NetworkManager, which are the same for its dispatcher.
#[derive(Debug)]
pub(crate) struct Dhcp4 {
    address: Ipv4Addr,
    routers: Vec<Ipv4Addr>,
    classless: Option<Vec<Pair>>,
    since: u64,
    expires: Option<u64>,
}

impl Dhcp4 {
    /// Reads the options; `prefix` is what they are called by in messages, `at` a moment at
    /// which the lease was there.
    pub(crate) fn read<'a>(
        option: impl Fn(&str) -> Option<&'a str>,
        prefix: &str,
        at: u64,
    ) -> Result<Dhcp4, String> {
        let named = |name: &str, e: String| format!("{prefix}{name}: {e}");
        let number = |name: &str| {
            let value = option(name);
            value.map(|v| v.parse::<u64>().map_err(|_| named(name, not(v, "number")))).transpose()
        };
        let address =
            option("ip_address").ok_or_else(|| format!("it has no {prefix}ip_address"))?;
        let address =
            address.parse().map_err(|_| named("ip_address", not(address, "IPv4 address")))?;
        let routers = routes::addresses(option("routers").unwrap_or(""));
        let routers = routers.map_err(|e| named("routers", e))?;
        let pairs = |name: &str| {
            option(name).map(|v| routes::from_text(v).map_err(|e| named(name, e))).transpose()
        };
        let classless = match pairs("rfc3442_classless_static_routes")? {
            Some(pairs) => Some(pairs),
            None => pairs("ms_classless_static_routes")?,
        };
        let seconds = number("dhcp_lease_time")?;
        let is_endless = seconds.is_some_and(|s| s >= u64::from(u32::MAX));
        let (since, expires) = match (number("expiry"), seconds) {
            _ if is_endless => (at, None),
            (Ok(Some(expiry)), _) if expiry >= NEVER => (at, None),
            (Ok(Some(expiry)), Some(seconds)) => (expiry.saturating_sub(seconds), Some(expiry)),
            (Ok(Some(expiry)), None) => (at, Some(expiry)),
            (Ok(None), Some(seconds)) => (at, end(at, seconds)),
            (Ok(None), None) => {
                return Err(format!("it has neither {prefix}expiry nor {prefix}dhcp_lease_time"));
            }
            (Err(e), _) => return Err(e),
        };
        Ok(Dhcp4 { address, routers, classless, since: since.min(at), expires })
    }

    /// The hint that it gives.
    pub(crate) fn hint(&self, link: HintedLink, shown: &str) -> Hint {
        let lease = Lease {
            link,
            source: Source::NetworkManager,
            address: self.address,
            routers: &self.routers,
            classless: self.classless.as_deref(),
            since: self.since,
            expires: self.expires,
        };
        lease.hint(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(text: &str) -> Result<Vec<Hint>, String> {
        let shown = "/run/NetworkManager/devices/3";
        device(File { name: "3", shown, bytes: text.as_bytes(), modified: 1000, now: 2000 })
    }

    const LEASE: &str = "[device]\nmanaged=true\n[dhcp4]\ndhcp4.ip_address=10.0.1.5\n\
                         dhcp4.routers=10.0.1.1\n";

    #[test]
    fn when_it_began_and_ends() {
        let of = |more: &str| {
            let hint = hints(&format!("{LEASE}{more}")).unwrap().remove(0);
            (hint.since, hint.expires)
        };
        assert_eq!(of("dhcp4.expiry=1100\ndhcp4.dhcp_lease_time=120\n"), (980, Some(1100)));
        assert_eq!(of("dhcp4.expiry=1100\n"), (1000, Some(1100)));
        assert_eq!(of("dhcp4.dhcp_lease_time=120\n"), (1000, Some(1120)));
        assert_eq!(of("dhcp4.dhcp_lease_time=4294967295\ndhcp4.expiry=-1\n"), (1000, None));
        assert_eq!(of("dhcp4.expiry=18446744073709551615\n"), (1000, None));
        assert!(hints(LEASE).unwrap_err().contains("dhcp4.expiry"));
        assert!(hints(&format!("{LEASE}dhcp4.expiry=soon\n")).unwrap_err().contains("`soon`"));
    }

    #[test]
    fn a_device_that_is_not_managed_or_has_no_lease() {
        let lease = format!("{LEASE}dhcp4.expiry=1100\n");
        assert_eq!(hints(&lease.replace("=true", "=false")), Ok(Vec::new()));
        assert_eq!(hints("[device]\nmanaged=true\n"), Ok(Vec::new()));
        assert_eq!(hints(""), Ok(Vec::new()));
    }
}
