//! Patterns of names, as `fnmatch(3)` has them.

/// Longer patterns are no link's: a name has 15 bytes.
const LONGEST: usize = 256;

/// Whether a name fits a pattern of `*`, `?` and `[...]`.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().take(LONGEST + 1).collect();
    let name: Vec<char> = name.chars().take(LONGEST).collect();
    if pattern.len() > LONGEST {
        return false;
    }
    // One star is ever gone back to, so that no pattern takes long.
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p + 1, n));
            p += 1;
            continue;
        }
        match one(&pattern[p..], name[n]) {
            Some(taken) => {
                p += taken;
                n += 1;
            }
            None => match star {
                Some((behind, from)) => {
                    star = Some((behind, from + 1));
                    (p, n) = (behind, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// How much of a pattern a character uses up, if it fits.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['\\', escaped, ..] => (*escaped == c).then_some(2),
        ['[', rest @ ..] => match set(rest) {
            Some((negated, members, taken)) => (holds(members, c) != negated).then_some(taken + 1),
            None => (c == '[').then_some(1),
        },
        [plain, ..] => (*plain == c).then_some(1),
        [] => None,
    }
}

/// A set behind its bracket: whether it is negated, what is in it, and its length.
fn set(rest: &[char]) -> Option<(bool, &[char], usize)> {
    let negated = matches!(rest.first(), Some('!' | '^'));
    let begin = usize::from(negated);
    // A bracket that comes first is one of the members.
    let end = rest.iter().skip(begin + 1).position(|c| *c == ']')? + begin + 1;
    Some((negated, &rest[begin..end], end + 1))
}

fn holds(members: &[char], c: char) -> bool {
    let mut rest = members;
    while let [first, tail @ ..] = rest {
        if let ['-', last, behind @ ..] = tail {
            if (*first..=*last).contains(&c) {
                return true;
            }
            rest = behind;
        } else {
            if *first == c {
                return true;
            }
            rest = tail;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns_are_those_of_a_shell() {
        for (pattern, name) in [
            ("ens*", "ens6"),
            ("en*s?", "enp0s3"),
            ("[!ae]*", "ens6x"),
            ("e[mn]s[0-9]", "ens6"),
            ("*", ""),
            ("a\\*", "a*"),
            ("[]x]", "]"),
            ("[x", "[x"),
        ] {
            assert_eq!(fits(pattern, name), pattern != "[!ae]*", "{pattern} {name}");
        }
        for (pattern, name) in [("ens", "ens6"), ("ens?", "ens"), ("*a*b", "xaxc"), ("[a-c]", "d")]
        {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn no_pattern_takes_long() {
        assert!(!fits(&"*a".repeat(100), &"a".repeat(90)));
        assert!(!fits(&"*".repeat(300), "a"));
    }
}
