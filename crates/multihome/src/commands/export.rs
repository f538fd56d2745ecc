//! `multihome export`: the plan as another system's files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use multihome_core::diff::diff;
use multihome_core::policy::{self, Policy};
use multihome_core::suppose::settled;
use multihome_core::verify::{Report, verify};
use multihome_core::{Change, Config, Memory, Plan, Snapshot, import, plan};
use multihome_formats::{Export, File, Format};

use super::read::{Seen, look_at_all};
use crate::cli::ExportArgs;
use crate::config_files;
use crate::error::{self, Failure};
use crate::files;
use crate::output::{self, Style};
use crate::words::export::{Exported, Written};

/// Writes the plan as another system's files, or shows what it would write.
pub fn export(named: Option<&Path>, args: &ExportArgs) -> Result<u8, Failure> {
    let config = config_files::read(named)?;
    let (seen, _) = look_at_all(&config, &args.reading)?;
    if let Some(why) = seen.snapshot.incomplete.first() {
        return Err(Failure::Incomplete(format!("half a host is not exported: {why}")));
    }
    let (seen, config) = over_what_is_in_force(seen, config);
    let Seen { snapshot, plan, changes } = &seen;
    let format = Format::from(args.format);
    let there = match (&args.root, &args.reading.snapshot) {
        (None, Some(_)) => files::Found::default(),
        (root, _) => {
            let root = root.as_deref().unwrap_or(Path::new("/"));
            files::read(root, &format.places())
        }
    };
    let policy = policy::of(snapshot, &config, plan, &format.words_beside(&there.tree));
    if policy.parts.is_empty() {
        return Err(Failure::Question {
            what: "there is nothing to export: no uplink has a table of its own".into(),
            remedy: "`multihome status` says why".into(),
        });
    }
    let names = snapshot.names();
    let export = multihome_formats::export(format, &policy, &names, &there.tree);
    let written = match &args.output {
        None => Vec::new(),
        Some(root) => write(root, &export, args.force)?,
    };
    let exported = Exported {
        export: &export,
        policy: &policy,
        plan,
        names: &names,
        output: args.output.as_deref(),
        written: &written,
        unread: &there.unread,
        report: &compare(snapshot, &config, plan, changes, &policy),
    };
    if args.reading.json {
        output::json(&exported.json())?;
    } else {
        output::text(&exported.text(Style::stdout()))?;
        output::warnings(&exported.warnings());
    }
    Ok(0)
}

/// Where an export is in force already, what is in the way of a plan is what will be written anew: the
/// host without it, and with the gateways that only it knows.
fn over_what_is_in_force(seen: Seen, config: Config) -> (Seen, Config) {
    if seen.plan.conflicts.is_empty() {
        return (seen, config);
    }
    let (snapshot, with_gateways) = import::handed_over(&seen.snapshot, &config);
    let plan = plan::make(&snapshot, &with_gateways, &Memory::default());
    if plan.conflicts.len() >= seen.plan.conflicts.len() {
        return (seen, config);
    }
    let changes = diff(&snapshot, &plan);
    (Seen { snapshot, plan, changes }, with_gateways)
}

/// What is asked of the host when the policy is all that keeps it, less what is not right with
/// multihome either.
fn compare(
    snapshot: &Snapshot,
    config: &Config,
    plan: &Plan,
    changes: &[Change],
    policy: &Policy,
) -> Report {
    let mut report = verify(&policy::alone(snapshot, policy), config, plan);
    if !report.is_right() {
        let kept = verify(&settled(snapshot, changes), config, plan);
        report.wrong.retain(|f| !kept.wrong.contains(f));
        report.unproven.retain(|f| !kept.unproven.contains(f));
    }
    report
}

/// Writes the files below `root`: all of them, or none where one is in the way.
fn write(root: &Path, export: &Export, force: bool) -> Result<Vec<Written>, Failure> {
    let place = |file: &File| -> PathBuf { root.join(file.path.trim_start_matches('/')) };
    let mut todo = Vec::new();
    for file in &export.files {
        let path = place(file);
        let what = match fs::read_to_string(&path) {
            Ok(text) if text == file.text => Written::AsItWas,
            Ok(_) if force => Written::Over,
            Ok(_) => {
                return Err(Failure::Question {
                    what: format!("{} is there and says something else", path.display()),
                    remedy: if file.extends {
                        "what is written holds all that is there, and more; --force writes it"
                            .into()
                    } else {
                        "look at it, then --force writes over it, or give another --output".into()
                    },
                });
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Written::New,
            Err(e) => return Err(error::file(path)(e)),
        };
        todo.push((path, file, what));
    }
    for (path, file, what) in &todo {
        if *what != Written::AsItWas {
            files::put(path, file.text.as_bytes(), file.mode).map_err(error::file(path))?;
        }
    }
    Ok(todo.into_iter().map(|(_, _, what)| what).collect())
}
