//! Where the configuration is read from.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use multihome_core::Config;

use crate::error::{self, Failure};

const MAIN_FILE: &str = "/etc/multihome/config.toml";
const DROP_INS: &str = "/etc/multihome/config.d";
/// No configuration is longer; a wrong path may be.
const MAX_SIZE: u64 = 1 << 20;

/// Reads the configuration: the file that was named, or those in `/etc/multihome`, none of
/// which needs to be there.
pub fn read(named: Option<&Path>) -> Result<Config, Failure> {
    let mut files = Vec::new();
    for path in paths(named)? {
        let text = read_text(&path).map_err(error::config_file(&path))?;
        files.push((path.display().to_string(), text));
    }
    Ok(Config::parse(files.iter().map(|(path, text)| (path.as_str(), text.as_str())))?)
}

/// The files that [`read`] reads, in its order.
pub fn paths(named: Option<&Path>) -> Result<Vec<PathBuf>, Failure> {
    if let Some(path) = named {
        return Ok(vec![path.to_owned()]);
    }
    let mut paths = Vec::new();
    if exists(Path::new(MAIN_FILE))? {
        paths.push(PathBuf::from(MAIN_FILE));
    }
    let mut drop_ins = match fs::read_dir(DROP_INS) {
        Ok(entries) => entries
            .map(|e| e.map(|e| e.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(error::config_file(DROP_INS))?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(error::config_file(DROP_INS)(e)),
    };
    drop_ins.retain(|p| p.extension().is_some_and(|e| e == "toml"));
    drop_ins.sort();
    paths.extend(drop_ins);
    Ok(paths)
}

/// A file that is there but cannot be seen is an error: its absence would mean something else.
fn exists(path: &Path) -> Result<bool, Failure> {
    path.try_exists().map_err(error::config_file(path))
}

/// Reads a file, or a pipe as in `--config <(...)`.
fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = fs::File::open(path)?.take(MAX_SIZE + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_SIZE {
        return Err(io::Error::other("more than a mebibyte is no configuration"));
    }
    Ok(text)
}
