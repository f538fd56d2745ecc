//! Files of other systems, below a root: found to be read, and put in their places.
//!
//! What stands in them is the administrator's own, and is shown or written back to whoever runs the
//! command: so they are read with the rights of that user, and nothing is concluded from their
//! owners.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use multihome_formats::{Place, Tree};

/// No file of a network's configuration is longer.
const MAX_SIZE: u64 = 1 << 20;
/// Nor are there more in a directory.
const MAX_FILES: usize = 4096;

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Files by their path below the root.
    pub tree: Tree,
    /// Those that could not be read, and why.
    pub unread: Vec<(PathBuf, io::Error)>,
}

/// Reads the files at these places below `root`; a place that is not there has none.
pub fn read(root: &Path, places: &[Place]) -> Found {
    let mut found = Found::default();
    let directories =
        places.iter().flat_map(|p| directories(root, p.directory).map(move |d| (p, d)));
    for (place, named) in directories {
        let directory = below(root, &named);
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => {
                found.unread.push((directory, e));
                continue;
            }
        };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
        names.retain(|n| n.starts_with(place.prefix) && n.ends_with(place.suffix));
        names.sort();
        for name in names.into_iter().take(MAX_FILES) {
            let path = directory.join(&name);
            match read_text(&path) {
                Ok(None) => {}
                Ok(Some(text)) => {
                    found.tree.insert(format!("{named}/{name}"), text);
                }
                Err(e) => found.unread.push((path, e)),
            }
        }
    }
    found
}

/// The directories that are meant: itself, or those that end so where its last part begins with `*`.
fn directories(root: &Path, named: &str) -> impl Iterator<Item = String> + use<> {
    let Some((parent, ending)) = named.split_once("/*") else {
        return vec![named.to_owned()].into_iter();
    };
    let entries = fs::read_dir(below(root, parent)).into_iter().flatten().flatten();
    let names = entries.filter_map(|e| e.file_name().into_string().ok());
    let mut all: Vec<String> = names.filter(|n| n.ends_with(ending)).take(MAX_FILES).collect();
    all.sort();
    all.iter_mut().for_each(|name| *name = format!("{parent}/{name}"));
    all.into_iter()
}

/// A file's text; none for what is no file, and for one that is not there any more.
pub fn read_text(path: &Path) -> io::Result<Option<String>> {
    match fs::metadata(path) {
        // `mask` of systemd: a link to /dev/null is a file without anything in it.
        Ok(meta) if is_null(path, &meta) => return Ok(Some(String::new())),
        Ok(meta) if !meta.is_file() => return Ok(None),
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    }
    let mut bytes = Vec::new();
    let read = File::open(path)?.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    if read as u64 > MAX_SIZE {
        return Err(io::Error::other("more than a mebibyte is no configuration of a network"));
    }
    String::from_utf8(bytes).map(Some).map_err(|e| {
        let valid = e.utf8_error().valid_up_to();
        io::Error::other(format!("not UTF-8 from byte {valid} on"))
    })
}

fn is_null(path: &Path, meta: &fs::Metadata) -> bool {
    !meta.is_file() && fs::canonicalize(path).is_ok_and(|p| p == Path::new("/dev/null"))
}

/// Where a path of a system lies below a root.
pub fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Puts a file in its place: all of it, or what was there before stays. Directories are made where
/// they are missing.
pub fn put(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Nobody reads a name that begins so: systemd, NetworkManager, ifupdown and netplan all ask for
    // an ending or pass over hidden files.
    let temporary = directory.join(format!(".{name}.multihome-{}", std::process::id()));
    let write = || -> io::Result<()> {
        let mut options = File::options();
        // What is secret in it (keyfiles) is for nobody else to read, not even for a moment.
        let mut file = options.write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&temporary); // it may never have been there
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_put_with_its_mode_and_directories() {
        let root = std::env::temp_dir().join(format!("multihome-files-{}", std::process::id()));
        let path = below(&root, "/etc/a/b.conf");
        put(&path, b"one\n", 0o600).unwrap();
        put(&path, b"two\n", 0o640).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let place = Place { directory: "/etc/a", prefix: "b", suffix: ".conf" };
        let found = read(&root, &[place]);
        assert_eq!(found.tree.get("/etc/a/b.conf").unwrap(), "two\n");
        fs::remove_dir_all(&root).unwrap();
    }
}
