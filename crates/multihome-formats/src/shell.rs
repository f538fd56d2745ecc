//! Plain commands of a shell's line: words, quotes, and one command after the other.
//!
//! What a shell would compute (variables, substitutions, patterns, pipes) is refused, for nobody
//! knows here what would come of it. `sh`(1) says how words are split and quoted.

use std::iter::Peekable;
use std::str::Chars;

/// What may stand for a variable: `$IFACE`, and what it is.
pub(crate) type Variable<'a> = Option<(&'a str, &'a str)>;

/// Where output goes that nobody wants, in the spellings that people use.
const REDIRECTIONS: [&str; 8] = [
    "2>/dev/null",
    "2> /dev/null",
    ">/dev/null",
    "> /dev/null",
    "1>/dev/null",
    "&>/dev/null",
    "&> /dev/null",
    "2>&1",
];

/// The lines of a script, each with its number: those that end with a backslash go on in the next.
/// A comment does not.
pub(crate) fn lines(text: &str) -> Vec<(usize, String)> {
    let mut out: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (number, line) in (1..).zip(text.lines()) {
        let is_comment = !goes_on && line.trim_start().starts_with('#');
        let part = line.strip_suffix('\\').filter(|_| !is_comment);
        let text = part.unwrap_or(line);
        match out.last_mut() {
            Some((_, before)) if goes_on => before.push_str(text),
            _ => out.push((number, text.to_owned())),
        }
        goes_on = part.is_some();
    }
    out
}

/// The commands of a line. What only keeps a failure from counting (`|| true`) is left out.
pub(crate) fn commands(line: &str, variable: Variable<'_>) -> Result<Vec<Vec<String>>, String> {
    let mut commands = Vec::new();
    let mut command = Vec::new();
    let mut rest = line.trim_start();
    let mut is_fallback = false;
    loop {
        if let Some(after) = REDIRECTIONS.iter().find_map(|r| rest.strip_prefix(r)) {
            rest = after.trim_start();
            continue;
        }
        let is_end = rest.is_empty() || rest.starts_with('#');
        let separator = ["||", "&&", ";"].into_iter().find(|s| rest.starts_with(s));
        if !is_end && separator.is_none() {
            let (word, after) = word(rest, variable)?;
            command.push(word);
            rest = after.trim_start();
            continue;
        }
        let done = std::mem::take(&mut command);
        if is_fallback {
            if !matches!(done.first().map(String::as_str), Some("true" | ":")) {
                return Err("`||` with anything but `true` is not read here".to_owned());
            }
        } else if !done.is_empty() {
            commands.push(done);
        }
        let Some(separator) = separator.filter(|_| !is_end) else { return Ok(commands) };
        is_fallback = separator == "||";
        rest = rest[separator.len()..].trim_start();
    }
}

/// One word, and what stands behind it.
fn word<'a>(text: &'a str, variable: Variable<'_>) -> Result<(String, &'a str), String> {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.peek().copied() {
        if c.is_whitespace() || c == ';' {
            break;
        }
        chars.next();
        match c {
            '\'' => loop {
                match chars.next().ok_or("a quote is not closed")? {
                    '\'' => break,
                    c => out.push(c),
                }
            },
            '"' => double_quoted(&mut chars, variable, &mut out)?,
            '\\' => out.push(chars.next().ok_or("nothing stands behind the backslash")?),
            '$' => out.push_str(expanded(&mut chars, variable)?),
            '`' | '|' | '&' | '<' | '>' | '(' | ')' | '{' | '}' | '*' | '?' | '[' | '~' => {
                return Err(format!("`{c}` is the shell's, and only plain commands are read"));
            }
            c => out.push(c),
        }
    }
    let rest: usize = chars.map(char::len_utf8).sum();
    Ok((out, &text[text.len() - rest..]))
}

fn double_quoted(
    chars: &mut Peekable<Chars<'_>>,
    variable: Variable<'_>,
    out: &mut String,
) -> Result<(), String> {
    loop {
        match chars.next().ok_or("a quote is not closed")? {
            '"' => return Ok(()),
            '`' => return Err("commands within commands are not read".to_owned()),
            '$' => out.push_str(expanded(chars, variable)?),
            '\\' => match chars.next().ok_or("a quote is not closed")? {
                c @ ('$' | '`' | '"' | '\\') => out.push(c),
                c => out.extend(['\\', c]),
            },
            c => out.push(c),
        }
    }
}

/// The value of the one variable that is known, as `$NAME` or `${NAME}`.
fn expanded<'a>(
    chars: &mut Peekable<Chars<'_>>,
    variable: Variable<'a>,
) -> Result<&'a str, String> {
    let braced = chars.next_if_eq(&'{').is_some();
    let mut name = String::new();
    while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
        name.push(c);
    }
    let closed = !braced || chars.next_if_eq(&'}').is_some();
    match variable {
        Some((known, value)) if known == name && closed => Ok(value),
        _ => Err(format!("what `${name}` stands for is not known here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Vec<Vec<String>>, String> {
        commands(line, Some(("IFACE", "ens6")))
    }

    #[test]
    fn words_are_split_and_unquoted_as_sh_does() {
        for (line, expected) in [
            ("ip  rule add", vec![vec!["ip", "rule", "add"]]),
            ("ip 'a b' \"c d\" e\\ f # g", vec![vec!["ip", "a b", "c d", "e f"]]),
            ("ip a'b'\"c\"", vec![vec!["ip", "abc"]]),
            ("ip dev $IFACE oif \"${IFACE}\"", vec![vec!["ip", "dev", "ens6", "oif", "ens6"]]),
            ("a b; c && d", vec![vec!["a", "b"], vec!["c"], vec!["d"]]),
            ("a 2>/dev/null || true", vec![vec!["a"]]),
            ("a >/dev/null 2>&1 || :", vec![vec!["a"]]),
            ("", vec![]),
            ("''", vec![vec![""]]),
        ] {
            assert_eq!(read(line).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn what_a_shell_would_compute_is_refused() {
        for line in [
            "ip $x",
            "ip `x`",
            "ip $(x)",
            "ip a | b",
            "ip a & b",
            "ip a > b",
            "ip *",
            "ip 'a",
            "ip \"a",
            "a || b",
            "ip \"$x\"",
            "ip {a,b}",
            "ip ${IFACE",
            "ip \\",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
