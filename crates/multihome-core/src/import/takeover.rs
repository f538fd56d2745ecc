//! How what somebody keeps by hand is taken over without a moment in which nothing is there.

use std::collections::BTreeMap;

use crate::diff::{Change, diff};
use crate::model::route::RouteKey;
use crate::model::{Route, Snapshot};
use crate::plan::Plan;

/// The steps by which a host's own rules and routes are taken over: ours are there before theirs go,
/// and a route of theirs that ours has the place of is replaced, so no packet sees the table without
/// it. `bare` is the host without what is taken over, `plan` was made for it.
///
/// What is taken over is what is declared and really there, whoever's protocol it bears, but for
/// what is left.
#[must_use]
pub fn takeover(snapshot: &Snapshot, bare: &Snapshot, plan: &Plan) -> Vec<Change> {
    let is_taken = |r: &&Route| !r.is_ours() && !bare.routes_at(&r.key()).contains(r);
    let mut theirs: BTreeMap<RouteKey, Vec<Route>> = BTreeMap::new();
    for route in snapshot.routes().filter(is_taken) {
        theirs.entry(route.key()).or_default().push(route.clone());
    }
    let mut changes = Vec::new();
    for change in diff(&with_ours(snapshot, bare), plan) {
        let Change::AddRoute(to) = &change else {
            changes.push(change);
            continue;
        };
        match theirs.get_mut(&to.key()).and_then(Vec::pop) {
            Some(from) if from.kind == to.kind => {
                changes.push(Change::ReplaceRoute { from, to: to.clone() });
            }
            // The kernel matches the kind when it replaces: these are two objects.
            Some(from) => changes.extend([Change::DelRoute(from), change]),
            None => changes.push(change),
        }
    }
    let gone = snapshot
        .rules()
        .filter(|r| !r.is_ours() && !bare.rules_at(r.family, r.priority).contains(r));
    changes.extend(gone.cloned().map(Change::DelRule));
    // Routes with a gateway go before the connected ones that they lean on.
    let mut left: Vec<Route> = theirs.into_values().flatten().collect();
    left.sort_by_cached_key(|r| (r.hops.iter().all(|h| h.gateway.is_none()), r.key()));
    changes.extend(left.into_iter().map(Change::DelRoute));
    changes
}

/// The bare host with what is ours on it.
fn with_ours(snapshot: &Snapshot, bare: &Snapshot) -> Snapshot {
    let mut with = bare.clone();
    snapshot.routes().filter(|r| r.is_ours()).for_each(|r| with.insert_route(r.clone()));
    snapshot.rules().filter(|r| r.is_ours()).for_each(|r| with.insert_rule(r.clone()));
    for link in snapshot.links() {
        with.insert_link(link.clone());
    }
    with
}
