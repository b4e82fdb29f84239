//! What was typed and may not have arrived: sent as the session takes it, and after a lost connection
//! just that again.

use std::collections::VecDeque;

use bytes::Bytes;

/// Bytes typed that the session has not confirmed. A person types a thousand a minute; a paste
/// into a lost connection is cut. Twice what stdin gives at once.
const MAX_UNCONFIRMED: usize = 512 * 1024;

/// Bytes of them on their way, at most; the rest waits here, and of a large paste in the terminal. As
/// many as the server takes of a program that does not read (`MAX_INPUT` of
/// session/server/store.rs), so that what else is said never waits behind them.
const MAX_ON_THE_WAY: usize = 64 * 1024;

/// Bytes in one frame.
const MAX_FRAME: usize = 16 * 1024;

/// The bytes on their way.
#[derive(Debug, Default)]
pub(super) struct Typing {
    typed: u64,
    seen: u64,
    unconfirmed: VecDeque<u8>,
    /// How many of them were sent on this connection.
    on_the_way: usize,
    /// Whether the session has said how much it has had.
    is_open: bool,
}

impl Typing {
    /// Notes what is to be sent; `false` when that is too much, and it is lost.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> bool {
        if self.unconfirmed.len() + bytes.len() > MAX_UNCONFIRMED {
            return false;
        }
        self.unconfirmed.extend(bytes);
        self.typed += bytes.len() as u64;
        true
    }

    /// Whether more should be taken from the terminal.
    pub(super) fn has_room(&self) -> bool {
        self.unconfirmed.len() < MAX_ON_THE_WAY
    }

    /// How much was typed.
    pub(super) fn typed(&self) -> u64 {
        self.typed
    }

    /// The next bytes to send, if the session takes any now; they count as sent.
    pub(super) fn next_piece(&mut self) -> Option<Bytes> {
        let waiting = self.unconfirmed.len() - self.on_the_way;
        let room = MAX_ON_THE_WAY - self.on_the_way;
        let len = waiting.min(room).min(MAX_FRAME);
        if !self.is_open || len == 0 {
            return None;
        }
        let range = self.on_the_way..self.on_the_way + len;
        self.on_the_way += len;
        Some(self.unconfirmed.range(range).copied().collect())
    }

    /// The session has had the first `bytes` bytes.
    pub(super) fn seen(&mut self, bytes: u64) {
        let seen = bytes.clamp(self.seen, self.typed);
        let more = usize::try_from(seen - self.seen).unwrap_or(0);
        let more = more.min(self.unconfirmed.len());
        self.unconfirmed.drain(..more);
        self.on_the_way = self.on_the_way.saturating_sub(more);
        self.seen = seen;
    }

    /// On another connection nothing is sent until the session says how much it has had.
    pub(super) fn close(&mut self) {
        self.is_open = false;
    }

    /// After attaching to a session that has had `bytes` bytes: the rest is sent again. A session
    /// that has had fewer than it confirmed is another one, which never had any of it.
    pub(super) fn open(&mut self, bytes: u64) {
        if bytes < self.seen {
            *self = Self::default();
        }
        self.seen(bytes);
        self.on_the_way = 0;
        self.is_open = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(typing: &mut Typing) -> Vec<Bytes> {
        std::iter::from_fn(|| typing.next_piece()).collect()
    }

    #[test]
    fn what_did_not_arrive_is_sent_again_and_nothing_else() {
        let mut typing = Typing::default();
        typing.open(0);
        assert!(typing.keep(b"hello world"));
        assert_eq!(pieces(&mut typing), [&b"hello world"[..]]);
        typing.seen(2);
        typing.close();
        assert!(typing.keep(b"!"));
        assert_eq!(
            pieces(&mut typing),
            [&b""[..]; 0],
            "nobody has said what it has"
        );
        typing.open(6);
        assert_eq!(pieces(&mut typing), [&b"world!"[..]]);
        typing.open(12);
        assert_eq!(pieces(&mut typing), [&b""[..]; 0]);
        assert!(typing.keep(b"?"));
        typing.open(3);
        assert_eq!(pieces(&mut typing), [&b""[..]; 0], "another session");
        assert_eq!(typing.typed(), 0);
    }

    #[test]
    fn a_paste_goes_piece_by_piece_and_loses_nothing() {
        let mut typing = Typing::default();
        typing.open(0);
        let pasted: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        let (first, second) = pasted.split_at(256 << 10);
        assert!(typing.keep(first) && !typing.has_room());
        let mut arrived = Vec::new();
        let taken = |typing: &mut Typing, arrived: &mut Vec<u8>| {
            let pieces = pieces(typing);
            assert!(pieces.iter().all(|piece| piece.len() <= MAX_FRAME));
            arrived.extend(pieces.concat());
        };
        taken(&mut typing, &mut arrived);
        assert_eq!(arrived.len(), MAX_ON_THE_WAY);
        while !typing.has_room() {
            typing.seen(arrived.len() as u64);
            taken(&mut typing, &mut arrived);
        }
        assert!(typing.keep(second));
        typing.seen(arrived.len() as u64);
        taken(&mut typing, &mut arrived);
        assert!(arrived == pasted);
    }

    #[test]
    fn a_paste_into_nothing_is_bounded() {
        let mut typing = Typing::default();
        assert!(typing.keep(&vec![b'x'; MAX_UNCONFIRMED]));
        assert!(!typing.keep(b"x"), "one past the bound");
        typing.seen(1);
        assert!(typing.keep(b"x"));
    }
}
