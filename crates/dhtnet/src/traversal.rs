//! Calls through NATs: two devices tell each other by the DHT where they are, open their NATs
//! towards each other, and what works becomes a path to race or to move to.
//!
//! The sessions live behind a lock of their own ([`Sessions`]); the driver moves their datagrams,
//! time and sockets. Here are the two tasks around them: calling, and answering calls.

mod calls;
mod ground;
mod over_connection;
mod reserve;
mod sessions;
mod stun_servers;
mod updates;

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use dhtnet_identity::policy::Admission;
use dhtnet_identity::{DeviceId, PeerAddress};
use dhtnet_nat_traversal::offer::{Offer, ReplayWindow, SessionId, Wish};
use dhtnet_nat_traversal::punch::Role;
use dhtnet_nat_traversal::session::Session;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use tokio::task::JoinHandle;

use self::calls::{Calls, MAX_CALLS_OF_PEERS, MAX_CALLS_OF_STRANGERS};
pub(crate) use self::ground::Ground;
pub(crate) use self::over_connection::By;
pub(crate) use self::sessions::{Order, Sessions};
pub(crate) use self::stun_servers::{StunAsker, StunServers};
use crate::core::path::Via;
use crate::discovery::{Announcement, Discovery, Lookup, newest_first};
use crate::interfaces::{Changes, next_change};
use crate::knock::{answer_knocks, knock};
use crate::relays::finder::RelayFinder;
use crate::service::Service;
use crate::signal::{ANSWER, OFFER, Signal, Signaller, answer_to, offers_to};
use crate::state::Shared;

/// How often an offer is left again while nobody took it: less and less often, since a network
/// without nodes that keep messages has none a moment later.
const MAX_OFFER_RETRY: Duration = Duration::from_secs(4);

/// The first time.
const OFFER_RETRY: Duration = Duration::from_millis(500);

/// Time without an answer after which a caller listens for it anew and leaves its offer again; then
/// twice as long each time.
const LISTEN_ANEW: Duration = Duration::from_secs(2);

/// Time without an answer after which a caller knocks as well. An answer by push takes less than a
/// second.
const BEFORE_KNOCK: Duration = Duration::from_millis(1_500);

/// Time without an answer after which the next of several services is called. An answer by push takes
/// less than a second.
const BEFORE_ANOTHER_SERVICE: Duration = Duration::from_secs(1);

/// Another try to listen for offers, when the DHT could not be reached.
const LISTEN_RETRY: Duration = Duration::from_secs(5);

/// Calls other devices through NATs, and answers their calls.
#[derive(Clone)]
pub(crate) struct Traversal(Arc<Parts>);

struct Parts {
    own: DeviceId,
    shared: Arc<Shared>,
    sessions: Arc<Sessions>,
    finder: Arc<RelayFinder>,
    signaller: Signaller,
    ground: Ground,
    /// Woken when this device may be somewhere else.
    changes: Option<Changes>,
    rng: Mutex<ChaCha20Rng>,
    answering: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Parts {
    fn drop(&mut self) {
        stop(&self.answering);
    }
}

fn stop(task: &Mutex<Option<JoinHandle<()>>>) {
    let mut task = task.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(task) = task.take() {
        task.abort();
    }
}

impl fmt::Debug for Traversal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Traversal({})", self.0.own.short())
    }
}

impl Traversal {
    pub(crate) fn new(
        (shared, sessions): (Arc<Shared>, Arc<Sessions>),
        finder: Arc<RelayFinder>,
        (signaller, ground, changes): (Signaller, Ground, Option<Changes>),
        rng: ChaCha20Rng,
    ) -> Self {
        let notes = shared.lock().notes.subscribe();
        let parts = Arc::new(Parts {
            own: shared.own,
            shared,
            sessions,
            finder,
            signaller,
            ground,
            changes,
            rng: Mutex::new(rng),
            answering: Mutex::new(None),
        });
        over_connection::attend(&parts, notes);
        Self(parts)
    }
}

impl Traversal {
    /// Looks for paths to a peer once more, with which there is a connection.
    pub(crate) async fn call_once(&self, peer: DeviceId, by: By) {
        self.0.clone().call(peer, by).await;
    }
}

impl Parts {
    fn rng(&self) -> ChaCha20Rng {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        ChaCha20Rng::from_seed(seed)
    }

    /// A session with all that is known of the ground here.
    fn session(&self, peer: &DeviceId, id: SessionId, rng: &mut ChaCha20Rng) -> Session {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let mut session = Session::new(Instant::now(), Role::of(&self.own, peer), id, seed);
        session.set_nat(self.ground.nat());
        for (candidate, socket) in self.ground.candidates() {
            session.add_candidate(candidate, socket);
        }
        session
    }

    /// Calls the service that is looked for. Where any of several will do, each in turn until one
    /// answers; over a connection the peer is asked once, whichever of its programs it is.
    async fn call(self: Arc<Self>, peer: DeviceId, by: By) {
        let mut sought = self.signaller.services().sought.clone();
        if by == By::Dht && sought.len() > 1 && self.signaller.ready().await.is_ok() {
            // Most devices have one of them: the one with a record is the one to call.
            let look = newest_first(self.signaller.dht(), &peer, &mut sought);
            let _ = tokio::time::timeout(BEFORE_ANOTHER_SERVICE, look).await;
        }
        let mut calls = FuturesUnordered::new();
        for service in &sought {
            calls.push(self.clone().call_service(peer, service, by));
            if by == By::Connection {
                break;
            }
            if calls.len() < sought.len() {
                let pause = tokio::time::sleep(BEFORE_ANOTHER_SERVICE);
                let ended = async { while calls.next().await.is_some() {} };
                tokio::select! {
                    () = pause => {}
                    () = ended => {}
                }
                if self.sessions.is_answered_by(&peer) {
                    break;
                }
            }
        }
        while calls.next().await.is_some() {}
    }

    /// Leaves an offer for `peer`, listens for the answer, and ends with the session.
    async fn call_service(self: Arc<Self>, peer: DeviceId, service: &Service, by: By) {
        self.ask_for_relay();
        if by == By::Dht && self.signaller.ready().await.is_err() {
            return;
        }
        let mut rng = self.rng();
        let id = SessionId::random(&mut rng);
        let session = self.session(&peer, id, &mut rng);
        let Some(call) = self.sessions.insert(peer, session) else {
            tracing::debug!(peer = %peer.short(), "too many calls at once");
            return;
        };
        self.use_standing_relays(id);
        let Some(offer) = self.sessions.offer(id, Wish::Connect) else {
            return;
        };
        let places = Places {
            offers: offers_to(&peer, service),
            answers: answer_place(&offer),
        };
        self.keep_updated(id, (places.offers, OFFER), peer);
        let by_connection = by == By::Connection && self.tell_over_connection(&peer, &offer);
        let conversation = async {
            if by_connection {
                self.until_unanswered(id).await;
            }
            // Boxed, for many calls may wait to come so far.
            Box::pin(self.converse((peer, service), (id, places), offer, rng)).await;
        };
        tokio::select! {
            () = conversation => {}
            () = call.over() => {}
        }
        call.over().await;
    }

    /// Calls through the DHT: leaves the offer until it was taken, and takes the answers.
    async fn converse(
        self: &Arc<Self>,
        (peer, service): (DeviceId, &Service),
        (id, places): (SessionId, Places),
        offer: Offer,
        rng: ChaCha20Rng,
    ) {
        if self.signaller.ready().await.is_err() {
            return;
        }
        tracing::debug!(peer = %peer.short(), candidates = offer.candidates.len(), "calling through the DHT");
        let send = self.send((places.offers, OFFER), peer, offer.encode(), rng);
        let receive = self.await_answers(peer, id, places.answers);
        let knock = async {
            tokio::time::sleep(BEFORE_KNOCK).await;
            if !self.sessions.is_answered(id) && self.sessions.may_use(Via::Shared) {
                knock(self.signaller.dht(), &peer, service).await;
            }
        };
        let insist = self.insist(id, peer, places.offers);
        tokio::join!(send, receive, knock, insist);
    }

    /// Takes the peer's answers, for as long as there may be any.
    async fn await_answers(&self, peer: DeviceId, id: SessionId, place: dhtnet_dht_core::Id) {
        loop {
            match self.signaller.receive(place, ANSWER).await {
                Ok(answers) => {
                    let mut answers = pin!(answers.take_until(self.patience(id)));
                    while let Some(Signal { sender, message }) = answers.next().await {
                        match Offer::decode(&message) {
                            Ok(answer) if sender == peer => {
                                tracing::debug!(peer = %peer.short(), candidates = answer.candidates.len(), "the call was answered");
                                self.sessions.handle_offer(Instant::now(), id, answer);
                                self.shared.wake.wake();
                            }
                            Ok(_) => tracing::debug!("an answer of somebody else"),
                            Err(error) => {
                                tracing::debug!(%error, "an answer that cannot be read");
                            }
                        }
                    }
                }
                Err(error) => {
                    tracing::debug!(peer = %peer.short(), %error, "no answer can be heard yet");
                }
            }
            tokio::time::sleep(OFFER_RETRY).await;
        }
    }

    /// As long as one listens for an answer before listening anew: a message that was pushed and
    /// lost still lies there. For ever once the call was answered.
    async fn patience(&self, id: SessionId) {
        tokio::time::sleep(LISTEN_ANEW).await;
        if self.sessions.is_answered(id) {
            std::future::pending::<()>().await;
        }
    }

    /// Leaves the offer again while nobody answers: the push of it may have been lost.
    async fn insist(&self, id: SessionId, peer: DeviceId, offers: dhtnet_dht_core::Id) {
        let mut wait = LISTEN_ANEW;
        loop {
            tokio::time::sleep(wait).await;
            wait *= 2;
            if self.sessions.is_answered(id) {
                return;
            }
            let Some(offer) = self.sessions.offer(id, Wish::Update) else {
                return;
            };
            tracing::debug!(peer = %peer.short(), "calling once more");
            self.send((offers, OFFER), peer, offer.encode(), self.rng())
                .await;
        }
    }

    async fn send(
        &self,
        place: Place,
        recipient: DeviceId,
        message: Vec<u8>,
        mut rng: ChaCha20Rng,
    ) {
        let mut wait = OFFER_RETRY;
        loop {
            let sent = self
                .signaller
                .send(place, &recipient, message.clone(), &mut rng)
                .await;
            match sent {
                Ok(nodes) => {
                    tracing::debug!(peer = %recipient.short(), nodes, "message left in the DHT");
                    return;
                }
                Err(error) => {
                    tracing::debug!(peer = %recipient.short(), %error, "message not left yet");
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(MAX_OFFER_RETRY);
        }
    }

    /// Answers offers for as long as the node listens and has a DHT.
    async fn answer_offers(self: Arc<Self>) {
        let mut gate = Gate::default();
        let mut changes = self.changes.clone();
        let own = &self.signaller.services().own;
        while !self.signaller.dht().is_closed() {
            // Who moves is told at the old address, and listens anew.
            tokio::select! {
                () = self.answer_until_lost(&mut gate) => {}
                () = answer_knocks(self.signaller.dht(), own, (&self.shared, &self.sessions)) => {}
                () = next_change(&mut changes) => {}
            }
        }
    }

    /// Answers offers until the DHT tells of no more, and waits a moment.
    async fn answer_until_lost(self: &Arc<Self>, gate: &mut Gate) {
        let place = offers_to(&self.own, &self.signaller.services().own);
        if let Ok(mut offers) = self.signaller.receive(place, OFFER).await {
            while let Some(signal) = offers.next().await {
                self.on_offer(gate, signal);
            }
        }
        if !self.signaller.dht().is_closed() {
            tokio::time::sleep(LISTEN_RETRY).await;
        }
    }

    fn on_offer(self: &Arc<Self>, gate: &mut Gate, signal: Signal) {
        let Signal { sender, message } = signal;
        let offer = match Offer::decode(&message) {
            Ok(offer) if offer.wish != Wish::Answer => offer,
            Ok(_) => return,
            Err(error) => {
                tracing::debug!(peer = %sender.short(), %error, "an offer that cannot be read");
                return;
            }
        };
        let (now, wall) = (Instant::now(), SystemTime::now());
        // Nothing is sent anywhere for who may not come in.
        let admission = self.shared.lock().policy.admission(&sender, wall);
        let is_known = self.sessions.has(offer.session, &sender);
        let may_call = match admission {
            Admission::Admitted(_) => gate.peers.may_call(now),
            Admission::MayShow if is_known => gate.peers.may_call(now),
            Admission::MayShow => gate.strangers.may_call(now),
            Admission::Refused(_) => {
                tracing::debug!(peer = %sender.short(), "a call of somebody who is not allowed in");
                return;
            }
        };
        if !may_call {
            tracing::debug!(peer = %sender.short(), "a call that is not answered: too many in a minute");
            return;
        }
        if let Err(refused) = gate.replays.admit(wall, &sender, &offer) {
            tracing::debug!(peer = %sender.short(), %refused, "a call that is not answered");
            return;
        }
        self.answer(sender, offer, By::Dht);
    }

    /// Answers the offer of a peer that may call.
    fn answer(self: &Arc<Self>, sender: DeviceId, offer: Offer, by: By) {
        let id = offer.session;
        // More of a call that is known; or it came before the call itself, and is as good.
        if self.sessions.has(id, &sender) {
            tracing::debug!(peer = %sender.short(), candidates = offer.candidates.len(), "more of a call");
            self.sessions.handle_offer(Instant::now(), id, offer);
            self.shared.wake.wake();
            return;
        }
        let mut rng = self.rng();
        let session = self.session(&sender, id, &mut rng);
        let place = answer_place(&offer);
        tracing::debug!(peer = %sender.short(), candidates = offer.candidates.len(), "answering a call");
        let Some(call) = self.sessions.insert(sender, session) else {
            tracing::debug!(peer = %sender.short(), "too many calls at once");
            return;
        };
        self.use_standing_relays(id);
        self.sessions.handle_offer(Instant::now(), id, offer);
        let Some(answer) = self.sessions.offer(id, Wish::Answer) else {
            return;
        };
        self.keep_updated(id, (place, ANSWER), sender);
        self.shared.wake.wake();
        let parts = self.clone();
        tokio::spawn(async move {
            let send = async {
                if by == By::Dht || !parts.tell_over_connection(&sender, &answer) {
                    parts
                        .send((place, ANSWER), sender, answer.encode(), rng)
                        .await;
                }
            };
            tokio::select! {
                () = send => {}
                () = call.over() => {}
            }
            call.over().await;
        });
    }
}

/// What decides whether an offer is answered, beside the policy.
struct Gate {
    replays: ReplayWindow,
    peers: Calls,
    strangers: Calls,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            replays: ReplayWindow::default(),
            peers: Calls::at_most(MAX_CALLS_OF_PEERS),
            strangers: Calls::at_most(MAX_CALLS_OF_STRANGERS),
        }
    }
}

/// Where the two sides of a call leave their messages.
#[derive(Clone, Copy)]
struct Places {
    offers: dhtnet_dht_core::Id,
    answers: dhtnet_dht_core::Id,
}

/// Where messages to a peer are left, and of what type they are.
type Place = (dhtnet_dht_core::Id, dhtnet_dht_core::value::ValueType);

/// Where the answer to an offer lies: who knows the offer knows it.
fn answer_place(offer: &Offer) -> dhtnet_dht_core::Id {
    let mut secret = offer.session.0.to_vec();
    secret.extend(offer.credentials.password().as_bytes());
    answer_to(&secret)
}

impl Discovery for Traversal {
    fn name(&self) -> &'static str {
        "a call through the DHT"
    }

    /// Finds no addresses: what works goes to the race by itself. Lasts as long as it tries.
    fn lookup(&self, peer: &PeerAddress) -> Lookup {
        let calling = self.0.clone().call(peer.id, By::Dht);
        futures_util::stream::once(calling)
            .filter_map(|()| std::future::ready(None))
            .boxed()
    }

    fn announce(&self, _own: &Announcement) {
        let mut answering = self
            .0
            .answering
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if answering.is_none() {
            let parts = Arc::downgrade(&self.0);
            *answering = Some(tokio::spawn(async move {
                if let Some(parts) = parts.upgrade() {
                    parts.answer_offers().await;
                }
            }));
        }
    }

    fn close(&self) {
        stop(&self.0.answering);
    }
}
