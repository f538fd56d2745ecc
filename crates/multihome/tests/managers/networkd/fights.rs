//! What networkd deletes, and what becomes of it: when it configures a link it takes every rule of
//! the host and every route of that link for its own, unless it is told to leave rules alone
//! (`ManageForeignRoutingPolicyRules=no`: the drop-in that is shipped).
//!
//! Each address answers again within [`AGAIN`] of its last deletion, nobody fights on, and what
//! is networkd's own stays as it was.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use multihome_lab::Topology;

use super::watch::{Answers, Askers, Event, Monitor, since};
use super::{LEASES, Networkd, network, networkctl};
use crate::machine::{Machine, PATIENCE, write};
use crate::runner::tests;
use crate::state::State;
use crate::world::Daemon;

tests![
    a_start,
    a_start_with_the_drop_in,
    a_restart,
    a_restart_with_the_drop_in,
    a_stop,
    a_managed_card_is_plugged_in,
    a_managed_card_is_plugged_in_with_the_drop_in,
    a_reload_without_changes,
    a_reload_with_changes,
    a_reload_with_changes_with_the_drop_in,
    this_card_is_reconfigured,
    this_card_is_reconfigured_with_the_drop_in,
    another_card_is_reconfigured,
    another_card_is_reconfigured_with_the_drop_in,
    the_carrier_is_lost,
    the_carrier_is_lost_with_the_drop_in,
];

/// How soon after its last deletion an address answers again.
const AGAIN: Duration = Duration::from_millis(500);
/// For how long nothing happens before a fight is over.
const QUIET: Duration = Duration::from_secs(3);

const DROP_IN: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../packaging/networkd/50-multihome.conf"
));

/// A rule and a route of networkd's own, outside of main.
const OWN: &str = "[RoutingPolicyRule]\nFrom=198.18.0.0/24\nTable=300\nPriority=500\n\
    [Route]\nDestination=198.18.1.0/24\nGateway=10.0.0.1\nGatewayOnLink=yes\nTable=300\n";

/// A host on which everything is configured and answers.
struct Scene {
    machine: Machine,
    networkd: Networkd,
    daemon: Daemon,
    drop_in: bool,
    /// What strayed while a port was closed: what the clients send to it goes down the sink, too.
    closed: u64,
}

/// What an event did.
struct Account {
    events: Vec<Event>,
    answers: Vec<Answers>,
    strayed: u64,
}

// ===== impl Scene =====

impl Scene {
    #[track_caller]
    fn new(drop_in: bool) -> Scene {
        let machine = configured(drop_in);
        machine.cards().iter().for_each(|card| ask_often(&machine, card));
        let daemon = machine.run();
        let networkd = Networkd::start(&machine);
        machine.assert_all_answer_within(PATIENCE);
        Scene { machine, networkd, daemon, drop_in, closed: 0 }
    }

    /// Watches an event, and judges what came of it.
    #[track_caller]
    fn watch(&mut self, what: &str, event: impl FnOnce(&mut Scene)) -> Account {
        let monitor = Monitor::start(&self.machine);
        // What the cards' configuration brings with it comes to its end first.
        monitor.calm(Duration::from_secs(1), PATIENCE);
        let before = own(&self.machine);
        let strayed = self.machine.strayed();
        let begun = monitor.events().len();
        let askers = Askers::start(self.machine.remote(), &self.machine.lab.addresses());
        thread::sleep(Duration::from_millis(100));
        event(self);
        self.machine.assert_all_answer_within(PATIENCE);
        monitor.calm(QUIET, PATIENCE);
        let answers = askers.stop();
        let strayed = self.machine.strayed() - strayed - self.closed;
        let account = Account { events: monitor.events().split_off(begun), answers, strayed };
        account.print(what, self.drop_in);
        for e in &account.events {
            eprintln!(
                "EV {:?} {} {} {}",
                e.at,
                if e.is_deletion { "DEL" } else { "new" },
                e.kind,
                e.object
            );
        }
        let log = || format!("{}\n{}", self.daemon.log(), self.machine.dump());
        for answers in &account.answers {
            let again = account.again(answers);
            assert!(again.is_some_and(|a| a < AGAIN), "{}: {again:?}\n{}", answers.address, log());
        }
        // Four addresses are asked 200 times in a second: no more than fits into that time.
        assert!(account.strayed < 400, "{}", log());
        // Each object is there again, and that did not take many times as many.
        let objects = self.machine.json("-4 rule").len() + self.machine.json("-6 rule").len();
        let added = account.count("RULE", false);
        assert!(added <= 3 * objects, "{added} rules were made for {objects}\n{}", log());
        self.machine.assert_in_sync(PATIENCE);
        own(&self.machine).assert_is(&before, "afterwards");
        account
    }

    /// networkd deleted the rules of an address that it did nothing else to, unless it was told
    /// not to.
    #[track_caller]
    fn assert_was_deleted(&self, account: &Account, address: &str) {
        let from = format!("from {address} ");
        let is_of_it = |e: &&Event| e.kind == "RULE" && e.is_ours() && e.object.contains(&from);
        let deleted = account.events.iter().filter(is_of_it).any(|e| e.is_deletion);
        assert_eq!(deleted, !self.drop_in, "{:#?}", account.events);
    }

    /// Nothing of ours was deleted, and no answer was lost.
    #[track_caller]
    fn assert_untouched(&self, account: &Account) {
        assert_eq!(account.count("RULE", true) + account.count("ROUTE", true), 0);
        assert_eq!(account.strayed, 0);
        for answers in &account.answers {
            assert_eq!(answers.lost(), 0, "{}\n{}", answers.address, self.machine.dump());
        }
    }
}

/// Two cards that get leases, of which the first has a rule and a route of networkd's.
fn configured(drop_in: bool) -> Machine {
    let machine = Machine::served(Topology::TwoSubnets);
    if drop_in {
        write("/etc/systemd/networkd.conf.d/50-multihome.conf", DROP_IN);
    }
    network("ens5", &format!("{LEASES}{OWN}"));
    network("ens6", LEASES);
    machine
}

/// A router that asks for a neighbour once in a second would be what is measured.
fn ask_often(machine: &Machine, card: &str) {
    let router = machine.lab.fabric().netns();
    for family in ["ipv4", "ipv6"] {
        router.sysctl(&format!("{family}/neigh/{card}/retrans_time_ms"), "20").unwrap();
    }
    // Where it asks now, it begins anew.
    for address in &machine.lab.card(card).unwrap().addresses {
        let _ = router.del_neighbour(card, address.address);
    }
}

/// Rules and routes that are not ours. The kernel's and those of IPv6 defaults are not compared:
/// their nexthops come in any order.
fn own(machine: &Machine) -> State {
    let mut state = State::of(machine).foreign();
    for moving in
        ["link ", "address ", "nexthop", "\"protocol\":\"2\"", "route6 {\"dst\":\"default\""]
    {
        state = state.without(moving);
    }
    state
}

// ===== impl Account =====

impl Account {
    /// How many objects of ours were deleted, or made.
    fn count(&self, kind: &str, deleted: bool) -> usize {
        let ours = self.events.iter().filter(|e| e.is_ours() && e.kind == kind);
        ours.filter(|e| e.is_deletion == deleted).count()
    }

    /// How long after the last deletion an address answers again: that of something of ours, or of
    /// what we make it from: the address itself, and its default route.
    fn again(&self, answers: &Answers) -> Option<Duration> {
        let from = answers.answered_from()?;
        let family = |e: &Event| e.object.contains(':') == answers.address.is_ipv6();
        let address = answers.address.to_string();
        let is_what_counts = |e: &&Event| {
            (e.is_ours() && e.is_deletion)
                || (e.kind == "ADDR" && e.object.contains(&format!(" {address}/")))
                || (e.is_foreign_default() && family(e))
        };
        let before = self.events.iter().filter(is_what_counts).filter(|e| e.at <= from);
        Some(before.map(|e| since(e.at, from)).min().unwrap_or_default())
    }

    /// For the table of the documents.
    fn print(&self, what: &str, drop_in: bool) {
        let tree = crate::tree::name();
        eprintln!(
            "| {what} | {tree} | {} | {} rules, {} routes | {} rules, {} routes | strayed {} |",
            if drop_in { "drop-in" } else { "plain" },
            self.count("RULE", true),
            self.count("ROUTE", true),
            self.count("RULE", false),
            self.count("ROUTE", false),
            self.strayed,
        );
        for answers in &self.answers {
            eprintln!(
                "    {:<16} lost {:>4}, silent at most {:>7.1} ms, again {:.1} ms after the last deletion",
                answers.address.to_string(),
                answers.lost(),
                answers.longest_silence().as_secs_f64() * 1e3,
                self.again(answers).map_or(f64::NAN, |a| a.as_secs_f64() * 1e3),
            );
        }
    }

    fn of(&self, address: &str) -> &Answers {
        let address: IpAddr = address.parse().unwrap();
        self.answers.iter().find(|a| a.address == address).unwrap()
    }
}

// ===== start, restart =====

/// Who was there first has configured by hand; networkd then takes over.
fn start(drop_in: bool) {
    let machine = configured(drop_in);
    for card in machine.lab.cards() {
        machine.ip(&format!("link set {} up", card.name));
        for address in &card.addresses {
            machine.ip(&format!("address add {address} dev {}", card.name));
        }
        machine.ip(&format!(
            "route add default via {} dev {} metric {}",
            card.gateway4,
            card.name,
            90 + card.gateway4.octets()[2]
        ));
    }
    let daemon = machine.run();
    machine.assert_all_answer_within(PATIENCE);
    let networkd = Networkd::start(&machine);
    machine.assert_all_answer_within(PATIENCE);
    let monitor = Monitor::start(&machine);
    monitor.calm(QUIET, PATIENCE);
    machine.assert_in_sync(PATIENCE);
    machine.assert_all_answer_at_once();
    drop((networkd, daemon));
}

fn a_start() {
    start(false);
}

fn a_start_with_the_drop_in() {
    start(true);
}

fn restart(drop_in: bool) {
    let mut scene = Scene::new(drop_in);
    let account = scene.watch("restart", |scene| scene.networkd.restart(&scene.machine));
    assert!(account.of("10.0.1.204").longest_silence() < AGAIN);
}

fn a_restart() {
    restart(false);
}

fn a_restart_with_the_drop_in() {
    restart(true);
}

/// networkd gives up its leases, and takes the addresses away. Nothing leaves by another door.
fn a_stop() {
    let mut scene = Scene::new(false);
    scene.watch("stop, and start", |scene| {
        let strayed = scene.machine.strayed();
        scene.networkd.stop();
        scene.machine.until("! ip address | grep -qE '10.0.[01]|2001:db8'");
        thread::sleep(Duration::from_secs(1));
        assert_eq!(scene.machine.strayed(), strayed, "{}", scene.machine.dump());
        scene.machine.assert_in_sync(PATIENCE);
        scene.networkd.start_again(&scene.machine);
    });
}

// ===== hotplug =====

/// It is the first card that is plugged in, so that the second one is the disturbed one.
fn plugged_in(drop_in: bool) {
    let mut scene = Scene::new(drop_in);
    let account = scene.watch("hotplug of another card", |scene| {
        let strayed = scene.machine.strayed();
        scene.machine.pull("ens5");
        thread::sleep(Duration::from_secs(1));
        scene.machine.plug("ens5");
        ask_often(&scene.machine, "ens5");
        scene.closed = scene.machine.strayed() - strayed;
    });
    scene.assert_was_deleted(&account, "10.0.1.204");
    for address in ["10.0.1.204", "2001:db8:b::204"] {
        assert!(account.of(address).longest_silence() < AGAIN);
        assert!(!drop_in || account.of(address).lost() == 0);
    }
}

fn a_managed_card_is_plugged_in() {
    plugged_in(false);
}

fn a_managed_card_is_plugged_in_with_the_drop_in() {
    plugged_in(true);
}

// ===== reload, reconfigure =====

fn a_reload_without_changes() {
    let mut scene = Scene::new(false);
    let account = scene.watch("reload, nothing changed", |scene| {
        networkctl(&scene.machine, "reload");
    });
    scene.assert_untouched(&account);
}

fn reload(drop_in: bool) {
    let mut scene = Scene::new(drop_in);
    let account = scene.watch("reload, both files changed", |scene| {
        scene.machine.sh("for f in /etc/systemd/network/*; do echo '# changed' >> $f; done");
        networkctl(&scene.machine, "reload");
    });
    assert!(drop_in || account.count("RULE", true) > 0);
}

fn a_reload_with_changes() {
    reload(false);
}

fn a_reload_with_changes_with_the_drop_in() {
    reload(true);
}

fn this_card(drop_in: bool) {
    let mut scene = Scene::new(drop_in);
    let account = scene.watch("reconfigure of this card", |scene| {
        networkctl(&scene.machine, "reconfigure ens6");
    });
    scene.assert_was_deleted(&account, "10.0.0.129");
}

fn this_card_is_reconfigured() {
    this_card(false);
}

fn this_card_is_reconfigured_with_the_drop_in() {
    this_card(true);
}

fn another_card(drop_in: bool) {
    let mut scene = Scene::new(drop_in);
    let account = scene.watch("reconfigure of another card", |scene| {
        networkctl(&scene.machine, "reconfigure ens5");
    });
    scene.assert_was_deleted(&account, "10.0.1.204");
    for address in ["10.0.1.204", "2001:db8:b::204"] {
        assert!(account.of(address).longest_silence() < AGAIN);
        assert!(!drop_in || account.of(address).lost() == 0);
    }
}

fn another_card_is_reconfigured() {
    another_card(false);
}

fn another_card_is_reconfigured_with_the_drop_in() {
    another_card(true);
}

// ===== carrier =====

fn carrier(drop_in: bool) {
    let mut scene = Scene::new(drop_in);
    // For less time than what leads an address home is kept after it: the address that comes back
    // later is a new one, and what it is asked before its rules are there strays.
    let account = scene.watch("carrier lost for 1 s", |scene| {
        let strayed = scene.machine.strayed();
        scene.machine.lab.set_carrier("ens6", false).unwrap();
        thread::sleep(Duration::from_secs(1));
        scene.machine.lab.set_carrier("ens6", true).unwrap();
        ask_often(&scene.machine, "ens6");
        scene.closed = scene.machine.strayed() - strayed;
    });
    for address in ["10.0.0.129", "2001:db8:a::129"] {
        assert_eq!(account.of(address).lost(), 0, "the other card is disturbed");
    }
    assert_eq!(account.strayed, 0);
}

fn the_carrier_is_lost() {
    carrier(false);
}

fn the_carrier_is_lost_with_the_drop_in() {
    carrier(true);
}
