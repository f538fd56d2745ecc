//! A network namespace, held by a file descriptor.
//!
//! A namespace is made by a thread that unshares `CLONE_NEWNET` and hands the descriptor of
//! its `ns/net` file back; it lives for as long as a descriptor, a socket or a process does
//! (network_namespaces(7)), so there is no name under `/run/netns` and nothing is left when the
//! program ends, however it ends. A netlink socket belongs for ever to the namespace in
//! which it was opened (`sock_net`), so requests need no change of namespace; sysctl files,
//! new sockets and new programs do, and get a thread that does `setns(2)` first.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use multihome_kernel::socket::Socket;
use multihome_kernel::wire::Message;
use nix::sched::{CloneFlags, setns, unshare};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::{Error, assert_own_namespace};

/// A network namespace of the laboratory.
#[derive(Debug)]
pub struct Netns {
    name: String,
    fd: OwnedFd,
    /// Any socket inside will do for `SIOCGIFINDEX`.
    inet: OwnedFd,
    netlink: Mutex<Socket>,
}

/// Packets of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that came in.
    pub received: u64,
    /// Packets that went out.
    pub sent: u64,
}

/// A file under `/proc/sys/net` and what to write into it.
pub type Sysctl<'a> = (&'a str, &'a str);

/// What every namespace starts with, so that the machine's own settings, which new namespaces
/// inherit (`net.core.devconf_inherit_init_net`), do not decide what happens in here.
const QUIET: &[Sysctl<'static>] = &[
    // First: writing it resets others (inet_forward_change).
    ("ipv4/ip_forward", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/arp_ignore", "0"),
    ("ipv4/conf/default/arp_ignore", "0"),
    ("ipv4/conf/all/arp_announce", "0"),
    ("ipv4/conf/default/arp_announce", "0"),
    ("ipv4/conf/all/arp_filter", "0"),
    ("ipv4/conf/default/arp_filter", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    // Duplicate address detection would keep each address tentative for a second or two.
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
];

/// Written where they exist: without them a bridge hands its frames to the IP layer's filters.
const BRIDGE: &[Sysctl<'static>] = &[
    ("bridge/bridge-nf-call-iptables", "0"),
    ("bridge/bridge-nf-call-ip6tables", "0"),
    ("bridge/bridge-nf-call-arptables", "0"),
];

// ===== impl Netns =====

impl Netns {
    /// Makes a namespace with `lo` up, duplicate address detection off and `sysctls` written;
    /// `name` is for messages only.
    ///
    /// # Errors
    /// When the kernel refuses, or [`crate::enter`] was not called.
    pub fn new(name: &str, sysctls: &[Sysctl<'_>]) -> Result<Netns, Error> {
        assert_own_namespace()?;
        let netns = on_thread(name, || {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|e| Error::step(name, "make a network namespace", io::Error::from(e)))?;
            Netns::current(name)
        })??;
        netns.run(|| {
            QUIET.iter().chain(sysctls).try_for_each(|s| netns.write(s, false))?;
            BRIDGE.iter().try_for_each(|s| netns.write(s, true))
        })??;
        netns.set_up("lo")?;
        Ok(netns)
    }

    /// The namespace that the calling thread is in.
    ///
    /// # Errors
    /// When it is not one of the laboratory's, or no socket can be opened in it.
    pub fn current(name: &str) -> Result<Netns, Error> {
        assert_own_namespace()?;
        let fd = fs::File::open("/proc/thread-self/ns/net")
            .map_err(|e| Error::step(name, "open /proc/thread-self/ns/net", e))?;
        let inet = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
            .map_err(|e| Error::step(name, "open a socket", e))?;
        let netlink = Socket::open().map_err(|e| Error::step(name, "open a netlink socket", e))?;
        Ok(Netns { name: name.to_owned(), fd: fd.into(), inet, netlink: Mutex::new(netlink) })
    }

    /// Its name, as messages use it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The descriptor of the namespace.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// A socket inside, for requests about links.
    pub(crate) fn inet(&self) -> &OwnedFd {
        &self.inet
    }

    /// Runs a closure inside, on a thread of its own, and waits for it.
    ///
    /// # Errors
    /// When no thread can be started or moved. A panic of the closure goes on in the caller.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, Error> {
        on_thread(&self.name, || {
            self.enter()?;
            Ok(f())
        })?
    }

    /// Moves the calling thread inside, for good: for threads that a caller keeps.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enter(&self) -> Result<(), Error> {
        setns(&self.fd, CloneFlags::CLONE_NEWNET)
            .map_err(|e| Error::step(&self.name, "enter", io::Error::from(e)))
    }

    /// Starts a program inside: the child of a thread that is there.
    ///
    /// The file system is the caller's. `/sys` shows the interfaces of the namespace in which
    /// it was mounted, so programs that look there (rather than ask by netlink) see others.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(&self, command: &mut Command) -> Result<Child, Error> {
        let program = command.get_program().to_string_lossy().into_owned();
        self.run(|| command.spawn())?
            .map_err(|e| Error::step(&self.name, format!("start {program}"), e))
    }

    /// Writes a value into a file under `/proc/sys/net`: `ipv4/conf/ens5/rp_filter`.
    ///
    /// # Errors
    /// When there is no such file, or the kernel refuses the value.
    pub fn sysctl(&self, path: &str, value: &str) -> Result<(), Error> {
        self.sysctls(&[(path, value)])
    }

    /// Writes several, on one visit.
    ///
    /// # Errors
    /// As [`Netns::sysctl`]; the first failure ends it.
    pub fn sysctls(&self, sysctls: &[Sysctl<'_>]) -> Result<(), Error> {
        self.run(|| sysctls.iter().try_for_each(|s| self.write(s, false)))?
    }

    /// The index of a link.
    ///
    /// # Errors
    /// When there is no link of that name.
    pub fn index(&self, link: &str) -> Result<u32, Error> {
        rustix::net::netdevice::name_to_index(&self.inet, link)
            .map_err(|e| Error::step(&self.name, format!("find link {link}"), e))
    }

    /// Whether there is a link of that name.
    #[must_use]
    pub fn has_link(&self, link: &str) -> bool {
        self.index(link).is_ok()
    }

    /// Reads a file of `/proc/net`, of this namespace.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn proc_net(&self, file: &str) -> Result<String, Error> {
        // `/proc/net` itself is that of the program's first thread.
        let file = format!("/proc/thread-self/net/{file}");
        self.run(|| fs::read_to_string(&file))?
            .map_err(|e| Error::step(&self.name, format!("read {file}"), e))
    }

    /// How many packets a link has received and sent.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn link_counters(&self, link: &str) -> Result<Counters, Error> {
        // "ens5: ", bytes, packets and six more of what came in, then the same of what went out.
        let text = self.proc_net("dev")?;
        let counters = text.lines().find_map(|line| {
            let (name, numbers) = line.split_once(':')?;
            let mut numbers = numbers.split_whitespace().map(|n| n.parse().ok());
            let counters = Counters { received: numbers.nth(1)??, sent: numbers.nth(7)?? };
            (name.trim() == link).then_some(counters)
        });
        counters.ok_or_else(|| {
            Error::step(&self.name, format!("count packets of {link}"), "no such link")
        })
    }

    /// Waits until a new IPv6 address works. The kernel finishes it in a work queue
    /// (`addrconf_dad_work`, also without duplicate address detection): until then there is no
    /// route in the table `local`, and the solicited-node group is not joined. What is sent to
    /// it in that moment is lost, and the next solicitation comes a second later.
    ///
    /// # Errors
    /// When that takes too long, because the link is down for one.
    pub fn settle(&self, link: &str, address: IpAddr) -> Result<(), Error> {
        const RTF_LOCAL: u32 = 0x8000_0000;
        let IpAddr::V6(v6) = address else { return Ok(()) };
        let wanted = format!("{:032x}", v6.to_bits());
        self.wait(&format!("readiness of {address} on {link}"), || {
            // Destination, length, source, length, next hop, metric, counters, flags, link.
            Ok(self.proc_net("ipv6_route")?.lines().any(|line| {
                let fields: Vec<_> = line.split_whitespace().collect();
                matches!(fields[..], [dst, "80", .., flags, dev] if dst == wanted && dev == link
                    && u32::from_str_radix(flags, 16).is_ok_and(|f| f & RTF_LOCAL != 0))
            }))
        })
    }

    /// Waits until something is so, in here.
    ///
    /// # Errors
    /// When that takes more than three seconds, or asking fails.
    pub fn wait(
        &self,
        what: &str,
        mut done: impl FnMut() -> Result<bool, Error>,
    ) -> Result<(), Error> {
        const PATIENCE: Duration = Duration::from_secs(3);
        let start = Instant::now();
        while !done()? {
            if start.elapsed() > PATIENCE {
                return Err(Error::Late {
                    what: what.to_owned(),
                    netns: self.name.clone(),
                    milliseconds: PATIENCE.as_millis(),
                });
            }
            thread::sleep(Duration::from_micros(300));
        }
        Ok(())
    }

    /// Sends a request and waits for the kernel's answer; `step` says what it does.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn request(&self, step: impl Into<String>, message: &mut Message) -> Result<(), Error> {
        // A socket is as good after a panic elsewhere as before it.
        let mut socket = self.netlink.lock().unwrap_or_else(PoisonError::into_inner);
        socket.request(message).map_err(|e| Error::step(&self.name, step, e))
    }

    fn write(&self, (path, value): &Sysctl<'_>, optional: bool) -> Result<(), Error> {
        let file = format!("/proc/sys/net/{path}");
        match fs::write(&file, value) {
            Err(e) if optional && e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => {
                other.map_err(|e| Error::step(&self.name, format!("write {value} into {file}"), e))
            }
        }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

// ===== helpers =====

fn on_thread<T: Send>(name: &str, f: impl FnOnce() -> T + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .stack_size(256 * 1024)
            .spawn_scoped(scope, f)
            .map_err(|e| Error::step(name, "start a thread", e))?;
        thread.join().map_or_else(|panic| std::panic::resume_unwind(panic), Ok)
    })
}
