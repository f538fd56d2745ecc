//! A published port answers on every card, whoever has published it, and all other flows as well.

use std::time::{Duration, Instant};

use multihome_core::Family;
use rustix::process::Signal;

use crate::connection::Connection;
use crate::engine::{Bed, DOCKER, Engine, Everything, FAILING, Iptables};
use crate::flows::PUBLISHED;
use crate::runner::tests;

tests![
    by_nft,
    by_docker,
    by_docker_without_its_proxy,
    by_docker_with_iptables_legacy,
    by_podman,
    with_strict_reverse_path_filters,
    with_strict_reverse_path_filters_by_docker,
    a_connection_that_was_open_before_goes_on,
    a_connection_that_was_open_before_goes_on_by_ipv6,
    a_connection_goes_on_when_multihome_is_restarted_or_killed,
    who_flushes_netfilter_is_answered_at_once,
    who_deletes_our_table_is_answered_at_once,
    docker_has_one_more_network,
];

/// The whole story: it fails, works, and is as it was.
#[track_caller]
fn answers(bed: &Bed) {
    let before = Everything::of(&bed.host);
    bed.assert_failing(FAILING);
    let daemon = bed.run();
    bed.assert_all_flow("with multihome");
    drop(daemon);
    bed.down();
    before.assert_is(&Everything::of(&bed.host), "after down");
}

fn by_nft() {
    answers(&Bed::new(Engine::Nft));
}

fn by_docker() {
    answers(&Bed::new(DOCKER));
}

fn by_docker_without_its_proxy() {
    let iptables = Iptables::Nft;
    answers(&Bed::new(Engine::Docker { userland_proxy: false, iptables }));
}

fn by_docker_with_iptables_legacy() {
    let iptables = Iptables::Legacy;
    answers(&Bed::new(Engine::Docker { userland_proxy: true, iptables }));
}

fn by_podman() {
    answers(&Bed::new(Engine::Podman));
}

fn with_strict_reverse_path_filters() {
    answers(&Bed::new(Engine::Nft).strict());
}

fn with_strict_reverse_path_filters_by_docker() {
    answers(&Bed::new(DOCKER).strict());
}

// ===== connections =====

fn open_before(family: Family) {
    let bed = Bed::new(Engine::Nft);
    let mut connection = Connection::before_multihome(&bed, family);
    bed.assert_failing(FAILING);
    assert!(!connection.goes_on(Duration::from_millis(300)), "it works without multihome");
    let _daemon = bed.run();
    // The next retransmission brings the echo.
    assert!(connection.goes_on(Duration::from_secs(5)), "{family}\n{}", bed.dump());
    bed.assert_all_flow("with multihome");
}

fn a_connection_that_was_open_before_goes_on() {
    open_before(Family::V4);
}

fn a_connection_that_was_open_before_goes_on_by_ipv6() {
    open_before(Family::V6);
}

fn a_connection_goes_on_when_multihome_is_restarted_or_killed() {
    let bed = Bed::new(DOCKER);
    bed.assert_failing(FAILING);
    let mut daemon = bed.run();
    bed.assert_all_flow("with multihome");
    let mut connection = Connection::open(&bed, 1, PUBLISHED, Family::V4);
    for signal in [Signal::TERM, Signal::KILL] {
        daemon.stop(signal);
        let when = format!("after {signal:?}");
        assert!(connection.goes_on(Duration::from_secs(1)), "{when}\n{}", bed.dump());
        bed.assert_all_flow(&when);
        daemon = bed.run();
        assert!(connection.goes_on(Duration::from_secs(1)), "and again {when}\n{}", bed.dump());
        bed.assert_all_flow(&format!("and again {when}"));
    }
}

// ===== others in netfilter =====

/// Disturbs, and wants the published port to answer within a second.
#[track_caller]
fn mended(bed: &Bed, script: &str) {
    bed.assert_failing(FAILING);
    let _daemon = bed.run();
    bed.assert_all_flow("with multihome");
    let mut connection = Connection::open(bed, 1, PUBLISHED, Family::V4);
    for _ in 0..3 {
        bed.host.sh(script);
        let start = Instant::now();
        // A second, and the retransmission that comes after it.
        assert!(connection.goes_on(Duration::from_secs(2)), "{script}\n{}", bed.dump());
        eprintln!("{script:.40}: went on after {:?}", start.elapsed());
        bed.assert_all_flow("after that");
    }
}

fn who_flushes_netfilter_is_answered_at_once() {
    // `systemctl reload nftables`: its file begins with that, and is one transaction.
    let bed = Bed::new(Engine::Nft);
    bed.host.sh("{ echo flush ruleset; nft --stateless list ruleset; } > /run/nftables.conf");
    mended(&bed, "nft -f /run/nftables.conf");
}

fn who_deletes_our_table_is_answered_at_once() {
    mended(&Bed::new(DOCKER), "nft delete table inet multihome");
}

/// Its chains change, and so does the address that the port leads to.
fn docker_has_one_more_network() {
    let bed = Bed::new(DOCKER);
    bed.assert_failing(FAILING);
    let _daemon = bed.run();
    bed.assert_all_flow("with multihome");
    // The first by its name is the container's way out.
    bed.host.sh("docker network create --subnet 172.29.0.0/16 another && \
                 docker network connect --ip 172.29.0.9 another container");
    bed.answers_on("172.29.0.9");
    bed.assert_all_flow("with one more network");
    bed.host.sh("docker network disconnect another container && docker network rm another");
    bed.assert_all_flow("without it");
}
