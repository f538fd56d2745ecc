//! What netplan's files define, and for which links.

use std::collections::BTreeMap;

use crate::comments::problem;
use crate::glob;
use crate::yaml::{self, Node, Pair};
use crate::{Problem, Tree};

/// Where files are, the strongest first; of one name only one counts.
pub(super) const DIRECTORIES: [&str; 4] =
    ["/etc/netplan", "/run/netplan", "/usr/lib/netplan", "/lib/netplan"];
/// The sections that define devices.
pub(super) const SECTIONS: [&str; 11] = [
    "ethernets",
    "wifis",
    "modems",
    "bridges",
    "dummy-devices",
    "bonds",
    "tunnels",
    "vlans",
    "vrfs",
    "virtual-ethernets",
    "nm-devices",
];

/// A file that is read.
#[derive(Debug)]
pub(super) struct File<'a> {
    pub(super) path: &'a str,
    pub(super) text: &'a str,
    pub(super) root: Option<Node>,
}

/// What all files say of an id.
#[derive(Debug)]
pub(super) struct Definition<'f> {
    /// Where it stands: `ethernets`.
    pub(super) section: &'f str,
    /// The name that it has there.
    pub(super) id: &'f str,
    /// Its lines, with the file that each is in.
    pub(super) pairs: Vec<(&'f File<'f>, &'f Pair)>,
}

/// All files that count, in the order in which netplan reads them.
pub(super) fn files(there: &Tree) -> Result<Vec<File<'_>>, Problem> {
    let mut by_name: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for directory in DIRECTORIES {
        for (path, text) in there {
            let name = path.strip_prefix(directory).and_then(|p| p.strip_prefix('/'));
            if let Some(name) = name.filter(|n| n.ends_with(".yaml") && !n.contains('/')) {
                by_name.entry(name).or_insert((path, text));
            }
        }
    }
    let read = |(path, text)| Ok(File { path, text, root: yaml::read(path, text)? });
    by_name.into_values().map(read).collect()
}

/// What they define, in the order of the ids.
pub(super) fn definitions<'f>(files: &'f [File<'f>]) -> Result<Vec<Definition<'f>>, Problem> {
    let mut by_id: BTreeMap<(&str, &str), Definition<'f>> = BTreeMap::new();
    for file in files {
        let network = file.root.as_ref().and_then(|root| root.get("network"));
        for section in network.and_then(Node::pairs).unwrap_or_default() {
            let key = section.key.as_str();
            if !SECTIONS.contains(&key) {
                continue;
            }
            for definition in file.pairs(&section.node)? {
                let id = definition.key.as_str();
                // The renderer may stand among the ids.
                if id == "renderer" {
                    continue;
                }
                let pairs = file.pairs(&definition.node)?;
                by_id
                    .entry((key, id))
                    .or_insert(Definition { section: key, id, pairs: Vec::new() })
                    .pairs
                    .extend(pairs.iter().map(|pair| (file, pair)));
            }
        }
    }
    Ok(by_id.into_values().collect())
}

impl File<'_> {
    /// The lines of a mapping.
    pub(super) fn pairs<'n>(&self, node: &'n Node) -> Result<&'n [Pair], Problem> {
        node.pairs().ok_or_else(|| self.wrong(node.line, "no mapping"))
    }

    /// What is in a list.
    pub(super) fn items<'n>(&self, node: &'n Node) -> Result<&'n [Node], Problem> {
        node.items().ok_or_else(|| self.wrong(node.line, "no list"))
    }

    /// A line that cannot be read.
    pub(super) fn wrong(&self, line: usize, why: impl Into<String>) -> Problem {
        problem(self.path, line, yaml::line_of(self.text, line), why)
    }
}

impl Definition<'_> {
    /// What a key says last.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.pairs.iter().rev().find(|(_, p)| p.key == key).map(|(_, p)| &p.node)
    }

    /// Whether it is for a link; without a `match`, the id is the name.
    pub(super) fn is_of(&self, name: &str, mac: Option<&str>) -> bool {
        let renamed = self.get("set-name").and_then(Node::text);
        if let Some(renamed) = renamed {
            return renamed == name;
        }
        let Some(asked) = self.get("match").and_then(Node::pairs).filter(|p| !p.is_empty()) else {
            return self.id == name;
        };
        asked.iter().all(|pair| {
            let texts = match pair.node.items() {
                Some(items) => items.iter().filter_map(Node::text).collect(),
                None => Vec::from_iter(pair.node.text()),
            };
            texts.into_iter().any(|text| match pair.key.as_str() {
                "name" => glob::fits(text, name),
                "macaddress" => mac.is_some_and(|mac| mac.eq_ignore_ascii_case(text)),
                // The driver of a link is in no file.
                _ => false,
            })
        })
    }
}
