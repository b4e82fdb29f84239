//! Moves the calls through NATs: their datagrams, their time, the sockets they want, and the paths
//! they find.

use std::task::Context;
use std::time::Instant;

use bytes::Bytes;

use super::Driver;
use super::outlet::Outlet;
use super::sockets::SendState;
use crate::core::path::{PathAddress, Via};
use crate::core::{Destinations, Outgoing};
use crate::traversal::{Order, Sessions};

/// Datagrams sent before what was received gets its turn.
const SEND_ROUNDS: usize = 256;

/// Sends what the sessions have to send.
#[derive(Debug, Default)]
pub(super) struct SessionSender {
    /// A datagram that the socket could not take yet.
    unsent: Option<(PathAddress, Bytes)>,
}

impl SessionSender {
    /// Returns whether there is more.
    fn send(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        (sessions, outlet): (&Sessions, &mut Outlet),
    ) -> bool {
        for _ in 0..SEND_ROUNDS {
            let next = self.unsent.take().or_else(|| sessions.poll_transmit(now));
            let Some((to, payload)) = next else {
                return false;
            };
            let outgoing = Outgoing {
                len: payload.len(),
                segment: None,
                ecn: None,
                destinations: Destinations::One(to),
            };
            if outlet.poll_send(cx, &outgoing, &payload) == SendState::Full {
                self.unsent = Some((to, payload));
                return false;
            }
        }
        true
    }
}

impl Driver {
    /// Returns when to come again, and whether there is more to do.
    pub(super) fn drive_sessions(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> (Option<Instant>, bool) {
        let sessions = self.sessions.clone();
        sessions.on_time(now);
        if sessions.is_untidy(now) {
            let state = self.shared.lock();
            sessions.tidy(now, |peer| state.peers.primary(peer).is_some());
        }
        let mut opened = false;
        while let Some(order) = sessions.poll_order() {
            match order {
                Order::Open(number) => {
                    let result = self.outlet.sockets.open_extra(number, true);
                    if let Err(error) = &result {
                        tracing::debug!(%error, "no further socket for punching");
                    }
                    sessions.on_opened(number, result.is_ok());
                    opened = true;
                }
                Order::Close(number) => {
                    self.outlet.sockets.close_extra(number);
                    let mut state = self.shared.lock();
                    state.core.on_via_gone(now, Via::Extra(number));
                }
                Order::Enlarge(number) => self.outlet.sockets.enlarge_extra(number),
            }
        }
        let more = self
            .session_sender
            .send(cx, now, (&sessions, &mut self.outlet));
        let mut found = false;
        while let Some(way) = sessions.poll_found() {
            let mut state = self.shared.lock();
            if let Err(error) = state.try_path(now, &way.peer, way.route) {
                tracing::debug!(%error, "a path that works cannot be used");
            }
            found = true;
        }
        // New sockets are asked for what has come to them, and what was found is sent to.
        (sessions.poll_timeout(), more || opened || found)
    }
}
