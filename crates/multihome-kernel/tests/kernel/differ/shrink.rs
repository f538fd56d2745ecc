//! Making a disagreement small: steps are left out of its world as long as it lasts.

use multihome_core::Snapshot;

use super::build::World;
use super::world::Step;
use super::{Disagreement, ask, compare};

/// How long it may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// The steps that are needed for a flow to be answered differently, what they make, and the
/// answers; none when it does not happen again.
pub fn shrink(
    steps: &[Step],
    as_found: &Disagreement,
) -> Option<(Vec<Step>, Snapshot, Disagreement)> {
    let mut small = steps.to_vec();
    let mut last = attempt(&small, as_found)?;
    let start = std::time::Instant::now();
    // Larger pieces first.
    let mut piece = small.len().div_ceil(2);
    loop {
        let mut at = 0;
        while at < small.len() && start.elapsed() < PATIENCE {
            let mut fewer = small.clone();
            fewer.drain(at..(at + piece).min(small.len()));
            match attempt(&fewer, as_found) {
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

/// The disagreement again, if it is: the kernel's answer may not be another for want of a link.
fn attempt(steps: &[Step], as_found: &Disagreement) -> Option<(Snapshot, Disagreement)> {
    let mut world = World::build(steps);
    let flows = std::slice::from_ref(&as_found.flow);
    let said = ask(&mut world, flows);
    let found = compare(&world.snapshot, flows, said, None).pop()?;
    if found.told != as_found.told || found.why != as_found.why {
        return None;
    }
    Some((world.snapshot, found))
}
