//! A connection of a client that stays open while things happen.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use multihome_core::Family;

use crate::engine::Bed;
use crate::flows::PUBLISHED;

/// One to somebody who echoes: the host, or the published container.
pub struct Connection(TcpStream);

/// How long one may take to be there.
const PATIENCE: Duration = Duration::from_secs(3);

impl Connection {
    /// Opens one from the remote client to a port on a card.
    #[track_caller]
    pub fn open(bed: &Bed, card: usize, port: u16, family: Family) -> Connection {
        let to = SocketAddr::new(bed.host.lab.cards()[card].address(family).unwrap(), port);
        let stream = bed.host.remote().run(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap();
        let stream = stream.unwrap_or_else(|e| panic!("{to}: {e}\n{}", bed.dump()));
        let mut connection = Connection(stream);
        assert!(connection.goes_on(Duration::from_secs(1)), "{to}\n{}", bed.dump());
        connection
    }

    /// Opens one to the published port on the second card of a host without multihome: while the
    /// default is by that card.
    #[track_caller]
    pub fn before_multihome(bed: &Bed, family: Family) -> Connection {
        let lab = &bed.host.lab;
        lab.withdraw_gateway("ens5").unwrap();
        let connection = Connection::open(bed, 1, PUBLISHED, family);
        lab.renew("ens5").unwrap();
        // The last IPv6 default to be advertised is the last to be taken.
        lab.withdraw_gateway("ens6").unwrap();
        lab.renew("ens6").unwrap();
        connection
    }

    /// Whether bytes come back in time.
    pub fn goes_on(&mut self, within: Duration) -> bool {
        // What was sent in vain before is echoed first.
        let sent = self.0.write_all(b".").is_ok();
        self.0.set_read_timeout(Some(within)).unwrap();
        sent && self.0.read_exact(&mut [0]).is_ok()
    }
}
