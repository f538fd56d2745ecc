//! By NetworkManager, which takes profiles.

use super::{bare, leased, story};
use crate::networkmanager::{AUTO, NetworkManager, configured, profile};
use crate::runner::tests;

tests![static_addresses, leases];

fn static_addresses() {
    let machine = bare();
    for card in machine.lab.cards() {
        let [v4, v6] = &card.addresses[..] else { panic!("one of each family") };
        let ipv4 = format!("method=manual\naddress1={v4},{}\n", card.gateway4);
        let ipv6 = format!("method=manual\naddress1={v6},{}\n", card.gateway6);
        profile(&card.name, &ipv4, &ipv6);
    }
    let _manager = NetworkManager::start(&machine);
    configured(&machine);
    story(&machine, "networkmanager");
}

fn leases() {
    let machine = leased();
    for card in machine.cards() {
        profile(&card, AUTO, AUTO);
    }
    let _manager = NetworkManager::start(&machine);
    configured(&machine);
    story(&machine, "networkmanager");
}
