//! Packet and header protection with ring (RFC 9001 sections 5.3 and 5.4), in place and without
//! allocation.

use bytes::BytesMut;
use quinn_proto::crypto::{CryptoError, HeaderKey, KeyPair, Keys, PacketKey};
use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey, quic};
use zeroize::Zeroizing;

use crate::{aead::Aead, key_schedule::Secret};

/// Length of the tag of either AEAD, in bytes.
pub(crate) const TAG_LEN: usize = 16;

/// Longest key of any [`Aead`], in bytes.
const MAX_KEY_LEN: usize = 32;

/// The keys of both directions derived from two traffic secrets.
pub(crate) fn keys(aead: Aead, local: &Secret, remote: &Secret) -> Keys {
    Keys {
        header: KeyPair {
            local: Box::new(HeaderProtection::new(aead, local)),
            remote: Box::new(HeaderProtection::new(aead, remote)),
        },
        packet: packet_keys(aead, local, remote),
    }
}

/// The packet keys alone: a key update leaves header protection as it is (RFC 9001 section 6.1).
pub(crate) fn packet_keys(
    aead: Aead,
    local: &Secret,
    remote: &Secret,
) -> KeyPair<Box<dyn PacketKey>> {
    KeyPair {
        local: Box::new(PacketProtection::new(aead, local)),
        remote: Box::new(PacketProtection::new(aead, remote)),
    }
}

/// One direction's packet key and iv.
struct PacketProtection {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    aead: Aead,
}

impl PacketProtection {
    fn new(aead: Aead, secret: &Secret) -> Self {
        let mut key = Zeroizing::new([0; MAX_KEY_LEN]);
        let key = &mut key[..aead.key_len()];
        secret.expand_label("quic key", key);
        let mut iv = [0; NONCE_LEN];
        secret.expand_label("quic iv", &mut iv);
        let unbound =
            UnboundKey::new(aead.algorithm(), key).expect("the key has the algorithm's length");
        Self {
            key: LessSafeKey::new(unbound),
            iv,
            aead,
        }
    }

    /// The iv with the packet number over its last eight bytes.
    #[inline]
    fn nonce(&self, packet: u64) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[NONCE_LEN - 8..].iter_mut().zip(packet.to_be_bytes()) {
            *byte ^= number;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

impl PacketKey for PacketProtection {
    fn encrypt(&self, packet: u64, buf: &mut [u8], header_len: usize) {
        let (header, payload_and_tag) = buf.split_at_mut(header_len);
        let (payload, tag) = payload_and_tag.split_at_mut(payload_and_tag.len() - TAG_LEN);
        let computed = self
            .key
            .seal_in_place_separate_tag(self.nonce(packet), Aad::from(&*header), payload)
            .expect("a packet is far below the AEAD's length limit");
        tag.copy_from_slice(computed.as_ref());
    }

    fn decrypt(
        &self,
        packet: u64,
        header: &[u8],
        payload: &mut BytesMut,
    ) -> Result<(), CryptoError> {
        let plain_len = self
            .key
            .open_in_place(self.nonce(packet), Aad::from(header), payload.as_mut())
            .map_err(|_| CryptoError)?
            .len();
        payload.truncate(plain_len);
        Ok(())
    }

    fn tag_len(&self) -> usize {
        TAG_LEN
    }

    fn confidentiality_limit(&self) -> u64 {
        self.aead.confidentiality_limit()
    }

    fn integrity_limit(&self) -> u64 {
        self.aead.integrity_limit()
    }
}

/// One direction's header protection key.
struct HeaderProtection(quic::HeaderProtectionKey);

impl HeaderProtection {
    fn new(aead: Aead, secret: &Secret) -> Self {
        let mut key = Zeroizing::new([0; MAX_KEY_LEN]);
        let key = &mut key[..aead.key_len()];
        secret.expand_label("quic hp", key);
        Self(
            quic::HeaderProtectionKey::new(aead.header_algorithm(), key)
                .expect("the key has the algorithm's length"),
        )
    }

    /// The mask for the packet whose packet number starts at `pn_offset`.
    ///
    /// quinn-proto only calls this when a whole sample is there.
    fn mask(&self, pn_offset: usize, packet: &[u8]) -> [u8; 5] {
        let sample = pn_offset + 4;
        self.0
            .new_mask(&packet[sample..sample + self.sample_size()])
            .expect("the sample has the algorithm's length")
    }
}

/// Bits of the first byte under protection: four in a long header, five in a short one.
fn protected_bits(first: u8) -> u8 {
    if first & 0x80 == 0 { 0x1f } else { 0x0f }
}

/// Length of the packet number, from an unprotected first byte.
fn packet_number_len(first: u8) -> usize {
    usize::from(first & 0b11) + 1
}

impl HeaderKey for HeaderProtection {
    fn decrypt(&self, pn_offset: usize, packet: &mut [u8]) {
        let [first_mask, number_mask @ ..] = self.mask(pn_offset, packet);
        packet[0] ^= first_mask & protected_bits(packet[0]);
        let len = packet_number_len(packet[0]);
        for (byte, mask) in packet[pn_offset..pn_offset + len]
            .iter_mut()
            .zip(number_mask)
        {
            *byte ^= mask;
        }
    }

    fn encrypt(&self, pn_offset: usize, packet: &mut [u8]) {
        let [first_mask, number_mask @ ..] = self.mask(pn_offset, packet);
        let len = packet_number_len(packet[0]);
        packet[0] ^= first_mask & protected_bits(packet[0]);
        for (byte, mask) in packet[pn_offset..pn_offset + len]
            .iter_mut()
            .zip(number_mask)
        {
            *byte ^= mask;
        }
    }

    fn sample_size(&self) -> usize {
        self.0.algorithm().sample_len()
    }
}
