//! Getting past an allocation that the server still holds for this socket: of a process before this
//! one that was killed, or one that was taken to have expired. It is deleted, and another one asked
//! for.

use std::time::{Duration, Instant};

use turn_client_proto::udp::TurnClientUdp;

use super::{Allocation, State};
use crate::turn::{AllocationError, GIVE_UP};

/// Time between two requests to delete it (compare RFC 8489 section 6.2.1), and between two for
/// another one: coturn deletes a second after it has said that it did.
const AGAIN: Duration = Duration::from_millis(500);

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clearing {
    /// When it is given up.
    until: Instant,
    is_deleted: bool,
}

impl Allocation {
    /// The server has refused an allocation because it holds one.
    pub(super) fn clear(&mut self, now: Instant) {
        let begun = self.clearing.is_some();
        let clearing = *self.clearing.get_or_insert(Clearing {
            until: now + GIVE_UP,
            is_deleted: false,
        });
        if now >= clearing.until {
            return self.fail(AllocationError::InUse);
        }
        self.state = State::Clearing { again: now + AGAIN };
        self.wake = None;
        if !begun {
            self.refresh(0);
        }
    }

    /// The server has answered that it deletes, or that there is nothing to delete.
    pub(super) fn on_deleted(&mut self, now: Instant) {
        if let Some(clearing) = &mut self.clearing {
            clearing.is_deleted = true;
        }
        self.begin_anew(now);
    }

    /// Time has passed without an answer, or since the last refusal.
    pub(super) fn go_on_clearing(&mut self, now: Instant) {
        match self.clearing {
            Some(clearing) if now >= clearing.until => self.fail(AllocationError::InUse),
            Some(clearing) if clearing.is_deleted => self.begin_anew(now),
            _ => {
                self.state = State::Clearing { again: now + AGAIN };
                self.refresh(0);
            }
        }
    }

    fn begin_anew(&mut self, now: Instant) {
        let config = self.config.clone();
        self.inner = TurnClientUdp::allocate(self.local, self.server, config);
        self.state = State::Allocating;
        // Late answers to what was asked before are not taken for answers to what is asked now.
        self.requests.clear();
        self.unauthenticated.clear();
        self.last_code = None;
        self.drain(now);
    }
}
