//! Hosts and what multihome makes of them: one directory each under `cases`.
//!
//! `snapshot.json` is what the kernel holds, as `multihome snapshot` prints it;
//! `config.toml` and `memory.json` may be there. Expected are `plan.ip` (what should be
//! there, in `ip`'s words), `changes.ip` (the commands that lead to it), `revert.ip` (the
//! commands that lead back) and `notes.txt` (where each gateway was learnt, what is no
//! uplink, conflicts, notes). `UPDATE_GOLDEN=1` writes what came out instead; look at the
//! difference before it is committed.
//!
//! Every case is also walked on the fake kernel: each step must be possible, the last
//! must reach the plan, and the way back must end where it began.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use multihome_core::diff::{Change, diff, revert};
use multihome_core::model::Names;
use multihome_core::{Config, Family, Memory, Plan, Snapshot, plan};
use serde::Serialize;

use common::kernel::Kernel;

/// Everything that a case is made of and comes to.
struct Case {
    snapshot: Snapshot,
    config: Config,
    memory: Memory,
    plan: Plan,
    changes: Vec<Change>,
}

#[test]
fn every_case_comes_out_as_it_is_written_down() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut names: Vec<_> = fs::read_dir(&root)
        .expect("the directory of the cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no cases in {}", root.display());
    let mut wrong = String::new();
    for directory in names {
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let case = Case::read(&directory);
        for (file, got) in case.outputs() {
            let path = directory.join(file);
            let want = fs::read_to_string(&path).ok();
            // Only the notes may be absent.
            let missing = want.is_none() && file != "notes.txt";
            let want = want.unwrap_or_default();
            if got == want && !missing {
                continue;
            }
            if !update {
                let _ = write!(wrong, "\n{name}/{file}:\n{}", line_diff(&want, &got));
                if missing {
                    wrong.push_str("    the file is missing\n");
                }
            } else if got.is_empty() && file == "notes.txt" {
                let _ = fs::remove_file(&path);
            } else {
                fs::write(&path, got).expect("writing what came out");
            }
        }
        case.walk(&name);
    }
    assert!(wrong.is_empty(), "{wrong}\n(UPDATE_GOLDEN=1 writes the new ones)");
}

impl Case {
    fn read(directory: &Path) -> Case {
        let read = |file: &str| fs::read_to_string(directory.join(file)).ok();
        let whose = directory.display();
        let snapshot = read("snapshot.json").unwrap_or_else(|| panic!("{whose}: no snapshot.json"));
        let snapshot: Snapshot = serde_json::from_str(&snapshot)
            .unwrap_or_else(|e| panic!("{whose}/snapshot.json: {e}"));
        let config = read("config.toml").unwrap_or_default();
        let config = Config::parse([("config.toml", config.as_str())])
            .unwrap_or_else(|e| panic!("{whose}/{e}"));
        let memory: Memory = read("memory.json").map_or_else(Memory::default, |text| {
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{whose}/memory.json: {e}"))
        });
        let plan = plan::make(&snapshot, &config, &memory);
        let changes = diff(&snapshot, &plan);
        Case { snapshot, config, memory, plan, changes }
    }

    fn outputs(&self) -> [(&'static str, String); 4] {
        let names = self.snapshot.names();
        let commands = |changes: &[Change]| -> String {
            changes.iter().map(|c| c.command(&names) + "\n").collect()
        };
        [
            ("plan.ip", self.plan_words(&names)),
            ("changes.ip", commands(&self.changes)),
            ("revert.ip", commands(&revert(&self.changes))),
            ("notes.txt", self.notes(&names)),
        ]
    }

    /// The plan as `ip` would show it when it is in force.
    fn plan_words(&self, names: &Names) -> String {
        let mut out = String::new();
        for family in Family::BOTH {
            let rules: Vec<_> = self.plan.rules.iter().filter(|r| r.family == family).collect();
            if !rules.is_empty() {
                let _ = writeln!(out, "# ip {} rule show", family.flag());
            }
            for rule in rules {
                let _ = writeln!(out, "{}", rule.display(names));
            }
        }
        let mut tables: BTreeMap<(u32, Family), String> = BTreeMap::new();
        for route in &self.plan.routes {
            let words = route.display(names);
            // `ip route show table N` does not repeat the table.
            let words = words.replacen(&format!(" table {}", names.table(route.table)), "", 1);
            let table = tables.entry((route.table, route.family())).or_default();
            let _ = writeln!(table, "{words}");
        }
        for ((table, family), routes) in tables {
            let table = names.table(table);
            let _ = write!(out, "# ip {} route show table {table}\n{routes}", family.flag());
        }
        if !self.plan.groups.is_empty() {
            out.push_str("# ip link show\n");
        }
        for (index, group) in &self.plan.groups {
            let _ = writeln!(out, "{index}: {} group {group}", names.link(*index));
        }
        out
    }

    fn notes(&self, names: &Names) -> String {
        let mut out = String::new();
        for planned in &self.plan.uplinks {
            let uplink = &planned.uplink;
            for side in &uplink.sides {
                for way in &side.ways {
                    let hops: Vec<String> = way
                        .hops
                        .iter()
                        .map(|h| match h.gateway {
                            Some(gateway) => format!("via {gateway}"),
                            None => format!("dev {}", names.link(h.link)),
                        })
                        .collect();
                    let learnt = json(&way.learnt);
                    let hops = hops.join(", ");
                    let _ = writeln!(out, "way {} {}: {hops} {learnt}", uplink.name, side.family);
                }
            }
            for family in &planned.frozen {
                let _ = writeln!(out, "frozen {} {family}", uplink.name);
            }
        }
        for (name, reason) in &self.plan.others {
            let _ = writeln!(out, "no uplink {name}: {}", json(reason));
        }
        for (table, name) in &self.plan.new_table_names {
            let _ = writeln!(out, "table name {table} {name}");
        }
        for conflict in &self.plan.conflicts {
            let _ = writeln!(out, "conflict {}", json(conflict));
        }
        for note in &self.plan.notes {
            let _ = writeln!(out, "note {}", json(note));
        }
        out
    }

    /// Takes the steps and takes them back.
    fn walk(&self, name: &str) {
        let start = Kernel::of(&self.snapshot);
        let mut kernel = start.clone();
        kernel.apply_all(&self.changes);
        if self.snapshot.is_complete() {
            let now = kernel.snapshot();
            assert_eq!(diff(&now, &self.plan), [], "{name}: the plan is not reached");
            let again = plan::make(&now, &self.config, &self.memory);
            assert_eq!(diff(&now, &again), [], "{name}: a second run finds more to do");
        } else {
            assert!(
                !self
                    .changes
                    .iter()
                    .any(|c| { c.is_removal() || matches!(c, Change::ReplaceRoute { .. }) }),
                "{name}: something is removed although the snapshot is not complete"
            );
        }
        kernel.apply_all(&revert(&self.changes));
        assert_eq!(kernel.inventory(), start.inventory(), "{name}: the way back ends elsewhere");
    }
}

/// One line of JSON.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data can be written as JSON")
}

/// The lines that differ, with the common ones around them.
fn line_diff(want: &str, got: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (want.lines().collect(), got.lines().collect());
    // The longest common subsequence; the files are small.
    let mut common = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = if a[i] == b[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut out = String::new();
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            let _ = writeln!(out, "    {}", a[i]);
            i += 1;
            j += 1;
        } else if j == b.len() || i < a.len() && common[i + 1][j] >= common[i][j + 1] {
            let _ = writeln!(out, "  - {}", a[i]);
            i += 1;
        } else {
            let _ = writeln!(out, "  + {}", b[j]);
            j += 1;
        }
    }
    out
}
