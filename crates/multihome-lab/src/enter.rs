//! Leaving the machine's network behind.
//!
//! [`enter`] moves the whole program into a network namespace and a mount namespace
//! of its own before it has any thread (`unshare(2)` acts on the calling thread, and
//! threads that are made later inherit from it). An ordinary user gets a user
//! namespace around them, in which the user is root: veth pairs, bridges, routes,
//! rules and tmpfs are all open to such a root (`ns_capable` against the owner of the
//! network namespace), while the machine's own network is out of reach.
//!
//! `/run` is a fresh tmpfs, so that what an engine remembers under `/run` stays in
//! here too; [`hide`] does the same for other directories.

use std::fs;
use std::io;
use std::os::linux::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::Error;

/// How the namespaces were had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// As root of the machine.
    Root,
    /// As an ordinary user, in a user namespace.
    User,
}

/// Which network namespace a thread is in: device and inode of its `ns/net` file.
type NetnsId = (u64, u64);

/// The namespace that the program was started in, and how it was left.
static OUTER: OnceLock<(NetnsId, Privilege)> = OnceLock::new();

/// Moves the program into namespaces of its own; call it first in `main`. A second call does
/// nothing.
///
/// # Errors
/// [`Error::Forbidden`] where the kernel or a security module refuses, with the setting that is
/// to blame; [`Error::Threads`] when the program has other threads by now.
pub fn enter() -> Result<Privilege, Error> {
    if let Some((_, privilege)) = OUTER.get() {
        return Ok(*privilege);
    }
    let threads = fs::read_dir("/proc/self/task").map_err(step("list /proc/self/task"))?.count();
    if threads != 1 {
        return Err(Error::Threads(threads));
    }
    let outer = current()?;
    let privilege = unshare_all()?;
    // Nothing that is mounted in here may spread to the machine.
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|e| step("make the mounts private")(e.into()))?;
    mount_empty(Path::new("/run"))?;
    let _ = OUTER.set((outer, privilege));
    assert_own_namespace()?;
    Ok(privilege)
}

/// Puts an empty directory in place of one of the machine's, as those in which it keeps its
/// leases; one that is not there stays so. [`enter`] comes first.
///
/// # Errors
/// When the program is not in namespaces of its own, or the kernel refuses.
pub fn hide(directory: &Path) -> Result<(), Error> {
    assert_own_namespace()?;
    if directory.is_dir() { mount_empty(directory) } else { Ok(()) }
}

/// Makes sure that the calling thread is not in the network namespace that the program was
/// started in: tests and benches call it before they change anything.
///
/// # Errors
/// [`Error::NotOwnNamespace`] when it is, or when [`enter`] was never called.
pub fn assert_own_namespace() -> Result<(), Error> {
    let (outer, _) = OUTER.get().ok_or(Error::NotOwnNamespace)?;
    if current()? == *outer { Err(Error::NotOwnNamespace) } else { Ok(()) }
}

// ===== helpers =====

fn mount_empty(directory: &Path) -> Result<(), Error> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), directory, Some("tmpfs"), flags, Some("mode=755"))
        .map_err(|e| step(&format!("mount a tmpfs on {}", directory.display()))(e.into()))
}

fn step(step: &str) -> impl FnOnce(io::Error) -> Error {
    let step = step.to_owned();
    move |source| Error::Enter { step, source }
}

fn current() -> Result<NetnsId, Error> {
    const FILE: &str = "/proc/thread-self/ns/net";
    let meta = fs::metadata(FILE).map_err(step("look at /proc/thread-self/ns/net"))?;
    Ok((meta.st_dev(), meta.st_ino()))
}

fn unshare_all() -> Result<Privilege, Error> {
    let inner = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    if uid.is_root() && unshare(inner).is_ok() {
        return Ok(Privilege::Root);
    }
    // An ordinary user, or a root without CAP_SYS_ADMIN (a container's).
    unshare(CloneFlags::CLONE_NEWUSER | inner).map_err(|e| forbidden(e.into()))?;
    // user_namespaces(7): the group map is only open to those who give up setgroups(2).
    for (file, map) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ] {
        fs::write(format!("/proc/self/{file}"), map).map_err(forbidden)?;
    }
    Ok(Privilege::User)
}

fn forbidden(source: io::Error) -> Error {
    let setting = |path: &str| fs::read_to_string(path).ok().map(|s| s.trim().to_owned());
    let is = |path: &str, value: &str| setting(path).as_deref() == Some(value);
    let why = if is("/proc/sys/user/max_user_namespaces", "0") {
        "user.max_user_namespaces is 0, so no user may have namespaces"
    } else if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "kernel.unprivileged_userns_clone is 0, so only root may have namespaces"
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "kernel.apparmor_restrict_unprivileged_userns is 1, so AppArmor takes the rights of an \
         ordinary user's namespaces away"
    } else if source.raw_os_error() == Some(nix::libc::ENOSPC) {
        "a limit on namespaces is reached (see /proc/sys/user/max_*_namespaces)"
    } else {
        "user namespaces are forbidden here, by the kernel, a security module or a container's \
         seccomp filter"
    };
    Error::Forbidden { why: why.to_owned(), source }
}
