//! `multihome export`: the files, what to run, and what is lost by them.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use multihome_core::Plan;
use multihome_core::model::Names;
use multihome_core::policy::Policy;
use multihome_core::verify::Report;
use multihome_formats::{Export, consequences};
use serde::Serialize;

use super::plural;
use super::verify::Verified;
use crate::output::Style;

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Written {
    /// There was none.
    New,
    /// It said something else.
    Over,
    /// It said the same already.
    AsItWas,
}

/// An export with what is needed to speak of it.
pub struct Exported<'a> {
    /// The files and commands.
    pub export: &'a Export,
    /// What they are made of.
    pub policy: &'a Policy,
    /// What that is made of.
    pub plan: &'a Plan,
    /// The names of links and tables.
    pub names: &'a Names,
    /// Below which directory they were written.
    pub output: Option<&'a Path>,
    /// What became of each; empty when they are only shown.
    pub written: &'a [Written],
    /// Files that are there and could not be read.
    pub unread: &'a [(PathBuf, io::Error)],
    /// Answers that are right with multihome and not by the files alone.
    pub report: &'a Report,
}

/// The JSON of `export`.
#[derive(Debug, Serialize)]
pub struct ExportJson {
    /// The files.
    pub files: Vec<FileJson>,
    /// What to run when they are in place, in order.
    pub next: Vec<String>,
    /// What to run to take them away, in order.
    pub undo: Vec<String>,
    /// What is lost.
    pub warnings: Vec<String>,
    /// Answers that are right with multihome, and not by the files alone.
    pub wrong: usize,
}

/// A file.
#[derive(Debug, Serialize)]
pub struct FileJson {
    /// Where it belongs.
    pub path: String,
    /// Its mode, in octal.
    pub mode: String,
    /// Whether it holds what was there before.
    pub extends: bool,
    /// `new`, `over` or `as-it-was`; null when it was only shown.
    pub written: Option<Written>,
    /// All of it.
    pub text: String,
}

impl Exported<'_> {
    /// The files, or where they were written, and the commands.
    pub fn text(&self, style: Style) -> String {
        let mut out = String::new();
        for (n, file) in self.export.files.iter().enumerate() {
            match (self.output, self.written.get(n)) {
                (Some(output), Some(written)) => {
                    let what = match written {
                        Written::New => "wrote",
                        Written::Over => "wrote over",
                        Written::AsItWas => "as it was:",
                    };
                    let path = crate::files::below(output, &file.path);
                    let _ = writeln!(out, "{what} {} ({:04o})", path.display(), file.mode);
                }
                _ => {
                    let title = format!("# ===== {} ({:04o})", file.path, file.mode);
                    let _ = writeln!(out, "{}\n{}", style.bold(&title), file.text);
                }
            }
        }
        let is_in_place = self.output == Some(Path::new("/"));
        let commands = |out: &mut String, title: &str, commands: &[String]| {
            if !commands.is_empty() {
                let _ = writeln!(out, "{}", style.bold(title));
                for command in commands {
                    let _ = writeln!(out, "    {command}");
                }
            }
        };
        let next = if is_in_place { "# now run" } else { "# when they are in place, run" };
        commands(&mut out, next, &self.export.next);
        commands(&mut out, "# to be rid of them", &self.export.undo);
        out
    }

    /// What is lost by the files, and what could not be read.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> =
            self.unread.iter().map(|(path, e)| format!("{}: {e}", path.display())).collect();
        warnings.extend(consequences(&self.policy.gaps, self.names));
        if !self.report.wrong.is_empty() {
            let verified = Verified {
                report: self.report,
                plan: self.plan,
                changes: &[],
                without_local: &[],
                names: self.names,
            };
            let groups = verified.groups(&self.report.wrong);
            let count = plural(self.report.wrong.len(), "answer");
            let first = groups.first().map_or("", |(heading, _)| heading);
            warnings.push(format!(
                "{count} right with multihome would not be by these files alone, as: {first}"
            ));
        }
        warnings
    }

    /// As JSON.
    pub fn json(&self) -> ExportJson {
        let files = self.export.files.iter().enumerate();
        ExportJson {
            files: files
                .map(|(n, file)| FileJson {
                    path: file.path.clone(),
                    mode: format!("{:04o}", file.mode),
                    extends: file.extends,
                    written: self.written.get(n).copied(),
                    text: file.text.clone(),
                })
                .collect(),
            next: self.export.next.clone(),
            undo: self.export.undo.clone(),
            warnings: self.warnings(),
            wrong: self.report.wrong.len(),
        }
    }
}
