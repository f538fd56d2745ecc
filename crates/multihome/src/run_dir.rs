//! `/run/multihome`: two locks, who is the daemon, and what is remembered.
//!
//! `lock` is held while the kernel is being changed, by whoever changes it; `daemon.lock` is
//! held by `multihome run` for as long as it lives. Both are flock(2) locks, which end with
//! the process however it ends. Only their owner can open them: a lock can be held by
//! whoever can read the file, and nobody else must be able to stop the daemon. So that anybody
//! can see who it is, it says so in `daemon`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use multihome_sources::Places;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{self, Failure};

/// How long whoever asks for the daemon may hold its lock.
const PROBE: Duration = Duration::from_millis(200);

/// The directory for what lives as long as the system runs.
#[derive(Debug, Clone)]
pub struct RunDir(PathBuf);

/// Being the daemon, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    path: PathBuf,
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
        // Whatever the umask: what stands in a directory that others may write is not believed.
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o755).create(&dir.0).map_err(error::file(&dir.0))?;
        Ok(dir)
    }

    /// A file in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Where managers and hooks keep what they know of gateways.
    pub fn places(&self) -> Places {
        Places::new(self.0.clone())
    }

    /// The lock on changes.
    pub fn change_lock(&self, verb: &'static str) -> Result<ChangeLock, Failure> {
        Ok(ChangeLock { file: Rc::new(open_lock(&self.join("lock"))?), verb })
    }

    /// Makes this process the daemon, if there is none.
    pub fn become_daemon(&self) -> Result<Lock, Failure> {
        let file = open_lock(&self.join("daemon.lock"))?;
        // Whoever asks whether there is a daemon holds the lock for a moment.
        let start = Instant::now();
        while !try_flock(&file)? {
            if start.elapsed() > PROBE {
                let holder = self.daemon().unwrap_or_else(|| "another multihome".into());
                return Err(Failure::RunsAlready { holder });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let path = self.join("daemon");
        let text = format!("{}\n{}\n", signature("run"), own_name());
        fs::write(&path, text).map_err(error::file(&path))?;
        Ok(Lock { _file: file, path })
    }

    /// The daemon, if one runs: `multihome run (pid 123)`.
    pub fn daemon(&self) -> Option<String> {
        let text = fs::read_to_string(self.join("daemon")).ok()?;
        let mut lines = text.lines();
        let (signature, name) = (lines.next()?, lines.next()?);
        let alive = match File::open(self.join("daemon.lock")) {
            Ok(file) => flock(&file, FlockOperation::NonBlockingLockShared).is_err(),
            // An ordinary user sees whether the process is there.
            Err(_) => {
                let pid = signature.split("pid ").nth(1)?.trim_end_matches(')');
                fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.trim_end() == name)
            }
        };
        alive.then(|| signature.to_owned())
    }
}

impl ChangeLock {
    /// Takes the lock, waiting for another command to finish.
    pub fn take(&self, patience: Duration) -> Result<Held, Failure> {
        let start = Instant::now();
        loop {
            if let Some(held) = self.try_take()? {
                return Ok(held);
            }
            if start.elapsed() > patience {
                return Err(Failure::Locked { holder: self.holder() });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Takes the lock if nobody has it.
    pub fn try_take(&self) -> Result<Option<Held>, Failure> {
        if !try_flock(&self.file)? {
            return Ok(None);
        }
        sign(&self.file, self.verb);
        Ok(Some(Held(Rc::clone(&self.file))))
    }

    /// Who has the lock, or had it last.
    pub fn holder(&self) -> String {
        holder(&self.file)
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
        // Without it a reader would look for the process, and not find it.
        let _ = fs::remove_file(&self.path);
    }
}

fn open_lock(path: &Path) -> Result<File, Failure> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(error::file(path))
}

fn try_flock(file: &File) -> Result<bool, Failure> {
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(e) => return Err(error::system("take a lock")(e)),
        }
    }
}

fn signature(verb: &str) -> String {
    format!("multihome {verb} (pid {})", std::process::id())
}

/// What `/proc` calls this process.
fn own_name() -> String {
    fs::read_to_string("/proc/self/comm").map_or_else(|_| String::new(), |c| c.trim_end().into())
}

/// Writes who holds the lock, unless it says so already: the daemon takes it for each change. It
/// is for people, so a failure changes nothing.
fn sign(mut file: &File, verb: &str) {
    let text = format!("{}\n", signature(verb));
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
