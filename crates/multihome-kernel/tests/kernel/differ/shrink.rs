//! Making a disagreement small: steps are left out of its world as long as it lasts.

use multihome_core::{Flow, Snapshot};

use super::build::World;
use super::world::Step;
use super::{Disagreement, ask, compare};

/// The steps that are needed for a flow to be answered differently, what they make, and the
/// answers; none when it does not happen again.
pub fn shrink(steps: &[Step], flow: &Flow) -> Option<(Vec<Step>, Snapshot, Disagreement)> {
    let mut small = steps.to_vec();
    let mut last = attempt(&small, flow)?;
    // Larger pieces first.
    let mut piece = small.len().div_ceil(2);
    loop {
        let mut at = 0;
        while at < small.len() {
            let mut fewer = small.clone();
            fewer.drain(at..(at + piece).min(small.len()));
            match attempt(&fewer, flow) {
                Some(found) => {
                    small = fewer;
                    last = found;
                }
                None => at += piece,
            }
        }
        if piece == 1 {
            break;
        }
        piece = piece.div_ceil(2);
    }
    let (snapshot, found) = last;
    Some((small, snapshot, found))
}

fn attempt(steps: &[Step], flow: &Flow) -> Option<(Snapshot, Disagreement)> {
    let mut world = World::build(steps);
    let flows = std::slice::from_ref(flow);
    let said = ask(&mut world, flows);
    let found = compare(&world.snapshot, flows, said, None).pop()?;
    Some((world.snapshot, found))
}
