//! Gateways of earlier leases.

use std::net::IpAddr;

/// As many are kept: the last ones.
const MAX: usize = 8;

/// Puts gateways at the end of those that were seen.
pub(crate) fn add(seen: &mut Vec<IpAddr>, gateways: &[IpAddr]) {
    seen.retain(|g| !gateways.contains(g));
    seen.extend(gateways);
    // Those in force now may be among them, and are no former ones.
    let too_many = seen.len().saturating_sub(2 * MAX);
    seen.drain(..too_many);
}

/// Those that are not in force now, the latest last.
pub(crate) fn without(seen: &[IpAddr], now: &[IpAddr]) -> Vec<IpAddr> {
    let mut former: Vec<IpAddr> = seen.iter().copied().filter(|g| !now.contains(g)).collect();
    let too_many = former.len().saturating_sub(MAX);
    former.drain(..too_many);
    former
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept() {
        let of = |n: u8| IpAddr::from([10, 0, 0, n]);
        let mut seen = Vec::new();
        for n in 0..100 {
            add(&mut seen, &[of(n)]);
        }
        let former = without(&seen, &[of(99), of(1)]);
        assert_eq!((former.len(), former.last()), (MAX, Some(&of(98))));
    }
}
