//! The names in a certificate: what its holder is called, and its groups.

use std::fmt;
use std::str::FromStr;

use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{Any, PrintableStringRef, SetOfVec, Utf8StringRef};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, Encode, Tag, Tagged};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};

/// Characters of the longest name or group (X.520: ub-common-name and
/// ub-organizational-unit-name).
pub const MAX_NAME_CHARS: usize = 64;
/// Groups that one certificate may name: more than a person keeps apart, and a bound on what a
/// peer's certificate can cost.
pub const MAX_GROUPS: usize = 32;

/// commonName (X.520, RFC 5280 appendix A).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
/// organizationalUnitName (X.520, RFC 5280 appendix A).
const ORGANIZATIONAL_UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");

/// What a CA or a device is called in a certificate, or what a group is called: 1 to
/// [`MAX_NAME_CHARS`] characters without control characters and without blanks at its ends.
///
/// Names are compared character by character.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateName(String);

/// A group: a [`CertificateName`] in the organizational unit of the subject.
pub type GroupName = CertificateName;

impl CertificateName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for CertificateName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ParseNameError::Empty);
        }
        if text.chars().nth(MAX_NAME_CHARS).is_some() {
            return Err(ParseNameError::TooLong);
        }
        if text.trim() != text || text.chars().any(is_invisible) {
            return Err(ParseNameError::Character);
        }
        Ok(Self(text.to_owned()))
    }
}

/// Control characters, and those that change the direction or the look of the text around them
/// without being seen (Unicode bidirectional controls, zero-width characters).
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A text that is no name for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseNameError {
    /// Nothing.
    #[error("a name must not be empty")]
    Empty,
    /// Over [`MAX_NAME_CHARS`].
    #[error("a name has at most {MAX_NAME_CHARS} characters")]
    TooLong,
    /// A control or invisible character, or a blank at an end.
    #[error("a name has no control characters and no blanks at its ends")]
    Character,
}

/// The subject of a certificate, as far as it is read here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) name: Option<CertificateName>,
    pub(super) groups: Vec<GroupName>,
}

impl Subject {
    /// Reads a distinguished name. Attributes that are neither a common name nor a unit are
    /// skipped; of several common names the first counts.
    pub(super) fn of(name: &Name) -> Result<Self, SubjectFault> {
        let mut subject = Self {
            name: None,
            groups: Vec::new(),
        };
        for attribute in name.iter() {
            match attribute.oid {
                COMMON_NAME if subject.name.is_none() => {
                    subject.name = Some(text_of(&attribute.value)?);
                }
                ORGANIZATIONAL_UNIT => {
                    let group = text_of(&attribute.value)?;
                    if !subject.groups.contains(&group) {
                        subject.groups.push(group);
                    }
                    if subject.groups.len() > MAX_GROUPS {
                        return Err(SubjectFault::TooManyGroups);
                    }
                }
                _ => {}
            }
        }
        subject.groups.sort();
        Ok(subject)
    }

    /// The distinguished name: the groups, then the common name, each an element of its own.
    pub(super) fn to_x509(&self) -> Name {
        let groups = self.groups.iter().map(|group| (ORGANIZATIONAL_UNIT, group));
        let name = self.name.iter().map(|name| (COMMON_NAME, name));
        let mut sequence = RdnSequence::default();
        for (oid, text) in groups.chain(name) {
            let value = Any::new(Tag::Utf8String, text.as_str().as_bytes())
                .expect("64 characters are a short value");
            let attribute = AttributeTypeAndValue { oid, value };
            let set = SetOfVec::try_from([attribute]).expect("one element is sorted");
            let element = RelativeDistinguishedName::try_from(set.into_vec())
                .expect("one element is a distinguished name");
            sequence.push(element);
        }
        let der = sequence.to_der().expect("a short name encodes");
        Name::from_der(&der).expect("what was encoded decodes")
    }
}

/// What is wrong with the names in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectFault {
    /// Text in another encoding than UTF-8 and ASCII, which nobody should make today.
    #[error("a name is neither UTF8String nor PrintableString")]
    Encoding,
    /// A text that is no name.
    #[error(transparent)]
    Name(#[from] ParseNameError),
    /// Over [`MAX_GROUPS`].
    #[error("more than {MAX_GROUPS} groups")]
    TooManyGroups,
}

fn text_of(value: &Any) -> Result<CertificateName, SubjectFault> {
    let text = match value.tag() {
        Tag::Utf8String => value
            .decode_as::<Utf8StringRef<'_>>()
            .map(|text| text.as_str().to_owned()),
        Tag::PrintableString => value
            .decode_as::<PrintableStringRef<'_>>()
            .map(|text| text.as_str().to_owned()),
        _ => return Err(SubjectFault::Encoding),
    };
    Ok(text.map_err(|_| SubjectFault::Encoding)?.parse()?)
}
