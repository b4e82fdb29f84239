//! Bytes encrypted to a device by its id alone, in one message that needs no answer: the one-way
//! pattern N of the Noise protocol framework (revision 34, section 7.4).
//!
//! ```text
//! sealed   = ephemeral public key (32) ‖ ciphertext ‖ tag (16)
//! prologue = "dhtnet 1 sealed" ‖ recipient's id (32) ‖ length of domain (4) ‖ domain ‖ context
//! ```
//! Who seals is not named and not proved: sign what is inside. Nor does the message name its
//! recipient. It opens only with the domain and the context it was sealed with, so that what was
//! meant for one purpose or place does not pass at another. There is no forward secrecy towards
//! the recipient's key, and a message can be replayed: what must happen once carries a mark of
//! its own inside.

use std::sync::Arc;

use rand_core::CryptoRng;
use snow::Builder;
use zeroize::Zeroizing;

use crate::device_id::DeviceId;
use crate::device_key::DeviceKey;
use crate::noise::{FillRandom, Primitives, StaticKeys};

/// The pattern and primitives, as the Noise specification spells them.
pub const NOISE_ONE_WAY: &str = "Noise_N_25519_ChaChaPoly_BLAKE2s";

/// Bytes that sealing adds: an ephemeral key and a tag.
pub const SEAL_OVERHEAD: usize = 32 + 16;

/// Bytes of the longest sealed message: the limit of a Noise message (specification, section 3).
pub const MAX_SEALED_LEN: usize = 65_535;

/// Bytes that can be sealed at most.
pub const MAX_PLAINTEXT_LEN: usize = MAX_SEALED_LEN - SEAL_OVERHEAD;

const LABEL: &[u8] = b"dhtnet 1 sealed";

/// What a sealed message is for. Both ends must say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purpose<'a> {
    /// The use: a constant of the protocol that seals, with its version.
    pub domain: &'static str,
    /// Where it belongs, such as the key it is stored under.
    pub context: &'a [u8],
}

impl Purpose<'_> {
    /// The recipient's id is in it because two ids that differ in the sign of x only have one
    /// Noise key.
    fn prologue(&self, recipient: &DeviceId) -> Vec<u8> {
        let domain = self.domain.as_bytes();
        let mut prologue = LABEL.to_vec();
        prologue.extend(recipient.as_bytes());
        prologue.extend((domain.len() as u32).to_be_bytes());
        prologue.extend(domain);
        prologue.extend(self.context);
        prologue
    }
}

impl DeviceId {
    /// Encrypts `plaintext`, at most [`MAX_PLAINTEXT_LEN`] bytes, so that only this device can
    /// read it. The result is [`SEAL_OVERHEAD`] bytes longer and different each time.
    ///
    /// # Errors
    /// [`SealError::TooLong`].
    pub fn seal(
        &self,
        purpose: &Purpose<'_>,
        plaintext: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, SealError> {
        if plaintext.len() > MAX_PLAINTEXT_LEN {
            return Err(SealError::TooLong {
                found: plaintext.len(),
            });
        }
        let mut drawn = Zeroizing::new([0; 32]);
        rng.fill_bytes(drawn.as_mut());
        let primitives = Primitives::new(None, Some(Arc::new(Drawn(drawn))));
        let mut sealed = vec![0; plaintext.len() + SEAL_OVERHEAD];
        one_way(primitives)
            .and_then(|builder| {
                builder
                    .remote_public_key(&self.noise_static())?
                    .prologue(&purpose.prologue(self))?
                    .build_initiator()?
                    .write_message(plaintext, &mut sealed)
            })
            .expect("a checked id and length leave Noise nothing to refuse");
        Ok(sealed)
    }
}

impl DeviceKey {
    /// What [`DeviceId::seal`] encrypted to this device for this purpose.
    ///
    /// # Errors
    /// [`OpenError`]. A message to somebody else and a forged one look alike.
    pub fn open(
        &self,
        purpose: &Purpose<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        if !(SEAL_OVERHEAD..=MAX_SEALED_LEN).contains(&sealed.len()) {
            return Err(OpenError::Length {
                found: sealed.len(),
            });
        }
        let keys = Arc::new(StaticKeys::new(self.noise_static_secret()));
        let mut plaintext = Zeroizing::new(vec![0; sealed.len() - SEAL_OVERHEAD]);
        one_way(Primitives::new(Some(Arc::clone(&keys)), None))
            .and_then(|builder| {
                builder
                    .local_private_key(keys.secret())?
                    .prologue(&purpose.prologue(&self.id()))?
                    .build_responder()?
                    .read_message(sealed, &mut plaintext)
            })
            .map_err(|_| OpenError::NotForUs)?;
        Ok(plaintext)
    }
}

fn one_way<'a>(primitives: Primitives) -> Result<Builder<'a>, snow::Error> {
    Ok(Builder::with_resolver(
        NOISE_ONE_WAY.parse()?,
        Box::new(primitives),
    ))
}

/// The bytes of one ephemeral key, drawn before Noise asks for them.
struct Drawn(Zeroizing<[u8; 32]>);

impl FillRandom for Drawn {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&*self.0);
    }
}

/// Why bytes were not sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// More than one Noise message holds.
    #[error("at most {MAX_PLAINTEXT_LEN} bytes can be sealed, not {found}")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
}

/// Why a sealed message was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Shorter than [`SEAL_OVERHEAD`] or longer than [`MAX_SEALED_LEN`].
    #[error("a sealed message has {SEAL_OVERHEAD} to {MAX_SEALED_LEN} bytes, not {found}")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// Sealed to another device or for another purpose, or changed since.
    #[error("the message was not sealed to this device for this purpose")]
    NotForUs,
}

#[cfg(test)]
mod tests;
