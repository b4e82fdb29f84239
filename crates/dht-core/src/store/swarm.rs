//! The peers of one info hash in one family, 12 bytes each for IPv4 and 24 for IPv6.

use std::net::SocketAddr;

use super::clock::Clock;
use crate::krpc::read_compact_address;

/// Most peers of one info hash in one family. libtorrent keeps as many, and one datagram does not
/// hold a third of them.
pub(super) const MAX_PEERS_PER_HASH: usize = 500;

/// Most peers that one source may have under one info hash and family: several users behind one
/// address (RFC 6888), but nobody who fills the list with ports.
pub(super) const MAX_PORTS_PER_SOURCE: usize = 16;

/// A compact address of `N` bytes (6 or 18), and when it was last announced.
#[derive(Debug, Clone, Copy)]
struct Peer<const N: usize> {
    compact: [u8; N],
    heard: u32,
}

/// What has to happen to the list so that it holds a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is there already.
    Known(usize),
    /// It takes the place of the longest unheard peer of the same source.
    OfSameSource(usize),
    /// It takes the place of the longest unheard peer, as the list is full.
    OfOldest(usize),
    /// It is added.
    New,
}

/// Peers in no particular order.
#[derive(Debug)]
pub(super) struct Swarm<const N: usize>(Vec<Peer<N>>);

impl<const N: usize> Swarm<N> {
    /// No peers, and no memory.
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Where the peer goes. With `source_len`, the bytes that make up its source, the source has
    /// no more than its share.
    pub(super) fn place_of(&self, compact: &[u8; N], source_len: Option<usize>) -> Place {
        let mut oldest: Option<usize> = None;
        let mut oldest_of_source: Option<usize> = None;
        let mut of_source = 0;
        for (at, peer) in self.0.iter().enumerate() {
            if peer.compact == *compact {
                return Place::Known(at);
            }
            let older = |than: Option<usize>| than.is_none_or(|t| peer.heard < self.0[t].heard);
            if older(oldest) {
                oldest = Some(at);
            }
            if source_len.is_some_and(|len| peer.compact[..len] == compact[..len]) {
                of_source += 1;
                if older(oldest_of_source) {
                    oldest_of_source = Some(at);
                }
            }
        }
        match (oldest_of_source, oldest) {
            (Some(at), _) if of_source >= MAX_PORTS_PER_SOURCE => Place::OfSameSource(at),
            (_, Some(at)) if self.0.len() >= MAX_PEERS_PER_HASH => Place::OfOldest(at),
            _ => Place::New,
        }
    }

    /// Puts the peer where [`Self::place_of`] said; tells whom it displaced.
    pub(super) fn put(&mut self, place: Place, compact: [u8; N], heard: u32) -> Option<SocketAddr> {
        let peer = Peer { compact, heard };
        match place {
            Place::New => {
                self.0.push(peer);
                None
            }
            Place::Known(at) | Place::OfSameSource(at) | Place::OfOldest(at) => {
                let displaced = std::mem::replace(&mut self.0[at], peer);
                read_compact_address(&displaced.compact)
            }
        }
    }

    /// Peers that there is memory for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// The peer at `at`, unless it has expired.
    pub(super) fn live(&self, at: usize, clock: &Clock, seconds: u32) -> Option<SocketAddr> {
        let peer = self.0.get(at)?;
        if clock.has_expired(peer.heard, seconds) {
            return None;
        }
        read_compact_address(&peer.compact)
    }

    /// All peers, those that expired since the last sweep too.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let all = self.0.iter();
        all.filter_map(|peer| read_compact_address(&peer.compact))
    }

    /// Whether any peer has not expired.
    pub(super) fn is_live(&self, clock: &Clock, seconds: u32) -> bool {
        let mut peers = self.0.iter();
        peers.any(|peer| !clock.has_expired(peer.heard, seconds))
    }

    /// Drops what has expired, telling of each; answers when the oldest of the others was heard.
    pub(super) fn sweep(
        &mut self,
        clock: &Clock,
        seconds: u32,
        mut gone: impl FnMut(SocketAddr),
    ) -> Option<u32> {
        self.0.retain(|peer| {
            let expired = clock.has_expired(peer.heard, seconds);
            if expired && let Some(address) = read_compact_address(&peer.compact) {
                gone(address);
            }
            !expired
        });
        if self.0.capacity() / 4 >= self.0.len() {
            self.0.shrink_to(self.0.len() * 2);
        }
        self.0.iter().map(|peer| peer.heard).min()
    }
}
