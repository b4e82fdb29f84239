//! From a peer's id to an open channel: look up, race the addresses, join what others began.

mod again;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dhtnet_channel_mux::{ChannelRequest, OpenError};
use dhtnet_identity::{DeviceId, PeerAddress};
use futures_util::StreamExt;
use futures_util::stream::SelectAll;
use tokio::sync::Notify;

pub(crate) use self::again::reach_again;
use crate::channel::{Channel, Held};
use crate::core::path::{PathAddress, Route};
use crate::core::{ChannelKey, ConnectionKey, DialError};
use crate::discovery::{Discovery, Lookup, OtherServices};
use crate::error::{ChannelError, ConnectError, ConnectStep, EndReason, close_code, unreachable};
use crate::interfaces::Tunnels;
use crate::node::{Handle, Node};
use crate::relays::finder::RelayFault;
use crate::state::{DialFailure, Shared};

/// Silence after which the addresses found so far are given up, when no source can give more. A
/// QUIC handshake repeats its first packet at growing intervals, five times within this.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// How often an attempt looks whether somebody still waits for it.
const WANTED_INTERVAL: Duration = Duration::from_secs(1);

/// Time after which other services of the peer are looked for, for the words of a failure. Most calls
/// are over before.
const BEFORE_OTHERS: Duration = Duration::from_secs(3);

/// How to connect; the default waits for the peer's answer, at most 30 s.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    timeout: Duration,
    early: bool,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            early: false,
        }
    }
}

impl ConnectOptions {
    /// The limit for everything together: looking up, connecting, the peer's answer. Default 30 s.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Whether to return as soon as the connection is up, without waiting for the peer's answer:
    /// saves one round trip. A decline then shows as the error of a read or write. Default no.
    #[must_use]
    pub fn early(mut self, early: bool) -> Self {
        self.early = early;
        self
    }
}

/// See [`Node::connect_with`].
pub(crate) async fn connect(
    node: &Node,
    peer: &PeerAddress,
    request: ChannelRequest,
    options: ConnectOptions,
) -> Result<Channel, ConnectError> {
    if peer.id == node.id() {
        return Err(ConnectError::SelfConnect);
    }
    request.validate()?;
    let begun = Instant::now();
    let work = async {
        // A connection can end between the look at the table and the open, or turn out to be one
        // that the peer has lost: then once more.
        let mut again = true;
        loop {
            let connection = connection_to(node, peer, begun).await?;
            match open(&node.handle, connection, peer.id, &request)? {
                Some(channel) if options.early => return Ok(channel),
                Some(channel) => match channel.answered().await {
                    Ok(()) => return Ok(channel),
                    Err(ChannelError::ConnectionLost(EndReason::PeerRestarted)) if again => {
                        again = false;
                    }
                    Err(error) => return Err(refused(peer.id, error)),
                },
                None if again => again = false,
                None => {
                    return Err(ConnectError::Lost {
                        peer: peer.id,
                        reason: EndReason::Closed,
                    });
                }
            }
        }
    };
    match tokio::time::timeout(options.timeout, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ran_out(node, peer, options.timeout)),
    }
}

/// What to say when the time is over: how far it had come.
fn ran_out(node: &Node, peer: &PeerAddress, after: Duration) -> ConnectError {
    let state = node.handle.shared().lock();
    if state.heard(&peer.id).is_some() {
        return ConnectError::TimedOut {
            peer: peer.id,
            step: ConnectStep::Open,
            after,
        };
    }
    unreachable(
        peer,
        (
            state.dials.addresses(&peer.id),
            state.dials.others(&peer.id),
        ),
        after,
        what_was_asked(node),
    )
}

/// The sources that were asked, and the relays that are no use.
fn what_was_asked(node: &Node) -> (Vec<&'static str>, Vec<RelayFault>) {
    let sources = node.parts.sources.iter();
    let names = sources.map(|source| source.name()).collect();
    (names, node.relay_faults())
}

fn refused(peer: DeviceId, error: ChannelError) -> ConnectError {
    match error {
        ChannelError::Declined(reason) => ConnectError::Declined { peer, reason },
        ChannelError::ConnectionLost(EndReason::Refused) => ConnectError::Refused { peer },
        ChannelError::ConnectionLost(reason) => ConnectError::Lost { peer, reason },
        _ => ConnectError::Lost {
            peer,
            reason: EndReason::Closed,
        },
    }
}

/// See [`SendHalf::open_beside`](crate::SendHalf::open_beside).
pub(crate) async fn open_beside(
    held: &Held,
    request: &ChannelRequest,
    options: ConnectOptions,
) -> Result<Channel, ConnectError> {
    request.validate()?;
    let peer = held.peer;
    let Some(channel) = open(&held.handle, held.key.connection, peer, request)? else {
        let reason = EndReason::Closed;
        return Err(ConnectError::Lost { peer, reason });
    };
    if options.early {
        return Ok(channel);
    }
    match tokio::time::timeout(options.timeout, channel.answered()).await {
        Ok(answered) => {
            answered.map_err(|error| refused(peer, error))?;
            Ok(channel)
        }
        Err(_) => Err(ConnectError::TimedOut {
            peer,
            step: ConnectStep::Open,
            after: options.timeout,
        }),
    }
}

/// Asks for the channel. `None` when the connection cannot take it any more.
fn open(
    handle: &Handle,
    connection: ConnectionKey,
    peer: DeviceId,
    request: &ChannelRequest,
) -> Result<Option<Channel>, ConnectError> {
    let handle = handle.clone();
    let now = handle.now();
    handle.shared().clone().with(|state| {
        let opened = state
            .core
            .with_mux(connection, |mux, link| mux.open(link, now, request.clone()));
        match opened {
            Some(Ok(channel)) => {
                let key = ChannelKey {
                    connection,
                    channel,
                };
                let held = Held::register(state, handle, key, peer, request.clone(), false);
                Ok(Some(Channel::new(held)))
            }
            None | Some(Err(OpenError::ShuttingDown | OpenError::ConnectionClosed)) => {
                state.peers.retire(&peer, connection);
                Ok(None)
            }
            Some(Err(OpenError::InvalidRequest(error))) => Err(error.into()),
            Some(Err(error)) => Err(ConnectError::AtLimit {
                limit: error.to_string(),
            }),
        }
    })
}

/// The connection to a peer: the one that is there, or the one that all callers wait for.
async fn connection_to(
    node: &Node,
    peer: &PeerAddress,
    begun: Instant,
) -> Result<ConnectionKey, ConnectError> {
    let shared = node.handle.shared();
    let joined = {
        let mut state = shared.lock();
        if state.closing {
            return Err(ConnectError::ShuttingDown);
        }
        if let Some(connection) = state.heard(&peer.id) {
            return Ok(connection);
        }
        let Some(joined) = state.dials.join(peer.id) else {
            let limit = "too many calls wait for this peer".to_owned();
            return Err(ConnectError::AtLimit { limit });
        };
        joined
    };
    if let Some(changed) = joined.lead {
        let attempt = Attempt {
            shared: shared.clone(),
            sources: node.parts.sources.clone(),
            peer: peer.clone(),
            changed,
            others: Others::LookedFor,
        };
        tokio::spawn(attempt.run());
    }
    match joined.outcome.await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(DialFailure::NotReached { addresses, others })) => Err(unreachable(
            peer,
            (addresses, others),
            begun.elapsed(),
            what_was_asked(node),
        )),
        Ok(Err(DialFailure::Handshake(EndReason::Refused))) => {
            Err(ConnectError::Refused { peer: peer.id })
        }
        Ok(Err(DialFailure::Handshake(reason))) => Err(ConnectError::Handshake {
            peer: peer.id,
            reason,
        }),
        Ok(Err(DialFailure::AtLimit(limit))) => Err(ConnectError::AtLimit { limit }),
        Ok(Err(DialFailure::ShuttingDown)) | Err(_) => Err(ConnectError::ShuttingDown),
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Whether an attempt that takes long looks for other services of the peer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    /// Somebody may want to be told of them.
    LookedFor,
    /// Nobody is told why it failed.
    LeftOut,
}

/// The work behind all callers that wait for one peer.
struct Attempt {
    shared: Arc<Shared>,
    sources: Vec<Arc<dyn Discovery>>,
    peer: PeerAddress,
    /// Told when the attempt in the table changed or is over.
    changed: Arc<Notify>,
    others: Others,
}

impl Attempt {
    async fn run(self) {
        let mut lookups: SelectAll<Lookup> = self
            .sources
            .iter()
            .map(|source| source.lookup(&self.peer))
            .collect();
        let mut quiet_since = tokio::time::Instant::now();
        let mut wanted = tokio::time::interval(WANTED_INTERVAL);
        let mut exhausted = false;
        let mut aside = None;
        let mut others = SelectAll::<OtherServices>::new();
        let ask_for_others = tokio::time::sleep(BEFORE_OTHERS);
        tokio::pin!(ask_for_others);
        let mut asks = self.others == Others::LookedFor;
        loop {
            tokio::select! {
                found = lookups.next(), if !exhausted => match found {
                    Some(address) => {
                        quiet_since = tokio::time::Instant::now();
                        if let Err(error) = self.on_address(address) {
                            self.give_up(&DialFailure::AtLimit(error.to_string()));
                            return;
                        }
                    }
                    None => exhausted = true,
                },
                () = self.changed.notified() => {}
                () = until(aside), if aside.is_some() => {}
                () = tokio::time::sleep_until(quiet_since + HANDSHAKE_LIMIT), if exhausted => {
                    self.give_up(&self.not_reached());
                    return;
                }
                () = &mut ask_for_others, if asks => {
                    asks = false;
                    others = self.look_for_others();
                }
                Some(service) = others.next() => {
                    self.shared.lock().dials.on_other(&self.peer.id, service);
                }
                _ = wanted.tick() => {}
            }
            if self.is_over(exhausted) {
                return;
            }
            aside = match self.try_those_set_aside() {
                Ok(next) => next,
                Err(error) => {
                    self.give_up(&DialFailure::AtLimit(error.to_string()));
                    return;
                }
            };
        }
    }

    fn look_for_others(&self) -> SelectAll<OtherServices> {
        let sources = self.sources.iter();
        sources
            .map(|source| source.lookup_others(&self.peer))
            .collect()
    }

    /// What was found of a peer that does not answer.
    fn not_reached(&self) -> DialFailure {
        let state = self.shared.lock();
        DialFailure::NotReached {
            addresses: state.dials.addresses(&self.peer.id),
            others: state.dials.others(&self.peer.id),
        }
    }

    /// See [`State::try_those_set_aside`](crate::state::State::try_those_set_aside).
    fn try_those_set_aside(&self) -> Result<Option<Instant>, DialError> {
        let (now, peer) = (Instant::now(), &self.peer.id);
        let next = self
            .shared
            .with(|state| state.try_those_set_aside(now, peer))?;
        self.shared.wake.wake();
        Ok(next)
    }

    /// Begins the handshake with the first address, adds the others to the race.
    fn on_address(&self, address: SocketAddr) -> Result<(), DialError> {
        let now = Instant::now();
        // Through a tunnel only where the user says so.
        if !self.peer.hints.contains(&address) && Tunnels::now().contain(address.ip()) {
            tracing::debug!(peer = %self.peer.id.short(), %address, "inside a tunnel of ours");
            return Ok(());
        }
        tracing::debug!(peer = %self.peer.id.short(), %address, "trying an address");
        let route = Route::untried(PathAddress::to(address));
        let result = self
            .shared
            .with(|state| state.try_path(now, &self.peer.id, route));
        self.shared.wake.wake();
        result
    }

    /// Whether the callers have their answer, left, or can be told a failure now.
    fn is_over(&self, exhausted: bool) -> bool {
        let fault = {
            let state = self.shared.lock();
            if !state.dials.contains(&self.peer.id) {
                return true;
            }
            if !state.dials.is_wanted(&self.peer.id) {
                drop(state);
                self.give_up(&DialFailure::ShuttingDown);
                return true;
            }
            state.dials.fault(&self.peer.id)
        };
        let nowhere = exhausted && self.shared.lock().dials.addresses(&self.peer.id).is_empty();
        match fault {
            // No source gave an address, and none will.
            None if nowhere => {
                self.give_up(&self.not_reached());
                true
            }
            // Silence is no verdict while a source may still give another address.
            Some(EndReason::TimedOut | EndReason::PortClosed) if exhausted => {
                self.give_up(&self.not_reached());
                true
            }
            Some(EndReason::TimedOut | EndReason::PortClosed | EndReason::Closed) | None => false,
            Some(reason) => {
                self.give_up(&DialFailure::Handshake(reason));
                true
            }
        }
    }

    fn give_up(&self, failure: &DialFailure) {
        self.shared.with(|state| {
            if let Some(attempt) = state.dials.fail(&self.peer.id, failure) {
                state.core.close(Instant::now(), attempt, close_code::DONE);
            }
        });
        self.shared.wake.wake();
    }
}
