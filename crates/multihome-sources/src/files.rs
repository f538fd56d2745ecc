//! Reads files that others wrote, with suspicion.
//!
//! Whoever can write such a file decides where answers go, so a file is believed only as far as
//! its writer is trusted, by the rule of sshd's StrictModes. No directory on the way may be
//! writable for others than its owner (but for one like `/tmp`, by way of what is root's or ours
//! in it). The file belongs to root, to us, or to the owner of its directory (networkd's are
//! `systemd-network`'s), and nobody else may write it. By that rule each directory is where the
//! owner of the one above it put it, up to root's own.
//!
//! A file that is a symbolic link is never followed: no program here makes any. A directory
//! that is one is followed when it is root's or ours, as `/var/run` or a `/var/lib` that was
//! moved to another disk: whoever made it could have put the directory there. What it leads
//! through is judged as any other directory on the way, and must be root's or ours, too: nobody
//! else was meant to say what is there.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use multihome_core::model::hint::Refused;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, open, openat, readlinkat, statat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

/// No file here comes near it.
const MAX_SIZE: u64 = 1 << 20;
/// Names that are looked at in one directory, and files that are read of them.
const MAX_NAMES: usize = 16_384;
const MAX_FILES: usize = 512;
/// Symbolic links on one way, as the kernel has it.
const MAX_LINKS: usize = 40;

/// A directory.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    owner: u32,
    shown: PathBuf,
    distrust: Option<Refused>,
}

/// A file that is believed.
#[derive(Debug)]
pub(crate) struct Content {
    /// What stands in it.
    pub(crate) bytes: Vec<u8>,
    /// When it was written, in seconds since 1970.
    pub(crate) modified: u64,
}

// ===== impl Directory =====

impl Directory {
    /// Opens a directory below `root`; none when it is not there, or not ours to look into.
    pub(crate) fn open(root: &Path, path: &Path) -> Result<Option<Directory>, Refused> {
        let top = match open(root, OPEN, Mode::empty()) {
            Ok(fd) => Step::of(fd, PathBuf::from("/"))?,
            Err(e) => return absent_directory(e, Path::new("/")),
        };
        let mut way = Way { top, below: Vec::new(), to_go: Vec::new(), distrust: None };
        way.go(path, false, false);
        let mut links = 0;
        while let Some(next) = way.to_go.pop() {
            match way.step(&next) {
                Ok(None) => {}
                Ok(Some(_)) if links == MAX_LINKS => return Ok(None),
                Ok(Some(target)) => {
                    links += 1;
                    way.go(&target, true, next.is_through);
                }
                Err(Stop::Absent(e, at)) => return absent_directory(e, &at),
                Err(Stop::Refused(e)) => return Err(e),
            }
        }
        let Way { top, mut below, distrust, .. } = way;
        let Step { fd, stat, at } = below.pop().unwrap_or(top);
        let distrust = distrust.or_else(|| self::distrust(&stat, &at));
        let shown = Path::new("/").join(path);
        Ok(Some(Directory { fd, owner: stat.st_uid, shown, distrust }))
    }

    /// Why nothing in it is believed, if so. A directory that holds nothing for us need not be.
    pub(crate) fn distrust(&self) -> Option<&Refused> {
        self.distrust.as_ref()
    }

    /// Where a file of it is, for people.
    pub(crate) fn shown(&self, name: &str) -> String {
        self.shown.join(name).display().to_string()
    }

    /// For what else has to be done in it.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The names of files that `wanted` wants, ordered. Beside them stands what is wrong when
    /// there are more than anybody has.
    pub(crate) fn names(&self, wanted: impl Fn(&str) -> bool) -> (Vec<String>, Option<Refused>) {
        let mut names = Vec::new();
        let mut entries = match Dir::read_from(&self.fd) {
            Ok(entries) => entries,
            Err(e) => return (names, Some(not_read(&self.shown, e))),
        };
        let mut seen = 0;
        while let Some(entry) = entries.read() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) => return (names, Some(not_read(&self.shown, e))),
            };
            seen += 1;
            if seen > MAX_NAMES || names.len() == MAX_FILES {
                let reason = match names.len() {
                    MAX_FILES => format!("more than {MAX_FILES} files: not all of them are read"),
                    _ => format!("more than {MAX_NAMES} names: not all of them are looked at"),
                };
                names.sort();
                return (names, Some(refused(&self.shown, reason, "remove what is left over")));
            }
            // A name that is no text, or that a terminal obeys, is nobody's here.
            if let Ok(name) = entry.file_name().to_str()
                && !name.contains(char::is_control)
                && wanted(name)
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        (names, None)
    }

    /// Reads a file; none when it is gone.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Content>, Refused> {
        let shown = self.shown.join(name);
        // What is no file is not even opened: that alone may do things to a device.
        match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => believe_file(&stat, self.owner, &shown)?,
            Err(e) => return absent(e, &shown),
        }
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(e) => return absent(e, &shown),
        };
        // It may be another one by now.
        let stat = fstat(&fd).map_err(|e| not_read(&shown, e))?;
        believe_file(&stat, self.owner, &shown)?;
        let mut bytes = Vec::new();
        let read = File::from(fd).take(MAX_SIZE + 1).read_to_end(&mut bytes);
        let read = read.map_err(|e| read_failed(&shown, &e))?;
        if read as u64 > MAX_SIZE {
            return Err(too_big(&shown));
        }
        let modified = u64::try_from(stat.st_mtime).unwrap_or(0);
        Ok(Some(Content { bytes, modified }))
    }
}

// ===== impl Way =====

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The way to a directory, one name after the other: what a symbolic link leads through must be
/// seen, too. No step of it is a link.
#[derive(Debug)]
struct Way {
    top: Step,
    below: Vec<Step>,
    /// The names that are left, the next one last.
    to_go: Vec<Name>,
    distrust: Option<Refused>,
}

/// A directory on the way.
#[derive(Debug)]
struct Step {
    fd: OwnedFd,
    stat: Stat,
    at: PathBuf,
}

#[derive(Debug)]
struct Name {
    name: OsString,
    /// Whether a link leads through it, and not to it.
    is_through: bool,
}

/// Why it does not go on.
#[derive(Debug)]
enum Stop {
    Absent(Errno, PathBuf),
    Refused(Refused),
}

impl Way {
    /// Goes on by a path; whether a link leads through its directories, and through the last.
    fn go(&mut self, path: &Path, is_through: bool, is_through_last: bool) {
        if path.is_absolute() {
            self.below.clear();
        }
        let names = path.components().filter_map(|component| match component {
            Component::Normal(name) => Some(name),
            Component::ParentDir => Some(OsStr::new("..")),
            _ => None,
        });
        for (n, name) in names.rev().enumerate() {
            let is_through = if n == 0 { is_through_last } else { is_through };
            self.to_go.push(Name { name: name.to_owned(), is_through });
        }
    }

    /// Takes a name. What a symbolic link holds is handed back.
    fn step(&mut self, Name { name, is_through }: &Name) -> Result<Option<PathBuf>, Stop> {
        if name == ".." {
            self.below.pop();
            return Ok(None);
        }
        let above = self.below.last().unwrap_or(&self.top);
        let at = above.at.join(name);
        let absent = |e| Stop::Absent(e, at.clone());
        let meta = statat(&above.fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(absent)?;
        let is_link = FileType::from_raw_mode(meta.st_mode) == FileType::Symlink;
        let below = if is_link {
            None
        } else {
            // What is no directory is none of what we look for.
            let flags = OPEN | OFlags::NOFOLLOW;
            let fd = openat(&above.fd, name, flags, Mode::empty()).map_err(absent)?;
            Some(Step::of(fd, at.clone()).map_err(Stop::Refused)?)
        };
        let owner = below.as_ref().map_or(meta.st_uid, |step| step.stat.st_uid);
        // In one like /tmp nobody else can put another in its place.
        let stays = above.stat.st_mode & 0o1000 != 0 && is_ours_or_roots(owner);
        if self.distrust.is_none() && !stays {
            self.distrust = distrust(&above.stat, &above.at);
        }
        let Some(below) = below else {
            if !is_ours_or_roots(owner) {
                let whose = format!("a symbolic link of user {owner}");
                return Err(Stop::Refused(refused(&at, whose, "make it root's, or a directory")));
            }
            let target = readlinkat(&above.fd, name, Vec::new()).map_err(absent)?;
            return Ok(Some(PathBuf::from(OsStr::from_bytes(target.to_bytes()))));
        };
        if self.distrust.is_none() && *is_through && !is_ours_or_roots(owner) {
            let whose = format!("a symbolic link leads through what is user {owner}'s");
            self.distrust = Some(refused(&at, whose, CHOWN));
        }
        self.below.push(below);
        Ok(None)
    }
}

impl Step {
    fn of(fd: OwnedFd, at: PathBuf) -> Result<Step, Refused> {
        let stat = fstat(&fd).map_err(|e| not_read(&at, e))?;
        Ok(Step { fd, stat, at })
    }
}

// ===== what is believed =====

fn distrust(stat: &Stat, shown: &Path) -> Option<Refused> {
    if stat.st_mode & 0o022 == 0 {
        return None;
    }
    let reason = format!("the directory is writable for others, mode {:04o}", mode(stat));
    Some(refused(shown, reason, CHMOD))
}

fn believe_file(stat: &Stat, owner: u32, shown: &Path) -> Result<(), Refused> {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => None,
        FileType::Symlink => Some("a symbolic link"),
        FileType::Directory => Some("a directory"),
        FileType::Fifo => Some("a FIFO"),
        FileType::Socket => Some("a socket"),
        _ => Some("a device"),
    };
    if let Some(kind) = kind {
        let reason = format!("{kind}, where a file should be");
        return Err(refused(shown, reason, REMOVE));
    }
    if !is_ours_or_roots(stat.st_uid) && stat.st_uid != owner {
        let reason =
            format!("it belongs to user {}, not to root or the directory's owner", stat.st_uid);
        return Err(refused(shown, reason, CHOWN));
    }
    if stat.st_mode & 0o022 != 0 {
        let reason = format!("it is writable for others, mode {:04o}", mode(stat));
        return Err(refused(shown, reason, CHMOD));
    }
    if u64::try_from(stat.st_size).unwrap_or(u64::MAX) > MAX_SIZE {
        return Err(too_big(shown));
    }
    Ok(())
}

fn is_ours_or_roots(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

fn mode(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}

// ===== what is said =====

// The file stands in front of it.
const CHMOD: &str = "`chmod go-w` mends it";
const CHOWN: &str = "`chown root` mends it";
const REMOVE: &str = "remove it, and restart what made it";

/// What is not there is nothing; that it cannot be seen is said.
fn absent<T>(e: Errno, shown: &Path) -> Result<Option<T>, Refused> {
    match e {
        Errno::NOENT | Errno::NOTDIR => Ok(None),
        // It has become a symbolic link since it was looked at, or is one to nowhere.
        Errno::LOOP => Ok(None),
        e => Err(not_read(shown, e)),
    }
}

/// The same of a directory. What it holds for whom may look into it is not known, so it is
/// nothing to complain about.
fn absent_directory<T>(e: Errno, shown: &Path) -> Result<Option<T>, Refused> {
    match e {
        Errno::ACCESS | Errno::PERM => {
            log::debug!("{}: {e}", shown.display());
            Ok(None)
        }
        e => absent(e, shown),
    }
}

fn not_read(shown: &Path, e: Errno) -> Refused {
    match e {
        Errno::ACCESS | Errno::PERM => {
            let user = geteuid().as_raw();
            let remedy = format!("let it: `setfacl -m u:{user}:r`");
            refused(shown, "this user may not read it", &remedy)
        }
        e => refused(shown, words(e), "see the kernel's log"),
    }
}

fn read_failed(shown: &Path, e: &std::io::Error) -> Refused {
    match Errno::from_io_error(e) {
        Some(e) => not_read(shown, e),
        None => refused(shown, e.to_string(), "see the kernel's log"),
    }
}

/// What the system calls an error, without its number.
fn words(e: Errno) -> String {
    let text = std::io::Error::from(e).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn too_big(shown: &Path) -> Refused {
    let reason = "more than a mebibyte is no lease file".to_owned();
    refused(shown, reason, REMOVE)
}

pub(crate) fn refused(
    shown: impl AsRef<OsStr>,
    reason: impl Into<String>,
    remedy: &str,
) -> Refused {
    let file = Path::new(shown.as_ref()).display().to_string();
    Refused { file, reason: reason.into(), remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_be_read_says_who_is_to_be_let() {
        let Refused { file, reason, remedy } = not_read(Path::new("/f"), Errno::ACCESS);
        assert_eq!((file.as_str(), reason.as_str()), ("/f", "this user may not read it"));
        assert_eq!(remedy, format!("let it: `setfacl -m u:{}:r`", geteuid().as_raw()));
        assert_eq!(not_read(Path::new("/f"), Errno::IO).reason, "Input/output error");
    }

    #[test]
    fn whose_files_are_believed() {
        let mut stat = rustix::fs::stat("Cargo.toml").expect("this crate's own");
        stat.st_mode = FileType::RegularFile.as_raw_mode() | 0o644;
        let mut of = |owner_of_file: u32, owner_of_directory: u32| {
            stat.st_uid = owner_of_file;
            believe_file(&stat, owner_of_directory, Path::new("/f"))
        };
        let us = geteuid().as_raw();
        let (network, other) = (us + 998, us + 1000);
        for (file, directory) in [(0, 0), (0, network), (us, 0), (network, network)] {
            assert_eq!(of(file, directory), Ok(()), "{file} in {directory}'s");
        }
        for (file, directory) in [(other, 0), (other, network), (network, 0), (network, us)] {
            let refused = of(file, directory).unwrap_err();
            assert!(refused.reason.contains(&file.to_string()), "{refused:?}");
            assert_eq!(refused.remedy, CHOWN);
        }
    }
}
