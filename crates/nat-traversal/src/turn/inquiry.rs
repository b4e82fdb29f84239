//! Asking a server for its realm before there is a password: its refusal of an Allocate request
//! without credentials tells it (RFC 8489 section 9.2.3).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::Rng;

use super::error::StreamError;
use super::framing::Framer;
use super::{GIVE_UP, Link};
use crate::stun::{HEADER_LEN, MAGIC_COOKIE, TransactionId, Transmit, refusal_code, walk};

/// When the question is sent over datagrams, after the first time: as an
/// [`Allocation`](super::Allocation) asks.
const AGAIN: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(1_500)];

/// Bytes of the longest message that a stream may bring as the answer.
const MAX_ANSWER: usize = 1_500;

/// Most bytes of a realm (RFC 8489 section 14.9: fewer than 128 characters, up to 763 bytes).
const MAX_REALM_LEN: usize = 763;

const REALM: u16 = 0x0014;

/// What the request says of its sender. It is long because a relay answers strangers with a small
/// multiple of what they sent at most, and the realm is long.
const SOFTWARE: &[u8; 28] = b"dhtnet, asking for the realm";

/// What came of the question.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Told {
    /// The realm.
    Realm(String),
    /// The answer has none: this is no TURN server that wants credentials.
    Nothing,
    /// No answer within [`GIVE_UP`].
    Silence,
}

/// One question to one server.
#[derive(Debug)]
pub struct Inquiry {
    server: SocketAddr,
    link: Link,
    id: TransactionId,
    began: Instant,
    sent: usize,
    told: Option<Told>,
    framer: Framer,
}

impl Inquiry {
    /// Begins to ask.
    #[must_use]
    pub fn new(now: Instant, (server, link): (SocketAddr, Link), rng: &mut impl Rng) -> Self {
        Self {
            server,
            link,
            id: TransactionId::random(rng),
            began: now,
            sent: 0,
            told: None,
            framer: Framer::default(),
        }
    }

    /// The next thing to send: a datagram, or bytes for the stream.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if self.told.is_some() || self.next_sending()? > now {
            return None;
        }
        self.sent += 1;
        Some(Transmit {
            destination: self.server,
            payload: request(&self.id).into(),
        })
    }

    /// When time is to pass next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let over = self.began + GIVE_UP;
        let due = self.next_sending().map_or(over, |at| at.min(over));
        self.told.is_none().then_some(due)
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.told.is_none() && self.began + GIVE_UP <= now {
            self.told = Some(Told::Silence);
        }
    }

    /// Takes a datagram, or a message from the stream. Returns whether it was the answer.
    pub fn handle_message(&mut self, from: SocketAddr, message: &[u8]) -> bool {
        if from != self.server || self.told.is_some() {
            return false;
        }
        let is_ours = message.get(8..HEADER_LEN) == Some(self.id.as_bytes().as_slice());
        if !is_ours || message.get(4..8) != Some(MAGIC_COOKIE.as_slice()) {
            return false;
        }
        let realm = refusal_code(message).and_then(|_| realm_in(message));
        self.told = Some(realm.map_or(Told::Nothing, Told::Realm));
        true
    }

    /// Takes bytes from the stream.
    ///
    /// # Errors
    /// [`StreamError`]: what speaks there does not speak TURN.
    pub fn handle_stream(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        self.framer.push(bytes);
        while let Some(message) = self.framer.next(MAX_ANSWER)? {
            self.handle_message(self.server, &message);
        }
        Ok(())
    }

    /// What was told.
    #[must_use]
    pub fn told(&self) -> Option<&Told> {
        self.told.as_ref()
    }

    fn next_sending(&self) -> Option<Instant> {
        match (self.sent, self.link) {
            (0, _) => Some(self.began),
            // Nothing is lost on a stream.
            (_, Link::Stream) => None,
            (sent, Link::Datagrams) => AGAIN.get(sent - 1).map(|after| self.began + *after),
        }
    }
}

/// An Allocate request with REQUESTED-TRANSPORT: UDP (RFC 8656 section 18.7), and with
/// [`SOFTWARE`].
fn request(id: &TransactionId) -> Vec<u8> {
    let mut bytes = vec![0x00, 0x03, 0x00, 12 + SOFTWARE.len() as u8];
    bytes.extend(MAGIC_COOKIE);
    bytes.extend(id.as_bytes());
    bytes.extend([0x00, 0x19, 0x00, 0x04, 17, 0, 0, 0]);
    bytes.extend([0x80, 0x22, 0x00, SOFTWARE.len() as u8]);
    bytes.extend(SOFTWARE);
    bytes
}

fn realm_in(message: &[u8]) -> Option<String> {
    let attributes = walk(message)?;
    let realm = attributes.iter().find(|a| a.kind == REALM)?;
    let text = std::str::from_utf8(realm.value).ok()?;
    (text.len() <= MAX_REALM_LEN).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    #![allow(clippy::disallowed_methods)] // An instant to count from.

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn server() -> SocketAddr {
        "192.0.2.1:3478".parse().unwrap()
    }

    fn begun(now: Instant, link: Link) -> Inquiry {
        Inquiry::new(now, (server(), link), &mut ChaCha20Rng::from_seed([7; 32]))
    }

    /// A refusal with code 401 and this realm.
    fn refusal(request: &[u8], realm: &[u8]) -> Vec<u8> {
        let mut body = vec![0x00, 0x09, 0x00, 0x04, 0, 0, 4, 1];
        body.extend([0x00, 0x14, 0x00, realm.len() as u8]);
        body.extend(realm);
        body.resize(body.len().next_multiple_of(4), 0);
        let mut message = vec![0x01, 0x13, 0x00, body.len() as u8];
        message.extend(&request[4..20]);
        message.extend(body);
        message
    }

    #[test]
    fn the_question_is_an_allocate_request_that_is_sent_three_times_over_datagrams() {
        let now = Instant::now();
        let mut inquiry = begun(now, Link::Datagrams);
        let first = inquiry.poll_transmit(now).unwrap();
        assert!(crate::stun::is_stun(&first.payload));
        assert_eq!(inquiry.poll_transmit(now), None);
        let mut sendings = Vec::new();
        while let Some(due) = inquiry.poll_timeout() {
            inquiry.handle_timeout(due);
            if let Some(again) = inquiry.poll_transmit(due) {
                assert_eq!(again, first);
                sendings.push((due - now).as_millis());
            }
        }
        assert_eq!(sendings, [500, 1_500]);
        assert_eq!(inquiry.told(), Some(&Told::Silence));
        let mut inquiry = begun(now, Link::Stream);
        let question = inquiry.poll_transmit(now).unwrap().payload;
        assert_eq!(inquiry.poll_timeout(), Some(now + GIVE_UP));
        let answer = refusal(&question, b"lab");
        inquiry.handle_stream(&answer[..9]).unwrap();
        assert_eq!(inquiry.told(), None);
        inquiry.handle_stream(&answer[9..]).unwrap();
        assert_eq!(inquiry.told(), Some(&Told::Realm("lab".to_owned())));
    }

    #[test]
    fn the_refusal_tells_the_realm_and_others_answers_tell_nothing() {
        let now = Instant::now();
        let mut inquiry = begun(now, Link::Datagrams);
        let question = inquiry.poll_transmit(now).unwrap().payload;
        let answer = refusal(&question, b"dhtnet:abc");
        let stranger = "192.0.2.9:3478".parse().unwrap();
        assert!(!inquiry.handle_message(stranger, &answer));
        for cut in 0..answer.len() {
            let mut cut_off = begun(now, Link::Datagrams);
            cut_off.handle_message(server(), &answer[..cut]);
            assert!(!matches!(cut_off.told(), Some(Told::Realm(_))), "{cut}");
        }
        assert!(inquiry.handle_message(server(), &answer));
        assert_eq!(inquiry.told(), Some(&Told::Realm("dhtnet:abc".to_owned())));
        let mut inquiry = begun(now, Link::Datagrams);
        assert!(inquiry.handle_message(server(), &refusal(&question, b"\xff")));
        assert_eq!(inquiry.told(), Some(&Told::Nothing));
    }
}
