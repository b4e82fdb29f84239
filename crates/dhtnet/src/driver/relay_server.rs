//! A relay beside a DHT node: its datagrams come over the node's sockets, each client has a socket
//! of his own, and TCP is listened for.
//!
//! The relay itself is one machine behind a lock. Whoever receives something, the node's driver,
//! a client's socket or a stream, hands a batch to it, takes what it wants done with it, and sends
//! that after the lock is free. No one looks at all clients for one datagram.

mod ground;
mod outbox;
mod streams;

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use dhtnet_nat_traversal::relay::{
    Action, Config, Family, NoSocket, Relay, SocketRequest, StreamId,
};
use dhtnet_nat_traversal::stun::{Message, Ownership, is_stun, respond};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use self::ground::Ground;
use self::outbox::Exit;
pub(super) use self::outbox::Outbox;
use self::streams::Outlet;
use super::sockets::{Sender, SingleSocket, Way};
use crate::core::path::PathAddress;
use crate::dht::DhtBuildError;
use crate::error::BuildError;
use crate::relay_server::{PerSecond, RelaySettings, Traffic};

/// Answers to Binding requests of strangers in a second, all together, of 52 bytes at most: for a
/// thousand devices that ask for their address every few seconds, and 10 kB/s for who forges
/// senders.
const STUN_ANSWERS_PER_SECOND: u32 = 200;

/// How often the relay's clocks are looked at: they count in tens of seconds.
const SWEEP: Duration = Duration::from_secs(1);

/// Sweeps between two looks at the interfaces' addresses.
const SWEEPS_PER_LOOK: u32 = 30;

/// How something came: by a datagram of this client, if by one, and at which own address.
#[derive(Debug, Clone, Copy, Default)]
struct Arrival {
    client: Option<SocketAddr>,
    local: Option<IpAddr>,
}

/// A client's socket and the task that receives from it.
struct Relayed {
    socket: Arc<SingleSocket>,
    task: AbortHandle,
    /// Who comes by datagrams.
    client: Option<SocketAddr>,
}

struct Stream {
    outlet: Arc<Outlet>,
    task: AbortHandle,
}

struct State {
    relay: Relay,
    /// By the address that peers see.
    relayed: HashMap<SocketAddr, Relayed>,
    streams: HashMap<StreamId, Stream>,
    next_stream: u64,
    /// The own address at which each client with a socket came in.
    homes: HashMap<SocketAddr, IpAddr>,
    stun: PerSecond,
    /// Payloads that no socket took, or no reader.
    lost: u64,
    stun_answers: u64,
    is_closed: bool,
}

/// The relay with its sockets and tasks.
pub(crate) struct RelayHost {
    state: Mutex<State>,
    ground: Ground,
    senders: Vec<Arc<Sender>>,
    tcp: Vec<SocketAddr>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl RelayHost {
    /// Starts a relay on a node's sockets. Must be called inside a runtime.
    pub(crate) fn start(
        settings: RelaySettings,
        sockets: &super::Sockets,
    ) -> Result<Arc<Self>, DhtBuildError> {
        let RelaySettings {
            key,
            limits,
            peers,
            admission,
            tcp_ports,
            addresses,
        } = settings;
        let locals = sockets.local_addresses();
        let failed = |source| {
            DhtBuildError::Node(BuildError::Bind {
                address: locals[0],
                source,
            })
        };
        let senders = sockets.senders().map_err(failed)?;
        let ground = Ground::new(&locals, addresses);
        let (listeners, tcp) = ground.listen(tcp_ports.as_deref())?;
        let now = Instant::now();
        let config = Config {
            listen: locals[0],
            own: ground.own(),
            peers,
            limits,
        };
        let host = Arc::new(Self {
            state: Mutex::new(State {
                relay: Relay::new(now, config, key, admission, &mut rng()?),
                relayed: HashMap::new(),
                streams: HashMap::new(),
                next_stream: 0,
                homes: HashMap::new(),
                stun: PerSecond::new(now, STUN_ANSWERS_PER_SECOND),
                lost: 0,
                stun_answers: 0,
                is_closed: false,
            }),
            ground,
            senders: senders.into_iter().map(Arc::new).collect(),
            tcp,
            tasks: Mutex::default(),
        });
        let mut tasks = vec![tokio::spawn(sweep(Arc::downgrade(&host))).abort_handle()];
        for listener in listeners {
            let accepting = streams::accept(Arc::downgrade(&host), listener);
            tasks.push(tokio::spawn(accepting).abort_handle());
        }
        *host.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
        Ok(host)
    }

    /// Takes a datagram of the shared sockets. `false`: it is no STUN and no client's payload.
    /// What it causes is in the outbox afterwards.
    pub(super) fn on_datagram(
        self: &Arc<Self>,
        now: Instant,
        from: &PathAddress,
        datagram: &[u8],
        outbox: &mut Outbox,
    ) -> bool {
        let arrival = Arrival {
            client: Some(from.remote),
            local: from.local_ip,
        };
        let mut state = self.lock();
        let ownership = state.relay.handle_datagram(now, from.remote, datagram);
        if ownership == Ownership::Ours {
            self.act(&mut state, arrival, outbox);
            return true;
        }
        if !is_stun(datagram) {
            return false;
        }
        if let Ok(Message::Request(request)) = Message::decode(datagram)
            && (state.homes.contains_key(&from.remote) || state.stun.take(now))
        {
            state.stun_answers += 1;
            let answer = respond(&request, from.remote);
            if let Some(exit) = self.way_to(&state, arrival, from.remote) {
                outbox.push(exit, &answer);
            }
        }
        true
    }

    /// Sends what is in the outbox. To be called without the lock.
    pub(super) fn flush(&self, outbox: &mut Outbox) {
        let lost = outbox.flush();
        if lost > 0 {
            self.lock().lost += lost as u64;
        }
    }

    /// Lets the relay handle something, and puts what it causes into the outbox.
    fn with(
        self: &Arc<Self>,
        outbox: &mut Outbox,
        arrival: Arrival,
        handle: impl FnOnce(&mut Relay),
    ) {
        let mut state = self.lock();
        if !state.is_closed {
            handle(&mut state.relay);
            self.act(&mut state, arrival, outbox);
        }
    }

    fn on_accepted(self: &Arc<Self>, stream: TcpStream, from: SocketAddr) {
        let arrival = Arrival {
            client: None,
            local: stream.local_addr().ok().map(|local| local.ip()),
        };
        let mut outbox = Outbox::default();
        {
            let mut state = self.lock();
            let id = StreamId(state.next_stream);
            state.next_stream += 1;
            let is_taken = state.relay.handle_connected(Instant::now(), id, from);
            if is_taken && !state.is_closed {
                let outlet = Arc::new(Outlet::new(stream));
                let serving = streams::serve(Arc::downgrade(self), outlet.clone(), (id, arrival));
                let task = tokio::spawn(serving).abort_handle();
                state.streams.insert(id, Stream { outlet, task });
            }
            self.act(&mut state, arrival, &mut outbox);
        }
        self.flush(&mut outbox);
    }

    /// A stream's task is over.
    fn on_ended(self: &Arc<Self>, stream: StreamId, outbox: &mut Outbox) {
        self.lock().streams.remove(&stream);
        self.with(outbox, Arrival::default(), |relay| {
            relay.handle_disconnected(stream);
        });
        self.flush(outbox);
    }

    /// Does what the relay wants.
    fn act(self: &Arc<Self>, state: &mut State, arrival: Arrival, outbox: &mut Outbox) {
        while let Some(action) = state.relay.poll_action() {
            match action {
                Action::Send { to, payload } => {
                    if let Some(exit) = self.way_to(state, arrival, to) {
                        outbox.push(exit, &payload);
                    }
                }
                Action::Relay {
                    relayed,
                    to,
                    payload,
                } => {
                    if let Some(found) = state.relayed.get(&relayed) {
                        outbox.push(Exit::Relayed(found.socket.clone(), to), &payload);
                    }
                }
                Action::Write { stream, payload } => {
                    if let Some(found) = state.streams.get(&stream) {
                        outbox.push(Exit::Stream(found.outlet.clone()), &payload);
                    }
                }
                Action::Disconnect { stream } => {
                    if let Some(found) = state.streams.remove(&stream) {
                        found.task.abort();
                    }
                }
                Action::Open { request, family } => self.open(state, arrival, (request, family)),
                Action::Close { relayed } => {
                    if let Some(found) = state.relayed.remove(&relayed) {
                        found.task.abort();
                        if let Some(client) = found.client {
                            state.homes.remove(&client);
                        }
                    }
                }
            }
        }
    }

    /// Opens a socket for a client, at the address where he came in.
    fn open(
        self: &Arc<Self>,
        state: &mut State,
        arrival: Arrival,
        (request, family): (SocketRequest, Family),
    ) {
        let opened = self.ground.place(arrival.local, family).and_then(|place| {
            let socket = SingleSocket::bind(SocketAddr::new(place.bind, 0)).map_err(|error| {
                tracing::debug!(%error, at = %place.bind, "no socket for a client");
                NoSocket::Exhausted
            })?;
            let relayed = SocketAddr::new(place.seen, socket.local().port());
            Ok((relayed, Arc::new(socket)))
        });
        let answer = opened.map(|(relayed, socket)| {
            let receiving = receive(Arc::downgrade(self), socket.clone(), (relayed, arrival));
            let task = tokio::spawn(receiving).abort_handle();
            let client = arrival.client;
            state.relayed.insert(
                relayed,
                Relayed {
                    socket,
                    task,
                    client,
                },
            );
            if let (Some(client), Some(local)) = (client, arrival.local) {
                state.homes.insert(client, local);
            }
            relayed
        });
        state.relay.handle_socket(Instant::now(), request, answer);
    }

    /// How a datagram leaves for a client: from the own address where he came in.
    fn way_to(&self, state: &State, arrival: Arrival, to: SocketAddr) -> Option<Exit> {
        let of_family = |sender: &&Arc<Sender>| sender.local.is_ipv4() == to.is_ipv4();
        let sender = self.senders.iter().find(of_family)?;
        let known = state.homes.get(&to).copied();
        let from = known.or(arrival.local.filter(|_| arrival.client == Some(to)));
        Some(Exit::Shared(sender.clone(), Way { to, from }))
    }

    /// Where clients come over TCP.
    pub(crate) fn tcp_addresses(&self) -> &[SocketAddr] {
        &self.tcp
    }

    /// Addresses that peers see which were told, not found.
    pub(crate) fn told_addresses(&self) -> &[IpAddr] {
        self.ground.told()
    }

    /// What was done so far.
    pub(crate) fn traffic(&self) -> Traffic {
        let state = self.lock();
        let stats = state.relay.stats();
        Traffic {
            clients: state.relay.clients(),
            streams: state.streams.len(),
            payloads: stats.payloads,
            bytes: stats.bytes,
            over_quota: stats.over_quota,
            refused: stats.refused,
            lost: state.lost,
            stun_answers: state.stun_answers,
        }
    }

    /// Ends it: clients' sockets and streams are closed.
    pub(crate) fn close(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.drain(..).for_each(|task| task.abort());
        let mut state = self.lock();
        state.is_closed = true;
        let streams = std::mem::take(&mut state.streams);
        let relayed = std::mem::take(&mut state.relayed);
        streams.into_values().for_each(|found| found.task.abort());
        relayed.into_values().for_each(|found| found.task.abort());
    }

    /// A panic of another holder is not spread: every change is made whole under one lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rng() -> Result<ChaCha20Rng, BuildError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| BuildError::Randomness {
        reason: error.to_string(),
    })?;
    Ok(ChaCha20Rng::from_seed(seed))
}

/// Receives what peers send to a relayed address, until it is closed.
async fn receive(
    host: Weak<RelayHost>,
    socket: Arc<SingleSocket>,
    (relayed, arrival): (SocketAddr, Arrival),
) {
    let mut outbox = Outbox::default();
    loop {
        let batch = poll_fn(|cx| {
            let mut found = None;
            let received = socket.poll_receive(cx, |from, payload| {
                let host = match &mut found {
                    Some(host) => host,
                    none => match host.upgrade() {
                        Some(host) => none.insert(host),
                        None => return,
                    },
                };
                let now = Instant::now();
                host.with(&mut outbox, arrival, |relay| {
                    relay.handle_peer_datagram(now, relayed, from, payload);
                });
            });
            if let Some(host) = &found {
                host.flush(&mut outbox);
            }
            received
        });
        batch.await;
        if host.strong_count() == 0 {
            return;
        }
        // A peer that floods leaves others their turn.
        tokio::task::consume_budget().await;
    }
}

/// Lets time pass for the relay.
async fn sweep(host: Weak<RelayHost>) {
    let mut ticks = tokio::time::interval(SWEEP);
    let mut outbox = Outbox::default();
    let mut sweeps = 0_u32;
    loop {
        ticks.tick().await;
        let Some(host) = host.upgrade() else {
            return;
        };
        sweeps = sweeps.wrapping_add(1);
        let own = sweeps
            .is_multiple_of(SWEEPS_PER_LOOK)
            .then(|| host.ground.own());
        host.with(&mut outbox, Arrival::default(), |relay| {
            if let Some(own) = own {
                relay.set_own(own);
            }
            relay.handle_timeout(Instant::now());
        });
        host.flush(&mut outbox);
    }
}
