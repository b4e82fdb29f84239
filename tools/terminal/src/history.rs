//! Lines that have left the screen at its top.
//!
//! A line is kept whole, as the bytes that draw it: rows between which the terminal wrapped are one
//! line, so that a terminal of another width shows it without steps.

use std::collections::VecDeque;

use crate::row::DrawnRow;

/// Lines kept of one screen. The number users ask for; what tmux calls a generous `history-limit`.
pub const MAX_LINES: usize = 10_000;

/// Bytes kept of one screen, lines of whatever length together: 10,000 lines of 800 bytes. A line
/// of a compiler's output has 60 to 200 with its colours.
pub const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of one line, after which it goes on as another: 400 rows of 160 columns.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// What a line costs beside its bytes: its entry, and what the allocator adds.
const OVERHEAD: usize = size_of::<Line>() + 16;

#[derive(Clone, Debug)]
struct Line {
    bytes: Box<[u8]>,
    extent: Extent,
}

/// How much room a line took on the screen.
#[derive(Clone, Copy, Debug, Default)]
struct Extent {
    /// The columns of all its rows together.
    width: usize,
    /// The columns of its last row.
    last: usize,
    /// The columns of the screen.
    columns: usize,
    /// The last row has left its last column to a wide character in the next.
    spared: bool,
}

/// A line as it is given out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Above<'h> {
    /// The bytes that draw it.
    pub(crate) bytes: &'h [u8],
    extent: Extent,
}

impl Above<'_> {
    /// Whether something is left of the last row that the line takes on a screen of so many columns.
    pub(crate) fn leaves_room(&self, columns: usize) -> bool {
        let Extent { width, last, .. } = self.extent;
        match self.extent.columns == columns {
            true => last < columns,
            false => width % columns != 0,
        }
    }
}

/// The lines above a screen.
#[derive(Clone, Debug)]
pub(crate) struct History {
    lines: VecDeque<Line>,
    /// The line that goes on in the next row.
    open: Option<(Vec<u8>, Extent)>,
    columns: usize,
    bytes: usize,
    dropped: u64,
}

impl History {
    /// None, of a screen of so many columns.
    pub(crate) fn new(columns: usize) -> Self {
        Self {
            lines: VecDeque::new(),
            open: None,
            columns,
            bytes: 0,
            dropped: 0,
        }
    }

    /// Takes the row that leaves the screen.
    pub(crate) fn push(&mut self, row: &DrawnRow) {
        // An empty row cannot go on with anything.
        if row.is_empty() {
            self.close();
        }
        let (mut bytes, mut extent) = self.open.take().unwrap_or_default();
        if extent.spared && !row.begins_wide {
            bytes.push(b' ');
            extent.width += 1;
        }
        extent.spared = row.spared;
        bytes.extend_from_slice(&row.bytes);
        extent.width += row.width;
        extent.last = row.width;
        extent.columns = self.columns;
        if row.wrapped && bytes.len() < MAX_LINE_BYTES {
            self.open = Some((bytes, extent));
        } else {
            self.keep(bytes, extent);
        }
    }

    /// Ends the line that goes on.
    pub(crate) fn close(&mut self) {
        if let Some((bytes, extent)) = self.open.take() {
            self.keep(bytes, extent);
        }
    }

    /// The rows that come have another width: none goes on with what is here.
    pub(crate) fn set_columns(&mut self, columns: usize) {
        self.close();
        self.columns = columns;
    }

    /// Forgets the lines, as `CSI 3 J` asks. Their numbers are not given again.
    pub(crate) fn clear(&mut self) {
        self.dropped = self.total();
        self.open = None;
        self.lines = VecDeque::new();
        self.bytes = 0;
    }

    /// How many lines have ever left the screen.
    pub(crate) fn total(&self) -> u64 {
        self.dropped + self.lines.len() as u64 + u64::from(self.open.is_some())
    }

    /// Whether the last line goes on in `first`, the first row of the screen; if so, what comes
    /// between.
    pub(crate) fn joint(&self, first: &DrawnRow) -> Option<&'static [u8]> {
        match &self.open {
            Some(_) if first.is_empty() => None,
            Some((_, extent)) if extent.spared && !first.begins_wide => Some(b" "),
            Some(_) => Some(b""),
            None => None,
        }
    }

    /// The lines from number `since` on that are still there.
    pub(crate) fn since(&self, since: u64) -> impl Iterator<Item = Above<'_>> {
        let skipped = usize::try_from(since.saturating_sub(self.dropped)).unwrap_or(usize::MAX);
        let closed = self.lines.iter().map(|line| (&*line.bytes, line.extent));
        let open = self.open.iter().map(|(bytes, extent)| (&**bytes, *extent));
        closed
            .chain(open)
            .skip(skipped)
            .map(|(bytes, extent)| Above { bytes, extent })
    }

    /// Bytes of memory in use.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.open.as_ref().map_or(0, |(bytes, _)| bytes.capacity())
    }

    fn keep(&mut self, mut bytes: Vec<u8>, mut extent: Extent) {
        // Blanks in the default style at the end of a row that was to be wrapped.
        while bytes.last() == Some(&b' ') {
            bytes.pop();
            extent.width = extent.width.saturating_sub(1);
            extent.last = extent.last.saturating_sub(1);
        }
        self.bytes += bytes.len() + OVERHEAD;
        self.lines.push_back(Line {
            bytes: bytes.into_boxed_slice(),
            extent,
        });
        self.evict();
    }

    fn evict(&mut self) {
        while self.lines.len() > MAX_LINES || self.bytes > MAX_BYTES {
            let Some(line) = self.lines.pop_front() else {
                return;
            };
            self.bytes -= line.bytes.len() + OVERHEAD;
            self.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    fn row(text: &str) -> DrawnRow {
        DrawnRow {
            bytes: text.as_bytes().to_vec(),
            width: text.len(),
            ..DrawnRow::default()
        }
    }

    fn wrapped(text: &str) -> DrawnRow {
        DrawnRow {
            wrapped: true,
            ..row(text)
        }
    }

    fn lines(history: &History, since: u64) -> Vec<String> {
        history
            .since(since)
            .map(|line| String::from_utf8(line.bytes.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn wrapped_rows_are_one_line() {
        let mut history = History::new(80);
        for row in [wrapped("abc"), wrapped("def"), row("g"), row("h")] {
            history.push(&row);
        }
        assert_eq!(lines(&history, 0), ["abcdefg", "h"]);
        assert_eq!(lines(&history, 1), ["h"]);
        assert_eq!(history.total(), 2);
    }

    #[test]
    fn the_ten_thousand_and_first_line_drops_the_first() {
        let mut history = History::new(80);
        for number in 0..MAX_LINES {
            history.push(&row(&number.to_string()));
        }
        assert_eq!(lines(&history, 0).len(), MAX_LINES);
        assert_eq!(lines(&history, 0)[0], "0");
        history.push(&row("one more"));
        assert_eq!(lines(&history, 0).len(), MAX_LINES);
        assert_eq!(lines(&history, 0)[0], "1");
        assert_eq!(history.total(), MAX_LINES as u64 + 1);
        assert_eq!(lines(&history, MAX_LINES as u64), ["one more"]);
    }

    #[test]
    fn long_lines_are_dropped_at_the_bound_of_bytes() {
        let mut history = History::new(80);
        let long = "x".repeat(MAX_LINE_BYTES);
        for _ in 0..2 * MAX_BYTES / MAX_LINE_BYTES {
            history.push(&row(&long));
            assert!(history.bytes() <= MAX_BYTES);
        }
        assert!(history.bytes() > MAX_BYTES - 2 * MAX_LINE_BYTES);
    }

    #[test]
    fn a_line_that_never_ends_is_cut() {
        let mut history = History::new(80);
        for _ in 0..MAX_BYTES / 8 {
            history.push(&wrapped("01234567"));
        }
        assert!(history.total() > 100);
        assert!(history.bytes() <= MAX_BYTES + 2 * MAX_LINE_BYTES);
    }

    #[test]
    fn cleared_lines_do_not_come_back() {
        let mut history = History::new(80);
        history.push(&row("a"));
        history.push(&wrapped("b"));
        history.clear();
        history.push(&row("c"));
        assert_eq!(lines(&history, 0), ["c"]);
        assert_eq!(history.total(), 3);
    }
}
