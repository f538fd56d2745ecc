//! Makes what is generated from the command line's definition, and checks that it is up to
//! date: man pages, shell completions, the help reference, and the figures of the documents.
//!
//! `cargo run -p xtask -- generate` writes the files, `cargo run -p xtask -- check` and a test fail
//! when one of them differs from what would be written. They are committed, so that a package can
//! be made without running anything, and so that a changed option shows up in a review.

mod diagrams;
mod pages;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

/// Where the man pages and completions go; nothing else lives there.
const GENERATED: &str = "packaging/generated";
/// Where the help reference goes.
const HELP: &str = "docs/help.txt";

/// Generated files: path below the repository's root, and text.
type Files = BTreeMap<PathBuf, Vec<u8>>;

fn main() -> ExitCode {
    let task = match std::env::args().nth(1).as_deref() {
        Some("generate") => generate,
        Some("check") => check,
        _ => {
            eprintln!("usage: cargo run -p xtask -- generate|check");
            return ExitCode::from(64);
        }
    };
    match run(task) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: impl Fn(&Path, &Files) -> io::Result<ExitCode>) -> io::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // The commands in the documents are given at the root.
    std::env::set_current_dir(&root)?;
    task(&root, &files(&root)?)
}

fn generate(root: &Path, files: &Files) -> io::Result<ExitCode> {
    for stale in stale(root, files)? {
        fs::remove_file(root.join(&stale))?;
        println!("removed {}", stale.display());
    }
    for (path, text) in files {
        let full = root.join(path);
        if fs::read(&full).ok().as_ref() == Some(text) {
            continue;
        }
        if let Some(directory) = full.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(full, text)?;
        println!("wrote {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn check(root: &Path, files: &Files) -> io::Result<ExitCode> {
    let mut wrong: Vec<String> = files
        .iter()
        .filter(|(path, text)| fs::read(root.join(path)).ok().as_ref() != Some(text))
        .map(|(path, _)| format!("{}: differs", path.display()))
        .collect();
    wrong.extend(stale(root, files)?.iter().map(|p| format!("{}: not generated", p.display())));
    if wrong.is_empty() {
        println!("{} generated files are up to date", files.len());
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{}\nhint: cargo run -p xtask -- generate", wrong.join("\n"));
    Ok(ExitCode::FAILURE)
}

/// Files where only generated ones are that nothing generates any more.
fn stale(root: &Path, files: &Files) -> io::Result<Vec<PathBuf>> {
    let mut stale = Vec::new();
    let generated = ["man", "completions"].map(|kind| Path::new(GENERATED).join(kind));
    for directory in generated.into_iter().chain([PathBuf::from(diagrams::DIRECTORY)]) {
        let entries = match fs::read_dir(root.join(&directory)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        for entry in entries {
            let path = directory.join(entry?.file_name());
            if !files.contains_key(&path) {
                stale.push(path);
            }
        }
    }
    Ok(stale)
}

/// All generated files.
fn files(root: &Path) -> io::Result<Files> {
    let mut command = multihome::cli::Cli::command().term_width(80);
    // Global options and the names of the pages come into being here.
    command.build();
    let mut files = Files::new();
    for (name, text) in pages::all(&command)? {
        files.insert(Path::new(GENERATED).join("man").join(name), text);
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command.clone(), "multihome", &mut text);
        let name = match shell {
            Shell::Zsh => "_multihome",
            Shell::Fish => "multihome.fish",
            _ => "multihome.bash",
        };
        files.insert(Path::new(GENERATED).join("completions").join(name), text);
    }
    files.extend(diagrams::all(root)?);
    let mut help = String::new();
    write_help(&command, &mut help);
    files.insert(PathBuf::from(HELP), help.into_bytes());
    Ok(files)
}

/// The long help of a command and of all below it.
fn write_help(command: &Command, out: &mut String) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(&format!("$ {name} --help\n"));
    let help = command.clone().render_long_help().to_string();
    for line in help.trim_end().lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    for sub in command.get_subcommands() {
        write_help(sub, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_files_are_up_to_date() {
        assert_eq!(run(check).unwrap(), ExitCode::SUCCESS);
    }
}
