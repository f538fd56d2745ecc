//! The fewest prefixes that hold one uplink's addresses and nobody else's.
//!
//! Every packet without a cached route walks the rules (`fib_rules_lookup`), so the
//! number of rules is a cost: 10,000 rules make a look-up 150 times as expensive. A
//! prefix rule is as good as an address rule when nothing else that could be a source
//! lies inside it. So: the binary trie over the addresses is walked from the top, and
//! a subtree without anything foreign becomes one prefix, drawn as tight as its
//! addresses allow. One address gives exactly its host prefix.

use crate::prefix::{Family, Prefix, mask};

/// What no rule of ours may hold, whoever owns it: the unspecified address is the source of a
/// socket that has none yet, and the others never leave a host as they are.
#[must_use]
pub fn reserved(family: Family) -> [Prefix; 3] {
    match family {
        Family::V4 => [
            Prefix::from_bits(family, 0, 8),
            Prefix::from_bits(family, 127 << 24, 8),
            Prefix::from_bits(family, 0b111 << 29, 3),
        ],
        Family::V6 => [
            Prefix::from_bits(family, 0, 8),
            Prefix::from_bits(family, 0xfe80 << 112, 10),
            Prefix::from_bits(family, 0xff << 120, 8),
        ],
    }
}

/// The fewest prefixes that hold all of `own` and overlap none of `foreign`.
///
/// A foreign prefix that holds one of `own` (a subnet shared by two cards) cannot be kept
/// out and is left to the caller: list its addresses instead. All prefixes are of one family.
#[must_use]
pub fn cover(family: Family, mut own: Vec<Prefix>, mut foreign: Vec<Prefix>) -> Vec<Prefix> {
    own.sort_unstable();
    own.dedup();
    // An own prefix inside another adds nothing.
    own.dedup_by(|inner, outer| outer.covers(inner));
    foreign.extend(reserved(family));
    foreign.retain(|f| {
        // Sorted by address: what lies in `f` starts at the first own prefix not below it.
        let at = own.partition_point(|o| o.bits() < f.bits());
        !(own.get(at).is_some_and(|o| f.covers(o)))
    });
    foreign.sort_unstable();
    // Of the nested that are left only the outermost matters, and without nesting the order by
    // address is also the order by last address, which the binary search below needs.
    foreign.dedup_by(|inner, outer| outer.covers(inner));
    let mut out = Vec::new();
    descend(family, &own, &foreign, &mut out);
    out
}

fn descend(family: Family, own: &[Prefix], foreign: &[Prefix], out: &mut Vec<Prefix>) {
    let (Some(first), Some(last)) = (own.first(), own.last()) else { return };
    if own.len() == 1 {
        out.push(*first);
        return;
    }
    let node = first.common(last);
    let last_bit = node.bits() | !mask(family, node.len()) & mask(family, family.bits());
    let from = foreign.partition_point(|f| upper(family, f) < node.bits());
    let to = foreign.partition_point(|f| f.bits() <= last_bit);
    let foreign = &foreign[from.min(to)..to];
    if foreign.is_empty() {
        out.push(node);
        return;
    }
    // `own` has two or more disjoint prefixes inside `node`, so the next bit parts them.
    let half = node.bits() | 1 << (family.bits() - node.len() - 1);
    let (low, high) = own.split_at(own.partition_point(|o| o.bits() < half));
    descend(family, low, foreign, out);
    descend(family, high, foreign, out);
}

/// The last address of a prefix.
fn upper(family: Family, p: &Prefix) -> u128 {
    p.bits() | (!mask(family, p.len()) & mask(family, family.bits()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(words: &str) -> Vec<Prefix> {
        words.split_whitespace().map(|w| w.parse().unwrap()).collect()
    }

    fn shown(own: &str, foreign: &str) -> String {
        let own = list(own);
        let family = own.first().map_or(Family::V4, Prefix::family);
        cover(family, own, list(foreign))
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn one_address_gives_its_host_prefix() {
        assert_eq!(shown("10.0.0.204", ""), "10.0.0.204");
        assert_eq!(shown("10.0.0.204", "10.0.0.129"), "10.0.0.204");
    }

    #[test]
    fn neighbours_join_up_to_the_nearest_foreign_address() {
        assert_eq!(shown("10.0.0.4 10.0.0.5 10.0.0.7", ""), "10.0.0.4/30");
        assert_eq!(shown("10.0.0.4 10.0.0.5 10.0.0.7", "10.0.0.6"), "10.0.0.4/31 10.0.0.7");
        assert_eq!(shown("10.0.0.4 10.0.1.4", "172.17.0.0/16"), "10.0.0.0/23");
    }

    #[test]
    fn the_unspecified_address_is_never_held() {
        // 0.0.0.0/1 would be the common prefix: it would catch sockets without a source.
        assert_eq!(shown("10.0.0.4 100.64.0.1", ""), "10.0.0.4 100.64.0.1");
        assert_eq!(shown("10.0.0.4 200.64.0.1", ""), "10.0.0.4 200.64.0.1");
    }

    #[test]
    fn a_subnet_shared_with_another_card_only_keeps_its_addresses_out() {
        assert_eq!(shown("10.0.0.4 10.0.0.5", "10.0.0.0/24 10.0.0.6"), "10.0.0.4/31");
        assert_eq!(shown("10.0.0.4 10.0.0.7", "10.0.0.0/24 10.0.0.6"), "10.0.0.4 10.0.0.7");
    }

    #[test]
    fn prefixes_of_ipv6_join_too() {
        assert_eq!(shown("2001:db8::/64 2001:db8:0:1::/64", "fd00::1"), "2001:db8::/63");
    }

    fn addresses() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(0u8..=255, 1..24)
    }

    proptest! {
        #[test]
        fn holds_all_own_and_no_other_address(own in addresses(), other in addresses()) {
            let host = |n: &u8| Prefix::from_bits(Family::V4, 0x0a00_0000 | u128::from(*n), 32);
            let own: Vec<_> = own.iter().filter(|n| !other.contains(n)).map(host).collect();
            let other: Vec<_> = other.iter().map(host).collect();
            let result = cover(Family::V4, own.clone(), other.clone());
            for o in &own {
                prop_assert_eq!(result.iter().filter(|p| p.covers(o)).count(), 1);
            }
            for f in &other {
                prop_assert!(!result.iter().any(|p| p.covers(f)));
            }
            // Fewest: two neighbours in the result have something foreign in between.
            for pair in result.windows(2) {
                let joined = pair[0].common(&pair[1]);
                prop_assert!(
                    other.iter().any(|f| joined.covers(f)),
                    "{} and {} could be {}", pair[0], pair[1], joined
                );
            }
        }
    }
}
