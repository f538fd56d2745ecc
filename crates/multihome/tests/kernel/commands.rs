//! What is typed and what is read: exit codes, `plan` as commands, snapshots, privileges, pipes.

use std::fs;
use std::process::{Command, Stdio};

use multihome_lab::Topology;
use serde_json::Value;

use crate::runner::{program, tests};
use crate::state::State;
use crate::world::{Said, World, words};

tests![
    exit_codes_say_how_it_went + user,
    reading_changes_nothing + user,
    a_plan_can_be_carried_out_by_ip + user,
    a_plan_can_be_reverted_by_ip,
    a_plan_for_down_is_what_down_does,
    a_snapshot_gives_the_same_plan + user,
    a_broken_snapshot_is_told,
    without_privileges_only_looking_is_allowed + user,
    a_pipe_gets_no_colours_and_a_terminal_does,
    a_closed_pipe_is_no_error,
    a_wrong_configuration_is_told_with_its_place + user,
    wrong_usage_is_told,
    json_is_json,
    looking_tells_what_applying_would_do,
];

#[track_caller]
fn assert_code(said: &Said, code: i32) {
    assert_eq!(said.code, Some(code), "{said:#?}");
}

fn exit_codes_say_how_it_went() {
    let world = World::new(Topology::TwoSubnets);
    assert_code(&world.multihome("status"), 2);
    assert_code(&world.multihome("plan"), 0);
    assert_code(&world.multihome("plan --detailed-exitcode"), 2);
    assert_code(&world.multihome("apply"), 0);
    assert_code(&world.multihome("status"), 0);
    assert_code(&world.multihome("plan --detailed-exitcode"), 0);
    world.ip("rule del pref 10003");
    assert_code(&world.multihome("status"), 2);
    assert_code(&world.multihome("apply"), 0);
    assert_code(&world.multihome("down"), 0);
    assert_code(&world.multihome("down"), 0);
    assert_code(&world.multihome("config check"), 0);
    assert_code(&world.multihome("--help"), 0);
    assert_code(&world.multihome("--version"), 0);
}

fn reading_changes_nothing() {
    let world = World::new(Topology::Campus);
    let before = State::of(&world);
    for command in [
        "plan",
        "plan --json",
        "status",
        "status --json",
        "doctor",
        "snapshot",
        "config show",
        "config check",
    ] {
        world.multihome(command);
        before.assert_is(&State::of(&world), command);
    }
    assert!(!fs::exists("/run/multihome").unwrap(), "nothing is written either");
    assert!(!fs::exists("/etc/iproute2").unwrap());
}

/// Carries out commands as an operator would, who pastes them.
#[track_caller]
fn carry_out<'a>(world: &World, commands: impl IntoIterator<Item = &'a str>) {
    for command in commands {
        if let Some(setting) = command.strip_prefix("sysctl -w net.ipv4.") {
            let (key, value) = setting.split_once('=').unwrap();
            let path = format!("/proc/sys/net/ipv4/{}", key.replace('.', "/"));
            world.host().run(|| fs::write(path, value)).unwrap().unwrap();
            continue;
        }
        let arguments = command.strip_prefix("ip ").unwrap_or_else(|| panic!("{command}"));
        world.ip(arguments);
    }
}

fn a_plan_can_be_carried_out_by_ip() {
    for topology in Topology::ALL {
        let world = World::new(topology);
        let before = State::of(&world);
        carry_out(&world, world.must("plan").lines());
        let by_ip = State::of(&world);
        let said = world.must("apply");
        assert!(said.starts_with("in sync"), "{topology}: {said}");
        world.assert_all_answer();
        world.must("down");
        before.assert_is(&State::of(&world), "after down");
        world.must("apply");
        by_ip.assert_is(&State::of(&world), "apply and ip");
    }
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

fn a_plan_can_be_reverted_by_ip() {
    for topology in Topology::ALL {
        let world = World::new(topology);
        let before = State::of(&world);
        let plan: Value = serde_json::from_str(&world.must("plan --json")).unwrap();
        carry_out(&world, strings(&plan["changes"]));
        assert!(State::of(&world).has_ours());
        carry_out(&world, strings(&plan["revert"]));
        before.assert_is(&State::of(&world), "after the revert of a plan");
        let applied: Value = serde_json::from_str(&world.must("apply --json")).unwrap();
        assert_eq!(applied["in_sync"], true);
        carry_out(&world, strings(&applied["revert"]));
        before.assert_is(&State::of(&world), "after the revert of an apply");
        // Also what takes something away can be reverted.
        world.must("apply");
        let with = State::of(&world);
        let down: Value = serde_json::from_str(&world.must("down --json")).unwrap();
        before.assert_is(&State::of(&world), "after down");
        carry_out(&world, strings(&down["revert"]));
        with.assert_is(&State::of(&world), "after the revert of down");
    }
}

fn a_plan_for_down_is_what_down_does() {
    let world = World::new(Topology::TwoSubnets);
    let before = State::of(&world);
    world.must("apply");
    let down: Value = serde_json::from_str(&world.must("down --json")).unwrap();
    world.must("apply");
    carry_out(&world, strings(&down["changes"]));
    before.assert_is(&State::of(&world), "after what down does, by ip");
}

fn a_snapshot_gives_the_same_plan() {
    let world = World::new(Topology::Campus);
    for _ in 0..2 {
        fs::write("/run/snapshot", world.must("snapshot")).unwrap();
        assert_eq!(world.must("plan"), world.must("plan --snapshot /run/snapshot"));
        let [live, filed] = ["plan --json", "plan --json --snapshot /run/snapshot"];
        assert_eq!(world.must(live), world.must(filed));
        fs::write("/run/snapshot", world.must("snapshot --json")).unwrap();
        let live = world.multihome("status");
        let filed = world.multihome("status --snapshot /run/snapshot");
        // Whether a daemon watches is nothing that a file could know.
        let lines = |said: &Said| -> Vec<String> {
            let of_now = |l: &&str| l.starts_with("nobody watches");
            said.out.lines().filter(|l| !of_now(l)).map(str::to_owned).collect()
        };
        assert_eq!((live.code, lines(&live)), (filed.code, lines(&filed)));
        world.must("apply");
    }
}

fn a_broken_snapshot_is_told() {
    let world = World::new(Topology::TwoSubnets);
    let good = world.must("snapshot");
    for (name, bytes) in [
        ("cut", &good.as_bytes()[..good.len() / 2]),
        ("empty", b"".as_slice()),
        ("garbage", b"\x00\xff\x13not a snapshot\n".as_slice()),
        ("other", b"{\"links\": 7}\n".as_slice()),
        ("list", b"[]\n".as_slice()),
    ] {
        let path = format!("/run/{name}");
        fs::write(&path, bytes).unwrap();
        for command in ["plan", "status"] {
            let said = world.multihome(&format!("{command} --snapshot {path}"));
            assert_code(&said, 1);
            assert!(said.out.is_empty(), "{said:#?}");
            assert!(said.err.starts_with(&format!("error: {path}: ")), "{name}: {}", said.err);
            assert!(said.err.contains("hint: ") && said.err.lines().count() <= 3, "{}", said.err);
        }
    }
    let said = world.multihome("plan --snapshot /run/none");
    assert_code(&said, 1);
    assert!(said.err.contains("/run/none") && said.err.contains("No such file"), "{}", said.err);
}

fn without_privileges_only_looking_is_allowed() {
    let world = World::new(Topology::TwoSubnets);
    world.must("apply");
    world.ip("rule del pref 10003");
    let before = State::of(&world);
    // Where the program was built may be closed to others.
    fs::create_dir("/run/bin").unwrap();
    fs::copy(program(), "/run/bin/multihome").unwrap();
    let as_nobody = |arguments: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all"]);
        // In an ordinary user's namespace there is no other user.
        if fs::read_to_string("/proc/self/uid_map").unwrap().contains("4294967295") {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        world.output(command.arg("/run/bin/multihome").args(words(arguments)), "")
    };
    for command in ["apply", "run", "down"] {
        let said = as_nobody(command);
        assert_code(&said, 1);
        assert!(said.err.contains("CAP_NET_ADMIN"), "{}", said.err);
        assert!(said.err.contains("hint: "), "{}", said.err);
        assert!(said.out.is_empty());
        before.assert_is(&State::of(&world), command);
    }
    let plan = as_nobody("plan");
    assert_code(&plan, 0);
    assert!(plan.out.contains("ip -4 rule add pref 10003 "), "{plan:#?}");
    assert_eq!(plan.out, world.must("plan"));
    let status = as_nobody("status");
    assert_code(&status, 2);
    assert_eq!(status.out, world.multihome("status").out);
    let doctor = as_nobody("doctor");
    assert_eq!(doctor.code, Some(2), "{doctor:#?}");
    assert_eq!((doctor.err.as_str(), &doctor.out), ("", &world.multihome("doctor").out));
    let snapshot = as_nobody("snapshot");
    assert_code(&snapshot, 0);
    assert_eq!(snapshot.err, "");
    let snapshot: Value = serde_json::from_str(&snapshot.out).unwrap();
    assert!(snapshot["sysctls"]["net/ipv4/conf/ens6/rp_filter"].is_string(), "{snapshot:#}");
}

fn a_pipe_gets_no_colours_and_a_terminal_does() {
    let world = World::new(Topology::TwoSubnets);
    for arguments in ["status", "plan", "config show", "--help", "nonsense", "down --nonsense"] {
        let said = world.multihome(arguments);
        assert!(!said.out.contains('\x1b') && !said.err.contains('\x1b'), "{said:#?}");
    }
    let on_terminal = |prefix: &str| {
        let line = format!("{prefix} {} status", program().display());
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("TERM", "xterm");
        world.output(&mut command, "")
    };
    let said = on_terminal("");
    assert!(said.out.contains("\x1b["), "{said:#?}");
    let said = on_terminal("NO_COLOR=1");
    assert!(said.out.contains("ens6") && !said.out.contains('\x1b'), "{said:#?}");
}

fn a_closed_pipe_is_no_error() {
    let world = World::new(Topology::TwoSubnets);
    for command in ["status", "plan", "doctor", "snapshot", "plan --json", "--help"] {
        for _ in 0..10 {
            let mut child = world
                .host()
                .spawn(world.command(command).stdout(Stdio::piped()).stderr(Stdio::piped()))
                .unwrap();
            drop(child.stdout.take());
            let output = child.wait_with_output().unwrap();
            let err = String::from_utf8_lossy(&output.stderr);
            assert!(err.is_empty(), "{command}: {err}");
            let code = output.status.code();
            assert!(code == Some(0) || code == Some(2), "{command}: {}", output.status);
        }
    }
    let line = format!("{} status | head -1", program().display());
    let said = world.output(Command::new("sh").args(["-c", &line]), "");
    assert_eq!((said.out.lines().count(), said.err.as_str()), (1, ""), "{said:#?}");
}

fn a_wrong_configuration_is_told_with_its_place() {
    let world = World::new(Topology::TwoSubnets);
    let before = State::of(&world);
    world.configure("# fine\nbase = 20000\nprimary = 7\n");
    for command in ["apply", "run", "down", "plan", "status", "config check", "config show"] {
        let said = world.multihome(command);
        assert_code(&said, 78);
        assert!(said.out.is_empty(), "{said:#?}");
        assert!(said.err.contains("/etc/multihome/config.toml:3:11"), "{}", said.err);
        assert!(said.err.lines().any(|l| l.contains('^')), "{}", said.err);
        assert!(said.err.contains("primary = 7"), "{}", said.err);
        before.assert_is(&State::of(&world), command);
    }
    // A named file stands for all of it; a drop-in is named as itself.
    fs::write("/run/good.toml", "base = 20000\n").unwrap();
    assert_code(&world.multihome("--config /run/good.toml plan"), 0);
    assert_code(&world.multihome("--config /run/none.toml plan"), 78);
    world.configure("base = 20000\n");
    fs::create_dir("/etc/multihome/config.d").unwrap();
    fs::write("/etc/multihome/config.d/10-mine.toml", "[interface.ens6]\ntable = 254\n").unwrap();
    let said = world.multihome("plan");
    assert_code(&said, 78);
    assert!(said.err.contains("/etc/multihome/config.d/10-mine.toml:2:9"), "{}", said.err);
}

fn wrong_usage_is_told() {
    let world = World::new(Topology::TwoSubnets);
    let said = world.multihome("");
    assert_code(&said, 64);
    assert!(said.out.is_empty() && said.err.contains("Usage: multihome"), "{said:#?}");
    for arguments in ["nonsense", "apply --nonsense", "plan extra", "--log-level loud status"] {
        let said = world.multihome(arguments);
        assert_code(&said, 64);
        assert!(said.out.is_empty() && said.err.starts_with("error: "), "{said:#?}");
        assert!(said.err.contains("--help"), "{said:#?}");
    }
}

fn json_is_json() {
    let world = World::new(Topology::Containers);
    for _ in 0..2 {
        for command in
            ["status --json", "plan --json", "doctor --json", "snapshot", "config show --json"]
        {
            let said = world.multihome(command);
            let value: Value = serde_json::from_str(&said.out).unwrap();
            assert!(value.is_object(), "{command}");
            assert_eq!(said.err, "", "{command}");
        }
        let applied: Value = serde_json::from_str(&world.must("apply --json")).unwrap();
        assert_eq!(applied["in_sync"], true);
    }
    let status: Value = serde_json::from_str(&world.must("status --json")).unwrap();
    assert_eq!(status["verdict"], "well");
    let names: Vec<_> = status["uplinks"].as_array().unwrap().iter().map(|u| &u["name"]).collect();
    assert_eq!(names, ["ens5", "ens6"]);
    assert_eq!(status["others"][0]["name"], "docker0");
}

fn looking_tells_what_applying_would_do() {
    let world = World::new(Topology::TwoSubnets);
    world.must("apply");
    world.ip("route del default dev ens6");
    // The link was up all the time, so the gateway was withdrawn: no look may call that well.
    let plan = world.multihome("plan --detailed-exitcode");
    assert_eq!(plan.code, Some(2), "{}", plan.out);
    assert!(plan.out.contains("route del default via 10.0.1.1 dev ens6"), "{}", plan.out);
    assert_eq!(world.multihome("status").code, Some(2));
    world.must("apply");
    let status = world.multihome("status");
    assert!(status.out.starts_with("degraded: ens6 has no IPv4 gateway"), "{}", status.out);
}
