//! `dvpn PEER`: joins a server's network, stays in it, and joins its other clients directly.

pub(crate) mod mesh;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use dhtnet::{Channel, ChannelKind, ChannelRequest, DeviceId, RecvHalf};
use dhtnet_cli::node::{channel_failure, connect_failure};
use dhtnet_cli::{ExitCode, Failure, Peer};
use dhtnet_identity::peer_address::MAX_HINTS;
use dhtnet_identity::target::Network;
use dhtnet_vpn_core::control::{self, Join, MAX_ADDRESSES, MAX_ROUTES, Message, Welcome};
use tokio::sync::mpsc;

use self::mesh::Mesh;
use crate::configuration::domain;
use crate::link::{LinkKey, Reach};
use crate::plan::network_of;
use crate::roster::Person;
use crate::session::{CarryError, JOIN_CHANNEL, PACKET_CHANNEL, Session, another_policy, hear};
use crate::settings::is_private;

/// The first wait after a connection was lost.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The longest wait: a server that is back is found within a quarter of a minute.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// How long the server may take to say what we have, after it has accepted.
const WELCOME_LIMIT: Duration = Duration::from_secs(10);

/// What a server gave, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Given {
    /// Our IPv4 address, and the length of the network's prefix.
    pub(crate) ipv4: Option<(Ipv4Addr, u8)>,
    /// The server's own, in the same network.
    pub(crate) server_ipv4: Option<Ipv4Addr>,
    /// Networks behind the server that we let it have.
    pub(crate) routes: Vec<Network>,
    /// Networks behind its other clients.
    pub(crate) peer_routes: Vec<Network>,
    pub(crate) dns: Vec<IpAddr>,
    pub(crate) domains: Vec<String>,
}

impl Given {
    /// Our address, and the length of its network's prefix.
    pub(crate) fn address(&self) -> Option<(IpAddr, u8)> {
        self.ipv4.map(|(v4, len)| (v4.into(), len))
    }

    /// Networks behind the server and behind its other clients.
    pub(crate) fn all_routes(&self) -> impl Iterator<Item = Network> {
        self.routes.iter().chain(&self.peer_routes).copied()
    }

    /// The network that our address is in.
    fn network(&self) -> Option<Network> {
        let (address, len) = self.ipv4?;
        network_of(address.into(), len)
    }
}

/// Why a client takes part no more, other than by a failure.
enum Parted {
    /// The server has ended it.
    ByServer,
    /// It offers other networks than it has told the server of.
    ToJoinAnew,
}

/// What a client does about a server that it has not reached yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstTry {
    /// Its failure ends the tool.
    Counts,
    /// It is repeated.
    Again,
}

/// Stays in the network of one server.
pub(crate) struct Client {
    pub(crate) session: Arc<Session>,
    pub(crate) server: Peer,
    /// Which server of the command line it is.
    pub(crate) number: usize,
    /// Told of what the server gives.
    pub(crate) given: mpsc::Sender<(usize, Given)>,
}

impl Client {
    /// Joins, and joins again whenever the connection is lost; ends only by a failure that a person
    /// has to change, or when the first try counts and fails.
    pub(crate) async fn run(self, first: FirstTry) -> Failure {
        let (mut wait, mut was_in) = (FIRST_WAIT, first == FirstTry::Again);
        // What the user was told last, as long as it is so.
        let mut told = None;
        loop {
            let mut joined = false;
            let failure = match self.take_part((&mut joined, told.is_some())).await {
                Ok(Parted::ToJoinAnew) => {
                    told = None;
                    continue;
                }
                Ok(Parted::ByServer) => {
                    Failure::failed(format!("{} ended the connection", self.server))
                }
                Err(failure) => failure,
            };
            was_in |= joined;
            if !was_in || !may_pass(&failure) {
                return failure;
            }
            if joined {
                (wait, told) = (FIRST_WAIT, None);
            }
            let talk = &self.session.talk;
            let seconds = wait.as_secs_f64();
            let text = failure.to_string();
            match told.as_ref() == Some(&text) {
                true => talk.detail(format_args!("{text}; trying again in {seconds:.1} s")),
                false => talk.warn(format_args!(
                    "{text}; trying again, from {seconds:.1} s on at growing intervals"
                )),
            }
            told = Some(text);
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Joins once and takes part until the connection ends.
    async fn take_part(
        &self,
        (joined, is_waited_for): (&mut bool, bool),
    ) -> Result<Parted, Failure> {
        let request = ChannelRequest::stream(JOIN_CHANNEL).metadata(self.join().encode());
        let control = self.open(request).await?;
        // Held open: its end says that we leave.
        let (_send, mut recv) = control.split();
        let welcome = tokio::time::timeout(WELCOME_LIMIT, hear(&mut recv)).await;
        let welcome = match welcome {
            Ok(Ok(Some(Message::Welcome(welcome)))) => welcome,
            Ok(Err(error)) => return Err(self.lost(&error)),
            _ => {
                return Err(
                    Failure::failed(format!("{} does not say what to use", self.server))
                        .advise("check that both sides run a current version"),
                );
            }
        };
        let given = self.check(&welcome);
        // The receiver goes with the tool.
        let _ = self.given.send((self.number, given.clone())).await;
        let packets = self.open(ChannelRequest::datagrams(PACKET_CHANNEL)).await?;
        *joined = true;
        if is_waited_for {
            let server = &self.server;
            self.session
                .talk
                .note(format_args!("{server} is there again"));
        }
        self.carry(packets, &mut recv, (welcome, given)).await
    }

    async fn carry(
        &self,
        packets: Channel,
        recv: &mut RecvHalf,
        (welcome, given): (Welcome, Given),
    ) -> Result<Parted, Failure> {
        let session = &self.session;
        let networks = self.networks_of_server(&given);
        let (ready, link) = tokio::sync::oneshot::channel();
        let carrying = session.carry(Reach::Network, packets, &networks, |link| {
            let _ = ready.send(link.key);
        });
        // Hearing half a message must not end because something else happens.
        let (heard, messages) = mpsc::channel(1);
        let hearing = async {
            loop {
                match hear(recv).await {
                    // Who follows lives as long as this does.
                    Ok(Some(message)) => drop(heard.send(message).await),
                    Ok(None) => return None,
                    Err(error) => return Some(error),
                }
            }
        };
        let following = async {
            match link.await {
                Ok(key) => self.follow(key, messages, (welcome, given)).await,
                // It was not added, which the carrying says.
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            carried = carrying => match carried {
                Ok(()) => Ok(Parted::ByServer),
                Err(CarryError::Channel(error)) => Err(self.lost(&error)),
                Err(error @ CarryError::Link(_)) => {
                    Err(Failure::failed(format!("cannot use {}: {error}", self.server)))
                }
            },
            ended = hearing => match ended {
                None => Ok(Parted::ByServer),
                Some(error) => Err(self.lost(&error)),
            },
            () = following => Ok(Parted::ToJoinAnew),
        }
    }

    /// Takes up what the server says and what the user wants anew. Ends when the server has to be
    /// told of it.
    async fn follow(
        &self,
        link: LinkKey,
        mut messages: mpsc::Receiver<Message>,
        (mut welcome, mut given): (Welcome, Given),
    ) {
        let session = &self.session;
        let server = self.server.address.id;
        let offered = session.settings().subnets.clone();
        let (mut wishes, mut events) = (session.wishes(), session.node.events());
        let mut mesh = Mesh::new(session.clone(), server);
        let mut peers = Vec::new();
        loop {
            mesh.use_network(given.network());
            session.roster.set(
                server,
                persons(&self.person(&given), given.network(), &peers),
            );
            session
                .engine
                .set_through_server(link, &mesh.networks(&peers));
            given.peer_routes = mesh.routes(&peers);
            let _ = self.given.send((self.number, given.clone())).await;
            mesh.update(peers.clone());
            tokio::select! {
                message = messages.recv() => match message {
                    Some(Message::Peers(new)) => {
                        peers = new;
                        continue;
                    }
                    Some(Message::Welcome(new)) => welcome = new,
                    // Something that only a later version knows.
                    Some(_) => continue,
                    None => return std::future::pending().await,
                },
                // Who may be reached directly is asked again.
                () = another_policy(&mut events) => continue,
                () = wishes.changed() => {
                    if session.settings().subnets != offered {
                        return;
                    }
                }
            }
            let before = std::mem::replace(&mut given, self.check(&welcome)).routes;
            self.tell_change(&before, &given.routes);
            let networks = self.networks_of_server(&given);
            session
                .engine
                .set_networks(&server, Reach::Network, &networks);
        }
    }

    /// Says what the server leads to that it did not before, and the other way round.
    fn tell_change(&self, before: &[Network], now: &[Network]) {
        let (talk, server) = (&self.session.talk, &self.server);
        for network in before.iter().filter(|one| !now.contains(one)) {
            talk.note(format_args!("{server} no longer leads to {network}"));
        }
        for network in now.iter().filter(|one| !before.contains(one)) {
            talk.note(format_args!("{server} leads to {network} now"));
        }
    }

    /// The server's addresses, and the networks behind it.
    fn networks_of_server(&self, given: &Given) -> Vec<Network> {
        let server = &self.server.address.id;
        let session = &self.session;
        session.networks_of(server, given.server_ipv4, &given.routes)
    }

    fn person(&self, given: &Given) -> (DeviceId, Person) {
        let person = Person {
            name: None,
            ipv4: given.server_ipv4,
            routes: given.routes.clone(),
        };
        (self.server.address.id, person)
    }

    fn join(&self) -> Join {
        let settings = self.session.settings();
        let hints = self.session.reachable_addresses();
        Join {
            network: settings.network.clone(),
            routes: settings
                .subnets
                .iter()
                .take(MAX_ROUTES)
                .copied()
                .map(Into::into)
                .collect(),
            hints: hints
                .into_iter()
                .take(MAX_ADDRESSES.min(MAX_HINTS))
                .collect(),
        }
    }

    async fn open(&self, request: ChannelRequest) -> Result<Channel, Failure> {
        let own = self.session.node.id();
        let opened = self.session.open(&self.server, request).await;
        opened.map_err(|error| connect_failure(&self.server, own, "the network", &error))
    }

    /// The words for a connection that was lost.
    fn lost(&self, error: &std::io::Error) -> Failure {
        channel_failure(&self.server, self.session.node.id(), "the network", error)
    }

    /// Takes of a server's words what the settings let it say.
    fn check(&self, welcome: &Welcome) -> Given {
        let settings = self.session.settings();
        let (session, server) = (&self.session, &self.server);
        let ipv4 = self.check_address(welcome);
        let network = ipv4.and_then(|(address, len)| network_of(address.into(), len));
        let is_inside =
            |v4: &Ipv4Addr| network.is_some_and(|network| network.contains((*v4).into()));
        let routes = welcome.routes.iter().filter_map(control::Route::network);
        let (mut routes, left): (Vec<Network>, Vec<Network>) =
            routes.partition(|network| settings.accepted.takes(network));
        for network in left.iter().filter(|network| network.prefix_len() > 0) {
            session.talk.warn(format_args!(
                "{server} announces {network}, which is not private and was not named; it is not used"
            ));
        }
        let taken = session.engine.taken(&server.address.id, &routes);
        for network in &taken {
            session.talk.warn(format_args!(
                "{server} announces {network}, which another server has; it is not used"
            ));
        }
        routes.retain(|network| !taken.contains(network));
        let (domains, others): (Vec<&String>, _) =
            welcome.domains.iter().partition(|name| domain(name));
        for name in others {
            session.talk.warn(format_args!(
                "{server} names the domain {name:?}, which is none; it is not used"
            ));
        }
        Given {
            ipv4,
            server_ipv4: welcome.server_ipv4.filter(is_inside),
            routes,
            peer_routes: Vec::new(),
            dns: welcome.dns.clone(),
            domains: domains.into_iter().cloned().collect(),
        }
    }

    /// The address that a server gives, if it is one to use.
    fn check_address(&self, welcome: &Welcome) -> Option<(Ipv4Addr, u8)> {
        let (session, server) = (&self.session, &self.server);
        let (address, len) = welcome.ipv4?;
        let network = network_of(address.into(), len)?;
        let settings = session.settings();
        if !is_private(&network) && !settings.accepted.takes(&network) {
            session.talk.warn(format_args!(
                "{server} gives {address}/{len}, which is not private; it is not used"
            ));
            return None;
        }
        match session.claim_pool(server.address.id, network) {
            Ok(()) => Some((address, len)),
            Err((pool, other)) => {
                session.talk.warn(format_args!(
                    "{server} gives addresses of {network}, and {} of {pool}: those of {server} are \
                     not used until one of the two has another [address] pool",
                    session.name(other)
                ));
                None
            }
        }
    }
}

/// A server and those that it lists. Of their IPv4 addresses, those in the server's network: others
/// are not reached through the tunnel.
fn persons(
    (id, server): &(DeviceId, Person),
    network: Option<Network>,
    peers: &[control::Peer],
) -> BTreeMap<DeviceId, Person> {
    let others = peers.iter().filter_map(|peer| {
        let routes = peer.routes.iter().filter_map(control::Route::network);
        let is_inside =
            |v4: &Ipv4Addr| network.is_some_and(|network| network.contains((*v4).into()));
        let person = Person {
            name: peer.name.clone(),
            ipv4: peer.ipv4.filter(is_inside),
            routes: routes.collect(),
        };
        Some((peer.id()?, person))
    });
    others.chain([(*id, server.clone())]).collect()
}

/// Whether the same may work later without anyone changing a command, a key or a policy. A peer
/// that refuses is asked again: who was revoked may be let in again.
fn may_pass(failure: &Failure) -> bool {
    !matches!(failure.code(), ExitCode::Usage | ExitCode::Identity)
}

/// Packets of other clients come on datagram channels only.
pub(crate) fn is_packet_channel(kind: ChannelKind) -> bool {
    kind == ChannelKind::Datagrams
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use dhtnet_identity::DeviceKey;
    use dhtnet_vpn_core::control::Way;

    use super::*;

    #[test]
    fn a_server_cannot_give_a_device_an_address_outside_the_tunnel() {
        let id = |seed: u8| DeviceKey::from_seed(&[seed; 32]).id();
        let peer = |seed: u8, ipv4: &str| control::Peer {
            id: *id(seed).as_bytes(),
            ipv4: Some(ipv4.parse().unwrap()),
            name: None,
            routes: Vec::new(),
            hints: Vec::new(),
            way: Way::Server,
        };
        let peers = [peer(2, "10.80.77.9"), peer(3, "192.0.2.9")];
        let server = (id(1), Person::default());
        let network = Some("10.80.77.0/24".parse().unwrap());
        let told = persons(&server, network, &peers);
        assert_eq!(told[&id(2)].ipv4, Some(Ipv4Addr::new(10, 80, 77, 9)));
        assert_eq!(told[&id(3)].ipv4, None);
        assert_eq!(persons(&server, None, &peers)[&id(2)].ipv4, None);
    }
}
