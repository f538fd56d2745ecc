//! A scene in Graphviz's language, for those who want to lay it out otherwise.

use std::fmt::Write as _;

use multihome_core::Scene;
use multihome_core::diagram::Place;

use super::{Form, Line, Tone, caption, card, gateway, headline, network, table, walks};

/// The whole file.
pub fn dot(scene: &Scene) -> String {
    let mut out = String::from("digraph host {\n");
    let told = caption(scene).into_iter().map(|(_, number, text)| format!("{number}  {text}"));
    let label: Vec<String> = std::iter::once(headline(scene).1).chain(told).collect();
    let _ = writeln!(out, "  graph [rankdir=LR, labelloc=t, label={}];", quote_lines(&label));
    out.push_str("  node [shape=box, fontname=\"monospace\", fontsize=10, style=filled, ");
    out.push_str("fillcolor=white];\n");
    out.push_str("  edge [fontname=\"sans-serif\", fontsize=10, color=gray40, dir=none];\n");
    out.push_str("  subgraph cluster_host {\n    label=\"this host\";\n");
    for at in 0..scene.tables.len() {
        write_node(&mut out, "    ", Place::Table(at), &table(scene, at), "white");
    }
    for at in 0..scene.cards.len() {
        write_node(&mut out, "    ", Place::Card(at), &card(scene, at), "white");
    }
    out.push_str("  }\n");
    for (at, of) in scene.networks.iter().enumerate() {
        write_node(&mut out, "  ", Place::Network(at), &network(of), "aliceblue");
    }
    for (at, of) in scene.gateways.iter().enumerate() {
        write_node(&mut out, "  ", Place::Gateway(at), &gateway(of), "white");
    }
    if !scene.gateways.is_empty() || scene.request.as_ref().is_some_and(|r| r.client.is_none()) {
        out.push_str("  world [label=\"the rest of the world\", style=dashed];\n");
    }
    if let Some(request) = &scene.request {
        let label = quote_lines(&["client".to_owned(), request.from.to_string()]);
        let _ = writeln!(out, "  client [label={label}];");
    }
    write_edges(&mut out, scene);
    out.push_str("}\n");
    out
}

fn write_edges(out: &mut String, scene: &Scene) {
    let walks = walks(scene);
    let goes = |a: Place, b: Place| {
        walks
            .iter()
            .any(|w| w.places.windows(2).any(|p| (p[0], p[1]) == (a, b) || (p[0], p[1]) == (b, a)))
    };
    let mut plain: Vec<(Place, Place)> = Vec::new();
    for (at, card) in scene.cards.iter().enumerate() {
        plain.extend(card.network.map(|n| (Place::Card(at), Place::Network(n))));
    }
    for (at, gateway) in scene.gateways.iter().enumerate() {
        plain.push((Place::Network(gateway.network), Place::Gateway(at)));
        plain.push((Place::Gateway(at), Place::World));
    }
    match &scene.request {
        Some(request) => match request.client {
            Some(at) => plain.push((Place::Network(at), Place::Client)),
            None => plain.push((Place::World, Place::Client)),
        },
        None => {
            for (at, table) in scene.tables.iter().enumerate() {
                plain.extend(table.leads.iter().map(|c| (Place::Table(at), Place::Card(*c))));
            }
        }
    }
    for (a, b) in plain.into_iter().filter(|(a, b)| !goes(*a, *b)) {
        let _ = writeln!(out, "  {} -> {};", id(a), id(b));
    }
    for walk in &walks {
        let (color, style) = match walk.tone {
            Tone::Plain | Tone::Dim => ("gray40", "solid"),
            Tone::Request => ("#0550ae", "solid"),
            Tone::Good => ("#116329", "solid"),
            Tone::Bad => ("#b3150c", "dashed"),
            Tone::Doubt => ("#7a4a00", "dotted"),
        };
        for pair in walk.places.windows(2) {
            let _ = writeln!(
                out,
                "  {} -> {} [dir=forward, penwidth=2, color=\"{color}\", fontcolor=\"{color}\", \
                 style={style}, label={}];",
                id(pair[0]),
                id(pair[1]),
                quote(&walk.number)
            );
        }
    }
}

fn write_node(out: &mut String, indent: &str, place: Place, lines: &[Line], fill: &str) {
    let lines = lines.iter().filter(|l| !l.text.is_empty());
    let text: Vec<String> = lines
        .map(|l| match (l.form, l.tone) {
            (Form::Mark, Tone::Bad) => format!("!! {}", l.text),
            _ => l.text.clone(),
        })
        .collect();
    let _ =
        writeln!(out, "{indent}{} [label={}, fillcolor={fill}];", id(place), quote_lines(&text));
}

fn id(place: Place) -> String {
    match place {
        Place::Client => "client".into(),
        Place::World => "world".into(),
        Place::Gateway(at) => format!("gateway{at}"),
        Place::Network(at) => format!("network{at}"),
        Place::Card(at) => format!("card{at}"),
        Place::Table(at) => format!("table{at}"),
    }
}

fn quote(text: &str) -> String {
    format!("\"{}\"", escape(text))
}

/// Lines that begin at the left.
fn quote_lines(lines: &[String]) -> String {
    let lines: String = lines.iter().map(|l| escape(l) + "\\l").collect();
    format!("\"{lines}\"")
}

/// In a quoted string only the quote is special, and in a label the backslash. Entities are
/// Graphviz's own affair: an ampersand could begin one.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '&' => out.push_str("&amp;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
