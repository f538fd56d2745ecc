//! `multihome config show`: the values in force and where each comes from.

use std::fmt::Write as _;

use multihome_core::Config;
use multihome_core::config::{OnDown, Origin, Pattern, Setting};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::output::Style;

/// As TOML, each value with its origin behind it.
pub fn text(config: &Config, style: Style) -> String {
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut add = |line: String, origin: &Origin| lines.push((line, origin.to_string()));
    add(format!("base = {}", config.base.value), &config.base.origin);
    match config.link_group.value {
        Some(group) => add(format!("link_group = {group}"), &config.link_group.origin),
        None => add(format!("# link_group = {}", config.group()), &Origin::Default),
    }
    match &config.primary.value {
        Some(primary) => {
            add(format!("primary = {}", toml_string(&primary.to_string())), &config.primary.origin)
        }
        None => add("# primary: none, every uplink has a table".into(), &Origin::Default),
    }
    for (key, setting) in [("manage", &config.manage), ("ignore", &config.ignore)] {
        let list: Vec<&str> = setting.value.iter().map(|p| p.as_str()).collect();
        add(format!("{key} = {}", spaced(&json!(list))), &setting.origin);
    }
    for (name, interface) in &config.interfaces {
        lines.push((String::new(), String::new()));
        lines.push((format!("[interface.{}]", toml_key(name)), String::new()));
        let mut add = |line: String, origin: &Origin| lines.push((line, origin.to_string()));
        if let Some(s) = &interface.gateway {
            add(format!("gateway = {}", spaced(&json!(s.value))), &s.origin);
        }
        if let Some(s) = &interface.table {
            add(format!("table = {}", json!(s.value)), &s.origin);
        }
        match &interface.on_down {
            Some(s) => add(format!("on_down = \"{}\"", s.value), &s.origin),
            None => add(format!("on_down = \"{}\"", OnDown::default()), &Origin::Default),
        }
        if let Some(s) = &interface.manage {
            add(format!("manage = {}", s.value), &s.origin);
        }
    }
    let width = lines.iter().map(|(line, _)| line.len()).max().unwrap_or(0).min(44);
    let mut out = String::new();
    for (line, origin) in lines {
        if origin.is_empty() {
            let _ = writeln!(out, "{}", style.bold(&line));
        } else {
            let _ = writeln!(out, "{line:width$}  {}", style.dim(&format!("# {origin}")));
        }
    }
    out
}

/// As JSON: each value an object with `value` and `origin`.
pub fn json(config: &Config) -> Value {
    let patterns = |s: &Setting<Vec<Pattern>>| -> Value {
        with_origin(&s.value.iter().map(Pattern::as_str).collect::<Vec<_>>(), &s.origin)
    };
    let interfaces: Map<String, Value> = config
        .interfaces
        .iter()
        .map(|(name, i)| {
            let mut keys = Map::new();
            let mut add = |key: &str, value: Option<Value>| {
                if let Some(value) = value {
                    keys.insert(key.into(), value);
                }
            };
            add("gateway", i.gateway.as_ref().map(|s| with_origin(&s.value, &s.origin)));
            add("table", i.table.as_ref().map(|s| with_origin(&s.value, &s.origin)));
            add("on_down", i.on_down.as_ref().map(|s| with_origin(&s.value, &s.origin)));
            add("manage", i.manage.as_ref().map(|s| with_origin(&s.value, &s.origin)));
            (name.clone(), Value::Object(keys))
        })
        .collect();
    json!({
        "base": with_origin(&config.base.value, &config.base.origin),
        "link_group": with_origin(&config.group(), &config.link_group.origin),
        "primary": with_origin(
            &config.primary.value.as_ref().map(ToString::to_string),
            &config.primary.origin,
        ),
        "manage": patterns(&config.manage),
        "ignore": patterns(&config.ignore),
        "interface": interfaces,
    })
}

fn with_origin(value: &impl Serialize, origin: &Origin) -> Value {
    json!({ "value": value, "origin": origin.to_string() })
}

/// A list as people write it in TOML.
fn spaced(list: &Value) -> String {
    list.to_string().replace("\",\"", "\", \"")
}

/// A name as a key of TOML.
pub(super) fn toml_key(name: &str) -> String {
    if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
        name.into()
    } else {
        toml_string(name)
    }
}

/// A string of TOML: one of JSON, but for control characters, which TOML never has bare.
pub(super) fn toml_string(text: &str) -> String {
    let escaped = |c: char| match c {
        c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    json!(text).to_string().chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_keys_that_toml_reads() {
        assert_eq!(toml_key("ens6"), "ens6");
        for name in ["ens6.7", "a\"b\\c", "a\u{1b}m\u{7}", "\u{7f}\u{85}é", "#"] {
            let file = format!("[interface.{}]\non_down = \"unreachable\"\n", toml_key(name));
            assert!(!file.trim().contains(|c: char| c.is_control() && c != '\n'), "{file:?}");
            let config: Config = Config::parse([("t", file.as_str())]).unwrap();
            assert!(config.interfaces.contains_key(name), "{file}");
        }
    }
}
