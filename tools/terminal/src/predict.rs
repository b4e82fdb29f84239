//! Typed characters, shown before the far side has echoed them.
//!
//! The idea is mosh's: on a slow link the client draws what the echo will most likely be, and
//! corrects itself when the output says otherwise. It never changes what is sent, and the screen is
//! right again with the next output.
//!
//! # When something is shown
//!
//! - Only in an *epoch* in which an earlier guess has come true. Return, control keys, arrow keys,
//!   and every wrong guess begin a new epoch. So nothing is shown of a password: its characters
//!   never come true. An editor's commands, menus and games do not either.
//! - Never while the far side reads a line without echo ([`LineMode::Silent`]).
//! - In [`Prediction::Auto`] only when the round trip is slow, or when one echo is late.
//! - Only at the end of a line: what an insertion pushes aside is not guessed.
//!
//! # Use
//!
//! Whoever draws on the terminal brackets it: [`Predictor::before_output`], the output itself, to
//! the terminal and to the [`Screen`], then [`Predictor::after_output`]. Typing goes through
//! [`Predictor::typed`]. What these append goes to the terminal, in this order.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use unicode_width::UnicodeWidthChar;

use crate::screen::Screen;

/// Characters that are guessed ahead: three lines of text. More is a paste.
pub const MAX_PREDICTIONS: usize = 256;

/// Bytes typed at once that count as typing. A key gives one to eight, a paste a block.
const MAX_TYPED: usize = 16;

/// The round trip from which guesses are shown: what people notice in typing.
const SLOW: Duration = Duration::from_millis(60);

/// The round trip below which they are not any more. The distance keeps it from flickering.
const FAST: Duration = Duration::from_millis(30);

/// The round trip from which guesses are underlined: they stand for long enough to be mistaken
/// for the truth (mosh's threshold).
const MARKED: Duration = Duration::from_millis(80);

/// An echo that takes this long makes guesses visible on a fast link too (mosh's threshold).
const LATE: Duration = Duration::from_millis(250);

/// When guesses are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prediction {
    /// On a slow link.
    #[default]
    Auto,
    /// On every link.
    Always,
    /// Never.
    Never,
}

/// How the far side's terminal line reads, as its server sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineMode {
    /// Lines, echoed by the system.
    Echoing,
    /// Lines without echo: a password.
    Silent,
    /// Single characters: the program echoes what it wants to.
    #[default]
    Raw,
}

/// A character that is expected at a place.
#[derive(Clone, Debug)]
struct Guess {
    place: (u16, u16),
    character: char,
    /// What stood there, so that a guess that changes nothing proves nothing.
    before: char,
    /// The far side has seen it when it has seen this many bytes.
    sent: u64,
    epoch: u64,
    at: Instant,
}

/// Guesses the echo of what is typed.
#[derive(Debug)]
pub struct Predictor {
    prediction: Prediction,
    line_mode: LineMode,
    round_trip: Duration,
    is_slow: bool,
    guesses: VecDeque<Guess>,
    /// Where the next character goes, if that is not where the cursor is.
    next: Option<(u16, u16)>,
    /// Where typing began in this epoch; nothing before it is taken back.
    begin: Option<(u16, u16)>,
    epoch: u64,
    /// Guesses of epochs up to this one have come true.
    proven: u64,
    sent: u64,
    seen: u64,
    /// Until this much is seen, it is unknown where a character would go.
    blind_until: u64,
    scrolled: u64,
    was_alternate: bool,
    drawn: Vec<(u16, u16)>,
}

impl Predictor {
    /// Without guesses. The round trip counts as fast until [`set_round_trip`](Self::set_round_trip).
    pub fn new(prediction: Prediction) -> Self {
        Self {
            prediction,
            line_mode: LineMode::Raw,
            round_trip: Duration::ZERO,
            is_slow: false,
            guesses: VecDeque::new(),
            next: None,
            begin: None,
            epoch: 1,
            proven: 0,
            sent: 0,
            seen: 0,
            blind_until: 0,
            scrolled: 0,
            was_alternate: false,
            drawn: Vec::new(),
        }
    }

    /// The smoothed round trip of the connection.
    pub fn set_round_trip(&mut self, round_trip: Duration) {
        self.round_trip = round_trip;
        self.is_slow = match self.is_slow {
            true => round_trip >= FAST,
            false => round_trip > SLOW,
        };
    }

    /// Takes what the user typed and is being sent, and appends what to draw.
    pub fn typed(&mut self, now: Instant, bytes: &[u8], screen: &Screen, out: &mut Vec<u8>) {
        self.before_output(screen, out);
        self.sent += bytes.len() as u64;
        match std::str::from_utf8(bytes) {
            _ if !self.may_guess() => self.doubt(),
            Ok(text) if bytes.len() <= MAX_TYPED => {
                for character in text.chars() {
                    self.guess(now, character, screen);
                }
            }
            _ => self.doubt(),
        }
        self.draw(now, screen, out);
    }

    /// Appends what takes the guesses off the terminal. `screen` is as it was before the output.
    pub fn before_output(&mut self, screen: &Screen, out: &mut Vec<u8>) {
        if self.drawn.is_empty() {
            return;
        }
        for (row, column) in self.drawn.drain(..) {
            screen.redraw_cell(row, column, out);
        }
        screen.return_cursor(out);
    }

    /// Judges the guesses by the output that `screen` has taken meanwhile, and appends what draws
    /// those that are still open.
    pub fn after_output(&mut self, now: Instant, screen: &Screen, out: &mut Vec<u8>) {
        let scrolled = screen.lines_scrolled();
        let moved = scrolled != self.scrolled || screen.is_alternate() != self.was_alternate;
        if moved && !self.guesses.is_empty() {
            self.doubt();
        }
        self.scrolled = scrolled;
        self.was_alternate = screen.is_alternate();
        self.judge(screen);
        self.draw(now, screen, out);
    }

    /// The far side has given its program so many bytes of what was typed since the beginning, and
    /// the program has had time to answer.
    pub fn acknowledged(&mut self, now: Instant, seen: u64, screen: &Screen, out: &mut Vec<u8>) {
        self.before_output(screen, out);
        self.seen = self.seen.max(seen.min(self.sent));
        self.judge(screen);
        self.draw(now, screen, out);
    }

    /// How the far side reads now.
    pub fn set_line_mode(&mut self, line_mode: LineMode, screen: &Screen, out: &mut Vec<u8>) {
        self.line_mode = line_mode;
        if line_mode == LineMode::Silent {
            self.before_output(screen, out);
            self.doubt();
        }
    }

    /// Forgets everything: the terminal has another size, or was drawn anew.
    pub fn reset(&mut self) {
        self.drawn.clear();
        self.doubt();
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called: an echo is late then.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let waits = self.prediction == Prediction::Auto && !self.is_slow && self.drawn.is_empty();
        let first = self.guesses.front().filter(|_| waits)?;
        (first.epoch <= self.proven).then(|| first.at + LATE)
    }

    /// Shows guesses whose echo is late.
    pub fn handle_timeout(&mut self, now: Instant, screen: &Screen, out: &mut Vec<u8>) {
        self.before_output(screen, out);
        self.draw(now, screen, out);
    }

    fn may_guess(&self) -> bool {
        self.prediction != Prediction::Never && self.line_mode != LineMode::Silent
    }

    /// Begins a new epoch: nothing is known of where characters go until all is seen.
    fn doubt(&mut self) {
        self.epoch += 1;
        self.guesses.clear();
        self.next = None;
        self.begin = None;
        self.blind_until = self.sent;
    }

    fn guess(&mut self, now: Instant, character: char, screen: &Screen) {
        if self.blind_until > self.seen {
            if character.width() != Some(1) {
                self.blind_until = self.sent;
            }
            return;
        }
        let (row, column) = self.next.unwrap_or_else(|| screen.cursor());
        match character {
            '\u{8}' | '\u{7f}' if self.begin.is_some_and(|begin| begin < (row, column)) => {
                self.put(now, (row, column - 1), ' ', screen);
                self.next = Some((row, column - 1));
            }
            _ if character.width() == Some(1) && is_free(screen, row, column) => {
                self.begin = self.begin.or(Some((row, column)));
                self.put(now, (row, column), character, screen);
                self.next = Some((row, column + 1));
            }
            _ => self.doubt(),
        }
    }

    /// One guess for each place: the last.
    fn put(&mut self, now: Instant, place: (u16, u16), character: char, screen: &Screen) {
        let earlier = self.guesses.iter().position(|guess| guess.place == place);
        let before = match earlier.and_then(|at| self.guesses.remove(at)) {
            Some(guess) => guess.before,
            None => screen.character(place.0, place.1),
        };
        if self.guesses.len() >= MAX_PREDICTIONS {
            self.doubt();
            return;
        }
        self.guesses.push_back(Guess {
            place,
            character,
            before,
            sent: self.sent,
            epoch: self.epoch,
            at: now,
        });
    }

    fn judge(&mut self, screen: &Screen) {
        while let Some(guess) = self.guesses.front() {
            let there = screen.character(guess.place.0, guess.place.1);
            let came_true = there == guess.character;
            let proves = came_true && guess.before != guess.character;
            let is_open = there == guess.before && guess.sent > self.seen;
            if is_open && !proves {
                break;
            }
            if !came_true {
                self.doubt();
                return;
            }
            if proves {
                self.proven = self.proven.max(guess.epoch);
            }
            self.guesses.pop_front();
        }
        if self.guesses.is_empty() && self.seen >= self.sent {
            self.next = None;
        }
    }

    fn shows(&self, now: Instant) -> bool {
        let late = self
            .guesses
            .front()
            .is_some_and(|guess| now.saturating_duration_since(guess.at) >= LATE);
        match self.prediction {
            Prediction::Never => false,
            Prediction::Always => true,
            Prediction::Auto => self.is_slow || late,
        }
    }

    fn draw(&mut self, now: Instant, screen: &Screen, out: &mut Vec<u8>) {
        let shown = |guess: &&Guess| guess.epoch <= self.proven;
        if !self.shows(now) || !screen.can_be_drawn_over() || self.line_mode == LineMode::Silent {
            return;
        }
        let marked = self.round_trip >= MARKED;
        for guess in self.guesses.iter().filter(shown) {
            let (row, column) = guess.place;
            if self.drawn.is_empty() {
                screen.return_cursor(out);
                if marked {
                    out.extend_from_slice(b"\x1b[4m");
                }
            }
            let text = format!("\x1b[{};{}H{}", row + 1, column + 1, guess.character);
            out.extend_from_slice(text.as_bytes());
            self.drawn.push(guess.place);
        }
        if let (false, Some((row, column))) = (self.drawn.is_empty(), self.next) {
            out.extend_from_slice(format!("\x1b[{};{}H", row + 1, column + 1).as_bytes());
        }
    }
}

/// Whether a character at the place would be the last of its line, and not at the edge.
fn is_free(screen: &Screen, row: u16, column: u16) -> bool {
    let (columns, _) = screen.size();
    column + 1 < columns && (column..columns).all(|at| screen.character(row, at) == ' ')
}

#[cfg(test)]
mod tests;
