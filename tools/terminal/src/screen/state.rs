//! Everything that makes two screens the same.

use alacritty_terminal::grid::Cursor;
use alacritty_terminal::term::TermMode;
use alacritty_terminal::term::cell::{Cell, Flags};
use alacritty_terminal::vte::ansi::{CharsetIndex, CursorShape, CursorStyle, StandardCharset};

use super::Screen;
use crate::machine::{Machine, usual_tabs};
use crate::row::{DrawnRow, End};
use crate::style::Style;

/// The modes that are restored: those of the keyboard, the mouse and the drawing.
const RESTORED: TermMode = TermMode::SHOW_CURSOR
    .union(TermMode::APP_CURSOR)
    .union(TermMode::APP_KEYPAD)
    .union(TermMode::MOUSE_MODE)
    .union(TermMode::BRACKETED_PASTE)
    .union(TermMode::SGR_MOUSE)
    .union(TermMode::UTF8_MOUSE)
    .union(TermMode::LINE_WRAP)
    .union(TermMode::LINE_FEED_NEW_LINE)
    .union(TermMode::ORIGIN)
    .union(TermMode::INSERT)
    .union(TermMode::FOCUS_IN_OUT)
    .union(TermMode::ALTERNATE_SCROLL);

/// Where a cursor stands and how it draws.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorState {
    /// Row and column, from 0.
    pub place: (usize, usize),
    /// The next character goes to the next row: the last column has just been filled.
    pub wraps: bool,
    /// The sequence that selects its style.
    pub style: Vec<u8>,
    /// Which of G0 to G3 are the line drawing set.
    pub drawing_sets: [bool; 4],
}

/// The state of a screen in a form that can be compared: everything that
/// [`Screen::restore`] brings back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScreenState {
    /// Columns and rows.
    pub size: (u16, u16),
    /// The lines above the screen, drawn, the oldest first.
    pub scrollback: Vec<Vec<u8>>,
    /// The rows of the primary screen.
    pub primary: Vec<DrawnRow>,
    /// The rows of the alternate screen, when it is shown, and the cursor it came from.
    pub alternate: Option<(Vec<DrawnRow>, CursorState)>,
    /// The cursor.
    pub cursor: CursorState,
    /// The cursor that DECRC brings back.
    pub saved_cursor: CursorState,
    /// The rows that scroll: the first, and the one after the last.
    pub region: (usize, usize),
    /// The tab stops, when they are not every eight columns.
    pub tabs: Option<Vec<usize>>,
    /// The mode bits, as `alacritty_terminal` has them.
    pub modes: u32,
    /// Further private modes that are set.
    pub foreign_modes: Vec<u16>,
    /// The keyboard mode of kitty's protocol, and xterm's modifyOtherKeys.
    pub keyboard: (u8, u8),
    /// Whether G1 is in use in the place of G0.
    pub shifted_out: bool,
    /// The number of DECSCUSR.
    pub cursor_shape: u8,
    /// The window's title.
    pub title: Option<String>,
    /// The bytes of an unfinished sequence.
    pub unfinished: Vec<u8>,
}

impl Screen {
    /// The state, for comparing.
    pub fn state(&mut self) -> ScreenState {
        let alternate = self.machine.is_alternate();
        let (primary, primary_cursor, scrollback) = self.machine.on_primary(|machine| {
            let rows = rows(machine);
            let scrollback = scrollback(machine, &rows[0]);
            let cursor = cursor(machine, &machine.grid().cursor);
            (undecided(rows, &cursor), cursor, scrollback)
        });
        let machine = &self.machine;
        let mut saved_cursor = cursor(machine, &machine.grid().saved_cursor);
        saved_cursor.wraps = false;
        ScreenState {
            size: self.size(),
            scrollback,
            primary,
            alternate: alternate.then(|| {
                let cursor = cursor(machine, &machine.grid().cursor);
                (undecided(rows(machine), &cursor), primary_cursor)
            }),
            cursor: confined(machine, cursor(machine, &machine.grid().cursor)),
            saved_cursor,
            region: (machine.region.start, machine.region.end),
            tabs: (machine.tabs != usual_tabs(machine.size().columns)).then(|| {
                let stops = machine.tabs.iter().enumerate();
                stops.filter(|(_, set)| **set).map(|(at, _)| at).collect()
            }),
            modes: machine.term.mode().intersection(RESTORED).bits(),
            foreign_modes: machine.foreign_modes.iter().copied().collect(),
            keyboard: (
                machine.keyboard_modes.last().copied().unwrap_or(0),
                machine.modify_other_keys,
            ),
            shifted_out: machine.charset == CharsetIndex::G1,
            cursor_shape: shape_number(machine.term.cursor_style()),
            title: machine.title.clone(),
            unfinished: self.boundary.tail().to_vec(),
        }
    }
}

/// A row at whose end the cursor waits goes on in the next one, or not, with the next character: what
/// was there before cannot be restored together with the waiting.
fn undecided(mut rows: Vec<DrawnRow>, cursor: &CursorState) -> Vec<DrawnRow> {
    if cursor.wraps
        && let Some(row) = rows.get_mut(cursor.place.0)
    {
        row.wrapped = false;
    }
    rows
}

fn scrollback(machine: &Machine, first: &DrawnRow) -> Vec<Vec<u8>> {
    let lines = machine.history.since(0).map(|line| plainest(line.bytes));
    let mut lines: Vec<_> = lines.collect();
    if let (Some(last), Some(joint)) = (lines.last_mut(), machine.history.joint(first)) {
        last.extend_from_slice(joint);
    }
    for line in &mut lines {
        line.truncate(line.trim_ascii_end().len());
    }
    lines
}

/// The same line with as few style sequences as it takes: where it was wrapped it has more.
fn plainest(line: &[u8]) -> Vec<u8> {
    const DEFAULT: &[u8] = b"\x1b[m";
    let (mut out, mut rest) = (Vec::with_capacity(line.len()), line.trim_ascii_end());
    let (mut selected, mut wanted) = (DEFAULT, DEFAULT);
    while let Some((byte, after)) = rest.split_first() {
        if *byte == 0x1b {
            let end = rest.iter().position(|byte| *byte == b'm');
            (wanted, rest) = rest.split_at(end.map_or(rest.len(), |at| at + 1));
            continue;
        }
        if selected != wanted {
            out.extend_from_slice(wanted);
            selected = wanted;
        }
        out.push(*byte);
        rest = after;
    }
    if selected != DEFAULT {
        out.extend_from_slice(DEFAULT);
    }
    out
}

/// The rows of the screen that is shown. A row that is said to be wrapped is one only when text
/// follows, and not while the cursor waits at its end.
pub(super) fn rows(machine: &Machine) -> Vec<DrawnRow> {
    let cursor = &machine.grid().cursor;
    let waiting = cursor.input_needs_wrap.then_some(cursor.point.line.0);
    let mut drawn: Vec<DrawnRow> = Vec::with_capacity(machine.size().rows);
    for row in (0..machine.size().rows).rev() {
        let cells = machine.cells(row);
        let followed = drawn.last().is_some_and(|below| !below.is_empty());
        let waits = waiting.is_some_and(|line| usize::try_from(line) == Ok(row));
        let end = match End::noted(cells, machine.next_cells(row)) {
            wrap if followed && !waits => wrap,
            _ => End::Break,
        };
        drawn.push(DrawnRow::of(cells, end));
    }
    drawn.reverse();
    drawn
}

pub(super) fn cursor(machine: &Machine, cursor: &Cursor<Cell>) -> CursorState {
    let mut style = Vec::new();
    Style::of(&cursor.template).select(&mut style);
    let sets = [
        CharsetIndex::G0,
        CharsetIndex::G1,
        CharsetIndex::G2,
        CharsetIndex::G3,
    ];
    let row = usize::try_from(cursor.point.line.0).unwrap_or(0);
    let size = machine.size();
    CursorState {
        place: (
            row.min(size.rows - 1),
            cursor.point.column.0.min(size.columns - 1),
        ),
        wraps: cursor.input_needs_wrap && cursor.point.column.0 + 1 == size.columns,
        style,
        drawing_sets: sets
            .map(|set| cursor.charsets[set] == StandardCharset::SpecialCharacterAndLineDrawing),
    }
}

/// In origin mode a cursor cannot be put outside the margins.
pub(super) fn confined(machine: &Machine, mut cursor: CursorState) -> CursorState {
    if machine.term.mode().contains(TermMode::ORIGIN) {
        let row = cursor.place.0;
        cursor.place.0 = row.clamp(machine.region.start, machine.region.end - 1);
    }
    cursor
}

/// The number that DECSCUSR selects the shape with; 0 is the terminal's own.
pub(super) fn shape_number(style: CursorStyle) -> u8 {
    match (style.shape, style.blinking) {
        (CursorShape::Underline, true) => 3,
        (CursorShape::Underline, false) => 4,
        (CursorShape::Beam, true) => 5,
        (CursorShape::Beam, false) => 6,
        (_, true) => 1,
        (_, false) => 0,
    }
}

/// The first cell of what the cursor stands on, when it waits at the end of a row.
pub(super) fn last_character(cells: &[Cell]) -> usize {
    let last = cells.len() - 1;
    match cells[last].flags.contains(Flags::WIDE_CHAR_SPACER) {
        true if last > 0 && cells[last - 1].flags.contains(Flags::WIDE_CHAR) => last - 1,
        _ => last,
    }
}
