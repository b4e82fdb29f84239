//! Revocation lists (CRL, RFC 5280, section 5): which certificates of a CA no longer count.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use x509_cert::crl::{CertificateList, TbsCertList};
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::{CrlNumber, IssuingDistributionPoint};

use super::read::ED25519;
use super::{Serial, pem, times};

/// Certificates that one list may name: more than a CA of this size revokes in its life.
pub const MAX_REVOKED: usize = 16 * 1024;
/// Bytes of the longest list: [`MAX_REVOKED`] entries with the longest serial numbers and a
/// reason each.
pub const MAX_LIST_LEN: usize = 1024 * 1024;
/// How long a list counts unless the caller says otherwise: a year. Who has an old list cannot
/// know of later revocations, so a list that has ended is an error; but a CA at home is not asked
/// every month, and everybody would be locked out.
pub const DEFAULT_LIST_LIFETIME: Duration = Duration::from_secs(365 * 86_400);

/// One certificate that was revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Which.
    pub serial: Serial,
    /// Since when.
    pub since: SystemTime,
}

/// A revocation list that was read. Who signed it is checked by a
/// [`TrustedAuthority`](super::TrustedAuthority).
#[derive(Clone, PartialEq, Eq)]
pub struct RevocationList {
    der: Vec<u8>,
    pub(super) issuer_der: Vec<u8>,
    number: Option<u64>,
    issued: SystemTime,
    until: SystemTime,
    revoked: BTreeMap<Serial, SystemTime>,
}

impl RevocationList {
    /// Reads one list in DER, the binary form, which must end with it.
    ///
    /// # Errors
    /// [`RevocationListError`].
    pub fn from_der(der: &[u8]) -> Result<Self, RevocationListError> {
        if der.len() > MAX_LIST_LEN {
            return Err(RevocationListError::TooLong { found: der.len() });
        }
        // What webpki does not take would fail each verification; better now and once.
        webpki::BorrowedCertRevocationList::from_der(der).map_err(|error| match error {
            webpki::Error::UnsupportedCrlVersion | webpki::Error::MalformedExtensions => {
                RevocationListError::Version
            }
            webpki::Error::UnsupportedDeltaCrl
            | webpki::Error::UnsupportedIndirectCrl
            | webpki::Error::UnsupportedCriticalExtension => RevocationListError::Partial,
            _ => RevocationListError::Malformed,
        })?;
        let list: CertificateList =
            CertificateList::from_der(der).map_err(|_| RevocationListError::Malformed)?;
        let algorithm = &list.signature_algorithm;
        if algorithm.oid != ED25519 || algorithm.parameters.is_some() {
            return Err(RevocationListError::Algorithm);
        }
        read(der, &list.tbs_cert_list)
    }

    /// The list in DER.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// The list in PEM, as OpenSSL reads and writes it.
    pub fn to_pem(&self) -> String {
        pem::encode(pem::REVOCATION_LIST, &self.der)
    }

    /// Its number, which grows with each list of a CA; `None` when it has none below 2⁶⁴.
    pub fn number(&self) -> Option<u64> {
        self.number
    }

    /// When it was made.
    pub fn issued(&self) -> SystemTime {
        self.issued
    }

    /// From when on it no longer counts.
    pub fn until(&self) -> SystemTime {
        self.until
    }

    /// Since when the certificate with this number is revoked; `None` if it is not.
    pub fn revoked_since(&self, serial: &Serial) -> Option<SystemTime> {
        self.revoked.get(serial).copied()
    }

    /// What it revokes, sorted by serial number.
    pub fn iter(&self) -> impl Iterator<Item = Revocation> {
        self.revoked.iter().map(|(serial, since)| Revocation {
            serial: serial.clone(),
            since: *since,
        })
    }

    /// How many it revokes.
    pub fn len(&self) -> usize {
        self.revoked.len()
    }

    /// Whether it revokes nothing.
    pub fn is_empty(&self) -> bool {
        self.revoked.is_empty()
    }

    /// What was signed, and the signature.
    pub(super) fn signed(&self) -> Option<(Vec<u8>, [u8; 64])> {
        let list: CertificateList = CertificateList::from_der(&self.der).ok()?;
        let signature = list.signature.as_bytes()?.try_into().ok()?;
        // DER has one encoding for each content, so this is what was signed.
        Some((list.tbs_cert_list.to_der().ok()?, signature))
    }
}

fn read(der: &[u8], tbs: &TbsCertList) -> Result<RevocationList, RevocationListError> {
    let extensions = tbs.crl_extensions.as_deref().unwrap_or_default();
    let value = |id| extensions.iter().find(|extension| extension.extn_id == id);
    if value(IssuingDistributionPoint::OID).is_some() {
        return Err(RevocationListError::Partial);
    }
    let number = value(CrlNumber::OID)
        .and_then(|extension| CrlNumber::from_der(extension.extn_value.as_bytes()).ok())
        .and_then(|number| number.0.as_bytes().iter().try_fold(0_u64, push_byte));
    let entries = tbs.revoked_certificates.as_deref().unwrap_or_default();
    if entries.len() > MAX_REVOKED {
        return Err(RevocationListError::TooMany {
            found: entries.len(),
        });
    }
    let mut revoked = BTreeMap::new();
    for entry in entries {
        let serial = Serial::of(&entry.serial_number).ok_or(RevocationListError::Malformed)?;
        revoked.insert(serial, times::of_x509(entry.revocation_date));
    }
    let until = tbs.next_update.ok_or(RevocationListError::Malformed)?;
    Ok(RevocationList {
        der: der.to_vec(),
        issuer_der: tbs.issuer.to_der().expect("a name that was read"),
        number,
        issued: times::of_x509(tbs.this_update),
        until: times::of_x509(until),
        revoked,
    })
}

fn push_byte(number: u64, byte: &u8) -> Option<u64> {
    number.checked_mul(256)?.checked_add(u64::from(*byte))
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RevocationList({} revoked)", self.revoked.len())
    }
}

/// Why bytes are no revocation list of the profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationListError {
    /// Over [`MAX_LIST_LEN`].
    #[error("a revocation list has at most {MAX_LIST_LEN} bytes, not {found}")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// No list in DER, or one without an end.
    #[error("the revocation list is damaged, or has no next update")]
    Malformed,
    /// Version 1, or without the extensions that version 2 must have.
    #[error(
        "the revocation list is not of version 2 with its extensions (openssl ca: set \
         crl_extensions with authorityKeyIdentifier, and crlnumber)"
    )]
    Version,
    /// Not signed with Ed25519.
    #[error("the revocation list is not signed with Ed25519")]
    Algorithm,
    /// A list of changes or of a part of the certificates, or with an extension that must be
    /// understood and is not.
    #[error("the revocation list does not stand for all certificates of its CA")]
    Partial,
    /// Over [`MAX_REVOKED`].
    #[error("a revocation list names at most {MAX_REVOKED} certificates, not {found}")]
    TooMany {
        /// Entries found.
        found: usize,
    },
}
