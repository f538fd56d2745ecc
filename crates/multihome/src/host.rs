//! What the doctor wants to know of this host beside its network; everybody may read it.

use std::path::Path;

use multihome_core::model::Host;
use multihome_kernel::proc_net;
use multihome_sources::networkd_conf;

/// Reads it.
pub fn read() -> Host {
    Host {
        release: proc_net::release(),
        vendor: proc_net::dmi("sys_vendor"),
        product_name: proc_net::dmi("product_name"),
        product_version: proc_net::dmi("product_version"),
        chassis_asset_tag: proc_net::dmi("chassis_asset_tag"),
        counters: proc_net::counters(),
        wildcard_udp: proc_net::wildcard_udp(),
        networkd: Some(networkd_conf::read(Path::new("/"))),
    }
}
