//! The host as a figure: cards, networks, gateways and tables, and for one request its way in and
//! the ways that the reply can take.
//!
//! A [`Scene`] is what is to be seen and how it hangs together, without coordinates: renderers
//! give it a form. It is made of a snapshot and a plan alone ([`Scene::of`]); a request
//! ([`Scene::of_request`]) is traced through the snapshot by [`crate::lookup`]. What is drawn is
//! what the kernel holds now, never what multihome would make of it. With a request only its
//! family is drawn.

mod host;
mod lost;
mod request;

use std::net::IpAddr;

use serde::Serialize;

use crate::lookup::{Sanity, Strange, Unknown};
use crate::prefix::{Family, Prefix};
use crate::uplink::NotUplink;

pub use request::NotARequest;

/// What is to be seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Scene {
    /// The family that is drawn; none when both are.
    pub family: Option<Family>,
    /// Links with addresses; those in one network stand together.
    pub cards: Vec<Card>,
    /// How many more there are.
    pub more_cards: usize,
    /// What the cards are plugged into, in the order of the cards.
    pub networks: Vec<Network>,
    /// Gateways, in the order of their networks.
    pub gateways: Vec<Gateway>,
    /// The tables that rules lead to: main first, then in the order of the cards.
    pub tables: Vec<Table>,
    /// How many more there are.
    pub more_tables: usize,
    /// How many rules lead to no table (`goto`, `nop`, ...).
    pub other_rules: usize,
    /// A request and its reply.
    pub request: Option<Request>,
    /// Why this is not all that there is; empty when it is.
    pub incomplete: Vec<String>,
}

/// A link with an address, or one that a way leads over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Card {
    /// Its index.
    pub link: u32,
    /// Its name.
    pub name: String,
    /// Its kind (`bridge`, `veth`, ...); none for hardware.
    pub kind: Option<String>,
    /// Whether it can carry anything.
    pub state: State,
    /// Whether it leads somewhere.
    pub role: Role,
    /// Its first addresses.
    pub addresses: Vec<CardAddress>,
    /// How many more it has.
    pub more_addresses: usize,
    /// What it is plugged into, by place in [`Scene::networks`]; none for the loopback.
    pub network: Option<usize>,
}

/// An address of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct CardAddress {
    /// The address.
    pub address: IpAddr,
    /// Length of its prefix.
    pub prefix_len: u8,
}

/// Whether a card can carry anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Up, with a carrier.
    Up,
    /// Up, without a carrier.
    NoCarrier,
    /// Down.
    Down,
}

/// Whether a card leads somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It does.
    Uplink,
    /// It does not.
    Other(NotUplink),
    /// Nothing is known of it but that a way leads over it.
    Unknown,
}

/// What cards are plugged into. Cards whose prefixes are the same are taken to be in one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Network {
    /// Its first prefixes; none where the host knows nothing to be on the link.
    pub prefixes: Vec<Prefix>,
    /// How many more it has.
    pub more_prefixes: usize,
    /// The cards, by place in [`Scene::cards`].
    pub cards: Vec<usize>,
    /// How many gateways are not drawn.
    pub more_gateways: usize,
}

/// A gateway, by which the rest of the world is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gateway {
    /// Its address; none where a way leads over the link without one.
    pub address: Option<IpAddr>,
    /// Its network, by place in [`Scene::networks`].
    pub network: usize,
    /// Whether a default route or what stands for one leads by it.
    pub default: bool,
}

/// A routing table that rules lead to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Its number.
    pub id: u32,
    /// Its name, or the number.
    pub name: String,
    /// Rules that lead to it, in the order in which they are asked.
    pub rules: Vec<TableRule>,
    /// How many more there are.
    pub more_rules: usize,
    /// Its routes, defaults first.
    pub routes: Vec<TableRoute>,
    /// How many more it has.
    pub more_routes: usize,
    /// The cards by which its best defaults leave, by place in [`Scene::cards`].
    pub leads: Vec<usize>,
}

/// A rule that leads to a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableRule {
    /// As `ip rule` prints it.
    pub text: String,
    /// Its family; none when both have it.
    pub family: Option<Family>,
    /// What became of it when the way of the reply was looked for.
    pub asked: Asked,
}

/// A route of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableRoute {
    /// As `ip route` prints it, without what matters less.
    pub text: String,
    /// Whether a reply goes by it or is refused by it.
    pub decides: bool,
}

/// What became of a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// It was not asked, or is not for this packet.
    #[default]
    No,
    /// It was asked, and had no answer that it accepts.
    PassedOver,
    /// It decides.
    Decides,
}

/// A request and its reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// Who asks.
    pub from: IpAddr,
    /// The address of this host that is asked.
    pub to: IpAddr,
    /// The network that the client is in, by place in [`Scene::networks`]; none when it is
    /// somewhere in the rest of the world.
    pub client: Option<usize>,
    /// The card that it comes in by, by place in [`Scene::cards`]; none when that cannot be told.
    pub door: Option<usize>,
    /// From the client to the card, or as far as it comes.
    pub way: Vec<Place>,
    /// Why it does not come in; none when it does, or when that cannot be told.
    pub dropped: Option<Dropped>,
    /// What can become of the reply: one, or several where the kernel chooses by a hash.
    pub replies: Vec<Reply>,
    /// Why the replies are not to be relied upon; empty when they are.
    pub doubts: Vec<Doubtful>,
}

/// Why a reply cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubtful {
    /// A rule, as `ip rule` prints it, has a selector that is not decoded.
    Rule(String),
    /// A route, as `ip route` prints it, has something that is not modelled.
    Route(String, Strange),
    /// The snapshot does not say.
    Unknown(Unknown),
}

/// Why a request does not come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dropped {
    /// Its card is down or has no carrier.
    NotUp,
    /// The reverse path filter: an answer would not leave by that card.
    ReversePath,
    /// The kernel refuses it, with this error.
    Refused(String),
}

/// One thing that can become of the reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reply {
    /// From the card that was asked to the client, or as far as it comes.
    pub way: Vec<Place>,
    /// What is to be said of it.
    pub verdict: Verdict,
    /// The card that it leaves by, by place in [`Scene::cards`].
    pub leaves_by: Option<usize>,
    /// Whether it is lost there: that card is down or has no carrier.
    pub lost: bool,
    /// The rule that decided, as `ip rule` prints it.
    pub rule: Option<String>,
    /// The route that decided, as `ip route` prints it.
    pub route: Option<String>,
    /// What refused it, where that is neither a rule nor a route; of a refusal without any of the three
    /// no rule led to a route.
    pub why: Option<Sanity<'static>>,
}

/// What is to be said of a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It leaves by the door that the request came in by, or by another that is right for it
    /// ([`crate::verify`]).
    Right,
    /// It leaves by another because the configuration says so.
    Accepted,
    /// It leaves by another.
    Wrong,
    /// It leaves, and by which door the request comes in cannot be told.
    Unknown,
    /// It never leaves: a route keeps it.
    Kept,
    /// It is refused, with this error (`EHOSTUNREACH`).
    Refused(String),
}

/// A station of a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Whoever asks.
    Client,
    /// The rest of the world.
    World,
    /// A gateway, by place in [`Scene::gateways`].
    Gateway(usize),
    /// A network, by place in [`Scene::networks`].
    Network(usize),
    /// A card, by place in [`Scene::cards`].
    Card(usize),
    /// A table, by place in [`Scene::tables`].
    Table(usize),
}
