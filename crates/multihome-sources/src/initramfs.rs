//! What the initramfs learnt to boot over the network: `/run/net-<interface>.conf`.
//!
//! Shell assignments that klibc's `ipconfig` writes (`dump_device_config`), and
//! initramfs-tools after it where it uses dhcpcd. Nobody renews that lease. Worth reading for a
//! host that was booted over the network with two cards: the kernel refuses the second default
//! (SIOCADDRT), and no manager may touch the cards that the root file system comes by. With
//! option 121 there is no `IPV4GATEWAY` but `IPV4ROUTE0SUBNET`, `IPV4ROUTE0GATEWAY` and so on; a
//! `DHCPLEASETIME` of 0 is a static address. Not seen on a running system: written after the
//! source of klibc 2.0 and the samples in cloud-init's tests.

use std::net::Ipv4Addr;

use multihome_core::model::hint::{Hint, HintedLink, Source};

use crate::parse::{File, Lease, check_interface, end};
use crate::routes::{self, not};

/// What the file says.
pub(crate) fn config(file: File<'_>) -> Result<Vec<Hint>, String> {
    let text = file.text()?;
    let value = |key: &str| {
        let line = text.lines().find_map(|l| l.trim().strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim().trim_matches(['\'', '"'])).filter(|value| !value.is_empty())
    };
    let address = |key: &str| -> Result<Option<Ipv4Addr>, String> {
        let value = value(key);
        let parse = |v: &str| v.parse().map_err(|_| format!("{key}: {}", not(v, "IPv4 address")));
        value.map(parse).transpose()
    };
    // IPv6 has a file of its own, or no address here.
    let (Some(device), Some(own)) = (value("DEVICE"), address("IPV4ADDR")?) else {
        return Ok(Vec::new());
    };
    check_interface(device).map_err(|e| format!("DEVICE: {e}"))?;
    let mut text_of_routes = String::new();
    for i in 0..512 {
        let (Some(network), Some(gateway)) =
            (value(&format!("IPV4ROUTE{i}SUBNET")), value(&format!("IPV4ROUTE{i}GATEWAY")))
        else {
            break;
        };
        text_of_routes.push_str(&format!("{network} {gateway} "));
    }
    let classless = match text_of_routes.as_str() {
        "" => None,
        text => Some(routes::from_text(text).map_err(|e| format!("IPV4ROUTE: {e}"))?),
    };
    let seconds = value("DHCPLEASETIME").unwrap_or("0");
    let seconds: u64 = seconds.parse().map_err(|_| not(seconds, "number"))?;
    let gateway = address("IPV4GATEWAY")?;
    let lease = Lease {
        link: HintedLink::Name(device.to_owned()),
        source: Source::Initramfs,
        address: own,
        routers: gateway.as_slice(),
        classless: classless.as_deref(),
        since: file.modified,
        expires: if seconds == 0 { None } else { end(file.modified, seconds) },
    };
    Ok(vec![lease.hint(file.shown)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(text: &str) -> Result<Vec<Hint>, String> {
        config(File { name: "", shown: "", bytes: text.as_bytes(), modified: 1000, now: 2000 })
    }

    #[test]
    fn a_lease_and_a_static_address() {
        let text = "DEVICE='eth1'\nPROTO='dhcp'\nIPV4ADDR='10.0.1.5'\nIPV4GATEWAY='10.0.1.1'\n\
                    HOSTNAME=''\nDHCPLEASETIME='3600'\n";
        let hint = hints(text).unwrap().remove(0);
        assert_eq!(hint.link, HintedLink::Name("eth1".into()));
        assert_eq!((hint.since, hint.expires), (1000, Some(4600)));
        assert_eq!(hints(&text.replace("3600", "0")).unwrap()[0].expires, None);
        let without = hints(&text.replace("10.0.1.1'", "0.0.0.0'")).unwrap();
        assert!(without[0].gateways.is_empty());
        assert_eq!(hints("DEVICE6=eth1\nIPV6ADDR=2001:db8::1\n"), Ok(Vec::new()));
        assert!(hints(&text.replace("eth1", "../x")).is_err());
    }

    #[test]
    fn routes_replace_the_gateway() {
        let text = "DEVICE='eth1'\nIPV4ADDR='10.0.1.5'\nIPV4ROUTE0SUBNET='0.0.0.0/0'\n\
                    IPV4ROUTE0GATEWAY='10.0.1.2'\nIPV4ROUTE1SUBNET='10.9.0.0/16'\n\
                    IPV4ROUTE1GATEWAY='10.0.1.3'\n";
        let hint = hints(text).unwrap().remove(0);
        assert_eq!((hint.gateways.len(), hint.routes.len()), (1, 1));
    }
}
