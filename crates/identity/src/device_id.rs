//! The id of a device: its Ed25519 public key, checked once on the way in.
//!
//! A [`DeviceId`] is made only from bytes that pass all three checks of [`InvalidPublicKey`], so
//! everything behind it may rely on a key of prime order in its one canonical encoding. Two ids
//! are the same device exactly when their bytes are equal.

mod text;

use std::fmt;

use ed25519_dalek::{Signature, VerifyingKey};

pub use text::{ID_TEXT_LEN, KEY_HEX_LEN, ParseDeviceIdError};

/// Length of an Ed25519 public key in bytes (RFC 8032, section 5.1.5).
pub const PUBLIC_KEY_LEN: usize = 32;

/// A device: the Ed25519 public key that names it.
///
/// `Display` and `FromStr` use the text form: 56 lower-case base32 characters of
/// public key (32 bytes) ‖ checksum (2) ‖ version (1). `FromStr` also takes upper case, and the
/// bare key as 64 hex digits. `Debug` shows the first characters only.
///
/// ```
/// use dhtnet_identity::DeviceKey;
/// let id = DeviceKey::from_seed(&[7; 32]).id();
/// let text = id.to_string();
/// assert_eq!(text.len(), 56);
/// assert_eq!(text.parse(), Ok(id));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId([u8; PUBLIC_KEY_LEN]);

impl DeviceId {
    /// Checks `bytes` and takes them as a device id.
    ///
    /// # Errors
    /// [`InvalidPublicKey`] when the bytes are no point of the curve, not its canonical encoding,
    /// of small order, or not of prime order.
    pub fn from_bytes(bytes: &[u8; PUBLIC_KEY_LEN]) -> Result<Self, InvalidPublicKey> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| InvalidPublicKey::NotOnCurve)?;
        let point = key.to_edwards();
        if point.compress().as_bytes() != bytes {
            return Err(InvalidPublicKey::NotCanonical);
        }
        if key.is_weak() {
            return Err(InvalidPublicKey::SmallOrder);
        }
        if !point.is_torsion_free() {
            return Err(InvalidPublicKey::MixedOrder);
        }
        Ok(Self(*bytes))
    }

    /// The public key, 32 bytes (RFC 8032, section 5.1.2).
    pub fn as_bytes(&self) -> &[u8; PUBLIC_KEY_LEN] {
        &self.0
    }

    /// The same key on Curve25519, the static public key of the Noise handshake.
    ///
    /// It is the birational map u = (1 + y) / (1 − y) of RFC 7748, section 4.1. The map loses the
    /// sign of x: two ids that differ only there have the same Noise key, so a peer's id must
    /// be shown by the peer and compared, not computed from its Noise key.
    pub fn noise_static(&self) -> [u8; 32] {
        self.verifying_key().to_montgomery().to_bytes()
    }

    /// The first characters of the text form, for logs.
    pub fn short(&self) -> ShortId {
        ShortId(text::encode_short(self))
    }

    /// Checks an Ed25519 signature by this device over `message`, strictly: the signature has
    /// exactly one accepted form (no small-order R, S reduced).
    ///
    /// # Errors
    /// [`BadSignature`] when it was not made by this device over this message.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
        self.verifying_key()
            .verify_strict(message, &Signature::from_bytes(signature))
            .map_err(|_| BadSignature)
    }

    /// The id of a key made here, which needs no check.
    pub(crate) fn of_own_key(key: &VerifyingKey) -> Self {
        Self(key.to_bytes())
    }

    pub(crate) fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey::from_bytes(&self.0).expect("a device id holds a point of the curve")
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceId({}…)", self.short())
    }
}

/// The first eight characters of a [`DeviceId`], for logs and never to tell devices apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShortId([u8; text::SHORT_LEN]);

impl ShortId {
    /// The characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base32 is ASCII")
    }
}

impl fmt::Display for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why 32 bytes are not the public key of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPublicKey {
    /// No x belongs to this y: about half of all byte strings.
    #[error("the public key is not a point of the curve")]
    NotOnCurve,
    /// y is not reduced, or the sign of x = 0 is set: a second spelling of another key.
    #[error("the public key is not in its canonical encoding")]
    NotCanonical,
    /// One of the eight points of small order, for which anyone can sign.
    #[error("the public key is weak: a point of small order")]
    SmallOrder,
    /// A good key plus a point of small order: a twin of another device's key.
    #[error("the public key is weak: a point of mixed order")]
    MixedOrder,
}

/// A signature that the device did not make over this message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not belong to this device and message")]
pub struct BadSignature;
