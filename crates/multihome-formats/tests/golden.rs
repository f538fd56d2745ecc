//! Exports as they are written down, and the way back from each.
//!
//! `tests/cases/<name>/` is a host (`snapshot.json`, or the name of one of core's cases in `case`; `config.toml`) and
//! below it what each format makes of it, at the paths where the files belong, with what to run and
//! what is lost in `export.txt`. `UPDATE_GOLDEN=1 cargo test -p multihome-formats` writes them.
//!
//! The way back is tried for every host that core has a case of: what is exported and read again
//! gives the same plan.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use multihome_core::config::ReturnPathMode;
use multihome_core::model::Rule;
use multihome_core::plan::Note;
use multihome_core::policy::{self, Gap, Policy};
use multihome_core::{Config, Memory, Plan, Snapshot, import, plan};
use multihome_formats::{Export, Format, Known, Tree, consequences, declared_by, export};

const CORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../multihome-core/tests/cases");
const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases");
/// A host and what is wanted of it.
struct Host {
    name: String,
    snapshot: Snapshot,
    config: Config,
    plan: Plan,
}

impl Host {
    /// None where a case has no snapshot of its own, or only half of one.
    fn read(directory: &Path) -> Option<Host> {
        let name = directory.file_name()?.to_str()?.to_owned();
        let there = fs::read_to_string(directory.join("case"));
        let source = there.map_or(directory.to_owned(), |c| Path::new(CORE).join(c.trim()));
        let snapshot = fs::read_to_string(source.join("snapshot.json")).ok()?;
        let snapshot: Snapshot = serde_json::from_str(&snapshot).ok()?;
        let text = fs::read_to_string(source.join("config.toml")).unwrap_or_default();
        let config = Config::parse([("config.toml", text.as_str())]).ok()?;
        let plan = plan::make(&snapshot, &config, &Memory::default());
        snapshot.is_complete().then_some(Host { name, snapshot, config, plan })
    }

    fn policy(&self, format: Format) -> Policy {
        policy::of(&self.snapshot, &self.config, &self.plan, &format.words())
    }

    fn export(&self, format: Format, there: &Tree) -> Export {
        export(format, &self.policy(format), &self.snapshot.names(), there)
    }
}

fn directories(of: &str) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        fs::read_dir(of).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    all.sort();
    all
}

fn tree(export: &Export) -> Tree {
    export.files.iter().map(|f| (f.path.clone(), f.text.clone())).collect()
}

// ===== as it is written down =====

#[test]
fn every_case_comes_out_as_it_is_written_down() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for directory in directories(CASES) {
        let host = Host::read(&directory).expect("a host");
        let mut want: BTreeMap<PathBuf, String> = BTreeMap::new();
        for format in Format::ALL {
            let export = host.export(format, &Tree::new());
            let below = directory.join(format.name());
            for file in &export.files {
                want.insert(below.join(file.path.trim_start_matches('/')), file.text.clone());
            }
            want.insert(below.join("export.txt"), summary(&host, format, &export));
        }
        let have = files(&directory);
        if update {
            have.keys()
                .filter(|p| !want.contains_key(*p))
                .for_each(|p| fs::remove_file(p).unwrap());
            for (path, text) in &want {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            continue;
        }
        let paths: BTreeSet<&PathBuf> = have.keys().chain(want.keys()).collect();
        for path in paths.into_iter().filter(|p| have.get(*p) != want.get(*p)) {
            let now = want.get(path).map_or("(nothing)", String::as_str);
            wrong.push(format!("===== {}\n{now}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}\nUPDATE_GOLDEN=1 writes what comes out", wrong.join("\n"));
}

fn summary(host: &Host, format: Format, export: &Export) -> String {
    let mut out = String::new();
    for file in &export.files {
        let _ = writeln!(out, "{:04o} {}", file.mode, file.path);
    }
    for (title, lines) in [("next", &export.next), ("undo", &export.undo)] {
        let _ = writeln!(out, "{title}:");
        lines.iter().for_each(|l| writeln!(out, "    {l}").unwrap());
    }
    let _ = writeln!(out, "lost:");
    for lost in consequences(&host.policy(format).gaps, &host.snapshot.names()) {
        let _ = writeln!(out, "    {lost}");
    }
    out
}

/// The files below the formats' directories of a case.
fn files(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut todo = directories(directory.to_str().unwrap());
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                found.insert(path, text);
            }
        }
    }
    found
}

/// "Improve your multi-homed servers with policy routing" persists its host with these lines.
const ARTICLE: [(&str, &[&str]); 5] = [
    (
        "/etc/sysconfig/network-scripts/route-ens192",
        &["default via 10.225.160.1 dev ens192", "default via 10.225.160.1 dev ens192 table mgt"],
    ),
    (
        "/etc/sysconfig/network-scripts/route-ens224",
        &[
            "10.225.144.0/24 via 10.225.176.1 dev ens224",
            "default via 10.225.176.1 dev ens224 table data",
        ],
    ),
    ("/etc/sysconfig/network-scripts/rule-ens192", &["from 10.225.160.38 table mgt"]),
    ("/etc/sysconfig/network-scripts/rule-ens224", &["from 10.225.176.38 table data"]),
    ("/etc/iproute2/rt_tables.d/multihome-export.conf", &["1 mgt", "2 data"]),
];

#[test]
fn the_articles_own_lines_come_first_and_the_rest_is_marked() {
    let host = Host::read(&Path::new(CORE).join("second-seed")).unwrap();
    let files = tree(&host.export(Format::Ifcfg, &Tree::new()));
    for (path, article) in ARTICLE {
        let text = files[path].replace('\t', " ");
        let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
        for (n, line) in article.iter().enumerate() {
            let ours = lines.get(n).copied().unwrap_or_default();
            // What stands behind it is ours: a priority, without which each rule would be put in
            // front of the one before.
            assert!(ours == *line || ours.starts_with(&format!("{line} ")), "{path}: {ours}");
        }
        let marked = text.split_once("# What follows is what multihome's design adds.");
        let before = marked.map_or(text.as_str(), |(before, _)| before);
        let own = before.lines().filter(|l| !l.starts_with('#')).count();
        assert_eq!(own, article.len(), "{text}");
    }
}

// ===== there and back =====

/// Whether a policy has what the configuration that made it cannot be told from: what was left out,
/// and what this host's cards do at the moment.
fn says_all(host: &Host, policy: &Policy) -> bool {
    let is_harmless = |gap: &Gap| match gap {
        Gap::LaterNetworks { .. } | Gap::RouteShortened { .. } | Gap::Leased { .. } => true,
        Gap::RuleLeftOut { purpose, .. } => *purpose == policy::Purpose::Bound,
        Gap::RouteLeftOut { route, .. } => !route.dst.is_default(),
        _ => false,
    };
    // What only this moment shows is no configuration: a steering that found its uplink down, a card
    // that is kept apart by a pattern, conflicts.
    let names_group = host.config.link_group.value.is_none()
        || policy.parts.iter().any(|p| p.rules.iter().any(|e| e.what.suppress_ifgroup.is_some()));
    names_group
        && policy.gaps.iter().all(is_harmless)
        && host.plan.steered.is_empty()
        && host.plan.conflicts.is_empty()
        && host.plan.marks.families.is_empty()
        && host.plan.overtaken.is_empty()
        && host.config.return_path.value == ReturnPathMode::Auto
        && host.config.mark_mask.value.is_none()
        && !host
            .plan
            .notes
            .iter()
            .any(|n| matches!(n, Note::Captured { .. } | Note::NoGateway { .. }))
}

#[test]
fn what_is_exported_and_read_again_gives_the_same_plan() {
    let mut tried = 0;
    let mut wrong = Vec::new();
    for host in directories(CORE).iter().filter_map(|d| Host::read(d)) {
        for format in Format::READABLE {
            let policy = host.policy(format);
            if policy.parts.is_empty() || !says_all(&host, &policy) {
                continue;
            }
            let export = host.export(format, &Tree::new());
            let known = Known::of(&host.snapshot);
            let mut written = tree(&export);
            written.retain(|path, _| format.places().iter().any(|p| p.holds(path)));
            let statements = match multihome_formats::import(format, &written, &known) {
                Ok(statements) => statements,
                Err(e) => {
                    wrong.push(format!("{} as {}: {e}", host.name, format.name()));
                    continue;
                }
            };
            let declared = declared_by(&statements);
            let imported = import::of(&host.snapshot, &declared);
            let bare = import::bare(&host.snapshot, &declared);
            let again = plan::make(&bare, &imported.config, &Memory::default());
            tried += 1;
            let rules = |plan: &Plan| -> BTreeSet<Rule> { plan.rules.iter().cloned().collect() };
            if rules(&again) != rules(&host.plan) || again.routes != host.plan.routes {
                wrong.push(format!(
                    "{} as {}: with\n{}\nrules {:?}\n",
                    host.name,
                    format.name(),
                    imported.config.to_toml(),
                    rules(&host.plan)
                        .symmetric_difference(&rules(&again))
                        .map(|r| r.display(&host.snapshot.names()))
                        .collect::<Vec<_>>(),
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(tried > 100, "only {tried} were tried");
}

#[test]
fn an_export_over_itself_is_the_same() {
    let mut wrong = Vec::new();
    for host in directories(CORE).iter().filter_map(|d| Host::read(d)) {
        for format in Format::ALL {
            let once = host.export(format, &Tree::new());
            let twice = host.export(format, &tree(&once));
            if tree(&twice) != tree(&once) {
                wrong.push(format!("{} as {}", host.name, format.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
