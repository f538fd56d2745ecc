//! Names of tables: iproute2's `rt_tables` and `rt_tables.d`, as `fread_id_name` reads them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use multihome_core::model::{Names, names};
use multihome_core::policy::Policy;

use crate::{At, File, Known, Place, Problem, Statement, Tree, What};

/// Where the names of exported tables go.
const PATH: &str = "/etc/iproute2/rt_tables.d/multihome-export.conf";
/// The daemon's own names, which go when it goes.
const DAEMONS: &str = "/etc/iproute2/rt_tables.d/multihome.conf";

/// Where names are.
pub(crate) fn places() -> [Place; 2] {
    [
        Place { directory: "/etc/iproute2", prefix: "rt_tables", suffix: "rt_tables" },
        Place { directory: "/etc/iproute2/rt_tables.d", prefix: "", suffix: ".conf" },
    ]
}

/// Whether a file is one of names.
pub(crate) fn is_one(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name == "rt_tables" || (path.contains("/rt_tables.d/") && name.ends_with(".conf"))
}

/// The names that stand in files: of tables those that the policy has, as far as they are one word
/// without quotes, for most readers of `ip`'s words know none.
pub(crate) fn usable(policy: &Policy, names: &Names) -> Names {
    let plain = policy.table_names.iter().filter(|(_, name)| names::word(name) == name.as_str());
    let tables = plain.map(|(id, name)| (*id, name.clone())).collect();
    Names { links: names.links.clone(), tables }
}

/// The file that names the tables which are used, if any has a name that no other file gives it.
pub(crate) fn file(policy: &Policy, names: &Names, there: &Tree) -> Option<File> {
    let routes = policy.parts.iter().flat_map(|p| &p.routes).map(|e| e.what.table);
    let rules = policy.parts.iter().flat_map(|p| &p.rules).filter_map(|e| e.what.table());
    let used: BTreeSet<u32> = routes.chain(rules).collect();
    let others = there.iter().filter(|(path, _)| is_one(path) && *path != PATH && *path != DAEMONS);
    let known: BTreeSet<(u32, &str)> = others.flat_map(|(_, t)| lines(t)).collect();
    let new = usable(policy, names)
        .tables
        .into_iter()
        .filter(|(id, name)| used.contains(id) && !known.contains(&(*id, name.as_str())));
    let mut text = String::from(
        "# Written by `multihome export`: the names of its tables, for `ip` and the files that use \
         them.\n",
    );
    let mut is_empty = true;
    for (id, name) in new {
        is_empty = false;
        let _ = writeln!(text, "{id}\t{name}");
    }
    let path = PATH.to_owned();
    (!is_empty).then_some(File { path, mode: 0o644, text, extends: false })
}

/// The names that files give, and the knowledge with them.
pub(crate) fn read(there: &Tree, known: &Known) -> Result<(Vec<Statement>, Known), Problem> {
    let mut known = known.clone();
    let mut statements = Vec::new();
    for (path, text) in there.iter().filter(|(path, _)| is_one(path)) {
        for (number, line) in (1..).zip(text.lines()) {
            let words = line.trim_start_matches([' ', '\t']);
            if words.is_empty() || words.starts_with('#') {
                continue;
            }
            let at = At { path: path.clone(), line: number };
            let text = line.to_owned();
            let Some((id, name)) = entry(words) else {
                let why = "not a number and a name".to_owned();
                return Err(Problem { at, text, why });
            };
            known.tables.insert(name.to_owned(), id);
            // The kernel's own have their names anyway.
            if !matches!(id, 0 | 253..=255) {
                statements.push(Statement { at, text, what: What::TableName(id, name.to_owned()) });
            }
        }
    }
    Ok((statements, known))
}

fn lines(text: &str) -> impl Iterator<Item = (u32, &str)> {
    text.lines().filter(|l| !l.trim_start().starts_with('#')).filter_map(entry)
}

/// A number, decimal or with 0x, and a word; a comment may follow.
fn entry(line: &str) -> Option<(u32, &str)> {
    let mut words = line.split_whitespace();
    let (number, name) = (words.next()?, words.next()?);
    if name.starts_with('#') || words.next().is_some_and(|w| !w.starts_with('#')) {
        return None;
    }
    let id = match number.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => number.parse(),
    };
    Some((id.ok()?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_read_with_their_lines() {
        let text = "# c\n255\tlocal\n1 mgt\n\n 0x2  data # x\n".to_owned();
        let there = Tree::from([("/etc/iproute2/rt_tables".to_owned(), text)]);
        let (statements, known) = read(&there, &Known::default()).unwrap();
        let read: Vec<(usize, What)> =
            statements.into_iter().map(|s| (s.at.line, s.what)).collect();
        let name = |id, name: &str| What::TableName(id, name.to_owned());
        assert_eq!(read, [(3, name(1, "mgt")), (5, name(2, "data"))]);
        assert_eq!(known.tables["data"], 2);
    }

    #[test]
    fn a_line_that_is_neither_stops_the_reading() {
        for line in ["nonsense", "7", "x y", "1 a b", "1 # x"] {
            let there = Tree::from([("/etc/iproute2/rt_tables".to_owned(), format!("\n{line}\n"))]);
            let problem = read(&there, &Known::default()).unwrap_err();
            assert_eq!((problem.at.line, problem.text.as_str()), (2, line));
        }
    }
}
