//! Judging a chain of certificates at a moment.

use std::fmt;
use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, ExpirationPolicy,
    ExtendedKeyUsageValidator, KeyPurposeIdIter, RevocationOptionsBuilder, UnknownStatusPolicy,
    anchor_from_trusted_cert,
};
use x509_cert::der::{Decode, Encode};

use super::signature::StrictEd25519;
use super::{Certificate, CertificateName, Fingerprint, GroupName, RevocationList, Serial, times};
use crate::device_id::DeviceId;

/// Certificates that a peer may show: its own and two CAs between it and the one that is trusted.
pub const MAX_CHAIN_LEN: usize = 3;
/// Revocation lists of one trusted CA and those below it.
const MAX_LISTS: usize = MAX_CHAIN_LEN;

/// A CA that somebody here decided to trust, with the revocation lists that are at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedAuthority {
    certificate: Certificate,
    lists: Vec<RevocationList>,
}

impl TrustedAuthority {
    /// Takes a certificate that its own key signed and that may issue others. Whether it has
    /// ended is asked at each verification.
    ///
    /// # Errors
    /// [`TrustError::NotAnAuthority`], [`TrustError::NotSelfSigned`].
    pub fn new(certificate: Certificate) -> Result<Self, TrustError> {
        if !certificate.is_authority() || !certificate.facts.usage.signs_certificates {
            return Err(TrustError::NotAnAuthority);
        }
        if !certificate.is_self_issued() || !is_self_signed(&certificate) {
            return Err(TrustError::NotSelfSigned);
        }
        Ok(Self {
            certificate,
            lists: Vec::new(),
        })
    }

    /// Adds the revocation list of this CA. A later list takes the place of an earlier one.
    ///
    /// # Errors
    /// [`TrustError::List`], [`TrustError::OldList`], [`TrustError::TooManyLists`].
    pub fn with_revocation_list(self, list: RevocationList) -> Result<Self, TrustError> {
        let issuer = self.certificate.clone();
        self.with_revocation_list_of(&issuer, list)
    }

    /// Adds the revocation list of `issuer`, a CA below this one. Whether it is below this one is
    /// found when it is shown in a chain.
    ///
    /// # Errors
    /// [`TrustError::List`], [`TrustError::OldList`], [`TrustError::TooManyLists`].
    pub fn with_revocation_list_of(
        mut self,
        issuer: &Certificate,
        list: RevocationList,
    ) -> Result<Self, TrustError> {
        let may_sign = issuer.is_authority() && issuer.facts.usage.signs_lists;
        if list.issuer_der != issuer.facts.subject_der || !may_sign {
            return Err(TrustError::List);
        }
        let (content, signature) = list.signed().ok_or(TrustError::List)?;
        let signed = issuer.key().verify(&content, &signature);
        signed.map_err(|_| TrustError::List)?;
        let same = |known: &RevocationList| known.issuer_der == list.issuer_der;
        match self.lists.iter().position(same) {
            Some(at) if self.lists[at].number() > list.number() => return Err(TrustError::OldList),
            Some(at) => self.lists[at] = list,
            None if self.lists.len() == MAX_LISTS => return Err(TrustError::TooManyLists),
            None => self.lists.push(list),
        }
        Ok(self)
    }

    /// The certificate of the CA.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The revocation lists.
    pub fn revocation_lists(&self) -> &[RevocationList] {
        &self.lists
    }

    /// The fingerprint by which rules name this CA.
    pub fn fingerprint(&self) -> Fingerprint {
        self.certificate.fingerprint()
    }

    /// Judges what `device`, which has proved its key, shows at `now`: its certificate first, then
    /// CAs between it and this one in any order. This CA's own certificate may be left out.
    ///
    /// # Errors
    /// [`VerifyError`], one for each fault.
    pub fn verify(
        &self,
        chain: &[Certificate],
        device: &DeviceId,
        now: SystemTime,
    ) -> Result<Verified, VerifyError> {
        let Some((own, others)) = chain.split_first() else {
            return Err(VerifyError::Empty);
        };
        if chain.len() > MAX_CHAIN_LEN {
            return Err(VerifyError::TooLong { found: chain.len() });
        }
        check_own(own, device, now)?;
        let anchor = &self.certificate;
        check_span(anchor, now).map_err(|fault| match fault {
            VerifyError::Expired { since } => VerifyError::AuthorityExpired { since },
            VerifyError::NotYetValid { from } => VerifyError::AuthorityNotYetValid { from },
            other => other,
        })?;
        if let Some(list) = self.lists.iter().find(|list| list.issued() > now) {
            return Err(VerifyError::ListNotYetValid {
                from: list.issued(),
            });
        }
        let between = self.find_path(own, others, now)?;
        let allowed = anchor.facts.path_len.map(usize::from);
        if allowed.is_some_and(|allowed| between.len() > allowed) {
            return Err(VerifyError::PathLength);
        }
        if between.iter().any(|ca| !ca.facts.usage.signs_certificates) {
            return Err(VerifyError::NotAnAuthority);
        }
        Ok(self.account(own, &between))
    }

    /// The CAs between `own` and this one, if path validation finds a way.
    fn find_path<'c>(
        &self,
        own: &Certificate,
        others: &'c [Certificate],
        now: SystemTime,
    ) -> Result<Vec<&'c Certificate>, VerifyError> {
        let anchor_der = CertificateDer::from(self.certificate.as_der());
        let anchors: [TrustAnchor<'_>; 1] =
            [anchor_from_trusted_cert(&anchor_der).map_err(VerifyError::of)?];
        let own_der = CertificateDer::from(own.as_der());
        let own = EndEntityCert::try_from(&own_der).map_err(VerifyError::of)?;
        let others_der: Vec<_> = others
            .iter()
            .filter(|other| other.as_der() != self.certificate.as_der())
            .map(|other| CertificateDer::from(other.as_der()))
            .collect();
        let lists = self.lists.iter().map(|list| {
            BorrowedCertRevocationList::from_der(list.as_der()).map(CertRevocationList::from)
        });
        let lists: Vec<_> = lists.collect::<Result<_, _>>().map_err(VerifyError::of)?;
        let lists: Vec<_> = lists.iter().collect();
        // A CA without a list at hand has revoked nothing that could be known.
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_status_policy(UnknownStatusPolicy::Allow)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let path = own
            .verify_for_usage(
                &[&StrictEd25519],
                &anchors,
                &others_der,
                UnixTime::since_unix_epoch(Duration::from_secs(times::seconds(now))),
                PurposesReadBefore,
                revocation,
                None,
            )
            .map_err(VerifyError::of)?;
        let in_path: Vec<_> = path
            .intermediate_certificates()
            .map(|ca| ca.der())
            .collect();
        let is_in_path = |other: &&Certificate| in_path.iter().any(|der| **der == *other.as_der());
        Ok(others.iter().filter(is_in_path).collect())
    }

    fn account(&self, own: &Certificate, between: &[&Certificate]) -> Verified {
        let authority = &self.certificate;
        let path = [own, authority].into_iter().chain(between.iter().copied());
        let certificates = path.clone().map(Certificate::not_after);
        // A list counts until its moment, a certificate also at its last second.
        let second = Duration::from_secs(1);
        let lists = path
            .filter_map(|ca| self.list_of(ca))
            .map(|list| list.until() - second);
        let valid_until = certificates.chain(lists).min();
        Verified {
            device: *own.key(),
            name: own.name().cloned(),
            groups: own.groups().to_vec(),
            serial: own.serial().clone(),
            authority: authority.fingerprint(),
            authority_name: authority.name().cloned(),
            not_after: own.not_after(),
            valid_until: valid_until.unwrap_or(own.not_after()),
        }
    }

    fn list_of(&self, ca: &Certificate) -> Option<&RevocationList> {
        let subject = &ca.facts.subject_der;
        self.lists.iter().find(|list| list.issuer_der == *subject)
    }
}

/// What a verified certificate says. It is made by [`TrustedAuthority::verify`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    device: DeviceId,
    name: Option<CertificateName>,
    groups: Vec<GroupName>,
    serial: Serial,
    authority: Fingerprint,
    authority_name: Option<CertificateName>,
    not_after: SystemTime,
    valid_until: SystemTime,
}

impl Verified {
    /// The device.
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// What the CA calls it.
    pub fn name(&self) -> Option<&CertificateName> {
        self.name.as_ref()
    }

    /// The groups that the CA puts it in, sorted.
    pub fn groups(&self) -> &[GroupName] {
        &self.groups
    }

    /// The serial number of its certificate.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// The CA that was trusted.
    pub fn authority(&self) -> &Fingerprint {
        &self.authority
    }

    /// What that CA calls itself.
    pub fn authority_name(&self) -> Option<&CertificateName> {
        self.authority_name.as_ref()
    }

    /// The last second of the device's own certificate.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The last second of this judgement: the earliest end in the chain and of the revocation
    /// lists that were asked. After it, verify again.
    pub fn valid_until(&self) -> SystemTime {
        self.valid_until
    }
}

impl Verified {
    /// Whether the device's certificate ends within `span` of `now`.
    pub fn expires_within(&self, span: Duration, now: SystemTime) -> bool {
        now.checked_add(span)
            .is_none_or(|then| then > self.not_after)
    }
}

fn check_own(own: &Certificate, device: &DeviceId, now: SystemTime) -> Result<(), VerifyError> {
    if own.key() != device {
        return Err(VerifyError::OtherDevice { found: *own.key() });
    }
    if own.is_self_issued() {
        return Err(VerifyError::SelfSigned);
    }
    if own.is_authority() {
        return Err(VerifyError::NotADevice);
    }
    if !own.facts.usage.authenticates {
        return Err(VerifyError::Usage);
    }
    check_span(own, now)
}

fn check_span(certificate: &Certificate, now: SystemTime) -> Result<(), VerifyError> {
    // Certificates count in whole seconds.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(times::seconds(now));
    if now < certificate.not_before() {
        return Err(VerifyError::NotYetValid {
            from: certificate.not_before(),
        });
    }
    if now > certificate.not_after() {
        return Err(VerifyError::Expired {
            since: certificate.not_after(),
        });
    }
    Ok(())
}

fn is_self_signed(certificate: &Certificate) -> bool {
    let check = || {
        let parsed = x509_cert::Certificate::from_der(certificate.as_der()).ok()?;
        let signature = parsed.signature().as_bytes()?.try_into().ok()?;
        // DER has one encoding for each content, so this is what was signed.
        let signed = parsed.tbs_certificate().to_der().ok()?;
        certificate.key().verify(&signed, signature).ok()
    };
    check().is_some()
}

/// Extended purposes were read with the certificate, and are asked of the device's alone.
struct PurposesReadBefore;

impl ExtendedKeyUsageValidator for PurposesReadBefore {
    fn validate(&self, mut purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        purposes.try_for_each(|purpose| purpose.map(|_| ()))
    }
}

/// Why a certificate cannot be that of a trusted CA, or a revocation list not one of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// Without CA:TRUE, or with a key usage that does not include signing certificates.
    #[error("the certificate may not issue others: it is not that of a CA")]
    NotAnAuthority,
    /// Issued by another, or not signed by its own key.
    #[error("the certificate is not self-signed (trust the CA that issued it)")]
    NotSelfSigned,
    /// In the name of another, not signed by the CA, or the CA may not sign lists.
    #[error("the revocation list is not by this CA")]
    List,
    /// A lower number than the list that is there.
    #[error("the revocation list is older than the one that is known")]
    OldList,
    /// Over three.
    #[error("a CA takes at most {MAX_LISTS} revocation lists")]
    TooManyLists,
}

/// Why a chain was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyError {
    /// No certificate at all.
    Empty,
    /// Over [`MAX_CHAIN_LEN`].
    TooLong {
        /// Certificates found.
        found: usize,
    },
    /// The first certificate is another device's.
    OtherDevice {
        /// Whose it is.
        found: DeviceId,
    },
    /// The device vouches for itself.
    SelfSigned,
    /// The certificate is that of a CA.
    NotADevice,
    /// Key usage or extended purposes do not include proving itself in a connection.
    Usage,
    /// The device's or an intermediate certificate has ended.
    Expired {
        /// Its last second.
        since: SystemTime,
    },
    /// The device's or an intermediate certificate has not begun.
    NotYetValid {
        /// Its first second.
        from: SystemTime,
    },
    /// The trusted CA has ended.
    AuthorityExpired {
        /// Its last second.
        since: SystemTime,
    },
    /// The trusted CA has not begun.
    AuthorityNotYetValid {
        /// Its first second.
        from: SystemTime,
    },
    /// Another CA issued it, or one that was not shown.
    UnknownAuthority,
    /// A signature was not made by the key of the issuer that is named.
    Signature,
    /// A CA in the chain says that this certificate no longer counts.
    Revoked,
    /// A revocation list has ended.
    ListExpired {
        /// Its end.
        since: SystemTime,
    },
    /// A revocation list has not begun.
    ListNotYetValid {
        /// Its beginning.
        from: SystemTime,
    },
    /// A revocation list is not signed by its issuer, or that may not sign lists.
    List,
    /// A certificate in the chain issued another and is not that of a CA.
    NotAnAuthority,
    /// More CAs below one than it allows.
    PathLength,
    /// Something else that path validation refuses.
    Path(webpki::Error),
}

impl VerifyError {
    fn of(error: webpki::Error) -> Self {
        use webpki::Error;
        let moment = |time: UnixTime| SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs());
        match error {
            Error::CertExpired { not_after, .. } => Self::Expired {
                since: moment(not_after),
            },
            Error::CertNotValidYet { not_before, .. } => Self::NotYetValid {
                from: moment(not_before),
            },
            Error::CrlExpired { next_update, .. } => Self::ListExpired {
                since: moment(next_update),
            },
            Error::CertRevoked => Self::Revoked,
            Error::UnknownIssuer => Self::UnknownAuthority,
            Error::InvalidSignatureForPublicKey => Self::Signature,
            Error::InvalidCrlSignatureForPublicKey | Error::IssuerNotCrlSigner => Self::List,
            Error::CaUsedAsEndEntity => Self::NotADevice,
            Error::EndEntityUsedAsCa => Self::NotAnAuthority,
            Error::PathLenConstraintViolated => Self::PathLength,
            other => Self::Path(other),
        }
    }

    /// Whether this says that the CA is another one, so that a further trusted CA may still
    /// accept the chain.
    pub(crate) fn is_other_authority(&self) -> bool {
        matches!(self, Self::UnknownAuthority | Self::Signature)
    }
}

impl std::error::Error for VerifyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Path(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |moment: &SystemTime| times::text(*moment);
        match self {
            Self::Empty => f.write_str("no certificate was shown"),
            Self::TooLong { found } => write!(
                f,
                "at most {MAX_CHAIN_LEN} certificates may be shown, not {found}"
            ),
            Self::OtherDevice { found } => {
                write!(f, "the certificate is that of {}…", found.short())
            }
            Self::SelfSigned => f.write_str("the certificate is self-signed: no CA vouches for it"),
            Self::NotADevice => f.write_str("the certificate is that of a CA, not of a device"),
            Self::Usage => f.write_str(
                "the certificate is for another use (key usage must include digitalSignature)",
            ),
            Self::Expired { since } => {
                write!(f, "the certificate expired at {} (renew it)", text(since))
            }
            Self::NotYetValid { from } => write!(
                f,
                "the certificate is not valid before {} (is the clock right?)",
                text(from)
            ),
            Self::AuthorityExpired { since } => {
                write!(f, "the certificate of the CA expired at {}", text(since))
            }
            Self::AuthorityNotYetValid { from } => write!(
                f,
                "the certificate of the CA is not valid before {} (is the clock right?)",
                text(from)
            ),
            Self::UnknownAuthority => f.write_str("another CA issued the certificate"),
            Self::Signature => f.write_str("the certificate is not signed by the CA that it names"),
            Self::Revoked => f.write_str("the certificate is revoked"),
            Self::ListExpired { since } => write!(
                f,
                "the revocation list ended at {} (get a newer one from the CA)",
                text(since)
            ),
            Self::ListNotYetValid { from } => write!(
                f,
                "the revocation list is not valid before {} (is the clock right?)",
                text(from)
            ),
            Self::List => f.write_str("the revocation list is not signed by its CA"),
            Self::NotAnAuthority => {
                f.write_str("a certificate in the chain issued another and is not that of a CA")
            }
            Self::PathLength => {
                f.write_str("there are more CAs in the chain than the CA above them allows")
            }
            Self::Path(_) => f.write_str("the chain of certificates is not valid"),
        }
    }
}
