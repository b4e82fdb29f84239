//! Who announced what (BEP 5), and samples of it (BEP 51).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use rand_core::Rng;

use super::StoreError;
use super::clock::Clock;
use super::farthest::farthest;
use super::scattered::scattered;
use super::source::{Charges, Source};
use super::swarm::{Place, Swarm};
use crate::address::{Family, canonical};
use crate::id::Id;

/// Most info hashes. libtorrent keeps as many; a node is among the eight nearest of few.
pub(super) const MAX_INFO_HASHES: usize = 2_000;

/// Most peers in all: 0.6 MB of IPv4 or 1.2 MB of IPv6, and at most twice that while lists grow.
pub(super) const MAX_PEERS: usize = 50_000;

/// Most peers that one source may have in all. To fill the store takes 250 addresses; ten can have all
/// its info hashes, which is why the farthest makes room.
pub(super) const MAX_PEERS_PER_SOURCE: usize = 200;

/// For how long a peer is passed on after it announced itself, in seconds. BEP 5 gives no number.
/// Clients announce every 15 to 30 minutes, so exactly 30 would lose the slower half each time;
/// libtorrent keeps peers for 45 minutes, Transmission for 32.
pub(super) const PEER_LIFETIME: u32 = 45 * 60;

/// Peers by info hash. Empty it takes no memory beyond itself.
#[derive(Debug)]
pub(crate) struct PeerStore {
    /// In no particular order, so that any one can be chosen by chance.
    hashes: Vec<InfoHash>,
    places: BTreeMap<Id, u32>,
    charges: Charges,
    peers: usize,
    clock: Clock,
}

/// An info hash with its peers: the families never mix (BEP 32).
#[derive(Debug)]
struct InfoHash {
    id: Id,
    v4: Swarm<6>,
    v6: Swarm<18>,
}

impl PeerStore {
    /// An empty store.
    pub(crate) const fn new() -> Self {
        Self {
            hashes: Vec::new(),
            places: BTreeMap::new(),
            charges: Charges::new(),
            peers: 0,
            clock: Clock::new(PEER_LIFETIME),
        }
    }

    /// Notes that `peer` has `info_hash`, for [`PEER_LIFETIME`]. A peer that is known is
    /// refreshed; a source with [`MAX_PORTS_PER_SOURCE`](super::swarm::MAX_PORTS_PER_SOURCE)
    /// peers there replaces the oldest of its own; a full list replaces its oldest; where there are
    /// [`MAX_INFO_HASHES`], the farthest from `own`, this node's id, makes room for a nearer one.
    ///
    /// # Errors
    /// Port 0, a peer at another address than `from`, a source at its quota, a full store.
    pub(crate) fn announce(
        &mut self,
        now: Instant,
        (own, info_hash): (&Id, Id),
        peer: SocketAddr,
        from: IpAddr,
    ) -> Result<(), StoreError> {
        let peer = canonical(peer);
        if peer.port() == 0 || peer.ip() != from.to_canonical() {
            return Err(StoreError::BadAddress);
        }
        if self.clock.is_due(now) {
            self.expire(now);
        }
        let source = Source::of(from);
        let place = self.place_of(&info_hash, peer, source);
        if matches!(place, Place::New | Place::OfOldest(_))
            && !self.charges.has_room(source, MAX_PEERS_PER_SOURCE)
        {
            return Err(StoreError::Quota);
        }
        if place == Place::New && self.peers >= MAX_PEERS {
            return Err(StoreError::Full);
        }
        let at = self.place_of_hash(own, info_hash)?;
        let heard = self.clock.stamp(now);
        let displaced = self.hashes[at].put(place, peer, heard);
        if let Some(displaced) = displaced {
            self.charges.remove(Source::of(displaced.ip()));
        } else {
            self.peers += 1;
        }
        self.charges.add(source);
        Ok(())
    }

    /// Tells `each` of at most `max` peers of `family` that have `info_hash`; where there are
    /// more, `rng` decides which.
    #[allow(clippy::too_many_arguments)] // Two say which, two how many of them, one what then.
    pub(crate) fn peers(
        &self,
        now: Instant,
        info_hash: &Id,
        family: Family,
        max: usize,
        rng: &mut impl Rng,
        each: impl FnMut(SocketAddr),
    ) {
        let Some(&at) = self.places.get(info_hash) else {
            return;
        };
        let hash = &self.hashes[at as usize];
        let seconds = self.clock.seconds(now);
        match family {
            Family::V4 => scattered(hash.v4.len(), rng)
                .filter_map(|at| hash.v4.live(at, &self.clock, seconds))
                .take(max)
                .for_each(each),
            Family::V6 => scattered(hash.v6.len(), rng)
                .filter_map(|at| hash.v6.live(at, &self.clock, seconds))
                .take(max)
                .for_each(each),
        }
    }

    /// Info hashes: the `num` of `sample_infohashes`. Those that expired in the last minute may
    /// be counted still.
    pub(crate) fn count(&self) -> usize {
        self.hashes.len()
    }

    /// Peers of all info hashes, likewise.
    pub(crate) fn peer_count(&self) -> usize {
        self.peers
    }

    /// Appends at most `max` info hashes that have peers, 20 bytes each, chosen by `rng`.
    pub(crate) fn samples(&self, now: Instant, rng: &mut impl Rng, max: usize, out: &mut Vec<u8>) {
        let seconds = self.clock.seconds(now);
        let chosen = scattered(self.hashes.len(), rng)
            .map(|at| &self.hashes[at])
            .filter(|hash| hash.is_live(&self.clock, seconds))
            .take(max);
        for hash in chosen {
            out.extend_from_slice(hash.id.as_bytes());
        }
    }

    /// Frees the memory of what has expired. Looks through the whole store: call it when
    /// [`Self::next_expiry`] has come.
    pub(crate) fn expire(&mut self, now: Instant) {
        let seconds = self.clock.seconds(now);
        let mut oldest = None;
        let mut at = 0;
        while let Some(hash) = self.hashes.get_mut(at) {
            let mut gone = 0;
            let heard = hash.sweep(&self.clock, seconds, |address| {
                gone += 1;
                self.charges.remove(Source::of(address.ip()));
            });
            self.peers -= gone;
            match heard {
                Some(heard) => {
                    oldest = Some(oldest.map_or(heard, |oldest: u32| oldest.min(heard)));
                    at += 1;
                }
                None => self.remove_hash(at),
            }
        }
        if self.hashes.capacity() / 4 >= self.hashes.len() {
            self.hashes.shrink_to(self.hashes.len() * 2);
        }
        self.clock.on_swept(seconds, oldest);
    }

    /// When to call [`Self::expire`]; never while the store is empty.
    #[cfg(test)]
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.clock.next_sweep()
    }

    fn place_of(&self, info_hash: &Id, peer: SocketAddr, source: Option<Source>) -> Place {
        let Some(&at) = self.places.get(info_hash) else {
            return Place::New;
        };
        self.hashes[at as usize].place_of(peer, source)
    }

    /// Where `info_hash` is, now at the latest. Where there is no room for another the farthest from
    /// `own` goes with its peers, unless all are nearer than this one.
    fn place_of_hash(&mut self, own: &Id, info_hash: Id) -> Result<usize, StoreError> {
        if let Some(&at) = self.places.get(&info_hash) {
            return Ok(at as usize);
        }
        if self.hashes.len() >= MAX_INFO_HASHES {
            let farther = farthest(&self.places, own)
                .filter(|id| id.distance(own) > info_hash.distance(own))
                .and_then(|id| self.places.get(&id).copied());
            self.drop_hash(farther.ok_or(StoreError::TooFar)? as usize);
        }
        let at = self.hashes.len();
        self.hashes.push(InfoHash::new(info_hash));
        self.places.insert(info_hash, at as u32);
        Ok(at)
    }

    fn drop_hash(&mut self, at: usize) {
        self.peers -= self.hashes[at].v4.len() + self.hashes[at].v6.len();
        for address in self.hashes[at].addresses() {
            self.charges.remove(Source::of(address.ip()));
        }
        self.remove_hash(at);
    }

    fn remove_hash(&mut self, at: usize) {
        let removed = self.hashes.swap_remove(at);
        self.places.remove(&removed.id);
        if let Some(moved) = self.hashes.get(at) {
            self.places.insert(moved.id, at as u32);
        }
    }
}

impl InfoHash {
    const fn new(id: Id) -> Self {
        Self {
            id,
            v4: Swarm::new(),
            v6: Swarm::new(),
        }
    }

    fn place_of(&self, peer: SocketAddr, source: Option<Source>) -> Place {
        match peer {
            SocketAddr::V4(_) => self.v4.place_of(&compact(peer), source.map(|_| 4)),
            SocketAddr::V6(_) => self.v6.place_of(&compact(peer), source.map(|_| 8)),
        }
    }

    fn put(&mut self, place: Place, peer: SocketAddr, heard: u32) -> Option<SocketAddr> {
        match peer {
            SocketAddr::V4(_) => self.v4.put(place, compact(peer), heard),
            SocketAddr::V6(_) => self.v6.put(place, compact(peer), heard),
        }
    }

    fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.v4.addresses().chain(self.v6.addresses())
    }

    fn is_live(&self, clock: &Clock, seconds: u32) -> bool {
        self.v4.is_live(clock, seconds) || self.v6.is_live(clock, seconds)
    }

    fn sweep(
        &mut self,
        clock: &Clock,
        seconds: u32,
        mut gone: impl FnMut(SocketAddr),
    ) -> Option<u32> {
        let v4 = self.v4.sweep(clock, seconds, &mut gone);
        let v6 = self.v6.sweep(clock, seconds, &mut gone);
        v4.into_iter().chain(v6).min()
    }
}

/// The 6 or 18 bytes of an address: `N` is right for its family.
fn compact<const N: usize>(address: SocketAddr) -> [u8; N] {
    let mut bytes = [0; N];
    let (ip, port) = bytes.split_at_mut(N - 2);
    match address.ip() {
        IpAddr::V4(v4) => ip.copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => ip.copy_from_slice(&v6.octets()),
    }
    port.copy_from_slice(&address.port().to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests;
