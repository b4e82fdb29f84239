//! The password of a device at a relay, which both know without having agreed on one.
//!
//! TURN (RFC 8656) wants a password that client and server share. Here it comes from a
//! Diffie-Hellman of their Noise static keys: whoever holds neither secret key cannot know it.
//!
//! ```text
//! secret   = X25519(own secret, other's public)
//! password = base32(HKDF-SHA256(secret, "dhtnet 1 relay password" ‖ client's id ‖ relay's id)[..20])
//! ```
//! It never changes: a device that must no longer use a relay is refused by its id.

use data_encoding::{BASE32_NOPAD, Encoding};
use hkdf::Hkdf;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::device_id::DeviceId;
use crate::device_key::DeviceKey;

const LABEL: &[u8] = b"dhtnet 1 relay password";

/// Bytes of the password before it is spelled: 160 bits, as many as the tag that it makes.
const PASSWORD_BYTES: usize = 20;

const SPELLING: &Encoding = &BASE32_NOPAD;

impl DeviceKey {
    /// This device's password at `relay`: 32 letters and digits. The user name is this device's
    /// id.
    #[must_use]
    pub fn password_at_relay(&self, relay: &DeviceId) -> Zeroizing<String> {
        derive(self, relay, [&self.id(), relay])
    }

    /// The password of `client` at this device, if this is a relay.
    #[must_use]
    pub fn password_of_client(&self, client: &DeviceId) -> Zeroizing<String> {
        derive(self, client, [client, &self.id()])
    }
}

fn derive(own: &DeviceKey, other: &DeviceId, parties: [&DeviceId; 2]) -> Zeroizing<String> {
    // An id is a point of prime order, so the result is never zero.
    let shared = StaticSecret::from(*own.noise_static_secret())
        .diffie_hellman(&PublicKey::from(other.noise_static()));
    let mut info = LABEL.to_vec();
    parties.iter().for_each(|id| info.extend(id.as_bytes()));
    let mut password = Zeroizing::new([0; PASSWORD_BYTES]);
    Hkdf::<Sha256>::new(None, shared.as_bytes())
        .expand(&info, password.as_mut())
        .expect("20 bytes are within the 8160 that HKDF-SHA256 can give");
    Zeroizing::new(SPELLING.encode(password.as_ref()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    fn key(seed: u8) -> DeviceKey {
        DeviceKey::from_seed(&[seed; 32])
    }

    #[test]
    fn client_and_relay_have_the_same_password() {
        let (client, relay) = (key(1), key(2));
        let password = client.password_at_relay(&relay.id());
        assert_eq!(password, relay.password_of_client(&client.id()));
        assert_eq!(password.as_str(), "IPEWAW3RT345YHWM6YLAJGIQKDF76TJ4");
    }

    #[test]
    fn every_pair_and_every_role_has_another_password() {
        let (client, relay, stranger) = (key(1), key(2), key(3));
        let passwords = [
            client.password_at_relay(&relay.id()),
            relay.password_at_relay(&client.id()),
            client.password_at_relay(&stranger.id()),
            stranger.password_at_relay(&relay.id()),
            stranger.password_of_client(&client.id()),
            stranger.password_of_client(&relay.id()),
        ];
        for (at, one) in passwords.iter().enumerate() {
            assert_eq!(one.len(), 32);
            // The stranger's password of a client is that client's at the stranger, no other.
            let same = passwords.iter().filter(|other| *other == one).count();
            assert_eq!(same, if at == 2 || at == 4 { 2 } else { 1 });
        }
    }
}
