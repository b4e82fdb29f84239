//! The extensions that certificates made here carry (RFC 5280, section 4.2).

use x509_cert::TbsCertificate;
use x509_cert::builder::Result;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::der::asn1::OctetString;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;
use x509_cert::spki::SubjectPublicKeyInfoRef;

/// What a certificate is for.
pub(super) enum Profile {
    /// A CA that signs itself: its subject. It issues to devices only, so no CA may stand below.
    Authority { subject: Name },
    /// A device, vouched for by a CA with this key identifier, if it names one.
    Device {
        subject: Name,
        issuer: Name,
        authority_key: Option<OctetString>,
    },
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, subject: &Name) -> Name {
        match self {
            Self::Authority { .. } => subject.clone(),
            Self::Device { issuer, .. } => issuer.clone(),
        }
    }

    fn get_subject(&self) -> Name {
        match self {
            Self::Authority { subject } | Self::Device { subject, .. } => subject.clone(),
        }
    }

    fn build_extensions(
        &self,
        key: SubjectPublicKeyInfoRef<'_>,
        issuer_key: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> Result<Vec<Extension>> {
        let own_kind = SubjectKeyIdentifier::try_from(issuer_key)?.0;
        let (constraints, usages, authority_key) = match self {
            Self::Authority { .. } => (
                BasicConstraints {
                    ca: true,
                    path_len_constraint: Some(0),
                },
                KeyUsages::KeyCertSign | KeyUsages::CRLSign,
                own_kind,
            ),
            Self::Device { authority_key, .. } => (
                BasicConstraints {
                    ca: false,
                    path_len_constraint: None,
                },
                KeyUsages::DigitalSignature.into(),
                authority_key.clone().unwrap_or(own_kind),
            ),
        };
        let authority_key = AuthorityKeyIdentifier {
            key_identifier: Some(authority_key),
            ..AuthorityKeyIdentifier::default()
        };
        let subject_key = SubjectKeyIdentifier::try_from(key)?;
        let subject = tbs.subject();
        Ok(vec![
            (true, &constraints).to_extension(subject, &[])?,
            (true, &KeyUsage(usages)).to_extension(subject, &[])?,
            (false, &subject_key).to_extension(subject, &[])?,
            (false, &authority_key).to_extension(subject, &[])?,
        ])
    }
}
