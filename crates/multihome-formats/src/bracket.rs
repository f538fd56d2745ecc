//! Ours among the lines of others: between two comments, so that it can be found again.

/// The line in front of ours.
pub(crate) const BEGIN: &str = "# multihome: begin";
/// The line behind ours.
pub(crate) const END: &str = "# multihome: end";

/// A text without what stands between the brackets. A bracket that is not closed is somebody's own
/// line: who knows where ours would end.
pub(crate) fn without(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut within = String::new();
    let mut is_within = false;
    for line in text.split_inclusive('\n') {
        match line.trim() {
            BEGIN => {
                out.push_str(&within);
                within = line.to_owned();
                is_within = true;
            }
            END if is_within => {
                within.clear();
                is_within = false;
            }
            _ if is_within => within.push_str(line),
            _ => out.push_str(line),
        }
    }
    out + &within
}

/// Lines between brackets, each behind `indent`.
pub(crate) fn around(lines: &[String], indent: &str) -> String {
    let lines = lines.iter().map(String::as_str);
    let all = [BEGIN].into_iter().chain(lines).chain([END]);
    all.map(|line| if line.is_empty() { "\n".to_owned() } else { format!("{indent}{line}\n") })
        .collect()
}

/// A file's text with ours at its end, and whether anything of others is in it.
pub(crate) fn appended(there: Option<&String>, lines: &[String]) -> (String, bool) {
    let mut text = there.map(|t| without(t)).unwrap_or_default();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let extends = !text.trim().is_empty();
    (text + &around(lines, ""), extends)
}

/// The command that takes ours out of a file again.
pub(crate) fn removal(path: &str) -> String {
    format!("sed -i '/^ *{BEGIN}$/,/^ *{END}$/d' {path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_replaced_and_others_stay() {
        let lines = |text: &str| vec![text.to_owned()];
        let there = "a\nb".to_owned();
        let (once, extends) = appended(Some(&there), &lines("ours"));
        assert_eq!(once, "a\nb\n# multihome: begin\nours\n# multihome: end\n");
        assert!(extends);
        assert_eq!(appended(Some(&once), &lines("ours")), (once.clone(), true));
        assert_eq!(without(&once), "a\nb\n");
        let (alone, extends) = appended(None, &lines("ours"));
        assert!(!extends);
        assert_eq!(appended(Some(&alone), &lines("ours")), (alone, false));
    }

    #[test]
    fn a_bracket_that_is_not_closed_is_left_as_it_is() {
        let text = "a\n# multihome: begin\nb\n";
        assert_eq!(without(text), text);
        let text = "# multihome: begin\nb\n# multihome: begin\nc\n# multihome: end\nd\n";
        assert_eq!(without(text), "# multihome: begin\nb\nd\n");
    }
}
