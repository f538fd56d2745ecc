//! What multihome costs, measured beside the least that the kernel allows.
//!
//! Everything happens in network namespaces that this program makes for itself
//! ([`multihome_lab::enter`]); it never runs in the machine's own. The figures go to
//! `BENCHMARKS.md`, which names the command behind each.

mod big;
mod idle;
mod measure;
mod packet;
mod published;
mod reaction;
mod size;
mod sync;
mod verify;
mod world;

use std::process::{Command, ExitCode};

use multihome_sources::Places;

use crate::measure::Outcome;

const USAGE: &str =
    "usage: multihome-bench [packet|published|reaction|sync|idle|big|size|verify|all]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    let what = args.next().unwrap_or_else(|| "all".into());
    let only = args.next();
    if what == "verify" {
        // No kernel has a part in it.
        println!("{}\n", machine()?);
        return verify::run();
    }
    build()?;
    world::binary()?;
    multihome_lab::enter()?;
    for leases in Places::new("/run/multihome".into()).directories() {
        multihome_lab::hide(&leases)?;
    }
    println!("{}\n", machine()?);
    let parts = match what.as_str() {
        "all" => vec!["size", "idle", "verify", "reaction", "sync", "big", "packet", "published"],
        part => vec![part],
    };
    for part in parts {
        match part {
            "packet" => {
                // Last of all: what is started after this stays on that processor too.
                measure::pin(1)?;
                packet::run(only.as_deref())?;
            }
            "published" => {
                measure::pin(1)?;
                published::run()?;
            }
            "reaction" => reaction::run()?,
            "sync" => sync::run()?,
            "idle" => idle::run()?,
            "big" => big::run()?,
            "size" => size::run()?,
            "verify" => verify::run()?,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(())
}

/// Builds the command that is measured, when cargo started us.
fn build() -> Outcome<()> {
    let Some(cargo) = std::env::var_os("CARGO") else { return Ok(()) };
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "-p", "multihome"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    if status.success() { Ok(()) } else { Err("multihome could not be built".into()) }
}

/// What it was measured on.
fn machine() -> Outcome<String> {
    let cpus = std::thread::available_parallelism()?;
    let name = rustix::system::uname();
    let info = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("", |(_, m)| m.trim());
    Ok(format!(
        "{} {}, {cpus} processors{}{model}",
        name.sysname().to_string_lossy(),
        name.release().to_string_lossy(),
        if model.is_empty() { "" } else { ": " },
    ))
}
