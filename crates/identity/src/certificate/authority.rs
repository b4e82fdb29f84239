//! Making certificates and revocation lists.

use std::time::{Duration, SystemTime};

use ed25519_dalek::Signature;
use rand_core::CryptoRng;
use x509_cert::builder::{Builder, CertificateBuilder, CrlBuilder};
use x509_cert::crl::RevokedCert;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::CrlNumber;
use x509_cert::name::Name;
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use x509_cert::time::Validity;

use super::names::Subject;
use super::profile::Profile;
use super::{Certificate, CertificateName, GroupName, MAX_GROUPS, MAX_REVOKED, Revocation};
use super::{RevocationList, Serial, TrustError, TrustedAuthority, times};
use crate::device_id::DeviceId;
use crate::device_key::DeviceKey;

/// How long before the moment of issue a certificate begins: clocks of peers that are an hour
/// behind still take it.
pub const BACKDATING: Duration = Duration::from_secs(3600);
/// How long a CA lasts unless the caller says otherwise: ten years, since its certificate has to
/// be carried to every device by hand.
pub const DEFAULT_AUTHORITY_LIFETIME: Duration = Duration::from_secs(3650 * 86_400);
/// How long a device's certificate lasts unless the caller says otherwise: a year, after which
/// a device that nobody remembers is out by itself.
pub const DEFAULT_DEVICE_LIFETIME: Duration = Duration::from_secs(365 * 86_400);

/// A CA with its key.
#[derive(Debug, Clone)]
pub struct Authority {
    key: DeviceKey,
    certificate: Certificate,
}

/// A certificate to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The device that it is for.
    pub device: DeviceId,
    /// What the device is called.
    pub name: CertificateName,
    /// Its groups, at most [`MAX_GROUPS`].
    pub groups: Vec<GroupName>,
    /// How long it is valid from now on. It never outlasts its CA.
    pub lifetime: Duration,
}

impl Authority {
    /// A new CA with this key, called `name`, that lasts for `lifetime` from `now` on.
    ///
    /// # Errors
    /// [`IssueError::Lifetime`].
    pub fn create(
        key: DeviceKey,
        name: &CertificateName,
        lifetime: Duration,
        (now, rng): (SystemTime, &mut impl CryptoRng),
    ) -> Result<Self, IssueError> {
        let subject = Subject {
            name: Some(name.clone()),
            groups: Vec::new(),
        };
        let profile = Profile::Authority {
            subject: subject.to_x509(),
        };
        let span = Span::starting(now, lifetime)?;
        let certificate = sign(&key, profile, key.id(), (span, Serial::random(rng)));
        Ok(Self { key, certificate })
    }

    /// A CA whose key and certificate were kept.
    ///
    /// # Errors
    /// [`IssueError::Key`], [`IssueError::Authority`].
    pub fn of(key: DeviceKey, certificate: Certificate) -> Result<Self, IssueError> {
        if key.id() != *certificate.key() {
            return Err(IssueError::Key);
        }
        TrustedAuthority::new(certificate.clone()).map_err(IssueError::Authority)?;
        Ok(Self { key, certificate })
    }

    /// Its certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Its key, to be kept.
    pub(super) fn key(&self) -> &DeviceKey {
        &self.key
    }

    /// Makes a certificate for a device.
    ///
    /// # Errors
    /// [`IssueError::Lifetime`], [`IssueError::Ended`], [`IssueError::NotBegun`],
    /// [`IssueError::TooManyGroups`], [`IssueError::OwnKey`].
    pub fn issue(
        &self,
        order: &Order,
        now: SystemTime,
        rng: &mut impl CryptoRng,
    ) -> Result<Certificate, IssueError> {
        if order.device == self.key.id() {
            return Err(IssueError::OwnKey);
        }
        if order.groups.len() > MAX_GROUPS {
            return Err(IssueError::TooManyGroups);
        }
        let authority = &self.certificate.facts;
        if now > authority.not_after {
            return Err(IssueError::Ended);
        }
        let span = Span::starting(now, order.lifetime)?;
        let span = Span {
            from: span.from.max(authority.not_before),
            until: span.until.min(authority.not_after),
        };
        if span.from > span.until {
            return Err(IssueError::NotBegun);
        }
        let mut groups = order.groups.clone();
        groups.sort();
        groups.dedup();
        let subject = Subject {
            name: Some(order.name.clone()),
            groups,
        };
        let profile = Profile::Device {
            subject: subject.to_x509(),
            issuer: self.subject(),
            authority_key: authority.key_identifier.clone(),
        };
        let serial = Serial::random(rng);
        Ok(sign(&self.key, profile, order.device, (span, serial)))
    }

    /// Makes a new certificate for the same device, name and groups as `certificate`, with a
    /// serial number of its own. The device keeps its key, and so its id.
    ///
    /// # Errors
    /// [`IssueError::Foreign`] when this CA did not make it, [`IssueError::Nameless`], and those
    /// of [`issue`](Self::issue).
    pub fn renew(
        &self,
        certificate: &Certificate,
        lifetime: Duration,
        (now, rng): (SystemTime, &mut impl CryptoRng),
    ) -> Result<Certificate, IssueError> {
        // It may have ended, and be renewed for that; at its own last second it must verify.
        let authority = self.trusted();
        let device = certificate.key();
        authority
            .verify(
                std::slice::from_ref(certificate),
                device,
                certificate.not_after(),
            )
            .map_err(|_| IssueError::Foreign)?;
        let order = Order {
            device: *device,
            name: certificate.name().ok_or(IssueError::Nameless)?.clone(),
            groups: certificate.groups().to_vec(),
            lifetime,
        };
        self.issue(&order, now, rng)
    }

    /// Makes the list of all that was ever revoked. `number` must be over that of the list before.
    ///
    /// # Errors
    /// [`IssueError::Lifetime`], [`IssueError::TooManyRevoked`].
    pub fn revocation_list(
        &self,
        revoked: &[Revocation],
        number: u64,
        (now, lifetime): (SystemTime, Duration),
    ) -> Result<RevocationList, IssueError> {
        if revoked.len() > MAX_REVOKED {
            return Err(IssueError::TooManyRevoked);
        }
        let span = Span::starting(now, lifetime)?;
        let number = CrlNumber::try_from(number).expect("64 bits are a short number");
        let from = times::to_x509(span.from);
        let mut builder = CrlBuilder::new_with_this_update(&self.parsed(), number, from)
            .expect("a certificate that was read has a name and a key")
            .with_next_update(Some(times::to_x509(span.until)));
        if !revoked.is_empty() {
            builder = builder.with_certificates(revoked.iter().map(|entry| RevokedCert {
                serial_number: entry.serial.to_x509(),
                revocation_date: times::to_x509(entry.since),
                crl_entry_extensions: None,
            }));
        }
        let list = builder
            .build::<_, Signature>(self.key.signing())
            .and_then(|list| Ok(list.to_der()?))
            .expect("a bounded list encodes");
        Ok(RevocationList::from_der(&list).expect("what was made meets the profile"))
    }

    /// What devices need to verify certificates of this CA.
    pub fn trusted(&self) -> TrustedAuthority {
        TrustedAuthority::new(self.certificate.clone()).expect("checked when this CA was made")
    }

    fn subject(&self) -> Name {
        Name::from_der(&self.certificate.facts.subject_der).expect("a name that was read")
    }

    fn parsed(&self) -> x509_cert::Certificate {
        x509_cert::Certificate::from_der(self.certificate.as_der()).expect("it was read before")
    }
}

/// From when to when.
struct Span {
    from: SystemTime,
    until: SystemTime,
}

impl Span {
    fn starting(now: SystemTime, lifetime: Duration) -> Result<Self, IssueError> {
        if lifetime.as_secs() == 0 {
            return Err(IssueError::Lifetime);
        }
        Ok(Self {
            from: now
                .checked_sub(BACKDATING)
                .unwrap_or(SystemTime::UNIX_EPOCH),
            until: now.checked_add(lifetime).ok_or(IssueError::Lifetime)?,
        })
    }
}

fn sign(
    key: &DeviceKey,
    profile: Profile,
    holder: DeviceId,
    (span, serial): (Span, Serial),
) -> Certificate {
    let validity = Validity::new(times::to_x509(span.from), times::to_x509(span.until));
    let holder = SubjectPublicKeyInfoOwned::from_key(&holder.verifying_key());
    let der = holder
        .map_err(x509_cert::builder::Error::from)
        .and_then(|holder| CertificateBuilder::new(profile, serial.to_x509(), validity, holder))
        .and_then(|builder| builder.build::<_, Signature>(key.signing()))
        .and_then(|certificate| Ok(certificate.to_der()?))
        .expect("bounded names and an Ed25519 key always encode");
    Certificate::from_der(&der).expect("what was made meets the profile")
}

/// Why a CA did not make something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// Less than a second, or beyond what a clock can say.
    #[error("a certificate must last at least a second, and not for ever")]
    Lifetime,
    /// Over [`MAX_GROUPS`].
    #[error("a certificate names at most {MAX_GROUPS} groups")]
    TooManyGroups,
    /// Over [`MAX_REVOKED`].
    #[error("a revocation list names at most {MAX_REVOKED} certificates")]
    TooManyRevoked,
    /// The CA's own certificate has ended.
    #[error("the certificate of the CA has expired (make a new CA)")]
    Ended,
    /// The CA's own certificate begins after the end of what was ordered.
    #[error("the certificate of the CA has not begun (is the clock right?)")]
    NotBegun,
    /// The device has the key of the CA.
    #[error("a CA cannot vouch for its own key (give the device a key of its own)")]
    OwnKey,
    /// The certificate of the CA belongs to another key.
    #[error("the key does not belong to the certificate of the CA")]
    Key,
    /// The certificate is not that of a CA.
    #[error("the certificate cannot be that of a CA")]
    Authority(#[source] TrustError),
    /// Another CA made the certificate that was to be renewed, or nobody did.
    #[error("this CA did not make the certificate")]
    Foreign,
    /// The certificate that was to be renewed has no common name.
    #[error("the certificate has no name (make a new one for the device)")]
    Nameless,
}
