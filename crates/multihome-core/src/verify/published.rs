//! Published ports: replies of connections whose destination was translated, and their requests.
//!
//! Where somebody translates destinations on a host that forwards, a client may be led to a container
//! behind any link that is no uplink. Its reply comes in there with the container's address, and
//! with the mark of the address that the client had asked ([`crate::return_path`]), or none where our
//! table is not in force. It has to leave by the door of that address; and the request, once
//! translated, has to find the container and not a tunnel.

use std::net::IpAddr;

use super::classes::Classes;
use super::right::{Host, State, is_link_local};
use super::{Asker, Fault, Source};
use crate::config::{Config, ReturnPathMode};
use crate::lookup::{Answer, By, Flow, Lookup, Outcome, Sanity};
use crate::model::netfilter::Held;
use crate::model::{Link, Snapshot};
use crate::prefix::{Family, bits_address, is_global};
use crate::return_path::forwards;
use crate::uplink::is_tunnel;

/// Behind so many links it is asked: rules hardly ever tell more apart.
const BEHIND: usize = 4;

/// Asks for each uplink's address and each class of clients.
pub(super) fn ask(
    asker: &mut Asker<'_>,
    lookup: &Lookup<'_>,
    (host, state): (&Host, &State<'_>),
    (snapshot, config): (&Snapshot, &Config),
    (sources, classes): (&[Source], &Classes),
    family: Family,
) {
    let Some(netfilter) = &snapshot.netfilter else { return };
    let is_asked = config.return_path.value == ReturnPathMode::Auto
        && netfilter.nat.contains(&family)
        && forwards(snapshot, family);
    if !is_asked {
        return;
    }
    let mark_of = |address: IpAddr| match &netfilter.table {
        Held::Whole(table) => table.mark_of(address).unwrap_or(0),
        Held::Absent | Held::Altered => 0,
    };
    let containers: Vec<(u32, IpAddr)> = snapshot
        .links()
        .filter(|l| is_behind(l) && !host.uplinks().any(|u| u == l.index))
        .filter_map(|l| Some((l.index, container(snapshot, l.index, family)?)))
        .take(BEHIND)
        .collect();
    for source in sources.iter().filter(|s| host.uplinks().any(|u| s.owners.contains(&u))) {
        let mark = mark_of(source.address);
        for class in classes.classes.iter().filter(|c| !is_link_local(c.address)) {
            let client = class.address;
            let Some(expected) = state.expected(&source.owners, client) else { continue };
            for (link, container) in &containers {
                // What is on the container's own link does not come by an uplink.
                let reply = Flow { mark, ..Flow::incoming(*link, *container, client) };
                let answer = lookup.ask(&reply);
                if answer.paths().any(|p| p.link == *link) {
                    continue;
                }
                asker.report.questions += 1;
                let verdict = expected.judge(state, family, &answer).map_err(published);
                asker.note(expected.owner(), reply, None, &answer.doubts, verdict);
                for request in expected.requests(state, source.address, client, &answer) {
                    let request = Flow { to: *container, ..request };
                    // From the container's own network, or back by where it came in.
                    if request.iif == Some(*link) {
                        continue;
                    }
                    let answer = lookup.ask(&request);
                    asker.report.questions += 1;
                    let verdict = arrives(&answer, *link).map_err(published);
                    asker.note(
                        expected.owner(),
                        request,
                        None,
                        &answer.doubts,
                        verdict.map(|()| None),
                    );
                }
            }
        }
    }
}

fn published(fault: Fault) -> Fault {
    Fault::Published(Box::new(fault))
}

/// Whether a request comes to a container behind a link.
fn arrives(answer: &Answer<'_>, link: u32) -> Result<(), Fault> {
    for outcome in &answer.outcomes {
        return Err(match outcome {
            Outcome::Sent(path) if path.link == link => continue,
            Outcome::Sent(path) => Fault::Forwarded { by: path.link },
            Outcome::Refused { by: By::Sanity(Sanity::ReversePath(back)), .. } => {
                Fault::ReversePath { route: back.cloned().map(Box::new) }
            }
            Outcome::Refused { error, .. } => Fault::NotAccepted { error: *error },
        });
    }
    Ok(())
}

/// Whether containers may be behind a link.
fn is_behind(link: &Link) -> bool {
    link.is_up() && !link.is_loopback() && link.master.is_none() && !is_tunnel(link)
}

/// An address that a container may have: in the link's network, and not the host's own.
fn container(snapshot: &Snapshot, link: u32, family: Family) -> Option<IpAddr> {
    let own = snapshot.addresses_of(link).filter(|a| a.family() == family && is_global(a.local));
    own.map(|a| a.network()).filter(|n| n.len() + 2 <= family.bits()).find_map(|network| {
        let address = |last: u128| bits_address(family, network.bits() | last);
        [2, 3].map(address).into_iter().find(|a| snapshot.owners(*a).next().is_none())
    })
}
