//! The screen that a program's output has made.

use std::time::Duration;

use alacritty_terminal::term::TermMode;
use alacritty_terminal::vte::ansi::{Processor, Timeout};

use crate::boundary::Boundary;
use crate::machine::{Machine, Size};
use crate::row::draw_character;
use crate::style::Style;

mod restore;
mod state;

pub use restore::SOFT_RESET;
pub use state::{CursorState, ScreenState};

/// Columns of a screen. The widest displays have some 600 at a readable size.
pub const MAX_COLUMNS: u16 = 1000;

/// Rows of a screen.
pub const MAX_ROWS: u16 = 500;

/// Bytes of a string sequence (a title, a clipboard) after which the screen loses its interest.
/// xterm's own limit for a clipboard is of this order.
pub const MAX_STRING: usize = 64 * 1024;

/// Synchronized updates are not held back: who looks at the screen gets it whole anyway.
#[derive(Default)]
struct NoHolding;

impl Timeout for NoHolding {
    fn set_timeout(&mut self, _: Duration) {}

    fn clear_timeout(&mut self) {}

    fn pending_timeout(&self) -> bool {
        false
    }
}

/// A terminal's screen, without a terminal.
///
/// It is fed with what a program writes ([`feed`](Self::feed)) and gives at any time the bytes that
/// bring a real terminal to the same state ([`restore`](Self::restore)).
///
/// # Memory
///
/// A cell has 24 bytes and there are two screens, so 80 by 24 take 90 KiB; the lines above the
/// screen take at most [`MAX_SCROLLBACK_BYTES`](crate::MAX_SCROLLBACK_BYTES). Any byte stream keeps
/// these bounds.
pub struct Screen {
    machine: Machine,
    parser: Processor<NoHolding>,
    boundary: Boundary,
    /// Inside a string that is too long: its rest is not parsed.
    swallowing: bool,
    /// The beginning of a character: the parser gets whole ones, because it loses what follows a
    /// broken one that was cut.
    held: Vec<u8>,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (columns, rows) = self.size();
        write!(
            f,
            "Screen({columns}x{rows}, {} lines above)",
            self.lines_scrolled()
        )
    }
}

fn clamped(columns: u16, rows: u16) -> Size {
    Size {
        columns: usize::from(columns.clamp(2, MAX_COLUMNS)),
        rows: usize::from(rows.clamp(1, MAX_ROWS)),
    }
}

impl Screen {
    /// An empty screen. Sizes are brought between 2 by 1 and [`MAX_COLUMNS`] by [`MAX_ROWS`].
    pub fn new(columns: u16, rows: u16) -> Self {
        Self {
            machine: Machine::new(clamped(columns, rows)),
            parser: Processor::new(),
            boundary: Boundary::new(),
            swallowing: false,
            held: Vec::new(),
        }
    }

    /// Columns and rows.
    pub fn size(&self) -> (u16, u16) {
        let size = self.machine.size();
        let narrow = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        (narrow(size.columns), narrow(size.rows))
    }

    /// Takes what the program wrote: any bytes, cut anywhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(MAX_STRING / 16) {
            self.feed_chunk(chunk);
        }
    }

    fn feed_chunk(&mut self, mut chunk: &[u8]) {
        if self.swallowing {
            let skipped = self.boundary.skip_string(chunk);
            chunk = &chunk[skipped..];
            if chunk.is_empty() && self.boundary.in_string() {
                return;
            }
            self.swallowing = false;
        }
        self.boundary.advance(chunk);
        let begun = self.boundary.begun_character();
        if self.held.is_empty() && begun == 0 {
            self.parser.advance(&mut self.machine, chunk);
        } else {
            self.held.extend_from_slice(chunk);
            let whole = self.held.len().saturating_sub(begun);
            self.parser.advance(&mut self.machine, &self.held[..whole]);
            self.held.drain(..whole);
        }
        if self.boundary.in_string() && self.boundary.string_len() > MAX_STRING {
            // CAN ends the string for the parser, which would otherwise keep all of it.
            self.parser.advance(&mut self.machine, b"\x18");
            self.swallowing = true;
        }
    }

    /// Takes another size, within the bounds of [`new`](Self::new). Lines of the primary screen are
    /// wrapped anew, the alternate screen is cut or extended.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.machine.resize(clamped(columns, rows));
    }

    /// The answers to what the program asked its terminal (what it is, where the cursor is),
    /// at most 4 KiB since the last call. For the time when no real terminal answers.
    pub fn take_replies(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.machine.replies)
    }

    /// How many lines have ever left the screen at its top. The number of the next one.
    pub fn lines_scrolled(&self) -> u64 {
        self.machine.history.total()
    }

    /// Bytes of memory that the lines above the screen take.
    pub fn scrollback_bytes(&self) -> usize {
        self.machine.history.bytes()
    }

    /// The title that the program gave its window.
    pub fn title(&self) -> Option<&str> {
        self.machine.title.as_deref()
    }

    /// Row and column of the cursor, from 0.
    pub fn cursor(&self) -> (u16, u16) {
        let point = self.machine.grid().cursor.point;
        (
            u16::try_from(point.line.0).unwrap_or(0),
            u16::try_from(point.column.0).unwrap_or(0),
        )
    }

    /// Whether the alternate screen is shown, the one of editors and pagers.
    pub fn is_alternate(&self) -> bool {
        self.machine.is_alternate()
    }

    /// Whether text may be drawn over the screen now and the cursor put back: the output is between
    /// two sequences, and nothing makes addresses or characters mean something else.
    pub fn can_be_drawn_over(&self) -> bool {
        let modes = self.machine.term.mode();
        self.boundary.is_ground()
            && !self.machine.grid().cursor.input_needs_wrap
            && modes.contains(TermMode::SHOW_CURSOR)
            && !modes.intersects(TermMode::ORIGIN | TermMode::INSERT)
            && self.has_usual_charset()
    }

    /// The character at a place, `' '` where nothing is or the place is outside.
    pub fn character(&self, row: u16, column: u16) -> char {
        let (columns, rows) = self.size();
        if row >= rows || column >= columns {
            return ' ';
        }
        match self.machine.cells(usize::from(row))[usize::from(column)].c {
            '\t' => ' ',
            other => other,
        }
    }

    /// Appends the bytes that draw the cell at a place again and leave the style of the cursor
    /// selected. Nothing outside.
    pub fn redraw_cell(&self, row: u16, column: u16, out: &mut Vec<u8>) {
        let (columns, rows) = self.size();
        if row >= rows || column >= columns {
            return;
        }
        let cells = self.machine.cells(usize::from(row));
        let column = usize::from(column);
        out.extend_from_slice(format!("\x1b[{};{}H", row + 1, column + 1).as_bytes());
        Style::of(&cells[column]).select(out);
        draw_character(cells, column, out);
        self.select_style(out);
    }

    /// Appends the bytes that put the cursor where it is and select its style.
    pub fn return_cursor(&self, out: &mut Vec<u8>) {
        let (row, column) = self.cursor();
        out.extend_from_slice(format!("\x1b[{};{}H", row + 1, column + 1).as_bytes());
        self.select_style(out);
    }

    fn select_style(&self, out: &mut Vec<u8>) {
        Style::of(&self.machine.grid().cursor.template).select(out);
    }

    fn has_usual_charset(&self) -> bool {
        let charsets = &self.machine.grid().cursor.charsets;
        charsets[self.machine.charset] == Default::default()
    }
}
