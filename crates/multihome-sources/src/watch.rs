//! Says when one of the files changed (inotify(7)).
//!
//! The directories are watched, not the files: most programs rename a new file over the old one.
//! What is written in place (dhclient keeps its file open) is seen by IN_MODIFY. Nothing that
//! reading does is asked for, so that we do not wake ourselves.
//!
//! A directory that is not there yet is waited for in the last one above it that is, and in it
//! for one name only: `/run` and `/var/lib` are busy. One that goes, or is moved with any of
//! those above it, says so itself. After whatever happened the directories are looked up anew.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::Errno;

use crate::places::{Format, Place, Places};

/// What is asked for of a directory itself, on the way or at its end.
const SELF: WatchFlags = WatchFlags::DELETE_SELF.union(WatchFlags::MOVE_SELF);
/// What is asked for where the next directory of a path is missing.
const COMES: WatchFlags = WatchFlags::CREATE.union(WatchFlags::MOVED_TO);
/// What is asked for where the files are. IN_ATTRIB: whom they belong to decides, too.
const FILES: WatchFlags = COMES
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE);

/// How often directories may come and go while they are looked up.
const ROUNDS: usize = 16;
/// Events that are taken at a time: whoever makes more of them must not keep us here.
const MAX_EVENTS: usize = 4096;

/// Watches the files that [`crate::read`] reads. Poll it for reading, then [`Watch::drain`] it.
#[derive(Debug)]
pub struct Watch {
    fd: OwnedFd,
    root: PathBuf,
    places: Vec<Place>,
    watched: BTreeMap<i32, Wanted>,
}

/// What is wanted of one directory.
#[derive(Debug, Clone, Default)]
struct Wanted {
    /// What the files in it are.
    formats: Vec<Format>,
    /// The directories that are missing in it.
    missing: BTreeSet<OsString>,
}

impl Watch {
    /// Begins to watch. What changes from now on is told: read the files afterwards.
    pub fn open(places: &Places) -> io::Result<Watch> {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let mut watch = Watch {
            fd,
            root: places.root().to_owned(),
            places: places.all().into_iter().filter(|p| p.format.changes()).collect(),
            watched: BTreeMap::new(),
        };
        watch.arm()?;
        Ok(watch)
    }

    /// Takes what has happened. True when the files are to be read again.
    pub fn drain(&mut self) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.fd, &mut buffer);
        let mut changed = false;
        for _ in 0..MAX_EVENTS {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    changed |= matters(&self.watched, event.wd(), event.events(), name);
                }
                Err(Errno::WOULDBLOCK) => break,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        if changed {
            self.arm()?;
        }
        Ok(changed)
    }

    /// Looks up the directories and asks for their events, of those that are there now.
    fn arm(&mut self) -> io::Result<()> {
        for _ in 0..ROUNDS {
            let wanted = self.look_up();
            let mut watched: BTreeMap<i32, Wanted> = BTreeMap::new();
            let mut has_changed = false;
            for (path, wanted) in &wanted {
                match inotify::add_watch(&self.fd, path, mask(wanted)) {
                    Ok(wd) => {
                        let all = watched.entry(wd).or_default();
                        let is_known = !all.formats.is_empty() || !all.missing.is_empty();
                        all.formats.extend(&wanted.formats);
                        all.missing.extend(wanted.missing.iter().cloned());
                        // Two paths to one directory: the last mask is the one that counts.
                        if is_known {
                            inotify::add_watch(&self.fd, path, mask(all))?;
                        }
                    }
                    Err(Errno::NOENT | Errno::NOTDIR) => has_changed = true,
                    // It cannot be read either, which is said then.
                    Err(Errno::ACCESS) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            let before = std::mem::replace(&mut self.watched, watched);
            for wd in before.keys().filter(|wd| !self.watched.contains_key(wd)) {
                // Of one that has gone the kernel has forgotten it already.
                let _ = inotify::remove_watch(&self.fd, *wd);
            }
            // What came before it was watched for makes no event.
            let came = |(path, wanted): (&PathBuf, &Wanted)| {
                wanted.missing.iter().any(|name| path.join(name).is_dir())
            };
            if !has_changed && !wanted.iter().any(came) {
                return Ok(());
            }
        }
        log::debug!("directories of leases come and go: they are looked up again later");
        Ok(())
    }

    /// The directories to watch: those with files, those on the way, those to wait in.
    fn look_up(&self) -> BTreeMap<PathBuf, Wanted> {
        let mut wanted: BTreeMap<PathBuf, Wanted> = BTreeMap::new();
        for place in &self.places {
            let (path, missing) = deepest(&self.root, &place.dir, &mut wanted);
            let last = wanted.entry(path).or_default();
            match missing {
                Some(name) => {
                    last.missing.insert(name);
                }
                None => last.formats.push(place.format),
            }
        }
        wanted
    }
}

/// The deepest directory on the way to `dir` that is there, and the name that is missing in it.
/// All on the way are wanted.
fn deepest(
    root: &Path,
    dir: &Path,
    wanted: &mut BTreeMap<PathBuf, Wanted>,
) -> (PathBuf, Option<OsString>) {
    let mut path = root.to_owned();
    for name in dir {
        let next = path.join(name);
        if !next.is_dir() {
            return (path, Some(name.to_owned()));
        }
        // The root does not go.
        if path != root {
            wanted.entry(path).or_default();
        }
        path = next;
    }
    (path, None)
}

fn mask(wanted: &Wanted) -> WatchFlags {
    let mut mask = SELF | WatchFlags::ONLYDIR;
    if !wanted.formats.is_empty() {
        mask |= FILES;
    }
    if !wanted.missing.is_empty() {
        mask |= COMES;
    }
    mask
}

/// Whether an event is one after which the files must be read.
fn matters(
    watched: &BTreeMap<i32, Wanted>,
    wd: i32,
    events: ReadFlags,
    name: Option<&OsStr>,
) -> bool {
    if events.contains(ReadFlags::QUEUE_OVERFLOW) {
        return true;
    }
    // Of one that is not watched any more something may still be in the queue.
    let Some(wanted) = watched.get(&wd) else { return false };
    match name {
        // Something about the directory itself.
        None => true,
        Some(name) => {
            let is_file =
                || name.to_str().is_some_and(|name| wanted.formats.iter().any(|f| f.wants(name)));
            wanted.missing.contains(name) || is_file()
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
