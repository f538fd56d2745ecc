//! Two cards in one subnet: a cloud instance with a second interface, with the addresses of the
//! Debian proposal that multihome grew from. DHCPv6 gives addresses of 128 bits; what is on the
//! link is known from the router's advertisements, and both cards have the same gateways.

use super::{Card, Layout, ROUTER, card, client, prefix, remote};

pub(super) fn layout() -> Layout {
    let mut first = instance_card(
        "ens5",
        [0x02, 0xb9, 0x63, 0x80, 0x7d, 0x53],
        &["10.0.0.129/24", "2600:1f14:eeb:2203:454a:fcbd:485d:73ef/128"],
    );
    let mut second = instance_card(
        "ens6",
        [0x02, 0xad, 0xc7, 0x1a, 0x74, 0x86],
        &["10.0.0.204/24", "2600:1f14:eeb:2203:ac24:6708:2ab9:75a3/128"],
    );
    first.default4 = Some(0);
    second.default4 = Some(3);
    Layout {
        cards: vec![first, second],
        clients: vec![
            remote("remote"),
            client(
                "neighbour",
                "in the same subnet",
                "10.0.0.1",
                &["10.0.0.77/24", "2600:1f14:eeb:2203::77/64"],
            ),
        ],
        container: None,
    }
}

fn instance_card(name: &str, mac: [u8; 6], addresses: &[&str]) -> Card {
    let mut card = card(name, mac, ROUTER, "10.0.0.1", addresses);
    card.subnets = vec![prefix("10.0.0.0/24"), prefix("2600:1f14:eeb:2203::/64")];
    card
}
