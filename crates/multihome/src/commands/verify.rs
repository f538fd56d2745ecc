//! `multihome verify` and `what-if`: they change nothing and need no privileges.

use std::fs;
use std::io;
use std::path::Path;

use multihome_core::diff::diff;
use multihome_core::rules::without_local;
use multihome_core::suppose::{self, Consequence, Supposition};
use multihome_core::verify::{Report, verify as ask_all};
use multihome_core::{Change, Config, Family, Memory, Plan, Snapshot, plan};

use super::read::{Seen, look_at_all};
use crate::cli::{Reading, WhatIfArgs};
use crate::config_files;
use crate::error::{self, Failure, PENDING};
use crate::output::{self, Style};
use crate::words;
use crate::words::status::lost;
use crate::words::verify::Verified;
use crate::words::what_if::WhatIf;

/// Proves that every answer leaves by its door, or shows those that do not.
pub fn verify(named: Option<&Path>, args: &Reading) -> Result<u8, Failure> {
    let config = config_files::read(named)?;
    let (Seen { snapshot, .. }, memory) = look_at_all(&config, args)?;
    let judged = Judged::of(&snapshot, &config, &memory);
    let names = snapshot.names();
    let verified = judged.with(&names);
    if args.json {
        output::json(&verified.json())?;
    } else {
        output::text(&verified.text(Style::stdout()))?;
        snapshot.incomplete.iter().for_each(|why| log::warn!("incomplete: {why}"));
    }
    Ok(if judged.report.is_right() { 0 } else { PENDING })
}

/// Supposes that something happens, and shows what becomes of it.
pub fn what_if(named: Option<&Path>, args: &WhatIfArgs) -> Result<u8, Failure> {
    // Another configuration is one more thing that is supposed.
    let config = config_files::read(None)?;
    let new_config = config_files::read(named)?;
    let (Seen { snapshot: before, .. }, mut memory) = look_at_all(&config, &args.reading)?;
    let judged_before = Judged::of(&before, &config, &memory);
    let mut at_once = before.clone();
    let mut supposed = Vec::new();
    for supposition in &args.supposed.0 {
        let previous = at_once.clone();
        let along = happen(&mut at_once, supposition, &new_config, &mut memory)?;
        supposed.push(words::what_if::supposed(supposition, &along, at_once != previous));
    }
    supposed.extend(named.iter().map(|f| format!("configured by {}", f.display())));
    if supposed.is_empty() {
        supposed.push("nothing but what multihome would do".into());
    }
    if let Some(path) = &args.write {
        if path.as_os_str() == "-" {
            return Err(Failure::Question {
                what: "--write -: stdout has the answer already".into(),
                remedy: "give a file (./- is a file of that name)".into(),
            });
        }
        let mut text = serde_json::to_string_pretty(&at_once).map_err(io::Error::other)?;
        text.push('\n');
        fs::write(path, text).map_err(error::file(path))?;
    }
    let judged_then = Judged::of(&at_once, &new_config, &memory);
    let mut settled = at_once.clone();
    suppose::take(&mut settled, &judged_then.changes);
    let judged_settled = Judged::of(&settled, &new_config, &memory);
    let names = [&before, &at_once, &settled].map(Snapshot::names);
    let what_if = WhatIf {
        supposed,
        before: judged_before.with(&names[0]),
        at_once: judged_then.with(&names[1]),
        settled: judged_settled.with(&names[2]),
        lost: lost_by_then(&before, &judged_before.plan, &settled, &judged_settled.plan),
    };
    if args.reading.json {
        output::json(&what_if.json())?;
    } else {
        output::text(&what_if.text(Style::stdout()))?;
        before.incomplete.iter().for_each(|why| log::warn!("incomplete: {why}"));
    }
    Ok(if judged_settled.report.is_right() { 0 } else { PENDING })
}

/// What uplinks have lost that they had before.
fn lost_by_then(before: &Snapshot, had: &Plan, then: &Snapshot, has: &Plan) -> Vec<String> {
    let known = lost(before, had);
    let mut new = lost(then, has);
    new.retain(|l| !known.contains(l));
    new
}

/// A host with its plan, and what is right of it.
struct Judged {
    plan: Plan,
    changes: Vec<Change>,
    report: Report,
    without_local: Vec<Family>,
}

impl Judged {
    fn of(snapshot: &Snapshot, config: &Config, memory: &Memory) -> Judged {
        let plan = plan::make(snapshot, config, memory);
        let changes = diff(snapshot, &plan);
        let report = ask_all(snapshot, config, &plan);
        Judged { plan, changes, report, without_local: without_local(snapshot) }
    }

    fn with<'a>(&'a self, names: &'a multihome_core::model::Names) -> Verified<'a> {
        let Judged { plan, changes, report, without_local } = self;
        Verified { report, plan, changes, without_local, names }
    }
}

/// Makes it happen, as far as a daemon would remember that it did.
fn happen(
    snapshot: &mut Snapshot,
    what: &Supposition,
    config: &Config,
    memory: &mut Memory,
) -> Result<Vec<Consequence>, Failure> {
    let along = suppose::suppose(snapshot, what).map_err(Failure::Impossible)?;
    if let Supposition::LinkDown(name) = what
        && let Some(link) = snapshot.link_named(name)
    {
        memory.park(link);
    }
    memory.update(snapshot, config);
    Ok(along)
}
