//! A disagreement on paper: what was asked, what was answered, and the world in which it happens;
//! and the same as a case for `multihome-core/tests/lookup`.

use std::fmt::Write as _;
use std::path::PathBuf;

use multihome_core::{Lookup, Snapshot};

use super::Disagreement;
use super::shrink::shrink;
use super::world::Step;

/// The report of a disagreement, which is made small before.
pub fn disagreement(seed: u64, steps: &[Step], snapshot: &Snapshot, found: Disagreement) -> String {
    let small = shrink(steps, &found);
    let mut out = String::new();
    let (snapshot, found) = match &small {
        Some((_, snapshot, found)) => (snapshot, found),
        None => (snapshot, &found),
    };
    let names = snapshot.names();
    let answer = Lookup::new(snapshot).trace(&found.flow.as_asked());
    let _ = writeln!(out, "world {seed}: {}", found.why);
    let _ = writeln!(out, "  ip route get {}", found.flow.arguments(&names));
    let _ = writeln!(out, "  kernel: {}", found.told.display(&names));
    if let Some(route) = &found.route {
        let _ = writeln!(out, "          by {}", route.display(&names));
    }
    for outcome in &answer.answer.outcomes {
        let _ = writeln!(out, "  ours:   {}", outcome.told(&found.flow).display(&names));
        let _ = writeln!(out, "          {outcome:?}");
    }
    for step in &answer.steps {
        let _ = writeln!(out, "    {}: {:?}", step.rule.display(&names), step.verdict);
    }
    match &small {
        Some((steps, _, _)) => {
            for step in steps {
                let _ = writeln!(out, "  step {step:?}");
            }
        }
        None => out.push_str("  it does not happen in a world that is built again\n"),
    }
    for link in snapshot.links() {
        let _ = writeln!(
            out,
            "  link {} {} {:#x} group {}",
            link.index, link.name, link.flags, link.group
        );
    }
    for a in snapshot.addresses() {
        let name = names.link(a.link);
        let _ = writeln!(
            out,
            "  address {}/{} peer {:?} scope {} flags {:#x} dev {name}",
            a.local, a.prefix_len, a.peer, a.scope, a.flags
        );
    }
    let family = found.flow.family();
    for rule in snapshot.rules().filter(|r| r.family == family) {
        let _ = writeln!(out, "  rule {}", rule.display(&names));
    }
    let to = found.flow.to;
    let near = |r: &&multihome_core::model::Route| {
        r.dst.contains(to) || found.flow.from.is_some_and(|a| r.dst.contains(a))
    };
    for route in snapshot.routes().filter(near) {
        let flags: Vec<u8> = route.hops.iter().map(|h| h.flags).collect();
        let _ = writeln!(
            out,
            "  route {} nhid {:?} hop flags {flags:?}",
            route.display(&names),
            route.nhid
        );
    }
    match write_case(seed, snapshot, found) {
        Ok(path) => drop(writeln!(out, "  case: {}", path.display())),
        Err(e) => drop(writeln!(out, "  the case could not be written: {e}")),
    }
    out
}

fn write_case(seed: u64, snapshot: &Snapshot, found: &Disagreement) -> std::io::Result<PathBuf> {
    let root = std::env::var_os("CASES")
        .map_or_else(|| std::env::temp_dir().join("multihome-lookup"), PathBuf::from);
    let directory = root.join(format!("world-{seed}"));
    std::fs::create_dir_all(&directory)?;
    let json = serde_json::to_string_pretty(snapshot).map_err(std::io::Error::other)?;
    std::fs::write(directory.join("snapshot.json"), json + "\n")?;
    let names = snapshot.names();
    let line = format!("{} => {}\n", found.flow.arguments(&names), found.told.display(&names));
    std::fs::write(directory.join("flows.txt"), line)?;
    Ok(directory)
}
