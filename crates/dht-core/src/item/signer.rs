//! What signs mutable items: a device's key, a seed, or an expanded key of old.

use std::fmt;
use std::sync::Arc;

use dhtnet_identity::DeviceKey;
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use sha2::Sha512;

use super::ItemKey;

/// The secret half of a mutable item's key.
///
/// It is wiped from memory when the last clone is dropped, and `Debug` shows the public half
/// alone.
#[derive(Clone)]
pub struct ItemSigner(Secret);

#[derive(Clone)]
enum Secret {
    Device(Arc<DeviceKey>),
    Expanded(Arc<Expanded>),
}

struct Expanded {
    secret: ExpandedSecretKey,
    public: VerifyingKey,
}

impl ItemSigner {
    /// The key of a 32-byte seed (RFC 8032, section 5.1.5), as new keys are kept.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Secret::Device(Arc::new(DeviceKey::from_seed(seed))))
    }

    /// The key of 64 bytes that are the seed's SHA-512, scalar before prefix, as older DHT
    /// programs keep keys and BEP 44 gives its test key. The scalar is clamped.
    ///
    /// These bytes must come from a seed in that way. A key that has nothing to do with the
    /// scalar in the second half lets signatures be made whose nonce others can compute, and so
    /// gives the secret away. For keys that are made anew use [`Self::from_seed`].
    #[must_use]
    pub fn from_expanded(bytes: &[u8; 64]) -> Self {
        let secret = ExpandedSecretKey::from_bytes(bytes);
        let public = VerifyingKey::from(&secret);
        Self(Secret::Expanded(Arc::new(Expanded { secret, public })))
    }

    /// The public half: the `k` of the items that it signs.
    #[must_use]
    pub fn key(&self) -> ItemKey {
        match &self.0 {
            Secret::Device(key) => *key.id().as_bytes(),
            Secret::Expanded(key) => key.public.to_bytes(),
        }
    }

    /// Plain Ed25519 over `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        match &self.0 {
            Secret::Device(key) => key.sign(message),
            Secret::Expanded(key) => {
                raw_sign::<Sha512>(&key.secret, message, &key.public).to_bytes()
            }
        }
    }
}

impl From<DeviceKey> for ItemSigner {
    fn from(key: DeviceKey) -> Self {
        Self(Secret::Device(Arc::new(key)))
    }
}

impl fmt::Debug for ItemSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.key();
        write!(f, "ItemSigner({a:02x}{b:02x}{c:02x}{d:02x}…, secret)")
    }
}
