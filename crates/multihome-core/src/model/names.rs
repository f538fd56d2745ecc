//! The words for numbers: link names, table names, and iproute2's fixed lists.
//!
//! What is printed must be what an operator can paste: `dev ens6`, `lookup main`.
//! The fixed names are those of iproute2's `rt_tables`, `rt_protos` and `rt_scopes`.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// Link and table names, for rendering.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Link names by index.
    pub links: BTreeMap<u32, String>,
    /// Table names by number, as `rt_tables` and `rt_tables.d` have them; the kernel's three
    /// are known without being here.
    pub tables: BTreeMap<u32, String>,
}

/// The table `local`: the kernel's own addresses.
pub const TABLE_LOCAL: u32 = 255;
/// The table `main`.
pub const TABLE_MAIN: u32 = 254;
/// The table `default`.
pub const TABLE_DEFAULT: u32 = 253;

// ===== impl Names =====

impl Names {
    /// The name of a link, or `if7` for an index that no link has any more.
    #[must_use]
    pub fn link(&self, index: u32) -> Cow<'_, str> {
        match self.links.get(&index) {
            Some(name) => word(name),
            None => Cow::Owned(format!("if{index}")),
        }
    }

    /// The name of a table, or its number.
    #[must_use]
    pub fn table(&self, id: u32) -> Cow<'_, str> {
        match id {
            TABLE_LOCAL => Cow::Borrowed("local"),
            TABLE_MAIN => Cow::Borrowed("main"),
            TABLE_DEFAULT => Cow::Borrowed("default"),
            _ => match self.tables.get(&id) {
                Some(name) => word(name),
                None => Cow::Owned(id.to_string()),
            },
        }
    }
}

/// A link's name as one word of a command. The kernel allows nearly everything in names
/// (`dev_valid_name`), and commands are there to be pasted into a shell.
#[must_use]
pub fn word(name: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@:+".contains(c);
    if !name.is_empty() && name.chars().all(plain) {
        return Cow::Borrowed(name);
    }
    // What a terminal would obey or not show, in the form that bash reads; all else in quotes.
    if !name.chars().all(is_shown) {
        let escaped: String = name.chars().map(escaped).collect();
        return Cow::Owned(format!("$'{escaped}'"));
    }
    Cow::Owned(format!("'{}'", name.replace('\'', "'\\''")))
}

fn escaped(c: char) -> String {
    match c {
        '\'' | '\\' => format!("\\{c}"),
        c if is_shown(c) => c.to_string(),
        c if u32::from(c) > 0xffff => format!("\\U{:08x}", u32::from(c)),
        c => format!("\\u{:04x}", u32::from(c)),
    }
}

/// Whether a character is seen, and does nothing else: that of the other direction hides the rest.
#[must_use]
pub fn is_shown(c: char) -> bool {
    matches!(c, '\'' | '"' | '\\') || c.escape_debug().len() == 1
}

/// The name of a route or rule protocol, or its number (iproute2's `rt_protos`).
#[must_use]
pub fn protocol(number: u8) -> Cow<'static, str> {
    Cow::Borrowed(match number {
        0 => "unspec",
        1 => "redirect",
        2 => "kernel",
        3 => "boot",
        4 => "static",
        8 => "gated",
        9 => "ra",
        10 => "mrt",
        11 => "zebra",
        12 => "bird",
        13 => "dnrouted",
        14 => "xorp",
        15 => "ntk",
        16 => "dhcp",
        18 => "keepalived",
        42 => "babel",
        super::PROTOCOL => "multihome",
        186 => "bgp",
        187 => "isis",
        188 => "ospf",
        189 => "rip",
        192 => "eigrp",
        n => return Cow::Owned(n.to_string()),
    })
}

/// The number of a routing protocol, by a name that [`protocol`] knows.
#[must_use]
pub fn protocol_number(word: &str) -> Option<u8> {
    (0..=u8::MAX).find(|n| protocol(*n) == word)
}

/// The number of a scope, by a name that [`scope`] knows.
#[must_use]
pub fn scope_number(word: &str) -> Option<u8> {
    (0..=u8::MAX).find(|n| scope(*n) == word)
}

/// IP protocols by the names of `/etc/protocols`, and one that everybody says.
pub const IP_PROTOCOLS: [(&str, u8); 14] = [
    ("icmp", 1),
    ("igmp", 2),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("ospf", 89),
    ("vrrp", 112),
    ("sctp", 132),
    ("udplite", 136),
];

/// The name of an IP protocol, or its number.
#[must_use]
pub fn ipproto(number: u8) -> Cow<'static, str> {
    let known = IP_PROTOCOLS.iter().find(|(_, n)| *n == number);
    known.map_or_else(|| Cow::Owned(number.to_string()), |(name, _)| Cow::Borrowed(*name))
}

/// The number of an IP protocol, by a name or the number itself.
#[must_use]
pub fn ipproto_number(word: &str) -> Option<u8> {
    let known = IP_PROTOCOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
    known.map(|(_, number)| *number).or_else(|| word.parse().ok())
}

/// The name of a route scope, or its number (iproute2's `rt_scopes`).
#[must_use]
pub fn scope(number: u8) -> Cow<'static, str> {
    Cow::Borrowed(match number {
        0 => "global",
        200 => "site",
        253 => "link",
        254 => "host",
        255 => "nowhere",
        n => return Cow::Owned(n.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word_that_a_shell_reads_and_a_terminal_does_not_obey() {
        for (name, expected) in [
            ("ens6", "ens6"),
            ("eth0.100@if3", "eth0.100@if3"),
            ("", "''"),
            ("a b", "'a b'"),
            ("$(x)", "'$(x)'"),
            ("a'b", "'a'\\''b'"),
            ("a\\b", "'a\\b'"),
            ("é", "'é'"),
            ("a\x1b[31m", "$'a\\u001b[31m'"),
            ("a\nb'\\", "$'a\\u000ab\\'\\\\'"),
            ("a\u{202e}b", "$'a\\u202eb'"),
            ("\u{e0041}", "$'\\U000e0041'"),
        ] {
            assert_eq!(word(name), expected);
        }
    }

    #[test]
    fn links_and_tables_are_words_too() {
        let odd = "a\x1b[31m".to_owned();
        let names =
            Names { links: BTreeMap::from([(2, odd.clone())]), tables: BTreeMap::from([(7, odd)]) };
        assert_eq!(names.link(2), "$'a\\u001b[31m'");
        assert_eq!(names.link(3), "if3");
        assert_eq!(names.table(7), "$'a\\u001b[31m'");
        assert_eq!(names.table(8), "8");
    }
}
