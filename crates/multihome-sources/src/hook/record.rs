//! What hooks were told, in files: `<run_dir>/hints/<source>.<family>.<interface>.json`.
//!
//! A file is written under another name and renamed, so that a reader sees all of it or what
//! was there before. The directory may belong to the daemon's user while the hook is root: so it is
//! opened as [`crate::files`] opens what it reads, and no link of that user leads root elsewhere.

use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process;

use multihome_core::model::Hint;
use multihome_core::model::hint::{HintedLink, Refused};
use rustix::fs::{AtFlags, Mode, OFlags, fchmod, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::{Key, Note, Told};
use crate::files::Directory;
use crate::former;
use crate::interface::index_of;
use crate::places::Places;
use crate::records::Record;

/// Readable for everybody: `multihome status` is for ordinary users, too.
const FILE: Mode = Mode::from_raw_mode(0o644);
const DIRECTORY: Mode = Mode::from_raw_mode(0o755);

/// Writes it down, in files of `<run_dir>/hints`: whole or not at all.
pub fn record(places: &Places, told: &Told) -> io::Result<()> {
    if told.notes.is_empty() {
        return Ok(());
    }
    let is_to_keep = told.notes.iter().any(|note| matches!(note, Note::Keep(..)));
    let Some(directory) = directory(places, is_to_keep)? else { return Ok(()) };
    for note in &told.notes {
        match note {
            Note::Keep(key, hints) => keep(&directory, key, hints)?,
            Note::Drop(key) => unlink(&directory, &key.file_name())?,
        }
    }
    Ok(())
}

/// The directory, made if there is something to keep.
fn directory(places: &Places, make: bool) -> io::Result<Option<Directory>> {
    let path = places.records();
    let parent = path.parent().unwrap_or(Path::new(""));
    if make {
        // Not for the group, even where the umask would let it: nothing in it would be believed.
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o755).create(places.root().join(parent))?;
    }
    let Some(parent) = believed(places, parent)? else { return absent(make) };
    if make {
        match mkdirat(parent.fd(), "hints", DIRECTORY) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
    }
    let Some(directory) = believed(places, &path)? else { return absent(make) };
    if make {
        // Whatever the umask was.
        match fchmod(directory.fd(), DIRECTORY) {
            // It is somebody else's, who knows what for.
            Ok(()) | Err(Errno::PERM) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(Some(directory))
}

/// Where nothing is, nothing is to be struck out.
fn absent(make: bool) -> io::Result<Option<Directory>> {
    if make { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(None) }
}

fn believed(places: &Places, path: &Path) -> io::Result<Option<Directory>> {
    // The caller names the directory of the records, so only another is named here.
    let told = |Refused { file, reason, remedy }: &Refused| {
        let is_named = Path::new(file).strip_prefix("/").is_ok_and(|f| f == places.records());
        let which = if is_named { String::new() } else { format!("{file}: ") };
        io::Error::other(format!("{which}{reason} ({remedy})"))
    };
    let Some(directory) = Directory::open(places.root(), path).map_err(|e| told(&e))? else {
        return Ok(None);
    };
    match directory.distrust() {
        Some(e) => Err(told(e)),
        None => Ok(Some(directory)),
    }
}

fn keep(directory: &Directory, key: &Key, hints: &[Hint]) -> io::Result<()> {
    let name = key.file_name();
    let before = before(directory, &name);
    let hints = hints.iter().map(|hint| {
        let mut hint = Hint { file: directory.shown(&name), ..hint.clone() };
        let mut seen = before.clone();
        former::add(&mut seen, &hint.former);
        hint.former = former::without(&seen, &hint.gateways);
        // An address would tell whether it still holds. Without one the interface must.
        if let (None, HintedLink::Name(name)) = (hint.address, &hint.link)
            && let Ok(Some(index)) = index_of(name)
        {
            hint.link = HintedLink::Index(index);
        }
        hint
    });
    let record = Record { hints: hints.collect() };
    let mut text = serde_json::to_vec_pretty(&record).map_err(io::Error::other)?;
    text.push(b'\n');
    let temporary = format!(".{name}.{}", process::id());
    let written = write(directory, &temporary, &text)
        .and_then(|()| Ok(renameat(directory.fd(), &temporary, directory.fd(), &name)?));
    if written.is_err() {
        let _ = unlink(directory, &temporary);
    }
    written
}

/// The gateways that an earlier call wrote down, former ones too: what cannot be read is not
/// needed.
fn before(directory: &Directory, name: &str) -> Vec<std::net::IpAddr> {
    let mut seen = Vec::new();
    if let Ok(Some(content)) = directory.read(name)
        && let Ok(record) = serde_json::from_slice::<Record>(&content.bytes)
    {
        for hint in &record.hints {
            former::add(&mut seen, &hint.former);
        }
        for hint in &record.hints {
            former::add(&mut seen, &hint.gateways);
        }
    }
    seen
}

fn write(directory: &Directory, name: &str, text: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || openat(directory.fd(), name, flags, FILE);
    let fd = match open() {
        // Left over by one that had our number and was killed.
        Err(Errno::EXIST) => {
            unlink(directory, name)?;
            open()?
        }
        opened => opened?,
    };
    fchmod(&fd, FILE)?;
    File::from(fd).write_all(text)
}

fn unlink(directory: &Directory, name: &str) -> io::Result<()> {
    match unlinkat(directory.fd(), name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
