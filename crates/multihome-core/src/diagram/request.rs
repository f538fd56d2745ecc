//! A request and its reply: which ways they take through the figure.
//!
//! The way in is the network's, not the host's: a request comes in by the card that has the
//! address, directly where the client is in that card's network and else through its gateway. A
//! client behind the host itself (a container on a bridge) comes in by the card that it is
//! behind, whatever it asks. The way out is the kernel's decision ([`Lookup`]).

use std::net::IpAddr;

use super::host::{Host, Needed};
use super::lost;
use super::{Doubtful, Gateway, Place, Reply, Request, Scene, Verdict};
use crate::config::Config;
use crate::lookup::{Answer, By, Doubt, Flow, Lookup, Outcome, Path, Trace};
use crate::model::{RouteKind, Snapshot};
use crate::plan::Plan;
use crate::prefix::{Family, is_global};
use crate::verify::{Judgement, judge};

/// Why two addresses are no request that a host can be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotARequest {
    /// One is IPv4 and the other IPv6.
    #[error("{from} and {to} are of different families")]
    Families {
        /// Who asks.
        from: IpAddr,
        /// What is asked.
        to: IpAddr,
    },
    /// They stand in the wrong order.
    #[error("{from} is an address of this host, and {to} is none: that would be a reply")]
    Reversed {
        /// Who asks.
        from: IpAddr,
        /// What is asked.
        to: IpAddr,
    },
    /// What is asked is no address of this host.
    #[error("{to} is no address of this host")]
    NotAnAddress {
        /// What is asked.
        to: IpAddr,
        /// Those that could be.
        addresses: Vec<IpAddr>,
    },
    /// The client is this host.
    #[error("{from} is an address of this host, and its own requests do not leave it")]
    OwnClient {
        /// Who asks.
        from: IpAddr,
    },
    /// Nobody asks from such an address, or it does not say from where.
    #[error("{from} is no address that is asked from elsewhere")]
    NotAClient {
        /// Who asks.
        from: IpAddr,
    },
}

impl Scene {
    /// The host as it is.
    #[must_use]
    pub fn of(snapshot: &Snapshot, plan: &Plan) -> Scene {
        Host::of(snapshot, plan).scene(&Needed::default())
    }

    /// The host as it answers a request.
    ///
    /// # Errors
    /// When the addresses are no request from elsewhere to this host.
    pub fn of_request(
        snapshot: &Snapshot,
        config: &Config,
        plan: &Plan,
        from: IpAddr,
        to: IpAddr,
    ) -> Result<Scene, NotARequest> {
        check(snapshot, from, to)?;
        let trace = Lookup::new(snapshot).trace(&Flow::reply(to, from));
        let mut scene = traced(snapshot, config, plan, from, to, &trace);
        lost::mark(&mut scene, snapshot);
        Ok(scene)
    }
}

/// Whether it is a request from elsewhere to this host.
fn check(snapshot: &Snapshot, from: IpAddr, to: IpAddr) -> Result<(), NotARequest> {
    if Family::of(from) != Family::of(to) {
        return Err(NotARequest::Families { from, to });
    }
    let is_own = |address| snapshot.addresses().any(|a| a.local == address);
    match (is_own(from), is_own(to) && is_global(to)) {
        (true, false) if is_global(from) => return Err(NotARequest::Reversed { from, to }),
        (_, false) => {
            let own = snapshot.addresses().map(|a| a.local);
            let addresses =
                own.filter(|a| is_global(*a) && Family::of(*a) == Family::of(to)).collect();
            return Err(NotARequest::NotAnAddress { to, addresses });
        }
        (true, true) => return Err(NotARequest::OwnClient { from }),
        (false, true) => {}
    }
    let broadcast = from == IpAddr::from([255, 255, 255, 255]);
    if !is_global(from) || broadcast {
        return Err(NotARequest::NotAClient { from });
    }
    Ok(())
}

/// The figure of a request whose reply was traced.
fn traced(
    snapshot: &Snapshot,
    config: &Config,
    plan: &Plan,
    from: IpAddr,
    to: IpAddr,
    trace: &Trace<'_>,
) -> Scene {
    let host = Host::of(snapshot, plan);
    let family = Some(Family::of(to));
    let mut needed = Needed { family, address: Some(to), client: Some(from), ..Needed::default() };
    let owners = snapshot.addresses().filter(|a| a.local == to);
    needed.links.extend(owners.map(|a| a.link));
    for outcome in &trace.answer.outcomes {
        match outcome {
            Outcome::Sent(path) => {
                needed.links.insert(path.link);
                needed.routes.extend(path.route);
                let on_link = || host.on_link(path.link, family).iter().any(|p| p.contains(from));
                if path.gateway.is_some() || !on_link() {
                    needed.gateways.insert((path.link, path.gateway));
                }
            }
            Outcome::Refused { by: By::Route(_, route), .. } => needed.routes.push(route),
            Outcome::Refused { .. } => {}
        }
    }
    needed.steps.clone_from(&trace.steps);
    let mut scene = host.scene(&needed);
    let client = client_network(&scene, from);
    let owner = scene.cards.iter().position(|c| c.addresses.iter().any(|a| a.address == to));
    let door = door(&scene, client, owner);
    let mut request = Request {
        from,
        to,
        client,
        door,
        way: door.map(|d| way_in(&scene, client, d)).unwrap_or_default(),
        dropped: None,
        replies: Vec::new(),
        doubts: trace.answer.doubts.iter().map(|d| doubt(&host, d)).collect(),
    };
    let asked = owner.or(door);
    for outcome in &trace.answer.outcomes {
        let answer = Answer { outcomes: vec![outcome.clone()], doubts: Vec::new() };
        let judgement = judge(snapshot, config, plan, &Flow::reply(to, from), &answer);
        let reply = reply(&host, &scene, &request, asked, outcome, &judgement);
        if !request.replies.contains(&reply) {
            request.replies.push(reply);
        }
    }
    scene.request = Some(request);
    scene
}

/// The network that holds the client: of several the one whose prefix is longest.
fn client_network(scene: &Scene, client: IpAddr) -> Option<usize> {
    let holding = scene.networks.iter().enumerate().filter_map(|(at, network)| {
        let prefixes = network.prefixes.iter().filter(|p| p.contains(client));
        Some((prefixes.map(|p| p.len()).max()?, at))
    });
    holding.max_by_key(|(len, at)| (*len, std::cmp::Reverse(*at))).map(|(_, at)| at)
}

/// The card that a request comes in by.
fn door(scene: &Scene, client: Option<usize>, owner: Option<usize>) -> Option<usize> {
    let own = owner.and_then(|o| scene.cards[o].network);
    if let Some(at) = client {
        if own == client {
            return owner;
        }
        // Behind the host itself: there is no other way to it.
        if gateway_of(scene, at).is_none() {
            return scene.networks[at].cards.first().copied();
        }
    }
    own.and_then(|at| gateway_of(scene, at)).and(owner)
}

/// The gateway by which the rest of the world comes into a network.
fn gateway_of(scene: &Scene, network: usize) -> Option<usize> {
    let of_network = |g: &&(usize, &Gateway)| g.1.network == network;
    let all = || scene.gateways.iter().enumerate();
    let best = all().filter(|g| of_network(&g)).find(|(_, g)| g.default);
    best.or_else(|| all().find(|g| of_network(&g) && g.1.address.is_some())).map(|(at, _)| at)
}

/// From the client to the card.
fn way_in(scene: &Scene, client: Option<usize>, door: usize) -> Vec<Place> {
    let mut way = vec![Place::Client];
    let own = scene.cards[door].network;
    if let Some(at) = client {
        way.push(Place::Network(at));
        if own != client {
            way.extend(gateway_of(scene, at).map(Place::Gateway));
            way.push(Place::World);
        }
    }
    if own != client {
        way.extend(own.and_then(|at| gateway_of(scene, at)).map(Place::Gateway));
        way.extend(own.map(Place::Network));
    }
    way.push(Place::Card(door));
    way
}

/// From the card that was asked to the client, or as far as it comes.
fn reply(
    host: &Host<'_>,
    scene: &Scene,
    request: &Request,
    asked: Option<usize>,
    outcome: &Outcome<'_>,
    judgement: &Judgement,
) -> Reply {
    let mut way: Vec<Place> = asked.map(Place::Card).into_iter().collect();
    let table = |id: Option<u32>| {
        let at = scene.tables.iter().position(|t| Some(t.id) == id);
        at.map(Place::Table)
    };
    match outcome {
        Outcome::Sent(path) => {
            way.extend(table(path.rule.and_then(|r| r.table())));
            let leaves_by = scene.cards.iter().position(|c| c.link == path.link);
            let kept = path.kind == RouteKind::Local;
            if !kept {
                way_out(scene, request, path, leaves_by, &mut way);
            }
            let verdict = match judgement {
                _ if kept => Verdict::Kept,
                _ if request.door.is_none() => Verdict::Unknown,
                Judgement::Home(_) | Judgement::Local(_) => Verdict::Right,
                Judgement::Accepted(_) => Verdict::Accepted,
                Judgement::Wrong(_) => Verdict::Wrong,
                // Of what nothing is promised about, the request's door is the measure.
                _ if request.door == leaves_by => Verdict::Right,
                _ => Verdict::Wrong,
            };
            Reply {
                way,
                verdict,
                leaves_by: leaves_by.filter(|_| !kept),
                lost: false,
                rule: path.rule.map(|r| host.rule(r)),
                route: path.route.map(|r| host.route(r)),
                why: None,
            }
        }
        Outcome::Refused { error, by } => {
            let (rule, route) = match by {
                By::Rule(rule) => (Some(*rule), None),
                By::Route(rule, route) => (Some(*rule), Some(*route)),
                By::NoRoute | By::Sanity(_) => (None, None),
            };
            way.extend(table(route.map(|r| r.table)));
            let why = match by {
                By::Rule(_) | By::Route(..) | By::NoRoute => None,
                By::Sanity(why) => Some(why.without_route()),
            };
            Reply {
                way,
                verdict: Verdict::Refused(error.name().to_owned()),
                leaves_by: None,
                lost: false,
                rule: rule.map(|r| host.rule(r)),
                route: route.map(|r| host.route(r)),
                why,
            }
        }
    }
}

/// From the table to the client.
fn way_out(
    scene: &Scene,
    request: &Request,
    path: &Path<'_>,
    card: Option<usize>,
    way: &mut Vec<Place>,
) {
    let Some(card) = card else { return };
    if way.last() != Some(&Place::Card(card)) {
        way.push(Place::Card(card));
    }
    let Some(network) = scene.cards[card].network else { return };
    way.push(Place::Network(network));
    let is_of = |g: &Gateway| g.network == network && g.address == path.gateway;
    match scene.gateways.iter().position(is_of) {
        // On the link.
        _ if path.gateway.is_none() && request.client == Some(network) => {}
        None => {}
        Some(gateway) => {
            way.push(Place::Gateway(gateway));
            match request.client {
                None => {}
                Some(at) if at == network => way.push(Place::Network(at)),
                Some(at) => {
                    way.push(Place::World);
                    let Some(gateway) = gateway_of(scene, at) else { return };
                    way.extend([Place::Gateway(gateway), Place::Network(at)]);
                }
            }
        }
    }
    way.push(Place::Client);
}

fn doubt(host: &Host<'_>, doubt: &Doubt<'_>) -> Doubtful {
    match doubt {
        Doubt::Rule(rule) => Doubtful::Rule(host.rule(rule)),
        Doubt::Route(route, why) => Doubtful::Route(host.route(route), *why),
        Doubt::Unknown(why) => Doubtful::Unknown(*why),
    }
}

#[cfg(test)]
mod tests;
