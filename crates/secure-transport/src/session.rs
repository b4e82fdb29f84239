//! The handshake behind quinn-proto's crypto traits.

use std::{any::Any, sync::Arc};

use dhtnet_identity::DeviceId;
use quinn_proto::{
    ConnectError, Connection, ConnectionId, Side, TransportError,
    crypto::{
        self, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, UnsupportedVersion,
    },
    transport_parameters::TransportParameters,
};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::{
    aead::Aead,
    congestion::Adaptive,
    handshake::{Device, Handshake, NextSpace, PeerIdentity},
    handshake_error::HandshakeError,
    key_schedule::{self, ResponderSalt},
    packet_protection::{self, TAG_LEN},
    version::QUIC_VERSION,
};

/// Initial packets always use this one: it is agreed on before anything can be negotiated.
const INITIAL_AEAD: Aead = Aead::Aes128Gcm;

/// One connection's handshake and key source.
struct NoiseSession {
    handshake: Handshake,
    salt: ResponderSalt,
    side: Side,
    peer_parameters: Option<TransportParameters>,
}

impl crypto::Session for NoiseSession {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        initial_keys(&self.salt, dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.handshake
            .peer()
            .map(|peer| Box::new(peer.clone()) as Box<dyn Any>)
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        if self.handshake.is_handshaking() {
            return None;
        }
        self.handshake_data()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.side.is_client().then_some(false)
    }

    fn is_handshaking(&self) -> bool {
        self.handshake.is_handshaking()
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        let is_known = self.handshake.read(buf)?;
        if is_known && let Some(mut parameters) = self.handshake.peer_parameters() {
            let read = TransportParameters::read(self.side, &mut parameters);
            self.peer_parameters = Some(read.map_err(|_| HandshakeError::Malformed)?);
        }
        Ok(is_known)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        Ok(self.peer_parameters)
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        let next = self.handshake.write(buf)?;
        let aead = self.handshake.peer()?.aead;
        let (NextSpace::Handshake(pair) | NextSpace::Application(pair)) = next;
        Some(packet_protection::keys(aead, &pair.local, &pair.remote))
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let aead = self.handshake.peer()?.aead;
        let pair = self.handshake.next_application()?;
        Some(packet_protection::packet_keys(
            aead,
            &pair.local,
            &pair.remote,
        ))
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        let Some((token, tag)) = payload.split_last_chunk::<TAG_LEN>() else {
            return false;
        };
        let mut packet = header.to_vec();
        packet.extend(token);
        // The tag protects against accidents and strangers, not secrets: no constant time needed.
        retry_tag(&self.salt, orig_dst_cid, &packet) == *tag
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.handshake
            .exporter()
            .filter(|_| !self.handshake.is_handshaking())
            .and_then(|exporter| key_schedule::export(exporter, label, context, output))
            .ok_or(ExportKeyingMaterialError)
    }
}

fn initial_keys(salt: &ResponderSalt, dst_cid: &ConnectionId, side: Side) -> Keys {
    let (client, server) = salt.initial_secrets(dst_cid);
    match side {
        Side::Client => packet_protection::keys(INITIAL_AEAD, &client, &server),
        Side::Server => packet_protection::keys(INITIAL_AEAD, &server, &client),
    }
}

/// The integrity tag of a Retry packet (RFC 9001 section 5.8), under the responder's own key.
fn retry_tag(salt: &ResponderSalt, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; TAG_LEN] {
    let mut pseudo_packet = vec![orig_dst_cid.len() as u8];
    pseudo_packet.extend_from_slice(orig_dst_cid);
    pseudo_packet.extend_from_slice(packet);
    let key = UnboundKey::new(&AES_128_GCM, &salt.retry_key).expect("the key has 16 bytes");
    let tag = LessSafeKey::new(key)
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(salt.retry_nonce),
            Aad::from(&pseudo_packet),
            &mut [],
        )
        .expect("a packet is far below the AEAD's length limit");
    let mut bytes = [0; TAG_LEN];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

/// Starts sessions towards one peer.
pub(crate) struct InitiatorCrypto {
    device: Arc<Device>,
    peer: DeviceId,
    peer_static: [u8; 32],
    salt: ResponderSalt,
}

impl InitiatorCrypto {
    /// `None` if no handshake with this key can work: Diffie-Hellman with it gives zero.
    pub(crate) fn new(device: &Arc<Device>, peer: DeviceId) -> Option<Self> {
        let peer_static = peer.noise_static();
        if !device.keys.accepts(&peer_static) {
            return None;
        }
        let salt = ResponderSalt::new(&peer_static);
        Some(Self {
            device: Arc::clone(device),
            peer,
            peer_static,
            salt,
        })
    }

    pub(crate) fn session(
        &self,
        parameters: &[u8],
    ) -> Result<Box<dyn crypto::Session>, HandshakeError> {
        let handshake =
            Handshake::initiator(&self.device, self.peer, &self.peer_static, parameters)?;
        Ok(Box::new(NoiseSession {
            handshake,
            salt: self.salt.clone(),
            side: Side::Client,
            peer_parameters: None,
        }))
    }
}

impl crypto::ClientConfig for InitiatorCrypto {
    /// `server_name` plays no part: the peer's key is in the configuration.
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn crypto::Session>, ConnectError> {
        if version != QUIC_VERSION {
            return Err(ConnectError::UnsupportedVersion);
        }
        self.session(&encoded(params))
            .map_err(|_| ConnectError::InvalidServerName(server_name.into()))
    }
}

/// Answers sessions of anybody.
pub(crate) struct ResponderCrypto {
    device: Arc<Device>,
    salt: ResponderSalt,
}

impl ResponderCrypto {
    pub(crate) fn new(device: &Arc<Device>) -> Self {
        Self {
            device: Arc::clone(device),
            salt: ResponderSalt::new(device.keys.public()),
        }
    }

    pub(crate) fn session(&self, parameters: Vec<u8>) -> Box<dyn crypto::Session> {
        Box::new(NoiseSession {
            handshake: Handshake::responder(&self.device, parameters),
            salt: self.salt.clone(),
            side: Side::Server,
            peer_parameters: None,
        })
    }
}

impl crypto::ServerConfig for ResponderCrypto {
    fn initial_keys(
        &self,
        version: u32,
        dst_cid: &ConnectionId,
    ) -> Result<Keys, UnsupportedVersion> {
        if version != QUIC_VERSION {
            return Err(UnsupportedVersion);
        }
        Ok(initial_keys(&self.salt, dst_cid, Side::Server))
    }

    fn retry_tag(&self, _version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        retry_tag(&self.salt, orig_dst_cid, packet)
    }

    fn start_session(
        self: Arc<Self>,
        _version: u32,
        params: &TransportParameters,
    ) -> Box<dyn crypto::Session> {
        self.session(encoded(params))
    }
}

fn encoded(params: &TransportParameters) -> Vec<u8> {
    let mut bytes = Vec::new();
    params.write(&mut bytes);
    bytes
}

/// Who is at the other end of `connection`.
///
/// `None` until the handshake is complete: then, and not earlier, the peer is proven to hold the
/// key of its id now, and both directions are.
pub fn peer_identity(connection: &Connection) -> Option<PeerIdentity> {
    downcast(connection.crypto_session().peer_identity()?)
}

/// Who the other end of `connection` claims to be, as soon as its first message was read.
///
/// On the responder's side a replayed message 1 can make this claim too, so it is good for
/// refusing early and for nothing else.
pub fn claimed_identity(connection: &Connection) -> Option<PeerIdentity> {
    downcast(connection.crypto_session().handshake_data()?)
}

fn downcast(identity: Box<dyn Any>) -> Option<PeerIdentity> {
    identity.downcast().ok().map(|identity| *identity)
}

/// Tells a connection that its datagrams take another path from now on, which QUIC cannot see:
/// round trip, MTU and congestion control begin anew. What the path before may have swallowed does
/// not keep the new one from being used (with [`Adaptive`]), and a PING is queued, whose
/// acknowledgement shows what was lost.
pub fn path_changed(connection: &mut Connection, now: std::time::Instant) {
    let before = connection.congestion_state().window();
    connection.path_changed(now);
    let fresh = connection.congestion_state().clone_box().into_any();
    if let Ok(fresh) = fresh.downcast::<Adaptive>() {
        fresh.carry(before);
    }
    connection.ping();
}

/// Fills `output` with keying material that only the two ends of `connection` can compute, bound to
/// `label` and `context`.
///
/// # Errors
///
/// Before the handshake is complete, or if `output` is longer than
/// [`MAX_EXPORT_LEN`](crate::MAX_EXPORT_LEN).
pub fn export_keying_material(
    connection: &Connection,
    label: &[u8],
    context: &[u8],
    output: &mut [u8],
) -> Result<(), ExportKeyingMaterialError> {
    connection
        .crypto_session()
        .export_keying_material(output, label, context)
}
