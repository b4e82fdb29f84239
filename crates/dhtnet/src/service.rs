//! Which of a device's programs is meant: several may listen with one identity at the same time, and
//! who looks for a device looks for one of them.
//!
//! The name of a service goes into everything by which a listener is found: the place of its presence
//! record, the key at which it is called, the place where callers knock, its type in mDNS. It is hashed
//! together with the device's id each time, so that it stands in no packet; a name that nobody can
//! guess stays unknown. What connects afterwards is the same for all services.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use dhtnet_dht_core::Id;
use dhtnet_identity::DeviceId;
use sha2::{Digest, Sha256};

/// Longest name of a service, in bytes: a tool, a stroke, and a name of 63 as those of networks.
pub const MAX_SERVICE_LEN: usize = 80;

/// Services that a node looks for, and others that it tells of: each costs a look-up.
pub(crate) const MAX_SERVICES: usize = 8;

/// Bytes of the hash in the salt of a presence record: two services are told apart for certain, and
/// it is text of a length that can be typed.
const SALT_HASH_LEN: usize = 15;

/// The salt of the service without a name.
const SALT: &[u8] = b"dhtnet";

/// The name of a service, such as `dsh` or `dnc/backup`. The default is empty: a program that is
/// alone with its identity needs none.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service(String);

/// Not the name of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a service has 1 to {MAX_SERVICE_LEN} letters, digits, '-', '_', '.' and '/'")]
pub struct InvalidService;

impl Service {
    /// The service with this name, 1 to [`MAX_SERVICE_LEN`] ASCII letters, digits, `-`, `_`, `.` and
    /// `/`. Upper and lower case differ.
    ///
    /// # Errors
    /// [`InvalidService`].
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidService> {
        let name = name.into();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let is_name = (1..=MAX_SERVICE_LEN).contains(&name.len()) && name.bytes().all(fits);
        is_name.then_some(Self(name)).ok_or(InvalidService)
    }

    /// The name; empty for the default.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The salt of this service's presence record (BEP 44): `dhtnet` for the default, else `dhtnet:` and
    /// 24 base32 characters of a hash of the id and the name.
    pub fn presence_salt(&self, id: &DeviceId) -> Vec<u8> {
        if self.0.is_empty() {
            return SALT.to_vec();
        }
        let hash = self.sha256(b"dhtnet 1 presence", id);
        let hash = BASE32_NOPAD.encode(&hash[..SALT_HASH_LEN]);
        [SALT, b":", hash.to_ascii_lowercase().as_bytes()].concat()
    }

    /// SHA-256 of `purpose`, the id and the name.
    pub(crate) fn sha256(&self, purpose: &[u8], id: &DeviceId) -> [u8; 32] {
        let hash = Sha256::new().chain_update(purpose);
        let hash = hash.chain_update(id.as_bytes());
        hash.chain_update(&self.0).finalize().into()
    }

    /// The key of the DHT that belongs to `purpose`: SHA-1 of it, the id and the name.
    pub(crate) fn key(&self, purpose: &[u8], id: &DeviceId) -> Id {
        Id::hash_of(&[purpose, id.as_bytes(), self.0.as_bytes()].concat())
    }
}

impl FromStr for Service {
    type Err = InvalidService;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.as_str() {
            "" => "a service without a name",
            name => name,
        })
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service({:?})", self.0)
    }
}

/// What a node is, and what it looks for.
#[derive(Debug, Default)]
pub(crate) struct Services {
    /// What it is found as when it listens.
    pub(crate) own: Service,
    /// What it looks for; any of them will do.
    pub(crate) sought: Vec<Service>,
    /// Others, by which a peer shows that it is there although what is looked for is not.
    pub(crate) others: Vec<Service>,
}

impl Services {
    /// Without `sought` the own one is.
    pub(crate) fn new(own: Service, mut sought: Vec<Service>, mut others: Vec<Service>) -> Self {
        if sought.is_empty() {
            sought.push(own.clone());
        }
        sought.truncate(MAX_SERVICES);
        others.retain(|other| !sought.contains(other));
        others.truncate(MAX_SERVICES);
        Self {
            own,
            sought,
            others,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use dhtnet_identity::DeviceKey;

    use super::*;

    fn id(seed: u8) -> DeviceId {
        DeviceKey::from_seed(&[seed; 32]).id()
    }

    fn service(name: &str) -> Service {
        Service::new(name).unwrap()
    }

    #[test]
    fn a_name_has_a_length_and_an_alphabet() {
        for name in [
            "dsh",
            "dnc.pipe",
            "dvpn/Office_2-b",
            &"x".repeat(MAX_SERVICE_LEN),
        ] {
            assert_eq!(service(name).as_str(), name);
        }
        for name in [
            "",
            "a b",
            "é",
            "a\n",
            "a:b",
            &"x".repeat(MAX_SERVICE_LEN + 1),
        ] {
            assert_eq!(Service::new(name), Err(InvalidService), "{name:?}");
        }
    }

    #[test]
    fn the_salt_differs_by_service_and_device_fits_an_item_and_shows_no_name() {
        let all = [
            Service::default().presence_salt(&id(1)),
            service("dsh").presence_salt(&id(1)),
            service("dnc").presence_salt(&id(1)),
            service("dsh").presence_salt(&id(2)),
        ];
        for (n, salt) in all.iter().enumerate() {
            assert!(salt.len() <= 64 && !all[..n].contains(salt));
            assert!(!salt.windows(3).any(|part| part == b"dsh"));
        }
        assert_eq!(all[0], b"dhtnet");
        assert_eq!(
            String::from_utf8(all[1].clone()).unwrap(),
            "dhtnet:hh52q2ga7a7dupddfe4inhc3"
        );
    }

    #[test]
    fn keys_and_hashes_differ_by_service_purpose_and_device() {
        let (none, dsh) = (Service::default(), service("dsh"));
        assert_ne!(none.key(b"p", &id(1)), dsh.key(b"p", &id(1)));
        assert_ne!(dsh.key(b"p", &id(1)), dsh.key(b"q", &id(1)));
        assert_ne!(dsh.key(b"p", &id(1)), dsh.key(b"p", &id(2)));
        assert_ne!(none.sha256(b"p", &id(1)), dsh.sha256(b"p", &id(1)));
    }

    #[test]
    fn what_is_sought_is_the_own_service_unless_it_is_said_and_both_lists_are_bounded() {
        let alone = Services::new(service("a"), Vec::new(), vec![service("a"), service("b")]);
        assert_eq!(alone.sought, [service("a")]);
        assert_eq!(alone.others, [service("b")]);
        let many = |count: usize| (0..count).map(|n| service(&format!("s{n}"))).collect();
        let all = Services::new(service("a"), many(MAX_SERVICES), many(2 * MAX_SERVICES));
        assert_eq!(all.sought.len(), MAX_SERVICES);
        assert_eq!(all.others.len(), MAX_SERVICES);
        let above = Services::new(service("a"), many(MAX_SERVICES + 1), Vec::new());
        assert_eq!(above.sought.len(), MAX_SERVICES);
    }
}
