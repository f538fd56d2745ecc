//! A scene in plain characters, 80 columns wide, for a terminal at the far end of a bad line.
//!
//! Left the host's cards, right the networks that they are plugged into, with their gateways;
//! between them what comes in (`<==1==`) and what goes out (`==2==>`; `--2-!>` is wrong).
//! Below, the tables and the ways in full.

use std::fmt::Write as _;

use multihome_core::Scene;
use multihome_core::diagram::Place;

use super::boxes::fold;
use super::printable;
use super::{Form, Line, Tone, caption, card, gateway, headline, network, table, walks};
use crate::output::Style;

const WIDTH: usize = 80;
/// Between the two columns.
const BETWEEN: usize = 12;

/// The whole figure.
pub fn text(scene: &Scene, style: Style) -> String {
    let mut out = String::new();
    let (tone, title) = headline(scene);
    for line in fold(&title, WIDTH, "  ") {
        let _ = writeln!(out, "{}", paint(style, tone, &line));
    }
    out.push('\n');
    write_figure(&mut out, scene, style);
    for at in 0..scene.tables.len() {
        out.push('\n');
        write_table(&mut out, scene, at, style);
    }
    let told = caption(scene);
    if !told.is_empty() {
        out.push('\n');
    }
    for (tone, number, text) in told {
        let lines = fold(&text, WIDTH - 3, "");
        for (at, line) in lines.iter().enumerate() {
            let number = if at == 0 { number.as_str() } else { "" };
            let indent =
                if number.is_empty() && at == 0 { String::new() } else { format!("{number:3}") };
            let _ = writeln!(out, "{}", paint(style, tone, &format!("{indent}{line}")));
        }
        let walk = walks(scene).into_iter().find(|w| w.number == number);
        if let Some(walk) = walk {
            let way: Vec<String> = walk.places.iter().map(|p| station(scene, *p)).collect();
            for line in fold(&way.join(" > "), WIDTH - 3, "") {
                let _ = writeln!(out, "   {line}");
            }
        }
    }
    out
}

// ===== cards and networks =====

fn write_figure(out: &mut String, scene: &Scene, style: Style) {
    let cards: Vec<Vec<Line>> = (0..scene.cards.len()).map(|at| card(scene, at)).collect();
    let networks: Vec<Vec<Line>> =
        (0..scene.networks.len()).map(|at| network_lines(scene, at)).collect();
    let widest = |boxes: &[Vec<Line>]| {
        boxes.iter().flatten().map(|l| length(&l.text)).max().unwrap_or(0) + 5
    };
    // The cards have what they need, and the networks what is left.
    let left = widest(&cards).clamp(20, WIDTH - BETWEEN - 24);
    let right = widest(&networks).clamp(16, WIDTH - BETWEEN - left);
    for (at, lines) in networks.iter().enumerate() {
        let plugged = &scene.networks[at].cards;
        let mut rows: Vec<(String, String)> = Vec::new();
        for card in plugged {
            let mut boxed = framed(&cards[*card], left, style);
            let middle = boxed.len() / 2;
            let ways = ways_between(scene, *card, at, style);
            // The ways stand one below the other around the middle.
            let first = middle.saturating_sub(ways.len() / 2).max(1);
            while boxed.len() < first + ways.len() + 1 {
                let blank = format!("|{}|", " ".repeat(left - 2));
                boxed.insert(boxed.len() - 1, blank);
            }
            for (line, text) in boxed.into_iter().enumerate() {
                let way = line.checked_sub(first).and_then(|n| ways.get(n)).cloned();
                rows.push((text, way.unwrap_or_default()));
            }
        }
        let needed = folded(lines, right - 5).len() + 1;
        while rows.len() < needed {
            rows.push((" ".repeat(left), String::new()));
        }
        let mut boxed = framed(lines, right, style);
        while boxed.len() < rows.len() {
            boxed.insert(boxed.len() - 1, format!("|{}|", " ".repeat(right - 2)));
        }
        for ((card, way), network) in rows.into_iter().zip(boxed) {
            let way = if way.is_empty() { " ".repeat(BETWEEN) } else { way };
            let _ = writeln!(out, "{}", format!("{card}{way}{network}").trim_end());
        }
    }
    for (at, lines) in cards.iter().enumerate() {
        if scene.cards[at].network.is_none() {
            out.push_str(&(framed(lines, left, style).join("\n") + "\n"));
        }
    }
}

/// A network with what is in it.
fn network_lines(scene: &Scene, at: usize) -> Vec<Line> {
    let mut lines = network(&scene.networks[at]);
    for of in scene.gateways.iter().filter(|g| g.network == at) {
        let words: Vec<String> = gateway(of).into_iter().map(|l| l.text).collect();
        lines.push(Line::code(words.join(" ")));
    }
    if let Some(request) = scene.request.as_ref().filter(|r| r.client == Some(at)) {
        let tone = Tone::Request;
        lines.push(Line { tone, ..Line::code(format!("client {}", request.from)) });
    }
    lines
}

/// The ways between a card and its network, each as wide as the gap.
fn ways_between(scene: &Scene, card: usize, network: usize, style: Style) -> Vec<String> {
    let mut ways = Vec::new();
    let (card, network) = (Place::Card(card), Place::Network(network));
    for walk in walks(scene) {
        let stroke = match walk.tone {
            Tone::Bad => "-",
            Tone::Doubt => ".",
            _ => "=",
        };
        let is_bad = walk.tone == Tone::Bad;
        for pair in walk.places.windows(2) {
            let line = (BETWEEN - 5).saturating_sub(walk.number.len());
            let (before, behind) = (stroke.repeat(line / 2), stroke.repeat(line - line / 2));
            let way = if (pair[0], pair[1]) == (network, card) {
                let (head, tail) = if is_bad { ("!", "") } else { ("", stroke) };
                format!(" <{head}{before}{}{behind}{tail}  ", walk.number)
            } else if (pair[0], pair[1]) == (card, network) {
                format!(" {before}{}{behind}{}>  ", walk.number, if is_bad { "!" } else { stroke })
            } else {
                continue;
            };
            ways.push(paint(style, walk.tone, &way));
        }
    }
    if ways.is_empty() {
        ways.push(format!(" {}  ", "-".repeat(BETWEEN - 3)));
    }
    ways
}

fn framed(lines: &[Line], width: usize, style: Style) -> Vec<String> {
    let mut boxed = Vec::new();
    let mut title = String::new();
    // A title has a sign more around it than other lines.
    for (line, text) in folded(lines, width - 5) {
        if line.form == Form::Title && boxed.is_empty() {
            title = format!("- {text} ");
            boxed.push(format!("+{title}{}+", "-".repeat(width - 2 - length(&title))));
            continue;
        }
        let fill = " ".repeat(width - 4 - length(&text));
        boxed.push(format!("| {}{fill} |", paint(style, line.tone, &text)));
    }
    boxed.push(format!("+{}+", "-".repeat(width - 2)));
    debug_assert!(!title.is_empty());
    boxed
}

fn folded(lines: &[Line], width: usize) -> Vec<(&Line, String)> {
    let said = lines.iter().filter(|l| !l.text.is_empty());
    said.flat_map(|l| fold(&l.text, width, "  ").into_iter().map(move |text| (l, text))).collect()
}

// ===== tables and ways =====

fn write_table(out: &mut String, scene: &Scene, at: usize, style: Style) {
    let used: Vec<String> = walks(scene)
        .into_iter()
        .filter(|w| w.places.contains(&Place::Table(at)))
        .map(|w| w.number)
        .collect();
    // Several replies share a column, and what stands beside it.
    let sign = match used.as_slice() {
        [first, second, _, ..] => format!("{first},{second},.."),
        few => few.join(","),
    };
    let column = length(&sign).max(3);
    for line in table(scene, at) {
        match line.form {
            Form::Title => drop(writeln!(out, "{}", style.bold(&line.text))),
            _ if line.text.is_empty() => {}
            _ => {
                let is_used = !matches!(line.tone, Tone::Plain | Tone::Dim);
                for (n, text) in fold(&line.text, WIDTH - column - 1, "  ").iter().enumerate() {
                    let sign = if n == 0 && is_used { sign.as_str() } else { "" };
                    let text = paint(style, line.tone, text);
                    let _ = writeln!(out, "{sign:column$} {text}");
                }
            }
        }
    }
}

fn station(scene: &Scene, place: Place) -> String {
    match place {
        Place::Client => match &scene.request {
            Some(request) => request.from.to_string(),
            None => "client".into(),
        },
        Place::World => "world".into(),
        Place::Gateway(at) => match scene.gateways[at].address {
            Some(address) => format!("gateway {address}"),
            None => "no gateway".into(),
        },
        Place::Network(at) => match scene.networks[at].prefixes.first() {
            Some(prefix) => prefix.to_string(),
            None => "network".into(),
        },
        Place::Card(at) => printable(&scene.cards[at].name),
        Place::Table(at) => format!("table {}", printable(&scene.tables[at].name)),
    }
}

fn paint(style: Style, tone: Tone, text: &str) -> String {
    match tone {
        Tone::Plain | Tone::Request => text.to_owned(),
        Tone::Dim => style.dim(text),
        Tone::Good => style.good(text),
        Tone::Bad => style.bad(text),
        Tone::Doubt => style.warn(text),
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}
