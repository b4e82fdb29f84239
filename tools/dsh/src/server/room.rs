//! How many sessions, and clients of named sessions, there may be at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use dhtnet::DeviceId;

/// Sessions of all peers together. Each is a process with a terminal or three pipes, and holds at
/// most about half a megabyte of what is on its way.
pub(crate) const MAX_SESSIONS: usize = 256;

/// Sessions of one peer: more than a person opens, and what leaves room for others.
pub(crate) const MAX_SESSIONS_OF_PEER: usize = 64;

/// Clients that are attached to named sessions, of all peers together: more than there are sessions.
/// Each may wait for the drawing of a screen with all the lines above it, 8 MiB.
pub(crate) const MAX_ATTACHED: usize = 96;

/// Those of one peer: its sessions, and as many that look.
pub(crate) const MAX_ATTACHED_OF_PEER: usize = 32;

/// Who is in.
#[derive(Clone)]
pub(crate) struct Room {
    inside: Arc<Mutex<HashMap<DeviceId, usize>>>,
    most: usize,
    most_of_peer: usize,
}

/// A place in the room; dropping it gives it back.
pub(crate) struct Permit {
    room: Room,
    peer: DeviceId,
}

impl Room {
    /// For sessions.
    pub(crate) fn of_sessions() -> Self {
        Self::new(MAX_SESSIONS, MAX_SESSIONS_OF_PEER)
    }

    /// For the clients of named sessions.
    pub(crate) fn of_attached() -> Self {
        Self::new(MAX_ATTACHED, MAX_ATTACHED_OF_PEER)
    }

    fn new(most: usize, most_of_peer: usize) -> Self {
        Self {
            inside: Arc::default(),
            most,
            most_of_peer,
        }
    }

    /// A place, if there is one for this peer.
    pub(crate) fn enter(&self, peer: DeviceId) -> Option<Permit> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = inside.values().sum();
        let own = inside.get(&peer).copied().unwrap_or(0);
        if all >= self.most || own >= self.most_of_peer {
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
        let inside = &self.room.inside;
        let mut inside = inside.lock().unwrap_or_else(PoisonError::into_inner);
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
        let room = Room::of_sessions();
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
    fn clients_of_named_sessions_have_a_room_of_their_own() {
        let room = Room::of_attached();
        let of_one: Vec<_> = (0..MAX_ATTACHED_OF_PEER)
            .map(|_| room.enter(peer(1)))
            .collect();
        assert!(of_one.iter().all(Option::is_some));
        assert!(room.enter(peer(1)).is_none(), "one past the bound");
        assert!(room.enter(peer(2)).is_some());
    }

    #[test]
    fn all_peers_together_are_bounded_and_none_is_kept_in_memory() {
        let room = Room::of_sessions();
        let all: Vec<_> = (0..MAX_SESSIONS)
            .map(|n| room.enter(peer((n / MAX_SESSIONS_OF_PEER) as u8 + 1)))
            .collect();
        assert!(all.iter().all(Option::is_some));
        assert!(room.enter(peer(99)).is_none(), "one past the bound");
        drop(all);
        assert!(
            room.inside
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_empty()
        );
    }
}
