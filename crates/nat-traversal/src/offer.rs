//! What two peers tell each other before they have a path.
//!
//! An offer travels sealed to its reader, over the DHT or in a connection that exists; who sends
//! it is proved there, not here. In bytes, integers big-endian:
//!
//! ```text
//! version (1) ‖ wish (1) ‖ session (8) ‖ timestamp, ms since 1970 (8) ‖ ufrag (4) ‖ password (16)
//! nat (1): mapping, filtering and allocation, 2 bits each from the lowest, 0 = not known
//! allocation: sequential: step (2); block: low (2) ‖ high (2); else nothing
//! samples (1) ‖ port (2) each
//! candidates (1) ‖ each: kind (1, top bit set for IPv6) ‖ address (4 or 16) ‖ port (2)
//! ```
//! What follows is for later versions and not read. Priorities are not sent: both sides compute
//! them from kind, family and place in the list.

mod bytes;
mod replay;

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand_core::Rng;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

use self::bytes::{Reader, Writer};
pub use self::replay::{MAX_AGE, MAX_REMEMBERED, Refused, ReplayWindow};
use crate::behavior::{Allocation, Filtering, Mapping};
use crate::candidate::{Candidate, MAX_CANDIDATES};

/// The version that is written.
pub const VERSION: u8 = 1;

/// Most recent ports of one side that an offer carries: enough to tell a sequence from chance.
pub const MAX_SAMPLES: usize = 16;

/// Bytes of the longest offer of this version: all candidates IPv6, all samples. Far below the
/// 1,000 bytes that a value of the DHT has, with seal and signature.
pub const MAX_LEN: usize = 38 + 1 + 4 + 1 + 2 * MAX_SAMPLES + 1 + 19 * MAX_CANDIDATES;

/// Which attempt an offer belongs to: both sides of it use the caller's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 8]);

impl SessionId {
    /// A new one.
    #[must_use]
    pub fn random(rng: &mut impl Rng) -> Self {
        let mut bytes = [0; 8];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }
}

/// What the sender of an offer wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Wish {
    /// A path; the reader answers with its own offer.
    Connect = 1,
    /// It answers [`Connect`](Self::Connect).
    Answer = 2,
    /// It has more candidates than it told before.
    Update = 3,
}

/// What proves a check to come from who was told: as in ICE (RFC 8445 section 5.3), random for
/// each attempt.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Credentials {
    ufrag: [u8; 4],
    password: [u8; 16],
}

impl Credentials {
    /// New ones: 32 bits that name them and 128 bits that nobody guesses. The generator has to be
    /// unpredictable.
    #[must_use]
    pub fn random(rng: &mut impl Rng) -> Self {
        let (mut ufrag, mut password) = ([0; 4], [0; 16]);
        rng.fill_bytes(&mut ufrag);
        rng.fill_bytes(&mut password);
        Self { ufrag, password }
    }

    /// Those that both ends of a connection derive from its keys, where no offer tells them.
    #[must_use]
    pub fn derived(ufrag: [u8; 4], password: [u8; 16]) -> Self {
        Self { ufrag, password }
    }

    /// The user fragment as a number, to find its side by.
    #[must_use]
    pub fn tag(&self) -> u32 {
        u32::from_be_bytes(self.ufrag)
    }

    /// The user fragment as text: eight hexadecimal digits.
    #[must_use]
    pub fn ufrag(&self) -> String {
        hexadecimal(&self.ufrag)
    }

    /// The password as text: 32 hexadecimal digits.
    #[must_use]
    pub fn password(&self) -> String {
        hexadecimal(&self.password)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, secret)", self.ufrag())
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What one side knows of the NAT before its main socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NatProfile {
    /// Its mapping, if measured.
    pub mapping: Option<Mapping>,
    /// Its filtering, if measured.
    pub filtering: Option<Filtering>,
    /// How its ports follow each other, if that is not just as wanted.
    pub allocation: Option<Allocation>,
    /// Outer ports that it gave out, the newest last; at most [`MAX_SAMPLES`].
    pub samples: Vec<u16>,
}

impl NatProfile {
    /// Whether other remotes see another port than was measured.
    #[must_use]
    pub fn is_dependent(&self) -> bool {
        !matches!(self.mapping, None | Some(Mapping::EndpointIndependent))
    }
}

/// What one side tells the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What it is for.
    pub wish: Wish,
    /// Which attempt it belongs to.
    pub session: SessionId,
    /// When it was made, in milliseconds since 1970 by the sender's clock.
    pub timestamp: u64,
    /// What checks towards the sender have to prove.
    pub credentials: Credentials,
    /// The sender's NAT.
    pub nat: NatProfile,
    /// Where it may be reached; at most [`MAX_CANDIDATES`].
    pub candidates: Vec<Candidate>,
}

/// Why bytes are not an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end too soon.
    #[error("the offer is cut off")]
    Truncated,
    /// Another version, or not an offer at all.
    #[error("offer of version {0}, which is not known")]
    Version(u8),
    /// A number that stands for nothing.
    #[error("unknown {field} {value}")]
    Unknown {
        /// Of what.
        field: &'static str,
        /// The number.
        value: u8,
    },
    /// More of something than there may be.
    #[error("{found} {field}")]
    TooMany {
        /// Of what.
        field: &'static str,
        /// How many.
        found: u8,
    },
}

/// Wall time as it is written in offers.
#[must_use]
pub fn timestamp(wall: SystemTime) -> u64 {
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Offer {
    /// Its bytes, at most [`MAX_LEN`]: samples past [`MAX_SAMPLES`] (the oldest) and candidates
    /// past [`MAX_CANDIDATES`] are left out.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.bytes(&[VERSION, self.wish as u8]);
        to.bytes(&self.session.0);
        to.bytes(&self.timestamp.to_be_bytes());
        to.bytes(&self.credentials.ufrag);
        to.bytes(&self.credentials.password);
        to.nat(&self.nat);
        let oldest = self.nat.samples.len().saturating_sub(MAX_SAMPLES);
        to.count(self.nat.samples.len() - oldest);
        for port in &self.nat.samples[oldest..] {
            to.bytes(&port.to_be_bytes());
        }
        let candidates = self.candidates.iter().take(MAX_CANDIDATES);
        to.count(candidates.len());
        for candidate in candidates {
            to.candidate(candidate);
        }
        to.finish()
    }

    /// Reads an offer. Addresses that are not for a peer (see
    /// [`is_offerable`](crate::candidate::is_offerable)) are left out.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let version = from.byte()?;
        if version != VERSION {
            return Err(DecodeError::Version(version));
        }
        let wish = match from.byte()? {
            1 => Wish::Connect,
            2 => Wish::Answer,
            3 => Wish::Update,
            value => {
                let field = "wish";
                return Err(DecodeError::Unknown { field, value });
            }
        };
        let session = SessionId(from.array()?);
        let timestamp = u64::from_be_bytes(from.array()?);
        let credentials = Credentials {
            ufrag: from.array()?,
            password: from.array()?,
        };
        let mut nat = from.nat()?;
        for _ in 0..from.count("samples", MAX_SAMPLES)? {
            nat.samples.push(u16::from_be_bytes(from.array()?));
        }
        let mut candidates = Vec::new();
        for _ in 0..from.count("candidates", MAX_CANDIDATES)? {
            let candidate = from.candidate()?;
            if candidate.is_offerable() {
                candidates.push(candidate);
            }
        }
        Ok(Self {
            wish,
            session,
            timestamp,
            credentials,
            nat,
            candidates,
        })
    }
}

#[cfg(test)]
mod tests;
