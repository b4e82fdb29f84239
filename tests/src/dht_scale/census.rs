//! All nodes of a kind, in order of their ids: who is nearest to a key is known for certain.

use dhtnet_dht_core::{Contact, Id};

/// Contacts sorted by id.
#[derive(Debug, Default)]
pub(super) struct Census(Vec<Contact>);

impl Census {
    pub(super) fn of(contacts: impl Iterator<Item = Contact>) -> Self {
        let mut contacts: Vec<Contact> = contacts.collect();
        contacts.sort_unstable();
        Self(contacts)
    }

    pub(super) fn add(&mut self, contact: Contact) {
        let at = self.0.partition_point(|other| *other < contact);
        self.0.insert(at, contact);
    }

    pub(super) fn contacts(&self) -> &[Contact] {
        &self.0
    }

    pub(super) fn holds(&self, contact: &Contact) -> bool {
        self.0.binary_search(contact).is_ok()
    }

    /// The `count` contacts nearest to `target`, nearest first.
    pub(super) fn nearest(&self, target: &Id, count: usize) -> Vec<Contact> {
        let mut nearest = Vec::with_capacity(count);
        descend(&self.0, target, 0, count, &mut nearest);
        nearest
    }
}

/// Appends the contacts of `branch`, which share the first `bit` bits of their ids, nearest
/// first, until there are `count`.
fn descend(branch: &[Contact], target: &Id, bit: usize, count: usize, nearest: &mut Vec<Contact>) {
    if branch.is_empty() || nearest.len() >= count {
        return;
    }
    if branch.len() == 1 || bit == dhtnet_dht_core::id::ID_BITS {
        let room = count - nearest.len();
        nearest.extend(branch.iter().take(room));
        return;
    }
    let ones = branch.partition_point(|contact| !has_bit(&contact.id, bit));
    let (zeros, ones) = branch.split_at(ones);
    let (near, far) = match has_bit(target, bit) {
        true => (ones, zeros),
        false => (zeros, ones),
    };
    descend(near, target, bit + 1, count, nearest);
    descend(far, target, bit + 1, count, nearest);
}

fn has_bit(id: &Id, bit: usize) -> bool {
    id.as_bytes()[bit / 8] & (0x80 >> (bit % 8)) != 0
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use dhtnet_simnet::Rng;

    use super::*;

    fn random_id(rng: &mut Rng) -> Id {
        Id::hash_of(&rng.next_u64().to_be_bytes())
    }

    #[test]
    fn the_nearest_are_those_that_sorting_by_distance_finds() {
        let mut rng = Rng::new(5);
        let address = SocketAddr::from(([192, 0, 2, 1], 1));
        let contacts: Vec<Contact> = (0..1_000)
            .map(|_| Contact::new(random_id(&mut rng), address))
            .collect();
        let mut census = Census::of(contacts[1..].iter().copied());
        census.add(contacts[0]);
        for _ in 0..200 {
            let target = random_id(&mut rng);
            let mut sorted = contacts.clone();
            sorted.sort_by_key(|contact| contact.id.distance(&target));
            assert_eq!(census.nearest(&target, 8), sorted[..8]);
        }
        assert_eq!(census.nearest(&contacts[0].id, 2_000).len(), 1_000);
        assert!(Census::default().nearest(&contacts[0].id, 8).is_empty());
    }
}
