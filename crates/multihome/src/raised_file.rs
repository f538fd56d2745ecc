//! What sysctls were before they were raised, on file: `/run/multihome/sysctls.json`.
//!
//! It is written before the kernel is, so that whatever becomes of us the value can be put back;
//! an entry that the kernel does not bear out is forgotten
//! ([`multihome_core::settings::forget_changed`]). A reboot brings the system's own values.
//!
//! Where we are root, systemd-sysctl and `sysctl --system` are told too, by a file of theirs, or
//! they would put a strict filter back the next time that they run. A service without root's rights
//! must not: who may write there may set any sysctl. It sees the kernel's announcement of the change
//! (`RTM_NEWNETCONF`) instead, and raises the value again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use multihome_core::model::sysctl::{Raised, display};

use crate::kept::{File, Kept};
use crate::run_dir::RunDir;

const SYSCTLS: File = File {
    name: "sysctls.json",
    unread: "what sysctls were before is not known",
    unwritten: "no sysctl is changed",
};

/// Behind all that distributions and operators name by the usual numbers: the last one counts.
const SYSCTL_D: &str = "/run/sysctl.d/99-zz-multihome.conf";

/// What was raised, by path below `/proc/sys`.
type All = BTreeMap<String, Raised>;

/// The file and what stands in it.
#[derive(Debug)]
pub struct RaisedFile(Kept<All>);

// ===== impl RaisedFile =====

impl RaisedFile {
    /// Reads the file.
    pub fn read(dir: &RunDir) -> RaisedFile {
        RaisedFile(Kept::read(dir, SYSCTLS))
    }

    /// What stands in the file now: other runs of multihome write it too.
    pub fn raised(&mut self) -> &All {
        self.0.reread();
        self.0.stored()
    }

    /// Writes the file if it says something else. False when that failed, and then nothing may be
    /// raised: it could not be put back.
    pub fn store(&mut self, raised: &All) -> bool {
        if rustix::process::geteuid().is_root() {
            tell_systemd(Path::new(SYSCTL_D), raised);
        }
        self.0.store(raised)
    }
}

/// Writes the file for systemd-sysctl, or removes it when there is nothing to say.
fn tell_systemd(path: &Path, raised: &All) {
    let result = match text(raised) {
        None => fs::remove_file(path).or_else(|e| match e.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(e),
        }),
        // A system without systemd has no use for it.
        Some(_) if !Path::new("/run/systemd/system").exists() => Ok(()),
        Some(text) if fs::read_to_string(path).is_ok_and(|is| is == text) => Ok(()),
        Some(text) => {
            let directory = path.parent().map_or(Ok(()), fs::create_dir_all);
            directory.and_then(|()| fs::write(path, text))
        }
    };
    if let Err(e) = result {
        log::debug!("{}: {e}", path.display());
    }
}

/// In the words of sysctl.d(5); a `-` in front means that a link which is gone is no error.
fn text(raised: &All) -> Option<String> {
    if raised.is_empty() {
        return None;
    }
    let mut text =
        "# Written by multihome, and removed by `multihome down`. Each value is raised so that\n\
         # answers are not dropped or misled: `multihome status`, multihome.toml(5).\n"
            .to_owned();
    for (path, raised) in raised {
        let _ = writeln!(text, "# it was {}\n-{} = {}", raised.was, display(path), raised.set);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_is_told_what_it_would_undo() {
        let raised = |was: &str, set: &str| Raised { was: was.into(), set: set.into(), link: 3 };
        let path = "net/ipv4/conf/ens6.100/rp_filter".to_owned();
        let text = text(&BTreeMap::from([(path, raised("1", "2"))])).unwrap();
        assert!(text.ends_with("# it was 1\n-net.ipv4.conf.ens6/100.rp_filter = 2\n"), "{text}");
        assert_eq!(super::text(&BTreeMap::new()), None);
    }
}
