//! What the handles of channels wait for.

use std::collections::{BTreeSet, HashMap};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use dhtnet_channel_mux::{self as mux, DeclineReason};

use crate::core::{ChannelKey, ConnectionKey};
use crate::error::{ChannelError, EndReason};

/// What a task can wait for on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    /// The peer's answer to our request.
    Answer,
    /// Bytes or datagrams to read.
    Read,
    /// Room to write.
    Write,
    /// Our direction acknowledged, or ended by the peer.
    Finish,
    /// The end of the whole channel by the policy or with the connection.
    Loss,
}

const INTERESTS: usize = 5;

/// One channel that somebody holds.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) accepted: bool,
    pub(crate) declined: Option<DeclineReason>,
    pub(crate) finished: bool,
    pub(crate) stopped: Option<u32>,
    /// The connection is over; what had arrived can still be read.
    pub(crate) ended: Option<EndReason>,
    wakers: [Option<Waker>; INTERESTS],
}

impl Cell {
    pub(crate) fn new(accepted: bool) -> Self {
        Self {
            accepted,
            declined: None,
            finished: false,
            stopped: None,
            ended: None,
            wakers: [const { None }; INTERESTS],
        }
    }

    /// Remembers to wake this task. One task may wait for each interest.
    pub(crate) fn wait<T>(&mut self, interest: Interest, cx: &mut Context<'_>) -> Poll<T> {
        let slot = &mut self.wakers[interest as usize];
        match slot {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => *slot = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Wakes whoever waits for `interest`; says whether somebody did.
    fn wake(&mut self, interest: Interest) -> bool {
        let waiting = self.wakers[interest as usize].take();
        waiting.map(Waker::wake).is_some()
    }

    fn wake_all(&mut self) {
        for waker in &mut self.wakers {
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
    }

    /// Why nothing more can be done on the channel, if that is so.
    pub(crate) fn failure(&self) -> Option<ChannelError> {
        if let Some(reason) = &self.declined {
            return Some(ChannelError::Declined(reason.clone()));
        }
        self.ended
            .as_ref()
            .map(|reason| ChannelError::ConnectionLost(reason.clone()))
    }
}

/// A ping on its way, by its nonce.
#[derive(Debug, Default)]
struct Ping {
    rtt: Option<Duration>,
    waker: Option<Waker>,
}

/// All channels that somebody holds, and the pings that are out.
#[derive(Debug, Default)]
pub(crate) struct ChannelTable {
    cells: HashMap<ChannelKey, Cell>,
    /// Channels whose own direction was finished and is not acknowledged yet, held or not.
    flushing: BTreeSet<ChannelKey>,
    pings: HashMap<(ConnectionKey, u64), Ping>,
    /// Whether a task was woken since this was last asked.
    woke: bool,
}

impl ChannelTable {
    pub(crate) fn insert(&mut self, key: ChannelKey, cell: Cell) {
        self.cells.insert(key, cell);
    }

    pub(crate) fn remove(&mut self, key: ChannelKey) {
        self.cells.remove(&key);
    }

    pub(crate) fn get_mut(&mut self, key: ChannelKey) -> Option<&mut Cell> {
        self.cells.get_mut(&key)
    }

    pub(crate) fn get(&self, key: ChannelKey) -> Option<&Cell> {
        self.cells.get(&key)
    }

    /// Notes that our direction was ended and the peer has yet to acknowledge it.
    pub(crate) fn begin_flush(&mut self, key: ChannelKey) {
        self.flushing.insert(key);
    }

    /// Whether something that was finished has not arrived yet.
    pub(crate) fn is_flushing(&self) -> bool {
        !self.flushing.is_empty()
    }

    /// Notes that the connection is over and wakes everybody who waited on it.
    pub(crate) fn on_connection_ended(&mut self, key: ConnectionKey, reason: &EndReason) {
        for (_, cell) in self.cells.iter_mut().filter(|(c, _)| c.connection == key) {
            cell.ended = Some(reason.clone());
            cell.wake_all();
        }
        self.flushing.retain(|c| c.connection != key);
        for (_, ping) in self.pings.iter_mut().filter(|((c, _), _)| *c == key) {
            if let Some(waker) = ping.waker.take() {
                waker.wake();
            }
        }
        self.pings.retain(|(c, _), _| *c != key);
    }

    /// Notes that the policy took a channel back and wakes everybody who waited on it.
    pub(crate) fn on_cut(&mut self, key: ChannelKey) {
        self.flushing.remove(&key);
        if let Some(cell) = self.cells.get_mut(&key) {
            cell.ended = Some(EndReason::NoLongerAllowed);
            cell.wake_all();
        }
    }

    /// Whether a task that holds a channel was woken since this was last asked.
    pub(crate) fn take_woke(&mut self) -> bool {
        std::mem::take(&mut self.woke)
    }

    /// Notes what the mux says about a channel and wakes whoever waited for it.
    pub(crate) fn on_event(&mut self, connection: ConnectionKey, event: mux::Event) {
        use mux::Event as E;
        let id = match &event {
            E::Accepted { id }
            | E::Declined { id, .. }
            | E::Readable { id }
            | E::Writable { id }
            | E::Finished { id }
            | E::Stopped { id, .. }
            | E::DatagramReadable { id }
            | E::Closed { id, .. } => *id,
            _ => return,
        };
        let key = ChannelKey {
            connection,
            channel: id,
        };
        if matches!(
            event,
            E::Finished { .. } | E::Stopped { .. } | E::Declined { .. } | E::Closed { .. }
        ) {
            self.flushing.remove(&key);
        }
        let Some(cell) = self.cells.get_mut(&key) else {
            return;
        };
        match event {
            E::Accepted { .. } => {
                cell.accepted = true;
                cell.wake(Interest::Answer);
            }
            E::Declined { reason, .. } => {
                cell.declined = Some(reason);
                cell.wake_all();
            }
            E::Readable { .. } | E::DatagramReadable { .. } => {
                self.woke |= cell.wake(Interest::Read);
            }
            E::Writable { .. } => {
                cell.wake(Interest::Write);
            }
            E::Finished { .. } => {
                cell.finished = true;
                cell.wake(Interest::Finish);
            }
            E::Stopped { code, .. } => {
                cell.stopped = Some(code);
                cell.wake(Interest::Write);
                cell.wake(Interest::Finish);
            }
            _ => cell.wake_all(),
        }
    }

    pub(crate) fn begin_ping(&mut self, connection: ConnectionKey, nonce: u64) {
        self.pings.insert((connection, nonce), Ping::default());
    }

    pub(crate) fn end_ping(&mut self, connection: ConnectionKey, nonce: u64) {
        self.pings.remove(&(connection, nonce));
    }

    /// Waits for a pong; `None` when the connection is over.
    pub(crate) fn poll_ping(
        &mut self,
        connection: ConnectionKey,
        nonce: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Duration>> {
        let Some(ping) = self.pings.get_mut(&(connection, nonce)) else {
            return Poll::Ready(None);
        };
        if let Some(rtt) = ping.rtt {
            return Poll::Ready(Some(rtt));
        }
        ping.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(crate) fn on_pong(&mut self, connection: ConnectionKey, nonce: u64, rtt: Duration) {
        if let Some(ping) = self.pings.get_mut(&(connection, nonce)) {
            ping.rtt = Some(rtt);
            if let Some(waker) = ping.waker.take() {
                waker.wake();
            }
        }
    }
}
