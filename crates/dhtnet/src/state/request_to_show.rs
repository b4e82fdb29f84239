//! Asking peers that are connected already to show their credentials: the handshake said that nobody
//! here wants any, and now the policy does.

use std::time::Instant;

use bytes::Bytes;
use dhtnet_channel_mux::{self as mux, DeclineCode, DeclineReason};

use super::State;
use crate::core::ConnectionKey;

/// The channel that asks for credentials, opened by the one that wants them; nothing is said on it.
/// No application can listen under this name. A peer that does not know it declines.
pub(crate) const WANTED_CHANNEL: &str = "dhtnet.credentials.wanted";

impl State {
    /// The policy has begun to want credentials: everybody is asked.
    pub(super) fn ask_all_to_show(&mut self, now: Instant) {
        self.wants_since = Some(now);
        for key in self.showings.keys() {
            self.ask_to_show(now, key);
            let may = |showing: &super::credentials::Showing| showing.may_show_more();
            if self.showings.get(key).is_some_and(may) {
                self.showings.reprieve(now, key);
            }
        }
    }

    /// Whether the handshake of a connection may have said that nobody wants credentials here,
    /// though the policy now does.
    pub(super) fn was_asked_too_early(&self, key: ConnectionKey) -> bool {
        let begun = self.core.get(key).map(|connection| connection.since);
        let wanted = self.policy.wants_credentials();
        let overlaps = self
            .wants_since
            .zip(begun)
            .is_some_and(|(at, begun)| begun <= at);
        wanted && overlaps
    }

    pub(super) fn ask_to_show(&mut self, now: Instant, key: ConnectionKey) {
        self.say_once(now, (key, WANTED_CHANNEL), Bytes::new());
    }

    /// The peer wants to be shown what this device has.
    pub(super) fn on_request_to_show(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        id: mux::ChannelId,
    ) {
        let showing = self.showings.get_mut(key);
        let stranger = showing.as_ref().is_none_or(|one| one.is_stranger());
        let answered = showing.is_some_and(super::credentials::Showing::on_asked);
        // The request may be gone by now; then there is nobody to tell.
        self.core.with_mux(key, |mux, link| {
            if !answered {
                let _ = mux.decline(link, now, id, DeclineReason::from(DeclineCode::Busy));
            } else if mux.accept(link, now, id).is_ok() {
                let _ = mux.finish(link, now, id);
                let _ = mux.stop(link, now, id, 0);
            }
        });
        if answered && !stranger {
            self.show(now, key);
        }
    }
}
