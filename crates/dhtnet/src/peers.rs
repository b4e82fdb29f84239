//! Which connection serves a peer, when there are several.
//!
//! Two nodes that dial each other at the same moment end up with two connections. Both sides see
//! both and must drop the same one without a word about it: the one whose initiator has the
//! larger id is *retired*, it takes no new channels and ends when its last channel does. A
//! connection that comes long after the other is no accident of timing: the peer has lost the
//! older one, and the newer replaces it. The same key may be in use by several processes (two `dnc` of one user); each process tells a random
//! instance number in the handshake, and only connections of one instance are duplicates.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dhtnet_identity::DeviceId;

use crate::core::ConnectionKey;
use crate::hello::Instance;

/// Connections established within this time of each other were dialled at the same moment: the
/// longest handshake that still succeeds is shorter.
const SIMULTANEOUS: Duration = Duration::from_secs(10);

/// Established connections that one peer may hold, counting all processes that use its key. The
/// oldest is retired when there is one more.
pub(crate) const MAX_CONNECTIONS_OF_ONE_PEER: usize = 64;

/// An established connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Live {
    key: ConnectionKey,
    since: Instant,
    instance: Instance,
    initiated: bool,
    retired: bool,
}

/// All established connections, by peer.
#[derive(Debug)]
pub(crate) struct PeerTable {
    own: DeviceId,
    peers: BTreeMap<DeviceId, Vec<Live>>,
}

impl PeerTable {
    pub(crate) fn new(own: DeviceId) -> Self {
        Self {
            own,
            peers: BTreeMap::new(),
        }
    }

    /// Adds a connection and names the ones to retire: every duplicate but one.
    pub(crate) fn on_established(
        &mut self,
        now: Instant,
        peer: DeviceId,
        key: ConnectionKey,
        instance: Instance,
        initiated: bool,
    ) -> Vec<ConnectionKey> {
        let we_win = !self.prefers_theirs(&peer);
        let live = self.peers.entry(peer).or_default();
        live.push(Live {
            key,
            since: now,
            instance,
            initiated,
            retired: false,
        });
        let same = |l: &&mut Live| l.instance == instance && !l.retired;
        // The winner: begun by the smaller id; among those the newest.
        let winner = live
            .iter()
            .filter(|l| l.instance == instance && !l.retired)
            .filter(|l| now.saturating_duration_since(l.since) <= SIMULTANEOUS)
            .max_by_key(|l| (l.initiated == we_win, l.key.generation))
            .map(|l| l.key);
        let mut retire = Vec::new();
        for duplicate in live.iter_mut().filter(same) {
            if Some(duplicate.key) != winner {
                duplicate.retired = true;
                retire.push(duplicate.key);
            }
        }
        let in_use = live.iter().filter(|l| !l.retired).count();
        if in_use > MAX_CONNECTIONS_OF_ONE_PEER
            && let Some(oldest) = live.iter_mut().find(|l| !l.retired)
        {
            oldest.retired = true;
            retire.push(oldest.key);
        }
        retire
    }

    /// All connections with a peer.
    pub(crate) fn keys(&self, peer: &DeviceId) -> impl Iterator<Item = ConnectionKey> + '_ {
        let live = self.peers.get(peer).into_iter().flatten();
        live.map(|live| live.key)
    }

    /// Whether a connection that the peer begins wins against one that we begin.
    pub(crate) fn prefers_theirs(&self, peer: &DeviceId) -> bool {
        *peer < self.own
    }

    /// Forgets a connection that is over.
    pub(crate) fn on_ended(&mut self, peer: &DeviceId, key: ConnectionKey) {
        if let Some(live) = self.peers.get_mut(peer) {
            live.retain(|l| l.key != key);
            if live.is_empty() {
                self.peers.remove(peer);
            }
        }
    }

    /// Keeps a connection for its channels only: new ones go elsewhere.
    pub(crate) fn retire(&mut self, peer: &DeviceId, key: ConnectionKey) {
        for live in self.peers.get_mut(peer).into_iter().flatten() {
            live.retired |= live.key == key;
        }
    }

    /// Connections to programs of `peer` other than the one with this instance number.
    pub(crate) fn of_other_programs(
        &self,
        peer: &DeviceId,
        instance: &Instance,
    ) -> Vec<ConnectionKey> {
        let all = self.peers.get(peer).into_iter().flatten();
        let others = all.filter(|live| live.instance != *instance);
        others.map(|live| live.key).collect()
    }

    /// The connection for new channels to `peer`: the newest that is not retired.
    pub(crate) fn primary(&self, peer: &DeviceId) -> Option<ConnectionKey> {
        let live = self.peers.get(peer)?;
        live.iter().rev().find(|l| !l.retired).map(|l| l.key)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use dhtnet_identity::DeviceKey;

    use super::*;

    fn key(generation: u64) -> ConnectionKey {
        ConnectionKey {
            slot: generation as usize,
            generation,
        }
    }

    fn two_ids() -> (DeviceId, DeviceId) {
        let a = DeviceKey::from_seed(&[1; 32]).id();
        let b = DeviceKey::from_seed(&[2; 32]).id();
        if a < b { (a, b) } else { (b, a) }
    }

    #[test]
    fn both_sides_retire_the_same_one_of_two_simultaneous_connections_in_any_order() {
        let (small, large) = two_ids();
        for order in [[1u64, 2], [2, 1]] {
            // Connection 1 was begun by the smaller id, connection 2 by the larger.
            let now = Instant::now();
            let mut at_small = PeerTable::new(small);
            let mut at_large = PeerTable::new(large);
            let mut retired = (Vec::new(), Vec::new());
            for n in order {
                retired
                    .0
                    .extend(at_small.on_established(now, large, key(n), [7; 16], n == 1));
                retired
                    .1
                    .extend(at_large.on_established(now, small, key(n), [8; 16], n == 2));
            }
            assert_eq!(retired, (vec![key(2)], vec![key(2)]));
            assert_eq!(at_small.primary(&large), Some(key(1)));
            assert_eq!(at_large.primary(&small), Some(key(1)));
        }
    }

    /// The table of the smaller id with a connection, which it began, to the other.
    fn with_one(now: Instant) -> (PeerTable, DeviceId) {
        let (small, large) = two_ids();
        let mut table = PeerTable::new(small);
        let retired = table.on_established(now, large, key(1), [7; 16], true);
        assert!(retired.is_empty());
        (table, large)
    }

    #[test]
    fn a_newer_connection_of_the_same_side_replaces_the_older() {
        let now = Instant::now();
        let (mut table, large) = with_one(now);
        assert_eq!(
            table.on_established(now, large, key(2), [7; 16], true),
            vec![key(1)]
        );
        assert_eq!(table.primary(&large), Some(key(2)));
    }

    #[test]
    fn a_late_connection_replaces_an_old_one_whoever_began_them() {
        let now = Instant::now();
        let (mut table, large) = with_one(now);
        let later = now + SIMULTANEOUS * 2;
        assert_eq!(
            table.on_established(later, large, key(2), [7; 16], false),
            vec![key(1)]
        );
    }

    #[test]
    fn one_peer_cannot_hold_more_than_its_share() {
        let (small, large) = two_ids();
        let now = Instant::now();
        let mut table = PeerTable::new(small);
        for n in 0..MAX_CONNECTIONS_OF_ONE_PEER as u64 {
            let instance = u128::from(n).to_be_bytes();
            assert!(
                table
                    .on_established(now, large, key(n), instance, false)
                    .is_empty()
            );
        }
        assert_eq!(
            table.on_established(now, large, key(999), [255; 16], false),
            vec![key(0)]
        );
    }

    #[test]
    fn two_processes_with_one_key_keep_a_connection_each() {
        let (small, large) = two_ids();
        let now = Instant::now();
        let mut table = PeerTable::new(small);
        assert!(
            table
                .on_established(now, large, key(1), [7; 16], false)
                .is_empty()
        );
        assert!(
            table
                .on_established(now, large, key(2), [9; 16], false)
                .is_empty()
        );
        table.on_ended(&large, key(2));
        assert_eq!(table.primary(&large), Some(key(1)));
        table.retire(&large, key(1));
        assert_eq!(table.primary(&large), None);
        table.on_ended(&large, key(1));
        assert!(table.peers.is_empty());
    }
}
