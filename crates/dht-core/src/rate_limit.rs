//! How many queries an address may send.
//!
//! Each IPv4 address and each IPv6 /64 has an allowance that refills steadily; of local addresses,
//! where whole networks of nodes run side by side, each socket has one. What is spent
//! stands in a table of cells; an address has two of them, chosen by a keyed hash, and the one
//! that is less spent counts (a count-min sketch with conservative updates). So no address is ever
//! evicted, a flooder cannot have its debt forgotten, and an honest address is refused only when
//! both of its cells are exhausted by others. The table grows with the number of addresses that
//! are active at once, up to a bound.

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand_core::Rng;
use siphasher::sip::SipHasher13;

use crate::address::is_local;

/// Cells, 8 bytes each: 512 KiB. Refilled at the default rate, they absorb three million queries a
/// second from forged addresses before these crowd out others.
pub(crate) const MAX_CELLS: usize = 64 * 1024;

/// Cells at first: 2 KiB. With fewer, one flooder could stand in the way of one address in
/// thousand.
const MIN_CELLS: usize = 256;

/// How much one address may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Queries a second in the long run, at least 1.
    pub(crate) per_second: u32,
    /// Queries at once after a pause, at least 1.
    pub(crate) burst: u32,
}

impl Default for Allowance {
    /// 100 a second and 400 at once: dozens of nodes behind one translator look something up at
    /// the same time, and one address takes a thousandth of what a node can answer.
    fn default() -> Self {
        Self {
            per_second: 100,
            burst: 400,
        }
    }
}

/// Who has spent how much.
pub(crate) struct RateLimit {
    key: [u8; 16],
    /// What one query costs, in nanoseconds of refilling.
    cost: u64,
    /// How far a cell may be ahead of the clock.
    limit: u64,
    start: Option<Instant>,
    /// For each cell when everything spent is refilled, in nanoseconds since `start`.
    cells: Vec<u64>,
    /// A bit for each cell: which addresses came since the window began.
    active: Vec<u64>,
    active_count: usize,
    window_ends: u64,
}

impl RateLimit {
    /// Nobody has spent anything. Allocates nothing.
    pub(crate) fn new(allowance: Allowance, rng: &mut impl Rng) -> Self {
        let mut key = [0; 16];
        rng.fill_bytes(&mut key);
        let cost = 1_000_000_000 / u64::from(allowance.per_second.max(1));
        Self {
            key,
            cost,
            limit: cost * u64::from(allowance.burst.max(1)),
            start: None,
            cells: Vec::new(),
            active: Vec::new(),
            active_count: 0,
            window_ends: 0,
        }
    }

    /// Whether a query from `address` may be answered; if so, it is counted.
    pub(crate) fn admit(&mut self, now: Instant, address: SocketAddr) -> bool {
        let start = *self.start.get_or_insert(now);
        let now = nanoseconds(now.saturating_duration_since(start));
        let hash = self.hash(address);
        self.note_active(now, hash);
        let (first, second) = places(hash, self.cells.len());
        let spent = self.cells[first].min(self.cells[second]);
        let after = spent.max(now) + self.cost;
        if after > now + self.limit {
            return false;
        }
        for cell in [first, second] {
            self.cells[cell] = self.cells[cell].max(after);
        }
        true
    }

    /// Grows the table when more addresses are active than it can keep apart.
    fn note_active(&mut self, now: u64, hash: u64) {
        if self.cells.is_empty() {
            self.cells = vec![0; MIN_CELLS];
            self.active = vec![0; MIN_CELLS / 64];
        }
        if now >= self.window_ends {
            self.window_ends = now + self.limit;
            self.forget_active();
        }
        let (bit, _) = places(hash, self.cells.len());
        let (word, bit) = (&mut self.active[bit / 64], 1 << (bit % 64));
        self.active_count += usize::from(*word & bit == 0);
        *word |= bit;
        // A quarter: then an address shares both of its cells with others once in six times.
        if self.active_count > self.cells.len() / 4 && self.cells.len() < MAX_CELLS {
            // The upper half starts as a copy: every address finds what it had spent.
            self.cells.reserve_exact(self.cells.len());
            self.cells.extend_from_within(..);
            self.active = vec![0; self.cells.len() / 64];
            self.active_count = 0;
        }
    }

    fn forget_active(&mut self) {
        self.active.fill(0);
        self.active_count = 0;
    }

    fn hash(&self, address: SocketAddr) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        let ip = address.ip().to_canonical();
        match ip {
            IpAddr::V4(v4) => hasher.write(&v4.octets()),
            IpAddr::V6(v6) if is_local(ip) => hasher.write(&v6.octets()),
            IpAddr::V6(v6) => hasher.write(&v6.octets()[..8]),
        }
        if is_local(ip) {
            hasher.write(&address.port().to_be_bytes());
        }
        hasher.finish()
    }
}

impl std::fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimit")
            .field("cells", &self.cells.len())
            .finish_non_exhaustive()
    }
}

fn nanoseconds(elapsed: Duration) -> u64 {
    // 2^62 leaves room for sums; that is after 146 years.
    u64::try_from(elapsed.as_nanos()).map_or(1 << 62, |elapsed| elapsed.min(1 << 62))
}

/// The two cells of an address in a table of `cells`, a power of two. In a table twice as large
/// they are these or these plus `cells`.
fn places(hash: u64, cells: usize) -> (usize, usize) {
    let mask = cells - 1;
    (hash as usize & mask, (hash >> 32) as usize & mask)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    #![allow(clippy::disallowed_methods)] // An instant to count from.

    use std::net::Ipv6Addr;

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    const ALLOWANCE: Allowance = Allowance {
        per_second: 10,
        burst: 40,
    };

    fn rate_limit() -> RateLimit {
        RateLimit::new(ALLOWANCE, &mut ChaCha20Rng::seed_from_u64(1))
    }

    fn address(n: u32) -> SocketAddr {
        SocketAddr::from((n.to_be_bytes(), 6881))
    }

    #[test]
    fn an_address_may_burst_and_then_goes_steadily() {
        let now = Instant::now();
        let mut limit = rate_limit();
        let admitted = (0..100).filter(|_| limit.admit(now, address(1))).count();
        assert_eq!(admitted, 40);
        let later = now + Duration::from_secs(1);
        let admitted = (0..100).filter(|_| limit.admit(later, address(1))).count();
        assert_eq!(admitted, 10);
        let rested = later + Duration::from_secs(4);
        let admitted = (0..100).filter(|_| limit.admit(rested, address(1))).count();
        assert_eq!(admitted, 40);
    }

    #[test]
    fn all_addresses_of_a_64_share_one_allowance() {
        let now = Instant::now();
        let mut limit = rate_limit();
        let admitted = (0..100u128)
            .map(|host| SocketAddr::from((Ipv6Addr::from((0x2001_0db8 << 96) | host), 6881)))
            .filter(|&address| limit.admit(now, address))
            .count();
        assert_eq!(admitted, 40);
        assert!(limit.admit(now, "[2001:db8:0:1::1]:6881".parse().unwrap()));
    }

    #[test]
    fn another_port_is_another_allowance_at_local_addresses_only() {
        let now = Instant::now();
        for (ip, expected) in [("127.0.0.1", 80), ("10.0.0.7", 80), ("203.0.113.5", 40)] {
            let mut limit = rate_limit();
            let ip: IpAddr = ip.parse().unwrap();
            let admitted = (0..200)
                .filter(|n| limit.admit(now, SocketAddr::new(ip, 1000 + n % 2)))
                .count();
            assert_eq!(admitted, expected, "{ip}");
        }
    }

    #[test]
    fn a_flood_from_one_address_does_not_starve_others() {
        let start = Instant::now();
        let mut limit = rate_limit();
        let mut refused = 0;
        for second in 0..60 {
            let now = start + Duration::from_secs(second);
            let flood = (0..10_000).filter(|_| limit.admit(now, address(7))).count();
            assert!(
                flood <= if second == 0 { 40 } else { 10 },
                "{flood} at {second}"
            );
            refused += (100..1100)
                .filter(|&n| !limit.admit(now, address(n)))
                .count();
        }
        assert_eq!(refused, 0);
    }

    #[test]
    fn a_flood_from_a_hundred_thousand_addresses_neither_grows_without_bound_nor_starves_others() {
        let start = Instant::now();
        let mut limit = rate_limit();
        let mut refused = 0;
        for second in 0..10 {
            let now = start + Duration::from_secs(second);
            for n in 0..100_000 {
                limit.admit(now, address(0x0b00_0000 + n));
            }
            refused += (0..100).filter(|&n| !limit.admit(now, address(n))).count();
        }
        assert_eq!(limit.cells.len(), MAX_CELLS);
        assert_eq!(limit.cells.capacity(), MAX_CELLS);
        assert_eq!(refused, 0);
    }

    #[test]
    fn a_flood_of_forged_addresses_does_not_refill_a_flooder() {
        let now = Instant::now();
        let mut limit = rate_limit();
        assert!((0..40).all(|_| limit.admit(now, address(1))));
        for n in 0..200_000 {
            limit.admit(now, address(0x0b00_0000 + n));
        }
        assert!(!limit.admit(now, address(1)));
    }

    #[test]
    fn nothing_is_allocated_before_the_first_query_and_little_for_a_quiet_node() {
        let mut limit = rate_limit();
        assert_eq!(limit.cells.capacity(), 0);
        let start = Instant::now();
        // Two hundred neighbours, each asking every two minutes.
        for n in 0..20_000_u32 {
            limit.admit(
                start + Duration::from_millis(600 * u64::from(n)),
                address(n % 200),
            );
        }
        assert!(limit.cells.capacity() * size_of::<u64>() <= 4096);
    }
}
