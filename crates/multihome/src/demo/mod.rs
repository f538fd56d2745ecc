//! `multihome demo`: the main job on real kernel networking, with nothing of this host
//! touched.
//!
//! A cloud network is built in namespaces; every client asks every address of a host with
//! two cards, without us and with us; then the things happen that happen to cards, and each
//! time it is measured how long the traffic stands still; and in the end all is taken away
//! and compared with what was there before. The engine is this very program, run as
//! `multihome run` in the host's namespace; the judges are packets, and the kernel's own
//! state.

mod engine_process;
mod events;
mod report;

use std::io::{BufRead as _, Write as _};
use std::process::Command;
use std::time::Duration;

use multihome_core::Snapshot;
use multihome_core::model::names::TABLE_LOCAL;
use multihome_lab::{Lab, Matrix, Privilege};

use crate::cli::DemoArgs;
use crate::cli::Topology;
use crate::error::{self, FAILED, Failure};
use crate::output;
use crate::run_dir::RunDir;

use self::engine_process::EngineProcess;
use self::report::Report;

/// Long enough for an exchange on a busy machine, short enough for those that never answer.
const PATIENCE: Duration = Duration::from_millis(600);

/// Runs the demo; the exit code is not 0 if any line is not as it must be.
pub fn run(args: &DemoArgs) -> Result<u8, Failure> {
    // First of all: namespaces are entered by the only thread.
    let privilege = multihome_lab::enter().map_err(lab)?;
    // The machine's own leases say nothing about the demo's host.
    for leases in RunDir::path().places().directories() {
        multihome_lab::hide(&leases).map_err(lab)?;
    }
    let topology = match args.topology {
        Topology::TwoSubnets => multihome_lab::Topology::TwoSubnets,
        Topology::SameSubnet => multihome_lab::Topology::SameSubnet,
        Topology::Campus => multihome_lab::Topology::Campus,
        Topology::Containers => multihome_lab::Topology::Containers,
    };
    let mut report = Report::new(topology, !args.json);
    report.privilege(privilege == Privilege::Root);
    let mut net = Lab::build(topology).map_err(lab)?;
    report.network(&net);

    let start = snapshot(&net)?;
    report.before(&net, &ask(&net)?);

    let engine = EngineProcess::start(&net)?;
    let with = snapshot(&net)?;
    report.with(&net, &ask(&net)?, &with);
    report.untouched(&foreign(&start), &foreign(&with));

    events::all(&mut net, &mut report)?;
    if args.shell {
        shell(&net)?;
    }

    let before_down = foreign(&snapshot(&net)?);
    let log = engine.stop()?;
    engine_process::down(&net)?;
    report.down(&before_down, &snapshot(&net)?, &ask(&net)?);
    let good = report.finish();
    if args.json {
        output::json(&report)?;
    }
    if !good {
        let mut err = std::io::stderr().lock();
        let _ = writeln!(err, "what the engine said:\n{log}");
        return Ok(FAILED);
    }
    Ok(0)
}

/// A laboratory's error as ours.
fn lab(e: multihome_lab::Error) -> Failure {
    Failure::Demo(e.to_string())
}

fn ask(net: &Lab) -> Result<Matrix, Failure> {
    net.matrix(PATIENCE).map_err(lab)
}

/// What the host's kernel holds.
fn snapshot(net: &Lab) -> Result<Snapshot, Failure> {
    let read = || multihome_kernel::Kernel::open()?.snapshot();
    net.host().run(read).map_err(lab)?.map_err(error::kernel("read the kernel's state"))
}

/// What of it is not ours, in a form that can be compared: the kernel's counters and lifetimes
/// go on by themselves, and our link group is ours.
fn foreign(snapshot: &Snapshot) -> Vec<String> {
    let names = snapshot.names();
    let routes = snapshot
        .routes()
        .filter(|r| !r.is_ours() && r.table != TABLE_LOCAL)
        .map(|r| format!("{} route {}", r.family().flag(), r.display(&names)));
    let rules = snapshot
        .rules()
        .filter(|r| !r.is_ours())
        .map(|r| format!("{} rule {}", r.family.flag(), r.display(&names)));
    let addresses = snapshot
        .addresses()
        .map(|a| format!("address {}/{} dev {}", a.local, a.prefix_len, a.link));
    let groups = snapshot.links().map(|l| {
        let group = if l.group == multihome_core::config::DEFAULT_BASE { 0 } else { l.group };
        format!("link {} {} group {group}", l.index, l.name)
    });
    let mut lines: Vec<String> = routes.chain(rules).chain(addresses).chain(groups).collect();
    lines.sort();
    lines
}

/// Lets the reader look around in the host.
fn shell(net: &Lab) -> Result<(), Failure> {
    let program = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    output::text(
        "\nThis shell is in the host with two cards, and the engine runs. Try `ip rule`,\n\
         `ip route show table all proto 177`, `ip link set ens6 down`. `exit` ends it.\n",
    )?;
    let spawned = net.host().spawn(&mut Command::new(&program));
    let mut child = spawned.map_err(lab)?;
    child.wait().map_err(error::file(program))?;
    Ok(())
}

/// Reads lines until the end, for a child's standard error.
fn lines(from: impl std::io::Read) -> Vec<String> {
    std::io::BufReader::new(from).lines().map_while(Result::ok).collect()
}
