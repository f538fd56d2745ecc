//! Files of our own, in directories that root and the service's user share.
//!
//! `/run/multihome` belongs to the user of the service; hooks and an operator's commands write
//! there as root. Neither may shut the other out, so what root makes is given to the owner of the
//! directory, with a mode that does not depend on a umask. And nothing that the service's user
//! puts there may lead root elsewhere, so no link is followed, and a file gets its name only when
//! it is all there. Who could write a file decides where answers go, so it is read by the same
//! rule as the files of others: it belongs to root, to us or to the owner of the directory, and
//! nobody else may write it.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Uid, fchmod, fchown, fstat, mkdirat,
    open, openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

/// For everybody to read: `multihome status` is for ordinary users, too.
const FILE: Mode = Mode::from_raw_mode(0o644);
/// A lock can be held by whoever can open it.
const LOCK: Mode = Mode::from_raw_mode(0o600);
const DIRECTORY: Mode = Mode::from_raw_mode(0o755);

/// What each of our locks begins with once it was taken: it says by whom.
pub const SIGNATURE: &str = "multihome ";

/// How often a lock is looked for that others make and remove meanwhile.
const TRIES: usize = 10;

/// A directory with files of ours.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

/// Why a file of ours is not used, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    file: PathBuf,
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

// ===== impl Directory =====

impl Directory {
    /// Opens a directory, which must be there.
    pub fn open(path: &Path) -> io::Result<Directory> {
        Ok(Directory { fd: open(path, flags_of_directory(), Mode::empty())?, path: path.into() })
    }

    /// Opens a directory by its absolute path; it is made if it is not there, as are those above.
    pub fn make(path: &Path) -> io::Result<Directory> {
        match Directory::open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        let mut fd = open("/", flags_of_directory(), Mode::empty())?;
        for component in path.components() {
            let name = match component {
                Component::Normal(name) => name,
                Component::ParentDir => OsStr::new(".."),
                _ => continue,
            };
            fd = match openat(&fd, name, flags_of_directory(), Mode::empty()) {
                Err(Errno::NOENT) => make_one(&fd, name)?,
                opened => opened?,
            };
        }
        Ok(Directory { fd, path: path.into() })
    }

    /// Writes a file: all of it, or what was there before stays.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Refused> {
        let put = || -> io::Result<()> {
            let temporary = Temporary::new(self, name, FILE)?;
            // Without the right to give it away it can still be read, and replaced.
            let _ = self.give(&temporary.file);
            (&temporary.file).write_all(bytes)?;
            renameat(&self.fd, &temporary.name, &self.fd, name)?;
            Ok(())
        };
        put().map_err(|e| self.failed(name, &e))
    }

    /// Reads a file that is not larger than it can be; none when it is not there.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Refused> {
        let file = self.existing(name, OFlags::RDONLY, &|stat| self.believe(name, stat))?;
        let Some((file, _)) = file else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = file.take(limit + 1).read_to_end(&mut bytes);
        if read.map_err(|e| self.failed(name, &e))? as u64 > limit {
            let remedy = format!("remove it: rm {}", self.shown(name));
            return Err(self.refused(name, format!("more than {limit} bytes"), remedy));
        }
        Ok(Some(bytes))
    }

    /// A lock, made if it is not there: root and the owner of the directory can both take it,
    /// whoever was first.
    pub fn lock(&self, name: &str) -> Result<File, Refused> {
        for _ in 0..TRIES {
            if let Some(file) = self.existing_lock(name)? {
                return Ok(file);
            }
            self.make_lock(name).map_err(|e| self.failed(name, &e))?;
        }
        let remedy = "find out who removes it".to_owned();
        Err(self.refused(name, "it is gone each time that it was made".to_owned(), remedy))
    }

    /// A lock; none when it is not there.
    pub fn existing_lock(&self, name: &str) -> Result<Option<File>, Refused> {
        let is_lock = |stat: &Stat| self.believe_lock(name, stat);
        let Some((file, stat)) = self.existing(name, OFlags::RDWR, &is_lock)? else {
            return Ok(None);
        };
        if stat.st_nlink == 0 {
            return Ok(None); // removed since
        }
        // Root's own from before the directory was given to somebody. What says nothing of us is
        // no lock, and not given away.
        if stat.st_uid == 0 && is_signed(&file) {
            let _ = self.give(&file);
        }
        Ok(Some(file))
    }

    /// It gets its name when its owner can open it: to fail for a moment is to fail.
    fn make_lock(&self, name: &str) -> io::Result<()> {
        let temporary = Temporary::new(self, name, LOCK)?;
        self.give(&temporary.file)?;
        let flags = RenameFlags::NOREPLACE;
        match renameat_with(&self.fd, &temporary.name, &self.fd, name, flags) {
            // systemd may have given the directory away meanwhile.
            Ok(()) => self.give(&temporary.file),
            Err(Errno::EXIST) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Gives what root has made to the owner of the directory.
    fn give(&self, file: &File) -> io::Result<()> {
        let directory = fstat(&self.fd)?;
        if !geteuid().is_root() || directory.st_uid == 0 {
            return Ok(());
        }
        let (user, group) = (directory.st_uid, directory.st_gid);
        Ok(fchown(file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?)
    }

    /// Opens what is there, if it is as it must be.
    fn existing(
        &self,
        name: &str,
        access: OFlags,
        believe: &dyn Fn(&Stat) -> Result<(), Refused>,
    ) -> Result<Option<(File, Stat)>, Refused> {
        let failed = |e: Errno| self.failed(name, &e.into());
        // What is no file is not even opened: that alone may do things to a device.
        match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => believe(&stat)?,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(failed(e)),
        }
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        // It may be another one by now.
        let stat = fstat(&file).map_err(failed)?;
        believe(&stat)?;
        Ok(Some((file, stat)))
    }

    fn believe(&self, name: &str, stat: &Stat) -> Result<(), Refused> {
        self.believe_owner(name, stat)?;
        let directory = fstat(&self.fd).map_err(|e| self.failed(name, &e.into()))?;
        // In one like /tmp nobody else can put another in its place.
        if is_open(&directory) && directory.st_mode & 0o1000 == 0 {
            let reason = format!("others may write in its directory, by mode {}", mode(&directory));
            return Err(self.refused(name, reason, format!("chmod go-w {}", self.path.display())));
        }
        if is_open(stat) {
            let reason = format!("others may write it, by mode {}", mode(stat));
            let remedy = format!("see what it says, then chmod go-w {}", self.shown(name));
            return Err(self.refused(name, reason, remedy));
        }
        Ok(())
    }

    /// What is written into a lock is written into all its names.
    fn believe_lock(&self, name: &str, stat: &Stat) -> Result<(), Refused> {
        self.believe_owner(name, stat)?;
        if stat.st_nlink > 1 {
            let reason = format!("a file with {} names, where a lock should be", stat.st_nlink);
            return Err(self.refused(name, reason, self.make_anew(name)));
        }
        Ok(())
    }

    fn believe_owner(&self, name: &str, stat: &Stat) -> Result<(), Refused> {
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            let reason = format!("{}, where a file should be", kind(stat));
            return Err(self.refused(name, reason, self.make_anew(name)));
        }
        let directory = fstat(&self.fd).map_err(|e| self.failed(name, &e.into()))?;
        if ![0, geteuid().as_raw(), directory.st_uid].contains(&stat.st_uid) {
            let user = stat.st_uid;
            let reason =
                format!("it belongs to user {user}, who is neither root nor the directory's owner");
            return Err(self.refused(name, reason, self.make_anew(name)));
        }
        Ok(())
    }

    fn make_anew(&self, name: &str) -> String {
        format!("remove it, and it is made anew: rm {}", self.shown(name))
    }

    fn refused(&self, name: &str, reason: String, remedy: String) -> Refused {
        Refused { file: self.path.join(name), reason, remedy }
    }

    fn failed(&self, name: &str, e: &io::Error) -> Refused {
        let remedy = match Errno::from_io_error(e) {
            Some(Errno::ACCESS | Errno::PERM) => self.let_in(name),
            _ => remedy(e),
        };
        self.refused(name, e.to_string(), remedy)
    }

    /// What to do when the system says no.
    fn let_in(&self, name: &str) -> String {
        let us = geteuid().as_raw();
        match fstat(&self.fd) {
            Ok(stat) if stat.st_uid == us && us != 0 => {
                format!("as root: chown {us} {}", self.shown(name))
            }
            Ok(stat) if us == 0 => {
                let owner = stat.st_uid;
                format!("give it CAP_DAC_OVERRIDE and CAP_CHOWN, or run it as user {owner}")
            }
            Ok(stat) => format!("run it as root, or as user {}", stat.st_uid),
            Err(_) => "run it as root".to_owned(),
        }
    }

    fn shown(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

// ===== impl Refused =====

impl Refused {
    /// A directory that could not be opened or made.
    pub fn directory(path: &Path, e: &io::Error) -> Refused {
        let remedy = match Errno::from_io_error(e) {
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
                "run it as root, or let systemd make it: RuntimeDirectory=".to_owned()
            }
            Some(Errno::NOTDIR | Errno::EXIST) => {
                "remove what is there in the place of a directory".to_owned()
            }
            _ => remedy(e),
        };
        Refused { file: path.into(), reason: e.to_string(), remedy }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.reason)
    }
}

impl std::error::Error for Refused {}

// ===== a file that has no name of its own yet =====

/// A file under a name that nobody looks for, removed with this unless it was renamed.
struct Temporary<'a> {
    directory: &'a Directory,
    name: String,
    file: File,
}

impl Temporary<'_> {
    fn new<'a>(directory: &'a Directory, name: &str, mode: Mode) -> io::Result<Temporary<'a>> {
        let name = format!(".{name}.{}", std::process::id());
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || openat(&directory.fd, &name, flags, mode);
        let fd = match create() {
            // Left over by one that had our number and was killed.
            Err(Errno::EXIST) => {
                unlinkat(&directory.fd, &name, AtFlags::empty())?;
                create()?
            }
            created => created?,
        };
        let temporary = Temporary { directory, name, file: File::from(fd) };
        // Whatever the umask was.
        fchmod(&temporary.file, mode)?;
        Ok(temporary)
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // After a rename it is not there, which is as well.
        let _ = unlinkat(&self.directory.fd, &self.name, AtFlags::empty());
    }
}

// ===== helpers =====

fn flags_of_directory() -> OFlags {
    OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC
}

fn make_one(above: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    match mkdirat(above, name, DIRECTORY) {
        Ok(()) => {}
        // Another one was faster.
        Err(Errno::EXIST) => {
            return Ok(openat(above, name, flags_of_directory(), Mode::empty())?);
        }
        Err(e) => return Err(e.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(above, name, flags, Mode::empty())?;
    // Whatever the umask was: what stands in a directory that others may write is not believed.
    fchmod(&fd, DIRECTORY)?;
    Ok(fd)
}

/// Whether what a lock says is of us, or nothing yet.
pub fn is_signed(lock: &File) -> bool {
    let mut there = [0; SIGNATURE.len()];
    match lock.read_at(&mut there, 0) {
        Ok(0) => true,
        Ok(_) => there == *SIGNATURE.as_bytes(),
        Err(_) => false,
    }
}

/// Opens a file, of whomever, that only has to be a file.
pub fn open_file(path: &Path, more: OFlags) -> io::Result<File> {
    let flags = more | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = open(path, flags, Mode::empty())?;
    let stat = fstat(fd.as_fd())?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(File::from(fd)),
        _ => Err(io::Error::other(format!("{}, where a file should be", kind(&stat)))),
    }
}

fn is_open(stat: &Stat) -> bool {
    stat.st_mode & 0o022 != 0
}

fn mode(stat: &Stat) -> String {
    format!("{:04o}", stat.st_mode & 0o7777)
}

fn kind(stat: &Stat) -> &'static str {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => "a file",
        FileType::Symlink => "a symbolic link",
        FileType::Directory => "a directory",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        _ => "a device",
    }
}

fn remedy(e: &io::Error) -> String {
    match Errno::from_io_error(e) {
        Some(Errno::NOSPC | Errno::DQUOT) => "make room on its file system",
        Some(Errno::ROFS) => "make its file system writable",
        _ => "see the kernel's log",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    /// A directory that ends with the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let name = format!("multihome-own-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn names(path: &Path) -> Vec<String> {
        let entries = fs::read_dir(path).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_planted_under_the_temporary_name_is_removed_and_not_followed() {
        let scratch = Scratch::new("planted");
        let (dir, precious) = (scratch.0.join("d"), scratch.0.join("precious"));
        fs::write(&precious, "precious").unwrap();
        let directory = Directory::make(&dir).unwrap();
        for name in ["file", "lock"] {
            symlink(&precious, dir.join(format!(".{name}.{}", std::process::id()))).unwrap();
        }
        directory.write("file", b"text").unwrap();
        drop(directory.lock("lock").unwrap());
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        assert_eq!(names(&dir), ["file", "lock"]);
        assert_eq!(directory.read("file", 4), Ok(Some(b"text".to_vec())));
    }

    #[test]
    fn a_link_in_the_place_of_a_file_is_replaced_and_never_written_through() {
        let scratch = Scratch::new("links");
        let (dir, precious) = (scratch.0.join("d"), scratch.0.join("precious"));
        fs::write(&precious, "precious").unwrap();
        let directory = Directory::make(&dir).unwrap();
        symlink(&precious, dir.join("file")).unwrap();
        symlink(&precious, dir.join("lock")).unwrap();
        fs::hard_link(&precious, dir.join("hard")).unwrap();
        let refused = directory.read("file", 100).unwrap_err();
        assert!(refused.reason.contains("a symbolic link"), "{refused}");
        directory.write("file", b"text").unwrap();
        assert!(dir.join("file").symlink_metadata().unwrap().is_file());
        for (lock, reason) in [("lock", "a symbolic link"), ("hard", "2 names")] {
            let refused = directory.lock(lock).unwrap_err();
            assert!(refused.reason.contains(reason), "{refused}");
            assert!(refused.remedy.contains(&format!("rm {}", dir.display())), "{refused:?}");
        }
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    }

    #[test]
    fn what_others_may_write_is_not_believed() {
        let scratch = Scratch::new("modes");
        let directory = Directory::open(&scratch.0).unwrap();
        let chmod = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        chmod(&scratch.0, 0o755);
        directory.write("file", b"text").unwrap();
        for (of_directory, of_file, believed) in [
            (0o755, 0o644, true),
            (0o755, 0o600, true),
            (0o1777, 0o644, true),
            (0o755, 0o664, false),
            (0o755, 0o646, false),
            (0o775, 0o644, false),
            (0o777, 0o644, false),
        ] {
            chmod(&scratch.0.join("file"), of_file);
            chmod(&scratch.0, of_directory);
            let read = directory.read("file", 4);
            assert_eq!(read.is_ok(), believed, "{of_directory:o} {of_file:o}: {read:?}");
        }
        chmod(&scratch.0, 0o755);
        assert!(directory.read("file", 3).unwrap_err().reason.contains("more than 3 bytes"));
        assert_eq!(directory.read("absent", 4), Ok(None));
    }

    #[test]
    fn directories_are_made_with_those_above() {
        let scratch = Scratch::new("make");
        let path = scratch.0.join("a/b/c");
        Directory::make(&path).unwrap();
        Directory::make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o755);
        fs::write(path.join("file"), "").unwrap();
        let e = Directory::make(&path.join("file/d")).unwrap_err();
        assert_eq!(Errno::from_io_error(&e), Some(Errno::NOTDIR));
    }

    #[test]
    fn a_lock_is_made_once() {
        let scratch = Scratch::new("lock");
        let directory = Directory::open(&scratch.0).unwrap();
        let inode = |file: File| file.metadata().unwrap().ino();
        assert!(directory.existing_lock("lock").unwrap().is_none());
        let first = directory.lock("lock").unwrap();
        assert_eq!(first.metadata().unwrap().mode() & 0o7777, 0o600);
        directory.make_lock("lock").unwrap();
        assert_eq!(inode(directory.lock("lock").unwrap()), inode(first));
        assert_eq!(names(&scratch.0), ["lock"]);
    }
}
