//! By netplan, which writes for both of the others.

use super::{bare, leased, story, story_but};
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
    match renderer {
        Renderer::Networkd => story(&machine, "netplan"),
        // It gets no route that refuses, so IPv4 leaves by another card when its own is down.
        Renderer::NetworkManager => story_but(&machine, "netplan", |said| {
            let mut wrong = said.lines().filter(|l| l.contains("answers by")).peekable();
            wrong.peek().is_some() && wrong.all(|l| l.starts_with("while "))
        }),
    }
}

fn leases_on_networkd() {
    let mut machine = leased();
    let cards = "    ens5: {dhcp4: true, dhcp6: true}\n    ens6: {dhcp4: true, dhcp6: true}\n";
    let _system = boot(&mut machine, Renderer::Networkd, cards);
    story(&machine, "netplan");
}
