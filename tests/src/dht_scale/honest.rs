//! The production node as a machine of a simulated network, and what it is asked to do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dhtnet_dht_core::node::{Config, Event, Item, Node, OperationId, Outcome, Scope};
use dhtnet_dht_core::{Family, Id};
use dhtnet_simnet::{Machine, Rng, Transmit};

use super::content::Content;

/// The day on which every simulation begins, as seconds since 1970.
const WALL: Duration = Duration::from_secs(1_800_000_000);

/// What a node is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// Find the nodes nearest to a target.
    Lookup(Id),
    /// Store something.
    Put(Content),
    /// Store it again and again, for as long as the node lives.
    Keep(Content),
    /// Fetch what should be this.
    Get(Content),
}

/// How far a wish has come.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// When the first content came, from the beginning.
    pub(super) found_after: Option<Duration>,
    /// What came.
    pub(super) found: Vec<Content>,
    /// Set at the end.
    pub(super) outcome: Option<Outcome>,
}

#[derive(Debug)]
struct Running {
    id: OperationId,
    started: Instant,
    progress: Progress,
}

/// A production node and its wishes under way.
#[derive(Debug)]
pub(super) struct Honest {
    node: Node,
    running: Vec<Running>,
}

impl Honest {
    /// A node that knows one other, or nobody.
    pub(super) fn new(
        config: Arc<Config>,
        now: Instant,
        elapsed: Duration,
        rng: &mut Rng,
        known: Option<SocketAddr>,
    ) -> Self {
        let mut seed = [0; 32];
        for word in seed.chunks_exact_mut(8) {
            word.copy_from_slice(&rng.next_u64().to_le_bytes());
        }
        let mut node = Node::new(config, now, WALL + elapsed, seed);
        if let Some(address) = known {
            node.add_bootstrap(now, address);
        }
        Self {
            node,
            running: Vec::new(),
        }
    }

    pub(super) fn id(&self) -> Id {
        self.node.id(Family::V4).unwrap_or_default()
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// Begins what is wished; none if it cannot be.
    pub(super) fn start(&mut self, now: Instant, wish: &Wish) -> Option<OperationId> {
        let node = &mut self.node;
        let id = match wish {
            Wish::Lookup(target) => Some(node.find_node(now, *target, Scope::Network)),
            Wish::Put(Content::Immutable(value)) => {
                node.put_immutable(now, value, Scope::Network).ok()
            }
            Wish::Put(Content::Mutable(item)) => {
                Some(node.put_mutable(now, item.clone(), None, Scope::Network))
            }
            Wish::Keep(content) => node.publish(now, content.publication()).ok(),
            Wish::Get(content) => Some(node.find_item(now, content.target(), b"", Scope::Network)),
        }?;
        self.running.push(Running {
            id,
            started: now,
            progress: Progress::default(),
        });
        self.drain(now);
        Some(id)
    }

    /// Whether a wish is over.
    pub(super) fn is_over(&self, id: OperationId) -> bool {
        let running = self.running.iter().find(|running| running.id == id);
        running.is_none_or(|running| running.progress.outcome.is_some())
    }

    /// What a wish has come to; it is forgotten.
    pub(super) fn take(&mut self, id: OperationId) -> Option<Progress> {
        let at = self.running.iter().position(|running| running.id == id)?;
        let progress = self.running.swap_remove(at).progress;
        if self.running.is_empty() {
            self.running = Vec::new();
        }
        Some(progress)
    }

    fn drain(&mut self, now: Instant) {
        while let Some(event) = self.node.poll_event() {
            match event {
                Event::Item(id, Item::Immutable(value)) => {
                    self.on_found(now, id, Content::Immutable(value));
                }
                Event::Item(id, Item::Mutable(item)) => {
                    self.on_found(now, id, Content::Mutable(item));
                }
                Event::Done(id, outcome) => {
                    if let Some(running) = self.find(id) {
                        running.progress.outcome = Some(outcome);
                    }
                }
                _ => {}
            }
        }
    }

    fn on_found(&mut self, now: Instant, id: OperationId, content: Content) {
        if let Some(running) = self.find(id) {
            let after = now - running.started;
            running.progress.found_after.get_or_insert(after);
            running.progress.found.push(content);
        }
    }

    fn find(&mut self, id: OperationId) -> Option<&mut Running> {
        self.running.iter_mut().find(|running| running.id == id)
    }
}

impl Machine for Honest {
    fn handle_datagram(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) {
        self.node.handle_datagram(now, source, None, datagram);
        self.drain(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.node.handle_timeout(now);
        self.drain(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.node.poll_timeout()
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.node.poll_transmit().map(|transmit| Transmit {
            destination: transmit.destination,
            payload: transmit.payload,
        })
    }
}
