//! `/run/multihome`: two locks, who is the daemon, and what is remembered.
//!
//! `lock` is held while the kernel is being changed, by whoever changes it; `daemon.lock` is
//! held by `multihome run` for as long as it lives. Both are flock(2) locks, which end with
//! the process however it ends. Only their owner and root can open them: a lock can be held by
//! whoever can read the file, and nobody else must be able to stop the daemon. So that anybody
//! can see who it is, it says so in `daemon`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use multihome_sources::Places;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{self, Failure};
use crate::own_files::{Directory, Refused, SIGNATURE, is_signed};

/// How long whoever asks for the daemon may hold its lock.
const PROBE: Duration = Duration::from_millis(200);

/// What `daemon` says is shorter: a signature and the name of a program.
const SIZE_OF_DAEMON: u64 = 256;

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
        RunDir(path(std::env::var_os("RUNTIME_DIRECTORY").as_deref()))
    }

    /// The directory, made if it is not there.
    pub fn open() -> Result<RunDir, Failure> {
        let dir = RunDir::path();
        Directory::make(&dir.0).map_err(|e| Refused::directory(&dir.0, &e))?;
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

    /// Reads a file of it that is not larger than it can be; none when it is not there.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Refused> {
        match Directory::open(&self.0) {
            Ok(directory) => directory.read(name, limit),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Refused::directory(&self.0, &e)),
        }
    }

    /// Writes a file of it: all of it, or what was there before stays.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Refused> {
        self.directory()?.write(name, bytes)
    }

    fn directory(&self) -> Result<Directory, Refused> {
        Directory::open(&self.0).map_err(|e| Refused::directory(&self.0, &e))
    }

    /// The lock on changes.
    pub fn change_lock(&self, verb: &'static str) -> Result<ChangeLock, Failure> {
        Ok(ChangeLock { file: Rc::new(self.directory()?.lock("lock")?), verb })
    }

    /// Makes this process the daemon, if there is none.
    pub fn become_daemon(&self) -> Result<Lock, Failure> {
        let file = self.directory()?.lock("daemon.lock")?;
        // Whoever asks whether there is a daemon holds the lock for a moment.
        let start = Instant::now();
        while !try_flock(&file)? {
            if start.elapsed() > PROBE {
                let holder = self.daemon().unwrap_or_else(|| "another multihome".into());
                return Err(Failure::RunsAlready { holder });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let text = format!("{}\n{}\n", signature("run"), own_name());
        self.write("daemon", text.as_bytes())?;
        Ok(Lock { _file: file, path: self.join("daemon") })
    }

    /// The daemon, if one runs: `multihome run (pid 123)`.
    pub fn daemon(&self) -> Option<String> {
        let text = match self.read("daemon", SIZE_OF_DAEMON) {
            Ok(text) => String::from_utf8(text?).ok()?,
            Err(e) => {
                log::warn!("{e}: whether a daemon runs is not known (hint: {})", e.remedy);
                return None;
            }
        };
        let mut lines = text.lines();
        let (signature, name) = (lines.next()?, lines.next()?);
        let pid = pid_of(signature)?;
        let lock = Directory::open(&self.0).ok()?.existing_lock("daemon.lock");
        let alive = match lock {
            Ok(Some(file)) => flock(&file, FlockOperation::NonBlockingLockShared).is_err(),
            Ok(None) => false,
            // An ordinary user sees whether the process is there.
            Err(_) => {
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

/// Several are separated by colons. What does not look like ours is not: whoever calls a hook may
/// have such a directory of its own.
fn path(runtime_directory: Option<&OsStr>) -> PathBuf {
    let is_ours = |path: &&Path| {
        let name = path.file_name().and_then(OsStr::to_str);
        path.is_absolute() && name.is_some_and(|name| name.starts_with("multihome"))
    };
    runtime_directory
        .and_then(OsStr::to_str)
        .and_then(|all| all.split(':').map(Path::new).find(is_ours))
        .unwrap_or(Path::new("/run/multihome"))
        .to_owned()
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
    format!("{SIGNATURE}{verb} (pid {})", std::process::id())
}

/// The process that a signature names; none when it is no signature, which could say anything.
fn pid_of(signature: &str) -> Option<u32> {
    let rest = signature.strip_prefix(SIGNATURE)?;
    let (verb, pid) = rest.strip_suffix(')')?.split_once(" (pid ")?;
    let is_verb = verb.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    if is_verb { pid.parse().ok() } else { None }
}

/// What `/proc` calls this process.
fn own_name() -> String {
    fs::read_to_string("/proc/self/comm").map_or_else(|_| String::new(), |c| c.trim_end().into())
}

/// Writes who holds the lock, unless it says so already: the daemon takes it for each change. It
/// is for people, so a failure changes nothing.
fn sign(file: &File, verb: &str) {
    let text = format!("{}\n", signature(verb));
    let mut there = [0; 64];
    if file.read_at(&mut there, 0).is_ok_and(|n| there[..n] == *text.as_bytes()) {
        return;
    }
    // What says something else is locked all the same, and stays what it is.
    if is_signed(file) {
        let _ = file.write_all_at(text.as_bytes(), 0);
        let _ = file.set_len(text.len() as u64);
    }
}

fn holder(file: &File) -> String {
    let mut there = [0; 64];
    let read = file.read_at(&mut there, 0).unwrap_or(0);
    let text = str::from_utf8(&there[..read]).unwrap_or("");
    match text.lines().next() {
        Some(line) if pid_of(line).is_some() => line.to_owned(),
        _ => "another multihome".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_runtime_directory_is_ours() {
        for (variable, expected) in [
            (None, "/run/multihome"),
            (Some(""), "/run/multihome"),
            (Some("/run/multihome"), "/run/multihome"),
            (Some("/run/multihome-blue"), "/run/multihome-blue"),
            (Some("/run/other:/run/a/multihome2:/run/multihome"), "/run/a/multihome2"),
            (Some("/run/NetworkManager"), "/run/multihome"),
            (Some("/run/multihome/other"), "/run/multihome"),
            (Some("multihome"), "/run/multihome"),
            (Some("/run/multihome/.."), "/run/multihome"),
        ] {
            assert_eq!(path(variable.map(OsStr::new)), Path::new(expected), "{variable:?}");
        }
    }

    #[test]
    fn only_signatures_are_shown() {
        assert_eq!(pid_of("multihome run (pid 12)"), Some(12));
        assert_eq!(pid_of(&signature("hook")), Some(std::process::id()));
        for other in [
            "",
            "multihome",
            "multihome run (pid 1/../2)",
            "multihome \x1b[2J (pid 1)",
            "root:x:0:0 (pid 1)",
            "multihome run (pid 1) and more",
        ] {
            assert_eq!(pid_of(other), None, "{other:?}");
        }
    }
}
