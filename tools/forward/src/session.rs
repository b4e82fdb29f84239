//! What all plans share: the node, the peers, the words.

use std::time::{Duration, Instant};

use dhtnet::{ChannelError, ChannelRequest, ConnectOptions, ConnectionReport, EndReason, Node};
use dhtnet_cli::failure::chain;
use dhtnet_cli::flags::{NetworkFlags, ServiceName};
use dhtnet_cli::node::{Role, channel_failure, connect_failure};
use dhtnet_cli::own_identity::resolve_peer;
use dhtnet_cli::services::Claim;
use dhtnet_cli::{Failure, Home, Peer, Talk};
use dhtnet_identity::peer_address::MAX_HINTS;
use dhtnet_identity::policy::Policy;
use dhtnet_identity::target::Target;
use dhtnet_identity::{Contacts, DeviceId, DeviceKey, PeerAddress, PeerArgument};

use crate::give_up::GiveUp;
use crate::join::JoinError;
use crate::report::Report;

/// What the channels of a tool are called, and which actions the policy is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// The channel to a target behind a peer; the metadata is the target's text form.
    pub target: &'static str,
    /// The action for [`Names::target`]; its parameter is the target.
    pub target_action: &'static str,
    /// A place where the peer listens for this device, held as long as the channel lives; the
    /// metadata is the place as a target's text form.
    pub bind: &'static str,
    /// The action for [`Names::bind`]; its parameter is the place.
    pub bind_action: &'static str,
    /// A connection that came to a place held by [`Names::bind`], opened by the holder of the place
    /// on the same connection; the metadata is the place.
    pub reverse: &'static str,
    /// A channel that nobody accepts: the answer shows that the peer is there.
    pub probe: &'static str,
}

/// What a tool opens its session with, beside the key and the policy.
#[derive(Debug)]
pub struct Opening<'a> {
    /// How the network is used.
    pub network: &'a NetworkFlags,
    /// Where the device keeps things.
    pub home: &'a Home,
    /// What the node is for.
    pub role: Role,
    /// What it is found as if it listens (the first), and what it looks for if it calls.
    pub services: &'a [&'a str],
    /// What the tool's channels are called.
    pub names: Names,
    /// Events of `--json`.
    pub report: Report,
}

/// A node with the user's contacts and the way to tell the user something.
pub struct Session {
    /// This device on the network.
    pub node: Node,
    /// Names of peers.
    pub contacts: Contacts,
    /// Lines on stderr.
    pub talk: Talk,
    /// How long connecting may take.
    pub connect_limit: Duration,
    /// Events of `--json`.
    pub report: Report,
    /// What the tool's channels are called.
    pub names: Names,
    /// What `--service` named: peers have to name it too.
    pub service: Option<ServiceName>,
    /// Nothing else listens as this meanwhile.
    _claim: Claim,
}

impl Session {
    /// Opens the node, as the only one that listens as this service with this identity.
    ///
    /// # Errors
    /// Those of [`NetworkFlags::claim`] and [`NetworkFlags::open_node`].
    pub async fn start(
        opening: Opening<'_>,
        (key, policy): (DeviceKey, Policy),
        contacts: Contacts,
        talk: &Talk,
    ) -> Result<Self, Failure> {
        let Opening { network, home, .. } = opening;
        let services = network.services(opening.services);
        let own = key.id();
        let claim = network.claim(services.first(), &own, (home, opening.role));
        let claim = claim.await?;
        let place = (home, opening.role, services.as_slice());
        Ok(Self {
            node: network.open_node(key, policy, place).await?,
            contacts,
            talk: talk.clone(),
            connect_limit: network.connect_limit(),
            report: opening.report,
            names: opening.names,
            service: network.service.clone(),
            _claim: claim,
        })
    }

    /// The peer that the user named.
    pub fn resolve(&self, argument: &PeerArgument) -> Result<Peer, Failure> {
        resolve_peer(&self.contacts, argument)
    }

    /// A peer that came by itself.
    pub fn name(&self, id: DeviceId) -> Peer {
        let name = self.contacts.alias_of(&id).map(ToString::to_string);
        Peer {
            address: PeerAddress::from(id),
            name,
        }
    }

    /// The command with which a peer connects to this device. The addresses of the moment stand in
    /// it, so that it works where nothing can be looked up; the id alone is enough where it can.
    pub fn peer_command(&self, rest: &str) -> String {
        let hints = self
            .node
            .reachable_addresses()
            .into_iter()
            .take(MAX_HINTS)
            .collect();
        let address = PeerAddress {
            id: self.node.id(),
            hints,
        };
        let named = self.service.as_ref();
        let service = named.map_or(String::new(), |name| format!("--service {name} "));
        format!("{} {service}{address}{rest}", self.talk.tool())
    }

    /// The request for a channel to `target`.
    pub fn target_request(&self, target: &Target) -> ChannelRequest {
        let request = match target {
            Target::Udp { .. } => ChannelRequest::datagrams(self.names.target),
            _ => ChannelRequest::stream(self.names.target),
        };
        request.metadata(target.to_string())
    }

    /// Opens a channel within the user's time limit, and says with `-v` by which way.
    pub async fn connect(
        &self,
        peer: &Peer,
        request: ChannelRequest,
    ) -> Result<dhtnet::Channel, dhtnet::ConnectError> {
        let begun = Instant::now();
        let channel = self.open(peer, request).await?;
        self.tell_path(peer, channel.connection().as_ref(), begun.elapsed());
        Ok(channel)
    }

    /// Opens a channel within the user's time limit, and tells nothing.
    pub async fn open(
        &self,
        peer: &Peer,
        request: ChannelRequest,
    ) -> Result<dhtnet::Channel, dhtnet::ConnectError> {
        let options = ConnectOptions::default().timeout(self.connect_limit);
        self.node
            .connect_with(&peer.address, request, options)
            .await
    }

    /// Says, with `-v`, by which way a peer is reached.
    pub fn tell_path(&self, peer: &Peer, connection: Option<&ConnectionReport>, took: Duration) {
        if let Some(path) = connection.and_then(|connection| connection.path) {
            self.talk.detail(format_args!(
                "connected to {peer} via {} {} in {} ms",
                path.kind.as_str(),
                path.remote,
                took.as_millis()
            ));
        }
    }

    /// The words for a connect that failed.
    pub fn connect_failure(
        &self,
        peer: &Peer,
        asked: &str,
        error: &dhtnet::ConnectError,
    ) -> Failure {
        connect_failure(peer, self.node.id(), asked, error)
    }

    /// The words for a join of stdin and stdout that failed.
    pub fn stdio_failure(&self, peer: &Peer, error: &JoinError) -> Failure {
        match error {
            JoinError::Input(cause) => Failure::failed(format!("cannot read stdin: {cause}"))
                .advise(format!("{peer} was told that the data is incomplete")),
            JoinError::Output(cause) => Failure::failed(format!("cannot write to stdout: {cause}"))
                .advise(format!("{peer} was told that the data did not arrive")),
            JoinError::Channel(cause) => self.cut_failure(peer, &asked(None), cause),
        }
    }

    /// The words for a channel that ended too early.
    fn cut_failure(&self, peer: &Peer, asked: &str, cause: &std::io::Error) -> Failure {
        let failed = || channel_failure(peer, self.node.id(), asked, cause);
        match ChannelError::from_io(cause) {
            Some(ChannelError::Reset(code) | ChannelError::Stopped(code)) => {
                Failure::failed(format!(
                    "{peer} ended the transfer early: {}",
                    GiveUp::describe(*code)
                ))
                .advise("the data is incomplete; see the messages there")
            }
            Some(ChannelError::ConnectionLost(EndReason::Closed)) => Failure::failed(format!(
                "{peer} closed the connection before the transfer was complete"
            ))
            .advise("the data is incomplete; see the messages there"),
            Some(ChannelError::ConnectionLost(EndReason::NoLongerAllowed)) => Failure::failed(
                format!("cut off {peer}: the policy here no longer allows it"),
            )
            .advise("the data is incomplete"),
            Some(ChannelError::ConnectionLost(EndReason::Refused)) => failed(),
            Some(ChannelError::ConnectionLost(_)) => {
                failed().advise("the transfer was cut off; check that the peer is still running")
            }
            _ => failed(),
        }
    }

    /// Why a forwarded connection ended early, in a few words.
    pub fn forward_trouble(&self, peer: &Peer, asked: &str, error: &JoinError) -> String {
        match error {
            JoinError::Channel(cause) => self.cut_failure(peer, asked, cause).to_string(),
            local => chain(local),
        }
    }
}

/// What was asked of a peer, in the user's words.
pub fn asked(target: Option<&Target>) -> String {
    target.map_or_else(|| "a pipe".to_owned(), ToString::to_string)
}
