//! The injected generator, shared by everything one configuration creates.

use std::sync::{Mutex, PoisonError};

use dhtnet_identity::noise::FillRandom;
use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRng, SeedableRng};

/// A lockable source of random bytes: sessions, connection ids and endpoint seeds draw from it.
///
/// The lock is held for one `fill_bytes` at a time, a few times per handshake and never per packet.
pub(crate) struct RandomSource(Mutex<Box<dyn CryptoRng + Send>>);

impl RandomSource {
    /// A ChaCha20 generator seeded once from `rng`, so that a slow or blocking source is asked only once.
    pub(crate) fn seeded(mut rng: Box<dyn CryptoRng + Send>) -> Self {
        Self::direct(Box::new(ChaCha20Rng::from_rng(&mut rng)))
    }

    /// `rng` itself, byte for byte: test vectors fix the ephemeral keys this way.
    pub(crate) fn direct(rng: Box<dyn CryptoRng + Send>) -> Self {
        Self(Mutex::new(rng))
    }

    pub(crate) fn fill(&self, bytes: &mut [u8]) {
        // A panic elsewhere cannot leave a generator in a state that is unsafe to go on with.
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill_bytes(bytes);
    }

    pub(crate) fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}

impl FillRandom for RandomSource {
    fn fill(&self, bytes: &mut [u8]) {
        Self::fill(self, bytes);
    }
}
