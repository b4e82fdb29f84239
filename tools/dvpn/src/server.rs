//! `dvpn -l`: gives addresses, tells clients of each other, and carries between them.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use dhtnet::{Channel, ChannelKind, DeclineCode, DeclineReason, DeviceId, Incoming, RecvHalf};
use dhtnet_cli::{Failure, Peer};
use dhtnet_identity::policy::Action;
use dhtnet_identity::target::Network;
use dhtnet_vpn_core::control::{self, Join, MAX_PEERS, Message, Way, Welcome};
use dhtnet_vpn_core::pool::Pool;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::leases::LeaseFile;
use crate::link::Reach;
use crate::roster::Person;
use crate::session::{
    EXIT, JOIN_CHANNEL, PACKET_CHANNEL, ROUTE, Session, another_policy, cannot_listen, hear,
    joining, say,
};
use crate::settings::Exit;

/// Most clients; each is told of all others in one message.
pub(crate) const MAX_CLIENTS: usize = MAX_PEERS;

/// Gives out addresses, and knows who is here.
pub(crate) struct Server {
    session: Arc<Session>,
    state: Mutex<State>,
    /// Counts changes of the members.
    changes: watch::Sender<u64>,
    leases: LeaseFile,
}

struct State {
    pool: Option<Pool>,
    members: BTreeMap<DeviceId, Member>,
    joins: u64,
}

/// A client that is here.
#[derive(Debug, Clone)]
struct Member {
    /// Which of its joins this is: a newer one is not ended by an older one's end.
    join: u64,
    ipv4: Option<Ipv4Addr>,
    ipv6: Ipv6Addr,
    /// Networks that it wants to bring, at most `MAX_ROUTES` of the protocol.
    offered: Vec<Network>,
    /// Those of them that it may bring.
    routes: Vec<Network>,
    hints: Vec<SocketAddr>,
    reach: Reach,
}

impl Server {
    /// A server with the leases of the last time.
    pub(crate) fn new(session: Arc<Session>, pool: Option<Pool>, leases: LeaseFile) -> Self {
        Self {
            session,
            state: Mutex::new(State {
                pool,
                members: BTreeMap::new(),
                joins: 0,
            }),
            changes: watch::Sender::new(0),
            leases,
        }
    }

    /// Takes clients in; ends only when the node does.
    pub(crate) async fn run(self: Arc<Self>) -> Failure {
        let listen = |name: &'static str| {
            let action = self.session.join_action();
            self.session
                .node
                .listen_as(name, move |_| Ok(action.clone()))
        };
        let (mut joins, mut packets) = match (listen(JOIN_CHANNEL), listen(PACKET_CHANNEL)) {
            (Ok(joins), Ok(packets)) => (joins, packets),
            (Err(error), _) | (_, Err(error)) => return cannot_listen(error),
        };
        let mut tasks = JoinSet::new();
        let mut wishes = self.session.wishes();
        let mut events = self.session.node.events();
        loop {
            tokio::select! {
                () = wishes.changed() => self.reconsider(),
                () = another_policy(&mut events) => self.reconsider(),
                incoming = joins.accept() => match incoming {
                    Some(incoming) => {
                        tasks.spawn(self.clone().serve(incoming));
                    }
                    None => break,
                },
                incoming = packets.accept() => match incoming {
                    Some(incoming) => {
                        tasks.spawn(self.clone().carry(incoming));
                    }
                    None => break,
                },
                Some(_) = tasks.join_next() => {}
            }
        }
        Failure::failed("the node ended while serving")
    }

    async fn serve(self: Arc<Self>, incoming: Incoming) {
        let peer = self.session.name(incoming.peer());
        let admitted = match incoming.request().kind {
            ChannelKind::Stream => {
                joining(incoming.request()).and_then(|join| self.admit(&peer, join))
            }
            _ => Err(bad("the channel is of the wrong kind")),
        };
        let member = match admitted {
            Ok(member) => member,
            Err(reason) => {
                let talk = &self.session.talk;
                talk.warn(format_args!(
                    "{peer} was not taken in: {}",
                    reason.message()
                ));
                return incoming.decline(reason);
            }
        };
        let ipv4 = member
            .ipv4
            .map_or_else(String::new, |v4| format!("{v4} and "));
        let ipv6 = member.ipv6;
        self.session
            .talk
            .note(format_args!("{peer} has joined with {ipv4}{ipv6}"));
        let ended = self.attend(&peer, &member, incoming.accept()).await;
        if !self.leave(&peer.address.id, member.join) {
            // It has joined anew.
            return;
        }
        match ended {
            Ok(()) => self.session.talk.note(format_args!("{peer} has left")),
            Err(error) => self
                .session
                .talk
                .note(format_args!("{peer} is away: {error}")),
        }
    }

    /// Decides whether a device is taken in, and with what. `reconsider` asks again later.
    fn admit(&self, peer: &Peer, join: Join) -> Result<Member, DeclineReason> {
        let (settings, id) = (self.session.settings(), peer.address.id);
        if join.network != settings.network {
            let name = &settings.network;
            return Err(bad(&format!(
                "this is the network {name}, not {}",
                join.network
            )));
        }
        let ipv6 = settings.network.address_of(&id);
        let own = settings.network.address_of(&self.session.node.id());
        let mut state = self.state();
        let others = state.members.iter().filter(|(other, _)| **other != id);
        if own == ipv6 || others.clone().any(|(_, other)| other.ipv6 == ipv6) {
            return Err(bad(&format!(
                "another device has the address {ipv6}; make a new identity"
            )));
        }
        if others.count() >= MAX_CLIENTS {
            return Err(DeclineReason::new(DeclineCode::Busy, "too many devices"));
        }
        let offered = join.routes.iter().filter_map(control::Route::network);
        let offered: Vec<Network> = offered.collect();
        let (routes, reach) = (self.allowed_routes(&id, &offered), self.reach_of(&id));
        let now = SystemTime::now();
        let here: Vec<DeviceId> = state.members.keys().copied().collect();
        let ipv4 = match &mut state.pool {
            Some(pool) => {
                let lease = pool.lease(now, id, |other| here.contains(other));
                let busy = |error: dhtnet_vpn_core::pool::PoolError| {
                    DeclineReason::new(DeclineCode::Busy, error.to_string())
                };
                Some(lease.map_err(busy)?)
            }
            None => None,
        };
        state.joins += 1;
        let member = Member {
            join: state.joins,
            ipv4,
            ipv6,
            offered,
            routes,
            hints: join.hints,
            reach,
        };
        state.members.insert(id, member.clone());
        self.save(&state);
        drop(state);
        self.changed();
        Ok(member)
    }

    /// Asks again what each client may bring and reach, and tells all of them what they have now.
    fn reconsider(&self) {
        let mut state = self.state();
        for (id, member) in &mut state.members {
            let routes = self.allowed_routes(id, &member.offered);
            let reach = self.reach_of(id);
            if (&routes, reach) == (&member.routes, member.reach) {
                continue;
            }
            self.tell_change(id, member, (&routes, reach));
            (member.routes, member.reach) = (routes, reach);
            let networks = self.session.networks_of(id, member.ipv4, &member.routes);
            self.session.engine.set_networks(id, reach, &networks);
        }
        drop(state);
        self.changed();
    }

    /// Says what a client may that it might not before, and the other way round.
    fn tell_change(&self, id: &DeviceId, before: &Member, (routes, reach): (&[Network], Reach)) {
        let (session, peer) = (&self.session, self.session.name(*id));
        let note = |what: String| session.talk.note(format_args!("{peer} {what}"));
        for network in before.routes.iter().filter(|one| !routes.contains(one)) {
            note(format!("may no longer bring {network}"));
        }
        for network in routes.iter().filter(|one| !before.routes.contains(one)) {
            note(format!("may bring {network} now"));
        }
        match (before.reach, reach) {
            (Reach::Everywhere, Reach::Network) => note("may no longer use the exit".to_owned()),
            (Reach::Network, Reach::Everywhere) => note("may use the exit now".to_owned()),
            _ => {}
        }
    }

    /// Of the networks that a device offers, those that it may bring.
    fn allowed_routes(&self, id: &DeviceId, offered: &[Network]) -> Vec<Network> {
        let offered = offered.iter().copied();
        offered
            .filter(|network| self.may_bring(id, network))
            .collect()
    }

    /// Where a device's packets may go.
    fn reach_of(&self, id: &DeviceId) -> Reach {
        let may_exit = || {
            let decision = self.session.node.decide(id, &Action::new(EXIT));
            decision.is_allowed()
        };
        match self.session.settings().exit {
            Exit::Yes if may_exit() => Reach::Everywhere,
            _ => Reach::Network,
        }
    }

    /// Whether a device may bring this network. What overlaps the network's own addresses may not.
    fn may_bring(&self, id: &DeviceId, network: &Network) -> bool {
        let settings = self.session.settings();
        let overlaps = settings
            .pool
            .is_some_and(|pool| pool.includes(network) || network.includes(&pool));
        let own = settings.network.prefix();
        let in_own = network.address().is_ipv6() && network.contains(own.into())
            || network.address() == std::net::IpAddr::V6(own);
        let text = network.to_string();
        let action = Action::with(ROUTE, &text);
        !overlaps && !in_own && self.session.node.decide(id, &action).is_allowed()
    }

    /// Tells a client what it has and who the others are, and again whenever that changes.
    async fn attend(&self, peer: &Peer, member: &Member, channel: Channel) -> std::io::Result<()> {
        let (mut send, mut recv) = channel.split();
        let mut changes = self.changes.subscribe();
        let id = &peer.address.id;
        // Of the list, which is as long as there are clients, each of them keeps a mark only.
        let (marks, mut welcomed, mut listed) = (RandomState::new(), None, None);
        let mut ended = std::pin::pin!(until_end(&mut recv));
        loop {
            let now = self.state().members.get(id).cloned();
            let Some(now) = now.filter(|now| now.join == member.join) else {
                // It has joined anew, and that one is told.
                return Ok(());
            };
            let welcome = self.welcome(&now);
            if welcomed.as_ref() != Some(&welcome) {
                say(&mut send, &Message::Welcome(welcome.clone())).await?;
                welcomed = Some(welcome);
            }
            let list = fitting(self.peers_for(id))?;
            let mark = marks.hash_one(&list);
            if listed != Some(mark) {
                send.write_chunk(list).await?;
                listed = Some(mark);
            }
            tokio::select! {
                ended = &mut ended => return ended,
                _ = changes.changed() => {}
            }
        }
    }

    fn welcome(&self, member: &Member) -> Welcome {
        let settings = self.session.settings();
        let state = self.state();
        let pool = state.pool.as_ref();
        let everything = ["0.0.0.0/0", "::/0"];
        let everything = everything
            .iter()
            .filter_map(|text| text.parse::<Network>().ok());
        let exits = everything.filter(|_| member.reach == Reach::Everywhere);
        Welcome {
            ipv4: member
                .ipv4
                .zip(pool.map(|pool| pool.network().prefix_len())),
            server_ipv4: pool.map(Pool::own),
            routes: settings
                .subnets
                .iter()
                .copied()
                .chain(exits)
                .map(Into::into)
                .collect(),
            dns: settings
                .dns
                .iter()
                .flat_map(|dns| dns.servers.clone())
                .collect(),
            domains: settings
                .dns
                .iter()
                .flat_map(|dns| dns.domains.clone())
                .collect(),
        }
    }

    /// All others, as one client is told of them.
    fn peers_for(&self, id: &DeviceId) -> Vec<control::Peer> {
        let settings = self.session.settings();
        let Some(way) = settings.between.way() else {
            return Vec::new();
        };
        let contacts = self.session.contacts();
        let state = self.state();
        let others = state.members.iter().filter(|(other, _)| *other != id);
        let others = others.map(|(other, member)| control::Peer {
            id: *other.as_bytes(),
            ipv4: member.ipv4,
            name: settings
                .names
                .get(other)
                .or(contacts.alias_of(other))
                .map(ToString::to_string),
            routes: member.routes.iter().copied().map(Into::into).collect(),
            hints: match way {
                Way::Direct => member.hints.clone(),
                Way::Server => Vec::new(),
            },
            way,
        });
        others.collect()
    }

    /// Carries the packets of a device that has joined.
    async fn carry(self: Arc<Self>, incoming: Incoming) {
        let id = incoming.peer();
        let member = self.state().members.get(&id).cloned();
        let Some(member) = member else {
            return incoming.decline(bad("join first"));
        };
        if incoming.request().kind != ChannelKind::Datagrams {
            return incoming.decline(bad("the channel is of the wrong kind"));
        }
        let session = &self.session;
        let peer = session.name(id);
        let networks = session.networks_of(&id, member.ipv4, &member.routes);
        let carrying = session.carry(member.reach, incoming.accept(), &networks, |_| {
            // What it may have become another meanwhile.
            self.apply_rights(&id);
        });
        let why = tokio::select! {
            carried = carrying => match carried {
                Ok(()) => return,
                Err(error) => error.to_string(),
            },
            // Else its addresses could not be another's.
            () = self.absent(&id) => "it has left".to_owned(),
        };
        session
            .talk
            .detail(format_args!("no more packets of {peer}: {why}"));
    }

    /// Waits until a device is no member.
    async fn absent(&self, id: &DeviceId) {
        let mut changes = self.changes.subscribe();
        while self.state().members.contains_key(id) {
            // The sender lives as long as the server.
            let _ = changes.changed().await;
        }
    }

    /// Gives the link of a client what the client may have.
    fn apply_rights(&self, id: &DeviceId) {
        let state = self.state();
        if let Some(member) = state.members.get(id) {
            let networks = self.session.networks_of(id, member.ipv4, &member.routes);
            let engine = &self.session.engine;
            engine.set_networks(id, member.reach, &networks);
        }
    }

    /// Ends a membership. Returns whether it was still the one that counts.
    fn leave(&self, id: &DeviceId, join: u64) -> bool {
        let mut state = self.state();
        if state
            .members
            .get(id)
            .is_none_or(|member| member.join != join)
        {
            return false;
        }
        state.members.remove(id);
        if let Some(pool) = &mut state.pool {
            pool.on_left(SystemTime::now(), id);
        }
        self.save(&state);
        drop(state);
        self.changed();
        true
    }

    /// Told when somebody comes or goes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Networks behind those who are here.
    pub(crate) fn routes(&self) -> Vec<Network> {
        let state = self.state();
        let routes = state.members.values().flat_map(|member| &member.routes);
        routes.copied().collect()
    }

    fn changed(&self) {
        let members = self.state().members.clone();
        let person = |member: Member| Person {
            name: None,
            ipv4: member.ipv4,
            routes: member.routes,
        };
        let persons = members.into_iter().map(|(id, member)| (id, person(member)));
        let own = self.session.node.id();
        self.session.roster.set(own, persons.collect());
        self.changes.send_modify(|count| *count += 1);
    }

    fn save(&self, state: &State) {
        if let Some(pool) = &state.pool
            && let Err(failure) = self.leases.save(pool)
        {
            self.session.talk.warn(failure);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until the client ends its stream. What a later version may say on it is passed over.
async fn until_end(recv: &mut RecvHalf) -> std::io::Result<()> {
    while hear(recv).await?.is_some() {}
    Ok(())
}

/// The list as one message. Where many bring many networks, the addresses are left out, which
/// are also found otherwise, and then networks of those that bring the most.
fn fitting(mut peers: Vec<control::Peer>) -> std::io::Result<Bytes> {
    let encoded = |peers: &[control::Peer]| Message::Peers(peers.to_vec()).encode();
    let mut message = encoded(&peers);
    if message.is_none() {
        for peer in &mut peers {
            peer.hints.clear();
        }
        message = encoded(&peers);
    }
    while message.is_none()
        && let Some(most) = peers.iter_mut().max_by_key(|peer| peer.routes.len())
        && !most.routes.is_empty()
    {
        most.routes.truncate(most.routes.len() / 2);
        tracing::warn!("clients bring more networks than one message holds");
        message = encoded(&peers);
    }
    let message = message.ok_or_else(|| std::io::Error::other("a list that is too long"))?;
    Ok(message.into())
}

fn bad(why: &str) -> DeclineReason {
    DeclineReason::new(DeclineCode::BadRequest, why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use dhtnet_vpn_core::control::{LENGTH, MAX_ADDRESSES, MAX_ROUTES, Route};

    use super::*;

    /// The list that a client reads.
    fn told(peers: Vec<control::Peer>) -> Vec<control::Peer> {
        match Message::decode(&fitting(peers).unwrap()[LENGTH..]).unwrap() {
            Message::Peers(peers) => peers,
            _ => panic!("another message"),
        }
    }

    #[test]
    fn the_list_of_as_many_clients_as_there_may_be_fits_into_a_message_whatever_they_bring() {
        let route = Route::from("fd00:1:2::/48".parse::<Network>().unwrap());
        let hint = "[2001:db8:1:2:3:4:5:6]:65535".parse().unwrap();
        let peer = |number: u8| control::Peer {
            id: [number; 32],
            ipv4: Some(Ipv4Addr::new(10, 80, 77, number)),
            name: Some("n".repeat(64)),
            routes: vec![route; MAX_ROUTES],
            hints: vec![hint; MAX_ADDRESSES],
            way: Way::Direct,
        };
        let few: Vec<_> = (0..3).map(peer).collect();
        assert_eq!(told(few.clone()), few);
        let all: Vec<_> = (0..=u8::MAX).map(peer).collect();
        assert_eq!(all.len(), MAX_CLIENTS);
        assert_eq!(told(all).len(), MAX_CLIENTS);
    }
}
