//! The statements of files while they are read: what contradicts what.

use std::collections::BTreeMap;

use multihome_core::model::route::RouteKey;

use crate::ip_command::{Act, Removal};
use crate::ip_words::{Priorities, ReadRule};
use crate::{At, Problem, Statement, What};

/// What was read so far.
#[derive(Debug, Default)]
pub(crate) struct Sheet {
    statements: Vec<Statement>,
    priorities: Priorities,
    routes: BTreeMap<RouteKey, usize>,
    groups: BTreeMap<u32, usize>,
    /// What was removed and is not made again yet.
    removed: Vec<(Removal, At, String)>,
}

impl Sheet {
    /// Beginning with statements that others have read.
    pub(crate) fn new(statements: Vec<Statement>) -> Sheet {
        Sheet { statements, ..Sheet::default() }
    }

    /// Takes in what a line does.
    pub(crate) fn act(&mut self, at: &At, text: &str, act: Act) -> Result<(), Problem> {
        let fail = |why: String| Problem { at: at.clone(), text: text.to_owned(), why };
        match act {
            Act::Nothing => Ok(()),
            Act::Remove(removal) => {
                self.removed.push((removal, at.clone(), text.to_owned()));
                Ok(())
            }
            Act::Flush(table) => {
                let is_used = self.routes.keys().any(|k| k.table == table);
                if is_used {
                    Err(fail("this removes routes of lines before it".to_owned()))
                } else {
                    Ok(())
                }
            }
            Act::Route(route, words) => {
                self.made(&words);
                self.say(at, text, What::Route(route)).map_err(fail)
            }
            Act::Rule(read, words) => {
                self.made(&words);
                self.rule(at, text, read).map_err(fail)
            }
            Act::Group(link, group) => self.say(at, text, What::Group(link, group)).map_err(fail),
        }
    }

    /// Takes in a rule.
    pub(crate) fn rule(&mut self, at: &At, text: &str, read: ReadRule) -> Result<(), String> {
        let rule = self.priorities.place(read)?;
        self.say(at, text, What::Rule(rule))
    }

    /// Takes in what a line says.
    pub(crate) fn say(&mut self, at: &At, text: &str, what: What) -> Result<(), String> {
        let number = self.statements.len();
        let before = match &what {
            What::Route(route) => Some(*self.routes.entry(route.key()).or_insert(number)),
            What::Group(link, _) => Some(*self.groups.entry(*link).or_insert(number)),
            What::Rule(_) | What::TableName(..) => None,
        };
        if let Some(before) = before.and_then(|b| self.statements.get(b)) {
            if before.what == what {
                return Ok(());
            }
            let At { path, line } = &before.at;
            return Err(format!("{path}:{line} says something else of the same"));
        }
        self.statements.push(Statement { at: at.clone(), text: text.to_owned(), what });
        Ok(())
    }

    fn made(&mut self, removal: &Removal) {
        self.removed.retain(|(removed, ..)| removed != removal);
    }

    /// What was read.
    pub(crate) fn finish(self) -> Result<Vec<Statement>, Problem> {
        match self.removed.into_iter().next() {
            Some((_, at, text)) => {
                let why = "this removes what no line behind it adds again".to_owned();
                Err(Problem { at, text, why })
            }
            None => Ok(self.statements),
        }
    }
}
