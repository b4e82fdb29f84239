//! What is stored in a simulated DHT: of each kind as many.

use dhtnet_dht_core::Id;
use dhtnet_dht_core::item::{ItemSigner, MutableItem, immutable_target};
use dhtnet_dht_core::node::Publication;
use dhtnet_simnet::Rng;

/// Something stored under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// An immutable item (BEP 44), bencoded.
    Immutable(Vec<u8>),
    /// A mutable item (BEP 44).
    Mutable(MutableItem),
}

impl Content {
    /// The content of number `turn`: the kinds take turns, everything else is by chance.
    pub(super) fn random(turn: usize, rng: &mut Rng) -> Self {
        let value = random_value(rng);
        if turn.is_multiple_of(2) {
            return Self::Immutable(value);
        }
        let mut seed = [0; 32];
        for word in seed.chunks_exact_mut(8) {
            word.copy_from_slice(&rng.next_u64().to_le_bytes());
        }
        let signer = ItemSigner::from_seed(&seed);
        match MutableItem::sign(&signer, b"", 1, &value) {
            Ok(item) => Self::Mutable(item),
            Err(_) => Self::Immutable(value),
        }
    }

    /// Its key.
    pub(super) fn target(&self) -> Id {
        match self {
            Self::Immutable(value) => immutable_target(value),
            Self::Mutable(item) => item.target(),
        }
    }

    /// For storing it again and again.
    pub(super) fn publication(&self) -> Publication {
        match self.clone() {
            Self::Immutable(value) => Publication::Immutable(value),
            Self::Mutable(item) => Publication::Mutable(item),
        }
    }
}

/// A bencoded string of 104 bytes.
fn random_value(rng: &mut Rng) -> Vec<u8> {
    let mut value = b"100:".to_vec();
    for _ in 0..25 {
        value.extend_from_slice(&(rng.next_u64() as u32).to_be_bytes());
    }
    value
}
