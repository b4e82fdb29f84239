//! The id in an ordered map that is farthest from another, without looking at all of them.

use std::collections::BTreeMap;

use crate::id::{ID_LEN, Id};

/// The key of `map` that is farthest from `own`. Each step looks at both ends of a range and
/// halves it at the first bit in which they differ, so there are about as many as the logarithm
/// of the number of keys, and never more than 160.
pub(crate) fn farthest<T>(map: &BTreeMap<Id, T>, own: &Id) -> Option<Id> {
    let mut low = *map.first_key_value()?.0;
    let mut high = *map.last_key_value()?.0;
    while low != high {
        // All between the two share what these share; above the first bit in which they differ
        // the half in which that bit is unlike `own`'s is the farther one, and is not empty.
        let split = low.common_prefix(&high);
        if bit(own, split) {
            high = *map.range(low..=ones_after(&low, split)).next_back()?.0;
        } else {
            low = *map.range(zeros_after(&high, split)..=high).next()?.0;
        }
    }
    Some(low)
}

/// The bit of `id` at `at`, counted from the most significant.
fn bit(id: &Id, at: usize) -> bool {
    id.as_bytes()[at / 8] & (0x80 >> (at % 8)) != 0
}

/// `id` with every bit after `at` set.
fn ones_after(id: &Id, at: usize) -> Id {
    let mut bytes = *id.as_bytes();
    bytes[at / 8] |= low_bits(at);
    bytes[at / 8 + 1..ID_LEN].fill(0xff);
    Id::from_bytes(bytes)
}

/// `id` with every bit after `at` cleared.
fn zeros_after(id: &Id, at: usize) -> Id {
    let mut bytes = *id.as_bytes();
    bytes[at / 8] &= !low_bits(at);
    bytes[at / 8 + 1..ID_LEN].fill(0);
    Id::from_bytes(bytes)
}

/// The bits after `at` within its byte.
fn low_bits(at: usize) -> u8 {
    (0x80_u8 >> (at % 8)) - 1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn by_looking_at_all(map: &BTreeMap<Id, ()>, own: &Id) -> Option<Id> {
        map.keys().max_by_key(|id| id.distance(own)).copied()
    }

    #[test]
    fn it_is_the_one_that_looking_at_all_finds() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        for round in 0..300 {
            let own = Id::random(&mut rng);
            let mut map = BTreeMap::new();
            for _ in 0..round % 40 {
                map.insert(Id::random(&mut rng), ());
                // Keys crowd near the own id, down to its last bits.
                let prefix = (round * 7 + map.len() * 13) % 160;
                map.insert(own.random_at(prefix, &mut rng), ());
            }
            if round % 5 == 0 {
                map.insert(own, ());
            }
            assert_eq!(farthest(&map, &own), by_looking_at_all(&map, &own));
            let other = Id::random(&mut rng);
            assert_eq!(farthest(&map, &other), by_looking_at_all(&map, &other));
        }
    }
}
