//! What the handles of a DHT and the task that moves its datagrams share.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use dhtnet_dht_core::node::Transmit;
use dhtnet_dht_core::{Event, Family, Node, OperationId};
use futures_util::task::AtomicWaker;
use tokio::sync::{mpsc, watch};

/// Events that wait for the reader of one operation. A lookup makes a few hundred at most; of a
/// subscription that nobody reads the later ones are dropped.
const MAX_WAITING: usize = 4_096;

/// How the way into the network stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) ready: [bool; 2],
    /// The external address per family, as others see it.
    pub(crate) external: [Option<SocketAddr>; 2],
}

pub(crate) struct Inner {
    pub(crate) node: Node,
    waiting: HashMap<OperationId, mpsc::Sender<Event>>,
    pub(crate) closed: bool,
}

/// One DHT node behind a lock.
pub(crate) struct DhtShared {
    inner: Mutex<Inner>,
    /// Wakes the task that moves the datagrams.
    pub(crate) wake: AtomicWaker,
    pub(crate) readiness: watch::Sender<Readiness>,
}

impl DhtShared {
    pub(crate) fn new(node: Node) -> Self {
        Self {
            inner: Mutex::new(Inner {
                node,
                waiting: HashMap::new(),
                closed: false,
            }),
            wake: AtomicWaker::new(),
            readiness: watch::Sender::new(Readiness::default()),
        }
    }

    /// Locks the node. A panic of another holder is not spread: every change is made whole under
    /// one lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `action` on the node and wakes the task.
    pub(crate) fn with<T>(&self, action: impl FnOnce(&mut Node, Instant) -> T) -> T {
        let now = Instant::now();
        let mut inner = self.lock();
        let result = action(&mut inner.node, now);
        self.pump(&mut inner);
        drop(inner);
        self.wake.wake();
        result
    }

    /// Begins an operation whose events come out of the receiver. None after the end.
    pub(crate) fn begin<E>(
        &self,
        verb: impl FnOnce(&mut Node, Instant) -> Result<OperationId, E>,
    ) -> Result<Option<(OperationId, mpsc::Receiver<Event>)>, E> {
        let now = Instant::now();
        let mut inner = self.lock();
        if inner.closed {
            return Ok(None);
        }
        let id = verb(&mut inner.node, now)?;
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        inner.waiting.insert(id, sender);
        self.pump(&mut inner);
        drop(inner);
        self.wake.wake();
        Ok(Some((id, receiver)))
    }

    /// Ends an operation that nobody waits for any longer.
    pub(crate) fn forget(&self, id: OperationId) {
        let mut inner = self.lock();
        if inner.waiting.remove(&id).is_some() {
            inner.node.cancel(Instant::now(), id);
        }
        drop(inner);
        self.wake.wake();
    }

    /// No longer waits for an operation, which goes on.
    pub(crate) fn detach(&self, id: OperationId) {
        self.lock().waiting.remove(&id);
    }

    /// Hands out the node's events.
    pub(crate) fn pump(&self, inner: &mut Inner) {
        while let Some(event) = inner.node.poll_event() {
            match &event {
                Event::Ready(family) => self.on_readiness(|now| now.ready[family.index()] = true),
                Event::ExternalAddress(address) => {
                    let family = Family::of(address);
                    self.on_readiness(|now| now.external[family.index()] = Some(*address));
                }
                _ => {}
            }
            let Some(id) = event.operation() else {
                continue;
            };
            let is_last = matches!(event, Event::Done(..));
            if let Some(sender) = inner.waiting.get(&id) {
                // A reader that does not read loses what comes later, not the end.
                let _ = sender.try_send(event);
            }
            if is_last {
                inner.waiting.remove(&id);
            }
        }
    }

    fn on_readiness(&self, change: impl FnOnce(&mut Readiness)) {
        self.readiness.send_modify(change);
    }

    /// A datagram came in.
    pub(crate) fn on_datagram(
        &self,
        now: Instant,
        source: SocketAddr,
        local_ip: Option<std::net::IpAddr>,
        datagram: &[u8],
    ) {
        let mut inner = self.lock();
        inner.node.handle_datagram(now, source, local_ip, datagram);
        self.pump(&mut inner);
    }

    /// Time passed. Returns when to call again.
    pub(crate) fn on_time(&self, now: Instant) -> Option<Instant> {
        let mut inner = self.lock();
        let mut rounds = 0;
        while let Some(due) = inner.node.poll_timeout()
            && due <= now
            && rounds < 8
        {
            inner.node.handle_timeout(now);
            rounds += 1;
        }
        self.pump(&mut inner);
        inner.node.poll_timeout()
    }

    /// The next datagrams to send.
    pub(crate) fn poll_transmit(&self) -> Option<Transmit> {
        self.lock().node.poll_transmit()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Ends everything; whoever waits is told.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.waiting.clear();
        drop(inner);
        self.wake.wake();
    }
}
