//! The other clients: a connection of its own to each, as long as the server lists it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use dhtnet::{ChannelRequest, DeclineCode, DeclineReason, DeviceId, Incoming};
use dhtnet_cli::{Failure, Peer};
use dhtnet_identity::target::Network;
use dhtnet_identity::{PeerAddress, peer_address::MAX_HINTS};
use dhtnet_vpn_core::control::{self, Way};
use tokio::task::{AbortHandle, JoinSet};

use crate::link::Reach;
use crate::session::{PACKET_CHANNEL, Session, cannot_listen};

/// Waits between tries to reach another client; packets go through the server meanwhile.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Devices that servers have listed and that may come directly, with their networks, by the server.
pub(crate) type Listed = BTreeMap<DeviceId, BTreeMap<DeviceId, Vec<Network>>>;

/// The connections to other clients of one server. They end with it.
pub(super) struct Mesh {
    session: Arc<Session>,
    server: DeviceId,
    /// The network that the server gives IPv4 addresses of.
    network: Option<Network>,
    tasks: JoinSet<()>,
    calls: BTreeMap<DeviceId, (control::Peer, AbortHandle)>,
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.session.listed().remove(&self.server);
    }
}

impl Mesh {
    pub(super) fn new(session: Arc<Session>, server: DeviceId) -> Self {
        Self {
            session,
            server,
            network: None,
            tasks: JoinSet::new(),
            calls: BTreeMap::new(),
        }
    }

    /// IPv4 addresses of the others count in this network alone.
    pub(super) fn use_network(&mut self, network: Option<Network>) {
        self.network = network;
    }

    /// The networks of all of them, which go through the server until they are reached directly.
    pub(super) fn networks(&self, peers: &[control::Peer]) -> Vec<Network> {
        let of_each = peers
            .iter()
            .filter_map(|peer| Some(self.networks_of(&peer.id()?, peer)));
        of_each.flatten().collect()
    }

    /// Networks behind them.
    pub(super) fn routes(&self, peers: &[control::Peer]) -> Vec<Network> {
        peers.iter().flat_map(|peer| self.routes_of(peer)).collect()
    }

    fn routes_of(&self, peer: &control::Peer) -> Vec<Network> {
        let accepted = &self.session.settings().accepted;
        let routes = peer.routes.iter().filter_map(control::Route::network);
        let routes = routes.filter(|net| net.prefix_len() > 0 && accepted.takes(net));
        routes.collect()
    }

    fn networks_of(&self, id: &DeviceId, peer: &control::Peer) -> Vec<Network> {
        let routes = self.routes_of(peer);
        let is_inside = |v4: &Ipv4Addr| {
            let network = self.network;
            network.is_some_and(|network| network.contains((*v4).into()))
        };
        let ipv4 = peer.ipv4.filter(is_inside);
        self.session.networks_of(id, ipv4, &routes)
    }

    /// Calls those that are new, and gives those up that are gone or that the policy here does not
    /// allow. Of two, the one with the lower id calls.
    pub(super) fn update(&mut self, peers: Vec<control::Peer>) {
        while self.tasks.try_join_next().is_some() {}
        let own = self.session.node.id();
        let direct = peers.into_iter().filter(|peer| peer.way == Way::Direct);
        let listed: BTreeMap<DeviceId, control::Peer> =
            direct.filter_map(|peer| Some((peer.id()?, peer))).collect();
        let networks = listed
            .iter()
            .map(|(id, peer)| (*id, self.networks_of(id, peer)));
        self.session
            .listed()
            .insert(self.server, networks.collect());
        let (node, action) = (&self.session.node, self.session.join_action());
        let may = |id: &DeviceId| node.decide(id, &action.as_action()).is_allowed();
        self.calls.retain(|id, (before, task)| {
            let stays = listed.get(id) == Some(before) && !task.is_finished() && may(id);
            if !stays {
                task.abort();
            }
            stays
        });
        for (id, peer) in listed {
            let called = self.calls.contains_key(&id) || id <= own;
            if called || !may(&id) {
                continue;
            }
            let networks = self.networks_of(&id, &peer);
            let call = call(self.session.clone(), id, (peer.clone(), networks));
            self.calls.insert(id, (peer, self.tasks.spawn(call)));
        }
    }
}

/// Keeps a connection to one other client.
async fn call(
    session: Arc<Session>,
    id: DeviceId,
    (listed, networks): (control::Peer, Vec<Network>),
) {
    let mut peer: Peer = session.name(id);
    peer.address = PeerAddress {
        id,
        hints: listed.hints.into_iter().take(MAX_HINTS).collect(),
    };
    let mut wait = FIRST_WAIT;
    loop {
        match session
            .open(&peer, ChannelRequest::datagrams(PACKET_CHANNEL))
            .await
        {
            Ok(channel) => {
                wait = FIRST_WAIT;
                session
                    .talk
                    .detail(format_args!("{peer} is reached directly"));
                let ended = session
                    .carry(Reach::Network, channel, &networks, |_| {})
                    .await;
                if let Err(error) = ended {
                    session.talk.detail(format_args!(
                        "{peer} is reached through the server: {error}"
                    ));
                }
            }
            Err(error) => {
                session
                    .talk
                    .detail(format_args!("{peer} is not reached directly: {error}"));
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Takes the calls of other clients; ends only when the node does.
pub(crate) async fn listen(session: Arc<Session>) -> Failure {
    let action = session.join_action();
    let listener = session
        .node
        .listen_as(PACKET_CHANNEL, move |_| Ok(action.clone()));
    let mut listener = match listener {
        Ok(listener) => listener,
        Err(error) => return cannot_listen(error),
    };
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            incoming = listener.accept() => match incoming {
                Some(incoming) => {
                    tasks.spawn(answer(session.clone(), incoming));
                }
                None => return Failure::failed("the node ended while listening"),
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

async fn answer(session: Arc<Session>, incoming: Incoming) {
    let id = incoming.peer();
    let networks = session
        .listed()
        .values()
        .find_map(|listed| listed.get(&id))
        .cloned();
    let is_packets = super::is_packet_channel(incoming.request().kind);
    let Some(networks) = networks.filter(|_| is_packets) else {
        let reason = DeclineReason::new(DeclineCode::BadRequest, "not a device of the network");
        return incoming.decline(reason);
    };
    let peer = session.name(id);
    session
        .talk
        .detail(format_args!("{peer} is reached directly"));
    let ended = session
        .carry(Reach::Network, incoming.accept(), &networks, |_| {})
        .await;
    if let Err(error) = ended {
        session.talk.detail(format_args!(
            "{peer} is reached through the server: {error}"
        ));
    }
}
