//! Whoever takes part in a simulated DHT: production nodes, and those that mean harm.

use std::net::SocketAddr;
use std::time::Instant;

use dhtnet_simnet::{Machine, Transmit};

use super::honest::Honest;
use super::hostile::Hostile;

/// A machine of the network.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "the network boxes each machine, and most are honest"
)]
pub(super) enum Participant {
    Honest(Honest),
    Hostile(Hostile),
}

impl Participant {
    pub(super) fn honest(&self) -> Option<&Honest> {
        match self {
            Self::Honest(honest) => Some(honest),
            Self::Hostile(_) => None,
        }
    }

    pub(super) fn honest_mut(&mut self) -> Option<&mut Honest> {
        match self {
            Self::Honest(honest) => Some(honest),
            Self::Hostile(_) => None,
        }
    }
}

impl Machine for Participant {
    fn handle_datagram(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) {
        match self {
            Self::Honest(honest) => honest.handle_datagram(now, source, datagram),
            Self::Hostile(hostile) => hostile.handle_datagram(now, source, datagram),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Honest(honest) => honest.handle_timeout(now),
            Self::Hostile(hostile) => hostile.handle_timeout(now),
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Honest(honest) => honest.poll_timeout(),
            Self::Hostile(hostile) => hostile.poll_timeout(),
        }
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        match self {
            Self::Honest(honest) => honest.poll_transmit(),
            Self::Hostile(hostile) => hostile.poll_transmit(),
        }
    }
}
