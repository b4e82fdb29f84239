//! The realm of a relay of this kind (RFC 8489 section 14.9), which tells its id: who knows its
//! address only learns from the first refusal what the password is made with.

use dhtnet_identity::DeviceId;

/// What comes before the id.
const PREFIX: &str = "dhtnet:";

/// The realm of the relay with this id.
#[must_use]
pub fn realm(relay: &DeviceId) -> String {
    format!("{PREFIX}{relay}")
}

/// The id of the relay whose realm this is; `None` for other servers.
#[must_use]
pub fn relay_of(realm: &str) -> Option<DeviceId> {
    realm.strip_prefix(PREFIX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use dhtnet_identity::DeviceKey;

    use super::*;

    #[test]
    fn a_realm_tells_the_id_and_that_of_another_server_does_not() {
        let id = DeviceKey::from_seed(&[1; 32]).id();
        assert_eq!(relay_of(&realm(&id)), Some(id));
        assert!(realm(&id).len() <= 128, "RFC 8489 section 14.9");
        for other in ["", "dhtnet", "dhtnet:", "example.org", &id.to_string()] {
            assert_eq!(relay_of(other), None, "{other}");
        }
    }
}
