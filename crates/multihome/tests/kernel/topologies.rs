//! Every network of the laboratory: every client is answered by every address, after `apply` and
//! under `run`, and `down` restores exactly what was there.

use multihome_lab::{Answerer, Topology};

use crate::runner::tests;
use crate::state::State;
use crate::world::{SOON, World, ask_from};

tests![
    two_subnets_answer_after_apply,
    same_subnet_answers_after_apply,
    campus_answers_after_apply + user,
    containers_answer_after_apply + user,
    two_subnets_answer_under_run + user,
    same_subnet_answers_under_run + user,
    campus_answers_under_run,
    containers_answer_under_run,
    a_container_and_all_addresses_reach_each_other,
    traffic_of_the_host_itself_is_left_to_main,
];

fn two_subnets_answer_after_apply() {
    answers_after_apply(Topology::TwoSubnets);
}

fn same_subnet_answers_after_apply() {
    answers_after_apply(Topology::SameSubnet);
}

fn campus_answers_after_apply() {
    answers_after_apply(Topology::Campus);
}

fn containers_answer_after_apply() {
    answers_after_apply(Topology::Containers);
}

fn two_subnets_answer_under_run() {
    answers_under_run(Topology::TwoSubnets);
}

fn same_subnet_answers_under_run() {
    answers_under_run(Topology::SameSubnet);
}

fn campus_answers_under_run() {
    answers_under_run(Topology::Campus);
}

fn containers_answer_under_run() {
    answers_under_run(Topology::Containers);
}

fn answers_after_apply(topology: Topology) {
    let world = World::new(topology);
    let before = State::of(&world);
    world.must("apply");
    world.assert_all_answer_at_once();
    let with = State::of(&world);
    assert!(with.has_ours());
    before.assert_is(&with.foreign(), "with multihome, without what is its own");
    let said = world.must("apply");
    assert!(said.starts_with("in sync"), "{said}");
    with.assert_is(&State::of(&world), "after a second apply");
    world.must("down");
    before.assert_is(&State::of(&world), "after down");
    let said = world.must("down");
    assert!(said.starts_with("nothing"), "{said}");
}

fn answers_under_run(topology: Topology) {
    let world = World::new(topology);
    let before = State::of(&world);
    let daemon = world.run();
    world.assert_all_answer_at_once();
    world.assert_in_sync(SOON);
    drop(daemon);
    world.must("down");
    before.assert_is(&State::of(&world), "after run and down");
}

fn a_container_and_all_addresses_reach_each_other() {
    let world = World::new(Topology::Containers);
    let _daemon = world.run();
    world.assert_all_answer_at_once();
    let container = world.lab.client("container").unwrap();
    let _answerer = Answerer::start(&container.netns, container.addresses.clone()).unwrap();
    for from in world.lab.addresses() {
        let same = |a: &&std::net::IpAddr| a.is_ipv4() == from.is_ipv4();
        let to = *container.addresses.iter().find(same).unwrap();
        let answer = ask_from(world.host(), Some(from), to);
        assert!(answer.is_answered(), "{from} asks the container: {answer}\n{}", world.dump());
        let answer = ask_from(&container.netns, None, from);
        assert!(answer.is_answered(), "the container asks {from}: {answer}");
    }
}

fn traffic_of_the_host_itself_is_left_to_main() {
    let world = World::new(Topology::TwoSubnets);
    let _answerer = world.let_remote_answer();
    world.must("apply");
    for to in &world.lab.clients()[0].addresses {
        let answer = ask_from(world.host(), None, *to);
        assert!(answer.is_answered(), "the host asks {to}: {answer}");
        let route = &world.json(&format!("route get {to}"))[0];
        assert_eq!(route["dev"], "ens5", "main's best default: {route}");
    }
}
