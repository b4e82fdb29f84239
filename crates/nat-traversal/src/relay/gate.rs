//! Strangers prove who they are, without anything being stored for them.

use std::net::SocketAddr;
use std::time::Instant;

use dhtnet_identity::{DeviceId, DeviceKey};
use rand_core::Rng;
use zeroize::Zeroizing;

use super::quota::Bucket;
use super::realm::realm;
use super::wire::{Nonces, Parsed, Shown, code, kind, long_term_key, refusal};
use super::{
    CHALLENGE_LEN, CHALLENGES_PER_SECOND, DERIVATIONS_PER_SECOND, LONG_CHALLENGES_PER_SECOND,
    MAX_AMPLIFICATION,
};
use crate::stun::{IntegrityKey, verify};

/// A device that knows its password here, and receives at its address.
pub(super) struct Proven {
    pub(super) id: DeviceId,
    pub(super) key: IntegrityKey,
    pub(super) password: Zeroizing<String>,
}

/// Why nothing is proven.
pub(super) enum NotProven {
    /// To be answered with this: it asks for credentials.
    Challenge(Vec<u8>),
    /// Too many come at once.
    Silence,
}

#[derive(Debug)]
pub(super) struct Gate {
    key: DeviceKey,
    realm: String,
    nonces: Nonces,
    challenges: Bucket,
    long_challenges: Bucket,
    derivations: Bucket,
}

impl Gate {
    pub(super) fn new(now: Instant, key: DeviceKey, rng: &mut impl Rng) -> Self {
        Self {
            realm: realm(&key.id()),
            key,
            nonces: Nonces::new(now, rng),
            challenges: Bucket::new(now, CHALLENGES_PER_SECOND),
            long_challenges: Bucket::new(now, LONG_CHALLENGES_PER_SECOND),
            derivations: Bucket::new(now, DERIVATIONS_PER_SECOND),
        }
    }

    /// The realm of this relay.
    pub(super) fn realm(&self) -> &str {
        &self.realm
    }

    /// Whether this request proves a device. The cheap conditions come first, and the address
    /// before the password.
    pub(super) fn examine(
        &mut self,
        now: Instant,
        from: SocketAddr,
        parsed: &Parsed<'_>,
        frame: &[u8],
    ) -> Result<Proven, NotProven> {
        if parsed.attribute(kind::MESSAGE_INTEGRITY).is_none() {
            return Err(self.not_proven(now, from, parsed, code::UNAUTHENTICATED));
        }
        let nonce = parsed.text(kind::NONCE).unwrap_or_default();
        if !self.nonces.is_valid(now, from, nonce) {
            return Err(self.not_proven(now, from, parsed, code::STALE_NONCE));
        }
        let username = parsed.text(kind::USERNAME).unwrap_or_default();
        // One spelling of an id, so that a quota cannot be evaded by another.
        let id = username.parse::<DeviceId>();
        let Some(id) = id.ok().filter(|id| id.to_string() == username) else {
            return Err(self.not_proven(now, from, parsed, code::UNAUTHENTICATED));
        };
        if !self.derivations.take(now, 1) {
            return Err(NotProven::Silence);
        }
        let password = self.key.password_of_client(&id);
        match long_term_key(username, &self.realm, &password)
            .filter(|key| verify(frame, key).is_ok())
        {
            Some(key) => Ok(Proven { id, key, password }),
            None => Err(self.not_proven(now, from, parsed, code::UNAUTHENTICATED)),
        }
    }

    fn not_proven(
        &mut self,
        now: Instant,
        from: SocketAddr,
        parsed: &Parsed<'_>,
        code: u16,
    ) -> NotProven {
        self.challenge(now, from, parsed, code)
            .map_or(NotProven::Silence, NotProven::Challenge)
    }

    /// A refusal with a nonce, if there may be one more.
    pub(super) fn challenge(
        &mut self,
        now: Instant,
        from: SocketAddr,
        parsed: &Parsed<'_>,
        code: u16,
    ) -> Option<Vec<u8>> {
        let is_long = CHALLENGE_LEN > MAX_AMPLIFICATION * parsed.len;
        if is_long && !self.long_challenges.take(now, 1) || !self.may_answer(now) {
            return None;
        }
        let nonce = self.nonces.issue(now, from);
        let shown = Shown::Challenge(&self.realm, &nonce);
        refusal((parsed.method, parsed.id), code, shown)
    }

    /// Counts one answer to somebody unknown.
    pub(super) fn may_answer(&mut self, now: Instant) -> bool {
        self.challenges.take(now, 1)
    }
}
