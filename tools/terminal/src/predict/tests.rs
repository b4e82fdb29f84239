//! Predictions, confirmed and taken back.
#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

use super::*;

/// A user at a terminal, a program that echoes when it is told to, and a clock.
struct Desk {
    now: Instant,
    /// What the far side has drawn.
    screen: Screen,
    /// What the user sees.
    terminal: Screen,
    predictor: Predictor,
    sent: u64,
}

impl Desk {
    fn new(prediction: Prediction, round_trip: u64) -> Self {
        let mut predictor = Predictor::new(prediction);
        predictor.set_round_trip(Duration::from_millis(round_trip));
        let mut desk = Self {
            now: Instant::now(),
            screen: Screen::new(40, 5),
            terminal: Screen::new(40, 5),
            predictor,
            sent: 0,
        };
        desk.output(b"$ ");
        desk
    }

    fn types(&mut self, text: &str) {
        let mut out = Vec::new();
        for character in text.chars() {
            let bytes = character.to_string().into_bytes();
            self.sent += bytes.len() as u64;
            self.predictor
                .typed(self.now, &bytes, &self.screen, &mut out);
        }
        self.terminal.feed(&out);
    }

    fn output(&mut self, bytes: &[u8]) {
        let mut out = Vec::new();
        self.predictor.before_output(&self.screen, &mut out);
        out.extend_from_slice(bytes);
        self.screen.feed(bytes);
        self.predictor
            .after_output(self.now, &self.screen, &mut out);
        self.terminal.feed(&out);
    }

    fn acknowledges(&mut self) {
        let mut out = Vec::new();
        self.predictor
            .acknowledged(self.now, self.sent, &self.screen, &mut out);
        self.terminal.feed(&out);
    }

    /// The far side echoes, and says that it has seen all.
    fn echoes(&mut self, text: &str) {
        self.output(text.as_bytes());
        self.acknowledges();
    }

    fn sees(&self) -> String {
        let (row, _) = self.terminal.cursor();
        let line: String = (0..40).map(|at| self.terminal.character(row, at)).collect();
        line.trim_end().to_owned()
    }

    /// The terminal shows just what the far side has drawn.
    fn sees_the_truth(&mut self) {
        assert_eq!(self.terminal.state(), self.screen.state());
    }
}

#[test]
fn after_one_proof_typing_is_shown_at_once() {
    let mut desk = Desk::new(Prediction::Auto, 200);
    desk.types("e");
    assert_eq!(desk.sees(), "$", "nothing is proven yet");
    desk.echoes("e");
    desk.types("cho");
    assert_eq!(desk.sees(), "$ echo");
    assert_eq!(desk.terminal.cursor(), (0, 6));
    desk.echoes("cho");
    assert_eq!(desk.sees(), "$ echo");
    desk.sees_the_truth();
}

#[test]
fn a_wrong_guess_is_rolled_back() {
    let mut desk = Desk::new(Prediction::Always, 0);
    desk.types("a");
    desk.echoes("a");
    desk.types("bc");
    assert_eq!(desk.sees(), "$ abc");
    desk.echoes("**");
    assert_eq!(desk.sees(), "$ a**");
    desk.sees_the_truth();
    desk.types("d");
    assert_eq!(
        desk.sees(),
        "$ a**",
        "after a mistake proof is needed again"
    );
}

#[test]
fn nothing_of_a_password_is_shown() {
    for line_mode in [LineMode::Silent, LineMode::Raw, LineMode::Echoing] {
        let mut desk = Desk::new(Prediction::Always, 500);
        desk.types("su");
        desk.echoes("su");
        desk.types("\r");
        desk.echoes("\r\nPassword: ");
        let mut out = Vec::new();
        desk.predictor
            .set_line_mode(line_mode, &desk.screen, &mut out);
        desk.terminal.feed(&out);
        desk.types("secret");
        assert_eq!(desk.sees(), "Password:", "{line_mode:?}");
        desk.acknowledges();
        desk.types("x");
        assert_eq!(desk.sees(), "Password:", "{line_mode:?}");
    }
}

#[test]
fn characters_typed_before_the_prompt_came_are_not_shown_either() {
    let mut desk = Desk::new(Prediction::Always, 500);
    desk.types("s");
    desk.echoes("s");
    desk.types("\rsecret");
    assert_eq!(desk.sees(), "$ s");
}

#[test]
fn guesses_vanish_when_the_line_becomes_silent() {
    let mut desk = Desk::new(Prediction::Always, 500);
    desk.types("a");
    desk.echoes("a");
    desk.types("bcd");
    assert_eq!(desk.sees(), "$ abcd");
    let mut out = Vec::new();
    desk.predictor
        .set_line_mode(LineMode::Silent, &desk.screen, &mut out);
    desk.terminal.feed(&out);
    assert_eq!(desk.sees(), "$ a");
    desk.sees_the_truth();
}

#[test]
fn a_fast_link_shows_nothing_until_an_echo_is_late() {
    let mut desk = Desk::new(Prediction::Auto, 5);
    desk.types("a");
    desk.echoes("a");
    desk.types("b");
    assert_eq!(desk.sees(), "$ a");
    let late = desk.predictor.poll_timeout().unwrap();
    assert_eq!(late, desk.now + LATE);
    desk.now = late;
    let mut out = Vec::new();
    desk.predictor
        .handle_timeout(desk.now, &desk.screen, &mut out);
    desk.terminal.feed(&out);
    assert_eq!(desk.sees(), "$ ab");
    desk.echoes("b");
    desk.sees_the_truth();
}

#[test]
fn slow_begins_above_sixty_milliseconds_and_ends_below_thirty() {
    let mut predictor = Predictor::new(Prediction::Auto);
    for (round_trip, slow) in [
        (60, false),
        (61, true),
        (31, true),
        (30, true),
        (29, false),
        (60, false),
    ] {
        predictor.set_round_trip(Duration::from_millis(round_trip));
        assert_eq!(predictor.is_slow, slow, "{round_trip} ms");
    }
}

#[test]
fn guesses_are_underlined_on_a_slow_link_and_confirmed_text_is_not() {
    for (round_trip, marked) in [(79, false), (80, true)] {
        let mut desk = Desk::new(Prediction::Always, round_trip);
        desk.types("a");
        desk.echoes("a");
        desk.types("b");
        let row = String::from_utf8(desk.terminal.state().primary[0].bytes.clone()).unwrap();
        assert_eq!(row.contains("\x1b[0;4mb"), marked, "{row:?}");
        desk.echoes("b");
        desk.sees_the_truth();
    }
}

#[test]
fn backspace_takes_back_what_was_typed_and_not_the_prompt() {
    let mut desk = Desk::new(Prediction::Always, 200);
    desk.types("ls");
    desk.echoes("ls");
    desk.types("x");
    assert_eq!(desk.sees(), "$ lsx");
    desk.types("\u{7f}\u{7f}");
    assert_eq!(desk.sees(), "$ l");
    desk.types("\u{7f}\u{7f}\u{7f}");
    assert!(desk.sees().starts_with('$'));
    desk.echoes("x\u{8} \u{8}\u{8} \u{8}\u{8} \u{8}");
    desk.sees_the_truth();
}

#[test]
fn nothing_is_guessed_in_the_middle_of_a_line() {
    let mut desk = Desk::new(Prediction::Always, 200);
    desk.types("ab");
    desk.echoes("ab");
    desk.output(b"\x1b[D");
    desk.types("x");
    assert_eq!(desk.sees(), "$ ab");
}

#[test]
fn output_between_typing_and_echo_keeps_the_guesses_and_the_screen_right() {
    let mut desk = Desk::new(Prediction::Always, 200);
    desk.types("a");
    desk.echoes("a");
    desk.types("bc");
    desk.output(b"\x1b7\x1b[5;1Hstatus\x1b8");
    assert_eq!(desk.sees(), "$ abc");
    desk.echoes("bc");
    desk.sees_the_truth();
}

#[test]
fn a_cut_sequence_is_never_drawn_into() {
    let mut desk = Desk::new(Prediction::Always, 200);
    desk.types("a");
    desk.echoes("a");
    desk.types("b");
    desk.output(b"b\x1b[3");
    desk.types("c");
    desk.output(b"1mred");
    assert_eq!(desk.sees(), "$ abred");
    desk.acknowledges();
    desk.sees_the_truth();
}

#[test]
fn the_number_of_guesses_is_bounded() {
    let mut desk = Desk::new(Prediction::Always, 200);
    for _ in 0..3 * MAX_PREDICTIONS {
        desk.types("ab\u{7f}");
        assert!(desk.predictor.guesses.len() <= MAX_PREDICTIONS);
    }
    let mut wide = Predictor::new(Prediction::Always);
    let screen = Screen::new(1000, 5);
    for _ in 0..=MAX_PREDICTIONS {
        wide.typed(desk.now, b"x", &screen, &mut Vec::new());
        assert!(wide.guesses.len() <= MAX_PREDICTIONS);
    }
    assert!(wide.guesses.is_empty(), "one more than the bound is doubt");
}

#[test]
fn never_is_never() {
    let mut desk = Desk::new(Prediction::Never, 900);
    desk.types("a");
    desk.echoes("a");
    desk.types("b");
    assert_eq!(desk.sees(), "$ a");
    assert_eq!(desk.predictor.poll_timeout(), None);
}
