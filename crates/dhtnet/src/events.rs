//! What a node tells to those who watch it.

use dhtnet_identity::DeviceId;
use dhtnet_identity::policy::OwnedAction;
use tokio::sync::broadcast;

use crate::error::EndReason;
use crate::report::PathEvent;

/// Events kept for a subscriber that does not read; older ones are dropped and counted.
pub(crate) const MAX_QUEUED_EVENTS: usize = 256;

/// Something that happened on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A connection is up; both sides have proved their keys.
    Connected {
        /// With whom.
        peer: DeviceId,
        /// Whether this node began it.
        initiated: bool,
    },
    /// A connection is over.
    Disconnected {
        /// With whom.
        peer: DeviceId,
        /// Why.
        reason: EndReason,
    },
    /// The datagrams of a connection take another path, or none answers any more. What the
    /// channels carry is not touched by it.
    PathChanged {
        /// With whom.
        peer: DeviceId,
        /// What has happened.
        change: PathEvent,
    },
    /// The policy refused a connection (`action` is `None`) or a channel.
    Refused {
        /// Whom.
        peer: DeviceId,
        /// What was asked for.
        action: Option<OwnedAction>,
    },
    /// Decisions may be others from now on: another policy is in force, a grant or a certificate
    /// has ended, or a peer has shown credentials. Connections and channels that are no longer
    /// allowed are cut before this is told; what an application decided with
    /// [`Node::decide`](crate::Node::decide) it has to ask again.
    PolicyChanged,
}

/// A subscription to the events of a node, see [`Node::events`](crate::Node::events).
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
    missed: u64,
}

impl Events {
    pub(crate) fn new(receiver: broadcast::Receiver<Event>) -> Self {
        Self {
            receiver,
            missed: 0,
        }
    }

    /// The next event; `None` after the node is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(count)) => self.missed += count,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// How many events were dropped because this subscription was not read in time.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}
