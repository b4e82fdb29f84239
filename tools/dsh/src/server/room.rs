//! How many sessions there may be at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use dhtnet::DeviceId;

/// Sessions of all peers together. Each is a process with a terminal or three pipes, and holds at
/// most about half a megabyte of what is on its way.
pub(crate) const MAX_SESSIONS: usize = 256;

/// Sessions of one peer: more than a person opens, and what leaves room for others.
pub(crate) const MAX_SESSIONS_OF_PEER: usize = 64;

/// Who is in.
#[derive(Clone, Default)]
pub(crate) struct Room(Arc<Mutex<HashMap<DeviceId, usize>>>);

/// A place in the room; dropping it gives it back.
pub(crate) struct Permit {
    room: Room,
    peer: DeviceId,
}

impl Room {
    /// A place, if there is one for this peer.
    pub(crate) fn enter(&self, peer: DeviceId) -> Option<Permit> {
        let mut inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = inside.values().sum();
        let own = inside.get(&peer).copied().unwrap_or(0);
        if all >= MAX_SESSIONS || own >= MAX_SESSIONS_OF_PEER {
            return None;
        }
        inside.insert(peer, own + 1);
        drop(inside);
        Some(Permit {
            room: self.clone(),
            peer,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut inside = self.room.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = inside.get_mut(&self.peer) {
            *own -= 1;
            if *own == 0 {
                inside.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use dhtnet::DeviceKey;

    use super::*;

    fn peer(seed: u8) -> DeviceId {
        DeviceKey::from_seed(&[seed; 32]).id()
    }

    #[test]
    fn one_peer_leaves_room_for_others_and_a_place_comes_back() {
        let room = Room::default();
        let mut of_one: Vec<_> = (0..MAX_SESSIONS_OF_PEER)
            .map(|_| room.enter(peer(1)))
            .collect();
        assert!(of_one.iter().all(Option::is_some));
        assert!(room.enter(peer(1)).is_none(), "one past the bound");
        assert!(room.enter(peer(2)).is_some());
        of_one.pop();
        assert!(room.enter(peer(1)).is_some());
    }

    #[test]
    fn all_peers_together_are_bounded_and_none_is_kept_in_memory() {
        let room = Room::default();
        let all: Vec<_> = (0..MAX_SESSIONS)
            .map(|n| room.enter(peer((n / MAX_SESSIONS_OF_PEER) as u8 + 1)))
            .collect();
        assert!(all.iter().all(Option::is_some));
        assert!(room.enter(peer(99)).is_none(), "one past the bound");
        drop(all);
        assert!(
            room.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_empty()
        );
    }
}
