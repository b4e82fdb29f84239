//! The key schedule: from the responder's public key and the Noise handshake to packet secrets.
//!
//! Everything is HKDF with SHA-256 (RFC 5869). Labels of this protocol start with `dhtnet 1 `;
//! the expansion of one traffic secret into keys is QUIC version 1's (RFC 9001 section 5.1), so
//! that its published vectors test this code.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Length of every secret, in bytes.
pub(crate) const SECRET_LEN: usize = 32;

/// Longest output of HKDF-Expand with SHA-256: 255 blocks (RFC 5869 section 2.3).
pub const MAX_EXPORT_LEN: usize = 255 * SECRET_LEN;

/// A pseudo-random key that others are expanded from. Zeroized on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Secret([u8; SECRET_LEN]);

impl Secret {
    pub(crate) fn new(bytes: [u8; SECRET_LEN]) -> Self {
        Self(bytes)
    }

    #[cfg(test)]
    pub(crate) fn as_bytes(&self) -> &[u8; SECRET_LEN] {
        &self.0
    }

    /// HKDF-Extract.
    pub(crate) fn extract(salt: &[u8], input: &[u8]) -> Self {
        let (mut output, _) = Hkdf::<Sha256>::extract(Some(salt), input);
        let secret = Self(output.into());
        output.as_mut_slice().zeroize();
        secret
    }

    /// HKDF-Expand with `info` in pieces. `output` is at most [`MAX_EXPORT_LEN`] bytes.
    pub(crate) fn expand(&self, info: &[&[u8]], output: &mut [u8]) {
        Hkdf::<Sha256>::from_prk(&self.0)
            .expect("a secret is as long as the hash")
            .expand_multi_info(info, output)
            .expect("outputs are far below 255 blocks");
    }

    /// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
    pub(crate) fn expand_label(&self, label: &str, output: &mut [u8]) {
        const PREFIX: &[u8] = b"tls13 ";
        let len = u16::try_from(output.len())
            .expect("outputs are keys")
            .to_be_bytes();
        let label_len = u8::try_from(PREFIX.len() + label.len()).expect("labels are short");
        self.expand(
            &[&len, &[label_len], PREFIX, label.as_bytes(), &[0]],
            output,
        );
    }

    /// The secret under `label` by plain HKDF-Expand.
    fn derive(&self, label: &str) -> Self {
        let mut bytes = [0; SECRET_LEN];
        self.expand(&[label.as_bytes()], &mut bytes);
        let secret = Self(bytes);
        bytes.zeroize();
        secret
    }

    /// The secret under `label` by HKDF-Expand-Label.
    fn derive_label(&self, label: &str) -> Self {
        let mut bytes = [0; SECRET_LEN];
        self.expand_label(label, &mut bytes);
        let secret = Self(bytes);
        bytes.zeroize();
        secret
    }

    /// The secret of the next key phase (RFC 9001 section 6.1).
    pub(crate) fn next_generation(&self) -> Self {
        self.derive_label("quic ku")
    }
}

/// What follows from a responder's public key alone: the salt of Initial packets and the key of
/// Retry packets. Whoever does not know the key can make neither.
#[derive(Clone)]
pub(crate) struct ResponderSalt {
    salt: [u8; SECRET_LEN],
    pub(crate) retry_key: [u8; 16],
    pub(crate) retry_nonce: [u8; 12],
}

impl ResponderSalt {
    /// `static_key` is the responder's X25519 public key.
    pub(crate) fn new(static_key: &[u8; 32]) -> Self {
        let root = Secret::extract(b"dhtnet 1 responder", static_key);
        let mut this = Self {
            salt: [0; SECRET_LEN],
            retry_key: [0; 16],
            retry_nonce: [0; 12],
        };
        root.expand(&[b"dhtnet 1 initial salt"], &mut this.salt);
        root.expand(&[b"dhtnet 1 retry key"], &mut this.retry_key);
        root.expand(&[b"dhtnet 1 retry iv"], &mut this.retry_nonce);
        this
    }

    #[cfg(test)]
    pub(crate) fn salt(&self) -> &[u8; SECRET_LEN] {
        &self.salt
    }

    /// Client and server secret of the Initial packets to `destination_id` (RFC 9001 section 5.2).
    pub(crate) fn initial_secrets(&self, destination_id: &[u8]) -> (Secret, Secret) {
        initial_secrets(&self.salt, destination_id)
    }
}

fn initial_secrets(salt: &[u8], destination_id: &[u8]) -> (Secret, Secret) {
    let initial = Secret::extract(salt, destination_id);
    (
        initial.derive_label("client in"),
        initial.derive_label("server in"),
    )
}

/// The secrets that exist once Noise message 2 was written or read.
pub(crate) struct SessionSecrets {
    pub(crate) client_handshake: Secret,
    pub(crate) server_handshake: Secret,
    pub(crate) client_application: Secret,
    pub(crate) server_application: Secret,
    pub(crate) exporter: Secret,
}

impl SessionSecrets {
    /// From the two keys of Noise's Split() and the handshake hash.
    pub(crate) fn new(split: &([u8; 32], [u8; 32]), handshake_hash: &[u8]) -> Self {
        let mut input = Zeroizing::new([0; 64]);
        input[..32].copy_from_slice(&split.0);
        input[32..].copy_from_slice(&split.1);
        let root = Secret::extract(handshake_hash, &*input);
        Self {
            client_handshake: root.derive("dhtnet 1 c hs"),
            server_handshake: root.derive("dhtnet 1 s hs"),
            client_application: root.derive("dhtnet 1 c ap"),
            server_application: root.derive("dhtnet 1 s ap"),
            exporter: root.derive("dhtnet 1 exp"),
        }
    }
}

/// Keying material for the application, bound to the session, `label` and `context`.
///
/// `None` if `output` is longer than [`MAX_EXPORT_LEN`] or an input is 4 GiB or longer.
pub(crate) fn export(
    exporter: &Secret,
    label: &[u8],
    context: &[u8],
    output: &mut [u8],
) -> Option<()> {
    if output.len() > MAX_EXPORT_LEN {
        return None;
    }
    let label_len = u32::try_from(label.len()).ok()?.to_be_bytes();
    let context_len = u32::try_from(context.len()).ok()?.to_be_bytes();
    exporter.expand(&[&label_len, label, &context_len, context], output);
    Some(())
}

#[cfg(test)]
mod tests;
