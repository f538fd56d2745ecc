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
//! moved to another disk: whoever made it could have put the directory there.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use multihome_core::model::hint::Refused;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, open, openat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

/// No file here comes near it.
const MAX_SIZE: u64 = 1 << 20;
/// Names that are looked at in one directory, and files that are read of them.
const MAX_NAMES: usize = 16_384;
const MAX_FILES: usize = 512;

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
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut shown = PathBuf::from("/");
        let mut fd = match open(root, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(e) => return absent_directory(e, &shown),
        };
        let mut stat = fstat(&fd).map_err(|e| not_read(&shown, e))?;
        let mut distrust = None;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let above = shown.clone();
            shown.push(name);
            let meta = match statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(meta) => meta,
                Err(e) => return absent_directory(e, &shown),
            };
            // In one like /tmp nobody else can put another in its place.
            let stays = stat.st_mode & 0o1000 != 0 && is_ours_or_roots(meta.st_uid);
            if !stays {
                distrust = distrust.or_else(|| self::distrust(&stat, &above));
            }
            let is_link = FileType::from_raw_mode(meta.st_mode) == FileType::Symlink;
            if is_link && !is_ours_or_roots(meta.st_uid) {
                let whose = format!("a symbolic link of user {}", meta.st_uid);
                return Err(refused(&shown, whose, "make it root's, or a directory"));
            }
            // What is no directory is none of what we look for.
            fd = match openat(&fd, name, flags, Mode::empty()) {
                Ok(fd) => fd,
                Err(e) => return absent_directory(e, &shown),
            };
            stat = fstat(&fd).map_err(|e| not_read(&shown, e))?;
        }
        let distrust = distrust.or_else(|| self::distrust(&stat, &shown));
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
            // A name that is no text is nobody's here.
            if let Ok(name) = entry.file_name().to_str()
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
        let read = read.map_err(|e| refused(&shown, e.to_string(), "see the kernel's log"))?;
        if read as u64 > MAX_SIZE {
            return Err(too_big(&shown));
        }
        let modified = u64::try_from(stat.st_mtime).unwrap_or(0);
        Ok(Some(Content { bytes, modified }))
    }
}

// ===== what is believed =====

fn distrust(stat: &Stat, shown: &Path) -> Option<Refused> {
    if stat.st_mode & 0o022 == 0 {
        return None;
    }
    let reason = format!("the directory is writable for others (mode {:04o})", mode(stat));
    let remedy =
        format!("chmod go-w {}; or name the `gateway` in the configuration", shown.display());
    Some(refused(shown, reason, &remedy))
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
        return Err(refused(shown, reason, "remove it: whose it is writes a file"));
    }
    if !is_ours_or_roots(stat.st_uid) && stat.st_uid != owner {
        let reason = format!(
            "it belongs to user {}, who is neither root nor the owner of the directory",
            stat.st_uid
        );
        return Err(refused(shown, reason, &format!("chown root {}", shown.display())));
    }
    if stat.st_mode & 0o022 != 0 {
        let reason = format!("it is writable for others (mode {:04o})", mode(stat));
        return Err(refused(shown, reason, &format!("chmod go-w {}", shown.display())));
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
    let remedy = match e {
        Errno::ACCESS | Errno::PERM => "run it as root",
        _ => "see the kernel's log",
    };
    refused(shown, std::io::Error::from(e).to_string(), remedy)
}

fn too_big(shown: &Path) -> Refused {
    let reason = "more than a mebibyte is no lease file".to_owned();
    refused(shown, reason, "remove it: whose it is writes it anew")
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
            assert_eq!(refused.remedy, "chown root /f");
        }
    }
}
