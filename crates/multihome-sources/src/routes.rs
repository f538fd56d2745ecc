//! The routes of a DHCP lease, in every notation in which programs keep them.
//!
//! RFC 3442: with option 121 a client ignores `routers` (option 3); a destination of length 0 is
//! the default route, and a gateway of 0.0.0.0 means that the destination is on the link. Host
//! bits are to be masked. Option 249 is Microsoft's older number for the same; clients that know
//! both take 121 first.

use std::net::{IpAddr, Ipv4Addr};

use multihome_core::Prefix;
use multihome_core::model::hint::HintedRoute;

/// No lease has more: a DHCP message holds some 250 routes.
const MAX: usize = 512;

/// What a lease says of the ways out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ways {
    /// Default gateways, the best first.
    pub(crate) gateways: Vec<IpAddr>,
    /// Other networks.
    pub(crate) routes: Vec<HintedRoute>,
}

/// One destination and its gateway; 0.0.0.0 means that it is on the link.
pub(crate) type Pair = (Ipv4Addr, u8, Ipv4Addr);

impl Ways {
    /// What holds of `routers` and option 121 for a card with this address.
    pub(crate) fn of(
        address: Option<Ipv4Addr>,
        routers: &[Ipv4Addr],
        classless: Option<&[Pair]>,
    ) -> Ways {
        let mut ways = Ways::default();
        match classless {
            // Shorter than any route: as if it were not there.
            None | Some([]) => routers.iter().for_each(|r| ways.add_gateway(*r, address)),
            Some(pairs) => pairs.iter().for_each(|pair| ways.add(*pair, address)),
        }
        ways
    }

    fn add(&mut self, (network, len, gateway): Pair, address: Option<Ipv4Addr>) {
        if len == 0 {
            // Everything on the link is no gateway; the kernel's route says it, if anybody
            // made one.
            self.add_gateway(gateway, address);
            return;
        }
        let dst = Prefix::new(IpAddr::V4(network), len);
        let IpAddr::V4(network) = dst.address() else { return };
        // Nothing is answered to these.
        let is_nonsense = network.is_loopback()
            || network.is_multicast()
            || network.is_broadcast()
            || network.octets()[0] == 0 && len >= 8;
        let is_on_link = gateway.is_unspecified();
        if is_nonsense || !is_on_link && !is_gateway(gateway, address) {
            return;
        }
        let route = HintedRoute { dst, gateway: (!is_on_link).then_some(IpAddr::V4(gateway)) };
        if !self.routes.contains(&route) {
            self.routes.push(route);
        }
    }

    fn add_gateway(&mut self, gateway: Ipv4Addr, address: Option<Ipv4Addr>) {
        if is_gateway(gateway, address) && !self.gateways.contains(&IpAddr::V4(gateway)) {
            self.gateways.push(IpAddr::V4(gateway));
        }
    }
}

/// Whether an address can be a gateway. A link-local one can (clouds have them). One's own
/// address stands for "everything is on the link" (old servers), which is no gateway.
pub(crate) fn is_gateway(gateway: Ipv4Addr, own: Option<Ipv4Addr>) -> bool {
    !(gateway.octets()[0] == 0
        || gateway.is_loopback()
        || gateway.is_multicast()
        || gateway.is_broadcast()
        || own == Some(gateway))
}

/// The same for IPv6.
pub(crate) fn is_gateway6(gateway: std::net::Ipv6Addr) -> bool {
    !(gateway.is_unspecified() || gateway.is_loopback() || gateway.is_multicast())
}

// ===== notations =====

/// Addresses between blanks or commas.
pub(crate) fn addresses(text: &str) -> Result<Vec<Ipv4Addr>, String> {
    bounded(words(text).map(address))
}

/// The octets of option 121, as they were sent.
pub(crate) fn from_octets(octets: &[u8]) -> Result<Vec<Pair>, String> {
    let mut rest = octets.iter().copied();
    let mut pairs = Vec::new();
    while let Some(len) = rest.next() {
        let network = significant(len, &mut rest)?;
        let mut gateway = [0; 4];
        for octet in &mut gateway {
            *octet = rest.next().ok_or("it ends within a route")?;
        }
        pairs.push((network, len, Ipv4Addr::from(gateway)));
    }
    bounded(pairs.into_iter().map(Ok))
}

/// Option 121 in any notation that a program uses:
/// - dhclient's octets in decimal, `16 10 5 10 0 1 9 0 10 0 1 1`;
/// - the prefixes of dhcpcd and NetworkManager, `10.5.0.0/16 10.0.1.9 0.0.0.0/0 10.0.1.1`, or of
///   networkd, `10.5.0.0/16,10.0.1.9 0.0.0.0/0,10.0.1.1`;
/// - the destination descriptors of Fedora's dhclient, `16.10.5 10.0.1.9 0 10.0.1.1`.
pub(crate) fn from_text(text: &str) -> Result<Vec<Pair>, String> {
    if text.contains('/') {
        return from_pairs(text, |network| {
            let (address, len) = network.split_once('/').ok_or_else(|| not(network, "network"))?;
            let len = len.parse().ok().filter(|len| *len <= 32);
            let len = len.ok_or_else(|| not(network, "network"))?;
            Ok((self::address(address)?, len))
        });
    }
    if text.contains('.') {
        return from_pairs(text, |descriptor| {
            let mut octets = descriptor.split('.').map(octet);
            let len = octets.next().ok_or_else(|| not(descriptor, "network"))??;
            let octets: Vec<u8> = octets.collect::<Result<_, _>>()?;
            let mut rest = octets.into_iter();
            let network = significant(len, &mut rest)?;
            if rest.next().is_some() {
                return Err(not(descriptor, "network"));
            }
            Ok((network, len))
        });
    }
    let octets: Vec<u8> = words(text).map(octet).collect::<Result<_, _>>()?;
    from_octets(&octets)
}

/// Octets in hexadecimal between colons, as dhclient writes what it has no name for
/// (`10:a:5:a:0:1:9`).
pub(crate) fn from_hex(text: &str) -> Result<Vec<Pair>, String> {
    let octets = text
        .trim()
        .split(':')
        .map(|word| u8::from_str_radix(word, 16).map_err(|_| not(word, "hexadecimal octet")));
    from_octets(&octets.collect::<Result<Vec<u8>, _>>()?)
}

fn from_pairs(
    text: &str,
    network: impl Fn(&str) -> Result<(Ipv4Addr, u8), String>,
) -> Result<Vec<Pair>, String> {
    let mut words = words(text);
    let pairs = std::iter::from_fn(|| {
        let dst = words.next()?;
        let Some(gateway) = words.next() else {
            return Some(Err(format!("the route to `{}` has no gateway", beginning(dst))));
        };
        let pair = network(dst).and_then(|(dst, len)| Ok((dst, len, address(gateway)?)));
        Some(pair)
    });
    bounded(pairs)
}

/// The octets of a network that its length makes significant; the others were not sent.
fn significant(len: u8, octets: &mut impl Iterator<Item = u8>) -> Result<Ipv4Addr, String> {
    if len > 32 {
        return Err(format!("a network of {len} bits"));
    }
    let mut network = [0; 4];
    for octet in network.iter_mut().take(usize::from(len).div_ceil(8)) {
        *octet = octets.next().ok_or("it ends within a route")?;
    }
    Ok(Ipv4Addr::from(network))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty())
}

fn address(word: &str) -> Result<Ipv4Addr, String> {
    word.parse().map_err(|_| not(word, "IPv4 address"))
}

fn octet(word: &str) -> Result<u8, String> {
    word.parse().map_err(|_| not(word, "octet"))
}

fn bounded<T>(items: impl Iterator<Item = Result<T, String>>) -> Result<Vec<T>, String> {
    let items: Vec<T> = items.take(MAX + 1).collect::<Result<_, _>>()?;
    if items.len() > MAX {
        return Err(format!("more than {MAX} of them are in no lease"));
    }
    Ok(items)
}

/// `word` is no `what`; of a long one the beginning.
pub(crate) fn not(word: &str, what: &str) -> String {
    let article = if what.starts_with(['a', 'e', 'i', 'o', 'u', 'I']) { "an" } else { "a" };
    format!("`{}` is not {article} {what}", beginning(word))
}

/// The beginning of a text, as a message shows it.
pub(crate) fn beginning(text: &str) -> String {
    on_a_line(text, 24)
}

/// What a message shows of a text: no more than so many characters, and none that a terminal
/// obeys.
pub(crate) fn on_a_line(text: &str, max: usize) -> String {
    let mut shown: String =
        text.chars().take(max).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(max).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCTETS: &str = "16 10 5 10 0 1 9 25 192 168 77 128 0 0 0 0 0 10 0 1 1";
    const PREFIXES: &str = "10.5.0.0/16 10.0.1.9 192.168.77.128/25 0.0.0.0 0.0.0.0/0 10.0.1.1";

    fn own() -> Option<Ipv4Addr> {
        Some(Ipv4Addr::new(10, 0, 1, 204))
    }

    fn ways(text: &str) -> Ways {
        Ways::of(own(), &[Ipv4Addr::new(10, 0, 1, 77)], Some(&from_text(text).unwrap()))
    }

    #[test]
    fn every_notation_says_the_same() {
        let want = from_text(OCTETS).unwrap();
        assert_eq!(want.len(), 3);
        assert_eq!(from_text(PREFIXES).unwrap(), want);
        assert_eq!(from_text(&OCTETS.replace(' ', ",")).unwrap(), want);
        assert_eq!(
            from_text("10.5.0.0/16,10.0.1.9 192.168.77.128/25,0.0.0.0 0.0.0.0/0,10.0.1.1"),
            Ok(want.clone())
        );
        assert_eq!(
            from_text("16.10.5 10.0.1.9, 25.192.168.77.128 0.0.0.0, 0 10.0.1.1"),
            Ok(want.clone())
        );
        assert_eq!(from_hex("10:a:5:a:0:1:9:19:c0:a8:4d:80:0:0:0:0:0:a:0:1:1"), Ok(want));
        assert_eq!(from_text("0 10.0.1.1"), from_text("0 10 0 1 1"));
    }

    #[test]
    fn option_121_replaces_the_routers() {
        let got = ways(PREFIXES);
        assert_eq!(got.gateways, ["10.0.1.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(got.routes.len(), 2);
        assert_eq!(got.routes[1].gateway, None, "0.0.0.0 is on the link");
        assert!(ways("10.5.0.0/16 10.0.1.9").gateways.is_empty(), "also without a default");
        assert_eq!(ways("").gateways.len(), 1, "an empty one is none");
    }

    #[test]
    fn host_bits_are_masked() {
        let got = ways("10.5.7.9/16 10.0.1.9");
        assert_eq!(got.routes[0].dst.to_string(), "10.5.0.0/16");
        assert_eq!(ways("9 10 200 10 0 1 9").routes[0].dst.to_string(), "10.128.0.0/9");
    }

    #[test]
    fn nonsense_is_left_out() {
        for text in [
            "0.0.0.0/0 0.0.0.0",    // everything on the link
            "0.0.0.0/0 10.0.1.204", // the same, through one's own address
            "0.0.0.0/0 224.0.0.1",  // no router
            "0.0.0.0/0 255.255.255.255",
            "0.0.0.0/0 0.0.0.9",
            "127.0.0.0/8 10.0.1.1", // never leaves the host
            "224.0.0.0/4 10.0.1.1", // nothing is answered to it
            "0.0.0.0/8 10.0.1.1",
            "10.9.0.0/16 127.0.0.1", // no way there
        ] {
            assert_eq!(ways(text), Ways::default(), "{text}");
        }
        // A default in disguise is meant so, and clouds reach their services by a host route.
        assert_eq!(ways("0.0.0.0/1 10.0.1.1 169.254.169.254/32 0.0.0.0").routes.len(), 2);
        assert_eq!(ways("0.0.0.0/0 169.254.1.1").gateways.len(), 1);
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        for text in [
            "33 10 0 0 0 0 10 0 1 1",
            "16 10 5 10 0 1",
            "16 10",
            "300 10",
            "10.5.0.0/33 10.0.1.1",
            "10.5.0.0/16",
            "10.5.0.0/16 gw",
            "16.10 10.0.1.1",
            "16.10.5.7 10.0.1.1",
            "x",
        ] {
            assert!(from_text(text).is_err(), "{text}");
        }
        assert!(from_hex("10:a:zz").is_err());
        assert!(from_octets(&[0; 5 * (MAX + 1)]).is_err());
        assert!(from_octets(&[0; 5 * MAX]).is_ok());
    }
    #[test]
    fn a_message_shows_nothing_that_a_terminal_obeys() {
        let told = from_text("\u{1b}[2J\u{7}\u{9b}31m\u{7f} 10").unwrap_err();
        assert_eq!(told, "`?[2J??31m?` is not an octet");
        assert_eq!(from_hex("\u{1b}:a").unwrap_err(), "`?` is not a hexadecimal octet");
        assert_eq!(beginning("one\r\ntwo\0"), "one??two?");
        assert_eq!(on_a_line("\u{1b}\u{1b}\u{1b}", 2), "??...");
        assert_eq!(on_a_line("gr\u{fc}n", 4), "gr\u{fc}n", "characters, not bytes");
    }
}
