//! strongSwan with everything for the other end: `220: from all lookup 220`, past which only its
//! own packets get by their mark. The kernel may have no ESP, so it is the plugin kernel-libipsec,
//! which has a device.

use multihome_core::Family;

use super::{Dig, FAR, FAR4, NEAR4, Tunnel, stories};
use crate::host::write;

stories!(EVERYTHING);

const EVERYTHING: Dig = |host, far| {
    let own = host.lab.addresses()[0].to_string();
    let near = End { name: "near", own: &own, other: FAR, ours: NEAR4, theirs: "0.0.0.0/0" };
    let end = End { name: "far", own: FAR, other: &own, ours: "0.0.0.0/0", theirs: NEAR4 };
    host.sh(&format!("ip address add {NEAR4}/32 dev lo"));
    far.machine.sh(&format!("ip address add {FAR4}/32 dev lo"));
    let there = far.machine.start(&end.command());
    let here = host.start(&near.command());
    host.until(&end.swanctl("--load-all"));
    host.until(&near.swanctl("--load-all"));
    host.sh(&near.swanctl("--initiate --child all --timeout 8"));
    host.until("ip route show table 220 | grep default");
    println!("{}", host.sh("ip rule; ip route show table 220; ip -brief address"));
    far.answers_through("ipsec0", &[Family::V4]);
    far.answers_inside(&[FAR4]);
    Tunnel {
        programs: vec![there, here],
        down: "",
        families: &[Family::V4],
        // The selectors say from where.
        takes_any_source: false,
    }
};

/// One end.
struct End<'a> {
    name: &'a str,
    own: &'a str,
    other: &'a str,
    ours: &'a str,
    theirs: &'a str,
}

impl End<'_> {
    /// The daemon, which wants files of its own below `/run`.
    fn command(&self) -> String {
        let End { own, other, ours, theirs, .. } = self;
        let socket = self.socket();
        // Which plugins have the ciphers depends on the release.
        write(
            &self.path("strongswan.conf"),
            &format!(
                "charon {{
                  load = random nonce pem pkcs1 x509 constraints kernel-libipsec \
                         kernel-netlink socket-default vici updown openssl sha1 sha2 \
                         aes hmac gmp kdf
                  plugins {{
                    vici {{ socket = {socket} }}
                    kernel-libipsec {{ allow_peer_ts = yes }}
                    kernel-netlink {{ fwmark = !0x42 }}
                    socket-default {{ fwmark = 0x42 }}
                  }}
                  filelog {{ stderr {{ default = 1 }} }}
                }}
                swanctl {{ load = pem pkcs1 x509 constraints random }}\n"
            ),
        );
        write(
            &self.path("swanctl.conf"),
            &format!(
                "connections {{ everything {{
                  local_addrs = {own}
                  remote_addrs = {other}
                  version = 2
                  encap = yes
                  proposals = aes128-sha256-modp2048
                  local {{ auth = psk
                  }}
                  remote {{ auth = psk
                  }}
                  children {{ all {{
                    local_ts = {ours}
                    remote_ts = {theirs}
                    esp_proposals = aes128-sha256
                  }} }}
                }} }}
                secrets {{ ike {{ secret = \"for a test\"
                }} }}\n"
            ),
        );
        let file = self.path("strongswan.conf");
        format!(
            "unshare --mount sh -c 'mount -t tmpfs run /run; \
             STRONGSWAN_CONF={file} exec /usr/lib/ipsec/charon'"
        )
    }

    fn swanctl(&self, what: &str) -> String {
        let file = if what.contains("load") {
            format!("--file {}", self.path("swanctl.conf"))
        } else {
            String::new()
        };
        let (conf, uri) = (self.path("strongswan.conf"), self.socket());
        format!("STRONGSWAN_CONF={conf} swanctl {what} {file} --uri {uri} 2>&1")
    }

    fn socket(&self) -> String {
        format!("unix://{}", self.path("vici.sock"))
    }

    fn path(&self, file: &str) -> String {
        format!("/etc/strongswan-{}/{file}", self.name)
    }
}
