//! What the documents show is what happens.
//!
//! Every block fenced as `console` in README.md and docs/*.md is run: each line that begins
//! with `$ ` by `sh`, at the root of the repository, with the binary that was just built in
//! front of the path. What stands below the line must be what comes out, stdout and stderr
//! together; `[..]` stands for anything, alone on a line for any number of lines.
//! `UPDATE_DOCS=1` writes what came out instead, where there is no `[..]`.
//!
//! Commands that would ask or change this machine's kernel are refused: those are shown in
//! blocks of another kind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A command of a document and the lines below it.
struct Example {
    line: usize,
    command: String,
    expected: Vec<String>,
}

#[test]
fn every_console_block_comes_out_as_it_is_written() {
    let update = std::env::var_os("UPDATE_DOCS").is_some();
    let mut wrong = String::new();
    let mut run = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        // From the last to the first, so that line numbers hold while blocks grow.
        for example in examples(&lines).into_iter().rev() {
            run += 1;
            let got = output_of(&example.command);
            if matches(&example.expected, &got) {
                continue;
            }
            if update && !example.expected.iter().any(|l| l.contains("[..]")) {
                let below = example.line + 1;
                lines.splice(below..below + example.expected.len(), got);
                continue;
            }
            wrong += &format!(
                "\n{}:{}: $ {}\n{}\n",
                document.display(),
                example.line + 1,
                example.command,
                got.join("\n")
            );
        }
        if update {
            fs::write(&document, lines.join("\n") + "\n").expect("writing a document");
        }
    }
    assert!(run > 10, "only {run} commands were found in the documents");
    assert!(wrong.is_empty(), "{wrong}\n(UPDATE_DOCS=1 writes what came out)");
}

#[test]
fn the_commented_configuration_is_a_configuration() {
    let text = fs::read_to_string(root().join("packaging/config.toml")).expect("the example");
    // A comment has a space behind its sign, a value that is commented out has none.
    let uncommented: String = text
        .lines()
        .map(|l| match l.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => rest,
            _ => l,
        })
        .flat_map(|l| [l, "\n"])
        .collect();
    for key in [
        "base",
        "link_group",
        "primary",
        "manage",
        "ignore",
        "return_path",
        "mark_mask",
        "sysctl",
        "precedence",
        "uplink",
        "to",
        "protocol",
        "port",
        "uid",
        "fwmark",
        "dscp",
        "unless_down",
        "gateway",
        "table",
        "on_down",
    ] {
        assert!(uncommented.contains(&format!("\n{key} = ")), "{key} is not in the example");
    }
    let directory = std::env::temp_dir().join(format!("multihome-docs-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    for (name, text) in [("as-shipped.toml", &text), ("uncommented.toml", &uncommented)] {
        let file = directory.join(name);
        fs::write(&file, text).expect("a file");
        let got = output_of(&format!("multihome config check {}", file.display()));
        assert_eq!(got, [format!("ok: {}", file.display())], "{text}");
    }
    fs::remove_dir_all(directory).expect("removing the directory");
}

#[test]
fn an_elision_stands_for_anything() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (expected, got, same) in [
        ("a\nb", "a\nb", true),
        ("a\nb", "a", false),
        ("a", "a\nb", false),
        ("a\n[..]", "a\nb\nc", true),
        ("[..]\nc", "a\nb\nc", true),
        ("[..]\nd", "a\nb\nc", false),
        ("a [..] c", "a b c", true),
        ("a [..] c", "a b d", false),
        ("a[..]b[..]c", "a1b2c", true),
        ("a[..]b[..]c", "a1c2", false),
    ] {
        assert_eq!(matches(&lines(expected), &lines(got)), same, "{expected:?} and {got:?}");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn documents() -> Vec<PathBuf> {
    let mut documents: Vec<PathBuf> = fs::read_dir(root().join("docs"))
        .expect("docs")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .collect();
    documents.push(root().join("README.md"));
    documents.sort();
    documents
}

fn examples(lines: &[String]) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut inside = false;
    for (line, text) in lines.iter().enumerate() {
        match text.as_str() {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match text.strip_prefix("$ ") {
                Some(command) => examples.push(Example {
                    line,
                    command: command.to_owned(),
                    expected: Vec::new(),
                }),
                None => examples.last_mut().expect("a command first").expected.push(text.clone()),
            },
        }
    }
    examples
}

fn output_of(command: &str) -> Vec<String> {
    let harmless = ["--snapshot ", "--help", "--version", "config check", "config show"];
    assert!(
        command.split([';', '|', '&']).all(|part| {
            let part = part.trim_start();
            !part.starts_with("multihome") || harmless.iter().any(|h| part.contains(h))
        }),
        "`{command}` would ask this machine's kernel: use a `text` block"
    );
    let binary = Path::new(env!("CARGO_BIN_EXE_multihome"));
    let directory = binary.parent().expect("a directory").display();
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1; {command}")])
        .current_dir(root())
        .env_clear()
        .env("PATH", format!("{directory}:/usr/local/bin:/usr/bin:/bin"))
        .output()
        .expect("sh");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|l| l.trim_end().to_owned()).collect()
}

/// Whether lines came out as expected; `[..]` stands for anything.
fn matches(expected: &[String], got: &[String]) -> bool {
    match (expected.split_first(), got.split_first()) {
        (None, None) => true,
        (Some((line, rest)), _) if line == "[..]" => {
            (0..=got.len()).any(|skipped| matches(rest, &got[skipped..]))
        }
        (Some((line, rest)), Some((first, others))) => {
            line_matches(line, first) && matches(rest, others)
        }
        _ => false,
    }
}

fn line_matches(expected: &str, got: &str) -> bool {
    let mut parts = expected.split("[..]");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = got.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(before) = last.replace(part) {
            let Some((_, behind)) = rest.split_once(before) else { return false };
            rest = behind;
        }
    }
    match last {
        None => rest.is_empty(),
        Some(end) => rest.ends_with(end),
    }
}
