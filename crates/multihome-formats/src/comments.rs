//! What every file says beside the words of its format: who wrote it, what is lost, what stands
//! where.

use multihome_core::model::Names;
use multihome_core::policy::{Entry, Gap, Part, Policy, Purpose};

use crate::{At, Problem, gap, purpose};

/// The first line of each file.
pub(crate) const HEAD: &str = "# Written by `multihome export`; the next export writes it anew.\n";
/// As wide as a terminal.
const WIDTH: usize = 80;

/// The gaps that are about an uplink, or about all, as comments; without an uplink all of them.
pub(crate) fn gaps(policy: &Policy, names: &Names, uplink: Option<&str>) -> String {
    let concerns =
        |gap: &&Gap| uplink.is_none() || gap.uplink().is_none() || gap.uplink() == uplink;
    let gaps = policy.gaps.iter().filter(concerns);
    gap::consequences(gaps, names).iter().map(|lost| comment(lost)).collect()
}

/// Lines of comment, no wider than a terminal. What comes from outside cannot end one, nor go on with
/// the next line.
pub(crate) fn comment(text: &str) -> String {
    let mut out = String::new();
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        let word: String = word.chars().filter(|c| !c.is_control()).collect();
        if line.len() > 1 && line.len() + 1 + word.len() > WIDTH {
            out += line.trim_end_matches('\\');
            out.push('\n');
            line = "#".to_owned();
        }
        line.push(' ');
        line += &word;
    }
    out + line.trim_end_matches('\\') + "\n"
}

/// What entries of a purpose are for, as a comment.
pub(crate) fn purpose(purpose: Purpose) -> String {
    format!("# {}", purpose::words(purpose))
}

/// Entries of one purpose that follow each other, with the comment that stands above them.
pub(crate) fn groups<T>(entries: &[Entry<T>]) -> impl Iterator<Item = (&'static str, &[Entry<T>])> {
    let of = |purpose: Purpose| purpose::words(purpose);
    entries.chunk_by(|a, b| a.purpose == b.purpose).map(move |group| (of(group[0].purpose), group))
}

/// Whether a link's name means the same to every parser: no glob, no quote, no comment, no blank. The
/// kernel allows nearly everything in names (`dev_valid_name`).
pub(crate) fn is_plain(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@+".contains(c);
    !name.is_empty() && name.chars().all(is_plain)
}

/// Whether all names of links in a part are plain.
pub(crate) fn is_sayable(part: &Part) -> bool {
    let named = part.rules.iter().flat_map(|r| [&r.what.iif, &r.what.oif]).flatten();
    is_plain(&part.name) && named.into_iter().all(|name| is_plain(name))
}

/// Why a part is left out.
pub(crate) fn refusal(part: &Part) -> String {
    comment(&format!(
        "{:?} is left out: names of links like this mean something else here.",
        part.name
    ))
}

/// A line that cannot be read.
pub(crate) fn problem(path: &str, line: usize, text: &str, why: impl Into<String>) -> Problem {
    Problem { at: At { path: path.to_owned(), line }, text: text.to_owned(), why: why.into() }
}
