//! YAML, as far as configuration of networks needs it: scalars, lists and mappings, with their
//! lines.
//!
//! It is read event by event, so that nothing is built that is deeper or larger than a file of an
//! administrator: an alias could stand for a thousand times its own length.

use std::collections::BTreeSet;
use std::net::IpAddr;

use saphyr_parser::{Event, Marker, Parser};

use crate::Problem;
use crate::comments::problem;

/// Longer files are no configuration.
const LONGEST: usize = 1 << 20;
/// Deeper ones neither.
const DEEPEST: usize = 32;
/// Nor those with more scalars, lists and mappings.
const MOST: usize = 100_000;

/// A value with the line that it begins in, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its line.
    pub(crate) line: usize,
    /// What it is.
    pub(crate) value: Value,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Text: what it means is for the reader to say.
    Scalar(String),
    /// `- a`
    List(Vec<Node>),
    /// `a: b`, in order.
    Map(Vec<Pair>),
}

/// A line of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Before the colon.
    pub(crate) key: String,
    /// The key's line.
    pub(crate) line: usize,
    /// Behind it.
    pub(crate) node: Node,
}

// ===== reading =====

/// Reads a file of one document; none if there is nothing in it.
pub(crate) fn read(path: &str, text: &str) -> Result<Option<Node>, Problem> {
    // What is missing at the end, as the value of a last key, stands behind the last line.
    let last = text.lines().count().max(1);
    let line = |mark: Marker| mark.line().clamp(1, last);
    let wrong = |line: usize, why: String| problem(path, line, line_of(text, line), why);
    if text.len() > LONGEST {
        return Err(problem(path, 1, "", "the file is too long"));
    }
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| wrong(line(*e.marker()), e.info().to_owned()))?;
        let line = line(span.start);
        builder.event(event, line).map_err(|why| wrong(line, why))?;
    }
    Ok(builder.root)
}

/// A line as it stands in a file.
pub(crate) fn line_of(text: &str, line: usize) -> &str {
    text.lines().nth(line.saturating_sub(1)).unwrap_or_default()
}

/// A list or a mapping that is not at its end.
enum Open {
    List(usize, Vec<Node>),
    Map(usize, Vec<Pair>, BTreeSet<String>, Option<(String, usize)>),
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    nodes: usize,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, line: usize) -> Result<(), String> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 { Err("a second document".to_owned()) } else { Ok(()) }
            }
            Event::Alias(_) => Err("an alias is not read".to_owned()),
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => Err("a tag is not read".to_owned()),
            Event::Scalar(text, ..) => self.put(Node { line, value: Value::Scalar(text.into()) }),
            Event::SequenceStart(..) => self.begin(Open::List(line, Vec::new())),
            Event::MappingStart(..) => {
                self.begin(Open::Map(line, Vec::new(), BTreeSet::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(line, nodes)) => self.put(Node { line, value: Value::List(nodes) }),
                Some(Open::Map(line, pairs, ..)) => {
                    self.put(Node { line, value: Value::Map(pairs) })
                }
                None => Err("an end without a beginning".to_owned()),
            },
        }
    }

    fn begin(&mut self, open: Open) -> Result<(), String> {
        if self.open.len() >= DEEPEST {
            return Err("too deep".to_owned());
        }
        // A mapping as a key of another.
        if matches!(self.open.last(), Some(Open::Map(_, _, _, None))) {
            return Err("a key is a word".to_owned());
        }
        self.open.push(open);
        Ok(())
    }

    fn put(&mut self, node: Node) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > MOST {
            return Err("too much".to_owned());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, nodes)) => nodes.push(node),
            Some(Open::Map(_, pairs, keys, next)) => match (next.take(), node.value) {
                (Some((key, line)), value) => {
                    pairs.push(Pair { key, line, node: Node { line: node.line, value } });
                }
                (None, Value::Scalar(key)) => {
                    if key == "<<" {
                        return Err("a merge is not read".to_owned());
                    }
                    if !keys.insert(key.clone()) {
                        return Err("the key is there twice".to_owned());
                    }
                    *next = Some((key, node.line));
                }
                (None, _) => return Err("a key is a word".to_owned()),
            },
        }
        Ok(())
    }
}

impl Node {
    /// The lines of a mapping; an empty value has none.
    pub(crate) fn pairs(&self) -> Option<&[Pair]> {
        match &self.value {
            Value::Map(pairs) => Some(pairs),
            Value::Scalar(text) if is_null(text) => Some(&[]),
            _ => None,
        }
    }

    /// What is in a list; an empty value has nothing.
    pub(crate) fn items(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(nodes) => Some(nodes),
            Value::Scalar(text) if is_null(text) => Some(&[]),
            _ => None,
        }
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// What a key of a mapping says.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.pairs()?.iter().find(|p| p.key == key).map(|p| &p.node)
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null")
}

// ===== writing =====

/// A word as a scalar that every reader takes for text: what might be a number, a truth or an end of
/// something in some version of YAML is quoted.
pub(crate) fn scalar(text: &str) -> String {
    let is_address = text.split('/').next().is_some_and(|a| a.parse::<IpAddr>().is_ok());
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    let means_more = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let is_special = means_more.contains(&text.to_ascii_lowercase().as_str());
    if (is_word && !is_special) || (is_address && !text.contains(':')) {
        return text.to_owned();
    }
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() || !c.is_ascii() => format!("\\U{:08X}", u32::from(c)),
            c => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_its_line() {
        let text = "# c\na:\n  - b: 1\n    c: [x, 'y z']\n  - {d: e}\nf:\n";
        let root = read("/f", text).unwrap().unwrap();
        let items = root.get("a").unwrap().items().unwrap();
        assert_eq!(items[0].line, 3);
        let c = &items[0].pairs().unwrap()[1];
        assert_eq!((c.line, c.key.as_str()), (4, "c"));
        assert_eq!(c.node.items().unwrap()[1].text(), Some("y z"));
        assert_eq!(items[1].get("d").unwrap().text(), Some("e"));
        assert_eq!(root.get("f").unwrap().pairs(), Some(&[][..]));
        assert_eq!(read("/f", "# nothing\n").unwrap(), None);
    }

    #[test]
    fn what_is_missing_at_the_end_is_missed_on_the_last_line() {
        let problem = read("/f", "a:\n  - b\n  c").unwrap_err();
        assert_eq!((problem.at.line, problem.text.as_str()), (3, "  c"));
        for text in ["- a:\n  - b\n\n  -", "a:\n  b:\n", "a: [b,\n", "- ", "a:\n -\n"] {
            let lines = text.lines().count();
            if let Ok(Some(node)) = read("/f", text) {
                assert!(last_line(&node) <= lines, "{text:?}: {node:?}");
            }
        }
    }

    fn last_line(node: &Node) -> usize {
        let inner: Vec<usize> = match &node.value {
            Value::Scalar(_) => Vec::new(),
            Value::List(nodes) => nodes.iter().map(last_line).collect(),
            Value::Map(pairs) => pairs.iter().map(|p| p.line.max(last_line(&p.node))).collect(),
        };
        inner.into_iter().chain([node.line]).max().unwrap_or(0)
    }

    #[test]
    fn what_stands_for_more_than_itself_is_refused() {
        for (text, line) in [
            ("a: &x 1\nb: *x\n", 2),
            ("a:\n  <<: {b: 1}\n", 2),
            ("a: !!int 5\n", 1),
            ("a: 1\na: 2\n", 2),
            ("a: 1\n---\nb: 2\n", 2),
            ("[a, b]: 1\n", 1),
            ("a: [b\n", 1),
        ] {
            let problem = read("/f", text).unwrap_err();
            assert_eq!(problem.at.line, line, "{text}: {problem}");
        }
    }

    #[test]
    fn no_file_is_deep_or_large() {
        assert!(read("/f", &"[".repeat(100)).is_err());
        assert!(read("/f", &"- ".repeat(5000)).is_err());
        assert!(read("/f", &"a: {".repeat(5000)).is_err());
        assert!(read("/f", &format!("[{}]", "1,".repeat(MOST + 1))).is_err());
        assert!(read("/f", &" ".repeat(LONGEST + 1)).is_err());
    }

    #[test]
    fn words_come_back_as_they_went() {
        for text in
            ["ens6", "10.0.1.0/24", "::/0", "fe80::1", "on", "1e3", "", "a b", "é\"\\\n", "- x"]
        {
            let node = read("/f", &format!("k: {}\n", scalar(text))).unwrap().unwrap();
            assert_eq!(node.get("k").unwrap().text(), Some(text));
        }
        assert_eq!(scalar("10.0.1.0/24"), "10.0.1.0/24");
        assert_eq!(scalar("::/0"), "\"::/0\"");
    }
}
