//! The state of the host's network as `ip -json` prints it, in a form that can be compared.
//!
//! What goes on by itself is left out: lifetimes, counters, what a link makes of its carrier.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::world::World;

/// All of it, one line for each object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State(Vec<String>);

/// The rules and routes of ours carry this.
pub const PROTOCOL: &str = "177";

const MOVING: [&str; 4] = ["expires", "valid_life_time", "preferred_life_time", "metrics_age"];
const OF_LINKS: [&str; 7] = ["ifindex", "ifname", "flags", "mtu", "group", "address", "master"];

// ===== impl State =====

impl State {
    /// Links, addresses, rules, routes of all tables and nexthop objects.
    pub fn of(world: &World) -> State {
        let mut lines = Vec::new();
        for link in world.json("-details link") {
            let kept = OF_LINKS.iter().filter_map(|k| Some((*k, link.get(*k)?)));
            let words: Vec<String> = kept.map(|(k, v)| format!("{k}={v}")).collect();
            lines.push(format!("link {}", words.join(" ")));
        }
        for link in world.json("address") {
            for address in link["addr_info"].as_array().into_iter().flatten() {
                lines.push(format!("address {} {}", link["ifname"], still(address)));
            }
        }
        for (what, arguments) in [
            ("rule4", "-4 rule"),
            ("rule6", "-6 rule"),
            ("route4", "-4 route show table all"),
            ("route6", "-6 route show table all"),
            ("nexthop", "nexthop"),
        ] {
            lines.extend(world.json(arguments).iter().map(|v| format!("{what} {}", still(v))));
        }
        lines.sort();
        State(lines)
    }

    /// Both are the same.
    #[track_caller]
    pub fn assert_is(&self, other: &State, when: &str) {
        let (left, right) = (self.set(), other.set());
        let differ = |name: &str, a: &BTreeSet<&String>, b: &BTreeSet<&String>| {
            a.difference(b).map(|l| format!("{name} {l}\n")).collect::<String>()
        };
        let (gone, new) = (differ("-", &left, &right), differ("+", &right, &left));
        assert!(self == other, "{when}, the state differs:\n{gone}{new}");
    }

    /// Nothing is there twice.
    #[track_caller]
    pub fn assert_no_duplicates(&self) {
        for pair in self.0.windows(2) {
            assert!(pair[0] != pair[1], "there twice: {}", pair[0]);
        }
    }

    /// Without what is ours: our rules and routes, and our link group.
    pub fn foreign(&self) -> State {
        let ours = format!("\"protocol\":\"{PROTOCOL}\"");
        let is_foreign = |line: &&String| !line.contains(&ours);
        let plain = |line: &String| line.replace("group=\"10000\"", "group=\"0\"");
        State(self.0.iter().filter(is_foreign).map(plain).collect())
    }

    /// What is ours: rules, routes, and the links' groups.
    pub fn ours(&self) -> State {
        let foreign = self.foreign();
        let foreign = foreign.set();
        State(self.0.iter().filter(|l| !foreign.contains(l)).cloned().collect())
    }

    /// Without the lines that have a word in them.
    pub fn without(&self, word: &str) -> State {
        State(self.0.iter().filter(|l| !l.contains(word)).cloned().collect())
    }

    /// Whether anything of ours is there.
    pub fn has_ours(&self) -> bool {
        *self != self.foreign()
    }

    fn set(&self) -> BTreeSet<&String> {
        self.0.iter().collect()
    }
}

/// Without what goes on by itself.
fn still(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(object) = value.as_object_mut() {
        MOVING.iter().for_each(|k| drop(object.remove(*k)));
    }
    value
}

// ===== what ip prints, in its own words =====

/// Our rules of a family, as `ip rule` prints them, without what says that they are ours.
pub fn rules(world: &World, family: &str) -> Vec<String> {
    let text = world.ip(&format!("{family} rule"));
    let ours = text.lines().filter(|l| l.ends_with(&format!("proto {PROTOCOL}")));
    ours.map(|l| squeeze(l.trim_end_matches(&format!("proto {PROTOCOL}")))).collect()
}

/// The routes of a table, as `ip route` prints them, without what says that they are ours.
pub fn table(world: &World, family: &str, table: &str) -> Vec<String> {
    let mut command = std::process::Command::new("ip");
    command.args([family, "route", "show", "table", table]);
    let said = world.output(&mut command, "");
    said.out.lines().map(|l| squeeze(&l.replace(&format!("proto {PROTOCOL} "), ""))).collect()
}

fn squeeze(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
