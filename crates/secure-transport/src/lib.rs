//! Noise IK as the handshake of QUIC, by public key alone.
//!
//! Who knows a device's id can open an encrypted, mutually authenticated QUIC connection to it in
//! one round trip; who does not cannot even make it answer. This crate gives [quinn-proto] the keys
//! and configurations for that, and nothing else: no socket, clock, task or randomness of its own.
//!
//! # The handshake
//!
//! ```text
//! initiator (knows the responder's id)                            responder
//!   Initial:    message 1 = e, es, s, ss ‖ payload ──────────────▶  checks the initiator's id
//!   Initial:                   ◀────────────── message 2 = e, ee, se ‖ payload
//!   Handshake:                 ◀────────────── finished
//!   Handshake:  finished ────────────────────────────────────────▶  initiator proven live
//! ```
//! `Noise_IK_25519_ChaChaPoly_BLAKE2s`; static keys are the Ed25519 device keys on Curve25519. The
//! payloads carry the offered and the chosen packet AEAD, the initiator's id, application bytes of
//! the caller, and QUIC's transport parameters. Frames in the CRYPTO streams are `type (1) ‖
//! length (2) ‖ body`.
//!
//! # The key schedule (HKDF-SHA256)
//!
//! ```text
//! responder's X25519 key ─Extract─▶ initial salt ─Extract(destination id)─▶ Initial keys
//! Extract(salt = handshake hash, k1 ‖ k2 of Split()) ─Expand("dhtnet 1 " + …)─▶
//!     "c hs", "s hs": Handshake keys    "c ap", "s ap": 1-RTT keys    "exp": exporter
//! each secret ─Expand-Label─▶ "quic key", "quic iv", "quic hp"; next key phase "quic ku"
//! ```
//! From each secret on it is QUIC version 1's packet protection (RFC 9001), under a version number
//! of its own. The exact bytes are in the wire-format book.
//!
//! # What a stranger sees
//!
//! Nothing: Initial keys come from the responder's public key, so a packet made without it fails its
//! AEAD and is dropped. The driver's part is to ask [`accepts_version`] before each datagram reaches
//! the endpoint, and [`may_answer`] before it sends what a failed `accept` left.
//!
//! # Left out
//!
//! 0-RTT (message 1 can be replayed), Retry by default (the driver may send it), multipath, and any
//! decision about who may connect: that is policy, taken on the proven [`peer_identity`].
//!
//! # Example
//!
//! ```
//! use bytes::Bytes;
//! use dhtnet_identity::DeviceKey;
//! use dhtnet_secure_transport::{NoiseConfig, TransportSettings};
//! use quinn_proto::Endpoint;
//! use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A program seeds this from the system.
//! let rng = Box::new(ChaCha20Rng::seed_from_u64(1));
//! let config = NoiseConfig::new(&DeviceKey::from_seed(&[1; 32]), Bytes::from_static(b"v1"), rng)?;
//! let settings = TransportSettings::default();
//! let mut endpoint = Endpoint::new(
//!     config.endpoint_config(),
//!     Some(config.server_config(&settings)?),
//!     true,
//!     None,
//! );
//!
//! let peer = DeviceKey::from_seed(&[2; 32]).id();
//! let now = std::time::Instant::now();
//! let (_handle, mut connection) = endpoint.connect(
//!     now,
//!     config.client_config(&peer, &settings)?,
//!     "192.0.2.1:4433".parse()?,
//!     &peer.to_string(),
//! )?;
//! let mut first_flight = Vec::new();
//! let transmit = connection.poll_transmit(now, 1, &mut first_flight).expect("message 1");
//! assert!(transmit.size >= 1_200);
//! # Ok(())
//! # }
//! ```
//!
//! [quinn-proto]: https://docs.rs/quinn-proto

mod aead;
pub mod congestion;
mod connection_fault;
mod connection_id;
mod framing;
mod handshake;
mod handshake_error;
mod key_schedule;
mod noise;
mod noise_config;
mod packet_protection;
mod payload;
mod random;
mod replay;
mod session;
mod settings;
mod stateless;
#[cfg(test)]
mod test_keys;
#[cfg(test)]
mod test_vectors;
mod version;

pub use aead::{Aead, MAX_OFFERED_AEADS};
pub use connection_fault::{ConnectionFault, may_answer};
pub use connection_id::{CONNECTION_ID_LEN, ConnectionIds};
pub use framing::{Frame, FrameReader, MAX_HANDSHAKE_MESSAGE_LEN};
pub use handshake::PeerIdentity;
pub use handshake_error::HandshakeError;
pub use key_schedule::MAX_EXPORT_LEN;
pub use noise::NOISE_PROTOCOL;
pub use noise_config::{
    ClientConfigError, MAX_PENDING_BYTES, MAX_PENDING_BYTES_EACH, MAX_PENDING_INCOMING,
    NoiseConfig, NoiseConfigError,
};
pub use payload::{MAX_APPLICATION_LEN, Message1, Message2};
pub use replay::MAX_REMEMBERED_FIRST_MESSAGES;
pub use session::{claimed_identity, export_keying_material, path_changed, peer_identity};
pub use settings::{Congestion, MAX_MTU, MIN_MTU, SettingsError, TransportSettings};
pub use version::{MIN_DESTINATION_ID_LEN, QUIC_VERSION, accepts_version};
