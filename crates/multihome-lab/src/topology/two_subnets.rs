//! Two cards in two subnets, as two DHCP clients leave them: a default by each, the second
//! one worse, so that everything leaves by the first.

use super::{Client, Layout, ROUTER, card, client, remote};
use crate::ifaddr::Mac;

pub(super) fn layout() -> Layout {
    let other = Mac([0x02, 0x8f, 0x53, 0x6f, 0x65, 0x01]);
    let ens5 = [0x02, 0xb9, 0x63, 0x80, 0x7d, 0x53];
    let ens6 = [0x02, 0xad, 0xc7, 0x1a, 0x74, 0x86];
    let first = card("ens5", ens5, ROUTER, "10.0.0.1", &["10.0.0.129/24", "2001:db8:a::129/64"]);
    let mut second =
        card("ens6", ens6, other, "10.0.1.1", &["10.0.1.204/24", "2001:db8:b::204/64"]);
    second.default4 = Some(3);
    Layout { cards: vec![first, second], clients: clients(), container: None }
}

fn clients() -> Vec<Client> {
    vec![
        remote("remote"),
        client(
            "near-ens5",
            "in the subnet of ens5",
            "10.0.0.1",
            &["10.0.0.77/24", "2001:db8:a::77/64"],
        ),
        client(
            "near-ens6",
            "in the subnet of ens6",
            "10.0.1.1",
            &["10.0.1.77/24", "2001:db8:b::77/64"],
        ),
    ]
}
