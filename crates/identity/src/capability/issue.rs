//! Making capabilities and passing them on.

use std::time::SystemTime;

use rand_core::CryptoRng;

use super::decode::{MAX_UNTIL, is_narrower, signed_bytes};
use super::{Capability, CapabilityId, Link, MAX_CAPABILITY_LEN, MAX_LINKS, MAX_PERMISSIONS};
use super::{SERIAL_LEN, VERSION};
use crate::bytes::push_counted;
use crate::certificate::times;
use crate::device_id::DeviceId;
use crate::device_key::DeviceKey;
use crate::policy::Permission;

/// What a capability is to allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Which actions: 1 to [`MAX_PERMISSIONS`].
    pub permissions: Vec<Permission>,
    /// When it ends, in whole seconds; it never outlasts the one that it is made from.
    pub until: SystemTime,
    /// How often it may be passed on: 0 to [`MAX_LINKS`] − 1.
    pub delegable: u8,
}

impl Capability {
    /// Grants `holder` what `terms` say, signed with `issuer`, the key of the device whose policy
    /// it is for.
    ///
    /// # Errors
    /// [`GrantError::Permissions`], [`GrantError::Delegable`], [`GrantError::TooLong`].
    pub fn grant(
        issuer: &DeviceKey,
        holder: DeviceId,
        terms: &Terms,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, GrantError> {
        let mut bytes = vec![VERSION];
        bytes.extend(issuer.id().as_bytes());
        let capability = Self {
            issuer: issuer.id(),
            links: Vec::new(),
            bytes,
        };
        let link = Link::new(holder, terms, rng)?;
        capability.with(link, issuer)
    }

    /// Passes on to `holder` what `terms` say, signed with `own`, the key of the present holder.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn delegate(
        &self,
        own: &DeviceKey,
        holder: DeviceId,
        terms: &Terms,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, GrantError> {
        if own.id() != *self.holder() {
            return Err(GrantError::NotHolder);
        }
        if self.delegable() == 0 {
            return Err(GrantError::NotDelegable);
        }
        if terms.delegable >= self.delegable() {
            return Err(GrantError::Delegable {
                most: self.delegable() - 1,
            });
        }
        let mut link = Link::new(holder, terms, rng)?;
        link.until = link.until.min(self.last().until);
        if !is_narrower(self.last(), &link) {
            return Err(GrantError::Wider);
        }
        self.clone().with(link, own)
    }

    fn with(mut self, link: Link, signer: &DeviceKey) -> Result<Self, GrantError> {
        link.write(&mut self.bytes);
        let signature = signer.sign(&signed_bytes(&self.bytes));
        self.bytes.extend(signature);
        self.links.push(link);
        match self.bytes.len() {
            0..=MAX_CAPABILITY_LEN => Ok(self),
            found => Err(GrantError::TooLong { found }),
        }
    }
}

impl Link {
    fn new(holder: DeviceId, terms: &Terms, rng: &mut impl CryptoRng) -> Result<Self, GrantError> {
        if !(1..=MAX_PERMISSIONS).contains(&terms.permissions.len()) {
            return Err(GrantError::Permissions {
                found: terms.permissions.len(),
            });
        }
        if usize::from(terms.delegable) >= MAX_LINKS {
            let most = (MAX_LINKS - 1) as u8;
            return Err(GrantError::Delegable { most });
        }
        let mut serial = [0; SERIAL_LEN];
        rng.fill_bytes(&mut serial);
        Ok(Self {
            id: CapabilityId(serial),
            holder,
            until: times::seconds(terms.until).min(MAX_UNTIL),
            delegable: terms.delegable,
            permissions: terms.permissions.clone(),
        })
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.id.0);
        bytes.extend(self.holder.as_bytes());
        bytes.extend(self.until.to_be_bytes());
        bytes.push(self.delegable);
        bytes.push(self.permissions.len() as u8);
        for permission in &self.permissions {
            push_counted(bytes, permission.to_string().as_bytes());
        }
    }
}

/// Why a capability was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// None, or over [`MAX_PERMISSIONS`].
    #[error("a capability has 1 to {MAX_PERMISSIONS} permissions, not {found}")]
    Permissions {
        /// Permissions given.
        found: usize,
    },
    /// It could be passed on more often than is allowed.
    #[error("it may be passed on {most} times at most")]
    Delegable {
        /// How often.
        most: u8,
    },
    /// Over [`MAX_CAPABILITY_LEN`].
    #[error("the capability would have {found} bytes, more than {MAX_CAPABILITY_LEN}")]
    TooLong {
        /// Its bytes.
        found: usize,
    },
    /// Another device holds it.
    #[error("this device does not hold the capability")]
    NotHolder,
    /// Its issuer, or a holder before, did not allow that.
    #[error("the capability may not be passed on")]
    NotDelegable,
    /// More than this device has.
    #[error("a capability can only be passed on with the same permissions or narrower ones")]
    Wider,
}
