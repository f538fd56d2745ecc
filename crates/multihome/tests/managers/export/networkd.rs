//! By systemd-networkd, which takes drop-ins.

use super::{bare, leased, story};
use crate::machine::Machine;
use crate::networkd::{Networkd, network};
use crate::runner::tests;

tests![static_addresses, leases, one_file_for_all_cards, without_a_file];

/// What it says of lines that it does not understand.
const COMPLAINTS: [&str; 4] = ["Unknown", "Failed to parse", "Ignoring", "ignoring"];

#[track_caller]
fn kept(machine: &Machine) {
    let networkd = Networkd::start(machine);
    machine.until_configured();
    story(machine, "networkd");
    let log = networkd.log();
    for complaint in COMPLAINTS {
        let lines = log.lines().filter(|l| l.contains("multihome") && l.contains(complaint));
        assert_eq!(lines.collect::<Vec<_>>(), Vec::<&str>::new());
    }
}

fn static_addresses() {
    let machine = bare();
    for card in machine.lab.cards() {
        let mut lines = "[Network]\nIPv6AcceptRA=no\n".to_owned();
        for address in &card.addresses {
            lines += &format!("Address={address}\n");
        }
        lines += &format!("Gateway={}\nGateway={}\n", card.gateway4, card.gateway6);
        network(&card.name, &lines);
    }
    kept(&machine);
}

fn leases() {
    let machine = leased();
    for card in machine.cards() {
        network(&card, "[Network]\nDHCP=yes\n");
    }
    kept(&machine);
}

/// As images of clouds have it.
fn one_file_for_all_cards() {
    let machine = leased();
    crate::machine::write(
        "/etc/systemd/network/70-all.network",
        "[Match]\nName=en*\n[Network]\nDHCP=yes\n",
    );
    kept(&machine);
}

/// Somebody else has given the cards their addresses, and networkd is to take over.
fn without_a_file() {
    let machine = bare();
    for card in machine.lab.cards() {
        let name = &card.name;
        machine.ip(&format!("link set {name} up"));
        for address in &card.addresses {
            machine.ip(&format!("address add {address} dev {name} nodad"));
        }
        machine.try_ip(&format!(
            "route add default via {} dev {name} metric {}\nroute add default via {} dev {name} metric {}",
            card.gateway4,
            machine.number(name),
            card.gateway6,
            machine.number(name),
        ));
    }
    let _networkd = Networkd::start(&machine);
    let exported = super::exported(&machine, "networkd");
    exported.activate(&machine);
    machine.assert_all_answer_within(crate::machine::PATIENCE);
}
