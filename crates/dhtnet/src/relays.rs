//! Allocations at relays, by number: one serves all peers. Sans-IO, behind a lock of its own.
//!
//! The driver brings datagrams and the bytes of streams, and takes what is to be sent; a path
//! through allocation `n` is [`Via::Relay`](crate::core::path::Via)`(n)`. Numbers are not used
//! again before all others were, so that a path that is gone is not taken for a new one.
//! [`finder`] chooses the servers.

mod batch;
pub(crate) mod blocked;
mod entry;
mod error;
pub(crate) mod finder;
mod outcome;
mod reach;
mod refusals;
mod server;
mod standing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use dhtnet_identity::DeviceKey;
use dhtnet_nat_traversal::turn::{AllocationError, Handled, SendError};
use rand_chacha::ChaCha20Rng;
use tokio::sync::Notify;

pub(crate) use self::batch::{Leg, Queue};
pub(crate) use self::entry::{Doorway, Login, Target, families_of};
use self::entry::{Entry, Stage, first_stage};
pub use self::error::RelayError;
use self::outcome::{Ending, ending};
pub(crate) use self::reach::Reach;
pub use self::server::{MAX_URI_LEN, NotCertificates, RelayTransport, TurnServer, TurnUriError};

/// Allocations at the same time: one is enough for all peers, and while servers change there are
/// two. More only where sessions of different networks hold on to theirs.
pub(crate) const MAX_ALLOCATIONS: usize = 8;

/// How long an allocation is kept that nobody uses: the next call often follows soon.
pub(crate) const KEPT_UNUSED: Duration = Duration::from_secs(30);

/// How often is looked whether allocations are of use.
const TIDY: Duration = Duration::from_secs(5);

/// Datagrams that wait for a peer's address to be admitted at one allocation; the oldest are
/// dropped. One round trip to the relay has few.
pub(crate) const MAX_HELD: usize = 32;

/// Numbers lie below this: in sessions they are added to the first number of relays.
const NUMBERS: u16 = 0x4000;

/// Addresses that are admitted at one allocation at most; what more are asked for is not.
const MAX_ADMITTED: usize = dhtnet_nat_traversal::turn::MAX_PERMISSIONS;

/// Which paths may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PathPreference {
    /// All; direct ones are preferred.
    #[default]
    Any,
    /// No relay, neither ours nor the peer's.
    Direct,
    /// Nothing but our relay: no address of this device is told to peers, used, or tried.
    Relay,
}

/// What the driver is asked to do with streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    Connect { number: u16, to: Doorway },
    Disconnect(u16),
}

/// What a datagram was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Somebody else should look at it.
    NotOurs(BytesMut),
    /// Between the relay and us.
    Consumed,
    /// From a peer, through allocation `number`.
    Payload {
        number: u16,
        peer: SocketAddr,
        payload: BytesMut,
    },
}

/// All allocations of a node.
pub(crate) struct Relays {
    inner: Mutex<Inner>,
    /// Whether there are any: asked for each datagram that comes in.
    any: AtomicBool,
    /// Told when an allocation stands, or has ended.
    changed: Notify,
    reach: Reach,
}

struct Inner {
    key: DeviceKey,
    rng: ChaCha20Rng,
    next: u16,
    entries: BTreeMap<u16, Entry>,
    orders: VecDeque<Order>,
    /// Numbers of what has ended.
    gone: VecDeque<u16>,
    /// How the last of those ended that are out of the table.
    past: VecDeque<Ending>,
    /// Which allocation carries the datagrams of the DHT.
    carrier: Option<u16>,
    next_tidy: Option<Instant>,
    closing: bool,
}

impl fmt::Debug for Relays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Relays({} allocations)", self.lock().entries.len())
    }
}

impl Relays {
    pub(crate) fn new(key: DeviceKey, rng: ChaCha20Rng) -> Self {
        Self {
            inner: Mutex::new(Inner {
                key,
                rng,
                next: 0,
                entries: BTreeMap::new(),
                orders: VecDeque::new(),
                gone: VecDeque::new(),
                past: VecDeque::new(),
                carrier: None,
                next_tidy: None,
                closing: false,
            }),
            any: AtomicBool::new(false),
            changed: Notify::new(),
            reach: Reach::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is anything to ask about a datagram.
    pub(crate) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Relaxed)
    }

    /// Asks a server for an allocation. `None` when there are [`MAX_ALLOCATIONS`], and when the
    /// node ends.
    pub(crate) fn begin(&self, now: Instant, target: Target) -> Option<u16> {
        let mut inner = self.lock();
        inner.forget_ended();
        if inner.entries.len() >= MAX_ALLOCATIONS || inner.closing {
            return None;
        }
        let number = inner.free_number();
        let stage = match target.door.transport {
            RelayTransport::Udp => inner.first_stage(now, &target),
            RelayTransport::Tcp | RelayTransport::Tls => {
                inner.orders.push_back(Order::Connect {
                    number,
                    to: target.door.clone(),
                });
                Stage::Connecting
            }
        };
        let entry = Entry {
            target,
            stage,
            admitted: BTreeSet::new(),
            unused_since: Some(now),
            told: false,
            stood: None,
            life: Duration::ZERO,
            held: VecDeque::new(),
            released: VecDeque::new(),
        };
        inner.next_tidy.get_or_insert(now + TIDY);
        inner.entries.insert(number, entry);
        self.any.store(true, Ordering::Relaxed);
        Some(number)
    }

    /// The relayed addresses of an allocation that can be used; none of one that cannot.
    pub(crate) fn relayed(&self, number: u16) -> Vec<SocketAddr> {
        let inner = self.lock();
        let entry = inner.entries.get(&number);
        entry.map_or_else(Vec::new, |entry| entry.relayed().to_vec())
    }

    /// What the server of an allocation is called.
    pub(crate) fn name(&self, number: u16) -> Option<String> {
        let inner = self.lock();
        inner.entries.get(&number).map(|e| e.target.name.clone())
    }

    /// Waits until some allocation can be used.
    pub(crate) async fn one_stands(&self) -> u16 {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(number) = self.standing() {
                return number;
            }
            changed.await;
        }
    }

    /// Whether datagrams come through without a relay.
    pub(crate) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Lets an allocation carry the datagrams of the DHT.
    pub(crate) fn set_carrier(&self, number: Option<u16>) {
        self.lock().carrier = number;
    }

    /// The allocation by which the DHT's datagrams of IPv4 leave; `None` where they need none.
    pub(crate) fn carrier(&self) -> Option<u16> {
        if self.is_empty() || self.reach.is_open() {
            return None;
        }
        self.lock().carrier
    }

    /// Lets a peer's address send to an allocation, now or as soon as it stands.
    pub(crate) fn admit(&self, now: Instant, number: u16, peer: IpAddr) {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(&number) else {
            return;
        };
        if entry.admitted.len() < MAX_ADMITTED {
            entry.admitted.insert(peer);
        }
        entry.permit(now);
    }

    /// A datagram came in.
    pub(crate) fn on_datagram(&self, now: Instant, from: SocketAddr, datagram: BytesMut) -> Taken {
        let mut inner = self.lock();
        let mut entries = inner.entries.iter_mut();
        let of_server = |(_, entry): &(&u16, &mut Entry)| {
            entry.target.door.address == from && entry.target.door.transport == RelayTransport::Udp
        };
        let Some((number, entry)) = entries.find(of_server) else {
            return Taken::NotOurs(datagram);
        };
        let number = *number;
        let handled = match &mut entry.stage {
            Stage::Asking(inquiry) => {
                if inquiry.handle_message(from, &datagram) {
                    Handled::Consumed
                } else {
                    Handled::NotOurs
                }
            }
            Stage::Live(allocation) => allocation.handle_datagram(now, from, &datagram),
            Stage::Connecting | Stage::Ended(_) => Handled::NotOurs,
        };
        match handled {
            Handled::NotOurs => Taken::NotOurs(datagram),
            Handled::Payload { peer, range } => {
                let mut payload = datagram;
                payload.truncate(range.end);
                let payload = payload.split_off(range.start);
                Taken::Payload {
                    number,
                    peer,
                    payload,
                }
            }
            Handled::Consumed => {
                self.settle(now, &mut inner);
                Taken::Consumed
            }
        }
    }

    /// The stream of an allocation is there.
    pub(crate) fn on_connected(&self, now: Instant, number: u16) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let Some(entry) = inner.entries.get_mut(&number) else {
            return;
        };
        if matches!(entry.stage, Stage::Connecting) {
            let (key, rng) = (&inner.key, &mut inner.rng);
            entry.stage = first_stage(now, (&entry.target, key), rng);
        }
    }

    /// The stream of an allocation could not be made, or is over.
    pub(crate) fn on_disconnected(&self, now: Instant, number: u16, error: &std::io::Error) {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(&number) else {
            return;
        };
        match &mut entry.stage {
            Stage::Connecting => entry.stage = Stage::Ended(RelayError::connecting(error)),
            Stage::Asking(_) => {
                entry.stage = Stage::Ended(AllocationError::Disconnected.into());
            }
            Stage::Live(allocation) => allocation.handle_disconnected(),
            Stage::Ended(_) => {}
        }
        self.settle(now, &mut inner);
    }

    /// Bytes came in on the stream of an allocation.
    pub(crate) fn on_stream(&self, now: Instant, number: u16, bytes: &[u8]) {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(&number) else {
            return;
        };
        let taken = match &mut entry.stage {
            Stage::Asking(inquiry) => inquiry.handle_stream(bytes),
            Stage::Live(allocation) => allocation.handle_stream(now, bytes),
            Stage::Connecting | Stage::Ended(_) => Ok(()),
        };
        if let Err(error) = taken {
            tracing::debug!(relay = %entry.target.name, %error, "what speaks there is no relay");
            if matches!(entry.stage, Stage::Asking(_)) {
                entry.stage = Stage::Ended(AllocationError::Protocol.into());
            }
        }
        self.settle(now, &mut inner);
    }

    /// The next payload that came in on a stream.
    pub(crate) fn poll_payload(&self) -> Option<(u16, SocketAddr, Bytes)> {
        let mut inner = self.lock();
        inner.entries.iter_mut().find_map(|(number, entry)| {
            let Stage::Live(allocation) = &mut entry.stage else {
                return None;
            };
            let (peer, payload) = allocation.poll_payload()?;
            Some((*number, peer, payload))
        })
    }

    /// Time passed.
    pub(crate) fn on_time(&self, now: Instant) {
        let mut inner = self.lock();
        for entry in inner.entries.values_mut() {
            match &mut entry.stage {
                Stage::Asking(inquiry) => inquiry.handle_timeout(now),
                Stage::Live(allocation) => {
                    if allocation.poll_timeout().is_some_and(|due| due <= now) {
                        allocation.handle_timeout(now);
                    }
                }
                Stage::Connecting | Stage::Ended(_) => {}
            }
        }
        self.settle(now, &mut inner);
    }

    /// When to come again.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let inner = self.lock();
        let due = |entry: &Entry| match &entry.stage {
            Stage::Asking(inquiry) => inquiry.poll_timeout(),
            Stage::Live(allocation) => allocation.poll_timeout(),
            Stage::Connecting | Stage::Ended(_) => None,
        };
        let due = inner.entries.values().filter_map(due);
        due.chain(inner.next_tidy).min()
    }

    /// What is to be done with streams.
    pub(crate) fn poll_order(&self) -> Option<Order> {
        self.lock().orders.pop_front()
    }

    /// An allocation that has ended, once.
    pub(crate) fn poll_gone(&self) -> Option<u16> {
        self.lock().gone.pop_front()
    }

    /// The next message to a server.
    pub(crate) fn poll_transmit(&self, now: Instant) -> Option<(Leg, Bytes)> {
        let mut inner = self.lock();
        inner.entries.iter_mut().find_map(|(number, entry)| {
            let transmit = match &mut entry.stage {
                Stage::Asking(inquiry) => inquiry.poll_transmit(now),
                Stage::Live(allocation) => allocation.poll_transmit(),
                Stage::Connecting | Stage::Ended(_) => None,
            };
            let message = match transmit {
                Some(transmit) => transmit.payload,
                None => entry.released.pop_front()?,
            };
            Some((entry.leg(*number), message))
        })
    }

    /// Wraps datagrams of `segment` bytes each, the last may be shorter, for a peer, and adds
    /// what is to be sent to `out`. What cannot be sent now is left out, as a lossy path would.
    pub(crate) fn wrap(
        &self,
        now: Instant,
        (number, peer): (u16, SocketAddr),
        (datagrams, segment): (&[u8], Option<usize>),
        out: &mut batch::Queue,
    ) {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(&number) else {
            return;
        };
        let leg = entry.leg(number);
        let Entry {
            stage: Stage::Live(allocation),
            admitted,
            held,
            ..
        } = entry
        else {
            return;
        };
        let segment = segment.unwrap_or(datagrams.len()).max(1);
        for datagram in datagrams.chunks(segment) {
            let wrapped = out.append(leg, |bytes| {
                allocation.send_into(now, (peer, datagram), bytes)
            });
            match wrapped {
                Ok(()) => {}
                Err(SendError::NoPermission) if admitted.contains(&peer.ip()) => {
                    if held.len() >= MAX_HELD {
                        held.pop_front();
                    }
                    held.push_back((peer, Bytes::copy_from_slice(datagram)));
                }
                Err(error) => {
                    tracing::trace!(%peer, %error, "not sent through the relay");
                    return;
                }
            }
        }
    }

    /// Whether it is time to say what is used; see [`Relays::tidy`].
    pub(crate) fn is_untidy(&self, now: Instant) -> bool {
        self.lock().next_tidy.is_some_and(|due| due <= now)
    }

    /// Ends allocations that nobody has used for [`KEPT_UNUSED`].
    pub(crate) fn tidy(&self, now: Instant, is_used: impl Fn(u16) -> bool) {
        let mut inner = self.lock();
        let carrier = inner.carrier;
        for (number, entry) in &mut inner.entries {
            if is_used(*number) || carrier == Some(*number) {
                entry.unused_since = None;
                continue;
            }
            let since = *entry.unused_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= KEPT_UNUSED {
                entry.close(now);
            }
        }
        self.settle(now, &mut inner);
        inner.forget_ended();
        inner.next_tidy = (!inner.entries.is_empty()).then_some(now + TIDY);
        self.any.store(!inner.entries.is_empty(), Ordering::Relaxed);
    }

    /// Ends one allocation.
    pub(crate) fn close_one(&self, now: Instant, number: u16) {
        let mut inner = self.lock();
        if let Some(entry) = inner.entries.get_mut(&number) {
            entry.close(now);
        }
        self.settle(now, &mut inner);
    }

    /// Ends all allocations and begins no further ones.
    pub(crate) fn close(&self, now: Instant) {
        let mut inner = self.lock();
        inner.closing = true;
        for entry in inner.entries.values_mut() {
            entry.close(now);
        }
        self.settle(now, &mut inner);
    }

    /// Whether no further allocations are begun.
    pub(crate) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// Whether every allocation has ended.
    pub(crate) fn is_closed(&self) -> bool {
        let inner = self.lock();
        let ended = |entry: &Entry| matches!(entry.stage, Stage::Ended(_));
        inner.entries.values().all(ended)
    }

    /// Takes what the allocations tell.
    fn settle(&self, now: Instant, inner: &mut Inner) {
        let Inner {
            key,
            rng,
            entries,
            orders,
            gone,
            ..
        } = inner;
        let mut changed = false;
        for (number, entry) in entries {
            changed |= entry.settle(now, key, rng);
            if !entry.told && matches!(entry.stage, Stage::Ended(_)) {
                entry.told = true;
                let since = entry.stood.unwrap_or(now);
                entry.life = now.saturating_duration_since(since);
                changed = true;
                gone.push_back(*number);
                if entry.target.door.transport != RelayTransport::Udp {
                    orders.push_back(Order::Disconnect(*number));
                }
            }
        }
        if changed {
            self.changed.notify_waiters();
        }
    }
}

impl Inner {
    fn free_number(&mut self) -> u16 {
        loop {
            let number = self.next;
            self.next = (self.next + 1) % NUMBERS;
            if !self.entries.contains_key(&number) {
                return number;
            }
        }
    }

    /// Makes room in the table. Who waits for an end learns of it all the same.
    fn forget_ended(&mut self) {
        self.past.extend(self.entries.iter().filter_map(ending));
        let most = self.past.len().saturating_sub(MAX_ALLOCATIONS);
        self.past.drain(..most);
        self.entries
            .retain(|_, entry| !matches!(entry.stage, Stage::Ended(_)));
    }

    fn first_stage(&mut self, now: Instant, target: &Target) -> Stage {
        first_stage(now, (target, &self.key), &mut self.rng)
    }
}

#[cfg(test)]
mod tests;
