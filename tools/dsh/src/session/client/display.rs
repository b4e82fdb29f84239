//! The user's terminal: what the session draws, guesses over it, and a line from dsh now and then.

use std::time::{Duration, Instant};

use bytes::Bytes;
use dhtnet_forward::join::Sink;
use dhtnet_forward::stdio::Stdout;
use dhtnet_shell_wire::session::Line;
use dhtnet_terminal::{LineMode, Prediction, Predictor, SOFT_RESET, Screen};

/// The terminal, and a model of what it shows.
pub(super) struct Display {
    screen: Screen,
    predictor: Predictor,
    stdout: Stdout,
    prediction: Prediction,
    /// How much was typed before guessing began to count.
    base: u64,
    begun: bool,
    /// A line of dsh itself stands over the screen.
    is_covered: bool,
}

impl Display {
    pub(super) fn new((columns, rows): (u16, u16), prediction: Prediction, stdout: Stdout) -> Self {
        Self {
            screen: Screen::new(columns, rows),
            predictor: Predictor::new(prediction),
            stdout,
            prediction,
            base: 0,
            begun: false,
            is_covered: false,
        }
    }

    /// The session is there, with a screen of this size. The first time, what the terminal shows
    /// moves up into its scrollback.
    pub(super) async fn begin(&mut self, size: (u16, u16)) {
        self.resize(size);
        if !std::mem::replace(&mut self.begun, true) {
            let rows = usize::from(size.1);
            let mut out = format!("\x1b[{rows};1H").into_bytes();
            out.resize(out.len() + rows, b'\n');
            out.extend_from_slice(b"\x1b[H");
            self.put(out).await;
        }
    }

    pub(super) fn resize(&mut self, (columns, rows): (u16, u16)) {
        if self.screen.size() != (columns, rows) {
            self.screen.resize(columns, rows);
            self.predictor.reset();
        }
    }

    /// From here on, what is typed counts from `sent`.
    pub(super) fn count_from(&mut self, sent: u64) {
        self.predictor = Predictor::new(self.prediction);
        self.base = sent;
    }

    /// Shows what the programs wrote.
    pub(super) async fn output(&mut self, now: Instant, bytes: Bytes) {
        self.uncover().await;
        let mut before = Vec::new();
        self.predictor.before_output(&self.screen, &mut before);
        self.screen.feed(&bytes);
        let _ = self.screen.take_replies();
        let mut after = Vec::new();
        self.predictor.after_output(now, &self.screen, &mut after);
        let mut blocks = [Bytes::from(before), bytes, Bytes::from(after)];
        // A terminal that is gone shows at the next key.
        let _ = self.stdout.write_blocks(&mut blocks).await;
    }

    /// Shows what draws the screen anew.
    pub(super) async fn draw(&mut self, bytes: Bytes) {
        self.is_covered = false;
        self.screen.feed(&bytes);
        let _ = self.screen.take_replies();
        let _ = self.stdout.write_blocks(&mut [bytes]).await;
    }

    pub(super) fn forget_guesses(&mut self) {
        self.predictor.reset();
    }

    pub(super) async fn typed(&mut self, now: Instant, bytes: &[u8]) {
        self.uncover().await;
        let mut out = Vec::new();
        self.predictor.typed(now, bytes, &self.screen, &mut out);
        self.put(out).await;
    }

    pub(super) async fn acknowledged(&mut self, now: Instant, seen: u64) {
        let mut out = Vec::new();
        let seen = seen.saturating_sub(self.base);
        self.predictor
            .acknowledged(now, seen, &self.screen, &mut out);
        self.put(out).await;
    }

    pub(super) async fn set_line_mode(&mut self, line: Line) {
        let mut out = Vec::new();
        let mode = match line {
            Line::Echoing => LineMode::Echoing,
            Line::Silent => LineMode::Silent,
            Line::Raw => LineMode::Raw,
        };
        self.predictor.set_line_mode(mode, &self.screen, &mut out);
        self.put(out).await;
    }

    pub(super) fn set_round_trip(&mut self, round_trip: Duration) {
        self.predictor.set_round_trip(round_trip);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.predictor.poll_timeout()
    }

    pub(super) async fn handle_timeout(&mut self, now: Instant) {
        let mut out = Vec::new();
        self.predictor.handle_timeout(now, &self.screen, &mut out);
        self.put(out).await;
    }

    /// Lines of dsh itself at the top of the screen, until the next key or output.
    pub(super) async fn tell(&mut self, lines: &[String]) {
        let mut out = Vec::new();
        self.predictor.before_output(&self.screen, &mut out);
        self.predictor.reset();
        let width = usize::from(self.screen.size().0).saturating_sub(1);
        out.extend_from_slice(b"\x18\x1b[?6l\x1b[0;7m");
        for (row, line) in (1..).zip(lines) {
            let line: String = format!(" {line} ").chars().take(width).collect();
            out.extend_from_slice(format!("\x1b[{row};1H{line}").as_bytes());
        }
        self.screen.return_cursor(&mut out);
        self.is_covered = true;
        self.put(out).await;
    }

    /// Takes such lines away.
    async fn uncover(&mut self) {
        if self.is_covered {
            self.redraw_from_model().await;
        }
    }

    /// Draws the screen as it was last known.
    pub(super) async fn redraw_from_model(&mut self) {
        self.predictor.reset();
        self.is_covered = false;
        let drawing = self.screen.restore(u64::MAX);
        self.put(drawing).await;
    }

    /// Makes room for lines of dsh below the screen.
    pub(super) async fn step_aside(&mut self) {
        self.predictor.reset();
        let rows = self.screen.size().1;
        let mut out = SOFT_RESET.to_vec();
        out.extend_from_slice(format!("\x1b[{rows};1H\r\n").as_bytes());
        self.put(out).await;
        let _ = self.stdout.finish().await;
    }

    /// Leaves the terminal as a shell expects it, with the cursor below what is shown.
    pub(super) async fn end(&mut self) {
        if !self.begun {
            return;
        }
        let mut out = Vec::new();
        self.predictor.before_output(&self.screen, &mut out);
        let was_alternate = self.screen.is_alternate();
        let (row, _) = self.screen.cursor();
        out.extend_from_slice(SOFT_RESET);
        if was_alternate {
            out.extend_from_slice(format!("\x1b[{};1H", self.screen.size().1).as_bytes());
        } else {
            out.extend_from_slice(format!("\x1b[{};1H", row + 1).as_bytes());
        }
        out.extend_from_slice(b"\r\n\x1b[J");
        self.put(out).await;
        let _ = self.stdout.finish().await;
    }

    async fn put(&mut self, out: Vec<u8>) {
        if !out.is_empty() {
            let _ = self.stdout.write_blocks(&mut [Bytes::from(out)]).await;
        }
    }
}
