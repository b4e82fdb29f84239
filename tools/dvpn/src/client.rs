//! `dvpn PEER`: joins a server's network, stays in it, and joins its other clients directly.

pub(crate) mod mesh;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
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
use crate::link::Reach;
use crate::roster::Person;
use crate::session::{CarryError, JOIN_CHANNEL, PACKET_CHANNEL, Session, hear};
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
    /// Networks behind the server that we let it have.
    pub(crate) routes: Vec<Network>,
    /// Networks behind its other clients.
    pub(crate) peer_routes: Vec<Network>,
    pub(crate) dns: Vec<std::net::IpAddr>,
    pub(crate) domains: Vec<String>,
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
        loop {
            let mut joined = false;
            let failure = match self.take_part(&mut joined).await {
                Ok(()) => Failure::failed(format!("{} ended the connection", self.server)),
                Err(failure) => failure,
            };
            was_in |= joined;
            if !was_in || !may_pass(&failure) {
                return failure;
            }
            if joined {
                wait = FIRST_WAIT;
            }
            let seconds = wait.as_secs_f64();
            let talk = &self.session.talk;
            talk.warn(format_args!("{failure}; trying again in {seconds:.1} s"));
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Joins once and takes part until the connection ends.
    async fn take_part(&self, joined: &mut bool) -> Result<(), Failure> {
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
        self.carry(packets, &mut recv, (&given, welcome.server_ipv4))
            .await
    }

    async fn carry(
        &self,
        packets: Channel,
        recv: &mut RecvHalf,
        (given, server_ipv4): (&Given, Option<Ipv4Addr>),
    ) -> Result<(), Failure> {
        let session = &self.session;
        let server = self.server.address.id;
        let networks = session.networks_of(&server, server_ipv4, &given.routes);
        let own = Person {
            name: None,
            ipv4: server_ipv4,
            routes: given.routes.clone(),
        };
        let myself = (server, own);
        session.roster.set(server, persons(&myself, &[]));
        let (ready, link) = tokio::sync::oneshot::channel();
        let carrying = session.carry(Reach::Network, packets, &networks, |link| {
            let _ = ready.send(link.key);
        });
        let listening = async {
            let key = link.await.ok()?;
            let mut mesh = Mesh::new(session.clone(), server);
            let mut given = given.clone();
            loop {
                match hear(recv).await {
                    Ok(Some(Message::Peers(peers))) => {
                        let networks = mesh.networks(&peers);
                        session.roster.set(server, persons(&myself, &peers));
                        session.engine.set_through_server(key, &networks);
                        given.peer_routes = mesh.routes(&peers);
                        let _ = self.given.send((self.number, given.clone())).await;
                        mesh.update(peers);
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(error) => return Some(error),
                }
            }
        };
        tokio::select! {
            carried = carrying => match carried {
                Ok(()) => Ok(()),
                Err(CarryError::Channel(error)) => Err(self.lost(&error)),
                Err(error @ CarryError::Link(_)) => {
                    Err(Failure::failed(format!("cannot use {}: {error}", self.server)))
                }
            },
            ended = listening => match ended {
                None => Ok(()),
                Some(error) => Err(self.lost(&error)),
            },
        }
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
        let talk = &self.session.talk;
        let ipv4 = welcome.ipv4.filter(|(address, len)| {
            let network = crate::plan::network_of((*address).into(), *len);
            let fits = network
                .is_some_and(|network| is_private(&network) || settings.accepted.takes(&network));
            if !fits {
                talk.warn(format_args!(
                    "{} gives {address}/{len}, which is not private; it is not used",
                    self.server
                ));
            }
            fits
        });
        let routes = welcome.routes.iter().filter_map(control::Route::network);
        let (taken, left): (Vec<Network>, Vec<Network>) =
            routes.partition(|network| settings.accepted.takes(network));
        for network in left.iter().filter(|network| network.prefix_len() > 0) {
            talk.warn(format_args!(
                "{} announces {network}, which is not private and was not named; it is not used",
                self.server
            ));
        }
        Given {
            ipv4,
            routes: taken,
            peer_routes: Vec::new(),
            dns: welcome.dns.clone(),
            domains: welcome.domains.clone(),
        }
    }
}

/// A server and those that it lists.
fn persons(
    (id, server): &(DeviceId, Person),
    peers: &[control::Peer],
) -> BTreeMap<DeviceId, Person> {
    let others = peers.iter().filter_map(|peer| {
        let routes = peer.routes.iter().filter_map(control::Route::network);
        let person = Person {
            name: peer.name.clone(),
            ipv4: peer.ipv4,
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
