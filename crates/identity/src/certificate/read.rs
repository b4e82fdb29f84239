//! Reading a certificate: the DER of x509-cert, then the profile.

use std::time::SystemTime;

use x509_cert::certificate::{TbsCertificate, Version};
use x509_cert::der::asn1::OctetString;
use x509_cert::der::oid::{AssociatedOid, ObjectIdentifier};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::names::Subject;
use super::{CertificateName, MAX_CERTIFICATE_LEN, Serial, SubjectFault, times};
use crate::device_id::{DeviceId, InvalidPublicKey};
use crate::device_key::algorithm_name;

/// id-Ed25519 (RFC 8410, section 3), of keys and of signatures.
pub(super) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// id-kp-serverAuth, id-kp-clientAuth, anyExtendedKeyUsage (RFC 5280, section 4.2.1.12): a device
/// is both sides of its connections, so either purpose will do.
const DEVICE_PURPOSES: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2"),
    ObjectIdentifier::new_unwrap("2.5.29.37.0"),
];
/// The extensions that may be critical, because they are read here or, as alternative names, say
/// nothing that is used.
const UNDERSTOOD: [ObjectIdentifier; 4] = [
    BasicConstraints::OID,
    KeyUsage::OID,
    ExtendedKeyUsage::OID,
    SubjectAltName::OID,
];

/// What a certificate says.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) key: DeviceId,
    pub(super) serial: Serial,
    pub(super) subject: Subject,
    pub(super) issuer_name: Option<CertificateName>,
    pub(super) subject_der: Vec<u8>,
    pub(super) issuer_der: Vec<u8>,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    pub(super) authority: bool,
    pub(super) path_len: Option<u8>,
    pub(super) usage: Usage,
    /// The subject key identifier, if there is one.
    pub(super) key_identifier: Option<OctetString>,
}

/// What the key may be used for. Without a key usage extension that is everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) signs_certificates: bool,
    pub(super) signs_lists: bool,
    /// It may prove itself in a connection.
    pub(super) authenticates: bool,
}

pub(super) fn read(der: &[u8]) -> Result<Facts, CertificateError> {
    if der.len() > MAX_CERTIFICATE_LEN {
        return Err(CertificateError::TooLong { found: der.len() });
    }
    let certificate =
        x509_cert::Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
    let tbs = certificate.tbs_certificate();
    if tbs.version() != Version::V3 {
        return Err(CertificateError::Version);
    }
    let algorithm = certificate.signature_algorithm();
    if algorithm != tbs.signature() {
        return Err(CertificateError::Malformed);
    }
    check_algorithm(algorithm)?;
    let key = read_key(tbs.subject_public_key_info())?;
    if tbs.issuer_unique_id().is_some() || tbs.subject_unique_id().is_some() {
        return Err(CertificateError::Malformed);
    }
    check_extensions(tbs)?;
    let constraints = extension::<BasicConstraints>(tbs)?;
    let authority = constraints.as_ref().is_some_and(|found| found.ca);
    let subject = Subject::of(tbs.subject()).map_err(CertificateError::Subject)?;
    let issuer = Subject::of(tbs.issuer()).map_err(CertificateError::Issuer)?;
    let validity = tbs.validity();
    let encode = |name: &x509_cert::name::Name| name.to_der().expect("a name that was read");
    let facts = Facts {
        key,
        serial: Serial::of(tbs.serial_number()).ok_or(CertificateError::Serial)?,
        subject,
        issuer_name: issuer.name,
        subject_der: encode(tbs.subject()),
        issuer_der: encode(tbs.issuer()),
        not_before: times::of_x509(validity.not_before),
        not_after: times::of_x509(validity.not_after),
        authority,
        path_len: constraints.and_then(|found| found.path_len_constraint),
        usage: read_usage(tbs)?,
        key_identifier: extension::<SubjectKeyIdentifier>(tbs)?.map(|found| found.0),
    };
    match facts.not_before <= facts.not_after {
        true => Ok(facts),
        false => Err(CertificateError::Validity),
    }
}

/// The Ed25519 key of a certificate or request.
pub(super) fn read_key(spki: &SubjectPublicKeyInfoOwned) -> Result<DeviceId, CertificateError> {
    check_algorithm(&spki.algorithm)?;
    let bytes = spki.subject_public_key.as_bytes();
    let bytes = bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(CertificateError::Malformed)?;
    DeviceId::from_bytes(bytes).map_err(CertificateError::Key)
}

/// Ed25519, for which no parameters may be given (RFC 8410, section 3).
fn check_algorithm(algorithm: &AlgorithmIdentifierOwned) -> Result<(), CertificateError> {
    if algorithm.oid != ED25519 {
        return Err(CertificateError::Algorithm {
            found: algorithm_name(&algorithm.oid),
        });
    }
    match algorithm.parameters {
        None => Ok(()),
        Some(_) => Err(CertificateError::Malformed),
    }
}

fn check_extensions(tbs: &TbsCertificate) -> Result<(), CertificateError> {
    let extensions = tbs.extensions().map_or(&[][..], Vec::as_slice);
    for (index, extension) in extensions.iter().enumerate() {
        let id = extension.extn_id;
        if extensions[..index].iter().any(|other| other.extn_id == id) {
            return Err(CertificateError::Malformed);
        }
        if extension.critical && !UNDERSTOOD.contains(&id) {
            return Err(CertificateError::CriticalExtension { id: id.to_string() });
        }
    }
    Ok(())
}

fn extension<T>(tbs: &TbsCertificate) -> Result<Option<T>, CertificateError>
where
    T: for<'a> Decode<'a> + AssociatedOid,
{
    match tbs.get_extension::<T>() {
        Ok(found) => Ok(found.map(|(_, extension)| extension)),
        Err(_) => Err(CertificateError::Malformed),
    }
}

fn read_usage(tbs: &TbsCertificate) -> Result<Usage, CertificateError> {
    let usage = extension::<KeyUsage>(tbs)?;
    let may = |bit: fn(&KeyUsage) -> bool| usage.as_ref().is_none_or(bit);
    let purposes = extension::<ExtendedKeyUsage>(tbs)?;
    let for_devices = purposes.is_none_or(|purposes| {
        let mut purposes = purposes.0.iter();
        purposes.any(|purpose| DEVICE_PURPOSES.contains(purpose))
    });
    Ok(Usage {
        signs_certificates: may(KeyUsage::key_cert_sign),
        signs_lists: may(KeyUsage::crl_sign),
        authenticates: may(KeyUsage::digital_signature) && for_devices,
    })
}

/// Why bytes are no certificate of the profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Over [`MAX_CERTIFICATE_LEN`].
    #[error("a certificate has at most {MAX_CERTIFICATE_LEN} bytes, not {found}")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// No certificate in DER, or one that contradicts itself.
    #[error("the certificate is damaged")]
    Malformed,
    /// Version 1 or 2.
    #[error(
        "the certificate is not of version 3 (with openssl x509 -req: give it extensions with \
         -extfile)"
    )]
    Version,
    /// A key or a signature of another algorithm.
    #[error("the certificate uses {found}, not Ed25519")]
    Algorithm {
        /// The algorithm, or its object identifier.
        found: String,
    },
    /// An Ed25519 key that no device may have.
    #[error("the key in the certificate cannot be used")]
    Key(#[source] InvalidPublicKey),
    /// A serial number that is zero, negative or over [`MAX_SERIAL_LEN`](super::MAX_SERIAL_LEN).
    #[error(
        "the serial number of the certificate is not between 1 and 20 bytes of a number over 0"
    )]
    Serial,
    /// A subject that is not usable.
    #[error("the subject of the certificate cannot be used")]
    Subject(#[source] SubjectFault),
    /// An issuer that is not usable.
    #[error("the issuer of the certificate cannot be used")]
    Issuer(#[source] SubjectFault),
    /// Ends before it begins.
    #[error("the certificate ends before it begins")]
    Validity,
    /// An extension that must be understood and is not.
    #[error("the certificate has the critical extension {id}, which is not understood here")]
    CriticalExtension {
        /// Its object identifier.
        id: String,
    },
}
