//! What all sessions together may do to the NATs on their way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::candidate::SocketId;

/// Most NAT entries (pairs of a local socket and a remote) that live at once by our doing. Home
/// routers hold a few thousand for everybody in the house.
pub const MAX_NAT_ENTRIES: usize = 1_024;

/// Entries that punching leaves free, for the checks and answers that use what it opened.
pub const RESERVED_ENTRIES: usize = 64;

/// Most datagrams in any second.
pub const MAX_PACKETS_PER_SECOND: u32 = 500;

/// How long an entry is taken to live after the last datagram: the least that RFC 4787 (REQ-5)
/// allows. Linux forgets entries that were not answered after 30 s.
pub const ENTRY_LIFE: Duration = Duration::from_secs(120);

/// Datagrams that may leave at once after a pause. What is refilled in a second and this stay
/// below [`MAX_PACKETS_PER_SECOND`].
const BURST: u32 = 40;

/// Time in which one datagram more may leave: 450 a second.
const REFILL: Duration = Duration::from_nanos(1_000_000_000 / (MAX_PACKETS_PER_SECOND - 50) as u64);

/// What a datagram is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A check of an address that is known, or an answer.
    Check,
    /// One of many ports.
    Punch,
}

/// Why a datagram has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotNow {
    /// Enough left in the last second; again at this instant.
    Pace(Instant),
    /// There are as many entries as may be; one ends at this instant.
    Entries(Instant),
}

impl NotNow {
    /// When to ask again.
    #[must_use]
    pub const fn until(self) -> Instant {
        match self {
            Self::Pace(at) | Self::Entries(at) => at,
        }
    }
}

/// Entries and packets, counted. One for a node: every session draws on it.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    entries: BTreeMap<(SocketId, SocketAddr), Instant>,
    /// When the bucket of packets is full again.
    full_at: Option<Instant>,
}

impl Budget {
    /// Takes what one datagram costs.
    ///
    /// # Errors
    /// [`NotNow`].
    pub fn take(
        &mut self,
        now: Instant,
        (socket, remote): (SocketId, SocketAddr),
        purpose: Purpose,
    ) -> Result<(), NotNow> {
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        let room = REFILL * (BURST - 1);
        if full_at > now + room {
            return Err(NotNow::Pace(full_at - room));
        }
        let most = match purpose {
            Purpose::Check => MAX_NAT_ENTRIES,
            Purpose::Punch => MAX_NAT_ENTRIES - RESERVED_ENTRIES,
        };
        if !self.entries.contains_key(&(socket, remote)) && self.entries.len() >= most {
            self.expire(now);
            if self.entries.len() >= most {
                let oldest = self.entries.values().min().copied().unwrap_or(now);
                return Err(NotNow::Entries(oldest + ENTRY_LIFE));
            }
        }
        self.entries.insert((socket, remote), now);
        self.full_at = Some(full_at + REFILL);
        Ok(())
    }

    /// Entries that live.
    pub fn entries(&mut self, now: Instant) -> usize {
        self.expire(now);
        self.entries.len()
    }

    /// Whatever was open is gone: there is another NAT before us.
    pub fn on_network_change(&mut self) {
        self.entries.clear();
    }

    fn expire(&mut self, now: Instant) {
        self.entries
            .retain(|_, sent| now.saturating_duration_since(*sent) < ENTRY_LIFE);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    #![allow(clippy::disallowed_methods)] // An instant to count from.

    use super::*;

    fn remote(number: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], number))
    }

    #[test]
    fn no_second_has_more_packets_than_the_bound_however_much_is_asked() {
        let start = Instant::now();
        let mut budget = Budget::default();
        let mut now = start;
        let mut left = Vec::new();
        while now < start + Duration::from_secs(5) {
            match budget.take(now, (SocketId::MAIN, remote(1)), Purpose::Check) {
                Ok(()) => left.push(now),
                Err(wait) => now = wait.until(),
            }
        }
        let second = Duration::from_secs(1);
        let most = left
            .iter()
            .map(|from| {
                left.iter()
                    .filter(|at| *at >= from && **at < *from + second)
            })
            .map(Iterator::count)
            .max()
            .unwrap();
        let bound = MAX_PACKETS_PER_SECOND as usize;
        assert!(most <= bound && most > bound - 20, "{most}");
        assert!(left.len() > 2_200, "{}", left.len());
    }

    #[test]
    fn the_last_entry_is_given_and_one_past_it_waits_until_one_ends() {
        let start = Instant::now();
        let mut budget = Budget::default();
        let mut now = start;
        let mut open = |budget: &mut Budget, number: u16, purpose| {
            now += REFILL;
            budget.take(now, (SocketId(number), remote(1)), purpose)
        };
        let for_punching = (MAX_NAT_ENTRIES - RESERVED_ENTRIES) as u16;
        for number in 0..for_punching {
            assert_eq!(open(&mut budget, number, Purpose::Punch), Ok(()));
        }
        let refused = open(&mut budget, for_punching, Purpose::Punch);
        let first_ends = start + REFILL + ENTRY_LIFE;
        assert_eq!(refused, Err(NotNow::Entries(first_ends)));
        assert_eq!(open(&mut budget, 0, Purpose::Punch), Ok(()));
        for number in for_punching..MAX_NAT_ENTRIES as u16 {
            assert_eq!(open(&mut budget, number, Purpose::Check), Ok(()));
        }
        assert!(open(&mut budget, 5_000, Purpose::Check).is_err());
        assert_eq!(budget.entries(start), MAX_NAT_ENTRIES);

        let later = (SocketId(5_000), remote(1));
        assert!(budget.take(now + ENTRY_LIFE, later, Purpose::Punch).is_ok());
        assert!(budget.entries(now + ENTRY_LIFE) < 10);
    }

    #[test]
    fn another_network_has_no_entries_of_ours() {
        let now = Instant::now();
        let mut budget = Budget::default();
        budget
            .take(now, (SocketId::MAIN, remote(1)), Purpose::Check)
            .unwrap();
        budget.on_network_change();
        assert_eq!(budget.entries(now), 0);
    }
}
