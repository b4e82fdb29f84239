//! The user's terminal in raw mode, and back.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use dhtnet_cli::process::on_abrupt_end;
use dhtnet_shell_wire::request::Size;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Whether the terminal is in raw mode now.
static IS_RAW: AtomicBool = AtomicBool::new(false);

/// The terminal and how it was before, as long as that has to be restored.
static BEFORE: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// The terminal at stdin. Dropping it restores its modes.
pub(crate) struct LocalTerminal {
    file: File,
}

impl LocalTerminal {
    /// The terminal at this stream, if it is one.
    pub(crate) fn at(stream: &File) -> Option<Self> {
        let file = stream.is_terminal().then(|| stream.try_clone().ok())??;
        Some(Self { file })
    }

    /// Its modes, for the other side to have the same.
    pub(crate) fn modes(&self) -> io::Result<Termios> {
        Ok(tcgetattr(&self.file)?)
    }

    /// Its size; the usual one if it does not know.
    pub(crate) fn size(&self) -> Size {
        let size = tcgetwinsize(&self.file).map(|size| Size {
            columns: size.ws_col,
            rows: size.ws_row,
            width: size.ws_xpixel,
            height: size.ws_ypixel,
        });
        size.map_or(Size::USUAL, Size::or_usual)
    }

    /// From now on every key goes to the peer.
    pub(crate) fn make_raw(&self) -> io::Result<()> {
        let mut modes = tcgetattr(&self.file)?;
        let mut before = lock();
        if before.is_none() {
            *before = Some((self.file.try_clone()?, modes.clone()));
            on_abrupt_end(restore);
        }
        drop(before);
        modes.make_raw();
        tcsetattr(&self.file, OptionalActions::Drain, &modes)?;
        IS_RAW.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for LocalTerminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Makes the terminal what it was before it was made raw.
pub(crate) fn restore() {
    if let Some((file, modes)) = lock().take() {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(&file, OptionalActions::Drain, &modes);
        IS_RAW.store(false, Ordering::Relaxed);
    }
}

/// Says something that was asked for in the middle of a screen: on lines of its own.
pub(crate) fn tell(lines: &[String]) {
    let mut text = String::from("\r\n");
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    // A terminal that is gone shows at the next read.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Ends the line in which a screen was left, so that the next words have one of their own.
pub(crate) fn end_line() {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        let _ = stderr.write_all(b"\r\n");
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<(File, Termios)>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stream at the terminal, whose lines begin at the left in raw mode too.
pub(crate) struct RawAware<W>(pub(crate) W);

impl<W: Write> Write for RawAware<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !IS_RAW.load(Ordering::Relaxed) {
            return self.0.write(bytes);
        }
        let mut text = Vec::with_capacity(bytes.len() + 2);
        for byte in bytes {
            if *byte == b'\n' {
                text.push(b'\r');
            }
            text.push(*byte);
        }
        self.0.write_all(&text)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
