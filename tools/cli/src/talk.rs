//! What a tool says to its user, on stderr only.

use std::fmt::Display;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use crate::failure::one_line;

/// How much a tool says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors only (`-q`).
    Quiet,
    /// What the user has to know.
    #[default]
    Normal,
    /// How it is done: paths, peers, addresses (`-v`).
    Verbose,
    /// For the search of faults (`-vv`).
    Debug,
}

/// Lines on stderr, each beginning with the tool's name. Clones share the stream.
///
/// A stderr that cannot be written to (closed, full) is no reason to stop the work, so write
/// errors are ignored.
#[derive(Clone)]
pub struct Talk {
    tool: &'static str,
    verbosity: Verbosity,
    stderr: Arc<Mutex<Stderr>>,
}

struct Stderr {
    stream: Box<dyn Write + Send>,
    /// Lines that wait for a line that has to be the first.
    held: Option<String>,
}

impl Talk {
    /// Talks as `tool` to `stderr`.
    pub fn new(tool: &'static str, stderr: Box<dyn Write + Send>) -> Self {
        Self {
            tool,
            verbosity: Verbosity::default(),
            stderr: Arc::new(Mutex::new(Stderr {
                stream: stderr,
                held: None,
            })),
        }
    }

    /// The same stream, at another verbosity.
    #[must_use]
    pub fn with_verbosity(&self, verbosity: Verbosity) -> Self {
        Self {
            verbosity,
            ..self.clone()
        }
    }

    /// The tool's name.
    pub fn tool(&self) -> &'static str {
        self.tool
    }

    /// How much is said.
    pub fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// `TOOL: what failed`; said at every verbosity.
    pub fn error(&self, what: impl Display) {
        self.release();
        self.say(Verbosity::Quiet, &what);
    }

    /// `TOOL: warning: …`; silenced by `-q`.
    pub fn warn(&self, what: impl Display) {
        self.say(Verbosity::Normal, &format_args!("warning: {what}"));
    }

    /// `TOOL: …`; silenced by `-q`.
    pub fn note(&self, what: impl Display) {
        self.say(Verbosity::Normal, &what);
    }

    /// `TOOL: …`, from `-v` on.
    pub fn detail(&self, what: impl Display) {
        self.say(Verbosity::Verbose, &what);
    }

    /// `line` as it is, without the tool's name, before all that is kept back; silenced by `-q`.
    /// For a line that is to be pasted.
    pub fn bare(&self, line: impl Display) {
        if self.verbosity >= Verbosity::Normal {
            self.lock()
                .write(&format!("{}\n", one_line(&line.to_string())));
        }
    }

    fn say(&self, from: Verbosity, what: &dyn Display) {
        if self.verbosity >= from {
            self.write(&format!("{}: {}\n", self.tool, one_line(&what.to_string())));
        }
    }

    /// Keeps back what is said from now on, until [`Talk::release`] or an error.
    pub fn hold(&self) {
        self.lock().held.get_or_insert_default();
    }

    /// Says what was kept back.
    pub fn release(&self) {
        self.lock().release();
    }

    /// One write per line, so that lines of several tasks and processes do not mix.
    fn write(&self, line: &str) {
        let mut stderr = self.lock();
        match &mut stderr.held {
            Some(held) => held.push_str(line),
            None => stderr.write(line),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Stderr> {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stderr {
    fn release(&mut self) {
        if let Some(held) = self.held.take() {
            self.write(&held);
        }
    }

    fn write(&mut self, text: &str) {
        let _ = self
            .stream
            .write_all(text.as_bytes())
            .and_then(|()| self.stream.flush());
    }
}

/// A stream that tests can read back.
#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// What was written so far.
    pub fn text(&self) -> String {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&written).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said_at(verbosity: Verbosity) -> String {
        let captured = Captured::default();
        let talk = Talk::new("dnc", Box::new(captured.clone())).with_verbosity(verbosity);
        talk.error("e");
        talk.warn("w");
        talk.note("n");
        talk.bare("dnc 7n4c");
        talk.detail("d");
        captured.text()
    }

    #[test]
    fn each_verbosity_says_what_its_name_promises() {
        assert_eq!(said_at(Verbosity::Quiet), "dnc: e\n");
        assert_eq!(
            said_at(Verbosity::Normal),
            "dnc: e\ndnc: warning: w\ndnc: n\ndnc 7n4c\n"
        );
        assert_eq!(
            said_at(Verbosity::Verbose),
            "dnc: e\ndnc: warning: w\ndnc: n\ndnc 7n4c\ndnc: d\n"
        );
    }

    #[test]
    fn a_bare_line_goes_before_what_is_kept_back() {
        let captured = Captured::default();
        let talk = Talk::new("dnc", Box::new(captured.clone()));
        talk.hold();
        talk.note("made a new identity");
        talk.bare("dnc 7n4c");
        assert_eq!(captured.text(), "dnc 7n4c\n");
        talk.release();
        assert_eq!(captured.text(), "dnc 7n4c\ndnc: made a new identity\n");
    }

    #[test]
    fn an_error_lets_out_what_was_kept_back() {
        let captured = Captured::default();
        let talk = Talk::new("dnc", Box::new(captured.clone()));
        talk.hold();
        talk.note("n");
        talk.error("e");
        assert_eq!(captured.text(), "dnc: n\ndnc: e\n");
    }
}
