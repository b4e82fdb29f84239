//! The packet AEADs, their wire numbers and which one to prefer.

use std::fmt;

use ring::aead::{self, quic};

/// An AEAD for 1-RTT and Handshake packets, with the header protection that belongs to it
/// (RFC 9001 sections 5.3 and 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Aead {
    /// AES-128 in GCM, wire number 1: the fastest where the processor has AES instructions.
    Aes128Gcm,
    /// ChaCha20-Poly1305, wire number 2: the fastest where it has none.
    ChaCha20Poly1305,
}

/// Most AEADs one message 1 may offer. There are two today; the rest is room for later ones.
pub const MAX_OFFERED_AEADS: usize = 16;

impl Aead {
    /// Both, in the order of preference of the processor this runs on.
    pub fn preferred() -> Vec<Self> {
        if has_aes_instructions() {
            vec![Self::Aes128Gcm, Self::ChaCha20Poly1305]
        } else {
            vec![Self::ChaCha20Poly1305, Self::Aes128Gcm]
        }
    }

    /// The number on the wire.
    pub fn wire_number(self) -> u8 {
        match self {
            Self::Aes128Gcm => 1,
            Self::ChaCha20Poly1305 => 2,
        }
    }

    /// The AEAD with this number on the wire, `None` for unknown ones.
    pub fn from_wire_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Aes128Gcm),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// What a responder with the list `own` takes from the wire numbers `offered`.
    ///
    /// The initiator's first choice wins, unless the responder's own first choice is
    /// ChaCha20-Poly1305 and it was offered: AES in software costs several times what ChaCha costs
    /// a processor with AES instructions.
    pub(crate) fn choose(own: &[Self], offered: &[u8]) -> Option<Self> {
        let known = || {
            offered
                .iter()
                .filter_map(|&number| Self::from_wire_number(number))
        };
        if own.first() == Some(&Self::ChaCha20Poly1305)
            && known().any(|aead| aead == Self::ChaCha20Poly1305)
        {
            return Some(Self::ChaCha20Poly1305);
        }
        known().find(|aead| own.contains(aead))
    }

    /// Length of the packet key and of the header protection key, in bytes.
    pub(crate) fn key_len(self) -> usize {
        self.algorithm().key_len()
    }

    pub(crate) fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128Gcm => &aead::AES_128_GCM,
            Self::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }

    pub(crate) fn header_algorithm(self) -> &'static quic::Algorithm {
        match self {
            Self::Aes128Gcm => &quic::AES_128,
            Self::ChaCha20Poly1305 => &quic::CHACHA20,
        }
    }

    /// Packets one key may protect (RFC 9001 section 6.6).
    pub(crate) fn confidentiality_limit(self) -> u64 {
        match self {
            Self::Aes128Gcm => 1 << 23,
            // Above the largest packet number: never reached.
            Self::ChaCha20Poly1305 => u64::MAX,
        }
    }

    /// Forged packets after which a connection must end (RFC 9001 section 6.6).
    pub(crate) fn integrity_limit(self) -> u64 {
        match self {
            Self::Aes128Gcm => 1 << 52,
            Self::ChaCha20Poly1305 => 1 << 36,
        }
    }
}

impl fmt::Display for Aead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aes128Gcm => "AES-128-GCM",
            Self::ChaCha20Poly1305 => "ChaCha20-Poly1305",
        })
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
fn has_aes_instructions() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_aes_instructions() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
fn has_aes_instructions() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::Aead::{self, Aes128Gcm, ChaCha20Poly1305};

    #[test]
    fn wire_numbers_round_trip_and_unknown_ones_are_none() {
        for number in 0..=255 {
            match Aead::from_wire_number(number) {
                Some(aead) => assert_eq!(aead.wire_number(), number),
                None => assert!(number == 0 || number > 2),
            }
        }
    }

    #[test]
    fn the_initiators_first_known_choice_wins_between_equals() {
        let own = [Aes128Gcm, ChaCha20Poly1305];
        assert_eq!(Aead::choose(&own, &[1, 2]), Some(Aes128Gcm));
        assert_eq!(Aead::choose(&own, &[2, 1]), Some(ChaCha20Poly1305));
        assert_eq!(Aead::choose(&own, &[77, 1]), Some(Aes128Gcm));
    }

    #[test]
    fn a_responder_without_aes_instructions_takes_chacha() {
        assert_eq!(
            Aead::choose(&[ChaCha20Poly1305, Aes128Gcm], &[1, 2]),
            Some(ChaCha20Poly1305)
        );
        assert_eq!(
            Aead::choose(&[ChaCha20Poly1305, Aes128Gcm], &[1]),
            Some(Aes128Gcm)
        );
    }

    #[test]
    fn nothing_in_common_is_none() {
        assert_eq!(Aead::choose(&[Aes128Gcm], &[2]), None);
        assert_eq!(Aead::choose(&[Aes128Gcm], &[]), None);
    }
}
