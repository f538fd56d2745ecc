//! Nothing stands on anything else, whatever the host looks like.

use multihome_core::model::{Action, Address, Hop, Link, Route, Rule, Snapshot};
use multihome_core::{Config, Family, Memory, Scene, plan};

use super::layout::{Kind, Layout, Rect, lay_out};
use super::text;
use crate::output::Style;

/// A small generator, so that each host can be made again from its number.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn address(link: u32, text: &str, prefix_len: u8) -> Address {
    let local = text.parse().unwrap();
    Address { link, local, prefix_len, peer: None, scope: 0, flags: 0 }
}

/// A host with up to 20 cards, and a client that asks it.
fn host(number: u64) -> (Snapshot, Option<(String, String)>) {
    let mut dice = Dice(number * 7919 + 1);
    let mut snapshot = Snapshot::default();
    let cards = dice.below(21) as u32;
    let names = ["ens", "enp129s0f1np", "e<&\"'\u{1}\u{202e}é", "接口"];
    let mut flow = None;
    for table in [255, 254, 253] {
        for family in Family::BOTH {
            let priority = [0, 32766, 32767][255 - table as usize];
            let rule = Rule::new(family, priority, Action::Lookup(table));
            snapshot.insert_rule(Rule { protocol: 2, ..rule });
        }
    }
    for n in 0..cards {
        let index = n + 2;
        let name = format!("{}{n}", names[dice.below(4) as usize]);
        let is_bridge = dice.below(5) == 0;
        let flags = [0x1_1043, 0x1_1043, 0x1_1043, 0x1003, 0x1002][dice.below(5) as usize];
        snapshot.insert_link(Link {
            index,
            name,
            kind: is_bridge.then(|| "bridge".to_owned()),
            arphrd: 1,
            flags,
            master: None,
            group: 0,
            address: None,
            permanent_address: None,
            carrier_changes: 2,
            mtu: 1500,
        });
        // Some share a subnet.
        let subnet = if dice.below(4) == 0 { 0 } else { n };
        for extra in 0..[1, 1, 2, 50][dice.below(4) as usize] {
            let text = format!("10.{subnet}.{n}.{}", 10 + extra);
            snapshot.insert_address(address(index, &text, 16));
            if flow.is_none() || dice.below(10) == 0 {
                let client = match dice.below(3) {
                    0 => format!("10.{}.250.250", dice.below(20)),
                    _ => "198.51.100.7".to_owned(),
                };
                flow = Some((client, text));
            }
        }
        if dice.below(2) == 0 {
            let text = format!("2600:1f14:eeb:2203:454a:fcbd:{subnet:x}d:73{n:02x}");
            snapshot.insert_address(address(index, &text, 64));
            if dice.below(8) == 0 {
                flow = Some(("2001:db8:1111:2222:3333:4444:5555:6666".to_owned(), text));
            }
        }
        if !is_bridge {
            for (family, gateway) in
                [(Family::V4, format!("10.{subnet}.0.1")), (Family::V6, format!("fe80::{n:x}"))]
            {
                let route = Route {
                    protocol: 16,
                    metric: n + 100,
                    hops: vec![Hop::via(gateway.parse().unwrap(), index)],
                    ..Route::new(254, family.all())
                };
                snapshot.insert_route(route);
            }
        }
        let connected = format!("10.{subnet}.0.0/16").parse().unwrap();
        let hops = vec![Hop::dev(index)];
        let metric = n;
        snapshot.insert_route(Route { protocol: 2, hops, metric, ..Route::new(254, connected) });
    }
    if dice.below(2) == 0 {
        let plan = plan::make(&snapshot, &Config::default(), &Memory::default());
        plan.routes.into_iter().for_each(|r| snapshot.insert_route(r));
        plan.rules.into_iter().for_each(|r| snapshot.insert_rule(r));
    }
    (snapshot, flow.filter(|_| dice.below(4) > 0))
}

fn scene(number: u64) -> Scene {
    let (snapshot, flow) = host(number);
    let plan = plan::make(&snapshot, &Config::default(), &Memory::default());
    let Some((from, to)) = flow else { return Scene::of(&snapshot, &plan) };
    Scene::of_request(
        &snapshot,
        &Config::default(),
        &plan,
        from.parse().unwrap(),
        to.parse().unwrap(),
    )
    .unwrap()
}

fn is_around(outer: Kind, inner: Kind) -> bool {
    match outer {
        Kind::Host => matches!(inner, Kind::Table(_) | Kind::Card(_)),
        Kind::World => inner == Kind::Client,
        _ => false,
    }
}

fn overlap(a: Rect, b: Rect) -> bool {
    a.x < b.right() && b.x < a.right() && a.y < b.y + b.h && b.y < a.y + a.h
}

fn holds(a: Rect, b: Rect) -> bool {
    a.x <= b.x && b.right() <= a.right() && a.y <= b.y && b.y + b.h <= a.y + a.h
}

fn check(layout: &Layout, what: &str) {
    let page = Rect { x: 0, y: 0, w: layout.width, h: layout.height };
    for (at, one) in layout.boxes.iter().enumerate() {
        assert!(holds(page, one.rect), "{what}: {:?} leaves the page", one.kind);
        for other in &layout.boxes[at + 1..] {
            let in_world = is_around(one.kind, other.kind) && holds(one.rect, other.rect);
            let reverse = is_around(other.kind, one.kind) && holds(other.rect, one.rect);
            assert!(
                in_world || reverse || !overlap(one.rect, other.rect),
                "{what}: {:?} {:?} on {:?} {:?}",
                one.kind,
                one.rect,
                other.kind,
                other.rect
            );
        }
        for pair in one.texts.windows(2) {
            assert!(pair[1].y - pair[0].y >= 14, "{what}: {:?} on {:?}", pair[0], pair[1]);
        }
        for t in &one.texts {
            let text = Rect { x: t.x, y: t.y - 13, w: t.room, h: 16 };
            assert!(holds(one.rect, text), "{what}: {t:?} leaves {:?}", one.rect);
            for inner in layout.boxes.iter().filter(|b| is_around(one.kind, b.kind)) {
                assert!(!overlap(text, inner.rect), "{what}: {t:?} under {:?}", inner.kind);
            }
        }
    }
    for wire in &layout.wires {
        for pair in wire.points.windows(2) {
            let ((a, b), (c, d)) = (pair[0], pair[1]);
            assert!(a == c || b == d, "{what}: {wire:?} is not straight");
            let line = Rect { x: a.min(c), y: b.min(d), w: (a - c).abs(), h: (b - d).abs() };
            for shape in &layout.boxes {
                let Rect { x, y, w, h } = shape.rect;
                let inner = Rect { x: x + 1, y: y + 1, w: w - 2, h: h - 2 };
                // Lines have no width; edges may be touched.
                let line = Rect { w: line.w.max(1), h: line.h.max(1), ..line };
                let is_open = matches!(shape.kind, Kind::Host | Kind::World);
                assert!(
                    is_open || !overlap(inner, line),
                    "{what}: {wire:?} crosses {:?} {:?}",
                    shape.kind,
                    shape.rect
                );
                for t in shape.texts.iter().filter(|_| is_open) {
                    let text = Rect { x: t.x, y: t.y - 13, w: t.room, h: 16 };
                    assert!(!overlap(text, line), "{what}: {wire:?} crosses {t:?}");
                }
            }
        }
    }
    let badges: Vec<Rect> = layout
        .wires
        .iter()
        .filter_map(|w| w.badge.as_ref())
        .map(|(x, y, _)| Rect { x: x - 7, y: y - 7, w: 14, h: 14 })
        .collect();
    for (at, one) in badges.iter().enumerate() {
        let others = badges[at + 1..].iter();
        assert!(others.clone().all(|o| !overlap(*one, *o)), "{what}: badges touch");
        let closed = layout.boxes.iter().filter(|b| !matches!(b.kind, Kind::Host | Kind::World));
        assert!(closed.clone().all(|b| !overlap(*one, b.rect)), "{what}: a badge on a box");
    }
    let mut below = layout.boxes.iter().map(|b| b.rect.y + b.rect.h).max().unwrap_or(0);
    for t in layout.caption.iter().flat_map(|r| &r.texts) {
        assert!(t.y - 13 >= below, "{what}: {t:?} is not below {below}");
        assert!(t.x + t.room <= layout.width && t.y + 3 <= layout.height, "{what}: {t:?} outside");
        below = t.y;
    }
    for t in &layout.headline {
        assert!(t.x + t.room <= layout.width, "{what}: {t:?} outside");
    }
}

#[test]
fn nothing_stands_on_anything_else_and_no_line_crosses_a_box() {
    for number in 0..600 {
        let scene = scene(number);
        check(&lay_out(&scene), &format!("host {number}"));
    }
}

#[test]
fn text_has_eighty_columns_and_no_control_characters() {
    for number in 0..600 {
        let text = text::text(&scene(number), Style::plain());
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "host {number}: {line}");
            assert!(!line.chars().any(char::is_control), "host {number}: {line:?}");
        }
    }
}

#[test]
fn a_figure_is_the_same_each_time() {
    assert_eq!(super::svg::svg(&scene(17)), super::svg::svg(&scene(17)));
}
