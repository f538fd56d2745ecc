//! What is wrong with a configuration file, and where.

use std::fmt;
use std::ops::Range;

/// A configuration file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file as it was named.
    pub path: String,
    /// Line and column, counted from 1.
    pub place: Option<(usize, usize)>,
    /// What is wrong, in one sentence.
    pub message: String,
    /// The line that it is about, and how many characters from the column on.
    pub excerpt: Option<(String, usize)>,
}

impl ConfigError {
    /// An error about `span` of `text`.
    pub(super) fn at(
        path: &str,
        text: &str,
        span: Option<Range<usize>>,
        message: impl Into<String>,
    ) -> ConfigError {
        let message = message.into();
        let Some(span) = span else {
            return ConfigError { path: path.into(), place: None, message, excerpt: None };
        };
        let start = floor_char_boundary(text, span.start);
        let line = line_of(text, start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = floor_char_boundary(text, span.end).clamp(start, line_end);
        let column = text[line_start..start].chars().count() + 1;
        let width = text[start..end].chars().count().max(1);
        ConfigError {
            path: path.into(),
            place: Some((line, column)),
            message,
            excerpt: Some((text[line_start..line_end].trim_end().to_owned(), width)),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        if let (Some((line, column)), Some((excerpt, width))) = (self.place, &self.excerpt) {
            let gutter = line.to_string();
            let blank = " ".repeat(gutter.len());
            // Tabs stay tabs, so that the caret stands under what it means.
            let pad: String = excerpt
                .chars()
                .take(column - 1)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            write!(f, "\n {gutter} | {excerpt}\n {blank} | {pad}{}", "^".repeat(*width))?;
        }
        Ok(())
    }
}

/// The line of a byte offset, counted from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
