//! Two subnets, and a container behind a bridge on the host: what recipes that give every
//! address its own table break, because the table does not know the bridge.

use super::{Container, Layout, ifaddr, two_subnets};

pub(super) fn layout() -> Layout {
    Layout {
        container: Some(Container {
            name: "container".to_owned(),
            bridge: "docker0".to_owned(),
            gateways: vec![ifaddr("172.17.0.1/16"), ifaddr("fd00:172:17::1/64")],
            addresses: vec![ifaddr("172.17.0.2/16"), ifaddr("fd00:172:17::2/64")],
        }),
        ..two_subnets::layout()
    }
}
