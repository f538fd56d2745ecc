//! What the demo shows: lines that are as they must be, or are not.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use multihome_core::model::{Rule, names};
use multihome_core::{Family, Snapshot};
use multihome_lab::{Lab, Matrix, Topology};
use serde::Serialize;

use crate::output::{self, Style};
use crate::words::plural;

/// What was seen.
#[derive(Debug, Serialize)]
pub struct Report {
    topology: String,
    /// Whether every line was as it must be.
    good: bool,
    /// What was not, in words.
    wrong: Vec<String>,
    before: Vec<CellJson>,
    with: Vec<CellJson>,
    events: Vec<EventJson>,
    #[serde(skip)]
    style: Style,
    #[serde(skip)]
    shown: bool,
}

/// One question and whether it was answered.
#[derive(Debug, Serialize)]
struct CellJson {
    client: String,
    address: IpAddr,
    protocol: String,
    answered: bool,
}

/// One thing that happened.
#[derive(Debug, Serialize)]
struct EventJson {
    what: String,
    address: IpAddr,
    /// From the kernel's announcement to the first answer; none without one.
    milliseconds: Option<f64>,
}

impl Report {
    /// A report of nothing yet; `shown` says whether to print as it goes.
    pub fn new(topology: Topology, shown: bool) -> Report {
        Report {
            topology: topology.name().to_owned(),
            good: true,
            wrong: Vec::new(),
            before: Vec::new(),
            with: Vec::new(),
            events: Vec::new(),
            style: Style::stdout(),
            shown,
        }
    }

    /// Says how the namespaces were had.
    pub fn privilege(&mut self, root: bool) {
        let who = if root { "root" } else { "an ordinary user" };
        self.say(&format!(
            "In namespaces of its own, as {who}; nothing of this machine is touched."
        ));
    }

    /// Describes the network.
    pub fn network(&mut self, net: &Lab) {
        let mut text = format!("\n{}\n", self.style.bold(net.topology().about()));
        for card in net.cards() {
            let addresses: Vec<String> =
                card.addresses.iter().map(|a| a.address.to_string()).collect();
            let _ = writeln!(text, "  host    {:11} {}", card.name, addresses.join("  "));
        }
        for client in net.clients() {
            let _ = writeln!(text, "  client  {:11} {}", client.name, client.about);
        }
        text.push_str("The fabric drops what leaves by a port that does not own its source.");
        self.say(&text);
    }

    /// Shows who is answered without us.
    pub fn before(&mut self, net: &Lab, matrix: &Matrix) {
        self.heading("1. Without multihome");
        self.matrix(net, matrix);
        self.before = cells(matrix);
        let remote = net.clients().first().map_or("", |c| c.name.as_str());
        let second = net.cards().last().and_then(|c| c.address(Family::V4));
        // Otherwise what follows would prove nothing.
        let silent = second.is_some_and(|a| matrix.verdict(remote, a) == Some(false));
        self.check(silent, "the second card's address is silent to the far client");
    }

    /// Shows who is answered with us, and what was made for it.
    pub fn with(&mut self, net: &Lab, matrix: &Matrix, snapshot: &Snapshot) {
        self.heading("2. With `multihome run`");
        self.matrix(net, matrix);
        self.with = cells(matrix);
        let asked = plural(matrix.cells.len(), "question");
        self.check(matrix.all_answered(), &format!("all {asked} answered"));
        self.say(&made(snapshot, self.style));
    }

    /// Checks that nothing but our own objects changed.
    pub fn untouched(&mut self, before: &[String], with: &[String]) {
        let text = "everybody else's routes, rules and addresses are as they were";
        self.compare(before, with, text);
    }

    /// Starts the events.
    pub fn events(&mut self) {
        self.heading("3. What happens to cards, and when the address answers again");
    }

    /// One thing that happened, and how long it took.
    pub fn event(&mut self, what: &str, address: IpAddr, took: Option<Duration>) {
        let milliseconds = took.map(|t| t.as_secs_f64() * 1000.0);
        let time = milliseconds.map_or("never".into(), |ms| format!("{ms:.1} ms"));
        let family = Family::of(address).to_string();
        self.check(took.is_some(), &format!("{what:52} {family} {time:>8}"));
        let (what, milliseconds) =
            (what.to_owned(), milliseconds.map(|m| (m * 10.0).round() / 10.0));
        self.events.push(EventJson { what, address, milliseconds });
    }

    /// Checks that nothing is left and nothing else was taken.
    pub fn down(&mut self, before: &[String], after: &Snapshot, matrix: &Matrix) {
        self.heading("4. `multihome down`");
        let ours = after.rules().filter(|r| r.is_ours()).count()
            + after.routes().filter(|r| r.is_ours()).count()
            + after.links().filter(|l| l.group != 0).count();
        self.check(ours == 0, "no rule, route or link group of multihome's is left");
        self.compare(
            before,
            &super::foreign(after),
            "the kernel holds exactly what it held before",
        );
        self.check(!matrix.all_answered(), "and the second address is silent again");
    }

    /// The last line; whether all was as it must be.
    pub fn finish(&mut self) -> bool {
        let text = if self.good {
            self.style.good("All as it must be.")
        } else {
            self.style.bad(&format!("{} not as it must be.", plural(self.wrong.len(), "line")))
        };
        self.say(&format!("\n{}", self.style.bold(&text)));
        self.good
    }

    fn matrix(&mut self, net: &Lab, matrix: &Matrix) {
        const WORD: usize = "answered".len();
        let width = net.addresses().iter().map(|a| a.to_string().len()).max().unwrap_or(0);
        let columns: Vec<(&str, usize)> =
            net.clients().iter().map(|c| (c.name.as_str(), c.name.len().max(WORD) + 2)).collect();
        let mut text = format!("  {:width$}", "");
        columns.iter().for_each(|(client, wide)| text.push_str(&format!("{client:>wide$}")));
        for address in net.cards().iter().flat_map(|c| c.addresses.iter().map(|a| a.address)) {
            let _ = write!(text, "\n  {:width$}", address.to_string());
            for (client, wide) in &columns {
                text.push_str(&match matrix.verdict(client, address) {
                    Some(true) => self.style.good(&format!("{:>wide$}", "answered")),
                    Some(false) => self.style.bad(&format!("{:>wide$}", "silent")),
                    None => self.style.warn(&format!("{:>wide$}", "partly")),
                });
            }
        }
        self.say(&text);
    }

    fn compare(&mut self, before: &[String], after: &[String], text: &str) {
        self.check(before == after, text);
        if before != after {
            let gone = before.iter().filter(|l| !after.contains(l)).map(|l| format!("  - {l}"));
            let new = after.iter().filter(|l| !before.contains(l)).map(|l| format!("  + {l}"));
            let lines: Vec<String> = gone.chain(new).collect();
            self.wrong.extend(lines.iter().cloned());
            self.say(&lines.join("\n"));
        }
    }

    fn check(&mut self, good: bool, text: &str) {
        let mark = if good { self.style.good("ok") } else { self.style.bad("WRONG") };
        self.say(&format!("{mark}  {text}"));
        if !good {
            self.good = false;
            self.wrong.push(text.to_owned());
        }
    }

    fn heading(&mut self, text: &str) {
        self.say(&format!("\n{}", self.style.bold(text)));
    }

    fn say(&mut self, text: &str) {
        if self.shown {
            // A reader who has gone away does not stop the demo.
            let _ = output::text(&format!("{text}\n"));
        }
    }
}

fn cells(matrix: &Matrix) -> Vec<CellJson> {
    matrix
        .cells
        .iter()
        .map(|c| CellJson {
            client: c.client.clone(),
            address: c.address,
            protocol: c.proto.to_string(),
            answered: c.answer.is_answered(),
        })
        .collect()
}

/// Our rules and tables, as `ip` prints them.
fn made(snapshot: &Snapshot, style: Style) -> String {
    let words = snapshot.names();
    let mut out = String::new();
    for family in Family::BOTH {
        let _ = writeln!(out, "{}", style.dim(&format!("$ ip {} rule", family.flag())));
        let rules: Vec<&Rule> = snapshot.rules().filter(|r| r.family == family).collect();
        for rule in rules {
            let line = rule.display(&words);
            let _ = writeln!(out, "{}", if rule.is_ours() { line } else { style.dim(&line) });
        }
    }
    let mut tables: Vec<(u32, Family)> =
        snapshot.routes().filter(|r| r.is_ours()).map(|r| (r.table, r.family())).collect();
    tables.sort_unstable();
    tables.dedup();
    for (table, family) in tables {
        let name = words.table(table);
        let command = format!("$ ip {} route show table {name}", family.flag());
        let _ = writeln!(out, "{}", style.dim(&command));
        for route in snapshot.routes_in(table).filter(|r| r.family() == family) {
            let line = route.display(&words);
            let _ = writeln!(out, "{}", line.replace(&format!(" table {name}"), ""));
        }
    }
    let _ = write!(
        out,
        "All carry proto {} ({}).",
        multihome_core::model::PROTOCOL,
        names::protocol(multihome_core::model::PROTOCOL)
    );
    out
}
