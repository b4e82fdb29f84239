//! Reading a capability: its form, its signatures, and that each link is narrower.

use std::str;

use super::{Capability, CapabilityId, LABEL, Link, MAX_CAPABILITY_LEN, MAX_LINKS};
use super::{MAX_PERMISSIONS, VERSION};
use crate::bytes::Reader;
use crate::certificate::times;
use crate::device_id::{DeviceId, InvalidPublicKey};
use crate::policy::{ParsePermissionError, Permission};

/// The last moment that a link may end: as in certificates.
pub(super) const MAX_UNTIL: u64 = times::MAX_SECONDS;

impl Capability {
    /// Reads the binary form, all of it, and verifies it: each signature strictly, and that no
    /// link allows more than the one before.
    ///
    /// # Errors
    /// [`CapabilityError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CapabilityError> {
        if bytes.len() > MAX_CAPABILITY_LEN {
            return Err(CapabilityError::TooLong { found: bytes.len() });
        }
        let reader = &mut Reader::new(bytes);
        let version = reader.byte().ok_or(CapabilityError::Malformed)?;
        if version != VERSION {
            return Err(CapabilityError::Version { found: version });
        }
        let issuer = read_id(reader)?;
        let (mut signer, mut links) = (issuer, Vec::new());
        while !reader.is_empty() || links.is_empty() {
            if links.len() == MAX_LINKS {
                return Err(CapabilityError::TooManyLinks);
            }
            let link = read_link(reader)?;
            let signed = &bytes[..bytes.len() - reader.remaining()];
            let signature = reader.array().ok_or(CapabilityError::Malformed)?;
            let number = links.len() + 1;
            signer
                .verify(&signed_bytes(signed), &signature)
                .map_err(|_| CapabilityError::Signature { link: number })?;
            if links
                .last()
                .is_some_and(|before| !is_narrower(before, &link))
            {
                return Err(CapabilityError::Wider { link: number });
            }
            signer = link.holder;
            links.push(link);
        }
        let bytes = bytes.to_vec();
        Ok(Self {
            issuer,
            links,
            bytes,
        })
    }
}

/// What a signature after `before` is over.
pub(super) fn signed_bytes(before: &[u8]) -> Vec<u8> {
    [LABEL, before].concat()
}

/// Whether `link` gives nothing that `before` does not.
pub(super) fn is_narrower(before: &Link, link: &Link) -> bool {
    let included = |one: &Permission| before.permissions.iter().any(|wide| wide.includes(one));
    link.until <= before.until
        && link.delegable < before.delegable
        && link.permissions.iter().all(included)
}

fn read_id(reader: &mut Reader<'_>) -> Result<DeviceId, CapabilityError> {
    let bytes = reader.array().ok_or(CapabilityError::Malformed)?;
    DeviceId::from_bytes(&bytes).map_err(CapabilityError::Device)
}

fn read_link(reader: &mut Reader<'_>) -> Result<Link, CapabilityError> {
    let id = CapabilityId(reader.array().ok_or(CapabilityError::Malformed)?);
    let holder = read_id(reader)?;
    let until = u64::from_be_bytes(reader.array().ok_or(CapabilityError::Malformed)?);
    let delegable = reader.byte().ok_or(CapabilityError::Malformed)?;
    if until > MAX_UNTIL || usize::from(delegable) >= MAX_LINKS {
        return Err(CapabilityError::Malformed);
    }
    let count = usize::from(reader.byte().ok_or(CapabilityError::Malformed)?);
    if !(1..=MAX_PERMISSIONS).contains(&count) {
        return Err(CapabilityError::Permissions { found: count });
    }
    let permissions = (0..count).map(|_| read_permission(reader));
    Ok(Link {
        id,
        holder,
        until,
        delegable,
        permissions: permissions.collect::<Result<_, _>>()?,
    })
}

fn read_permission(reader: &mut Reader<'_>) -> Result<Permission, CapabilityError> {
    let text = reader.counted().ok_or(CapabilityError::Malformed)?;
    let text = str::from_utf8(text).map_err(|_| CapabilityError::Malformed)?;
    let permission: Permission = text.parse().map_err(CapabilityError::Permission)?;
    // One spelling for each permission, so one encoding for each capability.
    match permission.to_string() == text {
        true => Ok(permission),
        false => Err(CapabilityError::Malformed),
    }
}

/// Why bytes are no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CapabilityError {
    /// Over [`MAX_CAPABILITY_LEN`].
    #[error("a capability has at most {MAX_CAPABILITY_LEN} bytes, not {found}")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// Of a later version.
    #[error("the capability has version {found}; this program knows version {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// Cut off, with numbers out of range, or not in its one encoding.
    #[error("the capability is damaged")]
    Malformed,
    /// Over [`MAX_LINKS`].
    #[error("a capability can be passed on {} times at most", MAX_LINKS - 1)]
    TooManyLinks,
    /// No permission, or over [`MAX_PERMISSIONS`].
    #[error("a capability has 1 to {MAX_PERMISSIONS} permissions, not {found}")]
    Permissions {
        /// Permissions found.
        found: usize,
    },
    /// The issuer or a holder is no device.
    #[error("a device in the capability cannot be one")]
    Device(#[source] InvalidPublicKey),
    /// A permission that is none, or of a later version.
    #[error("a permission in the capability is not known")]
    Permission(#[source] ParsePermissionError),
    /// Changed since it was signed, or signed by another than the holder before.
    #[error("the signature of link {link} is not by the one who may grant it")]
    Signature {
        /// Which link, counted from 1.
        link: usize,
    },
    /// A holder passed on more than it had.
    #[error("link {link} allows more than the one before, or may not be there")]
    Wider {
        /// Which link, counted from 1.
        link: usize,
    },
}
