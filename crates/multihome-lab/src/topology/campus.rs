//! A university's server: a management network, which has the default route, and a fast data
//! network, which has a static route to the data network of another zone. Some clients have a
//! card in one of the networks only.

use super::{Layout, ROUTER, card, client, prefix, remote};
use crate::ifaddr::Mac;

pub(super) fn layout() -> Layout {
    let other = Mac([0x02, 0x8f, 0x53, 0x6f, 0x65, 0x76]);
    let ens192 = [0x00, 0x50, 0x56, 0x88, 0x56, 0x1f];
    let ens224 = [0x00, 0x50, 0x56, 0x88, 0x44, 0x18];
    let management = card(
        "ens192",
        ens192,
        ROUTER,
        "10.225.160.1",
        &["10.225.160.38/24", "2001:db8:160::38/64"],
    );
    let mut data =
        card("ens224", ens224, other, "10.225.176.1", &["10.225.176.38/24", "2001:db8:176::38/64"]);
    data.default4 = None;
    data.default6 = false;
    data.statics = vec![prefix("10.225.144.0/24"), prefix("2001:db8:144::/64")];
    Layout {
        cards: vec![management, data],
        clients: vec![
            remote("internet"),
            client(
                "management",
                "in another zone's management network",
                "10.225.128.1",
                &["10.225.128.20/24", "2001:db8:128::20/64"],
            ),
            client(
                "data",
                "in another zone's data network",
                "10.225.144.1",
                &["10.225.144.20/24", "2001:db8:144::20/64"],
            ),
            client(
                "near-ens192",
                "in the host's management network",
                "10.225.160.1",
                &["10.225.160.77/24", "2001:db8:160::77/64"],
            ),
            client(
                "near-ens224",
                "in the host's data network",
                "10.225.176.1",
                &["10.225.176.77/24", "2001:db8:176::77/64"],
            ),
        ],
        container: None,
    }
}
