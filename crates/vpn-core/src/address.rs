//! IPv6 addresses from keys: unique local addresses (RFC 4193) that nobody has to give out.
//!
//! ```text
//! fd ‖ SHA-256("dhtnet vpn network 1" ‖ name)[..5] ‖ SHA-256("dhtnet vpn address 1" ‖ name length ‖ name ‖ id)[..10]
//! 8 bits         40 bits: the network's /48                        80 bits of the device's own
//! ```
//! Who wants the address of another device has to find a key with the same 80 bits, 2^80 keys on
//! average; two of 65,536 devices meet by chance with a probability of 2^-49. A server refuses a
//! device whose address another one has.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use dhtnet_identity::DeviceId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bits that all devices of a network share.
pub const PREFIX_LEN: u8 = 48;

/// Longest name of a network, bytes.
pub const MAX_NAME: usize = 32;

/// Name of a network: 1 to [`MAX_NAME`] letters, digits, `-`, `_` and `.`. It tells networks of
/// the same devices apart, and gives each its addresses; it is no secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetworkName(String);

/// Not the name of a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name of a network has 1 to {MAX_NAME} letters, digits, '-', '_' and '.'")]
pub struct NetworkNameError;

impl Default for NetworkName {
    /// `dvpn`.
    fn default() -> Self {
        Self("dvpn".to_owned())
    }
}

impl FromStr for NetworkName {
    type Err = NetworkNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_name = (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(fits);
        is_name
            .then(|| Self(text.to_owned()))
            .ok_or(NetworkNameError)
    }
}

impl TryFrom<String> for NetworkName {
    type Error = NetworkNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<NetworkName> for String {
    fn from(name: NetworkName) -> Self {
        name.0
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl NetworkName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first address of the network's /48.
    pub fn prefix(&self) -> Ipv6Addr {
        let hash = Sha256::new()
            .chain_update(b"dhtnet vpn network 1")
            .chain_update(&self.0)
            .finalize();
        let mut octets = [0; 16];
        octets[0] = 0xfd;
        octets[1..6].copy_from_slice(&hash[..5]);
        octets.into()
    }

    /// The address of a device in this network.
    pub fn address_of(&self, id: &DeviceId) -> Ipv6Addr {
        let hash = Sha256::new()
            .chain_update(b"dhtnet vpn address 1")
            // At most MAX_NAME.
            .chain_update([self.0.len() as u8])
            .chain_update(&self.0)
            .chain_update(id.as_bytes())
            .finalize();
        let mut octets = self.prefix().octets();
        octets[6..].copy_from_slice(&hash[..10]);
        octets.into()
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

    #[test]
    fn the_derivation_has_the_documented_values() {
        let name = NetworkName::default();
        assert_eq!(name.prefix().to_string(), "fd7e:4e1d:fa9c::");
        assert_eq!(
            name.address_of(&id(1)).to_string(),
            "fd7e:4e1d:fa9c:53:aaa0:214c:7b85:5c5a"
        );
    }

    #[test]
    fn devices_and_networks_have_addresses_of_their_own() {
        let (home, work): (NetworkName, NetworkName) =
            ("home".parse().unwrap(), "work".parse().unwrap());
        assert_ne!(home.prefix(), work.prefix());
        assert_ne!(home.address_of(&id(1)), home.address_of(&id(2)));
        let (a, b) = (
            home.address_of(&id(1)).octets(),
            work.address_of(&id(1)).octets(),
        );
        assert_ne!(a[6..], b[6..]);
        assert_eq!(a[..6], home.prefix().octets()[..6]);
        assert!(home.address_of(&id(1)).is_unique_local());
    }

    #[test]
    fn names_at_the_bound_are_read_and_others_refused() {
        let longest = "x".repeat(MAX_NAME);
        assert_eq!(longest.parse::<NetworkName>().unwrap().as_str(), longest);
        for bad in ["", "a b", "ä", "a/b", &"x".repeat(MAX_NAME + 1)] {
            assert_eq!(bad.parse::<NetworkName>(), Err(NetworkNameError), "{bad:?}");
        }
    }
}
