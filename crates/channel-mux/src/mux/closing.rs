//! The graceful end of a connection: GoAway, the last channels, Bye.
//!
//! A side that closes sends GoAway. From then on it declines requests, its peer makes none, and
//! what is open goes on. A side that has no channel left says Bye; with the peer's Bye it is
//! drained: everything that either side finished was acknowledged, and the connection can be
//! closed without losing a byte.

use std::time::Instant;

use crate::codec::ControlFrame;
use crate::event::{ChannelId, Event};
use crate::link::Link;
use crate::mux::Mux;
use crate::reason::{CloseReason, DeclineCode, DeclineReason};

/// How far the end has come.
#[derive(Debug, Default)]
pub(super) struct Closing {
    ours: bool,
    theirs: bool,
    bye_sent: bool,
    bye_received: bool,
    drained: bool,
}

impl Closing {
    /// Either side sent GoAway.
    pub(super) fn has_begun(&self) -> bool {
        self.ours || self.theirs
    }

    /// This side sent GoAway.
    pub(super) fn is_ours(&self) -> bool {
        self.ours
    }
}

impl Mux {
    /// Closes gracefully: tells the peer, opens and accepts nothing new, declines the own opens
    /// that still wait for a stream, and lets the other channels come to their end.
    /// [`Event::Drained`] says when there is none left on either side. The driver sets the limit
    /// of how long it waits for that. Nothing happens the second time.
    pub fn close(&mut self, link: &mut impl Link, now: Instant, reason: CloseReason) {
        if self.dead || self.closing.ours {
            return;
        }
        self.closing.ours = true;
        let sent = self.control.send(link, &ControlFrame::GoAway(reason));
        self.check(sent);
        let shutting_down = DeclineReason::new(DeclineCode::ShuttingDown, "closed here");
        self.decline_queued(link, &shutting_down);
        self.settle(link, now);
    }

    pub(super) fn on_go_away(&mut self, link: &mut dyn Link, reason: CloseReason) {
        if self.closing.theirs {
            return;
        }
        self.closing.theirs = true;
        self.events.push_back(Event::GoAway { reason });
        self.decline_queued(link, &DeclineCode::ShuttingDown.into());
    }

    pub(super) fn on_bye(&mut self) {
        self.closing.bye_received = true;
    }

    /// Says Bye when the last channel is gone, and `Drained` when the peer's last is gone too.
    pub(super) fn advance_closing(&mut self, link: &mut dyn Link) {
        let empty = self.table.len() == 0 && self.control.peer_said_hello();
        if !self.closing.has_begun() || !empty || self.closing.drained {
            return;
        }
        if !self.closing.bye_sent {
            self.closing.bye_sent = true;
            let sent = self.control.send(link, &ControlFrame::Bye);
            self.check(sent);
        }
        if self.closing.bye_received && !self.dead {
            self.closing.drained = true;
            self.events.push_back(Event::Drained);
        }
    }

    fn decline_queued(&mut self, link: &mut dyn Link, reason: &DeclineReason) {
        let queued: Vec<ChannelId> = self.table.queue().iter().copied().collect();
        for id in queued {
            self.on_declined(link, id, reason.clone());
        }
    }
}
