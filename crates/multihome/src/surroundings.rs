//! What a plan depends on beside links, addresses, routes and rules: a few sysctls, what netfilter
//! holds, and what sysctls were before we raised them.
//!
//! Netfilter is asked only where there is something to ask it: on a host that forwards, or that
//! has something of ours in it. Elsewhere not even its socket is opened, which would load modules.

use std::time::{Duration, Instant};

use multihome_core::{Change, Config, Snapshot, return_path, settings};
use multihome_kernel::Kernel;
use multihome_kernel::circumstances::settings_of;

use crate::raised_file::RaisedFile;
use crate::run_dir::RunDir;

/// What is needed to look at it.
#[derive(Debug)]
pub struct Surroundings {
    raised: RaisedFile,
    /// Said once.
    failed: bool,
    /// How long the last look at netfilter took.
    cost: Duration,
}

impl Surroundings {
    /// Nothing is opened yet.
    pub fn new(dir: &RunDir) -> Surroundings {
        Surroundings { raised: RaisedFile::read(dir), failed: false, cost: Duration::ZERO }
    }

    /// Puts all of it into a snapshot. `everything` also asks netfilter where nothing makes it likely
    /// that anything of ours is there.
    pub fn look(
        &mut self,
        kernel: &mut Kernel,
        snapshot: &mut Snapshot,
        config: &Config,
        everything: bool,
    ) {
        self.look_at_sysctls(snapshot);
        self.look_at_netfilter(kernel, snapshot, config, everything);
    }

    /// What was raised, and netfilter, for a snapshot that has all sysctls.
    pub fn look_beside_sysctls(
        &mut self,
        kernel: &mut Kernel,
        snapshot: &mut Snapshot,
        config: &Config,
    ) {
        snapshot.raised.clone_from(self.raised.raised());
        settings::forget_changed(snapshot);
        self.look_at_netfilter(kernel, snapshot, config, false);
    }

    /// The sysctls alone.
    pub fn look_at_sysctls(&mut self, snapshot: &mut Snapshot) {
        snapshot.sysctls = settings_of(snapshot);
        self.raised.reread();
        snapshot.raised.clone_from(self.raised.raised());
        settings::forget_changed(snapshot);
    }

    /// Netfilter alone.
    pub fn look_at_netfilter(
        &mut self,
        kernel: &mut Kernel,
        snapshot: &mut Snapshot,
        config: &Config,
        everything: bool,
    ) {
        snapshot.netfilter = None;
        if !everything && !return_path::concerns(snapshot, config) {
            return;
        }
        let start = Instant::now();
        let result = kernel.netfilter();
        self.cost = start.elapsed();
        match result {
            Ok(netfilter) => snapshot.netfilter = netfilter,
            Err(e) if self.failed => log::debug!("read what nftables holds: {e}"),
            Err(e) => {
                log::warn!("read what nftables holds: {e}: published ports are left as they are");
                self.failed = true;
            }
        }
    }

    /// How long the last look at netfilter took.
    pub fn cost(&self) -> Duration {
        self.cost
    }

    /// Notes what sysctls are before they are changed; says whether they may be.
    pub fn note(&mut self, snapshot: &mut Snapshot, changes: &[Change]) -> bool {
        let mut any = false;
        for change in changes {
            if let Change::SetSysctl { path, from, to } = change {
                settings::note(snapshot, path, from, to);
                any = true;
            }
        }
        // What was forgotten since need not wait for a change.
        let stored = self.raised.store(&snapshot.raised);
        stored || !any
    }
}
