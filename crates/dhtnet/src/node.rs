//! A node: one device on the network, and what can be asked of it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use dhtnet_channel_mux::{ChannelRequest, CloseCode, DeclineReason};
use dhtnet_identity::policy::{Action, Decision, OwnedAction, Policy, Presented};
use dhtnet_identity::{DeviceId, DeviceKey, PeerAddress};
use tokio::task::JoinHandle;

use crate::builder::NodeBuilder;
use crate::channel::Channel;
use crate::connect::{self, ConnectOptions};
use crate::dht::Dht;
use crate::discovery::{Announcement, Discovery};
use crate::error::{ConnectError, ListenError, close_code};
use crate::events::Events;
use crate::interfaces::Watcher;
use crate::listener::{Incoming, Listener};
use crate::port_mapping::{PortMapper, PortMapping, public_addresses};
use crate::relays::blocked::Carrier;
use crate::relays::finder::{RelayFault, RelayFinder};
use crate::report::{ChannelReport, ConnectionReport, DropReport};
use crate::service::Services;
use crate::state::{ActionOf, DialFailure, Offer, Shared, default_action, is_reserved};
use crate::traversal::StunAsker;
use crate::upkeep::Upkeep;

/// How long [`Node::shutdown`] waits for what was written to arrive.
pub const SHUTDOWN_LIMIT: Duration = Duration::from_secs(3);

/// How long the last packets may take to leave.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);

/// How long a relay may take to say that an allocation is deleted. It is asked once by datagrams;
/// what it does not hear ends by itself after ten minutes.
const RELAY_LIMIT: Duration = Duration::from_secs(1);

/// What keeps the driver running: held by nodes, channels and listeners.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Running>);

struct Running {
    shared: Arc<Shared>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.lock().abandoned = true;
        self.shared.wake.wake();
    }
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Running { shared }))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// The time. The only clock of the handles; the core is told.
    pub(crate) fn now(&self) -> Instant {
        Instant::now()
    }
}

/// A device on the network. Cheap to clone; all clones are the same node.
///
/// When the last clone, channel and listener is dropped the node closes at once.
/// [`Node::shutdown`] closes it with everything delivered first.
#[derive(Clone)]
pub struct Node {
    pub(crate) handle: Handle,
    pub(crate) parts: Arc<Parts>,
}

/// What only the node itself uses.
pub(crate) struct Parts {
    /// Runs as long as the node.
    pub(crate) _upkeep: Upkeep,
    pub(crate) dht: Option<Dht>,
    pub(crate) finder: Arc<RelayFinder>,
    /// Absent where the DHT is, for a node bound to a loopback address, and where no relay may be
    /// used.
    pub(crate) _carrier: Option<Carrier>,
    /// Absent without STUN servers.
    pub(crate) _asker: Option<StunAsker>,
    pub(crate) services: Arc<Services>,
    /// Tells of changed addresses and routes; absent for a node bound to a loopback address.
    pub(crate) watcher: Option<Watcher>,
    /// Absent when it was switched off, and where the watcher is.
    pub(crate) mapper: Option<PortMapper>,
    pub(crate) sources: Vec<Arc<dyn Discovery>>,
    pub(crate) local_addresses: Vec<SocketAddr>,
    pub(crate) driver: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Node({}, {:?})",
            self.id().short(),
            self.parts.local_addresses
        )
    }
}

impl Node {
    /// Begins a node for the device with this key.
    pub fn builder(key: DeviceKey) -> NodeBuilder {
        NodeBuilder::new(key)
    }

    /// This device's id.
    pub fn id(&self) -> DeviceId {
        self.handle.shared().own
    }

    /// The addresses of the sockets, one for each family, with the real port.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.parts.local_addresses.clone()
    }

    /// The DHT that this node takes part in, if it was built with one.
    pub fn dht(&self) -> Option<&Dht> {
        self.parts.dht.as_ref()
    }

    /// Addresses under which others may reach this device now: those that routers have mapped,
    /// then those of the interfaces, with the sockets' ports. Good as hints in a [`PeerAddress`].
    /// Loopback addresses only if the node is bound to one.
    pub fn reachable_addresses(&self) -> Vec<SocketAddr> {
        let mut found: Vec<SocketAddr> = public_addresses(&self.port_mappings()).collect();
        for address in crate::interfaces::reachable(&self.parts.local_addresses) {
            if !found.contains(&address) {
                found.push(address);
            }
        }
        found
    }

    /// What routers have granted so far, the preferred first: nothing before this device listens,
    /// and nothing where no router answers. Mappings of a router that is itself behind a NAT are
    /// in the list ([`PortMapping::is_public`] tells), and are announced to nobody.
    pub fn port_mappings(&self) -> Vec<PortMapping> {
        let mapper = self.parts.mapper.as_ref();
        mapper.map_or_else(Vec::new, |mapper| mapper.watch().borrow().clone())
    }

    /// The configured relays that could not be used when they were last asked, and why.
    pub fn relay_faults(&self) -> Vec<RelayFault> {
        self.parts.finder.faults()
    }

    /// Counts how often the addresses or routes of this machine changed, or it woke from sleep;
    /// the receiver is woken each time. `None` for a node that is bound to a loopback address.
    pub fn network_changes(&self) -> Option<tokio::sync::watch::Receiver<u64>> {
        self.parts.watcher.as_ref().map(Watcher::changes)
    }

    /// Opens a channel to `peer` and waits until it is accepted, at most 30 s.
    ///
    /// All callers share one connection to a peer: the first makes it, the others join. The
    /// peer's address is looked for in all sources at once, and the first address that answers
    /// with the peer's key is used. Cancel-safe: dropping the future withdraws the request.
    ///
    /// # Errors
    /// [`ConnectError`], which tells how far it came.
    pub async fn connect(
        &self,
        peer: &PeerAddress,
        request: ChannelRequest,
    ) -> Result<Channel, ConnectError> {
        self.connect_with(peer, request, ConnectOptions::default())
            .await
    }

    /// As [`Node::connect`], with a time limit or an early return.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect_with(
        &self,
        peer: &PeerAddress,
        request: ChannelRequest,
        options: ConnectOptions,
    ) -> Result<Channel, ConnectError> {
        connect::connect(self, peer, request, options).await
    }

    /// Waits for channels with this name. The policy is asked before a request is handed out;
    /// the action is the name.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn listen(&self, name: &str) -> Result<Listener, ListenError> {
        self.listen_with(name, Arc::new(|request| Ok(default_action(request))))
    }

    /// As [`Node::listen`], with the action for the policy taken from each request; the closure
    /// declines what it cannot read.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn listen_as(
        &self,
        name: &str,
        action_of: impl Fn(&ChannelRequest) -> Result<OwnedAction, DeclineReason>
        + Send
        + Sync
        + 'static,
    ) -> Result<Listener, ListenError> {
        self.listen_with(name, Arc::new(action_of))
    }

    /// As [`Node::listen`], for a node that calls its peers and is not called: it is announced
    /// nowhere, and no router is asked to let others in.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn listen_unannounced(&self, name: &str) -> Result<Listener, ListenError> {
        self.add_listener(name, Arc::new(|request| Ok(default_action(request))))
    }

    fn listen_with(&self, name: &str, action_of: ActionOf) -> Result<Listener, ListenError> {
        let listener = self.add_listener(name, action_of)?;
        let announcement = Announcement::new(
            self.id(),
            self.local_addresses(),
            self.parts.services.own.clone(),
        );
        for source in &self.parts.sources {
            source.announce(&announcement);
        }
        if let Some(mapper) = &self.parts.mapper {
            mapper.start();
        }
        Ok(listener)
    }

    fn add_listener(&self, name: &str, action_of: ActionOf) -> Result<Listener, ListenError> {
        ChannelRequest::stream(name)
            .validate()
            .map_err(ListenError::InvalidName)?;
        if is_reserved(name) {
            return Err(ListenError::NameTaken);
        }
        let mut state = self.handle.shared().lock();
        if state.closing {
            return Err(ListenError::ShuttingDown);
        }
        if !state.listeners.insert(name, action_of) {
            return Err(ListenError::NameTaken);
        }
        drop(state);
        Ok(Listener::new(self.handle.clone(), name.to_owned()))
    }

    /// The connections that are up.
    pub fn connections(&self) -> Vec<ConnectionReport> {
        let (state, now) = (self.handle.shared().lock(), self.handle.now());
        state
            .core
            .connections()
            .filter_map(|c| ConnectionReport::from_connection(c, now))
            .collect()
    }

    /// The channels of all connections.
    pub fn channels(&self) -> Vec<ChannelReport> {
        let (state, now) = (self.handle.shared().lock(), self.handle.now());
        state
            .core
            .connections()
            .flat_map(|c| ChannelReport::all(c, now))
            .collect()
    }

    /// What was dropped since the start, by reason.
    pub fn dropped(&self) -> DropReport {
        self.handle.shared().lock().core.dropped()
    }

    /// Measures one round trip to a connected peer, through both programs. `None` when there is
    /// no connection to it, or when it is lost meanwhile. Waits as long as the connection lives.
    pub async fn ping(&self, peer: &DeviceId) -> Option<Duration> {
        let (shared, now) = (self.handle.shared(), self.handle.now());
        let (connection, nonce) = shared.with(|state| {
            let connection = state.peers.primary(peer)?;
            let nonce = state
                .core
                .with_mux(connection, |mux, link| mux.ping(link, now).ok())
                .flatten()?;
            state.channels.begin_ping(connection, nonce);
            Some((connection, nonce))
        })?;
        let rtt =
            std::future::poll_fn(|cx| shared.lock().channels.poll_ping(connection, nonce, cx))
                .await;
        shared.lock().channels.end_ping(connection, nonce);
        rtt
    }

    /// Subscribes to what happens from now on. At most 256 events wait for a subscriber; older
    /// ones are dropped and counted.
    pub fn events(&self) -> Events {
        Events::new(self.handle.shared().lock().events.subscribe())
    }

    /// Asks the policy whether this peer may do this now, as it is asked about each request; the
    /// answer is logged. For what an application decides beyond the opening of a channel, and asks
    /// again at [`Event::PolicyChanged`](crate::Event::PolicyChanged). What a channel needs as long
    /// as it is open is a case for [`Incoming::require`].
    pub fn decide(&self, peer: &DeviceId, action: &Action<'_>) -> Decision {
        self.handle
            .shared()
            .lock()
            .decide(SystemTime::now(), peer, action)
    }

    /// Replaces the policy. What it does not allow ends at once: connections that peers began and
    /// that it does not admit, and every channel that a peer was given and may not have any more.
    /// The same happens by itself when a rule, a certificate or a capability ends.
    ///
    /// What a peer has shown counts on. Peers that were connected while no policy asked for
    /// credentials are asked now; one that has some keeps what it was given for half a second, until
    /// it has shown them.
    pub fn set_policy(&self, policy: Policy) {
        let times = (self.handle.now(), SystemTime::now());
        self.handle
            .shared()
            .with(|state| state.set_policy(policy, times));
        // Deadlines may be others.
        self.handle.shared().wake.wake();
    }

    /// Replaces what this device shows, see [`NodeBuilder::credentials`]: after a renewal, or when
    /// a capability was received. It is shown on the connections that are up, too, to peers that
    /// asked for credentials.
    pub fn set_credentials(&self, credentials: &Presented) {
        let now = self.handle.now();
        self.handle
            .shared()
            .with(|state| state.set_credentials(credentials, now));
    }

    /// Ends the node in good order: no new channels; what was written to channels that were
    /// finished gets [`SHUTDOWN_LIMIT`] to arrive (on a slow path wait for
    /// [`SendHalf::flushed`](crate::SendHalf::flushed) before); peers are told; routers get a
    /// second to take their mappings back; sockets are closed.
    pub async fn shutdown(&self) {
        for source in &self.parts.sources {
            source.close();
        }
        if let Some(dht) = &self.parts.dht
            && let Err(error) = dht.save().await
        {
            tracing::warn!(%error, "the DHT's state is lost");
        }
        self.begin_shutdown();
        self.wait_until(SHUTDOWN_LIMIT, |state| !state.channels.is_flushing())
            .await;
        // What else is queued, a reset or a stop, leaves before the close that would drop it.
        self.wait_until(FLUSH_LIMIT, |state| state.core.is_quiet())
            .await;
        self.close_all();
        let released = async {
            if let Some(mapper) = &self.parts.mapper {
                mapper.close().await;
            }
        };
        let relays = self.parts.finder.relays();
        let flushed = async {
            self.wait_until(FLUSH_LIMIT, |state| state.core.is_quiet())
                .await;
            // What the relay keeps for us is of no use to anybody any more.
            relays.close(Instant::now());
            self.handle.shared().wake.wake();
            self.wait_until(RELAY_LIMIT, |_| relays.is_closed()).await;
        };
        tokio::join!(released, flushed);
        self.handle.shared().lock().abandoned = true;
        self.handle.shared().wake.wake();
        if let Some(driver) = self.parts.driver.lock().await.take() {
            // A driver that panicked has reported that itself.
            let _ = driver.await;
        }
    }

    fn begin_shutdown(&self) {
        let now = self.handle.now();
        let unanswered: Vec<Offer> = self.handle.shared().with(|state| {
            state.closing = true;
            for attempt in state.dials.fail_all(&DialFailure::ShuttingDown) {
                state.core.close(now, attempt, close_code::DONE);
            }
            let offers = state.listeners.clear();
            for key in state.core.keys() {
                state.close_gracefully(now, key, CloseCode::Shutdown);
            }
            offers
        });
        for offer in unanswered {
            drop(Incoming::unanswered(self.handle.clone(), offer));
        }
    }

    fn close_all(&self) {
        let now = self.handle.now();
        self.handle.shared().with(|state| {
            for key in state.core.keys() {
                state.core.close(now, key, close_code::DONE);
            }
        });
    }

    /// Waits until `done`, at most `limit`. The driver wakes it after each round.
    async fn wait_until(&self, limit: Duration, done: impl Fn(&crate::state::State) -> bool) {
        let shared = self.handle.shared();
        let finished = async {
            loop {
                let quiet = shared.quiet.notified();
                tokio::pin!(quiet);
                quiet.as_mut().enable();
                if done(&shared.lock()) {
                    return;
                }
                quiet.await;
            }
        };
        // Running out of time is an expected outcome: what is left is cut by the caller.
        let _ = tokio::time::timeout(limit, finished).await;
    }
}
