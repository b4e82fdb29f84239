//! The terminal that the bytes drive: `alacritty_terminal`'s, with what it does not show beside it.
//!
//! It keeps no scrollback of its own (24 bytes a cell, whole rows): a row that is about to leave the
//! screen is taken down in [`History`] first. Margins, tab stops, character set and title are
//! followed here because it does not tell them. What a program could make grow in it is refused
//! or cut.

use std::collections::BTreeSet;
use std::ops::Range;

use alacritty_terminal::event::VoidListener;
use alacritty_terminal::grid::{Dimensions, Grid};
use alacritty_terminal::index::{Column, Line};
use alacritty_terminal::term::cell::{Cell, Flags};
use alacritty_terminal::term::{Config, Term, TermMode};
use alacritty_terminal::vte::ansi::CharsetIndex;

use crate::history::{self, History};
use crate::row::{DrawnRow, End};

mod handler;

/// Bytes of answers to a program's questions that wait to be taken; what comes above is dropped. A
/// program asks a few things of some ten bytes at its start.
pub(crate) const MAX_REPLIES: usize = 4 * 1024;

/// Bytes of a title: titles are a line of a window's frame.
pub(crate) const MAX_TITLE: usize = 1024;

/// Titles that a program may push (`CSI 22 t`).
pub(crate) const MAX_TITLES: usize = 8;

/// Keyboard modes that a program may push (`CSI > u`): editors nest two or three deep.
pub(crate) const MAX_KEYBOARD_MODES: usize = 8;

/// Combining marks on one character; the longest in use have four or five.
pub(crate) const MAX_MARKS: usize = 8;

/// The size that `alacritty_terminal` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

impl Dimensions for Size {
    fn total_lines(&self) -> usize {
        self.rows
    }

    fn screen_lines(&self) -> usize {
        self.rows
    }

    fn columns(&self) -> usize {
        self.columns
    }
}

/// The terminal, and what it does not tell of itself.
pub(crate) struct Machine {
    pub(crate) term: Term<VoidListener>,
    pub(crate) history: History,
    /// The rows that scroll.
    pub(crate) region: Range<usize>,
    pub(crate) tabs: Vec<bool>,
    pub(crate) charset: CharsetIndex,
    pub(crate) title: Option<String>,
    pub(crate) titles: Vec<Option<String>>,
    /// Modes that the terminal itself does not know and only a real one acts on.
    pub(crate) foreign_modes: BTreeSet<u16>,
    pub(crate) keyboard_modes: Vec<u8>,
    pub(crate) modify_other_keys: u8,
    pub(crate) replies: Vec<u8>,
}

fn config(scrolling_history: usize) -> Config {
    Config {
        scrolling_history,
        ..Config::default()
    }
}

/// The stops that a terminal begins with.
pub(crate) fn usual_tabs(columns: usize) -> Vec<bool> {
    (0..columns).map(|column| column % 8 == 0).collect()
}

impl Machine {
    pub(crate) fn new(size: Size) -> Self {
        Self {
            term: Term::new(config(0), &size, VoidListener),
            history: History::new(size.columns),
            region: 0..size.rows,
            tabs: usual_tabs(size.columns),
            charset: CharsetIndex::default(),
            title: None,
            titles: Vec::new(),
            foreign_modes: BTreeSet::new(),
            keyboard_modes: Vec::new(),
            modify_other_keys: 0,
            replies: Vec::new(),
        }
    }

    pub(crate) fn size(&self) -> Size {
        Size {
            columns: self.term.columns(),
            rows: self.term.screen_lines(),
        }
    }

    pub(crate) fn grid(&self) -> &Grid<Cell> {
        self.term.grid()
    }

    pub(crate) fn is_alternate(&self) -> bool {
        self.term.mode().contains(TermMode::ALT_SCREEN)
    }

    pub(crate) fn cells(&self, row: usize) -> &[Cell] {
        &self.term.grid()[line(row)][..]
    }

    /// A row as the terminal noted it.
    pub(crate) fn drawn(&self, row: usize) -> DrawnRow {
        let cells = self.cells(row);
        DrawnRow::of(cells, End::noted(cells, self.next_cells(row)))
    }

    /// The cells of the row below `row`.
    pub(crate) fn next_cells(&self, row: usize) -> Option<&[Cell]> {
        (row + 1 < self.size().rows).then(|| self.cells(row + 1))
    }

    /// Takes another size; the primary screen's lines are wrapped anew.
    pub(crate) fn resize(&mut self, size: Size) {
        if size == self.size() {
            return;
        }
        if size.columns != self.size().columns {
            self.history.set_columns(size.columns);
        }
        // Room for the rows that do not fit any more.
        self.term.set_options(config(history::MAX_LINES));
        self.term.resize(size);
        self.on_primary(|machine| {
            machine.take_surplus();
            machine.settle_cursor();
        });
        self.settle_cursor();
        self.term.set_options(config(0));
        let stops = self.tabs.len();
        self.tabs.resize(size.columns, false);
        for column in stops..size.columns {
            self.tabs[column] = column % 8 == 0;
        }
        self.region = 0..size.rows;
    }

    /// Runs `act` while the primary screen is the one that is shown.
    ///
    /// The terminal keeps the other screen to itself, and empties the alternate one whenever it is
    /// entered: it is put aside meanwhile.
    pub(crate) fn on_primary<R>(&mut self, act: impl FnOnce(&mut Self) -> R) -> R {
        if !self.is_alternate() {
            return act(self);
        }
        let alternate = self.term.grid().clone();
        self.term.swap_alt();
        let result = act(self);
        self.term.swap_alt();
        *self.term.grid_mut() = alternate;
        result
    }

    /// A cursor waits at the end of a row only: elsewhere it stands behind its character.
    fn settle_cursor(&mut self) {
        let last = self.size().columns - 1;
        let cursor = &mut self.term.grid_mut().cursor;
        if cursor.input_needs_wrap && cursor.point.column.0 < last {
            cursor.input_needs_wrap = false;
            cursor.point.column += 1;
        }
    }

    /// Takes down the rows above the screen and frees them.
    fn take_surplus(&mut self) {
        let surplus = self.term.grid().history_size();
        for above in (1..=surplus).rev() {
            let above = i32::try_from(above).unwrap_or(i32::MAX);
            let cells = &self.term.grid()[Line(-above)][..];
            let next = &self.term.grid()[Line(1 - above)][..];
            self.history
                .push(&DrawnRow::of(cells, End::noted(cells, Some(next))));
        }
        self.term.grid_mut().clear_history();
        self.term.grid_mut().truncate();
    }

    /// Takes down what `rows` rows of scrolling push off the screen.
    fn before_scroll(&mut self, rows: usize) {
        if self.region.start != 0 || self.is_alternate() {
            return;
        }
        for row in 0..rows.min(self.region.end) {
            let leaving = self.drawn(row);
            self.history.push(&leaving);
        }
    }

    fn before_line_feed(&mut self) {
        if self.is_on_last_row() {
            self.before_scroll(1);
        }
    }

    fn is_on_last_row(&self) -> bool {
        let next = self.term.grid().cursor.point.line.0 + 1;
        usize::try_from(next) == Ok(self.region.end)
    }

    /// Before a character of `width` columns: it may wrap, and with that scroll.
    fn before_character(&mut self, width: usize) {
        let cursor = &self.term.grid().cursor;
        let squeezed = width > 1 && cursor.point.column.0 + 1 >= self.term.columns();
        let wraps = cursor.input_needs_wrap || squeezed;
        if !wraps || !self.term.mode().contains(TermMode::LINE_WRAP) || !self.is_on_last_row() {
            return;
        }
        // Where the row that scrolls out is the one that is wrapped, it has to say so by then.
        let needs_wrap = cursor.input_needs_wrap;
        let cell = self.term.grid_mut().cursor_cell();
        if !needs_wrap {
            *cell = Cell::default();
        }
        cell.flags.insert(Flags::WRAPLINE);
        self.before_scroll(1);
    }

    /// Whether the character before the cursor has all the marks it may have.
    fn is_full_of_marks(&self) -> bool {
        let cursor = &self.term.grid().cursor;
        let mut column = cursor.point.column;
        if !cursor.input_needs_wrap {
            column = Column(column.0.saturating_sub(1));
        }
        let row = &self.term.grid()[cursor.point.line];
        if row[column].flags.contains(Flags::WIDE_CHAR_SPACER) {
            column = Column(column.0.saturating_sub(1));
        }
        row[column]
            .zerowidth()
            .is_some_and(|marks| marks.len() >= MAX_MARKS)
    }

    fn reply(&mut self, text: &str) {
        if self.replies.len() + text.len() <= MAX_REPLIES {
            self.replies.extend_from_slice(text.as_bytes());
        }
    }

    fn entitle(&mut self, title: Option<String>) {
        self.title = title.map(|mut title| {
            title.retain(|character| !character.is_control());
            let cut = (0..=MAX_TITLE.min(title.len()))
                .rev()
                .find(|at| title.is_char_boundary(*at))
                .unwrap_or(0);
            title.truncate(cut);
            title
        });
    }

    /// Puts the stops of `self.tabs` into the terminal.
    fn apply_tabs(&mut self) {
        use alacritty_terminal::vte::ansi::{Handler, TabulationClearMode};
        self.term.clear_tabs(TabulationClearMode::All);
        let column = self.term.grid().cursor.point.column;
        for (stop, set) in self.tabs.iter().enumerate() {
            if *set {
                self.term.grid_mut().cursor.point.column = Column(stop);
                self.term.set_horizontal_tabstop();
            }
        }
        self.term.grid_mut().cursor.point.column = column;
    }
}

/// A row of the screen as the terminal counts them.
pub(crate) fn line(row: usize) -> Line {
    Line(i32::try_from(row).unwrap_or(i32::MAX))
}
