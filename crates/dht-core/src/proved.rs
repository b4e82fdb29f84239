//! Addresses that have shown that they receive what is sent to them: only these get replies that
//! are much larger than the query.
//!
//! A table of keyed hashes in sets of eight, eight bytes an address. Who wants another's address
//! in it would have to find a collision without knowing the key.

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand_core::Rng;
use siphasher::sip::SipHasher24;

/// For how long an address counts as proved: as long as a write token, which proves the same.
pub(crate) const PROVED_FOR: Duration = Duration::from_secs(10 * 60);

/// Addresses that are remembered: 27 new ones a second for all of [`PROVED_FOR`], in 128 KiB. Who is
/// pushed out answers one more ping.
pub(crate) const MAX_PROVED: usize = 16 * 1024;

/// Places among which an address may stand.
const SET: usize = 8;

/// Low bits of a mark: seconds, for eight years.
const TIME_BITS: u32 = 28;

const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// A hash above, the time below; 0 is empty.
type Mark = u64;

/// A bounded set of socket addresses, each for ten minutes.
pub(crate) struct ProvedAddresses {
    key: [u8; 16],
    start: Option<Instant>,
    marks: Vec<Mark>,
}

impl ProvedAddresses {
    /// An empty set. Allocates nothing.
    pub(crate) fn new(rng: &mut impl Rng) -> Self {
        let mut key = [0; 16];
        rng.fill_bytes(&mut key);
        Self {
            key,
            start: None,
            marks: Vec::new(),
        }
    }

    /// `address` has answered a query of ours or used a valid token.
    pub(crate) fn mark(&mut self, now: Instant, address: SocketAddr) {
        let start = *self.start.get_or_insert(now);
        let seconds = seconds(start, now);
        let hash = self.hash(&address);
        if self.marks.is_empty() {
            self.marks = vec![0; SET];
        }
        loop {
            let marks = self.marks.len();
            let set = set(&mut self.marks, hash);
            let same = set.iter().position(|&mark| mark != 0 && is_of(mark, hash));
            let free = || set.iter().position(|&mark| !is_fresh(mark, seconds));
            let at = match same.or_else(free) {
                Some(at) => at,
                None if marks < MAX_PROVED => {
                    self.grow();
                    continue;
                }
                // The oldest gives way.
                None => (0..SET).min_by_key(|&at| set[at] & TIME_MASK).unwrap_or(0),
            };
            set[at] = (hash & !TIME_MASK) | seconds;
            return;
        }
    }

    /// Whether `address` was marked within the last ten minutes, and not pushed out since.
    pub(crate) fn is_proved(&self, now: Instant, address: &SocketAddr) -> bool {
        let Some(start) = self.start else {
            return false;
        };
        let hash = self.hash(address);
        let sets = self.marks.len() / SET;
        let first = set_index(hash, sets) * SET;
        let seconds = seconds(start, now);
        let mut set = self.marks[first..first + SET].iter();
        set.any(|&mark| is_fresh(mark, seconds) && is_of(mark, hash))
    }

    /// Twice the places: the marks of a set spread over two.
    fn grow(&mut self) {
        let old = std::mem::take(&mut self.marks);
        self.marks = vec![0; old.len() * 2];
        for mark in old.into_iter().filter(|&mark| mark != 0) {
            let set = set(&mut self.marks, mark);
            if let Some(free) = set.iter_mut().find(|place| **place == 0) {
                *free = mark;
            }
        }
    }

    fn hash(&self, address: &SocketAddr) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        match address.ip().to_canonical() {
            IpAddr::V4(v4) => hasher.write(&v4.octets()),
            IpAddr::V6(v6) => hasher.write(&v6.octets()),
        }
        hasher.write(&address.port().to_be_bytes());
        hasher.finish()
    }
}

impl std::fmt::Debug for ProvedAddresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProvedAddresses")
            .field("places", &self.marks.len())
            .finish_non_exhaustive()
    }
}

/// Seconds from 1 on, so that no mark is 0.
fn seconds(start: Instant, now: Instant) -> u64 {
    let elapsed = now.saturating_duration_since(start).as_secs();
    (elapsed + 1).min(TIME_MASK)
}

fn is_of(mark: Mark, hash: u64) -> bool {
    (mark ^ hash) & !TIME_MASK == 0
}

fn is_fresh(mark: Mark, seconds: u64) -> bool {
    mark != 0 && seconds.saturating_sub(mark & TIME_MASK) < PROVED_FOR.as_secs()
}

/// The upper bits decide, which marks keep.
fn set_index(hash: u64, sets: usize) -> usize {
    (hash >> 48) as usize & (sets - 1)
}

fn set(marks: &mut [Mark], hash: u64) -> &mut [Mark] {
    let sets = marks.len() / SET;
    let first = set_index(hash, sets) * SET;
    &mut marks[first..first + SET]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    #![allow(clippy::disallowed_methods)] // An instant to count from.

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn proved() -> ProvedAddresses {
        ProvedAddresses::new(&mut ChaCha20Rng::seed_from_u64(1))
    }

    fn address(n: u32) -> SocketAddr {
        SocketAddr::from((n.to_be_bytes(), 1000 + (n % 100) as u16))
    }

    #[test]
    fn an_address_is_proved_for_ten_minutes() {
        let now = Instant::now();
        let mut proved = proved();
        assert!(!proved.is_proved(now, &address(1)));
        proved.mark(now, address(1));
        assert!(proved.is_proved(now + PROVED_FOR - Duration::from_secs(1), &address(1)));
        assert!(!proved.is_proved(now + PROVED_FOR, &address(1)));
        proved.mark(now + PROVED_FOR, address(1));
        assert!(proved.is_proved(now + PROVED_FOR, &address(1)));
    }

    #[test]
    fn another_port_or_host_is_not_proved() {
        let now = Instant::now();
        let mut proved = proved();
        proved.mark(now, "203.0.113.5:1000".parse().unwrap());
        for other in ["203.0.113.5:1001", "203.0.113.6:1000", "[2001:db8::1]:1000"] {
            assert!(!proved.is_proved(now, &other.parse().unwrap()), "{other}");
        }
        assert!(proved.is_proved(now, &"[::ffff:203.0.113.5]:1000".parse().unwrap()));
    }

    #[test]
    fn nothing_is_allocated_before_the_first_mark_and_little_after_it() {
        let mut proved = proved();
        assert_eq!(proved.marks.capacity(), 0);
        proved.mark(Instant::now(), address(1));
        assert_eq!(proved.marks.capacity(), SET);
    }

    #[test]
    fn marks_survive_growth() {
        let now = Instant::now();
        let mut proved = proved();
        (0..2000).for_each(|n| proved.mark(now, address(n)));
        assert!((0..2000).all(|n| proved.is_proved(now, &address(n))));
        assert!((2000..20_000).all(|n| !proved.is_proved(now, &address(n))));
    }

    #[test]
    fn a_flood_fills_the_set_to_its_bound_and_the_newest_stay() {
        let now = Instant::now();
        let mut proved = proved();
        let flood = 10 * MAX_PROVED as u32;
        for n in 0..flood {
            proved.mark(now + Duration::from_millis(u64::from(n)), address(n));
        }
        assert_eq!(proved.marks.len(), MAX_PROVED);
        let end = now + Duration::from_millis(u64::from(flood));
        assert!((flood - 2000..flood).all(|n| proved.is_proved(end, &address(n))));
        assert!((0..2000).all(|n| !proved.is_proved(end, &address(n))));
    }
}
