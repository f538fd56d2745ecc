//! `multihome config show`: the values in force and where each comes from.

use std::fmt::Write as _;

use multihome_core::Config;
use multihome_core::config::steer::dscp_name;
use multihome_core::config::write::{fwmark, range, steer_keys, toml_key, toml_string};
use multihome_core::config::{OnDown, Origin, Pattern, Setting};
use multihome_core::model::names::ipproto;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::output::Style;

/// A line and what stands behind it.
#[derive(Default)]
struct Line {
    text: String,
    origin: Option<String>,
    is_heading: bool,
}

/// As TOML, each value with its origin behind it; an entry of `[[steer]]` has one for all its keys.
pub fn text(config: &Config, style: Style) -> String {
    let mut lines: Vec<Line> = Vec::new();
    let mut add = |text: String, origin: &Origin| lines.push(Line::of(text, origin));
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
    add(format!("return_path = {}", json!(config.return_path.value)), &config.return_path.origin);
    match config.mark_mask.value {
        Some(mask) => add(format!("mark_mask = {mask:#010x}"), &config.mark_mask.origin),
        None => add("# mark_mask: bits that nobody else uses".into(), &Origin::Default),
    }
    add(format!("sysctl = {}", json!(config.sysctl.value)), &config.sysctl.origin);
    add(format!("precedence = {}", json!(config.precedence.value)), &config.precedence.origin);
    for steer in &config.steers {
        lines.push(Line::default());
        lines.push(Line { is_heading: true, ..Line::of("[[steer]]".into(), &steer.origin) });
        for (key, value) in steer_keys(steer) {
            lines.push(Line { text: format!("{key} = {value}"), ..Line::default() });
        }
    }
    for (name, interface) in &config.interfaces {
        lines.push(Line::default());
        let text = format!("[interface.{}]", toml_key(name));
        lines.push(Line { text, origin: None, is_heading: true });
        let mut add = |text: String, origin: &Origin| lines.push(Line::of(text, origin));
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
    let with_origin = lines.iter().filter(|l| l.origin.is_some());
    let width = with_origin.map(|l| l.text.len()).max().unwrap_or(0).min(44);
    let mut out = String::new();
    for Line { text, origin, is_heading } in lines {
        let Some(origin) = origin else {
            let _ = writeln!(out, "{}", if is_heading { style.bold(&text) } else { text });
            continue;
        };
        let gap = width.saturating_sub(text.len());
        let text = if is_heading { style.bold(&text) } else { text };
        let _ = writeln!(out, "{text}{:gap$}  {}", "", style.dim(&format!("# {origin}")));
    }
    out
}

// ===== impl Line and helpers =====

impl Line {
    fn of(text: String, origin: &Origin) -> Line {
        Line { text, origin: Some(origin.to_string()), is_heading: false }
    }
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
    let steers: Vec<Value> = config
        .steers
        .iter()
        .map(|s| {
            let value = json!({
                "name": s.name,
                "uplink": s.uplink,
                "to": s.to.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "protocol": s.protocol.map(ipproto),
                "port": s.port.map(|(first, last)| range(first.into(), last.into())),
                "uid": s.uid.map(|(first, last)| range(first, last)),
                "iif": s.iif,
                "fwmark": s.fwmark.map(fwmark),
                "dscp": s.dscp.map(dscp_name),
                "unless_down": s.unless_down,
            });
            with_origin(&value, &s.origin)
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
        "return_path": with_origin(&config.return_path.value, &config.return_path.origin),
        "mark_mask": with_origin(
            &config.mark_mask.value.map(|mask| format!("{mask:#010x}")),
            &config.mark_mask.origin,
        ),
        "sysctl": with_origin(&config.sysctl.value, &config.sysctl.origin),
        "precedence": with_origin(&config.precedence.value, &config.precedence.origin),
        "steer": steers,
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
    /// Everything that can be said, each in more than one way.
    const ALL: &str = r#"
        base = 20000
        link_group = 7
        primary = "ifindex:2"
        manage = ["en*", "wg0"]
        ignore = ["docker*"]
        return_path = "off"
        mark_mask = 0x00f00000
        sysctl = "report"
        precedence = "yield"
        [[steer]]
        name = "NFS \"fast\""
        uplink = "ens7"
        to = ["10.9.0.0/16", "2001:db8::/32"]
        protocol = "tcp"
        port = 2049
        unless_down = "fail"
        [[steer]]
        uplink = "ens7.5"
        protocol = 89
        iif = "docker0"
        fwmark = "0x10/0xff"
        dscp = "af21"
        [[steer]]
        uplink = "ens7"
        protocol = "udp"
        port = "5000-5010"
        uid = "1000-1999"
        fwmark = 16
        dscp = 7
        [[steer]]
        uplink = "ens7"
        uid = 33
        [interface."ens6.7"]
        gateway = ["10.0.0.1", "fe80::1"]
        table = "data"
        on_down = "fallthrough"
        manage = true
        [interface.ens7]
        table = 77
    "#;

    /// The values without where they come from; what is shown has a default spelt out.
    fn values(config: &Config) -> Config {
        let mut config = config.clone();
        let none = Origin::Default;
        config.base.origin = none.clone();
        config.link_group.origin = none.clone();
        config.primary.origin = none.clone();
        config.manage.origin = none.clone();
        config.ignore.origin = none.clone();
        config.return_path.origin = none.clone();
        config.mark_mask.origin = none.clone();
        config.sysctl.origin = none.clone();
        config.precedence.origin = none.clone();
        config.steers.iter_mut().for_each(|s| s.origin = none.clone());
        for interface in config.interfaces.values_mut() {
            let plain = |s: &Setting<_>| Setting::default_of(s.value);
            interface.on_down = Some(
                interface.on_down.as_ref().map_or(Setting::default_of(OnDown::default()), plain),
            );
            interface.manage = interface.manage.as_ref().map(|s| Setting::default_of(s.value));
            interface.gateway =
                interface.gateway.as_ref().map(|s| Setting::default_of(s.value.clone()));
            interface.table =
                interface.table.as_ref().map(|s| Setting::default_of(s.value.clone()));
        }
        config
    }

    #[test]
    fn what_is_shown_reads_back() {
        for file in ["", ALL, "[[steer]]\nuplink = \"ens6\"\nto = \"::/0\"\n"] {
            let config = Config::parse([("t", file)]).unwrap();
            let shown = text(&config, Style::plain());
            let again = Config::parse([("shown", shown.as_str())]).unwrap_or_else(|e| {
                panic!("{e}\n{shown}");
            });
            assert_eq!(values(&again), values(&config), "{shown}");
        }
    }

    #[test]
    fn every_line_with_a_value_says_where_it_comes_from() {
        let config = Config::parse([("t", ALL)]).unwrap();
        let shown = text(&config, Style::plain());
        let of = |key: &str| shown.lines().find(|l| l.starts_with(key)).unwrap().to_owned();
        for (key, line) in [
            ("return_path", 7),
            ("mark_mask", 8),
            ("sysctl", 9),
            ("precedence", 10),
            ("[[steer", 11),
        ] {
            assert!(of(key).ends_with(&format!("  # t:{line}")), "{shown}");
        }
        let json = json(&config);
        assert_eq!(json["mark_mask"], json!({ "value": "0x00f00000", "origin": "t:8" }));
        assert_eq!(json["steer"][1]["value"]["fwmark"], "0x10/0xff");
        assert_eq!(json["steer"][2]["value"]["port"], "5000-5010");
        assert_eq!(json["steer"][0]["origin"], "t:11");
    }
}
