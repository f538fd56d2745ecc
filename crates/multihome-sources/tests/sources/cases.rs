//! Files of real programs, and what becomes of them: one directory each below `tests/cases`.
//!
//! `root/` is the file system, `now` the time at which it is read, `modified` says of files when
//! they were written (`SECONDS PATH`; of others it is `now`). Expected is `hints.json`;
//! `UPDATE_GOLDEN=1` writes what came out instead.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::root::Root;

#[test]
fn every_case_comes_out_as_it_is_written_down() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut wrong = String::new();
    for case in sorted(&cases) {
        let got = hints(&case);
        let path = case.join("hints.json");
        let want = fs::read_to_string(&path).unwrap_or_default();
        if got != want && std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, got).expect("writing what came out");
        } else if got != want {
            let _ = write!(wrong, "\n{}: is now\n{got}", path.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}\n(UPDATE_GOLDEN=1 writes the new ones)");
}

fn hints(case: &Path) -> String {
    let read = |name: &str| fs::read_to_string(case.join(name));
    let now: u64 = read("now").expect("now").trim().parse().expect("seconds");
    let root = Root::new();
    copy(&root, &case.join("root"), "", now);
    for line in read("modified").unwrap_or_default().lines() {
        let (seconds, path) = line.split_once(' ').expect("SECONDS PATH");
        root.touch(path, seconds.parse().expect("seconds"));
    }
    let hints = root.read(now);
    // They stand in a snapshot, and come out of it as they went in.
    let text = serde_json::to_string_pretty(&hints).expect("JSON");
    assert_eq!(serde_json::from_str::<multihome_core::model::Hints>(&text).expect("JSON"), hints);
    text + "\n"
}

/// Copies files with the modes that they have on a host, whatever the umask was at the checkout.
fn copy(root: &Root, from: &Path, to: &str, now: u64) {
    for entry in sorted(from) {
        let name = entry.file_name().expect("a name").to_str().expect("text");
        let path = if to.is_empty() { name.to_owned() } else { format!("{to}/{name}") };
        if entry.is_dir() {
            root.mkdir(&path);
            copy(root, &entry, &path, now);
        } else {
            root.write(&path, fs::read(&entry).expect("a file"));
            root.touch(&path, now);
        }
    }
}

fn sorted(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    paths.sort();
    paths
}
