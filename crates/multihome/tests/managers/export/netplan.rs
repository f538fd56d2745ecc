//! By netplan, which writes for both of the others.

use super::{bare, leased, story};
use crate::netplan::{Renderer, boot, fixed};
use crate::runner::tests;

tests![
    static_addresses_on_networkd,
    static_addresses_on_networkmanager on trixie,
    leases_on_networkd,
];

fn static_addresses_on_networkd() {
    static_addresses(Renderer::Networkd);
}

/// Before 1.1 netplan leaves the rules out.
fn static_addresses_on_networkmanager() {
    static_addresses(Renderer::NetworkManager);
}

fn static_addresses(renderer: Renderer) {
    let mut machine = bare();
    let cards = fixed(&machine);
    let _system = boot(&mut machine, renderer, &cards);
    story(&machine, "netplan");
}

fn leases_on_networkd() {
    let mut machine = leased();
    let cards = "    ens5: {dhcp4: true, dhcp6: true}\n    ens6: {dhcp4: true, dhcp6: true}\n";
    let _system = boot(&mut machine, Renderer::Networkd, cards);
    story(&machine, "netplan");
}
