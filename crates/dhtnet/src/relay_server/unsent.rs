//! What a client that comes over TCP has not taken yet.

/// Bytes of payloads that wait for one client. What comes beyond is dropped, as a full queue of a
/// router would: the connection inside slows down.
pub(crate) const MAX_UNSENT_PAYLOADS: usize = 64 << 10;

/// Bytes that wait for one client, answers to his requests included: those are not sent twice
/// over TCP, so they have room of their own.
pub(crate) const MAX_UNSENT: usize = MAX_UNSENT_PAYLOADS + (16 << 10);

/// Bytes of frames in order, the first of them perhaps without its beginning.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    bytes: Vec<u8>,
    sent: usize,
}

impl Unsent {
    pub(crate) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// What is next.
    pub(crate) fn front(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// This many bytes of it have left.
    pub(crate) fn advance(&mut self, len: usize) {
        self.sent += len;
        if self.sent >= self.bytes.len() {
            // An idle stream holds nothing.
            *self = Self::default();
        }
    }

    /// Keeps frames, each of which ends at one of `ends`, and of which the first `written` bytes
    /// have left. Returns how many were dropped, always whole ones.
    pub(crate) fn push_frames(&mut self, bytes: &[u8], ends: &[usize], written: usize) -> usize {
        let mut begin = 0;
        let mut dropped = 0;
        for &end in ends {
            let Some(frame) = bytes.get(begin..end) else {
                break;
            };
            let has_begun = written > begin;
            let rest = &frame[written.saturating_sub(begin).min(frame.len())..];
            begin = end;
            if rest.is_empty() {
                continue;
            }
            if has_begun || self.front().len() + rest.len() <= bound_of(frame) {
                self.bytes.drain(..self.sent);
                self.sent = 0;
                self.bytes.extend_from_slice(rest);
            } else {
                dropped += 1;
            }
        }
        dropped
    }
}

/// ChannelData begins with the bits 01, a Data indication has type 0x0017 (RFC 8656); all else is
/// an answer.
fn bound_of(frame: &[u8]) -> usize {
    let is_payload = match frame {
        [first, ..] if first >> 6 == 0b01 => true,
        [0x00, 0x17, ..] => true,
        _ => false,
    };
    if is_payload {
        MAX_UNSENT_PAYLOADS
    } else {
        MAX_UNSENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(len: usize) -> Vec<u8> {
        vec![0x40; len]
    }

    #[test]
    fn what_is_left_of_a_frame_that_has_begun_is_kept_and_in_order() {
        let mut unsent = Unsent::default();
        let frames = b"@one@two@three";
        assert_eq!(unsent.push_frames(frames, &[4, 8, 14], 6), 0);
        assert_eq!(unsent.front(), b"wo@three");
        unsent.advance(3);
        assert_eq!(unsent.push_frames(b"@four", &[5], 0), 0);
        assert_eq!(unsent.front(), b"three@four");
        unsent.advance(10);
        assert!(unsent.is_empty());
        assert_eq!(unsent.push_frames(frames, &[4, 8, 14], 14), 0);
        assert!(unsent.is_empty());
    }

    #[test]
    fn payloads_are_kept_up_to_the_bound_and_whole() {
        let mut unsent = Unsent::default();
        let half = payload(MAX_UNSENT_PAYLOADS / 2);
        assert_eq!(unsent.push_frames(&half, &[half.len()], 0), 0);
        assert_eq!(unsent.push_frames(&half, &[half.len()], 0), 0);
        assert_eq!(unsent.front().len(), MAX_UNSENT_PAYLOADS);
        // One byte past it.
        assert_eq!(unsent.push_frames(&payload(1), &[1], 0), 1);
        assert_eq!(unsent.push_frames(&[0x00, 0x17], &[2], 0), 1);
        // It has begun, and must end.
        let mut full = Unsent::default();
        let long = payload(MAX_UNSENT_PAYLOADS + 2);
        assert_eq!(full.push_frames(&long, &[long.len()], 1), 0);
        assert_eq!(full.front().len(), MAX_UNSENT_PAYLOADS + 1);
    }

    #[test]
    fn answers_have_room_of_their_own_and_a_bound_too() {
        let mut unsent = Unsent::default();
        let full = payload(MAX_UNSENT_PAYLOADS);
        assert_eq!(unsent.push_frames(&full, &[full.len()], 0), 0);
        let answer = [0x01; 1024];
        for _ in 0..16 {
            assert_eq!(unsent.push_frames(&answer, &[1024], 0), 0);
        }
        assert_eq!(unsent.push_frames(&answer, &[1024], 0), 1);
        assert_eq!(unsent.front().len(), MAX_UNSENT);
    }

    #[test]
    fn a_reader_that_never_reads_holds_a_bounded_number_of_bytes() {
        let mut unsent = Unsent::default();
        let frame = payload(1_204);
        let dropped: usize = (0..10_000)
            .map(|_| unsent.push_frames(&frame, &[frame.len()], 0))
            .sum();
        assert_eq!(dropped, 10_000 - MAX_UNSENT_PAYLOADS / frame.len());
        assert!(unsent.bytes.capacity() <= 2 * MAX_UNSENT);
    }
}
