//! How a node is set up, checked once, before anything starts.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use dhtnet_channel_mux::Limits;
use dhtnet_identity::DeviceKey;
use dhtnet_identity::policy::{Policy, Presented};
use dhtnet_secure_transport::{NoiseConfig, TransportSettings};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::core::Core;
use crate::dht::DhtSettings;
use crate::discovery::{DhtDiscovery, Discovery, Hints, Mdns};
use crate::driver::{Driver, Mark, Sockets};
use crate::error::BuildError;
use crate::events::MAX_QUEUED_EVENTS;
use crate::interfaces::Watcher;
use crate::node::{Handle, Node, Parts};
use crate::port_mapping::PortMapper;
use crate::relays::blocked::Carrier;
use crate::relays::finder::RelayFinder;
use crate::relays::{PathPreference, Relays, TurnServer};
use crate::service::{Service, Services};
use crate::signal::Signaller;
use crate::state::{Shared, State};
use crate::traversal::{Ground, Sessions, StunAsker, StunServers, Traversal};
use crate::upkeep::Upkeep;

/// Data that one connection may have sent without an acknowledgement, in bytes: 8 MiB fills
/// 200 Mbit/s over 300 ms.
const SEND_WINDOW: u32 = 8 << 20;

/// Least and most of [`NodeBuilder::max_channels`]: what the requests of one program take that waits
/// for no answer; a thousand forwards in each direction.
const MIN_CHANNELS: u32 = 16;
const MAX_CHANNELS: u32 = 2_048;

/// Least and most of [`NodeBuilder::datagram_queue`], in bytes: one message of the kernel; what a
/// gigabit a second brings in half a second.
const MIN_DATAGRAM_QUEUE: usize = 64 << 10;
const MAX_DATAGRAM_QUEUE: usize = 64 << 20;

/// Sets up a [`Node`]; begin with [`Node::builder`].
pub struct NodeBuilder {
    key: DeviceKey,
    bind: SocketAddr,
    policy: Policy,
    credentials: Presented,
    mdns: bool,
    port_mapping: bool,
    dht: Option<DhtSettings>,
    sources: Vec<Arc<dyn Discovery>>,
    turn: Vec<TurnServer>,
    stun: Vec<String>,
    path: PathPreference,
    settings: TransportSettings,
    limits: Limits,
    channels: u32,
    mark: Option<u32>,
    service: Service,
    sought: Vec<Service>,
    others: Vec<Service>,
}

impl fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeBuilder({}, {})", self.key.id().short(), self.bind)
    }
}

impl NodeBuilder {
    pub(crate) fn new(key: DeviceKey) -> Self {
        Self {
            key,
            bind: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            policy: Policy::deny_all(),
            credentials: Presented::default(),
            mdns: true,
            port_mapping: true,
            dht: None,
            sources: Vec::new(),
            turn: Vec::new(),
            stun: Vec::new(),
            path: PathPreference::Any,
            settings: TransportSettings::default(),
            limits: Limits::default(),
            channels: MAX_CHANNELS,
            mark: None,
            service: Service::default(),
            sought: Vec::new(),
            others: Vec::new(),
        }
    }

    /// The UDP address. The default, `[::]:0`, opens one socket for each family on one port that
    /// the system chooses; any other address opens one socket of its family. A node that is bound
    /// to one address is announced and found on that interface alone.
    #[must_use]
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.bind = address;
        self
    }

    /// Who may connect and do what. Default: nobody.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// What this device shows to peers whose policy asks for it: certificates of CAs that vouch
    /// for it, and capabilities that it holds. It is shown inside the encrypted connection, to
    /// peers that were called and to those that are let in, and to them only if their policy could
    /// give more for it. Default: nothing.
    #[must_use]
    pub fn credentials(mut self, credentials: Presented) -> Self {
        self.credentials = credentials;
        self
    }

    /// Whether to announce this device on the local network when it listens, and to look for
    /// peers there. Default yes.
    #[must_use]
    pub fn mdns(mut self, enabled: bool) -> Self {
        self.mdns = enabled;
        self
    }

    /// Whether to ask the routers of the local network (PCP, NAT-PMP, UPnP) to let others in while
    /// this device listens; nothing waits for them, and what they grant is taken back when the
    /// node ends. Never for a node that is bound to a loopback address, nor for one that only
    /// calls. Default yes.
    #[must_use]
    pub fn port_mapping(mut self, enabled: bool) -> Self {
        self.port_mapping = enabled;
        self
    }

    /// Joins a DHT through the node's own sockets: the device can be found by its id alone when
    /// it listens, and finds others so. Default: none.
    #[must_use]
    pub fn dht(mut self, settings: DhtSettings) -> Self {
        self.dht = Some(settings);
        self
    }

    /// Which of the device's programs this is. Several may listen with one identity, on one machine or
    /// on many, if each is another service: a peer finds the one that it looks for. Two of one service
    /// shadow each other. An address hint leads to whatever program is there. Default: the service
    /// without a name.
    #[must_use]
    pub fn service(mut self, service: Service) -> Self {
        self.service = service;
        self
    }

    /// Which services are looked for when a peer is called: any of them will do, and the first that is
    /// found is taken. At most 8; each costs a look-up. Default: that of [`NodeBuilder::service`].
    #[must_use]
    pub fn look_for(mut self, services: impl IntoIterator<Item = Service>) -> Self {
        self.sought = services.into_iter().collect();
        self
    }

    /// Services that are of no use here, but show that a peer is there: when a call takes longer than
    /// three seconds they are looked for, and [`ConnectError`](crate::ConnectError) names those that
    /// were found. At most 8. Default: none.
    #[must_use]
    pub fn other_services(mut self, services: impl IntoIterator<Item = Service>) -> Self {
        self.others = services.into_iter().collect();
        self
    }

    /// Adds a source of addresses, asked beside the others.
    #[must_use]
    pub fn discovery(mut self, source: impl Discovery) -> Self {
        self.sources.push(Arc::new(source));
        self
    }

    /// Adds a relay (a TURN server) for paths to peers that cannot be reached directly. The first
    /// that gives an address is used, beside the search for a direct path. A relay sees ciphertext
    /// only. Without any, and when none answers, relays that announce themselves in the DHT are
    /// asked. Needs a DHT, by which the peer is told. Default: none.
    #[must_use]
    pub fn turn(mut self, server: TurnServer) -> Self {
        self.turn.push(server);
        self
    }

    /// Adds a STUN server, `HOST:PORT`, which is asked from the node's own sockets under which
    /// address it sees them: at the start, each minute, and when the network changes. Peers that
    /// are called are told. Not needed where nodes of the DHT are spread over several networks, for
    /// they tell it too. Default: none.
    #[must_use]
    pub fn stun(mut self, server: impl Into<String>) -> Self {
        self.stun.push(server.into());
        self
    }

    /// Which paths may be used. With [`PathPreference::Relay`] no address of this device is
    /// announced, and [`NodeBuilder::mdns`], [`NodeBuilder::port_mapping`] and address hints have
    /// no effect. Default: all.
    #[must_use]
    pub fn path(mut self, preference: PathPreference) -> Self {
        self.path = preference;
        self
    }

    /// Windows, timeouts and congestion control of connections. The number of streams and the
    /// send window are the node's own.
    #[must_use]
    pub fn transport(mut self, settings: TransportSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Bytes of datagrams that wait to be read on a datagram channel, and on a connection; the
    /// oldest are dropped beyond it. Between 64 KiB and 64 MiB, by default 256 KiB on a channel:
    /// enough for messages, too little for a tunnel that gets two megabytes in one go. A peer can
    /// make a connection hold as much twice.
    #[must_use]
    pub fn datagram_queue(mut self, bytes: usize) -> Self {
        let bytes = bytes.clamp(MIN_DATAGRAM_QUEUE, MAX_DATAGRAM_QUEUE);
        self.settings = self.settings.datagram_receive_buffer(bytes);
        let limits = self.limits.max_datagram_bytes(bytes);
        self.limits = limits.max_datagram_bytes_total(bytes);
        self
    }

    /// Channels at once on a connection, of both sides together: 16 to 2,048, and 2,048 by default. A
    /// connection takes some 90 bytes for each that the peer may open, before it does: who has many
    /// peers and few channels with each, as a tunnel has, asks for few.
    #[must_use]
    pub fn max_channels(mut self, channels: u32) -> Self {
        self.channels = channels.clamp(MIN_CHANNELS, MAX_CHANNELS);
        self.limits = self.limits.max_channels(self.channels as usize);
        self
    }

    /// Marks all packets to peers and relays (`SO_MARK`), so that rules of the system's routing can
    /// keep them apart: a tunnel has to keep its own packets out of itself. Needs CAP_NET_ADMIN.
    /// Default: none.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn mark(mut self, mark: u32) -> Self {
        self.mark = Some(mark);
        self
    }

    /// Binds the sockets and starts the node. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`BuildError`].
    pub async fn build(self) -> Result<Node, BuildError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let mut rng = seeded()?;
        let mut instance = [0; 16];
        rng.fill_bytes(&mut instance);
        let nonce = rng.next_u64();
        let own = self.key.id();
        let key = self.key;

        let mark = Mark(self.mark);
        let sockets = Sockets::bind(self.bind, mark)?;
        let local_addresses = sockets.local_addresses();
        // One for each channel, and the control stream.
        let streams = self.channels + 1;
        let settings = self.settings.keep_alive(None).max_bidi_streams(streams);
        let [
            session_rng,
            relay_rng,
            finder_rng,
            stun_rng,
            core_rng,
            upkeep_rng,
        ] = std::array::from_fn(|_| {
            let mut seed = [0; 32];
            rng.fill_bytes(&mut seed);
            ChaCha20Rng::from_seed(seed)
        });
        let noise = NoiseConfig::new(&key, Bytes::new(), Box::new(rng)).map_err(configuration)?;
        let mut core = Core::new(noise, settings, (SEND_WINDOW, self.limits), core_rng)
            .map_err(configuration)?;
        core.set_began(std::time::Instant::now());

        let services = Arc::new(Services::new(self.service, self.sought, self.others));
        let hidden = self.path == PathPreference::Relay;
        let mut sources: Vec<Arc<dyn Discovery>> = Vec::new();
        if !hidden {
            sources.push(Arc::new(Hints));
        }
        if self.mdns && !hidden {
            let bound: Option<IpAddr> = Some(self.bind.ip()).filter(|ip| !ip.is_unspecified());
            sources.push(Arc::new(Mdns::new(bound, nonce, services.clone())));
        }
        sources.extend(self.sources);
        let dht = match self.dht {
            Some(settings) => Some(settings.start(&local_addresses)?),
            None => None,
        };
        let dht_shared = dht.as_ref().map(|starting| starting.shared.clone());

        let judged = (self.policy, &self.credentials);
        let state = State::new((own, instance), core, judged, MAX_QUEUED_EVENTS);
        let shared = Arc::new(Shared::new(own, state));
        let handle = Handle::new(shared.clone());
        let address = self.bind;
        let relays = Arc::new(Relays::new(key.clone(), relay_rng));
        let sessions = Arc::new(Sessions::new(
            relays.clone(),
            StunServers::new(stun_rng),
            self.path,
        ));
        let ends = (sockets, relays.clone());
        let driver = Driver::new(shared.clone(), ends, dht_shared, sessions.clone())
            .map_err(|source| BuildError::Bind { address, source })?;
        let driver = runtime.spawn(driver.run());
        let dht = dht.map(|starting| starting.into_handle(None, None));
        let is_local = local_addresses.iter().all(|own| own.ip().is_loopback());
        let watcher = (!is_local).then(Watcher::start);
        let mapper = watcher.as_ref().filter(|_| self.port_mapping && !hidden);
        let mapper = mapper
            .map(|watcher| PortMapper::new((local_addresses.clone(), mark), watcher.changes()));
        let finder = RelayFinder::new(
            (relays, shared.clone()),
            (self.turn, self.path),
            dht.clone(),
            finder_rng,
        );
        let finder = Arc::new(finder);
        let carrier = dht.clone().filter(|_| !is_local && finder.may_carry());
        let carrier = carrier.map(|dht| Carrier::start(finder.clone(), dht));
        let changes = || watcher.as_ref().map(Watcher::changes);
        let (moved, moves) = tokio::sync::watch::channel(0);
        let mut calls = None;
        if let Some(dht) = &dht {
            let ground = Ground {
                bound: local_addresses.clone(),
                dht: dht.clone(),
                mappings: mapper.as_ref().map(PortMapper::watch),
                relays: finder.relays().clone(),
                sessions: sessions.clone(),
                preference: self.path,
            };
            let signaller = Signaller::new(dht.clone(), key.clone(), services.clone());
            let traversal = Traversal::new(
                (shared.clone(), sessions.clone()),
                finder.clone(),
                (signaller, ground, Some(moves)),
                session_rng,
            );
            calls = Some(traversal.clone());
            sources.push(Arc::new(traversal));
            if !hidden {
                let discovery = DhtDiscovery::new(dht.clone(), key, services.clone())
                    .on_change(changes())
                    .mappings(mapper.as_ref().map(PortMapper::watch));
                sources.push(Arc::new(discovery));
            }
        }
        let asker = (!self.stun.is_empty())
            .then(|| StunAsker::start((shared.clone(), sessions.clone()), self.stun, changes()));
        let upkeep = Upkeep::start(
            (&shared, sessions),
            changes(),
            (dht.clone(), calls, moved),
            (sources.clone(), upkeep_rng),
        );
        let parts = Parts {
            _upkeep: upkeep,
            dht,
            finder,
            _carrier: carrier,
            _asker: asker,
            services,
            watcher,
            mapper,
            sources,
            local_addresses,
            driver: tokio::sync::Mutex::new(Some(driver)),
        };
        Ok(Node {
            handle,
            parts: Arc::new(parts),
        })
    }
}

fn seeded() -> Result<ChaCha20Rng, BuildError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| BuildError::Randomness {
        reason: error.to_string(),
    })?;
    Ok(ChaCha20Rng::from_seed(seed))
}

fn configuration(error: impl fmt::Display) -> BuildError {
    BuildError::Transport {
        reason: error.to_string(),
    }
}
