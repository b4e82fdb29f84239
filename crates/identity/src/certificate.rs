//! Certificates: who vouches for a device (X.509 version 3, RFC 5280, with Ed25519, RFC 8410).
//!
//! A device is its key; a certificate adds that a CA knows this key, by what name, and in which
//! groups. The key in a device's certificate *is* the device key, so a certificate can be shown by
//! anybody and used by nobody but its device.
//!
//! ```text
//! CA        self-signed; CA:TRUE (critical), keyCertSign and cRLSign (critical)
//! device    CA:FALSE (critical), digitalSignature (critical); subject OU=group … CN=name
//! ```
//! - [`Authority`] makes certificates and revocation lists; [`Request`] is what a device may hand
//!   it instead of its id.
//! - [`Certificate`] and [`RevocationList`] read what was made here or by OpenSSL within the
//!   profile: one algorithm, bounded sizes, no critical extension that is not understood.
//! - [`TrustedAuthority`] judges a chain at a given wall time: [`TrustedAuthority::verify`].
//!
//! The encoding is that of x509-cert, the path validation that of rustls-webpki; this module adds
//! what they leave to their caller: the profile, key usages, the CA's own validity and path
//! length, strict signatures. There is no clock here and no generator: both are arguments.

mod authority;
mod files;
mod fingerprint;
mod names;
mod pem;
mod profile;
mod read;
mod request;
mod revocation;
mod serial;
mod signature;
pub(crate) mod times;
mod verify;

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::device_id::DeviceId;

pub use authority::{
    Authority, BACKDATING, DEFAULT_AUTHORITY_LIFETIME, DEFAULT_DEVICE_LIFETIME, IssueError, Order,
};
pub use files::{AuthorityFiles, CertificateFileError};
pub use fingerprint::{Fingerprint, ParseFingerprintError};
pub use names::{
    CertificateName, GroupName, MAX_GROUPS, MAX_NAME_CHARS, ParseNameError, SubjectFault,
};
pub use pem::{MAX_PEM_LEN, PemError};
pub use read::CertificateError;
pub use request::{Request, RequestError};
pub use revocation::{
    DEFAULT_LIST_LIFETIME, MAX_LIST_LEN, MAX_REVOKED, Revocation, RevocationList,
    RevocationListError,
};
pub use serial::{MAX_SERIAL_LEN, ParseSerialError, Serial};
pub use verify::{MAX_CHAIN_LEN, TrustError, TrustedAuthority, Verified, VerifyError};

/// Bytes of the longest certificate: one of ours takes about 400, and this leaves room for
/// [`MAX_GROUPS`] long names and for extensions of others.
pub const MAX_CERTIFICATE_LEN: usize = 16 * 1024;

/// How long before its end a certificate is due to be renewed: time for a person to do it.
pub const RENEWAL_WARNING: Duration = Duration::from_secs(30 * 86_400);

/// A certificate that was read and meets the profile. It is not verified: that takes a
/// [`TrustedAuthority`].
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    facts: read::Facts,
}

impl Certificate {
    /// Reads one certificate in DER, the binary form, which must end with it.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        Ok(Self {
            facts: read::read(der)?,
            der: der.to_vec(),
        })
    }

    /// The certificate in DER.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate in PEM, as OpenSSL reads and writes it.
    pub fn to_pem(&self) -> String {
        pem::encode(pem::CERTIFICATE, &self.der)
    }

    /// The key: of a device its id.
    pub fn key(&self) -> &DeviceId {
        &self.facts.key
    }

    /// The common name of the subject, if it has one.
    pub fn name(&self) -> Option<&CertificateName> {
        self.facts.subject.name.as_ref()
    }

    /// The common name of the issuer, if it has one.
    pub fn issuer_name(&self) -> Option<&CertificateName> {
        self.facts.issuer_name.as_ref()
    }

    /// The groups in the subject, sorted, each once.
    pub fn groups(&self) -> &[GroupName] {
        &self.facts.subject.groups
    }

    /// The serial number.
    pub fn serial(&self) -> &Serial {
        &self.facts.serial
    }

    /// The fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.facts.key, &self.facts.serial)
    }

    /// The first second at which it is valid.
    pub fn not_before(&self) -> SystemTime {
        self.facts.not_before
    }

    /// The last second at which it is valid.
    pub fn not_after(&self) -> SystemTime {
        self.facts.not_after
    }

    /// Whether it may issue certificates. Who asks for its signature asks a [`TrustedAuthority`].
    pub fn is_authority(&self) -> bool {
        self.facts.authority
    }

    /// Whether subject and issuer have the same name.
    pub fn is_self_issued(&self) -> bool {
        self.facts.subject_der == self.facts.issuer_der
    }

    /// Whether it ends within `span` of `now`, or has ended: with [`RENEWAL_WARNING`], whether it is
    /// time to renew it.
    pub fn expires_within(&self, span: Duration, now: SystemTime) -> bool {
        now.checked_add(span)
            .is_none_or(|then| then > self.facts.not_after)
    }
}

/// The id or key, the serial number, and nothing that a stranger wrote.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, serial) = (self.facts.key.short(), &self.facts.serial);
        write!(f, "Certificate({key}…, serial {serial})")
    }
}
