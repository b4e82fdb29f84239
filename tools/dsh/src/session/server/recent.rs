//! The last of a session's output, for a client that comes back after a moment.
//!
//! Who has seen all but a little gets just that little. Who has missed more gets the screen anew,
//! with the lines that have left it since: for that it is noted how many lines had left it after
//! so much output.

use std::collections::VecDeque;

/// Bytes kept as they were written: some seconds of a busy screen.
const MAX_RECENT: usize = 128 * 1024;

/// Output between two notes.
const NOTE_EVERY: u64 = 16 * 1024;

/// Notes kept: of the last 32 MiB.
const MAX_NOTES: usize = 2048;

/// The end of the output so far.
#[derive(Debug, Default)]
pub(super) struct Recent {
    bytes: VecDeque<u8>,
    /// How much there was in all.
    written: u64,
    /// Output and the number of lines above the screen after it.
    notes: VecDeque<(u64, u64)>,
}

impl Recent {
    /// Takes output after which so many lines have left the screen.
    pub(super) fn push(&mut self, output: &[u8], lines: u64) {
        self.bytes.extend(output);
        let surplus = self.bytes.len().saturating_sub(MAX_RECENT);
        self.bytes.drain(..surplus);
        self.written += output.len() as u64;
        let noted = self.notes.back().map_or(0, |(at, _)| *at);
        if self.notes.is_empty() || self.written >= noted + NOTE_EVERY {
            if self.notes.len() == MAX_NOTES {
                self.notes.pop_front();
            }
            self.notes.push_back((self.written, lines));
        }
    }

    /// How much output there was.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// The output after the first `seen` bytes, if it is still there.
    pub(super) fn since(&self, seen: u64) -> Option<Vec<u8>> {
        let missing = usize::try_from(self.written.checked_sub(seen)?).ok()?;
        let from = self.bytes.len().checked_sub(missing)?;
        Some(self.bytes.range(from..).copied().collect())
    }

    /// A number of lines that had left the screen when no more than `seen` bytes were written;
    /// `None` if that is too long ago.
    pub(super) fn lines_at(&self, seen: u64) -> Option<u64> {
        let after = self.notes.partition_point(|(at, _)| *at <= seen);
        let before = after.checked_sub(1)?;
        self.notes.get(before).map(|(_, lines)| *lines)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    #[test]
    fn what_was_missed_is_there_up_to_the_bound() {
        let mut recent = Recent::default();
        recent.push(b"hello ", 0);
        recent.push(b"world", 0);
        assert_eq!(recent.since(6).unwrap(), b"world");
        assert_eq!(recent.since(11).unwrap(), b"");
        assert_eq!(recent.since(12), None, "nobody has seen the future");
        recent.push(&vec![b'x'; MAX_RECENT], 0);
        assert_eq!(recent.bytes.len(), MAX_RECENT);
        assert_eq!(recent.since(11).unwrap().len(), MAX_RECENT);
        assert_eq!(recent.since(10), None, "one past the bound");
    }

    #[test]
    fn lines_are_found_by_what_was_seen() {
        let mut recent = Recent::default();
        for step in 1..=5 {
            recent.push(&vec![b'x'; 16 * 1024], step * 100);
        }
        assert_eq!(recent.lines_at(0), None);
        assert_eq!(recent.lines_at(16 * 1024), Some(100));
        assert_eq!(recent.lines_at(40 * 1024), Some(200));
        assert_eq!(recent.lines_at(u64::MAX), Some(500));
        for step in 0..2 * MAX_NOTES as u64 {
            recent.push(&vec![b'x'; 16 * 1024], step);
        }
        assert_eq!(recent.notes.len(), MAX_NOTES);
    }
}
