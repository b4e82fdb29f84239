//! Write tokens (BEP 5): proof that an asker receives at its address.
//!
//! A token is a keyed hash of the asker's IP address; who does not know the secret cannot make
//! one. The secret changes every five minutes, and the one before it still counts, so a token
//! lives for five to ten minutes. The port does not count: BEP 5 ties tokens to the IP address,
//! and translators change ports.

use std::hash::Hasher;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rand_core::Rng;
use sha2::{Digest, Sha256};
use siphasher::sip::SipHasher24;
use subtle::ConstantTimeEq;

/// Bytes of a token. A guess succeeds once in 2^64 tries.
pub(crate) const TOKEN_LEN: usize = 8;

/// For how long a secret is used (BEP 5).
pub(crate) const SECRET_LIFETIME: Duration = Duration::from_secs(5 * 60);

type Secret = [u8; 16];

/// Makes tokens and recognises them.
pub(crate) struct WriteTokens {
    /// Every secret follows from it, so that no randomness is needed later.
    seed: [u8; 32],
    /// When the secret with the number 0 came up.
    start: Option<Instant>,
    period: u64,
    current: Secret,
    previous: Secret,
}

impl WriteTokens {
    /// With fresh secrets.
    pub(crate) fn new(rng: &mut impl Rng) -> Self {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        Self {
            seed,
            start: None,
            period: 0,
            current: secret(&seed, 1),
            previous: secret(&seed, 0),
        }
    }

    /// The token for `address`.
    pub(crate) fn issue(&mut self, now: Instant, address: IpAddr) -> [u8; TOKEN_LEN] {
        self.rotate(now);
        token(&self.current, address)
    }

    /// Whether `token` was issued to `address` within the last five minutes; up to ten minutes it
    /// may still be accepted. Takes the same time wherever the token is wrong.
    pub(crate) fn accepts(&mut self, now: Instant, address: IpAddr, token: &[u8]) -> bool {
        self.rotate(now);
        let Ok(given) = <[u8; TOKEN_LEN]>::try_from(token) else {
            return false;
        };
        let current = self::token(&self.current, address).ct_eq(&given);
        let previous = self::token(&self.previous, address).ct_eq(&given);
        (current | previous).into()
    }

    fn rotate(&mut self, now: Instant) {
        let start = *self.start.get_or_insert(now);
        let elapsed = now.saturating_duration_since(start).as_secs();
        let period = elapsed / SECRET_LIFETIME.as_secs();
        if period > self.period {
            self.period = period;
            self.current = secret(&self.seed, period + 1);
            self.previous = secret(&self.seed, period);
        }
    }
}

impl std::fmt::Debug for WriteTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteTokens")
            .field("period", &self.period)
            .finish_non_exhaustive()
    }
}

/// The secret with this number.
fn secret(seed: &[u8; 32], number: u64) -> Secret {
    let hash = Sha256::new()
        .chain_update(b"dhtnet write token")
        .chain_update(seed)
        .chain_update(number.to_be_bytes())
        .finalize();
    let mut secret = Secret::default();
    secret.copy_from_slice(&hash[..16]);
    secret
}

fn token(secret: &Secret, address: IpAddr) -> [u8; TOKEN_LEN] {
    let mut hasher = SipHasher24::new_with_key(secret);
    match address.to_canonical() {
        IpAddr::V4(v4) => hasher.write(&v4.octets()),
        IpAddr::V6(v6) => hasher.write(&v6.octets()),
    }
    hasher.finish().to_be_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    #![allow(clippy::disallowed_methods)] // An instant to count from.

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn tokens(seed: u64) -> WriteTokens {
        WriteTokens::new(&mut ChaCha20Rng::seed_from_u64(seed))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_token_lives_five_to_ten_minutes() {
        let now = Instant::now();
        let mut tokens = tokens(1);
        let asker = ip("203.0.113.5");
        tokens.issue(now, asker);
        let late = now + SECRET_LIFETIME - Duration::from_secs(1);
        let token = tokens.issue(late, asker);
        assert!(tokens.accepts(late + SECRET_LIFETIME, asker, &token));
        assert!(!tokens.accepts(
            late + SECRET_LIFETIME + Duration::from_secs(1),
            asker,
            &token
        ));
        assert!(!tokens.accepts(late + Duration::from_secs(86_400), asker, &token));
    }

    #[test]
    fn a_token_belongs_to_one_address() {
        let now = Instant::now();
        let mut tokens = tokens(1);
        for (asker, other) in [
            ("203.0.113.5", "203.0.113.6"),
            ("2001:db8::1", "2001:db8::2"),
        ] {
            let token = tokens.issue(now, ip(asker));
            assert!(tokens.accepts(now, ip(asker), &token));
            assert!(!tokens.accepts(now, ip(other), &token));
        }
        let token = tokens.issue(now, ip("::ffff:203.0.113.5"));
        assert!(tokens.accepts(now, ip("203.0.113.5"), &token));
    }

    /// The fault: a hash of the address alone, or with a secret of few bits.
    #[test]
    fn a_token_cannot_be_made_without_the_secret() {
        let now = Instant::now();
        let asker = ip("203.0.113.5");
        let issued: std::collections::BTreeSet<_> = (0..100)
            .map(|seed| tokens(seed).issue(now, asker))
            .collect();
        assert_eq!(issued.len(), 100, "each node makes its own");
        let mut mine = tokens(1000);
        assert!(issued.iter().all(|token| !mine.accepts(now, asker, token)));
    }

    #[test]
    fn what_differs_in_any_bit_or_in_length_is_no_token() {
        let now = Instant::now();
        let mut tokens = tokens(1);
        let asker = ip("203.0.113.5");
        let token = tokens.issue(now, asker);
        for bit in 0..TOKEN_LEN * 8 {
            let mut wrong = token;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!tokens.accepts(now, asker, &wrong));
        }
        for len in 0..TOKEN_LEN {
            assert!(!tokens.accepts(now, asker, &token[..len]));
        }
        assert!(!tokens.accepts(now, asker, &[token.as_slice(), &[0]].concat()));
    }

    #[test]
    fn a_clock_that_stands_still_or_steps_back_changes_nothing() {
        let now = Instant::now() + Duration::from_secs(3600);
        let mut tokens = tokens(1);
        let asker = ip("203.0.113.5");
        let token = tokens.issue(now, asker);
        assert!(tokens.accepts(now - Duration::from_secs(1), asker, &token));
        assert_eq!(tokens.issue(now - Duration::from_secs(1), asker), token);
    }
}
