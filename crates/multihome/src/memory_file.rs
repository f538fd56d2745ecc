//! What is remembered, on file: `/run/multihome/gateways.json`.
//!
//! It lasts as long as the system runs; a reboot brings the gateways from their sources.
//! A file that cannot be read is no reason to fail: less is remembered.

use std::fs;
use std::io;
use std::path::PathBuf;

use multihome_core::Memory;

use crate::run_dir::RunDir;

/// No host has as many uplinks.
const MAX_SIZE: u64 = 1 << 20;

/// The file and what stands in it.
#[derive(Debug)]
pub struct MemoryFile {
    path: PathBuf,
    stored: Memory,
}

impl MemoryFile {
    /// Reads the file.
    pub fn read(dir: &RunDir) -> MemoryFile {
        let path = dir.join("gateways.json");
        let stored = match read(&path) {
            Ok(memory) => memory,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Memory::default(),
            Err(e) => {
                log::warn!("{}: {e}: gateways are learnt anew", path.display());
                Memory::default()
            }
        };
        MemoryFile { path, stored }
    }

    /// What stands in the file.
    pub fn memory(&self) -> Memory {
        self.stored.clone()
    }

    /// Removes the file.
    pub fn remove(&mut self) {
        self.stored = Memory::default();
        if let Err(e) = fs::remove_file(&self.path)
            && e.kind() != io::ErrorKind::NotFound
        {
            log::warn!("{}: {e}", self.path.display());
        }
    }

    /// Writes the file if it says something else.
    pub fn store(&mut self, memory: &Memory) {
        if self.stored == *memory {
            return;
        }
        match write(&self.path, memory) {
            Ok(()) => self.stored.clone_from(memory),
            Err(e) => log::warn!("{}: {e}: gateways will not be remembered", self.path.display()),
        }
    }
}

fn read(path: &PathBuf) -> io::Result<Memory> {
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_file() || meta.len() > MAX_SIZE {
        return Err(io::Error::other("not a file that multihome wrote"));
    }
    serde_json::from_slice(&fs::read(path)?).map_err(io::Error::other)
}

fn write(path: &PathBuf, memory: &Memory) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut text = serde_json::to_vec_pretty(memory).map_err(io::Error::other)?;
    text.push(b'\n');
    fs::write(&new, text)?;
    fs::rename(&new, path)
}
