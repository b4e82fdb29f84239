//! Operations under way, as futures and streams. Dropping one withdraws it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use dhtnet_dht_core::node::Outcome;
use dhtnet_dht_core::value::{Value, ValueKey};
use dhtnet_dht_core::{Event, OperationId};
use futures_util::Stream;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;

use super::shared::DhtShared;

/// An operation that this handle waits for.
pub(super) struct Operation {
    id: OperationId,
    events: mpsc::Receiver<Event>,
    shared: Arc<DhtShared>,
    detached: bool,
}

impl Operation {
    pub(super) fn new(
        shared: Arc<DhtShared>,
        (id, events): (OperationId, mpsc::Receiver<Event>),
    ) -> Self {
        Self {
            id,
            events,
            shared,
            detached: false,
        }
    }

    /// The next event; none when the DHT was shut down.
    pub(super) async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.events.poll_recv(cx)
    }

    /// Waits for the end. None when the DHT was shut down.
    pub(super) async fn outcome(&mut self) -> Option<Outcome> {
        loop {
            if let Event::Done(_, outcome) = self.next().await? {
                return Some(outcome);
            }
        }
    }

    /// Lets the operation go on without this handle.
    pub(super) fn detach(mut self) -> OperationId {
        self.detached = true;
        self.shared.detach(self.id);
        self.id
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if !self.detached {
            self.shared.forget(self.id);
        }
    }
}

/// Peers of an info hash as they are found, each once. Ends with the lookup.
pub struct Peers {
    pub(super) operation: Operation,
    pub(super) queued: Vec<SocketAddr>,
    pub(super) seen: std::collections::HashSet<SocketAddr>,
}

/// Peers that one lookup tells: more than any swarm needs.
const MAX_PEERS: usize = 10_000;

impl Stream for Peers {
    type Item = SocketAddr;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SocketAddr>> {
        loop {
            if let Some(peer) = self.queued.pop() {
                if self.seen.len() < MAX_PEERS && self.seen.insert(peer) {
                    return Poll::Ready(Some(peer));
                }
                continue;
            }
            match std::task::ready!(self.operation.poll_next(cx)) {
                Some(Event::Peers(_, peers)) => {
                    self.queued = peers;
                    self.queued.reverse();
                }
                Some(Event::Done(..)) | None => return Poll::Ready(None),
                Some(_) => {}
            }
        }
    }
}

/// Values under a key as they are found, each newer version once. Ends with the lookup.
pub struct Values(pub(super) BoxStream<'static, Value>);

impl Stream for Values {
    type Item = Value;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Value>> {
        self.0.as_mut().poll_next(cx)
    }
}

/// A change under a key that is listened to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueEvent {
    /// The nearest nodes were asked to tell of changes; this many do.
    Listening(usize),
    /// A value is there, new or changed.
    New(Value),
    /// A value expired, or its owner removed it.
    Gone(ValueKey),
}

/// What happens under a key. Ends when the DHT is shut down; dropping it ends the subscription.
pub struct Subscription(pub(super) Operation);

impl Stream for Subscription {
    type Item = ValueEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ValueEvent>> {
        loop {
            return Poll::Ready(match std::task::ready!(self.0.poll_next(cx)) {
                Some(Event::Value(_, value)) => Some(ValueEvent::New(value)),
                Some(Event::Gone(_, key)) => Some(ValueEvent::Gone(key)),
                Some(Event::Listening(_, outcome)) => {
                    Some(ValueEvent::Listening(outcome.acknowledged))
                }
                Some(_) => continue,
                None => None,
            });
        }
    }
}
