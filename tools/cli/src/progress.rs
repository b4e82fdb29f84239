//! A line on a terminal that tells how far a transfer is.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::failure::one_line;

/// Time between two drawings: five a second; a person sees no more.
const REDRAW: Duration = Duration::from_millis(200);

/// How long a rate counts: long enough that its digits stand still, short enough to show a stall.
const MEMORY: Duration = Duration::from_secs(5);

/// Columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;

/// Goes to the start of the line, and what clears it from there on.
const HOME: &str = "\r";
const CLEAR: &str = "\x1b[K";

/// A moving line on stderr, or nothing. Clones share it.
#[derive(Clone, Default)]
pub struct ProgressLine(Option<Arc<Mutex<Line>>>);

impl ProgressLine {
    /// Nothing.
    #[must_use]
    pub fn hidden() -> Self {
        Self(None)
    }

    /// A line, if stderr is a terminal. With `total`, the bytes that there are in all, it tells how
    /// many are left.
    #[must_use]
    pub fn on_stderr(total: Option<u64>) -> Self {
        if !io::stderr().is_terminal() {
            return Self::hidden();
        }
        let line = Line {
            total,
            ..Line::new(Instant::now())
        };
        Self(Some(Arc::new(Mutex::new(line))))
    }

    /// Whether nobody sees it.
    pub fn is_hidden(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes that there are in all, if known.
    pub fn total(&self) -> Option<u64> {
        self.line()?.total
    }

    /// So many bytes there are in all.
    pub fn set_total(&self, total: u64) {
        if let Some(mut line) = self.line() {
            line.total = Some(total);
        }
    }

    /// What is said behind the numbers.
    pub fn set_message(&self, message: &str) {
        if let Some(mut line) = self.line() {
            line.message = one_line(message);
            line.draw_if_due();
        }
    }

    /// So many bytes more went through.
    pub fn advance(&self, bytes: u64) {
        if let Some(mut line) = self.line() {
            line.done += bytes;
            line.draw_if_due();
        }
    }

    /// So many bytes more need not go through: they are part of the whole, and not of the rate.
    pub fn skip(&self, bytes: u64) {
        if let Some(mut line) = self.line() {
            line.skipped += bytes;
            line.draw_if_due();
        }
    }

    /// Does what writes to the terminal with the line out of the way.
    pub fn suspend<T>(&self, action: impl FnOnce() -> T) -> T {
        let Some(mut line) = self.line() else {
            return action();
        };
        line.clear();
        let result = action();
        line.drawn = None;
        line.draw_if_due();
        result
    }

    /// Takes the line away. It comes back if anything more goes through.
    pub fn clear(&self) {
        if let Some(mut line) = self.line() {
            line.clear();
        }
    }

    fn line(&self) -> Option<MutexGuard<'_, Line>> {
        let line = self.0.as_ref()?.lock();
        Some(line.unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the line says.
struct Line {
    total: Option<u64>,
    done: u64,
    skipped: u64,
    message: String,
    since: Instant,
    rate: Rate,
    drawn: Option<Instant>,
    is_seen: bool,
}

impl Line {
    fn new(now: Instant) -> Self {
        Self {
            total: None,
            done: 0,
            skipped: 0,
            message: String::new(),
            since: now,
            rate: Rate::new(now),
            drawn: Some(now),
            is_seen: false,
        }
    }

    fn draw_if_due(&mut self) {
        let now = Instant::now();
        if self.drawn.is_some_and(|at| now < at + REDRAW) {
            return;
        }
        self.drawn = Some(now);
        self.is_seen = true;
        let columns = rustix::termios::tcgetwinsize(io::stderr()).map(|size| size.ws_col);
        let columns = columns.ok().filter(|columns| *columns > 0);
        let text = self.text(now);
        // The last column stays free: some terminals begin another line there.
        let text = cut(&text, columns.map_or(COLUMNS, usize::from) - 1);
        put(&format!("{HOME}{text}{CLEAR}"));
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.is_seen) {
            put(&format!("{HOME}{CLEAR}"));
        }
    }

    fn text(&mut self, now: Instant) -> String {
        self.rate.sample(now, self.done);
        let (here, rate) = (self.done + self.skipped, self.rate.per_second);
        let speed = Bytes(rate as u64);
        let mut text = match self.total {
            None => {
                let elapsed = Span(now.saturating_duration_since(self.since));
                format!("{}  {speed}/s  {elapsed}", Bytes(here))
            }
            Some(total) => {
                let percent = (here as f64 / total.max(1) as f64 * 100.0).min(100.0) as u64;
                let left = total.saturating_sub(here) as f64 / rate;
                let left = Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX);
                let (here, total, left) = (Bytes(here), Bytes(total), Span(left));
                format!("{here} of {total}  {percent}%  {speed}/s  {left} left")
            }
        };
        if !self.message.is_empty() {
            text.push_str("  ");
            text.push_str(&self.message);
        }
        text
    }
}

/// Bytes a second, of late.
struct Rate {
    per_second: f64,
    since: Instant,
    /// When it was last looked at, and how many bytes there were.
    last: (Instant, u64),
}

impl Rate {
    fn new(now: Instant) -> Self {
        Self {
            per_second: 0.0,
            since: now,
            last: (now, 0),
        }
    }

    /// At first the mean since the start; later what is older than [`MEMORY`] hardly counts.
    fn sample(&mut self, now: Instant, done: u64) {
        let passed = now.saturating_duration_since(self.last.0).as_secs_f64();
        if passed == 0.0 {
            return;
        }
        let all = now.saturating_duration_since(self.since).as_secs_f64();
        let weight = (passed / all).max(passed / (passed + MEMORY.as_secs_f64()));
        let latest = done.saturating_sub(self.last.1) as f64 / passed;
        self.per_second += weight * (latest - self.per_second);
        self.last = (now, done);
    }
}

/// A number of bytes for people: `512 B`, `2.00 KiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut number, mut unit) = (self.0 as f64, "B");
        for larger in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
            if number < 1024.0 {
                break;
            }
            (number, unit) = (number / 1024.0, larger);
        }
        match unit {
            "B" => write!(f, "{} B", self.0),
            unit => write!(f, "{number:.2} {unit}"),
        }
    }
}

/// A time for people, its largest unit only: `90s`, `2m`, `3h`, `4d`.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0..120 => write!(f, "{seconds}s"),
            120..7_200 => write!(f, "{}m", seconds / 60),
            7_200..172_800 => write!(f, "{}h", seconds / 3_600),
            172_800..8_640_000 => write!(f, "{}d", seconds / 86_400),
            // Nothing comes.
            _ => f.write_str("-"),
        }
    }
}

/// As much of the text as has room in so many columns.
fn cut(text: &str, columns: usize) -> &str {
    if text.width() <= columns {
        return text;
    }
    let mut used = 0;
    let end = text.char_indices().find(|(_, letter)| {
        used += letter.width().unwrap_or(0);
        used > columns
    });
    end.map_or(text, |(end, _)| &text[..end])
}

/// A line that cannot be drawn is no reason to end a transfer.
fn put(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_line_tells_bytes_rate_and_time_and_what_is_left_where_that_is_known() {
        let start = Instant::now();
        let mut line = Line::new(start);
        line.done = 10 << 20;
        assert_eq!(line.text(start + SECOND * 10), "10.00 MiB  1.00 MiB/s  10s");
        line.total = Some(41 << 20);
        line.skipped = 1 << 20;
        line.message = "a name".to_owned();
        assert_eq!(
            line.text(start + SECOND * 10),
            "11.00 MiB of 41.00 MiB  26%  1.00 MiB/s  30s left  a name"
        );
    }

    #[test]
    fn nothing_divides_by_zero() {
        let start = Instant::now();
        let mut line = Line::new(start);
        line.total = Some(0);
        assert_eq!(line.text(start), "0 B of 0 B  0%  0 B/s  - left");
    }

    #[test]
    fn a_rate_is_the_mean_at_first_and_forgets_what_is_long_ago() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        rate.sample(start + SECOND, 1_000);
        rate.sample(start + SECOND * 2, 1_000);
        assert!((rate.per_second - 500.0).abs() < 1.0);
        for second in 3..60 {
            rate.sample(start + SECOND * second, 1_000);
        }
        assert!(rate.per_second < 1.0);
    }

    #[test]
    fn bytes_have_the_largest_unit_of_which_there_is_one() {
        let texts = [0, 1_023, 1_024, 1_536, u64::MAX].map(|bytes| Bytes(bytes).to_string());
        assert_eq!(
            texts,
            ["0 B", "1023 B", "1.00 KiB", "1.50 KiB", "16.00 EiB"]
        );
    }

    #[test]
    fn times_have_one_unit() {
        let texts = [0, 119, 120, 7_199, 7_200, 172_799, 172_800, u64::MAX]
            .map(|seconds| Span(Duration::from_secs(seconds)).to_string());
        assert_eq!(texts, ["0s", "119s", "2m", "119m", "2h", "47h", "2d", "-"]);
    }

    #[test]
    fn a_line_never_reaches_into_the_next_one() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "abc");
        assert_eq!(cut("漢字漢", 5), "漢字");
        assert_eq!(cut("a", 0), "");
    }

    #[test]
    fn a_hidden_one_does_nothing_and_what_is_done_beside_it_is_done() {
        let line = ProgressLine::hidden();
        line.advance(1);
        line.set_total(5);
        assert_eq!((line.total(), line.is_hidden()), (None, true));
        assert_eq!(line.suspend(|| 7), 7);
    }
}
