//! Moves the datagrams and the time of a DHT node that stands alone. One that shares a node's
//! sockets is moved by the node's driver.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use dhtnet_dht_core::krpc;
use dhtnet_dht_core::node::Transmit;
use tokio::time::Sleep;

use super::relay_server::{Outbox, RelayHost};
use super::sockets::{Received, SendState, Sockets};
use crate::core::path::PathAddress;
use crate::core::{Destinations, Outgoing};
use crate::dht::DhtShared;

/// Batches received before what is to be sent gets its turn.
const RECEIVE_ROUNDS: usize = 8;

/// Datagrams sent before what was received gets its turn.
const SEND_ROUNDS: usize = 256;

/// Runs a DHT node until nobody holds it.
pub(crate) struct DhtDriver {
    shared: Arc<DhtShared>,
    sockets: Sockets,
    sender: DhtSender,
    timer: Pin<Box<Sleep>>,
    /// The relay that shares the sockets.
    relay: Option<Arc<RelayHost>>,
    outbox: Outbox,
}

impl Drop for DhtDriver {
    fn drop(&mut self) {
        if let Some(relay) = &self.relay {
            relay.close();
        }
    }
}

impl DhtDriver {
    /// Must be called inside a runtime.
    pub(crate) fn new(
        shared: Arc<DhtShared>,
        sockets: Sockets,
        relay: Option<Arc<RelayHost>>,
    ) -> Self {
        Self {
            shared,
            sockets,
            sender: DhtSender::default(),
            timer: Box::pin(tokio::time::sleep(std::time::Duration::ZERO)),
            relay,
            outbox: Outbox::default(),
        }
    }

    pub(crate) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Registered before anything is looked at: a wake from here on is a new round.
        self.shared.wake.register(cx.waker());
        let mut busy = self.receive(cx);
        if self.shared.is_closed() {
            return Poll::Ready(());
        }
        let deadline = self.shared.on_time(Instant::now());
        let sockets = &mut self.sockets;
        let send = |outgoing: &Outgoing, payload: &[u8]| sockets.poll_send(cx, outgoing, payload);
        busy |= self.sender.send(&self.shared, send);
        if let Some(deadline) = deadline {
            self.timer.as_mut().reset(deadline.into());
            busy |= self.timer.as_mut().poll(cx).is_ready();
        }
        if busy {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Takes what the sockets have. Returns whether there may be more.
    fn receive(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..RECEIVE_ROUNDS {
            let now = Instant::now();
            let (shared, relay, outbox) = (&self.shared, &self.relay, &mut self.outbox);
            let received = self.sockets.poll_receive(cx, |from, _, datagram| {
                // STUN and TURN never begin like this (RFC 9443, and "d" followed by a digit).
                if let Some(relay) = relay
                    && !krpc::looks_like_message(&datagram)
                    && relay.on_datagram(now, &from, &datagram, outbox)
                {
                    return;
                }
                shared.on_datagram(now, from.remote, from.local_ip, &datagram);
            });
            if let Some(relay) = relay {
                relay.flush(outbox);
            }
            if received == Received::Nothing {
                return false;
            }
        }
        true
    }
}

/// Sends what a DHT node has to send.
#[derive(Debug, Default)]
pub(super) struct DhtSender {
    /// A datagram that the socket could not take yet.
    unsent: Option<Transmit>,
}

impl DhtSender {
    /// Returns whether there is more.
    pub(super) fn send(
        &mut self,
        shared: &DhtShared,
        mut send: impl FnMut(&Outgoing, &[u8]) -> SendState,
    ) -> bool {
        for _ in 0..SEND_ROUNDS {
            let Some(transmit) = self.unsent.take().or_else(|| shared.poll_transmit()) else {
                return false;
            };
            let outgoing = Outgoing {
                len: transmit.payload.len(),
                segment: None,
                ecn: None,
                destinations: Destinations::One(PathAddress {
                    local_ip: transmit.local_ip,
                    ..PathAddress::to(transmit.destination)
                }),
            };
            if send(&outgoing, &transmit.payload) == SendState::Full {
                self.unsent = Some(transmit);
                return false;
            }
        }
        true
    }
}
