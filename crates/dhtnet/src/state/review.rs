//! Looking again at what was allowed: when the policy is another one, when something in it or in
//! the credentials of a peer ends, and when a peer shows more.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use dhtnet_channel_mux::{DeclineCode, DeclineReason};
use dhtnet_identity::DeviceId;
use dhtnet_identity::policy::{Action, Decision, Policy, Presented};

use super::admission::audit;
use super::{State, credentials::Showing};
use crate::core::{ChannelKey, ConnectionKey};
use crate::error::{EndReason, close_code};
use crate::events::Event;
use crate::hello::Hello;

/// Longest sleep until the next look at the wall clock. It can be set, and goes on while a machine
/// sleeps, other than the clock that timers follow.
const LOOK_AT_THE_CLOCK: Duration = Duration::from_secs(10);

/// When a decision could become another one by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Review {
    /// The moment.
    due: SystemTime,
    /// When to look whether it has come.
    look: Instant,
}

impl Review {
    fn at(due: SystemTime, (now, wall): (Instant, SystemTime)) -> Self {
        let wait = due.duration_since(wall).unwrap_or_default();
        let look = now + wait.min(LOOK_AT_THE_CLOCK);
        Self { due, look }
    }
}

impl State {
    /// What is said in handshakes: it follows from the policy and the own credentials.
    pub(crate) fn hello(&self) -> Hello {
        Hello {
            instance: self.instance,
            wants: self.policy.wants_credentials(),
            shows: !self.own_credentials.is_empty(),
        }
    }

    /// Puts another policy in force and cuts what it does not allow.
    pub(crate) fn set_policy(&mut self, policy: Policy, times: (Instant, SystemTime)) {
        let wanted = self.policy.wants_credentials();
        self.policy = Arc::new(policy);
        self.core.set_hello(self.hello());
        if !wanted && self.policy.wants_credentials() {
            self.ask_all_to_show(times.0);
        }
        self.review(times);
    }

    /// Shows other credentials from now on, also on the connections that are up.
    pub(crate) fn set_credentials(&mut self, credentials: &Presented, now: Instant) {
        self.own_credentials = encode(credentials);
        self.core.set_hello(self.hello());
        for key in self.showings.keys() {
            let stranger = self.showings.get(key).is_none_or(Showing::is_stranger);
            if !stranger {
                self.show(now, key);
            }
        }
    }

    /// When [`State::handle_timeout`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let review = self.next_review.map(|review| review.look);
        let own = [self.showings.next_deadline(), review];
        own.into_iter()
            .chain([self.core.poll_timeout()])
            .flatten()
            .min()
    }

    /// Does what is due. The wall clock is read only when something is.
    pub(crate) fn handle_timeout(&mut self, now: Instant, wall_clock: fn() -> SystemTime) {
        if self.core.poll_timeout().is_some_and(|at| at <= now) {
            self.core.handle_timeout(now);
        }
        while let Some(key) = self.showings.overdue(now) {
            tracing::debug!("a peer did not show its credentials in time");
            let times = (now, wall_clock());
            self.judge_awaited(times, key);
            self.review_connection(times, key);
            self.arm_review(times, key);
        }
        if let Some(review) = self.next_review.filter(|review| review.look <= now) {
            let wall = wall_clock();
            if review.due <= wall {
                self.review((now, wall));
            } else {
                self.next_review = Some(Review::at(review.due, (now, wall)));
            }
        }
    }

    /// Judges every connection and every channel that a peer was given.
    pub(crate) fn review(&mut self, times: (Instant, SystemTime)) {
        self.next_review = None;
        for key in self.showings.keys() {
            if let Some(showing) = self.showings.get_mut(key) {
                showing.examine(&self.policy, times.1);
            }
            if !self.policy.wants_credentials() {
                self.judge_awaited(times, key);
            }
            self.review_connection(times, key);
            self.arm_review(times, key);
        }
        self.tell(Event::PolicyChanged);
    }

    /// Judges one connection: it ends if its peer began it and may not be here, and the channels
    /// that the peer may not have any more end in any case.
    pub(super) fn review_connection(
        &mut self,
        (now, wall): (Instant, SystemTime),
        key: ConnectionKey,
    ) {
        let Some(showing) = self.showings.get(key) else {
            return;
        };
        let peer = *showing.credentials.peer();
        let decision = self.policy.admits_with(&showing.credentials, wall);
        let banned = decision.cause == dhtnet_identity::policy::Cause::Ban;
        if showing.is_reprieved() && !banned {
            return;
        }
        let stays = showing.initiated || (showing.is_stranger() && !banned);
        if !decision.is_allowed() && !stays {
            return self.cut_connection(now, key, (peer, &decision));
        }
        for (channel, action, decision) in showing.no_longer_granted(&self.policy, wall) {
            audit(&peer, &action.as_action(), &decision);
            let connection = key;
            self.cut_channel(
                now,
                ChannelKey {
                    connection,
                    channel,
                },
            );
            let action = Some(action);
            self.tell(Event::Refused { peer, action });
        }
    }

    fn cut_connection(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        (peer, decision): (DeviceId, &Decision),
    ) {
        audit(&peer, &Action::new("connect"), decision);
        self.tell(Event::Refused { peer, action: None });
        self.showings.on_connection_ended(key);
        let reason = EndReason::NoLongerAllowed;
        self.core.end(now, key, close_code::REFUSED, reason);
    }

    fn cut_channel(&mut self, now: Instant, key: ChannelKey) {
        self.core.with_mux(key.connection, |mux, link| {
            let reason = DeclineReason::from(DeclineCode::Policy);
            // One that was not answered yet is declined; one that is open is taken back.
            if mux.decline(link, now, key.channel, reason).is_err() {
                mux.cut(link, now, key.channel, DeclineCode::Policy);
            }
        });
        self.channels.on_cut(key);
        if let Some(showing) = self.showings.get_mut(key.connection) {
            showing.on_closed(key.channel);
        }
    }

    /// Notes when a decision about this peer could become another one by itself.
    pub(super) fn arm_review(&mut self, times: (Instant, SystemTime), key: ConnectionKey) {
        let Some(showing) = self.showings.get(key) else {
            return;
        };
        let Some(due) = self.policy.next_change(&showing.credentials, times.1) else {
            return;
        };
        if self.next_review.is_none_or(|review| due < review.due) {
            self.next_review = Some(Review::at(due, times));
        }
    }
}

/// The bytes to show; none without credentials.
pub(crate) fn encode(credentials: &Presented) -> bytes::Bytes {
    match credentials.is_empty() {
        true => bytes::Bytes::new(),
        false => credentials.encode().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_far_moment_is_looked_for_again_and_again_and_a_past_one_at_once() {
        let (now, wall) = (Instant::now(), SystemTime::UNIX_EPOCH + LOOK_AT_THE_CLOCK);
        let look = |due| Review::at(due, (now, wall)).look;
        assert_eq!(
            look(wall + Duration::from_secs(1)),
            now + Duration::from_secs(1)
        );
        assert_eq!(
            look(wall + LOOK_AT_THE_CLOCK * 100),
            now + LOOK_AT_THE_CLOCK
        );
        assert_eq!(look(SystemTime::UNIX_EPOCH), now);
    }
}
