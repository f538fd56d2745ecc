//! `multihome import`: what keeps a host by hand or by another system's files, what is wrong with
//! it, and the configuration that does at least the same.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use multihome_core::diff::diff;
use multihome_core::import::{self, Declared, Imported, Left};
use multihome_core::rival::{self, Tool};
use multihome_core::suppose::settled;
use multihome_core::verify::{Report, verify};
use multihome_core::{Config, Memory, Snapshot, plan};
use multihome_formats::{Format, Known, Statement, Tree, What, declared_by};

use super::change::{PATIENCE, finish, require_net_admin, rise};
use super::read::{Seen, look_at_all};
use crate::cli::ImportArgs;
use crate::engine::{Engine, Goal};
use crate::error::{self, FAILED, Failure, PENDING};
use crate::files;
use crate::output::{self, Style};
use crate::run_dir::RunDir;
use crate::words::import::{Reading, Source};

/// Where the configuration belongs.
const CONFIG: &str = "/etc/multihome/config.toml";
/// Shows what is kept by hand or in files, its faults, and the configuration for it.
pub fn import(named: Option<&Path>, args: &ImportArgs) -> Result<u8, Failure> {
    if named.is_some() {
        return Err(Failure::Question {
            what: "--config: an import makes a configuration, and reads none".into(),
            remedy: "`multihome what-if --config FILE` tries one".into(),
        });
    }
    let (Seen { snapshot, .. }, _) = look_at_all(&Config::default(), &args.reading)?;
    if let Some(why) = snapshot.incomplete.first() {
        return Err(Failure::Incomplete(format!("half a host is not imported: {why}")));
    }
    let (declared, source) = declared(&snapshot, args)?;
    if declared.rules.is_empty() && declared.routes.is_empty() {
        return Err(Failure::Question {
            what: match &source {
                Source::Live => "nobody keeps rules by hand for this host's uplinks".into(),
                Source::Files(_) => "these files have no rules and no routes".into(),
            },
            remedy: "`multihome plan` shows what multihome does by itself".into(),
        });
    }
    let now = judged(&import::as_declared(&snapshot, &declared), &Config::default());
    let imported = import::of(&snapshot, &declared);
    // As if what the configuration cannot say of its tables were gone: beside it nothing would be made.
    let stays = |l: &&Left| !matches!(l, Left::Route(_));
    let stays: Vec<Left> = imported.left.iter().filter(stays).cloned().collect();
    let bare = import::bare(&snapshot, &declared.without(&stays));
    let plan = plan::make(&bare, &imported.config, &Memory::default());
    let changes = diff(&bare, &plan);
    let mut then = verify(&settled(&bare, &changes), &imported.config, &plan);
    then.wrong.retain(|f| !now.report.wrong.contains(f));
    let names = snapshot.names();
    let text = imported.config.to_toml();
    let reading = Reading {
        source: &source,
        declared: &declared,
        imported: &imported,
        config: &text,
        now: &now.report,
        now_plan: &now.plan,
        then: &then,
        plan: &plan,
        names: &names,
    };
    if args.adopt {
        return adopt(&snapshot, &declared, &imported, &reading, args);
    }
    if let Some(path) = &args.output {
        write_config(path, &reading.file(), args.force)?;
    }
    if args.reading.json {
        output::json(&reading.json())?;
    } else {
        output::text(&reading.text(Style::stdout(), args.output.as_deref()))?;
    }
    Ok(if now.report.is_right() && reading.stale() == 0 { 0 } else { PENDING })
}

/// A host and what is right of it.
struct Judged {
    plan: plan::Plan,
    report: Report,
}

fn judged(host: &Snapshot, config: &Config) -> Judged {
    let plan = plan::make(host, config, &Memory::default());
    let report = verify(host, config, &plan);
    Judged { plan, report }
}

/// What is declared, and where.
fn declared(snapshot: &Snapshot, args: &ImportArgs) -> Result<(Declared, Source), Failure> {
    let Some(from) = args.from else { return Ok((import::live(snapshot), Source::Live)) };
    let format = Format::from(from);
    let tree = if args.files.is_empty() {
        let root = args.root.as_deref().unwrap_or(Path::new("/"));
        let found = files::read(root, &format.places());
        if let Some((path, e)) = found.unread.into_iter().next() {
            return Err(error::file(path)(e));
        }
        found.tree
    } else {
        named_files(&args.files)?
    };
    let statements = multihome_formats::import(format, &tree, &Known::of(snapshot))?;
    Ok((declared_by(&statements), Source::Files(statements)))
}

fn named_files(paths: &[PathBuf]) -> Result<Tree, Failure> {
    let mut tree = Tree::new();
    for path in paths {
        let text = files::read_text(path).map_err(error::file(path))?;
        let gone = || error::file(path)(io::Error::from(io::ErrorKind::NotFound));
        tree.insert(path.display().to_string(), text.ok_or_else(gone)?);
    }
    Ok(tree)
}

/// Writes a configuration; one that says something else is not written over unless that is wanted.
fn write_config(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    match files::read_text(path).map_err(error::file(path))? {
        Some(there) if there == text => return Ok(()),
        Some(_) if !force => {
            return Err(Failure::Question {
                what: format!("{} is there and says something else", path.display()),
                remedy: "look at both, then --force writes over it".into(),
            });
        }
        _ => {}
    }
    files::put(path, text.as_bytes(), 0o644).map_err(error::file(path))
}

/// Takes over what is in force: ours is there before theirs goes.
fn adopt(
    snapshot: &Snapshot,
    declared: &Declared,
    imported: &Imported,
    reading: &Reading<'_>,
    args: &ImportArgs,
) -> Result<u8, Failure> {
    require_net_admin()?;
    if let Some(Left::Route(route)) = imported.left.iter().find(|l| matches!(l, Left::Route(_))) {
        return Err(Failure::Question {
            what: format!(
                "`{}` would be lost: multihome's tables hold what main reaches",
                route.display(&snapshot.names())
            ),
            remedy: "put it into main as well, or delete it, then adopt".into(),
        });
    }
    if !reading.then.wrong.is_empty() {
        output::text(&reading.text(Style::stdout(), None))?;
        return Err(Failure::Incomplete(
            "answers that are right now would not be: nothing was taken over".into(),
        ));
    }
    let keeper = rival::find(snapshot, reading.now_plan).into_iter().map(|r| r.tool);
    if let Some(tool) = keeper.into_iter().find(|t| *t != Tool::Unknown && !args.force) {
        return Err(Failure::Question {
            what: format!("{} keeps these rules and would make them again", tool.name()),
            remedy: "`multihome doctor` says how to switch it off; --force adopts all the same"
                .into(),
        });
    }
    let writes = !imported.config.to_toml().is_empty() || Path::new(CONFIG).exists();
    if writes {
        write_config(Path::new(CONFIG), &reading.file(), args.force)?;
    }
    let dir = RunDir::open()?;
    let mut engine = Engine::open(imported.config.clone(), &dir)?;
    rise(&dir);
    let lock = dir.change_lock("import")?;
    let _held = lock.take(PATIENCE)?;
    engine.observe(Goal::Plan)?;
    let steps = engine.prepare_takeover(&declared.without(&imported.left))?;
    let outcome = engine.take(steps);
    let done = finish(&mut engine, outcome, Goal::Plan)?;
    let files = origins(snapshot, declared, reading.source);
    output::text(&reading.adopted(&done.outcome, writes.then_some(CONFIG), &files))?;
    if !done.left.is_empty() {
        let names = engine.snapshot().names();
        let what: Vec<String> = done.left.iter().map(|c| c.command(&names)).collect();
        return Err(Failure::Incomplete(format!(
            "somebody undid it at once, or it could not be made:\n  {}",
            what.join("\n  ")
        )));
    }
    Ok(if done.outcome.failures.is_empty() { 0 } else { FAILED })
}

/// The lines of files that make what was taken over, by file: they make it again at the next boot.
fn origins(
    snapshot: &Snapshot,
    declared: &Declared,
    source: &Source,
) -> BTreeMap<String, Vec<usize>> {
    let mut lines: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut note = |statement: &Statement| {
        let is_taken = match &statement.what {
            What::Route(route) => declared.routes.iter().any(|r| r.key() == route.key()),
            What::Rule(rule) => declared.rules.iter().any(|r| {
                (r.family, r.priority, r.from, r.action)
                    == (rule.family, rule.priority, rule.from, rule.action)
            }),
            What::Group(link, group) => declared.groups.get(link) == Some(group),
            What::TableName(..) => false,
        };
        if is_taken {
            lines.entry(statement.at.path.clone()).or_default().push(statement.at.line);
        }
    };
    match source {
        Source::Files(statements) => statements.iter().for_each(&mut note),
        Source::Live => {
            let known = Known::of(snapshot);
            for format in Format::READABLE {
                let tree = files::read(Path::new("/"), &format.places()).tree;
                // File by file: one that is not understood hides no other.
                for (path, text) in tree {
                    let one = Tree::from([(path, text)]);
                    let read = multihome_formats::import(format, &one, &known);
                    read.unwrap_or_default().iter().for_each(&mut note);
                }
            }
        }
    }
    lines
}
