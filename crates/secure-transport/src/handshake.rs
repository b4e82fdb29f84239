//! The handshake as a state machine over bytes: frames in, frames and secrets out.
//!
//! It knows Noise and the key schedule, not QUIC: transport parameters are opaque here and packet
//! keys are made from the secrets by [`session`](crate::session).

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dhtnet_identity::DeviceId;
use dhtnet_identity::noise::StaticKeys;

use crate::{
    aead::Aead,
    framing::{Frame, FrameReader},
    handshake_error::HandshakeError,
    key_schedule::{Secret, SessionSecrets},
    noise::NoiseHandshake,
    payload::{Message1, Message2},
    random::RandomSource,
    replay::ReplayFilter,
};

/// What every handshake of one device shares.
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) keys: Arc<StaticKeys>,
    /// At most [`MAX_APPLICATION_LEN`](crate::MAX_APPLICATION_LEN) bytes.
    pub(crate) application: Mutex<Bytes>,
    /// Best first; one to [`MAX_OFFERED_AEADS`](crate::MAX_OFFERED_AEADS).
    pub(crate) aeads: Vec<Aead>,
    pub(crate) random: Arc<RandomSource>,
    pub(crate) replays: Mutex<ReplayFilter>,
}

impl Device {
    /// What is said in a handshake that begins now.
    pub(crate) fn application(&self) -> Bytes {
        let application = self.application.lock();
        application.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Who the other side is, and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The peer's device id. It holds the key of this id.
    pub id: DeviceId,
    /// The peer's application bytes, at most [`MAX_APPLICATION_LEN`](crate::MAX_APPLICATION_LEN).
    pub application: Bytes,
    /// The AEAD that protects the connection's packets.
    pub aead: Aead,
}

/// Whose secrets are whose, as in QUIC: the initiator is the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Initiator,
    Responder,
}

/// Two traffic secrets, from the side of their user.
pub(crate) struct Pair {
    pub(crate) local: Secret,
    pub(crate) remote: Secret,
}

/// The keys that open the next packet number space.
pub(crate) enum NextSpace {
    Handshake(Pair),
    Application(Pair),
}

/// Where a handshake stands. Only the `Await` stages take bytes; the `Send` stages wait for
/// [`Handshake::write`].
enum Stage {
    SendMessage1(Vec<u8>),
    AwaitMessage2,
    OpenHandshakeSpace,
    AwaitResponderFinished,
    SendInitiatorFinished,
    AwaitMessage1,
    SendMessage2(Vec<u8>),
    SendResponderFinished,
    AwaitInitiatorFinished,
    Established,
    Failed,
}

/// What is known once both Noise messages were exchanged.
struct Agreement {
    peer: PeerIdentity,
    parameters: Vec<u8>,
    /// Taken when the Handshake space opens.
    handshake: Option<Pair>,
    /// The application secrets of the latest key phase that was handed out or is next.
    application: Pair,
    exporter: Secret,
}

/// One side of one handshake.
pub(crate) struct Handshake {
    device: Arc<Device>,
    role: Role,
    /// The id the initiator was told to reach; the responder learns it.
    expected: Option<DeviceId>,
    /// Our own transport parameters, until they were sent.
    parameters: Vec<u8>,
    /// Dropped, keys and all, with the last Noise message; boxed, for a connection is kept much
    /// longer than its handshake.
    noise: Option<Box<NoiseHandshake>>,
    reader: FrameReader,
    stage: Stage,
    agreement: Option<Agreement>,
    /// Whether the peer's finished frame was read.
    is_proven: bool,
}

impl Handshake {
    /// Starts towards `peer`, whose Curve25519 key is `peer_static`, with our `parameters`.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::WrongKey`] if `peer_static` is not usable for Diffie-Hellman.
    pub(crate) fn initiator(
        device: &Arc<Device>,
        peer: DeviceId,
        peer_static: &[u8; 32],
        parameters: &[u8],
    ) -> Result<Self, HandshakeError> {
        let mut noise = NoiseHandshake::initiator(&device.keys, &peer, peer_static, &device.random)
            .map_err(|_| HandshakeError::WrongKey)?;
        let aeads: Vec<u8> = device.aeads.iter().map(|aead| aead.wire_number()).collect();
        let payload = Message1 {
            aeads: &aeads,
            initiator: device.id.as_bytes(),
            application: &device.application(),
            parameters,
        }
        .encode();
        let message = noise
            .write(&payload)
            .map_err(|_| HandshakeError::WrongKey)?;
        Ok(Self {
            expected: Some(peer),
            ..Self::new(device, Role::Initiator, noise, Stage::SendMessage1(message))
        })
    }

    /// Waits for message 1, to answer with our `parameters`.
    pub(crate) fn responder(device: &Arc<Device>, parameters: Vec<u8>) -> Self {
        let noise = NoiseHandshake::responder(&device.keys, &device.id, &device.random)
            .expect("the pattern is known and the static key is there");
        Self {
            parameters,
            ..Self::new(device, Role::Responder, noise, Stage::AwaitMessage1)
        }
    }

    fn new(device: &Arc<Device>, role: Role, noise: NoiseHandshake, stage: Stage) -> Self {
        Self {
            device: Arc::clone(device),
            role,
            expected: None,
            parameters: Vec::new(),
            noise: Some(Box::new(noise)),
            reader: FrameReader::default(),
            stage,
            agreement: None,
            is_proven: false,
        }
    }

    /// Takes bytes of a CRYPTO stream. `true` once: when the peer is known.
    ///
    /// # Errors
    ///
    /// Any [`HandshakeError`]; the handshake is over then and takes nothing more.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<bool, HandshakeError> {
        let was_known = self.agreement.is_some();
        if let Err(error) = self.read_frames(bytes) {
            self.stage = Stage::Failed;
            return Err(error);
        }
        Ok(!was_known && self.agreement.is_some())
    }

    /// A frame changes the stage to one that takes nothing until [`write`](Self::write) opened the
    /// next space, so bytes behind it, which came under the older keys, are refused.
    fn read_frames(&mut self, mut bytes: &[u8]) -> Result<(), HandshakeError> {
        while !bytes.is_empty() {
            if !self.is_awaiting() {
                return Err(HandshakeError::Unexpected);
            }
            let (frame, rest) = self.reader.read(bytes)?;
            bytes = rest;
            if let Some(frame) = frame {
                self.on_frame(frame)?;
            }
        }
        Ok(())
    }

    fn is_awaiting(&self) -> bool {
        matches!(
            self.stage,
            Stage::AwaitMessage1
                | Stage::AwaitMessage2
                | Stage::AwaitInitiatorFinished
                | Stage::AwaitResponderFinished
        )
    }

    fn on_frame(&mut self, frame: Frame) -> Result<(), HandshakeError> {
        match (&self.stage, frame) {
            (Stage::AwaitMessage1, Frame::Noise(message)) => self.on_message1(&message),
            (Stage::AwaitMessage2, Frame::Noise(message)) => self.on_message2(&message),
            (Stage::AwaitResponderFinished, Frame::Finished) => {
                self.is_proven = true;
                self.stage = Stage::SendInitiatorFinished;
                Ok(())
            }
            (Stage::AwaitInitiatorFinished, Frame::Finished) => {
                self.is_proven = true;
                self.stage = Stage::Established;
                Ok(())
            }
            _ => Err(HandshakeError::Unexpected),
        }
    }

    fn on_message1(&mut self, message: &[u8]) -> Result<(), HandshakeError> {
        let ephemeral = *message
            .first_chunk::<32>()
            .ok_or(HandshakeError::Malformed)?;
        if self.replays().contains(&ephemeral) {
            return Err(HandshakeError::Replayed);
        }
        let mut noise = self.noise.take().ok_or(HandshakeError::Unexpected)?;
        let payload = noise.read(message).map_err(|_| HandshakeError::WrongKey)?;
        // Remembered only now: forgeries must not push real messages out.
        if !self.replays().insert(ephemeral) {
            return Err(HandshakeError::Replayed);
        }
        let message1 = Message1::decode(&payload)?;
        let id = DeviceId::from_bytes(message1.initiator)
            .map_err(|_| HandshakeError::IdentityMismatch)?;
        if noise.remote_static() != Some(&id.noise_static()[..]) {
            return Err(HandshakeError::IdentityMismatch);
        }
        let aead =
            Aead::choose(&self.device.aeads, message1.aeads).ok_or(HandshakeError::NoCommonAead)?;
        let reply = Message2 {
            aead: aead.wire_number(),
            application: &self.device.application(),
            parameters: &std::mem::take(&mut self.parameters),
        }
        .encode();
        let reply = noise.write(&reply).map_err(|_| HandshakeError::WrongKey)?;
        let application = Bytes::copy_from_slice(message1.application);
        let peer = PeerIdentity {
            id,
            application,
            aead,
        };
        self.agree(&mut noise, peer, message1.parameters.to_vec());
        self.stage = Stage::SendMessage2(reply);
        Ok(())
    }

    fn on_message2(&mut self, message: &[u8]) -> Result<(), HandshakeError> {
        let mut noise = self.noise.take().ok_or(HandshakeError::Unexpected)?;
        let id = self.expected.ok_or(HandshakeError::Unexpected)?;
        let payload = noise.read(message).map_err(|_| HandshakeError::WrongKey)?;
        let message2 = Message2::decode(&payload)?;
        let aead = Aead::from_wire_number(message2.aead)
            .filter(|aead| self.device.aeads.contains(aead))
            .ok_or(HandshakeError::UnofferedAead)?;
        let application = Bytes::copy_from_slice(message2.application);
        let peer = PeerIdentity {
            id,
            application,
            aead,
        };
        self.agree(&mut noise, peer, message2.parameters.to_vec());
        self.stage = Stage::OpenHandshakeSpace;
        Ok(())
    }

    fn agree(&mut self, noise: &mut NoiseHandshake, peer: PeerIdentity, parameters: Vec<u8>) {
        let split = noise.split();
        let secrets = SessionSecrets::new(&split, noise.handshake_hash());
        self.agreement = Some(Agreement {
            peer,
            parameters,
            handshake: Some(self.pair(secrets.client_handshake, secrets.server_handshake)),
            application: self.pair(secrets.client_application, secrets.server_application),
            exporter: secrets.exporter,
        });
    }

    fn pair(&self, client: Secret, server: Secret) -> Pair {
        match self.role {
            Role::Initiator => Pair {
                local: client,
                remote: server,
            },
            Role::Responder => Pair {
                local: server,
                remote: client,
            },
        }
    }

    fn replays(&self) -> std::sync::MutexGuard<'_, ReplayFilter> {
        // The filter is consistent between its statements: a poisoned lock still guards a good one.
        self.device
            .replays
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends what belongs into the current space, then hands out the keys of the next one.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>) -> Option<NextSpace> {
        match std::mem::replace(&mut self.stage, Stage::Failed) {
            Stage::SendMessage1(message) => {
                Frame::Noise(message).encode(out);
                self.stage = Stage::AwaitMessage2;
                None
            }
            Stage::OpenHandshakeSpace => {
                self.stage = Stage::AwaitResponderFinished;
                self.open_handshake()
            }
            Stage::SendInitiatorFinished => {
                Frame::Finished.encode(out);
                self.stage = Stage::Established;
                self.open_application()
            }
            Stage::SendMessage2(message) => {
                Frame::Noise(message).encode(out);
                self.stage = Stage::SendResponderFinished;
                self.open_handshake()
            }
            Stage::SendResponderFinished => {
                Frame::Finished.encode(out);
                self.stage = Stage::AwaitInitiatorFinished;
                self.open_application()
            }
            unchanged => {
                self.stage = unchanged;
                None
            }
        }
    }

    fn open_handshake(&mut self) -> Option<NextSpace> {
        self.agreement
            .as_mut()?
            .handshake
            .take()
            .map(NextSpace::Handshake)
    }

    fn open_application(&mut self) -> Option<NextSpace> {
        let current = &self.agreement.as_ref()?.application;
        let pair = Pair {
            local: current.local.clone(),
            remote: current.remote.clone(),
        };
        Some(NextSpace::Application(pair))
    }

    /// Steps both application secrets to the next key phase and returns them.
    pub(crate) fn next_application(&mut self) -> Option<&Pair> {
        let current = &mut self.agreement.as_mut()?.application;
        *current = Pair {
            local: current.local.next_generation(),
            remote: current.remote.next_generation(),
        };
        Some(current)
    }

    /// Who the peer says it is; for the responder proven live only when
    /// [`is_handshaking`](Self::is_handshaking) turned false.
    pub(crate) fn peer(&self) -> Option<&PeerIdentity> {
        self.agreement.as_ref().map(|agreement| &agreement.peer)
    }

    /// The peer's transport parameters, encoded.
    pub(crate) fn peer_parameters(&self) -> Option<&[u8]> {
        self.agreement
            .as_ref()
            .map(|agreement| &*agreement.parameters)
    }

    pub(crate) fn exporter(&self) -> Option<&Secret> {
        self.agreement.as_ref().map(|agreement| &agreement.exporter)
    }

    /// True until the peer's finished frame was read.
    pub(crate) fn is_handshaking(&self) -> bool {
        !self.is_proven
    }
}

#[cfg(test)]
mod tests;
