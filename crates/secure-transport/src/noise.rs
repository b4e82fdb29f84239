//! Noise IK by snow, with the primitives that `identity` shares and the injected generator.

use std::sync::Arc;

use dhtnet_identity::DeviceId;
use dhtnet_identity::noise::{FillRandom, Primitives, StaticKeys};
use snow::HandshakeState;
use zeroize::Zeroizing;

use crate::{framing::MAX_HANDSHAKE_MESSAGE_LEN, random::RandomSource, version::QUIC_VERSION};

/// The pattern and primitives, as the Noise specification spells them.
pub const NOISE_PROTOCOL: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";

/// What both sides mix in before the first message: the protocol and its version, the QUIC version
/// number, and the responder's id.
///
/// The id is there because two Ed25519 keys that differ in their sign bit only are one key on
/// Curve25519: a device answers to exactly the id it has.
pub(crate) fn prologue(responder: &DeviceId) -> Vec<u8> {
    let mut prologue = b"dhtnet 1 secure-transport".to_vec();
    prologue.extend(QUIC_VERSION.to_be_bytes());
    prologue.extend(responder.as_bytes());
    prologue
}

/// Why a Noise message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadNoiseMessage;

/// A Noise handshake in progress.
pub(crate) struct NoiseHandshake(HandshakeState);

impl NoiseHandshake {
    /// Towards the device `responder`, whose Curve25519 key is `remote`.
    pub(crate) fn initiator(
        local: &Arc<StaticKeys>,
        responder: &DeviceId,
        remote: &[u8; 32],
        random: &Arc<RandomSource>,
    ) -> Result<Self, snow::Error> {
        builder(local, random)?
            .local_private_key(local.secret())?
            .remote_public_key(remote)?
            .prologue(&prologue(responder))?
            .build_initiator()
            .map(Self)
    }

    /// As the device `responder`.
    pub(crate) fn responder(
        local: &Arc<StaticKeys>,
        responder: &DeviceId,
        random: &Arc<RandomSource>,
    ) -> Result<Self, snow::Error> {
        builder(local, random)?
            .local_private_key(local.secret())?
            .prologue(&prologue(responder))?
            .build_responder()
            .map(Self)
    }

    /// The next message of this side around `payload`.
    pub(crate) fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, BadNoiseMessage> {
        let mut message = vec![0; MAX_HANDSHAKE_MESSAGE_LEN];
        let len = self
            .0
            .write_message(payload, &mut message)
            .map_err(|_| BadNoiseMessage)?;
        message.truncate(len);
        Ok(message)
    }

    /// The payload of the next message of the other side.
    pub(crate) fn read(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, BadNoiseMessage> {
        let mut payload = Zeroizing::new(vec![0; message.len()]);
        let len = self
            .0
            .read_message(message, &mut payload)
            .map_err(|_| BadNoiseMessage)?;
        payload.truncate(len);
        Ok(payload)
    }

    /// The other side's static public key, once known.
    pub(crate) fn remote_static(&self) -> Option<&[u8]> {
        self.0.get_remote_static()
    }

    /// Hash over everything both sides said.
    pub(crate) fn handshake_hash(&self) -> &[u8] {
        self.0.get_handshake_hash()
    }

    /// The two keys of Split(), initiator's first. Only meaningful after the last message.
    pub(crate) fn split(&mut self) -> Zeroizing<([u8; 32], [u8; 32])> {
        Zeroizing::new(self.0.dangerously_get_raw_split())
    }
}

fn builder<'a>(
    local: &Arc<StaticKeys>,
    random: &Arc<RandomSource>,
) -> Result<snow::Builder<'a>, snow::Error> {
    let random: Arc<dyn FillRandom> = Arc::clone(random) as _;
    let primitives = Primitives::new(Some(Arc::clone(local)), Some(random));
    Ok(snow::Builder::with_resolver(
        NOISE_PROTOCOL.parse()?,
        Box::new(primitives),
    ))
}

#[cfg(test)]
mod tests {
    use dhtnet_identity::DeviceKey;

    use super::*;
    use crate::test_keys::counting;

    #[test]
    fn a_handshake_gives_both_sides_one_hash_and_one_split() {
        let local = Arc::new(StaticKeys::new(Zeroizing::new([9; 32])));
        let random = Arc::new(RandomSource::seeded(Box::new(counting(1))));
        let key = DeviceKey::from_seed(&[8; 32]);
        let keys = Arc::new(StaticKeys::new(key.noise_static_secret()));
        let mut initiator =
            NoiseHandshake::initiator(&local, &key.id(), keys.public(), &random).unwrap();
        let mut responder = NoiseHandshake::responder(&keys, &key.id(), &random).unwrap();
        let message = initiator.write(b"one").unwrap();
        assert_eq!(**responder.read(&message).unwrap(), *b"one");
        assert_eq!(responder.remote_static(), Some(&local.public()[..]));
        let message = responder.write(b"two").unwrap();
        assert_eq!(**initiator.read(&message).unwrap(), *b"two");
        assert_eq!(*initiator.split(), *responder.split());
        assert_eq!(initiator.handshake_hash(), responder.handshake_hash());
        assert_eq!(initiator.write(b"three"), Err(BadNoiseMessage));
    }
}
