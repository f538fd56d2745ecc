//! Which interface has a name, here and now.
//!
//! A name alone is not enough for what came without an address: the card may be another one by
//! now, and `/run` may be shared with another network namespace that has the name, too. Asked is
//! the kernel, not `/sys/class/net`: that shows the namespace in which `/sys` was mounted.

use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// The index of an interface of this network namespace; none when it has no such interface.
pub(crate) fn index_of(name: &str) -> Result<Option<u32>, Errno> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    match name_to_index(socket, name) {
        Ok(index) => Ok(Some(index)),
        Err(Errno::NODEV) => Ok(None),
        Err(e) => Err(e),
    }
}
