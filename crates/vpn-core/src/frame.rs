//! Packets in datagrams: one byte says what follows.
//!
//! ```text
//! 00 packet            a whole packet
//! 01 packet            the same; the checksum of its TCP or UDP is left to the receiver
//! 10|11 id(2) bytes    the first half of a packet that does not fit; 20|21 id(2) bytes the second
//! ```
//! Leaving the checksum out is safe because the datagram is authenticated from end to end of the
//! tunnel; it saves both ends from reading the payload.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::DropReason;

/// Bytes before a whole packet.
pub const WHOLE_HEADER: usize = 1;

/// Bytes before half a packet.
pub const HALF_HEADER: usize = 3;

/// Halves that wait for their other half; the oldest goes. What is cut is sent together, so that
/// the other half is a few datagrams away or lost.
pub const MAX_WAITING: usize = 16;

const WHOLE: u8 = 0x00;
const FIRST: u8 = 0x10;
const SECOND: u8 = 0x20;
const PARTIAL: u8 = 0x01;

/// Whether the transport's checksum is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// It is, and not looked at.
    Complete,
    /// The field is empty: the receiver fills it in.
    Partial,
}

impl Checksum {
    fn bit(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::Partial => PARTIAL,
        }
    }
}

/// The byte before a whole packet.
pub fn whole(checksum: Checksum) -> u8 {
    WHOLE | checksum.bit()
}

/// Largest packet that one datagram of `max` bytes carries.
pub fn room(max: usize) -> usize {
    max.saturating_sub(WHOLE_HEADER)
}

/// Largest packet that two datagrams of `max` bytes carry.
pub fn room_in_two(max: usize) -> usize {
    2 * max.saturating_sub(HALF_HEADER)
}

/// Numbers the packets that are cut in two.
#[derive(Debug, Clone, Copy, Default)]
pub struct Halver {
    next: u16,
}

impl Halver {
    /// The datagrams for a packet that is larger than [`room`] and at most [`room_in_two`].
    pub fn cut<'p>(
        &mut self,
        packet: &'p [u8],
        checksum: Checksum,
    ) -> [([u8; HALF_HEADER], &'p [u8]); 2] {
        let [high, low] = self.next.to_be_bytes();
        self.next = self.next.wrapping_add(1);
        let (first, second) = packet.split_at(packet.len().div_ceil(2));
        let header = |kind: u8| [kind | checksum.bit(), high, low];
        [(header(FIRST), first), (header(SECOND), second)]
    }
}

/// Reads datagrams, and joins halves.
#[derive(Debug, Default)]
pub struct Reader {
    waiting: VecDeque<Half>,
    lost: u64,
}

#[derive(Debug)]
struct Half {
    id: u16,
    kind: u8,
    bytes: Bytes,
}

impl Reader {
    /// The packet of a datagram; `None` while its other half is missing.
    ///
    /// # Errors
    /// [`DropReason::BadFrame`].
    pub fn read(&mut self, datagram: &Bytes) -> Result<Option<(Bytes, Checksum)>, DropReason> {
        let kind = *datagram.first().ok_or(DropReason::BadFrame)?;
        let checksum = match kind & PARTIAL {
            0 => Checksum::Complete,
            _ => Checksum::Partial,
        };
        if kind & !PARTIAL == WHOLE {
            return Ok(Some((datagram.slice(WHOLE_HEADER..), checksum)));
        }
        let is_half = matches!(kind & !PARTIAL, FIRST | SECOND);
        let header = datagram.first_chunk().filter(|_| is_half);
        let &[_, high, low]: &[u8; HALF_HEADER] = header.ok_or(DropReason::BadFrame)?;
        let half = Half {
            id: u16::from_be_bytes([high, low]),
            kind,
            bytes: datagram.slice(HALF_HEADER..),
        };
        let is_other = |other: &Half| other.id == half.id && other.kind ^ kind == FIRST ^ SECOND;
        let other = self.waiting.iter().position(is_other);
        let Some(other) = other.and_then(|index| self.waiting.remove(index)) else {
            self.waiting.push_back(half);
            if self.waiting.len() > MAX_WAITING {
                self.waiting.pop_front();
                self.lost += 1;
            }
            return Ok(None);
        };
        let (first, second) = match kind & FIRST {
            0 => (other.bytes, half.bytes),
            _ => (half.bytes, other.bytes),
        };
        let mut packet = BytesMut::with_capacity(first.len() + second.len());
        packet.extend_from_slice(&first);
        packet.extend_from_slice(&second);
        Ok(Some((packet.freeze(), checksum)))
    }

    /// Halves that were given up since this was last asked.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use super::*;

    fn datagrams(halver: &mut Halver, packet: &[u8], checksum: Checksum) -> Vec<Bytes> {
        let halves = halver.cut(packet, checksum);
        halves
            .iter()
            .map(|(header, bytes)| [&header[..], bytes].concat().into())
            .collect()
    }

    #[test]
    fn the_bytes_are_the_documented_ones() {
        assert_eq!(
            (whole(Checksum::Complete), whole(Checksum::Partial)),
            (0, 1)
        );
        let mut halver = Halver { next: 0x1234 };
        let cut = halver.cut(b"abcde", Checksum::Partial);
        assert_eq!(cut[0], ([0x11, 0x12, 0x34], &b"abc"[..]));
        assert_eq!(cut[1], ([0x21, 0x12, 0x34], &b"de"[..]));
        assert_eq!((room(1200), room_in_two(1200)), (1199, 2394));
    }

    #[test]
    fn a_whole_packet_comes_out_without_a_copy() {
        let mut reader = Reader::default();
        let datagram = Bytes::from_static(b"\x01packet");
        let (packet, checksum) = reader.read(&datagram).unwrap().unwrap();
        assert_eq!((&packet[..], checksum), (&b"packet"[..], Checksum::Partial));
        assert_eq!(packet.as_ptr(), datagram[1..].as_ptr());
    }

    #[test]
    fn halves_find_each_other_in_any_order_and_mix() {
        let (mut halver, mut reader) = (Halver::default(), Reader::default());
        let one = datagrams(&mut halver, b"first packet", Checksum::Complete);
        let two = datagrams(&mut halver, b"second packet", Checksum::Partial);
        assert_eq!(reader.read(&one[1]), Ok(None));
        assert_eq!(reader.read(&two[0]), Ok(None));
        let packet = reader.read(&one[0]).unwrap().unwrap();
        assert_eq!(packet, ("first packet".into(), Checksum::Complete));
        let packet = reader.read(&two[1]).unwrap().unwrap();
        assert_eq!(packet, ("second packet".into(), Checksum::Partial));
        assert_eq!((reader.waiting.len(), reader.take_lost()), (0, 0));
    }

    #[test]
    fn as_many_halves_as_the_bound_wait_and_one_more_drops_the_oldest() {
        let (mut halver, mut reader) = (Halver::default(), Reader::default());
        let all: Vec<_> = (0..=MAX_WAITING)
            .map(|_| datagrams(&mut halver, b"ab", Checksum::Complete))
            .collect();
        for datagrams in &all[..MAX_WAITING] {
            reader.read(&datagrams[0]).unwrap();
        }
        assert_eq!((reader.waiting.len(), reader.take_lost()), (MAX_WAITING, 0));
        reader.read(&all[MAX_WAITING][0]).unwrap();
        assert_eq!((reader.waiting.len(), reader.take_lost()), (MAX_WAITING, 1));
        assert_eq!(reader.read(&all[0][1]), Ok(None));
        assert!(reader.read(&all[2][1]).unwrap().is_some());
    }

    #[test]
    fn other_bytes_are_no_frame() {
        let mut reader = Reader::default();
        for bad in [
            &b""[..],
            b"\x02x",
            b"\x30\0\0x",
            b"\x10",
            b"\x21\0",
            b"\xff\xff\xff\xff",
        ] {
            assert_eq!(
                reader.read(&Bytes::from_static(bad)),
                Err(DropReason::BadFrame),
                "{bad:?}"
            );
        }
    }
}
