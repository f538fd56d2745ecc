//! `multihome diagram`: a scene as a figure, in three forms.
//!
//! What is said is the same in all three and stands here: the headline, what is in each box, and
//! what becomes of the request and its reply.

mod boxes;
pub mod dot;
mod layout;
pub mod svg;
pub mod text;
mod wires;

use multihome_core::Family;
use multihome_core::diagram::{
    Asked, Card, Dropped, Gateway, Network, NotARequest, Place, Reply, Request, Role, Scene, State,
    Table, Verdict,
};
use multihome_core::model::Names;
use multihome_core::model::names::is_shown;

use super::doubt::doubtful;
use super::fault::{NO_ROUTE, sanity};
use super::{not_uplink, plural};

/// How something is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// As it is.
    Plain,
    /// Less important.
    Dim,
    /// The request.
    Request,
    /// A reply that goes home by its own door.
    Good,
    /// A reply that does not.
    Bad,
    /// A reply of which it cannot be told.
    Doubt,
}

/// A line of a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How it is drawn.
    pub tone: Tone,
    /// What it is.
    pub form: Form,
    /// What it says.
    pub text: String,
}

/// What a line of a box is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// What the box is.
    Title,
    /// An address, a rule, a route.
    Code,
    /// Words.
    Words,
    /// What a way does here.
    Mark,
}

/// A way through the figure, with its number.
pub struct Walk<'a> {
    /// `1`, `2`, or `2a`, `2b`, ...
    pub number: String,
    /// How it is drawn.
    pub tone: Tone,
    /// Its stations.
    pub places: &'a [Place],
}

/// What a figure is called when nobody asks.
pub fn headline(scene: &Scene) -> (Tone, String) {
    let Some(request) = &scene.request else {
        let uplinks = scene.cards.iter().filter(|c| c.role == Role::Uplink).count();
        let text = match uplinks {
            0 => "This host has no uplink".to_owned(),
            n => {
                let networks = scene
                    .networks
                    .iter()
                    .filter(|n| n.cards.iter().any(|c| scene.cards[*c].role == Role::Uplink));
                let networks = plural(networks.count(), "network");
                format!("This host has {} in {networks}", plural(n, "uplink"))
            }
        };
        return (Tone::Plain, text);
    };
    if let Some(why) = dropped(scene) {
        return (Tone::Bad, format!("The request {why}"));
    }
    if !request.doubts.is_empty() || request.replies.is_empty() {
        return (Tone::Doubt, "Which way the reply goes cannot be told".into());
    }
    if let [reply] = request.replies.as_slice() {
        return (tone(scene, reply), format!("The reply {}", what(scene, reply)));
    }
    let whats: Vec<String> = request.replies.iter().map(|r| what(scene, r)).collect();
    let worst = request.replies.iter().map(|r| tone(scene, r));
    let tone = worst.max_by_key(|t| (*t == Tone::Bad, *t)).unwrap_or(Tone::Doubt);
    (tone, format!("The reply, as the kernel's hash has it, {}", whats.join(", or ")))
}

/// What becomes of a reply.
pub fn what(scene: &Scene, reply: &Reply) -> String {
    let name = |card: Option<usize>| {
        card.map_or_else(|| "no card".to_owned(), |c| printable(&scene.cards[c].name))
    };
    let by = name(reply.leaves_by);
    let door = scene.request.as_ref().and_then(|r| r.door);
    let down = reply.leaves_by.is_some_and(|by| scene.cards[by].state == State::Down);
    let because = if down { "is down" } else { "has no carrier" };
    match &reply.verdict {
        Verdict::Wrong if reply.lost => {
            format!("is lost at {by}, which {because}; it should leave by {}", name(door))
        }
        _ if reply.lost => format!("is lost at {by}, which {because}"),
        Verdict::Right if reply.leaves_by == door => {
            format!("leaves by {by}, as the request came in")
        }
        Verdict::Right if has_address(scene, reply.leaves_by) => {
            format!("leaves by {by}, which has the address too")
        }
        Verdict::Right => format!("leaves by {by}, behind which the client is"),
        Verdict::Accepted => format!("leaves by {by}, as the configuration has it"),
        Verdict::Wrong => format!("leaves by {by}, not by {}", name(door)),
        Verdict::Unknown => format!("leaves by {by}; where the request comes in cannot be told"),
        Verdict::Kept => "never leaves: this host keeps it".into(),
        Verdict::Refused(error) => format!("is refused: {error}"),
    }
}

/// Whether a card has the address that is asked.
fn has_address(scene: &Scene, card: Option<usize>) -> bool {
    let asked = scene.request.as_ref().map(|r| r.to);
    card.is_some_and(|c| scene.cards[c].addresses.iter().any(|a| Some(a.address) == asked))
}

/// Why the request does not come in, if it does not.
fn dropped(scene: &Scene) -> Option<String> {
    let request = scene.request.as_ref()?;
    let card = &scene.cards[request.door?];
    let name = printable(&card.name);
    Some(match request.dropped.as_ref()? {
        Dropped::NotUp if card.state == State::Down => format!("cannot come in: {name} is down"),
        Dropped::NotUp => format!("cannot come in: {name} has no carrier"),
        Dropped::ReversePath => {
            format!("is dropped by {name}: rp_filter, for an answer would not leave by {name}")
        }
        Dropped::Refused(error) => format!("is dropped by {name}: {error}"),
    })
}

/// How the request is drawn.
fn request_tone(request: &Request) -> Tone {
    if request.dropped.is_some() { Tone::Bad } else { Tone::Request }
}

/// How a reply is drawn.
pub fn tone(scene: &Scene, reply: &Reply) -> Tone {
    let in_doubt = scene.request.as_ref().is_some_and(|r| !r.doubts.is_empty());
    match reply.verdict {
        _ if in_doubt => Tone::Doubt,
        _ if reply.lost => Tone::Bad,
        Verdict::Right | Verdict::Accepted => Tone::Good,
        Verdict::Unknown => Tone::Doubt,
        Verdict::Wrong | Verdict::Kept | Verdict::Refused(_) => Tone::Bad,
    }
}

/// The ways of the request and of its reply.
pub fn walks(scene: &Scene) -> Vec<Walk<'_>> {
    let Some(request) = &scene.request else { return Vec::new() };
    let mut walks = Vec::new();
    if !request.way.is_empty() {
        let places = request.way.as_slice();
        walks.push(Walk { number: "1".into(), tone: request_tone(request), places });
    }
    for (at, reply) in request.replies.iter().enumerate() {
        let number = reply_number(request.replies.len(), at);
        walks.push(Walk { number, tone: tone(scene, reply), places: &reply.way });
    }
    walks
}

fn reply_number(count: usize, at: usize) -> String {
    if count == 1 { "2".into() } else { format!("2{}", letter(at)) }
}

fn letter(at: usize) -> char {
    // More than 26 hops are not worth another sign.
    char::from(b'a' + u8::try_from(at.min(25)).unwrap_or(25))
}

/// What is to be said below the figure.
pub fn caption(scene: &Scene) -> Vec<(Tone, String, String)> {
    let mut lines = Vec::new();
    let mut remark = |text: String| lines.push((Tone::Dim, String::new(), text));
    for why in &scene.incomplete {
        remark(format!("Incomplete: {why}"));
    }
    if scene.more_cards > 0 {
        remark(format!("{} not drawn", plural(scene.more_cards, "more card")));
    }
    if scene.more_tables > 0 {
        remark(format!("{} not drawn", plural(scene.more_tables, "more table")));
    }
    if scene.other_rules > 0 {
        remark(format!("{} not drawn (goto, nop, ...)", plural(scene.other_rules, "rule")));
    }
    let Some(request) = &scene.request else { return lines };
    let mut told = Vec::new();
    let comes_in = match (dropped(scene), request.door) {
        (Some(why), _) => format!("the request {why}"),
        (None, Some(door)) => format!("it comes in by {}", printable(&scene.cards[door].name)),
        (None, None) => "where it comes in cannot be told".into(),
    };
    let asks = format!("{} asks {}: {comes_in}", request.from, request.to);
    told.push((request_tone(request), "1".to_owned(), asks));
    for (at, reply) in request.replies.iter().enumerate() {
        let mut text = format!("The reply {}", what(scene, reply));
        let because = because(reply);
        if !because.is_empty() {
            text += &format!(" ({})", because.join("; "));
        }
        told.push((tone(scene, reply), reply_number(request.replies.len(), at), text));
    }
    told.extend(
        request
            .doubts
            .iter()
            .map(|d| (Tone::Doubt, "?".into(), format!("In doubt: {}", doubtful(d)))),
    );
    told.append(&mut lines);
    told
}

/// What decided about a reply.
fn because(reply: &Reply) -> Vec<String> {
    let mut because: Vec<String> =
        [&reply.rule, &reply.route].into_iter().flatten().cloned().collect();
    // What it says names no link and no table.
    because.extend(reply.why.map(|why| sanity(why, &Names::default())));
    if because.is_empty() && matches!(reply.verdict, Verdict::Refused(_)) {
        because.push(NO_ROUTE.to_owned());
    }
    because
}

// ===== what is in the boxes =====

/// The lines of a card.
pub fn card(scene: &Scene, at: usize) -> Vec<Line> {
    let card = &scene.cards[at];
    let mut lines = vec![Line::title(printable(&card.name))];
    if let Some(more) = standing(card, scene.family) {
        let tone = if card.state == State::Up { Tone::Dim } else { Tone::Bad };
        lines.push(Line { tone, ..Line::words(more) });
    }
    let asked = scene.request.as_ref().map(|r| r.to);
    for address in &card.addresses {
        let text = format!("{}/{}", address.address, address.prefix_len);
        let tone = if Some(address.address) == asked { Tone::Request } else { Tone::Plain };
        lines.push(Line { tone, ..Line::code(text) });
    }
    if card.addresses.is_empty() {
        let family = scene.family.map_or(String::new(), |f| format!("{f} "));
        lines.push(Line::words(format!("no {family}address")));
    }
    lines.extend(more(card.more_addresses));
    lines.extend(marks(scene, at));
    lines
}

/// What the ways do at a card.
fn marks(scene: &Scene, at: usize) -> Vec<Line> {
    let Some(request) = &scene.request else { return Vec::new() };
    let mut marks = Vec::new();
    if request.door == Some(at) {
        let text = match &request.dropped {
            None => "1 the request comes in",
            Some(Dropped::NotUp) => "1 the request does not come in",
            Some(Dropped::ReversePath) => "1 the request is dropped: rp_filter",
            Some(Dropped::Refused(_)) => "1 the request is dropped",
        };
        marks.push(Line::mark(request_tone(request), text.into()));
    }
    for (of, reply) in request.replies.iter().enumerate() {
        let number = reply_number(request.replies.len(), of);
        let at_table = reply.way.iter().any(|p| matches!(p, Place::Table(_)));
        let text = match (&reply.verdict, reply.leaves_by) {
            (Verdict::Right | Verdict::Unknown, Some(by)) if by == at && reply.lost => {
                "the reply is lost here".into()
            }
            (Verdict::Right | Verdict::Unknown, Some(by)) if by == at => "the reply leaves".into(),
            (Verdict::Wrong, Some(by)) if by == at => what(scene, reply),
            // There is no table at which it could be said.
            (Verdict::Refused(_) | Verdict::Kept, _)
                if !at_table && reply.way.first() == Some(&Place::Card(at)) =>
            {
                what(scene, reply)
            }
            _ => continue,
        };
        marks.push(Line::mark(tone(scene, reply), format!("{number} {text}")));
    }
    marks
}

/// What a card is, besides its name, if there is anything to say.
fn standing(card: &Card, family: Option<Family>) -> Option<String> {
    let state = match card.state {
        State::Up => None,
        State::NoCarrier => Some("no carrier"),
        State::Down => Some("down"),
    };
    let mut words: Vec<String> = state.map(str::to_owned).into_iter().collect();
    // What an uplink is made of matters less than that it is one.
    let kind = card.kind.as_deref().filter(|_| card.role != Role::Uplink);
    words.extend(kind.map(printable));
    match &card.role {
        Role::Uplink | Role::Unknown => {}
        Role::Other(reason) => {
            let reason = not_uplink(reason, state);
            let short = reason.split(':').next().unwrap_or_default().to_owned();
            // The family is what the figure is about anyway.
            let short = match family {
                Some(f) => short.replace(&format!("no {f} gateway"), "no gateway"),
                None => short,
            };
            let is_said = |w: &String| short.contains(w.as_str());
            words.retain(|w| !is_said(w));
            words.push(short);
        }
    }
    (!words.is_empty()).then(|| printable(&words.join(", ")))
}

/// The lines of a network.
pub fn network(network: &Network) -> Vec<Line> {
    let mut lines = vec![Line::title("network".into())];
    lines.extend(network.prefixes.iter().map(|p| {
        let host = if p.is_host() { format!("/{}", p.len()) } else { String::new() };
        Line::code(format!("{p}{host}"))
    }));
    if network.prefixes.is_empty() {
        lines.push(Line::words("no prefix on the link".into()));
    }
    lines.extend(more(network.more_prefixes));
    if network.more_gateways > 0 {
        lines.push(Line::words(plural(network.more_gateways, "more gateway")));
    }
    lines
}

/// The lines of a gateway.
pub fn gateway(gateway: &Gateway) -> Vec<Line> {
    match gateway.address {
        Some(address) => vec![Line::title("gateway".into()), Line::code(address.to_string())],
        None => vec![Line::title("no gateway".into()), Line::words("all is on the link".into())],
    }
}

/// The lines of a table.
pub fn table(scene: &Scene, at: usize) -> Vec<Line> {
    let table: &Table = &scene.tables[at];
    let mut lines = vec![Line::title(format!("table {}", printable(&table.name)))];
    let decisive = scene.request.iter().flat_map(|r| &r.replies);
    let here: Vec<&Reply> = decisive.filter(|r| r.way.contains(&Place::Table(at))).collect();
    let by = here.iter().map(|r| tone(scene, r)).max().unwrap_or(Tone::Plain);
    let is_asked = scene.request.is_some();
    for rule in &table.rules {
        let family = match (scene.family, rule.family) {
            // An address says so itself.
            (None, Some(Family::V6)) if rule.text.matches(':').count() < 2 => " (IPv6)",
            _ => "",
        };
        let (tone, note) = match rule.asked {
            Asked::Decides => (by, ""),
            Asked::PassedOver => (Tone::Plain, " (passed over)"),
            Asked::No if is_asked => (Tone::Dim, ""),
            Asked::No => (Tone::Plain, ""),
        };
        lines.push(Line { tone, ..Line::code(format!("{}{family}{note}", rule.text)) });
    }
    if table.more_rules > 0 {
        lines.push(Line::words(format!("and {}", plural(table.more_rules, "more rule"))));
    }
    if !table.rules.is_empty() {
        lines.push(Line::words(String::new()));
    }
    for route in &table.routes {
        let tone = match (route.decides, is_asked) {
            (true, _) => by,
            (false, true) => Tone::Dim,
            (false, false) => Tone::Plain,
        };
        lines.push(Line { tone, ..Line::code(route.text.clone()) });
    }
    if table.routes.is_empty() {
        lines.push(Line::words("no routes".into()));
    }
    if table.more_routes > 0 {
        lines.push(Line::words(format!("and {}", plural(table.more_routes, "more route"))));
    }
    let replies = scene.request.iter().flat_map(|r| r.replies.iter().enumerate());
    for (of, reply) in replies {
        let ends = matches!(reply.verdict, Verdict::Refused(_) | Verdict::Kept);
        if ends && reply.way.last() == Some(&Place::Table(at)) {
            let count = scene.request.as_ref().map_or(1, |r| r.replies.len());
            let text = format!("{} {}", reply_number(count, of), what(scene, reply));
            lines.push(Line::mark(tone(scene, reply), text));
        }
    }
    lines
}

fn more(count: usize) -> Option<Line> {
    (count > 0).then(|| Line::words(format!("and {count} more")))
}

/// A name as it can be shown anywhere: the kernel allows nearly everything in names
/// (`dev_valid_name`), and XML and terminals do not.
pub fn printable(name: &str) -> String {
    const LONGEST: usize = 40;
    let mut out = String::new();
    for c in name.chars() {
        if is_shown(c) {
            out.push(c);
        } else {
            out.extend(c.escape_debug());
        }
    }
    if out.chars().count() > LONGEST {
        out = out.chars().take(LONGEST - 3).chain("...".chars()).collect();
    }
    out
}

// ===== errors =====

/// What to do about two addresses that are no request.
pub fn remedy(error: &NotARequest) -> String {
    match error {
        NotARequest::Families { .. } => "give two IPv4 addresses or two IPv6 addresses".into(),
        NotARequest::Reversed { from, to } => {
            format!("a client asks this host: --from {to} --to {from}")
        }
        NotARequest::NotAnAddress { addresses, .. } if addresses.is_empty() => {
            "--to is the address that is asked, and this host has none of that family".into()
        }
        NotARequest::NotAnAddress { addresses, .. } => {
            const SHOWN: usize = 6;
            let shown: Vec<String> =
                addresses.iter().take(SHOWN).map(ToString::to_string).collect();
            let more = if addresses.len() > SHOWN { ", ..." } else { "" };
            format!("--to is the address that is asked: {}{more}", shown.join(", "))
        }
        NotARequest::OwnClient { .. } | NotARequest::NotAClient { .. } => {
            "--from is the client: an address that is global and not this host's".into()
        }
    }
}

// ===== impl Line =====

impl Line {
    fn new(tone: Tone, form: Form, text: String) -> Line {
        Line { tone, form, text }
    }

    fn title(text: String) -> Line {
        Line::new(Tone::Plain, Form::Title, text)
    }

    fn code(text: String) -> Line {
        Line::new(Tone::Plain, Form::Code, text)
    }

    fn words(text: String) -> Line {
        Line::new(Tone::Dim, Form::Words, text)
    }

    fn mark(tone: Tone, text: String) -> Line {
        Line::new(tone, Form::Mark, text)
    }
}

#[cfg(test)]
mod tests;
