//! A handshake without cryptography: the simulation measures congestion control alone.
//!
//! Flights as in the real handshake: client Initial, server Initial and Handshake, client
//! Handshake. Keys copy, tags are zeros.

use std::any::Any;
use std::sync::Arc;

use bytes::BytesMut;
use quinn_proto::crypto::{
    AeadKey, ClientConfig, CryptoError, ExportKeyingMaterialError, HandshakeTokenKey, HeaderKey,
    HmacKey, KeyPair, Keys, PacketKey, ServerConfig, Session, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, ConnectionId, Side, TransportError};

const TAG: usize = 16;

pub(crate) struct Plaintext;

fn keys() -> Keys {
    Keys {
        header: KeyPair {
            local: Box::new(Plaintext),
            remote: Box::new(Plaintext),
        },
        packet: KeyPair {
            local: Box::new(Plaintext),
            remote: Box::new(Plaintext),
        },
    }
}

impl PacketKey for Plaintext {
    fn encrypt(&self, _: u64, buf: &mut [u8], _: usize) {
        let end = buf.len() - TAG;
        buf[end..].fill(0);
    }

    fn decrypt(&self, _: u64, _: &[u8], payload: &mut BytesMut) -> Result<(), CryptoError> {
        let end = payload.len().checked_sub(TAG).ok_or(CryptoError)?;
        payload.truncate(end);
        Ok(())
    }

    fn tag_len(&self) -> usize {
        TAG
    }

    fn confidentiality_limit(&self) -> u64 {
        u64::MAX
    }

    fn integrity_limit(&self) -> u64 {
        u64::MAX
    }
}

impl HeaderKey for Plaintext {
    fn decrypt(&self, _: usize, _: &mut [u8]) {}

    fn encrypt(&self, _: usize, _: &mut [u8]) {}

    fn sample_size(&self) -> usize {
        TAG
    }
}

impl HmacKey for Plaintext {
    fn sign(&self, _: &[u8], out: &mut [u8]) {
        // Unlike the tags, or every packet would look like a stateless reset.
        out.fill(0x5A);
    }

    fn signature_len(&self) -> usize {
        TAG
    }

    fn verify(&self, _: &[u8], _: &[u8]) -> Result<(), CryptoError> {
        Ok(())
    }
}

impl HandshakeTokenKey for Plaintext {
    fn aead_from_hkdf(&self, _: &[u8]) -> Box<dyn AeadKey> {
        Box::new(Self)
    }
}

impl AeadKey for Plaintext {
    fn seal(&self, _: &mut Vec<u8>, _: &[u8]) -> Result<(), CryptoError> {
        Ok(())
    }

    fn open<'a>(&self, text: &'a mut [u8], _: &[u8]) -> Result<&'a mut [u8], CryptoError> {
        Ok(text)
    }
}

impl ClientConfig for Plaintext {
    fn start_session(
        self: Arc<Self>,
        _: u32,
        _: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        Ok(Box::new(Handshake::new(Side::Client, params)))
    }
}

impl ServerConfig for Plaintext {
    fn initial_keys(&self, _: u32, _: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        Ok(keys())
    }

    fn retry_tag(&self, _: u32, _: &ConnectionId, _: &[u8]) -> [u8; 16] {
        [0; 16]
    }

    fn start_session(self: Arc<Self>, _: u32, params: &TransportParameters) -> Box<dyn Session> {
        Box::new(Handshake::new(Side::Server, params))
    }
}

struct Handshake {
    side: Side,
    ours: Vec<u8>,
    theirs: Option<TransportParameters>,
    received: Vec<u8>,
    written: u8,
    finished: bool,
}

impl Handshake {
    fn new(side: Side, params: &TransportParameters) -> Self {
        let mut ours = vec![0];
        params.write(&mut ours);
        ours[0] = u8::try_from(ours.len() - 1).expect("the parameters fit 255 bytes");
        Self {
            side,
            ours,
            theirs: None,
            received: Vec::new(),
            written: 0,
            finished: false,
        }
    }
}

impl Session for Handshake {
    fn initial_keys(&self, _: &ConnectionId, _: Side) -> Keys {
        keys()
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        None
    }

    fn is_handshaking(&self) -> bool {
        !self.finished
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        self.received.extend_from_slice(buf);
        let Some(&length) = self.received.first() else {
            return Ok(false);
        };
        let end = 1 + usize::from(length);
        if self.theirs.is_none() && self.received.len() >= end {
            let params = TransportParameters::read(self.side, &mut &self.received[1..end])?;
            self.theirs = Some(params);
        }
        self.finished = self.received.len() > end;
        Ok(false)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        Ok(self.theirs)
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        let step = (
            self.side,
            self.written,
            self.theirs.is_some(),
            self.finished,
        );
        self.written += 1;
        match step {
            (Side::Client, 0, ..) => buf.extend_from_slice(&self.ours),
            (Side::Client, 1, true, _) => return Some(keys()),
            (Side::Client, 2, _, true) => {
                buf.push(1);
                return Some(keys());
            }
            (Side::Server, 0, true, _) => {
                buf.extend_from_slice(&self.ours);
                return Some(keys());
            }
            (Side::Server, 1, ..) => {
                buf.push(1);
                return Some(keys());
            }
            _ => self.written -= 1,
        }
        None
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        Some(keys().packet)
    }

    fn is_valid_retry(&self, _: &ConnectionId, _: &[u8], _: &[u8]) -> bool {
        false
    }

    fn export_keying_material(
        &self,
        _: &mut [u8],
        _: &[u8],
        _: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        Err(ExportKeyingMaterialError)
    }
}
