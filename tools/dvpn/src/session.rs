//! What server and clients share: the node, the engine, the words.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dhtnet::{
    Channel, ChannelRequest, ConnectError, ConnectOptions, DeclineCode, DeclineReason, Event,
    Events, Node, RecvHalf, SendHalf,
};
use dhtnet_cli::{Failure, Peer, Talk};
use dhtnet_identity::peer_address::MAX_HINTS;
use dhtnet_identity::policy::OwnedAction;
use dhtnet_identity::target::Network;
use dhtnet_identity::{Contacts, DeviceId, PeerAddress};
use dhtnet_vpn_core::control::{self, ControlError, Join, Message};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::mesh::Listed;
use crate::engine::{Engine, LinkError};
use crate::link::{Link, Reach};
use crate::roster::Roster;
use crate::settings::Settings;

/// The channel on which a device takes part: a stream, opened with a [`Join`] as its metadata.
pub(crate) const JOIN_CHANNEL: &str = "dvpn.join";

/// The channel of packets: datagrams, opened by a device that has joined.
pub(crate) const PACKET_CHANNEL: &str = "dvpn.packets";

/// The action that the policy is asked about for both; its parameter is the network's name.
pub(crate) const JOIN: &str = "dvpn.join";

/// The action of bringing a network.
pub(crate) const ROUTE: &str = "dvpn.route";

/// The action of using the server as an exit.
pub(crate) const EXIT: &str = "dvpn.exit";

/// A node in a network.
pub(crate) struct Session {
    pub(crate) node: Node,
    pub(crate) engine: Arc<Engine>,
    pub(crate) talk: Talk,
    pub(crate) connect_limit: Duration,
    pub(crate) roster: Roster,
    pub(crate) started: Instant,
    wanted: watch::Sender<Wanted>,
    listed: Mutex<Listed>,
    shown: Mutex<Shown>,
    pools: Mutex<BTreeMap<DeviceId, Network>>,
}

/// What the user's files say.
struct Wanted {
    settings: Arc<Settings>,
    contacts: Arc<Contacts>,
}

/// What the system was made like, for the status.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    pub(crate) role: &'static str,
    pub(crate) addresses: Vec<(IpAddr, u8)>,
    pub(crate) mtu: u16,
    pub(crate) routes: Vec<Network>,
}

impl Session {
    pub(crate) fn new(
        (node, connect_limit): (Node, Duration),
        engine: Arc<Engine>,
        (contacts, talk): (Contacts, Talk),
        settings: Settings,
    ) -> Self {
        Self {
            node,
            engine,
            talk,
            connect_limit,
            roster: Roster::default(),
            started: Instant::now(),
            wanted: watch::Sender::new(Wanted {
                settings: Arc::new(settings),
                contacts: Arc::new(contacts),
            }),
            listed: Mutex::default(),
            shown: Mutex::default(),
            pools: Mutex::default(),
        }
    }

    /// What the user wants now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.wanted.borrow().settings.clone()
    }

    /// The user's own names of peers.
    pub(crate) fn contacts(&self) -> Arc<Contacts> {
        self.wanted.borrow().contacts.clone()
    }

    /// The user wants something else from now on.
    pub(crate) fn want(&self, settings: Arc<Settings>, contacts: Arc<Contacts>) {
        self.wanted.send_replace(Wanted { settings, contacts });
    }

    /// Told when the user wants something else.
    pub(crate) fn wishes(&self) -> Wishes {
        Wishes(self.wanted.subscribe())
    }

    /// Takes the IPv4 network that a server gives addresses of, unless another server has one that
    /// overlaps.
    ///
    /// # Errors
    /// That network and its server.
    pub(crate) fn claim_pool(
        &self,
        server: DeviceId,
        network: Network,
    ) -> Result<(), (Network, DeviceId)> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let mut others = pools.iter().filter(|(other, _)| **other != server);
        let overlaps = |pool: &Network| pool.includes(&network) || network.includes(pool);
        if let Some((other, pool)) = others.find(|(_, pool)| overlaps(pool)) {
            return Err((*pool, *other));
        }
        pools.insert(server, network);
        Ok(())
    }

    /// What the system was last made like.
    pub(crate) fn shown(&self) -> Shown {
        self.lock_shown().clone()
    }

    pub(crate) fn show(&self, shown: Shown) {
        *self.lock_shown() = shown;
    }

    fn lock_shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other clients that servers have listed.
    pub(crate) fn listed(&self) -> MutexGuard<'_, Listed> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A peer that came by itself.
    pub(crate) fn name(&self, id: DeviceId) -> Peer {
        Peer {
            address: PeerAddress::from(id),
            name: self.contacts().alias_of(&id).map(ToString::to_string),
        }
    }

    pub(crate) async fn open(
        &self,
        peer: &Peer,
        request: ChannelRequest,
    ) -> Result<Channel, ConnectError> {
        let options = ConnectOptions::default().timeout(self.connect_limit);
        self.node
            .connect_with(&peer.address, request, options)
            .await
    }

    /// Where this device may be reached, outside the tunnel: inside it nobody gets to the tunnel.
    pub(crate) fn reachable_addresses(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        let inside = self.shown().addresses;
        let all = self.node.reachable_addresses().into_iter();
        all.filter(move |address| !inside.iter().any(|(own, _)| *own == address.ip()))
    }

    /// The question to the policy whether a peer may take part.
    pub(crate) fn join_action(&self) -> OwnedAction {
        OwnedAction::with(JOIN, self.settings().network.to_string())
    }

    /// The networks of one device: its addresses, and those behind it.
    pub(crate) fn networks_of(
        &self,
        id: &DeviceId,
        ipv4: Option<std::net::Ipv4Addr>,
        routes: &[Network],
    ) -> Vec<Network> {
        let v6 = self.settings().network.address_of(id).to_string();
        let addresses = [Some(v6), ipv4.map(|v4| v4.to_string())];
        let addresses = addresses.into_iter().flatten();
        let mut networks: Vec<Network> = addresses.filter_map(|text| text.parse().ok()).collect();
        networks.extend_from_slice(routes);
        networks
    }

    /// Carries packets over a channel until it ends.
    pub(crate) async fn carry(
        &self,
        reach: Reach,
        channel: Channel,
        networks: &[Network],
        joined: impl FnOnce(&Link),
    ) -> Result<(), CarryError> {
        let link = self.engine.add_link(reach, channel, networks)?;
        let guard = LinkGuard {
            engine: &self.engine,
            link: &link,
        };
        joined(&link);
        // A task of its own, so that a packet wakes this and nothing else; it ends with this call.
        let mut incoming = JoinSet::new();
        let (engine, carried) = (self.engine.clone(), link.clone());
        incoming.spawn(async move { engine.run_incoming(&carried).await });
        tokio::select! {
            Some(ended) = incoming.join_next() => Ok(ended.map_err(std::io::Error::other)??),
            () = guard.link.run_backlog() => Ok(()),
        }
    }
}

/// Wakes who follows what the user wants.
pub(crate) struct Wishes(watch::Receiver<Wanted>);

impl Wishes {
    /// Waits for the next change. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The session has ended, and with it who waits.
            std::future::pending::<()>().await;
        }
    }
}

/// Takes a link out when whatever carries it ends, or is dropped.
struct LinkGuard<'l> {
    engine: &'l Engine,
    link: &'l Link,
}

impl Drop for LinkGuard<'_> {
    fn drop(&mut self) {
        self.engine.remove_link(self.link.key);
        self.link.close();
    }
}

/// Why packets are carried no more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CarryError {
    /// They never were.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The channel failed.
    #[error(transparent)]
    Channel(#[from] std::io::Error),
}

/// Sends a message on a control stream.
pub(crate) async fn say(send: &mut SendHalf, message: &Message) -> std::io::Result<()> {
    let bytes = message
        .encode()
        .ok_or_else(|| std::io::Error::other("a message that is too long"))?;
    send.write_chunk(Bytes::from(bytes)).await
}

/// Waits until decisions of the policy may be others; for ever when the node is gone. Cancel-safe.
pub(crate) async fn another_policy(events: &mut Events) {
    let missed = events.missed();
    while let Some(event) = events.next().await {
        if event == Event::PolicyChanged || events.missed() > missed {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// The next message of a control stream; `None` at its end.
pub(crate) async fn hear(recv: &mut RecvHalf) -> std::io::Result<Option<Message>> {
    let mut length = [0; control::LENGTH];
    if recv.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    recv.read_exact(&mut length[1..]).await?;
    let length = Message::decode_length(length).map_err(std::io::Error::other)?;
    let mut body = vec![0; length];
    recv.read_exact(&mut body).await?;
    Message::decode(&body)
        .map(Some)
        .map_err(std::io::Error::other)
}

/// Reads the metadata of a request to join.
pub(crate) fn joining(request: &ChannelRequest) -> Result<Join, DeclineReason> {
    let bad = |error: ControlError| DeclineReason::new(DeclineCode::BadRequest, error.to_string());
    Join::decode(&request.metadata).map_err(bad)
}

/// The command with which a peer joins this device.
pub(crate) fn peer_command(session: &Session) -> String {
    let hints = session.reachable_addresses();
    let address = PeerAddress {
        id: session.node.id(),
        hints: hints.take(MAX_HINTS).collect(),
    };
    format!("dvpn {address}")
}

/// A failure of listening.
pub(crate) fn cannot_listen(error: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("cannot listen: {error}"))
}
