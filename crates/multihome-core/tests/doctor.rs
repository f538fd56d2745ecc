//! The doctor's findings, each firing and silent.
//!
//! `tests/doctor/<finding>/` holds hosts by their snapshots: `fires-error*.json`,
//! `fires-warning*.json` and `fires-note*.json` must have that finding, so severe; `silent*.json`
//! must not, and the check must have had all that it needs; in `unknown*.json` it must not.
//! Where a `.fact` of the same name stands beside, each of its lines must be in what was found.
//! `tests/doctor/healthy-hosts/` holds hosts on which nothing may be worse than a note. A `.toml`
//! of the same name is the host's configuration.
//!
//! A file is a snapshot as `multihome snapshot` writes it, or what is different from
//! `tests/doctor/healthy.json` (or from the snapshot that `base` names): in an object each key
//! stands for itself, and null takes it away; a list is added to the list that is there; and
//! `{"set": [..], "remove": [OBJECT, ..], "change": [[OBJECT, DIFFERENCE], ..], "add": [..]}`
//! changes a list, where OBJECT means whatever has all that it has.
//!
//! A new case is a file; nothing here needs to be touched.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use multihome_core::diff::diff;
use multihome_core::doctor::{Diagnosis, Fact, Severity, examine};
use multihome_core::{Config, Memory, Snapshot, plan};
use serde_json::{Map, Value};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doctor")
}

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The host of a case, looked at.
fn diagnosis(case: &Path) -> Diagnosis {
    let mut difference = json(case);
    let snapshot = if difference.get("version").is_some() {
        difference
    } else {
        let base = difference.as_object_mut().and_then(|d| d.remove("base"));
        let base = base.as_ref().and_then(Value::as_str).unwrap_or("healthy.json");
        let mut snapshot = json(&root().join(base));
        apply(&mut snapshot, &difference);
        snapshot
    };
    let snapshot: Snapshot =
        serde_json::from_value(snapshot).unwrap_or_else(|e| panic!("{}: {e}", case.display()));
    let config = fs::read_to_string(case.with_extension("toml")).unwrap_or_default();
    let config = Config::parse([("config.toml", config.as_str())]).expect("a configuration");
    let plan = plan::make(&snapshot, &config, &Memory::default());
    examine(&snapshot, &config, &plan, &diff(&snapshot, &plan))
}

fn apply(value: &mut Value, difference: &Value) {
    match (value, difference) {
        (Value::Object(object), Value::Object(changes)) => {
            for (key, change) in changes {
                match (change, object.get_mut(key)) {
                    (Value::Null, _) => drop(object.remove(key)),
                    (change, Some(value)) => apply(value, change),
                    (change, None) => drop(object.insert(key.clone(), change.clone())),
                }
            }
        }
        (Value::Array(list), Value::Array(more)) => list.extend(more.iter().cloned()),
        (Value::Array(list), Value::Object(changes)) => change(list, changes),
        (value, other) => *value = other.clone(),
    }
}

fn change(list: &mut Vec<Value>, changes: &Map<String, Value>) {
    let of = |key: &str| changes.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let known = ["set", "remove", "change", "add"];
    assert!(changes.keys().all(|k| known.contains(&k.as_str())), "{changes:?}");
    if changes.contains_key("set") {
        *list = of("set");
    }
    for object in of("remove") {
        let before = list.len();
        list.retain(|v| !has_all(v, &object));
        assert!(list.len() < before, "nothing is {object}");
    }
    for pair in of("change") {
        let mut changed = 0;
        for value in list.iter_mut().filter(|v| has_all(v, &pair[0])) {
            apply_fields(value, &pair[1]);
            changed += 1;
        }
        assert!(changed > 0, "nothing is {}", pair[0]);
    }
    list.extend(of("add"));
}

/// Fields of one object are put in place of what was there, lists included.
fn apply_fields(value: &mut Value, fields: &Value) {
    let object = value.as_object_mut().expect("an object");
    for (key, field) in fields.as_object().expect("an object") {
        match field {
            Value::Null => drop(object.remove(key)),
            field => drop(object.insert(key.clone(), field.clone())),
        }
    }
}

fn has_all(value: &Value, object: &Value) -> bool {
    let object = object.as_object().expect("an object");
    object.iter().all(|(key, wanted)| value.get(key) == Some(wanted))
}

fn cases(directory: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let paths = entries.map(|e| e.expect("an entry").path());
    let mut cases: Vec<PathBuf> =
        paths.filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
    cases.sort();
    cases
}

fn name(path: &Path) -> &str {
    path.file_stem().and_then(|n| n.to_str()).expect("a name")
}

fn checks() -> Vec<&'static str> {
    let healthy = diagnosis(&root().join("healthy.json"));
    assert_eq!(healthy.unknown, [], "healthy.json lacks something");
    healthy.looked_at
}

#[test]
fn each_finding_fires_and_is_silent() {
    let mut wrong = Vec::new();
    for id in checks() {
        let mut kinds = BTreeSet::new();
        for case in cases(&root().join(id)) {
            let found = diagnosis(&case);
            let of_it = found.findings.iter().filter(|f| f.id() == id);
            let severity = of_it.clone().map(Fact::severity).min();
            let is_known = found.looked_at.contains(&id);
            let (kind, is_right) = match name(&case) {
                n if n.starts_with("fires-error") => ("fires", severity == Some(Severity::Error)),
                n if n.starts_with("fires-warning") => {
                    ("fires", severity == Some(Severity::Warning))
                }
                n if n.starts_with("fires-note") => ("fires", severity == Some(Severity::Note)),
                n if n.starts_with("silent") => ("silent", is_known && severity.is_none()),
                n if n.starts_with("unknown") => ("unknown", !is_known),
                _ => ("", false),
            };
            kinds.insert(kind);
            let facts = format!("{:?}", of_it.collect::<Vec<_>>());
            let wanted = fs::read_to_string(case.with_extension("fact")).unwrap_or_default();
            if !is_right || !wanted.lines().all(|line| facts.contains(line)) {
                wrong.push(format!("{id}/{}: {found:#?}", name(&case)));
            }
        }
        assert!(kinds.contains("fires") && kinds.contains("silent"), "{id} has only {kinds:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_directory_is_of_a_check() {
    let checks = checks();
    for entry in fs::read_dir(root()).expect("the directory") {
        let path = entry.expect("an entry").path();
        let is_known = checks.contains(&name(&path)) || name(&path) == "healthy-hosts";
        assert!(path.is_file() || is_known, "{} is no check", path.display());
    }
}

#[test]
fn healthy_hosts_are_healthy() {
    let cases = cases(&root().join("healthy-hosts"));
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples");
    let examples = ["cloud-managed.json"].map(|n| examples.join(n));
    assert!(cases.len() > 5);
    for case in cases.iter().chain(&examples) {
        let found = diagnosis(case);
        assert!(
            found.worst() > Some(Severity::Warning) || found.findings.is_empty(),
            "{}: {found:#?}",
            case.display()
        );
    }
}

/// A snapshot of which nothing but the objects is known alarms nobody, and is not called healthy.
#[test]
fn what_is_not_known_is_neither_healthy_nor_an_alarm() {
    let mut snapshot: Snapshot =
        serde_json::from_value(json(&root().join("healthy.json"))).expect("a snapshot");
    snapshot.sysctls = multihome_core::model::Sysctls::default();
    snapshot.neighbours.clear();
    snapshot.host = None;
    let plan = plan::make(&snapshot, &Config::default(), &Memory::default());
    let found = examine(&snapshot, &Config::default(), &plan, &diff(&snapshot, &plan));
    assert_eq!(found.findings, []);
    let unknown: BTreeSet<&str> = found.unknown.iter().map(|(id, _)| *id).collect();
    for id in ["rp-filter", "gateway-silent", "same-prefix", "wildcard-udp"] {
        assert!(unknown.contains(id), "{id}");
    }
    assert_eq!(found.looked_at.len() + found.unknown.len(), checks().len());
}
