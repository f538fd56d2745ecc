//! dhcpcd, which handles leases and router advertisements itself, in the main table.

use std::fs;
use std::time::Duration;

use multihome_core::Prefix;
use multihome_lab::{Ifaddr, Prober, Topology};
use rustix::process::Signal;

use crate::common::program::Program;
use crate::machine::{By, Machine, PATIENCE, Rules, stories};
use crate::server::Conduct;
use crate::state::{State, rules, table};
use crate::world::{Daemon, eventually};

stories![
    leases_in_two_subnets,
    leases_in_one_subnet,
    a_renewal,
    a_renewal_brings_another_gateway,
    a_refusal_brings_another_address,
    a_lease_expires,
    a_lease_is_given_back,
    option_121_outranks_the_routers,
    a_carrier_is_lost,
    a_card_is_pulled_and_put_back,
    a_router_withdraws,
    a_reboot,
];

const SECOND: &str = "10.0.1.204";
const SECOND6: &str = "2001:db8:b::204";
/// The longest silence that is taken for a loaded machine's.
const PAUSE: Duration = Duration::from_millis(500);

/// A host with dhcpcd on both cards, and what goes on in it.
struct Host {
    machine: Machine,
    _daemon: Option<Daemon>,
    dhcpcd: Program,
}

impl Host {
    /// Both cards have their leases, and every address answers everybody.
    #[track_caller]
    fn new(topology: Topology, by: By, prepare: impl FnOnce(&mut Machine)) -> Host {
        let mut machine = Machine::served(topology);
        prepare(&mut machine);
        let daemon = machine.kept_right(by);
        let dhcpcd = start(&machine);
        let host = Host { machine, _daemon: daemon, dhcpcd };
        host.machine.assert_all_answer_within(PATIENCE);
        host
    }

    /// Leases are renewed every other second.
    #[track_caller]
    fn renewed(by: By) -> Host {
        Host::new(Topology::TwoSubnets, by, |machine| {
            for card in ["ens5", "ens6"] {
                machine.server(card).lease4(|l| l.renew = Some(2));
                machine.server(card).lease6(|l| l.renew = Some(2));
            }
        })
    }
}

/// There is no udev for it to ask, and no other host that might have its addresses.
fn start(machine: &Machine) -> Program {
    machine.start("dhcpcd --nodev --noarp --nobackground ens5 ens6")
}

fn leases_in_two_subnets(by: By) {
    let Host { machine, .. } = Host::new(Topology::TwoSubnets, by, |_| ());
    // It leaves each of them its default route, unlike dhclient.
    let defaults = machine.ip("-4 route show default");
    assert!(defaults.lines().count() == 2, "{defaults}");
}

fn leases_in_one_subnet(by: By) {
    Host::new(Topology::SameSubnet, by, |_| ());
}

fn a_renewal(by: By) {
    let Host { machine, .. } = &Host::renewed(by);
    let before = State::of(machine);
    let strayed = machine.strayed();
    let rules = Rules::listen(machine);
    let probers =
        [SECOND, SECOND6].map(|a| Prober::start(machine.remote(), a.parse().unwrap()).unwrap());
    for _ in 0..2 {
        machine.server("ens6").wait_for_next("ack", PATIENCE);
        machine.server("ens6").wait_for_next("reply", PATIENCE);
    }
    for prober in probers {
        let count = prober.stop();
        assert!(count.gap < PAUSE, "{count:?}");
    }
    assert_eq!(rules.stop(), [""; 0], "no rule was touched");
    assert_eq!(machine.strayed(), strayed);
    State::of(machine).ours().assert_is(&before.ours(), "after renewals");
}

fn a_renewal_brings_another_gateway(by: By) {
    let Host { machine, .. } = &mut Host::renewed(by);
    let strayed = machine.strayed();
    let new = "10.0.1.9".parse().unwrap();
    machine.lab.fabric().netns().add_address("ens6", &Ifaddr::new(new, 32)).unwrap();
    let prober = Prober::start(machine.remote(), SECOND.parse().unwrap()).unwrap();
    machine.server("ens6").lease4(|l| l.routers = vec!["10.0.1.9".parse().unwrap()]);
    eventually("the table has the new gateway only", PATIENCE, || {
        let routes = table(machine, "-4", "10003");
        let gateways = routes.iter().filter(|r| r.starts_with("default "));
        gateways.map(|r| r.starts_with("default via 10.0.1.9 dev ens6")).eq([true])
    });
    let count = prober.stop();
    assert!(count.gap < PAUSE, "{count:?}");
    machine.lab.fabric().netns().del_address("ens6", &Ifaddr::new(new, 32)).unwrap();
    machine.change_gateway("ens6", Some("10.0.1.9".parse().unwrap()), None);
    machine.assert_all_answer_within(PATIENCE);
    assert_eq!(machine.strayed(), strayed);
}

fn a_refusal_brings_another_address(by: By) {
    let Host { machine, .. } = &mut Host::renewed(by);
    let new: Ifaddr = "10.0.1.205/24".parse().unwrap();
    machine.lab.add_address("ens6", new).unwrap();
    machine.server("ens6").lease4(|l| l.address = "10.0.1.205".parse().unwrap());
    machine.server("ens6").wait_for_next("nak", PATIENCE);
    eventually("the rules are those of the new address", PATIENCE, || {
        let rules = rules(machine, "-4").join("\n");
        rules.contains("10003: from 10.0.1.205 ") && !rules.contains(SECOND)
    });
    machine.lab.del_address("ens6", SECOND.parse().unwrap()).unwrap();
    machine.assert_all_answer_within(PATIENCE);
}

fn a_lease_expires(by: By) {
    let Host { machine, .. } = &Host::new(Topology::TwoSubnets, by, |machine| {
        // dhcpcd takes no IPv4 lease for less than twenty seconds.
        machine.server("ens6").lease4(|l| (l.seconds, l.renew, l.rebind) = (20, Some(3), Some(5)));
        machine.server("ens6").lease6(|l| (l.seconds, l.renew) = (8, Some(3)));
    });
    let strayed = machine.strayed();
    let probers = ["10.0.0.129", SECOND]
        .map(|a| Prober::start(machine.remote(), a.parse().unwrap()).unwrap());
    machine.server("ens6").conduct(Conduct::Silent);
    let [first, _second] = probers;
    eventually("no rule is left of what expired", PATIENCE * 2, || is_without(machine));
    let count = first.stop();
    assert!(count.gap < PAUSE, "{count:?}");
    assert_eq!(machine.strayed(), strayed);
    machine.server("ens6").conduct(Conduct::Answers);
    machine.assert_all_answer_within(PATIENCE * 2);
}

fn a_lease_is_given_back(by: By) {
    let Host { machine, dhcpcd, _daemon } = Host::renewed(by);
    let is_left = || {
        eventually("no rule is left", PATIENCE, || {
            rules(&machine, "-4").is_empty() && rules(&machine, "-6").is_empty()
        });
    };
    stop(dhcpcd, Signal::ALARM); // RELEASE
    is_left();
    // Debian's configuration says `persistent`: it stops and leaves everything as it is.
    let dhcpcd = start(&machine);
    machine.assert_all_answer_within(PATIENCE);
    stop(dhcpcd, Signal::TERM);
    machine.assert_all_answer_at_once();
    machine.sh("sed -i /^persistent/d /etc/dhcpcd.conf");
    let dhcpcd = start(&machine);
    for words in ["ens5: leased", "ens6: leased", "ens5: renew in", "ens6: renew in"] {
        dhcpcd.says(words, PATIENCE);
    }
    stop(dhcpcd, Signal::TERM); // STOP; the leases stay on file
    is_left();
}

fn option_121_outranks_the_routers(by: By) {
    let route = |dst: &str, gateway: &str| -> (Prefix, _) {
        (dst.parse().unwrap(), gateway.parse().unwrap())
    };
    let Host { machine, .. } = &Host::new(Topology::TwoSubnets, by, |machine| {
        machine.change_gateway("ens6", Some("10.0.1.9".parse().unwrap()), None);
        machine.server("ens6").lease4(|l| {
            l.routers = vec!["10.0.1.1".parse().unwrap()]; // dead
            l.classless = vec![
                route("0.0.0.0/0", "10.0.1.9"),
                route("203.0.113.0/24", "10.0.1.10"),
                route("192.168.77.128/25", "0.0.0.0"),
            ];
        });
    });
    let routes = table(machine, "-4", "10003");
    for wanted in ["default via 10.0.1.9 ", "203.0.113.0/24 via 10.0.1.10 ", "192.168.77.128/25 "] {
        assert!(routes.iter().any(|r| r.starts_with(wanted)), "{wanted}: {routes:#?}");
    }
}

fn a_carrier_is_lost(by: By) {
    let Host { machine, .. } = &Host::new(Topology::TwoSubnets, by, |_| ());
    let strayed = machine.strayed();
    machine.lab.set_carrier("ens6", false).unwrap();
    // dhcpcd takes the addresses away.
    eventually("no address is left on the card", PATIENCE, || {
        !machine.ip("address show dev ens6").contains("10.0.1.")
    });
    machine.assert_answers("10.0.0.129");
    // Connections of an IPv6 address that is gone try again by main's default, once its rules are
    // gone too: the kernel does not ask whether a source is still there.
    if let By::Daemon = by {
        assert_eq!(machine.strayed(), strayed);
    }
    machine.lab.set_carrier("ens6", true).unwrap();
    machine.assert_all_answer_within(PATIENCE * 2);
}

fn a_card_is_pulled_and_put_back(by: By) {
    let Host { machine, .. } = &mut Host::new(Topology::TwoSubnets, by, |_| ());
    let strayed = machine.strayed();
    machine.pull("ens6");
    machine.assert_answers("10.0.0.129");
    if let By::Daemon = by {
        assert_eq!(machine.strayed(), strayed);
    }
    eventually("no rule is left of what was pulled", PATIENCE, || is_without(machine));
    machine.assert_answers("10.0.0.129");
    machine.plug("ens6");
    machine.assert_all_answer_within(PATIENCE * 2);
}

fn a_router_withdraws(by: By) {
    let Host { machine, .. } = &Host::new(Topology::TwoSubnets, by, |_| ());
    let strayed = machine.strayed();
    machine.server("ens6").router(|r| r.lifetime = 0);
    machine.assert_refused(SECOND6, Duration::from_secs(5));
    assert_eq!(machine.strayed(), strayed);
    machine.server("ens6").router(|r| r.lifetime = 1800);
    machine.assert_all_answer_within(PATIENCE);
}

fn a_reboot(by: By) {
    let Host { mut machine, dhcpcd: _dhcpcd, _daemon } =
        Host::new(Topology::TwoSubnets, by, |_| ());
    machine.reboot();
    // While it was off the gateway changed, so that the lease on file is wrong.
    machine.change_gateway("ens6", Some("10.0.1.9".parse().unwrap()), None);
    fs::create_dir_all("/run/dhcpcd").unwrap();
    let _daemon = (by == By::Daemon).then(|| machine.run());
    assert_eq!(rules(&machine, "-4"), [""; 0], "of old leases nothing is made");
    let _dhcpcd = start(&machine);
    machine.assert_all_answer_within(PATIENCE);
    let routes = table(&machine, "-4", "10003").join("\n");
    assert!(routes.contains("default via 10.0.1.9 dev ens6"), "{routes}");
}

// ===== helpers =====

/// Has dhcpcd end by a signal. 9.4 misses one that comes while a hook runs.
#[track_caller]
fn stop(mut dhcpcd: Program, signal: Signal) {
    let mut count = 0;
    eventually("dhcpcd has ended", PATIENCE, || {
        let is_alive = dhcpcd.is_alive();
        if is_alive && count % 100 == 0 {
            dhcpcd.signal(signal);
        }
        count += 1;
        !is_alive
    });
}

/// Whether no rule is left of the second card's addresses.
fn is_without(machine: &Machine) -> bool {
    !machine.ip("-4 rule").contains(SECOND) && !machine.ip("-6 rule").contains(SECOND6)
}
