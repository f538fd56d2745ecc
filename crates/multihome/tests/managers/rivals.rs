//! Others who do the same job, the real ones: what they make is told to be theirs and left alone,
//! all answers leave by the right card all the same, and what `status` says to be done, done as it
//! stands there, takes them away and leaves everything answered.
//!
//! What distributions do not have is in the tests on the kernel, with the rules that it writes.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use multihome_lab::Topology;
use rustix::process::Signal;
use serde_json::Value;

use crate::machine::{Machine, PATIENCE, write};
use crate::runner::tests;
use crate::tree::set_mode;
use crate::world::eventually;

tests![amazon_ec2_net_utils, netplan_as_cloud_init_writes_it, ifupdown_multi];

fn amazon_ec2_net_utils() {
    let mut machine = Machine::served(Topology::TwoSubnets);
    let _metadata = Metadata::start(&machine);
    // It is for the drivers of the cloud.
    machine.sh("sed -i s/^Driver=.*/Driver=veth/ /usr/lib/systemd/network/80-ec2.network");
    let _system = machine.boot(&["systemd-networkd"]);
    let daemon = machine.run();
    machine.assert_all_answer_within(PATIENCE);
    let as_udev_does = "for card in ens5 ens6; do systemctl enable --now --no-block \
                        policy-routes@$card.service refresh-policy-routes@$card.timer; done; true";
    machine.sh(as_udev_does);
    for family in ["-4", "-6"] {
        machine.until(&format!("ip {family} rule | grep -q 'lookup 10001 proto static'"));
    }
    daemon.says("amazon-ec2-net-utils does the same job");
    machine.assert_all_answer_within(PATIENCE);
    eventually("all of it is seen", PATIENCE, || the_rival(&machine)["certain"] == true);
    let theirs = machine.sh("ip -4 rule; ip -6 rule");
    let rival = the_rival(&machine);
    assert_eq!(rival["tool"], "ec2-net-utils");
    assert_eq!(rival["asked"], "between");
    assert_eq!(rival["detours"], serde_json::json!([]), "{rival:#?}");
    for line in theirs.lines().filter(|l| l.contains("lookup 10001")) {
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(rival["rules"].as_array().unwrap().contains(&line.as_str().into()), "{line}");
    }

    follow(&machine, &rival);
    eventually("its rules are gone", PATIENCE, || rivals(&machine).is_empty());
    machine.assert_all_answer_within(PATIENCE);
    // A card that comes back starts nothing again.
    machine.shell(as_udev_does);
    thread::sleep(Duration::from_secs(1));
    let left = machine.sh("ip rule; ls /run/systemd/network");
    assert!(!left.contains("lookup 10001") && !left.contains("70-ens6"), "it came back: {left}");
    machine.assert_all_answer_at_once();
}

/// As cloud-init 25.1 renders what EC2 says of two cards, but for the hardware addresses.
const OF_CLOUD_INIT: &str = r#"
network:
  version: 2
  renderer: networkd
  ethernets:
    ens5:
      dhcp4: true
      dhcp4-overrides:
        route-metric: 100
      dhcp6: true
      dhcp6-overrides:
        route-metric: 100
    ens6:
      dhcp4: true
      dhcp4-overrides:
        use-routes: true
        route-metric: 200
      dhcp6: true
      dhcp6-overrides:
        use-routes: true
        route-metric: 200
      routes:
      - table: 101
        to: "0.0.0.0/0"
        via: "10.0.1.1"
      - scope: "link"
        table: 101
        to: "10.0.1.0/24"
      - scope: "link"
        table: 101
        to: "2001:db8:b::/64"
      routing-policy:
      - table: 101
        from: "10.0.1.204"
      - table: 101
        from: "2001:db8:b::204"
"#;

fn netplan_as_cloud_init_writes_it() {
    let mut machine = Machine::served(Topology::TwoSubnets);
    let file = "/etc/netplan/50-cloud-init.yaml";
    write(file, OF_CLOUD_INIT);
    set_mode(file.as_ref(), 0o600);
    write("/etc/cloud/cloud.cfg.d/05_logging.cfg", "");
    let _system = machine.boot(&["systemd-networkd"]);
    let daemon = machine.run();
    machine.until("ip -4 rule | grep -q 'lookup 101 proto static'");
    machine.assert_all_answer_within(PATIENCE);
    daemon.says("cloud-init does the same job");
    eventually("its rules of both families are seen", PATIENCE, || {
        the_rival(&machine)["rules"].as_array().is_some_and(|r| r.len() == 2)
    });
    let rival = the_rival(&machine);
    assert_eq!((&rival["tool"], &rival["certain"]), (&"cloud-init".into(), &true.into()));

    follow(&machine, &rival);
    eventually("its rules are gone", PATIENCE, || rivals(&machine).is_empty());
    assert!(!machine.sh("ip rule; ip -6 rule").contains("lookup 101"), "{}", machine.dump());
    assert_eq!(
        std::fs::read_to_string("/etc/cloud/cloud.cfg.d/99-no-net.cfg").unwrap(),
        "network: {config: disabled}\n"
    );
    machine.assert_all_answer_within(PATIENCE);
}

fn ifupdown_multi() {
    let machine = Machine::served(Topology::TwoSubnets);
    let mut interfaces = String::new();
    for (table, card) in machine.lab.cards().iter().enumerate() {
        let (name, gateway) = (&card.name, card.gateway4);
        interfaces += &format!("auto {name}\n");
        for address in &card.addresses {
            let family = if address.address.is_ipv4() { "inet" } else { "inet6" };
            interfaces += &format!("iface {name} {family} static\n    address {address}\n");
            if family == "inet" {
                interfaces += &format!("    multi_table {}\n", table + 1);
                interfaces += &format!("    multi_gateway {gateway}\n");
            }
        }
    }
    write("/etc/network/interfaces", &interfaces);
    machine.sh("ifup -a");
    let daemon = machine.run();
    machine.assert_all_answer_within(PATIENCE);
    daemon.says("ifupdown-multi does the same job");
    let rival = the_rival(&machine);
    assert_eq!((&rival["tool"], &rival["asked"]), (&"ifupdown-multi".into(), &"never".into()));
    assert_eq!(rival["rules"].as_array().unwrap().len(), 2, "{rival:#?}");

    assert!(rival["cure"]["mind"][0].as_str().unwrap().contains("first set `gateway`"));
    machine.configure(
        "[interface.ens5]\ngateway = \"10.0.0.1\"\n[interface.ens6]\ngateway = \"10.0.1.1\"\n",
    );
    daemon.signal(Signal::HUP);
    follow(&machine, &rival);
    eventually("its rules are gone", PATIENCE, || rivals(&machine).is_empty());
    machine.assert_all_answer_within(PATIENCE);
    assert!(!machine.sh("cat /etc/network/interfaces; ip rule").contains("multi_"));
}

// ===== what is said =====

fn rivals(machine: &Machine) -> Vec<Value> {
    let said = machine.multihome("status --json");
    let status: Value = serde_json::from_str(&said.out).unwrap();
    status["rivals"].as_array().unwrap().clone()
}

#[track_caller]
fn the_rival(machine: &Machine) -> Value {
    let mut rivals = rivals(machine);
    assert_eq!(rivals.len(), 1, "{rivals:#?}\n{}", machine.dump());
    rivals.remove(0)
}

/// Does what `status` says, as it stands there.
#[track_caller]
fn follow(machine: &Machine, rival: &Value) {
    for commands in [&rival["cure"]["commands"], &rival["cure"]["deletions"]] {
        for command in commands.as_array().unwrap() {
            machine.sh(command.as_str().unwrap());
        }
    }
}

// ===== what EC2 says of an instance =====

/// The instance's metadata, at the address where they are.
struct Metadata {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

impl Metadata {
    fn start(machine: &Machine) -> Metadata {
        let mut texts = BTreeMap::new();
        for (number, card) in machine.lab.cards().iter().enumerate() {
            let link = machine.json(&format!("link show {}", card.name)).remove(0);
            let mac = link["address"].as_str().unwrap();
            if number == 0 {
                texts.insert("mac".to_owned(), mac.to_owned());
            }
            let mut add = |key: &str, text: String| {
                texts.insert(format!("network/interfaces/macs/{mac}/{key}"), text);
            };
            add("device-number", number.to_string());
            add("interface-id", format!("eni-{number}"));
            for (address, subnet) in card.addresses.iter().zip(&card.subnets) {
                let v4 = address.address.is_ipv4();
                let [addresses, networks] = match v4 {
                    true => ["local-ipv4s", "subnet-ipv4-cidr-block"],
                    false => ["ipv6s", "subnet-ipv6-cidr-blocks"],
                };
                add(addresses, address.address.to_string());
                add(networks, subnet.to_string());
            }
        }
        let router = Arc::clone(machine.lab.fabric().netns());
        router.add_address("ens5", &format!("{ADDRESS}/32").parse().unwrap()).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            router.enter().unwrap();
            let listener = TcpListener::bind((ADDRESS, 80)).unwrap();
            listener.set_nonblocking(true).unwrap();
            while !until.load(Ordering::Acquire) {
                match listener.accept() {
                    // Whoever asks may go before the answer.
                    Ok((asker, _)) => drop(answer(asker, &texts)),
                    Err(_) => thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Metadata { stop, thread: Some(thread) }
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(asker: TcpStream, texts: &BTreeMap<String, String>) -> io::Result<()> {
    asker.set_nonblocking(false)?;
    asker.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut lines = BufReader::new(&asker).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let mut words = request.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let text = match method {
        "PUT" => Some("a-token"),
        _ => path.split_once("/meta-data/").and_then(|(_, key)| texts.get(key)).map(String::as_str),
    };
    let status = if text.is_some() { "200 OK" } else { "404 Not Found" };
    let text = text.unwrap_or_default();
    let len = text.len();
    write!(&asker, "HTTP/1.0 {status}\r\nContent-Length: {len}\r\n\r\n{text}")
}
