//! Lines and arrows between the boxes.
//!
//! Most are straight. Those between tables and cards, and between gateways and a client in the
//! world, run along lanes in the channel between the two columns, where there are no boxes: to
//! the lane, up or down, and on. Wires whose heights have nothing in common share a lane.

use multihome_core::diagram::{Place, Scene};

use super::layout::{Kind, Rect, Shape};
use super::{Form, Tone, Walk, walks};

/// A line or an arrow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// What it joins.
    pub ends: (Kind, Kind),
    /// Corners, from start to end.
    pub points: Vec<(i32, i32)>,
    /// How it is drawn; plain ones are no arrows.
    pub tone: Tone,
    /// The number of the way, and where it stands.
    pub badge: Option<(i32, i32, String)>,
}

/// A wire that has no form yet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    from: Kind,
    to: Kind,
    tone: Tone,
    number: String,
}

const SPACING: i32 = 14;
const LANE: i32 = 9;

/// How many lanes there may be between tables and cards.
pub fn lanes_wanted(scene: &Scene) -> i32 {
    let links = links(scene);
    let inside = links.iter().filter(|l| is_lane(l.from, l.to) && !is_outside(l)).count();
    i32::try_from(inside).unwrap_or(0).min(24)
}

/// All wires of a scene whose boxes are placed.
pub fn all(scene: &Scene, boxes: &[Shape]) -> Vec<Wire> {
    let links = links(scene);
    let (bent, straight): (Vec<Link>, Vec<Link>) =
        links.into_iter().partition(|l| is_lane(l.from, l.to));
    let (outside, inside): (Vec<Link>, Vec<Link>) = bent.into_iter().partition(is_outside);
    let mut wires: Vec<Wire> =
        straight.iter().filter_map(|l| straight_wire(l, &straight, boxes)).collect();
    wires.extend(in_lanes(&inside, boxes));
    wires.extend(in_lanes(&outside, boxes));
    // Arrows over plain lines.
    wires.sort_by_key(|w| w.tone);
    wires
}

/// What is joined: by the ways, and where none goes by what is there.
fn links(scene: &Scene) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    for Walk { number, tone, places } in walks(scene) {
        for pair in places.windows(2) {
            let (from, to) = (kind(pair[0]), kind(pair[1]));
            let link = Link { from, to, tone, number: number.clone() };
            let same = |l: &Link| l.from == from && l.to == to && l.tone == tone;
            if !links.iter().any(same) {
                links.push(link);
            }
        }
    }
    let mut plain: Vec<(Kind, Kind)> = Vec::new();
    for (at, card) in scene.cards.iter().enumerate() {
        plain.extend(card.network.map(|n| (Kind::Card(at), Kind::Network(n))));
    }
    for (at, gateway) in scene.gateways.iter().enumerate() {
        plain.push((Kind::Network(gateway.network), Kind::Gateway(at)));
        plain.push((Kind::Gateway(at), Kind::World));
    }
    if let Some(request) = &scene.request {
        plain.extend(request.client.map(|n| (Kind::Network(n), Kind::Client)));
    } else {
        for (at, table) in scene.tables.iter().enumerate() {
            plain.extend(table.leads.iter().map(|c| (Kind::Table(at), Kind::Card(*c))));
        }
    }
    for (from, to) in plain {
        let joined = |l: &Link| (l.from, l.to) == (from, to) || (l.to, l.from) == (from, to);
        // What comes from a client in the world is drawn through it.
        let through =
            |l: &Link| to == Kind::World && is_outside(l) && (l.from == from || l.to == from);
        if !links.iter().any(|l| joined(l) || through(l)) {
            links.push(Link { from, to, tone: Tone::Plain, number: String::new() });
        }
    }
    links
}

fn kind(place: Place) -> Kind {
    match place {
        Place::Client => Kind::Client,
        Place::World => Kind::World,
        Place::Gateway(at) => Kind::Gateway(at),
        Place::Network(at) => Kind::Network(at),
        Place::Card(at) => Kind::Card(at),
        Place::Table(at) => Kind::Table(at),
    }
}

/// Whether a wire goes between columns whose boxes do not stand side by side.
fn is_lane(from: Kind, to: Kind) -> bool {
    use Kind::{Card, Client, Gateway, Table};
    matches!(
        (from, to),
        (Table(_), Card(_))
            | (Card(_), Table(_))
            | (Card(_), Card(_))
            | (Gateway(_), Client)
            | (Client, Gateway(_))
    )
}

fn is_outside(link: &Link) -> bool {
    is_lane(link.from, link.to) && (link.from == Kind::Client || link.to == Kind::Client)
}

fn shape(boxes: &[Shape], kind: Kind) -> Option<&Shape> {
    boxes.iter().find(|b| b.kind == kind)
}

// ===== straight ones =====

fn straight_wire(link: &Link, all: &[Link], boxes: &[Shape]) -> Option<Wire> {
    let (from, to) = (shape(boxes, link.from)?.rect, shape(boxes, link.to)?.rect);
    // Others between the same two stand beside it.
    let joins = |l: &&Link| {
        (l.from, l.to) == (link.from, link.to) || (l.to, l.from) == (link.from, link.to)
    };
    let beside: Vec<&Link> = all.iter().filter(joins).collect();
    let count = i32::try_from(beside.len()).unwrap_or(1);
    let at = beside.iter().position(|l| *l == link).and_then(|p| i32::try_from(p).ok())?;
    let small = if from.h <= to.h { from } else { to };
    let spacing = SPACING.min((small.h - 10) / count);
    let y = small.middle() + (2 * at - (count - 1)) * spacing / 2;
    let points = if from.x < to.x {
        vec![(from.right(), y), (to.x, y)]
    } else {
        vec![(from.x, y), (to.right(), y)]
    };
    let badge = (link.tone != Tone::Plain).then(|| {
        // Beside each other they would touch.
        let (a, b) = (points[0].0.min(points[1].0), points[0].0.max(points[1].0));
        let share = if count < 2 { 50 } else { 34 + 32 * at / (count - 1) };
        (a + (b - a) * share / 100, y, link.number.clone())
    });
    let badge = badge.filter(|_| (points[0].0 - points[1].0).abs() >= 60);
    Some(Wire { ends: (link.from, link.to), points, tone: link.tone, badge })
}

// ===== those in lanes =====

/// A wire whose ends are known: their heights on the left and on the right.
struct Bent<'a> {
    link: &'a Link,
    left: (i32, i32),
    right: (i32, i32),
    /// Both ends are on the right.
    returns: bool,
    forward: bool,
}

fn in_lanes(links: &[Link], boxes: &[Shape]) -> Vec<Wire> {
    let mut taken: Vec<(i32, i32)> = Vec::new();
    let mut bent: Vec<Bent<'_>> = links
        .iter()
        .filter_map(|link| {
            let (from, to) = (shape(boxes, link.from)?, shape(boxes, link.to)?);
            let forward = from.rect.x <= to.rect.x;
            let (left, right) = if forward { (from, to) } else { (to, from) };
            let returns = left.rect.x == right.rect.x;
            let left_x = if returns { left.rect.x } else { left.rect.right() };
            let left_y = port(left, links, link, &mut taken, left_x);
            let right_y = port(right, links, link, &mut taken, right.rect.x);
            // No step that is hardly one.
            let right_y = if (left_y - right_y).abs() < 5 { left_y } else { right_y };
            let (left, right) = ((left_x, left_y), (right.rect.x, right_y));
            Some(Bent { link, left, right, returns, forward })
        })
        .collect();
    // So ordered those that go the same way do not cross each other.
    bent.sort_by_key(|b| {
        let up = b.right.1 < b.left.1;
        (!up, if up { b.left.1 } else { -b.left.1 })
    });
    let mut lanes: Vec<Vec<(i32, i32)>> = Vec::new();
    let mut placed = Vec::new();
    for b in &bent {
        let span = (b.left.1.min(b.right.1) - 6, b.left.1.max(b.right.1) + 6);
        let free = |lane: &Vec<(i32, i32)>| lane.iter().all(|s| s.1 < span.0 || span.1 < s.0);
        let at = lanes.iter().rposition(|lane| !free(lane)).map_or(0, |p| p + 1);
        if at == lanes.len() {
            lanes.push(Vec::new());
        }
        lanes[at].push(span);
        placed.push(at);
    }
    let count = i32::try_from(lanes.len()).unwrap_or(1);
    bent.iter()
        .zip(placed)
        .map(|(b, lane)| b.wire(i32::try_from(lane).unwrap_or(0), count))
        .collect()
}

/// The height at which a wire meets a box; no two meet a channel's side at the same.
fn port(shape: &Shape, links: &[Link], link: &Link, taken: &mut Vec<(i32, i32)>, x: i32) -> i32 {
    let Rect { y: top, h, .. } = shape.rect;
    let touching: Vec<&Link> =
        links.iter().filter(|l| l.from == shape.kind || l.to == shape.kind).collect();
    let count = i32::try_from(touching.len()).unwrap_or(1);
    let at = touching.iter().position(|l| *l == link).and_then(|p| i32::try_from(p).ok());
    let spacing = SPACING.min((h - 10) / count.max(1)).max(1);
    let mut y = shape.rect.middle() + (2 * at.unwrap_or(0) - (count - 1)) * spacing / 2;
    // Into a table at the rule that decides, out of it at the route.
    let is_table = matches!(shape.kind, Kind::Table(_));
    if is_table && link.tone != Tone::Plain {
        let mut lines = shape
            .texts
            .iter()
            .filter(|t| t.tone == link.tone && matches!(t.form, Some(Form::Code | Form::Mark)));
        let line = if link.to == shape.kind { lines.next() } else { lines.next_back() };
        y = line.map_or(y, |t| t.y - 4);
    }
    let is_taken = |y: i32, taken: &[(i32, i32)]| {
        taken.iter().any(|(tx, ty)| (tx - x).abs() < 40 && (ty - y).abs() < 6)
    };
    let tries = (0..h).flat_map(|d| [y + d, y - d]);
    let y = tries
        .filter(|y| (top + 4..=top + h - 4).contains(y))
        .find(|y| !is_taken(*y, taken))
        .unwrap_or(y);
    taken.push((x, y));
    y
}

impl Bent<'_> {
    fn wire(&self, lane: i32, count: i32) -> Wire {
        let (left, right) = (self.left, self.right);
        let mut points = if self.returns {
            let x = left.0 - 16 - lane * LANE;
            vec![left, (x, left.1), (x, right.1), right]
        } else if left.1 == right.1 {
            vec![left, right]
        } else {
            let room = right.0 - left.0;
            // Wide enough for an arrow on either side.
            let step = if count > 1 { LANE.min((room - 32) / (count - 1)) } else { 0 };
            let x = left.0 + (room - step * (count - 1)) / 2 + lane * step;
            vec![left, (x, left.1), (x, right.1), right]
        };
        if !self.forward {
            points.reverse();
        }
        let ends = (self.link.from, self.link.to);
        Wire { ends, points, tone: self.link.tone, badge: None }
    }
}
