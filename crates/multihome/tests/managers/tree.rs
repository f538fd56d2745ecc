//! Living in a tree of a distribution.
//!
//! The test's own process moves there: what it starts, reads and writes is the tree's, and what
//! is written stays in memory. Outside of its network namespace it can change nothing that
//! matters to the machine: `/proc/sys` but for `net` is read-only, `/dev` has no device.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, fs};

use nix::mount::{MsFlags, mount};
use rustix::process::chroot;
use rustix::system::sethostname;

use crate::runner::{Place, Test, program, program_is_at};

/// Where they are, if not where cargo builds.
const DIRECTORY: &str = "MULTIHOME_TREES";
/// Where the program under test is in a tree.
pub const PROGRAM: &str = "/usr/sbin/multihome";
/// Where a copy of the directory `packaging` is in a tree.
pub const PACKAGING: &str = "/usr/share/multihome";

const NONE: Option<&str> = None;

static NAME: OnceLock<&str> = OnceLock::new();

/// The tree that this process lives in.
pub fn name() -> &'static str {
    NAME.get().expect("in a tree")
}

/// Every tree, unless a test is for one release only: they are told by the release's name and
/// their own.
pub fn places(test: &Test, trees: &[(&str, &'static str)]) -> Vec<Place> {
    let is_wanted = |release: &str| test.only_on.is_none_or(|only| only == release);
    let wanted = trees.iter().filter(|(release, _)| is_wanted(release));
    wanted.map(|(_, tree)| Place::Tree(tree)).collect()
}

/// Moves this process into a tree, with namespaces of its own.
pub fn enter(place: Place) {
    let Place::Tree(name) = place else { panic!("{place:?} is no tree") };
    let tree = directory().join(name);
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/managers/trees");
    assert!(tree.join("etc").is_dir(), "{} is not there: run {}", tree.display(), build.display());
    let program = fs::read(program()).expect("the program under test");
    multihome_lab::enter().expect("namespaces");
    multihome_lab::assert_own_namespace().expect("a network namespace of its own");
    sethostname(b"box").expect("a name");
    // The laboratory's /run is in memory.
    let root = PathBuf::from("/run/root");
    overlay(&tree, &root);
    furnish(&root);
    fs::write(root.join(&PROGRAM[1..]), program).expect("a copy of the program");
    set_mode(&root.join(&PROGRAM[1..]), 0o755);
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging");
    copy(&packaging, &root.join(&PACKAGING[1..]));
    chroot(&root).expect("chroot");
    env::set_current_dir("/").expect("the new root");
    program_is_at(PROGRAM);
    let _ = NAME.set(name);
}

fn directory() -> PathBuf {
    let built = || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("trees");
    env::var_os(DIRECTORY).map_or_else(built, PathBuf::from)
}

/// What is written goes to memory.
fn overlay(tree: &Path, root: &Path) {
    let [upper, work] = ["upper", "work"].map(|n| root.with_file_name(n));
    for dir in [&upper, &work, root] {
        fs::create_dir(dir).expect("a directory");
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        tree.display(),
        upper.display(),
        work.display()
    );
    let flags = MsFlags::empty();
    mount(Some("overlay"), root, Some("overlay"), flags, Some(options.as_str())).expect("overlay");
}

fn furnish(root: &Path) {
    let plain = MsFlags::MS_NOSUID;
    let tmpfs = |dir: &str, mode: &str| {
        let options = Some(mode);
        mount(Some("tmpfs"), &root.join(dir), Some("tmpfs"), plain, options).expect("tmpfs");
    };
    tmpfs("run", "mode=755");
    tmpfs("tmp", "mode=1777");
    tmpfs("dev", "mode=755");
    for dir in ["run/lock", "run/network", "dev/shm", "dev/net"] {
        fs::create_dir(root.join(dir)).expect("a directory");
    }
    for device in ["null", "zero", "full", "random", "urandom", "tty"] {
        let (from, to) = (Path::new("/dev").join(device), root.join("dev").join(device));
        fs::write(&to, "").expect("a place for a device");
        mount(Some(&from), &to, NONE, MsFlags::MS_BIND, NONE).expect("a device");
    }
    let proc = root.join("proc");
    mount(Some("proc"), &proc, Some("proc"), plain, NONE).expect("proc");
    let (sys, net) = (proc.join("sys"), proc.join("sys/net"));
    let all = [sys, proc.join("sysrq-trigger")];
    for file in all.iter().filter(|f| f.exists()) {
        bind(file, file);
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | plain;
        mount(NONE, file, NONE, flags, NONE).expect("read-only");
    }
    // That of the namespace of whoever looks.
    bind(Path::new("/proc/sys/net"), &net);
    // Daemons of several kinds want one, and that it stays the same.
    fs::write(root.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n").expect("an id");
    fs::write(root.join("etc/hostname"), "box\n").expect("a name");
    fs::write(root.join("etc/resolv.conf"), "").expect("no resolver");
}

fn bind(from: &Path, to: &Path) {
    mount(Some(from), to, NONE, MsFlags::MS_BIND, NONE).expect("bind");
}

/// `cp -r`.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("a directory");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("a copy");
        }
    }
}

/// `chmod`.
pub fn set_mode(path: &Path, mode: u32) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(path, mode).expect("chmod");
}
