//! Where datagrams leave and come in: the sockets, and the relays behind them.

use std::sync::Arc;
use std::task::Context;
use std::time::Instant;

use super::Intake;
use super::relays::Streams;
use super::sockets::{Received, SendState, Sockets};
use crate::core::path::{PathAddress, Via};
use crate::core::{Destinations, Outgoing};
use crate::relays::{Leg, Queue, Relays};

/// The sockets and the relays.
pub(super) struct Outlet {
    pub(super) sockets: Sockets,
    relays: Arc<Relays>,
    pub(super) streams: Streams,
    /// What a socket could not take yet: what one sending made, and messages to relays.
    waiting: Queue,
}

impl Outlet {
    pub(super) fn new(sockets: Sockets, relays: Arc<Relays>) -> Self {
        Self {
            streams: Streams::new(sockets.mark()),
            sockets,
            relays,
            waiting: Queue::default(),
        }
    }

    pub(super) fn relays(&self) -> &Arc<Relays> {
        &self.relays
    }

    /// Receives one batch from each socket, and hands on every datagram in it.
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        intake: &mut Intake<'_>,
    ) -> Received {
        self.sockets
            .poll_receive(cx, |from, ecn, datagram| intake.take(from, ecn, datagram))
    }

    /// Sends a batch to each of its destinations, wrapped where that is behind a relay.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        outgoing: &Outgoing,
        buffer: &[u8],
    ) -> SendState {
        if self.poll_flush(cx) == SendState::Full {
            return SendState::Full;
        }
        if self.sockets.poll_send(cx, outgoing, buffer) == SendState::Full {
            return SendState::Full;
        }
        for to in outgoing.destinations.as_slice() {
            if let Via::Relay(number) = to.via {
                let datagrams = (&buffer[..outgoing.len], outgoing.segment);
                let through = (number, to.remote);
                self.relays
                    .wrap(Instant::now(), through, datagrams, &mut self.waiting);
            }
        }
        // What does not leave now leaves before anything else.
        self.poll_flush(cx);
        SendState::Gone
    }

    /// Sends a datagram of the DHT, through a relay where datagrams are blocked.
    pub(super) fn poll_send_dht(
        &mut self,
        cx: &mut Context<'_>,
        outgoing: &Outgoing,
        datagram: &[u8],
    ) -> SendState {
        let now = Instant::now();
        self.relays.reach().on_asked(now);
        let carrier = self.relays.carrier();
        let (Some(number), Destinations::One(to)) = (carrier, &outgoing.destinations) else {
            return self.poll_send(cx, outgoing, datagram);
        };
        if to.remote.is_ipv6() {
            return self.poll_send(cx, outgoing, datagram);
        }
        self.relays.admit(now, number, to.remote.ip());
        let carried = Outgoing {
            destinations: Destinations::One(PathAddress::relayed(number, to.remote)),
            ..*outgoing
        };
        self.poll_send(cx, &carried, datagram)
    }

    /// Sends a message to a relay, after what waits.
    pub(super) fn push(&mut self, leg: Leg, message: &[u8]) {
        match leg {
            Leg::Datagrams(_) => self.waiting.push(leg, message),
            Leg::Stream(number) => self.streams.write_message(number, message),
        }
    }

    /// Sends what waits.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> SendState {
        while let Some(batch) = self.waiting.front() {
            match batch.leg {
                Leg::Stream(number) => self.streams.write_datagrams(number, &batch.bytes),
                Leg::Datagrams(server) => {
                    let len = batch.bytes.len();
                    let outgoing = Outgoing {
                        len,
                        segment: (batch.segment < len).then_some(batch.segment),
                        ecn: None,
                        destinations: Destinations::One(PathAddress::to(server)),
                    };
                    if self.sockets.poll_send(cx, &outgoing, &batch.bytes) == SendState::Full {
                        return SendState::Full;
                    }
                }
            }
            self.waiting.pop();
        }
        SendState::Gone
    }
}
