//! Generators for unit tests: deterministic, and where needed byte for byte.

use std::convert::Infallible;

use rand_chacha::ChaCha20Rng;
use rand_core::{SeedableRng, TryCryptoRng, TryRng};

/// A ChaCha20 generator from a small seed.
pub(crate) fn counting(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// Gives back the bytes it was made of, once.
pub(crate) struct Script(pub(crate) Vec<u8>);

impl TryRng for Script {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        let scripted = self.0.drain(..dst.len());
        dst.iter_mut()
            .zip(scripted)
            .for_each(|(byte, scripted)| *byte = scripted);
        Ok(())
    }
}

impl TryCryptoRng for Script {}
