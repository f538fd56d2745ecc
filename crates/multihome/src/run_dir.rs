//! `/run/multihome`: two locks and what is remembered.
//!
//! `lock` is held while the kernel is being changed, by whoever changes it; `daemon` is
//! held by `multihome run` for as long as it lives. Both are flock(2) locks, which end with
//! the process however it ends, and name their holder in their text.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{self, Failure};

/// How long a command waits for another one's changes; those take milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The directory for what lives as long as the system runs.
#[derive(Debug, Clone)]
pub struct RunDir(PathBuf);

/// A lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// The lock on changes, kept open so that taking it is one system call.
#[derive(Debug)]
pub struct ChangeLock {
    file: Rc<File>,
    verb: &'static str,
}

/// [`ChangeLock`], taken.
#[derive(Debug)]
pub struct Held(Rc<File>);

impl RunDir {
    /// The directory: systemd's `RUNTIME_DIRECTORY`, or `/run/multihome`.
    pub fn path() -> RunDir {
        let path = std::env::var_os("RUNTIME_DIRECTORY")
            // Several are separated by colons; ours is the first.
            .and_then(|v| v.to_str()?.split(':').next().map(PathBuf::from))
            .filter(|p| p.is_absolute())
            .unwrap_or_else(|| PathBuf::from("/run/multihome"));
        RunDir(path)
    }

    /// The directory, made if it is not there.
    pub fn open() -> Result<RunDir, Failure> {
        let dir = RunDir::path();
        fs::create_dir_all(&dir.0).map_err(error::file(&dir.0))?;
        Ok(dir)
    }

    /// A file in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The lock on changes.
    pub fn change_lock(&self, verb: &'static str) -> Result<ChangeLock, Failure> {
        Ok(ChangeLock { file: Rc::new(open_lock(&self.join("lock"))?), verb })
    }

    /// Makes this process the daemon, if there is none.
    pub fn become_daemon(&self) -> Result<Lock, Failure> {
        let file = open_lock(&self.join("daemon"))?;
        if !try_flock(&file)? {
            return Err(Failure::Incomplete(format!("{} is running already", holder(&file))));
        }
        sign(&file, "run");
        Ok(Lock { file })
    }

    /// The daemon, if one runs: `multihome run (pid 123)`.
    pub fn daemon(&self) -> Option<String> {
        let file = File::open(self.join("daemon")).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => None,
            Err(_) => Some(holder(&file)),
        }
    }
}

impl ChangeLock {
    /// Takes the lock, waiting for another command to finish.
    pub fn take(&self) -> Result<Held, Failure> {
        let start = Instant::now();
        while !try_flock(&self.file)? {
            if start.elapsed() > PATIENCE {
                return Err(Failure::Locked { holder: holder(&self.file) });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        sign(&self.file, self.verb);
        Ok(Held(Rc::clone(&self.file)))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Closing the file would do it too.
        let _ = flock(&*self.0, FlockOperation::Unlock);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
    }
}

fn open_lock(path: &Path) -> Result<File, Failure> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(path)
        .map_err(error::file(path))
}

fn try_flock(file: &File) -> Result<bool, Failure> {
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(e) => return Err(Failure::Output(e.into())),
        }
    }
}

/// Writes who holds the lock, unless it says so already: the daemon takes it for each change. It
/// is for people, so a failure changes nothing.
fn sign(mut file: &File, verb: &str) {
    let text = format!("multihome {verb} (pid {})\n", std::process::id());
    let mut there = [0; 64];
    if file.read_at(&mut there, 0).is_ok_and(|n| there[..n] == *text.as_bytes()) {
        return;
    }
    let _ = file.seek(SeekFrom::Start(0));
    let _ = file.write_all(text.as_bytes());
    let _ = file.set_len(text.len() as u64);
}

fn holder(mut file: &File) -> String {
    let mut text = String::new();
    let read: io::Result<_> =
        file.seek(SeekFrom::Start(0)).and_then(|_| file.take(200).read_to_string(&mut text));
    match (read, text.lines().next()) {
        (Ok(_), Some(line)) if !line.is_empty() => line.to_owned(),
        _ => "another multihome".to_owned(),
    }
}
