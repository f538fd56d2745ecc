//! A scene as SVG: one file without scripts, fonts or anything else from outside.
//!
//! Text stays text. Colours follow the reader's light or dark scheme, and say nothing that a
//! dash, a number or a word does not say too.

use std::fmt::Write as _;

use multihome_core::Scene;

use super::layout::{Kind, Rect, Shape, Text, lay_out};
use super::wires::Wire;
use super::{Form, Tone, caption, headline, printable};

/// Colours of both schemes and the fonts. The names of the classes are those below.
const STYLE: &str = "\
    svg { --ground: #ffffff; --ink: #1f2328; --dim: #57606a; --line: #818b98;\n\
    \x20 --host: #f3f5f8; --paper: #ffffff; --network: #e6f1fd; --world: #f3f5f8;\n\
    \x20 --request: #0550ae; --good: #116329; --bad: #b3150c; --doubt: #7a4a00; }\n\
    @media (prefers-color-scheme: dark) {\n\
    \x20 svg { --ground: #0d1117; --ink: #e6edf3; --dim: #9ea9b5; --line: #6e7883;\n\
    \x20   --host: #161c24; --paper: #0d1117; --network: #12273d; --world: #161c24;\n\
    \x20   --request: #79c0ff; --good: #56d364; --bad: #ff8a80; --doubt: #e3b341; }\n\
    }\n\
    .ground { fill: var(--ground); }\n\
    .box { fill: var(--paper); stroke: var(--line); stroke-width: 1.2; }\n\
    .host, .world { fill: var(--host); }\n\
    .world { fill: var(--world); stroke-dasharray: 2 3; }\n\
    .network { fill: var(--network); }\n\
    .client { stroke: var(--request); stroke-width: 1.8; }\n\
    text { fill: var(--ink); font: 12px system-ui, -apple-system, 'Segoe UI', Roboto,\n\
    \x20 'DejaVu Sans', sans-serif; white-space: pre; }\n\
    .headline { font-size: 20px; font-weight: 600; }\n\
    .title { font-size: 13px; font-weight: 600; }\n\
    .code { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono',\n\
    \x20 monospace; }\n\
    .mark { font-weight: 600; }\n\
    .dim { fill: var(--dim); }\n\
    text.request { fill: var(--request); } text.good { fill: var(--good); }\n\
    text.bad { fill: var(--bad); } text.doubt { fill: var(--doubt); }\n\
    .code.request, .code.good, .code.bad, .code.doubt { font-weight: 700; }\n\
    path { fill: none; stroke: var(--line); stroke-width: 1.5; }\n\
    path.request { stroke: var(--request); } path.good { stroke: var(--good); }\n\
    path.bad { stroke: var(--bad); stroke-dasharray: 7 4; }\n\
    path.doubt { stroke: var(--doubt); stroke-dasharray: 2 4; }\n\
    .way { stroke-width: 2.5; stroke-linejoin: round; }\n\
    polygon.request { fill: var(--request); } polygon.good { fill: var(--good); }\n\
    polygon.bad { fill: var(--bad); } polygon.doubt { fill: var(--doubt); }\n\
    .badge { stroke: none; } .badge.request { fill: var(--request); }\n\
    .badge.good { fill: var(--good); } .badge.bad { fill: var(--bad); }\n\
    .badge.doubt { fill: var(--doubt); }\n\
    text.number { fill: var(--ground); font-size: 11px; font-weight: 700; text-anchor: middle; }\n";

/// The whole file.
pub fn svg(scene: &Scene) -> String {
    let layout = lay_out(scene);
    let (w, h) = (layout.width, layout.height);
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-labelledby=\"title desc\" \
         width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" style=\"max-width: 100%; height: auto\">"
    );
    let _ = writeln!(out, "<title id=\"title\">{}</title>", escape(&headline(scene).1));
    let _ = writeln!(out, "<desc id=\"desc\">{}</desc>", escape(&description(scene)));
    let _ = writeln!(out, "<style>\n{STYLE}</style>");
    let _ = writeln!(out, "<rect class=\"ground\" width=\"{w}\" height=\"{h}\" rx=\"8\"/>");
    for text in &layout.headline {
        write_text(&mut out, text);
    }
    for shape in &layout.boxes {
        write_shape(&mut out, shape);
    }
    for wire in &layout.wires {
        write_wire(&mut out, wire);
    }
    for wire in &layout.wires {
        if let Some((x, y, number)) = &wire.badge {
            write_badge(&mut out, (*x, *y), wire.tone, number);
        }
    }
    for remark in &layout.caption {
        if let Some(first) = remark.texts.first().filter(|_| !remark.number.is_empty()) {
            let y = remark.middle;
            let points = vec![(first.x - 48, y), (first.x - 10, y)];
            write_arrow(&mut out, &points, remark.tone);
            write_badge(&mut out, (first.x - 60, y), remark.tone, &remark.number);
        }
        remark.texts.iter().for_each(|t| write_text(&mut out, t));
    }
    out.push_str("</svg>\n");
    out
}

/// For those who do not see it.
fn description(scene: &Scene) -> String {
    let told: Vec<String> = caption(scene).into_iter().map(|(_, _, text)| text).collect();
    let cards = scene.cards.iter().map(|c| {
        let addresses: Vec<String> = c.addresses.iter().map(|a| a.address.to_string()).collect();
        format!("{} with {}", printable(&c.name), addresses.join(" and "))
    });
    let cards: Vec<String> = cards.collect();
    format!("Cards: {}. {}", cards.join("; "), told.join(". "))
}

fn write_shape(out: &mut String, shape: &Shape) {
    let class = match shape.kind {
        Kind::Host => "host",
        Kind::World => "world",
        Kind::Table(_) => "table",
        Kind::Card(_) => "card",
        Kind::Network(_) => "network",
        Kind::Gateway(_) => "gateway",
        Kind::Client => "client",
    };
    let Rect { x, y, w, h } = shape.rect;
    let round = match shape.kind {
        Kind::Network(_) => 14,
        Kind::Host | Kind::World => 10,
        _ => 5,
    };
    let _ = writeln!(
        out,
        "<g><rect class=\"box {class}\" x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" \
         rx=\"{round}\"/>"
    );
    shape.texts.iter().for_each(|t| write_text(out, t));
    out.push_str("</g>\n");
}

fn write_text(out: &mut String, text: &Text) {
    let form = match text.form {
        None => "headline",
        Some(Form::Title) => "title",
        Some(Form::Code) => "code",
        Some(Form::Words) => "words",
        Some(Form::Mark) => "mark",
    };
    let tone = tone(text.tone);
    let space = if tone.is_empty() { "" } else { " " };
    // What no font here may know is made to fit.
    let fit = if text.text.is_ascii() {
        String::new()
    } else {
        format!(" textLength=\"{}\" lengthAdjust=\"spacingAndGlyphs\"", text.room - 1)
    };
    let _ = writeln!(
        out,
        "<text class=\"{form}{space}{tone}\" x=\"{}\" y=\"{}\"{fit}>{}</text>",
        text.x,
        text.y,
        escape(&text.text)
    );
}

fn write_wire(out: &mut String, wire: &Wire) {
    if wire.tone == Tone::Plain {
        let _ = writeln!(out, "<path d=\"{}\"/>", path(&wire.points));
    } else {
        write_arrow(out, &wire.points, wire.tone);
    }
}

fn write_arrow(out: &mut String, points: &[(i32, i32)], tone_of: Tone) {
    const HEAD: i32 = 10;
    let class = tone(tone_of);
    let [.., before, end] = points else { return };
    let direction = (end.0 - before.0).signum();
    // The line ends in the head and not at its point.
    let base = (end.0 - direction * HEAD, end.1);
    let mut line = points.to_vec();
    line.pop();
    line.push((base.0 + direction, base.1));
    let _ = writeln!(out, "<path class=\"way {class}\" d=\"{}\"/>", path(&line));
    let (x, y) = base;
    let _ = writeln!(
        out,
        "<polygon class=\"{class}\" points=\"{},{} {x},{} {x},{}\"/>",
        end.0,
        end.1,
        y - 5,
        y + 5
    );
}

fn write_badge(out: &mut String, (x, y): (i32, i32), tone_of: Tone, number: &str) {
    let class = tone(tone_of);
    let r = if number.len() > 1 { 10 } else { 8 };
    let _ = writeln!(
        out,
        "<circle class=\"badge {class}\" cx=\"{x}\" cy=\"{y}\" r=\"{r}\"/>\
         <text class=\"number\" x=\"{x}\" y=\"{}\">{}</text>",
        y + 4,
        escape(number)
    );
}

fn path(points: &[(i32, i32)]) -> String {
    let corners: Vec<String> = points.iter().map(|(x, y)| format!("{x} {y}")).collect();
    format!("M{}", corners.join(" L"))
}

fn tone(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "",
        Tone::Dim => "dim",
        Tone::Request => "request",
        Tone::Good => "good",
        Tone::Bad => "bad",
        Tone::Doubt => "doubt",
    }
}

/// As XML 1.0 has it; what it does not allow at all becomes a replacement character.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
