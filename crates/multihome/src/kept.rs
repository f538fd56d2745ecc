//! What is kept for the next run, as JSON in `/run/multihome`: gateways, and what sysctls were.
//!
//! It lasts as long as the system runs. A file that cannot be read, or that others could have
//! written, is no reason to fail: less is known then.

use std::fs;
use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::run_dir::RunDir;

/// Where gateways are remembered; a reboot brings them from their sources.
pub const GATEWAYS: File = File {
    name: "gateways.json",
    unread: "gateways are learnt anew",
    unwritten: "gateways will not be remembered",
};

/// A file, and what it means when it fails.
#[derive(Debug, Clone, Copy)]
pub struct File {
    /// Its name.
    pub name: &'static str,
    /// When it cannot be read.
    pub unread: &'static str,
    /// When it cannot be written.
    pub unwritten: &'static str,
}

/// A file and what stands in it.
#[derive(Debug)]
pub struct Kept<T> {
    dir: RunDir,
    file: File,
    stored: T,
}

/// No host has as many uplinks.
const MAX_SIZE: u64 = 1 << 20;

// ===== impl Kept =====

impl<T: Default + PartialEq + Clone + Serialize + DeserializeOwned> Kept<T> {
    /// Reads the file.
    pub fn read(dir: &RunDir, file: File) -> Kept<T> {
        let File { name, unread, .. } = file;
        let text = dir.read(name, MAX_SIZE).unwrap_or_else(|e| {
            log::warn!("{e}: {unread} (hint: {})", e.remedy);
            None
        });
        let stored = text.map_or_else(T::default, |text| {
            serde_json::from_slice(&text).unwrap_or_else(|e| {
                log::warn!("{}: {e}: {unread}", dir.join(name).display());
                T::default()
            })
        });
        Kept { dir: dir.clone(), file, stored }
    }

    /// Reads it again: other runs of multihome write it too.
    pub fn reread(&mut self) {
        *self = Kept::read(&self.dir, self.file);
    }

    /// What stands in the file.
    pub fn stored(&self) -> &T {
        &self.stored
    }

    /// Removes the file.
    pub fn remove(&mut self) {
        self.stored = T::default();
        let path = self.dir.join(self.file.name);
        if let Err(e) = fs::remove_file(&path)
            && e.kind() != io::ErrorKind::NotFound
        {
            log::warn!("{}: {e}", path.display());
        }
    }

    /// Writes the file if it says something else; says whether it does what it should now.
    pub fn store(&mut self, value: &T) -> bool {
        if self.stored == *value {
            return true;
        }
        // Nothing in it can fail to be written as JSON but by a bug, and then less is known.
        let Ok(mut text) = serde_json::to_vec_pretty(value) else { return false };
        text.push(b'\n');
        match self.dir.write(self.file.name, &text) {
            Ok(()) => {
                self.stored.clone_from(value);
                true
            }
            Err(e) => {
                log::warn!("{e}: {} (hint: {})", self.file.unwritten, e.remedy);
                false
            }
        }
    }
}
