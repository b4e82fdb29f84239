//! A terminal that a program types into, key by key, and reads at once what is drawn.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::lab::{Command, Process};

/// Longest a key may take to show.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes read at once.
const BUFFER: usize = 64 * 1024;

const COLUMNS: u16 = 100;
const ROWS: u16 = 30;

/// A client at a terminal of its own.
pub(super) struct Terminal {
    control: File,
    /// Ends with this value.
    process: Process,
    drawn: Drawn,
    keys: usize,
}

impl Terminal {
    /// Starts a client whose standard input and output are a new terminal.
    pub(super) fn start(command: Command) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let control: OwnedFd = openpt(flags)?;
        unlockpt(&control)?;
        let size = Winsize {
            ws_row: ROWS,
            ws_col: COLUMNS,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&control, size)?;
        let other = ioctl_tiocgptpeer(&control, flags)?;
        Ok(Self {
            process: command.at_terminal(other).start()?,
            control: control.into(),
            drawn: Drawn::Text,
            keys: 0,
        })
    }

    /// Waits until the program has drawn this text.
    pub(super) fn await_text(&mut self, text: &str, limit: Duration) -> io::Result<()> {
        let deadline = Instant::now() + limit;
        let mut shown = Vec::new();
        while !shown
            .windows(text.len())
            .any(|part| part == text.as_bytes())
        {
            match self.read(deadline) {
                Ok(Some(more)) => shown.extend(more),
                Ok(None) | Err(_) => {
                    let shown = String::from_utf8_lossy(&shown).into_owned();
                    let said = self.process.stderr();
                    let said = said.trim();
                    let what = format!("no {text:?} but {shown:?}; it said: {said}");
                    return Err(io::Error::other(what));
                }
            }
        }
        Ok(())
    }

    /// Types a letter and waits until it shows. No letter comes twice in a row.
    pub(super) fn strike(&mut self) -> io::Result<Duration> {
        let key = b'a' + u8::try_from(self.keys % 26).unwrap_or_default();
        self.keys += 1;
        let struck = Instant::now();
        self.control.write_all(&[key])?;
        let deadline = struck + PATIENCE;
        loop {
            match self.read(deadline)? {
                Some(shown) if shown.contains(&key) => return Ok(struck.elapsed()),
                Some(_) => {}
                None => return Err(io::Error::other("a key was typed and did not show")),
            }
        }
    }

    /// Types letters with pauses; milliseconds until each showed.
    pub(super) fn strikes(&mut self, count: usize, pause: Duration) -> io::Result<Vec<f64>> {
        let mut samples = Vec::with_capacity(count);
        for _ in 0..count {
            samples.push(self.strike()?.as_secs_f64() * 1e3);
            self.rest(pause)?;
        }
        Ok(samples)
    }

    /// Types the return key and waits for so long.
    pub(super) fn press_return(&mut self, pause: Duration) -> io::Result<()> {
        self.control.write_all(b"\r")?;
        self.rest(pause)
    }

    /// Reads what is drawn for so long.
    pub(super) fn rest(&mut self, pause: Duration) -> io::Result<()> {
        let deadline = Instant::now() + pause;
        while self.read(deadline)?.is_some() {}
        Ok(())
    }

    /// Visible characters; `None` when the time is over.
    fn read(&mut self, deadline: Instant) -> io::Result<Option<Vec<u8>>> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut fds = [PollFd::from_borrowed_fd(
            self.control.as_fd(),
            PollFlags::IN,
        )];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => return Ok(None),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut buffer = vec![0; BUFFER];
        let len = self.control.read(&mut buffer)?;
        let shown = buffer[..len]
            .iter()
            .copied()
            .filter(|byte| self.drawn.is_text(*byte));
        Ok(Some(shown.collect()))
    }
}

/// Where a byte of the output stands (ECMA-48): letters are also the ends of control sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drawn {
    Text,
    /// After an escape.
    Escape,
    /// In a control sequence.
    Sequence,
    /// In a string up to BEL or ST, a window's title for one.
    Words,
    /// After an escape with one more byte to come: a character set, for one.
    Designation,
}

impl Drawn {
    /// Whether this byte shows on the screen.
    fn is_text(&mut self, byte: u8) -> bool {
        let before = *self;
        *self = match (before, byte) {
            (_, 0x1b) => Self::Escape,
            (Self::Escape, b'[') => Self::Sequence,
            (Self::Escape, b']' | b'P' | b'_' | b'^') => Self::Words,
            (Self::Escape, b' '..=b'/') => Self::Designation,
            (Self::Sequence, 0x40..=0x7e) | (Self::Words, 0x07) => Self::Text,
            (Self::Sequence | Self::Words, _) => before,
            _ => Self::Text,
        };
        before == Self::Text && *self == Self::Text && byte >= b' '
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_control_sequences_are_not_taken_for_text() {
        let mut drawn = Drawn::Text;
        let output = b"a\x1b[4mb\x1b[24;1Hc\x1b]0;title\x07d\x1b]0;t\x1b\\e\x1b(Bf\x1b7g\r\n";
        let text: Vec<u8> = output
            .iter()
            .copied()
            .filter(|byte| drawn.is_text(*byte))
            .collect();
        assert_eq!(text, b"abcdefg");
    }
}
