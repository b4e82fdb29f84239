//! One device's configuration: where endpoints and connections get their keys from.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use dhtnet_identity::noise::StaticKeys;
use dhtnet_identity::{DeviceId, DeviceKey};
use quinn_proto::{
    ClientConfig, ConnectionId, EndpointConfig, NoneTokenLog, NoneTokenStore, ServerConfig,
    ValidationTokenConfig, crypto,
};
use rand_core::CryptoRng;
use ring::hmac;

use crate::{
    aead::{Aead, MAX_OFFERED_AEADS},
    connection_id::ConnectionIds,
    handshake::Device,
    handshake_error::HandshakeError,
    key_schedule::Secret,
    payload::MAX_APPLICATION_LEN,
    random::RandomSource,
    session::{InitiatorCrypto, ResponderCrypto},
    settings::{MAX_MTU, SettingsError, TransportSettings},
    stateless::{ResetKey, TokenKey},
    version::QUIC_VERSION,
};

/// Connections that were announced by a first packet and neither accepted nor ignored yet; further
/// first packets are dropped unanswered.
pub const MAX_PENDING_INCOMING: usize = 256;

/// Bytes of further packets kept for one such connection: a first flight has two datagrams.
pub const MAX_PENDING_BYTES_EACH: u64 = 16 << 10;

/// Bytes of further packets kept for all such connections together.
pub const MAX_PENDING_BYTES: u64 = 1 << 20;

/// Length of the destination id an initiator makes up for its first packet, in bytes. It enters the
/// Initial keys, so it carries as much randomness as a key.
const FIRST_DESTINATION_ID_LEN: usize = 16;

/// What [`NoiseConfig::new`] refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoiseConfigError {
    /// More application bytes than [`MAX_APPLICATION_LEN`].
    #[error("{len} application bytes, at most {MAX_APPLICATION_LEN} fit into a handshake message")]
    ApplicationTooLong {
        /// How many there are.
        len: usize,
    },
    /// No AEAD, or more than [`MAX_OFFERED_AEADS`].
    #[error("{count} packet AEADs, one to {MAX_OFFERED_AEADS} can be offered")]
    AeadCount {
        /// How many there are.
        count: usize,
    },
}

/// Why no connection to a peer can be configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientConfigError {
    /// Diffie-Hellman with the peer's key gives zero: nobody can hold a key for this id.
    #[error("no handshake is possible with the peer's public key")]
    WeakPeerKey,
    /// The settings contradict each other.
    #[error("the transport settings are not usable")]
    Settings(#[from] SettingsError),
}

/// One device's side of every handshake: its keys, its application bytes, its generator and the
/// memory of the first messages it answered.
///
/// Memory: about 300 KiB when the replay filter is full.
pub struct NoiseConfig {
    device: Arc<Device>,
    reset_key: hmac::Key,
    connection_id_key: hmac::Key,
    token_key: Secret,
}

impl NoiseConfig {
    /// For the device with `key`.
    ///
    /// `application` is told to every peer in the handshake, encrypted, and is for the caller's
    /// use: a protocol version, an instance number. `rng` seeds an internal ChaCha20 generator,
    /// once, from which all ephemeral keys and connection ids come.
    ///
    /// # Errors
    ///
    /// [`NoiseConfigError::ApplicationTooLong`].
    pub fn new(
        key: &DeviceKey,
        application: Bytes,
        rng: Box<dyn CryptoRng + Send>,
    ) -> Result<Arc<Self>, NoiseConfigError> {
        Self::with_aeads(key, application, Aead::preferred(), rng)
    }

    /// As [`new`](Self::new), with a list of packet AEADs, best first, instead of the one that suits
    /// the processor.
    ///
    /// # Errors
    ///
    /// Any [`NoiseConfigError`].
    pub fn with_aeads(
        key: &DeviceKey,
        application: Bytes,
        aeads: Vec<Aead>,
        rng: Box<dyn CryptoRng + Send>,
    ) -> Result<Arc<Self>, NoiseConfigError> {
        Self::with_random(key, application, aeads, RandomSource::seeded(rng))
    }

    pub(crate) fn with_random(
        key: &DeviceKey,
        application: Bytes,
        aeads: Vec<Aead>,
        random: RandomSource,
    ) -> Result<Arc<Self>, NoiseConfigError> {
        if application.len() > MAX_APPLICATION_LEN {
            return Err(NoiseConfigError::ApplicationTooLong {
                len: application.len(),
            });
        }
        if aeads.is_empty() || aeads.len() > MAX_OFFERED_AEADS {
            return Err(NoiseConfigError::AeadCount { count: aeads.len() });
        }
        let hmac_key = |label| hmac::Key::new(hmac::HMAC_SHA256, &*key.derive_secret(label));
        Ok(Arc::new(Self {
            reset_key: hmac_key("dhtnet 1 stateless reset"),
            connection_id_key: hmac_key("dhtnet 1 connection id"),
            token_key: Secret::new(*key.derive_secret("dhtnet 1 retry token")),
            device: Arc::new(Device {
                id: key.id(),
                keys: Arc::new(StaticKeys::new(key.noise_static_secret())),
                application: Mutex::new(application),
                aeads,
                random: Arc::new(random),
                replays: Mutex::default(),
            }),
        }))
    }

    /// Says something else in the handshakes that begin from now on.
    ///
    /// # Errors
    ///
    /// [`NoiseConfigError::ApplicationTooLong`]; nothing changes then.
    pub fn set_application(&self, application: Bytes) -> Result<(), NoiseConfigError> {
        if application.len() > MAX_APPLICATION_LEN {
            return Err(NoiseConfigError::ApplicationTooLong {
                len: application.len(),
            });
        }
        let said = self.device.application.lock();
        *said.unwrap_or_else(PoisonError::into_inner) = application;
        Ok(())
    }

    /// The id of this device.
    pub fn id(&self) -> DeviceId {
        self.device.id
    }

    /// For [`Endpoint::connect`](quinn_proto::Endpoint::connect) to `peer`.
    ///
    /// Pass the peer's id as text for `server_name`; it is used for nothing but traces. Costs one
    /// scalar multiplication.
    ///
    /// # Errors
    ///
    /// Any [`ClientConfigError`].
    pub fn client_config(
        &self,
        peer: &DeviceId,
        settings: &TransportSettings,
    ) -> Result<ClientConfig, ClientConfigError> {
        let crypto =
            InitiatorCrypto::new(&self.device, *peer).ok_or(ClientConfigError::WeakPeerKey)?;
        let random = Arc::clone(&self.device.random);
        let mut config = ClientConfig::new(Arc::new(crypto));
        config
            .version(QUIC_VERSION)
            .transport_config(settings.transport_config()?)
            .token_store(Arc::new(NoneTokenStore))
            .initial_dst_cid_provider(Arc::new(move || {
                ConnectionId::new(&random.bytes::<FIRST_DESTINATION_ID_LEN>())
            }));
        Ok(config)
    }

    /// For an [`Endpoint`](quinn_proto::Endpoint). An endpoint without one answers first packets of
    /// strangers with stateless resets, so give every endpoint one and
    /// [`ignore`](quinn_proto::Endpoint::ignore) what is not wanted.
    ///
    /// # Errors
    ///
    /// Any [`SettingsError`].
    pub fn server_config(
        &self,
        settings: &TransportSettings,
    ) -> Result<Arc<ServerConfig>, SettingsError> {
        let crypto = Arc::new(ResponderCrypto::new(&self.device));
        let mut validation = ValidationTokenConfig::default();
        validation.sent(0).log(Arc::new(NoneTokenLog));
        let mut config = ServerConfig::new(crypto, Arc::new(TokenKey(self.token_key.clone())));
        config
            .transport_config(settings.transport_config()?)
            .validation_token_config(validation)
            .time_source(settings.clock())
            .max_incoming(MAX_PENDING_INCOMING)
            .incoming_buffer_size(MAX_PENDING_BYTES_EACH)
            .incoming_buffer_size_total(MAX_PENDING_BYTES);
        Ok(Arc::new(config))
    }

    /// For an [`Endpoint`](quinn_proto::Endpoint). Every call draws a new seed for the endpoint's
    /// own generator.
    ///
    /// The keys behind stateless resets, Retry tokens and connection ids come from the device key:
    /// they outlive the process.
    pub fn endpoint_config(&self) -> Arc<EndpointConfig> {
        let key = self.connection_id_key.clone();
        let random = Arc::clone(&self.device.random);
        let mut config = EndpointConfig::new(Arc::new(ResetKey(self.reset_key.clone())));
        config
            .supported_versions(vec![QUIC_VERSION])
            // Otherwise QUIC packets could look like STUN.
            .grease_quic_bit(false)
            .cid_generator(move || Box::new(ConnectionIds::new(key.clone(), Arc::clone(&random))))
            .rng_seed(Some(self.device.random.bytes()))
            .max_udp_payload_size(MAX_MTU)
            .expect("the largest UDP payload is in range");
        Arc::new(config)
    }

    /// A session towards `peer` outside any connection, with encoded transport parameters: for
    /// tests and fuzzing of the handshake itself.
    #[doc(hidden)]
    pub fn initiator_session(
        &self,
        peer: &DeviceId,
        parameters: &[u8],
    ) -> Result<Box<dyn crypto::Session>, HandshakeError> {
        InitiatorCrypto::new(&self.device, *peer)
            .ok_or(HandshakeError::WrongKey)?
            .session(parameters)
    }

    /// The answering counterpart of [`initiator_session`](Self::initiator_session).
    #[doc(hidden)]
    pub fn responder_session(&self, parameters: &[u8]) -> Box<dyn crypto::Session> {
        ResponderCrypto::new(&self.device).session(parameters.to_vec())
    }
}

impl fmt::Debug for NoiseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoiseConfig")
            .field("id", &self.device.id)
            .field("aeads", &self.device.aeads)
            .finish_non_exhaustive()
    }
}
