//! How things get to the terminal: data to stdout, messages to stderr, colour only
//! where it is seen.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use crate::error::Failure;
use crate::words;

/// Colours for stdout; all empty when it is not a terminal or `NO_COLOR` is set.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    on: bool,
}

impl Style {
    /// What stdout can show.
    pub fn stdout() -> Style {
        Style { on: io::stdout().is_terminal() && no_color_is_unset() }
    }

    /// No colours.
    pub fn plain() -> Style {
        Style { on: false }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// As it should be.
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Not as it should be.
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// Worth a look.
    pub fn warn(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// A heading.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Less important.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
}

fn no_color_is_unset() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Prints text to stdout.
pub fn text(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Prints a value as JSON to stdout, with a line end.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
    text.push('\n');
    self::text(&text)
}

/// Prints what somebody should know although nothing failed.
pub fn warnings(warnings: &[String]) {
    let mut err = io::stderr().lock();
    for warning in warnings {
        // There is nowhere to say that stderr is gone.
        let _ = err.write_all(words::message("warning: ", warning).as_bytes());
    }
}

/// Prints why the command failed and what to do about it.
pub fn error(failure: &Failure) {
    let mut err = io::stderr().lock();
    let hint = failure.hint();
    // A record of the journal is one line, and a command to be pasted too.
    let text = if std::env::var_os("JOURNAL_STREAM").is_some() {
        let hint = hint.map_or_else(String::new, |h| format!("hint: {h}\n"));
        words::escaped(&format!("error: {failure}\n{hint}"))
    } else {
        let hint = hint.map_or_else(String::new, |h| match failure {
            Failure::OwnFile(_) => words::escaped(&format!("hint: {h}\n")),
            _ => words::message("hint: ", &h),
        });
        words::message("error: ", &failure.to_string()) + &hint
    };
    // There is nowhere to say that stderr is gone.
    let _ = err.write_all(text.as_bytes());
}
