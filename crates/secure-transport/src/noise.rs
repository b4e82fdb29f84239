//! Noise IK by snow, with our own primitives and the injected generator.
//!
//! snow's default resolver would take randomness from the system, accept an all-zero
//! Diffie-Hellman result and leave keys in memory; this one does none of that.

use std::sync::Arc;

use blake2::{Blake2s256, Digest};
use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit, Nonce, Tag,
    aead::{AeadInOut, inout::InOutBuf},
};
use snow::{
    HandshakeState,
    params::{CipherChoice, DHChoice, HashChoice},
    resolvers::CryptoResolver,
    types::{Cipher, Dh, Hash, Random},
};
use subtle::ConstantTimeEq;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

use crate::{framing::MAX_HANDSHAKE_MESSAGE_LEN, random::RandomSource, version::QUIC_VERSION};

/// The pattern and primitives, as the Noise specification spells them.
pub const NOISE_PROTOCOL: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";

/// What both sides mix in before the first message: the protocol and its version, then the QUIC
/// version number.
pub(crate) fn prologue() -> Vec<u8> {
    let mut prologue = b"dhtnet 1 secure-transport".to_vec();
    prologue.extend(QUIC_VERSION.to_be_bytes());
    prologue
}

/// A Curve25519 static key pair, its public half computed once.
pub(crate) struct StaticKeys {
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl StaticKeys {
    pub(crate) fn new(secret: Zeroizing<[u8; 32]>) -> Self {
        let public = PublicKey::from(&StaticSecret::from(*secret)).to_bytes();
        Self { secret, public }
    }

    pub(crate) fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Whether Diffie-Hellman with this public key gives anything but zero, which every Noise
    /// message with it needs.
    pub(crate) fn accepts(&self, public: &[u8; 32]) -> bool {
        StaticSecret::from(*self.secret)
            .diffie_hellman(&PublicKey::from(*public))
            .was_contributory()
    }
}

/// Why a Noise message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadNoiseMessage;

/// A Noise handshake in progress.
pub(crate) struct NoiseHandshake(HandshakeState);

impl NoiseHandshake {
    pub(crate) fn initiator(
        local: &Arc<StaticKeys>,
        remote: &[u8; 32],
        random: &Arc<RandomSource>,
    ) -> Result<Self, snow::Error> {
        builder(local, random)?
            .local_private_key(&*local.secret)?
            .remote_public_key(remote)?
            .prologue(&prologue())?
            .build_initiator()
            .map(Self)
    }

    pub(crate) fn responder(
        local: &Arc<StaticKeys>,
        random: &Arc<RandomSource>,
    ) -> Result<Self, snow::Error> {
        builder(local, random)?
            .local_private_key(&*local.secret)?
            .prologue(&prologue())?
            .build_responder()
            .map(Self)
    }

    /// The next message of this side around `payload`.
    pub(crate) fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, BadNoiseMessage> {
        let mut message = vec![0; MAX_HANDSHAKE_MESSAGE_LEN];
        let len = self
            .0
            .write_message(payload, &mut message)
            .map_err(|_| BadNoiseMessage)?;
        message.truncate(len);
        Ok(message)
    }

    /// The payload of the next message of the other side.
    pub(crate) fn read(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, BadNoiseMessage> {
        let mut payload = Zeroizing::new(vec![0; message.len()]);
        let len = self
            .0
            .read_message(message, &mut payload)
            .map_err(|_| BadNoiseMessage)?;
        payload.truncate(len);
        Ok(payload)
    }

    /// The other side's static public key, once known.
    pub(crate) fn remote_static(&self) -> Option<&[u8]> {
        self.0.get_remote_static()
    }

    /// Hash over everything both sides said.
    pub(crate) fn handshake_hash(&self) -> &[u8] {
        self.0.get_handshake_hash()
    }

    /// The two keys of Split(), initiator's first. Only meaningful after the last message.
    pub(crate) fn split(&mut self) -> Zeroizing<([u8; 32], [u8; 32])> {
        Zeroizing::new(self.0.dangerously_get_raw_split())
    }
}

fn builder<'a>(
    local: &Arc<StaticKeys>,
    random: &Arc<RandomSource>,
) -> Result<snow::Builder<'a>, snow::Error> {
    let resolver = Resolver {
        local: Arc::clone(local),
        random: Arc::clone(random),
    };
    Ok(snow::Builder::with_resolver(
        NOISE_PROTOCOL.parse()?,
        Box::new(resolver),
    ))
}

struct Resolver {
    local: Arc<StaticKeys>,
    random: Arc<RandomSource>,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(InjectedRandom(Arc::clone(&self.random))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::new(X25519::new(Arc::clone(&self.local)))),
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

struct InjectedRandom(Arc<RandomSource>);

impl Random for InjectedRandom {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill(dest);
        Ok(())
    }
}

struct X25519 {
    /// The key pair of this device: setting its secret needs no multiplication.
    local: Arc<StaticKeys>,
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl X25519 {
    fn new(local: Arc<StaticKeys>) -> Self {
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
        self.public = if bool::from(self.secret.ct_eq(&*self.local.secret)) {
            self.local.public
        } else {
            PublicKey::from(&StaticSecret::from(*self.secret)).to_bytes()
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
