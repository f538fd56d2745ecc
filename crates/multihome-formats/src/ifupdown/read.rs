//! Reading `interfaces`: the commands of its stanzas.

use super::stanza::{Begins, begins};
use crate::ip_command;
use crate::ip_words::Context;
use crate::sheet::Sheet;
use crate::{At, Known, Problem, Statement, Tree};
use crate::{rt_tables, shell};

/// Options that are about other things than routes and rules (interfaces(5), and the packages that
/// add their own): addresses, DHCP, links, name servers.
const OTHERS: &[&str] = &[
    "accept_ra",
    "address",
    "anycast",
    "autoconf",
    "broadcast",
    "client",
    "clientid",
    "description",
    "dad-attempts",
    "dad-interval",
    "dhcp",
    "endpoint",
    "gateway",
    "hostname",
    "hwaddress",
    "inherits",
    "leasehours",
    "leasetime",
    "local",
    "media",
    "metric",
    "mode",
    "mtu",
    "netmask",
    "network",
    "pointopoint",
    "preferred-lifetime",
    "privext",
    "provider",
    "request_prefix",
    "scope",
    "script",
    "tunnel-mode",
    "ttl",
    "unit",
    "vendor",
    "ll-attempts",
    "ll-interval",
    "keytype",
    "key",
    "ssid",
];
/// How options of other packages begin.
const OTHERS_BY_PREFIX: &[&str] = &[
    "bond-",
    "bond_",
    "bridge-",
    "bridge_",
    "dns-",
    "ethernet-",
    "hardware-",
    "link-",
    "offload-",
    "vlan-",
    "vlan_",
    "wireless-",
    "wpa-",
];

/// Reads the commands of all stanzas.
pub(crate) fn import(there: &Tree, known: &Known) -> Result<Vec<Statement>, Problem> {
    let (statements, known) = rt_tables::read(there, known)?;
    let mut sheet = Sheet::new(statements);
    for (path, text) in there.iter().filter(|(path, _)| !rt_tables::is_one(path)) {
        let mut stanza = None;
        for (line, text) in shell::lines(text) {
            let trimmed = text.trim();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            if let Some(begun) = begins(trimmed) {
                stanza = Some(begun);
                continue;
            }
            let at = At { path: path.clone(), line };
            option(&mut sheet, &at, &text, stanza.as_ref(), &known)?;
        }
    }
    sheet.finish()
}

/// Reads an option of a stanza.
fn option(
    sheet: &mut Sheet,
    at: &At,
    text: &str,
    stanza: Option<&Begins>,
    known: &Known,
) -> Result<(), Problem> {
    let fail = |why: String| Problem { at: at.clone(), text: text.to_owned(), why };
    let name = match stanza {
        Some(Begins::Iface(name, _)) => name,
        Some(Begins::Mapping) => return Ok(()),
        Some(Begins::Alone) | None => return Err(fail("this belongs to no stanza".to_owned())),
    };
    let trimmed = text.trim();
    let (key, command) = trimmed.split_once(char::is_whitespace).unwrap_or((trimmed, ""));
    let removes = match key {
        "up" | "post-up" | "pre-up" => false,
        "down" | "pre-down" | "post-down" => true,
        _ if OTHERS.contains(&key) || OTHERS_BY_PREFIX.iter().any(|p| key.starts_with(p)) => {
            return Ok(());
        }
        _ => return Err(fail(format!("the option `{key}` is not known here"))),
    };
    let context = Context { known, family: None, dev: Some(name) };
    for command in shell::commands(command, Some(("IFACE", name))).map_err(fail)? {
        if removes {
            ip_command::act_of_removal(&command).map_err(fail)?;
        } else {
            sheet.act(at, text, ip_command::act(&command, &context).map_err(fail)?)?;
        }
    }
    Ok(())
}
