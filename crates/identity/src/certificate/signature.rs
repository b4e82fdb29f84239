//! Ed25519 for the path verification of webpki, checked as everywhere here: strictly.

use ed25519_dalek::Signature;
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};

use crate::device_id::DeviceId;

/// The one algorithm of the profile (RFC 8410).
#[derive(Debug)]
pub(super) struct StrictEd25519;

impl SignatureVerificationAlgorithm for StrictEd25519 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        verify(public_key, message, signature).ok_or(InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ED25519
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ED25519
    }
}

fn verify(public_key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = DeviceId::from_bytes(public_key.try_into().ok()?).ok()?;
    let signature = Signature::from_slice(signature).ok()?;
    key.verify(message, &signature.to_bytes()).ok()
}
