//! Names of routing tables: iproute2's `rt_tables`.
//!
//! Read where iproute2 reads them: `/etc/iproute2`, and below it what the distribution
//! ships. Names that our configuration made up go to a file of our own in
//! `rt_tables.d`, so that `ip route show table data` works.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::own_files::{self, Directory};

/// Where iproute2 looks; what stands in a later one wins.
const PLACES: [&str; 3] = ["/usr/lib/iproute2", "/usr/share/iproute2", "/etc/iproute2"];
const DIRECTORY: &str = "/etc/iproute2/rt_tables.d";
const NAME: &str = "multihome.conf";
const OURS: &str = "/etc/iproute2/rt_tables.d/multihome.conf";

/// No such file comes near it.
const MAX_SIZE: u64 = 1 << 20;

/// The names in force, by number.
pub fn read() -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    for place in PLACES {
        let place = Path::new(place);
        read_file(&place.join("rt_tables"), OFlags::empty(), &mut names);
        let mut drop_ins: Vec<PathBuf> = fs::read_dir(place.join("rt_tables.d"))
            .map(|entries| entries.flatten().map(|e| e.path()).collect())
            .unwrap_or_default();
        drop_ins.retain(|p| p.extension().is_some_and(|e| e == "conf"));
        drop_ins.sort();
        drop_ins.iter().for_each(|p| read_file(p, OFlags::empty(), &mut names));
    }
    names
}

/// Names are for reading: a file that cannot be read leaves numbers.
fn read_file(path: &Path, flags: OFlags, names: &mut BTreeMap<u32, String>) {
    let mut text = String::new();
    let read = own_files::open_file(path, flags)
        .and_then(|file| file.take(MAX_SIZE).read_to_string(&mut text));
    match read {
        Ok(_) => parse(&text, names),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => log::debug!("{}: {e}", path.display()),
    }
}

/// As iproute2 reads it (`rtnl_tab_initialize`): a number, decimal or with 0x, and a word.
fn parse(text: &str, names: &mut BTreeMap<u32, String>) {
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or("");
        let mut words = line.split_whitespace();
        let (Some(number), Some(name)) = (words.next(), words.next()) else { continue };
        let number = match number.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        // The kernel's own tables have their names without a file.
        if let Ok(number) = number
            && !matches!(number, 0 | 253..=255)
        {
            names.insert(number, name.to_owned());
        }
    }
}

/// Adds names to our own file.
pub fn add(new: &BTreeMap<u32, String>) -> io::Result<()> {
    let mut names = own();
    names.extend(new.iter().map(|(n, name)| (*n, name.clone())));
    write(&names)
}

/// Removes the names of these tables from our own file, and the file with the last of them.
/// Other network namespaces share the file, so the rest is not ours to judge.
pub fn remove(tables: &BTreeSet<u32>) -> io::Result<()> {
    let mut names = own();
    let count = names.len();
    names.retain(|n, _| !tables.contains(n));
    match (names.len(), count) {
        (left, before) if left == before => Ok(()),
        (0, _) => fs::remove_file(OURS),
        _ => write(&names),
    }
}

/// What is read here is written again for everybody to read, so no link is followed. Who wrote it
/// does not matter: root and the service's user both do, and the names lead nobody anywhere.
fn own() -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    read_file(Path::new(OURS), OFlags::NOFOLLOW, &mut names);
    names
}

fn write(names: &BTreeMap<u32, String>) -> io::Result<()> {
    let mut text =
        String::from("# Names of multihome's routing tables; `multihome down` removes them.\n");
    for (number, name) in names {
        let _ = writeln!(text, "{number}\t{name}");
    }
    let directory = Directory::make(Path::new(DIRECTORY))?;
    directory.write(NAME, text.as_bytes()).map_err(|e| io::Error::other(e.reason))
}

/// The path of our own file, for messages.
pub fn own_file() -> &'static str {
    OURS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_as_iproute2_reads_them() {
        let mut names = BTreeMap::new();
        parse("# c\n255\tlocal\n1 mgt\n 0x2  data # x\nnonsense\n7\n", &mut names);
        assert_eq!(names, BTreeMap::from([(1, "mgt".into()), (2, "data".into())]));
    }
}
