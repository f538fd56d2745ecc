//! Files of sections: systemd's (systemd.syntax(7), `config_parse`) and those of `GKeyFile`.
//!
//! Both are read line by line, with order and repeated sections kept: to systemd two sections
//! `[Route]` are two routes, to `GKeyFile` two groups of a name are one.

use std::borrow::Cow;

use crate::Problem;
use crate::comments::problem;

/// Longer files are no configuration.
pub(crate) const LONGEST: usize = 1 << 20;

/// Whose rules a file follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Lines that end in a backslash go on in the next; comments begin with `#` or `;`.
    Systemd,
    /// Lines do not go on; comments begin with `#`.
    Keyfile,
}

/// A section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section<'a> {
    /// What stands in its brackets.
    pub(crate) name: &'a str,
    /// The line of its head, counted from 1.
    pub(crate) line: usize,
    /// Its lines.
    pub(crate) entries: Vec<Entry<'a>>,
}

/// A line of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Before the equals sign.
    pub(crate) key: &'a str,
    /// Behind it.
    pub(crate) value: Cow<'a, str>,
    /// Where it begins.
    pub(crate) line: usize,
    /// As it stands there, its first line.
    pub(crate) text: &'a str,
}

impl Section<'_> {
    /// Its lines in one.
    pub(crate) fn text(&self) -> String {
        let entries = self.entries.iter().map(|e| format!("{}={}", e.key, e.value));
        let mut words = vec![format!("[{}]", self.name)];
        words.extend(entries);
        words.join(" ")
    }
}

/// Reads a file.
pub(crate) fn read<'a>(
    path: &str,
    text: &'a str,
    dialect: Dialect,
) -> Result<Vec<Section<'a>>, Problem> {
    if text.len() > LONGEST {
        return Err(problem(path, 1, "", "the file is too long"));
    }
    let mut sections: Vec<Section<'a>> = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((number, text)) = lines.next() {
        let line = text.trim();
        if line.is_empty() || is_comment(line, dialect) {
            continue;
        }
        // A head has no value behind it: systemd wants the bracket at the end of the line.
        if let Some(name) = line.strip_prefix('[') {
            let Some(name) = name.strip_suffix(']') else {
                return Err(problem(path, number, text, "a section's name ends with `]`"));
            };
            sections.push(Section { name, line: number, entries: Vec::new() });
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(problem(path, number, text, "there is no `=`"));
        };
        let Some(section) = sections.last_mut() else {
            return Err(problem(path, number, text, "the line is in no section"));
        };
        let mut value = Cow::Borrowed(value.trim());
        if dialect == Dialect::Systemd {
            while let Some(begun) = value.strip_suffix('\\') {
                let mut whole = format!("{begun} ");
                // A comment between the lines is passed over (`config_parse`).
                let next = lines.by_ref().map(|(_, l)| l).find(|l| !is_comment(l.trim(), dialect));
                whole.push_str(next.unwrap_or_default().trim());
                let goes_on = next.is_some();
                value = Cow::Owned(whole);
                if !goes_on {
                    break;
                }
            }
        }
        section.entries.push(Entry { key: key.trim(), value, line: number, text });
    }
    Ok(sections)
}

fn is_comment(line: &str, dialect: Dialect) -> bool {
    line.starts_with('#') || (dialect == Dialect::Systemd && line.starts_with(';'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_ok(text: &str, dialect: Dialect) -> Vec<Section<'_>> {
        read("/f", text, dialect).unwrap()
    }

    #[test]
    fn sections_of_a_name_stay_apart_and_in_order() {
        let sections = read_ok("# c\n[Route]\nGateway = a\n\n[Route]\nTable=5\n", Dialect::Systemd);
        let heads: Vec<_> = sections.iter().map(|s| (s.name, s.line)).collect();
        assert_eq!(heads, [("Route", 2), ("Route", 5)]);
        assert_eq!(sections[0].text(), "[Route] Gateway=a");
        assert_eq!(sections[1].entries[0].line, 6);
    }

    #[test]
    fn lines_of_systemd_go_on_behind_a_backslash() {
        let text = "[A]\nk=one \\\n; not this\n  two \\\nthree\nl=4\n";
        let sections = read_ok(text, Dialect::Systemd);
        assert_eq!(sections[0].entries[0].value, "one  two  three");
        assert_eq!((sections[0].entries[1].key, sections[0].entries[1].line), ("l", 6));
        let sections = read_ok("[A]\nk=one \\\n", Dialect::Systemd);
        assert_eq!(sections[0].entries[0].value, "one  ");
        assert_eq!(read_ok("[A]\nk=a\\\nl=b\n", Dialect::Keyfile)[0].entries.len(), 2);
    }

    #[test]
    fn what_is_no_line_of_a_section_is_said_with_its_number() {
        for (text, line) in [("k=v\n", 1), ("[A]\nword\n", 2), ("[A\n", 1), ("[A]\n\n; x\n", 3)] {
            let problem = read("/f", text, Dialect::Keyfile).unwrap_err();
            assert_eq!((problem.at.line, problem.at.path.as_str()), (line, "/f"), "{problem}");
        }
    }

    #[test]
    fn a_file_that_is_no_configuration_is_not_read() {
        assert!(read("/f", &" ".repeat(LONGEST + 1), Dialect::Systemd).is_err());
    }
}
