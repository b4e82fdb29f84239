//! What the parser calls: most goes straight to the terminal.

use alacritty_terminal::term::TermMode;
use alacritty_terminal::vte::ansi::{
    Attr, CharsetIndex, ClearMode, CursorShape, CursorStyle, Handler, KeyboardModes,
    KeyboardModesApplyBehavior, LineClearMode, Mode, ModifyOtherKeys, NamedPrivateMode,
    PrivateMode, StandardCharset, TabulationClearMode,
};
use unicode_width::UnicodeWidthChar;

use super::{MAX_KEYBOARD_MODES, MAX_TITLES, Machine, usual_tabs};
use crate::row::{DrawnRow, End};

/// Private modes that are passed on as they are: mouse reports of the X10 and of the
/// pixel kind, urxvt's coordinates, and reports of a changed palette.
const FOREIGN_MODES: [u16; 4] = [9, 1015, 1016, 2031];

/// The alternate screen without a saved cursor, in its two older spellings.
const ALTERNATE_SCREEN: [u16; 2] = [47, 1047];

/// DECSC and DECRC as a mode.
const SAVED_CURSOR: u16 = 1048;

macro_rules! straight {
    ($($name:ident($($argument:ident: $kind:ty),*);)*) => {
        $(fn $name(&mut self, $($argument: $kind),*) {
            self.term.$name($($argument),*);
        })*
    };
}

impl Handler for Machine {
    straight! {
        set_cursor_style(style: Option<CursorStyle>);
        set_cursor_shape(shape: CursorShape);
        goto(line: i32, column: usize);
        goto_line(line: i32);
        goto_col(column: usize);
        insert_blank(count: usize);
        move_up(rows: usize);
        move_down(rows: usize);
        move_forward(columns: usize);
        move_backward(columns: usize);
        move_down_and_cr(rows: usize);
        move_up_and_cr(rows: usize);
        backspace();
        carriage_return();
        scroll_down(rows: usize);
        insert_blank_lines(rows: usize);
        delete_lines(rows: usize);
        erase_chars(count: usize);
        delete_chars(count: usize);
        move_forward_tabs(count: u16);
        save_cursor_position();
        clear_line(mode: LineClearMode);
        reverse_index();
        terminal_attribute(attribute: Attr);
        set_mode(mode: Mode);
        unset_mode(mode: Mode);
        set_keypad_application_mode();
        unset_keypad_application_mode();
        configure_charset(index: CharsetIndex, charset: StandardCharset);
        decaln();
    }

    fn input(&mut self, character: char) {
        // Marks begin at U+0300; everything before has one column or is no character.
        if character >= '\u{300}' {
            match character.width() {
                None => return,
                Some(0) if self.is_full_of_marks() => return,
                Some(0) => {}
                Some(width) => self.before_character(width),
            }
        } else {
            self.before_character(1);
        }
        self.term.input(character);
    }

    fn linefeed(&mut self) {
        self.before_line_feed();
        self.term.linefeed();
    }

    fn newline(&mut self) {
        self.before_line_feed();
        self.term.newline();
    }

    fn put_tab(&mut self, count: u16) {
        // At the end of a row a tab stays there, as in xterm.
        if !self.term.grid().cursor.input_needs_wrap {
            self.term.put_tab(count);
        }
    }

    fn move_backward_tabs(&mut self, count: u16) {
        // The cursor leaves the end of the row, where alone it can wait for a character.
        self.term.grid_mut().cursor.input_needs_wrap = false;
        self.term.move_backward_tabs(count);
    }

    fn restore_cursor_position(&mut self) {
        self.term.restore_cursor_position();
        self.settle_cursor();
    }

    fn scroll_up(&mut self, rows: usize) {
        self.before_scroll(rows);
        self.term.scroll_up(rows);
    }

    fn clear_screen(&mut self, mode: ClearMode) {
        match mode {
            ClearMode::Saved => self.history.clear(),
            ClearMode::All if !self.is_alternate() => {
                let rows = self.size().rows;
                let used = (0..rows)
                    .rposition(|row| !DrawnRow::of(self.cells(row), End::Break).is_empty());
                for row in 0..used.map_or(0, |last| last + 1) {
                    let leaving = self.drawn(row);
                    self.history.push(&leaving);
                }
                self.history.close();
            }
            _ => {}
        }
        self.term.clear_screen(mode);
    }

    fn set_scrolling_region(&mut self, top: usize, bottom: Option<usize>) {
        let rows = self.size().rows;
        let bottom = bottom.unwrap_or(rows).min(rows);
        if top == 0 || top >= bottom {
            return;
        }
        self.region = top - 1..bottom;
        self.term.set_scrolling_region(top, Some(bottom));
    }

    fn set_active_charset(&mut self, index: CharsetIndex) {
        self.charset = index;
        self.term.set_active_charset(index);
    }

    fn set_horizontal_tabstop(&mut self) {
        let column = self.term.grid().cursor.point.column.0;
        self.tabs[column] = true;
        self.term.set_horizontal_tabstop();
    }

    fn clear_tabs(&mut self, mode: TabulationClearMode) {
        match mode {
            TabulationClearMode::Current => {
                let column = self.term.grid().cursor.point.column.0;
                self.tabs[column] = false;
            }
            TabulationClearMode::All => self.tabs.fill(false),
        }
        self.term.clear_tabs(mode);
    }

    fn set_tabs(&mut self, interval: u16) {
        let interval = usize::from(interval.max(1));
        for (column, stop) in self.tabs.iter_mut().enumerate() {
            *stop = column % interval == 0;
        }
        self.apply_tabs();
    }

    fn reset_state(&mut self) {
        self.history.close();
        self.region = 0..self.size().rows;
        self.tabs = usual_tabs(self.size().columns);
        self.charset = CharsetIndex::default();
        self.title = None;
        self.titles.clear();
        self.foreign_modes.clear();
        self.keyboard_modes.clear();
        self.modify_other_keys = 0;
        self.term.reset_state();
    }

    fn set_private_mode(&mut self, mode: PrivateMode) {
        match mode {
            // A terminal does not change its width because a program asks.
            PrivateMode::Named(NamedPrivateMode::ColumnMode) => {}
            PrivateMode::Named(_) => self.term.set_private_mode(mode),
            PrivateMode::Unknown(66) => self.term.set_keypad_application_mode(),
            PrivateMode::Unknown(SAVED_CURSOR) => self.term.save_cursor_position(),
            PrivateMode::Unknown(number) if ALTERNATE_SCREEN.contains(&number) => {
                if !self.is_alternate() {
                    self.term.swap_alt();
                }
            }
            PrivateMode::Unknown(number) if FOREIGN_MODES.contains(&number) => {
                self.foreign_modes.insert(number);
            }
            PrivateMode::Unknown(_) => {}
        }
    }

    fn unset_private_mode(&mut self, mode: PrivateMode) {
        match mode {
            PrivateMode::Named(NamedPrivateMode::ColumnMode) => {}
            PrivateMode::Named(_) => self.term.unset_private_mode(mode),
            PrivateMode::Unknown(66) => self.term.unset_keypad_application_mode(),
            PrivateMode::Unknown(SAVED_CURSOR) => self.restore_cursor_position(),
            PrivateMode::Unknown(number) if ALTERNATE_SCREEN.contains(&number) => {
                if self.is_alternate() {
                    self.term.swap_alt();
                }
            }
            PrivateMode::Unknown(number) => {
                self.foreign_modes.remove(&number);
            }
        }
    }

    fn set_title(&mut self, title: Option<String>) {
        self.entitle(title);
    }

    fn push_title(&mut self) {
        if self.titles.len() < MAX_TITLES {
            self.titles.push(self.title.clone());
        }
    }

    fn pop_title(&mut self) {
        if let Some(title) = self.titles.pop() {
            self.title = title;
        }
    }

    fn push_keyboard_mode(&mut self, mode: KeyboardModes) {
        if self.keyboard_modes.len() == MAX_KEYBOARD_MODES {
            self.keyboard_modes.remove(0);
        }
        self.keyboard_modes.push(mode.bits());
    }

    fn pop_keyboard_modes(&mut self, count: u16) {
        let left = self.keyboard_modes.len().saturating_sub(usize::from(count));
        self.keyboard_modes.truncate(left);
    }

    fn set_keyboard_mode(&mut self, mode: KeyboardModes, apply: KeyboardModesApplyBehavior) {
        let before = self.keyboard_modes.pop().unwrap_or(0);
        self.keyboard_modes.push(match apply {
            KeyboardModesApplyBehavior::Replace => mode.bits(),
            KeyboardModesApplyBehavior::Union => before | mode.bits(),
            KeyboardModesApplyBehavior::Difference => before & !mode.bits(),
        });
    }

    fn set_modify_other_keys(&mut self, mode: ModifyOtherKeys) {
        self.modify_other_keys = mode as u8;
    }

    fn identify_terminal(&mut self, intermediate: Option<char>) {
        match intermediate {
            // A VT220 with colours.
            None => self.reply("\x1b[?62;22c"),
            Some('>') => self.reply("\x1b[>1;10;0c"),
            Some(_) => {}
        }
    }

    fn device_status(&mut self, question: usize) {
        match question {
            5 => self.reply("\x1b[0n"),
            6 => {
                let point = self.term.grid().cursor.point;
                let top = match self.term.mode().contains(TermMode::ORIGIN) {
                    true => i32::try_from(self.region.start).unwrap_or(0),
                    false => 0,
                };
                let (row, column) = ((point.line.0 - top).max(0) + 1, point.column.0 + 1);
                self.reply(&format!("\x1b[{row};{column}R"));
            }
            _ => {}
        }
    }

    fn text_area_size_chars(&mut self) {
        let size = self.size();
        self.reply(&format!("\x1b[8;{};{}t", size.rows, size.columns));
    }

    fn report_keyboard_mode(&mut self) {
        let mode = self.keyboard_modes.last().copied().unwrap_or(0);
        self.reply(&format!("\x1b[?{mode}u"));
    }
}
