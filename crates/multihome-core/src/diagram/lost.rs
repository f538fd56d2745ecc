//! What gets lost at a card: a request that does not come in, a reply that never gets onto the
//! wire.
//!
//! The way of a request is the network's, but at the card's door the kernel has its say (the reverse
//! path filter); and a way over a card without a carrier ends there.

use super::{Dropped, Place, Scene, State};
use crate::lookup::{By, Flow, Lookup, Outcome, Sanity};
use crate::model::Snapshot;

/// Marks what is lost in a scene with a request.
pub(super) fn mark(scene: &mut Scene, snapshot: &Snapshot) {
    let Some(mut request) = scene.request.take() else { return };
    if let Some(door) = request.door {
        let card = &scene.cards[door];
        let incoming = Flow::incoming(card.link, request.from, request.to);
        if card.state == State::Up {
            request.dropped = dropped(snapshot, &incoming);
        } else {
            request.dropped = Some(Dropped::NotUp);
            request.way.pop_if(|place| *place == Place::Card(door));
        }
    }
    for reply in &mut request.replies {
        let Some(by) = reply.leaves_by.filter(|by| scene.cards[*by].state != State::Up) else {
            continue;
        };
        reply.lost = true;
        if let Some(at) = reply.way.iter().rposition(|place| *place == Place::Card(by)) {
            reply.way.truncate(at + 1);
        }
    }
    scene.request = Some(request);
}

/// Why the kernel does not take a packet in, if that can be told.
fn dropped(snapshot: &Snapshot, incoming: &Flow) -> Option<Dropped> {
    let answer = Lookup::new(snapshot).ask(incoming);
    if !answer.doubts.is_empty() {
        return None;
    }
    match answer.outcomes.as_slice() {
        [Outcome::Refused { by: By::Sanity(Sanity::ReversePath(_)), .. }] => {
            Some(Dropped::ReversePath)
        }
        [Outcome::Refused { error, .. }] => Some(Dropped::Refused(error.name().to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagram::{Reply, Request, Verdict};
    use crate::suppose::carrier_lost;
    use crate::verify::tests::{filtering, host, managed};
    use crate::{Config, Memory, plan};

    /// A request of the world's to the second card, and its reply.
    fn asked(host: &Snapshot) -> (Request, Reply) {
        let plan = plan::make(host, &Config::default(), &Memory::default());
        let (from, to) = ("198.51.100.7".parse().unwrap(), "10.0.1.5".parse().unwrap());
        let request =
            Scene::of_request(host, &Config::default(), &plan, from, to).unwrap().request.unwrap();
        let reply = request.replies[0].clone();
        (request, reply)
    }

    #[test]
    fn what_the_reverse_path_filter_drops_is_dropped_at_the_card() {
        let (request, _) = asked(&filtering(host(), "1"));
        assert_eq!(request.dropped, Some(Dropped::ReversePath));
        assert!(matches!(request.way.last(), Some(Place::Card(_))), "{:?}", request.way);
        let (request, reply) = asked(&filtering(managed(host(), &Config::default()), "1"));
        assert_eq!((request.dropped, reply.lost), (None, false));
    }

    #[test]
    fn nothing_passes_a_card_without_a_carrier() {
        let mut host = managed(host(), &Config::default());
        carrier_lost(&mut host, 3);
        let (request, reply) = asked(&host);
        assert_eq!(request.dropped, Some(Dropped::NotUp));
        assert!(matches!(request.way.last(), Some(Place::Network(_))), "{:?}", request.way);
        assert_eq!((reply.verdict, reply.lost), (Verdict::Right, true));
        assert!(matches!(reply.way.last(), Some(Place::Card(_))), "{:?}", reply.way);
    }
}
