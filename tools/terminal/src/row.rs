//! A row of cells as the bytes that draw it.
//!
//! The bytes are text with style sequences between, from the default style to the default style.
//! Two rows look alike just when their bytes are equal: this is the form in which rows are kept,
//! sent and compared.

use alacritty_terminal::term::cell::{Cell, Flags};

use crate::style::Style;

/// A row of a screen, drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrawnRow {
    /// The bytes that draw it from its first column in the default style.
    pub bytes: Vec<u8>,
    /// How many columns the bytes fill.
    pub width: usize,
    /// Whether the text goes on in the next row without a line break between.
    pub wrapped: bool,
    /// Whether the last column was left free for a wide character in the next row.
    pub(crate) spared: bool,
    /// Whether the row begins with a wide character.
    pub(crate) begins_wide: bool,
}

/// How the text of a row goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The line ends here: blanks at its end are left out.
    Break,
    /// The text goes on in the next row: every column counts.
    Wrap,
    /// It goes on with a wide character, for which the last column was not enough.
    WrapBeforeWide,
}

impl End {
    /// What the terminal noted in the cells, with those of the next row.
    pub(crate) fn noted(cells: &[Cell], next: Option<&[Cell]>) -> Self {
        let Some(last) = cells.last() else {
            return Self::Break;
        };
        let is_wide = |row: &[Cell]| {
            row.first()
                .is_some_and(|cell| cell.flags.contains(Flags::WIDE_CHAR))
                && is_second_half(row, 1)
        };
        let left_free = last.flags.contains(Flags::LEADING_WIDE_CHAR_SPACER);
        match last.flags.contains(Flags::WRAPLINE) {
            true if left_free && next.is_some_and(is_wide) => Self::WrapBeforeWide,
            true => Self::Wrap,
            false => Self::Break,
        }
    }
}

impl DrawnRow {
    /// Draws `cells`.
    pub(crate) fn of(cells: &[Cell], end: End) -> Self {
        let shown = match end {
            End::Wrap => cells.len(),
            End::WrapBeforeWide => cells.len() - 1,
            End::Break => (0..cells.len())
                .rposition(|column| !is_blank(cells, column))
                .map_or(0, |last| last + 1),
        };
        let mut row = Self {
            bytes: Vec::with_capacity(shown + 8),
            width: shown,
            wrapped: end != End::Break,
            spared: end == End::WrapBeforeWide,
            begins_wide: is_second_half(cells, 1),
        };
        let mut style = Style::default();
        for (column, cell) in cells.iter().enumerate().take(shown) {
            if is_second_half(cells, column) {
                continue;
            }
            let own = Style::of(cell);
            if own != style {
                own.select(&mut row.bytes);
                style = own;
            }
            draw_character(cells, column, &mut row.bytes);
        }
        if !style.is_default() {
            Style::default().select(&mut row.bytes);
        }
        row
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Appends the character at `column` with the marks on it.
pub(crate) fn draw_character(cells: &[Cell], column: usize, out: &mut Vec<u8>) {
    let mut encoded = [0; 4];
    let shown = shown(cells, column);
    out.extend_from_slice(shown.encode_utf8(&mut encoded).as_bytes());
    for mark in marks(cells, column) {
        out.extend_from_slice(mark.encode_utf8(&mut encoded).as_bytes());
    }
}

/// The character that shows at `column`: a tab and an orphaned half of a wide one are blanks.
fn shown(cells: &[Cell], column: usize) -> char {
    match cells[column].c {
        '\t' => ' ',
        _ if is_orphan(cells, column) => ' ',
        other => other,
    }
}

fn marks(cells: &[Cell], column: usize) -> &[char] {
    match is_orphan(cells, column) {
        true => &[],
        false => cells[column].zerowidth().unwrap_or_default(),
    }
}

/// Whether the first half of a wide character has lost its second.
fn is_orphan(cells: &[Cell], column: usize) -> bool {
    cells[column].flags.contains(Flags::WIDE_CHAR) && !is_second_half(cells, column + 1)
}

/// Whether the cell at `column` is covered by the wide character before it.
pub(crate) fn is_second_half(cells: &[Cell], column: usize) -> bool {
    column > 0
        && cells
            .get(column)
            .is_some_and(|cell| cell.flags.contains(Flags::WIDE_CHAR_SPACER))
        && cells[column - 1].flags.contains(Flags::WIDE_CHAR)
}

fn is_blank(cells: &[Cell], column: usize) -> bool {
    shown(cells, column) == ' '
        && !is_second_half(cells, column)
        && marks(cells, column).is_empty()
        && Style::of(&cells[column]).is_default()
}
