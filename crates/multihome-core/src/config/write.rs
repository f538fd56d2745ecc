//! Configuration as TOML: the values that are not the default, in the fewest lines that read back as
//! the same.

use std::fmt::Write as _;

use toml::Value;

use super::steer::dscp_name;
use super::{Config, Steer, UnlessDown};
use crate::model::names::ipproto;

impl Config {
    /// A configuration file that says what this says; empty when all is as it is without one.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let default = Config::default();
        let mut out = String::new();
        let mut line = |key: &str, value: Value| out.push_str(&format!("{key} = {value}\n"));
        if self.base.value != default.base.value {
            line("base", i64::from(self.base.value).into());
        }
        if let Some(group) = self.link_group.value {
            line("link_group", i64::from(group).into());
        }
        if let Some(primary) = &self.primary.value {
            line("primary", primary.to_string().into());
        }
        for (key, patterns) in [("manage", &self.manage.value), ("ignore", &self.ignore.value)] {
            if !patterns.is_empty() {
                let patterns: Vec<String> =
                    patterns.iter().map(|p| p.as_str().to_owned()).collect();
                line(key, patterns.into());
            }
        }
        if self.return_path.value != default.return_path.value {
            line("return_path", word(self.return_path.value));
        }
        if let Some(mask) = self.mark_mask.value {
            line("mark_mask", i64::from(mask).into());
        }
        if self.sysctl.value != default.sysctl.value {
            line("sysctl", word(self.sysctl.value));
        }
        if self.precedence.value != default.precedence.value {
            line("precedence", word(self.precedence.value));
        }
        for steer in &self.steers {
            out.push_str("\n[[steer]]\n");
            for (key, value) in steer_keys(steer) {
                let is_default = key == "unless_down" && steer.unless_down == UnlessDown::default();
                if !is_default {
                    let _ = writeln!(out, "{key} = {value}");
                }
            }
        }
        for (name, interface) in &self.interfaces {
            let _ = writeln!(out, "\n[interface.{}]", toml_key(name));
            let mut line = |key: &str, value: Value| out.push_str(&format!("{key} = {value}\n"));
            if let Some(gateways) = &interface.gateway {
                let mut gateways: Vec<Value> =
                    gateways.value.iter().map(|g| g.to_string().into()).collect();
                let value = match gateways.len() {
                    1 => gateways.remove(0),
                    _ => Value::Array(gateways),
                };
                line("gateway", value);
            }
            match interface.table.as_ref().map(|t| &t.value) {
                Some(super::Table::Number(n)) => line("table", i64::from(*n).into()),
                Some(super::Table::Name(name)) => line("table", name.clone().into()),
                None => {}
            }
            if let Some(on_down) = &interface.on_down {
                line("on_down", on_down.value.to_string().into());
            }
            if let Some(manage) = &interface.manage {
                line("manage", manage.value.into());
            }
        }
        out.trim_start_matches('\n').to_owned()
    }
}

/// A word that serde knows how to write.
fn word(value: impl serde::Serialize) -> Value {
    // The words are unit variants, which no serializer refuses.
    Value::try_from(value).unwrap_or_else(|_| Value::String(String::new()))
}

/// The keys of an entry that are set, with their values as TOML has them.
#[must_use]
pub fn steer_keys(steer: &Steer) -> Vec<(&'static str, String)> {
    let mut keys = Vec::new();
    let mut add = |key, value: Option<Value>| keys.extend(value.map(|v| (key, v.to_string())));
    // A name is written as such, a number without quotes.
    let word_or_number = |text: String| match text.parse::<u32>() {
        Ok(number) => i64::from(number).into(),
        Err(_) => text.into(),
    };
    add("name", steer.name.clone().map(Value::from));
    add("uplink", Some(steer.uplink.clone().into()));
    let to: Vec<String> = steer.to.iter().map(ToString::to_string).collect();
    add("to", (!to.is_empty()).then(|| to.into()));
    add("protocol", steer.protocol.map(|p| word_or_number(ipproto(p).into_owned())));
    add("port", steer.port.map(|(first, last)| word_or_number(range(first.into(), last.into()))));
    add("uid", steer.uid.map(|(first, last)| word_or_number(range(first, last))));
    add("iif", steer.iif.clone().map(Value::from));
    add("fwmark", steer.fwmark.map(|mark| fwmark(mark).into()));
    add("dscp", steer.dscp.map(|d| word_or_number(dscp_name(d))));
    add("unless_down", Some(word(steer.unless_down)));
    keys
}

/// `2049`, or `1000-1999`.
#[must_use]
pub fn range(first: u32, last: u32) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// `0x10/0xff`, or `0x10` where all bits count.
#[must_use]
pub fn fwmark((mark, mask): (u32, u32)) -> String {
    match mask {
        u32::MAX => format!("{mark:#x}"),
        mask => format!("{mark:#x}/{mask:#x}"),
    }
}

/// A name as a key of TOML.
#[must_use]
pub fn toml_key(name: &str) -> String {
    if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
        name.into()
    } else {
        toml_string(name)
    }
}

/// A string of TOML.
#[must_use]
pub fn toml_string(text: &str) -> String {
    // What TOML must not have bare in any string, written as it is in one of its basic strings.
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_configured_needs_no_line() {
        assert_eq!(Config::default().to_toml(), "");
    }

    #[test]
    fn what_is_written_reads_back_and_is_written_the_same() {
        let text = "base = 20000\nlink_group = 7\nprimary = \"ifindex:2\"\nmanage = [\"en*\", \"wg0\"]\n\
            return_path = \"off\"\nmark_mask = 15728640\nsysctl = \"report\"\nprecedence = \"yield\"\n\
            \n[[steer]]\nname = \"NFS\"\nuplink = \"ens7\"\nto = [\"10.9.0.0/16\"]\nprotocol = \"tcp\"\n\
            port = 2049\nuid = \"1000-1999\"\nfwmark = \"0x10/0xff\"\ndscp = \"af21\"\n\
            unless_down = \"fail\"\n\
            \n[interface.\"ens6.7\"]\ngateway = [\"10.0.0.1\", \"fe80::1\"]\ntable = \"data\"\n\
            on_down = \"fallthrough\"\nmanage = true\n\n[interface.ens7]\ntable = 77\n";
        let config = Config::parse([("t", text)]).unwrap();
        assert_eq!(config.to_toml(), text);
    }
}
