//! Files of other systems: whatever stands in them, they are read or refused with a line that is
//! there, and what is read makes a configuration that reads back.
//!
//! An input is the name of a format, and files: each behind a line `=== /its/path`.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use multihome_core::{Config, Snapshot, import};
use multihome_formats::{Format, Known, Tree, declared_by};

/// A host with two cards.
static HOST: LazyLock<(Snapshot, Known)> = LazyLock::new(|| {
    let text = include_str!("../../crates/multihome-core/tests/cases/second-seed/snapshot.json");
    let snapshot: Snapshot = serde_json::from_str(text).expect("a snapshot");
    let known = Known::of(&snapshot);
    (snapshot, known)
});

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let Some(format) = Format::ALL.into_iter().find(|f| f.name() == first) else { return };
    let mut tree = Tree::new();
    let mut path = "/file".to_owned();
    for line in rest.split_inclusive('\n') {
        match line.trim_end().strip_prefix("=== ") {
            Some(next) => path = next.to_owned(),
            None => tree.entry(path.clone()).or_default().push_str(line),
        }
    }
    let (snapshot, known) = &*HOST;
    match multihome_formats::import(format, &tree, known) {
        Ok(statements) => {
            for statement in &statements {
                assert!(tree.contains_key(&statement.at.path), "{:?}", statement.at);
            }
            let declared = declared_by(&statements);
            let config = import::of(snapshot, &declared).config.to_toml();
            let read = Config::parse([("config.toml", config.as_str())]);
            assert_eq!(read.expect("what is written").to_toml(), config);
        }
        Err(problem) => {
            let lines = tree.get(&problem.at.path).map(|t| t.lines().count().max(1));
            assert!(lines.is_some_and(|n| (1..=n).contains(&problem.at.line)), "{problem:?}");
        }
    }
});
