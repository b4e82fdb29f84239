//! Certificate requests (PKCS #10, RFC 2986): a device's key with the proof that it has it.

use ed25519_dalek::Signature;
use x509_cert::builder::Builder;
use x509_cert::der::{Decode, Encode};
use x509_cert::request::{CertReq, RequestBuilder};

use super::names::Subject;
use super::read::{ED25519, read_key};
use super::{CertificateError, CertificateName, MAX_CERTIFICATE_LEN, pem};
use crate::device_id::DeviceId;
use crate::device_key::DeviceKey;

/// A request that its device signed. The CA takes the key from it and nothing else: what the
/// certificate says is the CA's to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    der: Vec<u8>,
    device: DeviceId,
    name: Option<CertificateName>,
}

impl Request {
    /// The request of the device with this key, which would like to be called `name`.
    pub fn new(key: &DeviceKey, name: &CertificateName) -> Self {
        let subject = Subject {
            name: Some(name.clone()),
            groups: Vec::new(),
        };
        let request = RequestBuilder::new(subject.to_x509())
            .and_then(|builder| builder.build::<_, Signature>(key.signing()))
            .expect("a short name and an Ed25519 key always encode");
        Self {
            der: request.to_der().expect("what was built encodes"),
            device: key.id(),
            name: Some(name.clone()),
        }
    }

    /// Reads a request in DER and checks its signature.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn from_der(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > MAX_CERTIFICATE_LEN {
            return Err(RequestError::TooLong { found: der.len() });
        }
        let request = CertReq::from_der(der).map_err(|_| RequestError::Malformed)?;
        let device = read_key(&request.info.public_key).map_err(RequestError::Key)?;
        let algorithm = &request.algorithm;
        if algorithm.oid != ED25519 || algorithm.parameters.is_some() {
            return Err(RequestError::Signature);
        }
        // DER has one encoding for each content, so this is what was signed, or it is refused.
        let signed = request.info.to_der().map_err(|_| RequestError::Malformed)?;
        let signature = request.signature.as_bytes().unwrap_or_default();
        let signature = signature.try_into().map_err(|_| RequestError::Signature)?;
        device
            .verify(&signed, signature)
            .map_err(|_| RequestError::Signature)?;
        // A name that cannot be used is none: the CA chooses anyway.
        let name = Subject::of(&request.info.subject).ok();
        Ok(Self {
            der: der.to_vec(),
            device,
            name: name.and_then(|subject| subject.name),
        })
    }

    /// The device that asks.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// How it would like to be called.
    pub fn name(&self) -> Option<&CertificateName> {
        self.name.as_ref()
    }

    /// The request in DER.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// The request in PEM.
    pub fn to_pem(&self) -> String {
        pem::encode(pem::REQUEST, &self.der)
    }
}

/// Why bytes are no certificate request of a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Over [`MAX_CERTIFICATE_LEN`].
    #[error("a certificate request has at most {MAX_CERTIFICATE_LEN} bytes, not {found}")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// No request in DER.
    #[error("the certificate request is damaged")]
    Malformed,
    /// A key that no device may have.
    #[error("the key in the certificate request cannot be used")]
    Key(#[source] CertificateError),
    /// Not signed with the key in it.
    #[error("the certificate request is not signed by the key in it")]
    Signature,
}
