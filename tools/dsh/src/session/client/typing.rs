//! What was typed and may not have arrived: after a lost connection just that is sent again.

use std::collections::VecDeque;

use bytes::Bytes;

/// Bytes typed that the session has not confirmed. A person types a thousand a minute; a paste
/// into a lost connection is cut.
const MAX_UNCONFIRMED: usize = 256 * 1024;

/// Bytes in one frame.
const MAX_FRAME: usize = 16 * 1024;

/// The bytes on their way.
#[derive(Debug, Default)]
pub(super) struct Typing {
    sent: u64,
    seen: u64,
    unconfirmed: VecDeque<u8>,
}

impl Typing {
    /// Notes what is to be sent; `false` when that is too much, and it must not be.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> bool {
        if self.unconfirmed.len() + bytes.len() > MAX_UNCONFIRMED {
            return false;
        }
        self.unconfirmed.extend(bytes);
        self.sent += bytes.len() as u64;
        true
    }

    /// How much was typed.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// The session has had the first `bytes` bytes.
    pub(super) fn seen(&mut self, bytes: u64) {
        let seen = bytes.clamp(self.seen, self.sent);
        let more = usize::try_from(seen - self.seen).unwrap_or(0);
        self.unconfirmed.drain(..more.min(self.unconfirmed.len()));
        self.seen = seen;
    }

    /// After attaching to a session that has had `bytes` bytes: what has to be sent again. A session
    /// that has had fewer than it confirmed is another one, which never had any of it.
    pub(super) fn again(&mut self, bytes: u64) -> Vec<Bytes> {
        if bytes < self.seen {
            *self = Self::default();
            return Vec::new();
        }
        self.seen(bytes);
        let rest: Vec<u8> = self.unconfirmed.iter().copied().collect();
        rest.chunks(MAX_FRAME).map(Bytes::copy_from_slice).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_arrive_is_sent_again_and_nothing_else() {
        let mut typing = Typing::default();
        assert!(typing.keep(b"hello world"));
        typing.seen(2);
        assert_eq!(typing.again(6), [&b"world"[..]]);
        assert_eq!(typing.again(11), [&b""[..]; 0]);
        assert!(typing.keep(b"!"));
        assert_eq!(typing.again(3), [&b""[..]; 0], "another session");
        assert_eq!(typing.sent(), 0);
    }

    #[test]
    fn a_paste_into_nothing_is_bounded() {
        let mut typing = Typing::default();
        assert!(typing.keep(&vec![b'x'; MAX_UNCONFIRMED]));
        assert!(!typing.keep(b"x"), "one past the bound");
        typing.seen(1);
        assert!(typing.keep(b"x"));
        assert!(typing.again(1).iter().all(|part| part.len() <= MAX_FRAME));
    }
}
