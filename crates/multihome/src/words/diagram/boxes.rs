//! How large boxes are, and where their lines stand in them.

use super::layout::{Column, Kind, Rect, Shape, Text};
use super::{Form, Line};

/// Between the edge of a box and its text.
pub const PAD: i32 = 12;
/// The height of a usual line.
pub const LINE: i32 = 17;
const LONGEST_CODE: usize = 38;

/// A line that says what a box is.
pub fn title_line(text: &str) -> Line {
    Line::title(text.to_owned())
}

/// The lines of a table, folded.
pub fn folded(lines: Vec<Line>) -> Vec<Line> {
    let mut out = Vec::new();
    for line in lines {
        if line.form != Form::Code {
            out.push(line);
            continue;
        }
        for text in fold(&line.text, LONGEST_CODE, "  ") {
            out.push(Line { text, ..line.clone() });
        }
    }
    out
}

/// Folds a text between words, and where there are none anywhere.
pub fn fold(text: &str, longest: usize, indent: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let length = |s: &str| s.chars().count();
    for word in text.split(' ') {
        let mut word: String = word.to_owned();
        if !line.is_empty() && length(&line) + 1 + length(&word) > longest {
            lines.push(std::mem::replace(&mut line, indent.to_owned()));
        } else if !line.is_empty() {
            line.push(' ');
        }
        while length(&line) + length(&word) > longest {
            let cut: String =
                word.chars().take(longest.saturating_sub(length(&line)).max(1)).collect();
            word = word.chars().skip(length(&cut)).collect();
            line += &cut;
            lines.push(std::mem::replace(&mut line, indent.to_owned()));
        }
        line += &word;
    }
    lines.push(line);
    lines
}

/// A box with its lines; those of what holds others stand at its top.
pub fn shape(kind: Kind, rect: Rect, lines: &[Line]) -> Shape {
    let texts_height = lines.iter().map(line_height).sum::<i32>();
    let is_open = matches!(kind, Kind::Host | Kind::World);
    let mut y = if is_open { rect.y + 8 } else { rect.y + (rect.h - texts_height) / 2 };
    let mut texts = Vec::new();
    for line in lines {
        let h = line_height(line);
        if !line.text.is_empty() {
            texts.push(Text {
                x: rect.x + PAD,
                y: y + h - 5,
                room: room(&line.text, Some(line.form)),
                form: Some(line.form),
                tone: line.tone,
                text: line.text.clone(),
            });
        }
        y += h;
    }
    Shape { kind, rect, texts }
}

/// The height of a line.
pub fn line_height(line: &Line) -> i32 {
    match line.form {
        _ if line.text.is_empty() => 7,
        Form::Title => 20,
        Form::Code | Form::Words => LINE,
        Form::Mark => 21,
    }
}

/// The height of a box around lines.
pub fn box_height(lines: &[Line]) -> i32 {
    lines.iter().map(line_height).sum::<i32>() + 14
}

/// The width of a box around lines.
pub fn box_width(lines: &[Line]) -> i32 {
    let widest = lines.iter().map(|l| room(&l.text, Some(l.form))).max().unwrap_or(0);
    widest.max(70) + 2 * PAD
}

/// The width of a column.
pub fn width(column: &Column) -> i32 {
    column.iter().map(|(_, _, lines)| box_width(lines)).max().unwrap_or(0)
}

/// The height of what stands on top of each other.
pub fn stacked(heights: &[i32], gap: i32) -> i32 {
    let gaps = i32::try_from(heights.len()).unwrap_or(0).saturating_sub(1).max(0);
    heights.iter().sum::<i32>() + gaps * gap
}

/// The room that a text takes in the widest of the usual fonts.
pub fn room(text: &str, form: Option<Form>) -> i32 {
    // In tenths of a pixel.
    let each = match form {
        Some(Form::Title) => 92,
        Some(Form::Code) => 73,
        Some(Form::Words) => 74,
        Some(Form::Mark) => 84,
        None => 126,
    };
    // What is not ASCII may be as wide as it is high; such texts are made to fit.
    let tenths: i32 = text.chars().map(|c| if c.is_ascii() { each } else { 2 * each }).sum();
    tenths / 10 + 1
}
