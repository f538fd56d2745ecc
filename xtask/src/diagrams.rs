//! The figures of the documents. Above each stands the command that draws it:
//!
//! ```text
//! <!-- $ multihome diagram --snapshot docs/examples/cloud.json -->
//! ![A host with two cards](diagrams/cloud.svg)
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where they go.
pub const DIRECTORY: &str = "docs/diagrams";

/// All figures: path below the root, and text. The current directory is the root.
pub fn all(root: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut documents: Vec<PathBuf> = fs::read_dir(root.join("docs"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    documents.retain(|path| path.extension().is_some_and(|e| e == "md"));
    documents.push(root.join("README.md"));
    documents.sort();
    let mut figures: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document)?;
        let wrong = |line: usize, what: &str| {
            io::Error::other(format!("{}:{}: {what}", document.display(), line + 1))
        };
        let mut command = None;
        for (number, line) in text.lines().enumerate() {
            let drawn = line.strip_prefix("<!-- $ multihome diagram ");
            if let Some(arguments) = drawn.and_then(|l| l.strip_suffix(" -->")) {
                command = Some(arguments);
                continue;
            }
            let Some(name) = figure(line) else { continue };
            let arguments = command.take().ok_or_else(|| {
                wrong(number, "no `<!-- $ multihome diagram ... -->` above the figure")
            })?;
            let arguments: Vec<&str> = arguments.split_whitespace().collect();
            let svg = multihome::diagram(&arguments).map_err(|e| wrong(number, &e))?;
            let path = Path::new(DIRECTORY).join(name);
            match figures.iter().find(|(known, _)| *known == path) {
                Some((_, same)) if *same == svg.as_bytes() => {}
                Some(_) => return Err(wrong(number, "another figure has this name")),
                None => figures.push((path, svg.into_bytes())),
            }
        }
    }
    Ok(figures)
}

/// The file of a line that shows a figure of ours.
fn figure(line: &str) -> Option<&str> {
    let (_, target) = line.strip_prefix("![")?.split_once("](")?;
    let target = target.strip_suffix(')')?;
    target.strip_prefix("docs/").unwrap_or(target).strip_prefix("diagrams/")
}
