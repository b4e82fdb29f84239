//! The key of a map that is farthest from an id, without looking at all.

use std::collections::BTreeMap;

use crate::id::{ID_BITS, ID_LEN, Id};

/// Walks down the bits, each time into the half that is farther from `own`, until one key is
/// left: about as many steps as the number of keys has bits.
pub(super) fn from<T>(keys: &BTreeMap<Id, T>, own: &Id) -> Option<Id> {
    let (mut low, mut high) = ([0; ID_LEN], [0xff; ID_LEN]);
    let ends = |low: [u8; ID_LEN], high: [u8; ID_LEN]| {
        let mut range = keys.range(Id::from_bytes(low)..=Id::from_bytes(high));
        let first = *range.next()?.0;
        Some((first, range.next_back().map_or(first, |(last, _)| *last)))
    };
    let (mut first, mut last) = ends(low, high)?;
    for bit in 0..ID_BITS {
        if first == last {
            break;
        }
        let (at, mask) = (bit / 8, 0x80 >> (bit % 8));
        let wants_one = own.as_bytes()[at] & mask == 0;
        let (mut far_low, mut far_high) = (low, high);
        set(
            &mut far_low[at],
            &mut far_high[at],
            mask,
            u8::from(wants_one),
        );
        if let Some(found) = ends(far_low, far_high) {
            (low, high) = (far_low, far_high);
            (first, last) = found;
        } else {
            set(&mut low[at], &mut high[at], mask, u8::from(!wants_one));
        }
    }
    Some(first)
}

/// Fixes one bit of both ends.
fn set(low: &mut u8, high: &mut u8, mask: u8, bit: u8) {
    if bit == 1 {
        *low |= mask;
    } else {
        *high &= !mask;
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn the_farthest_key_is_the_one_with_the_greatest_distance() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for count in [0, 1, 2, 3, 100] {
            let keys: BTreeMap<Id, ()> = (0..count).map(|_| (Id::random(&mut rng), ())).collect();
            for _ in 0..20 {
                let own = Id::random(&mut rng);
                let expected = keys.keys().max_by_key(|key| own.distance(key));
                assert_eq!(from(&keys, &own).as_ref(), expected);
            }
        }
        let near: BTreeMap<Id, ()> = [Id::from_bytes([0; 20]), Id::from_bytes([1; 20])]
            .map(|id| (id, ()))
            .into();
        assert_eq!(
            from(&near, &Id::from_bytes([1; 20])),
            Some(Id::from_bytes([0; 20]))
        );
    }
}
