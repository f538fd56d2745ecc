//! What is remembered, on file: `/run/multihome/gateways.json`.
//!
//! It lasts as long as the system runs; a reboot brings the gateways from their sources.
//! A file that cannot be read, or that others could have written, is no reason to fail: less is
//! remembered.

use std::fs;
use std::io;

use multihome_core::Memory;

use crate::run_dir::RunDir;

const NAME: &str = "gateways.json";

/// No host has as many uplinks.
const MAX_SIZE: u64 = 1 << 20;

/// The file and what stands in it.
#[derive(Debug)]
pub struct MemoryFile {
    dir: RunDir,
    stored: Memory,
}

impl MemoryFile {
    /// Reads the file.
    pub fn read(dir: &RunDir) -> MemoryFile {
        let text = dir.read(NAME, MAX_SIZE).unwrap_or_else(|e| {
            log::warn!("{e}: gateways are learnt anew (hint: {})", e.remedy);
            None
        });
        let stored = text.map_or_else(Memory::default, |text| {
            serde_json::from_slice(&text).unwrap_or_else(|e| {
                log::warn!("{}: {e}: gateways are learnt anew", dir.join(NAME).display());
                Memory::default()
            })
        });
        MemoryFile { dir: dir.clone(), stored }
    }

    /// What stands in the file.
    pub fn memory(&self) -> Memory {
        self.stored.clone()
    }

    /// Removes the file.
    pub fn remove(&mut self) {
        self.stored = Memory::default();
        let path = self.dir.join(NAME);
        if let Err(e) = fs::remove_file(&path)
            && e.kind() != io::ErrorKind::NotFound
        {
            log::warn!("{}: {e}", path.display());
        }
    }

    /// Writes the file if it says something else.
    pub fn store(&mut self, memory: &Memory) {
        if self.stored == *memory {
            return;
        }
        // Nothing in it can fail to be written as JSON but by a bug, and then less is remembered.
        let Ok(mut text) = serde_json::to_vec_pretty(memory) else { return };
        text.push(b'\n');
        match self.dir.write(NAME, &text) {
            Ok(()) => self.stored.clone_from(memory),
            Err(e) => log::warn!("{e}: gateways will not be remembered (hint: {})", e.remedy),
        }
    }
}
