//! Commands of `ip` (and their neighbours) in scripts: what they do to routes, rules and groups.

use multihome_core::model::{Route, names};
use multihome_core::prefix::Family;

use crate::ip_words::{self, Context, ReadRule};

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// Nothing that concerns routes and rules.
    Nothing,
    /// Makes a route; with its words, by which it can be removed.
    Route(Route, Removal),
    /// Makes a rule, likewise.
    Rule(ReadRule, Removal),
    /// Puts a link into a group.
    Group(u32, u32),
    /// Removes a route or a rule.
    Remove(Removal),
    /// Empties a table.
    Flush(u32),
}

/// A route or a rule by the words behind `add` or `delete`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Removal {
    is_rule: bool,
    family: Option<Family>,
    words: Vec<String>,
}

/// Programs that have nothing to do with routes, as far as they stand beside them in scripts.
const OTHERS: [&str; 9] =
    ["true", ":", "echo", "printf", "set", "sysctl", "ethtool", "logger", "sleep"];

/// Reads a command.
pub(crate) fn act(command: &[String], context: &Context<'_>) -> Result<Act, String> {
    let Some((program, words)) = command.split_first() else { return Ok(Act::Nothing) };
    match program.rsplit('/').next().unwrap_or(program) {
        "ip" => ip(words, context),
        other if OTHERS.contains(&other) => Ok(Act::Nothing),
        // Our own table of marks, which the daemon makes itself.
        "nft" if words.first().is_some_and(|w| is_own_table(w)) => Ok(Act::Nothing),
        _ => Err(format!("what `{program}` does is not known here")),
    }
}

/// A command that is run when things go: it makes nothing, so all that matters is that nothing else
/// hides there.
pub(crate) fn act_of_removal(command: &[String]) -> Result<Act, String> {
    match command.first().map(|p| p.rsplit('/').next().unwrap_or(p)) {
        Some(program) if !matches!(program, "ip" | "nft") && !OTHERS.contains(&program) => {
            Err(format!("what `{program}` does is not known here"))
        }
        _ => Ok(Act::Nothing),
    }
}

/// The command that makes our nft table anew, in one transaction.
pub(crate) fn nft(script: &str) -> String {
    let table = multihome_core::model::netfilter::TABLE;
    format!("nft 'table inet {table}; delete table inet {table}; {script}'")
}

fn is_own_table(script: &str) -> bool {
    let table = multihome_core::model::netfilter::TABLE;
    script.starts_with(&format!("table inet {table}"))
}

/// The options of `ip` and its objects (ip.c), which may be cut short.
fn ip(words: &[String], context: &Context<'_>) -> Result<Act, String> {
    let mut family = context.family;
    let mut words = words;
    loop {
        let Some((word, rest)) = words.split_first() else { return Ok(Act::Nothing) };
        let Some(option) = word.strip_prefix('-') else { break };
        words = rest;
        match option.trim_start_matches('-') {
            "4" => family = Some(Family::V4),
            "6" => family = Some(Family::V6),
            "f" | "family" => {
                let (value, rest) = words.split_first().ok_or("nothing stands behind `-family`")?;
                family = Some(match value.as_str() {
                    "inet" => Family::V4,
                    "inet6" => Family::V6,
                    other => return Err(format!("`{other}` is no family here")),
                });
                words = rest;
            }
            "force" | "N" | "Numeric" | "s" | "d" | "o" => {}
            _ => return Err(format!("`{word}` is not read here")),
        }
    }
    let context = Context { family, ..*context };
    let (object, rest) = (words[0].as_str(), &words[1..]);
    let is = |name: &str| !object.is_empty() && name.starts_with(object);
    if is("address") || is("neighbour") || is("neighbor") {
        return Ok(Act::Nothing);
    }
    if is("link") {
        return link(rest, &context);
    }
    let is_rule = !is("route");
    if is_rule && !is("rule") {
        return Err(format!("`ip {object}` is not read here"));
    }
    let (verb, words) = match rest.split_first() {
        Some((verb, words)) => (verb.as_str(), words),
        None => ("show", rest),
    };
    let removal = || Removal { is_rule, family, words: words.to_vec() };
    let is = |name: &str| !verb.is_empty() && name.starts_with(verb);
    match verb {
        _ if is("list") || is("show") || is("lst") || is("get") => Ok(Act::Nothing),
        _ if is_rule && is("add") => Ok(Act::Rule(ip_words::rule(words, &context)?, removal())),
        _ if is("add") || is("replace") || is("change") || is("append") || is("prepend") => {
            Ok(Act::Route(ip_words::route(words, &context)?, removal()))
        }
        _ if is("delete") => Ok(Act::Remove(removal())),
        _ if is("flush") => match words {
            [cache] if cache == "cache" => Ok(Act::Nothing),
            [table, name] if !is_rule && table == "table" => {
                Ok(Act::Flush(table_id(name, &context)?))
            }
            _ => Err("this removes what others may have made".to_owned()),
        },
        _ => Err(format!("`{verb}` is not read here")),
    }
}

/// `ip link set`: of all that it can do, only the group matters.
fn link(words: &[String], context: &Context<'_>) -> Result<Act, String> {
    let Some(at) = words.iter().position(|w| w == "group") else { return Ok(Act::Nothing) };
    let group = words.get(at + 1).map(String::as_str);
    let name = match words {
        [set, dev, name, ..] if set == "set" && dev == "dev" => name,
        [set, name, ..] if set == "set" => name,
        _ => return Ok(Act::Nothing),
    };
    let link = context.known.links.get(name).copied();
    let link = link.ok_or_else(|| format!("there is no interface `{name}`"))?;
    let group = match group {
        Some("default") => Some(0),
        other => other.and_then(|g| g.parse().ok()),
    };
    Ok(Act::Group(link, group.ok_or("nothing that is a group stands behind `group`")?))
}

fn table_id(name: &str, context: &Context<'_>) -> Result<u32, String> {
    match name {
        "main" => Ok(names::TABLE_MAIN),
        _ => {
            let known = context.known.tables.get(name).copied();
            known
                .or_else(|| name.parse().ok())
                .ok_or_else(|| format!("no table is called `{name}`"))
        }
    }
}
