//! systemd-networkd's leases: `/run/systemd/netif/leases/<ifindex>`.
//!
//! `KEY=value` lines that `dhcp_lease_save` (sd-dhcp-lease.c) writes; read in 252 and 257, and
//! in the source of 245 to 258. `ROUTER` is a list between blanks; `CLASSLESS_ROUTES` (option
//! 121) and `STATIC_ROUTES` (option 33) hold `network/len,gateway`. Up to 249 there is one
//! `ROUTES` for both; it is taken for option 121, as a gateway that the network does not want
//! to be used is worse than one that is not known.
//!
//! There is no end in these hints. networkd leaves a file alone to which a renewal brings
//! nothing new, so the time at which it was written plus `LIFETIME` is no end; a
//! lease that is over is removed with its file. After networkd was stopped the kernel knows it:
//! the address carries the lease's lifetime, and a hint holds only beside its address.
//!
//! `links/<ifindex>` (`link_save`, networkd-state-file.c) says in `ADMIN_STATE` whether networkd
//! manages the link at all; if not, the lease is a leftover.

use std::net::Ipv4Addr;

use multihome_core::model::hint::{Hint, HintedLink, Source};

use crate::parse::{File, Lease};
use crate::places::index;
use crate::routes::{self, Pair, not};

/// What a lease file says.
pub(crate) fn lease(file: File<'_>) -> Result<Vec<Hint>, String> {
    let text = file.text()?;
    let link = index(file.name).ok_or_else(|| not(file.name, "interface index"))?;
    let address = value(text, "ADDRESS").ok_or("it has no ADDRESS")?;
    let address: Ipv4Addr = address.parse().map_err(|_| not(address, "IPv4 address"))?;
    let named = |key: &str, e: String| format!("{key}: {e}");
    let routers = routes::addresses(value(text, "ROUTER").unwrap_or(""));
    let routers = routers.map_err(|e| named("ROUTER", e))?;
    let pairs = |key: &str| {
        value(text, key).map(|v| routes::from_text(v).map_err(|e| named(key, e))).transpose()
    };
    let classless = match pairs("CLASSLESS_ROUTES")? {
        Some(pairs) => Some(pairs),
        None => pairs("ROUTES")?,
    };
    // Option 33 stands beside the routers and brings no default (RFC 2132, 5.8).
    let option_33: Vec<Pair> = match classless {
        Some(_) => Vec::new(),
        None => pairs("STATIC_ROUTES")?.unwrap_or_default(),
    };
    let lease = Lease {
        link: HintedLink::Index(link),
        source: Source::Networkd,
        address,
        routers: &routers,
        classless: classless.as_deref(),
        since: file.modified,
        expires: None,
    };
    let mut hint = lease.hint(file.shown);
    let beside: Vec<Pair> = option_33.into_iter().filter(|(_, len, _)| *len > 0).collect();
    hint.routes.extend(routes::Ways::of(Some(address), &[], Some(&beside)).routes);
    Ok(vec![hint])
}

/// Whether a link's state file says that networkd has nothing to do with it.
pub(crate) fn is_leftover(file: File<'_>) -> Result<bool, String> {
    let state = value(file.text()?, "ADMIN_STATE").ok_or("it has no ADMIN_STATE")?;
    Ok(matches!(state, "unmanaged" | "linger"))
}

/// The value of a key; quotes as of env-file.c, which none of ours needs, are taken off.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut lines = text.lines().rev();
    let value = lines.find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(text: &str) -> Result<Vec<Hint>, String> {
        let shown = "/run/systemd/netif/leases/3";
        lease(File { name: "3", shown, bytes: text.as_bytes(), modified: 100, now: 200 })
    }

    #[test]
    fn option_33_stands_beside_the_routers_and_121_in_their_place() {
        let base = "ADDRESS=10.0.1.5\nROUTER=10.0.1.1\n";
        let with = |more: &str| hints(&format!("{base}{more}")).unwrap().remove(0);
        let both = with("STATIC_ROUTES=10.9.0.0/16,10.0.1.9 0.0.0.0/0,10.0.1.8\n");
        assert_eq!((both.gateways.len(), both.routes.len()), (1, 1));
        let only =
            with("CLASSLESS_ROUTES=10.9.0.0/16,10.0.1.9\nSTATIC_ROUTES=10.8.0.0/16,10.0.1.9\n");
        assert_eq!((only.gateways.len(), only.routes.len()), (0, 1));
        let old = with("ROUTES=0.0.0.0/0,10.0.1.2\n");
        assert_eq!(old.gateways, ["10.0.1.2".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!((old.since, old.expires), (100, None));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        assert!(hints("ROUTER=10.0.1.1\n").unwrap_err().contains("ADDRESS"));
        assert!(hints("ADDRESS=10.0.1\n").unwrap_err().contains("`10.0.1`"));
        assert!(hints("ADDRESS=10.0.1.5\nROUTER=gw\n").unwrap_err().contains("`gw`"));
        assert!(hints("ADDRESS=10.0.1.5\n").unwrap()[0].gateways.is_empty(), "no fault");
        assert!(hints("ADDRESS=10.0.1.5\u{0}\n").is_err());
    }

    #[test]
    fn a_link_that_is_not_managed() {
        let state = |text: &str| {
            is_leftover(File { name: "3", shown: "", bytes: text.as_bytes(), modified: 0, now: 0 })
        };
        assert_eq!(state("# x\nADMIN_STATE=configured\n"), Ok(false));
        assert_eq!(state("ADMIN_STATE=configuring\n"), Ok(false));
        assert_eq!(state("ADMIN_STATE=unmanaged\n"), Ok(true));
        assert!(state("").is_err());
    }
}
