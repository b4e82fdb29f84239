//! Keys of what the endpoint says without a connection: stateless resets and Retry tokens.
//!
//! Both come from the device key, so a restarted device can still reset the connections of its
//! former life.

use quinn_proto::crypto::{AeadKey, CryptoError, HandshakeTokenKey, HmacKey};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
};
use zeroize::Zeroizing;

use crate::key_schedule::Secret;

/// Makes stateless reset tokens (RFC 9000 section 10.3.2).
pub(crate) struct ResetKey(pub(crate) hmac::Key);

impl HmacKey for ResetKey {
    fn sign(&self, input: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(hmac::sign(&self.0, input).as_ref());
    }

    fn signature_len(&self) -> usize {
        self.0.algorithm().digest_algorithm().output_len()
    }

    fn verify(&self, input: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        hmac::verify(&self.0, input, signature).map_err(|_| CryptoError)
    }
}

/// Seals Retry tokens, each under a key of its own.
pub(crate) struct TokenKey(pub(crate) Secret);

impl HandshakeTokenKey for TokenKey {
    fn aead_from_hkdf(&self, random_bytes: &[u8]) -> Box<dyn AeadKey> {
        let mut key = Zeroizing::new([0; 32]);
        self.0.expand(&[b"dhtnet 1 token", random_bytes], &mut *key);
        let key = UnboundKey::new(&AES_256_GCM, &*key).expect("the key has 32 bytes");
        Box::new(OneTokenKey(LessSafeKey::new(key)))
    }
}

/// A key that seals one token only, hence the fixed nonce.
struct OneTokenKey(LessSafeKey);

fn only_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

impl AeadKey for OneTokenKey {
    fn seal(&self, plain: &mut Vec<u8>, additional: &[u8]) -> Result<(), CryptoError> {
        self.0
            .seal_in_place_append_tag(only_nonce(), Aad::from(additional), plain)
            .map_err(|_| CryptoError)
    }

    fn open<'a>(
        &self,
        sealed: &'a mut [u8],
        additional: &[u8],
    ) -> Result<&'a mut [u8], CryptoError> {
        self.0
            .open_in_place(only_nonce(), Aad::from(additional), sealed)
            .map_err(|_| CryptoError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_token_opens_under_the_same_random_bytes_only() {
        let key = TokenKey(Secret::new([3; 32]));
        let mut token = b"token".to_vec();
        key.aead_from_hkdf(b"one").seal(&mut token, b"").unwrap();
        assert!(
            key.aead_from_hkdf(b"two")
                .open(&mut token.clone(), b"")
                .is_err()
        );
        assert_eq!(
            key.aead_from_hkdf(b"one").open(&mut token, b"").unwrap(),
            b"token"
        );
    }

    #[test]
    fn reset_signatures_verify() {
        let key = ResetKey(hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]));
        let mut signature = vec![0; key.signature_len()];
        key.sign(b"id", &mut signature);
        assert!(key.verify(b"id", &signature).is_ok());
        assert!(key.verify(b"ie", &signature).is_err());
    }
}
