//! Whether the server still has the allocation, and what comes of its answer.

use std::time::Instant;

use super::{ALLOCATE, Allocation, State};
use crate::stun::{TransactionId, is_stun, refusal_code};
use crate::turn::AllocationError;
use crate::turn::refresher::Answer;

/// How long an allocation is asked to live, in seconds. What the protocol asks for: it must not
/// take the allocation to live longer than the server does.
const LIFETIME: u32 = 1_800;

impl Allocation {
    /// Asks with a request that only a server with the allocation answers well.
    pub(super) fn ask_for_life(&mut self) {
        self.refresh(LIFETIME);
    }

    pub(super) fn refresh(&mut self, seconds: u32) {
        let id = TransactionId::random(&mut self.rng);
        if let Some(request) = self.refresher.request(id, seconds) {
            self.remember(&request);
            let transmit = self.transmit(request);
            self.transmits.push_back(transmit);
        }
    }

    pub(super) fn remember(&mut self, request: &[u8]) {
        let (Some(id), Some(method)) = (id_of(request), request.first_chunk()) else {
            return;
        };
        if self.requests.iter().any(|(known, _)| *known == id) {
            return;
        }
        if self.requests.len() >= super::MAX_REMEMBERED {
            self.requests.pop_front();
        }
        self.requests.push_back((id, u16::from_be_bytes(*method)));
    }

    /// Whether this belongs to one of the last requests.
    pub(super) fn is_known(&self, frame: &[u8]) -> bool {
        let known = |id| self.requests.iter().any(|(known, _)| *known == id);
        is_stun(frame) && id_of(frame).is_some_and(known)
    }

    /// Takes a STUN message. Returns whether it answers a question of [`ask_for_life`] or
    /// [`clear`], of which the protocol knows nothing.
    ///
    /// [`ask_for_life`]: Self::ask_for_life
    /// [`clear`]: Self::clear
    pub(super) fn on_message(&mut self, now: Instant, frame: &[u8]) -> bool {
        let Some(id) = id_of(frame) else {
            return false;
        };
        let Some(&(_, method)) = self.requests.iter().find(|(known, _)| *known == id) else {
            return false;
        };
        match self.refresher.on_answer(id, frame) {
            Answer::Other => {
                if let Some((_, code)) = refusal_code(frame) {
                    self.on_refusal(id, method, code);
                }
                return false;
            }
            Answer::Again => match self.state {
                State::Clearing { .. } => self.refresh(0),
                State::Ready => self.refresh(LIFETIME),
                State::Allocating | State::Closing(_) | State::Ended => {}
            },
            Answer::No(code @ (401 | 441)) if matches!(self.state, State::Clearing { .. }) => {
                self.fail(AllocationError::of_code(code));
            }
            Answer::Yes | Answer::No(_) if matches!(self.state, State::Clearing { .. }) => {
                self.on_deleted(now);
            }
            Answer::Yes => self.liveness.on_heard(now),
            // Something is wrong there for the moment.
            Answer::No(500..) | Answer::Unclear => {}
            Answer::No(code) if self.state == State::Ready => {
                self.fail(AllocationError::of_code(code));
            }
            Answer::No(_) => {}
        }
        true
    }

    /// The protocol does not say why it was refused; the code of the refusal does.
    fn on_refusal(&mut self, id: TransactionId, method: u16, code: u16) {
        if method == ALLOCATE && self.state == State::Allocating {
            self.last_code = Some(code);
            if code == 401 {
                // The first one is how a server asks for credentials.
                self.unauthenticated.insert(id);
            }
        } else if code == 437 && self.state == State::Ready {
            self.fail(AllocationError::Expired);
        }
    }
}

fn id_of(frame: &[u8]) -> Option<TransactionId> {
    let id = frame.get(8..20)?.try_into().ok()?;
    Some(TransactionId::from_bytes(id))
}
