//! Where everything stands in the drawing.
//!
//! From left to right: the host, with its tables and its cards; networks; gateways; the rest of
//! the world. Cards of one network stand in one row beside it, so what leads from card to
//! network to gateway to world is a straight line; only between tables and cards, and between
//! gateways and a client, are there lanes ([`super::wires`]). Widths of text are estimated for
//! fonts that are rather wide; a test measures them in a browser.

use std::collections::BTreeSet;

use multihome_core::diagram::{Place, Scene};

use super::boxes::{
    LINE, PAD, box_height, box_width, fold, folded, room, shape, stacked, title_line, width,
};
use super::wires::{self, Wire};
use super::{Form, Line, Tone, caption, card, gateway, headline, network, printable, table};

/// A drawing, in pixels.
#[derive(Debug, Default)]
pub struct Layout {
    /// Width of the whole.
    pub width: i32,
    /// Height of the whole.
    pub height: i32,
    /// What it is called.
    pub headline: Vec<Text>,
    /// Boxes; what holds others comes before them.
    pub boxes: Vec<Shape>,
    /// Lines and arrows between them.
    pub wires: Vec<Wire>,
    /// What is said below.
    pub caption: Vec<Remark>,
}

/// A box.
#[derive(Debug)]
pub struct Shape {
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub rect: Rect,
    /// What it says.
    pub texts: Vec<Text>,
}

/// What a box is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The host, around cards and tables.
    Host,
    /// The rest of the world, around the client if it is there.
    World,
    /// A table, by place in the scene.
    Table(usize),
    /// A card, by place in the scene.
    Card(usize),
    /// A network, by place in the scene.
    Network(usize),
    /// A gateway, by place in the scene.
    Gateway(usize),
    /// Who asks.
    Client,
}

/// An upright rectangle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rect {
    /// Left edge.
    pub x: i32,
    /// Upper edge.
    pub y: i32,
    /// Width.
    pub w: i32,
    /// Height.
    pub h: i32,
}

/// A line of text.
#[derive(Debug, Clone)]
pub struct Text {
    /// Left end.
    pub x: i32,
    /// Base line.
    pub y: i32,
    /// What room it has at least.
    pub room: i32,
    /// What it is; none for the headline.
    pub form: Option<Form>,
    /// How it is drawn.
    pub tone: Tone,
    /// What it says.
    pub text: String,
}

/// Something said below the drawing.
#[derive(Debug)]
pub struct Remark {
    /// How it is drawn, as the way that it is about.
    pub tone: Tone,
    /// The number of that way.
    pub number: String,
    /// The middle of its first line.
    pub middle: i32,
    /// Its lines.
    pub texts: Vec<Text>,
}

const MARGIN: i32 = 20;
const GAP: i32 = 22;
/// Above the boxes in the host and in the world.
const HEADER: i32 = 34;
/// Room for the sample in front of a remark.
const SAMPLE: i32 = 70;

/// One column of boxes: what stands in it, row by row.
pub type Column = Vec<(usize, Kind, Vec<Line>)>;

/// Lays a scene out.
pub fn lay_out(scene: &Scene) -> Layout {
    let mut layout = Layout::default();
    let title = headline(scene);
    let top = MARGIN + 44;
    let is_asked = scene.request.is_some();
    let (near, far) = if is_asked { (74, 68) } else { (44, 44) };

    let columns = Columns::of(scene);
    let rows = Rows::of(scene, &columns);

    // ===== from left to right =====
    let lanes = wires::lanes_wanted(scene);
    let left = MARGIN + PAD + 4;
    let tables = Span::after(left, width(&columns.tables));
    let channel = if columns.tables.is_empty() { 0 } else { 40 + 9 * lanes };
    let cards = Span::after(tables.end() + channel, width(&columns.cards));
    let host_end = cards.end() + PAD + 4;
    let networks = Span::after(host_end + near, width(&columns.networks));
    let gateways = Span::after(networks.end() + far, width(&columns.gateways));
    let world = columns.world.as_ref().map(|client| {
        let inner = client.as_ref().map_or(0, |lines| box_width(lines) + 2 * PAD);
        Span::after(gateways.end() + 50, inner.max(room(WORLD, Some(Form::Title)) + 2 * PAD))
    });
    let end = world.as_ref().map_or(gateways.end().max(networks.end()), Span::end);
    let end = end.max(host_end);

    // ===== from top to bottom =====
    let heights: Vec<i32> = columns.tables.iter().map(|t| box_height(&t.2)).collect();
    let inner = rows.height().max(stacked(&heights, GAP)).max(60);
    let first = top + HEADER;
    let host = Rect { x: MARGIN, y: top, w: host_end - MARGIN, h: HEADER + inner + PAD + 4 };
    layout.boxes.push(shape(Kind::Host, host, &[title_line("this host")]));
    let around = rows.placed(first, inner);
    let mut y = spread_start(&heights, inner);
    for ((_, kind, lines), h) in columns.tables.iter().zip(&heights) {
        let rect = Rect { x: tables.start, y: first + y.next_top(*h), w: tables.width, h: *h };
        layout.boxes.push(shape(*kind, rect, lines));
    }
    for (column, span) in
        [(&columns.cards, &cards), (&columns.networks, &networks), (&columns.gateways, &gateways)]
    {
        for (row, (start, height)) in around.iter().enumerate() {
            let of_row: Vec<_> = column.iter().filter(|c| c.0 == row).collect();
            let heights: Vec<i32> = of_row.iter().map(|c| box_height(&c.2)).collect();
            let mut y = start + (height - stacked(&heights, GAP - 6)) / 2;
            for ((_, kind, lines), h) in of_row.into_iter().zip(heights) {
                // A network is as high as what is plugged into it.
                let (top, h) = match kind {
                    Kind::Network(_) => (*start, *height),
                    _ => (y, h),
                };
                let rect = Rect { x: span.start, y: top, w: span.width, h };
                layout.boxes.push(shape(*kind, rect, lines));
                y += h + GAP - 6;
            }
        }
    }
    if let (Some(span), Some(client)) = (&world, &columns.world) {
        let rect = world_rect(scene, span, &around, client.as_deref(), first, inner);
        layout.boxes.push(shape(Kind::World, rect, &[title_line(WORLD)]));
        if let Some(lines) = client {
            let h = box_height(lines);
            let middle = client_middle(scene, &layout.boxes, rect);
            let y = (middle - h / 2).clamp(rect.y + HEADER, rect.y + rect.h - PAD - h);
            let w = box_width(lines);
            let rect = Rect { x: rect.x + (rect.w - w) / 2, y, w, h };
            layout.boxes.push(shape(Kind::Client, rect, lines));
        }
    }
    layout.width = end.max(640) + MARGIN;
    layout.height = host.y + host.h;
    write_headline(&mut layout, &title);
    layout.wires = wires::all(scene, &layout.boxes);
    write_caption(&mut layout, scene);
    layout.height += MARGIN;
    layout
}

const WORLD: &str = "the rest of the world";

// ===== columns and rows =====

struct Columns {
    tables: Column,
    cards: Column,
    networks: Column,
    /// And a client that is in a network of the host's.
    gateways: Column,
    /// None where nothing leads there; with the client if it is there.
    world: Option<Option<Vec<Line>>>,
}

impl Columns {
    fn of(scene: &Scene) -> Columns {
        let tables = (0..scene.tables.len())
            .map(|at| (0, Kind::Table(at), folded(table(scene, at))))
            .collect();
        let inside = scene.networks.len();
        let cards = scene.cards.iter().enumerate();
        let cards = cards
            .map(|(at, c)| (c.network.unwrap_or(inside), Kind::Card(at), card(scene, at)))
            .collect();
        let networks = scene.networks.iter().enumerate();
        let networks = networks.map(|(at, n)| (at, Kind::Network(at), network(n))).collect();
        let gateways = scene.gateways.iter().enumerate();
        let mut gateways: Column =
            gateways.map(|(at, g)| (g.network, Kind::Gateway(at), gateway(g))).collect();
        let mut world = (!gateways.is_empty()).then_some(None);
        if let Some(request) = &scene.request {
            let code = Line { tone: Tone::Request, ..Line::code(request.from.to_string()) };
            let client = vec![title_line("client"), code];
            match request.client {
                Some(at) => gateways.push((at, Kind::Client, client)),
                None => world = Some(Some(client)),
            }
        }
        Columns { tables, cards, networks, gateways, world }
    }

    fn all(&self) -> [&Column; 3] {
        [&self.cards, &self.networks, &self.gateways]
    }
}

/// Rows: one for each network, and one for what is inside the host.
struct Rows(Vec<i32>);

impl Rows {
    fn of(scene: &Scene, columns: &Columns) -> Rows {
        let has_inside = scene.cards.iter().any(|c| c.network.is_none());
        let count = scene.networks.len() + usize::from(has_inside);
        let height = |row: usize| {
            let of_column = |column: &&Column| {
                let of_row = column.iter().filter(|c| c.0 == row);
                let heights: Vec<i32> = of_row.map(|c| box_height(&c.2)).collect();
                stacked(&heights, GAP - 6)
            };
            columns.all().iter().map(of_column).max().unwrap_or(0)
        };
        Rows((0..count).map(height).collect())
    }

    fn height(&self) -> i32 {
        stacked(&self.0, GAP)
    }

    /// Upper edge and height of each.
    fn placed(&self, first: i32, inner: i32) -> Vec<(i32, i32)> {
        let mut y = spread_start(&self.0, inner);
        self.0.iter().map(|h| (first + y.next_top(*h), *h)).collect()
    }
}

/// Boxes of a column that has more room than they need stand apart evenly.
struct Spread {
    extra: i32,
    parts: i32,
    done: i32,
    y: i32,
}

fn spread_start(heights: &[i32], inner: i32) -> Spread {
    let parts = i32::try_from(heights.len()).unwrap_or(i32::MAX - 1) + 1;
    Spread { extra: inner - stacked(heights, GAP), parts, done: 0, y: 0 }
}

impl Spread {
    fn next_top(&mut self, height: i32) -> i32 {
        self.done += 1;
        let top = self.y + self.extra * self.done / self.parts;
        self.y += height + GAP;
        top
    }
}

struct Span {
    start: i32,
    width: i32,
}

impl Span {
    fn after(start: i32, width: i32) -> Span {
        Span { start, width }
    }

    fn end(&self) -> i32 {
        self.start + self.width
    }
}

/// As high as the rows that lead to it.
fn world_rect(
    scene: &Scene,
    span: &Span,
    rows: &[(i32, i32)],
    client: Option<&[Line]>,
    first: i32,
    inner: i32,
) -> Rect {
    let leading = scene.gateways.iter().filter_map(|g| rows.get(g.network));
    let (mut top, mut bottom) = (i32::MAX, i32::MIN);
    for (y, h) in leading {
        top = top.min(*y);
        bottom = bottom.max(y + h);
    }
    if top > bottom {
        (top, bottom) = (first, first + inner);
    }
    let needed = HEADER + client.map_or(10, |lines| box_height(lines) + PAD);
    if bottom - top < needed {
        top = (top - (needed - (bottom - top)) / 2).max(first - HEADER + 4);
        bottom = top + needed;
    }
    Rect { x: span.start, y: top, w: span.width, h: bottom - top }
}

/// The client in the world stands where the ways to it come from.
fn client_middle(scene: &Scene, boxes: &[Shape], world: Rect) -> i32 {
    let walks = scene
        .request
        .iter()
        .flat_map(|r| r.replies.iter().map(|p| &p.way).chain(std::iter::once(&r.way)));
    let ends: BTreeSet<usize> = walks
        .flat_map(|way| way.windows(2))
        .filter_map(|pair| match pair {
            [Place::Gateway(at), Place::Client] | [Place::Client, Place::Gateway(at)] => Some(*at),
            _ => None,
        })
        .collect();
    let gateways =
        boxes.iter().filter(|b| matches!(b.kind, Kind::Gateway(at) if ends.contains(&at)));
    let middles: Vec<i32> = gateways.map(|b| b.rect.middle()).collect();
    match i32::try_from(middles.len()) {
        Ok(count) if count > 0 => middles.iter().sum::<i32>() / count,
        _ => world.y + world.h / 2,
    }
}

// ===== words around the drawing =====

fn write_headline(layout: &mut Layout, (tone, text): &(Tone, String)) {
    let each = usize::try_from((layout.width - 2 * MARGIN) * 10 / 126).unwrap_or(1);
    let lines = fold(&printable_line(text), each.max(10), "");
    let shift = (i32::try_from(lines.len()).unwrap_or(1) - 1) * 24;
    for shape in &mut layout.boxes {
        shape.rect.y += shift;
        shape.texts.iter_mut().for_each(|t| t.y += shift);
    }
    layout.height += shift;
    for (at, text) in (0..).zip(lines) {
        let room = room(&text, None);
        let (x, y) = (MARGIN, MARGIN + 20 + at * 24);
        layout.headline.push(Text { x, y, room, form: None, tone: *tone, text });
    }
}

fn write_caption(layout: &mut Layout, scene: &Scene) {
    let mut y = layout.height + 12;
    for (tone, number, text) in caption(scene) {
        let x = if number.is_empty() { MARGIN } else { MARGIN + SAMPLE };
        let width = layout.width - x - MARGIN;
        let each = usize::try_from(width * 10 / 74).unwrap_or(1).max(20);
        let mut remark = Remark { tone, number, middle: y + 10, texts: Vec::new() };
        let text = printable_line(&text);
        // What is not ASCII takes more room than it has characters.
        let fits =
            |lines: &Vec<String>| lines.iter().all(|line| room(line, Some(Form::Words)) <= width);
        let folded = (20..=each).rev().step_by(4).map(|each| fold(&text, each, "")).find(fits);
        for text in folded.unwrap_or_else(|| fold(&text, 20, "")) {
            let room = room(&text, Some(Form::Words));
            let form = Some(Form::Words);
            remark.texts.push(Text { x, y: y + 14, room, form, tone, text });
            y += LINE;
        }
        y += 6;
        layout.caption.push(remark);
    }
    layout.height = y;
}

fn printable_line(text: &str) -> String {
    text.split(' ').map(printable).collect::<Vec<_>>().join(" ")
}

// ===== impl Rect =====

impl Rect {
    /// Right edge.
    pub fn right(&self) -> i32 {
        self.x + self.w
    }

    /// The middle between upper and lower edge.
    pub fn middle(&self) -> i32 {
        self.y + self.h / 2
    }
}
