//! By NetworkManager, which takes profiles.

use super::{bare, leased, story};
use crate::networkmanager::{AUTO, NetworkManager, configured, fixed, profile};
use crate::runner::tests;

tests![static_addresses, leases];

fn static_addresses() {
    let machine = bare();
    fixed(&machine);
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
