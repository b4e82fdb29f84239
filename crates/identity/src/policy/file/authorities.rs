//! `[[ca]]`: trusted CAs and the names that rules call them by.

use std::collections::BTreeMap;
use std::path::Path;

use super::ReadNamed;
use super::fault::PolicyFault;
use super::place::{Fault, Lines};
use super::table::{Table, Value};
use crate::certificate::{
    Certificate, CertificateName, Fingerprint, MAX_PEM_LEN, RevocationList, TrustedAuthority,
};
use crate::policy::PolicyBuilder;

const NAME: &str = "name";
const CERTIFICATE: &str = "certificate";
const LIST: &str = "crl";
/// The keys of a `[[ca]]`.
pub(super) const KEYS: &[&str] = &[NAME, CERTIFICATE, LIST];

/// CAs by the names of the file.
#[derive(Default)]
pub(super) struct Authorities {
    by_name: BTreeMap<String, (Fingerprint, usize)>,
}

impl Authorities {
    pub(super) fn find(&self, name: &str) -> Option<Fingerprint> {
        self.by_name.get(name).map(|(fingerprint, _)| *fingerprint)
    }

    /// Reads one, trusts it, and remembers its name.
    pub(super) fn add(
        &mut self,
        entry: &Table<'_>,
        builder: PolicyBuilder,
        (lines, read): (&Lines, ReadNamed<'_, '_>),
    ) -> Result<PolicyBuilder, Fault> {
        let (name, name_place) = entry.text(NAME)?;
        let checked = name.parse::<CertificateName>().map_err(PolicyFault::Name);
        checked.map_err(|fault| fault.in_key(NAME, name_place))?;
        if name.contains('/') {
            return Err(PolicyFault::Slash.in_key(NAME, name_place));
        }
        let line = lines.at(entry.start());
        if let Some((_, first)) = self.by_name.get(name) {
            let fault = PolicyFault::NameTwice {
                name: name.to_owned(),
                first: *first,
            };
            return Err(fault.in_key(NAME, name_place));
        }
        let (file, place) = entry.text(CERTIFICATE)?;
        let certificate = open(file, CERTIFICATE, place, read)?;
        let certificate = Certificate::from_pem(&certificate)
            .map_err(|source| pem(file, source).in_key(CERTIFICATE, place))?;
        let mut authority = TrustedAuthority::new(certificate)
            .map_err(|source| trust(file, source).in_key(CERTIFICATE, place))?;
        if entry.find(LIST).is_some() {
            let (file, place) = entry.text(LIST)?;
            let list = RevocationList::from_pem(&open(file, LIST, place, read)?)
                .map_err(|source| pem(file, source).in_key(LIST, place))?;
            authority = authority
                .with_revocation_list(list)
                .map_err(|source| trust(file, source).in_key(LIST, place))?;
        }
        let known = (authority.fingerprint(), line);
        self.by_name.insert(name.to_owned(), known);
        builder
            .authority(authority)
            .map_err(|_| entry.fault(PolicyFault::TooManyAuthorities))
    }
}

fn open(file: &str, key: &str, place: Value<'_>, read: ReadNamed<'_, '_>) -> Result<String, Fault> {
    read(Path::new(file), MAX_PEM_LEN).map_err(|source| {
        let file = file.to_owned();
        PolicyFault::File { file, source }.in_key(key, place)
    })
}

fn pem(file: &str, source: crate::certificate::PemError) -> PolicyFault {
    let file = file.to_owned();
    PolicyFault::Pem { file, source }
}

fn trust(file: &str, source: crate::certificate::TrustError) -> PolicyFault {
    let file = file.to_owned();
    PolicyFault::Trust { file, source }
}
