//! The bytes that bring a real terminal to the state of a screen.
//!
//! Lines above the screen are written as lines, from the top of an empty screen on, and the rows of
//! the screen after them in the same way: the terminal scrolls by itself, its scrollback fills, and
//! the last rows come to stand where they belong. Everything else follows by address.

use alacritty_terminal::term::TermMode;
use alacritty_terminal::vte::ansi::CharsetIndex;

use super::Screen;
use super::state::{self, CursorState};
use crate::machine::{Machine, usual_tabs};
use crate::row::{DrawnRow, draw_character};
use crate::style::Style;

/// Puts a terminal of whatever state into that of a new one, but for its size, its scrollback and
/// its title. A reset (RIS) would empty the scrollback of the user.
///
/// The first byte ends an unfinished sequence.
pub const SOFT_RESET: &[u8] = b"\x18\x1b[?1049l\x1b[!p\x1b[r\x1b[?6l\x1b[?7h\x1b[4l\x1b[20l\
\x1b(B\x1b)B\x1b*B\x1b+B\x0f\x1b[m\x1b[?1l\x1b>\x1b[?25h\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\
\x1b[?1004l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l\x1b[?2004l\x1b[?2031l\x1b[?1007h\x1b[=0u\
\x1b[>4;0m\x1b[0 q\x1b[?5W";

/// The modes and what sets each, with the state they have after [`SOFT_RESET`].
const MODES: [(TermMode, &str, &str); 12] = [
    (TermMode::APP_CURSOR, "\x1b[?1h", ""),
    (TermMode::APP_KEYPAD, "\x1b=", ""),
    (TermMode::MOUSE_REPORT_CLICK, "\x1b[?1000h", ""),
    (TermMode::MOUSE_DRAG, "\x1b[?1002h", ""),
    (TermMode::MOUSE_MOTION, "\x1b[?1003h", ""),
    (TermMode::FOCUS_IN_OUT, "\x1b[?1004h", ""),
    (TermMode::UTF8_MOUSE, "\x1b[?1005h", ""),
    (TermMode::SGR_MOUSE, "\x1b[?1006h", ""),
    (TermMode::BRACKETED_PASTE, "\x1b[?2004h", ""),
    (TermMode::INSERT, "\x1b[4h", ""),
    (TermMode::LINE_FEED_NEW_LINE, "\x1b[20h", ""),
    (TermMode::ALTERNATE_SCROLL, "", "\x1b[?1007l"),
];

impl Screen {
    /// The bytes that bring any terminal of the same size that understands xterm's sequences to
    /// the state of this one: the lines above the screen from number `since` on that are still
    /// kept ([`lines_scrolled`](Self::lines_scrolled) counts them; 0 is all), the screen, the
    /// cursor, the modes, the title, and the beginning of a sequence that is not finished.
    ///
    /// What the terminal showed before is overwritten; its scrollback stays.
    pub fn restore(&mut self, since: u64) -> Vec<u8> {
        let mut out = SOFT_RESET.to_vec();
        out.extend_from_slice(b"\x1b[H\x1b[J");
        let columns = self.machine.size().columns;
        self.machine.on_primary(|machine| {
            let rows = state::rows(machine);
            draw_lines(machine, since, &rows[0], &mut out);
            draw_rows(&rows, columns, &mut out);
        });
        if self.machine.is_alternate() {
            let under = self
                .machine
                .on_primary(|machine| state::cursor(machine, &machine.grid().cursor));
            self.machine
                .on_primary(|machine| place_cursor(machine, &under, &mut out));
            out.extend_from_slice(b"\x1b[?1049h\x1b(B\x1b)B\x1b*B\x1b+B\x1b[m\x1b[H\x1b[J");
            draw_rows(&state::rows(&self.machine), columns, &mut out);
        }
        finish(&self.machine, &mut out);
        out.extend_from_slice(self.boundary.tail());
        out
    }
}

/// Writes the lines above the screen; the cursor is then where the first row begins.
fn draw_lines(machine: &Machine, since: u64, first: &DrawnRow, out: &mut Vec<u8>) {
    let columns = machine.size().columns;
    let mut lines = machine.history.since(since).peekable();
    while let Some(line) = lines.next() {
        // Blanks at the end of a line take rows that a terminal does not count to it.
        let blanks = line.bytes.iter().rev().take_while(|byte| **byte == b' ');
        let joint = (lines.peek().is_none())
            .then(|| machine.history.joint(first))
            .flatten();
        let shown = match joint {
            Some(_) => line.bytes.len(),
            None => line.bytes.len() - blanks.count(),
        };
        out.extend_from_slice(&line.bytes[..shown]);
        if let Some(joint) = joint {
            out.extend_from_slice(joint);
            return;
        }
        // Where a wrapped line scrolled the screen, its last row was filled with its colour.
        if line.bytes.contains(&0x1b) && line.leaves_room(columns) {
            out.extend_from_slice(b"\x1b[K");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes the rows one after the other. Behind coloured text the rest of the row is erased, where
/// scrolling may have filled it; not behind the last column, where that would take a character.
fn draw_rows(rows: &[DrawnRow], columns: usize, out: &mut Vec<u8>) {
    for (at, row) in rows.iter().enumerate() {
        out.extend_from_slice(&row.bytes);
        if row.wrapped {
            continue;
        }
        if row.bytes.contains(&0x1b) && row.width < columns {
            out.extend_from_slice(b"\x1b[K");
        }
        if at + 1 < rows.len() {
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// What is set once the screens are drawn.
fn finish(machine: &Machine, out: &mut Vec<u8>) {
    let columns = machine.size().columns;
    if machine.tabs != usual_tabs(columns) {
        out.extend_from_slice(b"\x1b[3g");
        for (column, stop) in machine.tabs.iter().enumerate() {
            if *stop {
                out.extend_from_slice(format!("\x1b[1;{}H\x1bH", column + 1).as_bytes());
            }
        }
    }
    let saved = state::cursor(machine, &machine.grid().saved_cursor);
    out.extend_from_slice(address(saved.place).as_bytes());
    dress(&saved, out);
    out.extend_from_slice(b"\x1b7\x1b(B\x1b)B\x1b*B\x1b+B");
    if machine.region != (0..machine.size().rows) {
        let region = &machine.region;
        out.extend_from_slice(format!("\x1b[{};{}r", region.start + 1, region.end).as_bytes());
    }
    let mode = *machine.term.mode();
    let mut cursor = state::confined(machine, state::cursor(machine, &machine.grid().cursor));
    if mode.contains(TermMode::ORIGIN) {
        out.extend_from_slice(b"\x1b[?6h");
    }
    let row = cursor.place.0;
    if mode.contains(TermMode::ORIGIN) {
        cursor.place.0 -= machine.region.start;
    }
    place_at(machine, &cursor, row, out);
    for (flag, set, unset) in MODES {
        let sequence = if mode.contains(flag) { set } else { unset };
        out.extend_from_slice(sequence.as_bytes());
    }
    for number in &machine.foreign_modes {
        out.extend_from_slice(format!("\x1b[?{number}h").as_bytes());
    }
    for (present, sequence) in [
        (mode.contains(TermMode::LINE_WRAP), "\x1b[?7l"),
        (mode.contains(TermMode::SHOW_CURSOR), "\x1b[?25l"),
        (machine.charset != CharsetIndex::G1, "\x0e"),
    ] {
        if !present {
            out.extend_from_slice(sequence.as_bytes());
        }
    }
    extras(machine, out);
}

/// Keyboard, shape of the cursor, title: what most programs leave alone.
fn extras(machine: &Machine, out: &mut Vec<u8>) {
    if let Some(keyboard @ 1..) = machine.keyboard_modes.last() {
        out.extend_from_slice(format!("\x1b[>{keyboard}u").as_bytes());
    }
    if machine.modify_other_keys != 0 {
        out.extend_from_slice(format!("\x1b[>4;{}m", machine.modify_other_keys).as_bytes());
    }
    let shape = state::shape_number(machine.term.cursor_style());
    if shape != 0 {
        out.extend_from_slice(format!("\x1b[{shape} q").as_bytes());
    }
    if let Some(title) = &machine.title {
        out.extend_from_slice(format!("\x1b]2;{title}\x1b\\").as_bytes());
    }
}

fn place_cursor(machine: &Machine, cursor: &CursorState, out: &mut Vec<u8>) {
    place_at(machine, cursor, cursor.place.0, out);
}

/// Puts the cursor to its place, whose row is `row` without regard to the margins.
fn place_at(machine: &Machine, cursor: &CursorState, row: usize, out: &mut Vec<u8>) {
    if cursor.wraps {
        // Only writing the last character makes a terminal wait at the end of the row.
        let cells = machine.cells(row);
        let column = state::last_character(cells);
        out.extend_from_slice(address((cursor.place.0, column)).as_bytes());
        Style::of(&cells[column]).select(out);
        draw_character(cells, column, out);
    } else {
        out.extend_from_slice(address(cursor.place).as_bytes());
    }
    dress(cursor, out);
}

/// Selects the cursor's style and character sets.
fn dress(cursor: &CursorState, out: &mut Vec<u8>) {
    out.extend_from_slice(&cursor.style);
    for (designator, drawing) in ["(", ")", "*", "+"].iter().zip(cursor.drawing_sets) {
        if drawing {
            out.extend_from_slice(format!("\x1b{designator}0").as_bytes());
        }
    }
}

fn address((row, column): (usize, usize)) -> String {
    format!("\x1b[{};{}H", row + 1, column + 1)
}
