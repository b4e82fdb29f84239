//! Connectivity checks: authenticated Binding requests on a pair of addresses (RFC 8445 section 7).
//!
//! A request towards a peer has the user name `peer's ufrag:own ufrag` and is made with the
//! peer's password; the answer is made with the same. What is not proved so is not answered, not
//! even with an error: to strangers there is nobody here. ICE-CONTROLLING and ICE-CONTROLLED are
//! not sent, since the roles follow from the ids ([`Role`](crate::punch::Role)).

mod outstanding;

use std::net::SocketAddr;

use bytes::Bytes;
use rand_core::Rng;

pub use self::outstanding::{MAX_OUTSTANDING, Outstanding, PATIENCE, Sent};
use crate::candidate::CandidateKind;
use crate::offer::Credentials;
use crate::stun::{self, BindingRequest, BindingResponse, IntegrityKey, Message, TransactionId};

/// Whether the sender of a check wants this pair used (RFC 8445 section 7.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nomination {
    /// It only wants to know whether the pair works.
    None,
    /// USE-CANDIDATE is set: this one, and no other of the punched ones.
    UseThis,
}

/// What a check goes through, as far as its sender knows. The other end of a relay looks like any
/// other address, so the sender tells by its priority: the type preference of relayed candidates
/// is 0 (RFC 8445 section 5.1.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From host to host.
    Direct,
    /// Through the sender's allocation at a relay.
    Relayed,
}

/// A datagram that is proved to be from the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A check; to be answered with [`Keys::answer`].
    Request {
        /// Its id.
        id: TransactionId,
        /// Whether the pair is nominated.
        nomination: Nomination,
        /// What it came through.
        way: Way,
    },
    /// The answer to one of ours.
    Response {
        /// The id of the request.
        id: TransactionId,
        /// Our address as the peer sees it.
        mapped: SocketAddr,
    },
}

/// Which of several sides a STUN message may be for, without proof: the [tag](Credentials::tag) of
/// the user fragment that a request names, or the one that the asker put at the beginning of the
/// id of what is answered ([`tagged`]).
#[must_use]
pub fn addressee(datagram: &[u8]) -> Option<u32> {
    match Message::decode(datagram).ok()? {
        Message::Request(request) => {
            let (to, _) = request.username.as_deref()?.split_once(':')?;
            u32::from_str_radix(to, 16).ok()
        }
        Message::Response(response) => {
            let [a, b, c, d, ..] = response.transaction_id.as_bytes();
            Some(u32::from_be_bytes([*a, *b, *c, *d]))
        }
        Message::Error(_) | Message::Indication(_) => None,
    }
}

/// An id whose answer finds its way to the side with this tag; the rest of it is random.
#[must_use]
pub fn tagged(tag: u32, rng: &mut impl Rng) -> TransactionId {
    let mut id = [0; 12];
    rng.fill_bytes(&mut id[4..]);
    id[..4].copy_from_slice(&tag.to_be_bytes());
    TransactionId::from_bytes(id)
}

/// What checks between two sides are made and proved with.
#[derive(Debug, Clone)]
pub struct Keys {
    own_ufrag: String,
    own: IntegrityKey,
    peer: Option<(String, IntegrityKey)>,
}

impl Keys {
    /// Keys of a side that does not know its peer yet: it can answer, and not ask.
    #[must_use]
    pub fn new(own: &Credentials) -> Self {
        Self {
            own_ufrag: own.ufrag(),
            own: key_of(own),
            peer: None,
        }
    }

    /// Takes what the peer has told.
    pub fn set_peer(&mut self, peer: &Credentials) {
        self.peer = Some((peer.ufrag(), key_of(peer)));
    }

    /// A check; none while the peer is not known.
    #[must_use]
    pub fn request(&self, id: TransactionId, nomination: Nomination, way: Way) -> Option<Bytes> {
        let (ufrag, key) = self.peer.as_ref()?;
        let mut request = BindingRequest::new(id);
        request.username = Some(format!("{ufrag}:{}", self.own_ufrag));
        // What the peer would give this address as peer-reflexive (RFC 8445 section 7.1.1).
        let kind = match way {
            Way::Direct => CandidateKind::PeerReflexive,
            Way::Relayed => CandidateKind::Relayed,
        };
        request.priority = Some((kind.preference() << 24) + 0xff_ffff);
        request.use_candidate = nomination == Nomination::UseThis;
        request.encode(Some(key)).ok().map(Bytes::from)
    }

    /// The answer to a check that came from `source`.
    #[must_use]
    pub fn answer(&self, id: TransactionId, source: SocketAddr) -> Bytes {
        BindingResponse::new(id, source)
            .encode(Some(&self.own))
            .into()
    }

    /// What a datagram says, if the peer has made it for us.
    #[must_use]
    pub fn open(&self, datagram: &[u8]) -> Option<Incoming> {
        match Message::decode(datagram).ok()? {
            Message::Request(request) if request.unknown.is_empty() => {
                let (to, from) = request.username.as_deref()?.split_once(':')?;
                let known = self.peer.as_ref().is_none_or(|(ufrag, _)| ufrag == from);
                if to != self.own_ufrag || !known {
                    return None;
                }
                stun::verify(datagram, &self.own).ok()?;
                let nomination = if request.use_candidate {
                    Nomination::UseThis
                } else {
                    Nomination::None
                };
                let relayed = |priority: u32| priority >> 24 == CandidateKind::Relayed.preference();
                let way = if request.priority.is_some_and(relayed) {
                    Way::Relayed
                } else {
                    Way::Direct
                };
                Some(Incoming::Request {
                    id: request.transaction_id,
                    nomination,
                    way,
                })
            }
            Message::Response(response) => {
                let (_, key) = self.peer.as_ref()?;
                stun::verify(datagram, key).ok()?;
                Some(Incoming::Response {
                    id: response.transaction_id,
                    mapped: response.mapped,
                })
            }
            Message::Request(_) | Message::Error(_) | Message::Indication(_) => None,
        }
    }
}

fn key_of(credentials: &Credentials) -> IntegrityKey {
    IntegrityKey::short_term(&credentials.password()).expect("hexadecimal digits are a password")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    const ID: TransactionId = TransactionId::from_bytes([7; 12]);

    fn pair() -> (Keys, Keys) {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (a, b) = (Credentials::random(&mut rng), Credentials::random(&mut rng));
        let (mut for_a, mut for_b) = (Keys::new(&a), Keys::new(&b));
        for_a.set_peer(&b);
        for_b.set_peer(&a);
        (for_a, for_b)
    }

    #[test]
    fn a_check_and_its_answer_are_opened_by_the_other_side_only() {
        let (a, b) = pair();
        let source: SocketAddr = "192.0.2.1:5".parse().unwrap();
        let ways = [Way::Direct, Way::Relayed];
        for (nomination, way) in [Nomination::None, Nomination::UseThis]
            .into_iter()
            .zip(ways)
        {
            let request = a.request(ID, nomination, way).unwrap();
            let opened = Incoming::Request {
                id: ID,
                nomination,
                way,
            };
            assert_eq!(b.open(&request), Some(opened));
            assert_eq!(a.open(&request), None);
            assert!(request.len() <= 88, "{}", request.len());
        }
        let answer = b.answer(ID, source);
        let mapped = source;
        assert_eq!(a.open(&answer), Some(Incoming::Response { id: ID, mapped }));
        assert_eq!(b.open(&answer), None);
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let stranger = Keys::new(&Credentials::random(&mut rng));
        assert_eq!(stranger.request(ID, Nomination::None, Way::Direct), None);
        assert_eq!(b.open(&stranger.answer(ID, source)), None);
    }

    #[test]
    fn a_check_and_its_answer_tell_whom_they_are_for() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (a, b) = (Credentials::random(&mut rng), Credentials::random(&mut rng));
        let (mut for_a, for_b) = (Keys::new(&a), Keys::new(&b));
        for_a.set_peer(&b);
        let id = tagged(a.tag(), &mut rng);
        let request = for_a.request(id, Nomination::None, Way::Direct).unwrap();
        assert_eq!(addressee(&request), Some(b.tag()));
        let answer = for_b.answer(id, "192.0.2.1:5".parse().unwrap());
        assert_eq!(addressee(&answer), Some(a.tag()));
        for cut in 0..answer.len() {
            assert_eq!(addressee(&answer[..cut]), None);
        }
    }

    #[test]
    fn a_side_that_does_not_know_its_peer_yet_opens_its_checks() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (a, b) = (Credentials::random(&mut rng), Credentials::random(&mut rng));
        let early = Keys::new(&a);
        let mut caller = Keys::new(&b);
        caller.set_peer(&a);
        let request = caller.request(ID, Nomination::None, Way::Direct).unwrap();
        assert!(early.open(&request).is_some());
    }

    #[test]
    fn a_changed_byte_or_a_cut_anywhere_makes_it_worthless() {
        let (a, b) = pair();
        let request = a.request(ID, Nomination::UseThis, Way::Direct).unwrap();
        // FINGERPRINT, the last eight bytes, is not what proves it.
        for at in 0..request.len() - 8 {
            let mut changed = request.to_vec();
            changed[at] ^= 1;
            assert_eq!(b.open(&changed), None, "byte {at}");
            assert_eq!(b.open(&request[..at]), None, "cut at {at}");
        }
    }
}
