//! What a plan depends on beside links, addresses, routes and rules: a few sysctls, what netfilter
//! holds, and what sysctls were before we raised them.
//!
//! Netfilter is asked only where there is something to ask it: on a host that forwards, or that
//! has something of ours in it. Elsewhere not even its socket is opened, which would load modules.

use std::time::{Duration, Instant};

use multihome_core::config::Management;
use multihome_core::config::steer::WITH_DSCP;
use multihome_core::{Change, Config, Snapshot, return_path, settings};
use multihome_kernel::circumstances::settings_of;
use multihome_kernel::{Kernel, proc_net};
use rustix::fs::StatVfsMountFlags;

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
        self.recall(snapshot);
        settings::forget_changed(snapshot);
        self.look_at_netfilter(kernel, snapshot, config, false);
    }

    /// The sysctls alone.
    pub fn look_at_sysctls(&mut self, snapshot: &mut Snapshot) {
        self.recall(snapshot);
        // Also of links that are down now, and have something to be put back.
        snapshot.sysctls = settings_of(snapshot);
        settings::forget_changed(snapshot);
    }

    /// What was raised, by the names that links have now.
    fn recall(&mut self, snapshot: &mut Snapshot) {
        snapshot.raised.clone_from(self.raised.raised());
        settings::follow_names(snapshot);
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
            Err(e) if everything => {
                snapshot.incomplete.push(format!("what nftables holds could not be read: {e}"));
            }
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

    /// Notes what sysctls are before they are raised, and leaves out those that may not be: what could
    /// not be noted could not be put back.
    pub fn note(&mut self, snapshot: &mut Snapshot, changes: &mut Vec<Change>) {
        let mut raised = snapshot.raised.clone();
        for change in changes.iter() {
            if let Change::SetSysctl { path, from, to } = change
                && let Some(noted) = settings::noted(snapshot, path, from, to)
            {
                raised.insert(path.clone(), noted);
            }
        }
        if raised == snapshot.raised {
            return;
        }
        if self.raised.store(&raised) {
            snapshot.raised = raised;
        } else {
            changes.retain(|c| !matches!(c, Change::SetSysctl { .. }));
        }
    }

    /// Notes what became of changes: which were made, and which were refused.
    pub fn confirm(&mut self, snapshot: &mut Snapshot, made: &[&Change], refused: &[&Change]) {
        for change in made {
            if let Change::SetSysctl { path, from, to } = change {
                match snapshot.raised.get(path) {
                    Some(raised) if raised.set == *to => snapshot.sysctls.insert(path, to),
                    _ => settings::note(snapshot, path, from, to),
                }
            }
        }
        for change in refused {
            if let Change::SetSysctl { path, from, .. } = change
                && snapshot.raised.get(path).is_some_and(|r| r.was == *from)
            {
                snapshot.raised.remove(path);
            }
        }
        if !made.is_empty() || !refused.is_empty() {
            self.raised.store(&snapshot.raised);
        }
    }
}

/// The configuration as far as it can be followed here ([`Config::confine`]).
pub fn as_possible(mut config: Config) -> Config {
    let is_read_only = rustix::fs::statvfs("/proc/sys/net")
        .is_ok_and(|s| s.f_flag.contains(StatVfsMountFlags::RDONLY));
    if is_read_only && config.sysctl.value == Management::Manage {
        log::info!("/proc/sys is read-only: sysctls are only named");
    }
    let release = proc_net::release();
    for steer in config.confine(release.as_deref(), !is_read_only) {
        let (major, minor) = WITH_DSCP;
        log::error!(
            "[[steer]] ({}) is left out: rules with a dscp take Linux {major}.{minor}, and this is {}",
            steer.origin,
            release.as_deref().unwrap_or("unknown")
        );
    }
    config
}
