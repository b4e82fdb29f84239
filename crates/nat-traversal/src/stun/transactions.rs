//! Requests over UDP, sent again until they are answered (RFC 8489 section 6.2.1).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use thiserror::Error;

use super::integrity::{IntegrityKey, verify};
use super::message::{BindingError, BindingRequest, BindingResponse, EncodeError, Message};
use super::{TransactionId, Transmit};

/// Time before a request is sent for the second time; it doubles each time.
pub const RTO: Duration = Duration::from_millis(500);

/// How often a request is sent at most: Rc.
pub const RC: u32 = 7;

/// How many times the first [`RTO`] is waited after the last sending: Rm.
pub const RM: u32 = 16;

/// Requests under way at once. Checks, discovery and keepalives of one socket need a few dozen.
pub const MAX_TRANSACTIONS: usize = 256;

/// How a request is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Until the second sending; doubles each time.
    pub rto: Duration,
    /// Sendings in all, at least 1.
    pub sendings: u32,
    /// After the last one, in multiples of `rto`.
    pub patience: u32,
}

impl Default for Timing {
    /// [`RTO`], [`RC`], [`RM`]: gives up after 39.5 seconds.
    fn default() -> Self {
        Self {
            rto: RTO,
            sendings: RC,
            patience: RM,
        }
    }
}

/// Whether a datagram was an answer for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// It belonged to a transaction.
    Ours,
    /// Somebody else should look at it.
    NotOurs,
}

/// How a transaction ended. Each ends once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An answer.
    Response {
        /// Which transaction.
        id: TransactionId,
        /// What was answered.
        response: BindingResponse,
        /// Since the request, when it was sent only once: else it is unknown which sending was
        /// answered.
        round_trip: Option<Duration>,
    },
    /// A refusal.
    Refused {
        /// Which transaction.
        id: TransactionId,
        /// Why.
        error: BindingError,
    },
    /// No answer.
    TimedOut {
        /// Which transaction.
        id: TransactionId,
    },
}

/// Why a transaction does not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StartError {
    /// [`MAX_TRANSACTIONS`] are under way.
    #[error("too many STUN requests are waiting for answers")]
    TooMany,
    /// The id is in use.
    #[error("the transaction id is in use")]
    Duplicate,
    /// The request cannot be written.
    #[error("the request cannot be sent")]
    Encode(#[from] EncodeError),
}

#[derive(Debug)]
struct Pending {
    destination: SocketAddr,
    answers_from: SocketAddr,
    payload: Bytes,
    key: Option<IntegrityKey>,
    timing: Timing,
    started: Instant,
    sent: u32,
    due: Instant,
}

/// The transactions of one socket.
#[derive(Debug, Default)]
pub struct Transactions {
    pending: BTreeMap<TransactionId, Pending>,
    due: BTreeSet<(Instant, TransactionId)>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Transactions {
    /// No transaction. Allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends a request, with the timing of RFC 8489. With a key it is authenticated, and only
    /// answers made with the same key count.
    ///
    /// # Errors
    /// [`StartError`]; nothing is sent then.
    pub fn start(
        &mut self,
        now: Instant,
        to: SocketAddr,
        request: &BindingRequest,
        key: Option<IntegrityKey>,
    ) -> Result<(), StartError> {
        self.start_with(
            now,
            Outgoing {
                to,
                answers_from: to,
                key,
                timing: Timing::default(),
            },
            request,
        )
    }

    /// Sends a request as `outgoing` says.
    ///
    /// # Errors
    /// [`StartError`]; nothing is sent then.
    pub fn start_with(
        &mut self,
        now: Instant,
        outgoing: Outgoing,
        request: &BindingRequest,
    ) -> Result<(), StartError> {
        if self.pending.len() >= MAX_TRANSACTIONS {
            return Err(StartError::TooMany);
        }
        let id = request.transaction_id;
        if self.pending.contains_key(&id) {
            return Err(StartError::Duplicate);
        }
        let payload = Bytes::from(request.encode(outgoing.key.as_ref())?);
        let mut pending = Pending {
            destination: outgoing.to,
            answers_from: outgoing.answers_from,
            payload,
            key: outgoing.key,
            timing: outgoing.timing,
            started: now,
            sent: 0,
            due: now,
        };
        self.transmits.push_back(pending.send(now));
        self.due.insert((pending.due, id));
        self.pending.insert(id, pending);
        Ok(())
    }

    /// Forgets a transaction: it neither is sent again nor ends with an event.
    pub fn cancel(&mut self, id: TransactionId) {
        if let Some(pending) = self.pending.remove(&id) {
            self.due.remove(&(pending.due, id));
        }
    }

    /// Transactions under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether none is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes a datagram that [`is_stun`](super::is_stun). Answers count from the asked address
    /// only, with an id that is waiting, and made with its key; any other is not ours.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Ownership {
        let Some(id) = datagram
            .get(8..20)
            .and_then(|id| <[u8; 12]>::try_from(id).ok())
            .map(TransactionId::from_bytes)
        else {
            return Ownership::NotOurs;
        };
        let Some(pending) = self.pending.get(&id) else {
            return Ownership::NotOurs;
        };
        if pending.answers_from != from {
            return Ownership::NotOurs;
        }
        if pending
            .key
            .as_ref()
            .is_some_and(|key| verify(datagram, key).is_err())
        {
            return Ownership::NotOurs;
        }
        let event = match Message::decode(datagram) {
            Ok(Message::Response(response)) => Event::Response {
                id,
                response,
                round_trip: (pending.sent == 1)
                    .then(|| now.saturating_duration_since(pending.started)),
            },
            Ok(Message::Error(error)) => Event::Refused { id, error },
            _ => return Ownership::NotOurs,
        };
        self.cancel(id);
        self.events.push_back(event);
        Ownership::Ours
    }

    /// Sends again what is due, and ends what was waited for long enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(due, id)) = self.due.first().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, id));
            let Some(pending) = self.pending.get_mut(&id) else {
                continue;
            };
            if pending.sent < pending.timing.sendings {
                self.transmits.push_back(pending.send(now));
                self.due.insert((pending.due, id));
            } else {
                self.pending.remove(&id);
                self.events.push_back(Event::TimedOut { id });
            }
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// The next transaction that ended.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

impl Pending {
    /// A late clock delays what follows; nothing is sent in a burst to catch up.
    fn send(&mut self, now: Instant) -> Transmit {
        self.sent += 1;
        let factor = if self.sent >= self.timing.sendings {
            self.timing.patience
        } else {
            1_u32.checked_shl(self.sent - 1).unwrap_or(u32::MAX)
        };
        self.due = now + self.timing.rto.saturating_mul(factor).min(MAX_WAIT);
        Transmit {
            destination: self.destination,
            payload: self.payload.clone(),
        }
    }
}

/// Longest wait between two sendings, so that no timing overflows the clock.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// Where a request goes and how.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The address asked.
    pub to: SocketAddr,
    /// The address that answers: another one after a [`ChangeRequest`](super::ChangeRequest).
    pub answers_from: SocketAddr,
    /// Authenticates the request and its answer.
    pub key: Option<IntegrityKey>,
    /// How it is repeated.
    pub timing: Timing,
}
