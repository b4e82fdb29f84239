//! The application's answer to a request of the peer.

use std::time::Instant;

use bytes::Bytes;

use crate::channel::{Phase, RecvSide};
use crate::codec::{self, AnswerFrame};
use crate::error::AnswerError;
use crate::event::{ChannelId, Event};
use crate::link::Link;
use crate::mux::Mux;
use crate::reason::DeclineReason;
use crate::request::ChannelKind;

impl Mux {
    /// Accepts a request: the channel is open at once, and what the opener wrote ahead can be
    /// read.
    ///
    /// # Errors
    /// See [`AnswerError`].
    pub fn accept(
        &mut self,
        link: &mut impl Link,
        now: Instant,
        id: ChannelId,
    ) -> Result<(), AnswerError> {
        self.check_offered(id)?;
        self.stats.accepted += 1;
        self.deadlines.clear(Some(id));
        self.table.move_to(id, Phase::Open);
        if let Some(channel) = self.table.channel_mut(id) {
            channel.preface = codec::encode_answer(&AnswerFrame::Accepted);
            // The application has it.
            channel.request.metadata = Bytes::new();
            channel.last_activity = now;
        }
        self.flush(link, id);
        self.announce_received(link, id);
        self.settle(link, now);
        Ok(())
    }

    /// Declines a request. What the opener wrote ahead is thrown away; [`Event::Closed`] follows
    /// when the opener has the answer.
    ///
    /// # Errors
    /// See [`AnswerError`].
    pub fn decline(
        &mut self,
        link: &mut impl Link,
        now: Instant,
        id: ChannelId,
        reason: impl Into<DeclineReason>,
    ) -> Result<(), AnswerError> {
        self.check_offered(id)?;
        if let Some(channel) = self.table.channel_mut(id) {
            channel.last_activity = now;
        }
        self.decline_with(link, id, &reason.into());
        self.settle(link, now);
        Ok(())
    }

    fn check_offered(&self, id: ChannelId) -> Result<(), AnswerError> {
        match self.table.channel(id).map(|channel| &channel.phase) {
            Some(Phase::Offered) => Ok(()),
            Some(Phase::Receiving(_) | Phase::Declining) | None => Err(AnswerError::Gone),
            Some(_) => Err(AnswerError::NotOffered),
        }
    }

    /// What arrived before or behind the answer was announced by the link then, and is not again.
    pub(super) fn announce_received(&mut self, link: &mut dyn Link, id: ChannelId) {
        let Some(channel) = self.table.channel(id) else {
            return;
        };
        match channel.request.kind {
            ChannelKind::Stream => self.events.push_back(Event::Readable { id }),
            ChannelKind::Datagrams => {
                if channel.inbox.len() > 0 && channel.recv == RecvSide::Open {
                    self.events.push_back(Event::DatagramReadable { id });
                }
                self.read_lifeline(link, id);
            }
        }
    }
}
