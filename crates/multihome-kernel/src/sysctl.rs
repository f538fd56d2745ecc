//! The files under `/proc/sys/net`.
//!
//! Each network namespace has its own, and the files show those of the process that
//! opens them. Which keys there are, and what they say, is in [`multihome_core::model::sysctl`].

use std::path::PathBuf;

pub use multihome_core::model::sysctl::{conf, display};
use rustix::io::Errno;

use crate::error::Error;

// ===== reading and writing =====

/// The value at a path below `/proc/sys` (`net/ipv4/ip_forward`), without its newline.
///
/// # Errors
/// [`Error::is_absent`] when there is no such key; EINVAL for a path that leads elsewhere.
pub fn read(path: &str) -> Result<String, Error> {
    let file = file(path)?;
    let text = std::fs::read_to_string(&file)
        .map_err(|e| Error::io(format!("read {}", file.display()), &e))?;
    Ok(text.trim_end().to_owned())
}

/// Writes a value in one call, as the kernel wants it.
///
/// # Errors
/// As for [`read`]; [`Error::is_permission`] or EROFS where the host does not let us, as in many
/// containers.
pub fn write(path: &str, value: &str) -> Result<(), Error> {
    let file = file(path)?;
    // Not std::fs::write, which would create a file where none is.
    let say = |e: std::io::Error| Error::io(format!("write {}", file.display()), &e);
    let mut handle = std::fs::OpenOptions::new().write(true).open(&file).map_err(say)?;
    std::io::Write::write_all(&mut handle, format!("{value}\n").as_bytes()).map_err(say)
}

/// The file of a key. A link may be called anything but `.` and `..`, and its name has no
/// slash (`dev_valid_name`), so those parts mean that somebody is being clever.
fn file(path: &str) -> Result<PathBuf, Error> {
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(Error::system(format!("open /proc/sys/{path}"), Errno::INVAL));
    }
    Ok(PathBuf::from("/proc/sys").join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below_proc_sys() {
        for path in ["../../etc/passwd", "net//ipv4", "/etc/passwd", "", "net/./ipv4"] {
            assert_eq!(read(path).unwrap_err().errno(), Some(Errno::INVAL.raw_os_error()));
        }
    }

    #[test]
    fn what_is_not_there_is_absent() {
        let e = read("net/ipv4/conf/no-such-link/rp_filter").unwrap_err();
        assert!(e.is_absent(), "{e}");
        assert_eq!(
            e.to_string(),
            "read /proc/sys/net/ipv4/conf/no-such-link/rp_filter: ENOENT: No such file or directory"
        );
    }
}
