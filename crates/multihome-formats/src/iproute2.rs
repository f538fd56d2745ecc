//! Routes and rules in a script of `ip` commands, and a unit that runs it.
//!
//! The script is plain `sh`: a line for each command, so that it can be read, changed and run by
//! hand. What is read here is such a script of anybody's, as long as each line is an `ip` command
//! that says what it means (see [`crate::ip_command`]).

use std::collections::BTreeSet;

use multihome_core::model::{Names, Rule, netfilter};
use multihome_core::policy::{Entry, Part, Policy, Purpose, Word};

use crate::comments;
use crate::ip_command::{self, Act};
use crate::ip_words::{Context, route_words, rule_words};
use crate::sheet::Sheet;
use crate::{At, Export, File, Known, Place, Problem, Statement, Tree};
use crate::{ip_files, rt_tables, shell};

const DIRECTORY: &str = "/usr/local/sbin";
const NAME: &str = "multihome-policy";
const UNIT: &str = "/etc/systemd/system/multihome-policy.service";

/// What stands around the commands in our own script.
const SCAFFOLDING: [&str; 9] = [
    "up() {",
    "down() {",
    "}",
    "case \"${1-}\" in",
    "up) up ;;",
    "down) down ;;",
    "*)",
    ";;",
    "esac",
];
const END: &str = "case \"${1-}\" in
    up) up ;;
    down) down ;;
    *)
        echo 'usage: multihome-policy up|down'
        exit 2
        ;;
esac
";

pub(crate) fn words() -> BTreeSet<Word> {
    let mut words: BTreeSet<Word> = ip_files::IP.into_iter().collect();
    // Main is whoever's who manages the network.
    words.remove(&Word::MainRoutes);
    words.extend([Word::SuppressIfgroup, Word::Commands]);
    words
}

pub(crate) fn places() -> Vec<Place> {
    let script = Place { directory: DIRECTORY, prefix: NAME, suffix: NAME };
    [script].into_iter().chain(rt_tables::places()).collect()
}

// ===== export =====

pub(crate) fn export(policy: &Policy, names: &Names, there: &Tree) -> Export {
    let names = rt_tables::usable(policy, names);
    let path = format!("{DIRECTORY}/{NAME}");
    let script = File { path, mode: 0o755, text: script(policy, &names), extends: false };
    let unit = File { path: UNIT.to_owned(), mode: 0o644, text: unit(), extends: false };
    let mut undo = vec![
        format!("systemctl disable --now {NAME}.service"),
        format!("rm {} {}", script.path, unit.path),
        "systemctl daemon-reload".to_owned(),
    ];
    let mut files = vec![script, unit];
    if let Some(file) = rt_tables::file(policy, &names, there) {
        undo.push(format!("rm {}", file.path));
        files.push(file);
    }
    let next =
        ["daemon-reload", "enable multihome-policy.service", "restart multihome-policy.service"];
    let next = next.iter().map(|verb| format!("systemctl {verb}")).collect();
    Export { files, next, undo }
}

fn script(policy: &Policy, names: &Names) -> String {
    let (parts, left_out): (Vec<&Part>, Vec<&Part>) =
        policy.parts.iter().partition(|p| is_sayable(p, names));
    let mut rules: Vec<&Entry<Rule>> = parts.iter().flat_map(|p| &p.rules).collect();
    // A jump stands in front of where it leads, and each rule in front of those that are asked later.
    rules.sort_by_key(|e| (e.what.family, e.what.priority));

    let mut up = Vec::new();
    let mut down = Vec::new();
    for part in &parts {
        let lost = ip_files::lost(policy, part, names);
        up.push(format!("# {}", names.link(part.link)));
        up.extend(lost);
        let routes = part.routes.iter().filter(|e| e.purpose != Purpose::Main);
        if let Some(group) = part.group {
            let link = names.link(part.link);
            up.push(ip_files::GROUP.to_owned());
            up.push(format!("ip link set dev {link} group {group}"));
            down.push(format!("ip link set dev {link} group 0 2>/dev/null || true"));
        }
        up.extend(ip_files::grouped(routes.clone(), |r| {
            vec![format!("ip {} route replace {}", r.family().flag(), route_words(r, names))]
        }));
        up.push(String::new());
        down.extend(routes.rev().map(|e| {
            let words = route_words(&e.what, names);
            format!("ip {} route del {words} 2>/dev/null || true", e.what.family().flag())
        }));
    }
    let deleted = |r: &Rule| {
        format!("ip {} rule del {} 2>/dev/null || true", r.family.flag(), rule_words(r, names))
    };
    up.push("# A rule that is there is an error to `ip rule add`: it goes first.".to_owned());
    up.extend(ip_files::grouped(rules.iter().copied(), |r| {
        vec![deleted(r), format!("ip {} rule add {}", r.family.flag(), rule_words(r, names))]
    }));
    let mut down: Vec<String> = rules.iter().map(|e| deleted(&e.what)).chain(down).collect();
    if let Some(table) = &policy.return_path {
        up.push(comments::purpose(Purpose::Mark));
        up.push(ip_command::nft(&table.script()));
        down.push(format!("nft delete table inet {} 2>/dev/null || true", netfilter::TABLE));
    }
    down.push("true".to_owned());

    let mut text = format!(
        "#!/bin/sh\n{}\n# `{NAME} up` makes the routes and rules, `down` removes them; both may be run \
         twice.\n",
        ip_files::written("what answers every request by the door it came in by")
    );
    for part in left_out {
        text.push_str(&format!(
            "# {} is left out: sh has no word for its name.\n",
            names.link(part.link)
        ));
    }
    text.push_str("set -eu\n\n");
    for (name, lines) in [("up", up), ("down", down)] {
        text.push_str(&format!("{name}() {{\n"));
        for line in lines {
            text.push_str(&if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") });
        }
        text.push_str("}\n\n");
    }
    text + END
}

/// `$'...'` is bash's, and `sh` need not be bash.
fn is_sayable(part: &Part, names: &Names) -> bool {
    let is_sayable = |words: String| !words.contains("$'");
    is_sayable(names.link(part.link).into_owned())
        && part.routes.iter().all(|e| is_sayable(route_words(&e.what, names)))
        && part.rules.iter().all(|e| is_sayable(rule_words(&e.what, names)))
}

fn unit() -> String {
    format!(
        "{}
[Unit]
Description=Answers leave by the door that requests came in by
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={DIRECTORY}/{NAME} up
ExecStop={DIRECTORY}/{NAME} down

[Install]
WantedBy=multi-user.target
",
        ip_files::written("it runs the script of that name")
    )
}

// ===== import =====

pub(crate) fn import(there: &Tree, known: &Known) -> Result<Vec<Statement>, Problem> {
    let (statements, known) = rt_tables::read(there, known)?;
    let mut sheet = Sheet::new(statements);
    let context = Context { known: &known, family: None, dev: None };
    let scripts = there.iter().filter(|(path, _)| !rt_tables::is_one(path) && *path != UNIT);
    for (path, text) in scripts {
        let mut removes = false;
        for (line, text) in shell::lines(text) {
            let at = At { path: path.clone(), line };
            let fail = |why: String| Problem { at: at.clone(), text: text.clone(), why };
            let trimmed = text.trim();
            if SCAFFOLDING.contains(&trimmed) {
                removes = trimmed == "down() {";
                continue;
            }
            for command in shell::commands(&text, None).map_err(fail)? {
                let act = match command.first().map(String::as_str) {
                    Some("exit") => Act::Nothing,
                    _ if removes => ip_command::act_of_removal(&command).map_err(fail)?,
                    _ => ip_command::act(&command, &context).map_err(fail)?,
                };
                sheet.act(&at, &text, act)?;
            }
        }
    }
    sheet.finish()
}

#[cfg(test)]
mod tests;
