//! Connection ids that this device recognises as its own, also after a restart.
//!
//! ```text
//! 1 ‖ 39 random bits ‖ first 5 bytes of HMAC-SHA256(key, the first 5 bytes)
//! ```
//! The first bit is set so that the second byte of every short-header packet sent to us is above
//! 127: it can never be the digit that follows `d` in a bencoded dictionary, which lets one socket
//! carry both. The keyed half lets the endpoint stay silent to made-up ids; only an id that was
//! really given out draws a stateless reset.

use std::{sync::Arc, time::Duration};

use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};
use ring::hmac;
use subtle::ConstantTimeEq;

use crate::random::RandomSource;

/// Length of every connection id this device gives out, in bytes.
pub const CONNECTION_ID_LEN: usize = NONCE_LEN + MAC_LEN;

const NONCE_LEN: usize = 5;

/// A stranger's guess passes once in 2^40.
const MAC_LEN: usize = 5;

/// Makes and recognises connection ids.
pub struct ConnectionIds {
    key: hmac::Key,
    random: Arc<RandomSource>,
}

impl ConnectionIds {
    pub(crate) fn new(key: hmac::Key, random: Arc<RandomSource>) -> Self {
        Self { key, random }
    }

    fn mac(&self, nonce: &[u8]) -> [u8; MAC_LEN] {
        let mut mac = [0; MAC_LEN];
        mac.copy_from_slice(&hmac::sign(&self.key, nonce).as_ref()[..MAC_LEN]);
        mac
    }
}

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; CONNECTION_ID_LEN];
        let (nonce, mac) = id.split_at_mut(NONCE_LEN);
        self.random.fill(nonce);
        nonce[0] |= 0x80;
        mac.copy_from_slice(&self.mac(nonce));
        ConnectionId::new(&id)
    }

    fn validate(&self, cid: &ConnectionId) -> Result<(), InvalidCid> {
        let (nonce, mac) = cid.split_at_checked(NONCE_LEN).ok_or(InvalidCid)?;
        if nonce[0] & 0x80 != 0 && bool::from(self.mac(nonce)[..].ct_eq(mac)) {
            Ok(())
        } else {
            Err(InvalidCid)
        }
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_keys::counting;

    fn ids(key: u8) -> ConnectionIds {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[key; 32]);
        ConnectionIds::new(key, Arc::new(RandomSource::seeded(Box::new(counting(1)))))
    }

    #[test]
    fn own_ids_are_recognised_and_have_the_top_bit_set() {
        let mut ids = ids(1);
        for _ in 0..1_000 {
            let id = ids.generate_cid();
            assert_eq!(id.len(), CONNECTION_ID_LEN);
            assert!(id[0] & 0x80 != 0);
            assert!(ids.validate(&id).is_ok());
        }
    }

    #[test]
    fn another_keys_ids_and_every_flipped_bit_are_refused() {
        let id = ids(1).generate_cid();
        assert!(ids(2).validate(&id).is_err());
        for bit in 0..CONNECTION_ID_LEN * 8 {
            let mut bytes = id.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                ids(1).validate(&ConnectionId::new(&bytes)).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn ids_of_any_other_length_are_refused() {
        let mut long = ids(1).generate_cid().to_vec();
        long.push(0);
        for len in (0..CONNECTION_ID_LEN).chain([CONNECTION_ID_LEN + 1]) {
            assert!(
                ids(1).validate(&ConnectionId::new(&long[..len])).is_err(),
                "length {len}"
            );
        }
    }
}
