//! One packet, judged: what `explain` says of a flow, by the same measure as the whole.

use super::right::{Host, Main, Place, State};
use super::{Accepted, Fault, Reason};
use crate::config::Config;
use crate::lookup::{Answer, Flow};
use crate::model::{RouteKind, Snapshot};
use crate::plan::Plan;

/// Whether a packet goes where it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It goes home by the link that owns its source.
    Home(u32),
    /// It is for the host, and kept.
    Kept,
    /// It is for a local network, and goes there by this link.
    Local(u32),
    /// It is refused, and there is no way that it could go.
    NoWay,
    /// It is refused, since main refuses that very network.
    MainRefuses,
    /// It goes another way because the configuration says so.
    Accepted(Accepted),
    /// It does not.
    Wrong(Fault),
    /// It cannot be told.
    Unproven(Reason),
    /// Nothing is promised about it.
    NoPromise(NoPromise),
}

/// Why nothing is promised about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPromise {
    /// It has no source yet: the way decides about the source, not the source about the way.
    NoSource,
    /// Its source is no address of the host.
    NotOurs,
    /// The same, and the destination is one, of this link: it is a request, and was taken for an
    /// answer.
    Request(u32),
    /// Its source belongs to this link, which is no uplink, and the destination is beyond that.
    NoUplink(u32),
    /// Its socket is bound to this link, which does not own the source.
    Bound(u32),
    /// It comes in by this link, by which no request for the address need come.
    OtherDoor(u32),
    /// It is forwarded.
    Forwarded,
}

/// Judges what the kernel does with a flow.
#[must_use]
pub fn judge(
    snapshot: &Snapshot,
    config: &Config,
    plan: &Plan,
    flow: &Flow,
    answer: &Answer<'_>,
) -> Judgement {
    let host = Host::new(config, plan);
    let state = State::new(&host, snapshot);
    let verdict = match flow.iif {
        None => judge_answer(snapshot, &state, flow, answer),
        Some(iif) => judge_request(snapshot, &state, iif, flow, answer),
    };
    match (verdict, answer.doubts.first()) {
        (wrong @ (Judgement::Wrong(_) | Judgement::NoPromise(_)), _) => wrong,
        (_, Some(doubt)) => Judgement::Unproven(Reason::of(doubt)),
        (verdict, None) => verdict,
    }
}

fn judge_answer(
    snapshot: &Snapshot,
    state: &State<'_>,
    flow: &Flow,
    answer: &Answer<'_>,
) -> Judgement {
    let Some(from) = flow.from.filter(|a| !a.is_unspecified()) else {
        return Judgement::NoPromise(NoPromise::NoSource);
    };
    let owners: Vec<u32> = snapshot.owners(from).collect();
    let Some(&first) = owners.first() else {
        let asked = snapshot.owners(flow.to).next();
        return Judgement::NoPromise(asked.map_or(NoPromise::NotOurs, NoPromise::Request));
    };
    // A bound socket answers for its link alone.
    let owners = match flow.oif {
        None => owners,
        Some(oif) if owners.contains(&oif) => vec![oif],
        Some(oif) => return Judgement::NoPromise(NoPromise::Bound(oif)),
    };
    let Some(expected) = state.expected(&owners, flow.to) else {
        // Nobody's client, but the host itself: ::1, 127.0.0.1, a link-local address of its own.
        return if is_kept(answer) {
            Judgement::Kept
        } else {
            Judgement::NoPromise(NoPromise::NoUplink(first))
        };
    };
    match expected.judge(state, flow.family(), answer) {
        Err(fault) => Judgement::Wrong(fault),
        Ok(Some(accepted)) => Judgement::Accepted(accepted),
        Ok(None) => match (&expected.place, answer.paths().next()) {
            (Place::Behind { main: Main::Refuses, .. }, None) => Judgement::MainRefuses,
            (_, None) => Judgement::NoWay,
            (Place::Here, Some(_)) => Judgement::Kept,
            (Place::Behind { .. }, Some(path)) if owners.contains(&path.link) => {
                Judgement::Home(path.link)
            }
            (Place::Behind { .. }, Some(path)) => Judgement::Local(path.link),
        },
    }
}

fn judge_request(
    snapshot: &Snapshot,
    state: &State<'_>,
    iif: u32,
    flow: &Flow,
    answer: &Answer<'_>,
) -> Judgement {
    let owners: Vec<u32> = snapshot.owners(flow.to).collect();
    if owners.is_empty() {
        return Judgement::NoPromise(NoPromise::Forwarded);
    }
    if is_kept(answer) {
        return Judgement::Kept;
    }
    let client = flow.from.unwrap_or(flow.to);
    match state.expected(&owners, client) {
        Some(expected)
            if matches!(expected.place, Place::Behind { .. }) && owners.contains(&iif) =>
        {
            match expected.judge_request(state, flow.family(), answer) {
                Err(fault) => Judgement::Wrong(fault),
                Ok(Some(accepted)) => Judgement::Accepted(accepted),
                Ok(None) => Judgement::Kept,
            }
        }
        _ => Judgement::NoPromise(NoPromise::OtherDoor(iif)),
    }
}

fn is_kept(answer: &Answer<'_>) -> bool {
    answer.paths().next().is_some() && answer.paths().all(|p| p.kind == RouteKind::Local)
}
