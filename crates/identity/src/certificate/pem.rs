//! PEM (RFC 7468) of certificates, requests and revocation lists.

use pkcs8::der::Document;
use pkcs8::der::pem::LineEnding;

use super::{Certificate, CertificateError, Request, RequestError};
use super::{RevocationList, RevocationListError};

pub(super) const CERTIFICATE: &str = "CERTIFICATE";
pub(super) const REVOCATION_LIST: &str = "X509 CRL";
pub(super) const REQUEST: &str = "CERTIFICATE REQUEST";
/// What older programs write.
const OLD_REQUEST: &str = "NEW CERTIFICATE REQUEST";

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Bytes of the longest text in PEM that is read: the longest revocation list, with what OpenSSL
/// writes about it in words.
pub const MAX_PEM_LEN: usize = 4 * super::MAX_LIST_LEN;
/// Blocks of one label that are read from one text: a chain, and some to spare.
const MAX_BLOCKS: usize = 16;

impl Certificate {
    /// Reads all certificates in a text, in their order: at least one, at most 16. Text around
    /// them and blocks of other kinds, such as a key, are skipped.
    ///
    /// # Errors
    /// [`PemError`]; [`PemError::Certificate`] says which one is bad.
    pub fn chain_from_pem(text: &str) -> Result<Vec<Self>, PemError> {
        let blocks = blocks(text, &[CERTIFICATE], "certificate")?;
        let read = |(index, der): (usize, Vec<u8>)| {
            Self::from_der(&der).map_err(|source| PemError::Certificate {
                number: index + 1,
                source,
            })
        };
        blocks.into_iter().enumerate().map(read).collect()
    }

    /// Reads the first certificate in a text.
    ///
    /// # Errors
    /// [`PemError`].
    pub fn from_pem(text: &str) -> Result<Self, PemError> {
        let blocks = blocks(text, &[CERTIFICATE], "certificate")?;
        Self::from_der(&blocks[0]).map_err(|source| PemError::Certificate { number: 1, source })
    }
}

impl RevocationList {
    /// Reads the first revocation list in a text.
    ///
    /// # Errors
    /// [`PemError`].
    pub fn from_pem(text: &str) -> Result<Self, PemError> {
        let blocks = blocks(text, &[REVOCATION_LIST], "revocation list (X509 CRL)")?;
        Self::from_der(&blocks[0]).map_err(PemError::RevocationList)
    }
}

impl Request {
    /// Reads the first certificate request in a text.
    ///
    /// # Errors
    /// [`PemError`].
    pub fn from_pem(text: &str) -> Result<Self, PemError> {
        let blocks = blocks(text, &[REQUEST, OLD_REQUEST], "certificate request")?;
        Self::from_der(&blocks[0]).map_err(PemError::Request)
    }
}

pub(super) fn encode(label: &'static str, der: &[u8]) -> String {
    let document = Document::try_from(der).expect("what was read or made is DER");
    document
        .to_pem(label, LineEnding::LF)
        .expect("a short document encodes")
}

/// The contents of the blocks with one of `labels`, at least one.
fn blocks(text: &str, labels: &[&str], wanted: &'static str) -> Result<Vec<Vec<u8>>, PemError> {
    if text.len() > MAX_PEM_LEN {
        return Err(PemError::TooLong);
    }
    let mut found = Vec::new();
    let mut foreign = None;
    let mut rest = text;
    while let Some((label, from)) = next_block(rest) {
        let end = format!("{END}{label}{DASHES}");
        let Some(len) = from.find(&end) else {
            return Err(PemError::Damaged { wanted });
        };
        let (block, after) = from.split_at(len + end.len());
        rest = after;
        if !labels.contains(&label) {
            foreign.get_or_insert(label);
            continue;
        }
        if found.len() == MAX_BLOCKS {
            return Err(PemError::TooMany);
        }
        let (_, der) = Document::from_pem(block).map_err(|_| PemError::Damaged { wanted })?;
        found.push(der.into_vec());
    }
    match (found.is_empty(), foreign) {
        (false, _) => Ok(found),
        (true, None) => Err(PemError::NotPem { wanted }),
        (true, Some(label)) => Err(PemError::Other {
            wanted,
            label: label.chars().take(MAX_LABEL_CHARS).collect(),
        }),
    }
}

/// Characters of a foreign label that an error repeats.
const MAX_LABEL_CHARS: usize = 40;

/// The label of the next block, and the text from its begin line on.
fn next_block(text: &str) -> Option<(&str, &str)> {
    let mut at = 0;
    loop {
        at += text[at..].find(BEGIN)?;
        let starts_line = at == 0 || text.as_bytes()[at - 1] == b'\n';
        let line = text[at + BEGIN.len()..].lines().next().unwrap_or("");
        match line.trim_end().strip_suffix(DASHES) {
            Some(label) if starts_line => return Some((label, &text[at..])),
            _ => at += BEGIN.len(),
        }
    }
}

/// Why a text in PEM does not hold what was looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// Over [`MAX_PEM_LEN`].
    #[error("the text is longer than {MAX_PEM_LEN} bytes")]
    TooLong,
    /// No PEM block anywhere.
    #[error("it is not PEM and holds no {wanted}")]
    NotPem {
        /// What was looked for.
        wanted: &'static str,
    },
    /// Blocks of other kinds only.
    #[error("it holds {label:?} and no {wanted}")]
    Other {
        /// What was looked for.
        wanted: &'static str,
        /// The label of the first block.
        label: String,
    },
    /// A block without an end line, or with bad base64.
    #[error("the {wanted} in it is damaged")]
    Damaged {
        /// What was looked for.
        wanted: &'static str,
    },
    /// More than 16 blocks.
    #[error("it holds more than {MAX_BLOCKS} certificates")]
    TooMany,
    /// A bad certificate.
    #[error("certificate {number} in it cannot be used")]
    Certificate {
        /// Which one, counted from 1.
        number: usize,
        /// What is wrong.
        source: CertificateError,
    },
    /// A bad revocation list.
    #[error("the revocation list in it cannot be used")]
    RevocationList(#[source] RevocationListError),
    /// A bad request.
    #[error("the certificate request in it cannot be used")]
    Request(#[source] RequestError),
}
