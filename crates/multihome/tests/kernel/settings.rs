//! Sysctls that stand in the way: raised on uplinks and nowhere else, and put back.
//!
//! The host publishes a container's port on the second card. A strict filter there drops the request,
//! for it looks the way back to the client up without knowing of the translation.

use std::fs;
use std::path::Path;
use std::time::Duration;

use multihome_lab::{Answerer, Topology};
use nix::mount::{MsFlags, mount};
use rustix::process::Signal;

use crate::runner::tests;
use crate::state::{State, rules};
use crate::world::{SOON, World, eventually};

tests![
    a_strict_filter_is_raised_on_uplinks_alone_and_put_back,
    a_strict_filter_of_all_is_left_and_the_uplinks_are_raised,
    a_filter_that_is_off_or_loose_stays,
    without_translation_nothing_is_raised,
    who_makes_it_strict_again_is_answered,
    what_somebody_else_has_changed_is_his,
    what_was_there_is_put_back_after_a_kill,
    what_is_only_reported_is_not_changed,
    a_card_that_comes_again_begins_anew,
    a_card_that_comes_again_strict_is_raised_again,
    what_cannot_be_put_back_is_said_and_remembered,
    where_nothing_can_be_written_it_says_so_and_does_the_rest,
    systemd_is_told_and_told_again_by_down,
];

/// The port that is published.
const PUBLISHED: u16 = 8080;
const NAT: &str = "nft 'table ip nat { chain in { type nat hook prerouting priority -100;
    fib daddr type local tcp dport 8080 dnat to 172.17.0.2:7777; }; }'";
const LINKS: [&str; 4] = ["all", "ens5", "ens6", "docker0"];

/// A host with a published container.
struct Bed {
    _container: Answerer,
    world: World,
}

impl Bed {
    /// With `rp_filter` of `all`, both cards and the bridge.
    #[track_caller]
    fn new(filters: [&str; 4]) -> Bed {
        let world = World::new(Topology::Containers);
        world.sh(NAT);
        for (link, value) in LINKS.into_iter().zip(filters) {
            write(&world, link, value);
        }
        let container = world.lab.client("container").unwrap();
        let answerer = Answerer::start(&container.netns, container.addresses.clone()).unwrap();
        Bed { _container: answerer, world }
    }

    /// What `rp_filter` says for `all`, both cards and the bridge.
    fn filters(&self) -> [String; 4] {
        LINKS.map(|link| read(&self.world, link))
    }

    #[track_caller]
    fn assert_filters(&self, wanted: [&str; 4], when: &str) {
        assert_eq!(self.filters(), wanted, "{when}");
    }

    /// Whether the published port answers on the second card.
    fn answers(&self) -> bool {
        crate::front::asks(&self.world, "10.0.1.204", PUBLISHED)
    }
}

fn path(link: &str) -> String {
    format!("/proc/sys/net/ipv4/conf/{link}/rp_filter")
}

fn read(world: &World, link: &str) -> String {
    let text = world.host().run(|| fs::read_to_string(path(link))).unwrap().unwrap();
    text.trim().to_owned()
}

#[track_caller]
fn write(world: &World, link: &str, value: &str) {
    world.host().sysctl(&format!("ipv4/conf/{link}/rp_filter"), value).unwrap();
}

fn a_strict_filter_is_raised_on_uplinks_alone_and_put_back() {
    let bed = Bed::new(["0", "1", "1", "1"]);
    let before = State::of(&bed.world);
    assert!(!bed.answers(), "without multihome");
    let errors = || bed.world.sh("sysctl -n net.ipv4.icmp_errors_use_inbound_ifaddr");
    assert_eq!(errors(), "0\n");
    bed.world.must("apply");
    bed.assert_filters(["0", "2", "2", "1"], "with multihome");
    assert_eq!(errors(), "1\n");
    assert!(bed.answers(), "{}", bed.world.dump());
    let status = bed.world.must("status");
    assert!(status.contains("net.ipv4.conf.ens6.rp_filter 1 -> 2"), "{status}");
    bed.world.assert_in_sync(SOON);
    bed.world.must("down");
    bed.assert_filters(["0", "1", "1", "1"], "after down");
    assert_eq!(errors(), "0\n");
    before.assert_is(&State::of(&bed.world), "after down");
}

fn a_strict_filter_of_all_is_left_and_the_uplinks_are_raised() {
    let bed = Bed::new(["1", "0", "0", "0"]);
    bed.world.must("apply");
    // The greater of the two counts.
    bed.assert_filters(["1", "2", "2", "0"], "with multihome");
    assert!(bed.answers(), "{}", bed.world.dump());
    bed.world.must("down");
    bed.assert_filters(["1", "0", "0", "0"], "after down");
}

fn a_filter_that_is_off_or_loose_stays() {
    let bed = Bed::new(["0", "0", "2", "1"]);
    bed.world.must("apply");
    bed.assert_filters(["0", "0", "2", "1"], "with multihome");
    assert!(bed.answers(), "{}", bed.world.dump());
    bed.world.must("down");
    bed.assert_filters(["0", "0", "2", "1"], "after down");
}

fn without_translation_nothing_is_raised() {
    let bed = Bed::new(["1", "1", "1", "1"]);
    bed.world.sh("nft delete table ip nat");
    bed.world.must("apply");
    bed.assert_filters(["1", "1", "1", "1"], "without translation");
    let daemon = bed.world.run();
    bed.world.sh(NAT);
    eventually("they are raised", SOON, || bed.filters() == ["1", "2", "2", "1"]);
    eventually("the port answers", SOON, || bed.answers());
    bed.world.sh("nft delete table ip nat");
    eventually("and put back", SOON, || bed.filters() == ["1", "1", "1", "1"]);
    drop(daemon);
}

fn who_makes_it_strict_again_is_answered() {
    let bed = Bed::new(["0", "0", "1", "0"]);
    let daemon = bed.world.run();
    eventually("it is raised", SOON, || read(&bed.world, "ens6") == "2");
    for _ in 0..5 {
        bed.world.sh("sysctl -w net.ipv4.conf.ens6.rp_filter=1");
        // By the kernel's announcement, not by a look.
        eventually("it is raised again", Duration::from_secs(1), || {
            read(&bed.world, "ens6") == "2"
        });
    }
    assert!(bed.answers(), "{}", bed.world.dump());
    drop(daemon);
    bed.world.must("down");
    bed.assert_filters(["0", "0", "1", "0"], "after down");
}

fn what_somebody_else_has_changed_is_his() {
    let bed = Bed::new(["0", "1", "1", "0"]);
    let daemon = bed.world.run();
    eventually("they are raised", SOON, || bed.filters() == ["0", "2", "2", "0"]);
    bed.world.sh("sysctl -w net.ipv4.conf.ens6.rp_filter=0");
    bed.world.assert_in_sync(SOON);
    bed.assert_filters(["0", "2", "0", "0"], "off stays off");
    drop(daemon);
    bed.world.must("down");
    bed.assert_filters(["0", "1", "0", "0"], "after down");
}

fn what_was_there_is_put_back_after_a_kill() {
    let bed = Bed::new(["0", "1", "1", "1"]);
    for _ in 0..3 {
        let daemon = bed.world.run();
        eventually("they are raised", SOON, || bed.filters() == ["0", "2", "2", "1"]);
        daemon.stop(Signal::KILL);
        bed.assert_filters(["0", "2", "2", "1"], "after a kill");
    }
    bed.world.must("down");
    bed.assert_filters(["0", "1", "1", "1"], "after down");
}

fn what_is_only_reported_is_not_changed() {
    let bed = Bed::new(["0", "1", "1", "1"]);
    bed.world.configure("sysctl = \"report\"\n");
    bed.world.must("apply");
    bed.assert_filters(["0", "1", "1", "1"], "when it is only reported");
    let key = "net.ipv4.conf.ens6.rp_filter is 1 and should be 2";
    for verb in ["status", "doctor"] {
        let said = bed.world.multihome(verb);
        let all = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(all.contains(key), "{verb}: {}", said.out);
    }
    bed.world.must("down");
    bed.assert_filters(["0", "1", "1", "1"], "after down");
    // What was raised before is put back when it is only to be reported.
    bed.world.configure("");
    bed.world.must("apply");
    bed.assert_filters(["0", "2", "2", "1"], "when it is managed");
    bed.world.configure("sysctl = \"report\"\n");
    bed.world.must("apply");
    bed.assert_filters(["0", "1", "1", "1"], "when it is only reported again");
}

fn a_card_that_comes_again_begins_anew() {
    let mut bed = Bed::new(["0", "0", "1", "0"]);
    let daemon = bed.world.run();
    eventually("it is raised", SOON, || read(&bed.world, "ens6") == "2");
    // The new one is loose by itself, and nobody's business.
    write(&bed.world, "default", "2");
    bed.world.lab.pull_card("ens6").unwrap();
    bed.world.lab.plug_card("ens6").unwrap();
    eventually("the port answers", SOON, || bed.answers());
    drop(daemon);
    bed.world.must("down");
    assert_eq!(read(&bed.world, "ens6"), "2", "it was never raised");
}

fn a_card_that_comes_again_strict_is_raised_again() {
    let mut bed = Bed::new(["0", "0", "1", "0"]);
    let daemon = bed.world.run();
    eventually("it is raised", SOON, || read(&bed.world, "ens6") == "2");
    // A new one that is strict is raised as well, and strict again afterwards.
    write(&bed.world, "default", "1");
    bed.world.lab.pull_card("ens6").unwrap();
    bed.world.lab.plug_card("ens6").unwrap();
    eventually("it is raised", SOON, || read(&bed.world, "ens6") == "2");
    eventually("the port answers", SOON, || bed.answers());
    drop(daemon);
    bed.world.must("down");
    assert_eq!(read(&bed.world, "ens6"), "1");
}

fn where_nothing_can_be_written_it_says_so_and_does_the_rest() {
    let bed = Bed::new(["0", "1", "1", "1"]);
    let none: Option<&str> = None;
    mount(Some("/proc/sys"), "/proc/sys", none, MsFlags::MS_BIND, none).unwrap();
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, "/proc/sys", none, read_only, none).unwrap();
    let said = bed.world.multihome("apply");
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.err.contains("/proc/sys is read-only"), "{said:#?}");
    assert!(said.err.contains("net.ipv4.conf.ens6.rp_filter is 1 and should be 2"), "{said:#?}");
    bed.assert_filters(["0", "1", "1", "1"], "read-only");
    assert!(rules(&bed.world, "-4").iter().any(|r| r.contains("10.0.1.204")), "{said:#?}");
    bed.world.sh("nft list table inet multihome");
    bed.world.assert_all_answer();
    let said = bed.world.multihome("down");
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(!State::of(&bed.world).has_ours());
}

/// What was raised before must be put back, and is not forgotten while that cannot be.
fn what_cannot_be_put_back_is_said_and_remembered() {
    let bed = Bed::new(["0", "1", "1", "1"]);
    bed.world.must("apply");
    let none: Option<&str> = None;
    mount(Some("/proc/sys"), "/proc/sys", none, MsFlags::MS_BIND, none).unwrap();
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, "/proc/sys", none, read_only, none).unwrap();
    let said = bed.world.multihome("down");
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.err.contains(&path("ens6")) && said.err.contains("EROFS"), "{said:#?}");
    nix::mount::umount("/proc/sys").unwrap();
    bed.world.must("down");
    bed.assert_filters(["0", "1", "1", "1"], "once they can be written");
}

fn systemd_is_told_and_told_again_by_down() {
    const FILE: &str = "/run/sysctl.d/99-zz-multihome.conf";
    let bed = Bed::new(["0", "0", "1", "0"]);
    bed.world.must("apply");
    assert!(!Path::new(FILE).exists(), "without systemd nobody reads it");
    bed.world.must("down");
    fs::create_dir_all("/run/systemd/system").unwrap();
    bed.world.must("apply");
    let text = fs::read_to_string(FILE).unwrap();
    assert!(text.contains("\n-net.ipv4.conf.ens6.rp_filter = 2\n"), "{text}");
    // What `sysctl --system` does comes to the same.
    bed.world.sh(&format!("sysctl -p {FILE}"));
    assert_eq!(read(&bed.world, "ens6"), "2");
    bed.world.must("down");
    assert!(!Path::new(FILE).exists(), "after down");
    assert_eq!(read(&bed.world, "ens6"), "1");
}
