//! The primitives of every Noise handshake here, for snow, and a device's static keys on
//! Curve25519.
//!
//! They are shared by the one-way messages of [`sealed`](crate::sealed) and by the transport's
//! handshake.

use std::fmt;
use std::sync::Arc;

use blake2::{Blake2s256, Digest};
use chacha20poly1305::aead::{AeadInOut, inout::InOutBuf};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use subtle::ConstantTimeEq;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

/// A Curve25519 static key pair, its public half computed once.
pub struct StaticKeys {
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl StaticKeys {
    /// The pair of this secret, which X25519 clamps.
    #[must_use]
    pub fn new(secret: Zeroizing<[u8; 32]>) -> Self {
        let public = PublicKey::from(&StaticSecret::from(*secret)).to_bytes();
        Self { secret, public }
    }

    /// The private half, to be given to Noise and nobody else.
    #[must_use]
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Whether Diffie-Hellman with this public key gives anything but zero, which every Noise
    /// message with it needs.
    #[must_use]
    pub fn accepts(&self, public: &[u8; 32]) -> bool {
        StaticSecret::from(*self.secret)
            .diffie_hellman(&PublicKey::from(*public))
            .was_contributory()
    }
}

impl fmt::Debug for StaticKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaticKeys(secret)")
    }
}

/// Where Noise takes its ephemeral keys from: the caller's generator.
pub trait FillRandom: Send + Sync {
    /// Fills `bytes` with random bytes fit for secrets.
    fn fill(&self, bytes: &mut [u8]);
}

/// Curve25519, ChaChaPoly and BLAKE2s, for [`snow::Builder::with_resolver`].
///
/// snow's default resolver would take randomness from the system, accept an all-zero
/// Diffie-Hellman result and leave keys in memory; this one does none of that.
pub struct Primitives {
    local: Option<Arc<StaticKeys>>,
    random: Option<Arc<dyn FillRandom>>,
}

impl Primitives {
    /// With the key pair of this device, if it takes part with one: its public half is then not
    /// computed again. Without `random` no message can be written.
    #[must_use]
    pub fn new(local: Option<Arc<StaticKeys>>, random: Option<Arc<dyn FillRandom>>) -> Self {
        Self { local, random }
    }
}

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(InjectedRandom(self.random.clone())))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::new(X25519::new(self.local.clone()))),
            _ => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        match choice {
            HashChoice::Blake2s => Some(Box::<Blake2s>::default()),
            _ => None,
        }
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        match choice {
            CipherChoice::ChaChaPoly => Some(Box::new(ChaChaPoly(None))),
            _ => None,
        }
    }
}

struct InjectedRandom(Option<Arc<dyn FillRandom>>);

impl Random for InjectedRandom {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        self.0.as_ref().ok_or(snow::Error::Rng)?.fill(dest);
        Ok(())
    }
}

struct X25519 {
    /// The key pair of this device: setting its secret needs no multiplication.
    local: Option<Arc<StaticKeys>>,
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl X25519 {
    fn new(local: Option<Arc<StaticKeys>>) -> Self {
        Self {
            local,
            secret: Zeroizing::new([0; 32]),
            public: [0; 32],
        }
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        self.secret.copy_from_slice(privkey);
        self.public = match &self.local {
            Some(local) if bool::from(self.secret.ct_eq(&*local.secret)) => local.public,
            _ => PublicKey::from(&StaticSecret::from(*self.secret)).to_bytes(),
        };
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        rng.try_fill_bytes(&mut *self.secret)?;
        self.public = PublicKey::from(&StaticSecret::from(*self.secret)).to_bytes();
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.secret
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let public: [u8; 32] = pubkey
            .get(..32)
            .and_then(|key| key.try_into().ok())
            .ok_or(snow::Error::Dh)?;
        let shared = StaticSecret::from(*self.secret).diffie_hellman(&PublicKey::from(public));
        if !shared.was_contributory() {
            return Err(snow::Error::Dh);
        }
        out.get_mut(..32)
            .ok_or(snow::Error::Dh)?
            .copy_from_slice(shared.as_bytes());
        Ok(())
    }
}

#[derive(Default)]
struct Blake2s(Blake2s256);

impl Hash for Blake2s {
    fn name(&self) -> &'static str {
        "BLAKE2s"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Blake2s256::default();
    }

    fn input(&mut self, input: &[u8]) {
        self.0.update(input);
    }

    fn result(&mut self, out: &mut [u8]) {
        let mut digest = std::mem::take(&mut self.0).finalize();
        out[..32].copy_from_slice(&digest);
        digest.as_mut_slice().zeroize();
    }
}

/// `None` until a key is set. The cipher zeroizes its own key on drop.
struct ChaChaPoly(Option<ChaCha20Poly1305>);

const TAG_LEN: usize = 16;

/// Four zero bytes, then the counter in little-endian (Noise specification section 12.3).
fn noise_nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce.into()
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = Some(ChaCha20Poly1305::new(key.into()));
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let len = plaintext.len();
        let (body, rest) = out.split_at_mut(len);
        body.copy_from_slice(plaintext);
        let tag = self
            .0
            .as_ref()
            .expect("Noise sets a key before it encrypts")
            .encrypt_inout_detached(&noise_nonce(nonce), authtext, InOutBuf::from(body))
            .expect("Noise messages are far below the cipher's limit");
        rest[..TAG_LEN].copy_from_slice(&tag);
        len + TAG_LEN
    }

    fn decrypt(
        &self,
        nonce: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, snow::Error> {
        let (body, tag) = ciphertext
            .split_last_chunk::<TAG_LEN>()
            .ok_or(snow::Error::Decrypt)?;
        let out = out.get_mut(..body.len()).ok_or(snow::Error::Decrypt)?;
        out.copy_from_slice(body);
        self.0
            .as_ref()
            .ok_or(snow::Error::Decrypt)?
            .decrypt_inout_detached(
                &noise_nonce(nonce),
                authtext,
                InOutBuf::from(out),
                &Tag::from(*tag),
            )
            .map_err(|_| snow::Error::Decrypt)?;
        Ok(body.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    fn local() -> Arc<StaticKeys> {
        Arc::new(StaticKeys::new(Zeroizing::new([9; 32])))
    }

    #[test]
    fn an_all_zero_shared_secret_is_refused() {
        let mut dh = X25519::new(Some(local()));
        dh.set(&[9; 32]);
        let mut shared = [0; 32];
        let mut one = [0; 32];
        one[0] = 1;
        for point in [[0; 32], one] {
            assert_eq!(dh.dh(&point, &mut shared), Err(snow::Error::Dh));
            assert!(!local().accepts(&point));
        }
        assert!(dh.dh(local().public(), &mut shared).is_ok());
        assert!(local().accepts(local().public()));
        assert_eq!(dh.dh(&[1; 31], &mut shared), Err(snow::Error::Dh));
    }

    #[test]
    fn keys_agree_with_and_without_the_remembered_public_half() {
        let other = Arc::new(StaticKeys::new(Zeroizing::new([8; 32])));
        for keys in [Some(local()), Some(other), None] {
            let mut dh = X25519::new(keys);
            dh.set(&[9; 32]);
            assert_eq!(dh.pubkey(), local().public());
            assert_eq!(dh.privkey(), [9; 32]);
        }
    }

    #[test]
    fn hkdf_over_the_hash_is_the_one_of_the_noise_specification() {
        // HMAC-BLAKE2s by definition, against the trait's provided method.
        let mut hash = Blake2s::default();
        let mut mac = [0; 32];
        hash.hmac(&[1; 32], b"message", &mut mac);
        let pad = |byte: u8| {
            let mut block = [byte; 64];
            block[..32].iter_mut().for_each(|padded| *padded ^= 1);
            block
        };
        let inner = Blake2s256::new()
            .chain_update(pad(0x36))
            .chain_update(b"message")
            .finalize();
        let outer = Blake2s256::new()
            .chain_update(pad(0x5c))
            .chain_update(inner)
            .finalize();
        assert_eq!(mac, outer[..]);
    }

    #[test]
    fn a_cipher_opens_what_it_sealed_and_nothing_else() {
        let mut cipher = ChaChaPoly(None);
        cipher.set(&[3; 32]);
        let mut sealed = [0; 21];
        assert_eq!(cipher.encrypt(7, b"ad", b"plain", &mut sealed), 21);
        let mut plain = [0; 5];
        assert_eq!(cipher.decrypt(7, b"ad", &sealed, &mut plain), Ok(5));
        assert_eq!(&plain, b"plain");
        assert_eq!(
            cipher.decrypt(8, b"ad", &sealed, &mut plain),
            Err(snow::Error::Decrypt)
        );
        assert_eq!(
            cipher.decrypt(7, b"", &sealed, &mut plain),
            Err(snow::Error::Decrypt)
        );
        for len in 0..sealed.len() {
            assert!(
                cipher
                    .decrypt(7, b"ad", &sealed[..len], &mut plain)
                    .is_err()
            );
        }
        assert!(cipher.decrypt(7, b"ad", &sealed, &mut plain[..4]).is_err());
    }
}
