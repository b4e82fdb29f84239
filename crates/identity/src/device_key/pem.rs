//! PKCS#8 in PEM: writing what OpenSSL reads, and naming what is found instead of a key.

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{ALGORITHM_OID, KeypairBytes};
use pkcs8::der::SecretDocument;
use pkcs8::der::pem::LineEnding;
use pkcs8::{EncodePrivateKey, ObjectIdentifier, PrivateKeyInfoRef};
use zeroize::{Zeroize, Zeroizing};

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";
const KEY_LABEL: &str = "PRIVATE KEY";

/// Why a text is not the key of a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyPemError {
    /// Nothing but white space.
    #[error("it is empty")]
    Empty,
    /// No PEM block anywhere.
    #[error("it is not PEM (no line \"-----BEGIN PRIVATE KEY-----\")")]
    NotPem,
    /// The bytes look like DER, the binary form.
    #[error("it is binary DER, not PEM (convert it: openssl pkey -inform DER -in FILE)")]
    Der,
    /// A certificate, and no key.
    #[error("it holds a certificate, not a private key")]
    Certificate,
    /// A key that a passphrase protects.
    #[error("the key is protected by a passphrase")]
    Encrypted,
    /// The passphrase does not open the key, or the key is damaged.
    #[error("the passphrase does not open the key")]
    WrongPassphrase,
    /// A protection other than scrypt or PBKDF2 with SHA-2, and AES.
    #[error(
        "the key is protected in a way that is not supported (convert it: openssl pkcs8 -topk8 \
         -v2 aes-256-cbc -in FILE)"
    )]
    Protection,
    /// A protection that takes more memory or time than any key of a user does.
    #[error("the protection of the key would take too much memory or time to open")]
    TooCostly,
    /// A public key, and no private one.
    #[error("it holds a public key, not a private key")]
    PublicKey,
    /// The private key format of OpenSSH.
    #[error("it is an OpenSSH key, not PKCS#8")]
    OpenSsh,
    /// Another PEM block, such as `RSA PRIVATE KEY`.
    #[error("it holds {label:?}, not \"PRIVATE KEY\"")]
    Label {
        /// The label, cut after [`MAX_LABEL_LEN`](Self::MAX_LABEL_LEN) characters.
        label: String,
    },
    /// A private key of another algorithm.
    #[error("the key is {algorithm}, not Ed25519")]
    Algorithm {
        /// Its name, or the object identifier in dotted digits.
        algorithm: String,
    },
    /// The block is damaged: a missing end line, bad base64, or bad DER inside.
    #[error("the private key in it is damaged")]
    Damaged,
    /// Version 2 with a public key that belongs to another private key.
    #[error("the public key in it does not belong to the private key")]
    Mismatch,
}

impl KeyPemError {
    /// Characters of a foreign label that an error repeats.
    pub const MAX_LABEL_LEN: usize = 40;
}

/// Private key algorithms that a user is likely to have at hand.
const KNOWN_ALGORITHMS: [(&str, &str); 7] = [
    ("1.2.840.113549.1.1.1", "RSA"),
    ("1.2.840.113549.1.1.10", "RSA-PSS"),
    ("1.2.840.10045.2.1", "ECDSA"),
    ("1.3.101.110", "X25519"),
    ("1.3.101.111", "X448"),
    ("1.3.101.113", "Ed448"),
    ("1.2.840.10040.4.1", "DSA"),
];

pub(super) fn encode(signing: &SigningKey) -> Zeroizing<String> {
    to_document(signing)
        .to_pem(KEY_LABEL, LineEnding::LF)
        .expect("48 bytes of DER always encode")
}

/// The key in DER, version 1.
pub(super) fn to_document(signing: &SigningKey) -> SecretDocument {
    // `SigningKey` itself would write version 2 with the public key.
    let mut pair = KeypairBytes {
        secret_key: signing.to_bytes(),
        public_key: None,
    };
    let document = pair.to_pkcs8_der().expect("48 bytes of DER always encode");
    pair.secret_key.zeroize();
    document
}

pub(super) fn decode(text: &str) -> Result<SigningKey, KeyPemError> {
    let block = find_block(text, KEY_LABEL)?;
    let (_, document) = SecretDocument::from_pem(block).map_err(|_| KeyPemError::Damaged)?;
    of_document(&document)
}

/// The key in DER, version 1 or 2.
pub(super) fn of_document(document: &SecretDocument) -> Result<SigningKey, KeyPemError> {
    let parsed: PrivateKeyInfoRef<'_> = document.decode_msg().map_err(|_| KeyPemError::Damaged)?;
    if parsed.algorithm.oid != ALGORITHM_OID {
        let algorithm = algorithm_name(&parsed.algorithm.oid);
        return Err(KeyPemError::Algorithm { algorithm });
    }
    let mut pair = KeypairBytes::try_from(parsed).map_err(|_| KeyPemError::Damaged)?;
    let signing = SigningKey::from_bytes(&pair.secret_key);
    pair.secret_key.zeroize();
    match &pair.public_key {
        Some(public) if public.as_ref() != signing.verifying_key().as_bytes() => {
            Err(KeyPemError::Mismatch)
        }
        _ => Ok(signing),
    }
}

/// The text from the first block with this label to the end of its end line, or what stands there
/// instead.
pub(super) fn find_block<'t>(text: &'t str, wanted: &str) -> Result<&'t str, KeyPemError> {
    let mut foreign = None;
    let mut at = 0;
    while let Some(label) = next_label(text, &mut at) {
        if label == wanted {
            return cut_block(&text[at..], label);
        }
        foreign.get_or_insert(label);
        at += BEGIN.len();
    }
    Err(match foreign {
        Some(label) => name_label(label),
        None if text.trim().is_empty() => KeyPemError::Empty,
        None => KeyPemError::NotPem,
    })
}

/// Moves `at` to the next begin line and gives its label.
fn next_label<'t>(text: &'t str, at: &mut usize) -> Option<&'t str> {
    loop {
        *at += text[*at..].find(BEGIN)?;
        let starts_line = *at == 0 || text.as_bytes()[*at - 1] == b'\n';
        let line = text[*at + BEGIN.len()..].lines().next().unwrap_or("");
        match line.trim_end().strip_suffix(DASHES) {
            Some(label) if starts_line => return Some(label),
            _ => *at += BEGIN.len(),
        }
    }
}

fn cut_block<'t>(from_begin: &'t str, label: &str) -> Result<&'t str, KeyPemError> {
    let end = format!("-----END {label}-----");
    let at = from_begin.find(&end).ok_or(KeyPemError::Damaged)?;
    Ok(&from_begin[..at + end.len()])
}

fn name_label(label: &str) -> KeyPemError {
    match label {
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => KeyPemError::Certificate,
        "ENCRYPTED PRIVATE KEY" => KeyPemError::Encrypted,
        "PUBLIC KEY" => KeyPemError::PublicKey,
        "OPENSSH PRIVATE KEY" => KeyPemError::OpenSsh,
        other => {
            let label = other.chars().take(KeyPemError::MAX_LABEL_LEN).collect();
            KeyPemError::Label { label }
        }
    }
}

/// The name of an algorithm for an error.
pub(crate) fn algorithm_name(oid: &ObjectIdentifier) -> String {
    let dotted = oid.to_string();
    match KNOWN_ALGORITHMS.iter().find(|(known, _)| *known == dotted) {
        Some((_, name)) => (*name).to_owned(),
        None => dotted,
    }
}
