//! Offers that were seen before, or that are too old to be new.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use dhtnet_identity::DeviceId;
use thiserror::Error;

use super::{Offer, timestamp};

/// An offer this far from our clock, in either direction, is not used: signalling takes a second,
/// and clocks that are set by the network differ by less.
pub const MAX_AGE: Duration = Duration::from_secs(60);

/// Most offers that are remembered. An offer has proved its sender, but anybody can have many
/// keys: past this, the oldest is forgotten, and all that are not newer than it are refused from
/// then on. So nothing is ever let in twice, at the price that a flood makes us refuse offers
/// that are a little old.
pub const MAX_REMEMBERED: usize = 4_096;

/// Why an offer is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refused {
    /// It was used before.
    #[error("the offer was seen before")]
    Replayed,
    /// Older than [`MAX_AGE`].
    #[error("the offer is {} s old, or the sender's clock is as much behind ours", age.as_secs())]
    Stale {
        /// By our clock.
        age: Duration,
    },
    /// Newer than now by more than [`MAX_AGE`].
    #[error("the sender's clock is {} s ahead of ours", ahead.as_secs())]
    ClockAhead {
        /// How far.
        ahead: Duration,
    },
}

/// The memory that lets each offer in once.
#[derive(Debug, Default)]
pub struct ReplayWindow {
    /// Timestamp, sender and session.
    seen: BTreeSet<(u64, [u8; 32], [u8; 8])>,
    /// What is not newer than this is refused; 0 while nothing was pushed out.
    floor: u64,
}

impl ReplayWindow {
    /// Takes an offer whose sender was proved.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn admit(
        &mut self,
        wall: SystemTime,
        sender: &DeviceId,
        offer: &Offer,
    ) -> Result<(), Refused> {
        let now = timestamp(wall);
        let window = MAX_AGE.as_millis() as u64;
        let age = now.saturating_sub(offer.timestamp);
        let ahead = offer.timestamp.saturating_sub(now);
        if ahead > window {
            let ahead = Duration::from_millis(ahead);
            return Err(Refused::ClockAhead { ahead });
        }
        if age > window {
            let age = Duration::from_millis(age);
            return Err(Refused::Stale { age });
        }
        let key = (offer.timestamp, *sender.as_bytes(), offer.session.0);
        if self.seen.contains(&key) {
            return Err(Refused::Replayed);
        }
        while let Some(oldest) = self.seen.first()
            && (oldest.0 < now.saturating_sub(window) || self.seen.len() >= MAX_REMEMBERED)
        {
            self.floor = self.floor.max(oldest.0);
            self.seen.pop_first();
        }
        if offer.timestamp <= self.floor {
            let age = Duration::from_millis(age);
            return Err(Refused::Stale { age });
        }
        self.seen.insert(key);
        Ok(())
    }
}
