//! A root directory that is gone when the test is over.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use multihome_core::model::Hints;
use multihome_sources::Places;

/// The root directory.
pub struct Root(PathBuf);

impl Root {
    /// An empty one.
    pub fn new() -> Root {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("root-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory for the test");
        let root = Root(path);
        root.chmod("", 0o755);
        root
    }

    /// Where a path of it is.
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// Its places.
    pub fn places(&self) -> Places {
        Places::under(&self.0, PathBuf::from("/run/multihome"))
    }

    /// What is read of it at a moment.
    pub fn read(&self, now: u64) -> Hints {
        multihome_sources::read(&self.places(), at(now))
    }

    /// Makes a directory and all above it, as a sane host has them.
    pub fn mkdir(&self, path: &str) {
        let mut whole = String::new();
        for name in path.split('/') {
            whole.push_str(name);
            if !self.path(&whole).exists() {
                fs::create_dir(self.path(&whole)).expect("a directory");
                self.chmod(&whole, 0o755);
            }
            whole.push('/');
        }
    }

    /// Writes a file, by truncating one that is there.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let (dir, _) = path.rsplit_once('/').expect("a directory and a name");
        self.mkdir(dir);
        let is_new = !self.path(path).exists();
        fs::write(self.path(path), content).expect("a file");
        if is_new {
            self.chmod(path, 0o644);
        }
    }

    /// Sets when a file was written.
    pub fn touch(&self, path: &str, modified: u64) {
        let file = File::options().write(true).open(self.path(path)).expect("the file");
        file.set_modified(at(modified)).expect("a time");
    }

    /// Sets the mode of a file or directory.
    pub fn chmod(&self, path: &str, mode: u32) {
        fs::set_permissions(self.path(path), Permissions::from_mode(mode)).expect("a mode");
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A moment in seconds since 1970.
pub fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}
