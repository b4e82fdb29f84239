//! What the table keeps of one node, in few bytes.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{NodeState, Seen, Traits};
use crate::address::{Contact, is_local};
use crate::id::{ID_LEN, Id};
use crate::krpc::read_compact_address;
use crate::secure_id::is_secure;

/// For how long an answer or a query keeps a node good (BEP 5).
const GOOD_FOR: u32 = 15 * 60;

/// Failures in a row that make a node bad (BEP 5: multiple queries in a row).
const BAD_AFTER: u8 = 2;

/// Failures in a row after which a node that nobody wants to replace is dropped: with
/// [`GOOD_FOR`] between attempts it outlasts an outage of half an hour.
const DROPPED_AFTER: u8 = 4;

/// A pause between two pings of one node, longer than any query waits for its answer.
const ASK_PAUSE: u32 = 15;

/// Unit of the stored round trip: 16 bits reach to 6.5 seconds.
const ROUND_TRIP_UNIT: u128 = 100;

const EXTENSION: u8 = 1;
const SECURE: u8 = 2;
const LOCAL: u8 = 4;
/// The last thing noted in `asked` is a ping, not a failure.
const PINGED: u8 = 8;

/// Seconds since the table's creation, from 1 on.
pub(super) type Seconds = u32;

/// The time that never comes up: before the table's creation.
pub(super) const NEVER: Seconds = 0;

/// Turns instants into [`Seconds`] and back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn new(now: Instant) -> Self {
        Self(now)
    }

    pub(super) fn seconds(&self, now: Instant) -> Seconds {
        let elapsed = now.saturating_duration_since(self.0).as_secs();
        u32::try_from(elapsed).map_or(u32::MAX, |elapsed| elapsed.saturating_add(1))
    }

    pub(super) fn instant(&self, seconds: Seconds) -> Instant {
        self.0 + Duration::from_secs(u64::from(seconds.saturating_sub(1)))
    }
}

/// A node of the family whose compact nodes take `LEN` bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<const LEN: usize> {
    answered: Seconds,
    queried: Seconds,
    /// When a ping of ours went out or failed, [`NEVER`] after an answer.
    asked: Seconds,
    round_trip: u16,
    failures: u8,
    flags: u8,
    /// As it stands in answers.
    node: [u8; LEN],
}

/// The compact node, if it is of this family and can be sent to.
pub(super) fn compact_node<const LEN: usize>(contact: &Contact) -> Option<[u8; LEN]> {
    let ip = contact.address.ip();
    // A link-local address means nothing without its interface, which a compact node cannot name.
    let scoped = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    if contact.address.port() == 0 || ip.is_unspecified() || ip.is_multicast() || scoped {
        return None;
    }
    let mut node = [0; LEN];
    node[..ID_LEN].copy_from_slice(contact.id.as_bytes());
    write_address(&contact.address, &mut node[ID_LEN..])?;
    Some(node)
}

/// The compact address, if it is of this family.
pub(super) fn write_address(address: &SocketAddr, out: &mut [u8]) -> Option<()> {
    let (ip, port) = out.split_at_mut(out.len() - 2);
    match address.ip() {
        IpAddr::V4(v4) if ip.len() == 4 => ip.copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) if ip.len() == 16 => ip.copy_from_slice(&v6.octets()),
        _ => return None,
    }
    port.copy_from_slice(&address.port().to_be_bytes());
    Some(())
}

impl<const LEN: usize> Entry<LEN> {
    /// Bytes of the address that name its subnet: /24 or /64.
    const SUBNET_LEN: usize = if LEN == super::V4_LEN { 3 } else { 8 };

    /// A node of which nothing is known but its compact form, with its IP address.
    pub(super) fn new(node: [u8; LEN], ip: IpAddr) -> Self {
        let mut entry = Self {
            answered: NEVER,
            queried: NEVER,
            asked: NEVER,
            round_trip: 0,
            failures: 0,
            flags: 0,
            node,
        };
        if is_local(ip) {
            entry.flags |= LOCAL;
        }
        if is_secure(&entry.id(), ip) {
            entry.flags |= SECURE;
        }
        entry
    }

    pub(super) fn observe(&mut self, now: Seconds, traits: Traits, seen: Seen) {
        match seen {
            Seen::Answered { round_trip } => {
                self.answered = now;
                self.asked = NEVER;
                self.failures = 0;
                self.smooth_round_trip(round_trip);
                self.set_extension(traits);
            }
            // A query may be forged: it neither excuses failures nor changes what answers showed.
            Seen::Queried => {
                self.queried = now;
                if !self.has_answered() {
                    self.set_extension(traits);
                }
            }
            Seen::Told => {}
        }
    }

    fn set_extension(&mut self, traits: Traits) {
        self.flags &= !EXTENSION;
        if traits.extension {
            self.flags |= EXTENSION;
        }
    }

    /// An eighth of the newest, as RFC 6298 smooths.
    fn smooth_round_trip(&mut self, newest: Duration) {
        let newest = (newest.as_micros() / ROUND_TRIP_UNIT).clamp(1, u128::from(u16::MAX)) as u32;
        let smoothed = match u32::from(self.round_trip) {
            0 => newest,
            old => (old * 7 + newest).div_ceil(8),
        };
        self.round_trip = smoothed as u16;
    }

    /// One more failure in a row.
    pub(super) fn on_failure(&mut self, now: Seconds) {
        self.failures = self.failures.saturating_add(1);
        self.asked = now;
        self.flags &= !PINGED;
    }

    /// A ping is on its way.
    pub(super) fn on_asked(&mut self, now: Seconds) {
        self.asked = now;
        self.flags |= PINGED;
    }

    /// Whether a failure is noted already that came after a query of this time was sent: queries
    /// of one burst fail together, and that is one failure.
    pub(super) fn has_failed_since(&self, sent: Seconds) -> bool {
        self.failures > 0 && self.flags & PINGED == 0 && sent <= self.asked
    }

    pub(super) fn node(&self) -> &[u8; LEN] {
        &self.node
    }

    pub(super) fn address_bytes(&self) -> &[u8] {
        &self.node[ID_LEN..]
    }

    pub(super) fn id_bytes(&self) -> &[u8; ID_LEN] {
        self.node
            .first_chunk()
            .expect("a compact node starts with an id")
    }

    pub(super) fn id(&self) -> Id {
        Id::from_bytes(*self.id_bytes())
    }

    pub(super) fn contact(&self) -> Contact {
        let address = read_compact_address(self.address_bytes());
        Contact::new(
            self.id(),
            address.expect("a compact address of one of two lengths"),
        )
    }

    pub(super) fn traits(&self) -> Traits {
        Traits {
            extension: self.has_extension(),
        }
    }

    pub(super) fn has_extension(&self) -> bool {
        self.flags & EXTENSION != 0
    }

    pub(super) fn is_secure(&self) -> bool {
        self.flags & SECURE != 0
    }

    /// Whether it has ever answered.
    pub(super) fn has_answered(&self) -> bool {
        self.answered != NEVER
    }

    pub(super) fn answered(&self) -> Seconds {
        self.answered
    }

    pub(super) fn is_bad(&self) -> bool {
        self.failures >= BAD_AFTER
    }

    /// Whether its place should be free even if nobody waits for it.
    pub(super) fn is_lost(&self) -> bool {
        self.is_bad() && (!self.has_answered() || self.failures >= DROPPED_AFTER)
    }

    pub(super) fn state(&self, now: Seconds) -> NodeState {
        if self.is_bad() {
            NodeState::Bad
        } else if !self.has_answered() {
            NodeState::Untested
        } else if self.failures == 0 && now.saturating_sub(self.heard()) < GOOD_FOR {
            NodeState::Good
        } else {
            NodeState::Questionable
        }
    }

    /// When we last heard from it.
    pub(super) fn heard(&self) -> Seconds {
        self.answered.max(self.queried)
    }

    /// When a ping is due.
    pub(super) fn ping_due(&self) -> Seconds {
        if self.is_bad() {
            return self.asked.saturating_add(GOOD_FOR);
        }
        let pause_ends = self.pause_ends();
        let doubtful = match (self.has_answered(), self.failures) {
            (true, 0) => self.heard().saturating_add(GOOD_FOR),
            _ => NEVER,
        };
        doubtful.max(pause_ends)
    }

    /// Whether our last ping is long enough ago for another.
    pub(super) fn may_be_asked(&self, now: Seconds) -> bool {
        self.pause_ends() <= now
    }

    fn pause_ends(&self) -> Seconds {
        match self.asked {
            NEVER => NEVER,
            asked => asked.saturating_add(ASK_PAUSE),
        }
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        let units = u64::from(self.round_trip);
        (units != 0).then(|| Duration::from_micros(units * ROUND_TRIP_UNIT as u64))
    }

    /// For ordering: the unknown round trip counts as the longest.
    pub(super) fn round_trip_or_longest(&self) -> u16 {
        match self.round_trip {
            0 => u16::MAX,
            known => known,
        }
    }

    /// Whether the two stand in one subnet, of which few may enter.
    pub(super) fn is_neighbour(&self, other: &Self) -> bool {
        let subnet = ID_LEN..ID_LEN + Self::SUBNET_LEN;
        self.flags & LOCAL == 0 && self.node[subnet.clone()] == other.node[subnet]
    }
}
