//! Places in the key space: 160-bit ids, and the XOR distance between two of them (BEP 5).

use std::fmt;
use std::str::FromStr;

use rand_core::Rng;
use sha1::{Digest, Sha1};

/// Bytes of an id.
pub const ID_LEN: usize = 20;

/// Bits of an id.
pub const ID_BITS: usize = ID_LEN * 8;

/// A node id, an info hash or the target of an item: 160 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Id([u8; ID_LEN]);

impl Id {
    /// The id with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; ID_LEN]) -> Self {
        Self(bytes)
    }

    /// The id in `bytes`, if there are exactly 20 of them.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The SHA-1 of `input`: how texts, keys and values get their place.
    #[must_use]
    pub fn hash_of(input: &[u8]) -> Self {
        Self(Sha1::digest(input).into())
    }

    /// An id anywhere in the key space.
    #[must_use]
    pub fn random(rng: &mut impl Rng) -> Self {
        let mut bytes = [0; ID_LEN];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// A random id that shares exactly `prefix` bits with this one, fewer than [`ID_BITS`].
    ///
    /// # Panics
    /// When `prefix` is [`ID_BITS`] or more.
    #[must_use]
    pub fn random_at(&self, prefix: usize, rng: &mut impl Rng) -> Self {
        assert!(prefix < ID_BITS, "an id has {ID_BITS} bits");
        let mut bytes = Self::random(rng).0;
        let whole = prefix / 8;
        bytes[..whole].copy_from_slice(&self.0[..whole]);
        let kept = 0xff_u8.checked_shl(8 - (prefix % 8) as u32).unwrap_or(0);
        let differing = 0x80 >> (prefix % 8);
        let rest = bytes[whole] & !kept & !differing;
        bytes[whole] = (self.0[whole] & kept) | (!self.0[whole] & differing) | rest;
        Self(bytes)
    }

    /// The bytes, most significant first.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; ID_LEN] {
        &self.0
    }

    /// The XOR distance to `other`.
    #[must_use]
    pub fn distance(&self, other: &Self) -> Distance {
        let mut bytes = self.0;
        for (byte, other) in bytes.iter_mut().zip(other.0) {
            *byte ^= other;
        }
        Distance(bytes)
    }

    /// Leading bits that this id and `other` have in common, 0 to [`ID_BITS`].
    #[must_use]
    pub fn common_prefix(&self, other: &Self) -> usize {
        self.distance(other).leading_zeros()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "Id({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// Why a text is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 40 hexadecimal digits")]
pub struct ParseIdError;

impl FromStr for Id {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let digits = text.as_bytes();
        if digits.len() != ID_LEN * 2 {
            return Err(ParseIdError);
        }
        let mut bytes = [0; ID_LEN];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let high = hex_digit(pair[0]).ok_or(ParseIdError)?;
            let low = hex_digit(pair[1]).ok_or(ParseIdError)?;
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

fn hex_digit(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

/// How far apart two ids are; the smaller the nearer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Distance([u8; ID_LEN]);

impl Distance {
    /// The distance from anything to itself.
    pub const ZERO: Self = Self([0; ID_LEN]);

    /// Beyond every id.
    pub const MAX: Self = Self([0xff; ID_LEN]);

    /// The bytes, most significant first.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; ID_LEN] {
        &self.0
    }

    /// Leading zero bits, 0 to [`ID_BITS`].
    #[must_use]
    pub fn leading_zeros(&self) -> usize {
        match self.0.iter().position(|&byte| byte != 0) {
            Some(at) => at * 8 + self.0[at].leading_zeros() as usize,
            None => ID_BITS,
        }
    }

    /// The distance as a share of the key space, 0.0 to 1.0.
    #[must_use]
    pub fn as_share(&self) -> f64 {
        let mut head = [0; 8];
        head.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(head) as f64 / 2f64.powi(64)
    }
}

impl fmt::Debug for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Distance(2^{})", ID_BITS - self.leading_zeros())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn a_text_and_its_id_agree() {
        let text = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(text.parse::<Id>().unwrap().to_string(), text);
        assert_eq!(text.to_uppercase().parse::<Id>().unwrap().to_string(), text);
        assert_eq!(text[1..].parse::<Id>(), Err(ParseIdError));
        assert_eq!("zz".repeat(20).parse::<Id>(), Err(ParseIdError));
        assert_eq!("é".repeat(20).parse::<Id>(), Err(ParseIdError));
    }

    #[test]
    fn a_random_id_in_a_bucket_shares_exactly_its_prefix() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let own = Id::random(&mut rng);
        for prefix in 0..ID_BITS {
            assert_eq!(own.random_at(prefix, &mut rng).common_prefix(&own), prefix);
        }
    }

    #[test]
    fn distance_counts_from_the_most_significant_bit() {
        let zero = Id::default();
        let mut bytes = [0; ID_LEN];
        bytes[1] = 0x10;
        let other = Id::from_bytes(bytes);
        assert_eq!(zero.common_prefix(&other), 11);
        assert_eq!(zero.distance(&zero), Distance::ZERO);
        assert_eq!(zero.common_prefix(&zero), ID_BITS);
        assert!((Distance([0x80; 20]).as_share() - 0.5).abs() < 0.01);
    }
}
